"""A container's cgroup, on version 1, version 2 and hybrid machines (``man 7 cgroups``).

``Cgroups`` works out directories and settings without touching anything, so that they can be recorded before they are
made: a directory is the one thing here that the kernel does not free by itself.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass

from pytest_pycontainer.errors import UnsupportedLimitError
from pytest_pycontainer.kernel.bpf import CharacterDevice, allow_only

_NAME = "pycontainer-{}"
_SUBTREE_CONTROL = "cgroup.subtree_control"
_REMOVAL_SECONDS = 1.0
# Docker's default device rules: making any node is allowed, opening only these.
_DEVICES = (
    *(CharacterDevice(1, minor) for minor in (3, 5, 7, 8, 9)),
    *(CharacterDevice(5, minor) for minor in (0, 1, 2)),
    CharacterDevice(136),
)
_VERSION_1_MEMORY = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
_VERSION_1_CONTROLLERS = ("memory", "pids", "devices")


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


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where this machine keeps its cgroups.

    ``version_1`` maps a controller to the directory that this process is in; ``version_2`` is this process's
    directory in the unified hierarchy, with the controllers it may hand on to a child, or None where version 1 has
    the controllers.
    """

    version_1: tuple[tuple[str, str], ...]
    version_2: str | None
    version_2_controllers: frozenset[str]

    @classmethod
    def discover(cls, mountinfo: str = "/proc/self/mountinfo", membership: str = "/proc/self/cgroup") -> Cgroups:
        """Reads where the hierarchies are mounted and which directory this process is in."""
        own: dict[str, str] = {}
        with open(membership) as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                own.update(dict.fromkeys(controllers.split(","), path))
        version_1: dict[str, str] = {}
        version_2: str | None = None
        own_controllers: frozenset[str] = frozenset()
        with open(mountinfo) as file:
            for line in file:
                before, after = line.split(" - ")
                root, point = before.split()[3:5]
                filesystem, _, options = after.split()[:3]
                if filesystem == "cgroup":
                    for controller in set(options.split(",")) & set(_VERSION_1_CONTROLLERS) & set(own):
                        version_1[controller] = _below(point, root, own[controller])
                elif filesystem == "cgroup2" and "" in own:
                    version_2 = _delegating(_below(point, root, own[""]), point)
        if version_1:
            version_2 = None  # hybrid: a controller is in one place, and these are in version 1
        elif version_2 is not None:
            own_controllers = _grantable(version_2)
        return cls(tuple(sorted(version_1.items())), version_2, own_controllers)

    def directories(self, container_id: str) -> tuple[str, ...]:
        """The directories of one container's cgroup, one for each hierarchy."""
        parents = [directory for _, directory in self.version_1] if self.version_2 is None else [self.version_2]
        return tuple(os.path.join(parent, _NAME.format(container_id)) for parent in parents)

    def settings(self, container_id: str, limits: Limits) -> tuple[Setting, ...]:
        """What to write for these limits. Raises UnsupportedLimitError for one that no controller here can set."""
        found = []
        unified = self.version_2 is not None
        if limits.memory is not None:
            memory = self._directory("memory", limits.memory, container_id)
            # As Docker: with a memory limit alone, as much swap again (version 1 counts both together).
            limit, swap = ("memory.max", "memory.swap.max") if unified else _VERSION_1_MEMORY
            both = limits.memory if unified else limits.memory * 2
            found.append(Setting(os.path.join(memory, limit), str(limits.memory)))
            found.append(Setting(os.path.join(memory, swap), str(both), optional=True))
        if limits.pids is not None:
            pids = self._directory("pids", limits.pids, container_id)
            found.append(Setting(os.path.join(pids, "pids.max"), str(limits.pids)))
        return tuple(found)

    def _directory(self, controller: str, value: int, container_id: str) -> str:
        if self.version_2 is not None:
            available = dict.fromkeys(self.version_2_controllers, self.version_2)
        else:
            available = dict(self.version_1)
        if controller not in available:
            raise UnsupportedLimitError(controller, value, tuple(sorted(available)))
        return os.path.join(available[controller], _NAME.format(container_id))


def _below(point: str, root: str, path: str) -> str:
    """The place of cgroup ``path`` in a hierarchy whose directory ``root`` is mounted on ``point``."""
    relative = os.path.relpath(path, root)
    return point if relative == "." or relative.startswith("..") else os.path.join(point, relative)


def _delegating(own: str, top: str) -> str:
    """The nearest directory from ``own`` up that hands controllers to its children.

    A directory with processes in it can't, unless it is the root of the hierarchy ("no internal processes").
    """
    directory = own
    while directory != top and not _words(os.path.join(directory, _SUBTREE_CONTROL)):
        directory = os.path.dirname(directory)
    return directory


def _grantable(directory: str) -> frozenset[str]:
    return _words(os.path.join(directory, _SUBTREE_CONTROL)) or _words(os.path.join(directory, "cgroup.controllers"))


def _words(path: str) -> frozenset[str]:
    try:
        with open(path) as file:
            return frozenset(file.read().split())
    except OSError:
        return frozenset()


def hierarchies(directories: tuple[str, ...]) -> tuple[str, ...]:
    """The names under which the hierarchies appear in a container: controllers, or ``cgroup2`` alone."""
    return tuple(_hierarchy(os.path.dirname(directory)) for directory in directories)


def _hierarchy(directory: str) -> str:
    while directory != "/":
        if _is_version_2(directory):
            return "cgroup2"
        name = os.path.basename(directory)
        if name in _VERSION_1_CONTROLLERS:
            return name
        directory = os.path.dirname(directory)
    return "cgroup2"


def make(directories: tuple[str, ...], *, all_devices: bool = False) -> None:
    """Makes a container's directories, with Docker's device rules unless ``all_devices`` are open. Raises OSError."""
    for directory in directories:
        os.mkdir(directory)
        if all_devices:
            continue  # all that is open to this process
        if os.path.exists(os.path.join(directory, "devices.deny")):
            _write(os.path.join(directory, "devices.deny"), "a")
            for rule in ("c *:* m", "b *:* m", *map(_version_1_rule, _DEVICES)):
                _write(os.path.join(directory, "devices.allow"), rule)
        elif _is_version_2(directory):
            allow_only(directory, _DEVICES)


def _version_1_rule(device: CharacterDevice) -> str:
    return f"c {device.major}:{'*' if device.minor is None else device.minor} rwm"


def _is_version_2(directory: str) -> bool:
    return os.path.exists(os.path.join(directory, "cgroup.controllers"))


def apply(settings: tuple[Setting, ...]) -> None:
    """Writes settings of a cgroup that has been made. Raises OSError, naming the file."""
    for setting in settings:
        try:
            if not os.path.exists(setting.path):
                if setting.optional:
                    continue
                # Version 2, and nobody has asked the parent for this controller yet.
                directory, file = os.path.split(setting.path)
                _write(os.path.join(os.path.dirname(directory), _SUBTREE_CONTROL), f"+{file.partition('.')[0]}")
            _write(setting.path, setting.value)
        except OSError as error:
            detail = f"{error.strerror} (writing {setting.value!r} to {setting.path})"
            raise OSError(error.errno, detail) from error


def join(directories: tuple[str, ...]) -> None:
    """Moves this process into the container's cgroup. Raises OSError.

    The kernel waits for a grace period (milliseconds) when no process has been moved for a while.
    """
    for directory in directories:
        _write(os.path.join(directory, "cgroup.procs"), "0")


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def ran_out_of_memory(directories: tuple[str, ...]) -> bool:
    """Whether the kernel ended a process of the container for want of memory."""
    for directory in directories:
        for name in ("memory.oom_control", "memory.events"):
            try:
                with open(os.path.join(directory, name)) as file:
                    counts = dict(line.split() for line in file)
            except FileNotFoundError:
                continue
            if int(counts.get("oom_kill", "0")) > 0:
                return True
    return False


def remove(directories: tuple[str, ...]) -> None:
    """Ends whatever still runs in these cgroup directories and removes them. Raises OSError when that fails.

    What was sent SIGKILL leaves its cgroup a moment later, and version 1 tells nobody when: this asks again, for a
    second at most.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for path in directories:
        while True:
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                _kill_members(path)
                time.sleep(0.001)
                continue
            break


def _kill_members(path: str) -> None:
    with open(os.path.join(path, "cgroup.procs")) as file:
        members = [int(line) for line in file]
    for pid in members:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
