from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_pycontainer.reporting.slow_steps import shown_if_slow


class Shown:
    """Tells when it is shown, and when not any more."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = False

    @contextmanager
    def show(self) -> Iterator[None]:
        self.begun.set()
        yield
        self.over = True


def test_what_takes_long_is_shown_until_it_is_over() -> None:
    first, second = Shown(), Shown()
    with shown_if_slow(first.show, 0.01):
        assert first.begun.wait(60)
        with shown_if_slow(second.show, 0.01):
            assert second.begun.wait(60)
            assert not second.over
        assert second.over
        assert not first.over
    assert first.over


def test_what_is_soon_over_is_not_shown_and_leaves_no_thread() -> None:
    shown, before = Shown(), threading.active_count()
    with shown_if_slow(shown.show, 3600):
        pass
    assert not shown.begun.is_set()
    assert threading.active_count() == before
