"""Gone means gone: at the end, at Ctrl-C, at SIGKILL; and a run without containers does not notice the plugin."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.processes import descendants

RunPytest = Callable[..., pytest.RunResult]

PATIENCE = 60.0

RUNNING = """
    import sys, time
    from pytest_pycontainer import container
    server = container("host", "sleep 1000", ports=[80], wait=None, init=True, scope="session")
    reaped = container("host", ["sh", "-c", "trap '' TERM INT; while :; do sleep 1; done"], network="none")
    def test_runs(server, reaped):
        print("running", file=sys.stderr, flush=True)
        time.sleep(600)
"""


@contextmanager
def watched(processes: list[int]) -> Iterator[list[int]]:
    """Descriptors that become readable when a process has ended."""
    descriptors = [os.pidfd_open(process) for process in processes]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def await_end(descriptors: list[int]) -> None:
    waiting = list(descriptors)
    while waiting:
        ended, _, _ = select.select(waiting, [], [], PATIENCE)
        assert ended, f"{len(waiting)} of {len(descriptors)} processes did not end"
        waiting = [descriptor for descriptor in waiting if descriptor not in ended]


@contextmanager
def running(project: pytest.Pytester) -> Iterator[subprocess.Popen[bytes]]:
    """A pytest run in the middle of a test that uses containers."""
    project.makepyfile(RUNNING)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=project.path
    ) as process:
        try:
            assert process.stderr is not None
            ready, _, _ = select.select([process.stderr], [], [], PATIENCE)
            assert ready
            assert process.stderr.readline() == b"running\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("victims", ["pytest", "spawner", "pytest and all its descendants"])
def test_sigkill_leaves_nothing(project: pytest.Pytester, run_pytest: RunPytest, victims: str) -> None:
    with running(project) as process:
        spawner, *others = descendants(process.pid)
        assert len(others) >= 4, "two monitors, two inits"
        doomed = {"pytest": [process.pid], "spawner": [spawner]}.get(victims, [process.pid, spawner, *others])
        with watched([spawner, *others]) as descriptors:
            for victim in doomed:
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            # Without their spawner, monitors wait for their owner to look at what has ended.
            process.kill()
            await_end(descriptors)
    directories = Path(os.environ["PYCONTAINER_ROOT"], "containers")
    project.makepyfile("def test_next(pycontainer): pycontainer.run('host', 'true', network='none')")
    run_pytest().assert_outcomes(passed=1)
    assert list(directories.iterdir()) == [], "the next engine sweeps the files"


def test_an_interrupt_tears_everything_down(project: pytest.Pytester) -> None:
    with running(project) as process:
        with watched(descendants(process.pid)) as descriptors:
            process.send_signal(signal.SIGINT)
            await_end(descriptors)
        assert process.stdout is not None
        output = process.stdout.read().decode()
        assert process.wait(PATIENCE) == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in output
    assert list(Path(os.environ["PYCONTAINER_ROOT"], "containers").iterdir()) == []


def test_a_container_is_removed_when_its_scope_ends(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        server = container("host", "sleep 1000", name="only-one")
        def test_first(server): server.stop(timeout=0)
        def test_second(server): server.remove(force=True)
        def test_third(server, pycontainer): assert pycontainer.containers() == [server]
    """)
    run_pytest().assert_outcomes(passed=3)


def test_many_workers_share_one_store(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import pytest, urllib.request
        from pytest_pycontainer import build, container, wait
        image = build("web")
        server = container(image, ports=[8000], wait=wait.port(8000))
        @pytest.mark.parametrize("number", range(8))
        def test(server, number):
            host, port = server.address(8000)
            assert urllib.request.urlopen(f"http://{host}:{port}/built", timeout=60).read() == b"once\\n"
    """)
    (project.mkdir("web") / "Dockerfile").write_text(
        "FROM host\nWORKDIR /web\nRUN echo once > built\n"
        f'CMD ["{os.path.realpath(sys.executable)}", "-m", "http.server", "8000"]\n'
    )
    run_pytest("-n", "4").assert_outcomes(passed=8)


def test_a_run_without_containers_imports_no_engine(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        import sys
        def test():
            assert {name for name in sys.modules if name.startswith("pytest_pycontainer")} == {
                "pytest_pycontainer", "pytest_pycontainer.plugin", "pytest_pycontainer.hookspecs",
                "pytest_pycontainer.plugin_options", "pytest_pycontainer.settings", "pytest_pycontainer.errors",
            }
    """)
    run_pytest("-p", "no:randomly").assert_outcomes(passed=1)


def test_the_plugin_can_be_left_out(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("def test(request): assert not request.config.pluginmanager.has_plugin('pycontainer')")
    run_pytest("-p", "no:pycontainer").assert_outcomes(passed=1)
    run_pytest().assert_outcomes(failed=1)
