#!/usr/bin/env python3
"""Show the hosts that took the longest, from a file of --json or --pickle.

    slowest.py FILE [COUNT]         the slowest first, 10 or COUNT of them

Exit status: 0; 1 the file is not one of results; 2 usage.
"""

import heapq

from classh import UsageError, load, run_script


def main(argv, out):
    if not (1 <= len(argv) <= 2 and argv[-1] and
            all(count.isdecimal() for count in argv[1:])):
        raise UsageError
    path, count = argv[0], int(argv[1]) if argv[1:] else 10
    # Results are read one by one, and only these words of them are kept.
    times = ((result.elapsed, result.host, result.reason or result.outcome)
             for result in load(path))
    for elapsed, host, ending in heapq.nlargest(count, times):
        out.write_text('%.1f s: %s: %s\n' % (elapsed, host, ending))
    return 0


if __name__ == '__main__':
    run_script(main, __doc__)
