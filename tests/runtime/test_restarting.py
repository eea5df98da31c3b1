"""When a container is started again: docker's policies and pauses."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.restarting import Restarts
from pytest_pycontainer.runtime.spec import RestartPolicy

ALWAYS = RestartPolicy(restarts=True)
SHORT, LONG = 0.0, 10.0


def restarts(policy: RestartPolicy) -> Restarts:
    made = Restarts(EventLoop(), lambda: None)
    made.policy = policy
    return made


def test_without_a_policy_it_stays_exited() -> None:
    none = restarts(RestartPolicy())
    assert none.next(1, SHORT) is None
    assert none.count == 0


def test_pauses_double_up_to_a_minute() -> None:
    always = restarts(ALWAYS)
    pauses = [always.next(0, SHORT) for _ in range(12)]
    assert pauses == [pytest.approx(min(0.1 * 2**n, 60.0)) for n in range(12)]
    assert always.count == 12


def test_a_run_of_ten_seconds_begins_them_anew_and_counts_on() -> None:
    always = restarts(ALWAYS)
    assert [always.next(1, ran) for ran in (SHORT, SHORT, LONG, SHORT)] == [0.1, 0.2, 0.1, 0.2]
    assert always.count == 4


@given(st.lists(st.integers(0, 3)), st.integers(1, 4))
def test_on_failure_counts_failures_up_to_its_limit(codes: list[int], attempts: int) -> None:
    some = restarts(RestartPolicy(restarts=True, on_failure=True, attempts=attempts))
    again = [some.next(code, SHORT) is not None for code in codes]
    failures = [code != 0 for code in codes]
    assert again == [failed and sum(failures[:place]) < attempts for place, failed in enumerate(failures)]


def test_a_start_by_hand_counts_from_the_beginning() -> None:
    some = restarts(RestartPolicy(restarts=True, on_failure=True, attempts=2))
    assert [some.next(1, SHORT) is None for _ in range(3)] == [False, False, True]
    some.reset()
    assert some.next(1, SHORT) == 0.1
    assert some.count == 1


def test_a_restart_comes_when_it_is_due_and_once() -> None:
    loop = EventLoop()
    started: list[float] = []

    def start() -> None:
        started.append(time.monotonic())
        loop.call_at(time.monotonic() + 0.3, loop.stop)

    some = Restarts(loop, start)
    some.policy = ALWAYS
    begun = time.monotonic()
    assert some.schedule(1, SHORT)
    loop.run()
    (moment,) = started
    assert moment - begun >= 0.1


def test_a_restart_that_was_cancelled_does_not_come() -> None:
    loop = EventLoop()
    some = Restarts(loop, lambda: pytest.fail("started"))
    some.policy = ALWAYS
    assert not some.cancel()
    assert some.schedule(1, SHORT)
    assert some.cancel()
    assert not some.cancel()
    loop.call_at(time.monotonic() + 0.2, loop.stop)
    loop.run()
