#!/usr/bin/env python3
"""Run one command on many hosts at once, through the system's own ssh.

    classh 'hostname; date' host1, host2, host3
    classh -f 200 -u 30 uptime ./all-hosts 'web[01-40]'
    classh --list 'db[1-3,7]'

As a module, results come as the hosts finish:

    from classh import SSHJobMan

    with SSHJobMan(['web[1-20]', 'db1'], 'uptime', timeout=30) as manager:
        for result in manager:
            print(result.host, result.outcome, result.elapsed)
            print(result.output, end='')

Only the names in __all__ are public.  Not promised: that a remote command
ends when its ssh is ended (but see EndRemote), that hosts finish in a given
order, that ssh ends where a signal ends Python itself, or that one manager
may be used from two threads at the same time.

Five ideas carry the code:

1. A job is passive: one process and what came out of it.  The loop waits.
2. Hints wake, waitpid() decides: SIGCHLD, end of file and the clock wake the
   loop, and os.waitpid(pid, WNOHANG) says whether a job is over.
3. Every wait has an end: a job has one state and one deadline, and each state
   says what happens at its deadline.
4. Results flow one way: hosts come in as a stream, results leave as one, and
   views and sinks listen to it.  Nothing needs the whole list at once.
5. ssh speaks apart: what ssh itself says goes to a log of its own, so why a
   host failed, and whether its command has started, are facts.  The cause is
   a word of one table; summary and exit status parse no text.

A chapter uses only the chapters above it:

    Defaults and errors   what a user can set; what callers can catch
    Processes             programs that are no jobs: run, wait, end
    Host patterns         expand, fold
    Host lists            sets and the queue of hosts, files and groups
    Results               Result, the table of causes, records, load
    Journals              files of records, whole whatever happens
    Transports            ssh: its arguments, what its exit status means; a
                          command here; others who run it
    Jobs                  _Job and its states, captured output, input
    Event loop            what wakes us: descriptors, children, timers; stdin
    Pool                  jobs that run: start, reap, TERM, KILL, give up
    Job manager           SSHJobMan: hosts in, admission, results out; pace
    Console and views     report, tally and each way to show results
    Sinks                 -S, -E, --pickle: files, programs, directories
    Passwords             askpass server, sudo, lockout guard
    Ending on the host    --end-remote: a command does not outlive its ssh
    Shared connections    of a shell, of later runs, to a jump host
    Stopping              Ctrl-C and other signals
    A run                 hosts from stdin; manager, views and sinks together
    The shell             --shell, its prompt and its built-ins
    Completion            scripts for bash, zsh and fish, of the options
    Command line          parser, checks, main
"""

import signal

if __name__ == '__main__':
    # Before the other imports, which take a while: until main() installs its
    # handlers, Ctrl-C must not print a traceback, nor SIGUSR1 end us.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, lambda signum, frame: None)

import argparse
import binascii
import collections
import contextlib
import errno
import fcntl
import functools
import gc
import heapq
import io
import itertools
import math
import os
import re
import select
import shlex
import stat
import sys
import time

__version__ = '1.0'
__all__ = ['AskpassServer', 'Canary', 'ClasshError', 'Console', 'EndRemote',
           'FailLimit', 'GroupError', 'HostFileError', 'HostGroups',
           'HostQueue', 'JobHooks', 'Journal', 'JumpError', 'JumpHost',
           'KeptConnections', 'KeptJumpHost', 'Local', 'LockoutGuard', 'Pace',
           'PatternError', 'Ramp', 'RecordError', 'Relay', 'Result',
           'SSHJobMan', 'ShareError', 'Ssh', 'SudoWrapper', 'TargetError',
           'Transport', 'UsageError', 'expand', 'fold', 'load', 'main',
           'mask', 'parse_host_arguments', 'read_records', 'report',
           'run_script', 'ssh_argv']


# -- Defaults and errors ----------------------------------------------------

FANOUT = 100            # jobs at once
TIMEOUT = 300.0         # seconds a job may take
CONNECT_TIMEOUT = 10    # whole seconds that ssh may take to connect
MAX_OUTPUT = 8 << 20    # bytes kept of each stream of a job
KILL_GRACE = 5.0        # seconds from SIGTERM to SIGKILL, then to giving up
SHARE_TIME = 600        # whole seconds that a connection is kept unused


class ClasshError(Exception):
    """Anything that classh itself refuses or cannot do."""

    FIELDS = ()             # what its arguments are called as attributes

    def __init__(self, *args):
        super().__init__(*args)
        vars(self).update(zip(self.FIELDS, args))


EXCERPT_LENGTH = 80     # characters of a host or a prompt in a message


def _shorten(text):
    """Return *text*, cut to EXCERPT_LENGTH."""
    return (text if len(text) <= EXCERPT_LENGTH
            else text[:EXCERPT_LENGTH] + '...')


def _quoted(words):
    """Return *words* as a shell reads them, one str."""
    return ' '.join(map(shlex.quote, words))


def _excerpt(text):
    """Return *text* in quotes, cut to EXCERPT_LENGTH."""
    return repr(_shorten(text))


_INVENTORY = ("is it an inventory?  A group can read it: see 'Groups' in the "
              'guide')
# Mistake: what to write instead.
_HINTS = (
    (r'\[[0-9]+(?:[:\u2010-\u2015\u2212]|\.\.)[0-9]+\]',
     'a range is written [1-20]'),
    (r'[\u2018-\u201f]', 'a shell takes \' and " as quotes'),
    (r'(?:\.[0-9]{1,3}|:)/[0-9]',
     'a range of addresses is written 10.0.0.[1-254]'),
    (r'\A(?:\{|---)\Z|":', _INVENTORY),
    (r'\$[\w{(]|`', 'within single quotes a shell expands nothing'),
    (r'://', 'a host is written [user@]name[:port]'),
    (r'[{(<]', 'choices are written [a,b] or [1-20]'),
    (r'[\[,][A-Za-z]-[A-Za-z][],]', 'letters are written [a,b,c]'),
    (r'[*?]', 'a pattern is written web[1-9]'),
    (r'(?:\A|,)\^', 'a file of hosts is written ./FILE'),
    (r'!', 'hosts are left out by -x'),
    (r':&', 'a part of the hosts is --only HOSTS'),
    (r'\A[A-Za-z](?:\[[^]]*\]|[^][:,])*:[A-Za-z@]',
     'hosts have commas between; a range is written web[1-9]'),
    (r'\A(?:\[[^]]*\]|[^][\s])+\s(?s:.*)[\S\n]\Z|;',
     'hosts are words of their own, or have commas between'),
    (r'[\'"]', 'a host is written without quotes'),
    (r'@@', 'the user for a group is written -l USER @GROUP'),
    (r'\A(?:[^/]*,)?@',
     'groups are taken as HOST, in -x, --only and files alone'),
    (r'\A(?!-)[^=]*=|\A\[[A-Za-z_][^][,]*\]\Z'
     r'|\A(?:all|children|hosts|vars):\Z', _INVENTORY))


def _hint(text):
    """Return what the user should write instead of *text*, '' if unknown."""
    return next(('; ' + hint for mistake, hint in _HINTS
                 if re.search(mistake, text)), '')


class PatternError(ClasshError, ValueError):
    """A host or pattern cannot be used; .part is the text at fault."""

    FIELDS = 'pattern', 'part', 'problem'

    def __str__(self):
        where = '' if self.part == self.pattern else ': ' + _excerpt(self.part)
        return 'bad host %s%s %s%s' % (_excerpt(self.pattern), where,
                                       self.problem, _hint(self.pattern))


class HostFileError(ClasshError):
    """A file of hosts cannot be used; .line is None or counts from 1."""

    FIELDS = 'path', 'line', 'problem'

    def __str__(self):
        line = '' if self.line is None else ':%d' % self.line
        return '%s%s: %s' % (self.path, line, self.problem)


class GroupError(ClasshError):
    """A group of hosts cannot be used; .group is its name, with the @."""

    FIELDS = 'group', 'problem'

    def __str__(self):
        return '%s: %s' % (_shorten(self.group), self.problem)


class TargetError(ClasshError):
    """A target of -S, -E or --pickle cannot be used; see .target."""

    FIELDS = 'target', 'problem'

    def __str__(self):
        return 'cannot use %s: %s' % (self.target, self.problem)


class RecordError(ClasshError, ValueError):
    """A file holds anything but what --pickle or --json write."""


class UsageError(ClasshError):
    """The command line cannot be carried out."""


class _Closing:
    """Base of what a with block closes at its end."""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def _error_text(error):
    """Return the message of *error* for a user."""
    if isinstance(error, MemoryError):
        return 'out of memory'
    words = getattr(error, 'strerror', None) or str(error)
    name = getattr(error, 'filename', None)
    return '%s: %s' % (name, words) if name else words


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return 'signal %d' % number


def _in_main_thread():
    # A program that has not imported threading has one thread, and the import
    # takes a while.
    threading = sys.modules.get('threading')
    return threading is None or (
        threading.current_thread() is threading.main_thread())


# -- Processes --------------------------------------------------------------

READ_SIZE = 1 << 16     # bytes to read at a time: the pipe of a job is read
                        # once a turn, so that no host starves the rest
WAIT_INTERVAL_MIN = 0.0005      # seconds between two looks at a process that
WAIT_INTERVAL_MAX = 0.05        # is waited for; doubled from look to look
RUN_GRACE = 1.0         # seconds from SIGTERM to SIGKILL for a program that
                        # takes too long or writes too much


def _kill_group(pid, signum):
    """Send *signum* to the child *pid* and to its group; if it leads none, to
    its descendants: a shell that is ended leaves its command.

    EPERM (a setuid child, as sudo) is ignored: the next deadline escalates.
    """
    children = []
    with contextlib.suppress(OSError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signum)
            return
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGSTOP)    # else it could start one more
        # Not every kernel has this file.
        with open('/proc/%d/task/%d/children' % (pid, pid)) as file:
            children = file.read().split()
    with contextlib.suppress(OSError):
        os.kill(pid, signum)        # first, or it would go on to the next
        os.kill(pid, signal.SIGCONT)
    for child in children:
        _kill_group(int(child), signum)


def _has_exited(pid):
    """Return whether the child *pid* has exited; do not reap it, so that its
    number and that of its group are not used again.  Raise ChildProcessError
    if another part of the program has reaped it."""
    return os.waitid(os.P_PID, pid,
                     os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait_or_end(process, stop_level, patience, grace):
    """Wait for *process*, a Popen that is no job; return its exit status, or
    None if it survives SIGKILL.

    stop_level() is how often an end was requested.  The first request gives
    the process *patience* seconds, another one cuts them short.  Then comes
    SIGTERM, *grace* seconds later SIGKILL, and *grace* seconds later the wait
    is given up.  Signals go to the whole group of a process that leads one.
    """
    signals = [signal.SIGTERM, signal.SIGKILL]
    at_first = max(1, stop_level())     # earlier requests count as one
    deadline, pause = math.inf, WAIT_INTERVAL_MIN
    with contextlib.suppress(ChildProcessError):
        while not _has_exited(process.pid):
            now, level = time.monotonic(), stop_level()
            if level and deadline == math.inf:
                deadline = now + patience
            if now >= deadline or level > at_first and len(signals) == 2:
                if not signals:
                    return None
                _kill_group(process.pid, signals.pop(0))
                deadline = now + grace
            time.sleep(pause)
            pause = min(2 * pause, WAIT_INTERVAL_MAX)
        if deadline < math.inf:
            _kill_group(process.pid, signal.SIGKILL)    # what it leaves behind
    return process.wait()


def _run_program(argv, timeout, most, check=lambda: None):
    """Run *argv*, a program that is no job.  Return its exit status, and what
    it has written to stdout and to stderr, two bytearrays.

    The program is ended, and the status is None, if it runs for *timeout*
    seconds or has written more than *most* bytes to one of the two.  check()
    is called several times a second; if it raises, the program is ended, too.
    Raise OSError if the program cannot be run, ValueError for a NUL in *argv*.
    """
    import subprocess               # a start that runs nothing goes without
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as held:
        # Popen's own pipes would leak where there is no room for all of them
        # (before Python 3.11).
        texts, writers, ready = {}, [], select.poll()
        for _ in range(2):
            reader, writer = os.pipe()
            held.callback(os.close, reader)
            held.callback(os.close, writer)
            os.set_blocking(reader, False)
            texts[reader] = bytearray()
            writers.append(writer)
            ready.register(reader, select.POLLIN)
        # A session of its own: it cannot ask on the terminal, and what it
        # starts can be ended with it.
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=writers[0],
            stderr=writers[1], start_new_session=True)
        status = None
        try:
            pause, exited = WAIT_INTERVAL_MIN, False
            # Its exit is the end: what it has started may hold the pipes.
            while not exited and time.monotonic() < deadline:
                check()
                exited = _has_exited(process.pid)
                for reader, _ in ready.poll(0 if exited else 1000 * pause):
                    with contextlib.suppress(BlockingIOError):
                        while len(texts[reader]) <= most:
                            texts[reader] += os.read(reader, READ_SIZE)
                if max(map(len, texts.values())) > most:
                    break
                pause = min(2 * pause, WAIT_INTERVAL_MAX)
            else:
                status = process.wait() if exited else None
        finally:
            if status is None:
                wait_or_end(process, lambda: 1, 0, RUN_GRACE)
        return (status, *texts.values())


# -- Host patterns ----------------------------------------------------------

NUMBERS_FOLDED = 16     # numbers in a name that fold() looks at
EXPANSION_LIMIT = 10 ** 5   # most hosts to expand where all are needed at once

# Most of a long list are plain names, which need no parser.
_is_plain_name = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*').fullmatch
# Expressions that few runs use are text, which re compiles when it is needed:
# to compile all of them takes as long as the rest of a start.

# A bracket and its inside, other text, a comma, or a bracket without its half.
_TOKEN = r'\[([^][]*)\]|([^][,]+)|(,)|[][](?s:.*)'
_RANGE = r'([0-9]{1,18})-([0-9]{1,18})(?:/([0-9]{1,18}))?'

_BAD_IN_HOST = r'[\s\x00-\x1f\x7f-\x9f#]'
_BAD_IN_CHOICE = r"""[-@/#\s\x00-\x1f\x7f-\x9f'`";&<>|(){}$\\]"""
# ssh refuses these from 9.6 on, because names can reach a shell, as that of a
# ProxyCommand (CVE-2023-51385).
_SHELL_META = r"""['`";&<>|(){}]"""
_CHOICES = r'\[[^][:]*\]'
# A wildcard, what other tools have for a file and for all but a host; the
# current directory; what ssh_config writes for a host's name.
_NO_NAME = r'[*?^!]|\A\.(?::|\Z)|\A[^:]*%[hnpru]\b'
_WORD_IN_BRACKETS = r'\[[^][0-9,:][^][,:]*\]'
# With '::' or of eight groups, since the last two may be as 10.0.0.1: a time
# or the address of a network card is none.
_V6 = (r'(?:(?:{0})?(?::{0})*::(?:{0}(?::{0})*)?|{0}(?::{0}){{6,7}})'
       r'(?:%[A-Za-z0-9._~-]+)?').format('[0-9A-Fa-f.]+')
_HOST = (r'(?P<user>.*[^@]@)?(?:(?:\[(?P<v6>{0})\]|(?P<name>[^:@]+))'
         r'(?::(?P<port>[0-9]+))?|{0})').format(_V6)

_BEYOND_ASCII = r'[^\x00-\x7f]+'
# Letters and marks that are not visible.
_INVISIBLE = (r'[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164'
              r'\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]')
# Bytes that are control characters, a space or a soft hyphen in Latin-1.
_INVISIBLE_BYTE = r'[\udc80-\udca0\udcad]'


def _product(parts):
    """Yield each combination of the choices of *parts*, which are as _parse()
    makes them; the last part varies fastest.

    itertools.product() would make every value before the first result.
    """
    if len(parts) > 1:              # in halves, so that no name is too deep
        middle = len(parts) // 2
        for head in _product(parts[:middle]):
            for tail in _product(parts[middle:]):
                yield head + tail
        return
    for choice in parts[0]:
        if isinstance(choice, str):
            yield choice
        else:
            numbers, width = choice
            for number in numbers:
                yield '%0*d' % (width, number)


def _odd_character(host):
    """Return what is wrong with a character of *host*, or None.

    Beyond ASCII a name may have visible letters, marks and digits, and
    bytes that are not UTF-8.
    """
    import unicodedata              # few hosts need it
    try:
        # Where the locale is not UTF-8, each byte may be a character.
        text = os.fsencode(host).decode('utf-8', 'surrogateescape')
    except UnicodeEncodeError:
        return 'cannot be encoded'
    for char in ''.join(re.findall(_BEYOND_ASCII, text)):
        category = unicodedata.category(char)
        if re.match(_INVISIBLE_BYTE, char):
            return 'holds the byte 0x%02x' % (ord(char) - 0xdc00)
        if re.match(_INVISIBLE, char) or not (
                char == '\xb7' or re.match('L|M|Nd|Cs', category)):
            return 'holds U+%04X %s%s' % (
                ord(char), unicodedata.name(char, '(no name)'),
                ", which is not '-'" if category == 'Pd' or char == '\u2212'
                else '')
    return None


def _check_host(host, pattern, sample):
    """Raise PatternError if ssh must not get *host*, a name in *pattern*.

    *sample* is *host* with each bracket replaced by a sample choice.
    """
    problem = None
    name = host.rpartition('@')[2]
    if sample.startswith('-') or sample.rpartition('@')[2].startswith('-'):
        problem = "begins with '-'"
    elif re.search(_BAD_IN_HOST, host):
        problem = "holds white space, a control character or '#'"
    elif re.search(_SHELL_META, host) or '$' in name or '\\' in name:
        problem = 'holds a character that is special to a shell'
    elif '/' in sample:
        problem = "holds a '/'" + ('' if _hint(pattern) else (
            '; files are taken as HOST, in -x and --only, or by '
            'parse_host_arguments()'))
    elif '=' in host:
        problem = "holds '='"
    elif (re.fullmatch(_WORD_IN_BRACKETS, name) or re.search(_NO_NAME, name)
          or not (_is_plain_name(sample) or re.fullmatch(_HOST, sample))):
        problem = 'is not [user@]name[:port]'
    elif re.search(_BEYOND_ASCII, host):
        problem = _odd_character(host)
    if problem:
        raise PatternError(pattern, host, problem)


def _sample_choice(bracket):
    """Return a sample of the choices in a bracket: '0' for numbers, 'a' for
    digits of an address, 'x' for words."""
    if not re.search(r'[^][0-9,/-]', bracket.group()):
        return '0'
    return 'x' if re.search(r'[^][0-9A-Fa-f,]', bracket.group()) else 'a'


def _parse_choice(pattern, text, bracket):
    """Return the choice *text* of a *bracket*; see _parse()."""
    if not text:
        raise PatternError(pattern, bracket, 'has an empty choice')
    found = re.fullmatch(_RANGE, text)
    if not found:
        if not (re.search(_BAD_IN_CHOICE, text) or '..' in text):
            return text
        raise PatternError(pattern, text, 'is not a number, range or word')
    low, high, step = found.group(1), found.group(2), found.group(3) or 1
    if int(low) > int(high):
        raise PatternError(pattern, text, 'runs backwards')
    if int(step) == 0:
        raise PatternError(pattern, text, 'has a step of 0')
    return range(int(low), int(high) + 1, int(step)), len(low)


def _parse(pattern):
    """Return, for each name between commas, its parts.

    A part is a list of choices; a choice is a str, or a pair of a range and
    a width.
    """
    names, texts = [[]], [[]]
    for token in re.finditer(_TOKEN, pattern):
        bracket, text, comma = token.groups()
        if comma:
            names.append([])
            texts.append([])
            continue
        texts[-1].append(token.group())
        if text is not None:
            names[-1].append([text])
        elif bracket is None:
            raise PatternError(pattern, token.group(),
                               'is a bracket without its other half')
        elif ':' in bracket:
            names[-1].append([token.group()])
        else:
            names[-1].append([_parse_choice(pattern, choice, token.group())
                              for choice in bracket.split(',')])
    for text in map(''.join, filter(None, texts)):
        _check_host(text, pattern, re.sub(_CHOICES, _sample_choice, text))
    return [name for name in names if name]


def expand(pattern):
    """Return an iterator over the hosts that *pattern* names, as written.

    >>> list(expand('web[08-10],db'))
    ['web08', 'web09', 'web10', 'db']
    >>> list(expand('bar[3,2,12-13]baz'))
    ['bar3baz', 'bar2baz', 'bar12baz', 'bar13baz']
    >>> list(expand('r[1-2]n[0-20/10]'))
    ['r1n0', 'r1n10', 'r1n20', 'r2n0', 'r2n10', 'r2n20']

    The lower bound of a range sets its width.  A bracket with a ':' is
    part of an address.  Each host is made when it is taken, so a pattern
    may name any number of hosts.  The pattern is checked at once: raise
    PatternError if it cannot be used.
    """
    if _is_plain_name(pattern):
        return iter((pattern,))
    return itertools.chain.from_iterable(map(_product, _parse(pattern)))


def _count(parts):
    """Return the number of combinations, EXPANSION_LIMIT at most."""
    count = 1
    for choices in parts:
        count *= sum(1 if isinstance(choice, str) else len(choice[0])
                     for choice in choices)
        if count >= EXPANSION_LIMIT:
            return EXPANSION_LIMIT  # the exact product may be slow to get
    return count


def _match_ends(choice, host, begin):
    """Yield each place where *choice*, begun at *begin*, may end in *host*."""
    if isinstance(choice, str):
        if host.startswith(choice, begin):
            yield begin + len(choice)
        return
    numbers, width = choice
    digits = re.match('[0-9]{0,18}', host[begin:]).group()
    for size in range(width, len(digits) + 1):
        # A number with more digits than the width has no leading zero.
        if ((size == width or digits[0] != '0')
                and int(digits[:size]) in numbers):
            yield begin + size


def _place(parts, host):
    """Return the place of *host* among the combinations of *parts*, a tuple
    that sorts as _product() yields them; None if it is not one of them."""
    places = {0: ()}                # where the parts so far may end in *host*
    for choices in parts:
        found = {}
        for begin, place in places.items():
            for number, choice in enumerate(choices):
                for end in _match_ends(choice, host, begin):
                    index = 0 if isinstance(choice, str) else (
                        choice[0].index(int(host[begin:end])))
                    here = place + (number, index)
                    found[end] = min(found.get(end, here), here)
        places = found
    return places.get(len(host))


_NUMBER = r'(?<![0-9])([0-9]{1,18})(?![0-9])'


def _fold_numbers(numbers):
    """Return distinct strings of digits as one, in brackets if several."""
    if len(numbers) == 1:
        return numbers[0]
    runs = []                       # [first, last] as written
    for number in sorted(numbers, key=lambda text: (len(text), int(text))):
        if runs and number == '%0*d' % (len(runs[-1][0]),
                                        int(runs[-1][1]) + 1):
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return '[%s]' % ','.join(low if low == high else low + '-' + high
                             for low, high in runs)


def _fold_rows(rows, columns):
    """Fold rows of numbers, column by column, where the others agree."""
    for column in reversed(range(columns)):
        alike = collections.defaultdict(list)
        for row in rows:
            alike[row[:column], row[column + 1:]].append(row[column])
        rows = [before + (_fold_numbers(numbers),) + after
                for (before, after), numbers in alike.items()]
    return rows


def _natural_key(host):
    """Return a sort key that puts web2 before web10."""
    parts = re.split(_NUMBER, host)
    parts[1::2] = [(int(number), number) for number in parts[1::2]]
    return parts


def fold(hosts):
    """Return one pattern that names exactly *hosts*, sorted, each once.

    >>> fold(['web3', 'web1', 'web2', 'db01', 'web17'])
    'db01,web[1-3,17]'

    expand() is the inverse for every set of hosts that expand() can make.
    Of several numbers in a name, the first NUMBERS_FOLDED are folded, the
    last of them first.
    """
    folded = []
    groups = collections.defaultdict(set)
    for host in set(hosts):
        if '[' in host:
            folded.append(host)
        else:
            # Folding takes time with the square of the numbers in a name;
            # the name after the last of them counts as text.
            parts = re.split(_NUMBER, host, maxsplit=NUMBERS_FOLDED)
            groups[tuple(parts[::2])].add(tuple(parts[1::2]))
    for texts, rows in groups.items():
        for numbers in _fold_rows(rows, len(texts) - 1):
            folded.append(''.join(
                itertools.chain.from_iterable(zip(texts, numbers + ('',)))))
    return ','.join(sorted(folded, key=_natural_key))


# -- Host lists -------------------------------------------------------------

SKIP_BATCH = 10 ** 4    # most hosts that one take() passes over
LINE_LIMIT = 1 << 20    # bytes in a line of a file of hosts

_NAMES = r'(?:\[[^][]*\]|[^,])+'      # those that have commas between them


def _split_names(names):
    """Return the hosts in *names*, parted by commas; brackets stay."""
    hosts = re.findall(_NAMES, names)
    for host in hosts:
        _check_host(host, names, host)
    return hosts


def pattern_reader(expanding=True):
    """Return the function that makes hosts of a pattern; it raises
    PatternError.  Unless *expanding*, a bracket stands for itself."""
    return expand if expanding else _split_names


class HostSet:
    """The set of hosts that *patterns* match; supports ``host in``.

    A pattern of more than EXPANSION_LIMIT hosts is matched, not expanded.
    """

    def __init__(self, patterns, expanding=True):
        self._hosts = set()
        self._unexpanded = []       # the parts of each name that is too big
        for pattern in patterns:
            if _is_plain_name(pattern) or not expanding:
                self._hosts.update(_split_names(pattern))
                continue
            for parts in _parse(pattern):
                if _count(parts) < EXPANSION_LIMIT:
                    self._hosts.update(_product(parts))
                else:
                    self._unexpanded.append(parts)

    def __contains__(self, host):
        return host in self._hosts or any(
            _place(parts, host) is not None for parts in self._unexpanded)

    def isdisjoint(self, hosts):
        """Return whether none of the set *hosts* is in this one."""
        return self._hosts.isdisjoint(hosts) and not any(
            _place(parts, host) is not None for parts in self._unexpanded
            for host in hosts)


# A group of hosts as @NAME gives it: its name and its patterns, a list.
Group = collections.namedtuple('Group', 'name patterns')


class HostChoice(HostSet):
    """The hosts that the *exclude* or the *only* of a HostQueue names; it
    knows which of the names have matched no host."""

    def __init__(self, items, expanding=True):
        """*items* is a str or an iterable of patterns and Groups."""
        self._expanding = expanding
        self._named = {}            # name: the patterns that it stands for
        for item in [items] if isinstance(items, str) else items:
            if isinstance(item, Group):
                self._named[item.name] = item.patterns
            else:
                for name in re.findall(_NAMES, item) or [item]:
                    self._named[name] = [name]
        super().__init__(itertools.chain.from_iterable(self._named.values()),
                         expanding)
        self._matched = set()

    def match(self, host):
        """Return whether *host* is one of them, and remember it."""
        matched = host in self
        if matched:
            self._matched.add(host)
        return matched

    def idle(self):
        """Return the names that have matched no host so far, a list."""
        return [name for name, patterns in self._named.items()
                if HostSet(patterns, self._expanding).isdisjoint(
                    self._matched)]

    def expand(self, pattern):
        """Return an iterator over the hosts of *pattern*, as expand() does.
        Of EXPANSION_LIMIT hosts or more it may give those of this set
        alone."""
        if _is_plain_name(pattern):
            return iter((pattern,))
        return itertools.chain.from_iterable(map(
            self._combine, _parse(pattern)))

    def _combine(self, parts):
        if self._unexpanded or _count(parts) < EXPANSION_LIMIT:
            return _product(parts)
        places = {host: _place(parts, host) for host in self._hosts}
        return sorted((host for host in places if places[host] is not None),
                      key=places.get)


class HostQueue:
    """The hosts of a run: each once, in the order given, made when taken.

    *hosts* is one str or an iterable of them; each is a host or, unless
    *expand* is false, a pattern.  A str, list or tuple is checked at
    once, anything else when it is read.  A bad one raises PatternError and
    is passed over: the hosts after it can still be taken.  *exclude* and
    *only* have the same forms: hosts of *exclude* are passed over, too, and
    so are those that *only* does not name, unless it is None, and those for
    which *skip*, a function of a host, returns true.

    feed        None, or what will add more hosts until its .ended is true
    """

    def __init__(self, hosts=(), expand=True, exclude=(), only=None,
                 skip=None):
        self.feed = None
        self._skip = skip or (lambda host: False)
        self._check = self._read = pattern_reader(expand)
        self._exclude = HostChoice(() if exclude is None else exclude, expand)
        self._only = None if only is None else HostChoice(only, expand)
        if self._only and expand:
            self._read = self._only.expand
        self._seen = set()          # all those taken
        self._sources = collections.deque()
        self._sources_ended = False     # until more are added
        self._expansion = iter(())
        self._ahead = collections.deque()   # made by count(), not yet taken
        self._put_back = []
        self._delayed = []          # a heap of (due, number, host)
        self._numbers = itertools.count()
        self.add(hosts)

    @property
    def exhausted(self):
        """True if no host is left, until more are added or put back."""
        return not self.pending()

    @property
    def may_grow(self):
        """Whether more hosts may come from the feed."""
        return self.feed is not None and not self.feed.ended

    def pending(self, now=math.inf):
        """After take() returned None: may another call at *now* give a
        host?"""
        return (not self._sources_ended or bool(self._ahead)
                or bool(self._put_back)
                or bool(self._delayed) and self._delayed[0][0] <= now)

    @property
    def next_due(self):
        """When the first delayed host is due; None if no host is delayed."""
        return self._delayed[0][0] if self._delayed else None

    @property
    def delayed(self):
        """The hosts that are delayed: a list of (due, host), soonest first."""
        return [(due, host) for due, _, host in sorted(self._delayed)]

    def add(self, hosts):
        """Append *hosts*, which may repeat earlier ones."""
        if isinstance(hosts, str):
            hosts = [hosts]
        if isinstance(hosts, (list, tuple)):
            for pattern in hosts:
                self._check(pattern)
        self._sources.append(iter(hosts))
        self._sources_ended = False

    def put_back(self, host, due=None):
        """Return *host* to the front of the queue.  With *due*, take(now)
        gives it only once *now* has reached that."""
        if due is None:
            self._put_back.append(host)
        else:
            heapq.heappush(self._delayed, (due, next(self._numbers), host))

    def withdraw(self, hosts):
        """Remove and return those of *hosts* that are delayed, a list, soonest
        first."""
        back = [host for _, host in self.delayed if host in hosts]
        # What is sorted is a heap.
        self._delayed = [entry for entry in sorted(self._delayed)
                         if entry[2] not in hosts]
        return back

    def __iter__(self):
        return self

    def __next__(self):
        host = self.take()
        while host is None:
            if self.exhausted:
                raise StopIteration
            host = self.take()
        return host

    def take(self, now=math.inf):
        """Remove and return the next host.  A delayed host counts only once
        it is due at *now*.

        Return None at the end (.exhausted), if the only hosts left are
        delayed (.next_due), or after SKIP_BATCH duplicates, so that the
        caller is not kept waiting; call again.
        """
        if self._put_back:
            return self._put_back.pop()
        host = self.take_due(now)
        if host is not None:
            return host
        return self._ahead.popleft() if self._ahead else self._make()

    def take_due(self, now):
        """Remove and return a delayed host that is due at *now*, or None."""
        if self._delayed and self._delayed[0][0] <= now:
            return heapq.heappop(self._delayed)[2]
        return None

    def count(self):
        """Return how many hosts are left, the delayed ones included; None
        where more may come, or they are too many to be counted.

        They are made ahead for that: raise PatternError as take() does.
        """
        if self.may_grow:
            return None
        self._make_ahead(EXPANSION_LIMIT + 1)
        return (len(self._ahead) + len(self._put_back) + len(self._delayed)
                if self._sources_ended else None)

    def peek(self):
        """Return the hosts that are left, in order, a list, and leave them
        there; None where they are too many to be counted."""
        if self.count() is None:
            return None
        return [*reversed(self._put_back), *self._ahead,
                *(host for _, host in self.delayed)]

    def first(self, limit):
        """Return the hosts that take() gives next, delayed ones apart, in
        order, a list of *limit* at most, and leave them there."""
        self._make_ahead(limit)
        return list(itertools.islice(itertools.chain(
            reversed(self._put_back), self._ahead), limit))

    def _make_ahead(self, count):
        """Have *count* hosts made, or fewer where there are no more, or many
        duplicates; raise PatternError as take() does."""
        while not self._sources_ended and len(self._ahead) < count:
            host = self._make()
            if host is None:
                break
            self._ahead.append(host)

    def _make(self):
        """Return the next host of the sources, as take() does."""
        for _ in range(SKIP_BATCH):
            host = next(self._expansion, None)
            if host is None:
                if not self._sources:
                    self._sources_ended = True
                    return None
                for pattern in self._sources[0]:
                    self._expansion = iter(self._read(pattern))
                    break
                else:
                    self._sources.popleft()
            elif host not in self._seen and self._is_wanted(host):
                self._seen.add(host)
                if not self._skip(host):
                    return host
        return None

    def _is_wanted(self, host):
        excluded = self._exclude.match(host)
        return (self._only is None or self._only.match(host)) and not excluded

    def idle_exclusions(self):
        """Return the names in *exclude* that have matched no host so far."""
        return self._exclude.idle()

    def idle_selections(self):
        """Return the names in *only* that have matched no host so far."""
        return [] if self._only is None else self._only.idle()


# Lines of other files, which would name hosts that nobody meant: of /etc/hosts
# (an address and its names), ssh_config and known_hosts.
_OTHER_LINES = (
    (rb'\s*(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]*:[0-9A-Fa-f]*:\S*)'
     rb'(?:\s+(?![0-9.]+(?:\s|\Z))[A-Za-z0-9][\w.-]*){1,40}\s*\Z',
     "an address and its names would be a host each; the names alone: awk "
     "'{ print $2 }'"),
    (rb'\s*(?:-\s|[\w.@-]+:(?:\s|\Z))', _INVENTORY),
    (rb'\s*(?:Host|Host[Nn]ame|IdentityFile|Include|Match)\s',
     _INVENTORY.replace('inventory', 'ssh_config')),
    (rb'(?:\S+\s+){1,2}(?:ssh|ecdsa|sk)-\S+\s+AAAA',
     "is it a known_hosts?  The first column: awk '{ print $1 }'"))


def parse_host_lines(lines, path, read, first=1):
    """Return the patterns in *lines*, bytes as a file of hosts holds them.

    White space parts words, and '#' starts a comment.  read(word) returns
    the patterns in a word, a list; if it raises PatternError or GroupError,
    or a line is rather one of another file, raise HostFileError with *path*
    and the number of the line, where *first* is the first.
    """
    patterns = []
    for number, line in enumerate(lines, first):
        if len(line) > LINE_LIMIT:
            raise HostFileError(path, number, 'too long for a line of hosts')
        if number == 1 and line.startswith(b'\xef\xbb\xbf'):
            line = line[3:]         # a byte-order mark
        line = line.partition(b'#')[0]
        words = line.split()
        is_other = words[1:] or words and words[0].endswith(b':')
        for other, problem in _OTHER_LINES if is_other else ():
            if re.match(other, line):
                raise HostFileError(path, number, problem)
        for word in words:
            # Decoded as the system decodes arguments, so that a host in a
            # file and the same one on the command line are equal.
            try:
                patterns += read(os.fsdecode(word))
            except (PatternError, GroupError) as error:
                raise HostFileError(path, number, str(error)) from None
    return patterns


def _split_lines(octets):
    """Yield the lines of *octets*, a binary file; one that is longer than a
    line of hosts may be, in parts."""
    # Text mode, because CR and CR LF end a line too.
    with io.TextIOWrapper(octets, encoding='latin-1') as text:
        for line in iter(lambda: text.readline(LINE_LIMIT + 1), ''):
            yield line.encode('latin-1')


def _file_lines(path):
    """Yield the lines of the file *path*; raise HostFileError."""
    try:
        yield from _split_lines(open(path, 'rb'))
    except OSError as error:
        raise HostFileError(path, None, 'cannot read hosts: '
                            + error.strerror + _hint(path)) from None


GROUP_TIMEOUT = 60.0    # seconds that the program of a group may take
GROUP_OUTPUT = 8 << 20  # bytes that the program may print
GROUP_DEPTH = 32        # groups that may name one another

_GROUP_NAME = (r'[^/.:,\s\x00-\x1f\x7f-\x9f]'
               r'[^/:,\s\x00-\x1f\x7f-\x9f]*')


def group_directories():
    """Return the directories of groups, a list: those of $CLASSH_GROUPS,
    with colons between them, or else those of the user and the system.
    Raise UsageError if one of the former is not absolute."""
    directories = list(filter(None, os.environ.get('CLASSH_GROUPS',
                                                   '').split(':')))
    if not directories:
        return [os.path.expanduser('~/.config/classh/groups'),
                '/etc/classh/groups']
    for directory in directories:
        if not directory.startswith('/'):
            raise UsageError('CLASSH_GROUPS: %s does not begin with a /'
                             % _excerpt(directory))
    return directories


def _user_name(number, unknown='uid %d'):
    import pwd                      # few runs need it
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return unknown % number


def _check_private(group, path):
    """Raise GroupError unless only we or root may write to *path*, the
    program of *group* or its directory; OSError if that cannot be told."""
    status = os.stat(path)
    if status.st_uid not in (0, os.geteuid()):
        raise GroupError(group, '%s belongs to another user, %s' % (
            path, _user_name(status.st_uid)))
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise GroupError(group, '%s may be written by others: chmod go-w %s'
                         % (path, shlex.quote(path)))


def _group_problem(status, is_loud):
    """Return why the program of a group is of no use."""
    if status is None:
        return ('printed more than %d MB' % (GROUP_OUTPUT >> 20) if is_loud
                else 'has not ended within %g s' % GROUP_TIMEOUT)
    return ('exited with %d' % status if status > 0
            else 'was ended by ' + _signal_name(-status))


@contextlib.contextmanager
def _without_check():
    yield lambda: None


class HostGroups:
    """The groups that @NAME and @NAME:ARG stand for: entries of directories.

    An entry NAME that is a file holds hosts; one that is a program prints
    them, with ARG as its argument.  A program is run once for each argument.

    directories  where to look, in this order; None: group_directories()
    warn         called with a line of text where a program that succeeds has
                 something to say on its stderr; None: that is dropped
    watching     returns a context manager around a program that runs; its
                 value is called all the time and may raise, which ends the
                 program: StopRequests.noting, say
    """

    def __init__(self, directories=None, warn=None, watching=_without_check):
        self._directories = directories
        self._warn = warn or (lambda text: None)
        self._watching = watching
        self._printed = {}          # group: what its program has printed

    @property
    def directories(self):
        if self._directories is None:
            self._directories = group_directories()
        return self._directories

    def names(self):
        """Return the names of all groups, a sorted list.  Raise OSError."""
        found = set()
        for directory in self.directories:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found.update(name for name in os.listdir(directory)
                             if re.fullmatch(_GROUP_NAME, name)
                             and os.path.isfile(directory + '/' + name))
        return sorted(found, key=_natural_key)

    def open(self, group):
        """Return (lines, label, is a program) of *group*, '@NAME[:ARG]':
        its lines as bytes, and what a message calls their source.  Raise
        GroupError, or HostFileError for a file."""
        name, colon, argument = group[1:].partition(':')
        path, status = self._find(group, name)
        if status.st_mode & 0o111:
            label = 'output of %s' % ' '.join(filter(None, [path, argument]))
            printed = self._run(group, path, [argument] if colon else [])
            return _split_lines(io.BytesIO(printed)), label, True
        if colon:
            raise GroupError(group, '%s is a file of hosts, and %s no '
                             'argument for it; a port is written at each host'
                             % (path, _excerpt(':' + argument)))
        return self._read_file(group, path), path, False

    def _find(self, group, name):
        """Return the path of the entry *name*, a file, and its status."""
        if not re.fullmatch(_GROUP_NAME, name):
            raise GroupError(group, 'a group is written @NAME or @NAME:ARG'
                             + ('; is it a file?  ' + _shorten(
                                 name if name[0] in './~' else './' + group)
                                if '/' in name else ''))
        for directory in self.directories:
            path = os.path.join(directory, name)
            try:
                status = os.stat(path)
            except OSError as error:
                if os.path.islink(path):
                    raise GroupError(group, '%s links to %s: %s' % (
                        path, os.readlink(path), error.strerror)) from None
                if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                    continue
                raise GroupError(group, _error_text(error)) from None
            if not stat.S_ISREG(status.st_mode):
                raise GroupError(group, '%s is no regular file' % path)
            return path, status
        raise GroupError(group, 'no such group in %s%s' % (
            ' or '.join(self.directories), self._near(name)))

    def _near(self, name):
        """Return a question for the groups that are called nearly *name*."""
        import difflib              # few runs need it
        near = []
        with contextlib.suppress(OSError):
            near = difflib.get_close_matches(name, self.names())
        return '; is it %s?' % ' or '.join('@' + name for name in near) * bool(
            near)

    def _read_file(self, group, path):
        lines = _file_lines(path)
        first = next(lines, b'')
        if first.startswith(b'#!'):
            raise GroupError(group, '%s begins with #!, but is not '
                             'executable: chmod +x %s'
                             % (path, shlex.quote(path)))
        return itertools.chain([first], lines)

    def _run(self, group, path, arguments):
        """Return what the program *path* prints for *group*, bytes."""
        if group not in self._printed:
            try:
                for checked in path, os.path.dirname(path), (
                        os.path.dirname(os.path.realpath(path))):
                    _check_private(group, checked)
                with self._watching() as check:
                    status, printed, said = _run_program(
                        [path] + arguments, GROUP_TIMEOUT, GROUP_OUTPUT,
                        check)
                loud = max(len(printed), len(said)) > GROUP_OUTPUT
            except (OSError, ValueError) as error:      # a NUL in ARG, say
                number = getattr(error, 'errno', None)
                raise GroupError(group, 'cannot run %s: %s%s' % (
                    path, os.strerror(number) if number else error,
                    '; a file of hosts must not be executable'
                    * (number == errno.ENOEXEC))) from None
            said = _shorten(said.decode('utf-8', 'surrogateescape')
                            .strip().partition('\n')[0].rstrip())
            if status != 0:
                problem = _group_problem(status, loud)
                raise GroupError(group, ': '.join(filter(None, [
                    '%s %s' % (path, problem), said])))
            if said:
                self._warn('%s: %s says: %s' % (group, path, said))
            self._printed[group] = printed
        return self._printed[group]


def plain_patterns(items):
    """Return *items*, patterns and Groups, as patterns alone, a list."""
    return [pattern for item in items for pattern in (
        item.patterns if isinstance(item, Group) else [item])]


class _HostReader:
    """Reads HOST arguments, which may name files and *groups*."""

    def __init__(self, expanding, groups, may_be_empty):
        """*may_be_empty*: the program of a group may print no host."""
        self._check = pattern_reader(expanding)
        self._groups = groups or HostGroups()
        self._may_be_empty = may_be_empty
        self._chain = []            # the groups that are being read
        self._known = {}            # group: the Group

    def read(self, argument):
        """Return the patterns and Groups that *argument* names, a list."""
        # Neither a bracket nor a group is a path.
        if '/' in argument and '/' in re.sub(
                r'\[[^][]*\]|(?:\A|,)@[^,]*', '', argument):
            # A shell leaves --exclude=~/old alone.
            return parse_host_lines(_file_lines(os.path.expanduser(argument)),
                                    argument, self._words)
        # A long pattern goes on in the next line of a terminal.
        return self._words(re.sub(r',\s+', ',', argument))

    def _words(self, text):
        """Return the patterns and Groups in *text*, with commas between."""
        has_group = text.startswith('@') or ',@' in text
        found = []
        for name in re.findall(_NAMES, text) if has_group else [text]:
            if name.startswith('@'):
                found.append(self._group(name))
            else:
                self._check(name)
                found.append(name)
        return found

    def _group(self, name):
        if name not in self._known:
            if name in self._chain or len(self._chain) == GROUP_DEPTH:
                raise GroupError(name, 'groups name one another without end: '
                                 + _shorten(' '.join(self._chain + [name])))
            lines, label, is_program = self._groups.open(name)
            self._chain.append(name)
            patterns = plain_patterns(parse_host_lines(lines, label,
                                                       self._words))
            self._chain.pop()
            if is_program and not (patterns or self._may_be_empty):
                raise GroupError(name, '%s is empty' % label)
            self._known[name] = Group(name, patterns)
        return self._known[name]


def parse_host_arguments(arguments, expanding=True, groups=None):
    """Return the patterns in *arguments*, the HOSTs of a command line.

    An argument with a '/' outside brackets is a file of hosts, @NAME is one
    of *groups*, a HostGroups (None: those of this user and of the system).
    Every pattern is checked: raise PatternError, HostFileError for files,
    GroupError for groups, one without hosts among them.
    """
    reader = _HostReader(expanding, groups, False)
    return plain_patterns(itertools.chain.from_iterable(map(
        reader.read, arguments)))


def parse_host_choice(arguments, expanding=True, groups=None):
    """Return the patterns and Groups in *arguments*, a list for the *exclude*
    or the *only* of a HostQueue.  They are as parse_host_arguments() takes
    them, but a group may be without hosts."""
    reader = _HostReader(expanding, groups, True)
    return list(itertools.chain.from_iterable(map(reader.read, arguments)))


# -- Results ----------------------------------------------------------------

# Why a host failed: one word for programs, a few for a person.
CAUSES = {
    'start': 'could not be started',        # ssh, or a command here
    'config': 'ssh has bad options',
    'unresolved': 'name unknown',
    'dns': 'name service failed',
    'refused': 'connection refused',
    'no-route': 'no route to the host',
    'no-answer': 'no answer',
    'dropped': 'connection dropped before login',
    'jump': 'not reached from the jump host',
    'not-ssh': 'not an ssh server',
    'no-common': 'no algorithm in common',
    'key-unknown': 'host key unknown',
    'key-changed': 'host key has CHANGED',
    'key-revoked': 'host key REVOKED',
    'denied': 'permission denied',
    'no-session': 'no session',
    'mux': 'shared connection failed',
    'lost': 'connection lost',
    'ssh': 'ssh failed',                    # and nothing tells why
    'status-lost': 'exit status lost',      # another part reaped the process
    'exit-255': 'exited with 255',          # the command itself
    'signal': 'ended by a signal',          # the command, or ssh itself
    'timeout': 'timed out',
    'stopped': 'stopped',
    'input': 'input lost',
    'output-lost': 'output lost',           # no memory, no disk
    # The hooks for passwords:
    'withheld': 'not sent the password',    # a host had refused it
    'password': 'refused the password',
    'askpass': 'could not ask for the password',
    'prompt': 'showed an unexpected prompt',
    'no-sudo': 'found no sudo',
    'sudo-expired': 'wanted a new password for sudo',
    'sudo-again': 'asked again for sudo',   # after a password that was right
    'sudo-password': 'refused the password for sudo',
    'sudo': 'did not run the command under sudo',
}

OUTCOMES = 'ok', 'error', 'ssh', 'killed'      # best to worst

# Field: its types, and its default, which records of version 1 rely on.
_FIELDS = {
    'host': (str,), 'exitcode': (int,), 'output': (str,), 'errors': (str,),
    'started': (float,), 'stopped': (float,), 'outcome': (str,),
    'reason': (str,), 'truncated': (bool,),
    'cause': (str, ''), 'ran': (str, 'unknown'),
    'login': ((float, type(None)), None), 'tries': (int, 1),
    'diagnostics': (str, '')}
_DEFAULTS = tuple(field[1] for field in _FIELDS.values() if len(field) > 1)


class Result(collections.namedtuple('Result', _FIELDS)):
    """What became of one host.

    host        as it was named, str
    exitcode    int; negative: the signal that ended ssh itself, or a
                command here
    output      its standard output, str: UTF-8 with surrogateescape, so
                .encode('utf-8', 'surrogateescape') gives back every byte
    errors      its standard error, likewise
    started     seconds since the epoch, float
    stopped     started plus the seconds that passed on a monotonic clock
    outcome     'ok': exit status 0; 'error': any other of the remote
                command; 'ssh': 255 from ssh, or it could not be started;
                'killed': timed out, stopped, or ended by a signal
    reason      a few words for a person, '' where the status says it all
    truncated   True if output or errors is not whole: it went beyond
                max_output and was cut, or could not be kept and is ''
    cause       '', or a word of CAUSES
    ran         whether the command has started: 'yes', 'no' or 'unknown'
    login       seconds from start to login; None: unknown
    tries       how often it was started, 1 or more
    diagnostics what ssh itself wrote, where it has a log of its own; str
    """

    __slots__ = ()

    @property
    def elapsed(self):
        """Seconds from start to stop, float."""
        return self.stopped - self.started

    @property
    def stderr(self):
        """What ssh and the host wrote to stderr: diagnostics and errors."""
        return self.diagnostics + self.errors


Result.__new__.__defaults__ = _DEFAULTS

STOPPED_BEFORE = 'stopped before COMMAND began'


def cause_text(result):
    """Return why *result* is no success, in a few words that are the same
    for all hosts of one cause."""
    if result.cause == 'signal':
        return ('ended by ' + _signal_name(-result.exitcode)
                if result.outcome == 'killed'
                else CAUSES['signal'] + ' on the host')
    if result.cause == 'start' and result.reason:
        return result.reason.partition(':')[0]      # with what it was
    if result.cause == 'timeout' and result.reason:
        return result.reason.partition(',')[0]      # with its seconds
    if result.cause == 'stopped' and result.ran == 'no':
        return STOPPED_BEFORE
    return CAUSES.get(result.cause) or 'exited with %d' % result.exitcode


# Causes that come before the login, whatever is known of the command.
_BEFORE_LOGIN = {
    'config', 'unresolved', 'dns', 'refused', 'no-route', 'no-answer',
    'dropped', 'jump', 'not-ssh', 'no-common', 'key-unknown', 'key-changed',
    'key-revoked', 'denied', 'withheld', 'password', 'askpass', 'prompt'}


def _is_kept_out(result):
    """Return whether ssh did not log in."""
    return result.outcome == 'ssh' and (
        result.cause in _BEFORE_LOGIN
        or result.ran == 'no' and result.cause in ('ssh', 'lost', 'mux'))


def _is_lost(result):
    """Return whether output is lost: memory or disk failed."""
    return result.cause == 'output-lost'


def _is_bad(result):
    """Return whether *result* is no success, or cannot be shown whole."""
    return result.outcome != 'ok' or _is_lost(result)


def _is_cut(result):
    """Return whether output is cut: max_output was exceeded."""
    return result.truncated and not _is_lost(result)


# A record is a head and a pickle.  The head holds the length and the checksum
# of the pickle, and a checksum of these two, without which a damaged length
# would make all the records that follow pass for one that was cut short.  An
# unpickler takes the head for a str and drops it, so that the record as a
# whole is a pickle, too.  (Version 1 had no heads.)
_HEAD_SIZE = 48


def _record_head(size, checksum):
    head = b'\x80\x04\x8c\x2bclassh 2 %016x %08x ' % (size, checksum)
    return head + b'%08x0' % binascii.crc32(head)


def _encode_record(result):
    """Return the head and the pickle of *result*, bytes."""
    import pickle                   # few runs need it
    # Plain values only: another program reads them without classh, and the
    # name of Result's module depends on how classh was started.
    record = pickle.dumps(tuple(result), protocol=4)
    return _record_head(len(record), binascii.crc32(record)), record


# What a pickle of a Result, or of its fields, is made of.  No opcode of these
# calls anything but Result, or takes memory that is not in the file.
_OPCODES = frozenset('''
    PROTO FRAME MARK TUPLE MEMOIZE BINPUT BINGET BININT BININT1 BININT2 LONG1
    BINFLOAT NONE NEWTRUE NEWFALSE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    GLOBAL STACK_GLOBAL NEWOBJ STOP'''.split())


def _make_unpickler():
    import pickle                   # few programs need it

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if name != 'Result' or module not in ('classh', '__main__'):
                raise RecordError('%s.%s' % (module, name))
            return Result

    return Unpickler


def _unpickle(file, unpickler):
    """Return the next value of *file*, only ever a plain one or a Result."""
    import pickletools
    start = file.tell()
    for opcode, argument, position in pickletools.genops(file):
        if opcode.name not in _OPCODES:
            raise RecordError('opcode %s' % opcode.name)
    file.seek(start)
    return unpickler(file).load()


def _is_result(record):
    return (isinstance(record, tuple)
            and len(record) in (len(_FIELDS), len(_FIELDS) - len(_DEFAULTS))
            and all(isinstance(value, field[0])
                    for value, field in zip(record, _FIELDS.values())))


def _next_record(file):
    """Return a file that holds the next record: *file* itself for a record
    of version 1, and None if there is no record or it is cut short.

    Raise ValueError if the record is damaged.
    """
    head = file.read(_HEAD_SIZE)
    if not (head[:3] == b'\x80\x04\x8c' or head[4:13] == b'classh 2 '):
        file.seek(-len(head), os.SEEK_CUR)
        return file if head else None
    if len(head) < _HEAD_SIZE:
        return None
    size, checksum = int(head[13:29], 16), int(head[30:38], 16)
    if head != _record_head(size, checksum):
        raise ValueError
    if size > os.fstat(file.fileno()).st_size - file.tell():
        return None
    octets = file.read(size)
    if binascii.crc32(octets) != checksum:
        raise ValueError
    return io.BytesIO(octets)


def _decode_record(path, source, unpickler):
    """Return the fields of a Result, None if they are cut short."""
    checked = isinstance(source, io.BytesIO)
    # Every pickle begins with this mark, cut short or not.
    is_pickle = not checked and source.peek(1)[:1] == b'\x80'
    try:
        record = _unpickle(source, unpickler)
    except OSError:
        raise
    except Exception as error:      # a broken file may cause any of them
        if isinstance(error, MemoryError) and checked:
            raise
        if is_pickle and not source.peek(1) and not isinstance(
                error, (RecordError, MemoryError)):
            return None
        # The message may quote the file.
        raise RecordError('%s: not a result: %s'
                          % (path, _excerpt(str(error)))) from None
    if not _is_result(record):
        raise RecordError('%s: not a result' % path)
    return record


def _load_pickles(path, file):
    """Yield the Results that are pickled in *file*, whose name is *path*."""
    unpickler = _make_unpickler()
    for number in itertools.count(1):
        try:
            source = _next_record(file)
        except ValueError:
            raise RecordError('%s: record %d is damaged'
                              % (path, number)) from None
        record = source and _decode_record(path, source, unpickler)
        if record is None:
            return
        yield Result(*record)


# Records for other programs are JSON, an object a line.  Their order is
# that of the keys here; a field of Result has the key of its name, but for
# these.
_JSON_FIELDS = ('host', 'outcome', 'exitcode', 'cause', 'reason', 'ran',
                'started', 'login', 'elapsed', 'tries', 'truncated')
_JSON_KEYS = {'output': 'stdout', 'errors': 'stderr'}


def _octets(text):
    """Return the bytes that *text* stands for."""
    try:
        return text.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError:      # a surrogate that stands for no byte
        return text.encode('utf-8', 'surrogatepass')


def utf8_text(text):
    """Return *text* with U+FFFD for each byte that is no UTF-8; it holds no
    surrogate, which is what many readers of JSON refuse."""
    octets = _octets(text)
    return re.sub('[\ud800-\udfff]', '\ufffd',
                  octets.decode('utf-8', 'surrogateescape'))


@functools.lru_cache(maxsize=None)
def _json_encoder():
    import json                     # few runs need it
    return json.JSONEncoder(separators=(',', ':')).encode


def json_line(record):
    """Return the line of *record*, a dict, as str.

    Where a str in it is no UTF-8, the bytes stand beside it, in base64,
    under the key of that str with _b64 at its end.  (A str in a list or dict
    of the record has no key of its own: see utf8_text().)
    """
    fields = {}
    for key, value in record.items():
        fields[key] = value
        if (isinstance(value, str)      # and holds more than ASCII
                and len(value.encode('ascii', 'ignore')) < len(value)):
            fields[key] = utf8_text(value)
            octets = _octets(value)
            if octets != fields[key].encode():
                fields[key + '_b64'] = binascii.b2a_base64(
                    octets, newline=False).decode()
    # ASCII alone, and no DEL: it is safe on a terminal, and in any locale.
    return _json_encoder()(fields).replace('\x7f', '\\u007f') + '\n'


def _plain_number(value):
    """Return *value* as an int where it is a whole number."""
    return int(value) if value == int(value) else value


def result_record(result):
    """Return the record of *result*, a dict for json_line().  Times are in
    seconds, to the millisecond."""
    record = {'event': 'result'}
    for key in _JSON_FIELDS:
        value = getattr(result, key)
        record[key] = round(value, 3) if isinstance(value, float) else value
    for field, key in _JSON_KEYS.items():
        record[key] = getattr(result, field)
    if result.diagnostics:
        record['diagnostics'] = result.diagnostics
    return record


def run_record(command, fanout, timeout, **more):
    """Return the record with which a run begins, a dict for json_line();
    *more* holds values of other keys."""
    return {'classh': 1, 'event': 'run', 'command': command, 'exec': False,
            'hosts': None, 'fanout': fanout,
            'timeout': _plain_number(max(0, timeout)), 'user': None,
            'options': [], 'by': _user_name(os.getuid(), '%d'),
            'on': os.uname().nodename, 'time': round(time.time(), 3), **more}


def read_records(lines):
    """Yield the records in *lines*, str or bytes, as --json wrote them, each
    a dict.

    The key 'event' of each is 'run', 'start', 'result' or 'end'; others may
    come, and other keys: ignore what you do not know.  A record that a crash
    cut short at the very end is left out.  Raise RecordError at a line that
    is no record.
    """
    import json                     # few programs need it
    lines = iter(lines)
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            line = line.decode('utf-8', 'surrogateescape')
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if (line.startswith('{') and not line.endswith('\n')
                    and next(lines, None) is None):
                return              # cut short
            record = None
        if not isinstance(record, dict) or not isinstance(
                record.get('event'), str):
            raise RecordError('line %d is no record: %s'
                              % (number, _excerpt(line)))
        yield record


def _decode_base64(text):
    """Return the bytes of *text*; raise ValueError or TypeError."""
    import base64                   # few programs need it
    return base64.b64decode(text, validate=True)


def _json_result(record):
    """Return the Result that *record*, a dict, holds; raise ValueError,
    TypeError or LookupError if there is none."""
    values = {}
    for field in _FIELDS:
        key = _JSON_KEYS.get(field, field)
        if key + '_b64' in record:
            values[field] = _decode_base64(record[key + '_b64']).decode(
                'utf-8', 'surrogateescape')
        elif key in record:
            values[field] = record[key]
    values.setdefault('output', '')
    values.setdefault('errors', '')
    values['stopped'] = values['started'] + record['elapsed']
    for field in 'started', 'stopped', 'login':
        # Another program may have written 1 where there was 1.0.
        if type(values.get(field)) is int:
            values[field] = float(values[field])
    result = Result(**values)
    if not _is_result(tuple(result)):
        raise ValueError
    return result


def _load_json(path, file):
    """Yield the Results among the records in *file*, whose name is *path*."""
    try:
        for record in read_records(file):
            if record['event'] == 'result':
                try:
                    result = _json_result(record)
                except (ValueError, TypeError, LookupError, OverflowError):
                    raise RecordError(_excerpt(str(
                        record.get('host')))) from None
                yield result
    except RecordError as error:
        raise RecordError('%s: not a result: %s' % (path, error)) from None


def load(path):
    """Yield the Results in the file *path*, as --pickle or --json wrote them.

    A record that a crash cut short at the very end is left out.  Raise
    RecordError where there is anything but results, or a record is damaged,
    and OSError where the file cannot be read.  No code is run, whatever the
    file holds.
    """
    with open(path, 'rb') as file:
        mark = file.peek(1)[:1]
        if b' ' <= mark <= b'~' and mark != b'{':       # text
            raise RecordError('%s: not a result: neither a file of --json nor '
                              'of --pickle' % path)
        reader = _load_json if mark == b'{' else _load_pickles
        yield from reader(path, file)


def _write_all(fd, data):
    """Write all of *data* to the descriptor *fd*."""
    data = memoryview(data)
    while data:
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:     # set by a process that shares it
            ready = select.poll()
            ready.register(fd, select.POLLOUT)
            ready.poll()


class _KeptResults:
    """Listens to a run and keeps its Results, by host; their output is in a
    temporary file.

    .heads maps each host, in order of finishing, to its Result without
    output.
    """

    def __init__(self):
        self.heads = {}
        self._stored = {}           # host: offset in the file, or its Result
        self._file = None
        self._end = 0

    def finished(self, result):
        self.heads[result.host] = result._replace(output='', errors='')
        try:
            self._stored[result.host] = self._store(result)
        except OSError:
            self._stored[result.host] = result      # in memory: no space

    def _store(self, result):
        import pickle
        if self._file is None:
            import tempfile
            self._file = tempfile.TemporaryFile(buffering=0)
        record = pickle.dumps(tuple(result), pickle.HIGHEST_PROTOCOL)
        offset = self._file.seek(self._end)
        _write_all(self._file.fileno(), record)
        self._end += len(record)
        return offset

    def __getitem__(self, host):
        """Return the whole Result of *host*.  Raise OSError."""
        import pickle
        stored = self._stored[host]
        if isinstance(stored, Result):
            return stored
        with open(self._file.fileno(), 'rb', closefd=False) as file:
            file.seek(stored)
            try:
                return Result(*pickle.load(file))
            except (EOFError, pickle.UnpicklingError):
                # Another program has cut the file short.
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from None

    def close(self):
        if self._file is not None:
            self._file.close()


# -- Journals ---------------------------------------------------------------

# A run that was killed while it started a process leaves its lock to that
# process, until this one is ssh.
LOCK_TIMEOUT = 1.0      # seconds that a file may be locked by another run
LOCK_INTERVAL = 0.02    # seconds between two tries


def _close_target(fd, path, complain):
    """Close *fd*, which is open for *path*; *complain* where only now there
    proves to be no room, as on NFS, or where the file was removed."""
    status = os.fstat(fd)
    try:
        os.close(fd)
    except OSError as error:
        complain('%s: %s' % (path, error.strerror))
        return
    if status.st_nlink or not stat.S_ISREG(status.st_mode):
        return                      # it may have another name by now
    with contextlib.suppress(OSError):
        # A file that is named as /dev/fd/N may have been removed before.
        if os.path.samestat(status, os.stat(path)):
            return
    complain('%s: removed, with all that went there' % path)


def _open_file(path, flags, mode=0o666):
    """Open *path* for writing; raise TargetError if it cannot be opened."""
    try:
        # O_NONBLOCK, because a FIFO without a reader would block us.
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | flags, mode)
    except OSError as error:
        problem = error.strerror
        # A device gives ENXIO, too.
        kind = os.stat(path).st_mode if error.errno == errno.ENXIO else 0
        if stat.S_ISFIFO(kind):
            problem = 'the FIFO has no reader'
        elif stat.S_ISSOCK(kind):
            problem = "it is a socket; to write to stderr: '|cat >&2'"
        raise TargetError(path, problem) from None


def _open_existing(path, flags):
    """Open *path* for writing; return None if it does not exist yet.

    Raise TargetError if it can be neither opened nor made.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path) or '.'
        if not os.path.isdir(parent):
            raise TargetError(path, 'there is no ' + parent) from None
        if not os.access(parent, os.W_OK | os.X_OK):
            raise TargetError(path, 'may not write to ' + parent) from None
        return None
    except OSError as error:
        raise TargetError(path, error.strerror) from None
    return _open_file(path, flags)


class _RecordFile:
    """A file of records, each of them whole, for one run at a time.

    The constructor checks *path*, open() makes the file; both may raise
    TargetError.  open() empties the file, except for what *keep* says: a
    function of the file, open for reading, that returns where the last whole
    record ends.  *advice* is what to do if another run writes to the file.
    """

    def __init__(self, path, keep=None, advice='name another file'):
        self._path = path
        self._advice = advice
        self._end = 0               # of the last whole record
        self._fd = None
        fd = _open_existing(path, 0)
        if fd is not None:
            self._claim(fd, keep)

    def open(self, mode=0o666):
        if self._fd is None:
            self._claim(_open_file(self._path, os.O_CREAT, mode))
        self._truncate_partial()

    def _claim(self, fd, keep=None):
        """Lock the file *fd*, so that no other run writes to it, and look for
        the end of its records.  Close it where TargetError is raised."""
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISFIFO(mode):     # a slow reader would block the run
                raise TargetError(self._path, 'it is a pipe')
            if stat.S_ISREG(mode):
                self._lock(fd)
                if keep:
                    with open(self._path, 'rb') as file:
                        self._end = keep(file)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, (OSError, RecordError)):
                raise TargetError(self._path, _error_text(error)) from None
            raise
        self._fd = fd

    def _lock(self, fd):
        end = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TargetError(
                        self._path, 'another run writes to it; '
                        + self._advice) from None
            except OSError:
                return              # not every file system has locks
            time.sleep(LOCK_INTERVAL)

    def write(self, *parts):
        """Write the record that consists of *parts*, bytes.  Where OSError
        is raised, nothing of it is in the file."""
        try:
            for part in parts:
                _write_all(self._fd, part)
        except OSError:
            self._truncate_partial()
            raise
        self._end += sum(map(len, parts))

    def _truncate_partial(self):
        """Remove what is not a whole record of this run."""
        with contextlib.suppress(OSError):      # not a regular file
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)

    def close(self, complain):
        if self._fd is not None:
            fd, self._fd = self._fd, None
            _close_target(fd, self._path, complain)


def _end_of_lines(file):
    """Return where the last whole line of *file* ends."""
    return sum(len(line) for line in file if line.endswith(b'\n'))


def _end_of_pickles(file):
    """Return where the last whole record of *file*, of pickles, ends; raise
    RecordError if there is anything else."""
    end = 0
    for _ in _load_pickles(file.name, file):
        end = file.tell()
    return end


def _as_octets(text):
    """Return the bytes that *text* was on the command line: they are the
    same in each locale."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:      # no program can have it as an argument
        return _octets(text)


def as_recorded(text):
    """Return *text*, of the command line, as a record has it."""
    return _as_octets(text).decode('utf-8', 'surrogateescape')


def _recorded_octets(record, key):
    """Return the bytes that *record* has under *key*.  Raise ValueError,
    TypeError or LookupError if there are none."""
    if key + '_b64' in record:
        return _decode_base64(record[key + '_b64'])
    if not isinstance(record[key], str):
        raise TypeError
    return record[key].encode()


# How the last try on a host has ended.  Its state is 'ok', 'failed',
# 'unreached': the command has certainly not started; or 'lost': how the
# command has ended is unknown, or whether it has started.
_Ending = collections.namedtuple('_Ending', 'state outcome exitcode')
_BROKEN_OFF = _Ending('lost', 'killed', 255)    # a start, and no result
_STATES = {'yes': 'failed', 'no': 'unreached', 'unknown': 'lost'}   # by ran
AGAIN = 'failed', 'lost', 'ok'      # states that run again only if one says so


def _parse_ending(record):
    """Return the _Ending that *record*, a result, tells.  Raise ValueError
    or LookupError if it tells none."""
    outcome, exitcode = record['outcome'], record['exitcode']
    if outcome not in OUTCOMES or type(exitcode) is not int:
        raise ValueError
    state = _STATES[record['ran']]
    return _Ending('ok' if outcome == 'ok' else state, outcome, exitcode)


class Journal(_Closing):
    """A file that knows of each host whether the command has run there,
    however the run ends; a later run goes on where this one ends.

    path       the file
    resume     False: the file must be new, or empty.  True: it holds a
               journal, to which this run is added
    complain   called with a line of text when a record cannot be written,
               once; the run goes on

    SSHJobMan writes to it: a record before ssh is started for a host, and
    one when that has ended.  So, if the run was killed in between, it is
    known which commands may have run.  (It survives the death of this
    process, not of the machine.)

    runs       the records with which the runs in it have begun, dicts
    cut_short  True: the last record was not whole, and is dropped
    missing    hosts of which a record could not be written, a list

    Raise TargetError if the file cannot be used.  Leaving a with block closes
    it.
    """

    def __init__(self, path, resume=False, complain=None):
        self.path = path
        self.runs = []
        self.cut_short = False
        self.head = None            # to be written before the first record
        self.complain = complain or (lambda text: None)
        self._endings = {}          # bytes of a host: its _Ending
        self._missing = {}          # hosts, in order
        self._has_complained = False
        try:
            status = os.stat(path)
        except OSError as error:
            if resume or error.errno != errno.ENOENT:
                raise TargetError(path, error.strerror) from None
        else:
            self._check_file(status)
        self._file = (
            _RecordFile(path, self._read, 'wait for its end') if resume
            else _RecordFile(path, self._check_empty))

    def _check_file(self, status):
        problem = None
        if not stat.S_ISREG(status.st_mode):
            problem = 'a journal is a regular file'
        # Its options become ours, and with them the programs that they name:
        # those of a new one as soon as it is resumed.
        elif status.st_uid not in (0, os.geteuid()):
            problem = 'it belongs to somebody else'
        elif status.st_mode & stat.S_IWOTH:
            problem = 'anybody may write to it'
        if problem:
            raise TargetError(self.path, problem)

    def _check_empty(self, file):
        beginning = file.readline()
        # Records of --json have no hosts to go on with.
        if beginning and not re.match(
                rb'\{"classh":(.*"patterns":|[^\n]*\Z)', beginning):
            raise RecordError('it is not empty; name another file')
        if beginning.endswith(b'\n'):
            raise RecordError(
                'it holds a run; go on with --resume %s, or name another file'
                % shlex.quote(self.path))
        return 0                    # empty, or not one record is whole

    def _read(self, file):
        """Take in all records of *file*; return where the last one ends."""
        end = _end_of_lines(file)
        self.cut_short = end < file.tell()
        file.seek(0)
        number = 0
        try:
            for number, record in enumerate(read_records(itertools.takewhile(
                    lambda line: line.endswith(b'\n'), file)), 1):
                self._take(record)
        except (ValueError, TypeError, LookupError) as error:
            if not self.runs:
                raise RecordError('it is no journal') from None
            if isinstance(error, RecordError):
                raise
            raise RecordError('line %d is no record of a journal'
                              % number) from None
        if not self.runs:
            raise RecordError('it holds no run; begin one with --journal')
        return end

    def _take(self, record):
        event = record['event']
        if event == 'run':
            if record['classh'] > 1:
                raise TargetError(self.path, 'a newer classh has written it')
            run = {**record, **{
                key: os.fsdecode(_recorded_octets(record, key))
                for key in ('command', 'patterns', 'words')}}
            run['words'] = shlex.split(run['words'])
            self.runs.append(run)
        elif not self.runs:
            raise ValueError
        elif event == 'start':
            self._endings[_recorded_octets(record, 'host')] = _BROKEN_OFF
        elif event == 'result':
            ending = _parse_ending(record)
            self._endings[_recorded_octets(record, 'host')] = ending

    @property
    def tried(self):
        """How many hosts were tried before this run."""
        return len(self._endings)

    def ending(self, host):
        """Return how the last try on *host* before this run has ended, with
        .state, .outcome and .exitcode; None: it was not tried."""
        return self._endings.get(_as_octets(host))

    def is_done(self, host, again=()):
        """Return whether *host* is not to be run: it was reached before, or
        may have been.  *again* names states to run all the same."""
        ending = self.ending(host)
        return ending is not None and ending.state not in ('unreached',
                                                           *again)

    @property
    def missing(self):
        return list(self._missing)

    @property
    def command(self):
        """The command of the first run."""
        return self.runs[0]['command']

    @property
    def words(self):
        """The options of the last run, a list of str."""
        return self.runs[-1]['words']

    @property
    def patterns(self):
        """The patterns that all runs were given, each once."""
        return list(dict.fromkeys(itertools.chain.from_iterable(
            run['patterns'].split() for run in self.runs)))

    @property
    def unlisted(self):
        """Whether a run had other hosts than those of .patterns."""
        return any(run.get('unlisted', True) for run in self.runs)

    def check_command(self, command):
        """Raise TargetError if the journal is that of another command."""
        if self.runs and command != self.command:
            raise TargetError(self.path, 'it is the journal of another '
                              'command, %s' % _excerpt(self.command))

    # What SSHJobMan calls

    def open(self, command, fanout, timeout):
        """A run of *command* is about to begin.  Raise TargetError."""
        self.check_command(command)
        self._file.open(0o664)      # or, by umask, we would refuse it later
        self.head = dict(run_record(as_recorded(command), fanout, timeout),
                         patterns='', words='', unlisted=True)

    def started(self, host, tries):
        """ssh is about to be started for *host*; *tries* counts this one."""
        self._write({'event': 'start', 'host': as_recorded(host),
                     'try': tries, 'time': round(time.time(), 3)}, host)

    def finished(self, result):
        """A try on a host has ended in *result*."""
        record = result_record(result)
        for key in _JSON_KEYS.values():
            del record[key]
        record['host'] = as_recorded(result.host)
        self._write(record, result.host)

    def ended(self, record):
        """Write *record*, the last of a run; its owner calls this."""
        if self.head is None:
            self._write(record)

    def _write(self, record, host=None):
        """Write *record*, which tells of *host*, if any."""
        # The first record takes the head with it: a run that starts nothing
        # leaves nothing.
        lines = json_line(self.head) if self.head else ''
        try:
            self._file.write((lines + json_line(record)).encode())
        except OSError as error:
            if host is not None:
                self._missing[host] = True
            if not self._has_complained:
                self._has_complained = True
                self.complain('%s: %s; the run goes on'
                              % (self.path, error.strerror))
        else:
            self.head = None
            self._missing.pop(host, None)

    def close(self):
        self._file.close(self.complain)


# -- Transports -------------------------------------------------------------

# Where ssh has no terminal, it asks if one of these is set.
_ASKPASS_TRIGGERS = {'DISPLAY', 'WAYLAND_DISPLAY', 'SSH_ASKPASS_REQUIRE'}


def host_parts(host):
    """Return the user, the name and the port of *host*, each a str; None
    where it says none.

    >>> host_parts('bob@web1:2222')
    ('bob', 'web1', '2222')
    >>> host_parts('[2001:db8::7]:22')
    (None, '2001:db8::7', '22')
    """
    if _is_plain_name(host):
        return None, host, None
    user, at, name = host.rpartition('@')
    found = re.fullmatch(_HOST, host)
    return (user if at else None,
            found and (found.group('v6') or found.group('name')) or name,
            found and found.group('port'))


def ssh_argv(host, command, *, ssh=('ssh',), user=None,
             connect_timeout=CONNECT_TIMEOUT, options=(), may_prompt=False,
             log=None, log_level='DEBUG1'):
    """Return the argument list that runs *command* on *host*.

    *host* is [user@]name[:port], [user@][v6]:port or a v6 address; its
    user goes before *user*.  *ssh* is a list, *options* an iterable of
    'KEY=VALUE' for ssh's -o; *connect_timeout* is in whole seconds, and 0
    leaves it to ssh_config.  If *may_prompt*, ssh may ask for a password,
    once.  *log* is the file that ssh logs to, by *log_level*, or None.

    >>> ssh_argv('web1:2222', 'date', options=['Compression=yes'])
    ... # doctest: +NORMALIZE_WHITESPACE
    ['ssh', '-p', '2222', '-o', 'Compression=yes', '-o', 'BatchMode=yes',
     '-o', 'ConnectTimeout=10', '-o', 'ForwardX11=no', '-o',
     'ForwardAgent=no', '--', 'web1', 'date']
    """
    # ssh takes the first value that it gets for a setting (ssh_config(5)):
    # the port and the user of one host go before what is said of all hosts,
    # and that before our defaults.  An option as -a would win anywhere.
    argv, own = list(ssh), []
    own_user, host, port = host_parts(host)
    if port:
        own += ['-p', port]
    if own_user is not None:
        own += ['-l', own_user]
        host = '%s@%s' % (own_user, host)
    # What *ssh* says is of all hosts, too.  Another program, which may run
    # ssh, may not take them among its own arguments.
    begin = 1 if argv[0] == 'ssh' or argv[0].endswith('/ssh') else len(argv)
    argv[begin:begin] = own
    for option in options:
        argv += ['-o', option]
    if user is not None and own_user is None:
        argv += ['-l', user]
    if may_prompt:
        argv += ['-o', 'BatchMode=no', '-o', 'NumberOfPasswordPrompts=1']
    else:
        argv += ['-o', 'BatchMode=yes']
    if connect_timeout >= 1:
        argv += ['-o', 'ConnectTimeout=%d' % connect_timeout]
    argv += ['-o', 'ForwardX11=no', '-o', 'ForwardAgent=no']
    if log is not None:
        argv += ['-E', log, '-o', 'LogLevel=' + log_level]
    return argv + ['--', host, command]


def find_program(name):
    """Return the path of the program that *name* would run, or None."""
    paths = [os.path.join(place, name) for place in (
        [''] if '/' in name else os.get_exec_path())]
    return next((path for path in paths
                 if os.path.isfile(path) and os.access(path, os.X_OK)), None)


class Transport:
    """A way to run a command for a host; here, a program of this machine.

    A subclass has .program, the program to run, .name, what messages call
    it, and argv(host, command, log), its arguments.
    """

    name = 'the program'

    def attach(self, manager):
        """*manager*, which is being built, will use this transport."""

    def open(self, host):
        """Get ready to run on *host* and on others."""

    def close(self):
        """Release what attach() and open() hold."""

    def room(self):
        """Return how many more jobs may start now."""
        return sys.maxsize

    def environment(self, host):
        """Return the environment of the program, a dict; None: ours."""

    def open_log(self):
        """Return a _SshLog for the next job, or None."""

    def explain(self, job):
        """Return the outcome, cause, ran and reason of *job*, as in Result;
        here, of one whose exit status is the command's."""
        if job.cause:                   # we ended it
            return 'killed', job.cause, 'unknown', job.reason
        if job.exitcode is None:
            return 'ssh', 'status-lost', 'unknown', CAUSES['status-lost']
        if job.exitcode < 0:
            return ('killed', 'signal', 'unknown',
                    'ended by ' + _signal_name(-job.exitcode))
        return 'error' if job.exitcode else 'ok', '', 'yes', ''

    def diagnostics(self, job, outcome, command):
        """Return what the program itself, not the host, has to say."""
        return ''

    def may_retry(self, result):
        """Return whether the host of *result* may be tried again: its
        command has certainly not started, and another try may do better."""
        return False


# ssh's messages, as OpenSSH 7.4 to 10.5 have them, and their causes; the first
# that is found counts, so that what is certain stands before what is not.
_SSH_MESSAGES = (
    ('config', r"Bad configuration option|Bad owner or permissions on |"
               r"^Couldn't open logfile|terminating, \d+ bad config|"
               # Of what it does not support it only warns.
               r"^(command-line|/\S*[^\s:]) line \d+: (?!Unsupported option)|"
               r"^Bad port '|^\w+ directive not supported as a command-line"),
    ('key-revoked', r'REVOKED HOST KEY DETECTED'),
    ('key-changed', r'REMOTE HOST IDENTIFICATION HAS CHANGED|'
                    r'^Host key for .* has changed and you have requested'),
    ('key-unknown', r'^Host key verification failed|'
                    r'^No .*host key is known for '),
    ('denied', r'Permission denied \([^()\n]*\)|'
               r'Too many authentication failures|'
               r'^Received disconnect from .*:2: '),
    ('dns', r'^ssh: Could not resolve hostname .*: Temporary failure'),
    ('unresolved', r'^ssh: Could not resolve hostname '),
    ('refused', r'^ssh: connect to host .*: Connection refused'),
    ('no-route', r'^ssh: connect to host .*: (No route to host|'
                 r'Network is unreachable|Host is down)'),
    ('no-answer', r'^ssh: connect to host .*: (Connection|Operation) timed '
                  r'out|^Connection timed out during banner exchange|'
                  r'^Connection to .* port \d+ timed out'),
    ('not-ssh', r'^banner exchange: .*: invalid format|'
                r'Bad remote protocol version identification|'
                r'Protocol major versions differ|banner line \d+: HTTP/'),
    ('no-common', r'^Unable to negotiate with '),
    # Behind other words it is what our ssh got from that of the jump host.
    ('jump', r'^(debug1: (kex|ssh)_exchange_identification: (banner line '
             r'\d+: )?)?[Ss]tdio forwarding (request )?failed'),
    ('no-session', r'^channel \d+: open failed: |'
                   r'^(exec|shell) request failed on channel '),
    ('mux', r'^mux_client_\w+: |^Control master terminated unexpectedly'),
    ('dropped', r'banner line \d+: (Exceeded MaxStartups|Not allowed at this '
                r'time)|^(kex|ssh)_exchange_identification: (read: )?'
                r'Connection (closed by remote host|reset by peer)'),
    ('lost', r'^Connection to .* closed by remote host|'
             r'^Read from remote host .*: |^(client_loop: send disconnect|'
             r'packet_write_wait): |^Timeout, server .* not responding|'
             r'^Connection reset by |^Received disconnect from |'
             r'^ssh_dispatch_run_fatal: |Corrupted MAC on input'),
    # Without the words of the key exchange since 9.5.
    ('dropped', r'^Connection closed by .* port \d+'))
# What ssh says because we ended it, or the ssh of its jump host.
_ENDED_BY_US = (r'(?m)^(Killed by signal 15\.|client_loop: send '
                r'disconnect: Broken pipe)\n')
# What the ssh of a jump host says where it cannot reach the host.
_JUMP_FAILED = (r'(?im)^(channel \d+: open failed: |'
                r'stdio forwarding (request )?failed)')
# Causes after which a host may be tried again, if nothing has started.
_MAY_RETRY = {'dns', 'refused', 'no-route', 'no-answer', 'dropped', 'jump',
              'no-session', 'mux'}

LOG_KEPT = 1 << 15      # bytes kept of the beginning and of the end of a log
HEAD_SIZE = 1 << 12     # bytes of stderr in which ssh's messages are sought
PROBE_TIMEOUT = 5.0     # seconds to ask an ssh what it can do
PROBE_SIZE = 1 << 17    # bytes of its answer


# How far an ssh has come, by its log.
_LOST, _UNOPENED, _CONNECTING, _LOGGED_IN, _SESSION = range(-1, 4)


def _as_logged(command):
    """Return *command* as ssh logs it, by vis(3), but without any CR."""
    return ''.join(
        '\\\\' if octet == 0x5c else chr(octet)
        if 0x20 <= octet < 0x7f or octet in b'\t\n\b\a'
        else '\\%03o' % octet
        for octet in command.replace('\r', '').encode('utf-8',
                                                     'surrogateescape'))


class _SshLog:
    """What one ssh writes to its log, a FIFO; in a job it is a pipe like
    those of stdout and stderr.

    .stage is _UNOPENED until ssh is through with its options, _SESSION when it
    has sent the command, and _LOST where the log cannot tell.  .on_login() is
    called once ssh is logged in.
    """

    # Lines begin with these.  (To search for an expression takes twenty times
    # as long, for each host.)
    _LOGIN = b'\nAuthenticated to '
    # The session over a connection that is shared is open.
    _SHARED = b'\ndebug1: mux_client_request_session: master session id'
    # From here on the command may have started: without, and with, a shared
    # connection.
    _SENT = b'\ndebug1: Sending command: '
    _ASKED = b'\ndebug1: mux_client_request_session: '
    _SHARING = b'\ndebug1: auto-mux: Trying existing master'
    # ... unless it is refused.  ssh ends its lines with CR LF, but not those
    # of a command that it logs.
    _REFUSED = rb'(?m)^(exec|shell) request failed on channel \d+\r\n'
    # A line for a person.  None is a line on a connection of ours that ssh
    # cannot share, so that it makes one of its own: another run makes that
    # one, or has ten sessions there.
    _WORDS = (r'(?m)^(?!debug\d: |Authenticated to |Transferred: |'
              r'Bytes per second: |ControlSocket \S*/classh\S* already exists|'
              r'mux_client_request_session: session request failed: '
              r'Session open refused)[^\r\n]+')
    # The beginning of what may be one: most logs have none.  (To look at each
    # line takes six times as long.)
    _MAYBE_WORDS = (rb'\n(?!debug1: |Authenticated to |Transferred: |'
                    rb'Bytes per second: |[\r\n]|\Z)')

    def __init__(self, path):
        os.mkfifo(path, 0o600)
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            os.unlink(path)
            raise
        self.path = path
        self.stage = _UNOPENED
        self.on_login = None
        self._kept = bytearray(b'\n')   # before each line

    def add(self, chunk):
        if self.stage == _LOST:
            return
        if self.stage == _UNOPENED:
            self.stage = _CONNECTING
            self.remove()
        kept = self._kept
        # A line may come in pieces.
        search_from = max(0, len(kept) - 80)
        kept += chunk
        if self.stage == _CONNECTING and (
                kept.find(self._LOGIN, search_from) >= 0
                or kept.find(self._SHARED, search_from) >= 0):
            self.stage = _LOGGED_IN
            if self.on_login:
                self.on_login()
        if self.stage == _LOGGED_IN and (
                kept.find(self._SENT, search_from) >= 0
                or kept.find(self._ASKED, search_from) >= 0):
            self.stage = _SESSION
        if len(kept) > 3 * LOG_KEPT:
            kept[LOG_KEPT:-LOG_KEPT] = b'\n'

    def lose(self, error):
        """A part of the log cannot be read: it tells nothing for certain."""
        self.stage = _LOST
        self.remove()

    def remove(self):
        """Remove the FIFO: ssh has it open, or will not open it any more."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    @property
    def is_untouched(self):
        """Whether no ssh has opened it: ssh does when it is through with its
        options, and before it connects."""
        return self.stage == _UNOPENED and os.path.lexists(self.path)

    @property
    def is_whole(self):
        """Whether all of it came to us.  A second ssh, as of a script that
        tries twice, finds no FIFO and makes a file of its own."""
        return self.stage >= _CONNECTING and not os.path.lexists(self.path)

    @property
    def refused(self):
        """Whether the server refused to run the command."""
        return bool(re.search(self._REFUSED, self._kept))

    @property
    def has_asked(self):
        """Whether ssh was about to ask for a password or a passphrase."""
        return b'\ndebug1: read_passphrase: ' in self._kept

    @property
    def awaits_master(self):
        """Whether ssh waits for an answer of the ssh whose connection it is
        to share, or did so when it was ended."""
        _, found, rest = self._kept.rpartition(self._SHARING)
        return bool(found) and not (self.stage >= _LOGGED_IN or re.search(
            rb'^debug1: (Connecting to|Executing proxy command)', rest,
            re.MULTILINE))

    @property
    def gave_up_master(self):
        """Whether ssh had no answer of that ssh within its ConnectTimeout,
        and then connected by itself, as from OpenSSH 10 on."""
        _, found, rest = self._kept.rpartition(self._SHARING)
        return bool(found) and b'master hello exchange failed' in rest

    def text(self):
        """Return what is kept, as str with newlines alone."""
        return self._kept[1:].decode(
            'utf-8', 'backslashreplace').replace('\r', '')

    def words(self, command):
        """Return the lines that are for a person; *command*, which may be
        in the log, has none of them."""
        if not re.search(self._MAYBE_WORDS, self._kept):
            return ''
        before, _, rest = self.text().partition('debug1: Sending command: ')
        # It is cut at some 1,000 bytes: the line after it is the first.
        sent = os.path.commonprefix([rest, _as_logged(command)])
        _, _, rest = rest[len(sent):].partition('\n')
        return ''.join(line + '\n' for line in re.findall(
            self._WORDS, before + rest))


def _message_cause(text):
    """Return the cause that ssh's messages in *text* tell, or None."""
    return next((cause for cause, expression in _SSH_MESSAGES
                 if re.search(expression, text, re.MULTILINE)), None)


def _parse_settings(text):
    """Return, from what an ssh -G prints, its LogLevel and whether it shares
    a connection; None if it is no OpenSSH that takes -E and -G."""
    level = re.search(r'^loglevel (\w+)', text, re.MULTILINE)
    if level:
        return level.group(1), bool(re.search(r'^controlpath ', text,
                                              re.MULTILINE))
    # With bad options, which no job will get through either.
    return ('INFO', False) if _message_cause(text) == 'config' else None


@functools.lru_cache(maxsize=64)
def _probe_ssh(argv, host):
    """Return the _parse_settings() of *argv*, without the command, for
    *host*.

    Raise OSError where that cannot be told now, which is not remembered;
    TimeoutError: *argv* had to be ended before it told them.
    """
    log = '/dev/stdout' if os.path.exists('/dev/stdout') else os.devnull
    try:
        status, settings, said = _run_program(
            [*argv, '-E', log, '-G', '--', host], PROBE_TIMEOUT, PROBE_SIZE)
    except ValueError:              # a NUL in *argv*
        return None
    found = _parse_settings((settings + said).decode('utf-8', 'replace'))
    # What is no OpenSSH may take this for a host and print for ever.
    if status is None and found is None:
        raise TimeoutError
    return found


def _make_directory(fits=lambda place: True, places=None):
    """Make a directory that only we can use, in the first of *places*, paths
    or None, for which fits(place) is true; return its path, or None where
    there is no room for one.

    Without *places* it is for FIFOs or small files: the user's own choice
    comes first, then memory, where a FIFO is made several times as fast as on
    a disk.
    """
    for place in places or (
            os.environ.get('TMPDIR'), os.environ.get('XDG_RUNTIME_DIR'),
            '/dev/shm', '/tmp'):
        path = '%s/classh-%s' % (place, os.urandom(8).hex())
        if place and os.path.isabs(place):
            with contextlib.suppress(OSError):
                if fits(place):
                    os.mkdir(path, 0o700)
                    return path
    return None


def remove_directory(path):
    """Remove the directory *path* and the files there, as far as that is
    possible."""
    with contextlib.suppress(OSError):
        for name in os.listdir(path):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(path, name))
        os.rmdir(path)


def runs_programs(place):
    return not os.statvfs(place).f_flag & os.ST_NOEXEC


def fits_in_option(place):
    """Return whether ssh takes *place* in an option as it stands: no blank,
    quote, % or ${, because the last cannot be quoted.  So does a shell."""
    return re.fullmatch(r'[\w/.+-]+', place, re.ASCII) is not None


def _fits_programs(place):
    return fits_in_option(place) and runs_programs(place)


class _PrivateFiles:
    """New files in a directory that only we can use: make() is called when
    the first is wanted, and returns its path, or None.  A forked child leaves
    them alone."""

    def __init__(self, make):
        self._make = make
        self._directory = None
        self._owner = None          # the pid of the process that made it
        self._numbers = itertools.count()

    def new_path(self, name):
        """Return the path of a file that is not there yet; None where there
        is no room for the directory."""
        if self._owner is None:
            self._owner = os.getpid()
            self._directory = self._make()
        return self._directory and '%s/%s-%d' % (self._directory, name,
                                                 next(self._numbers))

    def close(self):
        """Remove the directory and all in it."""
        if self._directory is not None and self._owner == os.getpid():
            remove_directory(self._directory)
        self._directory = self._owner = None


def split_ssh(ssh):
    """Return the words of *ssh*, a list of them or a str as of a shell."""
    return shlex.split(ssh) if isinstance(ssh, str) else list(ssh)


class Ssh(Transport):
    """The system's ssh as the way to a host.

    If it is an OpenSSH and the user sets no LogLevel, each ssh has a log of
    its own.  From it follow why a host failed and whether its command has
    started; without it, both are guessed from ssh's messages on stderr, which
    the host could have written as well.
    """

    name = 'ssh'

    def __init__(self, ssh='ssh', *, options=(), host_options=None,
                 **settings):
        """*ssh* is a str, split as a shell would, or a list; *host_options*
        is a function of a host that returns more *options*; *settings* are
        the others of ssh_argv().  Raise ValueError if *ssh* has no words."""
        self._options = tuple(options)
        self._host_options = host_options or (lambda host: ())
        self._settings = settings
        self._words = split_ssh(ssh)
        if not self._words:
            raise ValueError('ssh is empty')
        self.program = self._words[0]
        # BatchMode does not reach the ssh of a jump host: it would ask where
        # there is a display.  (To hand an environment over takes as long as
        # all else that we do for a start, so it is not done without need.)
        self._environment = None
        if not _ASKPASS_TRIGGERS.isdisjoint(os.environ):
            self._environment = dict(os.environ, SSH_ASKPASS_REQUIRE='never')
        self._is_open = False
        self._logs = _PrivateFiles(_make_directory)
        self.log_level = None       # as ssh_config has it; None: no logs
        self._shares = False        # a connection, by ControlPath

    def open(self, host):
        if self._is_open:
            return
        probed = None
        if not self._sets_log_level():
            try:
                probed = _probe_ssh(tuple(self.base_argv(host)), host)
            except TimeoutError:
                pass
            except OSError:         # the job will fare no better, and tell
                return
        self.log_level, self._shares = probed or (None, False)
        self._is_open = True        # last: where it was broken off, again

    def _sets_log_level(self):
        """Return whether the user has a LogLevel or a log of his own."""
        words = [*self._words[1:], *self._options]
        return any(re.match(r'(?i)(-o)?\s*loglevel|-[qvEy]', word)
                   for word in words)

    def close(self):
        self._is_open = False
        self._logs.close()

    def base_argv(self, host):
        """Return the argument list without *host* and a command."""
        return self.argv(host, '')[:-3]

    def argv(self, host, command, log=None):
        return ssh_argv(
            host, command, ssh=self._words,
            options=(*self._options, *self._host_options(host)), log=log,
            # DEBUG1 does not tell how a command over a shared connection has
            # ended.  DEBUG2 is twice as much for a new connection.
            log_level='DEBUG2' if self._shares else 'DEBUG1',
            **self._settings)

    def environment(self, host):
        return self._environment

    def open_log(self):
        path = self.log_level and self._logs.new_path('log')
        try:
            return path and _SshLog(path)
        except OSError:             # no room: explain() looks at stderr
            return None

    def explain(self, job):
        log = job.log
        if log is None or log.stage < _CONNECTING:
            return self._explain_by_words(job)
        outcome, cause, ran, reason = super().explain(job)
        if outcome in ('ok', 'error') and job.exitcode != 255:
            if log.stage < _SESSION:
                ran = 'unknown'
            return outcome, cause, ran, reason
        if not log.is_whole:
            return self._explain_by_words(job)
        if cause:                   # we, or a signal, have ended ssh
            if log.stage < _SESSION:
                ran = 'no'
            elif job.output.head(1) or job.errors.head(1):
                ran = 'yes'
            return ('ssh' if cause == 'no-answer' else outcome, cause, ran,
                    reason)
        text = log.text()
        if log.stage < _LOGGED_IN:
            return self._not_started(text, job)
        if re.search(r'^debug1: (client_input_channel_req: .* rtype '
                     r'exit-status |Exit status 255$)|^debug2: Received exit '
                     r'status from master 255$', text, re.MULTILINE):
            return 'error', 'exit-255', 'yes', ''
        if re.search(r'^debug1: client_input_channel_req: .* rtype '
                     r'exit-signal ', text, re.MULTILINE):
            return ('error', 'signal', 'yes',
                    CAUSES['signal'] + ' on the host')
        if log.stage < _SESSION or log.refused:
            return 'ssh', 'no-session', 'no', CAUSES['no-session']
        if re.search('^debug1: mux_client_request_session: ', text,
                     re.MULTILINE):
            # Over a shared connection ssh does not tell these two apart.
            return ('ssh', 'ssh', 'unknown', 'connection lost, or the command '
                    + CAUSES['signal'])
        return ('ssh', 'lost', 'unknown',
                CAUSES['lost'] + ' while the command ran')

    def _not_started(self, text, job):
        """Explain *job*, whose ssh was not logged in, by its log."""
        cause = _message_cause(text)
        errors = job.errors.head(HEAD_SIZE)
        if cause in ('dropped', None) and errors:
            # The ssh of a jump host is another process; it has no log.
            if re.search(_JUMP_FAILED, errors):
                cause = 'jump'
            else:
                cause = _message_cause(errors) or cause
        cause = cause or 'ssh'
        return 'ssh', cause, 'no', CAUSES[cause]

    def _explain_by_words(self, job):
        """Explain *job*, which has no log, by what is on its stderr."""
        errors = job.errors.head(HEAD_SIZE)
        if job.exitcode == 1 and errors.startswith("Couldn't open logfile"):
            return 'ssh', 'config', 'no', CAUSES['config']
        if job.exitcode != 255 or job.cause:
            return super().explain(job)
        cause = _message_cause(errors) or 'ssh'
        ran = 'unknown'
        if cause == 'config':
            if job.log and job.log.is_untouched and not job.output.head(1):
                ran = 'no'
        elif (cause in _MAY_RETRY or cause == 'unresolved') and (
                self._is_all_of_ssh(job, errors)):
            ran = 'no'
        return 'ssh', cause, ran, CAUSES[cause]

    def _is_all_of_ssh(self, job, errors):
        """Return whether *errors*, all of them, can only be what ssh says
        before it connects.

        A host could print the same, a remote ssh or git say; but not if the
        name is that of our host, and nothing else was printed.
        """
        lines = errors.replace('\r', '').split('\n')[:-1]
        return not job.output.head(1) and len(lines) == 1 and bool(re.match(
            r'ssh: (connect to host|Could not resolve hostname) %s[: ]'
            % re.escape(host_parts(job.host)[1]), lines[0]))

    def diagnostics(self, job, outcome, command):
        """Return what ssh itself has to say of *job*, as str.

        Of a job that went well the user may want no words: LogLevel ERROR
        in ssh_config.  That we have ended it is said elsewhere.
        """
        if job.log is None or (outcome != 'ssh' and self.log_level in (
                'QUIET', 'FATAL', 'ERROR')):
            return ''
        words = job.log.words(command)
        return re.sub(_ENDED_BY_US, '', words) if job.cause else words

    def may_retry(self, result):
        return result.ran == 'no' and result.cause in _MAY_RETRY


class Local(Transport):
    """A command of this machine, for each host: /bin/sh runs it, once a host.

    Nothing in the command is replaced.  The host is in its environment:

    CLASSH_NAME     as it was given
    CLASSH_HOST     without user and port, a v6 address without brackets
    CLASSH_USER     its user, or else *user*; '' if none
    CLASSH_PORT     its port; '' if none
    CLASSH_N        a number, by order of start, from 0
    CLASSH_SSH      a program: the ssh that would be run on the host, with
                    all options, user and port; its arguments are added

    Where no directory may hold programs, CLASSH_SSH has the words of that
    command instead, quoted, as rsync -e and a shell's eval understand it.
    """

    program = name = '/bin/sh'

    def __init__(self, ssh='ssh', **settings):
        """*ssh* and *settings* are what Ssh takes, for CLASSH_SSH."""
        self._ssh = Ssh(ssh, **settings)
        self._user = settings.get('user')
        self._files = _PrivateFiles(lambda: _make_directory(_fits_programs))
        self._programs = {}         # words of ssh: path
        self._started = None        # the host that was started last
        self._number = -1           # its number

    def close(self):
        self._programs.clear()
        self._files.close()

    def argv(self, host, command, log=None):
        return [self.program, '-c', '--', command]

    def environment(self, host):
        if host != self._started:   # else there was no room for it
            self._started = host
            self._number += 1
        user, name, port = host_parts(host)
        if user is None:
            user = self._user
        return dict(self._ssh.environment(host) or os.environ,
                    CLASSH_NAME=host, CLASSH_HOST=name,
                    CLASSH_USER=user or '', CLASSH_PORT=port or '',
                    CLASSH_N=str(self._number),
                    CLASSH_SSH=self._ssh_program(host))

    def _ssh_program(self, host):
        """Return a program that is ssh with all options for *host*.

        It is a file, because its path needs no quotes: a shell takes those
        in the value of $CLASSH_SSH for characters, and scp -S takes no
        arguments.  Hosts without a user and a port share one.
        """
        words = _quoted(self._ssh.base_argv(host))
        if words not in self._programs:
            path = self._files.new_path('ssh')
            if path is None:
                return words
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL,
                              0o700), 'wb') as file:
                file.write(os.fsencode('#!/bin/sh\nexec %s "$@"\n' % words))
            self._programs[words] = path
        return self._programs[words]

    def explain(self, job):
        outcome, cause, _, reason = super().explain(job)
        if outcome == 'error':      # as of rsync -e "$CLASSH_SSH"
            said = _message_cause(job.errors.head(HEAD_SIZE))
            # No limit of logins holds here, so none is to be lowered.
            if said in _BEFORE_LOGIN - {'dropped'}:
                cause, reason = said, CAUSES[said]
        return outcome, cause, 'yes', reason


class Relay(Transport):
    """Has others run the command, each with a manager of its own: workers on
    several machines, say.

    A subclass has start() and end(), and calls manager.deliver(result) from
    the manager's thread, with what came of each host that it was given.  It
    may have attach(), room() and close().  Limits of time, and further tries,
    are up to those others.

    options     what main() was given that holds for each host, a list of
                words for another classh: ['--timeout=30', '--user=bob']
    """

    name = 'the relay'
    program = '/bin/sh'             # of none of its jobs
    options = ()

    def start(self, host):
        """Have the command run on *host*, from now on; return at once."""
        raise NotImplementedError

    def end(self, host, hard):
        """End what runs for *host*; if *hard*, that was asked for before.  Its
        result is still to be delivered."""

    def argv(self, host, command, log=None):
        return []


# -- Jobs -------------------------------------------------------------------

SPOOL_SIZE = 1 << 18    # bytes of a stream in memory; more goes to disk
FIND_LIMIT = 1.0        # seconds to look for a process whose pid is unknown
FIND_INTERVAL = 0.001   # seconds between two looks


PENDING, RUNNING, TERMINATING, KILLING, FINISHED = (
    'pending', 'running', 'terminating', 'killing', 'finished')

_NEXT = {                               # state: states that may follow it
    PENDING:     (RUNNING,),            # or never, if it cannot be started
    RUNNING:     (TERMINATING, FINISHED),
    TERMINATING: (KILLING, FINISHED),
    KILLING:     (FINISHED,),           # perhaps given up on
    FINISHED:    (),
}


class _Spool:
    """A file without a name, in blocks that are used again, so that long
    output takes neither much memory nor more of the disk than is held."""

    def __init__(self):
        self._file = None
        self._end = 0
        self._free = []

    def put(self, block):
        """Keep SPOOL_SIZE bytes; return their place.  Raise OSError."""
        if self._file is None:
            import tempfile         # few runs need it
            self._file = tempfile.TemporaryFile(buffering=0)
        place = self._free.pop() if self._free else self._end
        if os.pwrite(self._file.fileno(), block, place) < SPOOL_SIZE:
            self._free.append(place)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end = max(self._end, place + SPOOL_SIZE)
        return place

    def get(self, place):
        """Return the block that was put at *place*.  Raise OSError."""
        block = b''
        while len(block) < SPOOL_SIZE:
            more = os.pread(self._file.fileno(), SPOOL_SIZE - len(block),
                            place + len(block))
            if not more:            # another program cut the file short
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            block += more
        return block

    def free(self, places):
        """Use these again."""
        self._free += places

    def close(self):
        if self._file is not None:
            self._file.close()
            self._file = None
            self._end = 0
            self._free.clear()


class _Capture:
    """What was read of one pipe, up to *room* bytes."""

    def __init__(self, room, spool):
        self.tee = None             # called with the bytes as they come
        self.cut = False            # there was more than *room*
        self.error = None           # why nothing is kept
        self._room = room
        self._spool = spool
        self._spooling = True       # until that fails
        self._places = []           # of blocks in the spool
        self._rest = bytearray()    # what came after them

    def add(self, chunk):
        if self.error is None:
            self._keep(chunk)
        if self.tee is not None and chunk:
            self.tee(chunk)         # last: what it raises loses no byte

    def _keep(self, chunk):
        if len(chunk) > self._room:
            chunk = chunk[:self._room]
            self.cut = True
        self._room -= len(chunk)
        try:
            self._rest += chunk
        except MemoryError as error:
            self.lose(error)
        if len(self._rest) >= SPOOL_SIZE and self._spooling:
            try:
                self._places.append(self._spool.put(self._rest[:SPOOL_SIZE]))
            except (OSError, MemoryError):
                self._spooling = False      # go on in memory
            else:
                del self._rest[:SPOOL_SIZE]

    def head(self, size):
        """Return the first *size* bytes of it, as str, or what can be had."""
        try:
            first = (self._spool.get(self._places[0]) if self._places
                     else self._rest)
        except OSError:
            return ''
        return first[:size].decode('utf-8', 'surrogateescape')

    def take(self):
        """Return it as str, '' if it is lost, and keep nothing."""
        places, rest = self._places, self._rest
        self._places = self._rest = None
        try:
            if places:
                rest = b''.join([*map(self._spool.get, places), rest])
            return rest.decode('utf-8', 'surrogateescape')
        except (MemoryError, OSError) as error:
            self.error = error
            return ''
        finally:
            self._spool.free(places)

    def lose(self, error):
        """Keep nothing: a part of it might pass for the whole."""
        self.error = error
        self._spool.free(self._places)
        self._places, self._rest = [], bytearray()


def read_shared(fd):
    """Read from *fd*, which is ready.  Raise BlockingIOError if another
    process that shares *fd* has read first: a plain read would wait.

    The open description is a new one, because O_NONBLOCK on that of *fd*
    would be set for the other process as well.
    """
    if os.isatty(fd) or stat.S_ISFIFO(os.fstat(fd).st_mode):
        try:
            own = os.open('/dev/fd/%d' % fd,
                          os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:             # another user's, as under su and sudo
            own = None
        if own is not None:
            try:
                return os.read(own, READ_SIZE)
            finally:
                os.close(own)
    return os.read(fd, READ_SIZE)


READ, WRITE = 1, 2      # selectors.EVENT_READ and EVENT_WRITE
_POLLED = None, select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT


class _Poll:
    """What select.epoll() is, for systems without one."""

    def __init__(self):
        self._poll = select.poll()
        self.register = self._poll.register
        self.unregister = self._poll.unregister

    def poll(self, timeout):
        return self._poll.poll(math.ceil(1000 * timeout))

    def close(self):
        pass


def _open_poll():
    # Not a selector of the standard library, which takes as long for a job as
    # the rest of the loop.
    return select.epoll() if hasattr(select, 'epoll') else _Poll()


class _Input:
    """What every job gets on its stdin, each at its own pace.

    A regular file is read in place, and must not change meanwhile.  Anything
    else is copied to a file without a name, as far as the fastest job has
    come.
    """

    def __init__(self, source):
        self.source = source
        self._fd = source if isinstance(source, int) else source.fileno()
        self._version = self._status()
        self.complete = (stat.S_ISREG(os.fstat(self._fd).st_mode)
                      and not self._may_block())
        self._start = (os.lseek(self._fd, 0, os.SEEK_CUR) if self.complete
                       else 0)
        self._copy = None

    def _may_block(self):
        """Return whether one can wait for what passes for a regular file, as
        for /proc/kmsg."""
        with contextlib.closing(_open_poll()) as poll:
            try:
                poll.register(self._fd, _POLLED[READ])
            except PermissionError:
                return False
        return True

    def _status(self):
        status = os.fstat(self._fd)
        return status.st_size, status.st_mtime_ns

    def read(self, offset):
        """Return the bytes at *offset*, b'' where there are none (yet).

        Raise OSError, also where the file has changed.
        """
        if self._copy is not None:
            return os.pread(self._copy.fileno(), READ_SIZE, offset)
        if not self.complete:
            return b''
        chunk = os.pread(self._fd, READ_SIZE, self._start + offset)
        if self._status() != self._version:
            raise OSError(errno.ESTALE, 'the file has changed')
        return chunk

    def fill(self):
        """Copy some more of a source that is ready.  Raise OSError."""
        if self._copy is None:
            import tempfile         # few runs need it
            self._copy = tempfile.TemporaryFile(buffering=0)
        chunk = read_shared(self._fd)
        self.complete = not chunk
        while chunk:
            chunk = chunk[self._copy.write(chunk):]

    def close(self):
        if self._copy is not None:
            self._copy.close()


class _Job:
    """One process and what came out of it.

    A job is passive: the pool starts it, reads its pipes and decides when
    it is over.
    """

    has_timeout = True              # that of the manager
    result = None                   # what others have made of it, a Result
    connections = None              # shared ones that its ssh may use

    def __init__(self, host, max_output, spool, now, tries=1):
        self.host = host
        self.started = time.time()
        self.clock_start = now
        self.state = PENDING
        self.timeout = 0            # seconds; 0: no limit
        self.deadline = None        # a timer of the loop
        self.time_left = None       # seconds to the deadline, while paused
        self.cause = ''             # why we ended it, a word of CAUSES
        self.reason = ''            # ... and for a person; set when we do
        self.pid = None
        self.exitcode = None        # still None when it is over: it is lost
        self.pipes = {}             # open pipe: its _Capture
        self.output = _Capture(max_output, spool)
        self.errors = _Capture(max_output, spool)
        self.stdin = None           # our end of the pipe, if there is input
        self.sent = 0               # bytes of the input that it took
        self.environment = None     # a dict; None: ours
        self.log = None             # a _SshLog, or None
        self.begun = None           # when it was started, on the loop's clock
        self.login = None           # seconds from then to the login
        self.login_deadline = None  # a timer of the loop
        self.tries = tries          # this one included

    def become(self, state):
        if state not in _NEXT[self.state]:
            raise AssertionError('a job cannot go from %s to %s'
                                 % (self.state, state))
        self.state = state

    def start(self, launcher, argv, with_stdin, watch):
        """Start the process; our ends of its pipes are the job's.

        watch(pipe, job) is called for each pipe before the process starts:
        where there is no room to watch it, nothing has started yet.
        """
        # Popen's own pipes would do, but for two things: before Python 3.11
        # it leaks some of them when there is no room for the others, and it
        # opens the null device for each child.
        theirs = []                 # the child's ends of the pipes
        try:
            for pipe in self.pipes:         # that of the log, if any
                watch(pipe, self)
            for capture in self.output, self.errors:
                reader, writer = os.pipe()
                self.pipes[reader] = capture
                theirs.append(writer)
                os.set_blocking(reader, False)
                watch(reader, self)
            stdin = launcher.null
            if with_stdin:
                stdin, self.stdin = os.pipe()
                theirs.append(stdin)
                os.set_blocking(self.stdin, False)
            self.pid = launcher.start(argv, self.environment,
                                      (stdin, theirs[0], theirs[1]))
        finally:
            for fd in theirs:
                os.close(fd)

    def find_process(self):
        """Return the pid of the process whose stdout is our pipe, or None
        where that has ended, or there is no /proc.  May take FIND_LIMIT
        seconds."""
        stdout = next((pipe for pipe, capture in self.pipes.items()
                       if capture is self.output), None)
        if stdout is None:
            return None
        name = 'pipe:[%d]' % os.fstat(stdout).st_ino
        end = time.monotonic() + FIND_LIMIT
        while time.monotonic() < end:   # a forked child has our stdout first
            try:
                pids = map(int, filter(str.isdigit, os.listdir('/proc')))
            except OSError:
                break
            for pid in pids:
                with contextlib.suppress(OSError):
                    if (os.readlink('/proc/%d/fd/1' % pid) == name
                            and os.getsid(pid) == pid):
                        return pid
            time.sleep(FIND_INTERVAL)
        return None

    def read(self, pipe, size=READ_SIZE):
        """Read once from *pipe*; return how much came, None at its end."""
        try:
            chunk = os.read(pipe, size)
        except BlockingIOError:
            return 0
        except MemoryError as error:
            self.pipes[pipe].lose(error)    # and so make room
            return 0
        except OSError as error:
            self.pipes[pipe].lose(error)
            chunk = b''
        if not chunk:
            return None
        self.pipes[pipe].add(chunk)
        return len(chunk)

    def close_pipes(self):
        pipes = [pipe for pipe in (*self.pipes, self.stdin)
                 if pipe is not None]
        self.pipes.clear()
        self.stdin = None
        for pipe in pipes:
            os.close(pipe)

    def kill(self, signum):
        """Send *signum* to the process group; only before it is reaped."""
        _kill_group(self.pid, signum)

    def reap(self):
        """Reap the process if it has ended; return whether it has."""
        try:
            if self.cause and _has_exited(self.pid):
                # We terminated this job, so kill the rest of its process
                # group.  That is safe only before waitpid(): until then the
                # number of the group cannot be used again.
                self.kill(signal.SIGKILL)
            asked, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return True             # someone else reaped it
        if asked:
            self.exitcode = (-os.WTERMSIG(status) if os.WIFSIGNALED(status)
                             else os.WEXITSTATUS(status))
        return bool(asked)


class _RelayedJob(_Job):
    """A job that a Relay has others do, without a process here."""

    has_timeout = False             # those others have one

    def __init__(self, relay, *args):
        super().__init__(*args)
        self._relay = relay

    def start(self, launcher, argv, with_stdin, watch):
        self._relay.start(self.host)
        self.pid = self.host        # by which the pool knows it

    def kill(self, signum):
        if signum != signal.SIGCONT:
            self._relay.end(self.host, signum == signal.SIGKILL)

    def reap(self):
        # One that was given up on has no process to wait for.
        return self.result is not None or self.state == FINISHED


# -- Event loop -------------------------------------------------------------

REAP_INTERVAL = 0.05    # seconds between two waitpid() passes over all jobs
REAP_INTERVAL_MAX = 1.0     # ... where no SIGCHLD came: one may be lost
STOPPED_MIN = 1.0       # seconds by which a wait is late if we were stopped


def _do_nothing(signum, frame):
    pass


def _set_handlers(handlers):
    """Install *handlers*, a dict of signal: function; return those before.

    A signal that is ignored stays ignored, because nohup and shells that
    start a job in the background rely on that.
    """
    if not _in_main_thread():
        return {}                   # no signal comes here
    return {signum: signal.signal(signum, handler)
            for signum, handler in handlers.items()
            if signal.getsignal(signum) != signal.SIG_IGN}


def _restore_handlers(before):
    """Install the handlers that _set_handlers() has returned."""
    for signum, handler in before.items():
        signal.signal(signum, handler)


class _ChildWatcher:
    """Tells when a child may have exited: on SIGCHLD if a handler may be
    installed, else by polling every REAP_INTERVAL seconds.

    A handler is installed in the main thread of a program that neither
    handles nor blocks SIGCHLD and has no wakeup descriptor.  (Where the
    signal is ignored, every exit status would be lost.)  It does nothing,
    but the interpreter then writes to the wakeup descriptor, for this
    signal and for any other that has a handler.
    """

    def __init__(self):
        self.fd = None              # readable after a signal; None: poll
        self._wakeup = None
        self._before = signal.getsignal(signal.SIGCHLD)
        if (_in_main_thread()
                and self._before in (signal.SIG_DFL, signal.SIG_IGN)
                and signal.SIGCHLD not in signal.pthread_sigmask(
                    signal.SIG_BLOCK, ())):
            self._install()

    def _install(self):
        try:
            reader, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:             # no descriptors left: poll
            return
        try:
            # A full pipe will wake us all the same.
            taken = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        except TypeError:           # Python 3.6
            taken = signal.set_wakeup_fd(wakeup)
        if taken != -1:
            signal.set_wakeup_fd(taken)
            os.close(reader)
            os.close(wakeup)
            return
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.siginterrupt(signal.SIGCHLD, False)
        self.fd, self._wakeup = reader, wakeup

    def clear(self):
        """Forget the signals so far."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, READ_SIZE)     # what is left wakes us, too

    def close(self):
        """Restore what was there before, unless somebody has replaced it."""
        if self.fd is None or not _in_main_thread():    # others may not
            return
        if signal.getsignal(signal.SIGCHLD) is _do_nothing:
            signal.signal(signal.SIGCHLD, self._before)
        taken = signal.set_wakeup_fd(-1)
        if taken != self._wakeup:
            signal.set_wakeup_fd(taken)
        os.close(self.fd)
        os.close(self._wakeup)
        self.fd = None


class _Loop:
    """Waits for descriptors, for signals and for points in time, and calls
    back.

    It holds descriptors from open() to close() only.  A callback may
    register and unregister anything: one that was unregistered earlier in
    the same turn is not called.
    """

    def __init__(self, clock):
        self._clock = clock
        self._lost = 0.0            # seconds that were discounted
        self._step_begun = 0.0      # a point on *clock*
        self.child_exited = False   # perhaps: SIGCHLD came, or none can
        self._poll = None
        self._watcher = None
        self._entries = {}          # fd: its (fileobj, events, callback, data)
        self._always_ready = []     # those of regular files
        self._timers = []           # a heap of [when, number, callback, args]
        self._cancelled = 0         # of them
        self._numbers = itertools.count()

    @property
    def is_open(self):
        return self._poll is not None

    @property
    def has_signals(self):
        """Whether a child that exits ends the wait."""
        return self._watcher.fd is not None

    def open(self):
        """Open the descriptors; where OSError is raised, none stays open."""
        self._watcher = _ChildWatcher()
        try:
            self._poll = _open_poll()
            if self.has_signals:
                self.register(self._watcher.fd, READ, self._on_signal)
        except BaseException:
            self.close()
            raise

    def close(self):
        """Close them, and forget all that was registered."""
        if self._watcher is not None:
            self._watcher.close()
        if self._poll is not None:
            self._poll.close()
        self._poll = self._watcher = None
        self._entries.clear()
        self._always_ready.clear()

    def register(self, fileobj, events, callback, data=None):
        """Call callback(fileobj, events, data) whenever *fileobj* is ready for
        some of *events*, READ, WRITE or both.

        *callback* returns true where no job, timer or start is affected, so
        that the wait may go on.
        """
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        try:
            self._poll.register(fd, _POLLED[events])
        except PermissionError:     # epoll takes no regular file
            self._always_ready.append(fd)
        self._entries[fd] = fileobj, events, callback, data

    def unregister(self, fileobj):
        """Wait for *fileobj* no longer, if it is registered."""
        fd = fileobj
        if not isinstance(fileobj, int):    # it may be closed
            fd = next((fd for fd, entry in self._entries.items()
                       if entry[0] is fileobj), None)
        if self._entries.pop(fd, None) is None:
            return
        if fd in self._always_ready:
            self._always_ready.remove(fd)
            return
        try:
            self._poll.unregister(fd)
        except OSError:             # it is closed
            pass

    def call_at(self, when, callback, *args):
        """Call callback(*args) once, at *when* on the clock or soon after.

        Return the timer, for cancel().
        """
        timer = [when, next(self._numbers), callback, args]
        heapq.heappush(self._timers, timer)
        return timer

    def cancel(self, timer):
        """Do not call *timer*, if there is one that was not called yet."""
        if timer is None or timer[2] is None:
            return
        timer[2] = None
        self._cancelled += 1
        # They stay in the heap until they are due: not more than the others.
        if self._cancelled > len(self._timers) // 2 + 32:
            self._timers = [timer for timer in self._timers if timer[2]]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def now(self):
        """Return the time, in seconds, less what was discounted.

        All that is due at a time is due on this clock.
        """
        return self._clock() - self._lost

    def discount(self, seconds, least=STOPPED_MIN):
        """If *seconds* are more than *least*, move all that is due back by
        as much: this process was stopped, or its caller busy."""
        if seconds > least:
            self._lost += seconds
            self._step_begun += seconds

    def begin_turn(self):
        self._step_begun = self._clock()

    def discount_step(self, waited=0):
        """End a step of a turn, in which a wait had *waited* seconds.

        No other step takes STOPPED_MIN seconds, unless this process was
        stopped (SIGTSTP).
        """
        now = self._clock()
        self.discount(now - self._step_begun - waited)
        self._step_begun = now

    def run_once(self, until=math.inf):
        """Wait until something is ready, a signal comes, a timer is due or
        the clock shows *until*; call back for what is ready."""
        if self._timers:
            until = min(until, self._timers[0][0])
        if not self.has_signals:
            until = min(until, self.now() + REAP_INTERVAL)
            self.child_exited = True
        while (self.dispatch(max(0, until - self.now()))
               and self.now() < until):
            pass                    # a turn for each line of a log is dear

    def dispatch(self, timeout):
        """Wait *timeout* seconds at most; call back for what is ready.

        Return whether something was, and every callback lets the wait go on.
        """
        if self._always_ready:
            timeout = 0
        ready = self._poll.poll(-1 if timeout == math.inf else timeout)
        self.discount_step(timeout)
        ready += [(fd, 0) for fd in self._always_ready]
        may_wait = bool(ready)
        # By its entry, because what is called may close a descriptor, and the
        # next one get its number.
        for fd, flags, entry in [(fd, flags, self._entries.get(fd))
                                for fd, flags in ready]:
            if entry is not None and self._entries.get(fd) is entry:
                fileobj, events, callback, data = entry
                # An error, the end or a regular file is for both.
                ready_for = events & (
                    READ if flags == _POLLED[READ] else
                    WRITE if flags == _POLLED[WRITE] else READ | WRITE)
                may_wait = callback(fileobj, ready_for, data) and may_wait
                self.discount_step()
        return may_wait

    def _on_signal(self, fileobj, events, data):
        self._watcher.clear()
        self.child_exited = True

    def run_timers(self):
        """Call the timers that are due."""
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)
            callback, timer[2] = timer[2], None
            if callback is None:
                self._cancelled -= 1
            else:
                callback(*timer[3])


class _Feeder:
    """Writes the input of a run to the stdin of each job, at the pace at
    which that job reads.

    *on_lost(error, jobs)* is called with the jobs that cannot have all of
    it; .lost is true by then if no other job can have it, either.  Without
    input the stdin of a job is closed, unless *holds*: then the job ends
    first.
    """

    def __init__(self, loop, source, on_lost, holds=False):
        if holds and source is not None:
            raise ValueError('input goes with no hook that holds stdin')
        self.lost = False
        self._loop = loop
        self._on_lost = on_lost
        self._holds = holds
        self._input = None if source is None else _Input(source)
        self._writing = set()           # jobs that are written to
        self._awaiting_input = set()    # jobs that have had all there is

    @property
    def uses_stdin(self):
        """Whether the stdin of a job may be open until the job ends."""
        return self._holds or self._input is not None

    def begin(self, job):
        """Feed *job* from now on; without input, close or hold its stdin."""
        if self._input and job.stdin is not None and job.state == RUNNING:
            self._write_to(job)
        elif not self._holds:
            self.end(job)

    def end(self, job):
        """Close the stdin of *job*, if it is open."""
        if job.stdin is None:
            return
        if job in self._writing:
            self._writing.discard(job)
            self._loop.unregister(job.stdin)
        elif job in self._awaiting_input:
            self._awaiting_input.discard(job)
            if not self._awaiting_input:
                self._loop.unregister(self._input.source)
        pipe, job.stdin = job.stdin, None
        os.close(pipe)

    def close(self):
        if self._input:
            self._input.close()

    def _write_to(self, job):
        try:
            self._loop.register(job.stdin, WRITE, self._write, job)
        except OSError as error:    # no room in epoll
            self._on_lost(error, [job])
        else:
            self._writing.add(job)

    def _write(self, pipe, events, job):
        try:
            chunk = self._input.read(job.sent)
        except OSError as error:
            self._lose(error)
            return
        try:
            job.sent += os.write(pipe, chunk)
        except BlockingIOError:
            return
        except OSError:             # the job does not read: not an error
            self.end(job)
            return
        if not chunk and self._input.complete:
            self.end(job)
        elif not chunk:
            self._await_more(job)

    def _await_more(self, job):
        self._writing.discard(job)
        self._loop.unregister(job.stdin)
        self._awaiting_input.add(job)
        if len(self._awaiting_input) == 1:
            try:
                self._loop.register(self._input.source, READ, self._fill)
            except OSError as error:
                self._lose(error)

    def _fill(self, source, events, data):
        try:
            self._input.fill()
        except BlockingIOError:     # another process has read it
            return
        except OSError as error:
            self._lose(error)
            return
        self._loop.unregister(source)
        waiting, self._awaiting_input = self._awaiting_input, set()
        for job in waiting:
            self._write_to(job)

    def _lose(self, error):
        self.lost = True
        self._loop.unregister(self._input.source)
        for job in self._writing:
            self._loop.unregister(job.stdin)
        jobs = self._writing | self._awaiting_input
        self._writing = set()
        self._awaiting_input = set()
        self._on_lost(error, jobs)


# -- Pool -------------------------------------------------------------------

REAP_BACKOFF = 0.001    # seconds to the first look at a job that has ended
                        # its output; doubled up to REAP_INTERVAL
SWEEP_LIMIT = 1 << 20   # bytes that a pipe can hold (Linux, pipe-max-size)
MAX_TURN_CHARS = 1 << 24    # characters of results that a turn may make
ABORT_LIMIT = 1.0       # seconds that a killed job may take to go


def _is_start_error(error):
    """Return whether *error* comes from starting a process rather than from
    a signal handler that raised: an OSError of the system has an errno, a
    TimeoutError that a handler raises has none."""
    return (isinstance(error, ValueError)
            or getattr(error, 'errno', None) is not None)


class _Launcher:
    """Starts *program*, each time in a session of its own, with nothing
    open but 0, 1 and 2.  What these starts share is looked up once."""

    def __init__(self, program):
        import subprocess
        self._popen = subprocess.Popen
        self._path = find_program(program)
        self._program = self._path or program
        self.null = os.open(os.devnull, os.O_RDONLY)
        self._inheritable = None    # what a spawned child closes; None: fork
        # Before Python 3.10 Popen forks, and the child closes all that may
        # be open: three times the wall time (3.8, fanout 100).
        if sys.version_info < (3, 10) and hasattr(os, 'posix_spawn'):
            with contextlib.suppress(OSError):
                # What Python opens from here on is closed by exec (PEP 446).
                self._inheritable = [
                    fd for fd in map(int, os.listdir('/dev/fd')) if fd > 2]

    def close(self):
        os.close(self.null)

    def start(self, argv, environment, stdio):
        """Start it as *argv*; return its pid.  Raise OSError, ValueError.

        *environment* is a dict, None: ours.  *stdio* is three descriptors.
        """
        if (self._path and self._inheritable is not None
                and min(stdio) > 2):
            try:
                return self._spawn(
                    argv, os.environ if environment is None else environment,
                    stdio)
            except NotImplementedError:
                self._inheritable = None    # the C library has no setsid
            except OSError as error:
                # A descriptor beyond the limit of today, inherited from when
                # there was a higher one, cannot be closed in this way.
                if error.errno != errno.EBADF:
                    raise
                self._inheritable = None
        process = self._popen(
            argv, stdin=stdio[0], stdout=stdio[1], stderr=stdio[2],
            env=environment, executable=self._program,
            start_new_session=True)
        process.returncode = 0      # we wait for it ourselves
        return process.pid

    def _spawn(self, argv, environment, stdio):
        # In this order: what is to be closed was open when we began, and one
        # of our pipes may have its number by now.
        actions = [(os.POSIX_SPAWN_DUP2, fd, number)
                   for number, fd in enumerate(stdio)]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in self._inheritable]
        return os.posix_spawn(
            self._path, argv, environment, file_actions=actions,
            setsid=True, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ))


class _Pool:
    """The jobs that run: reads their pipes, reaps them, and ends those whose
    time is up by SIGTERM, SIGKILL and at last by giving up.

    *on_exit(job)* is called once for each, when it has ended and all that
    it wrote is read, and returns how many characters its result has.
    *grace* is in seconds, from one step to the next.
    """

    _given_up = set()               # jobs of any pool that would not die

    def __init__(self, loop, grace, on_exit):
        self.running = {}           # pid: its _Job
        self._loop = loop
        self._grace = grace
        self._on_exit = on_exit
        self._awaiting_exit = set()     # jobs whose pipes have both ended
        self._backoff = REAP_BACKOFF
        self._last_reap = 0.0       # when all jobs were asked
        self._turn_chars = 0        # characters of this turn's results

    def start(self, job, launcher, argv, timeout, with_stdin):
        """Start *job*; end it when it has run for *timeout* seconds, 0: never.

        Where that raises, either job.pid is None and all is undone, or the
        process runs and the job is in the pool.
        """
        job.begun = self._loop.now()
        try:
            job.start(launcher, argv, with_stdin, self._watch)
        except BaseException as error:
            if job.pid is None and not _is_start_error(error):
                # The handler of a signal raised (KeyboardInterrupt), perhaps
                # after the process was started and before its pid was known.
                job.pid = job.find_process()
            raise
        finally:
            if job.pid is None:
                for pipe in job.pipes:
                    self._loop.unregister(pipe)
                job.close_pipes()
            else:
                job.become(RUNNING)
                job.timeout = timeout
                self.running[job.pid] = job
                if timeout > 0:
                    self._set_deadline(job, job.begun + timeout)

    def _watch(self, pipe, job):
        self._loop.register(pipe, READ, self._read, job)

    def pause(self, job):
        """Stop the clock of *job* until resume(job)."""
        if job.state == RUNNING and job.deadline:
            job.time_left = job.deadline[0] - self._loop.now()
            self._loop.cancel(job.deadline)
            job.deadline = None

    def resume(self, job):
        if job.state == RUNNING and job.time_left is not None:
            self._set_deadline(job, self._loop.now() + job.time_left)
            job.time_left = None

    def time_left(self, job):
        """Return the seconds until *job* is ended, 0 if that has begun; None
        if it has no limit."""
        if job.state != RUNNING:
            return 0.0
        return (job.deadline[0] - self._loop.now() if job.deadline
                else job.time_left)

    def limit_login(self, job, seconds):
        """End *job* if it is not logged in after *seconds*; its
        .login_deadline is the timer to cancel if it is."""
        job.login_deadline = self._loop.call_at(
            self._loop.now() + seconds, self._expire_login, job, seconds)

    def _expire_login(self, job, seconds):
        if job.state != RUNNING or self._reap_job(job):
            return
        if job.time_left is not None:       # it waits for a password
            self.limit_login(job, seconds)
        elif job.log.stage == _CONNECTING:  # else nothing says that it is out
            self.terminate(job, 'no-answer',
                           'no login within %.3g s' % seconds)

    def next_reap(self):
        """Return until when a wait may last, a point on the clock; infinity:
        until something happens."""
        if self._turn_chars > MAX_TURN_CHARS:
            return self._loop.now()    # there is more
        if not self.running:
            return math.inf
        if not self._awaiting_exit or self._loop.has_signals:
            return self._next_pass()
        # No signal will come, but the exit is most likely near.
        backoff, self._backoff = self._backoff, min(2 * self._backoff,
                                                    REAP_INTERVAL)
        return min(self._next_pass(), self._loop.now() + backoff)

    def _next_pass(self):
        return self._last_reap + (
            REAP_INTERVAL if self._loop.child_exited else REAP_INTERVAL_MAX)

    def reap(self):
        """Finish the jobs that have ended.

        Big results are left for the next turn: together they could take all
        memory.
        """
        self._turn_chars = 0
        for job in list(self._awaiting_exit):
            if self._turn_chars <= MAX_TURN_CHARS:
                self._reap_job(job)
        now = self._loop.now()
        if self.running and now >= self._next_pass():
            self._last_reap = now
            for job in list(self.running.values()):
                if self._turn_chars <= MAX_TURN_CHARS:
                    self._reap_job(job)
            self._loop.child_exited = self._turn_chars > MAX_TURN_CHARS
            self.reap_given_up()

    def reap_given_up(self):
        for job in list(self._given_up):
            if job.reap():
                self._given_up.discard(job)

    def deliver(self, result):
        """Take *result*, with which a relayed job has ended."""
        job = self.running.get(result.host)
        if job is not None:
            job.result = result
            # Not now: the pool may be about to end it.
            self._loop.call_at(self._loop.now(), self._reap_delivered, job)

    def _reap_delivered(self, job):
        if self.running.get(job.pid) is job:
            self._reap_job(job)

    def stop(self, hard):
        """End what runs: SIGTERM first; if *hard*, kill what had that."""
        for job in list(self.running.values()):
            if self._reap_job(job):
                continue
            if job.state == RUNNING:
                self.terminate(job, 'stopped', 'stopped')
            elif hard and job.state == TERMINATING:
                self._kill(job)

    def terminate(self, job, cause, reason):
        """End *job*, which is running, unless it has ended by itself; *cause*
        and *reason* say why."""
        if self._reap_job(job):
            return
        job.cause, job.reason = cause, reason
        job.become(TERMINATING)
        job.kill(signal.SIGTERM)
        job.kill(signal.SIGCONT)    # a stopped process would not hear it
        self._set_deadline(job, self._loop.now() + self._grace)

    def abort(self):
        """Kill what runs, and forget it."""
        jobs = list(self.running.values())
        for job in jobs:
            job.kill(signal.SIGKILL)
        self.forget()
        end = time.monotonic() + ABORT_LIMIT
        while jobs and time.monotonic() < end:
            time.sleep(REAP_BACKOFF)
            jobs = [job for job in jobs if not job.reap()]
        self._given_up.update(jobs)

    def forget(self):
        """Close all pipes, and leave the processes alone."""
        jobs = list(self.running.values())
        self.running.clear()
        self._awaiting_exit.clear()
        for job in jobs:
            job.close_pipes()
            self._cancel_timers(job)

    def _cancel_timers(self, job):
        self._loop.cancel(job.deadline)
        self._loop.cancel(job.login_deadline)

    def _kill(self, job):
        job.become(KILLING)
        job.kill(signal.SIGKILL)
        self._set_deadline(job, self._loop.now() + self._grace)

    def _set_deadline(self, job, deadline):
        self._loop.cancel(job.deadline)
        job.deadline = self._loop.call_at(deadline, self._expire, job)

    def _expire(self, job):
        """Do what is due to *job*, whose deadline has come."""
        if self._turn_chars > MAX_TURN_CHARS:       # in another turn
            self._set_deadline(job, self._loop.now() + REAP_BACKOFF)
        elif self._reap_job(job):
            return
        elif job.state == RUNNING:
            self.terminate(job, 'timeout',
                           'timed out after %.10g s' % job.timeout)
        elif job.state == TERMINATING:
            self._kill(job)
        else:
            job.reason += ', would not die'
            job.exitcode = -signal.SIGKILL
            self._given_up.add(job)
            self._finish(job)

    def _read(self, pipe, events, job):
        """Return whether the loop may wait on: most of what ssh logs changes
        nothing."""
        log = job.log
        stage = log.stage if log else None
        if job.read(pipe) is None:
            self._close_pipe(job, pipe)
            return False
        return log is not None and pipe == log.fd and log.stage == stage

    def _close_pipe(self, job, pipe):
        self._loop.unregister(pipe)
        del job.pipes[pipe]
        os.close(pipe)
        # ssh may leave its log to a process that lives on.
        if not job.pipes or job.log and list(job.pipes) == [job.log.fd]:
            self._awaiting_exit.add(job)
            self._backoff = REAP_BACKOFF

    def _reap_job(self, job):
        """Finish *job* if its process has ended; return whether it has."""
        ended = job.reap()
        if ended:
            self._finish(job)
        return ended

    def _finish(self, job):
        """Read what is left in the pipes of *job*, and free its place."""
        # EOF is not exit, and exit is not EOF: a ControlPersist master may
        # hold stderr for hours.  What the process itself wrote is in the
        # pipe by now; what goes beyond a pipe's size is somebody else's.
        for pipe in list(job.pipes):
            room = SWEEP_LIMIT
            while room > 0:
                count = job.read(pipe)
                if not count:
                    break
                room -= count
            self._close_pipe(job, pipe)
        del self.running[job.pid]
        self._awaiting_exit.discard(job)
        self._cancel_timers(job)
        job.become(FINISHED)
        self._turn_chars += self._on_exit(job)


# -- Job manager ------------------------------------------------------------

START_LIMIT = 0.05      # seconds of a turn that go to starting jobs
START_BATCH = 4         # jobs started between two reads of the pipes.
                        # Measured: an eighth less wall time than all at once
NO_ROOM_TIMEOUT = 5.0   # seconds that a host waits for room to start
NO_ROOM_INTERVAL = 0.05     # seconds between two tries
LOGIN_GRACE = 0.25      # seconds that ssh is given to keep its own limit
LOGINS_MIN = 8          # fewest logins in flight that drops lead to
LOGINS_PER_STEP = 20    # logins without a drop that allow one more

# Not a fault of the host: there is no room for one more process just now, or
# for its pipes (ENOSPC: in epoll, see epoll(7), max_user_watches).
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM,
                     errno.ENOSPC)

# The phases of a manager.
_OPEN, _DRAINING, _STOPPING = range(3)


class JobHooks(_Closing):
    """What a manager calls around each job; here, every one does nothing.

    Several hooks are called in the order given, finished() in reverse.  A
    with block of one may be around the run.
    """

    may_prompt = False      # True: ssh may ask, through job.environment
    options = ()            # for ssh's -o, before those of the user
    defers_stdin = False    # True: it calls manager.open_input(job) itself
    holds_stdin = False     # True: the stdin of a job, which has no input,
                            # stays open until the job ends

    def attach(self, manager):
        """*manager*, which is being built, will call these hooks, and is
        their .manager."""
        self.manager = manager

    def host_options(self, host):
        """Return the options of *host* for ssh's -o, after those of the
        user."""
        return ()

    def wrap(self, command):
        """Return what to run in place of *command*."""
        return command

    def room(self, running, now):
        """Return how many jobs may start *now* beside the *running* ones.

        It is called at least once a second while jobs run.
        """
        return sys.maxsize

    def prepare(self, job):
        """Get ready for *job*, which is about to start."""

    def started(self, job):
        """The process of *job* runs."""

    def logged_in(self, job):
        """ssh has logged in, or uses a connection that is."""

    def finished(self, job, result):
        """Return the *result* of *job*, which is over, or a better one.

        It is called once for each job that was prepared, started or not.
        """
        return result

    def refusal(self):
        """Return why no more hosts are to be tried, or ''."""
        return ''

    def close(self):
        """The with block is at its end."""


class _HookChain(JobHooks):
    """Several hooks as one."""

    def __init__(self, hooks):
        self.hooks = hooks = tuple(hooks)
        self.options = tuple(itertools.chain.from_iterable(
            hook.options for hook in hooks))
        self.may_prompt = any(hook.may_prompt for hook in hooks)
        self.defers_stdin = any(hook.defers_stdin for hook in hooks)
        self.holds_stdin = any(hook.holds_stdin for hook in hooks)

    def host_options(self, host):
        return [option for hook in self.hooks
                for option in hook.host_options(host)]

    def wrap(self, command):
        for hook in self.hooks:
            command = hook.wrap(command)
        return command

    def room(self, running, now):
        return min([hook.room(running, now) for hook in self.hooks],
                   default=sys.maxsize)

    def prepare(self, job):
        for hook in self.hooks:
            hook.prepare(job)

    def started(self, job):
        for hook in self.hooks:
            hook.started(job)

    def logged_in(self, job):
        for hook in self.hooks:
            hook.logged_in(job)

    def finished(self, job, result):
        for hook in reversed(self.hooks):
            result = hook.finished(job, result)
        return result


class LoginLimit:
    """Says how many jobs may be started and not yet logged in.

    A server drops connections when too many of them are not logged in
    (MaxStartups, see sshd_config(5)), and a jump host counts those to all
    hosts.  Without a *limit* there is none until a connection is dropped;
    then half of those in flight, and one more for each LOGINS_PER_STEP
    logins without a drop.
    """

    def __init__(self, limit=None):
        self.limit = limit
        self._adapts = limit is None
        self.in_flight = set()      # jobs started and not logged in
        self._logins = 0            # since the last drop
        self._since = set()         # jobs started since it was lowered

    def room(self):
        return (sys.maxsize if self.limit is None
                else self.limit - len(self.in_flight))

    def started(self, job):
        # Without a log no login is seen: a limit that was asked for holds
        # then until the end of the job.
        if job.log is not None or not self._adapts:
            self.in_flight.add(job)
            self._since.add(job)

    def logged_in(self, job):
        self.in_flight.discard(job)
        self._logins += 1
        if (self._adapts and self.limit is not None
                and self._logins % LOGINS_PER_STEP == 0):
            self.limit += 1

    def ended(self, job, cause):
        """Take note that *job* has ended, by *cause*; return whether it is
        the first whose connection was dropped."""
        in_flight = len(self.in_flight)
        is_new = job in self._since
        self.in_flight.discard(job)
        self._since.discard(job)
        if cause != 'dropped' or not self._adapts:
            return False
        is_first = is_new and self.limit is None
        self._logins = 0
        # Jobs of one burst are dropped together: they lower it once.
        if is_new:
            self.limit = max(LOGINS_MIN, in_flight // 2)
            self._since.clear()
        return is_first


def retry_wait(times, result, may_retry):
    """Return the seconds until the host of *result* is tried again, or None.

    *times* is how often it may be; None: 5 times where the connection was
    dropped before the login, or a shared one has failed, and never else.
    *may_retry* is what the transport says of it.
    """
    if times is None:
        times, first, most = 5, .5, 30
        may_retry = may_retry and result.cause in ('dropped', 'mux')
    else:
        first, most = 2, 60
    if not may_retry or result.tries > times:
        return None
    import random                   # few runs need it
    # Not all at once: they would be dropped together again.
    return min(most, random.random() * first * 2 ** min(result.tries - 1, 10))


class Pace:
    """A rule for the pace of a run: how many hosts may start now, and when no
    more are to be started.  This one never limits them.

    A rule hears of each host twice: of its first start and of its last
    result.  It limits new hosts alone: a host that is tried again starts as
    fanout and logins allow, and counts as running until its last result.
    A rule serves one manager.
    """

    ends_running = False    # True: where it stops the starts, what runs is
                            # ended as well

    def attach(self, manager):
        """*manager*, which is being built, will ask this rule, and is its
        .manager."""
        self.manager = manager

    def room(self, running, now):
        """Return how many hosts may start *now* beside the *running* ones.

        *now* is a point on the manager's clock.
        """
        return sys.maxsize

    def started(self, host):
        """*host* has been started, or its start has failed."""

    def finished(self, result):
        """Take note of the last *result* of a host.  Return None or, in a few
        words, why no more hosts are to be started."""


class Canary(Pace):
    """Runs *count* hosts alone, and the others when all of these were ok."""

    def __init__(self, count):
        if count < 1:
            raise ValueError('count must be 1 or more, not %r' % count)
        self._count = count
        self._started = 0
        self._good = 0

    def room(self, running, now):
        return (sys.maxsize if self._good >= self._count
                else self._count - self._started)

    def started(self, host):
        self._started += 1

    def finished(self, result):
        if result.outcome == 'ok' or self._good >= self._count:
            self._good += 1
            return None
        return '%s failed, %s' % (result.host, (
            'the first' if self._count == 1
            else 'one of the first %d' % self._count))


class Ramp(Pace):
    """Runs one host at a time at first, one more at once after each that was
    ok, up to the manager's fanout, and half as many, 1 at least, after one
    that was not."""

    def __init__(self):
        self._width = 1

    def room(self, running, now):
        return self._width - running

    def finished(self, result):
        fanout = self.manager.fanout
        self._width = (min(self._width + 1, fanout)
                       if result.outcome == 'ok'
                       else max(min(self._width, fanout) // 2, 1))


class FailLimit(Pace):
    """Lets no more hosts start once more than *most* were not ok; with
    *ends_running*, the jobs that run are ended, too."""

    def __init__(self, most, ends_running=False):
        if most < 0:
            raise ValueError('most must be 0 or more, not %r' % most)
        self.ends_running = ends_running
        self._most = most
        self._finished = 0
        self._failed = 0

    def finished(self, result):
        self._finished += 1
        self._failed += result.outcome != 'ok'
        if self._failed <= self._most:
            return None
        return '%d of %d failed' % (self._failed, self._finished)


class _Admission:
    """Says how many jobs may start now.

    *fanout* and *logins*, a LoginLimit, hold for each job, the *rules* for
    hosts that are new.
    """

    def __init__(self, fanout, logins, rules=()):
        self.fanout = fanout
        self.logins = logins
        self._rules = rules
        self._unfinished = set()    # hosts begun, whose last result is to come
        self._no_room_since = None  # a point on the manager's clock

    def room(self, running):
        """Return how many jobs may start beside the *running* ones."""
        # Where there was no room for one more, a job must end first.
        return (0 if running and self._no_room_since is not None
                else min(self.fanout - running, self.logins.room()))

    def new_room(self, now):
        """Return how many new hosts the rules let start."""
        return min([rule.room(len(self._unfinished), now)
                    for rule in self._rules], default=sys.maxsize)

    def started(self, job):
        """Take note that *job* has been started."""
        self._no_room_since = None
        self.logins.started(job)
        self._begin(job.host)

    def _begin(self, host):
        if host not in self._unfinished:
            self._unfinished.add(host)
            for rule in self._rules:
                rule.started(host)

    def ended(self, job, cause):
        """Take note that *job* has ended; see LoginLimit.ended()."""
        self._no_room_since = None
        return self.logins.ended(job, cause)

    def finished(self, result):
        """Take note of the last *result* of a host.  Return a list of (rule,
        its words) of the rules that let no more start."""
        self._no_room_since = None
        self._begin(result.host)    # where it could not be started
        self._unfinished.remove(result.host)
        told = [(rule, rule.finished(result)) for rule in self._rules]
        return [(rule, why) for rule, why in told if why]

    def no_room(self, running, now):
        """There was no room for one more.  Return whether to wait for it:
        while something runs, and then NO_ROOM_TIMEOUT seconds, since other
        programs may have taken it for a moment."""
        if self._no_room_since is None:
            self._no_room_since = now
        elif not running and now - self._no_room_since > NO_ROOM_TIMEOUT:
            self._no_room_since = None      # the next host may wait as long
            return False
        return True


class _Work:
    """What is to be done on each host: makes a job of a host, and a Result of
    a job."""

    def __init__(self, command, transport, hooks, feeder, max_output, clock,
                 journal):
        self.command = command
        self._journal = journal     # a Journal or None
        self._transport = transport
        self._hooks = hooks
        self._feeder = feeder
        self._max_output = max_output
        self._clock = clock
        self._spool = _Spool()
        self._make_job = (functools.partial(_RelayedJob, transport)
                          if isinstance(transport, Relay) else _Job)

    def job(self, host, tries):
        """Return a job for *host*, which is not started; *tries* counts this
        one, too."""
        return self._make_job(host, self._max_output, self._spool,
                              self._clock(), tries)

    def start(self, job, pool, launcher, timeout):
        """Start *job* in *pool*; raise what pool.start() raises, or the
        transport or a hook."""
        if self._journal:           # before anything that may run ssh
            self._journal.started(job.host, job.tries)
        self._transport.open(job.host)
        job.environment = self._transport.environment(job.host)
        self._hooks.prepare(job)
        job.log = self._transport.open_log()
        if job.log is not None:
            job.pipes[job.log.fd] = job.log
        pool.start(
            job, launcher,
            self._transport.argv(job.host, self._hooks.wrap(self.command),
                                 job.log and job.log.path),
            timeout if job.has_timeout else 0,
            self._feeder.uses_stdin or self._hooks.defers_stdin)

    def failure(self, job, error):
        """Return the Result of *job*, which could not be started."""
        job.close_pipes()
        if job.log:
            job.log.remove()
        return self.record(self._hooks.finished(job, Result(
            job.host, 255, '', '', job.started, job.started, 'ssh',
            '%s %s: %s' % (self._transport.name, CAUSES['start'],
                           _error_text(error)), False, 'start', 'no', None,
            job.tries)))

    def result(self, job):
        """Return the Result of *job*, which has ended."""
        if job.result is not None:
            return self.record(self._hooks.finished(job, job.result))
        self._feeder.end(job)
        outcome, cause, ran, reason = self._transport.explain(job)
        diagnostics = self._transport.diagnostics(job, outcome, self.command)
        if job.log:                 # a second ssh may have made a file
            job.log.remove()
        result = self._hooks.finished(job, Result(
            job.host, 255 if job.exitcode is None else job.exitcode,
            job.output.take(), job.errors.take(), job.started,
            job.started + self._clock() - job.clock_start, outcome, reason,
            job.output.cut or job.errors.cut, cause, ran, job.login,
            job.tries, diagnostics))
        error = job.output.error or job.errors.error
        if error is not None:
            lost = '%s: %s' % (CAUSES['output-lost'], _error_text(error))
            result = result._replace(
                truncated=True, cause='output-lost',
                reason=', '.join(filter(None, [lost, result.reason])))
        return self.record(result)

    def record(self, result):
        """Return *result*, once it is in the journal."""
        if self._journal:
            self._journal.finished(result)
        return result

    def release(self):
        """Release what is held only while there is work."""
        self._spool.close()
        self._transport.close()


class _Retrying:
    """The hosts of the queue *hosts* that are tried again, so many *times*.

    last    host that waits for another try, or runs: its Result of the last
    """

    def __init__(self, hosts, times, transport):
        self.last = {}
        self._hosts = hosts
        self._times = times
        self._transport = transport

    def tries(self, host):
        """Return how often *host* was tried so far."""
        last = self.last.get(host)
        return last.tries if last else 0

    def put_back(self, result, now):
        """Have the host of *result* tried again, if it may be; return
        whether it is."""
        wait = retry_wait(self._times, result,
                          self._transport.may_retry(result))
        if wait is not None:
            self.last[result.host] = result
            self._hosts.put_back(result.host, now + wait)
        return wait is not None

    def undo(self, host, now):
        """Have *host*, which was taken and not started, taken again."""
        # One that was tried before is due at once instead of being first,
        # because rules of the pace hold up new hosts alone.
        self._hosts.put_back(host, now if host in self.last else None)

    def withdraw(self):
        """Try none again that waits; return their last Results, a list."""
        return [self.last[host] for host in self._hosts.withdraw(self.last)]


class _Dispatcher:
    """What a manager does in its turns: starts a job on each host of the queue
    as admission and hooks allow, and makes a Result of each job that is over.

    Descriptors are held only while there is work.
    """

    def __init__(self, hosts, command, *, transport, hooks, admission,
                 timeout, max_output, input, grace, keep, warn, clock,
                 retries, login_timeout, deadline, journal):
        self._hosts = hosts
        self._admission = admission
        self.timeout = timeout      # seconds a job may take; 0: no limit
        self._loop = _Loop(clock)
        self._feeder = _Feeder(self._loop, input, self._input_lost,
                               hooks.holds_stdin)
        self._pool = _Pool(self._loop, grace, self._job_exited)
        self._work = _Work(command, transport, hooks, self._feeder, max_output,
                           clock, journal)
        self._finished = collections.deque()    # results not yet returned
        self.results = {}           # host: its Result
        self._watched = {}          # fileobj: whether it keeps us going
        self._phase = _OPEN
        self.stopped_by = None      # the rule that let no more start ...
        self.stopped_why = None     # ... and what it said, in a few words
        self._hooks = hooks
        self._retrying = _Retrying(hosts, retries, transport)
        self._login_timeout = login_timeout     # seconds; 0: no limit
        self._deadline = deadline   # seconds, until it runs; or None
        self._transport = transport
        self._keep = keep
        self.warn = warn or (lambda text: None)
        self._warned_of_room = False
        self._hosts_pending = False     # more can be started at once
        self._launcher = None       # while there is work
        self._owner = None          # the pid of the process that started it

    @property
    def done(self):
        """True when no job runs, no host is left to start, no result to
        return, and nothing that holds is watched."""
        return not (self._pool.running or self._finished
                    or any(self._watched.values())) and self._starts_ended

    @property
    def _starts_ended(self):
        return (self._hosts.exhausted if self._phase == _OPEN
                else not self._retrying.last)

    def stop(self):
        """Start nothing more and end what runs: SIGTERM, SIGKILL, give up.

        Return at once; poll() returns the results, the last one of a host
        that waits to be tried again, too.  Called once more, kill without
        waiting.  For the hosts not started see not_started().
        """
        self._disown_in_child()
        hard = self._phase == _STOPPING
        self._phase = _STOPPING
        self._pool.stop(hard)

    def drain(self):
        """Start nothing more; what runs may come to its end."""
        self._phase = max(self._phase, _DRAINING)

    def _turn(self, timeout):
        self._disown_in_child()
        self._loop.begin_turn()
        if self._deadline is not None:
            self._loop.call_at(self._loop.now() + self._deadline,
                               self._end_run, 'not done after %.10g s'
                               % self._deadline)
            self._deadline = None
        if self._phase != _OPEN:
            for result in self._retrying.withdraw():
                self._emit(result)
        try:
            self._start_jobs()
            self._wait(timeout)
        except (OSError, MemoryError):
            # Of poll(), say.  The next turn may fare no better, but what
            # runs must come to its end.
            self._pool.reap()
            self._loop.run_timers()
            raise
        self._pool.reap()
        self._loop.discount_step()
        self._loop.run_timers()
        if not (self._pool.running or self._watched) and self._starts_ended:
            self._release()

    def _start_jobs(self):
        self._hosts_pending = False
        end = self._loop.now() + START_LIMIT
        while self._phase == _OPEN:
            now = self._loop.now()
            running = len(self._pool.running)
            # Results not yet returned count as running, or one turn could
            # take every host when all starts fail.
            if min(self._admission.room(running + len(self._finished)),
                   self._hooks.room(running, now),
                   self._transport.room()) <= 0:
                return
            # A large fanout must not keep the running jobs and the signals
            # waiting: the others are for the next turn.
            if now > end:
                self._hosts_pending = True
                return
            takes_new = self._admission.new_room(now) > 0
            host = (self._hosts.take(now) if takes_new
                    else self._hosts.take_due(now))
            if host is None:
                self._hosts_pending = takes_new and self._hosts.pending(now)
                return
            try:
                job = self._work.job(host, self._retrying.tries(host) + 1)
            except BaseException:   # no memory, say
                self._retrying.undo(host, now)
                raise
            if not self._start(job):
                return

    def _start(self, job):
        """Start *job*; return False where there is no room.  Whatever breaks
        the start off, neither a process nor a host is lost."""
        try:
            self._acquire()
            self._work.start(job, self._pool, self._launcher, self.timeout)
        except BaseException as error:
            if job.pid is None:
                return self._not_started(job, error)
            self._started(job)      # a signal's handler raised, say
            raise
        self._started(job)
        self._loop.discount_step()
        if len(self._pool.running) % START_BATCH == 0:
            self._loop.dispatch(0)
        return True

    def _started(self, job):
        self._admission.started(job)
        if job.log:
            job.log.on_login = functools.partial(self._logged_in, job)
            if self._login_timeout:
                # A little later than ssh itself, whose words are better; but
                # before the limit of the job, which tells less.
                limit = self._login_timeout + LOGIN_GRACE
                if self._login_timeout <= (job.timeout or 0) <= limit:
                    limit -= 2 * LOGIN_GRACE
                self._pool.limit_login(job, limit)
        self._hooks.started(job)
        if not self._hooks.defers_stdin:
            self._feeder.begin(job)
        if self._phase == _STOPPING and job.state == RUNNING:
            # A signal's handler called stop() during the start.
            self._pool.terminate(job, 'stopped', 'stopped')

    def _not_started(self, job, error):
        """Recover from a broken start; return False where there is no room.
        Raise *error* again if it did not come from starting the process (a
        signal's handler raised)."""
        try:
            result = self._work.failure(job, error)
            if not _is_start_error(error):
                raise error
        except BaseException:       # that, or of a hook
            self._retrying.undo(job.host, self._loop.now())
            raise
        if (getattr(error, 'errno', None) in _OUT_OF_RESOURCES
                and self._admission.no_room(len(self._pool.running),
                                            self._loop.now())):
            self._retrying.undo(job.host, self._loop.now())
            if not self._warned_of_room:
                self._warned_of_room = True
                self.warn('no room for %d jobs at once, running fewer: %s'
                          % (self._admission.fanout, error.strerror))
            return False
        self._emit(result)
        return True

    def _wait(self, timeout):
        """Wait until something happens, and read what is ready."""
        now = self._loop.now()
        if self.done or self._hosts_pending or self._finished:
            until = now
        else:
            until = min(self._pool.next_reap(), self._next_start(now),
                        now + timeout)
        if self._loop.is_open:
            self._loop.run_once(until)
        elif until < math.inf:      # no job was started yet, or none can be
            time.sleep(max(0, min(until - now, NO_ROOM_INTERVAL)))

    def _next_start(self, now):
        """Return when a job may start though nothing has happened, a point
        on the clock or infinity."""
        if self._phase != _OPEN:
            return math.inf
        if self._hosts.pending(now) and not self._pool.running:
            # There is no room, and only another try tells when there is.
            return now + NO_ROOM_INTERVAL
        # A host that is due by now has no room, either.
        due = self._hosts.next_due
        return math.inf if due is None or due <= now else due

    def _input_lost(self, error, jobs):
        """End *jobs*, which would take a part of the input for all of it."""
        if self._feeder.lost:
            self.drain()
        for job in jobs:
            if job.state == RUNNING:
                self._pool.terminate(job, 'input', '%s: %s' % (
                    CAUSES['input'], error.strerror))

    def _logged_in(self, job):
        job.login = self._loop.now() - job.begun
        self._loop.cancel(job.login_deadline)
        self._admission.logins.logged_in(job)
        self._hooks.logged_in(job)

    def _job_exited(self, job):
        """Emit the result of *job*, or have its host tried again; return how
        many characters the result has."""
        try:
            result = self._work.result(job)
        except BaseException:       # of a hook, or for want of memory
            self._admission.ended(job, 'output-lost')
            self._emit(self._work.record(Result(
                job.host, 255, '', '', job.started, job.started, 'killed',
                CAUSES['output-lost'], True, 'output-lost', 'unknown',
                job.login, job.tries)))
            raise
        if self._admission.ended(job, result.cause):
            self.warn('connections are dropped before the login, as by '
                      'MaxStartups of sshd: at most %d logins at once now '
                      '(--logins)' % self._admission.logins.limit)
        if (self._phase != _OPEN or result.outcome == 'ok'
                or not self._retrying.put_back(result, self._loop.now())):
            self._emit(result)
        return len(result.output) + len(result.errors)

    def _emit(self, result):
        self._retrying.last.pop(result.host, None)
        self._finished.append(result)
        if self._keep:
            self.results[result.host] = result
        told = self._admission.finished(result)
        if told and self._phase != _STOPPING:
            if self.stopped_by is None:
                self.stopped_by, self.stopped_why = told[0]
            self.drain()
            if any(rule.ends_running for rule, _ in told):
                # Not now: the pool may be about to reap another job.
                self._loop.call_at(self._loop.now(), self._end_run)

    def _end_run(self, why=None):
        """End what runs unless that has begun; *why*: see .stopped_why."""
        if self._phase != _STOPPING:
            self.stopped_why = self.stopped_why or why
            self.stop()

    # What is held while there is work

    def _acquire(self):
        """Open loop and launcher; where that raises, neither stays open."""
        if not self._loop.is_open:
            launcher = _Launcher(self._transport.program)
            try:
                self._loop.open()
            except BaseException:
                launcher.close()
                raise
            self._launcher = launcher
            self._owner = os.getpid()

    def _release(self):
        if self._loop.is_open:
            self._loop.close()
            self._launcher.close()
            self._owner = None
        self._pool.reap_given_up()
        self._retrying.last.clear()
        self._work.release()

    def _disown_in_child(self):
        """Forget everything in a forked child of the owner.

        The epoll instance of the loop is shared with the parent: what
        the child unregistered, the parent would wait for in vain.
        """
        if self._owner in (None, os.getpid()):
            return
        self._phase = _STOPPING
        self._pool.forget()
        self._finished.clear()
        self._watched.clear()
        self._release()


class SSHJobMan(_Closing, _Dispatcher):
    """Runs *command* on *hosts*, at most *fanout* at once.

    hosts            one str or any iterable of them, read as slots become
                     free; a host that is named twice runs once
    command          one str, passed on untouched
    fanout           jobs at once; may be changed between polls
    timeout          seconds a job may take; 0 or less, None: no limit
    connect_timeout  whole seconds for the login; 0: leave it to ssh_config
    user             for hosts that do not say user@
    ssh              the ssh to run: a str, split as a shell would, or a list
    options          'KEY=VALUE' strings for ssh's -o
    expand           False: a bracket in a host is no pattern
    exclude          hosts not to run, in the same forms as hosts
    only             run none but these of them, likewise; None: all
    input            a file or descriptor, or None: every host gets its
                     bytes on stdin, at its own pace
    keep             False: .results stays empty, and memory flat
    max_output       bytes to keep of each stream of a job; 0: no limit
    grace            seconds from SIGTERM to SIGKILL to giving up on a job
    hooks            JobHooks, called around each job
    pace             a Pace or several: rules for the start of hosts beside
                     *fanout* and *logins*
    deadline         seconds from the first poll() until what runs is ended
                     and no more hosts are started; None: no limit
    transport        Ssh, or Local, for a command here: a class, which gets
                     user, ssh, options and connect_timeout, or a Transport,
                     such as a Relay, which has its own
    retries          how often a host is tried again whose command has
                     certainly not started; None: 5 times where the
                     connection was dropped before the login, or a shared
                     one has failed, else never
    logins           jobs that may be started and not yet logged in; None:
                     no limit until connections are dropped
    journal          a Journal, which gets a record before each start and
                     after each end, or None
    warn             called with a line of text, once each, when there is no
                     room for *fanout* jobs and when connections are dropped,
                     and with the warnings of hooks
    clock            returns seconds; for tests of time alone

    Iteration gives each Result as its host finishes.  .results maps host
    to Result in order of finishing.  Leaving a with block, or the
    iteration, before the end stops what runs and leaves nothing behind;
    otherwise call close().

    .stopped_by is the rule of the pace that let no more hosts start, and
    .stopped_why why that or the deadline did, a few words; else None.

    Raise PatternError for a bad host: at once if *hosts* is a str, list or
    tuple, else from the poll() that reads it, after which one may go on
    (wait() and iteration stop what runs); ValueError for a *fanout* below 1
    or an *ssh* of no words.

    Use one manager from one thread, from its first poll() to its end; each
    thread may have its own.  In a child that the program forks meanwhile,
    the manager is at its end: it leaves the jobs of the parent alone.
    """

    def __init__(self, hosts, command, *, fanout=FANOUT, timeout=TIMEOUT,
                 connect_timeout=CONNECT_TIMEOUT, user=None, ssh='ssh',
                 options=(), expand=True, exclude=(), only=None, input=None,
                 keep=True, max_output=MAX_OUTPUT, grace=KILL_GRACE, hooks=(),
                 pace=None, deadline=None, transport=Ssh, retries=None,
                 logins=None, journal=None, warn=None, clock=time.monotonic):
        if not isinstance(command, str):
            raise TypeError('command must be a str, not '
                            + type(command).__name__)
        if not (input is None or isinstance(input, int)
                or hasattr(input, 'fileno')):
            raise TypeError('input must be a file or a descriptor, not '
                            + type(input).__name__)
        chain = _HookChain(hooks)
        rules = [pace] if isinstance(pace, Pace) else list(pace or ())
        if isinstance(transport, type):
            transport = transport(
                ssh, user=user, connect_timeout=connect_timeout,
                options=(*chain.options, *(
                    [options] if isinstance(options, str) else options)),
                host_options=chain.host_options,
                may_prompt=chain.may_prompt)
        super().__init__(
            hosts if isinstance(hosts, HostQueue)
            else HostQueue(hosts, expand, exclude, only), command,
            transport=transport, hooks=chain,
            admission=_Admission(fanout, LoginLimit(logins), rules),
            retries=retries, login_timeout=connect_timeout,
            timeout=timeout or 0, max_output=max_output or sys.maxsize,
            input=input, grace=grace, keep=keep, warn=warn, clock=clock,
            deadline=deadline, journal=journal)
        self._clock = clock
        self.fanout = fanout        # which checks it
        if journal is not None:
            journal.open(command, self.fanout, self.timeout)
        for part in (*chain.hooks, transport, *rules):
            part.attach(self)

    # What callers use

    @property
    def command(self):
        return self._work.command

    @property
    def fanout(self):
        return self._admission.fanout

    @fanout.setter
    def fanout(self, fanout):
        if fanout < 1:
            raise ValueError('fanout must be 1 or more, not %r' % fanout)
        self._admission.fanout = fanout

    @property
    def running(self):
        """A dict of the hosts that run now: seconds so far, longest first."""
        now = self._clock()
        return {job.host: now - job.clock_start
                for job in self._pool.running.values()}

    @property
    def time_left(self):
        """A dict of the hosts that run now: seconds until their limit; 0:
        they are being ended; None: they have no limit."""
        return {job.host: self._pool.time_left(job)
                for job in self._pool.running.values()}

    @property
    def logging_in(self):
        """How many of those that run are known not to be logged in."""
        return len(self._admission.logins.in_flight)

    @property
    def waiting(self):
        """A dict of the hosts that wait to be tried again: seconds until
        then, the soonest first."""
        now = self._loop.now()
        return {host: max(0.0, due - now)
                for due, host in self._hosts.delayed}

    @property
    def left(self):
        """How many hosts are not started, or wait to be tried again; None:
        unknown.  Hosts are read ahead for it, and PatternError as in poll().
        """
        return self._hosts.count()

    @property
    def stopping(self):
        """True once no more hosts are started: after stop() or drain()."""
        return self._phase != _OPEN

    def add(self, hosts):
        """Run on *hosts* too; PatternError as for the constructor."""
        self._hosts.add(hosts)

    def poll(self, timeout=None):
        """Do one turn; return the list of results that it finished.

        Start what fits, but for a moment only, wait for something to
        happen, read, reap, end what is over its time.  Wait for *timeout*
        seconds at most; None: until something happens, if only a signal or
        a limit that is due.
        """
        if not self._finished:      # as after a turn that raised
            self._turn(math.inf if timeout is None else timeout)
        finished = list(self._finished)
        self._finished.clear()
        return finished

    def deliver(self, result):
        """Take *result*, of a host that a Relay was given; the next poll()
        returns it.  That of a host which does not run is dropped."""
        self._pool.deliver(result)

    def wait(self, timeout=None):
        """Go on to the end; return False if *timeout* seconds passed first.

        The results are in .results.
        """
        end = self._clock() + (math.inf if timeout is None else timeout)
        try:
            while not self.done:
                left = end - self._clock()
                self.poll(left)
                if left <= 0:
                    return self.done
        except BaseException:
            self.close()
            raise
        return True

    def __iter__(self):
        try:
            while not self.done:
                if not self._finished:
                    self._turn(math.inf)
                while self._finished:
                    yield self._finished.popleft()
        except BaseException:
            self.close()
            raise

    def not_started(self):
        """Return an iterator that takes the hosts that stop(), drain() or
        the pace left over: the queue itself."""
        return self._hosts

    def close(self):
        """stop() and wait for it; release everything."""
        try:
            self._disown_in_child()
            for fileobj in list(self._watched):
                self.unwatch(fileobj)
            if self._phase != _STOPPING:
                self.stop()
            while self._pool.running:
                self._turn(math.inf)
        finally:                    # jobs are left if we were interrupted
            self._pool.abort()
            self._release()
            self._feeder.close()

    def call_later(self, seconds, callback):
        """Call callback() once, from poll(), after *seconds*, unless there
        is nothing to wait for by then."""
        self._loop.call_at(self._loop.now() + seconds, callback)

    def extend_deadlines(self, seconds, least=STOPPED_MIN):
        """Charge no job for *seconds* in which the caller was busy, if they
        are more than *least*.

        poll() does so for a time in which we were stopped (SIGTSTP).
        """
        self._loop.discount(seconds, least)

    def watch(self, fileobj, events, callback, hold=True):
        """Call callback(fileobj, events) from poll() when *fileobj* is ready.

        *events* is selectors.EVENT_READ, EVENT_WRITE or both.  While
        anything is watched, iteration and wait() do not end, unless *hold*
        is false.  Watching once more changes all three.  What a callback
        raises comes out of poll(), which may be called again.
        """
        self.unwatch(fileobj)
        self._acquire()

        def call(fileobj, events, data):    # and return None, whatever it does
            callback(fileobj, events)

        self._loop.register(fileobj, events, call)
        self._watched[fileobj] = hold

    def unwatch(self, fileobj):
        """Watch *fileobj* no longer; to be called before it is closed."""
        self._disown_in_child()
        if self._watched.pop(fileobj, None) is not None:
            self._loop.unregister(fileobj)

    # What hooks use of it

    def open_input(self, job):
        """Begin to feed *job*; for hooks that defer its stdin."""
        self._feeder.begin(job)

    def end_input(self, job):
        """Close the stdin of *job*, if it is open."""
        self._feeder.end(job)

    @property
    def uses_stdin(self):
        """True if the stdin of a job may be open until the job ends: jobs
        have input, or a hook holds it."""
        return self._feeder.uses_stdin

    @property
    def input_lost(self):
        """True if the input is no use any more, so that no job is started."""
        return self._feeder.lost

    def pause(self, job):
        """Stop the clock of *job* until resume(job): it waits for us."""
        self._pool.pause(job)

    def resume(self, job):
        self._pool.resume(job)


# -- Console and views ------------------------------------------------------

STALL_LIMIT = 2.0       # seconds that a blocked stream is waited for once the
                        # run has been asked to end
WAITING_MAX = 1 << 20   # bytes of lines that may wait for a slow reader
LINE_SIZE = 1 << 16     # bytes of a line that are shown in one piece ...
NAMELESS_SIZE = 1 << 24     # ... and without names, which mark the pieces
STATUS_DELAY = 2.0      # seconds until a status line is first shown ...
STATUS_SILENCE = 5.0    # ... and after a result that was shown there
STATUS_INTERVAL = 0.25  # seconds at least between two of them
NAMED_MAX = 1000        # hosts that one of its lines names at most
LONG_RUN = 60.0         # seconds after which a line tells how long it took
RATE_RESULTS = 20       # fewest results that a rate is taken from
LIMIT_LEFT = 0.2        # part of its time that is left to a job when a
                        # warning tells that it will be ended ...
LIMIT_LEFT_MIN = 1.0    # ... if that is so many seconds
LIMIT_BURST = 1.0       # seconds within which jobs are started together ...
LIMIT_BURST_PART = 0.05     # ... or part of their time, if that is more


_LINE_ESCAPES = {code: '\\x%02x' % code
                 for code in (*range(0x20), *range(0x7f, 0xa0))}
# Newline and tab pass; bytes that could not be decoded and the marks that
# turn the direction of text do not.
_TERMINAL_ESCAPES = {
    **_LINE_ESCAPES, 0x0a: '\n', 0x09: '\t',
    **{0xdc00 + byte: '\\x%02x' % byte for byte in range(0x80, 0x100)},
    **{code: '\\u%04x' % code for code in (
        0x61c, 0x200e, 0x200f, *range(0x202a, 0x202f),
        *range(0x2066, 0x206a))}}


# What select a colour on a terminal (SGR of ECMA-48).  The colours of hosts
# can be read on black and on white; red is for what is bad.
_RED, _GREEN = '31', '32'
_HOST_COLORS = ('32', '33', '35', '36', '94',
                '1;32', '1;33', '1;35', '1;36', '1;94')


def _has_wide(text):
    """Return whether a character of *text* may take more than one column."""
    return '\t' in text or max(text, default='') >= '\u1100'


def _fitting(line, begin, column, width):
    """Return where that part of *line* ends that fits in *width* columns if
    it stands at *column*.  What selects a colour takes no column."""
    for found in re.compile('(?:\x1b\\[[0-9;]*m)|.').finditer(line, begin):
        char = found.group()
        # Beyond the scripts of one column, a character may take two.
        column += (0 if char[0] == '\x1b' else 8 - column % 8 if char == '\t'
                   else 1 if char < '\u1100' else 2)
        if column > width:
            return max(found.start(), begin + 1)
    return len(line)


# A blank of ours that ends a line of a terminal only where no other may.
_TIE = '\x1f'


def _behind_last(chars, line, begin, end):
    """Return the place behind the last of *chars* in line[begin:end], 0 if
    there is none."""
    return 1 + max((line.rfind(char, begin, end) for char in chars),
                   default=-1)


def _fold_line(line, width, behind=''):
    """Return *line* in pieces of *width* columns at most, all but the first
    with an indent.  They end behind one of the characters *behind*, or else
    behind a _TIE, if that leaves half of them."""
    if len(line) <= width and not _has_wide(line):
        return line
    pieces, begin = [], 0
    end = _fitting(line, 0, 0, width)
    while end < len(line):
        half = (begin + end) // 2
        end = (_behind_last(behind, line, half, end)
               or _behind_last(_TIE, line, half, end) or end)
        pieces.append(line[begin:end])
        begin = end
        end = _fitting(line, begin, 2, width)
    return '\n  '.join(pieces + [line[begin:]])


class Console:
    """A standard stream to write str to; it never raises.

    The first error is kept in .error, and all later text is dropped: a full
    disk or a reader who went away must not end the run.  Characters that
    could drive a terminal are escaped there.
    """

    def __init__(self, stream, stops=None):
        """*stream* is a text file or None; *stops* the StopRequests that end
        the waiting for a reader who does not read, or None."""
        self.error = None
        self.terminal = stream is not None and stream.isatty()
        self.colored = False        # see use_color()
        self.waited = 0.0           # seconds, for a reader who is slow
        # What has begun a line on this terminal: its give_way() returns the
        # bytes that end that, or erase it, before others are written.
        self.below = []
        self._stops = stops
        self._stream = stream
        self._held = bytearray()
        if stream is None:          # as sys.stdout is where it was closed
            self.error = OSError(errno.EBADF, os.strerror(errno.EBADF))
            return
        with contextlib.suppress(OSError, ValueError):
            stream.flush()          # what a host program has printed

    def write(self, text, flush=True):
        """Write *text*, which is safe, as it is."""
        self._held += self.encode(text)
        if flush or len(self._held) > READ_SIZE:
            held, self._held = self._held, bytearray()
            self.put(held)

    def encode(self, text):
        """Return the bytes of *text*, which is safe, for put()."""
        if self.terminal:
            return text.encode(self._stream.encoding, 'backslashreplace')
        return _octets(text)

    def put(self, octets):
        """Write *octets*, at the pace of the reader."""
        if self.below:
            octets = b''.join([*(one.give_way() for one in self.below),
                               octets])
        self._write_ready(octets, STALL_LIMIT)

    def offer(self, octets):
        """Write as much of *octets* as the reader takes at once; return the
        rest, a memoryview."""
        self.put(b'')               # others give way
        return self._write_ready(octets)

    def write_if_ready(self, octets):
        """Write *octets*, a few hundred at most, to a terminal, unless that
        blocks or fails; return whether they were written."""
        return len(self._write_ready(octets)) < len(octets) and not self.error

    def _write_ready(self, octets, patience=0):
        """Write *octets* as long as there is no error, unless *patience* is 0
        and the reader takes no more; return the rest in that case."""
        left = memoryview(octets)
        while left and not self.error:
            try:
                written = self._write_part(left, patience)
            except OSError as error:
                self.error = error
                break
            if not (written or patience):
                return left
            left = left[written:]
        return left[:0]

    def _write_part(self, octets, patience):
        """Write some of *octets* within *patience* seconds; return how many.
        Raise OSError."""
        try:
            fd = self._stream.fileno()
        except io.UnsupportedOperation:     # main() called with a StringIO
            self._stream.write(bytes(octets).decode('utf-8',
                                                    'backslashreplace'))
            return len(octets)
        ready = select.poll()
        ready.register(fd, select.POLLOUT)
        begun = time.monotonic()
        is_ready = ready.poll(1000 * patience)
        self.waited += time.monotonic() - begun
        if is_ready:
            with contextlib.suppress(BlockingIOError):
                # This much does not block where it is ready.
                return os.write(fd, octets[:select.PIPE_BUF])
        elif patience and self.stop_level():
            raise OSError(errno.ETIMEDOUT,
                          'blocked, its reader does not read')
        return 0

    def write_whole(self, text):
        """Write *text*; where the stream is a file that has no room for all
        of it, then nothing of it."""
        if self.error:
            return
        with contextlib.suppress(io.UnsupportedOperation):
            size = os.fstat(self.fileno()).st_size
        self.write(text)
        if self.error:
            with contextlib.suppress(OSError):      # it is no file
                fd = self.fileno()
                # Unless another process has written there meanwhile.
                if os.lseek(fd, 0, os.SEEK_CUR) == os.fstat(fd).st_size:
                    os.ftruncate(fd, size)
                    os.lseek(fd, size, os.SEEK_SET)

    def fileno(self):
        return self._stream.fileno()

    @property
    def reader_left(self):
        return isinstance(self.error, BrokenPipeError)

    def stop_level(self):
        """Return how often an end was asked for, as StopRequests.level()."""
        return self._stops.level() if self._stops else 0

    @property
    def understands_codes(self):
        """Whether this is a terminal that moves its cursor on request."""
        return self.terminal and os.environ.get('TERM', 'dumb') != 'dumb'

    def share_terminal(self, other):
        """Have what is below this Console below the *other*, too, if the two
        are one terminal."""
        if (self.terminal and other.terminal
                and os.fstat(self.fileno()).st_rdev
                == os.fstat(other.fileno()).st_rdev):
            other.below = self.below

    def in_background(self):
        """Return whether another job of the shell has this terminal."""
        try:
            return os.tcgetpgrp(self.fileno()) != os.getpgrp()
        except OSError:             # it belongs to another session
            return False

    def line(self, text):
        """Return *text*, of ours, as one line, whatever names it holds."""
        return self.escape(text.translate(_LINE_ESCAPES)) + '\n'

    def print_line(self, *lines):
        self.write(''.join(map(self.line, lines)))

    def print_names(self, *lines):
        """Print *lines*, of ours, that name hosts: they are broken behind a
        comma, whether they have an indent or not."""
        self.write(self.fold(''.join(map(self.line, lines)), ' ,', ' ,'))

    def warn(self, text, *more):
        """Print *text*, a message, and *more* lines that belong to it."""
        self.print_line('classh: ' + text, *more)

    def write_text(self, text):
        """Write remote *text*, escaped.

        A line that is wider than the terminal continues on lines with an
        indent: the terminal itself would continue it at the left edge, where
        remote text could pass for a line of ours.
        """
        self.write_folded(self.escape(text))

    def write_folded(self, text):
        """Write *text*, escaped and perhaps painted, as write_text() does."""
        self.write(self.fold(text, ' ,'))

    def escape(self, text):
        """Return remote *text* as it may be written."""
        if not self.terminal:
            return text
        # ssh ends its own messages with CR LF, which is harmless.
        return text.replace('\r\n', '\n').translate(_TERMINAL_ESCAPES)

    def use_color(self, when):
        """Paint from now on: 'always', 'never', or 'auto': on a terminal,
        unless NO_COLOR is set or TERM is dumb."""
        self.colored = when == 'always' or when == 'auto' and (
            self.understands_codes and not os.environ.get('NO_COLOR'))

    def paint(self, text, color):
        """Return *text*, which is escaped, in *color*."""
        return '\x1b[%sm%s\x1b[0m' % (color, text) if self.colored else text

    def tie(self, text):
        """Return *text*, for fold(), which rather breaks a line elsewhere."""
        return text.replace(' ', _TIE) if self.terminal else text

    def host(self, name):
        """Return the *name* of a host, escaped, in a colour of its own."""
        return self.paint(self.escape(name), _HOST_COLORS[
            binascii.crc32(_octets(name)) % len(_HOST_COLORS)])

    def columns(self):
        """Return how wide the terminal is now."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def fit(self, fields, width):
        """Return the first of *fields*, a list of str, that fit in a line of
        *width* columns, or what does of the very first; bytes for
        write_if_ready()."""
        for count in range(len(fields), 0, -1):
            text = self._as_shown(self.escape('   '.join(fields[:count])))
            line, *rest = _fold_line(text, max(width, 1)).split('\n')
            if not rest:
                break
        return self.encode(line)

    def _as_shown(self, text):
        """Return *text* with what the terminal can show in its encoding."""
        return self.encode(text).decode(self._stream.encoding)

    def fold(self, text, behind=' ', indented=' '):
        """Return *text*, which is escaped, as write_text() writes it.

        Lines without an indent, which name hosts, are broken *behind* these
        characters, those with an indent behind the ones of *indented*.
        """
        if not self.terminal:
            return text
        text = self._as_shown(text)
        width = max(self.columns(), 20)

        def fold_line(found):
            line = found.group()
            return _fold_line(line, width,
                              indented if line[0] == ' ' else behind)

        # Most characters take one column, none more than the 8 of a tab.
        least = width // 8 if _has_wide(text) else width + 1
        return re.sub('(?m)^[^\n]{%d,}' % least, fold_line, text).replace(
            _TIE, ' ')


_PLAIN = Console(None)      # escapes and paints nothing


def run_script(script, usage):
    """Exit with the status that script(arguments, out) returns; *out* is a
    Console of stdout.

    An error ends the script with one line on stderr and status 1, or 2 where
    the arguments are at fault; Ctrl-C without a word and 130.  UsageError
    without a text shows *usage*, as does -h, alone, on stdout.
    """
    name = os.path.basename(sys.argv[0])
    # Where Python drops docstrings (-OO), that of the script is None.
    usage = (usage or name + ': its first lines tell how to use it').strip()
    out = Console(sys.stdout)
    try:
        if sys.argv[1:] in (['-h'], ['--help']):
            out.write(usage + '\n')
            status = 0
        else:
            status = script(sys.argv[1:], out)
        if out.error:
            raise out.error
        sys.exit(status)
    except UsageError as error:
        status, said = 2, str(error) or usage
    except (ClasshError, OSError) as error:
        status = 1 if isinstance(error, (RecordError, OSError)) else 2
        said = '%s: %s' % (name, _error_text(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    print(said, file=sys.stderr)
    sys.exit(status)


def _indent(text):
    """Return the lines of *text* two columns to the right, blank ones not.

    A million short lines, as a list, would take fifty times their size.
    """
    text = ('\n' + text).replace('\n', '\n  ')
    for _ in range(2):              # the matches would overlap
        text = text.replace('\n  \n', '\n\n')
    return text[1:-2] if text.endswith('\n  ') else text[1:] + '\n'


def _ordinal(number):
    """Return '1st', '2nd', '3rd', '4th' ... for *number*."""
    ending = {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')
    return '%d%s' % (number, 'th' if number % 100 in (11, 12, 13) else ending)


def _number(count, noun='host'):
    """Return '1 host', '2 hosts' ... for *count*."""
    return '%d %s%s' % (count, noun, '' if count == 1 else 's')


def _part(console, title, text):
    """Return *text* under its *title*, escaped; '' if there is none.

    Lines of remote text are indented, so that none can pass for ours.
    """
    return text and '  %s:\n\n%s' % (title, console.escape(_indent(text)))


def _block(head, *parts):
    """Return the line *head* and the *parts* below it, as one str."""
    parts = [head, *filter(None, parts)]
    return '\n'.join(parts) + ('\n' if len(parts) > 1 else '\n\n')


def _head(console, hosts, result, took, *notes):
    """Return the first line of a report of *result*: of which *hosts*, what
    it *took*, those of the *notes* that are not empty; escaped, painted."""
    status = str(result.exitcode)
    if result.outcome != 'ok':
        status = console.paint(status, _RED)
    notes += (_is_cut(result) and 'output cut at its limit',)
    return '   '.join([
        console.host(hosts), console.tie('%s   %s' % (status, took)),
        console.escape(', '.join(filter(None, notes)))]).rstrip()


# In ssh's warnings of many lines: those that tell nothing of the host, or what
# the cause and another line tell as well; and the frames of the titles.
_SSH_PADDING = (
    r'(?m)^(?:@{9,}|IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!|'
    r'Someone could be eavesdropping on you right now .*|'
    r'It is also possible that a host key has just been changed\.|'
    r'The fingerprint for the \S+ key sent by the remote host is|'
    r'(?:SHA256|MD5):\S+\.|Please contact your system administrator\.|'
    r'Add correct host key in .* to get rid of this message\.|'
    r'  remove with:|  ssh-keygen -f .* -R .*|'
    r'Host key for .* has changed and you have requested strict checking\.|'
    r'The \S+ host key for .* has changed,|'
    r'and the key for the corresponding IP address .*|'
    r'.*\. This could either mean that|'
    r'DNS SPOOFING is happening or the IP address for the host|'
    r'and its host key have changed at the same time\.|'
    r'This could mean that a stolen key is being used to|'
    r'impersonate this host\.|'
    r'It is required that your private key files are NOT accessible .*|'
    r'\*\* This session may be vulnerable to .*|'
    r'\*\* The server may need to be upgraded\. .*'
    r')\n|^@ +(?=WARNING: )|(?<=!) +@$')


def _shown_words(words):
    """Return *words* of ssh itself, for a person: without what only fills
    the screen.  What the host wrote is never cut so."""
    return re.sub(_SSH_PADDING, '', words)


def report(result, console=None):
    """Return the few lines that show *result* to a person, as str; with a
    *console*, escaped and painted for its write_folded().  Long warnings of
    ssh are shortened."""
    console = console or _PLAIN
    tries = result.tries > 1 and 'at the %s try' % _ordinal(result.tries)
    return _block(_head(console, result.host, result,
                        '(%.1f)' % result.elapsed, result.reason, tries),
                  _part(console, 'Error',
                        _shown_words(result.diagnostics) + result.errors),
                  _part(console, 'Output', result.output))


class View:
    """A way to show a run while it goes on; this one shows nothing.

    A Run calls open(), finished(), tick(), entered(), close() and
    ended(); hooks around each job (ViewHooks) call started() and data().
    Where a view has a method data(host, stream, octets), the method is called
    with the bytes as they come; *stream* is 'output' or 'errors'.
    """

    data = None
    live = True         # whether it writes each result as it comes
    is_record = False   # whether programs read there all that hosts print

    def __init__(self, console):
        self.console = console      # where the view writes

    def open(self, manager, hosts):
        """The run is about to begin: *manager* runs its command on the
        HostQueue *hosts*."""

    def started(self, host, tries):
        """A job of *host* runs, the first of its *tries* being 1.  Not
        called where it cannot be started."""

    def finished(self, result):
        """The job of result.host is over, and none follows."""

    def tick(self):
        """A turn of the run is over.  While jobs run, a turn takes a second
        at most."""

    def entered(self):
        """Enter was typed, and the terminal has begun a line."""

    def close(self):
        """The run is over, the summary not yet written.  May raise OSError
        or MemoryError for what cannot be shown."""

    def ended(self, status, tally, not_started):
        """The summary is written; *status* is the exit status, and the Tally
        *tally* has counted all results.

        not_started() returns the hosts that were not started, a list, None
        where they are too many to be named; that may take a while.
        """


class Report(View):
    """The whole result of each host, as it finishes."""

    def finished(self, result):
        self.console.write_folded(report(result, self.console))


class BadReport(Report):
    """The whole result of each host that failed; of the others nothing."""

    live = False

    def finished(self, result):
        if _is_bad(result):
            super().finished(result)


class Marks(View):
    """A mark a host, all on one line."""

    _MARKS = {'ok': '.', 'error': '?', 'ssh': '~', 'killed': '!'}

    def __init__(self, console):
        super().__init__(console)
        self._line_begun = False
        console.below.append(self)

    def finished(self, result):
        self._line_begun = False    # it goes on
        self.console.write(self._MARKS[result.outcome])
        self._line_begun = True

    def entered(self):
        if self.console.terminal:   # else it went to another file
            self._line_begun = False

    def give_way(self):
        begun, self._line_begun = self._line_begun, False
        return b'\n' if begun else b''

    def close(self):
        self.console.put(b'')       # this gives way
        self.console.below.remove(self)


class _LineQueue:
    """Lines for *console*, written as fast as its reader takes them.  While
    more than WAITING_MAX bytes of them wait, add() blocks."""

    def __init__(self, console):
        self.console = console
        self.manager = None         # of the run, once that begins
        self._lines = collections.deque()       # bytes of each
        self._size = 0              # of all of them
        self._has_begun = False     # the first is the rest of a line
        self._watching = False
        console.below.append(self)

    def add(self, line):
        """Write *line*, str, which is escaped, behind those that wait."""
        self._lines.append(self.console.encode(self.console.fold(line)))
        self._size += len(self._lines[-1])
        self._write()
        while self._size > WAITING_MAX:
            self.console.put(self._take())

    def _write(self, *event):
        """Write what the reader takes at once."""
        while self._lines:
            begun, line = self._has_begun, self._take()
            rest = self.console.offer(line)
            if rest:
                self._lines.appendleft(rest)
                self._size += len(rest)
                self._has_begun = begun or len(rest) < len(line)
                break
        if self._watching != bool(self._lines):
            self._watching = bool(self._lines)
            if self._watching:
                self.manager.watch(self.console, WRITE,
                                   self._write, hold=False)
            else:
                self.manager.unwatch(self.console)

    def _take(self):
        """Remove and return the first line."""
        line = self._lines.popleft()
        self._size -= len(line)
        self._has_begun = False
        return line

    def give_way(self):
        return self._take() if self._has_begun else b''

    def close(self):
        """Write them all, at the pace of the reader."""
        while self._lines:
            self.console.put(self._take())
        self._write()               # watches no more
        self.console.below.remove(self)


class Stream(View):
    """Each line of each host, with the name of the host, as it comes."""

    def __init__(self, console, errors, named=True):
        """What hosts print on stderr goes to the Console *errors*; *named*:
        lines have names."""
        super().__init__(console)
        self._queues = {'output': _LineQueue(console)}
        self._queues['errors'] = (self._queues['output'] if errors is console
                                  else _LineQueue(errors))
        self._named = named
        self._line_size = LINE_SIZE if named else NAMELESS_SIZE
        self._partial = {}          # (host, stream): a line without its end

    def open(self, manager, hosts):
        for queue in self._queues.values():
            queue.manager = manager

    def data(self, host, stream, octets):
        queue = self._queues[stream]
        before = queue.console.waited
        lines, rest = [], self._partial.setdefault((host, stream), bytearray())
        rest += octets
        if b'\n' in octets:
            *lines, rest = rest.split(b'\n')
        for line in lines:
            self._add(host, stream, line)
        self._partial[host, stream] = self._add_pieces(host, stream, rest)
        # While this waited, no output of a job was read.
        queue.manager.extend_deadlines(queue.console.waited - before, 0)

    def _add_pieces(self, host, stream, line):
        """Show *line*, octets, but for its last piece; return that."""
        while len(line) > self._line_size:
            end = self._line_size
            while end > self._line_size - 3 and line[end] & 0xc0 == 0x80:
                end -= 1            # not within a character of UTF-8
            self._show(host, stream, line[:end], '> ')
            line = line[end:]
        return line

    def _add(self, host, stream, line):
        self._show(host, stream, self._add_pieces(host, stream, line), ': ')

    def _show(self, host, stream, line, mark):
        console = self._queues[stream].console
        prefix = console.host(host) + mark if self._named else (
            mark if mark == '> ' else '')
        self._queues[stream].add(prefix + console.escape(
            line.decode('utf-8', 'surrogateescape') + '\n'))

    def finished(self, result):
        host = result.host
        for stream in self._queues:
            self._end_line(host, stream)
        for line in _shown_words(result.diagnostics).splitlines():
            self._add(host, 'errors', line.encode('utf-8', 'surrogateescape'))
        # Those that were stopped are named in the summary, all at once.
        if (result.outcome != 'ok' and result.reason != CAUSES['stopped']
                and not self.console.reader_left):
            errors = self._queues['errors']
            errors.add(errors.console.line('classh: %s: %s' % (
                host, result.reason or cause_text(result))))

    def _end_line(self, host, stream):
        line = self._partial.pop((host, stream), None)
        if line:
            self._add(host, stream, line)

    def close(self):
        for host, stream in list(self._partial):
            self._end_line(host, stream)
        for queue in set(self._queues.values()):
            queue.close()


class Records(View):
    """A line of JSON for each event of a run, for programs to read."""

    is_record = True

    def __init__(self, console, options):
        """*console* has write_whole(text); *options* are recorded."""
        super().__init__(console)
        self._options = options
        self._begun = time.monotonic()

    def _write(self, record):
        self.console.write_whole(json_line(record))

    def _head(self, manager, hosts):
        """Return the record with which the run begins."""
        self._begun = time.monotonic()
        return run_record(
            manager.command, manager.fanout, manager.timeout,
            exec=self._options.exec, hosts=hosts.count(),
            user=self._options.user,
            options=list(map(utf8_text, self._options.ssh_option)))

    def open(self, manager, hosts):
        self._write(self._head(manager, hosts))

    def started(self, host, tries):
        self._write({'event': 'start', 'host': host, 'try': tries,
                     'time': round(time.time(), 3)})

    def finished(self, result):
        self._write(result_record(result))

    def _end(self, status, tally, left):
        """Return the record with which the run ends; *left* are the hosts
        that were not started, None where they are too many."""
        count = None if left is None else len(left)
        return {'event': 'end', 'status': status,
                'hosts': None if left is None else count + tally.total,
                **{outcome: tally.outcomes[outcome] for outcome in OUTCOMES},
                'not_started': count,
                'left': left and list(map(utf8_text, left)),
                'elapsed': round(time.monotonic() - self._begun, 3),
                'causes': {cause: list(map(utf8_text, hosts)) for cause, hosts
                           in tally.causes().items() if cause}}

    def ended(self, status, tally, not_started):
        self._write(self._end(status, tally, not_started()))


def _own_names(host):
    """Return the name of *host* without user and port, and the first label
    of that, as bytes.  An address is one label."""
    name = host_parts(host)[1]
    label = name if re.fullmatch(r'[0-9.]*|.*:.*', name) else (
        name.partition('.')[0])
    return os.fsencode(name), os.fsencode(label or name)


def _in_word(octet):
    return octet.isalnum() or octet == b'_'


def _mask(octets, host, mark):
    """Return *octets* with *mark* in place of each name of *host*, where that
    is a word of its own.

    (An expression made for each host would take longer to make than to use.)
    """
    name, label = _own_names(host)
    begin, masked = 0, bytearray()
    found = octets.find(label) if label else -1
    while found >= 0:
        after = found + 1
        if not _in_word(octets[found - 1:found]):
            for own in name, label:
                end = found + len(own)
                if (octets.startswith(own, found)
                        and not _in_word(octets[end:end + 1])):
                    masked += octets[begin:found]
                    masked += mark
                    begin = after = end
                    break
        found = octets.find(label, after)
    return bytes(masked + octets[begin:]) if begin else octets


def mask(text, host):
    """Return *text* with {host} in place of each name of *host*, where that
    is a word of its own: the name without user and port, or its first label.
    """
    return _mask(_octets(text), host, b'{host}').decode('utf-8',
                                                        'surrogateescape')


def _digest(head, texts):
    import hashlib                  # few runs need it
    digest = hashlib.blake2b(repr(head).encode(), digest_size=16)
    for text in texts:
        digest.update(b'%d:' % len(text))
        digest.update(text)
    return digest.digest()


def _has_known_cause(result):
    """Return whether the cause says what ssh's words do: they name the host,
    perhaps by its address."""
    return result.outcome == 'ssh' and result.cause not in ('', 'ssh')


def _alike_reason(result):
    return cause_text(result) if _has_known_cause(result) else result.reason


def _answer(result):
    """Return what makes the answer of *result*: values that are compared
    as they are, and texts, bytes, in which the host may be named."""
    texts = [result.diagnostics, result.errors, result.output,
             _alike_reason(result)]
    if _has_known_cause(result):
        texts[0] = ''
        if not result.diagnostics:  # ssh had no log of its own
            texts[1] = ''
    return ((result.outcome, result.exitcode, result.cause, result.truncated),
            [text.encode('utf-8', 'surrogateescape') for text in texts])


class _Group:
    """The hosts that gave one answer."""

    __slots__ = ('hosts', 'seconds', 'result', 'named', 'joined', 'pattern')

    def __init__(self, result, named):
        self.hosts = []
        self.seconds = []           # that each took
        self.result = result        # of the first of them, without output
        self.named = named          # the host whose names are masked, or None
        self.joined = None          # a host that is alike by line
        self.pattern = None         # .hosts, folded

    def add(self, host, seconds):
        self.hosts.append(host)
        self.seconds.append(seconds)

    def status(self):
        """Return what hosts of one answer have in common besides texts."""
        return _answer(self.result)[0]

    def head(self, console, note=''):
        """Return the line that names the hosts, for *console*."""
        # One, if they are equal.
        times = dict.fromkeys('%.1f' % limit(self.seconds)
                              for limit in (min, max))
        return _head(console, self.pattern, self.result, '%s   (%s)' % (
            _number(len(self.hosts)), ' to '.join(times)),
            _alike_reason(self.result), note)

    def mask(self, text):
        """Return *text*, str, with {host} for the name of its host."""
        return mask(text, self.named) if self.named else text

    def masked(self, text):
        """Return *text*, which texts() of _Answers returns, masked."""
        return self.mask(text) if len(self.hosts) == 1 else text

    def order(self):
        """Return a sort key: good ones first, then the larger ones."""
        return (_is_bad(self.result), -len(self.hosts),
                OUTCOMES.index(self.result.outcome),
                _natural_key(self.pattern))


DIFF_LIMIT = 5000       # lines of a text that is shown as a diff
DIFF_BEGINNING = 20     # lines shown of one that is longer


def _is_long(text):
    return text.count('\n') > DIFF_LIMIT


def _unmask(text, plain, old):
    """Return *text*, in which the name of the host is masked, but for lines
    that stand in *old* as they do in *plain*, where the name is not."""
    known = set(old.split('\n'))
    return '\n'.join(
        named if named in known else line
        for line, named in zip(text.split('\n'), plain.split('\n')))


def _are_alike(lines, others, host):
    """Return whether the *lines* of *host*, plain and masked, are each like
    those of *others*, in one of the two ways or with its own name there."""
    names = [os.fsdecode(name) for name in _own_names(host)]
    return len(lines) == len(others) and all(
        plain == other or masked == wanted
        or any(wanted.replace('{host}', name) == plain for name in names)
        for (plain, masked), (other, wanted) in zip(lines, others))


LARGE_GROUPS = 4        # groups that a host like no other is compared with
SCREENFUL = 4           # answers that hide what stands above them
ODD_LIMIT = 12          # good answers; with more of them none is odd
CAUSE_WIDTH = 31        # columns for what is odd, and for causes


def _streams(result):
    return _shown_words(result.diagnostics) + result.errors, result.output


class _Answers:
    """The results of a run by their answers: one copy of each different
    answer, and for each host a digest or two.

    A name may be a common word as well, as of a host 'a' that prints 'a
    file'.  So where a host is named, its answer is like those that are equal
    but for the names, or like those that are equal, whichever are more; and
    one that is like no other is compared with the most common ones by line.
    """

    def __init__(self, mask):
        # No host can know the mark, and print it to seem alike.
        self._mark = os.urandom(8) if mask else None
        self._kept = _KeptResults()     # of the first host of each answer
        # Digest: whose result is kept for it, and whose names to mask there.
        self._known = {}
        self._entries = []          # digest masked and plain, host, seconds

    def add(self, result):
        head, texts = _answer(result)
        plain = masked = _digest(head, texts)
        if self._mark:
            texts, before = [_mask(text, result.host, self._mark)
                             for text in texts], texts
            if texts != before:
                masked = _digest(head, texts)
        if masked not in self._known:
            if plain not in self._known:
                self._kept.finished(result)
                self._known[plain] = result.host, None
            named = self._mark or _has_known_cause(result)
            self._known[masked] = (self._known[plain][0],
                                   result.host if named else None)
        self._entries.append((masked, plain, result.host, result.elapsed))

    def groups(self):
        """Return a list of _Groups in the order in which to show them."""
        sizes = collections.Counter(
            key for masked, plain, _, _ in self._entries
            for key in {masked, plain})
        groups, named = {}, []
        for masked, plain, host, seconds in self._entries:
            key = masked
            if plain in self._known and sizes[plain] > sizes[masked]:
                key = plain
            elif masked != plain and sizes[masked] == 1:
                named.append(key)
            if key not in groups:
                kept, own = self._known[key]
                groups[key] = _Group(self._kept.heads[kept], own)
            groups[key].add(host, seconds)
        self._join_named(groups, named)
        for group in groups.values():
            group.pattern = fold(group.hosts)
        return sorted(groups.values(), key=_Group.order)

    def _join_named(self, groups, lone):
        """Let the host of each *lone* key join a large group whose lines are
        all like its own."""
        by_status = collections.defaultdict(list)
        for group in groups.values():
            by_status[group.status()].append(group)
        large = {status: [(group, self._lines(group)) for group in
                          heapq.nlargest(LARGE_GROUPS, alike,
                                         key=lambda group: len(group.hosts))]
                 for status, alike in by_status.items()} if lone else {}
        for key in lone:
            group = groups[key]
            others = [(other, lines) for other, lines
                      in large[group.status()]
                      if lines and other.hosts and other is not group]
            lines = others and len(group.hosts) == 1 and self._lines(group)
            for other, wanted in others:
                if lines and _are_alike(lines, wanted, group.named):
                    other.add(group.hosts.pop(), group.seconds.pop())
                    other.joined = group.result.host
                    del groups[key]
                    break

    def _lines(self, group):
        """Return each line of an answer, plain and masked; None if there are
        too many, or they cannot be read."""
        try:
            texts = _streams(self._kept[group.result.host])
        except OSError:
            return None
        if any(map(_is_long, texts)):
            return None
        # A line more parts the two.
        return [pair for text in texts for pair in (
            *zip(text.split('\n'), group.mask(text).split('\n')), ('', ''))]

    def texts(self, group):
        """Return what to show of the stderr and the stdout of *group*.
        Raise OSError."""
        texts = _streams(self._kept[group.result.host])
        if group.hosts == [group.result.host]:
            return texts
        masked = [group.mask(text) for text in texts]
        if group.joined is None:
            return masked
        return [_unmask(*three) for three in zip(
            masked, texts, _streams(self._kept[group.joined]))]

    def close(self):
        self._kept.close()


def _diff_lines(text):
    """Return the lines of *text*; a last one without a newline says so."""
    lines = text.split('\n')
    last = lines.pop()
    return lines + [last + '\n\\ no newline at the end'] if last else lines


def _diff(old, new, old_name, new_name):
    """Return how the text *new* differs from *old*, as a unified diff."""
    import difflib                  # few runs need it
    return '\n'.join(difflib.unified_diff(
        _diff_lines(old), _diff_lines(new), old_name, new_name, lineterm=''))


def _paint_diff(console, text):
    """Return *text*, a diff with an indent, in colour on *console*."""
    return re.sub('(?m)^  ([-+]).*', lambda found: console.paint(
        found.group(), _RED if found.group(1) == '-' else _GREEN),
        text) if console.colored else text


def _first_difference(old, new):
    """Return the number of the first line in which the texts differ."""
    return next(number for number, (line, other) in enumerate(
        itertools.zip_longest(io.StringIO(old), io.StringIO(new)), 1)
        if line != other)


def _beginnings(old, new, old_name, new_name):
    """Return the first lines of each text from where they differ, as in a
    diff."""
    lines, start = [], _first_difference(old, new) - 1
    for head, sign, text in ('--- ' + old_name, '-', old), (
            '+++ ' + new_name, '+', new):
        lines.append(head)
        lines += [sign + line.rstrip('\n') for line in itertools.islice(
            io.StringIO(text), start, start + DIFF_BEGINNING)]
    return '\n'.join(lines)


def _odd_line(group, texts, others):
    """Return the first line in *texts*, of *group*, that is not as in
    *others*: of stdout or, where that is alike, of stderr."""
    for plain, other in zip(reversed(texts), reversed(others)):
        text = _unmask(group.masked(plain), plain, other)
        if text != other:
            number = _first_difference(other, text)
            return next(itertools.islice(io.StringIO(plain), number - 1, None),
                        '(no line %d)' % number).strip()
    return '(cut)'


class Gather(View):
    """Each different answer once, with the hosts that gave it, at the end.

    Good answers come first, and of these the most common, so that what is
    odd stands next to the prompt.  Where many bad hosts stand there, a few
    lines below them tell again which of the good ones are odd.  With *diff*
    the first answer is shown whole, and the output of the others as a diff
    against it.
    """

    live = False

    def __init__(self, console, mask=True, diff=False):
        super().__init__(console)
        self._answers = _Answers(mask)
        self._diff = diff
        self._first = None          # with *diff*: a pattern, and the output

    def finished(self, result):
        self._answers.add(result)

    def close(self):
        groups = self._answers.groups()
        if self._diff and groups:   # the largest of the best outcome first
            first = min(groups, key=lambda group: OUTCOMES.index(
                group.result.outcome))
            groups.remove(first)
            groups.insert(0, first)
        self._diff = self._diff and len(groups) > 1
        level, problem = self.console.stop_level(), None
        for shown, group in enumerate(groups):
            if self.console.error or self.console.stop_level() > level:
                self.console.write_folded('%d of %d answers not shown\n' % (
                    len(groups) - shown, len(groups)))
                break
            try:
                self._show(group)
            except (OSError, MemoryError) as error:
                problem = problem or error
                self.console.write_folded(_block(
                    group.head(self.console, 'output lost')))
        else:
            with contextlib.suppress(OSError, MemoryError):     # see above
                self._tell_odd(groups)
        self._answers.close()
        if problem:
            raise problem

    def _show(self, group):
        errors, output = self._answers.texts(group)
        note, shown = '', _part(self.console, 'Output', output)
        if self._diff and (output or group.result.outcome in ('ok', 'error')):
            note, shown = self._compare(group, output)
        self.console.write_folded(_block(
            group.head(self.console, note),
            _part(self.console, 'Error', errors), shown))

    def _compare(self, group, output):
        """Return how *output* differs from that of the first group: a note
        for the head, and what to show in its place."""
        name, text = _shorten(group.pattern), group.masked(output)
        if self._first is None:
            self._first = name, text
            return '', _part(self.console, 'Output', text)
        first_name, first = self._first
        is_long = _is_long(first) or _is_long(text)
        if not is_long:
            text = _unmask(text, output, first)
        if text == first:
            return 'output as of ' + first_name, ''
        title = 'Output differs'
        if is_long:
            title += ' from line %d on; of each the next %d' % (
                _first_difference(first, text), DIFF_BEGINNING)
        shown = (_beginnings if is_long else _diff)(first, text, first_name,
                                                    name)
        if self.console.terminal:   # which is shown CR LF as LF
            shown = shown.replace('\r', '\\x0d')
        return '', _paint_diff(self.console, _part(self.console, title,
                                                   shown))

    def _tell_odd(self, groups):
        """Tell which good hosts are not like most of them, and the line that
        differs, where many bad ones stand between them and the prompt."""
        good = [group for group in groups if not _is_bad(group.result)]
        count = sum(len(group.hosts) for group in good)
        if (len(groups) - len(good) < SCREENFUL
                or not 1 < len(good) <= ODD_LIMIT
                or 2 * len(good[0].hosts) <= count):
            return
        most = self._answers.texts(good[0])
        line, _, rest = most[1].partition('\n')
        rows = ['  %-*s   %s\n' % (
            CAUSE_WIDTH, self.console.escape(_odd_line(
                group, self._answers.texts(group), most))[:CAUSE_WIDTH],
            self.console.host(group.pattern)) for group in good[1:]]
        self.console.write(self.console.fold(
            '%d of %d gave another answer%s:\n%s\n' % (
                count - len(good[0].hosts), count, '' if rest or not line
                else ' than ' + self.console.escape(line)[:CAUSE_WIDTH],
                ''.join(rows)),
            ' ,', ' ,'))


def _duration(seconds, exact=False):
    """Return *seconds* for a person; in one unit unless *exact*."""
    seconds = round(seconds)
    if seconds < (60 if exact else 100):
        return '%d s' % seconds
    minutes = seconds // 60 if exact else round(seconds / 60)
    if minutes < 100:
        rest = seconds % 60 if exact else 0
        return '%d min' % minutes + (' %d s' % rest if rest else '')
    return '%d h %d min' % divmod(minutes, 60)


def _named(count, what, hosts):
    """Return a line that names *hosts*, a list, of *count* that are *what*;
    *count* is None where nobody knows how many there are."""
    named = hosts[:NAMED_MAX]
    some = count is None or count > len(named)
    return '  %s %s: %s%s' % (
        '%d or more' % len(hosts) if count is None else count, what,
        fold(named), ', ...' if some else '')


class Progress:
    """Counts results, and says how far a run is: in one line, in lines with
    all who run and who wait, and after a long run in a line that sums up its
    times.  *clock* returns seconds.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._manager = None
        self._begun = clock()
        self._done = 0
        self._bad = 0
        self._times = None          # of the last results, oldest first
        self._done_in = collections.Counter()   # second of the run: results
        self._slowest = []          # two (seconds, host), the slowest last

    def begin(self, manager):
        self._manager = manager
        self._begun = self._clock()
        # All jobs that start at once may end at once, too.
        self._times = collections.deque(
            [self._begun], 1 + max(RATE_RESULTS, 2 * manager.fanout))

    def finished(self, result):
        now = self._clock()
        self._done += 1
        self._bad += result.outcome != 'ok'
        self._times.append(now)
        self._done_in[round(now - self._begun)] += 1
        self._slowest = sorted(
            [*self._slowest, (result.elapsed, result.host)])[-2:]

    def fields(self):
        """Return how far the run is, a list of str; what matters least is
        last."""
        longest = itertools.islice(self._manager.running.items(), 2)
        slowest = ', '.join('%s %d s' % item for item in longest)
        return self._counts() + (['slowest: ' + slowest] if slowest else [])

    def lines(self):
        """Return a list of str: the counts, a line for the hosts that have
        run, or will wait, for the same number of seconds, and one for those
        that are not started; PatternError as for these."""
        left = self._manager.time_left
        alike = collections.defaultdict(list)
        for host, seconds in self._manager.running.items():
            rest = left[host]
            alike['%d s%s' % (seconds, (
                '' if rest is None else ', being ended' if not rest
                else ', %s left' % _duration(rest)))].append(host)
        for host, seconds in self._manager.waiting.items():
            alike['tried again in %d s' % math.ceil(seconds)].append(host)
        return ['   '.join(self._counts())] + [
            '  %s: %s' % (how_far, fold(hosts))
            for how_far, hosts in alike.items()] + self._not_started()

    def _not_started(self):
        manager = self._manager
        hosts, left = manager.not_started().first(NAMED_MAX), manager.left
        return [_named(left and left - len(manager.waiting),
                       'not started' if manager.stopping else 'waiting',
                       hosts)] if hosts else []

    def _counts(self):
        manager = self._manager
        running, waiting = len(manager.running), len(manager.waiting)
        left = manager.left
        counts = ['%d done' % self._done if left is None else
                  '%d of %d' % (self._done, self._done + running + left)]
        if self._bad:
            counts.append('%d bad' % self._bad)
        counts.append('%d running' % running)
        if manager.logging_in:
            counts[-1] += ' (%d logging in)' % manager.logging_in
        if waiting:
            counts.append('%d to be tried again' % waiting)
        rate = self._rate()
        if rate:
            counts.append('%.0f/s' % rate if rate >= 1 else
                          '%.0f/min' % (60 * rate) if 60 * rate >= 1 else
                          '%.0f/h' % (3600 * rate))
        return counts + self._estimate(running, left, rate)

    def _rate(self):
        """Return the results a second, 0 where they are too few to tell."""
        if self._done < min(self._manager.fanout, RATE_RESULTS // 2):
            return 0                # those who are fast come first
        return (len(self._times) - 1) / max(
            self._clock() - self._times[0], STATUS_INTERVAL)

    def _estimate(self, running, left, rate):
        """Return how long the run will still take, a list of one str; empty
        where that is not known."""
        if left and not self._manager.stopping:
            return ['%s left' % _duration((running + left) / rate)
                    ] if rate else []
        limits = list(self._manager.time_left.values())
        # No other job starts, so the run ends with the last of the limits.
        if left is None or not limits or None in limits or not any(limits):
            return []
        return ['at most %s left' % _duration(max(limits))]

    def summary(self):
        """Return how long the run took and its hosts needed; None unless it
        was a long one."""
        seconds = self._clock() - self._begun
        if seconds < LONG_RUN or not self._done:
            return None
        slowest = ('%s %d s' % (host, seconds)
                   for seconds, host in reversed(self._slowest))
        return '%s in %s; half after %d s, 99 %% after %d s; slowest: %s' % (
            _number(self._done), _duration(seconds, exact=True),
            self._done_after(.5), self._done_after(.99), ', '.join(slowest))

    def _done_after(self, part):
        """Return after how many seconds *part* of the hosts were done."""
        count = 0
        for second in sorted(self._done_in):
            count += self._done_in[second]
            if count >= part * self._done:
                return second
        return 0


class StatusLine(View):
    """How far the run is, in a line below all else on the terminal.

    *live* says whether each result is shown there; *ending* is a list of
    fields, str, that follow those of the *progress*.
    """

    # The cursor stays in front of the line, so that all of it can be erased
    # though the terminal has broken it to fit a smaller window.
    _ERASE = b'\r\x1b[J'

    def __init__(self, console, progress, manager, live, ending):
        super().__init__(console)
        self._progress = progress
        self._manager = manager
        self._live = live
        self._ending = ending
        self._shown = False
        self._drawn = -math.inf     # when, and when something was written
        self._written = time.monotonic()
        console.below.append(self)
        self._wake()

    def _wake(self):
        """End a turn every second: jobs that run do so, but hosts that wait
        to be tried again do not."""
        self._manager.call_later(1, self._wake)

    def tick(self):
        now = time.monotonic()
        since = now - self._written
        if (since >= (STATUS_SILENCE if self._live else STATUS_DELAY)
                and now - self._drawn >= STATUS_INTERVAL):
            self._drawn = now
            self._draw()

    def _draw(self):
        # Nothing may stop the run: neither Ctrl-S nor a shell that has taken
        # the terminal back.
        if self.console.in_background():
            self._shown = False
            return
        # A line in the last column may move the cursor on.
        line = self.console.fit(self._progress.fields() + self._ending,
                                self.console.columns() - 1)
        before, self._shown = self._shown, True     # Ctrl-Z may come now
        self._shown = self.console.write_if_ready(
            b'\r' + line + b'\x1b[J\r') or before

    def give_way(self):
        """Return the bytes that erase the line, to be written before what
        is written now."""
        if self._live:
            self._written = time.monotonic()
        shown, self._shown = self._shown, False
        return self._ERASE if shown else b''

    def entered(self):
        if self._shown:             # what was typed has moved the cursor
            self._shown = not self.console.write_if_ready(
                b'\r\x1b[J\x1b[A' + self._ERASE)

    def hide(self):
        """Erase the line, until the next tick() at least."""
        if self._shown:
            self._shown = False
            self.console.write_if_ready(self._ERASE)

    def close(self):
        self.hide()
        self.console.below.remove(self)


# Ways to show a run: the option, whether the options want it, what makes its
# view from them and the Consoles of stdout and stderr, and the options that
# it may stand beside.
_Way = collections.namedtuple('_Way', 'name wanted view beside')
_WAYS = (
    _Way('--progress', lambda options: options.progress,
         lambda options, out, err: Marks(err), ()),
    _Way('-b', lambda options: options.gather and not options.diff,
         lambda options, out, err: Gather(out, not options.no_mask),
         ('--progress',)),
    _Way('--diff', lambda options: options.diff,
         lambda options, out, err: Gather(out, not options.no_mask, True),
         ('--progress',)),
    _Way('--bad', lambda options: options.bad_only,
         lambda options, out, err: BadReport(out), ('--progress',)),
    _Way('-P', lambda options: options.stream,
         lambda options, out, err: Stream(out, err, not options.no_prefix),
         ()),
    _Way('--json', lambda options: options.json == '-',
         lambda options, out, err: Records(out, options), ('-q',)),
    _Way('-q', lambda options: options.quiet, None, ()),
)


def choose_views(options, out, err):
    """Return a list of the views that *options* want on these Consoles.

    Raise UsageError if two of the options exclude each other.
    """
    ways = [way for way in _WAYS if way.wanted(options)]
    for one, other in itertools.combinations(ways, 2):
        if one.name not in other.beside and other.name not in one.beside:
            raise UsageError(
                '%s and %s are two ways to show results: choose one%s' % (
                    one.name, other.name, '; %s shows the bad hosts last'
                    % one.name * (other.name == '--bad')))
    return [way.view(options, out, err) for way in ways if way.view
            ] if ways else [Report(out)]


class ViewHooks(JobHooks):
    """Tells *views* of each start, and of the bytes as they come.

    Hooks that filter the streams of a job come after this one, so that a
    view gets what the filters leave.
    """

    def __init__(self, views):
        self._views = views
        self._readers = [view.data for view in views if view.data]

    def prepare(self, job):
        if self._readers:
            job.output.tee = functools.partial(self._data, job.host, 'output')
            job.errors.tee = functools.partial(self._data, job.host, 'errors')

    def _data(self, host, stream, octets):
        for read in self._readers:
            read(host, stream, octets)

    def started(self, job):
        for view in self._views:
            view.started(job.host, job.tries)


class LimitWarning(JobHooks):
    """Warns, once, how many jobs will be ended, when the first of them has
    LIMIT_LEFT of its time left.

    Those that were started soon after that one are counted, too.
    """

    def attach(self, manager):
        super().attach(manager)
        self._left = LIMIT_LEFT * manager.timeout   # seconds, when to warn
        # Whether the next start sets the clock.
        self._armed = self._left >= LIMIT_LEFT_MIN

    def started(self, job):
        if self._armed:
            self._armed = False
            self.manager.call_later(self.manager.timeout - self._left,
                                    self._look)

    def _look(self):
        limit = self.manager.timeout
        left = [seconds for seconds in self.manager.time_left.values()
                if seconds]         # 0: it is being ended
        if not left:
            self._armed = True
            return
        least = min(left)
        if least > self._left:
            # Time may stand still for a job, while it waits for a password.
            self.manager.call_later(
                max(least - self._left, limit / 100), self._look)
            return
        burst = max(LIMIT_BURST, LIMIT_BURST_PART * limit)
        self.manager.warn('%d will be ended in %s (-u %.10g)' % (
            sum(seconds <= least + burst for seconds in left),
            _duration(least), limit))


# Cause: what may help, for the summary.
HINTS = {'denied': '-A', 'dropped': '--logins, -J', 'jump': '-J',
         'key-unknown': '-O StrictHostKeyChecking=accept-new',
         'no-answer': '-t', 'stopped': 'may run on there; --end-remote',
         'sudo': '-A or --sudo-password', 'timeout': '-u'}
# Cause: what ssh or sudo says where a password may help.
_HELPED = {'denied': r'Permission denied \([^()\n]*'
                     r'\b(?:password|keyboard-interactive)\b',
           'sudo': '(?i)password is required|to read the password|'
                   'authentication (?:is )?required'}


def default_hint(cause, hosts):
    return HINTS.get(cause, '')


class Tally:
    """Counts results: for the summary at the end and the exit status."""

    def __init__(self):
        self.outcomes = collections.Counter()
        self.max_status = 0
        self.cut = []               # hosts that printed more than we keep
        self._noted = set()         # outcomes, of earlier runs as well
        self._causes = collections.defaultdict(list)
        self._helped = set()        # causes where the hint helps

    @property
    def total(self):
        return sum(self.outcomes.values())

    def finished(self, result):
        self.outcomes[result.outcome] += 1
        self.note(result)
        if _is_cut(result):
            self.cut.append(result.host)
        if _is_bad(result):
            self._causes[_is_kept_out(result), result.cause,
                         cause_text(result)].append(result.host)
        words = _HELPED.get(result.cause)
        if words and re.search(words, result.stderr):
            self._helped.add(result.cause)

    def causes(self):
        """Return a defaultdict: the hosts of each cause, a list."""
        causes = collections.defaultdict(list)
        for (_, cause, _), hosts in self._causes.items():
            causes[cause] += hosts
        return causes

    def note(self, ending):
        """Have the exit status tell of *ending*, which has an outcome and an
        exitcode: of a result, or of a host that is not run again."""
        self._noted.add(ending.outcome)
        self.max_status = max(self.max_status, 255 if ending.outcome
                              in ('ssh', 'killed') else ending.exitcode)

    def summary(self, hint=default_hint):
        """Return a line a cause of failure, as str, most hosts first.

        Several causes of hosts that did not log in stand under one line.
        hint(cause, hosts) returns what may help, a few words or ''; where
        there is no cause, it gets the text, such as 'exited with 127'.
        """
        inside, outside = [], []    # (hosts, what became of them)
        for (kept_out, cause, text), hosts in self._by_size():
            helps = hint(cause or text, hosts)
            if (cause in _HELPED and cause not in self._helped
                    or text == STOPPED_BEFORE):
                helps = ''
            (outside if kept_out else inside).append(
                (hosts, text + (helps and ' (%s)' % helps)))
        if len(outside) < 2:
            inside, outside = outside + inside, []
        lines = [(len(hosts), '%s: %s' % (text, fold(hosts)))
                 for hosts, text in inside]
        if outside:
            width = max(CAUSE_WIDTH, *(len(text) for _, text in outside))
            lines.insert(0, (
                sum(len(hosts) for hosts, _ in outside),
                '\n  '.join(['did not log in:'] + [
                    '%-*s   %s' % (width, text, fold(hosts))
                    for hosts, text in outside])))
        return ''.join('%d of %d %s\n' % (count, self.total, line)
                       for count, line in sorted(
                           lines, key=lambda line: -line[0]))

    def lines(self):
        """Return a list of str: a line for the hosts of each cause, most
        hosts first, while the run goes on."""
        return [_named(len(hosts), 'bad, ' + text, hosts)
                for (_, _, text), hosts in self._by_size()]

    def _by_size(self):
        return sorted(self._causes.items(), key=lambda item: -len(item[1]))

    def status(self):
        """Return the exit status that tells the gravest outcome."""
        for outcome, status in ('killed', 3), ('ssh', 4), ('error', 5):
            if outcome in self._noted:
                return status
        return 0


def _cut_line(hosts, total, limit):
    """Return the line that tells of *hosts* whose output was cut."""
    size, unit = limit, ' bytes'
    for larger in 'KMG':
        if size % 1024 == 0:
            size, unit = size // 1024, larger
    return '%d of %d printed more than %d%s and %s cut (--max-output): %s' % (
        len(hosts), total, size, unit, 'was' if len(hosts) == 1 else 'were',
        fold(hosts))


# -- Sinks ------------------------------------------------------------------

PROGRAM_GRACE = 2.0     # seconds that a program has after a stop request until
                        # SIGTERM, from there to SIGKILL, and to giving up
NAME_LIMIT = 250        # bytes of a file name, with room for '.' and '.ret'


class _Sink:
    """A listener that delivers each result, or its host's name, to a target.

    The constructor checks the target and raises TargetError.  open(manager)
    makes or starts what is not there yet, and may raise TargetError, too.
    finished(result) and close(stop_level) do not raise: the sink calls
    *complain* with the error, and the run goes on.  stop_level() is how often
    an end was requested.
    """

    reader_left = False     # True: the reader of stdout has ended
    uses_terminal = False   # True, once open: it may write to a terminal

    def __init__(self, label, complain, delivery):
        self.label = label
        self._complain = complain
        self._delivery = delivery   # a _LineWriter or a _Storage
        self.cut = delivery.cut     # hosts whose output is there in part only
        self._fd = None             # closed at the end

    def finished(self, result):
        self._delivery.add(result)

    def undelivered(self):
        """Return the hosts that did not reach the target, a list."""
        return self._delivery.undelivered()

    def close(self, stop_level):
        if self._fd is not None:
            _close_target(self._fd, self.label, self._complain)

    def _report(self, error):
        self._complain('%s: %s' % (self.label, error.strerror))


class _LineWriter:
    """Writes the names of hosts, one a line, to a descriptor.

    The manager's loop waits until the descriptor is writable, so that a slow
    reader never slows the run.  on_error(error) is called once, and nothing
    is written after that.
    """

    cut = ()

    def __init__(self, on_error):
        self.error = None
        self._on_error = on_error
        self._manager = None
        self._fd = None
        self._hosts = []
        self._pending = bytearray()     # what is not written of their lines

    def open(self, manager, fd):
        self._manager, self._fd = manager, fd

    def add(self, result):
        idle = not self._pending
        self._hosts.append(result.host)
        self._pending += os.fsencode(result.host) + b'\n'
        if idle and self.error is None:
            try:
                self._manager.watch(self._fd, WRITE, self._write)
            except OSError as error:    # no room in epoll
                self._fail(error)

    def flush(self):
        """Write all lines; only to what does not block."""
        while self._pending and self.error is None:
            self._write(self._fd, WRITE)

    def _write(self, fd, events):
        try:
            # A ready pipe takes PIPE_BUF bytes without blocking, also where
            # another process has set the shared descriptor to block.  The
            # bytes end with a whole name, because SIGKILL may come next.
            size = self._pending.rfind(b'\n', 0, select.PIPE_BUF) + 1
            written = os.write(fd, self._pending[:size or select.PIPE_BUF])
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        del self._pending[:written]
        if not self._pending:
            self.close()

    def _fail(self, error):
        self.error = error
        self.close()
        self._on_error(error)

    def close(self):
        """Stop writing."""
        if self._manager is not None:
            self._manager.unwatch(self._fd)

    def reclaim(self, octets):
        """Count *octets*, the last that were written, as not written."""
        self._pending[:0] = octets

    def undelivered(self):
        count = self._pending.count(b'\n')
        return self._hosts[len(self._hosts) - count:]

    def partial_size(self):
        """Return the bytes that are written of the first undelivered name."""
        host = os.fsencode(self.undelivered()[0])
        return len(host) - self._pending.index(b'\n')


class StdoutSink(_Sink):
    """Host names on our standard output."""

    def __init__(self, complain):
        super().__init__('stdout', complain, _LineWriter(self._fail))

    uses_terminal = property(lambda self: os.isatty(1))

    def open(self, manager):
        self._delivery.open(manager, 1)

    @property
    def reader_left(self):
        return isinstance(self._delivery.error, BrokenPipeError)

    def _fail(self, error):
        if not self.reader_left:
            self._report(error)

    def undelivered(self):
        return [] if self.reader_left else super().undelivered()

    def close(self, stop_level):
        self._delivery.close()


def _ends_a_line(path):
    """Return whether a name may be appended to the file *path* as it is."""
    try:
        with open(path, 'rb') as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b'\n'
    except OSError:
        return True                 # empty, or we may not read it


class FileSink(_Sink):
    """Host names at the end of a file, or into a FIFO that has a reader."""

    uses_terminal = property(lambda self: os.isatty(self._fd))

    def __init__(self, path, complain):
        super().__init__(path, complain, _LineWriter(self._fail))
        self._fd = _open_existing(path, os.O_APPEND)

    def open(self, manager):
        if self._fd is None:
            self._fd = _open_file(self.label, os.O_APPEND | os.O_CREAT)
        elif self._is_regular() and not _ends_a_line(self.label):
            try:
                os.write(self._fd, b'\n')
            except OSError as error:
                raise TargetError(self.label, error.strerror) from None
        self._delivery.open(manager, self._fd)

    def _is_regular(self):
        return stat.S_ISREG(os.fstat(self._fd).st_mode)

    def _fail(self, error):
        # A part of a name would pass for the name of another host.
        size = self._delivery.partial_size()
        if size and self._is_regular():
            with contextlib.suppress(OSError):  # as of an append-only file
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - size)
        self._report(error)

    def close(self, stop_level):
        # Writing to a regular file does not block, so the rest is written
        # after any number of stop requests.
        if self._fd is not None and self._is_regular():
            self._delivery.flush()
        self._delivery.close()
        super().close(stop_level)


class ProgramSink(_Sink):
    """Host names into the standard input of a shell command.

    The command has a session of its own, because Ctrl-C is to leave it
    PROGRAM_GRACE seconds.
    """

    uses_terminal = True            # it may print what it likes

    def __init__(self, command, complain, stdout=None):
        super().__init__(command, complain, _LineWriter(self._report))
        self._stdout = stdout       # as Popen takes it
        self._process = None

    def open(self, manager):
        import subprocess
        try:
            self._process = subprocess.Popen(
                ['/bin/sh', '-c', self.label], stdin=subprocess.PIPE,
                stdout=self._stdout, bufsize=0, start_new_session=True)
        except OSError as error:
            raise TargetError(self.label, error.strerror) from None
        pipe = self._process.stdin.fileno()
        os.set_blocking(pipe, False)
        self._delivery.open(manager, pipe)

    def close(self, stop_level):
        if self._process is None:
            return
        self._delivery.close()
        pipe, read_end = self._process.stdin, None
        with contextlib.suppress(OSError):      # /proc is missing
            read_end = os.open('/proc/self/fd/%d' % pipe.fileno(),
                               os.O_RDONLY | os.O_NONBLOCK)
        pipe.close()
        # The program sees the end of its input only now.
        status = wait_or_end(self._process, stop_level, PROGRAM_GRACE,
                             PROGRAM_GRACE)
        if read_end is not None:
            self._reclaim_unread(read_end)
        if status != 0:
            self._complain('%s: %s' % (
                self.label, 'would not die' if status is None
                else 'exited with %d' % status if status > 0
                else 'ended by ' + _signal_name(-status)))

    def _reclaim_unread(self, read_end):
        """Take out of the pipe what the program has left unread there, by an
        end of our own."""
        with contextlib.suppress(BlockingIOError):
            # One read: no pipe holds more than SWEEP_LIMIT, and a grandchild
            # may be writing to the pipe.
            self._delivery.reclaim(os.read(read_end, SWEEP_LIMIT))
        os.close(read_end)


class _Storage:
    """Passes whole results to store(result), which may raise OSError.

    The first error is reported as it comes, the hosts of all at the end.
    """

    def __init__(self, label, complain, store):
        self.cut = []
        self._label = label
        self._complain = complain
        self._store = store
        self._failed = []

    def add(self, result):
        try:
            self._store(result)
        except (OSError, MemoryError) as error:
            if not self._failed:
                self._complain('%s: %s: %s' % (
                    self._label, result.host,
                    getattr(error, 'strerror', _error_text(error))))
            self._failed.append(result.host)
        else:
            if _is_cut(result):
                self.cut.append(result.host)

    def undelivered(self):
        return self._failed


def file_name(host):
    """Return a name, bytes, for the files of *host*: the host's own if that
    is safe.  No two hosts have the same name, and no name leads out of a
    directory."""
    name = re.sub(rb"[\x00-\x1f\x7f/%]|\A\.",
                  lambda found: b'%%%02X' % ord(found.group()),
                  os.fsencode(host))
    if len(name) > NAME_LIMIT:
        import hashlib              # few names need it
        name = name[:NAME_LIMIT - 34] + b'%~' + hashlib.sha256(
            name).hexdigest()[:32].encode()
    return name


def _why(result):
    """Return why *result* is no success, and whether its command has
    started: three lines of text, each a key and its value."""
    reason = result.reason or cause_text(result)
    return ''.join('%s: %s\n' % (key, ' '.join(value.split()))
                   for key, value in (('cause', result.cause),
                                      ('reason', reason),
                                      ('ran', result.ran)))


class DirectorySink(_Sink):
    """HOST.out, HOST.err and, for a host that failed, HOST.why, which tells
    why and whether the command has started, and HOST.ret.

    What the directory holds is not trusted: no link in it is followed.  A
    new file replaces a regular one of its name, and never writes to it;
    anything else of that name is an error, and left alone.
    """

    def __init__(self, path, complain):
        super().__init__(path, complain,
                         _Storage(path, complain, self._store))
        self._token = os.urandom(8).hex().encode()
        if not os.path.isdir(path):
            # Raises TargetError unless the directory can be made.
            _open_existing(path.rstrip('/'), os.O_DIRECTORY)
        elif not os.access(path, os.W_OK | os.X_OK):
            raise TargetError(path, 'may not write there')

    def open(self, manager):
        try:
            os.makedirs(self.label, exist_ok=True)
            self._fd = os.open(self.label, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise TargetError(self.label, error.strerror) from None

    def _store(self, result):
        name = file_name(result.host)
        # A file of an earlier run must not pass for one of this run.
        for ending in b'.ret', b'.why', b'.out', b'.err':
            self._remove(name + ending)
        if _is_lost(result):
            raise OSError(errno.EIO, result.reason)
        self._save(name + b'.out', result.output)
        self._save(name + b'.err', result.stderr)
        if result.outcome != 'ok':
            self._save(name + b'.why', _why(result))
            # Written last: once it is there, the others are whole.
            self._save(name + b'.ret', '%d\n' % result.exitcode)

    def _save(self, name, text):
        """Write *text* to the new file *name*, which is whole or not there,
        even if SIGKILL ends this process."""
        # The name is unique, because another run may store the same host; a
        # host's file never begins with a '.'.
        new = b'.new-' + self._token
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666,
                     dir_fd=self._fd)
        try:
            with open(fd, 'wb', buffering=0):
                _write_all(fd, text.encode('utf-8', 'surrogateescape'))
            os.rename(new, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=self._fd)
            raise

    def _remove(self, name):
        """Remove the file *name*, if there is one; raise OSError if anything
        else has that name."""
        try:
            mode = os.lstat(name, dir_fd=self._fd).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            raise OSError(errno.EEXIST, 'not a regular file, left alone')
        os.unlink(name, dir_fd=self._fd)


class PickleSink(_Sink):
    """All results in a file for load(), each as it comes."""

    def __init__(self, path, complain, keep=False):
        """If *keep*, the results in the file stay there."""
        super().__init__(path, complain,
                         _Storage(path, complain, self._store))
        self._file = _RecordFile(path, _end_of_pickles if keep else None)

    def open(self, manager):
        self._file.open()

    def _store(self, result):
        self._file.write(*_encode_record(result))

    def close(self, stop_level):
        self._file.close(self._complain)


class RecordsFile(Records):
    """The records of a run in a file, which the ExitStack *files* closes."""

    def __init__(self, path, options, complain, files):
        super().__init__(None, options)
        self._complain = complain
        self._path = path
        # What the run that is resumed has written stays.
        self._file = _RecordFile(path, _end_of_lines if options.resume
                                 else None)
        files.callback(self._file.close, complain)
        self._failed = []           # hosts, or None, of what is not written

    def open(self, manager, hosts):
        self._file.open()
        super().open(manager, hosts)

    def _write(self, record):
        try:
            self._file.write(json_line(record).encode())
        except OSError as error:
            if not self._failed:
                self._complain('%s: %s' % (self._path, error.strerror))
            self._failed.append(record.get('host'))

    def close(self):
        if self._failed:
            hosts = fold(filter(None, self._failed))
            self._complain('%s not delivered to %s%s' % (
                _number(len(self._failed), 'record'), self._path,
                ': ' + hosts if hosts else ''))

    def ended(self, status, tally, not_started):
        super().ended(status, tally, not_started)
        self._file.close(self._complain)


def _is_shell_word(word):
    """Return whether a shell command may begin with *word*, which is not the
    name of a program."""
    import subprocess
    if not re.fullmatch(r'[\w.+/~-]+', word):
        return bool(word)           # a variable, quotes, a bracket ...
    return '/' not in word and subprocess.call(
        ['/bin/sh', '-c', 'command -v -- "$1"', 'sh', word],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL) == 0


def _interpreter(path):
    """Return the name of the program that runs the script *path*; '' if that
    is none."""
    found = None
    with contextlib.suppress(OSError):
        if os.path.isfile(path):
            with open(path, 'rb') as file:
                found = re.match(rb'#!\s*(?:\S*/)?(?:env\s+(?:-S\s+)?)?'
                                 rb'([\w.-]+)',
                                 file.readline(LINE_SIZE))
    return found.group(1).decode() if found else ''


def choose_sink(target, complain, stdout=None, hint=''):
    """Return the sink for *target*, an argument of -S, -E or --unreached.

    *stdout*, as Popen takes it, gets the output of a program; *hint* is
    added to the message where the user may have meant another option.
    Raise TargetError if the target cannot be used; nothing is made or
    started.
    """
    if not target.strip(' |'):
        raise TargetError(repr(target), "it is empty; a target is a file, a "
                          "directory/, - or '| program'")
    if target == '-':
        return StdoutSink(complain)
    path = os.path.expanduser(target)
    word = (target.lstrip('|').split() or [''])[0]
    program = find_program(os.path.expanduser(word))
    if target.startswith('|'):
        if program or _is_shell_word(word):
            return ProgramSink(target[1:].strip(), complain, stdout)
        raise TargetError(target, 'no executable %r' % word)
    if os.path.isdir(path):
        return DirectorySink(path, complain)
    if os.path.isfile(path):
        if os.access(path, os.X_OK):
            return ProgramSink(shlex.quote(os.path.abspath(path)), complain,
                               stdout)
        if _interpreter(path):
            raise TargetError(target, 'a program, but not executable: '
                              'chmod +x ' + target)
    elif word != target and program:
        return ProgramSink(target, complain, stdout)
    elif path.endswith('/'):
        return DirectorySink(path, complain)
    elif word != target:
        raise TargetError(target, 'no executable %r; a command of the shell '
                          "begins with '|'" % word)
    elif '/' not in target and program:
        raise TargetError(target, "is it the program, '|%s', or a file, ./%s?"
                          '%s' % (target, target, hint))
    return FileSink(path, complain)


# -- Passwords --------------------------------------------------------------

PROOF_TIMEOUT = 30.0    # seconds that a host may take to accept or refuse a
                        # password, before the next host is tried
UNASKED_MIN = 8         # hosts in a row that ask for no password, after which
                        # as many may start at once
SOCKET_BACKLOG = 1024   # askpass helpers that may wait to be accepted


def _leave_no_core():
    """See that no core file of ours will hold a password."""
    import resource
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    # A limit of 1 is too small for a file.  Where core dumps go to a program
    # (a '|' in Linux's core_pattern), 0 is no limit at all, but 1 stops them.
    with contextlib.suppress(ValueError):   # it is 0, which root may raise
        resource.setrlimit(resource.RLIMIT_CORE, (1, hard or 1))


def _checked_secret(line, source):
    secret = line.rstrip(b'\r\n')
    if not secret or b'\n' in secret or b'\0' in secret:
        raise UsageError('%s is empty, or no text' % source)
    return secret


def _secret_in(path):
    """Return the first line of *path*, a file that others cannot read."""
    try:
        with open(path, 'rb') as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid():
                raise UsageError('%s: not yours, but of another user' % path)
            if status.st_mode & 0o077:
                raise UsageError('%s: not private: chmod 600 %s'
                                 % (path, path))
            return _checked_secret(file.readline(), path)
    except OSError as error:
        raise UsageError('%s: %s' % (path, error.strerror)) from None


def _read_line(tty, prompt, stops, seen):
    """Show *prompt*, bytes, on *tty*; return the line typed there, bytes,
    which shows only if it may be *seen*."""
    import termios
    before = termios.tcgetattr(tty)
    wanted = before[:]
    # On a terminal that a program left raw, the read would return the first
    # key alone.
    wanted[0] |= termios.ICRNL
    wanted[1] |= termios.OPOST
    wanted[3] |= termios.ICANON | termios.ISIG | termios.ECHO
    if not seen:
        wanted[3] &= ~termios.ECHO
    typed = b''

    def ask(signum=None, frame=None):
        # Where the terminal is gone, the read fails.
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(tty, termios.TCSAFLUSH, wanted)
            os.write(tty, prompt)

    # After Ctrl-Z the shell has changed the terminal's settings.
    handlers = _set_handlers({signal.SIGCONT: ask})
    try:
        ask()
        typed = stops.call(os.read, tty, READ_SIZE)
        return typed
    finally:
        _restore_handlers(handlers)
        termios.tcsetattr(tty, termios.TCSAFLUSH, before)
        if not (seen and typed.endswith(b'\n')):
            os.write(tty, b'\n')


def ask_on_terminal(prompt, stops, no_terminal, seen=False):
    """Show *prompt*, escaped, on the terminal, whatever stdin and stdout are;
    return the line typed there, bytes.  It shows only if it may be *seen*.

    A signal noted in *stops* ends the prompt.  Raise UsageError with the text
    *no_terminal* where there is none.
    """
    import termios                  # few runs need it
    with stops:
        try:
            tty = os.open('/dev/tty', os.O_RDWR | os.O_NOCTTY)
            try:
                with open(tty, 'w', closefd=False) as stream:
                    console = Console(stream)
                    shown = console.encode(console.fold(
                        console.escape(prompt)))
                typed = _read_line(tty, shown, stops, seen)
            finally:
                os.close(tty)
        except (OSError, termios.error):    # none, or it has gone away
            stops.check()
            raise UsageError(no_terminal) from None
        stops.check()
    return typed


def _ask_secret(what, hosts, stops):
    """Return the password for *what* on *hosts*, typed at the terminal
    without echo: bytes.  A signal noted in *stops* ends the prompt.

    getpass would decode the password, and show it where there is no
    terminal.
    """
    number = hosts.count()
    return _checked_secret(ask_on_terminal(
        'Password for %s%s: ' % (what, '' if number is None else
                                 ' on ' + _number(number)),
        stops, 'no terminal to ask for a password on; see --askpass-file'),
        'the password')


class _Stateful:
    """Has one word as its state, .state, which changes only as NEXT allows.

    NEXT maps each state to the states that may follow it.
    """

    def become(self, state):
        """Change to *state* if that may follow: an event that does not fit
        comes too late, or from a host that lies, and changes nothing."""
        if state in self.NEXT[self.state]:
            self.state = state


class LockoutGuard(_Stateful):
    """Sends the password *secret*, bytes without a newline, to one host first,
    and to all once a host took it; None: there is no password.

    So a mistyped password fails once, rather than on a hundred hosts at a
    time until the account is locked.  The first host that refuses it, ever,
    ends the sending, unless *anyway*.  *earlier* is the guard of the password
    that the same jobs need before this one: where both passwords are the
    same, jobs need not start one by one once a host took either.
    """

    NEXT = {
        'untried': ('trying', 'proven', 'refused'),
        'trying':  ('untried', 'proven', 'refused'),    # by one job
        'proven':  ('refused',),
        'refused': ('barred',),     # in this run
        'barred':  (),              # refused in an earlier run
    }

    def __init__(self, secret, anyway=False, earlier=None, widens=False):
        """*widens*: a job that is ended at the prompt has cost no attempt."""
        self.state = 'proven' if anyway else 'untried'
        self.secret = secret
        self.refusal = ''           # which host refused it, and how
        self._anyway = anyway
        self._earlier = earlier
        # The secrets that a host took, here or as the earlier password.
        self._taken = earlier._taken if earlier else set()
        if anyway:
            self._taken.add(secret)
        self._widens = widens
        self._now = 0.0             # when room() was last called
        self._trier = None          # the job that tries it, if 'trying'
        self._trial_end = None      # ... and until when it is the only one
        self._waiting = {}          # job: what to call with the answer
        self._undecided = {}        # job that may ask: until when it counts
        self._unasked = 0           # jobs in a row that passed unasked
        self._silent_hosts = set()  # hosts whose command ran unasked

    @property
    def closed(self):
        """Whether no password is sent, or none any more."""
        return self.secret is None or self.state in ('refused', 'barred')

    def begin_run(self):
        """A refusal so far is one of an earlier run."""
        self.become('barred')

    def _is_decided(self):
        """Return whether a host took the password, or one refused it."""
        return self.closed or self.secret in self._taken

    # Admission: which jobs may start

    def room(self, now):
        """Return how many more jobs may start *now*, a point on
        time.monotonic().

        A job that is connected and waits for the password is closed
        meanwhile by its server, and one that sudo asks and that is then
        ended is a failed attempt.  So jobs start one by one until the
        password is decided, and the next one when the one before can ask no
        more, or after PROOF_TIMEOUT.

        ssh may be ended at its prompt: nothing was sent.  So where many in a
        row were not asked, as many start at once.  Should some be asked yet,
        ask() gives the password to one of them alone.

        None start in the run of a refusal: sudo takes seconds to end after
        one, and another job would do without the password meanwhile.
        """
        self._now = now
        if self.state == 'trying' and now >= self._trial_end:
            self._end_trial()
        if self.state == 'refused':
            return 0
        if self._is_decided():
            return sys.maxsize
        wide = self._widens and self._unasked >= UNASKED_MIN
        return (self._unasked if wide else 1) - sum(
            now < end for end in self._undecided.values())

    def job_starts(self, job):
        if not (self._is_decided() or job.host in self._silent_hosts):
            self._undecided[job] = self._now + PROOF_TIMEOUT

    def job_passed(self, job):
        """*job* can ask no more, here or for the earlier password."""
        if self._earlier:
            self._earlier.job_passed(job)
        if self._undecided.pop(job, None) and not self._is_decided():
            self._silent_hosts.add(job.host)
            self._unasked += 1

    # The password itself

    def ask(self, job, answer):
        """Call answer(secret) once *job* may have it, answer(None) if not."""
        self._unasked = 0
        if self.closed:
            answer(None)
        elif self.state == 'trying' and job is not self._trier:
            self._waiting.setdefault(job, answer)
        else:                       # the trier: for a jump host, then itself
            if self.state == 'untried':
                self.become('trying')
                self._trier = job
                self._trial_end = self._now + PROOF_TIMEOUT
            answer(self.secret)

    def accept(self):
        """A host took the password."""
        self._taken.add(self.secret)
        self.become('proven')
        self._retry_waiting()

    def refuse(self, job, how='refused the password'):
        """The host of *job* refused the password; *how*, for a person."""
        if not (self._anyway or self.closed):
            self.refusal = '%s %s' % (job.host, how)
            self.become('refused')
        self._retry_waiting()

    def job_finished(self, job):
        """*job* is over, whatever became of it."""
        self._undecided.pop(job, None)
        if job in self._waiting:
            self._waiting.pop(job)(None)
        if self.state == 'trying' and job is self._trier:
            self._end_trial()       # no answer: let another job try

    def _end_trial(self):
        self._trier = None
        self.become('untried')
        self._retry_waiting()

    def _retry_waiting(self):
        waiting, self._waiting = self._waiting, {}
        for job, answer in waiting.items():
            self.ask(job, answer)


class _Dialog(_Stateful):
    """What has been asked and answered in one job: by its ssh and those of
    its jump hosts, or by sudo."""

    NEXT = {
        'silent':    ('missing', 'asked', 'passed'),
        'missing':   ('passed',),       # the host has no sudo
        'asked':     ('answered', 'refused', 'withheld', 'passed'),
        # 'asked': for something else, or by the host behind a jump host, so
        # that the password was taken.
        'answered':  ('asked', 'refused', 'withheld', 'passed'),
        'refused':   ('passed',),       # asked for again
        'withheld':  ('passed',),       # asked for, and not sent
        'passed':    (),                # ssh is logged in, sudo has run
    }

    def __init__(self):
        self.state = 'silent'
        self.answers = set()        # the questions that were answered
        self.prompt = None          # the last that was not for the password

    def answer(self, *questions):
        self.answers.update(questions)
        self.become('answered')


class _PasswordHook(JobHooks):
    """Hooks that hand out the password of *guard*, a LockoutGuard.  The run
    is in a with block of theirs."""

    def __init__(self, guard):
        self._guard = guard
        self._dialogs = {}          # job that runs: its _Dialog

    def attach(self, manager):
        super().attach(manager)
        self._guard.begin_run()

    def refusal(self):
        """Which host refused the password in this run, and how; '' if none."""
        return self._guard.refusal if self._guard.state == 'refused' else ''

    @property
    def _barred(self):
        """Whether the password was refused in an earlier run."""
        return self._guard.state == 'barred'

    def room(self, running, now):
        return self._guard.room(now)

    def prepare(self, job):
        self._dialogs[job] = _Dialog()
        self._guard.job_starts(job)

    def finished(self, job, result):
        dialog = self._dialogs.pop(job, None)
        if dialog is None:          # it could not be prepared
            return result
        cause, result = self._judge(job, dialog, result)
        if cause in ('askpass', 'password', 'sudo-password', 'sudo-again'):
            self._guard.refuse(job, CAUSES[
                'askpass' if cause == 'askpass' else 'password'])
        self._guard.job_finished(job)
        if self.refusal():
            self.manager.drain()
        return result

    def _judge(self, job, dialog, result):
        """Return why *result* is no success as far as the password is
        concerned, a word of CAUSES or '', and the result with that."""
        raise NotImplementedError

    def _request(self, job, answer):
        """Call answer(secret) as LockoutGuard.ask() does; *job* is charged
        for no time until then."""
        def resume(secret):
            self.manager.resume(job)
            answer(secret)

        self.manager.pause(job)
        self._guard.ask(job, resume)

    def _passed(self, job, dialog):
        """*job* is past the prompt, so that what was answered was right."""
        dialog.become('passed')
        if dialog.answers:
            self._guard.accept()
        self._guard.job_passed(job)


# Askpass: the password for ssh

# ssh runs this as SSH_ASKPASS, with the prompt as argument.  The helper sends
# it to our socket and prints the reply for ssh.  Without a reply it kills
# ssh, which would otherwise send an empty password, a failed attempt: it
# signals its own process group, which is the job's, because its parent may
# have ended, and the pid of that is then of init or of anybody.
_HELPER = b"""\
#!/bin/sh
[ "$SSH_ASKPASS_PROMPT" != none ] || exit 0     # no question: touch the key
exec %s -ISc '
import os, socket, sys
try:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(sys.argv[1])
    connection.send(b"%%d %%b" %% (os.getppid(), os.fsencode(sys.argv[2])))
    reply = connection.recv(65536)
except OSError:
    reply = b""
os.write(1, reply)
if not reply:
    os.kill(0, 15)
' %s "$@"
"""

# ssh's own password prompt, and PAM's.  A one-time code, a password to be
# changed or a host key must not be answered with the password.
_PASSWORD_PROMPT = (r"(?i)(\([^()@]+@[^()]+\) )?([^\s@]+@\S+'s )?"
                    r"password( for \S+)?: ?")
_KEY_PROMPT = r"Enter passphrase for (key )?('.*'|/[^:]*): ?"
_HOST_KEY_PROMPT = r"(?s)The authenticity of host '.*\(yes/no.*"
# Of the methods that a server takes, as ssh names them when it is denied.
_TAKES_PASSWORDS = r'\([^()]*(password|keyboard)'


def private_directory(fits):
    """Make a directory that only we can use, where a socket can be, in the
    first place for which fits(place) is true; return its path."""
    import tempfile                 # few runs need it
    path = _make_directory(
        # The path of a socket has 108 bytes, of which ssh takes some 60.
        lambda place: len(os.fsencode(place)) < 32 and fits(place),
        (tempfile.gettempdir(), os.environ.get('XDG_RUNTIME_DIR'), '/tmp',
         '/dev/shm'))
    if path is None:
        raise UsageError('no directory for private files: TMPDIR, '
                         'XDG_RUNTIME_DIR, /tmp and /dev/shm are too long, '
                         'oddly named, not there or noexec')
    return path


def _judge_login(dialog, barred, helper_runs, result, may_have_asked=True):
    """Return the cause of a failed login as far as passwords are concerned,
    a word of CAUSES; '' if they are not.

    *barred* says whether the password was refused in an earlier run,
    *helper_runs* whether ssh can run the helper, *may_have_asked* whether it
    may have tried to.
    """
    words = result.stderr
    if dialog.state == 'withheld':
        return 'withheld'           # a jump host may have had it
    # A connection that is lost is no refusal.  Where nothing tells why ssh
    # has failed, to stop is the safe side.
    if dialog.state == 'refused' or dialog.state == 'answered' and (
            result.cause in ('denied', 'ssh')
            or 'Received disconnect' in words):
        return 'password'
    if dialog.state == 'silent':
        if not (barred or may_have_asked):
            # A server may offer keyboard-interactive, and then ask nothing:
            # only the ssh of a jump host may have asked.
            words = result.errors
        if result.cause == 'denied' and re.search(_TAKES_PASSWORDS, words):
            # The helper did not run, and ssh has sent an empty password.
            return 'withheld' if barred else 'askpass'
        if not helper_runs:
            return 'askpass'
    return '' if dialog.prompt is None else 'prompt'


def _reply(connection, answer):
    with contextlib.suppress(OSError):      # ssh has ended
        connection.sendall(answer)
    connection.close()


class AskpassServer(_PasswordHook):
    """Answers the password prompts of ssh, by a helper that ssh runs.

    *guard* is a LockoutGuard.  If *keys*, the password is given as the
    passphrase of a key, too.  Jobs may run only inside the with block.
    """

    def __init__(self, guard, keys=False):
        super().__init__(guard)
        self._keys = keys
        self._files = _PrivateFiles(lambda: private_directory(runs_programs))
        self._helper = self._socket = None      # a path, and where it calls
        self._reserved = []         # descriptors for connections, one a job

    @property
    def may_prompt(self):
        # After a refusal, a prompt without an answer is one more.
        return not self._guard.closed

    def __enter__(self):
        import socket               # few runs need it
        try:
            path = self._files.new_path('socket')
            self._socket = socket.socket(socket.AF_UNIX,
                                         socket.SOCK_SEQPACKET)
            self._socket.bind(path)
            self._socket.listen(SOCKET_BACKLOG)
            self._socket.setblocking(False)
            self._helper = self._files.new_path('ask')
            with open(self._helper, 'wb') as file:
                file.write(_HELPER % tuple(os.fsencode(shlex.quote(word))
                                           for word in (sys.executable, path)))
            os.chmod(self._helper, 0o700)
        except BaseException:
            self.close()
            raise
        return self

    def close(self):
        if self._socket:
            self._socket.close()
            self._socket = None
        self._files.close()

    # What the manager calls

    def prepare(self, job):
        if not self._dialogs:
            self.manager.watch(self._socket, READ, self._connect, hold=False)
        # With a large fanout there may be no descriptor left when the helper
        # connects.
        self._reserved.append(os.dup(self._socket.fileno()))
        # An ssh before 8.4 knows no SSH_ASKPASS_REQUIRE: it asks if it has
        # no terminal and a DISPLAY.
        job.environment = {
            'DISPLAY': 'none', **os.environ, 'SSH_ASKPASS': self._helper,
            'SSH_ASKPASS_REQUIRE': 'force', 'SSH_ASKPASS_PROMPT': ''}
        super().prepare(job)

    def logged_in(self, job):
        if job in self._dialogs:
            self._passed(job, self._dialogs[job])

    def finished(self, job, result):
        result = super().finished(job, result)
        while len(self._reserved) > len(self._dialogs):
            os.close(self._reserved.pop())
        if not self._dialogs:
            self.manager.unwatch(self._socket)
        return result

    def _judge(self, job, dialog, result):
        # Where ssh has no log: only a session writes to stdout.
        if result.outcome in ('ok', 'error') or result.output:
            self._passed(job, dialog)
        if dialog.state == 'passed':
            return '', result
        cause = '' if job.cause else _judge_login(      # or we ended it
            dialog, self._barred, os.access(self._helper, os.X_OK), result,
            not (job.log and job.log.is_whole) or job.log.has_asked)
        if (cause and dialog.state == 'silent' and job.connections
                and job.connections.is_open(job.host)):
            cause = ''              # over that, ssh need not ask
        if cause:
            # Where the helper ended ssh by a signal, ssh failed, too.
            result = result._replace(
                outcome='ssh', exitcode=255, cause=cause, ran='no',
                reason=CAUSES[cause] + (': ' + dialog.prompt
                                        if cause == 'prompt' else ''))
        elif dialog.answers and result.cause in ('dropped', 'no-answer'):
            # Never tried again: it would be one more attempt.
            result = result._replace(
                cause='lost', reason=job.reason or CAUSES['lost'])
        return cause, result

    # What the helper sends

    def _connect(self, listener, events):
        # A connection takes the place of any reserved descriptor.
        if self._reserved:
            os.close(self._reserved.pop())
        try:
            connection = listener.accept()[0]
        except OSError:
            return
        job = self._job_of(connection)
        if job is None:
            connection.close()
            return
        connection.setblocking(False)
        self.manager.watch(connection, READ,
                           functools.partial(self._read, job), hold=False)

    def _job_of(self, connection):
        """Return the job that leads the session of the peer, or None."""
        import socket
        import struct
        pid, uid, gid = struct.unpack('3i', connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize('3i')))
        try:
            session = os.getsid(pid)
        except OSError:
            return None             # the peer has ended
        return next((job for job in self._dialogs if job.pid == session
                     and uid == os.geteuid()), None)

    def _read(self, job, connection, events):
        try:
            request = connection.recv(READ_SIZE)
        except OSError:
            request = b''
        self.manager.unwatch(connection)
        dialog = self._dialogs.get(job)
        if dialog and request:
            pid, space, prompt = os.fsdecode(request).partition(' ')
            self._answer(job, dialog, pid, prompt, connection)
        else:
            connection.close()

    def _answer(self, job, dialog, pid, prompt, connection):
        """Answer the *prompt* of the ssh *pid*, the job's or a jump host's."""
        key = re.fullmatch(_KEY_PROMPT, prompt)
        # One answer for each ssh, in whatever words it asks again; and one
        # for each prompt, in case ssh is started again.  A passphrase goes
        # to no host: the ssh of a jump host may want the same.
        questions = {pid + ' for its key'} if key else {pid, prompt}

        def deliver(secret):
            if secret is None:
                dialog.become('withheld')
                _reply(connection, b'')
            else:
                dialog.answer(*questions)
                _reply(connection, secret + b'\n')

        if not (key and dialog.answers):
            dialog.become('asked')
        if re.fullmatch(_PASSWORD_PROMPT, prompt) or key and self._keys:
            if questions & dialog.answers:
                dialog.become('refused')
                _reply(connection, b'')
            else:
                self._request(job, deliver)
            return
        dialog.prompt = ' '.join(prompt.split())[:EXCERPT_LENGTH]
        # ssh takes an empty line for a no to its own questions: it goes on
        # without that key, or ends.  A server would take it for an answer.
        _reply(connection,
               b'\n' if key or re.fullmatch(_HOST_KEY_PROMPT, prompt) else b'')


# The password for sudo

# sudo's message for a user who may not run it, whatever the password.
_NOT_ALLOWED = ('sudoers|not allowed|no tty|have a tty|your account locked|'
                'Account expired')
_PASSWORD_EXPIRED = 'password is expired|Password expired'
_WRONG_PASSWORD = 'ry again|ncorrect (password|authentication) attempt'

# How sudo-rs begins its prompt, before ours: '[sudo: OURS] Password: '.
_SUDO_RS = b'[sudo: '


def _escape_percent(mark):
    """Return *mark* with '%' doubled.

    printf and sudo's -p turn it back, so the mark itself appears only when
    they print it, not when the command is shown: by a login shell that
    traces (set -x), or by sudo, if it does not run the command.
    """
    return mark.replace('%', '%%')


# What %b of printf turns into the byte; the rest is special to no shell.
_OCTAL = {byte: '\\0%03o' % byte for byte in range(256)
          if not 32 <= byte < 127 or byte in b'!"$\'\\`'}


def _for_any_shell(script):
    """Return a command by which any login shell makes sh run *script*.

    All of it is one word in single quotes that needs no escapes: fish takes
    backslashes out, csh expands '!' and takes no newline, a restricted shell
    refuses exec.  *script* must not end in a newline, which $() drops.
    """
    return """sh -c 'eval "$(printf %%b "%s")"'""" % (
        os.fsencode(script).decode('latin-1').translate(_OCTAL))


class _MarkFilter:
    """In place of a _Capture: takes *marks* out of a stream, and calls
    on_mark(mark) for each."""

    def __init__(self, capture, marks, on_mark):
        self._capture = capture
        self._marks = marks         # bytes
        self._on_mark = on_mark
        self._search = re.compile(b'|'.join(map(re.escape, marks))).search
        self._rest = b''            # the beginning of a mark, perhaps
        self._in_prompt = False     # of sudo-rs: its line is left out

    def __getattr__(self, name):    # all that a _Capture has besides
        return getattr(self._capture, name)

    def add(self, chunk):
        chunk = self._rest + chunk
        found = self._search(chunk)
        while found:
            self._pass_on(chunk[:found.start()])
            chunk = chunk[found.end():]
            self._in_prompt = found.group().startswith(_SUDO_RS)
            self._on_mark(found.group())
            found = self._search(chunk)
        whole = len(chunk) - self._begun(chunk)
        self._pass_on(chunk[:whole])
        self._rest = chunk[whole:]

    def _pass_on(self, chunk):
        if self._in_prompt:
            prompt, newline, chunk = chunk.partition(b'\n')
            self._in_prompt = not newline
        self._capture.add(chunk)

    def _begun(self, chunk):
        """Return how many bytes of a mark *chunk* ends with."""
        # In the expression it would cost a hundred times as much.
        for size in range(max(map(len, self._marks)) - 1, 0, -1):
            if any(mark.startswith(chunk[-size:]) for mark in self._marks):
                return min(size, len(chunk))
        return 0

    def take(self):
        self._pass_on(self._rest)
        return self._capture.take()


def _judge_sudo(dialog, barred, result):
    """Return why sudo has not run the command, a word of CAUSES; '' if it
    has, or was not reached.

    *barred* says whether the password was refused in an earlier run.
    """
    if dialog.state == 'passed' or result.outcome not in ('ok', 'error'):
        return ''
    if dialog.state == 'missing':
        return 'no-sudo'
    words = result.errors + result.output
    if dialog.answers and re.search(_PASSWORD_EXPIRED, words):
        return 'sudo-expired'
    if dialog.state == 'refused' and not re.search(_WRONG_PASSWORD, words):
        return 'sudo-again'
    if dialog.state == 'refused' or (
            dialog.state == 'answered' and not re.search(_NOT_ALLOWED, words)):
        return 'sudo-password'
    if dialog.state == 'withheld' or (
            barred and 'password is required' in result.errors):
        return 'withheld'
    return 'sudo'


def _pending_question(dialog, result):
    """Return what sudo wanted when *result* was ended; '' if nothing."""
    if dialog.state == 'passed':
        return ''
    if dialog.answers and re.search(_PASSWORD_EXPIRED, result.errors):
        return CAUSES['sudo-expired']
    prompt = (result.errors or result.output).rpartition('\n')[2].split()
    return prompt and 'sudo asked: ' + ' '.join(prompt)[:EXCERPT_LENGTH]


class SudoWrapper(_PasswordHook):
    """Runs the command as *user* by sudo, and answers its password prompt.

    *guard* is a LockoutGuard; None: there is no password for sudo.
    """

    defers_stdin = True             # sudo reads the password first

    def __init__(self, user='root', guard=None):
        super().__init__(guard or LockoutGuard(None))
        self._user = user
        # Independent random tokens: one mark does not tell the others.
        self._prompt_mark, self._started_mark, self._missing_mark = (
            'classh-%s%%%s:' % (os.urandom(8).hex(), os.urandom(8).hex())
            for _ in range(3))
        self._on_mark = {}          # mark: what to call with the job
        for mark, callback in ((self._prompt_mark, self._on_prompt),
                               (self._started_mark, self._on_started),
                               (self._missing_mark, self._on_missing)):
            self._on_mark[_escape_percent(mark).encode()] = _do_nothing
            self._on_mark[mark.encode()] = callback
        self._on_mark[_SUDO_RS + self._prompt_mark.encode()] = self._on_prompt

    def wrap(self, command):
        # sudo's own messages are in English, because we read them; the
        # command has the locale of the login.  The inner shells make all of
        # the command run as that user, after the mark.
        prompt, started, missing = map(_escape_percent, (
            self._prompt_mark, self._started_mark, self._missing_mark))
        sudo = ['sudo', *(['-n'] if self._guard.closed
                          else ['-S', '-p', prompt]),
                '-u', self._user, '--', 'sh', '-c',
                'printf %s >&2; '
                'if [ "$LC_ALL" = C ]; then '
                'LC_ALL=$1; [ "$1" ] || unset LC_ALL; fi; '
                'exec sh -c "$0"' % started, command]
        return _for_any_shell(
            'command -v sudo >/dev/null || { printf %s >&2; exit 127; }; '
            'set -- "$LC_ALL"; LC_ALL=C; export LC_ALL; exec %s "$1"'
            % (missing, _quoted(sudo)))

    def prepare(self, job):
        super().prepare(job)
        dialog = self._dialogs[job]

        def on_mark(mark):
            self._on_mark[mark](job, dialog)

        # With RequestTTY=force the host's stderr comes on our stdout.
        job.output = _MarkFilter(job.output, self._on_mark, on_mark)
        job.errors = _MarkFilter(job.errors, self._on_mark, on_mark)

    def _judge(self, job, dialog, result):
        cause = _judge_sudo(dialog, self._barred, result)
        question = job.cause and _pending_question(dialog, result)
        if cause:
            # Status 0 of a command that did not run is not its status.
            result = result._replace(
                outcome='error', exitcode=result.exitcode or 1, cause=cause,
                reason=CAUSES[cause])
        elif question:
            result = result._replace(
                reason='%s, %s' % (result.reason, question))
        # So far, ran is of our own command, which starts sudo.
        ran = result.ran
        if dialog.state == 'passed':
            ran = 'yes'
        elif cause or dialog.state in ('asked', 'withheld'):
            ran = 'no'
        elif ran == 'yes':
            ran = 'unknown'
        return cause, result._replace(ran=ran)

    # What sudo and the command print

    def _on_missing(self, job, dialog):
        dialog.become('missing')

    def _on_prompt(self, job, dialog):
        if dialog.state == 'passed':
            return                  # not sudo has printed it

        def deliver(secret):
            if secret is None or job.stdin is None:
                dialog.become('withheld')
                self.manager.end_input(job)
                return
            dialog.answer(self._prompt_mark)
            with contextlib.suppress(OSError):      # sudo has ended
                os.write(job.stdin, secret + b'\n')
            # A question for more than the password would wait for ever.
            if self.manager.uses_stdin:
                self.manager.call_later(PROOF_TIMEOUT, give_up)
            else:
                self.manager.end_input(job)

        def give_up():
            if dialog.state == 'answered':      # and COMMAND does not run
                self.manager.end_input(job)

        if dialog.answers:
            dialog.become('refused')
            self._guard.refuse(job)
            self.manager.end_input(job)
        else:
            dialog.become('asked')
            self._request(job, deliver)

    def _on_started(self, job, dialog):
        if dialog.state != 'passed':    # else a program has read the mark
            self._passed(job, dialog)
            self.manager.open_input(job)


def password_hooks(options, hosts, stops):
    """Return the hooks for the passwords that *options* name; ask for them.

    *hosts* is a HostQueue; a signal noted in *stops* ends a prompt.
    """
    asked = options.askpass or options.askpass_file is not None
    hooks, ssh, secret = [], None, None
    if asked or options.sudo_password:
        _leave_no_core()
    if asked:
        what = 'ssh' if options.sudo is None or options.sudo_password else (
            'ssh and sudo')
        secret = (_ask_secret(what, hosts, stops)
                  if options.askpass_file is None
                  else _secret_in(options.askpass_file))
        ssh = LockoutGuard(secret, options.askpass_anyway, widens=True)
        hooks.append(AskpassServer(ssh, options.askpass_key))
    if options.sudo_password:
        secret = _ask_secret('sudo', hosts, stops)
    if options.sudo is not None:
        hooks.append(SudoWrapper(options.sudo, LockoutGuard(
            secret, options.askpass_anyway, ssh)))
    return hooks


# -- Ending on the host -----------------------------------------------------

# The first process waits for the command and passes its status on; the second
# one reads our stdin, which ends when we, ssh or the connection do, and then
# signals its own process group as number 0: by the group's own number it could
# signal another group that has that number by then.  This needs neither setsid
# nor job control (set -m), which dash does not have without a terminal.
#
# The second process holds neither stdout nor stderr, so that it keeps no
# session open.  With the trap the first one stays until the command is gone,
# because a terminal's end, or that of what sudo runs, hangs up on the rest;
# and once the group is being ended, nothing stops the second one.  The command
# is in the environment: pkill -f would find it in arguments, and end us.  What
# shells print of a command that a signal ended goes to /dev/null; dash needs
# the subshell for that.  A status above 256 is ksh's for a signal.
_UNTIL_STDIN_ENDS = """\
# classh --end-remote
exec 3<&0 4>&2 </dev/null
trap "exit 143" TERM
{
    trap "" HUP TERM
    while read -r line; do :; done
    kill -s TERM 0
    kill -s CONT 0
    sleep %d
    kill -s KILL 0
} <&3 3<&- 4>&- >/dev/null 2>&1 &
exec 2>/dev/null
(
    set -- "$CLASSH_COMMAND"
    unset CLASSH_COMMAND
    exec %s -c "$1" 3<&- 2>&4 4>&-
)
set -- $?
kill -s KILL $!
wait $!
exit $(($1 > 256 ? $1 - 128 : $1))"""


class EndRemote(JobHooks):
    """Ends the command on the host, too, when its ssh ends or we do: SIGTERM
    to its process group, 5 seconds later SIGKILL.

    What has left the group, as a daemon does, is not ended, nor what is left
    in the background by a command that has come to its end.  The stdin of
    the command is empty.  A command that a signal ends has the status 128 and
    the number of the signal.  It goes before a SudoWrapper, if there is one:
    only root can end root's processes.
    """

    holds_stdin = True

    def __init__(self, shell=None):
        """*shell* runs the command, by -c; None: the login shell, as ssh has
        it run."""
        self._shell = ('"${SHELL:-sh}"' if shell is None
                       else shlex.quote(shell))

    def wrap(self, command):
        return _for_any_shell(
            'CLASSH_COMMAND=%s; export CLASSH_COMMAND; exec sh -c %s' % tuple(
                map(shlex.quote, (command, _UNTIL_STDIN_ENDS % (
                    KILL_GRACE, self._shell)))))


# -- Shared connections -----------------------------------------------------

EXIT_BATCH = 100        # connections to end at a time
EXIT_LIMIT = 5.0        # seconds for a batch of them to end
SOCKET_INTERVAL = 0.02  # seconds between two looks for a socket
HOST_DIGITS = 6         # of the name of a socket that is kept: for the host
WAY_DIGITS = 10         # ... and for the way to it
# Bytes of a directory of sockets that are kept: a path has 107, of which %C
# takes 40, the digits above 16, '/' one, and ssh 17 while it makes a socket.
KEPT_PATH_LIMIT = 33
LOOK_INTERVAL = 1.0     # seconds between two looks whether a gate is open
REOPEN_INTERVAL = 10.0  # seconds between two tries to open one again
ALIVE_INTERVAL = 15     # whole seconds of silence until a gate is asked for
                        # an answer; with three of them missed it is lost
GATE_INTERVAL = 0.01    # seconds between two looks for the first login
GATE_GRACE = 0.25       # seconds from SIGTERM to SIGKILL, then to giving up,
                        # for the ssh of a gate: all jobs wait meanwhile
GATE_WORDS = 1 << 12    # bytes kept of what the ssh of a gate says
GATE_LINES = 5          # ... and the last lines of that in a message

# Options of the user for his hosts alone; the others are for a gate, too.
_OF_HOSTS = (r'(?i)\s*(port|user|hostname|hostkeyalias|proxy\w+|control\w+|'
             r'remotecommand)[\s=]')
# Runs ssh until our end of its stdin is closed, which SIGKILL does, too: ssh
# without a command does not end by itself.
_UNTIL_WE_END = '"$@" </dev/null & exec 2>/dev/null; read -r line; kill $!'
_FORWARD = '[%h]:%p'    # the argument of -W, in which ssh puts each host


def _hash(digits, *texts):
    """Return so many hexadecimal *digits* that stand for the *texts*."""
    import hashlib                  # few runs need it
    return hashlib.sha256('\0'.join(texts).encode(
        'utf-8', 'surrogateescape')).hexdigest()[:digits]


def _end_masters(ssh, paths, check):
    """End the masters whose sockets are the *paths*, EXIT_BATCH at most."""
    import subprocess
    deadline = time.monotonic() + EXIT_LIMIT
    processes = []
    try:
        with contextlib.suppress(OSError):      # no room for one more
            for path in paths:
                processes.append(subprocess.Popen(
                    [*ssh, '-o', 'ControlPath=' + path, '-O', 'exit', 'all'],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True))    # out of the reach of Ctrl-C
        # Each master removes its socket when it ends.
        while time.monotonic() < deadline and any(
                process.poll() is None or os.path.exists(path)
                for process, path in zip(processes, paths)):
            check()
            time.sleep(SOCKET_INTERVAL)
    finally:
        for process in processes:
            process.kill()
            process.wait()


class _Connections(JobHooks):
    """Connections that several commands use, one to each host.

    Each is held by an ssh in the background, its master, with a socket in
    *directory*.  The master ends *seconds* after the last use.  A subclass
    has _name(host), the file name of the socket as ControlPath has it,
    is_open(host), and _forget(host), after which it is not used again.
    """

    def __init__(self, ssh, directory, seconds):
        self._ssh = split_ssh(ssh)
        self.directory = directory
        self._seconds = seconds

    def host_options(self, host):
        return ('ControlMaster=auto', 'ControlPersist=%d' % self._seconds,
                'ControlPath=' + self.control_path(host))

    def prepare(self, job):
        job.connections = self

    def control_path(self, host):
        """Return the ControlPath of *host*, in which ssh may put its %C."""
        return '%s/%s' % (self.directory, self._name(host))

    def finished(self, job, result):
        # The master hangs, or its network has gone: the next try connects.
        if job.log and (job.log.gave_up_master or (
                result.cause == 'no-answer' and job.log.awaits_master)):
            self._forget(job.host)
            if result.cause == 'no-answer':
                return result._replace(cause='mux', reason=CAUSES['mux'])
        return result

    def _end(self, names, check=lambda: None):
        """End the connections whose sockets have the *names*; return the
        paths of those that have not ended in time.  *check()* is called
        several times a second meanwhile, and may raise."""
        paths = [path for path in (os.path.join(self.directory, name)
                                   for name in names) if os.path.exists(path)]
        for begin in range(0, len(paths), EXIT_BATCH):
            _end_masters(self._ssh, paths[begin:begin + EXIT_BATCH], check)
        return list(filter(os.path.exists, paths))


class SharedConnections(_Connections):
    """Connections that all commands of a shell use; a context manager that
    ends them and removes their sockets."""

    def __init__(self, ssh):
        # The time is for the case that we are killed.
        super().__init__(ssh, None, SHARE_TIME)
        # host: the file name of its socket.  ssh's own %C is equal for two
        # names of one host: each name would connect, and one ssh would
        # complain of the other's socket.
        self._names = collections.defaultdict(
            map(str, itertools.count()).__next__)

    def __enter__(self):
        self.directory = private_directory(fits_in_option)
        return self

    def _name(self, host):
        return self._names[host]

    def _forget(self, host):
        self._names.pop(host, None)     # the next one has another name

    def is_open(self, host):
        return host in self._names and os.path.exists(
            os.path.join(self.directory, self._names[host]))

    def end(self, hosts):
        """End the connections of *hosts*, which are not used again: the next
        ones have other names, whether or not these end."""
        self._end([self._names.pop(host) for host in hosts
                   if host in self._names])

    def __exit__(self, *exc_info):
        try:
            with contextlib.suppress(OSError):      # ControlPersist ends them
                self._end(os.listdir(self.directory))
        finally:
            remove_directory(self.directory)


class ShareError(ClasshError):
    """There is no safe place for the sockets of connections to be kept."""


def _why_unsafe(path):
    """Return why *path*, which exists, is no directory for us alone, or None.

    Another user who can write there could send our commands to his host.
    """
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        return 'is a link'
    if not stat.S_ISDIR(found.st_mode):
        return 'is no directory'
    if found.st_uid != os.geteuid():
        return 'belongs to another user, uid %d' % found.st_uid
    if stat.S_IMODE(found.st_mode) != 0o700:
        return 'has the mode %o; it must be 700' % stat.S_IMODE(found.st_mode)
    return None


def _kept_directory():
    """Return the directory for the sockets of connections that are kept; make
    it if need be.  Raise ShareError."""
    user = os.geteuid()
    for place in os.environ.get('XDG_RUNTIME_DIR', ''), '/run/user/%d' % user:
        # Of another user after su.
        if os.path.isabs(place) and os.path.isdir(place) and (
                os.stat(place).st_uid == user):
            path = place + '/classh'
            break
    else:
        path = '/tmp/classh-%d' % user
    home = os.path.realpath(os.path.expanduser('~')).rstrip('/')
    if len(os.fsencode(path)) > KEPT_PATH_LIMIT:
        problem = 'is too long for a socket'
    elif not fits_in_option(path):
        problem = 'has a character that ssh may not have there'
    elif home and os.path.realpath(path).startswith(home + '/'):
        problem = 'is in your home directory, which may be on other hosts too'
    else:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            problem = _why_unsafe(path)
        except OSError as error:
            problem = error.strerror
    if problem:
        raise ShareError('%s %s' % (path, problem))
    return path


def _is_listening(path):
    """Return whether a process listens at the socket *path*: a master that
    was killed has left its own behind."""
    import socket                   # few runs need it
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:             # so many connect to it just now
            pass
    return True


class KeptConnections(_Connections):
    """Connections that stay open for later runs of this user.

        kept = KeptConnections(600)
        for result in SSHJobMan(hosts, 'uptime', hooks=[kept]):

    Each is kept for *seconds*, a whole number, after its last use.  *ssh*,
    *options* and *user* are those of the manager, *gates* is that of a
    JumpHost: where one of them differs, so does the connection.  Raise
    ShareError where there is no safe place for the sockets.
    """

    def __init__(self, seconds=SHARE_TIME, ssh='ssh', options=(), user=None,
                 gates=None):
        super().__init__(ssh, _kept_directory(), seconds)
        self._way = (*self._ssh, '', *options, '', user or '', gates or '')

    def _name(self, host):
        # Where ssh_config changes, %C does.  What it does not tell apart are
        # two ways to one address: behind two gates there may be two hosts.
        return '%s%s%%C' % (self._host_part(host), _hash(
            WAY_DIGITS, host, *self._way))

    @staticmethod
    def _host_part(host):
        """Return how the names of all sockets for *host* begin, whatever its
        user and port."""
        return _hash(HOST_DIGITS, host_parts(host)[1].lower())

    def _found(self):
        """Return the names of the sockets; none where the directory has gone,
        as after the user's last logout."""
        with contextlib.suppress(OSError):
            return os.listdir(self.directory)
        return []

    def is_open(self, host):
        return self.path(host) is not None

    def path(self, host):
        """Return the path of the socket of *host*, None if there is none."""
        begin = self._name(host)[:-len('%C')]
        return next((os.path.join(self.directory, name)
                     for name in self._found()
                     if name.startswith(begin) and '.' not in name), None)

    def _forget(self, host):
        path = self.path(host)
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def end(self, hosts=None, check=lambda: None):
        """End the connections to *hosts*, however they are reached; None: all
        that this user has.  Return how many have ended, how many had ended
        before, and how many do not answer; none of them is used again.

        *check()* is called several times a second meanwhile, and may raise.
        """
        wanted = hosts and set(map(self._host_part, hosts))
        names = [name for name in self._found()
                 if hosts is None or name[:HOST_DIGITS] in wanted]
        alive = [name for name in names if _is_listening(
            os.path.join(self.directory, name))]
        deaf = self._end(alive, check)
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.directory, name))
        return len(alive) - len(deaf), len(names) - len(alive), len(deaf)


def _bracketed(gate):
    """Return *gate* as ProxyJump takes it: a bare v6 address in brackets."""
    user, at, name = gate.rpartition('@')
    return (user + at + '[%s]' % name
            if re.fullmatch(_HOST, gate).group('name', 'v6') == (None, None)
            else gate)


class JumpError(ClasshError):
    """The connection to the jump host .gate cannot be opened."""

    FIELDS = 'gate', 'problem'

    def __str__(self):
        return 'cannot log in to the jump host %s: %s' % (self.gate,
                                                          self.problem)


class JumpHost(_Stateful, JobHooks):
    """One connection to a jump host, through which all hosts are reached.

        with JumpHost('gate') as gate:
            for result in SSHJobMan(hosts, 'uptime', hooks=[gate]):

    *gates* is [user@]name[:port], or several of them with commas, each
    reached through those before it; the connection is to the last.  *ssh*,
    *options* and *connect_timeout* are those of the manager.  The gates are
    asked for no password.  *check()* is called while the connection is being
    opened, several times a second, and may raise.  *shared* says that the
    connections to the hosts are shared.

    Raise PatternError for a bad name; entering raises JumpError.  Jobs may
    run only inside the with block.  A connection that is lost is opened
    again, and no job is started meanwhile.  Where it cannot be, each job
    makes a connection to the gate of its own.
    """

    NEXT = {
        'closed':  ('opening',),
        'opening': ('open', 'closed'),      # closed: no login
        'open':    ('closed',),             # lost
    }

    def __init__(self, gates, ssh='ssh', options=(),
                 connect_timeout=CONNECT_TIMEOUT, check=lambda: None,
                 shared=False):
        self.state = 'closed'
        *before, self.gate = _split_names(gates) or [gates]
        for gate in (*before, self.gate):
            if next(expand(gate)) != gate:
                raise PatternError(gates, gate, 'is a pattern; name each '
                                   'jump host')
        self._words = split_ssh(ssh)
        self._timeout = connect_timeout
        self._check = check
        self._shared = shared
        self._options = [option for option in options
                         if not re.match(_OF_HOSTS, option)]
        if before:
            self._options.insert(0, 'ProxyJump='
                                 + ','.join(map(_bracketed, before)))
        self._files = _PrivateFiles(lambda: private_directory(fits_in_option))
        self._path = None           # of the socket
        self._owner = None          # the pid of the process that opens it
        self._process = None        # runs while the state is not 'closed'
        self._said = b''            # by ssh, since the state changed
        self._deadline = 0.0        # of the login
        self._next_try = 0.0        # when to open it again, at the earliest
        self._failing = False       # it could not be opened again

    def __enter__(self):
        try:
            self._owner = os.getpid()
            self._path = self._new_path()
            self._open()
            while self.state == 'opening':
                self._check()
                time.sleep(GATE_INTERVAL)
                problem = self._look()
            if self.state != 'open':
                raise JumpError(self.gate, problem)
        except BaseException:
            self.close()
            raise
        # Where the connection is lost, this ssh makes one of its own.  One
        # whose connection is to be shared has no stderr for it: there its
        # errors go before the host's first words, which are logged.
        argv = (self._argv('-E', '/dev/stdout', '-W', _FORWARD,
                           ControlMaster='no', LogLevel='ERROR')
                if self._shared else
                self._argv('-W', _FORWARD, ControlMaster='no'))
        self.options = ('ProxyCommand=' + ' '.join(
            shlex.quote(word) if word == _FORWARD
            else shlex.quote(word).replace('%', '%%') for word in argv),)
        return self

    def close(self):
        # Not in a forked child.
        if self.state != 'closed' and self._owner == os.getpid():
            self._end()
        self._files.close()

    def _new_path(self):
        return self._files.new_path('gate')

    def _argv(self, *words, **options):
        """Return the arguments of an ssh to the gate: *words* and *options*
        and what goes for every ssh."""
        options.update(BatchMode='yes', ControlPath=self._path,
                       ClearAllForwardings='yes')
        return ssh_argv(
            self.gate, '', ssh=[*self._words, *words],
            connect_timeout=self._timeout,
            options=[*map('='.join, options.items()), *self._options,
                     'ServerAliveInterval=%d' % ALIVE_INTERVAL])[:-1]

    def _script(self):
        """Return the script that has an ssh log in, and its arguments."""
        return [_UNTIL_WE_END, 'sh', *self._argv(
            '-N', ControlMaster='yes', ControlPersist='no')]

    def _open(self):
        """Start an ssh that is to log in.  Raise OSError."""
        import subprocess
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)   # of an ssh that was killed
        # In a session of its own: out of the reach of Ctrl-C, and where
        # there is a terminal, the ssh of another gate cannot ask there.
        self._process = subprocess.Popen(
            ['/bin/sh', '-c', *self._script()],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True,
            env=dict(os.environ, SSH_ASKPASS_REQUIRE='never'))
        os.set_blocking(self._process.stderr.fileno(), False)
        self._said = b''
        self._deadline = (time.monotonic() + self._timeout + LOGIN_GRACE
                          if self._timeout else math.inf)
        self.become('opening')

    def _look(self):
        """See how far ssh is.  Return None, or why it has ended."""
        with contextlib.suppress(BlockingIOError):
            while True:
                chunk = os.read(self._process.stderr.fileno(), READ_SIZE)
                if not chunk:
                    return self._end()
                self._said = (self._said + chunk)[-GATE_WORDS:]
        if self.state == 'opening':
            if os.path.exists(self._path):      # it takes connections
                self._said = b''
                self.become('open')
            elif time.monotonic() > self._deadline:
                return self._end('no login after %d s' % self._timeout)
        return None

    def _end(self, problem='ssh has ended without a word'):
        """End ssh; return its last words in a line, *problem* if none."""
        wait_or_end(self._process, lambda: 1, 0, GATE_GRACE)
        self._process.stdin.close()
        self._process.stderr.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self.become('closed')
        said = self._said.decode('utf-8', 'backslashreplace')
        lines = _shown_words(said.replace('\r', '')).replace(
            'WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!',
            CAUSES['key-changed']).splitlines()
        return '; '.join(list(filter(None, map(str.strip, lines)))[
            -GATE_LINES:]) or problem

    # What the manager calls

    def room(self, running, now):
        before = self.state
        problem = None if before == 'closed' else self._look()
        if problem and before == 'open':
            self.manager.warn('connection to the jump host %s lost: %s'
                              % (self.gate, problem))
        elif problem and not self._failing:
            self._failing = True
            self.manager.warn(str(JumpError(self.gate, problem)))
        elif self.state == 'open':
            self._failing = False
        if self.state == 'closed' and time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + REOPEN_INTERVAL
            with contextlib.suppress(OSError):  # no room for it: later
                self._open()
        return 0 if self.state == 'opening' else sys.maxsize


class KeptJumpHost(JumpHost):
    """One connection to a jump host, which later runs use, too.

        kept = KeptConnections(600, gates='gate')
        with KeptJumpHost('gate', kept) as gate:
            for result in SSHJobMan(hosts, 'uptime', hooks=[gate, kept]):

    *kept*, KeptConnections, holds it; all else is as with JumpHost.
    """

    def __init__(self, gates, kept, *args, **kwargs):
        super().__init__(gates, *args, shared=True, **kwargs)
        self._kept = kept
        self._socket = None         # the path, while the state is 'open'
        self._next_look = 0.0       # when to look whether it is still open

    def close(self):
        if self.state == 'opening':
            super().close()

    def _new_path(self):
        return self._kept.control_path(self.gate)

    def _script(self):
        # An ssh whose connection is kept goes to the background, and this
        # one to its end: then the connection is open.
        share = dict(option.split('=', 1)
                     for option in self._kept.host_options(self.gate))
        return ['%s 2>/dev/null || exec %s' % (
            _quoted(self._argv('-O', 'check', **share)),
            _quoted(self._argv('-N', **share)))]

    def _look(self):
        if self.state == 'open':
            now = time.monotonic()
            if now < self._next_look:
                return None
            self._next_look = now + LOOK_INTERVAL
            if _is_listening(self._socket):
                return None
            self.become('closed')
            return 'it has ended'
        status = self._process.poll()
        if status == 0:
            self._socket = self._kept.path(self.gate)
            if self._socket:
                self._process.stdin.close()
                self._process.stderr.close()
                self.become('open')
                return None
        # The end of its stderr comes a little before its own, which tells.
        if status is None and time.monotonic() <= self._deadline:
            return None
        return super()._look()


# -- Stopping ---------------------------------------------------------------

TYPING_CHECK = 1.0      # seconds at most between two looks for signals while
                        # somebody types

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class SignalExit(BaseException):
    """A signal, the argument, asked for an end where nothing runs yet."""


def _call(function, args):
    # A handler may raise in this frame, because the frame has no state.
    return function(*args)


class StopRequests:
    """What has asked for an end so far; a context manager that notes signals.

    caught          the signals that ask for an end, in order
    reader_left     True: nobody reads the results any more
    faults          how many errors kept a turn of the run from its end
    overdue         True: the run took longer than it may
    status_wanted   True after SIGUSR1, which asks for a line of progress

    Everything that waits holds this object.  The handlers only note.  An
    exception out of a handler could come anywhere: in a clean-up, which is
    then not done, or between the standard library's taking of a lock and its
    try block, and the lock is never released.
    """

    def __init__(self):
        self.caught = []
        self.reader_left = False
        self.faults = 0
        self.overdue = False
        self.status_wanted = False
        self._deadline = math.inf   # of the run, a point on time.monotonic()
        self._before = {}           # signal: its handler outside the block

    def __enter__(self):
        self._before = _set_handlers(dict.fromkeys(
            (*_STOP_SIGNALS, signal.SIGUSR1), self._note))
        return self

    def __exit__(self, *exc_info):
        _restore_handlers(self._before)

    def level(self):
        """Return how often an end was asked for.  The first request stops
        the jobs; a further one kills them, and ends every other wait."""
        level = len(self.caught) + self.reader_left + self.faults
        # A run that is being stopped ends soon: its deadline kills nothing.
        if not level and self.time_left() == 0:
            self.overdue = True
        return level + self.overdue

    @contextlib.contextmanager
    def limited(self, seconds):
        """In this block a run may take *seconds*; 0 or less: as long as it
        takes.  What was asked of that run alone is forgotten at its end."""
        if seconds > 0:
            self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self.faults = 0
            self.overdue = False
            self._deadline = math.inf

    def time_left(self):
        """Return the seconds until the deadline of the run, 0 if it is over;
        infinity if there is none."""
        return max(0, self._deadline - time.monotonic())

    def _note(self, signum, frame):
        if signum == signal.SIGUSR1:
            self.status_wanted = True
        elif signum == signal.SIGQUIT:
            self.caught += [signum, signum]     # as hard as two others
        elif signum != signal.SIGHUP or signum not in self.caught:
            # A terminal that goes away may send several SIGHUPs: the
            # kernel's, one that sudo passes on, and hang_up().
            self.caught.append(signum)
        self._break_off(signum, frame)

    def hang_up(self):
        """Act as if SIGHUP came, unless it is ignored."""
        if signal.SIGHUP in self._before:
            self._note(signal.SIGHUP, None)

    @contextlib.contextmanager
    def noting(self):
        """Note signals in this block, too, which may be in a with block of
        this object; its value is check(), to be called all the time."""
        with contextlib.ExitStack() as stack:
            if not self._before:
                stack.enter_context(self)
            yield self.check

    def check(self):
        """Raise SignalExit if a signal has asked for an end."""
        if self.caught:
            raise SignalExit(self.caught[0])

    def call(self, function, *args):
        """Return function(*args), which waits for what somebody types; raise
        SignalExit once a signal asks for an end.

        *function* is written in C, such as input(): only such a function
        goes on waiting unless a handler raises, and only such a function may
        be broken off.
        """
        self.check()
        if not self._before:
            return function(*args)
        collects = gc.isenabled()
        # From Python 3.12 on a collection between the error of a handler and
        # the end of *function* would print that error, and drop it.
        gc.disable()
        before = signal.signal(signal.SIGALRM, self._break_off)
        # A signal just before the system call that waits does not end it.
        signal.setitimer(signal.ITIMER_REAL, REAP_INTERVAL, TYPING_CHECK)
        try:
            answer = _call(function, args)
        except BaseException:
            # Two signals at once may make another error of the first.
            self.check()
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if collects:
                gc.enable()
        self.check()
        return answer

    def _break_off(self, signum, frame):
        if frame is not None and frame.f_code is _call.__code__:
            self.check()


@contextlib.contextmanager
def exit_on_signals(program):
    """Let signals end the program at once while nothing has to be restored:
    the program may wait for a file of hosts, or count those of a pattern.

    If *program* is false, another program called main(), and its handlers
    stay.  If true, signals are ignored after the block, because nothing is
    left to end and the exit status must be ours.
    """
    def leave(signum, frame):
        os._exit(128 + signum)

    handlers = dict.fromkeys(_STOP_SIGNALS, leave) if program else {}
    # SIGUSR1 asks for progress: there is none before anything runs.
    if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        handlers[signal.SIGUSR1] = _do_nothing
    before = _set_handlers(handlers)
    # Where SIGCHLD is ignored, as a parent may leave it, the exit status of
    # every child is lost.
    if (_in_main_thread()
            and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN):
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_IGN if program else handler)


STOPPED_EARLY = 6       # the exit status of a run that a limit has ended


def exit_status(stops, out, had_errors=False, stopped_early=False, jobs=0):
    """Return the exit status of classh, the first that applies: of a signal,
    of a reader of *out* who left, of an error of our own, of a run that was
    *stopped_early*, of the *jobs*."""
    if stops.caught:
        return 128 + stops.caught[0]
    if stops.reader_left or out.reader_left:
        return 128 + signal.SIGPIPE
    if had_errors or out.error:
        return 1
    return STOPPED_EARLY if stopped_early else jobs


class _Terminal:
    """Watches the terminal that stdin, stdout or stderr is, if any.

    Calls on_enter() (None: never) when Enter alone is typed, and
    on_hang_up() when the terminal has gone away.  Other input stays unread,
    for the shell.
    """

    def __init__(self, manager, on_enter, on_hang_up):
        self._manager = manager
        self._on_enter = on_enter
        self._on_hang_up = on_hang_up
        self._background = False
        self._typed = 0             # bytes of lines that stay unread
        self._epoll = None
        self._fd = next(filter(os.isatty, (0, 1, 2)), None)
        self.heeds_enter = on_enter is not None and self._fd == 0

    def open(self):
        if self._fd is not None:
            # Edge-triggered: an unread line wakes us only once.
            self._epoll = select.epoll()
            self._epoll.register(self._fd, select.EPOLLIN | select.EPOLLET)
            self._manager.watch(self._epoll, READ, self._on_event, hold=False)

    def close(self):
        if self._epoll:
            self._manager.unwatch(self._epoll)
            self._epoll.close()
            self._epoll = None

    def tick(self):
        """Note whether this process is in the background.  Once the terminal
        has gone away, the kernel does not tell any more."""
        if self._epoll:
            # Fails if it is not the controlling terminal.
            with contextlib.suppress(OSError):
                self._background = os.tcgetpgrp(self._fd) != os.getpgrp()

    def _on_event(self, epoll, events):
        if any(mask & select.EPOLLHUP for _, mask in epoll.poll(0)):
            self.close()
            # The kernel sends SIGHUP to the foreground when the leader of
            # the session exits; `su -` as leader blocks it, and `su -c`
            # starts a session that has no terminal.  A background job goes
            # on, as it does after the exit of its shell.
            if not self._background:
                self._on_hang_up()
        elif self.heeds_enter and self._read_enter():
            self._on_enter()

    def _read_enter(self):
        """Return whether Enter alone was typed; read that, nothing else."""
        import termios              # few runs need it
        try:
            # A read in the background would stop us.
            if (os.tcgetpgrp(0) != os.getpgrp()
                    or not termios.tcgetattr(0)[3] & termios.ICANON):
                return False
            before, self._typed = self._typed, int.from_bytes(
                fcntl.ioctl(0, termios.FIONREAD, bytes(4)), sys.byteorder)
            if self._typed != 1:
                # Behind other lines, Enter is noticed but cannot be read.
                return self._typed - before == 1
            self._typed = 0
            # Another process may be faster, so this must not block; and
            # O_NONBLOCK on descriptor 0 would be the shell's as well.
            tty = os.open('/dev/tty', os.O_RDONLY | os.O_NONBLOCK)
            try:
                return bool(os.read(tty, 1))
            finally:
                os.close(tty)
        except (OSError, termios.error):    # it is not ours, or gone
            return False


def _call_before_ctrl_z(prepare, stack):
    """Have prepare() called before SIGTSTP stops this process, until the
    ExitStack *stack* is closed."""
    def suspend(signum, frame):
        prepare()
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)    # and here it stops
        signal.signal(signum, suspend)

    stack.callback(_restore_handlers,
                   _set_handlers({signal.SIGTSTP: suspend}))


def _is_pipe(fd):
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def _watch_reader(manager, stops, stack):
    """Note in *stops* that the reader of our stdout, a pipe, has ended, until
    the ExitStack *stack* is closed."""
    def on_closed(fd, events):
        manager.unwatch(fd)
        stops.reader_left = True

    if (_is_pipe(1) and fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE
            == os.O_WRONLY):
        # Without a reader, poll reports the write end as readable.  (A
        # descriptor opened for both is its own reader, always.)
        fd = os.dup(1)
        stack.callback(os.close, fd)
        stack.callback(manager.unwatch, fd)
        manager.watch(fd, READ, on_closed, hold=False)


# -- A run ------------------------------------------------------------------

DELIVERY_GRACE = 2.0    # seconds after a stop for sinks to take what they have
DELIVERY_CHECK = 2.0    # seconds at most between two looks at that deadline
LISTING_LIMIT = 2.0     # seconds for naming the hosts that were not started
# Beyond the five of each job: three pipes and, where passwords are asked for,
# a reserved descriptor and the connection of the askpass helper.
SPARE_DESCRIPTORS = 64
BACKLOG = 10 ** 4       # lines of hosts to read ahead of the run


class StdinHosts:
    """Hosts on standard input, started as they arrive.

    *check* is what pattern_reader() returns; *complain* is called with a line
    of text for each line that holds no host.
    """

    def __init__(self, check, complain):
        self.ended = False
        self._check = check
        self._complain = complain
        self._manager = None
        self._lines_read = 0
        self._lines_taken = 0       # of them, by the run
        self._watching = False
        self._partial = bytearray() # a line that has not ended yet
        self._after_cr = False      # a LF that comes now ends no line
        self._skipping = False      # the rest of a line that was too long

    def open(self, manager):
        self._manager = manager
        self.tick()

    def tick(self):
        """Read on, unless the run is far behind or stops."""
        if self._manager is None:   # a fault came before open()
            return
        wanted = not (self.ended or self._manager.stopping) and (
            self._lines_read - self._lines_taken < BACKLOG)
        if wanted and not self._watching:
            self._manager.watch(0, READ, self._read)
        elif self._watching and not wanted:
            self._manager.unwatch(0)
        self._watching = wanted

    def _read(self, fd, events):
        self._manager.add(self.take(fd))
        self.tick()

    def take(self, fd):
        """Read once from *fd*; return an iterator over the patterns there."""
        try:
            chunk = read_shared(fd)
        except BlockingIOError:
            return iter(())
        except OSError as error:
            self._complain('stdin: %s' % error.strerror)
            chunk = b''
        self.ended = not chunk
        lines = self._split(chunk)
        self._lines_read += len(lines)
        return itertools.chain.from_iterable(map(self._patterns, lines))

    def _split(self, chunk):
        """Return the lines that *chunk* ends; keep what comes after them."""
        if self._after_cr and chunk.startswith(b'\n'):
            chunk = chunk[1:]
        elif self.ended and self._partial:
            chunk = b'\n'           # the last line ends with the input
        first, *lines = re.split(b'\r\n?|\n', chunk)
        self._after_cr = chunk.endswith(b'\r')
        self._partial += first      # a long line may come byte by byte
        if lines:
            lines.insert(0, bytes(self._partial))
            self._partial = bytearray(lines.pop())
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        elif self._skipping:
            self._partial.clear()
        if len(self._partial) > LINE_LIMIT:
            # Its beginning alone is long enough to be refused.
            lines.append(bytes(self._partial))
            self._partial.clear()
            self._skipping = True
        return lines

    def _patterns(self, line):
        self._lines_taken += 1
        try:
            return parse_host_lines([line], 'stdin', self._read_word,
                                    self._lines_taken)
        except HostFileError as error:
            self._complain('%s; line skipped' % error)
            return []

    def _read_word(self, word):
        self._check(word)
        return [word]


class _RunSinks:
    """The sinks of -S, -E, --unreached and --pickle, as one listener."""

    def __init__(self, options, complain, stdout, files):
        """*stdout* is for what programs print, as Popen takes it; the
        ExitStack *files* will close the sinks."""
        self._complain = complain
        self._sinks = []
        self._closed = False
        files.callback(self.close, lambda: 0)
        # Other tools call that -S.
        hints = {options.good: '  (for the largest remote status: --maxrc)'}
        by_target = {None: None}
        for target in options.good, options.bad, options.unreached:
            if target not in by_target:
                by_target[target] = choose_sink(target, complain, stdout,
                                                hints.get(target, ''))
                self._sinks.append(by_target[target])
        self._good = by_target[options.good]
        self._bad = by_target[options.bad]
        self._unreached = by_target[options.unreached] or self._bad
        self._pickle = None
        if options.pickle is not None:
            self._pickle = PickleSink(options.pickle, complain,
                                      options.resume is not None)
            self._sinks.append(self._pickle)
        # Programs come last, so that none is started where another sink
        # cannot be opened.
        self._sinks.sort(key=lambda sink: isinstance(sink, ProgramSink))

    @property
    def reader_left(self):
        return any(sink.reader_left for sink in self._sinks)

    @property
    def cut(self):
        """The hosts whose output is in a sink, but not whole: a set."""
        return set().union(*(sink.cut for sink in self._sinks))

    @property
    def use_terminal(self):
        """Whether something may be written to a terminal at any time, by a
        sink, or by a program for what we know."""
        return any(sink.uses_terminal for sink in self._sinks)

    def open(self, manager):
        for sink in self._sinks:
            sink.open(manager)

    def finished(self, result):
        chosen = (self._good if result.outcome == 'ok' else
                  self._unreached if result.ran == 'no' else self._bad)
        for sink in filter(None, (chosen, self._pickle)):
            sink.finished(result)

    def close(self, stop_level):
        if not self._closed:
            self._closed = True
            for sink in self._sinks:
                sink.close(stop_level)

    def tell_undelivered(self):
        for sink in self._sinks:
            lost = sink.undelivered()
            if lost:
                self._complain('%d not delivered to %s: %s' % (
                    len(lost), sink.label, fold(lost)))


class RunJournal(Records):
    """What a run does with its Journal, .file: writes how it begins and ends,
    and, where it resumes another, passes over the hosts that are done.

    *words* are the options to record, a list of str.  *known* is the HostSet
    of the runs before; None: which hosts are new is of no interest.
    """

    is_record = False               # it holds no output

    def __init__(self, file, options, words, known=None):
        super().__init__(None, options)
        self.file = file
        self._tally = None
        self.passed_over = collections.defaultdict(list)    # state: hosts
        self._known = known
        self._met = 0               # hosts that the journal knows
        self._new = 0
        self._unreached = 0
        self._words = words
        self._patterns = ()
        self._operands = []         # for a run that goes on with the journal

    def attach(self, tally, warn, complain):
        """*tally* counts the hosts that are passed over, too; *warn* and
        *complain* are called with a line, *complain* with one of an error."""
        self._tally = tally
        self.file.complain = complain
        if self.file.cut_short:
            warn('%s: the last record was cut short, and is dropped'
                 % self.file.path)

    def note_hosts(self, patterns, excluded, only):
        """Take note of the patterns of the run, and of those *excluded* and
        *only* to be run."""
        # What only this run is to do, as where HOST is typed, is not recorded:
        # the others would be forgotten.
        chosen = (('exclude', excluded),
                  ('only', () if self._options.resume else only))
        self._patterns = patterns
        self._words += ['--%s=%s' % (name, pattern) for name, choice in chosen
                        for pattern in plain_patterns(choice)]

    def skip(self, host):
        """Return whether *host* is passed over."""
        ending = self.file.ending(host)
        if ending is not None:
            self._met += 1
        elif self._known is not None and host not in self._known:
            self._new += 1
        done = self.file.is_done(host, self._options.again)
        if done:
            self.passed_over[ending.state].append(host)
            self._tally.note(ending)
        return done

    def open(self, manager, hosts):
        unlisted = hosts.feed is not None
        if unlisted:                # other hosts come, from stdin
            self._operands = [manager.command, '-']
        # The journal writes it before its first record.
        self.file.head.update(
            self._head(manager, hosts), command=as_recorded(manager.command),
            patterns=as_recorded(' '.join(self._patterns)),
            words=as_recorded(_quoted(self._words)), unlisted=unlisted)

    def started(self, host, tries):
        pass                        # the manager has told the journal

    def finished(self, result):
        self._unreached += result.ran == 'no'

    def ended(self, status, tally, not_started):
        self.file.ended(self._end(status, tally, not_started()))
        self.file.close()           # what fails there is for the exit status

    def missing(self):
        """Return the line that names the hosts whose records are missing."""
        hosts = self.file.missing
        return '%s lacks records of %s, which --resume may run again: %s' % (
            self.file.path, _number(len(hosts)), fold(hosts))

    def lines(self, some_left, tells=True):
        """Yield lines that name the hosts that are passed over and not good
        and, if *tells*, count those that are gone or new, and say what to
        type where hosts were not reached or, *some_left*, not started."""
        for state in 'failed', 'lost':
            hosts = self.passed_over.get(state)
            if hosts:
                yield '%d %s, not run again (--again %s): %s' % (
                    len(hosts), state, state, fold(hosts))
        if not tells:
            return
        gone = self.file.tried - self._met
        if self._known is not None and (gone or self._new):
            yield '%d of the hosts in %s not among these, %d of these new' % (
                gone, self.file.path, self._new)
        if some_left or self._unreached:
            # Without --again: some of its hosts have just been run again.
            yield 'go on with: ' + _quoted([
                'classh', '--resume', self.file.path, *self._operands]
                ) + ' <FILE' * self._options.send_input

    def nothing_left(self):
        """Return a list of lines that say that no host is to be run."""
        counts = ['%d %s' % (len(hosts), state)
                  for state, hosts in sorted(self.passed_over.items())]
        return ['nothing left to run in %s: %s' % (
            self.file.path, ', '.join(counts)), *self.lines(False)]


def listed(hosts, name):
    """Return a list of the HostQueue *hosts*, which it keeps, for the option
    *name*; raise UsageError where they are too many."""
    names = hosts.peek()
    if names is None:
        raise UsageError('%s: more than %d hosts' % (name, EXPANSION_LIMIT))
    return names


def _tell_idle_names(hosts, say):
    """Tell what -x and --only name and none of *hosts* matches."""
    for words, idle in (
            ('-x excludes none of these hosts: %s', hosts.idle_exclusions()),
            ('--only names none of these hosts: %s',
             hosts.idle_selections())):
        if idle:
            say(words % _excerpt(','.join(idle)))


class _Leftovers:
    """The hosts that a run leaves in the queue *hosts* and in its feed."""

    def __init__(self, hosts):
        self._queue = hosts
        self._hosts = None          # a list, once they were counted

    def __bool__(self):
        """Whether there are any, or may be."""
        if self._hosts is None:
            host = next(self._queue, None)
            if host is not None:
                self._queue.put_back(host)
            return host is not None or self._queue.may_grow
        return (not self._queue.exhausted or bool(self._hosts)
                or self._queue.may_grow)

    def count(self):
        """Return how many there are; None: too many to be counted."""
        if self._hosts is None:
            self._hosts, end = [], time.monotonic() + LISTING_LIMIT
            while (not self._queue.exhausted
                   and len(self._hosts) < EXPANSION_LIMIT
                   and time.monotonic() < end):
                self._hosts += filter(None, [self._queue.take()])
        return len(self._hosts) if self._queue.exhausted else None

    def hosts(self):
        """Return them, a list; None: too many to be named."""
        return None if self.count() is None else self._hosts

    def any_but(self, is_done):
        """Whether there are any, or may be, but those of whose names
        is_done() is true.  All are taken from the queue, and so those that
        it passes over, too."""
        return (self.count() is None or self._queue.may_grow
                or not all(map(is_done, self._hosts)))

    def line(self, verb, others):
        """Return a line that tells which hosts were not *verb*, '' if there
        are none; *others* is how many were."""
        count = self.count()
        if count is None:
            return '%d or more not %s' % (len(self._hosts), verb)
        if not count:
            return ''
        total = '' if self._queue.may_grow else ' of %d' % (count + others)
        return '%d%s not %s: %s' % (count, total, verb, fold(self._hosts))


def _pace_rules(options, hosts):
    """Return the rules for the start of *hosts*, a HostQueue, that *options*
    want: {rule: its option, as it was typed}."""
    rules = {}
    if options.first:
        rules[Canary(options.first)] = '--first %d' % options.first
    if options.ramp:
        rules[Ramp()] = '--ramp'
    if options.fail_fast:
        rules[FailLimit(0, ends_running=True)] = '-k'
    if options.max_fail:
        number = int(options.max_fail.rstrip('%'))
        if options.max_fail.endswith('%'):
            number = hosts.count() * number // 100
        rules[FailLimit(number)] = '--max-fail ' + options.max_fail
    return rules


class _EarlyEnd:
    """The limits of a whole run, rules of its pace and the deadline that
    *stops* knows, and which of them has ended it.

    *left* is what the run leaves, _Leftovers.
    """

    def __init__(self, options, hosts, left, stops):
        self.rules = _pace_rules(options, hosts)
        self._deadline = options.deadline
        self._left = left
        self._stops = stops
        self._overdue = False
        self.told = False           # see news()

    def took_effect(self, manager, ended):
        """Return whether a limit has come, and has left hosts or ended jobs;
        *ended* is true if it has ended some."""
        return ((manager.stopped_by is not None or self._overdue)
                and bool(ended or self._left))

    def news(self, manager):
        """Return which limit ends the run, a line to be told, once; ''."""
        self._overdue = self._stops.overdue
        ends_running = self._overdue or (
            manager.stopped_by and manager.stopped_by.ends_running)
        ended = ends_running and manager.running
        if self.told or not self.took_effect(manager, ended):
            return ''
        self.told = True
        if manager.stopped_by is None:
            return ('stopped: not done after %.10g s (--deadline)'
                    % self._deadline)
        return 'stopped: %s (%s)' % (manager.stopped_why,
                                     self.rules[manager.stopped_by])


def _process_room():
    """Return how many processes more this user may have (ulimit -u)."""
    import resource                 # few runs need it
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or not os.geteuid():
        return sys.maxsize
    try:
        pids = os.listdir('/proc')
    except OSError:                 # no /proc: none can be counted
        pids = ()
    for pid in filter(str.isdigit, pids):
        with contextlib.suppress(OSError):
            path = '/proc/%s/task' % pid
            if os.stat(path).st_uid == os.geteuid():
                limit -= len(os.listdir(path))      # it counts threads
    return limit


def _limit_fanout(wanted, warn):
    """Return how many of the *wanted* jobs this user may run at once with -A.

    Each may have three processes then, and where there is no room for the
    last of them, the askpass helper, ssh sends an empty password.
    """
    fanout = max(1, min(wanted, _process_room() // 3))
    if fanout < wanted:
        warn('no room for %d jobs at once, running %d: ulimit -u'
             % (wanted, fanout))
    return fanout


def raise_descriptor_limit(fanout):
    """Let us open descriptors for *fanout* jobs at once, or as many as we
    may."""
    import resource
    need = 5 * fanout + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        need = min(need, hard)
    if soft != resource.RLIM_INFINITY and soft < need:
        # Where that is refused, fewer run at once.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def _name_hint(command, hosts):
    """Return what may be wrong with *hosts*, names that were not resolved; ''
    if that is not known."""
    for host in hosts:
        # Not ip-10-0-0-5: a number behind a '-' begins no range.
        found = re.fullmatch(r'((?:[0-9]+\.){3}|[A-Za-z][\w.-]{0,60}?)'
                             r'(?<![0-9])(?<![0-9]-)([0-9]{1,9})'
                             r'(?:-|\.\.)\1?([0-9]{1,9})', host)
        if found and int(found.group(2)) < int(found.group(3)):
            return 'a range is written %s[%s-%s]' % found.groups()
        if host == 'all' or any(os.path.isfile(os.path.join(place, host))
                                for place in group_directories()):
            return 'a group is written @' + host
    if re.search(r'\s', command):
        return ''                   # it is quoted
    programs = [host for host in hosts if find_program(host)]
    if programs and not find_program(command):
        return '%s is a program here; COMMAND stands first' % programs[0]
    # A word without digits and dots, as in: systemctl restart nginx
    if any(host.isalpha() or host in programs or os.path.exists(host)
           for host in hosts):
        return 'is COMMAND quoted?'
    return ''


def _script_hint(command):
    """Return how to send the first word of *command*, which a host has not
    found, if that is a script here; else ''."""
    name = command.split()[0]
    program = _interpreter(name)
    if not program and name.endswith('.sh') and os.path.isfile(name):
        program = 'sh'
    if re.fullmatch('(ba|da|k|z|c|tc)?sh', program):
        stdin = '-s'
    elif re.fullmatch(r'python[\d.]*|perl|ruby', program):
        stdin = '-'
    else:
        return ''
    return "%s is here: -I '%s %s' <%s" % (name, program, stdin, name)


class Outlets:
    """Where a run goes: the views, the sinks and the *journal*, a RunJournal
    or None, that *options* want, with the Consoles *out* and *err*; and what
    counts its results.

    Each of them, and of *listeners*, has finished(result).  The ExitStack
    *files* closes what they have open, also where no run has used it.
    """

    def __init__(self, options, out, err, files, journal=None, listeners=()):
        to_stdout = '-' in (options.good, options.bad, options.unreached)
        self.had_errors = False     # of our own, for the exit status
        self.out = err if to_stdout else out    # where results are shown
        self.err = err
        self.warn = err.warn
        self.journal = journal
        self.tally = Tally()
        self.progress = Progress()
        self._options = options
        self.views = choose_views(options, self.out, err)
        self.uses_stdout = to_stdout or any(
            view.console is out for view in self.views)
        if options.json not in (None, '-'):
            self.views.append(RecordsFile(options.json, options,
                                          self.complain, files))
        # What a program prints must not come between results or names.
        self.sinks = _RunSinks(options, self.complain,
                               2 if self.uses_stdout else None, files)
        self.views += filter(None, [journal])
        self._listeners = [self.tally, self.progress, *listeners, self.sinks,
                           *self.views]
        if journal:
            journal.attach(self.tally, self.warn, self.complain)

    def complain(self, text):
        self.warn(text)
        self.had_errors = True

    def add_status_line(self, manager, heeds_enter):
        """Add a StatusLine, if the options and the terminal are for one;
        return that or None.  It tells of Enter where that is heeded."""
        err = self.err
        if (self._options.no_status or not err.understands_codes
                or any(isinstance(view, Marks) for view in self.views)):
            return None
        line = StatusLine(err, self.progress, manager, any(
            view.live and view.console and view.console.below is err.below
            for view in self.views), ['Enter: more'] if heeds_enter else [])
        self.views.append(line)
        return line

    def finished(self, result):
        for listener in self._listeners:
            try:
                listener.finished(result)
            except (OSError, MemoryError) as error:
                self.complain('cannot show %s: %s' % (result.host,
                                                      _error_text(error)))

    def close(self, stop_level):
        """The run is over; stop_level() is how often that was asked for."""
        self.sinks.close(stop_level)
        for view in self.views:
            try:
                view.close()
            except (OSError, MemoryError) as error:
                self.complain('cannot show all: ' + _error_text(error))

    def status(self, stops, stopped_early=False):
        return exit_status(
            stops, self.out, self.had_errors, stopped_early,
            self.tally.max_status if self._options.maxrc
            else self.tally.status())

    def print_progress(self):
        first, *lines = self.progress.lines()
        self.err.print_names('classh: ' + first, *lines, *self.tally.lines())

    def tell_losses(self, named):
        """Tell what did not come to a target, or not whole; *named*: a
        summary will name the hosts whose results hold that."""
        self.sinks.tell_undelivered()
        lost, cut = self.tally.causes()['output-lost'], self.cut
        # Output that did not come whole to a target makes the status 1.
        self.had_errors |= bool(cut or lost)
        if cut and not named:
            self.warn(self._cut_line(cut))
        if lost and not named:
            self.warn('%d of %d output lost: %s' % (
                len(lost), self.tally.total, fold(lost)))
        if self.journal and self.journal.file.missing:
            self.warn(self.journal.missing())

    def print_summary(self, hint):
        """Print what failed; *hint* as Tally.summary() takes it."""
        times = self.progress.summary()
        if times and self.err.terminal and not self._options.no_status:
            self.err.print_line(times)
        self.err.print_names(*self.tally.summary(hint).split('\n')[:-1])
        # What a view shows as it comes is not cut.
        cut = (self.cut if any(view.data for view in self.views)
               else self.tally.cut)
        if cut:
            self.err.print_names(self._cut_line(cut))

    @property
    def cut(self):
        """The hosts whose output went somewhere, but not whole: a set."""
        return self.sinks.cut.union(self.tally.cut if any(
            view.is_record for view in self.views) else ())

    def _cut_line(self, hosts):
        return _cut_line(hosts, self.tally.total, self._options.max_output)


class Run:
    """*command* on *hosts*, a HostQueue whose feed may be StdinHosts:
    introduces the manager and the *outlets* to each other, and stops the
    manager when *stops* asks for an end."""

    def __init__(self, options, hosts, command, outlets, stops, hooks):
        self._options = options
        self._hosts = hosts
        self._command = command
        self._outlets = outlets
        self._stops = stops
        self._hooks = hooks         # passwords, a jump host, connections
        self._stdin_hosts = hosts.feed
        self._left = _Leftovers(hosts)
        self._early_end = _EarlyEnd(options, hosts, self._left, stops)
        self._stops_handled = 0      # the level that was acted on
        self._sink_deadline = None  # when to leave unfinished sinks alone
        self._names_checked = False     # of -x and --only
        self._polled = time.monotonic()     # when the last turn ended
        self._manager = None
        self._terminal = None

    def run(self):
        """Run to the end; return the exit status."""
        options, outlets = self._options, self._outlets
        fanout = options.fanout
        if any(hook.may_prompt for hook in self._hooks):
            fanout = _limit_fanout(fanout, outlets.warn)
        raise_descriptor_limit(fanout)
        journal = outlets.journal
        hooks = [ViewHooks(outlets.views), *self._hooks]
        if not (options.quiet or options.bad_only):     # which are silent
            hooks.append(LimitWarning())
        with self._stops.limited(options.deadline), SSHJobMan(
                self._hosts, self._command, fanout=fanout,
                timeout=options.timeout, user=options.user,
                connect_timeout=options.connect_timeout, ssh=options.ssh,
                options=options.ssh_option, keep=False,
                input=0 if options.send_input else None,
                max_output=options.max_output,
                retries=options.retries, logins=options.logins,
                transport=options.relay or (
                    Local if options.exec else Ssh),
                pace=self._early_end.rules,
                hooks=hooks, journal=journal and journal.file,
                warn=outlets.warn) as self._manager:
            self._drive()
            self._print_summary()
            for view in outlets.views:
                view.ended(self._status(), outlets.tally, self._left.hosts)
            return self._status()

    def _status(self):
        return self._outlets.status(self._stops, self._early_end.took_effect(
            self._manager, self._outlets.tally.causes()['stopped']))

    def _drive(self):
        with contextlib.ExitStack() as watches:
            try:
                self._guard(self._open, watches)
                # At once, to say soon which -x and --only are idle.
                self._guard(self._turn, 0)
                while not self._manager.done and not self._sinks_overdue():
                    self._guard(self._turn)
                # What ended while we stopped the rest is a result, too.
                self._guard(self._poll, 0)
            finally:
                self._outlets.close(self._stops.level)
        self._note_reader()

    def _open(self, watches):
        outlets = self._outlets
        outlets.progress.begin(self._manager)   # before what may fail
        outlets.sinks.open(self._manager)
        for view in outlets.views:
            view.open(self._manager, self._hosts)
        if outlets.uses_stdout:
            _watch_reader(self._manager, self._stops, watches)
        # The terminal belongs to the source of hosts, or to a pager, which
        # may be what reads our pipe.
        piped = _is_pipe(1) or stat.S_ISSOCK(os.fstat(1).st_mode)
        self._terminal = _Terminal(
            self._manager,
            None if piped or self._stdin_hosts else self._on_enter,
            self._stops.hang_up)
        watches.callback(self._terminal.close)
        self._terminal.open()
        typed = self._stdin_hosts and os.isatty(0)
        if not (piped or typed or outlets.sinks.use_terminal):
            line = outlets.add_status_line(self._manager,
                                           self._terminal.heeds_enter)
            if line:
                _call_before_ctrl_z(line.hide, watches)
        if self._stdin_hosts:
            self._stdin_hosts.open(self._manager)

    def _guard(self, step, *args):
        """Call *step*; stop the run as often as that is asked for.

        An error of the system, such as no memory for epoll, is a request,
        too: running jobs are stopped and reported, no others are started.
        """
        try:
            step(*args)
        except (OSError, MemoryError) as error:
            if not self._stops.faults:
                self._outlets.complain('stopping: ' + _error_text(error))
            self._stops.faults += 1
        self._note_reader()
        level = self._stops.level()
        news = self._early_end.news(self._manager)
        if news:
            self._outlets.warn(news)
        for _ in range(self._stops_handled, level):
            self._sink_deadline = time.monotonic() + DELIVERY_GRACE
            self._manager.stop()
            if self._stdin_hosts:
                self._stdin_hosts.tick()
        self._stops_handled = level

    def _note_reader(self):
        if self._outlets.out.reader_left or self._outlets.sinks.reader_left:
            self._stops.reader_left = True

    def _sinks_overdue(self):
        return (self._sink_deadline is not None and not self._manager.running
                and (self._stops.level() > 1
                     or time.monotonic() > self._sink_deadline))

    def _turn(self, timeout=None):
        if self._terminal:          # none where a fault came before it
            self._terminal.tick()
        if timeout is None:
            timeout = (DELIVERY_CHECK if self._sink_deadline
                       else self._stops.time_left())
        self._poll(timeout)
        for view in self._outlets.views:
            view.tick()
        if self._stdin_hosts:
            self._stdin_hosts.tick()
        self._check_idle_names()
        if self._stops.status_wanted:
            self._stops.status_wanted = False
            self._outlets.print_progress()

    def _poll(self, timeout):
        """Pass on what finishes in one turn of the manager."""
        # Nothing between two turns must time jobs out: neither the waiting
        # for a pager nor Ctrl-Z.
        self._manager.extend_deadlines(time.monotonic() - self._polled)
        results = self._manager.poll(timeout)
        self._polled = time.monotonic()
        for result in results:
            self._outlets.finished(result)

    def _check_idle_names(self):
        """When all hosts were taken, tell which names of -x and --only
        none of them matched."""
        if not (self._names_checked or self._hosts.may_grow
                ) and self._hosts.exhausted:
            self._names_checked = True
            _tell_idle_names(self._hosts, self._outlets.warn)

    def _on_enter(self):
        for view in self._outlets.views:
            view.entered()
        self._outlets.print_progress()

    def _print_summary(self):
        """Tell what failed, what was lost and what was not started."""
        outlets, print_line = self._outlets, self._outlets.err.print_line
        quiet, reader_left = self._options.quiet, self._stops.reader_left
        outlets.tell_losses(named=not (quiet or reader_left))
        refusal = next(filter(None, (hook.refusal() for hook in self._hooks)),
                       '')
        if refusal:
            outlets.warn(refusal + ': it is sent no more')
        if reader_left:
            return
        if not quiet:
            outlets.print_summary(self._summary_hint)
        # With -q, the exit status of a signal tells that some may be left.
        tells = (not quiet or refusal or self._stops.faults
                 or self._manager.input_lost or self._early_end.told)
        if tells:
            line = self._left.line('tried' if refusal else 'started',
                                   outlets.tally.total)
            self._check_idle_names()
            if line:
                outlets.err.print_names(line)
            if self._early_end.told and self._hosts.may_grow:
                print_line('hosts on stdin were not read to the end')
        if outlets.journal:
            some_left = self._left.any_but(outlets.journal.file.is_done)
            for line in outlets.journal.lines(
                    some_left, tells or self._stops.level()):
                print_line(line)

    def _summary_hint(self, cause, hosts):
        options = self._options
        if cause == 'unresolved':
            return _name_hint(self._command, hosts)
        if cause == 'exited with 127' and not (options.exec or options.shell):
            return _script_hint(self._command)
        if cause == 'denied' and (options.exec or any(
                hook.may_prompt for hook in self._hooks)):
            return ''               # the password was not what it lacked
        if cause == 'stopped':
            if options.exec or options.relay or options.end_remote:
                return ''           # it has ended with its job
            if options.send_input:  # which goes without --end-remote
                return 'may run on there'
        if cause == 'sudo' and (
                options.askpass or options.sudo_password
                or options.askpass_file is not None):
            return ''
        return default_hint(cause, hosts)


# -- The shell --------------------------------------------------------------

HISTORY_LENGTH = 1000   # lines
LARGEST = 2 ** 31 - 1   # seconds that ssh takes, and enough of all else


def _at_least(low, parse, wanted):
    """Return an argparse type: the number that parse(text) makes, *low* or
    more; the message calls that *wanted*."""
    def convert(text):
        with contextlib.suppress(ValueError):
            value = parse(text)
            if isinstance(value, int) and value > LARGEST:
                raise argparse.ArgumentTypeError('%r is more than %d' % (
                    text, LARGEST))
            if low <= value < math.inf:
                return value
        raise argparse.ArgumentTypeError('%r is not %s' % (text, wanted))
    return convert


def _count_type(low):
    """Return an argparse type: a whole number, *low* or more."""
    return _at_least(low, int, 'a whole number of at least %d' % low)


_UNITS = {'': 1, 's': 1, 'm': 60, 'h': 3600}    # in seconds


def _time_type(kind, low):
    """Return an argparse type: seconds, a *kind* of number, *low* or more,
    which may be written as 90s, 5m or 2h."""
    def parse(text):
        number, unit = re.fullmatch('(.*?)([smh]?)', text, re.DOTALL).groups()
        return kind(number) * _UNITS[unit]
    return _at_least(low, parse, 'a %snumber of seconds, or a time such as '
                     '90s, 5m or 2h' % ('whole ' if kind is int else ''))


_seconds = _time_type(float, -math.inf)


@contextlib.contextmanager
def _line_editing(complete):
    """Edit lines with readline, which completes words by *complete* and
    keeps a history in a private file."""
    try:
        import readline
    except ImportError:             # not every Python has it
        yield
        return
    path = os.path.expanduser('~/.classh_history')
    before = readline.get_completer()
    readline.set_completer(complete)
    readline.parse_and_bind('tab: complete')
    readline.set_completer_delims(' \t\n,')
    readline.set_history_length(HISTORY_LENGTH)
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        readline.set_completer(before)
        with contextlib.suppress(OSError):
            # Commands may hold secrets, so the file is private before it
            # is written.
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            os.chmod(path, 0o600)
            readline.write_history_file(path)


def _split_wildcards(text):
    """Return the words of *text*; those with a '*' or '?' parted at commas."""
    return [name for word in text.split() for name in (
        re.findall(_NAMES, word) if re.search('[*?]', word) else [word])]


class Shell:
    """Runs each line that is typed on all selected hosts.

    A line that begins with '%', as no shell command does, is a built-in of
    classh.  Without a terminal, lines come from stdin; with options.errexit
    the first line that fails is the last.
    """

    _BUILT_INS = {      # name: its argument, what it does
        'all':     ('', 'select all hosts'),
        'diff':    ('[HOSTS]', 'show how the last results differ'),
        'failed':  ('', 'select the hosts that failed last'),
        'fanout':  ('[N]', 'show or set how many run at once'),
        'help':    ('', 'show this; so do help and ?'),
        'hosts':   ('', 'show which hosts are selected, and which are not'),
        'local':   ('COMMAND', 'run a command on this machine'),
        'not':     ('HOSTS', 'select no longer these'),
        'only':    ('HOSTS', 'select these: names, patterns, @GROUP, or with '
                    '* and ?'),
        'quit':    ('', 'leave; so do exit, quit, logout and Ctrl-D'),
        'retry':   ('', 'run the last command again where it failed'),
        'same':    ('[HOSTS]', 'show the last results, each answer once'),
        'save':    ('TARGET', 'save the last results in DIRECTORY/ or a '
                    'pickle FILE'),
        'show':    ('[HOSTS]', 'show the last results again'),
        'timeout': ('[TIME]', 'show or set the limit of each job; 0: none'),
    }

    def __init__(self, options, hosts, out, err, hooks, stops, connections):
        self._interactive = os.isatty(0)
        self.status = 0             # exit status of the last line
        self._options = options
        self._hosts = hosts
        self._selected = self._hosts
        self._out = out
        self._err = err
        self._hooks = hooks         # passwords, a jump host
        self._stops = stops
        self._connections = connections
        self._command = None        # the last one
        self._results = _KeptResults()      # of the last command

    def run(self):
        """Read and run lines to the end; return the exit status."""
        try:
            if self._interactive:
                self._say('A line runs on all selected hosts; %help tells '
                          'more, exit or Ctrl-D leaves.')
                with _line_editing(self.complete):
                    self._loop(input, self._prompt)
            else:
                # Decoded like arguments, so that every byte reaches hosts.
                with open(0, encoding=sys.getfilesystemencoding(),
                          errors='surrogateescape', closefd=False) as lines:
                    self._loop(lines.readline)
        finally:
            self._results.close()
        return self.status

    def _loop(self, read, prompt=None):
        """Run each line that read(prompt()) returns, to the end."""
        while True:
            self._check_signals()
            try:
                line = self._stops.call(read, *([prompt()] if prompt else []))
            except EOFError:        # of a terminal
                self._say('')
                return
            except (SignalExit, UnicodeDecodeError):
                if prompt:
                    self._say('')   # the line typed so far is dropped
                continue
            if not (line or prompt) or self.onecmd(line):
                self._check_signals()
                return

    def _check_signals(self):
        """Raise SignalExit if a signal ends the shell.  On a terminal Ctrl-C
        does not: it has ended a command, or dropped a line."""
        caught = self._stops.caught
        for signum in list(caught):
            if signum != signal.SIGINT or not self._interactive:
                raise SignalExit(signum)
            caught.remove(signum)   # in place: another may come meanwhile

    def _prompt(self):
        failed = len(self._failed())
        return 'classh %d%s> ' % (len(self._selected),
                                  ', %d failed' % failed if failed else '')

    def _failed(self):
        return [host for host, result in self._results.heads.items()
                if result.outcome != 'ok']

    def _say(self, text):
        self._err.print_line(text)

    def onecmd(self, line):
        """Run *line*; return whether it is the last one."""
        line = line.strip()
        if not line or line.startswith('#'):
            return False
        if line in ('exit', 'quit', 'logout'):
            return True
        if line in ('help', '?'):
            line = '%help'
        if re.fullmatch(r'cd(\s[^;&|]*)?', line):
            self._err.warn('cd does not last, each line has a shell of its '
                           'own: try cd DIR && COMMAND')
        leave = False
        try:
            # What another tool would know.
            if re.match(r'!\S', line):
                raise UsageError('a command here is typed %local COMMAND')
            if re.fullmatch(r'@\S+', line):
                raise UsageError('hosts are selected by %only ' + line)
            if self._interactive and line in ('clear', 'history'):
                raise UsageError('Ctrl-L clears the screen, arrow up and '
                                 'Ctrl-R show what was typed')
            leave = (self._built_in(line[1:].strip()) if line[0] == '%'
                     else self._run(self._selected, line))
        except (ClasshError, OSError, ValueError,
                argparse.ArgumentTypeError) as error:
            self._err.warn(_error_text(error))
            self.status = 2
        except SignalExit as stopped:       # while a group was asked for
            self._say('')
            self.status = 128 + stopped.args[0]
        return leave or bool(self.status) and self._options.errexit

    def _built_in(self, line):
        name, _, rest = line.partition(' ')
        if name not in self._BUILT_INS:
            raise UsageError('no such built-in: %%%s; see %%help' % name)
        if rest.strip() and not self._BUILT_INS[name][0]:
            raise UsageError('%%%s takes nothing; see %%help' % name)
        return getattr(self, 'do_' + name)(rest.strip())

    def _run(self, hosts, line):
        """Run *line* on *hosts*; return whether our reader has ended."""
        if not hosts:
            raise UsageError('no hosts are selected; %all selects all')
        self._command = line
        self._results.close()
        self._results = _KeptResults()
        with contextlib.ExitStack() as files:
            outlets = Outlets(self._options, self._out, self._err, files,
                              listeners=[self._results])
            self.status = Run(self._options, HostQueue(hosts, expand=False),
                              line, outlets, self._stops, self._hooks).run()
        # Each command over a dead connection would time out as well.
        self._connections.end([
            host for host, result in self._results.heads.items()
            if result.cause == 'timeout'])
        return self._out.reader_left

    def complete(self, text, state):
        import readline
        names = self._hosts
        if text.startswith('%') and not readline.get_begidx():
            names = ['%' + name for name in self._BUILT_INS]
        elif text.startswith('@'):
            with contextlib.suppress(ClasshError, OSError):
                names = ['@' + name for name in self._groups().names()]
        found = [name + ' ' for name in names if name.startswith(text)]
        return found[state] if state < len(found) else None

    def _groups(self):
        return HostGroups(None, self._err.warn, self._stops.noting)

    def _select(self, text, among):
        """Return the hosts *among* that the patterns in *text* match."""
        import fnmatch
        groups = self._groups()     # anew: they may have changed
        wanted = set()
        for word in _split_wildcards(text):
            if '@' not in word and re.search('[*?]', word):
                # In a wildcard [1-20] would be one character: 0, 1 or 2.
                matched = fnmatch.filter(self._hosts,
                                         word.replace('[', '[[]'))
            else:
                named = HostSet(plain_patterns(parse_host_choice(
                    [word], groups=groups)))
                matched = [host for host in self._hosts if host in named]
            if not matched:
                raise UsageError('not one of the hosts: %s' % word)
            wanted.update(matched)
        if not wanted:
            raise UsageError('no hosts are named; see %help')
        return [host for host in among if host in wanted]

    # Built-ins return true to leave the shell.

    def do_help(self, rest):
        self._say('A line is run on all selected hosts, unless it begins '
                  'with %:')
        for name, (argument, text) in self._BUILT_INS.items():
            self._say('  %%%-18s %s' % (name + ' ' + argument, text))
        self._say('Options typed with --shell hold for all lines; -b shows '
                  'each answer once.')

    def do_hosts(self, rest):
        self._say('%d selected: %s' % (len(self._selected),
                                       fold(self._selected)))
        left = set(self._hosts).difference(self._selected)
        if left:
            self._say('%d not: %s' % (len(left), fold(left)))

    def do_all(self, rest):
        self._selected = self._hosts

    def do_failed(self, rest):
        failed = self._failed()
        if not failed:
            raise UsageError('none failed')
        self._selected = failed

    def do_only(self, rest):
        self._selected = self._select(rest, self._hosts)

    def do_not(self, rest):
        without = set(self._select(rest, self._hosts))
        self._selected = [host for host in self._selected
                          if host not in without]

    def do_fanout(self, rest):
        if rest:
            self._options.fanout = _count_type(1)(rest)
        self._say('fanout %d' % self._options.fanout)

    def do_timeout(self, rest):
        if rest:
            self._options.timeout = _seconds(rest)
        self._say('timeout %g s' % self._options.timeout)

    def do_retry(self, rest):
        if not self._failed():
            raise UsageError('nothing has failed')
        return self._run(self._failed(), self._command)

    def _show(self, rest, view):
        """Show *view* the last results of the hosts in *rest*, or of all."""
        hosts = self._results.heads
        if rest:
            hosts = self._select(rest, hosts)
        if not hosts:
            raise UsageError('no results yet: run a command first')
        for host in hosts:
            if self._stops.caught:
                break
            view.finished(self._results[host])
        view.close()

    def do_show(self, rest):
        self._show(rest, Report(self._out))

    def do_same(self, rest):
        self._show(rest, Gather(self._out, not self._options.no_mask))

    def do_diff(self, rest):
        self._show(rest, Gather(self._out, not self._options.no_mask, True))

    def do_save(self, rest):
        if not rest or rest[0] in '-|' or len(rest.split()) > 1:
            raise UsageError('%save needs a directory/ or a file, one word')
        path = os.path.expanduser(rest)
        kind = (DirectorySink if path.endswith('/') or os.path.isdir(path)
                else PickleSink)
        sink = kind(path, self._say)
        try:
            sink.open(None)
            for host in self._results.heads:
                sink.finished(self._results[host])
        finally:
            sink.close(lambda: 0)
        lost = len(sink.undelivered())
        self._say('%d saved' % (len(self._results.heads) - lost))
        if sink.cut:
            self._say(_cut_line(sink.cut, len(self._results.heads),
                                self._options.max_output))
        self.status = 1 if lost or sink.cut else 0

    def do_local(self, rest):
        import subprocess
        process = subprocess.Popen(
            rest, shell=True,
            stdin=None if self._interactive else subprocess.DEVNULL)
        # The terminal sends Ctrl-C to the command too, which may catch it.
        ignored = {signal.SIGINT} if self._interactive else set()
        status = wait_or_end(
            process, lambda: len(set(self._stops.caught) - ignored),
            0, KILL_GRACE)
        self.status = (128 + signal.SIGKILL if status is None
                       else status if status >= 0 else 128 - status)

    def do_quit(self, rest):
        return True


# -- Completion -------------------------------------------------------------

# What an option takes, by the name of its value in the help; any other value
# cannot be completed.
_VALUE_KINDS = {'FILE': 'files', 'TARGET': 'files', 'HOSTS': 'hosts',
                'GATE': 'hosts', 'COMMAND': 'commands'}
_NO_COMMAND = ('--list', '--shell')     # with these there are HOSTs alone

# For sh: prints the hosts and groups that are known here and begin with $1.
# What is in these files was written by others: only what looks like a name is
# printed, so that it is nothing but text to every shell.
_KNOWN_NAMES = r"""
{
    echo =known
    cat "$HOME/.ssh/known_hosts" "$HOME/.ssh/known_hosts2" \
        /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
    IFS=
    for config in "$HOME/.ssh/config" /etc/ssh/ssh_config; do
        echo
        echo =config
        cat "$config"
        sed -n "s/^[[:blank:]]*[Ii]nclude[[:blank:]=]*//p" "$config" |
        tr " \t\"" "\n" | while read -r path; do
            case $path in
            "") continue ;;
            "~"/*) path=$HOME/${path#*/} ;;
            /*) ;;
            *) path=${config%/*}/$path ;;
            esac
            echo
            cat $path           # a pattern
        done
    done
    echo
    echo =groups
    set -f
    IFS=:
    groups=${CLASSH_GROUPS:-$HOME/.config/classh/groups:/etc/classh/groups}
    for directory in $groups; do
        ls "$directory/"
    done
} 2>/dev/null </dev/null | part=$1 LC_ALL=C awk '
function offer(name) {
    if ((name ~ /^@?[A-Za-z0-9_:][A-Za-z0-9_.:%-]*$/ ||
         name ~ /^\[[A-Za-z0-9.:%]+\](:[0-9]+)?$/) &&
        substr(name, 1, length(part)) == part && !(name in seen)) {
        seen[name]
        print name
    }
}
BEGIN { part = ENVIRON["part"] }
{ sub(/\r$/, "") }
/^=/ { section = $0; next }
section == "=groups" { offer("@" $0) }
section == "=known" && NF > 2 && $1 != "@revoked" {
    count = split($1 ~ /^@/ ? $2 : $1, names, ",")
    for (i = 1; i <= count; i++) {
        if (names[i] ~ /^\[[^]:]*\]:/)
            gsub(/[][]/, "", names[i])
        offer(names[i])
    }
}
section == "=config" && tolower($1) ~ /^host(=|$)/ {
    sub(/^[ \t]*[A-Za-z]+[ \t]*=?[ \t]*/, "")
    gsub(/"/, "")
    count = split($0, names)
    for (i = 1; i <= count && names[i] !~ /^#/; i++)
        offer(names[i])
}'
"""

_BASH = r"""# Completion of classh for bash, made by: classh --completion bash

_classh_kind() {        # sets kind: what the option $1 takes, or nothing
    case $1 in
<kinds>
    *) kind= ;;
    esac
}

_classh_split() {       # sets words, up to the cursor, as the shell sees them
    # Readline parts words at : = @ as well.
    local line=${COMP_LINE:0:COMP_POINT} word i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ ${#words[@]} = 0 || $line == [[:space:]]* ]]; then
            words+=('')
        fi
        line=${line#"${line%%[![:space:]]*}"}
        [[ $i != "$COMP_CWORD" ]] || word=$line
        words[${#words[@]}-1]+=$word
        line=${line#"$word"}
    done
}

_classh_parse() {       # sets kind, and option= and value: the word typed
    local word i ended= operand=commands
    kind=
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ $kind ]]; then
            kind=               # that was its value
        elif [[ $ended || $word != -?* ]]; then
            operand=hosts       # COMMAND was there
        elif [[ $word == -- ]]; then
            ended=1
        else
            case $word in <no_command>) operand=hosts ;; esac
            if [[ $word =~ ^-[^-<letters>]*[<letters>]$ ]]; then
                word=-${word: -1}
            fi
            _classh_kind "$word"
        fi
    done
    value=${words[i]}
    if [[ $kind ]]; then
        return
    elif [[ ! $ended && $value == --*=* ]]; then
        option=${value%%=*}=
        _classh_kind "$option"
        value=${value#*=}
    elif [[ ! $ended && $value == -* ]]; then
        kind=options
    else
        kind=$operand
    fi
}

_classh_hosts() {       # sets found, and before: what each begins with
    local part=${value##*,} name
    before=${value%"$part"}
    if [[ $part == ?*@* ]]; then
        before=$before${part%@*}@
        part=${part##*@}
    fi
    while IFS= read -r name; do
        [[ $before$name == *@@* ]] || found+=("$before$name")
    done < <(sh -c <names> classh "$part")
}

_classh_words() {       # sets found to those of the arguments that fit
    local word
    for word; do
        [[ $word != "$value"* ]] || found+=("$word")
    done
}

_classh() {
    local IFS=$' \t\n' words kind option= value quote= found=() before= word
    local breaks typed kept=
    COMPREPLY=()
    _classh_split
    _classh_parse
    case $value in
    \'* | \"*) quote=${value:0:1} value=${value:1} option= ;;
    *) value=${value//\\/} ;;
    esac
    case $kind in
    files) return ;;            # readline does that
    hosts)
        [[ $value != */* && $value != .* ]] || return
        _classh_hosts ;;
    commands)
        [[ ! $value ]] || mapfile -t found < <(compgen -c -- "$value") ;;
    options) _classh_words <options> ;;
    any) ;;
    *) _classh_words $kind ;;   # one of these
    esac
    compopt +o default
    [[ ${#found[@]} != 1 || $found != --*= ]] || compopt -o nospace
    # Readline puts them in the place of what is behind the last of these, or
    # of what begins with the last @.
    breaks=${COMP_WORDBREAKS//[!:=@]/}
    typed=$option$value
    if [[ $COMP_TYPE = 63 ]]; then      # it only lists them
        kept=$option$before
    elif [[ $breaks && ! $quote ]]; then
        kept=${typed%"${typed##*["$breaks"]}"}
        kept=${kept%@}
    fi
    for word in "${found[@]}"; do
        word=$option$word
        word=${word#"$kept"}
        if [[ ! $quote ]]; then
            printf -v word %q "$word"
            word=${word//\\,/,}         # not one in braces: these are quoted
        fi
        COMPREPLY+=("$word")
    done
}

complete -o default -F _classh classh
"""

_ZSH = r"""#compdef classh
# Completion of classh for zsh, made by: classh --completion zsh

_classh_hosts() {
    local -a names
    local expl
    if [[ $PREFIX == (*/*|.*) ]]; then
        _files
        return
    fi
    compset -P '*,'
    compset -P '?*@'
    names=(${(f)"$(sh -c <names> classh '')"})
    [[ $IPREFIX != *@ ]] || names=(${names:#@*})
    _wanted hosts expl host compadd -a names
}

_classh_first() {
    if (( <no_command> )); then
        _classh_hosts
    else
        _command_names -e
    fi
}

_classh() {
    _arguments -s -S \
<specs>
        '1:command:_classh_first' \
        '*:host:_classh_hosts'
}

if [[ $funcstack[1] == _classh ]]; then
    _classh "$@"                # a file on $fpath
else
    compdef _classh classh
fi
"""

_FISH = r"""# Completion of classh for fish, made by: classh --completion fish

function __classh_hosts
    set -l word (commandline -ct | string replace -r <option> '' |
        string replace -ra '[\\\\"\']' '')
    if string match -qr '/|^\.' -- "$word"
        __fish_complete_path "$word"
        return
    end
    set -l part (string replace -r '^.*,' '' -- "$word" |
        string replace -r '^.+@' '')
    set -l size (math (string length -- "$word") - (string length -- "$part"))
    set -l before (string sub -l $size -- "$word")
    for name in (sh -c <names> classh "$part")
        string match -v '*@@*' -- "$before$name"
    end
end

function __classh_operand     # whether it is the command, or hosts: $argv
    set -l word (commandline -ct)
    string match -q -- '-?*' "$word"
    and return 1
    set -l words (commandline -opc)
    set -e words[1]
    set -l place command
    set -l skip
    for word in $words
        if test -n "$skip"
            set skip
            continue
        end
        switch $word
            case <no_command>
                set place hosts
            case <long>
                set skip 1
            case '-*'
                string match -qr '^-[^-<letters>]*[<letters>]$' -- $word
                and set skip 1
            case '*'
                set place hosts
        end
    end
    test $place = $argv
end

complete -c classh -f
complete -c classh -n '__classh_operand command' \
    -a '(__fish_complete_command)'
complete -c classh -n '__classh_operand hosts' -a '(__classh_hosts)'
<options>
"""

_Offer = collections.namedtuple('_Offer',
                                'short long takes kind repeated text')


def _offers(options):
    """Yield an _Offer for each of *options*, rows as of _EACH_OPTION: .short
    and .long are lists of names, .takes says whether it 'must', 'may' or
    cannot ('') have a value, and .kind what that is, or its words."""
    for _, names, metavar, text, rest in options:
        yield _Offer(
            [name for name in names if name[1] != '-'],
            [name for name in names if name[1] == '-'],
            'may' if 'bare' in rest else 'must' if metavar else '',
            ' '.join(rest.get('choices', ()))
            or _VALUE_KINDS.get(metavar, 'any'),
            rest.get('action') == 'append', text % rest)


def _fill(template, **parts):
    for name, text in parts.items():
        template = template.replace('<%s>' % name, text)
    return template


def _letters(offers):
    """Return the letters of the short options that must have a value."""
    return ''.join(name[1] for offer in offers if offer.takes == 'must'
                   for name in offer.short)


def _bash_script(offers):
    kinds, options = [], []
    for offer in offers:
        options += offer.short + offer.long
        names = offer.short + offer.long if offer.takes == 'must' else []
        if offer.takes:
            names += [name + '=' for name in offer.long]
            kinds.append('    %s) kind=%s ;;' % (
                ' | '.join(names), shlex.quote(offer.kind)))
        if offer.takes == 'may':
            options += [name + '=' for name in offer.long]
    return _fill(_BASH, kinds='\n'.join(kinds), options=_quoted(options),
                 no_command=' | '.join(_NO_COMMAND), letters=_letters(offers),
                 names=shlex.quote(_KNOWN_NAMES))


def _zsh_script(offers):
    values = {'files': 'files:_files', 'hosts': 'hosts:_classh_hosts',
              'commands': 'commands:_command_names -e', 'any': 'value: '}
    specs = []
    for offer in offers:
        names = offer.short + offer.long
        for name in names:
            spec = '*' if offer.repeated else '(%s)' % ' '.join(names)
            spec += name + ({'must': '=', 'may': '=-'} if name in offer.long
                            else {'must': '+'}).get(offer.takes, '')
            spec += '[%s]' % re.sub(r'([]\\[:])', r'\\\1', offer.text)
            if offer.takes:
                spec += ':' + values.get(offer.kind, 'words:(%s)' % offer.kind)
            specs.append('        %s \\' % shlex.quote(spec))
    return _fill(_ZSH, specs='\n'.join(specs), names=shlex.quote(_KNOWN_NAMES),
                 no_command=' || '.join('$words[(I)%s]' % name
                                        for name in _NO_COMMAND))


def _fish_quote(text):
    return "'%s'" % re.sub(r"(['\\])", r'\\\1', text)


def _fish_script(offers):
    values = {'files': '-F', 'any': "-f -a ''",
              'hosts': "-f -a '(__classh_hosts)'",
              'commands': "-f -a '(__fish_complete_command)'"}
    options, long = [], []
    for offer in offers:
        words = ['complete -c classh']
        words += ['-s ' + name[1:] for name in offer.short]
        words += ['-l ' + name[2:] for name in offer.long]
        if offer.takes == 'must':
            words.append('-r')
            long += offer.long
        if offer.takes:
            words.append(values.get(offer.kind)
                         or '-f -a ' + _fish_quote(offer.kind))
        options.append(' '.join(words + ['-d ' + _fish_quote(offer.text)]))
    return _fill(_FISH, options='\n'.join(options), long=' '.join(long),
                 option="'^(--[^=]*=|-[^-<letters>]*[<letters>])'",
                 no_command=' '.join(_NO_COMMAND), letters=_letters(offers),
                 names=_fish_quote(_KNOWN_NAMES))


# Shell: what makes its script of the offers.
_COMPLETIONS = {'bash': _bash_script, 'zsh': _zsh_script,
                'fish': _fish_script}


def completion_script(shell, options):
    """Return the script that completes the *options*, as of _offers(), in
    *shell*."""
    return _COMPLETIONS[shell](list(_offers(options)))


# -- Command line -----------------------------------------------------------

_EPILOG = """\
EXIT STATUS
  0 every host ok; 1 trouble of classh's own; 2 usage; 6 ended by a limit of
  careful runs; 3 a job was killed or timed out; 4 an ssh error; 5 a remote
  command failed: the first that applies of 1, 6, 3, 4, 5.  130, 143, 129
  after Ctrl-C, SIGTERM, SIGHUP; 141 when nobody reads its output.

WHILE IT RUNS
  Enter or SIGUSR1 shows who runs, who waits, their time left, and who is bad.
  Ctrl-C ends what runs and starts no more; once more, it kills.

EXAMPLES
  classh 'hostname; date' host1, host2, host3
  classh -b -f 200 -u 30s uptime ./all-hosts 'web[01-40]' -x web13
  classh --bad -u 60 'systemctl is-active -q nginx' @web
  classh -I 'cat >/tmp/motd' ./all-hosts <motd
  classh -A --sudo -E failed --unreached not 'systemctl restart nginx' @web
  classh --journal night COMMAND @web; classh --resume night

The guide (README, or man classh) has recipes, and what to do by each message.
"""


CONFIRM_SHOWN = 2000    # characters of the hosts in the question of --confirm
FOLDED_LIMIT = 10 ** 6  # hosts that --fold holds

# Options that other tools have: what to type here.
_ELSEWHERE = {name: hint for names, hint in (
    ('-w -H --host --hosts --hostfile', 'hosts, or a ./FILE of them, stand '
     'behind COMMAND'),
    ('-g --group', 'a group stands behind COMMAND, as @GROUP'),
    ('--groups', '--list @ prints the groups'),
    ('-X', 'a group is left out by -x @GROUP'),
    ('-a --all', 'all hosts are a group of your own, as @all, or a ./FILE'),
    ('-i --inventory', 'hosts, or a ./FILE of them, stand behind COMMAND; the '
     'report comes without an option; a key is -O IdentityFile=FILE'),
    ('-m --args', 'COMMAND is typed as in a shell, and quoted; as root it '
     'runs by --sudo'),
    ('-c -r --copy --rcopy', 'files are copied by examples/push and '
     'examples/pull'),
    ('-o -e --out --output --outdir --errdir', 'output goes to a directory by '
     '-S DIR/ and -E DIR/; options of ssh are -O KEY=VALUE'),
    ('-R --worker', '--ssh names the ssh to run; --exec runs COMMAND here'),
    ('-B --dshbak', 'equal answers are shown once by -b'),
    ('-L --print', 'lines with names are -P; --list prints the hosts'),
    ('-N --nolabel', 'lines without names are -P --no-prefix'),
    ('-n --serial', 'jobs at once are -f N; --first N tries N hosts first'),
    ('--forks -j --jobs', 'jobs at once are -f N'),
    ('--limit', 'a part of the hosts is --only HOSTS'),
    ('-T', 'the limit of a job is -u TIME, that of the login -t TIME'),
    ('-K --ask-become-pass', 'type --sudo with -A, or --sudo-password'),
    ('--pass --password', '-A asks for the password'),
    ('--become', 'type --sudo, or --sudo=USER'),
    ('-C --check --dry-run --list-hosts', '--list prints the hosts and runs '
     'nothing'),
    ('-D', 'type --diff'),
    ('-4 -6 -F', "an option of ssh is typed behind it, as --ssh 'ssh -v'"),
    ('-v -d --verbose --debug', "ssh tells more with --ssh 'ssh -v'; the "
     'version is -V'),
) for name in names.split()}


def _near_option(word, known):
    """Return that of the long options in *known* which *word*, an option
    that is none of them, is most like, or None."""
    import difflib                  # few runs need it
    names = [name[2:] for name in known if name.startswith('--')]
    word = word.lstrip('-')
    near = ([name for name in names if word and name.startswith(word)]
            or difflib.get_close_matches(word, names, 1))
    return '--' + near[0] if near else None


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Raise UsageError with *message*, but in our words where it is one
        of argparse."""
        names, found, problem = message.partition(': ')
        if not (found and names.startswith('argument ')):
            raise UsageError(message + '; see classh -h')
        names = names[len('argument '):]
        action = self._option_string_actions[names.split('/')[0]]
        choices = ', '.join(action.choices or ())
        if names.startswith('-u/') and re.match("'[A-Za-z]", problem):
            problem += '; -l is the remote user'
        unknown = re.match('ignored explicit argument [\'"](.)', problem)
        if unknown:                 # as the w of -qw
            self.unknown('-' + unknown.group(1))
        if problem == 'expected one argument':
            self.error('%s needs a value: %s' % (names, choices or ' '.join([
                action.option_strings[0], action.metavar])))
        self.error('%s: %s' % (names, re.sub(
            r'invalid choice: (.*) \(choose.*', r'\1 is not one of ' + choices,
            problem, flags=re.DOTALL)))

    def unknown(self, word):
        """Raise UsageError for *word*, which begins as an option does."""
        name = word.partition('=')[0]
        known = self._option_string_actions
        near = '-' + name if '-' + name in known else None      # -gather
        if not (near or name.startswith('--')):
            name = name[:2]
        if not near and name in _ELSEWHERE:
            raise UsageError('unknown option %s: %s' % (name,
                                                        _ELSEWHERE[name]))
        if len(name) > 2:
            near = near or _near_option(name, known)
        if near:
            raise UsageError('unknown option %s (did you mean %s?)'
                             % (name, near))
        self.error('unknown option %s' % name)


def _fail_limit(text):
    """An argparse type: how many hosts may fail, a str: '5', '10%'."""
    found = re.fullmatch('([0-9]{1,9})(%?)', text)
    if not found or found.group(2) and int(found.group(1)) > 100:
        raise argparse.ArgumentTypeError(
            '%r is not a number of hosts such as 5, or a part of them such '
            'as 10%%' % text)
    return text


def _ssh_option(text):
    """An argparse type: an option of ssh_config, as for ssh -o."""
    if not re.match(r'\s*[A-Za-z0-9]+\s*[=\s]\s*\S', text):
        raise argparse.ArgumentTypeError('%r is not KEY=VALUE' % text)
    return text


def _size(text):
    """An argparse type: bytes, perhaps as 64K, 8M or 1G."""
    found = re.fullmatch(r'([0-9]{1,15})([KMG]?)', text, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(
            '%r is not a number of bytes such as 4096, 64K or 8M' % text)
    return int(found.group(1)) << {'': 0, 'K': 10, 'M': 20, 'G': 30}[
        found.group(2).upper()]


def _again(text):
    """An argparse type: states of hosts, parted by commas."""
    states = text.split(',')
    if not set(states) <= set(AGAIN):
        raise argparse.ArgumentTypeError(
            '%r is not one of %s, or several with commas between'
            % (text, ', '.join(AGAIN)))
    return states


_SEVERAL = {'action': 'append', 'default': []}
_PATH = {'type': os.path.expanduser}    # a shell leaves --json=~/run alone

# The groups of options: how each is written, what -h says of it, and what else
# argparse is told.  What is between [= and ] may be left out: 'bare' is what
# stands for it then.
_OPTIONS = {
    'which hosts': [
        ('-x, --exclude HOSTS', 'not these; as HOST; repeatable', _SEVERAL),
        ('--only HOSTS', 'none but these of them; repeatable', _SEVERAL),
        ('--noexpand', 'a bracket is a bracket, not a pattern'),
        ('--list', 'print the hosts and run nothing; @: the groups'),
        ('--fold', 'with --list: as one pattern'),
    ],
    'how to run': [
        ('-f, --fanout, -p, --par N', 'jobs at once (%(default)s)',
         {'type': _count_type(1), 'default': FANOUT}),
        ('-u, --timeout TIME',
         'limit of a job: 90, 90s, 5m, 2h (300; 0: none)',
         {'type': _seconds, 'default': TIMEOUT}),
        ('-t, --connect-timeout TIME',
         'limit of the login (%(default)s; 0: as in ssh_config)',
         {'type': _time_type(int, 0), 'default': CONNECT_TIMEOUT}),
        ('-l, --user USER', 'remote user, unless HOST says user@'),
        ('-O, --ssh-option KEY=VALUE', "for ssh's -o; repeatable",
         {'type': _ssh_option, **_SEVERAL}),
        ('--ssh COMMAND', 'the ssh to run, with arguments (%(default)s)',
         {'default': 'ssh'}),
        ('-I, --send-input', 'our stdin, a file or a pipe, to every host'),
        ('--exec', 'run COMMAND here, with $CLASSH_HOST, once a host'),
        ('--end-remote', 'end COMMAND on the host, too, when its ssh ends'),
        ('--shell', 'read commands at a prompt, or stdin; try -b too'),
        ('--errexit', 'leave the shell when a command fails'),
    ],
    'careful runs': [
        ('--first N', 'N hosts alone; the others if all are ok',
         {'type': _count_type(1)}),
        ('--ramp', 'one at once, one more after each good one'),
        ('--max-fail N', 'start no more when over N, or N%%, have failed',
         {'type': _fail_limit}),
        ('-k, --fail-fast', 'end the run when one host fails'),
        ('--deadline TIME', 'end the run after TIME',
         {'type': _seconds, 'default': 0}),
        ('--confirm[=N]', 'ask first whether more than N (0) hosts are meant',
         {'type': _count_type(0), 'bare': '0'}),
        ('--journal FILE', 'write down what becomes of each host', _PATH),
        ('--resume FILE', 'go on with the run of such a FILE', _PATH),
        ('--again WORDS', '--resume: those that failed,lost,ok, too',
         {'type': _again, 'default': ()}),
    ],
    'getting in': [
        ('-J, --jump GATE', 'reach all hosts by one connection to GATE'),
        ('--retries N', 'tries more where COMMAND has not started',
         {'type': _count_type(0)}),
        ('--logins N', 'logins at once (fewer if some are dropped)',
         {'type': _count_type(1)}),
        ('--share[=TIME]', 'keep connections for later runs (%d)' % SHARE_TIME,
         {'type': _time_type(int, 1), 'bare': '%d' % SHARE_TIME}),
        ('--unshare', 'end those to HOST..., or all, and run nothing'),
        ('-A, --askpass', 'ask for the password once, answer ssh (and sudo)'),
        ('--askpass-file FILE', 'take the password from a private file',
         _PATH),
        ('--askpass-key', "give it as the passphrase of ssh's key, too"),
        ('--askpass-anyway', 'go on sending it when a host refuses it'),
        ('--sudo[=USER]', 'run COMMAND as root, with --sudo=USER as USER',
         {'bare': 'root'}),
        ('--sudo-password', 'ask for another password for sudo'),
    ],
    'results': [
        ('-b, --gather', 'each answer once, with the hosts that gave it'),
        ('--diff', 'as -b, but what differs from most as a diff'),
        ('--no-mask', "-b: a host's own name makes its answer another"),
        ('-P, --stream', 'each line as it comes, HOST: LINE'),
        ('--no-prefix', 'with -P: no names'),
        ('--json[=FILE]', 'records for programs, on stdout or in FILE',
         {'bare': '-', **_PATH}),
        ('--bad', 'the report of bad hosts alone', {'dest': 'bad_only'}),
        ('--progress', 'marks: .=ok ?=failed ~=ssh error !=killed'),
        ('-q, --quiet', 'no report, no summary'),
        ('-S TARGET', 'where good hosts go as they finish: names to - '
                      "(stdout), a file, a program or '| command'; output "
                      'to a directory/', {'dest': 'good'}),
        ('-E TARGET', 'where bad hosts go, likewise', {'dest': 'bad'}),
        ('--unreached TARGET', 'in place of -E where COMMAND did not start'),
        ('--pickle FILE', 'all results, for classh.load(FILE)', _PATH),
        ('--max-output BYTES', 'kept per host and stream (8M; 0: no limit)',
         {'type': _size, 'default': MAX_OUTPUT}),
        ('--color WHEN', 'auto (on a terminal, no NO_COLOR), always, never',
         {'choices': ('auto', 'always', 'never'), 'default': 'auto'}),
        ('--no-status', 'no line that tells how far the run is'),
        ('--maxrc', 'exit with the largest remote status'),
    ],
    'help': [
        ('-h, --help', 'show this'),
        ('-V, --version', 'show the version'),
        ('--completion SHELL', 'print the completion for bash, zsh or fish',
         {'choices': tuple(_COMPLETIONS)}),
    ],
}


def _split_options():
    """Yield the group, names, metavar (None: it is a flag), help, and a dict
    of the rest of each option."""
    for group, options in _OPTIONS.items():
        for spelling, text, *rest in options:
            *names, last = spelling.replace('[=', ' ').rstrip(']').split(', ')
            name, _, metavar = last.partition(' ')
            yield (group, [*names, name], metavar or None, text,
                   rest[0] if rest else {})


_EACH_OPTION = tuple(_split_options())
# An option whose value is optional: what it is short for without one.
_OPTIONAL_VALUES = {names[0]: '%s=%s' % (names[0], rest['bare'])
                    for _, names, _, _, rest in _EACH_OPTION
                    if 'bare' in rest}
# The names of those that need a value.
_WITH_VALUE = {name for _, names, metavar, _, rest in _EACH_OPTION
               if metavar and 'bare' not in rest for name in names}


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows the argument of an option once: -f, --fanout N."""

    def _format_action_invocation(self, action):
        names = ', '.join(action.option_strings)
        if names in _OPTIONAL_VALUES:
            return '%s[=%s]' % (names, action.metavar)
        return names if action.nargs == 0 else '%s %s' % (names,
                                                          action.metavar)


@functools.lru_cache(None)
def _make_parser(raw):
    """Return the parser; if *raw*, it leaves the values of options as they
    were typed."""
    parser = _Parser(
        prog='classh', add_help=False,
        usage='classh [options] COMMAND HOST...\n'
              '       classh --list | --shell | --unshare [options] HOST...',
        description='Run COMMAND on each HOST at once, through ssh.  HOST '
                    'is a name, user@name:port,\na pattern as web[01-40], '
                    'a file of them as ./hosts, @GROUP, or - for stdin.',
        epilog=_EPILOG,
        formatter_class=lambda prog: _HelpFormatter(
            prog, max_help_position=30, width=79))
    groups = {title: parser.add_argument_group(title) for title in _OPTIONS}
    for title, names, metavar, text, rest in _EACH_OPTION:
        how = {'metavar': metavar} if metavar else {'action': 'store_true'}
        how.update(rest)
        how.pop('bare', None)
        if raw:
            how.pop('type', None)
        groups[title].add_argument(*names, help=text, **how)
    return parser


def _parse_arguments(argv, raw=False):
    """Return (options, operands); options may stand anywhere before '--'.
    If *raw*, the values of options stay as they were typed."""
    end = argv.index('--') if '--' in argv else len(argv)
    # Given no positionals, argparse returns them all, wherever they stand.
    parser = _make_parser(raw)
    known = parser._option_string_actions
    for word in argv[:end]:
        # argparse would take --jso for --json, and COMMAND for its value.
        name, equals, _ = word.partition('=')
        action = known.get(name)
        # Nor -list for -l ist.
        if action is None and name.startswith('-') and (
                name.startswith('--') or '-' + name in known):
            parser.unknown(word)
        if equals and action is not None and action.nargs == 0:
            parser.error('%s takes no value' % name)
        # -qP4, in which argparse of Python 3.13 finds an option -4.
        flags = re.match('-([A-Za-z]+)[0-9]', word)
        if flags and all('-' + letter in known
                         and known['-' + letter].nargs == 0
                         for letter in flags.group(1)):
            parser.error('-%s takes no value' % flags.group(1)[-1])
    options, operands = parser.parse_known_args(
        # What is optional behind an option must not be taken from COMMAND.
        [_OPTIONAL_VALUES.get(word, word) for word in argv[:end]])
    for operand in operands:
        if operand.startswith('-') and operand != '-':
            parser.unknown(operand)
    for action in parser._actions:
        value = getattr(options, action.dest)
        for one in value if isinstance(action.default, list) else [value]:
            if one in ([], '--'):   # argparse before 3.13 gives [] for --
                parser.error('-- is no value of an option')
    options.relay = None
    options.show = (parser.format_help() if options.help else
                    'classh %s\n' % __version__ if options.version else
                    completion_script(options.completion, _EACH_OPTION)
                    if options.completion else '')
    return options, operands + argv[end + 1:]


def _ensure_standard_descriptors():
    """Open those of 0, 1 and 2 that are closed: a pipe of ours would get
    their numbers.  Raise OSError if there is no null device."""
    for fd in 0, 1, 2:
        try:
            os.fstat(fd)
        except OSError:
            # Only for reading, so that output to a stream which the user
            # has closed is an error, and not lost.
            os.open(os.devnull, os.O_RDONLY)
            stream = open(fd, 'w' if fd else 'r', closefd=False)
            setattr(sys, ('stdin', 'stdout', 'stderr')[fd], stream)


def _ssh_words(options):
    """Return the value of --ssh, split as a shell would."""
    text = options.ssh
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError('--ssh %s: %s' % (text, error)) from None
    if not words:
        raise UsageError('--ssh is empty')
    # A command here needs no ssh, but one that is named must be there.
    if find_program(words[0]) is None and not (options.exec
                                               and text == 'ssh'):
        raise UsageError('%s: not found, or not executable; --ssh names the '
                         'ssh to run' % words[0])
    return words


def _wants_value(word):
    """Return whether the word behind *word* is its value, as behind -f, --only
    and -qf."""
    if word.startswith('--'):
        return word in _WITH_VALUE
    return bool(re.match('-.', word)) and '-' + word[-1] in _WITH_VALUE and (
        not any('-' + letter in _WITH_VALUE for letter in word[1:-1]))


def _command_place(argv):
    """Return the index of COMMAND in *argv*, len(argv) if there is none."""
    place = 0
    while place < len(argv):
        if _wants_value(argv[place]):
            place += 1
        elif argv[place] == '--':
            return place + 1
        elif not argv[place].startswith('-'):
            return place
        place += 1
    return place


def _check_typography(argv):
    """Raise UsageError if COMMAND, or what stands first in its place, begins
    with what a word processor makes of '-' or of quotes."""
    word = ''.join(argv[_command_place(argv):][:1])
    if re.match('[\u2010-\u2015\u2212\u2018-\u201f]', word):
        raise UsageError('%s %s%s' % (_excerpt(word), _odd_character(word[0]),
                                      _hint(word[0])))


_HELP_WORDS = {'help': '-h', '?': '-h', 'version': '-V'}
# The unit of a number that was typed as a word of its own.
_UNIT = r'[%smhkKMG]|[kKMG]B|sec(onds?|s)?|min(utes?|s)?|hours?'


def _check_value(command, argv):
    """Raise UsageError if *command* is rather a value, or the unit of one, of
    the option before it in *argv*."""
    place = _command_place(argv)
    option, before = ['', '', *argv][place:place + 2]
    name, equals, number = before.rpartition('=')
    has_value = equals or _wants_value(option)
    hint = ''
    if (has_value and re.fullmatch('[0-9.]+', number)
            and re.fullmatch(_UNIT, command)):
        hint = '; the value of %s is one word: %s%s' % (
            name or option, (option + ' ') * (not equals), before + command[0])
    elif not (re.fullmatch('[0-9]+[smh%]?', command)
              or (before, command) == ('--sudo', 'root')):
        return
    elif before in _OPTIONAL_VALUES:
        hint = '; a value of %s is written %s=%s' % (before, before, command)
    elif has_value:
        hint = '; %s has its value, %s' % (name or option, number)
    elif before.startswith('-'):
        hint = '; %s takes no value' % before
    raise UsageError('%s is no command%s' % (command, hint))


def _check_command(command, options, argv):
    """Raise UsageError if *command* is none, but rather a group or the value
    of the option before it in *argv*."""
    if not command.strip():
        raise UsageError('no command%s; type classh COMMAND HOST..., such as '
                         "classh uptime 'web[1-9]'; see classh -h" % (
                             ', but an empty word (is a variable unset?)'
                             if argv[_command_place(argv):] else ''))
    if re.fullmatch('[@^][^ ]+', command):
        raise UsageError('%s is no command; ' % command + (
            'a group stands behind COMMAND' if command[0] == '@' else
            'hosts stand behind COMMAND, a file of them as '
            + os.path.join('.', command[1:])))
    if argv[-1] == command and command in _HELP_WORDS:
        raise UsageError('no hosts are named; did you mean classh %s?'
                         % _HELP_WORDS[command])
    _check_value(command, argv)
    records = options.json == _OPTIONAL_VALUES['--json'].partition('=')[2]
    if command == '-':
        raise UsageError('- is no command; ' + (
            'records go to stdout by --json alone' if records else
            'hosts from stdin stand behind COMMAND'))
    if records and re.fullmatch(r'\S+\.jsonl?', command):
        raise UsageError('the file for records is written --json=' + command)


_STORES = ('-S', '-E', '--unreached', '--pickle', '--json')
# An option or a Relay, those that it goes without, '-' being hosts from stdin,
# and what to say instead of that.
_CONFLICTS = (
    ('--unshare', ('--share', '--list', '--shell', '-', '-I', '--journal',
                   '--resume', *_STORES), ''),
    ('--journal', ('--list', '--shell'), ''),
    ('--resume', ('--list', '--shell'), ''),
    ('--resume', ('--journal',), '--journal begins a journal, and --resume '
                                 'goes on in one: choose one'),
    ('--exec', ('-A', '--askpass-file', '--sudo', '--end-remote', '--shell'),
     '--exec, which runs COMMAND here, goes without %(other)s'),
    ('a relay', ('-A', '--askpass-file', '--sudo', '-I', '-P', '-J',
                 '--share', '--shell'),
     '%(other)s does not reach those who run COMMAND here'),
    ('-I', ('-',), 'stdin cannot be both hosts, -, and input, -I'),
    ('-I', ('--end-remote',), '-I goes without --end-remote: both need the '
                              'stdin of COMMAND'),
    ('--shell', ('-', '-I', *_STORES), ''),
    ('--list', ('--shell', '-I', *_STORES), ''),
    ('--confirm', ('--list', '--shell', '-'), ''),
    ('-k', ('--max-fail',), '-k is --max-fail 0, and ends what runs: it goes '
                            'without --max-fail %(max_fail)s'),
)
# An option that is useless without any of those behind it.
_NEEDS = (
    ('--sudo-password', ('--sudo',)),
    ('--askpass-key', ('-A', '--askpass-file')),
    ('--askpass-anyway', ('-A', '--askpass-file', '--sudo-password')),
    ('--no-prefix', ('-P',)),
    ('--errexit', ('--shell',)),
    ('--again', ('--resume',)),
    ('--fold', ('--list',)),
    ('--no-mask', ('-b', '--diff', '--shell')),
)
# Where the value of an option is kept, what it cannot be, and what to say.
_NO_VALUES = (
    ('json', ('',), '--json= needs a file; stdout is --json alone'),
    ('pickle', ('-',), '--pickle needs a file; one that is called - is ./-'),
    ('journal', ('', '-'), '--journal needs a file'),
    ('resume', ('', '-'), '--resume needs a file'),
    ('sudo', ('',), '--sudo= needs a user'),
    ('user', ('',), '-l needs a user'),
)


def _given(options):
    """Return the names of the *options* that differ from their defaults."""
    return {name for action in _make_parser(False)._actions
            if getattr(options, action.dest) != action.default
            for name in action.option_strings}


def _check_conflicts(options, operands):
    """Raise UsageError if *options* and *operands* exclude each other, or a
    value is of no use."""
    given = _given(options)
    without_command = given.intersection(['--list', '--shell', '--unshare'])
    if '-' in operands[0 if without_command else 1:]:
        given.add('-')
    if options.relay:
        given.add('a relay')
    for name, others, problem in _CONFLICTS:
        found = [other for other in others if {name, other} <= given]
        if found:
            raise UsageError(
                problem % dict(vars(options), other=found[0])
                or '%s goes without %s and %s' % (
                    name, ', '.join(others[:-1]), others[-1]))
    for name, values, problem in _NO_VALUES:
        if getattr(options, name) in values:
            raise UsageError(problem)
    for name, target in (('-S', options.good), ('-E', options.bad),
                         ('--unreached', options.unreached)):
        if options.json == '-' and target == '-':
            raise UsageError('%s - and --json both write to stdout; name a '
                             'file: --json=FILE' % name)


def _stream_into(path, adds):
    """Return 'stdout' or 'stderr', whichever of ours goes to the regular file
    *path*, or None.  If a file is only added to (*adds*), so may a stream."""
    with contextlib.suppress(OSError):
        target = os.stat(path)
        for fd, name in (1, 'stdout'), (2, 'stderr'):
            if (stat.S_ISREG(target.st_mode)
                    and os.path.samestat(target, os.fstat(fd))
                    and not (adds and fcntl.fcntl(fd, fcntl.F_GETFL)
                             & os.O_APPEND)):
                return name
    return None


def _check_files(options):
    """Raise UsageError if two targets of *options* are one file, or one of
    them and stdout or stderr are."""
    seen = set()
    names = {options.good, options.bad, options.unreached}
    for path in filter(None, (*names, options.json, options.pickle,
                              options.journal, options.resume)):
        path, is_of_names = os.path.expanduser(path), path in names
        if path == '-' or os.path.isdir(path):
            continue
        stream = _stream_into(path, is_of_names)
        if stream:
            raise UsageError('%s: %s goes there, too; name another file%s' % (
                path, stream, ', or -' if is_of_names and stream == 'stdout'
                else ''))
        try:
            real = os.path.realpath(path)
        except OSError:             # our directory is gone: open() tells
            continue
        if real in seen:
            raise UsageError('%s: names, --json, --pickle and --journal '
                             'need a file each' % path)
        seen.add(real)


def _check_needs(options):
    """Raise UsageError if an option is useless without another."""
    given = _given(options)
    for name, others in _NEEDS:
        if name in given and not given.intersection(others):
            raise UsageError('%s needs %s' % (name, others[0]))


def _check_stdin(options, stdin_has_hosts):
    """Raise UsageError if stdin, which *options* or hosts need, cannot be
    read."""
    if options.send_input and os.isatty(0):
        raise UsageError('-I needs a file or a pipe on stdin')
    if options.send_input or stdin_has_hosts:
        try:
            os.read(0, 0)
        except OSError as error:
            raise UsageError('stdin: ' + _error_text(error)) from None


def _without_command(options):
    """Return the option that goes without COMMAND, '' if there is none."""
    return '--list' if options.list else '--shell' if options.shell else ''


def _host_queue(options, operands, groups, journal):
    """Return the HostQueue of the *operands*, whose '-' is for StdinHosts,
    with the *groups* that they name; *journal* is a RunJournal or None."""
    given = [name for name, choice in (('-x', options.exclude),
                                       ('--only', options.only)) if choice]
    if '-' in options.exclude + options.only:
        raise UsageError('%s cannot come from stdin' % ' and '.join(given))
    expanding = not options.noexpand
    named = [host for host in operands if host != '-']
    patterns = parse_host_arguments(named, expanding, groups)
    excluded, only = (parse_host_choice(choice, expanding, groups)
                      for choice in (options.exclude, options.only))
    if journal:
        journal.note_hosts(patterns, excluded, only)
    # An iterator is not checked again.
    hosts = HostQueue(iter(patterns), expanding, excluded,
                      only if options.only else None,
                      journal.skip if journal and options.resume else None)
    first = next(hosts, None)
    if first is not None:
        hosts.put_back(first)
    elif named == operands and not (journal and journal.passed_over):
        place = _without_command(options) or 'COMMAND'
        if given and named:         # no UsageError: COMMAND is quoted
            raise ClasshError('no hosts are left by ' + ' and '.join(given))
        raise UsageError('no hosts ' + (
            'in %s%s' % (_shorten(_quoted(named)), (
                '; is a variable unset?' * (not all(named)))) if named
            else 'are named; type them behind %s%s' % (
                place, ', and - for those on stdin'
                * (not stat.S_ISCHR(os.fstat(0).st_mode)))))
    return hosts


# Options that are not recorded in a journal, but for --exclude and --only as
# typed: their patterns are.
_NOT_RECORDED = {'journal', 'resume', 'again', 'exclude', 'only', 'list',
                 'fold', 'shell', 'errexit', 'help', 'version'}


def _words_of(options, is_wanted):
    """Return those of the *options* whose values have names that are wanted,
    each as one word where it has a long name."""
    words = []
    for action in _make_parser(False)._actions:
        values = getattr(options, action.dest)
        if not is_wanted(action.dest) or values == action.default:
            continue
        name = max(action.option_strings,       # the first long one, if any
                   key=lambda name: name.startswith('--'))
        for value in values if isinstance(values, list) else [values]:
            words += ([name] if value is True else
                      ['%s=%s' % (name, value)] if name.startswith('--') else
                      [name, str(value)])
    return words


def _option_words(argv):
    """Return the options in *argv* as words, without those that are not
    recorded."""
    options, _ = _parse_arguments(argv, raw=True)
    return _words_of(options, lambda name: name not in _NOT_RECORDED)


# Options that hold for each host, by the names of their values: a Relay is
# told of them.
_RELAYED = {'timeout', 'connect_timeout', 'retries', 'logins', 'user',
            'ssh_option', 'ssh', 'exec', 'end_remote', 'max_output'}


def _view_words():
    """Return the words of the options that choose a view, or need one."""
    names = {way.name for way in _WAYS}
    names |= {name for name, others in _NEEDS if names & set(others)}
    words = {max(own, key=len) for _, own, *_ in _EACH_OPTION
             if names.intersection(own)}
    return {_OPTIONAL_VALUES.get(word, word) for word in words}


def _resumed_words(journal, typed, words):
    """Return the options of the run that resumes *journal*: those recorded
    there, less those that *words*, which are *typed*, replace; and these."""
    old = journal.words
    if any(way.wanted(typed) for way in _WAYS):
        views = _view_words()
        old = [word for word in old if word not in views]
    if typed.fail_fast or typed.max_fail is not None:
        old = [word for word in old if word != '--fail-fast'
               and not word.startswith('--max-fail=')]
    # Of two options to ssh with one key, the first counts.
    first = [word for word in words if word.startswith('--ssh-option=')]
    return first + old + [word for word in words if word not in first]


def _resume(journal, options, operands, words):
    """Return (options, operands, words) of the run that goes on in *journal*,
    with what was typed, as _option_words() has it in *words*."""
    typed = options
    words = _resumed_words(journal, typed, words)
    try:
        options, _ = _parse_arguments(words)
    except UsageError as error:
        raise UsageError('%s: of its options, %s' % (journal.path,
                                                     error)) from None
    options.exclude = options.exclude + typed.exclude
    options.only = typed.only or options.only
    options.resume, options.again = typed.resume, typed.again
    options.relay = typed.relay
    if options.askpass or options.askpass_file is not None:
        # What a password opens is kept only if both are typed.
        asked = typed.askpass or typed.askpass_file is not None
        options.share = typed.share if asked else None
    words = [word for word in words if not word.startswith('--exclude=')]
    if not operands:
        operands = [journal.command]
    journal.check_command(operands[0])
    if len(operands) == 1:
        if journal.unlisted:
            raise UsageError(
                '%s does not hold all its hosts, which came from stdin; type '
                'them: classh --resume %s' % (journal.path, _quoted(
                    [journal.path, journal.command, '-'])))
        operands = operands + journal.patterns
    _check_conflicts(options, operands)
    _check_files(options)
    return options, operands, words


def _open_journal(options, operands, argv, stack):
    """Return (options, operands, journal): a RunJournal, or None, and, where
    it is resumed, what its run was given.  *stack* closes the file."""
    if not (options.journal or options.resume):
        return options, operands, None
    words = _option_words(argv)
    journal = stack.enter_context(Journal(options.resume or options.journal,
                                          options.resume is not None))
    known = None
    if options.resume:
        hosts_typed = bool(operands[1:])
        options, operands, words = _resume(journal, options, operands, words)
        if hosts_typed and not journal.unlisted:
            known = HostSet(journal.patterns, not options.noexpand)
    return options, operands, RunJournal(journal, options, words, known)


def _confirm(options, hosts, command, stops):
    """Have the user type how many *hosts* there are, where --confirm wants
    that; raise UsageError for another answer.  A signal noted in *stops* ends
    the question."""
    if options.confirm is None:
        return
    names = listed(hosts, '--confirm')
    if len(names) <= options.confirm:
        return
    count = _number(len(names))
    folded = fold(names)
    if len(folded) > CONFIRM_SHOWN:
        folded = folded[:CONFIRM_SHOWN] + '... (--list shows all)'
    typed = ask_on_terminal(
        'To be run%s:\n%s\non %s: %s\nIf that is meant, type how many: ' % (
            ' here, once for each host' if options.exec else
            ' as %s' % options.sudo if options.sudo else '',
            _indent(command).rstrip('\n'), count, folded), stops,
        '--confirm: %s, and no terminal to ask on; nothing is started' % count,
        seen=True)
    if typed.strip() != b'%d' % len(names):
        raise UsageError('--confirm: %s was to be typed, not %s; nothing is '
                         'started' % (len(names), _excerpt(
                             os.fsdecode(typed.rstrip(b'\n')))))


def _check_pace(options, hosts):
    """Raise UsageError if the rules for the pace ask for more than there is
    of *hosts*, a HostQueue."""
    is_part = (options.max_fail or '').endswith('%')
    if not (options.first or is_part):
        return
    count = hosts.count()
    if is_part and count is None:
        raise UsageError('--max-fail %s is a part of the hosts, %s: say how '
                         'many may fail' % (options.max_fail, (
                             'which are not known yet with -'
                             if hosts.may_grow else
                             'which are too many to be counted')))
    # Of a journal's hosts few may be left.
    if (options.first and not options.resume and count is not None
            and options.first > count):
        raise UsageError('--first %d: there %s only %s' % (
            options.first, 'is' if count == 1 else 'are', _number(count)))


def _jump_host(options, kept, stops):
    """Return the JumpHost that *options* name, or None; *kept* is what holds
    its connection, or None."""
    if options.jump is None:
        return None
    if not options.jump.strip(' ,'):
        raise UsageError('-J needs the name of a jump host')
    for option in options.ssh_option:
        if re.match(r'\s*proxy(jump|command)\b', option, re.IGNORECASE):
            raise UsageError('-J goes without -O %s: both say how to reach '
                             'the hosts' % option)
    settings = (options.ssh, options.ssh_option, options.connect_timeout,
                stops.check)
    return (JumpHost(options.jump, *settings, shared=options.shell)
            if kept is None
            else KeptJumpHost(options.jump, kept, *settings))


def _check_sharing(options):
    """Raise UsageError if an option for ssh says how connections are
    shared."""
    for word in options.ssh[1:] + options.ssh_option:
        found = re.match(r'(?i)(?:-o)?\s*(control(?:master|path|persist))\b|'
                         r'(-[MS])', word)
        if found:
            raise UsageError('--share goes without %s: both say how '
                             'connections are shared' % (
                                 found.group(1) or found.group(2)))


def _kept_connections(options, warn):
    """Return the KeptConnections of --share, or None."""
    if options.share is None:
        return None
    _check_sharing(options)
    try:
        return KeptConnections(options.share, options.ssh, options.ssh_option,
                               options.user, options.jump)
    except ShareError as error:
        warn('connections are not kept: %s' % error)
        return None


def _unshare(options, operands, out, err, stops):
    """End the connections that are kept to the hosts in *operands*, if none
    all of them; return the exit status."""
    if (options.exclude or options.only) and not operands:
        raise UsageError('-x and --only need hosts')
    kept = KeptConnections(ssh=_ssh_words(options))
    hosts = None
    if operands:
        hosts = listed(_host_queue(options, operands, HostGroups(
            None, err.warn, stops.noting), None), '--unshare')
    with stops:
        ended, dead, deaf = kept.end(hosts, stops.check)
    parts = ['%d ended' % ended]
    if dead:
        parts.append('%d had ended before' % dead)
    if deaf:
        parts.append('%d did not answer, not used again' % deaf)
    if not options.quiet:
        out.write('connections: %s\n' % ', '.join(parts))
    return int(bool(deaf))


def _warn_of_files(words, warn):
    """Warn of each host in *words* that has the name of a file."""
    for word in words:
        for name in re.split(r',\s*', word):
            if _is_plain_name(name) and os.path.isfile(name):
                warn('%s is taken for a host; the file is ./%s'
                     % (name, name))


def _print_host(host, out):
    # Byte for byte as it came, but escaped on a terminal.
    out.write(out.escape(os.fsencode(host).decode(
        'utf-8', 'surrogateescape')) + '\n', flush=False)


def _print_hosts(hosts, folding, out):
    """Print the HostQueue *hosts*, and those of its feed as they arrive; if
    *folding*, as one pattern at their end."""
    found = set()
    ready = select.poll()
    ready.register(0, select.POLLIN)
    while not out.error:
        host = hosts.take()
        if host is None:
            out.write('')           # what it holds back
            if hosts.exhausted:
                if not hosts.may_grow:
                    break
                ready.poll()
                hosts.add(hosts.feed.take(0))
        elif not folding:
            _print_host(host, out)
        elif len(found) == FOLDED_LIMIT:
            raise UsageError('--fold of more than %d hosts' % FOLDED_LIMIT)
        else:
            found.add(host)
    if found:
        _print_host(fold(found), out)
        out.write('')


def _group_names(groups):
    """Return the names of the *groups*, as HOST has them."""
    try:
        names = groups.names()
    except OSError as error:
        raise UsageError(_error_text(error)) from None
    if not names:
        raise UsageError('no groups in %s; each file there is a group'
                         % ' or '.join(groups.directories))
    return ['@' + name for name in names]


def _shape(host):
    return re.sub('[0-9]+', '', host)


def _quoting_question(argv):
    """Return '; is COMMAND quoted?' and how it would be, for a message; ''
    if COMMAND is quoted, or *argv* is at fault before it."""
    place = _command_place(argv)
    behind = argv[place + 1:]
    if not behind or re.search(r'\s', argv[place]) or (
            {'--list', '--shell', '--unshare', '--'} & set(argv)
            or '-h' in argv[:place]):
        return ''
    try:
        _parse_arguments(argv[:place])
    except UsageError:
        return ''
    # As in classh uptime web1 -x ./none, where the host stands before it.
    if re.match(r'(?s)[^-].* (-x ?|--(exclude|only)[ =]?)\S*\Z',
                ' '.join(behind)):
        return ''
    if behind[-1].startswith('-'):
        return '; is COMMAND quoted?'
    if len(behind) == 1:
        return ''                   # that is the host
    first = len(argv) - 1           # of the hosts, where they are web1 web2
    shape = _shape(argv[-1])
    while shape and first > place + 2 and shape == _shape(argv[first - 1]):
        first -= 1
    return '; is COMMAND quoted?  classh ' + _quoted([
        *argv[:place], ' '.join(argv[place:first]), *argv[first:]])


def _begins_command(word):
    """Return whether *word* is a program here, perhaps with arguments."""
    return find_program((word.split() or [''])[0]) is not None


def _first_host(pattern):
    """Return the first host of *pattern*; '' if there is none."""
    try:
        return next(expand(pattern), '')
    except PatternError:
        return ''


def _is_no_command(word):
    """Return whether *word* is one word, and no command here; False where
    there is no room to ask a shell."""
    with contextlib.suppress(OSError):
        return bool(re.fullmatch(r'\S+', word)
                    and not find_program(word) and (
                        '[' in word or not _is_shell_word(word)
                        or re.search('[@:,]', word) and _first_host(word)))
    return False


def _known_hosts(watching, *hashed):
    """Return the names of hosts that ssh_config and known_hosts have here, a
    set, and those of *hashed* that known_hosts has as a hash; *watching* is
    as with HostGroups."""
    known = set()
    with contextlib.suppress(OSError), watching() as check:
        _, names, _ = _run_program(['/bin/sh', '-c', _KNOWN_NAMES, 'classh',
                                    ''], GROUP_TIMEOUT, GROUP_OUTPUT, check)
        known.update(os.fsdecode(bytes(names)).split())
        for name in hashed:
            status, _, _ = _run_program(
                ['ssh-keygen', '-f', os.path.expanduser('~/.ssh/known_hosts'),
                 '-F', name], GROUP_TIMEOUT, GROUP_OUTPUT, check)
            known.update([name] * (status == 0))
    return known


def _as_host(word, known):
    """Return *word* as it is typed for a HOST, if that is a file or its first
    host is in the set *known*; else None."""
    if os.path.isfile(word):
        return word if '/' in word else os.path.join('.', word)
    return word if host_parts(_first_host(word))[1] in known else None


def _check_order(command, words, argv, watching):
    """Raise UsageError if *command* is rather the first of the hosts, or the
    value of the option before it, and the HOST *words* have a command."""
    if not _is_no_command(command):
        return
    # Where COMMAND was typed behind the hosts, these are few.
    first = next(filter(_begins_command, words[:20]), None)
    if first is None:
        return
    place, behind = _command_place(argv), words.index(first)
    before = ['', *argv][place]
    known = _known_hosts(watching, host_parts(_first_host(command))[1], first)
    host = _as_host(command, known)
    problem = '%s is no program here, and %s is one; ' % (
        command, first.split()[0])
    if (host is None and behind == 0 and before in _OPTIONAL_VALUES
            and _as_host(first, known) is None):
        raise UsageError('%sa value of %s is written %s=%s' % (
            problem, before, before, command))
    if (first not in known if host else
            behind in (0, len(words) - 1) and re.search(r'\s', first)):
        hosts = [host or command, *words[:behind],
                 *(word for word in words[behind:] if word in known)]
        rest = [word for word in words[behind:] if word not in known]
        raise UsageError('%sCOMMAND stands first: classh %s' % (
            problem, _quoted([*argv[:place], ' '.join(rest), *hosts, *(
                word for word in argv[place + 1:]
                if word not in words and word != '--')])))


def _check_alone(command, argv):
    """Raise UsageError if *command*, behind which there is no HOST, is none
    here: it may be one, and COMMAND the value of an option before it."""
    if not _is_no_command(command):
        return
    problem = 'no hosts are named: %s is taken for COMMAND' % command
    for option, value in zip(argv, argv[1:]):
        if _wants_value(option) and _begins_command(value):
            action = _make_parser(False)._option_string_actions[
                option if option.startswith('--') else '-' + option[-1]]
            raise UsageError('%s, and %s for the value of %s; type %s' % (
                problem, value, option, ' '.join([
                    'classh', option, action.metavar, _quoted([value,
                                                               command])])))
    raise UsageError(problem + '; type classh COMMAND HOST...')


# Programs that do nothing useful without more words.
_NEEDS_WORDS = frozenset(
    'awk bash cat chgrp chmod chown cp diff file grep head install less ln '
    'md5sum mkdir mv perl pkill python3 rm rmdir rsync scp sed sh sha256sum '
    'sort stat sudo tail tee touch wc xargs zcat zgrep'.split())


def _check_unquoted(command, words, options, argv):
    """Raise UsageError if the first of the HOST *words*, or an option before
    them, is rather a word of *command*, though all would be as if it were
    not."""
    if (command in _NEEDS_WORDS and not options.send_input
            and any(os.path.isfile(word) or find_program(word)
                    for word in [*words, options.user or ''])):
        raise UsageError('%s alone does nothing%s' % (
            command, _quoting_question(argv)
            or '; type classh %s HOST...' % _quoted([' '.join(
                [command, *words])])))
    behind = argv[_command_place(argv) + 1:]
    if (words and options.user and behind[0].startswith('-l')
            and not re.search(r'\s', command) and (
                command == 'ls' or re.search('[0-9]', options.user)
                and _shape(options.user) == _shape(words[0]))):
        raise UsageError('-l is the remote user, %s (for that, type it before '
                         'COMMAND)%s' % (options.user,
                                         _quoting_question(argv)))


def _check_words(command, words, options, argv, watching=_without_check):
    """Raise UsageError if *command* and the HOST *words* are not what they
    seem to be."""
    option = _without_command(options)
    if option:
        if (words and re.search(r'\s', words[0])
                and _begins_command(words[0])):
            raise UsageError('%s goes without COMMAND, %s' % (
                option, shlex.quote(words[0])))
    elif words:
        _check_order(command, words, argv, watching)
        _check_unquoted(command, words, options, argv)
    else:
        _check_alone(command, argv)


def _warn_if_swapped(command, words, warn, watching=_without_check):
    """Warn if the first host in *words* is a program here, and not known as a
    host, and *command* is none, as in classh web1 uptime."""
    if (words and _is_plain_name(words[0]) and find_program(words[0])
            and _is_no_command(command)
            and words[0] not in _known_hosts(watching, words[0])):
        warn('%s is taken for a host, but is a program; COMMAND stands first: '
             'classh %s %s' % (words[0], words[0], shlex.quote(command)))


def _warn_of_words(command, words, options, warn, watching=_without_check):
    """Warn of HOST *words*, and of those of -x and --only, that may be no
    hosts."""
    option = _without_command(options)
    named = words + options.exclude + options.only
    _warn_of_files(named, warn)
    if not option:
        _warn_if_swapped(command, words, warn, watching)
        if '' in words + options.only:
            warn('an empty word names no host; is a variable unset?')
    elif (words and _is_plain_name(words[0]) and find_program(words[0])
          and words[0] not in _known_hosts(watching, words[0])):
        warn('%s is taken for a host, but is a program; %s goes without '
             'COMMAND' % (words[0], option))


@contextlib.contextmanager
def _asking_for_quotes(argv):
    """Add the question whether COMMAND is quoted to what is raised."""
    try:
        yield
    except (UsageError, PatternError, HostFileError, GroupError) as error:
        question = _quoting_question(argv)
        text, _, hint = str(error).partition(': ')
        if question and hint and text.startswith('unknown option'):
            # That it is one of another tool is less likely.
            raise UsageError('%s%s  (or: %s)' % (text, question,
                                                 hint)) from None
        raise UsageError('%s%s' % (error, question)) from None


def _check_shown(options, argv):
    """Raise UsageError if -h or -V is most likely one of COMMAND's, as in
    classh df -h web1."""
    if not options.show:
        return
    place = _command_place(argv)
    for option, word in zip(argv[:place], argv[1:]):
        if option == '-h' and os.path.isfile(word):
            raise UsageError('-h is for help; a file of hosts stands behind '
                             'COMMAND: ' + os.path.join('.', word))
    for word in '-h', '-V':
        if word in argv[place + 1:-1]:      # at the end it is ours
            raise UsageError('%s stands behind COMMAND' % word)


def _enter_all(options, hooks, gate, kept, stack):
    """Enter the *hooks* with *stack*, and add to them what ends commands on
    the host, the jump host *gate* and the connections that they share: those
    *kept*, or those of a shell.  Return these, or None."""
    for hook in hooks:
        stack.enter_context(hook)
    if gate is not None:
        # Its ssh has descriptors of each job, too.
        raise_descriptor_limit(options.fanout)
        hooks.append(stack.enter_context(gate))
    if options.end_remote and not options.relay:
        # First, so that it is inside sudo.
        hooks.insert(0, EndRemote(None if options.sudo is None else 'sh'))
    if options.shell and not kept:
        kept = stack.enter_context(SharedConnections(options.ssh))
    if kept:
        hooks.append(kept)
    return kept


def _carry_out(options, operands, argv, outlets, stops):
    """Do what *options* and *operands* say; return the exit status."""
    _check_needs(options)
    out, journal = outlets.out, outlets.journal
    command = ''
    if not (options.list or options.shell):
        command = operands.pop(0) if operands else ''
        _check_command(command, options, argv)
    groups = HostGroups(None, outlets.warn, stops.noting)
    if options.list and operands == ['@']:
        for name in _group_names(groups):
            _print_host(name, out)
        out.write('')
        return 0
    if not options.resume:          # most of them were not typed
        with contextlib.suppress(ValueError):   # a NUL: that is no host
            _check_words(command, operands, options, argv, stops.noting)
    with _asking_for_quotes(argv):
        _check_stdin(options, '-' in operands)
        hosts = _host_queue(options, operands, groups, journal)
    if '-' in operands:
        hosts.feed = StdinHosts(pattern_reader(not options.noexpand),
                                outlets.complain)
    if not options.resume:
        _warn_of_words(command, operands, options, outlets.warn,
                       stops.noting)
    if options.list:
        _print_hosts(hosts, options.fold, out)
        _tell_idle_names(hosts, outlets.warn)
        return outlets.status(stops)
    options.ssh = _ssh_words(options)
    if journal and hosts.exhausted and not hosts.may_grow:
        outlets.err.print_line(*journal.nothing_left())
        return outlets.status(stops)
    _check_pace(options, hosts)
    selection = listed(hosts, '--shell') if options.shell else []
    kept = _kept_connections(options, outlets.warn)
    gate = _jump_host(options, kept, stops)
    asking = StopRequests()
    _confirm(options, hosts, command, asking)
    hooks = password_hooks(options, hosts, asking)
    with stops, contextlib.ExitStack() as stack:
        connections = _enter_all(options, hooks, gate, kept, stack)
        if not options.shell:
            return Run(options, hosts, command, outlets, stops, hooks).run()
        shell = Shell(options, selection, out, outlets.err, hooks, stops,
                      connections)
        _tell_idle_names(hosts, outlets.warn)
        return shell.run()


def _main(argv, relay, out, err, stops):
    _check_typography(argv)
    with _asking_for_quotes(argv):
        options, operands = _parse_arguments(argv)
        options.relay = relay
        _check_shown(options, argv)
        if not options.show:
            _check_conflicts(options, operands)
            _check_files(options)
    if options.show:
        out.write(out.fold(options.show) if options.help else options.show)
        return 0
    if options.unshare:
        return _unshare(options, operands, out, err, stops)
    with contextlib.ExitStack() as stack:
        options, operands, journal = _open_journal(options, operands, argv,
                                                   stack)
        for console in out, err:
            console.use_color(options.color)
        if relay:
            relay.options = _words_of(options, _RELAYED.__contains__)
        outlets = Outlets(options, out, err, stack, journal)
        return _carry_out(options, operands, argv, outlets, stops)


def main(argv=None, relay=None):
    """Run classh on *argv* (None: sys.argv[1:]); return its exit status.

    With a *relay*, a Relay, others run COMMAND; hosts, views, targets, careful
    runs and journals are as without.
    """
    if argv is None and hasattr(gc, 'freeze'):      # not in Python 3.6
        # What there is by now lives to the end: to look for garbage in it
        # takes a tenth of a short run.
        gc.freeze()
    try:
        _ensure_standard_descriptors()
    except OSError as error:        # no /dev/null
        Console(sys.stderr).warn(_error_text(error))
        return 1
    stops = StopRequests()
    out, err = Console(sys.stdout, stops), Console(sys.stderr, stops)
    try:
        err.share_terminal(out)
        with exit_on_signals(program=argv is None):
            status = _main(sys.argv[1:] if argv is None else list(argv),
                           relay, out, err, stops)
    except (ClasshError, OSError, MemoryError) as error:
        err.warn(_error_text(error))
        return 2 if isinstance(error, ClasshError) else 1
    except KeyboardInterrupt:       # of a program that calls main()
        return 128 + signal.SIGINT
    except SignalExit as leaving:
        return 128 + leaving.args[0]
    if out.error and not out.reader_left:
        err.warn('stdout: %s' % out.error.strerror)
    return status or exit_status(stops, out)


if __name__ == '__main__':
    sys.exit(main())
