"""The line on the terminal that tells how far a run is, and colour: what the
screen shows, whatever was written."""

import os
import re
import signal
import sys
import textwrap
import time
import unittest

from lib import FAKE_SSH, MODULE, WorkTest, fake, until, wait_until
from lib.terminal import Terminal

# classh with less patience, so that a test has to wait less.
HASTY = textwrap.dedent('''
    import sys, classh
    for name in 'STATUS_DELAY', 'STATUS_SILENCE', 'STATUS_INTERVAL':
        setattr(classh, name, .1)
    sys.exit(classh.main())
    ''')
LONG = HASTY.replace('sys.exit', 'classh.LONG_RUN = 0; sys.exit')
# ... and with waits of 4 and 8 seconds and more before another try.
PATIENT = HASTY.replace('sys.exit', 'import random; '
                        'random.random = lambda: 1.0; sys.exit')
LINE = r'^\d+ of \d+   .*\d+ running'


class ScreenTest(WorkTest):
    def argv(self, *args, program=HASTY):
        return [sys.executable, '-S', '-c', program, '--ssh', FAKE_SSH, *args]

    def terminal(self, *args, script='exec "$@"', term='xterm', program=HASTY,
                 size=(24, 200), env=None):
        """A terminal on which sh runs *script*, in which "$@" is classh."""
        return Terminal(
            ['sh', '-c', script, 'sh', *self.argv(*args, program=program)],
            dict({'TERM': term, 'PYTHONPATH': MODULE}, **(env or {})),
            self.directory, size)

    def done(self, terminal, status=0):
        """Wait for the end; return what the screen shows then."""
        terminal.finish().check(status, None)
        return re.sub(r'\(\d+\.\d\)', '(#)', terminal.screen.text)


class LineTest(ScreenTest):
    def test_below_the_report_and_gone_when_more_comes(self):
        with self.terminal('echo hi; ' + until('go-$HOST'), 'a', 'exit3',
                           'b') as terminal:
            terminal.expect_screen(
                r'\Aexit3   3   \(\d\.\d\)\n\n1 of 3   1 bad   2 running   '
                r'at most 5 min left   slowest: [ab] \d s, [ab] \d s   '
                r'Enter: more\Z')
            self.write('go-a')
            terminal.expect_screen(r'\n2 of 3   1 bad   1 running.*\Z')
            self.write('go-b')
            self.assertEqual(
                self.done(terminal, 5),
                'exit3   3   (#)\n\na   0   (#)\n  Output:\n\n  hi\n\n'
                'b   0   (#)\n  Output:\n\n  hi\n\n'
                '1 of 3 exited with 3: exit3\n')

    def test_where_the_view_writes_nothing_there(self):
        for options, script in ((['-q'], ''), ([], '>out'),
                                (['-b'], ''), (['--json'], '>out')):
            with self.subTest(options=options, script=script), self.terminal(
                    *options, ': >up-$HOST; ' + until('go'), 'a', 'b',
                    script='exec "$@" ' + script) as terminal:
                terminal.expect_screen(r'\A0 of 2   2 running')
                self.write('go')
                self.assertNotRegex(self.done(terminal), LINE)
            os.remove(self.path('go'))

    def test_delays_are_two_and_five_seconds(self):
        import classh
        self.assertEqual((classh.STATUS_DELAY, classh.STATUS_SILENCE,
                          classh.STATUS_INTERVAL, classh.LONG_RUN),
                         (2, 5, .25, 60))

    def test_fields_that_fit_in_the_width(self):
        with self.terminal(until('go'), 'a', 'b' * 60,
                           size=(24, 40)) as terminal:
            terminal.expect_screen(
                r'\A0 of 2   2 running   at most 5 min left\Z')
            self.assertEqual(len(terminal.screen.rows), 1)
            # A field that does not fit is left out, and so are those behind.
            for width, line in ((39, '0 of 2   2 running'),
                                (19, '0 of 2   2 running'),
                                (18, '0 of 2'), (5, '0 of')):
                terminal.resize(24, width)
                terminal.expect_screen(r'\A%s\Z' % line)
                self.assertEqual(len(terminal.screen.rows), 1)
            self.write('go')
            self.assertNotRegex(self.done(terminal), LINE)

    def test_all_of_it_goes_though_the_terminal_has_broken_it(self):
        with self.terminal('-q', until('go'), 'a', 'exit0') as terminal:
            terminal.expect_screen(r'\A1 of 2   1 running .* a 1 s')
            terminal.resize(24, 20)     # and no time to draw it again
            terminal.signal(signal.SIGSTOP)
            self.assertGreater(len(terminal.screen.rows), 2)
            self.write('go')
            terminal.signal(signal.SIGCONT)
            self.assertEqual(self.done(terminal), '')

    def test_gone_before_a_warning(self):
        with self.terminal('-q', until('go'), 'a', '-',
                           script='(' + until('feed') + '; echo =bad) | '
                           '"$@"') as terminal:
            terminal.expect_screen(r'\A0 done   1 running')
            self.write('feed')
            terminal.expect_screen(r"\Aclassh: .*=bad.*\n0 of 1   1 running")
            self.write('go')
            self.assertRegex(self.done(terminal, 1), r'\Aclassh: [^\n]*\n\Z')
            self.assertNotIn('Enter', terminal.shown)   # stdin has hosts

    def test_at_most_so_often(self):
        with self.terminal('-f2', 'true', 'h[1-300]', '-q') as terminal:
            begun = time.monotonic()
            self.assertEqual(self.done(terminal), '')
            drawn = terminal.shown.count(' of 300')
            # HASTY's STATUS_INTERVAL is .1.
            self.assertLess(drawn, (time.monotonic() - begun) * 10 + 2)

    def test_who_waits_for_another_try(self):
        with self.terminal('--retries', '9', '-q', 'true', 'unreach1',
                           'exit0', program=PATIENT) as terminal:
            terminal.expect_screen(r'\A1 of 2   0 running   '
                                   r'1 to be tried again\b')
            terminal.type('\n')
            terminal.expect_screen(
                r'\Aclassh: 1 of 2   0 running   1 to be tried again\n'
                r'  tried again in [1-4] s: unreach1\n')
            terminal.type('\x03')
            self.done(terminal, 130)


class NoLineTest(ScreenTest):
    def check(self, *args, shown, status=0, **options):
        """Nothing is shown but what matches *shown*."""
        with self.subTest(args=args, **options), self.terminal(
                *args, ': >up; sleep .5', 'a', **options) as terminal:
            wait_until(lambda: os.path.exists(self.path('up')))
            self.assertRegex(self.done(terminal, status), shown)
            self.assertNotIn('running', terminal.shown)
            self.assertNotIn('\x1b', terminal.shown)
        os.remove(self.path('up'))

    def test_where_it_is_not_wanted(self):
        self.check('--no-status', '-q', shown=r'\A\Z')

    def test_where_it_cannot_be_shown(self):
        for term in 'dumb', None:
            self.check('-q', shown=r'\A\Z', term=term)
        self.check('-q', shown=r'\A\Z', script='"$@" 2>err')
        self.assertEqual(self.read('err'), '')

    def test_where_others_may_write(self):
        # A pager, the reader of names, a program of ours, marks.
        self.check(shown=r'\Aa   0   \(#\)\n\n\Z', script='"$@" | cat')
        self.check('-q', '-S', '-', shown=r'\Aa\n\Z')
        self.check('-q', '-S', '| cat', shown=r'\Aa\n\Z')
        self.check('-q', '-S', '/dev/tty', shown=r'\Aa\n\Z')
        self.check('--progress', shown=r'\A\.\n\Z')

    def test_stderr_that_is_a_file_gets_nothing(self):
        fake('-q', 'sleep 2.5', 'a').check(0, '', '')


class KeyTest(ScreenTest):
    def test_enter_tells_in_lines_and_leaves_no_rest_of_the_line(self):
        with self.terminal('-q', until('go'), 'a', 'b') as terminal:
            terminal.expect_screen(LINE)
            terminal.type('\n')
            told = (r'classh: 0 of 2   2 running   at most 5 min left\n'
                    r'(  \d s, 5 min left: (a|b|a,b)\n)+')
            terminal.expect_screen(r'\A' + told + r'0 of 2 .*\Z')
            terminal.signal(signal.SIGUSR1)
            terminal.expect_screen(r'\A(%s){2}0 of 2 .*\Z' % told)
            self.write('go')
            self.assertRegex(self.done(terminal), r'\A(%s){2}\Z' % told)

    def test_in_the_shell_too(self):
        with self.terminal('--shell', 'a', 'b', '-q', env={
                'HOME': self.directory}) as terminal:
            terminal.expect('> ')
            terminal.rest()
            terminal.type(until('go') + '\n')
            terminal.expect_screen(LINE)
            terminal.type('\n')
            terminal.expect_screen(
                r'^classh: 0 of 2   2 running.*\n'
                r'(  \d s, 5 min left: (a|b|a,b)\n)+0 of 2 .*\Z')
            self.write('go')
            # Enter was for the run, not for the prompt.
            terminal.expect_screen(r'left: (b|a,b)\nclassh 2>\Z')
            terminal.rest()
            terminal.type('exit\n')
            self.done(terminal)

    def test_ctrl_s_holds_up_nobody(self):
        with self.terminal('-q', 'touch done-$HOST; ' + until('go-$HOST'),
                           '-f1', 'a', 'b') as terminal:
            terminal.expect_screen(LINE)
            terminal.type('\x13')
            self.write('go-a')
            wait_until(lambda: os.path.exists(self.path('done-b')))
            terminal.type('\x11')
            terminal.expect_screen(r'\A1 of 2   1 running')
            self.write('go-b')
            self.assertEqual(self.done(terminal), '')

    def test_ctrl_z_and_the_background(self):
        script = ('set -m; "$@"; echo stopped; bg >bg; ' + until('seen')
                  + '; echo back; fg >fg')
        with self.terminal('-q', until('go'), 'a', script=script) as terminal:
            terminal.expect_screen(LINE)
            terminal.type('\x1a')
            terminal.expect_screen(r'^stopped$')
            self.assertNotRegex(terminal.screen.text, LINE)
            # It runs, and does not write to a terminal that is not its own.
            begun = len(terminal.shown)
            self.write('go-on')
            wait_until(lambda: os.path.exists(self.path('bg')))
            terminal.type(' ')
            self.write('seen')
            terminal.expect_screen(LINE)
            text = terminal.shown[begun:]
            self.assertLess(text.index('back'), text.index(' running'))
            self.write('go')
            self.assertNotRegex(self.done(terminal), LINE)

    def test_terminal_that_is_gone_ends_what_it_always_did(self):
        with self.terminal('-q', ': >up; ' + until('go') + '; : >end', 'a',
                           script='trap "" HUP; exec "$@" 3>status'
                           ) as terminal:
            terminal.expect_screen(LINE)
            terminal.hang_up()
            self.write('go')
            self.assertEqual(terminal.finish().status, 0)
        self.assertTrue(os.path.exists(self.path('end')))


class LongRunTest(ScreenTest):
    SAID = (r'2 hosts in \d s; half after \d s, 99 % after \d s; '
            r'slowest: \w+ \d s, \w+ \d s\n')

    def test_line_at_the_end_of_a_long_run(self):
        with self.terminal('true', 'a', 'exit3', script='"$@" >out',
                           program=LONG) as terminal:
            self.assertRegex(self.done(terminal, 5), r'\A%s'
                             r'1 of 2 exited with 3: exit3\n\Z' % self.SAID)

    def test_not_where_nobody_looks_or_wants_it(self):
        for args, script in ((['-q'], '"$@"'), (['--no-status'], '"$@"'),
                             ([], '"$@" 2>err')):
            with self.subTest(args=args), self.terminal(
                    'true', 'a', 'exit0', *args, script=script,
                    program=LONG) as terminal:
                self.assertNotIn('hosts in', self.done(terminal))
        self.assertEqual(self.read('err'), '')


class ColorTest(ScreenTest):
    HOST = r'\x1b\[[\d;]+m%s\x1b\[0m   '

    def colors(self, *args, word='exit3', **options):
        with self.terminal(*args, 'true', 'exit3', 'a', **options) as terminal:
            self.done(terminal, 5)
            return terminal.screen.colors(word) | terminal.screen.colors(
                '   3   ')

    def test_on_a_terminal_unless_it_is_not_wanted(self):
        self.assertIn('31', self.colors())
        self.assertIn('31', self.colors(env={'NO_COLOR': ''}))
        self.assertEqual(self.colors(env={'NO_COLOR': '1'}), {''})
        self.assertEqual(self.colors(term='dumb'), {''})
        self.assertEqual(self.colors('--color=never'), {''})
        self.assertIn('31', self.colors('--color=always', env={
            'NO_COLOR': '1'}))

    def test_each_stream_for_itself(self):
        with self.terminal('true', 'exit3', script='"$@" >out') as terminal:
            self.done(terminal, 5)
        self.assertNotIn('\x1b', self.read('out'))

    def test_always_means_in_a_file_too(self):
        said = fake('--color=always', 'true', 'exit3', 'a').check(5, None,
                                                                  None)
        self.assertRegex(said.stdout, self.HOST % 'exit3'
                         + r'\x1b\[31m3\x1b\[0m   \(')
        self.assertRegex(said.stdout, self.HOST % 'a' + r'0   \(')

    def test_same_host_same_colour(self):
        first, second = (fake('--color', 'always', 'true', host).stdout
                         for host in ('web1', 'web[1-1]'))
        self.assertEqual(first.split('web1')[0], second.split('web1')[0])

    def test_what_a_host_prints_has_none(self):
        with self.terminal('true', 'escape1') as terminal:
            self.done(terminal)
            self.assertEqual(terminal.screen.colors('\\x1b[2J'), {''})

    def test_other_words_are_refused(self):
        said = fake('--color=blue', 'true', 'a').check(2, '', None)
        self.assertRegex(said.stderr, r"\Aclassh: --color: .*'blue'.*"
                         r"auto.*always.*never.*; see classh -h\n\Z")


if __name__ == '__main__':
    unittest.main()
