"""What a failing test's report says about its containers, and how it shows an error of ours."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pluggy
import pytest

from pytest_pycontainer.errors import PycontainerError
from pytest_pycontainer.reporting.container_report import report_on

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pytest_pycontainer.reporting.recorder import Recorder, Step

_OURS: Final = Path(__file__).parent.parent
_MACHINERY: Final = tuple(Path(inspect.getfile(thing)).parent for thing in (pytest.Item, pluggy))
_CONTEXTS: Final = Path(contextlib.__file__)
_DONE: Final = {"pull": "pulled", "push": "pushed", "build": "built", "start": "started", "wait": "waited for"}


class FailureReports:
    """Hooks for the reports of failing tests.

    Registered with the first engine of a run, so that a run without one does not pay for them.
    """

    def __init__(self, recorder: Recorder, log_lines: int) -> None:
        self._recorder = recorder
        self._log_lines = log_lines

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            if call.excinfo is not None and isinstance(call.excinfo.value, PycontainerError):
                _hide_internals(report, call.excinfo, item.config)
            for title, text in (*self._steps(report), *self._sections(item)):
                _add_section(report, title, text)
        return report

    def _steps(self, report: pytest.TestReport) -> Iterator[tuple[str, str]]:
        steps = [step for step in self._recorder.steps if step.test == report.nodeid]
        if report.when == "setup" and steps:
            yield "Containers: what was done", "\n".join(_line(step, self._recorder.test_begin) for step in steps)

    def _sections(self, item: pytest.Item) -> Iterator[tuple[str, str]]:
        """What to call them, and what is to be said of the containers that the test used."""
        since = self._recorder.test_begin
        for title, container in self._recorder.containers_of(item):
            yield f"Container {title}", report_on(container, self._log_lines, since)
        for container_id, look in self._recorder.last_looks.items():
            life = self._recorder.lives[container_id]
            text = report_on(look.container, self._log_lines, since, look)
            yield f"Container {life.fixture or life.name}", f"(removed meanwhile)\n{text}"


def _line(step: Step, begin: float) -> str:
    what = f"{_DONE[step.kind]} {step.subject}"
    return f"{step.begin - begin:8.3f} s  {what}  ({step.seconds:.3f} s{', in vain' if step.failed else ''})"


def _add_section(report: pytest.TestReport, title: str, text: str) -> None:
    """Adds it to what the report says of the failure: JUnit's XML has that, and no sections of others than pytest."""
    add = getattr(report.longrepr, "addsection", None)
    if add is None:
        report.sections.append((title, text))
    else:
        add(title, text)


def _hide_internals(
    report: pytest.TestReport, raised: pytest.ExceptionInfo[BaseException], config: pytest.Config
) -> None:
    """Shows an error of ours at the caller's line; its message tells the rest. ``--full-trace`` shows everything."""
    style = config.getoption("tbstyle").replace("auto", "long")
    inside = [index for index, entry in enumerate(raised.traceback) if _OURS in Path(entry.path).parents]
    if config.getoption("fulltrace") or style not in ("long", "short") or not inside:
        return
    callers = raised.traceback[: inside[-1]].filter(lambda entry: _is_callers(Path(entry.path)))
    raised.traceback = callers or raised.traceback
    report.longrepr = raised.getrepr(
        style=style if callers else "value",
        showlocals=config.getoption("showlocals"),
        funcargs=report.when == "call",
        chain=False,
    )


def _is_callers(file: Path) -> bool:
    return file != _CONTEXTS and not any(directory in file.parents for directory in (_OURS, *_MACHINERY))
