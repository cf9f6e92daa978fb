"""--sudo: the whole command as root, with a password if it must be."""

import os
import random
import re
import shlex
import shutil
import subprocess
import sys

from lib import FAKE_SSH, WorkTest, run_classh, until
from lib.accounts import installed, not_run
from classh import SudoWrapper

# A sudo in place of the real one, for what that does not do on demand.  It
# has marker, the prompt to print, mark, what its command will print, and
# command, a list, to run.
FAKE_SUDO = '''#!%s -ISE
import fcntl, os, sys, termios, time
words = sys.argv[1:]
marker = words[words.index('-p') + 1] if '-p' in words else ''
marker = marker.replace('%%%%', '%%')
command = words[words.index('--') + 1:]
mark = command[2].split()[1].replace('%%%%', '%%')
def say(text):
    os.write(2, text.encode())
def read():
    line = b''
    while not line.endswith(b'\\n'):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    with open('given', 'a') as given:
        given.write(repr(line) + '\\n')
    return line
def go():
    os.execvp(command[0], command)
''' % sys.executable


class FakeSudoTest(WorkTest):
    """What a sudo may do; this needs no root."""

    SECRET = 'correct horse'

    def setUp(self):
        super().setUp()
        self.secret = self.write('secret', self.SECRET + '\n', 0o600)
        os.mkdir(self.path('bin'))

    def sudo(self, script, *args, password=True, locale=None,
             **options):
        """Run classh with a sudo that is this *script*, in Python."""
        self.write('bin/sudo', FAKE_SUDO + script, 0o755)
        if password:
            args = ('--askpass-file', self.secret) + args
        said = run_classh(
            '--ssh', FAKE_SSH, '--sudo', '-u20', *args, cwd=self.directory,
            env={'PATH': self.path('bin') + ':' + os.environ['PATH'],
                 'LC_ALL': locale},
            **options)
        self.assertNotIn('Traceback', said.stderr, said)
        return said

    def given(self):
        """What sudo read, a list of bytes."""
        return [eval(line) for line in self.lines('given')]

    def test_mark_in_single_bytes_is_understood_and_not_shown(self):
        # Each byte is read before the next is written.
        said = self.sudo('''
def slowly(text):
    for byte in text.encode():
        os.write(2, bytes([byte]))
        while fcntl.ioctl(2, termios.FIONREAD, b'    ') != bytes(4):
            time.sleep(.001)
slowly('before ')
slowly(marker)
assert read() == b'correct horse\\n'
slowly('between ')
command[2] = command[2].split(';', 1)[1]
slowly(mark)
slowly('after')
go()
''', 'echo in; cat', 'h')
        said.check(stdout=None)
        self.assertIn('  Error:\n\n  before between after\n\n'
                      '  Output:\n\n  in\n\n', said.stdout, said)

    def test_mark_in_the_midst_of_much_is_understood(self):
        said = self.sudo('''
say('x' * 70001 + marker + 'y' * 70001)
assert read() == b'correct horse\\n'
go()
''', 'echo in', 'h')
        said.check(stdout=None)
        self.assertIn('  %s%s\n' % ('x' * 70001, 'y' * 70001), said.stdout)

    def test_password_is_not_written_unless_it_is_asked_for(self):
        # A host where sudo asks for nothing, and reads all the same.
        said = self.sudo('go()', 'head -c 100; echo end', 'h[1-3]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  Output:\n\n  end\n'), 3, said)

    def test_sudo_that_ends_without_asking_gets_nothing(self):
        said = self.sudo('say("sudo: no tty present"); sys.exit(1)', 'true',
                         'h')
        said.check(5, stdout=None, stderr=None)
        self.assertIn('   did not run the command under sudo\n', said.stdout)
        self.assertEqual(self.given(), [])

    def test_second_question_ends_it_and_the_reason_says_why(self):
        for words, reason in (
                ('Sorry, try again.', 'refused the password for sudo'),
                ('Authentication failed, try again.',       # sudo-rs
                 'refused the password for sudo'),
                ('Nochmal.', 'asked again for sudo'),
                ('', 'asked again for sudo')):
            with self.subTest(words=words):
                said = self.sudo('''
say(marker); read(); say('%s\\n' + marker); read(); sys.exit(1)
''' % words, '-f1', 'true', 'h[1-3]')
                said.check(5, stdout=None, stderr=None)
                self.assertRegex(said.stdout, r'^h1   1   .*   %s\n' % reason)
                self.assertIn('2 of 3 not tried: h[2-3]\n', said.stderr, said)
                self.assertEqual(self.given(), [b'correct horse\n', b''])
                os.unlink(self.path('given'))

    def test_one_try_in_another_language_is_a_refusal(self):
        said = self.sudo('''
say(marker); read()
say('sudo: 1 saisie de mot de passe incorrecte\\n'); sys.exit(1)
''', '-f1', 'true', 'h[1-3]')
        self.assertIn('   refused the password for sudo\n', said.stdout, said)
        self.assertIn('2 of 3 not tried: h[2-3]\n', said.stderr, said)

    def test_stdin_ends_with_the_password_where_there_is_no_input(self):
        said = self.sudo('say(marker); read(); read(); go()', 'cat', 'h')
        said.check(stdout=None)
        self.assertEqual(self.given(), [b'correct horse\n', b''])

    def test_password_that_has_expired_is_no_refusal(self):
        # With -I stdin stays open, and sudo waits for the new password.
        script = '''
say(marker); read()
say('sudo: Account or password is expired, reset your password and try again'
    '\\nCurrent password: ')
while read(): pass
sys.exit(1)
'''
        said = self.sudo(script, '-f1', 'true', 'h[1-3]')
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(
            said.stdout.count('   wanted a new password for sudo\n'),
                         3, said)
        said = self.sudo(script, '-I', '-u4', 'true', 'h', stdin='in\n')
        said.check(3, stdout=None, stderr=None)
        self.assertIn(
            '   timed out after 4 s, wanted a new password for sudo\n',
                      said.stdout, said)

    def test_sudo_speaks_english_and_the_command_has_its_own_locale(self):
        # sudo keeps LC_ALL, or drops it, as its env_reset says.
        for keep in True, False:
            for locale in None, '', 'C', 'C.UTF-8', 'xx_XX.UTF-8':
                with self.subTest(keep=keep, locale=locale):
                    said = self.sudo('''
open('locale', 'w').write(os.environ['LC_ALL'])
if not %s:
    del os.environ['LC_ALL']
go()
''' % keep, 'printenv LC_ALL || echo none', 'h', locale=locale)
                    self.assertEqual(self.read('locale'), 'C')
                    self.assertIn('  Output:\n\n  %s\n\n' % (
                        keep and locale or 'none'), said.stdout, said)

    def test_user_who_may_not_is_no_refusal_in_any_locale(self):
        said = self.sudo('''
say(marker); read()
say('bob is not in the sudoers file.' if os.environ['LC_ALL'] == 'C' else
    'bob ne peut pas utiliser sudo.')
sys.exit(1)
''', '-f1', 'true', 'h[1-3]', locale='fr_FR.UTF-8')
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(said.stdout.count(
            '   did not run the command under sudo\n'), 3, said)

    def test_prompt_of_sudo_rs_is_not_shown(self):
        for ask in 'say(p + marker + q)', (
                'for part in p[:3], p[3:], marker, q[:4], q[4:]:\n'
                '    say(part); time.sleep(.01)'):
            said = self.sudo('''
p, q = '[sudo: ', '] Password: '
say('before\\n')
%s
read(); say('\\n'); go()
''' % ask, 'echo after >&2', 'h')
            said.check(stdout=None)
            self.assertIn('  Error:\n\n  before\n  after\n\n', said.stdout)

    def test_marks_are_heard_on_stdout_too(self):
        # As where RequestTTY=force makes one stream of both.
        said = self.sudo('''
os.dup2(1, 2)
say(marker); read(); go()
''', 'echo in; cat', 'h[1-3]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  Output:\n\n  in\n\n'), 3, said)

    def test_prompt_that_is_not_answered_is_named(self):
        prompts = {'h1': 'Passwort: ', 'h2': 'Mot de passe : ', 'h3': 'PIN: '}
        said = self.sudo('say(%r[os.environ["TARGET"]]); read()' % prompts,
                         '-u4', '--askpass-anyway', 'true', 'h[1-3]')
        said.check(3, stdout=None, stderr=None)
        for host, prompt in prompts.items():
            self.assertRegex(said.stdout, r'(?m)^%s .*   timed out after 4 s, '
                             r'sudo asked: %s$' % (host, prompt.strip()), said)
        self.assertIn('3 of 3 timed out after 4 s (-u): h[1-3]\n', said.stderr)

    def test_status_0_of_what_never_ran_is_an_error(self):
        for name, login in (('forced', 'echo only backups here'),
                            ('restricted', 'exit 0')):
            ssh = shlex.quote(self.program(name, login))
            for password in True, False:
                said = self.sudo('go()', '--ssh', ssh, '-S', '-', 'true',
                                 'h[1-3]', password=password)
                said.check(5, '', stderr=None)
                self.assertEqual(len(re.findall(
                    r'h\d   1   \(.*\)   did not run the command under sudo\n',
                    said.stderr)), 3, said)
                self.sudo('go()', '--ssh', ssh, '--maxrc', 'true', 'h[1-3]',
                          password=password).check(1, None, None)

    def test_mark_of_the_question_is_deaf_once_the_command_runs(self):
        # A command, or who else reads the remote ps, prints it again.
        said = self.sudo('''
say(marker); read()
command[3] = command[3].replace('MARK', marker)
go()
''', '-I', 'printf %s MARK >&2; cat', 'h', stdin='input\n')
        said.check(stdout=None)
        self.assertIn('  Output:\n\n  input\n', said.stdout, said)
        self.assertNotIn(self.SECRET, said.stdout, said)

    def test_marks_that_come_twice_do_no_harm(self):
        for password in True, False:
            said = self.sudo('''
say(mark + mark + marker + marker + mark)
command[3] = command[3].replace('MARK', mark + marker)
go()
''', '-I', 'printf %s MARK >&2; cat; printf %s MARK >&2', 'h[1-3]',
                             password=password, stdin='input\n')
            said.check(stdout=None)
            self.assertEqual(said.stdout.count('  Output:\n\n  input\n'), 3)
            self.assertNotIn(self.SECRET, said.stdout, said)

    def test_mark_of_the_command_after_two_questions_does_no_harm(self):
        # Who asks twice has its stdin closed, and there is input for it.
        said = self.sudo('''
if os.environ['TARGET'] == 'evil':
    say(marker + marker + mark)
    sys.exit(1)
go()
''', '-I', 'cat', 'h', 'evil', 'none', '-f1', stdin='input\n')
        said.check(5, None, None)
        self.assertIn('evil   1   (', said.stdout, said)
        self.assertEqual(said.stdout.count('  Output:\n\n  input\n'), 1)
        self.assertIn('1 of 3 not tried: none\n', said.stderr, said)

    def asking(self):
        """An ssh that asks for the password, too."""
        return shlex.quote(self.program('ssh', """
[ "$("$SSH_ASKPASS" "Password: ")" = 'correct horse' ] || exit 255
exec %s "$@"
""" % FAKE_SSH))

    def test_host_that_waits_for_another_is_not_charged_for_it(self):
        # As below; the second waits for 4 seconds, and then takes 4.
        said = self.sudo('''
if os.environ['TARGET'] == 'first':
    say(marker)
    read()
    open('asked', 'w').close()
    time.sleep(4)
elif os.environ['TARGET'] == 'second':
    while not os.path.exists('asked'):
        time.sleep(.001)
    say(marker)
    read()
go()
''', '-u7', '[ $TARGET != second ] || sleep 4', 'open', 'first', 'second',
                         '--ssh', self.asking())
        said.check(stdout=None)
        self.assertRegex(said.stdout, r'second   0   \(([89]|1\d)\.', said)

    def test_two_questions_before_the_answer_get_one(self):
        # The second line would be the first that the command reads.  Two
        # ask at once, since ssh's password, the same one, is proven by then
        # and sudo asks for nothing on the host that proves it.
        said = self.sudo('''
def wait_for(there):
    while not there():
        time.sleep(.001)
if os.environ['TARGET'] == 'first':
    say(marker)
    read()
    open('asked', 'w').close()
    wait_for(lambda: os.path.exists('asked twice'))
elif os.environ['TARGET'] == 'second':
    wait_for(lambda: os.path.exists('asked'))
    say(marker + marker)
    wait_for(lambda: fcntl.ioctl(2, termios.FIONREAD, b'    ') == bytes(4))
    open('asked twice', 'w').close()
    read()
go()
''', 'cat; echo end', 'open', 'first', 'second', '--ssh', self.asking())
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  Output:\n\n  end\n'), 3, said)
        self.assertEqual(self.given(), 2 * [b'correct horse\n'])

    def test_no_other_host_is_started_before_it_is_proven(self):
        # Each that waited at its prompt would be one more failed attempt.
        said = self.sudo('''
open('begun', 'a').write('x')
say(marker); read()
say(marker); read()
sys.exit(1)
''', 'true', 'h[1-40]')
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(self.read('begun'), 'x')
        self.assertIn('39 of 40 not tried: h[2-40]\n', said.stderr, said)

    def test_after_a_refusal_sudo_is_not_to_ask_again(self):
        said = self.sudo('''
open('words', 'a').write(words[0] + '\\n')
if words[0] == '-n':
    say('sudo: a password is required\\n')
else:
    say(marker); read(); say(marker); read()
sys.exit(1)
''', '--shell', 'h[1-2]', stdin='id\nid\n')
        said.check(5, stdout=None, stderr=None)
        self.assertEqual(self.lines('words'), ['-S', '-n', '-n'])
        self.assertEqual(said.stdout.count('   not sent the password\n'),
                         2, said)

    def test_marks_that_come_after_stdin_was_closed_do_no_harm(self):
        said = self.sudo('''
command[3] = command[3].replace('MARK', mark + marker)
go()
''', 'exec <&-; printf %s MARK >&2; printf %s MARK >&2', 'h[1-3]')
        said.check(stdout=None)

    def test_mark_of_no_sudo_from_a_command_does_no_harm(self):
        said = self.sudo('go()', 'tr "\\0" "\\n" </proc/$PPID/cmdline >&2',
                         'h')
        said.check(stdout=None)
        self.assertNotIn('found no sudo', said.stdout, said)

    def test_no_two_runs_have_the_same_marks(self):
        for _ in range(2):
            self.sudo('open("marks", "a").write(marker + "\\n"); go()',
                      'true', 'h[1-2]').check(stdout=None)
        marks = self.lines('marks')
        self.assertEqual((len(marks), len(set(marks))), (4, 2))

    def test_login_shell_that_talks_is_no_matter(self):
        said = self.sudo('''
say('Welcome!\\nPassword: try again\\n' + marker); read(); say('\\n'); go()
''', 'echo in', 'h')
        said.check(stdout=None)
        self.assertIn('  Welcome!\n', said.stdout, said)
        self.assertEqual(self.given(), [b'correct horse\n'])

    def test_login_shell_that_traces_does_not_ask_for_the_password(self):
        # It prints all of the command line, as after 'set -x' in a profile.
        ssh = self.program('ssh', 'while [ "$1" != -- ]; do shift; done\n'
                           'exec sh -v -x -c "$3"')
        for options in [], ['-I']:
            said = self.sudo('go()', '--ssh', shlex.quote(ssh), *options,
                             'cat; echo end', 'h', stdin='')
            said.check(stdout=None)
            self.assertIn('  Output:\n\n  end\n', said.stdout, said)
            self.assertNotIn(self.SECRET, said.stdout)
        said = self.sudo('say(marker); read(); go()', '--ssh',
                         shlex.quote(ssh), 'cat; echo end', 'h')
        said.check(stdout=None)
        self.assertIn('  Output:\n\n  end\n', said.stdout, said)
        self.assertEqual(self.given(), [b'correct horse\n'])

    def test_first_that_was_let_in_lets_in_the_others_at_once(self):
        # Each but the first waits until there are three.
        said = self.sudo('say(marker); read(); go()',
                         'echo $TARGET >>in; [ $(wc -l <in) -lt 3 ] || touch '
                         'all; [ $TARGET = $(head -1 in) ] || { %s; }'
                         % until('all'), 'h[1-3]')
        said.check(stdout=None)

    def test_without_a_password_it_is_asked_not_to_ask(self):
        self.sudo('open("words", "w").write(" ".join(words)); go()',
                  'true', 'h', password=False).check(stdout=None)
        self.assertTrue(self.read('words').startswith('-n -u root -- sh -c '),
                        self.read('words'))

    def test_usage(self):
        for args, message in (
                (['--sudo='], '--sudo= needs a user'),
                (['--sudo-password'], '--sudo-password needs --sudo')):
            run_classh('--ssh', FAKE_SSH, *args, 'true', 'h').check(
                2, '', 'classh: %s\n' % message)

    def test_command_is_not_taken_for_the_user(self):
        said = self.sudo('open("words", "w").write(" ".join(words)); go()',
                         'true', 'h', password=False)
        said.check(stdout=None)
        self.assertIn('-u root ', self.read('words'))


class LoginShellTest(WorkTest):
    """What ssh is given to run, in every shell that may get it."""

    SHELLS = ['sh', 'dash', 'bash', 'rbash', 'ksh', 'zsh', 'fish', 'csh',
              'tcsh', 'busybox ash']
    COMMANDS = [
        'exit 7',
        'echo out; echo err >&2; false',
        r'''printf '%s|' "it's" 'a"b' "\$HOME" '$x' '\n' a\ b '!' '!!' "*" '''
        r'''{a,b} ~ '%%' '^a^b' `echo "\`echo in\`"` "$((6*7))"''' '\nexit 3',
        "printf %s 'caf\u00e9 \U0001f600 \udcff \t \r \x01 \x7f'",
        'cat <<EOF\na\\\nb\n\nEOF\n\n',
        r"echo 'a\\b' 'a\'\''b' \! !x '!x' # !y 'z",
    ]
    LETTERS = 'ab \t\n\r\'"\\`$!#%&*(){}[]<>|;~?^=:-\x01\x7f\u00e9\u20ac'

    def setUp(self):
        super().setUp()
        os.mkdir(self.path('bin'))
        self.program('bin/sudo', 'while [ "$1" != -- ]; do shift; done\n'
                     'shift; exec "$@"')
        chance = random.Random(8)
        self.commands = self.COMMANDS + [
            "printf '%s|' " + ' '.join(
                shlex.quote(''.join(chance.choices(self.LETTERS, k=20)))
                for _ in range(5)) for _ in range(12)]
        wrapper = SudoWrapper('root')
        self.wrapped = list(map(wrapper.wrap, self.commands))
        self.right = [self.run_in(['sh'], command)
                      for command in self.commands]

    def run_in(self, shell, command):
        """(status, stdout, stderr without marks) of it in *shell*."""
        ran = subprocess.run(
            shell + ['-c', command], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(
                os.environ, LC_ALL='C.UTF-8', HOME=self.directory,
                PATH=self.path('bin') + ':' + os.environ['PATH']))
        return ran.returncode, ran.stdout, re.sub(
            b'classh-[0-9a-f%]*:', b'', ran.stderr)

    def check(self, shell):
        for command, wrapped, right in zip(self.commands, self.wrapped,
                                           self.right):
            with self.subTest(shell=shell, command=command):
                self.assertEqual(self.run_in(shell, wrapped), right)

    def test_command_survives_every_login_shell(self):
        for shell in map(str.split, self.SHELLS):
            if installed(shell[0]):
                self.check(shell)
            else:
                not_run('login shell ' + shell[0], 'not installed')

    def test_command_survives_every_sh(self):
        # What sh is decides how the words are decoded.
        sh = self.path('bin/sh')
        for name in 'dash', 'bash', 'ksh', 'zsh', 'busybox':
            if installed(name):
                os.symlink(shutil.which(name), sh)
                self.right = [self.run_in([sh], command)
                              for command in self.commands]
                self.check([sh])
                os.unlink(sh)
