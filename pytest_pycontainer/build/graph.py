"""Stages built at the same time, each when what it stands on is there."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_pycontainer.build.stage_builder import StageState


class BuildStopped(Exception):  # noqa: N818  (no error: it ends the threads whose work is not wanted any more)
    """Another stage failed, or the caller was interrupted."""


class StageGraph:
    """Builds stages, the last in the caller's thread and each other one in a thread of its own.

    A stage begins at once, and waits in its thread for another where it needs it: at FROM, at COPY --from, at a mount.
    Stages only name those above them, so the topmost never waits, and no two wait for each other. How many *work* at a
    time is for ``build`` to bound. When one fails, or the caller is interrupted, ``interrupt`` is called to end what
    runs, those that wait are woken, and all threads have ended when ``run`` raises.
    """

    def __init__(self, build: Callable[[int], StageState], interrupt: Callable[[], None]) -> None:
        self._build = build
        self._interrupt = interrupt
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._stages: dict[int, Future[StageState]] = {}
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None

    def run(self, stages: Sequence[int]) -> StageState:
        """Builds ``stages`` and returns the last. Raises what the first that failed raised."""
        *others, last = stages
        try:
            for index in others:
                self._begin(index)
            return self._build(last)
        except BuildStopped as stopped:
            self._stop(stopped)
        except BaseException as failure:
            self._stop(failure)
            raise
        finally:
            for thread in self._threads:
                thread.join()
        assert self._failure is not None
        raise self._failure

    def wait_for(self, index: int) -> StageState:
        """The stage with this index, when it is built; begins it if nobody has. Raises BuildStopped if it failed."""
        state = self._begin(index).result()
        self.check()
        return state

    def check(self) -> None:
        """Raises BuildStopped if the build is given up."""
        if self._stopped.is_set():
            raise BuildStopped

    def _begin(self, index: int) -> Future[StageState]:
        with self._lock:
            if index not in self._stages:
                future: Future[StageState] = Future()
                self._stages[index] = future
                thread = threading.Thread(target=self._build_into, args=(index, future), name=f"stage {index}")
                self._threads.append(thread)
                thread.start()
            return self._stages[index]

    def _build_into(self, index: int, future: Future[StageState]) -> None:
        try:
            future.set_result(self._build(index))
        except BaseException as failure:  # noqa: BLE001  (handed to the thread that asked for the build)
            self._stop(failure)
            future.set_exception(BuildStopped())

    def _stop(self, failure: BaseException) -> None:
        with self._lock:
            if self._failure is None and not isinstance(failure, BuildStopped):
                self._failure = failure
        self._stopped.set()
        self._interrupt()
