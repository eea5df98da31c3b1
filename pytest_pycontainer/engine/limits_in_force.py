"""The limits of a container as the kernel has them now."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.runtime.cgroup_limits import UNLIMITED, weight_of_shares
from pytest_pycontainer.runtime.cgroup_usage import CgroupFiles

_PERIOD = 100_000
_ALL_SHARES: Final = range(2, (1 << 18) + 1)
# docker's names for the lines of /proc/PID/limits (man 5 proc_pid_limits).
_ULIMIT_LINES: Final = {
    "Max core file size": "core",
    "Max cpu time": "cpu",
    "Max data size": "data",
    "Max file size": "fsize",
    "Max file locks": "locks",
    "Max locked memory": "memlock",
    "Max msgqueue size": "msgqueue",
    "Max nice priority": "nice",
    "Max open files": "nofile",
    "Max processes": "nproc",
    "Max resident set": "rss",
    "Max realtime priority": "rtprio",
    "Max realtime timeout": "rttime",
    "Max pending signals": "sigpending",
    "Max stack size": "stack",
}


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What a container may use, with docker's names; None is no limit, or none that this machine's cgroups could set.

    Sizes are in bytes; ``memory_swap`` is memory and swap together. ``cpus`` is how many its processes may keep busy.
    ``cpu_shares`` are those of version 1; of a version 2 weight, the roundest number that has it. ``ulimits`` (soft and
    hard, -1 for no limit), ``oom_score_adj`` and ``shm_size`` are its first process's, and unknown unless it runs.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    cpus: float | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    blkio_weight: int | None = None
    ulimits: tuple[tuple[str, tuple[int, int]], ...] = ()
    oom_score_adj: int | None = None
    shm_size: int | None = None

    def ulimit(self, name: str) -> tuple[int, int]:
        """The soft and the hard limit of docker's ``name`` (``nofile``), -1 for none. Raises KeyError."""
        return dict(self.ulimits)[name]


def read_limits(directories: Sequence[str], pid: int) -> ContainerLimits:
    """The limits of the cgroup in these directories, and of the process ``pid`` unless that is 0. Raises OSError."""
    files = CgroupFiles(directories)
    memory = files.number("memory.limit_in_bytes", "memory.max")
    period, quota = _cpu_time(files)
    both = files.number("memory.memsw.limit_in_bytes")
    if both is None and memory is not None and (swap := files.number("memory.swap.max")) is not None:
        both = memory + swap
    process = Path("/proc", str(pid))
    return ContainerLimits(
        memory=memory,
        memory_swap=both,
        memory_reservation=files.number("memory.soft_limit_in_bytes", "memory.low") or None,
        memory_swappiness=files.number("memory.swappiness"),
        oom_kill_disable=files.table("memory.oom_control").get("oom_kill_disable") == 1,
        cpus=None if quota is None else quota / (period or _PERIOD),
        cpu_period=period,
        cpu_quota=quota,
        cpu_shares=_shares(files),
        cpuset_cpus=files.text("cpuset.effective_cpus", "cpuset.cpus.effective"),
        cpuset_mems=files.text("cpuset.effective_mems", "cpuset.mems.effective"),
        pids_limit=files.number("pids.max"),
        blkio_weight=_block_weight(files),
        ulimits=tuple(_ulimits((process / "limits").read_text())) if pid else (),
        oom_score_adj=int((process / "oom_score_adj").read_text()) if pid else None,
        shm_size=_shm_size(process) if pid else None,
    )


def _cpu_time(files: CgroupFiles) -> tuple[int | None, int | None]:
    both = (files.text("cpu.max") or "").split()
    if both:
        return int(both[1]), None if both[0] == "max" else int(both[0])
    return files.number("cpu.cfs_period_us"), files.number("cpu.cfs_quota_us")


def _shares(files: CgroupFiles) -> int | None:
    weight = files.number("cpu.weight")
    if weight is None:
        return files.number("cpu.shares")
    # Several numbers have one weight: the roundest of them is most likely the one that was asked for.
    first, end = (bisect_left(_ALL_SHARES, bound, key=weight_of_shares) for bound in (weight, weight + 1))
    of_this_weight = _ALL_SHARES[first:end] or _ALL_SHARES[-1:]
    return max(of_this_weight, key=lambda shares: shares & -shares)


def _block_weight(files: CgroupFiles) -> int | None:
    if text := files.text("blkio.weight", "blkio.bfq.weight", "io.bfq.weight"):
        return int(text.split()[-1])
    if text := files.text("io.weight"):
        return 10 + math.ceil((int(text.split()[-1]) - 1) * 990 / 9999)
    return None


def _ulimits(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for line in text.splitlines()[1:]:
        name = _ULIMIT_LINES.get(line[:26].strip())
        if name is not None:
            soft, hard, *_ = line[26:].split()
            yield name, (_limit(soft), _limit(hard))


def _limit(text: str) -> int:
    return UNLIMITED if text == "unlimited" else int(text)


def _shm_size(process: Path) -> int | None:
    root = os.open(process / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        descriptor = open_in_root(root, "dev/shm", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None  # it need not have one
    finally:
        os.close(root)
    try:
        status = os.fstatvfs(descriptor)
    finally:
        os.close(descriptor)
    return status.f_blocks * status.f_frsize
