"""What a pytest run shows of builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Terminal

TEST = """
    from pytest_pycontainer import build

    image = build(dockerfile='''FROM host
    RUN echo from the step; {command}
    ''', tag="shown-app")

    def test_it(image):
        print("printed by the test")
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Pytester:
    monkeypatch.setenv("PYCONTAINER_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --import-mode=importlib\nfilterwarnings = error")
    return pytester


def run_on(terminal: Terminal, directory: Path) -> str:
    command = [sys.executable, "-m", "pytest"]
    file = terminal.file
    subprocess.run(
        command, stdin=file, stdout=file, stderr=file, cwd=directory, env=os.environ | {"PY_COLORS": "1"}, timeout=120
    )
    return terminal.await_text(r"(passed|error) in .*=$")


def test_a_terminal_shows_what_is_built(project: pytest.Pytester, open_terminal: Callable[..., Terminal]) -> None:
    project.makepyfile(test_shown=TEST.format(command="sleep 0.3"))
    first, second = open_terminal(120, 40), open_terminal(120, 40)
    text = run_on(first, project.path)
    assert re.search(r"\nBuilt shown-app: 2 of 2 steps, 0 cached, \d+\.\d+s\n\.", text), text
    assert "from the step" in first.written
    assert "printed by the test" not in text
    again = run_on(second, project.path)
    assert "shown-app" not in again, "all was cached: there was nothing to look at"


def test_a_failing_build_is_told_on_the_terminal_and_in_the_report(
    project: pytest.Pytester, open_terminal: Callable[..., Terminal]
) -> None:
    project.makepyfile(test_shown=TEST.format(command="exit 3"))
    text = run_on(open_terminal(120, 60), project.path)
    assert re.search(r"\nFailed to build shown-app: 1 of 2 steps, .*\n \[0 2/2\] RUN echo .*; exit 3 failed", text), (
        text
    )
    assert re.search(r"Captured stderr setup.*\nStep 1/2 : FROM host\n(.*\n)*from the step\n", text), text


def test_off_a_terminal_a_build_is_a_line(project: pytest.Pytester) -> None:
    project.makepyfile(test_shown=TEST.format(command="true"))
    result = project.runpytest_subprocess(timeout=120)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["Building shown-app"])
    result.stdout.no_fnmatch_line("*from the step*")
