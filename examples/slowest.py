#!/usr/bin/env python3
"""Show the hosts that took the longest, from the file of classh --pickle.

    slowest.py FILE [COUNT]         the slowest first, 10 or COUNT of them

Exit status: 0; 1 the file is not one of results; 2 usage.
"""

import heapq
import sys

from classh import ClasshError, Output, load


def main(argv):
    if not (1 <= len(argv) <= 2 and argv[-1] and
            all(count.isdecimal() for count in argv[1:])):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    path, count = argv[0], int(argv[1]) if argv[1:] else 10
    # Results are read one by one, and only these words of them are kept.
    times = ((result.elapsed, result.host, result.reason or result.outcome)
             for result in load(path))
    out = Output(sys.stdout)
    for elapsed, host, ending in heapq.nlargest(count, times):
        out.write(out.safe_lines('%.1f s: %s: %s' % (elapsed, host, ending))
                  + '\n')
    if out.error:
        raise out.error
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except (ClasshError, OSError) as error:
        print('slowest.py: %s' % error, file=sys.stderr)
        sys.exit(1)
