"""Turns, waits, and that waiting costs nothing."""

import os
import time

from lib import WAIT_LIMIT, WorkTest, leftovers, stat, wait_until
from lib.engine import EngineTest, Gates, TickingMixin


class WaitTest(EngineTest):
    def test_wait_tells_whether_it_came_to_the_end(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command) as job:
            self.assertIs(job.wait(.05), False)
            self.assertEqual(list(job.running), ['a'])
            gates.open('a', 3)
            self.assertIs(job.wait(), True)
            self.assertIs(job.wait(0), True)
            self.assertEqual(job.results['a'].exitcode, 3)

    def test_wait_for_no_time_is_a_turn(self):
        with self.manager(['exit0-[1-5]'], fanout=1) as job:
            wait_until(lambda: job.wait(0))
            self.assertEqual(len(job.results), 5)

    def test_poll_for_no_time_returns_what_there_is(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command) as job:
            for _ in range(3):
                self.assertEqual(job.poll(0), [])
            gates.open('a')
            self.until_children('Z')
            wait_until(lambda: job.poll(0))
            self.assertEqual(list(job.results), ['a'])

    def test_poll_waits_no_longer_than_asked(self):
        with self.manager(['slow']) as job:
            start = time.monotonic()
            self.assertEqual(job.poll(.1), [])
            self.assertLess(time.monotonic() - start, WAIT_LIMIT)

    def test_poll_with_nothing_to_do_returns_at_once(self):
        job = self.manager([])
        self.assertEqual((job.poll(), job.poll(60)), ([], []))

    def test_results_stand_in_order_of_finishing(self):
        gates = Gates(self.scratch(), *'abc')
        with self.manager(list('abc'), gates.command) as job:
            self.start_all(job, 3)
            for host in 'cab':
                gates.open(host)
                self.assertEqual(self.take(job).host, host)
        self.assertEqual(list(job.results), ['c', 'a', 'b'])

    def test_each_result_comes_as_its_host_finishes(self):
        gates = Gates(self.scratch(), *'abc')
        order = iter('bca')
        with self.manager(list('abc'), gates.command) as job:
            self.start_all(job, 3)
            gates.open(next(order))
            finished = []
            for result in job:
                finished.append(result.host)
                following = next(order, None)
                if following:
                    gates.open(following)
        self.assertEqual(finished, ['b', 'c', 'a'])

    def test_results_are_not_kept_unless_wanted(self):
        with self.manager(['exit0', 'exit7'], keep=False) as job:
            self.assertEqual(len(list(job)), 2)
        self.assertEqual(job.results, {})

    def test_many_that_sleep_cost_nothing(self):
        # An engine that spins would use all of the time it waits.
        with self.manager(['slow[1-20]', 'closer[1-20]'],
                          'exec sleep 60') as job:
            self.start_all(job, 40)
            self.until_settled(40)
            used = time.process_time()
            self.assertIs(job.wait(.5), False)
            self.assertLess(time.process_time() - used, .25)


class TickingWaitTest(TickingMixin, WaitTest):
    pass


# Reported of other tools: processes, descriptors and memory that leak.
class IdleTest(WorkTest):
    def test_hundred_that_sleep_cost_nothing(self):
        # Kernel ticks, so that what the machine does meanwhile is no matter.
        with self.start('-q', '-f100', 'exec sleep 60',
                        'h[1-100]') as command:
            wait_until(lambda: [line for _, line in leftovers()].count(
                'sleep 60') == 100, 30)
            before, end = self.used(command.pid), time.monotonic() + 2.5
            wait_until(lambda: time.monotonic() > end)
            spent = self.used(command.pid) - before
            command.signal(15)
            command.finish().check(143)
        self.assertLess(spent, .1)

    @staticmethod
    def used(pid):
        """The seconds of CPU that *pid* has used so far."""
        fields = stat(pid)[1]
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
