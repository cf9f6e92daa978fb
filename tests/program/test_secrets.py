"""Where a password must never be, while classh runs and after."""

import glob
import hashlib
import os
import shlex
import shutil
import signal
import sys
import tempfile

from lib import (CLASSH, ROOT, SCRATCH, Command, WorkTest, classh_argv,
                 kill_leftovers, leftovers, run, run_classh, until, wait_until)
from lib.accounts import accounts
from lib.terminal import Terminal

# In ssh's place: asks as ssh does, and keeps of the answer only its digest.
# It waits where the test wants to look at all that runs: until HELD is there,
# and the others until the file 'go' is.
ASKING = '''\
for word; do
    case $word in LocalCommand=*) local_command=${word#*=} ;; esac
done
while [ "$1" != -- ]; do shift; done
TARGET=$2
export TARGET
answer=$("$SSH_ASKPASS" "bob@$TARGET's password: ")
echo >>answered
%s
[ "$(printf %%s "$answer" | sha256sum)" = "$(cat digest)" ] || {
    echo "bob@$TARGET: Permission denied (password)." >&2
    exit 255
}
sh -c "$local_command"
exec sh -c "$3"
''' % until('go')

# Runs classh.main() after a change: for an error where one should not be.
BROKEN = '''\
import sys
sys.path.insert(0, %r)
import classh
def broken(*args, **options):
    secret = args
    raise RuntimeError('broken on purpose')
classh.%%s = broken
sys.exit(classh.main(sys.argv[1:]))
''' % ROOT


def places(secret, but=()):
    """Where *secret* can be seen now: paths, but for those in *but*."""
    secret = secret.encode()
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        for name in 'cmdline', 'environ', 'comm', 'status':
            found.append('/proc/%s/%s' % (pid, name))
    for place in {SCRATCH, '/dev/shm'} | set(glob.glob('/tmp/classh-*')):
        for directory, _, names in os.walk(place):
            found += [os.path.join(directory, name) for name in names]
    return [path for path in found
            if path not in but and _holds(path, secret)]


def _holds(path, secret):
    try:
        if not (path.startswith('/proc/') or os.path.isfile(path)):
            return False            # a socket, a FIFO
        with open(path, 'rb') as file:
            return secret in file.read()
    except OSError:                 # gone, or not ours to read
        return False


class SecretTest(WorkTest):
    def setUp(self):
        super().setUp()
        self.secret = 'secret-' + os.urandom(8).hex()
        self.write('digest', '%s  -\n' % hashlib.sha256(
            self.secret.encode()).hexdigest())
        self.ssh = shlex.quote(self.program('ssh', ASKING))

    def check(self, *texts, but=()):
        """Fail if the secret can be seen anywhere, or is in *texts*."""
        self.assertEqual(places(self.secret, but), [])
        for text in texts:
            self.assertNotIn(self.secret, text)

    def terminal(self, *args, **options):
        terminal = Terminal(classh_argv('--ssh', self.ssh, *args),
                            cwd=self.directory, **options)
        self.addCleanup(terminal.__exit__)
        return terminal

    def asked(self, count):
        wait_until(lambda: len(self.lines('answered')) >= count,
                   what='%d have an answer' % count)

    def file(self):
        return self.write('secret', self.secret + '\n', 0o600)


class PlacesTest(SecretTest):
    def test_this_test_sees_what_it_looks_for(self):
        self.assertEqual(places(self.secret), [])
        path = self.file()
        with Command(['sleep', '60'], env={'LEAK': self.secret}) as command:
            environ = '/proc/%d/environ' % command.pid
            wait_until(lambda: _holds(environ, self.secret.encode()))
            self.assertEqual(set(places(self.secret)), {path, environ})
        with Command(['sh', '-c', 'sleep 60; :', self.secret]) as command:
            cmdline = '/proc/%d/cmdline' % command.pid
            wait_until(lambda: _holds(cmdline, self.secret.encode()))
            self.assertEqual(places(self.secret, but=[path]), [cmdline])

    def test_password_is_nowhere_while_ssh_asks_and_after(self):
        terminal = self.terminal(
            '-A', '--pickle', 'results', '-S', 'good/', '-E', 'bad/',
            'echo in; echo err >&2; [ $TARGET != h3 ]', 'h[1-5]')
        terminal.expect('Password for ')
        terminal.type(self.secret + '\n')
        # The first has it, and no other is started before it has taken it.
        self.asked(1)
        self.check()
        self.write('go')
        self.asked(5)
        self.check()
        said = terminal.finish().check(5, stdout=None)
        self.assertEqual(said.stdout.count('  in\r\n'), 5, said)
        self.check(said.stdout)
        self.assertEqual(len(os.listdir(self.path('good'))), 8)
        self.assertTrue(self.read('results'))

    def test_password_that_was_refused_is_nowhere(self):
        path = self.write('secret', self.secret + '-wrong\n', 0o600)
        self.write('go')
        said = run_classh(
            '--ssh', self.ssh, '--askpass-file', path, '--pickle', 'results',
            '-E', 'bad/', 'true', 'h[1-3]', cwd=self.directory)
        said.check(4, stdout=None, stderr=None)
        self.check(said.stdout, said.stderr, but=[path])

    def test_password_from_a_file_is_nowhere_else(self):
        path = self.file()
        with Command(classh_argv('--ssh', self.ssh, '--askpass-file', path,
                                 'echo in', 'h[1-3]'),
                     cwd=self.directory) as command:
            self.asked(1)
            self.check(command.stdout, command.stderr, but=[path])
            self.write('go')
            said = command.finish().check(stdout=None)
        self.check(said.stdout, said.stderr, but=[path])

    def test_password_is_nowhere_after_each_kind_of_end(self):
        path = self.file()
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143),
                               (signal.SIGHUP, 129), (signal.SIGQUIT, 131)):
            with self.subTest(signal=number.name):
                self.write('answered')
                with Command(classh_argv(
                        '--ssh', self.ssh, '--askpass-file', path, 'true',
                        'h[1-3]'), cwd=self.directory,
                        before='ulimit -c unlimited') as command:
                    self.asked(1)
                    command.signal(number)
                    said = command.finish()
                self.assertEqual(said.status, status, said)
                self.assertNotIn('Traceback', said.stderr, said)
                self.check(said.stdout, said.stderr, but=[path])

    def test_no_core_file_can_be_left(self):
        # 1, since where a program gets it Linux heeds no other limit.
        for limit, sizes in (('ulimit -c unlimited 2>/dev/null', ['1']),
                             ('ulimit -Sc 0', ['1']),
                             # Not all may raise it again.
                             ('ulimit -c 0', ['0', '1'])):
            with self.subTest(limit=limit), Command(classh_argv(
                    '--ssh', self.ssh, '--askpass-file', self.file(), 'true',
                    'h'), cwd=self.directory, before=limit) as command:
                self.asked(1)
                for pid, _ in leftovers():
                    with open('/proc/%d/limits' % pid) as limits:
                        size, = [line.split()[4] for line in limits
                                 if line.startswith('Max core file size')]
                    self.assertIn(size, sizes)
                self.write('go')
                command.finish().check(stdout=None)
                os.unlink(self.path('go'))
                self.write('answered')

    def test_no_core_file_is_left(self):
        with Command(classh_argv(
                '--ssh', self.ssh, '--askpass-file', self.file(), 'true',
                'h'), cwd=self.directory,
                before='ulimit -c unlimited 2>/dev/null') as command:
            self.asked(1)
            before = set(os.listdir(self.directory))
            command.signal(signal.SIGABRT)
            command.finish().check(-signal.SIGABRT, None, None)
            self.assertEqual(set(os.listdir(self.directory)), before)
            kill_leftovers()
        shutil.rmtree(self.left_directories()[0])

    def test_password_is_in_no_traceback(self):
        path = self.file()
        self.write('go')
        for place in ('report', 'Gate.accept', 'Gate.ask', 'Gate.refuse',
                      'Gate.forget', 'Tally.summary', '_Talk.__init__',
                      'PasswordAttendant.finished', 'PasswordAttendant._answer',
                      'PasswordAttendant._is_ours', '_Dispatcher._emit',
                      '_Job.start', '_Pool._finish'):
            with self.subTest(place=place):
                # It ends with an error, but in no way that shows it.
                said = run([sys.executable, '-X', 'dev', '-c', BROKEN % place,
                            '--ssh', self.ssh, '--askpass-file', path, '-u5',
                            '--sudo', 'false', 'h'], cwd=self.directory)
                if place != 'Gate.refuse':
                    self.assertIn('broken on purpose', said.stderr, said)
                self.check(said.stdout, said.stderr, but=[path])
                self.assertEqual(self.left_directories(), [])

    @staticmethod
    def left_directories():
        return glob.glob(os.path.join(tempfile.gettempdir(), 'classh-*'))

    def test_password_is_in_no_warning_of_python(self):
        path = self.file()
        self.write('go')
        said = run([sys.executable, '-X', 'dev', '-W', 'default', CLASSH,
                    '--ssh', self.ssh, '--askpass-file', path, 'true',
                    'h[1-3]'], cwd=self.directory)
        said.check(stdout=None, stderr='')

    def test_history_of_the_shell_has_no_password(self):
        home = self.path('home')
        os.mkdir(home)
        self.write('go')
        terminal = self.terminal('-A', '--shell', 'h[1-2]',
                                 env={'HOME': home})
        terminal.expect('Password for ')
        terminal.type(self.secret + '\n')
        terminal.expect('classh 2> ')
        terminal.type('echo in\n')
        terminal.expect('classh 2> ')
        self.check()
        terminal.type('\x04')
        said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('  in\r\n'), 2, said)
        self.check(said.stdout)
        self.assertEqual(self.lines('home/.classh_history'), ['echo in'])


class RealSecretTest(SecretTest):
    """With a real sshd and a real sudo, which have logs of their own."""

    @classmethod
    def setUpClass(cls):
        cls.users = accounts()
        cls.users.has_sudo()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.users.quiet)
        self.secret = self.users.password

    def real(self, *args):
        terminal = Terminal(classh_argv(
            '--ssh', self.users.ssh, '-A', *args), cwd='/')
        self.addCleanup(terminal.__exit__)
        terminal.expect('Password for ')
        terminal.type(self.secret + '\n')
        return terminal

    def test_password_is_nowhere_from_login_to_the_end(self):
        terminal = self.real(
            '--sudo', '--pickle', self.path('results'),
            '-S', self.path('good/'), '-E', self.path('bad/'),
            'echo >>%s/running; cd %s; %s; id -un' % (
                self.directory, self.directory, until('go')),
            self.users.asked + '@127.0.0.[1-5]')
        # Again and again, as ssh, its helpers and sudo come and go.
        wait_until(lambda: self.check() or len(self.lines('running')) == 5)
        self.check()
        self.write('go')
        said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('  root\r\n'), 5, said)
        self.check(said.stdout)
        self.assertTrue(self.read('results'))

    def test_password_is_in_no_debug_output(self):
        path = self.write('secret', self.secret + '\n', 0o600)
        said = run_classh('--ssh', self.users.ssh.replace(
            'ssh ', 'ssh -vvv ', 1), '--askpass-file', path, '--sudo',
            '-O', 'LogLevel=DEBUG3', 'id -un',
            self.users.asked + '@127.0.0.1', cwd='/')
        said.check(stdout=None)
        self.assertIn('debug1: ', said.stdout, said)
        self.check(said.stdout, said.stderr, but=[path])

    def test_refused_password_is_in_no_log(self):
        self.secret = self.users.wrong
        terminal = self.real('--askpass-anyway', 'true',
                             self.users.asked + '@127.0.0.1')
        said = terminal.finish().check(4, stdout=None)
        terminal = Terminal(classh_argv(
            '--ssh', self.users.su, '-A', '--sudo', 'true',
            self.users.asked + '@h'), cwd='/')
        with terminal:
            terminal.expect('Password for ')
            terminal.type(self.secret + '\n')
            terminal.finish().check(5, stdout=None)
        self.users.quiet()
        self.check(said.stdout, self.users.said())
