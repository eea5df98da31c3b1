"""Everything that reports on a run's engine, for as long as that is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.reporting.failure import FailureReports
from pytest_pycontainer.reporting.keeping import Keeping
from pytest_pycontainer.reporting.recorder import Recorder
from pytest_pycontainer.reporting.run_summary import SUMMARY, RunSummary
from pytest_pycontainer.reporting.sampling import Sampler
from pytest_pycontainer.reporting.session_display import SessionDisplay

if TYPE_CHECKING:
    import pytest

    from pytest_pycontainer.engine.display import Display
    from pytest_pycontainer.settings import ReportSettings, Settings


@dataclass(frozen=True, slots=True)
class SessionReporting:
    """The engine's observer, which is to be told the engine; its display; and what decides which containers stay."""

    recorder: Recorder
    display: Display
    keeping: Keeping | None


@contextmanager
def reporting(config: pytest.Config, settings: Settings, report: ReportSettings) -> Iterator[SessionReporting]:
    """What an engine is to be made with."""
    summary = config.pluginmanager.get_plugin(SUMMARY)
    keeps_all = isinstance(summary, RunSummary) and summary.needs_all
    recorder = Recorder(keeps_all=keeps_all)
    keeping = Keeping(report.keep, settings, recorder) if report.keep != "never" else None
    with ExitStack() as open_ones:
        display = open_ones.enter_context(SessionDisplay(config))
        for plugin in (recorder, FailureReports(recorder, report.log_lines), keeping):
            if plugin is not None:
                config.pluginmanager.register(plugin)
        if isinstance(summary, RunSummary):
            summary.recorder = recorder
            summary.keeping = keeping
            if summary.samples_usage:
                open_ones.enter_context(Sampler(recorder))
        yield SessionReporting(recorder, recorder.display(display), keeping)
        recorder.engine = None
