"""What is said of a command line that was typed wrong."""

import base64
import contextlib
import hmac
import io
import os
import re
import shlex
import tempfile
import unittest
from unittest import mock

import classh
from classh import UsageError


class OptionMessageTest(unittest.TestCase):
    def said(self, *argv):
        with self.assertRaises(UsageError, msg=argv) as caught:
            classh._parse_arguments(list(argv))
        return str(caught.exception)

    def test_options_that_the_hints_name_exist(self):
        known = {name for _, names, *_ in classh._EACH_OPTION
                 for name in names}
        for name, hint in classh._ELSEWHERE.items():
            self.assertNotIn(name, known)
            hint = hint.replace("'ssh -v'", '')
            self.assertLessEqual(
                set(re.findall(r'(?<!\w)--?[A-Za-z][\w-]*', hint)), known)

    def test_option_of_another_tool_has_a_hint(self):
        for word in '-w', '-wweb1', '-qw', '-H', '--hosts=web1':
            name = '-w' if 'w' in word[:3] else word.partition('=')[0]
            self.assertEqual(
                self.said(word, 'web1', 'uptime'), 'unknown option %s: '
                'hosts, or a ./FILE of them, stand behind COMMAND' % name)

        for word in '--out', '--output=logs':
            self.assertIn('a directory by -S DIR/ ',
                          self.said(word, 'x', 'web1'))

    def test_option_that_is_like_another_has_its_name(self):
        for word, near in (
                ('--jornal', '--journal'), ('--retry=3', '--retries'),
                ('--time-out', '--timeout'), ('--colour', '--color'),
                ('--conn', '--connect-timeout'), ('-gather', '--gather'),
                ('-list', '--list'), ('-user', '--user')):
            self.assertEqual(
                self.said(word, 'x', 'web1'), 'unknown option %s (did you '
                'mean %s?)' % (word.partition('=')[0], near))
        for word in '-5', '--qqqq', '--', '-Z':
            word += '=' * (word == '--')
            self.assertEqual(self.said(word), 'unknown option %s; see '
                             'classh -h' % word.rstrip('='))

    def test_option_of_ssh_is_a_key_and_a_value(self):
        for word in 'BatchMode', '-o Port=22', 'Port=', 'Port ', '=22':
            self.assertEqual(
                self.said('-O', word, 'x', 'web1') if word[0] != '-' else
                self.said('-O' + word, 'x', 'web1'),
                "-O/--ssh-option: %r is not KEY=VALUE; see classh -h" % word)
        for word in 'Port=22', ' Port = 22', 'Port 22', 'ProxyCommand nc %h':
            self.assertEqual(classh._parse_arguments(
                ['-O', word])[0].ssh_option, [word])

    def test_value_of_an_option(self):
        for argv, message in (
                (['--first'], '--first needs a value: --first N'),
                (['x', '-f'], '-f/--fanout/-p/--par needs a value: -f N'),
                (['--completion'], '--completion needs a value: bash, zsh, '
                                   'fish'),
                (['--color=yes'], "--color: 'yes' is not one of auto, always, "
                                  'never'),
                (['-t', 'x'], "-t/--connect-timeout: 'x' is not a whole "
                              'number of seconds, or a time such as 90s, 5m '
                              'or 2h'),
                (['-uroot'], "-u/--timeout: 'root' is not a number of "
                             'seconds, or a time such as 90s, 5m or 2h; -l is '
                             'the remote user'),
                (['--diff=x'], '--diff takes no value'),
                (['-q=1'], '-q takes no value'),
                (['-qP4'], '-P takes no value')):
            self.assertEqual(self.said(*argv), message + '; see classh -h')

    def test_host_and_command_that_are_swapped(self):
        for command, hosts, is_told in (
                ('web1', ['ls'], True), ('./none', ['ls', 'b'], True),
                ('web[1-3]', ['ls'], True), ('[1', ['a'], False),
                ('ls', ['web1'], False), ('web1', ['web2', 'ls'], False),
                ('ls', ['env'], False), ('cd', ['ls'], False),
                ('web1 x', ['ls'], False), ('web1', [os.devnull], False)):
            warnings = []
            classh._warn_if_swapped(command, hosts, warnings.append)
            self.assertEqual(warnings, [
                '%s is taken for a host, but is a program; COMMAND stands '
                'first: classh %s %s' % (hosts[0], hosts[0],
                                         shlex.quote(command))
            ] * is_told)

    def test_what_is_no_command(self):
        for argv, message in (
                (['^hosts', 'ls'], '^hosts is no command; hosts stand behind '
                                   'COMMAND, a file of them as ./hosts'),
                (['^/x/y', 'ls'], '^/x/y is no command; hosts stand behind '
                                  'COMMAND, a file of them as /x/y'),
                (['@web', 'ls'], '@web is no command; a group stands behind '
                                 'COMMAND'),
                (['-q', 'help'], 'no hosts are named; did you mean classh '
                                 '-h?'),
                (['version'], 'no hosts are named; did you mean classh -V?')):
            options, (command, *_) = classh._parse_arguments(argv)
            with self.assertRaises(UsageError) as caught:
                classh._check_command(command, options, argv)
            self.assertEqual(str(caught.exception), message)
        for argv in ['help', 'web1'], ['version', 'a']:
            classh._check_command(argv[0], classh._parse_arguments(argv)[0],
                                  argv)

    def test_value_that_stands_in_the_place_of_a_command(self):
        for line, message in (
                ('-f 10 20', '20 is no command; -f has its value, 10'),
                ('-qf 10 20', '20 is no command; -qf has its value, 10'),
                ('--fanout=10 20', '20 is no command; --fanout has its '
                                   'value, 10'),
                ('-P 10', '10 is no command; -P takes no value'),
                ('--confirm 5', '5 is no command; a value of --confirm is '
                                'written --confirm=5'),
                ('--max-fail 5 %', '% is no command; the value of --max-fail '
                                   'is one word: --max-fail 5%'),
                ('-qu 5 m', 'm is no command; the value of -qu is one word: '
                            '-qu 5m'),
                ('--timeout=60 seconds', 'seconds is no command; the value '
                 'of --timeout is one word: --timeout=60s'),
                ('--max-output 10 MB', 'MB is no command; the value of '
                 '--max-output is one word: --max-output 10M')):
            *before, command = line.split()
            with self.assertRaises(UsageError, msg=line) as caught:
                classh._check_value(command, line.split() + ['ls', 'web1'])
            self.assertEqual(str(caught.exception), message)
        for line in ('-u 5 md5sum', '-l 5 x', '-P m', '-x m s', '-b x',
                     '-f 10 minikube', '-f 10 secrets'):
            *before, command = line.split()
            classh._check_value(command, line.split() + ['web1'])

    def test_dash_or_quotes_of_a_word_processor(self):
        for line, message in (
                ('\u2013b uptime web1', "'\u2013b' holds U+2013 EN DASH, which "
                                        "is not '-'"),
                ('-b \u2212u 5 ls web1', "'\u2212u' holds U+2212 MINUS SIGN, "
                                         "which is not '-'"),
                ('-b \u201cdf -h\u201d web1', "'\u201cdf' holds U+201C LEFT "
                 'DOUBLE QUOTATION MARK; a shell takes \' and " as quotes')):
            with self.assertRaises(UsageError) as caught:
                classh._check_typography(line.split())
            self.assertEqual(str(caught.exception), message)
        classh._check_typography(['echo \u2013b', 'web1'])
        classh._check_typography([])

    def test_question_whether_a_command_is_quoted(self):
        for line, question in (
                ('ls -l web1', "; is COMMAND quoted?  classh 'ls -l' web1"),
                ('-q ls -Z a web1',
                 "; is COMMAND quoted?  classh -q 'ls -Z a' web1"),
                ('ls -Z web1 web02 web3',
                 "; is COMMAND quoted?  classh 'ls -Z' web1 web02 web3"),
                ('kill -Z 123 124',
                 "; is COMMAND quoted?  classh 'kill -Z 123' 124"),
                ('ls -Z', '; is COMMAND quoted?'), ('ls web1', ''),
                ('-Z ls a web1', ''), ('--list ls -Z a', ''),
                # The hosts of -x and --only are at fault.
                ('ls web1 -x ./none', ''), ('ls web1 --only @none', ''),
                ('ls web1 --only=@none', ''), ('ls web1 web2 -x@none', ''),
                ('ls -x ./none', "; is COMMAND quoted?  classh 'ls -x' "
                                 './none')):
            self.assertEqual(classh._quoting_question(line.split()),
                             question, line)

    def test_question_comes_before_what_another_tool_means(self):
        for line, message in (
                ('uname -r web1', "unknown option -r; is COMMAND quoted?  "
                 "classh 'uname -r' web1  (or: files are copied by "
                 'examples/push and examples/pull)'),
                ('-r uname web1', 'unknown option -r: files are copied by '
                 'examples/push and examples/pull'),
                ('uname -Z web1', 'unknown option -Z; see classh -h; is '
                 "COMMAND quoted?  classh 'uname -Z' web1")):
            with self.assertRaises(UsageError) as caught:
                with classh._asking_for_quotes(line.split()):
                    classh._parse_arguments(line.split())
            self.assertEqual(str(caught.exception), message)

    def test_script_that_hosts_do_not_have(self):
        with tempfile.TemporaryDirectory() as directory:
            path = directory + '/it'
            for first, shell in (
                    ('#!/bin/sh\n', 'sh -s'), ('#! /bin/bash -e\n', 'bash -s'),
                    ('#!/usr/bin/env python3\n', 'python3 -'),
                    ('#!/usr/bin/perl -w\n', 'perl -'), ('echo\n', None),
                    ('#!/usr/bin/env -S python3 -u\n', 'python3 -'),
                    ('#!/usr/bin/awk -f\n', None), ('#!C:\\x\n', None),
                    ('', None), ('#!\n', None)):
                with open(path, 'w') as file:
                    file.write(first + 'exit\n')
                for command in path, path + ' a b':
                    self.assertEqual(
                        classh._script_hint(command), shell and
                        "%s is here: -I '%s' <%s" % (path, shell, path) or '')
            os.rename(path, path + '.sh')       # with a '#!' and no name
            self.assertEqual(classh._script_hint(path + '.sh a'),
                             "%s.sh is here: -I 'sh -s' <%s.sh" % (path, path))
            os.mkfifo(path)             # which nobody writes to
            for command in path, directory, 'nonexistent', 'ls':
                self.assertEqual(classh._script_hint(command), '')

    def test_what_was_stopped_may_run_on(self):
        for argv, hint in (
                ([], 'may run on there; --end-remote'),
                (['-I'], 'may run on there'), (['--end-remote'], ''),
                (['--exec'], '')):
            run = mock.Mock(_options=classh._parse_arguments(argv)[0])
            self.assertEqual(classh.Run._summary_hint(run, 'stopped', ['h']),
                             hint)

    def test_name_that_is_not_known(self):
        with tempfile.TemporaryDirectory() as groups:
            os.mkdir(groups + '/gate')
            with open(groups + '/web', 'w'), mock.patch.dict(
                    os.environ, CLASSH_GROUPS=groups):
                for host, hint in (
                        ('web01-web05', 'a range is written web[01-05]'),
                        ('web1-5', 'a range is written web[1-5]'),
                        ('web1..5', 'a range is written web[1-5]'),
                        ('10.0.0.1-10.0.0.9',
                         'a range is written 10.0.0.[1-9]'),
                        ('10.0.0.1-9', 'a range is written 10.0.0.[1-9]'),
                        ('web', 'a group is written @web'),
                        ('all', 'a group is written @all'),
                        ('gate', ''), ('web1-db5', ''), ('web-1', ''),
                        ('db1', ''), ('1-2', ''),
                        ('ip-10-0-0-5', ''), ('app-10-3', ''),
                        ('db-2023-01', '')):
                    self.assertEqual(classh._name_hint('a b', ['h', host]),
                                     hint, host)


class WordsTest(unittest.TestCase):
    """Words that are no mistake each for itself."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.hosts = directory.name + '/hosts'
        with open(self.hosts, 'w') as file:
            file.write('web1\n')
        os.mkdir(directory.name + '/.ssh')
        with open(directory.name + '/.ssh/config', 'w') as file:
            file.write('Host web1 web2\n')
        salt = b'0123456789abcdefghij'
        with open(directory.name + '/.ssh/known_hosts', 'w') as file:
            file.write('db1,db2 ssh-ed25519 AAAA\n')
            for name in b'hash1', b'env':
                file.write('|1|%s|%s ssh-ed25519 AAAA\n' % tuple(
                    base64.b64encode(part).decode() for part in (
                        salt, hmac.new(salt, name, 'sha1').digest())))
        home = mock.patch.dict(os.environ, HOME=directory.name)
        home.start()
        self.addCleanup(home.stop)

    def check(self, line, message=None):
        """Check that *line*, with {} for a file of hosts, is refused with
        *message*, with {} likewise; None: that it is not."""
        argv = shlex.split(line.replace('{}', self.hosts))
        options, operands = classh._parse_arguments(argv)
        command = '' if options.list or options.shell else operands.pop(0)
        try:
            classh._check_words(command, operands, options, argv)
            said = None
        except UsageError as error:
            said = str(error)
        self.assertEqual(said, message and message.replace('{}', self.hosts),
                         line)

    def test_host_that_is_known_is_no_command(self):
        wrong = ('%s is no program here, and %s is one; COMMAND stands '
                 'first: classh %s')
        for line, *words in (
                ('web1 ls', 'web1', 'ls', 'ls web1'),
                ('-b db2 ls -u 5', 'db2', 'ls', '-b ls db2 -u 5'),
                ('hash1 -- ls', 'hash1', 'ls', 'ls hash1'),
                ('bob@web1:22 ls x', 'bob@web1:22', 'ls',
                 "'ls x' bob@web1:22"),
                ("'web[1-9]' ls", 'web[1-9]', 'ls', "ls 'web[1-9]'"),
                ('web2,x ls web1', 'web2,x', 'ls', 'ls web2,x web1'),
                ('web1 x ls', 'web1', 'ls', 'ls web1 x'),
                ('{} ls', '{}', 'ls', 'ls {}'),
                ("web1 'ls -l'", 'web1', 'ls', "'ls -l' web1"),
                # Not known, but where could 'ls -l' be a host?
                ("x 'ls -l'", 'x', 'ls', "'ls -l' x"),
                ("x y z 'ls -l'", 'x', 'ls', "'ls -l' x y z")):
            self.check(line, wrong % tuple(words))
        for line in ('x ls', 'web3 ls', 'web1 web2', 'web1 env', 'ls web1',
                     'cd web1', 'ls env', '/none ls', "'web1 x' ls",
                     "'x;y' ls", "x y 'ls -l' web1"):
            self.check(line)
        with mock.patch('subprocess.call', side_effect=BlockingIOError):
            self.check('web1 ls')
        with open(os.environ['HOME'] + '/.ssh/config', 'a') as file:
            file.write('Host ls\n')
        self.check('web1 ls')

    def test_host_that_is_known_may_have_the_name_of_a_program(self):
        options, _ = classh._parse_arguments(['x', 'env'])
        for host, count in ('env', 0), ('ls', 1):
            warnings = []
            classh._warn_of_words('x', [host], options, warnings.append)
            self.assertEqual(len(warnings), count, host)

    def test_value_that_needs_a_sign(self):
        wrong = ('out is no program here, and ls is one; a value of %s is '
                 'written %s=out')
        for line in '--json out ls web1', "-b --json out 'ls -l' web1":
            self.check(line, wrong % ('--json', '--json'))
        self.check('--sudo out ls web1', wrong % ('--sudo', '--sudo'))
        os.chmod(self.hosts, 0o700)     # as all files of a FAT are
        for line in ('--json ls web1', '--json out web1', '--json=out ls a',
                     '--bad out ls web1', '--sudo out env', '--sudo out {}'):
            self.check(line)
        self.check('--json web1 ls', 'web1 is no program here, and ls is '
                   'one; COMMAND stands first: classh --json ls web1')

    def test_command_that_needs_more_words(self):
        for line, shown in (
                ('cat {} web1', "is COMMAND quoted?  classh 'cat {}' web1"),
                ('cat {}', "type classh 'cat {}' HOST..."),
                ('wc -l {} web1',
                 "is COMMAND quoted?  classh 'wc -l {}' web1"),
                ('sudo ls web1', "is COMMAND quoted?  classh 'sudo ls' "
                                 'web1')):
            self.check(line, '%s alone does nothing; %s' % (line.split()[0],
                                                            shown))
        for line in ('-I cat {}', 'cat web1 web2', 'uptime {}',
                     'uptime {} web1', 'ls {} web1', "'cat x' {}"):
            self.check(line)

    def test_option_of_the_command_that_takes_a_host(self):
        wrong = ('-l is the remote user, %s (for that, type it before '
                 'COMMAND); is COMMAND quoted?  classh %s')
        for line, *words in (
                ('ls -l web1 web2', 'web1', "'ls -l' web1 web2"),
                ('ls -la web1', 'a', "'ls -la' web1"),
                ('env -l web1 web2', 'web1', "'env -l' web1 web2")):
            self.check(line, wrong % tuple(words))
        for line in ('ls web1 -la', 'env -l bob web1', 'env -lbob web1',
                     'env -l web web1', '-l web1 ls web2',
                     "'ls x' -la web1", '-l web1 env web2'):
            self.check(line)

    def test_no_host_behind_what_is_no_command(self):
        wrong = 'no hosts are named: web1 is taken for COMMAND'
        for option, value in (('-l', 'USER'), ('-J', 'GATE'),
                              ('--only', 'HOSTS'), ('-bl', 'USER')):
            self.check('%s ls web1' % option, '%s, and ls for the value of '
                       '%s; type classh %s %s ls web1' % (
                           wrong, option, option, value))
        for line in 'web1', '-b web1', '-l bob web1':
            self.check(line, wrong + '; type classh COMMAND HOST...')
        for line in 'ls', '-l bob ls', "'ls -l'", '-J ls ls':
            self.check(line)

    def test_command_where_none_is_wanted(self):
        for option in '--list', '--shell':
            self.check("%s 'ls -l' web1" % option,
                       "%s goes without COMMAND, 'ls -l'" % option)
            for words, is_told in ('ls web1', True), ('web1 ls', False):
                options, words = classh._parse_arguments(
                    [option, *words.split()])
                warnings = []
                classh._warn_of_words('', words, options, warnings.append)
                self.assertEqual(warnings, [
                    'ls is taken for a host, but is a program; %s goes '
                    'without COMMAND' % option] * is_told)


class ScriptTest(unittest.TestCase):
    def ending(self, error, usage=None):
        """The exit status and the words of a script that raises *error*."""
        words = io.StringIO()
        with mock.patch('sys.stdout', None), \
                mock.patch('sys.argv', ['/x/probe.py']), \
                contextlib.redirect_stderr(words), \
                self.assertRaises(SystemExit) as ended:
            classh.run_script(mock.Mock(side_effect=error), usage)
        return ended.exception.code, words.getvalue()

    def test_script_ends_without_a_traceback(self):
        self.assertEqual(self.ending(UsageError, ' usage: x\n'),
                         (2, 'usage: x\n'))
        # python -OO keeps no docstring.
        self.assertEqual(self.ending(UsageError), (
            2, 'probe.py: its first lines tell how to use it\n'))
        self.assertEqual(self.ending(UsageError('bad host')),
                         (2, 'bad host\n'))
        self.assertEqual(self.ending(OSError(5, 'no disk')),
                         (1, 'probe.py: no disk\n'))
        self.assertEqual(self.ending(KeyboardInterrupt), (130, ''))
