"""Descriptors that are watched in the engine's loop."""

import contextlib
import fcntl
import os
import socket
import tempfile

from lib import children, wait_until
from lib.engine import READ, WRITE, EngineTest, Gates, TickingMixin


class WatchTest(EngineTest):
    def test_hosts_may_arrive_on_a_pipe(self):
        reader, writer = self.pipe(b'exit0 exit1 ')
        job = self.manager([])

        def arrive(fd, events):
            self.assertEqual((fd, events), (reader, READ))
            names = os.read(fd, 1000).decode().split()
            if names:
                job.add(names)
            else:
                job.unwatch(fd)
        with job:
            job.watch(reader, READ, arrive)
            self.assertEqual({result.host for result in self.take(job, 2)},
                             {'exit0', 'exit1'})
            self.assertIs(job.wait(.05), False)
            os.write(writer, b'exit1 exit2')
            self.assertEqual(self.take(job).host, 'exit2')
            os.close(writer)
            self.assertIs(job.wait(), True)

    def test_socket(self):
        here, there = socket.socketpair()
        received = []

        def receive(fileobj, events):
            received.append(fileobj.recv(100))
            if not received[-1]:
                job.unwatch(fileobj)
        with here, there, self.manager(['exit0']) as job:
            job.watch(here, READ, receive)
            there.sendall(b'word')
            there.shutdown(socket.SHUT_WR)
            self.assertTrue(job.wait())
        self.assertEqual(b''.join(received), b'word')
        self.assertEqual(len(job.results), 1)

    def test_regular_file_is_always_ready(self):
        lines = []

        def read(stream, events):
            self.assertEqual(events, READ)
            lines.append(stream.readline())
            if not lines[-1]:
                job.unwatch(stream)
        with tempfile.TemporaryFile('w+') as stream:
            stream.write('1\n2\n')
            stream.seek(0)
            with self.manager(['exit0']) as job:
                job.watch(stream, READ, read)
                self.assertTrue(job.wait())
        self.assertEqual(lines, ['1\n', '2\n', ''])
        self.assertEqual(len(job.results), 1)

    def test_descriptor_of_a_regular_file(self):
        with tempfile.TemporaryFile() as stream:
            fd = fcntl.fcntl(stream.fileno(), fcntl.F_DUPFD, 300)
            self.addCleanup(os.close, fd)
            with self.manager([]) as job:
                job.watch(fd, READ, self.fail)
                job.unwatch(int(str(fd)))       # equal, but not the same
                self.assertTrue(job.wait())

    def test_pipe_that_nobody_reads_stops_nothing(self):
        reader, writer = self.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b'x' * 4096)
        with self.manager(['exit0-[1-5]'], fanout=1) as job:
            job.watch(writer, WRITE, self.fail)
            self.assertEqual(len(self.take(job, 5)), 5)
            job.unwatch(writer)
            self.assertTrue(job.wait())

    def test_pipe_that_is_read_can_be_written_to(self):
        reader, writer = self.pipe()
        ready = []
        with self.manager(['slow']) as job:
            job.watch(writer, WRITE, lambda *ready_now: ready.append(
                ready_now) or job.unwatch(writer))
            wait_until(lambda: job.poll(.1) or ready)
        self.assertEqual(ready, [(writer, WRITE)])

    def test_watching_again_changes_what_is_called_and_when(self):
        reader, writer = self.pipe(b'x')
        with self.manager(['exit0']) as job:
            job.watch(reader, READ, self.fail)
            job.watch(reader, READ, lambda fd, events: job.unwatch(fd))
            self.assertTrue(job.wait())
            here, there = socket.socketpair()
            with here, there:
                job.watch(here, READ, self.fail)
                job.watch(here, WRITE, lambda fd, events: job.unwatch(fd))
                self.assertTrue(job.wait())

    def test_what_is_unwatched_by_a_callback_is_not_called_any_more(self):
        ends = [self.pipe(b'x')[0] for _ in range(3)]
        called = []

        def only_me(fd, events):
            called.append(fd)
            for end in ends:
                job.unwatch(end)
            return True             # which nobody asked for, and means nothing
        with self.manager([]) as job:
            for end in ends:
                job.watch(end, READ, only_me)
            self.assertTrue(job.wait())
        self.assertEqual(len(called), 1)

    def test_unwatching_what_is_not_watched_is_nothing(self):
        with self.manager([]) as job:
            job.unwatch(0)

    def test_what_is_watched_keeps_the_loop_going_until_it_is_not(self):
        reader, writer = self.pipe()
        with self.manager(['exit0']) as job:
            job.watch(reader, READ, self.fail)
            self.assertEqual(self.take(job).host, 'exit0')
            self.assertIs(job.done, False)
            self.assertIs(job.wait(.05), False)
            job.unwatch(reader)
            self.assertIs(job.done, True)
            self.assertIs(job.wait(), True)

    def test_stop_from_a_callback(self):
        # Whatever is ready in the same turn, and in whatever order.
        for names in ('a', 'abcde'):
            reader, writer = self.pipe(b'x')
            gates = Gates(self.scratch(), *names)
            with self.manager(['slow'] + list(names), gates.command) as job:
                self.start_all(job, 1 + len(names))
                job.watch(reader, READ, lambda fd, events: (
                    job.stop(), job.unwatch(fd)))
                gates.open_all(7)
                self.until_dead(len(names))
                outcomes = {result.host: result.outcome for result in job}
            self.assertEqual(outcomes.pop('slow'), 'killed')
            self.assertEqual(list(outcomes.values()), ['error'] * len(names))

    @staticmethod
    def until_dead(count):
        wait_until(lambda: [state for _, state, _ in children()].count('Z')
                   == count)

    def test_close_from_a_callback(self):
        reader, writer = self.pipe(b'x')
        gates = Gates(self.scratch(), 'a')
        job = self.manager(['a', 'slow'], gates.command)
        self.start_all(job, 2)
        job.watch(reader, READ, lambda fd, events: job.close())
        gates.open('a')
        self.until_dead(1)
        self.assertEqual({(result.host, result.outcome) for result in job},
                         {('a', 'ok'), ('slow', 'killed')})

    def test_exception_of_a_callback_loses_nothing(self):
        reader, writer = self.pipe(b'xxxxx')

        def fail(fd, events):
            if not os.read(fd, 1).strip(b'.'):
                job.unwatch(fd)
            raise ZeroDivisionError
        results, raised = [], 0
        with self.manager(['fail7-[1-30]'], fanout=4) as job:
            job.watch(reader, READ, fail)
            while not job.done:
                try:
                    results += job.poll()
                except ZeroDivisionError:
                    raised += 1
                    if raised == 5:
                        os.write(writer, b'.')
        self.assertEqual((len(results), raised), (30, 6))
        self.assertEqual({result.output for result in results},
                         {'out of %s\n' % result.host for result in results})

    def test_callback_that_always_raises_does_not_keep_close_from_it(self):
        reader, writer = self.pipe(b'x')

        def fail(fd, events):
            raise ZeroDivisionError
        job = self.manager(['slow[1-3]'])
        job.poll(0)
        job.watch(reader, READ, fail)
        with contextlib.suppress(ZeroDivisionError):
            job.close()
        self.assertEqual(children(), [])

    def test_another_manager_may_run_within_a_callback(self):
        reader, writer = self.pipe(b'x')

        def nest(fd, events):
            job.unwatch(fd)
            self.assertEqual(self.run_one('exit7').exitcode, 7)
        with self.manager(['exit0', 'exit1']) as job:
            job.watch(reader, READ, nest)
            self.assertEqual(len(self.take(job, 2)), 2)


class TickingWatchTest(TickingMixin, WatchTest):
    pass
