"""The helpers themselves: what the other tests stand on."""

import contextlib
import io
import os
import shlex
import signal
import socket
import subprocess
import threading
import unittest

import lib
from all import tell
from lib import (FAKE_SSH, Command, TestCase, kill_leftovers, leftovers, run,
                 run_in_pty, wait_until)


def fake_argv(host, command='true'):
    return shlex.split(FAKE_SSH) + ['-x', '-o', 'BatchMode=yes', '-p2222',
                                    '-l', 'bob', '--', host, command]


def fake_ssh(*args, **options):
    return run(fake_argv(*args), **options)


class FakeSshTest(TestCase):
    def test_runs_the_command_with_the_host_in_its_environment(self):
        show = 'echo $TARGET $HOST $PORT $SSH_USER'
        fake_ssh('web1', show).check(stdout='web1 web1 2222 bob\n')
        fake_ssh('al@web1', show).check(stdout='al@web1 web1 2222 al\n')

    def test_host_says_the_status(self):
        fake_ssh('exit7-3').check(7, '', '')
        fake_ssh('fail9').check(9, 'out of fail9\n', 'err of fail9\n')
        fake_ssh('signal11').check(-11, '', '')
        fake_ssh('unreach1').check(255, '', 'ssh: connect to host unreach1 '
                                   'port 2222: Connection refused\n')

    def test_output(self):
        for host in ('loud', 'outloud'):
            fake_ssh(host).check(0, 'o' * 1048576, 'e' * 1048576)
        fake_ssh('mixed').check(0, 'o' * 1000, 'e' * 1000)
        fake_ssh('binary').check(0, '\udcff\udcfe\0\udce9')
        fake_ssh('reader', stdin='fed').check(0, 'fed')

    def test_what_does_not_end_is_ended_only_by_what_it_heeds(self):
        term, kill = signal.SIGTERM, signal.SIGKILL
        for host, state, heeds, status, length in (
                ('slow', 'S', term, -term, 0),
                ('polite', 'S', term, 0, 0),
                ('late', 'S', term, 255, 1048576),
                ('hang', 'S', kill, -kill, 0),
                ('deaf', 'S', kill, -kill, 0),
                ('stopped', 'T', kill, -kill, 0)):
            with self.subTest(host), Command(fake_argv(host)) as command:
                wait_until(lambda: self.settled(command.pid, state))
                if heeds == kill:
                    os.killpg(command.pid, term)
                os.killpg(command.pid, heeds)
                ended = command.finish().check(status, None)
                self.assertEqual(len(ended.stdout), length)

    @staticmethod
    def settled(pid, state):
        """It, or a child that it waits for, is a sleep; or it is stopped."""
        return any(pid in (found, parent) and now == state and
                   (state == 'T' or line == 'sleep 60')
                   for found, parent, now, line in lib.processes())

    def test_grandchild_that_keeps_a_pipe_lives_on(self):
        for host in ('holder', 'keeper'):
            fake_ssh(host).check(0, 'out\n')
            # It may not yet be the sleep that it will be.
            wait_until(lambda: [line for _, line in leftovers()]
                       == ['sleep 60'])
            kill_leftovers()
        with Command(fake_argv('escapee')):
            wait_until(lambda: any(line == 'sleep 60' and pid == os.getsid(pid)
                                   for pid, line in leftovers()))
        kill_leftovers()

    def test_terminal_is_asked_where_there_is_one(self):
        fake_ssh('tty').check(255, '', 'no terminal to ask on\n')
        run_in_pty(fake_argv('tty'), [('password: ', 'secret\n')]).check(
            0, 'password: secret\r\nread secret\r\n')

    def test_log_tells_who_ran_and_how_many_at_once(self):
        log = os.path.join(self.scratch(), 'log')
        for host in ('web1', 'exit7'):
            fake_ssh(host, env={'FAKE_SSH_LOG': log})
        self.assertEqual(lib.read_log(log), (['web1', 'exit7'], 1))


class RunTest(TestCase):
    def test_failure_shows_what_was_run_and_what_came_of_it(self):
        ended = run(['sh', '-c', 'echo out; printf "\\033" >&2; exit 3'])
        with self.assertRaises(AssertionError) as caught:
            ended.check()
        for part in ("$ sh -c 'echo out;", 'status 3', '-- stdout\nout\n',
                     '-- stderr\n\\x1b\n'):
            self.assertIn(part, str(caught.exception))

    def test_command_that_does_not_end_is_killed_and_shown(self):
        with self.assertRaisesRegex(AssertionError, 'not done(?s:.*)so far'):
            run(['sh', '-c', 'echo so far; sleep 60'], timeout=.3)

    def test_shell_may_run_first_in_the_same_process(self):
        run(['sh', '-c', 'ulimit -n'], before='ulimit -n 64').check(
            0, '64\n')

    def test_environment_may_be_added_to_and_taken_from(self):
        run(['sh', '-c', 'echo $A${B-unset}'],
            env={'A': 'a', 'B': None}).check(0, 'aunset\n')

    def test_ctrl_c_on_a_terminal_is_sigint(self):
        shown = run_in_pty(['sh', '-c', 'echo ready; exec sleep 60'],
                           [('ready', '\x03')])
        self.assertEqual(shown.status, -signal.SIGINT, shown)

    def test_terminal_that_a_grandchild_keeps_is_not_waited_for(self):
        shown = run_in_pty(['sh', '-c', "trap '' HUP; sleep 60 & echo out"])
        shown.check(0, 'out\r\n')
        self.assertLess(shown.seconds, lib.WAIT_LIMIT)
        kill_leftovers()

    def test_terminal_that_never_shows_what_is_expected(self):
        for script, timeout in (('echo out', 60), ('sleep 60', .3)):
            with self.assertRaisesRegex(AssertionError, 'unseen'):
                run_in_pty(['sh', '-c', script], [('unseen', '')], timeout)


class LeftoversTest(TestCase):
    def test_process_that_never_rests_is_seen_at_each_look(self):
        begin = 'n=$1; [ $n -gt 0 ] || exec sleep 60; '
        for step in 'exec env sh -c "$0" "$0" $((n-1))', (
                'sh -c "$0" "$0" $((n-1)) & exit'):
            run(['sh', '-c', 'sh -c "$0" "$0" 100 &', begin + step])
            found = []
            while found != ['sleep 60']:
                found = [line for _, line in leftovers()]
                self.assertNotEqual(found, [])
            kill_leftovers()


class AsBeforeTest(unittest.TestCase):
    """A TestCase fails when it leaves something, and only then."""

    def outcome(self, body):
        class Inner(TestCase):
            def runTest(self):
                body(self)
        result = unittest.TestResult()
        Inner().run(result)
        self.assertFalse(result.errors, result.errors)
        self.assertEqual(leftovers(), [])
        self.assertEqual(lib.children(), [])
        return ''.join(shown for _, shown in result.failures)

    def test_clean_test_passes(self):
        self.assertEqual(self.outcome(lambda case: run(['true'])), '')

    def test_dead_child_that_nobody_reaped(self):
        def body(case):
            popen = subprocess.Popen(['true'])
            wait_until(lambda: lib.children()[0][1] == 'Z')
            popen.returncode = 0        # it is not Popen's to reap either
        self.assertIn("'children'", self.outcome(body))

    def test_descriptor(self):
        opened = []
        shown = self.outcome(lambda case: opened.extend(os.pipe()))
        for fd in opened:
            os.close(fd)
        self.assertIn("'descriptors'", shown)

    def test_signal_handler(self):
        def body(case):
            self.addCleanup(signal.signal, signal.SIGCHLD,
                            signal.signal(signal.SIGCHLD, print))
        self.assertIn("'SIGCHLD'", self.outcome(body))

    def test_thread(self):
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        shown = self.outcome(lambda case: thread.start())
        end.set()
        thread.join()
        self.assertIn("'threads'", shown)

    def test_grandchild_in_a_session_of_its_own(self):
        shown = self.outcome(lambda case: run(
            ['sh', '-c', 'setsid sleep 60 &']))
        self.assertIn('sleep 60', shown)


class AllTest(TestCase):
    def test_module_whose_tests_are_all_skipped_has_not_failed(self):
        for said, result in (
                ('NO TESTS RAN (skipped=2)', (0, 0, 2)),
                ('NO TESTS RAN', (0, 1, 0))):
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(tell((
                    'module', 1.0, 5, 'Ran 0 tests in 0.1s\n\n%s\n' % said)),
                    result)


class StuckServerTest(TestCase):
    def test_it_greets_and_says_no_more(self):
        for greeting in (b'', b'SSH-2.0-x\r\n'):
            with lib.stuck_server(greeting) as port:
                client = socket.create_connection(('127.0.0.1', port), 9)
                with client:
                    self.assertEqual(client.recv(99) if greeting else b'',
                                     greeting)
                    client.settimeout(.1)
                    self.assertRaises(socket.timeout, client.recv, 99)
