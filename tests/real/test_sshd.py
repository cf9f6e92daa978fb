"""The main job, against a real sshd."""

import hashlib
import os
import re
import shlex
import shutil
import signal
import socket

from lib import (STOPPED, WAIT_LIMIT, Command, TestCase, WorkTest, classh_argv,
                 processes, run, run_classh, run_in_pty, sshd, stuck_server,
                 text, wait_until)
from lib.engine import Clock, EveryModeTest
from classh import SSHJobMan, load

# No name server can be asked for a name with a part this long.
NO_SUCH_HOST = 'x' * 64 + '.invalid'


def masked(shown):
    """A report without the seconds in it, and with lines that end alike."""
    return re.sub(r'\(\d+\.\d\)', '(#)', shown).replace('\r\n', '\n')


class SshdTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sshd = sshd()

    def classh(self, *args, **options):
        return run_classh('--ssh', self.sshd.ssh, *args, **options)

    def results(self, hosts, command, **options):
        with SSHJobMan(hosts, command, ssh=self.sshd.ssh, **options) as job:
            self.assertTrue(job.wait(60))
        return job.results

    def result(self, command, host='127.0.0.1', **options):
        return self.results([host], command, **options)[host]

    def address(self, host):
        """The address at which sshd sees a connection to *host*."""
        return host if self.sshd.every_address else '127.0.0.1'


class ManyHostsTest(SshdTest):
    def test_120_hosts_give_120_right_results(self):
        said = self.classh('-f50', 'echo $SSH_CONNECTION',
                           '127.0.[0-2].[1-40]')
        said.check(stdout=None)
        shown = re.findall(r'(\S+)   0   \((\d+\.\d)\)\n  Output:\n\n'
                           r'  127\S+ \d+ (\S+) (\d+)\n\n', said.stdout)
        # Nothing else was shown, and each host was where it should be.
        self.assertEqual(len(shown), 120, said)
        self.assertEqual(said.stdout.count('\n'), 5 * 120, said)
        hosts = ['127.0.%d.%d' % (x, y) for x in range(3)
                 for y in range(1, 41)]
        self.assertEqual(sorted(host for host, *_ in shown), sorted(hosts))
        for host, elapsed, address, port in shown:
            self.assertEqual((address, int(port)),
                             (self.address(host), self.sshd.port), host)
            self.assertLessEqual(float(elapsed), said.seconds + .1)

    def test_module_gives_the_same(self):
        hosts = self.sshd.hosts(20)
        results = self.results(hosts, 'echo $SSH_CONNECTION; echo $0 >&2')
        self.assertEqual(sorted(results), sorted(hosts))
        for host, result in results.items():
            self.assertEqual((result.outcome, result.exitcode, result.host),
                             ('ok', 0, host), result)
            self.assertEqual(result.output.split()[2:],
                             [self.address(host), str(self.sshd.port)])
            self.assertTrue(result.errors, result)
            self.assertGreater(result.elapsed, 0)


class FailureTest(SshdTest):
    def check(self, status, shown, summary, *args):
        """The report and the summary of a run, but for the seconds."""
        said = self.classh(*args)
        self.assertEqual((said.status, masked(said.stdout), said.stderr),
                         (status, shown, summary), said)
        return said

    def test_status_of_the_remote_command(self):
        self.check(5, '127.0.0.1   7   (#)\n'
                      '  Error:\n\n  err\n\n  Output:\n\n  out\n\n',
                   '1 of 1 exited with 7: 127.0.0.1\n',
                   'echo out; echo err >&2; exit 7', '127.0.0.1')

    def test_port_that_refuses(self):
        with socket.socket() as bound:      # and does not listen
            bound.bind(('127.0.0.1', 0))
            host = '127.0.0.1:%d' % bound.getsockname()[1]
            self.check(4, '%s   255   (#)   connection refused\n'
                          '  Error:\n\n  ssh: connect to host 127.0.0.1 port '
                          '%s: Connection refused\n\n'
                          % (host, host.split(':')[1]),
                       '1 of 1 connection refused: %s\n' % host, 'true', host)

    def test_name_that_nobody_knows(self):
        name = NO_SUCH_HOST
        said = self.classh('true', name).check(
            4, None, '1 of 1 name unknown: %s\n' % name)
        self.assertRegex(masked(said.stdout), r'\A%s   255   \(#\)   name '
                         r'unknown\n  Error:\n\n  ssh: Could not resolve '
                         r'hostname %s: .*\n\n\Z' % (name, name), said)

    def test_command_that_takes_too_long(self):
        # What it printed before the limit is kept.
        self.check(3, '127.0.0.1   255   (#)   timed out after 4 s\n'
                      '  Output:\n\n  before\n\n',
                   '1 of 1 timed out after 4 s (-u): 127.0.0.1\n',
                   '-u4', 'echo before; exec sleep 20', '127.0.0.1')

    def test_host_key_that_nobody_knows(self):
        said = self.classh('-O', 'UserKnownHostsFile=/dev/null', 'true',
                           '127.0.0.1')
        said.check(4, None, '1 of 1 host key unknown (-O StrictHostKey'
                   'Checking=accept-new): 127.0.0.1\n')
        self.assertRegex(masked(said.stdout),
                         r'\A127.0.0.1   255   \(#\)   host key unknown\n'
                         r'  Error:\n\n  (.*\n  )?'
                         r'Host key verification failed\.\n\n\Z', said)

    def test_host_key_that_has_changed(self):
        known = os.path.join(self.scratch(), 'known_hosts')
        other = os.path.join(self.sshd.directory, 'key.pub')
        with open(other) as key, open(known, 'w') as hosts:
            hosts.write('* ' + key.read())
        record = os.path.join(self.scratch(), 'record')
        said = self.classh('-O', 'UserKnownHostsFile=' + known,
                           '--json=' + record, 'true', '127.0.0.1')
        said.check(4, None, '1 of 1 host key has CHANGED: 127.0.0.1\n')
        self.assertIn('REMOTE HOST IDENTIFICATION HAS CHANGED', said.stdout,
                      said)
        # A person sees three lines of ssh's fifteen.
        self.assertRegex(masked(said.stdout),
                         r'\A127.0.0.1   255   \(#\)   host key has CHANGED\n'
                         r'  Error:\n\n  WARNING: REMOTE HOST IDENTIFICATION '
                         r'HAS CHANGED!\n  Offending \S+ key in \S+:1\n'
                         r'  Host key verification failed\.\n\n\Z', said)
        [result] = load(record)
        self.assertIn('\nIT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING '
                      'NASTY!\n', result.diagnostics)

    def test_user_who_is_not_let_in(self):
        said = self.classh('-lno-such-user', 'true', '127.0.0.1').check(
            4, None, '1 of 1 permission denied (-A): 127.0.0.1\n')
        self.assertIn('  no-such-user@127.0.0.1: Permission denied',
                      said.stdout, said)

    def test_nothing_asks_on_the_terminal(self):
        # Neither for a password nor about a host key.
        said = run_in_pty(classh_argv(
            '--ssh', self.sshd.ssh, '-O', 'StrictHostKeyChecking=ask',
            '-O', 'UserKnownHostsFile=/dev/null', 'true', '127.0.0.1'))
        self.assertEqual(said.status, 4, said)
        self.assertRegex(said.stdout,
                         '  Host key verification failed\\.\r+\n', said)
        self.assertNotIn('(yes/no', said.stdout, said)

    def test_server_that_says_nothing(self):
        for greeting in b'', b'SSH-2.0-x\r\n':
            with stuck_server(greeting) as port:
                host = '127.0.0.1:%d' % port
                said = self.classh('-u.5', 'true', host)
                said.check(3, None, '1 of 1 timed out after 0.5 s (-u): %s\n'
                           % host)
                # ssh has not yet said how it wants to end.
                self.assertRegex(masked(said.stdout), r'\A%s   (255|-15)   '
                                 r'\(#\)   timed out after 0\.5 s\n\n\Z'
                                 % host, said)
        with stuck_server() as port:
            said = self.classh('-t1', 'true', '127.0.0.1:%d' % port)
            said.check(4, stdout=None, stderr=None)
            self.assertIn('timed out', said.stdout, said)

    def test_each_failure_is_told_from_the_others(self):
        with socket.socket() as bound:
            bound.bind(('127.0.0.9', 0))
            refused = '127.0.0.9:%d' % bound.getsockname()[1]
            if not self.sshd.every_address:
                self.skipTest('every host is the same address here')
            clock, begun = Clock(), os.path.join(self.scratch(), 'begun')
            with SSHJobMan(['127.0.0.[1-5]', refused, NO_SUCH_HOST],
                           'case $SSH_CONNECTION in'
                           ' *" 127.0.0.2 "*) exit 7;;'
                           ' *" 127.0.0.3 "*) exit 255;;'
                           ' *" 127.0.0.4 "*) kill -9 $$;;'
                           ' *" 127.0.0.5 "*) : >%s; exec sleep 20;; esac'
                           % begun, ssh=self.sshd.ssh, timeout=100,
                           clock=clock) as job:
                while len(job.results) < 6 or not os.path.exists(begun):
                    job.poll(.1)
                clock.advance(100)
                self.assertTrue(job.wait(60))
        results = job.results
        self.assertEqual(
            {host: (result.exitcode, result.outcome, result.reason)
             for host, result in results.items()},
            {'127.0.0.1': (0, 'ok', ''),
             '127.0.0.2': (7, 'error', ''),
             # ssh says 255 of its own accord, for these two as well.
             '127.0.0.3': (255, 'error', ''),
             '127.0.0.4': (255, 'error', 'ended by a signal on the host'),
             '127.0.0.5': (255, 'killed', 'timed out after 100 s'),
             refused: (255, 'ssh', 'connection refused'),
             NO_SUCH_HOST: (255, 'ssh', 'name unknown')})


class HostTest(SshdTest):
    def test_user_and_port(self):
        user = run(['id', '-un']).stdout.strip()
        port = str(self.sshd.port)
        for host in ('127.0.0.7', user + '@127.0.0.7', '127.0.0.7:' + port,
                     '%s@127.0.0.7:%s' % (user, port)):
            result = self.result('id -un; echo $SSH_CONNECTION', host)
            self.assertEqual(result.outcome, 'ok', result)
            said = result.output.split()
            self.assertEqual([said[0], said[3], said[4]],
                             [user, self.address('127.0.0.7'), port])
        # It does go by them.
        self.assertEqual(self.result('true', '127.0.0.7:1').outcome, 'ssh')
        self.assertEqual(self.result('true', 'no-such-user@127.0.0.7')
                         .outcome, 'ssh')

    def test_users_ssh_config_counts(self):
        config = os.path.join(self.scratch(), 'config')
        with open(config, 'w') as file:
            file.write('Host web*\nHostname 127.0.0.8\nInclude "%s"\n'
                       % self.sshd.config)
        said = run_classh('--ssh', 'ssh -F ' + shlex.quote(config),
                          'echo $SSH_CONNECTION', 'web[1-3]')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count(
            ' %s %d\n' % (self.address('127.0.0.8'), self.sshd.port)), 3)


class CommandTest(SshdTest):
    def test_command_reaches_the_remote_shell_untouched(self):
        odd = 'it\'s "a" \\b $c `d` *? ~ #e %h {f,g} !h &;|<> \t \udcc3\udca9'
        for command, output in (
                ("printf '%%s\\n' %s" % shlex.quote(odd), odd + '\n'),
                ('x="a  b"; echo "$x" \'$x\'', 'a  b $x\n'),
                ('echo 1\necho 2\n\n# 3\nexit 0\necho 4', '1\n2\n'),
                ("cat <<'END'\n$x 'y'\nEND\n", "$x 'y'\n"),
                ('echo a | tr a b && (echo c; echo d) >&1', 'b\nc\nd\n')):
            result = self.result(command)
            self.assertEqual((result.output, result.errors, result.exitcode),
                             (utf8(output), '', 0), command)

    def test_command_that_reads_its_stdin_is_at_its_end_at_once(self):
        said = self.classh('cat; echo end', '127.0.0.1', '127.0.0.2',
                           stdin='not for them')
        said.check(stdout=None)
        self.assertEqual(said.stdout.count('  Output:\n\n  end\n'), 2, said)

    def test_both_streams_of_any_bytes_come_back_exact(self):
        octets = hashed_bytes(1 << 20)
        path = os.path.join(self.scratch(), 'octets')
        with open(path, 'wb') as file:
            file.write(octets)
        result = self.result('cat %s; tail -c +2 %s >&2' % (path, path))
        self.assertEqual((result.outcome, result.truncated), ('ok', False))
        # assertEqual would take ages to show how they differ.
        self.assertTrue(result.output.encode('utf-8', 'surrogateescape')
                        == octets, len(result.output))
        self.assertTrue(result.errors.encode('utf-8', 'surrogateescape')
                        == octets[1:], len(result.errors))

    def test_bytes_come_out_of_the_command_line_exact(self):
        said = self.classh("printf '\\377\\376\\000\\351'", '127.0.0.1',
                           env={'LC_ALL': 'C'})
        said.check(stdout=None)
        self.assertEqual(masked(said.stdout), '127.0.0.1   0   (#)\n'
                         '  Output:\n\n  \udcff\udcfe\0\udce9\n\n')


def utf8(given):
    """*given*, with bytes that make characters together as those."""
    return text(given.encode('utf-8', 'surrogateescape'))


def hashed_bytes(count):
    """That many bytes of every kind, the same each time."""
    return b''.join(hashlib.sha256(b'%d' % n).digest()
                    for n in range(count // 32))


# Reported of other tools: hangs and late returns.
class ServerTest(EveryModeTest):
    def test_server_that_accepts_and_says_nothing_or_little(self):
        if not shutil.which('ssh'):
            self.skipTest('no ssh here')
        for greeting in (b'', b'SSH-2.0-x\r\n'):
            with stuck_server(greeting) as port:
                result = self.run_one('127.0.0.1:%d' % port, timeout=.5,
                                      ssh='ssh -F /dev/null')
                self.assertEqual((result.outcome, result.reason),
                                 ('killed', 'timed out after 0.5 s'))
                self.assertLess(result.elapsed, WAIT_LIMIT)

    def test_connect_timeout_is_for_such_servers_too(self):
        if not shutil.which('ssh'):
            self.skipTest('no ssh here')
        with stuck_server() as port:
            result = self.run_one('127.0.0.1:%d' % port, connect_timeout=1,
                                  ssh='ssh -F /dev/null')
        self.assertEqual((result.outcome, result.exitcode), ('ssh', 255))

    def test_name_server_that_does_not_answer(self):
        # Not what ConnectTimeout is for: ssh waits for names without limit.
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server:
            try:
                server.bind(('127.99.99.99', 53))
            except OSError as error:
                self.skipTest('no name server here: %s' % error)
            conf = self.write('conf', 'nameserver 127.99.99.99\n'
                                      'options timeout:30 attempts:5\n')
            alone = ['unshare', '-m', 'sh', '-c',
                     'mount --bind "$0" /etc/resolv.conf && exec "$@"', conf]
            if not shutil.which('ssh') or run(alone + ['true']).status:
                self.skipTest('no ssh, or no mounts of our own')
            result = self.run_one('no-such.name', timeout=.5, ssh=alone + [
                'ssh', '-F', '/dev/null'], connect_timeout=1)
        self.assertNotEqual(result.outcome, 'ok')
        self.assertLess(result.elapsed, WAIT_LIMIT)


# Reported of other tools: processes, descriptors and memory that leak.
class RemoteTest(WorkTest):
    """What classh cannot do, and says in the README."""

    def test_remote_command_lives_on_when_its_ssh_is_ended(self):
        server = sshd()
        with Command(classh_argv('--ssh', server.ssh, 'echo $$ >%s; '
                                 'exec sleep 60' % self.path('pid'),
                                 '127.0.0.1')) as command:
            pid = int(wait_until(lambda: self.read('pid')))
            command.signal(signal.SIGTERM)
            command.finish().check(143, None,
                                   '1 of 1 ' + STOPPED + '127.0.0.1\n')
        wait_until(lambda: pid in [found for found, _, _, line in processes()
                                   if line == 'sleep 60'])
        os.kill(pid, 9)

    def test_limit_over_there_ends_it(self):
        server = sshd()
        said = run(classh_argv('--ssh', server.ssh, '-u60', 'echo $$ >%s; '
                               'exec timeout .2 sleep 61.$$'
                               % self.path('pid'),
                               '127.0.0.1'))
        said.check(5, None, '1 of 1 exited with 124: 127.0.0.1\n')
        ended = 'sleep 61.%d' % int(self.read('pid'))
        self.assertNotIn(ended, [line for _, _, _, line in processes()])
