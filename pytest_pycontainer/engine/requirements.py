"""What the kernel and this process must have before a container can run.

Read from /proc, and from one socket that is opened and closed; nothing is changed.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.user_requirements import missing_for_user
from pytest_pycontainer.errors import OpenFilesLimitError
from pytest_pycontainer.kernel import nftables
from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

Missing = tuple[str, str]
"""What is absent, and what to do about it."""

OLDEST_KERNEL = (5, 12)
"""The first with nftables tables that die with their owner, and with ``mount_setattr``."""

# man 7 capabilities, and the numbers of linux/capability.h.
_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}

# The file in /proc/self/ns, and the kernel's option that makes it (man 7 namespaces).
_NAMESPACES = {
    "cgroup": "CONFIG_CGROUPS",
    "ipc": "CONFIG_IPC_NS",
    "mnt": "CONFIG_NAMESPACES",
    "net": "CONFIG_NET_NS",
    "pid": "CONFIG_PID_NS",
    "uts": "CONFIG_UTS_NS",
}

# NFT_MSG_GETGEN of the subsystem NFNL_SUBSYS_NFTABLES (linux/netfilter/nf_tables.h, kernel 3.18).
_GET_GENERATION = 10 << 8 | 16
_PROBE_SECONDS = 2.0

# A start has some ten open for a moment, the preparation of the next container included; 4 stay.
_OPEN_FILES = 16


def require_open_files(doing: str) -> None:
    """Raises OpenFilesLimitError if this process may not open as many files as the making of a container takes.

    That is asked for before: with none left, what was begun could not be undone either.
    """
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest_free = os.open("/", os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise OpenFilesLimitError(doing, limit, highest) from error
    os.close(lowest_free)
    # Counting takes a while if they are many, so that is left for when most of them are in use.
    if lowest_free > limit - 2 * _OPEN_FILES and len(list(Path("/proc/self/fd").iterdir())) > limit - _OPEN_FILES:
        raise OpenFilesLimitError(doing, limit, highest)


def missing_requirements(proc: Path = Path("/proc"), platform: str = sys.platform) -> tuple[Missing, ...]:
    """Everything that this machine lacks for running containers, one ``(what, remedy)`` pair each; empty when it can.

    ``proc`` is where procfs is mounted. Where it is not, that alone is reported: nothing else can be known.
    """
    if platform != "linux":
        return (("Linux", f"this is {platform}; run the tests in a Linux machine, a virtual one will do"),)
    if not (proc / "self/status").exists():
        return ((f"a process file system on {proc}", f"mount it: mount -t proc proc {proc}"),)
    if _effective_user(proc) != 0:
        return (*_kernel(proc), *missing_for_user(proc), *_overlay(proc), *_namespaces(proc))
    privilege = tuple(_privilege(proc))
    return (
        *_kernel(proc),
        *privilege,
        *_overlay(proc),
        *_namespaces(proc),
        *_cgroups(proc),
        # Without privilege the kernel says no, whether it has nf_tables or not.
        *(() if privilege else _nftables()),
    )


def _kernel(proc: Path) -> Iterator[Missing]:
    release = (proc / "sys/kernel/osrelease").read_text().strip()
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        yield f"Linux {oldest} or newer", f"this kernel is {release}; install a newer one"


def _status(proc: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in (proc / "self/status").read_text().splitlines() if ":" in line)


def _effective_user(proc: Path) -> int:
    return int(_status(proc)["Uid"].split()[1])


def _privilege(proc: Path) -> Iterator[Missing]:
    held = int(_status(proc)["CapEff"], 16)
    absent = [name for name, number in _CAPABILITIES.items() if not held >> number & 1]
    if absent:
        yield (
            f"the capabilit{'y' if len(absent) == 1 else 'ies'} {', '.join(absent)}",
            "this process is root without them; inside a container, start that one with --privileged",
        )


def _overlay(proc: Path) -> Iterator[Missing]:
    known = {line.split()[-1] for line in (proc / "filesystems").read_text().splitlines() if line.strip()}
    if "overlay" not in known:
        yield "the overlay file system", "load it: modprobe overlay (or build the kernel with CONFIG_OVERLAY_FS)"


def _namespaces(proc: Path) -> Iterator[Missing]:
    for name, option in _NAMESPACES.items():
        if not os.path.lexists(proc / "self/ns" / name):
            yield f"{name} namespaces", f"run a kernel built with {option}"


def _cgroups(proc: Path) -> Iterator[Missing]:
    kinds = {line.partition(" - ")[2].split(" ", 1)[0] for line in (proc / "self/mountinfo").read_text().splitlines()}
    if not kinds & {"cgroup", "cgroup2"}:
        yield "a cgroup file system", "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup"


def _nftables() -> Iterator[Missing]:
    remedy = "load it: modprobe nf_tables nft_nat (or build the kernel with CONFIG_NF_TABLES and CONFIG_NFT_NAT)"
    try:
        # On a socket of its own; the kernel loads nf_tables when it is asked, if it is a module.
        probe = NetlinkSocket.open(nftables.NETFILTER, timeout=_PROBE_SECONDS)
        try:
            probe.get(Message(_GET_GENERATION, bytes(4), "ask nf_tables for its generation"))
        finally:
            probe.close()
    except OSError as error:
        yield f"nf_tables ({error.strerror or error})", remedy
