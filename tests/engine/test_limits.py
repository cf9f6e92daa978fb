"""The time limit of a job, of the module and in every mode of output."""

import contextlib
import os
import signal
import sys
import time
from unittest import mock

from lib import (MIB, MODULE, WAIT_LIMIT, Command, TestCase, children, elapsed,
                 fake_argv, kill_leftovers, leftovers, masked, pipe_from,
                 processes, read_to_end, run_in_pty, wait_until)
from lib.engine import (LONG, Clock, EngineTest, EveryModeTest, Gates,
                        StillClock, TickingMixin)
import classh


class LimitTest(EngineTest):
    """Every wait has an end: each row of the table of states."""

    def expire(self, host, *steps, **options):
        """Run *host* until it has settled; then put the clock forward by each
        of *steps*, and return the Result that comes of it."""
        line = options.pop('line', 'sleep 60')
        clock = StillClock()    # however long it takes to settle
        with self.manager([host], timeout=100, grace=10, clock=clock,
                          **options) as job:
            job.poll(0)
            self.until_settled(line=line)
            for seconds in steps[:-1]:
                clock.advance(seconds)
                self.assertEqual(job.poll(0), [])
                self.assertEqual(list(job.running), [host])
            clock.advance(steps[-1])
            return self.take(job)

    def test_sigterm_comes_at_the_limit(self):
        result = self.expire('slow', 99, 1)
        self.assertEqual(result[1:4], (-signal.SIGTERM, '', ''))
        self.assertEqual(result[6:9],
                         ('killed', 'timed out after 100 s', False))
        self.assertGreaterEqual(result.elapsed, 100)

    def test_job_that_ignores_sigterm_is_killed_after_the_grace(self):
        for host in ('hang', 'deaf'):
            result = self.expire(host, 100, 9, 1)
            self.assertEqual((result.outcome, result.exitcode),
                             ('killed', -signal.SIGKILL))
            self.assertEqual(result.reason, 'timed out after 100 s')

    def test_grace_is_5_seconds_unless_told(self):
        clock = StillClock()
        with self.manager(['deaf'], timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_settled()
            for seconds in 100, 4:
                clock.advance(seconds)
                self.assertEqual(job.poll(0), [])
            clock.advance(1)
            self.assertEqual(self.take(job).exitcode, -signal.SIGKILL)

    def test_stopped_job_hears_sigterm(self):
        clock = Clock()
        with self.manager(['stopped'], timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_children('T')
            clock.advance(100)
            result = self.take(job)
        self.assertEqual((result.outcome, result.exitcode, result.output),
                         ('killed', -signal.SIGTERM, ''))

    def test_stopped_job_that_ignores_sigterm_is_killed(self):
        clock = Clock()
        with self.manager(['deaf'], timeout=100, grace=10,
                          clock=clock) as job:
            job.poll(0)
            self.until_settled()
            for seconds, results in ((100, []), (10, None)):
                os.killpg(children()[0][0], signal.SIGSTOP)
                self.until_children('T')
                clock.advance(seconds)
                if results is not None:
                    self.assertEqual(job.poll(0), results)
            result = self.take(job)
        self.assertEqual((result.outcome, result.exitcode),
                         ('killed', -signal.SIGKILL))

    def test_answer_to_sigterm_does_not_hide_the_limit(self):
        for host, status in (('polite', 0), ('late', 255)):
            result = self.expire(host, 100)
            self.assertEqual((result.outcome, result.exitcode, result.reason),
                             ('killed', status, 'timed out after 100 s'))

    def test_text_from_before_and_after_the_limit_is_kept(self):
        result = self.expire('early', 100)
        self.assertEqual(result[2:4], ('out of early\n', 'err of early\n'))
        result = self.expire('late', 100)
        self.assertEqual(result.output, 'l' * MIB)

    def test_job_that_closed_its_pipes_is_waited_for(self):
        result = self.run_one('closer', 'sleep .2; exit 3')
        self.assertEqual(result.exitcode, 3)
        self.assertGreaterEqual(result.elapsed, .2)

    def test_job_that_closed_its_pipes_is_ended_at_its_limit(self):
        clock = Clock()
        with self.manager(['closer'], 'exec sleep 60', timeout=100,
                          clock=clock) as job:
            job.poll(0)
            self.until_settled()
            clock.advance(100)
            self.assertEqual(self.take(job).outcome, 'killed')

    def test_helper_in_its_group_dies_with_what_is_ended(self):
        # ... though it ignores SIGTERM, which ended the leader.
        script = "(trap '' TERM; exec sleep 60) & exec sleep 50"
        clock = Clock()
        with self.manager(['a'], script, timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_settled()
            self.until_settled(line='sleep 50')
            clock.advance(100)
            self.assertEqual(self.take(job).exitcode, -signal.SIGTERM)
            wait_until(lambda: not leftovers())

    def test_helper_of_a_job_that_ended_by_itself_lives_on(self):
        result = self.run_one('holder')
        self.assertEqual((result.outcome, result.output), ('ok', 'out\n'))
        self.until_settled()
        kill_leftovers()

    def test_no_limit_where_it_is_0_or_less_or_none(self):
        for timeout in (0, 0.0, -1, None):
            clock = Clock()
            gates = Gates(self.scratch(), 'a')
            with self.manager(['a'], gates.command, timeout=timeout,
                              clock=clock) as job:
                job.poll(0)
                clock.advance(10 ** 9)
                self.assertEqual(job.poll(0), [])
                gates.open('a')
                self.assertEqual(self.take(job).outcome, 'ok')

    def test_limit_counts_from_the_start_of_each_job(self):
        clock = Clock()
        gates = Gates(self.scratch(), 'a', 'b')
        with self.manager(['a', 'b'], gates.command, fanout=1, timeout=100,
                          clock=clock) as job:
            for host in 'ab':
                job.poll(0)
                clock.advance(90)
                self.assertEqual(job.poll(0), [])
                gates.open(host)
                self.assertEqual(self.take(job).outcome, 'ok')

    def test_job_that_had_finished_by_its_limit_is_not_timed_out(self):
        clock = Clock()
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command, timeout=100,
                          clock=clock) as job:
            job.poll(0)
            gates.open('a', 7)
            self.until_children('Z')
            clock.advance(LONG)
            result = self.take(job)
        self.assertEqual((result.exitcode, result.outcome, result.output),
                         (7, 'error', 'out of a\n'))

    def test_nor_is_one_that_finished_since_all_were_asked(self):
        clock = StillClock()
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], 'sleep 60 & ' + gates.command, timeout=100,
                          clock=clock) as job:
            job.poll(0)
            clock.advance(99.99)
            job.poll(0)                 # all are asked, at 99.99
            gates.open('a')
            self.until_children('Z')
            clock.advance(.02)          # too soon to ask all again
            wait_until(lambda: job.poll(0))
        self.assertEqual(job.results['a'].outcome, 'ok')
        kill_leftovers()

    def test_each_limit_strikes_its_own_job_and_holds_up_no_other(self):
        clock = Clock()
        with self.manager(['slow', 'exit0-[1-20]', 'unreach'], fanout=2,
                          timeout=100, clock=clock) as job:
            self.assertNotIn('slow', [result.host for result
                                      in self.take(job, 21)])
            clock.advance(100)
            result = self.take(job)
        self.assertEqual((result.host, result.outcome), ('slow', 'killed'))

    def test_stop_in_any_step_of_a_turn_does_not_use_up_the_limits(self):
        def stopped(function):
            def call(*args):
                clock.advance(200)
                return function(*args)
            return call
        for name in ('_Launcher.start', '_Job.read', '_Job.reap'):
            clock = StillClock()
            with self.subTest(name=name), self.manager(
                    ['early[1-2]'], timeout=100, clock=clock) as job:
                if name != '_Launcher.start':
                    self.start_all(job, 2)
                    self.until_settled(2)
                    clock.advance(2)    # all are asked
                owner, method = name.split('.')
                owner = getattr(classh, owner)
                with mock.patch.object(owner, method,
                                       stopped(getattr(owner, method))):
                    self.assertEqual(job.poll(0), [])
                self.assertEqual([running.state for running
                                  in job._pool.running.values()],
                                 [classh.RUNNING] * 2)
                clock.advance(101)      # but they do hold
                self.assertEqual({result.reason for result
                                  in self.take(job, 2)},
                                 {'timed out after 100 s'})
            kill_leftovers()

    def test_real_clock_strikes_too(self):
        result = self.run_one('slow', timeout=.2)
        self.assertEqual((result.outcome, result.reason),
                         ('killed', 'timed out after 0.2 s'))
        self.assertGreaterEqual(result.elapsed, .2)
        self.assertLess(result.elapsed, WAIT_LIMIT)


class TickingLimitTest(TickingMixin, LimitTest):
    pass


class WouldNotDieTest(EngineTest):
    def begin(self, hosts, clock):
        """A manager that has given up on its first host, and its pid."""
        job = self.manager(hosts, fanout=1, timeout=100, grace=10,
                           clock=clock)
        job.poll(0)
        self.until_settled()
        pid = children()[0][0]
        with mock.patch('os.killpg'):
            for seconds in (100, 10):
                clock.advance(seconds)
                self.assertEqual(job.poll(0), [])
            clock.advance(10)
            result = self.take(job)
        self.assertEqual((result.host, result.outcome, result.reason),
                         (hosts[0], 'killed',
                          'timed out after 100 s, would not die'))
        self.assertNotEqual(result.exitcode, 0)
        return job, pid

    def test_its_slot_is_free_and_it_is_reaped_when_it_does_end(self):
        clock = Clock()
        job, pid = self.begin(['slow1', 'slow2'], clock)
        with job:
            job.poll(0)
            self.assertEqual(list(job.running), ['slow2'])
            self.until_settled(2)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: job.poll(.01) == [] and
                       pid not in [child for child, _, _ in children()])
            self.assertEqual(len(children()), 1)
            job.stop()
            result = self.take(job)
        self.assertEqual((result.host, result.outcome, result.reason),
                         ('slow2', 'killed', 'stopped'))

    def test_run_ends_without_it(self):
        clock = Clock()
        job, pid = self.begin(['slow'], clock)
        self.assertTrue(job.wait())
        job.close()
        self.assertEqual(len(job.results), 1)
        os.kill(pid, signal.SIGKILL)
        self.until_children('Z')
        # The next run sees to it.
        self.run_one('exit0')
        self.assertEqual(children(), [])


class LimitInEveryModeTest(TestCase):
    def test_limit_holds_for_every_host_in_every_output_mode(self):
        # All at once, for each takes its time.
        command = 'echo before; exec sleep 60'
        modes = [([], 3), (['-q'], 3), (['--progress'], 3),
                 (['--maxrc'], 255), (['-q', '--maxrc'], 255)]
        with contextlib.ExitStack() as stack:
            started, pipes = [], []
            for fanout in ('-f1', '-f3'):
                options = [fanout, '-u2', command, 'a[1-3]']
                for mode, status in modes:
                    started.append((mode, status, stack.enter_context(
                        Command(fake_argv(*(options + mode))))))
                piped, pipe = stack.enter_context(pipe_from(
                    fake_argv(*options)))
                started.append((['> pipe'], 3, piped))
                pipes.append(pipe)
            for fanout in ('-f3', '-f1'):
                said = run_in_pty(fake_argv(fanout, '-u2', command, 'a[1-3]'))
                self.assertEqual(said.status, 3, said)
                self.check_report(said.stdout.replace('\r\n', '\n'))
            for pipe in pipes:
                self.check_report(read_to_end(pipe))
            for mode, status, running in started:
                self.check_mode(mode, status, running.finish())

    def check_mode(self, mode, status, said):
        said.check(status, stdout=None, stderr=None)
        summary = '3 of 3 timed out after 2 s (-u): a[1-3]\n'
        self.assertEqual(said.stderr, '' if '-q' in mode else
                         '!!!\n' + summary if '--progress' in mode
                         else summary, said)
        if mode in ([], ['--maxrc']):
            self.check_report(said.stdout)
        else:
            self.assertEqual(said.stdout, '', said)

    def check_report(self, shown):
        for host in ('a1', 'a2', 'a3'):
            self.assertIn(host + '   -15   (#)   timed out after 2 s\n'
                          '  Output:\n\n  before\n', masked(shown))
        for seconds in elapsed(shown):
            self.assertGreaterEqual(seconds, 2.0)


# The command line, but it waits .3 seconds before it sends SIGKILL.
HURRIED = ('import sys, classh; '
           'classh.SSHJobMan.__init__.__kwdefaults__.update(grace=.3); '
           'sys.exit(classh.main())')


# Reported of other tools: hangs and late returns.
class EndlessTest(EveryModeTest):
    KINDS = ('slow', 'early', 'hang', 'deaf', 'stopped', 'closer', 'escapee',
             'late', 'polite')

    def test_whatever_does_not_end_is_ended_in_every_mode(self):
        hosts = ['%s-%d' % (kind, number) for kind in self.KINDS
                 for number in (1, 2)]
        ended = self.in_every_mode(
            3, '-u4', 'exec sleep 60', *hosts,
            argv=[sys.executable, '-c', HURRIED], env={'PYTHONPATH': MODULE})
        for mode, said in ended.items():
            if '-q' not in mode:
                self.assertIn('18 of 18 timed out after 4 s (-u): ', said.stderr, said)
        for kind in self.KINDS:
            self.assertRegex(ended[()].stdout,
                             r'(?m)^%s-1   -?\d+   .*   timed out' % kind)
        self.assertIn('  out of early-1\n', ended[()].stdout)
        kill_leftovers()                # of the escapees

    def test_limit_holds_for_each_of_three_whatever_the_fanout(self):
        for fanout in (3, 1):
            with self.manager(['slow[1-3]'], timeout=.3,
                              fanout=fanout) as job:
                results = self.take(job, 3)
            for result in results:
                self.assertEqual((result.outcome, result.reason),
                                 ('killed', 'timed out after 0.3 s'))
                self.assertGreaterEqual(result.elapsed, .3)
                self.assertLess(result.elapsed, WAIT_LIMIT)


# Reported of other tools: hangs and late returns.
class LateLimitTest(EveryModeTest):
    def test_limit_does_not_strike_what_has_finished(self):
        # classh itself stands still while the hosts finish, till past their
        # limit.
        gates = Gates(self.directory, 'a', 'b')
        with self.start('-u2', gates.command, 'a', 'b') as command:
            start = time.monotonic()
            wait_until(lambda: len(self.jobs(command.pid)) == 2)
            command.signal(signal.SIGSTOP)
            gates.open('a')
            gates.open('b', 7)
            wait_until(lambda: self.jobs(command.pid) == ['Z', 'Z'])
            wait_until(lambda: time.monotonic() > start + 2.5)
            command.signal(signal.SIGCONT)
            said = command.finish().check(5, None, None)
        self.assertEqual(said.stderr, '1 of 2 exited with 7: b\n', said)

    @staticmethod
    def jobs(parent):
        """The states of the children of *parent*."""
        return [state for _, of, state, _ in processes() if of == parent]
