"""Connections that are kept for later runs, by a real ssh."""

import contextlib
import glob
import os
import re
import shlex
import signal

from lib import (Command, WorkTest, classh_argv, end_remote, gate, processes,
                 run_classh, sshd, wait_until)
from classh import CAUSES, KeptConnections, KeptJumpHost, SSHJobMan

SAY = 'echo $SSH_CONNECTION'


class KeptTest(WorkTest):
    @classmethod
    def setUpClass(cls):
        cls.sshd = sshd()
        cls.ssh = cls.sshd.ssh

    def setUp(self):
        super().setUp()
        if not self.sshd.every_address:
            self.skipTest('one address stands for all hosts here')
        self.runtime = self.runtime_directory()
        self.addCleanup(self.check_nothing_left)

    def masters(self):
        """The pids of the connections that are kept."""
        return [pid for pid, _, _, line in processes()
                if self.runtime in line and 'ControlPath' not in line]

    def check_nothing_left(self):
        try:
            wait_until(lambda: not self.masters(), what='no master is left')
        finally:
            self.signal(signal.SIGKILL)

    def signal(self, number):
        for pid in self.masters():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def classh(self, *args, **options):
        return run_classh('--ssh', self.ssh, *args,
                          env={'XDG_RUNTIME_DIR': self.runtime}, **options)

    def share(self, *args, status=0, stderr=''):
        """Run it with --share; return the lines of stdout, sorted."""
        said = self.classh('--share', *args).check(status, None, stderr)
        return sorted(said.stdout.splitlines())

    def unshare(self, said, *hosts):
        self.classh('--unshare', *hosts).check(
            0, 'connections: %s\n' % said)

    def sockets(self):
        return glob.glob(self.runtime + '/classh/*')


class RunTest(KeptTest):
    def test_later_run_uses_them_and_unshare_ends_them(self):
        hosts = '127.0.0.[1-3]'
        first = self.share('-P', SAY, hosts)
        self.assertEqual(self.share('-P', SAY, hosts), first)
        # Neither stdout nor stderr of the run that made them, which has a
        # reader that waits for their end.
        for pid in self.masters():
            for fd in 0, 1, 2:
                self.assertEqual(os.readlink('/proc/%d/fd/%d' % (pid, fd)),
                                 '/dev/null')
        # The end of a job is not that of the connections, nor is a signal.
        said = self.share('-u3', '-P', 'case $SSH_CONNECTION in '
                          '*.2\\ *) exec sleep 60;; esac; ' + SAY, hosts,
                          status=3, stderr=None)
        self.assertEqual(said, [first[0], first[2]])
        with Command(classh_argv('--ssh', self.ssh, '--share', '-P', SAY
                                 + '; exec sleep 60', hosts),
                     env={'XDG_RUNTIME_DIR': self.runtime}) as command:
            wait_until(lambda: command.stdout.count('\n') == 3)
            command.signal(signal.SIGINT)
            command.finish().check(130, None, None)
        self.assertEqual(self.share('-P', SAY, hosts), first)
        self.unshare('1 ended', '127.0.0.2', '127.0.0.9')
        later = self.share('-P', SAY, hosts)
        self.assertEqual([later[0], later[2]], [first[0], first[2]])
        self.assertNotEqual(later[1], first[1])
        self.unshare('3 ended')
        end_remote()

    def test_dead_ones_cost_no_host(self):
        hosts = '127.0.0.[1-3]'
        # Killed: their sockets are left.
        self.share('-P', SAY, hosts)
        self.signal(signal.SIGKILL)
        self.assertEqual(len(self.share('-P', SAY, hosts)), 3)
        # Killed in the middle: what has begun is not run again.
        log = self.path('log')
        with Command(classh_argv(
                '--ssh', self.ssh, '--share', '--json', 'echo >>%s; exec '
                'sleep 60' % log, hosts),
                env={'XDG_RUNTIME_DIR': self.runtime}) as command:
            wait_until(lambda: len(self.lines('log')) == 3)
            self.signal(signal.SIGKILL)
            said = command.finish().check(4, None, None).stdout
        self.assertEqual(said.count('"ran":"unknown"'), 3, said)
        self.assertEqual(len(self.lines('log')), 3)
        end_remote()
        # A network that has gone, as a rule: the master does not answer.
        self.share('-P', SAY, hosts)
        old = self.masters()
        self.signal(signal.SIGSTOP)
        said = self.share('-t3', '--json', 'echo in', hosts)
        # OpenSSH 10 may connect by itself, the first time.
        self.assertEqual(len(re.findall(
            r'"outcome":"ok",.*"tries":[12],', '\n'.join(said))), 3, said)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        self.signal(signal.SIGKILL)
        wait_until(lambda: not self.masters())
        self.assertRegex(self.classh('--unshare').check(stdout=None).stdout,
                         '^connections: 0 ended')
        self.assertEqual(self.sockets(), [])

    def test_no_safe_place_is_a_warning_and_a_run(self):
        os.symlink(self.directory, self.runtime + '/classh')
        self.assertEqual(self.share('-q', '-S', '-', 'true', '127.0.0.1',
                                    stderr=None), ['127.0.0.1'])
        said = self.classh('--share', '-q', 'true', '127.0.0.1').check(
            0, '', None)
        self.assertEqual(said.stderr, 'classh: connections are not kept: '
                         '%s/classh is a link\n' % self.runtime)
        self.assertEqual(self.masters(), [])
        said = self.classh('--unshare').check(2, '', None)

    def test_prompt_uses_them_and_leaves_them(self):
        first = self.share('-P', SAY, '127.0.0.[1-2]')
        for _ in range(2):
            said = self.classh('--shell', '--share', '-P', '127.0.0.[1-2]',
                               stdin=SAY + '\n').check(0, None)
            self.assertEqual(sorted(said.stdout.splitlines()), first)
        self.unshare('2 ended')

    def test_runs_at_the_same_time_share_without_a_word(self):
        argv = classh_argv('--ssh', self.ssh, '--share', 'true',
                           '127.0.0.[1-4]')
        with contextlib.ExitStack() as stack:
            commands = [stack.enter_context(Command(
                argv, env={'XDG_RUNTIME_DIR': self.runtime}))
                for _ in range(3)]
            for command in commands:
                said = command.finish().check(0, None)
                self.assertEqual(said.stdout.count('   0   ('), 4, said)
                self.assertNotIn('Error:', said.stdout)
        self.unshare('4 ended')

    def test_wrong_use_starts_nothing(self):
        for args in (['--unshare', '--list', 'h'], ['--unshare', '-'],
                     ['--unshare', '--share'],
                     ['--unshare', '--journal', 'j', 'h'],
                     ['--unshare', '-x', 'h'], ['--share=0', 'true', 'h'],
                     ['--share', '-O', 'ControlPath=x', 'true', 'h']):
            said = self.classh(*args).check(2, '', None)
            self.assertEqual(said.stderr.count('\n'), 1, said)


class JumpTest(KeptTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.gate = gate()
        cls.ssh = 'ssh -F ' + shlex.quote(
            cls.gate.config_with(cls.sshd.config))

    def test_connection_to_a_jump_host_is_kept_too(self):
        before = self.gate.logins()
        first = self.share('-J', 'gate', '-P', SAY, '127.0.0.[1-3]')
        self.assertEqual(self.share('-J', 'gate', '-P', SAY, '127.0.0.[1-3]'),
                         first)
        # Without it another connection, since it could be another host.
        self.assertNotEqual(self.share('-P', SAY, '127.0.0.1'), first[:1])
        self.assertEqual(self.gate.logins() - before, 1)
        # The words of the gate's ssh do not come by stderr here.
        self.share('-J', 'gate', 'true', '127.0.0.1:1', status=4,
                   stderr='1 of 1 %s (-J): 127.0.0.1:1\n' % CAUSES['jump'])
        self.unshare('1 ended', 'gate')
        wait_until(lambda: len(self.masters()) == 1)
        os.environ['XDG_RUNTIME_DIR'], old = self.runtime, os.environ.get(
            'XDG_RUNTIME_DIR')
        try:
            kept = KeptConnections(ssh=self.ssh, gates='gate')
        finally:
            if old is None:
                del os.environ['XDG_RUNTIME_DIR']
            else:
                os.environ['XDG_RUNTIME_DIR'] = old
        with KeptJumpHost('gate', kept, self.ssh) as jump:
            for _ in range(2):
                with SSHJobMan(['127.0.0.[1-3]'], 'echo in', ssh=self.ssh,
                               hooks=[jump, kept]) as manager:
                    self.assertEqual([result.output for result in manager],
                                     3 * ['in\n'])
            self.assertTrue(os.path.exists(kept.path('gate')))
        self.assertEqual(self.gate.logins() - before, 2)
        self.unshare('5 ended')
