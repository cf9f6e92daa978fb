"""TestCase, which lets nothing be left behind, and one with a directory."""

import os
import shutil
import signal
import tempfile
import threading
import unittest

from .commands import Command, fake_argv, text
from .place import LEFTOVER_LIMIT, SCRATCH, SHARED
from .processes import children, kill_leftovers, leftovers, wait_until


def _descriptors():
    found = {}
    for fd in os.listdir('/proc/self/fd'):
        try:
            found[int(fd)] = os.readlink('/proc/self/fd/' + fd)
        except OSError:                 # the one that listed the directory
            pass
    return found


def _wakeup_fd():
    if threading.current_thread() is not threading.main_thread():
        return None                     # may not be asked there
    fd = signal.set_wakeup_fd(-1)
    if fd != -1:
        signal.set_wakeup_fd(fd)
    return fd


class TestCase(unittest.TestCase):
    """A test after which everything is as it was before.

    No child (not even a dead one), no descriptor, no thread, no signal
    handler, no temporary file; and of what children started nothing that
    still runs.  A test that leaves a process on purpose calls
    kill_leftovers().
    """
    maxDiff = None

    def setUp(self):
        super().setUp()
        # The first clean-up is the last to run: after tearDown and the rest.
        self.addCleanup(self._check_as_before, self._surroundings())

    @staticmethod
    def _surroundings():
        found = {
            'children': children(),
            'descriptors': _descriptors(),
            'threads': set(threading.enumerate()),
            'signals blocked': signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            'signal wakeup fd': _wakeup_fd(),
            'directory': os.getcwd(),
            'files': {name for name in os.listdir(SCRATCH)
                      if not name.startswith(SHARED)},
        }
        found.update((number.name, signal.getsignal(number))
                     for number in signal.Signals)
        return found

    def _check_as_before(self, before):
        try:
            wait_until(lambda: not leftovers(), LEFTOVER_LIMIT)
            left = []
        except AssertionError:
            left = leftovers()
            # The next test shall not be blamed for what this one left.
            kill_leftovers()
        # Only now: what was about to end has taken its files away.
        after = self._surroundings()
        for child in after['children']:
            if child not in before['children']:
                os.kill(child[0], signal.SIGKILL)
                os.waitpid(child[0], 0)
        changed = [name for name in before if after[name] != before[name]]
        self.assertEqual({name: after[name] for name in changed},
                         {name: before[name] for name in changed})
        self.assertEqual(left, [], 'these still run')

    def scratch(self):
        """The path of a new directory that goes when the test does."""
        path = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, path)
        return path

    def runtime_directory(self):
        """The path of a new directory for XDG_RUNTIME_DIR, where the sockets
        of --share may be: it is short."""
        path = tempfile.mkdtemp(prefix='x-', dir='/tmp')
        self.addCleanup(shutil.rmtree, path)
        return path


class WorkTest(TestCase):
    """A test with a directory of its own, in which its commands run.

    self.classh() runs classh on the fake ssh, self.start() only starts it.
    """

    def setUp(self):
        super().setUp()
        self.directory = self.scratch()

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content='', mode=0o644):
        """Make the file *name*, with *content* as bytes or str."""
        if isinstance(content, str):
            content = content.encode('utf-8', 'surrogateescape')
        with open(self.path(name), 'wb') as file:
            file.write(content)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def program(self, name, script):
        """Make the shell program *name*."""
        return self.write(name, '#!/bin/sh\n%s\n' % script, 0o755)

    def read(self, name):
        """What the file *name* holds; '' where there is none."""
        try:
            with open(self.path(name), 'rb') as file:
                return text(file.read())
        except FileNotFoundError:
            return ''

    def lines(self, name):
        return self.read(name).splitlines()

    def start(self, *args, **options):
        options.setdefault('cwd', self.directory)
        return Command(fake_argv(*args), **options)

    def classh(self, *args, **options):
        return self.start(*args, **options).finish()


def together(count):
    """Shell that waits until *count* hosts have come so far, in the present
    directory, where each of them adds a line to the file 'come'."""
    return ('echo >>come; until [ $(wc -l <come) -ge %d ]; do sleep .01; done'
            % count)


def until(name):
    """Shell that waits for the file *name*, in the present directory."""
    return 'until [ -e %s ]; do sleep .01; done' % name
