"""The line writer of the sinks, on a pipe, under a manager that a test
plays."""

import errno
import os
import select
import unittest

from classh import Result, _LineWriter


def result(host):
    return Result(host, 0, '', '', 1.0, 2.0, 'ok', '', False)


class ByHand:
    """In the place of a manager: .ready() is called for its loop."""

    def __init__(self, error=None):
        self.watched = {}
        self._error = error

    def watch(self, fd, events, callback):
        if self._error:
            raise self._error
        assert fd not in self.watched
        self.watched[fd] = callback

    def unwatch(self, fd):
        self.watched.pop(fd, None)

    def ready(self):
        for fd, callback in list(self.watched.items()):
            callback(fd, None)


class LineWriterTest(unittest.TestCase):
    def setUp(self):
        self.errors = []
        self.manager = ByHand()
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.addCleanup(self.close)

    def close(self):
        for fd in self.reader, self.writer:
            if fd is not None:
                os.close(fd)

    def lines(self, hosts=(), manager=None):
        lines = _LineWriter(self.errors.append)
        lines.open(manager or self.manager, self.writer)
        for host in hosts:
            lines.add(result(host))
        return lines

    def test_nothing_is_written_before_the_descriptor_is_ready(self):
        lines = self.lines(['a', 'b'])
        self.assertRaises(BlockingIOError, os.read, self.reader, 9)
        self.assertEqual(lines.undelivered(), ['a', 'b'])
        self.manager.ready()
        self.assertEqual(os.read(self.reader, 9), b'a\nb\n')
        self.assertEqual(lines.undelivered(), [])

    def test_manager_waits_only_while_something_is_pending(self):
        lines = self.lines()
        self.assertEqual(self.manager.watched, {})
        for _ in range(2):
            lines.add(result('a'))
            self.assertIn(self.writer, self.manager.watched)
            self.manager.ready()
            self.assertEqual(self.manager.watched, {})

    def test_write_ends_with_a_whole_name(self):
        hosts = ['web%d.example.com' % number for number in range(999)]
        self.lines(hosts)
        self.manager.ready()
        written = os.read(self.reader, 1 << 16)
        self.assertLessEqual(len(written), select.PIPE_BUF)
        self.assertEqual(written[-1:], b'\n')

    def test_full_pipe_is_no_error(self):
        os.write(self.writer, bytes(1 << 20))
        lines = self.lines(['a'])
        self.manager.ready()
        self.assertEqual((lines.undelivered(), self.errors), (['a'], []))

    def test_error_is_told_once_and_nothing_is_written_after_it(self):
        os.close(self.reader)
        self.reader = None
        lines = self.lines(['a'])
        self.manager.ready()
        lines.add(result('b'))
        lines.flush()
        self.assertEqual(list(map(type, self.errors)), [BrokenPipeError])
        self.assertEqual(self.manager.watched, {})
        self.assertEqual(lines.undelivered(), ['a', 'b'])

    def test_no_room_to_watch_the_descriptor_is_an_error(self):
        error = OSError(errno.ENOSPC, 'no room')
        lines = self.lines(['a', 'b'], ByHand(error))
        self.assertEqual((self.errors, lines.undelivered()),
                         ([error], ['a', 'b']))

    def test_what_is_reclaimed_counts_as_not_written(self):
        lines = self.lines(['a', 'b', 'c'])
        self.manager.ready()
        self.assertEqual(os.read(self.reader, 3), b'a\nb')
        lines.reclaim(os.read(self.reader, 9))
        self.assertEqual(lines.undelivered(), ['b', 'c'])

    def test_size_of_a_partial_name(self):
        lines = self.lines(['a', 'web12', 'b'])
        self.assertEqual(lines.partial_size(), 0)
        self.manager.ready()
        for left, size in (b'2\nb\n', 4), (b'web12\nb\n', 0), (b'\nb\n', 5):
            lines.reclaim(left)
            self.assertEqual((lines.undelivered(), lines.partial_size()),
                             (['web12', 'b'], size))
            lines.flush()


if __name__ == '__main__':
    unittest.main()
