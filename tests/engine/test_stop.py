"""A manager that is stopped or left."""

import gc
import os
import signal
import sys
import textwrap
import threading
from unittest import mock

from lib import FAKE_SSH, MODULE, Command, children, leftovers, wait_until
from lib.engine import LONG, READ, Clock, EngineTest, Gates
import classh


class StopTest(EngineTest):
    def test_what_runs_is_ended_and_the_rest_is_not_started(self):
        with self.manager(['slow[1-7]'], fanout=3) as job:
            self.start_all(job, 3)
            self.until_settled(3)
            job.stop()
            results = self.take(job, 3)
            self.assertTrue(job.done)
            for result in results:
                self.assertEqual(
                    (result.outcome, result.exitcode, result.reason),
                    ('killed', -signal.SIGTERM, 'stopped'))
            self.assertEqual(list(job.not_started()),
                             ['slow4', 'slow5', 'slow6', 'slow7'])

    def test_it_does_not_wait(self):
        with self.manager(['hang'], grace=.1) as job:
            job.poll(0)
            self.until_settled()
            job.stop()
            self.assertEqual(list(job.running), ['hang'])
            self.assertEqual(self.take(job).exitcode, -signal.SIGKILL)

    def test_second_one_kills_at_once(self):
        with self.manager(['hang[1-2]'], grace=LONG) as job:
            self.start_all(job, 2)
            self.until_settled(2)
            job.stop()
            self.assertEqual(job.poll(.05), [])
            job.stop()
            for result in self.take(job, 2):
                self.assertEqual((result.exitcode, result.reason),
                                 (-signal.SIGKILL, 'stopped'))

    def test_what_had_finished_is_not_stopped(self):
        gates = Gates(self.scratch(), *'ab')
        with self.manager(['a', 'b'], gates.command) as job:
            self.start_all(job, 2)
            gates.open('a')
            gates.open('b', 7)
            self.until_children('ZZ')
            job.stop()
            results = self.take(job, 2)
        self.assertEqual({(result.outcome, result.output)
                          for result in results},
                         {('ok', 'out of a\n'), ('error', 'out of b\n')})

    def test_draining_lets_what_runs_come_to_its_end(self):
        gates = Gates(self.scratch(), *'abc')
        with self.manager(list('abc'), gates.command, fanout=2) as job:
            self.start_all(job, 2)
            job.drain()
            gates.open('a')
            gates.open('b', 7)
            self.assertEqual({result.exitcode
                              for result in self.take(job, 2)}, {0, 7})
            self.assertTrue(job.done)
            self.assertEqual(list(job.not_started()), ['c'])

    def test_what_drains_can_still_be_stopped(self):
        with self.manager(['hang', 'slow'], grace=LONG) as job:
            self.start_all(job, 2)
            self.until_settled(2)
            job.drain()
            job.stop()                  # the first: SIGTERM, not SIGKILL
            self.assertEqual(self.take(job).host, 'slow')
            self.assertEqual(list(job.running), ['hang'])
            job.stop()
            self.assertEqual(self.take(job).exitcode, -signal.SIGKILL)

    def test_before_the_start_nothing_is_started(self):
        with self.manager(['exit0', 'exit7']) as job:
            job.stop()
            self.assertTrue(job.done)
            self.assertEqual(list(job), [])
            self.assertEqual(list(job.not_started()), ['exit0', 'exit7'])

    def test_over_the_limit_before_and_after(self):
        clock = Clock()
        with self.manager(['hang'], timeout=100, grace=10,
                          clock=clock) as job:
            job.poll(0)
            self.until_settled()
            clock.advance(100)
            self.assertEqual(job.poll(0), [])
            job.stop()                  # it has been told already
            clock.advance(10)
            self.assertEqual(self.take(job).reason, 'timed out after 100 s')

    def test_given_is_results_and_not_started(self):
        given = ['exit0-%d' % number for number in range(100)]
        with self.manager(given, fanout=7) as job:
            results = []
            for result in job:
                results.append(result.host)
                if len(results) == 40:
                    job.stop()
            self.assertEqual(sorted(results + list(job.not_started())),
                             sorted(given))


class LeaveTest(EngineTest):
    """However a run is left, TestCase finds nothing left behind."""

    def test_with_block_left_early(self):
        with self.manager(['slow[1-5]']) as job:
            self.start_all(job, 5)
        self.assertEqual((children(), job.running), ([], {}))
        self.assertEqual({result.reason for result in job.results.values()},
                         {'stopped'})

    def test_exception_in_a_with_block(self):
        with self.assertRaises(ZeroDivisionError):
            with self.manager(['slow[1-5]']) as job:
                job.poll(0)
                raise ZeroDivisionError
        self.assertEqual(children(), [])

    def test_with_block_that_did_nothing(self):
        with self.manager(['slow[1-5]']):
            pass

    def test_break(self):
        for result in self.manager(['exit0', 'slow[1-5]']):
            break
        self.assertEqual((result.host, children()), ('exit0', []))

    def test_iterator_closed(self):
        iterator = iter(self.manager(['exit0', 'slow[1-5]']))
        self.assertEqual(next(iterator).host, 'exit0')
        iterator.close()
        self.assertEqual(children(), [])

    def test_exception_in_the_body(self):
        try:
            for result in self.manager(['exit0', 'slow[1-5]']):
                raise ZeroDivisionError
        except ZeroDivisionError as error:
            error.__traceback__ = None
        del result
        self.assertEqual(children(), [])

    def test_interrupt_during_iteration(self):
        reader, writer = self.pipe(b'x')
        job = self.manager(['slow[1-5]'])
        job.poll(0)
        job.watch(reader, READ, self.interrupt)
        with self.assertRaises(KeyboardInterrupt):
            for result in job:
                self.fail(result)
        self.assertEqual(children(), [])

    def test_interrupt_during_wait(self):
        reader, writer = self.pipe(b'x')
        with self.assertRaises(KeyboardInterrupt):
            with self.manager(['slow[1-5]']) as job:
                job.poll(0)
                job.watch(reader, READ, self.interrupt)
                job.wait()
        self.assertEqual(children(), [])

    @staticmethod
    def interrupt(fileobj, events):
        raise KeyboardInterrupt

    def test_interrupt_during_close(self):
        job = self.manager(['hang[1-3]'], grace=LONG)
        self.start_all(job, 3)
        self.until_settled(3)
        previous = signal.signal(signal.SIGUSR1, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, previous)
        timer = threading.Timer(.05, os.kill, (os.getpid(), signal.SIGUSR1))
        killpg = os.killpg

        def start_timer_and_kill(pid, signum):
            killpg(pid, signum)
            if timer.ident is None:
                timer.start()
        with mock.patch('os.killpg', start_timer_and_kill):
            with self.assertRaises(KeyboardInterrupt):
                job.close()
        timer.join()
        wait_until(lambda: all(state == 'Z' for _, state, _ in children()))

    def test_results_not_given_yet_are_still_there(self):
        gates = Gates(self.scratch(), *'abcde')
        with self.manager(list('abcde'), gates.command, keep=False) as job:
            self.start_all(job, 5)
            gates.open_all()
            self.until_children('ZZZZZ')
            for result in job:
                break
            self.assertEqual(len([result] + list(job)), 5)

    def test_closing_twice_or_unused_is_nothing(self):
        job = self.manager(['exit0'])
        job.close()
        job.close()
        self.assertTrue(job.done)
        self.assertEqual((job.poll(), list(job)), ([], []))
        self.assertEqual(list(job.not_started()), ['exit0'])

    def test_results_of_what_close_ended_can_be_had(self):
        job = self.manager(['slow[1-3]'])
        self.start_all(job, 3)
        job.close()
        self.assertEqual(len(job.poll()), 3)
        self.assertTrue(job.done)

    def test_close_gives_up_too(self):
        job = self.manager(['slow'], grace=.05)
        job.poll(0)
        self.until_settled()
        with mock.patch('os.killpg'):
            job.close()
        self.assertIn('would not die', job.results['slow'].reason)
        pid = children()[0][0]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with mock.patch('warnings.warn'):
            del job
            gc.collect()

    def test_close_that_is_interrupted_lets_go_of_all(self):
        killpg, calls = os.killpg, []

        def interrupted(pid, signum):
            calls.append(pid)
            if len(calls) == 1:
                raise KeyboardInterrupt
            killpg(pid, signum)

        job = self.manager(['slow[1-3]'])
        self.start_all(job, 3)
        self.until_settled(3)
        with mock.patch('os.killpg', interrupted):
            with self.assertRaises(KeyboardInterrupt):
                job.close()
        self.assertEqual(children(), [])
        self.assertEqual(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)

    def test_many_runs_in_one_process(self):
        for _ in range(30):
            self.assertEqual(self.run_one('exit7').exitcode, 7)

    def test_program_interrupted_by_hand_leaves_no_ssh(self):
        # While it waits, and while it starts them, which is what it does
        # most of the time where they are brief.
        for hosts, count in ('slow[1-5]', 5), ('slow[1-999]', 30):
            with self.subTest(hosts=hosts):
                self.check_interrupted(hosts, count)

    def check_interrupted(self, hosts, count):
        program = '''
            from classh import SSHJobMan
            with SSHJobMan([{!r}], 'x', fanout=999, ssh={!r}) as job:
                for result in job:
                    print(result)
            '''.format(hosts, FAKE_SSH)
        command = Command([sys.executable, '-c', textwrap.dedent(program)],
                          env={'PYTHONPATH': MODULE})
        with command:
            self.until_settled(count)
            command.signal(signal.SIGINT)
            ended = command.finish()
        self.assertIn('KeyboardInterrupt', ended.stderr, ended)
        self.assertEqual(ended.stdout, '', ended)
        self.assertEqual(leftovers(), [])

    @staticmethod
    def breaking(error, started):
        """Have the start of a process raise *error*, done or not."""
        start = classh._Launcher.start

        def broken(launcher, *args):
            if started:
                start(launcher, *args)
            raise error

        return mock.patch('classh._Launcher.start', broken)

    def test_start_that_a_handler_breaks_off_is_not_lost(self):
        for error in KeyboardInterrupt, TimeoutError, SystemExit:
            for started, host, outcome in (
                    (True, 'slow', 'killed'), (False, 'b', 'ok')):
                clock = Clock()
                with self.manager([host, 'a'], fanout=1, timeout=100,
                                  clock=clock,
                                  input=self.pipe()[0]) as job:
                    with self.breaking(error, started):
                        with self.assertRaises(error):
                            job.poll()
                    clock.advance(100)
                    job.wait()
                self.assertEqual(children(), [])
                self.assertEqual({host: result.outcome for host, result
                                  in job.results.items()},
                                 {host: outcome, 'a': 'ok'}, error)

    def test_start_that_is_broken_off_ends_with_the_rest(self):
        with self.breaking(KeyboardInterrupt, True):
            with self.assertRaises(KeyboardInterrupt):
                with self.manager(['slow']) as job:
                    job.wait()
        self.assertEqual(job.results['slow'].reason, 'stopped')

    def test_handler_may_stop_the_run_in_the_middle_of_a_start(self):
        start = classh._Launcher.start

        def stop_after(launcher, *args):
            pid = start(launcher, *args)
            job.stop()
            return pid

        with mock.patch('classh._Launcher.start', stop_after):
            with self.manager(['slow']) as job:
                job.wait()
        self.assertEqual(job.results['slow'].reason, 'stopped')
