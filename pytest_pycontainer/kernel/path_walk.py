"""Paths resolved inside a root by this process, name by name, for when the kernel can't do it in one go."""

from __future__ import annotations

import errno
import os
import stat

_LINKS_AT_MOST = 40  # the kernel's own limit (``man 7 path_resolution``)
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def walk_in_root(root: int, path: str, flags: int, *, follow: bool = True) -> int:
    """Opens ``path`` inside the directory open as ``root`` as ``openat2`` would with RESOLVE_IN_ROOT.

    ``..`` leads back to the directory that was come from, whatever that has been renamed to since, and from the root
    nowhere. The text of a link is followed inside the root, that of a magic link too. With ``follow=False`` a link on
    the way is refused with ELOOP. Returns a close-on-exec descriptor. Raises OSError.
    """
    way = [os.dup(root)]
    pending = _names(path)
    last, links = ".", 0
    try:
        while pending:
            name = pending.pop()
            if name == "..":
                if len(way) > 1:
                    os.close(way.pop())
                last = "."
                continue
            found = os.open(name, _ENTRY, dir_fd=way[-1])
            is_wanted_itself = not pending and flags & os.O_NOFOLLOW and not path.endswith(("/", "/."))
            if not stat.S_ISLNK(os.fstat(found).st_mode) or is_wanted_itself:
                way.append(found)
                last = name
                continue
            try:
                target = os.readlink("", dir_fd=found)
            finally:
                os.close(found)
            links += 1
            if not follow or links > _LINKS_AT_MOST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            while target.startswith("/") and len(way) > 1:
                os.close(way.pop())
            pending += _names(target)
        return _open_again(way, last, flags, path)
    finally:
        for descriptor in way:
            os.close(descriptor)


def _names(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _open_again(way: list[int], name: str, flags: int, path: str) -> int:
    is_directory = stat.S_ISDIR(os.fstat(way[-1]).st_mode)
    if flags & os.O_DIRECTORY and not is_directory:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if flags & os.O_PATH:
        return os.dup(way[-1])
    if is_directory:
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=way[-1])
    # A link that has taken the file's place meanwhile is not followed.
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=way[-2])
