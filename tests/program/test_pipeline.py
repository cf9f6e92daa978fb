"""What comes in on stdin: hosts, as they arrive, or input for every host."""

import contextlib
import glob
import os
import random
import signal
import socket
import subprocess

from lib import (FAKE_SSH, Command, WorkTest, classh_argv, fake_argv, measured,
                 read_log, run, run_in_pty, shell, together, until, wait_until)
import classh

RAN = 'touch ran-$HOST'


class PipelineTest(WorkTest):
    def ran(self):
        """The hosts that RAN has run on."""
        return sorted(name[4:] for name in os.listdir(self.directory)
                      if name.startswith('ran-'))

    def pipe(self):
        """The two ends of a pipe, closed when the test ends."""
        ends = [os.fdopen(fd, mode, 0)
                for fd, mode in zip(os.pipe(), ('rb', 'wb'))]
        for end in ends:
            self.addCleanup(end.close)
        return ends

    def shell(self, script, *args, **options):
        """Run a shell script that knows the command classh."""
        script = 'classh() { %s "$@"; }\n%s' % (
            shell(*fake_argv()), script)
        options.setdefault('cwd', self.directory)
        return run(['sh', '-c', script, 'sh'] + list(args), **options)


# -- Hosts on stdin ----------------------------------------------------------

class StdinHostsTest(PipelineTest):
    def test_first_host_has_run_before_the_producer_has_ended(self):
        # The producer ends only when it has.
        self.shell('{ echo a; %s; echo b; } | classh -q %r -' % (
            until('ran-a'), RAN)).check()
        self.assertEqual(self.ran(), ['a', 'b'])

    def test_line_is_taken_when_it_is_whole(self):
        with self.start('-q', RAN, '-', stdin=subprocess.PIPE) as command:
            for octets, hosts in ((b'a\nwe', ['a']),
                                  (b'b1\n', ['a', 'web1']),
                                  (b'b c\nd[1-2],e\n\n#', ['a', 'b', 'c', 'd1',
                                                           'd2', 'e', 'web1']),
                                  (b'f\ng', None)):
                command.send(octets)
                if hosts:
                    wait_until(lambda: self.ran() == hosts, what=hosts)
            command.finish().check()
        self.assertEqual(self.ran(), hosts or [
            'a', 'b', 'c', 'd1', 'd2', 'e', 'g', 'web1'])

    def test_lines_have_the_forms_of_a_file_of_hosts(self):
        self.classh('-q', RAN, '-', stdin=b'\xef\xbb\xbfa\r\n'
                    b'\tb  # with a comment\r\n\n#c\nbob@d:22, e,f').check()
        self.assertEqual(self.ran(), ['a', 'b', 'd', 'e', 'f'])

    def test_stdin_may_be_a_file(self):
        self.write('hosts', 'read before\nh[001-250]\nh[251-500]\n')
        # From where it stands.
        self.shell('{ read -r line; classh -q --ssh true -S names x -; '
                   '} <hosts').check()
        self.assertEqual(sorted(self.lines('names')),
                         list(classh.expand('h[001-500]')))

    def test_stdin_may_be_a_terminal(self):
        argv = fake_argv('echo done', '-')
        ended = run_in_pty(argv, [('', 'a\n'), ('a   0   (', 'b1 b2\n'),
                                  ('b2   0   (', '\x04')])
        ended.check(0, None)
        self.assertEqual(ended.stdout.count('  done'), 3, ended)

    def test_stdin_may_be_a_socket(self):
        ours, theirs = socket.socketpair()
        with ours, theirs, self.start('-q', RAN, '-',
                                      stdin=theirs) as command:
            ours.sendall(b'a\n')
            wait_until(lambda: self.ran() == ['a'])
            ours.sendall(b'b\n')
            ours.shutdown(socket.SHUT_WR)
            command.finish().check()
        self.assertEqual(self.ran(), ['a', 'b'])

    def test_stdin_may_be_set_not_to_block(self):
        # By somebody who has it too.
        reader, writer = self.pipe()
        os.set_blocking(reader.fileno(), False)
        with self.start('-q', RAN, '-', stdin=reader) as command:
            for host in 'a', 'b':
                writer.write(b'%s\n' % host.encode())
                wait_until(lambda: 'ran-' + host in os.listdir(self.directory))
            writer.close()
            command.finish().check()

    def test_stdin_may_be_empty_or_closed(self):
        # As when no host of the last stage was good: nothing is to be done.
        for options in ({}, {'stdin': b''}, {'stdin': b'\n # none\n'},
                        {'before': 'exec <&-'},
                        {'before': 'exec <&- >&-'}):
            self.classh('-q', '-S', '|cat >good', '-E', 'bad/', RAN, '-',
                        **options).check()
            self.assertEqual(self.read('good'), '')
            self.classh('-q', RAN, 'a', '-', **options).check()
            self.assertEqual(self.ran(), ['a'])
            os.remove(self.path('ran-a'))

    def test_stdin_that_cannot_be_read_is_refused_before_anything_runs(self):
        self.classh('-q', RAN, 'a', '-', before='exec 0>out').check(
            2, '', 'classh: stdin: Bad file descriptor\n')
        self.assertEqual(self.ran(), [])

    def test_bad_line_is_reported_and_skipped(self):
        ended = self.classh('-q', RAN, '-', stdin='a\nb[1 x\n\n'
                            '-oProxyCommand=x\nc\nd/e\nf')
        ended.check(1, '', None)
        self.assertEqual(self.ran(), ['a', 'c', 'f'])
        lines = ended.stderr.splitlines()
        self.assertEqual(len(lines), 3, ended)
        for line, number, part in zip(lines, (2, 4, 6), (
                'b[1', '-oProxyCommand=x', 'd/e')):
            self.assertTrue(line.startswith('classh: stdin:%d: ' % number)
                            and repr(part) in line and 'skipped' in line,
                            ended)

    def test_bad_line_is_reported_when_it_comes_and_the_run_goes_on(self):
        with self.start('-q', RAN, '-', stdin=subprocess.PIPE) as command:
            for line, there in ((b'[\n', lambda: 'stdin:1' in command.stderr),
                                (b'a\n', lambda: self.ran() == ['a']),
                                (b']\n', lambda: 'stdin:3' in command.stderr),
                                (b'b\n', lambda: self.ran() == ['a', 'b'])):
                command.send(line)
                wait_until(there, what=line)
            command.finish().check(1, '', None)

    def test_other_hosts_do_not_wait_for_stdin(self):
        for args in ['x', '-', 'y'], ['-', 'x,y'], ['x', 'y', '-']:
            with self.start('-q', RAN, *args,
                            stdin=subprocess.PIPE) as command:
                wait_until(lambda: self.ran() == ['x', 'y'], what=args)
                command.stdin.write(b'a\n')
                command.finish().check()
            self.assertEqual(self.ran(), ['a', 'x', 'y'])
            for name in self.ran():
                os.remove(self.path('ran-' + name))

    def test_host_runs_once_wherever_it_is_named(self):
        log = self.path('log')
        self.classh('-q', 'true', 'a', '-', 'b', '-',
                    stdin='b c\nc a\nd\nd\nc\n',
                    env={'FAKE_SSH_LOG': log}).check()
        self.assertEqual(sorted(line for line in self.lines('log')
                                if line[0] == '+'),
                         ['+ a', '+ b', '+ c', '+ d'])

    def test_excluded_hosts_are_left_out(self):
        self.write('out', 'c\n')
        self.classh('-q', RAN, '-', '-x', 'b[1-2]', '-x', './out',
                    stdin='a\nb[0-3]\nc\n').check()
        self.assertEqual(self.ran(), ['a', 'b0', 'b3'])

    def test_excluded_hosts_do_not_come_from_stdin(self):
        self.classh('true', 'a', '-x', '-', stdin='a').check(2, '', None)

    def test_bracket_may_be_taken_literally(self):
        self.classh('-q', '--noexpand', '-S', 'names', 'true', '-',
                    stdin='a[1-2]\n').check()
        self.assertEqual(self.read('names'), 'a[1-2]\n')

    def test_list_prints_hosts_as_they_arrive(self):
        for blocking in True, False:    # as somebody may have set it
            reader, writer = self.pipe()
            os.set_blocking(reader.fileno(), blocking)
            with self.start('--list', 'x', '-', stdin=reader) as command:
                for octets, shown in ((b'', 'x\n'),
                                      (b'a[1-2]\nb', 'x\na1\na2\n'),
                                      (b'c\n', 'x\na1\na2\nbc\n')):
                    writer.write(octets)
                    wait_until(lambda: command.stdout == shown, what=shown)
                writer.write(b'x\nd')
                writer.close()
                command.finish().check(stdout=shown + 'd\n')

    def test_fanout_holds(self):
        for stdin in ['h[1-9]\n', ''.join('h%d\n' % n for n in range(1, 10))]:
            log = self.path('log')
            self.classh('-q', '-f3', together(3), '-', stdin=stdin,
                        env={'FAKE_SSH_LOG': log}).check()
            started, most = read_log(log)
            self.assertEqual((len(started), most), (9, 3))
            for name in log, 'come':
                os.remove(self.path(name))

    def test_ctrl_c_ends_the_wait_for_more(self):
        reader, writer = self.pipe()
        for number, status in (signal.SIGINT, 130), (signal.SIGTERM, 143):
            with self.start('echo done', '-', stdin=reader) as command:
                writer.write(b'a\n')
                wait_until(lambda: 'done' in command.stdout)
                command.signal(number)
                command.finish().check(status, None, None)
        argv = fake_argv('echo done', '-')
        run_in_pty(argv, [('', 'a\n'), ('  done', '\x03')]).check(130, None)

    def test_producer_is_not_read_far_ahead_of_the_hosts(self):
        # Else an endless one takes all memory.
        reader, writer = self.pipe()
        os.set_blocking(writer.fileno(), False)
        with self.start('-q', '-f1', RAN + '; ' + until('go'), 'first', '-',
                        stdin=reader) as command:
            wait_until(self.ran)
            given = 0
            try:
                for number in range(1 << 17):       # 16 MB
                    line = b'h%d.%s\n' % (number, b'x' * 116)
                    if writer.write(line) != len(line):
                        wait_until(lambda: self.writable(writer), .5)
                    given += len(line)
            except AssertionError:
                pass                    # it is not read now: good
            command.signal(signal.SIGTERM)
            command.finish().check(143)
        self.assertLess(given, 4 << 20)

    @staticmethod
    def writable(pipe):
        try:
            return pipe.write(b'\n')
        except BlockingIOError:
            return False


# -- Two and three in a row --------------------------------------------------

class ChainTest(PipelineTest):
    def test_two_run_at_the_same_time(self):
        # The first waits on b until the second has run on a.
        ended = self.shell("""
            classh -q -S - '[ $HOST != b ] || %s' a b fail7 |
            classh 'touch second-$HOST' -""" % until('second-a')).check(
                0, None)
        self.assertEqual(ended.stdout.count('   0   ('), 2)

    def test_three_run_at_the_same_time_and_none_sees_a_bad_host(self):
        self.shell("""
            classh -q -S - -E bad1 'case $HOST in b) %s ;; c) false; esac' \
                a b c d fail7 |
            classh -q -S - -E bad2 'test $HOST != d' - |
            classh -q 'touch third-$HOST' -""" % until('third-a')).check()
        self.assertEqual(sorted(name for name in os.listdir(self.directory)
                                if name.startswith('third-')),
                         ['third-a', 'third-b'])
        self.assertEqual(sorted(self.lines('bad1')), ['c', 'fail7'])
        self.assertEqual(self.read('bad2'), 'd\n')

    def test_next_one_that_fails_ends_the_one_before_it(self):
        self.shell("""
            { classh -q -S - '[ $HOST = a ] || %s' a b slow
              echo $? >status; } | { classh true - --no-such-option 2>message
                                     exec <&-; touch gone; %s; }
            """ % (until('gone'), until('status'))).check()
        self.assertEqual(self.read('status'), '141\n')
        self.assertEqual(len(self.lines('message')), 1)

    def test_sink_may_be_the_next_one_too(self):
        next_one = shell(*fake_argv('-q', 'touch next-$HOST', '-'))
        self.classh('-q', '-S', next_one, '[ $HOST = a ] || '
                    + until('next-a'), 'a', 'b').check()
        self.assertTrue(os.path.exists(self.path('next-b')))


# -- The same input for every host -------------------------------------------

class InputTest(PipelineTest):
    def all_got(self, octets, *hosts):
        for host in hosts:
            with open(self.path('got-' + host), 'rb') as file:
                self.assertTrue(file.read() == octets, host)

    def test_every_host_gets_every_byte_of_a_file_or_a_pipe(self):
        for size in 0, 1, 65536, 1000000:
            blob = os.urandom(size)
            self.write('blob', blob)
            # With a fanout of 2 most start when it has been read already.
            for source in 'classh "$@" <blob', 'cat blob | classh "$@"':
                self.shell(source, '-q', '-I', '-f2', 'cat >got-$HOST',
                           'h[1-5]').check()
                self.all_got(blob, 'h1', 'h2', 'h3', 'h4', 'h5')

    def test_file_is_read_from_where_it_stands(self):
        self.write('file', 'first\nsecond\nthird\n')
        self.shell('{ read -r line; classh -q -I "cat >got-\\$HOST" a b; }'
                   ' <file').check()
        self.all_got(b'second\nthird\n', 'a', 'b')

    def test_slow_producer_is_passed_on_as_it_comes(self):
        # It says more only when both hosts have what it said.
        reader, writer = self.pipe()
        with self.start('-q', '-I', 'while read -r line; do echo $line >>got-'
                        '$HOST; done', 'a', 'b', stdin=reader) as command:
            said = b''
            for number in range(20):
                line = b'%d %d\n' % (number, random.random() * 1e9)
                said += line
                writer.write(line)
                wait_until(lambda: {self.read('got-a'), self.read('got-b')}
                           == {said.decode()}, what='%d lines' % number)
            writer.close()
            command.finish().check()
        self.all_got(said, 'a', 'b')

    def test_input_may_be_a_socket(self):
        blob = os.urandom(300000)
        ours, theirs = socket.socketpair()
        with ours, theirs, self.start('-q', '-I', 'cat >got-$HOST', 'a', 'b',
                                      stdin=theirs) as command:
            ours.sendall(blob)
            ours.shutdown(socket.SHUT_WR)
            command.finish().check()
        self.all_got(blob, 'a', 'b')

    def test_input_may_be_set_not_to_block(self):
        reader, writer = self.pipe()
        os.set_blocking(reader.fileno(), False)
        with self.start('-q', '-I', RAN + '; cat >got-$HOST', 'a', 'b',
                        stdin=reader) as command:
            wait_until(lambda: self.ran() == ['a', 'b'])
            writer.write(b'said\n')
            wait_until(lambda: self.read('got-a') == 'said\n')
            writer.close()
            command.finish().check()
        self.all_got(b'said\n', 'a', 'b')

    def test_each_host_reads_at_its_own_pace(self):
        blob = os.urandom(3000000)
        self.write('blob', blob)
        for source in 'exec "$@" <blob', 'cat blob | "$@"':
            argv = fake_argv('-I', '[ $HOST = fast ] || '
                             + until('go') + '; cat >got-$HOST',
                             'busy', 'fast', 'idle')
            with Command(['sh', '-c', source, 'sh'] + argv,
                         cwd=self.directory) as command:
                wait_until(lambda: 'fast   0   (' in command.stdout)
                self.all_got(blob, 'fast')
                self.write('go')
                command.finish().check(stdout=None)
            self.all_got(blob, 'busy', 'fast', 'idle')
            os.remove(self.path('go'))

    def test_host_that_does_not_read_is_no_error(self):
        self.write('blob', os.urandom(1000000))
        for source in 'classh "$@" <blob', 'cat blob | classh "$@"':
            for command in ('true', 'exec <&-; echo closed >&2',
                            'head -c 10 >head', 'read -r line'):
                self.shell(source, '-q', '-I', command, 'a', 'b').check()
            # Its own failure is, and no other host misses anything.
            self.shell(source, '-q', '-I', '[ $HOST = a ] && exit 3; cat >got-'
                       '$HOST', 'a', 'b', 'exit7').check(5)
            self.all_got(self.blob(), 'b')

    def blob(self):
        with open(self.path('blob'), 'rb') as file:
            return file.read()

    def test_endless_input_ends_with_the_hosts(self):
        for source in ('yes | classh "$@"', 'classh "$@" </dev/zero'):
            for command in 'true', 'head -c 3000000 >/dev/null', 'exec <&-':
                self.shell(source, '-q', '-I', command, 'a', 'b').check()

    def test_silent_input_does_not_hold_up_hosts_that_do_not_read(self):
        reader, writer = self.pipe()
        self.classh('-q', '-I', 'true', 'a', 'b', stdin=reader).check()
        self.classh('-q', '-I', '-u', '2', '[ $HOST = b ] || cat', 'a', 'b',
                    stdin=reader).check(3)
        with self.start('-q', '-I', 'touch ran-$HOST; cat', 'a',
                        stdin=reader) as command:
            wait_until(lambda: self.ran() == ['a'])
            command.signal(signal.SIGINT)
            command.finish().check(130)

    def test_100_mb_take_no_memory(self):
        # Read by one host when the other has read nothing yet.
        with open(self.path('big'), 'wb') as big:
            subprocess.check_call(['seq', '12400000'], stdout=big)
        self.assertGreater(os.path.getsize(self.path('big')), 100000000)
        with open(self.path('big'), 'rb') as big:
            wanted = run(['md5sum'], stdin=big).stdout
        for source in '"$@" <big', 'cat big | "$@"':
            argv = measured(classh_argv(
                '--ssh', FAKE_SSH, '-q', '-I', '[ $HOST = a ] || %s\n'
                'md5sum >sum-$HOST; %s' % (until('ran-a'), RAN), 'a', 'b'),
                'peak')
            run(['sh', '-c', source, 'sh'] + argv, cwd=self.directory).check()
            self.assertEqual(self.read('sum-a'), wanted)
            self.assertEqual(self.read('sum-b'), wanted)
            self.assertLess(int(self.read('peak')), 50 << 10)
            os.remove(self.path('ran-a'))

    def test_copy_that_does_not_fit_on_the_disk(self):
        os.mkdir(self.path('tmp'))
        for tmp, before in (('tmp', 'ulimit -f 200'), ('nosuch', 'cd /')):
            ended = self.shell('%s; head -c 1000000 /dev/zero | classh "$@"'
                               % before, '-I', 'cat >/dev/null', 'a', 'b',
                               env={'TMPDIR': self.path(tmp)})
            self.assertNotIn('Traceback', ended.stderr, ended)
            if tmp == 'tmp':
                # Half of the input must not pass for all of it.
                ended.check(3, None, None)
                for host in 'ab':
                    self.assertRegex(ended.stdout, r'(?m)^%s   -15   .*'
                                     'input lost: File too large$' % host)

    def test_file_that_changes_meanwhile_is_input_lost(self):
        # Half of the input, or half of each, must not pass for all of it.
        old = b'o' * 3000000
        changes = {
            'truncated': 'wb', 'rewritten': 'r+b', 'longer': 'ab'}
        for name, mode in changes.items():
            with self.subTest(name=name):
                path = self.write('file', old)
                with open(path, 'rb') as source:
                    command = self.start(
                        '-I', '-f2', 'if [ $HOST = a ]; then cat; '
                        'else head -c 9; touch ready-$HOST; %s; cat; fi'
                        % until('go'), 'a', 'b', 'c', stdin=source)
                with command:
                    wait_until(lambda: 'a   0' in command.stdout
                               and os.path.exists(self.path('ready-b')))
                    with open(path, mode) as changed:
                        changed.write(b'n')
                    self.write('go')
                    ended = command.finish().check(3, None, None)
                self.assertIn('o' * len(old), ended.stdout)
                for host in 'bc':
                    if host + '   ' in ended.stdout:
                        self.assertRegex(
                            ended.stdout, r'(?m)^%s   -15   .*'
                            'input lost: the file has changed$' % host)
                for left in 'file', 'go', 'ready-b', 'ready-c':
                    if os.path.exists(self.path(left)):
                        os.remove(self.path(left))

    def test_hosts_not_started_for_lost_input_are_named_with_q(self):
        # The exit status alone could be that of the others.
        path = self.write('file', b'o' * 3000000)
        with open(path, 'rb') as source:
            command = self.start(
                '-q', '-E', 'bad', '-I', '-f1',
                'head -c 9; touch ready; %s; cat' % until('go'), 'h[1-3]',
                stdin=source)
        with command:
            wait_until(lambda: os.path.exists(self.path('ready')))
            self.write('file', b'new')
            self.write('go')
            command.finish().check(3, '', '2 of 3 not started: h[2-3]\n')
        self.assertEqual(self.lines('bad'), ['h1'])

    def test_file_that_is_read_as_it_is_made(self):
        # Its size says 0, or a page, and what it holds is another matter.
        for path in '/proc/self/cmdline', '/proc/filesystems':
            with open(path, 'rb') as file:
                wanted = file.read()
                file.seek(0)
                self.classh('-q', '-I', 'cat >got-$HOST', 'a', 'b',
                            stdin=file).check()
                self.all_got(wanted, 'a', 'b')

    def test_file_that_never_ends_holds_nobody_up(self):
        # It passes for a regular file, and waits for the kernel to speak.
        for fd in glob.glob('/proc/[0-9]*/fd/*'):
            with contextlib.suppress(OSError):
                if os.readlink(fd) == '/proc/kmsg':
                    self.skipTest('somebody else is to read /proc/kmsg')
        try:
            file = open('/proc/kmsg', 'rb')
        except OSError:
            self.skipTest('may not read /proc/kmsg')
        with file:
            self.classh('-q', '-I', 'true', 'a', 'b', stdin=file).check()
            self.classh('-q', '-I', '-u1', 'cat >/dev/null', 'a', 'b',
                        stdin=file).check(3)
            with self.start('-q', '-I', 'touch ran-$HOST; cat >/dev/null',
                            'a', stdin=file) as command:
                wait_until(lambda: os.path.exists(self.path('ran-a')))
                command.signal(signal.SIGINT)
                command.finish().check(130)

    def test_input_that_cannot_be_read(self):
        ended = self.classh('-q', '-I', 'cat', 'a', before='exec 0>out')
        ended.check(2, '', None)
        self.assertIn('classh: stdin: Bad file descriptor\n', ended.stderr)

    def test_closed_stdin_is_empty_input(self):
        self.classh('-q', '-I', 'cat >got-$HOST', 'a',
                    before='exec <&-').check()
        self.all_got(b'', 'a')

    def test_terminal_is_not_sent(self):
        ended = run_in_pty(fake_argv('-I', 'cat', 'a'))
        ended.check(2, None)
        self.assertRegex(ended.stdout, r'\Aclassh: -I [^\n]*\n\Z', ended)

    def test_input_and_hosts_cannot_both_be_on_stdin(self):
        ended = self.classh('-I', 'cat', 'a', '-', stdin='b\n')
        ended.check(2, '', None)
        self.assertRegex(ended.stderr, r'\Aclassh: [^\n]*stdin[^\n]*\n\Z')

    def test_hosts_without_it_have_an_empty_stdin(self):
        self.classh('-q', 'cat >got-$HOST', 'a', '-', stdin='b\n').check()
        self.all_got(b'', 'a', 'b')
