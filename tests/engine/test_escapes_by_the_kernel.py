"""What got out of containers by way of the kernel itself: its files, its calls, its devices, its cgroups."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine

# A call by its name, whose numbers are those of x86_64 and aarch64.
CALLS = """
import ctypes, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "open_by_handle_at": (304, 265), "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "keyctl": (250, 219), "syslog": (103, 116), "kexec_load": (246, 104), "init_module": (175, 105),
    "swapon": (167, 224), "reboot": (169, 142), "unshare": (272, 97), "io_uring_setup": (425, 425),
    "settimeofday": (164, 170), "mount": (165, 40), "fsopen": (430, 430), "pivot_root": (155, 41),
    "add_key": (248, 217), "quotactl": (179, 60), "acct": (163, 89),
}
def call(name, *arguments):
    number = NUMBERS[name][platform.machine() == "aarch64"]
    words = [ctypes.c_ulong(word % 2**64) if isinstance(word, int) else word for word in arguments]
    return ctypes.get_errno() if libc.syscall(ctypes.c_ulong(number), *words) == -1 else 0
"""


@pytest.fixture
def sleeper(engine: Engine) -> Iterator[Container]:
    with engine.run("host", ["sleep", "1000"]) as container:
        yield container


def answers(container: Container, program: str) -> str:
    result = container.exec(["python3", "-c", CALLS + program])
    assert result.exit_code == 0, result.stderr
    return result.stdout


WRITTEN_BY_NOBODY = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sysrq-trigger",
    "/proc/sys/vm/panic_on_oom", "/proc/sys/fs/binfmt_misc/register", "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/fs/cgroup/release_agent",
    "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/devices/devices.allow", "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/cgroup.procs", "/sys/power/state", "/proc/irq/default_smp_affinity", "/proc/bus/pci",
)  # fmt: skip
REASONS = ("Read-only file system", "Permission denied", "nonexistent", "No such file", "Is a directory")


def test_what_makes_the_kernel_run_or_do_something_is_not_written_to(sleeper: Container) -> None:
    """A program named in core_pattern, uevent_helper or release_agent (CVE-2022-0492) is run by the kernel, outside."""
    for path in WRITTEN_BY_NOBODY:
        result = sleeper.exec(["sh", "-c", f": >> {path}"])
        assert result.exit_code != 0, path
        assert any(reason in result.stderr for reason in REASONS), (path, result.stderr)


@pytest.mark.parametrize("prepare", ["", "unshare --user --map-root-user --mount --cgroup", "unshare --cgroup"])
def test_nothing_is_mounted_not_even_in_a_namespace_of_ones_own(sleeper: Container, prepare: str) -> None:
    """CVE-2022-0492, CVE-2022-0185: a user namespace made one able to mount, and to reach old code of the kernel."""
    for kind in ("cgroup -o memory", "cgroup2", "tmpfs", "proc", "sysfs", "overlay -o lowerdir=/:/tmp"):
        result = sleeper.exec(["sh", "-c", f"{prepare} mount -t {kind} none /mnt"])
        assert result.exit_code != 0
        assert "permission denied" in result.stderr or "not permitted" in result.stderr, (kind, result.stderr)


def test_a_release_agent_is_nobodys_even_without_a_filter(engine: Engine, tmp_path: Path) -> None:
    """CVE-2022-0492, where seccomp is switched off: a cgroup file system of one's own shows one's own cgroup alone."""
    script = (
        "unshare --user --map-root-user --mount --cgroup sh -c '"
        "mkdir /tmp/c; mount -t cgroup -o memory none /tmp/c || mount -t cgroup2 none /tmp/c; "
        f"echo {tmp_path}/run > /tmp/c/release_agent; echo 1 > /tmp/c/notify_on_release'"
    )
    with engine.run("host", ["sh", "-c", script], security_opt=["seccomp=unconfined"]) as container:
        container.wait(30)
        reasons = ("ermission denied", "not permitted", "annot create")
        assert any(reason in container.logs() for reason in reasons), container.logs()


def test_files_by_handle_are_not_opened(sleeper: Container) -> None:
    """The shocker of 2014: handles of files are numbers, and the machine's root is number 2."""
    program = """
handle = (ctypes.c_uint32 * 4)(8, 1, 2, 0)
place = os.open("/etc/hosts", os.O_RDONLY)
print(call("open_by_handle_at", place, ctypes.byref(handle), os.O_RDONLY))
"""
    assert int(answers(sleeper, program)) == errno.EPERM


OF_THE_WHOLE_MACHINE = """
for arguments in (
    ("bpf", 0, 0, 0), ("userfaultfd", 0), ("perf_event_open", 0, 0, -1, -1, 0), ("keyctl", 0, -3, 0),
    ("keyctl", 6, -4, 0, 0), ("syslog", 10, 0, 0), ("kexec_load", 0, 0, 0, 0), ("init_module", 0, 0, 0), ("acct", 0),
    ("swapon", 0, 0), ("reboot", 0xfee1dead, 672274793, 0x4321fedc, 0), ("unshare", 0x10000000),
    ("io_uring_setup", 1, 0), ("settimeofday", 0, 0), ("mount", 0, 0, 0, 0, 0), ("fsopen", 0, 0), ("pivot_root", 0, 0),
    ("add_key", 0, 0, 0, 0, 0), ("quotactl", 0, 0, 0, 0),
):
    print(*arguments, os.strerror(call(*arguments)), sep=", ")
"""


def test_calls_that_concern_the_whole_machine_are_refused(sleeper: Container) -> None:
    lines = answers(sleeper, OF_THE_WHOLE_MACHINE).splitlines()
    assert len(lines) == 19
    assert not [line for line in lines if not line.endswith(os.strerror(errno.EPERM))]


def test_the_kernels_log_is_not_read(sleeper: Container) -> None:
    assert "not permitted" in sleeper.exec("dmesg").stderr
    script = "mknod /kmsg c 1 11 && cat /kmsg; cat /dev/kmsg"
    assert "not permitted" in sleeper.exec(["sh", "-c", script]).stderr


def test_nodes_of_the_machines_devices_are_made_and_not_opened(sleeper: Container) -> None:
    """Memory, ports, terminals, input, and the disks that this machine's file systems lie on."""
    nodes = ["c 1 1", "c 1 2", "c 1 4", "c 1 11", "c 10 229", "c 4 0", "c 5 3", "c 10 1", "c 13 63", "b 8 0", "b 254 0"]
    disks = {Path(place).stat().st_dev for place in ("/", "/var", "/tmp")}
    for node in (*nodes, *(f"b {os.major(disk)} {os.minor(disk)}" for disk in disks)):
        result = sleeper.exec(["sh", "-c", f"rm -f /node; mknod /node {node} && head -c 1 /node"])
        assert "not permitted" in result.stderr, (node, result.stderr)


def test_devices_do_not_come_with_a_bind_mount(engine: Engine, tmp_path: Path) -> None:
    """The cgroup's rules hold wherever the node is from."""
    os.mknod(tmp_path / "memory", 0o20666, os.makedev(1, 1))
    with engine.run("host", ["sh", "-c", ": < /nodes/memory"], volumes={tmp_path: "/nodes"}) as container:
        container.wait(30)
        assert "not permitted" in container.logs()


def test_nothing_is_typed_into_a_terminal(sleeper: Container) -> None:
    """CVE-2016-2568 and its kin: TIOCSTI into a terminal that is shared with who has run the container."""
    program = """
import fcntl, termios
try:
    terminal = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
    print("typed")
except OSError as error:
    print(error.errno)
"""
    assert int(answers(sleeper, program)) == errno.ENXIO


def test_what_masks_is_not_unmasked(engine: Engine) -> None:
    """Masks and read-only mounts are neither undone nor moved away, with or without the filter."""
    script = "umount /proc/sys; umount /proc/keys; mount -o remount,rw /sys; mount -o remount,rw,bind /proc/sys"
    for options in ({}, {"security_opt": ["seccomp=unconfined"]}):
        with engine.run("host", ["sh", "-c", f"{script}; : >> /proc/sys/kernel/core_pattern"], **options) as container:  # type: ignore[arg-type]
            assert container.wait(30) != 0
            assert "ead-only file system" in container.logs()
