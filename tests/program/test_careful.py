"""Careful runs: --first, --ramp, --max-fail, -k, --deadline; exit status 6."""

import json
import math
import os
import re
import signal
import unittest

from lib import FAKE_SSH, STOPPED, Command, WorkTest, classh_argv, wait_until
from lib.passwords import PasswordTest
import classh


class CarefulTest(WorkTest):
    def end(self, name='all'):
        """The last record in the file *name*."""
        return json.loads(self.lines(name)[-1])

    def begun(self):
        return [line[2:] for line in self.lines('log') if line[0] == '+']


class FailLimitTest(CarefulTest):
    def test_at_most_fanout_hosts_start_after_the_limit(self):
        said = self.classh(
            '--max-fail', '2', '-f4', '--json=all', '-S', 'good', '-E', 'bad',
            '--unreached', 'out', 'true', 'h[1-3]', 'exit3', 'unreach',
            'exit5-[1-30]').check(6, None, None)
        # The third one ends it: at most four ran beside the two before.
        end, bad = self.end(), self.lines('bad') + self.lines('out')
        self.assertLessEqual(len(bad), 2 + 4, said)
        self.assertEqual(self.lines('out'), ['unreach'])
        self.assertEqual(sorted(self.lines('good')), ['h1', 'h2', 'h3'])
        self.assertEqual((end['status'], end['hosts'], end['not_started']),
                         (6, 35, 35 - 3 - len(bad)))
        outcomes = [record['outcome'] for record in map(
            json.loads, self.lines('all')) if record['event'] == 'result']
        failed = [number for number, outcome in enumerate(outcomes, 1)
                  if outcome != 'ok']
        self.assertIn('classh: stopped: 3 of %d failed (--max-fail 2)\n'
                      % failed[2], said.stderr)
        self.assertRegex(said.stderr, r'(?m)^%d of 35 not started: exit5-\['
                         % end['not_started'])

    def test_part_of_the_hosts_is_rounded_down(self):
        # 10 % of 19 is 1.
        said = self.classh('--max-fail', '10%', '-f1', 'true', 'exit1-[1-19]')
        said.check(6, None, 'classh: stopped: 2 of 2 failed (--max-fail 10%)\n'
                   '2 of 2 exited with 1: exit1-[1-2]\n'
                   '17 of 19 not started: exit1-[3-19]\n')

    def test_what_runs_is_ended_with_k_and_nothing_hides_the_status(self):
        for args in (), ('-q', '--maxrc'):
            said = self.classh('-k', '-f3', '--json=all', *args,
                               '[ $HOST != bad ] || exit 3', 'slow1', 'slow2',
                               'bad', 'h[1-9]').check(6, None, None)
            end = self.end()
            self.assertEqual((end['status'], end['error'], end['killed'],
                              end['not_started']), (6, 1, 2, 9))
            self.assertIn('classh: stopped: 1 of 1 failed (-k)\n', said.stderr)
            self.assertIn('9 of 12 not started: h[1-9]\n', said.stderr)

    def test_limit_that_cost_nothing_is_not_told(self):
        for args, hosts, status in (
                (('-k',), 'exit1', 5), (('-k',), 'unreach', 4),
                (('--max-fail', '1'), 'exit1,exit2', 5),
                (('--first', '1'), 'exit1', 5), (('--ramp',), 'exit1,h1', 5),
                (('--max-fail', '0', '--first', '2'), 'h[1-9]', 0)):
            said = self.classh('-f1', *args, 'true', hosts)
            said.check(status, None, None)
            self.assertNotIn('stopped', said.stderr, said)
            self.assertNotIn('not started', said.stderr, said)

    def test_trouble_of_our_own_is_graver(self):
        self.classh('-q', '-k', '-f1', '-S', '| exit 9', 'true', 'h1',
                    'exit1', 'h2').check(1, '', None)


class FirstHostsTest(CarefulTest):
    def run_on(self, *args):
        return self.classh(*args, env={'FAKE_SSH_LOG': self.path('log')})

    def test_the_others_start_when_the_first_were_ok(self):
        self.run_on('--first', '3', '-f9', 'true', 'h[1-12]').check(0, None)
        lines = self.lines('log')
        begun = [number for number, line in enumerate(lines)
                 if line[0] == '+']
        self.assertEqual(len(begun), 12)
        self.assertLessEqual({'- h1', '- h2', '- h3'}, set(lines[:begun[3]]))

    def test_one_that_is_bad_is_the_end(self):
        for bad in 'exit1', 'unreach':
            self.write('log')
            said = self.run_on('--first', '3', '-f9', 'true', 'h[1-2]', bad,
                               'h[3-9]').check(6, None, None)
            self.assertEqual(sorted(self.begun()), sorted(['h1', 'h2', bad]))
            self.assertIn('classh: stopped: %s failed, one of the first 3 '
                          '(--first 3)\n' % bad, said.stderr)
            self.assertIn('7 of 10 not started: h[3-9]\n', said.stderr)

    def test_ramp_begins_with_one(self):
        self.run_on('--ramp', 'true', 'h[1-9]').check(0, None)
        lines = self.lines('log')
        self.assertEqual(lines[:2], ['+ h1', '- h1'])
        most = running = 0
        for ended, line in enumerate(lines):
            running += 1 if line[0] == '+' else -1
            most = max(most, running)
            self.assertLessEqual(
                running, 1 + sum(line[0] == '-' for line in lines[:ended]))
        self.assertGreater(most, 1)


class PasswordFirstTest(PasswordTest):
    def test_one_host_then_the_first_then_the_rest(self):
        # h1 is not done before the other three of the first have begun.
        said = self.classh(
            '--first', '4', '-f9', 'echo begin $TARGET >>order; send "'
            "bob@$TARGET's password: "
            '"; echo in $TARGET >>order; enter; [ $TARGET != h1 ] || '
            'until [ $(grep -c begin order) = 4 ]; do sleep .01; done; '
            'echo end $TARGET >>order', 'h[1-12]').check(stdout=None)
        order = [line.split() for line in self.lines('order')]
        self.assertEqual(order[:2], [['begin', 'h1'], ['in', 'h1']], said)
        begun = [host for what, host in order if what == 'begin']
        self.assertEqual(sorted(begun[:4]), ['h1', 'h2', 'h3', 'h4'], said)
        self.assertEqual(len(begun), 12)
        before = order[:order.index(['begin', begun[4]])]
        self.assertEqual(sorted(host for what, host in before
                                if what == 'end'), ['h1', 'h2', 'h3', 'h4'])

    def test_wrong_password_tries_one(self):
        said = self.classh('--first', '4', "login 'another'", 'h[1-12]')
        self.assertEqual(len(self.sent()), 1, said)
        said.check(6, None, None)
        self.assertIn('11 of 12 not tried: h[2-12]\n', said.stderr)


class DeadlineTest(CarefulTest):
    def test_it_is_like_ctrl_c_but_for_the_status(self):
        # The program that takes the names has its grace, and no more.
        said = self.classh('--deadline', '3s', '-f3', '--json=all', '-q',
                           '-S', '| cat >good; exec sleep 60', 'true', 'h1',
                           'slow[1-3]', 'h[2-9]')
        self.assertRegex(said.stderr, r'^classh: stopped: not done after 3 s '
                         r'\(--deadline\)\n(?s:.*)8 of 12 not started: '
                         r'h\[2-9\]\n', said)
        end = self.end()
        self.assertEqual((end['killed'], end['not_started']), (3, 8))
        self.assertEqual(self.lines('good'), ['h1'])

    def test_status_is_6_and_second_stop_kills(self):
        self.classh('--deadline', '.5', '-u0', 'true', 'slow').check(
            6, None, 'classh: stopped: not done after 0.5 s (--deadline)\n'
            '1 of 1 ' + STOPPED + 'slow\n')
        for args in ('--deadline', '.5', 'true', 'slow'), (
                '-k', 'true', 'slow', 'exit3'):
            # What ignores SIGTERM from its birth waits for SIGKILL.
            with self.start(*args, before="trap '' TERM") as command:
                wait_until(lambda: 'stopped: ' in command.stderr)
                command.signal(signal.SIGINT)
                said = command.finish().check(130, None, None)
                self.assertIn('slow   -9 ', said.stdout)

    def test_hosts_that_never_come_are_not_waited_for(self):
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        with open(read, 'rb') as source:
            self.classh('--deadline', '.5', 'true', '-', stdin=source).check(
                6, '', 'classh: stopped: not done after 0.5 s (--deadline)\n'
                'hosts on stdin were not read to the end\n')

    def test_run_that_ends_in_time_is_as_ever(self):
        for args, status in (('h1',), 0), (('h1', 'exit1'), 5):
            self.classh('--deadline', '1h', '-q', 'true', *args).check(
                status, '')
        self.classh('--deadline', '0', '-q', 'true', 'h1').check(0, '')

    def test_reader_that_does_not_read_is_not_waited_for(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        with open(write, 'wb') as full:
            said = self.classh('--deadline', '1', 'seq 99999', 'h1',
                               stdout=full)
        self.assertIn('stdout: ', said.stderr, said)
        self.assertEqual(said.status, 1, said)


class StdinTest(CarefulTest):
    def test_stdin_is_left_alone_once_a_limit_stops_the_run(self):
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        os.write(write, b'h1\nexit1\nh2\n')
        with open(read, 'rb') as source:
            said = self.classh('--max-fail', '0', '-f1', 'true', '-',
                               stdin=source)
        said.check(6, None, None)
        self.assertIn('\n1 not started: h2\nhosts on stdin were not read to '
                      'the end\n', said.stderr, said)

    def test_all_are_counted_where_stdin_has_ended(self):
        self.classh('-k', '-q', '-f1', 'true', '-',
                    stdin=b'h1\nexit1\nh2\nh3\n').check(
            6, '', 'classh: stopped: 1 of 2 failed (-k)\n'
            '2 of 4 not started: h[2-3]\n')

    def test_first_hosts_may_come_one_by_one(self):
        read, write = os.pipe()
        with open(read, 'rb') as source, self.start(
                '--first', '2', '--ramp', 'true', '-', stdin=source
        ) as command:
            os.write(write, b'h1\n')
            wait_until(lambda: 'h1   0' in command.stdout)
            os.write(write, b'h2\nh3\n')
            os.close(write)
            said = command.finish().check(0, None)
        self.assertEqual(len(re.findall(r'h\d   0 ', said.stdout)), 3)


class UsageTest(CarefulTest):
    def test_what_cannot_be_is_refused_before_anything_starts(self):
        for args, error in (
                (('--first', '9', 'h[1-5]'),
                 '--first 9: there are only 5 hosts'),
                (('--first', '2', 'h1,h1'),
                 '--first 2: there is only 1 host'),
                (('--first', '0', 'h1'),
                 "--first: '0' is not a whole number of at least 1; "
                 'see classh -h'),
                (('--max-fail', '-1', 'h1'),
                 "--max-fail: '-1' is not a number of hosts such as "
                 '5, or a part of them such as 10%; see classh -h'),
                (('-k', '--max-fail', '3', 'h1'),
                 '-k is --max-fail 0, and ends what runs: it goes without '
                 '--max-fail 3'),
                (('--max-fail', '5%', '-'),
                 '--max-fail 5% is a part of the hosts, which are not known '
                 'yet with -: say how many may fail'),
                (('--max-fail', '5%', 'h[1-99999999]'),
                 '--max-fail 5% is a part of the hosts, which are too many to '
                 'be counted: say how many may fail')):
            self.classh('echo ran', *args).check(
                2, '', 'classh: %s\n' % error)

    def test_list_and_hosts_beyond_number_take_no_harm(self):
        self.classh('--list', '--first', '9', 'h1').check(0, 'h1\n')
        self.classh('-q', '--first', '1', 'true', 'exit1',
                    'h[1-99999999]').check(6, '', None)


class ResumeTest(CarefulTest):
    def test_limits_hold_again_and_one_may_be_put_in_place_of_another(self):
        self.classh('-q', '-f1', '--journal', 'j', '-k', 'true', 'h1',
                    'exit[1-9]').check(6, '', None)
        for args, stopped, left in (
                ((), '1 of 1 failed (-k)', '7 of 8'),
                (('--max-fail', '1'), '2 of 2 failed (--max-fail 1)',
                 '5 of 7'),
                (('-k',), '1 of 1 failed (-k)', '4 of 5'),
                (('--first', '99', '--max-fail', '50%'),
                 'exit6 failed, one of the first 99 (--first 99)', '3 of 4')):
            said = self.classh('--resume', 'j', *args).check(6, '', None)
            self.assertTrue(said.stderr.startswith(
                'classh: stopped: %s\n%s not started: ' % (stopped, left)),
                said)


class ShellTest(CarefulTest):
    def test_each_line_is_a_run_of_its_own(self):
        said = Command(
            classh_argv('--ssh', FAKE_SSH, '--shell', '-f1', '--first', '1',
                        '--max-fail', '50%', '--deadline', '9', 'h[1-4]'),
            cwd=self.directory, stdin='[ $HOST = h2 ]\n'
            '[ $HOST != h2 ]\n%not h1\n%not h2\n[ $HOST = h5 ]\n').finish()
        said.check(6, None, None)
        self.assertEqual(re.findall('(?m)^classh: stopped: (.*)$',
                                    said.stderr),
                         ['h1 failed, the first (--first 1)',
                          'h3 failed, the first (--first 1)'], said)
        self.assertEqual(said.stdout.count('   0 '), 3, said)


class RequestsTest(unittest.TestCase):
    def test_deadline_is_one_request_and_none_beside_another(self):
        for caught, level in ([], 1), ([signal.SIGINT], 1), ([15, 15], 2):
            stops = classh.StopRequests()
            with stops.limited(1e-9):
                stops.caught += caught
                while stops.time_left():
                    pass
                self.assertEqual([stops.level(), stops.level()],
                                 [level, level])
                self.assertEqual(stops.overdue, not caught)
                stops.caught.append(signal.SIGINT)
                self.assertEqual(stops.level(), level + 1)

    def test_it_holds_for_one_run(self):
        stops = classh.StopRequests()
        for _ in range(2):
            with self.assertRaises(OSError), stops.limited(1e-9):
                while stops.time_left():
                    pass
                self.assertEqual(stops.level(), 1)
                raise OSError       # whatever ends it
            self.assertEqual((stops.level(), stops.time_left()), (0, math.inf))
        for seconds in 0, -1, 1e9:
            with stops.limited(seconds):
                self.assertEqual(stops.level(), 0)


if __name__ == '__main__':
    unittest.main()
