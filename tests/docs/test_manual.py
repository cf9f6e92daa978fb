"""The man page that rst2man makes of the README."""

import os
import re
import unittest
import xml.etree.ElementTree

from lib.accounts import installed, not_run
from lib import ROOT, TestCase, run

README = os.path.join(ROOT, 'README')
CHAPTERS = ('SYNOPSIS', 'INSTALL', 'RECIPES', 'OPTIONS', 'EXIT STATUS',
            'TROUBLESHOOTING')


def need(*commands):
    for command in commands:
        if not installed(command):
            raise unittest.SkipTest(not_run('the man page',
                                            'no ' + command))


class ManualTest(TestCase):
    def test_man_shows_the_guide_without_a_warning(self):
        need('rst2man', 'man', 'groff')
        page = os.path.join(self.scratch(), 'classh.1')
        run(['rst2man', '--strict', README, page]).check()
        shown = run(['man', '--warnings', '-l', page], env={
            'MANWIDTH': '79', 'LC_ALL': 'C.UTF-8', 'MANROFFOPT': '-c',
            'MAN_KEEP_FORMATTING': None}).check(0, None).stdout
        self.assertRegex(shown, r'(?i)NAME\n +classh - run one command')
        for chapter in CHAPTERS:
            self.assertIn('\n%s\n' % chapter, shown)
        # An option and what it does; a block line by line.
        self.assertRegex(shown, r'\n +-f, ?--fanout N\n +jobs at once')
        self.assertRegex(shown, r'\n +web4   3   1 host   \(0.2\)\n')

    def test_every_indented_text_is_meant_as_it_stands(self):
        """What is no block after '::' would be filled like a paragraph."""
        need('rst2xml')
        tree = xml.etree.ElementTree.fromstring(run(
            ['rst2xml', '--strict', README]).check(stdout=None).stdout)
        self.assertEqual([''.join(quote.itertext())
                          for quote in tree.iter('block_quote')], [])
        self.assertEqual([''.join(problem.itertext())
                          for problem in tree.iter('problematic')], [])
        blocks = [''.join(block.itertext())
                  for block in tree.iter('literal_block')]
        with open(README) as file:
            for command in re.findall(r'(?m)^    (\$ .*)', file.read()):
                self.assertTrue(any(command in block for block in blocks),
                                command)
