"""Why a host failed and whether its command ran: with ssh's log, which a fake
ssh writes, and without it.
"""

import collections
import fnmatch
import os
import time
import unittest
from unittest import mock

from lib import LOGGING_SSH, WorkTest, kill_leftovers
from lib.engine import EngineTest, StillClock
import classh
from classh import SSHJobMan

# What happens (see tests/bin/logging_ssh): the outcome, the cause and whether
# the command ran, with a log; then without one, None: the same.
CONNECT = 'fail "ssh: connect to host $TARGET port 22: %s"'
RESOLVE = 'fail "ssh: Could not resolve hostname $TARGET: %s"'
FAILURES = [
    ('session; status 0', ('ok', '', 'yes'), None),
    ('session; status 7', ('error', '', 'yes'), None),
    ('session; status 255', ('error', 'exit-255', 'yes'),
     ('ssh', 'ssh', 'unknown')),
    ('session; died', ('error', 'signal', 'yes'), ('ssh', 'ssh', 'unknown')),
    ('session; exit 255', ('ssh', 'lost', 'unknown'),
     ('ssh', 'ssh', 'unknown')),
    ('login; exit 255', ('ssh', 'no-session', 'no'),
     ('ssh', 'ssh', 'unknown')),
    ('login; fail "channel 0: open failed: administratively prohibited: x"',
     ('ssh', 'no-session', 'no'), ('ssh', 'no-session', 'unknown')),
    ('session; fail "exec request failed on channel 0"',
     ('ssh', 'no-session', 'no'), ('ssh', 'no-session', 'unknown')),
    ('note "debug1: mux_client_request_session: master session id: 2"; '
     'exit 255', ('ssh', 'ssh', 'unknown'), None),
    (CONNECT % 'Connection refused', ('ssh', 'refused', 'no'), None),
    (CONNECT % 'No route to host', ('ssh', 'no-route', 'no'), None),
    (CONNECT % 'Network is unreachable', ('ssh', 'no-route', 'no'), None),
    (CONNECT % 'Host is down', ('ssh', 'no-route', 'no'), None),
    (CONNECT % 'Connection timed out', ('ssh', 'no-answer', 'no'), None),
    (CONNECT % 'Operation timed out', ('ssh', 'no-answer', 'no'), None),
    (RESOLVE % 'Name or service not known', ('ssh', 'unresolved', 'no'),
     None),
    (RESOLVE % 'Name does not resolve', ('ssh', 'unresolved', 'no'), None),
    (RESOLVE % 'nodename nor servname provided, or not known',
     ('ssh', 'unresolved', 'no'), None),
    (RESOLVE % 'Temporary failure in name resolution', ('ssh', 'dns', 'no'),
     None)] + [
    ('fail "%s"' % text, ('ssh', cause, 'no'), ('ssh', cause, 'unknown'))
    for text, cause in (
        ('Connection timed out during banner exchange', 'no-answer'),
        ('ssh_exchange_identification: Connection closed by remote host',
         'dropped'),
        ('ssh_exchange_identification: read: Connection reset by peer',
         'dropped'),
        ('kex_exchange_identification: Connection closed by remote host',
         'dropped'),
        ('kex_exchange_identification: read: Connection reset by peer',
         'dropped'),
        ('Connection closed by 10.0.0.1 port 22', 'dropped'),
        ('Connection closed by UNKNOWN port 65535', 'dropped'),
        ('banner exchange: Connection to 10.0.0.1 port 22: invalid format',
         'not-ssh'),
        ('Bad remote protocol version identification: x', 'not-ssh'),
        ('Protocol major versions differ: 2 vs. 1', 'not-ssh'),
        ('Unable to negotiate with 10.0.0.1 port 22: no matching cipher '
         'found. Their offer: x', 'no-common'),
        ('command-line line 0: unsupported option "maybe".', 'config'),
        ('Host key verification failed.', 'key-unknown'),
        ('Host key for h has changed and you have requested strict checking.',
         'key-changed'),
        ('@ WARNING: REVOKED HOST KEY DETECTED! @', 'key-revoked'),
        ('Permission denied (publickey,password).', 'denied'),
        ('bob@h: Permission denied (publickey).', 'denied'),
        ('Received disconnect from 10.0.0.1 port 22:2: Too many '
         'authentication failures', 'denied'),
        ('Connection reset by 10.0.0.1 port 22', 'lost'),
        ('ssh_dispatch_run_fatal: Connection to 10.0.0.1 port 22: x', 'lost'),
        ('mux_client_hello_exchange: write packet: Broken pipe', 'mux'))] + [
    ('note "debug1: kex_exchange_identification: banner line 0: %s"; fail '
     '"kex_exchange_identification: Connection closed by remote host"' % text,
     ('ssh', 'dropped', 'no'), ('ssh', 'dropped', 'unknown'))
    for text in ('Exceeded MaxStartups', 'Not allowed at this time')] + [
    # ssh got no further than its options: it opened no log.
    ('echo "h: line 1: Bad configuration option: x" >&2; exit 255',
     ('ssh', 'config', 'no'), ('ssh', 'config', 'unknown')),
    ('session; echo "h: line 1: Bad configuration option: x" >&2; exit 255',
     ('ssh', 'lost', 'unknown'), ('ssh', 'config', 'unknown')),
    *(('echo "%s" >&2; exit 255' % text, ('ssh', 'config', 'no'),
       ('ssh', 'config', 'unknown')) for text in (
           'command-line line 0: Bad port x', "Bad port '99999'",
           '/home/bob/.ssh/config line 3: invalid time value.',
           'Host directive not supported as a command-line option')),
    # A shell says this of a script.
    ('session; echo "/root/x.sh: line 3: frob: not found" >&2; exit 255',
     ('ssh', 'lost', 'unknown'), ('ssh', 'ssh', 'unknown')),
    # Of these it only warns.
    ('echo "/etc/ssh/ssh_config line 50: Unsupported option x" >&2; fail '
     '"Connection closed by 10.0.0.1 port 22"', ('ssh', 'dropped', 'no'),
     ('ssh', 'dropped', 'unknown')),
    # The ssh of a jump host keeps no log.
    ('echo "channel 0: open failed: connect failed: x" >&2; fail "Connection '
     'closed by UNKNOWN port 65535"', ('ssh', 'jump', 'no'),
     ('ssh', 'no-session', 'unknown'))]


class CauseTest(EngineTest):
    def results(self, scripts, level='INFO', sleeping=0, **options):
        """What became of a run with each of *scripts*, in that order; of
        those that are *sleeping*, once no other runs, when 9 s are over."""
        hosts = {'h%d' % number: script
                 for number, script in enumerate(scripts)}
        # One run for all: the script of a host is chosen by its name.
        command = 'case $TARGET in\n%s\nesac' % '\n'.join(
            '%s) %s ;;' % item for item in hosts.items())
        with mock.patch.dict(os.environ, FAKE_SSH_LEVEL=level):
            classh._probe_ssh.cache_clear()
            self.addCleanup(classh._probe_ssh.cache_clear)
            options.setdefault('retries', 0)
            clock = StillClock() if sleeping else time.monotonic
            with self.manager(list(hosts), command, ssh=LOGGING_SSH, fanout=8,
                              clock=clock, **options) as job:
                if sleeping:
                    while (len(job.running), len(job.results)) != (
                            sleeping, len(hosts) - sleeping):
                        job.poll(0)
                    self.until_settled(sleeping)
                    job.poll(0)         # what they have said by now is read
                    clock.advance(9)
                job.wait()
        return [job.results[host] for host in hosts]

    def check(self, results, wanted):
        for result, (script, told) in zip(results, wanted):
            with self.subTest(script=script):
                self.assertEqual((result.outcome, result.cause, result.ran),
                                 told, result)

    def test_each_failure_has_its_cause_with_a_log(self):
        results = self.results([script for script, _, _ in FAILURES])
        self.check(results, [(script, told) for script, told, _ in FAILURES])
        for result, (script, _, _) in zip(results, FAILURES):
            if 'fail "' in script:      # and not a word from the host
                self.assertNotIn('debug1', result.diagnostics)
                self.assertTrue(result.diagnostics, script)
        self.assertEqual(
            results[2:4], [result._replace(errors='', diagnostics='')
                           for result in results[2:4]])

    def test_each_failure_has_its_cause_without_a_log(self):
        results = self.results([script for script, _, _ in FAILURES], '')
        self.check(results, [(script, without or told)
                             for script, told, without in FAILURES])
        self.assertEqual({result.diagnostics for result in results}, {''})

    def test_host_that_prints_what_ssh_says_is_not_believed(self):
        self.check(self.results([
            'session; echo "ssh: connect to host $TARGET port 22: Connection '
            'refused" >&2; status 255',
            'session; echo "Permission denied (publickey)." >&2; exit 255',
            'login; echo "debug1: Sending command: x" >&2; exit 255',
            'echo "Authenticated to x" >&2; fail "Connection closed by '
            '10.0.0.1 port 22"']), [
            ('255', ('error', 'exit-255', 'yes')),
            ('lost', ('ssh', 'lost', 'unknown')),
            ('no session', ('ssh', 'no-session', 'no')),
            ('no login', ('ssh', 'dropped', 'no'))])
        # Without a log: a nested ssh, as of a command that goes on from there.
        refused = 'ssh: connect to host %s port 22: Connection refused'
        self.check(self.results([
            'echo "%s" >&2; exit 255' % refused % 'other',
            'echo out; echo "%s" >&2; exit 255' % refused % '$TARGET',
            'echo x >&2; echo "%s" >&2; exit 255' % refused % '$TARGET'],
            ''), [(why, ('ssh', 'refused', 'unknown'))
                  for why in ('another host', 'output', 'more words')])

    def test_garbage_in_the_log_changes_no_status_and_loses_no_byte(self):
        garbage = {
            '10 MB': 'log; head -c 10000000 /dev/zero | tr "\\0" x >&3',
            'NULs': 'log; head -c 100000 /dev/zero >&3',
            'half lines': 'log; printf "debug1: Sen" >&3; sleep .01; '
                          'printf "ding\\nAuthenti" >&3',
            'no UTF-8': 'log; printf "\\377\\376\\n" >&3',
            'twice': 'session',
            'nothing': 'log',
            'never opened': ':'}
        results = self.results(
            '%s; session; echo out; echo err >&2; status %d' % (script, status)
            for script in garbage.values() for status in (0, 3))
        for number, result in enumerate(results):
            self.assertEqual(
                (result.outcome, result.exitcode, result.output,
                 result.errors),
                (('error', 3) if number % 2 else ('ok', 0))
                + ('out\n', 'err\n'))

    def test_what_comes_after_garbage_is_believed(self):
        much = 'log; head -c 1000000 /dev/zero | tr "\\0" "%s" >&3; '
        self.check(self.results([
            much % '\\n' + 'session; status 255',
            much % '\\n' + 'fail "Connection closed by 10.0.0.1 port 22"',
            'log; printf "Authenti" >&3; sleep .01; printf "cated to h\\n" '
            '>&3; note "debug1: Sending command: x"; exit 255']), [
            ('255', ('error', 'exit-255', 'yes')),
            ('dropped', ('ssh', 'dropped', 'no')),
            ('in pieces', ('ssh', 'lost', 'unknown'))])

    def test_second_ssh_behind_a_script_is_not_taken_for_no_start(self):
        # The first one had the log, the second one logs where nobody reads.
        result, = self.results(['say x; exec 3>&-; sleep .1; until [ ! -e '
                                '"$LOG" ]; do :; done; opened=; session; '
                                'exit 255'])
        self.assertEqual((result.outcome, result.ran), ('ssh', 'unknown'))

    def test_forwarding_that_fails_does_not_say_that_nothing_ran(self):
        result, = self.results(['session; fail "channel 3: open failed: '
                                'connect failed: Connection refused"'])
        self.assertEqual((result.cause, result.ran), ('lost', 'unknown'))

    def test_log_that_comes_late_or_ends_early(self):
        early = 'session; exec 3>&-; '
        self.check(self.results([
            'echo out; session; status 255', early + 'exit 4',
            early + 'exit 255']), [
            ('late', ('error', 'exit-255', 'yes')),
            ('early', ('error', '', 'yes')),
            ('early, 255', ('ssh', 'lost', 'unknown'))])

    def test_grandchild_that_keeps_the_log_is_not_waited_for(self):
        self.check(self.results([
            'session; sleep 60 >/dev/null 2>&1 & session; status 255'],
            timeout=30), [('grandchild', ('error', 'exit-255', 'yes'))])
        self.assertEqual(kill_leftovers(), kill_leftovers())

    def test_limit_of_the_login_is_kept_by_us_where_ssh_does_not(self):
        silent = 'note "debug1: Connecting"; exec sleep 60'
        result, = self.results([silent], connect_timeout=1)
        self.assertEqual(
            (result.outcome, result.cause, result.ran, result.reason),
            ('ssh', 'no-answer', 'no', 'no login within 1.25 s'))
        # As by -u 10, which is the limit of the login, too.
        result, = self.results([silent], connect_timeout=1, timeout=1)
        self.assertEqual(
            (result.outcome, result.cause, result.ran, result.reason),
            ('ssh', 'no-answer', 'no', 'no login within 0.75 s'))
        result, = self.results(['session; exec sleep 60'], sleeping=1,
                               timeout=9, connect_timeout=1)
        self.assertEqual((result.cause, result.login < 1.25),
                         ('timeout', True))

    def test_timeout_tells_whether_it_had_begun(self):
        self.check(self.results([
            'note "debug1: Connecting"; exec sleep 60', 'login; exec sleep 60',
            'session; echo x; exec sleep 60', 'session; exec sleep 60'],
            sleeping=4, timeout=9), [
            ('before', ('killed', 'timeout', 'no')),
            ('no session', ('killed', 'timeout', 'no')),
            ('printed', ('killed', 'timeout', 'yes')),
            ('silent', ('killed', 'timeout', 'unknown'))])

    def test_that_we_ended_it_is_not_for_ssh_to_say(self):
        said = 'say slow; say Killed by signal 15.; '
        self.assertEqual([result.diagnostics for result in self.results(
            ['session; %s exit 255' % said,
             "trap '%s exit 255' TERM; session; sleep 60" % said],
            sleeping=1, timeout=9)],
            ['slow\nKilled by signal 15.\n', 'slow\n'])


class ProbeTest(WorkTest):
    def test_probe_that_was_broken_off_is_made_again(self):
        ssh = classh.Ssh('ssh')
        self.addCleanup(ssh.close)
        with mock.patch('classh._probe_ssh',
                        side_effect=[KeyboardInterrupt, ('INFO', False)]):
            self.assertRaises(KeyboardInterrupt, ssh.open, 'a')
            ssh.open('a')
        log = ssh.open_log()
        self.addCleanup(os.close, log.fd)

    def test_probe_that_took_too_long_is_not_remembered(self):
        program = self.program('ssh', '[ ! -e "$0.slow" ] || exec sleep 60; '
                               'echo loglevel VERBOSE')
        self.write('ssh.slow')
        ssh = classh.Ssh(program)
        with mock.patch('classh.PROBE_TIMEOUT', .1):
            ssh.open('a')
        self.assertIsNone(ssh.open_log())
        ssh.close()
        os.remove(self.path('ssh.slow'))
        ssh.open('a')
        self.assertEqual(ssh.log_level, 'VERBOSE')
        ssh.close()


class RetryTest(WorkTest, EngineTest):
    def test_host_that_waits_when_the_run_is_stopped_has_its_result(self):
        for stop in SSHJobMan.stop, SSHJobMan.drain:
            with self.manager('unreach,b', 'true', retries=9,
                              fanout=1) as job, mock.patch(
                                  'classh.retry_wait',
                                  lambda times, result, may_retry:
                                  60 if may_retry else None):
                self.assertEqual(self.take(job).host, 'b')
                self.assertEqual(list(job.waiting), ['unreach'])
                job.add('c')
                stop(job)
                self.assertFalse(job.done)
                result = self.take(job)
                self.assertTrue(job.done)
                self.assertEqual(list(job.not_started()), ['c'])
            self.assertEqual((result.host, result.cause, result.ran,
                              result.tries), ('unreach', 'refused', 'no', 1))

    def test_nothing_starts_twice_in_500_hosts_of_which_a_third_fail(self):
        # Each session is noted in a file.  The number of a host says how it
        # fails, whether at the first try alone or at all of them.
        drop = 'fail "Connection closed by 10.0.0.1 port 22"'
        fates = [
            ('0?', drop, ('ssh', 'dropped', 'no', 4)),
            ('1[0-3]', '[ -e %s/$TARGET ] || { >%s/$TARGET; %s; }; session'
             % (self.directory, self.directory, drop), ('ok', '', 'yes', 2)),
            ('1?|20', 'session; exit 255', ('ssh', 'lost', 'unknown', 1)),
            ('21', 'session; exec sleep 60',
             ('killed', 'timeout', 'unknown', 1)),
            ('2[2-8]', 'session; status 255', ('error', 'exit-255', 'yes', 1)),
            ('29', 'login; exec sleep 60', ('killed', 'timeout', 'no', 1)),
            ('*', 'session; status 0', ('ok', '', 'yes', 1))]
        script = 'case ${TARGET#h??} in\n%s\nesac' % '\n'.join(
            '%s) %s ;;' % (pattern, fate) for pattern, fate, _ in fates)
        hosts = ['h%04d' % number for number in range(500)]
        starts = self.path('starts')
        with mock.patch.dict(os.environ, FAKE_SSH_STARTS=starts), mock.patch(
                'classh.retry_wait', self.soon(classh.retry_wait)):
            classh._probe_ssh.cache_clear()
            with SSHJobMan(hosts, script, ssh=LOGGING_SSH, fanout=100,
                           retries=3, timeout=8) as job:
                job.wait()
        with open(starts) as file:
            begun = collections.Counter(file.read().split())
        self.assertEqual(max(begun.values()), 1)
        self.assertEqual(set(job.results), set(hosts))
        for host, result in job.results.items():
            told = next(told for pattern, _, told in fates
                        if any(fnmatch.fnmatch(host[-2:], each)
                               for each in pattern.split('|')))
            self.assertEqual(
                (result.outcome, result.cause, result.ran, result.tries),
                told, result)
            self.assertIn((begun[host], result.ran),
                          ((0, 'no'), (1, 'yes'), (1, 'unknown')))

    @staticmethod
    def soon(wait):
        """retry_wait() without its wait."""
        def waited(times, result, may_retry):
            seconds = wait(times, result, may_retry)
            return None if seconds is None else 0
        return waited


if __name__ == '__main__':
    unittest.main()
