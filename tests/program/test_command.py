"""The command line, run as a process with the fake ssh in ssh's place."""

import contextlib
import errno
import io
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from unittest import mock

import lib
from lib import (ASCII, FAKE_SSH, SIGCHLD_BLOCKED, SIGCHLD_IGNORED, Command,
                 TestCase, after, classh_argv, leftovers, locales, processes,
                 run, run_classh, run_in_pty, text, wait_until)
import classh

SIGINT, SIGTERM, SIGHUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def argv(*args):
    return classh_argv('--ssh', FAKE_SSH, *args)


def start(*args, env=None, **options):
    """classh with the fake ssh, as a Command; a warning of Python's fails."""
    return Command(argv(*args), **options,
                   env=dict({'PYTHONWARNINGS': 'error'}, **(env or {})))


def fake(*args, **options):
    """start() to its end, a Run."""
    return start(*args, **options).finish()


def at_once(*argument_lists, **options):
    """fake() with each list of arguments; the Runs in the same order."""
    with contextlib.ExitStack() as stack:
        commands = [stack.enter_context(start(*args, **options))
                    for args in argument_lists]
        return [command.finish() for command in commands]


def masked(shown):
    """A report without the seconds in it."""
    return re.sub(r'\(\d+\.\d\)', '(#)', shown)


def elapsed(shown):
    """The seconds in a report."""
    return [float(found) for found in re.findall(r'\((\d+\.\d)\)', shown)]


@contextlib.contextmanager
def pipe_from(command_argv, blocking=True, **options):
    """A Command, and the end to read of the pipe that is its stdout."""
    reader, writer = os.pipe()
    with open(reader, 'rb', buffering=0) as pipe:
        try:
            os.set_blocking(writer, blocking)
            command = Command(command_argv, stdout=writer, **options)
        finally:
            os.close(writer)
        with command:
            yield command, pipe


def read_to_end(pipe, timeout=lib.WAIT_LIMIT):
    """All there is in *pipe*, as text; each part within *timeout*."""
    chunks = []
    while not chunks or chunks[-1]:
        if not select.select([pipe], [], [], timeout)[0]:
            raise AssertionError('the pipe stays open')
        chunks.append(pipe.read(1 << 16))
    return text(b''.join(chunks))


def write(path, content):
    with open(path, 'w') as file:
        file.write(content)
    return path


# -- What is shown -----------------------------------------------------------

class ReportTest(TestCase):
    def check(self, shown, *args):
        said = fake('-f1', *args)
        self.assertEqual(masked(said.stdout), shown, said)
        return said

    def test_is_as_designed(self):
        self.check('exit0   0   (#)\n'
                   '\n'
                   'web1   0   (#)\n'
                   '  Output:\n'
                   '\n'
                   '  on web1\n'
                   '  and more\n'
                   '\n'
                   'fail7   7   (#)\n'
                   '  Error:\n'
                   '\n'
                   '  err of fail7\n'
                   '\n'
                   '  Output:\n'
                   '\n'
                   '  out of fail7\n'
                   '\n'
                   'unreach   255   (#)   ssh failed\n'
                   '  Error:\n'
                   '\n'
                   '  ssh: connect to host unreach port 22: '
                   'Connection refused\n'
                   '\n'
                   'signal9   -9   (#)   ended by SIGKILL\n'
                   '\n'
                   'early   -15   (#)   timed out after 1 s\n'
                   '  Error:\n'
                   '\n'
                   '  err of early\n'
                   '\n'
                   '  Output:\n'
                   '\n'
                   '  out of early\n'
                   '\n',
                   '-u1', 'echo on $TARGET; echo and more', 'exit0', 'web1',
                   'fail7', 'unreach', 'signal9', 'early')

    def test_text_of_a_host_cannot_pass_for_a_line_of_ours(self):
        self.check('a   0   (#)\n'
                   '  Output:\n'
                   '\n'
                   '\n'
                   '  b   0   (#)\n'
                   '\n'
                   '    c\n'
                   '\n'
                   '\n',
                   r"printf '\nb   0   (#)\n\n  c\n\n'", 'a')

    def test_last_line_may_lack_its_newline(self):
        self.check('a   0   (#)\n  Output:\n\n  no end\n\n',
                   'printf "no end"', 'a')

    def test_hosts_are_shown_as_they_finish(self):
        directory = self.scratch()
        wait = 'while [ ! -e %s/$HOST ]; do sleep .02; done' % directory
        with Command(argv(wait, 'a', 'b')) as command:
            for host in 'ba':
                write(os.path.join(directory, host), '')
                wait_until(lambda: host + '   0 ' in command.stdout)
            said = command.finish().check(stdout=None)
        self.assertEqual(masked(said.stdout), 'b   0   (#)\n\na   0   (#)\n\n')

    def test_elapsed_time_is_that_of_the_job(self):
        said = fake('-f1', 'case $HOST in b) sleep 1;; esac', 'a', 'b', 'c')
        before, sleeper, after = elapsed(said.check(stdout=None).stdout)
        self.assertGreaterEqual(sleeper, 1.0, said)
        self.assertLessEqual(before + sleeper + after, said.seconds + .2, said)

    def test_bytes_go_unchanged_into_a_pipe_or_file(self):
        raw = (b'\033[2J\033]0;title\007red\033[31m\rover\b\302\233A\tend')
        wanted = 'escape   0   (#)\n  Output:\n\n  %s\n\n' % text(raw)
        self.check(wanted, 'true', 'escape')
        with pipe_from(argv('true', 'escape')) as (command, pipe):
            shown = read_to_end(pipe)
            command.finish().check()
        self.assertEqual(masked(shown), wanted)

    def test_output_beyond_the_limit_is_cut_and_the_report_says_so(self):
        said = fake('--max-output', '1K', 'true', 'loud', 'binary').check(
            stdout=None, stderr='1 of 2 printed more than 1K and was cut '
            '(--max-output): loud\n')
        self.assertIn('%s\n\n' % ('  Error:\n\n  ' + 'e' * 1024), said.stdout)
        self.assertIn('%s\n\n' % ('  Output:\n\n  ' + 'o' * 1024), said.stdout)
        self.assertEqual(
            re.findall(r'^\w.*', masked(said.stdout), re.MULTILINE),
            ['binary   0   (#)', 'loud   0   (#)   output cut at its limit'])

    def test_limit_on_output_has_units_and_0_is_none(self):
        kept = [7, 3072, 1 << 20, 1 << 20, 1 << 20]
        runs = at_once(*(['--max-output', size, 'true', 'loud']
                         for size in ('7', '3k', '1M', '1g', '0')))
        for count, shown, said in zip(kept, ['7 bytes', '3K', '', '', ''],
                                      runs):
            said.check(stdout=None, stderr=shown and '1 of 1 printed more '
                       'than %s and was cut (--max-output): loud\n' % shown)
            self.assertEqual([said.stdout.count('\n  %s\n' % (letter * count))
                              for letter in 'eo'], [1, 1], said)
            self.assertEqual('cut' in said.stdout, count < 1 << 20, said)


class SummaryTest(TestCase):
    def test_nothing_is_said_where_all_is_well(self):
        fake('echo x', 'a[1-5]').check(0, stdout=None, stderr='')

    def test_a_line_a_cause_with_the_hosts_folded_most_hosts_first(self):
        said = fake('-u3', 'case $HOST in web3|web17) exit 7;; esac', 'slow1',
                    'web[1-20]', 'unreach[1-2]', 'noresolve1', 'signal9x',
                    'exit8')
        self.assertEqual(said.check(3, stdout=None, stderr=None)
                         .stderr.split('\n')[0],
                         '3 of 26 ssh failed: noresolve1,unreach[1-2]', said)
        self.assertEqual(sorted(said.stderr.splitlines()), [
            '1 of 26 ended by SIGKILL: signal9x',
            '1 of 26 exited with 8: exit8',
            '1 of 26 timed out: slow1',
            '2 of 26 exited with 7: web[3,17]',
            '3 of 26 ssh failed: noresolve1,unreach[1-2]'], said)

    def test_every_host_is_in_the_report_and_failed_ones_in_the_summary(self):
        said = fake('exit ${HOST#web}', 'web[0-120]')
        said.check(5, stdout=None, stderr=None)
        shown = re.findall(r'^web(\d+)   (\d+)   \(', said.stdout,
                           re.MULTILINE)
        self.assertEqual(sorted(int(number) for number, _ in shown),
                         list(range(121)))
        self.assertEqual([number for number, _ in shown],
                         [status for _, status in shown])
        self.assertEqual(sorted(said.stderr.splitlines()), sorted(
            '1 of 121 exited with %d: web%d' % (n, n) for n in range(1, 121)))


class ExitStatusTest(TestCase):
    def setUp(self):
        super().setUp()
        self.started = []

    def check(self, status, *hosts, options=()):
        """Known when the test has done its part: all run at once."""
        command = start('-q', *(tuple(options) + ('true',) + hosts))
        self.addCleanup(command.__exit__)
        self.started.append((status, command))

    def tearDown(self):
        for status, command in self.started:
            command.finish().check(status)
        super().tearDown()

    def test_tells_the_gravest_outcome(self):
        self.check(0, 'a', 'exit0')
        self.check(5, 'a', 'exit1')
        self.check(5, 'exit254')
        self.check(4, 'a', 'exit9', 'unreach')
        self.check(4, 'exit255')            # nobody can tell it from ssh's
        self.check(3, 'unreach', 'signal9', 'exit9', 'a')
        self.check(3, 'slow', 'unreach', 'exit9', options=['-u.1'])
        # Some ssh that, sent SIGTERM, makes the best of it.
        self.check(3, 'polite', options=['-u.5'])

    def test_trouble_of_our_own_is_graver(self):
        with open('/dev/full', 'w') as full:
            fake('true', 'exit9', 'signal9', stdout=full).check(
                1, stdout='', stderr=None)

    def test_maxrc_is_the_largest_remote_status(self):
        self.check(0, 'a', 'b', options=['--maxrc'])
        self.check(7, 'exit3', 'exit7', 'exit0', options=['--maxrc'])
        self.check(254, 'exit254', 'exit7', options=['--maxrc'])
        self.check(255, 'exit3', 'unreach', options=['--maxrc'])
        self.check(255, 'exit3', 'signal9', options=['--maxrc'])
        self.check(255, 'exit3', 'slow', options=['--maxrc', '-u.1'])

    def test_more_failures_than_a_status_can_count_are_no_success(self):
        self.check(5, 'exit1-[1-256]')
        self.check(1, 'exit1-[1-256]', options=['--maxrc'])


# -- Options -----------------------------------------------------------------

class OptionTest(TestCase):
    def ssh_arguments(self, *args):
        """What ssh is given for host args1 and the command 'cmd'."""
        said = fake(*(args + ('cmd', 'args1')))
        return said.check(stdout=None).stdout.split('\n')[3:-2]

    def assert_runs(self, hosts, *argument_lists):
        """With each of these arguments so many hosts run."""
        for said in at_once(*(['--progress'] + list(args)
                              for args in argument_lists)):
            said.check(stdout='', stderr='.' * hosts + '\n')

    def test_quiet_shows_nothing(self):
        fake('-q', 'echo x; echo y >&2', 'a', 'fail3').check(5, '', '')
        fake('--quiet', 'true', 'a').check(0, '', '')

    def test_progress_is_a_mark_a_host_in_place_of_the_report(self):
        fake('-f1', '--progress', '-u2', 'echo x', 'a', 'fail3', 'unreach',
             'b', 'slow').check(
                 3, stdout='', stderr='.?~.!\n'
                 '1 of 5 exited with 3: fail3\n'
                 '1 of 5 ssh failed: unreach\n'
                 '1 of 5 timed out: slow\n')

    def test_timeout_of_0_or_less_is_none(self):
        for said in at_once(*(['-u', limit, '-q', 'sleep .2', 'a']
                              for limit in ('0', '-1', '0.0'))):
            said.check()

    def test_timeout_may_be_a_fraction(self):
        fake('-q', '--timeout', '.1', 'true', 'slow').check(3)

    def test_fanout_bounds_what_runs_at_once(self):
        log = os.path.join(self.scratch(), 'log')
        for option in (['-f3'], ['-p', '3'], ['--fanout=3'], ['--par', '3']):
            fake('-q', *(option + ['sleep .02', 'a[1-12]']),
                 env={'FAKE_SSH_LOG': log}).check()
            started, most = lib.read_log(log)
            self.assertEqual((len(started), most), (12, 3))
            os.remove(log)

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
        fake('-q', '-OA=1', '-xb', '-u1', '--max-output=1K', '--maxrc',
             'true', 'a[1-2],b', env={'PYTHONDEVMODE': '1'}).check()


class HelpTest(TestCase):
    def setUp(self):
        super().setUp()
        self.shown = run_classh('-h').check(stdout=None).stdout

    def test_fits_a_screen_or_two(self):
        lines = self.shown.split('\n')
        self.assertLessEqual(len(lines), 60, self.shown)
        for line in lines:
            self.assertLessEqual(len(line), 80, line)

    def test_long_name_says_the_same(self):
        for said in at_once(['--help'], ['uptime', 'web1', '-h']):
            said.check(stdout=self.shown)

    def test_options_come_in_groups_with_their_defaults(self):
        groups = re.split(r'^(which hosts|how to run|results):\n', self.shown,
                          flags=re.MULTILINE)
        self.assertEqual(groups[1::2],
                         ['which hosts', 'how to run', 'results'])
        for group, options in zip(groups[2::2], (
                '-x --exclude --noexpand --list',
                '-f --fanout -p --par -u --timeout -t --connect-timeout '
                '-l --user -O --ssh-option --ssh',
                '-q --quiet --progress --max-output --maxrc -h -V')):
            for option in options.split():
                self.assertRegex(group, r'(^|[ ,])%s\b' % option)
        words = ' '.join(self.shown.split())
        for default in (r'-f\b[^(]* jobs at once \(100\)',
                        r'-u\b[^(]* seconds [^(]*\(300; 0',
                        r'-t\b[^(]* seconds [^(]*\(10; 0',
                        r'--ssh COMMAND [^(]*\(ssh\)',
                        r'--max-output BYTES [^(]*\(8M; 0'):
            self.assertRegex(words, default)

    def test_ends_with_the_exit_statuses_and_three_examples(self):
        status, examples = self.shown.split('\nEXIT STATUS\n')[1].split(
            '\nEXAMPLES\n')
        for number in (0, 1, 2, 3, 4, 5, 130, 143):
            self.assertRegex(status, r'\b%d\b' % number)
        examples = examples.strip('\n').split('\n')
        self.assertEqual(len(examples), 3)
        directory = self.scratch()
        write(os.path.join(directory, 'all-hosts'), 'a1\nweb13\n')
        for example in examples:
            words = shlex.split(example)
            self.assertEqual(words.pop(0), 'classh')
            run_classh('--ssh=true', *words, cwd=directory).check(
                stdout=None)

    def test_version_is_that_of_the_module(self):
        for said in at_once(['-V'], ['--version']):
            said.check(stdout='classh %s\n' % classh.__version__)

    def test_module_may_be_run_by_name(self):
        run([sys.executable, '-m', 'classh', '--ssh', FAKE_SSH, '-q',
             'exit 3', 'a'], cwd=self.scratch(),
            env={'PYTHONPATH': lib.ROOT}).check(5)


# -- What is refused ---------------------------------------------------------

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

    def test_what_would_be_started_leaves_a_trace(self):
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
        for args in ([], [''], [','], [empty], ['a', '-x', 'a'],
                     ['a[1-3],b', '-x', 'b,a[0-9]'], ['--', '']):
            self.check('no hosts', 'true', *args)
        self.check('no hosts', '--list')
        self.check('no hosts', '--list', 'a', '-xa')

    def test_no_command(self):
        self.check('no command')
        self.check('no command', '', 'a')
        self.check('no command', ' \n', 'a')
        self.check('no command', '-q', '-f2')

    def test_list_with_what_is_for_a_run(self):
        for args in (['-S', self.path('x')], ['-E', self.path('x')],
                     ['--pickle', self.path('x')], ['--shell'], ['-I']):
            self.check('goes without', '--list', 'a', *args)

    def test_number_that_is_none(self):
        for option, value in (('-f', '0'), ('-f', '-1'), ('--par', '1.5'),
                              ('-u', 'x'), ('-u', 'nan'), ('-u', 'inf'),
                              ('-u', ''), ('-t', '-1'), ('-t', '1.5'),
                              ('--max-output', '-1'), ('--max-output', '1T'),
                              ('--max-output', '')):
            self.check(option, option, value, 'true', 'a')
        for option, value, words in (
                ('-f', 'five', "'five' is not a whole number of at least 1"),
                ('-t', '-1', "'-1' is not a whole number of at least 0"),
                ('-u', 'x', "'x' is not a number;"),
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
            2, '', 'classh: ssh: not found, or not executable\n')

    def test_what_is_odd_in_it_makes_no_second_line(self):
        self.check('not found', 'true', 'a', ssh='a\\\nb')
        self.check('none: cannot read', 'true', self.path('a\nnone'))
        self.check('unknown option', 'true', '--x\ny', 'a')

    def test_host_that_cannot_be_reached_is_a_result_like_any_other(self):
        said = fake('-f1', 'true', 'noresolve', 'a').check(
            4, stdout=None, stderr='1 of 2 ssh failed: noresolve\n')
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


# -- Where it goes -----------------------------------------------------------

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
                       env={'PYTHONPATH': lib.ROOT})
            said.check(status, None, None)
            self.assertIn(problem, said.stdout + said.stderr)
            self.assertNotIn('Traceback', said.stderr, said)

    def test_stdin_that_never_ends_holds_nobody_up(self):
        with Command(argv('cat', 'a', 'reader'),
                     stdin=subprocess.PIPE) as command:
            wait_until(lambda: command.stdout.count('(') == 2)
            command.finish().check(stdout=None)

    def test_stdin_is_left_to_who_else_reads_it(self):
        loop = 'while read -r host; do "$@" "$host" || exit; done'
        said = run(['sh', '-c', loop, 'sh'] + argv('cat'),
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
        with pipe_from(argv(wait, 'outloud', 'a[1-9]'), blocking,
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
        with pipe_from(argv(*args)) as (command, pipe):
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
            line = ' '.join(map(shlex.quote, argv(*args)))
            said = run(['sh', '-c', line + ' | head -n1']).check(stdout=None)
            self.assertEqual(said.stdout.count('\n'), 1, said)


class TerminalTest(TestCase):
    def shown(self, *args, **options):
        said = run_in_pty(argv(*args), **options)
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
                                before='exec <%s >%s' % (tty, tty))
                with command:
                    wait_until(lambda: any('sleep 60' in line
                                           for _, line in leftovers()))
                    shown = b''
                    while b'exit0   0' not in shown:
                        self.assertTrue(select.select(
                            [terminal], [], [], lib.WAIT_LIMIT)[0], shown)
                        shown += terminal.read(1 << 16)
                    terminal.close()
                    command.finish().check(
                        128 + SIGHUP,
                        stderr='2 of 3 stopped: slow[1-2]\n'
                        'classh: stdout: Input/output error\n')
            finally:
                os.close(slave)

    def test_ssh_cannot_ask_on_it(self):
        said = run_in_pty(argv('true', 'tty'))
        self.assertEqual(said.status, 4, said)
        self.assertIn('no terminal to ask on', said.stdout)
        self.assertNotIn('password', said.stdout)


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
            with pipe_from(argv('true', 'binary'), env=env) as (command, pipe):
                shown = read_to_end(pipe)
                command.finish().check()
            self.assertEqual(masked(shown), self.HEAD % text(self.RAW))

    def test_bytes_are_shown_escaped_on_a_terminal(self):
        for env in self.each():
            said = run_in_pty(argv('true', 'binary'), env=env)
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


# -- How it ends -------------------------------------------------------------

class LimitTest(TestCase):
    def test_limit_holds_for_every_host_in_every_output_mode(self):
        # All at once, for each takes its time.
        command = 'echo before; exec sleep 60'
        modes = [([], 3), (['-q'], 3), (['--progress'], 3),
                 (['--maxrc'], 255), (['-q', '--maxrc'], 255)]
        with contextlib.ExitStack() as stack:
            started, pipes = [], []
            for fanout in ('-f1', '-f3'):
                options = [fanout, '-u1', command, 'a[1-3]']
                for mode, status in modes:
                    started.append((mode, status, stack.enter_context(
                        Command(argv(*(options + mode))))))
                piped, pipe = stack.enter_context(pipe_from(argv(*options)))
                started.append((['> pipe'], 3, piped))
                pipes.append(pipe)
            for fanout in ('-f3', '-f1'):
                said = run_in_pty(argv(fanout, '-u1', command, 'a[1-3]'))
                self.assertEqual(said.status, 3, said)
                self.check_report(said.stdout.replace('\r\n', '\n'))
            for pipe in pipes:
                self.check_report(read_to_end(pipe))
            for mode, status, running in started:
                self.check_mode(mode, status, running.finish())

    def check_mode(self, mode, status, said):
        said.check(status, stdout=None, stderr=None)
        summary = '3 of 3 timed out: a[1-3]\n'
        self.assertEqual(said.stderr, '' if '-q' in mode else
                         '!!!\n' + summary if '--progress' in mode
                         else summary, said)
        if mode in ([], ['--maxrc']):
            self.check_report(said.stdout)
        else:
            self.assertEqual(said.stdout, '', said)

    def check_report(self, shown):
        for host in ('a1', 'a2', 'a3'):
            self.assertIn(host + '   -15   (#)   timed out after 1 s\n'
                          '  Output:\n\n  before\n', masked(shown))
        for seconds in elapsed(shown):
            self.assertGreaterEqual(seconds, 1.0)

    def test_the_others_are_not_held_up(self):
        said = fake('-f2', '-u3', 'true', 'slow', 'a[1-20]', 'unreach')
        said.check(3, stdout=None, stderr='1 of 22 ssh failed: unreach\n'
                   '1 of 22 timed out: slow\n')
        self.assertRegex(said.stdout.split('\n\n')[-2], r'^slow   -15', said)


class SignalTest(TestCase):
    def stopped_by(self, number, *args, shown='exit0   0', **options):
        """Run; when *shown* shows and the slow hosts run, send a signal."""
        with Command(argv(*args), **options) as command:
            wait_until(lambda: shown in command.stdout)
            wait_until(lambda: any('sleep 60' in line
                                   for _, line in leftovers()))
            command.signal(number)
            return command.finish()

    def test_what_finished_is_reported_and_nobody_left(self):
        for number, status in (SIGINT, 130), (SIGTERM, 143), (SIGHUP, 129):
            said = self.stopped_by(number, 'true', 'exit0', 'slow[1-2]')
            said.check(status, stdout=None,
                       stderr='2 of 3 stopped: slow[1-2]\n')
            self.assertEqual(
                sorted(masked(said.stdout).strip().split('\n\n')),
                ['exit0   0   (#)', 'slow1   -15   (#)   stopped',
                 'slow2   -15   (#)   stopped'], said)

    def test_hosts_not_started_are_named_or_at_least_counted(self):
        said = self.stopped_by(SIGINT, '-f1', 'true', 'exit0', 'slow[1-12]')
        said.check(130, stdout=None,
                   stderr='1 of 2 stopped: slow1\n'
                   '11 not started: slow[2-12]\n')
        self.stopped_by(SIGINT, '-f1', 'true', 'exit0',
                        'slow[1-999999999]').check(
            130, stdout=None,
            stderr='1 of 2 stopped: slow1\n%d or more not started\n'
            % classh.EXPANSION_LIMIT)

    def test_quiet_run_ends_quietly(self):
        with Command(argv('-q', 'true', 'slow[1-3]')) as command:
            wait_until(lambda: len([line for _, line in leftovers()
                                    if 'sleep 60' in line]) == 3)
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
                     env={'PYTHONPATH': lib.ROOT}) as command:
            for sign in ('ready', 'heard'):
                wait_until(lambda: os.path.exists(directory + '/' + sign))
                command.signal(SIGINT)
            said = command.finish()
        said.check(130, stdout=None, stderr='1 of 1 stopped: a\n')
        self.assertEqual(masked(said.stdout), 'a   -9   (#)   stopped\n\n')

    def test_ctrl_c_on_a_terminal(self):
        said = run_in_pty(argv('true', 'exit0', 'slow[1-2]'),
                          [('exit0   0', '\x03')])
        self.assertEqual(said.status, 130, said)
        self.assertIn('2 of 3 stopped: slow[1-2]\r\n', said.stdout)
        self.assertNotIn('Traceback', said.stdout)

    def test_ctrl_c_ends_a_list(self):
        said = run_in_pty(argv('--list', 'n[0-99999999999]'),
                          [('n5\r\n', '\x03')])
        self.assertEqual(said.status, 130, said)
        self.assertNotIn('Traceback', said.stdout)

    def test_signal_that_is_ignored_stays_ignored(self):
        for number in SIGHUP, SIGINT, SIGTERM:
            go = os.path.join(self.scratch(), 'go')
            wait = 'while [ ! -e %s ]; do sleep .02; done' % go
            with Command(argv(wait, 'exit0', 'a'), before="trap '' %s"
                         % number.name[3:]) as command:
                wait_until(lambda: 'exit0   0' in command.stdout)
                command.signal(number)
                write(go, '')
                said = command.finish().check(stdout=None)
            self.assertIn('\na   0   (', said.stdout)

    def test_nohup_keeps_it_running(self):
        go = os.path.join(self.scratch(), 'go')
        wait = 'while [ ! -e %s ]; do sleep .02; done' % go
        with Command(['nohup'] + argv(wait, 'exit0', 'a')) as command:
            wait_until(lambda: 'exit0   0' in command.stdout)
            command.signal(SIGHUP)
            write(go, '')
            command.finish().check(stdout=None, stderr=None)

    def test_no_status_is_lost_where_sigchld_is_ignored_or_blocked(self):
        for change in SIGCHLD_IGNORED, SIGCHLD_BLOCKED:
            said = run(after(change, argv('-f2', 'true', 'exit7', 'a[1-3]')))
            said.check(5, stdout=None, stderr='1 of 4 exited with 7: exit7\n')


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

    def test_what_the_program_has_printed_comes_first(self):
        start = 'import classh; print("x"); classh.main(["--list", "a"])'
        run([sys.executable, '-c', start],
            env={'PYTHONPATH': lib.ROOT, 'PYTHONUNBUFFERED': ''}).check(
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


class ManyTest(TestCase):
    def test_a_thousand_hosts_give_a_thousand_results(self):
        log = os.path.join(self.scratch(), 'log')
        said = fake('-f20', 'exit $((${HOST#n} % 7))', 'n[1-1000]',
                    env={'FAKE_SSH_LOG': log})
        said.check(5, stdout=None, stderr=None)
        shown = re.findall(r'^n(\d+)   (\d)   \(', said.stdout, re.MULTILINE)
        self.assertEqual(len(shown), 1000)
        self.assertEqual({number: status for number, status in shown},
                         {str(n): str(n % 7) for n in range(1, 1001)})
        started, most = lib.read_log(log)
        self.assertEqual(sorted(started),
                         sorted('n%d' % n for n in range(1, 1001)))
        self.assertLessEqual(most, 20)

    def test_few_descriptors_mean_fewer_jobs_and_one_warning(self):
        gate = os.path.join(self.scratch(), 'gate')
        wait = 'until [ -e %s ]; do sleep .01; done; echo x' % gate
        with Command(classh_argv('--ssh', FAKE_SSH, '-f100', wait, 'a[1-100]'),
                     before='ulimit -n 40') as command:
            wait_until(lambda: command.stderr)
            write(gate, '')
            said = command.finish().check(0, stdout=None, stderr=None)
        self.assertEqual(said.stdout.count('  x\n'), 100)
        self.assertRegex(said.stderr, r'\Aclassh: no room for 100 jobs at '
                         r'once, running fewer: [^\n]+\n\Z', said)
