"""Installs the module classh and the command classh: pip install ."""

import os
import re

from setuptools import setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, name), encoding='utf-8') as file:
        return file.read()


# Read, not imported: who installs may run another Python than who uses it.
VERSION = re.search(r"^__version__ = '([^']+)'$", read('classh.py'),
                    re.MULTILINE).group(1)

setup(
    name='classh',
    version=VERSION,
    description='Run one command on many hosts at once, through ssh',
    long_description=read('README'),
    long_description_content_type='text/plain',
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
