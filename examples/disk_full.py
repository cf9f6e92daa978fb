#!/usr/bin/env python3
"""Show which hosts have a file system that is nearly full.

    disk_full.py HOST...            as web[01-20], ./file or @group

Prints a line a file system over the limit below, and a line for a host that
could not tell.  Exit status: 0 nothing to print, 1 something, 2 usage.
"""

from classh import (SSHJobMan, UsageError, parse_host_arguments,
                    run_script)

LIMIT = 90      # per cent


def nearly_full(df):
    """Yield (per cent used, mount point) of each in the output of df -P."""
    for line in df.splitlines():
        # File system, blocks, used, available, 97%, mount point.
        fields = line.split(None, 5)
        used = fields[4].rstrip('%') if len(fields) == 6 else ''
        if used.isdecimal() and int(used) > LIMIT:
            yield int(used), fields[5]


def main(argv, out):
    if not argv:
        raise UsageError
    hosts = parse_host_arguments(argv)
    status = 0
    with SSHJobMan(hosts, 'df -P', timeout=30) as job:
        for result in job:
            lines = ['%d%% %s' % found for found in nearly_full(result.output)]
            if result.outcome != 'ok' or result.truncated:
                lines.append(result.errors.strip() or result.reason or (
                    'df printed too much' if result.truncated else
                    'df exited with %d' % result.exitcode))
            for line in lines:
                out.write_text('%s: %s\n' % (result.host, line))
                status = 1
    return status


if __name__ == '__main__':
    run_script(main, __doc__)
