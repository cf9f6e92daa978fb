"""Every block of the README, run as it stands.

A block is what is indented by four or more.  It is either commands, on
lines that begin with '$ ', each with its output below it, or a file, whose
first line is '# ' and its name, for a command further down.  In the output
a line '...' stands for any lines of a command that succeeds.
"""

import collections
import itertools
import os
import re
import shlex
import shutil
import unittest

from lib.named_hosts import named_hosts
from lib import ROOT, TestCase, run, run_classh

import classh

LIMIT = 300             # seconds for all the commands together
INDENT = 4 * ' '        # begins each line of a block
MARK = '\1'             # parts the outputs of two commands
# Options of other programs.
OTHERS = (r'(?s)docker run --init|--limit, --list-hosts|--copy, --rcopy'
          r'|--outdir, --errdir|--line-buffered|--csv'
          r'|--limit @site|\n  Ansible .*?\n\n')

# Text that differs from run to run, and its replacement.
VARYING = [
    (r'\(\d+\.\d to \d+\.\d\)', '(0.0)'),
    (r'\b\d+\.\d(?= s\b|\))', '0.0'),                           # seconds
    (r'(?m)\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) .* \d{4}$', 'DATE'),
    (r'(?<=connect to host )\S+ port \d+', 'HOST'),
    (r'(?m)^[.?~!]+$', lambda found: ''.join(sorted(found.group()))),
]

File = collections.namedtuple('File', 'line name lines')
Command = collections.namedtuple('Command', 'line words output')


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def blocks(text):
    """Yield (number of the first line, lines) of each block in *text*."""
    block, before = [], ''
    for number, line in enumerate(text.splitlines() + ['end'], 1):
        if line.startswith(INDENT) and (block or not before):
            block.append(line[len(INDENT):])
        elif block and not line:
            block.append('')
        elif block:
            first = number - len(block)
            while not block[-1]:
                block.pop()
            yield first, block
            block = []
        before = line


def steps(text):
    """Return the Files and Commands of *text*, in order."""
    found = []
    for first, lines in blocks(text):
        add = None
        for number, line in enumerate(lines, first):
            name = re.fullmatch(r'# (\S+)', line)
            if line.startswith('$ '):
                found.append(Command(number, line[2:], []))
                add = found[-1].output.append
            elif add:
                add(line)
            elif name:
                found.append(File(number, name.group(1), [line]))
                add = found[-1].lines.append
            else:
                raise AssertionError('README, line %d: nothing runs this: %s'
                                     % (number, line))
    for at, file in enumerate(found):
        if isinstance(file, File) and not any(
                file.name in step.words for step in found[at:]
                if isinstance(step, Command)):
            raise AssertionError('README, line %d: nothing uses %s'
                                 % (file.line, file.name))
    return found


def comparable(output, ordered=True):
    """Return *output*, lines, without text that differs from run to run.

    Hosts finish in any order: unless *ordered*, so do the lines here that
    are not indented, each with what is below it.
    """
    text = '\n'.join(output)
    for pattern, instead in VARYING:
        text = re.sub(pattern, instead, text)
    records = re.split(r'\n+(?=\S)', text.strip('\n'))
    return '\n'.join(records if ordered else sorted(records))


def agree(command, output, status):
    """Return whether the README shows *output*, lines, for *command*."""
    if '...' in command.output:
        pattern = ''.join('(?:.*\n)*' if line == '...'
                          else re.escape(line + '\n')
                          for line in command.output)
        return not status and bool(
            re.fullmatch(pattern, ''.join(line + '\n' for line in output)))
    ordered = '--list' in command.words
    return (comparable(output, ordered)
            == comparable(command.output, ordered))


def script(commands):
    """Return shell that runs them; after each output come MARK and status."""
    lines = ['exec 2>&1']
    for command in commands:
        words = command.words
        if words == 'sh tests/run':     # not all tests: this is one of them
            words += ' docs/test_doctests'
        lines += [words, r"status=$?; printf '\001%d\n' $status;"
                  ' (exit $status)']
    return '\n'.join(lines)


class ReadmeTest(TestCase):
    def test_every_command_prints_what_is_shown(self):
        found = steps(read('README'))
        commands = [step for step in found if isinstance(step, Command)]
        # The first block is an example; installation comes after it.
        commands.append(commands.pop(0))
        directory = self.scratch()
        env = dict(named_hosts(directory),
                   XDG_RUNTIME_DIR=self.runtime_directory())
        copy = os.path.join(directory, 'classh')
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(
            '.git', '__pycache__'))
        for step in found:
            if isinstance(step, File):
                with open(os.path.join(copy, step.name), 'w') as file:
                    # Of a script the kernel wants '#!' first.
                    file.write('\n'.join(
                        step.lines['#!' in step.lines[1]:]) + '\n')
        ran = run(['sh', '-c', script(commands)], LIMIT, env=env, cwd=copy)
        parts = re.split(MARK + r'(\d+)\n', ran.stdout)
        self.assertEqual(len(parts) // 2, len(commands), ran)
        for command, output, status in zip(commands, parts[::2], parts[1::2]):
            with self.subTest(line=command.line, command=command.words):
                output = output.splitlines()
                if not agree(command, output, int(status)):
                    self.fail('the README has\n%s\nbut it printed\n%s' % (
                        comparable(command.output), comparable(output)))

    def test_every_option_is_described_and_no_other(self):
        option = r'(?<![\w-])--[a-z][a-z-]*'
        shown = run_classh('-h').check(stdout=None).stdout
        ours = re.sub(OTHERS, '', read('README'))
        self.assertEqual(set(re.findall(option, ours)),
                         set(re.findall(option, shown)))

    def test_command_lines_that_are_not_run_are_valid(self):
        """Those that stand behind two blanks: no host there is at hand."""
        shown = ''.join(re.findall(r'::\n((?:\n|  .*\n)+)', read('README')))
        lines = re.findall(r'(?m)^  (classh (?:.*\\\n)*.*)', shown)
        self.assertGreater(len(lines), 15)
        for line in lines:
            words = itertools.takewhile(lambda word: word[0] not in '|<>',
                                        shlex.split(line)[1:])
            with self.subTest(line=line):
                options, operands = classh._parse_arguments(list(words))
                classh._check_conflicts(options, operands)

    def test_contents_are_the_chapters(self):
        text = read('README')
        contents = re.search(r'(?s)^Chapters: (.*?)\.$', text, re.M).group(1)
        self.assertEqual(['SYNOPSIS']   # the contents stand in it
                         + ' '.join(contents.upper().split()).split(', '),
                         re.findall(r'\n\n\n([A-Z ]+)\n=+\n', text))

    def test_every_word_of_the_interface_is_described(self):
        text = read('README')
        for where, words in (
                ('AS A MODULE', classh.__all__),
                ('AS A MODULE', classh.Result._fields),
                ('AS A MODULE', classh.CAUSES),
                ('TROUBLESHOOTING', classh.CAUSES),
                ('THE SHELL', ['%' + name
                               for name in classh.Shell._BUILT_INS]),
                ('EXIT STATUS', '0 1 2 3 4 5 6 129 130 131 141 143'.split())):
            chapter = text.split('\n%s\n' % where)[1].split('\n\n\n')[0]
            with self.subTest(chapter=where):
                self.assertEqual([word for word in words if not re.search(
                    r'(?<![\w-])%s(?![\w-])' % re.escape(word), chapter)], [])

    def test_lines_fit_a_terminal(self):
        for number, line in enumerate(read('README').split('\n'), 1):
            self.assertLess(len(line), 80, number)
            self.assertEqual(line, line.rstrip(), number)


class BlocksTest(unittest.TestCase):
    """The parser of blocks: no block of the README may pass unseen."""

    def test_block_that_is_neither_command_nor_file(self):
        with self.assertRaisesRegex(AssertionError, 'line 3: nothing runs'):
            steps('text\n\n    classh uptime\n')

    def test_file_that_no_later_command_names(self):
        with self.assertRaisesRegex(AssertionError, 'line 5: nothing uses'):
            steps('    $ cat hosts\n\ntext\n\n    # hosts\n    a\n')

    def test_file_may_be_followed_by_its_command(self):
        self.assertEqual(steps('    # a.py\n    b\n\n    $ cat a.py\n    c\n'),
                         [File(1, 'a.py', ['# a.py', 'b', '']),
                          Command(4, 'cat a.py', ['c'])])

    def test_continued_line_of_a_table_is_no_block(self):
        self.assertEqual(steps('  -f    text\n        and more\n'), [])

    def test_block_goes_on_after_a_blank_line(self):
        self.assertEqual(steps('    $ a\n    one\n\n      two\n\ntext\n'),
                         [Command(1, 'a', ['one', '', '  two'])])

    def test_output_that_differs_is_seen(self):
        def shown(*output, words='classh'):
            return Command(1, words, list(output))
        one, two = ['web1   0   (0.1)', '  a'], ['web2   0   (9.3)', '  b']
        self.assertTrue(agree(shown(*one + two), two + one, 0))
        self.assertFalse(agree(shown(*one + two), one, 0))
        self.assertFalse(agree(shown(*one), ['web1   7   (0.1)', '  a'], 0))
        self.assertFalse(agree(shown(*one), ['web1   0   (0.1)', '  b'], 0))
        self.assertFalse(agree(shown('a', 'b', words='x --list'),
                               ['b', 'a'], 0))
        self.assertTrue(agree(shown('...'), ['a', 'b'], 0))
        self.assertFalse(agree(shown('...'), ['a', 'b'], 1))
