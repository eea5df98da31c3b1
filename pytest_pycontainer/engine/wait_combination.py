"""Several waits as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pytest_pycontainer.engine.readiness import Condition, Wait, await_within, glance, own_timeout
from pytest_pycontainer.errors import (
    ContainerError,
    ContainerExitedError,
    ContainerNotReadyError,
    ContainerUnhealthyError,
    InvalidSpecError,
)

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container

_EXPLAINING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class AllOf(Condition):
    """Waits for one after the other, for ``timeout`` seconds in all; a part's own time counts within these."""

    waits: tuple[Wait, ...]
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        return " and ".join(map(what_of, self.waits))

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition."""
        for wait in self.waits:
            if (seen := glance(wait, container, seconds)) is not None:
                return f"not yet: {what_of(wait)} ({seen})"
        return None

    def within(self, container: Container, seconds: float) -> None:
        """See Condition."""
        deadline = time.monotonic() + seconds
        for wait in self.waits:
            left = max(deadline - time.monotonic(), 0.0)
            own = own_timeout(wait)
            mine = left if own is None else min(left, own)
            try:
                await_within(wait, container, mine)
            except ContainerNotReadyError as error:
                if own is not None and own <= left:
                    raise
                # The time that is the caller's, not what the others have left of it.
                raise ContainerNotReadyError(
                    error.container, error.waited_for, seconds, error.log_tail, error.probes, error.last_seen
                ) from None


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """Waits until one of several holds; one that can't hold any more leaves it to the others."""

    may_hold_after_exit: ClassVar[bool] = True

    waits: tuple[Wait, ...]
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        return " or ".join(map(what_of, self.waits))

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition. Raises ContainerUnhealthyError if that is why none can hold any more."""
        seen, failures = [], []
        share = seconds / len(self.waits)
        for wait in self.waits:
            try:
                one = glance(wait, container, share)
            except (ContainerExitedError, ContainerUnhealthyError) as error:
                failures.append(error)
                one = "it has exited" if isinstance(error, ContainerExitedError) else "it is unhealthy"
            if one is None:
                return None
            seen.append(f"{what_of(wait)}: {one}")
        if len(failures) == len(self.waits):
            raise failures[0]
        return "; ".join(seen)

    def explain(self, container: Container, seen: str) -> str:
        """See Condition."""
        del seen  # each says it better, now that there is time
        return "; ".join(f"{what_of(wait)}: {_explained(wait, container)}" for wait in self.waits)


def _explained(wait: Wait, container: Container) -> str:
    try:
        seen = glance(wait, container, _EXPLAINING_SECONDS)
    except ContainerError as error:
        return str(error)
    if seen is None:
        return "it is so now"
    return wait.explain(container, seen) if isinstance(wait, Condition) else seen


def any_condition(waits: Sequence[Wait], timeout: float | None = None) -> AnyOf:
    """One of several. Raises InvalidSpecError for one with a time of its own: they are looked at in turn."""
    for wait in waits:
        if (own := own_timeout(wait)) is not None:
            raise InvalidSpecError("timeout", f"{own:g}", "one for all of them: any_of(…, timeout=…)")
    return AnyOf(tuple(waits), timeout)


def what_of(wait: Wait) -> str:
    """What is waited for, as a person reads it."""
    return wait.what if isinstance(wait, Condition) else repr(wait)
