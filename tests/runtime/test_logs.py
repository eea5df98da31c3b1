"""The log's frames."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime import logs

_writes = st.lists(st.tuples(st.sampled_from([logs.STDOUT, logs.STDERR]), st.binary(min_size=1, max_size=300)))


def _append_all(path: Path, writes: list[tuple[int, bytes]]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, data in writes:
        logs.append(descriptor, stream, data)
    os.close(descriptor)


@given(_writes)
def test_what_was_written_is_read_in_order(tmp_path_factory, writes: list[tuple[int, bytes]]) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("log") / "log"
    _append_all(path, writes)
    with path.open("rb") as file:
        entries = list(logs.read(file))
    assert [(entry.stream, entry.data) for entry in entries] == writes
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)


@given(_writes, st.integers(min_value=0))
def test_a_frame_cut_short_is_read_once_it_is_whole(tmp_path_factory, writes, cut: int) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("log") / "log"
    _append_all(path, writes)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) + 1)])
    with path.open("rb") as file:
        first = list(logs.read(file))
        path.write_bytes(whole)
        rest = list(logs.read(file))
    assert [(entry.stream, entry.data) for entry in first + rest] == writes
