"""What the tests of the prompt share."""

import glob
import os

from .case import WorkTest
from .commands import classh_argv, run_classh
from .place import FAKE_SSH, SCRATCH
from .terminal import Terminal


def private_directories():
    """What classh has made for itself; none may be left.

    In SCRATCH, which is TMPDIR: elsewhere are those of other runs on this
    machine.
    """
    return set(glob.glob(os.path.join(SCRATCH, 'classh-*')))


class ShellTest(WorkTest):
    """A home of its own, so that nobody's history is read or written."""

    starter = classh_argv()

    def setUp(self):
        super().setUp()
        os.mkdir(self.path('home'))
        self.env = {'HOME': self.path('home')}

    def argv(self, *args, ssh=FAKE_SSH):
        return self.starter + ['--ssh', ssh, '--shell', *args]

    def shell(self, *args, ssh=FAKE_SSH, prompt='classh ', **env):
        """The shell on a terminal, at its first prompt."""
        terminal = Terminal(self.argv(*args, ssh=ssh),
                            env=dict(self.env, **env), cwd=self.directory)
        self.addCleanup(terminal.__exit__)
        terminal.expect(prompt)
        return terminal

    @staticmethod
    def say(terminal, line, prompt='> '):
        """Type *line*; return what shows after it, to the next prompt."""
        terminal.type(line + '\n')
        terminal.expect(line)
        return terminal.expect('classh ').replace('\r', '')

    def piped(self, script, *args, **options):
        options.setdefault('cwd', self.directory)
        options['env'] = dict(self.env, **options.get('env') or {})
        return run_classh('--ssh', FAKE_SSH, '--shell', *args, stdin=script,
                          **options)
