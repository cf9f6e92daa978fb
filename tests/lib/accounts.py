"""Throw-away users, an sshd that lets them in by password, and their sudo.

    accounts()              the Accounts that the tests share
    accounts().ssh          a command for --ssh; a host is USER@ADDRESS
    accounts().su           one that needs no sshd: it becomes USER here

Only root can make users.  Elsewhere accounts() raises SkipTest and says on
stderr what is not run.  All is taken away when the tests end.
"""

import atexit
import functools
import glob
import os
import pwd
import shlex
import shutil
import signal
import sys
import tempfile
import unittest

from .commands import run
from .place import INSTALL_LIMIT, MARK, SHARED, TESTS
from .processes import processes, wait_until

SBIN = os.environ['PATH'] + ':/usr/sbin:/sbin:/usr/local/sbin'
NAME = 'classh-test-%d' % os.getpid()   # of PAM services and of files in /etc

# As usual, but without the two or three seconds after a wrong password; and
# one user is asked for a one-time code first, where there is a module for it.
PAM = """\
auth     required pam_unix.so nodelay
account  required pam_unix.so
password required pam_unix.so
session  required pam_permit.so
"""
PAM_CODE = """\
auth     [success=ignore default=1] pam_succeed_if.so quiet user = {code}
auth     required pam_google_authenticator.so secret={dir}/code user=root
"""
PAM_UNIX = ('/lib*/security/pam_unix.so', '/lib/*/security/pam_unix.so',
            '/usr/lib*/security/pam_unix.so')
CODE_SECRET = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n" TOTP_AUTH\n'

SSHD_CONFIG = """\
HostKey "{dir}/host_key"
PidFile "{dir}/pid"
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication no
AllowUsers {users}
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 1000
LogLevel VERBOSE
{more}
Match LocalPort {password}
    PasswordAuthentication yes
Match LocalPort {keyboard}
    KbdInteractiveAuthentication yes
Match LocalPort {both}
    PasswordAuthentication yes
    KbdInteractiveAuthentication yes
"""

SSH_CONFIG = """\
Port {password}
PubkeyAuthentication no
IdentityAgent none
UserKnownHostsFile "{dir}/known_hosts"
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
UpdateHostKeys no
KexAlgorithms curve25519-sha256
LogLevel ERROR
"""

SUDOERS = """\
Defaults:{asked},{kept},{plain},{limited},{code} !lecture, pam_service={name}
Defaults:{asked},{kept},{plain},{limited} logfile={dir}/sudo.log, !syslog
Defaults:{asked} timestamp_timeout=0
Defaults:{kept} timestamp_type=global
Defaults>{free},{old} targetpw
{asked},{kept},{code} ALL=(ALL:ALL) ALL
{limited} ALL=(ALL:ALL) /usr/bin/id
{free} ALL=(ALL:ALL) NOPASSWD: ALL
"""

# In ssh's place.  What it becomes has no terminal and our stdin, as there.
# su ends its child only: no shell is to stay between it and sudo.
SU = """\
#!/bin/sh
while [ "$1" != -- ]; do shift; done
case $3 in "sh -c '"*) set -- "$1" "$2" "exec $3" ;; esac
exec su "${2%%@*}" -s /bin/sh -c "$3"
"""


@functools.lru_cache(maxsize=None)
def not_run(what, why):
    """Say what is not run here, once; return it for a SkipTest."""
    line = 'not run here: %s: %s' % (what, why)
    print('\n' + line, file=sys.stderr)
    return line


def installed(command):
    """True if there is *command*; in CI and tests/run, install it."""
    if os.environ.get('CI') or os.environ.get('CLASSH_TEST_SSHD'):
        run(['sh', os.path.join(TESTS, 'install'), command],
            timeout=INSTALL_LIMIT, env={MARK: None})
    return shutil.which(command, path=SBIN) is not None


class Accounts:
    """Users by what becomes of them, an sshd and sudo for them.

    .asked      has .password; sudo asks for it each time
    .kept       has .password; sudo asks once, and keeps a ticket
    .plain      has .password, and no right to sudo
    .limited    has .password, and may run id only, not a shell
    .free       has .other as password; sudo never asks; who becomes it is
                asked for .other
    .old        has .password, which has expired; who becomes it is asked
                for that
    .code       has .password; ssh and sudo ask for a one-time code first,
                where .codes is true
    .ports      of sshd: 'password', 'keyboard' (interactive), 'both'
    .log        what sshd writes: the path of a file
    """
    USERS = ('asked', 'kept', 'plain', 'limited', 'free', 'old', 'code')

    def __init__(self):
        self.password = 'right-%s' % os.urandom(8).hex()
        self.other = 'other-%s' % os.urandom(8).hex()
        self.wrong = 'wrong-%s' % os.urandom(8).hex()
        self._names = {role: 'ct%d%s' % (os.getpid(), role)
                       for role in self.USERS}
        for role, name in self._names.items():
            setattr(self, role, name)
        self.directory = tempfile.mkdtemp(prefix=SHARED)
        self._etc = []              # files to remove
        self._bin = None            # a directory that our users can read
        atexit.register(self.stop)
        for name in self._names.values():
            self._add(name, '/bin/sh')
        self._do('chpasswd', stdin=''.join(
            '%s:%s\n' % (name, self.other if role == 'free'
                         else self.password)
            for role, name in self._names.items()))
        self._do('chage', '-d', '0', self.old)
        self.codes = installed('google-authenticator')
        pam = (PAM_CODE if self.codes else '') + PAM
        self._write('/etc/pam.d/' + NAME, self._fill(pam), 0o644)
        self._write(self.path('code'), CODE_SECRET, 0o400)
        self._start_sshd()
        self.su = shlex.quote(self._write(self.path('su'), SU, 0o700))
        self.ssh = 'ssh -F ' + shlex.quote(self.path('ssh_config'))

    def path(self, name):
        return os.path.join(self.directory, name)

    def _do(self, *argv, stdin=''):
        run(argv, stdin=stdin, env={'PATH': SBIN, MARK: None}).check(
            stderr=None)

    def _add(self, name, shell):
        self._do('useradd', '-M', '-d', '/', '-s', shell, name)

    def with_shell(self, shell):
        """Return a user who has .password and the login shell *shell*, 'csh'
        or 'busybox ash', say; None where that cannot be had."""
        program, _, applet = shell.partition(' ')
        if shell not in self._names:
            if not installed(program):
                not_run('a login shell', 'no ' + program)
                return None
            path = shutil.which(program)
            if applet:              # the name says which one it is to be
                self._bin = self._bin or tempfile.mkdtemp(prefix=SHARED,
                                                          dir='/tmp')
                os.chmod(self._bin, 0o755)
                applet = os.path.join(self._bin, applet)
                os.symlink(path, applet)
            name = 'ct%dsh%d' % (os.getpid(), len(self._names))
            self._names[shell] = name
            self._add(name, applet or path)
            self._do('chpasswd', stdin='%s:%s\n' % (name, self.password))
        return self._names[shell]

    def _fill(self, template, **more):
        return template.format(dir=self.directory, name=NAME, **self._names,
                               **more)

    def _write(self, path, content, mode):
        with open(path, 'w', opener=lambda path, flags: os.open(
                path, flags | os.O_EXCL, 0o600)) as file:
            if path.startswith('/etc'):
                self._etc.append(path)
            file.write(content)
        os.chmod(path, mode)
        return path

    # sshd

    def _start_sshd(self):
        # The service is named after the program, so give that our name.
        sshd = self.path(NAME)
        os.symlink(os.path.realpath(shutil.which('sshd', path=SBIN)), sshd)
        self._do('ssh-keygen', '-q', '-t', 'ed25519', '-N', '',
                 '-f', self.path('host_key'))
        with open(self.path('host_key.pub')) as key:
            self._write(self.path('known_hosts'), '* ' + key.read(), 0o600)
        self.log = self._write(self.path('log'), '', 0o600)
        if os.path.isdir('/run'):
            os.makedirs('/run/sshd', 0o755, exist_ok=True)
        for attempt in range(8):
            for address in '0.0.0.0:%d rdomain lo', '127.0.0.1:%d':
                if self._listens(sshd, address, attempt):
                    self.every_address = 'rdomain' in address
                    return
        with open(self.log) as log:
            raise AssertionError('sshd does not start\n' + log.read())

    def _listens(self, sshd, address, attempt):
        first = 20000 + (os.getpid() * 37 + attempt * 1013) % 12000
        self.ports = {'password': first, 'keyboard': first + 1,
                      'both': first + 2}
        config = self.path('sshd_config')
        listen = ''.join('ListenAddress %s\n' % (address % port)
                         for port in self.ports.values())
        # An sshd from 9.8 on has a setting for it; and it turns a client
        # away for a while after failed logins: all tests are one client.
        for more in ('PAMServiceName %s\nPerSourcePenalties no\n' % NAME,
                     ''):
            with open(config, 'w') as file:
                file.write(listen + self._fill(
                    SSHD_CONFIG, users='ct%d*' % os.getpid(), more=more,
                    **self.ports))
            if run([sshd, '-t', '-f', config], env={MARK: None}).status == 0:
                break
        else:
            return False
        with open(self.path('ssh_config'), 'w') as file:
            file.write(self._fill(SSH_CONFIG, **self.ports))
            if 'rdomain' not in address:
                file.write('Host 127.*\nHostname 127.0.0.1\n')
        run([sshd, '-f', config, '-E', self.log], env={MARK: None})
        wait_until(lambda: os.path.exists(self.path('pid'))
                   or 'annot bind' in self.said(), what='sshd listens')
        return os.path.exists(self.path('pid'))

    def said(self, since=0):
        """What sshd has written to its log since it was *since* long."""
        with open(self.log) as log:
            log.seek(since)
            return log.read()

    def quiet(self):
        """Wait until no connection is left; return the length of the log."""
        wait_until(lambda: not self._sessions(), what='sshd has nothing to do')
        return os.path.getsize(self.log)

    def _sessions(self):
        """(pid, command line) of connections, and of what our users run."""
        uids = set()
        for name in self._names.values():
            try:
                uids.add(pwd.getpwnam(name).pw_uid)
            except KeyError:        # not made, or deleted
                pass
        listener = self._listener()
        found = []
        for pid, parent, state, line in processes():
            try:
                uid = os.stat('/proc/%d' % pid).st_uid
            except OSError:         # it has just ended
                continue
            if state != 'Z' and (uid in uids or parent == listener):
                found.append((pid, line))
        return found

    def _listener(self):
        try:
            with open(self.path('pid')) as file:
                return int(file.read())
        except (OSError, ValueError):
            return -1

    # sudo

    @functools.lru_cache(maxsize=None)
    def sudo_problem(self):
        """Prepare sudo for our users; return why there is none, or ''."""
        if not installed('sudo') or not os.path.isdir('/etc/sudoers.d'):
            return 'not installed'
        path = self._write(self.path('sudoers'), self._fill(SUDOERS), 0o440)
        self._do('visudo', '-cf', path)     # a bad one breaks all sudo
        # A name with a dot in it is passed over until it is complete.
        made = self._write('/etc/sudoers.d/.' + NAME, '', 0o440)
        shutil.copyfile(path, made)
        os.rename(made, '/etc/sudoers.d/' + NAME)
        self._etc.append('/etc/sudoers.d/' + NAME)
        # In some containers no program may become root.
        tried = run(['su', self.free, '-s', '/bin/sh', '-c', 'sudo -n true'],
                    cwd='/')
        return tried.stderr.strip() if tried.status else ''

    def has_sudo(self):
        """Prepare sudo for our users; raise SkipTest where there is none."""
        if self.sudo_problem():
            raise unittest.SkipTest(not_run('sudo', self.sudo_problem()))

    def forget_tickets(self):
        self._do('su', self.kept, '-s', '/bin/sh', '-c', 'sudo -K')

    # The end

    def stop(self):
        """Take all of it away.  A second call does nothing."""
        for path in self._etc:
            _remove(path)
        number = signal.SIGTERM

        def all_gone():
            left = self._sessions() + self._listeners()
            for pid, line in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            return not left
        try:
            wait_until(all_gone, 3)
        except AssertionError:
            number = signal.SIGKILL
            wait_until(all_gone)
        for name in self._names.values():
            try:
                uid = pwd.getpwnam(name).pw_uid
            except KeyError:
                continue
            self._do('userdel', name)
            for pattern in '/run/sudo/ts/%s', '/var/*/sudo/*/%s':
                for who in name, uid:
                    for path in glob.glob(pattern % who):
                        _remove(path)
        for directory in filter(None, (self.directory, self._bin)):
            shutil.rmtree(directory, ignore_errors=True)

    def _listeners(self):
        return [(pid, line) for pid, parent, state, line in processes()
                if pid == self._listener() and self.directory in line]


def _remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


@functools.lru_cache(maxsize=None)
def accounts():
    """The Accounts that the tests share, made when they are first asked for.

    Raise SkipTest where they cannot be made.
    """
    what = 'passwords on a real sshd, and real sudo'
    if os.geteuid() != 0:
        raise unittest.SkipTest(not_run(what, 'only root can make users'))
    for command in 'useradd', 'userdel', 'chpasswd', 'chage', 'sshd', 'su':
        if not shutil.which(command, path=SBIN):
            raise unittest.SkipTest(not_run(what, 'no ' + command))
    if not (os.path.isdir('/etc/pam.d') and any(map(glob.glob, PAM_UNIX))):
        raise unittest.SkipTest(not_run(what, 'no PAM'))
    return Accounts()
