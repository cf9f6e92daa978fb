"""Descriptors, processes, the terminal, leftovers: a test for each line of
what other tools left behind that has none elsewhere.

Elsewhere: SIGTERM, SIGHUP and Ctrl-C leave no ssh behind (test_command,
test_signals, test_sinks); passwords (test_passwords, test_secrets, test_sudo);
escape sequences on a terminal (test_command); pickles that run code
(test_pickle).  lib.TestCase looks after every test of all files.
"""

import os
import re
import shutil
import signal
import sys
import textwrap
import time

from lib import (FAKE_SSH, ROOT, Command, WorkTest, classh_argv, leftovers,
                 processes, run, sshd, until, wait_until)

FORK = re.compile(r'^(?:clone3?|v?fork)\(')


class ManyJobsTest(WorkTest):
    PROGRAM = '''
        import os, sys
        from classh import SSHJobMan

        def hosts():
            for number in range(1000):
                yield '%s-%d' % (number % 10 < 3 and 'slow' or 'exit0', number)
        before = os.listdir('/proc/self/fd')
        with SSHJobMan(hosts(), 'true', ssh=sys.argv[1], fanout=100,
                       timeout=.2, keep=False) as job:
            found = [result.outcome for result in job]
            # Not what the with block would do: nothing is left by now.
            print(found.count('ok') <= 700, found.count('killed') >= 300,
                  len(found))
            print(os.listdir('/proc/self/fd') == before)
            try:
                print('a child', os.waitpid(-1, os.WNOHANG))
            except ChildProcessError:
                print('no child')
        '''

    def test_nothing_is_left_of_1000_of_which_300_time_out(self):
        run([sys.executable, '-c', textwrap.dedent(self.PROGRAM), FAKE_SSH],
            env={'PYTHONPATH': ROOT}).check(
                0, 'True True 1000\nTrue\nno child\n')

    def test_no_zombie_waits_for_the_end_of_the_run(self):
        with self.start('-f50', until('go-$HOST'), 'exit0-[1-30]', 'a[1-20]',
                        'slow', '-u30') as command:
            wait_until(lambda: command.stdout.count('exit0') == 30)
            for number in range(1, 21):
                self.write('go-a%d' % number)
            wait_until(lambda: command.stdout.count('   0   (') == 50)
            wait_until(lambda: [line for _, parent, _, line in processes()
                                if parent == command.pid] == ['sleep 60'])
            command.signal(2)
            command.finish().check(130, None, None)


class InheritTest(WorkTest):
    def test_whatever_classh_holds_a_job_has_three(self):
        # All sorts of sinks, input, a pickle, what it was started with, and
        # what is held for long output.
        said = self.classh(
            '-I', '-S', 'good/', '-E', '|cat >bad', '--pickle', 'all', '-f5',
            'ls /proc/self/fd | xargs; head -c 900000 /dev/zero >&2',
            'h[1-20]', stdin=b'input', before='exec 7<&0 8>&1 9</dev/null')
        said.check(0, None)
        for number in range(1, 21):
            # 7, 8 and 9 are open on purpose, for whom classh starts too?
            # No: a job is not what they are meant for.  3 is ls's own.
            self.assertEqual(self.read('good/h%d.out' % number), '0 1 2 3\n')

    def test_stdin_is_shared_by_none(self):
        # With none of ours, a job cannot put a shared one out of block.
        said = self.classh('readlink /proc/self/fd/0', 'a').check(0, None)
        self.assertIn('  /dev/null\n', said.stdout)


class TraceTest(WorkTest):
    """What strace sees of 50 hosts."""

    def setUp(self):
        super().setUp()
        if (not shutil.which('strace') or
                run(['strace', '-o', self.path('try'), 'true']).status):
            self.skipTest('no strace here, or it may not trace')

    def trace(self, *args, **options):
        """Run classh with these; return pid: lines, classh's own first."""
        argv = ['strace', '-f', '-qq', '-s', '200', '-o', self.path('trace')]
        # What is followed costs time: calls that matter alone.
        argv += ['-e', 'trace=process,dup,dup2,dup3,fcntl,close,close_range,'
                 'openat,open,pipe,pipe2,socket']
        run(argv + classh_argv(*args), cwd=self.directory, **options
            ).check(0, None)
        traced = {}
        for line in self.lines('trace'):
            pid, _, call = line.partition(' ')
            traced.setdefault(int(pid), []).append(call.lstrip())
        return traced

    def test_jobs_are_asked_for_one_by_one_and_have_three_descriptors(self):
        # A plain program in ssh's place: every call of a child is its own.
        probe = self.program('probe', 'exec ls -l /proc/self/fd')
        traced = self.trace('--ssh', probe, '-f20', 'true', 'h[1-50]',
                            '-S', 'names/')
        ours = next(iter(traced.values()))
        self.assertGreaterEqual(sum(bool(FORK.match(call))
                                    for call in ours), 50)
        waits = [call for call in ours if re.match(r'wait(4|id|pid)\(', call)]
        self.assertGreaterEqual(len(waits), 50)
        for call in waits:
            self.assertNotRegex(call, r'wait4\((-1|0),|P_ALL|P_PGID', call)
        for number in range(1, 51):
            found = re.findall(r' (\d+) -> (\S+)', self.read(
                'names/h%d.out' % number))
            self.assertEqual([fd for fd, _ in found][:3], ['0', '1', '2'])
            self.assertLessEqual(len(found), 4)     # ls reads a directory

    def test_no_ssh_closes_thousands_of_descriptors(self):
        traced = self.trace('--ssh', 'echo', '-f20', 'true', 'h[1-20]',
                            before='ulimit -n 4096')
        for pid, calls in list(traced.items())[1:]:
            self.assertLess(sum(call.startswith('close(') for call in calls),
                            200)


class IdleTest(WorkTest):
    def test_hundred_that_sleep_cost_nothing(self):
        # Kernel ticks, so that what the machine does meanwhile is no matter.
        with self.start('-q', '-f100', 'exec sleep 60',
                        'h[1-100]') as command:
            wait_until(lambda: [line for _, line in leftovers()].count(
                'sleep 60') == 100, 30)
            before, end = self.used(command.pid), time.monotonic() + 2.5
            wait_until(lambda: time.monotonic() > end)
            spent = self.used(command.pid) - before
            command.signal(15)
            command.finish().check(143)
        self.assertLess(spent, .1)

    @staticmethod
    def used(pid):
        """The seconds of CPU that *pid* has used so far."""
        with open('/proc/%d/stat' % pid) as stat:
            fields = stat.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class RemoteTest(WorkTest):
    """What classh cannot do, and says in the README."""

    def test_remote_command_lives_on_when_its_ssh_is_ended(self):
        server = sshd()
        with Command(classh_argv('--ssh', server.ssh, 'echo $$ >%s; '
                                 'exec sleep 60' % self.path('pid'),
                                 '127.0.0.1')) as command:
            pid = int(wait_until(lambda: self.read('pid')))
            command.signal(signal.SIGTERM)
            command.finish().check(143, None, '1 of 1 stopped: 127.0.0.1\n')
        wait_until(lambda: pid in [found for found, _, _, line in processes()
                                   if line == 'sleep 60'])
        os.kill(pid, 9)

    def test_limit_over_there_ends_it(self):
        server = sshd()
        said = run(classh_argv('--ssh', server.ssh, '-u60', 'echo $$ >%s; '
                               'exec timeout .2 sleep 61.$$'
                               % self.path('pid'),
                               '127.0.0.1'))
        said.check(5, None, '1 of 1 exited with 124: 127.0.0.1\n')
        ended = 'sleep 61.%d' % int(self.read('pid'))
        self.assertNotIn(ended, [line for _, _, _, line in processes()])
