"""Each answer once: what is alike, in which order, and what differs."""

import io
import os
import unittest
from unittest import mock

import classh
from classh import Console, Gather, Result


def result(host, output='', errors='', exitcode=0, outcome=None, **fields):
    outcome = outcome or ('error' if exitcode else 'ok')
    return Result(host, exitcode, output, errors, 10.0, 11.0, outcome,
                  fields.pop('reason', ''), fields.pop('truncated', False),
                  **fields)


class Terminal(io.StringIO):
    encoding = 'utf-8'

    def isatty(self):
        return True


class GatherTest(unittest.TestCase):
    maxDiff = None

    def shown(self, results, stream=io.StringIO, **options):
        stream = stream()
        gather = Gather(Console(stream), **options)
        for one in results:
            gather.finished(one)
        gather.close()
        return stream.getvalue()

    def groups(self, results, **options):
        """The hosts of each group, in order."""
        return [line.split()[0] for line in
                self.shown(results, **options).split('\n')
                if line and line[0] != ' ']

    def of(self, output, hosts):
        """Results with an *output* in which %s is the host."""
        return [result(host, output.replace('%s', host)) for host in hosts]


class AlikeTest(GatherTest):
    def test_each_of_status_outcome_and_streams_makes_another_answer(self):
        answers = [result('a', 'x'), result('b', 'x\n'), result('c', '', 'x'),
                   result('d', 'x', exitcode=1), result('e', 'x', exitcode=2),
                   result('f', 'x', exitcode=1, outcome='killed'),
                   result('g', 'x', truncated=True), result('h'),
                   result('i', 'x\0'), result('j', 'x\r\n'),
                   result('k', '\udcff'), result('l', '\xff')]
        self.assertEqual(len(self.groups(answers)), len(answers))

    def test_own_name_is_masked_where_it_is_a_word(self):
        hosts = ['web1', 'bob@web2', 'web3:22', 'u@web4:2222', '10.0.0.1',
                 '[2001:db8::7]:22', '2001:db8::8', 'fe80::1%eth0', '\xe9t\xe9']
        names = ['web1', 'web2', 'web3', 'web4', '10.0.0.1', '2001:db8::7',
                 '2001:db8::8', 'fe80::1%eth0', '\xe9t\xe9']
        shown = self.shown([result(host, 'on %s.\n' % name)
                            for host, name in zip(hosts, names)])
        self.assertIn('   9 hosts   ', shown)
        self.assertTrue(shown.endswith('\n  on {host}.\n\n'), shown)
        for text in 'xweb1', 'web11', '_web1', 'web1_':
            self.assertEqual(len(self.groups([
                result('web1', text), result('web2', text.replace('1', '2')),
                ])), 2, text)

    def test_first_label_and_the_whole_name_are_masked(self):
        shown = self.shown([result('a1.x.org', 'a1 a1.x.org a1.x.orgs'),
                            result('b.y', 'b b.y b.x.orgs')])
        self.assertIn('\n  {host} {host} {host}.x.orgs\n', shown)
        # An address has no labels.
        self.assertEqual(len(self.groups([
            result('10.0.0.1', '10'), result('11.0.0.1', '11')])), 2)

    def test_no_mask(self):
        self.assertEqual(self.groups(self.of('%s', 'ab'), mask=False),
                         ['a', 'b'])
        self.assertEqual(self.groups(self.of('x', 'ab'), mask=False), ['a,b'])

    def test_one_host_alone_is_shown_with_its_name(self):
        self.assertEqual(self.shown(self.of('on %s\n', ['h'])),
                         'h   0   1 host   (1.0)\n  Output:\n\n  on h\n\n')

    def test_of_ssh_failures_the_cause_is_compared_and_said(self):
        def failure(host, cause='refused', **fields):
            return result(host, errors='ssh: to %s: no\n' % host, exitcode=255,
                          outcome='ssh', cause=cause, **fields)
        self.assertEqual(self.shown([failure('h1'), failure('h2')]), (
            'h[1-2]   255   2 hosts   (1.0)   connection refused\n'
            '  Error:\n\n  ssh: to {host}: no\n\n'))
        # Where nothing tells the cause, ssh's words do.
        self.assertEqual(len(self.groups([
            failure('h1', 'ssh'), failure('h2', 'ssh'), failure('h3', 'ssh')
            ._replace(errors='other')])), 2)
        # With a log, what the host printed is compared.
        self.assertEqual(len(self.groups([
            failure('h1', 'lost', diagnostics='1').
            _replace(errors='x'), failure('h2', 'lost', diagnostics='2').
            _replace(errors='x'), failure('h3', 'lost', diagnostics='3').
            _replace(errors='y')])), 2)


class CommonWordTest(GatherTest):
    def test_name_that_everybody_prints(self):
        for name in 'a', '1', 'web':
            for order in 1, -1:
                self.assertEqual(len(self.groups(self.of(
                    'web a 1\n', [name, 'x', 'y'][::order]))), 1, name)

    def test_name_that_all_print_of_themselves_and_one_prints_of_another(self):
        results = self.of('%s\n', 'abc') + [result('d', 'a\n')]
        self.assertEqual(self.groups(results), ['a,b,c', 'd'])

    def test_both_in_one_answer(self):
        for text in 'a\n%s says a\n', '%s:\nweb db\nmail on db a\n':
            for hosts in (['a', 'b', 'c'], ['c', 'b', 'a'],
                          ['web', 'db', 'mail'], ['db', 'x', 'y', 'a']):
                shown = self.shown(self.of(text, hosts))
                self.assertIn('%d hosts' % len(hosts), shown)
        self.assertIn('{host}:\n  web db\n', self.shown(self.of(
            '%s:\nweb db\n', ['web', 'db', 'mail'])))

    def test_names_that_contain_each_other(self):
        shown = self.shown(self.of('%s\n', ['web', 'web1', 'web1-old',
                                            'web1.x', 'a-a', 'a']))
        self.assertTrue(shown.endswith('\n  {host}\n\n'), shown)

    def test_no_host_knows_the_mark(self):
        results = self.of('%s', 'abc') + [result('d', '{host}')]
        self.assertEqual(self.groups(results), ['a,b,c', 'd'])


class OrderTest(GatherTest):
    def test_good_ones_by_size_then_bad_ones_by_size(self):
        self.assertEqual(self.groups(
            [result('k', outcome='killed', exitcode=-9),
             result('s', outcome='ssh', exitcode=255, cause='refused'),
             result('e', exitcode=1)]
            + [result('f%d' % n, exitcode=2) for n in (1, 2)]
            + self.of('x', ['h1']) + self.of('y', ['i1', 'i2', 'i3'])
            + self.of('z', ['j1', 'j2'])),
            ['i[1-3]', 'j[1-2]', 'h1', 'f[1-2]', 'e', 's', 'k'])

    def test_seconds_are_those_of_the_fastest_and_the_slowest(self):
        self.assertEqual(self.shown([
            result('a'), result('b')._replace(stopped=13.25)]),
            'a,b   0   2 hosts   (1.0 to 3.2)\n\n')

    def test_output_that_was_cut_is_said(self):
        self.assertIn('(1.0)   output cut at its limit\n',
                      self.shown([result('a', 'x', truncated=True)]))


class OddTest(GatherTest):
    """What is told once more below the blocks of bad hosts."""

    BAD = [result('bad%d' % n, exitcode=n) for n in range(1, 5)]

    def told(self, results, **options):
        found = self.shown(results, **options).partition(
            ' gave another answer')
        return found[0].rpartition('\n')[2] + found[2].rstrip('\n')

    def test_few_of_the_good_ones_with_the_line_that_differs(self):
        alike = self.of('Linux %s\nx\n', 'abcd')
        for diff in False, True:
            self.assertEqual(self.told(
                alike + [result('e', 'Linux e\ne y\nz\n'),
                         result('f', 'Linux f\n'),
                         result('g', 'Linux g\nx\n', 'warning\n'),
                         result('h', 'Linux other\nx\n')] + self.BAD
                + [result('i')] + self.of('Linux %s\nx\n', 'uvw'),
                diff=diff).split('\n'),
                ['5 of 12:'] + ['  %-31s   %s' % line for line in (
                    ('e y', 'e'), ('(no line 2)', 'f'), ('warning', 'g'),
                    ('Linux other', 'h'), ('(no line 1)', 'i'))])
        self.assertEqual(
            self.told(alike + self.BAD + self.of('_' * 40, 'xy')),
            '2 of 6:\n  %s   x,y' % ('_' * 31))
        self.assertEqual(
            self.told(self.of('%s is up\n', 'abc') + self.BAD
                      + self.of('x' * 40, 'y')),
            '1 of 4 than {host} is up:\n  %s   y' % ('x' * 31))

    def test_nothing_where_it_helps_nobody(self):
        good, odd = self.of('x\n', 'abc'), self.of('y\n', 'd')
        for results in (good + odd, good + self.BAD, good + odd + self.BAD[1:],
                        good + self.of('y\n', 'def') + self.BAD,
                        self.of('%s%s', [c + '1' for c in 'abcdefghijkl'])
                        + good * 9 + self.BAD):
            self.assertEqual(self.told(results), '')

    def test_escapes_on_a_terminal(self):
        self.assertIn('\n  \\x1b[2Jy                         ', self.shown(
            self.of('x\n', 'abc') + self.of('\x1b[2Jy\n', 'd')
            + self.BAD, stream=Terminal))


class DiffTest(GatherTest):
    def difference(self, old, new, **options):
        """What is shown of the fourth host below its head."""
        shown = self.shown(self.of(old, 'abc') + self.of(new, 'd'), diff=True,
                           **options)
        return shown.partition('\nd   ')[2].partition('\n')[2]

    def test_is_against_the_largest_group_which_is_whole(self):
        self.assertEqual(
            self.shown(self.of('1\n2\n', 'abc')
                       + [result('d', '1\n3\n', 'bad\n', 4)], diff=True),
            'a,b,c   0   3 hosts   (1.0)\n  Output:\n\n  1\n  2\n\n'
            'd   4   1 host   (1.0)\n  Error:\n\n  bad\n\n'
            '  Output differs:\n\n  --- a,b,c\n  +++ d\n  @@ -1,2 +1,2 @@\n'
            '   1\n  -2\n  +3\n\n')

    def test_names_do_not_differ_whether_masked_or_common_words(self):
        self.assertEqual(self.difference('on %s\nd\n', 'on %s\nd\nmore\n'),
                         '  Output differs:\n\n  --- a,b,c\n  +++ d\n'
                         '  @@ -1,2 +1,3 @@\n   on {host}\n   d\n  +more\n\n')

    def test_last_newline_alone(self):
        self.assertIn('\n  -x\n  +x\n  \\ no newline at the end\n',
                      self.difference('x\n', 'x'))

    def test_carriage_return_shows_on_a_terminal(self):
        self.assertIn('\n  -x\n  +x\\x0d\n', self.difference(
            'x\n', 'x\r\n', stream=Terminal))
        self.assertIn('\n  -x\n  +x\r\n', self.difference('x\n', 'x\r\n'))

    def test_same_output_with_another_status(self):
        self.assertEqual(self.shown(self.of('x\n', 'ab') + [
            result('c', 'x\n', exitcode=3)], diff=True).split('\n\n')[-2],
            'c   3   1 host   (1.0)   output as of a,b')

    def test_nothing_of_a_host_that_was_ended_before_it_printed(self):
        self.assertTrue(self.shown(self.of('x\n', 'ab') + [
            result('c', outcome='killed', exitcode=-15, cause='timeout'),
            ], diff=True).endswith('\n\nc   -15   1 host   (1.0)\n\n'))

    def test_best_outcome_goes_first_however_few(self):
        results = [result(host, 'x\n', exitcode=255, outcome='ssh',
                          cause='lost') for host in 'abc']
        self.assertEqual(self.groups(results + [
            result('d', 'y\n', exitcode=3)], diff=True), ['d', 'a,b,c'])

    def test_of_long_texts_what_comes_where_they_begin_to_differ(self):
        lines = ['%d\n' % n for n in range(6000)]
        other = lines[:30] + ['other\n'] + lines[31:]
        self.assertEqual(
            self.difference(''.join(lines), ''.join(other)),
            '  Output differs from line 31 on; of each the next 20:\n\n'
            '  --- a,b,c\n%s  +++ d\n%s\n' % tuple(
                ''.join('  %s%s' % (sign, line)
                        for line in texts[30:50])
                for sign, texts in (('-', lines), ('+', other))))

    def test_colour(self):
        stream = io.StringIO()
        console = Console(stream)
        console.use_color('always')
        gather = Gather(console, diff=True)
        for one in self.of('x\n', 'ab') + self.of('y\n', 'c'):
            gather.finished(one)
        gather.close()
        self.assertIn('\x1b[31m  -x\x1b[0m\n\x1b[32m  +y\x1b[0m\n',
                      stream.getvalue())


class TroubleTest(GatherTest):
    def test_what_cannot_be_read_back_is_named_and_raises(self):
        stream = io.StringIO()
        gather = Gather(Console(stream))
        gather.finished(result('a', 'x'))
        os.ftruncate(gather._answers._kept._file.fileno(), 0)
        with self.assertRaises(OSError):
            gather.close()
        self.assertEqual(stream.getvalue(),
                         'a   0   1 host   (1.0)   output lost\n\n')

    def test_without_disk_the_answers_stay_in_memory(self):
        with mock.patch('tempfile.TemporaryFile', side_effect=OSError):
            self.assertIn('  x\n', self.shown(self.of('x', 'ab')))

    def test_a_request_while_it_shows_ends_it_and_it_says_so(self):
        stops = classh.StopRequests()
        stream = io.StringIO()
        console = Console(stream, stops)
        gather = Gather(console)
        for one in self.of('%s', 'abc'):
            gather.finished(one._replace(output=one.host * 2))
        write, written = console.write, []

        def write_and_stop(text):
            written.append(text)
            stops.caught.append(2)
        with mock.patch.object(console, 'write', write_and_stop):
            gather.close()
        self.assertTrue(write)
        self.assertEqual(written[1:], ['2 of 3 answers not shown\n'])


if __name__ == '__main__':
    unittest.main()
