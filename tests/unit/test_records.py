"""Records: old ones and new, cut short, or damaged."""

import binascii
import errno
import os
import pickle
import tempfile
import unittest
from unittest import mock

import classh
from classh import RecordError, Result, load

SAMPLE = Result('web1', 7, 'out \udcff\0\n', 'err', 1500000000.25,
                1500000002.75, 'error', '', False)


class RecordTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name='all'):
        return os.path.join(self.directory, name)

    def write(self, octets):
        with open(self.path(), 'wb') as file:
            file.write(octets)

    def loaded(self, path=None):
        return list(load(path or self.path()))

    def hosts(self):
        return [result.host for result in self.loaded()]


class VersionTest(RecordTest):
    # What is known of a host: nine fields at first, now thirteen.
    OLD = tuple(SAMPLE)[:9]
    FULL = SAMPLE._replace(cause='dropped', ran='no', login=.25, tries=3)

    def record(self, fields):
        octets = pickle.dumps(tuple(fields), 4)
        return classh._record_head(len(octets),
                                   binascii.crc32(octets)) + octets

    def test_all_fields_come_back(self):
        for result in (SAMPLE, self.FULL, self.FULL._replace(login=None)):
            self.write(self.record(result))
            found, = self.loaded()
            self.assertEqual(found, result)
            self.assertIs(type(found), Result)

    def test_record_is_written_as_it_is_read(self):
        self.write(b''.join(classh._encode_record(self.FULL)))
        self.assertEqual(self.loaded(), [self.FULL])
        with open(self.path(), 'rb') as file:   # a reader without classh
            self.assertEqual(pickle.load(file), tuple(self.FULL))

    def test_record_of_nine_fields_says_that_the_others_are_unknown(self):
        for octets in (self.record(self.OLD), pickle.dumps(self.OLD, 4),
                       pickle.dumps(self.OLD, 2)):
            self.write(octets)
            found, = self.loaded()
            self.assertEqual(found, self.OLD + ('', 'unknown', None, 1, ''))

    def test_old_and_new_records_may_stand_in_one_file(self):
        self.write(pickle.dumps(self.OLD, 4) + self.record(self.FULL)
                   + self.record(self.OLD) + pickle.dumps(self.FULL, 4))
        self.assertEqual(self.loaded(),
                         [SAMPLE, self.FULL, SAMPLE, self.FULL])

    def test_cause_of_a_later_version_is_no_error(self):
        later = SAMPLE._replace(cause='of-tomorrow', ran='perhaps')
        self.write(self.record(later))
        self.assertEqual(self.loaded(), [later])

    def test_any_other_number_of_fields_is_refused(self):
        fields = tuple(self.FULL)
        for count in 0, 1, 8, 10, 11, 12:
            self.write(self.record(fields[:count]))
            self.assertRaises(RecordError, self.loaded)
        self.write(self.record(fields + (1,)))
        self.assertRaises(RecordError, self.loaded)

    def test_new_field_of_another_type_is_refused(self):
        for change in ({'cause': None}, {'ran': True}, {'login': '1'},
                       {'tries': 1.0}, {'tries': None}):
            self.write(self.record(self.FULL._replace(**change)))
            self.assertRaises(RecordError, self.loaded)

    def test_pipe_is_an_error_of_the_system(self):
        os.mkfifo(self.path())
        fd = os.open(self.path(), os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.write(fd, self.record(SAMPLE))
        with self.assertRaises(OSError) as caught:
            self.loaded()
        self.assertNotIsInstance(caught.exception, RecordError)


class CutTest(RecordTest):
    def records(self, count, **fields):
        """Write *count* of them to a file; return where each one ends."""
        sink, ends = classh.PickleSink(self.path(), self.fail), []
        sink.open(None)
        for number in range(count):
            sink.finished(SAMPLE._replace(host='web%d' % number, **fields))
            ends.append(os.path.getsize(self.path()))
        sink.close(lambda: 0)
        return ends

    def check(self, ends, lengths):
        """Cut the file to each of *lengths*, the longest first."""
        for length in sorted(set(lengths), reverse=True):
            os.truncate(self.path(), length)
            whole = sum(end <= length for end in ends)
            self.assertEqual(self.hosts(), ['web%d' % number for number
                                            in range(whole)], length)

    def test_record_cut_short_at_any_byte_is_left_out(self):
        ends = self.records(3)
        self.check(ends, range(ends[-1] + 1))

    def test_record_of_an_older_version_cut_short_is_left_out(self):
        octets, ends = b'', []
        for number in range(3):
            octets += pickle.dumps(tuple(
                SAMPLE._replace(host='web%d' % number)), 4)
            ends.append(len(octets))
        self.write(octets)
        self.check(ends, range(ends[-1] + 1))

    def test_flipped_bit_is_an_error_wherever_it_is(self):
        end = self.records(2)[0]
        file = open(self.path(), 'r+b', buffering=0)
        self.addCleanup(file.close)
        for place, byte in enumerate(file.read()):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), place)
                results = []
                with self.assertRaises(RecordError,
                                       msg=(place, bit)) as caught:
                    for result in load(self.path()):
                        results.append(result.host)
                number = 1 + (place >= end)
                self.assertEqual(str(caught.exception), '%s: record %d is '
                                 'damaged' % (self.path(), number))
                self.assertEqual(results, ['web0'][:number - 1])
            os.pwrite(file.fileno(), bytes([byte]), place)

    def test_record_that_there_is_no_memory_for_is_not_left_out(self):
        self.records(2, output='o' * 100000)
        with mock.patch('classh._unpickle', side_effect=MemoryError):
            with self.assertRaises(MemoryError):
                self.loaded()

    def test_file_that_cannot_be_read_to_its_end_is_an_oserror(self):
        error = OSError(errno.EIO, os.strerror(errno.EIO))
        self.records(1)
        for _ in range(2):
            with mock.patch('classh._unpickle', side_effect=error):
                with self.assertRaises(OSError):
                    self.loaded()
            self.write(pickle.dumps(tuple(SAMPLE), 4))

    def test_empty_file_holds_no_results(self):
        self.write(b'')
        self.assertEqual(self.loaded(), [])

    def test_file_that_cannot_be_read_is_an_oserror(self):
        for name, error in (('nosuch', FileNotFoundError),
                            ('.', IsADirectoryError)):
            with self.assertRaises(error):
                self.loaded(self.path(name))
