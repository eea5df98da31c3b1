"""What is said of a whole run's containers after it: the slowest steps, the timeline, and those that stay.

Under pytest-xdist the workers hand what they recorded to the controller, at their end: what one recorded that crashed
is missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_pycontainer.reporting.durations import duration_lines
from pytest_pycontainer.reporting.keeping import Keeping, KeptContainer, kept_lines
from pytest_pycontainer.reporting.recorder import ContainerLife, Step
from pytest_pycontainer.reporting.timeline import TestRun, WorkerRecord, write_timeline

if TYPE_CHECKING:
    from pytest_pycontainer.reporting.recorder import Recorder
    from pytest_pycontainer.settings import ReportSettings

SUMMARY: Final = "pycontainer-summary"
"""The name by which pytest knows it."""

_OUTPUT: Final = "pycontainer_recorded"


class RunSummary:
    """Hooks that collect what was recorded and say it at the end. ``recorder`` is this process's, if it has an engine.

    ``keeping`` is what has decided which containers stay, if any may.
    """

    recorder: Recorder | None = None
    keeping: Keeping | None = None

    def __init__(self, config: pytest.Config, report: ReportSettings) -> None:
        self._config = config
        self._durations = report.durations
        self._timeline = report.timeline
        self._kept: list[KeptContainer] = []
        self._begin = time.time()
        self._phases: dict[tuple[str, str], list[pytest.TestReport]] = {}
        self._tests: list[TestRun] = []
        self._workers: list[WorkerRecord] = []
        self._is_written = False

    @property
    def needs_all(self) -> bool:
        """Whether what was recorded is needed to the end of the run."""
        return self._durations is not None or self._timeline is not None

    @property
    def samples_usage(self) -> bool:
        """Whether it is to be known what containers use."""
        return self._timeline is not None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._timeline is None:
            return
        key = (getattr(report, "worker_id", ""), report.nodeid)
        phases = self._phases.setdefault(key, [])
        phases.append(report)
        if report.when == "teardown":
            self._tests.append(_test_run(key[0], self._phases.pop(key)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        recorded = getattr(node, "workeroutput", {}).get(_OUTPUT)
        if recorded is not None:
            steps = [Step(**step) for step in recorded["steps"]]
            containers = [ContainerLife(**life) for life in recorded["containers"]]
            self._workers.append(WorkerRecord(recorded["worker"], steps, containers))
            self._kept += [KeptContainer(**one) for one in recorded["kept"]]

    @pytest.hookimpl(trylast=True)  # the last containers are removed in this hook, too
    def pytest_sessionfinish(self) -> None:
        if self.recorder is None:
            return
        record = WorkerRecord("", self.recorder.steps, list(self.recorder.lives.values()))
        kept = [] if self.keeping is None else self.keeping.kept()
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is None:
            self._workers.append(record)
            self._kept += kept
        else:
            worker = self._config.workerinput["workerid"]  # type: ignore[attr-defined]
            steps, containers = _plain(record.steps), _plain(record.containers)
            output[_OUTPUT] = {"worker": worker, "steps": steps, "containers": containers, "kept": _plain(kept)}

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._durations is not None:
            steps = [step for record in self._workers for step in record.steps]
            shown = list(duration_lines(steps, self._durations))
            which = f"slowest {len(shown)} of {len(steps)}" if len(shown) < len(steps) else "all"
            terminalreporter.write_sep("=", f"container durations: {which}" if steps else "container durations")
            for line in shown or ["no container was used"]:
                terminalreporter.write_line(line)
        if self._timeline is not None:
            problem = self._write()
            said = problem or f"timeline of the containers: {self._timeline}"
            terminalreporter.write_line(said, red=bool(problem))
        if self._kept:
            terminalreporter.write_sep("=", "containers that were kept")
            for line in kept_lines(self._kept):
                terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        # Without a terminal's summary it has not been written yet.
        if not hasattr(self._config, "workerinput") and (problem := self._write()):
            print(f"pycontainer: {problem}", file=sys.stderr)

    def _write(self) -> str:
        """Writes the timeline, once; returns why it could not."""
        if self._timeline is None or self._is_written:
            return ""
        self._is_written = True
        project = self._config.rootpath.name
        try:
            write_timeline(self._timeline, project, self._begin, time.time(), self._tests, self._workers)
        except OSError as error:
            return f"cannot write the timeline {self._timeline}: {error.strerror or error}"
        return ""


def _test_run(worker: str, phases: list[pytest.TestReport]) -> TestRun:
    call = next((phase for phase in phases if phase.when == "call"), None)
    first, last = phases[0], phases[-1]
    outcomes = {phase.outcome for phase in phases}
    outcome = next((one for one in ("failed", "skipped") if one in outcomes), "passed")
    during = (first.stop, first.stop) if call is None else (call.start, call.stop)
    return TestRun(last.nodeid, worker, first.start, last.stop, during, outcome)


def _plain(values: Iterable[Step | ContainerLife | KeptContainer]) -> list[dict[str, Any]]:
    """As execnet carries them."""
    return [asdict(value) for value in values]
