"""-A: a password asked for once, and given to whom it is for."""

import contextlib
import glob
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from unittest import mock

from lib import (MODULE, Command, classh_argv, leftovers, run, run_in_pty,
                 until, wait_until)
from lib.passwords import (ASKING_SSH, HOST_KEY_PROMPT, KEY_PROMPT, LOGIN,
                           OTHER_PROMPTS, PASSWORD_PROMPTS, SECRET, SEND_FILE,
                           PasswordTest)
from lib.terminal import Terminal, state
from classh import AskpassServer, LockoutGuard, _process_room


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
        said = self.classh(LOGIN + '; exit 255', 'h[1-2]')
        self.assertEqual(said.stdout.count('  in\n'), 2, said)
        self.assertNotIn('refused', said.stdout + said.stderr, said)
        # Without a log, what is on stdout says that ssh was logged in.
        said = self.classh('-OLogLevel=INFO', LOGIN + '; exit 255', 'h[1-2]')
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
        self.assertIn('39 of 40 not tried: h[2-40]\n', said.stderr, said)

    def test_wrong_password_is_tried_on_one_of_forty_hosts(self):
        self.check_one_attempt(self.classh(
            '-f10', "login 'another'", 'h[1-40]'))

    def test_quiet_run_says_what_was_not_tried_too(self):
        said = self.classh('-q', '-f10', "login 'another'", 'h[1-40]')
        said.check(4, stdout='', stderr=None)
        self.assertIn(' refused the password: it is sent no more\n',
                      said.stderr, said)
        self.assertIn('39 of 40 not tried: h[2-40]\n', said.stderr, said)

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
        self.assertIn('6 of 9 not tried: h[4-9]\n', said.stderr, said)

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

    def test_many_that_ask_for_nothing_are_tried_at_once(self):
        # After 8, the next 8 wait for each other before they are in.
        said = self.classh(
            '-f99', 'n=${TARGET#k}; [ $n -le 8 ] || { echo >>begun; '
            '[ $(wc -l <begun) -lt 8 ] || touch all; %s; }; enter'
            % until('all'), '-u60', 'k[1-16]')
        said.check(stdout=None)

    def test_wrong_password_is_tried_on_one_of_those_at_once(self):
        said = self.classh(
            '-f99', 'n=${TARGET#h}; [ $n -gt 8 ] || { enter; exit 0; }; '
            'echo >>begun; [ $(wc -l <begun) -lt 8 ] || touch all; %s; '
            "login 'another'" % until('all'), '-u60', 'h[1-40]')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(len(self.lines('begun')), 8, said)
        self.assertEqual(len(self.sent()), 1, said)
        self.assertIn('24 of 40 not tried: ', said.stderr, said)

    def test_host_that_had_the_password_is_not_tried_again(self):
        # A server that closes at the first wrong password says no more.
        said = self.classh(
            '--retries', '3', 'send "Password: "; echo Connection closed by '
            '127.0.0.1 port 22 >&3; exit 255', 'h1')
        said.check(4, stdout=None, stderr=None)
        self.assertEqual(self.sent(), [('h1', SECRET)], said)
        self.assertIn('   connection lost\n', said.stdout, said)

    def test_no_other_host_is_connected_to_before_it_is_proven(self):
        said = self.classh(
            'echo $TARGET >>begun; send "Password: "; [ $TARGET != h1 ] || '
            '{ sleep 1; wc -l <begun; }; enter', 'h[1-9]')
        said.check(stdout=None)
        self.assertIn('  Output:\n\n  1\n', said.stdout, said)

    def impatient(self, *args):
        """Run classh, with no patience for the first host."""
        return run([sys.executable, '-c', 'import sys, classh\n'
                    'classh.PROOF_TIMEOUT = .2; sys.exit(classh.main())',
                    '--ssh', ASKING_SSH, '--askpass-file', self.file, *args],
                   cwd=self.directory, env={'PYTHONPATH': MODULE})

    def test_host_that_decides_nothing_does_not_keep_the_others(self):
        # It hangs before it asks, or with the password in hand; when it is
        # closed at last, that is no refusal.
        for hang, reason in (
                ('', 'connection dropped before login'),
                ('send "Password: "', 'connection lost')):
            with self.subTest(hang=hang):
                self.write('in')
                said = self.impatient(
                    '-f9', '--retries', '0', '[ $TARGET != hung ] || { %s\n until [ $(wc -l '
                    '<in) = 7 ]; do sleep .01; done; echo Connection closed '
                    'by 127.0.0.1 port 22 >&2; exit 255; }; %s; echo >>in'
                    % (hang, LOGIN), 'hung', 'h[1-7]')
                said.check(4, stdout=None, stderr=None)
                self.assertEqual(said.stdout.count('  in\n'), 7, said)
                self.assertIn('   %s\n' % reason, said.stdout, said)
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

    def test_all_go_on_where_ssh_has_no_log(self):
        # ... so that only the end of the first says that it was let in.
        self.classh(
            '-OLogLevel=INFO', 'send "Password: "; echo $TARGET >>in; [ $(wc -l <in) -lt 3 ] || '
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
        for place in glob.glob(os.path.join(os.environ['TMPDIR'],
                                            'classh-*')):
            shutil.rmtree(place)

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
                self.assertIn('39 of 40 not tried: h[2-40]\n',
                              said.stderr, said)

    def test_host_that_denies_and_never_asks_ends_no_sending(self):
        # As where keyboard-interactive is offered without PAM.
        said = self.classh('-f1', '[ $TARGET != h2 ] || deny; ' + LOGIN,
                           'h[1-3]')
        said.check(4, None, '1 of 3 permission denied: h2\n')
        self.assertEqual(self.lines('sent'), ['h1 ' + SECRET, 'h3 ' + SECRET])

    def test_one_that_fails_later_ends_the_sending_too(self):
        said = self.classh('-f1', '[ $TARGET != h3 ] || chmod -x '
                           '"$SSH_ASKPASS"; ' + LOGIN, 'h[1-9]')
        self.assertEqual(self.lines('sent'), [
            'h1 ' + SECRET, 'h2 ' + SECRET, 'h3 '], said)
        self.assertIn('6 of 9 not tried: h[4-9]\n', said.stderr, said)

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
        with AskpassServer(LockoutGuard(b'x')) as askpass:
            listener = askpass._socket
            environment.update(SSH_ASKPASS=askpass._helper)
            with Command([sys.executable, '-c', reaper, 'sh', '-c',
                          '"$SSH_ASKPASS" "Password: " & kill -9 $$'],
                         cwd=self.directory, env=environment) as command:
                listener.setblocking(True)
                line = listener.accept()[0]
                self.assertRegex(line.recv(1000), rb'^\d+ Password: $')
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
            with mock.patch('os.listdir', side_effect=FileNotFoundError):
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
        with open('/proc/%s/environ' % self.pids[0]) as environ:
            helper = re.search('SSH_ASKPASS=([^\0]*)', environ.read())
        self.socket = os.path.join(os.path.dirname(helper.group(1)),
                                   'socket-0')

    def line(self):
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(line.close)
        line.settimeout(10)
        line.connect(self.socket)
        return line

    def answer(self, said):
        """What a stranger, this process, gets for saying so."""
        line = self.line()
        try:
            line.send(said)
            return line.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
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

    def test_stranger_who_names_a_job_gets_nothing(self):
        for pid in self.pids:
            self.assertEqual(self.answer(b'%s Password: ' % pid.encode()),
                             b'')
        self.finish()

    def test_garbage_gets_nothing_and_does_no_harm(self):
        for garbage in (b'', b'\0', b'\0' * 70000, os.urandom(100000),
                        b'x', b' ', b'Password: '):
            self.assertEqual(self.answer(garbage), b'')
        self.finish()

    def test_peer_that_never_speaks_holds_nobody_up(self):
        silent = [self.line() for _ in range(20)]
        self.assertEqual(len(silent), 20)
        self.finish()

    def test_peer_that_leaves_at_once_does_no_harm(self):
        for _ in range(20):
            line = self.line()
            with contextlib.suppress(OSError):      # it is faster
                line.send(b'%s Password: ' % self.pids[0].encode())
            line.close()
        self.finish()


class OwnSocketTest(PasswordTest):
    """Our own ssh, where it does what it should not."""

    def refused(self, script):
        said = self.classh(script, 'h')
        # Without an answer the helper ends ssh, so that it sends no other.
        self.assertEqual(self.sent(), [], said)
        self.assertNotEqual(said.status, 0, said)

    def test_another_session_gets_nothing(self):
        self.refused('setsid -w sh -c \'"$SSH_ASKPASS" "Password: "; :\' '
                     '>stolen; exit 255')
        self.assertEqual(self.read('stolen'), '')

    def test_garbage_gets_nothing_and_does_no_harm(self):
        # From the session of a job: what another program of ssh's could say.
        self.write('say.py', '''
import os, socket, sys
place = os.path.join(os.path.dirname(os.environ['SSH_ASKPASS']), 'socket-0')
for said in b'', b' ', b'x', bytes(70000), os.urandom(100000), None:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(place)
    if said is None:
        line.close()                # says nothing, and leaves
        continue
    line.send(said)
    assert line.recv(1000) == b'', said
idle = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
idle.connect(place)
if os.fork() == 0:
    os.close(1)
    os.close(2)
    idle.recv(1)                    # never speaks
''')
        self.classh('%s say.py || exit 9; %s' % (
            shlex.quote(sys.executable), LOGIN), 'h').check(stdout=None)
        self.assertEqual(self.sent(), [('h', SECRET)])
