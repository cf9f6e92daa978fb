"""A Relay, which has others run the command: here a list, and the test."""

import io
import os
from unittest import mock

from lib import TestCase
import classh
from classh import FailLimit, Journal, Relay, Result, SSHJobMan


class Heard(Relay):
    """Keeps what it is asked, and has *places*."""

    def __init__(self, places=9):
        self.places = places
        self.started = []
        self.ended = []
        self.closed = False

    def room(self):
        return self.places

    def start(self, host):
        self.places -= 1
        self.started.append(host)

    def end(self, host, hard):
        self.ended.append((host, hard))

    def close(self):
        self.closed = True


def result(host, outcome='ok', **more):
    return Result(host, 0 if outcome == 'ok' else 3, 'out of ' + host, '',
                  1e9, 1e9 + 1, outcome, '', False, **more)


class RelayTest(TestCase):
    def manager(self, hosts, relay, **options):
        manager = SSHJobMan(hosts, 'true', transport=relay, grace=.02,
                            **options)
        self.addCleanup(manager.close)
        return manager

    def test_hosts_are_handed_out_as_there_is_room(self):
        relay = Heard(2)
        manager = self.manager('h[1-9]', relay, fanout=3)
        self.assertEqual(manager.poll(0), [])
        self.assertEqual(relay.started, ['h1', 'h2'])
        relay.places = 9
        manager.poll(0)
        self.assertEqual(relay.started, ['h1', 'h2', 'h3'])     # the fanout
        self.assertEqual(set(manager.time_left.values()), {None})
        given = result('h2', ran='yes', tries=4)
        manager.deliver(given)
        self.assertEqual(manager.poll(0), [given])
        self.assertEqual(manager.results, {'h2': given})
        self.assertEqual(sorted(manager.running), ['h1', 'h3'])
        manager.poll(0)
        self.assertEqual(relay.started[3:], ['h4'])
        for host in 'h2', 'h9':     # it is over, and it has not begun
            manager.deliver(result(host))
        self.assertEqual(manager.poll(0), [])

    def test_all_rules_and_the_journal_hold(self):
        path = os.path.join(self.scratch(), 'journal')
        relay = Heard()
        with Journal(path) as journal:
            manager = self.manager('h[1-9]', relay, fanout=4,
                                   pace=FailLimit(0), journal=journal)
            manager.poll(0)
            manager.deliver(result('h1', 'error', ran='yes'))
            manager.deliver(result('h2', 'ssh', cause='refused', ran='no'))
            manager.deliver(result('h3', 'ssh', cause='lost'))
            self.assertEqual(len(manager.poll(0)), 3)
            manager.poll(0)
            manager.close()         # h4 has no other result
        self.assertEqual(relay.started, ['h1', 'h2', 'h3', 'h4'])
        self.assertEqual(manager.stopped_why, '1 of 1 failed')
        with Journal(path, resume=True) as journal:
            self.assertEqual([journal.ending(host).state for host in
                              relay.started],
                             ['failed', 'unreached', 'lost', 'lost'])

    def test_stop_asks_for_an_end_and_waits_for_it_twice_the_grace(self):
        relay = Heard()
        manager = self.manager('h[1-3]', relay, fanout=2)
        manager.poll(0)
        manager.stop()
        self.assertEqual(relay.ended, [('h1', False), ('h2', False)])
        stopped = result('h1', 'killed', cause='stopped')
        manager.deliver(stopped)
        manager.wait(5)
        self.assertEqual(relay.ended[2:], [('h2', True)])
        self.assertEqual(manager.results['h1'], stopped)
        given_up = manager.results['h2']
        self.assertEqual((given_up.outcome, given_up.cause, given_up.ran,
                          given_up.reason),
                         ('killed', 'stopped', 'unknown',
                          'stopped, would not die'))
        manager.close()
        self.assertTrue(relay.closed)
        self.assertEqual(classh._Pool._given_up, set())

    def test_host_that_cannot_be_handed_out_fails_alone(self):
        relay = Heard()
        relay.start = mock.Mock(side_effect=[OSError(5, 'no line'), None])
        manager = self.manager('h[1-2]', relay)
        [failed] = manager.poll(0)
        self.assertEqual((failed.host, failed.cause, failed.ran,
                          failed.reason),
                         ('h1', 'start', 'no',
                          'the relay could not be started: no line'))
        manager.deliver(result('h2'))
        self.assertEqual([found.host for found in manager.poll(0)], ['h2'])

    def test_main_has_the_relay_run_and_shows_what_it_delivers(self):
        class Echo(Heard):
            def attach(self, manager):
                self.manager = manager

            def start(self, host):
                super().start(host)
                self.manager.call_later(0, lambda: self.manager.deliver(
                    result(host)))

        relay = Echo(99)
        with mock.patch('sys.stdout', io.StringIO()), \
                mock.patch('sys.stderr', io.StringIO()) as err:
            status = classh.main(
                ['-u10m', '-q', '--ssh', 'sh -x', '-Oa=b', '-O', 'c=d', '-f7',
                 'true', 'h[1-20]'], relay)
        self.assertEqual((status, err.getvalue()), (0, ''))
        self.assertEqual(len(relay.started), 20)
        self.assertEqual(sorted(relay.options), [
            '--ssh-option=a=b', '--ssh-option=c=d', '--ssh=sh -x',
            '--timeout=600.0'])

    def test_main_refuses_what_does_not_reach_others(self):
        for option in ('-A', '--askpass-file=x', '--sudo', '-I', '-P', '-Jx',
                       '--share', '--shell'):
            relay = Heard()
            with mock.patch('sys.stdout', io.StringIO()), \
                    mock.patch('sys.stderr', io.StringIO()) as err:
                args = ['h1'] if option == '--shell' else ['true', 'h1']
                self.assertEqual(classh.main([option, *args], relay), 2)
            name = '-J' if option == '-Jx' else option.partition('=')[0]
            self.assertEqual(err.getvalue(), 'classh: %s does not reach '
                             'those who run COMMAND here\n' % name)
            self.assertEqual(relay.started, [])
