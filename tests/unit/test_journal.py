"""Journals: what the records say of each host, and what is refused."""

import errno
import json
import os
import random
import tempfile
import unittest
from unittest import mock

import classh
from classh import HostQueue, Journal, Result, SSHJobMan, TargetError

RUN = {'classh': 1, 'event': 'run', 'command': 'true', 'patterns': 'a b[1-2]',
       'words': "--fanout=2 --ssh='ssh -4'", 'unlisted': False}


def start(host):
    return {'event': 'start', 'host': host, 'try': 1}


def result(host, outcome='ok', ran='yes', exitcode=0):
    return {'event': 'result', 'host': host, 'outcome': outcome, 'ran': ran,
            'exitcode': exitcode}


class JournalTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, 'j')

    def write(self, *records, end=b''):
        with open(self.path, 'wb') as file:
            for record in records:
                file.write(json.dumps(record).encode() + b'\n'
                           if isinstance(record, dict) else record)
            file.write(end)

    def read(self):
        with open(self.path, 'rb') as file:
            return file.read()

    def resumed(self):
        journal = Journal(self.path, resume=True)
        self.addCleanup(journal.close)
        return journal

    def assertRefused(self, problem, resume=True):
        before = self.read()
        with self.assertRaises(TargetError) as caught:
            Journal(self.path, resume)
        self.assertIn(problem, str(caught.exception))
        self.assertEqual(self.read(), before)


class StateTest(JournalTest):
    def test_last_record_of_a_host_is_its_state(self):
        self.write(
            RUN, start('ok'), result('ok'),
            start('failed'), result('failed', 'error', exitcode=7),
            start('killed'), result('killed', 'killed', exitcode=255),
            start('unreached'), result('unreached', 'ssh', 'no', 255),
            start('unknown'), result('unknown', 'ssh', 'unknown', 255),
            start('begun'),
            start('again'), result('again', 'ssh', 'no', 255), start('again'),
            RUN, start('later'), result('later', 'ssh', 'no', 255),
            {'event': 'end', 'status': 4}, {'event': 'news', 'host': 'ok'},
            RUN, start('later'), result('later'))
        journal = self.resumed()
        self.assertEqual(
            {host: journal.ending(host).state for host in (
                'ok', 'failed', 'killed', 'unreached', 'unknown', 'begun',
                'again', 'later')},
            {'ok': 'ok', 'failed': 'failed', 'killed': 'failed',
             'unreached': 'unreached', 'unknown': 'lost', 'begun': 'lost',
             'again': 'lost', 'later': 'ok'})
        self.assertEqual(journal.tried, 8)
        self.assertIsNone(journal.ending('new'))
        self.assertEqual([journal.ending('failed')[1:],
                          journal.ending('begun')[1:]],
                         [('error', 7), ('killed', 255)])

    def test_nothing_is_done_twice_unless_one_says_so(self):
        self.write(RUN, start('lost'), start('ok'), result('ok'),
                   start('failed'), result('failed', 'error', exitcode=1),
                   start('unreached'), result('unreached', 'ssh', 'no'))
        journal = self.resumed()
        hosts = ['lost', 'ok', 'failed', 'unreached', 'new']
        for again, run in (((), ['unreached', 'new']),
                           (['failed'], ['failed', 'unreached', 'new']),
                           (['lost', 'ok'], ['lost', 'ok', 'unreached',
                                             'new'])):
            queue = HostQueue(
                hosts, skip=lambda host: journal.is_done(host, again))
            self.assertEqual(list(queue), run)

    def test_names_that_are_no_utf8_are_not_confused(self):
        self.write(RUN)
        with self.resumed() as journal:
            journal.open('true', 1, 0)
            for host in 'h\udcff', 'h\ufffd', 'h\udcfe':
                journal.started(host, 1)
                if host != 'h\ufffd':
                    journal.finished(Result(
                        host, 3, 'said', '', 1., 2., 'error', '', False,
                        ran='no' if host == 'h\udcfe' else 'yes'))
        journal = self.resumed()
        self.assertEqual([journal.ending(host).state for host in (
            'h\udcff', 'h\ufffd', 'h\udcfe')], ['failed', 'lost', 'unreached'])
        self.assertNotIn(b'said', self.read())

    def test_options_and_patterns_come_back(self):
        self.write(RUN, dict(RUN, patterns='b[1-2] c', words='-x',
                             unlisted=True))
        journal = self.resumed()
        self.assertEqual(journal.patterns, ['a', 'b[1-2]', 'c'])
        self.assertEqual(journal.words, ['-x'])
        self.assertTrue(journal.unlisted)
        journal.close()
        self.write(RUN)
        journal = self.resumed()
        self.assertEqual(journal.words, ['--fanout=2', '--ssh=ssh -4'])
        self.assertFalse(journal.unlisted)


class FileTest(JournalTest):
    def test_torn_last_record_is_dropped_and_cut_off(self):
        for end in (b'{"event":"start","host":"b"}', b'{"ev', b'\0\0\0'):
            self.write(RUN, start('a'), end=end)
            whole = self.read()[:-len(end)]
            with self.resumed() as journal:
                self.assertTrue(journal.cut_short)
                self.assertIsNone(journal.ending('b'))
                journal.open('true', 1, 0)
                self.assertEqual(self.read(), whole)

    def test_what_is_no_journal_is_refused(self):
        for records, problem in (
                ([b''], 'it holds no run'), ([b'{"cl'], 'it holds no run'),
                ([b'text\n'], 'it is no journal'),
                ([b'[]\n'], 'it is no journal'),
                ([{'classh': 1, 'event': 'run', 'command': 'x'}],
                 'it is no journal'),
                ([start('a')], 'it is no journal'),
                ([dict(RUN, words="'")], 'it is no journal'),
                ([dict(RUN, classh=2)], 'a newer classh'),
                ([RUN, start('a'), b'garbage\n', result('a')],
                 "line 3 is no record: 'garbage"),
                ([RUN, b'\0\n', start('a')], 'line 2 is no record'),
                ([RUN, result('a', 'good')], 'line 2 is no record of a j'),
                ([RUN, result('a', ran='perhaps')], 'line 2 is no record of'),
                ([RUN, start(7)], 'line 2 is no record of'),
                ([RUN, start('\ud800')], 'line 2 is no record of'),
                ([RUN, {'event': 'start'}], 'line 2 is no record of')):
            self.write(*records)
            self.assertRefused(problem)

    def test_damaged_file_is_refused_or_read(self):
        self.write(RUN, start('a'), result('a'), start('b\xff'),
                   dict(result('b'), host_b64='Yv8='))
        good = self.read()
        for seed in range(300):
            dice = random.Random(seed)
            octets = bytearray(good)
            for _ in range(dice.randint(1, 3)):
                place = dice.randrange(len(octets))
                octets[place:place + dice.choice([0, 1, 9])] = dice.choice([
                    b'', b'{}', b'null', b'-1', b'"', b'\n', b'\xff'])
            self.write(bytes(octets))
            try:
                with Journal(self.path, resume=True) as journal:
                    self.assertEqual(journal.runs[0]['event'], 'run', seed)
                    journal.is_done('a'), journal.patterns, journal.words
            except TargetError:
                pass

    def test_new_journal_needs_an_empty_file(self):
        self.write(RUN)
        self.assertRefused('it holds a run; go on with --resume %s, or name '
                           'another file' % self.path, resume=False)
        for other in b'notes', b'{"classh":1,"event":"run","hosts":1}\n':
            self.write(other)
            self.assertRefused('it is not empty; name another', resume=False)
        # A crash may have left no more than that of the first record.
        self.write(b'{"classh":1,"ev')
        with Journal(self.path) as journal:
            journal.open('true', 1, 0)
            self.assertEqual(self.read(), b'')

    def test_two_runs_cannot_use_it_at_once(self):
        self.write(RUN)
        self.resumed()
        with mock.patch('classh.LOCK_TIMEOUT', 0):
            self.assertRefused('another run writes to it')
            self.assertRefused('another run writes to it', resume=False)

    def test_what_others_may_write_is_not_obeyed(self):
        self.write(RUN)
        os.chmod(self.path, 0o646)
        self.assertRefused('anybody may write to it')
        self.assertRefused('anybody may write to it', resume=False)
        os.chmod(self.path, 0o644)
        with mock.patch('os.geteuid', lambda: os.getuid() + 1), \
                mock.patch('os.stat', lambda path: os.stat_result(
                    (0o100644, 0, 0, 1, 12345, 0, 0, 0, 0, 0))):
            self.assertRefused('it belongs to somebody else')

    def test_new_journal_can_be_resumed_whatever_the_umask(self):
        self.addCleanup(os.umask, os.umask(0))
        with Journal(self.path) as journal:
            journal.open('true', 1, 0)
            journal.started('a', 1)
        self.assertEqual(self.resumed().ending('a').state, 'lost')

    def test_run_that_starts_nothing_leaves_nothing(self):
        with Journal(self.path) as journal:
            journal.open('true', 1, 0)
            journal.ended({'event': 'end'})
        self.assertEqual(self.read(), b'')

    def test_another_command_is_refused(self):
        self.write(RUN)
        journal = self.resumed()
        with self.assertRaisesRegex(TargetError, "another command, 'true'"):
            journal.open('false', 1, 0)

    def test_full_disk_is_told_once_and_names_the_hosts(self):
        told = []
        with Journal(self.path, complain=told.append) as journal:
            journal.open('true', 1, 0)
            journal.started('a', 1)
            with mock.patch('os.write', side_effect=OSError(28, 'full')):
                journal.finished(Result('a', 0, '', '', 1., 2., 'ok', '',
                                        False))
                journal.started('b', 1)
                journal.started('c', 1)
            journal.started('c', 2)
            self.assertEqual(journal.missing, ['a', 'b'])
        self.assertEqual(told, ['%s: full; the run goes on' % self.path])
        journal = self.resumed()
        self.assertEqual([journal.ending(host).state for host in 'ac'],
                         ['lost', 'lost'])
        self.assertIsNone(journal.ending('b'))


class ManagerTest(JournalTest):
    """What SSHJobMan writes where no process is started."""

    def events(self, *hosts):
        with Journal(self.path) as journal:
            with SSHJobMan(hosts, 'true', ssh=self.path + '-none', timeout=7,
                           fanout=3, journal=journal) as manager:
                manager.wait(10)
        with open(self.path) as file:
            return list(classh.read_records(file))

    def test_start_that_fails_has_its_result(self):
        run, *others = self.events('a', 'b')
        self.assertEqual((run['command'], run['fanout'], run['timeout'],
                          run['unlisted']), ('true', 3, 7, True))
        self.assertEqual([(record['event'], record['host'], record.get('ran'))
                          for record in others],
                         [('start', 'a', None), ('result', 'a', 'no'),
                          ('start', 'b', None), ('result', 'b', 'no')])

    def test_start_that_has_no_room_has_its_result(self):
        with mock.patch('classh._Launcher.start', side_effect=[
                BlockingIOError(errno.EAGAIN, 'full')] + 9 * [
                    FileNotFoundError(errno.ENOENT, 'none')]):
            _, *others = self.events('a')
        self.assertEqual([record['event'] for record in others],
                         ['start', 'result', 'start', 'result'])
        self.assertEqual([record['ran'] for record in others[1::2]],
                         ['no', 'no'])

    def test_start_that_a_handler_breaks_off_has_its_result(self):
        with mock.patch('classh._Launcher.start', side_effect=OSError('late')):
            with self.assertRaises(OSError):
                self.events('a')
        self.assertEqual([json.loads(line)['event'] for line
                          in self.read().splitlines()],
                         ['run', 'start', 'result'])


if __name__ == '__main__':
    unittest.main()
