"""classh in a pipe to classh, on hosts with names."""

import os

from lib import WorkTest, classh_argv, run, shell, until
from lib.named_hosts import named_hosts
import classh


class RealChainTest(WorkTest):
    def test_hosts_flow_through_three_while_the_first_still_runs(self):
        # The first goes on until the third has run on web1.
        ended = run(['sh', '-c', """
            classh() { %s -q "$@"; }
            classh -S - --pickle 1 'cd %s; [ $HOST = web1 ] || %s' 'web[1-4]' |
            classh -S - --pickle 2 hostname - |
            classh --pickle 3 'touch %s/third-$HOST' -
            """ % (shell(*classh_argv()), self.directory,
                   until('third-web1'), self.directory)],
            cwd=self.directory, env=named_hosts(self.directory))
        ended.check()
        stages = [{result.host: result
                   for result in classh.load(self.path(name))}
                  for name in '123']
        for stage in stages:
            self.assertEqual(sorted(stage), ['web1', 'web2', 'web3', 'web4'])
        for host in stages[0]:
            times = [time for stage in stages
                     for time in (stage[host].started, stage[host].stopped)]
            self.assertEqual(times, sorted(times), host)
            self.assertTrue(os.path.exists(self.path('third-' + host)))
        self.assertLess(stages[2]['web1'].started,
                        min(stages[0][host].stopped
                            for host in ('web2', 'web3', 'web4')))
