"""--confirm: the question before the start."""

import os
import signal

from lib import FAKE_SSH, WorkTest, classh_argv, run_classh, wait_until
from lib.passwords import ASKING_SSH, LOGIN, SECRET
from lib.terminal import Terminal

ASKED = 'If that is meant, type how many: '


class ConfirmTest(WorkTest):
    def terminal(self, *args, ssh=FAKE_SSH, argv=()):
        terminal = Terminal([*argv, *classh_argv('--ssh', ssh, *args)],
                            cwd=self.directory)
        self.addCleanup(terminal.__exit__)
        return terminal

    def test_number_of_hosts_starts_the_run(self):
        terminal = self.terminal('--confirm', 'echo "here is $HOST"',
                                 'web[1-3],db1', '-x', 'web2')
        shown = terminal.expect(ASKED)
        self.assertEqual(shown, 'To be run:\n  echo "here is $HOST"\n'
                                'on 3 hosts: db1,web[1,3]\n' + ASKED)
        self.assertTrue(terminal.echoes())
        terminal.type('3\n')
        said = terminal.finish().check(stdout=None)
        # In the order in which they were given, each once.
        self.assertEqual(said.stdout.count('here is'), 4, said)
        self.assertIn(ASKED + '3\r\n', said.stdout)

    def test_other_answer_starts_nothing_and_opens_no_file(self):
        self.write('names', 'old\n')
        for typed, seen in (('4', "'4'"), ('', "''"), ('yes', "'yes'"),
                            ('3 3', "'3 3'")):
            terminal = self.terminal(
                '--confirm', '--sudo=bob', '--sudo-password', '-S./names',
                '--json=records', 'touch started', 'h[1-3]')
            self.assertIn('To be run as bob:\n', terminal.expect(ASKED))
            terminal.type(typed + '\n')
            said = terminal.finish().check(2, stdout=None)
            self.assertTrue(said.stdout.endswith(
                '%s%s\r\nclassh: --confirm: 3 was to be typed, not %s; '
                'nothing is started\r\n' % (ASKED, typed, seen)), said)
        self.assertEqual(os.listdir(self.directory), ['names'])
        self.assertEqual(self.read('names'), 'old\n')

    def test_ctrl_c_ctrl_d_and_sigterm_end_it(self):
        for key, status, message in (
                ('\x03', 130, ''), (signal.SIGTERM, 143, ''),
                ('\x04', 2, "classh: --confirm: 1 was to be typed, not ''; "
                            'nothing is started\n')):
            terminal = self.terminal('--confirm', 'touch started', 'h')
            self.assertIn('on 1 host: h\n', terminal.expect(ASKED))
            if status == 143:
                terminal.rest()
                terminal.signal(key)
            else:
                terminal.type(key)
            said = terminal.finish().check(status, stdout=None)
            self.assertEqual(said.stdout.split(ASKED)[1].replace(
                '^C', '').replace('\r\n', '\n'), '\n' + message, said)
        self.assertEqual(os.listdir(self.directory), [])

    def test_it_comes_before_the_password_on_the_terminal(self):
        self.write('run', '"$@" >out 2>err </dev/null')
        terminal = self.terminal('--confirm', '-A', LOGIN, 'h[1-2]',
                                 ssh=ASKING_SSH, argv=['sh', './run'])
        terminal.expect(ASKED)
        terminal.type('2\n')
        terminal.expect('Password for ssh on 2 hosts: ')
        wait_until(lambda: not terminal.echoes())
        terminal.type(SECRET + '\n')
        terminal.finish().check(stdout=None)
        self.assertEqual(self.read('out').count('  in\n'), 2)
        self.assertEqual(self.read('err'), '')

    def test_ctrl_z_and_fg_show_it_again(self):
        terminal = self.terminal(
            '--confirm', 'echo in', 'h', argv=[
                'sh', '-c', 'set -m; "$@"; stty raw; echo stopped; '
                'read -r line; fg; echo "ended with $?"', 'sh'])
        terminal.expect(ASKED)
        terminal.type('half\x1a')
        terminal.expect('stopped')
        terminal.type('\n')
        self.assertIn('To be run:\n  echo in\non 1 host: h\n',
                      terminal.expect(ASKED))
        terminal.type('1\n')
        terminal.expect('ended with 0')

    def test_what_could_drive_the_terminal_is_escaped(self):
        terminal = self.terminal('--confirm', 'a\x1b[2J\udcff\nb', 'h')
        self.assertIn('  a\\x1b[2J\\xff\n  b\non 1 host: h\n',
                      terminal.expect(ASKED))

    def test_long_list_is_cut_in_front_of_the_question(self):
        terminal = self.terminal('--confirm', 'true', ','.join(
            'host%d-%s' % (n, chr(97 + n % 7) * n) for n in range(100)))
        self.assertIn('... (--list shows all)\n', terminal.expect(ASKED))

    def test_few_hosts_are_not_asked_about(self):
        self.classh('-q', '--confirm=3', 'true', 'h[1-3]').check()

    def test_without_a_terminal_nothing_is_started(self):
        for args, message in (
                (['--confirm=2', 'h[1-3]'],
                 '--confirm: 3 hosts, and no terminal to ask on; nothing is '
                 'started'),
                (['--confirm', '-'],
                 '--confirm goes without --list, --shell and -'),
                (['--confirm=5', 'h[1-999999999]'],
                 '--confirm: more than 100000 hosts')):
            run_classh('--ssh', FAKE_SSH, '-S', 'names', 'touch started',
                       *args, cwd=self.directory).check(
                           2, '', 'classh: %s\n' % message)
        self.assertEqual(os.listdir(self.directory), [])

    def test_what_cannot_be_asked_about_is_a_usage_error(self):
        for option in '--list', '--shell':
            run_classh(option, '--confirm=9', 'h').check(
                2, '', 'classh: --confirm goes without --list, --shell and '
                       '-\n')
        for value in '-1', 'x', '':
            run_classh('--confirm=' + value, 'true', 'h').check(
                2, '', 'classh: --confirm: %r is not a whole number '
                       'of at least 0; see classh -h\n' % value)
