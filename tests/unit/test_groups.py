"""Groups of hosts that are files, and where they are looked for."""

import os
import tempfile
import unittest
from unittest import mock

from classh import (GroupError, HostFileError, HostGroups, HostQueue,
                    PatternError, UsageError, parse_host_arguments,
                    parse_host_choice)


class GroupFilesTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.more = os.path.join(self.directory, 'more')
        os.mkdir(self.more)
        self.groups = HostGroups([self.directory, self.more])

    def write(self, name, octets):
        path = os.path.join(self.directory, name)
        with open(path, 'wb') as file:
            file.write(octets)
        return path

    def hosts(self, *arguments, **options):
        return list(HostQueue(parse_host_arguments(
            arguments, groups=self.groups, **options), **{
                'expand': options.get('expanding', True)}))

    def refused(self, *arguments):
        """The message of the error that *arguments* make."""
        with self.assertRaises((GroupError, HostFileError)) as caught:
            self.hosts(*arguments)
        self.assertNotIn('\n', str(caught.exception))
        return str(caught.exception)

    def test_group_stands_for_its_hosts_wherever_hosts_are_named(self):
        self.write('web', b'web[1-2] # old\nbob@web3:22, web4\n')
        self.write('db', b'db1\r# gone\rdb2\r')
        self.write('all', b'@web x,@db,y\n')
        path = self.write('file', b'@db z\n')
        web = ['web1', 'web2', 'bob@web3:22', 'web4']
        self.assertEqual(self.hosts('@web'), web)
        self.assertEqual(self.hosts('a,@db,b', 'c'),
                         ['a', 'db1', 'db2', 'b', 'c'])
        self.assertEqual(self.hosts('@all', '@db'),
                         web + ['x', 'db1', 'db2', 'y'])
        self.assertEqual(self.hosts(path), ['db1', 'db2', 'z'])
        self.assertEqual(self.hosts('@web', expanding=False)[0], 'web[1-2]')

    def test_user_at_host_is_no_group_and_a_bracket_holds_none(self):
        self.write('web', b'web1\n')
        self.assertEqual(self.hosts('bob@web', 'a@b@web,c'),
                         ['bob@web', 'a@b@web', 'c'])
        for argument in 'bob@@web', '[a,@web]', 'web@', '@web[':
            with self.assertRaises((PatternError, GroupError), msg=argument):
                self.hosts(argument)
        with self.assertRaises(PatternError) as caught:
            self.hosts('bob@@web')
        self.assertIn('-l USER @GROUP', str(caught.exception))

    def test_where_groups_are_not_read_the_error_says_so(self):
        for hosts in '@web', 'a,@web':
            with self.assertRaises(PatternError) as caught:
                HostQueue(hosts)
            self.assertIn('groups are taken as HOST', str(caught.exception))

    def test_first_directory_that_has_the_group_counts(self):
        self.write('web', b'here\n')
        self.write('more/web', b'there\n')
        self.write('more/db', b'db1\n')
        self.assertEqual(self.hosts('@web', '@db'), ['here', 'db1'])
        self.assertEqual(self.groups.names(), ['db', 'web'])

    def test_names_are_those_that_can_be_a_group(self):
        for name in ('web10', 'web2', '.hidden', 'a:b', 'a b', 'a,b', 'x.y'):
            self.write(name, b'a\n')
        os.mkfifo(os.path.join(self.directory, 'fifo'))
        self.groups = HostGroups([self.directory, '/nonexistent'])
        self.assertEqual(self.groups.names(), ['web2', 'web10', 'x.y'])

    def test_unknown_group_says_where_it_was_sought_and_what_is_near(self):
        self.write('webs', b'a\n')
        self.write('more/db-old', b'a\n')
        where = 'no such group in %s or %s' % (self.directory, self.more)
        self.assertEqual(self.refused('@web'),
                         '@web: %s; is it @webs?' % where)
        self.assertEqual(self.refused('@zzz'), '@zzz: ' + where)
        path = self.write('hosts', b'a\nb @zzz\n')
        self.assertEqual(self.refused(path), '%s:2: @zzz: %s' % (path, where))
        self.assertIn('@xxxxx', self.refused('@' + 'x' * 5000))

    def test_names_that_no_group_has(self):
        self.write('.x', b'a\n')
        for argument in '@', '@.x', '@..', '@:a', '@a/b', '@more/web', '@a\0':
            self.assertIn('a group is written @NAME or @NAME:ARG',
                          self.refused(argument))
        self.assertIn('is it a file?  ./@a/b', self.refused('@a/b'))
        for path in '/etc/hosts', './hosts', '~/hosts':
            self.assertTrue(self.refused('@' + path).endswith(
                '; is it a file?  ' + path))

    def test_file_takes_no_argument(self):
        path = self.write('web', b'a\n')
        self.assertIn('%s is a file of hosts, and \':22\' no argument' % path,
                      self.refused('@web:22'))
        self.assertIn('no argument', self.refused('@web:'))

    def test_what_is_no_file_is_named_and_not_opened(self):
        os.mkfifo(os.path.join(self.directory, 'fifo'))
        os.symlink('nowhere', os.path.join(self.directory, 'link'))
        os.symlink('fifo', os.path.join(self.directory, 'tofifo'))
        for name, problem in (('fifo', 'is no regular file'),
                              ('more', 'is no regular file'),
                              ('tofifo', 'is no regular file'),
                              ('link', 'links to nowhere: No such file')):
            self.assertRegex(self.refused('@' + name), r'@%s: %s.* ?%s' % (
                name, self.directory, problem))

    def test_files_that_name_one_another_without_end(self):
        self.write('a', b'a1 @b\n')
        self.write('b', b'\n@c\n')
        path = self.write('c', b'y,@a,z\n')
        self.assertEqual(
            self.refused('x', '@a'), '%s:1: @a: groups name one another '
            'without end: @a @b @c @a' % path)
        self.write('d', b'@e @e @f\n')
        self.write('e', b'@f\n')
        self.write('f', b'f1\n')
        self.assertEqual(self.hosts('@d'), ['f1'])

    def test_bad_line_of_a_group_is_named(self):
        path = self.write('web', b'a\n\nb[ c\n')
        self.assertIn("%s:3: bad host 'b['" % path, self.refused('@web'))

    def test_script_that_is_not_executable_is_no_file_of_hosts(self):
        self.write('web', b'#!/bin/sh\necho web1 web2\n')
        self.assertIn('not executable: chmod +x', self.refused('@web'))

    def test_file_may_be_empty(self):
        self.write('none', b'# nobody\n')
        self.assertEqual(self.hosts('@none', 'a'), ['a'])

    def test_choice_names_a_group_that_matches_no_host_once(self):
        self.write('db', b'db[1-100]\nold1\n')
        self.write('web', b'web[1-9]\n')
        self.write('none', b'')
        choice = parse_host_choice(['@db,web9', '@web', '@none'],
                                   groups=self.groups)
        queue = HostQueue('web[1-4],x', exclude=choice)
        self.assertEqual(list(queue), ['x'])
        self.assertEqual(queue.idle_exclusions(), ['@db', 'web9', '@none'])


class DirectoriesTest(unittest.TestCase):
    def directories(self, value):
        changed = {'HOME': '/home/bob'}
        if value is not None:
            changed['CLASSH_GROUPS'] = value
        with mock.patch.dict(os.environ, changed):
            if value is None:
                os.environ.pop('CLASSH_GROUPS', None)
            return HostGroups().directories

    def test_of_the_environment_or_of_user_and_system(self):
        usual = ['/home/bob/.config/classh/groups', '/etc/classh/groups']
        self.assertEqual(self.directories(None), usual)
        self.assertEqual(self.directories(''), usual)
        self.assertEqual(self.directories(':'), usual)
        self.assertEqual(self.directories('/a:/b/:'), ['/a', '/b/'])

    def test_relative_one_is_refused(self):
        for value in 'groups', '/a:.', '~/groups':
            with self.assertRaisesRegex(UsageError, 'CLASSH_GROUPS: '):
                self.directories(value)
