"""Hangs and late returns, as other tools knew them: a test for each, of the
module and, where it could differ, of the command line in every mode.

Of the same family are, elsewhere: the limit for each of three hosts in every
mode (test_command), a server that says nothing and a remote `cat` (test_sshd),
programs and FIFOs that take no names (test_sinks), one job's limits and pipes
in detail, and thousands of hosts of which none may get lost (test_engine).
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time

from lib import (FAKE_SSH, ROOT, WAIT_LIMIT, Command, WorkTest, children,
                 classh_argv, kill_leftovers, processes, run, run_in_pty,
                 stuck_server, wait_until)
from engine.test_engine import MIB, Clock, EngineTest, Gates

SILENT = subprocess.PIPE        # as stdin: open, with nothing in it
SOON = 25.0             # seconds; what hangs, hangs for 60

# The command line, but it waits .3 seconds before it sends SIGKILL.
HURRIED = ('import sys, classh; '
           'classh.SSHJobMan.__init__.__kwdefaults__.update(grace=.3); '
           'sys.exit(classh.main())')


class HangTest(WorkTest, EngineTest):
    MODES = (
        (), ('-q',), ('--progress',), ('--maxrc',),
        ('-S', '-', '-E', 'bad'), ('-S', 'good', '-E', '-'),
        ('-S', 'good/', '-E', 'bad/'), ('-S', '| cat >names', '-E', '| cat'),
        ('--pickle', 'pickle'))

    def in_every_mode(self, status, *args, maxrc=255, argv=None, **options):
        """Run classh in every mode, all at once; check that each ends soon
        with *status*, or with *maxrc* under --maxrc.  Return mode: Run."""
        argv = argv or classh_argv()
        with contextlib.ExitStack() as stack:
            started = {mode: stack.enter_context(Command(
                argv + ['--ssh', FAKE_SSH] + list(mode + args),
                cwd=self.scratch(), **options)) for mode in self.MODES}
            return {mode: command.finish(SOON).check(
                        maxrc if '--maxrc' in mode else status, None, None)
                    for mode, command in started.items()}


class HeldPipeTest(HangTest):
    def test_what_a_grandchild_holds_open_is_not_waited_for(self):
        hosts = ['holder', 'keeper']
        with self.manager(hosts) as job:
            for result in job:
                self.assertEqual((result.outcome, result.output),
                                 ('ok', 'out\n'))
                self.assertLess(result.elapsed, WAIT_LIMIT)
        ended = self.in_every_mode(0, 'true', *hosts, maxrc=0)
        self.assertEqual(ended[()].stdout.count('\n  out\n'), 2, ended[()])
        kill_leftovers()

    def test_grandchild_outside_the_group_does_not_outlast_the_limit(self):
        result = self.run_one('escapee', timeout=.3)
        self.assertEqual(result.outcome, 'killed')
        self.assertLess(result.elapsed, WAIT_LIMIT)
        kill_leftovers()


class EndlessTest(HangTest):
    KINDS = ('slow', 'early', 'hang', 'deaf', 'stopped', 'closer', 'escapee',
             'late', 'polite')

    def test_whatever_does_not_end_is_ended_in_every_mode(self):
        hosts = ['%s-%d' % (kind, number) for kind in self.KINDS
                 for number in (1, 2)]
        ended = self.in_every_mode(
            3, '-u2', 'exec sleep 60', *hosts,
            argv=[sys.executable, '-c', HURRIED], env={'PYTHONPATH': ROOT})
        for mode, said in ended.items():
            if '-q' not in mode:
                self.assertIn('18 of 18 timed out: ', said.stderr, said)
        for kind in self.KINDS:
            self.assertRegex(ended[()].stdout,
                             r'(?m)^%s-1   -?\d+   .*   timed out' % kind)
        self.assertIn('  out of early-1\n', ended[()].stdout)
        kill_leftovers()                # of the escapees

    def test_limit_holds_for_each_of_three_whatever_the_fanout(self):
        for fanout in (3, 1):
            with self.manager(['slow[1-3]'], timeout=.3,
                              fanout=fanout) as job:
                results = self.take(job, 3)
            for result in results:
                self.assertEqual((result.outcome, result.reason),
                                 ('killed', 'timed out after 0.3 s'))
                self.assertGreaterEqual(result.elapsed, .3)
                self.assertLess(result.elapsed, WAIT_LIMIT)


class OutputTest(HangTest):
    def test_1_mib_on_both_streams_in_any_order_and_by_turns(self):
        wanted = {'loud': ('o' * MIB, 'e' * MIB),
                  'outloud': ('o' * MIB, 'e' * MIB),
                  'mixed': ('o' * 1000, 'e' * 1000)}
        with self.manager(list(wanted)) as job:
            for result in job:
                self.assertEqual((result.output, result.errors),
                                 wanted[result.host])
        ended = self.in_every_mode(0, 'true', *wanted, maxrc=0)
        for letter in 'oe':
            lines = ended[()].stdout.splitlines()
            self.assertEqual(lines.count('  ' + letter * MIB), 2)
            self.assertEqual(lines.count('  ' + letter * 1000), 1)

    def test_1_mib_after_sigterm_is_kept_and_ends(self):
        clock = Clock()
        with self.manager(['late'], timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_settled()
            clock.advance(100)
            result = self.take(job)
        self.assertEqual((result.outcome, result.output),
                         ('killed', 'l' * MIB))


class LateLimitTest(HangTest):
    def test_limit_does_not_strike_what_has_finished(self):
        # classh itself stands still while the hosts finish, till past their
        # limit.
        gates = Gates(self.directory, 'a', 'b')
        with self.start('-u2', gates.command, 'a', 'b') as command:
            start = time.monotonic()
            wait_until(lambda: len(self.jobs(command.pid)) == 2)
            command.signal(signal.SIGSTOP)
            gates.open('a')
            gates.open('b', 7)
            wait_until(lambda: self.jobs(command.pid) == ['Z', 'Z'])
            wait_until(lambda: time.monotonic() > start + 2.5)
            command.signal(signal.SIGCONT)
            said = command.finish().check(5, None, None)
        self.assertEqual(said.stderr, '1 of 2 exited with 7: b\n', said)

    @staticmethod
    def jobs(parent):
        """The states of the children of *parent*."""
        return [state for _, of, state, _ in processes() if of == parent]


class ServerTest(HangTest):
    def test_server_that_accepts_and_says_nothing_or_little(self):
        if not shutil.which('ssh'):
            self.skipTest('no ssh here')
        for greeting in (b'', b'SSH-2.0-x\r\n'):
            with stuck_server(greeting) as port:
                result = self.run_one('127.0.0.1:%d' % port, timeout=.5,
                                      ssh='ssh -F /dev/null')
                self.assertEqual((result.outcome, result.reason),
                                 ('killed', 'timed out after 0.5 s'))
                self.assertLess(result.elapsed, WAIT_LIMIT)

    def test_connect_timeout_is_for_such_servers_too(self):
        if not shutil.which('ssh'):
            self.skipTest('no ssh here')
        with stuck_server() as port:
            result = self.run_one('127.0.0.1:%d' % port, connect_timeout=1,
                                  ssh='ssh -F /dev/null')
        self.assertEqual((result.outcome, result.exitcode), ('ssh', 255))

    def test_name_server_that_does_not_answer(self):
        # Not what ConnectTimeout is for: ssh waits for names without limit.
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server:
            try:
                server.bind(('127.99.99.99', 53))
            except OSError as error:
                self.skipTest('no name server here: %s' % error)
            conf = self.write('conf', 'nameserver 127.99.99.99\n'
                                      'options timeout:30 attempts:5\n')
            alone = ['unshare', '-m', 'sh', '-c',
                     'mount --bind "$0" /etc/resolv.conf && exec "$@"', conf]
            if not shutil.which('ssh') or run(alone + ['true']).status:
                self.skipTest('no ssh, or no mounts of our own')
            result = self.run_one('no-such.name', timeout=.5, ssh=alone + [
                'ssh', '-F', '/dev/null'], connect_timeout=1)
        self.assertNotEqual(result.outcome, 'ok')
        self.assertLess(result.elapsed, WAIT_LIMIT)


class StdinTest(HangTest):
    def test_stdin_that_never_ends_is_waited_for_by_nobody(self):
        # Command closes its end of the pipe only after the end, in finish().
        with contextlib.ExitStack() as stack:
            for command in [stack.enter_context(Command(
                    classh_argv('--ssh', FAKE_SSH, *mode) +
                    ['true', 'reader', 'exit0'], cwd=self.scratch(),
                    stdin=SILENT)) for mode in self.MODES]:
                wait_until(lambda: self.is_dead(command.pid))
                command.finish().check(0, None, None)

    def test_closed_stdin_is_an_empty_one(self):
        self.start('true', 'reader', 'exit0', before='exec <&-'
                   ).finish(SOON).check(0, None)

    @staticmethod
    def is_dead(pid):
        return (pid, 'Z') in [(child, state)
                              for child, state, _ in children()]

    def test_input_that_never_ends_leaves_the_limit_its_right(self):
        with self.start('-I', '-u2', 'true', 'reader', 'exit0',
                        stdin=SILENT) as command:
            wait_until(lambda: self.is_dead(command.pid))
            said = command.finish().check(3, None, None)
        self.assertEqual(said.stderr, '1 of 2 timed out: reader\n', said)


class TerminalTest(HangTest):
    def test_in_the_background_nothing_stops_it(self):
        # Neither for reading from the terminal nor for writing to it.
        script = '%s; "$@" & wait $!; echo "ended with $?"'
        for setting, options in (
                ('stty -tostop', []), ('stty -tostop', ['--progress']),
                ('stty tostop', ['-q']), ('stty tostop', ['-q', '-S', 'x'])):
            shown = run_in_pty(
                ['sh', '-mc', 'cd "$0"; ' + script % setting, self.directory]
                + classh_argv('--ssh', FAKE_SSH, *options)
                + ['sleep .1', 'a', 'reader'], timeout=SOON)
            self.assertIn('ended with 0\r\n', shown.stdout, shown)

    def test_ssh_that_asks_on_the_terminal_fails_at_once(self):
        for mode in (), ('-q', '-S', '-'), ('--progress', '--maxrc'):
            shown = run_in_pty(['sh', '-c', 'cd "$0"; exec "$@"',
                                self.scratch()]
                               + classh_argv('--ssh', FAKE_SSH, *mode)
                               + ['true', 'tty'], timeout=SOON)
            self.assertEqual(shown.status, 255 if '--maxrc' in mode else 4,
                             shown)
            self.assertNotIn('password', shown.stdout, shown)

    def test_the_same_for_a_program_on_a_terminal(self):
        shown = run_in_pty([sys.executable, '-c', textwrap.dedent('''
            import os
            from classh import SSHJobMan
            for result in SSHJobMan(['tty'], 'x', ssh=os.environ['SSH']):
                print(result.outcome, result.errors)
            ''')], env={'PYTHONPATH': ROOT, 'SSH': FAKE_SSH}, timeout=SOON)
        shown.check(0, 'ssh no terminal to ask on\r\n\r\n')
