"""The seam of the views: what a way to show a run is told, and when."""

import sys
import textwrap
import unittest

from lib import FAKE_SSH, MODULE, Command, WorkTest, run, wait_until

# Writes down all that it is told, but for the turns with nothing to tell.
LOGGER = textwrap.dedent('''
    import sys, classh

    class Logger(classh.View):
        ticks = 0

        def log(self, *words):
            self.console.write(' '.join(words) + '\\n')

        def started(self, host, tries):
            self.log('started', host)

        def data(self, host, stream, octets):
            self.log('data', host, stream, repr(octets))

        def finished(self, result):
            self.log('finished', result.host, result.outcome)

        def tick(self):
            self.ticks += 1

        def close(self):
            self.log('closed')
            if not self.ticks:
                self.log('no ticks')

    classh.choose_views = lambda options, out, err: [Logger(out)]
    sys.exit(classh.main())
    ''')

# As where there is no room to watch a stream.
CLOSED = textwrap.dedent('''
    import os, signal, sys, classh

    class Closed(classh.View):
        def open(self, manager, hosts):
            os.kill(os.getpid(), signal.SIGUSR1)
            raise OSError(28, 'no room')

    classh.choose_views = lambda options, out, err: [Closed(out)]
    sys.exit(classh.main())
    ''')


class ViewTest(WorkTest):
    def setUp(self):
        super().setUp()
        self.options = {'env': {'PYTHONPATH': MODULE}, 'cwd': self.directory}

    @staticmethod
    def argv(*args):
        return [sys.executable, '-c', LOGGER, '--ssh', FAKE_SSH, *args]

    def logged(self, *args, **options):
        return run(self.argv(*args), **self.options, **options)

    def test_view_is_told_of_each_start_of_bytes_and_of_each_result(self):
        said = self.logged('-f1', 'echo out; echo err >&2; exit 3', 'a', 'b')
        said.check(5, None, '2 of 2 exited with 3: a,b\n')
        lines = said.stdout.splitlines()
        self.assertEqual(lines[-1], 'closed', said)
        for begin, host in (0, 'a'), (4, 'b'):
            first, *data, last = lines[begin:begin + 4]
            self.assertEqual((first, last), (
                'started ' + host, 'finished %s error' % host), said)
            self.assertEqual(sorted(data), [
                "data %s errors b'err\\n'" % host,
                "data %s output b'out\\n'" % host], said)

    def test_bytes_come_before_the_end_and_whole_whatever_is_kept(self):
        with Command(self.argv('--max-output', '1', 'printf ab; '
                               'while ! [ -e go ]; do sleep .02; done; '
                               'printf cd', 'a'), **self.options) as running:
            wait_until(lambda: "data a output b'ab'\n" in running.stdout)
            self.write('go')
            running.finish().check(
                0, "started a\ndata a output b'ab'\ndata a output b'cd'\n"
                'finished a ok\nclosed\n', None)

    def test_where_a_view_does_not_open_a_signal_still_asks_for_progress(self):
        run([sys.executable, '-c', CLOSED, '--ssh', FAKE_SSH, 'true', 'a',
             'b'], **self.options).check(
            1, '', 'classh: stopping: no room\n'
            'classh: 0 of 2   0 running\n  2 not started: a,b\n'
            '2 of 2 not started: a,b\n')


if __name__ == '__main__':
    unittest.main()
