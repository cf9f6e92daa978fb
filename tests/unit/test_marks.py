"""The filter of marks in a stream, cut into chunks at any place."""

import itertools
import unittest

from classh import _Capture, _MarkFilter, _Spool

ONE, TWO = b'<mark one>', b'<mark two>'
SUDO_RS = b'[sudo: '


class MarkTest(unittest.TestCase):
    def setUp(self):
        self.heard = []
        self.teed = []

    def filter(self, marks=(ONE, TWO), room=1 << 20):
        capture = _Capture(room, _Spool())
        capture.tee = self.teed.append
        return _MarkFilter(capture, marks, self.heard.append)

    def run_through(self, chunks, **options):
        """Return what is left of *chunks*, and which marks were heard."""
        self.heard.clear()
        marks = self.filter(**options)
        for chunk in chunks:
            marks.add(chunk)
        return marks.take(), self.heard[:]

    def check(self, octets, left, heard, **options):
        """So it is for *octets* in one piece, in two cut at any place, in
        three, and byte by byte."""
        size = len(octets)
        cuts = itertools.chain(
            itertools.combinations(range(size + 1), 2),
            [range(1, size)])
        for places in cuts:
            ends = [0, *places, size]
            chunks = [octets[begin:end]
                      for begin, end in zip(ends, ends[1:])]
            self.assertEqual(self.run_through(chunks, **options),
                             (left, heard), chunks)

    def test_text_without_a_mark_passes(self):
        for octets in b'', b'a', b'<', b'<mark', b'<mark three>':
            self.check(octets, octets.decode(), [])

    def test_mark_is_taken_out_and_heard(self):
        self.check(b'a' + ONE + b'b', 'ab', [ONE])

    def test_several_marks_are_heard_in_their_order(self):
        self.check(TWO + b'a' + ONE + ONE + b'b' + TWO, 'ab',
                   [TWO, ONE, ONE, TWO])

    def test_beginning_of_a_mark_before_a_whole_one_is_text(self):
        self.check(b'<mark ' + ONE + b'<<', '<mark <<', [ONE])
        self.check(b'<mark o' + TWO + b'<mark tw', '<mark o<mark tw', [TWO])

    def test_mark_that_is_made_by_taking_out_another_is_none(self):
        self.check(b'<mark ' + TWO + b'one>', '<mark one>', [TWO])

    def test_line_of_a_prompt_of_sudo_rs_is_left_out(self):
        mark = SUDO_RS + ONE
        self.check(b'a\n' + mark + b'] Password: \nb\n', 'a\nb\n', [mark],
                   marks=(ONE, mark))
        self.check(b'a' + mark + b'] Pass', 'a', [mark], marks=(ONE, mark))

    def test_mark_in_that_line_is_heard(self):
        mark = SUDO_RS + ONE
        self.check(mark + b'] ' + TWO + b'b', 'b', [mark, TWO],
                   marks=(mark, TWO))

    def test_text_is_passed_on_as_it_comes(self):
        marks = self.filter()
        for chunk, passed in ((b'abc', [b'abc']), (b'de<ma', [b'de']),
                              (b'x', [b'<max']), (b'<mark one', [])):
            self.teed.clear()
            marks.add(chunk)
            self.assertEqual(self.teed, passed)
        self.teed.clear()
        self.assertEqual(marks.take(), 'abcde<max<mark one')
        self.assertEqual(self.teed, [b'<mark one'])

    def test_nothing_is_not_passed_on(self):
        self.check(ONE + TWO, '', [ONE, TWO])
        self.assertEqual(self.teed, [])

    def test_limit_counts_no_mark(self):
        self.check(ONE + b'abcd' + TWO + b'ef' + ONE, 'abcd',
                   [ONE, TWO, ONE], room=4)

    def test_what_is_lost_is_lost_and_the_marks_are_heard_all_the_same(self):
        marks = self.filter()
        marks.add(b'abc')
        marks.lose(MemoryError())
        marks.add(b'def' + ONE)
        self.assertEqual((marks.take(), self.heard), ('', [ONE]))
        self.assertIsInstance(marks.error, MemoryError)
        self.assertFalse(marks.cut)


if __name__ == '__main__':
    unittest.main()
