"""A container's limits, and what to write into which file of its cgroup for them, in version 1 and version 2."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pytest_pycontainer.runtime.cgroup_hierarchies import SUBTREE_CONTROL, Cgroups

_VERSION_1_MEMORY = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use: ``memory`` in bytes, ``pids`` as a count of processes; None is no limit."""

    memory: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What to write to a cgroup's file; an ``optional`` one is left out where the machine has no such file."""

    path: str
    value: str
    optional: bool = False


def settings_of(cgroups: Cgroups, container_id: str, limits: Limits) -> tuple[Setting, ...]:
    """What to write for these limits. Raises UnsupportedLimitError for one that no controller here can set."""
    found = []
    if limits.memory is not None:
        memory, unified = cgroups.directory("memory", container_id, limits.memory)
        # As Docker: with a memory limit alone, as much swap again (version 1 counts both together).
        limit, swap = ("memory.max", "memory.swap.max") if unified else _VERSION_1_MEMORY
        both = limits.memory if unified else limits.memory * 2
        found.append(Setting(os.path.join(memory, limit), str(limits.memory)))
        found.append(Setting(os.path.join(memory, swap), str(both), optional=True))
    if limits.pids is not None:
        pids, _ = cgroups.directory("pids", container_id, limits.pids)
        found.append(Setting(os.path.join(pids, "pids.max"), str(limits.pids)))
    return tuple(found)


def apply(settings: tuple[Setting, ...]) -> None:
    """Writes settings of a cgroup that has been made. Raises OSError, naming the file."""
    for setting in settings:
        try:
            if not os.path.exists(setting.path):
                if setting.optional:
                    continue
                # Version 2, and nobody has asked the parent for this controller yet.
                directory, file = os.path.split(setting.path)
                _write(os.path.join(os.path.dirname(directory), SUBTREE_CONTROL), f"+{file.partition('.')[0]}")
            _write(setting.path, setting.value)
        except OSError as error:
            detail = f"{error.strerror} (writing {setting.value!r} to {setting.path})"
            raise OSError(error.errno, detail) from error


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
