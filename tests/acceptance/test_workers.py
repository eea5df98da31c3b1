"""Under pytest-xdist what is shared is one for the whole run, and what is reused one for later runs too."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.engine.keeper import Keeper
from pytest_pycontainer.engine.sharing import REUSED, SharingEngine
from tests.processes import descendants, ending, parent

RunPytest = Callable[..., pytest.RunResult]

PATIENCE = 60.0

RECORDING = """
    import os, pytest, time
    from pathlib import Path
    from pytest_pycontainer import container, wait

    @pytest.fixture
    def record(request):
        def record(container):
            assert container.exec(["true"]).exit_code == 0
            worker = getattr(request.config, "workerinput", {}).get("workerid", "alone")
            with open("seen", "a") as seen:
                print(worker, container.id, container.pid, file=seen, flush=True)
        return record
"""
SHARED = (
    RECORDING
    + """
    server = container("host", "sleep 1000", network="none", shared=True)

    @pytest.mark.parametrize("number", range(8))
    def test(server, record, number): record(server)
"""
)
UNENDING = (
    RECORDING
    + """
    server = container("host", "sleep 1000", network="none", shared=True)

    def test(server, record):
        record(server)
        Path("told").write_text("that it runs")
        time.sleep(600)
"""
)


def seen(project: pytest.Pytester, column: int) -> list[str]:
    """Of all tests in the order of their running: the worker (0), the container's id (1) or its process (2)."""
    return [line.split()[column] for line in (project.path / "seen").read_text().splitlines()]


def containers_left() -> list[str]:
    return [left.name for left in Path(os.environ["PYCONTAINER_ROOT"], "containers").iterdir()]


@contextmanager
def running(project: pytest.Pytester, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """pytest, once one of its tests has written to the pipe ``told``."""
    told = project.path / "told"
    os.mkfifo(told)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=project.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            reading = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
            try:
                assert select.select([reading], [], [], PATIENCE)[0]
            finally:
                os.close(reading)
            yield process
        finally:
            process.kill()


def ending_with_its_keeper(container: int) -> AbstractContextManager[None]:
    """A block that leads to the end of a container's process, and of the keeper that has it."""
    monitor = parent(container)
    return ending(container, parent(parent(monitor)))


def test_four_workers_share_one_container(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(SHARED)
    run_pytest("-n", "4").assert_outcomes(passed=8)
    assert len(set(seen(project, 0))) == 4
    assert len(set(seen(project, 1))) == 1
    assert containers_left() == []


def test_a_worker_has_joined_before_it_is_ready(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    """Else the others could be done, and the container gone, before a slow one joins."""
    project.makepyfile(SHARED)
    project.makeconftest("""
        from pathlib import Path
        from pytest_pycontainer.declarations.keepers import keepers_of

        def pytest_sessionstart(session):
            for plugin in session.config.pluginmanager.get_plugins():
                if type(plugin).__name__ == "WorkerInteractor":
                    listen(plugin)

        def listen(worker):
            def sendevent(name, **arguments):
                if name == "collectionfinish":
                    with Path("ready").open("a") as ready:
                        print(len(keepers_of(worker.config)._open), file=ready)
                send(name, **arguments)

            send, worker.sendevent = worker.sendevent, sendevent
    """)
    run_pytest("-n", "2").assert_outcomes(passed=8)
    assert (project.path / "ready").read_text() == "1\n1\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", "0"],
        ["-n", "2", "--dist", "loadscope"],  # loadfile and loadgroup are kinds of it
        ["-n", "2", "--dist", "worksteal"],
        ["--dist", "each", "--tx", "2*popen"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_however_tests_are_distributed(project: pytest.Pytester, run_pytest: RunPytest, arguments: list[str]) -> None:
    project.makepyfile(test_one=SHARED, test_two=SHARED)
    run_pytest(*arguments).assert_outcomes(passed=32 if "each" in arguments else 16)
    assert len(set(seen(project, 1))) == 2, "one of each declaration"
    assert containers_left() == []


def test_params_make_a_container_each(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(
        RECORDING
        + """
    server = container(
        "host", lambda request: ["sleep", request.param], network="none", shared=True, params=["1000", "2000"]
    )

    @pytest.mark.parametrize("number", range(4))
    def test(server, record, number, request):
        assert server.command == ("sleep", request.node.callspec.params["server"])
        record(server)
    """
    )
    run_pytest("-n", "2").assert_outcomes(passed=8)
    assert len(set(seen(project, 1))) == 2


def test_each_workers_own_containers_reach_what_is_shared_by_a_network(
    project: pytest.Pytester, run_pytest: RunPytest
) -> None:
    project.makepyfile(
        RECORDING
        + """
    from pytest_pycontainer import network
    common = network(shared=True)
    server = container("host", "sleep 1000", name="the-server", network=common, shared=True)
    client = container("host", "sleep 1000", networks=[common])

    @pytest.mark.parametrize("number", range(4))
    def test(server, client, record, number):
        assert client.exec(["getent", "hosts", "the-server"]).stdout.split() == [server.ip_address, "the-server"]
        record(client)
    """
    )
    run_pytest("-n", "2").assert_outcomes(passed=4)
    assert len(set(seen(project, 1))) == 4
    assert containers_left() == []


def test_a_failure_is_everybodys_and_nobody_tries_again(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.mkdir("out")
    project.makepyfile(
        RECORDING
        + """
    server = container(
        "host", ["sh", "-c", "echo started >> /out/starts; echo last words"], volumes={"./out": "/out"},
        network="none", wait=wait.log("ready"), shared=True,
    )
    @pytest.mark.parametrize("number", range(4))
    def test(server, number): pass
    """
    )
    result = run_pytest("-n", "2")
    result.assert_outcomes(errors=4)
    assert len(re.findall(r"^E .*ContainerExitedError.* exited with code 0", result.stdout.str(), re.MULTILINE)) == 4
    assert (project.path / "out" / "starts").read_text() == "started\n"
    assert containers_left() == []


def test_workers_have_to_want_the_same(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(
        RECORDING
        + """
    server = container("host", "sleep 1000", env=lambda worker_id: {"WORKER": worker_id}, network="none", shared=True)
    @pytest.mark.parametrize("number", range(4))
    def test(server, number): pass
    """
    )
    result = run_pytest("-n", "2")
    assert result.parseoutcomes().keys() == {"passed", "errors"}
    result.stdout.re_match_lines(
        [r"E .*env of what server of .*test_workers_have.*:\d+ shares.*WORKER.*the same in all"]
    )


def test_a_shared_container_lives_as_long_as_the_session(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("""
        from pytest_pycontainer import container
        server = container("host", scope="module", shared=True)
        def test(server): pass
    """)
    run_pytest().stdout.fnmatch_lines(["*InvalidSpecError: invalid scope 'module': wanted session, or none: *"])


def test_a_killed_worker_takes_nothing_along(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(SHARED + "\n    def test_dies(server): os.kill(os.getpid(), 9)\n")
    run_pytest("-n", "2").assert_outcomes(passed=8, failed=1)
    assert len(set(seen(project, 1))) == 1
    assert containers_left() == []


def test_when_all_are_killed_nothing_is_left(project: pytest.Pytester) -> None:
    project.makepyfile(UNENDING)
    with running(project, "-n", "1") as process, ending_with_its_keeper(int(seen(project, 2)[0])):
        for victim in (process.pid, *descendants(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
    assert containers_left() == []


def test_an_interrupt_ends_what_workers_share(project: pytest.Pytester) -> None:
    project.makepyfile(UNENDING)
    with running(project, "-n", "1") as process, ending_with_its_keeper(int(seen(project, 2)[0])):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(PATIENCE) == pytest.ExitCode.INTERRUPTED
    assert containers_left() == []


def test_the_first_failure_ends_all_workers(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(SHARED.replace("number): record(server)", "number): record(server); assert number != 3"))
    outcome = run_pytest("-n", "2", "-x").parseoutcomes()
    assert outcome["failed"] == 1
    assert len(set(seen(project, 1))) == 1
    assert containers_left() == []


REUSED_SERVER = (
    RECORDING
    + """
    server = container("host", "sleep 1000", network="none", reuse=True)
    def test(server, record): record(server)
"""
)


@pytest.fixture
def remove_reused(project: pytest.Pytester) -> Iterator[None]:
    """At the end nothing is kept any more."""
    yield
    keeper = Keeper.open_running(Settings.read(), REUSED, client="the test")
    if keeper is not None:
        keeper.remove_unused()
        keeper.leave()


@pytest.mark.usefixtures("remove_reused")
def test_later_runs_find_what_is_reused(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile(REUSED_SERVER)
    kept = "pycontainer: kept for later runs (--pycontainer-remove-reused removes them): host-*"
    run_pytest().stdout.fnmatch_lines([kept])
    run_pytest("-n", "1").stdout.fnmatch_lines([kept])
    first, second = seen(project, 1)
    assert first == second
    run_pytest("--pycontainer-remove-reused").stdout.fnmatch_lines(["pycontainer: removed host-*", kept])
    project.makepyfile(REUSED_SERVER.replace("1000", "2000"))
    run_pytest("-q").stdout.no_fnmatch_line(kept)
    *_, third, fourth = seen(project, 1)
    assert len({first, third, fourth}) == 3
    assert containers_left() == [fourth], "another declaration in its place has replaced it"


def test_what_another_version_has_kept_is_removed_too(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    project.makepyfile("def test(): pass")
    settings = Settings.read()
    keeper = Keeper.open(settings, "reused by another version", stays=True, client="an earlier run")
    with Engine(settings) as engine:
        sharing = SharingEngine(engine, keeper, "server", reused=True, progress=print)
        with closing(sharing):
            kept = sharing.run("host", "sleep 1000", network="none").name
        keeper.leave()
        run_pytest("--pycontainer-remove-reused").stdout.fnmatch_lines([f"pycontainer: removed {kept}"])
    assert containers_left() == []
