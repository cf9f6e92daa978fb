"""--completion: its scripts in real shells, on a terminal."""

import os
import shutil
import unittest

from lib import WorkTest, classh_argv, run, run_classh, wait_until
from lib.terminal import Terminal
import classh

KNOWN_HOSTS = r"""
web1.example.org,192.0.2.1 ssh-ed25519 AAAA
[gate.example.org]:2222 ssh-ed25519 AAAA
2001:db8::7 ssh-ed25519 AAAA
[2001:db8::8]:2222 ssh-ed25519 AAAA
|1|b3JhbmdlcyBhbmQ=|bGVtb25zLCBzYXk= ssh-ed25519 AAAA
@cert-authority *.corp ssh-ed25519 AAAA
@revoked revoked1 ssh-ed25519 AAAA
# a comment of some words
evil$(touch${IFS}pwned) ssh-ed25519 AAAA
evil`touch${IFS}pwned` ssh-ed25519 AAAA
evil;touch,evil*,evil'x,evil"y,evil\z,evil{1,2},evil~ ssh-ed25519 AAAA
-oProxyCommand=x,--pickle=pwned ssh-ed25519 AAAA
"""
CONFIG = """Include config.d/*
Host db1 db2 "db3" !db4 db* # web9
  HostName hidden.example.org
host = eq1\r
Match host foo
"""
NAMES = ['web1.example.org', '192.0.2.1', 'gate.example.org:2222',
         '2001:db8::7', '[2001:db8::8]:2222', 'db1', 'db2', 'db3', 'eq1',
         'inc1', 'inc2', '@racks']

# What is typed before Tab, and what classh gets then.
LINES = (
    ('uptime web', ['uptime', 'web1.example.org']),
    ('"a; b" gate', ['a; b', 'gate.example.org:2222']),
    ('uptime gate.example.org:2', ['uptime', 'gate.example.org:2222']),
    ('uptime 2001:db8::7', ['uptime', '2001:db8::7']),
    (r'uptime \[2001', ['uptime', '[2001:db8::8]:2222']),
    (r'uptime \[2001:db8', ['uptime', '[2001:db8::8]:2222']),
    ('uptime "we', ['uptime', 'web1.example.org']),
    ('uptime db1,we', ['uptime', 'db1,web1.example.org']),
    ('uptime bob@gat', ['uptime', 'bob@gate.example.org:2222']),
    ('uptime eq1 db1,bob@we', ['uptime', 'eq1', 'db1,bob@web1.example.org']),
    ('uptime @ra', ['uptime', '@racks']),
    ('uptime bob@@r', ['uptime', 'bob@@r']),
    ('uptime evil', ['uptime', 'evil']),
    ('uptime -- we', ['uptime', '--', 'web1.example.org']),
    ('--list we', ['--list', 'web1.example.org']),
    ('-qf 20 odd-comm', ['-qf', '20', 'odd-command']),
    ('-x db1 uptime eq', ['-x', 'db1', 'uptime', 'eq1']),
    ('-x eq', ['-x', 'eq1']),
    ('--exclude=db1,we', ['--exclude=db1,web1.example.org']),
    ('--exclude="db1,we', ['--exclude=db1,web1.example.org']),
    ('--exclude=bob@we', ['--exclude=bob@web1.example.org']),
    ('--json uptime eq', ['--json', 'uptime', 'eq1']),
    ('uptime ./hos', ['uptime', './hosts file']),
    ('uptime hos', ['uptime', 'hos']),
    ('-S hos', ['-S', 'hosts file']),
    ('--json=hos', ['--json=hosts file']),
    ('--gath', ['--gather']),
    ('--color alw', ['--color', 'always']),
    ('--color=alw', ['--color=always']),
    ('--completion fi', ['--completion', 'fish']),
)


class Wordy(Terminal):
    """A terminal for programs that draw more than its screen understands."""

    def _take(self, octets, final=False):
        self.shown += self._decode(octets, final)


class CompletionTest(WorkTest):
    def setUp(self):
        super().setUp()
        for name in ('bin', 'work', 'there', '.ssh/config.d',
                     '.config/classh/groups',
                     # Or fish would make some in the background.
                     '.local/share/fish/generated_completions'):
            os.makedirs(self.path(name))
        self.write('.ssh/known_hosts', KNOWN_HOSTS)
        self.write('.ssh/config', CONFIG)
        self.write('.ssh/config.d/one', 'Host inc1\n')
        self.write('.ssh/config.d/two', 'Host inc2')
        for name in 'racks', '$(touch pwned)', 'old~':
            self.write('.config/classh/groups/' + name)
        self.write('work/hosts file')
        self.program('bin/odd-command', '')
        self.program('bin/classh', 'printf "%%s\\n" "$@" >%s.new; mv %s.new '
                     '%s' % ((self.path('got'),) * 3))
        self.env = {'HOME': self.directory, 'TERM': 'dumb',
                    'ZDOTDIR': self.directory, 'XDG_CONFIG_HOME': None,
                    'XDG_DATA_HOME': None, 'CLASSH_GROUPS': None,
                    'TMPDIR': self.directory, 'XDG_RUNTIME_DIR': None,
                    'PATH': self.path('bin') + ':' + os.environ['PATH']}

    def check(self, shell, argv):
        """Type the LINES in *shell*, whose script is in the file there."""
        if not shutil.which(shell):
            raise unittest.SkipTest('no ' + shell)
        self.write('there/_classh', run_classh(
            '--completion', shell).check(stdout=None).stdout)
        with Wordy(argv, self.env, self.path('work')) as terminal:
            for typed, wanted in LINES:
                terminal.type('classh %s\t\n' % typed)
                wait_until(lambda: os.path.exists(self.path('got')))
                self.assertEqual(self.lines('got'), wanted, terminal._run())
                os.remove(self.path('got'))
            terminal.type('exit\n')
            terminal.finish()
        self.assertEqual(os.listdir(self.path('work')), ['hosts file'])

    def test_bash_completes(self):
        self.write('rc', "PS1='$ '; . ~/there/_classh\n")
        self.check('bash', ['bash', '--rcfile', self.path('rc')])

    def test_bash_shows_no_more_than_names_wherever_it_parts_words(self):
        self.write('there/_classh', run_classh(
            '--completion', 'bash').check(stdout=None).stdout)
        for breaks in ':=@', '':
            self.write('rc', "PS1='$ '; . ~/there/_classh\n%s\n"
                       'COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=@]}%s\n' % (
                           '' if breaks else 'shopt -u hostcomplete', breaks))
            with Wordy(['bash', '--rcfile', self.path('rc')], self.env,
                       self.path('work')) as terminal:
                for typed in ('uptime eq1,db', '-x bob@db',
                              '--exclude=eq1,bob@db'):
                    terminal.type('classh %s\t\t' % typed)
                    terminal.expect('\r\ndb1  db2  db3  \r\n$ classh %s'
                                    % typed)
                    terminal.type('\x05\x15')        # end of line, drop it
                terminal.type('exit\n')
                terminal.finish()

    def test_zsh_completes(self):
        self.write('.zshrc', 'fpath=(~/there $fpath)\n'
                             'autoload -U compinit; compinit -u -D\n')
        self.check('zsh', ['zsh', '-i'])

    def test_fish_completes(self):
        self.check('fish', ['fish', '-C', 'source ~/there/_classh'])

    def test_names_are_found_with_each_awk(self):
        paths = [os.environ['PATH']]
        if shutil.which('busybox'):
            os.mkdir(self.path('box'))
            os.symlink(shutil.which('busybox'), self.path('box/awk'))
            paths.append(self.path('box') + ':' + paths[0])
        for path in paths:
            env = dict(self.env, PATH=path)
            for begin in '', 'db', '[2', '@', 'w.b1', 'evil', '-':
                said = run(['sh', '-c', classh._KNOWN_NAMES, 'x', begin],
                           env=env).check(stdout=None)
                mine = [name for name in said.stdout.splitlines()
                        if name in NAMES or 'evil' in name or name[0] == '-']
                self.assertEqual(mine, [name for name in NAMES
                                        if name.startswith(begin)], said)

    def test_groups_are_where_the_environment_says(self):
        os.mkdir(self.path('more groups'))
        self.write('more groups/sites')
        env = dict(self.env, CLASSH_GROUPS='/none:' + self.path('more groups'))
        said = run(['sh', '-c', classh._KNOWN_NAMES, 'x', '@'], env=env)
        said.check(stdout='@sites\n')

    def test_other_shell_is_a_usage_error(self):
        said = run(classh_argv('--completion', 'tcsh')).check(2, '', None)
        self.assertIn("'tcsh'", said.stderr)
