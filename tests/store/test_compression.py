"""bzip2 and xz, which archives may have; gzip and zstd are tested with layers."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import LayerInvalidError
from pytest_pycontainer.store.compression import Sniffer, is_compressed

CONTENT = random.Random(1).randbytes(300_000) + bytes(3_000_000)
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"bzip2": bz2.compress, "xz": lzma.compress}


def undone(data: bytes, piece: int = 1 << 16) -> bytes:
    sniffer = Sniffer()
    found = b"".join(
        part for start in range(0, len(data), piece) for part in sniffer.pieces(data[start : start + piece])
    )
    return found + b"".join(sniffer.finish())


@pytest.fixture(params=COMPRESSIONS)
def compress(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    return COMPRESSIONS[str(request.param)]


@pytest.mark.parametrize("piece", [1 << 30, 4096, 7])
def test_however_it_comes(compress: Callable[[bytes], bytes], piece: int) -> None:
    assert undone(compress(CONTENT), piece) == CONTENT


def test_streams_one_after_the_other(compress: Callable[[bytes], bytes]) -> None:
    assert undone(compress(b"one") + bytes(8) + compress(b"two") + bytes(4096)) == b"onetwo"


def test_something_else_after_it() -> None:
    with pytest.raises(LayerInvalidError, match="followed by something else"):
        undone(gzip.compress(b"one") + b"rubbish")


def test_nothing_in_it(compress: Callable[[bytes], bytes]) -> None:
    assert is_compressed(compress(b""))
    assert undone(compress(b"")) == b""


def test_damage(compress: Callable[[bytes], bytes]) -> None:
    data = compress(CONTENT)
    for bad in (data[:-1], data[:1000] + b"\xff" * 20 + data[1020:]):
        with pytest.raises(LayerInvalidError, match=r"damaged|too early"):
            undone(bad)


def test_pieces_are_small_whatever_they_stand_for(compress: Callable[[bytes], bytes]) -> None:
    sniffer = Sniffer()
    assert max(map(len, sniffer.pieces(compress(bytes(50_000_000))))) <= 1 << 18


def test_an_archive_whose_first_name_looks_like_bzip2() -> None:
    assert not is_compressed(b"BZh9 is my name")
    assert undone(b"BZh9 is my name") == b"BZh9 is my name"


@given(st.binary(max_size=20))
def test_whatever_is_short_is_itself_or_damaged(data: bytes) -> None:
    try:
        assert undone(data, 3) == data or is_compressed(data)
    except LayerInvalidError:
        assert is_compressed(data)
