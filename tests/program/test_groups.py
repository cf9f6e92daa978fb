"""Groups of hosts that programs print, and groups on the command line."""

import contextlib
import os
import signal
import time
from unittest import mock

from lib import WorkTest, kill_leftovers, read_log, wait_until
import classh


class GroupTest(WorkTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path('groups'), 0o755)
        self.log = self.path('log')
        self.said = []              # what the programs had to say

    def group(self, name, script):
        """Make the program of the group *name*; return its path."""
        return self.program('groups/' + name, script)

    def hosts(self, *arguments):
        return classh.parse_host_arguments(
            arguments, groups=classh.HostGroups([self.path('groups')],
                                                self.said.append))

    def refused(self, *arguments):
        """The message of the error that *arguments* make, one line."""
        with self.assertRaises((classh.GroupError,
                                classh.HostFileError)) as caught:
            self.hosts(*arguments)
        self.assertNotIn('\n', str(caught.exception))
        return str(caught.exception)

    def classh(self, *args, **options):
        options['env'] = dict({'CLASSH_GROUPS': self.path('groups'),
                               'FAKE_SSH_LOG': self.log},
                              **options.get('env', {}))
        return super().classh(*args, **options)


class ProgramTest(GroupTest):
    def test_program_prints_hosts_as_a_file_holds_them(self):
        self.group('gen', 'echo "a[1-2] # $#"; printf "@file\\rb$1\\r\\n"')
        self.write('groups/file', 'f1\n')
        self.assertEqual(self.hosts('@gen', 'x,@gen:-q'),
                         ['a[1-2]', 'f1', 'b', 'x', 'a[1-2]', 'f1', 'b-q'])
        self.group('args', 'echo "n$#"; cat')       # its stdin is empty
        self.assertEqual(self.hosts('@args', '@args:', '@args:a b'),
                         ['n0', 'n1', 'n1'])
        self.group('names', 'echo "$1" | tr / x')
        self.assertEqual(self.hosts('y,@names:a/b,z', '@names:p[1,2]'),
                         ['y', 'axb', 'z', 'p[1,2]'])
        # Its own exit is its end, whoever holds its pipes.
        self.group('daemon', 'sleep 60 & echo d1')
        self.assertEqual(self.hosts('@daemon'), ['d1'])
        kill_leftovers()
        self.assertEqual(self.said, [])

    def test_program_that_fails_is_named_with_its_first_words(self):
        for name, script, problem in (
                ('three', 'echo h1; echo "no token" >&2; echo more >&2; '
                          'exit 3', '{} exited with 3: no token'),
                ('mute', 'exit 1', '{} exited with 1'),
                ('killed', 'kill -9 $$', '{} was ended by SIGKILL'),
                ('none', ':', 'output of {} is empty'),
                ('loop', 'echo @loop', 'output of {}:1: @loop: groups name '
                 'one another without end: @loop @loop')):
            path = self.group(name, script)
            self.assertIn(problem.format(path), self.refused('@' + name))
        path = self.group('bad', 'echo ok; echo "x $1["')
        self.assertRegex(self.refused('@bad:y'), "^output of %s y:2: bad host "
                         r"'y\['" % path)
        self.write('hosts', 'a\n@bad:y\0z\n')
        self.assertIn('hosts:2: @bad:y\0z: cannot run %s: embedded null byte'
                      % path, self.refused(self.path('hosts')))
        self.group('deep', 'echo "@deep:$1x"')
        self.assertIn('without end', self.refused('@deep:a'))

    def test_program_that_hangs_or_prints_on_and_on_is_ended(self):
        self.group('hang', "trap '' TERM; sleep 60 & sleep 60")
        self.group('loud', 'yes')
        self.group('shrill', 'yes >&2')
        with mock.patch('classh.GROUP_TIMEOUT', .1), \
                mock.patch('classh.RUN_GRACE', .1):
            self.assertIn('has not ended within 0.1 s',
                          self.refused('@hang'))
        for name in 'loud', 'shrill':
            self.assertIn('printed more than 8 MB', self.refused('@' + name))
        # ... and nothing is left of any of them, as each test checks.

    def test_program_that_others_may_change_is_not_run(self):
        for name, mode, problem in (('open', 0o775, 'chmod go-w'),
                                    ('wide', 0o757, 'chmod go-w'),
                                    ('plain', 0o755, '')):
            path = self.group(name, 'touch %s; echo h1' % self.path('ran'))
            os.chmod(path, mode)
            if problem:
                self.assertIn('%s may be written by others: chmod go-w %s'
                              % (path, path), self.refused('@' + name))
        groups = self.path('groups')
        os.chmod(groups, 0o777)
        self.assertIn('%s may be written by others' % groups,
                      self.refused('@plain'))
        os.chmod(groups, 0o755)
        os.mkdir(self.path('far'))
        os.chmod(self.path('far'), 0o775)
        os.rename(self.path('groups/plain'), self.path('far/plain'))
        os.symlink('../far/plain', self.path('groups/plain'))
        self.assertIn('%s may be written by others' % self.path('far'),
                      self.refused('@plain'))
        os.chmod(self.path('far'), 0o755)
        with mock.patch('os.geteuid', lambda: 4242):
            if os.stat(groups).st_uid:
                self.assertIn('another user', self.refused('@plain'))
        if not os.geteuid():
            os.chown(self.path('far/plain'), 12345, -1)
            self.assertIn('plain belongs to another user, uid 12345',
                          self.refused('@plain'))
            os.chown(self.path('far/plain'), 0, -1)
        self.assertFalse(os.path.exists(self.path('ran')))
        self.assertEqual(self.hosts('@plain'), ['h1'])

    def test_file_of_hosts_that_is_executable_has_a_hint(self):
        self.write('groups/web', 'web1\n', 0o755)
        self.assertIn('a file of hosts must not be executable',
                      self.refused('@web'))

    def test_what_a_program_that_succeeds_has_to_say_is_told(self):
        path = self.group('old', 'echo h1; echo "3 days old" >&2')
        self.hosts('@old', '@old')
        self.assertEqual(self.said, ['@old: %s says: 3 days old' % path])


class CommandLineTest(GroupTest):
    def test_groups_stand_wherever_hosts_do_and_a_program_runs_once(self):
        self.group('gen', 'echo x >>%s; echo "web[1-9]"' % self.path('runs'))
        self.write('groups/db', 'web[1-2] db1\n')
        self.write('file', 'y @db\n')
        self.classh('--list', '@gen', './file', '-x', '@db,y', '--only',
                    '@gen', '--only', 'y').check(
            stdout=''.join('web%d\n' % number for number in range(3, 10)))
        self.assertEqual(self.read('runs'), 'x\n')
        self.classh('-h').check(stdout=None)
        self.classh('-q', '--json=r', '-x', '@db', 'true', '@gen').check()
        self.assertEqual(sorted(read_log(self.log)[0])[0], 'web3')
        self.assertEqual(self.read('runs'), 'x\nx\n')

    def test_group_that_cannot_be_had_starts_nothing(self):
        self.group('fail', 'echo a; exit 1')
        self.group('none', ':')
        path = self.path('groups')
        for words, message in (
                (['a', '@fail'], '@fail: %s/fail exited with 1' % path),
                (['a', '-x', '@fail'], '@fail: %s/fail exited' % path),
                (['a', '--only', '@fial'], '@fial: no such group in %s; is '
                                           'it @fail?' % path),
                (['a', '@none'], '@none: output of %s/none is empty' % path),
                (['a', '--only', '@none'], 'no hosts are left by --only'),
                (['@'], '@: a group is written @NAME')):
            said = self.classh('true', *words).check(2, '', None)
            self.assertIn('classh: ' + message, said.stderr)
            self.assertEqual(said.stderr.count('\n'), 1)
        self.assertFalse(os.path.exists(self.log))
        # Nobody may be excluded by a group, though it is told.
        self.classh('-q', 'true', 'a', '-x', '@none').check(
            stderr="classh: -x excludes none of these hosts: '@none'\n")
        said = self.classh('ls', '@home', 'a').check(2, '', None)
        self.assertIn('is COMMAND quoted?', said.stderr)
        self.assertIn("'ls @home' a\n", said.stderr)

    def test_journal_holds_the_hosts_of_groups(self):
        self.write('groups/web', 'web[1-4] db1\n')
        self.write('groups/old', 'web1\n')
        self.classh('-q', '--journal', 'j', '-x', '@old', '--only',
                    'web[1-3],db1', 'true', '@web').check()
        self.assertEqual(sorted(read_log(self.log)[0]),
                         ['db1', 'web2', 'web3'])
        os.remove(self.path('groups/web'))
        os.remove(self.log)
        said = self.classh('-q', '--resume', 'j', '--again', 'ok',
                           '--only', 'web3').check(0, '', None)
        self.assertEqual(read_log(self.log)[0], ['web3'], said)

    def test_groups_are_not_read_from_stdin(self):
        self.write('groups/web', 'web1\n')
        said = self.classh('--list', '-', stdin='a\n@web\n').check(
            1, 'a\n', None)
        self.assertIn('stdin:2: ', said.stderr)
        self.assertIn('groups are taken as HOST, in -x, --only and files '
                      'alone; line skipped\n', said.stderr)

    def test_list_of_the_groups(self):
        self.group('gen', 'touch ran')
        self.write('groups/web', 'web1\n')
        self.classh('--list', '@').check(stdout='@gen\n@web\n')
        self.assertFalse(os.path.exists(self.path('ran')))
        self.write('home', '')
        for groups in 'x', '/a:x/':
            said = self.classh('--list', '@', env={'CLASSH_GROUPS': groups})
            said.check(2, '', None)
            self.assertIn("CLASSH_GROUPS: 'x", said.stderr)
        self.classh('--list', '@', env={'CLASSH_GROUPS': '/none:/no'}).check(
            2, '', 'classh: no groups in /none or /no; each file there '
            'is a group\n')
        long = '/' + 300 * 'x'
        self.classh('--list', '@', env={'CLASSH_GROUPS': long}).check(
            2, '', 'classh: %s: File name too long\n' % long)
        os.makedirs(self.path('.config/classh'))
        os.rename(self.path('groups'), self.path('.config/classh/groups'))
        self.classh('--list', '@web', env={
            'CLASSH_GROUPS': None, 'HOME': self.directory}).check(
            stdout='web1\n')

    def test_ctrl_c_ends_classh_and_the_program_of_a_group(self):
        self.group('slow', "trap '' HUP; touch began; sleep 60; echo a")
        for signum in signal.SIGINT, signal.SIGTERM:
            with self.start('true', '@slow', env={
                    'CLASSH_GROUPS': self.path('groups')}) as command:
                wait_until(lambda: os.path.exists(self.path('began')))
                command.signal(signum)
                command.finish().check(128 + signum, '', '')
            os.remove(self.path('began'))

    def test_program_of_a_module_ends_with_an_exception(self):
        self.group('slow', 'sleep 60')

        class Gone(Exception):
            pass

        def check():
            raise Gone

        @contextlib.contextmanager
        def watching():
            yield check
        groups = classh.HostGroups([self.path('groups')], watching=watching)
        began = time.monotonic()
        with self.assertRaises(Gone):
            groups.open('@slow')
        self.assertLess(time.monotonic() - began, 30)

    def test_prompt_selects_groups(self):
        self.write('groups/db', 'db[1-9]\n')
        self.group('odd', 'echo "web[1,3,5]"')
        self.group('empty', ':')
        self.classh('--shell', 'web[1-3]', 'db1', stdin=(
            '%only @db\n%hosts\n%only web2,@odd\n%not @db\n%hosts\n'
            '%only @none\n%only @odd:* web2\n%hosts\n%only @empty\n')).check(
            2, '', '1 selected: db1\n3 not: web[1-3]\n'
            '3 selected: web[1-3]\n1 not: db1\n'
            'classh: @none: no such group in %s\n'
            '3 selected: web[1-3]\n1 not: db1\n'
            'classh: not one of the hosts: @empty\n' % self.path('groups'))
