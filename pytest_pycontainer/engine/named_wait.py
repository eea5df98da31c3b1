"""A wait by a name, which the engine's extensions know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.engine.readiness import Condition, Wait, await_within, glance
from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container


@dataclass(frozen=True, slots=True)
class NamedWait(Condition):
    """Waits for what the container's engine knows by ``name``, made with these arguments."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """See Condition."""
        return f"{self.name!r} is so"

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition. Raises InvalidSpecError for a name that the engine does not know."""
        return glance(self._found(container), container, seconds)

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait. Raises InvalidSpecError for a name that the engine does not know."""
        self._found(container).until_ready(container, timeout)

    def within(self, container: Container, seconds: float) -> None:
        """See Condition."""
        await_within(self._found(container), container, seconds)

    def _found(self, container: Container) -> Wait:
        waits = container._resources.extensions.waits
        if self.name not in waits:
            known = ", ".join(sorted(waits)) or "there are none: the hook pytest_pycontainer_waits gives some"
            raise InvalidSpecError("wait", self.name, f"one of the engine's named waits ({known})")
        return waits[self.name](*self.arguments, **self.options)


def named(name: str, *arguments: Any, **options: Any) -> NamedWait:
    """Waits for what a plugin knows by ``name`` (the hook ``pytest_pycontainer_waits``), made with these arguments."""
    return NamedWait(name, arguments, options)
