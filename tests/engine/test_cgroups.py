"""Containers on machines with one version of cgroups alone, which a hybrid machine can stand for."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups

TIMEOUT = 60


def only(engine: Engine, directory: Path, *, unified: bool) -> Engine:
    """An engine that knows the hierarchies of one version alone."""
    hierarchies = tuple(one for one in Cgroups.discover().hierarchies if one.unified == unified)
    if not hierarchies:
        pytest.skip(f"no version {2 if unified else 1} cgroup hierarchy is mounted")
    other = Engine(Settings(root=directory / "store", state=engine.settings.state))
    other._resources.__dict__["cgroups"] = Cgroups(hierarchies)
    return other


@pytest.fixture
def unified_engine(engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    with only(engine, tmp_path, unified=True) as other:
        yield other


@pytest.fixture(params=[False, True], ids=["version 1", "version 2"])
def one_version(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    with only(engine, tmp_path, unified=request.param) as other:
        yield other


def test_a_container_lives_in_version_2_alone(unified_engine: Engine) -> None:
    root = Path("/").stat().st_dev
    script = (
        "exec 2>&1; stat -f -c %T /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.procs | wc -l; touch /sys/fs/cgroup/x; "
        f"mknod /disk b {os.major(root)} {os.minor(root)} && head -c 1 /disk; echo > /dev/null && echo fine"
    )
    with unified_engine.run("host", ["sh", "-c", script]) as c:
        c.wait(timeout=30)
        kind, processes, read_only, refused, fine = c.logs().splitlines()
    assert kind == "cgroup2fs"
    assert int(processes) >= 1
    assert "Read-only file system" in read_only
    assert "Operation not permitted" in refused
    assert fine == "fine"


def test_devices_are_allowed_in_version_2(unified_engine: Engine) -> None:
    device = next((path for path in map(Path, ("/dev/fuse", "/dev/loop0")) if path.exists()), None)
    if device is None:
        pytest.skip("this machine has no device that could be handed on")
    script = "exec 2>&1; (: < /dev/x) && echo read; (: > /dev/x); echo > /dev/null && echo fine"
    with unified_engine.run("host", ["sh", "-c", script], devices=f"{device}:/dev/x:r") as c:
        c.wait(timeout=TIMEOUT)
        read, refused, fine = c.logs().splitlines()
    assert (read, fine) == ("read", "fine")
    assert "Operation not permitted" in refused


def test_pausing_and_ending_what_is_paused(one_version: Engine) -> None:
    script = "i=0; while :; do i=$((i+1)); echo $i > /count; done"
    with one_version.run("host", ["sh", "-c", script]) as c:
        c.pause()
        assert c.status == "paused"
        count = (c.upper / "count").read_text() if (c.upper / "count").exists() else ""
        assert not c.exited_within(0.1)
        assert ((c.upper / "count").read_text() if count else "") == count
        c.unpause()
        assert c.status == "running"
        c.pause()
        c.remove(force=True)
        assert c.status == "removed"


OWNER = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups
with Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2]))) as engine:
    hierarchies = Cgroups.discover().hierarchies
    unified = sys.argv[3] == "True"
    engine._resources.__dict__["cgroups"] = Cgroups(tuple(one for one in hierarchies if one.unified == unified))
    container = engine.run("host", ["sleep", "1000"])
    container.pause()
    print(container.pid, *container.cgroup().values(), flush=True)
    sys.stdin.read()
"""


def test_what_is_paused_ends_with_its_killed_owner(one_version: Engine) -> None:
    settings = one_version.settings
    unified = one_version._resources.cgroups.hierarchies[0].unified
    command = [sys.executable, "-c", OWNER, str(settings.root), str(settings.state), str(unified)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, *directories = owner.stdout.readline().split()
        process = os.pidfd_open(int(pid))
        owner.kill()
    try:
        assert select.select([process], [], [], TIMEOUT)[0], "it goes on"
    finally:
        os.close(process)
    deadline = time.monotonic() + TIMEOUT
    while (left := [path for path in directories if Path(path).exists()]) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not left


def test_a_container_shows_the_hierarchies_that_it_is_in(engine: Engine) -> None:
    """As Docker's do: all of version 1, with a link for each controller of several in one, or version 2 alone."""
    script = (
        "cut -d: -f2 /proc/self/cgroup; echo --; ls /sys/fs/cgroup; echo --; grep -c . /sys/fs/cgroup/*/cgroup.procs"
    )
    with engine.run("host", ["sh", "-c", script]) as c:
        c.wait(timeout=TIMEOUT)
        joined, shown, processes = (part.split() for part in c.logs().split("--"))
    version_1 = {name.removeprefix("name=") for name in joined if name}
    if not version_1:
        pytest.skip("this machine has version 2 alone")
    assert version_1 <= set(shown)
    assert len(processes) >= len(version_1)
    assert all(int(line.rpartition(":")[2]) >= 1 for line in processes)


def test_another_engine_sees_what_a_container_uses(engine: Engine) -> None:
    with engine.run("host", ["sleep", "60"], pids_limit=12) as c, Engine(engine.settings) as other:
        found = other.find(c.name)
        assert found.limits().pids_limit == c.limits().pids_limit
        assert found.cgroup() == c.cgroup()
        assert found.stats().networks[0].interface == "eth0"
        found.update(pids_limit=13)
        assert c.limits().pids_limit == 13
