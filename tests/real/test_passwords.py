"""Passwords and encrypted keys with a real ssh and sshd."""

import os
import re
import shlex

from lib import WorkTest, classh_argv, run, run_classh, sshd
from lib.accounts import accounts, not_run
from lib.passwords import SECRET
from lib.terminal import Terminal


class RealTest(WorkTest):
    """Password authentication by a real sshd, for throw-away users."""

    @classmethod
    def setUpClass(cls):
        cls.users = accounts()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.users.quiet)
        self.begin = self.users.quiet()
        self.right = self.write('right', self.users.password + '\n', 0o600)
        self.wrong = self.write('wrong', self.users.wrong + '\n', 0o600)

    def login(self, *args, secret=None, port='password', **options):
        return run_classh(
            '--ssh', self.users.ssh, '-O', 'Port=%d' % self.users.ports[port],
            '--askpass-file', secret or self.right, *args, **options)

    def hosts(self, count, role='asked'):
        return '%s@127.0.0.[1-%d]' % (getattr(self.users, role), count)

    def attempts(self):
        """The server's log of successes and of failures: two lists."""
        self.users.quiet()
        lines = self.users.said(self.begin).splitlines()
        return ([line for line in lines if line.startswith('Accepted ')],
                [line for line in lines if line.startswith('Failed ')
                 or 'failure' in line.lower()])

    def check_in(self, said, count, method):
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked),
                         count, said)
        accepted, failed = self.attempts()
        self.assertEqual((len(accepted), failed), (count, []))
        self.assertTrue(all(method in line for line in accepted), accepted)

    def test_right_password_lets_in(self):
        self.check_in(self.login('id -un', self.hosts(10)), 10, 'password')

    def test_right_password_lets_in_by_keyboard_interactive(self):
        self.check_in(self.login('id -un', self.hosts(10), port='keyboard'),
                      10, 'keyboard-interactive')

    def test_wrong_password_reaches_one_of_forty_servers(self):
        for port, lines in (('password', 1), ('keyboard', 2), ('both', 2)):
            with self.subTest(port=port):
                self.begin = self.users.quiet()
                said = self.login('-f10', 'id', self.hosts(40), port=port,
                                  secret=self.wrong)
                said.check(4, stdout=None, stderr=None)
                accepted, failed = self.attempts()
                # By PAM it is a line of its own, besides that of sshd.
                self.assertEqual((accepted, len(failed)), ([], lines),
                                 '\n'.join(failed))
                self.assertIn('127.0.0.[2-40]', said.stderr, said)
                self.assertIn('39 of 40 not tried: ', said.stderr, said)

    def test_changed_password_of_one_host_stops_the_sending(self):
        said = self.login('-f1', 'id -un', self.hosts(2),
                          self.hosts(1, 'free'), self.hosts(5))
        said.check(4, stdout=None, stderr=None)
        accepted, failed = self.attempts()
        self.assertEqual((len(accepted), len(failed)), (2, 1), said)
        self.assertIn(
            'classh: %s@127.0.0.1 refused the password: it is sent no more\n'
            % self.users.free, said.stderr, said)
        self.assertIn('3 of 6 not tried: %s@127.0.0.[3-5]\n'
                      % self.users.asked, said.stderr, said)

    def test_changed_password_of_some_hosts_is_passed_over_if_asked_for(self):
        said = self.login('--askpass-anyway', 'id -un', self.hosts(4),
                          self.hosts(3, 'free'))
        said.check(4, stdout=None, stderr=None)
        accepted, failed = self.attempts()
        self.assertEqual((len(accepted), len(failed)), (4, 3), said)
        self.assertIn('3 of 7 refused the password: %s@127.0.0.[1-3]\n'
                      % self.users.free, said.stderr, said)

    def test_jump_host_and_target_each_get_it_once(self):
        jump = 'ProxyJump=%s@127.0.0.99' % self.users.asked
        for port in 'password', 'keyboard':
            with self.subTest(port=port):
                self.begin = self.users.quiet()
                said = self.login('-O', jump, 'id -un', self.hosts(2),
                                  port=port)
                said.check(stdout=None)
                accepted, failed = self.attempts()
                self.assertEqual((len(accepted), failed), (4, []), said)

    def test_jump_host_that_cannot_go_on_has_not_refused_it(self):
        said = self.login(
            '-O', 'ProxyJump=%s@127.0.0.99' % self.users.asked, '-f1',
            'id -un', self.users.asked + '@127.0.0.1:1', self.hosts(1))
        said.check(4, stdout=None, stderr=None)
        self.assertIn('@127.0.0.1:1   255', said.stdout, said)
        self.assertNotIn('refused', said.stderr, said)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked), 1)

    def test_unknown_key_behind_a_jump_host_is_no_refusal_of_it(self):
        said = self.login(
            '-O', 'ProxyJump=%s@127.0.0.99' % self.users.asked, '-O',
            'UserKnownHostsFile=/dev/null', '-O', 'StrictHostKeyChecking=ask',
            'id', self.hosts(2))
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(said.stdout.count(
            'showed an unexpected prompt: The authenticity of host'), 2, said)

    def test_jump_host_that_refuses_it_is_asked_once(self):
        said = self.login('-O', 'ProxyJump=%s@127.0.0.99' % self.users.asked,
                          '-f3', 'id', self.hosts(9), secret=self.wrong)
        said.check(4, stdout=None, stderr=None)
        accepted, failed = self.attempts()
        self.assertEqual((accepted, len(failed)), ([], 1), said)

    def test_password_that_has_expired_is_named_and_not_refused(self):
        said = self.login('-f1', 'id -un', self.hosts(1, 'old'),
                          self.hosts(2), port='keyboard')
        said.check(4, stdout=None, stderr=None)
        self.assertRegex(
            said.stdout, 'showed an unexpected prompt: .*password',
                         said)
        self.assertEqual(self.attempts()[1], [], said)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked), 2)

    def test_one_time_code_is_refused_and_named(self):
        if not self.users.codes:
            self.skipTest(not_run('one-time codes', 'no PAM module for them'))
        said = self.login('-f1', 'id -un', self.hosts(1, 'code'),
                          self.hosts(2), port='keyboard')
        said.check(4, stdout=None, stderr=None)
        self.assertRegex(said.stdout, r'showed an unexpected prompt: '
                         r'(\(.*\) )?Verification code:', said)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked), 2)
        # Not even an empty one was sent.
        self.assertEqual(self.attempts()[1], [], said)

    def test_unknown_host_key_is_refused_and_named(self):
        said = self.login('-O', 'UserKnownHostsFile=/dev/null', '-O',
                          'StrictHostKeyChecking=ask', 'id', self.hosts(3))
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(re.findall(
            "showed an unexpected prompt: The authenticity of host '\\[?127",
            said.stdout)), 3, said)
        self.assertEqual(self.attempts(), ([], []))

    def test_host_key_that_may_be_taken_is(self):
        known = self.path('known')
        said = self.login('-O', 'UserKnownHostsFile=' + known, '-O',
                          'StrictHostKeyChecking=accept-new', 'id -un',
                          self.hosts(3))
        self.check_in(said, 3, 'password')

    def test_asked_for_on_a_terminal(self):
        with Terminal(classh_argv('--ssh', self.users.ssh, '-A', 'id -un',
                                  self.hosts(3))) as terminal:
            terminal.expect('Password for ')
            terminal.type(self.users.password + '\n')
            said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('  %s\r\n' % self.users.asked), 3)
        self.assertEqual(said.stdout.count('assword'), 1, said)
        self.assertNotIn(self.users.password, said.stdout)

    def test_batch_mode_in_ssh_config_is_overruled(self):
        with open(os.path.join(self.users.directory, 'ssh_config')) as file:
            config = self.write('config', 'BatchMode yes\n' + file.read())
        said = run_classh('--ssh', 'ssh -F ' + shlex.quote(config),
                          '--askpass-file', self.right, 'id -un',
                          self.hosts(2))
        self.check_in(said, 2, 'password')

    def test_helper_that_is_gone_costs_one_attempt(self):
        ssh = self.program('ssh', 'rm -f "$SSH_ASKPASS"; exec %s "$@"'
                           % self.users.ssh)
        said = self.login('id', self.hosts(20), '--ssh', shlex.quote(ssh))
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(self.attempts()[1]), 1, said)
        self.assertIn(' could not ask for the password: it is sent no more',
                      said.stderr, said)

    def test_quiet_ssh_does_not_lock_the_account(self):
        said = self.login('-f3', '-O', 'LogLevel=QUIET', 'id', self.hosts(9),
                          secret=self.wrong)
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(self.attempts()[1]), 1, said)


class EncryptedKeyTest(WorkTest):
    """A key with a passphrase, and host keys: these need no root."""

    @classmethod
    def setUpClass(cls):
        cls.sshd = sshd()

    def setUp(self):
        super().setUp()
        with open(os.path.join(self.sshd.directory, 'key')) as key:
            self.key = self.write('closed', key.read(), 0o600)
        run(['ssh-keygen', '-q', '-p', '-P', '', '-N', SECRET, '-f',
             self.key]).check(stdout=None, stderr=None)
        with open(os.path.join(self.sshd.directory, 'key.pub')) as key:
            self.write('closed.pub', key.read())
        with open(self.sshd.config) as file:
            config = re.sub('(?m)^IdentityFile .*',
                            'IdentityFile "%s"' % self.key, file.read())
        self.ssh = 'ssh -F ' + shlex.quote(self.write('config', config))

    def login(self, *args, secret=SECRET, **options):
        path = self.write('secret', secret + '\n', 0o600)
        return run_classh('--ssh', self.ssh, '--askpass-file', path, *args,
                          **options)

    def test_is_opened(self):
        said = self.login('--askpass-key', 'echo in', '127.0.0.[1-5]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 5, said)

    def test_is_opened_where_its_path_is_relative(self):
        with open(self.path('config')) as file:
            self.write('config', re.sub('(?m)^IdentityFile .*\n', '',
                                        file.read()))
        said = self.login('--askpass-key', '-O', 'IdentityFile=closed',
                          'echo in', '127.0.0.[1-2]', cwd=self.directory)
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 2, said)

    def test_shell_of_the_user_may_be_any_or_none(self):
        # We run nothing by it; ssh runs the ssh of a jump host by it.
        false = self.program('false', 'echo not available; exit 1')
        for shell in false, '/nonexistent', '', None:
            with self.subTest(shell=shell):
                said = self.login(
                    '--askpass-key', '-f2',
                    'echo in; [ "${SSH_CONNECTION#*127.0.0.9 }" = '
                    '"$SSH_CONNECTION" ] || exit 255', '127.0.0.[1-2]',
                    '127.0.0.9', env={'SHELL': shell})
                said.check(5, stdout=None, stderr='1 of 3 exited with 255: '
                           '127.0.0.9\n')
                self.assertEqual(re.findall('(?m)^  .+', said.stdout),
                                 ['  Output:', '  in'] * 3, said)

    def test_local_command_of_the_user_is_run_by_his_shell(self):
        shell = self.program('shell', 'echo "$2" >>ran')
        said = self.login('--askpass-key', '-O', 'PermitLocalCommand=yes',
                          '-O', 'LocalCommand=his own', 'echo in',
                          '127.0.0.1', cwd=self.directory,
                          env={'SHELL': shell})
        said.check(stdout=None)
        self.assertEqual(self.lines('ran'), ['his own'])

    def test_is_opened_for_a_jump_host_too(self):
        said = self.login('--askpass-key', '-O', 'ProxyJump=127.0.0.99',
                          'echo in', '127.0.0.[1-2]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 2, said)

    def test_wrong_passphrase_is_tried_once(self):
        said = self.login('--askpass-key', '-f3', 'echo in', '127.0.0.[1-9]',
                          secret='another')
        said.check(4, stdout=None, stderr=None)
        self.assertIn('8 of 9 not tried: 127.0.0.[2-9]\n', said.stderr, said)

    def test_stays_closed_unless_asked_for(self):
        said = self.login('echo in', '127.0.0.[1-2]')
        said.check(4, stdout=None, stderr=None)
        self.assertIn("showed an unexpected prompt: Enter passphrase for key",
                      said.stdout, said)
        self.assertIn(': Permission denied (publickey', said.stdout, said)

    def test_unknown_host_key_is_refused_and_named(self):
        said = self.login('--askpass-key', '-O', 'UserKnownHostsFile='
                          '/dev/null', '-O', 'StrictHostKeyChecking=ask',
                          'echo in', '127.0.0.[1-2]')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(re.findall(
            "showed an unexpected prompt: The authenticity of host '\\[?127",
            said.stdout)), 2, said)

    def test_key_that_is_open_needs_no_password(self):
        path = self.write('secret', SECRET + '\n', 0o600)
        said = run_classh('--ssh', self.sshd.ssh, '--askpass-file', path,
                          'echo in', '127.0.0.[1-3]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 3, said)
