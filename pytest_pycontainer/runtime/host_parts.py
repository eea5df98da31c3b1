"""The host image where "/" can't be a layer: in a user namespace, in which the kernel shows nothing that a mount hides.

So it takes no directory as a layer in which something is mounted, as in "/" always; but those below are taken, each for
a small overlay of its own, a *part*. They lie on a *skeleton*: a layer with the directories above them, with copies of
what is small there (/etc/hosts is a mount wherever this machine is a container), and with the directories in which a
container's root, who owns none of this machine's files, is to be able to make some.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.overlay import mount_overlay

_LEVELS = 3
"""How deep the skeleton goes: /usr/local/bin is there."""

_SMALL_FILE = 256 << 10
_SMALL_TREE = 64
"""How many entries a directory may have that is copied."""
_COPIES = 32 << 20
"""How many bytes are copied at most: they are in memory."""


class HostParts:
    """The directories of this machine that are shown, by their paths relative to "/".

    ``skeleton`` is the layer on them all; ``shown`` is where they are mounted.
    """

    def __init__(self, skeleton: str, shown: str) -> None:
        self.skeleton = skeleton
        self.shown = shown
        self.paths: list[str] = []
        self._left_out: frozenset[str] = frozenset()
        self._room = _COPIES
        self._stacked: dict[str, str] = {}  # parts with something of ours inside, and where they are an overlay

    def prepare(self, own: Mapping[str, int], hidden: Iterable[str]) -> None:
        """Chooses and mounts them, in a mount namespace of this process's own. Raises OSError.

        ``own`` are directories that a container has without content, and their modes; ``hidden`` are absolute paths.
        """
        for name, mode in own.items():
            os.mkdir(os.path.join(self.skeleton, name))
            os.chmod(os.path.join(self.skeleton, name), mode)
        hidden = [os.path.relpath(os.path.realpath(path), "/") for path in hidden]
        self._left_out = frozenset((*own, *hidden))
        self._choose("", _occupied())
        for path in self.paths:
            place = os.path.join(self.shown, path)
            os.makedirs(place)
            # What is mounted there later is not to be in the way; see the module's docstring.
            mount.mount(f"/{path}", place, None, mount.BIND)
            mount.set_propagation(place, mount.PRIVATE)
            self._add_directories(path, _LEVELS - path.count("/") - 1)
        for path in hidden:
            self._hide(path)
        for number, part in enumerate(sorted(self._stacked)):
            # Layers that lie inside another layer, as those of a store in /home, are refused (ELOOP).
            place = os.path.join(self.shown, f"stacked-{number}")
            os.mkdir(place)
            mount_overlay(self.layers_of(part, ()), None, None, place, trusted=False)
            self._stacked[part] = place

    def _choose(self, directory: str, occupied: frozenset[str]) -> None:
        """Makes a part, or a copy, of each thing in a directory in which something is mounted."""
        for entry in _entries(f"/{directory}"):
            path = os.path.join(directory, entry.name)
            if path in self._left_out:
                continue
            if path in occupied:
                self._make(path)
                self._choose(path, occupied)
            elif not entry.is_dir(follow_symlinks=False):
                self._copy_file(entry, path)
            elif os.path.ismount(entry.path) or (
                self._room > 0 and _count_entries(entry.path, _SMALL_TREE) <= _SMALL_TREE
            ):
                self._copy_directory(entry, path)
            else:
                self._make(path)
                self.paths.append(path)

    def _copy_directory(self, directory: os.DirEntry[str], path: str) -> None:
        self._make(path)
        for entry in () if os.path.ismount(directory.path) else _entries(directory.path):
            below = os.path.join(path, entry.name)
            if below in self._left_out:
                continue
            if entry.is_dir(follow_symlinks=False):
                self._copy_directory(entry, below)
            else:
                self._copy_file(entry, below)

    def _copy_file(self, entry: os.DirEntry[str], path: str) -> None:
        copy = os.path.join(self.skeleton, path)
        with suppress(PermissionError, FileNotFoundError):  # what we may not read; what goes in this moment
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), copy)
                return
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_size > min(_SMALL_FILE, self._room):
                return
            with open(entry.path, "rb") as original:
                content = original.read(_SMALL_FILE)
            self._room -= len(content)
            with open(copy, "wb") as file:
                file.write(content)
            os.chmod(copy, stat.S_IMODE(status.st_mode))
            os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _add_directories(self, directory: str, levels: int) -> None:
        for entry in _entries(f"/{directory}") if levels else ():
            path = os.path.join(directory, entry.name)
            if entry.is_dir(follow_symlinks=False) and path not in self._left_out:
                self._make(path)
                self._add_directories(path, levels - 1)

    def _make(self, path: str) -> None:
        copy = os.path.join(self.skeleton, path)
        with suppress(FileExistsError):
            os.mkdir(copy, 0o755)
            with suppress(OSError):  # a mount of another user's, which nobody else may look at
                os.chmod(copy, stat.S_IMODE(os.stat(f"/{path}").st_mode))

    def _hide(self, path: str) -> None:
        around = [part for part in self.paths if path.startswith(f"{part}/")]
        if not around or not os.path.lexists(f"/{path}"):
            return
        self._stacked[around[0]] = ""
        above = path.split("/")[:-1]
        for depth in range(1, len(above) + 1):
            self._make("/".join(above[:depth]))
        place = os.path.join(self.skeleton, path)
        with suppress(OSError):
            os.rmdir(place)
        # A character device 0:0 is overlayfs's sign for "not there", which anybody may make.
        os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))

    def layers_of(self, path: str, layers: Iterable[str]) -> list[str]:
        """The layers of one part, topmost first: what ``layers`` have of it, the skeleton, this machine's."""
        places = [os.path.join(layer, path) for layer in layers]
        found = [place for place in places if os.path.isdir(place) and not os.path.islink(place)]
        if stacked := self._stacked.get(path):
            return [*found, stacked]
        return [*found, os.path.join(self.skeleton, path), os.path.join(self.shown, path)]


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (PermissionError, FileNotFoundError):
        return []


def _count_entries(directory: str, most: int) -> int:
    """How many entries are in a directory and below it, counted until they are more than ``most``.

    A large file counts for too many.
    """
    count = 0
    for entry in _entries(directory):
        count += 1
        if entry.is_dir(follow_symlinks=False):
            count += _count_entries(entry.path, most - count)
        elif _size(entry) > _SMALL_FILE:
            return most + 1
        if count > most:
            break
    return count


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except (PermissionError, FileNotFoundError):  # it is not ours to look at, or goes in this moment
        return 0


def _occupied() -> frozenset[str]:
    """The directories in which something is mounted, at whatever depth, relative to "/"."""
    found = set()
    with open("/proc/self/mountinfo") as file:
        for line in file:
            above = os.path.dirname(_unescaped(line.split()[4]).strip("/"))
            while above:
                found.add(above)
                above = os.path.dirname(above)
    return frozenset(found)


def _unescaped(path: str) -> str:
    for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(escaped, character)
    return path
