"""What a wait is, and how one that nothing tells of is asked for: the base of all that ``wait`` has."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from pytest_pycontainer.errors import (
    ContainerExitedError,
    ContainerNotReadyError,
    ContainerNotRunningError,
    ContainerPausedError,
    InvalidSpecError,
)

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container

READY_SECONDS: Final = 60.0
"""How long a wait takes unless it is told otherwise."""

# What nothing tells of is asked for: quickly while a quick server would start, then each time after a further tenth of
# what has been waited already.
_SHORTEST_PAUSE = 0.0005
_SHORTEST_LOOK = 0.001
_SECONDS_OF_OTHERS = 0.1


class Wait(Protocol):
    """Something to wait for. ``timeout``, in seconds, is for the whole of it."""

    def until_ready(self, container: Container, timeout: float) -> None:
        """Returns when the container is ready.

        Raises ContainerExitedError if it exits before, and ContainerNotReadyError after ``timeout`` seconds.
        """
        ...


class Condition(ABC):
    """A Wait that can be looked at: ``a & b`` waits for both, ``a | b`` for either.

    Values, which any number of threads may use for any number of containers.
    """

    __slots__ = ()

    longest_pause: ClassVar[float] = 0.05
    """Seconds from one look to the next, at most."""

    may_hold_after_exit: ClassVar[bool] = False
    """Whether it is looked at once more when the container has exited."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What is waited for: a sentence without its full stop."""

    @abstractmethod
    def look(self, container: Container, seconds: float) -> str | None:
        """None if it holds now, else what there is in its place. Takes ``seconds`` at most.

        Raises what says that it never will hold.
        """

    def explain(self, container: Container, seen: str) -> str:
        """What to say of the last look, once there is no time left."""
        del container
        return seen

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait."""
        own = own_timeout(self)
        self.within(container, timeout if own is None else own)

    def within(self, container: Container, seconds: float) -> None:
        """As ``until_ready``, for ``seconds`` whatever its own time is."""
        container._require_started("wait for")
        begin = time.monotonic()
        deadline = begin + seconds
        while True:
            looked = time.monotonic()
            seen = self._seen(container, max(deadline - looked, _SHORTEST_LOOK))
            if seen is None:
                return
            now = time.monotonic()
            # Looks that take long are no reason to do nothing else.
            pause = min(max((now - begin) / 10, now - looked, _SHORTEST_PAUSE), self.longest_pause)
            # One with less time than the last took would see nothing but that there was none.
            is_last = now + pause + (now - looked) > deadline
            if is_last:
                pause = max(0.0, deadline - now)
            if container.exited_within(pause):
                if self.may_hold_after_exit and self._seen(container, max(deadline - now, _SHORTEST_LOOK)) is None:
                    return
                raise exited(container, self.what)
            if is_last:
                raise not_ready(container, self.what, seconds, self.explain(container, seen))

    def _seen(self, container: Container, seconds: float) -> str | None:
        try:
            return self.look(container, seconds)
        except ContainerNotRunningError as error:
            return f"it is {error.status}"
        except ContainerPausedError:
            return "it is paused"

    def __and__(self, other: Wait) -> Condition:
        from pytest_pycontainer.engine.wait_combination import AllOf

        return AllOf((self, other)) if hasattr(other, "until_ready") else NotImplemented

    def __or__(self, other: Wait) -> Condition:
        from pytest_pycontainer.engine.wait_combination import any_condition

        return any_condition((self, other)) if hasattr(other, "until_ready") else NotImplemented


def glance(wait: Wait, container: Container, seconds: float) -> str | None:
    """As ``Condition.look``, at any Wait."""
    if isinstance(wait, Condition):
        return wait._seen(container, seconds)
    try:
        wait.until_ready(container, min(seconds, _SECONDS_OF_OTHERS))
    except ContainerNotReadyError as error:
        return error.last_seen or f"not yet: {error.waited_for}"
    return None


def await_within(wait: Wait, container: Container, seconds: float) -> None:
    """As ``Condition.within``, for any Wait."""
    if isinstance(wait, Condition):
        wait.within(container, seconds)
    else:
        wait.until_ready(container, seconds)


def own_timeout(wait: Wait) -> float | None:
    """The seconds that the wait itself was given; None if it was given none."""
    own: float | None = getattr(wait, "timeout", None)
    return own


def exited(container: Container, what: str) -> ContainerExitedError:
    """The error for a container that has exited while ``what`` was waited for."""
    code, tail = container.exit_code or 0, container.log_tail()
    return ContainerExitedError(container.name, what, code, tail, container.out_of_memory)


def not_ready(container: Container, what: str, seconds: float, seen: str, probes: str = "") -> ContainerNotReadyError:
    """The error for ``what`` that did not happen in time, with what was ``seen`` last."""
    return ContainerNotReadyError(container.name, what, seconds, container.log_tail(), probes, seen)


def parse_wait(wait: Wait | str | None) -> Wait | None:
    """What to wait for; a text is the name of it. Raises InvalidSpecError."""
    if isinstance(wait, str):
        from pytest_pycontainer.engine.named_wait import NamedWait

        return NamedWait(wait)
    if wait is not None and (not hasattr(wait, "until_ready") or isinstance(wait, type)):
        wanted = "something such as wait.port(80), wait.log('ready') or wait.until(function), or None"
        raise InvalidSpecError("wait", repr(wait), wanted)
    return wait
