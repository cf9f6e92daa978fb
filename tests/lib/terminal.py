"""A command on a terminal of its own, to talk with.

    with Terminal(argv) as terminal:
        terminal.expect('Password for ')
        terminal.type('secret\\n')
        run = terminal.finish()
"""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from .commands import Run, environment
from .place import POLL, RUN_LIMIT, TTY_LAG, WAIT_LIMIT
from .processes import stat, wait_until
from .screen import Screen


def state(pid):
    """The state of a process: 'S', it waits; 'Z', it has ended."""
    return stat(pid)[1][0].decode()


class Terminal:
    """A command on a terminal, which it leads.

    .shown is all that was written so far, .screen what is to be seen of it.
    The *size* is (rows, columns).  The *env* is added to the environment;
    a None in it takes a name away.
    As a context manager the terminal is closed at the end, and what does not
    end by that is killed.
    """

    def __init__(self, argv, env=None, cwd=None, size=(24, 200)):
        self.argv = list(argv)
        self.shown = ''
        self.screen = Screen(size[1])
        self._seen = 0
        # A read may end in the middle of a character.
        self._decode = codecs.getincrementaldecoder('utf-8')(
            'surrogateescape').decode
        self._start = time.monotonic()
        self._master, slave = pty.openpty()
        try:
            self._set_size(*size)
            # A readline that draws nothing, whatever the user's own does.
            env = dict({'TERM': 'dumb', 'INPUTRC': '/dev/null'}, **env or {})
            # The first terminal that a session leader opens becomes the one
            # it belongs to.  No preexec_fn: there may be threads.
            self._popen = subprocess.Popen(
                ['sh', '-c', ': <"$0"; exec "$@"', os.ttyname(slave)]
                + self.argv, stdin=slave, stdout=slave, stderr=slave,
                env=environment(env), cwd=cwd, start_new_session=True)
        finally:
            os.close(slave)
        self.pid = self._popen.pid

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.hang_up()
        try:
            self._popen.wait(WAIT_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()

    def _set_size(self, rows, columns):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ,
                    struct.pack('4H', rows, columns, 0, 0))

    def resize(self, rows, columns):
        self._set_size(rows, columns)
        self.screen.resize(columns)

    def hang_up(self):
        """Close the terminal, as a window that is closed does."""
        if self._master is not None:
            os.close(self._master)
            self._master = None

    def type(self, line):
        os.write(self._master, line.encode('utf-8', 'surrogateescape'))

    def signal(self, number):
        os.kill(self.pid, number)

    def rest(self):
        """Wait until the command sleeps: it waits for what will be typed.

        A signal that comes between a prompt and the wait for a key is not
        heard by readline before the next key.
        """
        wait_until(lambda: state(self.pid) == 'S')

    def echoes(self):
        """True if the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def _read(self, timeout):
        """Take what shows within *timeout*; return False at the end."""
        if select.select([self._master], [], [], timeout)[0]:
            try:
                self._take(os.read(self._master, 1 << 16))
            except OSError:             # EIO: everybody has closed it
                return False
        return True

    def _take(self, octets, final=False):
        text = self._decode(octets, final)
        self.shown += text
        self.screen.feed(text)

    def expect(self, wanted, timeout=WAIT_LIMIT):
        """Wait until *wanted* shows; return what has shown until then.

        Looks only at what came after the last thing that was expected.
        """
        deadline = time.monotonic() + timeout
        while wanted not in self.shown[self._seen:]:
            if not self._read(POLL) or time.monotonic() > deadline:
                raise AssertionError('never showed %r%s' % (
                    wanted, self._run()))
        begin = self._seen
        self._seen = self.shown.index(wanted, begin) + len(wanted)
        return self.shown[begin:self._seen].replace('\r\n', '\n')

    def expect_screen(self, wanted, timeout=WAIT_LIMIT):
        """Wait until the screen shows what matches the pattern *wanted*, in
        which '^' and '$' are for a line; return the match."""
        deadline = time.monotonic() + timeout
        while True:
            found = re.search(wanted, self.screen.text, re.MULTILINE)
            if found:
                return found
            if not self._read(POLL) or time.monotonic() > deadline:
                raise AssertionError('the screen never showed %r%s' % (
                    wanted, self._run()))

    def _run(self):
        return Run(self.argv, self._popen.returncode, self.shown, '',
                   time.monotonic() - self._start)

    def finish(self, timeout=RUN_LIMIT):
        """Wait for the end; return the Run, its .stdout all that showed."""
        deadline = time.monotonic() + timeout
        while self._popen.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError('not done in time' + str(self._run()))
            if self._master is None or not self._read(POLL):
                time.sleep(POLL)
        while self._master is not None and select.select(
                [self._master], [], [], TTY_LAG)[0] and self._read(0):
            pass
        self._take(b'', True)
        return self._run()


def run_in_pty(argv, script=(), timeout=RUN_LIMIT, env=None, size=(24, 80)):
    """Run *argv* on a terminal of its own; Run.stdout is all that showed.

    The *script* is pairs of strings: wait until the first shows (after what
    the last one waited for), then type the second.  Ctrl-C is '\\x03'.
    """
    deadline = time.monotonic() + timeout
    with Terminal(argv, env, size=size) as terminal:
        for expected, typed in script:
            terminal.expect(expected, deadline - time.monotonic())
            terminal.type(typed)
        return terminal.finish(deadline - time.monotonic())
