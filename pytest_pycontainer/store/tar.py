"""Tar archives, read as they stream: POSIX ustar, GNU's extensions and PAX headers (POSIX pax; GNU tar, "Basic Tar
Format", "Sparse Formats").

A reader of our own, as an archive is a stranger's word: nothing here guesses, follows or holds more than a header, and
whatever is not understood is an error.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pytest_pycontainer.store.entries import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 512
REGULAR, LINK, SYMBOLIC_LINK = b"0", b"1", b"2"
CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = b"3", b"4", b"5", b"6"

_OLD_REGULAR, _CONTIGUOUS, _OLD_SPARSE = b"\0", b"7", b"S"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _VOLUME_LABEL = b"x", b"g", b"L", b"K", b"V"
_KINDS = {REGULAR, LINK, SYMBOLIC_LINK, CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO}
_REGULAR_KINDS = {REGULAR, _OLD_REGULAR, _CONTIGUOUS, _OLD_SPARSE}
_EXTENSIONS = {_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _VOLUME_LABEL}

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s64s8s8s155s12x")
_CHECKSUM = slice(148, 156)
_POSIX_MAGIC = b"ustar\0"
_ZEROS = bytes(BLOCK)
_EXTENSION_BYTES_AT_MOST = 1 << 20
_ATTRIBUTE = b"SCHILY.xattr."
_OCTAL = re.compile(rb"[0-7]+")
_NUMBER = re.compile(rb"-?[0-9]+")
_TIME = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]*))?")
_TIME_CHARACTERS_AT_MOST = 64
_SECOND = 1_000_000_000
_LARGEST = (1 << 63) - 1


@dataclass(slots=True)
class Entry:
    """One thing in an archive, its names as written.

    ``size`` is what follows in the archive; ``segments`` says for a sparse file where in it that belongs, as (offset,
    length) pairs, and ``real_size`` how long it is. ``mtime`` is in nanoseconds.
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    device: tuple[int, int]
    attributes: dict[str, bytes] = field(default_factory=dict)
    segments: list[tuple[int, int]] | None = None
    real_size: int = 0


class Receiver(Protocol):
    """Who is told what an archive holds: an entry begins, pieces of its content, it ends."""

    def begin(self, entry: Entry) -> None: ...

    def content(self, piece: memoryview) -> None:
        """A piece of the content; good only until this returns."""
        ...

    def end(self) -> None: ...


class TarReader:
    """Reads an archive that is fed to it piece by piece. Raises LayerInvalidError, naming the entry if it has one.

    ``structure`` gets all that is no entry's content: headers, before what they begin, padding, and what follows.
    """

    def __init__(self, receiver: Receiver, structure: Callable[[memoryview], object] | None = None) -> None:
        self._receiver = receiver
        self._structure = structure or _ignore
        self._partial = bytearray()
        self._wanted = BLOCK
        self._take: Callable[[bytes], None] = self._take_header
        self._content_left = 0
        self._padding_left = 0
        self._zero_blocks = 0
        self._global: dict[bytes, bytes] = {}
        self._pax: dict[bytes, bytes] = {}
        self._pax_sparse: list[int] = []
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._entry: Entry | None = None
        self._map = bytearray()
        self._map_lines = 0

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        position, end = 0, len(data)
        while position < end:
            if self._content_left:
                piece = view[position : position + self._content_left]
                position += len(piece)
                self._content_left -= len(piece)
                self._receiver.content(piece)
                if not self._content_left:
                    self._end()
            elif self._padding_left:
                piece = view[position : position + self._padding_left]
                self._padding_left -= len(piece)
                position += len(piece)
                self._structure(piece)
            elif self._zero_blocks > 1:
                self._structure(view[position:])
                return  # what follows the end is of no account
            else:
                piece = view[position : position + self._wanted - len(self._partial)]
                position += len(piece)
                self._structure(piece)
                self._partial += piece
                if len(self._partial) == self._wanted:
                    block, self._partial = bytes(self._partial), bytearray()
                    self._take(block)

    def finish(self) -> None:
        """To be called at the end of the stream: raises LayerInvalidError unless an archive can end here."""
        at_start = self._take == self._take_header and not self._partial and not self._padding_left
        if self._content_left or not at_start or self._pax or self._long_name or self._long_link:
            name = self._entry.name if self._entry else b""
            raise invalid(
                name, "the archive ends in the middle of it" if name else "it ends too early, in the middle of a header"
            )

    # What a piece of a header's size is taken as

    def _expect(self, size: int, take: Callable[[bytes], None]) -> None:
        self._wanted, self._take = size, take

    def _take_header(self, block: bytes) -> None:
        if block == _ZEROS:
            self._zero_blocks += 1
            return
        if self._zero_blocks:
            raise invalid(b"", "a lone block of zeros stands between its entries")
        (name, mode, uid, gid, size_field, mtime, checksum, kind, link, magic, _, major, minor, prefix) = (
            _HEADER.unpack(block)
        )
        _check(block, checksum)
        has_prefix = magic[:6] == _POSIX_MAGIC and prefix[0]
        name = _text(prefix) + b"/" + _text(name) if has_prefix else _text(name)
        size = _number(size_field, name)
        if not 0 <= size <= _LARGEST:
            raise invalid(name, f"its size is {size}")
        if kind in _EXTENSIONS:
            self._expect_extension(kind, name, size)
            return
        entry = Entry(
            name,
            kind,
            _number(mode, name),
            _number(uid, name),
            _number(gid, name),
            size,
            _number(mtime, name) * _SECOND,
            _text(link),
            (_number(major, name), _number(minor, name)) if kind in (CHARACTER_DEVICE, BLOCK_DEVICE) else (0, 0),
        )
        self._apply_extensions(entry)
        if kind == _OLD_SPARSE:
            self._begin_old_sparse(entry, block)
        elif self._pax_sparse or b"GNU.sparse.major" in self._pax or b"GNU.sparse.map" in self._pax:
            self._begin_pax_sparse(entry)
        else:
            self._begin(entry)

    def _expect_extension(self, kind: bytes, name: bytes, size: int) -> None:
        if size > _EXTENSION_BYTES_AT_MOST:
            raise invalid(name, f"its extended header has {size} bytes; at most {_EXTENSION_BYTES_AT_MOST} are read")

        def take(content: bytes) -> None:
            self._expect(BLOCK, self._take_header)
            self._padding_left = -size % BLOCK
            match kind:
                case b"x":
                    self._pax = self._records(content, name)
                case b"g":
                    self._global |= self._records(content, name)
                    self._pax_sparse = []
                case b"L":
                    self._long_name = _text(content)
                case b"K":
                    self._long_link = _text(content)

        if size:
            self._expect(size, take)
        else:
            take(b"")

    def _records(self, content: bytes, name: bytes) -> dict[bytes, bytes]:
        """The records of a PAX header: each its own length in bytes, a space, ``key=value`` and a line's end."""
        found: dict[bytes, bytes] = {}
        self._pax_sparse = []
        position = 0
        while position < len(content):
            space = content.find(b" ", position, position + 20)
            digits = content[position : max(space, position)]
            end = position + int(digits) if digits.isdigit() else 0
            key, equals, value = content[space + 1 : end - 1].partition(b"=")
            if end <= space + 1 or end > len(content) or content[end - 1 : end] != b"\n" or not equals or not key:
                raise invalid(name, "its extended header is damaged")
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                self._pax_sparse.append(_decimal(value, name))
            found[key] = value
            position = end
        return found

    # Entries

    def _apply_extensions(self, entry: Entry) -> None:
        if self._long_name is not None:
            entry.name = self._long_name
        if self._long_link is not None:
            entry.link = self._long_link
        records = self._global | self._pax if self._global else self._pax
        for key, value in records.items():
            if key.startswith(_ATTRIBUTE):
                attribute = key.removeprefix(_ATTRIBUTE)
                if not attribute or b"\0" in attribute:
                    raise invalid(entry.name, "it has an extended attribute without a proper name")
                entry.attributes[attribute.decode(errors="surrogateescape")] = value
            elif value:  # an empty one takes back a global one
                _apply_record(entry, key, value)

    def _begin_old_sparse(self, entry: Entry, block: bytes) -> None:
        entry.segments = []
        entry.real_size = _number(block[483:495], entry.name)
        self._add_segments(entry, block[386:482])
        if not block[482]:
            self._begin(entry)
            return

        def take(extension: bytes) -> None:
            self._add_segments(entry, extension[:504])
            if not extension[504]:
                self._expect(BLOCK, self._take_header)
                self._begin(entry)

        self._entry = entry
        self._expect(BLOCK, take)

    def _add_segments(self, entry: Entry, pairs: bytes) -> None:
        assert entry.segments is not None
        for offset, length in struct.iter_unpack("12s12s", pairs):
            if length[0]:
                entry.segments.append((_number(offset, entry.name), _number(length, entry.name)))
        if len(entry.segments) * 24 > _EXTENSION_BYTES_AT_MOST:
            raise invalid(entry.name, "its map of holes is too long")

    def _begin_pax_sparse(self, entry: Entry) -> None:
        records = self._pax
        entry.name = records.get(b"GNU.sparse.name", entry.name)
        size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size") or b"0"
        entry.real_size = _decimal(size, entry.name)
        if records.get(b"GNU.sparse.major") == b"1":
            # The map stands before the content: decimal numbers on lines, their count first, padded to a block.
            self._entry, self._map, self._map_lines = entry, bytearray(), 0
            self._expect(BLOCK, self._take_sparse_map)
            return
        listed = records.get(b"GNU.sparse.map")
        numbers = [_decimal(number, entry.name) for number in listed.split(b",")] if listed else self._pax_sparse
        entry.segments = _pairs(numbers, entry.name)
        self._begin(entry)

    def _take_sparse_map(self, block: bytes) -> None:
        entry = self._entry
        assert entry is not None
        entry.size -= BLOCK
        self._map += block
        if entry.size < 0 or len(self._map) > _EXTENSION_BYTES_AT_MOST:
            raise invalid(entry.name, "its map of holes is damaged")
        self._map_lines += block.count(b"\n")
        count = _decimal(bytes(self._map[:20]).partition(b"\n")[0], entry.name)
        if self._map_lines < 1 + 2 * count:
            return
        lines = self._map.split(b"\n")
        entry.segments = _pairs([_decimal(bytes(line), entry.name) for line in lines[1 : 1 + 2 * count]], entry.name)
        self._expect(BLOCK, self._take_header)
        self._begin(entry)

    def _begin(self, entry: Entry) -> None:
        self._pax, self._pax_sparse, self._long_name, self._long_link = {}, [], None, None
        if b"\0" in entry.name or b"\0" in entry.link:
            raise invalid(entry.name, "its name or target has a NUL in it")
        if entry.kind in _REGULAR_KINDS:
            entry.kind = DIRECTORY if entry.name.endswith(b"/") and not entry.size else REGULAR
        if entry.kind not in _KINDS:
            raise invalid(entry.name, f"its type {entry.kind!r} is unknown")
        if entry.kind != REGULAR:
            entry.size = 0  # as in Go's reader: these have no content, whatever they say
        if entry.segments is not None:
            _check_segments(entry)
        self._entry = entry
        self._receiver.begin(entry)
        self._content_left = entry.size
        self._padding_left = -entry.size % BLOCK
        if not entry.size:
            self._end()

    def _end(self) -> None:
        self._entry = None
        self._receiver.end()


def _ignore(piece: memoryview) -> None:
    """For a reader of entries alone."""


def _apply_record(entry: Entry, key: bytes, value: bytes) -> None:
    match key:
        case b"path":
            entry.name = value
        case b"linkpath":
            entry.link = value
        case b"size":
            entry.size = _decimal(value, entry.name)
        case b"uid":
            entry.uid = _decimal(value, entry.name)
        case b"gid":
            entry.gid = _decimal(value, entry.name)
        case b"mtime":
            entry.mtime = _time(value, entry.name)


def _check_segments(entry: Entry) -> None:
    position = 0
    if not 0 <= entry.real_size <= _LARGEST:
        raise invalid(entry.name, f"its size is {entry.real_size}")
    for offset, length in entry.segments or ():
        if offset < position or length < 0:
            raise invalid(entry.name, "its map of holes is damaged")
        position = offset + length
    if position > entry.real_size or sum(length for _, length in entry.segments or ()) != entry.size:
        raise invalid(entry.name, "its map of holes does not fit its size")


def _pairs(numbers: list[int], name: bytes) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise invalid(name, "its map of holes is damaged")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check(block: bytes, checksum: bytes) -> None:
    blank = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    digits = checksum.partition(b"\0")[0].strip(b" ")
    wanted = int(digits, 8) if _OCTAL.fullmatch(digits) else -1
    # Some old programs summed signed bytes up.
    if sum(blank) != wanted and sum(memoryview(blank).cast("b")) != wanted:
        raise invalid(b"", "it is damaged, or no tar archive: the checksum of a header does not fit it")


def _text(padded: bytes) -> bytes:
    return padded.partition(b"\0")[0]


def _number(digits: bytes, name: bytes) -> int:
    """A header's number: octal digits, or with the first bit set, GNU's binary form."""
    if digits[0] & 0x80:
        value = int.from_bytes(digits, "big") & ((1 << (8 * len(digits) - 1)) - 1)
        return value - (1 << (8 * len(digits) - 1)) if digits[0] & 0x40 else value
    stripped = digits.partition(b"\0")[0].strip(b" ")
    if not stripped:
        return 0
    try:
        if not stripped.isdigit():  # int() takes more than digits
            raise ValueError
        return int(stripped, 8)
    except ValueError:
        raise invalid(name, f"its header has {stripped!r} for a number") from None


def _decimal(digits: bytes, name: bytes) -> int:
    if not _NUMBER.fullmatch(digits) or not 0 <= (value := int(digits[:20])) <= _LARGEST or len(digits) > 20:
        raise invalid(name, f"its extended header has {digits!r:.40} for a number")
    return value


def _time(text: bytes, name: bytes) -> int:
    """Nanoseconds: PAX has decimal seconds, as exact as one likes."""
    match = _TIME.fullmatch(text) if len(text) <= _TIME_CHARACTERS_AT_MOST else None
    if match is None:
        raise invalid(name, f"its extended header has {text!r:.40} for a time")
    sign, seconds, fraction = match.groups()
    value = int(seconds) * _SECOND + int(((fraction or b"") + b"0" * 9)[:9])
    return -value if sign else value
