"""A password that is asked for, read from a file, and kept nowhere."""

import errno
import os
import re
import shlex
import signal
import tempfile
import unittest
from unittest import mock

from lib import (FAKE_SSH, SCRATCH, WAIT_LIMIT, WorkTest, classh_argv,
                 leftovers, run_classh, run_in_pty, text, wait_until)
from lib.passwords import ASKING_SSH, LOGIN, SECRET, PasswordTest
from lib.terminal import Terminal
from classh import AskpassServer, LockoutGuard, SSHJobMan


class AskTest(WorkTest):
    """The question on the terminal."""

    def terminal(self, *args, **options):
        terminal = Terminal(classh_argv('--ssh', ASKING_SSH, *args),
                            cwd=self.directory, **options)
        self.addCleanup(terminal.__exit__)
        return terminal

    def test_is_asked_once_and_not_echoed(self):
        terminal = self.terminal('-A', LOGIN, 'h[1-5]')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type(SECRET + '\n')
        said = terminal.finish()
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\r\n'), 5, said)
        self.assertEqual(said.stdout.count('assword'), 1, said)
        self.assertNotIn(SECRET, said.stdout, said)
        self.assertTrue(terminal.echoes())

    def test_is_asked_on_the_terminal_whatever_stdout_is(self):
        self.write('run', '"$@" >out 2>err </dev/null')
        terminal = Terminal(['sh', self.path('run')] + classh_argv(
            '--ssh', ASKING_SSH, '-A', LOGIN, 'h'), cwd=self.directory)
        with terminal:
            terminal.expect('Password for ')
            terminal.type(SECRET + '\n')
            terminal.finish().check(stdout=None)
        self.assertIn('  in\n', self.read('out'))
        self.assertEqual(self.read('err'), '')

    def test_ctrl_c_ends_it_and_the_terminal_echoes_again(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type('half\x03')
        said = terminal.finish().check(130, stdout=None)
        self.assertTrue(terminal.echoes())
        self.assertEqual(self.lines('sent'), [])
        self.assertEqual(said.stdout, 'Password for ssh on 1 host: \r\n',
                         said)

    def test_sigterm_ends_it_and_the_terminal_echoes_again(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.signal(signal.SIGTERM)
        terminal.finish().check(143, stdout=None)
        self.assertTrue(terminal.echoes())

    def shell(self, script):
        """Start a shell that runs *script*, where "$@" is classh -A."""
        terminal = Terminal(['sh', '-c', script, 'sh'] + classh_argv(
            '--ssh', ASKING_SSH, '-A', LOGIN, 'h'), cwd=self.directory)
        self.addCleanup(terminal.__exit__)
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        return terminal

    def test_ctrl_z_and_fg_ask_again_and_show_nothing(self):
        # As the line editor of a shell does, it sets the terminal meanwhile.
        for stop in '\x1a', signal.SIGSTOP:
            with self.subTest(stop=stop):
                terminal = self.shell(
                    'set -m; "$@"; stty echo; echo stopped; read -r line; '
                    'fg; echo "ended with $?"')
                terminal.type('half')
                if stop == '\x1a':
                    terminal.type(stop)
                else:
                    pid, = [pid for pid, line in leftovers()
                            if ' -A ' in line and pid != terminal.pid]
                    os.kill(pid, stop)
                terminal.expect('stopped')
                terminal.type('\n')
                terminal.expect('Password for ')
                wait_until(lambda: not terminal.echoes())
                terminal.type(SECRET + '\n')
                terminal.expect('ended with 0')
                said = terminal.finish().check(stdout=None)
                self.assertNotIn(SECRET, said.stdout, said)
                self.assertTrue(terminal.echoes())

    def test_raw_terminal_does_not_cut_or_show_it(self):
        terminal = self.shell('stty raw; "$@"; stty -a; stty sane')
        terminal.type(SECRET[:3])
        terminal.rest()
        terminal.type(SECRET[3:] + '\r')
        said = terminal.finish().check(stdout=None)
        self.assertIn('  in', said.stdout, said)
        self.assertNotIn(SECRET[3:], said.stdout, said)
        self.assertIn(' -icanon ', said.stdout, said)
        self.assertIn(' echo ', said.stdout, said)

    def test_ctrl_c_ends_it_on_a_raw_terminal_too(self):
        terminal = self.shell(
            'trap : INT; stty raw; "$@"; echo "ended with $?"')
        terminal.type('\x03')
        terminal.expect('ended with 130')

    def test_prompt_says_for_what_and_on_how_many_hosts(self):
        self.write('hosts', 'h3\nh4 # two\n')
        for args, prompt in (
                (['-A', 'h[1-5]'], 'ssh on 5 hosts'),
                (['-A', 'h[1-3],h2', './hosts', '-xh1'], 'ssh on 3 hosts'),
                (['-A', '--sudo', 'h'], 'ssh and sudo on 1 host'),
                (['-A', '--sudo', '--sudo-password', 'h'], 'ssh on 1 host'),
                (['--sudo', '--sudo-password', 'h'], 'sudo on 1 host'),
                # Not known yet, or not worth the wait.
                (['-A', 'h', '-'], 'ssh'),
                (['-A', 'h[1-999999999]'], 'ssh'),
                (['-A', 'h', 'h[1-999999999]', '-xh[2-999999999]'], 'ssh')):
            with self.subTest(args=args):
                terminal = self.terminal('true', *args)
                terminal.expect('Password for %s: ' % prompt)
                wait_until(lambda: not terminal.echoes())
                terminal.type('\x03')
                terminal.finish().check(130, stdout=None)

    def test_ctrl_d_is_no_password(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type('\x04')
        terminal.finish().check(
            2, 'Password for ssh on 1 host: \r\nclassh: the password is '
            'empty, or no text\r\n')
        self.assertTrue(terminal.echoes())

    def test_empty_password_is_none(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type('\n')
        said = terminal.finish().check(2, stdout=None)
        self.assertIn('classh: the password is empty', said.stdout, said)

    def test_every_byte_may_be_part_of_it(self):
        # As it is typed on a terminal in another encoding, or in no locale.
        secret = b'p\xe9\xc3\xa9 \t"\'\\$x'
        self.write('right', secret)
        script = ('send "Password: "; [ "$answer" = "$(cat right)" ] || deny;'
                  ' enter; echo in')
        for locale in 'C', 'C.UTF-8':
            with self.subTest(locale=locale):
                terminal = self.terminal('-A', script, 'h',
                                         env={'LC_ALL': locale})
                terminal.expect('Password for ')
                wait_until(lambda: not terminal.echoes())
                terminal.type(text(secret) + '\n')
                terminal.finish().check(stdout=None)

    def test_no_terminal_is_a_usage_error_and_nothing_is_started(self):
        said = run_classh('--ssh', ASKING_SSH, '-A', 'touch started', 'h',
                          cwd=self.directory)
        said.check(2, '', 'classh: no terminal to ask for a password on; '
                          'see --askpass-file\n')
        self.assertEqual(os.listdir(self.directory), [])

    def test_nothing_is_asked_where_nothing_will_run(self):
        for args, status in ((('--list', '-A', 'h'), 0),
                             (('-A', 'true', 'h[3-1]'), 2),
                             (('-A', 'true'), 2), (('-A', '-h'), 0)):
            with self.subTest(args=args):
                terminal = self.terminal(*args)
                said = terminal.finish().check(status, stdout=None)
                self.assertNotIn('Password', said.stdout, said)

    def test_without_it_ssh_asks_nobody(self):
        said = run_classh('--ssh', FAKE_SSH, 'true', 'args1', 'env1',
                          env={'SSH_ASKPASS': None})
        said.check(stdout=None)
        self.assertIn('  BatchMode=yes\n', said.stdout, said)
        for word in 'SSH_ASKPASS=', 'LocalCommand':
            self.assertNotIn(word, said.stdout, said)

    def test_without_it_the_ssh_of_a_jump_host_asks_nobody(self):
        # BatchMode does not reach that one, nor has it a terminal: on a
        # desktop it would open a window.
        for options in [], ['--sudo']:
            said = run_classh('--ssh', FAKE_SSH, *options, 'true', 'env1',
                              env={'SSH_ASKPASS': 'x', 'DISPLAY': ':0',
                                   'SSH_ASKPASS_REQUIRE': 'force'})
            # What never ran under sudo is no success.
            said.check(5 if options else 0, stdout=None,
                       stderr=None if options else '')
            self.assertEqual(re.findall(r'  SSH_ASKPASS_REQUIRE=(.*)\n',
                                        said.stdout), ['never'], said)

    def test_with_it_ssh_asks_once(self):
        self.write('secret', SECRET, 0o600)
        said = run_classh('--ssh', FAKE_SSH, '--askpass-file',
                          self.path('secret'), 'true', 'args1', 'env1',
                          env={'SSH_ASKPASS_REQUIRE': 'never'})
        said.check(stdout=None)
        self.assertIn('  SSH_ASKPASS_REQUIRE=force\n', said.stdout, said)
        self.assertIn('  NumberOfPasswordPrompts=1\n', said.stdout, said)
        # Whatever the user's ssh_config says.
        self.assertIn('  BatchMode=no\n', said.stdout, said)


class FileTest(PasswordTest):
    """--askpass-file, for when nobody is there to type."""

    SCRIPT = ('send "Password: "; [ "$answer" = "$(cat right)" ] || deny;'
              ' enter; echo in')

    def works(self, content, right, **options):
        self.write('right', right)
        self.file = options.pop('file', None) or self.write(
            'secret', content, 0o600)
        self.classh(self.SCRIPT, 'h', **options).check(stdout=None)

    def refused(self, path, message):
        self.file = path
        said = self.classh('touch started', 'h')
        said.check(2, '', 'classh: ' + message + '\n')
        self.assertFalse(os.path.exists(self.path('started')))

    def test_its_first_line_is_the_password(self):
        self.works('a b\n', 'a b')
        self.works('a b', 'a b')
        self.works('a b\r\n', 'a b')
        self.works('one\ntwo\n', 'one')

    def test_white_space_and_odd_bytes_belong_to_it(self):
        self.works(b' \t p\xe9\xff"\'$(x)\\n\n', b' \t p\xe9\xff"\'$(x)\\n')

    def test_long_one_is_given_in_full(self):
        self.works('x' * 1000 + '\n', 'x' * 1000)

    def test_may_be_a_pipe(self):
        self.works('', 'piped', file='/dev/stdin', stdin='piped\n')

    def test_is_refused_if_others_may_read_it(self):
        for mode in 0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o777:
            with self.subTest(mode=oct(mode)):
                path = self.write('open', 'secret\n', mode)
                self.refused(path, '%s: not private: chmod 600 %s'
                             % (path, path))

    def test_is_refused_through_a_link_too(self):
        path = self.write('open', 'secret\n', 0o644)
        os.symlink(path, self.path('link'))
        self.refused(self.path('link'), '%s: not private: chmod 600 %s'
                     % (self.path('link'), self.path('link')))

    @unittest.skipIf(os.geteuid(), 'only root can give a file away')
    def test_is_refused_if_it_is_not_ours(self):
        path = self.write('theirs', 'secret\n', 0o600)
        os.chown(path, 12345, -1)
        said = self.classh('true', 'h')
        self.file = path
        said = self.classh('touch started', 'h')
        said.check(2, '', None)
        self.assertIn('classh: %s: not ' % path, said.stderr, said)

    def test_is_refused_if_it_is_not_there(self):
        self.refused('none', 'none: No such file or directory')
        self.refused(self.directory, '%s: Is a directory' % self.directory)

    def test_empty_name_is_not_the_same_as_none(self):
        # --askpass-file "$UNSET" must not go without a password.
        self.refused('', ': No such file or directory')

    def test_is_refused_if_it_holds_no_password(self):
        for content in '', '\n', '\r\n', '\nsecond\n', 'a\0b\n':
            with self.subTest(content=content):
                path = self.write('empty', content, 0o600)
                self.refused(path, '%s is empty, or no text' % path)

    def test_is_not_asked_for_on_a_terminal(self):
        said = run_in_pty(classh_argv(
            '--ssh', FAKE_SSH, '-A', '--askpass-file', self.file,
            'echo in', 'h'))
        said.check(stdout=None)
        self.assertNotIn('assword', said.stdout, said)

    def test_options_that_say_how_to_use_it_need_it(self):
        for option, needed in (('--askpass-key', '-A'),
                               ('--askpass-anyway', '-A'),
                               ('--sudo-password', '--sudo')):
            run_classh('--ssh', FAKE_SSH, option, 'true', 'h').check(
                2, '', 'classh: %s needs %s\n' % (option, needed))


class PlaceTest(PasswordTest):
    """The temporary directory is no place for everything."""

    def test_long_path_of_it_does_no_harm(self):
        place = os.path.join(self.directory, 'x' * 120)
        os.mkdir(place)
        said = self.classh(LOGIN, 'h', env={'TMPDIR': place})
        self.assertEqual(os.listdir(place), [], said)
        said.check(stdout=None)

    def test_odd_name_of_it_does_no_harm(self):
        place = tempfile.mkdtemp(prefix="a %h 'b\" $", dir='/tmp')
        self.addCleanup(os.rmdir, place)
        script = 'echo "$SSH_ASKPASS" >where; ' + LOGIN
        self.classh(script, 'h', env={'TMPDIR': place}).check(stdout=None)
        self.assertEqual(os.path.dirname(os.path.dirname(
            self.lines('where')[0])), place)
        self.assertEqual(os.listdir(place), [])

    def test_error_in_making_it_leaves_nothing_behind(self):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before = os.listdir(SCRATCH)
        for name in 'socket.socket.bind', 'os.chmod':
            askpass = AskpassServer(LockoutGuard(b'x'))
            with mock.patch(name, side_effect=full):
                with self.assertRaises(OSError):
                    with askpass:
                        self.fail('it was made')
            self.assertEqual(os.listdir(SCRATCH), before)

    def test_manager_may_be_built_before_it_is_made(self):
        askpass = AskpassServer(LockoutGuard(b'x'))
        with SSHJobMan(['h1'], 'true', ssh=FAKE_SSH, hooks=[askpass]) as job:
            with askpass:
                self.assertTrue(job.wait(WAIT_LIMIT))
        self.assertEqual(job.results['h1'].outcome, 'ok')

    def test_no_descriptor_for_a_helper_is_waited_for(self):
        full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        with AskpassServer(LockoutGuard(b'x')) as askpass, SSHJobMan(
                ['h1', 'exit7'], 'true', ssh=FAKE_SSH,
                hooks=[askpass]) as job:
            with mock.patch('os.dup', side_effect=full):
                self.assertEqual(job.poll(0), [])
            self.assertTrue(job.wait(WAIT_LIMIT))
        self.assertEqual({host: result.exitcode for host, result
                          in job.results.items()}, {'h1': 0, 'exit7': 7})

    def test_limit_of_descriptors_is_raised_as_far_as_it_takes(self):
        # All of them run at once, each with four and a line to its helper.
        ssh = self.program(
            'ssh', 'echo >>in; [ $(wc -l <in) -lt 70 ] || touch all\n'
            'until [ -e all ]; do sleep .1; done')
        self.classh('-q', '-f70', '-u30', '--sudo', '--askpass-anyway',
                    '--ssh', shlex.quote(ssh), 'true', 'h[1-70]',
                    before='ulimit -Sn 64').check(5)    # no sudo ran

    def test_helper_needs_nothing_of_the_environment(self):
        said = self.classh(
            'PYTHONPATH=. PYTHONHOME=. PYTHONSTARTUP=os.py IFS=/ ENV=x '
            'BASH_ENV=x; export PYTHONPATH PYTHONHOME PYTHONSTARTUP IFS ENV '
            'BASH_ENV; echo "raise SystemExit(1)" >os.py; cp os.py socket.py;'
            ' cd .; ' + LOGIN, 'h')
        self.assertIn('  in\n', said.stdout, said)
