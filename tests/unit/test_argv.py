"""The argument list of ssh, a pure function of a host and a command."""

import os
import unittest
from unittest import mock

from classh import Ssh, ssh_argv


class SshArgvTest(unittest.TestCase):
    def argv(self, host, command='date', **options):
        return ssh_argv(host, command, **options)

    def test_as_it_is_without_options(self):
        self.assertEqual(self.argv('web1'), [
            'ssh', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=10',
            '-o', 'ForwardX11=no', '-o', 'ForwardAgent=no',
            '--', 'web1', 'date'])

    def test_ssh_comes_first_and_the_users_options_before_ours(self):
        self.assertEqual(
            self.argv('al@web1:22', ssh=['sudo', 'ssh', '-4'],
                      options=['A=1', 'B 2'], connect_timeout=5),
            ['sudo', 'ssh', '-4', '-p', '22', '-l', 'al', '-o', 'A=1',
             '-o', 'B 2', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5',
             '-o', 'ForwardX11=no', '-o', 'ForwardAgent=no',
             '--', 'al@web1', 'date'])

    def test_command_is_one_argument_and_is_left_alone(self):
        for command in ('', ' ', 'a "b" $c\n\'d\' ; *', '-x', '--', '%h',
                        '\udcff'):
            self.assertEqual(self.argv('h', command)[-2:], ['h', command])

    def test_connect_timeout_of_0_is_left_to_ssh_config(self):
        argv = self.argv('h', connect_timeout=0)
        self.assertNotIn('ConnectTimeout', ' '.join(argv))

    def test_user_goes_before_the_default_user(self):
        self.assertIn('-l bo -o', ' '.join(self.argv('h', user='bo')))
        argv = self.argv('al@h', user='bo')
        self.assertEqual((argv[1:3], argv.count('-l')), (['-l', 'al'], 1))
        self.assertNotIn('-l', self.argv('h'))

    def test_port_and_the_brackets_of_an_address_are_taken_off(self):
        for host, port, name in (
                ('h:22', ['-p', '22'], 'h'),
                ('al@h:22', ['-p', '22', '-l', 'al'], 'al@h'),
                ('[::1]:22', ['-p', '22'], '::1'),
                ('al@[fe80::1%lo]:22', ['-p', '22', '-l', 'al'],
                 'al@fe80::1%lo'),
                ('[::1]', [], '::1'), ('::1', [], '::1'),
                ('al@::1', ['-l', 'al'], 'al@::1'),
                ('a@b@h', ['-l', 'a@b'], 'a@b@h')):
            argv = self.argv(host)
            self.assertEqual((argv[1:argv.index('-o')], argv[-3:]),
                             (port, ['--', name, 'date']), host)

    def test_bracket_that_is_no_pattern_is_left_alone(self):
        for host in ('web[1-2]', '[x]', '[]', 'a[', ']a', '[1]b', 'al@[1]'):
            self.assertEqual(self.argv(host)[-3:], ['--', host, 'date'])
        self.assertEqual(self.argv('web[1-2]:22')[-3:],
                         ['--', 'web[1-2]', 'date'])
