"""Results, their causes, how a transport judges a job, and the states that a
job goes through."""

import ast
import inspect
import itertools
import os
import pickle
import unittest

import classh
from classh import CAUSES, Result, Ssh, Transport, _Capture

SAMPLE = Result('web1', 7, 'out', 'err', 1.5, 4.0, 'error', '', False)


class ResultTest(unittest.TestCase):
    def test_it_cannot_be_changed_nor_added_to(self):
        for name in Result._fields + ('new',):
            with self.assertRaises(AttributeError):
                setattr(SAMPLE, name, 1)

    def test_it_survives_a_pickle(self):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            copy = pickle.loads(pickle.dumps(SAMPLE, protocol))
            self.assertEqual(copy, SAMPLE)
            self.assertIs(type(copy), Result)

    def test_elapsed_is_from_start_to_stop(self):
        self.assertEqual(SAMPLE.elapsed, 2.5)

    def test_it_has_no_dictionary(self):
        self.assertFalse(hasattr(SAMPLE, '__dict__'))

    def test_fields_are_fourteen_and_the_last_five_may_be_left_out(self):
        self.assertEqual(Result._fields, (
            'host', 'exitcode', 'output', 'errors', 'started', 'stopped',
            'outcome', 'reason', 'truncated', 'cause', 'ran', 'login',
            'tries', 'diagnostics'))
        self.assertEqual(SAMPLE[9:], ('', 'unknown', None, 1, ''))
        self.assertRaises(TypeError, Result, *SAMPLE[:8])

    def test_docstring_tells_of_every_field(self):
        lines = inspect.getdoc(Result).splitlines()[1:]
        told = [line.split()[0] for line in lines if line[:1].strip()]
        self.assertEqual(told, list(Result._fields))


class CauseTest(unittest.TestCase):
    def test_every_cause_is_used(self):
        with open(classh.__file__, encoding='utf-8') as file:
            tree = ast.parse(file.read())
        for node in tree.body:
            if (isinstance(node, ast.Assign)
                    and node.targets[0].id == 'CAUSES'):
                tree.body.remove(node)
                break
        words = [getattr(node, 'value', None) or getattr(node, 's', None)
                 for node in ast.walk(tree)
                 if type(node).__name__ in ('Str', 'Constant')]
        self.assertEqual([cause for cause in CAUSES if cause not in words],
                         [])

    def test_cause_is_a_word_and_its_text_begins_a_reason(self):
        for cause, text in CAUSES.items():
            self.assertRegex(cause, r'\A[a-z0-9]+(-[a-z0-9]+)*\Z')
            self.assertRegex(text, r'\A[a-z][^:\n]*[a-zA-Z0-9]\Z')

    def test_text_of_a_cause_is_the_same_for_all_its_hosts(self):
        for cause, exitcode, reason, text in (
                ('', 7, '', 'exited with 7'),
                ('ssh', 255, 'ssh failed', 'ssh failed'),
                ('timeout', -15, 'timed out after 3 s, would not die',
                 'timed out after 3 s'),
                ('start', 255, 'ssh could not be started: out of memory',
                 'ssh could not be started'),
                ('signal', -9, 'ended by SIGKILL', 'ended by SIGKILL'),
                ('signal', -63, 'ended by signal 63', 'ended by signal 63'),
                ('a-later-one', 9, 'of a newer classh', 'exited with 9')):
            result = SAMPLE._replace(cause=cause, exitcode=exitcode,
                                     reason=reason, outcome='killed')
            self.assertEqual(classh.cause_text(result), text)
        # The status of a command that a signal ended does not tell which.
        self.assertEqual(classh.cause_text(SAMPLE._replace(
            cause='signal', exitcode=255, outcome='error')),
            'ended by a signal on the host')


class Ended:
    """A job that is over."""

    def __init__(self, exitcode, cause='', reason=''):
        self.host = 'h'
        self.log = None
        self.output = self.errors = _Capture(100, None)
        self.exitcode = exitcode
        self.cause = cause
        self.reason = reason


class ExplainTest(unittest.TestCase):
    # exit status, cause, reason of a job: outcome, cause, ran, reason
    ANY = (
        ((0, '', ''), ('ok', '', 'yes', '')),
        ((7, '', ''), ('error', '', 'yes', '')),
        ((254, '', ''), ('error', '', 'yes', '')),
        ((-9, '', ''), ('killed', 'signal', 'unknown', 'ended by SIGKILL')),
        ((None, '', ''), ('ssh', 'status-lost', 'unknown',
                          'exit status lost')),
        # We ended it, whatever its status says.
        ((-15, 'timeout', 'timed out after 1 s'),
         ('killed', 'timeout', 'unknown', 'timed out after 1 s')),
        ((0, 'stopped', 'stopped'),
         ('killed', 'stopped', 'unknown', 'stopped')),
        ((255, 'timeout', 'timed out after 1 s'),
         ('killed', 'timeout', 'unknown', 'timed out after 1 s')),
        ((None, 'input', 'input lost: x'),
         ('killed', 'input', 'unknown', 'input lost: x')))

    def test_exit_status_is_that_of_the_command(self):
        for job, said in self.ANY + (((255, '', ''),
                                      ('error', '', 'yes', '')),):
            self.assertEqual(Transport().explain(Ended(*job)), said)

    def test_ssh_says_255_of_itself(self):
        for job, said in self.ANY + (((255, '', ''),
                                      ('ssh', 'ssh', 'unknown',
                                       'ssh failed')),):
            self.assertEqual(Ssh().explain(Ended(*job)), said)

    def test_address_is_known_in_what_ssh_says(self):
        for host, ran in (('2001:db8::7', 'no'), ('a@[2001:db8::7]:7', 'no'),
                          ('2001:db8::8', 'unknown')):
            job = Ended(255)
            job.host = host
            job.errors = _Capture(100, None)
            job.errors.add(b'ssh: connect to host 2001:db8::7 port 7: '
                           b'Connection refused\r\n')
            self.assertEqual(Ssh().explain(job)[:3], ('ssh', 'refused', ran))

    def test_every_cause_it_gives_is_in_the_table(self):
        for job, _ in self.ANY:
            self.assertIn(Transport().explain(Ended(*job))[1],
                          ('', *CAUSES))


class StateTest(unittest.TestCase):
    MAY_FOLLOW = {
        'pending': ('running',),
        'running': ('terminating', 'finished'),
        'terminating': ('killing', 'finished'),
        'killing': ('finished',),
        'finished': (),
    }

    def job(self):
        return classh._Job('h', 100, classh._Spool(), 0.0)

    def test_only_the_transitions_of_the_table_are_possible(self):
        self.assertEqual(self.job().state, 'pending')
        for state, following in itertools.product(self.MAY_FOLLOW, repeat=2):
            job = self.job()
            job.state = state
            with self.subTest(state=state, following=following):
                if following in self.MAY_FOLLOW[state]:
                    job.become(following)
                    self.assertEqual(job.state, following)
                else:
                    with self.assertRaisesRegex(
                            AssertionError, '%s.*%s' % (state, following)):
                        job.become(following)
                    self.assertEqual(job.state, state)

    def test_job_that_was_not_started_has_no_pipe_and_no_status(self):
        job = self.job()
        self.assertEqual((job.pid, job.exitcode, job.stdin, job.pipes),
                         (None, None, None, {}))
        self.assertIsNone(job.find_process())
        job.close_pipes()
        self.assertEqual((job.output.take(), job.errors.take()), ('', ''))


class ReadTest(unittest.TestCase):
    """A job and a pipe of its own, without a process."""

    def setUp(self):
        self.job = classh._Job('h', 100, classh._Spool(), 0.0)
        self.pipe, self.writer = os.pipe()
        os.set_blocking(self.pipe, False)
        self.job.pipes[self.pipe] = self.job.output
        self.addCleanup(self.job.close_pipes)

    def test_it_reads_what_is_there_nothing_and_the_end(self):
        self.assertEqual(self.job.read(self.pipe), 0)
        os.write(self.writer, b'abcde')
        self.assertEqual(self.job.read(self.pipe, 3), 3)
        os.close(self.writer)
        self.assertEqual(self.job.read(self.pipe), 2)
        self.assertIsNone(self.job.read(self.pipe))
        self.assertEqual(self.job.output.take(), 'abcde')

    def test_pipe_that_cannot_be_read_is_at_its_end_and_lost(self):
        os.write(self.writer, b'abcde')
        os.close(self.writer)
        self.job.read(self.pipe, 3)
        with open(os.devnull, 'wb') as null:
            self.job.pipes[null.fileno()] = self.job.output
            self.assertIsNone(self.job.read(null.fileno()))
            del self.job.pipes[null.fileno()]
        self.assertIsInstance(self.job.output.error, OSError)
        self.assertEqual(self.job.output.take(), '')
