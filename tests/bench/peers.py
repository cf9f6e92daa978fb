"""Measure classh beside other tools, and see what its own share costs.

    python3 tests/bench/peers.py                    all parts, half an hour
    python3 tests/bench/peers.py peers start        these parts
    python3 tests/bench/peers.py --hosts 1000 --rounds 1 peers

The parts:

    peers    classh and other tools, with a stub in place of ssh
    sshd     the same with ssh and a private sshd on this machine
    hosts    what a host costs when there are more of them
    fanout   ... when more of them run at once
    start    one host, and none
    memory   what it takes
    pythons  each CPython that is found
    ssh      what ssh's own settings do to the cost of a host
    gate     hosts behind a jump host that drops logins
    share    a run with --share, and the next ones
    journal  what --journal costs, and how long it takes to be read
    log      what ssh's log costs, which tells why a host failed
    views    what each way to show results costs

The stub is a static C program that prints the host's name, so that what is
measured is what a tool adds.  Two floors stand beside the tools: a C program
and a bare Python loop that do nothing but start, read and wait.  A command
is measured with all that it starts; the commands of a part take turns, and
each figure is the median of the rounds.  What is missing is installed.

What it showed on Debian 12, two cores, Python 3.11, OpenSSH 9.2, 23 November
2026 (10,000 hosts, fanout 100, three rounds; classh being 1):

                     time     CPU      MB
  C floor             0.6     0.8       1
  bare Popen loop     0.9     1.0      15
  xargs -P            0.9     0.9       2       captures nothing
  classh              1.0     1.0      23
  clush               4.6     5.7      36
  pssh                5.1     3.9      22
  GNU parallel        5.6     6.2      19
  pdsh                7.7     9.4      12

- sshd: with ssh and a private sshd, 300 hosts, all take the same time, within
  a tenth: the work is ssh's.
- hosts, fanout: a host costs the same in 1,000 and in 100,000 (fanout 500);
  a fanout of 1,000 costs a fifth more CPU than one of 100.
- pythons: 2,000 hosts, classh beside a bare loop under the same Python:

  Python     3.6   3.7   3.8   3.9  3.10  3.11  3.12  3.13
  classh     0.6   0.7   0.4   0.3   0.6   1.0   1.1   1.0

- ssh: with sntrup761, the default of its time, a connection took 118 ms of
  the client's CPU and 37 of the server's; with curve25519-sha256 18 and 27.
- gate: behind a jump host with default MaxStartups none of 300 hosts was
  refused with -f 10, 22 % with -f 20, 28 % with -f 100: before classh tried
  again what was dropped, and had -J.

On 26 November, with ssh's log, 1,000 hosts and one round on a busy machine,
the CPU was that of the bare loop times 1.2, of which a start has the most;
that of pssh 2.4, clush and pdsh 4.5, GNU parallel 7.2 times that of classh.
A start took 0.13 s of CPU more than Python's own as one file, which Python
compiles each time, and 40 MB; 0.05 s and 14 MB as an installed module, which
took 20 MB with 50,000 hosts.
"""

import argparse
import collections
import functools
import glob
import os
import platform
import py_compile
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import lib

FANOUT = 100
LIMIT = 1800.0          # seconds for one command
START_RUNS = 7          # a round, of what takes milliseconds

# -- Programs in C ------------------------------------------------------------

# In place of ssh: "ssh [options] HOST [options] COMMAND", as ssh takes them.
# COMMAND may be 'wait MILLISECONDS' or 'fill BYTES'.  With LOGS it writes a
# log as long as that of ssh, to -E FILE or to nobody.
STUB = r'''
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(int log, const char *line)
{
    if (write(log, line, strlen(line)) < 0)
        _exit(255);
}

static void write_log(const char *name)
{
    int log = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600), i;
    for (i = 0; i < 45; i++)
        say(log, "debug1: identity file /root/.ssh/id_ed25519_sk type -1, "
            "or so\r\n");
    say(log, "Authenticated to host ([127.0.0.1]:22) using \"none\".\r\n");
    say(log, "debug1: Sending command: true\r\n");
    say(log, "Transferred: sent 2640, received 2760 bytes\r\n");
    say(log, "debug1: Exit status 0\r\n");
}

int main(int argc, char **argv)
{
    const char *log = "/dev/null";
    char text[4096];
    long number = 0, size;
    int option;
    while ((option = getopt(argc, argv, "+1246AaCfGgKkMNnqsTtVvXxYyB:b:c:D:E:"
                            "e:F:I:i:J:L:l:m:O:o:P:p:Q:R:S:W:w:")) != -1) {
        if (LOGS && option == 'G')
            return puts("loglevel INFO") < 0;
        if (option == 'E')
            log = optarg;
    }
    if (optind >= argc)
        return 255;
    if (LOGS)
        write_log(log);
    size = snprintf(text, sizeof text, "%s\n", argv[optind]);
    if (sscanf(argv[argc - 1], "wait %ld", &number) == 1)
        usleep(number * 1000);
    if (write(1, text, size) != size)
        return 1;
    if (sscanf(argv[argc - 1], "fill %ld", &number) == 1) {
        memset(text, 'x', sizeof text);
        for (size = 63; size < (long)sizeof text; size += 64)
            text[size] = '\n';
        for (; number > 0; number -= size) {
            size = number < (long)sizeof text ? number : sizeof text;
            if (write(1, text, size) != size)
                return 1;
        }
    }
    return 0;
}
'''

# The least that must be done: "floor FANOUT COMMAND <hosts" captures what
# each ssh says, and prints it with the host's name and status.
FLOOR = r'''
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

struct job;
struct stream { struct job *job; int fd; size_t size; char *said; };
struct job { pid_t pid; int open; char host[256]; struct stream streams[2]; };

static char block[1 << 16];
static int epoll;

static int start(struct job *job, char *command)
{
    char *argv[] = { "ssh", "--", job->host, command, NULL };
    int ends[2][2], i;
    if (scanf("%255s", job->host) != 1)
        return 0;
    for (i = 0; i < 2; i++) {
        struct stream *stream = &job->streams[i];
        struct epoll_event event = { EPOLLIN, { stream } };
        if (pipe2(ends[i], O_CLOEXEC))
            exit(1);
        stream->job = job;
        stream->fd = ends[i][0];
        stream->size = 0;
        epoll_ctl(epoll, EPOLL_CTL_ADD, stream->fd, &event);
    }
    job->open = 2;
    job->pid = vfork();
    if (!job->pid) {
        setsid();
        dup2(ends[0][1], 1);
        dup2(ends[1][1], 2);
        execvp(argv[0], argv);
        _exit(255);
    }
    close(ends[0][1]);
    close(ends[1][1]);
    return 1;
}

static void finish(struct job *job)
{
    int i, status;
    waitpid(job->pid, &status, 0);
    printf("%s %d\n", job->host, WEXITSTATUS(status));
    for (i = 0; i < 2; i++)
        fwrite(job->streams[i].said, 1, job->streams[i].size, stdout);
}

int main(int argc, char **argv)
{
    int fanout = atoi(argv[1]), running = 0, ready, i;
    struct job *jobs = calloc(fanout, sizeof *jobs);
    struct epoll_event events[64];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    while (running < fanout && start(&jobs[running], argv[2]))
        running++;
    while (running) {
        ready = epoll_wait(epoll, events, 64, -1);
        for (i = 0; i < ready; i++) {
            struct stream *stream = events[i].data.ptr;
            ssize_t count = read(stream->fd, block, sizeof block);
            if (count > 0) {
                stream->said = realloc(stream->said, stream->size + count);
                memcpy(stream->said + stream->size, block, count);
                stream->size += count;
                continue;
            }
            /* a child that has yet to exec may hold it open: closing it
               would not do */
            epoll_ctl(epoll, EPOLL_CTL_DEL, stream->fd, NULL);
            close(stream->fd);
            if (--stream->job->open)
                continue;
            finish(stream->job);
            running += start(stream->job, argv[2]) - 1;
        }
    }
    return 0;
}
'''

# Runs a command and writes what it took to a file: seconds, seconds of CPU,
# KiB of its largest process; all with what it started and waited for.  In C,
# since the memory of a child counts from that of its parent.
MEASURE = r'''
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval time)
{
    return time.tv_sec + time.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    struct timespec begin, end;
    struct rusage used;
    int status;
    FILE *file;
    pid_t pid;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (!(pid = vfork())) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    wait4(pid, &status, 0, &used);
    clock_gettime(CLOCK_MONOTONIC, &end);
    file = fopen(argv[1], "w");
    fprintf(file, "%f %f %ld\n",
            end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9,
            seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_maxrss);
    fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
'''

# The same in Python, with the same arguments.
BARE = r'''
import os, selectors, subprocess, sys

def start():
    host = sys.stdin.readline().strip()
    if not host:
        return 0
    process = subprocess.Popen(
        ['ssh', '--', host, sys.argv[2]], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        start_new_session=True)
    said = {process.stdout: [], process.stderr: []}
    for pipe in said:
        selector.register(pipe, selectors.EVENT_READ, (host, process, said))
    return 1

def finish(host, process, said):
    head = '%s %d\n' % (host, process.wait())
    sys.stdout.write(head + b''.join(sum(said.values(), [])).decode())

selector = selectors.DefaultSelector()
running = sum(start() for slot in range(int(sys.argv[1])))
while running:
    for key, events in selector.select():
        host, process, said = key.data
        chunk = os.read(key.fd, 1 << 16)
        if chunk:
            said[key.fileobj].append(chunk)
            continue
        selector.unregister(key.fileobj)
        key.fileobj.close()
        if process.stdout.closed and process.stderr.closed:
            finish(host, process, said)
            running += start() - 1
'''


# -- Measuring ----------------------------------------------------------------

Sample = collections.namedtuple('Sample', 'wall cpu peak')  # s, s, MB
Gated = collections.namedtuple('Gated', 'wall cpu good')    # s, s, hosts


class Bench:
    """Runs commands and measures them.

    count    hosts; what sizes there are follow from it
    rounds   how often each command takes its turn
    install  whether to install what is missing; if not, do without it
    """

    def __init__(self, count, rounds, install):
        self.count = count
        self.rounds = rounds
        self.missing = set()
        self.as_is = not install
        self._directory = tempfile.mkdtemp()
        if not self.find('cc'):
            raise SystemExit('no C compiler: nothing can be measured')
        os.mkdir(self.path('stub'))
        os.mkdir(self.path('logging'))
        os.mkdir(self.path('real'))
        self._compile('stub/ssh', STUB, '-DLOGS=0')
        self._compile('logging/ssh', STUB, '-DLOGS=1')
        self._compile('floor', FLOOR)
        self._compile('measure', MEASURE)

    def path(self, name):
        return os.path.join(self._directory, name)

    def write(self, name, content, mode=0o644):
        """Make the file *name*; return its path."""
        with open(self.path(name), 'w') as file:
            file.write(content)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def _compile(self, name, source, *options):
        argv = ['cc', '-O2', *options, '-o', self.path(name),
                self.write('source.c', source)]
        # Some systems have no static C library.
        if lib.run(argv + ['-static']).status:
            lib.run(argv).check(stderr=None)

    def find(self, *names):
        """Return which of these commands there is; None if there is none.

        If need be, the first is installed.
        """
        if (not self.as_is and names[0] not in self.missing
                and not any(map(shutil.which, names))):
            note('installing %s' % names[0])
            lib.run(['sh', os.path.join(lib.TESTS, 'install'),
                         names[0]], timeout=lib.INSTALL_LIMIT)
        for name in names:
            if shutil.which(name):
                return name
        self.missing.add(names[0])
        return None

    def server(self):
        """Return a private sshd, which the ssh in 'real' knows; or None."""
        try:
            # Of these, only the second installs it.
            server = lib.sshd() if self.as_is else _server()
        except unittest.SkipTest:
            self.missing.add('sshd')
            return None
        self.configure_ssh(server.config)
        return server

    def configure_ssh(self, config):
        """Have the ssh in 'real' read *config*."""
        # By its full path: this one is found before it.
        self.write('real/ssh', '#!/bin/sh\nexec %s -F %s "$@"\n' % (
            shutil.which('ssh'), shlex.quote(config)), 0o755)

    def hosts(self, names):
        """Return the path of a file of these hosts."""
        return self.write('hosts.%d' % len(names), '\n'.join(names) + '\n')

    def stub_hosts(self, count):
        return self.hosts(['h%d' % number for number in range(1, count + 1)])

    def measure(self, argv, hosts=os.devnull, ssh='stub', said=None,
                status=0):
        """Run *argv* and return a Sample.

        *hosts* is a file, its stdin.  *ssh* is the directory of the ssh to
        be found first.  Where *said* is a list, the last words of all lines
        must hold it.  A *status* of None stands for any.
        """
        env = dict(os.environ,
                   PATH=self.path(ssh) + ':' + os.environ['PATH'])
        with open(hosts, 'rb') as given, \
                open(self.path('out'), 'wb+') as out, \
                open(self.path('err'), 'wb+') as err:
            ended = subprocess.call(
                [self.path('measure'), self.path('used')] + argv, stdin=given,
                stdout=out, stderr=err, env=env, timeout=LIMIT)
            out.seek(0)
            words = collections.Counter(line.split()[-1].decode()
                                        for line in out if line.strip())
            err.seek(0)
            trouble = lib.text(err.read(2000))
        if (status is not None and ended != status
                or collections.Counter(said or ()) - words):
            raise SystemExit('exit status %d, or some hosts are not there: '
                             '%s\n%s' % (ended, ' '.join(argv), trouble))
        with open(self.path('used')) as file:
            wall, cpu, peak = file.read().split()
        return Sample(float(wall), float(cpu), int(peak) / 1024)

    def take_turns(self, cases, runs=1):
        """Call each of *cases*, {name: function}, *runs* times a round.

        Return {name: list of what it returned}.
        """
        found = {name: [] for name in cases}
        order = list(cases)
        turns = self.rounds * min(runs, self.count)
        for turn in range(1, turns + 1):
            for name in order:
                note('%d/%d %s' % (turn, turns, name))
                found[name].append(cases[name]())
            order.append(order.pop(0))      # so that none is always first
        note('')
        return found

    def measure_all(self, cases, hosts=os.devnull, runs=1, **options):
        """take_turns() with measure(); *cases* is {name: argv}."""
        return self.take_turns({
            name: lambda argv=argv: self.measure(argv, hosts, **options)
            for name, argv in cases.items()}, runs)


@functools.lru_cache(maxsize=None)
def _server():
    return lib.Sshd()


@functools.lru_cache(maxsize=None)
def _gate():
    return lib.Gate()


def note(text):
    """Say on a terminal what is being done."""
    if os.isatty(2):
        sys.stderr.write('\r\x1b[K' + text[:70])
        sys.stderr.flush()


def median(samples, field):
    return statistics.median(getattr(sample, field) for sample in samples)


def ratio(samples, others, field='wall'):
    """The median of how *samples* compare to the *others* of their round."""
    return statistics.median(
        getattr(sample, field) / (getattr(other, field) or 1e-6)
        for sample, other in zip(samples, others))


def show(title, head, rows):
    """Print a table; a row is a name and numbers, or str ready to be shown."""
    rows = [[value if isinstance(value, str) else '%.*f' % (
        0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2, value)
             for value in row] for row in [['', *head], *rows]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    print('\n%s\n' % title)
    for row in rows:
        print('  ' + row[0].ljust(widths[0]) + ''.join(
            value.rjust(max(6, width) + 2)
            for value, width in zip(row[1:], widths[1:])))
    sys.stdout.flush()


def show_ratios(title, found, base):
    """Show the samples *found*, and how they compare to those of *base*."""
    show(title, ['wall s', 'ratio', 'CPU s', 'ratio', 'MB'],
         [(name, median(samples, 'wall'), ratio(samples, found[base]),
           median(samples, 'cpu'), ratio(samples, found[base], 'cpu'),
           median(samples, 'peak')) for name, samples in found.items()])


def classh(*args, python=sys.executable):
    return [python, lib.CLASSH] + [str(arg) for arg in args]


# -- The parts ----------------------------------------------------------------

def contenders(bench, path, command):
    """Return {name: argv} of what runs *command* on the file of hosts."""
    fanout = str(FANOUT)
    cases = {
        'C floor': [bench.path('floor'), fanout, command],
        'bare Popen loop': [sys.executable, '-c', BARE, fanout, command],
        'xargs -P': ['xargs', '-P', fanout, '-I{}', 'ssh', '--', '{}',
                     command],
        'classh': classh('-f', fanout, command, path)}
    # Debian has renamed pssh.
    pssh = bench.find('parallel-ssh', 'pssh')
    if pssh:
        cases['pssh'] = [pssh, '-p', fanout, '-i', '-h', path, command]
    if bench.find('clush'):
        cases['clush'] = ['clush', '-f', fanout, '--hostfile', path, command]
    # moreutils has another command of this name.
    if bench.find('parallel') and version('parallel', 'GNU parallel '):
        cases['GNU parallel'] = ['parallel', '--will-cite', '-j', fanout,
                                 '-a', path, 'ssh', '--', '{}', command]
    if bench.find('pdsh'):
        cases['pdsh'] = ['pdsh', '-R', 'ssh', '-f', fanout, '-w', '^' + path,
                         command]
    return cases


def compare(bench, title, path, command, **options):
    """Measure all contenders, show the table; return {name: samples}."""
    found = bench.measure_all(contenders(bench, path, command), path,
                              **options)
    show(title, ['wall s', 'CPU s', 'MB', '/ xargs', '/ classh'],
         [(name, median(samples, 'wall'), median(samples, 'cpu'),
           median(samples, 'peak'), ratio(samples, found['xargs -P']),
           ratio(samples, found['classh']))
          for name, samples in found.items()])
    return found


def measure_peers(bench):
    path = bench.stub_hosts(bench.count)
    with open(path) as file:
        names = file.read().split()
    return compare(bench, '%d hosts, a stub for ssh, fanout %d'
                   % (bench.count, FANOUT), path, 'true', said=names)


def measure_sshd(bench):
    server = bench.server()
    if server is None:
        return None
    count = max(2, bench.count * 3 // 100)
    return compare(bench, '%d hosts, ssh and sshd on one machine, fanout %d'
                   % (count, FANOUT), bench.hosts(server.hosts(count)),
                   'echo here', ssh='real', said=['here'] * count)


def measure_hosts(bench):
    sizes = [max(1, bench.count // 10), bench.count, bench.count * 10]
    variants = {'report': [], '--progress': ['--progress'],
                '-S FILE': ['-q', '-S', bench.path('names')],
                '--pickle FILE': ['-q', '--pickle', bench.path('pickle')]}
    cases = {'start': classh('true', 'h1')}
    for name, words in variants.items():
        for size in sizes:
            cases['%s %d' % (name, size)] = classh(
                '-f500', 'true', bench.stub_hosts(size), *words)
    found = bench.measure_all(cases)
    rows = []
    for name in variants:
        for field in 'wall', 'cpu':
            each = [(median(found['%s %d' % (name, size)], field)
                     - median(found['start'], field)) / size * 1e6
                    for size in sizes]
            rows.append(('%s, %s' % (name, field), *each, each[2] / each[0]))
    show('microseconds a host, beyond the start; fanout 500',
         ['%d hosts' % size for size in sizes] + ['growth'], rows)


def measure_fanout(bench):
    sizes = 10, 100, 500, 1000
    path = bench.stub_hosts(bench.count)
    # Each job takes so long that all slots are full all the time.
    found = bench.measure_all({
        size: classh('-f', size, 'wait %d' % (size // 2), path)
        for size in sizes})
    show('%d hosts, jobs of FANOUT / 2 milliseconds' % bench.count,
         ['wall s', 'CPU s', 'MB', 'CPU us/host', '/ 100'],
         [('fanout %d' % size, median(samples, 'wall'),
           median(samples, 'cpu'), median(samples, 'peak'),
           median(samples, 'cpu') / bench.count * 1e6,
           ratio(samples, found[100], 'cpu'))
          for size, samples in found.items()])


def measure_start(bench):
    path = bench.stub_hosts(1)
    cases = {'ssh alone': ['ssh', '--', 'h1', 'true'],
             'python3 -c pass': [sys.executable, '-c', 'pass'],
             'classh --version': classh('--version'),
             # As pip installs it: the module is compiled once.
             'classh --version, by pip': [
                 sys.executable, '-c', 'import sys; sys.path.insert(0, %r);'
                 'import classh; classh.main(["--version"])'
                 % compiled(bench)]}
    for name, argv in contenders(bench, path, 'true').items():
        cases[name + ', one host'] = argv
    found = bench.measure_all(cases, path, START_RUNS)
    show('start-up', ['wall ms', 'CPU ms', 'MB', '- python'],
         [(name, median(samples, 'wall') * 1e3, median(samples, 'cpu') * 1e3,
           median(samples, 'peak'), '%.0f' % (1e3 * (
               median(samples, 'wall')
               - median(found['python3 -c pass'], 'wall'))))
          for name, samples in found.items()])


def compiled(bench):
    """Return a directory with classh.py and its bytecode."""
    path = shutil.copy(lib.CLASSH, bench.path('classh.py'))
    py_compile.compile(path, doraise=True)
    return os.path.dirname(path)


def measure_memory(bench):
    few, many = max(1, bench.count // 10), bench.count * 10
    cases = {
        '%d hosts' % few: classh('-f500', 'true', bench.stub_hosts(few)),
        '%d hosts' % many: classh('-f500', 'true', bench.stub_hosts(many)),
        '%d results of 1 MB' % few: piped('wc -c', classh(
            'fill 1000000', bench.stub_hosts(few))),
        '--list of 100 million | head -1': piped('head -1', classh(
            '--list', 'n[0-99999999]'))}
    found = bench.measure_all(cases)
    show('memory of the largest process', ['MB', 'wall s'],
         [(name, median(samples, 'peak'), median(samples, 'wall'))
          for name, samples in found.items()])


def piped(reader, argv):
    return ['sh', '-c', '"$@" | ' + reader, 'sh'] + argv


def measure_pythons(bench):
    count = max(2, bench.count // 5)
    path = bench.stub_hosts(count)
    cases = {}
    for name, python in find_pythons().items():
        cases.update({
            (name, 'start'): [python, '-c', 'pass'],
            (name, 'one'): classh('true', 'h1', python=python),
            (name, 'bare'): [python, '-c', BARE, str(FANOUT), 'true'],
            (name, 'classh'): classh('true', path, python=python)})
    found = bench.measure_all(cases, path)
    show('%d hosts, a stub for ssh, fanout %d' % (count, FANOUT),
         ['bare s', 'classh s', '/ bare', 'us/host', 'MB', 'start ms',
          'one host'],
         [(name, median(found[name, 'bare'], 'wall'),
           median(samples, 'wall'), ratio(samples, found[name, 'bare']),
           median(samples, 'cpu') / count * 1e6, median(samples, 'peak'),
           median(found[name, 'start'], 'wall') * 1e3,
           median(found[name, 'one'], 'wall') * 1e3)
          for (name, kind), samples in found.items() if kind == 'classh'])


def find_pythons():
    """Return {version: path} of each CPython from 3.6 on, oldest first."""
    paths = [sys.executable]
    for directory in os.get_exec_path():
        paths += glob.glob(os.path.join(directory, 'python3.*[0-9]'))
    root = os.environ.get('PYENV_ROOT', os.path.expanduser('~/.pyenv'))
    paths += glob.glob(os.path.join(root, 'versions/*/bin/python3'))
    found = {}
    for path in paths:
        # What is on PATH may be a shim that does not run.
        said = lib.run([path, '-c', 'import sys; print(sys.implementation'
                            '.name, sys.version_info[1], sys.executable)'])
        words = said.stdout.split(None, 2)
        if len(words) == 3 and words[0] == 'cpython' and int(words[1]) >= 6:
            found.setdefault(int(words[1]), words[2].strip())
    return {'3.%d' % minor: found[minor] for minor in sorted(found)}


def measure_ssh(bench):
    server = bench.server()
    if server is not None:
        compare_key_exchanges(bench, server)
        compare_sharing(bench, server)
        compare_max_startups(bench, server)


def compare_key_exchanges(bench, server):
    known = lib.run(['ssh', '-Q', 'kex']).stdout.split()
    default = re.search('^kexalgorithms ([^,\n]*)', lib.run(
        ['ssh', '-F', 'none', '-G', 'host']).stdout, re.MULTILINE).group(1)
    names = [name for name in (
        'curve25519-sha256', 'ecdh-sha2-nistp256',
        'sntrup761x25519-sha512@openssh.com', 'mlkem768x25519-sha256')
             if name in known]
    found = bench.take_turns({
        name: lambda name=name: connect(bench, server, name)
        for name in names}, 3 * START_RUNS)
    rows = []
    for name, samples in found.items():
        ours, theirs = zip(*samples)
        rows.append((name.partition('@')[0]
                     + (' *' if name.startswith(default) else ''),
                     median(ours, 'cpu') * 1e3,
                     ratio(ours, [one[0] for one in found[names[0]]], 'cpu'),
                     statistics.mean(theirs) * 1e3,
                     median(ours, 'wall') * 1e3))
    show('one connection, by KexAlgorithms (* the default)',
         ['ssh CPU ms', 'ratio', 'sshd CPU ms', 'wall ms'], rows)


def connect(bench, server, exchange):
    """Return the Sample of one connection, and what it took sshd, in s."""
    before = server_cpu(server)
    sample = bench.measure(['ssh', '-o', 'KexAlgorithms=' + exchange,
                            '127.0.0.1', 'true'], ssh='real')
    return sample, server_cpu(server) - before


def server_cpu(server):
    """Seconds of CPU that all connections took, once they have ended."""
    pid = server.pid
    lib.wait_until(lambda: not any(
        parent == pid for _, parent, _, _ in lib.processes()))
    fields = lib.stat(pid)[1]
    return (int(fields[13]) + int(fields[14])) / os.sysconf('SC_CLK_TCK')


def compare_sharing(bench, server):
    count = max(2, bench.count // 100)
    argv = classh('echo here', bench.hosts(server.hosts(count)))
    # The path of a socket must be short.
    sockets = tempfile.mkdtemp(prefix='classh-', dir='/tmp')
    share = argv + ['-O', 'ControlMaster=auto', '-O', 'ControlPersist=60',
                    '-O', 'ControlPath=%s/%%C' % sockets]

    def run(argv):
        return bench.measure(argv, ssh='real', said=['here'] * count)

    def run_twice():
        try:
            return run(share), run(share)
        finally:
            for name in os.listdir(sockets):
                lib.run(['ssh', '-O', 'exit', '-o', 'ControlPath='
                             + os.path.join(sockets, name), 'host'])
            lib.wait_until(lambda: not os.listdir(sockets))
    try:
        found = bench.take_turns({'plain': lambda: run(argv),
                                  'twice': run_twice})
    finally:
        os.rmdir(sockets)
    first, second = zip(*found['twice'])
    show('%d hosts, connections that are shared' % count,
         ['wall s', 'ratio', 'CPU s', 'ratio'],
         [(name, median(samples, 'wall'), ratio(samples, found['plain']),
           median(samples, 'cpu'), ratio(samples, found['plain'], 'cpu'))
          for name, samples in (('not shared', found['plain']),
                                ('shared, the first run', first),
                                ('shared, the next', second))])


def compare_max_startups(bench, server):
    count = max(2, bench.count * 3 // 100)
    path = bench.hosts(server.hosts(count))

    def refused(fanout):
        bench.write('bad', '')
        bench.measure(classh('-q', '-f', fanout, '-E', bench.path('bad'),
                             'true', path), ssh='real', status=None)
        with open(bench.path('bad')) as file:
            return 100 * len(file.readlines()) / count
    usual, default = 'MaxStartups 1000', 'MaxStartups 10:30:100'
    server.reconfigure(usual, default)
    try:
        found = bench.take_turns({fanout: lambda fanout=fanout: refused(fanout)
                                  for fanout in (5, 10, 20, 50, 100)})
    finally:
        server.reconfigure(default, usual)
    show('%d hosts behind one sshd with its default, %s' % (count, default),
         ['refused'],
         [('fanout %d' % fanout, '%.0f %%' % statistics.median(shares))
          for fanout, shares in found.items()])


def measure_gate(bench):
    """Hosts behind a jump host with sshd's own MaxStartups.

    The command takes a while, as it would on a network: here all else is CPU.
    """
    server = bench.server()
    if not server:
        return
    gate = lib.gate() if bench.as_is else _gate()
    count = max(2, bench.count // 100)
    path, good = bench.hosts(server.hosts(count)), bench.path('good')
    bench.configure_ssh(gate.config_with(server.config))
    behind = ['-O', 'ProxyJump=gate']

    def measure(args, status):
        bench.write('good', '')
        sample = bench.measure(classh('-q', '-S', good, *args, 'sleep .5',
                                      path), ssh='real', status=status)
        with open(good) as file:
            return Gated(sample.wall, sample.cpu, len(file.readlines()))
    # Of all but the first every host must be good.
    cases = {'--retries 0': ([*behind, '--retries', 0], None),
             'the default': (behind, 0), '-f 10': ([*behind, '-f', 10], 0),
             '-J': (['-J', 'gate'], 0)}
    found = bench.take_turns({
        name: lambda case=case: measure(*case)
        for name, case in cases.items()})
    show('%d hosts behind a jump host with its default, MaxStartups '
         '10:30:100, 0.5 s each' % count, ['good', 'wall s', 'ratio', 'CPU s'],
         [(name, '%.0f' % median(samples, 'good'), median(samples, 'wall'),
           ratio(samples, found['-f 10']), median(samples, 'cpu'))
          for name, samples in found.items()])


def measure_share(bench):
    """A first run with --share, and the next, which must take less than a
    tenth of it.

    With the key exchange that ssh takes by itself: the server's settings
    choose the fastest.
    """
    server = bench.server()
    if not server:
        return
    count = max(2, bench.count // 50)
    path = bench.hosts(server.hosts(count))
    # The path of a socket must be short.
    sockets = tempfile.mkdtemp(prefix='x-', dir='/tmp')
    # As pip installs it: to compile the program takes as long as 30 hosts.
    own = ['env', 'XDG_RUNTIME_DIR=' + sockets, sys.executable, '-c',
           'import sys; sys.path.insert(0, %r); import classh; '
           'sys.exit(classh.main())' % compiled(bench)]
    exchange = ['-O', 'KexAlgorithms=+curve25519-sha256']

    def run(*args):
        return bench.measure([*own, '-q', *args, *exchange, 'true', path],
                             ssh='real')

    def run_twice():
        try:
            return [run('--share') for _ in range(2)]
        finally:
            bench.measure([*own, '-q', '--unshare'], ssh='real')
    try:
        found = bench.take_turns({'without': run, 'twice': run_twice})
    finally:
        shutil.rmtree(sockets)
    first, second = zip(*found['twice'])
    show('%d hosts with --share' % count,
         ['wall s', 'ratio', 'CPU s', 'ratio'],
         [(name, median(samples, 'wall'),
           '%.3f' % ratio(samples, first), median(samples, 'cpu'),
           '%.3f' % ratio(samples, first, 'cpu'))
          for name, samples in (('without it', found['without']),
                                ('the first run', first),
                                ('the next', second))])


def measure_journal(bench):
    count = bench.count * 10
    path, journal = bench.stub_hosts(count), bench.path('journal')

    def measure(*args):
        return bench.measure(classh('-q', '-f', FANOUT, *args))

    def write():
        if os.path.exists(journal):
            os.remove(journal)
        return measure('--journal', journal, 'true', path)
    # The last of these has nothing left to run.
    found = bench.take_turns({
        'without': lambda: measure('true', path), '--journal': write})
    found.update(bench.take_turns({
        '--resume, all done': lambda: measure('--resume', journal)}))
    show_ratios('%d hosts, a stub for ssh, fanout %d, a journal'
                % (count, FANOUT), found, 'without')


def measure_log(bench):
    """ssh's log, which must cost less than a twentieth of the run.

    The stub writes it in both cases, but where a LogLevel of the user leaves
    classh without it, to the null device: what a FIFO takes beyond that, some
    two hundredths of the run's CPU, is the stub's.  Where TMPDIR is on a disk,
    each FIFO takes longer.  Beside ssh itself it is within the noise.
    """
    def measure(what, path, count, ssh, fanout, *options):
        argv = ['env', '-u', 'TMPDIR', *classh('-q', '-f', fanout, *options)]
        found = bench.measure_all({
            'without': [*argv, '-O', 'LogLevel=INFO', 'true', path],
            'with': [*argv, 'true', path]}, ssh=ssh)
        show_ratios("%d hosts, %s, fanout %d, ssh's log"
                    % (count, what, fanout), found, 'without')

    measure('a stub for ssh', bench.stub_hosts(bench.count), bench.count,
            'logging', FANOUT)
    server = bench.server()
    if server is not None:
        count = max(2, bench.count // 50)
        # The key exchange that ssh has by default, not the cheap one.
        measure('ssh and sshd on one machine',
                bench.hosts(server.hosts(count)), count, 'real', 8,
                '-O', 'KexAlgorithms=+curve25519-sha256')


def measure_views(bench):
    """Each way to show results, which must cost less than a tenth of the
    run."""
    path, records = bench.stub_hosts(bench.count), bench.path('records')
    found = bench.measure_all({
        name: classh('-f', FANOUT, *name.split(), 'true', path)
        for name in ('-q', '--bad', '--progress', '-b', '-P', '--json',
                     '-q --json=%s' % records)})
    found['-q --json=FILE'] = found.pop('-q --json=%s' % records)
    show_ratios('%d hosts, a stub for ssh, fanout %d, by what is shown'
                % (bench.count, FANOUT), found, '-q')


PARTS = {'peers': measure_peers, 'sshd': measure_sshd,
         'hosts': measure_hosts, 'fanout': measure_fanout,
         'start': measure_start, 'memory': measure_memory,
         'pythons': measure_pythons, 'ssh': measure_ssh,
         'gate': measure_gate, 'share': measure_share,
         'journal': measure_journal, 'log': measure_log,
         'views': measure_views}


# -- The whole ----------------------------------------------------------------

def version(command, before=''):
    """Return what *command* says is its version, None if that is nothing."""
    if not shutil.which(command):
        return None
    said = lib.run([command, '-V' if command in ('ssh', 'pdsh')
                        else '--version'])
    found = re.search(before + r'\D*(\d[\w.]*)', said.stdout + said.stderr)
    return found and found.group(1)


def machine():
    """Return what this machine is, in a line."""
    try:
        with open('/etc/os-release') as file:
            system = re.search('^PRETTY_NAME="?([^"\n]*)', file.read(),
                               re.MULTILINE).group(1)
    except (OSError, AttributeError):
        system = platform.system()
    return '%s, %d cores, Python %s, OpenSSH %s' % (
        system, os.cpu_count(), platform.python_version(), version('ssh'))


def show_beside_classh(found):
    """Print how all compare, classh being 1, as the table above
    does."""
    columns = [part for part in ('peers', 'sshd') if found.get(part)]
    rows = []
    for name in found[columns[0]]:
        row = [name]
        for part in columns:
            samples, ours = found[part][name], found[part]['classh']
            row += ['%.1f' % ratio(samples, ours),
                    '%.1f' % ratio(samples, ours, 'cpu')]
        rows.append(row + ['%.0f' % median(found[columns[0]][name], 'peak')])
    others = ['%s %s' % (name, version(name)) for name in
              ('pssh', 'parallel-ssh', 'clush', 'parallel', 'pdsh')
              if version(name)]
    show('For the head of peers.py: %s, classh being 1\n%s, on\n%s:\n%s' % (
        ' and '.join(columns), time.strftime('%d %B %Y').lstrip('0'),
        machine(), ', '.join(others)),
         ['time', 'CPU'] * len(columns) + ['MB'], rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parts', metavar='PART', nargs='*',
                        help='all of them, if none is named')
    parser.add_argument('--hosts', metavar='N', type=int, default=10000,
                        help='how big it all is (%(default)s)')
    parser.add_argument('--rounds', metavar='N', type=int, default=3,
                        help='(%(default)s)')
    parser.add_argument('--as-is', action='store_true',
                        help='install nothing; leave out what is missing')
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error('no part %s; there are %s' % (part, ', '.join(PARTS)))
    bench = Bench(options.hosts, options.rounds, not options.as_is)
    print('%s\n%s' % (time.strftime('%Y-%m-%d %H:%M'), machine()))
    found = {part: PARTS[part](bench) for part in options.parts or PARTS}
    if bench.missing:
        print('\nleft out: ' + ', '.join(sorted(bench.missing)))
    if found.get('peers') or found.get('sshd'):
        show_beside_classh(found)


if __name__ == '__main__':
    main()
