"""The parsers, given whatever chance brings: patterns, files of hosts, hosts
that arrive, sinks, the command line, the prompt's own commands, pickles.

Chance is a seed, which a failure names; and, where hypothesis is installed,
fewer examples of the same kind, of which it makes a failing one small.  In a
run of all tests it is a few seconds' worth; for more:

    CLASSH_FUZZ=100000 sh tests/run program/test_fuzz   # seeds of each test
    CLASSH_FUZZ=7:1 sh tests/run program/test_fuzz      # seed 7 alone
"""

import argparse
import contextlib
import io
import itertools
import os
import pickle
import random
import re
import shutil
import sys
from unittest import mock

from lib import MODULE, TestCase, run
import classh

if 'CLASSH_HYPOTHESIS' in os.environ:   # where tests/run has installed it
    sys.path.append(os.environ['CLASSH_HYPOTHESIS'])
try:
    import hypothesis
    from hypothesis import strategies
except ImportError:                 # as where it needs a newer Python
    hypothesis = None

# Seeds in a run of all tests.
FEW = {'patterns': 1000, 'sinks': 200, 'words': 60}
SLOWNESS = 25           # seeds for each example of hypothesis, which is slower
MOST = 500              # hosts to take where a pattern may name any number
ODD = re.compile(r'[\s\x00-\x1f\x7f-\x9f]')


def _settings():
    """Return the first seed, their number, and whether the user chose them."""
    wanted = os.environ.get('CLASSH_FUZZ', '')
    first, colon, count = wanted.rpartition(':')
    return int(first or 0), int(count or 0), bool(colon)


def examples(kind='patterns'):
    """Decorate a test: run it on many dice, each a random.Random."""
    first, count, one_seed = _settings()
    count = count or FEW[kind]

    def decorate(test):
        def with_seeds(self):
            for seed in range(first, first + count):
                try:
                    test(self, dice=random.Random(seed))
                except BaseException:
                    print('\nCLASSH_FUZZ=%d:1' % seed, file=sys.stderr)
                    raise
            if hypothesis and not one_seed:
                _by_hypothesis(test, count // SLOWNESS)(self)
        with_seeds.__name__ = test.__name__
        return with_seeds
    return decorate


def _by_hypothesis(test, count):
    settings = hypothesis.settings(
        max_examples=count, derandomize=count < 1000, deadline=None,
        database=None, print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck))
    return settings(hypothesis.given(dice=strategies.randoms(
        use_true_random=False))(test))


class Maker:
    """Makes texts that are nearly right, by *dice*."""

    LETTERS = ('a', 'web', 'db', 'x-', 'n.', '_', 'A', 'z9')
    ODDITIES = ('', '-', '--', ' ', '\t', '\0', '\n', '\x1b[2J', '\r', '#',
                '@', ':', '/', '.', '..', '~', ',', ',,', '[', ']', '[]',
                '\xfc', '\u0663', '\u2028', '\udcff', '\ud800', '\ufeff',
                '\u202e', '*', '?', '$(x)', '`x`', '|', ';', "'", '"', '\\',
                '%', '=', '-o', '-oProxyCommand=x', '--list', '::1', '::')

    def __init__(self, dice, digits=18, parts=4, oddness=.15):
        self.dice = dice
        self.digits = digits            # at most, of a number
        self.parts = parts              # at most, of a name
        self.oddness = oddness

    def some(self, make, low, high):
        return [make() for _ in range(self.dice.randint(low, high))]

    def number(self):
        digits = self.dice.choice([1, 1, 1, 2, 3, self.digits])
        return '%0*d' % (self.dice.randint(1, min(digits, 4)),
                         self.dice.randrange(10 ** min(digits, self.digits)))

    def odd(self):
        if self.dice.random() < .8:
            return self.dice.choice(self.ODDITIES)
        return chr(self.dice.choice([self.dice.randrange(0x100),
                                     self.dice.randrange(0x110000)]))

    def choice(self):
        """Return a choice, as between two commas in a bracket."""
        kind = self.dice.randrange(8)
        if kind == 0:
            return self.dice.choice(self.LETTERS)
        if kind == 1:
            return self.maybe_odd('')
        if kind == 2:
            return self.number()
        low, high = sorted((self.number(), self.number()), key=int)
        text = '%s-%s' % ((high, low) if kind == 3 else (low, high))
        return text + ('/' + self.number() if kind == 4 else '')

    def bracket(self):
        return '[%s]' % ','.join(self.some(self.choice, 1, 3))

    def maybe_odd(self, text):
        return self.odd() if self.dice.random() < self.oddness else text

    def part(self):
        made = self.dice.choice([self.bracket, self.number, self.letters])()
        return self.maybe_odd(made)

    def letters(self):
        return self.dice.choice(self.LETTERS)

    def name(self):
        name = ''.join(self.some(self.part, 1, self.parts))
        if self.dice.random() < .1:
            name = '[%s]' % self.dice.choice(['::1', 'fe80::2%eth0', '1:2'])
        if self.dice.random() < .2:
            name = self.letters() + '@' + name
        if self.dice.random() < .2:
            name += ':' + self.number()[:5]
        return name

    def pattern(self):
        """Return a HOST argument, perhaps a bad one."""
        if self.dice.random() < .05:
            return ''.join(self.some(self.odd, 0, 8))
        return ','.join(self.some(self.name, 1, 3))

    def host(self):
        """Return a name that a pattern can make."""
        return next(iter(Maker(self.dice, oddness=0).hosts()))

    def hosts(self):
        """Return names that nearly fold into one pattern."""
        dice = self.dice
        shapes = [self.some(self.letters, 1, 3) for _ in range(3)]
        users = ['', '', '', 'al@', 'u2@']
        ports = ['', '', '', ':22', ':2222', ':1']
        made = []
        for _ in range(dice.randint(1, 40)):
            shape = dice.choice(shapes)
            name = ''.join(text + self.number()[-dice.randint(1, 18):]
                           for text in shape)
            if dice.random() < .3:
                name = name.rstrip('0123456789')
            made.append(dice.choice(users) + name + dice.choice(ports))
        return made + ['::1', '[::1]:22'][:dice.randrange(3)]


class FuzzTest(TestCase):
    def check_host(self, host):
        """Check that *host* is harmless, and a host when it is read again."""
        self.assertNotRegex(host, ODD)
        self.assertTrue(host)
        for name in host, host.rpartition('@')[2]:
            self.assertFalse(name.startswith('-'), repr(host))
        argv = classh.ssh_argv(host, 'command', user='me')
        end = argv.index('--')
        self.assertEqual(len(argv), end + 3)
        self.assertFalse(argv[end + 1].startswith('-'), argv)
        self.assertEqual(argv[end + 2], 'command')
        users = ('me', host.rpartition('@')[0])
        for before, word in zip(argv, argv[1:end]):
            if before == '-l':
                self.assertIn(word, users)
            else:
                self.assertRegex(word, r'\A(-[opl]|\d+|\w+=\w+)\Z')
        self.assertEqual(list(classh.expand(host)), [host])
        self.assertEqual(classh._split_names(host), [host])
        os.fsencode(host)

    def check_error(self, error):
        """Check that a message is one line, whatever text it quotes."""
        self.assertTrue(str(error))
        self.assertNotRegex(str(error), r'[\x00-\x1f\x7f]')


# -- Hosts -------------------------------------------------------------------

class PatternTest(FuzzTest):
    @examples()
    def test_pattern_is_refused_or_names_hosts_that_are_safe(self, dice):
        pattern = Maker(dice).pattern()
        try:
            hosts = classh.expand(pattern)
        except classh.PatternError as error:
            self.check_error(error)
            self.assertIn(error.part, pattern)
            self.assertEqual(error.pattern, pattern)
            return
        taken = list(itertools.islice(hosts, MOST))
        for host in taken[:5] + taken[-5:]:
            self.check_host(host)
        self.assertEqual(sorted(classh.expand(classh.fold(taken))),
                         sorted(set(taken)))

    @examples()
    def test_bracket_taken_literally_makes_no_more_hosts(self, dice):
        pattern = Maker(dice).pattern()
        try:
            hosts = classh._split_names(pattern)
        except classh.PatternError as error:
            self.check_error(error)
            return
        for host in hosts:
            self.assertNotRegex(host, ODD)
            self.assertFalse(host.startswith('-'))
            self.assertFalse(classh.ssh_argv(host, 'x')[-2].startswith('-'))
            self.assertEqual(classh._split_names(host), [host])

    @examples()
    def test_fold_is_the_inverse_of_expand(self, dice):
        hosts = Maker(dice).hosts()
        folded = classh.fold(hosts)
        self.assertEqual(sorted(classh.expand(folded)), sorted(set(hosts)))
        dice.shuffle(hosts)
        self.assertEqual(classh.fold(hosts), folded)

    @examples()
    def test_stream_gives_each_once_in_order_and_none_excluded(self, dice):
        maker = Maker(dice, digits=1, parts=2, oddness=0)
        patterns = maker.some(maker.pattern, 0, 4)
        without = maker.some(maker.pattern, 0, 2)
        only = maker.some(maker.pattern, 0, 3) + patterns[:dice.choice([0, 1])]
        try:
            wanted, excluded, selected = (
                [host for pattern in given
                 for host in classh.expand(pattern)]
                for given in (patterns, without, only))
        except classh.PatternError:
            return
        # Expanded, or only matched, like patterns of very many hosts.
        limit = dice.choice([1, 3, 9999])
        with mock.patch.object(classh, 'EXPANSION_LIMIT', limit):
            stream = list(classh.HostQueue(patterns, exclude=without))
            some = list(classh.HostQueue(patterns, exclude=without,
                                         only=only))
        self.assertEqual(stream, [
            host for host in dict.fromkeys(wanted)
            if host not in set(excluded)])
        self.assertEqual(some, [host for host in stream
                                if host in set(selected)])


def checked(check):
    """The function that gives the patterns in a word, which *check* has
    seen."""
    def read(word):
        check(word)
        return [word]
    return read


class HostFileTest(FuzzTest):
    def octets(self, dice):
        """Return the bytes of a file of hosts, perhaps a bad one."""
        maker = Maker(dice, oddness=.02)
        ends = [b'\n', b'\n', b'\n', b'\r\n', b'\r', b' ', b', ', b'\n\n',
                b' # why\n', b'\x0b', b'\t']
        made = dice.choice([b'', b'', b'\xef\xbb\xbf', b'\xff\xfe', b'#'])
        for _ in range(dice.randint(0, 12)):
            made += maker.pattern().encode('utf-8', 'surrogatepass')
            made += dice.choice(ends)
        if dice.random() < .1:
            made += bytes(dice.randrange(256) for _ in range(20))
        return made

    @examples()
    def test_file_is_refused_or_names_hosts_that_are_safe(self, dice):
        octets = self.octets(dice)
        for check in classh.expand, classh._split_names:
            try:
                patterns = classh.parse_host_lines(io.BytesIO(octets), 'x',
                                                   checked(check))
            except classh.HostFileError as error:
                self.check_error(error)
                self.assertTrue(1 <= error.line <= octets.count(b'\n') + 1)
                continue
            for pattern in patterns:
                self.assertNotRegex(pattern, ODD)
                check(pattern)
            if check is classh.expand:
                for pattern in patterns:
                    for host in itertools.islice(classh.expand(pattern), 5):
                        self.check_host(host)

    @examples('sinks')
    def test_hosts_that_arrive_in_pieces_are_the_same(self, dice):
        octets = self.octets(dice)
        whole, problems = self.arrive([octets])
        cuts = sorted(dice.randrange(len(octets) + 1)
                      for _ in range(dice.randint(0, 6)))
        pieces = [octets[low:high] for low, high
                  in zip([0] + cuts, cuts + [len(octets)])]
        self.assertEqual(self.arrive(pieces), (whole, problems))
        for problem in problems:
            self.check_error(problem)
            self.assertRegex(problem, r'\Astdin:\d+: .*; line skipped\Z')
        good = []
        for number, line in enumerate(
                re.split(b'\r\n?|\n', octets), 1):
            with contextlib.suppress(classh.HostFileError):
                good += classh.parse_host_lines(
                    [line], 'x', checked(classh.expand), number)
        self.assertEqual(whole, good)

    def arrive(self, pieces):
        """Return the patterns and complaints from these pieces of stdin."""
        patterns, problems = [], []
        job = mock.Mock(stopping=False)
        job.add.side_effect = patterns.extend
        stdin_hosts = classh.StdinHosts(classh.expand, problems.append)
        stdin_hosts.open(job)
        reader, writer = os.pipe()
        try:
            for piece in filter(None, pieces):
                os.write(writer, piece)
                stdin_hosts._read(reader, 0)
            os.close(writer)
            writer = None
            stdin_hosts._read(reader, 0)
        finally:
            os.close(reader)
            if writer is not None:
                os.close(writer)
        job.unwatch.assert_called_once_with(0)
        return patterns, problems


# -- Files and sinks ---------------------------------------------------------

class InDirectoryTest(FuzzTest):
    """Tests in a directory where only expected changes are allowed."""

    NAMES = ('plain', 'dir', 'dir/in', 'tool', 'script', 'fifo', 'broken',
             'loop', 'closed', 'none', 'none/below', 'x' * 300, '/dev/full',
             '/dev/null', '.', '..', '/', './', '~', '~/x', '~nobody/x', '-',
             '|', '| cat', '|cat >made', '|none', 'cat', 'ls -l', 'none -x',
             './tool -x', 'dir/', 'plain/', 'none/', '')

    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.scratch())
        for name, mode in (('plain', 0o644), ('tool', 0o755),
                           ('script', 0o644), ('closed', 0)):
            with open(name, 'w') as file:
                file.write('#!/bin/sh\n' if mode != 0o644 else 'text\n')
            os.chmod(name, mode)
        os.mkdir('dir')
        os.mkfifo('fifo')
        os.symlink('nowhere', 'broken')
        os.symlink('loop', 'loop')
        patch = mock.patch.dict(os.environ, HOME=os.getcwd())
        patch.start()
        self.addCleanup(patch.stop)
        self.was = self.there()

    @staticmethod
    def there():
        return sorted(os.listdir('.')), os.listdir('dir')

    def target(self, dice):
        maker = Maker(dice)
        made = dice.choice(self.NAMES)
        if dice.random() < .4:
            made += maker.odd()
        if dice.random() < .2:
            made = maker.odd() + made
        if dice.random() < .1:
            made += ' ' + maker.pattern()
        return made.replace('\0', '')      # no argument can hold a NUL


class SinkTest(InDirectoryTest):
    @examples('sinks')
    def test_target_is_refused_or_a_sink_and_nothing_is_made(self, dice):
        target = self.target(dice)
        try:
            # Arguments of the system are any bytes but NUL.
            os.fsencode(target)
        except UnicodeEncodeError:
            return
        for make in classh.choose_sink, classh.PickleSink:
            try:
                sink = make(target, self.fail)
            except classh.TargetError as error:
                self.assertTrue(str(error))
            else:
                sink.close(lambda: 0)
        self.assertEqual(self.there(), self.was)

    def test_no_two_hosts_share_a_file_nor_leave_the_directory(self):
        seen = {}

        @examples()
        def check(self, dice):
            maker = Maker(dice, oddness=.3)
            host = ''.join(maker.some(maker.part, 0, 5)) * dice.choice(
                [1, 1, 1, 40])
            with contextlib.suppress(UnicodeEncodeError):
                name = classh.file_name(host)
                self.assertNotRegex(name, b'[/\\x00-\\x1f]|\\A\\.')
                self.assertLessEqual(len(b'.' + name + b'.ret'), 255)
                self.assertEqual(seen.setdefault(name, host), host)
        check(self)


class CommandLineTest(InDirectoryTest):
    FLAGS = ('--list', '--noexpand', '-q', '--quiet', '--progress', '--maxrc',
             '-I', '--send-input', '-h', '--help', '-V', '--shell', '--sudo',
             '-A', '--errexit', '--', '-', '-Z', '--nope', '--sudo=x')
    VALUES = ('-f', '--fanout', '-p', '--par', '-u', '--timeout', '-t', '-l',
              '--connect-timeout', '--user', '-O', '--ssh-option', '--ssh',
              '-x', '--exclude', '-S', '-E', '--pickle', '--max-output',
              '--askpass-file')

    def words(self, dice):
        maker = Maker(dice, digits=1, parts=2, oddness=.05)
        for _ in range(dice.randint(0, 6)):
            make = dice.choice([
                maker.number, maker.pattern, maker.odd,
                lambda: dice.choice(self.FLAGS),
                lambda: self.target(dice), lambda: (
                    dice.choice(self.VALUES) + dice.choice(['=', ''])
                    + dice.choice([maker.number, maker.odd])())])
            word = make().replace('\0', '')
            with contextlib.suppress(UnicodeEncodeError):
                os.fsencode(word)       # an argument must be encodable
                yield word

    @examples('words')
    def test_any_words_are_a_list_or_an_error_of_usage(self, dice):
        # --list, so that chance runs no command.
        argv = ['--list', *self.words(dice)]
        out, err = Paper(), Paper()
        stdin = io.TextIOWrapper(io.BytesIO(
            Maker(dice).pattern().encode('utf-8', 'replace')))
        with mock.patch.multiple(sys, stdout=out, stderr=err, stdin=stdin):
            status = classh.main(argv)
        self.assertIn(status, (0, 1, 2, 141), argv)
        self.assertEqual(bool(status in (1, 2)), bool(err.getvalue()), argv)
        if status == 2:
            self.assertRegex(err.getvalue(), r'\Aclassh: .+\n\Z')
            self.assertEqual(out.getvalue(), '')
        self.assertEqual(self.there(), self.was)


class Paper(io.StringIO):
    """A stream with a limit, because a list may be long."""

    def write(self, text):
        if self.tell() > 1 << 16:
            raise BrokenPipeError(32, 'Broken pipe')
        return super().write(text)


class PromptTest(InDirectoryTest):
    NAMES_OF_BUILT_INS = ('help', 'hosts', 'all', 'failed', 'only', 'not',
                          'fanout', 'timeout', 'retry', 'show', 'save', 'x',
                          '', 'only only', '%', '_run', '__class__')
    HOSTS = ('web1', 'web2', 'db1', 'al@db2:22', 'b\xfc')

    def lines(self, dice):
        maker = Maker(dice, digits=4)
        for _ in range(dice.randint(1, 8)):
            word = dice.choice(self.NAMES_OF_BUILT_INS)
            rest = dice.choice([
                lambda: '', maker.pattern, maker.odd, maker.number,
                lambda: dice.choice(self.HOSTS),
                lambda: dice.choice('*?[') + maker.odd(),
                # Other tests check where it may write.
                lambda: 'saved/' + maker.odd().replace('/', '')])()
            yield '%%%s%s%s' % (maker.maybe_odd(''), word,
                                dice.choice([' ', '  ', '\t', ''])) + (
                rest if word != 'save' else 'saved' + rest.replace('/', ''))

    @examples('sinks')
    def test_built_in_commands_never_end_the_prompt(self, dice):
        out, err = Paper(), Paper()
        options = argparse.Namespace(errexit=False, fanout=10, timeout=5.0)
        prompt = classh.Shell(options, self.HOSTS, classh.Console(out),
                              classh.Console(err), None,
                              classh.StopRequests(), None)
        result = classh.Result('web2', 7, 'out', '\x1b', 1.0, 2.0, 'error',
                               '', False)
        prompt._results.finished(result)
        self.addCleanup(prompt._results.close)
        prompt._command = None
        # Other tests run commands.
        with mock.patch.object(prompt, '_run', return_value=False):
            for line in self.lines(dice):
                with contextlib.suppress(UnicodeEncodeError):
                    os.fsencode(line)   # input must be encodable
                    prompt.onecmd(line)
                self.assertIsInstance(prompt._prompt(), str)
                self.assertTrue(set(prompt._selected) <= set(self.HOSTS))
                self.assertGreaterEqual(options.fanout, 1)
        for name in os.listdir('.'):
            if name.startswith('saved'):
                (shutil.rmtree if os.path.isdir(name) else os.remove)(name)
        self.assertEqual(self.there(), self.was)


# -- Pickles -----------------------------------------------------------------

class PickleTest(FuzzTest):
    # In a separate process with little memory, because a broken pickle may
    # ask for any amount.
    LOADER = '''
import os, random, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
import classh
first, count, records, path = (int(sys.argv[1]), int(sys.argv[2]),
                               sys.argv[3], sys.argv[4])
with open(records, 'rb') as file:
    whole = file.read()
for seed in range(first, first + count):
    dice = random.Random(seed)
    broken = bytearray(whole)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(broken))
        kind = dice.randrange(4)
        if kind == 0:
            broken[place] = dice.randrange(256)
        elif kind == 1:
            broken[place] ^= 1 << dice.randrange(8)
        elif kind == 2:
            del broken[place:place + dice.choice([1, 1, 2, 9, 10 ** 6])]
            broken += b'.'
        else:
            broken[place:place] = bytes(dice.randrange(256) for _ in range(3))
    with open(path, 'wb') as file:
        file.write(broken)
    try:
        for result in classh.load(path):
            assert type(result.host) is type(result.output) is str
            assert type(result.exitcode) is int
            assert isinstance(result.elapsed, float)
    except classh.RecordError as error:
        assert str(error)
    except BaseException:
        print('CLASSH_FUZZ=%d:1' % seed, file=sys.stderr)
        raise
'''

    def test_broken_file_is_refused_or_gives_results(self):
        first, count, _ = _settings()
        records = os.path.join(self.scratch(), 'records')
        with open(records, 'wb') as file:
            for number in range(3):
                file.write(pickle.dumps(
                    ('web%d' % number, -number, 'out\n\udcff' * 9, '', 1.5,
                     2.5, 'ok', '', False), protocol=4))
        said = run([sys.executable, '-c', self.LOADER, str(first),
                    str(count or 1000), records, records + '.broken'],
                   env={'PYTHONPATH': MODULE}, timeout=3600)
        said.check(0, '', stderr=None)
        # The interpreter's own, about a bytearray that ends too soon.
        self.assertEqual(said.stderr.replace(
            'SystemError: deallocated bytearray object has exported buffers'
            '\n', ''), '', said)
