"""Results that got lost, doubled or garbled in other tools: a test for each
that has none elsewhere.

Elsewhere: stderr whole to its end, text from before the limit, a host named
twice (test_engine); users and ports that make another host (test_hosts,
test_sinks); input from a slow producer (test_pipeline); output that is cut,
and what goes to stdout (test_command, test_sinks).
"""

import os
import re
import signal

from lib import (FAKE_SSH, Command, WorkTest, classh_argv, leftovers, measured,
                 run, until, wait_until)
import classh

MIB = 1 << 20


class CountTest(WorkTest):
    """given = ok + error + ssh + killed + not started, in every account."""

    HOSTS = ('exit0-[1-5]', 'fail7-[1-5]', 'unreach[1-5]', 'signal9-[1-5]',
             'slow[1-5]', 'never[1-20]')

    def check_accounts(self, said, given):
        """Every host is in one place only, and each account agrees."""
        results = {}
        for result in classh.load(self.path('all')):
            self.assertNotIn(result.host, results)
            results[result.host] = result
        good, bad = self.lines('good'), self.lines('bad')
        self.assertEqual(sorted(good + bad), sorted(results))
        self.assertEqual({results[host].outcome for host in good}, {'ok'})
        shown = re.findall(r'^([^\s:]+)   -?\d+   \(', said.stdout, re.M)
        self.assertEqual(sorted(shown), sorted(results))
        told = {}
        for count, total, cause, hosts in re.findall(
                r'^(\d+) of (\d+) ([^:]*): (.*)$', said.stderr, re.M):
            self.assertEqual(int(total), len(results))
            named = list(classh.expand(hosts))
            self.assertEqual(len(named), int(count))
            told.update((host, cause) for host in named)
        self.assertEqual(sorted(told), sorted(bad))
        left = re.search(r'^(\d+) not started: (.*)$', said.stderr, re.M)
        if left:
            named = list(classh.expand(left.group(2)))
            self.assertEqual(len(named), int(left.group(1)))
            self.assertFalse(set(named) & set(results))
        self.assertEqual(len(results) + (len(named) if left else 0), given)
        return results

    SINKS = ('-S', 'good', '-E', 'bad', '--pickle', 'all')

    def test_all_ended_by_themselves_or_by_their_limit(self):
        said = self.classh(*self.SINKS + ('-u3', 'true') + self.HOSTS[:5])
        results = self.check_accounts(said.check(3, None, None), 25)
        self.assertEqual(sorted(result.outcome for result in results.values()),
                         sorted(5 * ['ok', 'error', 'ssh', 'killed',
                                     'killed']))

    def test_interrupted_in_the_middle(self):
        for number, status in (signal.SIGINT, 130), (signal.SIGHUP, 129):
            for name in 'good', 'bad', 'all':
                if os.path.exists(self.path(name)):
                    os.remove(self.path(name))
            with self.start(*self.SINKS + ('-f5', 'true') + self.HOSTS
                            ) as command:
                wait_until(lambda: [line for _, line in leftovers()].count(
                    'sleep 60') == 5)
                command.signal(number)
                said = command.finish().check(status, None, None)
            self.check_accounts(said, 45)
            self.assertIn('\n20 not started: never[1-20]\n', said.stderr)


class MixedTest(WorkTest):
    def test_nothing_comes_between_what_one_host_said(self):
        # Each says its lines in small pieces, all at the same time.
        said = self.classh(
            '-f20', 'n=0; while [ $((n += 1)) -le 50 ]; do '
            'echo $HOST $n; echo $HOST $n >&2; done', 'h[1-40]')
        said.check(0, None)
        parts = re.split(r'^(h\d+)   0   \(.*\)\n', said.stdout, flags=re.M)
        self.assertEqual(len(parts[1::2]), 40)
        for host, shown in zip(parts[1::2], parts[2::2]):
            lines = ''.join('  %s %d\n' % (host, n) for n in range(1, 51))
            self.assertEqual(shown, '  Error:\n\n%s\n  Output:\n\n%s\n'
                             % (lines, lines))

    def test_what_is_ours_never_reaches_stdout(self):
        # A warning, an answer, a summary, complaints of sinks and of hosts.
        argv = classh_argv('--ssh', FAKE_SSH, '-S', '-', '-E', '| exit 3',
                           ': >up-$HOST; ' + until('go'),
                           '-', 'b', 'h[1-40]', 'fail7-[1-9]')
        with Command(argv, stdin=b'-bad\nc\n', before='ulimit -n 32',
                     cwd=self.directory) as command:
            wait_until(lambda: os.path.exists(self.path('up-b'))
                       and 'no room' in command.stderr)
            command.signal(signal.SIGUSR1)
            wait_until(lambda: ' running: ' in command.stderr)
            self.write('go')
            said = command.finish().check(1, None, stderr=None)
        self.assertEqual(sorted(said.stdout.splitlines()), sorted(
            ['b', 'c'] + ['h%d' % n for n in range(1, 41)]), said)
        for line in ('classh: no room', 'running: ', "'-bad' begins with",
                     'exited with 3', '9 of 51 exited with 7'):
            self.assertIn(line, said.stderr)


class UnlimitedTest(WorkTest):
    def test_hosts_that_print_for_ever_take_no_memory(self):
        argv = classh_argv('--ssh', FAKE_SSH, '-u1', '--progress',
                           '--max-output', '256K', 'true', 'endless[1-100]')
        said = run(measured(argv, self.path('peak'))).check(3, '', None)
        self.assertEqual(
            said.stderr, '%s\n100 of 100 timed out: endless[1-100]\n'
            '100 of 100 printed more than 256K and were cut (--max-output): '
            'endless[1-100]\n' % ('!' * 100))
        self.assertLess(int(self.read('peak')), 80 << 10)

    def test_what_they_said_is_held_on_disk_only_while_it_is_wanted(self):
        # Five at a time, of 60: 5 x 2 MB of places, used again.
        with self.start('-f5', '-q', ': >up-$HOST; head -c 2000000 /dev/zero; '
                        'case $HOST in h60) %s;; esac' % until('go'),
                        'h[1-60]') as command:
            wait_until(lambda: os.path.exists(self.path('up-h60')), 60)
            held = 0
            for fd in os.listdir('/proc/%d/fd' % command.pid):
                try:
                    status = os.stat('/proc/%d/fd/%s' % (command.pid, fd))
                except OSError:
                    continue
                if not status.st_nlink:
                    held = max(held, status.st_blocks * 512)
            self.write('go')
            command.finish().check(0)
        self.assertLess(held, 20 * MIB)
