"""What a cgroup has used until now, from its files in version 1 and version 2.

Controllers that it does not have leave gaps: None, or nothing in a collection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NANOSECONDS = 1e9  # in a second
_MICROSECONDS = 1e6
_V1_UNLIMITED = 1 << 62  # version 1 has a limit of 2**63 less a page where there is none


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """Seconds of CPU time: all of it, in programs and in the kernel, and on each CPU where that is told.

    ``throttled`` is for how many seconds its processes were held back by a quota, in ``throttled_periods`` periods.
    """

    total: float = 0.0
    user: float = 0.0
    system: float = 0.0
    per_cpu: tuple[float, ...] = ()
    throttled: float = 0.0
    throttled_periods: int = 0


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Bytes of memory: ``usage`` as docker shows it, without the part of the page ``cache`` that can be dropped first.

    ``peak`` is the most that was in use at one time, with all of the cache, None where the kernel keeps no account of
    that; ``limit`` is None without one.
    """

    usage: int = 0
    cache: int = 0
    swap: int = 0
    peak: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class PidsUsage:
    """Processes and threads: how many there are, and how many there may be at most (None: any number)."""

    current: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class BlockDeviceUsage:
    """What was read from and written to one block device (``MAJOR:MINOR``), in bytes and operations."""

    device: str
    read_bytes: int = 0
    write_bytes: int = 0
    read_operations: int = 0
    write_operations: int = 0


@dataclass(frozen=True, slots=True)
class CgroupUsage:
    """What a cgroup has used; ``memory`` and ``pids`` are None without their controller."""

    cpu: CpuUsage
    memory: MemoryUsage | None
    pids: PidsUsage | None
    block_devices: tuple[BlockDeviceUsage, ...]


def read_usage(directories: Sequence[str]) -> CgroupUsage:
    """What the processes in these directories, one for each hierarchy, have used until now. Raises OSError."""
    files = CgroupFiles(directories)
    return CgroupUsage(_cpu(files), _memory(files), _pids(files), tuple(_block_devices(files)))


class CgroupFiles:
    """The files of a cgroup, whichever hierarchy they are in."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = directories

    def text(self, *names: str) -> str | None:
        """The content of the first of these files that there is; None if there is none. Raises OSError."""
        for name in names:
            for directory in self._directories:
                try:
                    with open(os.path.join(directory, name)) as file:
                        return file.read().strip()
                except FileNotFoundError:
                    continue
        return None

    def number(self, *names: str) -> int | None:
        """A count or a limit; None for ``max`` and for numbers that stand for it, and where there is no such file."""
        text = self.text(*names)
        if text is None or text in ("max", "-1"):
            return None
        return None if int(text) >= _V1_UNLIMITED else int(text)

    def table(self, name: str) -> dict[str, int]:
        """A file of names and numbers; empty where there is none."""
        return {key: int(value) for key, value in map(str.split, (self.text(name) or "").splitlines())}

    def tables(self, name: str) -> dict[str, int]:
        """As ``table``, of all hierarchies: of two that count the same, the one that has counted something."""
        found: dict[str, int] = {}
        for directory in self._directories:
            for key, value in CgroupFiles([directory]).table(name).items():
                found[key] = max(value, found.get(key, 0))
        return found


def _cpu(files: CgroupFiles) -> CpuUsage:
    counters = files.tables("cpu.stat")
    throttled = counters.get("throttled_time", 0) / _NANOSECONDS or counters.get("throttled_usec", 0) / _MICROSECONDS
    periods = counters.get("nr_throttled", 0)
    if files.text("cpuacct.usage") is None:
        times = [counters.get(f"{name}_usec", 0) / _MICROSECONDS for name in ("usage", "user", "system")]
    else:
        times = [(files.number(f"cpuacct.usage{name}") or 0) / _NANOSECONDS for name in ("", "_user", "_sys")]
    total, user, system = times
    per_cpu = (files.text("cpuacct.usage_percpu") or "").split()
    return CpuUsage(total, user, system, tuple(int(time) / _NANOSECONDS for time in per_cpu), throttled, periods)


def _memory(files: CgroupFiles) -> MemoryUsage | None:
    usage = files.number("memory.usage_in_bytes", "memory.current")
    if usage is None:
        return None
    parts = files.table("memory.stat")
    inactive = parts.get("total_inactive_file", parts.get("inactive_file", 0))
    both = files.number("memory.memsw.usage_in_bytes")
    return MemoryUsage(
        # Both are read one after the other; docker has it so too.
        usage - inactive if inactive < usage else usage,
        parts.get("total_cache", parts.get("file", 0)),
        (files.number("memory.swap.current") or 0) if both is None else max(0, both - usage),
        files.number("memory.max_usage_in_bytes", "memory.peak"),
        files.number("memory.limit_in_bytes", "memory.max"),
    )


def _pids(files: CgroupFiles) -> PidsUsage | None:
    current = files.number("pids.current")
    return None if current is None else PidsUsage(current, files.number("pids.max"))


def _block_devices(files: CgroupFiles) -> Iterator[BlockDeviceUsage]:
    found: dict[str, dict[str, int]] = {}
    for file, unit in (("io_service_bytes", "bytes"), ("io_serviced", "operations")):
        lines = files.text(f"blkio.throttle.{file}_recursive", f"blkio.throttle.{file}") or ""
        for words in map(str.split, lines.splitlines()):
            if len(words) == 3 and words[1] in ("Read", "Write"):
                found.setdefault(words[0], {})[f"{words[1].lower()}_{unit}"] = int(words[2])
    names = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "read_operations", "wios": "write_operations"}
    for device, *words in map(str.split, (files.text("io.stat") or "").splitlines()):
        values = dict(word.split("=", 1) for word in words)
        found[device] = {name: int(values[key]) for key, name in names.items() if key in values}
    for device, counters in found.items():
        yield BlockDeviceUsage(device, **counters)
