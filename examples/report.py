#!/usr/bin/env python3
"""Make one HTML page of a run, from the file of classh --json or --pickle.

    report.py FILE >page.html       open page.html in a browser
    report.py --csv FILE >run.csv   a table for a spreadsheet, a row a host

The page needs no other file and no network.  It shows what ran, how many
hosts failed and why, each different answer once, a table of the hosts that
sorts and filters, how long they took, and which were the slowest.  A file of
--json=FILE tells more than one of --pickle: COMMAND, user and exit status.

What hosts wrote is only ever text in it, and in the table, where a cell that
would be a formula begins with an apostrophe, and long output ends with '...'.
Exit status: 0; 1 the file is not one of results; 2 usage.
"""

import base64
import collections
import csv
import hashlib
import html
import io
import re
import time

from classh import UsageError, fold, load, mask, read_records, run_script

ANSWER_LIMIT = 20000        # characters shown of one answer ...
PAGE_LIMIT = 5000000        # ... and of all; after that,
SHORT_LIMIT = 200           # characters of each
OPEN_LINES = 30             # an answer of more lines is folded up at first
BARS = 24                   # of the histogram
SLOWEST = 10
CELL_LIMIT = 30000          # characters; a spreadsheet takes few more

# Outcome of a Result, and one of our own: what to call it.
OUTCOMES = collections.OrderedDict([
    ('ok', 'good'), ('error', 'command failed'), ('ssh', 'ssh failed'),
    ('killed', 'timed out or killed'), ('none', 'no result'),
    ('unstarted', 'not started')])


# -- What is in the file ----------------------------------------------------

def ending(result):
    """Return how *result* ended, in words that are the same for all hosts to
    which the same has happened."""
    words = mask(result.reason, result.host)
    if result.truncated and not words.startswith('output lost'):
        words = ', '.join(filter(None, [words, 'output cut at its limit']))
    return words or ('ok' if result.outcome == 'ok' else
                     'exited with %d' % result.exitcode)


def sane(seconds):
    """Return *seconds*, or 0 if that is not what a job can take."""
    return seconds if 0 <= seconds < 1e9 else 0.0


class Answer:
    """What several hosts said alike: the text of the first, and the hosts."""

    def __init__(self, result, limit):
        self.number = None          # its place in the page
        self.first = result.host
        self.outcome, self.exitcode = result.outcome, result.exitcode
        self.ending = ending(result)
        # Title: text, and how many characters are left out of it.
        self.texts = [(title, text[:limit], len(text[limit:]))
                      for title, text in (
                          ('Error', result.diagnostics + result.errors),
                          ('Output', result.output)) if text]
        self.hosts, self.seconds = [], []

    def size(self):
        return sum(len(text) for _, text, _ in self.texts)

    def shown_texts(self):
        """Yield title, text and the number of characters left out."""
        for title, text, left_out in self.texts:
            yield title, (text if len(self.hosts) == 1
                          else mask(text, self.first)), left_out


Row = collections.namedtuple(
    'Row', 'host outcome ending exitcode elapsed login tries ran answer')


class Record:
    """All that the page shows of the file *path*."""

    def __init__(self, path):
        self.path = path
        self.run, self.end = {}, None       # records of --json
        self.rows = collections.OrderedDict()
        self.begin, self.last = float('inf'), 0
        self._answers = {}
        self._shown = 0                     # characters
        for result in load(path):
            self._add(result)
        for host in self._read_events(path):
            if host not in self.rows:
                self.rows[host] = Row(host, 'none', 'no result', None, 0.0,
                                      None, 1, 'unknown', None)
        for host in map(str, (self.end or {}).get('left') or ()):
            self.rows.setdefault(host, Row(
                host, 'unstarted', 'not started', None, 0.0, None, 0, 'no',
                None))
        hosts = self.run.get('hosts')       # None: they came on stdin
        self.unstarted = (max(0, hosts - len(self.rows))
                          if isinstance(hosts, int) else 0)

    def _read_events(self, path):
        """Return the hosts that were started, as far as the file tells."""
        started = []
        with open(path, 'rb') as file:
            if not file.peek(1).startswith(b'{'):
                return started              # a pickle
            for record in read_records(file):
                if record['event'] == 'run':
                    self.run = record
                elif record['event'] == 'end':
                    self.end = record
                elif record['event'] == 'start':
                    started.append(str(record.get('host')))
        return started

    def _add(self, result):
        answer = self._answer(result)
        answer.hosts.append(result.host)
        answer.seconds.append(sane(result.elapsed))
        self.begin = min(self.begin, result.started)
        self.last = max(self.last, result.stopped)
        self.rows[result.host] = Row(
            result.host, answer.outcome, answer.ending, result.exitcode,
            sane(result.elapsed),
            None if result.login is None else sane(result.login),
            result.tries, result.ran, answer)

    def _answer(self, result):
        """Return the Answer that *result* is one of."""
        alike = [result.outcome, result.exitcode, ending(result)]
        # Where the cause is known, ssh's words only add names and addresses.
        if result.outcome != 'ssh' or result.cause in ('', 'ssh'):
            alike += [mask(text, result.host) for text in (
                result.diagnostics, result.errors, result.output)]
        # Millions of characters on thousands of hosts: a digest has to do.
        key = hashlib.sha256(repr(alike).encode()).digest()
        if key not in self._answers:
            if result.outcome not in OUTCOMES:
                result = result._replace(outcome='error')
            self._answers[key] = Answer(
                result, ANSWER_LIMIT if self._shown < PAGE_LIMIT
                else SHORT_LIMIT)
            self._shown += self._answers[key].size()
        return self._answers[key]

    def answers(self):
        """Return the Answers, numbered: good ones first, and of these the
        largest."""
        answers = sorted(self._answers.values(), key=lambda answer: (
            answer.ending != 'ok', -len(answer.hosts), answer.ending,
            min(answer.hosts)))
        for number, answer in enumerate(answers, 1):
            answer.number = number
        return answers

    def failures(self):
        """Return [(ending, outcome), hosts], most hosts first."""
        failures = collections.defaultdict(list)
        for row in self.rows.values():
            if row.ending != 'ok':
                failures[row.ending, row.outcome].append(row.host)
        return sorted(failures.items(),
                      key=lambda item: (-len(item[1]), item[0]))

    def counts(self):
        """Return [(outcome, number of hosts)] of those that occur."""
        found = collections.Counter(row.outcome for row in self.rows.values())
        found['unstarted'] += self.unstarted        # who have no row
        return [(outcome, found[outcome]) for outcome in OUTCOMES
                if found[outcome]]


# -- How it is written ------------------------------------------------------

def visible(found):
    """Return what to show for a character that may be none to be seen."""
    char = found.group()
    code = ord(char)
    if char.isprintable() or char == '\xa0':
        return char
    if 0xdc80 <= code <= 0xdcff:                # a byte that is no UTF-8
        code -= 0xdc00
    return '\\x%02x' % code if code < 0x100 else '\\u%04x' % code


def plain(value):
    """Return *value* as text of which each character can be seen."""
    return re.sub('[^\t\n -~]', visible, str(value).replace('\r\n', '\n'))


def text(value):
    """Return *value* as HTML that shows it and does nothing else."""
    return html.escape(plain(value))


def hosts_of(number):
    return '1 host' if number == 1 else '%d hosts' % number


def span(seconds):
    """Return seconds, for a person."""
    if seconds < 100:
        return '%.1f s' % seconds
    return '%d min %d s' % divmod(round(seconds), 60)


def moment(seconds):
    try:
        return time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return 'at an unknown time'


def names(hosts):
    """Return the names of *hosts*, folded, with a button to copy them."""
    return ('<div class="names"><code>%s</code><button class="copy js">copy'
            '</button></div>' % text(fold(hosts)))


def head_html(record):
    run, end = record.run, record.end
    facts = [hosts_of(len(record.rows) + record.unstarted)]
    if run.get('by'):
        facts.append('by %s on %s' % (run['by'], run.get('on') or '?'))
    begin = run.get('time', record.begin)
    if isinstance(begin, (int, float)) and begin < float('inf'):
        facts.append(moment(begin))
        if record.last > begin:
            facts.append('took ' + span(sane(record.last - begin)))
    for key, words in (('fanout', '%s at once'), ('timeout', '%s s a job'),
                       ('user', 'as user %s')):
        if run.get(key):
            facts.append(words % run[key])
    if end:
        facts.append('exit status %s' % end.get('status'))
    elif run:
        facts.append('the record has no end: the run goes on, or was killed')
    else:
        facts.append('classh --json=FILE would tell COMMAND, user and exit '
                     'status, too')
    title = run.get('command') or record.path
    yield '<header><p class="kind">classh</p><h1><code>%s</code></h1>' % (
        text(title))
    yield '<p class="facts">%s</p></header>' % ''.join(
        '<span>%s</span>' % text(fact) for fact in facts)


def counts_html(record):
    counts = record.counts()
    total = sum(number for _, number in counts)
    if not total:
        yield '<section><h2>No hosts</h2></section>'
        return
    yield ('<section><svg class="bar" viewBox="0 0 1000 10" '
           'preserveAspectRatio="none" role="img" aria-label="hosts by '
           'result">')
    at = 0
    for outcome, number in counts:
        width = 1000 * number / total
        yield ('<rect class="%s" x="%.2f" width="%.2f" height="10"><title>%s: '
               '%d</title></rect>' % (outcome, at, max(width - 2, 1.5),
                                      OUTCOMES[outcome], number))
        at += width
    yield '</svg><ul class="legend">'
    for outcome, number in counts:
        yield ('<li><b class="%s"></b><strong>%d</strong> %s <small>%.1f %%'
               '</small></li>' % (outcome, number, OUTCOMES[outcome],
                                  100 * number / total))
    yield '</ul></section>'


def failures_html(record):
    failures = record.failures()
    if not failures:
        return
    yield '<section><h2>What went wrong</h2><div class="causes">'
    for (words, outcome), hosts in failures:
        yield ('<article class="edge-%s"><h3>%s <small>%s</small></h3>%s'
               '</article>' % (outcome, text(words), hosts_of(len(hosts)),
                               names(hosts)))
    yield '</div></section>'


def text_html(title, shown):
    lines = shown.count('\n')
    if lines <= OPEN_LINES:
        return '<h4>%s</h4><pre>%s</pre>' % (title, text(shown))
    return ('<details><summary>%s, %d lines</summary><pre>%s</pre></details>'
            % (title, lines, text(shown)))


def answers_html(record):
    yield '<section><h2>Answers, each once</h2>'
    for answer in record.answers():
        low, high = min(answer.seconds), max(answer.seconds)
        yield ('<article id="answer%d" class="answer edge-%s"><h3>%s <span>%s'
               '</span> <small>%s</small></h3>%s' % (
                   answer.number, answer.outcome,
                   hosts_of(len(answer.hosts)), text(answer.ending),
                   span(low) if span(low) == span(high) else
                   '%s to %s' % (span(low), span(high)),
                   names(answer.hosts)))
        for title, shown, left_out in answer.shown_texts():
            yield text_html(title, shown)
            if left_out:
                yield ('<p class="note">%d more characters are in %s</p>'
                       % (left_out, text(record.path)))
        yield '</article>'
    yield '</section>'


COLUMNS = ('host', 'result', 'status', 'seconds', 'login', 'tries',
           'has run', 'answer')


def cell(value, shown=None):
    """Return a cell of a number, by which the table can be sorted."""
    return '<td class="number" data-sort="%s">%s</td>' % (
        -1 if value is None else round(value, 3),
        '' if value is None else value if shown is None else shown)


def table_html(record):
    yield ('<section><h2>Hosts</h2><p class="tools js"><input id="filter" '
           'type="search" placeholder="filter: name, result ..." '
           'aria-label="filter"><label><input id="bad" type="checkbox"> only '
           'what went wrong</label><span id="shown" role="status"></span>'
           '<button id="copy-shown">copy their names</button></p>'
           '<div class="scroll"><table id="hosts"><thead><tr>')
    for column in COLUMNS:
        yield '<th><button>%s</button></th>' % column
    yield '</tr></thead><tbody>'
    for row in record.rows.values():
        yield ('<tr%s><td class="host">%s</td><td><b class="%s"></b>%s</td>%s'
               '<td>%s</td>%s</tr>\n' % (
                   '' if row.ending == 'ok' else ' class="bad"',
                   text(row.host), row.outcome, text(row.ending),
                   cell(row.exitcode) + cell(row.elapsed,
                                             '%.1f' % row.elapsed)
                   + cell(row.login, '%.1f' % (row.login or 0))
                   + cell(row.tries), text(row.ran),
                   cell(row.answer.number, '<a href="#answer%d">%d</a>' % (
                       (row.answer.number,) * 2))
                   if row.answer else cell(None)))
    yield '</tbody></table></div></section>'


def bins(rows):
    """Return the width in seconds of a bar of the histogram, and for each
    bar a Counter of outcomes.  The last has all that took longer."""
    times = sorted(row.elapsed for row in rows)
    # One host that took 300 s must not make one bar of all the others.
    top = times[(len(times) - 1) * 98 // 100]
    if times[-1] < 3 * top:
        top = times[-1]
    exact = max(top, .1) / (BARS - 1)
    width = min(step for step in (
        factor * 10 ** power for power in range(-3, 9)
        for factor in (1, 2, 5)) if step >= exact)
    bars = [collections.Counter() for _ in range(int(top / width) + 1)]
    if times[-1] >= width * len(bars):
        bars.append(collections.Counter())
    for row in rows:
        bars[min(int(row.elapsed / width), len(bars) - 1)][row.outcome] += 1
    return width, bars


def times_html(record):
    rows = [row for row in record.rows.values() if row.answer]
    if not rows:
        return
    times = sorted(row.elapsed for row in rows)
    yield ('<section><h2>How long they took</h2><p>Half of the hosts after '
           '%s, 99 %% after %s, the last after %s.</p>' % (
               span(times[(len(times) - 1) // 2]),
               span(times[(len(times) - 1) * 99 // 100]), span(times[-1])))
    width, bars = bins(rows)
    most = max(sum(bar.values()) for bar in bars)
    pitch = 960 / len(bars)
    yield ('<svg class="times" viewBox="0 0 1000 190" role="img" aria-label='
           '"hosts by seconds"><text x="30" y="12">%d</text>'
           '<path d="M30 16H990M30 158H990"></path>' % most)
    for number, bar in enumerate(bars):
        more = number == len(bars) - 1 and times[-1] >= width * len(bars)
        begin = '%.6g' % round(number * width, 6)
        words = ('%s s and more' % begin if more else '%s to %.6g s'
                 % (begin, round((number + 1) * width, 6)))
        x, y = 30 + number * pitch, 158
        for outcome in OUTCOMES:
            if bar[outcome]:
                height = max(142 * bar[outcome] / most, 1.5)
                y -= height
                yield ('<rect class="%s" x="%.1f" y="%.1f" width="%.1f" '
                       'height="%.1f"><title>%s: %s, %s</title></rect>' % (
                           outcome, x + 1, y, min(pitch - 2, 120), height,
                           words, hosts_of(bar[outcome]), OUTCOMES[outcome]))
        if more or number % 4 == 0 and len(bars) - number > 2:
            yield '<text x="%.1f" y="176">%s</text>' % (
                x + 1, begin + (' s +' if more else ' s'))
    yield '</svg></section>'


def slowest_html(record):
    rows = sorted((row for row in record.rows.values() if row.answer),
                  key=lambda row: -row.elapsed)[:SLOWEST]
    if not rows:
        return
    longest = rows[0].elapsed or 1
    yield ('<section><h2>The slowest</h2><ul class="legend"><li><b class='
           '"login"></b>login</li><li><b class="command"></b>command</li><li>'
           '<b class="whole"></b>not known apart</li></ul>'
           '<table class="slowest">')
    for row in rows:
        login = min(row.login or 0, row.elapsed)
        parts = [('whole', row.elapsed)] if row.login is None else [
            ('login', login), ('command', row.elapsed - login)]
        at, drawn = 0, ''
        for name, seconds in parts:
            width = 1000 * seconds / longest
            drawn += ('<rect class="%s" x="%.1f" width="%.1f" height="10">'
                      '<title>%s: %s</title></rect>'
                      % (name, at, max(width - 2, 1), name, span(seconds)))
            at += width
        yield ('<tr><td class="host">%s</td><td><svg class="part" viewBox='
               '"0 0 1000 10" preserveAspectRatio="none">%s</svg></td><td '
               'class="number">%s</td><td>%s</td></tr>' % (
                   text(row.host), drawn, span(row.elapsed),
                   text(row.ending)))
    yield '</table></section>'


def page(record):
    """Yield the HTML of the page, piece by piece."""
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'"
    for kind, content in ('script-src', SCRIPT), ('style-src', STYLE):
        digest = hashlib.sha256(content.encode()).digest()
        policy += "; %s 'sha256-%s'" % (
            kind, base64.b64encode(digest).decode())
    yield ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
           '<meta http-equiv="Content-Security-Policy" content="%s">\n'
           '<meta name="viewport" content="width=device-width">\n'
           '<title>%s</title>\n<style>%s</style></head>\n<body>\n'
           % (policy, text(record.run.get('command') or record.path), STYLE))
    for part in (head_html, counts_html, failures_html, answers_html,
                 table_html, times_html, slowest_html):
        yield from part(record)
        yield '\n'
    yield '<script>%s</script>\n</body></html>\n' % SCRIPT


STYLE = '''
:root { color-scheme: light dark;
  --back: #f6f7f9; --card: #fff; --ink: #1d2430; --soft: #667080;
  --line: #dfe3e9; --code: #f1f3f6; --link: #2059b0;
  --ok: #3f9d6b; --error: #e0952f; --ssh: #cf4b45; --killed: #8a5fc0;
  --none: #5a6472; --unstarted: #b4bcc8; --login: #7fb2e5;
  --command: #2f6db5; }
@media (prefers-color-scheme: dark) { :root {
  --back: #14181e; --card: #1c222b; --ink: #e4e8ee; --soft: #98a3b3;
  --line: #313a47; --code: #12161c; --link: #86b6f5; --none: #8793a5;
  --unstarted: #4a5566; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 70rem;
  background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
code, pre, .host { font-family: ui-monospace, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; font-size: 13px; }
header { margin: 0 .25rem 1.5rem; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.3; }
h1 code { display: block; max-height: 8.5rem; overflow: auto;
  font-size: 1.3rem; white-space: pre-wrap; overflow-wrap: anywhere; }
h2 { margin: 0 0 .9rem; font-size: 1.1rem; }
h3 { margin: 0 0 .5rem; font-size: 1rem; } h3 span { font-weight: normal; }
h4 { margin: .8rem 0 .3rem; font-size: .8rem; color: var(--soft); }
small, .facts, .note, .kind { color: var(--soft); font-weight: normal; }
small { font-size: .87em; }
.kind { margin: 0 0 .2rem; letter-spacing: .08em; font-size: .8rem; }
.facts { margin: .5rem 0 0; display: flex; flex-wrap: wrap;
  gap: 0 1.4rem; }
section { margin: 0 0 1.25rem; padding: 1.25rem 1.4rem;
  background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
svg { display: block; width: 100%; }
.bar { height: 20px; border-radius: 5px; }
.legend { margin: .8rem 0 0; padding: 0; list-style: none; display: flex;
  flex-wrap: wrap; gap: .2rem 1.6rem; }
b { display: inline-block; width: 10px; height: 10px; margin-right: .5rem;
  border-radius: 3px; }
b.ok { background: var(--ok); } rect.ok { fill: var(--ok); }
b.error { background: var(--error); } rect.error { fill: var(--error); }
b.ssh { background: var(--ssh); } rect.ssh { fill: var(--ssh); }
b.killed { background: var(--killed); } rect.killed { fill: var(--killed); }
b.none { background: var(--none); } rect.none { fill: var(--none); }
b.unstarted { background: var(--unstarted); }
rect.unstarted { fill: var(--unstarted); }
b.login { background: var(--login); } rect.login { fill: var(--login); }
b.command { background: var(--command); }
rect.command { fill: var(--command); }
b.whole { background: var(--unstarted); }
rect.whole { fill: var(--unstarted); }
.causes { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
article { padding: .75rem 1rem; border: 1px solid var(--line);
  border-left: 4px solid var(--line); border-radius: 6px; min-width: 0; }
.answer { margin-bottom: .7rem; content-visibility: auto;
  contain-intrinsic-size: auto 9rem; }
.answer:last-child { margin: 0; }
.answer:target { outline: 2px solid var(--link); }
summary { margin: .8rem 0 .3rem; cursor: pointer; font-size: .8rem;
  font-weight: bold; color: var(--soft); }
.edge-ok { border-left-color: var(--ok); }
.edge-error { border-left-color: var(--error); }
.edge-ssh { border-left-color: var(--ssh); }
.edge-killed { border-left-color: var(--killed); }
.edge-unstarted { border-left-color: var(--unstarted); }
.names { display: flex; gap: .6rem; align-items: flex-start; }
.names code { flex: 0 1 auto; max-height: 8em; overflow: auto;
  overflow-wrap: anywhere; padding: .15rem .5rem; border-radius: 4px;
  background: var(--code); }
pre { margin: 0; padding: .6rem .8rem; max-height: 26rem; overflow: auto;
  border-radius: 6px; background: var(--code); line-height: 1.4; }
.js { display: none; } .scripted .js { display: inline-flex; }
button { font: inherit; font-size: .85rem; color: var(--link);
  background: none; border: 1px solid var(--line); border-radius: 5px;
  padding: .1rem .6rem; cursor: pointer; }
button:hover { border-color: var(--link); }
.tools { flex-wrap: wrap; gap: .6rem 1.2rem; align-items: center;
  width: 100%; margin: 0 0 .8rem; }
#filter { flex: 1 1 14rem; max-width: 24rem; padding: .35rem .6rem;
  font: inherit; color: inherit; background: var(--back);
  border: 1px solid var(--line); border-radius: 6px; }
.scroll { max-height: 34rem; overflow: auto; }
table { width: 100%; border-collapse: collapse; }
td, th { padding: .3rem .7rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { position: sticky; top: 0; background: var(--card);
  padding: 0 .1rem .3rem; }
th button { border-color: transparent; color: var(--soft); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
th:nth-child(n+3):nth-child(-n+6), th:nth-child(8) { text-align: right; }
a { color: var(--link); }
.slowest { margin-top: .6rem; } .slowest td:nth-child(2) { width: 55%; }
.part { height: 12px; }
.times path { stroke: var(--line); }
.times text { fill: var(--soft); font-size: 12px; }
'''

SCRIPT = '''
'use strict';
document.documentElement.className = 'scripted';
const body = document.querySelector('#hosts tbody');
const rows = Array.from(body.rows);
const words = new Map(rows.map(
  row => [row, row.textContent.toLowerCase()]));
const byName = new Intl.Collator('en', {numeric: true}).compare;

function compare(one, other) {
  return one.dataset.sort === undefined
    ? byName(one.textContent, other.textContent)
    : one.dataset.sort - other.dataset.sort;
}

document.querySelectorAll('#hosts th').forEach((head, column) => {
  head.firstChild.addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') !== 'ascending';
    document.querySelectorAll('#hosts th').forEach(
      other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    rows.sort((one, other) => (up ? 1 : -1)
      * compare(one.cells[column], other.cells[column]));
    body.append(...rows);
  });
});

function filter() {
  const wanted = document.getElementById('filter').value.toLowerCase()
    .split(' ');
  const bad = document.getElementById('bad').checked;
  let shown = 0;
  for (const row of rows) {
    row.hidden = bad && row.className !== 'bad'
      || !wanted.every(word => words.get(row).includes(word));
    shown += !row.hidden;
  }
  document.getElementById('shown').textContent =
    shown + ' of ' + rows.length;
}

document.getElementById('filter').addEventListener('input', filter);
document.getElementById('bad').addEventListener('change', filter);
filter();

function copy(element, button) {      // works in a file:// page, too
  getSelection().selectAllChildren(element);
  if (document.execCommand('copy')) {
    const before = button.textContent;
    button.textContent = 'copied';
    setTimeout(() => { button.textContent = before; }, 1500);
  }
}

for (const button of document.querySelectorAll('.copy'))
  button.addEventListener(
    'click', () => copy(button.previousSibling, button));

document.getElementById('copy-shown').addEventListener('click', event => {
  const names = document.createElement('pre');
  names.textContent = rows.filter(row => !row.hidden).map(
    row => row.cells[0].textContent).join('\\n') + '\\n';
  document.body.append(names);
  copy(names, event.target);
  names.remove();
});
'''


# -- A table for a spreadsheet ----------------------------------------------

def csv_cell(value):
    """Return *value* as text that no spreadsheet takes for a formula."""
    shown = plain(value).rstrip('\n')
    if len(shown) > CELL_LIMIT:
        shown = shown[:CELL_LIMIT] + '...'
    return "'" + shown if shown.lstrip()[:1] in tuple('=+-@') else shown


def csv_line(cells):
    line = io.StringIO()
    csv.writer(line, lineterminator='\n').writerow(cells)
    return line.getvalue()


def csv_table(path):
    """Yield the lines of a table of all hosts in the file *path*."""
    wrote = {result.host: [
        csv_cell(result.cause), csv_cell(result.ran),
        '%.1f' % sane(result.elapsed), csv_cell(result.output),
        csv_cell(result.diagnostics + result.errors)]
             for result in load(path)}
    yield csv_line(['host', 'result', 'status', 'cause', 'ran', 'seconds',
                    'output', 'errors'])
    for row in Record(path).rows.values():
        yield csv_line([csv_cell(row.host), csv_cell(row.ending),
                        row.exitcode] + wrote.get(
                            row.host, ['', row.ran, '', '', '']))


def main(argv, out):
    as_table = argv[:1] == ['--csv']
    files = argv[1:] if as_table else argv
    if len(files) != 1 or not files[0]:
        raise UsageError
    for piece in (csv_table(files[0]) if as_table
                  else page(Record(files[0]))):
        out.write_text(piece)
    return 0


if __name__ == '__main__':
    run_script(main, __doc__)
