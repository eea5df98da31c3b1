"""The display for a file: a live view on a terminal, docker's lines elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pytest_pycontainer.build.progress import Progress, silent
from pytest_pycontainer.reporting.transfers import TransferLines
from pytest_pycontainer.reporting.waits import WaitLines

if TYPE_CHECKING:
    from pytest_pycontainer.engine.display import Display


def open_display(file: TextIO, *, color: bool = True) -> Display:
    """A display that writes to ``file``, with what moves if that is a terminal which can show it.

    Elsewhere each thing that is done is a line, or one for each layer.
    """
    if file.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown"):
        from pytest_pycontainer.reporting.live_display import LiveDisplay

        return LiveDisplay(file, color=color)
    return _Lines(file)


class _Lines(TransferLines, WaitLines):
    """Transfers, a line for each layer, builds and waits, a line for each."""

    def __init__(self, file: TextIO) -> None:
        TransferLines.__init__(self, file)
        WaitLines.__init__(self, file)
        self._build_file = file

    @contextmanager
    def building(self, name: str) -> Iterator[Progress]:
        """Says that it is built; the steps are told to whoever asked for them, ``Engine.build(progress=…)``."""
        self._build_file.write(f"Building {name}\n")
        self._build_file.flush()
        yield silent
