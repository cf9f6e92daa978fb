"""LockoutGuard: who is sent a password, and how many jobs may start."""

import collections
import sys
import unittest

from classh import PROOF_TIMEOUT, LockoutGuard

Job = collections.namedtuple('Job', 'host')
ONE, TWO, THREE = map(Job, ('h1', 'h2', 'h3'))


class GuardTest(unittest.TestCase):
    def setUp(self):
        self.guard = LockoutGuard(b'x')
        self.answers = []           # (host, secret), in order

    def ask(self, *jobs):
        for job in jobs:
            self.guard.ask(job, lambda secret, host=job.host:
                           self.answers.append((host, secret)))


class SendingTest(GuardTest):
    def test_one_job_is_sent_it_first_and_all_once_it_is_accepted(self):
        self.ask(ONE, TWO, THREE)
        self.assertEqual(self.answers, [('h1', b'x')])
        self.guard.accept()
        self.assertEqual(self.answers[1:], [('h2', b'x'), ('h3', b'x')])

    def test_nobody_is_sent_it_after_a_refusal(self):
        self.ask(ONE, TWO)
        self.guard.refuse(ONE)
        self.ask(THREE)
        self.assertEqual(self.answers[1:], [('h2', None), ('h3', None)])
        self.assertEqual(self.guard.refusal, 'h1 refused the password')

    def test_refusal_counts_after_others_accepted_it(self):
        self.guard.accept()
        self.guard.refuse(TWO)
        self.guard.accept()
        self.ask(ONE)
        self.assertEqual(self.answers, [('h1', None)])

    def test_refusal_does_not_count_where_it_is_sent_anyway(self):
        self.guard = LockoutGuard(b'x', anyway=True)
        self.guard.refuse(ONE)
        self.ask(TWO, THREE)
        self.assertEqual(self.answers, [('h2', b'x'), ('h3', b'x')])

    def test_next_job_tries_when_the_first_ends_undecided(self):
        self.ask(ONE, TWO, THREE)
        self.guard.job_finished(ONE)
        self.assertEqual(self.answers[1:], [('h2', b'x')])

    def test_next_job_tries_when_the_first_decides_nothing_in_time(self):
        self.guard.room(100)
        self.ask(ONE, TWO)
        self.guard.room(99 + PROOF_TIMEOUT)
        self.assertEqual(self.answers[1:], [])
        self.guard.room(100 + PROOF_TIMEOUT)
        self.assertEqual(self.answers[1:], [('h2', b'x')])

    def test_job_that_tries_it_may_ask_for_its_jump_host_too(self):
        self.ask(ONE, ONE)
        self.assertEqual(self.answers, 2 * [('h1', b'x')])

    def test_job_that_ends_while_it_waits_gets_nothing(self):
        self.ask(ONE, TWO)
        self.guard.job_finished(TWO)
        self.assertEqual(self.answers[1:], [('h2', None)])

    def test_refusal_of_an_earlier_run_bars_it_in_the_next(self):
        self.guard.refuse(ONE)
        self.guard.begin_run()
        self.assertEqual(self.guard.state, 'barred')
        self.assertTrue(self.guard.closed)


class RoomTest(GuardTest):
    def test_jobs_start_one_by_one_until_it_is_decided(self):
        self.assertEqual(self.guard.room(0), 1)
        self.guard.job_starts(ONE)
        self.assertEqual(self.guard.room(0), 0)
        self.guard.accept()
        self.guard.job_passed(ONE)
        self.assertEqual(self.guard.room(0), sys.maxsize)

    def test_next_one_starts_when_a_job_can_ask_no_more(self):
        for leave in self.guard.job_passed, self.guard.job_finished:
            self.guard.job_starts(ONE)
            leave(ONE)
            self.assertEqual(self.guard.room(0), 1)

    def test_next_one_starts_when_a_job_takes_too_long(self):
        self.guard.job_starts(ONE)
        self.assertEqual(self.guard.room(PROOF_TIMEOUT - 1), 0)
        self.assertEqual(self.guard.room(PROOF_TIMEOUT), 1)

    def test_host_that_asked_for_nothing_is_not_waited_for_again(self):
        self.guard.job_starts(ONE)
        self.guard.job_passed(ONE)
        self.guard.job_starts(ONE)
        self.assertEqual(self.guard.room(0), 1)

    def test_same_secret_at_an_earlier_prompt_decides_too(self):
        later = LockoutGuard(b'x', earlier=self.guard)
        other = LockoutGuard(b'y', earlier=self.guard)
        self.guard.accept()
        self.assertEqual(later.room(0), sys.maxsize)
        self.assertEqual(other.room(0), 1)


if __name__ == '__main__':
    unittest.main()
