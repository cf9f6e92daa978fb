"""-S and -E: names and output of good and bad hosts go where they are told,
as the hosts finish, whatever is at the other end."""

import errno
import os
import shlex
import shutil
import signal
import socket
import stat
import sys
from unittest import mock

from lib import (FAKE_SSH, MODULE, SIGCHLD_IGNORED, after, classh_argv,
                 fake_argv, kill_leftovers, leftovers, run, run_in_pty, until,
                 wait_until)
from lib.sinks import SinkTest, reported
import classh

MANY = 'h[1-400].' + 200 * 'x'      # their names are more than a pipe holds
DEAD = 'until grep -qs "^State:.Z" /proc/$(cat pid)/status; do sleep .01; done'


# -- Four kinds of target ----------------------------------------------------

class TargetTest(SinkTest):
    def test_dash_is_stdout_and_the_report_moves_to_stderr(self):
        for option, names in (('-S', ['a', 'b']), ('-E', ['fail7'])):
            ended = self.classh(option, '-', 'echo hello', 'a', 'fail7', 'b')
            ended.check(5, None, None)
            self.assertEqual(sorted(ended.stdout.split()), names, ended)
            self.assertTrue(ended.stdout.endswith('\n'), ended)
            self.assertEqual(sorted(reported(ended.stderr)),
                             ['a', 'b', 'fail7'], ended)
            self.assertEqual(ended.stderr.count('hello'), 2, ended)

    def test_file_gets_names_one_a_line_after_what_it_holds(self):
        self.write('old', 'there\n')
        for target in ('old', './old', 'new', './other', self.path('full')):
            self.classh('-q', '-f1', '-S', target, 'true', 'a', 'b').check()
        self.assertEqual(self.read('old'), 'there\na\nb\na\nb\n')
        for name in ('new', 'other', 'full'):
            self.assertEqual(self.read(name), 'a\nb\n', name)

    def test_name_is_not_added_to_a_line_that_has_no_end(self):
        self.write('names', 'web1')
        self.classh('-q', '-S', 'names', 'true', 'web2').check()
        self.assertEqual(self.read('names'), 'web1\nweb2\n')

    def test_directory_gets_the_output(self):
        os.mkdir(self.path('there'))
        talk = 'echo out; echo err >&2'
        for target in ('there', 'new/', self.path('other/')):
            self.classh('-q', '-S', target, talk, 'a').check()
            self.assertEqual(sorted(os.listdir(self.path(target))),
                             ['a.err', 'a.out'])
            self.assertEqual(self.read(target + '/a.out'), 'out\n')
            self.assertEqual(self.read(target + '/a.err'), 'err\n')

    def test_directory_of_bad_hosts_also_gets_status_and_reason(self):
        ended = self.classh('-q', '-u', '4', '-E', 'bad/', 'true', 'fail7',
                            'a', 'unreach', 'signal9', 'slow')
        ended.check(3)
        self.assertEqual(sorted(os.listdir(self.path('bad'))), sorted(
            name + ending for name in ('fail7', 'unreach', 'signal9', 'slow')
            for ending in ('.out', '.err', '.ret', '.why')))
        for name, status, why in (
                ('fail7', '7\n', ('', 'exited with 7', 'yes')),
                ('unreach', '255\n',
                 ('refused', 'connection refused', 'no')),
                ('signal9', '-9\n', ('signal', 'ended by SIGKILL',
                                     'unknown')),
                ('slow', '-15\n', ('timeout', 'timed out after 4 s',
                                   'unknown'))):
            self.assertEqual(self.read('bad/%s.ret' % name), status)
            self.assertEqual(self.read('bad/%s.why' % name),
                             'cause: %s\nreason: %s\nran: %s\n' % why)
        self.assertEqual(self.read('bad/fail7.out'), 'out of fail7\n')
        self.assertEqual(self.read('bad/fail7.err'), 'err of fail7\n')

    def test_hosts_that_were_not_reached_go_elsewhere(self):
        # Of 'signal9' and 'slow' nobody knows whether they have started.
        hosts = ['fail7', 'a', 'unreach1', 'signal9', 'slow', 'unreach2']
        self.classh('-q', '-u4', '-S', 'good', '-E', 'bad', '--unreached',
                    'retry', 'true', *hosts).check(3)
        self.assertEqual(self.lines('good'), ['a'])
        self.assertEqual(sorted(self.lines('bad')),
                         ['fail7', 'signal9', 'slow'])
        self.assertEqual(sorted(self.lines('retry')),
                         ['unreach1', 'unreach2'])

    def test_hosts_that_were_not_reached_may_go_to_any_target(self):
        for target, there in (('-', None), ('|cat >piped', 'piped'),
                              ('names', 'names')):
            ended = self.classh('-q', '--unreached', target, 'true',
                                'unreach', 'fail7', 'a').check(4, None)
            self.assertEqual(self.lines(there) if there
                             else ended.stdout.split(), ['unreach'])
        self.classh('-q', '-E', 'dir/', '--unreached', 'dir/', 'true',
                    'unreach', 'fail7').check(4)
        self.assertEqual(len(os.listdir(self.path('dir'))), 8)

    def test_bad_target_of_hosts_that_were_not_reached_starts_nothing(self):
        ended = self.classh('--unreached', '/none/x', 'echo >ran', 'a')
        ended.check(2, '', None)
        self.assertIn('/none/x', ended.stderr)
        self.assertEqual(os.listdir(self.directory), [])

    def test_executable_file_is_run_once_with_the_names_on_its_stdin(self):
        os.mkdir(self.path("it's a $HOME"))
        for name in ('take', "it's a $HOME/take"):
            path = self.program(name, 'echo "$# start" >>got; cat >>got')
            for target in ('./' + name, path):
                self.classh('-q', '-f1', '-S', target, 'true', 'b',
                            'a').check()
                self.assertEqual(self.read('got'), '0 start\nb\na\n')
                os.remove(self.path('got'))

    def test_string_with_a_space_is_a_command_whose_first_word_is_one(self):
        self.program('take', 'echo "$@" >got; cat >>got')
        os.mkdir(self.path('bin'))
        os.rename(self.path('take'), self.path('bin/take'))
        env = {'PATH': self.path('bin') + ':' + os.environ['PATH'],
               'HOME': self.directory}
        for target in ('take one "two  too" | tee here', './bin/take one '
                       '"two  too" |tee here', '~/bin/take one "two  too"'):
            self.classh('-q', '-S', target, 'true', 'a', env=env).check()
            self.assertEqual(self.read('got'), 'one two  too\na\n', target)
            os.remove(self.path('got'))

    def test_bar_begins_a_command_of_the_shell(self):
        for target in ('|cat >got', '| cat >got',
                       '|while read -r name; do echo $name; done >got',
                       '|{ cat; } >got', '|(cat >got)',
                       '|FOO=bar cat >got', '|read -r a; echo $a >got'):
            self.classh('-q', '-S', target, 'true', 'a').check()
            self.assertEqual(self.read('got'), 'a\n', target)
            os.remove(self.path('got'))

    def test_bare_word_that_is_no_program_is_a_file(self):
        self.classh('-q', '-S', 'goodhosts', 'true', 'a').check()
        self.assertEqual(self.read('goodhosts'), 'a\n')

    def test_explicit_forms_decide(self):
        self.classh('-q', '-S', '|sort', 'true', 'a').check(0, 'a\n')
        self.assertEqual(os.listdir(self.directory), [])
        self.classh('-q', '-S', './sort', 'true', 'a').check()
        self.classh('-q', '-S', 'uniq/', 'true', 'a').check()
        self.assertEqual(self.read('sort'), 'a\n')
        self.assertEqual(self.read('uniq/a.out'), '')
        self.assertEqual(sorted(os.listdir(self.directory)), ['sort', 'uniq'])

    def test_tilde_is_home_for_every_kind(self):
        self.program('take', 'cat >taken')
        env = {'HOME': self.directory}
        for target, there in (('~/names', 'names'), ('~/take', 'taken'),
                              ('~/new/', 'new/a.out')):
            self.classh('-q', '-S', target, 'echo a', 'a', env=env).check()
            self.assertEqual(self.read(there), 'a\n')

    def test_same_target_for_both_is_opened_once(self):
        self.program('take', 'echo start >>taken; cat >>taken')
        for target, there in (
                ('-', None), ('./take', 'taken'), ('names', 'names'),
                ('|echo start >>shell; cat >>shell', 'shell')):
            ended = self.classh('-q', '-f1', '-S', target, '-E', target,
                                'true', 'b', 'fail7', 'a').check(5, None)
            found = self.lines(there) if there else ended.stdout.split()
            if 'start' in found:
                found.remove('start')
            self.assertEqual(found, ['b', 'fail7', 'a'], target)
        self.classh('-q', '-S', 'dir/', '-E', 'dir/', 'true', 'b',
                    'fail7').check(5)
        self.assertEqual(sorted(os.listdir(self.path('dir'))), [
            'b.err', 'b.out', 'fail7.err', 'fail7.out', 'fail7.ret',
            'fail7.why'])

    def test_original_use_works_as_written(self):
        os.makedirs(self.path('home/bin'))
        os.mkdir(self.path('done'))
        self.program('home/bin/remediate', 'cat >remediated')
        self.program('home/bin/nextstage', 'echo "$@" >args; cat >staged')
        self.write('targets.txt', 'web[1-3]\ndb1  # the master\n')
        self.write('done/web1')
        self.write('done/db1')
        ended = run(
            ['sh', '-c', """
             classh() { %s "$@"; }
             classh -q -f1 -E ~/bin/remediate \
                -S '~/bin/nextstage someargs ...' \
                'test -f done/$HOST' ./targets.txt
             """ % ' '.join(map(shlex.quote, fake_argv()))],
            cwd=self.directory, env={'HOME': self.path('home')})
        ended.check(5)
        self.assertEqual(self.lines('remediated'), ['web2', 'web3'])
        self.assertEqual(self.lines('staged'), ['web1', 'db1'])
        self.assertEqual(self.read('args'), 'someargs ...\n')

    def test_name_is_there_as_soon_as_the_host_is_done(self):
        os.mkdir(self.path('dir'))
        for target, there in (('-', None), ('names', 'names'),
                              ('|cat >taken', 'taken'), ('dir', 'dir/a.out')):
            with self.start('-q', '-S', target, '[ $HOST = a ] && echo a || '
                            + until('go'), 'a', 'b') as command:
                wait_until(lambda: 'a\n' == (self.read(there) if there
                                             else command.stdout))
                self.write('go')
                command.finish().check(stdout=None)
            os.remove(self.path('go'))

    def test_progress_and_sinks_go_together(self):
        ended = self.classh('--progress', '-S', '-', '-E', 'bad', 'true',
                            'a', 'fail7')
        ended.check(5, 'a\n', None)
        self.assertRegex(ended.stderr, r'\A(\.\?|\?\.)\n')
        self.assertEqual(self.read('bad'), 'fail7\n')

    def test_what_is_written_of_bad_hosts_can_be_hosts_again(self):
        hosts = ['web1', 'bob@web1', 'web1:2222', 'bob@web1:22', '::1',
                 'fe80::1%eth0', '[2001:db8::7]:22', 'bob@[::1]:22',
                 'b\xfccher', '\udcff', 'a%b', 'a~b', 'a+b', '_', '..']
        self.classh('-q', '-E', 'bad', 'false', *hosts).check(5)
        again = self.classh('--list', './bad').check(stdout=None)
        self.assertEqual(sorted(again.stdout.splitlines()), sorted(hosts))
        self.classh('-q', '-E', 'worse', 'false', '-',
                    stdin=self.read('bad')).check(5)
        self.assertEqual(sorted(self.lines('worse')), sorted(hosts))

    def test_name_that_would_not_come_back_from_a_file_is_refused(self):
        for name in ('web#1', '#', 'bob@web1#'):
            ended = self.classh('-q', '-E', 'bad', 'false', name)
            ended.check(2, '', None)
            self.assertIn("bad host '%s'" % name, ended.stderr, ended)


# -- What is checked before the first host starts ----------------------------

class CheckTest(SinkTest):
    def refused(self, target, words, prefix=()):
        """-S *target* is an error, and nothing is started or made."""
        before = sorted(os.listdir(self.directory))
        for good, bad in (('-S', '-E'), ('-E', '-S')):
            ended = run(list(prefix) + classh_argv(
                '--ssh', FAKE_SSH, good, target, bad, '|touch started',
                '--pickle', './pickled', 'touch ran', 'a'),
                cwd=self.directory)
            self.one_line(ended, words)
            self.assertEqual(sorted(os.listdir(self.directory)), before,
                             ended)

    def one_line(self, ended, words):
        ended.check(2, '', None)
        self.assertRegex(ended.stderr, r'\Aclassh: [^\n]*\n\Z', ended)
        for word in words:
            self.assertIn(word, ended.stderr, ended)

    def test_file_that_cannot_be_made_or_written(self):
        self.write('file')
        os.mkdir(self.path('dir'))
        for target, words in (
                ('missing/file', ['there is no', 'missing']),
                (self.path('missing/file'), ['there is no']),
                ('./file/names', ['file']),
                ('./' + 300 * 'x', ['File name too long']),
                ('dir/' + 300 * 'x', ['File name too long'])):
            self.refused(target, words)

    def test_directory_that_cannot_be_made_or_written(self):
        self.write('file')
        for target, words in (
                ('missing/dir/', ['there is no', 'missing']),
                ('./file/', ['file']),
                (300 * 'x' + '/', ['File name too long'])):
            self.refused(target, words)

    def test_what_permissions_forbid(self):
        prefix = ['setpriv', '--bounding-set=-all', '--inh-caps=-all']
        if os.getuid():
            prefix = []
        elif not shutil.which('setpriv'):
            self.skipTest('runs as root, and there is no setpriv')
        self.write('file', mode=0o444)
        os.mkdir(self.path('dir'), 0o555)
        for target in './file', 'dir', 'dir/', 'dir/new/', 'dir/new':
            self.refused(target, ['cannot use ' + target.rstrip('/')], prefix)

    def test_program_that_is_not_there_or_not_executable(self):
        self.write('script', '#!/bin/sh\n')
        for target, words in (
                ('nosuchprogram args', ["no executable 'nosuchprogram'"]),
                ('./script args', ["no executable './script'"]),
                ('./nosuch args', ["no executable './nosuch'"]),
                ('~/nosuch args', ["no executable '~/nosuch'"]),
                ('./script', ['not executable']),
                ('|./script', ["no executable './script'"]),
                ('| ./nosuch args', ["no executable './nosuch'"]),
                ('|nosuchprogram', ["no executable 'nosuchprogram'"]),
                ('| nosuchprogram args', ["no executable 'nosuchprogram'"]),
                ('|', ['it is empty']), ('| ', ['it is empty'])):
            self.refused(target, words)

    def test_empty_target_is_an_error_not_nothing(self):
        for target in ('', ' '):
            self.refused(target, [])
        for option in ('-S', '-E', '--pickle'):
            self.classh(option, '', 'touch ran', 'a').check(2, '', None)
        self.assertEqual(os.listdir(self.directory), [])

    def test_program_is_looked_for_where_sigchld_is_ignored_too(self):
        self.refused('| nosuchprogram', ["no executable 'nosuchprogram'"],
                     after(SIGCHLD_IGNORED))

    def test_one_file_for_names_and_for_a_pickle(self):
        self.write('old', 'there\n')
        os.symlink('old', self.path('link'))
        before = sorted(os.listdir(self.directory))
        for option, names, results in (
                ('-S', 'x', 'x'), ('-E', './x', 'x'), ('-S', 'old', './old'),
                ('-E', 'link', 'old'), ('-S', self.path('x'), 'x')):
            ended = self.classh(option, names, '--pickle', results,
                                'touch ran', 'a')
            self.one_line(ended, [results, 'a file each'])
            self.assertEqual(sorted(os.listdir(self.directory)), before)
        self.assertEqual(self.read('old'), 'there\n')

    def test_file_that_stdout_goes_to_is_no_target(self):
        # Each would write over what the other has written.
        for option, more in (('-S', ', or -'), ('-E', ', or -'),
                             ('--json=out', ''), ('--pickle', ''),
                             ('--journal', '')):
            words = [option] if '=' in option else [option, 'out']
            with open(self.path('out'), 'w') as out:
                self.classh(*words, 'touch ran', 'a', stdout=out).check(
                    2, '', 'classh: out: stdout goes there, too; name another '
                    'file%s\n' % more)
        self.assertEqual((os.listdir(self.directory), self.read('out')),
                         (['out'], ''))
        # Who only adds to it does no harm, but --json would begin it anew.
        for word in '-S/dev/stderr', '--json=/dev/stderr':
            with open(self.path('out'), 'a') as out:
                self.classh('-q', word, 'true', 'a', before='exec 2>&1',
                            stdout=out)
        self.assertEqual(self.read('out'), 'a\nclassh: /dev/stderr: stdout '
                         'goes there, too; name another file\n')

    def test_fifo_that_nobody_reads(self):
        os.mkfifo(self.path('fifo'))
        self.refused('./fifo', ['the FIFO has no reader'])

    def test_socket_is_called_one(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path('socket'))
        self.refused('./socket', ['cannot use ./socket: it is a socket'])
        # As systemd gives to what it starts.
        for target, status, said in (
                ('/dev/stderr', 2, b'classh: cannot use /dev/stderr: it is a '
                 b"socket; to write to stderr: '|cat >&2'\n"),
                ('|cat >&2', 5, b'fail7\n')):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                run(['sh', '-c', '"$@" 2>&0', 'sh'] + classh_argv(
                    '--ssh', FAKE_SSH, '-q', '-E', target, 'true', 'fail7'),
                    stdin=theirs, cwd=self.directory).check(status)
                self.assertEqual(ours.recv(1000), said)
        self.assertEqual(os.listdir(self.directory), ['socket'])

    def test_device_that_is_not_there_is_no_fifo(self):
        try:
            os.mknod(self.path('device'), stat.S_IFCHR | 0o600,
                     os.makedev(240, 240))
        except PermissionError:
            self.skipTest('may not make a device')
        self.refused('./device', ['No such device or address'])

    def test_bare_name_of_a_program_gets_a_hint(self):
        for word in ('uname', 'sort'):
            self.refused(word, ["is it the program, '|%s', or a file, ./%s?"
                                % (word, word)])
        # As typed by someone to whom -S means the largest status.
        ended = self.classh('-S', 'uname', 'h1')
        self.one_line(ended, ["'|uname'", './uname', '--maxrc'])
        ended = self.classh('-E', 'uname', 'h1')
        self.one_line(ended, ["or a file, ./uname?\n"])
        self.assertEqual(os.listdir(self.directory), [])

    def test_pickle_that_cannot_be_written_starts_no_program(self):
        os.mkdir(self.path('dir'))
        os.mkfifo(self.path('fifo'))
        for path in ('dir', 'missing/file', 'fifo'):
            ended = self.classh('-S', '|touch started', '-E', './made',
                                '--pickle', path, 'touch ran', 'a')
            self.one_line(ended, [path])
            self.assertEqual(sorted(os.listdir(self.directory)),
                             ['dir', 'fifo'], ended)

    def test_other_errors_of_usage_start_and_make_nothing(self):
        for args in (['true'], ['true', 'a[1'], ['true', './nohosts'], [],
                     ['--ssh', 'nosuchssh', 'true', 'a'], ['-f0', 'true', 'a'],
                     ['true', '-oProxyCommand=x'], ['-I', 'true', '-']):
            ended = self.classh('-S', './made', '-E', '|touch started',
                                '--pickle', 'pickled', *args)
            self.one_line(ended, [])
            self.assertEqual(os.listdir(self.directory), [], ended)


# -- Programs ----------------------------------------------------------------

class ProgramTest(SinkTest):
    def test_program_that_takes_its_time_slows_nothing_and_gets_all(self):
        # 2,000 names, one every 50 ms: the run is over long before.
        names = 'h[0001-2000].rack-17.row-3.hall-2.dc-1.example.com'
        take = self.program('take', """
            while read -r name; do
                echo "$name" >>taken
                [ -e go ] || sleep .05
            done
            """)
        with self.start('--ssh', 'true', '-S', take, 'x', names) as command:
            wait_until(lambda: command.stdout.count('   0   (') == 2000, 60,
                       '2,000 hosts done')
            taken = len(self.lines('taken'))
            self.write('go')
            ended = command.finish().check(stdout=None)
        self.assertLess(taken, 2000)
        self.assertEqual(self.lines('taken'), reported(ended.stdout))
        self.assertEqual(sorted(self.lines('taken')),
                         list(classh.expand(names)))

    def test_program_that_never_reads_slows_nothing(self):
        never = self.program('never', until('go'))
        with self.start('--ssh', 'true', '-S', never, 'x', MANY) as command:
            wait_until(lambda: command.stdout.count('   0   (') == 400,
                       what='400 hosts done')
            self.write('go')
            ended = command.finish().check(1, None, None)
        (label, names), = self.lost(ended)
        self.assertEqual(names, list(classh.expand(MANY)), ended)

    def test_program_that_ends_early_costs_one_warning_and_the_rest(self):
        take = 'echo $$ >pid; read -r a; read -r b; echo "$a $b" >got'
        # The third host, and those after it, are done when it is dead.
        command = 'case $HOST in *3) %s; esac' % DEAD
        ended = self.classh('-f1', '-S', '|' + take, command, 'h[1-6]')
        ended.check(1, None, None)
        self.assertEqual(self.read('got'), 'h1 h2\n')
        self.assertEqual(reported(ended.stdout),
                         ['h1', 'h2', 'h3', 'h4', 'h5', 'h6'], ended)
        self.assertEqual(ended.stderr, "classh: %s: Broken pipe\n"
                         'classh: 4 not delivered to %s: h[3-6]\n'
                         % (take, take))

    def test_program_that_dies_while_names_wait_for_it(self):
        take = self.program('take', 'read -r name; echo $name >got\n%s'
                            % until('go'))
        with self.start('--ssh', 'true', '-q', '-f1', '-S', take, '-E', 'bad',
                        'x', MANY, '-x', '[a,h2.]' + 200 * 'x') as command:
            wait_until(lambda: self.read('got'))
            self.write('go')
            ended = command.finish().check(1, '', None)
        (label, names), = self.lost(ended)
        self.assertEqual(set(names), set(classh.expand(MANY))
                         - {self.read('got').strip(), 'h2.' + 200 * 'x'})
        self.assertEqual(ended.stderr.count('Broken pipe'), 1, ended)

    def test_program_that_exits_at_once(self):
        for status, words in ((0, ''), (3, 'classh: exit 3: exited with 3\n')):
            ended = self.classh('-q', '-S', '|exit %d' % status, 'true',
                                'a', 'b')
            ended.check(1, '', None)
            self.assertEqual(self.lost(ended),
                             [('exit %d' % status, ['a', 'b'])], ended)
            self.assertTrue(words in ended.stderr, ended)

    def test_program_that_closes_its_stdin_and_goes_on_is_waited_for(self):
        self.classh('-q', '-S', '|exec <&-; touch closed; %s; echo end >end'
                    % until('go'), until('closed') + '; touch go',
                    'a').check(1, '', None)
        self.assertEqual(self.read('end'), 'end\n')

    def test_exit_status_of_a_program_is_reported_and_makes_ours_1(self):
        for script, words in (('cat >got; exit 7', 'exited with 7'),
                              ('cat >got; kill -9 $$', 'ended by SIGKILL')):
            for also in [], ['--maxrc']:
                self.classh('-q', '-S', '|' + script, 'true', 'a', 'fail7',
                            *also).check(1, '', 'classh: %s: %s\n'
                                         % (script, words))
                self.assertEqual(self.read('got'), 'a\n')

    def test_program_is_waited_for(self):
        self.classh('-q', '-S', '|cat >got; sleep .2; echo end >>got', 'true',
                    'a').check()
        self.assertEqual(self.read('got'), 'a\nend\n')

    def test_program_runs_also_where_there_is_nothing_for_it(self):
        self.classh('-q', '-S', '|cat >good', '-E', '|cat >bad', 'true',
                    'a').check()
        self.assertTrue(os.path.exists(self.path('bad')))
        self.assertEqual((self.read('good'), self.read('bad')), ('a\n', ''))

    def test_both_programs_run_at_the_same_time(self):
        # Each waits for what the other says first.
        self.classh('-q', '-S', '|read -r a; touch good; ' + until('bad'),
                    '-E', '|read -r a; touch bad; ' + until('good'), 'true',
                    'a', 'fail7').check(5)

    def test_program_inherits_three_descriptors_and_no_ssh_its_pipe(self):
        look = """
            for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
                [ -e /proc/self/fd/$fd ] && found="$found $fd"
            done
            echo $found >"""
        self.classh('-q', '-S', '|' + look + 'program', '-E', '|cat >bad',
                    look + '$HOST', 'a', 'b').check(1, '', None)
        for name in ('program', 'a', 'b'):
            self.assertEqual(self.read(name), '0 1 2\n')

    def test_what_an_ssh_left_running_does_not_hold_a_program_up(self):
        self.classh('-q', '-S', '|cat >got', 'true', 'keeper', 'a').check()
        self.assertEqual(sorted(self.lines('got')), ['a', 'keeper'])
        kill_leftovers()

    def test_what_a_program_prints_stays_away_from_results_and_names(self):
        echo = '|while read -r name; do echo fixed $name; done'
        for args, ours, stdout in (
                # Nothing else goes to stdout.
                (['-q', '-E', echo], 'stdout', 'fixed fail7\n'),
                (['-q', '-S', '-', '-E', echo], 'stderr', 'a\n'),
                (['-S', 'good', '-E', echo], 'stderr', None)):
            ended = self.classh('-f1', *(args + ['true', 'a', 'fail7']))
            ended.check(5, stdout, None)
            self.assertIn('fixed fail7\n', getattr(ended, ours), ended)
            if ours == 'stderr':
                self.assertNotIn('fixed', ended.stdout, ended)


    def test_few_descriptors_are_enough_for_every_kind(self):
        ended = self.classh('-q', '-S', 'out/', '-E', '|cat >bad', '--pickle',
                            'all', '[ $HOST != h7 ]', 'h[1-100]',
                            before='ulimit -n 32').check(5, '', None)
        # At most a warning that fewer run at once.
        self.assertLessEqual(len(ended.stderr.splitlines()), 1, ended)
        self.assertEqual(len(os.listdir(self.path('out'))), 198)
        self.assertEqual(self.read('bad'), 'h7\n')
        self.assertEqual(len(list(classh.load(self.path('all')))), 100)


class EndTest(SinkTest):
    """Ctrl-C and SIGTERM close stdin, give a moment, then end them."""

    def test_program_hears_the_end_and_may_finish(self):
        take = '|cat >got; sleep .1; echo end >>got'
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143),
                               (signal.SIGHUP, 129)):
            with self.start('-S', take, 'true', 'a', 'slow') as command:
                wait_until(lambda: self.read('got') == 'a\n')
                command.signal(number)
                ended = command.finish().check(status, None, None)
            self.assertEqual(self.read('got'), 'a\nend\n')
            self.assertEqual(reported(ended.stdout), ['a', 'slow'], ended)
            os.remove(self.path('got'))

    def test_ctrl_c_on_a_terminal_does_not_reach_the_program_itself(self):
        ended = run_in_pty(
            fake_argv('-S', "|cat >'%s'; sleep .1; echo end >>'%s'" % (
                          2 * (self.path('got'),)), 'true', 'a', 'slow'),
            [('a   0   (', '\x03')])
        ended.check(130, None)
        self.assertEqual(self.read('got'), 'a\nend\n', ended)

    def ended_with(self, target, *args):
        """Run into *target* until it is 'ready', then end it; return the run.

        The second signal takes away the patience.
        """
        with self.start('-S', target, *args) as command:
            wait_until(lambda: self.read('ready') and command.stdout)
            command.signal(signal.SIGINT)
            command.signal(signal.SIGTERM)
            ended = command.finish().check(130, None, None)
        os.remove(self.path('ready'))
        return ended

    def test_program_that_does_not_end_is_ended(self):
        spin = 'echo ready >ready; while :; do sleep .01; done'
        with self.start('-S', '|trap "echo end >end; exit" TERM; ' + spin,
                        'true', 'a') as command:
            wait_until(lambda: self.read('ready') and command.stdout)
            command.signal(signal.SIGINT)
            command.finish().check(130, None, None)
        self.assertEqual(self.read('end'), 'end\n')
        os.remove(self.path('ready'))
        deaf = 'trap "" INT TERM HUP; ' + spin
        ended = self.ended_with('|' + deaf, 'true', 'a')
        self.assertEqual(ended.stderr, 'classh: %s: ended by SIGKILL\n'
                         'classh: 1 not delivered to %s: a\n' % (deaf, deaf))

    def test_program_has_a_moment_after_the_second_signal_too(self):
        # Its end of file comes after that: a host ignores the first.
        take = '|cat >got; sleep .1; echo end >>got'
        for second in signal.SIGTERM, signal.SIGQUIT:
            with self.start('-S', take, 'true', 'a', 'hang') as command:
                wait_until(lambda: self.read('got') == 'a\n' and 'sleep 60'
                           in [line for _, line in leftovers()])
                command.signal(signal.SIGINT)
                command.signal(second)
                ended = command.finish().check(130, None, None)
            self.assertEqual(self.read('got'), 'a\nend\n', ended)
            self.assertNotIn('ended by', ended.stderr, ended)

    def test_program_that_names_wait_for_is_ended(self):
        # The shell heeds SIGTERM, what it runs does not.
        deaf = self.program('deaf', 'trap "" INT TERM HUP\necho ready >ready\n'
                            'while :; do sleep .01; done')
        ended = self.ended_with(deaf, '--ssh', 'true', 'x', MANY)
        self.assertEqual([label for label, names in self.lost(ended)], [deaf])

    def test_all_that_finished_is_in_every_sink_after_ctrl_c(self):
        with self.start('-S', 'good', '-E', 'bad/', 'true', 'a', 'fail7',
                        'slow', 'b') as command:
            wait_until(lambda: set(reported(command.stdout)) >=
                       {'a', 'b', 'fail7'})
            command.signal(signal.SIGINT)
            command.finish().check(130, None, None)
        self.assertEqual(sorted(self.lines('good')), ['a', 'b'])
        self.assertEqual(self.read('bad/fail7.ret'), '7\n')
        self.assertEqual(self.read('bad/slow.ret'), '-15\n')

    def test_program_sees_the_end_even_where_we_are_killed(self):
        with self.start('-S', '|cat >got; echo end >>got', 'true', 'a',
                        'slow') as command:
            wait_until(lambda: self.read('got') == 'a\n')
            command.signal(signal.SIGKILL)
            command.finish().check(-9, None, None)
            wait_until(lambda: self.read('got') == 'a\nend\n')
        kill_leftovers()


# -- Files and FIFOs ---------------------------------------------------------

class FileTest(SinkTest):
    def test_full_disk_costs_a_warning_and_the_names_are_told(self):
        os.symlink('/dev/full', self.path('full'))
        ended = self.classh('-f1', '-S', './full', '-E', 'bad', 'true',
                            'h[1-3]', 'fail7').check(1, None, None)
        self.assertEqual(reported(ended.stdout),
                         ['h1', 'h2', 'h3', 'fail7'], ended)
        self.assertEqual(
            ended.stderr,
            'classh: ./full: No space left on device\n'
            'classh: 3 not delivered to ./full: h[1-3]\n'
            '1 of 4 exited with 7: fail7\n')
        self.assertEqual(self.read('bad'), 'fail7\n')

    def test_file_that_is_removed_meanwhile(self):
        for option in '-S', '--pickle':
            self.classh('-q', option, 'names', 'rm names', 'h').check(
                1, '', 'classh: names: removed, with all that went there\n')
        # Another target may take its place, too.
        os.mkdir(self.path('out'))
        self.classh('-q', '-S', 'out/', '--pickle', 'out/h.out', 'true',
                    'h').check(1, '', None)
        # One with another name is not lost, nor one that never had a name.
        self.classh('-q', '-S', 'names', 'mv names old', 'h').check()
        self.assertEqual(self.lines('old'), ['h'])
        self.classh('-q', '-S', '/dev/fd/7', 'true', 'h',
                    before='exec 7>names; rm names').check()

    def test_half_a_name_is_not_left_behind(self):
        # web1, half of web12, is another host.  4 bytes are left.
        before = '#' * 4091 + '\n'
        self.write('names', before)
        self.classh('-q', '-S', 'names', 'true', 'web12',
                    before='ulimit -f 8').check(
            1, '', 'classh: names: File too large\n'
            'classh: 1 not delivered to names: web12\n')
        self.assertEqual(self.read('names'), before)

    def test_file_ends_with_a_whole_name_at_every_moment(self):
        # As SIGKILL may come then: web1, half of web12, is another host.
        sink = classh.FileSink(self.path('names'), self.fail)
        write, ends = os.write, []

        def watched(fd, octets):
            written = write(fd, octets)
            ends.append(self.read('names')[-1])
            return written
        hosts = ['web%d.example.com' % number for number in range(1000)]
        with classh.SSHJobMan([], 'true') as job:
            sink.open(job)
            for host in hosts:
                sink.finished(classh.Result(host, 0, '', '', 1.0, 2.0, 'ok', '',
                                       False))
            with mock.patch('os.write', watched):
                sink.close(lambda: 0)
        self.assertEqual(self.lines('names'), hosts)
        self.assertGreater(len(ends), 4)
        self.assertEqual(set(ends), {'\n'})

    APPEND_ONLY = '''if 1:
        import errno, os, sys, classh

        def refuse(fd, size):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        os.ftruncate = refuse
        sys.exit(classh.main())
        '''

    def test_half_a_name_in_what_may_be_appended_to_only(self):
        # As above, but that half cannot be taken back: the run goes on.
        self.write('names', '#' * 4091 + '\n')
        run(['sh', '-c', 'ulimit -f 8; exec "$@"', 'sh', sys.executable, '-c',
             self.APPEND_ONLY, '--ssh', FAKE_SSH, '-q', '-f1', '-S', 'names',
             '-E', 'bad', 'true', 'web12', 'fail7'], cwd=self.directory,
            env={'PYTHONPATH': MODULE}).check(
                1, '', 'classh: names: File too large\n'
                'classh: 1 not delivered to names: web12\n')
        self.assertEqual(self.read('bad'), 'fail7\n')

    def test_disk_that_says_only_at_the_end_that_it_is_full(self):
        def close_late(fd):
            close(fd)
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        close, said = os.close, []
        sink = classh.FileSink(self.path('names'), said.append)
        sink.open(classh.SSHJobMan([], 'true'))
        with mock.patch('os.close', close_late):
            sink.close(lambda: 0)
        self.assertEqual(said, ['%s: %s' % (self.path('names'),
                                            os.strerror(errno.EDQUOT))])

    def test_two_runs_may_add_to_one_file(self):
        hosts = ['h[001-100]', 'h[101-200]']
        with self.start('--ssh', 'true', '-q', '-S', 'names', 'x',
                        hosts[0]) as first:
            self.classh('--ssh', 'true', '-q', '-S', 'names', 'x',
                        hosts[1]).check()
            first.finish().check()
        self.assertEqual(sorted(self.lines('names')),
                         list(classh.expand('h[001-200]')))


class FifoTest(SinkTest):
    def setUp(self):
        super().setUp()
        os.mkfifo(self.path('fifo'))
        self.reader = open(os.open(self.path('fifo'),
                                   os.O_RDONLY | os.O_NONBLOCK), 'rb', 0)
        self.addCleanup(self.reader.close)

    def test_reader_gets_each_name_as_its_host_finishes(self):
        with self.start('-q', '-f1', '-S', './fifo', '[ $HOST = a ] || '
                        + until('go'), 'a', 'b') as command:
            self.assertEqual(wait_until(lambda: self.reader.read(99)), b'a\n')
            self.write('go')
            command.finish().check()
        self.assertEqual(self.reader.read(99), b'b\n')
        self.assertEqual(self.reader.read(99), b'')     # it was let go of

    def test_reader_that_waits_slows_nothing_and_gets_all(self):
        with self.start('--ssh', 'true', '-S', 'fifo', 'x', MANY) as command:
            wait_until(lambda: command.stdout.count('   0   (') == 400)
            taken = b''
            while taken.count(b'\n') < 400:
                taken += wait_until(lambda: self.reader.read(1 << 20))
            ended = command.finish().check(stdout=None)
        self.assertEqual(taken.decode().split(), reported(ended.stdout))

    def test_reader_that_leaves_costs_one_warning_and_the_rest(self):
        with self.start('-q', '-f1', '-S', 'fifo', '[ $HOST = a ] || '
                        + until('go'), 'a', 'b', 'c') as command:
            wait_until(lambda: self.reader.read(99))
            self.reader.close()
            self.write('go')
            command.finish().check(
                1, '', 'classh: fifo: Broken pipe\n'
                'classh: 2 not delivered to fifo: b,c\n')


# -- The standard streams ----------------------------------------------------

class StreamTest(SinkTest):
    HOSTS = ['a', 'fail7', 'b']

    def complete(self, ended, good=('a', 'b'), bad=('fail7',)):
        self.assertNotIn('Traceback', ended.stderr, ended)
        self.assertEqual(sorted(self.lines('good')), sorted(good), ended)
        self.assertEqual(sorted(name[:-4] for name in os.listdir(
            self.path('bad')) if name.endswith('.ret')), sorted(bad), ended)
        results = [result.host for result in classh.load(self.path('all'))]
        self.assertEqual(sorted(results), sorted(good + bad), ended)
        os.remove(self.path('good'))
        shutil.rmtree(self.path('bad'))

    SINKS = ['-S', '|cat >good', '-E', 'bad/', '--pickle', 'all']

    def test_stdout_on_a_full_disk(self):
        with open('/dev/full', 'wb') as full:
            ended = self.classh(*self.SINKS + ['true'] + self.HOSTS,
                                stdout=full).check(1, None, None)
        self.assertEqual(ended.stderr.count('No space left on device'), 1)
        self.complete(ended)

    def test_stdout_closed(self):
        ended = self.classh(*self.SINKS + ['true'] + self.HOSTS,
                            before='exec >&-').check(1, '', None)
        self.assertEqual(ended.stderr.count('Bad file descriptor'), 1, ended)
        self.complete(ended)
        # Where nothing is to be written there, it is no fault.
        ended = self.classh('-q', *self.SINKS + ['true'] + self.HOSTS,
                            before='exec >&-').check(5)
        self.complete(ended)

    def test_all_three_closed(self):
        ended = self.classh(*self.SINKS + ['true'] + self.HOSTS,
                            before='exec <&- >&- 2>&-').check(1)
        self.complete(ended)

    def test_stderr_on_a_full_disk_or_closed(self):
        for before in 'exec 2>/dev/full', 'exec 2>&-':
            ended = self.classh(*self.SINKS + ['true'] + self.HOSTS,
                                before=before).check(5, None)
            self.assertEqual(sorted(reported(ended.stdout)),
                             sorted(self.HOSTS), ended)
            self.complete(ended)

    def test_names_for_a_stdout_that_does_not_take_them(self):
        for before, reason in (('exec >/dev/full', 'No space left on device'),
                               ('exec >&-', 'Bad file descriptor')):
            ended = self.classh('-q', '-S', '-', '-E', 'bad', 'true',
                                *self.HOSTS, before=before).check(1, '', None)
            self.assertEqual(ended.stderr.count(reason), 1, ended)
            (label, names), = self.lost(ended)
            self.assertEqual((label, sorted(names)), ('stdout', ['a', 'b']))
            self.assertEqual(self.read('bad'), 'fail7\n')
            os.remove(self.path('bad'))

    def head(self, *args):
        """Run classh into a reader that takes one line and leaves.

        It makes the file 'gone' when it has left; classh's exit status goes
        to the file 'status'.
        """
        return run(['sh', '-c', '{ "$@"; echo $? >status; } | '
                    'sh -c "head -n1; exec <&-; touch gone; %s"'
                    % until('status'), 'sh']
                   + fake_argv(*args),
                   cwd=self.directory)

    def test_reader_that_has_seen_enough_ends_the_run(self):
        # At once, and not only when there is more to write.
        ended = self.head(*self.SINKS + ['true', 'a', 'slow']).check(0, None)
        self.assertEqual(reported(ended.stdout), ['a'], ended)
        self.assertEqual(self.read('status'), '141\n')
        self.complete(ended, good=('a',), bad=('slow',))

    def test_what_was_cut_is_said_though_the_reader_has_left(self):
        self.head('-S', 'out/', '--max-output', '5', 'echo 123456', 'a',
                  'slow').check(
            0, None, 'classh: 1 of 2 printed more than 5 bytes and was cut '
            '(--max-output): a\n')
        self.assertEqual(self.read('status'), '141\n')

    def test_reader_of_names_that_has_seen_enough_ends_the_run(self):
        ended = self.head('-q', '-S', '-', '-E', 'bad', '--pickle', 'all',
                          'true', 'a', 'slow')
        ended.check(0, 'a\n')
        self.assertEqual(self.read('status'), '141\n')
        self.assertEqual(self.read('bad'), 'slow\n')
        self.assertEqual([result.host for result in
                          classh.load(self.path('all'))], ['a', 'slow'])

    def test_fifo_that_is_open_for_both_has_a_reader(self):
        # Ourselves: that it can be read from does not say that nobody does.
        os.mkfifo(self.path('fifo'))
        fd = os.open(self.path('fifo'), os.O_RDWR)
        try:
            for args, shown in ((), 2), (('-q', '-S', '-'), 0):
                with self.start(*args + ('sleep .1', 'a', 'b', '-f1'),
                                stdout=fd) as command:
                    command.finish().check(0)
                said = os.read(fd, 1 << 16).decode()
                self.assertEqual(len(reported(said)), shown, said)
        finally:
            os.close(fd)

    def test_reader_that_has_left_does_not_end_a_quiet_run(self):
        ended = self.head('-q', '-S', 'good', '-E', 'bad/', '--pickle', 'all',
                          'true', *self.HOSTS)
        ended.check(0, '')
        self.assertEqual(self.read('status'), '5\n')
        self.complete(ended)
