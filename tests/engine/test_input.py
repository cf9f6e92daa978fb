"""Input that a manager gives to its jobs."""

from lib import FAKE_SSH, WorkTest
import classh


class ModuleInputTest(WorkTest):
    def test_input_may_be_a_file_or_a_descriptor(self):
        with open(self.write('file', 'said\n' * 100000), 'rb') as file:
            for given in file, file.fileno():
                job = classh.SSHJobMan('h[1-3]', 'cat', ssh=FAKE_SSH,
                                       input=given)
                job.wait()
                for result in job.results.values():
                    self.assertTrue(result.output == 'said\n' * 100000)

    def test_what_is_neither_is_refused_as_is_a_command_in_words(self):
        for command, given, message in (
                ('cat', 'hello', 'input must be a file or a descriptor, not '
                                 'str'),
                (['uname', '-r'], None, 'command must be a str, not list')):
            with self.assertRaises(TypeError) as caught:
                classh.SSHJobMan('h', command, ssh=FAKE_SSH, input=given)
            self.assertEqual(str(caught.exception), message)
