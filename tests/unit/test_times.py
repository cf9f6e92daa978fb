"""Times on the command line."""

import io
import unittest

import classh
from classh import UsageError


def parsed(*argv):
    return classh._parse_arguments(list(argv))[0]


class TimeTest(unittest.TestCase):
    def test_time_is_a_number_of_seconds_or_has_a_unit(self):
        for text, seconds in (
                ('90', 90), ('90s', 90), ('5m', 300), ('2h', 7200),
                ('.5', .5), ('1.5m', 90), ('1e3', 1000), ('0', 0),
                ('-1', -1), ('0s', 0)):
            self.assertEqual(parsed('-u', text).timeout, seconds, text)
        self.assertEqual(parsed('-u-1m').timeout, -60)

    def test_connect_timeout_is_in_whole_seconds(self):
        for text, seconds in (('0', 0), ('7', 7), ('7s', 7), ('2m', 120),
                              ('1h', 3600)):
            found = parsed('-t', text).connect_timeout
            self.assertEqual((found, type(found)), (seconds, int), text)

    def test_what_is_no_time_is_told(self):
        for option, text in (
                *(('-u', text) for text in (
                    '', 's', '5x', '1d', '5M', '5 min', 'm5', '1m30s', 'inf',
                    'nan', 'infs', '1e308h', '5m\n')),
                *(('-t', text) for text in ('1.5', '.5m', '-1', '', '1d'))):
            with self.assertRaises(UsageError, msg=text) as caught:
                parsed(option, text)
            self.assertIn('%r is not a %snumber of seconds, or a time such '
                          'as 90s, 5m or 2h' % (
                              text, 'whole ' if option == '-t' else ''),
                          str(caught.exception))

    def test_it_is_so_in_the_shell_too(self):
        options = parsed('--shell')
        err = io.StringIO()
        shell = classh.Shell(options, ['h'], classh.Console(None),
                             classh.Console(err), [], None, None)
        for line in '%timeout 5m', '%timeout 1d':
            shell.onecmd(line)
        self.assertEqual(options.timeout, 300)
        self.assertIn("timeout 300 s\nclassh: '1d' is not a number of",
                      err.getvalue())
