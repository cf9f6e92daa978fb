"""Which jobs start, when, and what they find around them."""

import itertools
import os
import re
import shutil
import signal
from unittest import mock

from lib import WorkTest, children, classh_argv, kill_leftovers, read_log, run
from lib.engine import EngineTest, Gates, StillClock
from classh import PatternError, SSHJobMan


class ChildTest(EngineTest):
    """What a job finds around it."""

    def test_it_leads_a_session_and_a_group_of_its_own(self):
        result = self.run_one('a', 'exec cut -d " " -f 1,5-7 /proc/self/stat')
        pid, group, session, terminal = map(int, result.output.split())
        self.assertEqual((group, session, terminal), (pid, pid, 0))

    def test_its_stdin_is_empty(self):
        self.assertEqual(self.run_one('reader')[1:3], (0, ''))

    @mock.patch('classh.START_LIMIT', 60)
    def test_its_input_may_turn_out_not_to_be_readable(self):
        # Half of it must not pass for all.  'w': open, but not for reading.
        path = os.path.join(self.scratch(), 'input')
        with open(path, 'w') as unreadable:
            with self.manager(['reader', 'slow', 'next'], fanout=2,
                              input=unreadable) as job:
                reasons = {result.host: (result.outcome, result.reason)
                           for result in job}
                self.assertEqual(list(job.not_started()), ['next'])
        lost = ('killed', 'input lost: Bad file descriptor')
        self.assertEqual(reasons, {'reader': lost, 'slow': lost})

    def test_it_inherits_no_other_descriptor(self):
        reader, writer = self.pipe()
        os.set_inheritable(writer, True)
        with self.manager(['a', 'b'], 'exec ls /proc/self/fd') as job:
            for result in job:
                # 3 is the directory that ls reads.
                self.assertEqual(result.output.split(), ['0', '1', '2', '3'])

    def test_signals_blocked_by_the_program_only_cost_the_grace(self):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        result = self.run_one('slow', timeout=.05, grace=.05)
        self.assertEqual((result.outcome, result.exitcode),
                         ('killed', -signal.SIGKILL))


class HostsTest(EngineTest):
    def test_hosts_are_read_as_slots_become_free(self):
        taken = []

        def endless():
            for number in itertools.count():
                taken.append('exit0-%d' % number)
                yield taken[-1]
        with self.manager(endless(), fanout=5) as job:
            results = job.poll(0)
            while len(results) < 20:
                self.assertLessEqual(len(taken), len(results) + 5)
                results += job.poll()
            job.stop()
            results += list(job)
            self.assertEqual(sorted(result.host for result in results),
                             sorted(taken))
            self.assertEqual(next(job.not_started()),
                             'exit0-%d' % len(results))

    def test_pattern_for_a_hundred_million_costs_nothing(self):
        with self.manager(['exit0-[0-99999999]'], fanout=2,
                          keep=False) as job:
            for result in itertools.islice(job, 3):
                self.assertEqual(result.outcome, 'ok')
            job.stop()
            left = list(itertools.islice(job.not_started(), 3))
        first = int(left[0].partition('-')[2])
        self.assertEqual(left, ['exit0-%d' % (first + n) for n in range(3)])
        self.assertLess(first, 10)

    def test_host_named_twice_runs_once(self):
        with self.manager(['exit0-1', 'exit0-[1-3]', 'exit0-2,exit0-3'],
                          fanout=1) as job:
            results = job.poll(0)
            job.add('exit0-[2-4]')
            results += list(job)
            self.assertEqual([result.host for result in results],
                             ['exit0-1', 'exit0-2', 'exit0-3', 'exit0-4'])

    def test_one_string_is_one_pattern(self):
        with self.manager('exit[0-1]') as job:
            self.assertEqual(sorted(result.host for result in job),
                             ['exit0', 'exit1'])

    def test_no_hosts_is_no_work(self):
        for hosts in ([], '', iter(())):
            with self.manager(hosts) as job:
                self.assertTrue(job.wait(0) or job.wait())
                self.assertEqual((job.results, list(job)), ({}, []))

    def test_brackets_may_be_taken_literally(self):
        with self.manager(['a[1-2]'], 'echo $HOST', expand=False) as job:
            self.assertEqual([result.output for result in job],
                             ['a[1-2]\n'])

    def test_excluded_hosts_do_not_run_in_whatever_form_they_are_named(self):
        for exclude in ('exit0-[2-3]', ['exit0-3', 'exit0-2'],
                        ('exit0-2,exit0-3',), iter(['exit0-[2-3]'])):
            with self.manager('exit0-[1-4]', exclude=exclude) as job:
                self.assertEqual(sorted(result.host for result in job),
                                 ['exit0-1', 'exit0-4'])
        with self.manager('exit0-[1-4]', only='exit0-[2-9]',
                          exclude='exit0-3') as job:
            self.assertEqual(sorted(result.host for result in job),
                             ['exit0-2', 'exit0-4'])

    def test_bad_host_in_a_list_is_refused_at_once(self):
        for bad in ('-oProxyCommand=x', 'a[3-1]', 'a b', 'a[', ''.join('\n')):
            with self.assertRaises(PatternError):
                self.manager(['exit0', bad])
        job = self.manager([])
        with self.assertRaises(PatternError):
            job.add(['exit0', '-x'])

    def test_bad_host_that_comes_late_is_raised_and_the_rest_runs(self):
        hosts = iter(['exit0-1', 'a[2-1]', 'exit0-2', '-x', 'exit0-3'])
        bad, results = [], []
        with self.manager(hosts, fanout=1) as job:
            while not job.done:
                try:
                    results += job.poll()
                except PatternError as error:
                    bad.append(error.part)
        self.assertEqual([result.host for result in results],
                         ['exit0-1', 'exit0-2', 'exit0-3'])
        self.assertEqual(bad, ['2-1', '-x'])

    def test_bad_host_that_comes_late_ends_a_wait_and_leaves_nothing(self):
        for way in (SSHJobMan.wait, list):
            job = self.manager(iter(['slow', 'a[2-1]']))
            with self.assertRaises(PatternError):
                way(job)
            self.assertEqual(children(), [])
            self.assertEqual(list(job.results), ['slow'])

    def test_error_of_the_iterator_itself_comes_out_and_ends_the_hosts(self):
        def broken():
            yield 'exit0'
            raise ZeroDivisionError
        results, raised = [], 0
        with self.manager(broken()) as job:
            while not job.done:
                try:
                    results += job.poll()
                except ZeroDivisionError:
                    raised += 1
        self.assertEqual((len(results), raised), (1, 1))

    def test_hosts_may_be_added_during_the_run(self):
        with self.manager(['exit0-0'], fanout=2) as job:
            hosts = []
            for result in job:
                hosts.append(result.host)
                if len(hosts) <= 5:
                    job.add('exit0-%d' % len(hosts))
        self.assertEqual(hosts, ['exit0-%d' % n for n in range(6)])

    def test_hosts_may_be_added_after_the_end(self):
        with self.manager(['exit0']) as job:
            self.assertTrue(job.wait())
            job.add(['exit7'])
            self.assertFalse(job.done)
            self.assertTrue(job.wait())
            self.assertEqual(list(job.results), ['exit0', 'exit7'])

    @mock.patch('classh.START_LIMIT', 60)
    def test_every_poll_ends_though_ssh_cannot_be_started(self):
        hosts = itertools.islice(map('h{}'.format, itertools.count()), 10000)
        with self.manager(hosts, ssh='/nonexistent', fanout=5) as job:
            self.assertEqual(len(job.poll()), 5)
            job.stop()
            self.assertLess(len(job.poll()), 6)
            self.assertGreater(len(list(job.not_started())), 9900)


class FanoutTest(EngineTest):
    def log(self):
        path = os.path.join(self.scratch(), 'log')
        os.environ['FAKE_SSH_LOG'] = path
        self.addCleanup(os.environ.pop, 'FAKE_SSH_LOG')
        return path

    def test_one_at_a_time_is_a_sequence(self):
        log = self.log()
        with self.manager(['exit[3,1,2,0]'], fanout=1) as job:
            finished = [result.host for result in job]
        wanted = ['exit3', 'exit1', 'exit2', 'exit0']
        self.assertEqual((finished, read_log(log)), (wanted, (wanted, 1)))

    def test_as_many_run_at_once_as_may(self):
        log = self.log()
        # The first five wait for each other; a sixth would be seen.
        command = ('echo >%s/$HOST; until [ $(ls %s | wc -l) -ge 5 ]; '
                   'do sleep .01; done') % ((self.scratch(),) * 2)
        with self.manager(['h[1-20]'], command, fanout=5) as job:
            self.assertEqual(len(list(job)), 20)
        started, most = read_log(log)
        self.assertEqual((len(started), most), (20, 5))

    def test_it_may_be_changed_between_polls(self):
        with mock.patch('classh.START_LIMIT', 60), self.manager(
                ['slow[1-9]'], fanout=1) as job:
            for fanout, running in ((1, 1), (4, 4), (2, 4), (5, 5)):
                job.fanout = fanout
                self.start_all(job, running)
                job.poll(0)
                self.assertEqual(len(job.running), running)

    def test_turn_starts_hosts_for_50_ms_at_most(self):
        # A large fanout would keep what runs, and Ctrl-C, waiting.
        clock = StillClock()
        with self.manager(['slow[1-99]'], fanout=99, clock=clock) as job:
            with self.each_start(lambda number: clock.advance(.01)):
                job.poll(0)
                first = len(job.running)
                job.poll(0)
            self.assertLess(first, 10)
            self.assertLess(first, len(job.running))

    def test_nor_longer_where_none_can_be_started(self):
        clock = StillClock()
        with self.manager(['a[1-99]'], fanout=99, clock=clock,
                          ssh='/nonexistent/ssh') as job:
            with self.each_start(lambda number: clock.advance(.01)):
                self.assertLess(len(job.poll(0)), 10)
                self.take(job, 99 - len(job.results))

    def test_those_that_run_are_named_longest_first(self):
        gates = Gates(self.scratch(), *'abcd')
        with self.manager(list('abcd'), gates.command, fanout=3) as job:
            self.start_all(job, 3)
            self.assertEqual(list(job.running), ['a', 'b', 'c'])
            gates.open('b')
            self.take(job)
            job.poll(0)
            self.assertEqual(list(job.running), ['a', 'c', 'd'])

    def test_fewer_than_one_is_refused(self):
        for fanout in (0, -1):
            with self.assertRaises(ValueError):
                self.manager(['a'], fanout=fanout)


FORK = re.compile(r'^(?:clone3?|v?fork)\(')


# Reported of other tools: processes, descriptors and memory that leak.
class InheritTest(WorkTest):
    def test_whatever_classh_holds_a_job_has_three(self):
        # All sorts of sinks, input, a pickle, what it was started with, and
        # what is held for long output.
        said = self.classh(
            '-I', '-S', 'good/', '-E', '|cat >bad', '--pickle', 'all', '-f5',
            'ls /proc/self/fd | xargs; head -c 900000 /dev/zero >&2',
            'h[1-20]', stdin=b'input', before='exec 7<&0 8>&1 9</dev/null')
        said.check(0, None)
        for number in range(1, 21):
            # 7, 8 and 9 are open on purpose, for whom classh starts too?
            # No: a job is not what they are meant for.  3 is ls's own.
            self.assertEqual(self.read('good/h%d.out' % number), '0 1 2 3\n')

    def test_stdin_is_shared_by_none(self):
        # With none of ours, a job cannot put a shared one out of block.
        said = self.classh('readlink /proc/self/fd/0', 'a').check(0, None)
        self.assertIn('  /dev/null\n', said.stdout)


# Reported of other tools: processes, descriptors and memory that leak.
class TraceTest(WorkTest):
    """What strace sees of 50 hosts."""

    def setUp(self):
        super().setUp()
        if (not shutil.which('strace') or
                run(['strace', '-o', self.path('try'), 'true']).status):
            self.skipTest('no strace here, or it may not trace')

    def trace(self, *args, **options):
        """Run classh with these; return pid: lines, classh's own first."""
        argv = ['strace', '-f', '-qq', '-s', '200', '-o', self.path('trace')]
        # What is followed costs time: calls that matter alone.
        argv += ['-e', 'trace=process,dup,dup2,dup3,fcntl,close,close_range,'
                 'openat,open,pipe,pipe2,socket']
        run(argv + classh_argv(*args), cwd=self.directory, **options
            ).check(0, None)
        traced = {}
        for line in self.lines('trace'):
            pid, _, call = line.partition(' ')
            traced.setdefault(int(pid), []).append(call.lstrip())
        return traced

    def test_jobs_are_asked_for_one_by_one_and_have_three_descriptors(self):
        # A plain program in ssh's place: every call of a child is its own.
        probe = self.program('probe', 'exec ls -l /proc/self/fd')
        traced = self.trace('--ssh', probe, '-f20', 'true', 'h[1-50]',
                            '-S', 'names/')
        ours = next(iter(traced.values()))
        self.assertGreaterEqual(sum(bool(FORK.match(call))
                                    for call in ours), 50)
        waits = [call for call in ours if re.match(r'wait(4|id|pid)\(', call)]
        self.assertGreaterEqual(len(waits), 50)
        for call in waits:
            self.assertNotRegex(call, r'wait4\((-1|0),|P_ALL|P_PGID', call)
        for number in range(1, 51):
            found = re.findall(r' (\d+) -> (\S+)', self.read(
                'names/h%d.out' % number))
            self.assertEqual([fd for fd, _ in found][:3], ['0', '1', '2'])
            self.assertLessEqual(len(found), 4)     # ls reads a directory

    def test_no_ssh_closes_thousands_of_descriptors(self):
        traced = self.trace('--ssh', 'echo', '-f20', 'true', 'h[1-20]',
                            before='ulimit -n 4096')
        for pid, calls in list(traced.items())[1:]:
            self.assertLess(sum(call.startswith('close(') for call in calls),
                            200)


# Reported of other tools: commands on the wrong hosts.
class AtOnceTest(WorkTest):
    def test_as_many_as_may_whenever_hosts_wait(self):
        # Whatever becomes of the others, three run: each of these waits for
        # the two that were started with it or after it.
        command = ('echo >>started; until [ $(wc -l <started) -ge $(( ('
                   '${HOST#n} + 2) / 3 * 3)) ]; do sleep .01; done')
        log = self.path('log')
        self.classh('-q', '-f3', command, 'n[1-12]',
                    env={'FAKE_SSH_LOG': log}).check()
        started, most = read_log(log)
        self.assertEqual((len(started), most), (12, 3))

    def test_place_is_free_again_however_a_job_ends(self):
        hosts = ['slow', 'exit0', 'unreach', 'keeper', 'flooder', 'signal9',
                 'escapee', 'last']
        log = self.path('log')
        self.classh('-q', '-f1', '-u1.5', 'true', *hosts,
                    env={'FAKE_SSH_LOG': log}).check(3)
        self.assertEqual(read_log(log)[0], hosts)
        kill_leftovers()

    def test_place_is_not_given_twice_while_a_job_is_being_ended(self):
        # What was told to end still runs, so that b must wait for it.
        self.classh('-q', '-f1', '-u2', 'echo $HOST >>ran; trap "sleep .2; '
                    'echo end of $HOST >>ran; exit" TERM; [ $HOST = b ] || '
                    'while :; do sleep .01; done', 'a', 'b').check(3)
        self.assertEqual(self.lines('ran'), ['a', 'end of a', 'b'])
