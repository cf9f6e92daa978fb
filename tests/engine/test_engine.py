"""The engine: SSHJobMan as a module, on processes of tests/bin/fake_ssh."""

import contextlib
import errno
import fcntl
import gc
import itertools
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import tracemalloc
from unittest import mock

from lib import (FAKE_SSH, ROOT, WAIT_LIMIT, Command, TestCase, children,
                 kill_leftovers, leftovers, read_log, run, sshd, wait_until)
import classh
from classh import ClasshError, PatternError, Result, SSHJobMan

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
LONG = 1000.0           # seconds that never pass but on a Clock
HANG_LIMIT = 120.0      # seconds for a test on a slow machine
MIB = 1 << 20


class Clock:
    """A monotonic clock that can be put forward."""

    def __init__(self):
        self._ahead = 0

    def __call__(self):
        return time.monotonic() + self._ahead

    def advance(self, seconds):
        self._ahead += seconds


class StillClock(Clock):
    """One that goes only where it is put."""

    def __call__(self):
        return 1000.0 + self._ahead


class EngineTest(TestCase):
    """Tests of SSHJobMan.  One that hangs fails after HANG_LIMIT."""

    def setUp(self):
        super().setUp()
        before = signal.signal(signal.SIGALRM, self._hung)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        # Again while close() waits for the grace of what hangs.
        signal.setitimer(signal.ITIMER_REAL, HANG_LIMIT, 1)

    @staticmethod
    def _hung(signum, frame):
        raise AssertionError('not done after %g s' % HANG_LIMIT)

    @staticmethod
    def manager(hosts, command='true', **options):
        options.setdefault('ssh', FAKE_SSH)
        return SSHJobMan(hosts, command, **options)

    def run_one(self, host, command='true', **options):
        """The Result of a run on one host."""
        with self.manager([host], command, **options) as job:
            return self.take(job)

    def take(self, job, count=1):
        """The next *count* results, a list; where it is one, that one."""
        results = []
        while len(results) < count and not job.done:
            results += job.poll()
        self.assertEqual(len(results), count, results)
        return results[0] if count == 1 else results

    @staticmethod
    def until_settled(count=1, line='sleep 60'):
        """Wait for *count* processes that have come to *line*.

        A shell that runs sleep has set its traps.
        """
        wait_until(lambda: [found for _, found in leftovers()].count(line)
                   >= count, what='%d times %s' % (count, line))

    @staticmethod
    def until_children(states):
        """Wait until the children are in these *states*: 'ZZ', 'T'."""
        wait_until(lambda: ''.join(state for _, state, _ in children())
                   == states, what='children ' + states)

    def pipe(self, *octets):
        """A pipe's two ends; one that holds *octets* where there are any."""
        ends = os.pipe()
        for end in ends:
            self.addCleanup(self._close, end)
        for written in octets:
            os.write(ends[1], written)
        return ends

    @staticmethod
    def _close(fd):
        with contextlib.suppress(OSError):
            os.close(fd)

    @staticmethod
    def each_start(call):
        """Have *call(number)* called before each start of a process, the
        first being 1."""
        start, numbers = classh._Launcher.start, itertools.count(1)

        def started(*args):
            call(next(numbers))
            return start(*args)
        return mock.patch('classh._Launcher.start', started)

    def with_ssh_in_path(self, script):
        """An environment in which `ssh` is the shell *script*."""
        directory = self.scratch()
        ssh = os.path.join(directory, 'ssh')
        with open(ssh, 'w') as stream:
            stream.write('#!/bin/sh\n%s "$@"\n' % script)
        os.chmod(ssh, 0o755)
        return {'PATH': directory + ':' + os.environ['PATH']}


class TickingMixin:
    """The same in a program that has a SIGCHLD handler: the engine ticks."""

    def setUp(self):
        super().setUp()
        before = signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        self.addCleanup(signal.signal, signal.SIGCHLD, before)


class Gates:
    """Hosts that wait, each at its gate, until the test opens it."""

    command = 'read -r status <%s/$HOST; echo out of $HOST; exit $status'

    def __init__(self, directory, *hosts):
        self._directory = directory
        self._hosts = hosts
        self.command = self.command % directory
        for host in hosts:
            os.mkfifo(os.path.join(directory, host))

    def open(self, host, status=0):
        """Let *host* go on, as soon as it waits."""
        with open(os.path.join(self._directory, host), 'w') as gate:
            gate.write('%d\n' % status)

    def open_all(self, status=0):
        for host in self._hosts:
            self.open(host, status)


def in_threads(*functions):
    """What each of *functions* returned, each called in its own thread."""
    outcomes = [None] * len(functions)

    def call(number, function):
        try:
            outcomes[number] = (function(), None)
        except BaseException as error:
            outcomes[number] = (None, error)
    threads = [threading.Thread(target=call, args=pair, daemon=True)
               for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_LIMIT)
    for outcome in outcomes:
        if outcome is None:
            raise AssertionError('a thread hangs')
        if outcome[1] is not None:
            raise outcome[1]
    return [returned for returned, _ in outcomes]


def own_children():
    """How many children this thread has, dead ones too."""
    try:
        with open('/proc/thread-self/children') as listed:
            return len(listed.read().split())
    except FileNotFoundError:           # an old kernel
        return len(children())


# -- One job ----------------------------------------------------------------

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

    def test_each_limit_strikes_its_own_job(self):
        clock = Clock()
        gates = Gates(self.scratch(), 'a')
        with self.manager(['slow', 'a'], gates.command, fanout=2,
                          timeout=100, clock=clock) as job:
            job.poll(0)
            gates.open('a')
            self.assertEqual(self.take(job).host, 'a')
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
                    job.poll(0)
                    self.until_settled(2)
                    clock.advance(2)    # all are asked
                owner, method = name.split('.')
                owner = getattr(classh, owner)
                with mock.patch.object(owner, method,
                                       stopped(getattr(owner, method))):
                    self.assertEqual(job.poll(0), [])
                self.assertEqual([running.state for running
                                  in job._dispatcher.pool.running.values()],
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


# -- Output -----------------------------------------------------------------

class OutputTest(EngineTest):
    def test_1_mib_on_each_stream_in_either_order(self):
        for host in ('loud', 'outloud'):
            result = self.run_one(host)
            self.assertEqual((result.output, result.errors),
                             ('o' * MIB, 'e' * MIB))

    def test_bytes_on_each_stream_by_turns(self):
        result = self.run_one('mixed')
        self.assertEqual((result.output, result.errors),
                         ('o' * 1000, 'e' * 1000))

    def test_what_is_left_in_a_pipe_at_the_end_is_swept_up(self):
        octets = os.urandom(60000)
        gates = Gates(self.scratch(), 'a')
        with self.file(octets) as path:
            command = 'cat %s; %s' % (path, gates.command)
            with self.manager(['a'], command) as job:
                job.poll(0)
                gates.open('a')
                self.until_children('Z')
                result = self.take(job)
        self.assertEqual(result.output.encode('utf-8', 'surrogateescape'),
                         octets + b'out of a\n')

    @contextlib.contextmanager
    def file(self, octets):
        with tempfile.NamedTemporaryFile() as stream:
            stream.write(octets)
            stream.flush()
            yield stream.name

    def test_every_byte_comes_back(self):
        octets = bytes(range(256)) * 3000 + b'\xe2\x82\xac \xf0\x9f'
        with self.file(octets) as path:
            result = self.run_one('a', 'cat %s; cat %s >&2' % (path, path))
        for stream in (result.output, result.errors):
            self.assertEqual(stream.encode('utf-8', 'surrogateescape'),
                             octets)

    def test_utf_8_is_text(self):
        self.assertEqual(self.run_one('a', 'echo h\u00e4\u20ac').output,
                         'h\u00e4\u20ac\n')

    def test_output_beyond_its_limit_is_read_dropped_and_told(self):
        for size, limit, kept, cut in (
                (999, 1000, 999, False), (1000, 1000, 1000, False),
                (1001, 1000, 1000, True), (MIB, 1, 1, True),
                (9 * MIB, 0, 9 * MIB, False), (MIB, MIB, MIB, False)):
            result = self.run_one('a', 'head -c %d /dev/zero' % size,
                                  max_output=limit)
            self.assertEqual((len(result.output), result.truncated,
                              result.outcome), (kept, cut, 'ok'),
                             (size, limit))

    def test_limit_of_output_is_for_each_stream(self):
        result = self.run_one('a', 'printf 12345; printf 123 >&2',
                              max_output=4)
        self.assertEqual((result.output, result.errors, result.truncated),
                         ('1234', '123', True))
        result = self.run_one('a', 'printf 1234; printf 12345 >&2',
                              max_output=4)
        self.assertEqual((result.output, result.errors, result.truncated),
                         ('1234', '1234', True))

    def test_limit_is_8_mib_unless_told(self):
        result = self.run_one('a', 'head -c %d /dev/zero' % (8 * MIB + 1))
        self.assertEqual((len(result.output), result.truncated),
                         (8 * MIB, True))

    def test_host_that_prints_for_ever_ends_at_its_limit(self):
        result = self.run_one('endless', timeout=1, max_output=100)
        self.assertEqual((result.outcome, result.truncated, result.output),
                         ('killed', True, 'y\n' * 50))

    def test_host_that_prints_for_ever_does_not_starve_another(self):
        with self.manager(['endless', 'exit7'], fanout=2) as job:
            self.assertEqual(self.take(job).host, 'exit7')
            job.stop()
            self.assertEqual(self.take(job).host, 'endless')

    def test_output_is_let_go_with_its_result(self):
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        peak = 0
        with self.manager(['a[1-100]'], 'head -c 400000 /dev/zero', fanout=2,
                          keep=False) as job:
            for result in job:
                self.assertEqual(len(result.output), 400000)
                del result
                peak = max(peak, tracemalloc.get_traced_memory()[0])
        self.assertLess(peak, 20 * 400000)

    LOST = ('ok', 'output lost: ' + os.strerror(errno.EIO), '', True)

    def lost(self, result):
        return (result.outcome, result.reason, result.output,
                result.truncated)

    def test_output_that_cannot_be_read_back_loses_no_result(self):
        error = OSError(errno.EIO, os.strerror(errno.EIO))
        with mock.patch('os.pread', side_effect=error):
            result = self.run_one('a', 'head -c 600000 /dev/zero')
        self.assertEqual(self.lost(result), self.LOST)

    def test_output_that_is_read_back_in_pieces_loses_no_byte(self):
        pread = os.pread
        octets = bytes(range(251)) * 2400
        with self.file(octets) as path, mock.patch(
                'os.pread', lambda fd, size, at: pread(fd, min(size, 9999),
                                                       at)):
            result = self.run_one('a', 'cat ' + path)
        self.assertEqual(result.output.encode('utf-8', 'surrogateescape'),
                         octets)

    def test_output_is_lost_where_the_file_that_held_it_is_shorter(self):
        pread = os.pread
        with mock.patch('os.pread', lambda fd, size, at: pread(
                fd, size, at)[:300000 - at]):
            result = self.run_one('a', 'head -c 600000 /dev/zero')
        self.assertEqual(self.lost(result), self.LOST)

    def test_pipe_that_cannot_be_read_is_no_end_of_output(self):
        read = os.read

        def broken(fd, size):
            octets = read(fd, size)
            if octets == b'out of a\n':
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return octets
        with mock.patch('os.read', broken):
            result = self.run_one('a', 'echo out of a')
        self.assertEqual(self.lost(result), self.LOST)

    def test_output_that_there_is_no_memory_for_is_lost_not_cut(self):
        class Full(bytearray):
            def __iadd__(self, chunk):
                if len(self) + len(chunk) > 100:
                    raise MemoryError
                return Full(bytes(self) + chunk)
        with mock.patch('classh.bytearray', Full, create=True):
            for host, command, outcome, after in (
                    ('a', 'head -c 200 /dev/zero', 'ok', ''),
                    ('a', 'head -c 200 /dev/zero; exit 7', 'error', ''),
                    ('endless', '', 'killed', ', timed out after 1 s')):
                result = self.run_one(host, command, timeout=1)
                self.assertEqual(
                    self.lost(result),
                    (outcome, 'output lost: out of memory' + after, '', True))
        self.assertEqual(self.run_one('a', 'echo there').output, 'there\n')


class TickingOutputTest(TickingMixin, OutputTest):
    test_output_is_let_go_with_its_result = None


class HeldPipeTest(EngineTest):
    """End of file is not the end of a job, nor the other way round."""

    def tearDown(self):
        kill_leftovers()
        super().tearDown()

    def test_grandchild_that_holds_a_pipe_is_not_waited_for(self):
        for host in ('holder', 'keeper'):
            result = self.run_one(host)
            self.assertEqual((result.outcome, result.output), ('ok', 'out\n'))
            self.assertLess(result.elapsed, WAIT_LIMIT)

    def test_grandchild_that_writes_for_ever_is_not_waited_for(self):
        result = self.run_one('flooder')
        self.assertEqual(result.outcome, 'ok')
        self.assertIn('out\n', result.output)
        self.assertLess(result.elapsed, WAIT_LIMIT)

    def test_grandchild_that_left_the_group_does_not_outlast_the_limit(self):
        clock = Clock()
        with self.manager(['escapee'], timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_settled()
            clock.advance(100)
            result = self.take(job)
        self.assertEqual((result.outcome, result.output, result.exitcode),
                         ('killed', 'out\n', -signal.SIGTERM))
        self.assertLess(result.elapsed, 100 + WAIT_LIMIT)

    def test_sweep_of_a_pipe_that_is_never_empty_has_an_end(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command) as job:
            job.poll(0)
            gates.open('a')
            self.until_children('Z')
            with mock.patch('os.read', lambda fd, size: b'x' * (size - 1)):
                result = self.take(job)
        self.assertEqual(result.outcome, 'ok')

    def test_exit_notice_that_got_lost_costs_a_second_at_most(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], 'sleep 60 & ' + gates.command) as job:
            job.poll(0)
            # Somebody takes our handler away.
            before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.assertIsNot(before, signal.SIG_DFL)
            gates.open('a')
            result = self.take(job)
        self.assertEqual(result.outcome, 'ok')
        self.assertLess(result.elapsed, WAIT_LIMIT)


class TickingHeldPipeTest(TickingMixin, HeldPipeTest):
    test_exit_notice_that_got_lost_costs_a_second_at_most = None


class ChildTest(EngineTest):
    """What a job finds around it."""

    def test_it_leads_a_session_and_a_group_of_its_own(self):
        result = self.run_one('a', 'exec cut -d " " -f 1,5-7 /proc/self/stat')
        pid, group, session, terminal = map(int, result.output.split())
        self.assertEqual((group, session, terminal), (pid, pid, 0))

    def test_its_stdin_is_empty(self):
        self.assertEqual(self.run_one('reader')[1:3], (0, ''))

    def test_its_input_may_turn_out_not_to_be_readable(self):
        # Half of it must not pass for all.  'w': open, but not for reading.
        path = os.path.join(self.scratch(), 'input')
        with open(path, 'w') as unreadable:
            with self.manager(['reader', 'slow', 'next'], fanout=2,
                              input=unreadable) as job:
                reasons = {result.host: (result.outcome, result.reason)
                           for result in job}
                self.assertEqual(list(job.not_started()), ['next'])
        lost = ('killed', 'input lost: Bad file descriptor')
        self.assertEqual(reasons, {'reader': lost, 'slow': lost})

    def test_it_inherits_no_other_descriptor(self):
        reader, writer = self.pipe()
        os.set_inheritable(writer, True)
        with self.manager(['a', 'b'], 'exec ls /proc/self/fd') as job:
            for result in job:
                # 3 is the directory that ls reads.
                self.assertEqual(result.output.split(), ['0', '1', '2', '3'])

    def test_signals_blocked_by_the_program_only_cost_the_grace(self):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        result = self.run_one('slow', timeout=.05, grace=.05)
        self.assertEqual((result.outcome, result.exitcode),
                         ('killed', -signal.SIGKILL))


# -- Hosts ------------------------------------------------------------------

class HostsTest(EngineTest):
    def test_hosts_are_read_as_slots_become_free(self):
        taken = []

        def endless():
            for number in itertools.count():
                taken.append('exit0-%d' % number)
                yield taken[-1]
        with self.manager(endless(), fanout=5) as job:
            results = job.poll(0)
            while len(results) < 20:
                self.assertLessEqual(len(taken), len(results) + 5)
                results += job.poll()
            job.stop()
            results += list(job)
            self.assertEqual(sorted(result.host for result in results),
                             sorted(taken))
            self.assertEqual(next(job.not_started()),
                             'exit0-%d' % len(results))

    def test_pattern_for_a_hundred_million_costs_nothing(self):
        with self.manager(['exit0-[0-99999999]'], fanout=2,
                          keep=False) as job:
            for result in itertools.islice(job, 3):
                self.assertEqual(result.outcome, 'ok')
            job.stop()
            left = list(itertools.islice(job.not_started(), 3))
        first = int(left[0].partition('-')[2])
        self.assertEqual(left, ['exit0-%d' % (first + n) for n in range(3)])
        self.assertLess(first, 10)

    def test_host_named_twice_runs_once(self):
        with self.manager(['exit0-1', 'exit0-[1-3]', 'exit0-2,exit0-3'],
                          fanout=1) as job:
            results = job.poll(0)
            job.add('exit0-[2-4]')
            results += list(job)
            self.assertEqual([result.host for result in results],
                             ['exit0-1', 'exit0-2', 'exit0-3', 'exit0-4'])

    def test_one_string_is_one_pattern(self):
        with self.manager('exit[0-1]') as job:
            self.assertEqual(sorted(result.host for result in job),
                             ['exit0', 'exit1'])

    def test_no_hosts_is_no_work(self):
        for hosts in ([], '', iter(())):
            with self.manager(hosts) as job:
                self.assertTrue(job.wait(0) or job.wait())
                self.assertEqual((job.results, list(job)), ({}, []))

    def test_brackets_may_be_taken_literally(self):
        with self.manager(['a[1-2]'], 'echo $HOST', expand=False) as job:
            self.assertEqual([result.output for result in job],
                             ['a[1-2]\n'])

    def test_excluded_hosts_do_not_run_in_whatever_form_they_are_named(self):
        for exclude in ('exit0-[2-3]', ['exit0-3', 'exit0-2'],
                        ('exit0-2,exit0-3',), iter(['exit0-[2-3]'])):
            with self.manager('exit0-[1-4]', exclude=exclude) as job:
                self.assertEqual(sorted(result.host for result in job),
                                 ['exit0-1', 'exit0-4'])

    def test_bad_host_in_a_list_is_refused_at_once(self):
        for bad in ('-oProxyCommand=x', 'a[3-1]', 'a b', 'a[', ''.join('\n')):
            with self.assertRaises(PatternError):
                self.manager(['exit0', bad])
        job = self.manager([])
        with self.assertRaises(PatternError):
            job.add(['exit0', '-x'])

    def test_bad_host_that_comes_late_is_raised_and_the_rest_runs(self):
        hosts = iter(['exit0-1', 'a[2-1]', 'exit0-2', '-x', 'exit0-3'])
        bad, results = [], []
        with self.manager(hosts, fanout=1) as job:
            while not job.done:
                try:
                    results += job.poll()
                except PatternError as error:
                    bad.append(error.part)
        self.assertEqual([result.host for result in results],
                         ['exit0-1', 'exit0-2', 'exit0-3'])
        self.assertEqual(bad, ['2-1', '-x'])

    def test_bad_host_that_comes_late_ends_a_wait_and_leaves_nothing(self):
        for way in (SSHJobMan.wait, list):
            job = self.manager(iter(['slow', 'a[2-1]']))
            with self.assertRaises(PatternError):
                way(job)
            self.assertEqual(children(), [])
            self.assertEqual(list(job.results), ['slow'])

    def test_error_of_the_iterator_itself_comes_out_and_ends_the_hosts(self):
        def broken():
            yield 'exit0'
            raise ZeroDivisionError
        results, raised = [], 0
        with self.manager(broken()) as job:
            while not job.done:
                try:
                    results += job.poll()
                except ZeroDivisionError:
                    raised += 1
        self.assertEqual((len(results), raised), (1, 1))

    def test_hosts_may_be_added_during_the_run(self):
        with self.manager(['exit0-0'], fanout=2) as job:
            hosts = []
            for result in job:
                hosts.append(result.host)
                if len(hosts) <= 5:
                    job.add('exit0-%d' % len(hosts))
        self.assertEqual(hosts, ['exit0-%d' % n for n in range(6)])

    def test_hosts_may_be_added_after_the_end(self):
        with self.manager(['exit0']) as job:
            self.assertTrue(job.wait())
            job.add(['exit7'])
            self.assertFalse(job.done)
            self.assertTrue(job.wait())
            self.assertEqual(list(job.results), ['exit0', 'exit7'])

    def test_every_poll_ends_though_ssh_cannot_be_started(self):
        hosts = itertools.islice(map('h{}'.format, itertools.count()), 10000)
        with self.manager(hosts, ssh='/nonexistent', fanout=5) as job:
            self.assertEqual(len(job.poll()), 5)
            job.stop()
            self.assertLess(len(job.poll()), 6)
            self.assertGreater(len(list(job.not_started())), 9900)


# -- The pool ---------------------------------------------------------------

class FanoutTest(EngineTest):
    def log(self):
        path = os.path.join(self.scratch(), 'log')
        os.environ['FAKE_SSH_LOG'] = path
        self.addCleanup(os.environ.pop, 'FAKE_SSH_LOG')
        return path

    def test_one_at_a_time_is_a_sequence(self):
        log = self.log()
        with self.manager(['exit[3,1,2,0]'], fanout=1) as job:
            finished = [result.host for result in job]
        wanted = ['exit3', 'exit1', 'exit2', 'exit0']
        self.assertEqual((finished, read_log(log)), (wanted, (wanted, 1)))

    def test_as_many_run_at_once_as_may(self):
        log = self.log()
        # The first five wait for each other; a sixth would be seen.
        command = ('echo >%s/$HOST; until [ $(ls %s | wc -l) -ge 5 ]; '
                   'do sleep .01; done') % ((self.scratch(),) * 2)
        with self.manager(['h[1-20]'], command, fanout=5) as job:
            self.assertEqual(len(list(job)), 20)
        started, most = read_log(log)
        self.assertEqual((len(started), most), (20, 5))

    def test_it_may_be_changed_between_polls(self):
        with self.manager(['slow[1-9]'], fanout=1) as job:
            for fanout, running in ((1, 1), (4, 4), (2, 4), (5, 5)):
                job.fanout = fanout
                job.poll(0)
                self.assertEqual(len(job.running), running)

    def test_turn_starts_hosts_for_50_ms_at_most(self):
        # A large fanout would keep what runs, and Ctrl-C, waiting.
        clock = StillClock()
        with self.manager(['slow[1-99]'], fanout=99, clock=clock) as job:
            with self.each_start(lambda number: clock.advance(.01)):
                job.poll(0)
                first = len(job.running)
                job.poll(0)
            self.assertLess(first, 10)
            self.assertLess(first, len(job.running))

    def test_nor_longer_where_none_can_be_started(self):
        clock = StillClock()
        with self.manager(['a[1-99]'], fanout=99, clock=clock,
                          ssh='/nonexistent/ssh') as job:
            with self.each_start(lambda number: clock.advance(.01)):
                self.assertLess(len(job.poll(0)), 10)
                self.take(job, 99 - len(job.results))

    def test_those_that_run_are_named_longest_first(self):
        gates = Gates(self.scratch(), *'abcd')
        with self.manager(list('abcd'), gates.command, fanout=3) as job:
            job.poll(0)
            self.assertEqual(list(job.running), ['a', 'b', 'c'])
            gates.open('b')
            self.take(job)
            job.poll(0)
            self.assertEqual(list(job.running), ['a', 'c', 'd'])

    def test_fewer_than_one_is_refused(self):
        for fanout in (0, -1):
            with self.assertRaises(ValueError):
                self.manager(['a'], fanout=fanout)


class ManyTest(EngineTest):
    KINDS = (('exit0', 'ok', 0), ('exit7', 'error', 7),
             ('fail3', 'error', 3), ('exit255', 'ssh', 255),
             ('noresolve', 'ssh', 255))

    def run_many(self, count, fanout=100, **options):
        """Run *count* hosts of all kinds; fail unless each has its result
        once and never more than *fanout* children live."""
        kinds = dict(zip(range(count), itertools.cycle(self.KINDS)))
        alive = []

        def hosts():
            for number, kind in kinds.items():
                # One more is about to be started.
                alive.append(own_children())
                yield '%s-%d' % (kind[0], number)
        with self.manager(hosts(), fanout=fanout, **options) as job:
            results = list(job)
        self.assertEqual(own_children(), 0)
        self.assertLess(max(alive), fanout)
        self.assertEqual(
            sorted((result.host, result.outcome, result.exitcode)
                   for result in results),
            sorted(('%s-%d' % (kind[0], number),) + kind[1:]
                   for number, kind in kinds.items()))
        return job

    def test_3000_hosts_give_3000_results(self):
        job = self.run_many(3000)
        self.assertEqual(len(job.results), 3000)

    def test_the_same_off_the_main_thread(self):
        in_threads(lambda: self.run_many(500))

    def test_two_managers_in_two_threads(self):
        in_threads(lambda: self.run_many(300, 20),
                   lambda: self.run_many(300, 20))

    def test_one_in_the_main_thread_and_one_beside_it(self):
        results = []
        beside = threading.Thread(
            target=lambda: results.append(self.run_many(300, 20)))
        beside.start()
        self.run_many(300, 20)
        beside.join()
        self.assertEqual(len(results), 1)

    def test_nothing_is_kept_where_nothing_should_be(self):
        job = self.run_many(500, 10, keep=False)
        self.assertEqual(job.results, {})
        gc.collect()
        self.assertLess(sum(isinstance(held, Result)
                            for held in gc.get_objects()), 100)

    def test_third_of_the_jobs_over_their_limit(self):
        hosts = itertools.cycle(['slow', 'exit0', 'exit7'])
        hosts = ['%s-%d' % pair for pair in zip(hosts, range(90))]
        with self.manager(hosts, timeout=.4, fanout=90) as job:
            results = list(job)
        self.assertEqual(sorted(result.host for result in results),
                         sorted(hosts))
        for result in results:
            if result.host.startswith('slow'):
                self.assertEqual(result.outcome, 'killed')


# -- Waiting ----------------------------------------------------------------

class WaitTest(EngineTest):
    def test_wait_tells_whether_it_came_to_the_end(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command) as job:
            self.assertIs(job.wait(.05), False)
            self.assertEqual(list(job.running), ['a'])
            gates.open('a', 3)
            self.assertIs(job.wait(), True)
            self.assertIs(job.wait(0), True)
            self.assertEqual(job.results['a'].exitcode, 3)

    def test_wait_for_no_time_is_a_turn(self):
        with self.manager(['exit0-[1-5]'], fanout=1) as job:
            wait_until(lambda: job.wait(0))
            self.assertEqual(len(job.results), 5)

    def test_poll_for_no_time_returns_what_there_is(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command) as job:
            for _ in range(3):
                self.assertEqual(job.poll(0), [])
            gates.open('a')
            self.until_children('Z')
            wait_until(lambda: job.poll(0))
            self.assertEqual(list(job.results), ['a'])

    def test_poll_waits_no_longer_than_asked(self):
        with self.manager(['slow']) as job:
            start = time.monotonic()
            self.assertEqual(job.poll(.1), [])
            self.assertLess(time.monotonic() - start, WAIT_LIMIT)

    def test_poll_with_nothing_to_do_returns_at_once(self):
        job = self.manager([])
        self.assertEqual((job.poll(), job.poll(60)), ([], []))

    def test_results_stand_in_order_of_finishing(self):
        gates = Gates(self.scratch(), *'abc')
        with self.manager(list('abc'), gates.command) as job:
            job.poll(0)
            for host in 'cab':
                gates.open(host)
                self.assertEqual(self.take(job).host, host)
        self.assertEqual(list(job.results), ['c', 'a', 'b'])

    def test_each_result_comes_as_its_host_finishes(self):
        gates = Gates(self.scratch(), *'abc')
        order = iter('bca')
        with self.manager(list('abc'), gates.command) as job:
            job.poll(0)
            gates.open(next(order))
            finished = []
            for result in job:
                finished.append(result.host)
                following = next(order, None)
                if following:
                    gates.open(following)
        self.assertEqual(finished, ['b', 'c', 'a'])

    def test_results_are_not_kept_unless_wanted(self):
        with self.manager(['exit0', 'exit7'], keep=False) as job:
            self.assertEqual(len(list(job)), 2)
        self.assertEqual(job.results, {})

    def test_many_that_sleep_cost_nothing(self):
        # An engine that spins would use all of the time it waits.
        with self.manager(['slow[1-20]', 'closer[1-20]'],
                          'exec sleep 60') as job:
            while len(job.running) < 40:
                job.poll(0)
            self.until_settled(40)
            used = time.process_time()
            self.assertIs(job.wait(.5), False)
            self.assertLess(time.process_time() - used, .25)


class TickingWaitTest(TickingMixin, WaitTest):
    pass


# -- Stopping and leaving ---------------------------------------------------

class StopTest(EngineTest):
    def test_what_runs_is_ended_and_the_rest_is_not_started(self):
        with self.manager(['slow[1-7]'], fanout=3) as job:
            job.poll(0)
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
            job.poll(0)
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
            job.poll(0)
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
            job.poll(0)
            job.drain()
            gates.open('a')
            gates.open('b', 7)
            self.assertEqual({result.exitcode
                              for result in self.take(job, 2)}, {0, 7})
            self.assertTrue(job.done)
            self.assertEqual(list(job.not_started()), ['c'])

    def test_what_drains_can_still_be_stopped(self):
        with self.manager(['hang', 'slow'], grace=LONG) as job:
            job.poll(0)
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
            job.poll(0)
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
        job.poll(0)
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
            job.poll(0)
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
        job.poll(0)
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
        job.poll(0)
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
                          env={'PYTHONPATH': ROOT})
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
                with self.manager([host, 'a'], fanout=1, timeout=1,
                                  input=self.pipe()[0]) as job:
                    with self.breaking(error, started):
                        with self.assertRaises(error):
                            job.poll()
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


# -- Other descriptors in the loop ------------------------------------------

class WatchTest(EngineTest):
    def test_hosts_may_arrive_on_a_pipe(self):
        reader, writer = self.pipe(b'exit0 exit1 ')
        job = self.manager([])

        def arrive(fd, events):
            self.assertEqual((fd, events), (reader, READ))
            names = os.read(fd, 1000).decode().split()
            if names:
                job.add(names)
            else:
                job.unwatch(fd)
        with job:
            job.watch(reader, READ, arrive)
            self.assertEqual({result.host for result in self.take(job, 2)},
                             {'exit0', 'exit1'})
            self.assertIs(job.wait(.05), False)
            os.write(writer, b'exit1 exit2')
            self.assertEqual(self.take(job).host, 'exit2')
            os.close(writer)
            self.assertIs(job.wait(), True)

    def test_socket(self):
        here, there = socket.socketpair()
        received = []

        def receive(fileobj, events):
            received.append(fileobj.recv(100))
            if not received[-1]:
                job.unwatch(fileobj)
        with here, there, self.manager(['exit0']) as job:
            job.watch(here, READ, receive)
            there.sendall(b'word')
            there.shutdown(socket.SHUT_WR)
            self.assertTrue(job.wait())
        self.assertEqual(b''.join(received), b'word')
        self.assertEqual(len(job.results), 1)

    def test_regular_file_is_always_ready(self):
        lines = []

        def read(stream, events):
            self.assertEqual(events, READ)
            lines.append(stream.readline())
            if not lines[-1]:
                job.unwatch(stream)
        with tempfile.TemporaryFile('w+') as stream:
            stream.write('1\n2\n')
            stream.seek(0)
            with self.manager(['exit0']) as job:
                job.watch(stream, READ, read)
                self.assertTrue(job.wait())
        self.assertEqual(lines, ['1\n', '2\n', ''])
        self.assertEqual(len(job.results), 1)

    def test_descriptor_of_a_regular_file(self):
        with tempfile.TemporaryFile() as stream:
            fd = fcntl.fcntl(stream.fileno(), fcntl.F_DUPFD, 300)
            self.addCleanup(os.close, fd)
            with self.manager([]) as job:
                job.watch(fd, READ, self.fail)
                job.unwatch(int(str(fd)))       # equal, but not the same
                self.assertTrue(job.wait())

    def test_pipe_that_nobody_reads_stops_nothing(self):
        reader, writer = self.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b'x' * 4096)
        with self.manager(['exit0-[1-5]'], fanout=1) as job:
            job.watch(writer, WRITE, self.fail)
            self.assertEqual(len(self.take(job, 5)), 5)
            job.unwatch(writer)
            self.assertTrue(job.wait())

    def test_pipe_that_is_read_can_be_written_to(self):
        reader, writer = self.pipe()
        ready = []
        with self.manager(['slow']) as job:
            job.watch(writer, WRITE, lambda *ready_now: ready.append(
                ready_now) or job.unwatch(writer))
            wait_until(lambda: job.poll(.1) or ready)
        self.assertEqual(ready, [(writer, WRITE)])

    def test_watching_again_changes_what_is_called_and_when(self):
        reader, writer = self.pipe(b'x')
        with self.manager(['exit0']) as job:
            job.watch(reader, READ, self.fail)
            job.watch(reader, READ, lambda fd, events: job.unwatch(fd))
            self.assertTrue(job.wait())
            here, there = socket.socketpair()
            with here, there:
                job.watch(here, READ, self.fail)
                job.watch(here, WRITE, lambda fd, events: job.unwatch(fd))
                self.assertTrue(job.wait())

    def test_what_is_unwatched_by_a_callback_is_not_called_any_more(self):
        ends = [self.pipe(b'x')[0] for _ in range(3)]
        called = []

        def only_me(fd, events):
            called.append(fd)
            for end in ends:
                job.unwatch(end)
        with self.manager([]) as job:
            for end in ends:
                job.watch(end, READ, only_me)
            self.assertTrue(job.wait())
        self.assertEqual(len(called), 1)

    def test_unwatching_what_is_not_watched_is_nothing(self):
        with self.manager([]) as job:
            job.unwatch(0)

    def test_what_is_watched_keeps_the_loop_going_until_it_is_not(self):
        reader, writer = self.pipe()
        with self.manager(['exit0']) as job:
            job.watch(reader, READ, self.fail)
            self.assertEqual(self.take(job).host, 'exit0')
            self.assertIs(job.done, False)
            self.assertIs(job.wait(.05), False)
            job.unwatch(reader)
            self.assertIs(job.done, True)
            self.assertIs(job.wait(), True)

    def test_stop_from_a_callback(self):
        # Whatever is ready in the same turn, and in whatever order.
        for names in ('a', 'abcde'):
            reader, writer = self.pipe(b'x')
            gates = Gates(self.scratch(), *names)
            with self.manager(['slow'] + list(names), gates.command) as job:
                job.poll(0)
                job.watch(reader, READ, lambda fd, events: (
                    job.stop(), job.unwatch(fd)))
                gates.open_all(7)
                self.until_dead(len(names))
                outcomes = {result.host: result.outcome for result in job}
            self.assertEqual(outcomes.pop('slow'), 'killed')
            self.assertEqual(list(outcomes.values()), ['error'] * len(names))

    @staticmethod
    def until_dead(count):
        wait_until(lambda: [state for _, state, _ in children()].count('Z')
                   == count)

    def test_close_from_a_callback(self):
        reader, writer = self.pipe(b'x')
        gates = Gates(self.scratch(), 'a')
        job = self.manager(['a', 'slow'], gates.command)
        job.poll(0)
        job.watch(reader, READ, lambda fd, events: job.close())
        gates.open('a')
        self.until_dead(1)
        self.assertEqual({(result.host, result.outcome) for result in job},
                         {('a', 'ok'), ('slow', 'killed')})

    def test_exception_of_a_callback_loses_nothing(self):
        reader, writer = self.pipe(b'xxxxx')

        def fail(fd, events):
            if not os.read(fd, 1).strip(b'.'):
                job.unwatch(fd)
            raise ZeroDivisionError
        results, raised = [], 0
        with self.manager(['fail7-[1-30]'], fanout=4) as job:
            job.watch(reader, READ, fail)
            while not job.done:
                try:
                    results += job.poll()
                except ZeroDivisionError:
                    raised += 1
                    if raised == 5:
                        os.write(writer, b'.')
        self.assertEqual((len(results), raised), (30, 6))
        self.assertEqual({result.output for result in results},
                         {'out of %s\n' % result.host for result in results})

    def test_callback_that_always_raises_does_not_keep_close_from_it(self):
        reader, writer = self.pipe(b'x')

        def fail(fd, events):
            raise ZeroDivisionError
        job = self.manager(['slow[1-3]'])
        job.poll(0)
        job.watch(reader, READ, fail)
        with contextlib.suppress(ZeroDivisionError):
            job.close()
        self.assertEqual(children(), [])

    def test_another_manager_may_run_within_a_callback(self):
        reader, writer = self.pipe(b'x')

        def nest(fd, events):
            job.unwatch(fd)
            self.assertEqual(self.run_one('exit7').exitcode, 7)
        with self.manager(['exit0', 'exit1']) as job:
            job.watch(reader, READ, nest)
            self.assertEqual(len(self.take(job, 2)), 2)


class TickingWatchTest(TickingMixin, WatchTest):
    pass


# -- Other people's programs ------------------------------------------------

class HostProgramTest(EngineTest):
    """Signals and children of the program around are left alone."""

    def test_its_sigchld_handler_is_called_and_stays(self):
        statuses = []

        def handler(signum, frame):
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(own, os.WNOHANG)
                if pid:
                    statuses.append(os.WEXITSTATUS(status))
        previous = signal.signal(signal.SIGCHLD, handler)
        self.addCleanup(signal.signal, signal.SIGCHLD, previous)
        own = os.spawnlp(os.P_NOWAIT, 'sh', 'sh', '-c', 'sleep .1; exit 9')
        with self.manager(['exit0-[1-300]'], fanout=20) as job:
            self.assertEqual({result.outcome for result in job}, {'ok'})
            self.assertIs(signal.getsignal(signal.SIGCHLD), handler)
        wait_until(lambda: statuses)
        self.assertEqual((len(job.results), statuses), (300, [9]))
        self.assertIs(signal.getsignal(signal.SIGCHLD), handler)

    def test_handler_that_it_installs_during_the_run_stays(self):
        def handler(signum, frame):
            calls.append(signum)
        calls = []
        with self.manager(['keeper[1-3]', 'exit0-[1-20]'], fanout=3) as job:
            job.poll(0)
            previous = signal.signal(signal.SIGCHLD, handler)
            self.addCleanup(signal.signal, signal.SIGCHLD, signal.SIG_DFL)
            self.assertTrue(callable(previous))
            self.assertTrue(job.wait())
        self.assertEqual(len(job.results), 23)
        self.assertIs(signal.getsignal(signal.SIGCHLD), handler)
        self.assertTrue(calls)
        kill_leftovers()

    def test_its_wakeup_descriptor_stays_and_hears_its_signals(self):
        here, there = socket.socketpair()
        with here, there:
            there.setblocking(False)
            here.setblocking(False)
            before = signal.signal(signal.SIGUSR1, lambda *args: None)
            self.addCleanup(signal.signal, signal.SIGUSR1, before)
            self.assertEqual(signal.set_wakeup_fd(there.fileno()), -1)
            try:
                with self.manager(['exit0-[1-50]'], fanout=5) as job:
                    for result in job:
                        os.kill(os.getpid(), signal.SIGUSR1)
                self.assertEqual(set(here.recv(4096)), {signal.SIGUSR1})
            finally:
                self.assertEqual(signal.set_wakeup_fd(-1), there.fileno())
        self.assertEqual(len(job.results), 50)
        self.assertIs(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)

    def test_its_signals_are_handled_during_the_run(self):
        calls = []
        previous = signal.signal(signal.SIGUSR1,
                                 lambda *args: calls.append(args))
        self.addCleanup(signal.signal, signal.SIGUSR1, previous)
        self.run_one('a', 'kill -s USR1 %d; sleep .1' % os.getpid())
        self.assertEqual(len(calls), 1)

    def test_blocked_sigchld(self):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        with self.manager(['exit0-[1-20]', 'closer'], 'exit 7') as job:
            self.assertEqual(len(list(job)), 21)
        self.assertEqual(job.results['closer'].exitcode, 7)

    FORKED = '''
        import os, sys
        from classh import PasswordAttendant, Gate, SSHJobMan

        def fork(leave):
            child = os.fork()
            if not child:
                leave()
            if os.waitpid(child, 0)[1]:
                sys.exit('the child failed')

        class Done(BaseException):
            pass

        def leave():
            raise Done
        way, parent = sys.argv[1], os.getpid()
        source, writer = os.pipe()
        attendant = PasswordAttendant(Gate(b'secret', anyway=True))
        try:
            with attendant, SSHJobMan(['h[1-9]'], 'read -r line && echo got',
                           ssh=os.environ['SSH'], fanout=4, timeout=30,
                           input=source, hooks=[attendant]) as job:
                job.watch(1, 2, lambda fd, events: job.unwatch(1))
                while len(job.running) < 4:
                    job.poll(0)
                fork(dict(leave=leave, close=lambda: job.close() or leave(),
                          unwatch=lambda: job.unwatch(1) or leave(),
                          stop=lambda: job.stop() or leave(),
                          list=lambda: list(job) and sys.exit(1) or leave(),
                          wait=lambda: job.wait() and leave(),
                          )[way])
                os.write(writer, b'line\\n')
                os.close(writer)
                print(len([result for result in job
                           if result.output == 'got\\n']),
                      os.path.isdir(attendant._directory))
        except Done:
            pass
        if os.getpid() != parent:
            os._exit(len(job.running))
        '''

    def test_child_that_it_forks_leaves_the_jobs_alone(self):
        for way in 'leave', 'close', 'stop', 'unwatch', 'list', 'wait':
            with self.subTest(way=way):
                run([sys.executable, '-c', textwrap.dedent(self.FORKED), way],
                    env={'PYTHONPATH': ROOT, 'SSH': FAKE_SSH}
                    ).check(0, '9 True\n')

    def test_its_own_children_are_not_reaped(self):
        with subprocess.Popen(['sh', '-c', 'exit 9']) as own:
            self.until_children('Z')
            with self.manager(['exit0-[1-20]']) as job:
                self.assertTrue(job.wait())
            self.assertEqual(own.wait(), 9)

    def test_two_managers_by_turns_in_one_thread(self):
        with self.manager(['exit0-[1-20]'], fanout=3) as one, \
                self.manager(['exit7-[1-20]'], fanout=3) as two:
            while not (one.done and two.done):
                for job in one, two:
                    job.poll(.01)
        for job, status in ((one, 0), (two, 7)):
            self.assertEqual({result.exitcode
                              for result in job.results.values()}, {status})
            self.assertEqual(len(job.results), 20)

    def test_first_of_two_managers_ends_first(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['exit0']) as one:
            one.poll(0)
            with self.manager(['a'], gates.command) as two:
                two.poll(0)
                self.assertTrue(one.wait())
                one.close()
                gates.open('a')
                self.assertTrue(two.wait())

    @staticmethod
    def program(source, *args):
        """Python *source* as a Command; what it leaks shows on stderr."""
        return Command([sys.executable, '-W', 'always::ResourceWarning', '-c',
                        textwrap.dedent(source)] + list(args),
                       env={'PYTHONPATH': ROOT, 'SSH': FAKE_SSH})

    ASYNCIO = '''
        import asyncio, os, signal, sys
        from classh import SSHJobMan

        def signals():
            wakeup = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(wakeup)
            return signal.getsignal(signal.SIGCHLD), wakeup != -1

        def manager():
            return SSHJobMan(['exit7-[1-100]', 'keeper[1-3]'], 'true',
                             ssh=os.environ['SSH'], fanout=20)

        async def child(status):
            process = await asyncio.create_subprocess_exec(
                'sh', '-c', 'sleep .0%d; exit %d' % (status, status))
            return await process.wait()

        async def ours():
            how = sys.argv[1]
            if how == 'thread':
                job = manager()
                await asyncio.get_event_loop().run_in_executor(None, job.wait)
            elif how == 'blocking':
                job = manager()
                await asyncio.sleep(.02)
                job.wait()
            elif how == 'polled':
                with manager() as job:
                    while not job.done:
                        job.poll(0)
                        await asyncio.sleep(.001)
            return len([result for result in job.results.values()
                        if result.exitcode == (0 if 'keeper' in result.host
                                               else 7)])

        async def main():
            if sys.argv[2] == 'theirs first':
                await child(1)
            theirs = [asyncio.ensure_future(child(status))
                      for status in range(1, 9)]
            before = signals()
            if sys.argv[2] == 'theirs first':
                await asyncio.sleep(.01)
                before = signals()
            good = await ours()
            if sys.argv[2] == 'theirs first':
                assert signals() == before, (signals(), before)
            statuses = await asyncio.wait_for(asyncio.gather(*theirs), 30)
            print(good, statuses, await child(9))

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        print(signals()[0] == signal.SIG_DFL, signals()[1])
        '''

    def test_asyncio_program_with_its_own_subprocesses(self):
        with contextlib.ExitStack() as stack:
            for command in [stack.enter_context(
                    self.program(self.ASYNCIO, how, order))
                    for how in ('thread', 'blocking', 'polled')
                    for order in ('theirs first', 'ours first')]:
                command.finish().check(0, '103 %s 9\nTrue False\n'
                                       % list(range(1, 9)))
        kill_leftovers()

    def test_storm_of_its_signals_prints_nothing(self):
        if sys.version_info < (3, 7):
            self.skipTest('set_wakeup_fd() of 3.6 cannot be told to be quiet')
        self.program('''
            import os, signal
            from classh import SSHJobMan
            signal.signal(signal.SIGUSR1, lambda signum, frame: None)
            with SSHJobMan(['slow'], 'x', ssh=os.environ['SSH']) as job:
                job.poll(0)
                for _ in range(70000):
                    os.kill(os.getpid(), signal.SIGUSR1)
            ''').finish().check(0, '', '')

    LOW = '''
        import collections, os, resource, sys
        from classh import SSHJobMan
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        held, spare = [], int(sys.argv[1])
        if spare:
            try:
                while True:
                    held.append(os.open('/dev/null', os.O_RDONLY))
            except OSError:
                for fd in held[-spare:]:
                    os.close(fd)
        warned = []

        def warn(text):
            warned.append(text)
            os.mkdir(sys.argv[2])       # takes no descriptor
        before = len(os.listdir('/proc/self/fd')) if spare != 1 else 0
        job = SSHJobMan(['h[1-300]'], 'echo $HOST; '
                        'until [ -e %s ]; do sleep .02; done' % sys.argv[2],
                        ssh=os.environ['SSH'], fanout=100, warn=warn)
        job.wait()
        job.close()
        after = len(os.listdir('/proc/self/fd')) if spare != 1 else 0
        good = [result for host, result in job.results.items()
                if result.outcome == 'ok' and result.output == host + '\\n']
        print(len(job.results), len(good), len(warned), after - before)
        '''

    def test_error_while_getting_ready_leaves_nothing_open(self):
        # Not even for as long as the manager is there.
        for name in ('classh._Launcher', 'classh._ChildWatcher',
                     'selectors.DefaultSelector'):
            with self.subTest(name=name):
                before = os.listdir('/proc/self/fd')
                error = OSError(errno.EACCES, os.strerror(errno.EACCES))
                job = self.manager(['exit7-[1-2]'], fanout=1)
                with mock.patch(name, side_effect=error):
                    result = self.take(job)
                    self.assertEqual(result.reason, 'ssh could not be '
                                     'started: Permission denied')
                    self.assertEqual(os.listdir('/proc/self/fd'), before)
                    self.assertEqual(signal.getsignal(signal.SIGCHLD),
                                     signal.SIG_DFL)
                # And it is as good as ever.
                self.assertEqual(self.take(job).exitcode, 7)
                job.close()

    def test_descriptor_limit_makes_the_pool_smaller(self):
        mark = os.path.join(self.scratch(), 'warned')
        self.program(self.LOW, '0', mark).finish().check(0, '300 300 1 0\n')

    def test_no_room_for_even_one_fails_a_host_after_5_seconds(self):
        clock = StillClock()
        full = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        with mock.patch('classh._Launcher.start', side_effect=full):
            with self.manager(['a'], clock=clock) as job:
                for seconds in 0, 5:
                    clock.advance(seconds)
                    self.assertEqual(job.poll(0), [])
                clock.advance(1)
                result = self.take(job)
        self.assertEqual(result.outcome, 'ssh')
        self.assertIn('could not be started', result.reason)

    def test_each_host_waits_as_long_for_room(self):
        clock = StillClock()
        full = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        def start(number):
            if clock() < 1000 + 7:
                raise full
        with self.each_start(start):
            with self.manager(['exit0-[1-30]'], clock=clock) as job:
                outcomes = []
                while not job.done:
                    outcomes += [result.outcome for result in job.poll(.01)]
                    if clock() < 1000 + 7:
                        clock.advance(.5)
        self.assertEqual((outcomes[0], set(outcomes[1:]), len(outcomes)),
                         ('ssh', {'ok'}, 30))

    def test_no_room_to_listen_to_a_job_is_no_room_to_start_it(self):
        register = selectors.DefaultSelector.register

        def full(selector, fileobj, events, data):
            if isinstance(data[1], classh._Job) and len(job.running) >= 3:
                raise OSError(code, os.strerror(code))
            return register(selector, fileobj, events, data)
        for code in errno.ENOMEM, errno.ENOSPC:
            warned, before = [], os.listdir('/proc/self/fd')
            with self.subTest(code=code), mock.patch(
                    'selectors.DefaultSelector.register', full):
                with self.manager(['fail7-[1-20]'], warn=warned.append) as job:
                    self.assertEqual({result.exitcode for result in job}, {7})
            self.assertEqual((len(job.results), len(warned)), (20, 1))
            self.assertEqual(os.listdir('/proc/self/fd'), before)

    def test_no_room_to_feed_a_job_ends_it(self):
        register = selectors.DefaultSelector.register

        def full(selector, fileobj, events, data=None):
            if events == WRITE and data[1].host == 'b':
                raise OSError(errno.ENOMEM, 'no room')
            return register(selector, fileobj, events, data)
        file = open(__file__, 'rb')
        self.addCleanup(file.close)
        for source in self.pipe(b'line\n')[0], file:
            with mock.patch('selectors.DefaultSelector.register', full):
                with self.manager(['a', 'b'], 'read -r line',
                                  input=source) as job:
                    self.assertTrue(job.wait(WAIT_LIMIT))
            self.assertEqual(job.results['b'].reason, 'input lost: no room')
            self.assertEqual(job.results['a'].outcome, 'ok')

    def test_error_of_select_loses_no_result(self):
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        raised = 0
        with self.manager(['exit7', 'slow', 'c'], fanout=2) as job:
            results = job.poll(0)
            with mock.patch('selectors.DefaultSelector.select',
                            side_effect=error):
                job.stop()
                while not job.done:
                    try:
                        results += job.poll()
                    except OSError:
                        raised += 1
            self.assertEqual(list(job.not_started()), ['c'])
        self.assertEqual(sorted(result.host for result in results),
                         ['exit7', 'slow'])
        self.assertGreater(raised, 0)

    def test_no_descriptor_at_all_fails_the_hosts_and_leaks_none(self):
        # Each host waits a while; here, as briefly as it can.
        impatient = ('import classh\n'
                     'classh.NO_ROOM_TIMEOUT = classh.REAP_INTERVAL = .001\n')
        program = impatient + textwrap.dedent(self.LOW)
        for spare in '135':
            mark = os.path.join(self.scratch(), 'warned')
            ended = self.program(program, spare, mark).finish()
            ended.check(0, stdout=None)
            self.assertIn(ended.stdout, ('300 0 0 0\n', '300 0 1 0\n'))


# -- As the design shows it -------------------------------------------------

class DesignTest(EngineTest):
    """The two uses that the design promises, as they stand there."""

    STREAM = '''
        from classh import SSHJobMan
        with SSHJobMan(['web[1-20]', 'db1'], 'uptime', timeout=30) as job:
            for result in job:              # as they finish
                print(result.host, result.exitcode, result.output)
        '''
    THREE_LINES = '''
        import sys
        from classh import SSHJobMan
        job = SSHJobMan(sys.argv[1:], 'date +%s')
        job.wait()                          # the original three-line use
        for host, res in job.results.items():
            print(host, res.exitcode, int(res.output) // 10 ** 9, res.errors)
        '''

    def run_source(self, source, ssh, *args):
        return run([sys.executable, '-c', textwrap.dedent(source)]
                   + list(args),
                   env=dict(self.with_ssh_in_path(ssh), PYTHONPATH=ROOT))

    def test_results_as_they_finish(self):
        ended = self.run_source(self.STREAM, 'exec ' + FAKE_SSH)
        hosts = ['web%d' % number for number in range(1, 21)] + ['db1']
        ended.check(0, stdout=None)
        self.assertEqual(sorted(line.split()[:2] for line
                                in ended.stdout.splitlines() if line),
                         sorted([host, '0'] for host in hosts), ended)

    def test_three_lines(self):
        ended = self.run_source(self.THREE_LINES, 'exec ' + FAKE_SSH,
                                'web[1-3]', 'db1').check(0, stdout=None)
        self.assertEqual(sorted(ended.stdout.splitlines()),
                         ['%s 0 1 ' % host for host
                          in ('db1', 'web1', 'web2', 'web3')], ended)

    def test_three_lines_on_real_hosts(self):
        server = sshd()
        ssh = 'exec %s -F %s' % (shutil.which('ssh'), server.config)
        hosts = sorted(server.hosts(5))
        ended = self.run_source(self.THREE_LINES, ssh, *hosts)
        ended.check(0, stdout=None)
        self.assertEqual(sorted(ended.stdout.splitlines()),
                         ['%s 0 1 ' % host for host in hosts], ended)

    def test_it_prints_nothing(self):
        ended = self.run_source('''
            from classh import SSHJobMan
            job = SSHJobMan(['loud', 'unreach', 'slow', 'a'], 'echo x',
                            timeout=.2, fanout=2)
            job.wait()
            ''', 'exec ' + FAKE_SSH)
        ended.check(0, '', '')

    def test_errors_of_classh_are_of_one_family(self):
        with self.assertRaises(ClasshError):
            self.manager(['a['])
