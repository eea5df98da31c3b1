"""Shows what takes long, and leaves alone what does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

SLOW_SECONDS: Final = 1.0
"""What takes no longer is not shown."""


class SlowSteps:
    """Steps of which those are shown that take longer than ``seconds``, by a thread that the first of them starts.

    That thread sleeps while there are none, so that a step which is soon over costs a few microseconds. Safe to use
    from several threads.
    """

    def __init__(self, seconds: float = SLOW_SECONDS) -> None:
        self._seconds = seconds
        self._changed = threading.Condition()
        self._steps: set[_Step] = set()
        self._thread: threading.Thread | None = None
        self._sleeps = False
        self._closed = False

    @contextmanager
    def watching(self, show: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
        """A step, which is shown by ``show()`` when its time has come, until the end of the block.

        ``show`` is called in another thread, while this one waits for it if it has come to the end.
        """
        step = _Step(show, time.monotonic() + self._seconds)
        with self._changed:
            self._steps.add(step)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="pycontainer-slow-steps", daemon=True)
                self._thread.start()
            elif self._sleeps:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._steps.discard(step)
            step.shown.close()

    def close(self) -> None:
        """Ends the thread; nothing more is shown."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for step in [step for step in self._steps if not step.is_shown and step.due <= now]:
                    step.is_shown = True
                    step.shown.enter_context(step.show())
                coming = [step.due for step in self._steps if not step.is_shown]
                # Without any it sleeps until it is told; else those that begin meanwhile are found at the next look.
                self._sleeps = not coming
                self._changed.wait(min(coming) - now if coming else None)


class _Step:
    def __init__(self, show: Callable[[], AbstractContextManager[object]], due: float) -> None:
        self.show = show
        self.due = due
        self.is_shown = False
        self.shown = ExitStack()
