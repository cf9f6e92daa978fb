"""Which sink a target of -S or -E stands for.  Nothing is started."""

import os
import tempfile
import unittest
from unittest import mock

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
            self.refused(target, 'it is empty')

    def test_word_that_is_a_program_needs_to_say_so(self):
        problem = "is it the program, '|take', or a file, ./take?"
        self.refused('take', problem)
        self.refused('take', problem + ' (-u?)', hint=' (-u?)')

    def test_words_without_a_program_need_to_be_a_command(self):
        self.refused('nosuch -x', "no executable 'nosuch'; a command of the "
                     "shell begins with '|'")

    def test_script_that_may_not_be_executed_is_no_file_of_names(self):
        for target in 'script', './script':
            self.refused(target, 'a program, but not executable')

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


if __name__ == '__main__':
    unittest.main()
