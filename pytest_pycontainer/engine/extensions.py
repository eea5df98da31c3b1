"""What an engine is given by whoever opens it: who is told of its containers, and waits and services by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_pycontainer.engine.arguments import Command
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.engine.options import ContainerOptions
    from pytest_pycontainer.engine.wait import Wait


@dataclass(slots=True)
class ContainerRequest:
    """A container that is about to be made, as it was asked for; what is changed here is made instead."""

    image: Image | str | os.PathLike[str]
    command: Command | None
    options: ContainerOptions


class Observer(Protocol):
    """Who is told what becomes of an engine's containers, each time in the thread that does it, which waits for it.

    An error that it raises is raised by the call which it was told of.
    """

    def before_create(self, container_request: ContainerRequest) -> None:
        """A container is about to be made; the image may still have to be pulled."""
        ...

    def after_start(self, container: Container) -> None:
        """It was started, for the first time or again."""
        ...

    def ready(self, container: Container) -> None:
        """``Engine.run`` has found it to be what its ``wait`` is for."""
        ...

    def before_remove(self, container: Container) -> None:
        """It is about to be removed, running or not; its files and its log are still there."""
        ...


class Keeps(Protocol):
    """Who is asked whether a container stays, see ``Extensions``."""

    def __call__(self, container: Container, error: BaseException | None, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Extensions:
    """What an engine has from outside. Nothing, unless it is given some.

    ``waits`` are what ``wait.named`` finds, and make a Wait of its arguments; ``services`` are what ``Engine.service``
    finds, and get the engine, and its arguments.

    ``keeps`` is asked when a container is about to be removed because its block, scope or engine ends, by which error
    (None: by none): if it says so, the container stays, also when the engine's process has ended. One that is removed
    explicitly is removed.
    """

    observers: tuple[Observer, ...] = ()
    waits: Mapping[str, Callable[..., Wait]] = field(default_factory=dict)
    services: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    keeps: Keeps | None = None
