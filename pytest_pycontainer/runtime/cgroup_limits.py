"""A container's limits, and what to write into which file of its cgroup for them, in version 1 and version 2.

What versions count differently is converted as the OCI runtimes do it (``man 7 cgroups``; the kernel's
admin-guide/cgroup-v1 and cgroup-v2).
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from pytest_pycontainer.errors import UnsupportedLimitError
from pytest_pycontainer.runtime.cgroup_files import write_file
from pytest_pycontainer.runtime.cgroup_hierarchies import SUBTREE_CONTROL, Cgroups, Hierarchy

UNLIMITED: Final = -1
"""How docker writes that there is no limit."""

_Files: TypeAlias = tuple[tuple[str, object], ...]
_SHARES = (2, 262144)
_WEIGHT = (1, 10000)


@dataclass(frozen=True, slots=True)
class DeviceLimit:
    """A limit on one block device, ``MAJOR:MINOR``: ``kind`` is docker's name for it (``device_read_bps``)."""

    kind: str
    device: str
    value: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use, with docker's names and units; None and empty are no limit.

    Sizes are in bytes, periods and quotas in microseconds. ``memory_swap`` is memory and swap together; without it,
    twice ``memory``.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    blkio_weight: int | None = None
    device_limits: tuple[DeviceLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What to write to a cgroup's file for a ``limit``.

    Where the machine has no such file ``otherwise`` is written; an ``optional`` one is left out then.
    """

    limit: str
    path: str
    value: str
    optional: bool = False
    otherwise: Setting | None = None


@dataclass(frozen=True, slots=True)
class _Write:
    """A limit's ``value`` as files of its controller, in version 1 and in version 2.

    Of several files, the first that there is; of none, that version can't do it. The controller's name may be another
    in version 2.
    """

    limit: str
    value: object
    controller: str
    version_1: _Files
    version_2: _Files
    optional: bool = False
    controller_2: str = ""


def settings_of(cgroups: Cgroups, container_id: str, limits: Limits) -> tuple[Setting, ...]:
    """What to write for these limits. Raises UnsupportedLimitError for one that no controller here can set."""
    if limits == Limits():
        return ()
    found: dict[tuple[str, str], Setting] = {}
    for write in _writes(limits):
        controller, hierarchy = _find(cgroups, write)
        files = write.version_2 if hierarchy.unified else write.version_1
        if not files:
            raise UnsupportedLimitError(write.limit, str(write.value), controller, cgroups.controllers)
        settings = [_setting(write, hierarchy.directory(container_id), files)]
        if hierarchy.unified and controller not in hierarchy.handed_on:
            asking = os.path.join(hierarchy.parent, SUBTREE_CONTROL)
            settings.insert(0, Setting(write.limit, asking, f"+{controller}"))
        for setting in settings:
            found.setdefault((setting.path, setting.value), setting)
    return tuple(found.values())


def _find(cgroups: Cgroups, write: _Write) -> tuple[str, Hierarchy]:
    for hierarchy in cgroups.hierarchies:
        controller = write.controller_2 or write.controller if hierarchy.unified else write.controller
        if controller in hierarchy.controllers:
            return controller, hierarchy
    has_version_1 = any(not hierarchy.unified for hierarchy in cgroups.hierarchies)
    missing = write.controller if has_version_1 else write.controller_2 or write.controller
    raise UnsupportedLimitError(write.limit, str(write.value), missing, cgroups.controllers)


def _setting(write: _Write, directory: str, files: _Files) -> Setting:
    *earlier, last = (
        Setting(write.limit, os.path.join(directory, file), str(value), write.optional) for file, value in files
    )
    for setting in reversed(earlier):
        last = replace(setting, otherwise=last)
    return last


def _writes(limits: Limits) -> Iterator[_Write]:
    yield from _memory(limits)
    yield from _cpu(limits)
    for name in ("cpuset_cpus", "cpuset_mems"):
        if text := getattr(limits, name):
            file = (name.replace("_", "."), text)
            yield _Write(name, text, "cpuset", (file,), (file,))
    if limits.pids_limit is not None:
        file = ("pids.max", _or_max(limits.pids_limit))
        yield _Write("pids_limit", limits.pids_limit, "pids", (file,), (file,))
    yield from _block_devices(limits)


def _memory(limits: Limits) -> Iterator[_Write]:
    memory, both = limits.memory, limits.memory_swap
    if memory is not None:
        yield _Write("memory", memory, "memory", (("memory.limit_in_bytes", memory),), (("memory.max", memory),))
    if memory is not None or both is not None:
        # As Docker: with a memory limit alone, as much swap again, where swap is counted at all.
        wanted = (memory or 0) * 2 if both is None else both
        swap = UNLIMITED if wanted == UNLIMITED else wanted - (memory or 0)
        version_1 = (("memory.memsw.limit_in_bytes", wanted),)
        version_2 = (("memory.swap.max", _or_max(swap)),)
        yield _Write("memory_swap", wanted, "memory", version_1, version_2, both in (None, UNLIMITED))
    if (reservation := limits.memory_reservation) is not None:
        files = (("memory.soft_limit_in_bytes", reservation),), (("memory.low", reservation),)
        yield _Write("memory_reservation", reservation, "memory", *files)
    if (swappiness := limits.memory_swappiness) is not None:
        yield _Write("memory_swappiness", swappiness, "memory", (("memory.swappiness", swappiness),), ())
    if limits.oom_kill_disable:
        yield _Write("oom_kill_disable", "True", "memory", (("memory.oom_control", 1),), ())


def _cpu(limits: Limits) -> Iterator[_Write]:
    period, quota = limits.cpu_period, limits.cpu_quota
    both = (("cpu.max", f"{_or_max(UNLIMITED if quota is None else quota)} {period or ''}".rstrip()),)
    if period is not None:
        yield _Write("cpu_period", period, "cpu", (("cpu.cfs_period_us", period),), both)
    if quota is not None:
        yield _Write("cpu_quota", quota, "cpu", (("cpu.cfs_quota_us", quota),), both)
    if (shares := limits.cpu_shares) is not None:
        weight = weight_of_shares(shares)
        yield _Write("cpu_shares", shares, "cpu", (("cpu.shares", shares),), (("cpu.weight", weight),))


def _block_devices(limits: Limits) -> Iterator[_Write]:
    if (weight := limits.blkio_weight) is not None:
        yield _Write("blkio_weight", weight, "blkio", *_block_weight("", weight), controller_2="io")
    for limit in limits.device_limits:
        device, value = limit.device, limit.value
        if limit.kind == "blkio_weight_device":
            yield _Write(limit.kind, value, "blkio", *_block_weight(device, value), controller_2="io")
        else:
            direction, unit = limit.kind.removeprefix("device_").split("_")
            throttle = f"blkio.throttle.{direction}_{unit}_device", f"{device} {value}"
            maximum = "io.max", f"{device} {direction[0]}{unit}={value}"
            yield _Write(limit.kind, value, "blkio", (throttle,), (maximum,), controller_2="io")


def _block_weight(device: str, weight: int) -> tuple[_Files, _Files]:
    """The files of version 1, older and newer, and of version 2, newer and older; of one device or of all."""
    name, before = ("weight_device", f"{device} ") if device else ("weight", "")
    text = f"{before}{weight}"
    converted = f"{before}{weight_of_block_weight(weight)}"
    return ((f"blkio.{name}", text), (f"blkio.bfq.{name}", text)), (("io.bfq.weight", text), ("io.weight", converted))


def _or_max(count: int) -> str:
    return "max" if count == UNLIMITED else str(count)


def weight_of_shares(shares: int) -> int:
    """Version 2's cpu.weight (1 to 10000, default 100) for version 1's cpu.shares (2 to 262144, default 1024).

    A curve through both ends and both defaults, as runc and crun have it since 2025.
    """
    if shares <= _SHARES[0]:
        return _WEIGHT[0]
    if shares >= _SHARES[1]:
        return _WEIGHT[1]
    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def weight_of_block_weight(weight: int) -> int:
    """Version 2's io.weight (1 to 10000) for blkio's weight (10 to 1000)."""
    return 1 + (weight - 10) * 9999 // 990


def apply(settings: Iterable[Setting]) -> None:
    """Writes settings of a cgroup that has been made. Raises OSError, naming the file, and UnsupportedLimitError.

    What the kernel calls invalid is written again after the others: memory must never be more than memory and swap
    together, nor a quota more than its period allows, so that the order depends on what is there.
    """
    refused = []
    for setting in settings:
        try:
            _write(setting)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            refused.append(setting)
    for setting in refused:
        _write(setting)


def _write(setting: Setting) -> None:
    written = _existing(setting)
    if written is None:
        return
    try:
        write_file(written.path, written.value)
    except OSError as error:
        detail = f"{error.strerror} (writing {written.value!r} to {written.path})"
        raise OSError(error.errno, detail) from error


def _existing(setting: Setting) -> Setting | None:
    candidate: Setting | None = setting
    while candidate is not None:
        if os.path.exists(candidate.path):
            return candidate
        candidate = candidate.otherwise
    if setting.optional:
        return None
    controller = os.path.basename(setting.path).partition(".")[0]
    raise UnsupportedLimitError(setting.limit, setting.value, controller, (controller,))
