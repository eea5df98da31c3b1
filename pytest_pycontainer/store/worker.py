"""One step of a stream's way, in a thread of its own where wanted: the steps before and after it go on meanwhile."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

Item = TypeVar("Item")


class _Stopped(Exception):  # noqa: N818  (no error: nobody wants the rest)
    """The worker was left before its end."""


class Worker(Generic[Item]):
    """Hands the items that it is given to ``work``, one after the other; a context manager, which ends its thread.

    ``waiting`` items at most wait for the thread, then ``put`` does; with 0 there is none, and ``put`` itself does the
    work. Items come from one thread at a time. Whatever ``work`` raises is raised by every later call here, and items
    that still wait, or come, are thrown away: nobody waits for a worker that has failed, and in a chain a failure
    travels up to whoever feeds the first one. All time limits are those of ``work``. The thread keeps no process
    alive, and is gone with it.
    """

    def __init__(self, name: str, work: Callable[[Item], object], waiting: int) -> None:
        self._work = work
        # Set once, by whoever works or by ``__exit__``, and only read by others.
        self._failure: BaseException | None = None
        self._items: queue.Queue[Item | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True) if waiting else None

    def __enter__(self) -> Worker[Item]:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Returns when the present item is done and the thread has ended; those that wait are thrown away."""
        self._failure = self._failure or _Stopped()
        self._end()

    def put(self, item: Item) -> None:
        if self._thread is None:
            self._do(item)
        self.check()
        if self._thread is not None:
            self._items.put(item)

    def finish(self) -> None:
        """Returns when all items are done; no more may be given then."""
        self._end()
        self.check()

    def check(self) -> None:
        """Raises what ``work`` has raised, if it has."""
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._items.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            self._do(item)

    def _do(self, item: Item) -> None:
        if self._failure is None:
            try:
                self._work(item)
            except BaseException as failure:  # noqa: BLE001  (it is raised where the items come from)
                self._failure = failure
