"""Records as JSON: what is written, and what is read back of it."""

import io
import json
import os
import re
import tempfile
import unittest
from types import SimpleNamespace

import classh
from classh import (Console, HostQueue, RecordError, Records, Result,
                    json_line, load, read_records, result_record)

SAMPLE = Result('web1', 7, 'out\n', 'err', 1500000000.25, 1500000002.75,
                'error', '', False)
# What has broken readers of other tools: each comes back byte for byte.
ODD = (b'', b'\0', b'\r\n', b'\x1b[2J\x7f\x9b', b'\xff', b'\xc3',
       b'\xed\xa0\x80',
       b'"\\/\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xae', b'\xf0\x9f\x98\x80\xc3\xbc',
       bytes(range(256)), b'no end')


def text(octets):
    return octets.decode('utf-8', 'surrogateescape')


class LineTest(unittest.TestCase):
    def test_keys_of_a_result_are_in_the_order_promised(self):
        full = SAMPLE._replace(diagnostics='ssh: no\n', output='\udcff')
        self.assertEqual(list(json.loads(json_line(result_record(full)))), [
            'event', 'host', 'outcome', 'exitcode', 'cause', 'reason', 'ran',
            'started', 'login', 'elapsed', 'tries', 'truncated', 'stdout',
            'stdout_b64', 'stderr', 'diagnostics'])
        self.assertNotIn('diagnostics', json_line(result_record(SAMPLE)))

    def test_line_is_ascii_and_drives_no_terminal(self):
        for octets in ODD:
            line = json_line(result_record(SAMPLE._replace(
                host=text(octets), output=text(octets), reason=text(octets))))
            self.assertRegex(line, r'\A[ -~]+\n\Z')

    def test_each_byte_that_is_no_utf8_is_replaced_and_stands_beside(self):
        record = json.loads(json_line({'event': 'x', 'a': text(b'\xff\xfe'),
                                       'b': text(b'\xc3\xbc')}))
        self.assertEqual(record, {'event': 'x', 'a': '\ufffd\ufffd',
                                  'a_b64': '//4=', 'b': '\xfc'})

    def test_text_that_stands_for_no_bytes_is_no_error(self):
        for odd in '\ud800', '\ud800\udcff', '\udc00':
            line = json_line({'event': 'run', 'command': odd})
            self.assertNotRegex(line, r'\\ud[89a-f]')
            json.loads(line)


class ReadTest(unittest.TestCase):
    LINE = json_line(result_record(SAMPLE))

    def loaded(self, content):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'all')
            with open(path, 'wb') as file:
                file.write(content if isinstance(content, bytes)
                           else content.encode())
            return list(load(path))

    def test_results_come_back_byte_for_byte(self):
        results = [SAMPLE._replace(
                       host='h%d' % number, output=text(octets),
                       errors=text(octets), diagnostics=text(octets))
                   for number, octets in enumerate(ODD)]
        results.append(SAMPLE._replace(
            host='h\udcff', cause='dropped', ran='no', login=.25, tries=3,
            truncated=True, reason='dropped', outcome='ssh', exitcode=255))
        self.assertEqual(self.loaded(''.join(
            json_line(result_record(result)) for result in results)), results)

    def test_records_are_dicts_from_str_and_from_bytes(self):
        for lines in ([self.LINE], [self.LINE.encode()],
                      io.StringIO(self.LINE), self.LINE.splitlines()):
            record, = read_records(lines)
            self.assertEqual((record['event'], record['stdout']),
                             ('result', 'out\n'))

    def test_what_is_not_known_is_passed_over(self):
        self.assertEqual(self.loaded(
            '{"event":"new","a":1}\n' + self.LINE.replace(
                '"cause"', '"new":{},"cause"')), [SAMPLE])

    def test_keys_that_are_missing_and_whole_numbers_are_no_error(self):
        result, = self.loaded(
            '{"event":"result","host":"a","outcome":"ok","exitcode":0,'
            '"reason":"","started":1,"elapsed":2,"truncated":false}\n')
        self.assertEqual(result, Result('a', 0, '', '', 1., 3., 'ok', '',
                                        False))

    def test_record_cut_short_at_the_end_is_left_out(self):
        for end in range(1, len(self.LINE) - 1):
            self.assertEqual(self.loaded(self.LINE + self.LINE[:end]),
                             [SAMPLE], end)
        self.assertEqual(self.loaded(self.LINE[:-1]), [SAMPLE])

    def test_other_lines_are_an_error_that_names_the_place(self):
        for bad in ('{"a', 'x', '[]', '1', '"event"', '{"a":1}', '',
                    '{"event":1}', '[' * 100000, '{"event":"x"} y', '\xff'):
            with self.assertRaisesRegex(RecordError, 'all: not a result: line 2 is'):
                self.loaded(self.LINE + bad + '\n' + self.LINE)
        for old, new in (('"exitcode":7', '"exitcode":"7"'),
                         ('"host":"web1",', ''), ('"elapsed":2.5', '"elapsed":'
                                                  '"x"'),
                         ('"stderr"', '"stdout_b64":"?","stderr"'),
                         ('"stderr"', '"stdout_b64":7,"stderr"'),
                         ('"tries":1', '"tries":null'),
                         ('1500000000.25', '1' + 400 * '0')):
            self.assertIn(old, self.LINE)
            with self.assertRaisesRegex(RecordError, 'all: not a result'):
                self.loaded(self.LINE.replace(old, new))


class ViewTest(unittest.TestCase):
    def test_events_of_a_run(self):
        console = Console(io.StringIO())
        view = Records(console, SimpleNamespace(
            user=None, exec=False, ssh_option=['A=\udcff']))
        manager = SimpleNamespace(command='date', fanout=5, timeout=300.0)
        view.open(manager, HostQueue(['web[1-3]', 'web2']))
        view.started('web1', 1)
        view.started('web1', 2)
        timed_out = SAMPLE._replace(outcome='killed', cause='timeout')
        view.finished(timed_out)
        tally = classh.Tally()
        tally.finished(timed_out)
        view.close()
        view.ended(3, tally, lambda: ['web2', 'web\udcff'])
        lines = console._stream.getvalue().splitlines()
        run, first, second, result, end = read_records(lines)
        self.assertEqual(list(run), [
            'classh', 'event', 'command', 'exec', 'hosts', 'fanout',
            'timeout', 'user', 'options', 'by', 'on', 'time'])
        self.assertEqual((run['classh'], run['hosts'], run['options']),
                         (1, 3, ['A=\ufffd']))
        self.assertIn('"timeout":300,', lines[0])
        self.assertEqual(list(first), ['event', 'host', 'try', 'time'])
        self.assertEqual((first['try'], second['try']), (1, 2))
        elapsed = end.pop('elapsed')
        self.assertEqual(re.sub(r'"elapsed":[0-9.]+', '"elapsed":0', lines[4]),
                         '{"event":"end","status":3,"hosts":3,"ok":0,'
                         '"error":0,"ssh":0,"killed":1,"not_started":2,'
                         '"left":["web2","web\\ufffd"],'
                         '"elapsed":0,"causes":{"timeout":["web1"]}}')
        self.assertGreaterEqual(elapsed, 0)

    def test_hosts_that_cannot_be_counted_are_null(self):
        hosts = HostQueue(['a[1-999999999]'])
        self.assertIsNone(hosts.count())
        self.assertEqual(next(hosts), 'a1')
        hosts = HostQueue(['b', 'a[1-4]', 'b'], exclude='a2')
        self.assertEqual(hosts.count(), 4)
        self.assertEqual(list(hosts), ['b', 'a1', 'a3', 'a4'])


if __name__ == '__main__':
    unittest.main()
