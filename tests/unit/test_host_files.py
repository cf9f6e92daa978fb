"""Files of hosts, and what a HOST argument names."""

import os
import tempfile
import unittest

from classh import HostFileError, HostQueue, parse_host_arguments


class HostFileTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = os.path.join(self.directory, 'hosts')

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
                (b'all:\n  hosts:\n    h1:\n', 1),
                (b'# x\nweb:\n  hosts:\n', 2), (b"web: 'web[1-3]'\n", 1),
                (b'---\n', 1), (b'- h1\n', 1), (b'{\n  "all": {\n', 1),
                (b'{"all": {}}\n', 1)):
            error = self.refused(octets)
            self.assertEqual(error.line, line)
            self.assertRegex(str(error), "inventory.* see 'Groups' in")

    def test_other_file_that_names_hosts_is_no_file_of_hosts(self):
        for octets, line, words in (
                (b'# x\n127.0.0.1\tlocalhost\n', 2, '{ print $2 }'),
                (b'::1     localhost ip6-localhost\n', 1, '{ print $2 }'),
                (b'h1\n10.0.0.1 web1.lan web1 3com  # first\n', 2,
                 'an address and its names'),
                (b'\n Host web1\n', 2, 'ssh_config'),
                (b'User bob\nHostname web1\n', 2, 'ssh_config'),
                (b'web1,10.0.0.1 ssh-ed25519 AAAAC3Nz x\n', 1,
                 'known_hosts'),
                (b'@cert-authority *.lan ecdsa-sha2-nistp256 AAAAE2V\n', 1,
                 'known_hosts')):
            error = self.refused(octets)
            self.assertEqual(error.line, line)
            self.assertIn(words, str(error))
        for octets in (b'10.0.0.1 10.0.0.2', b'10.0.0.1, web1', b'a:22 web1',
                       b'::1 10.0.0.1', b'web1 10.0.0.1', b'10.0.0.1 web[1-2]',
                       b'10.0.0.1 # web1', b'Host', b'host web1',
                       b'HostA HostB', b'ssh-a AAAA b', b'1.2 web1'):
            self.assertTrue(self.read(octets + b'\n'), octets)

    def test_invisible_character_is_refused_with_its_line(self):
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
        directory = self.directory
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
