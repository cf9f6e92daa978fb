#!/usr/bin/env python3
"""Run a command on hosts and gather those that answer alike.

    same_or_not.py COMMAND HOST...  hosts or patterns, as web[01-20]

Prints each answer once, under the hosts that gave it, the most common first.
Exit status: 0 all answered, and alike; 1 not; 2 usage.
"""

import collections
import sys

from classh import ClasshError, Output, SSHJobMan, fold


def answer(result):
    """Return what to compare: how it ended, and what it said."""
    if result.outcome in ('ssh', 'killed'):
        return result.reason, ''        # ssh names the host in its errors
    ending = 'exit status %d' % result.exitcode
    if result.truncated:                # what is missing may differ
        ending += ', ' + (result.reason or 'output cut at its limit')
    return ending, result.errors + result.output


def main(argv):
    if len(argv) < 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    command, hosts = argv[0], argv[1:]
    groups = collections.defaultdict(list)
    answered = True
    with SSHJobMan(hosts, command, timeout=60, keep=False) as job:
        for result in job:
            groups[answer(result)].append(result.host)
            answered = (answered and result.outcome in ('ok', 'error')
                        and not result.truncated)
    out = Output(sys.stdout)
    for count, alike, (ending, said) in sorted(
            (-len(hosts), fold(hosts), what) for what, hosts in
            groups.items()):
        out.write('-- %s: %s\n' % (alike, ending))
        if said:
            out.write(out.safe(said.rstrip('\n')) + '\n')
    if out.error:
        raise out.error
    return 0 if len(groups) == 1 and answered else 1


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except ClasshError as error:
        print('same_or_not.py: %s' % error, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        sys.exit('same_or_not.py: %s' % error)
