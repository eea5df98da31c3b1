"""One file of a container, as a value to assert."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeAlias

from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.runtime.spec import IdMap
from pytest_pycontainer.runtime.users import group_names, user_names

FileKind: TypeAlias = Literal["file", "directory", "fifo", "socket", "character device", "block device"]

_KINDS: dict[int, FileKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class FileMode(int):
    """Permissions, a number that is shown as ``0o644``."""

    def __repr__(self) -> str:
        return f"{int(self):#05o}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, repr=False)
class FileStatus:
    """What there was at a path of a container, links followed; or nothing, with all else None.

    ``mode`` is the permissions, ``0o4755`` with set-uid; ``owner`` and ``group`` are names as in the container, or
    numbers as text where it has none; ``size`` is in bytes. ``link_target`` is what the link says, if the path is one.
    """

    path: str
    exists: bool
    kind: FileKind | None = None
    mode: FileMode | None = None
    owner: str | None = None
    group: str | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    modified: datetime | None = None
    link_target: str | None = None
    read: Callable[[], bytes] = field(default=bytes, compare=False)

    def __bool__(self) -> bool:
        """Whether it is there."""
        return self.exists

    def __repr__(self) -> str:
        values = ((one.name, getattr(self, one.name)) for one in fields(self) if one.name != "read")
        return f"FileStatus({', '.join(f'{name}={value!r}' for name, value in values if value is not None)})"

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == "file"

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == "directory"

    @property
    def is_link(self) -> bool:
        """Whether the path is a symbolic link, wherever that leads."""
        return self.link_target is not None

    @property
    def bytes(self) -> bytes:
        """Its content, as it is now. Raises ContainerFileError."""
        return self.read()

    @property
    def text(self) -> str:
        """Its content, as it is now, as UTF-8. Raises ContainerFileError."""
        return self.read().decode(errors="replace")


class FoundFile(NamedTuple):
    """What a path leads to (``status`` is None for nothing), user and group as the container calls them, its names."""

    status: os.stat_result | None
    link_target: str | None
    uid: int
    gid: int
    owners: dict[int, str]
    groups: dict[int, str]


def find_file(path: str, ids: IdMap | None, root: int) -> FoundFile:
    """What ``path`` is in the root open as ``root``, whose files' users are those of ``ids``. Raises OSError."""
    target = _link_target(path, root)
    try:
        found = open_in_root(root, path, os.O_PATH)
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        return FoundFile(None, target, 0, 0, {}, {})
    try:
        status = os.fstat(found)
    finally:
        os.close(found)
    owner = status.st_uid, status.st_gid
    uid, gid = owner if ids is None else ids.of_container(*owner)
    return FoundFile(
        status, target, uid, gid, _names(root, "etc/passwd", user_names), _names(root, "etc/group", group_names)
    )


def file_status(path: str, found: FoundFile, read: Callable[[], bytes]) -> FileStatus:
    """The value; ``read`` gives the content."""
    if (status := found.status) is None:
        return FileStatus(path, False, link_target=found.link_target, read=read)
    return FileStatus(
        path,
        True,
        _KINDS.get(stat.S_IFMT(status.st_mode)),
        FileMode(stat.S_IMODE(status.st_mode)),
        found.owners.get(found.uid, str(found.uid)),
        found.groups.get(found.gid, str(found.gid)),
        found.uid,
        found.gid,
        status.st_size,
        datetime.fromtimestamp(status.st_mtime, UTC),
        found.link_target,
        read,
    )


def _link_target(path: str, root: int) -> str | None:
    if not path.rstrip("/"):
        return None
    try:
        link = open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        return None
    try:
        return os.readlink("", dir_fd=link) if stat.S_ISLNK(os.fstat(link).st_mode) else None
    finally:
        os.close(link)


def _names(root: int, path: str, read: Callable[[str], dict[int, str]]) -> dict[int, str]:
    """None of a file that is not there, or can't be read."""
    try:
        file = open_in_root(root, path, os.O_PATH)
    except OSError:
        return {}
    try:
        return read(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
