"""Signals and keys at the command line: what is told, what stops, what ends.

Elsewhere: SIGINT, SIGTERM and SIGHUP once, what is ignored stays ignored, a
reader that leaves (test_streams); what sinks make of Ctrl-C (test_sinks), and
hosts that still arrive (test_pipeline).
"""

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time
import unittest
from unittest import mock

import lib
from lib import (FAKE_SSH, MODULE, SIGCHLD_BLOCKED, SIGCHLD_IGNORED, STOPPED,
                 Command, TestCase, WorkTest, after, fake_argv, leftovers,
                 masked, processes, run, run_in_pty, text, until, wait_until,
                 write)
from lib.terminal import Terminal, state
import classh

SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
    signal.SIGUSR1)
LONG_STOP = 2.3         # seconds, beyond the limit of 2 of the jobs


def modes(terminal):
    """All the modes of *terminal*, to see that they are as before."""
    return termios.tcgetattr(terminal._master)


class SignalTest(WorkTest):
    def argv(self, *args):
        return fake_argv(*args)

    def terminal(self, *args, **options):
        """classh on a terminal, which it leads."""
        return Terminal(self.argv(*args), cwd=self.directory, **options)

    def shell(self, script, *args):
        """A shell with job control on a terminal; in it "$@" is classh."""
        return Terminal(['sh', '-c', 'set -m; ' + script, 'sh']
                        + self.argv(*args), cwd=self.directory)

    @staticmethod
    def sleepers(count):
        """Wait until *count* slow hosts run."""
        wait_until(lambda: [line for _, line in leftovers()].count('sleep 60')
                   == count, what='%d slow hosts' % count)

    @staticmethod
    def state(pid):
        """The letter that says how *pid* fares: T is stopped."""
        return [state for found, _, state, _ in processes() if found == pid]


# -- What is told ------------------------------------------------------------

class ToldTest(SignalTest):
    def told(self, command):
        """What the next SIGUSR1 makes *command* say."""
        before = command.stderr
        command.signal(SIGUSR1)
        # A mark of progress may stand before or behind it.
        found = wait_until(lambda: re.search(
            r'classh: [^\n]*\n(  [^\n]*\n)*', command.stderr[len(before):]),
            what='an answer')
        return found.group()

    def test_counts_and_who_runs_folded_longest_first(self):
        command = ': >up-$HOST; ' + until('go-$HOST')
        with self.start('-f4', command, 'web[1-2]', 'exit3', 'first',
                        'last[1-3]') as running:
            wait_until(lambda: 'exit3   3' in running.stdout
                       and os.path.exists(self.path('up-last1')))
            start = time.monotonic()
            self.assertRegex(
                self.told(running), r'\Aclassh: 1 of 7   1 bad   4 running\n'
                r'(  \d+ s, 5 min left: [^\n]*\n)*'
                r'  \d+ s, 5 min left: [^\n]*last1[^\n]*\n'
                r'  2 waiting: last\[2-3\]\n'
                r'  1 bad, exited with 3: exit3\n\Z')
            # A host is told with the others of its age.
            wait_until(lambda: time.monotonic() > start + 1.1)
            self.write('go-first')
            wait_until(lambda: 'first   0' in running.stdout)
            # One may turn a second older just before the other.
            line = wait_until(lambda: re.search(
                r'\Aclassh: 2 of 7   1 bad   4 running\n'
                r'  (\d+) s, 5 min left: last1,web\[1-2\]\n'
                r'  (\d+) s, 5 min left: last2\n'
                r'  1 waiting: last3\n'
                r'  1 bad, exited with 3: exit3\n\Z', self.told(running)))
            self.assertGreater(int(line.group(1)), int(line.group(2)))
            for host in ('web1', 'web2', 'last1', 'last2', 'last3'):
                self.write('go-' + host)
            running.finish().check(5, None, None)

    def test_nothing_else_is_disturbed(self):
        for options in (['-q'], ['--progress'], ['-S', '-'], ['-I']):
            with self.start(*options + [': >up; ' + until('go'), 'a', 'exit0'],
                            stdin=b'input') as running:
                wait_until(lambda: os.path.exists(self.path('up')))
                self.assertRegex(self.told(running),
                                 r' of 2   (\d+ bad   )?[12] running')
                self.write('go')
                said = running.finish().check(0, None, None)
            os.remove(self.path('go'))
            os.remove(self.path('up'))
            self.assertEqual('-S' in options, 'a\n' in said.stdout, said)

    def test_line_stands_alone_among_marks(self):
        with self.start('--progress', until('go'), 'a', 'exit3') as running:
            wait_until(lambda: '?' in running.stderr)
            self.assertIn('1 of 2   1 bad   1 running   at most 5 min left\n', self.told(running))
            self.write('go')
            said = running.finish().check(5, '', None)
        self.assertRegex(said.stderr, r'\A\?\n'
                         r'classh: 1 of 2   1 bad   1 running   '
                         r'at most 5 min left\n  \d s, 5 min left: a\n'
                         r'  1 bad, exited with 3: exit3\n\.\n1 of 2 ')

    def test_storm_of_signals_that_end_nothing(self):
        harmless = (SIGUSR1, signal.SIGPIPE, signal.SIGWINCH, signal.SIGCHLD,
                    signal.SIGCONT, signal.SIGURG)
        with self.start('-f20', 'exit 3', 'a[1-200]', 'last',
                        env={'PYTHONWARNINGS': 'error'}) as running:
            wait_until(lambda: running.stdout)
            for number in harmless * 50:
                running.signal(number)
            said = running.finish().check(5, None, None)
        self.assertEqual(said.stdout.count('   3   ('), 201)
        for line in said.stderr.splitlines():
            self.assertRegex(line, r'\Aclassh: \d+ of 201   (\d+ bad   )?\d+ '
                             r'running|  \d+ s, 5 min left: |'
                             r'  \d+ waiting: |  \d+ bad, exited with 3: |'
                             r'201 of 201 exited with 3: ')

    def test_ignored_it_stays_ignored(self):
        with self.start(until('go'), 'a', 'exit0',
                        before="trap '' USR1") as running:
            wait_until(lambda: 'exit0   0' in running.stdout)
            running.signal(SIGUSR1)
            self.write('go')
            running.finish().check(0, None, '')


class EnterTest(SignalTest):
    def test_enter_tells(self):
        with self.terminal(until('go'), 'a', 'exit0') as terminal:
            terminal.expect('exit0   0')
            for _ in range(3):
                terminal.type('\n')
                terminal.expect('classh: 1 of 2   1 running')
                terminal.expect('s, 5 min left: a\r\n')
            self.write('go')
            terminal.expect('a   0')
            terminal.finish().check(0, None)

    def test_end_of_file_on_the_keyboard_ends_nothing(self):
        with self.terminal(until('go'), 'a', 'exit0') as terminal:
            terminal.expect('exit0   0')
            terminal.type('\x04')
            # What it read, it read before this signal.
            terminal.signal(SIGUSR1)
            terminal.expect('1 of 2   1 running')
            self.write('go')
            terminal.finish().check(0, None)

    def test_hosts_from_the_terminal_are_no_enter(self):
        with self.terminal('echo out of $HOST', '-') as terminal:
            terminal.type('a\n\n')
            terminal.expect('out of a')
            terminal.type('\x04')
            self.assertNotIn('running', terminal.finish().stdout)

    def test_what_is_typed_is_for_the_foreground(self):
        with self.shell('"$@" & until read -r line; do :; done; '
                        'echo "the shell read $line"; touch go; wait $!; '
                        'echo "ended with $?"',
                        until('go'), 'a', 'exit0') as terminal:
            terminal.expect('exit0   0')
            terminal.type('that\n')
            terminal.expect('the shell read that')
            said = terminal.finish().check(0, None)
        self.assertIn('ended with 0', said.stdout, said)
        self.assertNotIn('running', said.stdout, said)


class TypedAheadTest(SignalTest):
    """What is typed while a command runs is for the shell, or the pager."""

    TOLD = ' running '
    # The shell shows each line that it reads, up to the last.
    SHELL = ('%s; until [ "$line" = end ]; do read -r line; '
             'echo "read <$line>"; done')
    RUN = """sh -c 'echo $$ >pid; exec "$@"' sh "$@" 2>err"""

    def run_in(self, script, *args):
        return self.shell(self.SHELL % script.replace('RUN', self.RUN),
                          *args, ': >up; ' + until('go'), 'a')

    def told(self, count):
        """Wait until classh has told *count* times how far it is."""
        wait_until(lambda: self.read('err').count(self.TOLD) == count,
                   what='told %d times' % count)

    def ask(self, count):
        """Wait for an answer to SIGUSR1, the *count*th that classh gives:
        before it, classh does what there is to do about keys."""
        wait_until(lambda: os.path.exists(self.path('up')))
        os.kill(int(self.read('pid')), SIGUSR1)
        self.told(count)

    def left(self, terminal):
        """End the command; return the lines that the shell then reads."""
        self.write('go')
        terminal.type('end\n')
        said = terminal.finish().check(0, None)
        for name in 'go', 'up':
            os.remove(self.path(name))
        return re.findall('read <(.*)>', said.stdout)

    def test_enter_alone_is_taken(self):
        with self.run_in('RUN') as terminal:
            self.ask(1)
            for count in 2, 3:
                terminal.type('\n')
                self.told(count)
            self.assertEqual(self.left(terminal), ['end'])

    def test_a_line_is_left_and_enter_is_heard_behind_it(self):
        for options in ((), ('-q',), ('-S', 'good')):
            with self.run_in('RUN', *options) as terminal:
                self.ask(1)
                terminal.type('echo lost\n')
                terminal.expect('lost')
                self.ask(2)
                terminal.type('\n')
                self.told(3)
                self.assertEqual(self.left(terminal),
                                 ['echo lost', '', 'end'])

    def test_several_lines_at_once_are_left(self):
        with self.run_in('RUN') as terminal:
            self.ask(1)
            terminal.type('a\n\nb\n')
            terminal.expect('b')
            self.ask(2)
            self.assertEqual(self.left(terminal), ['a', '', 'b', 'end'])

    def test_what_was_typed_before_the_start_is_left(self):
        with self.run_in('echo ready; %s; RUN' % until('on')) as terminal:
            terminal.expect('ready')
            terminal.type('early\n')
            terminal.expect('early')
            self.write('on')
            self.ask(1)
            self.assertEqual(self.left(terminal), ['early', 'end'])

    def test_raw_mode_is_left_alone(self):
        with self.run_in('stty -icanon; RUN; stty icanon') as terminal:
            self.ask(1)
            terminal.type('\n')
            self.ask(2)
            terminal.type('x\n')
            terminal.expect('x')
            self.ask(3)
            self.assertEqual(self.left(terminal), ['', 'x', 'end'])

    PAGER = """
        import os, termios, tty
        keys = os.open('/dev/tty', os.O_RDWR)
        mode = termios.tcgetattr(keys)
        %s
        os.write(keys, b'pager\\n')
        got = b''
        while not got.endswith(b'q'):
            got += os.read(keys, 1)
        termios.tcsetattr(keys, termios.TCSANOW, mode)
        print('keys', got)
        """

    def test_where_a_pager_reads_the_keys(self):
        keys = '\n j\n\n kq'
        for raw in 'tty.setcbreak(keys)', '':
            self.write('pager', textwrap.dedent(self.PAGER) % raw)
            with self.run_in('RUN | %s pager' % sys.executable) as terminal:
                terminal.expect('pager')
                self.ask(1)
                for count, key in enumerate(keys[:-1], 2):
                    terminal.type(key)
                    self.ask(count)
                # The pager ends at this one, and the run with it.
                terminal.type(keys[-1])
                if not raw:
                    terminal.type('\n')
                terminal.expect('keys %r' % keys.encode())
                self.left(terminal)
                self.told(len(keys))

    # In place of a race: another process reads what there is, just before.
    THIEF = """
        import fcntl, os, sys, classh

        def steal():
            os.write(2, b'stole %r' % os.read(0, 99))

        look, read = fcntl.ioctl, classh.read_shared
        fcntl.ioctl = lambda *args: (look(*args), steal())[0]
        classh.read_shared = lambda *args: (steal(), read(*args))[1]
        sys.exit(classh.main())
        """

    def thief(self, *args):
        return [sys.executable, '-c', textwrap.dedent(self.THIEF),
                '--ssh', FAKE_SSH, *args]

    def test_no_wait_for_an_enter_that_another_process_has_read(self):
        with Terminal(self.thief('true', 'slow'),
                      env={'PYTHONPATH': MODULE}) as terminal:
            self.sleepers(1)
            terminal.type('\n')
            terminal.expect("stole b'\\n'")
            terminal.signal(SIGTERM)
            said = terminal.finish().check(143, None)
        self.assertNotIn('running', said.stdout, said)

    def test_no_wait_for_stdin_that_another_process_has_read(self):
        for args in ('-I', 'cat', 'a'), ('true', '-'):
            with Command(self.thief(*args), stdin=subprocess.PIPE,
                         env={'PYTHONPATH': MODULE}) as running:
                running.send(b'b\n')
                wait_until(lambda: 'stole' in running.stderr)
                running.signal(SIGTERM)
                wait_until(lambda: state(running.pid) == 'Z')
                running.finish().check(143, None, None)


class TerminalTest(SignalTest):
    def test_terminal_that_goes_away_does_not_end_the_run(self):
        with self.shell(
                'trap "" HUP; "$@" 2>err & echo "it is $!"; ' + until('gone'),
                '--pickle', 'all', until('go'), 'a', 'exit0') as terminal:
            terminal.expect('it is ')
            terminal.expect('exit0   0')
            pid = int(re.search(r'it is (\d+)', terminal.shown).group(1))
        # It was the shell that was killed, and the terminal is closed.
        self.assertEqual(len(self.state(pid)), 1, self.read('err'))
        self.write('go')
        wait_until(lambda: not self.state(pid))
        self.assertEqual(sorted((result.host, result.outcome) for result
                                in classh.load(self.path('all'))),
                         [('a', 'ok'), ('exit0', 'ok')])
        self.assertNotIn('Traceback', self.read('err'))

    def leader(self, script, *args):
        """A shell, "$@" is classh, that outlives the terminal it leads."""
        return Terminal(
            ['sh', '-c', 'trap : HUP; %s; echo $? >status' % script, 'sh']
            + self.argv(*args), cwd=self.directory)

    @contextlib.contextmanager
    def hung_up(self, script):
        """Run *script* in such a shell; close its terminal when a host is
        done, and afterwards wait for the end."""
        self.write('good')
        self.write('status')
        with self.leader(script, '-S', 'good', until('go'), 'a', 'exit0'
                         ) as terminal:
            wait_until(lambda: self.lines('good') == ['exit0'])
            terminal.hang_up()
            yield
            wait_until(lambda: self.read('status'), what='an end')

    def test_terminal_that_goes_away_without_sighup_is_as_sighup(self):
        # The leader of the session lives on, as `su -` does where it is the
        # leader; or the session has no terminal, as under su -c.
        for script in ('"$@" 2>err', '"$@" 2>err </dev/null',
                       'setsid -w "$@" 2>err', 'setsid -w "$@" 2>err >out'):
            with self.subTest(script):
                with self.hung_up(script):
                    pass
                self.assertEqual(self.read('status'), '129\n')
                self.assertIn('1 of 2 ' + STOPPED + 'a\n', self.read('err'))

    def test_background_job_goes_on_without_its_terminal(self):
        with self.hung_up('set -m; "$@" >out 2>&1 & set +m; echo $! >pid; '
                          'wait $!; wait $!'):
            os.kill(int(self.read('pid')), SIGUSR1)
            wait_until(lambda: ' running ' in self.read('out'))
            self.write('go')
        self.assertEqual(self.read('status'), '0\n')
        self.assertEqual(self.lines('good'), ['exit0', 'a'])

    def test_shell_without_its_terminal_ends(self):
        with self.leader('"$@" 2>err', '--shell', 'a') as terminal:
            terminal.expect('classh 1> ')
            terminal.type(': >up; %s\n' % until('go'))
            wait_until(lambda: os.path.exists(self.path('up')))
            terminal.hang_up()
            wait_until(lambda: self.read('status'), what='an end')
        self.assertEqual(self.read('status'), '129\n', self.read('err'))


# -- What stops --------------------------------------------------------------

class StopTest(SignalTest):
    # The shell says how it was stopped: 148 is 128 + SIGTSTP.
    FOREGROUND = '"$@"; echo "stopped with $?"; %s; fg; echo "ended with $?"'

    def test_ctrl_z_and_fg_do_what_they_do_to_any_program(self):
        with self.shell(self.FOREGROUND % until('on'), '-u60', until('go'),
                        'a', 'exit0') as terminal:
            before = modes(terminal)
            terminal.expect('exit0   0')
            terminal.type('\x1a')
            terminal.expect('stopped with 148')
            terminal.type('\n')         # waits there until it goes on
            self.write('on')
            terminal.expect('1 of 2   1 running')
            self.write('go')
            terminal.expect('a   0')
            terminal.expect('ended with 0')
            terminal.finish()
            self.assertEqual(modes(terminal), before)

    def test_ctrl_z_and_bg_go_on_without_the_keyboard(self):
        with self.shell('"$@"; echo "stopped with $?"; bg; read -r line; '
                        'touch go; wait; echo "read $line"',
                        until('go'), 'a', 'exit0') as terminal:
            terminal.expect('exit0   0')
            terminal.type('\x1a')
            terminal.expect('stopped with 148')
            terminal.type('that\n')
            terminal.expect('a   0')
            terminal.expect('read that')
            self.assertNotIn('running', terminal.finish().stdout)

    def test_hosts_finish_while_it_is_stopped(self):
        with self.start('echo done; touch done', 'a') as running:
            running.signal(signal.SIGSTOP)
            wait_until(lambda: self.state(running.pid) == ['T'])
            running.signal(signal.SIGCONT)
            running.finish().check(0, None)

    def test_stop_between_two_turns_is_not_charged(self):
        options, hosts = classh._parse_arguments(['h'])
        run = classh.Run(options, classh.HostQueue(hosts), 'true',
                         mock.Mock(), classh.StopRequests(), [])
        run._manager = mock.Mock(**{'poll.return_value': ['a result']})
        now = 1000.0
        with mock.patch('time.monotonic', lambda: now):
            run._poll(0)
            now += 9                # with all else that a turn does
            run._poll(0)
        extended = [args[0] for args, _ in
                    run._manager.extend_deadlines.call_args_list]
        self.assertEqual(extended[1:], [9])
        self.assertEqual(run._manager.poll.call_count, 2)

    def test_stop_does_not_use_up_the_limits_but_they_still_hold(self):
        with self.start('-u2', until('go'), 'a', 'slow', 'exit0') as running:
            wait_until(lambda: 'exit0   0' in running.stdout)
            running.signal(signal.SIGSTOP)
            wait_until(lambda: self.state(running.pid) == ['T'])
            end = time.monotonic() + LONG_STOP
            wait_until(lambda: time.monotonic() > end)
            running.signal(signal.SIGCONT)
            running.signal(SIGUSR1)     # it answers when it is awake again
            wait_until(lambda: '1 of 3   2 running' in running.stderr)
            self.write('go')
            said = running.finish().check(3, None, None)
        self.assertIn('a   0   (', said.stdout, said)
        self.assertIn('   timed out after 2 s\n', said.stdout, said)
        self.assertIn('1 of 3 timed out after 2 s (-u): slow\n', said.stderr, said)

    def test_slow_reader_does_not_use_up_the_limits(self):
        # Less than all of it is read for longer than b may take; so b, which
        # we do not read meanwhile, cannot go on.
        reader, writer = os.pipe()
        with open(reader, 'rb') as pipe:
            try:
                command = self.start(
                    '-u2', '[ $HOST = a ] || %s; echo end of $HOST; '
                    'head -c 1000000 /dev/zero' % until('go'), 'a', 'b',
                    stdout=writer)
            finally:
                os.close(writer)
            with command as running:
                self.assertIn(b'a   0   (', pipe.readline())
                self.write('go')
                end = time.monotonic() + LONG_STOP
                wait_until(lambda: time.monotonic() > end)
                shown = text(pipe.read())
                running.finish().check(0)
        self.assertIn('end of b\n', shown)


# -- What ends ---------------------------------------------------------------

class EndTest(SignalTest):
    @contextlib.contextmanager
    def slow_hosts(self, *args):
        """A run with one host done and three that are slow."""
        with self.start(*args + ('true', 'exit0', 'slow[1-3]')) as running:
            wait_until(lambda: 'exit0   0' in running.stdout)
            self.sleepers(3)
            yield running

    def test_first_signal_gives_the_status(self):
        for first, second, status in ((SIGTERM, SIGINT, 143),
                                      (SIGHUP, SIGTERM, 129)):
            with self.slow_hosts() as running:
                running.signal(first)
                running.signal(second)
                said = running.finish()
            # Two that are sent at once may be heard the other way round.
            self.assertIn(said.status, (status, 128 + second), said)
            self.assertIn('3 of 4 ' + STOPPED + 'slow[1-3]\n', said.stderr,
                          said)

    def test_while_the_next_host_is_far_off(self):
        # By minutes, for a program that looks at nothing else meanwhile.
        hosts = ['n[1-999999999]', '-x', 'n[2-999999999]']
        for args, seen, left in (
                (['echo done', *hosts], 'done', r'\d+ or more not started\n'),
                (['--list', *hosts], 'n1\n', '')):
            with self.start(*args) as running:
                wait_until(lambda: seen in running.stdout)
                running.signal(SIGTERM)
                said = running.finish().check(143, None, None)
            self.assertRegex(said.stderr, r'\A%s\Z' % left)

    # In place of a race: a start takes until the signal has come.
    HELD = '''
        import sys, time, classh

        def held(*args):
            pid = start(*args)
            while not noted:
                time.sleep(.01)
            return pid

        start, classh._Launcher.start = classh._Launcher.start, held
        note, noted = classh.StopRequests._note, []
        classh.StopRequests._note = lambda *args: noted.append(note(*args))
        sys.exit(classh.main())
        '''

    def test_during_the_starts_of_a_large_fanout(self):
        # The first host says so; the others are far from all started.
        said = run([sys.executable, '-c', textwrap.dedent(self.HELD), '--ssh',
                    FAKE_SSH, '-f600', '[ $HOST != h1 ] || kill -INT $PPID; '
                    'exec sleep 60', 'h[1-600]'], env={'PYTHONPATH': MODULE})
        said.check(130, None, None)
        left = re.search(r'(?m)^(\d+) of 600 not started: ', said.stderr)
        self.assertGreater(int(left.group(1)), 300, said)

    # It takes its time to tell the hosts that were not started.
    PATIENT = ('import sys, classh; classh.LISTING_LIMIT = 60; '
               'sys.exit(classh.main())')

    def test_not_started_are_told_though_most_are_named_twice(self):
        with Command([sys.executable, '-c', self.PATIENT, '--ssh', FAKE_SSH,
                      '-f1', 'echo done', 'slow,a[1-20000],a[1-20000],b'],
                     env={'PYTHONPATH': MODULE}) as running:
            self.sleepers(1)
            running.signal(SIGTERM)
            said = running.finish().check(143, None, None)
        self.assertIn('20001 of 20002 not started: a[1-20000],b\n',
                      said.stderr, said)

    def test_storm_of_them_ends_as_one_does(self):
        with self.slow_hosts() as running:
            for number in (SIGINT, SIGTERM, SIGHUP) * 30:
                with contextlib.suppress(ProcessLookupError):
                    running.signal(number)
            said = running.finish()
        self.assertIn(said.status, (130, 143, 129), said)
        self.assertNotIn('Traceback', said.stderr, said)
        self.assertIn('3 of 4 ' + STOPPED + 'slow[1-3]\n', said.stderr, said)

    def test_second_signal_does_not_lose_the_names_of_a_file(self):
        # All that is slow ends in the turn in which the second is heard.
        for _ in range(3):
            with self.start('-E', 'bad', 'true', 'exit0',
                            'slow[1-30]') as running:
                wait_until(lambda: 'exit0   0' in running.stdout)
                self.sleepers(30)
                running.signal(SIGINT)
                running.signal(SIGTERM)
                said = running.finish()
            self.assertIn('30 of 31 ' + STOPPED + 'slow[1-30]\n', said.stderr)
            self.assertEqual(len(self.lines('bad')), 30, said)
            os.remove(self.path('bad'))

    STUBBORN = ('trap ": >heard" TERM; : >ready; '
                'while :; do sleep .02; done')

    def ask_twice(self, running, second):
        """Send SIGINT and, when the stubborn job has heard, the *second*."""
        wait_until(lambda: os.path.exists(self.path('ready')))
        running.signal(SIGINT)
        wait_until(lambda: os.path.exists(self.path('heard')))
        running.signal(second)
        return running.finish()

    def test_quit_is_an_end_at_once(self):
        # Ctrl-\ is what comes after a Ctrl-C that seems to do nothing.
        with self.start(self.STUBBORN, 'a') as running:
            said = self.ask_twice(running, SIGQUIT)
        self.assertIn(said.status, (130, 131), said)
        self.assertIn('a   -9   (', said.stdout, said)

    def test_several_sighups_are_one(self):
        # As from the kernel and from sudo, when a terminal goes away.
        with self.start('trap ": >heard; %s; echo saved; exit 7" TERM; '
                        ': >ready; while :; do sleep .02; done' % until('go'),
                        'a') as running:
            wait_until(lambda: os.path.exists(self.path('ready')))
            running.signal(SIGHUP)
            wait_until(lambda: os.path.exists(self.path('heard')))
            running.signal(SIGHUP)
            running.signal(SIGUSR1)
            wait_until(lambda: ' 1 running\n' in running.stderr)
            self.write('go')
            said = running.finish().check(129, None, None)
        self.assertIn('saved\n', said.stdout, said)

    # In place of a race: who ends just when it is asked to end once more.
    RACE = '''
        import os, signal, sys, time, classh

        class Manager(classh.SSHJobMan):
            def stop(self):
                if self._phase == classh._STOPPING:
                    for job in self._pool.running.values():
                        job.kill(signal.SIGKILL)
                        while not os.waitid(os.P_PID, job.pid,
                                            os.WEXITED | os.WNOWAIT):
                            pass
                super().stop()
        classh.SSHJobMan = Manager
        sys.exit(classh.main())
        '''

    def test_result_that_comes_with_the_second_signal_is_shown(self):
        argv = [sys.executable, '-c', textwrap.dedent(self.RACE), '--ssh',
                FAKE_SSH, '--pickle', 'all', self.STUBBORN, 'a']
        with Command(argv, cwd=self.directory,
                     env={'PYTHONPATH': MODULE}) as running:
            said = self.ask_twice(running, SIGTERM)
        self.assertIn('a   -9   (', said.stdout, said)
        self.assertIn('1 of 1 ' + STOPPED + 'a\n', said.stderr, said)
        self.assertEqual(len(list(classh.load(self.path('all')))), 1)

    def test_terminal_is_as_it_was_and_nobody_left(self):
        for how, status in (('\x03', 130), (SIGTERM, 143), (SIGHUP, 129),
                            ('\x1c', 131)):
            with self.terminal('true', 'exit0', 'slow[1-2]') as terminal:
                before = modes(terminal)
                terminal.expect('exit0   0')
                self.sleepers(2)
                if isinstance(how, str):
                    terminal.type(how)
                else:
                    terminal.signal(how)
                said = terminal.finish()
                self.assertEqual(modes(terminal), before, said)
            said.check(status, None)
            self.assertIn('2 of 3 ' + STOPPED + 'slow[1-2]\r\n',
                          said.stdout, said)
            self.assertNotIn('Traceback', said.stdout, said)
            self.assertEqual([line for _, line in leftovers()], [], said)

    @contextlib.contextmanager
    def writing(self, start):
        """What start(*args, stdout) runs, held up in a write; the pipe."""
        reader, writer = os.pipe()
        with open(reader, 'rb') as pipe:
            try:
                command = start('head -c 1000000 /dev/zero', 'a', 'slow',
                                stdout=writer)
            finally:
                os.close(writer)
            with command as running:
                self.assertIn(b'a   0   (', pipe.readline())
                self.sleepers(1)
                yield running, pipe

    def test_while_classh_writes_to_who_does_not_read(self):
        # A write to a full pipe must not keep us from hearing.
        with self.writing(self.start) as (running, pipe):
            running.signal(SIGTERM)
            shown = text(pipe.read())
            running.finish().check(143, None,
                                   '1 of 2 ' + STOPPED + 'slow\n')
        self.assertIn('slow   -15   (', shown)

    IMPATIENT = '''
        import sys, classh
        classh.STALL_LIMIT = .1
        sys.exit(classh.main())
        '''

    def test_who_never_reads_does_not_keep_us_from_ending(self):
        def start(*args, stdout):
            return Command([sys.executable, '-c',
                            textwrap.dedent(self.IMPATIENT),
                            '--ssh', FAKE_SSH, *args], stdout=stdout,
                           env={'PYTHONPATH': MODULE})

        with self.writing(start) as (running, pipe):
            running.signal(SIGTERM)
            running.finish().check(143, None, '1 of 2 ' + STOPPED + 'slow\n'
                                   'classh: stdout: blocked, its reader does '
                                   'not read\n')
        self.assertEqual(leftovers(), [])

    def test_where_sigchld_is_blocked_and_nothing_runs(self):
        # Then no signal wakes us; but one that ends us is to be heard.
        with Command(after(SIGCHLD_BLOCKED, self.argv('true', '-')),
                     stdin=subprocess.PIPE) as running:
            running.send(b'a\n')
            wait_until(lambda: 'a   0   (' in running.stdout)
            wait_until(lambda: state(running.pid) == 'S')
            running.signal(SIGTERM)
            # Before finish() closes its stdin.
            wait_until(lambda: state(running.pid) == 'Z')
            running.finish().check(143, None, '')


class HandlerTest(unittest.TestCase):
    """Handlers only note; what waits is woken, and one place reacts."""

    @staticmethod
    def unheard(number):
        """Send *number* to this thread, not the main one: it ends no system
        call there, as a signal does not that comes just before the call."""
        signal.pthread_kill(threading.get_ident(), number)

    def test_handler_of_a_signal_raises_nothing(self):
        for number in SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1:
            before = signal.getsignal(number)
            with classh.StopRequests() as stops:
                os.kill(os.getpid(), number)
                self.assertEqual(set(stops.caught), {number} - {SIGUSR1})
                self.assertEqual(stops.status_wanted, number == SIGUSR1)
            self.assertEqual(signal.getsignal(number), before)

    def test_no_garbage_is_collected_while_somebody_types(self):
        # Python 3.12 may do so between the error of a handler and the end of
        # the call, and print that error.
        with classh.StopRequests() as stops:
            self.assertFalse(stops.call(gc.isenabled))
            self.assertTrue(gc.isenabled())
            gc.disable()
            try:
                stops.call(gc.isenabled)
                self.assertFalse(gc.isenabled())
            finally:
                gc.enable()

    def test_what_waits_is_woken_by_a_signal_before_it_waits(self):
        before = signal.getsignal(signal.SIGALRM)
        for send in (lambda number: os.kill(os.getpid(), number),
                     self.unheard):
            reader, writer = os.pipe()
            with classh.StopRequests() as stops:
                thread = threading.Timer(.1, send, [SIGTERM])
                thread.start()
                with self.assertRaises(classh.SignalExit) as caught:
                    stops.call(os.read, reader, 1)
                self.assertEqual(caught.exception.args, (SIGTERM,))
                thread.join()
                # One that was noted before is not waited for.
                with self.assertRaises(classh.SignalExit):
                    stops.call(os.read, reader, 1)
            os.close(reader)
            os.close(writer)
        self.assertEqual(signal.getsignal(signal.SIGALRM), before)
        self.assertEqual(signal.getitimer(signal.ITIMER_REAL), (0, 0))

    def test_ctrl_c_at_the_prompt_is_none_however_late_it_is_noted(self):
        class Late(list):
            """Notes a SIGINT as soon as somebody has seen there is none."""

            def __iter__(self):
                yield from list(super().__iter__())
                self.append(SIGINT)

            def __contains__(self, signum):
                found = list.__contains__(self, signum)
                if not found:
                    self.append(SIGINT)
                return found

        with mock.patch('os.isatty', return_value=True):
            prompt = classh.Shell(None, [], None, None, None,
                                  classh.StopRequests(), None)
        prompt._stops.caught = Late([SIGINT, SIGINT])
        prompt._check_signals()
        prompt._stops.caught += [SIGTERM]
        with self.assertRaises(classh.SignalExit) as raised:
            prompt._check_signals()
        self.assertEqual(raised.exception.args, (SIGTERM,))

    def test_what_does_not_wait_long_is_as_without_it(self):
        with classh.StopRequests() as stops:
            self.assertEqual(stops.call(divmod, 7, 2), (3, 1))
            with self.assertRaises(ZeroDivisionError):
                stops.call(divmod, 7, 0)


class EarlyTest(SignalTest):
    # In place of argparse: a signal that comes while classh imports it.
    IMPORTED = """
        import os, signal, sys
        os.kill(os.getpid(), signal.%s)
        sys.path.remove(os.path.dirname(__file__))
        del sys.modules['argparse']
        import argparse
        """

    def signalled(self, name, **options):
        """A run of classh to which the signal comes while it starts."""
        os.makedirs(self.path('early'), exist_ok=True)
        self.write('early/argparse.py', textwrap.dedent(self.IMPORTED) % name)
        return self.start('true', 'exit0', env={
            'PYTHONPATH': self.path('early'), 'PYTHONDONTWRITEBYTECODE': '1'
            }, **options).finish()

    def test_ctrl_c_is_no_traceback(self):
        self.signalled('SIGINT').check(-SIGINT, '', '')

    def test_sigusr1_ends_nothing(self):
        self.signalled('SIGUSR1').check(0, None, '')

    def test_what_is_ignored_stays_ignored(self):
        for name in 'SIGINT', 'SIGUSR1':
            self.signalled(name, before="trap '' INT USR1").check(0, None, '')


class PromptTest(SignalTest):
    @staticmethod
    def waits(pid):
        """True if *pid* waits for something to read."""
        with open('/proc/%d/wchan' % pid) as wchan:
            # 0 is what some kernels say of all, and others of one that runs.
            return (re.search('poll|select|^0$', wchan.read())
                    and state(pid) == 'S')

    def test_echo_is_back_when_a_password_was_not_given(self):
        # Ctrl-C and SIGTERM: in test_passwords.
        for numbers in (SIGHUP,), (SIGQUIT,), (SIGTERM, SIGTERM, SIGHUP):
            with self.terminal('-A', 'true', 'a') as terminal:
                before = modes(terminal)
                terminal.expect('Password for ')
                wait_until(lambda: not terminal.echoes(), what='no echo')
                for number in numbers:
                    with contextlib.suppress(ProcessLookupError):
                        terminal.signal(number)
                # Of signals that come together, any may be the first.
                said = terminal.finish()
                self.assertIn(said.status - 128, numbers, said)
                self.assertEqual(modes(terminal), before, said)

    def test_terminal_goes_away_while_a_password_is_asked_for(self):
        with self.terminal('-A', 'true', 'a') as terminal:
            terminal.expect('Password for ')
            terminal.hang_up()
            terminal.finish().check(129, None)
        # Ignored, or kept away by the leader of the session.
        for trap in "trap '' HUP", 'trap : HUP':
            self.write('status')
            with Terminal(['sh', '-c', trap + '; "$@" 2>err; echo $? >status',
                           'sh'] + self.argv('-A', 'true', 'a'),
                          cwd=self.directory) as terminal:
                terminal.expect('Password for ')
                terminal.hang_up()
                wait_until(lambda: self.read('status'), what='an end')
            self.assertEqual((self.read('status'), self.read('err')), (
                '2\n', 'classh: no terminal to ask for a password on; '
                'see --askpass-file\n'))

    def test_prompt_leaves_the_terminal_as_it_was(self):
        for how, status in (('\x04', 0), (SIGTERM, 143), (SIGHUP, 129)):
            with self.terminal('--shell', 'a',
                               env={'HOME': self.directory}) as terminal:
                before = modes(terminal)
                terminal.expect('> ')
                # It hears a signal while it waits, not just before.
                wait_until(lambda: modes(terminal) != before
                           and self.waits(terminal.pid), what='an editor')
                if isinstance(how, str):
                    terminal.type(how)
                else:
                    terminal.signal(how)
                said = terminal.finish().check(status, None)
                self.assertEqual(modes(terminal), before, said)


class StoppedRunTest(TestCase):
    def stopped_by(self, number, *args, slow=1):
        """Run; when exit0 is done and *slow* hosts run, send a signal."""
        with Command(fake_argv(*args)) as command:
            wait_until(lambda: 'exit0   0' in command.stdout)
            SignalTest.sleepers(slow)
            command.signal(number)
            return command.finish()

    def test_what_finished_is_reported_and_nobody_left(self):
        for number, status in (SIGINT, 130), (SIGTERM, 143), (SIGHUP, 129):
            said = self.stopped_by(number, 'true', 'exit0', 'slow[1-2]',
                                   slow=2)
            said.check(status, stdout=None,
                       stderr='2 of 3 ' + STOPPED + 'slow[1-2]\n')
            self.assertEqual(
                sorted(masked(said.stdout).strip().split('\n\n')),
                ['exit0   0   (#)', 'slow1   -15   (#)   stopped',
                 'slow2   -15   (#)   stopped'], said)

    def test_hosts_not_started_are_named_or_at_least_counted(self):
        said = self.stopped_by(SIGINT, '-f1', 'true', 'exit0', 'slow[1-12]')
        said.check(130, stdout=None,
                   stderr='1 of 2 ' + STOPPED + 'slow1\n'
                   '11 of 13 not started: slow[2-12]\n')
        said = self.stopped_by(SIGINT, '-f1', 'true', 'exit0',
                               'slow[1-999999999]').check(130, None, None)
        # In the time that it has for that.
        self.assertRegex(said.stderr, r'\A1 of 2 ' + re.escape(STOPPED) +
                         r'slow1\n'
                         r'\d+ or more not started\n\Z', said)
        with mock.patch('classh.LISTING_LIMIT', 60):
            self.assertEqual(
                classh._Leftovers(classh.HostQueue('a[1-999999999]')).line(
                    'started', 1),
                '%d or more not started' % classh.EXPANSION_LIMIT)

    def test_quiet_run_ends_quietly(self):
        with Command(fake_argv('-q', 'true', 'slow[1-3]')) as command:
            SignalTest.sleepers(3)
            command.signal(SIGINT)
            command.finish().check(130, '', '')

    def test_said_twice_it_kills_at_once(self):
        directory = self.scratch()
        stubborn = ('trap ": >%s/heard" TERM; : >%s/ready; '
                    'while :; do sleep .02; done 2>&-'
                    % (directory, directory))
        # With a grace of an hour, only the second signal can end it.
        start = ('import sys, classh\n'
                 'options = classh.SSHJobMan.__init__.__kwdefaults__\n'
                 'options["grace"] = 3600.0\n'
                 'sys.exit(classh.main())')
        with Command([sys.executable, '-c', start, '--ssh', FAKE_SSH,
                      stubborn, 'a'],
                     env={'PYTHONPATH': lib.MODULE}) as command:
            for sign in ('ready', 'heard'):
                wait_until(lambda: os.path.exists(directory + '/' + sign))
                command.signal(SIGINT)
            said = command.finish()
        said.check(130, stdout=None, stderr='1 of 1 ' + STOPPED + 'a\n')
        self.assertEqual(masked(said.stdout), 'a   -9   (#)   stopped\n\n')

    def test_ctrl_c_ends_a_list(self):
        said = run_in_pty(fake_argv('--list', 'n[0-99999999999]'),
                          [('n5\r\n', '\x03')])
        self.assertEqual(said.status, 130, said)
        self.assertNotIn('Traceback', said.stdout)

    def test_signal_that_is_ignored_stays_ignored(self):
        for number in SIGHUP, SIGINT, SIGTERM:
            go = os.path.join(self.scratch(), 'go')
            wait = 'while [ ! -e %s ]; do sleep .02; done' % go
            with Command(fake_argv(wait, 'exit0', 'a'), before="trap '' %s"
                         % number.name[3:]) as command:
                wait_until(lambda: 'exit0   0' in command.stdout)
                command.signal(number)
                write(go, '')
                said = command.finish().check(stdout=None)
            self.assertIn('\na   0   (', said.stdout)

    def test_nohup_keeps_it_running(self):
        go = os.path.join(self.scratch(), 'go')
        wait = 'while [ ! -e %s ]; do sleep .02; done' % go
        with Command(['nohup'] + fake_argv(wait, 'exit0', 'a')) as command:
            wait_until(lambda: 'exit0   0' in command.stdout)
            command.signal(SIGHUP)
            write(go, '')
            command.finish().check(stdout=None, stderr=None)

    def test_no_status_is_lost_where_sigchld_is_ignored_or_blocked(self):
        for change in SIGCHLD_IGNORED, SIGCHLD_BLOCKED:
            said = run(after(change, fake_argv('-f2', 'true', 'exit7',
                                               'a[1-3]')))
            said.check(5, stdout=None, stderr='1 of 4 exited with 7: exit7\n')
