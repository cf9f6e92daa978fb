"""Too few descriptors, processes, or bytes of memory."""

import os
import re
import resource
import shutil
import signal
import sys
import textwrap

from lib import (FAKE_SSH, LOGGING_SSH, MODULE, Command, TestCase, WorkTest,
                 classh_argv, fake_argv, processes, run, run_in_pty,
                 wait_until)
import classh

HOSTS = 300

# An ordinary user whom nothing belongs to, with the right to read what only
# we may read, such as a Python in root's home.
NOBODY = 54321
AS_NOBODY = ['setpriv', '--reuid=%d' % NOBODY, '--regid=%d' % NOBODY,
             '--clear-groups', '--inh-caps=-all,+dac_read_search,'
             '+dac_override', '--ambient-caps=+dac_read_search,+dac_override']


# Reported of other tools: crashes.
class FewTest(WorkTest):
    """The jobs wait until the test has seen that there is no room for more."""

    WARNING = re.compile(r'classh: no room for 100 jobs at once, running '
                         r'fewer: [^\n]+\n')

    def setUp(self):
        super().setUp()
        os.mkfifo(self.path('gate'))
        # What waits at a gate takes no process of its own to do so.  (And sh
        # can read what somebody else, below, may not call his own.)
        self.argv = classh_argv('--ssh', 'sh ' + FAKE_SSH, '-f100',
                                'read -r line <gate; echo out of $HOST',
                                'h[1-%d]' % HOSTS)

    def check_all_good(self, command):
        """All hosts are good, and one warning was given."""
        wait_until(lambda: self.WARNING.search(command.stderr),
                   what='a warning')
        # Open for both, or opening would wait for a job that reads.
        gate = os.open(self.path('gate'), os.O_RDWR)
        try:
            os.write(gate, b'\n' * HOSTS)
            said = command.finish()
        finally:
            os.close(gate)
        said.check(0, None, stderr=None)
        self.assertRegex(said.stderr, r'\A%s\Z' % self.WARNING.pattern, said)
        self.assertEqual(sorted(re.findall(r'^  out of (h\d+)$', said.stdout,
                                           re.MULTILINE)),
                         sorted('h%d' % (n + 1) for n in range(HOSTS)))

    def test_few_descriptors(self):
        with Command(self.argv, cwd=self.directory,
                     before='ulimit -n 64') as command:
            self.check_all_good(command)

    def test_few_descriptors_for_jobs_with_a_log(self):
        # Each has one more; what there is no room for has no log meanwhile.
        path = self.path('records')
        with Command(classh_argv(
                '--ssh', LOGGING_SSH, '-f100', '-q', '--json=' + path,
                'session; read -r line <gate; echo out of $TARGET; echo err '
                '>&2; status ${TARGET#h}', 'h[1-150]'), cwd=self.directory,
                     before='ulimit -n 64') as command:
            wait_until(lambda: self.WARNING.search(command.stderr),
                       what='a warning')
            gate = os.open(self.path('gate'), os.O_RDWR)
            try:
                os.write(gate, b'\n' * 150)
                command.finish().check(5, '', None)
            finally:
                os.close(gate)
        results = {result.host: result for result in classh.load(path)}
        self.assertEqual(len(results), 150)
        for host, result in results.items():
            self.assertEqual(
                (result.outcome, result.exitcode, result.output,
                 result.errors), ('error', int(host[1:]),
                                  'out of %s\n' % host, 'err\n'))
            self.assertIn(result.ran, ('yes', 'unknown'))

    def test_few_processes(self):
        argv = self.argv
        room = 20
        if os.getuid() == 0:        # whom this limit does not bind
            if (not shutil.which('setpriv')
                    or run(AS_NOBODY + ['true']).status):
                self.skipTest('no setpriv that could make us somebody else')
            argv = AS_NOBODY + argv
        else:
            room += int(run(['sh', '-c', 'ps -u $(id -u) -L | wc -l']).stdout)
        # dash has no ulimit -u.
        limited = ('import os, resource, sys; resource.setrlimit('
                   'resource.RLIMIT_NPROC, (%d, %d)); '
                   'os.execvp(sys.argv[1], sys.argv[1:])' % (room, room))
        with Command([sys.executable, '-c', limited] + argv,
                     cwd=self.directory) as command:
            self.check_all_good(command)

    def test_soft_limit_is_raised_to_what_the_fanout_needs(self):
        with Command(self.argv, cwd=self.directory,
                     before='ulimit -Sn 64') as command:
            wait_until(lambda: self.count_jobs(command.pid) == 100)
            os.kill(command.pid, signal.SIGTERM)
            said = command.finish().check(143, None, stderr=None)
        self.assertNotIn('no room', said.stderr, said)

    @staticmethod
    def count_jobs(pid):
        return len([parent for _, parent, _, _ in processes()
                    if parent == pid])

    def test_soft_limit_is_never_lowered_and_is_not_the_jobs(self):
        said = Command(fake_argv('-f1', 'ulimit -n', 'a'),
                       before='ulimit -Sn 1000').finish().check(0, None)
        self.assertIn('  1000\n', said.stdout, said)

    def test_few_descriptors_and_every_sink(self):
        said = self.classh(
            '-f100', '-S', 'good/', '-E', '|cat >bad', '--pickle', 'all',
            '-I', 'cat; exit ${#HOST}', 'h[1-99]', 'exit0-[1-9]',
            before='ulimit -n 32', stdin=b'in').check(5, None, None)
        self.assertLessEqual(len(self.WARNING.findall(said.stderr)), 1, said)
        self.assertEqual(len(self.lines('bad')), 99)
        self.assertEqual(len(os.listdir(self.path('good'))), 18)

    # It waits a while before it believes that there is no room; here it does
    # not.
    IMPATIENT = [sys.executable, '-c',
                 'import sys, classh; classh.NO_ROOM_TIMEOUT = .1; '
                 'sys.exit(classh.main())', '--ssh', FAKE_SSH, 'true', 'a',
                 'b']

    def test_no_room_for_even_one_is_a_result_of_each_host(self):
        for count in 5, 7, 10, 13, 16:
            said = Command(
                self.IMPATIENT, env={'PYTHONPATH': MODULE},
                before='ulimit -n %d' % count).finish()
            if 'Traceback' in said.stderr and 'classh' not in said.stderr:
                continue            # Python itself does not get that far
            self.assertNotIn('Traceback', said.stderr, said)
            self.assertIn(said.status, (0, 1, 2, 4), said)
            if said.status == 4:
                self.assertIn('2 of 2 ssh could not be started', said.stderr)
        self.assertEqual(said.status, 0, said)

    def test_no_room_to_watch_a_terminal_is_said(self):
        told = ''
        for count in range(5, 10):
            said = run_in_pty(['sh', '-c', 'ulimit -n %d; exec "$@"' % count,
                               'sh'] + self.IMPATIENT,
                              env={'PYTHONPATH': MODULE})
            self.assertNotIn('AttributeError', said.stdout, said)
            told += said.stdout
        self.assertIn('classh: stopping: Too many open files', told)
        self.assertIn('2 of 2 not started: a,b', told)


# Reported of other tools: crashes.
class FaultTest(WorkTest):
    """What the system refuses in the middle of a run names every host."""

    PROGRAM = '''
        import errno, itertools, os, sys, classh

        def refuse(*args):
            if next(calls) >= first:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return allowed(*args)
        name, first, calls = sys.argv[1], int(sys.argv[2]), itertools.count()
        allowed = getattr(classh._Loop, name)
        setattr(classh._Loop, name, refuse)
        classh.NO_ROOM_TIMEOUT = .1
        sys.exit(classh.main(sys.argv[3:]))
        '''

    def check(self, name, first, *args):
        said = Command(
            [sys.executable, '-c', textwrap.dedent(self.PROGRAM), name,
             str(first), '--ssh', FAKE_SSH, '-f4', *args, 'true', 'a[1-4]',
             'slow', 'b[1-9]'], env={'PYTHONPATH': MODULE},
            cwd=self.directory).finish()
        self.assertNotIn('Traceback', said.stderr, said)
        given = set(classh.expand('a[1-4],slow,b[1-9]'))
        left = re.search(r'(?m)^\d+ of 14 not started: (.*)$', said.stderr)
        left = set(classh.expand(left.group(1)) if left else ())
        told = set(re.findall(r'(?m)^(\w+)   -?\d', said.stdout))
        if '-q' not in args:
            self.assertEqual((told | left, told & left), (given, set()), said)
        return said, left

    def test_select(self):
        for first in 0, 3, 9:
            for args in (), ('-S', 'good', '-E', '|cat >bad', '-u30'), ('-q',):
                said, left = self.check('dispatch', first, *args)
                self.assertIn('classh: stopping: Cannot allocate memory\n',
                              said.stderr)
                self.assertEqual(said.status, 1, said)
                if first == 0:
                    self.assertTrue(left, said)

    def test_register(self):
        # That there is no room may pass: what can be started is.
        for first in 0, 1, 2, 6, 9:
            for args in (), ('-S', 'good/', '-E', '|cat >bad'):
                said, left = self.check('register', first, '-u.5', *args)
                self.assertIn(said.status, (1, 3, 4), said)


# Reported of other tools: crashes.
class HighDescriptorTest(TestCase):
    PROGRAM = '''
        import os, resource, sys
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        held = [os.open('/dev/null', os.O_RDONLY) for _ in range(1100)]
        import classh
        with classh.SSHJobMan(['slow', 'loud', 'reader', 'exit7'], 'true',
                              ssh=os.environ['SSH'],
                              input=open('/dev/null')) as job:
            job.watch(0, 1, lambda fd, events: job.unwatch(fd))
            for result in job:
                print(result.host, result.outcome, len(result.output))
                if len(job.results) == 3:
                    job.stop()
        '''

    def test_inherited_one_beyond_the_limit(self):
        # It cannot be closed in the way that others are, and is not passed on.
        for limit in 32, 64:
            said = run([sys.executable, '-c', textwrap.dedent('''
                import os, resource, sys
                os.dup2(0, 99)
                hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                resource.setrlimit(resource.RLIMIT_NOFILE, (%d, %d))
                os.execv(sys.argv[1], sys.argv[1:])''' % (limit, limit))]
                + fake_argv('-f2', 'ls /proc/self/fd | xargs', 'a[1-9]'))
            said.check(0, None)
            self.assertEqual(said.stdout.count('\n  0 1 2 3\n'), 9, said)

    def test_number_over_1023(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < 1200:
            self.skipTest('may not open that many')
        said = run([sys.executable, '-c', textwrap.dedent(self.PROGRAM)],
                   env={'PYTHONPATH': MODULE, 'SSH': FAKE_SSH})
        said.check(0, None)
        self.assertEqual(sorted(said.stdout.splitlines()),
                         ['exit7 error 0', 'loud ok 1048576', 'reader ok 0',
                          'slow killed 0'], said)


# Reported of other tools: crashes.
class MemoryTest(WorkTest):
    """Out of memory is an error like another, and takes no ssh along."""

    def test_one_host_says_more_than_there_is_room_for(self):
        said = self.classh(
            '--max-output', '0', '[ $HOST = a ] || exec head -c 300000000 '
            '/dev/zero; echo out of $HOST', 'a', 'b', '--pickle', 'all',
            before='ulimit -v 150000')
        self.assertNotIn('Traceback', said.stderr, said)
        self.assertIn('  out of a\n', said.stdout, said)
        self.assertRegex(said.stdout, r'(?m)^b   0   \(.*\)   '
                         'output lost: out of memory$', said)
        self.assertEqual((said.status, said.stderr),
                         (1, '1 of 2 output lost: b\n'), said)

    def test_wherever_it_strikes_there_is_no_traceback(self):
        # Where Python itself cannot begin, classh has no say.
        least = None
        for size in range(20000, 60000, 6000):
            limit = 'ulimit -v %d' % size
            if least is None:
                begun = run([sys.executable, '-c', 'import selectors, re, '
                             'argparse, subprocess, shlex'], before=limit)
                least = size if begun.status == 0 else None
                continue
            said = self.classh('head -c 5000000 /dev/zero', 'loud[1-3]', 'a',
                               before=limit)
            if 'import' in said.stderr:
                continue
            self.assertNotIn('Traceback', said.stderr, said)
            self.assertGreaterEqual(said.status, 0, said)
