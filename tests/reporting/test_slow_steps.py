from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_pycontainer.reporting.slow_steps import SlowSteps


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
    steps, first, second = SlowSteps(0.01), Shown(), Shown()
    with steps.watching(first.show):
        assert first.begun.wait(60)
        with steps.watching(second.show):
            assert second.begun.wait(60)
            assert not second.over
        assert second.over
        assert not first.over
    assert first.over
    steps.close()


def test_what_begins_while_nothing_goes_on_is_shown() -> None:
    steps = SlowSteps(0.01)
    for _ in range(3):
        shown = Shown()
        with steps.watching(shown.show):
            assert shown.begun.wait(60)
    steps.close()


def test_what_is_soon_over_is_not_shown() -> None:
    steps, shown, other = SlowSteps(3600), Shown(), Shown()
    with steps.watching(shown.show), steps.watching(other.show):
        pass
    steps.close()
    assert not shown.begun.is_set()
    assert not other.begun.is_set()
    SlowSteps().close()
