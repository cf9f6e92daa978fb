"""The report and the summary: every host once, nothing between its lines."""

import os
import re
import signal

from lib import (MIB, Command, TestCase, WorkTest, at_once, elapsed, fake,
                 fake_argv, leftovers, masked, measured, pipe_from,
                 read_to_end, run, text, until, wait_until, write)
import classh


class ReportTest(TestCase):
    def check(self, shown, *args):
        said = fake('-f1', *args)
        self.assertEqual(masked(said.stdout), shown, said)
        return said

    def test_is_as_designed(self):
        self.check('exit0   0   (#)\n'
                   '\n'
                   'web1   0   (#)\n'
                   '  Output:\n'
                   '\n'
                   '  on web1\n'
                   '  and more\n'
                   '\n'
                   'fail7   7   (#)\n'
                   '  Error:\n'
                   '\n'
                   '  err of fail7\n'
                   '\n'
                   '  Output:\n'
                   '\n'
                   '  out of fail7\n'
                   '\n'
                   'unreach   255   (#)   connection refused\n'
                   '  Error:\n'
                   '\n'
                   '  ssh: connect to host unreach port 22: '
                   'Connection refused\n'
                   '\n'
                   'signal9   -9   (#)   ended by SIGKILL\n'
                   '\n'
                   'early   -15   (#)   timed out after 4 s\n'
                   '  Error:\n'
                   '\n'
                   '  err of early\n'
                   '\n'
                   '  Output:\n'
                   '\n'
                   '  out of early\n'
                   '\n',
                   '-u4', 'echo on $TARGET; echo and more', 'exit0', 'web1',
                   'fail7', 'unreach', 'signal9', 'early')

    def test_text_of_a_host_cannot_pass_for_a_line_of_ours(self):
        self.check('a   0   (#)\n'
                   '  Output:\n'
                   '\n'
                   '\n'
                   '  b   0   (#)\n'
                   '\n'
                   '    c\n'
                   '\n'
                   '\n',
                   r"printf '\nb   0   (#)\n\n  c\n\n'", 'a')

    def test_last_line_may_lack_its_newline(self):
        self.check('a   0   (#)\n  Output:\n\n  no end\n\n',
                   'printf "no end"', 'a')

    def test_hosts_are_shown_as_they_finish(self):
        directory = self.scratch()
        wait = 'while [ ! -e %s/$HOST ]; do sleep .02; done' % directory
        with Command(fake_argv(wait, 'a', 'b')) as command:
            for host in 'ba':
                write(os.path.join(directory, host), '')
                wait_until(lambda: host + '   0 ' in command.stdout)
            said = command.finish().check(stdout=None)
        self.assertEqual(masked(said.stdout), 'b   0   (#)\n\na   0   (#)\n\n')

    def test_elapsed_time_is_that_of_the_job(self):
        said = fake('-f1', 'case $HOST in b) sleep 1;; esac', 'a', 'b', 'c')
        before, sleeper, after = elapsed(said.check(stdout=None).stdout)
        self.assertGreaterEqual(sleeper, 1.0, said)
        self.assertLessEqual(before + sleeper + after, said.seconds + .2, said)

    def test_bytes_go_unchanged_into_a_pipe_or_file(self):
        raw = (b'\033[2J\033]0;title\007red\033[31m\rover\b\302\233A\tend')
        wanted = 'escape   0   (#)\n  Output:\n\n  %s\n\n' % text(raw)
        self.check(wanted, 'true', 'escape')
        with pipe_from(fake_argv('true', 'escape')) as (command, pipe):
            shown = read_to_end(pipe)
            command.finish().check()
        self.assertEqual(masked(shown), wanted)

    def test_output_beyond_the_limit_is_cut_and_the_report_says_so(self):
        said = fake('--max-output', '1K', 'true', 'loud', 'binary').check(
            stdout=None, stderr='1 of 2 printed more than 1K and was cut '
            '(--max-output): loud\n')
        self.assertIn('%s\n\n' % ('  Error:\n\n  ' + 'e' * 1024), said.stdout)
        self.assertIn('%s\n\n' % ('  Output:\n\n  ' + 'o' * 1024), said.stdout)
        self.assertEqual(
            sorted(re.findall(r'^\w.*', masked(said.stdout), re.MULTILINE)),
            ['binary   0   (#)', 'loud   0   (#)   output cut at its limit'])

    def test_limit_on_output_has_units_and_0_is_none(self):
        kept = [7, 3072, 1 << 20, 1 << 20, 1 << 20]
        runs = at_once(*(['--max-output', size, 'true', 'loud']
                         for size in ('7', '3k', '1M', '1g', '0')))
        for count, shown, said in zip(kept, ['7 bytes', '3K', '', '', ''],
                                      runs):
            said.check(stdout=None, stderr=shown and '1 of 1 printed more '
                       'than %s and was cut (--max-output): loud\n' % shown)
            self.assertEqual([said.stdout.count('\n  %s\n' % (letter * count))
                              for letter in 'eo'], [1, 1], said)
            self.assertEqual('cut' in said.stdout, count < 1 << 20, said)


class SummaryTest(TestCase):
    def test_nothing_is_said_where_all_is_well(self):
        fake('echo x', 'a[1-5]').check(0, stdout=None, stderr='')

    def test_a_line_a_cause_with_the_hosts_folded_most_hosts_first(self):
        said = fake('-u4', 'case $HOST in web3|web17) exit 7;; esac', 'slow1',
                    'web[1-20]', 'unreach[1-2]', 'noresolve1', 'signal9x',
                    'exit8')
        said.check(3, stdout=None, stderr=None)
        lines = said.stderr.splitlines()
        self.assertEqual(lines[:4], [
            '3 of 26 did not log in:',
            '  connection refused                unreach[1-2]',
            '  name unknown                      noresolve1',
            '2 of 26 exited with 7: web[3,17]'], said)
        self.assertEqual(sorted(lines[4:]), [
            '1 of 26 ended by SIGKILL: signal9x',
            '1 of 26 exited with 8: exit8',
            '1 of 26 timed out after 4 s (-u): slow1'], said)

    def test_every_host_is_in_the_report_and_failed_ones_in_the_summary(self):
        said = fake('exit ${HOST#web}', 'web[0-120]')
        said.check(5, stdout=None, stderr=None)
        shown = re.findall(r'^web(\d+)   (\d+)   \(', said.stdout,
                           re.MULTILINE)
        self.assertEqual(sorted(int(number) for number, _ in shown),
                         list(range(121)))
        self.assertEqual([number for number, _ in shown],
                         [status for _, status in shown])
        self.assertEqual(sorted(said.stderr.splitlines()), sorted(
            '1 of 121 exited with %d: web%d' % (n, n) for n in range(1, 121)))




# Reported of other tools: results lost, doubled or garbled.
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
                r'^(\d+) of (\d+) (?!not )([^:]*): (.*)$', said.stderr, re.M):
            self.assertEqual(int(total), len(results))
            named = list(classh.expand(hosts))
            self.assertEqual(len(named), int(count))
            told.update((host, cause) for host in named)
        self.assertEqual(sorted(told), sorted(bad))
        left = re.search(r'^(\d+) of %d not started: (.*)$' % given,
                         said.stderr, re.M)
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
            self.assertIn('\n20 of 45 not started: never[1-20]\n', said.stderr)


# Reported of other tools: results lost, doubled or garbled.
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
        argv = fake_argv('-S', '-', '-E', '| exit 3',
                         ': >up-$HOST; ' + until('go'),
                         '-', 'b', 'h[1-40]', 'fail7-[1-9]')
        with Command(argv, stdin=b'-bad\nc\n', before='ulimit -n 32',
                     cwd=self.directory) as command:
            wait_until(lambda: os.path.exists(self.path('up-b'))
                       and 'no room' in command.stderr)
            command.signal(signal.SIGUSR1)
            wait_until(lambda: ' running ' in command.stderr)
            self.write('go')
            said = command.finish().check(1, None, stderr=None)
        self.assertEqual(sorted(said.stdout.splitlines()), sorted(
            ['b', 'c'] + ['h%d' % n for n in range(1, 41)]), said)
        for line in ('classh: no room', ' running ', "'-bad' begins with",
                     'exited with 3', '9 of 51 exited with 7'):
            self.assertIn(line, said.stderr)


# Reported of other tools: results lost, doubled or garbled.
class UnlimitedTest(WorkTest):
    def test_hosts_that_print_for_ever_take_no_memory(self):
        argv = fake_argv('-u2', '--progress',
                         '--max-output', '256K', 'true', 'endless[1-100]')
        said = run(measured(argv, self.path('peak'))).check(3, '', None)
        self.assertEqual(
            said.stderr, '%s\n100 of 100 timed out after 2 s (-u): endless[1-100]\n'
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
