"""Options, help, usage errors, and main() as a function."""

import contextlib
import errno
import io
import os
import re
import shlex
import signal
import sys
from unittest import mock

import lib
from lib import (FAKE_SSH, Command, TestCase, at_once, classh_argv, fake,
                 masked, run, run_classh, run_in_pty, shell, together, write)
import classh


class OptionTest(TestCase):
    def ssh_arguments(self, *args):
        """Return the arguments that ssh gets for host args1 and 'cmd'."""
        said = fake(*(args + ('cmd', 'args1')))
        return said.check(stdout=None).stdout.split('\n')[3:-2]

    def assert_runs(self, hosts, *argument_lists):
        """Check that *hosts* hosts run with each of these arguments."""
        for said in at_once(*(['--progress'] + list(args)
                              for args in argument_lists)):
            said.check(stdout='', stderr='.' * hosts + '\n')

    def test_quiet_shows_nothing(self):
        fake('-q', 'echo x; echo y >&2', 'a', 'fail3').check(5, '', '')
        fake('--quiet', 'true', 'a').check(0, '', '')

    def test_progress_is_a_mark_a_host_in_place_of_the_report(self):
        fake('-f1', '--progress', '-u4', 'echo x', 'a', 'fail3', 'unreach',
             'b', 'slow').check(
                 3, stdout='', stderr='.?~.!\n'
                 '1 of 5 connection refused: unreach\n'
                 '1 of 5 exited with 3: fail3\n'
                 '1 of 5 timed out after 4 s (-u): slow\n')

    def test_timeout_of_0_or_less_is_none(self):
        for said in at_once(*(['-u', limit, '-q', 'sleep .2', 'a']
                              for limit in ('0', '-1', '0.0'))):
            said.check()

    def test_timeout_may_be_a_fraction(self):
        fake('-q', '--timeout', '.1', 'true', 'slow').check(3)

    def test_timeout_tells_of_itself_but_where_silence_is_promised(self):
        loud, *silent = at_once(*(
            [*option, '-u5', 'true', 'slow[1-3]', 'a']
            for option in ([], ['-q'], ['--bad'])))
        loud.check(3, stdout=None, stderr='classh: 3 will be ended in 1 s '
                   '(-u 5)\n3 of 4 timed out after 5 s (-u): slow[1-3]\n')
        for said in silent:
            self.assertNotIn('will be', said.check(3, None, None).stderr)

    def test_logins_bound_what_runs_where_no_login_is_seen(self):
        # The fake ssh has no log.
        directory = self.scratch()
        log = os.path.join(directory, 'log')
        fake('-q', '--logins', '3', together(3), 'h[1-12]', cwd=directory,
             env={'FAKE_SSH_LOG': log}).check()
        self.assertEqual(lib.read_log(log)[1], 3)

    def test_retries_are_for_hosts_that_were_not_reached(self):
        log = os.path.join(self.scratch(), 'log')
        fake('-q', '--retries', '1', 'true', 'unreach', 'fail7',
             env={'FAKE_SSH_LOG': log}).check(4)
        started = lib.read_log(log)[0]
        # One more is asked what it can do.
        self.assertIn(started.count('unreach') - started.count('fail7'),
                      (1, 2))

    def test_fanout_bounds_what_runs_at_once(self):
        for option in (['-f3'], ['-p', '3'], ['--fanout=3'], ['--par', '3']):
            directory = self.scratch()
            log = os.path.join(directory, 'log')
            fake('-q', *option, together(3), 'a[1-12]', cwd=directory,
                 env={'FAKE_SSH_LOG': log}).check()
            started, most = lib.read_log(log)
            self.assertEqual((len(started), most), (12, 3))

    def test_excluded_hosts_do_not_run(self):
        hosts = write(os.path.join(self.scratch(), 'x'), '# x\nfail8\n')
        self.assert_runs(2, ['true', 'a[1-3],fail8', 'fail9', '-xa2,fail9',
                             '--exclude', hosts])

    def test_users_options_of_ssh_go_before_ours(self):
        self.assertEqual(
            self.ssh_arguments('-O', 'A=1', '-lbo', '-t', '5',
                               '--ssh-option', 'B=two words'),
            ['  ' + word for word in (
                '-o', 'A=1', '-o', 'B=two words', '-l', 'bo',
                '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5',
                '-o', 'ForwardX11=no', '-o', 'ForwardAgent=no',
                '--', 'args1', 'cmd')])

    def test_connect_timeout_of_0_is_left_to_ssh_config(self):
        shown = ' '.join(self.ssh_arguments('--connect-timeout=0'))
        self.assertNotIn('ConnectTimeout', shown)

    def test_ssh_is_split_as_a_shell_would(self):
        directory = os.path.join(self.scratch(), "it's a dir")
        os.mkdir(directory)
        os.symlink(shlex.split(FAKE_SSH)[0], directory + '/ssh')
        ssh = shlex.quote(directory + '/ssh') + ' -F "/a b" -4'
        shown = self.ssh_arguments('--ssh', ssh)
        self.assertEqual(shown[:3], ['  -F', '  /a b', '  -4'])

    def test_ssh_is_looked_up_on_path(self):
        directory = self.scratch()
        os.symlink(shlex.split(FAKE_SSH)[0], directory + '/ssh')
        path = directory + ':' + os.environ['PATH']
        run_classh('-q', 'exit 6', 'a', env={'PATH': path}).check(5)

    def test_user_and_port_of_a_host_reach_ssh(self):
        said = fake('-f1', '-lbo', 'echo $SSH_USER $HOST $PORT', 'a',
                    'al@b:2222', '[::1]:2222', 'al@::1').check(stdout=None)
        self.assertEqual(re.findall(r'^  (\w+ .*)', said.stdout, re.M),
                         ['bo a 22', 'al b 2222', 'bo ::1 2222', 'al ::1 22'])
        self.assertEqual(re.findall(r'^\S+', said.stdout, re.M),
                         ['a', 'al@b:2222', '[::1]:2222', 'al@::1'])

    def test_options_may_stand_anywhere(self):
        self.assert_runs(
            3, ['-f', '2', 'true', 'a', '-u5', 'b', '-x', 'd', 'c', 'd'],
            ['true', '-f', '2', '-xd', 'a', 'd', 'b', 'c', '-lbo',
             '--maxrc'],
            ['true', 'a', 'd', 'b', 'c', '--exclude=d', '-u', '5', '-f2'])

    def test_two_dashes_end_the_options(self):
        self.assert_runs(2, ['-u5', '--', 'true', 'a', 'b'],
                         ['true', '--', 'a', 'b'], ['true', 'a', '--', 'b'])
        said = fake('--', '-q', 'args1').check(stdout=None)
        self.assertIn('  args1\n  -q\n', said.stdout)
        fake('-q', 'true', 'a', '--', '-q').check(
            2, stderr="classh: bad host '-q' begins with '-'\n")

    def test_commas_may_trail(self):
        self.assert_runs(3, ['true', 'host1,', 'host2,', 'host3'],
                         ['true', 'host1,host2,', ',', 'host3,'])

    def test_white_space_may_stand_behind_commas(self):
        # As a long pattern is shown on a terminal.
        self.assert_runs(4, ['true', 'host[1,\n  2-3], host4,\n '],
                         ['true', 'host[1-7]', '-x', 'host1, host[4,\t5]'],
                         ['true', '--noexpand', 'host1, host2,\n  a[1], b'])

    def test_host_named_twice_runs_once(self):
        self.assert_runs(3, ['true', 'a1', 'a[1-2]', 'a2,a1,b'])

    def test_command_reaches_ssh_as_it_is(self):
        command = 'echo "$HOST" \'$x\' ; #\\n\n\ttrue  \udcff'
        said = fake(command, 'args1').check(stdout=None)
        self.assertEqual(said.stdout[said.stdout.index('  args1\n') + 8:],
                         ('  ' + command).replace('\n', '\n  ') + '\n\n')

    def test_hosts_of_a_file_run(self):
        hosts = write(os.path.join(self.scratch(), 'all'),
                      '# all\na1, a2\nb[1-2]\n')
        self.assert_runs(5, ['true', hosts, 'c'])

    def test_python_has_nothing_to_warn_of(self):
        fake('-q', '-OA=1', '-xb', '-u4', '--max-output=1K', '--maxrc',
             'true', 'a[1-2],b', env={'PYTHONDEVMODE': '1'}).check()


class HelpTest(TestCase):
    def setUp(self):
        super().setUp()
        self.shown = run_classh('-h').check(stdout=None).stdout

    def test_on_a_narrow_terminal_no_word_is_broken(self):
        said = run_in_pty(classh_argv('-h'), size=(24, 60)).check(0, None)
        for line in said.stdout.splitlines():
            self.assertLessEqual(len(line), 60, said)
        self.assertEqual(said.stdout.split(), self.shown.split())

    def test_fits_a_screen_or_two(self):
        lines = self.shown.split('\n')
        self.assertLessEqual(len(lines), 96, self.shown)
        for line in lines:
            self.assertLessEqual(len(line), 80, line)

    def test_long_name_says_the_same(self):
        for said in at_once(['--help'], ['uptime', 'web1', '-h']):
            said.check(stdout=self.shown)

    def test_options_come_in_groups_with_their_defaults(self):
        groups = re.split(r'^([a-z ]+):\n', self.shown, flags=re.MULTILINE)
        self.assertEqual(groups[1::2], [
            'which hosts', 'how to run', 'careful runs', 'getting in',
            'results', 'help'])
        for group, options in zip(groups[2::2], (
                '-x --exclude --noexpand --list',
                '-f --fanout -p --par -u --timeout -t --connect-timeout '
                '-l --user -O --ssh-option --ssh',
                '--first --max-fail --resume', '-J --share -A --sudo',
                '-q --quiet --progress --max-output --maxrc', '-h -V')):
            for option in options.split():
                self.assertRegex(group, r'(^|[ ,])%s\b' % option)
        words = ' '.join(self.shown.split())
        for default in (r'-f\b[^(]* jobs at once \(100\)',
                        r'-u\b[^(]* limit of a job[^(]*\(300; 0',
                        r'-t\b[^(]* limit of the login \(10; 0',
                        r'--ssh COMMAND [^(]*\(ssh\)',
                        r'--max-output BYTES [^(]*\(8M; 0'):
            self.assertRegex(words, default)

    def test_ends_with_the_exit_statuses_and_six_examples(self):
        status, examples = self.shown.split('\nEXIT STATUS\n')[1].split(
            '\nEXAMPLES\n')
        for number in (0, 1, 2, 3, 4, 5, 130, 143):
            self.assertRegex(status, r'\b%d\b' % number)
        *examples, blank, guide = examples.strip('\n').split('\n')
        self.assertIn('README', guide)
        self.assertEqual(len(examples), 6)
        directory = self.scratch()
        for name, content in (('all-hosts', 'a1\nweb13\n'), ('motd', ''),
                              ('web', 'web1')):
            write(os.path.join(directory, name), content)
        classh = 'classh() { %s "$@"; }\n' % shell(
            *classh_argv('--ssh=true'))
        for example in examples:
            ran = run(['sh', '-c', classh + example], cwd=directory,
                      env={'CLASSH_GROUPS': directory})
            if ' -A ' in example:
                ran.check(2, '', 'classh: no terminal to ask for a password '
                          'on; see --askpass-file\n')
            else:
                ran.check(0, None, 'nothing left to run in night: 1 ok\n'
                          if 'resume' in example else '')

    def test_version_is_that_of_the_module(self):
        for said in at_once(['-V'], ['--version']):
            said.check(stdout='classh %s\n' % classh.__version__)

    def test_module_may_be_run_by_name(self):
        run([sys.executable, '-m', 'classh', '--ssh', FAKE_SSH, '-q',
             'exit 3', 'a'], cwd=self.scratch(),
            env={'PYTHONPATH': lib.MODULE}).check(5)


class BadInputTest(TestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.scratch()
        self.ssh = write(os.path.join(self.directory, 'ssh'),
                         '#!/bin/sh\n: >"$0.ran"\n')
        os.chmod(self.ssh, 0o755)
        self.started = []

    def path(self, name):
        return os.path.join(self.directory, name)

    def check(self, culprit, *args, ssh=None):
        """One line that names the culprit, status 2, and nothing started.

        Known when the test has done its part: all run at once, for speed.
        """
        command = Command(classh_argv('--ssh', ssh or self.ssh, *args))
        self.addCleanup(command.__exit__)
        self.started.append((culprit, command))

    def tearDown(self):
        for culprit, command in self.started:
            said = command.finish().check(2, stdout='', stderr=None)
            self.assertRegex(said.stderr, r'\Aclassh: [^\n]+\n\Z', said)
            self.assertIn(culprit, said.stderr, said)
            self.assertFalse(os.path.exists(self.path('ssh.ran')), said)
        super().tearDown()

    def test_ssh_that_is_started_leaves_a_trace(self):
        run_classh('--ssh', self.ssh, '-q', 'true', 'a').check()
        os.remove(self.path('ssh.ran'))

    def test_bad_pattern(self):
        self.check("'[1-'", 'true', 'a', 'web[1-')
        self.check("'3-1' runs backwards", 'true', 'a,web[3-1]', 'b')
        self.check("'36-40-44'", 'true', 'web[36-40-44]')
        self.check("'[]'", 'true', 'web[]', 'a')
        self.check("'[1-'", 'true', 'a', '-x', 'web[1-')
        self.check("'3-1' runs backwards", '--list', 'web[3-1]')

    def test_two_hyphens_are_no_value(self):
        for words in (['-qS--'], ['-E--'], ['-x--'], ['-u--'], ['-O--'],
                      ['--pickle=--'], ['--exclude=--', '-xa']):
            self.check("--", *words, 'true', 'a', 'b')

    def test_value_that_is_taken_for_something_else(self):
        self.check('one that is called - is ./-', '--pickle', '-', 'true',
                   'a')
        self.check('records go to stdout by --json alone', '--json', '-',
                   'true', 'a')
        self.check('--json=all.json', '--json', 'all.json', 'true', 'a')
        self.check('hosts from stdin stand behind COMMAND', '-', 'true', 'a')
        self.check('10 is no command; -P takes no value', '-P', '10', 'true',
                   'a')
        self.check('5m is no command; a value of --share is written '
                   '--share=5m', '--share', '5m', 'true', 'a')
        self.check('a value of --sudo is written --sudo=root', '--sudo',
                   'root', 'true', 'a')
        self.check('a group stands behind COMMAND', '@web', 'true')
        self.check('-l needs a user', '-l', '', 'true', 'a')
        hosts = write(self.path('hosts'), 'a\n')
        self.check('-h is for help; a file of hosts stands behind COMMAND: '
                   + hosts, '-h', hosts, 'true')

    def test_bad_host(self):
        self.check("'-oX=y' begins with '-'", 'true', 'a', '--', '-oX=y')
        self.check("'a b'", 'true', 'a b')
        self.check("'a\\nb'", 'true', 'c', 'a\nb')
        self.check("'a\\x1bb'", 'true', 'a\x1bb')
        self.check("'a:x'", 'true', 'a:x')
        self.check("'-x'", '--noexpand', 'true', 'c,-x')

    def test_file_of_hosts_that_cannot_be_read(self):
        self.check('/none: cannot read hosts: No such file', 'true', 'a',
                   self.path('none'))
        self.check(self.directory + ': cannot read hosts: Is a directory',
                   'true', self.directory, 'a')
        self.check('/none: cannot read', 'true', 'a', '-x', self.path('none'))

    def test_bad_line_in_a_file_of_hosts(self):
        hosts = write(self.path('all'), 'a\n# b\nweb[1-\nc\n')
        self.check(hosts + ":3: bad host 'web[1-'", 'true', 'a', hosts)
        hosts = write(self.path('more'), 'a\r\n\r\n-oX=y\r\n')
        self.check(hosts + ":3: bad host '-oX=y' begins", 'true', hosts)

    def test_no_hosts(self):
        empty = write(self.path('empty'), '# none yet\n\n')
        self.check('no hosts in ' + empty, 'true', empty)
        self.check('no hosts are named; type them behind COMMAND', 'true')
        for args in ([''], [','], ['a', '-x', 'a'],
                     ['a[1-3],b', '-x', 'b,a[0-9]'], ['--', '']):
            self.check('no hosts', 'true', *args)
        self.check("no hosts in ''; is a variable unset?", 'true', '')
        self.check('no hosts are named', '--list', '-x', 'a')
        self.check('type them behind --list', '--list')
        self.check('no hosts', '--list', 'a', '-xa')

    def test_no_command(self):
        self.check('no command')
        self.check('no command', '', 'a')
        self.check('no command, but an empty word (is a variable unset?)',
                   ' \n', 'a')
        self.check('no command', '-q', '-f2')

    def test_jump_host_that_is_none(self):
        for words, gate in (
                ('-J needs the name', ''), ('-J needs the name', ' , '),
                ("bad host 'a,b[1-2]': 'b[1-2]' is a pattern", 'a,b[1-2]'),
                ("bad host 'a, b': ' b' holds white space", 'a, b'),
                ("bad host 'a;b' holds", 'a;b')):
            self.check(words, '-J', gate, 'true', 'a')
        for option in 'ProxyJump=b', 'proxycommand nc %h %p':
            self.check('-J goes without -O ' + option, '-J', 'a', '-O',
                       option, 'true', 'a')

    def test_end_on_the_host_with_input(self):
        self.check('-I goes without --end-remote: both need the stdin of '
                   'COMMAND', '-I', '--end-remote', 'cat', 'a')

    def test_list_with_what_is_for_a_run(self):
        for args in (['-S', self.path('x')], ['-E', self.path('x')],
                     ['--unreached', self.path('x')],
                     ['--pickle', self.path('x')], ['--shell'], ['-I']):
            self.check('goes without', '--list', 'a', *args)

    def test_word_in_place_of_a_number(self):
        for option, value in (('-f', '0'), ('-f', '-1'), ('--par', '1.5'),
                              ('-u', 'x'), ('-u', 'nan'), ('-u', 'inf'),
                              ('-u', ''), ('-t', '-1'), ('-t', '1.5'),
                              ('--retries', '-1'), ('--retries', 'x'),
                              ('--logins', '0'), ('--logins', '1.5'),
                              ('--max-output', '-1'), ('--max-output', '1T'),
                              ('--max-output', '')):
            self.check(option, option, value, 'true', 'a')
        for option, value, words in (
                ('-f', '9' * 20, 'is more than 2147483647'),
                ('-t', '600000h', "'600000h' is more than 2147483647"),
                ('-f', 'five', "'five' is not a whole number of at least 1"),
                ('-t', '-1', "'-1' is not a whole number of seconds, or a "
                             'time such as 90s, 5m or 2h;'),
                ('-u', '1d', "'1d' is not a number of seconds, or a time such "
                             'as 90s, 5m or 2h;'),
                ('--max-output', '9T', "'9T' is not a number of bytes such "
                                       'as 4096, 64K or 8M')):
            self.check(words, option, value, 'true', 'a')

    def test_unknown_option(self):
        for option in ('--nope', '-Z', '-5', '--fan-out', '--ssh=x --nope'):
            self.check(option.split()[-1], 'true', 'a', *option.split())
        self.check('-f', 'true', 'a', '-f')

    def test_ssh_that_is_not_there(self):
        self.check(self.path('none'), 'true', 'a', ssh=self.path('none'))
        self.check('no-such-ssh', 'true', 'a', ssh='no-such-ssh -4')
        self.check(self.directory, 'true', 'a', ssh=self.directory)
        self.check('--ssh', 'true', 'a', ssh=' ')
        self.check("--ssh 'ssh", 'true', 'a', ssh="'ssh")
        self.check('not executable', 'true', 'a',
                   ssh=write(self.path('plain'), '#!/bin/sh\n'))
        run_classh('true', 'a', env={'PATH': self.scratch()}).check(
            2, '', 'classh: ssh: not found, or not executable; --ssh names '
            'the ssh to run\n')

    def test_odd_character_makes_no_second_line(self):
        self.check('not found', 'true', 'a', ssh='a\\\nb')
        self.check('none: cannot read', 'true', self.path('a\nnone'))
        self.check('unknown option', 'true', '--x\ny', 'a')

    def test_host_that_cannot_be_reached_is_a_result_like_any_other(self):
        said = fake('-f1', 'true', 'noresolve', 'a').check(
            4, stdout=None, stderr='1 of 2 name unknown (is COMMAND quoted?): noresolve\n')
        self.assertIn('\na   0   (', said.stdout)

    def test_ssh_that_cannot_be_run_is_a_result_of_each_host(self):
        write(self.ssh, 'neither a script nor a program')
        said = run_classh('--ssh', self.ssh, 'true', 'a[1-2]').check(
            4, stdout=None, stderr=None)
        self.assertIn('a1   255   (0.0)   ssh could not be started: '
                      + self.ssh + ': Exec format error',
                      said.stdout)
        self.assertRegex(said.stderr, r'\A2 of 2 ssh could not be started'
                         r'.*: a\[1-2\]\n\Z')


class MainTest(TestCase):
    """main(), called by another program."""

    def test_streams_may_be_of_any_kind(self):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            statuses = [
                classh.main(['--list', 'a[1-2]']),
                classh.main(['--ssh', FAKE_SSH, 'echo x', 'a', 'exit3']),
                classh.main(['true', 'a['])]
        self.assertEqual(statuses, [0, 5, 2])
        self.assertIn('a1\na2\n', out.getvalue())
        self.assertIn('a   0   (#)\n  Output:\n\n  x\n\n',
                      masked(out.getvalue()))
        self.assertEqual(err.getvalue(), '1 of 2 exited with 3: exit3\n'
                         "classh: bad host 'a[': '[' is a bracket without "
                         'its other half\n')

    def test_output_of_the_calling_program_comes_first(self):
        start = 'import classh; print("x"); classh.main(["--list", "a"])'
        run([sys.executable, '-c', start],
            env={'PYTHONPATH': lib.MODULE, 'PYTHONUNBUFFERED': ''}).check(
                0, 'x\na\n')

    def test_sigchld_that_the_program_ignores_stays_so_and_loses_nothing(self):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGCHLD, before)
        self.assertEqual(classh.main(['-q', '--maxrc', '--ssh', FAKE_SSH,
                                      'true', 'exit7']), 7)
        self.assertIs(signal.getsignal(signal.SIGCHLD), signal.SIG_IGN)

    def test_cause_of_a_failure_is_in_words(self):
        err = io.StringIO()
        for error, words in (
                (OSError(errno.EPERM, 'Operation not permitted'),
                 'Operation not permitted'),
                (OSError(errno.ENOENT, 'No such file', '/x'),
                 '/x: No such file'), (MemoryError(), 'out of memory')):
            with contextlib.redirect_stderr(err):
                with mock.patch('classh._main', side_effect=error):
                    self.assertEqual(classh.main(['true', 'a']), 1)
            self.assertEqual(err.getvalue(), 'classh: %s\n' % words)
            err.seek(0)
            err.truncate()
