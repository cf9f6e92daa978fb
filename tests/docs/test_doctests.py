"""The examples in the module's docstrings, as tests."""

import doctest

import lib          # noqa: F401, it makes classh importable
import classh


def load_tests(loader, tests, pattern):
    return doctest.DocTestSuite(classh)
