"""-P: each line of each host as it comes, whole, with the host's name."""

import fcntl
import os
import signal
import sys
import termios
import time
import unittest

from lib import (FAKE_SSH, MIB, STOPPED, WorkTest, classh_argv, fake_argv,
                 measured, pipe_from, read_to_end, run, run_in_pty, text,
                 until, wait_until)


class StreamTest(WorkTest):
    def lines_of(self, script, *hosts, args=()):
        """What one -P of *script* writes to stdout."""
        return self.classh('-P', *args, script, *hosts or ['h']).check(
            0, None).stdout

    def test_lines_have_names_and_keep_their_streams(self):
        said = self.classh('-P', '-f1', 'echo a; echo b >&2', 'x', 'fail7')
        said.check(5, 'x: a\nfail7: out of fail7\n',
                   'x: b\nfail7: err of fail7\n'
                   'classh: fail7: exited with 7\n'
                   '1 of 2 exited with 7: fail7\n')

    def test_lines_are_shown_while_the_host_goes_on(self):
        with self.start('-P', 'echo one; printf tw; %s; echo o' % until('go'),
                        'h') as command:
            wait_until(lambda: command.stdout == 'h: one\n')
            self.write('go')
            command.finish().check(0, 'h: one\nh: two\n')

    def test_bytes_are_untouched_and_a_last_line_gets_its_end(self):
        raw = b'\xff\0\r\n\n\x1b[2J\xc3\nend'
        self.write('raw', raw)
        self.assertEqual(self.lines_of('cat raw'),
                         text(b'h: \xff\0\r\nh: \nh: \x1b[2J\xc3\nh: end\n'))
        self.assertEqual(self.lines_of('cat raw', args=['--no-prefix']),
                         text(raw) + '\n')
        self.assertEqual(self.lines_of('true'), '')

    def test_long_line_goes_in_pieces_that_are_marked(self):
        size = 1 << 16
        for length in size - 1, size, size + 1, 3 * size + 5:
            self.write('long', 'x' * length + '\ny\n')
            *pieces, last = self.lines_of('cat long').splitlines()
            self.assertEqual(last, 'h: y')
            self.assertEqual([piece[:3] for piece in pieces],
                             ['h> '] * ((length - 1) // size) + ['h: '])
            self.assertEqual(''.join(piece[3:] for piece in pieces),
                             'x' * length)

    def test_piece_ends_with_a_whole_character(self):
        self.write('long', 'x' + '\u20ac' * 30000)
        pieces = self.lines_of('cat long').splitlines()
        self.assertEqual(''.join(piece[3:] for piece in pieces),
                         'x' + '\u20ac' * 30000)

    def test_line_of_10_mb_without_a_name_is_whole(self):
        self.write('long', b'x' * 10000000)
        self.assertEqual(self.lines_of('cat long', args=['--no-prefix']),
                         'x' * 10000000 + '\n')

    def test_host_that_prints_for_ever_without_a_line_takes_no_memory(self):
        for args in (), ('--no-prefix',):
            run(measured(fake_argv('-P', '-u2', *args, 'cat /dev/zero', 'h'),
                         self.path('peak')), before='exec >/dev/null').check(
                3, '', None)
            self.assertLess(int(self.read('peak')), 150 << 10)

    def test_lines_of_many_hosts_are_never_mixed(self):
        lines = self.lines_of(
            'n=0; while [ $((n += 1)) -le 50 ]; do printf "$HOST "; '
            'printf $n; echo; done', 'h[1-20]').splitlines()
        self.assertEqual(sorted(lines), sorted(
            'h%d: h%d %d' % (host, host, n) for host in range(1, 21)
            for n in range(1, 51)))

    def test_all_of_it_is_shown_whatever_is_kept(self):
        self.classh('-P', '--max-output', '2', 'echo 12345', 'h').check(
            0, 'h: 12345\n', '')
        self.classh('-P', '--max-output', '2', '-S', 'out/', 'echo 12345',
                    'h').check(1, 'h: 12345\n', '1 of 1 printed more than 2 '
                               'bytes and was cut (--max-output): h\n')

    def test_names_on_stdout_move_the_lines_to_stderr(self):
        said = self.classh('-P', '-S', '-', 'echo a; sleep .1; echo b >&2',
                           'h')
        said.check(0, 'h\n', 'h: a\nh: b\n')

    def test_interrupted_all_that_came_is_there(self):
        with self.start('-P', 'printf "up\\npart"; sleep 60',
                        'h[1-2]') as command:
            wait_until(lambda: command.stdout.count('up') == 2)
            command.signal(signal.SIGINT)
            said = command.finish().check(
                130, None, '2 of 2 ' + STOPPED + 'h[1-2]\n')
        self.assertEqual(sorted(said.stdout.splitlines()),
                         ['h1: part', 'h1: up', 'h2: part', 'h2: up'])

    def test_full_disk_is_told_once(self):
        self.classh('-P', 'echo a; echo b', 'h[1-2]',
                    before='exec >/dev/full').check(
            1, '', 'classh: stdout: No space left on device\n')

    def test_reader_who_leaves_ends_the_run_in_silence(self):
        said = run(['sh', '-c', '{ "$@"; echo $? >status; } | head -n1', '-']
                   + classh_argv('--ssh', FAKE_SSH, '-P', 'yes', 'h[1-3]'),
                   cwd=self.directory)
        self.assertRegex(said.stdout, r'\Ah[1-3]: y\n\Z')
        self.assertEqual((said.stderr, self.read('status')), ('', '141\n'))

    def test_usage(self):
        self.classh('--no-prefix', 'true', 'h').check(
            2, '', 'classh: --no-prefix needs -P\n')


class SlowReaderTest(WorkTest):
    # 3 hosts with 2 MiB each: when 1 MiB waits, none of them is read.
    COMMAND = ('touch up-$HOST; yes ${HOST}%s | head -c %d; echo; '
               'touch done-$HOST' % ('x' * 1000, 2 * MIB))

    def test_reading_stops_and_no_job_is_charged(self):
        argv = measured(fake_argv('-P', '-u4', self.COMMAND, 'h[1-3]'),
                        self.path('peak'))
        with pipe_from(argv, cwd=self.directory) as (command, pipe):
            wait_until(lambda: os.path.exists(self.path('up-h3')))
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() > begun + 5)
            done = [name for name in os.listdir(self.directory)
                    if name.startswith('done')]
            shown = read_to_end(pipe)
            command.finish().check()
        self.assertEqual(done, [])
        for host in 'h1', 'h2', 'h3':
            self.assertEqual(
                sum(len(line) - 3 for line in shown.splitlines(True)
                    if line.startswith(host + ': ')) // MIB, 2)
        self.assertLess(int(self.read('peak')), 80 << 10)

    def test_little_output_waits_and_the_jobs_come_to_their_end(self):
        argv = fake_argv('-P', 'head -c 300000 /dev/zero | tr "\\0" x; '
                         'echo; touch done-$HOST', 'h[1-3]')
        with pipe_from(argv, cwd=self.directory) as (command, pipe):
            wait_until(lambda: len(os.listdir(self.directory)) == 3)
            shown = read_to_end(pipe)
            command.finish().check()
        self.assertEqual(shown.count('x'), 900000)

    def test_ctrl_c_gives_up_on_a_reader_who_does_not_read(self):
        with pipe_from(fake_argv('-P', 'yes', 'h')) as (command, pipe):
            # A full pipe has no room for PIPE_BUF bytes.
            wait_until(lambda: int.from_bytes(fcntl.ioctl(
                pipe, termios.FIONREAD, bytes(4)), sys.byteorder) > 60000)
            command.signal(signal.SIGINT)
            said = command.finish().check(130, None, None)
        self.assertIn('classh: stdout: blocked, its reader does not read\n',
                      said.stderr)


class TerminalTest(WorkTest):
    def test_lines_are_escaped_and_go_on_with_an_indent(self):
        said = run_in_pty(fake_argv(
            '-P', '--color', 'never', r'printf "a\r\n\033[2Jred\rover and on '
            r'and on to the end\n"', 'web1'), size=(24, 30))
        self.assertEqual(
            said.stdout, 'web1: a\r\nweb1: \\x1b[2Jred\\x0dover and \r\n'
            '  on and on to the end\r\n', said)

    def test_names_have_colours(self):
        said = run_in_pty(fake_argv('-P', '--color', 'always', 'echo a', 'h'))
        self.assertRegex(said.stdout, '\\A\x1b\\[[0-9;]+mh\x1b\\[0m: a\r\n')


if __name__ == '__main__':
    unittest.main()
