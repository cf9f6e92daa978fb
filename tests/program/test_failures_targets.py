"""Commands on the wrong hosts, as other tools gave them: a test for each that
has none elsewhere.

Elsewhere: width is part of a name, expand(fold(S)) == S (test_hosts,
test_fuzz); a host that is named twice, the most at once (test_engine); names
that are options (test_command, test_hosts) and names of files (test_sinks,
test_hostile).
"""

import os

from lib import WorkTest, kill_leftovers, read_log


class WhereFromTest(WorkTest):
    REMEMBERED = {          # of other tools, and what might be ours
        'WCOLL': './hosts', 'PSSH_HOSTS': './hosts', 'PSSH_PAR': '1',
        'FANOUT': '1', 'PDSH_SSH_ARGS': '-p 1', 'CLUSTERSHELL_CFGDIR': '.',
        'DSHPATH': '/none', 'PDSH_RCMD_TYPE': 'exec', 'CLASSH': 'evil',
        'CLASSH_HOSTS': 'evil', 'CLASSH_OPTIONS': '-x a', 'HOSTS': 'evil',
        'PSSH_USER': 'evil', 'USER': 'evil', 'LOGNAME': 'evil'}

    def test_no_host_comes_from_the_environment_or_a_file_nobody_named(self):
        for name in ('hosts', '.classhrc', '.dsh/group/all', 'classh.conf'):
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            self.write(name, 'evil\n')
        env = dict(self.REMEMBERED, HOME=self.directory)
        self.classh('--list', env=env).check(2, '', 'classh: no hosts\n')
        self.classh('true', env=env).check(2, '', 'classh: no hosts\n')
        said = self.classh('echo as ${SSH_USER:-me}', 'a', env=env).check(
            0, None)
        self.assertIn('  as me\n', said.stdout)
        self.assertNotIn('evil', said.stdout)

    def test_stdin_names_no_host_unless_told_so(self):
        self.classh('true', stdin='evil\n').check(2, '', None)
        said = self.classh('cat', 'a', stdin='evil\n').check(0, None)
        self.assertNotIn('evil', said.stdout)

    def test_excluded_wherever_it_comes_from(self):
        self.write('more', 'a\nspared\n')
        log = self.path('log')
        self.classh('-q', '-x', 'spared', '-f1', 'true', './more', '-',
                    'spared', 'b', 'spare[d,r]', stdin='spared c\nspared\n',
                    env={'FAKE_SSH_LOG': log}).check()
        self.assertEqual(sorted(read_log(log)[0]), ['a', 'b', 'c', 'spare'
                                                    + 'r'])


class AtOnceTest(WorkTest):
    def test_as_many_as_may_whenever_hosts_wait(self):
        # Whatever becomes of the others, three run: each of these waits for
        # the two that were started with it or after it.
        command = ('echo >>started; until [ $(wc -l <started) -ge $(( ('
                   '${HOST#n} + 2) / 3 * 3)) ]; do sleep .01; done')
        log = self.path('log')
        self.classh('-q', '-f3', command, 'n[1-12]',
                    env={'FAKE_SSH_LOG': log}).check()
        started, most = read_log(log)
        self.assertEqual((len(started), most), (12, 3))

    def test_place_is_free_again_however_a_job_ends(self):
        hosts = ['slow', 'exit0', 'unreach', 'keeper', 'flooder', 'signal9',
                 'escapee', 'last']
        log = self.path('log')
        self.classh('-q', '-f1', '-u1.5', 'true', *hosts,
                    env={'FAKE_SSH_LOG': log}).check(3)
        self.assertEqual(read_log(log)[0], hosts)
        kill_leftovers()

    def test_place_is_not_given_twice_while_a_job_is_being_ended(self):
        # What was told to end still runs, so that b must wait for it.
        self.classh('-q', '-f1', '-u2', 'echo $HOST >>ran; trap "sleep .2; '
                    'echo end of $HOST >>ran; exit" TERM; [ $HOST = b ] || '
                    'while :; do sleep .01; done', 'a', 'b').check(3)
        self.assertEqual(self.lines('ran'), ['a', 'end of a', 'b'])
