"""When a container that has exited is started again (docker's restart policies)."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_pycontainer.runtime.event_loop import EventLoop, Timer
from pytest_pycontainer.runtime.spec import RestartPolicy

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 60.0
_GOOD_RUN_SECONDS = 10.0


class Restarts:
    """Has one container started again after its exits, and waits longer before each: docker's times.

    The first comes after 0.1 s, each further one after twice that, up to a minute; a run of ten seconds begins that
    anew. ``start`` is called when it is time.
    """

    def __init__(self, loop: EventLoop, start: Callable[[], None]) -> None:
        self.policy = RestartPolicy()
        self.count = 0
        self._loop = loop
        self._start = start
        self._seconds = _FIRST_SECONDS
        self._timer: Timer | None = None

    def reset(self) -> None:
        """Somebody has started it by hand."""
        self.count = 0
        self._seconds = _FIRST_SECONDS

    def schedule(self, exit_code: int, ran_seconds: float) -> bool:
        """Counts a restart after such an exit; False if the policy has it stay exited."""
        pause = self.next(exit_code, ran_seconds)
        if pause is None:
            return False
        self._timer = self._loop.call_at(time.monotonic() + pause, self._start)
        return True

    def cancel(self) -> bool:
        """It is not to be started again, or is so already; whether that was still to come."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def next(self, exit_code: int, ran_seconds: float) -> float | None:
        """Counts a restart, and returns after how many seconds it is due; None: it stays exited."""
        policy = self.policy
        if not policy.restarts or (policy.on_failure and exit_code == 0):
            return None
        if policy.attempts is not None and self.count >= policy.attempts:
            return None
        if ran_seconds >= _GOOD_RUN_SECONDS:
            self._seconds = _FIRST_SECONDS
        self.count += 1
        pause, self._seconds = self._seconds, min(2 * self._seconds, _LONGEST_SECONDS)
        return pause
