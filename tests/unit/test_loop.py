"""The event loop: timers, and time that counts for nobody, on a clock that
goes only where it is put."""

import os
import selectors
import time
import unittest
from unittest import mock

from classh import STOPPED_MIN, _Loop, _Poll


class StillClock:
    now = 1000.0

    def __call__(self):
        return self.now


class LoopTest(unittest.TestCase):
    def setUp(self):
        self.clock = StillClock()
        self.loop = _Loop(self.clock)
        self.called = []

    def call_at(self, when, name):
        return self.loop.call_at(when, self.called.append, name)

    def due(self, now):
        """Names of what is called *now*."""
        self.clock.now = now
        self.called.clear()
        self.loop.run_timers()
        return self.called[:]


class TimerTest(LoopTest):
    def test_timer_is_called_once_when_it_is_due(self):
        self.call_at(1005.0, 'a')
        self.assertEqual([self.due(now) for now in (1000, 1004.9, 1005, 1006)],
                         [[], [], ['a'], []])

    def test_order_is_that_of_time_and_then_of_asking(self):
        for when, name in (3, 'd'), (1, 'a'), (2, 'b'), (2, 'c'), (9, 'e'):
            self.call_at(1000.0 + when, name)
        self.assertEqual(self.due(1005), ['a', 'b', 'c', 'd'])
        self.assertEqual(self.due(1009), ['e'])

    def test_data_need_not_be_comparable(self):
        self.call_at(1001.0, {})
        self.call_at(1001.0, {})
        self.assertEqual(self.due(1001), [{}, {}])

    def test_cancelled_one_is_not_called(self):
        timers = [self.call_at(1001.0, name) for name in 'abc']
        self.loop.cancel(timers[1])
        self.loop.cancel(timers[1])
        self.assertEqual(self.due(1001), ['a', 'c'])
        self.loop.cancel(timers[0])     # too late, and no error

    def test_callback_may_cancel_what_is_due_with_it(self):
        timers = []
        self.loop.call_at(1001.0, lambda: self.loop.cancel(timers[0]))
        timers.append(self.call_at(1001.0, 'a'))
        self.call_at(1001.0, 'b')
        self.assertEqual(self.due(1001), ['b'])

    def test_callback_may_ask_for_another_call(self):
        self.loop.call_at(1001.0, lambda: self.call_at(1002.0, 'b'))
        self.assertEqual(self.due(1001), [])
        self.assertEqual(self.due(1002), ['b'])

    def test_error_of_a_callback_loses_no_other(self):
        self.loop.call_at(1001.0, lambda: 1 / 0)
        self.call_at(1001.0, 'b')
        with self.assertRaises(ZeroDivisionError):
            self.due(1001)
        self.assertEqual(self.due(1001), ['b'])

    def test_thousands_that_are_cancelled_take_no_room(self):
        kept = [self.call_at(2000.0 + number, number)
                for number in range(10)]
        for _ in range(10000):
            self.loop.cancel(self.call_at(5000.0, 'never'))
        self.assertLess(len(self.loop._timers), 200)
        for timer in kept[::2]:
            self.loop.cancel(timer)
        self.assertEqual(self.due(9000), [1, 3, 5, 7, 9])
        self.assertEqual(len(self.loop._timers), 0)
        self.assertEqual(self.loop._cancelled, 0)


class DiscountTest(LoopTest):
    def test_long_time_is_charged_to_no_timer(self):
        self.call_at(1010.0, 'a')
        self.clock.now = 1100.0
        self.loop.discount(100.0)
        self.assertEqual(self.loop.now(), 1000.0)
        self.assertEqual([self.due(now) for now in (1109.9, 1110)],
                         [[], ['a']])

    def test_short_time_is(self):
        self.clock.now = 1001.0
        self.loop.discount(STOPPED_MIN)
        self.assertEqual(self.loop.now(), 1001.0)

    def test_step_that_took_long_is_discounted(self):
        self.loop.begin_turn()
        self.clock.now += 50
        self.loop.discount_step()
        self.assertEqual(self.loop.now(), 1000.0)
        self.clock.now += .5            # the step that follows is another
        self.loop.discount_step()
        self.assertEqual(self.loop.now(), 1000.5)

    def test_wait_that_was_asked_for_is_none_of_it(self):
        self.loop.begin_turn()
        self.clock.now += 50
        self.loop.discount_step(50)
        self.assertEqual(self.loop.now(), 1050.0)
        self.clock.now += 50            # longer than it was asked for
        self.loop.discount_step(20)
        self.assertEqual(self.loop.now(), 1070.0)


class WaitTest(unittest.TestCase):
    def setUp(self):
        self.loop = _Loop(time.monotonic)
        self.loop.open()
        self.loop.begin_turn()
        self.addCleanup(self.loop.close)
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)
        self.calls = []

    def note(self, fileobj, events, data):
        self.calls.append((fileobj, events, data))

    def test_what_is_ready_is_called_with_its_events_and_data(self):
        self.loop.register(self.writer, selectors.EVENT_WRITE, self.note, 7)
        self.loop.run_once()
        self.assertEqual(self.calls,
                         [(self.writer, selectors.EVENT_WRITE, 7)])

    def test_regular_file_is_always_ready(self):
        with open(__file__) as file:
            self.loop.register(file, selectors.EVENT_READ, self.note)
            for _ in range(2):
                self.loop.run_once()
            self.loop.unregister(file)
        self.assertEqual(self.calls, 2 * [(file, selectors.EVENT_READ, None)])

    def test_what_was_unregistered_in_this_turn_is_not_called(self):
        with open(__file__) as file, open(__file__) as other:
            def stop(fileobj, events, data):
                self.calls.append(fileobj)
                self.loop.unregister(data)
            self.loop.register(file, selectors.EVENT_READ, stop, other)
            self.loop.register(other, selectors.EVENT_READ, stop, file)
            self.loop.run_once()
            self.loop.unregister(file)
        self.assertEqual(self.calls, [file])
        os.write(self.writer, b'x')
        fds = self.reader, self.writer
        for fd, other in zip(fds, reversed(fds)):
            self.loop.register(fd, selectors.EVENT_READ
                               | selectors.EVENT_WRITE, stop, other)
        self.calls.clear()
        self.loop.run_once()
        self.assertEqual(len(self.calls), 1)

    def test_unregistering_what_is_not_registered_is_nothing(self):
        self.loop.unregister(self.reader)

    def test_wait_ends_at_a_point_on_the_clock(self):
        begun = time.monotonic()
        self.loop.run_once(begun + .02)
        self.assertGreaterEqual(time.monotonic(), begun + .019)

    def test_wait_ends_at_the_first_timer(self):
        self.loop.call_at(time.monotonic() + .02, self.calls.append, 'due')
        self.loop.run_once(time.monotonic() + 100)
        self.loop.run_once(time.monotonic())
        while not self.calls:
            self.loop.run_timers()
        self.assertEqual(self.calls, ['due'])

    def test_wait_goes_on_where_nothing_follows_from_what_was_ready(self):
        def pass_on(fileobj, events, data):
            self.calls.append(os.read(fileobj, 1))
            os.write(data, b'.')
            return True
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        self.loop.register(self.reader, selectors.EVENT_READ, pass_on, writer)
        self.loop.register(reader, selectors.EVENT_READ, self.note)
        os.write(self.writer, b'x')
        self.loop.run_once()
        self.assertEqual(self.calls,
                         [b'x', (reader, selectors.EVENT_READ, None)])

    def test_what_is_always_ready_keeps_no_wait_from_its_end(self):
        for is_idle in True, None:
            self.loop.register(self.writer, selectors.EVENT_WRITE,
                               lambda *args: is_idle)
            self.loop.run_once(time.monotonic() + (.02 if is_idle else 100))
            self.loop.unregister(self.writer)

    def test_closed_loop_has_forgotten_what_was_registered(self):
        self.loop.register(self.reader, selectors.EVENT_READ, self.note)
        self.loop.close()
        self.assertFalse(self.loop.is_open)
        self.loop.unregister(self.reader)
        self.loop.open()
        os.write(self.writer, b'x')
        self.loop.run_once(time.monotonic())
        self.assertEqual(self.calls, [])

    def test_descriptor_registered_anew_is_not_called_for_what_was_before(self):
        def renew(fileobj, events, data):
            self.calls.append(fileobj)
            self.loop.unregister(data)
            self.loop.register(data, selectors.EVENT_WRITE, self.note)
        others = os.pipe()
        for fd in others:
            self.addCleanup(os.close, fd)
        for fd, other in ((self.writer, others[1]), (others[1], self.writer)):
            self.loop.register(fd, selectors.EVENT_WRITE, renew, other)
        self.loop.run_once()
        self.assertEqual(len(self.calls), 1)


class WaitByPollTest(WaitTest):
    """The same on a system without epoll."""

    def setUp(self):
        patch = mock.patch('classh._open_poll', _Poll)
        patch.start()
        self.addCleanup(patch.stop)
        super().setUp()


if __name__ == '__main__':
    unittest.main()
