"""--pickle writes all results as they come; load() reads them and trusts
nothing."""

import collections
import glob
import hashlib
import os
import pickle
import signal
import struct
import subprocess
import sys

from lib import (CLASSH, FAKE_SSH, MODULE, WorkTest, fake_argv, kill_leftovers,
                 measured, run, until, wait_until)
import classh
from classh import RecordError, Result, load

SAMPLE = Result('web1', 7, 'out \udcff\0\n', 'err', 1500000000.25,
                1500000002.75, 'error', '', False)


class PickleTest(WorkTest):
    def loaded(self, name='all'):
        return list(load(self.path(name)))

    def hosts(self, name='all'):
        return [result.host for result in self.loaded(name)]


# -- Written -----------------------------------------------------------------

class WriteTest(PickleTest):
    def test_results_come_back_as_they_were(self):
        self.classh('-q', '-u', '4', '--max-output', '30', '--pickle', 'all',
                    'echo "$TARGET on $PORT"', 'bob@web1:22', 'fail7', 'slow',
                    'binary', 'signal9', 'unreach', 'reader').check(
            1, '', 'classh: 1 of 7 printed more than 30 bytes and was cut '
            '(--max-output): unreach\n')
        found = {result.host: result for result in self.loaded()}
        for host, (exitcode, output, errors, outcome, reason, cut) in {
                'bob@web1:22': (0, 'bob@web1 on 22\n', '', 'ok', '', False),
                'fail7': (7, 'out of fail7\n', 'err of fail7\n', 'error', '',
                          False),
                'slow': (-15, '', '', 'killed', 'timed out after 4 s',
                         False),
                'binary': (0, '\udcff\udcfe\0\udce9', '', 'ok', '', False),
                'signal9': (-9, '', '', 'killed', 'ended by SIGKILL', False),
                'unreach': (255, '', 'ssh: connect to host unreach p', 'ssh',
                            'ssh failed', True),
                'reader': (0, '', '', 'ok', '', False)}.items():
            result = found.pop(host)
            self.assertIs(type(result), Result)
            self.assertLessEqual(result.started, result.stopped)
            self.assertEqual(result[:9], (
                host, exitcode, output, errors, result.started,
                result.stopped, outcome, reason, cut))
        self.assertEqual(found, {})

    def test_no_option_changes_what_is_written(self):
        for args in ['--progress'], ['-S', '-'], ['-E', 'bad/'], ['-q']:
            self.classh('--pickle', 'all', 'echo $HOST', 'a', 'fail7',
                        *args).check(5, None, None)
            self.assertEqual({(result.host, result.output)
                              for result in self.loaded()},
                             {('a', 'a\n'), ('fail7', 'out of fail7\n')})

    def test_result_can_be_loaded_while_the_run_goes_on(self):
        with self.start('-q', '--pickle', 'all', '[ $HOST = a ] || '
                        + until('go'), 'a', 'b') as command:
            wait_until(lambda: os.path.exists(self.path('all'))
                       and self.hosts() == ['a'])
            self.write('go')
            command.finish().check()
        self.assertEqual(self.hosts(), ['a', 'b'])

    def test_run_that_is_killed_leaves_what_it_had(self):
        with self.start('--pickle', 'all', 'true', 'a', 'b',
                        'hang') as command:
            wait_until(lambda: command.stdout.count('   0   (') == 2)
            command.signal(signal.SIGTERM)
            wait_until(lambda: len(self.hosts()) == 2)
            command.signal(signal.SIGKILL)
            command.finish().check(-9, None, None)
        self.assertEqual(sorted(self.hosts()), ['a', 'b'])
        kill_leftovers()                # nobody was there to end hang's

    def test_file_of_an_earlier_run_is_replaced(self):
        for hosts in ['a', 'b', 'c'], ['d']:
            self.classh('-q', '--pickle', 'all', 'true', *hosts).check()
            self.assertEqual(sorted(self.hosts()), hosts)

    def test_record_is_written_whole_or_not_at_all(self):
        # Three records fit, the fourth does not, nor the fifth; the small
        # one at the end does.
        ended = self.classh(
            '-f1', '--pickle', 'all',
            '[ $HOST = small ] || head -c 3000 /dev/zero', 'h[1-5]', 'small',
            '-q', before='ulimit -f 20').check(1, '', None)
        self.assertEqual(self.hosts(), ['h1', 'h2', 'h3', 'small'])
        self.assertRegex(ended.stderr, r'\Aclassh: all: .*File too large\n'
                         r'classh: 2 not delivered to all: h\[4-5]\n\Z')

    def test_full_disk_costs_a_warning_and_the_run_goes_on(self):
        os.symlink('/dev/full', self.path('full'))
        ended = self.classh('-S', 'good', '--pickle', 'full', 'true', 'a',
                            'b').check(1, None, None)
        self.assertEqual(sorted(self.lines('good')), ['a', 'b'])
        self.assertRegex(ended.stderr,
                         r'\Aclassh: full: .*No space left on device\n'
                         r'classh: 2 not delivered to full: a,b\n\Z')

    def test_pipe_is_refused(self):
        # Who reads it slowly would hold up the run.
        os.mkfifo(self.path('fifo'))
        reader = os.open(self.path('fifo'), os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.classh('-S', './made', '--pickle', 'fifo', 'touch ran',
                    'a').check(2, '', 'classh: cannot use fifo: it is a '
                               'pipe\n')
        self.assertEqual(os.listdir(self.directory), ['fifo'])

    def test_loud_hosts_take_no_memory_written_or_loaded(self):
        log = b'all is well on this host \xff\n' * 200000
        self.write('log', log)
        script = """if 1:
            import sys; sys.path.insert(0, %r)
            import classh, hashlib
            for result in classh.load('all'):
                octets = result.output.encode('utf-8', 'surrogateescape')
                print(hashlib.md5(octets).hexdigest())
            """ % MODULE
        argv = fake_argv('-q', '--pickle', 'all', 'cat log', 'h[1-24]')
        run(measured(argv, 'peak'), cwd=self.directory).check()
        self.assertGreater(os.path.getsize(self.path('all')), 120 << 20)
        self.assertLess(int(self.read('peak')), 120 << 10)
        run(measured([sys.executable, '-c', script], 'peak'),
            cwd=self.directory).check(
                stdout=24 * (hashlib.md5(log).hexdigest() + '\n'))
        self.assertLess(int(self.read('peak')), 100 << 10)

    def test_file_that_another_run_writes_to_is_refused(self):
        command = 'touch up; [ $HOST = a ] || ' + until('go')
        with self.start('-q', '--pickle', 'all', command, 'a', 'b') as first:
            wait_until(lambda: os.path.exists(self.path('up')))
            os.symlink('all', self.path('link'))
            for name in './all', 'link':
                self.classh('-S', 'good', '-E', '|touch ran', '--pickle', name,
                            'touch ran', 'c').check(
                    2, '', 'classh: cannot use %s: another run writes to it; '
                    'name another file\n' % name)
            self.write('go')
            first.finish().check()
        self.assertEqual(sorted(self.hosts()), ['a', 'b'])
        self.assertEqual(sorted(os.listdir(self.directory)),
                         ['all', 'go', 'link', 'up'])
        self.classh('-q', '--pickle', 'all', 'true', 'c').check()
        self.assertEqual(self.hosts(), ['c'])

    def test_one_of_two_runs_that_begin_together_gets_the_file(self):
        # Neither finds it there when it looks at its targets.
        sinks = [classh.PickleSink(self.path('all'), self.fail)
                 for _ in range(2)]
        sinks[0].open(None)
        sinks[0].finished(SAMPLE)
        with self.assertRaisesRegex(classh.TargetError, 'another run'):
            sinks[1].open(None)
        for sink in sinks:
            sink.close(lambda: 0)
        self.assertEqual(self.loaded(), [SAMPLE])

    def test_device_is_for_more_than_one(self):
        sinks = [classh.PickleSink('/dev/null', self.fail) for _ in range(2)]
        for sink in sinks:
            sink.open(None)
            sink.finished(SAMPLE)
            sink.close(lambda: 0)

    def test_record_needs_no_class_of_ours(self):
        self.classh('-q', '--pickle', 'all', 'echo $HOST', 'a').check()
        run([sys.executable, '-I', '-c', 'import pickle\n'
             'print(pickle.load(open("all", "rb"))[:4])'],
            cwd=self.directory).check(stdout="('a', 0, 'a\\n', '')\n")


class VersionTest(PickleTest):
    def others(self):
        """The oldest and the newest Python that can be found, and this."""
        paths = [os.path.join(directory, 'python3.%d' % minor)
                 for directory in os.environ['PATH'].split(os.pathsep)
                 for minor in range(6, 30)]
        paths += glob.glob(os.path.expanduser('~/.pyenv/versions/*/bin/'
                                              'python3'))
        found = {sys.version_info[:2]: sys.executable}
        for path in filter(os.path.exists, paths):
            said = run([path, '-c', 'import sys; print(*sys.version_info[:2])'
                        ]).stdout.split()
            if len(said) == 2 and tuple(map(int, said)) >= (3, 6):
                found.setdefault(tuple(map(int, said)), path)
        return [found[version] for version in sorted(found)]

    def test_each_version_reads_what_another_wrote(self):
        pythons = self.others()
        if len(pythons) == 1:
            self.skipTest('only one Python here')
        chosen = {pythons[0], pythons[-1], sys.executable}
        show = ('import sys; sys.path.insert(0, %r); import classh\n'
                'for result in classh.load("all"): print(ascii(tuple(result)))'
                % MODULE)
        for writer in chosen:
            run([writer, CLASSH, '--ssh', FAKE_SSH, '-q', '--pickle', 'all',
                 'echo $TARGET', 'b\xfccher', 'binary', 'fail7'],
                cwd=self.directory).check(5)
            said = {run([reader, '-c', show],
                        cwd=self.directory).check(stdout=None).stdout
                    for reader in chosen}
            self.assertEqual(len(said), 1, said)
            self.assertEqual(said.pop().count('\n'), 3)

    def test_result_pickled_by_hand_can_be_loaded_too(self):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            octets = pickle.dumps(SAMPLE, protocol)
            self.assertEqual(pickle.loads(octets), SAMPLE)
            self.write('all', octets + octets)
            self.assertEqual(self.loaded(), [SAMPLE, SAMPLE])
        # Made by classh.py run as a program.
        octets = pickle.dumps(SAMPLE, 2).replace(b'cclassh\n', b'c__main__\n')
        self.write('all', octets)
        self.assertEqual(self.loaded(), [SAMPLE])
        self.assertIs(type(self.loaded()[0]), Result)


# -- Read --------------------------------------------------------------------

class Evil:
    """Calls *function* with *args* where it is loaded without care."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def text(word):
    """The opcodes that put the str *word* on the stack."""
    return b'X' + struct.pack('<I', len(word)) + word.encode()


def found(module, name):
    """The opcodes that put module.name there; *name* may have dots."""
    return text(module) + text(name) + b'\x93'


class HostileTest(PickleTest):
    def setUp(self):
        super().setUp()
        pickle.dumps(SAMPLE, 2)         # copyreg notes its __slotnames__
        self.before = dict(vars(Result))
        self.mark = self.path('ran')

    def refused(self, octets, why='', whole=True):
        """It is an error, alone, first, or last, and nothing has run.

        One that is not *whole*, which cannot be unpickled, may pass for a
        record cut short where it is the last.
        """
        good = pickle.dumps(tuple(SAMPLE), 4)
        for before, after in ((b'', b''), (good, b''), (b'', good),
                              (good, good)):
            self.write('all', before + octets + after)
            results = []
            try:
                for result in load(self.path('all')):
                    results.append(result)
            except RecordError as error:
                self.assertRegex(str(error), 'all: ' + why)
            else:
                self.assertFalse(whole or after,
                                 ('loaded', octets[:200], results))
            self.assertEqual(results, [SAMPLE] if before else [])
            self.untouched()

    def untouched(self):
        self.assertFalse(os.path.exists(self.mark))
        self.assertEqual(dict(vars(Result)), self.before)
        self.assertEqual(Result(*SAMPLE), SAMPLE)
        self.assertEqual(SAMPLE.elapsed, 2.5)

    def test_function_is_not_called(self):
        touch = 'touch ' + self.mark
        opened = 'open(%r, "w")' % self.mark
        for evil in (Evil(os.system, touch), Evil(eval, opened),
                     Evil(exec, opened), Evil(open, self.mark, 'w'),
                     Evil(subprocess.Popen, touch, 0, None, None, None, None,
                          None, True, True),
                     Evil(classh.main, ['-S', self.mark, 'x', 'a']),
                     Evil(classh.ProgramSink, touch, None),
                     Evil(map, eval, [opened]),
                     Evil(collections.OrderedDict)):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                self.refused(pickle.dumps(evil, protocol))

    def test_function_hidden_in_a_field_or_a_subclass_is_not_called(self):
        evil = Evil(os.system, 'touch ' + self.mark)
        for value in ((evil,) + SAMPLE[1:], SAMPLE[:8] + (evil,), [evil],
                      {'host': evil}, {evil: 1}, (evil, evil)):
            self.refused(pickle.dumps(value, 4))
        self.refused(pickle.dumps(SAMPLE._replace(output=evil), 4))

    def test_nothing_is_reached_through_this_module(self):
        touch = text('touch ' + self.mark) + b'\x85R.'
        for module, name in (
                ('classh', 'os.system'), ('classh', 'subprocess.call'),
                ('classh', 'Result.__class__'), ('classh', 'Result._make'),
                ('classh', 'Result.__init__.__globals__'), ('classh', 'main'),
                ('classh', 'SSHJobMan'), ('classh', 'ProgramSink'),
                ('__main__', 'os.system'), ('__main__', 'Result.elapsed'),
                ('support', 'run'), ('os', 'system'), ('posix', 'system'),
                ('builtins', 'Result'), ('', 'Result'), ('classh', '')):
            self.refused(b'\x80\x04' + found(module, name) + touch)
            self.refused(b'\x80\x04' + found(module, name) + b'.')
            if module and name:
                self.refused(b'\x80\x03c%s\n%s\n' % (
                    module.encode(), name.encode()) + touch)

    def test_class_cannot_be_meddled_with(self):
        cls = found('classh', 'Result')
        fields = pickle.dumps(tuple(SAMPLE), 2)[2:-1]
        words = {name: text('x') for name in (
            'elapsed', 'host', '__doc__', '__len__', '__iter__', '__repr__',
            '__eq__', '__getitem__', '__getattribute__', '__instancecheck__',
            '__bool__', '__hash__', '__init__', '__new__', '_make', '_fields')}
        words.update({'__new__': cls, '__iter__': cls, '__len__': cls,
                      '__class__': cls, '__slots__': b')'})
        for name in words:
            # BUILD takes a dict, or a pair whose second is for setattr().
            for state in (b'}(%s%sub', b'N}(%s%su\x86b'):
                meddled = b'\x80\x04' + cls + state % (
                    text(name), words[name])
                self.refused(meddled + b'.', whole=False)
                # Meddle with it, then use it; or drop it, then be good.
                for rest in (fields + b'\x81.', fields + b'R.', b')\x81.',
                             text('x') + b'\x85\x81.', b'0' + fields + b'.'):
                    self.write('all', meddled + rest)
                    try:
                        for result in load(self.path('all')):
                            self.assertEqual(result, SAMPLE)
                            self.assertIs(type(result), Result)
                    except RecordError:
                        pass
                    self.untouched()

    def test_one_of_ours_with_other_fields_is_refused(self):
        for fields in ((), ('web1',), tuple(SAMPLE)[:8], tuple(SAMPLE) + (1,),
                       (1,) + SAMPLE[1:], (None,) + SAMPLE[1:],
                       (b'web1',) + SAMPLE[1:],
                       ('web1', 'seven') + SAMPLE[2:],
                       ('web1', 7.0) + SAMPLE[2:],
                       ('web1', 7, b'bytes') + SAMPLE[3:],
                       SAMPLE[:4] + (None, None) + SAMPLE[6:],
                       SAMPLE[:8] + (0,), SAMPLE[:8] + ('no',),
                       (['web1'],) + SAMPLE[1:]):
            self.refused(pickle.dumps(fields, 4), 'not a result')
            self.refused(b'\x80\x02cclassh\nResult\n'
                         + pickle.dumps(fields, 2)[2:-1] + b'\x81.',
                         whole=False)

    def test_other_values_are_refused(self):
        for value in (None, 1, 'text', b'bytes', [], {}, (), list(SAMPLE),
                      dict(SAMPLE._asdict()),
                      [tuple(SAMPLE)], (tuple(SAMPLE),), True, 1.5,
                      [1, 2, 3], {'a': 'b'}):
            self.refused(pickle.dumps(value, 4), 'not a result')

    def test_what_is_no_pickle_is_refused(self):
        for octets in (b'not a pickle\n', b'web1\nweb2\n', b'\0' * 100,
                       b'\x1f\x8b\x08\0\0\0\0\0', b'.', b'\n', b'#!/bin/sh\n',
                       b'\xef\xbb\xbfweb1\n', b'{"host": "web1"}'):
            self.refused(octets, 'not a result')

    def test_error_holds_nothing_that_drives_a_terminal(self):
        for name in '\x1b[2J', '\x9b2J', '\u202e', 'x' * 10000:
            octets = name.encode()
            for body in (b'\x80\x04c' + octets + b'\nx\n.',
                         b'\x80\x04cclassh\n' + octets + b'\n.',
                         b'\x80\x04' + text(name) * 2 + b'\x93.',
                         b'\x80\x04I' + octets + b'\n.', octets):
                self.write('all', body)
                with self.assertRaises(RecordError) as caught:
                    list(load(self.path('all')))
                self.assertTrue(str(caught.exception).isprintable(),
                                ascii(str(caught.exception)))
                self.assertLess(len(str(caught.exception)), 300)

    def test_odd_opcodes_are_refused(self):
        deep = 100000
        for body in (b'N' + b'\x85' * deep + b'.',
                     b'(' * deep + b't' * deep + b'.',
                     b']' * deep + b'a' * (deep - 1) + b'.', b']q\0h\0a.',
                     b')q\0.'):
            self.refused(b'\x80\x04' + body, 'not a result')
        for body in (b'\x82\x01.', b'\x84\x01\0\0\0.',      # extensions
                     text('x') + b'Q.', b'Px\n.',           # persistent ids
                     b'(' * deep + b't' * (deep + 1) + b'.', b'\x80\xff.',
                     b'0.', b'\x94.', b'h\x07.', b'I1\n\x93.',
                     b'oooo.', b'R.',
                     found('classh', 'Result') + b')R.',
                     found('classh', 'Result') + b'}\x92.',
                     found('classh', 'Result') + b')}\x92.'):
            self.refused(b'\x80\x04' + body, whole=False)

    def test_any_damage_gives_results_or_the_one_error(self):
        # In a process with little memory: a length may be huge now.
        script = """if 1:
            import random, sys
            sys.path.insert(0, %r)
            import classh
            with open('all', 'rb') as file:
                good = file.read()
            random.seed(1)
            for turn in range(1000):
                octets = bytearray(good)
                for _ in range(random.choice((1, 1, 2, 5))):
                    octets[random.randrange(len(good))] = random.randrange(256)
                if turn %% 3 == 0:
                    del octets[random.randrange(len(good)):]
                with open('damaged', 'wb') as file:
                    file.write(octets)
                try:
                    for result in classh.load('damaged'):
                        assert type(result) is classh.Result
                except classh.RecordError:
                    pass
            """ % MODULE
        self.write('all', b''.join(
            pickle.dumps(value, 4) for value in (
                tuple(SAMPLE), SAMPLE, tuple(SAMPLE._replace(host='web2')))))
        run([sys.executable, '-c', script], cwd=self.directory,
            before='ulimit -v 1000000').check()
