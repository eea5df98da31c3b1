"""What a failing test's report says about its containers, and how it shows an error of ours."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pluggy
import pytest

from pytest_pycontainer.errors import ContainerNotFoundError, PycontainerError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.engine import Engine

_OURS: Final = Path(__file__).parent.parent
_MACHINERY: Final = tuple(Path(inspect.getfile(thing)).parent for thing in (pytest.Item, pluggy))
_EARLIER: Final = pytest.StashKey[frozenset[str]]()


class FailureReports:
    """Hooks for the reports of failing tests.

    Registered with the first engine of a run, so that a run without one does not pay for them. ``engine`` is None while
    it is being made.
    """

    engine: Engine | None = None

    def __init__(self, log_lines: int) -> None:
        self._log_lines = log_lines

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        item.stash[_EARLIER] = frozenset(self._containers())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            if call.excinfo is not None and isinstance(call.excinfo.value, PycontainerError):
                _hide_internals(report, call.excinfo, item.config)
            report.sections += [
                _section(title, container, self._log_lines) for title, container in self._containers_of(item)
            ]
        return report

    def _containers(self) -> dict[str, Container]:
        return {container.id: container for container in self.engine.containers()} if self.engine is not None else {}

    def _containers_of(self, item: pytest.Item) -> Iterator[tuple[str, Container]]:
        """What to call them, and those that the test's fixtures are or that were started since its set-up began."""
        containers = self._containers()
        earlier = set(item.stash.get(_EARLIER, ()))
        for fixture, value in getattr(item, "funcargs", {}).items():
            if (container_id := getattr(value, "id", None)) in containers:
                earlier.add(container_id)
                yield fixture, value
        for container_id in containers.keys() - earlier:
            yield containers[container_id].name, containers[container_id]


def _section(title: str, container: Container, log_lines: int) -> tuple[str, str]:
    state = container.status
    if (code := container.exit_code) is not None:
        state += f" with code {code}{', out of memory' if container.out_of_memory else ''}"
    elif container.has_health_check:
        state += f", {container.health.status}"
    try:
        lines = container.log_tail(log_lines + 1).splitlines()
    except ContainerNotFoundError:
        lines = ["(removed before the test failed)"]
    left_out = ["(earlier lines left out)"] if len(lines) > log_lines else []
    shown = [*left_out, *lines[len(lines) - log_lines if len(lines) > log_lines else 0 :]] or ["(it printed nothing)"]
    if state.endswith("unhealthy") and (log := container.health.log_text):
        shown += ["(the last probes of its health:)", *log.splitlines()]
    image = container.image.tags[0] if container.image.tags else container.image.name
    return f"Container {title}", "\n".join([f"{container.name}, image {image}, {state}", *shown])


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
    return not any(directory in file.parents for directory in (_OURS, *_MACHINERY))
