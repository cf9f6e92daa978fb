"""A headless Chromium that a test drives, over a pipe and without packages."""

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import unittest

from .accounts import not_run
from .place import WAIT_LIMIT

NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'
FLAGS = '''--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --disable-dev-shm-usage --disable-breakpad --remote-debugging-pipe'''
START_LIMIT = 3 * WAIT_LIMIT    # seconds: it is large, and a machine may be
                                # busy


@functools.lru_cache(maxsize=None)
def chromium():
    """The path of Chromium; raise SkipTest where there is none."""
    paths = (shutil.which(name) for name in NAMES)
    found = next(filter(None, paths), None)
    if not found:
        raise unittest.SkipTest(not_run(
            'pages in a browser', 'no Chromium; CLASSH_TEST_BROWSER=1 sh '
            'tests/run installs it, where it can'))
    return found


class Browser:
    """Chromium with one page; its files go to *directory*.

    As a context manager it is ended at the end, and all that it started.
    """

    def __init__(self, directory):
        self._number = 0
        self._session = None
        self._unread = b''
        # Chromium reads from descriptor 3 and writes to 4.
        reads, self._commands = os.pipe()
        self._replies, writes = os.pipe()
        try:
            self._popen = subprocess.Popen(
                ['sh', '-c', 'exec 3<&%d 4>&%d; exec "$@"' % (reads, writes),
                 'sh', chromium()] + FLAGS.split() + [
                    '--user-data-dir=' + os.path.join(directory, 'profile'),
                    'about:blank'],
                pass_fds=(reads, writes), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(os.environ, HOME=directory, TMPDIR=directory))
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(reads)
            os.close(writes)

    def open(self, path):
        """Show the file *path*; wait until it is loaded."""
        if not self._session:
            target = self.ask('Target.createTarget', url='about:blank')
            self._session = self.ask(
                'Target.attachToTarget', targetId=target['targetId'],
                flatten=True)['sessionId']
        # It answers when scripts run in the new page, not in the old one.
        self.ask('Page.navigate', url='file://' + path)
        self.run('new Promise(done => document.readyState === "complete" '
                 '? done() : addEventListener("load", done))')

    def run(self, script):
        """Return what the JavaScript *script* gives in the page; it may be a
        promise.  An exception there is one here."""
        answer = self.ask('Runtime.evaluate', expression=script,
                          returnByValue=True, awaitPromise=True,
                          userGesture=True)
        if 'exceptionDetails' in answer:
            raise AssertionError('%s: %s' % (script, answer))
        return answer['result'].get('value')

    def ask(self, method, **params):
        """Return the result of a command of Chromium's DevTools protocol."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._commands, json.dumps(message).encode() + b'\0')
        while True:
            reply = self._next_reply()
            if reply.get('id') == self._number:
                if 'error' in reply:
                    raise AssertionError('%s: %s' % (message, reply))
                return reply['result']

    def _next_reply(self):
        while b'\0' not in self._unread:
            if not select.select([self._replies], [], [], START_LIMIT)[0]:
                raise AssertionError('no word from Chromium')
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                raise AssertionError('Chromium has ended')
            self._unread += chunk
        reply, self._unread = self._unread.split(b'\0', 1)
        return json.loads(reply.decode())

    def _close_pipes(self):
        os.close(self._commands)
        os.close(self._replies)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(OSError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._close_pipes()
