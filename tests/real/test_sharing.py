"""Connections that are shared, by a real ssh."""

import contextlib
import os
import pwd
import signal
import subprocess

from lib import (SCRATCH, Command, end_remote, processes, run_classh, sshd,
                 wait_until)
from lib.accounts import accounts
from lib.shell import ShellTest, private_directories
from lib.terminal import Terminal


class RealSharingTest(ShellTest):
    """One connection a host, on a real sshd."""

    @classmethod
    def setUpClass(cls):
        cls.sshd = sshd()

    def setUp(self):
        super().setUp()
        if not self.sshd.every_address:
            self.skipTest('one address stands for all hosts here')
        self.addCleanup(self.check_nothing_left)

    @staticmethod
    def masters():
        """The pids of the connections that are shared."""
        return [pid for pid, _, _, line in processes()
                if SCRATCH in line and '[mux]' in line]

    def connections(self):
        """The pids of the other ends of all connections."""
        return [pid for pid, parent, _, _ in processes()
                if parent == self.listener()]

    def listener(self):
        with open(os.path.join(self.sshd.directory, 'pid')) as file:
            return int(file.read())

    def check_nothing_left(self):
        try:
            wait_until(lambda: not self.masters() + self.connections(),
                       what='no connection is left')
            self.assertEqual(private_directories(), set())
        finally:
            for pid in self.masters():      # they would live for minutes
                os.kill(pid, signal.SIGTERM)

    def start(self, *args):
        command = Command(self.argv(*args, ssh=self.sshd.ssh),
                          stdin=subprocess.PIPE, env=self.env,
                          cwd=self.directory)
        self.addCleanup(command.__exit__)
        return command

    @staticmethod
    def send(command, line, count):
        """Run *line*; wait until *count* marks more show."""
        before = command.stderr.count('.')
        command.send(line.encode() + b'\n')
        wait_until(lambda: command.stderr.count('.') >= before + count, 60)

    def test_all_commands_go_over_the_connections_of_the_first(self):
        # Each connection has a port of its own at our end.
        script = 'echo $SSH_CONNECTION >>%s' % self.path('from')
        command = self.start('--progress', '127.0.0.[1-40]')
        for number in range(1, 4):
            self.send(command, script, 40)
            self.assertEqual(len(self.masters()), 40)
            self.assertEqual(len(self.lines('from')), 40 * number)
            self.assertEqual(len(set(self.lines('from'))), 40)
        command.finish().check(0, '', None)

    def test_command_that_was_stopped_does_not_end_them(self):
        shell = self.shell('127.0.0.[1-3]', ssh=self.sshd.ssh)
        self.say(shell, 'echo $SSH_CONNECTION >>' + self.path('from'))
        begun = self.path('begun')
        shell.type('echo >>%s; exec sleep 60\n' % begun)
        wait_until(lambda: len(self.lines('begun')) == 3)
        shell.type('\x03')
        shell.expect('classh 3, 3 failed> ')
        self.say(shell, 'echo $SSH_CONNECTION >>' + self.path('from'))
        self.assertEqual(len(set(self.lines('from'))), 3)
        shell.type('\x04')
        shell.finish()
        end_remote()

    def test_leaving_with_jobs_running_leaves_nothing(self):
        for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            shell = self.shell('127.0.0.[1-3]', ssh=self.sshd.ssh)
            self.say(shell, 'true')
            self.assertEqual(len(self.masters()), 3)
            self.write('begun')
            shell.type('echo >>%s; exec sleep 60\n' % self.path('begun'))
            wait_until(lambda: len(self.lines('begun')) == 3)
            shell.signal(number)
            shell.finish().check(status, stdout=None)
            end_remote()
            self.check_nothing_left()

    def test_closed_terminal_leaves_nothing(self):
        shell = self.shell('127.0.0.[1-3]', ssh=self.sshd.ssh)
        self.say(shell, 'true')
        shell.hang_up()
        shell.finish().check(129, stdout=None)

    def test_first_command_that_is_stopped_leaves_nothing(self):
        shell = self.shell('127.0.0.[1-20]', ssh=self.sshd.ssh)
        shell.type('echo >>%s\n' % self.path('begun'))
        wait_until(lambda: self.lines('begun'))
        shell.signal(signal.SIGTERM)
        shell.finish().check(143, stdout=None)

    def test_two_names_of_a_host_do_not_contend_for_a_socket(self):
        user = pwd.getpwuid(os.getuid()).pw_name
        command = self.start('127.0.0.1', user + '@127.0.0.1',
                             '127.0.0.1:%d' % self.sshd.port)
        command.stdin.write(b'echo $SSH_CONNECTION >>from; echo in\n' * 3)
        said = command.finish().check(0, None, '')
        self.assertEqual(said.stdout.count('  in\n'), 9, said)
        self.assertNotIn('ControlSocket', said.stdout)

    def test_connection_that_is_dead_costs_one_command_its_limit(self):
        command = self.start('--progress', '127.0.0.[1-2]')
        self.send(command, 'true', 2)
        ends = self.connections()
        ends += [pid for pid, parent, _, _ in processes() if parent in ends]

        def send_them(number):
            for pid in ends:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

        send_them(signal.SIGSTOP)
        try:
            command.send(b'%timeout 1\n')
            command.send(b'true\n')
            wait_until(lambda: command.stderr.count('!') == 2)
            command.send(b'%timeout 30\n')
            self.send(command, 'true', 2)
        finally:
            send_them(signal.SIGKILL)
        command.finish().check(0, '', None)

    def test_host_that_cannot_be_reached_is_tried_again(self):
        command = self.start('127.0.0.1', '127.0.0.2:1')
        command.stdin.write(b'echo in\necho in\n')
        said = command.finish().check(4, None, None)
        self.assertEqual(said.stdout.count('  in\n'), 2, said)
        self.assertEqual(said.stdout.count('Connection refused'), 2, said)


class RealPasswordTest(ShellTest):
    """Passwords of a real sshd, and connections that are shared."""

    @classmethod
    def setUpClass(cls):
        cls.users = accounts()

    def test_password_is_given_once_a_host_for_all_commands(self):
        self.addCleanup(self.users.quiet)
        begin = self.users.quiet()
        terminal = Terminal(self.argv(
            '-A', self.users.asked + '@127.0.0.[1-4]', ssh=self.users.ssh),
            env=self.env, cwd=self.directory)
        self.addCleanup(terminal.__exit__)
        terminal.expect('Password for ')
        terminal.type(self.users.password + '\n')
        terminal.expect('classh 4> ')
        for _ in range(3):
            shown = self.say(terminal, 'id -un')
            self.assertEqual(shown.count('  %s\n' % self.users.asked), 4)
        terminal.type('\x04')
        terminal.finish().check(0, stdout=None)
        self.users.quiet()
        log = self.users.said(begin)
        self.assertEqual((log.count('Accepted password'),
                          log.count('Failed')), (4, 0), log)

    def test_connection_that_a_password_has_opened_needs_none_later(self):
        hosts = self.users.asked + '@127.0.0.[1-3]'
        env = {'XDG_RUNTIME_DIR': self.runtime_directory()}
        secret = self.write('right', self.users.password + '\n', 0o600)
        self.addCleanup(self.users.quiet)
        begin = self.users.quiet()
        for more in (['--askpass-file', secret], [], ['--unshare']):
            command = [] if '--unshare' in more else ['--share', 'true', hosts]
            run_classh('--ssh', self.users.ssh, '-q', *more, *command,
                       env=env).check(0, '')
        self.users.quiet()
        log = self.users.said(begin)
        self.assertEqual((log.count('Accepted password'),
                          log.count('Failed')), (3, 0), log)
