"""Run the tests, each module in a process of its own, a few at a time.

    all.py [UNITTEST'S OPTIONS] [NAME...]

NAME is a folder, a module, or one test: unit, program/test_sinks,
program/test_sinks.FileTest.  Without one all are run.  The folder unit is
one process, because its tests start none.

What a module printed is shown where it failed; at the end stands how many
tests there were.
"""

import concurrent.futures
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
AT_ONCE = 5             # processes: most of their time they wait
IN_ONE = 'unit'
# These wait most, so they begin first; the others follow by their size.
SLOWEST = ('docs.test_readme', 'program.test_shell', 'program.test_sinks',
           'bench.test_bench', 'docs.test_examples', 'docs.test_on_dask')
# unittest's status from Python 3.12 on where no test ran; 3.12 has it also
# where setUpClass() skipped them all, for want of root, say.
NONE_RAN = 5
# In the environment of the tests: where the copy of classh.py is that all of
# them use.
MODULE_PLACE = 'CLASSH_TEST_MODULE'


def compile_module(directory):
    """Make *directory*, with a copy of classh.py that is compiled: to compile
    it takes three times as long as to start it."""
    os.mkdir(directory)
    py_compile.compile(shutil.copy2(
        os.path.join(os.path.dirname(HERE), 'classh.py'), directory),
        doraise=True)


def modules(folder):
    """The names of the test modules in *folder*, as unittest takes them."""
    return sorted('%s.%s' % (folder, entry[:-3])
                  for entry in os.listdir(os.path.join(HERE, folder))
                  if re.fullmatch(r'test_\w+\.py', entry))


def folders():
    return sorted(entry for entry in os.listdir(HERE)
                  if os.path.isdir(os.path.join(HERE, entry))
                  and modules(entry))


def processes(names):
    """Yield (title, the arguments for one unittest) of *names*."""
    for name in names:
        name = re.sub(r'^tests/|/+$|\.py$', '', name)
        if name not in folders():
            name = name.replace('/', '.')
            yield name, [name]
        elif name == IN_ONE:
            yield name, modules(name)
        else:
            for module in modules(name):
                yield module, [module]


def slowness(process):
    title, names = process
    paths = [os.path.join(HERE, *name.split('.')) + '.py' for name in names]
    # What is named may be a class in a module.
    return title in SLOWEST, sum(map(os.path.getsize,
                                     filter(os.path.exists, paths)))


def unittest(names):
    return [sys.executable, '-m', 'unittest'] + names


def run(title, names):
    """Return (title, seconds, unittest's exit status, what it printed)."""
    begun = time.monotonic()
    ended = subprocess.run(
        unittest(names), cwd=HERE, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return (title, time.monotonic() - begun, ended.returncode,
            ended.stdout.decode('utf-8', 'backslashreplace'))


def tell(result):
    """Show how a process did; return (passed, failed, skipped)."""
    title, seconds, status, printed = result
    found = re.search(r'^Ran (\d+) tests? in', printed, re.MULTILINE)
    count = int(found.group(1)) if found else 0
    # '(failures=1, errors=2, skipped=3)' stands on the last line.
    said = dict(re.findall(r'(\w+)=(\d+)',
                           printed.rstrip().rpartition('\n')[2]))
    skipped = int(said.get('skipped', 0))
    failed = int(said.get('failures', 0)) + int(said.get('errors', 0))
    if status == NONE_RAN and skipped:
        status = 0
    if status:
        failed = failed or 1                # it did not get so far
        print(printed)
    print('%-32s %4d tests %5.0f s  %s' % (
        title, count, seconds, 'FAILED' if status else 'ok'), flush=True)
    return max(0, count - failed - skipped), failed, skipped


def main(args):
    options = [arg for arg in args if arg.startswith('-')]
    chosen = list(processes([arg for arg in args if arg not in options]
                            or folders()))
    if len(chosen) == 1:                    # as it goes along
        os.chdir(HERE)
        sys.stdout.flush()
        os.execv(sys.executable, unittest(options + chosen[0][1]))
    if len(chosen) > AT_ONCE:
        chosen.sort(key=slowness, reverse=True)
    with tempfile.TemporaryDirectory(prefix='classh-module.') as place, \
            concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        os.environ[MODULE_PLACE] = os.path.join(place, 'module')
        compile_module(os.environ[MODULE_PLACE])
        counts = [tell(done.result())
                  for done in concurrent.futures.as_completed(
                      [pool.submit(run, title, options + names)
                       for title, names in chosen])]
    passed, failed, skipped = map(sum, zip(*counts))
    print('\n%d passed, %d failed, %d skipped' % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
