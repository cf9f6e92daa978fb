"""What the tests of passwords share: prompts, and an ssh that asks."""

import os
import shlex

from .case import WorkTest
from .commands import Command, classh_argv
from .place import TESTS

ASKING_SSH = shlex.quote(os.path.join(TESTS, 'bin', 'asking_ssh'))
SECRET = 'correct horse'
LOGIN = "login '%s' && echo in" % SECRET

# What ssh and PAM say when they want the password.
PASSWORD_PROMPTS = [
    "bob@web1's password: ",
    "bob@web1.example.com's password: ",
    "bob.smith@corp@web1's password: ",
    "bob@2001:db8::7's password: ",
    'Password: ',
    'Password:',
    'password: ',
    '(bob@web1) Password: ',
    '(bob@web1.example.com) Password:',
    '(bob@web1) Password for bob@EXAMPLE.ORG: ',
    'Password for bob: ',
]

# What they say when they want something else.
OTHER_PROMPTS = [
    'Verification code: ',
    '(bob@web1) Verification code: ',
    "One-time password (OATH) for `bob': ",
    '(bob@web1) One-time password: ',
    'OTP Password: ',
    'Enter your one-time password: ',
    'otp-md5 97 ke1234 ext\nPassword: ',
    '(bob@web1) s/key 97 fw13894\nPassword: ',
    '(bob@web1) Passcode: ',
    'Duo two-factor login for bob\n\nPasscode or option (1-3): ',
    'Password + code: ',
    'Passwort: ',
    '(bob@web1) Passwort: ',
    'Mot de passe : ',
    'PIN: ',
    '(bob@web1) Current password: ',
    '(bob@web1) New password: ',
    '(bob@web1) Retype new password: ',
    '(current) UNIX password: ',
    "bob@web1's old password: ",
    "Enter bob@web1's new password: ",
    "Retype bob@web1's new password: ",
    'Your password will expire in 3 days.\nPassword: ',
    'Enter PIN for ED25519-SK key /home/bob/.ssh/id_ed25519_sk: ',
    'Confirm user presence for key ED25519-SK SHA256:0123456789',
    'password',
    'Password: Password: ',
    "bob@web1's password: \nand your mother's maiden name: ",
    'x',
    '',
]
HOST_KEY_PROMPT = (
    "The authenticity of host 'web1 (10.0.0.1)' can't be established.\n"
    'ED25519 key fingerprint is SHA256:0123456789.\n'
    'This key is not known by any other names.\n'
    'Are you sure you want to continue connecting (yes/no/[fingerprint])? ')
KEY_PROMPT = "Enter passphrase for key '/home/bob/.ssh/id_ed25519': "

# What a fake ssh does when it asks what is in the file of its host's name.
SEND_FILE = ('prompt=$(cat "$TARGET.prompt"; echo x); send "${prompt%x}"; '
             'enter; echo in')


class PasswordTest(WorkTest):
    """Runs classh on an ssh that asks, with SECRET as the password."""

    def setUp(self):
        super().setUp()
        self.file = self.write('secret', SECRET + '\n', 0o600)

    def start(self, *args, **options):
        options.setdefault('cwd', self.directory)
        return Command(classh_argv('--ssh', ASKING_SSH, '--askpass-file',
                                   self.file, *args), **options)

    def sent(self):
        """What the servers got: (host, answer), in the order they did."""
        return [tuple(line.split(' ', 1)) for line in self.lines('sent')]

    def prompts(self, prompts):
        """Give each prompt a host; return the hosts."""
        hosts = ['p%d' % number for number, _ in enumerate(prompts)]
        for host, prompt in zip(hosts, prompts):
            self.write(host + '.prompt', prompt)
        return hosts
