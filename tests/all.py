"""Run every test file, a few at a time, each in a process of its own.

Most of their time they wait.  A file that fails is run once more, by itself:
what fails then does not fail for want of time on a busy machine.  What it
printed is shown both times; at the end stands how many tests there were.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
AT_ONCE = 4             # files
# These wait most, so they begin first; the others follow by their size.
SLOWEST = ('test_readme', 'test_shell', 'test_sinks', 'test_bench',
           'test_failures_hangs', 'test_examples', 'test_failures_status')


def run(name):
    """Return (name, seconds, unittest's exit status, what it printed)."""
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, '-m', 'unittest', name], cwd=HERE,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    return (name, time.monotonic() - begun, ended.returncode,
            ended.stdout.decode('utf-8', 'backslashreplace'))


def slowness(name):
    return (name in SLOWEST, os.path.getsize(os.path.join(HERE, name + '.py')))


def tell(result):
    """Show how a file did; return (passed, failed, skipped)."""
    name, seconds, status, printed = result
    found = re.search(r'^Ran (\d+) tests? in', printed, re.MULTILINE)
    count = int(found.group(1)) if found else 0
    # '(failures=1, errors=2, skipped=3)' stands on the last line.
    said = dict(re.findall(r'(\w+)=(\d+)',
                           printed.rstrip().rpartition('\n')[2]))
    skipped = int(said.get('skipped', 0))
    failed = int(said.get('failures', 0)) + int(said.get('errors', 0))
    if status:
        failed = failed or 1                # it did not get so far
        print(printed)
    print('%-26s %4d tests %5.0f s  %s' % (
        name, count, seconds, 'FAILED' if status else 'ok'), flush=True)
    return max(0, count - failed - skipped), failed, skipped


def main():
    names = [entry[:-3] for entry in os.listdir(HERE)
             if re.fullmatch(r'test_\w+\.py', entry)]
    names.sort(key=slowness, reverse=True)
    again = []
    counts = []
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for done in concurrent.futures.as_completed(
                [pool.submit(run, name) for name in names]):
            count = tell(done.result())
            if count[1]:
                again.append(done.result()[0])
            else:
                counts.append(count)
    for name in again:
        print('once more, by itself:', name, flush=True)
        counts.append(tell(run(name)))
    passed, failed, skipped = map(sum, zip(*counts))
    print('\n%d passed, %d failed, %d skipped' % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
