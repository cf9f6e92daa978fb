#!/usr/bin/env python3
"""Run COMMAND as classh does, from several machines: the workers of Dask
distributed (Python 3.10 or newer; pip install distributed).

    on_dask.py [--scheduler ADDRESS | --workers N] [OPTIONS] COMMAND HOST...

Without --scheduler, N workers (2) are started here, and end with the run.
OPTIONS are those of classh: -f holds for each worker; -A, --sudo, -I, -P, -J
and --share cannot be had.  A worker uses the ssh and the keys of its machine;
classh.py is sent to it.

Hosts are handed out as slots come free.  Where a worker is lost, COMMAND may
have run on its hosts: they are shown as lost and not run again, and all the
other hosts go to the other workers.  What runs here is ended within seconds
after a worker or this program is gone, by kill -9 too, unless the classh of
the worker is killed as well; on the hosts, as ever, only with --end-remote.

Dask runs what it is told by whoever reaches it: other users of this machine,
too, unless cryptography is installed (TLS for the workers started here).  The
connection to a scheduler is as secure as your configuration of Dask makes it.

Seconds that a run took, all of it on one machine with two cores:

                        classh alone   1 worker   2 workers   4 workers
    400 hosts, -f 20            21.5       22.8        12.3         7.3
    100 hosts, -f 10             3.0        4.5         3.9         6.1

The first with 'sleep 1' in place of ssh: the workers share the waiting.  The
second with ssh and sshd, which need the cores: more workers help where they
bring more cores.  Dask takes 4 to 6 seconds more to start and to end.
"""

import asyncio
import collections
import contextlib
import logging
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
import weakref

import classh

try:
    import distributed
    from distributed.diagnostics.plugin import UploadFile
except ImportError:
    distributed = None

PATIENCE = 30           # seconds to wait for a worker while there is none
CONNECT = 10            # seconds to reach the scheduler
LOOK = 1                # seconds between two looks for new workers
LOOPBACK = '127.0.0.1:0'        # a free port there
WAIT = .1               # seconds for which a call waits for results, or hosts
PAUSE = .05             # seconds to the next look for results


def read(child, results):
    from classh import RecordError, load
    try:
        for result in load('/dev/fd/%d' % child.stdout.fileno()):
            results.append(result)
    except RecordError:             # it was killed amid one: its host is lost
        pass
    child.wait()


class Launcher:
    """A classh on a worker.  Dask drops it once its client is gone."""

    def __init__(self, words):
        import classh           # here, since the scheduler may not have it
        # When the worker dies, nobody reads what classh prints: it ends.
        self.child = subprocess.Popen(
            [sys.executable, classh.__file__, *words], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True)
        weakref.finalize(self, self.child.terminate)
        self.stops = 0
        self.results = collections.deque()
        self.reader = threading.Thread(
            target=read, args=(self.child, self.results), daemon=True)
        self.reader.start()

    async def exchange(self, hosts, stops):
        """Run on *hosts*, too; return the results since, None at the end."""
        with contextlib.suppress(BrokenPipeError):      # it has ended
            self.child.stdin.write(b''.join(
                os.fsencode(host) + b'\n' for host in hosts))
            self.child.stdin.flush()
        while self.stops < stops:
            self.stops += 1
            self.child.terminate()
        end = time.monotonic() + WAIT
        ended = False
        while not (self.results or ended) and time.monotonic() < end:
            await asyncio.sleep(PAUSE)
            ended = not self.reader.is_alive()
        results = [self.results.popleft() for _ in range(len(self.results))]
        return results or (None if ended else [])


class Worker:
    """What this program knows of a worker."""

    def __init__(self, address):
        self.address = address
        self.begun = {}                 # host that it was given: when
        self.unsent = collections.deque()       # hosts that it is to be given
        self.go = threading.Event()     # there are some, or it is to stop


def temporary_keys():
    """Return Dask's Security for the workers that are started here; None
    where there is no TLS."""
    try:
        return distributed.Security.temporary()
    except ImportError:                 # no cryptography
        return None


class Workers(classh.Relay):
    """Hands hosts to the workers of Dask.

    A thread for each worker talks to it, and tells the thread of the manager
    what came of that; all else happens in the thread of the manager.
    """

    def __init__(self, scheduler, count):
        self.scheduler, self.count = scheduler, count
        self.client = self.cluster = None
        self.known = set()              # addresses of workers, lost ones too
        self.workers = []               # those that take hosts
        self.waiting = collections.deque()      # hosts that no worker has
        self.seen = None                # when there was a worker, monotonic
        self.stops = 0                  # how hard all is to end: 0, 1, 2
        self.news = queue.Queue()       # what threads tell: calls to be made
        self.readable, self.writable = os.pipe()
        self.threads = []
        self.closing = threading.Event()

    def attach(self, manager):
        self.manager, self.fanout = manager, manager.fanout
        self.words = ['--json', '-q', '--noexpand', '-f%d' % self.fanout,
                      *self.options, '--', manager.command, '-']
        logging.getLogger('distributed').setLevel(logging.CRITICAL)
        if self.scheduler is None:
            # Out of the reach of Ctrl-C, which is for this program.
            self.cluster = distributed.LocalCluster(
                n_workers=self.count, threads_per_worker=1, memory_limit=0,
                dashboard_address=LOOPBACK, worker_dashboard_address=LOOPBACK,
                silence_logs=logging.CRITICAL, security=temporary_keys(),
                preload='import os\nos.setpgrp()\n')
        try:
            self.client = distributed.Client(self.cluster or self.scheduler,
                                             timeout=CONNECT)
        except (OSError, ValueError) as error:
            raise classh.UsageError('no scheduler at %s: %s' % (
                self.scheduler, error))
        if self.scheduler:              # others have no PYTHONPATH of ours
            self.client.register_plugin(UploadFile(
                classh.__file__, load=False), name='classh')
        self.seen = time.monotonic()
        manager.watch(self.readable, selectors.EVENT_READ, self.receive,
                      hold=False)
        self.begin(self.seek)

    def close(self):
        self.closing.set()
        while self.threads:             # none is to be amid a call
            self.threads.pop().join(CONNECT)
        for opened in filter(None, (self.client, self.cluster)):
            opened.close()
        self.client = self.cluster = None

    def room(self):
        return self.manager.fanout * bool(self.workers) - len(
            self.waiting) - sum(len(worker.begun) for worker in self.workers)

    def start(self, host):
        if not self.waiting:
            self.manager.call_later(0, self.share)
        self.waiting.append(host)

    def share(self):
        """Give the hosts that wait to the workers that have fewest."""
        while self.waiting and self.workers and not self.stops:
            worker = min(self.workers, key=lambda worker: len(worker.begun))
            host = self.waiting.popleft()
            worker.begun[host] = time.time()
            worker.unsent.append(host)
        for worker in self.workers:
            if worker.unsent:
                worker.go.set()

    def end(self, host, hard):
        self.stops = max(self.stops, 1 + hard)
        for worker in self.workers:
            worker.go.set()
        if host in self.waiting:
            self.waiting.remove(host)
            self.give_up(host, time.time(), 'killed', 'stopped', 'no',
                         'stopped')

    def give_up(self, host, begun, outcome, cause, ran, reason):
        self.manager.deliver(classh.Result(
            host, 255, '', '', begun, time.time(), outcome, reason, False,
            cause, ran))

    # What threads do

    def begin(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def tell(self, *call):
        self.news.put(call)
        os.write(self.writable, b'.')

    def seek(self):
        while not self.closing.is_set():
            try:
                found = list(self.client.nthreads())
            except Exception:           # the scheduler does not answer
                found = []
            self.tell(self.meet, found)
            self.closing.wait(LOOK)

    def serve(self, worker):
        why = 'its classh has ended'
        try:
            actor = self.client.submit(
                Launcher, self.words, workers=[worker.address], actor=True,
                pure=False).result()
            self.tell(self.join, worker)
            results = []
            while results is not None and not self.closing.is_set():
                worker.go.wait(WAIT)
                worker.go.clear()
                hosts = []
                while worker.unsent and not self.stops:
                    hosts.append(worker.unsent.popleft())
                results = actor.exchange(hosts, self.stops).result()
                self.tell(self.take, worker, results or ())
        except Exception as error:      # of whatever kind: it is of no use
            why = error
        self.tell(self.lose, worker, why)

    # What they tell

    def receive(self, *event):
        os.read(self.readable, 1 << 12)
        while not self.news.empty():
            function, *args = self.news.get()
            function(*args)

    def meet(self, addresses):
        for address in set(addresses) - self.known:
            self.known.add(address)
            self.begin(self.serve, Worker(address))
        now = time.monotonic()
        if self.workers:
            self.seen = now
        elif now - self.seen > PATIENCE and not self.stops:
            raise OSError('no worker of Dask for %d s' % PATIENCE)

    def join(self, worker):
        self.workers.append(worker)
        self.manager.fanout = self.fanout * len(self.workers)
        self.share()

    def take(self, worker, results):
        for result in results:
            worker.begun.pop(result.host, None)
            self.manager.deliver(result)

    def lose(self, worker, why):
        if worker in self.workers:
            self.workers.remove(worker)
            self.manager.fanout = self.fanout * max(1, len(self.workers))
        for host in worker.unsent:
            worker.begun.pop(host)
            self.waiting.append(host)
        if self.stops:
            for host in list(self.waiting):
                self.end(host, False)
        self.share()
        if not self.stops or worker.begun:
            self.manager.warn('the worker %s is lost: %s' % (
                worker.address, ' '.join(str(why).split())))
        for host, begun in worker.begun.items():
            self.give_up(host, begun, 'ssh', 'lost', 'unknown',
                         'connection lost: the worker %s is'
                         % worker.address)


def main(argv, out):
    """Take the two options of this program off, and be classh."""
    values = {}
    while argv and argv[0].partition('=')[0] in ('--scheduler', '--workers'):
        name, is_joined, value = argv[0].partition('=')
        values[name] = value if is_joined else ''.join(argv[1:2])
        del argv[:1 if is_joined else 2]
    scheduler, count = values.get('--scheduler'), values.get('--workers', '2')
    if not argv or not count.isdecimal() or not int(count) or (
            scheduler == '' or len(values) > 1):
        raise classh.UsageError
    if distributed is None:
        raise classh.UsageError('on_dask.py needs Python 3.10 or newer and '
                                'Dask: pip install distributed')
    return classh.main(argv, Workers(scheduler, int(count)))


if __name__ == '__main__':
    classh.run_script(main, __doc__)
