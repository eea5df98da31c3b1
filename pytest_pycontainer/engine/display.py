"""Who shows what takes an engine long: images on their way, builds, and waiting for containers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from pytest_pycontainer.build.progress import BuildDisplay, NoBuildDisplay
from pytest_pycontainer.registry.progress import NoDisplay, TransferDisplay

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.wait import Wait


class WaitDisplay(Protocol):
    """Shows containers that are waited for."""

    def waiting(self, container: Container, wait: Wait) -> AbstractContextManager[None]:
        """A container that has been started, until it is ready, or not."""


class Display(TransferDisplay, BuildDisplay, WaitDisplay, Protocol):
    """Shows transfers, builds and waits, several at once."""


class SilentDisplay(NoDisplay, NoBuildDisplay):
    """The display of whoever has not asked for one."""

    def waiting(self, container: Container, wait: Wait) -> AbstractContextManager[None]:  # noqa: ARG002
        """Says nothing."""
        return nullcontext()
