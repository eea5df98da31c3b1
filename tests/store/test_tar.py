"""The reader of archives by itself, on headers that no well-meaning program writes."""

from __future__ import annotations

import tarfile

import pytest

from pytest_pycontainer.errors import LayerInvalidError
from pytest_pycontainer.store.entries import check_numbers
from pytest_pycontainer.store.tar import Entry, TarReader

END = bytes(1024)


class Record:
    """A tar.Receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.contents: list[bytes] = []

    def begin(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.contents.append(b"")

    def content(self, piece: memoryview) -> None:
        self.contents[-1] += bytes(piece)

    def end(self) -> None: ...


def read(archive: bytes) -> Record:
    record = Record()
    reader = TarReader(record)
    reader.feed(archive)
    reader.finish()
    return record


def header(name: str = "file", kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)


def changed(block: bytes, at: int, new: bytes, *, signed: bool = False) -> bytes:
    """The header with other bytes at one place, and the checksum that fits."""
    block = block[:at] + new + block[at + len(new) :]
    blank = block[:148] + b" " * 8 + block[156:]
    total = sum(memoryview(blank).cast("b")) if signed else sum(blank)
    return block[:148] + b"%06o\0 " % total + block[156:]


def extended(*records: bytes, kind: bytes = b"x") -> bytes:
    body = b""
    for record in records:
        length = next(n for n in range(len(record), len(record) + 9) if n == len(str(n)) + 2 + len(record))
        body += b"%d %b\n" % (length, record)
    return raw(kind, body)


def raw(kind: bytes, body: bytes) -> bytes:
    return header("pax", kind, len(body)) + body + bytes(-len(body) % 512)


def test_a_signed_checksum_of_an_old_program() -> None:
    assert read(changed(header(), 2, b"\xff", signed=True) + END).entries[0].name == b"fi\xffe"


def test_numbers_in_binary() -> None:
    block = changed(header(), 108, b"\x80" + (3_000_000).to_bytes(7, "big"))
    block = changed(block, 136, b"\xff" * 11 + b"\xfb")
    entry = read(block + END).entries[0]
    assert (entry.uid, entry.mtime) == (3_000_000, -5 * 10**9)


def test_global_records_hold_until_they_are_taken_back() -> None:
    archive = extended(b"uid=7", b"path=all", kind=b"g") + header() + extended(b"path=", b"uid=") + header() + header()
    entries = read(archive + END).entries
    assert [(entry.name, entry.uid) for entry in entries] == [(b"all", 7), (b"file", 0), (b"all", 7)]


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_has_no_content_has_none_whatever_its_size_says(kind: bytes) -> None:
    archive = header("first", kind, 700, "x") + header("second")
    assert [entry.name.rstrip(b"/") for entry in read(archive + END).entries] == [b"first", b"second"]


def test_old_ways_to_write_files_and_directories() -> None:
    archive = header("a", b"\0", 3) + b"abc".ljust(512, b"\0") + header("d/", b"\0") + header("c", b"7")
    record = read(archive + header("volume", b"V") + END)
    assert [(entry.name, entry.kind) for entry in record.entries] == [(b"a", b"0"), (b"d/", b"5"), (b"c", b"0")]
    assert record.contents[0] == b"abc"


def test_what_follows_the_end_is_not_read() -> None:
    assert [entry.name for entry in read(header() + END + b"rubbish" * 500).entries] == [b"file"]


def test_a_size_in_an_extended_header() -> None:
    assert read(extended(b"size=3") + header() + b"abc".ljust(512, b"\0") + END).contents == [b"abc"]


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"\1" + header()[1:], "the checksum of a header"),
        (header() + bytes(512) + header(), "a lone block of zeros"),
        (header("pax", b"x", (1 << 20) + 1), "its extended header has 1048577 bytes"),
        (header("long", b"L", 1 << 30), "its extended header has"),
        (changed(header(), 108, b"8_0"), "for a number"),
        (changed(header(), 108, b"-1"), "for a number"),
        (changed(header(), 124, b"\xff" * 12), "its size is -1"),
        (changed(header(), 124, b"\x80\xff" + bytes(10)), "its size is"),
        (extended(b"path=a\0b") + header(), "a NUL"),
        (extended(b"linkpath=a\0b") + header(), "a NUL"),
        (extended(b"GNU.sparse.map=", b"GNU.sparse.name=a\0b") + header(), "a NUL"),
        (extended(b"SCHILY.xattr.=x") + header(), "without a proper name"),
        (extended(b"SCHILY.xattr.a\0b=x") + header(), "without a proper name"),
        (extended(b"size=-1") + header(), "for a number"),
        (extended(b"uid=" + b"9" * 30) + header(), "for a number"),
        (extended(b"mtime=yesterday") + header(), "for a time"),
        (extended(b"mtime=" + b"9" * 1000) + header(), "for a time"),
        (raw(b"x", b"5 a=b\n"), "extended header is damaged"),
        (raw(b"x", b"99 a=b\n"), "extended header is damaged"),
        (raw(b"x", b"a=b\n"), "extended header is damaged"),
        (raw(b"x", b"0 a=b\n"), "extended header is damaged"),
        (extended(b"no value"), "extended header is damaged"),
        (extended(b"GNU.sparse.map=0,5", b"GNU.sparse.size=9") + header(), "does not fit its size"),
        (extended(b"GNU.sparse.map=0,5", b"GNU.sparse.size=4") + header(size=5), "does not fit its size"),
        (extended(b"GNU.sparse.map=5,1,0,1", b"GNU.sparse.size=9") + header(size=2), "is damaged"),
        (extended(b"GNU.sparse.map=5", b"GNU.sparse.size=9") + header(), "is damaged"),
        (extended(b"GNU.sparse.major=1") + header(size=512) + b"x" * 512, "for a number"),
        (extended(b"GNU.sparse.major=1") + header(size=512) + b"9\n".ljust(512) + bytes(512), "is damaged"),
        (changed(header(kind=b"S"), 483, b"\x80" + b"\xff" * 11), "its size is"),
        (header() + extended(b"path=next"), "in the middle of a header"),
        (header() + header()[:100], "in the middle"),
    ],
)
def test_archives_that_make_no_sense(archive: bytes, reason: str) -> None:
    with pytest.raises(LayerInvalidError, match=reason):
        read(archive)


def test_a_time_out_of_all_bounds() -> None:
    entry = read(extended(b"mtime=" + b"9" * 40) + header() + END).entries[0]
    with pytest.raises(LayerInvalidError, match="out of all bounds"):
        check_numbers(entry)
