"""The benchmark, run so small that its figures mean nothing."""

import os
import shutil
import sys
import unittest

from lib import TESTS, TestCase, run


@unittest.skipUnless(shutil.which('cc'), 'no C compiler here')
class BenchTest(TestCase):
    def run_parts(self, *parts):
        # No other Python is looked for: that would take its time.
        return run([sys.executable, os.path.join(TESTS, 'bench', 'peers.py'),
                    '--as-is', '--hosts', '1', '--rounds', '1', *parts],
                   timeout=300, env={'PYENV_ROOT': '/none'})

    def test_every_part_shows_its_tables(self):
        ran = self.run_parts().check()
        for title in (
                '1 hosts, a stub for ssh, fanout 100',
                '2 hosts, ssh and sshd on one machine, fanout 100',
                'microseconds a host, beyond the start; fanout 500',
                '1 hosts, jobs of FANOUT / 2 milliseconds', 'start-up',
                'memory of the largest process',
                '2 hosts, a stub for ssh, fanout 100',
                'one connection, by KexAlgorithms (* the default)',
                '2 hosts, connections that are shared',
                '2 hosts behind one sshd with its default, '
                'MaxStartups 10:30:100',
                '2 hosts behind a jump host with its default, '
                'MaxStartups 10:30:100, 0.5 s each',
                '2 hosts with --share',
                '10 hosts, a stub for ssh, fanout 100, a journal',
                "1 hosts, a stub for ssh, fanout 100, ssh's log",
                '1 hosts, a stub for ssh, fanout 100, by what is shown'):
            self.assertIn('\n%s\n\n  ' % title, ran.stdout, ran)
        self.assertIn('\nFor the head of peers.py: peers and sshd, classh '
                      'being 1\n', ran.stdout, ran)
        for line in ran.stdout.splitlines():
            self.assertLessEqual(len(line), 79, ran)

    def test_one_part_can_be_run_alone(self):
        ran = self.run_parts('memory').check()
        self.assertIn('--list of 100 million', ran.stdout, ran)
        self.assertNotIn('For the head', ran.stdout, ran)

    def test_part_that_there_is_not_is_refused(self):
        ran = self.run_parts('peers', 'pears').check(2, stderr=None)
        self.assertIn('no part pears; there are peers, ', ran.stderr, ran)
