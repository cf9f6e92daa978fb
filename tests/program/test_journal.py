"""--journal and --resume: nothing runs twice, and no host is forgotten."""

import json
import os
import random
import signal
import unittest

from lib import WorkTest, locales, text, wait_until
from lib.kills import KilledRun
import classh

NOTE = 'echo $HOST >>ran; [ -e $HOST ] && exit 3; true'


class JournalTest(WorkTest):
    def records(self, name='j'):
        return [json.loads(line) for line in self.lines(name)]

    def ran(self):
        """The hosts that have run since the last call, sorted."""
        found = sorted(self.lines('ran'))
        self.write('ran')
        return found


class GoingOnTest(JournalTest):
    def test_interrupted_run_goes_on_with_the_rest(self):
        command = '[ $HOST = slow1 ] && exec sleep 60; ' + NOTE
        with self.start('--journal', 'j', '-f1', '-O', 'User=a', '-x', 'b2',
                        command, 'a', 'unreach', 'fail2', 'slow1',
                        'b[1-3]') as run:
            wait_until(lambda: '"slow1"' in self.read('j'))
            run.signal(signal.SIGINT)
            said = run.finish().check(130, None, None)
        self.assertTrue(said.stderr.endswith(
            '2 of 6 not started: b[1,3]\ngo on with: classh --resume j\n'),
            said)
        self.assertEqual(self.ran(), ['a'])
        # What runs again: the hosts not reached and not started.
        said = self.classh('--resume', 'j', '-q', '-O', 'User=b')
        said.check(3, '', '1 failed, not run again (--again failed): fail2\n'
                   '1 lost, not run again (--again lost): slow1\n')
        self.assertEqual(self.ran(), ['b1', 'b3'])
        run = [record for record in self.records()
               if record['event'] == 'run'][-1]
        # Of two options with one key ssh takes the first.
        self.assertEqual(run['options'], ['User=b', 'User=a'])
        # Only then those of which one says so.
        said = self.classh('--resume', 'j', '-b', '--again', 'failed', command,
                           'b4', 'fail2', 'slow1')
        said.check(3, None, None)
        self.assertIn('\n4 of the hosts in j not among these, 1 of these '
                      'new\n', said.stderr, said)
        self.assertIn('fail2   2   1 host', said.stdout, said)
        self.assertEqual(self.ran(), ['b4'])
        self.classh('--resume', 'j', '--again', 'lost,ok', '-u4',
                    '-q').check(3, '', None)
        self.assertEqual(self.ran(), ['a', 'b1', 'b3', 'b4'])

    def test_quiet_run_that_is_interrupted_says_how_to_go_on(self):
        with self.start('--journal', 'j', '-q', '-f1', 'exec sleep 60', 'a',
                        'b') as run:
            wait_until(lambda: '"a"' in self.read('j'))
            run.signal(signal.SIGINT)
            run.finish().check(130, '', 'go on with: classh --resume j\n')

    def test_what_again_has_run_is_not_what_to_go_on_with(self):
        self.classh('--journal', 'j', '-q', 'true', 'exit1', 'exit2',
                    'h').check(5, '', '')
        said = self.classh('--resume', 'j', '-q', '-f1', '-k', '--again',
                           'failed').check(6, '', None)
        self.assertTrue(said.stderr.endswith('not started: exit2\n'), said)
        self.write('j')
        self.classh('--journal', 'j', '-q', '-f1', '-k', 'true', 'exit1',
                    'h').check(6, '', None)
        said = self.classh('--resume', 'j', '--again', 'failed')
        said.check(6, '', None)
        self.assertTrue(said.stderr.endswith(
            '1 of 2 not started: h\ngo on with: classh --resume j\n'), said)

    def test_when_nothing_is_left_it_says_so_and_starts_nothing(self):
        self.write('b')
        self.classh('--journal', 'j', '-q', NOTE, 'a').check(0, '', '')
        self.classh('--resume', 'j', '-A', '-J', 'gate').check(
            0, '', 'nothing left to run in j: 1 ok\n')
        self.classh('--resume', 'j', NOTE, 'a', 'b').check(5, '', None)
        self.assertEqual(self.ran(), ['a', 'b'])
        for args, status in ((), 5), (('--maxrc',), 3):
            self.classh('--resume', 'j', *args).check(
                status, '', 'nothing left to run in j: 1 failed, 1 ok\n'
                '1 failed, not run again (--again failed): b\n')
        self.assertEqual((self.ran(), len(self.lines('j'))), ([], 8))

    def test_record_is_in_the_file_before_ssh_starts(self):
        said = self.classh('--journal', 'j', '-P',
                           'grep -c "start.*$HOST.,.try.:1" j', 'a', 'b')
        said.check(0, None)
        self.assertEqual(sorted(said.stdout.splitlines()), ['a: 1', 'b: 1'])

    def test_each_try_has_its_start_and_its_result(self):
        self.program('once', 'case " $* " in *" -G "*) exit 255; esac\n'
                     'if [ -e tried ]; then exit; fi; touch tried\n'
                     'echo "ssh: connect to host a port 22: Connection '
                     'refused" >&2; exit 255')
        self.classh('--journal', 'j', '-q', '--ssh', './once', '--retries',
                    '1', 'true', 'a').check(0)
        self.assertEqual([(record['event'], record.get('try'),
                           record.get('ran')) for record in self.records()],
                         [('run', None, None), ('start', 1, None),
                          ('result', None, 'no'), ('start', 2, None),
                          ('result', None, 'yes'), ('end', None, None)])
        self.assertNotIn('stdout', self.read('j'))

    def test_input_has_to_come_again(self):
        self.assertIn('\ngo on with: classh --resume j <FILE\n', self.classh(
            '--journal', 'j', '-f1', '-k', '-I', 'exit 3', 'a', 'b',
            stdin=b'x').check(6, None, None).stderr)

    def test_hosts_of_stdin_have_to_come_again(self):
        def run(*args):
            return self.classh(*args, stdin=b'a\nfail2\nb\n')
        said = run('--journal', 'j', '-f1', '-k', NOTE, '-').check(
            6, None, None)
        self.assertIn("\ngo on with: classh --resume j '%s' -\n" % NOTE,
                      said.stderr, said)
        self.assertEqual(self.ran(), ['a'])
        run('--resume', 'j').check(
            2, '', 'classh: j does not hold all its hosts, which came from '
            "stdin; type them: classh --resume j '%s' -\n" % NOTE)
        run('--resume', 'j', '-q', NOTE, '-').check(
            5, '', '1 failed, not run again (--again failed): fail2\n')
        self.assertEqual(self.ran(), ['b'])

    def test_what_the_run_before_has_written_stays(self):
        options = ['--json=all', '--pickle', 'p', '-S', 'good', '-b']
        self.write('b')
        self.classh('--journal', 'j', '-k', '-f1', *options, NOTE, 'a', 'b',
                    'c').check(6, None, None)
        with open(self.path('p'), 'ab') as file:
            file.write(b'\x80\x04')             # cut short
        self.write('all', self.read('all') + '{"event"')
        self.classh('--resume', 'j', '-q').check(5, '', None)
        for name in 'all', 'p':
            self.assertEqual([result.host for result in classh.load(
                self.path(name))], ['a', 'b', 'c'], name)
        self.assertEqual(self.lines('good'), ['a', 'c'])

    def test_command_and_names_may_hold_any_bytes(self):
        command = text(b'echo $HOST >>ran # \xff "\ntrue')
        hosts = [text(name) for name in (b'h\xff', b'h\xfe', b'h\xc3\xbf',
                                         b'exit3-\xe9')]
        self.classh('--journal', 'j', '-q', command, *hosts[:2],
                    hosts[3]).check(5)
        self.classh('--resume', 'j', '-q', command, *hosts).check(5, '', None)
        self.assertEqual(sorted(self.lines('ran')), sorted(hosts[:3]))
        # In another locale the same bytes are the same hosts.
        for number, env in enumerate(locales(self.directory)):
            self.classh('--resume', 'j', command, *hosts, env=env).check(
                5, '', None)
            journal = 'j%d' % number
            self.classh('--journal', journal, '-q', command + 'x', hosts[0],
                        hosts[2], env=env).check(5, '', '')
            self.classh('--resume', journal, env=env).check(5, '', None)
        self.assertEqual(len(self.lines('ran')), 3 + 2 * (number + 1))

    def test_patterns_of_files_are_in_the_journal(self):
        self.write('hosts', 'a[1-2]\nb')
        self.write('not', 'a2')
        self.classh('--journal', 'j', '-q', '-x', './not', '-k', '-f1',
                    'exit 1', './hosts').check(
            6, '', 'classh: stopped: 1 of 1 failed (-k)\n1 of 2 not started: '
            'b\ngo on with: classh --resume j\n')
        for name in 'hosts', 'not':
            os.remove(self.path(name))
        self.classh('--resume', 'j', '-q').check(
            5, '', '1 failed, not run again (--again failed): a1\n')
        self.assertEqual([record['host'] for record in self.records()
                          if record['event'] == 'start'], ['a1', 'b'])

    def test_going_on_may_exclude_hosts(self):
        self.classh('--journal', 'j', '-q', '-k', '-f1', 'exit 1', 'a', 'b',
                    'c').check(6, '', None)
        self.classh('--resume', 'j', '-q', '--max-fail=9', '-x', 'b').check(
            5, '', None)
        self.assertEqual([record['host'] for record in self.records()
                          if record['event'] == 'start'], ['a', 'c'])


class FaultTest(JournalTest):
    def test_going_on_with_some_alone_forgets_no_other(self):
        self.classh('--journal', 'j', '-q', '--only', 'a[1-3],exit1', '-f1',
                    '--max-fail', '0', NOTE, 'exit1', 'a[1-4]').check(
                        6, '', None)
        self.classh('--resume', 'j', '-q', '--only', 'exit1,a2', '--again',
                    'failed', '--max-fail', '1').check(5, '', '')
        self.assertEqual(self.ran(), ['a2'])
        self.classh('--resume', 'j', '-q').check(
            5, '', '1 failed, not run again (--again failed): exit1\n')
        self.assertEqual(self.ran(), ['a1', 'a3'])

    def test_bad_input_starts_nothing(self):
        self.classh('--journal', 'j', '-q', 'true', 'a').check(0)
        os.mkfifo(self.path('fifo'))
        self.write('text', 'text\n')
        before = self.read('j')
        run = 'touch ran', 'a'
        for args, said in (
                (('--journal', 'j', *run), 'cannot use j: it holds a run; go '
                 'on with --resume j, or name another file'),
                (('--journal', 'text', *run), 'cannot use text: it is not '),
                (('--journal', 'fifo', *run), 'cannot use fifo: a journal is'),
                (('--journal', '.', *run), 'cannot use .: a journal is a reg'),
                (('--journal', '/dev/null', *run), 'cannot use /dev/null: a'),
                (('--journal', 'no/j', *run), 'cannot use no/j: there is no'),
                (('--journal=', *run), '--journal needs a file'),
                (('--journal', 'k', '--json=k', *run), 'k: names, --json, '),
                (('--journal', 'k', '-S', './k', *run), 'k: names, --json, '),
                (('--journal', 'k', '--resume', 'j', *run), '--journal begin'),
                (('--journal', 'k', '--list', 'a'), '--journal goes without'),
                (('--resume', 'j', '--shell', 'a'), '--resume goes without'),
                (('--resume', 'j', *run), 'cannot use j: it is the journal of '
                 "another command, 'true'"),
                (('--resume', 'j', '--again', 'all'), "--again: 'all'"
                 ' is not one of failed, lost, ok'),
                (('--again', 'ok', *run), '--again needs --resume'),
                (('--resume', 'k'), 'cannot use k: No such file'),
                (('--resume', '-'), '--resume needs a file'),
                (('--resume', 'text'), 'cannot use text: it is no journal'),
                (('--resume', 'fifo'), 'cannot use fifo: a journal is a reg')):
            ended = self.classh(*args).check(2, '', None)
            self.assertIn('classh: ' + said, ended.stderr, ended)
            self.assertEqual(ended.stderr.count('\n'), 1, ended)
        self.assertEqual(self.read('j'), before)
        self.assertEqual(sorted(os.listdir(self.directory)),
                         ['fifo', 'j', 'text'])

    def test_journal_of_a_run_that_lives_is_refused(self):
        with self.start('--journal', 'j', 'sleep 60', 'a') as command:
            wait_until(lambda: '"start"' in self.read('j'))
            self.classh('--resume', 'j').check(
                2, '', 'classh: cannot use j: another run writes to it; wait '
                'for its end\n')
            command.signal(signal.SIGTERM)
            command.finish().check(143, None, None)

    def test_full_disk_is_told_once_and_the_run_goes_on(self):
        said = self.classh('-q', '-f1', '--journal', 'j', NOTE, 'h[1-9]',
                           before='ulimit -f 2')
        said.check(1, '', None)
        told, missing = said.stderr.splitlines()
        self.assertEqual(told, 'classh: j: File too large; the run goes on')
        self.assertRegex(missing, '^classh: j lacks records of [4-8] hosts, '
                         r'which --resume may run again: h\[[3-6]-9\]$')
        self.assertEqual(len(self.ran()), 9)
        self.assertTrue(self.read('j').endswith('}\n'))
        self.classh('-q', '--journal', 'k', 'rm k', 'a').check(
            1, '', 'classh: k: removed, with all that went there\n')

    def test_torn_record_is_dropped_with_a_warning(self):
        self.classh('--journal', 'j', '-q', 'true', 'a').check(0)
        self.write('j', self.read('j') + '{"event":"start","ho')
        self.classh('--resume', 'j', '-q', 'true', 'a', 'b').check(
            0, '', 'classh: j: the last record was cut short, and is '
            'dropped\n')
        self.assertEqual([record['event'] for record in self.records()],
                         2 * ['run', 'start', 'result', 'end'])

    def test_killed_runs_go_on_and_no_host_runs_twice(self):
        seed = random.randrange(10 ** 6)
        kills = number = 0
        while kills < 5:
            os.mkdir(self.path(str(number)))
            dice = random.Random('%d.%d' % (seed, number))
            with self.subTest(seed=seed, number=number):
                killed = KilledRun(self, dice, self.path(str(number)))
                killed.run().check()
            kills += killed.kills
            number += 1


if __name__ == '__main__':
    unittest.main()
