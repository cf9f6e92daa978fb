"""What the tests share: a TestCase that lets nothing be left behind, commands
run as processes or on a terminal, a fake ssh and a real sshd.

    class ReportTest(TestCase):
        def test_failed_host_shows_its_status(self):
            run = run_classh('--ssh', FAKE_SSH, 'true', 'exit7')
            run.check(5, stdout=...)

Every wait here has an end, and a failure shows what was run and what came of
it.  Processes are found through /proc, so the tests need Linux.
"""

import atexit
import contextlib
import fcntl
import functools
import os
import pty
import py_compile
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
FAKE_SSH = shlex.quote(os.path.join(TESTS, 'fake_ssh'))     # as --ssh wants it
LOOPBACK = os.path.join(TESTS, 'loopback')
CLASSH = os.path.join(ROOT, 'classh.py')

RUN_LIMIT = 60.0        # seconds for a command that a test runs
INSTALL_LIMIT = 600.0   # seconds for one that may install something first
WAIT_LIMIT = 20.0       # seconds for what should happen at once
LEFTOVER_LIMIT = 5.0    # seconds for what was killed to be gone
POLL = .01              # seconds between two looks
TTY_LAG = .2            # seconds that a terminal may take to pass bytes on

sys.path.insert(0, ROOT)

# Whatever the tests start, and whatever that starts, carries this in its
# environment, so that it is found wherever it went.
MARK = 'CLASSH_TEST_RUN'
os.environ[MARK] = '%d.%d' % (os.getpid(), time.time())

# Whatever is written to a temporary directory goes when the tests end.
SCRATCH = tempfile.mkdtemp(prefix='classh-tests.')
tempfile.tempdir = os.environ['TMPDIR'] = SCRATCH
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

# What the tests run a thousand times is compiled once.
COMPILED = os.path.join(SCRATCH, 'classh.pyc')
py_compile.compile(CLASSH, COMPILED, doraise=True)

# These end a test run as Ctrl-C does: what it started is stopped.
for _number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_DFL:
        signal.signal(_number, signal.default_int_handler)

# What a shell starts with '&', or nohup, has some of them ignored.  We go on
# ignoring them, but what we start is to hear them: no handler is inherited.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)

# A thread's end makes the C library load this one, after join() has returned:
# for a moment a descriptor is open that no test opened.
with contextlib.suppress(ImportError, OSError):
    import ctypes
    ctypes.CDLL('libgcc_s.so.1')


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


# -- Processes ---------------------------------------------------------------

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


# -- The test case -----------------------------------------------------------

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
                      if not name.startswith(Sshd.PREFIX)},
        }
        found.update((number.name, signal.getsignal(number))
                     for number in signal.Signals)
        return found

    def _check_as_before(self, before):
        after = self._surroundings()
        try:
            wait_until(lambda: not leftovers(), LEFTOVER_LIMIT)
            left = []
        except AssertionError:
            left = leftovers()
            # The next test shall not be blamed for what this one left.
            kill_leftovers()
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
        return Command(classh_argv('--ssh', FAKE_SSH, *args), **options)

    def classh(self, *args, **options):
        return self.start(*args, **options).finish()


def until(name):
    """Shell that waits for the file *name*, in the present directory."""
    return 'until [ -e %s ]; do sleep .01; done' % name


# -- Commands ----------------------------------------------------------------

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
                stderr=self._err, env=_environment(env), cwd=cwd,
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


def _environment(changes):
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


def run_in_pty(argv, script=(), timeout=RUN_LIMIT, env=None, size=(24, 80)):
    """Run *argv* on a terminal of its own; Run.stdout is all that showed.

    The *script* is pairs of strings: wait until the first shows (after what
    the last one waited for), then type the second.  Ctrl-C is '\\x03'.
    """
    master, slave = pty.openpty()
    size = struct.pack('4H', size[0], size[1], 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    # The first terminal that a session leader opens becomes the one it
    # belongs to.  No preexec_fn: there may be threads.
    argv = ['sh', '-c', ': <"$0"; exec "$@"', os.ttyname(slave)] + list(argv)
    start = time.monotonic()
    try:
        popen = subprocess.Popen(argv, stdin=slave, stdout=slave,
                                 stderr=slave, env=_environment(env),
                                 start_new_session=True)
    finally:
        os.close(slave)
    try:
        shown, problem = _converse(popen, master, script, start + timeout)
    finally:
        if popen.poll() is None:
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
        os.close(master)
    result = Run(argv, popen.returncode, text(shown), '',
                 time.monotonic() - start)
    if problem:
        raise AssertionError(problem + str(result))
    return result


def _converse(popen, master, script, deadline):
    """Play the *script*; return what showed, and what went wrong or ''."""
    script = [[line.encode() for line in pair] for pair in script]
    shown, seen = b'', 0
    while time.monotonic() < deadline:
        ended = popen.poll() is not None
        if select.select([master], [], [], TTY_LAG if ended else POLL)[0]:
            try:
                shown += os.read(master, 1 << 16)
            except OSError:             # EIO: everybody has closed it
                if ended:
                    break
                time.sleep(POLL)
        elif ended:                     # a grandchild has it open
            break
        while script and script[0][0] in shown[seen:]:
            expected, typed = script.pop(0)
            seen = shown.index(expected, seen) + len(expected)
            os.write(master, typed)
    else:
        return shown, 'not done in time; still to come: %r' % script
    return shown, 'never showed %r' % script[0][0] if script else ''


# -- Servers -----------------------------------------------------------------

def read_log(path):
    """What FAKE_SSH_LOG says: (targets in order of starting, most at once)."""
    started, running, most = [], 0, 0
    with open(path) as log:
        for line in log:
            event, target = line.rstrip('\n').split(' ', 1)
            running += 1 if event == '+' else -1
            most = max(most, running)
            if event == '+':
                started.append(target)
    return started, most


@contextlib.contextmanager
def stuck_server(greeting=b''):
    """The port of a server on 127.0.0.1 that says *greeting*, then nothing."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(16)
    taken = [listener]

    def serve():
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:             # shut down, below
                return
            taken.append(connection)
            connection.sendall(greeting)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for opened in taken:
            opened.close()


class Sshd:
    """A private sshd, to which every address in 127.0.0.0/8 is a host.

    .config is a file for ssh -F, .ssh a command for --ssh, .port a number.
    It is stopped when the tests end, if not before.
    """
    PREFIX = 'sshd.'

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix=self.PREFIX)
        atexit.register(self.stop)
        # It is no leftover of the test that happens to be first to ask.
        run(['sh', LOOPBACK, self.directory], env={MARK: None},
            timeout=INSTALL_LIMIT).check(stderr=None)
        self.config = os.path.join(self.directory, 'ssh_config')
        self.ssh = 'ssh -F ' + shlex.quote(self.config)
        with open(self.config) as config:
            words = [line.split() for line in config]
        self.port = next(int(word[1]) for word in words if word[0] == 'Port')
        # False where only 127.0.0.1 could be had, and stands for the others.
        self.every_address = all(word[0] != 'Hostname' for word in words)

    def stop(self):
        """End it and what it started.  A second call does nothing."""
        run(['sh', LOOPBACK, '--stop', self.directory]).check()

    @staticmethod
    def hosts(count):
        """The first *count* of them: 127.0.0.1, 127.0.0.2, ..."""
        return ['127.%d.%d.%d' % (n >> 16, n >> 8 & 255, n & 255)
                for n in range(1, count + 1)]


@functools.lru_cache(maxsize=None)
def sshd():
    """The Sshd that the tests share, started when it is first asked for.

    Raise SkipTest where there is none, unless in CI or in tests/run.
    """
    path = os.environ['PATH'] + ':/usr/sbin:/sbin:/usr/local/sbin'
    wanted = os.environ.get('CI') or os.environ.get('CLASSH_TEST_SSHD')
    if not wanted and not shutil.which('sshd', path=path):
        raise unittest.SkipTest('no sshd here; sh tests/run installs one')
    return Sshd()
