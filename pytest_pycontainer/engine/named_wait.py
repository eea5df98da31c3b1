"""A wait by a name, which the engine's extensions know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container


@dataclass(frozen=True, slots=True)
class NamedWait:
    """Waits for what the container's engine knows by ``name``, made with these arguments."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait. Raises InvalidSpecError for a name that the engine does not know."""
        waits = container._resources.extensions.waits
        if self.name not in waits:
            known = ", ".join(sorted(waits)) or "there are none: the hook pytest_pycontainer_waits gives some"
            raise InvalidSpecError("wait", self.name, f"one of the engine's named waits ({known})")
        waits[self.name](*self.arguments, **self.options).until_ready(container, timeout)


def named(name: str, *arguments: Any, **options: Any) -> NamedWait:
    """Waits for what a plugin knows by ``name`` (the hook ``pytest_pycontainer_waits``), made with these arguments."""
    return NamedWait(name, arguments, options)
