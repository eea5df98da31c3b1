"""Machines that can't run containers, as a process sees them: each a small procfs of our own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.engine.requirements import missing_requirements
from pytest_pycontainer.errors import EngineUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

ALL_CAPABILITIES = "000001ffffffffff"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A procfs that lacks nothing."""
    files = {
        "self/status": f"Name:\tpytest\nUid:\t0\t0\t0\t0\nCapEff:\t{ALL_CAPABILITIES}\n",
        "self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n",
        "sys/kernel/osrelease": "5.12.0-custom\n",
        "filesystems": "nodev\ttmpfs\n\text4\nnodev\toverlay\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "self/ns").mkdir()
    for namespace in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        (tmp_path / "self/ns" / namespace).symlink_to(f"{namespace}:[4026531840]")
    return tmp_path


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_machine_that_lacks_nothing(proc: Path) -> None:
    assert missing_requirements(proc) == ()


def test_another_system_than_linux(proc: Path) -> None:
    ((what, remedy),) = missing_requirements(proc, platform="darwin")
    assert what == "Linux"
    assert "darwin" in remedy


def test_no_procfs(tmp_path: Path) -> None:
    ((what, remedy),) = missing_requirements(tmp_path / "proc")
    assert "process file system" in what
    assert "mount -t proc" in remedy


@pytest.mark.parametrize("release", ["5.11.22-generic", "4.18.0-553.el8_10.x86_64", "unknown"])
def test_an_old_kernel(proc: Path, release: str) -> None:
    replace(proc / "sys/kernel/osrelease", "5.12.0-custom", release)
    ((what, remedy),) = missing_requirements(proc)
    assert what == "Linux 5.12 or newer"
    assert release in remedy


@pytest.mark.parametrize("release", ["5.12.0", "6.1.0-18-amd64", "10.0-rc1"])
def test_a_kernel_new_enough(proc: Path, release: str) -> None:
    replace(proc / "sys/kernel/osrelease", "5.12.0-custom", release)
    assert missing_requirements(proc) == ()


@pytest.fixture
def users_proc(proc: Path) -> Path:
    """An ordinary user's, who has no privileges and lacks nothing."""
    replace(proc / "self/status", "Uid:\t0\t0", "Uid:\t1000\t1000")
    replace(proc / "self/status", ALL_CAPABILITIES, "0" * 16)
    (proc / "sys/user").mkdir()
    (proc / "sys/user/max_user_namespaces").write_text("96365\n")
    (proc / "sys/kernel/unprivileged_userns_clone").write_text("1\n")
    (proc / "sys/kernel/apparmor_restrict_unprivileged_userns").write_text("0\n")
    return proc


def test_an_ordinary_user(users_proc: Path) -> None:
    assert missing_requirements(users_proc) == ()


def test_an_ordinary_user_needs_no_cgroups(users_proc: Path) -> None:
    replace(users_proc / "self/mountinfo", "cgroup2 cgroup2", "tmpfs tmpfs")
    assert missing_requirements(users_proc) == ()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ],
)
def test_user_namespaces_that_are_switched_off(users_proc: Path, setting: str, value: str) -> None:
    (users_proc / "sys" / setting).write_text(f"{value}\n")
    ((what, remedy),) = missing_requirements(users_proc)
    assert what.startswith("user namespaces for ")
    assert f"sysctl -w {setting.replace('/', '.')}=" in remedy
    assert "as root" in remedy


def test_a_program_that_apparmor_knows_is_not_restricted(users_proc: Path) -> None:
    (users_proc / "sys/kernel/apparmor_restrict_unprivileged_userns").write_text("1\n")
    (users_proc / "self/attr").mkdir()
    (users_proc / "self/attr/current").write_text("python (unconfined)\n")
    assert missing_requirements(users_proc) == ()


def test_a_kernel_without_user_namespaces(users_proc: Path) -> None:
    (users_proc / "self/ns/user").unlink()
    ((what, remedy),) = missing_requirements(users_proc)
    assert what == "user namespaces"
    assert "CONFIG_USER_NS" in remedy


def test_a_container_in_which_mounts_hide_parts_of_proc(users_proc: Path) -> None:
    with (users_proc / "self/mountinfo").open("a") as file:
        file.write("32 22 0:29 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw\n")
        file.write("33 22 0:21 /sys /proc/sys ro - proc proc rw\n")
        file.write("34 22 0:30 / /proc/kcore rw - tmpfs tmpfs rw\n")
    ((what, remedy),) = missing_requirements(users_proc)
    assert "/proc/kcore, /proc/sys)" in what
    assert "systempaths=unconfined" in remedy


def test_root_without_its_capabilities(proc: Path) -> None:
    # What docker leaves to root in a container.
    replace(proc / "self/status", ALL_CAPABILITIES, "00000000a80425fb")
    ((what, remedy),) = missing_requirements(proc)
    assert what == "the capabilities CAP_NET_ADMIN, CAP_SYS_ADMIN"
    assert "--privileged" in remedy


@pytest.mark.parametrize("namespace", ["cgroup", "ipc", "mnt", "net", "pid", "uts"])
def test_a_kernel_without_a_namespace(proc: Path, namespace: str) -> None:
    (proc / "self/ns" / namespace).unlink()
    ((what, _),) = missing_requirements(proc)
    assert what == f"{namespace} namespaces"


def test_no_overlay(proc: Path) -> None:
    replace(proc / "filesystems", "nodev\toverlay\n", "")
    ((what, remedy),) = missing_requirements(proc)
    assert "overlay" in what
    assert "modprobe overlay" in remedy


def test_no_cgroups(proc: Path) -> None:
    replace(proc / "self/mountinfo", "cgroup2 cgroup2", "tmpfs tmpfs")
    ((what, _),) = missing_requirements(proc)
    assert "cgroup" in what


def test_everything_at_once_in_one_error(proc: Path) -> None:
    replace(proc / "sys/kernel/osrelease", "5.12.0-custom", "4.4.0")
    replace(proc / "self/status", ALL_CAPABILITIES, "0" * 16)
    replace(proc / "filesystems", "overlay", "overlayless")
    shutil.rmtree(proc / "self/ns")
    missing = missing_requirements(proc)
    message = str(EngineUnavailableError(missing))
    assert len(missing) == 9
    assert all(f"- {what}: {remedy}" in message for what, remedy in missing)
