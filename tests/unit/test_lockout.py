"""The lockout guard: a password goes to one host first, and to the others
once a host took it.  The clock is that of room(now)."""

import itertools
import sys
import unittest

from classh import PROOF_TIMEOUT, UNASKED_MIN, LockoutGuard


class Job:
    def __init__(self, host):
        self.host = host


class GuardTest(unittest.TestCase):
    def setUp(self):
        self.guard = LockoutGuard(b'secret')
        self.jobs = [Job('h%d' % number) for number in range(5)]
        self.answers = []           # (host, what it was given)

    def ask(self, *numbers, guard=None):
        for number in numbers:
            job = self.jobs[number]
            (guard or self.guard).ask(job, lambda secret, job=job: (
                self.answers.append((job.host, secret))))

    def given(self):
        """What the hosts were given since the last call: their numbers, and
        None after that of one that was refused an answer."""
        answers, self.answers = self.answers, []
        return ['%s%s' % (host[1:], '' if secret == b'secret' else '-')
                for host, secret in answers]


class AskTest(GuardTest):
    def test_first_host_gets_it_and_the_others_wait(self):
        self.ask(0, 1, 2)
        self.assertEqual(self.given(), ['0'])

    def test_all_get_it_once_a_host_took_it(self):
        self.ask(0, 1, 2)
        self.given()
        self.guard.accept()
        self.assertEqual(self.given(), ['1', '2'])
        self.ask(3, 4)
        self.assertEqual(self.given(), ['3', '4'])

    def test_no_other_host_gets_it_after_a_refusal(self):
        self.ask(0, 1, 2)
        self.given()
        self.guard.refuse(self.jobs[0])
        self.assertEqual(self.given(), ['1-', '2-'])
        self.ask(3)
        self.assertEqual(self.given(), ['3-'])
        self.assertTrue(self.guard.closed)
        self.assertEqual(self.guard.refusal, 'h0 refused the password')

    def test_refusal_ends_the_sending_though_others_took_it(self):
        self.ask(0)
        self.guard.accept()
        self.ask(1)
        self.guard.refuse(self.jobs[1], 'is full')
        self.given()
        self.ask(2)
        self.assertEqual(self.given(), ['2-'])
        self.assertEqual(self.guard.refusal, 'h1 is full')

    def test_first_refusal_stands(self):
        self.ask(0)
        for number in 0, 1:
            self.guard.refuse(self.jobs[number])
        self.guard.accept()
        self.assertEqual(self.guard.refusal, 'h0 refused the password')
        self.assertTrue(self.guard.closed)

    def test_anyway_asks_for_no_proof_and_heeds_no_refusal(self):
        self.guard = LockoutGuard(b'secret', anyway=True)
        self.ask(0, 1)
        self.guard.refuse(self.jobs[0])
        self.ask(2)
        self.assertEqual(self.given(), ['0', '1', '2'])
        self.assertEqual(self.guard.refusal, '')

    def test_host_behind_a_jump_host_gets_it_for_both(self):
        self.ask(0, 1, 0)
        self.assertEqual(self.given(), ['0', '0'])

    def test_host_that_asks_again_while_it_waits_is_answered_once(self):
        self.ask(0, 1, 1)
        self.given()
        self.guard.accept()
        self.assertEqual(self.given(), ['1'])

    def test_next_host_tries_where_the_first_is_over_undecided(self):
        self.ask(0, 1, 2)
        self.given()
        self.guard.job_finished(self.jobs[0])
        self.assertEqual(self.given(), ['1'])
        self.guard.job_finished(self.jobs[1])
        self.assertEqual(self.given(), ['2'])

    def test_host_that_is_over_while_it_waits_gets_nothing(self):
        self.ask(0, 1, 2)
        self.given()
        self.guard.job_finished(self.jobs[1])
        self.assertEqual(self.given(), ['1-'])
        self.guard.accept()
        self.assertEqual(self.given(), ['2'])

    def test_next_host_tries_where_the_first_takes_its_time(self):
        self.guard.room(100.0)
        self.ask(0, 1, 2)
        self.given()
        self.guard.room(99.9 + PROOF_TIMEOUT)
        self.assertEqual(self.given(), [])
        self.guard.room(100.0 + PROOF_TIMEOUT)
        self.assertEqual(self.given(), ['1'])
        self.guard.room(99.9 + 2 * PROOF_TIMEOUT)
        self.assertEqual(self.given(), [])
        self.guard.room(100.0 + 2 * PROOF_TIMEOUT)
        self.assertEqual(self.given(), ['2'])

    def test_host_that_answers_late_has_answered(self):
        self.guard.room(100.0)
        self.ask(0, 1, 2)
        self.guard.room(100.0 + PROOF_TIMEOUT)
        self.given()
        self.guard.refuse(self.jobs[0])
        self.assertEqual(self.given(), ['2-'])


class RoomTest(GuardTest):
    MANY = sys.maxsize

    def start(self, *numbers):
        for number in numbers:
            self.guard.job_starts(self.jobs[number])

    def test_jobs_start_one_by_one_until_it_is_decided(self):
        self.assertEqual(self.guard.room(0.0), 1)
        self.start(0)
        self.assertEqual(self.guard.room(0.0), 0)
        self.ask(0)
        self.assertEqual(self.guard.room(0.0), 0)

    def test_all_may_start_once_it_is_proven(self):
        self.start(0)
        self.ask(0)
        self.guard.accept()
        self.guard.job_passed(self.jobs[0])
        self.assertEqual(self.guard.room(0.0), self.MANY)

    def test_next_may_start_when_the_one_before_can_ask_no_more(self):
        self.start(0)
        self.guard.job_passed(self.jobs[0])
        self.assertEqual(self.guard.room(0.0), 1)

    def test_next_may_start_when_the_one_before_is_over(self):
        self.start(0)
        self.guard.job_finished(self.jobs[0])
        self.assertEqual(self.guard.room(0.0), 1)

    def test_next_may_start_after_a_while(self):
        self.guard.room(100.0)
        self.start(0)
        self.assertEqual(self.guard.room(99.9 + PROOF_TIMEOUT), 0)
        self.assertEqual(self.guard.room(100.0 + PROOF_TIMEOUT), 1)

    def test_host_whose_command_ran_unasked_holds_nobody_up(self):
        self.start(0)
        self.guard.job_passed(self.jobs[0])
        self.start(0)               # in another run
        self.assertEqual(self.guard.room(0.0), 1)

    def pass_unasked(self, number):
        for _ in range(number):
            job = Job(object())     # another host each time
            self.guard.job_starts(job)
            self.guard.job_passed(job)

    def test_as_many_as_were_not_asked_in_a_row_may_start(self):
        self.guard = LockoutGuard(b'secret', widens=True)
        self.pass_unasked(UNASKED_MIN - 1)
        self.assertEqual(self.guard.room(0.0), 1)
        self.pass_unasked(1)
        self.assertEqual(self.guard.room(0.0), UNASKED_MIN)
        self.start(0, 1)
        self.assertEqual(self.guard.room(0.0), UNASKED_MIN - 2)
        self.guard.job_passed(self.jobs[0])
        self.assertEqual(self.guard.room(0.0), UNASKED_MIN)

    def test_question_makes_them_start_one_by_one_again(self):
        self.guard = LockoutGuard(b'secret', widens=True)
        self.pass_unasked(UNASKED_MIN)
        self.start(0, 1)
        self.ask(0, 1)
        self.assertEqual(self.given(), ['0'])
        self.assertLessEqual(self.guard.room(0.0), 0)
        self.guard.job_finished(self.jobs[0])
        self.guard.job_finished(self.jobs[1])
        self.assertEqual(self.guard.room(0.0), 1)

    def test_sudo_asks_one_by_one_however_many_were_not_asked(self):
        self.pass_unasked(5 * UNASKED_MIN)
        self.assertEqual(self.guard.room(0.0), 1)

    def test_none_may_start_in_the_run_of_a_refusal(self):
        self.start(0)
        self.ask(0)
        self.guard.accept()
        self.guard.refuse(self.jobs[0])
        self.assertEqual(self.guard.room(0.0), 0)
        self.guard.begin_run()      # which does without it
        self.assertEqual(self.guard.room(0.0), self.MANY)

    def test_all_may_start_where_it_is_sent_anyway(self):
        self.guard = LockoutGuard(b'secret', anyway=True)
        self.start(0)
        self.assertEqual(self.guard.room(0.0), self.MANY)


class PeerTest(GuardTest):
    """Two prompts of the same jobs: ssh's and sudo's."""

    def pair(self, secret):
        self.guard = LockoutGuard(b'secret')
        return LockoutGuard(secret, earlier=self.guard)

    def test_same_password_need_not_be_proven_twice(self):
        for first, second in itertools.permutations(range(2)):
            guards = self.pair(b'secret')
            guards = [self.guard, guards]
            guards[first].accept()
            self.assertEqual(guards[second].room(0.0), sys.maxsize)

    def test_job_past_the_second_prompt_is_past_the_first(self):
        sudo = self.pair(b'other')
        self.guard.job_starts(self.jobs[0])
        self.assertEqual(self.guard.room(0.0), 0)
        sudo.job_passed(self.jobs[0])
        self.assertEqual(self.guard.room(0.0), 1)

    def test_another_password_needs_a_proof_of_its_own(self):
        sudo = self.pair(b'other')
        self.guard.accept()
        self.assertEqual(sudo.room(0.0), 1)


class RunTest(GuardTest):
    def test_refusal_is_that_of_its_run_and_lasts(self):
        self.ask(0)
        self.guard.refuse(self.jobs[0])
        self.assertEqual(self.guard.state, 'refused')
        self.guard.begin_run()
        self.assertEqual(self.guard.state, 'barred')
        self.assertTrue(self.guard.closed)
        self.given()
        self.ask(1)
        self.assertEqual(self.given(), ['1-'])

    def test_proof_lasts_for_the_next_run(self):
        self.ask(0)
        self.guard.accept()
        self.guard.begin_run()
        self.given()
        self.ask(1, 2)
        self.assertEqual(self.given(), ['1', '2'])


if __name__ == '__main__':
    unittest.main()
