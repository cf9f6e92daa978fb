"""Random runs of all that can go wrong at once, for as long as you like:

    python3 tests/bench/soak.py [SECONDS]             # 60 unless told
    python3 tests/bench/soak.py --seed 7 --round 33   # that one again
    python3 tests/bench/soak.py --kills 200           # of runs with a journal

Each round is a run of the module, in one thread or several, or of the command
line, with hosts of all kinds, a fanout, limits, sinks, and something that
happens to it in the middle.  After each round: every host has exactly one
result, the right one; given = ok + error + ssh + killed + not started; never
more than fanout ran; no child, descriptor, thread, file or signal handler is
left, no memory is lost, and it took no longer than the limits allow.

With --kills runs on 50 hosts are ended by SIGKILL at random moments, and
resumed: every host has run exactly once, or is named as lost.

The first line says the seed; a failure says how to run its round alone.
"""

import argparse
import contextlib
import faulthandler
import gc
import itertools
import os
import random
import re
import resource
import signal
import sys
import threading
import time
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import lib
from lib import (FAKE_SSH, Command, WorkTest, children, fake_argv,
                 kill_leftovers, processes)
from lib.kills import KilledRun
import classh
from classh import SSHJobMan

MIB = 1 << 20
SLACK = 30.0            # seconds that a round may take beyond its limits
WARM = 30               # rounds after which memory must not grow any more
GROWTH = 3000           # blocks by which it may, all the same

ENDING = {              # host: the outcome and exit status of what ends
    'exit0': ('ok', 0), 'exit3': ('error', 3), 'fail7': ('error', 7),
    'exit255': ('ssh', 255), 'unreach': ('ssh', 255), 'tty': ('ssh', 255),
    'noresolve': ('ssh', 255), 'hostkey': ('ssh', 255),
    'denied': ('ssh', 255), 'signal9': ('killed', -9),
    'signal11': ('killed', -11), 'loud': ('ok', 0), 'outloud': ('ok', 0),
    'mixed': ('ok', 0), 'binary': ('ok', 0), 'escape': ('ok', 0),
    'reader': ('ok', 0), 'args': ('ok', 0), 'n': ('ok', 0),
    'closer': ('ok', 0), 'holder': ('ok', 0), 'keeper': ('ok', 0),
    'flooder': ('ok', 0)}
ENDLESS = ('slow', 'early', 'hang', 'deaf', 'stopped', 'escapee', 'polite',
           'late', 'endless')
SENT = {'loud': MIB, 'outloud': MIB, 'mixed': 1000, 'binary': 4}


class Plan:
    """What a run shall be, by *dice*; the same for module and program."""

    def __init__(self, dice):
        self.dice = dice
        self.fanout = dice.choice([1, 2, 5, 20, 60])
        self.timeout = dice.choice([.2, .5, 1, 1.5])
        self.grace = dice.choice([.1, .3])
        kinds = dice.sample(sorted(ENDING), dice.randint(1, len(ENDING)))
        endless = dice.sample(ENDLESS, dice.randint(0, len(ENDLESS)))
        # No more that are endless than are done with in a few seconds.
        most = int(3 * self.fanout / (self.timeout + 2 * self.grace))
        hosts = [dice.choice(kinds) for _ in range(
            dice.choice([1, 10, 50, min(200, 30 * self.fanout)]))]
        if endless:
            hosts += [dice.choice(endless)
                      for _ in range(dice.randint(0, min(most, 60)))]
        dice.shuffle(hosts)
        self.hosts = ['%s-%d' % pair[::-1] for pair in enumerate(hosts)]
        if not endless and dice.random() < .5:
            self.timeout = dice.choice([0, 60])
        # What prints for ever would fill any memory.
        self.max_output = dice.choice([1, 1000, MIB, 8 * MIB] + [0] * (
            'endless' not in endless))

    def __str__(self):
        return ('%d hosts, fanout %d, timeout %g, grace %g, max_output %d'
                % (len(self.hosts), self.fanout, self.timeout, self.grace,
                   self.max_output))

    def limit(self):
        """Seconds that it may take, if every job takes all that it may."""
        each = self.timeout + 2 * self.grace + .5 if self.timeout else 2
        return SLACK + each * (1 + len(self.hosts) / self.fanout)


def problem_of(result, plan, stopped):
    """Return what is wrong with *result*, or None."""
    kind = re.match('[a-z]+[0-9]*', result.host).group()
    found = (result.outcome, result.exitcode)
    if result.reason.startswith('timed out'):
        if not plan.timeout or result.elapsed < plan.timeout - .01:
            return 'timed out after %g of %g s' % (result.elapsed,
                                                   plan.timeout)
        wanted = found if result.outcome == 'killed' else 'killed'
    elif result.reason.startswith('stopped'):
        wanted = found if stopped and result.outcome == 'killed' else (
            'not stopped')
    elif kind in ENDLESS:
        wanted = 'an end at its limit'
    else:
        wanted = ENDING[kind]
        size = SENT.get(kind)
        if size and plan.max_output:
            size = min(size, plan.max_output)
        octets = len(result.output.encode('utf-8', 'surrogateescape'))
        if size and octets != size:
            return '%d bytes of %d' % (octets, size)
    return None if found == wanted else '%s, not %s' % (found, wanted)


# -- Rounds ------------------------------------------------------------------

class Round(WorkTest):
    """One round; its number and *seed* make the dice."""

    jobs = 0                # of all rounds so far

    def __init__(self, seed, number):
        super().__init__('run_round')
        self.seed, self.number = seed, number
        self.plans = []

    def run_round(self):
        dice = random.Random('%d.%d' % (self.seed, self.number))
        make = dice.choice([self.module, self.module, self.threads,
                            self.program, self.program])
        signal.signal(signal.SIGALRM, self.hung)
        try:
            make(dice)
        except BaseException:
            for plan in self.plans:
                print(plan, file=sys.stderr)
            raise
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        gc.collect()
        # Grandchildren are there on purpose; of what classh started itself
        # nobody is.
        self.assertEqual(children(), [])
        kill_leftovers()

    @staticmethod
    def hung(signum, frame):
        faulthandler.dump_traceback()
        raise AssertionError('it hangs')

    def plan(self, dice):
        plan = Plan(dice)
        self.plans.append(plan)
        Round.jobs += len(plan.hosts)
        return plan

    def check_results(self, plan, results, stopped, left, said=''):
        """Each host once, and each right; *left* were not started."""
        names = [result.host for result in results] + list(left)
        self.assertEqual(sorted(names), sorted(plan.hosts), said)
        for result in results:
            problem = problem_of(result, plan, stopped)
            self.assertIsNone(problem, '%s: %s %s' % (
                result[:2], problem, said))

    # The module

    def module(self, dice):
        plan = self.plan(dice)
        signal.alarm(int(plan.limit()) + 1)
        with contextlib.ExitStack() as stack:
            self.disturb(dice, stack)
            self.run_manager(plan)

    def threads(self, dice):
        plans = [self.plan(dice) for _ in range(dice.randint(2, 3))]
        limit = sum(plan.limit() for plan in plans)
        signal.alarm(int(limit) + 1)
        failed = []

        def run(plan):
            try:
                self.run_manager(plan)
            except BaseException:
                failed.append(traceback.format_exc())
        threads = [threading.Thread(target=run, args=[plan], daemon=True)
                   for plan in plans[1:]]
        for thread in threads:
            thread.start()
        run(plans[0])
        for thread in threads:
            thread.join(limit)
        self.assertEqual(failed, [], '\n'.join(failed))

    def disturb(self, dice, stack):
        """A program around it with habits of its own."""
        habit = dice.choice(['none', 'none', 'handler', 'alarms', 'few'])
        if habit == 'handler':
            before = signal.signal(signal.SIGCHLD, lambda *args: None)
            stack.callback(signal.signal, signal.SIGCHLD, before)
        elif habit == 'alarms':
            before = signal.signal(signal.SIGVTALRM, lambda *args: None)
            stack.callback(signal.signal, signal.SIGVTALRM, before)
            stack.callback(signal.setitimer, signal.ITIMER_VIRTUAL, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, .002, .002)
        elif habit == 'few':
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = max(map(int, os.listdir('/proc/self/fd')))
            resource.setrlimit(resource.RLIMIT_NOFILE,
                               (used + dice.choice([15, 30]), hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE,
                           (soft, hard))

    def run_manager(self, plan):
        dice, alive = plan.dice, []

        def hosts():
            for host in plan.hosts:
                # One more is about to be started.
                alive.append(own_children())
                yield host
        given = dice.choice([hosts(), hosts(), list(plan.hosts)])
        end = dice.choice(['iterate', 'iterate', 'poll', 'wait', 'stop',
                           'stop twice', 'break', 'raise', 'drain'])
        after = dice.randrange(len(plan.hosts) + 1)
        start = time.monotonic()
        with contextlib.ExitStack() as stack:
            source = self.input(dice, stack)
            job = SSHJobMan(given, 'true', ssh=FAKE_SSH, fanout=plan.fanout,
                            timeout=plan.timeout, grace=plan.grace,
                            max_output=plan.max_output, input=source,
                            keep=dice.random() < .5)
            results = self.drive(job, end, after)
        left = list(job.not_started())
        self.assertLess(max(alive, default=0), plan.fanout)
        self.assertLess(time.monotonic() - start, plan.limit())
        stopped = end in ('stop', 'stop twice', 'break', 'raise')
        if not stopped and end != 'drain':
            self.assertEqual(left, [])
        self.check_results(plan, results, stopped, left)
        if job.results:
            self.assertEqual(list(job.results.values()), results)

    def input(self, dice, stack):
        kind = dice.choice(['none', 'none', 'none', 'file', 'pipe', 'empty'])
        if kind == 'none':
            return None
        if kind == 'pipe':
            reader, writer = os.pipe()
            os.write(writer, b'x' * 50000)
            os.close(writer)
            return stack.enter_context(open(reader, 'rb', buffering=0))
        path = os.path.join(self.directory, 'input')
        with open(path, 'wb') as file:
            file.write(b'x' * 200000 if kind == 'file' else b'')
        return stack.enter_context(open(path, 'rb'))

    @staticmethod
    def drive(job, end, after):
        """Run *job*; do what *end* says *after* so many results."""
        results = []
        if end == 'wait' and job._keep:
            job.wait()
            job.close()
            return list(job.results.values())
        try:
            with job:
                if end in ('break', 'raise', 'iterate', 'wait'):
                    for result in job:
                        results.append(result)
                        if end == 'break' and len(results) > after:
                            break
                        if end == 'raise' and len(results) > after:
                            raise KeyError('on purpose')
                else:
                    while not job.done:
                        results += job.poll(.05)
                        if len(results) >= after:
                            if end == 'drain':
                                job.drain()
                            elif end == 'stop':
                                job.stop()
                            elif end == 'stop twice':
                                job.stop()
                                job.stop()
                            after = len(job._pool.running) + 10 ** 9
        except KeyError:
            pass
        return results + job.poll()

    # The program

    def program(self, dice):
        plan = self.plan(dice)
        plan.grace = classh.KILL_GRACE
        plan.hosts = [host for host in plan.hosts
                      if not host.startswith(('hang', 'deaf'))]
        signal.alarm(int(plan.limit()) + 1)
        happens = dice.choice(['nothing', 'nothing', 'INT', 'TERM', 'HUP',
                               'twice', 'STOP', 'USR1', 'reader leaves'])
        sinks = {}
        for letter in 'SE':
            target = dice.choice([None, 'names', 'dir/', '|cat >out',
                                  'program'])
            if target == 'names':
                target = 'names-' + letter
            elif target == 'dir/':
                target = 'dir-%s/' % letter
            elif target == '|cat >out':
                target = '|cat >out-' + letter
            elif target == 'program':
                target = dice.choice(['| exit 3', '| sleep .3', '|head -n1',
                                      '| sleep .2; cat >/dev/null'])
            sinks[letter] = target
        options = ['-f%d' % plan.fanout, '-u%g' % plan.timeout,
                   '--max-output', str(plan.max_output), '--pickle', 'all']
        for letter, target in sinks.items():
            if target:
                options += ['-' + letter, target]
        view = dice.choice([[], [], ['-q'], ['--progress']])
        self.run_program(plan, happens, sinks, options + view)

    def run_program(self, plan, happens, sinks, options):
        dice = plan.dice
        stdin, operands = b'', list(plan.hosts)
        before = dice.choice(['', '', 'ulimit -n 40'])
        how = dice.choice(['arguments', 'file', 'stdin', 'both'])
        if how == 'file':
            self.write('hosts', '\n'.join(operands) + '\n')
            operands = ['./hosts']
        elif how == 'stdin' or how == 'both':
            cut = len(operands) // 2 if how == 'both' else 0
            stdin = '\n'.join(operands[cut:])
            operands = operands[:cut] + ['-']
        elif dice.random() < .5:
            options, stdin = options + ['-I'], b'x' * 100000
        argv = fake_argv(*options + ['true'] + operands)
        early = dice.random() < .1
        reader = stdout = None
        if happens == 'reader leaves':
            reader, stdout = os.pipe()
        with contextlib.ExitStack() as stack:
            command = stack.enter_context(Command(
                argv, stdin=stdin, stdout=stdout, before=before,
                cwd=self.directory))
            if stdout is not None:
                os.close(stdout)
            if not early:           # the pickle is made when it can hear us
                lib.wait_until(lambda: os.path.exists(self.path('all')),
                                   SLACK)
            self.meddle(dice, command, happens, reader, plan)
            said = command.finish(plan.limit() + 10)
        if early and happens in {'USR1', *self.ENDS}:
            self.assertNotRegex(said.stderr, r'in (_main|drive|poll)\b')
        else:
            self.check_program(plan, happens, sinks, options, said)

    def meddle(self, dice, command, happens, reader, plan):
        """Do what shall happen in the middle; watch the fanout."""
        end = time.monotonic() + dice.choice([0, .05, .1, .2, .5])
        while time.monotonic() < end:
            running = [line for _, parent, _, line in processes()
                       if parent == command.pid and 'fake_ssh' in line]
            self.assertLessEqual(len(running), plan.fanout)
            time.sleep(.01)
        if reader is not None:
            os.read(reader, dice.choice([1, 100, 10000]))
            os.close(reader)
            return
        numbers = {'INT': [2], 'TERM': [15], 'HUP': [1], 'USR1': [10] * 3,
                   'twice': [2, 2], 'STOP': [19, 18]}.get(happens, [])
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                command.signal(number)
            time.sleep(dice.choice([0, .01, .3]))

    ENDS = {'INT': 130, 'twice': 130, 'TERM': 143, 'HUP': 129,
            'reader leaves': 141}

    def check_program(self, plan, happens, sinks, options, said):
        self.assertNotIn('Traceback', said.stderr, said)
        results = list(classh.load(self.path('all')))
        names = [result.host for result in results]
        self.assertEqual(len(names), len(set(names)), said)
        found = re.search(r'^(\d+)(?: of \d+)? not started: (.*)$',
                          said.stderr, re.M)
        left = list(classh.expand(found.group(2))) if found else []
        self.assertEqual(len(left), int(found.group(1)) if found else 0)
        ended = said.status == self.ENDS.get(happens)
        if ended:
            # Those that stdin had yet to name, or that nobody wanted to hear
            # of.
            left += sorted(set(plan.hosts) - set(names) - set(left))
        else:
            self.assertEqual(said.status, self.status(results, said), said)
        self.check_results(plan, results, ended, left,
                           '%s %s' % (happens, said))
        self.check_sinks(results, sinks, said)

    def status(self, results, said):
        """The exit status that these results make."""
        if 'classh: ' in re.sub(r'classh: (no room|\d+ done)[^\n]*', '',
                                said.stderr):
            return 1
        if any(result.truncated for result in results):
            return 1                # --pickle was to store it whole
        found = {result.outcome for result in results}
        for outcome, status in ('killed', 3), ('ssh', 4), ('error', 5):
            if outcome in found:
                return status
        return 0

    def check_sinks(self, results, sinks, said):
        for letter, target in sinks.items():
            wanted = sorted(result.host for result in results
                            if (result.outcome == 'ok') == (letter == 'S'))
            file = {'names': target, '|cat ': 'out-' + letter}.get(
                (target or '')[:5])
            if file:
                # What was not taken is told, and none of it is there.
                lost = re.search(r'^classh: \d+ not delivered to \S*%s: (.*)$'
                                 % re.escape(target.lstrip('|')),
                                 said.stderr, re.M)
                found = self.lines(file) + (
                    list(classh.expand(lost.group(1))) if lost else [])
                if target.lstrip('|') + ': ended by' in said.stderr:
                    # It had taken them when a second Ctrl-C ended it, too.
                    self.assertLessEqual(set(found), set(wanted), said)
                else:
                    self.assertEqual(sorted(found), wanted, said)
            elif target and target.startswith('dir'):
                files = os.listdir(self.path(target))
                self.assertEqual(sorted(name[:-4] for name in files
                                        if name.endswith('.out')), wanted)


class KillRound(WorkTest):
    """A run that is killed and resumed; its number and *seed* make the
    dice."""

    def __init__(self, seed, number):
        super().__init__('run_round')
        self.seed, self.number = seed, number
        self.kills = 0
        self.lost = 0           # hosts

    def run_round(self):
        dice = random.Random('%d.%d' % (self.seed, self.number))
        killed = KilledRun(self, dice, self.directory).run()
        self.kills = killed.kills
        self.lost = len(killed.check())


def own_children():
    """How many children this thread has, dead ones too."""
    try:
        with open('/proc/thread-self/children') as listed:
            return len(listed.read().split())
    except FileNotFoundError:           # an old kernel
        return 0


def blocks():
    """How many pieces of memory Python's objects take now.

    Not the memory of the process: what the C library keeps of what was freed,
    for each thread, says nothing.
    """
    gc.collect()
    return sys.getallocatedblocks()


# -- Main --------------------------------------------------------------------

def run_round(seed, number):
    """Run it; return whether all was well."""
    return run_well(Round(seed, number), '')


def run_well(one, options):
    """Run the round *one*; return whether all was well."""
    result = unittest.TestResult()
    one(result)
    for _, trace in result.failures + result.errors:
        print(trace, file=sys.stderr)
    if result.wasSuccessful():
        return True
    print('soak: round %d failed; to run it alone:\n'
          '    python3 tests/bench/soak.py --seed %d --round %d%s'
          % (one.number, one.seed, one.number, options), file=sys.stderr)
    return False


def run_kills(seed, count, number=None):
    """Kill runs until *count* were, or round *number* alone; return whether
    all was well."""
    kills = lost = 0
    for number in itertools.count() if number is None else [number]:
        one = KillRound(seed, number)
        if not run_well(one, ' --kills 1'):
            return False
        kills, lost = kills + one.kills, lost + one.lost
        if kills >= count:
            break
    print('soak: %d runs, killed %d times, %d hosts lost and named: all well'
          % (number + 1, kills, lost))
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('seconds', nargs='?', type=float, default=60.0)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--round', type=int)
    parser.add_argument('--kills', type=int)
    options = parser.parse_args()
    seed = options.seed
    if seed is None:
        seed = int.from_bytes(os.urandom(3), 'big')
    print('soak: seed %d, Python %s' % (seed, sys.version.split()[0]),
          flush=True)
    if options.kills is not None:
        return 0 if run_kills(seed, options.kills, options.round) else 1
    if options.round is not None:
        return 0 if run_round(seed, options.round) else 1
    start, number, warm = time.monotonic(), 0, None
    while time.monotonic() - start < options.seconds:
        if not run_round(seed, number):
            return 1
        number += 1
        if number == WARM:
            warm = blocks()
        elif warm and blocks() > warm + GROWTH:
            print('soak: after %d rounds %d blocks of memory more than after '
                  '%d' % (number, blocks() - warm, WARM), file=sys.stderr)
            return 1
    print('soak: %d rounds, %d jobs, %d s: all well' % (
        number, Round.jobs, time.monotonic() - start))
    return 0


if __name__ == '__main__':
    sys.exit(main())
