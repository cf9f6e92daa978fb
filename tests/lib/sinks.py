"""What the tests of targets share."""

import re

from .case import WorkTest
import classh


def reported(shown):
    """The hosts of the report in *shown*, in its order."""
    return re.findall(r'^(\S+)   -?\d+   \(', shown, re.MULTILINE)


class SinkTest(WorkTest):
    def lost(self, run):
        """The hosts that are said to be lost, and at what target."""
        found = re.findall(r'^classh: (\d+) not delivered to (.*): (\S+)$',
                           run.stderr, re.MULTILINE)
        for count, label, pattern in found:
            self.assertEqual(len(list(classh.expand(pattern))), int(count),
                             run)
        return [(label, list(classh.expand(pattern)))
                for count, label, pattern in found]
