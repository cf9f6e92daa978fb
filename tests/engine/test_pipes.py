"""Output: whole, bounded, and not waited for where somebody holds it."""

import contextlib
import errno
import os
import signal
import tempfile
import tracemalloc
from unittest import mock

from lib import MIB, WAIT_LIMIT, kill_leftovers, wait_until
from lib.engine import Clock, EngineTest, EveryModeTest, Gates, TickingMixin


class OutputTest(EngineTest):
    def test_1_mib_on_each_stream_in_either_order(self):
        for host in ('loud', 'outloud'):
            result = self.run_one(host)
            self.assertEqual((result.output, result.errors),
                             ('o' * MIB, 'e' * MIB))

    def test_bytes_on_each_stream_by_turns(self):
        result = self.run_one('mixed')
        self.assertEqual((result.output, result.errors),
                         ('o' * 1000, 'e' * 1000))

    def test_what_is_left_in_a_pipe_at_the_end_is_swept_up(self):
        octets = os.urandom(60000)
        gates = Gates(self.scratch(), 'a')
        with self.file(octets) as path:
            command = 'cat %s; %s' % (path, gates.command)
            with self.manager(['a'], command) as job:
                job.poll(0)
                gates.open('a')
                self.until_children('Z')
                result = self.take(job)
        self.assertEqual(result.output.encode('utf-8', 'surrogateescape'),
                         octets + b'out of a\n')

    @contextlib.contextmanager
    def file(self, octets):
        with tempfile.NamedTemporaryFile() as stream:
            stream.write(octets)
            stream.flush()
            yield stream.name

    def test_every_byte_comes_back(self):
        octets = bytes(range(256)) * 3000 + b'\xe2\x82\xac \xf0\x9f'
        with self.file(octets) as path:
            result = self.run_one('a', 'cat %s; cat %s >&2' % (path, path))
        for stream in (result.output, result.errors):
            self.assertEqual(stream.encode('utf-8', 'surrogateescape'),
                             octets)

    def test_utf_8_is_text(self):
        self.assertEqual(self.run_one('a', 'echo h\u00e4\u20ac').output,
                         'h\u00e4\u20ac\n')

    def test_output_beyond_its_limit_is_read_dropped_and_told(self):
        for size, limit, kept, cut in (
                (999, 1000, 999, False), (1000, 1000, 1000, False),
                (1001, 1000, 1000, True), (MIB, 1, 1, True),
                (9 * MIB, 0, 9 * MIB, False), (MIB, MIB, MIB, False)):
            result = self.run_one('a', 'head -c %d /dev/zero' % size,
                                  max_output=limit)
            self.assertEqual((len(result.output), result.truncated,
                              result.outcome), (kept, cut, 'ok'),
                             (size, limit))

    def test_limit_of_output_is_for_each_stream(self):
        result = self.run_one('a', 'printf 12345; printf 123 >&2',
                              max_output=4)
        self.assertEqual((result.output, result.errors, result.truncated),
                         ('1234', '123', True))
        result = self.run_one('a', 'printf 1234; printf 12345 >&2',
                              max_output=4)
        self.assertEqual((result.output, result.errors, result.truncated),
                         ('1234', '1234', True))

    def test_limit_is_8_mib_unless_told(self):
        result = self.run_one('a', 'head -c %d /dev/zero' % (8 * MIB + 1))
        self.assertEqual((len(result.output), result.truncated),
                         (8 * MIB, True))

    @staticmethod
    def until_full(job):
        """Poll until more has come of the one host than is kept."""
        def is_full():
            assert job.poll(.01) == []
            output = next(iter(job._pool.running.values())).output
            return output.cut or output.error
        wait_until(is_full)

    def test_host_that_prints_for_ever_ends_at_its_limit(self):
        clock = Clock()
        with self.manager(['endless'], timeout=100, max_output=100,
                          clock=clock) as job:
            self.until_full(job)
            clock.advance(100)
            result = self.take(job)
        self.assertEqual((result.outcome, result.truncated, result.output),
                         ('killed', True, 'y\n' * 50))

    def test_host_that_prints_for_ever_does_not_starve_another(self):
        with self.manager(['endless', 'exit7'], fanout=2) as job:
            self.assertEqual(self.take(job).host, 'exit7')
            job.stop()
            self.assertEqual(self.take(job).host, 'endless')

    def test_output_is_let_go_with_its_result(self):
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        peak = 0
        with self.manager(['a[1-100]'], 'head -c 400000 /dev/zero', fanout=2,
                          keep=False) as job:
            for result in job:
                self.assertEqual(len(result.output), 400000)
                del result
                peak = max(peak, tracemalloc.get_traced_memory()[0])
        self.assertLess(peak, 20 * 400000)

    LOST = ('ok', 'output lost: ' + os.strerror(errno.EIO), '', True)

    def lost(self, result):
        return (result.outcome, result.reason, result.output,
                result.truncated)

    def test_output_that_cannot_be_read_back_loses_no_result(self):
        error = OSError(errno.EIO, os.strerror(errno.EIO))
        with mock.patch('os.pread', side_effect=error):
            result = self.run_one('a', 'head -c 600000 /dev/zero')
        self.assertEqual(self.lost(result), self.LOST)

    def test_output_that_is_read_back_in_pieces_loses_no_byte(self):
        pread = os.pread
        octets = bytes(range(251)) * 2400
        with self.file(octets) as path, mock.patch(
                'os.pread', lambda fd, size, at: pread(fd, min(size, 9999),
                                                       at)):
            result = self.run_one('a', 'cat ' + path)
        self.assertEqual(result.output.encode('utf-8', 'surrogateescape'),
                         octets)

    def test_output_is_lost_where_the_file_that_held_it_is_shorter(self):
        pread = os.pread
        with mock.patch('os.pread', lambda fd, size, at: pread(
                fd, size, at)[:300000 - at]):
            result = self.run_one('a', 'head -c 600000 /dev/zero')
        self.assertEqual(self.lost(result), self.LOST)

    def test_pipe_that_cannot_be_read_is_no_end_of_output(self):
        read = os.read

        def broken(fd, size):
            octets = read(fd, size)
            if octets == b'out of a\n':
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return octets
        with mock.patch('os.read', broken):
            result = self.run_one('a', 'echo out of a')
        self.assertEqual(self.lost(result), self.LOST)

    def test_output_that_there_is_no_memory_for_is_lost_not_cut(self):
        class Full(bytearray):
            def __iadd__(self, chunk):
                if len(self) + len(chunk) > 100:
                    raise MemoryError
                return Full(bytes(self) + chunk)
        with mock.patch('classh.bytearray', Full, create=True):
            for host, command, outcome, after in (
                    ('a', 'head -c 200 /dev/zero', 'ok', ''),
                    ('a', 'head -c 200 /dev/zero; exit 7', 'error', ''),
                    ('endless', '', 'killed', ', timed out after 100 s')):
                clock = Clock()
                with self.manager([host], command, timeout=100,
                                  clock=clock) as job:
                    if outcome == 'killed':
                        self.until_full(job)
                        clock.advance(100)
                    result = self.take(job)
                self.assertEqual(
                    self.lost(result),
                    (outcome, 'output lost: out of memory' + after, '', True))
        self.assertEqual(self.run_one('a', 'echo there').output, 'there\n')


class TickingOutputTest(TickingMixin, OutputTest):
    test_output_is_let_go_with_its_result = None


class HeldPipeTest(EngineTest):
    """End of file is not the end of a job, nor the other way round."""

    def tearDown(self):
        kill_leftovers()
        super().tearDown()

    def test_grandchild_that_holds_a_pipe_is_not_waited_for(self):
        for host in ('holder', 'keeper'):
            result = self.run_one(host)
            self.assertEqual((result.outcome, result.output), ('ok', 'out\n'))
            self.assertLess(result.elapsed, WAIT_LIMIT)

    def test_grandchild_that_writes_for_ever_is_not_waited_for(self):
        result = self.run_one('flooder')
        self.assertEqual(result.outcome, 'ok')
        self.assertIn('out\n', result.output)
        self.assertLess(result.elapsed, WAIT_LIMIT)

    def test_grandchild_that_left_the_group_does_not_outlast_the_limit(self):
        clock = Clock()
        with self.manager(['escapee'], timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_settled()
            clock.advance(100)
            result = self.take(job)
        self.assertEqual((result.outcome, result.output, result.exitcode),
                         ('killed', 'out\n', -signal.SIGTERM))
        self.assertLess(result.elapsed, 100 + WAIT_LIMIT)

    def test_sweep_of_a_pipe_that_is_never_empty_has_an_end(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], gates.command) as job:
            job.poll(0)
            gates.open('a')
            self.until_children('Z')
            with mock.patch('os.read', lambda fd, size: b'x' * (size - 1)):
                result = self.take(job)
        self.assertEqual(result.outcome, 'ok')

    def test_exit_notice_that_got_lost_costs_a_second_at_most(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['a'], 'sleep 60 & ' + gates.command) as job:
            job.poll(0)
            # Somebody takes our handler away.
            before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.assertIsNot(before, signal.SIG_DFL)
            gates.open('a')
            result = self.take(job)
        self.assertEqual(result.outcome, 'ok')
        self.assertLess(result.elapsed, WAIT_LIMIT)


class TickingHeldPipeTest(TickingMixin, HeldPipeTest):
    test_exit_notice_that_got_lost_costs_a_second_at_most = None


# Reported of other tools: hangs and late returns.
class HeldPipeInEveryModeTest(EveryModeTest):
    def test_what_a_grandchild_holds_open_is_not_waited_for(self):
        hosts = ['holder', 'keeper']
        with self.manager(hosts) as job:
            for result in job:
                self.assertEqual((result.outcome, result.output),
                                 ('ok', 'out\n'))
                self.assertLess(result.elapsed, WAIT_LIMIT)
        ended = self.in_every_mode(0, 'true', *hosts, maxrc=0)
        self.assertEqual(ended[()].stdout.count('\n  out\n'), 2, ended[()])
        kill_leftovers()

    def test_grandchild_outside_the_group_does_not_outlast_the_limit(self):
        result = self.run_one('escapee', timeout=.3)
        self.assertEqual(result.outcome, 'killed')
        self.assertLess(result.elapsed, WAIT_LIMIT)
        kill_leftovers()


# Reported of other tools: hangs and late returns.
class OutputInEveryModeTest(EveryModeTest):
    def test_1_mib_on_both_streams_in_any_order_and_by_turns(self):
        wanted = {'loud': ('o' * MIB, 'e' * MIB),
                  'outloud': ('o' * MIB, 'e' * MIB),
                  'mixed': ('o' * 1000, 'e' * 1000)}
        with self.manager(list(wanted)) as job:
            for result in job:
                self.assertEqual((result.output, result.errors),
                                 wanted[result.host])
        ended = self.in_every_mode(0, 'true', *wanted, maxrc=0)
        for letter in 'oe':
            lines = ended[()].stdout.splitlines()
            self.assertEqual(lines.count('  ' + letter * MIB), 2)
            self.assertEqual(lines.count('  ' + letter * 1000), 1)

    def test_1_mib_after_sigterm_is_kept_and_ends(self):
        clock = Clock()
        with self.manager(['late'], timeout=100, clock=clock) as job:
            job.poll(0)
            self.until_settled()
            clock.advance(100)
            result = self.take(job)
        self.assertEqual((result.outcome, result.output),
                         ('killed', 'l' * MIB))
