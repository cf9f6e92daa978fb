"""Where a password can be seen while a real ssh sends it."""

from lib import classh_argv, run_classh, until, wait_until
from lib.accounts import accounts
from lib.secret import SecretTest
from lib.terminal import Terminal


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
