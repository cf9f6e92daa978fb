"""--json: a record of each event of a run, on stdout or in a file."""

import json
import os
import signal
import sys
import unittest

from lib import (FAKE_SSH, WorkTest, classh_argv, measured, run, text, until,
                 wait_until)
from lib.accounts import installed, not_run
import classh

# What has broken readers of other tools.
ODD = (b'', b'\0', b'\r\n', b'\x1b[2J\x7f\x9b', b'\xff', b'\xc3',
       b'\xed\xa0\x80', b'"\\/\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xae',
       b'\xf0\x9f\x98\x80\xc3\xbc', bytes(range(256)), b'no end')
# Command that has to be there: a program that prints, for each record on its
# stdin, the event and how many characters stdout has, where there is one.
READERS = {
    'python3': [sys.executable, '-c', """if True:
        import json, sys
        for line in sys.stdin:
            record = json.loads(line)
            print(record['event'], len(record.get('stdout', '')))"""],
    'jq': ['jq', '-r', '"\\(.event) \\(.stdout // "" | length)"'],
    # It comes with JSON::PP.
    'json_pp': ['perl', '-MJSON::PP', '-ne', """
        my $record = decode_json($_);
        print $record->{event}, " ", length($record->{stdout} // ""), "\n";
        """],
    # Its strings are in UTF-16.
    'node': ['node', '-e', """
        require("fs").readFileSync(0, "utf8").trim().split("\\n").forEach(
            line => {
                const record = JSON.parse(line);
                console.log(record.event, [...record.stdout || ""].length);
            });"""]}


class JsonTest(WorkTest):
    @staticmethod
    def records(lines):
        return [json.loads(line) for line in lines.splitlines()]

    def events(self, lines):
        return [record['event'] for record in self.records(lines)]

    def results(self, lines):
        """The results among *lines*: a dict of host: record."""
        return {record['host']: record for record in self.records(lines)
                if record['event'] == 'result'}

    def test_every_host_is_there_once_and_the_end_has_the_exit_status(self):
        said = self.classh('--json', '-u4', '-f4', 'echo $HOST; exit 0',
                           'web[1-2]', 'fail7', 'unreach', 'slow', 'binary')
        said.check(3, None, None)
        run_record, *others, end = self.records(said.stdout)
        self.assertEqual((run_record['hosts'], run_record['fanout'],
                          run_record['timeout']), (6, 4, 4))
        results = self.results(said.stdout)
        self.assertEqual(len(results), 6)
        self.assertEqual(len(others), 12, said)
        self.assertEqual(results['fail7']['stderr'], 'err of fail7\n')
        self.assertEqual(results['binary']['stdout_b64'], '//4A6Q==')
        self.assertEqual(results['unreach']['cause'], 'refused')
        del end['elapsed']
        self.assertEqual(end, {
            'event': 'end', 'status': 3, 'hosts': 6, 'ok': 3, 'error': 1,
            'ssh': 1, 'killed': 1, 'not_started': 0, 'left': [],
            'causes': {'refused': ['unreach'], 'timeout': ['slow']}})
        self.assertIn('1 of 6 exited with 7: fail7\n', said.stderr)

    def test_other_programs_read_the_same_of_it(self):
        for number, octets in enumerate(ODD):
            self.write('h%d' % number, octets)
        said = self.classh('--json', '-f1', 'cat $HOST; exit ${HOST#h}',
                           *('h%d' % number for number in range(len(ODD))))
        wanted = ''.join('%s %d\n' % (
            record['event'], len(record.get('stdout', '')))
            for record in self.records(said.check(5, None, None).stdout))
        self.assertEqual(wanted.count('result'), len(ODD))
        for command, argv in READERS.items():
            if installed(command):
                read = run(argv, stdin=said.stdout.encode())
                self.assertEqual(read.check(0, None).stdout, wanted, command)
            else:
                not_run('--json read by ' + argv[0], 'not installed')

    def test_summary_is_silenced_by_q(self):
        self.classh('--json', '-q', 'exit 3', 'a').check(5, None, '')

    def test_records_in_a_file_stand_beside_any_view(self):
        for args, shown in (((), 'a   0 '), (('-q',), ''),
                            (('--progress',), ''), (('-P',), 'a: x\n'),
                            (('-S', '-'), 'a\n')):
            said = self.classh('--json=all', *args, 'echo x', 'a').check(
                0, None, None)
            self.assertEqual(said.stdout[:len(shown)], shown, said)
            self.assertEqual(bool(said.stdout), bool(shown), said)
            self.assertEqual(self.events(self.read('all')),
                             ['run', 'start', 'result', 'end'])
            result, = classh.load(self.path('all'))
            self.assertEqual((result.host, result.output), ('a', 'x\n'))

    def test_tilde_that_the_shell_has_left_alone_is_the_home(self):
        self.classh('-q', '--json=~/all', 'true', 'a',
                    env={'HOME': self.directory}).check()
        self.assertEqual(os.listdir(self.directory), ['all'])

    def test_each_record_is_there_as_soon_as_it_is_known(self):
        with self.start('--json', '[ $HOST = a ] || ' + until('go'), 'a',
                        'b') as command:
            wait_until(lambda: self.results(command.stdout))
            self.write('go')
            command.finish().check(0, None)

    def test_interrupted_run_tells_who_was_not_started(self):
        with self.start('--json=all', '-q', '-f1', 'true', 'exit0', 'slow',
                        'never[1-5]') as command:
            wait_until(lambda: self.read('all').count('"start"') == 2)
            command.signal(signal.SIGINT)
            command.finish().check(130, '', '')
        end = self.records(self.read('all'))[-1]
        self.assertEqual((end['status'], end['hosts'], end['not_started']),
                         (130, 7, 5))
        self.assertEqual(end['left'], ['never%d' % n for n in range(1, 6)])

    def test_host_that_waits_for_another_try_has_its_last_result(self):
        with self.start('--json', '--retries', '9', '-f1', 'true', 'unreach',
                        'slow', 'never') as command:
            wait_until(lambda: '"host":"slow"' in command.stdout)
            command.signal(signal.SIGINT)
            said = command.finish().check(130, None, None)
        result = self.results(said.stdout)['unreach']
        self.assertEqual((result['outcome'], result['cause'], result['ran']),
                         ('ssh', 'refused', 'no'))
        end = self.records(said.stdout)[-1]
        self.assertEqual((end['ssh'], end['not_started']), (1, 1))
        self.assertIn('connection refused: unreach\n', said.stderr)
        self.assertIn('\n1 of 3 not started: never\n', said.stderr)

    def test_hosts_from_stdin_are_not_counted_in_advance(self):
        said = self.classh('--json', 'true', '-', stdin=b'a\nb\n').check(
            0, None)
        first, *_, end = self.records(said.stdout)
        self.assertEqual((first['hosts'], end['hosts']), (None, 2))

    def test_each_try_has_its_start_and_the_host_one_result(self):
        self.program('once', 'if [ -e tried ]; then echo up; exit; fi\n'
                     'touch tried; echo "kex_exchange_identification: '
                     'read: Connection reset by peer" >&2; exit 255')
        said = self.classh('--json', '--ssh', './once', '--retries', '1',
                           'true', 'a')
        tries = [record['try'] for record in self.records(said.stdout)
                 if record['event'] == 'start']
        result = self.results(said.stdout)['a']
        self.assertEqual(tries, list(range(1, result['tries'] + 1)), said)

    def test_command_and_names_may_hold_any_bytes(self):
        said = self.classh('--json', text(b'printf "\xff\xc3\xbc"'),
                           text(b'h\xff')).check(0, None)
        first, start, result, _ = self.records(said.stdout)
        self.assertEqual(first['command'], 'printf "\ufffd\xfc"')
        self.assertEqual(start['host_b64'], 'aP8=')
        self.assertEqual(result['stdout'], '\ufffd\xfc')

    def test_full_disk_leaves_whole_records(self):
        for args, stream in (((), {'before': 'exec >all; ulimit -f 3'}),
                             (('-f1',), {'before': 'exec >>all; '
                                                   'ulimit -f 3'})):
            self.write('all')
            said = self.classh('--json', *args, 'head -c 3000 /dev/zero',
                               'a', **stream)
            said.check(1, '', 'classh: stdout: File too large\n')
            self.assertEqual(self.events(self.read('all')),
                             ['run', 'start'])

    def test_full_disk_costs_the_file_what_does_not_fit(self):
        said = self.classh('-q', '--json=all', '-f1', '[ $HOST = c ] || '
                           'head -c 3000 /dev/zero', 'a', 'b', 'c',
                           before='ulimit -f 3')
        said.check(1, '', None)
        self.assertEqual(said.stderr.splitlines()[-1],
                         'classh: 2 records not delivered to all: a,b')
        self.assertEqual(list(self.results(self.read('all'))), ['c'])
        end = self.records(self.read('all'))[-1]
        self.assertEqual((end['event'], end['status']), ('end', 1))

    def test_record_of_no_host_does_not_look_like_a_host(self):
        self.classh('-q', '--json=/dev/full', 'true', 'a', 'b').check(
            1, '', 'classh: /dev/full: No space left on device\n'
            'classh: 5 records not delivered to /dev/full: a,b\n')

    def test_reader_who_leaves_ends_the_run(self):
        said = run(['sh', '-c', '{ "$@"; echo $? >status; } | head -n1', '-']
                   + classh_argv('--ssh', FAKE_SSH, '--json', 'true', 'a',
                                 'slow'), cwd=self.directory)
        self.assertEqual(self.events(said.stdout), ['run'])
        self.assertEqual(self.read('status'), '141\n')

    def test_cut_output_makes_the_status_1(self):
        for args in ('--json',), ('-q', '--json=all'):
            said = self.classh(*args, '--max-output', '5', 'echo 123456', 'a')
            said.check(1, None, None)
            self.assertIn('1 of 1 printed more than 5 bytes and was cut',
                          said.stderr)

    def test_loud_hosts_take_little_memory(self):
        argv = classh_argv('--ssh', FAKE_SSH, '-f2', '--json=all',
                           'head -c 4000000 /dev/zero', 'h[1-10]')
        run(measured(argv + ['-q'], 'peak'), cwd=self.directory).check()
        self.assertEqual(len(self.results(self.read('all'))), 10)
        self.assertLess(int(self.read('peak')), 220 << 10)

    def test_no_place_for_the_records_is_a_usage_error(self):
        os.mkfifo(self.path('fifo'))
        for args, said in (
                (('--json', '-S', '-'), '-S - and --json both write to '
                 'stdout; name a file: --json=FILE'),
                (('--json', '-E', '-'), '-E - and --json both'),
                (('--json=',), '--json= needs a file'),
                (('--json=no/such',), 'cannot use no/such: there is no no'),
                (('--json=fifo',), 'cannot use fifo: the FIFO has no reader'),
                (('--json=x', '-S', './x'), 'x: names, --json, --pickle and '
                 '--journal need'),
                (('--json=x', '--pickle', 'x'), 'x: names, --json, --pickl')):
            ended = self.classh(*args, 'touch ran', 'a').check(2, '', None)
            self.assertIn('classh: ' + said, ended.stderr)
        self.assertEqual(os.listdir(self.directory), ['fifo'])
        self.classh('--json', '--shell', 'a').check(2, '', None)
        self.classh('--json', '--list', 'a').check(2, '', None)


if __name__ == '__main__':
    unittest.main()
