"""What the tests share: a TestCase that lets nothing be left behind, commands
run as processes or on a terminal, a fake ssh and a real sshd.

    class ReportTest(TestCase):
        def test_failed_host_shows_its_status(self):
            run = run_classh('--ssh', FAKE_SSH, 'true', 'exit7')
            run.check(5, stdout=...)

Every wait here has an end, and a failure shows what was run and what came of
it.  Fewer tests need lib.terminal, lib.engine, lib.accounts and
lib.named_hosts.
"""

from .place import (CLASSH, FAKE_SSH, INSTALL_LIMIT, LEFTOVER_LIMIT,
                    LOGGING_SSH, LOOPBACK, MARK, MIB, MODULE, POLL, ROOT,
                    RUN_LIMIT, SCRATCH, SHARED, TESTS, TTY_LAG, WAIT_LIMIT)
from .processes import (children, kill_leftovers, leftovers, pids, processes,
                        stat, text, wait_until)
from .commands import (ASCII, SIGCHLD_BLOCKED, SIGCHLD_IGNORED, STOPPED,
                       Command, Run, after, at_once, classh_argv, elapsed,
                       fake, fake_argv, locales, masked, measured, pipe_from,
                       read_to_end, run, run_classh, shell, start, write)
from .case import TestCase, WorkTest, together, until
from .servers import (Gate, Sshd, end_remote, gate, read_log, sshd,
                      stuck_server)
from .terminal import run_in_pty
