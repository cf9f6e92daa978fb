"""The order of classh.py: chapters use those above them, helpers stand before
their users, and classes and functions have an end.
"""

import ast
import os
import re
import unittest

import classh

CLASS_LINES = 300
FUNCTION_LINES = 50
# What may be longer: a table with a line for each option.
LONG_FUNCTIONS = ['_make_parser']


class ChaptersTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        path = os.path.splitext(os.path.abspath(classh.__file__))[0] + '.py'
        with open(path, encoding='utf-8') as file:
            cls.source = file.read()
        cls.lines = cls.source.splitlines()
        cls.tree = ast.parse(cls.source)
        cls.banners = [(number, found.group(1)) for number, found in (
            (number, re.fullmatch(r'# -- (.+?) -+', line))
            for number, line in enumerate(cls.lines, 1)) if found]
        cls.defined = {}            # name: the line on which it is bound
        for node in cls.tree.body:
            for name in bound(node):
                cls.defined.setdefault(name, node.lineno)

    def chapter(self, line):
        """The number and the title of the chapter in which *line* is."""
        return max((begin, title) for begin, title in [(0, 'docstring')]
                   + self.banners if begin <= line)

    def test_each_chapter_uses_only_those_above_it(self):
        wrong = ['%s, line %d, uses %s of "%s"' % (
                     self.chapter(line)[1], line, name,
                     self.chapter(self.defined[name])[1])
                 for name, line, _ in uses(self.tree)
                 if name in self.defined
                 and self.chapter(self.defined[name]) > self.chapter(line)]
        self.assertEqual(wrong, [])

    def test_helpers_stand_before_their_users(self):
        self.assertEqual(
            ['line %d: %s uses %s, line %d' % (line, user, name,
                                               self.defined[name])
             for name, line, user in uses(self.tree)
             if self.defined.get(name, 0) > line], [])

    def test_docstring_lists_the_chapters(self):
        _, _, table = classh.__doc__.partition('A chapter uses only')
        listed = re.findall(r'(?m)^    (\S.*?)  ', table)
        self.assertEqual(listed, [title for _, title in self.banners])

    def test_main_is_last(self):
        names = [node.name for node in self.tree.body
                 if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        self.assertEqual(names[-1], 'main')

    def test_public_names_are_there_and_in_order(self):
        self.assertEqual([name for name in classh.__all__
                          if not hasattr(classh, name)], [])
        self.assertEqual(classh.__all__, sorted(classh.__all__))

    def test_classes_and_functions_have_an_end(self):
        long = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                limit, allowed = CLASS_LINES, ()
            elif isinstance(node, ast.FunctionDef):
                limit, allowed = FUNCTION_LINES, LONG_FUNCTIONS
            else:
                continue
            size = last_line(node) - node.lineno + 1
            if size > limit and node.name not in allowed:
                long.append('%s has %d lines' % (node.name, size))
        self.assertEqual(long, [])

    def test_lines_fit_a_terminal(self):
        self.assertEqual([number for number, line in enumerate(self.lines, 1)
                          if len(line) > 79], [])


def bound(node):
    """The names that the top-level statement *node* binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [name.id for target in node.targets
                for name in ast.walk(target) if isinstance(name, ast.Name)]
    return []


def uses(tree):
    """Yield (name, line, the top-level statement) of every name that is read
    and is not a parameter or variable of the function around it."""
    def walk(node, local, user):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            local = local | variables(node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id not in local:
                yield node.id, node.lineno, user
        for child in ast.iter_child_nodes(node):
            yield from walk(child, local, user)
    for node in tree.body:
        yield from walk(node, frozenset(), getattr(node, 'name', 'module'))


def variables(function):
    """The names that *function* binds, less those that it calls global."""
    nodes = list(ast.walk(function))
    found = {node.arg for node in nodes if isinstance(node, ast.arg)}
    found |= {node.id for node in nodes if isinstance(node, ast.Name)
              and not isinstance(node.ctx, ast.Load)}
    for node in nodes:
        if isinstance(node, ast.Global):
            found -= set(node.names)
    return found


def last_line(node):
    """Python 3.8 has it as node.end_lineno; before, the last line of what is
    inside is near enough."""
    return max(getattr(inner, 'end_lineno', None) or inner.lineno
               for inner in ast.walk(node) if hasattr(inner, 'lineno'))
