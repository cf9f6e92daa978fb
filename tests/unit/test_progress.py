"""How far a run is, in words: the line, the lines, and the one at the end."""

import contextlib
import signal
import unittest
from types import SimpleNamespace
from unittest import mock

import classh
from classh import HostQueue, Progress, Result, SSHJobMan


class Manager:
    """What Progress asks a manager for, as a test wants it."""

    def __init__(self, **settings):
        self.fanout = 10
        self.running = {}
        self.time_left = {}
        self.waiting = {}
        self.logging_in = 0
        self.left = 0
        self.stopping = False
        self.hosts = HostQueue()
        vars(self).update(settings)

    def not_started(self):
        return self.hosts

    def run(self, timeout=300, **seconds):
        self.running = seconds
        self.time_left = {host: timeout and timeout - ran
                          for host, ran in seconds.items()}


class ProgressTest(unittest.TestCase):
    def setUp(self):
        self.now = 1000.0
        self.manager = Manager()
        self.progress = Progress(lambda: self.now)
        self.progress.begin(self.manager)

    def finish(self, count=1, bad=0, elapsed=1.0, host='h'):
        for number in range(count):
            self.progress.finished(Result(
                host, 0, '', '', 0.0, elapsed,
                'ssh' if number < bad else 'ok', '', False))

    def finish_in(self, seconds, count, **options):
        for _ in range(count):
            self.now += seconds / count
            self.finish(**options)

    def check(self, line):
        self.assertEqual('   '.join(self.progress.fields()), line)


class LineTest(ProgressTest):
    def test_all_that_there_is_to_say(self):
        self.manager.left = 3700
        self.manager.logging_in = 3
        self.finish_in(13.3, 412)
        self.progress._bad = 12
        self.manager.run(web17=44.6, db3=41.2, db4=3)
        self.check('412 of 4115   12 bad   3 running (3 logging in)   31/s   '
                   '2 min left   slowest: web17 44 s, db3 41 s')

    def test_nothing_is_said_of_what_is_not(self):
        self.manager.left = 5
        self.check('0 of 5   0 running')

    def test_hosts_that_cannot_be_counted_are_not(self):
        self.manager.left = None
        self.finish()
        self.check('1 done   0 running')

    def test_hosts_that_wait_for_another_try_are_told(self):
        self.manager.left = 3
        self.manager.waiting = {'a': 1.5, 'b': 2}
        self.manager.run(None, c=1)
        self.check('0 of 4   1 running   2 to be tried again   '
                   'slowest: c 1 s')


class EstimateTest(ProgressTest):
    def test_first_results_are_no_rate(self):
        self.manager.left = 1000
        self.finish_in(1, 9)
        self.check('9 of 1009   0 running')
        self.finish()
        self.check('10 of 1010   0 running   10/s   2 min left')

    def test_one_at_a_time_has_a_rate_from_the_first(self):
        self.progress.begin(Manager(fanout=1, left=3))
        self.finish_in(30, 1)
        self.check('1 of 4   0 running   2/min   90 s left')

    def test_rate_is_that_of_the_last_results(self):
        self.manager.left = 100
        self.finish_in(10, 1000)
        self.finish_in(40, 20)
        self.check('1020 of 1120   0 running   30/min   3 min left')

    def test_few_an_hour(self):
        self.progress.begin(Manager(fanout=1, left=10))
        self.finish_in(1800, 1)
        self.check('1 of 11   0 running   2/h   5 h 0 min left')

    def test_rate_falls_while_nothing_comes(self):
        self.manager.left = 60
        self.finish_in(1, 20)
        self.now += 9
        self.check('20 of 80   0 running   2/s   30 s left')

    def test_when_all_have_started_the_last_limit_is_the_end(self):
        self.finish_in(40, 20)
        self.manager.run(timeout=60, a=40, b=39.5)
        self.check('20 of 22   2 running   30/min   at most 20 s left   '
                   'slowest: a 40 s, b 39 s')

    def test_without_a_limit_nobody_knows(self):
        self.manager.run(timeout=None, a=40)
        self.check('0 of 1   1 running   slowest: a 40 s')

    def test_after_a_stop_no_more_are_started(self):
        self.finish_in(10, 20)
        self.manager.left = 1000
        self.manager.stopping = True
        self.manager.run(timeout=60, a=10)
        self.check('20 of 1021   1 running   2/s   at most 50 s left   '
                   'slowest: a 10 s')
        self.manager.time_left = {'a': 0}   # it is being ended
        self.check('20 of 1021   1 running   2/s   slowest: a 10 s')


class LinesTest(ProgressTest):
    def test_a_line_for_all_who_are_as_far(self):
        self.manager.left = 3
        self.manager.run(a1=200.2, a2=44.9, a3=44.1, b=3)
        self.manager.waiting = {'c2': 2.1, 'c3': 3, 'd': 30}
        self.assertEqual(self.progress.lines(), [
            '0 of 7   4 running   3 to be tried again',
            '  200 s, 2 min left: a1',
            '  44 s, 4 min left: a[2-3]',
            '  3 s, 5 min left: b',
            '  tried again in 3 s: c[2-3]',
            '  tried again in 30 s: d'])

    def check_waiting(self, *lines, **settings):
        self.manager.__init__(**settings)
        if 'left' not in settings:
            self.manager.left = self.manager.hosts.count()
        self.assertEqual(self.progress.lines()[1:], list(lines))

    def test_who_is_not_started(self):
        hosts = HostQueue(['a[1-3]', 'b', 'a2'], exclude='a1')
        hosts.put_back(hosts.take())
        hosts.put_back('late', due=9)
        line = '  3 waiting: a[2-3],b'
        for _ in range(2):
            self.check_waiting('  tried again in 9 s: late', line,
                               hosts=hosts, waiting={'late': 9})
        self.check_waiting('  3 not started: a[2-3],b', hosts=hosts, left=3,
                           stopping=True)
        self.assertEqual([hosts.take(0) for _ in range(3)], ['a2', 'a3', 'b'])
        self.check_waiting(hosts=HostQueue())

    def test_of_many_that_wait_the_first_are_named(self):
        self.check_waiting('  1001 waiting: a[1-1000], ...',
                           hosts=HostQueue('a[1-1001]'))
        self.check_waiting('  1000 waiting: a[1-1000]',
                           hosts=HostQueue('a[1-1000]'))
        self.check_waiting('  1000 or more waiting: a[1-1000], ...',
                           hosts=HostQueue('a[1-99999999999]'))

    def test_while_more_may_come_those_that_are_known_are_named(self):
        hosts = HostQueue()
        hosts.feed = SimpleNamespace(ended=False)
        self.check_waiting(hosts=hosts)
        hosts.add(iter(['a[1-3]']))
        for _ in range(2):
            self.check_waiting('  3 or more waiting: a[1-3], ...', hosts=hosts)
        hosts.feed.ended = True
        self.check_waiting('  3 waiting: a[1-3]', hosts=hosts)

    def test_who_is_bad_by_cause(self):
        tally = classh.Tally()
        self.assertEqual(tally.lines(), [])
        for hosts, outcome, status, cause in (
                ('a[1-2]', 'ok', 0, ''), ('b[1-2]', 'error', 3, ''),
                ('c[1-1001]', 'ssh', 255, 'refused')):
            for host in classh.expand(hosts):
                tally.finished(Result(host, status, '', '', 0.0, 1.0, outcome,
                                      '', False, cause))
        self.assertEqual(tally.lines(), [
            '  1001 bad, connection refused: c[1-1000], ...',
            '  2 bad, exited with 3: b[1-2]'])

    def test_no_limit_and_being_ended(self):
        self.manager.run(timeout=None, a=1)
        self.assertEqual(self.progress.lines(),
                         ['0 of 1   1 running', '  1 s: a'])
        self.manager.time_left = {'a': 0}
        self.assertEqual(self.progress.lines()[1:],
                         ['  1 s, being ended: a'])


class SummaryTest(ProgressTest):
    def test_a_short_run_needs_none(self):
        self.finish_in(59, 20)
        self.assertIsNone(self.progress.summary())

    def test_times_of_a_long_run(self):
        self.finish_in(41, 2106, elapsed=7)
        self.finish_in(29, 2064, elapsed=8)
        self.finish_in(50, 40, elapsed=50)
        self.finish_in(60, 1, host='db3', elapsed=180)
        self.finish_in(12, 1, host='web17', elapsed=192)
        self.assertEqual(
            self.progress.summary(),
            '4212 hosts in 3 min 12 s; half after 41 s, 99 % after 70 s; '
            'slowest: web17 192 s, db3 180 s')

    def test_one_host(self):
        self.finish_in(3600, 1, host='a', elapsed=3600)
        self.assertEqual(
            self.progress.summary(), '1 host in 60 min; half after 3600 s, '
            '99 % after 3600 s; slowest: a 3600 s')

    def test_nothing_is_kept_for_each_host(self):
        self.manager.left = 1
        self.finish_in(50, 100000)
        kept = self.progress._times, self.progress._done_in, \
            self.progress._slowest
        self.assertLess(sum(map(len, kept)), 100)


class DurationTest(unittest.TestCase):
    def test_in_one_unit_or_exact(self):
        for seconds, about, exact in (
                (0.4, '0 s', '0 s'), (59, '59 s', '59 s'),
                (60, '60 s', '1 min'), (99, '99 s', '1 min 39 s'),
                (100, '2 min', '1 min 40 s'), (192, '3 min', '3 min 12 s'),
                (5940, '99 min', '99 min'), (7500, '2 h 5 min', '2 h 5 min')):
            self.assertEqual(
                (classh._duration(seconds), classh._duration(seconds, True)),
                (about, exact))


class ManagerTest(unittest.TestCase):
    """What a manager tells of a run that has not begun."""

    def test_hosts_left(self):
        manager = SSHJobMan(['a[1-3]', 'a2', 'b'], 'true', exclude='a1')
        self.assertEqual(manager.left, 3)
        self.assertEqual((manager.waiting, manager.time_left,
                          manager.logging_in, manager.stopping),
                         ({}, {}, 0, False))
        self.assertEqual(list(manager.not_started()), ['a2', 'a3', 'b'])
        self.assertEqual(manager.left, 0)
        manager.drain()
        self.assertTrue(manager.stopping)
        manager.close()

    def test_hosts_are_not_counted_while_more_may_come(self):
        def lazy():
            yield 'a[1-3]'
            read.append(True)

        read = []
        hosts = HostQueue(lazy())
        hosts.feed = SimpleNamespace(ended=False)
        with SSHJobMan(hosts, 'true') as manager:
            self.assertIsNone(manager.left)
            self.assertIsNone(hosts.peek())
            self.assertEqual(read, [])
            hosts.feed.ended = True
            self.assertEqual(manager.left, 3)
            self.assertEqual(read, [True])
            self.assertEqual(list(manager.not_started()), ['a1', 'a2', 'a3'])

    def test_too_many_are_not_counted_and_none_is_lost(self):
        with mock.patch('classh.EXPANSION_LIMIT', 3):
            manager = SSHJobMan('a[1-5]', 'true')
            self.assertIsNone(manager.left)
            self.assertEqual(manager.not_started().take(), 'a1')
            self.assertIsNone(manager.left)
            self.assertEqual(manager.not_started().take(), 'a2')
            self.assertEqual(manager.left, 3)
            manager.not_started().put_back('a2')
            self.assertEqual(list(manager.not_started()),
                             ['a2', 'a3', 'a4', 'a5'])
        manager.close()


class LimitTest(unittest.TestCase):
    """The warning that jobs will be ended."""

    def begin(self, timeout):
        self.manager = mock.Mock(timeout=timeout, time_left={})
        self.warning = classh.LimitWarning()
        self.warning.attach(self.manager)
        self.warning.started(None)

    def look(self, wait, **left):
        """Have the look that is due after *wait* seconds, when so much time
        is *left* to each host; return what was said so far."""
        (seconds, look), _ = self.manager.call_later.call_args
        self.assertAlmostEqual(seconds, wait)
        self.manager.call_later.reset_mock()
        self.manager.time_left = left
        look()
        return [call[0][0] for call in self.manager.warn.call_args_list]

    def test_it_comes_once_when_a_fifth_of_the_time_is_left(self):
        self.begin(300)
        self.assertEqual(self.look(240, a=60, b=59.9, c=74, d=76, e=None,
                                   f=0), ['3 will be ended in 60 s (-u 300)'])
        self.warning.started(None)
        self.manager.call_later.assert_not_called()

    def test_it_waits_for_the_first_that_still_runs(self):
        self.begin(300)
        self.assertEqual(self.look(240, b=100, c=120), [])
        # Time stands still for one that waits for a password.
        self.assertEqual(self.look(40, b=60.001), [])
        self.assertEqual(self.look(3, b=60.001), [])
        # It has ended, and another begins.
        self.assertEqual(self.look(3), [])
        self.manager.call_later.assert_not_called()
        self.warning.started(None)
        self.assertEqual(self.look(240, d=59),
                         ['1 will be ended in 59 s (-u 300)'])

    def test_it_says_nothing_where_less_than_a_second_is_left(self):
        for timeout in 0, -1, 1, 4, 4.99:
            self.begin(timeout)
            self.manager.call_later.assert_not_called()
        self.begin(5)
        self.assertEqual(self.look(4, a=1, b=1.9, c=2.1),
                         ['2 will be ended in 1 s (-u 5)'])
        self.begin(7200)
        self.assertEqual(self.look(5760, a=1440),
                         ['1 will be ended in 24 min (-u 7200)'])


class CtrlZTest(unittest.TestCase):
    def test_signal_may_come_while_its_handler_is_being_set(self):
        done, first = [], signal.getsignal(signal.SIGTSTP)

        def set_handlers(handlers):
            before = {signum: signal.signal(signum, handler)
                      for signum, handler in handlers.items()}
            for signum, handler in handlers.items():
                handler(signum, None)
            return before

        def stop(pid, signum):
            done.append((signum, signal.getsignal(signum)))

        with contextlib.ExitStack() as stack, \
                mock.patch.object(classh, '_set_handlers', set_handlers), \
                mock.patch.object(classh.os, 'kill', stop):
            classh._call_before_ctrl_z(lambda: done.append('hidden'), stack)
            self.assertNotEqual(signal.getsignal(signal.SIGTSTP), first)
        self.assertEqual(done, ['hidden', (signal.SIGTSTP, signal.SIG_DFL)])
        self.assertEqual(signal.getsignal(signal.SIGTSTP), first)


if __name__ == '__main__':
    unittest.main()
