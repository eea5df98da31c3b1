"""What is said of a run's containers beside its tests: the header, progress, the slowest steps, the timeline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Terminal

RunPytest = Callable[..., pytest.RunResult]

TESTS = """
    import time
    from pytest_pycontainer import build, container, wait
    image = build(dockerfile="FROM host\\nENV A=</script>", tag="own:1")
    server = container(image, ["sh", "-c", "echo ready; exec sleep 1000"], wait=wait.log("ready"))
    def test_one(server): pass
    def test_two(server): assert "</script>" == server
    def test_none(): pass
"""


def run_of(page: Path) -> dict[str, Any]:
    """What a timeline's page holds."""
    (text,) = re.findall(r'<script type="application/json" id="run">(.*?)</script>', page.read_text(), re.DOTALL)
    run: dict[str, Any] = json.loads(text)
    return run


@pytest.mark.parametrize("workers", [(), ("-n2", "--dist=loadfile")], ids=["one process", "workers"])
def test_durations_and_timeline(project: pytest.Pytester, run_pytest: RunPytest, workers: tuple[str, ...]) -> None:
    project.makepyfile(test_own=TESTS)
    result = run_pytest(
        "-p", "no:randomly", *workers, "--pycontainer-durations=4", "--pycontainer-timeline=out/run.html"
    )
    result.assert_outcomes(passed=2, failed=1)
    page = project.path / "out/run.html"
    result.stdout.fnmatch_lines(
        ["*= container durations: slowest 4 of 5 =*", f"timeline of the containers: {page}"], consecutive=False
    )
    listed = re.findall(
        r"^ +(\d+\.\d{3})s (build|start|wait ) (own\S*).*\((image|server)\)$", result.stdout.str(), re.M
    )
    assert len(listed) == 4
    assert [entry[0] for entry in listed] == sorted((entry[0] for entry in listed), key=float, reverse=True)

    run = run_of(page)
    assert [(test["id"], test["outcome"], test["containers"]) for test in run["tests"]] == [
        ("test_own.py::test_one", "passed", 1),
        ("test_own.py::test_two", "failed", 1),
        ("test_own.py::test_none", "passed", 0),
    ]
    assert [life["tests"] for life in run["containers"]] == [["test_own.py::test_one"], ["test_own.py::test_two"]]
    for life in run["containers"]:
        assert (life["image"], life["fixture"], life["waited"]) == ("own:1", "server", True)
        assert life["asked"] <= life["created"] <= life["started"] <= life["ready"] <= life["removed"] <= run["end"]
    assert sorted(step["kind"] for step in run["steps"]) == ["build", "start", "start", "wait", "wait"]
    assert len({thing["worker"] for thing in (*run["tests"], *run["containers"], *run["steps"])}) == 1


def test_a_run_without_containers_says_so(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("def test(): pass")
    result = run_pytest("--pycontainer-timeline=run.html", "--pycontainer-durations=0", "-p", "no:terminal")
    assert result.ret == 0
    assert run_of(project.path / "run.html")["containers"] == []
    result = run_pytest("--pycontainer-timeline=test_a_run_without_containers_says_so.py/x", "--pycontainer-durations")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["no container was used", "cannot write the timeline */x: *"])
    result = run_pytest("--pycontainer-timeline=test_a_run_without_containers_says_so.py/x", "-p", "no:terminal")
    assert result.stderr.lines[0].startswith("pycontainer: cannot write the timeline ")


def test_usage_is_measured_for_the_timeline(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        busy = container("host", ["sh", "-c", "while :; do :; done"])
        def test(busy, request):
            recorder = next(one for one in request.config.pluginmanager.get_plugins() if hasattr(one, "living"))
            while len(recorder.living()[0][0].samples) < 2: assert not busy.exited_within(0.02)
    """)
    assert run_pytest("--pycontainer-timeline=run.html").ret == 0
    (life,) = run_of(project.path / "run.html")["containers"]
    (begin, cpu_before, _), (end, cpu, memory), *_ = life["samples"]
    assert life["created"] <= begin < end <= life["removed"]
    assert 0 <= cpu_before < cpu
    assert memory > 0


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here")
    return found


def test_a_browser_draws_the_timeline(project: pytest.Pytester, run_pytest: RunPytest, tmp_path: Path) -> None:
    browser = chromium()
    project.makepyfile(test_own=TESTS)
    run_pytest("-p", "no:randomly", "--pycontainer-timeline=run.html")
    switches = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    switches += ["disable-component-update", "disable-sync", f"user-data-dir={tmp_path / 'profile'}", "dump-dom"]
    command = [browser, "--headless", *(f"--{switch}" for switch in switches), (project.path / "run.html").as_uri()]
    dumped = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(tmp_path)}
    )
    drawn = re.sub(r"<script.*?</script>", "", dumped.stdout, flags=re.DOTALL)
    assert re.findall(r'<b title="([^"]+)"', drawn) == ["3 tests", "own:1", "server"]
    assert re.findall(r'class="b t (\w+)"', drawn) == ["pass", "fail", "pass"]
    assert drawn.count('class="b c ready"') == 2
    assert re.findall(r'class="b u (\w+)"', drawn) == ["pass", "fail"]
    assert re.search(r"--scale: \d", drawn)


def test_a_wait_of_more_than_a_second_is_said(
    project: pytest.Pytester, run_pytest: RunPytest, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile("""
        import os, threading, time
        from pytest_pycontainer import container
        class Sign:
            said = threading.Event()
            @property
            def what(self):
                self.said.set()
                return "a sign"
            def until_ready(self, container, timeout):
                if "QUIET" in os.environ: time.sleep(1.3)
                else: assert self.said.wait(60)
        slow = container("host", "sleep 1000", name="slow", wait=Sign())
        def test(slow): pass
    """)
    said = run_pytest()
    said.assert_outcomes(passed=1)
    said.stdout.fnmatch_lines(["Waiting for slow: a sign"])
    monkeypatch.setenv("QUIET", "1")
    quiet = run_pytest("-q")
    assert quiet.ret == 0
    quiet.stdout.no_fnmatch_line("*Waiting*")


def test_a_terminal_shows_how_long_it_has_been_waited(
    project: pytest.Pytester, open_terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    project.makepyfile(
        """
        import pathlib
        from pytest_pycontainer import container
        class Sign:
            what = "a sign"
            def until_ready(self, container, timeout):
                while not pathlib.Path("given").exists(): assert not container.exited_within(0.05)
        slow = container("host", "sleep 1000", name="slow", wait=Sign())
        def test(slow): pass
    """
    )
    terminal = open_terminal(100, 30)
    file = terminal.file
    with subprocess.Popen(
        [sys.executable, "-m", "pytest"], stdin=file, stdout=file, stderr=file, cwd=project.path
    ) as running:
        try:
            terminal.await_text(r"Waiting for slow: a sign \(\d+ s\)")
        finally:
            (project.path / "given").touch()
        text = terminal.await_text(r"passed in .*=$")
        assert running.wait(60) == 0
    assert re.search(r"\nWaited for slow: a sign \(\d+ s\)\n", text), text


def test_the_header_and_the_options(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        missing = container("registry.invalid/nothing:1")
        def test(missing): pass
    """)
    result = run_pytest("--pycontainer-offline")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            f"pycontainer: as *, cgroup v*, store {os.environ['PYCONTAINER_ROOT']}, offline",
            "E *OfflineError: cannot pull registry.invalid/nothing:1: *--pycontainer-offline*",
        ]
    )
    wrong = run_pytest("--pycontainer-pull=sometimes")
    assert wrong.ret is pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["ERROR: invalid --pycontainer-pull 'sometimes': wanted one of missing, always, never"])
