"""Processes, found through /proc, so the tests need Linux; and waits."""

import atexit
import os
import signal
import time

from .place import MARK, POLL, WAIT_LIMIT


def wait_until(predicate, timeout=WAIT_LIMIT, what=None):
    """Return the first true value of *predicate()*; fail after *timeout*.

    *what* is for the failure message: 'two jobs run'.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError('not within %g s: %s'
                                 % (timeout, what or predicate))
        time.sleep(POLL)


def text(octets):
    """Bytes as the text that Result holds: nothing is lost."""
    return octets.decode('utf-8', 'surrogateescape')


def pids():
    """The pid of every process there is, as str."""
    return filter(str.isdigit, os.listdir('/proc'))


def processes(chosen=None):
    """Yield (pid, parent, state, command line) of every process there is.

    Or of those in *chosen*, of which some may be gone.
    """
    for pid in pids() if chosen is None else chosen:
        try:
            with open('/proc/%s/stat' % pid, 'rb') as stat:
                name, rest = stat.read().rsplit(b')', 1)
            with open('/proc/%s/cmdline' % pid, 'rb') as cmdline:
                words = cmdline.read().rstrip(b'\0').split(b'\0')
        except OSError:                 # it has just ended
            continue
        state, parent = rest.split()[:2]
        line = text(b' '.join(words)) or text(name.split(b'(', 1)[1])
        yield int(pid), int(parent), text(state), line


def children():
    """This process's children, also dead ones that nobody has reaped.

    As (pid, state, command line); state Z is a dead one.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:           # none: no need to look for them
        return []
    return [(pid, state, line) for pid, parent, state, line in processes()
            if parent == os.getpid()]


def leftovers():
    """Live processes that these tests started, whoever their parent is now.

    As (pid, command line).
    """
    mark = os.fsencode('%s=%s' % (MARK, os.environ[MARK]))
    marked = []
    for pid in pids():
        try:
            with open('/proc/%s/environ' % pid, 'rb') as environ:
                if mark in environ.read().split(b'\0'):
                    marked.append(pid)
        except OSError:                 # ended, or not ours to read
            pass
    return [(pid, line) for pid, parent, state, line in processes(marked)
            if state != 'Z']


def kill_leftovers():
    """End what a test leaves behind on purpose: a grandchild, say."""
    def all_gone():
        found = leftovers()
        for pid, line in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not found
    wait_until(all_gone, what='all killed')


atexit.register(kill_leftovers)         # of a run that was interrupted
