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
    """Yield the pid of every process there is, as str.

    Also of those that start meanwhile: what ends may leave a child that was
    not there when the list was made.
    """
    seen = set()
    while True:
        new = [pid for pid in os.listdir('/proc')
               if pid.isdigit() and pid not in seen]
        if not new:
            return
        yield from new
        seen.update(new)


def stat(pid):
    """The name of a process, and the list of what follows it in its stat:
    all bytes; the state is 0, the parent 1."""
    with open('/proc/%s/stat' % pid, 'rb') as file:
        name, rest = file.read().rsplit(b')', 1)
    return name.split(b'(', 1)[1], rest.split()


def processes(chosen=None):
    """Yield (pid, parent, state, command line) of every process there is.

    Or of those in *chosen*, of which some may be gone.
    """
    for pid in pids() if chosen is None else chosen:
        try:
            name, fields = stat(pid)
            with open('/proc/%s/cmdline' % pid, 'rb') as cmdline:
                words = cmdline.read().rstrip(b'\0').split(b'\0')
        except OSError:                 # it has just ended
            continue
        line = text(b' '.join(words)) or text(name)
        yield int(pid), int(fields[1]), text(fields[0]), line


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


def _variables(pid):
    """The environment of a process, a list of bytes; None while it is not to
    be seen.

    In an exec it is empty for a moment, between the end of the old one and
    the making of the new one.
    """
    with open('/proc/%s/environ' % pid, 'rb') as environ:
        variables = environ.read().split(b'\0')
    if variables == [b'']:
        fields = stat(pid)[1]
        memory, code, begin, end = (fields[20], fields[23], fields[47],
                                    fields[48])
        # Without memory it is a dead process, or a thread of the kernel.
        # Where its code begins is the last that an exec tells.
        if memory != b'0' and (begin != end or code == b'0'):
            return None
    return variables


def _marked():
    """The pids of the processes that these tests started, as str."""
    mark = os.fsencode('%s=%s' % (MARK, os.environ[MARK]))
    for pid in pids():
        try:
            if mark in wait_until(lambda: _variables(pid),
                                  what='%s has done its exec' % pid):
                yield pid
        except OSError:                 # ended, or not ours to read
            pass


def leftovers():
    """Live processes that these tests started, whoever their parent is now.

    As (pid, command line).
    """
    while True:
        marked = list(_marked())
        found = [(pid, line) for pid, parent, state, line in processes(marked)
                 if state not in 'ZX']
        # What has ended since may have left a child that was not there yet.
        if len(found) == len(marked):
            return found


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
