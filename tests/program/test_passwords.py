"""-A: a password asked for once, and given to whom it is for."""

import errno
import glob
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from lib import (FAKE_SSH, ROOT, SCRATCH, TESTS, WAIT_LIMIT, Command, WorkTest,
                 classh_argv, leftovers, processes, run, run_classh,
                 run_in_pty, sshd, text, until, wait_until)
from lib.accounts import accounts, not_run
from lib.terminal import Terminal, state

from classh import Gate, PasswordAttendant, SSHJobMan, _process_room

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


class PromptTest(PasswordTest):
    def test_every_form_of_a_password_prompt_is_answered(self):
        hosts = self.prompts(PASSWORD_PROMPTS)
        self.classh(SEND_FILE, *hosts).check(stdout=None)
        self.assertEqual(sorted(self.sent()),
                         sorted((host, SECRET) for host in hosts))

    def test_any_other_prompt_is_refused_and_nothing_is_sent(self):
        # Not an empty answer either: to the server that is one more failure.
        hosts = self.prompts(OTHER_PROMPTS)
        said = self.classh(SEND_FILE, *hosts)
        self.assertEqual(self.sent(), [], said)
        said.check(4, stdout=None, stderr=None)
        for host, prompt in zip(hosts, OTHER_PROMPTS):
            reason = 'showed an unexpected prompt: ' + ' '.join(prompt.split())
            self.assertRegex(said.stdout, r'(?m)^%s   255   \(\d+\.\d\)   %s'
                             % (host, re.escape(reason.rstrip())), said)
        self.assertIn('%d of %d showed an unexpected prompt: p[0-%d]' % (
            len(hosts), len(hosts), len(hosts) - 1), said.stderr, said)

    def test_host_key_question_is_answered_no_and_named(self):
        self.write('key?', HOST_KEY_PROMPT)
        said = self.classh(
            'ask "$(cat key\\?)"; [ "$answer" = yes ] && send bad; '
            'echo Host key verification failed. >&2; exit 255', 'h')
        said.check(4, stdout=None, stderr=None)
        self.assertIn("showed an unexpected prompt: The authenticity of host "
                      "'web1 (10.0.0.1)' can't be established.", said.stdout)
        self.assertIn('  Host key verification failed.\n', said.stdout, said)
        self.assertEqual((self.lines('asked'), self.sent()), (['h '], []))

    def test_passphrase_of_a_key_is_given_if_asked_for(self):
        script = 'ask "%s"; [ "$answer" ] || deny; enter' % KEY_PROMPT
        self.classh('--askpass-key', script, 'h').check(stdout=None)
        self.assertEqual(self.lines('asked'), ['h ' + SECRET])

    def test_key_may_have_a_relative_path_and_any_name(self):
        for path in 'id', './id', "it's", 'a: b', '~/id', 'x' * 100:
            with self.subTest(path=path):
                self.write('asked')
                self.write('key?', "Enter passphrase for key '%s': " % path)
                script = ('prompt=$(cat key\\?; echo x); ask "${prompt%x}"; '
                          'enter')
                for option, answer in ('--askpass-key', SECRET), ('-q', ''):
                    self.classh(option, script, 'h').check(stdout=None)
                    self.assertEqual(self.lines('asked')[-1], 'h ' + answer)

    def test_notice_is_no_question(self):
        # As "Confirm user presence for key": ssh ends what shows it.
        script = ('SSH_ASKPASS_PROMPT=none "$SSH_ASKPASS" "touch it" >notice;'
                  ' ' + LOGIN)
        self.classh(script, 'h', env={'SSH_ASKPASS_PROMPT': 'none'}).check(
            stdout=None)
        self.assertEqual((self.read('notice'), self.sent()),
                         ('', [('h', SECRET)]))

    def test_passphrase_of_a_key_is_given_once_to_each_ssh(self):
        # There is one more for a jump host, which asks for the same key.
        ssh = 'ask "%s"; [ "$answer" ]' % KEY_PROMPT
        self.write('jump', 'ask() { %s; }; %s' % (
            'answer=$("$SSH_ASKPASS" "$1"); echo "jump $answer" >>asked', ssh))
        said = self.classh('--askpass-key', 'sh -e ./jump || deny; '
                           '%s || deny; %s; deny' % (ssh, ssh), 'h')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(self.lines('asked'),
                         ['jump ' + SECRET, 'h ' + SECRET], said)

    def test_passphrase_of_a_key_is_not_given_otherwise(self):
        said = self.classh('ask "%s"; [ "$answer" ] || deny; enter'
                           % KEY_PROMPT, 'h')
        said.check(4, stdout=None, stderr=None)
        self.assertIn('showed an unexpected prompt: ' + KEY_PROMPT.strip(),
                      said.stdout, said)
        self.assertEqual(self.lines('asked'), ['h '])

    def test_key_that_stays_closed_does_not_keep_from_the_password(self):
        # ssh tries the key first, then the password.
        self.classh('ask "%s"; %s' % (KEY_PROMPT, LOGIN), 'h').check(
            stdout=None)
        self.assertEqual(self.lines('asked'), ['h '])
        self.assertEqual(self.sent(), [('h', SECRET)])

    def test_long_prompt_is_cut_and_takes_one_line(self):
        self.write('h.prompt', 'Say "\x1b[2J"\n\n\tand ' + 'more ' * 1000)
        said = self.classh(SEND_FILE, 'h')
        line = said.stdout.splitlines()[0]
        self.assertIn('   showed an unexpected prompt: Say "', line, said)
        self.assertLess(len(line), 160, said)
        self.assertEqual(self.sent(), [])

    def test_prompt_that_is_hard_to_match_holds_nobody_up(self):
        for number, prompt in enumerate(('(', '(u@h) ', '')):
            self.write('h%d.prompt' % number, prompt + 60000 * '@')
        said = self.classh(SEND_FILE, 'h[0-2]')
        self.assertEqual(self.sent(), [], said)
        self.assertLess(said.seconds, 10)

    def test_prompt_cannot_drive_the_terminal(self):
        self.write('h.prompt', 'Code \x1b[2J\x9b: ')
        cwd = os.getcwd()
        os.chdir(self.directory)
        self.addCleanup(os.chdir, cwd)
        said = run_in_pty(classh_argv('--ssh', ASKING_SSH, '--askpass-file',
                                      self.file, SEND_FILE, 'h'))
        self.assertIn('Code \\x1b[2J\\x9b:', said.stdout, said)
        self.assertNotIn('\x1b', said.stdout, said)
        os.chdir(cwd)


class OnceTest(PasswordTest):
    """Each host is answered at most once, and none in vain."""

    def test_forty_hosts_each_get_it_once(self):
        self.classh(LOGIN, 'h[1-40]').check(stdout=None)
        self.assertEqual(sorted(self.sent()), sorted(
            ('h%d' % number, SECRET) for number in range(1, 41)))

    def test_host_that_asks_again_has_refused(self):
        # As a server that takes keyboard-interactive, then password.
        said = self.classh('send "(bob@h) Password: "; '
                           'send "bob@h\'s password: "; deny', 'h')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(self.sent(), [('h', SECRET)], said)
        self.assertIn('   refused the password\n', said.stdout, said)
        self.assertIn('classh: h refused the password', said.stderr, said)

    def test_host_may_ask_again_in_other_words_and_has_refused(self):
        # A prompt of ssh's own cuts long names, one of PAM's may have none.
        for first, second in (
                ('(%s@%s) Password: ' % ('u' * 99, 'h' * 200),
                 "%s@%s's password: " % ('u' * 30, 'h' * 128)),
                ('Password: ', "u@h's password: "),
                ("u@h's password: ", 'Password: ')):
            with self.subTest(first=first):
                self.write('sent')
                said = self.classh('send "%s"; send "%s"; deny' % (
                    first, second), 'h')
                said.check(4, stdout=None, stderr=None)
                self.assertEqual(self.sent(), [('h', SECRET)], said)
                self.assertIn('   refused the password\n', said.stdout, said)

    def test_ssh_that_is_started_again_does_not_get_it_again(self):
        ssh = self.program('ssh', '%s "$@" || %s "$@" || exit 255' % (
            ASKING_SSH, ASKING_SSH))
        said = self.classh("login 'another'", 'h', '--ssh', shlex.quote(ssh))
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(self.sent(), [('h', SECRET)], said)

    def test_password_that_was_taken_is_not_refused_by_a_second_question(self):
        # It has expired, or there is a code to it.
        script = ('case $TARGET in old) send "(u@h) Password: "; '
                  'send "(u@h) New password: "; deny ;; esac; ' + LOGIN)
        said = self.classh('-f1', script, 'old', 'h[1-3]')
        said.check(4, stdout=None, stderr=None)
        self.assertIn('showed an unexpected prompt: (u@h) New password:',
                      said.stdout, said)
        self.assertEqual(self.sent(), [(host, SECRET) for host in
                                       ('old', 'h1', 'h2', 'h3')], said)
        self.assertNotIn('no more', said.stderr, said)

    def test_command_that_ends_with_255_has_refused_nothing(self):
        # $SHELL of a service, by which ssh runs the LocalCommand.
        for shell in '/bin/false', '/bin/sh':
            said = self.classh(LOGIN + '; exit 255', 'h[1-2]',
                               env={'SHELL': shell})
            said.check(4, stdout=None, stderr='2 of 2 ssh failed: h[1-2]\n')

    def check_one_attempt(self, said):
        """Forty hosts, ten at once: one was tried, no other one begun."""
        self.assertEqual(self.sent(), [('h1', SECRET)], said)
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(re.findall(r'(?m)^(h\d+)   255 .*\)   (.*)$',
                                    said.stdout),
                         [('h1', 'refused the password')], said)
        self.assertIn('classh: h1 refused the password: it is sent no more\n',
                      said.stderr, said)
        self.assertIn('39 not tried: h[2-40]\n', said.stderr, said)

    def test_wrong_password_is_tried_on_one_of_forty_hosts(self):
        self.check_one_attempt(self.classh(
            '-f10', "login 'another'", 'h[1-40]'))

    def test_quiet_run_says_what_was_not_tried_too(self):
        said = self.classh('-q', '-f10', "login 'another'", 'h[1-40]')
        said.check(4, stdout='', stderr=None)
        self.assertIn(' refused the password: it is sent no more\n',
                      said.stderr, said)
        self.assertIn('39 not tried: h[2-40]\n', said.stderr, said)

    def test_refusal_without_a_word_is_one(self):
        # ssh -q or LogLevel QUIET.
        self.check_one_attempt(self.classh(
            '-f10', 'send "Password: "; exit 255', 'h[1-40]'))

    def test_refusal_is_heard_where_its_words_are_cut(self):
        said = self.classh('--max-output', '5', '-f2', "login 'another'",
                           'h[1-4]')
        self.assertEqual(len(self.sent()), 1, said)

    def test_banner_that_fills_stderr_does_not_hide_the_refusal(self):
        said = self.classh('--max-output', '1K', '-f2',
                           'head -c 5000 /dev/zero | tr "\\0" b >&2; '
                           "login 'another'", 'h[1-4]')
        self.assertEqual(len(self.sent()), 1, said)

    def test_anyway_goes_on(self):
        said = self.classh('--askpass-anyway', '-f10', '[ $TARGET != h7 ] || '
                           "login 'another'; " + LOGIN, 'h[1-40]')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(sorted(self.sent()), sorted(
            ('h%d' % number, SECRET) for number in range(1, 41)), said)
        self.assertEqual(said.stdout.count('   refused the password\n'), 1)
        self.assertEqual(said.stdout.count('  in\n'), 39, said)
        self.assertNotIn('no more', said.stderr, said)

    def test_host_whose_password_was_changed_stops_the_sending(self):
        said = self.classh('-f1', "[ $TARGET != h3 ] || login 'another'; "
                           + LOGIN, 'h[1-9]')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(self.sent(), [('h%d' % number, SECRET)
                                       for number in (1, 2, 3)], said)
        self.assertIn('classh: h3 refused the password: it is sent no more\n',
                      said.stderr, said)
        self.assertIn('6 not tried: h[4-9]\n', said.stderr, said)

    def test_host_that_never_decides_is_not_a_refusal(self):
        said = self.classh('-f1', '-u3', '[ $TARGET != h1 ] || { send '
                           '"Password: "; exec sleep 60; }; ' + LOGIN,
                           'h[1-3]')
        said.check(3, stdout=None, stderr=None)
        self.assertEqual(self.sent(), [('h%d' % number, SECRET)
                                       for number in (1, 2, 3)], said)
        self.assertEqual(said.stdout.count('  in\n'), 2, said)

    def test_hosts_that_ask_for_nothing_are_not_held_up(self):
        # Each that is in lets the next one start, and runs until all are in.
        self.classh(
            'case $TARGET in k*) enter;; *) %s;; esac; echo >>in; '
            '[ $(wc -l <in) -lt 6 ] || touch all; %s' % (LOGIN, until('all')),
            '-u60', 'k[1-5]', 'h').check(stdout=None)
        self.assertEqual(self.sent(), [('h', SECRET)])

    def test_no_other_host_is_connected_to_before_it_is_proven(self):
        said = self.classh(
            'echo $TARGET >>begun; send "Password: "; [ $TARGET != h1 ] || '
            '{ sleep 1; wc -l <begun; }; enter', 'h[1-9]')
        said.check(stdout=None)
        self.assertIn('  Output:\n\n  1\n', said.stdout, said)

    def impatient(self, *args):
        """Run classh, with no patience for the first host."""
        return run([sys.executable, '-c', 'import sys, classh\n'
                    'classh.PROOF_PATIENCE = .2; sys.exit(classh.main())',
                    '--ssh', ASKING_SSH, '--askpass-file', self.file, *args],
                   cwd=self.directory, env={'PYTHONPATH': ROOT})

    def test_host_that_decides_nothing_does_not_keep_the_others(self):
        # It hangs before it asks, or with the password in hand; when it is
        # closed at last, that is no refusal.
        for hang in '', 'send "Password: "':
            with self.subTest(hang=hang):
                said = self.impatient(
                    '-f9', '[ $TARGET != hung ] || { %s\n until [ $(wc -l '
                    '<in) = 7 ]; do sleep .01; done; echo Connection closed '
                    'by 127.0.0.1 port 22 >&2; exit 255; }; %s; echo >>in'
                    % (hang, LOGIN), 'hung', 'h[1-7]')
                said.check(4, stdout=None, stderr=None)
                self.assertEqual(said.stdout.count('  in\n'), 7, said)
                self.assertIn('   ssh failed\n', said.stdout, said)
                self.assertNotIn('refused', said.stderr, said)
                os.unlink(self.path('in'))

    def test_connection_that_is_lost_is_no_refusal(self):
        # The next one is tried, and one at a time still.
        for words in ('Connection closed by 127.0.0.1 port 22',
                      'Connection closed by UNKNOWN port 65535',
                      'Connection reset by 127.0.0.1 port 22',
                      'Read from remote host h: Connection reset by peer',
                      'Host key verification failed.',
                      'Timeout, server h not responding.'):
            self.write('sent')
            said = self.classh('[ $TARGET != h1 ] || { send "Password: "; '
                               'echo %s >&2; exit 255; }; %s' % (
                                   shlex.quote(words), LOGIN), 'h[1-3]')
            said.check(4, stdout=None, stderr=None)
            self.assertEqual(said.stdout.count('  in\n'), 2, said)
            self.assertNotIn('refused', said.stdout + said.stderr, said)

    def test_ssh_that_is_killed_has_refused_nothing(self):
        said = self.classh('[ $TARGET != h1 ] || { send "Password: "; '
                           'kill -9 $$; }; ' + LOGIN, 'h[1-3]')
        self.assertEqual(said.stdout.count('  in\n'), 2, said)
        self.assertNotIn('refused', said.stdout + said.stderr, said)

    def test_too_many_failures_are_a_refusal(self):
        self.check_one_attempt(self.classh(
            'send "Password: "; echo Received disconnect from 127.0.0.1 port '
            '22:2: Too many authentication failures >&2; exit 255',
            'h[1-40]'))

    def test_all_go_on_at_once_after_the_first_that_took_it(self):
        # Each of the others waits until all three are in.
        self.classh(LOGIN + '; [ $TARGET = h1 ] || { echo >>in; until [ '
                    '$(wc -l <in) -ge 3 ]; do sleep .01; done; }', '-u20',
                    'h1', 'h[2-4]').check(stdout=None)

    def test_all_go_on_where_ssh_may_run_no_local_command(self):
        # ... so that only the end of the first says that it was let in.
        self.classh(
            'send "Password: "; echo $TARGET >>in; [ $(wc -l <in) -lt 3 ] || '
            'touch all; [ $TARGET = $(head -1 in) ] || { %s; }'
            % until('all'), '-u20', 'h[1-3]').check(stdout=None)

    def test_refusal_does_not_wait_for_more_hosts_on_stdin(self):
        with self.start("login 'another'", '-',
                        stdin=subprocess.PIPE) as command:
            command.send(b'h1\n')
            wait_until(lambda: state(command.pid) == 'Z',
                       what='classh ends while its stdin is open')
            said = command.finish()
        said.check(4, stdout=None, stderr=None)
        self.assertIn('classh: h1 refused the password', said.stderr, said)

    def start_asking(self):
        """Start classh; stop it before its first host asks for the password,
        which then waits for the answer."""
        command = self.start('-t0', 'touch begun; %s; send "Password: "'
                             % until('go'), 'h[1-4]')
        wait_until(lambda: os.path.exists(self.path('begun')))
        command.signal(signal.SIGSTOP)
        self.write('go')
        wait_until(lambda: any('ISc' in line for _, line in leftovers()),
                   what='it asks')
        return command

    def test_ctrl_c_sends_nothing_to_who_waits(self):
        with self.start_asking() as command:
            command.signal(signal.SIGINT)
            command.signal(signal.SIGCONT)
            command.finish().check(130, stdout=None, stderr=None)
        wait_until(lambda: not leftovers())

    def test_death_of_classh_sends_nothing_to_who_waits(self):
        with self.start_asking() as command:
            command.signal(signal.SIGKILL)
            command.finish().check(-9, stdout=None, stderr=None)
        wait_until(lambda: not leftovers(), what='ssh has ended')
        self.assertEqual(self.lines('sent'), [])
        for path in glob.glob(os.path.join(os.environ['TMPDIR'],
                                           'classh-*', '*')):
            os.unlink(path)
            if not os.listdir(os.path.dirname(path)):
                os.rmdir(os.path.dirname(path))

    def test_few_descriptors_mean_fewer_at_once_and_no_more(self):
        said = self.classh('-f100', '-u30', LOGIN, 'h[1-60]',
                           before='ulimit -n 64')
        said.check(stdout=None, stderr=None)
        self.assertEqual(said.stdout.count('  in\n'), 60, said)
        self.assertEqual(len(self.sent()), 60)


class HelperTest(PasswordTest):
    """A helper that cannot run, or whose ssh has ended."""

    def test_one_that_cannot_run_costs_one_attempt(self):
        # ssh sends an empty password then.
        for spoil in ('chmod -x "$SSH_ASKPASS"', 'rm "$SSH_ASKPASS"',
                      'echo "#!/none" >"$SSH_ASKPASS"'):
            with self.subTest(spoil=spoil):
                self.write('sent')
                said = self.classh('-f9', spoil + '; ' + LOGIN, 'h[1-40]')
                said.check(4, stdout=None, stderr=None)
                self.assertEqual(self.lines('sent'), ['h1 '], said)
                self.assertIn('h1   255   ', said.stdout, said)
                self.assertIn('   could not ask for the password\n',
                              said.stdout, said)
                self.assertIn('classh: h1 could not ask for the password: it '
                              'is sent no more\n', said.stderr, said)
                self.assertIn('39 not tried: h[2-40]\n', said.stderr, said)

    def test_one_that_fails_later_ends_the_sending_too(self):
        said = self.classh('-f1', '[ $TARGET != h3 ] || chmod -x '
                           '"$SSH_ASKPASS"; ' + LOGIN, 'h[1-9]')
        self.assertEqual(self.lines('sent'), [
            'h1 ' + SECRET, 'h2 ' + SECRET, 'h3 '], said)
        self.assertIn('6 not tried: h[4-9]\n', said.stderr, said)

    def test_host_that_wants_no_password_is_none(self):
        said = self.classh('[ $TARGET != h1 ] || { echo "bob@h1: Permission '
                           'denied (publickey)." >&2; exit 255; }; ' + LOGIN,
                           'h[1-3]')
        self.assertEqual(len(self.sent()), 2, said)
        self.assertNotIn('no more', said.stderr, said)

    def test_it_signals_nobody_where_its_ssh_has_ended(self):
        # Its parent is then this program, a subreaper, as init would be.
        reaper = """
import ctypes, os, signal, subprocess, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
signal.signal(signal.SIGTERM, lambda *_: open('hit', 'w').close())
child = subprocess.Popen(sys.argv[1:], start_new_session=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""
        environment = {}
        with PasswordAttendant(Gate(b'x')) as attendant:
            listener = attendant._socket
            environment.update(
                CLASSH_SOCKET=listener.getsockname(), CLASSH_TOKEN='x',
                SSH_ASKPASS=os.path.join(attendant._directory, 'ask'))
            with Command([sys.executable, '-c', reaper, 'sh', '-c',
                          '"$SSH_ASKPASS" "Password: " & kill -9 $$'],
                         cwd=self.directory, env=environment) as command:
                listener.setblocking(True)
                line = listener.accept()[0]
                with line.makefile('rb') as said:
                    said.read()
                wait_until(lambda: not any('kill -9' in argv and 'import'
                           not in argv for _, argv in leftovers()),
                           what='its ssh has ended')
                line.close()
                command.finish().check(0, stdout='', stderr=None)
        self.assertFalse(os.path.exists(self.path('hit')))

    def test_room_for_processes_is_reckoned_with(self):
        with mock.patch('os.geteuid', return_value=12345), mock.patch(
                'resource.getrlimit', return_value=(40, 40)):
            self.assertEqual(_process_room(), 40)
        with mock.patch('os.geteuid', return_value=12345), mock.patch(
                'resource.getrlimit', return_value=(-1, -1)):
            self.assertGreater(_process_room(), 1 << 20)


class OlderSshTest(PasswordTest):
    """An ssh before 8.4 knows no SSH_ASKPASS_REQUIRE."""

    SCRIPT = '''
        unset SSH_ASKPASS_REQUIRE
        if (: </dev/tty) 2>/dev/null || [ ! "$DISPLAY" ]; then
            echo 'would ask on a terminal' >&2
            deny
        fi
        ''' + LOGIN

    def test_has_no_terminal_and_a_display(self):
        said = self.classh(self.SCRIPT, 'h[1-3]', env={'DISPLAY': None})
        self.assertEqual(said.stdout.count('  in\n'), 3, said)

    def test_has_no_terminal_when_classh_has_one(self):
        self.write('script', self.SCRIPT)
        with Terminal(classh_argv(
                '--ssh', ASKING_SSH, '-A', self.SCRIPT, 'h[1-3]'),
                cwd=self.directory) as terminal:
            terminal.expect('Password for ')
            terminal.type(SECRET + '\n')
            said = terminal.finish()
        self.assertEqual(said.stdout.count('  in\r\n'), 3, said)

    def test_display_that_there_is_stays(self):
        self.classh('[ "$DISPLAY" = :7 ] && ' + LOGIN, 'h',
                    env={'DISPLAY': ':7'}).check(stdout=None)


class SocketTest(PasswordTest):
    """The socket serves our own ssh processes, and nobody else."""

    def setUp(self):
        super().setUp()
        self.command = self.start(
            'echo $$ >>pids; %s; %s' % (until('go'), LOGIN), 'h[1-2]',
            '--askpass-anyway')
        self.addCleanup(self.command.__exit__)
        self.pids = wait_until(
            lambda: len(self.lines('pids')) == 2 and self.lines('pids'))
        self.environments = []
        for pid in self.pids:
            with open('/proc/%s/environ' % pid) as environ:
                self.environments.append(dict(
                    item.split('=', 1)
                    for item in environ.read().split('\0') if '=' in item))
        self.socket = self.environments[0]['CLASSH_SOCKET']

    def line(self):
        line = socket.socket(socket.AF_UNIX)
        self.addCleanup(line.close)
        line.settimeout(10)
        line.connect(self.socket)
        return line

    def answer(self, *said):
        """What a stranger, this process, gets for saying so."""
        line = self.line()
        line.sendall(b'\0'.join(map(os.fsencode, said)))
        line.shutdown(socket.SHUT_WR)
        try:
            return line.recv(1000)
        except ConnectionResetError:
            return b''

    def finish(self):
        """Let the jobs ask; check that both are answered, and once."""
        self.write('go')
        self.command.finish().check(stdout=None)
        self.assertEqual(sorted(self.sent()),
                         [('h1', SECRET), ('h2', SECRET)])

    def test_is_in_a_directory_for_us_alone(self):
        directory = os.path.dirname(self.socket)
        self.assertEqual(os.stat(directory).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(directory).st_uid, os.geteuid())
        self.finish()
        self.assertFalse(os.path.exists(directory))

    def test_every_job_has_a_token_of_its_own(self):
        tokens = {env['CLASSH_TOKEN'] for env in self.environments}
        self.assertEqual(len(tokens), 2)
        self.finish()

    def test_stranger_with_the_right_token_gets_nothing(self):
        for env in self.environments:
            self.assertEqual(self.answer(
                env['CLASSH_TOKEN'], 'ask', 'Password: '), b'')
        self.finish()

    def test_stranger_cannot_say_that_a_host_is_in(self):
        # It would let the next one start.
        command = self.start('env >env; %s; %s' % (until('on'), LOGIN),
                             'h[1-2]')
        self.addCleanup(command.__exit__)
        wait_until(lambda: 'CLASSH_TOKEN' in ''.join(self.lines('env')))
        env = dict(line.split('=', 1) for line in self.lines('env')
                   if '=' in line)
        self.socket = env['CLASSH_SOCKET']
        for _ in range(3):          # turns
            self.assertEqual(self.answer(env['CLASSH_TOKEN'], 'enter'), b'')
        self.assertEqual(len([pid for pid, parent, _, _ in processes()
                              if parent == command.pid]), 1)
        self.write('on')
        command.finish().check(stdout=None)
        self.assertEqual(len(self.sent()), 2)
        self.write('sent')
        self.finish()

    def test_wrong_token_gets_nothing(self):
        self.assertEqual(self.answer('0' * 32, 'ask', 'Password: '), b'')
        self.assertEqual(self.answer('', 'ask', 'Password: '), b'')
        self.finish()

    def test_garbage_gets_nothing_and_does_no_harm(self):
        for garbage in (b'', b'\0', b'\0' * 70000, os.urandom(1 << 20),
                        b'x' * 200000, b'ask\0Password: '):
            line = self.line()
            try:
                line.sendall(garbage)
                line.shutdown(socket.SHUT_WR)
                self.assertEqual(line.recv(100), b'')
            except (BrokenPipeError, ConnectionResetError):
                pass                # it did not hear us out
        self.finish()

    def test_peer_that_never_speaks_holds_nobody_up(self):
        silent = [self.line() for _ in range(20)]
        silent[0].sendall(self.environments[0]['CLASSH_TOKEN'].encode()[:9])
        self.finish()

    def test_peer_that_leaves_at_once_does_no_harm(self):
        for _ in range(20):
            line = self.line()
            line.sendall(self.environments[0]['CLASSH_TOKEN'].encode()
                         + b'\0ask\0Password: ')
            line.close()
        self.finish()


class OwnSocketTest(PasswordTest):
    """Our own ssh, where it does what it should not."""

    def refused(self, script):
        said = self.classh(script, 'h')
        # Without an answer the helper ends ssh, so that it sends no other.
        self.assertEqual(self.sent(), [], said)
        self.assertNotEqual(said.status, 0, said)

    def test_token_of_another_session_gets_nothing(self):
        self.refused('setsid -w sh -c \'"$SSH_ASKPASS" "Password: "; :\' '
                     '>stolen; exit 255')
        self.assertEqual(self.read('stolen'), '')

    def test_wrong_token_gets_nothing(self):
        self.refused('export CLASSH_TOKEN=0; send "Password: "; deny')

    def test_token_of_another_job_gets_nothing(self):
        # h1 leaves its token to h2, which is ended for using it.
        said = self.classh(
            'case $TARGET in h1) echo $CLASSH_TOKEN >token.new; mv token.new '
            'token; %s; while kill -0 $(cat pid); do sleep .01; done; %s ;; '
            'h2) %s; echo $$ >pid.new; mv pid.new pid; '
            'CLASSH_TOKEN=$(cat token); send "Password: " ;; esac' % (
                until('pid'), LOGIN, until('token')), 'h1', 'h2',
            '--askpass-anyway')
        said.check(3, stdout=None, stderr=None)
        self.assertIn('h2   -15   ', said.stdout, said)
        self.assertEqual(self.sent(), [('h1', SECRET)])


class AskTest(WorkTest):
    """The question on the terminal."""

    def terminal(self, *args, **options):
        terminal = Terminal(classh_argv('--ssh', ASKING_SSH, *args),
                            cwd=self.directory, **options)
        self.addCleanup(terminal.__exit__)
        return terminal

    def test_is_asked_once_and_not_echoed(self):
        terminal = self.terminal('-A', LOGIN, 'h[1-5]')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type(SECRET + '\n')
        said = terminal.finish()
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\r\n'), 5, said)
        self.assertEqual(said.stdout.count('assword'), 1, said)
        self.assertNotIn(SECRET, said.stdout, said)
        self.assertTrue(terminal.echoes())

    def test_is_asked_on_the_terminal_whatever_stdout_is(self):
        self.write('run', '"$@" >out 2>err </dev/null')
        terminal = Terminal(['sh', self.path('run')] + classh_argv(
            '--ssh', ASKING_SSH, '-A', LOGIN, 'h'), cwd=self.directory)
        with terminal:
            terminal.expect('Password for ')
            terminal.type(SECRET + '\n')
            terminal.finish().check(stdout=None)
        self.assertIn('  in\n', self.read('out'))
        self.assertEqual(self.read('err'), '')

    def test_ctrl_c_ends_it_and_the_terminal_echoes_again(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type('half\x03')
        said = terminal.finish().check(130, stdout=None)
        self.assertTrue(terminal.echoes())
        self.assertEqual(self.lines('sent'), [])
        self.assertEqual(said.stdout, 'Password for ssh on 1 host: \r\n',
                         said)

    def test_sigterm_ends_it_and_the_terminal_echoes_again(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.signal(signal.SIGTERM)
        terminal.finish().check(143, stdout=None)
        self.assertTrue(terminal.echoes())

    def shell(self, script):
        """Start a shell that runs *script*, where "$@" is classh -A."""
        terminal = Terminal(['sh', '-c', script, 'sh'] + classh_argv(
            '--ssh', ASKING_SSH, '-A', LOGIN, 'h'), cwd=self.directory)
        self.addCleanup(terminal.__exit__)
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        return terminal

    def test_ctrl_z_and_fg_ask_again_and_show_nothing(self):
        # As the line editor of a shell does, it sets the terminal meanwhile.
        for stop in '\x1a', signal.SIGSTOP:
            with self.subTest(stop=stop):
                terminal = self.shell(
                    'set -m; "$@"; stty echo; echo stopped; read -r line; '
                    'fg; echo "ended with $?"')
                terminal.type('half')
                if stop == '\x1a':
                    terminal.type(stop)
                else:
                    pid, = [pid for pid, line in leftovers()
                            if ' -A ' in line and pid != terminal.pid]
                    os.kill(pid, stop)
                terminal.expect('stopped')
                terminal.type('\n')
                terminal.expect('Password for ')
                wait_until(lambda: not terminal.echoes())
                terminal.type(SECRET + '\n')
                terminal.expect('ended with 0')
                said = terminal.finish().check(stdout=None)
                self.assertNotIn(SECRET, said.stdout, said)
                self.assertTrue(terminal.echoes())

    def test_raw_terminal_does_not_cut_or_show_it(self):
        terminal = self.shell('stty raw; "$@"; stty -a; stty sane')
        terminal.type(SECRET[:3])
        terminal.rest()
        terminal.type(SECRET[3:] + '\r')
        said = terminal.finish().check(stdout=None)
        self.assertIn('  in', said.stdout, said)
        self.assertNotIn(SECRET[3:], said.stdout, said)
        self.assertIn(' -icanon ', said.stdout, said)
        self.assertIn(' echo ', said.stdout, said)

    def test_ctrl_c_ends_it_on_a_raw_terminal_too(self):
        terminal = self.shell(
            'trap : INT; stty raw; "$@"; echo "ended with $?"')
        terminal.type('\x03')
        terminal.expect('ended with 130')

    def test_prompt_says_for_what_and_on_how_many_hosts(self):
        self.write('hosts', 'h3\nh4 # two\n')
        for args, prompt in (
                (['-A', 'h[1-5]'], 'ssh on 5 hosts'),
                (['-A', 'h[1-3],h2', './hosts', '-xh1'], 'ssh on 3 hosts'),
                (['-A', '--sudo', 'h'], 'ssh and sudo on 1 host'),
                (['-A', '--sudo', '--sudo-password', 'h'], 'ssh on 1 host'),
                (['--sudo', '--sudo-password', 'h'], 'sudo on 1 host'),
                # Not known yet, or not worth the wait.
                (['-A', 'h', '-'], 'ssh'),
                (['-A', 'h[1-999999999]'], 'ssh'),
                (['-A', 'h', 'h[1-999999999]', '-xh[2-999999999]'], 'ssh')):
            with self.subTest(args=args):
                terminal = self.terminal('true', *args)
                terminal.expect('Password for %s: ' % prompt)
                wait_until(lambda: not terminal.echoes())
                terminal.type('\x03')
                terminal.finish().check(130, stdout=None)

    def test_ctrl_d_is_no_password(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type('\x04')
        terminal.finish().check(
            2, 'Password for ssh on 1 host: \r\nclassh: the password is '
            'empty, or no text\r\n')
        self.assertTrue(terminal.echoes())

    def test_empty_password_is_none(self):
        terminal = self.terminal('-A', LOGIN, 'h')
        terminal.expect('Password for ')
        wait_until(lambda: not terminal.echoes())
        terminal.type('\n')
        said = terminal.finish().check(2, stdout=None)
        self.assertIn('classh: the password is empty', said.stdout, said)

    def test_every_byte_may_be_part_of_it(self):
        # As it is typed on a terminal in another encoding, or in no locale.
        secret = b'p\xe9\xc3\xa9 \t"\'\\$x'
        self.write('right', secret)
        script = ('send "Password: "; [ "$answer" = "$(cat right)" ] || deny;'
                  ' enter; echo in')
        for locale in 'C', 'C.UTF-8':
            with self.subTest(locale=locale):
                terminal = self.terminal('-A', script, 'h',
                                         env={'LC_ALL': locale})
                terminal.expect('Password for ')
                wait_until(lambda: not terminal.echoes())
                terminal.type(text(secret) + '\n')
                terminal.finish().check(stdout=None)

    def test_no_terminal_is_a_usage_error_and_nothing_is_started(self):
        said = run_classh('--ssh', ASKING_SSH, '-A', 'touch started', 'h',
                          cwd=self.directory)
        said.check(2, '', 'classh: no terminal to ask for a password on; '
                          'see --askpass-file\n')
        self.assertEqual(os.listdir(self.directory), [])

    def test_nothing_is_asked_where_nothing_will_run(self):
        for args, status in ((('--list', '-A', 'h'), 0),
                             (('-A', 'true', 'h[3-1]'), 2),
                             (('-A', 'true'), 2), (('-A', '-h'), 0)):
            with self.subTest(args=args):
                terminal = self.terminal(*args)
                said = terminal.finish().check(status, stdout=None)
                self.assertNotIn('Password', said.stdout, said)

    def test_without_it_ssh_asks_nobody(self):
        said = run_classh('--ssh', FAKE_SSH, 'true', 'args1', 'env1',
                          env={'SSH_ASKPASS': None, 'CLASSH_TOKEN': None})
        said.check(stdout=None)
        self.assertIn('  BatchMode=yes\n', said.stdout, said)
        for word in ('SSH_ASKPASS=', 'CLASSH_TOKEN', 'CLASSH_SOCKET',
                     'LocalCommand'):
            self.assertNotIn(word, said.stdout, said)

    def test_without_it_the_ssh_of_a_jump_host_asks_nobody(self):
        # BatchMode does not reach that one, nor has it a terminal: on a
        # desktop it would open a window.
        for options in [], ['--sudo']:
            said = run_classh('--ssh', FAKE_SSH, *options, 'true', 'env1',
                              env={'SSH_ASKPASS': 'x', 'DISPLAY': ':0',
                                   'SSH_ASKPASS_REQUIRE': 'force'})
            # What never ran under sudo is no success.
            said.check(5 if options else 0, stdout=None,
                       stderr=None if options else '')
            self.assertEqual(re.findall(r'  SSH_ASKPASS_REQUIRE=(.*)\n',
                                        said.stdout), ['never'], said)

    def test_with_it_ssh_asks_once(self):
        self.write('secret', SECRET, 0o600)
        said = run_classh('--ssh', FAKE_SSH, '--askpass-file',
                          self.path('secret'), 'true', 'args1', 'env1',
                          env={'SSH_ASKPASS_REQUIRE': 'never'})
        said.check(stdout=None)
        self.assertIn('  SSH_ASKPASS_REQUIRE=force\n', said.stdout, said)
        self.assertIn('  NumberOfPasswordPrompts=1\n', said.stdout, said)
        # Whatever the user's ssh_config says.
        self.assertIn('  BatchMode=no\n', said.stdout, said)


class FileTest(PasswordTest):
    """--askpass-file, for when nobody is there to type."""

    SCRIPT = ('send "Password: "; [ "$answer" = "$(cat right)" ] || deny;'
              ' enter; echo in')

    def works(self, content, right, **options):
        self.write('right', right)
        self.file = options.pop('file', None) or self.write(
            'secret', content, 0o600)
        self.classh(self.SCRIPT, 'h', **options).check(stdout=None)

    def refused(self, path, message):
        self.file = path
        said = self.classh('touch started', 'h')
        said.check(2, '', 'classh: ' + message + '\n')
        self.assertFalse(os.path.exists(self.path('started')))

    def test_its_first_line_is_the_password(self):
        self.works('a b\n', 'a b')
        self.works('a b', 'a b')
        self.works('a b\r\n', 'a b')
        self.works('one\ntwo\n', 'one')

    def test_white_space_and_odd_bytes_belong_to_it(self):
        self.works(b' \t p\xe9\xff"\'$(x)\\n\n', b' \t p\xe9\xff"\'$(x)\\n')

    def test_long_one_is_given_in_full(self):
        self.works('x' * 1000 + '\n', 'x' * 1000)

    def test_may_be_a_pipe(self):
        self.works('', 'piped', file='/dev/stdin', stdin='piped\n')

    def test_is_refused_if_others_may_read_it(self):
        for mode in 0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o777:
            with self.subTest(mode=oct(mode)):
                path = self.write('open', 'secret\n', mode)
                self.refused(path, '%s: not private; try chmod 600' % path)

    def test_is_refused_through_a_link_too(self):
        path = self.write('open', 'secret\n', 0o644)
        os.symlink(path, self.path('link'))
        self.refused(self.path('link'), '%s: not private; try chmod 600'
                     % self.path('link'))

    @unittest.skipIf(os.geteuid(), 'only root can give a file away')
    def test_is_refused_if_it_is_not_ours(self):
        path = self.write('theirs', 'secret\n', 0o600)
        os.chown(path, 12345, -1)
        said = self.classh('true', 'h')
        self.file = path
        said = self.classh('touch started', 'h')
        said.check(2, '', None)
        self.assertIn('classh: %s: not ' % path, said.stderr, said)

    def test_is_refused_if_it_is_not_there(self):
        self.refused('none', 'none: No such file or directory')
        self.refused(self.directory, '%s: Is a directory' % self.directory)

    def test_empty_name_is_not_the_same_as_none(self):
        # --askpass-file "$UNSET" must not go without a password.
        self.refused('', ': No such file or directory')

    def test_is_refused_if_it_holds_no_password(self):
        for content in '', '\n', '\r\n', '\nsecond\n', 'a\0b\n':
            with self.subTest(content=content):
                path = self.write('empty', content, 0o600)
                self.refused(path, '%s is empty, or no text' % path)

    def test_is_not_asked_for_on_a_terminal(self):
        said = run_in_pty(classh_argv(
            '--ssh', FAKE_SSH, '-A', '--askpass-file', self.file,
            'echo in', 'h'))
        said.check(stdout=None)
        self.assertNotIn('assword', said.stdout, said)

    def test_options_that_say_how_to_use_it_need_it(self):
        for option, needed in (('--askpass-key', '-A'),
                               ('--askpass-anyway', '-A'),
                               ('--sudo-password', '--sudo')):
            run_classh('--ssh', FAKE_SSH, option, 'true', 'h').check(
                2, '', 'classh: %s needs %s\n' % (option, needed))


class PlaceTest(PasswordTest):
    """The temporary directory is no place for everything."""

    def test_long_path_of_it_does_no_harm(self):
        place = os.path.join(self.directory, 'x' * 120)
        os.mkdir(place)
        said = self.classh(LOGIN, 'h', env={'TMPDIR': place})
        self.assertEqual(os.listdir(place), [], said)
        said.check(stdout=None)

    def test_odd_name_of_it_does_no_harm(self):
        place = tempfile.mkdtemp(prefix="a %h 'b\" $", dir='/tmp')
        self.addCleanup(os.rmdir, place)
        script = ('echo "$SSH_ASKPASS" >where; local_command=$(printf %s '
                  '"$local_command" | sed s/%%/%/g); [ "${local_command#*$}"'
                  ' != "$local_command" ] || exit 9; ' + LOGIN)
        self.classh(script, 'h', env={'TMPDIR': place}).check(stdout=None)
        self.assertEqual(os.path.dirname(os.path.dirname(
            self.lines('where')[0])), place)
        self.assertEqual(os.listdir(place), [])

    def test_error_in_making_it_leaves_nothing_behind(self):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before = os.listdir(SCRATCH)
        for name in 'socket.socket.bind', 'os.chmod':
            attendant = PasswordAttendant(Gate(b'x'))
            with mock.patch(name, side_effect=full):
                with self.assertRaises(OSError):
                    with attendant:
                        self.fail('it was made')
            self.assertEqual(os.listdir(SCRATCH), before)

    def test_no_descriptor_for_a_helper_is_waited_for(self):
        full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        with PasswordAttendant(Gate(b'x')) as attendant, SSHJobMan(
                ['h1', 'exit7'], 'true', ssh=FAKE_SSH,
                hooks=[attendant]) as job:
            attendant.open(job)
            with mock.patch('os.dup', side_effect=full):
                self.assertEqual(job.poll(0), [])
            self.assertTrue(job.wait(WAIT_LIMIT))
        self.assertEqual({host: result.exitcode for host, result
                          in job.results.items()}, {'h1': 0, 'exit7': 7})

    def test_limit_of_descriptors_is_raised_as_far_as_it_takes(self):
        # All of them run at once, each with four and a line to its helper.
        ssh = self.program(
            'ssh', 'echo >>in; [ $(wc -l <in) -lt 70 ] || touch all\n'
            'until [ -e all ]; do sleep .1; done')
        self.classh('-q', '-f70', '-u30', '--sudo', '--askpass-anyway',
                    '--ssh', shlex.quote(ssh), 'true', 'h[1-70]',
                    before='ulimit -Sn 64').check(5)    # no sudo ran

    def test_helper_needs_nothing_of_the_environment(self):
        said = self.classh(
            'PYTHONPATH=. PYTHONHOME=. PYTHONSTARTUP=os.py IFS=/ ENV=x '
            'BASH_ENV=x; export PYTHONPATH PYTHONHOME PYTHONSTARTUP IFS ENV '
            'BASH_ENV; echo "raise SystemExit(1)" >os.py; cp os.py socket.py;'
            ' cd .; ' + LOGIN, 'h')
        self.assertIn('  in\n', said.stdout, said)


# -- Real servers ------------------------------------------------------------

class RealTest(WorkTest):
    """Password authentication by a real sshd, for throw-away users."""

    @classmethod
    def setUpClass(cls):
        cls.users = accounts()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.users.quiet)
        self.begin = self.users.quiet()
        self.right = self.write('right', self.users.password + '\n', 0o600)
        self.wrong = self.write('wrong', self.users.wrong + '\n', 0o600)

    def login(self, *args, secret=None, port='password', **options):
        return run_classh(
            '--ssh', self.users.ssh, '-O', 'Port=%d' % self.users.ports[port],
            '--askpass-file', secret or self.right, *args, **options)

    def hosts(self, count, role='asked'):
        return '%s@127.0.0.[1-%d]' % (getattr(self.users, role), count)

    def attempts(self):
        """The server's log of successes and of failures: two lists."""
        self.users.quiet()
        lines = self.users.said(self.begin).splitlines()
        return ([line for line in lines if line.startswith('Accepted ')],
                [line for line in lines if line.startswith('Failed ')
                 or 'failure' in line.lower()])

    def check_in(self, said, count, method):
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked),
                         count, said)
        accepted, failed = self.attempts()
        self.assertEqual((len(accepted), failed), (count, []))
        self.assertTrue(all(method in line for line in accepted), accepted)

    def test_right_password_lets_in(self):
        self.check_in(self.login('id -un', self.hosts(10)), 10, 'password')

    def test_right_password_lets_in_by_keyboard_interactive(self):
        self.check_in(self.login('id -un', self.hosts(10), port='keyboard'),
                      10, 'keyboard-interactive')

    def test_wrong_password_reaches_one_of_forty_servers(self):
        for port, lines in (('password', 1), ('keyboard', 2), ('both', 2)):
            with self.subTest(port=port):
                self.begin = self.users.quiet()
                said = self.login('-f10', 'id', self.hosts(40), port=port,
                                  secret=self.wrong)
                said.check(4, stdout=None, stderr=None)
                accepted, failed = self.attempts()
                # By PAM it is a line of its own, besides that of sshd.
                self.assertEqual((accepted, len(failed)), ([], lines),
                                 '\n'.join(failed))
                self.assertIn('127.0.0.[2-40]', said.stderr, said)
                self.assertIn('39 not tried: ', said.stderr, said)

    def test_changed_password_of_one_host_stops_the_sending(self):
        said = self.login('-f1', 'id -un', self.hosts(2),
                          self.hosts(1, 'free'), self.hosts(5))
        said.check(4, stdout=None, stderr=None)
        accepted, failed = self.attempts()
        self.assertEqual((len(accepted), len(failed)), (2, 1), said)
        self.assertIn(
            'classh: %s@127.0.0.1 refused the password: it is sent no more\n'
            % self.users.free, said.stderr, said)
        self.assertIn('3 not tried: %s@127.0.0.[3-5]\n' % self.users.asked,
                      said.stderr, said)

    def test_changed_password_of_some_hosts_is_passed_over_if_asked_for(self):
        said = self.login('--askpass-anyway', 'id -un', self.hosts(4),
                          self.hosts(3, 'free'))
        said.check(4, stdout=None, stderr=None)
        accepted, failed = self.attempts()
        self.assertEqual((len(accepted), len(failed)), (4, 3), said)
        self.assertIn('3 of 7 refused the password: %s@127.0.0.[1-3]\n'
                      % self.users.free, said.stderr, said)

    def test_jump_host_and_target_each_get_it_once(self):
        jump = 'ProxyJump=%s@127.0.0.99' % self.users.asked
        for port in 'password', 'keyboard':
            with self.subTest(port=port):
                self.begin = self.users.quiet()
                said = self.login('-O', jump, 'id -un', self.hosts(2),
                                  port=port)
                said.check(stdout=None)
                accepted, failed = self.attempts()
                self.assertEqual((len(accepted), failed), (4, []), said)

    def test_jump_host_that_cannot_go_on_has_not_refused_it(self):
        said = self.login(
            '-O', 'ProxyJump=%s@127.0.0.99' % self.users.asked, '-f1',
            'id -un', self.users.asked + '@127.0.0.1:1', self.hosts(1))
        said.check(4, stdout=None, stderr=None)
        self.assertIn('@127.0.0.1:1   255', said.stdout, said)
        self.assertNotIn('refused', said.stderr, said)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked), 1)

    def test_unknown_key_behind_a_jump_host_is_no_refusal_of_it(self):
        said = self.login(
            '-O', 'ProxyJump=%s@127.0.0.99' % self.users.asked, '-O',
            'UserKnownHostsFile=/dev/null', '-O', 'StrictHostKeyChecking=ask',
            'id', self.hosts(2))
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(said.stdout.count(
            'showed an unexpected prompt: The authenticity of host'), 2, said)

    def test_jump_host_that_refuses_it_is_asked_once(self):
        said = self.login('-O', 'ProxyJump=%s@127.0.0.99' % self.users.asked,
                          '-f3', 'id', self.hosts(9), secret=self.wrong)
        said.check(4, stdout=None, stderr=None)
        accepted, failed = self.attempts()
        self.assertEqual((accepted, len(failed)), ([], 1), said)

    def test_password_that_has_expired_is_named_and_not_refused(self):
        said = self.login('-f1', 'id -un', self.hosts(1, 'old'),
                          self.hosts(2), port='keyboard')
        said.check(4, stdout=None, stderr=None)
        self.assertRegex(
            said.stdout, 'showed an unexpected prompt: .*password',
                         said)
        self.assertEqual(self.attempts()[1], [], said)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked), 2)

    def test_one_time_code_is_refused_and_named(self):
        if not self.users.codes:
            self.skipTest(not_run('one-time codes', 'no PAM module for them'))
        said = self.login('-f1', 'id -un', self.hosts(1, 'code'),
                          self.hosts(2), port='keyboard')
        said.check(4, stdout=None, stderr=None)
        self.assertRegex(said.stdout, r'showed an unexpected prompt: '
                         r'(\(.*\) )?Verification code:', said)
        self.assertEqual(said.stdout.count('  %s\n' % self.users.asked), 2)
        # Not even an empty one was sent.
        self.assertEqual(self.attempts()[1], [], said)

    def test_unknown_host_key_is_refused_and_named(self):
        said = self.login('-O', 'UserKnownHostsFile=/dev/null', '-O',
                          'StrictHostKeyChecking=ask', 'id', self.hosts(3))
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(re.findall(
            "showed an unexpected prompt: The authenticity of host '\\[?127",
            said.stdout)), 3, said)
        self.assertEqual(self.attempts(), ([], []))

    def test_host_key_that_may_be_taken_is(self):
        known = self.path('known')
        said = self.login('-O', 'UserKnownHostsFile=' + known, '-O',
                          'StrictHostKeyChecking=accept-new', 'id -un',
                          self.hosts(3))
        self.check_in(said, 3, 'password')

    def test_asked_for_on_a_terminal(self):
        with Terminal(classh_argv('--ssh', self.users.ssh, '-A', 'id -un',
                                  self.hosts(3))) as terminal:
            terminal.expect('Password for ')
            terminal.type(self.users.password + '\n')
            said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('  %s\r\n' % self.users.asked), 3)
        self.assertEqual(said.stdout.count('assword'), 1, said)
        self.assertNotIn(self.users.password, said.stdout)

    def test_batch_mode_in_ssh_config_is_overruled(self):
        with open(os.path.join(self.users.directory, 'ssh_config')) as file:
            config = self.write('config', 'BatchMode yes\n' + file.read())
        said = run_classh('--ssh', 'ssh -F ' + shlex.quote(config),
                          '--askpass-file', self.right, 'id -un',
                          self.hosts(2))
        self.check_in(said, 2, 'password')

    def test_helper_that_is_gone_costs_one_attempt(self):
        ssh = self.program('ssh', 'rm -f "$SSH_ASKPASS"; exec %s "$@"'
                           % self.users.ssh)
        said = self.login('id', self.hosts(20), '--ssh', shlex.quote(ssh))
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(self.attempts()[1]), 1, said)
        self.assertIn(' could not ask for the password: it is sent no more',
                      said.stderr, said)

    def test_quiet_ssh_does_not_lock_the_account(self):
        said = self.login('-f3', '-O', 'LogLevel=QUIET', 'id', self.hosts(9),
                          secret=self.wrong)
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(self.attempts()[1]), 1, said)


class EncryptedKeyTest(WorkTest):
    """A key with a passphrase, and host keys: these need no root."""

    @classmethod
    def setUpClass(cls):
        cls.sshd = sshd()

    def setUp(self):
        super().setUp()
        with open(os.path.join(self.sshd.directory, 'key')) as key:
            self.key = self.write('closed', key.read(), 0o600)
        run(['ssh-keygen', '-q', '-p', '-P', '', '-N', SECRET, '-f',
             self.key]).check(stdout=None, stderr=None)
        with open(os.path.join(self.sshd.directory, 'key.pub')) as key:
            self.write('closed.pub', key.read())
        with open(self.sshd.config) as file:
            config = re.sub('(?m)^IdentityFile .*',
                            'IdentityFile "%s"' % self.key, file.read())
        self.ssh = 'ssh -F ' + shlex.quote(self.write('config', config))

    def login(self, *args, secret=SECRET, **options):
        path = self.write('secret', secret + '\n', 0o600)
        return run_classh('--ssh', self.ssh, '--askpass-file', path, *args,
                          **options)

    def test_is_opened(self):
        said = self.login('--askpass-key', 'echo in', '127.0.0.[1-5]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 5, said)

    def test_is_opened_where_its_path_is_relative(self):
        with open(self.path('config')) as file:
            self.write('config', re.sub('(?m)^IdentityFile .*\n', '',
                                        file.read()))
        said = self.login('--askpass-key', '-O', 'IdentityFile=closed',
                          'echo in', '127.0.0.[1-2]', cwd=self.directory)
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 2, said)

    def test_shell_of_the_user_may_be_any_or_none(self):
        # ssh runs a LocalCommand, and the ssh of a jump host, by it.
        false = self.program('false', 'echo not available; exit 1')
        for shell in false, '/nonexistent', '', None:
            with self.subTest(shell=shell):
                said = self.login(
                    '--askpass-key', '-f2', '-O', 'ProxyJump=127.0.0.99',
                    'echo in; [ "${SSH_CONNECTION#*127.0.0.9 }" = '
                    '"$SSH_CONNECTION" ] || exit 255', '127.0.0.[1-2]',
                    '127.0.0.9', env={'SHELL': shell})
                said.check(4, stdout=None, stderr='1 of 3 ssh failed: '
                           '127.0.0.9\n')
                self.assertEqual(re.findall('(?m)^  .+', said.stdout),
                                 ['  Output:', '  in'] * 3, said)

    def test_is_opened_for_a_jump_host_too(self):
        said = self.login('--askpass-key', '-O', 'ProxyJump=127.0.0.99',
                          'echo in', '127.0.0.[1-2]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 2, said)

    def test_wrong_passphrase_is_tried_once(self):
        said = self.login('--askpass-key', '-f3', 'echo in', '127.0.0.[1-9]',
                          secret='another')
        said.check(4, stdout=None, stderr=None)
        self.assertIn('8 not tried: 127.0.0.[2-9]\n', said.stderr, said)

    def test_stays_closed_unless_asked_for(self):
        said = self.login('echo in', '127.0.0.[1-2]')
        said.check(4, stdout=None, stderr=None)
        self.assertIn("showed an unexpected prompt: Enter passphrase for key",
                      said.stdout, said)
        self.assertIn(': Permission denied (publickey', said.stdout, said)

    def test_unknown_host_key_is_refused_and_named(self):
        said = self.login('--askpass-key', '-O', 'UserKnownHostsFile='
                          '/dev/null', '-O', 'StrictHostKeyChecking=ask',
                          'echo in', '127.0.0.[1-2]')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(re.findall(
            "showed an unexpected prompt: The authenticity of host '\\[?127",
            said.stdout)), 2, said)

    def test_key_that_is_open_needs_no_password(self):
        path = self.write('secret', SECRET + '\n', 0o600)
        said = run_classh('--ssh', self.sshd.ssh, '--askpass-file', path,
                          'echo in', '127.0.0.[1-3]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  in\n'), 3, said)
