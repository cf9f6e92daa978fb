"""--exec: the command runs here, once a host."""

import json
import os
import re

from lib import WorkTest, run, run_classh
from lib.commands import classh_argv

ENDS = '''
case $CLASSH_HOST in
h255)  exit 255 ;;
kill)  kill -9 $$ ;;
child) sh -c 'kill -9 $$' 2>/dev/null; exit ;;
slow)  sleep 60; true ;;
read)  cat ;;
esac'''


class ExecTest(WorkTest):
    def test_every_status_is_that_of_the_command(self):
        said = run_classh('--json', '-u4', '--retries=3', '-I', '--exec',
                          ENDS, 'h255,kill,child,slow,read,ok:7',
                          stdin='given\n').check(3, None, None)
        ends = {}
        for record in map(json.loads, said.stdout.splitlines()):
            if record['event'] == 'run':
                self.assertIs(record['exec'], True)
            elif record['event'] == 'result':
                self.assertEqual((record['ran'], record['tries'],
                                  record['login']), ('yes', 1, None))
                ends[record['host']] = (
                    record['outcome'], record['exitcode'], record['cause'],
                    record['stdout'])
        self.assertEqual(ends, {
            'h255': ('error', 255, '', ''), 'kill': ('killed', -9, 'signal',
                                                     ''),
            'child': ('error', 137, '', ''),
            'slow': ('killed', -15, 'timeout', ''),
            'read': ('ok', 0, '', 'given\n'), 'ok:7': ('ok', 0, '', '')})
        self.assertIn('1 of 6 ended by SIGKILL: kill\n', said.stderr)
        self.assertIn('1 of 6 exited with 255: h255\n', said.stderr)

    def test_views_and_sinks_are_as_ever(self):
        said = run_classh(
            '-b', '-f1', '-S', 'up', '-E', 'down', '--exec',
            'echo "$CLASSH_HOST, $CLASSH_N" | sed s/,.*//; [ $CLASSH_N -lt 2 ]',
            'web[1-3]', cwd=self.directory).check(5, None, None)
        self.assertIn('web[1-2]   0   2 hosts', said.stdout)
        self.assertEqual((self.read('up'), self.read('down')),
                         ('web1\nweb2\n', 'web3\n'))
        run_classh('--list', '--exec', 'web[1-2]').check(0, 'web1\nweb2\n')

    def test_what_is_for_a_host_alone_is_refused(self):
        for words in ('-A',), ('--askpass-file', 'x'), ('--sudo',), (
                '--end-remote',), ('--shell',):
            run_classh('--exec', *words, 'true', 'web1').check(
                2, '', 'classh: --exec, which runs COMMAND here, goes without '
                '%s\n' % words[0])

    def test_no_ssh_is_needed_but_one_that_is_named(self):
        python, *argv = classh_argv('--exec', 'echo up', 'a')
        env = {'PATH': self.directory}
        said = run([python, *argv], env=env).check(0, None)
        self.assertIn('  up\n', said.stdout)
        run([python, *argv, '--ssh', 'my-ssh'], env=env).check(
            2, '', 'classh: my-ssh: not found, or not executable; '
            '--ssh names the ssh to run\n')

    def test_nothing_is_left_in_the_temporary_directory(self):
        env = {'TMPDIR': self.directory}
        said = run_classh('--exec', 'cat "$CLASSH_SSH"; kill -TERM $PPID; '
                          'sleep 60', 'a', '-l', 'bob', env=env)
        said.check(143, None, None)
        self.assertTrue(re.search(r'exec ssh -l bob .*"\$@"', said.stdout),
                        said)
        self.assertEqual(os.listdir(self.directory), [])
