"""A directory as target: names of files, and what is in them."""

import os
import sys
import threading
from unittest import mock

from lib import FAKE_SSH, MODULE, fake_argv, measured, run
from lib.sinks import SinkTest, reported
import classh


class DirectoryTest(SinkTest):
    def test_unusual_hosts_have_files_of_their_own(self):
        hosts = ['bob@web1:22', 'web1', 'web1:22', '::1', '[::1]:22',
                 'fe80::1%eth0', '..', '.x', '%2E', 'y' * 300]
        self.classh('-q', '-S', 'in/out/', 'printf %s "$TARGET"', 'x',
                    *hosts).check(2, '', None)
        os.mkdir(self.path('in'))
        self.classh('-q', '-S', 'in/out/', 'printf %s "$TARGET:$PORT"',
                    *hosts).check()
        self.assertEqual(os.listdir(self.path('in')), ['out'])
        self.assertEqual(len(os.listdir(self.path('in/out'))), 2 * len(hosts))
        for name, said in (('bob@web1:22', 'bob@web1:22'), ('::1', '::1:22'),
                           ('[::1]:22', '::1:22'), ('web1', 'web1:22'),
                           ('%2E.', '..:22'), ('%252E', '%2E:22')):
            self.assertEqual(self.read('in/out/%s.out' % name), said)

    def test_bytes_are_what_the_host_sent(self):
        blob = bytes(range(256)) + os.urandom(100000) + b'\r\n\0'
        self.write('blob', blob)
        self.classh('-q', '-S', 'out/', 'cat blob; cat blob blob >&2',
                    'a', 'binary').check()
        for name, octets in (('a.out', blob), ('a.err', blob + blob),
                             ('binary.out', b'\xff\xfe\0\xe9'),
                             ('binary.err', b'')):
            with open(self.path('out/' + name), 'rb') as file:
                self.assertEqual(file.read(), octets, name)

    def test_40_hosts_of_5_mb_each_in_little_memory(self):
        line = b'%06d: all is well on this host, says its log \xff\0\xc3\n'
        log = b''.join(line % number for number in range(5000000 // 55 + 1))
        self.write('log', log)
        argv = fake_argv('-q', '-S', 'out/', 'echo $HOST; cat log', 'h[1-40]')
        run(measured(argv, 'peak'), cwd=self.directory).check()
        self.assertEqual(len(os.listdir(self.path('out'))), 80)
        for host in classh.expand('h[1-40]'):
            with open(self.path('out/%s.out' % host), 'rb') as file:
                self.assertTrue(file.read() == host.encode() + b'\n' + log,
                                host)
        self.assertLess(int(self.read('peak')), 120 << 10)      # of 200 MB

    def test_exit_status_is_written_last_and_whole(self):
        # Whoever sees it finds all of the rest.
        done, problems = threading.Event(), []

        def watch():
            seen = set()
            while not done.is_set():
                for name in set(os.listdir(self.path('bad'))) - seen:
                    if name.endswith('.ret') and not name.startswith('.'):
                        seen.add(name)
                        host = name[:-4]
                        found = [self.read('bad/' + host + ending)
                                 for ending in ('.out', '.err', '.why',
                                                '.ret')]
                        if found != ['out of %s\n' % host,
                                     'err of %s\n' % host,
                                     'cause: \nreason: exited with 7\n'
                                     'ran: yes\n', '7\n']:
                            problems.append((host, found))
        os.mkdir(self.path('bad'))
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.classh('-q', '-E', 'bad', 'true', 'fail7-[1-100]').check(5)
        finally:
            done.set()
            watcher.join()
        self.assertEqual(problems, [])
        self.assertEqual(len(os.listdir(self.path('bad'))), 400)

    KILLED = """if 1:
        import classh, os, signal, sys
        write_all = classh._write_all
        def half(fd, octets):
            if octets == %r:
                write_all(fd, octets[:len(octets) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            write_all(fd, octets)
        classh._write_all = half
        sys.exit(classh.main())
        """

    def test_half_a_file_does_not_pass_for_a_whole_one_after_sigkill(self):
        for octets, there in ((b'out of fail77\n', []),
                              (b'err of fail77\n', ['fail77.out']),
                              (b'cause: \nreason: exited with 77\n'
                               b'ran: yes\n', ['fail77.err', 'fail77.out']),
                              (b'77\n', ['fail77.err', 'fail77.out',
                                         'fail77.why'])):
            self.classh('-q', '-E', 'bad/', 'true', 'fail77').check(5)
            run([sys.executable, '-c', self.KILLED % octets, '--ssh',
                 FAKE_SSH, '-E', 'bad/', 'true', 'fail77'],
                cwd=self.directory, env={'PYTHONPATH': MODULE}).check(-9)
            self.assertEqual([name for name in sorted(os.listdir(
                self.path('bad'))) if not name.startswith('.')], there)
            self.assertNotEqual(os.listdir(self.path('bad')), there)
        # What it leaves is in nobody's way.
        self.classh('-q', '-E', 'bad/', 'true', 'fail77').check(5)
        self.assertEqual(self.read('bad/fail77.ret'), '77\n')

    def test_two_runs_that_store_one_host_at_a_time_leave_a_whole_file(self):
        result = classh.Result('h', 0, 'one\n', 'err\n', 1.0, 2.0, 'ok', '',
                               False)
        sinks = [classh.DirectorySink(self.path('out'), self.fail)
                 for _ in range(2)]
        for sink in sinks:
            sink.open(None)
            self.addCleanup(sink.close, lambda: 0)
        write_all, stored = classh._write_all, []

        def interrupted(fd, octets):
            write_all(fd, octets[:2])
            if not stored:
                stored.append(result)
                sinks[1].finished(result._replace(output='the other\n'))
                self.assertEqual(self.read('out/h.out'), 'the other\n')
            write_all(fd, octets[2:])
        with mock.patch('classh._write_all', interrupted):
            sinks[0].finished(result)
        self.assertEqual(self.read('out/h.out'), 'one\n')
        self.assertEqual(sorted(os.listdir(self.path('out'))),
                         ['h.err', 'h.out'])

    def test_exit_status_and_reason_of_an_earlier_run_are_removed(self):
        self.classh('-q', '-E', 'out/', 'false', 'a', 'b').check(5)
        self.classh('-q', '-S', 'out/', 'true', 'a').check()
        self.assertEqual(sorted(os.listdir(self.path('out'))),
                         ['a.err', 'a.out', 'b.err', 'b.out', 'b.ret',
                          'b.why'])

    def test_files_of_an_earlier_run_are_replaced_not_written_to(self):
        self.classh('-q', '-S', 'out/', 'echo long before', 'a').check()
        os.link(self.path('out/a.out'), self.path('kept'))
        self.write('out/other', 'stays\n')
        self.classh('-q', '-S', 'out/', 'echo now', 'a').check()
        self.assertEqual(self.read('out/a.out'), 'now\n')
        self.assertEqual(self.read('kept'), 'long before\n')
        self.assertEqual(self.read('out/other'), 'stays\n')

    def test_what_is_in_the_way_is_neither_followed_nor_removed(self):
        self.write('victim', 'precious\n')
        os.mkdir(self.path('out'))
        for ending in ('.out', '.err', '.why', '.ret'):
            blocked = self.path('out/fail7' + ending)
            for make in (lambda path: os.symlink('../victim', path),
                         lambda path: os.symlink('../unmade', path),
                         lambda path: os.symlink('/dev/full', path),
                         os.mkfifo, os.mkdir):
                make(blocked)
                ended = self.classh('-q', '-f1', '-E', 'out', 'true',
                                    'fail7', 'fail9').check(1, '', None)
                self.assertRegex(ended.stderr, r'\Aclassh: out: fail7: not'
                                 r' a regular file[^\n]*\n'
                                 r'classh: 1 not delivered to out: fail7\n\Z')
                self.assertTrue(os.path.lexists(blocked))
                self.assertFalse(os.path.isfile(
                    self.path('out/fail7.ret')) and ending != '.ret')
                self.assertEqual(self.read('out/fail9.ret'), '9\n')
                if os.path.isdir(blocked):
                    os.rmdir(blocked)
                else:
                    os.remove(blocked)
        self.assertEqual(self.read('victim'), 'precious\n')
        self.assertFalse(os.path.exists(self.path('unmade')))

    def test_directory_that_vanishes_costs_one_warning_and_the_rest(self):
        ended = self.classh('-f1', '-S', 'out/', '[ $HOST != b ] || rm -r out',
                            'a', 'b', 'c').check(1, None, None)
        self.assertEqual(ended.stderr,
                         'classh: out/: b: No such file or directory\n'
                         'classh: 2 not delivered to out/: b,c\n')
        self.assertEqual(reported(ended.stdout), ['a', 'b', 'c'], ended)

    def test_directory_that_becomes_a_link_is_not_followed(self):
        os.mkdir(self.path('elsewhere'))
        self.classh('-q', '-f1', '-S', 'out/', '[ $HOST != a ] || { mv out was'
                    ' && ln -s elsewhere out; }', 'a', 'b').check()
        self.assertEqual(os.listdir(self.path('elsewhere')), [])
        self.assertEqual(len(os.listdir(self.path('was'))), 4)

    def test_what_was_cut_is_said_and_is_no_success(self):
        cut = '1 of 2 printed more than 5 bytes and was cut (--max-output): h'
        for target in ['-S', 'out/'], ['--pickle', 'all']:
            for view, said in (['-q'], 'classh: '), (['--progress'], '..\n'), (
                    [], ''):
                self.classh(*target, *view, '--max-output', '5',
                            '[ $HOST = a ] || echo 123456', 'h', 'a').check(
                    1, None, said + cut + '\n')
        self.assertEqual(self.read('out/h.out'), '12345')

    def test_what_was_cut_and_was_for_no_target_is_no_trouble(self):
        cut = '2 of 2 printed more than 1K and were cut (--max-output): h[1-2]'
        for args, said in (['-q', '-S', 'names'], ''), (['-q'], ''), (
                ['-q', '-E', 'bad/'], ''), (['-S', 'names'], cut + '\n'), (
                ['--progress'], '..\n' + cut + '\n'):
            self.classh(*args, '--max-output', '1K', 'head -c 2000 /dev/zero',
                        'h[1-2]').check(0, None, said)

    BROKEN = """if 1:
        import classh, errno, os, sys
        def broken(*args):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.pread = broken
        sys.exit(classh.main())
        """

    def test_what_was_lost_is_no_empty_file(self):
        lost = 'output lost: Input/output error'
        for args, said in (
                (['-q', '-S', 'out/'], 'classh: out/: h: %s\n'
                 'classh: 1 not delivered to out/: h\n'
                 'classh: 1 of 2 output lost: h\n' % lost),
                (['-q', '--pickle', 'all'], 'classh: 1 of 2 output lost: h\n'),
                (['-q'], 'classh: 1 of 2 output lost: h\n'),
                (['--progress'], '..\n1 of 2 output lost: h\n'),
                ([], '1 of 2 output lost: h\n')):
            # What was there before must not pass for it, either.
            self.classh('-q', '-S', 'out/', 'echo before', 'h').check()
            ended = run([sys.executable, '-c', self.BROKEN, '--ssh', FAKE_SSH,
                         *args, '[ $HOST = a ] || head -c 600000 /dev/zero',
                         'h', 'a'], cwd=self.directory,
                        env={'PYTHONPATH': MODULE}).check(1, None, said)
            if 'out/' in args:
                self.assertEqual(sorted(os.listdir(self.path('out'))),
                                 ['a.err', 'a.out'])
        self.assertRegex(ended.stdout, r'(?m)^h   0   \(.*\)   %s$' % lost)
        result, = (result for result in classh.load(self.path('all'))
                   if result.host == 'h')
        self.assertEqual((result.outcome, result.reason, result.truncated),
                         ('ok', lost, True))

    def test_full_disk_leaves_whole_files_or_none(self):
        hosts = ['h%d' % number for number in range(1, 9)]
        argv = fake_argv('-f1', '-S', 'full/out/', '-E',
                         'full/bad/', '--pickle', 'full/pickled',
                         'head -c 20000 /dev/zero', 'fail7', *hosts)
        os.mkdir(self.path('full'))
        ended = run(on_a_small_disk(argv), cwd=self.directory)
        if 'no tmpfs' in ended.stderr:
            self.skipTest('may not mount a tmpfs here')
        ended.check(1, None, None)
        self.assertEqual(reported(ended.stdout), ['fail7'] + hosts, ended)
        kept = {name for name in os.listdir(self.path('kept/out'))}
        for name in kept:
            size = os.path.getsize(self.path('kept/out/' + name))
            self.assertEqual(size, 20000 if name.endswith('.out') else 0)
        lost = dict(self.lost(ended))
        self.assertTrue(1 <= len(lost['full/out/']) < 8, ended)
        for host in hosts:
            self.assertEqual(host in lost['full/out/'],
                             not {host + '.out', host + '.err'} <= kept)
        self.assertEqual(self.read('kept/bad/fail7.ret'), '7\n')
        # The pickle holds the first ones, and says of the others that it
        # lost them.
        kept = [result.host
                for result in classh.load(self.path('kept/pickled'))]
        self.assertEqual(sorted(kept + lost['full/pickled']),
                         sorted(hosts + ['fail7']), ended)
        self.assertEqual(ended.stderr.count('No space left on device'), 2)


def on_a_small_disk(argv):
    """The argv that runs *argv* while ./full is a disk of 128 KiB.

    What is on it is in ./kept afterwards.  Where that may not be had it says
    'no tmpfs'.  The disk is in a namespace of its own: it cannot stay behind.
    """
    return ['sh', '-c', """
        for ours in -m -rm none; do     # as root, or with a namespace of users
            unshare $ours mount -t tmpfs none full 2>/dev/null && break
        done
        [ $ours != none ] || { echo no tmpfs >&2; exit; }
        exec unshare $ours sh -c '
            mount -t tmpfs -o size=128k none full
            "$@"; status=$?
            cp -R full kept && exit $status
        ' sh "$@"
        """, 'sh'] + list(argv)
