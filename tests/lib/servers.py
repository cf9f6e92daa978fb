"""Servers on the loopback device, and the log of the fake ssh."""

import atexit
import contextlib
import functools
import os
import shlex
import shutil
import signal
import socket
import tempfile
import threading
import unittest

from .commands import run
from .place import INSTALL_LIMIT, LOOPBACK, MARK, SCRATCH, SHARED
from .processes import processes, wait_until


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

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix=SHARED + 'sshd.')
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

    @property
    def pid(self):
        """The pid of the sshd that listens."""
        with open(os.path.join(self.directory, 'pid')) as file:
            return int(file.read())

    def reconfigure(self, old, new):
        """Change a line of the configuration while it runs."""
        path = os.path.join(self.directory, 'sshd_config')
        with open(path) as file:
            config = file.read()
        if old not in config:
            raise AssertionError('no %s in %s' % (old, path))
        with open(path, 'w') as file:
            file.write(config.replace(old, new))
        pid = self.pid
        path = os.path.join(self.directory, 'pid')
        os.unlink(path)         # it writes one anew when it listens again
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: os.path.exists(path) and os.path.getsize(path))

    @staticmethod
    def hosts(count):
        """The first *count* of them: 127.0.0.1, 127.0.0.2, ..."""
        return ['127.%d.%d.%d' % (n >> 16, n >> 8 & 255, n & 255)
                for n in range(1, count + 1)]


class Gate(Sshd):
    """A jump host, called 'gate' and 'gate2', with sshd's own limit of
    connections that are not logged in."""

    def __init__(self):
        super().__init__()
        self.reconfigure('MaxStartups 1000', 'MaxStartups 10:30:100')
        self.reconfigure('LogLevel ERROR', 'LogLevel INFO')

    def config_with(self, known):
        """A file for ssh -F that knows this gate, and the hosts that the
        file *known* does, which are not behind it unless told so."""
        with open(self.config) as file:
            lines = [line for line in file if not line.startswith('Host')]
        with open(known) as file:
            behind = file.read()
        config = '%s.%s' % (self.directory, os.path.basename(
            os.path.dirname(known)))
        with open(config, 'w') as file:
            file.write('Host gate gate2\n  Hostname 127.0.0.1\n  %s'
                       'Host * !gate !gate2\n%s' % ('  '.join(lines), behind))
        return config

    def logins(self):
        """How many there were so far."""
        with open(os.path.join(self.directory, 'log')) as file:
            return file.read().count('Accepted ')


def end_remote():
    """End each 'sleep 60' that lives on over there, as ssh cannot: an sshd of
    ours has started it in its directory."""
    for pid, _, _, line in processes():
        with contextlib.suppress(OSError):
            if line == 'sleep 60' and os.readlink(
                    '/proc/%d/cwd' % pid).startswith(SCRATCH):
                os.kill(pid, signal.SIGKILL)


def _need_sshd():
    path = os.environ['PATH'] + ':/usr/sbin:/sbin:/usr/local/sbin'
    wanted = os.environ.get('CI') or os.environ.get('CLASSH_TEST_SSHD')
    if not wanted and not shutil.which('sshd', path=path):
        raise unittest.SkipTest('no sshd here; sh tests/run installs one')


@functools.lru_cache(maxsize=None)
def sshd():
    """The Sshd that the tests share, started when it is first asked for.

    Raise SkipTest where there is none, unless in CI or in tests/run.
    """
    _need_sshd()
    return Sshd()


@functools.lru_cache(maxsize=None)
def gate():
    """The Gate that the tests share, likewise."""
    _need_sshd()
    return Gate()
