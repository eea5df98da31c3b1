from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import LayerInvalidError
from pytest_pycontainer.store.unpacking import is_archive, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def archive(name: str, *, pax: bool = False) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    return out.getvalue()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("data", [archive("f"), archive("n" * 300), archive("ä" * 200, pax=True)])
def test_archives_are_known_by_their_content(data: bytes, compress: Callable[[bytes], bytes]) -> None:
    file = io.BytesIO(compress(data))
    assert is_archive(file)
    assert file.tell() == 0


@given(st.binary(max_size=2000) | st.binary(max_size=20).map(lambda data: b"\x1f\x8b" + data))
def test_nothing_else_is_one(data: bytes) -> None:
    assert not is_archive(io.BytesIO(data))


def test_an_archive_without_anything_in_it_is_a_file() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w"):
        pass
    assert not is_archive(io.BytesIO(out.getvalue()))


def test_a_deletion_has_no_place(tmp_path: Path) -> None:
    with pytest.raises(LayerInvalidError, match="that of a deletion"):
        unpack(tmp_path, io.BytesIO(archive(".wh.f")))


def test_what_follows_where_the_file_stands_is_unpacked(tmp_path: Path) -> None:
    file = io.BytesIO(b"before" + archive("f"))
    file.seek(6)
    unpack(tmp_path, file)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
