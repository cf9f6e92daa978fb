"""The page that examples/report.py makes, in a headless Chromium."""

import os
import sys

from lib.browser import Browser, chromium
from lib import MODULE, ROOT, WorkTest, run

EXAMPLE = os.path.join(ROOT, 'examples', 'report.py')
COMMAND = r'''
case $HOST in
evil1)  printf '<script>document.title = "owned"</script>'
        printf '<img src=x onerror="document.title = 1">\033[2J\000\377\n' ;;
web[12]) exit 3 ;;
*)      echo "$HOST runs 6.1" ;;
esac'''
TITLE = ' '.join(COMMAND.split())
HOSTS = 'web[1-12]', 'evil1', 'unreach1'

NAMES = ('Array.from(document.querySelectorAll("#hosts tbody tr")).filter('
         'row => row.offsetParent).map(row => row.cells[0].textContent)')
TYPE = '''{
    const field = document.getElementById("filter");
    field.value = %r;
    field.dispatchEvent(new Event("input"));
}'''


class PageTest(WorkTest):
    def setUp(self):
        super().setUp()
        chromium()              # skips where there is none
        self.classh('-q', '--json=records', COMMAND, *HOSTS)
        made = run([sys.executable, EXAMPLE, self.path('records')],
                   env={'PYTHONPATH': MODULE}).check(0, None)
        self.page = self.write('page.html', made.stdout)

    def click(self, browser, selector):
        browser.run('document.querySelector(%r).click()' % selector)

    def test_table_sorts_and_filters_and_remote_text_is_text(self):
        with Browser(self.scratch()) as browser:
            browser.open(self.page)
            self.check_text(browser)
            self.check_sorting(browser)
            self.check_filter(browser)
            self.check_copying(browser)

    def check_text(self, browser):
        self.assertEqual(browser.run('document.title'), TITLE)
        self.assertEqual(browser.run(
            '[document.scripts.length, document.images.length]'), [1, 0])
        texts = browser.run('Array.from(document.querySelectorAll("pre")).map'
                            '(text => text.innerText)')
        self.assertIn('<script>document.title = "owned"</script><img src=x '
                      'onerror="document.title = 1">\\x1b[2J\\x00\\xff\n',
                      texts)
        self.assertIn('{host} runs 6.1\n', texts)
        # Nor would the browser run a script that got into the page.
        self.assertEqual(browser.run('''new Promise(done => {
            addEventListener("securitypolicyviolation",
                             event => done(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 1";
            document.body.append(script);
            script.remove();
        })'''), 'script-src-elem')
        self.assertEqual(browser.run('document.title'), TITLE)
        # The style is not refused, and nothing is wider than the window.
        self.assertEqual(browser.run(
            'getComputedStyle(document.querySelector("rect.ok")).fill'),
            'rgb(63, 157, 107)')
        self.assertTrue(browser.run('document.documentElement.scrollWidth '
                                    '<= innerWidth'))

    def check_sorting(self, browser):
        web = ['web%d' % number for number in range(1, 13)]
        by_name = ['evil1', 'unreach1'] + web
        self.click(browser, '#hosts th:nth-child(1) button')
        self.assertEqual(browser.run(NAMES), by_name)
        self.click(browser, '#hosts th:nth-child(1) button')
        self.assertEqual(browser.run(NAMES), by_name[::-1])
        self.click(browser, '#hosts th:nth-child(3) button')
        self.click(browser, '#hosts th:nth-child(3) button')
        self.assertEqual(browser.run(NAMES)[:3], ['unreach1', 'web2', 'web1'])
        self.assertEqual(browser.run(
            'Array.from(document.querySelectorAll("#hosts th"))'
            '.map(head => head.getAttribute("aria-sort"))'),
            [None, None, 'descending'] + 5 * [None])

    def check_filter(self, browser):
        def shown(text):
            browser.run(TYPE % text)
            count = browser.run(
                'document.getElementById("shown").textContent')
            names = browser.run(NAMES)
            self.assertEqual(count, '%d of 14' % len(names))
            return set(names)
        self.assertEqual(shown('EXITED'), {'web1', 'web2'})
        self.assertEqual(shown('web1 ok'), {'web10', 'web11', 'web12'})
        self.assertEqual(shown('<script>'), set())
        self.click(browser, '#bad')
        self.assertEqual(shown(''), {'web1', 'web2', 'unreach1'})
        self.assertEqual(shown('refused'), {'unreach1'})

    def check_copying(self, browser):
        def copied(selector):
            browser.run('document.addEventListener("copy", () => { '
                        'self.copied = getSelection().toString(); })')
            self.click(browser, selector)
            return browser.run('self.copied')
        self.assertEqual(copied('#copy-shown'), 'unreach1')
        self.assertEqual(copied('.causes article:nth-child(1) button'),
                         'web[1-2]')
