"""Builds, on real pseudo-terminals."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.build import progress as events
from pytest_pycontainer.engine.display import Display
from pytest_pycontainer.registry.progress import Stage
from pytest_pycontainer.reporting.display import open_display

if TYPE_CHECKING:
    from tests.conftest import Terminal

    OpenTerminal = Callable[..., Terminal]

IMAGE = f"sha256:{'c' * 64}"


@pytest.fixture
def display(terminal: Terminal) -> Display:
    return open_display(terminal.file)


def begin(tell: events.Progress) -> None:
    """Two stages: the first has a cached step and runs the next one, the second waits."""
    tell(events.BuildStarted((0, 1), ("maker", "1")))
    tell(events.StepStarted(0, 1, 4, "FROM host AS maker"))
    tell(events.StepEnded(0, IMAGE))
    tell(events.StepStarted(0, 2, 4, "ENV a=1"))
    tell(events.CacheUsed(0))
    tell(events.StepEnded(0, IMAGE))
    tell(events.StepStarted(0, 3, 4, "RUN make \\\n  all"))
    tell(events.ContainerStarted(0, "abc"))


def test_what_runs_is_shown_with_its_last_lines(terminal: Terminal, display: Display) -> None:
    with display.building("my-app") as tell:
        begin(tell)
        for number in range(9):
            tell(events.OutputLine(0, f"line {number}\t\x1b[2J."))
        text = terminal.await_text("line 8")
        assert "Building my-app: 2 of 4 steps, 1 cached, " in text
        assert "[maker 2/4] ENV a=1" in text
        assert text.splitlines()[3].startswith(" [maker 3/4] RUN make \\ ")
        assert text.splitlines()[-4].startswith("    line 5 ")
        tell(events.ContainerRemoved(0, "abc"))
        tell(events.StepEnded(0, IMAGE))
        tell(events.StageEnded(0))
        tell(events.StepStarted(1, 4, 4, "COPY --from=maker a b"))
        text = terminal.await_text("4/4")
        assert "line 8" not in "\n".join(terminal.screen)
        tell(events.StepEnded(1, IMAGE))
        tell(events.StageEnded(1))
        tell(events.Warned("something"))
        tell(events.ImageBuilt(IMAGE))
    lines = terminal.await_text("Built").splitlines()
    assert lines[0].startswith("Built my-app: 4 of 4 steps, 1 cached, ")
    assert lines[1:] == ["[Warning] something"]


def test_a_failed_step_keeps_its_output(terminal: Terminal, display: Display) -> None:
    with display.building("my-app") as tell:
        begin(tell)
        for number in range(30):
            tell(events.OutputLine(0, f"line {number}"))
        tell(events.StepFailed(0))
        tell(events.StageEnded(0))
    lines = terminal.await_text("Failed").splitlines()
    assert lines[0].startswith("Failed to build my-app: 2 of 4 steps, 1 cached, ")
    assert lines[1].startswith(" [maker 3/4] RUN make \\ failed after ")
    assert lines[2:] == [f"    line {number}" for number in range(10, 30)]


def test_an_interrupted_build(terminal: Terminal, display: Display) -> None:
    with display.building("my-app") as tell:
        begin(tell)
        tell(events.StageEnded(0))
    assert terminal.await_text("Gave up building my-app: 2 of 4 steps")


def test_pulls_and_builds_share_the_screen(terminal: Terminal, display: Display) -> None:
    layer = f"sha256:{'a' * 64}"
    with display.building("my-app") as tell:
        begin(tell)
        with display.pulling("redis", missing=False) as progress:
            progress(layer, Stage.DOWNLOADING, 5, 10)
            terminal.await_text(r"Building my-app(.|\n)*a{12}: Downloading")
            progress(layer, Stage.DONE, 10, 10)
        terminal.await_text(r"a{12}: Pull complete(.|\n)*Building my-app")


def test_a_small_terminal_shows_what_runs(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(40, 6)
    with open_display(terminal.file).building("my-app") as tell:
        tell(events.BuildStarted((0,), ("0",)))
        for number in range(1, 20):
            tell(events.StepStarted(0, number, 20, f"RUN step {number} {'x' * 100}"))
            tell(events.StepEnded(0, IMAGE))
        tell(events.StepStarted(0, 20, 20, "RUN last"))
        tell(events.OutputLine(0, "working"))
        terminal.await_text(r"20/20\] RUN last +\d+\.\d+s\n    working\nand 1\d done$")
        assert all(len(line) <= 40 for line in terminal.screen)


def test_many_threads_tell_at_once(terminal: Terminal, display: Display) -> None:
    def work(tell: events.Progress, stage: int) -> None:
        for number in range(200):
            tell(events.StepStarted(stage, stage * 200 + number + 1, 800, "RUN x"))
            tell(events.OutputLine(stage, "y"))
            tell(events.StepEnded(stage, IMAGE))

    with display.building("my-app") as tell:
        tell(events.BuildStarted((0, 1, 2, 3), ("a", "b", "c", "d")))
        threads = [threading.Thread(target=work, args=(tell, stage)) for stage in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tell(events.ImageBuilt(IMAGE))
    assert terminal.await_text("Built my-app: 800 of 800 steps")


def test_off_a_terminal_a_build_is_a_line() -> None:
    file = io.StringIO()
    with open_display(file).building("my-app") as tell:
        begin(tell)
    assert file.getvalue() == "Building my-app\n"
