"""What a person sees: the report of a host, marks, and the summary."""

import io
import unittest
from unittest import mock

import classh
from classh import (Console, Gather, Marks, Report, Result, Stream, Tally,
                    report)


def result(host='h', exitcode=0, output='', errors='', outcome=None,
           reason='', truncated=False, cause=''):
    outcome = outcome or ('error' if exitcode else 'ok')
    return Result(host, exitcode, output, errors, 10.0, 11.25, outcome,
                  reason, truncated, cause)


FRAME = '@' * 59 + '\n'
WARNING = FRAME + (     # of OpenSSH
    '@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n') + FRAME + (
    'IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\n'
    'Someone could be eavesdropping on you right now (man-in-the-middle '
    'attack)!\n'
    'It is also possible that a host key has just been changed.\n'
    'The fingerprint for the ED25519 key sent by the remote host is\n'
    'SHA256:ispQxzW7SamLb6nj7syejDlj8RMkJ72mfQSbAXZc3CE.\n'
    'Please contact your system administrator.\n'
    'Add correct host key in /home/b c/known_hosts to get rid of this '
    'message.\n'
    'Offending ED25519 key in /home/b c/known_hosts:28\n'
    '  remove with:\n'
    '  ssh-keygen -f "/home/b c/known_hosts" -R "h"\n'
    'Host key for h has changed and you have requested strict checking.\n'
    'Host key verification failed.\n')
SHORT = ['WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!',
         'Offending ED25519 key in /home/b c/known_hosts:28',
         'Host key verification failed.']


class Terminal(io.StringIO):
    """A text stream that says it is a terminal, of 80 columns."""

    encoding = 'utf-8'

    def isatty(self):
        return True


class ReportTest(unittest.TestCase):
    def check(self, shown, **fields):
        self.assertEqual(report(result(**fields)), shown)

    def test_host_that_says_nothing_is_one_line(self):
        self.check('h   0   (1.2)\n\n')

    def test_each_stream_has_its_heading_errors_first(self):
        self.check('h   7   (1.2)\n'
                   '  Error:\n\n  bad\n\n'
                   '  Output:\n\n  good\n  more\n\n',
                   exitcode=7, output='good\nmore\n', errors='bad\n')

    def test_reason_follows_the_time(self):
        self.check('h   255   (1.2)   ssh failed\n\n', exitcode=255,
                   outcome='ssh', reason='ssh failed', cause='ssh')

    def test_output_that_was_cut_is_said_and_one_that_is_lost_is_not_cut(self):
        self.check('h   -15   (1.2)   timed out, output cut at its limit\n\n',
                   exitcode=-15, outcome='killed', reason='timed out',
                   cause='timeout', truncated=True)
        self.check('h   0   (1.2)   output lost: out of memory\n\n',
                   reason='output lost: out of memory', cause='output-lost',
                   truncated=True)

    def test_no_line_of_a_host_can_pass_for_one_of_ours(self):
        for output, shown in (
                ('x', '  x\n'), ('x\n', '  x\n'), ('\n', '\n'),
                ('\n\n\n', '\n\n\n'), ('\nx\n\n\ny', '\n  x\n\n\n  y\n'),
                ('  x\n\n', '    x\n\n'), (' \n', '   \n'), ('\tx', '  \tx\n'),
                ('x\r\ny\r\n', '  x\r\n  y\r\n')):
            self.check('h   0   (1.2)\n  Output:\n\n%s\n' % shown,
                       output=output)


class SshWarningTest(unittest.TestCase):
    def check(self, words, *shown):
        """A view shows of ssh's *words* the lines *shown*, and all that a
        host wrote, be it the same."""
        failed = result(errors=words)._replace(diagnostics=words)
        lines = [*shown, *words.splitlines()]
        wanted = ''.join('  %s\n' % line for line in lines)
        self.assertEqual(report(failed),
                         'h   0   (1.2)\n  Error:\n\n%s\n' % wanted)
        gathered, stream = Gather(Console(io.StringIO())), io.StringIO()
        gathered.finished(failed)
        gathered.close()
        self.assertIn('\n\n%s\n' % wanted,
                      gathered.console._stream.getvalue())
        view = Stream(Console(io.StringIO()), Console(stream))
        view.open(mock.Mock(), None)
        view.finished(failed)
        self.assertEqual(stream.getvalue(),
                         ''.join('h: %s\n' % line for line in shown))
        self.assertEqual(failed.stderr, 2 * words)      # for records

    def test_host_key_that_has_changed(self):
        self.check(WARNING, *SHORT)

    def test_address_that_has_changed_too(self):
        self.check(FRAME + (
            '@       WARNING: POSSIBLE DNS SPOOFING DETECTED!          @\n')
            + FRAME + 'The ED25519 host key for h has changed,\n'
            'and the key for the corresponding IP address 10.0.0.1\n'
            'is unknown. This could either mean that\n'
            'DNS SPOOFING is happening or the IP address for the host\n'
            'and its host key have changed at the same time.\n'
            'Offending key for IP in /etc/known:3\n' + WARNING,
            'WARNING: POSSIBLE DNS SPOOFING DETECTED!',
            'Offending key for IP in /etc/known:3', *SHORT)

    def test_other_warnings(self):
        self.check(FRAME + (
            '@       WARNING: REVOKED HOST KEY DETECTED!               @\n')
            + FRAME + 'The RSA host key for h is marked as revoked.\n'
            'This could mean that a stolen key is being used to\n'
            'impersonate this host.\n',
            'WARNING: REVOKED HOST KEY DETECTED!',
            'The RSA host key for h is marked as revoked.')
        self.check(FRAME + (
            '@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\n')
            + FRAME + "Permissions 0644 for '/k' are too open.\n"
            'It is required that your private key files are NOT accessible '
            'by others.\nThis private key will be ignored.\n',
            'WARNING: UNPROTECTED PRIVATE KEY FILE!',
            "Permissions 0644 for '/k' are too open.",
            'This private key will be ignored.')
        title = ('** WARNING: connection is not using a post-quantum key '
                 'exchange algorithm.')
        self.check(title + '\n** This session may be vulnerable to "store '
                   'now, decrypt later" attacks.\n** The server may need to '
                   'be upgraded. See https://openssh.com/pq.html\n', title)

    def test_words_that_are_no_warning(self):
        words = 'h: Permission denied (publickey).\n@ x @\n@@@\nSHA256:x\n'
        self.check(words, *words.splitlines())


class ConsoleTest(unittest.TestCase):
    def written(self, text, stream=io.StringIO):
        console = Console(stream())
        console.write_text(text)
        self.assertIsNone(console.error)
        return console._stream.getvalue()

    def test_text_goes_unchanged_into_a_file(self):
        for text in '\x1b[2J', 'x' * 1000, '\t\u4e2d\r\n', '\u202e':
            self.assertEqual(self.written(text), text)

    def test_what_drives_a_terminal_is_shown_escaped(self):
        for text, shown in (
                ('\x1b[2J', '\\x1b[2J'), ('a\rb', 'a\\x0db'),
                ('a\r\nb\r\n', 'a\nb\n'), ('\x9b', '\\x9b'),
                ('\udcff', '\\xff'), ('\u202e', '\\u202e'),
                ('a\tb\n', 'a\tb\n'), ('\x7f', '\\x7f'), ('\xfc', '\xfc')):
            self.assertEqual(self.written(text, Terminal), shown)

    def test_line_too_long_for_a_terminal_goes_on_with_an_indent(self):
        self.assertEqual(self.written('x' * 80, Terminal), 'x' * 80)
        self.assertEqual(self.written('x' * 200, Terminal),
                         '\n  '.join(['x' * 80, 'x' * 78, 'x' * 42]))
        self.assertEqual(self.written('\u4e2d' * 50, Terminal),
                         '\n  '.join(['\u4e2d' * 40, '\u4e2d' * 10]))
        self.assertEqual(self.written('\t' * 11, Terminal),
                         '\n  '.join(['\t' * 10, '\t']))

    def test_long_line_is_broken_behind_a_blank_and_loses_nothing(self):
        words = 'ssh: connect to host web013 port 19013: Connection '
        self.assertEqual(
            self.written('  ' + 2 * words + '\n' + 2 * words, Terminal),
            '  %sssh: connect to host \n  web013 port 19013: Connection \n'
            '%sssh: connect to host web013 \n  port 19013: Connection '
            % (words, words))
        # Unless that leaves less than half of it.
        self.assertEqual(self.written('  a b ' + 'x' * 90, Terminal),
                         '  a b %s\n  %s' % ('x' * 74, 'x' * 16))

    def test_name_in_a_head_is_not_broken_where_it_fits(self):
        head = 'web[%s]   0' % ','.join(map(str, range(100, 130)))
        first, rest = self.written(head, Terminal).split('\n  ')
        self.assertEqual((first[-4:], first + rest), ('118,', head))
        for line in '  ' + head, 'x' * 100 + ' y':  # of a host; does not fit
            self.assertEqual(len(self.written(line, Terminal).split('\n')[0]),
                             80)

    def test_line_of_ours_is_one_line(self):
        for stream, shown in (
                (io.StringIO, 'a\\x0ab\\x1b\u202e\n'),
                (Terminal, 'a\\x0ab\\x1b\\u202e\n')):
            console = Console(stream())
            console.print_line('a\nb\x1b\u202e')
            self.assertEqual(console._stream.getvalue(), shown)

    def test_text_may_be_held_back(self):
        console = Console(io.StringIO())
        console.write('a', flush=False)
        self.assertEqual(console._stream.getvalue(), '')
        console.write('b')
        self.assertEqual(console._stream.getvalue(), 'ab')

    def test_first_error_is_kept_and_the_rest_dropped(self):
        class Broken(io.StringIO):
            left = [OSError('first'), BrokenPipeError('second')]

            def write(self, text):
                raise self.left.pop(0)
        console = Console(Broken())
        console.write('a')
        console.write('b')
        self.assertEqual(str(console.error), 'first')
        self.assertFalse(console.reader_left)
        console = Console(Broken())
        console.write('a')
        self.assertTrue(console.reader_left)

    def test_stream_that_was_closed_is_an_error_and_no_exception(self):
        console = Console(None)
        console.write('a')
        console.print_line('b')
        self.assertIsInstance(console.error, OSError)
        self.assertFalse(console.terminal)

    def test_lines_that_name_hosts_are_broken_behind_a_comma(self):
        names = ','.join('host-%s' % name for name in 'abcdefghijklmnop')
        console = Console(Terminal())
        console.print_names('3 of 9: ' + names, '  x: ' + names, 'end')
        shown = console._stream.getvalue()
        for line in shown.splitlines()[:-1]:
            self.assertRegex(line, r'\A.{,79},\Z|p\Z')
            self.assertRegex(line, r'\A(  |3 of 9: )(x: )?host-')
        self.assertEqual(shown.replace(',\n  ', ','), '3 of 9: %s\n  x: %s\n'
                         'end\n' % (names, names))
        plain = Console(io.StringIO())
        plain.print_names('3 of 9: ' + names)
        self.assertEqual(plain._stream.getvalue(), '3 of 9: %s\n' % names)

    def test_status_and_time_in_a_head_stay_together(self):
        for length, head in ((68, '%s   0   (1.2)'), (69, '%s   \n  0   (1.2)'),
                             (76, '%s   \n  0   (1.2)')):
            console = Console(Terminal())
            host = 'h' * length
            console.write_folded(report(result(host), console))
            self.assertEqual(console._stream.getvalue(),
                             head % host + '\n\n')
        # ... unless there is no other blank to break the line at.
        self.assertEqual(classh._fold_line('ab' + classh._TIE + 'cde', 5),
                         'ab' + classh._TIE + '\n  cde')

    def test_text_that_stands_for_no_bytes_is_no_error(self):
        odd = result('\ud800', output='\ud800\udcff')
        for stream in io.StringIO(), Terminal():
            console = Console(stream)
            console.use_color('always')
            console.write_folded(report(odd, console))
            self.assertIsNone(console.error)
            self.assertIn('1.2', stream.getvalue())


class ViewTest(unittest.TestCase):
    def setUp(self):
        self.console = Console(io.StringIO())

    @property
    def shown(self):
        return self.console._stream.getvalue()

    def test_report_shows_each_result_as_it_comes(self):
        view = Report(self.console)
        for host in 'a', 'b':
            view.started(host, 1)
            view.finished(result(host))
            view.tick()
        view.close()
        self.assertEqual(self.shown,
                         'a   0   (1.2)\n\nb   0   (1.2)\n\n')

    def test_marks_stand_on_one_line_that_another_line_ends(self):
        view = Marks(self.console)
        self.console.print_line('before')
        for outcome in 'ok', 'error', 'ssh', 'killed':
            view.finished(result(outcome=outcome))
        self.assertEqual(self.shown, 'before\n.?~!')
        self.console.print_line('between')
        self.console.print_line('them')
        view.finished(result())
        view.close()
        self.console.print_line('after')
        self.assertEqual(self.shown,
                         'before\n.?~!\nbetween\nthem\n.\nafter\n')
        self.assertEqual(self.console.below, [])

    def test_line_of_a_slow_terminal_ends_before_another_line(self):
        shown = bytearray()

        class Slow(Console):
            def _write_part(self, octets, patience):
                size = len(octets) if patience else 5 - len(shown)
                shown.extend(octets[:size])
                return size

        out, errors = Slow(io.StringIO()), Slow(io.StringIO())
        out.below = errors.below
        for console in errors, out:
            del shown[:]
            view = Stream(out, errors)
            view.open(mock.Mock(), None)
            view.data('a', 'output', b'text\n')
            self.assertEqual(shown, b'a: te')
            console.print_line('more')
            self.assertEqual(shown, b'a: text\nmore\n')
            view.close()
            self.assertEqual(shown, b'a: text\nmore\n')
            self.assertEqual(out.below, [])

    def test_run_without_results_has_no_line(self):
        for view in Marks(self.console), Report(self.console):
            view.started('h', 1)
            view.close()
        self.assertEqual(self.shown, '')


class TallyTest(unittest.TestCase):
    FAILED = (
        [result('web%d' % number, 7) for number in (1, 2, 3, 17)]
        + [result('db%d' % number, 255, outcome='ssh', cause='ssh',
                  reason='ssh failed') for number in (1, 2)]
        + [result('slow', -15, outcome='killed', cause='timeout',
                  reason='timed out after 3 s')])

    def tally(self, *results):
        tally = Tally()
        for each in results:
            tally.finished(each)
        return tally

    def test_nothing_is_said_where_all_is_well(self):
        tally = self.tally(result('a'), result('b'))
        self.assertEqual((tally.summary(), tally.status(), tally.max_status),
                         ('', 0, 0))

    def test_a_line_a_cause_most_hosts_first_and_folded(self):
        self.assertEqual(
            self.tally(result('ok'), *self.FAILED).summary(),
            '4 of 8 exited with 7: web[1-3,17]\n'
            '2 of 8 ssh failed: db[1-2]\n'
            '1 of 8 timed out after 3 s (-u): slow\n')

    def test_causes_are_told_apart_by_their_word_not_by_what_follows(self):
        tally = self.tally(*(
            result(host, 255, outcome='ssh', cause='start',
                   reason='ssh could not be started: ' + why)
            for host, why in (('a', 'no such file'), ('b', 'no memory'))))
        self.assertEqual(tally.summary(),
                         '2 of 2 ssh could not be started: a,b\n')

    def test_statuses_and_signals_are_causes_of_their_own(self):
        tally = self.tally(
            result('a', 1), result('b', 2), result('c', 1),
            result('d', -9, outcome='killed', cause='signal',
                   reason='ended by SIGKILL'),
            result('e', -11, outcome='killed', cause='signal',
                   reason='ended by SIGSEGV'))
        self.assertEqual(sorted(tally.summary().splitlines()), [
            '1 of 5 ended by SIGKILL: d', '1 of 5 ended by SIGSEGV: e',
            '1 of 5 exited with 2: b', '2 of 5 exited with 1: a,c'])

    def test_output_that_was_lost_is_told_though_all_went_well(self):
        tally = self.tally(result(
            'a', cause='output-lost', truncated=True,
            reason='output lost: out of memory'))
        self.assertEqual((tally.summary(), tally.causes()['output-lost'],
                          tally.cut),
                         ('1 of 1 output lost: a\n', ['a'], []))

    def test_output_that_was_cut_is_counted_and_is_no_failure(self):
        tally = self.tally(result('a', truncated=True))
        self.assertEqual((tally.summary(), tally.causes()['output-lost'],
                          tally.cut),
                         ('', [], ['a']))

    def test_password_is_offered_only_where_a_server_takes_one(self):
        for methods, hint in (
                ('publickey', ''), ('publickey,gssapi-with-mic', ''),
                ('publickey,password', ' (-A)'),
                ('keyboard-interactive', ' (-A)')):
            words = 'h: Permission denied (%s).\n' % methods
            for field in 'diagnostics', 'errors':
                denied = result('b', 255, outcome='ssh', cause='denied')
                self.assertEqual(
                    self.tally(denied._replace(**{field: words}),
                               denied._replace(host='a')).summary(),
                    '2 of 2 permission denied%s: a,b\n' % hint)

    def test_password_is_offered_only_where_sudo_wants_one(self):
        for words, hint in (
                ('sudo: a password is required\n',
                 ' (-A or --sudo-password)'),
                ('sudo: a terminal is required to read the password; x\n',
                 ' (-A or --sudo-password)'),
                ('sudo: sorry, you must have a tty to run sudo\n', ''),
                ('sudo: unknown user bob\n', ''), ('', '')):
            self.assertEqual(
                self.tally(result('a', 1, errors=words, cause='sudo'))
                .summary(), '1 of 1 did not run the command under sudo%s: a\n'
                % hint)

    def test_what_was_stopped_before_it_began_is_told_apart(self):
        stopped = [result(ran, -15, outcome='killed', cause='stopped',
                          reason='stopped')._replace(ran=ran)
                   for ran in ('no', 'unknown', 'yes')]
        tally = self.tally(*stopped)
        self.assertEqual(
            tally.summary(),
            '2 of 3 stopped (may run on there; --end-remote): unknown,yes\n'
            '1 of 3 stopped before COMMAND began: no\n')
        self.assertEqual(sorted(tally.causes()['stopped']),
                         ['no', 'unknown', 'yes'])

    def test_status_is_that_of_the_gravest_outcome(self):
        outcomes = [('ok', 0), ('error', 5), ('ssh', 4), ('killed', 3)]
        for count, (outcome, status) in enumerate(outcomes, 1):
            for order in 1, -1:
                tally = self.tally(*(
                    result(outcome=name, exitcode=status)
                    for name, status in outcomes[:count][::order]))
                self.assertEqual(tally.status(), status)

    def test_largest_status_of_a_command_or_255(self):
        self.assertEqual(self.tally(result(exitcode=3), result(exitcode=7),
                                    result(exitcode=1)).max_status, 7)
        for outcome, exitcode in ('ssh', 255), ('killed', -9):
            self.assertEqual(self.tally(
                result(exitcode=3),
                result(exitcode=exitcode, outcome=outcome)).max_status, 255)


class CutLineTest(unittest.TestCase):
    def test_limit_is_shown_in_the_largest_unit_that_fits(self):
        for limit, shown in ((1, '1 bytes'), (1000, '1000 bytes'),
                             (1024, '1K'), (3 << 20, '3M'), (1 << 30, '1G'),
                             ((1 << 20) + 1024, '1025K'),
                             (1 << 40, '1024G')):
            self.assertEqual(
                classh._cut_line(['a'], 2, limit),
                '1 of 2 printed more than %s and was cut (--max-output): a'
                % shown)

    def test_hosts_are_folded(self):
        self.assertEqual(
            classh._cut_line(['a1', 'a2'], 2, 1024),
            '2 of 2 printed more than 1K and were cut (--max-output): a[1-2]')


if __name__ == '__main__':
    unittest.main()
