"""Containers that stay after a run, for somebody to look into."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Engine
from pytest_pycontainer.settings import Settings

RunPytest = Callable[..., pytest.RunResult]

TESTS = """
    import pytest
    from pytest_pycontainer import container, network, volume, wait
    from pytest_pycontainer.errors import ContainerNotReadyError
    base = container("host", "sleep 1000", scope="session", ports=[80], wait=None, name="base", network="own")
    other = container("host", "sleep 1000")
    net, vol = network(), volume()
    inside = container("host", "sleep 1000", network=net, volumes={vol: "/data"})
    busy = container("host", ["sh", "-c", "echo busy; exec sleep 1000"], wait=wait.log("ready", timeout=0.1))
    @pytest.fixture(scope="session", autouse=True)
    def own(pycontainer): pycontainer.network("own")
    def test_passes(base, other): pass
    def test_fails(base, inside): assert False
    def test_is_not_ready(busy): pass
    def test_expects_that(pycontainer):
        with pytest.raises(ContainerNotReadyError):
            pycontainer.run("host", "sleep 1000", wait=wait.log("never", timeout=0.1))
"""


@pytest.fixture
def kept(project: pytest.Pytester) -> Iterator[Callable[[], dict[str, str]]]:
    """What is there on the project's store: containers' names, and how they are. All is gone after the test."""
    settings = Settings.read()

    def names() -> dict[str, str]:
        with Engine(settings) as engine:
            return {one.name: one.status for one in engine.containers(others=True)}

    yield names
    with Engine(settings) as engine:
        for container in engine.containers(others=True):
            container.remove(force=True)
    await_end_of_holders(settings)


def await_end_of_holders(settings: Settings) -> None:
    """Returns when no process holds anything for the store's containers."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            descriptor = os.pidfd_open(int(process.name))
            try:
                command = os.fsdecode((process / "cmdline").read_bytes()).split("\0")
                if str(settings.root) in command and any("runtime.holder" in argument for argument in command):
                    assert select.select([descriptor], [], [], 60)[0], "a holder has no containers, and stays"
            finally:
                os.close(descriptor)


def commands(result: pytest.RunResult, what: str) -> list[str]:
    """The printed commands, with our interpreter for the script that an installed package has."""
    found = re.findall(rf"^ +{what}: +pycontainer (.*)$", result.stdout.str(), re.MULTILINE)
    return [f"{sys.executable} -m pytest_pycontainer {arguments}" for arguments in found]


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one process", "a worker"])
def test_containers_of_failed_tests_stay(
    project: pytest.Pytester,
    run_pytest: RunPytest,
    kept: Callable[[], dict[str, str]],
    workers: tuple[str, ...],
) -> None:
    project.makepyfile(TESTS)
    result = run_pytest("-p", "no:randomly", "--pycontainer-keep=failed", *workers)
    result.assert_outcomes(passed=2, failed=1, errors=1)
    assert [(name.partition("-")[0], status) for name, status in sorted(kept().items())] == [
        ("base", "running"),
        ("host", "running"),
        ("host", "running"),
    ]
    result.stdout.fnmatch_lines(["*= containers that were kept =*"])
    assert sorted(re.findall(r"^(base|host)-\w+ \(.*::(\w+)\)$", result.stdout.str(), re.MULTILINE)) == [
        ("base", "test_fails"),
        ("host", "test_fails"),
        ("host", "test_is_not_ready"),
    ]

    # As printed, but for the terminal.
    for command in commands(result, "to look into it"):
        shown = subprocess.run(command.replace(" -it ", " "), shell=True, input="echo inside", text=True, timeout=60)
        assert shown.returncode == 0
    for command in commands(result, "to remove it"):
        subprocess.run(command, shell=True, check=True, timeout=60)
    assert kept() == {}
    await_end_of_holders(Settings.read())


def test_all_stay(project: pytest.Pytester, run_pytest: RunPytest, kept: Callable[[], dict[str, str]]) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        one = container("host", ["sh", "-c", "echo its last words"])
        def test_one(one): one.wait(60)
        def test_two(pycontainer):
            with pycontainer.run("host", "sleep 1000", name="two"): pass
            pycontainer.run("host", "sleep 1000", name="gone").remove(force=True)
            pycontainer.create("host", "true", name="new")
    """)
    result = run_pytest("-p", "no:randomly", "--pycontainer-keep=always")
    result.assert_outcomes(passed=2)
    assert [(name.rpartition("-")[0], status) for name, status in sorted(kept().items())] == [
        ("host", "exited"),
        ("new", "created"),
        ("two", "running"),
    ]
    printed = [
        subprocess.run(command, shell=True, check=True, text=True, capture_output=True, timeout=60).stdout
        for command in commands(result, "to look into it")
        if " logs " in command
    ]
    assert sorted(printed) == ["", "its last words\n"]


def test_what_stays_is_in_no_later_tests_report(
    project: pytest.Pytester, run_pytest: RunPytest, kept: Callable[[], dict[str, str]]
) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        def test_first(server): assert False
        def test_second(server): assert False
    """)
    result = run_pytest("-p", "no:randomly", "--pycontainer-keep=failed")
    result.assert_outcomes(failed=2)
    assert len(kept()) == 2
    assert result.stdout.str().count(" Container server ") == 2


def test_nothing_stays_of_a_run_that_passes_or_is_killed(
    project: pytest.Pytester,
    run_pytest: RunPytest,
    kept: Callable[[], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.makepyfile("""
        import os, pathlib, signal
        from pytest_pycontainer import container
        server = container("host", "sleep 1000")
        def test_passes(server): pass
        def test_ends(server):
            if "KILL" in os.environ:
                child = os.fork()
                if not child:
                    signal.pause()  # it holds all that its parent had open
                pathlib.Path("child").write_text(str(child))
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    passed = run_pytest("-p", "no:randomly", "--pycontainer-keep=failed")
    passed.assert_outcomes(passed=2)
    passed.stdout.no_fnmatch_line("*kept*")
    await_end_of_holders(Settings.read())
    monkeypatch.setenv("KILL", "1")
    assert run_pytest("-p", "no:randomly", "--pycontainer-keep=always").ret == -signal.SIGKILL
    try:
        await_end_of_holders(Settings.read())
        deadline = time.monotonic() + 60
        while left := kept():  # monitors are told of that end as we are, and have something to do then
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
    finally:
        os.kill(int((project.path / "child").read_text()), signal.SIGKILL)
