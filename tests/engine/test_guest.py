"""The engine as a guest in a program: its signals, children and threads."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from unittest import mock

from lib import (FAKE_SSH, MODULE, WAIT_LIMIT, Command, kill_leftovers, run,
                 sshd, wait_until)
from lib.engine import WRITE, EngineTest, Gates, StillClock
import classh
from classh import ClasshError


class HostProgramTest(EngineTest):
    """Signals and children of the program around are left alone."""

    def test_its_sigchld_handler_is_called_and_stays(self):
        statuses = []

        def handler(signum, frame):
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(own, os.WNOHANG)
                if pid:
                    statuses.append(os.WEXITSTATUS(status))
        previous = signal.signal(signal.SIGCHLD, handler)
        self.addCleanup(signal.signal, signal.SIGCHLD, previous)
        own = os.spawnlp(os.P_NOWAIT, 'sh', 'sh', '-c', 'sleep .1; exit 9')
        with self.manager(['exit0-[1-300]'], fanout=20) as job:
            self.assertEqual({result.outcome for result in job}, {'ok'})
            self.assertIs(signal.getsignal(signal.SIGCHLD), handler)
        wait_until(lambda: statuses)
        self.assertEqual((len(job.results), statuses), (300, [9]))
        self.assertIs(signal.getsignal(signal.SIGCHLD), handler)

    def test_handler_that_it_installs_during_the_run_stays(self):
        def handler(signum, frame):
            calls.append(signum)
        calls = []
        with self.manager(['keeper[1-3]', 'exit0-[1-20]'], fanout=3) as job:
            job.poll(0)
            previous = signal.signal(signal.SIGCHLD, handler)
            self.addCleanup(signal.signal, signal.SIGCHLD, signal.SIG_DFL)
            self.assertTrue(callable(previous))
            self.assertTrue(job.wait())
        self.assertEqual(len(job.results), 23)
        self.assertIs(signal.getsignal(signal.SIGCHLD), handler)
        self.assertTrue(calls)
        kill_leftovers()

    def test_its_wakeup_descriptor_stays_and_hears_its_signals(self):
        here, there = socket.socketpair()
        with here, there:
            there.setblocking(False)
            here.setblocking(False)
            before = signal.signal(signal.SIGUSR1, lambda *args: None)
            self.addCleanup(signal.signal, signal.SIGUSR1, before)
            self.assertEqual(signal.set_wakeup_fd(there.fileno()), -1)
            try:
                with self.manager(['exit0-[1-50]'], fanout=5) as job:
                    for result in job:
                        os.kill(os.getpid(), signal.SIGUSR1)
                self.assertEqual(set(here.recv(4096)), {signal.SIGUSR1})
            finally:
                self.assertEqual(signal.set_wakeup_fd(-1), there.fileno())
        self.assertEqual(len(job.results), 50)
        self.assertIs(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)

    def test_its_signals_are_handled_during_the_run(self):
        calls = []
        previous = signal.signal(signal.SIGUSR1,
                                 lambda *args: calls.append(args))
        self.addCleanup(signal.signal, signal.SIGUSR1, previous)
        self.run_one('a', 'kill -s USR1 %d; sleep .1' % os.getpid())
        self.assertEqual(len(calls), 1)

    def test_blocked_sigchld(self):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        with self.manager(['exit0-[1-20]', 'closer'], 'exit 7') as job:
            self.assertEqual(len(list(job)), 21)
        self.assertEqual(job.results['closer'].exitcode, 7)

    FORKED = '''
        import os, sys
        from classh import AskpassServer, LockoutGuard, SSHJobMan

        def fork(leave):
            child = os.fork()
            if not child:
                leave()
            if os.waitpid(child, 0)[1]:
                sys.exit('the child failed')

        class Done(BaseException):
            pass

        def leave():
            raise Done
        way, parent = sys.argv[1], os.getpid()
        source, writer = os.pipe()
        askpass = AskpassServer(LockoutGuard(b'secret', anyway=True))
        try:
            with askpass, SSHJobMan(['h[1-9]'], 'read -r line && echo got',
                           ssh=os.environ['SSH'], fanout=4, timeout=30,
                           input=source, hooks=[askpass]) as job:
                job.watch(1, 2, lambda fd, events: job.unwatch(1))
                while len(job.running) < 4:
                    job.poll(0)
                fork(dict(leave=leave, close=lambda: job.close() or leave(),
                          unwatch=lambda: job.unwatch(1) or leave(),
                          stop=lambda: job.stop() or leave(),
                          list=lambda: list(job) and sys.exit(1) or leave(),
                          wait=lambda: job.wait() and leave(),
                          )[way])
                os.write(writer, b'line\\n')
                os.close(writer)
                print(len([result for result in job
                           if result.output == 'got\\n']),
                      os.path.exists(askpass._helper))
        except Done:
            pass
        if os.getpid() != parent:
            os._exit(len(job.running))
        '''

    def test_child_that_it_forks_leaves_the_jobs_alone(self):
        for way in 'leave', 'close', 'stop', 'unwatch', 'list', 'wait':
            with self.subTest(way=way):
                run([sys.executable, '-c', textwrap.dedent(self.FORKED), way],
                    env={'PYTHONPATH': MODULE, 'SSH': FAKE_SSH}
                    ).check(0, '9 True\n')

    def test_its_own_children_are_not_reaped(self):
        with subprocess.Popen(['sh', '-c', 'exit 9']) as own:
            self.until_children('Z')
            with self.manager(['exit0-[1-20]']) as job:
                self.assertTrue(job.wait())
            self.assertEqual(own.wait(), 9)

    def test_two_managers_by_turns_in_one_thread(self):
        with self.manager(['exit0-[1-20]'], fanout=3) as one, \
                self.manager(['exit7-[1-20]'], fanout=3) as two:
            while not (one.done and two.done):
                for job in one, two:
                    job.poll(.01)
        for job, status in ((one, 0), (two, 7)):
            self.assertEqual({result.exitcode
                              for result in job.results.values()}, {status})
            self.assertEqual(len(job.results), 20)

    def test_first_of_two_managers_ends_first(self):
        gates = Gates(self.scratch(), 'a')
        with self.manager(['exit0']) as one:
            one.poll(0)
            with self.manager(['a'], gates.command) as two:
                two.poll(0)
                self.assertTrue(one.wait())
                one.close()
                gates.open('a')
                self.assertTrue(two.wait())

    @staticmethod
    def program(source, *args):
        """Python *source* as a Command; what it leaks shows on stderr."""
        return Command([sys.executable, '-W', 'always::ResourceWarning', '-c',
                        textwrap.dedent(source)] + list(args),
                       env={'PYTHONPATH': MODULE, 'SSH': FAKE_SSH})

    ASYNCIO = '''
        import asyncio, os, signal, sys
        from classh import SSHJobMan

        def signals():
            wakeup = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(wakeup)
            return signal.getsignal(signal.SIGCHLD), wakeup != -1

        def manager():
            return SSHJobMan(['exit7-[1-100]', 'keeper[1-3]'], 'true',
                             ssh=os.environ['SSH'], fanout=20)

        async def child(status):
            process = await asyncio.create_subprocess_exec(
                'sh', '-c', 'sleep .0%d; exit %d' % (status, status))
            return await process.wait()

        async def ours():
            how = sys.argv[1]
            if how == 'thread':
                job = manager()
                await asyncio.get_event_loop().run_in_executor(None, job.wait)
            elif how == 'blocking':
                job = manager()
                await asyncio.sleep(.02)
                job.wait()
            elif how == 'polled':
                with manager() as job:
                    while not job.done:
                        job.poll(0)
                        await asyncio.sleep(.001)
            return len([result for result in job.results.values()
                        if result.exitcode == (0 if 'keeper' in result.host
                                               else 7)])

        async def main():
            if sys.argv[2] == 'theirs first':
                await child(1)
            theirs = [asyncio.ensure_future(child(status))
                      for status in range(1, 9)]
            before = signals()
            if sys.argv[2] == 'theirs first':
                await asyncio.sleep(.01)
                before = signals()
            good = await ours()
            if sys.argv[2] == 'theirs first':
                assert signals() == before, (signals(), before)
            statuses = await asyncio.wait_for(asyncio.gather(*theirs), 30)
            print(good, statuses, await child(9))

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        print(signals()[0] == signal.SIG_DFL, signals()[1])
        '''

    def test_asyncio_program_with_its_own_subprocesses(self):
        with contextlib.ExitStack() as stack:
            for command in [stack.enter_context(
                    self.program(self.ASYNCIO, how, order))
                    for how in ('thread', 'blocking', 'polled')
                    for order in ('theirs first', 'ours first')]:
                command.finish().check(0, '103 %s 9\nTrue False\n'
                                       % list(range(1, 9)))
        kill_leftovers()

    def test_storm_of_its_signals_prints_nothing(self):
        if sys.version_info < (3, 7):
            self.skipTest('set_wakeup_fd() of 3.6 cannot be told to be quiet')
        self.program('''
            import os, signal
            from classh import SSHJobMan
            signal.signal(signal.SIGUSR1, lambda signum, frame: None)
            with SSHJobMan(['slow'], 'x', ssh=os.environ['SSH']) as job:
                job.poll(0)
                for _ in range(70000):
                    os.kill(os.getpid(), signal.SIGUSR1)
            ''').finish().check(0, '', '')

    LOW = '''
        import collections, os, resource, sys
        from classh import SSHJobMan
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        held, spare = [], int(sys.argv[1])
        if spare:
            try:
                while True:
                    held.append(os.open('/dev/null', os.O_RDONLY))
            except OSError:
                for fd in held[-spare:]:
                    os.close(fd)
        warned = []

        def warn(text):
            warned.append(text)
            os.mkdir(sys.argv[2])       # takes no descriptor
        before = len(os.listdir('/proc/self/fd')) if spare != 1 else 0
        job = SSHJobMan(['h[1-300]'], 'echo $HOST; '
                        'until [ -e %s ]; do sleep .02; done' % sys.argv[2],
                        ssh=os.environ['SSH'], fanout=100, warn=warn)
        job.wait()
        job.close()
        after = len(os.listdir('/proc/self/fd')) if spare != 1 else 0
        good = [result for host, result in job.results.items()
                if result.outcome == 'ok' and result.output == host + '\\n']
        print(len(job.results), len(good), len(warned), after - before)
        '''

    def test_error_while_getting_ready_leaves_nothing_open(self):
        # Not even for as long as the manager is there.
        for name in ('classh._Launcher', 'classh._ChildWatcher',
                     'select.epoll'):
            with self.subTest(name=name):
                before = os.listdir('/proc/self/fd')
                error = OSError(errno.EACCES, os.strerror(errno.EACCES))
                job = self.manager(['exit7-[1-2]'], fanout=1)
                with mock.patch(name, side_effect=error):
                    result = self.take(job)
                    self.assertEqual(result.reason, 'ssh could not be '
                                     'started: Permission denied')
                    self.assertEqual(os.listdir('/proc/self/fd'), before)
                    self.assertEqual(signal.getsignal(signal.SIGCHLD),
                                     signal.SIG_DFL)
                # And it is as good as ever.
                self.assertEqual(self.take(job).exitcode, 7)
                job.close()

    def test_descriptor_limit_makes_the_pool_smaller(self):
        mark = os.path.join(self.scratch(), 'warned')
        self.program(self.LOW, '0', mark).finish().check(0, '300 300 1 0\n')

    def test_no_room_for_even_one_fails_a_host_after_5_seconds(self):
        clock = StillClock()
        full = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        with mock.patch('classh._Launcher.start', side_effect=full):
            with self.manager(['a'], clock=clock) as job:
                for seconds in 0, 5:
                    clock.advance(seconds)
                    self.assertEqual(job.poll(0), [])
                clock.advance(1)
                result = self.take(job)
        self.assertEqual(result.outcome, 'ssh')
        self.assertIn('could not be started', result.reason)

    def test_each_host_waits_as_long_for_room(self):
        clock = StillClock()
        full = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        def start(number):
            if clock() < 1000 + 7:
                raise full
        with self.each_start(start):
            with self.manager(['exit0-[1-30]'], clock=clock) as job:
                outcomes = []
                while not job.done:
                    outcomes += [result.outcome for result in job.poll(.01)]
                    if clock() < 1000 + 7:
                        clock.advance(.5)
        self.assertEqual((outcomes[0], set(outcomes[1:]), len(outcomes)),
                         ('ssh', {'ok'}, 30))

    def test_no_room_to_listen_to_a_job_is_no_room_to_start_it(self):
        register = classh._Loop.register

        def full(loop, fileobj, events, callback, data=None):
            # (On a busy machine there are seldom more of them at once.)
            if isinstance(data, classh._Job) and job.running:
                raise OSError(code, os.strerror(code))
            return register(loop, fileobj, events, callback, data)
        for code in errno.ENOMEM, errno.ENOSPC:
            warned, before = [], os.listdir('/proc/self/fd')
            with self.subTest(code=code), mock.patch(
                    'classh._Loop.register', full):
                with self.manager(['fail7-[1-20]'], warn=warned.append) as job:
                    self.assertEqual({result.exitcode for result in job}, {7})
            self.assertEqual((len(job.results), len(warned)), (20, 1))
            self.assertEqual(os.listdir('/proc/self/fd'), before)

    def test_no_room_to_feed_a_job_ends_it(self):
        register = classh._Loop.register

        def full(loop, fileobj, events, callback, data=None):
            if events == WRITE and data.host == 'b':
                raise OSError(errno.ENOMEM, 'no room')
            return register(loop, fileobj, events, callback, data)
        file = open(__file__, 'rb')
        self.addCleanup(file.close)
        for source in self.pipe(b'line\n')[0], file:
            with mock.patch('classh._Loop.register', full):
                with self.manager(['a', 'b'], 'read -r line',
                                  input=source) as job:
                    self.assertTrue(job.wait(WAIT_LIMIT))
            self.assertEqual(job.results['b'].reason, 'input lost: no room')
            self.assertEqual(job.results['a'].outcome, 'ok')

    @mock.patch('classh.START_LIMIT', 60)
    def test_error_of_select_loses_no_result(self):
        error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        raised = 0
        with self.manager(['exit7', 'slow', 'c'], fanout=2) as job:
            results = job.poll(0)
            with mock.patch('classh._Loop.dispatch', side_effect=error):
                job.stop()
                while not job.done:
                    try:
                        results += job.poll()
                    except OSError:
                        raised += 1
            self.assertEqual(list(job.not_started()), ['c'])
        self.assertEqual(sorted(result.host for result in results),
                         ['exit7', 'slow'])
        self.assertGreater(raised, 0)

    def test_no_descriptor_at_all_fails_the_hosts_and_leaks_none(self):
        # Each host waits a while; here, as briefly as it can.
        impatient = ('import classh\n'
                     'classh.NO_ROOM_TIMEOUT = classh.NO_ROOM_INTERVAL = .001\n')
        program = impatient + textwrap.dedent(self.LOW)
        for spare in '135':
            mark = os.path.join(self.scratch(), 'warned')
            ended = self.program(program, spare, mark).finish()
            ended.check(0, stdout=None)
            self.assertIn(ended.stdout, ('300 0 0 0\n', '300 0 1 0\n'))


class DesignTest(EngineTest):
    """The two uses that the design promises, as they stand there."""

    STREAM = '''
        from classh import SSHJobMan
        with SSHJobMan(['web[1-20]', 'db1'], 'uptime', timeout=30) as job:
            for result in job:              # as they finish
                print(result.host, result.exitcode, result.output)
        '''
    THREE_LINES = '''
        import sys
        from classh import SSHJobMan
        job = SSHJobMan(sys.argv[1:], 'date +%s')
        job.wait()                          # the original three-line use
        for host, res in job.results.items():
            print(host, res.exitcode, int(res.output) // 10 ** 9, res.errors)
        '''

    def run_source(self, source, ssh, *args):
        return run([sys.executable, '-c', textwrap.dedent(source)]
                   + list(args),
                   env=dict(self.with_ssh_in_path(ssh), PYTHONPATH=MODULE))

    def test_results_as_they_finish(self):
        ended = self.run_source(self.STREAM, 'exec ' + FAKE_SSH)
        hosts = ['web%d' % number for number in range(1, 21)] + ['db1']
        ended.check(0, stdout=None)
        self.assertEqual(sorted(line.split()[:2] for line
                                in ended.stdout.splitlines() if line),
                         sorted([host, '0'] for host in hosts), ended)

    def test_three_lines(self):
        ended = self.run_source(self.THREE_LINES, 'exec ' + FAKE_SSH,
                                'web[1-3]', 'db1').check(0, stdout=None)
        self.assertEqual(sorted(ended.stdout.splitlines()),
                         ['%s 0 1 ' % host for host
                          in ('db1', 'web1', 'web2', 'web3')], ended)

    def test_three_lines_on_real_hosts(self):
        server = sshd()
        ssh = 'exec %s -F %s' % (shutil.which('ssh'), server.config)
        hosts = sorted(server.hosts(5))
        ended = self.run_source(self.THREE_LINES, ssh, *hosts)
        ended.check(0, stdout=None)
        self.assertEqual(sorted(ended.stdout.splitlines()),
                         ['%s 0 1 ' % host for host in hosts], ended)

    def test_it_prints_nothing(self):
        ended = self.run_source('''
            from classh import SSHJobMan
            job = SSHJobMan(['loud', 'unreach', 'slow', 'a'], 'echo x',
                            timeout=.2, fanout=2)
            job.wait()
            ''', 'exec ' + FAKE_SSH)
        ended.check(0, '', '')

    def test_errors_of_classh_are_of_one_family(self):
        with self.assertRaises(ClasshError):
            self.manager(['a['])
