"""One connection to a jump host for the whole run, by a real ssh."""

import contextlib
import glob
import os
import shlex
import shutil
import signal
import subprocess
from unittest import mock

from lib import (SCRATCH, Command, WorkTest, classh_argv, gate,
                 kill_leftovers, processes, run_classh, sshd, stuck_server,
                 wait_until)
from lib.accounts import accounts
from lib.shell import ShellTest
import classh
from classh import JumpError, JumpHost, SSHJobMan


def masters():
    """The pids of the connections to a gate."""
    return [pid for pid, _, _, line in processes()
            if line.startswith('ssh ') and ' -N ' in line
            and 'ControlMaster=yes' in line and '/classh-' in line]


class JumpTest(WorkTest):
    @classmethod
    def setUpClass(cls):
        cls.gate = gate()
        cls.ssh = 'ssh -F ' + shlex.quote(
            cls.gate.config_with(sshd().config))

    def setUp(self):
        super().setUp()
        self.addCleanup(self.check_nothing_left)
        self.before = self.gate.logins()

    def check_nothing_left(self):
        wait_until(lambda: not masters(), what='no connection is left')

    def logins(self):
        """How many there were at the gate in this test."""
        return self.gate.logins() - self.before

    def argv(self, *args):
        return classh_argv('--ssh', self.ssh, *args)

    def classh(self, *args, **options):
        return run_classh('--ssh', self.ssh, *args, **options)


class RunTest(JumpTest):
    def test_all_hosts_of_a_large_fanout_are_good(self):
        said = self.classh('-q', '-J', 'gate', '-S', '-', '--retries=0',
                           'true', '127.0.0.[1-60]').check(0, None)
        self.assertEqual(len(said.stdout.split()), 60)
        self.assertEqual(self.logins(), 1)

    def test_command_here_finds_it_in_its_ssh(self):
        said = self.classh('-J', 'gate', '--exec', '$CLASSH_SSH $CLASSH_HOST '
                           "'echo in'", '127.0.0.[1-3]').check(0, None)
        self.assertEqual(said.stdout.count('  in\n'), 3)
        self.assertEqual(self.logins(), 1)

    def test_so_they_are_with_a_login_each_that_is_tried_again(self):
        said = self.classh('-q', '-O', 'ProxyJump=gate', '-S', '-', 'true',
                           '127.0.0.[1-60]').check(0, None, None)
        self.assertEqual(len(said.stdout.split()), 60)
        self.assertEqual(self.logins(), 60)

    def test_gates_before_the_last_one(self):
        said = self.classh('-J', 'gate2,gate', 'echo in', '127.0.0.[1-3]')
        said.check(0, None)
        self.assertEqual(said.stdout.count('  in\n'), 3, said)
        self.assertEqual(self.logins(), 2)

    def test_host_that_the_gate_cannot_reach(self):
        said = self.classh('-J', 'gate', '-E', 'bad/', 'true', '127.0.0.1:1',
                           '127.0.0.2', cwd=self.directory)
        said.check(4, None, None)
        self.assertIn('127.0.0.2   0   ', said.stdout)
        self.assertIn('Stdio forwarding request failed', said.stdout)
        self.assertEqual(self.lines('bad/127.0.0.1:1.why'), [
            'cause: jump', 'reason: ' + classh.CAUSES['jump'], 'ran: no'])

    def test_options_for_hosts_alone_are_not_for_the_gate(self):
        said = self.classh('-J', 'gate', '-O', 'Port=1', '-O', 'User=nobody',
                           'true', '127.0.0.1')
        said.check(4, None, None)
        self.assertIn('Stdio forwarding request failed', said.stdout)
        self.assertEqual(self.logins(), 1)

    def test_option_with_characters_that_ssh_and_a_shell_replace(self):
        self.classh('-J', 'gate', '-O', "SetEnv=A='%h \"$HOME\" %%'", '-q',
                    'true', '127.0.0.1').check()

    def test_descriptors_are_enough_for_its_ssh_as_for_us(self):
        self.classh('-q', '-J', 'gate', '-f60', 'true', '127.0.0.[1-60]',
                    before='ulimit -S -n 64').check()
        self.assertEqual(self.logins(), 1)

    def test_module_gives_the_same(self):
        hosts = sshd().hosts(5)
        with JumpHost('gate', self.ssh) as jump:
            for _ in range(2):
                with SSHJobMan(hosts, 'echo in', ssh=self.ssh,
                               hooks=[jump]) as manager:
                    self.assertEqual(
                        sorted((result.host, result.output)
                               for result in manager),
                        sorted((host, 'in\n') for host in hosts))
        self.assertEqual(self.logins(), 1)

    def test_ssh_that_hangs_is_not_waited_for_as_a_job_is(self):
        with mock.patch('classh.KILL_GRACE', None):     # not to be used
            with JumpHost('gate', self.ssh) as jump:
                process = jump._process
                os.kill(process.pid, signal.SIGSTOP)
        self.assertLess(process.returncode, 0)  # killed, and reaped


class NoGateTest(JumpTest):
    """A gate that cannot be used: status 2, and nothing is started."""

    def refused(self, *args, ssh=None):
        said = run_classh('--ssh', ssh or self.ssh, '-J', *args,
                          'echo >>%s' % self.path('ran'), '127.0.0.[1-3]')
        said.check(2, '', None)
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(said.stderr.count('\n'), 1, said)
        self.assertTrue(said.stderr.startswith(
            'classh: cannot log in to the jump host '), said)
        return said.stderr

    def test_words_of_ssh_say_why(self):
        for name, words in (
                ('127.0.0.1:1', 'port 1: Connection refused\n'),
                ('no-such-host.invalid', 'Could not resolve hostname'),
                ('no-such-user@gate', 'Permission denied'),
                ('127.0.0.1:1,gate', 'port 1: Connection refused')):
            self.assertIn(words, self.refused(name))
        self.assertIn('Host key verification failed', self.refused(
            'gate', ssh=self.ssh + ' -o UserKnownHostsFile=/dev/null'))

    def test_key_that_has_changed_is_told_in_few_words(self):
        known = os.path.join(self.scratch(), 'known_hosts')
        with open(os.path.join(sshd().directory, 'key.pub')) as key, \
                open(known, 'w') as hosts:
            hosts.write('* ' + key.read())
        self.assertRegex(
            self.refused('gate', ssh=self.ssh + ' -o UserKnownHostsFile='
                         + known),
            r' host gate: host key has CHANGED; Offending \S+ key in \S+:1; '
            r'Host key verification failed\.\n\Z')

    def test_ssh_that_is_none(self):
        self.assertIn('ended without a word', self.refused('gate', ssh='true'))

    def test_limit_is_for_the_whole_login(self):
        for greeting in b'', b'SSH-2.0-x\r\n':
            with stuck_server(greeting) as port:
                self.refused('127.0.0.1:%d' % port, '-t1')

    def test_module_raises(self):
        with self.assertRaises(JumpError) as caught:
            JumpHost('127.0.0.1:1', self.ssh).__enter__()
        self.assertEqual(caught.exception.gate, '127.0.0.1:1')
        self.assertIn('Connection refused', caught.exception.problem)

    def test_signal_while_it_is_waited_for(self):
        with stuck_server(b'SSH-2.0-x\r\n') as port:
            for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
                with Command(self.argv('-t0', '-J', '127.0.0.1:%d' % port,
                                       'true', 'a')) as command:
                    wait_until(masters)
                    command.signal(number)
                    command.finish().check(128 + number, '', '')
                self.check_nothing_left()


class LostTest(JumpTest):
    """A connection that ends while the run goes on."""

    def start(self, *args):
        command = Command(self.argv('-J', 'gate', *args), cwd=self.directory)
        self.addCleanup(command.__exit__)
        return command

    def test_it_is_opened_again_and_no_other_host_is_lost(self):
        command = self.start(
            '-f2', '--retries=5', 'echo >>{0}/begun; until [ -e {0}/go ]; do '
            'sleep .05; done'.format(self.directory), '127.0.0.[1-6]')
        wait_until(lambda: len(self.lines('begun')) == 2)
        pid, = masters()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.logins() >= 2, what='another connection')
        self.write('go')
        said = command.finish().check(4, None, None)
        self.assertIn('classh: connection to the jump host gate lost: ssh '
                      'has ended without a word\n', said.stderr)
        self.assertEqual(said.stdout.count('   0   ('), 4, said)
        self.assertEqual(said.stdout.count(
            'connection lost while the command ran\n'), 2, said)
        # What may have run is not tried again.
        self.assertEqual(len(self.lines('begun')), 6)
        # A job that starts before the loss is seen, of two at a time,
        # connects to the gate by itself.
        self.assertIn(self.logins(), (2, 3, 4))

    def test_it_ends_with_us_if_we_are_killed(self):
        command = self.start('echo $$ >%s; exec sleep 60' % self.path('pid'),
                             '127.0.0.1')
        pid = int(wait_until(lambda: self.read('pid')))
        wait_until(lambda: (pid, 'sleep 60') in [
            (found, line) for found, _, _, line in processes()])
        command.signal(signal.SIGKILL)
        command.finish().check(-signal.SIGKILL, None, None)
        wait_until(lambda: not masters())
        kill_leftovers()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)    # it lives on over there
        for path in glob.glob(os.path.join(SCRATCH, 'classh-*')):
            shutil.rmtree(path)


class OtherOptionsTest(JumpTest, ShellTest):
    def test_shell_shares_the_connections_to_hosts_through_it(self):
        command = Command(
            self.shell_argv('-J', 'gate', '127.0.0.[1-3]', '127.0.0.1:1'),
            stdin=subprocess.PIPE, env=self.env, cwd=self.directory)
        self.addCleanup(command.__exit__)
        command.stdin.write(b'echo $SSH_CONNECTION >>%s/from\n' % os.fsencode(
            self.directory) * 3)
        said = command.finish().check(4, None, None)
        # An ssh whose connection is shared hides the words of the gate's.
        self.assertEqual(said.stderr, 3 * (
            '1 of 4 %s (-J): 127.0.0.1:1\n' % classh.CAUSES['jump']))
        self.assertEqual((len(self.lines('from')),
                          len(set(self.lines('from')))), (9, 3))
        self.assertEqual(self.logins(), 1)

    def shell_argv(self, *args):
        return ShellTest.argv(self, *args, ssh=self.ssh)

    def test_password_is_for_the_hosts_and_a_key_for_the_gate(self):
        users = accounts()
        self.addCleanup(users.quiet)
        ssh = 'ssh -F ' + shlex.quote(
            self.gate.config_with(users.path('ssh_config')))
        path = self.write('password', users.password + '\n', 0o600)
        said = run_classh('--ssh', ssh, '-J', 'gate', '--askpass-file', path,
                          'id -un', users.asked + '@127.0.0.[1-3]')
        said.check(0, None)
        self.assertEqual(said.stdout.count('  %s\n' % users.asked), 3, said)
        self.assertEqual(self.logins(), 1)
