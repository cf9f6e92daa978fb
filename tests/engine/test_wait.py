"""The wait ladder for programs that are no jobs."""

import os
import subprocess
import time
import unittest
from unittest import mock

from lib import TestCase
from classh import wait_or_end

DEAF = 'trap "" TERM; echo; while :; do sleep .02; done'


class WaitTest(TestCase):
    def start(self, script, **options):
        """Start *script*, and wait for a line from it."""
        options.setdefault('start_new_session', True)
        process = subprocess.Popen(['/bin/sh', '-c', script],
                                   stdout=subprocess.PIPE, **options)
        self.addCleanup(process.stdout.close)
        process.stdout.readline()
        return process

    def test_program_may_take_its_time_while_no_end_is_requested(self):
        process = self.start('echo; sleep .3; exit 7')
        self.assertEqual(wait_or_end(process, lambda: 0, 0, 0), 7)

    def test_short_program_is_not_waited_for_longer_than_it_runs(self):
        with mock.patch('classh.WAIT_INTERVAL_MAX', 60):
            began = time.monotonic()
            self.assertEqual(wait_or_end(self.start('echo'), lambda: 0, 0, 0),
                             0)
        self.assertLess(time.monotonic() - began, 5)

    def test_request_leaves_it_its_patience(self):
        process = self.start('echo; sleep .3; exit 7')
        self.assertEqual(wait_or_end(process, lambda: 1, 60, 60), 7)

    def test_then_comes_sigterm(self):
        process = self.start('trap "exit 8" TERM; echo; '
                             'while :; do sleep .02; done')
        self.assertEqual(wait_or_end(process, lambda: 1, .1, 60), 8)

    def test_then_comes_sigkill(self):
        self.assertEqual(wait_or_end(self.start(DEAF), lambda: 1, .1, .1), -9)

    def test_then_the_wait_is_given_up(self):
        process = self.start(DEAF)
        with mock.patch('classh._kill_group'):
            self.assertIsNone(wait_or_end(process, lambda: 1, .1, .1))
        os.killpg(process.pid, 9)
        process.wait()

    def test_process_that_another_part_has_reaped_is_not_signalled(self):
        process = self.start('echo; exit 7')
        os.waitpid(process.pid, 0)
        with mock.patch('classh._kill_group') as kill:
            self.assertEqual(wait_or_end(process, lambda: 1, 0, 0), 0)
        kill.assert_not_called()

    def test_second_request_cuts_the_patience_short(self):
        levels = iter((0, 1, 1))
        self.assertEqual(wait_or_end(
            self.start('echo; exec sleep 60'), lambda: next(levels, 2),
            60, 60), -15)

    def test_requests_before_the_wait_count_as_one(self):
        process = self.start('echo; sleep .3; exit 7')
        self.assertEqual(wait_or_end(process, lambda: 5, 60, 60), 7)

    def test_nothing_of_its_group_is_left_behind_after_a_request(self):
        # Its child is in the same group; TestCase sees that it is gone.
        process = self.start('sleep 60 & echo; sleep .3; exit 3')
        self.assertEqual(wait_or_end(process, lambda: 1, 60, 60), 3)

    def test_program_in_our_own_group_is_ended_alone(self):
        process = self.start('echo; exec sleep 60', start_new_session=False)
        self.assertEqual(wait_or_end(process, lambda: 1, 0, 60), -15)

    def test_status_that_somebody_else_has_taken(self):
        process = self.start('echo; exit 7')
        os.waitpid(process.pid, 0)
        self.assertEqual(wait_or_end(process, lambda: 0, 0, 0), 0)


if __name__ == '__main__':
    unittest.main()
