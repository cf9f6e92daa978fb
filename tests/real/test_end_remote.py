"""--end-remote: what a command leaves on its host, with real shells and a real
sshd."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import unittest.mock

from lib import (Command, WorkTest, classh_argv, pids, processes, run_classh,
                 wait_until)
from lib.accounts import accounts, installed, not_run
import classh

SHELLS = ('dash', 'bash', 'busybox ash')        # of POSIX
# Takes the end of its stdin for no reason to end, nor SIGTERM.
STUBBORN = 'trap "" TERM; sleep %s & sleep %s'


def holders(text):
    """The pids of processes with *text* in their arguments or environment."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            for name in 'cmdline', 'environ':
                with open('/proc/%s/%s' % (pid, name), 'rb') as file:
                    if text.encode() in file.read():
                        found.append(int(pid))
                        break
    return found


class WrapperTest(WorkTest):
    """What runs on the host, by each sh; our end of its stdin is a pipe."""

    def setUp(self):
        super().setUp()
        self.bins = {}
        for shell in SHELLS:
            program = shell.split()[0]
            if not installed(program):
                not_run('--end-remote by ' + shell, 'not installed')
                continue
            self.bins[shell] = self.path('bin-' + program)
            os.mkdir(self.bins[shell])
            os.symlink(shutil.which(program),
                       os.path.join(self.bins[shell], 'sh'))

    def begin(self, shell, command):
        """Start *command* as sshd would; return it and our end of stdin."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        ours = open(writer, 'wb', buffering=0)
        self.addCleanup(ours.close)
        started = Command(
            ['sh', '-c', classh.EndRemote().wrap(command)], stdin=reader,
            cwd=self.directory, env={'SHELL': '/bin/sh', 'PATH': '%s:%s' % (
                self.bins[shell], os.environ['PATH'])})
        self.addCleanup(started.__exit__)
        return started, ours

    @staticmethod
    def is_gone(group):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    def test_status_and_both_streams_pass_and_the_watcher_goes(self):
        for shell in self.bins:
            for command, status, out, err in (
                    ('printf out; printf err >&2; cat; exit 3', 3, 'out',
                     'err'),
                    ('exit 255', 255, '', ''),
                    ('kill -9 $$', 137, '', ''),
                    ('kill -SEGV $$', 139, '', ''),
                    ('echo "$CLASSH_COMMAND"; (exec 3>&1) && ls /proc/self/fd',
                     0, '\n0\n1\n2\n3\n', '')):
                with self.subTest(shell=shell, command=command):
                    started, _ = self.begin(shell, command)
                    started.finish().check(status, out, err)
                    # Though its stdin is still open.
                    self.assertTrue(self.is_gone(started.pid))

    def test_what_it_leaves_in_the_background_lives_on(self):
        for shell in self.bins:
            started, ours = self.begin(
                shell, 'sleep 60 >/dev/null 2>&1 & echo $!')
            pid = int(started.finish().check(0, stdout=None).stdout)
            ours.close()
            with self.subTest(shell=shell):
                self.assertTrue(any(processes([pid])))
            os.kill(pid, signal.SIGKILL)

    def test_command_is_in_no_arguments_where_pkill_would_find_it(self):
        for shell in self.bins:
            started, _ = self.begin(shell, 'cat /proc/$PPID/cmdline #FINDME')
            said = started.finish().check(stdout=None)
            self.assertIn('classh --end-remote', said.stdout)
            self.assertNotIn('FINDME', said.stdout)

    @unittest.mock.patch('classh.KILL_GRACE', 1)
    def test_end_of_stdin_is_its_end(self):
        gentle = ('trap "echo ended >>term; exit" TERM; echo >>begun; '
                  'sleep 60 & wait')
        stubborn = 'echo >>begun; ' + STUBBORN % (60, 60)
        started = [self.begin(shell, command) for shell in self.bins
                   for command in (gentle, stubborn)]
        wait_until(lambda: len(self.lines('begun')) == len(started))
        for _, ours in started:
            ours.close()
        for command, _ in started:
            command.finish()
            wait_until(lambda: self.is_gone(command.pid))
        self.assertEqual(self.lines('term'), ['ended'] * len(self.bins))


class HostTest(WorkTest):
    """Through a real sshd, to users with different login shells."""

    @classmethod
    def setUpClass(cls):
        cls.users = accounts()
        cls.names = list(filter(None, map(
            cls.users.with_shell, (*SHELLS, 'csh', 'fish'))))

    def setUp(self):
        super().setUp()
        self.addCleanup(self.users.quiet)
        # Short enough for a socket; who is killed leaves files there.
        self.tmp = tempfile.mkdtemp(prefix='ct', dir='/tmp')
        self.addCleanup(shutil.rmtree, self.tmp)
        self.right = self.write('right', self.users.password + '\n', 0o600)
        self.other = self.write('other', self.users.other + '\n', 0o600)

    def argv(self, *args):
        return ['--ssh', self.users.ssh, '--askpass-file', self.right,
                '--end-remote', *args]

    def ways(self):
        """How commands are to end: a word for it, users, more arguments."""
        asked, free = [self.users.asked], [self.users.free]
        found = [('timeout', self.names, '-u', '8'), ('Ctrl-C', self.names),
                 ('kill -9 ssh', self.names), ('kill -9 classh', self.names)]
        if self.users.sudo_problem():
            not_run('--end-remote with sudo', self.users.sudo_problem())
            return found
        # Those with a time limit first: they do not wait for us.
        return [
            ('timeout', asked, '--sudo', '-u', '8'), *found,
            ('Ctrl-C', free, '--sudo', '--askpass-file', self.other),
            ('kill -9 ssh', asked, '--sudo', '-O', 'RequestTTY=force'),
            ('kill -9 classh', asked, '--sudo')]

    def test_nothing_is_left(self):
        runs = []
        for number, (way, users, *args) in enumerate(self.ways()):
            mark = '9%d%d' % (os.getpid(), number)
            command = Command(classh_argv(*self.argv(
                *args, 'sh -c ' + shlex.quote(STUBBORN % (mark, mark)),
                *(user + '@127.0.0.1' for user in users))),
                env={'TMPDIR': self.tmp}, cwd='/')
            self.addCleanup(command.__exit__)
            runs.append((way, mark, len(users), command))
        for way, mark, count, command in runs:
            wait_until(lambda: 2 * count == sum(
                line == 'sleep ' + mark for *_, line in processes()),
                what='all run that %s ends' % way)
            self.end(way, command.pid)
        for way, mark, _, command in runs:
            status = {'Ctrl-C': 130, 'kill -9 classh': -9}.get(way, 3)
            command.finish().check(status, stdout=None, stderr=None)
        for way, mark, _, _ in runs:
            wait_until(lambda: not holders(mark), what='gone after ' + way)

    @staticmethod
    def end(way, pid):
        if way == 'Ctrl-C':
            os.kill(pid, signal.SIGINT)
        elif way == 'kill -9 classh':
            os.kill(pid, signal.SIGKILL)
        elif way == 'kill -9 ssh':
            for child, parent, _, line in list(processes()):
                if parent == pid and line.startswith('ssh '):
                    os.kill(child, signal.SIGKILL)

    def test_exit_statuses(self):
        if not self.users.every_address:
            self.skipTest('one address stands for all hosts here')
        # The last number of the address is the status; 9 is a signal.
        said = run_classh(*self.argv(
            '--json', "sh -c 'set -- $SSH_CONNECTION; set -- ${3##*.}; "
            "case $1 in 9) kill -9 $$;; 200) exit;; *) exit $1; esac'",
            *('%s@127.0.0.[3,9,200,255]' % name for name in self.names)),
            cwd='/').check(5, stdout=None, stderr=None)
        found = {record['host']: (record['outcome'], record['exitcode'])
                 for record in map(json.loads, said.stdout.splitlines())
                 if record['event'] == 'result'}
        self.assertEqual(found, {
            '%s@127.0.0.%d' % (name, address): result for name in self.names
            for address, result in (
                (3, ('error', 3)), (9, ('error', 137)), (200, ('ok', 0)),
                (255, ('error', 255)))}, said)

    def test_shell_with_shared_connections(self):
        mark = '9%d9' % os.getpid()
        command = Command(classh_argv(*self.argv(
            '--shell', '-u', '3', self.names[0] + '@127.0.0.1')),
            stdin=subprocess.PIPE, env={'HOME': self.directory}, cwd='/')
        self.addCleanup(command.__exit__)
        command.send(b'sleep %s\n' % mark.encode())
        wait_until(lambda: 'timed out' in command.stdout)
        # The connection to which it belonged is shared, and may live on.
        wait_until(lambda: not holders(mark))
        command.send(b'exit 4\n')
        said = command.finish().check(5, stdout=None, stderr=None)
        self.assertIn('@127.0.0.1   4   ', said.stdout)
