"""A step with or without a thread: order, waiting, and what becomes of a failure."""

from __future__ import annotations

import threading

import pytest

from pytest_pycontainer.store.worker import Worker

PATIENCE = 20.0


@pytest.mark.parametrize("waiting", [0, 1, 4])
def test_items_are_done_in_order_and_all_before_the_end(waiting: int) -> None:
    done: list[int] = []
    with Worker("count", done.append, waiting) as worker:
        for item in range(100):
            worker.put(item)
        worker.finish()
        assert done == list(range(100))


def test_no_more_items_wait_than_may() -> None:
    may_go_on, taken = threading.Event(), threading.Semaphore(0)

    def work(item: int) -> None:
        taken.release()
        assert may_go_on.wait(PATIENCE)

    given: list[int] = []

    def give() -> None:
        for item in range(5):
            worker.put(item)
            given.append(item)

    with Worker("slow", work, 2) as worker:
        giver = threading.Thread(target=give)
        giver.start()
        assert taken.acquire(timeout=PATIENCE)
        giver.join(0.1)
        assert giver.is_alive()
        assert len(given) <= 3  # one in work, two waiting
        may_go_on.set()
        giver.join(PATIENCE)
        worker.finish()
    assert given == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_failure_is_raised_at_every_later_call_and_nobody_waits(waiting: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if item == 1:
            raise ValueError("one")

    with Worker("fails", work, waiting) as worker:
        with pytest.raises(ValueError, match="one"):  # noqa: PT012
            for item in range(1000):
                worker.put(item)
        for _ in range(5):
            with pytest.raises(ValueError, match="one"):
                worker.put(9)
            with pytest.raises(ValueError, match="one"):
                worker.finish()
    assert done == [0, 1]


@pytest.mark.parametrize("waiting", [0, 2])
def test_in_a_chain_a_failure_travels_up(waiting: int) -> None:
    def fail(item: int) -> None:
        raise ValueError("last")

    with (  # noqa: PT012
        Worker("last", fail, waiting) as last,
        Worker("first", last.put, waiting) as first,
        pytest.raises(ValueError, match="last"),
    ):
        while True:
            first.put(1)


def test_leaving_throws_away_what_waits_and_lets_the_step_before_go() -> None:
    started, may_go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        started.set()
        assert may_go_on.wait(PATIENCE)
        done.append(item)

    def spread(item: int) -> None:
        for part in range(100):
            last.put(part)

    with Worker("first", spread, 2) as first, Worker("last", work, 2) as last:
        first.put(0)
        assert started.wait(PATIENCE)
        threading.Timer(0.05, may_go_on.set).start()
    assert done == [0]
    assert not {"first", "last"} & {thread.name for thread in threading.enumerate()}
