"""Containers on a version 2 cgroup hierarchy, on machines that have one beside version 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups, Hierarchy


@pytest.fixture
def unified_engine(engine: Engine, tmp_path: Path) -> Iterator[Engine]:
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [before.split()[4] for before, after in mounts if after.startswith("cgroup2 ")]
    if not points:
        pytest.skip("no version 2 cgroup hierarchy is mounted")
    with Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as other:
        other._resources.__dict__["cgroups"] = Cgroups((Hierarchy(points[0], frozenset(), unified=True),))
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
