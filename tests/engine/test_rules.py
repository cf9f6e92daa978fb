"""Rules of the pace, and the deadline, in a run."""

import errno
import os
import unittest
from unittest import mock

from lib.case import WorkTest
from lib.engine import LONG, READ, Clock, EngineTest
from lib.place import LOGGING_SSH
import classh
from classh import Canary, FailLimit, Ramp


class RetryTest(WorkTest, EngineTest):
    """A host that is tried again is held up by no rule, and counts with its
    last result alone."""

    def setUp(self):
        super().setUp()
        classh._probe_ssh.cache_clear()
        patch = mock.patch('classh.retry_wait', self.soon)
        patch.start()
        self.addCleanup(patch.stop)

    @staticmethod
    def soon(times, result, may_retry):
        return 0 if may_retry and result.tries < 3 else None

    def run_with(self, *pace, hosts='h[1-4]', dropped='h1', fanout=9):
        """(host, outcome, tries) of each, in order; *dropped* is dropped at
        its first two tries.  And the manager."""
        script = (
            'for try in 1 2; do\n'
            '    [ $TARGET != %s ] || mkdir %s/$TARGET.$try 2>/dev/null &&\n'
            '        [ $TARGET = %s ] && fail "Connection closed by ::1 port '
            '22"\ndone\nsession; status 0'
            % (dropped, self.directory, dropped))
        manager = self.manager(hosts, script, ssh=LOGGING_SSH, pace=pace,
                               fanout=fanout)
        manager.wait()
        return [(result.host, result.outcome, result.tries)
                for result in manager.results.values()], manager

    def test_first_host_is_tried_again_before_another_starts(self):
        for rule in Canary(1), Ramp():
            results, manager = self.run_with(rule)
            self.assertEqual(results[0], ('h1', 'ok', 3))
            self.assertEqual(sorted(results[1:]), [
                ('h%d' % number, 'ok', 1) for number in (2, 3, 4)])
            self.assertIsNone(manager.stopped_by)
            for number in 1, 2:
                os.rmdir(self.path('h1.%d' % number))

    def test_it_gets_the_room_that_was_not_there(self):
        def no_room(number):
            if number == 2:         # the second try of h1
                raise OSError(errno.EAGAIN, 'no process more')
        with self.each_start(no_room):
            results, _ = self.run_with(Canary(1), FailLimit(0))
        self.assertEqual(results[0], ('h1', 'ok', 3))
        self.assertEqual(len(results), 4)

    def test_try_that_failed_is_no_failure(self):
        results, manager = self.run_with(FailLimit(0), fanout=1)
        self.assertEqual(len(results), 4)
        self.assertIsNone(manager.stopped_by)


class StopTest(EngineTest):
    def test_no_more_start_than_run_when_the_limit_is_reached(self):
        command = ('case $HOST in h[0-9]) exit 1 ;; esac')
        with self.manager('h[1-99]', command, fanout=4,
                          pace=FailLimit(6)) as job:
            job.wait()
            self.assertLessEqual(len(job.results), 7 + 4)
            self.assertRegex(job.stopped_why, '^7 of ([7-9]|10) failed$')
            self.assertEqual(len(job.results) + len(list(job.not_started())),
                             99)

    def test_what_runs_comes_to_its_end_or_is_ended(self):
        for ends_running, outcome, cause in (
                (False, 'ok', ''), (True, 'killed', 'stopped')):
            read, write = self.pipe()
            with self.manager(
                    'reader1,reader2,exit3,h4', input=read, fanout=3,
                    pace=FailLimit(0, ends_running)) as job:
                self.assertEqual(self.take(job).exitcode, 3)
                os.close(write)
                self.assertEqual(
                    sorted((result.host, result.outcome, result.cause)
                           for result in self.take(job, 2)),
                    [('reader1', outcome, cause), ('reader2', outcome, cause)])
                self.assertTrue(job.done)
                self.assertEqual(list(job.not_started()), ['h4'])

    def test_jobs_that_end_together_are_ended_once(self):
        # Some have ended by themselves when the others are told to.
        read, write = self.pipe()
        with self.manager('h[1-20]', 'cat; exit 3', input=read,
                          pace=FailLimit(0, ends_running=True)) as job:
            self.start_all(job, 20)
            os.close(write)
            job.wait()
            self.assertEqual(len(job.results), 20)
            self.assertLessEqual({result.outcome for result in
                                  job.results.values()}, {'error', 'killed'})

    def test_start_that_fails_ends_what_runs(self):
        def broken(number):
            if number == 2:
                raise OSError(errno.ENOEXEC, 'no program')
        with self.each_start(broken), self.manager(
                'slow1,h2,h3', pace=FailLimit(0, ends_running=True)) as job:
            job.wait()
            self.assertEqual(
                {host: (result.outcome, result.cause)
                 for host, result in job.results.items()},
                {'slow1': ('killed', 'stopped'), 'h2': ('ssh', 'start')})

    def test_stop_leaves_no_word_to_the_rules(self):
        with self.manager('slow[1-3]', pace=FailLimit(0)) as job:
            self.start_all(job, 3)
            job.stop()
            job.wait()
            self.assertIsNone(job.stopped_why)

    def test_more_hosts_may_come_while_the_first_run(self):
        read, write = self.pipe()
        with self.manager('h1', pace=Canary(2)) as job:
            job.watch(read, READ, lambda fd, events: (
                job.unwatch(fd), job.add(['h2', 'exit3', 'h4'])))
            self.assertEqual(self.take(job).host, 'h1')
            os.write(write, b'.')
            self.assertEqual({result.host for result in self.take(job, 3)},
                             {'h2', 'exit3', 'h4'})


class DeadlineTest(EngineTest):
    def test_what_runs_is_ended_and_no_more_starts(self):
        clock = Clock()
        with self.manager('slow[1-3]', fanout=2, timeout=0, deadline=LONG,
                          clock=clock) as job:
            self.start_all(job, 2)
            self.assertIsNone(job.stopped_why)
            clock.advance(LONG)
            self.assertEqual({(result.outcome, result.cause) for result in
                              self.take(job, 2)}, {('killed', 'stopped')})
            self.assertEqual(job.stopped_why, 'not done after 1000 s')
            self.assertIsNone(job.stopped_by)
            self.assertEqual(list(job.not_started()), ['slow3'])

    def test_run_that_is_done_by_then_knows_nothing_of_it(self):
        with self.manager('h[1-3]', deadline=LONG) as job:
            self.assertTrue(job.wait())
            self.assertIsNone(job.stopped_why)

    def test_it_does_not_end_twice_what_stop_has_ended(self):
        clock = Clock()
        with self.manager('h1', "trap '' TERM; echo; sleep 60",
                          deadline=LONG, clock=clock, grace=2 * LONG) as job:
            self.start_all(job, 1)
            self.until_settled()
            job.stop()
            clock.advance(LONG)
            for _ in range(3):
                self.assertEqual(job.poll(0), [])
            self.assertIsNone(job.stopped_why)
            job.stop()
            self.assertEqual(self.take(job).exitcode, -9)

    def test_hosts_that_wait_for_another_try_are_left(self):
        hosts = classh.HostQueue()
        hosts.put_back('late', 1e12)
        with self.manager(hosts, deadline=0) as job:
            job.wait()
            self.assertEqual(list(job.not_started()), ['late'])


if __name__ == '__main__':
    unittest.main()
