"""The private sshd that the other tests stand on."""

import os
import re
import shlex
import shutil
import unittest

import lib
from lib import Command, TestCase, run, sshd, wait_until


class SshdTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sshd = sshd()

    def ssh(self, host, command):
        return run(shlex.split(self.sshd.ssh) + [host, command])

    def test_any_loopback_address_is_a_host(self):
        for host in ('127.0.0.77', self.sshd.hosts(1000)[-1]):
            said = self.ssh(host, 'echo $SSH_CONNECTION').check(stdout=None)
            if not self.sshd.every_address:
                host = '127.0.0.1'
            self.assertEqual(said.stdout.split()[2:],
                             [host, str(self.sshd.port)], said)

    def test_status_and_both_streams_come_back(self):
        self.ssh('127.0.0.1', 'echo out; echo err >&2; exit 7').check(
            7, 'out\n', 'err\n')

    def test_failed_logins_shut_nobody_out(self):
        # As PerSourcePenalties of OpenSSH 9.8 would, after the fourth.
        key = os.path.join(self.scratch(), 'key')
        run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key]).check()
        for _ in range(6):
            said = run(['ssh', '-F', '/dev/null', '-i', key, '-o',
                        'IdentitiesOnly=yes', '-o', 'BatchMode=yes', '-o',
                        'StrictHostKeyChecking=no', '-o',
                        'UserKnownHostsFile=/dev/null', '-p',
                        str(self.sshd.port), '127.0.0.1', 'true'])
            self.assertIn('Permission denied', said.check(
                255, '', None).stderr, said)
        self.ssh('127.0.0.1', 'true').check()

    @unittest.skipUnless(shutil.which('ss'), 'no ss here')
    def test_nothing_outside_this_machine_reaches_it(self):
        listeners = run(['ss', '-Hltn']).stdout
        ours = re.findall(r'\S+:%d\b' % self.sshd.port, listeners)
        self.assertTrue(ours, listeners)
        for address in ours:
            self.assertRegex(address, r'^(127\.\S+|0\.0\.0\.0%lo):')


class LoopbackTest(TestCase):
    @classmethod
    def setUpClass(cls):
        sshd()                          # skips where there is none

    def test_stop_ends_what_the_server_started_and_removes_its_files(self):
        server = lib.Sshd()
        mark = os.path.join(self.scratch(), 'mark')
        deaf = "trap '' TERM HUP; echo $$ >%s; while :; do sleep 9; done"
        with Command(shlex.split(server.ssh) + ['127.0.0.1', deaf % mark]):
            pid = int(wait_until(lambda: contents(mark)))
        server.stop()
        self.assertFalse(os.path.exists(server.directory))
        alive = [found for found, _, state, _ in lib.processes()
                 if state != 'Z']
        self.assertNotIn(pid, alive)

    def test_path_may_hold_a_space(self):
        directory = os.path.join(self.scratch(), 'a b')
        try:
            run(['sh', lib.LOOPBACK, directory]).check()
            config = os.path.join(directory, 'ssh_config')
            run(['ssh', '-F', config, '127.0.0.1', 'echo out']).check(
                0, 'out\n')
        finally:
            run(['sh', lib.LOOPBACK, '--stop', directory]).check()

    def test_wrong_usage_is_an_error(self):
        for args in ([], [''], ['--stop'], ['-x'], ['a', 'b']):
            run(['sh', lib.LOOPBACK] + args).check(
                1, '', 'loopback: usage: loopback [--stop] DIR\n')


def contents(path):
    """What the file at *path* holds; '' where there is none yet."""
    if not os.path.exists(path):
        return ''
    with open(path) as stream:
        return stream.read()
