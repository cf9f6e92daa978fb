"""Installs the module classh and the command classh: pip install ."""

import os
import re
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, name), encoding='utf-8') as file:
        return file.read()


# Read, not imported: who installs may run another Python than who uses it.
VERSION = re.search(r"^__version__ = '([^']+)'$", read('classh.py'),
                    re.MULTILINE).group(1)

# Made when classh is built: the shell, where it looks, and the file's name.
COMPLETIONS = (('bash', 'bash-completion/completions', 'classh'),
               ('zsh', 'zsh/site-functions', '_classh'),
               ('fish', 'fish/vendor_completions.d', 'classh.fish'))


def place(shell, name):
    return os.path.join('build', 'completion', shell, name)


class Build(build_py):
    """Makes the files of completion, too."""

    def run(self):
        super().run()
        for shell, _, name in COMPLETIONS:
            script = subprocess.check_output(
                [sys.executable, os.path.join(HERE, 'classh.py'),
                 '--completion', shell])
            path = os.path.join(HERE, place(shell, name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'wb') as file:
                file.write(script)


setup(
    cmdclass={'build_py': Build},
    data_files=[('share/' + directory, [place(shell, name)])
                for shell, directory, name in COMPLETIONS],
    name='classh',
    version=VERSION,
    description='Run one command on many hosts at once, through ssh',
    long_description=read('README'),
    long_description_content_type='text/x-rst',
    author='the classh authors',
    license='MIT',
    python_requires='>=3.6',
    py_modules=['classh'],
    entry_points={'console_scripts': ['classh = classh:main']},
    classifiers=[
        'Environment :: Console',
        'Intended Audience :: System Administrators',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Topic :: System :: Systems Administration',
    ],
)
