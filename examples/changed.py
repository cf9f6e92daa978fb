#!/usr/bin/env python3
"""Show what differs between two runs, from files of --json or --pickle.

    changed.py OLD NEW

Prints each change once, with the hosts that it happened to: how they ended,
or what they said.  Their own names in it count as alike.  Exit status: 0
nothing has changed, 1 something, or a file is not one of results; 2 usage.
"""

import collections
import difflib

from classh import UsageError, fold, load, mask, run_script

DIFF_LINES = 5000       # of longer texts it is only said that they differ


def said(result):
    """Return how *result* ended, and what the host said."""
    ending = mask(result.reason, result.host) or (
        'ok' if result.outcome == 'ok' else 'exited with %d' % result.exitcode)
    if result.outcome == 'ssh' and result.cause not in ('', 'ssh'):
        return ending, ''       # ssh's own words add no more than addresses
    if result.truncated:
        ending += ', output not whole'
    return ending, mask(''.join(
        part if part.endswith('\n') or not part else part + '\n'
        for part in (result.diagnostics, result.errors, result.output)),
        result.host)


def difference(old, new):
    """Yield the lines of a diff of two texts."""
    if old.count('\n') + new.count('\n') > DIFF_LINES:
        yield 'the texts are too long to compare here'
        return
    lines = difflib.unified_diff(old.split('\n')[:-1], new.split('\n')[:-1],
                                 lineterm='', n=1)
    yield from list(lines)[2:]          # without the names of files


def main(argv, out):
    if len(argv) != 2 or not all(argv):
        raise UsageError
    texts = {}                          # so that each is held once
    runs = []
    for path in argv:
        runs.append(collections.OrderedDict())
        for result in load(path):
            ending, text = said(result)
            runs[-1][result.host] = ending, texts.setdefault(text, text)
    old, new = runs
    changes = collections.defaultdict(list)
    for host in list(old) + [host for host in new if host not in old]:
        if old.get(host) != new.get(host):
            changes[old.get(host), new.get(host)].append(host)
    for (before, after), hosts in sorted(
            changes.items(), key=lambda item: (-len(item[1]), fold(item[1]))):
        if before is None or after is None:
            what = 'not in ' + argv[0 if before is None else 1]
        elif before[0] == after[0]:
            what = before[0] + ', another answer'
        else:
            what = '%s -> %s' % (before[0], after[0])
        out.write_text('%s: %s\n' % (fold(hosts), what))
        if before and after:
            for line in difference(before[1], after[1]):
                out.write_text('  %s\n' % line)
    return 1 if changes else 0


if __name__ == '__main__':
    run_script(main, __doc__)
