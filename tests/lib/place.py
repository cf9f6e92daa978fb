"""Where the tests are and how long they wait, and what must be so before the
first of them runs: the module importable, a mark, a scratch directory.
"""

import atexit
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time

from all import MODULE_PLACE, compile_module

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(TESTS)
FAKE_SSH = shlex.quote(os.path.join(TESTS, 'bin', 'fake_ssh'))  # for --ssh
LOGGING_SSH = shlex.quote(os.path.join(TESTS, 'bin', 'logging_ssh'))
LOOPBACK = os.path.join(TESTS, 'loopback')
CLASSH = os.path.join(ROOT, 'classh.py')

MIB = 1 << 20

RUN_LIMIT = 60.0        # seconds for a command that a test runs
INSTALL_LIMIT = 600.0   # seconds for one that may install something first
WAIT_LIMIT = 20.0       # seconds for what should happen at once
LEFTOVER_LIMIT = 5.0    # seconds for what was killed to be gone
POLL = .01              # seconds between two looks
TTY_LAG = 1.0           # seconds that a terminal may take to pass bytes on

# Whatever the tests start, and whatever that starts, carries this in its
# environment, so that it is found wherever it went.
MARK = 'CLASSH_TEST_RUN'
os.environ[MARK] = '%d.%d' % (os.getpid(), time.time())

# Whatever is written to a temporary directory goes when the tests end.  Its
# name is short enough for sockets in it.
SCRATCH = tempfile.mkdtemp(
    prefix='classh-tests.',
    dir='/tmp' if len(tempfile.gettempdir()) > len('/var/tmp') else None)
tempfile.tempdir = os.environ['TMPDIR'] = SCRATCH
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

# What begins so in SCRATCH is shared by the tests: not one of them leaves it.
SHARED = 'shared.'

# The directory of a copy of classh.py that is compiled, for PYTHONPATH.
MODULE = os.environ.get(MODULE_PLACE) or os.path.join(SCRATCH,
                                                      SHARED + 'module')
if not os.path.exists(MODULE):
    compile_module(MODULE)
sys.path.insert(0, MODULE)

# These end a test run as Ctrl-C does: what it started is stopped.
for _number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_DFL:
        signal.signal(_number, signal.default_int_handler)

# What a shell starts with '&', or nohup, has some of them ignored.  We go on
# ignoring them, but what we start is to hear them: no handler is inherited.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)

# A thread's end makes the C library load this one, after join() has returned:
# for a moment a descriptor is open that no test opened.
with contextlib.suppress(ImportError, OSError):
    import ctypes
    ctypes.CDLL('libgcc_s.so.1')
