"""Every file in examples/, run as a user would run it."""

import os
import re
import sys
import unittest

from named_hosts import named_hosts
from support import ROOT, TestCase, run, sshd

EXAMPLES = os.path.join(ROOT, 'examples')
LIMIT = 60              # lines that are still worth copying


def examples():
    """Return the names of the files in examples/."""
    return [name for name in sorted(os.listdir(EXAMPLES))
            if name[0] not in '._']


class ExamplesTest(TestCase):
    """Of these, test_NAME is the one of examples/NAME or NAME.py."""

    def test_every_example_has_a_test(self):
        for name in examples():
            test = 'test_' + re.sub(r'\.py$', '', name)
            self.assertTrue(hasattr(self, test), name)

    def test_every_script_is_short_and_shows_its_usage(self):
        for name in examples():
            with open(os.path.join(EXAMPLES, name)) as file:
                self.assertLess(len(file.readlines()), LIMIT, name)
            if name.endswith('.py'):
                ran = self.run_example(name)
                self.assertEqual((ran.status, ran.stdout), (2, ''), ran)
                self.assertIn('\n    %s ' % name, ran.stderr, ran)

    def test_every_script_refuses_a_bad_host_in_one_line(self):
        for name in examples():
            if name.endswith('.py'):
                self.run_example(name, 'web1', 'web[3-1]').check(
                    2, '', "%s: bad host 'web[3-1]': '3-1' runs backwards\n"
                    % name)

    def run_example(self, name, *args):
        """Run it on the hosts of named_hosts.py."""
        env = named_hosts(self.scratch())
        env['PYTHONPATH'] = ROOT
        return run([sys.executable, os.path.join(EXAMPLES, name)]
                   + list(args), env=env)

    def check(self, ran, status, *patterns):
        """Fail unless its lines, sorted, match the *patterns*."""
        self.assertEqual((ran.status, ran.stderr), (status, ''), ran)
        lines = sorted(ran.stdout.splitlines())
        self.assertEqual(len(lines), len(patterns), ran)
        for line, pattern in zip(lines, patterns):
            self.assertTrue(re.fullmatch(pattern, line), ran)

    def test_clock_check(self):
        nominal = r'web%d: nominal, possible error \d+\.\d s'
        self.check(self.run_example('clock_check.py', 'web[1-2]'), 0,
                   nominal % 1, nominal % 2)
        off = r'web%d: off: %s by 3[56]\d\d\.\d s, give or take \d+\.\d s'
        self.check(
            self.run_example('clock_check.py', 'web[3-6]', 'db1'), 1,
            'db1: error: ssh: connect to host .* refused',
            nominal % 3, 'web4: error: date: not found',
            off % (5, 'slow'), off % (6, 'fast'))

    def test_disk_full(self):
        self.check(self.run_example('disk_full.py', 'web[1-3]'), 0)
        self.check(
            self.run_example('disk_full.py', 'web[1-5]', 'db1'), 1,
            'db1: ssh: connect to host .* refused',
            'web4: df: /mnt: Stale file handle', 'web5: 97% /srv/big files')

    def test_same_or_not(self):
        def same(*args):
            return self.run_example('same_or_not.py', *args)
        same('systemctl is-active nginx', 'web[1-3]').check(
            0, '-- web[1-3]: exit status 0\nactive\n')
        same('systemctl is-active nginx', 'web[1-4]', 'db1').check(
            1, '-- web[1-3]: exit status 0\nactive\n'
            '-- db1: ssh failed\n-- web4: exit status 3\ninactive\n')
        same('true', 'db1').check(1, '-- db1: ssh failed\n')

    def test_try(self):
        every_address = sshd().every_address    # skips where there is none
        scratch = self.scratch()
        ran = run(['sh', os.path.join(EXAMPLES, 'try')],
                  env={'TMPDIR': scratch, 'PYTHON': sys.executable})
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(os.listdir(scratch), [], ran)
        for host in ('127.0.0.1', '127.0.0.2', '127.0.0.3'):
            self.assertRegex(ran.stdout, r'(?m)^%s   0   \(\d+\.\d\)\n'
                             r'  Output:\n\n  \S' % re.escape(host), ran)
        if every_address:       # the check on each asks for its address
            self.assertIn('\n1 of 20 exited with 7: 127.0.0.7\n'
                          '1 of 20 timed out: 127.0.0.13\n', ran.stderr, ran)


if __name__ == '__main__':
    unittest.main()
