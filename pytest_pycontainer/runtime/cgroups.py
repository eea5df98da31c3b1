"""A container's cgroup, on version 1, version 2 and hybrid machines (``man 7 cgroups``).

``Cgroups.plan`` works out the directories and settings without touching anything, so that they can be recorded
before they are made: a directory is the one thing here that the kernel does not free by itself.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass

from pytest_pycontainer.errors import UnsupportedLimitError
from pytest_pycontainer.runtime.spec import CgroupDirectory

_NAME = "pycontainer-{}"
_SUBTREE_CONTROL = "cgroup.subtree_control"
_REMOVAL_SECONDS = 1.0
# Docker's default device rules: making any node is allowed, opening only these.
_DEVICES_ALLOWED = (
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm",
    "c 5:2 rwm", "c 136:* rwm",
)  # fmt: skip
_VERSION_1_CONTROLLERS = ("memory", "pids", "devices")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use: ``memory`` in bytes, ``pids`` as a count of processes; None is no limit."""

    memory: int | None = None
    pids: int | None = None


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

    def plan(self, container_id: str, limits: Limits) -> tuple[CgroupDirectory, ...]:
        """The directories for one container. Raises UnsupportedLimitError for a limit that can't be set here."""
        if self.version_2 is not None:
            return (self._plan_version_2(container_id, limits),)
        available = dict(self.version_1)
        settings: dict[str, list[tuple[str, str]]] = {name: [] for name in available}
        if limits.memory is not None:
            memory = self._require("memory", limits.memory, available)
            settings[memory].append(("memory.limit_in_bytes", str(limits.memory)))
            if os.path.exists(os.path.join(available[memory], "memory.memsw.limit_in_bytes")):
                # As Docker: with a memory limit alone, as much swap again.
                settings[memory].append(("memory.memsw.limit_in_bytes", str(limits.memory * 2)))
        if limits.pids is not None:
            settings[self._require("pids", limits.pids, available)].append(("pids.max", str(limits.pids)))
        if "devices" in settings:
            settings["devices"] += [("devices.deny", "a"), *(("devices.allow", rule) for rule in _DEVICES_ALLOWED)]
        return tuple(
            CgroupDirectory(os.path.join(directory, _NAME.format(container_id)), tuple(settings[name]))
            for name, directory in self.version_1
        )

    def _plan_version_2(self, container_id: str, limits: Limits) -> CgroupDirectory:
        available = dict.fromkeys(self.version_2_controllers, "")
        settings: list[tuple[str, str]] = []
        if limits.memory is not None:
            self._require("memory", limits.memory, available)
            settings.append(("memory.max", str(limits.memory)))
        if limits.pids is not None:
            self._require("pids", limits.pids, available)
            settings.append(("pids.max", str(limits.pids)))
        assert self.version_2 is not None
        return CgroupDirectory(os.path.join(self.version_2, _NAME.format(container_id)), tuple(settings))

    def _require(self, controller: str, value: int, available: dict[str, str]) -> str:
        if controller not in available:
            raise UnsupportedLimitError(controller, value, tuple(sorted(available)))
        return controller


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


def hierarchies(plan: tuple[CgroupDirectory, ...]) -> tuple[str, ...]:
    """The names under which the plan's hierarchies appear in a container: controllers, or ``cgroup2`` alone."""
    return tuple(_hierarchy(os.path.dirname(directory.path)) for directory in plan)


def _hierarchy(directory: str) -> str:
    while directory != "/":
        if os.path.exists(os.path.join(directory, "cgroup.controllers")):
            return "cgroup2"
        name = os.path.basename(directory)
        if name in _VERSION_1_CONTROLLERS:
            return name
        directory = os.path.dirname(directory)
    return "cgroup2"


def make(plan: tuple[CgroupDirectory, ...]) -> None:
    """Makes the directories and writes their settings. Raises OSError."""
    for directory in plan:
        os.mkdir(directory.path)
        for name, value in directory.settings:
            path = os.path.join(directory.path, name)
            try:
                if not os.path.exists(path):
                    # Version 2, and nobody has asked the parent for this controller yet.
                    parent = os.path.dirname(directory.path)
                    _write(os.path.join(parent, _SUBTREE_CONTROL), f"+{name.partition('.')[0]}")
                _write(path, value)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror} (writing {value!r} to {path})") from error


def join(plan: tuple[CgroupDirectory, ...]) -> None:
    """Moves this process into the container's cgroup. Raises OSError."""
    for directory in plan:
        _write(os.path.join(directory.path, "cgroup.procs"), "0")


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def ran_out_of_memory(plan: tuple[CgroupDirectory, ...]) -> bool:
    """Whether the kernel ended a process of the container for want of memory."""
    for directory in plan:
        for name in ("memory.oom_control", "memory.events"):
            try:
                with open(os.path.join(directory.path, name)) as file:
                    counts = dict(line.split() for line in file)
            except FileNotFoundError:
                continue
            if int(counts.get("oom_kill", "0")) > 0:
                return True
    return False


def remove(paths: tuple[str, ...]) -> None:
    """Ends whatever still runs in these cgroup directories and removes them. Raises OSError when that fails.

    What was sent SIGKILL leaves its cgroup a moment later, and version 1 tells nobody when: this asks again, for a
    second at most.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for path in paths:
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
