#!/usr/bin/env python3
"""Compare the clocks of hosts with the clock of this one.

    clock_check.py HOST...          as web[01-20], ./file or @group

Prints a line a host, as they answer.  Exit status: 0 all are right as far
as can be told, 1 one is off or did not answer, 2 usage.
"""

from classh import (SSHJobMan, UsageError, parse_host_arguments,
                    run_script)


def check(result):
    """Return what to say of the clock behind *result*, and if it is right."""
    # While our clock went from started to stopped, theirs was for a moment
    # between theirs and theirs + 1: it is ahead of ours by low to high.
    try:
        theirs = int(result.output)
        low = theirs - result.stopped
        high = theirs + 1 - result.started
    except (ValueError, OverflowError):
        return 'error: %s' % (result.errors.strip() or result.reason or
                              'date gave no number'), False
    if low <= 0 <= high:
        return 'nominal, possible error %.1f s' % max(-low, high), True
    ahead = (low + high) / 2
    return 'off: %s by %.1f s, give or take %.1f s' % (
        'fast' if ahead > 0 else 'slow', abs(ahead), (high - low) / 2), False


def main(argv, out):
    if not argv:
        raise UsageError
    hosts = parse_host_arguments(argv)
    status = 0
    with SSHJobMan(hosts, 'date +%s', timeout=30) as job:
        for result in job:
            said, right = check(result)
            out.write_text('%s: %s\n' % (result.host, said))
            if not right:
                status = 1
    return status


if __name__ == '__main__':
    run_script(main, __doc__)
