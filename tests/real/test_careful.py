"""Careful runs, against a real sshd."""

import json
import unittest

from lib import WorkTest, sshd


class RollingRestartTest(WorkTest):
    """A service on 100 hosts is restarted, 4 at a time; one does not come
    up, the 12th."""

    RESTART = ('echo $$ >>restarts; '
               '[ "$(sed -n 12p restarts)" != $$ ] || exit 3')

    @classmethod
    def setUpClass(cls):
        cls.sshd = sshd()

    def restart(self, *args):
        return self.classh('--ssh', self.sshd.ssh, '-q', '-f4',
                           '--json=records', *args)

    def go_on(self, *args):
        # Without --ssh classh() would put the fake one in its place.
        return self.classh('--ssh', self.sshd.ssh, '-q', '--resume',
                           'journal', *args)

    def test_no_more_start_once_one_has_failed_and_resume_goes_on(self):
        self.write('restarts')
        said = self.restart(
            '--journal', 'journal', '--max-fail', '0', 'cd %s && { %s; }' % (
                self.directory, self.RESTART), '127.0.0.[1-100]')
        said.check(6, '', None)
        records = [json.loads(line) for line in self.lines('records')]
        events = [(record['event'], record.get('exitcode'))
                  for record in records]
        failed = events.index(('result', 3))
        begun = sum(event == 'start' for event, _ in events)
        # None starts after it, and what runs by then comes to its end.
        self.assertNotIn(('start', None), events[failed:])
        after = [record for record in records[failed + 1:]
                 if record['event'] == 'result']
        self.assertLess(len(after), 4)
        self.assertEqual({record['outcome'] for record in after} - {'ok'},
                         set())
        self.assertEqual(len(self.lines('restarts')), begun)
        self.assertLess(begun, 100)
        self.assertEqual((records[-1]['status'], records[-1]['hosts'],
                          records[-1]['error'], records[-1]['not_started']),
                         (6, 100, 1, 100 - begun))
        self.assertRegex(
            said.stderr, r'\Aclassh: stopped: 1 of \d+ failed \(--max-fail '
            r'0\)\n%d of 100 not started: 127\.0\.0\.\[\d+-100\]\n'
            r'go on with: classh --resume journal\n\Z'
            % (100 - begun))
        # The one that failed is not run again unless it is asked for.
        self.assertIn('1 failed, not run again (--again failed): 127.',
                      self.go_on().check(5, '', None).stderr)
        self.assertEqual(len(self.lines('restarts')), 100)
        self.go_on('--again', 'failed').check(0, '')
        self.assertEqual(len(self.lines('restarts')), 101)

    def test_host_that_nobody_reaches_is_a_failure(self):
        # It is the first to be tried; without a limit the others would run.
        self.write('restarts')
        said = self.restart('--first', '1', '--ramp', 'cd %s && %s' % (
            self.directory, self.RESTART), 'nobody@127.0.0.1:1',
            '127.0.0.[2-9]')
        said.check(6, '', 'classh: stopped: nobody@127.0.0.1:1 failed, the '
                   'first (--first 1)\n8 of 9 not started: 127.0.0.[2-9]\n')
        self.assertEqual(self.lines('restarts'), [])


if __name__ == '__main__':
    unittest.main()
