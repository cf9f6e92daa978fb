"""examples/on_dask.py with real processes of Dask, which tests/run installs
where Python is 3.10 or newer."""

import collections
import importlib.util
import json
import os
import re
import signal
import sys
import unittest

from lib import FAKE_SSH, ROOT, Command, WorkTest, run, stat, wait_until

EXAMPLE = os.path.join(ROOT, 'examples', 'on_dask.py')
DASK = os.environ.get('CLASSH_DASK', '')        # where tests/run has put it
START_LIMIT = 60.0      # seconds for Dask to start, on a machine that is busy

# Notes its start, and is done when there is a file 'go'.
COMMAND = ('echo "$HOST $$ $PPID" >>starts; until [ -e go ]; '
           'do sleep .02; done; echo "out of $HOST"')

Start = collections.namedtuple('Start', 'host pid classh')


def need_dask():
    if sys.version_info < (3, 10):
        raise unittest.SkipTest('Dask needs Python 3.10')
    found = (os.path.isdir(os.path.join(DASK, 'distributed'))
             or importlib.util.find_spec('distributed'))
    if not found and not os.environ.get('CLASSH_TEST_DASK'):
        raise unittest.SkipTest('no Dask here')


def is_alive(pid):
    return os.path.exists('/proc/%s' % pid)


def parent(pid):
    return int(stat(pid)[1][1])


class OnDaskTest(WorkTest):
    def setUp(self):
        # Not for the module: from Python 3.12 on, no test at all is a failure.
        need_dask()
        super().setUp()

    def dask(self, argv, path):
        """Start a Python with *argv*; it finds Dask, and what is in *path*."""
        return Command([sys.executable] + argv, cwd=self.directory, env={
            'PYTHONPATH': os.pathsep.join([*path, DASK]),
            'TMPDIR': self.directory})

    def on_dask(self, *args):
        return self.dask([EXAMPLE, *args, '--ssh', FAKE_SSH], [ROOT])

    def starts(self):
        return [Start(*line.split()) for line in self.lines('starts')]

    def wait_for_starts(self, number, *commands):
        def started():
            for command in commands:
                self.assertFalse(command._popen.poll(), command.stderr)
            return len(self.starts()) == number
        wait_until(started, START_LIMIT, '%d hosts run' % number)
        return self.starts()

    def test_worker_that_is_killed_costs_its_own_hosts(self):
        with self.on_dask('--workers=2', '-f3', '-q', '--json=records',
                          '--journal=journal', COMMAND,
                          'web[1-20]') as command:
            first = self.wait_for_starts(6, command)
            killed = first[0].classh
            lost = [start for start in first if start.classh == killed]
            self.assertEqual(len(lost), 3, first)
            os.kill(parent(killed), signal.SIGKILL)
            # Neither its classh nor an ssh is left.
            wait_until(lambda: not any(map(is_alive, [killed] + [
                start.pid for start in lost])))
            self.write('go')
            ran = command.finish().check(4, '', None)
        self.assertRegex(ran.stderr, r'\Aclassh: the worker \S+ is lost: .*\n'
                         r'\Z', ran)
        self.assertEqual(sorted(start.host for start in self.starts()),
                         sorted('web%d' % n for n in range(1, 21)))
        results = [json.loads(line) for line in self.lines('records')]
        results = [result for result in results
                   if result['event'] == 'result']
        self.assertEqual(len(results), 20)
        for result in results:
            host = result['host']
            if host in [start.host for start in lost]:
                wanted = 'lost', 'unknown', ''
            else:
                wanted = '', 'yes', 'out of %s\n' % host
            self.assertEqual((result['cause'], result['ran'],
                              result['stdout']), wanted, result)
        # Nor are they run again by hand, unless that is asked for.
        resumed = self.classh('--resume', 'journal').check(4, '', None)
        self.assertIn('3 lost, not run again', resumed.stderr)

    def test_launcher_that_is_killed_ends_what_its_workers_run(self):
        # They know nothing of classh: it is sent to them.
        with self.dask(['-m', 'distributed.cli.dask_scheduler',
                        '--host=tcp://127.0.0.1:0', '--scheduler-file=where',
                        '--no-dashboard', '--no-jupyter'], []) as s, \
                self.dask(['-m', 'distributed.cli.dask_worker',
                           '--scheduler-file=where', '--no-nanny',
                           '--no-dashboard', '--nthreads=1'], []) as w:
            address = wait_until(lambda: re.search(
                r'"address": "(tcp://127\.0\.0\.1:\d+)"', self.read('where')),
                START_LIMIT, 'a scheduler listens').group(1)
            with self.on_dask('--scheduler', address, '-f2', COMMAND,
                              'web[1-9]') as command:
                first = self.wait_for_starts(2, command, s, w)
                command.signal(signal.SIGKILL)
                wait_until(lambda: not any(is_alive(pid) for start in first
                                           for pid in start[1:]))
                command.finish().check(-signal.SIGKILL, '', None)
            self.assertEqual(len(self.starts()), 2)
            for command in w, s:
                command.signal(signal.SIGTERM)
                command.finish()

    def test_ctrl_c_ends_all(self):
        with self.on_dask('--workers=1', '-f4', '--progress', COMMAND,
                          'web[1-9]', 'unreach1') as command:
            self.wait_for_starts(4, command)
            os.killpg(command.pid, signal.SIGINT)       # as a terminal does
            ran = command.finish()
        ran.check(128 + signal.SIGINT, '',
                  '!!!!\n4 of 4 stopped: web[1-4]\n'
                  '6 of 10 not started: unreach1,web[5-9]\n')
        self.assertEqual(len(self.starts()), 4)

    def test_what_cannot_be_used_is_told_before_anything_starts(self):
        for args, said in (
                (['true', 'web[2-1]'], "classh: bad host 'web[2-1]': '2-1' "
                 'runs backwards'),
                (['--scheduler=x://y', 'true', 'web1'], 'classh: no scheduler '
                 'at x://y: ')):
            ran = run([sys.executable, EXAMPLE] + args, env={
                'PYTHONPATH': os.pathsep.join([ROOT, DASK])})
            ran.check(2, '', None)
            self.assertTrue(ran.stderr.startswith(said), ran)
            self.assertEqual(ran.stderr.count('\n'), 1, ran)
