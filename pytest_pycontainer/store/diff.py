"""An overlay's upper directory as the tar archive that the OCI image spec calls a layer, and that archive's digest.

The archive has one form for one content, so that equal layers are equal bytes: entries sorted by name, each directory
before what is in it; numeric ids; times in whole seconds; POSIX (ustar) headers, and PAX records only for what does not
fit into them. Deletions are ``.wh.`` files and opaque directories hold a ``.wh..wh..opq`` (OCI image-spec,
"Whiteouts"); extended attributes travel as ``SCHILY.xattr.`` records; a second name of a file is a hard link to its
first.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 512
_CHUNK = 1 << 20
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_OPAQUE_ATTRIBUTES = ("trusted.overlay.opaque", "user.overlay.opaque")
# Overlayfs's own notes, and a label that belongs to this machine's security policy, are no part of a layer.
_LOCAL_ATTRIBUTES = ("trusted.overlay.", "user.overlay.", "security.selinux")

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_CHECKSUM_OFFSET = 148
_MAGIC = b"ustar\x0000"
_NAME_BYTES = 100
_SMALL_NUMBER = 0o7777777
_BIG_NUMBER = 0o77777777777
_REGULAR, _LINK, _SYMBOLIC_LINK, _DIRECTORY, _PAX = b"0", b"1", b"2", b"5", b"x"
_SPECIAL = {stat.S_IFCHR: b"3", stat.S_IFBLK: b"4", stat.S_IFIFO: b"6"}


def diff_id(upper: str | os.PathLike[str]) -> str:
    """The digest of the layer that ``upper`` holds (OCI image-spec, "Layer DiffID").

    Nothing may write to ``upper`` meanwhile. Raises StoreError for a file that changes while it is read, or that a
    layer can't hold; OSError if one can't be read.
    """
    archive = hashlib.sha256()
    write_layer(upper, archive.update)
    return f"sha256:{archive.hexdigest()}"


def write_layer(upper: str | os.PathLike[str], write: Callable[[bytes | memoryview], object]) -> None:
    """Hands the layer archive of ``upper`` to ``write``, piece by piece; a piece is only good until ``write`` returns.

    Raises as ``diff_id`` does.
    """
    _LayerWriter(os.fsencode(upper), write).write_all()


class _LayerWriter:
    def __init__(self, top: bytes, write: Callable[[bytes | memoryview], object]) -> None:
        self._top = top
        self._write = write
        self._first_names: dict[tuple[int, int], bytes] = {}
        self._buffer = memoryview(bytearray(_CHUNK))

    def write_all(self) -> None:
        # A stack, not recursion: an image decides how deep its directories are.
        waiting = _children(self._top)
        while waiting:
            entry = waiting.pop()
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._write_directory(entry, status)
                waiting += _children(entry.path)
            else:
                self._write_file(entry, status)
        self._write(bytes(2 * _BLOCK))

    def _write_directory(self, entry: os.DirEntry[bytes], status: os.stat_result) -> None:
        name = self._name(entry.path)
        attributes = _attributes(entry.path)
        self._write(_header(name + b"/", status, _DIRECTORY, attributes=attributes))
        if any(attributes.get(opaque) == b"y" for opaque in _OPAQUE_ATTRIBUTES):
            self._write(_header(name + b"/" + _OPAQUE, status, _REGULAR))

    def _write_file(self, entry: os.DirEntry[bytes], status: os.stat_result) -> None:
        name = self._name(entry.path)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFCHR and status.st_rdev == 0:
            directory, slash, base = name.rpartition(b"/")
            self._write(_header(directory + slash + _WHITEOUT + base, status, _REGULAR))
            return
        if kind == stat.S_IFSOCK:
            return  # tar has no sockets: one is nothing without the process that listens on it
        if status.st_nlink > 1:
            first = self._first_names.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                self._write(_header(name, status, _LINK, link=first))
                return
        attributes = _attributes(entry.path)
        if kind == stat.S_IFREG:
            self._write(_header(name, status, _REGULAR, size=status.st_size, attributes=attributes))
            self._write_content(entry.path, status.st_size)
        elif kind == stat.S_IFLNK:
            target = os.readlink(entry.path)  # noqa: PTH115  (Path knows no bytes)
            self._write(_header(name, status, _SYMBOLIC_LINK, link=target, attributes=attributes))
        else:
            self._write(_header(name, status, _SPECIAL[kind], attributes=attributes))

    def _name(self, path: bytes) -> bytes:
        name = path[len(self._top) + 1 :]
        if _base(name).startswith(_WHITEOUT):
            raise StoreError("store", os.fsdecode(path), "in a layer, a name that begins with .wh. means a deletion")
        return name

    def _write_content(self, path: bytes, size: int) -> None:
        left = size
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while left and (got := os.readv(descriptor, [self._buffer[: min(left, _CHUNK)]])):
                self._write(self._buffer[:got])
                left -= got
        finally:
            os.close(descriptor)
        if left:
            raise StoreError("store", os.fsdecode(path), "it became shorter while it was read; nothing may write to it")
        self._write(bytes(-size % _BLOCK))


def _base(name: bytes) -> bytes:
    return name.rpartition(b"/")[2]


def _children(directory: bytes) -> list[os.DirEntry[bytes]]:
    with os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name, reverse=True)


def _attributes(path: bytes) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as problem:
        if problem.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}


def _header(
    name: bytes,
    status: os.stat_result,
    kind: bytes,
    *,
    size: int = 0,
    link: bytes = b"",
    attributes: dict[str, bytes] | None = None,
) -> bytes:
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
    pax = _block(b"PaxHeaders.0/" + _base(name.rstrip(b"/")), _PAX, mode=0o644, size=len(records))
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
