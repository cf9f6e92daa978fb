#!/usr/bin/env python3
"""Run a command on hosts and gather those that answer alike.

    same_or_not.py COMMAND HOST...  hosts or patterns, as web[01-20]

Prints each answer once, under the hosts that gave it, the most common first.
Exit status: 0 all answered, and alike; 1 not; 2 usage.
"""

import collections

from classh import SSHJobMan, UsageError, fold, run_script


def answer(result):
    """Return what to compare: how it ended, and what it said."""
    if result.outcome in ('ssh', 'killed'):
        return result.reason, ''        # ssh names the host in its errors
    ending = 'exit status %d' % result.exitcode
    if result.truncated:                # what is missing may differ
        ending += ', ' + (result.reason or 'output cut at its limit')
    return ending, result.errors + result.output


def main(argv, out):
    if len(argv) < 2:
        raise UsageError
    command, hosts = argv[0], argv[1:]
    groups = collections.defaultdict(list)
    answered = True
    with SSHJobMan(hosts, command, timeout=60, keep=False) as job:
        for result in job:
            groups[answer(result)].append(result.host)
            answered = (answered and result.outcome in ('ok', 'error')
                        and not result.truncated)
    for count, alike, (ending, said) in sorted(
            (-len(hosts), fold(hosts), what) for what, hosts in
            groups.items()):
        out.write_text('-- %s: %s\n' % (alike, ending))
        if said:
            out.write_text(said.rstrip('\n') + '\n')
    return 0 if len(groups) == 1 and answered else 1


if __name__ == '__main__':
    run_script(main, __doc__)
