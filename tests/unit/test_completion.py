"""The scripts of --completion, as they are made from a parser."""

import argparse
import re
import unittest

import classh


class ScriptTest(unittest.TestCase):
    def scripts(self, parser):
        return {shell: classh.completion_script(shell, parser, {'--may'})
                for shell in ('bash', 'zsh', 'fish')}

    def test_each_option_is_there(self):
        parser = classh._make_parser(False)
        scripts = self.scripts(parser)
        names = {name for action in parser._actions
                 for name in action.option_strings}
        for shell in 'bash', 'zsh':
            there = re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", scripts[shell])
            self.assertEqual(names - set(there), set(), shell)
        for name in names:
            self.assertRegex(scripts['fish'], 'complete .*-%s %s ' % (
                'l' if name[1] == '-' else 's', name.lstrip('-')))

    def test_value_is_completed_by_its_name_in_the_help(self):
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument('-j', '--journal', metavar='FILE',
                            help="it's [new]: 100%% \\ (%(default)s)")
        parser.add_argument('--near', metavar='HOSTS', action='append',
                            default=[], help='h')
        parser.add_argument('--may', metavar='N', help='n')
        parser.add_argument('--no', action='store_true', help='o')
        scripts = self.scripts(parser)
        for shell, parts in (
                ('bash', ('    -j | --journal | --journal=) kind=files ;;',
                          '    --near | --near=) kind=hosts ;;',
                          '    --may=) kind=any ;;', '^-[^-j]*[j]$',
                          '_classh_words -j --journal --near --may --may= '
                          '--no ;;')),
                ('zsh', ("""'(-j --journal)--journal=[it'"'"'s \\[new\\]\\: """
                         """100% \\\\ (None)]:files:_files' \\""",
                         "'*--near=[h]:hosts:_classh_hosts'",
                         "'(--may)--may=-[n]:value: '", "'(--no)--no[o]'")),
                ('fish', ('complete -c classh -s j -l journal -r -F -d '
                          "'it\\'s [new]: 100% \\\\ (None)'",
                          "-l near -r -f -a '(__classh_hosts)' -d 'h'",
                          "complete -c classh -l may -f -a '' -d 'n'",
                          "complete -c classh -l no -d 'o'",
                          'case --journal --near\n'))):
            for part in parts:
                self.assertIn(part, scripts[shell])
            self.assertNotRegex(scripts[shell], '<[a-z_]+>')
