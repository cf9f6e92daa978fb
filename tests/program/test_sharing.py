"""Connections that the commands of a shell share."""

import errno
import os
import re
import shlex
import signal
import subprocess
import tempfile
from unittest import mock

from lib import Command, leftovers, read_log, until, wait_until
from lib.shell import ShellTest, private_directories
from classh import (SharedConnections, UsageError, private_directory,
                    runs_programs)

# In place of ssh: a shared connection is a file in the directory of
# ControlPath.  Ending it (-O exit) takes until the file 'end' exists.
SHARING = '''\
for word; do
    case $word in ControlPath=*) path=${word#*=} ;; esac
done
case " $* " in *' -O exit '*)
    echo "+ $path" >>log
    %s
    rm -f "$path"
    echo "- $path" >>log
    exit
esac
while [ "$1" != -- ]; do shift; done
: >"${path%%/*}/$2"
exec sh -c "$3"
''' % until('end')


class FakeSharingTest(ShellTest):
    """The end of connections, which may take any time."""

    def setUp(self):
        super().setUp()
        self.ssh = shlex.quote(self.program('ssh', SHARING))

    def test_they_are_in_a_directory_for_us_alone(self):
        self.write('end')
        said = self.piped('true\n', 'args1')
        path = re.search('ControlPath=(.*)/0\n', said.stdout).group(1)
        self.assertFalse(os.path.exists(path))
        shell = self.shell('h1', ssh=self.ssh)
        self.say(shell, 'true')
        directory, = private_directories()
        self.assertEqual(os.stat(directory).st_mode & 0o777, 0o700)
        self.assertEqual(os.listdir(directory), ['h1'])
        shell.type('\x04')
        shell.finish().check(stdout=None)

    def test_not_all_are_ended_at_once(self):
        with Command(self.argv('--progress', 'h[1-130]', ssh=self.ssh),
                     stdin='true\n', env=self.env,
                     cwd=self.directory) as command:
            # No connection ends until a whole batch is waiting.
            wait_until(lambda: len(self.lines('log')) >= 100, 60)
            self.write('end')
            command.finish().check(0, None, None)
        ended, most = read_log(self.path('log'))
        self.assertEqual(len(ended), 130)
        self.assertEqual(most, 100)

    def test_signal_while_they_are_ended_does_not_leave_them(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM),
                              (signal.SIGTERM, signal.SIGINT),
                              (None, signal.SIGTERM), (None, signal.SIGHUP),
                              (None, signal.SIGINT)):
            with self.subTest(first=first, second=second):
                with Command(self.argv('--progress', 'h[1-3]', ssh=self.ssh),
                             stdin=subprocess.PIPE, env=self.env,
                             cwd=self.directory) as command:
                    command.send(b'true\n')
                    wait_until(lambda: '...' in command.stderr)
                    if first:
                        command.signal(first)
                    else:
                        command.stdin.close()
                    wait_until(lambda: len(self.lines('log')) == 3)
                    command.signal(second)
                    self.write('end')
                    said = command.finish()
                self.assertIn(said.status, (0, 143, 128 + second), said)
                self.assertNotIn('Traceback', said.stderr, said)
                self.assertEqual(private_directories(), set())
                os.unlink(self.path('log'))
                os.unlink(self.path('end'))

    def test_ssh_that_does_not_end_them_does_not_hold_us_up(self):
        said = self.piped('true\n', 'h1', '--ssh', self.ssh)
        said.check(0, None)
        self.assertLess(said.seconds, 30)
        self.assertEqual(private_directories(), set())
        wait_until(lambda: not leftovers())

    def test_one_whose_job_timed_out_is_not_used_again(self):
        # Each command over a dead connection would time out as well.
        self.write('end')
        script = ('%timeout 2\necho "$path" >>$2; [ "$2" != h1 ] || sleep 60'
                  '\n%timeout 0\necho "$path" >>$2\n')
        ssh = self.program('ssh2', SHARING.replace(
            '"${path%/*}/$2"', '"$path"').replace('exec sh -c', 'eval'))
        said = self.piped(script, 'h[1-2]', '--ssh', shlex.quote(ssh))
        self.assertIn('timed out after 2 s',
                      said.check(0, None, None).stdout)
        first, second = self.lines('h1')
        self.assertNotEqual(first, second)
        self.assertEqual(len(set(self.lines('h2'))), 1)
        self.assertEqual(set(read_log(self.path('log'))[0]),
                         {first, second, *self.lines('h2')})

    def test_two_names_of_a_host_have_a_connection_each(self):
        said = self.piped('true\n', 'args1', 'me@args1')
        paths = re.findall('ControlPath=(.*)\n', said.stdout)
        self.assertEqual(len(set(paths)), 2, said)

    def test_name_of_the_temporary_directory_may_be_odd(self):
        # ssh would read quotes, a token or a variable in such a name.  Then
        # XDG_RUNTIME_DIR is tried, and /tmp after that.
        other = tempfile.mkdtemp(prefix='x-', dir='/tmp')
        self.addCleanup(os.rmdir, other)
        for name in 'a b', "a'", 'a"b', '%h', '${HOME}', '\\', 'caf\xe9':
            place = tempfile.mkdtemp(prefix=name, dir='/tmp')
            self.addCleanup(os.rmdir, place)
            ways = [(other, other), (place, '/tmp')]
            if name == 'a b':
                ways += [('', '/tmp'), ('x', '/tmp')]
            for runtime, found in ways:
                said = self.piped('true\n', 'args1', env={
                    'TMPDIR': place, 'XDG_RUNTIME_DIR': runtime,
                    'LC_ALL': 'C.UTF-8'}).check(0, None)
                path = re.search('ControlPath=(.*)\n', said.stdout).group(1)
                self.assertEqual(os.path.dirname(os.path.dirname(path)),
                                 found, said)

    def test_directory_may_be_one_where_no_program_runs(self):
        class Noexec:
            f_flag = os.ST_NOEXEC

        flags = mock.patch('os.statvfs', return_value=Noexec)
        with flags, SharedConnections(['ssh']):
            self.assertEqual(len(private_directories()), 1)
        # The askpass helper of -A is a program.
        with flags, self.assertRaises(UsageError):
            private_directory(runs_programs)
        place = tempfile.mkdtemp(prefix='x-', dir='/tmp')
        self.addCleanup(os.rmdir, place)
        with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=place), mock.patch(
                'os.statvfs', lambda path: mock.Mock(
                    f_flag=0 if path == place else os.ST_NOEXEC)):
            path = private_directory(runs_programs)
        os.rmdir(path)
        self.assertEqual(os.path.dirname(path), place)

    def test_directory_goes_where_nothing_can_be_started(self):
        # Without an ssh to end them, connections end by ControlPersist.
        full = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        with SharedConnections(['ssh']):
            directory, = private_directories()
            with open(os.path.join(directory, 'one'), 'w'):
                pass
            popen = mock.patch('subprocess.Popen', side_effect=full)
            popen.start()
        popen.stop()
        self.assertEqual(private_directories(), set())

    def test_they_are_ended_after_an_error_of_ours(self):
        self.write('end')
        said = self.piped('true\n%nosuch\n', 'h1', '--ssh', self.ssh)
        said.check(2, None, None)
        self.assertEqual(len(read_log(self.path('log'))[0]), 1)
