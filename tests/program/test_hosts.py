"""What ssh understands of our arguments, and what --list prints."""

import os
import signal

from lib import (FAKE_SSH, Command, TestCase, classh_argv, run, run_classh,
                 wait_until)
from classh import ssh_argv

SSH_G = ['ssh', '-G', '-F', '/dev/null']    # ssh says what it understood


class RealSshTest(TestCase):
    """What the ssh on this machine makes of our arguments."""

    def understood(self, host, ssh=SSH_G, **options):
        said = run(ssh_argv(host, 'true', ssh=ssh, **options)).check(
            stdout=None, stderr=None)
        return dict(line.split(' ', 1) for line in said.stdout.split('\n')
                    if ' ' in line)

    def check(self, host, wanted, **options):
        said = self.understood(host, **options)
        got = {name: said.get(name, 'none') for name in wanted}
        self.assertEqual(got, wanted, host)

    def test_host_user_and_port(self):
        for host, name, user, port in (
                ('web1', 'web1', 'bo', '22'),
                ('al@web1', 'web1', 'al', '22'),
                ('web1:2222', 'web1', 'bo', '2222'),
                ('al@web1:2222', 'web1', 'al', '2222'),
                ('127.0.0.1:2222', '127.0.0.1', 'bo', '2222'),
                ('[::1]:2222', '::1', 'bo', '2222'),
                ('al@[::1]:2222', '::1', 'al', '2222'),
                ('[::1]', '::1', 'bo', '22'),
                ('::1', '::1', 'bo', '22'),
                ('al@fe80::1%lo', 'fe80::1%lo', 'al', '22'),
                ('al@corp@web1', 'web1', 'al@corp', '22')):
            self.check(host, dict(hostname=name, user=user, port=port),
                       user='bo')

    def test_our_defaults(self):
        self.check('h', dict(batchmode='yes', connecttimeout='10',
                             forwardx11='no', forwardagent='no'))
        self.check('h', dict(connecttimeout='none'), connect_timeout=0)

    def test_users_options_win(self):
        self.check('h', dict(batchmode='no', connecttimeout='3', user='al',
                             forwardx11='yes', forwardagent='yes',
                             port='2222'),
                   user='bo', options=[
                       'BatchMode=no', 'ConnectTimeout=3', 'User=al',
                       'ForwardX11=yes', 'ForwardAgent yes', 'Port=2222'])
        self.check('h', dict(connecttimeout='3', user='al'),
                   ssh=SSH_G + ['-oConnectTimeout=3', '-lal'], user='bo')

    def test_port_and_user_of_one_host_win_over_those_of_all(self):
        self.check('h:22', dict(port='22'), options=['Port=2222'])
        for option in 'User=bo', 'user bo', ' User = bo':
            self.check('al@h', dict(user='al'), options=[option])
            self.check('al@corp@h:22', dict(user='al@corp'), user='cy',
                       options=[option])
            self.check('al@::1', dict(user='al'), options=[option])
            self.check('h', dict(user='bo'), user='cy', options=[option])

    def test_forwarding_is_off_unless_asked_for(self):
        for x11, agent, words in (
                ('yes', 'no', ['-X']), ('yes', 'no', ['-Y']),
                ('no', 'yes', ['-A']), ('yes', 'yes', ['-AX']),
                ('no', 'no', ['-xa']), ('no', 'yes', ['-oForwardAgent=yes']),
                ('yes', 'no', ['-o', 'ForwardX11 yes'])):
            self.check('h', dict(forwardx11=x11, forwardagent=agent),
                       ssh=SSH_G + words)
        for x11, agent, option in (('no', 'yes', 'ForwardAgent=yes'),
                                   ('no', 'yes', 'forwardagent yes'),
                                   ('no', 'yes', ' ForwardAgent = yes'),
                                   ('yes', 'no', 'ForwardX11=yes')):
            self.check('h', dict(forwardx11=x11, forwardagent=agent),
                       options=[option])
            # The first word counts, as with ssh itself.
            self.check('h', dict(forwardx11='no', forwardagent='no'),
                       ssh=SSH_G + ['-xa'], options=[
                           'ForwardX11=no', 'ForwardAgent=no', option])

    def test_users_ssh_config_counts(self):
        path = os.path.join(self.scratch(), 'config')
        with open(path, 'w') as config:
            config.write('Host web*\nHostname 127.0.0.9\nPort 77\nUser al\n'
                         'ConnectTimeout 3\n')
        ssh = ['ssh', '-G', '-F', path]
        self.check('web1', dict(hostname='127.0.0.9', port='77', user='al',
                                connecttimeout='10'), ssh=ssh)
        self.check('bo@web1:78', dict(port='78', user='bo'), ssh=ssh)
        self.check('web1', dict(connecttimeout='3'), ssh=ssh,
                   connect_timeout=0)


# -- On the command line -----------------------------------------------------

class ListTest(TestCase):
    def listed(self, *args, **options):
        said = run_classh('--list', *args, **options)
        return said.check(stdout=None).stdout.split()

    def test_prints_the_hosts_and_runs_nothing(self):
        self.assertEqual(
            self.listed('host1,', 'host2,', 'web[08-10]', 'host1'),
            ['host1', 'host2', 'web08', 'web09', 'web10'])

    def test_excluded_hosts_are_left_out(self):
        hosts = os.path.join(self.scratch(), 'hosts')
        with open(hosts, 'w') as file:
            file.write('a3 # broken\na[5-6]\n')
        self.assertEqual(
            self.listed('a[1-9]', '-x', 'a1,a[8-9]', '--exclude', hosts),
            ['a2', 'a4', 'a7'])

    def test_exclusion_that_excludes_no_host_is_told(self):
        told = "classh: -x excludes none of these hosts: '%s'\n"
        hosts = 'web[01-06]'
        run_classh('--list', hosts, '-x', 'web[3-5]', '-xweb06').check(
            stdout=None, stderr=told % 'web[3-5]')
        run_classh('--list', hosts, '-xweb[03-05]').check(stdout=None)
        for options in ['-q'], ['--progress']:
            said = run_classh('--ssh', FAKE_SSH, *options + [
                '-xweb[3-5],b', '-xweb06', 'true', hosts]).check(stderr=None)
            self.assertIn(told % 'web[3-5],b', said.stderr)
        # Of hosts that arrive it is known at the end.
        run_classh('--ssh', FAKE_SSH, '-q', '-x', 'b,web2', 'true', '-',
                   stdin='web1\nb\n').check(stderr=told % 'web2')
        run_classh('--list', '-x', 'b,web2', '-', stdin='web1\nb\n').check(
            stdout='web1\n', stderr=told % 'web2')
        run_classh('--ssh', FAKE_SSH, '--shell', '-q', hosts, '-x', 'b',
                   stdin='true\n').check(stderr=told % 'b')

    def test_exclusion_that_excludes_no_host_is_told_before_they_end(self):
        with Command(classh_argv('--ssh', FAKE_SSH, '-x', 'web3', 'true',
                                 'slow1')) as command:
            wait_until(lambda: 'none of these' in command.stderr)
            command.signal(signal.SIGTERM)
            command.finish().check(143, None, None)

    def test_name_of_a_file_has_a_hint(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'hosts.txt'), 'w') as file:
            file.write('a1\n')
        os.mkdir(os.path.join(directory, 'web1'))
        for words in ['hosts.txt', 'web1'], ['web1,hosts.txt']:
            run_classh('--ssh', FAKE_SSH, '-q', 'true', *words,
                       cwd=directory).check(
                           stderr='classh: hosts.txt is taken for a host; '
                                  'the file is ./hosts.txt\n')
        said = run_classh('--list', 'a1', '-x', 'hosts.txt', cwd=directory)
        self.assertIn('the file is ./hosts.txt\n', said.stderr)
        run_classh('--list', './hosts.txt', cwd=directory).check(
            stdout='a1\n')

    def test_hosts_that_arrive_may_end_in_cr(self):
        for octets in b'web1\r# old\rweb2\r', b'web1\r\n#\rweb2', (
                b'web1\r\rweb2 # x\r# y'):
            run_classh('--list', '-', stdin=octets).check(
                stdout='web1\nweb2\n')

    def test_files_and_names_mix(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'all'), 'w') as file:
            file.write('a1\na2\n')
        self.assertEqual(self.listed('b', './all', 'a2', 'c', cwd=directory),
                         ['b', 'a1', 'a2', 'c'])

    def test_file_may_be_a_pipe(self):
        self.assertEqual(self.listed('/dev/stdin', stdin='a\nb[1-2]\n'),
                         ['a', 'b1', 'b2'])

    def test_noexpand_takes_brackets_literally(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'all'), 'w') as file:
            file.write('c[1-2] d[\n')
        self.assertEqual(
            self.listed('--noexpand', 'a[1-2],b', './all', '-x', 'c[1-2]',
                        cwd=directory),
            ['a[1-2]', 'b', 'd['])
        run_classh('--ssh', FAKE_SSH, '--noexpand', '-q', 'echo', 'a[1-2]',
                   'signal[').check()

    def test_hosts_that_are_not_ascii_are_listed_as_they_were_given(self):
        name = os.fsdecode(b'b\xc3\xbccher')
        for env in ({}, {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0',
                         'PYTHONUTF8': '0'}):
            said = run_classh('--list', name, '/dev/stdin',
                              stdin=b'b\xc3\xbccher od\xff\n', env=env)
            said.check(stdout='b\xfccher\nod\udcff\n')
