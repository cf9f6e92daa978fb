"""Hosts, and files of hosts, that mean harm: each is contained.

Elsewhere: escape sequences in the report, text that would pass for ours
(test_report); names that are options or hold white space (test_hosts,
test_options); names of files, links in the way (test_sinks); a pickle that
runs code (test_pickle); prompts that fish for a password (test_passwords).
"""

import contextlib
import os
import re
import subprocess
import time
import unicodedata
from unittest import mock

from lib import (FAKE_SSH, MIB, WorkTest, classh_argv, fake_argv, measured,
                 run, run_in_pty, text, wait_until)
import classh

LIMIT = 8 * MIB         # of what is kept, unless told
SMALL = 'ulimit -v 400000'  # KiB, so that what grows fails soon


class HostileTest(WorkTest):
    def measure(self, *args, **options):
        """Run classh; return the Run and the most MiB that it took."""
        argv = measured(fake_argv(*args), 'peak')
        said = run(argv, cwd=self.directory, **options)
        return said, int(self.read('peak')) >> 10


# -- What they say -----------------------------------------------------------

class LoudTest(HostileTest):
    LOUD = {                # on both streams, 100 MB each, without a newline
        'zero': 'head -c 100000000 /dev/zero',
        'text': "head -c 100000000 /dev/zero | tr '\\0' x",
    }

    def test_100_mb_without_a_newline(self):
        for name, loud in self.LOUD.items():
            command = '%s & %s >&2; wait' % (loud, loud)
            said, peak = self.measure('-S', 'out/', '--pickle', 'all',
                                      command, 'a', 'exit0')
            said.check(1, None, '1 of 2 printed more than 8M and was cut '
                       '(--max-output): a\n')
            self.assertIn('output cut at its limit', said.stdout)
            # It is held as str and as bytes, and some of that in a report.
            self.assertLess(peak, 120, name)
            self.assertEqual(os.path.getsize(self.path('out/a.out')), LIMIT)
            self.assertEqual(os.path.getsize(self.path('out/a.err')), LIMIT)
            results = {result.host: result
                       for result in classh.load(self.path('all'))}
            self.assertTrue(results['a'].truncated)
            self.assertEqual((len(results['a'].output),
                              len(results['a'].errors)), (LIMIT, LIMIT))

    def test_many_short_lines_take_no_more_than_one_long(self):
        for line in 'a', '':
            said, peak = self.measure('yes "%s" | head -c %d' % (line, LIMIT),
                                      'h')
            said.check(0, None)
            self.assertLess(peak, 120, repr(line))

    def test_terminal_is_not_flooded_with_more_than_was_asked_for(self):
        for loud in "head -c 9000000 /dev/zero", "yes '' | head -c 9000000":
            said = run_in_pty(measured(classh_argv(
                '--ssh', FAKE_SSH, '--max-output', '50K', loud, 'a'),
                self.path('peak')))
            self.assertEqual(said.status, 0, said)
            self.assertLess(len(said.stdout), 5 * 50000)
            self.assertLess(int(self.read('peak')) >> 10, 60)

    def test_nul_and_every_other_byte_come_through_where_bytes_may(self):
        octets = bytes(range(256)) * 3 + b'\0\n\0\r\n\0'
        self.write('octets', octets)
        self.classh('-S', 'out/', '--pickle', 'all', '-q',
                    'cat octets; cat octets >&2', 'a').check()
        for name in 'a.out', 'a.err':
            with open(self.path('out/' + name), 'rb') as file:
                self.assertEqual(file.read(), octets)
        result, = classh.load(self.path('all'))
        self.assertEqual((result.output, result.errors),
                         (text(octets), text(octets)))


def rows_of_terminal(shown, width):
    """Yield the rows in which *shown* appears, where a row is that wide."""
    for line in shown.replace('\r\n', '\n').split('\n'):
        row, column = '', 0
        for char in line:
            size = (8 - column % 8 if char == '\t' else
                    2 if unicodedata.east_asian_width(char) in 'FW' else 1)
            if char == '\t':        # it stops at the right edge
                size = min(size, width - column)
            if column + size > width:
                yield row
                row, column = '', 0
            row, column = row + char, column + size
        yield row


class TerminalTest(HostileTest):
    # What a terminal heeds, by ECMA-48 and xterm: C0, DEL, C1 as characters
    # and as bytes, and what turns the direction of text.
    HEEDED = (r'\033[2J\033]0;title\007\033P+q\033\\\233 2K\302\233 2K'
              r'\r\b\177\016\017\005\302\205\342\200\256x\342\201\246'
              r'\033]52;c;ZXZpbA==\007\033[6n\033[c\033#8')

    def check_harmless(self, shown):
        self.assertNotRegex(shown.replace('\r\n', '\n'),
                            '[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]'
                            '|[\udc80-\udc9f]')

    def test_nothing_that_a_terminal_heeds_reaches_it(self):
        said = run_in_pty(classh_argv(
            '--ssh', FAKE_SSH, "printf '%s'; printf '%s' >&2; exit 3"
            % (self.HEEDED, self.HEEDED), 'a', 'escape'))
        self.assertEqual(said.status, 5, said)
        self.check_harmless(said.stdout)
        self.assertIn('\\x1b]52;c;', said.stdout)

    def test_neither_by_the_name_of_a_host(self):
        hosts = ['b\xfccher', os.fsdecode(b'\xff'), os.fsdecode(b'\xc2\xe9')]
        for options in ([], ['--progress'], ['-S', '-'], ['-E', '-'],
                        ['-E', '| exit 9'], ['--list']):
            said = run_in_pty(
                ['sh', '-c', 'cd "$0"; exec "$@"', self.directory]
                + fake_argv(*options + ['false'] * (
                    options != ['--list']) + hosts))
            self.assertNotIn('Traceback', said.stdout)
            self.check_harmless(said.stdout)
            for host in 'a\u202eb', os.fsdecode(b'c\x9b2J'):
                said = run_in_pty(fake_argv(*options + [
                    'true'] * (options != ['--list']) + [host]))
                self.assertEqual(said.status, 2, said)
                self.check_harmless(said.stdout)

    def test_long_line_forges_no_host(self):
        # What a terminal has no room for goes to its left edge.
        forged = 'web2   0   (0.1)'
        for filler in ('x' * 78, '\t' * 9 + 'x' * 6, '\u4e2d' * 39,
                       '\x1b' * 20, '\u20ac' * 13, '\udcff' * 20, 'x' * 156,
                       '\xe9' * 78, 'x' * 77 + '\t'):
            for env in {'PYTHONIOENCODING': 'utf-8'}, (
                    {'PYTHONIOENCODING': 'ascii'}):
                self.write('said', filler + forged)
                said = run_in_pty(classh_argv(
                    '--ssh', FAKE_SSH, 'cat %s; cat %s >&2' % (
                        2 * (self.path('said'),)), 'a'), env=env)
                rows = list(rows_of_terminal(said.stdout, 80))
                self.assertNotIn(forged[:4], [row[:4] for row in rows])
                self.assertEqual(sum(row[:1] not in ' ' for row in rows), 1,
                                 rows)
                self.assertIn(re.sub(r'\s', '', forged), re.sub(
                    r'\s', '', said.stdout))

    def test_line_with_room_is_left_as_it_is(self):
        for line in 'x' * 78, '\t' * 9 + 'x' * 8, '\u4e2d' * 39, '':
            self.write('said', line + '\n' + line + '\n\n')
            said = run_in_pty(
                fake_argv('cat ' + self.path('said'),
                          'a'), env={'PYTHONIOENCODING': 'utf-8'})
            self.assertIn('\n' + 2 * ('  ' * bool(line) + line + '\n'),
                          said.stdout.replace('\r\n', '\n'))
        said = self.classh('cat ' + self.write('said', 'x' * 500), 'a')
        self.assertIn('\n  ' + 'x' * 500 + '\n', said.stdout)

    def test_neither_by_an_error_of_ours(self):
        for words in (['true', '\x1b[2J'], ['true', 'a[\x1b[2J]'],
                      ['true', './\x1b[2J'], ['--\x1b[2J'],
                      ['-S', '\x1b[2J/x', 'true', 'a'],
                      ['--ssh', '\x1b[2J', 'true', 'a'],
                      ['-u', '\x1b[2J', 'true', 'a'],
                      ['--pickle', '/\x1b[2J/x', 'true', 'a']):
            said = run_in_pty(fake_argv(*words))
            self.assertEqual(said.status, 2, said)
            self.check_harmless(said.stdout)

    def test_neither_by_the_reason_that_ssh_could_not_be_started(self):
        self.write('\x1b[2J', '#!/\x1b[31m\n', 0o755)
        said = run_in_pty(['sh', '-c', 'cd "$0"; exec "$@"', self.directory]
                          + classh_argv('--ssh', "'./\x1b[2J'", 'true', 'a'))
        self.assertEqual(said.status, 4, said)
        self.check_harmless(said.stdout)


# -- How they are called -----------------------------------------------------

class NameTest(HostileTest):
    def test_name_that_a_shell_would_carry_out_is_refused(self):
        # ssh before 9.6 hands names on to shells, and so may what -S runs.
        for name in ('$(touch evil)', '`touch${IFS}evil`', 'a;touch', 'a|b',
                     'a&b', "a'b", 'a"b', 'a<b', 'a>b', 'a\\b', 'a(b)',
                     'a{b}', '$IFS', 'al;x@b', 'a[;,b]', 'a[1,$x]',
                     "u'@h[1-2]"):
            for take in classh.expand, classh._split_names:
                with self.assertRaises(classh.PatternError, msg=name):
                    print(list(take(name)))
        for name in 'DOM\\al@b', 'host$@b', 'fe80::1%eth0', 'a+b', 'a~b':
            self.assertEqual(list(classh.expand(name)), [name])

    def test_host_from_elsewhere_is_no_option_nor_command(self):
        self.program('ssh', 'case $* in *" -G "*) exit 255; esac\n'
                     'printf "%s\\n" "$@" >>seen')
        said = self.classh(
            '--ssh', './ssh', '-f1', '-S', '| while read -r host; do '
            'sh -c "echo $host" >>echoed; done', 'true', '-',
            stdin='-oProxyCommand=touch${IFS}evil\n--\n-\nal@-x\n'
                  '$(touch${IFS}evil)\na\n`touch${IFS}evil`\n\0\n../x\nb\n')
        said.check(1, None, None)
        self.assertEqual(self.lines('echoed'), ['a', 'b'])
        self.assertFalse(os.path.exists(self.path('evil')))
        words = self.lines('seen')
        self.assertEqual([words[place + 1] for place, word
                          in enumerate(words) if word == '--'], ['a', 'b'])
        self.assertEqual(said.stderr.count('; line skipped\n'), 8, said)

    def test_name_too_long_for_the_system_fails_alone(self):
        self.write('hosts', 'a\n%s\nb\n' % ('x' * 200000))
        self.classh('-q', '-f1', '-E', 'bad/', '--pickle', 'all', 'true',
                    './hosts').check(4)
        results = {result.host[:9]: result for result
                   in classh.load(self.path('all'))}
        self.assertEqual([results[name].outcome
                          for name in ('a', 'b', 'x' * 9)],
                         ['ok', 'ok', 'ssh'])
        for name in os.listdir(self.path('bad')):
            self.assertLess(len(name), 256)

    def test_files_stay_in_their_directory_whatever_the_name(self):
        hosts = ['..', '.x', 'a' * 300, '~', '%2E%2E', os.fsdecode(
            b'\xff'), 'a~b', 'CON', 'x.out', 'x.ret', 'x']
        os.mkdir(self.path('in'))
        self.classh('-q', '-E', 'in/bad/', 'exit 3', *hosts).check(5)
        self.assertEqual(os.listdir(self.path('in')), ['bad'])
        self.assertEqual(sorted(os.listdir(self.directory)), ['in'])
        self.assertEqual(len(os.listdir(self.path('in/bad'))), 4 * len(hosts))


class LineTest(HostileTest):
    """A list of hosts that is none: a line that has no end, a binary."""

    def test_file_with_an_endless_line(self):
        for args in (['true', '/dev/zero'], ['--list', '/dev/zero'],
                     ['true', 'a', '-x', '/dev/zero'],
                     ['--noexpand', 'true', '/dev/zero']):
            said = self.classh(*args, before=SMALL)
            said.check(2, '', None)
            self.assertRegex(said.stderr, r'\Aclassh: /dev/zero:1: ', said)

    def test_longest_line_of_a_file_is_1_mib(self):
        for size, status in (MIB, 0), (MIB + 1, 2):
            self.write('hosts', 'a'.ljust(size - 1) + '\n')
            said = self.classh('--list', './hosts').check(status, None, None)
            self.assertEqual(said.stdout, '' if status else 'a\n')
            self.assertEqual('hosts:1: too long' in said.stderr, status == 2)

    def test_endless_line_on_stdin_is_skipped_and_the_rest_runs(self):
        octets = b'a\n' + b'x' * (8 * MIB) + b'\nb\n'
        said = self.classh('echo out', '-', stdin=octets, before=SMALL)
        said.check(1, None, None)
        self.assertRegex(said.stderr, r'\Aclassh: stdin:2: [^\n]{,200}; '
                         r'line skipped\n\Z')
        self.assertEqual(re.findall(r'^(\w+)   0', said.stdout, re.M),
                         ['a', 'b'])
        told = said.stderr
        self.classh('--list', '-', stdin=octets, before=SMALL).check(
            1, 'a\nb\n', told)

    def test_line_on_stdin_that_never_ends_is_told_while_it_comes(self):
        with self.start('true', '-', stdin=subprocess.PIPE) as command:
            command.send(b'x' * (MIB + classh.READ_SIZE))
            wait_until(lambda: 'line skipped' in command.stderr,
                       what='a complaint')
            command.finish().check(1, '', None)

    def test_binary_file(self):
        said = self.classh('true', '/bin/sh', before=SMALL).check(2, '', None)
        self.assertRegex(said.stderr, r'\Aclassh: /bin/sh:\d+: ')
        with open('/bin/sh', 'rb') as binary:
            said = self.classh('--list', '-', stdin=binary, before=SMALL)
        self.assertIn(said.status, (0, 1))
        self.assertNotIn('Traceback', said.stderr)

    def test_error_does_not_repeat_a_long_line(self):
        for pattern in 'x' * 50000 + '[', 'x[%s' % ('1,' * 30000):
            self.write('hosts', pattern + '\n')
            for args in ['./hosts'], [pattern]:
                said = self.classh('true', *args).check(2, '', None)
                self.assertLess(len(said.stderr), 2000)

    def test_line_that_arrives_byte_by_byte_is_not_copied_each_time(self):
        reader, writer = os.pipe()
        stdin_hosts = classh.StdinHosts(classh.expand, self.fail)
        try:
            os.write(writer, b'x' * 3000)
            with mock.patch.object(classh, 'READ_SIZE', 1):
                line = stdin_hosts._partial
                for _ in range(3000):
                    self.assertEqual(list(stdin_hosts.take(reader)), [])
                    self.assertIs(stdin_hosts._partial, line)
            os.write(writer, b'y\n')
            self.assertEqual(list(stdin_hosts.take(reader)),
                             ['x' * 3000 + 'y'])
        finally:
            os.close(reader)
            os.close(writer)

    def test_what_sees_names_prompts_and_files_takes_linear_time(self):
        units = ('$', '\\', '@', 'a@', '[', '[:', ':', 'a', '1', '1a', '1-',
                 '(', '(a@', "a'", "'s ", ' password', '/', ' ', '.', '=',
                 'x,', '[a],', '[1-2]', '[1', '{', '%', '\xe9', '\u200b',
                 '\udcff', 'n1x', '#', '\r', '-', '::', 'Permission denied (')
        ends = [(head, tail) for head in ('', '[', '(', 'a@')
                for tail in ('', '@x', ']', ']x', ':', '\0')]
        vast = classh.HostSet(['n[0-99999999]x[0-99999999]n[x,n1x]'])
        calls = {
            'expand': lambda text: next(classh.expand(text), None),
            '_split_names': classh._split_names,
            'str(error)': lambda text: str(
                classh.PatternError(text, text, '')),
            'parse_host_lines': lambda text: classh.parse_host_lines(
                [text.encode('utf-8', 'surrogateescape')], 'x',
                lambda word: [classh.expand(word)]),
            'parse_host_arguments': lambda text: classh.parse_host_arguments(
                [text.replace('/', '')]),
            'ssh_argv': lambda text: classh.ssh_argv(text, 'x'),
            'HostSet': vast.__contains__,
            'exclude': lambda text: classh.HostSet([text]),
            'fold': lambda text: classh.fold([text, text + 'x1', text + 'x2']),
            'file_name': classh.file_name,
            'report': lambda text: classh._fold_line(classh._indent(text), 80,
                                                     ' ,'),
            'prompts': lambda text: [
                re.fullmatch(expression, text) for expression in (
                    classh._PASSWORD_PROMPT, classh._KEY_PROMPT,
                    classh._HOST_KEY_PROMPT)],
            'messages': classh._message_cause,
            'words': lambda text: [
                re.search(expression, text) for expression in (
                    classh._TAKES_PASSWORDS, classh._NOT_ALLOWED,
                    classh._WRONG_PASSWORD, classh._JUMP_FAILED)]}
        for name, call in calls.items():
            for unit in units:
                for head, tail in ends:
                    self.check_linear(call, lambda count: (
                        head + unit * count + tail), name)

    def test_what_a_host_says_as_it_fails_is_searched_in_linear_time(self):
        # Each host that ends with 255, with -A and without.
        said = self.classh("yes 'Permission denied (' | head -c 4000000 >&2; "
                           'exit 255', 'a', '-q', before='ulimit -t 20')
        said.check(4, '', '')

    def check_linear(self, call, make, name):
        for _ in range(3):          # the machine may be busy
            many, few = self.seconds(call, make(4000)), .0005
            # Eight times as long, were it linear; sixty-four, if quadratic.
            if many < 24 * few:
                return
            few = max(few, self.seconds(call, make(500)))
            if many < 24 * few:
                return
        self.fail('%s %r: %f s, %f s' % (name, make(2), few, many))

    def seconds(self, call, text):
        begun = time.process_time()
        with contextlib.suppress(classh.ClasshError):
            call(text)
        return time.process_time() - begun

    def test_many_brackets_cost_no_more_than_they_are_long(self):
        # What would be tried from each of them to the end takes minutes.
        for line in '[' * 300000, 'a[' * 150000, 'a[1,' * 75000, (
                '[:' * 150000), '@' * 300000, 'a@' * 150000, 'a:' * 150000:
            for options in [], ['--noexpand']:
                said = self.classh(*options + ['--list', '-'], stdin=line,
                                   before='ulimit -t 20')
                self.assertIn(said.status, (0, 1), said)
        for word in '[' * 100000, 'a[' * 50000:
            said = self.classh('--list', word, before='ulimit -t 20')
            self.assertEqual(said.status, 2, said)
