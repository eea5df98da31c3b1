"""Everything that reports on a run's engine, for as long as that is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pytest_pycontainer.reporting.failure import FailureReports
from pytest_pycontainer.reporting.recorder import Recorder
from pytest_pycontainer.reporting.run_summary import SUMMARY, RunSummary
from pytest_pycontainer.reporting.sampling import Sampler
from pytest_pycontainer.reporting.session_display import SessionDisplay

if TYPE_CHECKING:
    import pytest

    from pytest_pycontainer.engine.display import Display
    from pytest_pycontainer.settings import ReportSettings


@contextmanager
def reporting(config: pytest.Config, settings: ReportSettings) -> Iterator[tuple[Recorder, Display]]:
    """An observer for the engine that is about to be made, and a display; the observer is to be told the engine."""
    summary = config.pluginmanager.get_plugin(SUMMARY)
    recorder = Recorder(keeps_all=summary is not None, log_lines=settings.log_lines)
    with ExitStack() as open_ones:
        display = open_ones.enter_context(SessionDisplay(config))
        for plugin in (recorder, FailureReports(recorder, settings.log_lines)):
            config.pluginmanager.register(plugin)
        if isinstance(summary, RunSummary):
            summary.recorder = recorder
            if summary.samples_usage:
                open_ones.enter_context(Sampler(recorder))
        yield recorder, recorder.display(display)
        recorder.engine = None
