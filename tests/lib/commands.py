"""Commands that run as processes, and what came of them."""

import contextlib
import importlib.util
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from .place import FAKE_SSH, MODULE, RUN_LIMIT, WAIT_LIMIT
from .processes import text

COMPILED = importlib.util.cache_from_source(os.path.join(MODULE, 'classh.py'))

# What the summary says of hosts whose command may have begun.
STOPPED = 'stopped (may run on there; --end-remote): '

SIGCHLD_IGNORED = 'signal.signal(signal.SIGCHLD, signal.SIG_IGN)'
SIGCHLD_BLOCKED = ('signal.pthread_sigmask(signal.SIG_BLOCK, '
                   '[signal.SIGCHLD])')


def after(change, argv=()):
    """The argv of a command that does *change*, as above, and becomes
    *argv*."""
    return [sys.executable, '-S', '-c', 'import os, signal, sys; %s; '
            'os.execv(sys.argv[1], sys.argv[1:])' % change] + list(argv)


# A Python whose locale can do ASCII and no more, whichever version it is.
ASCII = {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}


def locales(directory):
    """Environments in which not all is UTF-8; what they need is made in
    *directory*."""
    found = [ASCII]
    if shutil.which('localedef'):
        latin = os.path.join(directory, 'latin')
        # It warns, with a status of 1, of what POSIX does not define.
        run(['localedef', '-c', '-i', 'POSIX', '-f', 'ISO-8859-1', latin])
        if os.path.exists(os.path.join(latin, 'LC_CTYPE')):
            found.append(dict(ASCII, LC_ALL='latin', LOCPATH=directory))
    return found


class Run:
    """What came of a command: .argv, .status (negative: the signal that ended
    it), .stdout, .stderr (str) and .seconds.

    Its str() shows all of them: self.assertIn(line, run.stdout, run).
    """

    def __init__(self, argv, status, stdout, stderr, seconds):
        self.argv = argv
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.seconds = seconds

    def __str__(self):
        return '\n$ %s\n-- status %s after %.2f s\n%s' % (
            ' '.join(map(shlex.quote, self.argv)), self.status, self.seconds,
            ''.join('-- %s\n%s\n' % (name, _shown(value)) for name, value
                    in (('stdout', self.stdout), ('stderr', self.stderr))))

    def check(self, status=0, stdout=None, stderr=''):
        """Fail unless it ended so; None stands for anything.  Return self."""
        wanted = (('status', status), ('stdout', stdout), ('stderr', stderr))
        for name, value in wanted:
            if value is not None and getattr(self, name) != value:
                raise AssertionError('%s is not %r%s' % (name, value, self))
        return self


def _shown(value, limit=8000):
    """*value* fit for a terminal and, where it is long, its two ends."""
    if len(value) > limit:
        value = '%s\n[...]\n%s' % (value[:limit // 2], value[-limit // 2:])
    return value.encode('unicode_escape').decode().replace('\\n', '\n')


class Command:
    """A command that runs; finish() waits for its end and returns a Run.

    Its output goes to files that may be read while it runs, and that hold
    nobody up: a grandchild that keeps them open is not waited for.  *stdin* is
    bytes, str, or what Popen takes; *stdout* may be what Popen takes.  *env*
    is added to the environment; a None in it takes a name away.  *before* is
    shell that runs first in the same process:
    'ulimit -n 64', 'exec <&-'.  As a context manager it is killed at the end.
    """

    def __init__(self, argv, stdin=subprocess.DEVNULL, stdout=None, env=None,
                 before='', cwd=None):
        if before:
            argv = ['sh', '-c', before + '\nexec "$@"', 'sh'] + list(argv)
        self.argv = list(argv)
        self._start = time.monotonic()
        self._out = tempfile.TemporaryFile()
        self._err = tempfile.TemporaryFile()
        with tempfile.TemporaryFile() as given:
            if isinstance(stdin, str):
                stdin = stdin.encode('utf-8', 'surrogateescape')
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.seek(0)
                stdin = given
            self._popen = subprocess.Popen(
                self.argv, stdin=stdin,
                stdout=self._out if stdout is None else stdout,
                stderr=self._err, env=environment(env), cwd=cwd,
                start_new_session=True)
        self.pid = self._popen.pid
        self.stdin = self._popen.stdin  # where it was PIPE

    @property
    def stdout(self):
        """What it has printed so far."""
        return _contents(self._out)

    @property
    def stderr(self):
        return _contents(self._err)

    def send(self, octets):
        """Write to its stdin, which is PIPE, at once."""
        self.stdin.write(octets)
        self.stdin.flush()

    def signal(self, number):
        self._popen.send_signal(number)

    def finish(self, timeout=RUN_LIMIT):
        """Wait for its end, for *timeout* seconds at most; then fail."""
        if self.stdin:
            self.stdin.close()
        try:
            self._popen.wait(timeout)
            late = False
        except subprocess.TimeoutExpired:
            late = True
        run = self._close()
        if late:
            raise AssertionError('not done after %g s%s' % (timeout, run))
        return run

    def _close(self):
        if self._popen.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        run = Run(self.argv, self._popen.returncode, self.stdout, self.stderr,
                  time.monotonic() - self._start)
        for stream in (self.stdin, self._out, self._err):
            if stream:
                stream.close()
        return run

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if not self._out.closed:
            self._close()


def environment(changes):
    env = dict(os.environ, **(changes or {}))
    return {name: value for name, value in env.items() if value is not None}


def _contents(stream):
    size = os.fstat(stream.fileno()).st_size
    return text(os.pread(stream.fileno(), size, 0))


def run(argv, timeout=RUN_LIMIT, **options):
    """Run *argv* to its end; the *options* are Command's.  Return a Run."""
    with Command(argv, **options) as command:
        return command.finish(timeout)


def classh_argv(*args):
    # -S: classh needs nothing of what is in this machine's site-packages,
    # where a .pth may take longer to read than all of classh.
    return [sys.executable, '-S', COMPILED] + list(args)


def run_classh(*args, **options):
    """run() classh with these arguments."""
    return run(classh_argv(*args), **options)


# Runs a command, then writes the most memory that it took, in KiB, to a file.
# In between, so that the size of this process does not count.
_MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
with open(sys.argv[1], 'w') as peak:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=peak)
sys.exit(status)
"""


def measured(argv, path):
    """The argv of a command that runs *argv* and writes its peak memory.

    In KiB, to the file *path*: the most that any one process of it took.
    """
    return [sys.executable, '-S', '-c', _MEASURE, path] + list(argv)


def fake_argv(*args):
    return classh_argv('--ssh', FAKE_SSH, *args)


def start(*args, env=None, **options):
    """classh with the fake ssh, as a Command; a warning of Python's fails."""
    return Command(fake_argv(*args), **options,
                   env=dict({'PYTHONWARNINGS': 'error'}, **(env or {})))


def fake(*args, **options):
    """start() to its end, a Run."""
    return start(*args, **options).finish()


def at_once(*argument_lists, **options):
    """fake() with each list of arguments; the Runs in the same order."""
    with contextlib.ExitStack() as stack:
        commands = [stack.enter_context(start(*args, **options))
                    for args in argument_lists]
        return [command.finish() for command in commands]


def masked(shown):
    """A report without the seconds in it."""
    return re.sub(r'\(\d+\.\d\)', '(#)', shown)


def elapsed(shown):
    """The seconds in a report."""
    return [float(found) for found in re.findall(r'\((\d+\.\d)\)', shown)]


@contextlib.contextmanager
def pipe_from(command_argv, blocking=True, **options):
    """A Command, and the end to read of the pipe that is its stdout."""
    reader, writer = os.pipe()
    with open(reader, 'rb', buffering=0) as pipe:
        try:
            os.set_blocking(writer, blocking)
            command = Command(command_argv, stdout=writer, **options)
        finally:
            os.close(writer)
        with command:
            yield command, pipe


def read_to_end(pipe, timeout=WAIT_LIMIT):
    """All there is in *pipe*, as text; each part within *timeout*."""
    chunks = []
    while not chunks or chunks[-1]:
        if not select.select([pipe], [], [], timeout)[0]:
            raise AssertionError('the pipe stays open')
        chunks.append(pipe.read(1 << 16))
    return text(b''.join(chunks))


def write(path, content):
    with open(path, 'w') as file:
        file.write(content)
    return path


def shell(*words):
    """Words as a shell has to see them."""
    return ' '.join(map(shlex.quote, words))
