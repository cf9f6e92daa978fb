"""Hosts on the command line: where they come from, and --list."""

import io
import os
import signal
from unittest import mock

from lib import (FAKE_SSH, Command, TestCase, WorkTest, fake_argv, read_log,
                 run_classh, wait_until)
import classh


def is_unread(pipe):
    """Whether the reader of *pipe* has ended."""
    try:
        pipe.write(b'x')
    except BrokenPipeError:
        return True
    return False


class ListTest(TestCase):
    def listed(self, *args, **options):
        said = run_classh('--list', *args, **options)
        return said.check(stdout=None).stdout.split()

    def test_prints_the_hosts_and_runs_nothing(self):
        self.assertEqual(
            self.listed('host1,', 'host2,', 'web[08-10]', 'host1'),
            ['host1', 'host2', 'web08', 'web09', 'web10'])

    def test_excluded_hosts_are_left_out(self):
        hosts = os.path.join(self.scratch(), 'hosts')
        with open(hosts, 'w') as file:
            file.write('a3 # broken\na[5-6]\n')
        self.assertEqual(
            self.listed('a[1-9]', '-x', 'a1,a[8-9]', '--exclude', hosts),
            ['a2', 'a4', 'a7'])

    def test_exclusion_that_excludes_no_host_is_told(self):
        told = "classh: -x excludes none of these hosts: '%s'\n"
        hosts = 'web[01-06]'
        run_classh('--list', hosts, '-x', 'web[3-5]', '-xweb06').check(
            stdout=None, stderr=told % 'web[3-5]')
        run_classh('--list', hosts, '-xweb[03-05]').check(stdout=None)
        for options in ['-q'], ['--progress']:
            said = run_classh('--ssh', FAKE_SSH, *options + [
                '-xweb[3-5],b', '-xweb06', 'true', hosts]).check(stderr=None)
            self.assertIn(told % 'web[3-5],b', said.stderr)
        # With hosts from stdin the answer is known at the end.
        run_classh('--ssh', FAKE_SSH, '-q', '-x', 'b,web2', 'true', '-',
                   stdin='web1\nb\n').check(stderr=told % 'web2')
        run_classh('--list', '-x', 'b,web2', '-', stdin='web1\nb\n').check(
            stdout='web1\n', stderr=told % 'web2')
        run_classh('--ssh', FAKE_SSH, '--shell', '-q', hosts, '-x', 'b',
                   stdin='true\n').check(stderr=told % 'b')

    def test_selection_that_matches_no_host_is_told(self):
        self.assertEqual(self.listed('web[1-6]', 'db1', '--only',
                                     'db[1],web[5-6]', '--only=web1'),
                         ['web1', 'web5', 'web6', 'db1'])
        told = 'classh: --only names none of these hosts: %s\n'
        run_classh('--list', 'a', 'b', '--only', 'a,c', '--only', 'd').check(
            stdout='a\n', stderr=told % "'c,d'")
        run_classh('--list', '--only', 'web1,c', '-', stdin='b\nweb1\n').check(
            stdout='web1\n', stderr=told % "'c'")
        run_classh('--list', 'a', '--only', 'c').check(
            2, '', 'classh: no hosts are left by --only\n')
        run_classh('--list', 'a', '--only', 'a', '-x', 'a').check(
            2, '', 'classh: no hosts are left by -x and --only\n')
        run_classh('--list', 'a', '--only', '-').check(
            2, '', 'classh: --only cannot come from stdin\n')
        run_classh('--list', 'web[1-100000000]', '--only', 'web7,web3').check(
            stdout='web3\nweb7\n')

    def test_list_may_be_folded(self):
        def folded(*args, **options):
            return run_classh('--list', '--fold', *args, **options)
        folded('web[2-3]', 'db1', 'web1', 'u@web2:22').check(
            stdout='db1,u@web2:22,web[1-3]\n')
        folded('web9', '-', '-x', 'b', stdin=b'web8\nod\xff\nb\n').check(
            stdout='od\udcff,web[8-9]\n')
        folded('-', stdin='').check()
        with mock.patch('classh.FOLDED_LIMIT', 3), \
                self.assertRaisesRegex(classh.UsageError, 'more than 3'):
            classh._print_hosts(classh.HostQueue('a,b,c,d'), True,
                                classh.Console(io.StringIO()))
        run_classh('--fold', 'true', 'a').check(
            2, '', 'classh: --fold needs --list\n')

    def test_exclusion_that_excludes_no_host_is_told_before_they_end(self):
        with Command(fake_argv('-x', 'web3', 'true', 'slow1')) as command:
            wait_until(lambda: 'none of these' in command.stderr)
            command.signal(signal.SIGTERM)
            command.finish().check(143, None, None)

    def test_signal_ends_the_look_whether_a_host_is_known(self):
        home = self.scratch()
        os.mkdir(os.path.join(home, '.ssh'))
        config = os.path.join(home, '.ssh', 'config')
        os.mkfifo(config)
        for signum, *words in ((signal.SIGINT, 'none1', 'env'),
                               (signal.SIGTERM, '--list', 'env')):
            with Command(fake_argv(*words),
                         env=dict(os.environ, HOME=home)) as command:
                with open(config, 'wb', 0) as writer:   # once it is read
                    command.signal(signum)
                    command.finish().check(128 + signum, '', '')
                    wait_until(lambda: is_unread(writer))

    def test_name_of_a_file_has_a_hint(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'hosts.txt'), 'w') as file:
            file.write('a1\n')
        os.mkdir(os.path.join(directory, 'web1'))
        for words in ['hosts.txt', 'web1'], ['web1,hosts.txt']:
            run_classh('--ssh', FAKE_SSH, '-q', 'true', *words,
                       cwd=directory).check(
                           stderr='classh: hosts.txt is taken for a host; '
                                  'the file is ./hosts.txt\n')
        said = run_classh('--list', 'a1', '-x', 'hosts.txt', cwd=directory)
        self.assertIn('the file is ./hosts.txt\n', said.stderr)
        run_classh('--list', './hosts.txt', cwd=directory).check(
            stdout='a1\n')

    def test_hosts_that_arrive_may_end_in_cr(self):
        for octets in b'web1\r# old\rweb2\r', b'web1\r\n#\rweb2', (
                b'web1\r\rweb2 # x\r# y'):
            run_classh('--list', '-', stdin=octets).check(
                stdout='web1\nweb2\n')

    def test_files_and_names_mix(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'all'), 'w') as file:
            file.write('a1\na2\n')
        self.assertEqual(self.listed('b', './all', 'a2', 'c', cwd=directory),
                         ['b', 'a1', 'a2', 'c'])

    def test_empty_word_is_told(self):
        for words in ['a', ''], ['a', 'b', '--only', 'a', '--only=']:
            said = run_classh('--ssh', FAKE_SSH, '-q', 'true', *words)
            said.check(stderr=None)
            self.assertIn('classh: an empty word names no host; is a '
                          'variable unset?\n', said.stderr)

    def test_home_of_a_file_may_be_left_to_us(self):
        home = self.scratch()
        with open(os.path.join(home, 'hosts'), 'w') as file:
            file.write('a1\n')
        self.assertEqual(self.listed('a1', 'a2', '--exclude=~/hosts',
                                     env={'HOME': home}), ['a2'])

    def test_file_may_be_a_pipe(self):
        self.assertEqual(self.listed('/dev/stdin', stdin='a\nb[1-2]\n'),
                         ['a', 'b1', 'b2'])

    def test_noexpand_takes_brackets_literally(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'all'), 'w') as file:
            file.write('c[1-2] d[\n')
        self.assertEqual(
            self.listed('--noexpand', 'a[1-2],b', './all', '-x', 'c[1-2]',
                        cwd=directory),
            ['a[1-2]', 'b', 'd['])
        run_classh('--ssh', FAKE_SSH, '--noexpand', '-q', 'echo', 'a[1-2]',
                   'signal[').check()

    def test_hosts_that_are_not_ascii_are_listed_as_they_were_given(self):
        name = os.fsdecode(b'b\xc3\xbccher')
        for env in ({}, {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0',
                         'PYTHONUTF8': '0'}):
            said = run_classh('--list', name, '/dev/stdin',
                              stdin=b'b\xc3\xbccher od\xff\n', env=env)
            said.check(stdout='b\xfccher\nod\udcff\n')


# Bugs of other tools: commands ran on the wrong hosts.
class WhereFromTest(WorkTest):
    REMEMBERED = {          # of other tools, and what might be ours
        'WCOLL': './hosts', 'PSSH_HOSTS': './hosts', 'PSSH_PAR': '1',
        'FANOUT': '1', 'PDSH_SSH_ARGS': '-p 1', 'CLUSTERSHELL_CFGDIR': '.',
        'DSHPATH': '/none', 'PDSH_RCMD_TYPE': 'exec', 'CLASSH': 'evil',
        'CLASSH_HOSTS': 'evil', 'CLASSH_OPTIONS': '-x a', 'HOSTS': 'evil',
        'PSSH_USER': 'evil', 'USER': 'evil', 'LOGNAME': 'evil'}

    def test_no_host_comes_from_the_environment_or_a_file_nobody_named(self):
        for name in ('hosts', '.classhrc', '.dsh/group/all', 'classh.conf'):
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            self.write(name, 'evil\n')
        env = dict(self.REMEMBERED, HOME=self.directory)
        for word, place in ('--list', '--list'), ('true', 'COMMAND'):
            self.classh(word, env=env).check(
                2, '', 'classh: no hosts are named; type them behind %s\n'
                % place)
        said = self.classh('echo as ${SSH_USER:-me}', 'a', env=env).check(
            0, None)
        self.assertIn('  as me\n', said.stdout)
        self.assertNotIn('evil', said.stdout)

    def test_stdin_names_no_host_unless_told_so(self):
        self.classh('true', stdin='evil\n').check(
            2, '', 'classh: no hosts are named; type them behind COMMAND, and '
            '- for those on stdin\n')
        said = self.classh('cat', 'a', stdin='evil\n').check(0, None)
        self.assertNotIn('evil', said.stdout)

    def test_excluded_wherever_it_comes_from(self):
        self.write('more', 'a\nspared\n')
        log = self.path('log')
        self.classh('-q', '-x', 'spared', '-f1', 'true', './more', '-',
                    'spared', 'b', 'spare[d,r]', stdin='spared c\nspared\n',
                    env={'FAKE_SSH_LOG': log}).check()
        self.assertEqual(sorted(read_log(log)[0]), ['a', 'b', 'c', 'spare'
                                                    + 'r'])
