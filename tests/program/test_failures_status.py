"""Wrong exit statuses, as other tools gave them: a test for each, of the
module and of the command line in every mode.

Of the same family are, elsewhere: what a real ssh says 255 for (test_sshd),
SIGCHLD ignored or blocked when classh is started (test_command).
"""

import os
import signal
import sys
import textwrap

from lib import FAKE_SSH, ROOT, children, kill_leftovers, run
from program.test_failures_hangs import HangTest
import classh

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


class FailureIsNoSuccessTest(HangTest):
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


class ReasonTest(HangTest):
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
            job.poll(0)
            self.until_settled(3)
            job.stop()
            for result in self.take(job, 3):
                self.assertEqual((result.outcome, result.reason),
                                 ('killed', 'stopped'))


class CountTest(HangTest):
    """given = ok + error + ssh + killed + not started."""

    HOSTS = list(KINDS) + ['slow']
    FAILED = [host for host in HOSTS
              if KINDS.get(host, ('killed',))[0] != 'ok']

    def test_every_host_is_counted_in_every_mode(self):
        ended = self.in_every_mode(3, '-u3', 'true', *self.HOSTS)
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
        for line in said.stderr.splitlines():
            head, colon, pattern = line.partition(': ')
            if ' of 13 ' in head:
                folded = list(classh.expand(pattern))
                assert int(head.split()[0]) == len(folded), line
                hosts += folded
        return sorted(hosts)


class LostStatusTest(HangTest):
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
                       env={'PYTHONPATH': ROOT})
            lost = said.stdout.count('exit status lost')
            self.assertEqual(said.status, (255 if options else 4) if lost
                             else 0, said)
            self.assertEqual(said.stdout.count('   0   ('), 9 - lost, said)
