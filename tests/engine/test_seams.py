"""The seams of the engine: another transport than ssh, a pace that stops a
run, and hosts that are put back for later."""

import errno
import os
import signal
import time
from unittest import mock

from lib import TestCase
from lib.engine import Clock
import classh
from classh import HostQueue, Pace, SSHJobMan


class LocalShell(classh.Transport):
    """A transport to nowhere: sh runs the command here, once for each host,
    with $HOST in its environment and 'on HOST' as its $0."""

    program = 'sh'

    def argv(self, host, command, log=None):
        return ['sh', '-c', command, 'on ' + host]

    def environment(self, host):
        return dict(os.environ, HOST=host)


class SeamTest(TestCase):
    def manager(self, hosts, command, **options):
        options.setdefault('transport', LocalShell())
        options.setdefault('timeout', 60)
        manager = SSHJobMan(hosts, command, **options)
        self.addCleanup(manager.close)
        return manager

    @staticmethod
    def poll_on(manager):
        while not manager.done:
            manager.poll()

    def results(self, hosts, command, **options):
        """Results of a run by host, as (outcome, exit status, output)."""
        manager = self.manager(hosts, command, **options)
        manager.wait()
        return {result.host: (result.outcome, result.exitcode, result.output)
                for result in manager.results.values()}


class TransportTest(SeamTest):
    def test_each_host_has_its_own_arguments_and_environment(self):
        self.assertEqual(self.results('a[1-3]', 'echo "$0, $HOST"'), {
            host: ('ok', 0, 'on %s, %s\n' % (host, host))
            for host in ('a1', 'a2', 'a3')})

    def test_exit_status_is_that_of_the_command_255_too(self):
        self.assertEqual(self.results('0,1,254,255', 'exit $HOST'), {
            '0': ('ok', 0, ''), '1': ('error', 1, ''),
            '254': ('error', 254, ''), '255': ('error', 255, '')})

    def test_why_a_job_failed_is_a_word(self):
        manager = self.manager('ok,error,signal,timeout', '''
            case $HOST in
            error) exit 255 ;;
            signal) kill -9 $$ ;;
            timeout) exec sleep 60 ;;
            esac''', timeout=.5)
        manager.wait()
        self.assertEqual(
            {host: (result.outcome, result.cause, result.ran, result.login,
                    result.tries)
             for host, result in manager.results.items()},
            {'ok': ('ok', '', 'yes', None, 1),
             'error': ('error', '', 'yes', None, 1),
             'signal': ('killed', 'signal', 'unknown', None, 1),
             'timeout': ('killed', 'timeout', 'unknown', None, 1)})
        self.assertEqual(manager.results['timeout'].reason,
                         'timed out after 0.5 s')

    def test_job_that_is_stopped_says_so(self):
        manager = self.manager('a', 'echo up; exec sleep 60')
        while not manager.running:
            manager.poll(1)
        manager.stop()
        manager.wait()
        self.assertEqual(manager.results['a'][1:2]
                         + manager.results['a'][6:10],
                         (-signal.SIGTERM, 'killed', 'stopped', False,
                          'stopped'))

    def test_streams_stay_apart_and_input_reaches_every_job(self):
        reader, writer = os.pipe()
        os.write(writer, b'given\n')
        os.close(writer)
        with os.fdopen(reader, 'rb') as source:
            manager = self.manager('a,b', 'cat; echo words >&2',
                                   input=source)
            manager.wait()
        for host in 'ab':
            self.assertEqual(manager.results[host][2:4],
                             ('given\n', 'words\n'))

    def test_program_that_is_not_there_is_a_result(self):
        transport = LocalShell()
        transport.program = '/no/such/sh'
        manager = self.manager('a', 'true', transport=transport)
        manager.wait()
        result = manager.results['a']
        self.assertEqual((result.outcome, result.cause, result.ran),
                         ('ssh', 'start', 'no'))

    def test_environment_may_be_ours_or_empty(self):
        command = 'echo "$CLASSH_TEST_SEAM"'
        for environment, output in (None, 'seen\n'), ({}, '\n'):
            transport = LocalShell()
            transport.environment = lambda host: environment
            with mock.patch.dict(os.environ, CLASSH_TEST_SEAM='seen'):
                self.assertEqual(
                    self.results('a', command, transport=transport),
                    {'a': ('ok', 0, output)})

    def test_hook_that_holds_stdin(self):
        class Holder(classh.JobHooks):
            holds_stdin = True
        # Without it, cat finds an end at once.
        self.assertEqual(self.results(
            'a', 'timeout .2 cat; echo $?', transport=LocalShell(),
            hooks=[Holder()]), {'a': ('ok', 0, '124\n')})
        with open(os.devnull) as source, self.assertRaisesRegex(
                ValueError, 'input goes with no hook that holds stdin'):
            self.manager('a', 'cat', input=source, hooks=[Holder()])

    def test_hook_may_have_its_methods_in_the_instance(self):
        finished = []

        def keep(job, result):
            finished.append(result)
            return result
        hook = classh.JobHooks()
        hook.finished = keep
        with self.manager('a', 'true', transport=LocalShell(),
                          hooks=[hook]) as manager:
            manager.wait()
        self.assertEqual([result.host for result in finished], ['a'])

    def test_transport_that_fails_fails_its_host_alone(self):
        class Broken(LocalShell):
            def environment(self, host):
                if host == 'a':
                    raise OSError(errno.EACCES, 'no access')
                return super().environment(host)

            def argv(self, host, command, log=None):
                if host == 'b':
                    raise ValueError('not for b')
                return super().argv(host, command)
        manager = self.manager('a,b,c', 'true', transport=Broken())
        manager.wait()
        self.assertEqual(
            {host: (result.outcome, result.cause, result.reason)
             for host, result in manager.results.items()},
            {'a': ('ssh', 'start',
                   'the program could not be started: no access'),
             'b': ('ssh', 'start',
                   'the program could not be started: not for b'),
             'c': ('ok', '', '')})

    def test_host_whose_start_is_interrupted_is_not_lost(self):
        for method in 'environment', 'argv':
            transport = LocalShell()
            real = getattr(transport, method)
            calls = []

            def interrupted(host, *args):
                calls.append(host)
                if len(calls) == 2:
                    raise KeyboardInterrupt
                return real(host, *args)
            setattr(transport, method, interrupted)
            manager = self.manager('h[1-3]', 'true', transport=transport)
            with self.assertRaises(KeyboardInterrupt):
                while not manager.done:
                    manager.poll()
            manager.wait()
            self.assertEqual(sorted(manager.results), ['h1', 'h2', 'h3'])

    def test_host_is_not_lost_where_its_job_or_a_hook_fails(self):
        class Raising(classh.JobHooks):
            raised = False

            def finished(self, job, result):
                if not self.raised:
                    self.raised = True
                    raise RuntimeError
                return result
        transport = LocalShell()
        transport.program = '/nonexistent'
        manager = self.manager('h1', 'true', transport=transport,
                               hooks=[Raising()])
        with mock.patch('classh._Work.job', side_effect=MemoryError):
            self.assertRaises(MemoryError, self.poll_on, manager)
        self.assertRaises(RuntimeError, self.poll_on, manager)
        manager.wait()
        self.assertEqual(manager.results['h1'].cause, 'start')
        # ... nor is the place of a login.
        manager = self.manager('h[1-2]', 'true', hooks=[Raising()], logins=1)
        self.assertRaises(RuntimeError, self.poll_on, manager)
        self.assertTrue(manager.wait(20))
        self.assertEqual([result.cause for result in manager.results.values()],
                         ['output-lost', ''])

    def test_host_whose_second_job_fails_is_none_of_the_new(self):
        class Again(LocalShell):
            def may_retry(self, result):
                return result.tries < 2
        manager = self.manager('h1', 'false', transport=Again(),
                               pace=classh.Canary(1))
        work = manager._work
        with mock.patch('classh.retry_wait', lambda times, result, may_retry:
                        0 if may_retry else None), mock.patch.object(
                            work, 'job', side_effect=[
                                work.job('h1', 1), MemoryError,
                                work.job('h1', 2)]):
            self.assertRaises(MemoryError, self.poll_on, manager)
            self.assertTrue(manager.wait(20))
        self.assertEqual(manager.results['h1'].tries, 2)

    def test_judgement_is_the_transports(self):
        class Lenient(LocalShell):
            def explain(self, job):
                outcome, cause, ran, reason = super().explain(job)
                if job.exitcode == 7:
                    return 'ok', cause, ran, 'seven is fine'
                return outcome, cause, ran, reason
        manager = self.manager('7,8', 'exit $HOST', transport=Lenient())
        manager.wait()
        self.assertEqual({host: (result.outcome, result.reason)
                          for host, result in manager.results.items()},
                         {'7': ('ok', 'seven is fine'), '8': ('error', '')})

    def test_nothing_of_ssh_is_left_in_the_engine(self):
        with mock.patch('classh.ssh_argv', side_effect=AssertionError), \
                mock.patch('classh.Ssh', side_effect=AssertionError):
            self.assertEqual(self.results('a', 'true'), {'a': ('ok', 0, '')})


class FirstFailure(Pace):
    """Starts nothing more after the first failure."""

    def finished(self, result):
        return None if result.outcome == 'ok' else result.host + ' failed'


class PaceTest(SeamTest):
    def test_run_ends_after_the_first_failure(self):
        manager = self.manager('h[1-9]', '[ $HOST != h3 ]',
                               fanout=1, pace=FirstFailure())
        manager.wait()
        self.assertEqual(list(manager.results), ['h1', 'h2', 'h3'])
        self.assertEqual(manager.stopped_why, 'h3 failed')
        self.assertEqual(list(manager.not_started()),
                         ['h4', 'h5', 'h6', 'h7', 'h8', 'h9'])

    def test_what_runs_by_then_comes_to_its_end(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        with os.fdopen(reader, 'rb', closefd=False) as source:
            # a waits for its input, b fails meanwhile.
            manager = self.manager(
                'a,b,c', '[ $HOST = a ] && cat; [ $HOST = a ]',
                fanout=2, pace=FirstFailure(), input=source)
            results = []
            while not results:
                results += manager.poll()
            os.close(writer)
            while not manager.done:
                results += manager.poll()
        self.assertEqual([(result.host, result.outcome)
                          for result in results],
                         [('b', 'error'), ('a', 'ok')])
        self.assertEqual(manager.stopped_why, 'b failed')

    @mock.patch('classh.START_LIMIT', 60)
    def test_first_reason_stands(self):
        manager = self.manager('b,a', 'exit 1', fanout=2, pace=FirstFailure())
        first = []
        with mock.patch('classh.START_LIMIT', 60):  # both in the first turn
            while not first:
                first += manager.poll()
        manager.wait()
        self.assertEqual(manager.stopped_why, first[0].host + ' failed')
        self.assertEqual(len(manager.results), 2)

    def test_job_that_could_not_be_started_counts_too(self):
        transport = LocalShell()
        transport.program = '/no/such/sh'
        manager = self.manager('h[1-9]', 'true', fanout=1, pace=FirstFailure(),
                               transport=transport)
        manager.wait()
        self.assertEqual(list(manager.results), ['h1'])
        self.assertEqual(manager.stopped_why, 'h1 failed')

    def test_all_rules_are_asked_and_one_is_enough(self):
        class Counted(Pace):
            def __init__(self):
                self.hosts = []

            def started(self, host):
                self.hosts.append(host)

            def finished(self, result):
                self.hosts.append(result.host)
        rules = [Counted(), FirstFailure(), Counted(), FirstFailure()]
        manager = self.manager('h[1-3]', '[ $HOST = h1 ]', fanout=1,
                               pace=rules)
        manager.wait()
        self.assertIs(manager.stopped_by, rules[1])
        self.assertEqual(manager.stopped_why, 'h2 failed')
        for rule in rules[0], rules[2]:
            self.assertEqual(rule.hosts, ['h1', 'h1', 'h2', 'h2'])

    def test_pace_that_raises_loses_no_result(self):
        class Broken(Pace):
            def finished(self, result):
                raise RuntimeError(result.host)
        manager = self.manager('a', 'true', pace=Broken())
        with self.assertRaises(RuntimeError):
            while not manager.done:
                manager.poll()
        self.assertEqual([result.host for result in manager.poll()], ['a'])
        # A start that takes long leaves the end of the hosts to another turn.
        self.assertTrue(manager.wait(20))
        self.assertTrue(manager.done)

    def test_plain_pace_gives_no_reason(self):
        manager = self.manager('h1', 'exit 1')
        manager.wait()
        self.assertIsNone(manager.stopped_why)

    def test_pace_decides_how_many_run(self):
        class Twos(Pace):
            """Two at a time, and the next two only when both have ended."""

            def room(self, running, now):
                return self.pair - running if self.open else 0

            pair, open = 2, True

            def started(self, host):
                self.begun += 1
                self.open = self.begun % 2 == 1

            begun = ended = 0

            def finished(self, result):
                self.ended += 1
                self.open = self.ended == self.begun
        manager = self.manager('h[1-6]', 'true', pace=Twos())
        groups, most = [], 0
        while not manager.done:
            groups += [result.host for result in manager.poll()]
            most = max(most, len(manager.running))
        self.assertLessEqual(most, 2)
        self.assertEqual([set(groups[at:at + 2]) for at in (0, 2, 4)],
                         [{'h1', 'h2'}, {'h3', 'h4'}, {'h5', 'h6'}])

    def test_pace_that_has_no_room_yet_costs_no_busy_wait(self):
        class Late(Pace):
            begin, asked = time.monotonic() + .3, 0

            def room(self, running, now):
                self.asked += 1
                return super().room(running, now) if now >= self.begin else 0
        pace = Late()
        self.assertEqual(self.results('a', 'true', pace=pace),
                         {'a': ('ok', 0, '')})
        self.assertGreaterEqual(time.monotonic(), pace.begin)
        self.assertLess(pace.asked, 40)


class DelayTest(SeamTest):
    """A queue with delays, through the manager, on the real clock."""

    def setUp(self):
        super().setUp()
        turn = classh._Dispatcher._turn
        self.turns = 0

        def counted(dispatcher, timeout):
            self.turns += 1
            return turn(dispatcher, timeout)
        patch = mock.patch('classh._Dispatcher._turn', counted)
        patch.start()
        self.addCleanup(patch.stop)

    def assert_no_busy_wait(self):
        self.assertLess(self.turns, 100)

    def begun(self, hosts, delay=None, **options):
        """Run on *hosts*, and on 'late', due *delay* seconds after the start
        of 'a'; return a list of (host, when it started)."""
        begun = []

        class Noted(LocalShell):
            def argv(self, host, command, log=None):
                now = time.monotonic()
                begun.append((host, now))
                if host == 'a':
                    hosts.put_back('late', now + delay)
                return super().argv(host, command, log)
        options.setdefault('command', 'true')
        self.manager(hosts, transport=Noted(), **options).wait()
        return begun

    def test_delayed_host_starts_when_it_is_due_and_not_before(self):
        (first, begin), (second, later) = self.begun(HostQueue('a'), .3)
        self.assertEqual((first, second), ('a', 'late'))
        self.assertGreaterEqual(later, begin + .3)
        self.assert_no_busy_wait()

    def test_queue_may_hold_nothing_but_delayed_hosts(self):
        hosts, due = HostQueue(), time.monotonic() + .2
        hosts.put_back('second', due)
        hosts.put_back('first', due - .1)
        begun = self.begun(hosts)
        self.assertEqual([host for host, _ in begun], ['first', 'second'])
        self.assertGreaterEqual(begun[1][1], due)
        self.assert_no_busy_wait()

    def test_delayed_host_that_has_no_room_costs_no_busy_wait(self):
        (first, begin), (second, later) = self.begun(
            HostQueue('a'), .05, command='[ $HOST = late ] || sleep .5',
            fanout=1)
        self.assertEqual((first, second), ('a', 'late'))
        self.assertGreaterEqual(later, begin + .5)
        self.assert_no_busy_wait()

    def test_run_that_drains_does_not_wait_for_delayed_hosts(self):
        hosts, clock = HostQueue('a'), Clock()
        hosts.put_back('late', clock() + 100)
        manager = self.manager(hosts, 'sleep .5', clock=clock, timeout=0)
        while not manager.running:
            manager.poll(0)
        manager.drain()
        clock.advance(200)              # nor start those that are due
        manager.wait()
        self.assertEqual(list(manager.results), ['a'])
        self.assertEqual(list(manager.not_started()), ['late'])
        self.assert_no_busy_wait()

    def test_poll_returns_in_time_though_a_host_is_due_later(self):
        hosts = HostQueue()
        hosts.put_back('late', time.monotonic() + 100)
        manager = self.manager(hosts, 'true')
        for timeout in 0, .05:
            before = time.monotonic()
            self.assertEqual(manager.poll(timeout), [])
            self.assertLess(time.monotonic() - before, 5)
        self.assertFalse(manager.done)
        manager.stop()
        self.assertTrue(manager.done)

    def test_host_may_be_put_back_when_it_has_failed(self):
        hosts = HostQueue('a,b')

        class Again(Pace):
            """Runs a failed host again, a moment later; three times."""
            tries = 0

            def finished(self, result):
                super().finished(result)
                if result.outcome == 'error':
                    self.tries += 1
                    if self.tries < 3:
                        hosts.put_back(result.host, time.monotonic() + .1)
        results = []
        manager = self.manager(hosts, '[ $HOST = b ]', pace=Again())
        for result in manager:
            results.append(result)
        runs = [result for result in results if result.host == 'a']
        self.assertEqual([result.outcome for result in runs], ['error'] * 3)
        self.assertEqual(len(results), 4)
        for before, after in zip(runs, runs[1:]):
            self.assertGreaterEqual(after.started - before.stopped, .09)
        self.assert_no_busy_wait()


class Listener(classh.View):
    """A view that keeps what it is told."""

    def __init__(self):
        super().__init__(None)
        self.told = []

    def started(self, host, tries):
        self.told.append(('started', host))

    def data(self, host, stream, octets):
        self.told.append((stream, host, octets))


class WithoutMarks(classh.JobHooks):
    """Takes a mark out of what comes, as the hooks for sudo do."""

    class Filter:
        def __init__(self, capture):
            self._capture = capture

        def add(self, chunk):
            self._capture.add(chunk.replace(b'mark', b''))

        def __getattr__(self, name):
            return getattr(self._capture, name)

    def prepare(self, job):
        job.output = self.Filter(job.output)


class ViewTest(SeamTest):
    def told(self, hosts, command, **options):
        view = Listener()
        hooks = [classh.ViewHooks([view, classh.View(None)]), WithoutMarks()]
        self.results(hosts, command, hooks=hooks, **options)
        return view.told

    def test_view_gets_the_bytes_as_they_come_without_marks(self):
        self.assertEqual(
            sorted(self.told('a,b', 'echo out mark; echo mark err >&2',
                             max_output=1)),
            [('errors', 'a', b'mark err\n'), ('errors', 'b', b'mark err\n'),
             ('output', 'a', b'out \n'), ('output', 'b', b'out \n'),
             ('started', 'a'), ('started', 'b')])

    def test_job_that_cannot_be_started_has_not_started(self):
        transport = LocalShell()
        transport.program = '/nowhere/sh'
        self.assertEqual(self.told('a', 'true', transport=transport), [])


class AbortTest(SeamTest):
    def test_closing_that_was_broken_off_leaves_no_limit_behind(self):
        # What is due to a job that was forgotten must strike nothing.
        for before in 'sleep 60', 'exec >&- 2>&-; sleep 60':
            manager = self.manager('a', "trap '' TERM; echo up; " + before,
                                   grace=.1)
            while not manager.running:
                manager.poll(.1)
            manager.poll(.2)
            manager.stop()
            with mock.patch('classh._Dispatcher._turn',
                            side_effect=KeyboardInterrupt):
                self.assertRaises(KeyboardInterrupt, manager.close)
            time.sleep(.15)
            self.assertEqual(manager.poll(0), [])
            self.assertTrue(manager.done)
