"""The display for a file: a live view on a terminal, docker's lines elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

from pytest_pycontainer.build.progress import NoBuildDisplay
from pytest_pycontainer.reporting.transfers import TransferLines

if TYPE_CHECKING:
    from pytest_pycontainer.engine.display import Display


def open_display(file: TextIO, *, color: bool = True) -> Display:
    """A display that writes to ``file``, with what moves if that is a terminal which can show it.

    Elsewhere builds say nothing: their lines go to whoever asked for them, ``Engine.build(progress=…)``.
    """
    if file.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown"):
        from pytest_pycontainer.reporting.live_display import LiveDisplay

        return LiveDisplay(file, color=color)
    return _Lines(file)


class _Lines(TransferLines, NoBuildDisplay):
    """Transfers alone, a line for each layer."""
