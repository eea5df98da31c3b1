"""Where this machine keeps its cgroups: version 1, version 2 and hybrid ones (``man 7 cgroups``).

Nothing is touched here, so that a container's directories can be recorded before they are made: they are the one thing
of a cgroup that the kernel does not free by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SUBTREE_CONTROL: Final = "cgroup.subtree_control"
"""Where a version 2 directory is told which controllers its children get."""

_NAME = "pycontainer-{}"
# What version 1 has among a mount's options besides controllers.
_MOUNT_OPTIONS = frozenset({"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"})


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One hierarchy: ``parent`` is the directory in which containers' cgroups are made.

    ``controllers`` are those that a cgroup made there can have; a version 1 hierarchy without any has its name there
    (``name=systemd``). In version 2 (``unified``), it has those that are ``handed_on``, others once they are asked for.
    """

    parent: str
    controllers: frozenset[str]
    unified: bool = False
    handed_on: frozenset[str] = frozenset()

    def directory(self, container_id: str) -> str:
        """The directory of one container's cgroup."""
        return os.path.join(self.parent, _NAME.format(container_id))


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The hierarchies that containers are put into: as Docker does, all that are mounted here and can be written to."""

    hierarchies: tuple[Hierarchy, ...]

    @classmethod
    def discover(cls, mountinfo: str = "/proc/self/mountinfo", membership: str = "/proc/self/cgroup") -> Cgroups:
        """Reads where the hierarchies are mounted and which directory this process is in."""
        own: dict[str, str] = {}
        with open(membership) as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                own.update(dict.fromkeys(controllers.split(","), path))
        found: dict[str, Hierarchy] = {}  # by device: one that is mounted in several places is there first
        with open(mountinfo) as file:
            for line in file:
                if (hierarchy := _hierarchy(line, own)) is not None and _may_make_in(hierarchy.parent):
                    found.setdefault(line.split()[2], hierarchy)
        return cls(tuple(sorted(found.values(), key=lambda hierarchy: hierarchy.parent)))

    @classmethod
    def of(cls, directories: Iterable[str]) -> Cgroups:
        """The hierarchies that these directories of a container are in. Raises OSError."""
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split(" - ") for line in file]
        options = {before.split()[2]: after.split()[2] for before, after in mounts if after.startswith("cgroup ")}
        found = []
        for directory in directories:
            parent = os.path.dirname(directory)
            if os.path.exists(os.path.join(directory, "cgroup.controllers")):
                found.append(_handing_on(parent))
            else:
                device = os.stat(directory).st_dev
                controllers = options.get(f"{os.major(device)}:{os.minor(device)}", "").split(",")
                found.append(Hierarchy(parent, frozenset(controllers) - _MOUNT_OPTIONS))
        return cls(tuple(found))

    def directories(self, container_id: str) -> tuple[str, ...]:
        """The directories of one container's cgroup, one for each hierarchy."""
        return tuple(hierarchy.directory(container_id) for hierarchy in self.hierarchies)

    @property
    def controllers(self) -> tuple[str, ...]:
        """All that a container can have here."""
        return tuple(sorted({name for one in self.hierarchies for name in one.controllers if "=" not in name}))


def _may_make_in(directory: str) -> bool:
    """Whether this process may make a cgroup there and move itself into it.

    An ordinary user only where systemd, or whoever else, has delegated the hierarchy (``man 7 cgroups``).
    """
    return os.geteuid() == 0 or all(
        os.access(path, os.W_OK) for path in (directory, os.path.join(directory, "cgroup.procs"))
    )


def _hierarchy(mount: str, own: dict[str, str]) -> Hierarchy | None:
    before, after = mount.split(" - ")
    filesystem, _, options = after.split()[:3]
    if filesystem not in ("cgroup", "cgroup2"):
        return None
    root, point, flags = before.split()[3:6]
    if "ro" in flags.split(","):
        return None
    if filesystem == "cgroup2":
        return _unified(_below(point, root, own[""]), point) if "" in own else None
    controllers = frozenset(options.split(",")) & frozenset(own)
    return Hierarchy(_below(point, root, own[min(controllers)]), controllers) if controllers else None


def _below(point: str, root: str, path: str) -> str:
    """The place of cgroup ``path`` in a hierarchy whose directory ``root`` is mounted on ``point``."""
    relative = os.path.relpath(path, root)
    return point if relative == "." or relative.startswith("..") else os.path.join(point, relative)


def _unified(own: str, top: str) -> Hierarchy:
    """The nearest directory from ``own`` up that can hand controllers to a new child.

    One with processes in it can't, unless it is the root of the hierarchy ("no internal processes"). Where none can,
    containers' cgroups have no controllers, and go where this process is.
    """
    directory = own
    while True:
        if _may_make_in(directory) and _may_hand_on(directory) and (found := _handing_on(directory)).controllers:
            return found
        if directory == top:
            return Hierarchy(own, frozenset(), unified=True)
        directory = os.path.dirname(directory)


def _handing_on(directory: str) -> Hierarchy:
    controllers, handed_on = (_words(os.path.join(directory, name)) for name in ("cgroup.controllers", SUBTREE_CONTROL))
    return Hierarchy(directory, controllers, unified=True, handed_on=handed_on)


def _may_hand_on(directory: str) -> bool:
    is_root = not os.path.exists(os.path.join(directory, "cgroup.type"))
    return is_root or bool(_words(os.path.join(directory, SUBTREE_CONTROL)))


def _words(path: str) -> frozenset[str]:
    try:
        with open(path) as file:
            return frozenset(file.read().split())
    except OSError:
        return frozenset()
