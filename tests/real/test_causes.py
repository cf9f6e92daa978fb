"""Why a host failed and whether its command ran, as real servers have it:
with ssh's log, and without it.
"""

import contextlib
import os
import re
import shutil
import socket
import unittest

from lib import Command, TestCase, WorkTest, sshd, stuck_server, wait_until
from lib.named_hosts import write
from classh import SSHJobMan

NO_SUCH_HOST = 'a' * 64      # a name may not be so long
LONG = 20.0             # seconds, which no test takes


@contextlib.contextmanager
def deaf_port():
    """A port on which nobody listens, and that no connection takes as its
    own; a server may, which sets SO_REUSEADDR as we do."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(('127.0.0.1', 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def another_sshd(directory, *settings):
    """The port of an sshd as the shared one, but with *settings*."""
    path = os.path.join(directory, 'sshd_config')
    with open(os.path.join(sshd().directory, 'sshd_config')) as file:
        config = re.sub('(?m)^(ListenAddress|PidFile|MaxStartups) .*\n', '',
                        file.read())
    search = os.environ['PATH'] + ':/usr/sbin:/usr/local/sbin'

    def listens():
        with socket.socket() as client:
            return not client.connect_ex(('127.0.0.1', port))
    with deaf_port() as port:
        write(path, '\n'.join(['ListenAddress 127.0.0.1:%d' % port,
                               'PidFile none', *settings, config]))
        with Command([shutil.which('sshd', path=search), '-D', '-f', path]):
            wait_until(listens)
            yield port


class CauseTest(WorkTest, TestCase):
    # What happens with a log, and without one where that differs.
    def told(self, command, host='127.0.0.1', options=(), **settings):
        """(outcome, cause, ran) with a log, then without one."""
        told = []
        for more in (), ('LogLevel=INFO',):
            with SSHJobMan([host], command, ssh=sshd().ssh, retries=0,
                           options=[*options, *more],
                           **dict({'timeout': LONG}, **settings)) as job:
                result, = job
            told.append((result.outcome, result.cause, result.ran))
            if not (more or options or result.cause == 'lost'):
                self.assertEqual(result.errors, '')
        return told

    def check(self, outcome, cause, ran, without, *args, **settings):
        with self.subTest(cause=cause, args=args, settings=settings):
            self.assertEqual(self.told(*args, **settings),
                             [(outcome, cause, ran), without])

    def test_ends_of_the_command(self):
        unknown = ('ssh', 'ssh', 'unknown')
        self.check('error', 'exit-255', 'yes', unknown, 'exit 255')
        self.check('error', 'signal', 'yes', unknown, 'kill -9 $$')
        self.check('ssh', 'lost', 'unknown', ('ssh', 'lost', 'unknown'),
                   'kill -9 $PPID')
        self.check('ok', '', 'yes', ('ok', '', 'yes'), 'true')

    def test_connections_that_are_not_made(self):
        refused = ('ssh', 'refused', 'no')
        with deaf_port() as port:
            self.check(*refused, refused, 'true', '127.0.0.1:%d' % port)
        self.check('ssh', 'unresolved', 'no', ('ssh', 'unresolved', 'no'),
                   'true', NO_SUCH_HOST)
        for greeting, cause in ((b'SSH-nonsense\r\n', 'not-ssh'),
                                (b'', 'no-answer'),
                                (b'SSH-2.0-x\r\n', 'no-answer')):
            with stuck_server(greeting) as port:
                self.check('ssh', cause, 'no', (
                    ('killed', 'timeout', 'unknown') if 'x' in str(greeting)
                    and cause == 'no-answer' else ('ssh', cause, 'unknown')),
                    'true', '127.0.0.1:%d' % port, connect_timeout=1,
                    timeout=6)

    def test_keys_and_permission(self):
        with open(os.path.join(sshd().directory, 'key.pub')) as key:
            other = key.read()
        with open(os.path.join(sshd().directory, 'host_key.pub')) as key:
            right = key.read()
        for known, cause in (('', 'key-unknown'),
                             ('* ' + other, 'key-changed'),
                             ('@revoked * ' + right, 'key-revoked')):
            self.write('known', known)
            self.check('ssh', cause, 'no', ('ssh', cause, 'unknown'), 'true',
                       options=['UserKnownHostsFile=' + self.path('known')])
        self.check('ssh', 'denied', 'no', ('ssh', 'denied', 'unknown'),
                   'true', user='no-such-user')
        self.check('ssh', 'no-common', 'no', ('ssh', 'no-common', 'unknown'),
                   'true', options=['Ciphers=3des-cbc'])

    def test_limits_of_the_server(self):
        with another_sshd(self.directory, 'MaxSessions 0') as port:
            self.check('ssh', 'no-session', 'no',
                       ('ssh', 'no-session', 'unknown'), 'true',
                       '127.0.0.1:%d' % port)
        with another_sshd(self.directory, 'MaxStartups 1',
                          'LoginGraceTime 30') as port:
            with contextlib.ExitStack() as stack:
                # The connection that asked whether it listens may still count.
                wait_until(lambda: stack.enter_context(
                    socket.create_connection(('127.0.0.1', port))
                    ).recv(4) == b'SSH-')
                self.check('ssh', 'dropped', 'no',
                           ('ssh', 'dropped', 'unknown'), 'true',
                           '127.0.0.1:%d' % port)

    def test_jump_hosts(self):
        self.check('ok', '', 'yes', ('ok', '', 'yes'), 'true',
                   options=['ProxyJump=127.0.0.1'])
        self.check('error', 'exit-255', 'yes', ('ssh', 'ssh', 'unknown'),
                   'exit 255', options=['ProxyJump=127.0.0.1'])
        with deaf_port() as port:
            self.check('ssh', 'jump', 'no', ('ssh', 'jump', 'unknown'),
                       'true', '127.0.0.1:%d' % port,
                       options=['ProxyJump=127.0.0.1'])
            self.check('ssh', 'refused', 'no', ('ssh', 'refused', 'unknown'),
                       'true', options=['ProxyJump=127.0.0.1:%d' % port])

    def test_options_that_ssh_does_not_know(self):
        # Of the command line, on stderr, and of a file, in the log.
        config = self.write('config', 'NoSuchOption yes\n')
        for ssh, *options in ((sshd().ssh, 'NoSuchOption=yes'),
                              ('ssh -F ' + config,)):
            with SSHJobMan('127.0.0.1', 'true', ssh=ssh,
                           options=options) as job:
                result, = job
            self.assertEqual(
                (result.outcome, result.cause, result.ran),
                ('ssh', 'config', 'no'), result)
            self.assertIn('Bad configuration option', result.stderr)

    def test_shared_connection(self):
        shared = ['ControlMaster=auto', 'ControlPersist=yes',
                  'ControlPath=%s' % self.path('socket')]
        try:
            unknown = ('ssh', 'ssh', 'unknown')
            for command, told, without in (
                    ('true', ('ok', '', 'yes'), None),
                    ('exit 7', ('error', '', 'yes'), None),
                    ('exit 255', ('error', 'exit-255', 'yes'), unknown),
                    ('kill -9 $$', unknown, unknown)):
                self.check(*told, without or told, command, options=shared)
        finally:
            Command(['ssh', '-F', sshd().config, '-o', shared[2], '-O',
                     'exit', '127.0.0.1']).finish()


if __name__ == '__main__':
    unittest.main()
