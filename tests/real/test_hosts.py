"""What the ssh on this machine makes of our arguments."""

import os

from lib import TestCase, run
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
