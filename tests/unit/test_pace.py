"""Pace: how many jobs may start, and when to start no more."""

import unittest

from classh import NO_ROOM_TIMEOUT, Pace, Result, _Job


def result(outcome='ok', host='h'):
    return Result(host, 0, '', '', 0.0, 1.0, outcome, '', False)


class RoomTest(unittest.TestCase):
    def test_room_is_the_fanout_less_what_runs(self):
        pace = Pace(3)
        self.assertEqual([pace.room(running, 0) for running in range(5)],
                         [3, 2, 1, 0, -1])

    def test_fanout_may_change(self):
        pace = Pace(3)
        pace.fanout = 10
        self.assertEqual(pace.room(3, 0), 7)

    def test_fanout_below_one_is_refused(self):
        for fanout in 0, -1:
            self.assertRaises(ValueError, Pace, fanout)


class NoRoomTest(unittest.TestCase):
    def setUp(self):
        self.pace = Pace(5)
        self.assertTrue(self.pace.no_room(2, 100.0))

    def test_nothing_starts_beside_what_runs_until_a_job_has_ended(self):
        self.assertEqual(self.pace.room(2, 100.0), 0)
        self.assertTrue(self.pace.awaits_room)
        self.pace.finished(result())
        self.assertFalse(self.pace.awaits_room)
        self.assertEqual(self.pace.room(1, 100.0), 4)

    def test_another_try_is_made_where_nothing_runs(self):
        self.assertEqual(self.pace.room(0, 100.0), 5)

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
        self.assertFalse(self.pace.awaits_room)
        self.assertEqual(self.pace.room(2, 100.0), 3)
        self.assertTrue(self.pace.no_room(0, 100.1 + NO_ROOM_TIMEOUT))


class StopTest(unittest.TestCase):
    def test_plain_pace_never_stops(self):
        pace = Pace()
        for outcome in 'ok', 'error', 'ssh', 'killed':
            self.assertIsNone(pace.finished(result(outcome)))
