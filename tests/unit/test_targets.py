"""Which sink a target of -S or -E stands for, and the names of its files.
Nothing is started."""

import contextlib
import io
import itertools
import os
import random
import tempfile
import unittest
from unittest import mock

import classh
from classh import (DirectorySink, FileSink, ProgramSink, StdoutSink,
                    TargetError, choose_sink)


class ChoiceTest(unittest.TestCase):
    """In a directory that holds a program in bin, which is all of PATH."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory.name)
        os.mkdir('bin')
        os.mkdir('there')
        for name, mode, text in (('bin/take', 0o755, '#!/bin/sh\n'),
                                 ('mine', 0o755, '#!/bin/sh\n'),
                                 ('with blank', 0o755, '#!/bin/sh\n'),
                                 ('script', 0o644, '#!/bin/sh\n'),
                                 ('names', 0o644, 'a\nb\n')):
            with open(name, 'w') as file:
                file.write(text)
            os.chmod(name, mode)
        self.before = self.found()
        self.here = directory.name
        for patch in (
                mock.patch.dict(os.environ, PATH=os.path.abspath('bin'),
                                HOME=directory.name),
                mock.patch('subprocess.Popen',
                           side_effect=AssertionError('started')),
                mock.patch('subprocess.call', self.shell_knows)):
            patch.start()
            self.addCleanup(patch.stop)
        self.addCleanup(self.check_nothing_made)

    @staticmethod
    def shell_knows(argv, **options):
        """In place of the shell's answer whether it knows a word."""
        return 0 if argv[-1] in ('read', 'exec') else 127

    @staticmethod
    def found():
        return sorted(os.path.join(place, name)
                      for place, _, names in os.walk('.') for name in names)

    def check_nothing_made(self):
        os.chdir(self.here)
        self.assertEqual(self.found(), self.before)

    def choose(self, target, **options):
        sink = choose_sink(target, self.fail, **options)
        if sink._fd is not None:
            self.addCleanup(os.close, sink._fd)
        return sink

    def check(self, kind, label, *targets):
        for target in targets:
            with self.subTest(target=target):
                sink = self.choose(target)
                self.assertIs(type(sink), kind)
                self.assertEqual(sink.label, label or target)

    def refused(self, target, problem, **options):
        with self.subTest(target=target):
            with self.assertRaises(TargetError) as caught:
                self.choose(target, **options)
            self.assertEqual(caught.exception.problem, problem)

    def test_dash_is_stdout(self):
        self.check(StdoutSink, 'stdout', '-')

    def test_bar_begins_a_command_of_the_shell(self):
        for command in ('take', 'take one | take two', '{ take; }',
                        'FOO=bar take', '(take)', '$TOOL -x', 'read -r a',
                        './mine', '~/mine'):
            self.check(ProgramSink, command, '|' + command,
                       '| %s ' % command)

    def test_first_word_after_a_bar_is_a_program_or_the_shells(self):
        self.refused('|nosuch -x', "no executable 'nosuch'")
        self.refused('|./script', "no executable './script'")
        self.refused('|there/', "no executable 'there/'")

    def test_first_of_several_words_is_a_program(self):
        self.check(ProgramSink, None, 'take one', './mine "two  too" | take',
                   '~/mine x')

    def test_file_that_may_be_executed_is_run(self):
        for target in './mine', 'mine', '~/mine', 'bin/take':
            path = os.path.abspath(os.path.expanduser(target))
            self.check(ProgramSink, path, target)
        self.check(ProgramSink, "'%s'" % os.path.abspath('with blank'),
                   'with blank', './with blank')

    def test_slash_at_the_end_or_a_directory_that_is_there(self):
        self.check(DirectorySink, None, 'there', 'there/', './there', 'new/',
                   './new/')
        self.check(DirectorySink, os.path.abspath('new') + '/', '~/new/')

    def test_all_else_is_a_file(self):
        self.check(FileSink, None, 'names', './names', 'new', './new',
                   './take', 'there/new')
        self.check(FileSink, os.path.abspath('new'), '~/new')

    def test_nothing_is_no_target(self):
        for target in '', ' ', '|', ' | ':
            self.refused(target, "it is empty; a target is a file, a "
                         "directory/, - or '| program'")

    def test_word_that_is_a_program_needs_to_say_so(self):
        problem = "is it the program, '|take', or a file, ./take?"
        self.refused('take', problem)
        self.refused('take', problem + ' (-u?)', hint=' (-u?)')

    def test_words_without_a_program_need_to_be_a_command(self):
        self.refused('nosuch -x', "no executable 'nosuch'; a command of the "
                     "shell begins with '|'")

    def test_script_that_may_not_be_executed_is_no_file_of_names(self):
        for target in 'script', './script':
            self.refused(target, 'a program, but not executable: chmod +x '
                         + target)

    def test_what_cannot_be_made_is_refused_at_once(self):
        self.refused('none/new', 'there is no none')
        self.refused('none/new/', 'there is no none')
        self.refused('names/', 'Not a directory')
        self.refused('names/new', 'Not a directory')

    def test_fifo_without_a_reader_is_refused(self):
        os.mkfifo('fifo')
        self.addCleanup(os.remove, 'fifo')
        self.refused('./fifo', 'the FIFO has no reader')

    def test_what_a_program_prints_goes_where_it_is_told(self):
        for target in '|take', './mine', 'take one':
            self.assertEqual(self.choose(target, stdout=7)._stdout, 7)


    def test_main_that_refuses_its_arguments_leaves_none_open(self):
        for name in 'p', 'j':
            open(name, 'w').close()
            self.addCleanup(os.remove, os.path.abspath(name))
        before = os.listdir('/proc/self/fd')
        for args in ['h[3-1]'], ['-E', 'script', 'h'], ['--sudo-password', 'h']:
            with contextlib.redirect_stderr(io.StringIO()) as shown:
                self.assertEqual(classh.main(
                    ['-S', 'names', '--pickle', 'p', '--json=j', '--ssh=take',
                     'true', *args]), 2)
            self.assertNotIn('another run', shown.getvalue())
        self.assertEqual(os.listdir('/proc/self/fd'), before)

    def test_result_that_cannot_be_read_leaves_none_open(self):
        shell = classh.Shell(None, [], None, None, None,
                             classh.StopRequests(), None)
        shell._results = mock.MagicMock(heads={'a': None})
        shell._results.__getitem__.side_effect = OSError
        before = os.listdir('/proc/self/fd')
        with self.assertRaises(OSError):
            shell.do_save('there/')
        self.assertEqual(os.listdir('/proc/self/fd'), before)


class FileNameTest(unittest.TestCase):
    ORDINARY = ('web1', 'web-1.example.com', 'under_score', 'bob@web1', '-',
                'web1:22', 'bob@web1:22', '10.0.0.1', '::1', '[::1]:22',
                'bob@[2001:db8::7]:22', 'b\xfccher', '\udcff', 'a..', '~',
                'x' * 250)
    HOSTILE = ('', '.', '..', '...', '/', '../x', '../../etc/x', 'a/../b',
               '/etc/passwd', '.ssh', 'a\0b', 'a\nb', 'a%2Fb', '%2E', '%',
               'fe80::1%eth0', 'x' * 251, 'x' * 300, 'x' * 300 + 'y',
               '.' * 300, '/' * 300, '\u20ac' * 100, '\xfc' * 150, '%~')

    def test_ordinary_host_is_its_own_name(self):
        for host in self.ORDINARY:
            self.assertEqual(classh.file_name(host), os.fsencode(host))

    def test_no_name_leaves_the_directory_hides_or_is_too_long(self):
        for host in self.HOSTILE + self.ORDINARY:
            name = classh.file_name(host)
            self.assertNotRegex(name, b'[/\0]')
            self.assertFalse(name.startswith(b'.'), name)
            self.assertLessEqual(len(b'.' + name + b'.ret'), 255, host)

    def test_no_two_hosts_have_the_same_name(self):
        names = {}
        alphabet = '.%/2EFef~\0\xfc'
        for host in itertools.chain(
                self.ORDINARY, self.HOSTILE,
                (''.join(letters) for length in range(5)
                 for letters in itertools.product(alphabet, repeat=length)),
                (''.join(random.choice(alphabet) for _ in range(length))
                 for length in range(240, 260) for _ in range(50))):
            name = classh.file_name(host)
            self.assertEqual(names.setdefault(name, host), host, name)


if __name__ == '__main__':
    unittest.main()
