"""The scripts of --completion, as they are made from the options."""

import re
import unittest

import classh


class ScriptTest(unittest.TestCase):
    def scripts(self, options):
        return {shell: classh.completion_script(shell, options)
                for shell in ('bash', 'zsh', 'fish')}

    def test_each_option_is_there(self):
        scripts = self.scripts(classh._EACH_OPTION)
        names = {name for action in classh._make_parser(False)._actions
                 for name in action.option_strings}
        for shell in 'bash', 'zsh':
            there = re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", scripts[shell])
            self.assertEqual(names - set(there), set(), shell)
        for name in names:
            self.assertRegex(scripts['fish'], 'complete .*-%s %s ' % (
                'l' if name[1] == '-' else 's', name.lstrip('-')))

    def test_value_is_completed_by_its_name_in_the_help(self):
        scripts = self.scripts([
            ('', ['-j', '--journal'], 'FILE',
             "it's [new]: 100%% \\ (%(default)s)", {'default': None}),
            ('', ['--near'], 'HOSTS', 'h', {'action': 'append',
                                            'default': []}),
            ('', ['--may'], 'N', 'n', {'bare': '1'}),
            ('', ['--no'], None, 'o', {})])
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
