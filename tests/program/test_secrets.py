"""Where a password must never be, while classh runs and after."""

import contextlib
import glob
import os
import shutil
import signal
import sys
import tempfile

from lib import (CLASSH, MODULE, Command, classh_argv, kill_leftovers,
                 leftovers, run, run_classh, wait_until)
from lib.secret import SecretTest, _holds, places

# Runs classh.main() after a change: for an error where one should not be.
BROKEN = '''\
import sys
sys.path.insert(0, %r)
import classh
def broken(*args, **options):
    secret = args
    raise RuntimeError('broken on purpose')
classh.%%s = broken
sys.exit(classh.main(sys.argv[1:]))
''' % MODULE
BREAKABLE = (
    'report', 'Tally.summary', 'LockoutGuard.accept', 'LockoutGuard.ask',
    'LockoutGuard.refuse', 'LockoutGuard.job_finished', '_Dialog.__init__',
    'AskpassServer._answer', 'AskpassServer._job_of',
    'AskpassServer.finished', 'SudoWrapper.finished', '_Dispatcher._emit',
    '_Job.start', '_Pool._finish')


class PlacesTest(SecretTest):
    def test_this_test_sees_what_it_looks_for(self):
        self.assertEqual(places(self.secret), [])
        path = self.file()
        with Command(['sleep', '60'], env={'LEAK': self.secret}) as command:
            environ = '/proc/%d/environ' % command.pid
            wait_until(lambda: _holds(environ, self.secret.encode()))
            self.assertEqual(set(places(self.secret)), {path, environ})
        with Command(['sh', '-c', 'sleep 60; :', self.secret]) as command:
            cmdline = '/proc/%d/cmdline' % command.pid
            wait_until(lambda: _holds(cmdline, self.secret.encode()))
            # Before its exec the child of sh has the same arguments.
            wait_until(lambda: places(self.secret, but=[path]) == [cmdline])

    def test_password_is_nowhere_while_ssh_asks_and_after(self):
        terminal = self.terminal(
            '-A', '--pickle', 'results', '-S', 'good/', '-E', 'bad/',
            'echo in; echo err >&2; [ $TARGET != h3 ]', 'h[1-5]')
        terminal.expect('Password for ')
        terminal.type(self.secret + '\n')
        # The first has it, and no other is started before it has taken it.
        self.asked(1)
        self.check()
        self.write('go')
        self.asked(5)
        self.check()
        said = terminal.finish().check(5, stdout=None)
        self.assertEqual(said.stdout.count('  in\r\n'), 5, said)
        self.check(said.stdout)
        self.assertEqual(len(os.listdir(self.path('good'))), 8)
        self.assertTrue(self.read('results'))

    def test_password_that_was_refused_is_nowhere(self):
        path = self.write('secret', self.secret + '-wrong\n', 0o600)
        self.write('go')
        said = run_classh(
            '--ssh', self.ssh, '--askpass-file', path, '--pickle', 'results',
            '-E', 'bad/', 'true', 'h[1-3]', cwd=self.directory)
        said.check(4, stdout=None, stderr=None)
        self.check(said.stdout, said.stderr, but=[path])

    def test_password_from_a_file_is_nowhere_else(self):
        path = self.file()
        with Command(classh_argv('--ssh', self.ssh, '--askpass-file', path,
                                 'echo in', 'h[1-3]'),
                     cwd=self.directory) as command:
            self.asked(1)
            self.check(command.stdout, command.stderr, but=[path])
            self.write('go')
            said = command.finish().check(stdout=None)
        self.check(said.stdout, said.stderr, but=[path])

    def test_password_is_nowhere_after_each_kind_of_end(self):
        path = self.file()
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143),
                               (signal.SIGHUP, 129), (signal.SIGQUIT, 131)):
            with self.subTest(signal=number.name):
                self.write('answered')
                with Command(classh_argv(
                        '--ssh', self.ssh, '--askpass-file', path, 'true',
                        'h[1-3]'), cwd=self.directory,
                        before='ulimit -c unlimited') as command:
                    self.asked(1)
                    command.signal(number)
                    said = command.finish()
                self.assertEqual(said.status, status, said)
                self.assertNotIn('Traceback', said.stderr, said)
                self.check(said.stdout, said.stderr, but=[path])

    def test_no_core_file_can_be_left(self):
        # 1, since where a program gets it Linux heeds no other limit.
        for limit, sizes in (('ulimit -c unlimited 2>/dev/null', ['1']),
                             ('ulimit -Sc 0', ['1']),
                             # Not all may raise it again.
                             ('ulimit -c 0', ['0', '1'])):
            with self.subTest(limit=limit), Command(classh_argv(
                    '--ssh', self.ssh, '--askpass-file', self.file(), 'true',
                    'h'), cwd=self.directory, before=limit) as command:
                self.asked(1)
                found = {}
                for pid, _ in leftovers():
                    # The sleeps of the fake ssh come and go.
                    with contextlib.suppress(FileNotFoundError,
                                             ProcessLookupError), open(
                            '/proc/%d/limits' % pid) as limits:
                        found[pid], = [line.split()[4] for line in limits
                                       if line.startswith('Max core file')]
                self.assertIn(command.pid, found)
                self.assertLessEqual(set(found.values()), set(sizes))
                self.write('go')
                command.finish().check(stdout=None)
                os.unlink(self.path('go'))
                self.write('answered')

    def test_no_core_file_is_left(self):
        with Command(classh_argv(
                '--ssh', self.ssh, '--askpass-file', self.file(), 'true',
                'h'), cwd=self.directory,
                before='ulimit -c unlimited 2>/dev/null') as command:
            self.asked(1)
            before = set(os.listdir(self.directory))
            command.signal(signal.SIGABRT)
            command.finish().check(-signal.SIGABRT, None, None)
            self.assertEqual(set(os.listdir(self.directory)), before)
            kill_leftovers()
        for directory in self.left_directories():
            shutil.rmtree(directory)

    def test_password_is_in_no_traceback(self):
        path = self.file()
        self.write('go')
        with contextlib.ExitStack() as stack:
            running = {place: stack.enter_context(Command(
                [sys.executable, '-X', 'dev', '-c', BROKEN % place, '--ssh',
                 self.ssh, '--askpass-file', path, '-u10', '--sudo', 'false',
                 'h'], cwd=self.directory)) for place in BREAKABLE}
            runs = {place: command.finish()
                    for place, command in running.items()}
        # Each ends with an error, but in no way that shows it.
        self.check(but=[path])
        self.assertEqual(self.left_directories(), [])
        for place, said in runs.items():
            with self.subTest(place=place):
                if place != 'LockoutGuard.refuse':
                    self.assertIn('broken on purpose', said.stderr, said)
                self.assertNotIn(self.secret, said.stdout + said.stderr)

    @staticmethod
    def left_directories():
        return glob.glob(os.path.join(tempfile.gettempdir(), 'classh-*'))

    def test_password_is_in_no_warning_of_python(self):
        path = self.file()
        self.write('go')
        said = run([sys.executable, '-X', 'dev', '-W', 'default', CLASSH,
                    '--ssh', self.ssh, '--askpass-file', path, 'true',
                    'h[1-3]'], cwd=self.directory)
        said.check(stdout=None, stderr='')

    def test_history_of_the_shell_has_no_password(self):
        home = self.path('home')
        os.mkdir(home)
        self.write('go')
        terminal = self.terminal('-A', '--shell', 'h[1-2]',
                                 env={'HOME': home})
        terminal.expect('Password for ')
        terminal.type(self.secret + '\n')
        terminal.expect('classh 2> ')
        terminal.type('echo in\n')
        terminal.expect('classh 2> ')
        self.check()
        terminal.type('\x04')
        said = terminal.finish().check(stdout=None)
        self.assertEqual(said.stdout.count('  in\r\n'), 2, said)
        self.check(said.stdout)
        self.assertEqual(self.lines('home/.classh_history'), ['echo in'])
