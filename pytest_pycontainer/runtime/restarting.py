"""When a container that has exited is started again (docker's restart policies)."""

from __future__ import annotations

from pytest_pycontainer.runtime.spec import RestartPolicy

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 60.0
_GOOD_RUN_SECONDS = 10.0


class Restarts:
    """Counts the restarts of one container, and waits longer before each: docker's times.

    The first comes after 0.1 s, each further one after twice that, up to a minute; a run of ten seconds starts that
    anew.
    """

    def __init__(self) -> None:
        self.policy = RestartPolicy()
        self.count = 0
        self._seconds = _FIRST_SECONDS

    def reset(self) -> None:
        """Somebody has started it by hand."""
        self.count = 0
        self._seconds = _FIRST_SECONDS

    def next(self, exit_code: int, ran_seconds: float) -> float | None:
        """Counts a restart after such an exit, and returns after how many seconds it is due; None: it stays exited."""
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
