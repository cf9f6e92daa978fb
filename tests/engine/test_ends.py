"""How a job ends, and what its Result says of that."""

import contextlib
import os
import signal
import time
from unittest import mock

from lib import MIB, WAIT_LIMIT, children
from lib.engine import Clock, EngineTest, Gates


class EndTest(EngineTest):
    """How a job can end by itself."""

    def test_status_0_is_ok(self):
        result = self.run_one('web1', 'echo out; echo err >&2')
        self.assertEqual(result[:4], ('web1', 0, 'out\n', 'err\n'))
        self.assertEqual(result[6:9], ('ok', '', False))

    def test_other_status_is_an_error_of_the_command(self):
        for status in (1, 7, 254):
            result = self.run_one('fail%d' % status)
            self.assertEqual((result.exitcode, result.outcome, result.reason),
                             (status, 'error', ''))
            self.assertEqual(result.errors, 'err of fail%d\n' % status)

    def test_255_is_an_error_of_ssh(self):
        result = self.run_one('unreach1')
        self.assertEqual((result.exitcode, result.outcome), (255, 'ssh'))
        self.assertTrue(result.reason)
        self.assertIn('Connection refused', result.errors)

    def test_signal_that_ended_ssh_is_a_negative_status(self):
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
            result = self.run_one('signal%d' % number)
            self.assertEqual((result.exitcode, result.outcome),
                             (-number, 'killed'))
            self.assertIn(number.name, result.reason)

    def test_ssh_that_is_not_there_is_a_result(self):
        result = self.run_one('a', ssh='/nonexistent/ssh')
        self.assertEqual((result.exitcode, result.outcome, result.output),
                         (255, 'ssh', ''))
        self.assertIn('/nonexistent/ssh', result.reason)
        self.assertGreaterEqual(result.elapsed, 0)

    def test_ssh_of_no_words_is_refused(self):
        for ssh in '', ' ', []:
            with self.assertRaisesRegex(ValueError, 'ssh is empty'):
                self.manager(['a'], ssh=ssh)

    def test_one_option_may_be_a_str(self):
        for options in 'Ab=no', ['Ab=no']:
            words = self.run_one('args', options=options).output.split('\n')
            self.assertEqual(words[:3], ['-o', 'Ab=no', '-o'])

    def test_ssh_that_may_not_be_executed_is_a_result(self):
        path = os.path.join(self.scratch(), 'ssh')
        open(path, 'w').close()
        result = self.run_one('a', ssh=[path])
        self.assertEqual(result.outcome, 'ssh')
        self.assertIn('ermission denied', result.reason)

    def test_command_too_long_for_the_system_fails_every_host_alone(self):
        with self.manager(['a', 'b'], 'x' * MIB) as job:
            results = list(job)
        self.assertEqual([result.outcome for result in results], ['ssh'] * 2)
        self.assertIn('too long', results[0].reason)

    def test_command_with_a_nul_is_a_failure_of_the_host(self):
        result = self.run_one('a', 'echo \0')
        self.assertEqual((result.exitcode, result.outcome), (255, 'ssh'))
        self.assertIn('null', result.reason)

    def test_times_are_those_of_the_clock_on_the_wall(self):
        before = time.time()
        result = self.run_one('a', 'sleep .05')
        self.assertLessEqual(before, result.started)
        self.assertLessEqual(result.started + .05, result.stopped)
        self.assertLessEqual(result.stopped, time.time() + .01)
        self.assertEqual(result.elapsed, result.stopped - result.started)

    def test_clock_on_the_wall_may_jump(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command) as job:
            job.poll(0)
            with mock.patch('time.time', return_value=0.0):
                gates.open('a')
                result = self.take(job)
        self.assertGreaterEqual(result.elapsed, 0)
        self.assertLess(result.elapsed, WAIT_LIMIT)


class LostStatusTest(EngineTest):
    def test_status_that_someone_else_took_is_a_failure(self):
        for status in (0, 7):
            gates = Gates(self.scratch(), 'a')
            with self.manager(['a'], gates.command) as job:
                job.poll(0)
                gates.open('a', status)
                os.waitpid(children()[0][0], 0)
                result = self.take(job)
            self.assertEqual((result.outcome, result.reason),
                             ('ssh', 'exit status lost'))
            self.assertNotEqual(result.exitcode, 0)
            self.assertEqual(result.output, 'out of a\n')

    def test_limit_does_not_mistake_it_for_a_timeout(self):
        clock = Clock()
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command, timeout=100,
                          clock=clock) as job:
            job.poll(0)
            gates.open('a')
            os.waitpid(children()[0][0], 0)
            clock.advance(100)
            self.assertEqual(self.take(job).reason, 'exit status lost')

    def test_reason_for_ending_it_is_not_lost_with_it(self):
        clock = Clock()
        with self.manager(['hang'], timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_settled()
            clock.advance(100)
            self.assertEqual(job.poll(0), [])
            pid = children()[0][0]
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            result = self.take(job)
        self.assertEqual((result.outcome, result.reason),
                         ('killed', 'timed out after 100 s'))

    def test_program_that_reaps_every_child_gets_failures_not_successes(self):
        def reap(signum, frame):
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        self.addCleanup(signal.signal, signal.SIGCHLD,
                        signal.signal(signal.SIGCHLD, reap))
        with self.manager(['exit0-[1-20]']) as job:
            results = list(job)
        self.assertEqual(len(results), 20)
        for result in results:
            self.assertIn((result.outcome, result.reason, result.exitcode),
                          [('ok', '', 0), ('ssh', 'exit status lost', 255)])

    def test_ignored_sigchld_loses_no_status_in_the_main_thread(self):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGCHLD, before)
        with self.manager(['exit0', 'exit7']) as job:
            codes = {result.host: result.exitcode for result in job}
        self.assertEqual(codes, {'exit0': 0, 'exit7': 7})
        self.assertIs(signal.getsignal(signal.SIGCHLD), signal.SIG_IGN)
