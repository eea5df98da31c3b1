"""Finding out where a machine keeps its cgroups, from recorded files."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_pycontainer.runtime import cgroups
from pytest_pycontainer.runtime.cgroup_hierarchies import Cgroups

VERSION_1 = """31 23 0:28 / {top} rw,relatime - tmpfs cgroup rw,mode=755
32 31 0:29 / {top}/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / {top}/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / {top}/devices rw,relatime - cgroup cgroup rw,devices
38 31 0:35 / {top}/blkio ro,relatime - cgroup cgroup rw,blkio
39 31 0:36 /docker/abc {top}/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / {top}/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
UNIFIED = "41 31 0:38 / {top}/unified rw,relatime - cgroup2 cgroup2 rw\n"
VERSION_2 = "31 23 0:28 / {top} rw,relatime shared:5 - cgroup2 cgroup2 rw,nsdelegate\n"
MEMBERSHIP = """9:cpu,cpuacct:/
8:pids:/docker/abc/job
7:blkio:/
5:devices:/
4:memory:/job/7
1:name=systemd:/job
0::/job
"""


def discover(tmp_path: Path, mountinfo: str, membership: str) -> Cgroups:
    (tmp_path / "mountinfo").write_text(mountinfo.format(top=tmp_path / "top"))
    (tmp_path / "cgroup").write_text(membership)
    return Cgroups.discover(str(tmp_path / "mountinfo"), str(tmp_path / "cgroup"))


def record(directory: Path, **files: str) -> None:
    """Lays down what a directory of version 2 has: ``controllers``, ``subtree_control``, ``type``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / f"cgroup.{name}").write_text(f"{content}\n")


def test_version_1_is_joined_wherever_it_is_mounted_and_writable(tmp_path: Path) -> None:
    found = discover(tmp_path, VERSION_1, MEMBERSHIP)
    top = tmp_path / "top"
    assert found.directories("id") == (
        f"{top}/cpu,cpuacct/pycontainer-id",
        f"{top}/devices/pycontainer-id",
        f"{top}/memory/job/7/pycontainer-id",
        f"{top}/pids/job/pycontainer-id",
        f"{top}/systemd/job/pycontainer-id",
    )
    assert found.controllers == ("cpu", "cpuacct", "devices", "memory", "pids")


def test_a_hybrid_machine_has_each_controller_in_one_of_both(tmp_path: Path) -> None:
    unified = tmp_path / "top/unified"
    record(unified, controllers="hugetlb", subtree_control="")
    record(unified / "job", controllers="", subtree_control="", type="domain")
    found = discover(tmp_path, VERSION_1 + UNIFIED, MEMBERSHIP)
    (version_2,) = (hierarchy for hierarchy in found.hierarchies if hierarchy.unified)
    assert (version_2.parent, version_2.controllers) == (str(unified), frozenset({"hugetlb"}))
    assert f"{tmp_path}/top/memory/job/7/pycontainer-id" in found.directories("id")


def test_a_hybrid_machine_without_version_2_controllers_keeps_us_where_we_are(tmp_path: Path) -> None:
    record(tmp_path / "top/unified", controllers="", subtree_control="")
    record(tmp_path / "top/unified/job", controllers="", subtree_control="", type="domain")
    found = discover(tmp_path, VERSION_1 + UNIFIED, MEMBERSHIP)
    assert f"{tmp_path}/top/unified/job/pycontainer-id" in found.directories("id")


def test_version_2_goes_up_to_where_controllers_are_handed_on(tmp_path: Path) -> None:
    top = tmp_path / "top"
    record(top, controllers="cpu io memory pids", subtree_control="cpu memory pids")
    record(top / "user.slice", controllers="cpu memory pids", subtree_control="memory pids", type="domain")
    record(top / "user.slice/session-1.scope", controllers="memory pids", subtree_control="", type="domain")
    found = discover(tmp_path, VERSION_2, "0::/user.slice/session-1.scope\n")
    assert found.directories("id") == (f"{top}/user.slice/pycontainer-id",)
    assert found.controllers == ("cpu", "memory", "pids")  # cpu is there once it is asked for
    assert found.hierarchies[0].handed_on == {"memory", "pids"}


def test_version_2_without_anything_handed_on_uses_what_the_root_has(tmp_path: Path) -> None:
    top = tmp_path / "top"
    record(top, controllers="cpu pids", subtree_control="")
    found = discover(tmp_path, VERSION_2, "0::/\n")
    assert (found.directories("id"), found.controllers) == ((f"{top}/pycontainer-id",), ("cpu", "pids"))


def test_a_version_2_directory_with_processes_can_hand_on_nothing(tmp_path: Path) -> None:
    """As in a container, whose top is no root of the hierarchy."""
    top = tmp_path / "top"
    record(top, controllers="cpu memory pids", subtree_control="", type="domain")
    found = discover(tmp_path, VERSION_2, "0::/\n")
    assert (found.directories("id"), found.controllers) == ((f"{top}/pycontainer-id",), ())


def test_a_hierarchy_that_is_mounted_twice_is_joined_once(tmp_path: Path) -> None:
    again = "50 31 0:32 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,memory\n"
    assert discover(tmp_path, VERSION_1 + again, MEMBERSHIP) == discover(tmp_path, VERSION_1, MEMBERSHIP)


def test_without_any_hierarchy_a_container_has_no_cgroup(tmp_path: Path) -> None:
    found = discover(tmp_path, "31 23 0:28 / /tmp rw - tmpfs tmpfs rw\n", "")
    assert (found.directories("id"), found.controllers) == ((), ())


def test_the_hierarchies_of_a_container_are_told_from_its_directories() -> None:
    """On this machine: a container of another process may lie elsewhere than this process."""
    here = Cgroups.discover()
    directories = here.directories(f"test-{os.getpid()}")
    cgroups.make(directories)
    try:
        assert Cgroups.of(directories) == here
    finally:
        cgroups.remove(directories)
