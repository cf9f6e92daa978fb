"""What is made of a login or a sudo that failed."""

import os
import unittest
from unittest import mock

from classh import (AskpassServer, LockoutGuard, Result, SudoWrapper, _Dialog,
                    _judge_login, _judge_sudo)

DENIED = 'bob@h: Permission denied (publickey,password).\n'


def result(outcome, errors='', **fields):
    return Result('h', 1, '', errors, 0.0, 1.0, outcome, '', False, **fields)


def dialog(states):
    dialog = _Dialog()
    for state in states:
        if state == 'answered':
            dialog.answer('a question')
        else:
            dialog.become(state)
    return dialog


class DialogTest(unittest.TestCase):
    def test_state_that_may_not_follow_changes_nothing(self):
        self.assertEqual(dialog(['refused']).state, 'silent')
        self.assertEqual(dialog(['passed', 'asked']).state, 'passed')


class QuestionTest(unittest.TestCase):
    def test_sudo_that_asks_for_more_finds_the_end_of_its_stdin(self):
        for uses_stdin, passes, ended in (
                (False, False, 1), (True, False, 1), (True, True, 0)):
            reader, writer = os.pipe()
            self.addCleanup(os.close, reader)
            self.addCleanup(os.close, writer)
            manager = mock.Mock(uses_stdin=uses_stdin)
            job = mock.Mock(stdin=writer)
            wrapper = SudoWrapper('root', LockoutGuard(b'secret'))
            wrapper.attach(manager)
            asked = dialog([])
            wrapper._on_prompt(job, asked)
            self.assertEqual(os.read(reader, 100), b'secret\n')
            if passes:
                asked.become('passed')
            for call in manager.call_later.call_args_list:
                call[0][1]()        # its time has come
            self.assertEqual(manager.end_input.call_count, ended)


class LoginTest(unittest.TestCase):
    def judge(self, *states, cause='denied', words=DENIED, barred=False,
              runs=True):
        causes = {
            _judge_login(dialog(states), barred, runs,
                         result('ssh', cause=cause, **{field: words}))
            # With a log of ssh's own, and without it.
            for field in ('diagnostics', 'errors')}
        self.assertEqual(len(causes), 1)
        return causes.pop()

    def test_cause(self):
        for states, cause in (
                ((), 'askpass'), (('asked',), ''),
                (('asked', 'answered'), 'password'),
                (('asked', 'answered', 'asked'), ''),
                (('asked', 'answered', 'refused'), 'password'),
                (('asked', 'withheld'), 'withheld')):
            with self.subTest(states=states):
                self.assertEqual(self.judge(*states), cause)

    def test_host_that_takes_no_passwords_refuses_none(self):
        words = 'bob@h: Permission denied (publickey).\n'
        self.assertEqual(self.judge(words=words), '')
        self.assertEqual(self.judge(words=words, barred=True), '')

    def test_ssh_that_never_asked_was_denied_for_want_of_a_key(self):
        for barred, field, cause in (
                (False, 'diagnostics', ''), (True, 'diagnostics', 'withheld'),
                # The ssh of a jump host has no log.
                (False, 'errors', 'askpass')):
            self.assertEqual(_judge_login(
                dialog(()), barred, True, result(
                    'ssh', cause='denied', **{field: DENIED}), False), cause)

    def test_connection_that_was_lost_is_no_refusal(self):
        for cause in 'lost', 'dropped', 'jump', 'key-unknown':
            self.assertEqual(self.judge('asked', 'answered', cause=cause,
                                        words='closed'), '')

    def test_server_that_disconnects_has_refused(self):
        self.assertEqual(self.judge(
            'asked', 'answered', cause='lost', words='Received disconnect '
            'from 10.0.0.1 port 22:11: login failed\n'), 'password')

    def test_lost_words_of_ssh_count_as_a_refusal(self):
        self.assertEqual(self.judge('asked', 'answered', cause='ssh',
                                    words='\n'), 'password')

    def test_password_that_was_refused_before_is_withheld(self):
        self.assertEqual(self.judge(barred=True), 'withheld')

    def test_helper_that_cannot_run(self):
        self.assertEqual(self.judge(cause='ssh', words='', runs=False),
                         'askpass')
        self.assertEqual(self.judge(cause='ssh', words=''), '')

    def test_shared_connection_need_not_ask(self):
        askpass = AskpassServer(LockoutGuard(b'secret'))
        askpass._helper = '/none'
        for is_open, cause in (True, ''), (False, 'askpass'):
            job = mock.Mock(cause='', log=None)
            job.connections.is_open.return_value = is_open
            self.assertEqual(askpass._judge(job, dialog(()), result(
                'ssh', DENIED, cause='denied'))[0], cause)


class SudoTest(unittest.TestCase):
    def judge(self, *states, errors='', outcome='error', barred=False):
        return _judge_sudo(dialog(states), barred, result(outcome, errors))

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
                (('asked', 'answered', 'passed'), '', '')):
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
