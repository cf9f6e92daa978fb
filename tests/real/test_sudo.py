"""sudo as it is on this machine."""

import os
import re
import shlex
import signal

from lib import Command, WorkTest, classh_argv, run, run_classh, wait_until
from lib.accounts import accounts, not_run
from lib.terminal import Terminal

MARK = re.compile('classh-?[0-9a-f]{4}')


class SudoTest(WorkTest):
    """Runs classh with --sudo where everything is as our users have it."""

    @classmethod
    def setUpClass(cls):
        cls.users = accounts()
        cls.users.has_sudo()

    def setUp(self):
        super().setUp()
        self.right = self.write('right', self.users.password + '\n', 0o600)
        self.wrong = self.write('wrong', self.users.wrong + '\n', 0o600)
        self.begin = self.log_size()

    def log_size(self):
        path = self.users.path('sudo.log')
        return os.path.getsize(path) if os.path.exists(path) else 0

    def log(self):
        """What sudo wrote to its log in this test, a line an event."""
        with open(self.users.path('sudo.log')) as log:
            log.seek(self.begin)
            return re.sub(r'\n +', ' ', log.read()).splitlines()

    def sudo(self, *args, sudo='--sudo', secret=None, ssh=None, **options):
        """Run it; None of a mark is in what it says."""
        args = (sudo,) + args
        if secret:
            args = ('--askpass-file', secret) + args
        options.setdefault('cwd', '/')
        said = run_classh('--ssh', ssh or self.users.su, *args, **options)
        self.assertIsNone(MARK.search(said.stdout + said.stderr), said)
        for secret in self.users.password, self.users.wrong, self.users.other:
            self.assertNotIn(secret, said.stdout + said.stderr, said)
        return said

    def hosts(self, role, count=40):
        return '%s@h[1-%d]' % (getattr(self.users, role), count)

    def check_all(self, said, count, line='root'):
        said.check(stdout=None)
        self.assertEqual(len(re.findall(
            r'h\d+   0   \(\d+\.\d\)\n  Output:\n\n  %s\n\n' % line,
            said.stdout)), count, said)


class RightTest(SudoTest):
    """Those who may."""

    def test_forty_hosts_with_a_password(self):
        self.check_all(self.sudo('id -un', self.hosts('asked'),
                                 secret=self.right), 40)
        self.assertEqual(len(self.log()), 40)
        self.assertTrue(all('COMMAND=' in line for line in self.log()))

    def test_hosts_that_do_not_ask(self):
        self.check_all(self.sudo('id -un', self.hosts('free', 9),
                                 secret=self.right), 9)

    def test_hosts_that_do_not_ask_and_no_password(self):
        self.check_all(self.sudo('id -un', self.hosts('free', 9)), 9)

    def test_ticket_of_an_earlier_run_needs_no_password(self):
        self.users.forget_tickets()
        self.check_all(self.sudo('id -un', self.hosts('kept', 3),
                                 secret=self.right), 3)
        # A wrong one is not even looked at; none does as well.
        self.check_all(self.sudo('id -un', self.hosts('kept', 3),
                                 secret=self.wrong), 3)
        self.check_all(self.sudo('id -un', self.hosts('kept', 3)), 3)
        self.users.forget_tickets()

    def test_whole_command_runs_as_root(self):
        command = ('id -un; true && id -un | cat || false; x=$(id -un); '
                   '(echo "$x"); for i in 1 2; do id -un; done')
        for role in 'asked', 'free':
            with self.subTest(role=role):
                said = self.sudo(command, self.hosts(role, 1),
                                 secret=self.right)
                self.check_all(said, 1, 'root' + 4 * '\n  root')

    def test_quotes_go_unchanged(self):
        command = ('''printf '%s|' "it's" 'a"b' "\\$HOME" '$x' '\\n' a\\ b'''
                   ''' '!' "*" %s '%%' "$((6*7))"\nprintf "second line"''')
        wanted = run(['sh', '-c', command]).check(stdout=None).stdout
        self.assertIn('second line', wanted)
        for role in 'asked', 'free':
            with self.subTest(role=role):
                said = self.sudo(command, self.hosts(role, 1),
                                 secret=self.right)
                self.assertIn('  Output:\n\n  %s\n' % wanted, said.stdout)

    def test_all_lines_of_the_shell_run_as_root(self):
        said = self.sudo('--shell', self.hosts('asked', 2), secret=self.right,
                         stdin='id -un; cat\n%only *1\nid -un | cat\n')
        said.check(stdout=None)
        self.assertEqual(re.findall(r'@(h\d)   0 .*\n  Output:\n\n  root\n\n',
                                    said.stdout)[2:], ['h1'], said)

    def test_status_and_both_streams_come_through(self):
        said = self.sudo('echo out; echo err >&2; exit 7',
                         self.hosts('asked', 2), self.hosts('free', 2),
                         secret=self.right)
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(len(re.findall(
            r'@h\d   7   \(.*\)\n  Error:\n\n  err\n\n  Output:\n\n  out\n\n',
            said.stdout)), 4, said)

    def test_command_killed_by_a_signal_is_its_own_fault(self):
        said = self.sudo('kill -9 $$', self.hosts('free', 1))
        self.assertNotIn('sudo', said.stdout, said)

    def test_another_user(self):
        self.check_all(self.sudo(
            'id -un', self.hosts('asked', 3), secret=self.right,
            sudo='--sudo=' + self.users.plain), 3, self.users.plain)

    def test_unknown_user_is_named(self):
        said = self.sudo('id -un', self.hosts('free', 1),
                         sudo='--sudo=nobody-of-ours')
        said.check(5, stdout=None, stderr=None)
        self.assertIn('   did not run the command under sudo\n', said.stdout)
        self.assertIn('nobody-of-ours', said.stdout)

    def test_input_follows_after_the_password(self):
        given = 'first line\nsecond\n' + 'x' * 100000 + '\nend'
        for role in 'asked', 'free':
            with self.subTest(role=role):
                said = self.sudo('-I', 'cksum', self.hosts(role, 3),
                                 secret=self.right, stdin=given)
                self.check_all(said, 3, '%s %d' % (
                    run(['cksum'], stdin=given).stdout.split()[0],
                    len(given)))

    def test_without_input_the_command_finds_none(self):
        for role in 'asked', 'free':
            with self.subTest(role=role):
                self.check_all(self.sudo('cat; echo end', self.hosts(role, 2),
                                         secret=self.right), 2, 'end')

    def test_command_that_runs_has_not_the_password(self):
        # Neither on its stdin nor in its arguments or its environment.
        said = self.sudo('-I', 'cat; cat /proc/$PPID/cmdline '
                         '/proc/$PPID/environ /proc/$$/environ | tr "\\0" " " '
                         '| tr -d a-f0-9:', self.hosts('asked', 1),
                         self.hosts('free', 1), secret=self.right, stdin='in')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  Output:\n\n  in'), 2, said)

    def test_text_that_begins_as_a_mark_does_is_kept(self):
        said = self.sudo('printf "c class classh- classh" >&2',
                         self.hosts('asked', 1), secret=self.right)
        self.assertIn('  Error:\n\n  c class classh- classh\n', said.stdout)

    def test_cut_output_changes_nothing(self):
        said = self.sudo('--max-output', '10', 'echo 0123456789ABC >&2; '
                         'id -un', self.hosts('asked', 2), secret=self.right)
        self.assertEqual(said.stdout.count('  Error:\n\n  0123456789\n\n'
                                           '  Output:\n\n  root\n'), 2, said)


class WrongTest(SudoTest):
    """Those who may not, or not so."""

    def test_hosts_of_a_user_who_may_not(self):
        said = self.sudo('touch done', self.hosts('plain', 9),
                         secret=self.right, cwd=self.directory)
        said.check(5, stdout=None, stderr=None)
        # The password was right: that is no reason to stop.
        self.assertEqual(said.stdout.count(
            '   did not run the command under sudo\n'), 9, said)
        self.assertEqual(said.stdout.count(' is not in the sudoers file'), 9)
        self.assertIn(
            '9 of 9 did not run the command under sudo: %s@h[1-9]\n'
                      % self.users.plain, said.stderr)
        self.assertFalse(os.path.exists(self.path('done')))

    def test_user_who_may_run_something_else_is_told_so(self):
        # sudo says what it does not run, which is all that we gave it.
        said = self.sudo('-I', 'id; cat', self.hosts('limited', 3),
                         secret=self.right, stdin='input')
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(said.stdout.count(
            '   did not run the command under sudo\n'), 3, said)
        self.assertEqual(said.stdout.count(' is not allowed to '), 3, said)

    def test_wrong_password_is_tried_once(self):
        said = self.sudo('-f10', 'touch done', self.hosts('asked'),
                         secret=self.wrong, cwd=self.directory)
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(
            said.stdout.count('   refused the password for sudo\n'),
                         1, said)
        self.assertIn('39 of 40 not tried: %s@h[2-40]\n' % self.users.asked,
                      said.stderr, said)
        self.assertEqual(len([line for line in self.log()
                              if '1 incorrect password attempt' in line]), 1)
        self.assertEqual([line for line in self.log()
                          if re.search('[2-9] incorrect', line)], [])
        self.assertFalse(os.path.exists(self.path('done')))

    def test_anyway_tries_each_host_once(self):
        said = self.sudo('--askpass-anyway', 'id -un', self.hosts('asked', 3),
                         self.hosts('free', 3), secret=self.wrong)
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(
            said.stdout.count('   refused the password for sudo\n'),
                         3, said)
        self.assertEqual(said.stdout.count('  root\n'), 3, said)
        self.assertEqual(len([line for line in self.log()
                              if '1 incorrect password attempt' in line]), 3)

    def test_no_password_where_one_is_needed(self):
        said = self.sudo('id -un', self.hosts('asked', 3))
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(said.stdout.count(
            '   did not run the command under sudo\n'), 3, said)
        self.assertEqual(said.stdout.count('password is required'), 3, said)

    def test_shell_does_not_try_it_again(self):
        said = self.sudo('--shell', self.hosts('asked', 2), secret=self.wrong,
                         stdin='id\nid\n')
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(len([line for line in self.log()
                              if 'incorrect password attempt' in line]), 1)
        self.assertEqual(said.stdout.count(
            '   not sent the password\n'), 2, said)

    def test_password_that_has_expired_is_told_at_once(self):
        said = self.sudo('-f1', 'id', self.hosts('asked', 3),
                         sudo='--sudo=' + self.users.old, secret=self.right)
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(
            said.stdout.count('   wanted a new password for sudo\n'),
                         3, said)

    def test_code_that_is_asked_for_too_is_no_refusal(self):
        if not self.users.codes:
            self.skipTest(not_run('one-time codes', 'no module for PAM'))
        said = self.sudo('-f1', 'id', self.hosts('code', 3),
                         secret=self.right)
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(
            said.stdout.count('   asked again for sudo\n'), 1, said)
        self.assertIn('2 of 3 not tried', said.stderr)

    def test_command_has_the_locale_of_the_login(self):
        for role in 'asked', 'free':
            self.check_all(self.sudo('printenv LC_ALL', self.hosts(role, 1),
                                     secret=self.right,
                                     env={'LC_ALL': 'C.UTF-8'}), 1, 'C.UTF-8')

    def test_refused_password_leaves_the_input_alone(self):
        # Its first line must not go for a password.
        said = self.sudo('-I', 'cat', self.hosts('asked', 1),
                         secret=self.wrong, stdin=self.users.password + '\n')
        said.check(5, stdout=None, stderr=None)
        self.assertIn('   refused the password for sudo\n', said.stdout)

    def test_no_sudo_is_said(self):
        place = self.path('bin')
        os.mkdir(place)
        os.symlink('/bin/sh', os.path.join(place, 'sh'))
        ssh = self.program('ssh', 'while [ "$1" != -- ]; do shift; done\n'
                           'PATH=%s exec sh -c "$3"' % place)
        for secret in None, self.right:
            said = self.sudo('id', 'h[1-3]', ssh=shlex.quote(ssh),
                             secret=secret)
            said.check(5, stdout=None, stderr=None)
            self.assertEqual(len(re.findall(
                r'h\d   127   \(.*\)   found no sudo\n\n', said.stdout)), 3)

    def test_ctrl_c_while_it_runs_leaves_nothing(self):
        command = self.start_long()
        command.signal(signal.SIGINT)
        command.finish().check(130, stdout=None, stderr=None)

    def start_long(self):
        command = Command(classh_argv(
            '--ssh', self.users.su, '--askpass-file', self.right, '--sudo',
            'touch %s/begun; exec sleep 60' % self.directory,
            self.hosts('asked', 1)), cwd='/')
        self.addCleanup(command.__exit__)
        wait_until(lambda: os.path.exists(self.path('begun')))
        return command


class RealTest(SudoTest):
    """Through a real sshd: one password for ssh and for sudo."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.users.quiet)

    def addresses(self, role, count):
        return '%s@127.0.0.[1-%d]' % (getattr(self.users, role), count)

    def real(self, *args, **options):
        options.setdefault('secret', self.right)
        return self.sudo(*args, ssh=self.users.ssh, **options)

    def test_one_password_serves_ssh_and_sudo(self):
        said = self.real('id -un; cat', self.addresses('asked', 10))
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  Output:\n\n  root\n\n'), 10)
        self.assertNotIn('Error', said.stdout, said)

    def test_one_password_serves_a_jump_host_too(self):
        said = self.real('-O', 'ProxyJump=%s@127.0.0.99' % self.users.plain,
                         'id -un', self.addresses('asked', 2))
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  Output:\n\n  root\n\n'), 2)

    def test_input_follows_through_ssh_too(self):
        said = self.real('-I', 'cat; id -un', self.addresses('asked', 3),
                         self.addresses('kept', 3), stdin='a\nb\n')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  a\n  b\n  root\n'), 6, said)
        self.users.forget_tickets()

    def test_terminal_that_is_forced_hears_the_marks(self):
        said = self.real('-O', 'RequestTTY=force', 'tty | cut -c 1-5; id -un',
                         self.addresses('asked', 2))
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  /dev/\r\n  root\r\n'), 2, said)

    def test_asked_for_once_on_a_terminal(self):
        with Terminal(classh_argv(
                '--ssh', self.users.ssh, '-A', '--sudo', 'id -un',
                self.addresses('asked', 2)), cwd='/') as terminal:
            terminal.expect('Password for ')
            terminal.type(self.users.password + '\n')
            said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('assword'), 1, said)
        self.assertEqual(said.stdout.count('  root\r\n'), 2, said)

    def test_another_password_for_sudo_is_asked_for_apart(self):
        # ssh takes the one, and the user whom we become has the other.
        with Terminal(classh_argv(
                '--ssh', self.users.ssh, '-A', '--sudo=' + self.users.free,
                '--sudo-password', 'id -un', self.addresses('asked', 2)),
                cwd='/') as terminal:
            terminal.expect('Password for ')
            terminal.type(self.users.password + '\n')
            terminal.expect('Password for sudo on ')
            terminal.type(self.users.other + '\n')
            said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('  %s\r\n' % self.users.free), 2)
        for secret in self.users.password, self.users.other:
            self.assertNotIn(secret, said.stdout)

    def test_only_for_sudo_where_ssh_needs_none(self):
        with Terminal(classh_argv(
                '--ssh', self.users.su, '--sudo', '--sudo-password', 'id -un',
                self.hosts('asked', 2)), cwd='/') as terminal:
            terminal.expect('Password for sudo on ')
            terminal.type(self.users.password + '\n')
            said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('assword'), 1, said)
        self.assertEqual(said.stdout.count('  root\r\n'), 2, said)
