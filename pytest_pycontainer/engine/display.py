"""Who shows what takes an engine long: images on their way, and builds."""

from __future__ import annotations

from typing import Protocol

from pytest_pycontainer.build.progress import BuildDisplay, NoBuildDisplay
from pytest_pycontainer.registry.progress import NoDisplay, TransferDisplay


class Display(TransferDisplay, BuildDisplay, Protocol):
    """Shows transfers and builds, several at once."""


class SilentDisplay(NoDisplay, NoBuildDisplay):
    """The display of whoever has not asked for one."""
