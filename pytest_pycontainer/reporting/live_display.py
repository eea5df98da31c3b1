"""All that is shown on a terminal, in one view."""

from __future__ import annotations

from typing import TextIO

from pytest_pycontainer.reporting.builds import BuildSteps
from pytest_pycontainer.reporting.live_view import LiveView
from pytest_pycontainer.reporting.transfer_bars import TransferBars
from pytest_pycontainer.reporting.waits import WaitRows


class LiveDisplay(TransferBars, BuildSteps, WaitRows):
    """Transfers, builds and waits below each other. Safe to use from several threads."""

    def __init__(self, file: TextIO, *, color: bool = True) -> None:
        view = LiveView(file, color=color)
        TransferBars.__init__(self, view)
        BuildSteps.__init__(self, view)
        WaitRows.__init__(self, view)
