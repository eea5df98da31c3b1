"""Files as entries of a tar archive, in one form for one content, so that equal trees are equal bytes.

Numeric ids; times in whole seconds; POSIX (ustar) headers, and PAX records only for what does not fit into them;
extended attributes as ``SCHILY.xattr.`` records; a second name of a file as a hard link to its first.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

REGULAR = b"0"
_LINK, _SYMBOLIC_LINK, _DIRECTORY, _PAX = b"1", b"2", b"5", b"x"
_SPECIAL = {stat.S_IFCHR: b"3", stat.S_IFBLK: b"4", stat.S_IFIFO: b"6"}

_BLOCK = 512
_CHUNK = 1 << 20
# Overlayfs's own notes, and a label that belongs to this machine's security policy, are no part of a layer.
_LOCAL_ATTRIBUTES = ("trusted.overlay.", "user.overlay.", "security.selinux")

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_CHECKSUM_OFFSET = 148
_MAGIC = b"ustar\x0000"
_NAME_BYTES = 100
_SMALL_NUMBER = 0o7777777
_BIG_NUMBER = 0o77777777777


class TarWriter:
    """Writes entries to ``write``, which gets pieces that are good only until it returns.

    A file that has become shorter is an error; if the files are ``in_use``, it is filled up with zeros, as tar does.
    Raises StoreError and OSError for what can't be read.
    """

    def __init__(self, write: Callable[[bytes | memoryview], object], *, in_use: bool = False) -> None:
        self._write = write
        self._in_use = in_use
        self._first_names: dict[tuple[int, int], bytes] = {}
        self._buffer = memoryview(bytearray(_CHUNK))

    def add_directory(self, name: bytes, status: os.stat_result, attributes: dict[str, bytes]) -> None:
        """An entry of a directory alone."""
        self._write(header(name + b"/", status, _DIRECTORY, attributes=attributes))

    def add_empty_file(self, name: bytes, status: os.stat_result) -> None:
        """An entry that is a mark."""
        self._write(header(name, status, REGULAR))

    def add(self, name: bytes, path: bytes, status: os.stat_result, *, follow: bool = False) -> None:
        """The entry of anything but a directory; none for a socket, which is nothing without who listens on it.

        With ``follow``, ``path`` is a magic link of /proc to the thing itself, whatever it is.
        """
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            return
        if status.st_nlink > 1:
            first = self._first_names.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                self._write(header(name, status, _LINK, link=first))
                return
        attributes = read_attributes(path, follow=follow)
        if kind == stat.S_IFREG:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
            try:
                self._write(header(name, status, REGULAR, size=status.st_size, attributes=attributes))
                self._write_content(path, descriptor, status.st_size)
            finally:
                os.close(descriptor)
        elif kind == stat.S_IFLNK:
            target = _target(path) if follow else os.readlink(path)  # noqa: PTH115  (Path knows no bytes)
            self._write(header(name, status, _SYMBOLIC_LINK, link=target, attributes=attributes))
        else:
            self._write(header(name, status, _SPECIAL[kind], attributes=attributes))

    def finish(self) -> None:
        """Ends the archive."""
        self._write(bytes(2 * _BLOCK))

    def _write_content(self, path: bytes, descriptor: int, size: int) -> None:
        left = size
        while left and (got := os.readv(descriptor, [self._buffer[: min(left, _CHUNK)]])):
            self._write(self._buffer[:got])
            left -= got
        if left and not self._in_use:
            raise StoreError("store", os.fsdecode(path), "it became shorter while it was read; nothing may write to it")
        while left:
            zeros = bytes(min(left, _CHUNK))
            self._write(zeros)
            left -= len(zeros)
        self._write(bytes(-size % _BLOCK))


def _target(magic_link: bytes) -> bytes:
    """Where the symbolic link leads that a descriptor of /proc/self/fd stands for."""
    return os.fsencode(os.readlink("", dir_fd=int(magic_link.rpartition(b"/")[2])))


def read_attributes(path: bytes, *, follow: bool = False) -> dict[str, bytes]:
    """The extended attributes of a file, sorted by name. Raises OSError."""
    found: dict[str, bytes] = {}
    try:
        for name in sorted(os.listxattr(path, follow_symlinks=follow)):
            found[name] = os.getxattr(path, name, follow_symlinks=follow)
    except OSError as problem:
        # Where there are none of any kind; or one was taken away at this moment.
        if problem.errno not in (errno.ENOTSUP, errno.ENODATA):
            raise
    return found


def header(
    name: bytes,
    status: os.stat_result,
    kind: bytes,
    *,
    size: int = 0,
    link: bytes = b"",
    attributes: dict[str, bytes] | None = None,
) -> bytes:
    """An entry's header, with the records before it that it needs."""
    mtime = status.st_mtime_ns // 1_000_000_000
    records = b""
    if attributes:
        for attribute, value in attributes.items():
            if not attribute.startswith(_LOCAL_ATTRIBUTES):
                records += _record(b"SCHILY.xattr." + os.fsencode(attribute), value)
    if len(name) > _NAME_BYTES or not name.isascii():
        records += _record(b"path", name)
    if len(link) > _NAME_BYTES or not link.isascii():
        records += _record(b"linkpath", link)
    for key, number, most in (
        (b"uid", status.st_uid, _SMALL_NUMBER),
        (b"gid", status.st_gid, _SMALL_NUMBER),
        (b"size", size, _BIG_NUMBER),
        (b"mtime", mtime, _BIG_NUMBER),
    ):
        if not 0 <= number <= most:
            records += _record(key, b"%d" % number)
    is_device = kind in (_SPECIAL[stat.S_IFCHR], _SPECIAL[stat.S_IFBLK])
    header = _block(
        name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=size,
        mtime=mtime,
        link=link,
        device=status.st_rdev if is_device else 0,
    )
    if not records:
        return header
    pax = _block(b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2], _PAX, mode=0o644, size=len(records))
    return pax + records + bytes(-len(records) % _BLOCK) + header


def _block(
    name: bytes,
    kind: bytes,
    *,
    mode: int,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: int = 0,
) -> bytes:
    # What does not fit is cut here or zero; a PAX record before the block carries it.
    block = bytearray(
        _HEADER.pack(
            name[:_NAME_BYTES],
            b"%07o" % mode,
            b"%07o" % (uid if uid <= _SMALL_NUMBER else 0),
            b"%07o" % (gid if gid <= _SMALL_NUMBER else 0),
            b"%011o" % (size if size <= _BIG_NUMBER else 0),
            b"%011o" % (mtime if 0 <= mtime <= _BIG_NUMBER else 0),
            b" " * 8,
            kind,
            link[:_NAME_BYTES],
            _MAGIC,
            b"",
            b"",
            b"%07o" % os.major(device),
            b"%07o" % os.minor(device),
            b"",
        )
    )
    block[_CHECKSUM_OFFSET : _CHECKSUM_OFFSET + 8] = b"%06o\0 " % sum(block)
    return bytes(block)


def _record(key: bytes, value: bytes) -> bytes:
    """A PAX record: its own length in bytes, that number's digits among them, then ``key=value`` (POSIX pax)."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d" % length + rest
