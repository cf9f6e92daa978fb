"""--shell: a prompt of its own, or commands from a pipe."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from unittest import mock

from lib import (CLASSH, FAKE_SSH, MODULE, SIGCHLD_IGNORED, STOPPED, Command,
                 after, leftovers, locales, measured, read_log, run,
                 run_classh, until, wait_until)
from lib.passwords import ASKING_SSH
from lib.shell import ShellTest, private_directories
from lib.terminal import Terminal, state
from classh import Result, _KeptResults, _write_all, load

BUILT_INS = ['all', 'diff', 'failed', 'fanout', 'help', 'hosts', 'local', 'not',
             'only', 'quit', 'retry', 'same', 'save', 'show', 'timeout']


class PromptTest(ShellTest):
    def test_line_runs_on_all_hosts(self):
        shell = self.shell('h[1-3]')
        shown = self.say(shell, 'echo in $HOST')
        for host in 'h1', 'h2', 'h3':
            self.assertRegex(shown, r'\n%s   0   \(\d+\.\d\)\n  Output:\n\n'
                             r'  in %s\n' % (host, host))
        shell.type('\x04')
        shell.finish().check(0, stdout=None)

    def test_prompt_says_how_many_are_selected_and_failed(self):
        shell = self.shell('h[1-3]', 'exit[1-2]', prompt='classh 5> ')
        shell.type('true\n')
        shell.expect('classh 5, 2 failed> ')
        shell.type('%failed\n')
        shell.expect('classh 2, 2 failed> ')
        shell.type('true\n')
        shell.expect('classh 2, 2 failed> ')
        shell.type('%only h1\n')
        shell.expect('classh 1, 2 failed> ')
        shell.type('true\n')
        shell.expect('classh 1> ')
        shell.type('%all\n')
        shell.expect('classh 5> ')

    def test_options_hold_for_every_line(self):
        shell = self.shell('--progress', 'h[1-3]', 'exit5')
        for _ in range(2):
            shown = self.say(shell, 'true')
            self.assertEqual(shown.count('.'), 3, shown)
            self.assertEqual(shown.count('?'), 1, shown)

    def test_remote_text_cannot_drive_the_terminal(self):
        shell = self.shell('escape')
        for line in 'true', '%show':
            shown = self.say(shell, line)
            self.assertIn('\\x1b[2J\\x1b]0;title\\x07', shown)
            self.assertNotIn('\x1b', shown)

    def test_word_at_the_start_says_how_to_go_on_and_leave(self):
        shell = self.shell('h1')
        self.assertIn('%help tells more, exit or Ctrl-D leaves.\r\n',
                      shell.shown)
        shell.type('exit\n')
        shell.finish().check(0, stdout=None)
        # A script gets no advice.
        self.piped('', 'h1').check(0, '', '')

    def test_cd_alone_is_told_that_it_does_not_last(self):
        shell = self.shell('h1')
        for line in 'cd', 'cd /', 'cd ~ ', "cd 'a b'":
            self.assertIn('classh: cd does not last', self.say(shell, line))
        for line in 'cd / && pwd', 'cd /; pwd', 'cdx', 'cd / | cat':
            self.assertNotIn('does not last', self.say(shell, line))

    def test_blank_lines_and_comments_are_nothing(self):
        shell = self.shell('h1')
        for line in '', '   ', '# echo no':
            shell.type(line + '\n')
            self.assertNotIn('h1', shell.expect('classh 1> '))

    def test_line_that_is_not_text_does_not_end_it(self):
        for locale in 'C', 'C.UTF-8':
            shell = self.shell('h1', LC_ALL=locale)
            shell.type('echo a\udcffb\n')
            shell.expect('classh 1> ')
            self.assertIn('  still here\n', self.say(shell, 'echo still here'))

    def test_it_needs_hosts_and_no_command(self):
        run_classh('--shell').check(
            2, '', 'classh: no hosts are named; type them behind --shell\n')
        self.piped('', 'h[3-1]').check(2, '', "classh: bad host 'h[3-1]': "
                                       "'3-1' runs backwards\n")
        # All of them would be held in memory.
        for name in '--shell', '--unshare':
            run_classh(name, 'h[1-9999999999]').check(
                2, '', 'classh: %s: more than 100000 hosts\n' % name)

    def test_options_that_exclude_the_shell_are_named(self):
        for args in (['-I'], ['-S', 'x'], ['-E', 'x'], ['--pickle', 'x'],
                     ['-']):
            said = self.piped('', 'h1', *args).check(2, '', None)
            self.assertIn('--shell goes without', said.stderr)
        run_classh('--ssh', FAKE_SSH, '--errexit', 'true', 'h').check(
            2, '', 'classh: --errexit needs --shell\n')


class BuiltInTest(ShellTest):
    """Lines that begin with %."""

    def setUp(self):
        super().setUp()
        self.terminal = self.shell('web[1-4]', 'db1', 'exit3')

    def ask(self, line):
        return self.say(self.terminal, line)

    def selected(self):
        shown = self.ask('%hosts')
        return re.search(r'\n\d+ selected: (.*)\n', shown).group(1)

    def test_help_tells_of_all_of_them(self):
        for line in '%help', 'help', '?':
            shown = self.ask(line)
            self.assertEqual(re.findall(r'(?m)^  %(\w+).* ', shown),
                             BUILT_INS)
            self.assertIn('; -b shows each answer once', shown)
            self.assertNotIn('web1   ', shown)
        self.assertIn('web1   0', self.ask('help; echo ?'))

    def test_line_for_another_tool_is_not_run(self):
        for line, message in (
                ('!ls', 'a command here is typed %local COMMAND'),
                ('@web', 'hosts are selected by %only @web')):
            shown = self.ask(line)
            self.assertIn('classh: %s\n' % message, shown)
            self.assertNotIn('web1   ', shown)
        self.assertIn('web1   1', self.ask('! true'))

    def test_what_a_shell_does_for_its_terminal_is_told_and_not_run(self):
        for line in 'clear', 'history':
            shown = self.ask(line)
            self.assertIn('classh: Ctrl-L clears the screen, arrow up', shown)
            self.assertNotIn('web1   ', shown)

    def test_unknown_one_is_named(self):
        for line in '%nosuch', '%nosuch with words', '%', '%do_help', '% ':
            with self.subTest(line=line):
                self.terminal.type(line + '\n')
                shown = self.terminal.expect('classh 6> ')
                self.assertIn('classh: no such built-in: %', shown)
                self.assertNotIn('web1   ', shown)

    def test_hosts(self):
        shown = self.ask('%hosts')
        self.assertIn('\n6 selected: db1,exit3,web[1-4]\n', shown)
        self.assertNotIn(' not: ', shown)
        self.ask('%only web[2-3]')
        shown = self.ask('%hosts')
        self.assertIn('\n2 selected: web[2-3]\n', shown)
        self.assertRegex(shown, r'\n4 not: \S*db1\S*\n')

    def test_only_takes_names_patterns_and_wildcards(self):
        for what, selected in (
                ('web1', 'web1'), ('web1 db1', 'db1,web1'),
                ('db1,web1', 'db1,web1'), ('web[2-3],db1', 'db1,web[2-3]'),
                ('web*', 'web[1-4]'), ('*1', 'db1,web1'), ('?b1', 'db1'),
                ('web[1-9]', 'web[1-4]'), ('web[1-2],d*', 'db1,web[1-2]'),
                ('web?,', 'web[1-4]')):
            with self.subTest(what=what):
                self.ask('%only ' + what)
                self.assertEqual(self.selected(), selected)

    def test_only_says_what_is_wrong_and_selects_as_before(self):
        self.ask('%only web1')
        for what, message in (
                ('web9', 'not one of the hosts: web9'),
                ('', 'no hosts are named'),
                ('web2 x*', 'not one of the hosts: x*'),
                ('web[10-12]*', 'not one of the hosts: web[10-12]*'),
                ('web[3-1]*', 'not one of the hosts: web[3-1]*'),
                ('web1,x*', 'not one of the hosts: x*'),
                ('web[1,2]*', 'not one of the hosts: web[1,2]*'),
                ('web[3-1]', "'3-1' runs backwards")):
            with self.subTest(what=what):
                self.assertIn(message, self.ask('%only ' + what))
        self.assertEqual(self.selected(), 'web1')

    def test_not_leaves_hosts_out(self):
        self.ask('%not web[1-2] exit*')
        self.assertEqual(self.selected(), 'db1,web[3-4]')
        self.ask('%not db1')
        self.assertEqual(self.selected(), 'web[3-4]')
        self.assertIn('not one of the hosts: x', self.ask('%not x'))
        self.ask('%not web*')
        self.assertIn('classh: no hosts are selected', self.ask('echo none'))

    def test_all_selects_all_again(self):
        self.ask('%only db1')
        self.ask('%all')
        self.assertEqual(self.selected(), 'db1,exit3,web[1-4]')

    def test_failed_selects_what_failed(self):
        self.assertIn('none failed', self.ask('%failed'))
        self.ask('[ $HOST != web2 ]')
        self.ask('%failed')
        self.assertEqual(self.selected(), 'exit3,web2')
        self.ask('%all')
        self.ask('%not exit3')
        self.ask('true')
        self.assertIn('none failed', self.ask('%failed'))

    def test_retry_runs_it_again_where_it_failed(self):
        self.assertIn('nothing has failed', self.ask('%retry'))
        self.ask('%not exit3')
        self.ask('[ $HOST = web3 ] || [ -e now ] && echo ran >>$HOST')
        self.assertEqual(self.read('web1'), '')
        self.assertEqual(self.read('web3'), 'ran\n')
        self.write('now')
        self.ask('%retry')
        for host in 'web1', 'web2', 'web3', 'web4', 'db1':
            self.assertEqual(self.read(host), 'ran\n')
        self.assertIn('nothing has failed', self.ask('%retry'))

    def test_fanout_is_shown_and_set(self):
        self.assertIn('\nfanout 100\n', self.ask('%fanout'))
        self.assertIn('\nfanout 1\n', self.ask('%fanout 1'))
        self.assertIn('\nfanout 1\n', self.ask('%fanout'))
        self.ask('echo "+ $HOST" >>log; sleep .02; echo "- $HOST" >>log')
        self.assertEqual(read_log(self.path('log'))[1], 1)
        for wrong in '0', '-1', 'x', '1.5':
            self.assertIn(' is not a whole number of at least 1',
                          self.ask('%fanout ' + wrong))
        self.assertIn('\nfanout 1\n', self.ask('%fanout'))

    def test_timeout_is_shown_and_set(self):
        self.assertIn('\ntimeout 300 s\n', self.ask('%timeout'))
        self.assertIn('\ntimeout 0.2 s\n', self.ask('%timeout .2'))
        self.ask('%only web1')
        self.assertIn('timed out after 0.2 s', self.ask('sleep 60'))
        self.assertIn('\ntimeout 0 s\n', self.ask('%timeout 0'))
        for wrong in 'x', 'nan', 'inf', '1d':
            self.assertIn(' is not a number', self.ask('%timeout ' + wrong))
        self.assertIn('\ntimeout 0 s\n', self.ask('%timeout'))

    def test_show_shows_the_last_results_again(self):
        self.assertIn('no results', self.ask('%show'))
        self.ask('echo in $HOST; echo err >&2')
        shown = self.ask('%show')
        self.assertEqual(shown.count('   0   ('), 5, shown)
        self.assertEqual(shown.count('   3   ('), 1, shown)
        those = [host for host in re.findall(r'  in (\w+)', shown)
                 if host in ('web2', 'db1')]        # as they have finished
        shown = self.ask('%show web2 db*')
        self.assertEqual(sorted(those), ['db1', 'web2'])
        self.assertEqual(re.findall(r'  in (\w+)', shown), those)
        self.assertIn('not one of the hosts: x', self.ask('%show x'))
        self.ask('%only db1')
        self.ask('true')
        self.assertIn('no results', self.ask('%show web1'))

    def test_results_are_not_kept_in_memory(self):
        peaks = []
        for count in 4, 24:
            script = ('head -c 4000000 /dev/zero | tr "\\0" x; echo "|$HOST"\n'
                      '%%show h%d\n%%save out/\n' % count)
            said = run(measured(self.argv('h[1-%d]' % count), self.path('kb')),
                       stdin=script, env=self.env, cwd=self.directory)
            said.check(0, None, '%d saved\n' % count)
            self.assertEqual(said.stdout.count('x|h%d\n' % count), 2)
            self.assertEqual(len(self.read('out/h1.out')), 4000004)
            peaks.append(int(self.read('kb')))
        self.assertLess(peaks[1] - peaks[0], 4000 * 20 / 2, peaks)

    def test_results_are_kept_in_memory_where_no_file_can_be(self):
        results = {host: Result(host, 0, host + '\udcff' * 9999, 'err', 1.0,
                                2.0, 'ok', '', False) for host in 'abcd'}
        kept = _KeptResults()
        self.addCleanup(kept.close)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for host, result in results.items():
            with mock.patch('classh._write_all',
                            side_effect=host in 'bd' and full or _write_all):
                kept.finished(result)
        with mock.patch('tempfile.TemporaryFile', side_effect=full):
            other = _KeptResults()
            other.finished(results['a'])
        self.assertEqual({host: kept[host] for host in kept.heads}, results)
        self.assertEqual(other['a'], results['a'])

    def test_save_writes_a_directory(self):
        self.ask('echo in $HOST; echo err >&2')
        self.assertIn('6 saved', self.ask('%save out/'))
        self.assertEqual(self.read('out/web1.out'), 'in web1\n')
        self.assertEqual(self.read('out/web1.err'), 'err\n')
        self.assertIn('6 saved', self.ask('%save out'))

    def test_save_writes_a_pickle(self):
        self.ask('echo in $HOST')
        self.assertIn('6 saved', self.ask('%save results'))
        results = {result.host: result.output
                   for result in load(self.path('results'))}
        self.assertEqual(len(results), 6)
        self.assertEqual(results['web1'], 'in web1\n')

    def test_save_tells_what_was_cut(self):
        for target in 'results', 'out/':
            self.piped('echo 123456\n%%save %s\n' % target, '-q',
                       '--max-output', '5', 'a', 'b').check(
                1, '', '2 saved\n2 of 2 printed more than 5 bytes and were '
                'cut (--max-output): a,b\n')

    def test_built_in_without_arguments_refuses_one(self):
        # '%all web*' is a mistake for '%only web*'.
        self.ask('%only db1')
        for name in 'all', 'hosts', 'failed', 'retry', 'quit', 'help':
            self.assertIn('classh: %%%s takes nothing; see %%help\n' % name,
                          self.ask('%' + name + ' web*'))
        self.assertEqual(self.selected(), 'db1')

    def test_save_says_what_is_wrong(self):
        for line in '%save', '%save |cat', '%save -', '%save x y':
            self.assertIn('%save needs a directory/ or a file, one word\n',
                          self.ask(line))
        self.ask('true')
        self.assertIn('classh: cannot use none/results: ',
                      self.ask('%save none/results'))
        self.assertIn('classh: ', self.ask('%save /dev/null/out/'))
        self.assertNotIn('Traceback', self.terminal.shown)

    def test_local_runs_a_command_here(self):
        shown = self.ask('%local echo here; echo $HOME >&2; touch local')
        self.assertIn('\nhere\n%s\n' % self.path('home'), shown)
        self.assertTrue(os.path.exists(self.path('local')))

    def test_local_may_ask_on_the_terminal(self):
        self.terminal.type('%local read x; echo "got $x"\n')
        self.terminal.type('typed\n')
        self.terminal.expect('got typed')

    def test_ctrl_c_ends_a_local_command_only(self):
        self.terminal.type('%local touch begun; exec sleep 60\n')
        wait_until(lambda: os.path.exists(self.path('begun')))
        self.terminal.type('\x03')
        self.terminal.expect('classh 6> ')
        wait_until(lambda: not [line for pid, line in leftovers()
                                if 'sleep' in line])
        self.assertIn('  in\n', self.ask('echo in'))

    def test_quit_leaves(self):
        self.terminal.type('%quit\n')
        self.terminal.finish().check(0, stdout=None)

    def test_they_need_no_docstrings(self):
        script = '%help\n%all\n%fanout 7\n%all web*\n'
        said = self.piped(script, 'h1').check(2, '', None)
        self.starter = [sys.executable, '-S', '-OO', CLASSH]
        run(self.argv('h1'), stdin=script, env=self.env).check(
            2, '', said.stderr)
        self.assertIn('  %fanout [N]         show or set', said.stderr)


class EditingTest(ShellTest):
    """Completion and history."""

    def complete(self, shell, typed, shown):
        shell.type(typed + '\t')
        return shell.expect(shown)

    def test_host_names_are_completed(self):
        shell = self.shell('alphabet', 'beta', 'gamma[1-2]')
        self.complete(shell, '%only alp', '%only alphabet')
        shell.type('\n')
        shell.expect('classh 1> ')
        self.complete(shell, '%only beta,alp', '%only beta,alphabet')
        shell.type('\n')
        shell.expect('classh 2> ')
        self.complete(shell, 'echo gam', 'ma')
        shell.type('\t\t')
        shell.expect('gamma1')
        shell.expect('gamma2')

    def test_built_in_commands_are_completed(self):
        shell = self.shell('alphabet')
        self.complete(shell, '%ho', '%hosts')
        shell.type('\n')
        shell.expect('1 selected: alphabet')
        for name in BUILT_INS:
            if name not in ('fanout', 'failed', 'help', 'hosts'):
                self.complete(shell, '\x15%' + name[:-1], '%' + name)
        shell.type('\x15%f\t\t\t')
        shell.expect('%failed')
        shell.expect('%fanout')

    def test_history_is_kept_in_a_private_file(self):
        shell = self.shell('h1')
        self.say(shell, 'echo first')
        self.say(shell, '%hosts')
        shell.type('\x04')
        shell.finish().check(stdout=None)
        path = self.path('home/.classh_history')
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(self.lines('home/.classh_history'),
                         ['echo first', '%hosts'])
        os.chmod(path, 0o644)       # as a careless user leaves it
        shell = self.shell('h1')
        shell.type('\x10\x10\n')    # Ctrl-P twice: the line before the last
        shell.expect('echo first')
        shell.expect('  first')
        shell.expect('classh 1> ')
        shell.type('\x04')
        shell.finish().check(stdout=None)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(self.lines('home/.classh_history'),
                         ['echo first', '%hosts', 'echo first'])

    def test_history_is_written_however_it_ends(self):
        for end in (lambda shell: shell.signal(signal.SIGTERM),
                    lambda shell: shell.signal(signal.SIGHUP),
                    lambda shell: shell.hang_up()):
            shell = self.shell('h1')
            self.say(shell, 'echo this')
            shell.expect('1> ')
            shell.rest()
            end(shell)
            shell.finish()
            path = self.path('home/.classh_history')
            self.assertEqual(self.lines('home/.classh_history')[-1:],
                             ['echo this'], shell.shown)
            os.unlink(path)

    def test_history_does_not_grow_for_ever(self):
        self.write('home/.classh_history', ''.join(
            'echo %d\n' % number for number in range(2000)))
        shell = self.shell('h1')
        shell.type('\x04')
        shell.finish().check(stdout=None)
        self.assertEqual(len(self.lines('home/.classh_history')), 1000)
        self.assertEqual(self.lines('home/.classh_history')[-1], 'echo 1999')

    def test_home_that_cannot_be_written_to_does_no_harm(self):
        shell = self.shell('h1', HOME='/nonexistent')
        self.assertIn('  in\n', self.say(shell, 'echo in'))
        shell.type('\x04')
        shell.finish().check(0, stdout=None)

    def test_commands_from_a_pipe_leave_no_history(self):
        self.piped('true\n', 'h1').check(stdout=None)
        self.assertEqual(os.listdir(self.path('home')), [])


class InterruptTest(ShellTest):
    """Ctrl-C, Ctrl-D, and leaving while jobs run."""

    def start(self, shell, count, line='echo >>begun; exec sleep 60'):
        """Type a line that takes long; return when *count* jobs run it."""
        begun = len(self.lines('begun'))
        shell.type(line + '\n')
        wait_until(lambda: len(self.lines('begun')) == begun + count)

    def gone(self, shell):
        """Wait until no job is left."""
        wait_until(lambda: not [line for pid, line in leftovers()
                                if pid != shell.pid], what='no job runs')

    def test_ctrl_c_ends_the_command_and_comes_back(self):
        shell = self.shell('h[1-3]')
        self.start(shell, 3)
        shell.type('\x03')
        shown = shell.expect('classh 3, 3 failed> ')
        self.assertEqual(shown.count('   stopped\n'), 3, shown)
        self.assertIn('3 of 3 ' + STOPPED + 'h[1-3]\n', shown)
        self.gone(shell)
        self.assertEqual(self.say(shell, 'echo in').count('  in\n'), 3)
        shell.type('\x04')
        shell.finish().check(0, stdout=None)

    def test_ctrl_c_leaves_alone_what_had_not_started(self):
        shell = self.shell('-f2', 'h[1-5]')
        self.start(shell, 2)
        shell.type('\x03')
        shown = shell.expect('classh 5, 2 failed> ')
        self.assertIn('3 of 5 not started: h[3-5]', shown)
        self.assertEqual(len(self.lines('begun')), 2)

    def test_ctrl_c_ends_the_program_of_a_group_alone(self):
        os.mkdir(self.path('groups'), 0o755)
        self.program('groups/slow', 'touch begun; exec sleep 60')
        self.write('groups/fast', 'h[2-9]')
        shell = self.shell('h[1-3]', CLASSH_GROUPS=self.path('groups'))
        shell.type('%only @slow\n')
        wait_until(lambda: os.path.exists(self.path('begun')))
        shell.type('\x03')
        shell.expect('classh 3> ')
        self.gone(shell)
        shell.type('%only @fa\t\n')         # completed
        shell.expect('classh 2> ')
        shell.type('\x04')
        shell.finish().check(130, stdout=None)
        self.assertNotIn('Traceback', shell.shown)

    def test_second_ctrl_c_kills_what_is_slow_to_end(self):
        # With a grace of an hour, only the second Ctrl-C ends the job.
        self.starter = [sys.executable, '-c', 'import sys, classh; '
                        'classh.SSHJobMan.__init__.__kwdefaults__.update('
                        'grace=3600.0); sys.exit(classh.main())']
        shell = self.shell('h1', PYTHONPATH=MODULE)
        self.start(shell, 1, 'trap "echo >>told" TERM; echo >>begun; '
                   'while :; do sleep .05; done')
        shell.type('\x03')
        wait_until(lambda: self.lines('told'))
        shell.type('\x03')
        shell.expect('classh 1, 1 failed> ')
        self.gone(shell)

    def test_ctrl_c_at_the_prompt_drops_the_line(self):
        shell = self.shell('h1')
        shell.type('touch half-typed')
        shell.expect('half-typed')
        for _ in range(3):
            shell.rest()
            shell.type('\x03')
            shell.expect('classh 1> ')
        self.assertIn('  in\n', self.say(shell, 'echo in'))
        self.assertFalse(os.path.exists(self.path('half-typed')))
        shell.type('\x04')
        shell.finish().check(0, stdout=None)
        self.assertNotIn('Traceback', shell.shown)

    def test_ctrl_d_leaves_with_the_last_status(self):
        for line, status in (('true', 0), ('exit 7', 5), ('%nosuch', 2)):
            shell = self.shell('h1')
            self.say(shell, line)
            shell.type('\x04')
            shell.finish().check(status, stdout=None)

    def check_leaves(self, shell, end, status):
        self.assertTrue(private_directories())
        end()
        said = shell.finish()
        self.assertEqual(said.status, status, said)
        self.assertNotIn('Traceback', said.stdout, said)
        wait_until(lambda: not leftovers(), what='no process is left')
        self.assertEqual(private_directories(), set())

    def test_sigterm_and_sighup_at_the_prompt_end_it(self):
        for number in signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
            shell = self.shell('h[1-3]', prompt='classh 3> ')
            shell.rest()
            self.check_leaves(shell, lambda: shell.signal(number),
                              128 + number)
            self.assertTrue(shell.echoes())

    def test_sigterm_and_sighup_end_it_and_what_runs(self):
        for number in signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
            shell = self.shell('h[1-3]')
            self.start(shell, 3)
            self.check_leaves(shell, lambda: shell.signal(number),
                              128 + number)
            self.assertTrue(shell.echoes())

    def test_closed_terminal_ends_it(self):
        shell = self.shell('h[1-3]', prompt='classh 3> ')
        shell.rest()
        self.check_leaves(shell, shell.hang_up, 129)

    def test_closed_terminal_ends_it_and_what_runs(self):
        shell = self.shell('h[1-3]')
        self.start(shell, 3)
        self.check_leaves(shell, shell.hang_up, 129)

    def test_two_signals_at_once_during_a_local_command_end_it(self):
        for number in range(3):
            shells = [self.shell('h1') for _ in range(8)]
            for index, shell in enumerate(shells):
                shell.type('%%local touch begun%d-%d; exec sleep 60\n'
                           % (number, index))
            for index, shell in enumerate(shells):
                wait_until(lambda: os.path.exists(
                    self.path('begun%d-%d' % (number, index))))
                shell.signal(signal.SIGINT)
                shell.signal(signal.SIGTERM)
            for shell in shells:
                said = shell.finish().check(143, stdout=None)
                self.assertNotIn('Traceback', said.stdout)
            wait_until(lambda: not leftovers(), what='no process is left')
            self.assertEqual(private_directories(), set())

    def test_what_the_shell_of_a_local_command_runs_is_ended_too(self):
        for line in 'sleep 60', 'sleep 60; touch next', '(sleep 60; :) | cat':
            line = '%%local touch begun; %s\n' % line
            shell = self.shell('h1')
            shell.type(line)
            wait_until(lambda: os.path.exists(self.path('begun')))
            self.check_leaves(shell, lambda: shell.signal(signal.SIGTERM), 143)
            os.remove(self.path('begun'))
            with Command(self.argv('h1'), stdin=line, env=self.env,
                         cwd=self.directory) as command:
                wait_until(lambda: os.path.exists(self.path('begun')))
                command.signal(signal.SIGTERM)
                command.finish().check(143, None, None)
            wait_until(lambda: not leftovers(), what='no process is left')
            os.remove(self.path('begun'))
        self.assertFalse(os.path.exists(self.path('next')))

    def test_ctrl_c_at_the_end_of_a_command_leaves_the_prompt_in_order(self):
        for number in range(20):
            shell = self.shell('h[1-2]')
            shell.type('true\n')
            for _ in range(1 + number % 2):
                shell.expect('   0   (')
            shell.signal(signal.SIGINT)
            # If the signal comes just before the shell waits, the first line
            # wakes the shell.
            shell.type('\necho i""n\n')
            shell.expect('  in\r\n')
            shell.expect('  in\r\n')
            shell.signal(signal.SIGTERM)
            shell.finish().check(143, stdout=None)

    def test_remote_status_is_no_signal(self):
        for status in 129, 130, 131, 141, 143:
            said = self.piped('exit %d\necho next\n' % status, '--maxrc',
                              'h1')
            said.check(0, None, None)
            self.assertIn('  next\n', said.stdout, said)


class PipeTest(ShellTest):
    """Without a terminal."""

    def test_lines_are_run_in_order(self):
        said = self.piped('echo one >>$HOST\n\n# no\n  echo two >>$HOST  \n'
                          'echo three >>$HOST', 'h[1-2]')
        said.check(0, stdout=None)
        for host in 'h1', 'h2':
            self.assertEqual(self.lines(host), ['one', 'two', 'three'])

    def test_nothing_is_shown_but_results(self):
        said = self.piped('echo one\n', '-q', 'h1', env={'TERM': 'xterm'})
        said.check(0, '')
        said = self.piped('echo one\n', 'h1', env={'TERM': 'xterm'})
        self.assertRegex(said.stdout, r'^h1   0   \(\d+\.\d\)\n  Output:\n\n'
                         r'  one\n\n$')

    def test_lines_may_come_from_a_file_which_no_host_reads(self):
        with open(self.write('script', 'cat; echo one\ncat; echo two\n')
                  ) as script:
            said = self.piped(script, 'h[1-2]').check(stdout=None)
        self.assertEqual(re.findall('  (one|two)\n', said.stdout),
                         ['one', 'one', 'two', 'two'])

    @staticmethod
    def echo(command, word):
        """Let a host print *word*; return when the shell shows it."""
        command.send(b'echo %s\n' % word.encode())
        wait_until(lambda: '  %s\n' % word in command.stdout)

    def test_each_line_runs_when_it_comes(self):
        with Command(self.argv('h1'), stdin=subprocess.PIPE, env=self.env,
                     cwd=self.directory) as command:
            for line in 'one', 'two':
                self.echo(command, line)
            command.finish().check(stdout=None)

    def test_carriage_returns_of_another_system_do_no_harm(self):
        said = self.piped('echo one\r\n%hosts\r\n', 'h1').check(
            0, None, '1 selected: h1\n')
        self.assertIn('  one\n', said.stdout)

    def test_bytes_that_are_not_text_go_as_they_are(self):
        said = self.piped(b'echo \xff\xfe >out\n', 'h1',
                          env={'PYTHONIOENCODING': 'utf-8:strict'})
        said.check(0, stdout=None)
        with open(self.path('out'), 'rb') as out:
            self.assertEqual(out.read(), b'\xff\xfe\n')

    def test_bytes_stay_as_they_are_in_any_locale(self):
        for env in locales(self.directory):
            with self.subTest(env):
                said = self.piped(b'printf "caf\xc3\xa9 \xe9"\n', 'h1',
                                  env=env).check(0, None)
                self.assertIn('  Output:\n\n  caf\xe9 \udce9\n', said.stdout)

    def test_cause_of_a_failure_is_in_words(self):
        said = self.piped('%%local : %s\n' % (200000 * 'x'), 'h1')
        said.check(2, '', 'classh: /bin/sh: Argument list too long\n')

    def test_status_of_a_local_command_where_sigchld_is_ignored(self):
        run(after(SIGCHLD_IGNORED, self.argv('h1')), env=self.env,
            stdin='%local exit 7\n').check(7)

    def test_fanout_that_is_set_gets_its_descriptors(self):
        # All jobs run at once, without a warning that there is no room.
        said = self.piped('%%fanout 40\necho >>in; [ $(wc -l <in) -lt 40 ] '
                          '|| touch all; %s\n' % until('all'), '-f1', '-u30',
                          '-q', 'h[1-40]', before='ulimit -Sn 64')
        said.check(0, '', 'fanout 40\n')

    def test_line_eof_is_a_command_as_any_other(self):
        said = self.piped('EOF\necho two\n', 'h1')
        self.assertIn('  two\n', said.stdout, said)

    def test_status_is_that_of_the_last_line(self):
        for script, status in (('exit 3\ntrue\n', 0), ('true\nexit 3\n', 5),
                               ('', 0), ('%nosuch\n', 2),
                               ('%local exit 9\n', 9),
                               ('%local kill -9 $$\n', 137)):
            with self.subTest(script=script):
                said = self.piped(script, 'h1').check(status, None, None)
                self.assertNotIn('Traceback', said.stderr)

    def test_failure_does_not_end_it(self):
        said = self.piped('exit 3\n%nosuch\n%local false\necho in\n', 'h1')
        said.check(0, None, None)
        self.assertIn('  in\n', said.stdout)

    def test_errexit_ends_it_at_the_first_failure(self):
        for line, status in (('[ $HOST != h2 ]', 5), ('%nosuch', 2),
                             ('%only nobody', 2), ('%local exit 9', 9),
                             ('%retry', 2), ('%save /nonexistent/x', 2)):
            with self.subTest(line=line):
                said = self.piped('true\n%s\ntouch on\n' % line, '--errexit',
                                  'h[1-3]')
                said.check(status, None, None)
                self.assertFalse(os.path.exists(self.path('on')))
        self.piped('true\n%hosts\n%all\ntouch on\n', '--errexit',
                   'h1').check(0, None, None)
        self.assertTrue(os.path.exists(self.path('on')))

    def test_save_that_fails_halfway_is_a_failure(self):
        # /dev/full is full: half a file must not pass for success.
        said = self.piped('true\n%save /dev/full\ntouch on\n', '--errexit',
                          'h1')
        self.assertNotEqual(said.status, 0, said)
        self.assertFalse(os.path.exists(self.path('on')))

    def test_quit_ends_it(self):
        for line in '%quit', 'exit', ' quit ', 'logout\r':
            self.piped(line + '\ntouch on\n', 'h1').check(0, '', '')
            self.assertFalse(os.path.exists(self.path('on')))
        # exit keeps the status of the last command; 'exit 1' is a command.
        self.piped('false\nexit\n', 'h1').check(5, None, None)
        self.piped('exit 0\nexit; true\nlogout 1 || quit 2 || true\n'
                   'touch on\n', 'h1').check(0, None, None)
        self.assertTrue(os.path.exists(self.path('on')))

    def test_ctrl_c_ends_it_all(self):
        with Command(self.argv('h[1-2]'), env=self.env, cwd=self.directory,
                     stdin='echo >>begun; exec sleep 60\ntouch on\n'
                     ) as command:
            wait_until(lambda: len(self.lines('begun')) == 2)
            command.signal(signal.SIGINT)
            command.finish().check(130, None, None)
        self.assertFalse(os.path.exists(self.path('on')))

    def test_signals_end_it_while_it_waits_for_a_line(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            with Command(self.argv('h1'), stdin=subprocess.PIPE,
                         env=self.env, cwd=self.directory) as command:
                self.echo(command, 'in')
                wait_until(lambda: state(command.pid) == 'S')
                command.signal(number)
                wait_until(lambda: state(command.pid) == 'Z')
                command.finish().check(128 + number, None, '')
            self.assertEqual(private_directories(), set())

    def test_question_how_far_it_is_while_it_waits_is_harmless(self):
        with Command(self.argv('h1'), stdin=subprocess.PIPE, env=self.env,
                     cwd=self.directory) as command:
            for line in 'one', 'two':
                self.echo(command, line)
                wait_until(lambda: state(command.pid) in 'SZ')
                command.signal(signal.SIGUSR1)
            # A running command would answer.
            command.finish().check(0, None, None)

    def test_nohup_keeps_it_running(self):
        with Command(self.argv('h1'), stdin=subprocess.PIPE, env=self.env,
                     cwd=self.directory, before="trap '' HUP") as command:
            for line in 'one', 'two':
                self.echo(command, line)
                command.signal(signal.SIGHUP)
            command.finish().check(0, None)

    def test_shell_ends_when_the_reader_of_its_output_leaves(self):
        # A command whose results nobody sees must not be started.
        reader, writer = os.pipe()
        os.close(reader)
        try:
            self.piped('echo >>ran\necho >>ran; echo x\necho >>ran\n', 'h1',
                       '--progress', stdout=writer).check(0, None, None)
            self.assertEqual(len(self.lines('ran')), 3)
            self.piped('echo one\ntouch on\ntouch on\n', 'h1',
                       stdout=writer).check(141, None, None)
        finally:
            os.close(writer)
        self.assertFalse(os.path.exists(self.path('on')))

    def test_stdin_that_is_closed_is_the_end(self):
        self.piped(None, 'h1', before='exec <&-').check(0)


class PasswordTest(ShellTest):
    """-A asks for the password once for all lines."""

    def setUp(self):
        super().setUp()
        self.secret = self.write('secret', 'right\n', 0o600)

    def test_it_is_asked_for_before_the_first_prompt(self):
        terminal = Terminal(self.argv('-A', 'h[1-2]', ssh=ASKING_SSH),
                            env=self.env, cwd=self.directory)
        self.addCleanup(terminal.__exit__)
        terminal.expect('Password for ')
        terminal.type('right\n')
        terminal.expect('classh 2> ')
        for _ in range(2):
            shown = self.say(terminal, 'login right && echo in')
            self.assertEqual(shown.count('  in\n'), 2, shown)
        terminal.type('\x04')
        said = terminal.finish().check(0, stdout=None)
        self.assertEqual(said.stdout.count('assword'), 1)

    def test_denial_of_a_command_s_own_ssh_refuses_no_password(self):
        # Over a connection that is shared, ssh does not say that it is in
        # where it has no log.
        ssh = self.program(
            'ssh', 'for word; do case $word in ControlPath=*) '
            'path=${word#*=} ;; esac; done\n'
            'case "$*" in *"-O exit all") rm "$path"; exit ;; esac\n'
            ': >"$path"; exec %s "$@"' % ASKING_SSH)
        said = run_classh(
            '--ssh', shlex.quote(ssh), '--shell', '--askpass-file',
            self.secret, '-f1', '-OLogLevel=INFO', 'h[1-3]',
            cwd=self.directory, env=self.env, stdin='login right\n'
                  'echo "inner: Permission denied (password)." >&2; exit 255\n'
                  'echo three\n')
        said.check(0, None, '3 of 3 permission denied: h[1-3]\n')
        self.assertEqual(said.stdout.count('  three\n'), 3, said)

    def test_refusal_is_remembered_but_stops_one_command_only(self):
        # Only h1 needs the password; the other hosts are connected.
        said = run_classh(
            '--ssh', ASKING_SSH, '--shell', '--askpass-file', self.secret,
            '-f2', 'h1', 'h[2-7]', cwd=self.directory, env=self.env,
            stdin='case $TARGET in h1) login other ;; esac; echo one\n'
                  'case $TARGET in h1) login other ;; esac; echo two\n')
        said.check(4, None, None)
        self.assertEqual(said.stdout.count('  two\n'), 6, said)
        self.assertEqual(self.lines('sent'), ['h1 right'])
        self.assertEqual(said.stdout.count('   not sent the password\n'),
                         1, said)
