"""The exit status, of the module and in every mode of output."""

import os
import signal
import sys
import textwrap

from lib import (FAKE_SSH, MODULE, TestCase, children, fake, kill_leftovers,
                 run, start)
from lib.engine import EveryModeTest
import classh


class ExitStatusTest(TestCase):
    def setUp(self):
        super().setUp()
        self.started = []

    def check(self, status, *hosts, options=()):
        """Known when the test has done its part: all run at once."""
        command = start('-q', *(tuple(options) + ('true',) + hosts))
        self.addCleanup(command.__exit__)
        self.started.append((status, command))

    def tearDown(self):
        for status, command in self.started:
            command.finish().check(status)
        super().tearDown()

    def test_tells_the_gravest_outcome(self):
        self.check(0, 'a', 'exit0')
        self.check(5, 'a', 'exit1')
        self.check(5, 'exit254')
        self.check(4, 'a', 'exit9', 'unreach')
        self.check(4, 'exit255')            # nobody can tell it from ssh's
        self.check(3, 'unreach', 'signal9', 'exit9', 'a')
        self.check(3, 'slow', 'unreach', 'exit9', options=['-u.1'])
        # Some ssh that, sent SIGTERM, makes the best of it.
        self.check(3, 'polite', options=['-u.5'])

    def test_trouble_of_our_own_is_graver(self):
        with open('/dev/full', 'w') as full:
            fake('true', 'exit9', 'signal9', stdout=full).check(
                1, stdout='', stderr=None)

    def test_maxrc_is_the_largest_remote_status(self):
        self.check(0, 'a', 'b', options=['--maxrc'])
        self.check(7, 'exit3', 'exit7', 'exit0', options=['--maxrc'])
        self.check(254, 'exit254', 'exit7', options=['--maxrc'])
        self.check(255, 'exit3', 'unreach', options=['--maxrc'])
        self.check(255, 'exit3', 'signal9', options=['--maxrc'])
        self.check(255, 'exit3', 'slow', options=['--maxrc', '-u.1'])

    def test_more_failures_than_a_status_can_count_are_no_success(self):
        self.check(5, 'exit1-[1-256]')
        self.check(1, 'exit1-[1-256]', options=['--maxrc'])


KINDS = {                           # host: outcome, exit status
    'exit0': ('ok', 0),
    'holder': ('ok', 0),
    'exit1': ('error', 1),
    'fail7': ('error', 7),
    'exit254': ('error', 254),
    'exit255': ('ssh', 255),
    'unreach': ('ssh', 255),
    'noresolve': ('ssh', 255),
    'hostkey': ('ssh', 255),
    'denied': ('ssh', 255),
    'signal9': ('killed', -signal.SIGKILL),
    'signal15': ('killed', -signal.SIGTERM),
}


# Reported of other tools: wrong exit statuses.
class FailureIsNoSuccessTest(EveryModeTest):
    def test_timeout(self):
        for host in ('slow', 'polite', 'late'):
            result = self.run_one(host, timeout=.3)
            self.assertEqual(result.outcome, 'killed')
        self.in_every_mode(3, '-u.5', 'true', 'slow', 'polite', 'exit0')

    def test_all_failed(self):
        for status, hosts in ((3, 'signal9-[1-3]'), (4, 'unreach[1-3]'),
                              (5, 'fail7-[1-3]')):
            self.classh('true', hosts).check(status, None, None)
            with self.manager(hosts) as job:
                self.assertNotIn('ok', [result.outcome for result in job])
        self.in_every_mode(4, 'true', 'unreach', 'exit7')

    def test_one_of_many_failed(self):
        for status, largest, host in ((3, 255, 'signal9'),
                                      (4, 255, 'noresolve'), (5, 1, 'exit1')):
            for option, wanted in (('-q', status), ('--maxrc', largest)):
                self.classh('-q', option, 'true', 'exit0-[1-5]', host
                            ).check(wanted)

    def test_ssh_that_cannot_be_started(self):
        # It is there, or classh would refuse to begin; but it does not run.
        ssh = self.write('ssh', '#!/nonexistent/shell\n', 0o755)
        self.assertEqual(self.run_one('a', ssh=[ssh]).outcome, 'ssh')
        self.in_every_mode(4, '--ssh', ssh, 'true', 'a')

    def test_as_many_as_wrap_around_a_byte(self):
        for option, host, status in (('-q', 'exit1', 5), ('-q', 'unreach', 4),
                                     ('--maxrc', 'exit1', 1)):
            self.classh('-q', option, 'true', host + '-[1-256]').check(status)


# Reported of other tools: wrong exit statuses.
class ReasonTest(EveryModeTest):
    """255 has many reasons; only what we noted tells a timeout."""

    def test_each_outcome_is_told_from_the_others(self):
        with self.manager(list(KINDS)) as job:
            self.assertEqual({result.host: (result.outcome, result.exitcode)
                              for result in job}, KINDS)
        kill_leftovers()

    def test_sigterm_from_somebody_else_is_no_timeout(self):
        for host, outcome in (('late', 'ssh'), ('slow', 'killed')):
            with self.manager([host], timeout=1000) as job:
                job.poll(0)
                self.until_settled()
                os.killpg(children()[0][0], signal.SIGTERM)
                result = self.take(job)
            self.assertEqual(result.outcome, outcome)
            self.assertNotIn('timed out', result.reason)

    def test_255_at_the_limit_is_a_timeout_and_so_is_0(self):
        for host in ('late', 'polite'):
            with self.manager([host], timeout=.3) as job:
                self.assertEqual(self.take(job).reason,
                                 'timed out after 0.3 s')

    def test_what_we_stopped_was_not_timed_out(self):
        with self.manager(['late', 'polite', 'slow']) as job:
            self.start_all(job, 3)
            self.until_settled(3)
            job.stop()
            for result in self.take(job, 3):
                self.assertEqual((result.outcome, result.reason),
                                 ('killed', 'stopped'))


# Reported of other tools: wrong exit statuses.
class CountTest(EveryModeTest):
    """given = ok + error + ssh + killed + not started."""

    HOSTS = list(KINDS) + ['slow']
    FAILED = [host for host in HOSTS
              if KINDS.get(host, ('killed',))[0] != 'ok']

    def test_every_host_is_counted_in_every_mode(self):
        ended = self.in_every_mode(3, '-u4', 'true', *self.HOSTS)
        for mode, said in ended.items():
            if '-q' not in mode:
                self.assertEqual(self.in_summary(said), sorted(self.FAILED),
                                 said)
        marks = ended['--progress',].stderr.partition('\n')[0]
        self.assertEqual(sorted(marks), sorted('..???~~~~~!!!'))
        shown = ended[()].stdout.splitlines()
        for host in self.HOSTS:
            self.assertEqual(sum(line.startswith(host + '   ')
                                 for line in shown), 1, host)
        good = ended['-S', '-', '-E', 'bad'].stdout.split()
        bad = ended['-S', 'good', '-E', '-'].stdout.split()
        self.assertEqual((sorted(good), sorted(bad)),
                         (['exit0', 'holder'], sorted(self.FAILED)))
        kill_leftovers()

    @staticmethod
    def in_summary(said):
        """The hosts that the summary names."""
        hosts = []
        gathered = 0                # hosts under 'did not log in:'
        for line in said.stderr.splitlines():
            head, colon, pattern = line.partition(': ')
            if line.endswith(' of 13 did not log in:'):
                gathered = int(line.split()[0])
            elif gathered and line.startswith('  '):
                folded = list(classh.expand(line.split()[-1]))
                gathered -= len(folded)
                hosts += folded
            elif ' of 13 ' in head:
                folded = list(classh.expand(pattern))
                assert int(head.split()[0]) == len(folded), line
                hosts += folded
        assert gathered == 0, said
        return sorted(hosts)


# Reported of other tools: wrong exit statuses.
class LostStatusTest(EveryModeTest):
    PROGRAM = '''
        import os, signal, sys, classh

        def reap_all(signum, frame):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, reap_all)
        sys.exit(classh.main())
        '''

    def test_status_that_somebody_else_took_is_no_success(self):
        # Who is first cannot be told; that each failure shows can.
        for options in ([], ['--maxrc']):
            said = run([sys.executable, '-c', textwrap.dedent(self.PROGRAM),
                        '--ssh', FAKE_SSH] + options + ['true', 'exit0-[1-9]'],
                       env={'PYTHONPATH': MODULE})
            lost = said.stdout.count('exit status lost')
            self.assertEqual(said.status, (255 if options else 4) if lost
                             else 0, said)
            self.assertEqual(said.stdout.count('   0   ('), 9 - lost, said)
