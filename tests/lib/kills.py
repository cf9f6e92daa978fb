"""Runs with a journal that are killed at random moments, and resumed."""

import os
import re
import signal
import time

from .processes import leftovers, wait_until
import classh

# Each host that runs it is noted, in one write.
COMMAND = ('echo $HOST >>ran; sleep .0$(($$ % 3)); '
           'case $HOST in bad*) exit 3; esac')
BAD = 5                 # hosts that fail
MOST = 3                # kills of one run


class KilledRun:
    """A run on *count* fake hosts, killed up to MOST times at moments that
    *dice* choose, and resumed until it ends by itself.

    *work* is a WorkTest, and *directory* an empty one.
    """

    def __init__(self, work, dice, directory, count=50):
        self.kills = 0
        self.said = None        # the Run that came to its end
        self._work = work
        self._dice = dice
        self._directory = directory
        self._count = count
        self._hosts = ['n[1-%d]' % (count - BAD), 'bad[1-%d]' % BAD]

    def _lines(self, name):
        try:
            with open(os.path.join(self._directory, name)) as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def run(self):
        first = ['--journal', 'j', '-f%d' % self._dice.choice([1, 4, 16]),
                 '-q', COMMAND, *self._hosts]
        words = first
        planned = self._dice.randint(1, MOST)
        while self.said is None:
            with self._work.start(*words, cwd=self._directory) as command:
                if self.kills < planned:
                    self._wait(command)
                    command.signal(signal.SIGKILL)
                said = command.finish()
            if said.status != -signal.SIGKILL:
                self.said = said
                break
            self.kills += 1
            if self._lines('j'):
                words = ['--resume', 'j']
            else:               # nothing was started, or it would be told
                self._work.assertEqual(self._lines('ran'), [], said)
        wait_until(lambda: not leftovers(), what='all commands ended')
        return self

    def _wait(self, command):
        """Wait for a moment between the start of the run and its end."""
        dice = self._dice
        if dice.random() < .1:
            time.sleep(dice.random() * .3)
            return
        # Two records a host, with that of the run before them.
        wanted = len(self._lines('j')) + dice.randint(
            0, 2 * (self._count - len(self._lines('ran'))) + 1)
        while len(self._lines('j')) < wanted:
            if os.waitid(os.P_PID, command.pid,
                         os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
        time.sleep(dice.random() ** 3 * .02)

    def check(self):
        """Fail unless each host has run once, or is named as lost."""
        ran, said, test = self._lines('ran'), self.said, self._work
        hosts = {host for pattern in self._hosts
                 for host in classh.expand(pattern)}
        found = re.search(r'(?m)^(\d+) lost, not run again \(--again lost\): '
                          '(.*)$', said.stderr)
        lost = set(classh.expand(found.group(2))) if found else set()
        test.assertEqual(len(lost), int(found.group(1)) if found else 0, said)
        test.assertEqual(len(ran), len(set(ran)), 'run twice: %s' % said)
        test.assertEqual(hosts - set(ran) - lost, set(), said)
        test.assertLessEqual(set(ran) | lost, hosts, said)
        test.assertEqual(said.status, 3 if lost else 5, said)
        return lost
