"""A command of this machine for each host: what its environment says."""

import os
import shlex
from unittest import mock

from lib import TestCase, run
from lib.commands import write
import classh
from classh import Local, SSHJobMan

NAMES = 'CLASSH_NAME', 'CLASSH_HOST', 'CLASSH_USER', 'CLASSH_PORT', 'CLASSH_N'


class LocalTest(TestCase):
    def local(self, *args, **settings):
        transport = Local(*args, **settings)
        self.addCleanup(transport.close)
        transport.open('a')
        return transport

    def test_environment_tells_the_host(self):
        local = self.local(user='eve')
        for number, (host, *parts) in enumerate((
                ('web1', 'web1', 'eve', ''),
                ('bob@web1:2222', 'web1', 'bob', '2222'),
                ('a@b@web1', 'web1', 'a@b', ''),
                ('2001:db8::7', '2001:db8::7', 'eve', ''),
                ('bob@2001:db8::7', '2001:db8::7', 'bob', ''),
                ('[fe80::1%eth0]:22', 'fe80::1%eth0', 'eve', '22'))):
            environment = local.environment(host)
            self.assertEqual([environment[name] for name in NAMES],
                             [host, *parts, str(number)])
            self.assertEqual(environment['PATH'], os.environ['PATH'])
        self.assertEqual(
            self.local().environment('web1')['CLASSH_USER'], '')

    def test_command_is_passed_on_as_it_is(self):
        command = '-x {} %h $CLASSH_HOST'
        self.assertEqual(self.local().argv('web1', command),
                         ['/bin/sh', '-c', '--', command])

    def test_host_that_had_no_room_keeps_its_number(self):
        local = self.local()
        self.assertEqual([local.environment(host)['CLASSH_N']
                          for host in ('a', 'b', 'b', 'c')],
                         ['0', '1', '1', '2'])

    def test_ssh_is_a_program_that_needs_no_quotes(self):
        show = write(os.path.join(self.scratch(), "it's"),
                     '#!/bin/sh\nprintf "%s\\n" "$@"\n')
        os.chmod(show, 0o755)
        local = self.local(shlex.quote(show) + ' -F "a b" \'*\'', user='eve',
                           options=["ProxyCommand=x '%h' $y"])
        ssh = local.environment('bob@web1:2222')['CLASSH_SSH']
        self.assertRegex(ssh, r'\A[\w/.+-]+\Z')
        ran = run(['sh', '-c', ssh + ' web1 "two  words"'])
        ran.check()
        self.assertEqual(ran.stdout.splitlines()[:-2], [
            '-F', 'a b', '*', '-p', '2222', '-l', 'bob', '-o',
            "ProxyCommand=x '%h' $y", '-o', 'BatchMode=yes', '-o',
            'ConnectTimeout=10', '-o', 'ForwardX11=no', '-o',
            'ForwardAgent=no'])
        self.assertEqual(ran.stdout.splitlines()[-2:], ['web1', 'two  words'])
        # One for all hosts that have no words of their own.
        programs = [local.environment(host)['CLASSH_SSH']
                    for host in ('a', 'b', 'c:7', 'a')]
        self.assertEqual(len(set(programs)), 2)
        directory = os.path.dirname(ssh)
        self.assertEqual(os.stat(directory).st_mode & 0o7777, 0o700)
        local.close()
        self.assertFalse(os.path.exists(directory))

    def test_ssh_is_words_where_nothing_may_be_run(self):
        with mock.patch('classh._make_directory', return_value=None):
            local = self.local("ssh -F 'a b'", options=["A='"])
            words = local.environment('web1:22')['CLASSH_SSH']
        self.assertEqual(
            shlex.split(words),
            ['ssh', '-p', '22', '-F', 'a b', '-o', "A='", '-o',
             'BatchMode=yes', '-o', 'ConnectTimeout=10', '-o',
             'ForwardX11=no', '-o', 'ForwardAgent=no'])

    def test_directory_of_programs_is_one_where_they_may_run(self):
        fits = classh._fits_programs
        self.assertTrue(fits('/usr'))
        self.assertFalse(fits('/usr/share/a b'))
        with mock.patch('os.statvfs') as statvfs:
            statvfs.return_value.f_flag = os.ST_NOEXEC
            self.assertFalse(fits('/usr'))

    def test_class_gets_the_settings_and_the_options_of_the_hooks(self):
        class Gate(classh.JobHooks):
            options = ('ProxyCommand=gate',)
        with SSHJobMan('web1', 'cat $CLASSH_SSH; echo $CLASSH_USER',
                       transport=Local, user='bob', options=['A=b'],
                       connect_timeout=7, hooks=[Gate()]) as job:
            result, = job
        self.assertIn('exec ssh -o ProxyCommand=gate -o A=b -l bob ',
                      result.output)
        self.assertIn(' ConnectTimeout=7 ', result.output)
        self.assertEqual(result.output.splitlines()[-1], 'bob')

    def test_what_ssh_says_is_the_cause_whatever_ran_it(self):
        with SSHJobMan(['a', 'b', 'c'], 'echo "rsync: no"; echo "$CLASSH_HOST" '
                       '| sed "s/a/ssh: connect to host a port 22: '
                       'Connection refused/; s/b/Connection closed by UNKNOWN '
                       'port 65535/" >&2; exit 12', transport=Local) as job:
            results = {result.host: result for result in job}
        self.assertEqual(
            {host: (result.outcome, result.exitcode, result.cause,
                    result.reason, result.ran)
             for host, result in results.items()},
            {'a': ('error', 12, 'refused', 'connection refused', 'yes'),
             'b': ('error', 12, '', '', 'yes'),
             'c': ('error', 12, '', '', 'yes')})

    def test_shell_that_is_not_there_has_run_nothing(self):
        local = self.local()
        local.program = '/nowhere/sh'
        with SSHJobMan('a', 'true', transport=local, retries=3) as job:
            result, = job
        self.assertEqual(
            (result.outcome, result.cause, result.ran, result.tries),
            ('ssh', 'start', 'no', 1))
        self.assertEqual(classh.cause_text(result),
                         '/bin/sh could not be started')
