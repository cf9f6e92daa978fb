"""What a terminal shows of what was written to it."""

import re

_find_codes = re.compile(
    '\x1b\\[(?P<number>[?0-9;]*)(?P<final>[A-Za-z])|(?P<char>.)',
    re.DOTALL).finditer


class Screen:
    """A terminal of so many *columns*, and as many rows as it needs.

    Knows the escape sequences that classh uses, and no others.  When its
    width changes it breaks the lines anew, as most terminals do.

    .text is what it shows: a line for each of its lines that ends with a
    newline, without trailing blanks.
    """

    def __init__(self, columns):
        self.columns = columns
        self._lines = [[]]          # of (character, colour), of any length
        self._line = self._offset = 0   # where the cursor is
        self._color = ''
        self._rest = ''             # of an escape sequence that is not whole

    def resize(self, columns):
        self.columns = columns

    def feed(self, text):
        text = self._rest + text
        begin = re.search('(\x1b(\\[[?0-9;]*)?)?\\Z', text).start()
        text, self._rest = text[:begin], text[begin:]
        for found in _find_codes(text):
            if found.group('char') is None:
                self._obey(found.group('final'), found.group('number'))
            else:
                self._put(found.group('char'))
        return self

    @property
    def text(self):
        shown = [''.join(char for char, _ in line).rstrip()
                 for line in self._lines]
        return '\n'.join(shown)

    @property
    def rows(self):
        """The same, broken into rows: a list of str."""
        rows = []
        for line in self.text.split('\n'):
            rows += [line[at:at + self.columns]
                     for at in range(0, len(line) or 1, self.columns)]
        return rows

    @property
    def cursor(self):
        """(row, column) of the cursor, as in .rows."""
        above = sum(max(1, -(-len(line) // self.columns))
                    for line in self._lines[:self._line])
        begin = self._row_begin()
        return above + begin // self.columns, self._offset - begin

    def colors(self, word):
        """The colours in which *word* is shown, a set of strings such as
        '31'; '' where it has none."""
        found = set()
        for line in self._lines:
            text = ''.join(char for char, _ in line)
            for match in re.finditer(re.escape(word), text):
                found.update(color for _, color
                             in line[match.start():match.end()])
        return found

    def _row_begin(self):
        # In the last column the cursor stays there until more is written.
        full = self._offset and not self._offset % self.columns
        return self._offset - (
            self.columns if full else self._offset % self.columns)

    def _put(self, char):
        line = self._lines[self._line]
        if char == '\r':
            self._offset = self._row_begin()
        elif char == '\n':
            column = self._offset - self._row_begin()
            below = self._row_begin() + self.columns
            if below < len(line):
                self._offset = below + column
                return
            self._line += 1
            self._offset = column
            if self._line == len(self._lines):
                self._lines.append([])
        elif char == '\b':
            self._offset -= self._offset > self._row_begin()
        elif char == '\t':
            for _ in range(8 - (self._offset - self._row_begin()) % 8):
                self._put(' ')      # what was there before is not kept
        elif char >= ' ' and char != '\x7f':
            line += [(' ', '')] * (self._offset + 1 - len(line))
            line[self._offset] = (char, self._color)
            self._offset += 1
        elif char != '\x07':
            raise AssertionError('%r on a terminal' % char)

    def _obey(self, final, number):
        if number.startswith('?'):  # a mode, as an older readline sets one
            return
        line = self._lines[self._line]
        if final == 'm':
            self._color = '' if number in ('', '0') else number
        elif final == 'J' and not number:
            del line[self._offset:]
            del self._lines[self._line + 1:]
        elif final == 'K' and not number:
            end = self._row_begin() + self.columns
            line[self._offset:end] = [(' ', '')] * (
                min(len(line), end) - self._offset)
        elif final == 'A' and not number:
            column = self._offset - self._row_begin()
            begin = self._row_begin()
            if begin:
                self._offset = begin - self.columns + column
            elif self._line:
                self._line -= 1
                length = len(self._lines[self._line])
                self._offset = max(0, length - 1) // self.columns \
                    * self.columns + column
        else:
            raise AssertionError('ESC [ %s%s on a terminal'
                                 % (number, final))
