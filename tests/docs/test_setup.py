"""What setup.py installs."""

import glob
import os
import shutil
import sys
import unittest

import lib
from lib import ROOT, TestCase, run, run_classh

import classh

SHIPPED = ('LICENSE', 'README', 'classh.py', 'setup.py')
COMPLETIONS = {'bash': 'bash-completion/completions/classh',
               'zsh': 'zsh/site-functions/_classh',
               'fish': 'fish/vendor_completions.d/classh.fish'}


def python_with_setuptools():
    """Return one, the Python of these tests first; else SkipTest."""
    for python in (sys.executable, shutil.which('python3'),
                   '/usr/bin/python3'):
        if python and os.path.exists(python) and run(
                [python, '-c', 'import setuptools']).status == 0:
            return python
    if os.environ.get('CI'):
        raise AssertionError('no Python here has setuptools')
    raise unittest.SkipTest('no Python here has setuptools')


class SetupTest(TestCase):
    def install(self):
        """Return (the directory of modules, that of scripts, a Python), in
        a directory that has share/, too."""
        python = python_with_setuptools()
        top = self.scratch()
        source = os.path.join(top, 'source')
        os.mkdir(source)
        for name in SHIPPED:
            shutil.copy(os.path.join(ROOT, name), source)
        # What is published holds all that it takes.
        run([python, 'setup.py', '-q', 'sdist'], cwd=source).check(
            stderr=None)
        archive, = glob.glob(os.path.join(source, 'dist', '*'))
        shutil.unpack_archive(archive, os.path.join(top, 'unpacked'))
        # Unlike pip, it needs neither a network nor a wheel.
        run([python, 'setup.py', '-q', 'install', '--root', top,
             '--install-lib', '/lib', '--install-scripts', '/bin',
             '--install-data', '/'], cwd=os.path.join(
                 top, 'unpacked', 'classh-' + classh.__version__)).check(
                     stderr=None)
        return os.path.join(top, 'lib'), os.path.join(top, 'bin'), python

    def test_command_and_module_are_installed(self):
        lib, scripts, python = self.install()
        self.assertEqual(os.listdir(scripts), ['classh'])
        self.assertIn('classh.py', os.listdir(lib))
        said = 'classh %s\n' % classh.__version__
        env = {'PYTHONPATH': lib, 'PYTHONDONTWRITEBYTECODE': '1'}
        for argv in ([os.path.join(scripts, 'classh')],
                     [python, '-m', 'classh']):
            run(argv + ['--version'], env=env, cwd='/').check(stdout=said)
        # What main() returns is the exit status.
        run([os.path.join(scripts, 'classh')], env=env).check(2, stderr=None)
        self.check_metadata(lib)
        self.check_completion(os.path.join(os.path.dirname(lib), 'share'))

    def check_completion(self, share):
        for shell, path in COMPLETIONS.items():
            with open(os.path.join(share, path), encoding='utf-8') as file:
                run_classh('--completion', shell).check(stdout=file.read())

    def check_metadata(self, lib):
        path, = glob.glob(os.path.join(lib, '*.egg-info', 'PKG-INFO'))
        with open(path, encoding='utf-8') as file:
            metadata = file.read()
        for line in ('Version: ' + classh.__version__, 'License: MIT',
                     'Author: the classh authors', 'Requires-Python: >=3.6'):
            self.assertIn(line, metadata.splitlines())

    def test_file_runs_where_it_lies(self):
        said = 'classh %s\n' % classh.__version__
        run(lib.classh_argv('-V')).check(stdout=said)
        run([sys.executable, '-m', 'classh', '-V'], cwd=ROOT).check(
            stdout=said)
