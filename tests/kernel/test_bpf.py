"""Device rules of version 2 cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer.kernel.bpf import DeviceRule, allow_only


def unified() -> Path | None:
    """Where the version 2 hierarchy is mounted, if it is."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


@pytest.fixture
def cgroup() -> Iterator[Path]:
    top = unified()
    if top is None:
        pytest.skip("no version 2 cgroup hierarchy is mounted")
    directory = top / f"test-of-bpf-{os.getpid()}"
    directory.mkdir()
    yield directory
    directory.rmdir()


def opens(cgroup: Path, path: str, flags: int = os.O_RDONLY) -> bool:
    """Whether a process in the cgroup may open the device."""
    child = os.fork()
    if child == 0:
        (cgroup / "cgroup.procs").write_text("0")
        try:
            os.open(path, flags)
        except PermissionError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_only_what_is_allowed_can_be_opened(cgroup: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    os.mknod(disk, 0o600 | 0o060000, Path("/").stat().st_dev)
    assert opens(cgroup, "/dev/full")
    allow_only(str(cgroup), [DeviceRule("c", 1, 3), DeviceRule("c", 5)])
    assert opens(cgroup, "/dev/null")
    assert opens(cgroup, "/dev/null", os.O_RDWR)
    assert opens(cgroup, "/dev/ptmx")
    assert not opens(cgroup, "/dev/full")
    assert not opens(cgroup, "/dev/zero", os.O_WRONLY)
    assert not opens(cgroup, str(disk))


def test_nodes_can_be_made_but_not_opened(cgroup: Path, tmp_path: Path) -> None:
    allow_only(str(cgroup), [DeviceRule("a", access="m")])
    child = os.fork()
    if child == 0:
        (cgroup / "cgroup.procs").write_text("0")
        os.mknod(tmp_path / "made", 0o600 | 0o020000, os.makedev(1, 3))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not opens(cgroup, str(tmp_path / "made"))


def test_access_can_be_allowed_in_part(cgroup: Path) -> None:
    allow_only(str(cgroup), [DeviceRule("c", 1, 5, "r"), DeviceRule("c", 1, 3, "w")])
    assert opens(cgroup, "/dev/zero")
    assert not opens(cgroup, "/dev/zero", os.O_WRONLY)
    assert not opens(cgroup, "/dev/zero", os.O_RDWR)
    assert opens(cgroup, "/dev/null", os.O_WRONLY)
    assert not opens(cgroup, "/dev/null", os.O_RDWR)


def test_later_rules_take_the_place_of_earlier_ones(cgroup: Path) -> None:
    allow_only(str(cgroup), [DeviceRule("c", 1, 3)])
    allow_only(str(cgroup), [DeviceRule("c", 1, 5), DeviceRule("b", 1, 3)])
    assert opens(cgroup, "/dev/zero")
    assert not opens(cgroup, "/dev/null")
    allow_only(str(cgroup), [DeviceRule("a")])
    assert opens(cgroup, "/dev/full")


def test_a_kind_that_is_not_named_is_any(cgroup: Path) -> None:
    allow_only(str(cgroup), [DeviceRule("b", 1, 5), DeviceRule("a", 1, 7)])
    assert opens(cgroup, "/dev/full")
    assert not opens(cgroup, "/dev/zero")
