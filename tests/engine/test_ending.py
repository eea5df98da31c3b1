"""Whoever is killed: nothing is left running, and what is left on disk is swept."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Settings, wait
from pytest_pycontainer.errors import ContainerNotFoundError
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups

OWNER = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings, wait
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    print("ready", flush=True)
    while True:
        command = ["sh", "-c", "sleep 1000 & sleep 1001 & echo up; wait"]
        container = engine.run("host", command, ports=[80], name="victim", wait=wait.log("up"))
        sys.stdin.read(1) if sys.argv[3] == "wait" else None
        print(container.pid, container.id, flush=True)
        container.exec(["sh", "-c", "sleep 1002 >/dev/null 2>&1 &"])
        if sys.argv[3] == "wait":
            sys.stdin.read()
        container.remove(force=True)
"""


@pytest.fixture
def settings(tmp_path: Path, engine: Engine) -> Settings:
    return Settings(root=tmp_path / "store", state=engine.settings.state)


@contextmanager
def start_owner(settings: Settings, mode: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNER, str(settings.root), str(settings.state), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        try:
            yield owner
        finally:
            owner.kill()


def cgroups_of(settings: Settings) -> Iterator[Path]:
    """The cgroup directories of every container in the store."""
    for record in (settings.root / "containers").glob("*/record"):
        with suppress(FileNotFoundError, json.JSONDecodeError):  # one that is just being written, or removed
            yield from map(Path, json.loads(record.read_text().partition("\n")[0])["cgroup"])


def processes_of(cgroups: list[Path]) -> set[int]:
    found = set()
    for directory in cgroups:
        with suppress(FileNotFoundError):  # one that is just being made, or removed
            found |= set(map(int, (directory / "cgroup.procs").read_text().split()))
    return found


def await_ends(processes: set[int], seconds: float = 10.0) -> set[int]:
    """Those of the processes that have not ended within ``seconds``."""
    descriptors = {}
    for process in processes:
        try:
            descriptors[os.pidfd_open(process)] = process
        except ProcessLookupError:
            continue
    try:
        deadline = time.monotonic() + seconds
        waiting = set(descriptors)
        while waiting and time.monotonic() < deadline:
            waiting -= set(select.select(waiting, [], [], deadline - time.monotonic())[0])
        return {descriptors[descriptor] for descriptor in waiting}
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def await_gone(paths: list[Path], seconds: float = 10.0) -> list[Path]:
    deadline = time.monotonic() + seconds
    while (left := [path for path in paths if path.exists()]) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def monitor_of(container: Container) -> int:
    status = Path(f"/proc/{container.pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def test_sigkill_of_the_owner_ends_everything(settings: Settings) -> None:
    with start_owner(settings, "wait") as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        owner.stdin.write("x")
        owner.stdin.flush()
        pid, container_id = owner.stdout.readline().split()
        cgroups = list(cgroups_of(settings))
        processes = processes_of(cgroups)
        assert int(pid) in processes
        assert len(processes) >= 3
        owner.send_signal(signal.SIGKILL)
    assert not await_ends(processes)
    assert not await_gone([*cgroups, settings.root / "containers" / container_id])
    with Engine(settings) as engine, engine.run("host", ["true"], name="victim") as c:
        assert c.wait(timeout=30) == 0


@pytest.mark.parametrize("seed", range(8))
def test_sigkill_of_the_owner_at_any_moment(settings: Settings, seed: int) -> None:
    with start_owner(settings, "loop") as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        time.sleep(random.Random(seed).uniform(0.0, 0.15))
        owner.send_signal(signal.SIGSTOP)  # so that what is looked at is what is there when it is killed
        cgroups = list(cgroups_of(settings)) if settings.root.exists() else []
        processes = processes_of(cgroups)
        owner.send_signal(signal.SIGKILL)
    assert not await_ends(processes)
    assert not await_gone(cgroups)
    with Engine(settings) as engine:
        with engine.run("host", ["true"], name="victim") as c:
            assert c.wait(timeout=30) == 0
        engine.settle()
        assert list((settings.root / "containers").iterdir()) == []


def test_sigkill_of_the_spawner_ends_its_containers(settings: Settings) -> None:
    with Engine(settings) as engine:
        c = engine.run("host", ["sh", "-c", "echo before; sleep 1000 & wait"], wait=wait.log("before"))
        cgroups = [directory for directory in cgroups_of(settings) if c.id in directory.name]
        processes = processes_of(cgroups)
        os.kill(engine._resources.spawner.pid, signal.SIGKILL)
        assert not await_ends(processes)
        assert c.wait(timeout=10) == 137
        assert c.logs() == "before\n"
        c.remove()
        assert not await_gone(cgroups)
        with engine.run("host", ["true"]) as next_one:  # with another spawner
            assert next_one.wait(timeout=30) == 0
    assert c.status == "removed"


def test_sigkill_of_a_monitor_ends_its_container(engine: Engine) -> None:
    # A program that has changed its user is not reached by a parent-death signal: the PID namespace is.
    with engine.run("host", ["sh", "-c", "sleep 1000 & wait"], user="nobody") as c, engine.run("host", ["cat"]):
        processes = {c.pid, *map(int, Path(f"/proc/{c.pid}/task/{c.pid}/children").read_text().split())}
        os.kill(monitor_of(c), signal.SIGKILL)
        assert not await_ends(processes)
        assert c.wait(timeout=10) == 137
        assert c.status == "exited"


def test_what_a_killed_run_left_is_swept(settings: Settings) -> None:
    """Owner and monitor killed at once: nobody was left to remove the directory and the cgroup."""
    with start_owner(settings, "wait") as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        owner.stdout.readline()
        owner.stdin.write("x")
        owner.stdin.flush()
        pid = int(owner.stdout.readline().split()[0])
        cgroups = list(cgroups_of(settings))
        processes = processes_of(cgroups)
        monitor = int(Path(f"/proc/{pid}/status").read_text().partition("PPid:")[2].split()[0])
        os.kill(monitor, signal.SIGSTOP)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        os.kill(monitor, signal.SIGKILL)
    assert not await_ends({*processes, monitor})
    assert [path for path in cgroups if path.exists()]
    with Engine(settings) as engine, engine.run("host", ["true"], name="victim") as c:
        assert not [path for path in cgroups if path.exists()]
        assert c.wait(timeout=30) == 0


def test_closing_the_engine_ends_what_is_left_open(settings: Settings) -> None:
    engine = Engine(settings)
    c = engine.run("host", ["sleep", "1000"])
    cgroups = list(cgroups_of(settings))
    engine.close()
    engine.close()
    assert c.status == "removed"
    assert not [path for path in cgroups if path.exists()]
    assert list((settings.root / "containers").iterdir()) == []


OWNER_OF_ONE = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    versions = (False, True) if sys.argv[4] == "both" else (sys.argv[4] == "version 2",)
    hierarchies = tuple(one for one in Cgroups.discover().hierarchies if one.unified in versions)
    engine._resources.__dict__["cgroups"] = Cgroups(hierarchies)
    options = {"restart": "always"} if sys.argv[3] == "restarting" else {}
    command = "exit 1" if options else "sleep 1000 & sleep 1001"
    container = engine.run("host", ["sh", "-c", command], name="victim", **options)
    state = container._connection.state
    if options:
        state = container._connection.await_state(lambda state: state.status == "restarting" and state.restarts > 3, 60)
    engine.settle()
    if not options:
        container.pause()
    print(engine._resources.spawner.pid, container.id, flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner_of_one(settings: Settings, state: str, versions: str) -> Iterator[tuple[set[int], str, list[Path]]]:
    """An owner with a container that is paused or restarting: owner, spawner and monitor, its id, its cgroups."""
    command = [sys.executable, "-c", OWNER_OF_ONE, str(settings.root), str(settings.state), state, versions]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            spawner, container_id = owner.stdout.readline().split()
            children = Path(f"/proc/{spawner}/task/{spawner}/children").read_text().split()
            cgroups = [path for path in cgroups_of(settings) if container_id in path.name]
            yield {owner.pid, int(spawner), *map(int, children)}, container_id, cgroups
        finally:
            owner.kill()


def versions_here() -> list[str]:
    known = Cgroups.discover().hierarchies
    return ["both", *(f"version {2 if unified else 1}" for unified in sorted({one.unified for one in known}))]


@pytest.mark.parametrize("versions", versions_here())
@pytest.mark.parametrize("state", ["paused", "restarting"])
def test_sigkill_of_the_owner_of_what_stands_still(settings: Settings, state: str, versions: str) -> None:
    with owner_of_one(settings, state, versions) as (processes, container_id, cgroups):
        inside = processes_of(cgroups)
        assert len(inside) == 3 or state == "restarting"
    assert not await_ends(processes | inside)
    assert not await_gone([*cgroups, settings.root / "containers" / container_id])


@pytest.mark.parametrize("versions", versions_here())
def test_sigkill_of_all_at_once_while_it_is_paused(settings: Settings, versions: str) -> None:
    """Nobody is left to let go on what version 1 has frozen, and the kernel does not end it: the next engine does."""
    with owner_of_one(settings, "paused", versions) as (keepers, container_id, cgroups):
        processes = processes_of(cgroups)
        assert len(processes) == 3
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for keeper in keepers:
                with suppress(ProcessLookupError):  # a child of the spawner's that had one thing to do
                    os.kill(keeper, number)
    directory = settings.root / "containers" / container_id
    assert directory.exists()
    if versions == "version 1":
        assert await_ends(processes, 0.3) == processes
    else:
        assert not await_ends(processes)
    with Engine(settings) as engine, engine.run("host", ["true"], name="victim") as c:
        assert not await_ends(processes)
        assert not [path for path in (*cgroups, directory) if path.exists()]
        assert c.wait(timeout=30) == 0


@pytest.mark.parametrize("paused", [False, True])
def test_the_owner_removes_what_a_killed_monitor_left(engine: Engine, paused: bool) -> None:
    with engine.run("host", ["sh", "-c", "sleep 1000 & wait"], restart="always", name="orphan") as c:
        with Engine(engine.settings) as other:
            found = other.find("orphan")
            c.pause() if paused else None
            os.kill(monitor_of(c), signal.SIGKILL)
            for handle in (c, found):
                assert handle.wait(timeout=10) == 137
                assert handle.status == "exited"
                with pytest.raises(ContainerNotFoundError):
                    handle.start()
        with pytest.raises(ContainerNotFoundError):
            engine.run("host", ["true"], pid=f"container:{c.id}")
    with engine.run("host", ["true"], name="orphan") as again:
        assert again.wait(timeout=30) == 0
