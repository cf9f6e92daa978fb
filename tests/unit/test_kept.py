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
