"""Host patterns: what they name, what is refused, and how names fold."""

import itertools
import os
import random
import string
import unittest

import classh
from classh import HostQueue, PatternError, expand, fold, ssh_argv


def first(count, hosts):
    return list(itertools.islice(hosts, count))


# -- Patterns ----------------------------------------------------------------

class ExpandTest(unittest.TestCase):
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
                     '[::1]', '::1', 'fe80::1%eth0', 'al@fe80::1', '::',
                     'fe80::', '1:2:3:4:5:6:7:8', 'a::b:c', 'a:b::10.0.0.1',
                     '1:2:3:4:5:6:10.0.0.1'):
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


class RefusedPatternTest(unittest.TestCase):
    def check(self, pattern, part, text):
        """Check that *pattern* is refused at once; .part is at fault."""
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

    def test_malformed_range(self):
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
        # A bracket must not make such a name either.
        self.check('[-x,a]', '-x', 'is not a number, range or word')
        self.check('al[@-x,a]', '@-x', 'is not a number, range or word')

    def test_name_with_white_space_or_control_characters(self):
        for gap in ' \t\n\r\0\x0b\x1b\x7f\x85\x9b\xa0\u2028\u3000':
            self.check('a%sb' % gap, 'a%sb' % gap, 'holds white space')
        self.check('web1, web2', ' web2', 'white space')

    def test_wildcards_and_placeholders_are_no_names(self):
        for host in ('web*', '*', 'bob@web?:22', 'web[1-2]*', 'web[*,a]'):
            self.check(host, host, 'is not [user@]name[:port]; a pattern is '
                                   'written web[1-9]')
        for host in '^hosts', 'web^1', 'web1!web2', '!web1':
            self.check(host, host, 'is not [user@]name[:port]')
        for host in '.', 'bob@.', '.:22', '%h', 'bob@%h:22', '%n.lan':
            self.check(host, host, 'is not [user@]name[:port]')

    def test_odd_names_that_are_names_are_taken(self):
        for host in ('..', '.x', 'a.', '_', '%2E', 'a%b', 'a%hb', 'a+b', '~',
                     'fe80::1%h', '[fe80::1%eth0]:22', 'bob%h@web1',
                     'b*b@web1', 'a@b@c', '1', '10.0.0.1', '-x@web1'[1:],
                     'b\xfccher', 'xn--bcher-kva.example', 'web-1.lan.'):
            self.assertEqual(list(expand(host)), [host])

    def test_name_that_would_be_cut_short_in_a_file(self):
        self.check('a#b', 'a#b', "'#'")

    def test_name_with_a_slash(self):
        self.check('a/b', 'a/b', "holds a '/'; files are taken as HOST, in -x "
                   'and --only, or by parse_host_arguments()')
        self.check('[a/b]', 'a/b', 'is not a number, range or word')

    def test_host_that_is_not_user_name_port(self):
        for host in ('web1:', 'web1:x', 'web1:22x', ':22', '@web1', 'al@',
                     'al@:22', '[::1]:', '[::1]:x', '[::1]x', 'a[::1]',
                     'a[1::2]b', 'web[1-2]:', 'web[1-2]:x'):
            self.check(host, host, 'is not [user@]name[:port]')

    def test_malformed_address(self):
        # '[-oX:]' reached ssh without its brackets: as an option.
        for host in ('[-oX:]', 'bob@[-x:y]', '[-x:]:22', 'bob@-x:y:z',
                     '[a:b]', '[::1%]', 'web:22:x',
                     'fe80::[1,x]', '[web:vars]', '[all:children]',
                     '12:30:45', '00:16:3e:5e:6c:[1-9]', 'a:b:c', ':::',
                     '[a:b:c]:22', '1:2:3:4:5:6:7:8:9'):
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
                ('^hosts', 'a file of hosts is written ./FILE'),
                ('web1,^hosts', 'a file of hosts is written ./FILE'),
                ('web[1-3]!web2', 'hosts are left out by -x'),
                ('all:!web2', 'hosts are left out by -x'),
                ('web:&new', 'a part of the hosts is --only HOSTS'),
                ('web1:web5', 'a range is written web[1-9]'),
                ('web[1-3]:db1', 'hosts have commas between'),
                ('web1;web2', 'words of their own'),
                ('$WEB', 'within single quotes a shell expands nothing'),
                ('$(cat hosts)', 'within single quotes'),
                ('`cat hosts`', 'within single quotes'),
                ('web(1-3)', 'choices are written [a,b] or [1-20]'),
                ('a b', 'words of their own'),
                ('a[1-2] b[3]\n', 'words of their own'),
                ('"a"', 'written without quotes'), ('n[1,a-c]', 'letters'),
                ('[web]', 'inventory'), ('[web:vars]', 'inventory'),
                ('[web-db]', 'inventory'), ('port=80', 'inventory'),
                ('=', 'inventory'), ('all:', 'inventory')):
            with self.assertRaises(PatternError, msg=pattern) as caught:
                expand(pattern)
            self.assertIn(hint, str(caught.exception).split('; ', 1)[1])
        for pattern in ('web[3-1]', 'web[1-3/0]', '-oX=y', 'a b ', '[3-1]',
                        'web1:', '[::1]:x'):
            with self.assertRaises(PatternError, msg=pattern) as caught:
                expand(pattern)
            self.assertNotIn('; ', str(caught.exception))

    def test_bracket_that_makes_a_malformed_port(self):
        for pattern in ('web1:[a,b]', 'web1:2[2,x]', '[a,b]:x'):
            with self.subTest(pattern), self.assertRaises(PatternError):
                list(expand(pattern))

    def test_name_that_cannot_be_encoded(self):
        self.check('a\ud800', 'a\ud800', 'cannot be encoded')
        self.check('a[1,\ud800]', 'a[1,\ud800]', 'cannot be encoded')


# -- Folding -----------------------------------------------------------------

class FoldTest(unittest.TestCase):
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
    """Makes sets of hosts that nearly fold into one pattern."""

    def __init__(self, seed):
        self.dice = random.Random(seed)

    def set(self):
        dice = self.dice
        shapes = [self.shape() for _ in range(dice.randint(1, 4))]
        return [dice.choice(shapes)() for _ in range(dice.randint(1, 80))]

    def shape(self):
        """Return a function that makes names with the same letters."""
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
