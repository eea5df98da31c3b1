"""Archives' compressions, undone while the bytes stream: gzip (RFC 1952), zstd (RFC 8878), bzip2, xz, none.

The first bytes tell which it is; media types are wrong often enough. gzip is undone with isal, which takes a third of
zlib's time, and with zlib on machines that isal has no wheel for. zstd comes with Python 3.14, and before with
``backports.zstd``.
"""

from __future__ import annotations

import importlib
import re
import zlib
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from pytest_pycontainer.errors import CompressionUnavailableError, LayerInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_XZ_MAGIC = b"\xfd7zXZ\0"
# With the sign of its first block, or of its end: a plain archive's first name may begin with "BZh".
_BZIP2_MAGIC = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
MAGIC_BYTES = 10
"""How many bytes of a stream tell its compression."""

_XZ_MEMORY = 70 << 20
"""Bytes that xz may want: with its strongest preset that is 65 MiB."""

_PIECE = 1 << 18
_INPUT = 1 << 16
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZSTD_REMEDY = "install backports.zstd, use Python 3.14 or newer, or have the image compressed with gzip"


class Decompressor(Protocol):
    """Takes compressed bytes as they come and gives what was in them, in pieces of limited size."""

    def pieces(self, data: bytes) -> Iterator[bytes]: ...

    def finish(self) -> Iterator[bytes]:
        """What is left at the end of the stream. Raises LayerInvalidError if it can't be the end."""
        ...


class Sniffer:
    """A decompressor that decides by the stream's first bytes.

    Raises LayerInvalidError for damaged data and CompressionUnavailableError where a library is missing.
    """

    def __init__(self) -> None:
        self._first = b""
        self._chosen: Decompressor | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._chosen is None:
            self._first += data
            if len(self._first) < MAGIC_BYTES:
                return iter(())
            data, self._first = self._first, b""
            self._chosen = _choose(data)()
        return self._chosen.pieces(data)

    def finish(self) -> Iterator[bytes]:
        if self._chosen is None:
            self._chosen = _choose(self._first)()
            return chain(self._chosen.pieces(self._first), self._chosen.finish())
        return self._chosen.finish()


def is_compressed(first: bytes) -> bool:
    """Whether a stream that begins with these bytes, MAGIC_BYTES or more, is compressed."""
    return _choose(first) is not _Plain


def _choose(first: bytes) -> Callable[[], Decompressor]:
    if first.startswith(_GZIP_MAGIC):
        return _Gzip
    if first.startswith(_ZSTD_MAGIC):
        return _zstd
    if first.startswith(_XZ_MAGIC):
        return _xz
    if _BZIP2_MAGIC.match(first):
        return _bzip2
    return _Plain


class _Plain:
    def pieces(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> Iterator[bytes]:
        return iter(())


class _Gzip:
    def __init__(self) -> None:
        self._library: Any = _first_of("isal.isal_zlib") or zlib
        self._errors = (zlib.error, getattr(self._library, "error", zlib.error))
        self._member = self._library.decompressobj(_GZIP_WINDOW)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        # The library copies what it has not used yet at every call: little by little is faster.
        for start in range(0, len(data), _INPUT):
            yield from self._inflate(data[start : start + _INPUT])

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._member.eof:
                    # Members may follow each other, with zeros after the last one.
                    data = data.lstrip(b"\0")
                    if not data:
                        return
                    if not data.startswith(_GZIP_MAGIC[:1]):
                        raise LayerInvalidError("", "its gzip data is followed by something else")
                    self._member = self._library.decompressobj(_GZIP_WINDOW)
                yield self._member.decompress(data, _PIECE)
                data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except self._errors as problem:
            raise LayerInvalidError("", f"its gzip data is damaged: {problem}") from None

    def finish(self) -> Iterator[bytes]:
        # What the library holds back once the input is used up.
        while not self._member.eof:
            try:
                piece = self._member.decompress(b"", _PIECE)
            except self._errors as problem:
                raise LayerInvalidError("", f"its gzip data is damaged: {problem}") from None
            if not piece:
                raise LayerInvalidError("", "its gzip data ends too early")
            yield piece


class _Frames:
    """zstd, bzip2 and xz, which share an interface. Frames may follow each other, with zeros between them."""

    def __init__(self, name: str, new: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        self._name = name
        self._new = new
        self._errors = errors
        self._frame = new()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._frame.eof:
                    data = data.lstrip(b"\0")
                    if not data:
                        return
                    self._frame = self._new()
                yield self._frame.decompress(data, _PIECE)
                while not self._frame.eof and not self._frame.needs_input:
                    yield self._frame.decompress(b"", _PIECE)
                data = self._frame.unused_data if self._frame.eof else b""
        except self._errors as problem:
            raise LayerInvalidError("", f"its {self._name} data is damaged: {problem}") from None

    def finish(self) -> Iterator[bytes]:
        if not self._frame.eof:
            raise LayerInvalidError("", f"its {self._name} data ends too early")
        return iter(())


def _zstd() -> Decompressor:
    library = _first_of("compression.zstd", "backports.zstd")
    if library is None:
        raise CompressionUnavailableError("zstd", _ZSTD_REMEDY)
    return _Frames("zstd", library.ZstdDecompressor, (library.ZstdError,))


def _bzip2() -> Decompressor:
    import bz2

    return _Frames("bzip2", bz2.BZ2Decompressor, (OSError,))


def _xz() -> Decompressor:
    import lzma

    return _Frames("xz", partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _XZ_MEMORY), (lzma.LZMAError,))


def _first_of(*modules: str) -> Any:
    for module in modules:
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    return None
