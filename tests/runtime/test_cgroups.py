"""Finding out where a machine keeps its cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_pycontainer.errors import UnsupportedLimitError
from pytest_pycontainer.runtime.cgroups import Cgroups, Limits, Setting

VERSION_1 = """31 23 0:28 / {top} rw,relatime - tmpfs cgroup rw,mode=755
35 31 0:32 / {top}/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / {top}/devices rw,relatime - cgroup cgroup rw,devices
39 31 0:36 /docker/abc {top}/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / {top}/unified rw,relatime - cgroup2 cgroup2 rw
"""
VERSION_2 = "31 23 0:28 / {top} rw,relatime shared:5 - cgroup2 cgroup2 rw,nsdelegate\n"


def discover(tmp_path: Path, mountinfo: str, membership: str) -> Cgroups:
    (tmp_path / "mountinfo").write_text(mountinfo.format(top=tmp_path / "top"))
    (tmp_path / "cgroup").write_text(membership)
    return Cgroups.discover(str(tmp_path / "mountinfo"), str(tmp_path / "cgroup"))


def controllers(directory: Path, file: str, names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / file).write_text(f"{names}\n")


def test_version_1_and_hybrid_machines_go_by_version_1(tmp_path: Path) -> None:
    membership = "8:pids:/docker/abc/job\n5:devices:/\n4:memory:/job/7\n0::/\n"
    found = discover(tmp_path, VERSION_1, membership)
    top = tmp_path / "top"
    assert found.directories("id") == (
        f"{top}/devices/pycontainer-id",
        f"{top}/memory/job/7/pycontainer-id",
        f"{top}/pids/job/pycontainer-id",
    )
    assert found.settings("id", Limits(memory=1000, pids=5)) == (
        Setting(f"{top}/memory/job/7/pycontainer-id/memory.limit_in_bytes", "1000"),
        Setting(f"{top}/memory/job/7/pycontainer-id/memory.memsw.limit_in_bytes", "2000", optional=True),
        Setting(f"{top}/pids/job/pycontainer-id/pids.max", "5"),
    )


def test_version_2_goes_up_to_where_controllers_are_handed_on(tmp_path: Path) -> None:
    top = tmp_path / "top"
    controllers(top, "cgroup.subtree_control", "cpu memory pids")
    controllers(top / "user.slice", "cgroup.subtree_control", "memory pids")
    controllers(top / "user.slice/session-1.scope", "cgroup.subtree_control", "")
    found = discover(tmp_path, VERSION_2, "0::/user.slice/session-1.scope\n")
    assert found.directories("id") == (f"{top}/user.slice/pycontainer-id",)
    assert found.settings("id", Limits(memory=1000)) == (
        Setting(f"{top}/user.slice/pycontainer-id/memory.max", "1000"),
        Setting(f"{top}/user.slice/pycontainer-id/memory.swap.max", "1000", optional=True),
    )


def test_version_2_without_anything_handed_on_uses_what_the_top_has(tmp_path: Path) -> None:
    top = tmp_path / "top"
    controllers(top, "cgroup.subtree_control", "")
    controllers(top, "cgroup.controllers", "cpu pids")
    found = discover(tmp_path, VERSION_2, "0::/\n")
    assert found.settings("id", Limits(pids=3)) == (Setting(f"{top}/pycontainer-id/pids.max", "3"),)


def test_a_missing_controller_is_named(tmp_path: Path) -> None:
    controllers(tmp_path / "top", "cgroup.subtree_control", "pids")
    found = discover(tmp_path, VERSION_2, "0::/\n")
    with pytest.raises(UnsupportedLimitError, match="no such controller \\(available: pids\\)"):
        found.settings("id", Limits(memory=1 << 20))
