"""What is made of a login or a sudo that failed."""

import os
import unittest

from classh import (Result, SudoWrapper, _judge_login, _judge_sudo, _Login,
                    _SudoRun)

DENIED = 'bob@h: Permission denied (publickey,password).\n'


def result(outcome, errors=''):
    return Result('h', 1, '', errors, 0.0, 1.0, outcome, '', False)


class LoginTest(unittest.TestCase):
    def judge(self, *states, outcome='ssh', errors=DENIED, barred=False,
              runs=True):
        login = _Login(None)
        for state in states:
            login.become(state)
        return _judge_login(login, barred, runs, result(outcome, errors))

    def test_cause(self):
        for states, cause in (
                ((), 'askpass'), (('asked',), ''),
                (('asked', 'answered'), 'password'),
                (('asked', 'answered', 'accepted'), ''),
                (('asked', 'answered', 'refused'), 'password'),
                (('asked', 'withheld'), 'withheld'),
                (('asked', 'answered', 'logged in'), '')):
            with self.subTest(states=states):
                self.assertEqual(self.judge(*states), cause)

    def test_connection_that_was_closed_is_no_refusal(self):
        self.assertEqual(self.judge('asked', 'answered', errors='closed'), '')

    def test_lost_words_of_ssh_count_as_a_refusal(self):
        self.assertEqual(self.judge('asked', 'answered', errors='\n'),
                         'password')

    def test_password_that_was_refused_before_is_withheld(self):
        self.assertEqual(self.judge(barred=True), 'withheld')

    def test_helper_that_cannot_run(self):
        self.assertEqual(self.judge(errors='', runs=False), 'askpass')
        self.assertEqual(self.judge(errors=''), '')

    def test_state_that_may_not_follow_changes_nothing(self):
        login = _Login(None)
        login.become('refused')
        self.assertEqual(login.state, 'silent')


class SudoTest(unittest.TestCase):
    def judge(self, *states, errors='', outcome='error', barred=False):
        run = _SudoRun()
        for state in states:
            run.become(state)
        return _judge_sudo(run, barred, result(outcome, errors))

    def test_cause(self):
        for states, errors, cause in (
                ((), '', 'sudo'), (('missing',), '', 'no-sudo'),
                (('asked', 'answered'), '', 'sudo-password'),
                (('asked', 'answered'), 'bob is not in the sudoers file',
                 'sudo'),
                (('asked', 'answered'), 'password is expired',
                 'sudo-expired'),
                (('asked', 'answered', 'refused'), 'Sorry, try again.',
                 'sudo-password'),
                (('asked', 'answered', 'refused'), '', 'sudo-again'),
                (('asked', 'withheld'), '', 'withheld'),
                (('asked', 'answered', 'running'), '', '')):
            with self.subTest(states=states, errors=errors):
                self.assertEqual(self.judge(*states, errors=errors), cause)

    def test_login_that_failed_says_nothing_of_sudo(self):
        self.assertEqual(self.judge(outcome='ssh'), '')

    def test_password_that_was_refused_before_is_withheld(self):
        self.assertEqual(self.judge(
            errors='sudo: a password is required', barred=True), 'withheld')

    def test_no_mark_stands_in_the_command_as_it_is(self):
        wrapper = SudoWrapper()
        command = os.fsencode(wrapper.wrap('true'))
        for mark in (wrapper._prompt_mark, wrapper._started_mark,
                     wrapper._missing_mark):
            self.assertNotIn(mark.encode(), command)


if __name__ == '__main__':
    unittest.main()
