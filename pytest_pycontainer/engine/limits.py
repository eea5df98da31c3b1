"""From a caller's options to a container's limits: what its cgroup, and each of its processes, may use."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_pycontainer.engine.arguments import parse_bytes, parse_flag
from pytest_pycontainer.engine.privileges import near_names, parse_names
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.runtime.cgroup_limits import UNLIMITED, DeviceLimit, Limits
from pytest_pycontainer.runtime.spec import ResourceLimit

if TYPE_CHECKING:
    from pytest_pycontainer.engine.limit_options import DeviceValues, LimitOptions, Size, Ulimits

ULIMITS: Final = {
    "core": 4,
    "cpu": 0,
    "data": 2,
    "fsize": 1,
    "locks": 10,
    "memlock": 8,
    "msgqueue": 12,
    "nice": 13,
    "nofile": 7,
    "nproc": 6,
    "rss": 5,
    "rtprio": 14,
    "rttime": 15,
    "sigpending": 11,
    "stack": 3,
}
"""docker's names of a process's limits, with the kernel's numbers (asm-generic/resource.h)."""

_SMALLEST_MEMORY = 6 << 20  # docker's
_PERIOD = 100_000  # the kernel's default, in microseconds
_PERIODS = (1_000, 1_000_000)
_SHORTEST_QUOTA = 1_000
_SWAPPINESS = (0, 100)
_OOM_SCORES = (-1000, 1000)
_WEIGHTS = (10, 1000)
_HIGHEST_NUMBER = 2**63 - 1
_HIGHEST_CPU = 1 << 16  # far above any kernel's
_MEMORY_NODES = Path("/sys/devices/system/node/has_memory")
_NUMBERS = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
_DEVICE_LIMITS = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")


def parse_limits(options: LimitOptions) -> Limits:
    """The limits of a container's cgroup. Raises InvalidSpecError for what docker would not take."""
    memory = _memory("memory", options.get("memory"))
    reservation = _memory("memory_reservation", options.get("memory_reservation"))
    if memory and reservation and reservation > memory:
        raise InvalidSpecError("memory_reservation", str(reservation), f"at most memory ({memory})")
    period, quota = _cpu_time(options)
    weight = _number("blkio_weight", options.get("blkio_weight"), 0, _WEIGHTS[1]) or None
    if weight is not None and weight < _WEIGHTS[0]:
        raise InvalidSpecError("blkio_weight", str(weight), "a number from 10 to 1000, or 0 for none")
    return Limits(
        memory=memory,
        memory_swap=_memory_swap(options.get("memory_swap"), memory),
        memory_reservation=reservation,
        memory_swappiness=_number("memory_swappiness", options.get("memory_swappiness"), *_SWAPPINESS),
        oom_kill_disable=parse_flag("oom_kill_disable", options.get("oom_kill_disable")),
        cpu_period=period,
        cpu_quota=quota,
        cpu_shares=_number("cpu_shares", options.get("cpu_shares"), 0) or None,
        cpuset_cpus=_cpuset("cpuset_cpus", options.get("cpuset_cpus"), os.sched_getaffinity(0)),
        cpuset_mems=_cpuset("cpuset_mems", options.get("cpuset_mems"), _memory_nodes()),
        pids_limit=_number("pids_limit", options.get("pids_limit"), UNLIMITED) or None,
        blkio_weight=weight,
        device_limits=tuple(_device_limits(options)),
    )


def parse_ulimits(ulimits: Ulimits | None) -> tuple[ResourceLimit, ...]:
    """Limits of each process of a container. Raises InvalidSpecError."""
    found = {}
    for name, value in _pairs("ulimits", ulimits, "=", "NAME=SOFT[:HARD]"):
        if name not in ULIMITS:
            wanted = f"one of {', '.join(ULIMITS)}{near_names(name, ULIMITS)}"
            raise InvalidSpecError("ulimits", name, wanted)
        values = value.split(":") if isinstance(value, str) else list(value) if isinstance(value, tuple) else [value]
        wanted = f"SOFT or SOFT:HARD, numbers from {UNLIMITED} (no limit)"
        numbers = [_whole(f"ulimits: {name}", number, wanted) for number in values]
        if not 1 <= len(numbers) <= 2 or not all(UNLIMITED <= number <= _HIGHEST_NUMBER for number in numbers):
            raise InvalidSpecError("ulimits", f"{name}={value}", wanted)
        soft, hard = numbers[0], numbers[-1]
        if hard != UNLIMITED and not UNLIMITED < soft <= hard:
            raise InvalidSpecError("ulimits", f"{name}={soft}:{hard}", "a soft limit that is not above the hard one")
        found[name] = ResourceLimit(name, ULIMITS[name], soft, hard)
    return tuple(found.values())


def parse_oom_score_adj(score: int | None) -> int | None:
    """How soon processes are ended when the machine has no memory left. Raises InvalidSpecError."""
    return _number("oom_score_adj", score, *_OOM_SCORES)


def parse_shm_size(size: Size | None) -> int | None:
    """The size of /dev/shm in bytes; None and 0 are docker's default. Raises InvalidSpecError."""
    return parse_bytes("shm_size", size) or None


def _memory(field: str, size: Size | None) -> int | None:
    """Bytes; 0 is no limit."""
    parsed = parse_bytes(field, size) or None
    if parsed is not None and parsed < _SMALLEST_MEMORY:
        raise InvalidSpecError(field, str(size), f"at least {_SMALLEST_MEMORY >> 20}m")
    return parsed


def _memory_swap(swap: Size | None, memory: int | None) -> int | None:
    if swap in (UNLIMITED, str(UNLIMITED)):
        return UNLIMITED
    both = parse_bytes("memory_swap", swap) or None
    if both is not None and memory is None:
        raise InvalidSpecError("memory_swap", str(swap), "memory too: it is memory and swap together")
    if both is not None and both < (memory or 0):
        raise InvalidSpecError(
            "memory_swap", str(swap), f"at least memory ({memory}), as it is memory and swap together"
        )
    return both


def _cpu_time(options: LimitOptions) -> tuple[int | None, int | None]:
    """Period and quota, in microseconds."""
    period = _number("cpu_period", options.get("cpu_period"), 0) or None
    if period is not None and not _PERIODS[0] <= period <= _PERIODS[1]:
        raise InvalidSpecError("cpu_period", str(period), "1000 to 1000000 microseconds")
    quota = _number("cpu_quota", options.get("cpu_quota"), UNLIMITED) or None
    if quota is not None and quota != UNLIMITED and quota < _SHORTEST_QUOTA:
        raise InvalidSpecError("cpu_quota", str(quota), "at least 1000 microseconds, or -1 for no limit")
    cpus = options.get("cpus")
    if not cpus or cpus == "0":
        return period, quota
    if period or quota:
        raise InvalidSpecError("cpus", str(cpus), "no cpu_period or cpu_quota beside it: it stands for both")
    available = os.cpu_count() or 1
    try:
        share = float(cpus)
    except (TypeError, ValueError):
        share = 0.0
    if isinstance(cpus, bool) or not 0.01 <= share <= available:
        raise InvalidSpecError("cpus", repr(cpus), f"a number from 0.01 to {available}, the CPUs of this machine")
    return _PERIOD, int(share * _PERIOD + 0.5)


def _memory_nodes() -> set[int]:
    try:
        return _numbers(_MEMORY_NODES.read_text().strip())
    except FileNotFoundError:  # a kernel without NUMA: all memory is one node
        return {0}


def _cpuset(field: str, numbers: str | None, available: set[int]) -> str:
    if not numbers:
        return ""
    wanted = "numbers such as 0-2,7"
    if not isinstance(numbers, str) or not _NUMBERS.fullmatch(numbers):
        raise InvalidSpecError(field, repr(numbers), wanted)
    named = _numbers(numbers)
    if not named or not named <= available:
        here = ",".join(map(str, sorted(available)))
        raise InvalidSpecError(field, numbers, f"{wanted}, of those that there are here: {here}")
    return numbers


def _numbers(text: str) -> set[int]:
    """The numbers of a list of ranges."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), min(int(last or first), _HIGHEST_CPU) + 1))
    return found


def _device_limits(options: LimitOptions) -> Iterator[DeviceLimit]:
    for path, value in _device_values("blkio_weight_device", options.get("blkio_weight_device")):
        wanted = "DEVICE:WEIGHT, a number from 10 to 1000"
        weight = _whole("blkio_weight_device", value, wanted)
        if not _WEIGHTS[0] <= weight <= _WEIGHTS[1]:
            raise InvalidSpecError("blkio_weight_device", f"{path}:{value}", wanted)
        yield DeviceLimit("blkio_weight_device", _block_device("blkio_weight_device", path), weight)
    for field in _DEVICE_LIMITS:
        for path, value in _device_values(field, options.get(field)):  # type: ignore[arg-type]
            if field.endswith("bps"):
                rate = parse_bytes(field, value) or 0  # type: ignore[arg-type]
            else:
                rate = _whole(field, value, "DEVICE:OPERATIONS, a number from 1")
            if rate < 1:
                raise InvalidSpecError(field, f"{path}:{value}", "a number from 1")
            yield DeviceLimit(field, _block_device(field, path), rate)


def _device_values(field: str, values: DeviceValues | None) -> Iterator[tuple[str, object]]:
    return _pairs(field, values, ":", "DEVICE:VALUE such as /dev/sda:1mb")


def _block_device(field: str, path: str) -> str:
    """``MAJOR:MINOR`` of a block device of this machine."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidSpecError(field, path, f"a block device of this machine ({reason})") from error
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidSpecError(field, path, "a block device of this machine, and this is none")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _pairs(
    field: str, given: Ulimits | DeviceValues | None, separator: str, wanted: str
) -> Iterator[tuple[str, object]]:
    """What a mapping, or texts such as NAME=VALUE, have on both sides."""
    if isinstance(given, Mapping):
        for name, value in given.items():
            if not isinstance(name, str):
                raise InvalidSpecError(field, repr(name), wanted)
            yield name, value
        return
    for text in parse_names(field, given):
        name, found, value = text.partition(separator) if separator == "=" else text.rpartition(separator)
        if not (name and found and value):
            raise InvalidSpecError(field, text, wanted)
        yield name, value


def _whole(field: str, value: object, wanted: str) -> int:
    if isinstance(value, bool) or not _WHOLE.fullmatch(str(value) if isinstance(value, int | str) else ""):
        raise InvalidSpecError(field, repr(value), wanted)
    return int(value)  # type: ignore[call-overload, no-any-return]


def _number(field: str, value: int | None, lowest: int, highest: int = _HIGHEST_NUMBER) -> int | None:
    """A number within bounds; -1 where that is the lowest stands for no limit."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        bounds = f"from {lowest}" if highest == _HIGHEST_NUMBER else f"from {lowest} to {highest}"
        raise InvalidSpecError(field, repr(value), f"a number {bounds}")
    return value
