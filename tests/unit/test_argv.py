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

    def test_user_and_port_of_a_host_go_before_those_of_ssh(self):
        ssh = ['/a/ssh', '-l', 'bo', '-p', '9']
        self.assertEqual(self.argv('al@h:22', ssh=ssh)[:9],
                         ['/a/ssh', '-p', '22', '-l', 'al'] + ssh[1:])
        self.assertEqual(self.argv('h', ssh=ssh)[:6], ssh + ['-o'])
        # Not to be taken for arguments of another program.
        ssh = ['wrap', '-e', 'ssh', '-v']
        self.assertEqual(self.argv('al@h', ssh=ssh)[:6], ssh + ['-l', 'al'])

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


class SshTest(unittest.TestCase):
    """The transport: how its settings become ssh_argv()'s."""

    def test_argv_is_that_of_its_settings(self):
        ssh = Ssh('ssh -4', user='bo', connect_timeout=7, options=['A=1'])
        self.assertEqual(ssh.argv('h:22', 'date'), ssh_argv(
            'h:22', 'date', ssh=['ssh', '-4'], user='bo', connect_timeout=7,
            options=['A=1']))

    def test_program_is_the_first_word(self):
        for words, program in (('ssh', 'ssh'), ('/a/b -v', '/a/b'),
                               ("'my ssh' -x", 'my ssh'), (['a b'], 'a b')):
            self.assertEqual(Ssh(words).program, program)

    def test_no_words_are_refused(self):
        for words in '', '  ', []:
            self.assertRaises(ValueError, Ssh, words)

    def test_options_of_all_hosts_go_before_those_of_one(self):
        ssh = Ssh(options=iter(['A=1', 'B=2']),
                  host_options=lambda host: ['For=' + host])
        for host in 'a', 'b':
            argv = ssh.argv(host, 'date')
            self.assertEqual(argv[1:7], ['-o', 'A=1', '-o', 'B=2',
                                         '-o', 'For=' + host])

    def test_one_password_may_be_asked_for(self):
        argv = Ssh(may_prompt=True).argv('h', 'date')
        self.assertEqual(argv[1:5], ['-o', 'BatchMode=no', '-o',
                                     'NumberOfPasswordPrompts=1'])
        self.assertNotIn('BatchMode=yes', argv)

    def test_environment_is_ours_unless_ssh_would_ask_on_a_display(self):
        none = {name: value for name, value in os.environ.items()
                if name not in ('DISPLAY', 'WAYLAND_DISPLAY',
                                'SSH_ASKPASS_REQUIRE')}
        with mock.patch.dict(os.environ, none, clear=True):
            self.assertIsNone(Ssh().environment('h'))
        for name in 'DISPLAY', 'WAYLAND_DISPLAY', 'SSH_ASKPASS_REQUIRE':
            changed = dict(none, **{name: 'x'})
            with mock.patch.dict(os.environ, changed, clear=True):
                self.assertEqual(Ssh().environment('h'), dict(
                    changed, SSH_ASKPASS_REQUIRE='never'))

    def test_order_of_the_argument_list(self):
        # ssh takes the first value of each setting.
        argv = Ssh(['s'], user='bo', options=['A=1'],
                   host_options=lambda host: ['B=2']).argv('al@h:1', 'c')
        self.assertEqual(argv, [
            's', '-p', '1', '-l', 'al', '-o', 'A=1', '-o', 'B=2',
            '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=10',
            '-o', 'ForwardX11=no', '-o', 'ForwardAgent=no', '--', 'al@h',
            'c'])
