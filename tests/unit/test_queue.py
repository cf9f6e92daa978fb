"""HostQueue: order, duplicates, what is left out, put back and delayed."""

import itertools
import unittest
from unittest import mock

from classh import HostQueue, PatternError


def first(count, hosts):
    return list(itertools.islice(hosts, count))


class OrderTest(unittest.TestCase):
    def test_each_host_once_in_the_order_given(self):
        self.assertEqual(list(HostQueue(['b', 'a[1-2]', 'a2,b,c'])),
                         ['b', 'a1', 'a2', 'c'])

    def test_user_and_port_make_another_host(self):
        hosts = ['h', 'u@h', 'h:22', 'u@h:22', 'h1', 'h01']
        self.assertEqual(list(HostQueue(hosts)), hosts)

    def test_peek_leaves_the_hosts_there(self):
        hosts = HostQueue(['b', 'a[1-3],b'], exclude='a2')
        hosts.put_back(hosts.take())
        hosts.put_back('late', 9)
        for _ in range(2):
            self.assertEqual(hosts.peek(), ['b', 'a1', 'a3', 'late'])
        self.assertEqual(sorted(hosts), ['a1', 'a3', 'b', 'late'])
        self.assertEqual(hosts.peek(), [])
        self.assertIsNone(HostQueue('a[1-999999999]').peek())

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
                ('web[01-999999999]', []), ((), []), ('', ['']),
                (['web01', ','], [','])):
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

    def test_only_those_named_are_taken_in_the_order_of_the_hosts(self):
        for only, taken, idle in (
                ('b,a[2-4],x', ['a2', 'a3', 'b'], ['x']),
                (['a3', 'a1'], ['a1', 'a3'], []),
                ('a[2-999999999]', ['a2', 'a3'], []),
                ([], [], []), ('', [], [''])):
            queue = HostQueue('a[1-3],b,a1', exclude=(), only=only)
            self.assertEqual(list(queue), taken)
            self.assertEqual(queue.idle_selections(), idle)
        queue = HostQueue('a[1],b', expand=False, only='a[1],a1')
        self.assertEqual(list(queue), ['a[1]'])
        self.assertEqual(queue.idle_selections(), ['a1'])

    def test_only_and_exclude_are_each_of_the_hosts_given(self):
        queue = HostQueue('a[1-6]', exclude='a[2,6],b', only='a[1-3],c')
        self.assertEqual(list(queue), ['a1', 'a3'])
        self.assertEqual(queue.idle_exclusions(), ['b'])
        self.assertEqual(queue.idle_selections(), ['c'])

    def test_few_of_a_huge_pattern_are_found_without_making_all(self):
        for hosts, only, taken in (
                ('n[1-999999999999999999]', 'n7,n07,n3,m',
                 ['n3', 'n7']),
                ('[b,a]n[00-99999999/7][y,x]', 'an07x,bn14x,an7x,an07y,an0x',
                 ['bn14x', 'an07y', 'an07x']),
                ('x,n[1-99999999]n[1-99999999],n5', 'n5n2,n5,n4n9,x',
                 ['x', 'n4n9', 'n5n2', 'n5']),
                ('[5,1-99999999]', '1,5,4', ['5', '1', '4'])):
            self.assertEqual(list(HostQueue(hosts, only=only)), taken)
        queue = HostQueue('n[1-999999999]', only='n[2-999999999]')
        self.assertEqual(first(2, queue), ['n2', 'n3'])
        with self.assertRaises(PatternError):
            HostQueue(['a', 'b['], only='a')

    def test_exclude_may_name_some_hosts_twice(self):
        with mock.patch('classh.EXPANSION_LIMIT', 4):
            stream = HostQueue('n[1-9],a',
                                exclude='n[1,1,1],n[2-3],n[2-7],n[3-8],a')
            self.assertEqual(list(stream), ['n9'])

    def test_next_host_may_be_far_off(self):
        # take() returns before it finds the next host: not the end.
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


class DelayTest(unittest.TestCase):
    def test_host_is_not_taken_before_it_is_due(self):
        queue = HostQueue('a')
        self.assertEqual(queue.take(0), 'a')
        queue.put_back('a', 10.0)
        self.assertEqual([queue.take(now) for now in (0, 9.9, 10.0, 10.0)],
                         [None, None, 'a', None])

    def test_first_due_comes_first_and_of_two_the_one_put_back_first(self):
        queue = HostQueue()
        for host, due in ('c', 3), ('a', 1), ('b1', 2), ('b0', 2):
            queue.put_back(host, due)
        self.assertEqual([queue.take(now) for now in (0, 1, 2, 2, 2, 3)],
                         [None, 'a', 'b1', 'b0', None, 'c'])

    def test_next_due_is_that_of_the_first(self):
        queue = HostQueue('z')
        self.assertIsNone(queue.next_due)
        for due, following in (5, 5), (7, 5), (2, 2):
            queue.put_back('h%d' % due, due)
            self.assertEqual(queue.next_due, following)
        for following in 5, 7, None:
            queue.take(9)
            self.assertEqual(queue.next_due, following)

    def test_due_host_goes_before_new_ones_and_one_without_delay_first(self):
        queue = HostQueue('n[1-2]')
        queue.put_back('late', 1)
        queue.put_back('now')
        self.assertEqual([queue.take(1) for _ in range(5)],
                         ['now', 'late', 'n1', 'n2', None])

    def test_due_host_may_be_taken_without_new_ones(self):
        queue = HostQueue('new')
        queue.put_back('late', 2)
        self.assertEqual([queue.take_due(now) for now in (1, 2, 3)],
                         [None, 'late', None])
        self.assertEqual(queue.take(3), 'new')

    def test_delayed_host_does_not_hold_up_the_others(self):
        queue = HostQueue('n[1-2]')
        queue.put_back('late', 5)
        self.assertEqual([queue.take(0) for _ in range(3)],
                         ['n1', 'n2', None])

    def test_queue_is_exhausted_only_without_delayed_hosts(self):
        queue = HostQueue('a')
        queue.take()
        queue.put_back('a', 5)
        self.assertIsNone(queue.take(0))
        self.assertFalse(queue.exhausted)
        self.assertEqual(queue.take(5), 'a')
        self.assertTrue(queue.exhausted)

    def test_nothing_is_pending_where_all_that_is_left_is_not_due(self):
        queue = HostQueue('a')
        self.assertTrue(queue.pending(0))
        queue.take(0)
        self.assertIsNone(queue.take(0))
        self.assertFalse(queue.pending(0))
        queue.put_back('a', 5)
        self.assertFalse(queue.pending(4))
        self.assertTrue(queue.pending(5))
        queue.put_back('b')
        self.assertTrue(queue.pending(4))

    def test_iteration_waits_for_no_due_time(self):
        queue = HostQueue('a[1-2]')
        queue.put_back('late', 10.0 ** 9)
        self.assertEqual(list(queue), ['late', 'a1', 'a2'])

    def test_what_is_delayed_can_be_withdrawn(self):
        stream = HostQueue('a')
        for host, due in (('b', 2), ('c', None), ('d', 1), ('e', 3),
                          ('f', None)):
            stream.put_back(host, due)
        self.assertEqual(stream.withdraw({'a', 'b', 'c', 'd', 'x'}),
                         ['d', 'b'])
        self.assertEqual(stream.next_due, 3)
        self.assertEqual(list(stream), ['f', 'c', 'e', 'a'])

    def test_host_may_be_put_back_as_often_as_one_likes(self):
        queue = HostQueue('a')
        for now in range(5):
            self.assertEqual(queue.take(now), 'a')
            queue.put_back('a', now + 1)
        queue.add('a')              # ... and is known all the time
        self.assertEqual(list(queue), ['a'])


class EndTest(unittest.TestCase):
    def test_empty_queue_is_exhausted_once_it_was_asked(self):
        for hosts in (), [], iter(()):
            queue = HostQueue(hosts)
            self.assertIsNone(queue.take())
            self.assertTrue(queue.exhausted)
            self.assertFalse(queue.pending())

    def test_none_before_the_end_is_no_end(self):
        with mock.patch('classh.SKIP_BATCH', 3):
            queue = HostQueue('a,a,a,a,a,b')
            self.assertEqual(queue.take(), 'a')
            self.assertIsNone(queue.take())
            self.assertFalse(queue.exhausted)
            self.assertTrue(queue.pending())
            self.assertEqual(list(queue), ['b'])

    def test_error_of_a_source_ends_that_source_alone(self):
        def broken():
            yield 'a'
            raise OSError('gone')
        queue = HostQueue(broken())
        queue.add('b')
        self.assertEqual(queue.take(), 'a')
        self.assertRaises(OSError, queue.take)
        self.assertEqual(list(queue), ['b'])
