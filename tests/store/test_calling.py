"""Calls that another process carries out: the streams to and from it, and its errors."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pytest_pycontainer.errors import DigestMismatchError, LayerInvalidError
from pytest_pycontainer.image.manifest import OCI_LAYER
from pytest_pycontainer.runtime.calls import Call, carry_out, encode_call
from pytest_pycontainer.store.calling import Caller, directly, read_through, write_through
from pytest_pycontainer.store.delegated_layers import DelegatedLayerWriter

LARGE = bytes(range(256)) * 8192  # more than a pipe holds


def pickled(function: Callable[..., Any], /, *arguments: object, descriptors: Sequence[int] = ()) -> Any:
    """As the spawner's children do it, in this process: all that travels is pickled, descriptors are copies."""
    function, arguments = pickle.loads(pickle.dumps((function, arguments)))
    return function(*arguments, *map(os.dup, descriptors))


CALLERS = pytest.mark.parametrize("call", [directly, pickled])


def write_pieces(write: Callable[[bytes], object]) -> int:
    for start in range(0, len(LARGE), 100_000):
        write(LARGE[start : start + 100_000])
    return len(LARGE)


def write_and_fail(write: Callable[[bytes], object]) -> None:
    write(b"some")
    raise ValueError("as it went")


def digest(file: BinaryIO) -> str:
    return hashlib.sha256(file.read()).hexdigest()


def read_a_little(file: BinaryIO) -> bytes:
    return file.read(3)


@CALLERS
def test_what_is_written_there_comes_here(call: Caller) -> None:
    written = bytearray()
    assert write_through(call, write_pieces, written.extend) == len(LARGE)
    assert written == LARGE


@CALLERS
def test_what_fails_there_fails_here(call: Caller) -> None:
    with pytest.raises(ValueError, match="as it went"):
        write_through(call, write_and_fail, lambda _: None)


@CALLERS
def test_what_fails_here_ends_what_writes_there(call: Caller) -> None:
    def refuse(_: object) -> None:
        raise LookupError("full")

    with pytest.raises(LookupError, match="full"):
        write_through(call, write_pieces, refuse)


@CALLERS
def test_what_is_here_is_read_there(call: Caller) -> None:
    assert read_through(call, digest, io.BytesIO(LARGE)) == hashlib.sha256(LARGE).hexdigest()
    assert read_through(call, read_a_little, io.BytesIO(LARGE)) == LARGE[:3]


@pytest.mark.parametrize("expected", [None, "right", "wrong"])
def test_a_layer_is_written_there(tmp_path: Path, expected: str | None) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("large")
        entry.size = len(LARGE)
        tar.addfile(entry, io.BytesIO(LARGE))
    archive = file.getvalue()
    diff_id = f"sha256:{hashlib.sha256(archive).hexdigest()}"
    places = (tmp_path / "layers", tmp_path / "recipes", tmp_path / "tmp")
    for place in places:
        place.mkdir()
    wanted = {None: None, "right": diff_id, "wrong": f"sha256:{'0' * 64}"}[expected]
    with DelegatedLayerWriter(pickled, *places, OCI_LAYER) as layer:
        layer.write(archive)
        if expected == "wrong":
            with pytest.raises(DigestMismatchError):
                layer.commit(wanted)
        else:
            assert layer.commit(wanted) == diff_id
            assert next(places[0].iterdir()).joinpath("large").read_bytes() == LARGE
    assert (expected == "wrong") == (not list(places[0].iterdir()))
    assert not list(places[2].iterdir())


def test_a_layer_that_is_none_says_so_while_it_is_written(tmp_path: Path) -> None:
    def write_nonsense() -> None:
        with DelegatedLayerWriter(pickled, tmp_path, tmp_path, tmp_path, OCI_LAYER) as layer:
            for _ in range(100):
                layer.write(b"no archive" * 100_000)
            layer.commit()

    with pytest.raises(LayerInvalidError):
        write_nonsense()
    assert not list(tmp_path.iterdir())


def test_who_wants_a_layer_no_more_leaves_nothing(tmp_path: Path) -> None:
    with DelegatedLayerWriter(pickled, tmp_path, tmp_path, tmp_path, OCI_LAYER) as layer:
        layer.write(b"x")
    assert not list(tmp_path.iterdir())


def test_an_error_travels_and_one_that_can_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    call = encode_call(int, ["no number"])
    assert isinstance(call, Call)
    monkeypatch.setattr("sys.path", list(call.path))
    returned = carry_out(call, ())
    assert returned.raised
    assert isinstance(pickle.loads(returned.pickled), ValueError)
    assert pickle.loads(carry_out(encode_call(int, ["7"]), ()).pickled) == 7
