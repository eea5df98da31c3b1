"""Namespaces that a container shares with this machine, or with another container."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.errors import (
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerStartError,
    InvalidSpecError,
    IpcNotShareableError,
)
from tests.processes import parent

_SECONDS = 20.0
_OWNER = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    container = engine.run("host", ["sh", "-c", "sleep 60 & echo $!; wait"], pid="host")
    print(container.pid, next(iter(container.follow(timeout=20))).strip(), flush=True)
    container.wait()
"""
_KINDS = {"pid": "pid", "ipc": "ipc", "uts": "uts", "cgroupns": "cgroup"}


def own(kind: str) -> str:
    return str(Path(f"/proc/self/ns/{kind}").readlink())


@pytest.mark.parametrize(("option", "kind"), _KINDS.items())
@pytest.mark.parametrize("mode", ["host", "private"])
def test_a_mode_says_whose_namespace_it_is(engine: Engine, option: str, kind: str, mode: str) -> None:
    options: dict[str, Any] = {option: mode}

    with engine.run("host", ["readlink", f"/proc/self/ns/{kind}"], **options) as container:
        assert container.wait(_SECONDS) == 0
        assert (container.logs().strip() == own(kind)) is (mode == "host")


@pytest.mark.parametrize(("option", "kind"), _KINDS.items())
def test_exec_shares_it_too(engine: Engine, option: str, kind: str) -> None:
    options: dict[str, Any] = {option: "host"}

    with engine.run("host", ["sleep", "60"], **options) as container:
        assert container.exec(["readlink", f"/proc/self/ns/{kind}"]).stdout.strip() == own(kind)


def test_this_machines_processes_are_seen_and_none_is_left(engine: Engine) -> None:
    script = f"test -d /proc/{os.getpid()} && sleep 60 & sleep 60 & echo $!; exit 4"

    with engine.run("host", ["sh", "-c", script], pid="host") as container:
        assert container.wait(_SECONDS) == 4
        left = int(container.logs())

        assert_ends(left)


def test_who_shares_this_machines_processes_is_killed_without_its_init(engine: Engine) -> None:
    script = "trap '' TERM; sleep 60 & echo $!; wait"

    with engine.run("host", ["sh", "-c", script], pid="host") as container:
        child = int(next(container.follow(_SECONDS)))
        container.kill()

        assert container.wait(_SECONDS) == 128 + signal.SIGKILL
        assert_ends(child)


def test_what_outlives_its_monitor_is_ended_with_the_container(engine: Engine) -> None:
    container = engine.run("host", ["sh", "-c", "sleep 60 & echo $!; wait"], pid="host")
    child = int(next(container.follow(_SECONDS)))
    monitor = parent(container.pid)

    first = os.pidfd_open(container.pid)
    try:
        os.kill(monitor, signal.SIGKILL)
        container.wait(_SECONDS)
        wait_until(lambda: not is_there(first))
        assert Path(f"/proc/{child}").exists()
    finally:
        os.close(first)
        container.remove(force=True)

    assert_ends(child)


def test_what_outlives_everything_is_ended_by_the_next_engine(engine: Engine, tmp_path: Path) -> None:
    settings = Settings(root=tmp_path / "store", state=engine.settings.state)
    command = [sys.executable, "-c", _OWNER, str(settings.root), str(settings.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        first, child = map(int, owner.stdout.readline().split())
        spawner = parent(parent(first))
        for process in (parent(first), spawner, owner.pid):
            os.kill(process, signal.SIGKILL)
    assert Path(f"/proc/{child}").exists()

    with Engine(settings) as following:
        assert following.containers(others=True) == []

    assert_ends(child)
    assert_ends(first)


@pytest.mark.skipif(not Path("/sys/fs/cgroup/pids").is_dir(), reason="no cgroups of version 1 at /sys/fs/cgroup")
def test_of_version_1_cgroups_only_its_own_is_shown(engine: Engine) -> None:
    script = "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs"

    with engine.run("host", ["sh", "-c", script], cgroupns="host", pids_limit=50) as container:
        assert container.wait(_SECONDS) == 0
        *places, first, _ = container.logs().splitlines()
        assert all(container.id in place for place in places)
        assert first == "1"


def test_this_machines_shared_memory(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "stat -c %d /dev/shm; stat -fc %T /dev/mqueue"], ipc="host") as container:
        assert container.wait(_SECONDS) == 0
        assert int(container.logs().split()[0]) == Path("/dev/shm").stat().st_dev


def test_without_shared_memory(engine: Engine) -> None:
    with engine.run("host", ["test", "-e", "/dev/shm"], ipc="none") as container:
        assert container.wait(_SECONDS) == 1


def test_this_machines_host_name(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME"], uts="host") as container:
        assert container.wait(_SECONDS) == 0
        assert container.logs().split() == [socket.gethostname()] * 3


def test_another_containers_processes_and_shared_memory(engine: Engine) -> None:
    with engine.run("host", ["sh", "-c", "echo shared > /dev/shm/file; sleep 60"], ipc="shareable") as donor:
        wait_until(lambda: donor.exec(["test", "-s", "/dev/shm/file"]).exit_code == 0)
        script = "cat /dev/shm/file; readlink /proc/1/ns/pid /proc/1/ns/ipc; kill -0 1 && echo seen; sleep 60 & exit 0"
        joins = f"container:{donor.name}"

        with engine.run("host", ["sh", "-c", script], pid=joins, ipc=f"container:{donor.short_id}") as container:
            assert container.wait(_SECONDS) == 0
            donors = donor.exec(["readlink", "/proc/1/ns/pid", "/proc/1/ns/ipc"]).stdout.split()
            assert container.logs().split() == ["shared", *donors, "seen"]
            # Of what the second has left running, its own end is the end.
            assert donor.exec(["pgrep", "-c", "sleep"]).stdout == "1\n"


def test_another_processs_container(engine: Engine) -> None:
    with (
        Engine(engine.settings) as other,
        other.run("host", ["sleep", "60"]) as donor,
        engine.run("host", ["sleep", "60"], pid=f"container:{donor.name}") as container,
    ):
        assert Path(f"/proc/{container.pid}/ns/pid").readlink() == Path(f"/proc/{donor.pid}/ns/pid").readlink()


def test_what_is_about_to_join_cannot_be_looked_into(engine: Engine) -> None:
    with (
        engine.run("host", ["sleep", "60"]) as donor,
        engine.create("host", ["true"], pid=f"container:{donor.name}") as waiting,
    ):
        waiting.read("/etc/hostname")  # it has come so far that it has its root
        script = "for p in /proc/[0-9]*; do cat $p/environ >/dev/null || echo $p; readlink $p/exe $p/root; done"
        said = donor.exec(["sh", "-c", script]).stdout.split()

    assert [line for line in said if line.startswith("/proc")] != []
    assert not [line for line in said if "python" in line]


@pytest.mark.parametrize("option", ["pid", "ipc"])
def test_what_has_ended_is_not_joined_again(engine: Engine, option: str) -> None:
    with engine.run("host", ["sleep", "60"], ipc="shareable") as donor:
        options: dict[str, Any] = {option: f"container:{donor.name}"}
        with engine.run("host", ["true"], **options) as container:
            container.wait(_SECONDS)
            container.start()  # again in the same
            container.wait(_SECONDS)
            donor.kill()
            donor.wait(_SECONDS)

            with pytest.raises(ContainerStartError, match=f"{option} namespace.*has ended"):
                container.start()


def test_it_ends_with_the_one_whose_processes_it_shares(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"]) as donor:
        container = engine.run("host", ["sleep", "60"], pid=f"container:{donor.name}")
        donor.kill()

        assert container.wait(_SECONDS) == 128 + signal.SIGKILL
        container.remove()


def test_another_container_has_to_be_there_and_run(engine: Engine) -> None:
    with pytest.raises(ContainerNotFoundError, match="nobody"):
        engine.run("host", ["true"], pid="container:nobody")
    with engine.create("host", ["true"]) as waiting, pytest.raises(ContainerNotRunningError, match="created"):
        engine.run("host", ["true"], pid=f"container:{waiting.name}")
    with engine.run("host", ["true"]) as ended:
        ended.wait(_SECONDS)
        with pytest.raises(ContainerNotRunningError, match="share the pid namespace"):
            engine.run("host", ["true"], pid=f"container:{ended.name}")


@pytest.mark.parametrize("mode", ["private", "none", "host"])
def test_an_ipc_namespace_has_to_be_shareable(engine: Engine, mode: str) -> None:
    with engine.run("host", ["sleep", "60"], ipc=mode) as donor, pytest.raises(IpcNotShareableError, match="shareable"):
        engine.run("host", ["true"], ipc=f"container:{donor.name}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pid": "container"}, "'private', 'host' or 'container:NAME'"),
        ({"pid": "container:"}, "container:NAME"),
        ({"pid": 1}, "container:NAME"),
        ({"ipc": "shared"}, "'shareable', 'none' or"),
        ({"uts": "container:x"}, "'private' or 'host'"),
        ({"cgroupns": "none"}, "'private' or 'host'"),
        ({"userns": "keep-id"}, "'host' or 'auto'"),
        ({"uts": "host", "hostname": "x"}, "this machine's"),
        ({"userns": "auto", "privileged": True}, "this machine's rights"),
        ({"userns": "auto", "pid": "host"}, "userns='host'"),
        ({"userns": "auto", "ipc": "container:x"}, "userns='host'"),
    ],
)
def test_what_makes_no_sense_is_refused(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        engine.run("host", ["true"], **options)


def assert_ends(process: int) -> None:
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(process)
        try:
            wait_until(lambda: not is_there(pidfd))
        finally:
            os.close(pidfd)


def is_there(pidfd: int) -> bool:
    """Whether it has not ended; somebody else may yet have to collect it."""
    return not select.select([pidfd], [], [], 0)[0]


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)
