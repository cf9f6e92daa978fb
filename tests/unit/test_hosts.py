"""Which hosts are meant: patterns, folding, lists, files, and what ssh is
then told."""

import itertools
import os
import random
import signal
import string
from unittest import mock

from lib import (FAKE_SSH, Command, TestCase, classh_argv, run, run_classh,
                 wait_until)
import classh
from classh import (HostFileError, HostQueue, PatternError, expand, fold,
                    parse_host_arguments, ssh_argv)

SSH_G = ['ssh', '-G', '-F', '/dev/null']    # ssh says what it understood


def first(count, hosts):
    return list(itertools.islice(hosts, count))


# -- Patterns ----------------------------------------------------------------

class ExpandTest(TestCase):
    def check(self, pattern, hosts):
        self.assertEqual(list(expand(pattern)), hosts.split(), pattern)

    def test_name_without_brackets_is_itself(self):
        for name in ('web1', 'a', '0', 'web-1.example.com', 'under_score',
                     'al@web1', 'web1:2222', 'al@web1:2222', 'a@b@web1',
                     '127.0.0.1', 'b\xfccher', 'web1.'):
            self.check(name, name)

    def test_order_is_as_written(self):
        self.check('bar[3,2,12-14]baz',
                   'bar3baz bar2baz bar12baz bar13baz bar14baz')
        self.check('foo[8-11]', 'foo8 foo9 foo10 foo11')
        self.check('b,a,b', 'b a b')

    def test_lower_bound_sets_the_width(self):
        self.check('n[08-11]', 'n08 n09 n10 n11')
        self.check('n[008-10]', 'n008 n009 n010')
        self.check('n[8-0011]', 'n8 n9 n10 n11')
        self.check('n[98-101]', 'n98 n99 n100 n101')
        self.check('n[1,01,001]', 'n1 n01 n001')
        self.check('n[0-0]', 'n0')

    def test_step_counts_from_the_lower_bound(self):
        self.check('n[0-100/50]', 'n0 n50 n100')
        self.check('n[1-9/3]', 'n1 n4 n7')
        self.check('n[05-12/5]', 'n05 n10')
        self.check('n[1-3/100]', 'n1')

    def test_words_may_stand_in_a_list(self):
        self.check('[a,b]-db', 'a-db b-db')
        self.check('[web,db,7-8]x', 'webx dbx 7x 8x')
        self.check('h[a.b,c_d]', 'ha.b hc_d')

    def test_several_brackets_multiply_the_last_turning_fastest(self):
        self.check('r[1-2]n[1-3]', 'r1n1 r1n2 r1n3 r2n1 r2n2 r2n3')
        self.check('[a,b][1-2][x,y]',
                   'a1x a1y a2x a2y b1x b1y b2x b2y')

    def test_commas_part_and_need_not_separate_anything(self):
        self.check('a,b[1-2],c', 'a b1 b2 c')
        self.check('host1,', 'host1')
        self.check(',a,,b,', 'a b')
        self.check('', '')
        self.check(',', '')

    def test_bracket_with_a_colon_belongs_to_an_address(self):
        for host in ('[::1]:22', '[fe80::1%eth0]:22', 'al@[2001:db8::7]:22',
                     '[::1]', '::1', 'fe80::1%eth0', 'al@fe80::1'):
            self.check(host, host)
        self.check('[fe80::1]:22,web[1-2]', '[fe80::1]:22 web1 web2')

    def test_address_and_port_may_hold_a_pattern(self):
        self.check('10.0.[1-2].[9-10]',
                   '10.0.1.9 10.0.1.10 10.0.2.9 10.0.2.10')
        self.check('fe80::[1-2]', 'fe80::1 fe80::2')
        self.check('h:[22-23]', 'h:22 h:23')
        self.check('[al,bo]@h[1-2]:22',
                   'al@h1:22 al@h2:22 bo@h1:22 bo@h2:22')

    def test_pattern_costs_nothing_until_it_is_used(self):
        self.assertEqual(first(2, expand('n[0-99999999]')), ['n0', 'n1'])
        huge = 'n[0-999999999999999999]'
        self.assertEqual(first(2, expand(huge + 'x' + huge)),
                         ['n0xn0', 'n0xn1'])
        self.assertEqual(first(2, HostQueue([huge] * 3)), ['n0', 'n1'])

    def test_result_is_an_iterator(self):
        hosts = expand('a,b')
        self.assertIs(iter(hosts), hosts)
        self.assertEqual(next(hosts), 'a')


class RefusedPatternTest(TestCase):
    def check(self, pattern, part, text):
        """Refused at once, before anything is taken; .part is at fault."""
        with self.assertRaises(PatternError, msg=pattern) as caught:
            expand(pattern)
        error = caught.exception
        self.assertEqual((error.pattern, error.part), (pattern, part))
        self.assertIn(text, str(error))
        self.assertIn(repr(pattern), str(error))
        self.assertIn(repr(part), str(error))
        self.assertNotIn('\n', str(error))
        self.assertIsInstance(error, ValueError)
        self.assertIsInstance(error, classh.ClasshError)

    def test_bracket_without_its_other_half(self):
        text = 'bracket without its other half'
        for pattern, part in (('web[1-3', '[1-3'), ('web[', '['),
                              ('web]', ']'), ('web[1-3]]', ']'),
                              ('a,web[1,b', '[1,b'), ('[::1', '[::1'),
                              ('web[[1]]', '[[1]]'), ('w[1][2', '[2')):
            self.check(pattern, part, text)

    def test_empty_choice(self):
        for part in ('[]', '[,]', '[1,,2]', '[1,]', '[,1]'):
            self.check('web%s.x' % part, part, 'empty choice')

    def test_range_that_runs_backwards(self):
        self.check('web[45-33]', '45-33', 'runs backwards')
        self.check('web[1,9-08]', '9-08', 'runs backwards')

    def test_range_that_is_none(self):
        for part in ('1-', '-1', '-', '36-40-44', '1-3/', '1/2', 'a-c',
                     '1-3/-1', '1-3/x', ' 1', '1 ', '1-\u0663', 'x y',
                     '1-9' + '9' * 18):
            self.check('web[0,%s]' % part, part,
                       'is not a number, range or word')

    def test_step_of_0(self):
        self.check('web[1-3/0]', '1-3/0', 'has a step of 0')
        self.check('web[1-3/00]', '1-3/00', 'has a step of 0')

    def test_name_that_ssh_would_take_for_an_option(self):
        for host in ('-oProxyCommand=x', '-', '--', '-x[1-2]', 'al@-x',
                     '-al@web1', 'al@-x:22'):
            self.check(host, host, "begins with '-'")
        self.check('web1,-x', '-x', "begins with '-'")
        # Neither may it come out of a bracket.
        self.check('[-x,a]', '-x', 'is not a number, range or word')
        self.check('al[@-x,a]', '@-x', 'is not a number, range or word')

    def test_name_with_white_space_or_control_characters(self):
        for gap in ' \t\n\r\0\x0b\x1b\x7f\x85\x9b\xa0\u2028\u3000':
            self.check('a%sb' % gap, 'a%sb' % gap, 'holds white space')
        self.check('web1, web2', ' web2', 'white space')

    def test_name_that_would_be_cut_short_in_a_file(self):
        self.check('a#b', 'a#b', "'#'")

    def test_name_with_a_slash(self):
        self.check('a/b', 'a/b', "holds a '/'")
        self.check('[a/b]', 'a/b', 'is not a number, range or word')

    def test_what_is_not_user_name_port(self):
        for host in ('web1:', 'web1:x', 'web1:22x', ':22', '@web1', 'al@',
                     'al@:22', '[::1]:', '[::1]:x', '[::1]x', 'a[::1]',
                     'a[1::2]b', 'web[1-2]:', 'web[1-2]:x'):
            self.check(host, host, 'is not [user@]name[:port]')

    def test_address_that_is_none(self):
        # Such a one came to ssh without its brackets, as an option does.
        for host in ('[-oX:]', 'bob@[-x:y]', '[-x:]:22', 'bob@-x:y:z',
                     '[a:b]', '[::1%]', 'web:22:x',
                     'fe80::[1,x]', '[web:vars]', '[all:children]'):
            for take in expand, classh._split_names:
                with self.assertRaises(PatternError, msg=host):
                    print(list(take(host)))
        self.assertEqual(ssh_argv('[-oX:]', 'date')[-2], '[-oX:]')
        self.assertEqual(list(expand('fe80::[1,a]%[eth0,lo]')),
                         ['fe80::1%eth0', 'fe80::1%lo', 'fe80::a%eth0',
                          'fe80::a%lo'])

    def test_name_with_an_equals_sign(self):
        for host in 'http_port=80', '=', 'ansible_host=al@h', 'a[1,b=2]':
            self.check(host, host, "holds '='")

    def test_name_of_a_section(self):
        for host in '[web]', '[web_1]', 'al@[web]':
            self.check(host, host, 'is not [user@]name[:port]')
            with self.assertRaises(PatternError):
                classh._split_names(host)

    def test_character_that_cannot_be_seen_or_only_looks_like_another(self):
        for char, name in (
                ('\u200b', 'U+200B ZERO WIDTH SPACE'),
                ('\xad', 'U+00AD SOFT HYPHEN'),
                ('\ufeff', 'U+FEFF ZERO WIDTH NO-BREAK SPACE'),
                ('\u202e', 'U+202E RIGHT-TO-LEFT OVERRIDE'),
                ('\u2060', 'U+2060 WORD JOINER'),
                ('\u034f', 'U+034F COMBINING GRAPHEME JOINER'),
                ('\ufe0f', 'U+FE0F VARIATION SELECTOR-16'),
                ('\u3164', 'U+3164 HANGUL FILLER'),
                ('\u2800', 'U+2800 BRAILLE PATTERN BLANK'),
                ('\ue000', 'U+E000 (no name)'),
                ('\U000e0041', 'U+E0041 TAG LATIN CAPITAL LETTER A'),
                ('\u2013', "U+2013 EN DASH, which is not '-'"),
                ('\u2010', "U+2010 HYPHEN, which is not '-'"),
                ('\u201c', 'U+201C LEFT DOUBLE QUOTATION MARK'),
                ('\uff0c', 'U+FF0C FULLWIDTH COMMA'),
                ('\u2026', 'U+2026 HORIZONTAL ELLIPSIS'),
                # Of Latin-1: a space, a soft hyphen; of Windows: a dash.
                ('\udca0', 'the byte 0xa0'), ('\udcad', 'the byte 0xad'),
                ('\udc96', 'the byte 0x96')):
            # A locale that is not UTF-8 makes several characters of one.
            bytewise = char.encode('utf-8', 'surrogateescape').decode(
                'ascii', 'surrogateescape')
            for host in ('a%sb' % char, char, 'a[1,2%s3]' % char,
                         'a%sb' % bytewise):
                with self.assertRaises(PatternError, msg=ascii(host)) as seen:
                    expand(host)
                self.assertTrue(str(seen.exception).split('; ')[0].endswith(
                    'holds ' + name), ascii(str(seen.exception)))

    def test_letter_beyond_ascii_may_stand_in_a_name(self):
        for name in ('b\xfccher', 'bu\u0308cher', '\u0939\u093f\u0928\u094d'
                     '\u0926\u0940', '\u4f8b\u3048', 'l\xb7l', 'od\udcff',
                     os.fsdecode(b'b\xfccher')):
            self.assertEqual(list(expand(name + '[1-2]')),
                             [name + '1', name + '2'])

    def test_mistake_that_is_known_has_a_hint(self):
        for pattern, hint in (
                ('web[1:20]', 'a range is written [1-20]'),
                ('web[01:20].example', 'a range is written [1-20]'),
                ('web[1..20]', 'a range is written [1-20]'),
                ('web[3\u20135]', 'a range is written [1-20]'),
                ('web{1..3}', 'choices are written [a,b] or [1-20]'),
                ('10.0.0.0/24', 'addresses is written 10.0.0.[1-254]'),
                ('fe80::/64', 'addresses is written 10.0.0.[1-254]'),
                ('ssh://web1', 'a host is written [user@]name[:port]'),
                ('[web]', 'inventory'), ('[web:vars]', 'inventory'),
                ('[web-db]', 'inventory'), ('port=80', 'inventory'),
                ('=', 'inventory'), ('all:', 'inventory')):
            with self.assertRaises(PatternError, msg=pattern) as caught:
                expand(pattern)
            self.assertIn(hint, str(caught.exception).split('; ', 1)[1])
        for pattern in ('web[3-1]', 'web[1-3/0]', 'a/b', '-oX=y', 'a b',
                        '[3-1]', 'web1:', '[::1]:x'):
            with self.assertRaises(PatternError, msg=pattern) as caught:
                expand(pattern)
            self.assertNotIn('; ', str(caught.exception))

    def test_what_does_not_come_out_of_a_bracket_either(self):
        for pattern in ('web1:[a,b]', 'web1:2[2,x]', '[a,b]:x'):
            with self.subTest(pattern), self.assertRaises(PatternError):
                list(expand(pattern))

    def test_name_that_cannot_be_encoded(self):
        self.check('a\ud800', 'a\ud800', 'cannot be encoded')
        self.check('a[1,\ud800]', 'a[1,\ud800]', 'cannot be encoded')


# -- Folding -----------------------------------------------------------------

class FoldTest(TestCase):
    def test_one_number_is_folded(self):
        self.assertEqual(fold(['web3', 'web1', 'web2', 'web17']),
                         'web[1-3,17]')
        self.assertEqual(fold(['n8', 'n9', 'n10', 'n11']), 'n[8-11]')
        self.assertEqual(fold('127.0.0.%d' % n for n in range(1, 301)),
                         '127.0.0.[1-300]')

    def test_width_is_part_of_the_name(self):
        self.assertEqual(fold(['n08', 'n09', 'n10']), 'n[08-10]')
        self.assertEqual(fold(['n1', 'n01', 'n2', 'n02']), 'n[1-2,01-02]')
        self.assertEqual(fold(['n9', 'n010']), 'n[9,010]')

    def test_several_numbers_are_folded(self):
        hosts = ['r%dn%02d' % (r, n) for r in (1, 2, 4) for n in range(5)]
        self.assertEqual(fold(hosts), 'r[1-2,4]n[00-04]')
        self.assertEqual(fold(hosts[:-1]), 'r4n[00-03],r[1-2]n[00-04]')

    def test_as_many_numbers_are_folded_as_cost_little(self):
        name = '1a' * 15
        self.assertEqual(fold([name + '1', name + '2']), name + '[1-2]')
        hosts = ['%dx%s%d' % (n, name, m) for n in (1, 2) for m in (1, 2)]
        self.assertEqual(fold(hosts), '[1-2]x%s1,[1-2]x%s2' % (name, name))
        self.check_inverse(hosts)

    def test_user_and_port_are_kept(self):
        self.assertEqual(fold(['al@n1', 'al@n2', 'n1', 'n2:22', 'n3:22']),
                         'al@n[1-2],n1,n[2-3]:22')

    def test_result_is_sorted_and_names_each_once(self):
        self.assertEqual(fold(['web10', 'db', 'web10', 'web9x', 'a', 'db']),
                         'a,db,web9x,web10')

    def test_nothing_folds_to_nothing(self):
        self.assertEqual(fold([]), '')
        self.assertEqual(list(expand('')), [])

    def test_addresses_in_brackets_stay_as_they_are(self):
        hosts = ['[fe80::1]:22', '[fe80::2]:22', 'fe80::1', 'fe80::2']
        self.assertEqual(sorted(expand(fold(hosts))), sorted(hosts))

    def test_number_too_long_for_a_range_stays_as_it_is(self):
        self.check_inverse(['n%d' % n for n in range(10 ** 19 - 3,
                                                     10 ** 19 + 3)])
        self.check_inverse(['n%d' % n for n in range(10 ** 18 - 3,
                                                     10 ** 18 + 3)])

    def check_inverse(self, hosts, hint=''):
        folded = fold(hosts)
        self.assertEqual(sorted(expand(folded)), sorted(set(hosts)),
                         '%s folded to %s' % (hint, folded))
        return folded

    def test_is_the_inverse_of_expand(self):
        for seed in range(600):
            hosts = RandomHosts(seed).set()
            folded = self.check_inverse(hosts, 'seed %d' % seed)
            hosts.reverse()
            self.assertEqual(fold(hosts), folded)

    def test_ten_thousand_irregular_names(self):
        dice = random.Random(1)
        hosts = [''.join(dice.choice('ab1230-') for _ in range(12)).strip('-')
                 for _ in range(10000)]
        self.check_inverse([host for host in hosts if host])
        self.check_inverse(['h%x' % dice.getrandbits(64)
                            for _ in range(10000)])


class RandomHosts:
    """Sets of hosts that are alike enough to fold, and not quite."""

    def __init__(self, seed):
        self.dice = random.Random(seed)

    def set(self):
        dice = self.dice
        shapes = [self.shape() for _ in range(dice.randint(1, 4))]
        return [dice.choice(shapes)() for _ in range(dice.randint(1, 80))]

    def shape(self):
        """A function that makes names with the same letters in them."""
        dice = self.dice
        texts = [self.letters() for _ in range(dice.randint(1, 4))]
        texts[0] = dice.choice(['', 'al@']) + texts[0]
        if dice.random() < .2:
            texts.append(':')           # and a port
        most = dice.choice([3, 12, 120, 10 ** 17])

        def name():
            made = texts[0] + self.number(most)
            for text in texts[1:]:
                made += text + self.number(most)
            return made
        return name

    def letters(self):
        return (self.dice.choice(string.ascii_letters) +
                self.dice.choice(['', '-', '.', '_', 'x', 'x-']))

    def number(self, most):
        return '%0*d' % (self.dice.choice([1, 1, 1, 2, 3]),
                         self.dice.randint(0, most))


# -- Lists and files ---------------------------------------------------------

class HostStreamTest(TestCase):
    def test_each_host_once_in_the_order_given(self):
        self.assertEqual(list(HostQueue(['b', 'a[1-2]', 'a2,b,c'])),
                         ['b', 'a1', 'a2', 'c'])

    def test_user_and_port_make_another_host(self):
        hosts = ['h', 'u@h', 'h:22', 'u@h:22', 'h1', 'h01']
        self.assertEqual(list(HostQueue(hosts)), hosts)

    def test_one_str_will_do(self):
        self.assertEqual(list(HostQueue('web[1-2],db')),
                         ['web1', 'web2', 'db'])

    def test_excluded_hosts_are_passed_over(self):
        self.assertEqual(
            list(HostQueue(['a[1-5]'], exclude=['a2', 'a4', 'x'])),
            ['a1', 'a3', 'a5'])

    def test_exclusion_that_excludes_no_host_is_known(self):
        for exclude, idle in (
                ('web[3-5]', ['web[3-5]']), ('web03', []), ('web3', ['web3']),
                ('web[03-99]', []), ('web[01-06],web7,[x,y]z,x[1,2]',
                                     ['web7', '[x,y]z', 'x[1,2]']),
                (['web01', 'u@web01', 'web01:22'], ['u@web01', 'web01:22']),
                ('web[1-999999999]', ['web[1-999999999]']),
                ('web[01-999999999]', []), ((), [])):
            stream = HostQueue('web[01-06],web01', exclude=exclude)
            list(stream)
            self.assertEqual(stream.idle_exclusions(), idle)
        stream = HostQueue('a[1],b', expand=False, exclude='a[1],b[2],c')
        self.assertEqual(list(stream), ['b'])
        self.assertEqual(stream.idle_exclusions(), ['b[2]', 'c'])

    def test_exclude_may_be_what_hosts_may_be(self):
        for exclude in ('a[2-3],b', ['a[2-3]', 'b'], iter(['a2', 'a3', 'b']),
                        HostQueue('a[2-3],b')):
            stream = HostQueue('a[1-4],b', exclude=exclude)
            self.assertEqual(list(stream), ['a1', 'a4'])

    def test_exclude_may_name_more_than_memory_would_hold(self):
        hosts = ['n7', 'n07', 'n007', 'n0', 'n10', 'n', 'nx', 'n1n1', 'n12n3',
                 'n1n23', 'n%d' % 10 ** 17, 'n%d' % 10 ** 18, 'n-7', 'n7.']
        for exclude, spared in (
                ('n[1-999999999999999999]',
                 ['n07', 'n007', 'n0', 'n', 'nx', 'n1n1', 'n12n3', 'n1n23',
                  'n%d' % 10 ** 18, 'n-7', 'n7.']),
                ('n[00-999999999999999999/7]',
                 ['n7', 'n007', 'n0', 'n10', 'n', 'nx', 'n1n1', 'n12n3',
                  'n1n23', 'n%d' % 10 ** 17, 'n%d' % 10 ** 18, 'n-7', 'n7.']),
                ('n[0-99999999][n,3]x,n[1-99999999]n[1-9],n[x,y]',
                 ['n7', 'n07', 'n007', 'n0', 'n10', 'n', 'n1n23',
                  'n%d' % 10 ** 17, 'n%d' % 10 ** 18, 'n-7', 'n7.'])):
            self.assertEqual(list(HostQueue(hosts, exclude=exclude)), spared)

    def test_exclude_may_name_some_hosts_twice(self):
        with mock.patch('classh.EXPANSION_LIMIT', 4):
            stream = HostQueue('n[1-9],a',
                                exclude='n[1,1,1],n[2-3],n[2-7],n[3-8],a')
            self.assertEqual(list(stream), ['n9'])

    def test_next_host_may_be_far_off(self):
        # Nobody waits until it is found; and it is not the end.
        with mock.patch('classh.SKIP_BATCH', 5):
            stream = HostQueue('n[1-20],m', exclude='n[2-19]')
            looks = []
            while not stream.exhausted:
                looks.append(stream.take())
            self.assertEqual([host for host in looks if host],
                             ['n1', 'n20', 'm'])
            self.assertGreaterEqual(looks.count(None), 4)
            stream = HostQueue('n[1-20],m', exclude='n[2-19]')
            self.assertEqual(list(stream), ['n1', 'n20', 'm'])

    def test_host_that_is_put_back_comes_next(self):
        stream = HostQueue('a[1-3]')
        self.assertEqual(first(2, stream), ['a1', 'a2'])
        stream.put_back('a2')
        self.assertEqual(list(stream), ['a2', 'a3'])
        self.assertTrue(stream.exhausted)
        stream.put_back('a3')
        self.assertFalse(stream.exhausted)
        self.assertEqual(list(stream), ['a3'])

    def test_it_is_exhausted_until_more_are_added(self):
        stream = HostQueue('a')
        self.assertFalse(stream.exhausted)
        self.assertEqual(list(stream), ['a'])
        self.assertTrue(stream.exhausted)
        stream.add(['a', 'b'])
        self.assertFalse(stream.exhausted)
        self.assertEqual(list(stream), ['b'])
        self.assertEqual(list(stream), [])
        stream.add('a,c')
        self.assertEqual(list(stream), ['c'])

    def test_no_more_is_read_than_is_taken(self):
        read = []

        def source():
            for pattern in ('a', 'b[1-99999999]', 'c'):
                read.append(pattern)
                yield pattern
        stream = HostQueue(source())
        self.assertEqual(read, [])
        self.assertEqual(first(1, stream), ['a'])
        self.assertEqual(read, ['a'])
        self.assertEqual(first(2, stream), ['b1', 'b2'])
        self.assertEqual(read, ['a', 'b[1-99999999]'])

    def test_bad_one_in_a_list_is_refused_at_once(self):
        for hosts in ('a,b[', ['a', 'b['], ('a', 'b[')):
            with self.assertRaises(PatternError):
                HostQueue(hosts)
        stream = HostQueue('a')
        with self.assertRaises(PatternError):
            stream.add(['b', 'b['])
        self.assertEqual(list(stream), ['a'])

    def test_bad_one_that_comes_late_is_passed_over(self):
        stream = HostQueue(iter(['a', 'b[', 'c', '-x', 'd']))
        self.assertEqual(next(stream), 'a')
        self.assertRaises(PatternError, next, stream)
        self.assertEqual(next(stream), 'c')
        self.assertRaises(PatternError, next, stream)
        self.assertEqual(list(stream), ['d'])

    def test_brackets_may_be_taken_literally(self):
        self.assertEqual(
            list(HostQueue(['a[1-2],b', 'c[1,2]', 'd[', '[::1]:22'],
                            expand=False)),
            ['a[1-2]', 'b', 'c[1,2]', 'd[', '[::1]:22'])
        for host in ('-x', 'a b', 'a/b', '-x[1-2]', 'a:x'):
            with self.assertRaises(PatternError, msg=host):
                HostQueue([host], expand=False)


class HostFileTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.scratch(), 'hosts')

    def read(self, octets, *arguments, expanding=True):
        with open(self.path, 'wb') as file:
            file.write(octets)
        patterns = parse_host_arguments((self.path,) + arguments, expanding)
        return list(HostQueue(patterns, expanding))

    def refused(self, octets):
        with self.assertRaises(HostFileError) as caught:
            self.read(octets)
        self.assertEqual(caught.exception.path, self.path)
        return caught.exception

    def test_a_host_a_line(self):
        self.assertEqual(self.read(b'web1\nal@db:22\n::1\n'),
                         ['web1', 'al@db:22', '::1'])

    def test_several_hosts_a_line(self):
        self.assertEqual(self.read(b'a b\tc\n d, e,f,\n'),
                         ['a', 'b', 'c', 'd', 'e', 'f'])

    def test_patterns_are_expanded(self):
        self.assertEqual(self.read(b'web[08-10] db[a,b]\n[1-3/2]x\n'),
                         ['web08', 'web09', 'web10', 'dba', 'dbb',
                          '1x', '3x'])

    def test_patterns_may_be_taken_literally(self):
        self.assertEqual(self.read(b'web[8-9] x[\n', expanding=False),
                         ['web[8-9]', 'x['])

    def test_comments_and_blank_lines_are_passed_over(self):
        self.assertEqual(
            self.read(b'# all of them\n\n  \t\na # [ one\n#b\nc#d\n  #e\n'),
            ['a', 'c'])

    def test_endings_of_lines_of_every_kind(self):
        self.assertEqual(self.read(b'a\r\nb\r\n\r\nc'), ['a', 'b', 'c'])
        self.assertEqual(self.read(b'a\nb'), ['a', 'b'])
        self.assertEqual(self.read(b'a\r\n# x\r\nb'), ['a', 'b'])
        self.assertEqual(self.read(b'web1\r# old\rweb2\r'), ['web1', 'web2'])
        self.assertEqual(self.read(b'a # x\r\rb\nc\r\n#\rd'),
                         ['a', 'b', 'c', 'd'])
        for end in b'\n', b'\r', b'\r\n':
            error = self.refused(end.join([b'a', b'# x', b'b[', b'c']))
            self.assertEqual(error.line, 3)

    def test_inventory_is_no_file_of_hosts(self):
        for octets, line in (
                (b'[web]\nh1 http_port=80\nh2\n[web:vars]\nhttp_port=80\n',
                 1), (b'h1\n\n[db]\nh2\n', 3), (b'h1\n[db:vars]\nx\n', 2),
                (b'h1\nh2 http_port=80\n', 2), (b'web = root@h1\n', 1),
                (b'all:\n  hosts:\n    h1:\n', 1)):
            error = self.refused(octets)
            self.assertEqual(error.line, line)
            self.assertIn('inventory', str(error))

    def test_what_is_invisible_is_refused_with_its_line(self):
        for bad in (b'a\xe2\x80\x8bb', b'a\xc2\xad', b'\xa0a', b'a\xa0b',
                    b'a \xef\xbb\xbfb', b'web[3\xe2\x80\x935]'):
            error = self.refused(b'a\n' + bad + b'\n')
            self.assertEqual(error.line, 2)
            self.assertIn(' holds ', str(error))

    def test_byte_order_mark_is_no_part_of_the_first_host(self):
        self.assertEqual(self.read(b'\xef\xbb\xbfa\nb\n'), ['a', 'b'])
        self.assertEqual(self.read(b'\xef\xbb\xbf# x\nb\n'), ['b'])
        self.assertEqual(self.read(b'\xef\xbb\xbf'), [])

    def test_empty_file_names_no_hosts(self):
        self.assertEqual(self.read(b''), [])
        self.assertEqual(self.read(b'# none\n'), [])

    def test_host_is_the_same_from_a_file_and_from_an_argument(self):
        name = os.fsdecode(b'b\xc3\xbccher')
        odd = os.fsdecode(b'od\xff')
        self.assertEqual(
            self.read(b'b\xc3\xbccher\nod\xff\nx\n', name, odd, 'x'),
            [name, odd, 'x'])

    def test_bad_line_is_named(self):
        for bad, text in ((b'web[3-1]', "'3-1' runs backwards"),
                          (b'web[1-', "'[1-'"), (b'-oX=y', "'-oX=y'"),
                          (b'a/b', "'a/b'"), (b'a\0b', repr('a\0b')),
                          (b'\xc2\xa0a', 'white space'), (b'a:x', "'a:x'")):
            error = self.refused(b'a\r\n# x\n\n b, ' + bad + b' c\nd\n')
            self.assertEqual(error.line, 4)
            self.assertIn(self.path + ':4: ', str(error))
            self.assertIn(text, str(error))
            self.assertNotIn('\n', str(error))

    def test_file_that_cannot_be_read_is_named(self):
        directory = self.scratch()
        secret = os.path.join(directory, 'secret')
        with open(secret, 'w'):
            os.chmod(secret, 0)
        cases = [(directory + '/none', 'No such file or directory'),
                 (directory, 'Is a directory'),
                 (directory + '/', 'Is a directory'),
                 ('/proc/self/mem', 'Input/output error')]
        if not os.access(secret, os.R_OK):      # as it is for root
            cases.append((secret, 'Permission denied'))
        for path, text in cases:
            with self.assertRaises(HostFileError, msg=path) as caught:
                parse_host_arguments(['a', path])
            error = caught.exception
            self.assertEqual((error.path, error.line), (path, None))
            self.assertEqual(str(error),
                             '%s: cannot read hosts: %s' % (path, text))
        for path, hint in (('10.0.0.0/24', '10.0.0.[1-254]'),
                           ('ssh://web1', '[user@]name[:port]')):
            with self.assertRaises(HostFileError) as caught:
                parse_host_arguments([path])
            self.assertIn(hint, str(caught.exception))

    def test_slash_outside_brackets_makes_an_argument_a_file(self):
        self.assertEqual(parse_host_arguments(['n[0-10/5]', 'a,b']),
                         ['n[0-10/5]', 'a,b'])
        with self.assertRaises(HostFileError):
            parse_host_arguments(['./n[0-10/5]'])

    def test_name_of_a_file_is_no_pattern(self):
        self.path += '[1-2],x'
        self.assertEqual(self.read(b'a\n'), ['a'])


# -- The ssh command ---------------------------------------------------------

class SshArgvTest(TestCase):
    def argv(self, host, command='date', **options):
        return ssh_argv(host, command, **options)

    def test_as_it_is_without_options(self):
        self.assertEqual(self.argv('web1'), [
            'ssh', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=10',
            '-o', 'ForwardX11=no', '-o', 'ForwardAgent=no',
            '--', 'web1', 'date'])

    def test_ssh_comes_first_and_the_users_options_before_ours(self):
        self.assertEqual(
            self.argv('al@web1:22', ssh=['sudo', 'ssh', '-4'],
                      options=['A=1', 'B 2'], connect_timeout=5),
            ['sudo', 'ssh', '-4', '-p', '22', '-l', 'al', '-o', 'A=1',
             '-o', 'B 2', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5',
             '-o', 'ForwardX11=no', '-o', 'ForwardAgent=no',
             '--', 'al@web1', 'date'])

    def test_command_is_one_argument_and_is_left_alone(self):
        for command in ('', ' ', 'a "b" $c\n\'d\' ; *', '-x', '--', '%h',
                        '\udcff'):
            self.assertEqual(self.argv('h', command)[-2:], ['h', command])

    def test_connect_timeout_of_0_is_left_to_ssh_config(self):
        argv = self.argv('h', connect_timeout=0)
        self.assertNotIn('ConnectTimeout', ' '.join(argv))

    def test_user_goes_before_the_default_user(self):
        self.assertIn('-l bo -o', ' '.join(self.argv('h', user='bo')))
        argv = self.argv('al@h', user='bo')
        self.assertEqual((argv[1:3], argv.count('-l')), (['-l', 'al'], 1))
        self.assertNotIn('-l', self.argv('h'))

    def test_port_and_the_brackets_of_an_address_are_taken_off(self):
        for host, port, name in (
                ('h:22', ['-p', '22'], 'h'),
                ('al@h:22', ['-p', '22', '-l', 'al'], 'al@h'),
                ('[::1]:22', ['-p', '22'], '::1'),
                ('al@[fe80::1%lo]:22', ['-p', '22', '-l', 'al'],
                 'al@fe80::1%lo'),
                ('[::1]', [], '::1'), ('::1', [], '::1'),
                ('al@::1', ['-l', 'al'], 'al@::1'),
                ('a@b@h', ['-l', 'a@b'], 'a@b@h')):
            argv = self.argv(host)
            self.assertEqual((argv[1:argv.index('-o')], argv[-3:]),
                             (port, ['--', name, 'date']), host)

    def test_bracket_that_is_no_pattern_is_left_alone(self):
        for host in ('web[1-2]', '[x]', '[]', 'a[', ']a', '[1]b', 'al@[1]'):
            self.assertEqual(self.argv(host)[-3:], ['--', host, 'date'])
        self.assertEqual(self.argv('web[1-2]:22')[-3:],
                         ['--', 'web[1-2]', 'date'])


class RealSshTest(TestCase):
    """What the ssh on this machine makes of our arguments."""

    def understood(self, host, ssh=SSH_G, **options):
        said = run(ssh_argv(host, 'true', ssh=ssh, **options)).check(
            stdout=None, stderr=None)
        return dict(line.split(' ', 1) for line in said.stdout.split('\n')
                    if ' ' in line)

    def check(self, host, wanted, **options):
        said = self.understood(host, **options)
        got = {name: said.get(name, 'none') for name in wanted}
        self.assertEqual(got, wanted, host)

    def test_host_user_and_port(self):
        for host, name, user, port in (
                ('web1', 'web1', 'bo', '22'),
                ('al@web1', 'web1', 'al', '22'),
                ('web1:2222', 'web1', 'bo', '2222'),
                ('al@web1:2222', 'web1', 'al', '2222'),
                ('127.0.0.1:2222', '127.0.0.1', 'bo', '2222'),
                ('[::1]:2222', '::1', 'bo', '2222'),
                ('al@[::1]:2222', '::1', 'al', '2222'),
                ('[::1]', '::1', 'bo', '22'),
                ('::1', '::1', 'bo', '22'),
                ('al@fe80::1%lo', 'fe80::1%lo', 'al', '22'),
                ('al@corp@web1', 'web1', 'al@corp', '22')):
            self.check(host, dict(hostname=name, user=user, port=port),
                       user='bo')

    def test_our_defaults(self):
        self.check('h', dict(batchmode='yes', connecttimeout='10',
                             forwardx11='no', forwardagent='no'))
        self.check('h', dict(connecttimeout='none'), connect_timeout=0)

    def test_users_options_win(self):
        self.check('h', dict(batchmode='no', connecttimeout='3', user='al',
                             forwardx11='yes', forwardagent='yes',
                             port='2222'),
                   user='bo', options=[
                       'BatchMode=no', 'ConnectTimeout=3', 'User=al',
                       'ForwardX11=yes', 'ForwardAgent yes', 'Port=2222'])
        self.check('h', dict(connecttimeout='3', user='al'),
                   ssh=SSH_G + ['-oConnectTimeout=3', '-lal'], user='bo')

    def test_port_and_user_of_one_host_win_over_those_of_all(self):
        self.check('h:22', dict(port='22'), options=['Port=2222'])
        for option in 'User=bo', 'user bo', ' User = bo':
            self.check('al@h', dict(user='al'), options=[option])
            self.check('al@corp@h:22', dict(user='al@corp'), user='cy',
                       options=[option])
            self.check('al@::1', dict(user='al'), options=[option])
            self.check('h', dict(user='bo'), user='cy', options=[option])

    def test_forwarding_is_off_unless_asked_for(self):
        for x11, agent, words in (
                ('yes', 'no', ['-X']), ('yes', 'no', ['-Y']),
                ('no', 'yes', ['-A']), ('yes', 'yes', ['-AX']),
                ('no', 'no', ['-xa']), ('no', 'yes', ['-oForwardAgent=yes']),
                ('yes', 'no', ['-o', 'ForwardX11 yes'])):
            self.check('h', dict(forwardx11=x11, forwardagent=agent),
                       ssh=SSH_G + words)
        for x11, agent, option in (('no', 'yes', 'ForwardAgent=yes'),
                                   ('no', 'yes', 'forwardagent yes'),
                                   ('no', 'yes', ' ForwardAgent = yes'),
                                   ('yes', 'no', 'ForwardX11=yes')):
            self.check('h', dict(forwardx11=x11, forwardagent=agent),
                       options=[option])
            # The first word counts, as with ssh itself.
            self.check('h', dict(forwardx11='no', forwardagent='no'),
                       ssh=SSH_G + ['-xa'], options=[
                           'ForwardX11=no', 'ForwardAgent=no', option])

    def test_users_ssh_config_counts(self):
        path = os.path.join(self.scratch(), 'config')
        with open(path, 'w') as config:
            config.write('Host web*\nHostname 127.0.0.9\nPort 77\nUser al\n'
                         'ConnectTimeout 3\n')
        ssh = ['ssh', '-G', '-F', path]
        self.check('web1', dict(hostname='127.0.0.9', port='77', user='al',
                                connecttimeout='10'), ssh=ssh)
        self.check('bo@web1:78', dict(port='78', user='bo'), ssh=ssh)
        self.check('web1', dict(connecttimeout='3'), ssh=ssh,
                   connect_timeout=0)


# -- On the command line -----------------------------------------------------

class ListTest(TestCase):
    def listed(self, *args, **options):
        said = run_classh('--list', *args, **options)
        return said.check(stdout=None).stdout.split()

    def test_prints_the_hosts_and_runs_nothing(self):
        self.assertEqual(
            self.listed('host1,', 'host2,', 'web[08-10]', 'host1'),
            ['host1', 'host2', 'web08', 'web09', 'web10'])

    def test_excluded_hosts_are_left_out(self):
        hosts = os.path.join(self.scratch(), 'hosts')
        with open(hosts, 'w') as file:
            file.write('a3 # broken\na[5-6]\n')
        self.assertEqual(
            self.listed('a[1-9]', '-x', 'a1,a[8-9]', '--exclude', hosts),
            ['a2', 'a4', 'a7'])

    def test_exclusion_that_excludes_no_host_is_told(self):
        told = "classh: -x excludes none of these hosts: '%s'\n"
        hosts = 'web[01-06]'
        run_classh('--list', hosts, '-x', 'web[3-5]', '-xweb06').check(
            stdout=None, stderr=told % 'web[3-5]')
        run_classh('--list', hosts, '-xweb[03-05]').check(stdout=None)
        for options in ['-q'], ['--progress']:
            said = run_classh('--ssh', FAKE_SSH, *options + [
                '-xweb[3-5],b', '-xweb06', 'true', hosts]).check(stderr=None)
            self.assertIn(told % 'web[3-5],b', said.stderr)
        # Of hosts that arrive it is known at the end.
        run_classh('--ssh', FAKE_SSH, '-q', '-x', 'b,web2', 'true', '-',
                   stdin='web1\nb\n').check(stderr=told % 'web2')
        run_classh('--list', '-x', 'b,web2', '-', stdin='web1\nb\n').check(
            stdout='web1\n', stderr=told % 'web2')
        run_classh('--ssh', FAKE_SSH, '--shell', '-q', hosts, '-x', 'b',
                   stdin='true\n').check(stderr=told % 'b')

    def test_exclusion_that_excludes_no_host_is_told_before_they_end(self):
        with Command(classh_argv('--ssh', FAKE_SSH, '-x', 'web3', 'true',
                                 'slow1')) as command:
            wait_until(lambda: 'none of these' in command.stderr)
            command.signal(signal.SIGTERM)
            command.finish().check(143, None, None)

    def test_name_of_a_file_has_a_hint(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'hosts.txt'), 'w') as file:
            file.write('a1\n')
        os.mkdir(os.path.join(directory, 'web1'))
        for words in ['hosts.txt', 'web1'], ['web1,hosts.txt']:
            run_classh('--ssh', FAKE_SSH, '-q', 'true', *words,
                       cwd=directory).check(
                           stderr='classh: hosts.txt is taken for a host; '
                                  'the file is ./hosts.txt\n')
        said = run_classh('--list', 'a1', '-x', 'hosts.txt', cwd=directory)
        self.assertIn('the file is ./hosts.txt\n', said.stderr)
        run_classh('--list', './hosts.txt', cwd=directory).check(
            stdout='a1\n')

    def test_hosts_that_arrive_may_end_in_cr(self):
        for octets in b'web1\r# old\rweb2\r', b'web1\r\n#\rweb2', (
                b'web1\r\rweb2 # x\r# y'):
            run_classh('--list', '-', stdin=octets).check(
                stdout='web1\nweb2\n')

    def test_files_and_names_mix(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'all'), 'w') as file:
            file.write('a1\na2\n')
        self.assertEqual(self.listed('b', './all', 'a2', 'c', cwd=directory),
                         ['b', 'a1', 'a2', 'c'])

    def test_file_may_be_a_pipe(self):
        self.assertEqual(self.listed('/dev/stdin', stdin='a\nb[1-2]\n'),
                         ['a', 'b1', 'b2'])

    def test_noexpand_takes_brackets_literally(self):
        directory = self.scratch()
        with open(os.path.join(directory, 'all'), 'w') as file:
            file.write('c[1-2] d[\n')
        self.assertEqual(
            self.listed('--noexpand', 'a[1-2],b', './all', '-x', 'c[1-2]',
                        cwd=directory),
            ['a[1-2]', 'b', 'd['])
        run_classh('--ssh', FAKE_SSH, '--noexpand', '-q', 'echo', 'a[1-2]',
                   'signal[').check()

    def test_hosts_that_are_not_ascii_are_listed_as_they_were_given(self):
        name = os.fsdecode(b'b\xc3\xbccher')
        for env in ({}, {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0',
                         'PYTHONUTF8': '0'}):
            said = run_classh('--list', name, '/dev/stdin',
                              stdin=b'b\xc3\xbccher od\xff\n', env=env)
            said.check(stdout='b\xfccher\nod\udcff\n')
