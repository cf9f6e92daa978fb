"""Pace: how many jobs may start, and when to start no more."""

import argparse
import sys
import unittest
from types import SimpleNamespace

from classh import (NO_ROOM_TIMEOUT, Canary, FailLimit, HostQueue, LoginLimit,
                    Pace, Ramp, Result, SSHJobMan, _Admission, _fail_limit,
                    _Job, _pace_rules)

NO_LIMIT = sys.maxsize


def result(outcome='ok', host='h'):
    return Result(host, 0, '', '', 0.0, 1.0, outcome, '', False)


def admission(fanout, *rules):
    return _Admission(fanout, LoginLimit(), rules)


class RoomTest(unittest.TestCase):
    def test_room_is_the_fanout_less_what_runs(self):
        pace = admission(3)
        self.assertEqual([pace.room(running) for running in range(5)],
                         [3, 2, 1, 0, -1])

    def test_fanout_may_change(self):
        pace = admission(3)
        pace.fanout = 10
        self.assertEqual(pace.room(3), 7)

    def test_fanout_below_one_is_refused(self):
        for fanout in 0, -1:
            with self.assertRaisesRegex(ValueError, 'fanout must be 1 or'):
                SSHJobMan([], 'true', fanout=fanout)
            with self.assertRaisesRegex(ValueError, 'not %d' % fanout):
                SSHJobMan([], 'true').fanout = fanout


class NoRoomTest(unittest.TestCase):
    def setUp(self):
        self.pace = admission(5)
        self.assertTrue(self.pace.no_room(2, 100.0))

    def test_nothing_starts_beside_what_runs_until_a_job_has_ended(self):
        self.assertEqual(self.pace.room(2), 0)
        # The host of a job may be tried again, and have no last result yet.
        self.pace.ended(_Job('h', 1, None, 0), 'dropped')
        self.assertEqual(self.pace.room(1), 4)

    def test_another_try_is_made_where_nothing_runs(self):
        self.assertEqual(self.pace.room(0), 5)

    def test_wait_has_no_end_while_something_runs(self):
        self.assertTrue(self.pace.no_room(1, 100.1 + NO_ROOM_TIMEOUT))

    def test_wait_has_an_end_where_nothing_runs(self):
        self.assertTrue(self.pace.no_room(0, 100.0 + NO_ROOM_TIMEOUT))
        self.assertFalse(self.pace.no_room(0, 100.1 + NO_ROOM_TIMEOUT))

    def test_next_host_waits_as_long(self):
        now = 100.1 + NO_ROOM_TIMEOUT
        self.assertFalse(self.pace.no_room(0, now))
        self.assertTrue(self.pace.no_room(0, now))
        self.assertTrue(self.pace.no_room(0, now + NO_ROOM_TIMEOUT))
        self.assertFalse(self.pace.no_room(0, now + NO_ROOM_TIMEOUT + .1))

    def test_start_ends_the_wait(self):
        self.pace.started(_Job('h', 1, None, 0))
        self.assertEqual(self.pace.room(2), 3)
        self.assertTrue(self.pace.no_room(0, 100.1 + NO_ROOM_TIMEOUT))


class Hosts:
    """Hosts that are started and end under *rules*, as in a manager."""

    def __init__(self, *rules, fanout=100):
        self.admission = admission(fanout, *rules)
        for rule in rules:
            rule.attach(SimpleNamespace(fanout=fanout))

    def room(self):
        return self.admission.new_room(0)

    def start(self, *hosts, tries=1):
        for host in hosts:
            job = _Job(host, 1, None, 0)
            job.tries = tries
            self.admission.started(job)

    def end(self, host='h', outcome='ok'):
        """What the rules say to it: their words."""
        return [why for _, why in self.admission.finished(
            result(outcome, host))]


class RuleTest(unittest.TestCase):
    BAD = 'error', 'ssh', 'killed'

    def test_base_class_never_limits_and_never_stops(self):
        hosts = Hosts(Pace())
        hosts.start('a')
        self.assertEqual(hosts.room(), NO_LIMIT)
        self.assertFalse(Pace.ends_running)
        for outcome in ('ok', *self.BAD):
            self.assertEqual(hosts.end(outcome, outcome), [])

    def test_without_rules_there_is_no_limit(self):
        self.assertEqual(Hosts().room(), NO_LIMIT)

    def test_narrowest_rule_counts_in_any_order(self):
        for rules in (Canary(3), Ramp(), FailLimit(0)), (
                FailLimit(0), Ramp(), Canary(3)):
            hosts = Hosts(*rules)
            self.assertEqual(hosts.room(), 1)
            hosts.start('a')
            self.assertEqual(hosts.room(), 0)
            self.assertEqual(hosts.end('a'), [])
            self.assertEqual(hosts.room(), 2)
            hosts.start('b')
            self.assertEqual(sorted(hosts.end('b', 'error')),
                             ['1 of 2 failed', 'b failed, one of the first 3'])

    def test_host_that_is_tried_again_counts_once_and_as_running(self):
        hosts = Hosts(Canary(2), Ramp())
        hosts.start('a')
        hosts.start('a', tries=2)
        self.assertEqual(hosts.room(), 0)
        hosts.end('a')
        self.assertEqual(hosts.room(), 1)

    def test_host_that_could_not_be_started_counts(self):
        for rule in Canary(1), FailLimit(0):
            self.assertEqual(len(Hosts(rule).end('a', 'ssh')), 1)
        hosts = Hosts(Canary(1), Ramp())
        hosts.end('a')
        self.assertEqual(hosts.room(), 2)


class CanaryTest(unittest.TestCase):
    def test_all_others_follow_when_the_first_are_ok(self):
        hosts = Hosts(Canary(2))
        self.assertEqual(hosts.room(), 2)
        hosts.start('a', 'b')
        self.assertEqual(hosts.room(), 0)
        self.assertEqual(hosts.end('b'), [])
        self.assertEqual(hosts.room(), 0)
        self.assertEqual(hosts.end('a'), [])
        self.assertEqual(hosts.room(), NO_LIMIT)
        hosts.start('c')
        self.assertEqual(hosts.end('c', 'error'), [])

    def test_a_bad_one_stops_the_run(self):
        for outcome in RuleTest.BAD:
            hosts = Hosts(Canary(2))
            hosts.start('a', 'b')
            self.assertEqual(hosts.end('a', outcome),
                             ['a failed, one of the first 2'])
            self.assertEqual(hosts.end('b'), [])
            self.assertEqual(hosts.room(), 0)
        self.assertEqual(Hosts(Canary(1)).end('a', 'ssh'),
                         ['a failed, the first'])

    def test_at_least_one(self):
        for count in 0, -1:
            self.assertRaises(ValueError, Canary, count)


class RampTest(unittest.TestCase):
    def test_one_more_after_each_good_one_up_to_the_fanout(self):
        hosts = Hosts(Ramp(), fanout=3)
        rooms = [hosts.room()]
        for _ in range(4):
            hosts.start('h')
            self.assertEqual(hosts.end(), [])
            rooms.append(hosts.room())
        self.assertEqual(rooms, [1, 2, 3, 3, 3])

    def test_a_bad_one_halves_down_to_one(self):
        hosts = Hosts(Ramp(), fanout=5)
        for _ in range(9):
            hosts.start('h')
            hosts.end()
        rooms = []
        for outcome in 'error', 'ok', 'ok', 'ssh', 'killed', 'ok':
            hosts.start('h')
            self.assertEqual(hosts.end('h', outcome), [])
            rooms.append(hosts.room())
        self.assertEqual(rooms, [2, 3, 4, 2, 1, 2])

    def test_what_runs_takes_room(self):
        hosts = Hosts(Ramp())
        hosts.start('a')
        hosts.end('a')
        hosts.start('b')
        self.assertEqual(hosts.room(), 1)
        hosts.start('c')
        self.assertEqual(hosts.room(), 0)


class FailLimitTest(unittest.TestCase):
    def test_next_one_stops_the_starts(self):
        for outcome in RuleTest.BAD:
            hosts = Hosts(FailLimit(2))
            self.assertEqual([hosts.end('h', one) for one in (
                'ok', outcome, 'ok', outcome, 'ok')], [[]] * 5)
            self.assertEqual(hosts.room(), NO_LIMIT)
            self.assertEqual(hosts.end('h', outcome), ['3 of 6 failed'])

    def test_what_runs_is_ended_where_that_is_wanted(self):
        self.assertFalse(FailLimit(1).ends_running)
        self.assertTrue(FailLimit(1, ends_running=True).ends_running)

    def test_none_may_fail_but_not_fewer(self):
        self.assertEqual(Hosts(FailLimit(0)).end('a', 'ssh'),
                         ['1 of 1 failed'])
        self.assertRaises(ValueError, FailLimit, -1)

    def test_on_the_command_line_it_is_a_number_or_a_part(self):
        for text in '0', '5', '0%', '100%', '123456789':
            self.assertEqual(_fail_limit(text), text)
        for text in ('-1', '101%', 'abc', '', '5.5', '%', '5 %', '5%%', '1e3',
                     '\u0663', '5\n', '1234567890'):
            with self.assertRaises(argparse.ArgumentTypeError, msg=text):
                _fail_limit(text)

    def test_part_of_the_hosts_is_rounded_down(self):
        for text, count, most in (('10%', 19, 1), ('29%', 100, 29),
                                  ('99%', 1, 0), ('100%', 3, 3), ('7', 3, 7)):
            options = SimpleNamespace(first=None, ramp=False, fail_fast=False,
                                      max_fail=text)
            (rule, option), = _pace_rules(
                options, HostQueue('h[1-%d]' % count)).items()
            self.assertEqual(option, '--max-fail ' + text)
            for _ in range(most):
                self.assertIsNone(rule.finished(result('error')))
            self.assertIsNotNone(rule.finished(result('error')))
