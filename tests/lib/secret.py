"""Where a secret can be seen, and an ssh that asks for one."""

import glob
import hashlib
import os
import shlex

from .case import WorkTest, until
from .commands import classh_argv
from .place import SCRATCH
from .processes import pids, wait_until
from .terminal import Terminal

# In ssh's place: asks as ssh does, and keeps of the answer only its digest.
# It waits where the test wants to look at all that runs: until HELD is there,
# and the others until the file 'go' is.
ASKING = '''\
log=/dev/null
while [ "$1" != -- ]; do
    case $1 in
    -E) log=$2 ;;
    -G) echo 'loglevel INFO'; exit ;;
    esac
    shift
done
exec 3>"$log"
echo 'debug1: fake' >&3
TARGET=$2
export TARGET
answer=$("$SSH_ASKPASS" "bob@$TARGET's password: ")
echo >>answered
%s
[ "$(printf %%s "$answer" | sha256sum)" = "$(cat digest)" ] || {
    echo "bob@$TARGET: Permission denied (password)." >&3
    exit 255
}
echo "Authenticated to $TARGET ([127.0.0.1]:22)." >&3
echo 'debug1: Sending command: fake' >&3
exec sh -c "$3"
''' % until('go')


def places(secret, but=()):
    """Where *secret* can be seen now: paths, but for those in *but*."""
    secret = secret.encode()
    found = []
    for pid in pids():
        for name in 'cmdline', 'environ', 'comm', 'status':
            found.append('/proc/%s/%s' % (pid, name))
    for place in {SCRATCH, '/dev/shm'} | set(glob.glob('/tmp/classh-*')):
        for directory, _, names in os.walk(place):
            found += [os.path.join(directory, name) for name in names]
    return [path for path in found
            if path not in but and _holds(path, secret)]


def _holds(path, secret):
    try:
        if not (path.startswith('/proc/') or os.path.isfile(path)):
            return False            # a socket, a FIFO
        with open(path, 'rb') as file:
            return secret in file.read()
    except OSError:                 # gone, or not ours to read
        return False


class SecretTest(WorkTest):
    def setUp(self):
        super().setUp()
        self.secret = 'secret-' + os.urandom(8).hex()
        self.write('digest', '%s  -\n' % hashlib.sha256(
            self.secret.encode()).hexdigest())
        self.ssh = shlex.quote(self.program('ssh', ASKING))

    def check(self, *texts, but=()):
        """Fail if the secret can be seen anywhere, or is in *texts*."""
        self.assertEqual(places(self.secret, but), [])
        for text in texts:
            self.assertNotIn(self.secret, text)

    def terminal(self, *args, **options):
        terminal = Terminal(classh_argv('--ssh', self.ssh, *args),
                            cwd=self.directory, **options)
        self.addCleanup(terminal.__exit__)
        return terminal

    def asked(self, count):
        wait_until(lambda: len(self.lines('answered')) >= count,
                   what='%d have an answer' % count)

    def file(self):
        return self.write('secret', self.secret + '\n', 0o600)
