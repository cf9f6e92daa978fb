"""The standard streams: closed, full, left by their reader, a terminal."""

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import textwrap

import lib
from lib import (FAKE_SSH, MODULE, STOPPED, Command, TestCase, at_once,
                 children, fake, fake_argv, leftovers, masked, pipe_from,
                 processes, read_to_end, run, run_in_pty, start, text,
                 wait_until, write)
from lib.engine import SOON, EveryModeTest

SIGHUP = signal.SIGHUP


class StandardStreamTest(TestCase):
    def test_stdin_closed(self):
        said = fake('cat; echo end', 'a', 'reader', before='exec <&-').check(
            stdout=None)
        self.assertIn('  Output:\n\n  end\n', said.stdout)

    def test_stdout_closed(self):
        for said in at_once(['echo x', 'a'], ['--list', 'a'], ['-h'],
                            before='exec >&-'):
            said.check(1, '', 'classh: stdout: Bad file descriptor\n')
        fake('-q', 'echo x', 'a', 'fail7', before='exec >&-').check(5)

    def test_stderr_closed(self):
        said = fake('-f1', 'echo x >&2', 'a', 'fail7', before='exec 2>&-')
        said.check(5, stdout=None)
        self.assertEqual(masked(said.stdout).split('\n')[:4],
                         ['a   0   (#)', '  Error:', '', '  x'], said)
        fake('true', before='exec 2>&-').check(2, '', '')

    def test_all_closed(self):
        directory = self.scratch()
        fake('echo $TARGET >%s/$TARGET; cat; echo x; echo y >&2' % directory,
             'a[1-3]', before='exec <&- >&- 2>&-').check(1, '', '')
        fake('-q', 'cat; echo x; echo y >&2; exit 7', 'a[1-3]',
             before='exec <&- >&- 2>&-').check(5, '', '')
        self.assertEqual(sorted(os.listdir(directory)), ['a1', 'a2', 'a3'])

    def test_no_dev_null(self):
        # As in a chroot; where a stream is closed, it would take its place.
        problem = '/dev/nothing: No such file or directory\n'
        for before, status in ('', 4), ('exec <&-', 1), ('exec >&-', 1):
            said = run([sys.executable, '-c', 'import os, sys; '
                        'os.devnull = "/dev/nothing"; import classh; '
                        'sys.exit(classh.main())', '--ssh', FAKE_SSH, 'true',
                        'a'], before=before,
                       env={'PYTHONPATH': lib.MODULE})
            said.check(status, None, None)
            self.assertIn(problem, said.stdout + said.stderr)
            self.assertNotIn('Traceback', said.stderr, said)

    def test_stdin_that_never_ends_holds_nobody_up(self):
        with Command(fake_argv('cat', 'a', 'reader'),
                     stdin=subprocess.PIPE) as command:
            wait_until(lambda: command.stdout.count('(') == 2)
            command.finish().check(stdout=None)

    def test_stdin_is_left_to_who_else_reads_it(self):
        loop = 'while read -r host; do "$@" "$host" || exit; done'
        said = run(['sh', '-c', loop, 'sh'] + fake_argv('cat'),
                   stdin='a\nb\nc\n').check(stdout=None)
        self.assertEqual(masked(said.stdout),
                         'a   0   (#)\n\nb   0   (#)\n\nc   0   (#)\n\n')

    def test_full_disk_is_told_and_the_run_goes_on(self):
        directory = self.scratch()
        with open('/dev/full', 'w') as full:
            fake('-f1', 'echo x; : >%s/$TARGET' % directory, 'a[1-3]',
                 stdout=full).check(
                     1, stderr='classh: stdout: No space left on device\n')
            self.assertEqual(sorted(os.listdir(directory)), ['a1', 'a2', 'a3'])
            for said in at_once(['--list', 'a[1-3]'], ['-h'], ['-V'],
                                stdout=full):
                said.check(
                    1, stderr='classh: stdout: No space left on device\n')

    def test_disk_that_fills_up_in_the_middle_is_told(self):
        # Unbuffered as well: what was written may be less than was asked.
        for unbuffered in ('', '1'):
            said = fake('true', 'loud', before='ulimit -f 100',
                        env={'PYTHONUNBUFFERED': unbuffered})
            said.check(1, stdout=None,
                       stderr='classh: stdout: File too large\n')

    def test_slow_reader_gets_every_byte(self):
        # Also where somebody who shares the pipe has made it non-blocking.
        for blocking in (True, False):
            self.check_slow_reader(blocking)

    def check_slow_reader(self, blocking):
        # Jobs that end while classh is in the middle of a write interrupt
        # it, and os.write() may come back half done.
        go = os.path.join(self.scratch(), 'go')
        wait = 'while [ ! -e %s ]; do sleep .02; done' % go
        with pipe_from(fake_argv(wait, 'outloud', 'a[1-9]'), blocking,
                       env={'PYTHONUNBUFFERED': '1'}) as (command, pipe):
            select.select([pipe], [], [], lib.WAIT_LIMIT)
            write(go, '')
            wait_until(lambda: not any(
                parent == command.pid and state != 'Z'
                for _, parent, state, _ in processes()))
            shown = read_to_end(pipe)
            command.finish().check()
        self.assertEqual(len(re.findall(r'^\w+   0 ', shown, re.M)), 10)
        self.assertIn('  %s\n\n' % ('e' * 1048576), shown)
        self.assertIn('  %s\n\n' % ('o' * 1048576), shown)


class ReaderThatLeavesTest(TestCase):
    def read_a_line_and_leave(self, *args, then=None):
        with pipe_from(fake_argv(*args)) as (command, pipe):
            line = text(pipe.readline())
            pipe.close()
            if then:
                then()
            return line, command.finish()

    def test_run_ends_quietly(self):
        line, said = self.read_a_line_and_leave(
            '-f3', 'true', 'a[1-3],slow[1-2],a[4-9999]')
        said.check(128 + signal.SIGPIPE)
        self.assertRegex(line, r'^a\d   0   \(')

    def test_jobs_that_run_get_their_grace(self):
        directory = self.scratch()
        ready, go, graced = (os.path.join(directory, name)
                             for name in ('ready', 'go', 'graced'))

        # Who has read a line leaves, and that ends the run.
        line, said = self.read_a_line_and_leave(
            'case $HOST in first) while [ ! -e %s ]; do sleep .02; done;; '
            'busy) trap "sleep .2; : >%s; exit" TERM; : >%s; '
            'sleep 60 & wait;; '
            'next) while [ ! -e %s ]; do sleep .02; done;; esac'
            % (ready, graced, ready, go), 'first', 'busy', 'next',
            then=lambda: write(go, ''))
        said.check(128 + signal.SIGPIPE)
        self.assertTrue(os.path.exists(graced), said)

    def test_list_ends_quietly_and_early(self):
        line, said = self.read_a_line_and_leave('--list', 'n[0-99999999999]')
        said.check(128 + signal.SIGPIPE)
        self.assertEqual(line, 'n0\n')

    def test_shell_pipeline_shows_no_trace_of_it(self):
        for args in (['--list', 'n[0-99999999999]'], ['true', 'n[0-9999]']):
            line = ' '.join(map(shlex.quote, fake_argv(*args)))
            said = run(['sh', '-c', line + ' | head -n1']).check(stdout=None)
            self.assertEqual(said.stdout.count('\n'), 1, said)


class TerminalTest(TestCase):
    def shown(self, *args, **options):
        said = run_in_pty(fake_argv(*args), **options)
        self.assertEqual(said.status, 0, said)
        return re.sub('\r+\n', '\n', masked(said.stdout))

    def test_what_could_drive_it_is_escaped(self):
        self.assertEqual(
            self.shown('true', 'escape'),
            'escape   0   (#)\n  Output:\n\n  \\x1b[2J\\x1b]0;title\\x07'
            'red\\x1b[31m\\x0dover\\x08\\x9bA\tend\n\n')

    def test_what_turns_the_direction_of_text_is_escaped(self):
        self.assertIn('a\\u202eb\\u2066c', self.shown(
            r"printf 'a\342\200\256b\342\201\246c\n' >&2", 'a'))

    def test_text_that_it_can_show_is_not_escaped(self):
        self.assertIn('  b\xfccher \u2713\n', self.shown(
            r"printf 'b\303\274cher \342\234\223\n'", 'a',
            env={'PYTHONIOENCODING': 'utf-8'}))

    def test_text_that_it_cannot_show_is_escaped(self):
        self.assertIn('  b\\xfccher \\u2713\n', self.shown(
            r"printf 'b\303\274cher \342\234\223\n'", 'a',
            env={'PYTHONIOENCODING': 'ascii'}))

    def test_end_of_line_as_ssh_writes_it_is_not_escaped(self):
        self.assertIn('  Connection refused\n  a\\x0db\n', self.shown(
            r"printf 'Connection refused\r\na\rb\n' >&2", 'a'))

    def test_terminal_that_goes_away_ends_the_run_and_leaves_nobody(self):
        master, slave = pty.openpty()
        with open(master, 'rb', buffering=0) as terminal:
            try:
                tty = os.ttyname(slave)
                # The first that its leader opens is a session's terminal.
                command = start('true', 'exit0', 'slow[1-2]',
                                before='exec <%s >%s' % (tty, tty),
                                env={'NO_COLOR': '1'})
                with command:
                    wait_until(lambda: [line for _, line in leftovers()].count(
                        'sleep 60') == 2)
                    shown = b''
                    while b'exit0   0' not in shown:
                        self.assertTrue(select.select(
                            [terminal], [], [], lib.WAIT_LIMIT)[0], shown)
                        shown += terminal.read(1 << 16)
                    terminal.close()
                    command.finish().check(
                        128 + SIGHUP,
                        stderr='2 of 3 ' + STOPPED + 'slow[1-2]\n'
                        'classh: stdout: Input/output error\n')
            finally:
                os.close(slave)

    def test_ssh_cannot_ask_on_it(self):
        said = run_in_pty(fake_argv('true', 'tty'))
        self.assertEqual(said.status, 4, said)
        self.assertIn('no terminal to ask on', said.stdout)
        self.assertNotIn('password', said.stdout)


SILENT = subprocess.PIPE        # as stdin: open, with nothing in it


# Reported of other tools: hangs and late returns.
class StdinTest(EveryModeTest):
    def test_stdin_that_never_ends_is_waited_for_by_nobody(self):
        # Command closes its end of the pipe only after the end, in finish().
        with contextlib.ExitStack() as stack:
            for command in [stack.enter_context(Command(
                    fake_argv(*mode) +
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
        self.assertEqual(said.stderr, '1 of 2 timed out after 2 s (-u): reader\n', said)


# Reported of other tools: hangs and late returns.
class BackgroundTest(EveryModeTest):
    def test_in_the_background_nothing_stops_it(self):
        # Neither for reading from the terminal nor for writing to it.
        script = '%s; "$@" & wait $!; echo "ended with $?"'
        for setting, options in (
                ('stty -tostop', []), ('stty -tostop', ['--progress']),
                ('stty tostop', ['-q']), ('stty tostop', ['-q', '-S', 'x'])):
            shown = run_in_pty(
                ['sh', '-mc', 'cd "$0"; ' + script % setting, self.directory]
                + fake_argv(*options)
                + ['sleep .1', 'a', 'reader'], timeout=SOON)
            self.assertIn('ended with 0\r\n', shown.stdout, shown)

    def test_ssh_that_asks_on_the_terminal_fails_at_once(self):
        for mode in (), ('-q', '-S', '-'), ('--progress', '--maxrc'):
            shown = run_in_pty(['sh', '-c', 'cd "$0"; exec "$@"',
                                self.scratch()]
                               + fake_argv(*mode)
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
            ''')], env={'PYTHONPATH': MODULE, 'SSH': FAKE_SSH}, timeout=SOON)
        shown.check(0, 'ssh no terminal to ask on\r\n\r\n')
