"""What is said of a command line that was typed wrong."""

import contextlib
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
                (['-q=1'], '-q takes no value')):
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
            os.unlink(path)
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
