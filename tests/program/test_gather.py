"""-b, --diff and --bad in a run; and ways to show results that exclude each
other."""

import itertools
import re
import signal
import unittest

from lib import (Command, TestCase, WorkTest, at_once, fake, fake_argv,
                 leftovers, masked, measured, pipe_from, run, run_in_pty,
                 wait_until)

KERNEL = ('case $HOST in web4) echo 6.1.0-13; exit 3;; esac; '
          'echo 6.1.0-22; echo $HOST')
GATHERED = '''\
web[1-3]   0   3 hosts   (#)
  Output:

  6.1.0-22
  {host}

%sweb4   3   1 host   (#)
  Output:

  6.1.0-13

'''
REFUSED = '''\
unreach[1-2]   255   2 hosts   (#)   connection refused
  Error:

  ssh: connect to host {host} port 22: Connection refused

'''


def untimed(shown):
    """A report without the seconds in it."""
    return masked(re.sub(r'(?<=\d) to \d+\.\d(?=\))', '', shown))


class GatherTest(WorkTest):
    def test_each_answer_once_what_is_odd_last(self):
        said = fake('-b', KERNEL, 'web[1-4]', 'unreach[1-2]')
        said.check(4, None, '2 of 6 connection refused: unreach[1-2]\n'
                   '1 of 6 exited with 3: web4\n')
        self.assertEqual(untimed(said.stdout), GATHERED % REFUSED, said)

    def test_nobody_vanishes(self):
        said = fake('-b', '-u4', 'case $HOST in a*) :;; b*) exit 4;; esac',
                    'a[1-3]', 'b[1-2]', 'slow1', 'binary', 'exit255x')
        self.assertEqual([line.split()[:4] for line in
                          said.check(None, None, None).stdout.split('\n')
                          if line[:1] not in ('', ' ')],
                         [['a[1-3]', '0', '3', 'hosts'],
                          ['binary', '0', '1', 'host'],
                          ['b[1-2]', '4', '2', 'hosts'],
                          ['exit255x', '255', '1', 'host'],
                          ['slow1', '-15', '1', 'host']], said)

    def test_names_own_stdout_and_answers_move_to_stderr(self):
        said = fake('-b', '-S', '-', 'echo x', 'a[1-2]').check(0, None, None)
        self.assertEqual(sorted(said.stdout.split()), ['a1', 'a2'])
        self.assertEqual(untimed(said.stderr),
                         'a[1-2]   0   2 hosts   (#)\n  Output:\n\n  x\n\n')

    def test_ctrl_c_shows_what_there_is(self):
        with Command(fake_argv('-b', '-f4', 'echo $HOST', 'a[1-2]',
                               'early[1-2]', '-S', self.path('up'),
                               'slow[1-4]'), cwd=self.directory) as command:
            wait_until(lambda: len(self.lines('up')) == 2)
            wait_until(lambda: [line for _, line in leftovers()].count(
                'sleep 60') == 4)
            command.signal(signal.SIGINT)
            said = command.finish().check(130, None, None)
        self.assertEqual([line.split()[:4] for line in
                          said.stdout.split('\n') if line[:1] not in (
                              '', ' ')],
                         [['a[1-2]', '0', '2', 'hosts'],
                          ['early[1-2]', '-15', '2', 'hosts'],
                          ['slow[1-2]', '-15', '2', 'hosts']], said)

    def test_reader_that_leaves_and_a_full_disk(self):
        with pipe_from(fake_argv('-b', 'seq 100000; exit 3', 'a[1-3]')) as (
                command, pipe):
            pipe.read(20)
            pipe.close()
            command.finish().check(141, None, '')
        with open('/dev/full', 'w') as full:
            fake('-b', 'echo x', 'a', stdout=full).check(
                1, None, 'classh: stdout: No space left on device\n')

    def test_long_answers_are_held_once_and_not_in_memory(self):
        # 2 MB from each of 60 hosts.
        said = run(measured(fake_argv('-b', '-f10', 'true', 'loud[1-60]'),
                            self.path('peak'))).check(0, None)
        self.assertIn('\n  %s\n' % ('o' * (1 << 20)), said.stdout)
        self.assertTrue(said.stdout.startswith('loud[1-60]   0   60 hosts'))
        self.assertLess(int(self.read('peak')), 110 << 10)

    def test_one_answer_has_nothing_to_differ_from(self):
        for way in '-b', '--diff':
            said = fake(way, 'echo $HOST', 'web1').check(0, None, '')
            self.assertEqual(masked(said.stdout), (
                'web1   0   1 host   (#)\n  Output:\n\n  web1\n\n'), said)

    def test_20_columns_of_a_terminal(self):
        said = run_in_pty(fake_argv('-b', '--diff', 'echo $HOST; [ $HOST != '
                                    'web3 ] || printf "%60s\\033[2J" x',
                                    'web[1-5]'), size=(24, 20))
        shown = said.check(0, None).stdout.replace('\r', '')
        self.assertNotIn('\033[2J', shown)
        self.assertIn('\\x1b[2J', shown.replace('\n  ', ''))
        for line in shown.split('\n'):
            self.assertLessEqual(len(line), 20, said)
            # What a host said never begins a line.
            self.assertRegex(line, r'\A(  |web|$)', said)

    def test_lists_of_hosts_are_broken_behind_a_comma(self):
        bad = ['exit3-%s%d' % (name, 7 * number) for number, name in
               enumerate(('ant', 'bee', 'cow', 'dog', 'elk', 'fox', 'gnu'))]
        cut = ['unreach-%d-%s' % (3 * number, name) for number, name in
               enumerate(('oak', 'elm', 'fir', 'ash', 'yew'))]
        said = run_in_pty(fake_argv('-b', 'true', *bad, *cut, 'denied1'),
                          size=(24, 60)).check(4, None)
        shown = said.stdout.replace('\r', '')
        for hosts in bad, cut:
            listed = [match.group().replace('\n  ', '')
                      for match in re.finditer(r'%s\S*((?<=,)\n  \S+)*'
                                               % hosts[0][:5], shown)]
            # In the head, and in the summary.
            self.assertEqual([sorted(names.split(',')) for names in listed],
                             2 * [sorted(hosts)], said)
        for line in shown.split('\n'):
            self.assertLessEqual(len(line), 60, said)


class BadTest(TestCase):
    def test_only_bad_hosts_are_shown(self):
        said = fake('--bad', 'echo x', 'a[1-9]', 'fail3')
        said.check(5, None, '1 of 10 exited with 3: fail3\n')
        self.assertEqual(masked(said.stdout), (
            'fail3   3   (#)\n  Error:\n\n  err of fail3\n\n'
            '  Output:\n\n  out of fail3\n\n'))

    def test_nothing_is_said_where_all_is_well(self):
        fake('--bad', 'echo x; echo y >&2', 'a[1-9]').check(0, '', '')

    def test_marks_on_the_same_terminal_have_a_line_of_their_own(self):
        said = run_in_pty(fake_argv('--progress', '--bad', '-f1', 'true', 'a',
                                    'b', 'exit3', 'c', 'exit4')).check(5, None)
        self.assertEqual(untimed(said.stdout.replace('\r', '')), (
            '..?\nexit3   3   (#)\n\n.?\nexit4   4   (#)\n\n'
            '1 of 5 exited with 3: exit3\n1 of 5 exited with 4: exit4\n'),
            said)


class ChoiceTest(TestCase):
    WAYS = ['-b', '--diff', '-P', '--json', '--bad', '--progress', '-q']
    TOGETHER = [('-b', '--diff'), ('-b', '--progress'),
                ('--diff', '--progress'), ('--bad', '--progress'),
                ('--json', '-q')]

    def test_two_ways_to_show_results_exclude_each_other(self):
        pairs = list(itertools.combinations(self.WAYS, 2))
        for pair, said in zip(pairs, at_once(*(
                [*pair, 'true', 'a'] for pair in pairs))):
            if pair in self.TOGETHER:
                said.check(0, None, None)
            else:
                said.check(2, '', None)
                for name in pair:
                    self.assertRegex(said.stderr, r'\bclassh: .*%s ' % name)

    def test_no_mask_needs_answers_to_compare(self):
        fake('--no-mask', 'true', 'a').check(
            2, '', 'classh: --no-mask needs -b\n')


class ShellTest(WorkTest):
    def test_same_and_diff_show_the_last_results(self):
        said = fake('--shell', '-q', 'web[1-4]',
                    stdin='%%same\n%s\n%%same\n%%diff\n%%diff web[1-2]\n'
                    '%%same none\n' % KERNEL)
        said.check(2, None, 'classh: no results yet: run a command '
                   'first\n'
                   'classh: not one of the hosts: none\n')
        self.assertEqual(untimed(said.stdout), (
            GATHERED % '' + GATHERED.replace(
                '  Output:\n\n  6.1.0-13\n', '  Output differs:\n\n'
                '  --- web[1-3]\n  +++ web4\n  @@ -1,2 +1 @@\n'
                '  -6.1.0-22\n  -{host}\n  +6.1.0-13\n') % ''
            + 'web[1-2]   0   2 hosts   (#)\n  Output:\n\n  6.1.0-22\n'
            '  {host}\n\n'))


if __name__ == '__main__':
    unittest.main()
