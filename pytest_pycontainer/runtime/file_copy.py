"""A file's content and extended attributes, copied from one descriptor to another."""

from __future__ import annotations

import errno
import os

_AT_ONCE = 1 << 18
"""Bytes up to which reading and writing costs less than asking the kernel how it would copy."""

_CHUNK = 1 << 30
_NO_SHORT_CUT = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
# What belongs to a file wherever it is; overlayfs's notes and this machine's security labels do not.
_ATTRIBUTES = ("user.", "security.capability")
_NOTES_OF_OVERLAYFS = "user.overlay."


def copy_content(source: int, target: int, size: int) -> None:
    """Copies ``size`` bytes, or what there is, from the start of one file to the start of another, empty one."""
    if not size:
        return
    if size <= _AT_ONCE:
        data = memoryview(os.read(source, size))
        while data:
            data = data[os.write(target, data) :]
        return
    left = size
    try:
        while left > 0 and (copied := os.copy_file_range(source, target, min(left, _CHUNK))):
            left -= copied
    except OSError as error:
        # From one file system to another the kernel knows no short cut.
        if error.errno not in _NO_SHORT_CUT or left != size:
            raise
        while left > 0 and (copied := os.sendfile(target, source, None, min(left, _CHUNK))):
            left -= copied


def attributes(file: int) -> list[tuple[str, bytes]]:
    """The extended attributes that are part of a file, sorted."""
    return [(name, os.getxattr(file, name)) for name in sorted(os.listxattr(file)) if _is_its_own(name)]


def copy_attributes(source: int, target: int) -> None:
    """Copies the extended attributes that are part of a file; a file system that has none keeps none."""
    for name, value in attributes(source):
        try:
            os.setxattr(target, name, value)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise


def _is_its_own(attribute: str) -> bool:
    return attribute.startswith(_ATTRIBUTES) and not attribute.startswith(_NOTES_OF_OVERLAYFS)
