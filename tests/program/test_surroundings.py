"""What is wrong with this machine is no reason to crash."""

import os
import signal

from lib import (ASCII, TestCase, WorkTest, fake, fake_argv, leftovers,
                 locales, masked, pipe_from, read_to_end, run_in_pty, text,
                 wait_until)
import classh


class LocaleTest(TestCase):
    """Odd bytes, and a Python that thinks that all is ASCII."""
    RAW = b'\xff\xfe\x00\xe9'
    HEAD = 'binary   0   (#)\n  Output:\n\n  %s\n\n'

    def each(self):
        for env in ({'LC_ALL': 'C'}, ASCII, {'PYTHONIOENCODING': 'ascii'}):
            with self.subTest(env):
                yield env

    def test_bytes_go_unchanged_into_a_file(self):
        for env in self.each():
            said = fake('true', 'binary', env=env).check(stdout=None)
            self.assertEqual(masked(said.stdout), self.HEAD % text(self.RAW))

    def test_bytes_go_unchanged_into_a_pipe(self):
        for env in self.each():
            with pipe_from(fake_argv('true', 'binary'), env=env) as (
                    command, pipe):
                shown = read_to_end(pipe)
                command.finish().check()
            self.assertEqual(masked(shown), self.HEAD % text(self.RAW))

    def test_bytes_are_shown_escaped_on_a_terminal(self):
        for env in self.each():
            said = run_in_pty(fake_argv('true', 'binary'), env=env)
            self.assertEqual(masked(said.stdout).replace('\r\n', '\n'),
                             self.HEAD % r'\xff\xfe\x00\xe9', said)

    def test_host_command_and_error_keep_their_bytes(self):
        name, odd = (os.fsdecode(word) for word in (b'b\xc3\xbccher', b'\xff'))
        for env in self.each():
            said = fake('-f1', 'printf %%s "$TARGET %s"' % odd, name, odd,
                        'fail3' + name, env=env)
            said.check(5, stdout=None, stderr='1 of 3 exited with 3: fail3%s\n'
                       % text(os.fsencode(name)))
            self.assertEqual(
                masked(said.stdout).split('\n\n')[:4],
                [text(word) for word in (
                    b'b\xc3\xbccher   0   (#)\n  Output:',
                    b'  b\xc3\xbccher \xff', b'\xff   0   (#)\n  Output:',
                    b'  \xff \xff')], said)
            fake('true', 'no/' + odd, env=env).check(
                2, stderr='classh: no/\udcff: cannot read hosts: '
                'No such file or directory\n')

    def test_list_keeps_the_bytes_of_a_host(self):
        hosts = [os.fsdecode(word) for word in (b'caf\xe9', b'b\xc3\xbc')]
        for env in locales(self.scratch()):
            with self.subTest(env):
                fake('--list', *hosts, env=env).check(0, '%s\n%s\n' % tuple(
                    text(os.fsencode(host)) for host in hosts))


# Reported of other tools: crashes.
class SurroundingsTest(WorkTest):
    """What is wrong with this machine is no reason to crash."""

    def test_directory_that_was_removed(self):
        gone = 'mkdir gone; cd gone; rmdir ../gone'
        said = self.classh('echo out', 'a', before=gone).check(0, None)
        self.assertIn('  out\n', said.stdout)
        for args in (['-S', 'x'], ['-E', 'x/'], ['--pickle', 'x']):
            said = self.classh(*args + ['echo out', 'a'], before=gone)
            said.check(2, '', None)
            self.assertRegex(said.stderr, r'\Aclassh: cannot use x/?: ', said)

    def test_no_place_for_temporary_files(self):
        # What is long is held there, but memory will do.
        for place in ('none', 'file', '/dev/null'):
            self.write('file')
            said = self.classh('true', 'loud', env={'TMPDIR': place},
                               before='cd /proc').check(0, None)
            self.assertEqual(said.stdout.count('e' * 1048576), 1)
            self.assertEqual(said.stdout.count('o' * 1048576), 1)

    def test_bare_environment(self):
        said = self.classh('echo out', 'a', before='exec 3>&-; unset PATH '
                           'HOME LANG TERM USER LOGNAME PWD').check(0, None)
        self.assertIn('  out\n', said.stdout)

    def test_odd_environment(self):
        odd = {'COLUMNS': 'x', 'LINES': '-1', 'LC_ALL': 'no_SUCH.locale',
               'LANG': '\udcff', 'HOME': '\udcff', 'TERM': '\udcff',
               'TZ': ':/nonexistent', 'PYTHONIOENCODING': ''}
        said = self.classh('echo out', 'a', env=odd).check(0, None, None)
        self.assertIn('  out\n', said.stdout)
        self.classh('-h', env=odd).check(0, None, None)

    def test_files_may_not_grow(self):
        # SIGXFSZ, where it is not ignored, ends who writes too much.
        said = self.classh('-S', 'names', '-E', 'bad/', '--pickle', 'all',
                           'head -c 100000 /dev/zero', 'a', 'b', 'c',
                           'loud', before='ulimit -f 1')
        self.assertEqual(said.status, 1, said)
        self.assertNotIn('Traceback', said.stderr, said)
        self.assertIn('File too large', said.stderr, said)

    def test_ssh_that_vanishes_in_the_middle(self):
        self.program('ssh', 'case $* in *" -G "*) exit 255; esac\n'
                     'rm -f "$0"')
        said = self.classh('--ssh', './ssh', '-f1', 'true', 'a[1-3]')
        said.check(4, None, '2 of 3 ssh could not be started: a[2-3]\n')
        self.assertIn('No such file or directory', said.stdout)

    def test_killed_itself_it_leaves_what_can_be_read(self):
        with self.start('--pickle', 'all', '-S', 'good', 'true', 'exit0',
                        'slow') as command:
            wait_until(lambda: 'exit0   0' in command.stdout)
            wait_until(lambda: self.read('good'))
            slow, = wait_until(lambda: [pid for pid, line in leftovers()
                                        if line == 'sleep 60'])
            command.signal(signal.SIGKILL)
            self.assertEqual(command.finish().status, -signal.SIGKILL)
        self.assertEqual(self.read('good'), 'exit0\n')
        self.assertEqual([result.host for result in
                          classh.load(self.path('all'))], ['exit0'])
        # Nobody is there to end it: the README says so.
        self.assertEqual([pid for pid, line in leftovers()], [slow])
        os.kill(slow, signal.SIGKILL)
