"""What the tests of the engine share: a clock, gates, threads."""

import contextlib
import itertools
import os
import selectors
import signal
import threading
import time
from unittest import mock

from .case import TestCase, WorkTest
from .commands import Command, classh_argv
from .place import FAKE_SSH
from .processes import children, leftovers, wait_until
import classh
from classh import SSHJobMan

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
LONG = 1000.0           # seconds that never pass but on a Clock
HANG_LIMIT = 120.0      # seconds for a test on a slow machine


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

    def start_all(self, job, count):
        """Turns until *count* jobs run; one is over after 50 ms of starting,
        which on a busy machine is one job."""
        while len(job.running) < count:
            self.assertEqual(job.poll(0), [])

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


SOON = 25.0             # seconds; what hangs, hangs for 60


class EveryModeTest(WorkTest, EngineTest):
    MODES = (
        (), ('-q',), ('--progress',), ('--maxrc',),
        ('-S', '-', '-E', 'bad'), ('-S', 'good', '-E', '-'),
        ('-S', 'good/', '-E', 'bad/'), ('-S', '| cat >names', '-E', '| cat'),
        ('--pickle', 'pickle'))

    def in_every_mode(self, status, *args, maxrc=255, argv=None, **options):
        """Run classh in every mode, all at once; check that each ends soon
        with *status*, or with *maxrc* under --maxrc.  Return mode: Run."""
        argv = argv or classh_argv()
        with contextlib.ExitStack() as stack:
            started = {mode: stack.enter_context(Command(
                argv + ['--ssh', FAKE_SSH] + list(mode + args),
                cwd=self.scratch(), **options)) for mode in self.MODES}
            return {mode: command.finish(SOON).check(
                        maxrc if '--maxrc' in mode else status, None, None)
                    for mode, command in started.items()}
