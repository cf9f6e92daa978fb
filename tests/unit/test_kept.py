"""Connections that are kept: where their sockets are, and their names."""

import os
import socket
import types
import unittest
from unittest import mock

import classh
from classh import KeptConnections, ShareError, UsageError
from lib import TestCase


class DirectoryTest(TestCase):
    def setUp(self):
        super().setUp()
        self.runtime = self.runtime_directory()
        patch = mock.patch.dict(os.environ, XDG_RUNTIME_DIR=self.runtime)
        patch.start()
        self.addCleanup(patch.stop)
        self.path = self.runtime + '/classh'

    def refused(self, problem):
        with self.assertRaises(ShareError) as caught:
            KeptConnections()
        self.assertIn(problem, str(caught.exception))

    def test_is_made_for_us_alone_and_found_again(self):
        old = os.umask(0)
        try:
            self.assertEqual(KeptConnections().directory, self.path)
        finally:
            os.umask(old)
        self.assertEqual(os.stat(self.path).st_mode & 0o7777, 0o700)
        self.assertEqual(KeptConnections().directory, self.path)

    def test_that_goes_while_it_is_used_holds_no_connection(self):
        kept = KeptConnections()
        os.rmdir(self.path)
        self.assertEqual((kept.is_open('a'), kept.path('a'), kept.end()),
                         (False, None, (0, 0, 0)))

    def test_is_not_used_where_others_could_change_it(self):
        os.symlink(self.scratch(), self.path)
        self.refused(self.path + ' is a link')
        os.unlink(self.path)
        os.mkdir(self.path)
        os.chmod(self.path, 0o750)
        self.refused('has the mode 750; it must be 700')
        os.chmod(self.path, 0o700)
        real = os.lstat(self.path)
        with mock.patch('os.lstat', return_value=types.SimpleNamespace(
                st_mode=real.st_mode, st_uid=real.st_uid + 1)):
            self.refused('belongs to another user, uid %d' % (real.st_uid + 1))
        os.rmdir(self.path)
        open(self.path, 'w').close()
        self.refused('is no directory')
        os.unlink(self.path)
        with mock.patch('os.mkdir', side_effect=OSError(28, 'No space')):
            self.refused(self.path + ' No space')

    def test_is_not_used_where_a_socket_would_not_do(self):
        with mock.patch.dict(os.environ, HOME=self.runtime):
            self.refused('is in your home directory')
        for name, problem in (('x' * 24, 'is too long for a socket'),
                              ('a b', 'has a character that ssh')):
            place = os.path.join(self.runtime, name)
            os.mkdir(place)
            with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=place):
                self.refused(problem)

    def test_longest_directory_holds_the_socket_that_ssh_makes(self):
        kept = KeptConnections()
        name = kept._name('h').replace('%C', 40 * 'f')
        path = '%s/%s.%s' % (classh.KEPT_PATH_LIMIT * 'd', name, 16 * 'x')
        self.assertEqual(len(path), 107)

    def test_place_of_another_user_is_passed_over(self):
        # As after su, which leaves the variable as it is.
        found = os.stat(self.runtime)
        with mock.patch('os.stat', return_value=types.SimpleNamespace(
                st_mode=found.st_mode, st_uid=found.st_uid + 1)), mock.patch(
                    'os.mkdir') as made, mock.patch(
                        'classh._why_unsafe', return_value=None):
            self.assertEqual(KeptConnections().directory,
                             '/tmp/classh-%d' % os.geteuid())
        self.assertEqual(made.call_count, 1)


class NamesTest(TestCase):
    def setUp(self):
        super().setUp()
        patch = mock.patch.dict(os.environ,
                                XDG_RUNTIME_DIR=self.runtime_directory())
        patch.start()
        self.addCleanup(patch.stop)
        self.kept = KeptConnections(ssh='ssh -4', options=['A=1'], user='u')

    def listen(self, kept, host):
        """A socket that no master has removed, and one that listens."""
        path = kept.control_path(host).replace('%C', 40 * 'f')
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        return path, listener

    def test_options_of_ssh(self):
        options = self.kept.host_options('web1')
        self.assertEqual(options[:2], ('ControlMaster=auto',
                                       'ControlPersist=600'))
        self.assertRegex(options[2],
                         'ControlPath=/tmp/x-.*/classh/[0-9a-f]{16}%C')

    def test_each_way_to_a_host_has_a_connection_of_its_own(self):
        settings = dict(ssh='ssh -4', options=['A=1'], user='u', gates=None)
        names = {self.kept._name(host)
                 for host in ('web1', 'root@web1', 'web1:22', 'web2')}
        for name, value in (('ssh', 'ssh -6'), ('options', ['A=2']),
                            ('options', ['A=1', 'u']), ('user', None),
                            ('gates', 'gate')):
            other = KeptConnections(**dict(settings, **{name: value}))
            names.add(other._name('web1'))
        self.assertEqual(len(names), 9)
        self.assertEqual(KeptConnections(30, **settings)._name('web1'),
                         self.kept._name('web1'))

    def test_end_of_one_host_is_of_all_ways_to_it_and_no_other(self):
        for host in 'web1', 'al@WEB1:22', 'web2':
            self.listen(self.kept, host)
        self.assertEqual(self.kept.end(['web1']), (0, 2, 0))
        self.assertEqual(self.kept.end(['web1', 'web3']), (0, 0, 0))
        self.assertFalse(self.kept.is_open('web1'))
        self.assertTrue(self.kept.is_open('web2'))
        self.assertEqual(self.kept.end(), (0, 1, 0))
        self.assertEqual(os.listdir(self.kept.directory), [])

    def test_two_hundred_that_do_not_answer_are_ended_in_two_batches(self):
        ended = []
        for number in range(200):
            self.listen(self.kept, 'h%d' % number)[1].listen(1)
        with mock.patch('classh._end_masters', lambda ssh, paths, check:
                        ended.append((ssh, len(paths)))):
            self.assertEqual(self.kept.end(), (0, 0, 200))
        self.assertEqual(ended, 2 * [(['ssh', '-4'], classh.EXIT_BATCH)])
        self.assertEqual(os.listdir(self.kept.directory), [])

    def test_signal_ends_the_wait(self):
        self.listen(self.kept, 'h')[1].listen(1)

        def check():
            raise InterruptedError
        with mock.patch('subprocess.Popen') as started:
            started.return_value.poll.return_value = None
            with self.assertRaises(InterruptedError):
                self.kept.end(check=check)
        self.assertEqual(started.return_value.kill.call_count, 1)


class LogTest(TestCase):
    """What ssh logs of a connection that it shares, or would have."""

    MUX = (b'debug1: Reading configuration data x\r\n'
           b"debug1: auto-mux: Trying existing master at '/x'\r\n")

    def log(self, text):
        log = classh._SshLog(os.path.join(self.scratch(), 'log'))
        self.addCleanup(os.close, log.fd)
        log.add(text)
        return log

    def test_wait_for_a_master_is_told_from_all_else(self):
        self.assertTrue(self.log(self.MUX + b'debug2: fd 3 setting '
                                 b'O_NONBLOCK\r\n').awaits_master)
        for text in (b'debug1: Connecting to h [::1] port 22.\r\n', self.MUX
                     + b'debug1: Connecting to h [::1] port 22.\r\n',
                     self.MUX + b'debug1: Executing proxy command: x\r\n',
                     self.MUX + b'debug1: mux_client_request_session: master '
                     b'session id: 2\r\n'):
            self.assertFalse(self.log(text).awaits_master, text)

    def test_log_of_which_a_part_is_lost_is_never_whole(self):
        log = self.log(b'debug1: Connecting to h [::1] port 22.\r\n')
        self.assertTrue(log.is_whole)
        log.lose(MemoryError())
        log.add(b'Permission denied (publickey).\r\n')
        self.assertFalse(log.is_whole)

    def test_host_of_a_master_that_hangs_is_tried_again_on_another(self):
        with mock.patch.dict(os.environ,
                             XDG_RUNTIME_DIR=self.runtime_directory()):
            kept = KeptConnections()
        open(kept.control_path('h').replace('%C', 40 * 'f'), 'w').close()
        result = classh.Result('h', 255, '', '', 1.0, 2.0, 'ssh', 'no', False,
                               'no-answer', 'no', None, 1)
        job = types.SimpleNamespace(host='h', log=self.log(b''))
        self.assertIs(kept.finished(job, result), result)
        self.assertIsNotNone(kept.path('h'))
        job.log.add(self.MUX)
        found = kept.finished(job, result)
        self.assertEqual((found.cause, found.ran), ('mux', 'no'))
        self.assertIsNone(kept.path('h'))
        # OpenSSH 10 has connected by itself, in time or not.
        job = types.SimpleNamespace(host='h', log=self.log(
            self.MUX + b'muxclient: master hello exchange failed\r\n'
            b'debug1: Connecting to h\r\nAuthenticated to h'))
        open(kept.control_path('h').replace('%C', 40 * 'f'), 'w').close()
        good = result._replace(outcome='ok', cause='')
        self.assertIs(kept.finished(job, good), good)
        self.assertIsNone(kept.path('h'))
        self.assertLess(classh.retry_wait(None, found, True), .5)
        self.assertIsNone(classh.retry_wait(0, found, True))

    def test_connection_of_its_own_is_no_news(self):
        own = (b'mux_client_request_session: session request failed: Session '
               b'open refused by peer\r\nControlSocket /run/user/1/classh/0f '
               b'already exists, disabling multiplexing\r\n')
        other = b'ControlSocket /home/al/s already exists\r\n'
        log = self.log(self.MUX + own + other)
        self.assertEqual(log.words('true'), 'ControlSocket /home/al/s already '
                         'exists\n')


    def test_command_that_ssh_logs_is_no_message(self):
        for command in ('sleep 9', "echo 'a\\.b'", 'echo \xfc \x01',
                        'x' * 2000, 'one\ntwo \\n\n', 'a\udcff b'):
            logged = classh._as_logged(command)[:1000].encode()
            log = self.log(b'debug1: Sending command: ' + logged
                           + b'\r\nKilled by signal 15.\r\n')
            self.assertEqual(log.words(command), 'Killed by signal 15.\n')
        self.assertEqual(classh._as_logged('\\ \xfc\x01\t\r\n'),
                         r'\\ \303\274\001' + '\t\n')     # of OpenSSH 9.2


class CheckTest(unittest.TestCase):
    def test_what_the_user_says_of_sharing_excludes_share(self):
        for ssh, options, name in (
                (['ssh'], ['controlpath = x'], 'controlpath'),
                (['ssh'], ['A=1', 'ControlMaster=no'], 'ControlMaster'),
                (['ssh', '-oControlPersist=9'], [], 'ControlPersist'),
                (['ssh', '-o', 'ControlPath=x'], [], 'ControlPath'),
                (['ssh', '-S', 'x'], [], '-S'), (['ssh', '-M'], [], '-M')):
            with self.assertRaisesRegex(UsageError, '--share goes without %s: '
                                        % name):
                classh._check_sharing(types.SimpleNamespace(
                    ssh=ssh, ssh_option=options))
        classh._check_sharing(types.SimpleNamespace(
            ssh=['ssh', '-F', 'Control'], ssh_option=['IdentityFile=-S']))

    def test_what_a_password_opens_is_kept_only_if_both_are_typed(self):
        journal = types.SimpleNamespace(
            path='j', command='true', patterns=['h'], unlisted=False,
            check_command=lambda command: None)
        for before, typed, share in (
                (['--share=60'], [], 60), (['--share=60', '-A'], [], None),
                (['--share=60'], ['-A'], None), (['-A'], ['--share'], None),
                (['-A'], ['--share', '-A'], 600)):
            options, _ = classh._parse_arguments(typed)
            with mock.patch('classh._resumed_words',
                            return_value=before + typed):
                options, _, _ = classh._resume(journal, options, [], typed)
            self.assertEqual(options.share, share, (before, typed))
