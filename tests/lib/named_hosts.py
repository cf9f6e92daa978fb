"""Hosts with names, for what the README and the examples show.

Every name is the private sshd of these tests; at db1 nobody listens.  What
each host would say for itself, it says by STAND_IN.
"""

import os
import shutil
import sys

from .commands import COMPILED
from .place import CLASSH
from .servers import sshd

# What a host finds first on its PATH, under the names of the commands that
# it stands in for.  HOST is the host's name.
STOOD_IN = ('date', 'df', 'hostname', 'systemctl', 'uname')
STAND_IN = r'''#!/bin/sh
PATH=${PATH#*:}         # without the directory of this one
name=${0##*/}
case $name:$HOST in
hostname:*)     echo "$HOST" ;;
date:web4)      echo 'date: not found' >&2; exit 127 ;;
date:web5)      echo $(($(date "$@") - 3600)) ;;
date:web6)      echo $(($(date "$@") + 3600)) ;;
systemctl:web4) echo inactive; exit 3 ;;
systemctl:web7) exec sleep 60 ;;
systemctl:*)    echo active ;;
uname:web4)     echo 6.1.0-13-amd64 ;;
uname:*)        echo 6.1.0-22-amd64 ;;
df:*)
    echo 'Filesystem 1024-blocks    Used Available Capacity Mounted on'
    echo '/dev/vda1     41152736 9053602  29976372      24% /'
    case $HOST in
    web4) echo 'df: /mnt: Stale file handle' >&2; exit 1 ;;
    web5) echo '/dev/vdb1 10255636 9948042    307594      97% /srv/big files'
    esac ;;
*)              exec "$name" "$@" ;;
esac
'''

SSH = r'''#!%(python)s -ISE
# In ssh's place: with our settings, and on a host that knows its name.
import os, sys
host, command = sys.argv[-2:]
if '--' in sys.argv and not host.startswith('-'):
    sys.argv[-1] = (
        'HOST=%%s PATH="%(remote)s:$PATH"; export HOST PATH; %%s'
        %% (host, command))
os.execv('%(ssh)s', ['ssh', '-F', '%(config)s'] + sys.argv[1:])
'''

CONFIG = '''
Host db1
    Port 1
Host *
    Hostname 127.0.0.1
'''

# A copy of classh.py runs compiled: to compile it takes three times as long as
# to start it.
PYTHON = '''#!/bin/sh
if cmp -s -- "$1" '%(classh)s'; then
    shift
    set -- '%(compiled)s' "$@"
fi
exec '%(python)s' "$@"
'''


def named_hosts(directory):
    """Fill *directory*; return the environment in which those hosts are.

    It is for run().  In it ~ is empty but for ~/bin, and python3 is
    the Python of the tests.
    """
    home = os.path.join(directory, 'home')
    local = os.path.join(directory, 'bin')
    remote = os.path.join(directory, 'remote')
    config = os.path.join(directory, 'ssh_config')
    for path in home, local, remote:
        os.mkdir(path)
    with open(sshd().config) as settings:
        write(config, CONFIG + settings.read())
    words = {'python': sys.executable, 'classh': CLASSH,
             'compiled': COMPILED, 'remote': remote, 'config': config,
             'ssh': shutil.which('ssh')}
    write(os.path.join(local, 'ssh'), SSH % words, 0o755)
    write(os.path.join(local, 'python3'), PYTHON % words, 0o755)
    for name in STOOD_IN:
        write(os.path.join(remote, name), STAND_IN, 0o755)
    return {'HOME': home, 'LC_ALL': 'C', 'TZ': 'UTC',
            'PYTHONDONTWRITEBYTECODE': '1',
            'PATH': ':'.join([local, os.path.join(home, 'bin'),
                              os.environ['PATH']])}


def write(path, content, mode=0o644):
    with open(path, 'w') as file:
        file.write(content)
    os.chmod(path, mode)
