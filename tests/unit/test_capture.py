"""What is kept of a stream: the limit, the spool, what is lost."""

import errno
import os
import random
import unittest
from unittest import mock

from classh import SPOOL_SIZE, _Capture, _Spool


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class CaptureTest(unittest.TestCase):
    def setUp(self):
        self.spool = _Spool()
        self.addCleanup(self.spool.close)

    def capture(self, room=1 << 30):
        return _Capture(room, self.spool)

    def test_what_was_added_is_taken_as_text(self):
        capture = self.capture()
        for chunk in b'a', b'', b'b\xc3', b'\xbc\xff\0':
            capture.add(chunk)
        self.assertEqual(capture.take(), 'ab\xfc\udcff\0')
        self.assertFalse(capture.cut)

    def test_limit_may_fall_at_any_place_of_a_chunk(self):
        for room in range(8):
            for size in 1, 2, 3, 7:
                capture = self.capture(room)
                for at in range(0, 7, size):
                    capture.add(b'abcdefg'[at:at + size])
                self.assertEqual((capture.cut, capture.take()),
                                 (room < 7, 'abcdefg'[:room]))

    def test_all_bytes_come_back_through_the_spool(self):
        dice = random.Random(1)
        octets = bytes(range(256)) * (3 * SPOOL_SIZE // 256) + b'rest'
        for size in 1 << 16, 99991, SPOOL_SIZE, SPOOL_SIZE + 1:
            capture, at = self.capture(), 0
            while at < len(octets):
                step = dice.choice((size, size // 2))
                capture.add(octets[at:at + step])
                at += step
            self.assertEqual(
                capture.take().encode('utf-8', 'surrogateescape'), octets)

    def test_two_streams_share_a_spool_and_its_blocks_are_used_again(self):
        block = b'x' * SPOOL_SIZE
        for _ in range(5):
            streams = [self.capture() for _ in range(2)]
            for number in range(4):
                streams[number % 2].add(block.replace(b'x', b'%d' % number))
            self.assertEqual([stream.take()[::SPOOL_SIZE]
                              for stream in streams], ['02', '13'])
        self.assertEqual(self.spool._end, 4 * SPOOL_SIZE)

    def test_disk_that_is_full_leaves_all_in_memory(self):
        octets = b'0123' * (SPOOL_SIZE // 2)
        for writes in range(3):
            pwrite, left = os.pwrite, [True] * writes

            def some(fd, block, place):
                return (pwrite if left and left.pop() else full)(
                    fd, block, place)
            capture = self.capture()
            with mock.patch('os.pwrite', some):
                for at in range(0, len(octets), 1 << 16):
                    capture.add(octets[at:at + (1 << 16)])
            self.assertEqual(capture.take(), octets.decode())
            self.assertIsNone(capture.error)

    def test_block_written_in_part_is_no_block(self):
        capture = self.capture()
        with mock.patch('os.pwrite', lambda fd, block, place: 99):
            capture.add(b'x' * SPOOL_SIZE)
        self.assertEqual(capture.take(), 'x' * SPOOL_SIZE)
        self.assertIsNone(capture.error)

    def test_what_was_lost_is_lost_for_good_and_gives_its_blocks_back(self):
        capture = self.capture()
        capture.add(b'x' * SPOOL_SIZE)
        capture.lose(MemoryError())
        capture.add(b'more')
        self.assertEqual(capture.take(), '')
        self.assertIsInstance(capture.error, MemoryError)
        other = self.capture()
        other.add(b'y' * SPOOL_SIZE)
        self.assertEqual(other.take(), 'y' * SPOOL_SIZE)
        self.assertEqual(self.spool._end, SPOOL_SIZE)

    def test_block_that_cannot_be_read_back_loses_the_stream(self):
        for pread in (full, lambda fd, size, place: b''):
            capture = self.capture()
            capture.add(b'x' * SPOOL_SIZE + b'rest')
            with mock.patch('os.pread', pread):
                self.assertEqual(capture.take(), '')
            self.assertIsInstance(capture.error, OSError)

    def test_spool_that_was_closed_begins_anew(self):
        for _ in range(2):
            capture = self.capture()
            capture.add(b'x' * SPOOL_SIZE)
            self.assertEqual(capture.take(), 'x' * SPOOL_SIZE)
            self.spool.close()
            self.spool.close()

    def test_tee_gets_the_bytes_as_they_come_beyond_the_limit_too(self):
        capture, teed = self.capture(3), []
        capture.tee = teed.append
        for chunk in b'ab', b'', b'cd', b'e':
            capture.add(chunk)
        capture.lose(MemoryError())
        capture.add(b'f')
        self.assertEqual(teed, [b'ab', b'cd', b'e', b'f'])

    def test_short_streams_need_no_file(self):
        with mock.patch('tempfile.TemporaryFile', side_effect=full):
            capture = self.capture()
            capture.add(b'x' * (SPOOL_SIZE - 1))
            self.assertEqual(len(capture.take()), SPOOL_SIZE - 1)


if __name__ == '__main__':
    unittest.main()
