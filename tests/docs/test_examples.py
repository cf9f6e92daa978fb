"""Every file in examples/, run as a user would run it."""

import csv
import functools
import html.parser
import io
import os
import pickle
import re
import shutil
import sys
import xml.etree.ElementTree

from lib.named_hosts import named_hosts, write
from lib import (FAKE_SSH, MODULE, ROOT, SCRATCH, SHARED, TestCase,
                 classh_argv, fake, run, run_classh, shell, sshd)
from classh import Result

EXAMPLES = os.path.join(ROOT, 'examples')
LIMIT = 110             # lines that are still worth copying
# One has the style and the script of a page, the other a second program.
LONG = ('report.py', 'on_dask.py')
AS_CLASSH = ('on_dask.py',)     # these speak as classh does: see test_on_dask

# What a host must not do to a page or to XML, and the same as it is shown.
HOSTILE = (r"printf '</pre></script><script>hostile()</script>\000\033[2J"
           r"\377\302\233 \342\200\256abc\342\202\254\n';"
           r"""printf 'a "quoted" &amp; word\r\n' >&2""")
SHOWN = ('</pre></script><script>hostile()</script>\\x00\\x1b[2J\\xff\\x9b '
         '\\u202eabc\u20ac\n')


@functools.lru_cache(maxsize=None)
def compiled():
    """Return a copy of examples/ whose module is compiled."""
    place = os.path.join(SCRATCH, SHARED + 'examples')
    shutil.copytree(EXAMPLES, place, symlinks=True,
                    ignore=shutil.ignore_patterns('classh.py', '__pycache__'))
    for name in 'classh.py', '__pycache__':
        os.symlink(os.path.join(MODULE, name), os.path.join(place, name))
    return place


class Page(html.parser.HTMLParser):
    """A page as a browser reads it: .tags, the name of each, .attributes,
    those of all as (name, value), and .text by the tag that it is in."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.attributes, self.text = ['html'], [], {}
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.setdefault(self.tags[-1], []).append(data)


def examples():
    """Return the names of the files in examples/, but the link by which they
    find the module."""
    return [name for name in sorted(os.listdir(EXAMPLES))
            if name[0] not in '._' and name != 'classh.py']


class ExamplesTest(TestCase):
    """Of these, test_NAME is the one of examples/NAME or NAME.py."""

    def test_every_example_has_a_test(self):
        for name in examples():
            test = 'test_' + re.sub(r'\.py$', '', name)
            self.assertTrue(hasattr(self, test), name)

    def test_every_script_finds_the_module_beside_it(self):
        self.assertEqual(os.readlink(os.path.join(EXAMPLES, 'classh.py')),
                         os.path.join('..', 'classh.py'))

    def test_every_script_is_short_and_shows_its_usage(self):
        for name in examples():
            with open(os.path.join(EXAMPLES, name)) as file:
                if name not in LONG:
                    self.assertLess(len(file.readlines()), LIMIT, name)
            if name.endswith('.py'):
                ran = self.run_example(name)
                self.assertEqual((ran.status, ran.stdout), (2, ''), ran)
                self.assertIn('\n    %s ' % name, ran.stderr, ran)
                for option in '-h', '--help':
                    self.run_example(name, option).check(0, ran.stderr, '')

    def test_every_script_refuses_a_bad_host_in_one_line(self):
        for name in examples():
            with open(os.path.join(EXAMPLES, name)) as file:
                takes_hosts = 'HOST...' in file.read()
            if (name.endswith('.py') and takes_hosts
                    and name not in AS_CLASSH):
                self.run_example(name, 'web1', 'web[3-1]').check(
                    2, '', "%s: bad host 'web[3-1]': '3-1' runs backwards\n"
                    % name)
                ran = self.run_example(name, '@none').check(2, '', None)
                self.assertRegex(ran.stderr, r'\A%s: @none: .*\n\Z'
                                 % re.escape(name))

    def test_no_script_is_content_with_output_that_is_lost(self):
        path = os.path.join(self.scratch(), 'all')
        self.write_results(path, ('web1', 2.5, 'ok', ''))
        self.write_results(path + '2', ('web2', 2.5, 'ok', ''))
        runs = {'changed.py': [path, path + '2'], 'clock_check.py': ['web1'],
                'disk_full.py': ['web5'], 'junit.py': [path],
                'report.py': [path], 'slowest.py': [path]}
        self.assertEqual(list(runs), [name for name in examples()
                                      if name.endswith('.py')
                                      and name not in AS_CLASSH])
        for name, args in runs.items():
            with open('/dev/full', 'w') as full:
                ran = self.run_example(name, *args, stdout=full)
            ran.check(1, None, None)
            self.assertRegex(ran.stderr, r'\A%s: .*No space left on device'
                             r'\n\Z' % re.escape(name), ran)

    @staticmethod
    def write_results(path, *results):
        with open(path, 'wb') as file:
            for host, elapsed, outcome, reason in results:
                pickle.dump(Result(host, 0, '', '', 1e9, 1e9 + elapsed,
                                   outcome, reason, False), file)

    def run_example(self, name, *args, **options):
        """Run it on the hosts of named_hosts.py."""
        env = named_hosts(self.scratch())
        return run([sys.executable, os.path.join(compiled(), name)]
                   + list(args), env=env, **options)

    def hosts_file(self, content):
        path = os.path.join(self.scratch(), 'hosts')
        write(path, content)
        return path

    def check(self, ran, status, *patterns):
        """Fail unless its lines, sorted, match the *patterns*."""
        self.assertEqual((ran.status, ran.stderr), (status, ''), ran)
        lines = sorted(ran.stdout.splitlines())
        self.assertEqual(len(lines), len(patterns), ran)
        for line, pattern in zip(lines, patterns):
            self.assertTrue(re.fullmatch(pattern, line), ran)

    def test_clock_check(self):
        nominal = r'web%d: nominal, possible error \d+\.\d s'
        self.check(self.run_example('clock_check.py', 'web[1-2]'), 0,
                   nominal % 1, nominal % 2)
        off = r'web%d: off: %s by 3[56]\d\d\.\d s, give or take \d+\.\d s'
        self.check(
            self.run_example('clock_check.py', self.hosts_file('web[3-6]'),
                             'db1'), 1,
            'db1: error: connection refused',
            nominal % 3, 'web4: error: date: not found',
            off % (5, 'slow'), off % (6, 'fast'))

    def test_disk_full(self):
        self.check(self.run_example('disk_full.py', 'web[1-3]'), 0)
        self.check(
            self.run_example('disk_full.py', self.hosts_file('web[1-5]'),
                             'db1'), 1,
            'db1: connection refused',
            'web4: df: /mnt: Stale file handle', 'web5: 97% /srv/big files')

    def test_on_dask(self):
        """Without Dask; with it: test_on_dask.py."""
        usage = self.run_example('on_dask.py').stderr
        for args in (['--workers=0', 'true', 'web1'], ['--workers', 'two'],
                     ['--scheduler=', 'true', 'web1'], ['--workers=3'],
                     ['--workers=1', '--scheduler=x', 'true', 'web1']):
            self.run_example('on_dask.py', *args).check(2, '', usage)
        scratch = self.scratch()
        write(os.path.join(scratch, 'distributed.py'), 'raise ImportError')
        ran = run([sys.executable, os.path.join(EXAMPLES, 'on_dask.py'),
                   'true', 'web1'], env={
                       'PYTHONPATH': os.pathsep.join([scratch, ROOT])})
        ran.check(2, '', 'on_dask.py needs Python 3.10 or newer and Dask: '
                  'pip install distributed\n')

    TRUNCATED = """if 1:
        import classh, contextlib, runpy, sys

        @contextlib.contextmanager
        def manager(hosts, command, timeout):
            yield [classh.Result(host, 0, '', '', 1.0, 2.0, 'ok', reason,
                                 True) for host, reason in
                   (('web1', ''), ('web2', 'output lost: out of memory'))]
        classh.SSHJobMan = manager
        sys.argv[:] = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name='__main__')
        """

    def test_disk_full_trusts_no_output_that_is_not_whole(self):
        ran = run([sys.executable, '-c', self.TRUNCATED,
                   os.path.join(EXAMPLES, 'disk_full.py'), 'web[1-2]'],
                  env={'PYTHONPATH': MODULE})
        self.check(ran, 1, 'web1: df printed too much',
                   'web2: output lost: out of memory')

    @staticmethod
    def write_classh(place):
        write(os.path.join(place, 'classh'), '#!/bin/sh\nexec %s "$@"\n'
              % shell(*classh_argv()), 0o755)

    # An ssh to the shared sshd, which is ::7 as well; where NO_RSYNC is set,
    # the hosts have no rsync.
    COPY_SSH = '''#!/bin/sh
for word do
    shift
    case $word in rsync*) word=$NO_RSYNC$word ;; esac
    set -- "$@" "$word"
done
exec %(ssh)s -F %(config)s "$@"
'''

    def copying(self):
        """Return a directory, and the environment in which examples/push,
        pull and script find classh, that ssh, and neither rsync nor scp."""
        directory = self.scratch()
        config = os.path.join(directory, 'ssh_config')
        with open(sshd().config) as file:
            write(config, 'Host ::7 ::8\n  Hostname 127.0.0.7\nHost db1\n  '
                  'Port 1\n  Hostname 127.0.0.1\nHost *\n' + file.read())
        path = os.path.join(directory, 'bin')
        os.mkdir(path)
        self.write_classh(path)
        write(os.path.join(path, 'ssh'), self.COPY_SSH % {
            'ssh': shutil.which('ssh'), 'config': config}, 0o755)
        for name in 'sh', 'sed', 'mkdir', 'tr', 'wc':
            os.symlink(shutil.which(name), os.path.join(path, name))
        return directory, {'PATH': path, 'TMPDIR': self.scratch()}

    @staticmethod
    def tree(top):
        """The files below *top*: (path, bytes, mode, whole seconds), and its
        directories: (path, mode)."""
        found = []
        for place, names, files in os.walk(top):
            for name in names:
                path = os.path.join(place, name)
                found.append((os.path.relpath(path, top),
                              os.stat(path).st_mode))
            for name in files:
                path = os.path.join(place, name)
                with open(path, 'rb') as file:
                    found.append((os.path.relpath(path, top), file.read(),
                                  os.stat(path).st_mode,
                                  int(os.stat(path).st_mtime)))
        return sorted(found, key=lambda item: item[0])

    def copies(self):
        """Yield how to copy, and a directory with things to be copied, and
        the environment: with rsync, without it here, without it there."""
        self.assertTrue(shutil.which('rsync'), 'sh tests/run installs it')
        for way, *programs in (('rsync', 'rsync'), ('none here', 'scp'),
                               ('none there', 'rsync', 'scp')):
            directory, env = self.copying()
            for name in programs:
                os.symlink(shutil.which(name),
                           os.path.join(env['PATH'], name))
            if way == 'none there':
                env['NO_RSYNC'] = 'no-'
            source = os.path.join(directory, 'from')
            os.makedirs(os.path.join(source, "it's a dir", 'below'))
            os.chmod(os.path.join(source, "it's a dir", 'below'), 0o750)
            for name, mode in (('-dash', 0o600), ('a b;c', 0o751),
                               ("it's a dir/$x", 0o444), ('host:1', 0o640),
                               ("it's a dir/below/z", 0o604)):
                write(os.path.join(source, name), name + '\n\xff', mode)
                os.utime(os.path.join(source, name), (1e9, 1e9))
            os.symlink('../-dash', os.path.join(source, "it's a dir/link"))
            yield way, directory, source, env
            self.assertEqual(os.listdir(env['TMPDIR']), [])

    def test_push_pull_and_script_refuse_what_they_cannot_do(self):
        here = self.scratch()
        for name, args, said in (
                ('push', [], 'usage: push SOURCE... :DIRECTORY HOST...'),
                ('push', ['a', ':d', 'h'], 'cannot read a (hosts and options '
                 'stand behind :DIRECTORY)'),
                ('push', ['.', ':d'], 'no HOST'),
                ('pull', [':a', 'd'], 'no HOST'),
                ('push', ['.', 'h'], 'cannot read h '),
                ('push', ['.'], 'no :DIRECTORY'),
                ('push', [':d', 'h'], 'no SOURCE'),
                ('pull', [], 'usage: pull :SOURCE... DIRECTORY HOST...'),
                ('pull', ['a', 'd', 'h'], 'no :SOURCE before a'),
                ('pull', [':', 'd', 'h'], "':' names no SOURCE"),
                ('pull', [':a'], 'no DIRECTORY'),
                ('script', [], "usage: script 'FILE [ARG...]' HOST..."),
                ('script', [' ', 'h'], "cannot read '' "),
                ('script', ['. a', 'h'], "cannot read '.' "),
                ('script', ['a b', 'h'], "cannot read 'a' (FILE ends at the "
                 'first blank)')):
            ran = run(['sh', os.path.join(EXAMPLES, name)] + args, cwd=here)
            ran.check(2, '', None)
            self.assertTrue(ran.stderr.startswith('%s: %s' % (name, said)),
                            ran)
        for name in 'push', 'pull', 'script':
            path = os.path.join(EXAMPLES, name)
            with open(path) as file:
                head = re.findall(r'^#(?!!) ?(.*\n)', file.read().split(
                    '\n\n')[0] + '\n', re.MULTILINE)
            run(['sh', path, '-h']).check(0, ''.join(head))

    def test_push_pull_and_script_find_the_classh_beside_them(self):
        here, path = self.scratch(), self.scratch()
        for name in 'sed', 'tr', 'wc':
            os.symlink(shutil.which(name), os.path.join(path, name))
        for name, *args in (('push', '.', ':/tmp'), ('pull', ':a', 'd'),
                            ('script', MODULE + '/classh.py x')):
            program = os.path.join(here, 'classh-' + name)
            shutil.copy(os.path.join(EXAMPLES, name), program)
            argv = [program] + args + ['h', '--version']
            run(argv, env={'PATH': path}).check(
                2, '', 'classh-%s: no classh on PATH, and none in %s\n'
                % (name, here))
            self.write_classh(here)
            run(argv, env={'PATH': path}).check(
                0, run_classh('--version').stdout)
            os.remove(os.path.join(here, 'classh'))
            self.assertIn('\n    classh-%s ' % name, run(
                [program, '-h'], env={'PATH': path}).stdout)

    def test_push(self):
        for way, directory, source, env in self.copies():
            to = os.path.join(directory, "to 'it")
            ran = run(['sh', os.path.join(EXAMPLES, 'push'), '-dash', 'a b;c',
                       "it's a dir/", 'host:1', ':' + to, '127.0.0.1:%d'
                       % sshd().port, 'db1', '-f1'], env=env, cwd=source)
            ran.check(5, None, None)
            self.assertEqual(self.tree(to), self.tree(source), (way, ran))
            self.assertRegex(ran.stdout, r'(?m)^127.0.0.1:\d+   0 ')
            self.assertRegex(ran.stdout, r'(?ms)^db1   255   \(\d+\.\d\)   '
                             r'connection refused\n  Error:.*'
                             r'connect to host .* Connection refused')
            self.assertIn('1 of 2 connection refused: db1\n', ran.stderr)
            self.assertEqual(ran.stdout.count('Error:'), 1, (way, ran))

    def test_pull(self):
        for way, directory, source, env in self.copies():
            ran = run(['sh', os.path.join(EXAMPLES, 'pull')] + [
                ':%s/%s' % (source, name) for name in (
                    '-dash', 'a b;c', "it's a dir/", 'host:1')]
                + [directory + '/to', '::7', '[::8]:%d' % sshd().port],
                env=env)
            ran.check(0, None, '')
            for name in '::7', '[::8]:%d' % sshd().port:
                to = os.path.join(directory, 'to', name)
                self.assertEqual(self.tree(to), self.tree(source), (way, ran))
                self.assertFalse(os.path.islink(to + "/it's a dir/link"))

    def run_script(self, content, *args, name="it's", **options):
        """Run examples/script with a file that holds *content*."""
        path = os.path.join(self.scratch(), name)
        write(path, content, 0o600)
        return run(['sh', os.path.join(EXAMPLES, 'script'), path + args[0]]
                   + list(args[1:]), **options)

    def test_script(self):
        ports = '127.0.0.1:%d' % sshd().port, 'db1'
        env = self.copying()[1]
        for head, ending, status in (('#!/bin/sh\n', 'exit 7', 7),
                                     ('', 'kill -9 $$', 137)):
            ran = self.run_script(
                head + 'wc -c; echo "$# $1 $2 ${0##*/}"; ls -ld "$0"\n'
                'ls -ld "${0%/*}"\n' + ending,
                ' "$((2 + 3))" \'b  c\'', *ports, '-P', '--no-prefix',
                env=env).check(4, None, None)
            self.assertRegex(ran.stderr, '1 of 2 connection refused: db1')
            self.assertRegex(ran.stderr, '1 of 2 exited with %d: ' % status)
            lines = re.fullmatch(
                r" *0\n2 5 b  c it's\n-rwx------.* (/.*)/it's\n"
                r'drwx------.* (/.*)\n', ran.stdout)
            self.assertTrue(lines, ran)
            self.assertEqual(lines.group(1), lines.group(2))
            self.assertFalse(os.path.exists(lines.group(1)), ran)

    def test_script_has_one_name_on_all_hosts_if_it_can(self):
        env = self.copying()[1]
        env['PATH'] += os.pathsep + os.environ['PATH']
        argv = ['echo "$0"\n', '', 'h[1-3]', '--exec', '-f1', '-b']
        ran = self.run_script(*argv, env=env).check(0, None)
        self.assertRegex(ran.stdout, r'\Ah\[1-3\]   0 .*\n.*\n\n  %s/'
                         "classh-script/it's\n" % re.escape(env['TMPDIR']))
        self.assertEqual(os.listdir(env['TMPDIR']), [])
        os.mkdir(os.path.join(env['TMPDIR'], 'classh-script'))  # not ours
        ran = self.run_script(*argv, env=env).check(0, None)
        self.assertNotIn('classh-script', ran.stdout)
        self.assertEqual(os.listdir(env['TMPDIR']), ['classh-script'])

    def test_half_a_script_is_not_run(self):
        ssh = os.path.join(self.scratch(), 'ssh')
        write(ssh, '#!/bin/sh\nfor word do :; done\n'
              'head -c 9 | sh -c "$word"\n', 0o755)
        env = self.copying()[1]
        env['PATH'] += os.pathsep + os.environ['PATH']
        ran = self.run_script('echo half\necho whole\n', '', 'h1', '-P',
                              '--ssh', ssh, env=env).check(5, '', None)
        self.assertIn("h1: it's: not copied whole\n", ran.stderr)
        self.assertEqual(os.listdir(env['TMPDIR']), [])

    def test_slowest(self):
        path = os.path.join(self.scratch(), 'all')
        self.write_results(
            path, ('web1', 2.5, 'ok', ''), ('web2', .125, 'error', ''),
            ('web3', 300, 'killed', 'timed out after 300 s'))
        self.run_example('slowest.py', path).check(
            0, '300.0 s: web3: timed out after 300 s\n2.5 s: web1: ok\n'
            '0.1 s: web2: error\n')
        self.run_example('slowest.py', path, '1').check(
            0, '300.0 s: web3: timed out after 300 s\n')
        run_classh('--ssh', FAKE_SSH, '-q', '--pickle', path, 'true',
                   'h[1-12]').check()
        ran = self.run_example('slowest.py', path).check(stdout=None)
        self.assertEqual(len(ran.stdout.splitlines()), 10, ran)
        with open(path, 'w') as file:
            file.write('web1\n')
        ran = self.run_example('slowest.py', path).check(1, '', None)
        self.assertRegex(ran.stderr, r'\Aslowest.py: %s: not a result: '
                         r'neither a file of --json nor of --pickle\n\Z'
                         % re.escape(path), ran)
        self.run_example('slowest.py', path + 'x').check(1, '', None)
        self.run_example('slowest.py', path, 'ten').check(2, '', None)

    def records(self, command, *args):
        """Run *command* on the fake ssh; return the paths of its records,
        JSON and a pickle."""
        paths = [os.path.join(self.scratch(), name)
                 for name in ('json', 'pickle')]
        fake('-q', '-u', '30', '--json=' + paths[0], '--pickle', paths[1],
             command, *args)
        return paths

    def on_records(self, name, *args):
        """Run an example that needs no hosts; return its Run."""
        return run([sys.executable, os.path.join(compiled(), name)]
                   + list(args))

    def test_report(self):
        for path in self.records(HOSTILE, 'web[1-3]', 'unreach[1-2]',
                                 'exit3', 'signal9', 'loud1'):
            ran = self.on_records('report.py', path).check(0, None)
            page = Page(ran.stdout)
            self.assertEqual(page.tags.count('script'), 1)
            self.assertEqual(page.tags.count('pre'), 5, page.text['pre'])
            self.assertIn(SHOWN, page.text['pre'])
            self.assertIn('a "quoted" &amp; word\n', page.text['pre'])
            self.assertNotRegex(ran.stdout, '[\0-\x08\x0b-\x1f\x7f-\x9f\u202e'
                                '\ud800-\udfff]')
            self.assertEqual([name for name, value in page.attributes
                              if name in ('src', 'srcset', 'style')
                              or name.startswith('on')], [])
            self.assertIn(
                ('http-equiv', 'Content-Security-Policy'), page.attributes)
            for names in 'web[1-3]', 'unreach[1-2]', 'exit3':
                self.assertIn(names, page.text['code'], path)
            self.assertEqual(page.text['h3'][:3], [
                'connection refused ', 'ended by SIGKILL ', 'exited with 3 '])
            self.assertIn('1028576 more characters are in ' + path,
                          page.text['p'])
            self.assertEqual(len([row for row in page.tags if row == 'tr']),
                             1 + 8 + 8)
            self.assertEqual(
                [fact for fact in page.text['span'] if '--json=FILE' in fact],
                ['classh --json=FILE would tell COMMAND, user and exit '
                 'status, too'] if path.endswith('pickle') else [])

    def test_report_of_a_record_that_was_made_up(self):
        path = os.path.join(self.scratch(), 'all')
        with open(path, 'w') as file:
            file.write(
                '{"event":"run","command":"</title><script>a()</script>",'
                '"hosts":9,"time":1e999,"by":["<b>"],"timeout":NaN}\n'
                '{"event":"start","host":"<i>web1</i>"}\n'
                '{"event":"start","host":7}\n'
                '{"event":"unheard-of"}\n'
                '{"event":"result","host":"<script>b()</script>","outcome":'
                '"<hr>","exitcode":1%s,"cause":"<hr>","reason":"<hr>",'
                '"ran":"<hr>","started":1e300,"login":NaN,"elapsed":-1e999,'
                '"tries":1,"truncated":false}\n' % (400 * '0'))
        ran = self.on_records('report.py', path).check(0, None)
        page = Page(ran.stdout)
        self.assertEqual(page.tags.count('script'), 1)
        for tag in 'i', 'hr':
            self.assertNotIn(tag, page.tags)
        self.assertEqual(page.text['code'][0],
                         '</title><script>a()</script>')
        self.assertIn('the record has no end: the run goes on, or was killed',
                      page.text['span'])
        self.assertIn('6', page.text['strong'])     # were not started
        ran = self.on_records('junit.py', path).check(0, None)
        suite = xml.etree.ElementTree.fromstring(ran.stdout.encode())[0]
        self.assertEqual(suite.get('tests'), '3')

    def test_report_of_hosts_not_started_and_a_table_for_a_spreadsheet(self):
        path = os.path.join(self.scratch(), 'all')
        formula = '=HYPERLINK(\\"x\\"),\\u001b'
        with open(path, 'w') as file:
            file.write(
                '{"event":"run","command":"true","hosts":5}\n'
                '{"event":"start","host":"web1"}\n'
                '{"event":"result","host":"web1","outcome":"error",'
                '"exitcode":-15,"cause":"","reason":"","ran":"yes","started":'
                '1.0,"login":null,"elapsed":2.04,"tries":1,"truncated":false,'
                '"stdout":"%s\\nmore\\n","stderr":"%s"}\n'
                '{"event":"start","host":"web2"}\n'
                '{"event":"end","status":6,"left":["web3","web4"]}\n'
                % (formula, 40000 * 'x'))
        ran = self.on_records('report.py', path).check(0, None)
        page = Page(ran.stdout)
        self.assertIn('web[3-4]', page.text['code'])
        self.assertEqual(page.text['strong'], [
            '1', ' command failed ', '1', ' no result ', '3',
            ' not started '])
        rows = list(csv.reader(io.StringIO(self.on_records(
            'report.py', '--csv', path).check(0, None).stdout)))
        self.assertEqual(rows[1][:7], [
            'web1', 'exited with -15', '-15', '', 'yes', '2.0',
            '\'=HYPERLINK("x"),\\x1b\nmore'])
        self.assertEqual(rows[1][7], 30000 * 'x' + '...')
        self.assertEqual([row[:5] for row in rows[2:]], [
            ['web2', 'no result', '', '', 'unknown'],
            ['web3', 'not started', '', '', 'no'],
            ['web4', 'not started', '', '', 'no']])
        self.assertEqual([len(row) for row in rows], 5 * [8])

    def test_report_of_no_hosts_and_of_what_is_no_record(self):
        path = os.path.join(self.scratch(), 'all')
        for content in '', '{"event":"run","hosts":0}\n':
            with open(path, 'w') as file:
                file.write(content)
            ran = self.on_records('report.py', path).check(0, None)
            self.assertIn('No hosts', Page(ran.stdout).text['h2'])
            self.on_records('changed.py', path, path).check(0, '')
            self.on_records('junit.py', path).check(0, None)
        for content in 'web1\n', '{"event":1}\n', '{}\n':
            with open(path, 'w') as file:
                file.write(content)
            for name, *args in (('report.py', path), ('junit.py', path),
                                ('changed.py', path, path)):
                ran = self.on_records(name, *args).check(1, None, None)
                self.assertRegex(ran.stderr, r'\A%s: %s: .*\n\Z' % (
                    re.escape(name), re.escape(path)), ran)

    def test_changed(self):
        answer = ('case $HOST in web%d) exit 3;; db1) exec sh -c "kill -9 $$"'
                  ';; esac; echo "$HOST runs 6.%d"; printf "\\033[2J" >&2')
        old = self.records(answer % (4, 1), 'web[1-6]', 'unreach1', 'exit1')
        new = self.records(answer % (5, 2), 'web[1-6]', 'unreach1', 'exit2')
        self.on_records('changed.py', *old).check(0, '')
        for before, after in zip(old, reversed(new)):
            self.on_records('changed.py', before, after).check(
                1, 'web[1-3,6]: ok, another answer\n'
                '  @@ -1,2 +1,2 @@\n   \x1b[2J\n'
                '  -{host} runs 6.1\n  +{host} runs 6.2\n'
                'exit1: not in %s\nexit2: not in %s\n'
                'web4: exited with 3 -> ok\n'
                '  @@ -0,0 +1,2 @@\n  +\x1b[2J\n  +{host} runs 6.2\n'
                'web5: ok -> exited with 3\n'
                '  @@ -1,2 +0,0 @@\n  -\x1b[2J\n  -{host} runs 6.1\n'
                % (after, before))
        many = [self.records('seq %d 9000' % first, 'h1')[0]
                for first in (1, 2)]
        self.on_records('changed.py', *many).check(
            1, 'h1: ok, another answer\n'
            '  the texts are too long to compare here\n')
        self.on_records('changed.py', old[0]).check(2, '', None)

    def test_junit(self):
        for path in self.records(HOSTILE, 'web[1-2]', 'unreach1', 'exit3',
                                 'signal9'):
            ran = self.on_records('junit.py', path).check(0, None)
            suites = xml.etree.ElementTree.fromstring(ran.stdout.encode())
            self.assertEqual([suites.tag, len(suites)], ['testsuites', 1])
            suite = suites[0].attrib
            self.assertEqual([suite['tests'], suite['failures'],
                              suite['errors']], ['5', '1', '2'])
            cases = {case.get('name'): case for case in suites[0]}
            said = {name: cases['web1'].find('system-' + name).text
                    for name in ('out', 'err')}
            self.assertEqual(said, {
                'out': SHOWN.replace('\\u202e', '\u202e'),
                'err': 'a "quoted" &amp; word\r\n'})
            self.assertEqual(
                {name: [(part.tag, part.get('type'), part.get('message'))
                        for part in case if part.get('type')]
                 for name, case in cases.items()},
                {'web1': [], 'web2': [],
                 'exit3': [('failure', 'error', 'exited with 3')],
                 'unreach1': [('error', 'refused', 'connection refused')],
                 'signal9': [('error', 'signal', 'ended by SIGKILL')]})

    def test_try(self):
        every_address = sshd().every_address    # skips where there is none
        scratch = self.scratch()
        ran = run(['sh', os.path.join(EXAMPLES, 'try')],
                  env={'TMPDIR': scratch, 'PYTHON': sys.executable})
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(os.listdir(scratch), [], ran)
        for part in (r'127\.0\.0\.1: line 2\n', r'\(exit status 6\)\n',
                     r'flaky   0   \(\d+\.\d\)   at the 2nd try\n',
                     r'{"event":"end","status":5'):
            self.assertRegex(ran.stdout, '(?m)^' + part, ran)
        if every_address:       # the service on each asks for its address
            # 8 to 10 may have been started before 7 had failed.
            self.assertRegex(ran.stdout, r'\n127\.0\.0\.(\[8-12\]   0   5|'
                             r'\[9-12\]   0   4|\[10-12\]   0   3|'
                             r'\[11-12\]   0   2) hosts', ran)
            self.assertIn('1 of 20 exited with 1: 127.0.0.7\n'
                          '1 of 20 timed out after 4 s (-u): '
                          '127.0.0.13\n', ran.stderr, ran)
            self.assertRegex(ran.stderr, r'\n[2-5] of 12 not started: '
                             r'127\.0\.0\.\[(8|9|10|11)-12\]\n', ran)
