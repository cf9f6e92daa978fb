#!/usr/bin/env python3
"""Turn a run into JUnit XML, from the file of classh --json or --pickle.

    junit.py FILE >hosts.xml

Each host is a test case: a command that failed is a failure, a host that was
not reached, timed out or has no result is an error.  Characters that XML
forbids are written as \\x1b and so on.  Exit status: 0; 1 the file is not one
of results; 2 usage.
"""

import re
from xml.sax.saxutils import escape, quoteattr

from classh import UsageError, load, read_records, run_script

FORBIDDEN = re.compile('[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd'
                       '\U00010000-\U0010ffff]')


def allowed(text):
    """Return *text* with an escape for each character that XML forbids."""
    def escaped(found):
        code = ord(found.group())
        if 0xdc80 <= code <= 0xdcff:    # a byte that is no UTF-8
            code -= 0xdc00
        return '\\x%02x' % code if code < 0x100 else '\\u%04x' % code
    return FORBIDDEN.sub(escaped, text)


def content(text):
    # A reader turns a bare CR into a newline.
    return escape(allowed(text), {'\r': '&#13;'})


def attributes(**values):
    return ''.join(' %s=%s' % (name, quoteattr(allowed(str(value))))
                   for name, value in values.items())


def events(path):
    """Return the records 'run' and 'end' of *path*, and who was started."""
    found, started = {}, []
    with open(path, 'rb') as file:
        if file.peek(1).startswith(b'{'):       # not a pickle
            for record in read_records(file):
                found[record['event']] = record
                if record['event'] == 'start':
                    started.append(str(record.get('host')))
    return found.get('run', {}), found.get('end', {}), started


def cases(result):
    """Yield the lines of the test case of *result*."""
    yield '<testcase%s>' % attributes(
        name=result.host, classname='classh', time='%.3f' % result.elapsed)
    reason = result.reason or 'exited with %d' % result.exitcode
    if result.outcome != 'ok':
        kind = 'failure' if result.outcome == 'error' else 'error'
        yield '<%s%s/>' % (kind, attributes(
            type=result.cause or result.outcome, message=reason))
    elif result.truncated:
        yield '<error%s/>' % attributes(
            type='truncated', message=result.reason or 'output was cut')
    for name, text in (('system-out', result.output),
                       ('system-err', result.diagnostics + result.errors)):
        if text:
            yield '<%s>%s</%s>' % (name, content(text), name)
    yield '</testcase>'


def main(argv, out):
    if len(argv) != 1 or not argv[0]:
        raise UsageError
    finished, failures, errors, time = set(), 0, 0, 0.0
    for result in load(argv[0]):        # once to count, once to write
        finished.add(result.host)
        failures += result.outcome == 'error'
        errors += (result.outcome in ('ssh', 'killed')
                   or result.outcome == 'ok' and result.truncated)
        time += result.elapsed
    run, end, started = events(argv[0])
    lost = [host for host in started if host not in finished]
    out.write_text('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write_text('<testsuites><testsuite%s>\n' % attributes(
        name=run.get('command') or 'classh', failures=failures,
        tests=len(finished) + len(lost), errors=errors + len(lost),
        time='%.3f' % time))
    for result in load(argv[0]):
        out.write_text('\n'.join(cases(result)) + '\n')
    for host in lost:
        out.write_text('<testcase%s><error%s/></testcase>\n' % (
            attributes(name=host, classname='classh', time=0),
            attributes(type='lost', message='started, and no result')))
    if end.get('not_started'):
        out.write_text('<system-err>%s hosts were not started</system-err>\n'
                       % content(str(end['not_started'])))
    out.write_text('</testsuite></testsuites>\n')
    return 0


if __name__ == '__main__':
    run_script(main, __doc__)
