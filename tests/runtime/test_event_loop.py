"""The monitor's event loop: descriptors, moments, and what callbacks may do to each other."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime.event_loop import EventLoop


@pytest.fixture
def loop() -> EventLoop:
    return EventLoop()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_calls_back_as_long_as_there_is_something_to_read(loop: EventLoop, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    read: list[bytes] = []

    def take_one() -> None:
        read.append(os.read(reading, 1))
        if len(read) == 3:
            loop.stop()

    os.write(writing, b"abc")
    loop.watch(reading, take_one)
    loop.run()
    assert read == [b"a", b"b", b"c"]


def test_a_closed_other_end_is_told_whatever_is_watched_for(loop: EventLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        loop.watch(ours.fileno(), loop.stop, select.POLLPRI)
        loop.run()


def test_watching_again_replaces_callback_and_events(loop: EventLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.watch(ours.fileno(), lambda: pytest.fail("the old one"))
        loop.watch(ours.fileno(), loop.stop, select.POLLOUT)
        loop.run()


def test_who_is_unwatched_by_a_callback_is_not_called_in_the_same_turn(loop: EventLoop) -> None:
    """Even where its number has become another thing's meanwhile."""
    first, first_end = socket.socketpair()
    second, second_end = socket.socketpair()
    called: list[str] = []

    def drop(name: str, other: socket.socket) -> None:
        called.append(name)
        number = other.fileno()
        loop.unwatch(number)
        other.close()
        assert os.dup(first_end.fileno()) == number
        loop.watch(number, lambda: called.append("new"))
        loop.call_at(time.monotonic(), loop.stop)

    with first, first_end, second, second_end:
        for end in (first_end, second_end):
            end.send(b"x")
        loop.watch(first.fileno(), lambda: drop("first", second))
        loop.watch(second.fileno(), lambda: drop("second", first))
        number = second.fileno()
        loop.run()
        os.close(number)
    assert called == ["first"]


def test_unwatching_what_is_not_watched_is_no_error(loop: EventLoop, pipe: tuple[int, int]) -> None:
    loop.unwatch(pipe[0])


def test_a_timer_does_not_come_early(loop: EventLoop) -> None:
    due = time.monotonic() + 0.05
    moments: list[float] = []

    def note() -> None:
        moments.append(time.monotonic())
        loop.stop()

    loop.call_at(due, note)
    loop.run()
    assert moments[0] >= due


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20), st.data())
def test_timers_come_in_order_without_those_that_were_cancelled(delays: list[int], data: st.DataObject) -> None:
    loop = EventLoop()
    now = time.monotonic() - 1.0  # all are due
    called: list[int] = []
    timers = [loop.call_at(now + delay / 100, partial(called.append, number)) for number, delay in enumerate(delays)]
    cancelled = data.draw(st.sets(st.integers(0, len(delays) - 1)))
    for number in cancelled:
        timers[number].cancel()
    loop.call_at(now + 0.5, loop.stop)
    loop.run()
    assert called == [n for n in sorted(range(len(delays)), key=lambda n: (delays[n], n)) if n not in cancelled]


def test_a_timer_may_set_and_cancel_others_and_itself(loop: EventLoop) -> None:
    called: list[str] = []
    moment = time.monotonic()
    later = loop.call_at(moment + 0.01, lambda: called.append("cancelled"))

    def first() -> None:
        called.append("first")
        later.cancel()
        timer.cancel()
        loop.call_at(moment, lambda: called.append("set meanwhile"))
        loop.call_at(moment + 0.02, loop.stop)

    timer = loop.call_at(moment, first)
    loop.run()
    assert called == ["first", "set meanwhile"]


def test_nothing_is_called_after_the_stop(loop: EventLoop, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")
    loop.watch(pipe[0], loop.stop)
    loop.call_at(time.monotonic(), lambda: pytest.fail("after the stop"))
    loop.run()
