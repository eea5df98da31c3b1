"""The log's files and frames."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime import logs
from pytest_pycontainer.runtime.spec import LogLimits

_write = st.tuples(st.sampled_from([logs.STDOUT, logs.STDERR]), st.binary(min_size=1, max_size=300))
_writes = st.lists(_write, min_size=1)


@contextmanager
def _writer(directory: Path, limits: LogLimits = LogLimits()) -> Iterator[logs.LogWriter]:  # noqa: B008  (a value)
    writer = logs.LogWriter(str(directory), limits)
    yield writer
    os.close(writer._file)


def _write_all(directory: Path, writes: list[tuple[int, bytes]]) -> None:
    with _writer(directory) as writer:
        for stream, data in writes:
            writer.append(stream, data)


def _read_all(path: Path, offset: int = 0) -> tuple[list[logs.LogEntry], int]:
    file = os.open(path, os.O_RDONLY)
    try:
        return logs.read(file, offset)
    finally:
        os.close(file)


@given(_writes)
def test_what_was_written_is_read_in_order(tmp_path_factory, writes: list[tuple[int, bytes]]) -> None:  # type: ignore[no-untyped-def]
    directory = tmp_path_factory.mktemp("log")
    _write_all(directory, writes)
    entries, end = _read_all(directory / "log.0")
    assert [(entry.stream, entry.data) for entry in entries] == writes
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)
    assert end == (directory / "log.0").stat().st_size


@given(_writes, st.integers(min_value=0))
def test_a_frame_cut_short_is_read_once_it_is_whole(tmp_path_factory, writes, cut: int) -> None:  # type: ignore[no-untyped-def]
    directory = tmp_path_factory.mktemp("log")
    _write_all(directory, writes)
    path = directory / "log.0"
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) + 1)])
    first, end = _read_all(path)
    path.write_bytes(whole)
    rest, _ = _read_all(path, end)
    assert [(entry.stream, entry.data) for entry in first + rest] == writes


def test_the_largest_frame_is_read_at_once(tmp_path: Path) -> None:
    data = bytes(logs.DATA_AT_MOST)
    _write_all(tmp_path, [(logs.STDOUT, data)])
    (entry,), _ = _read_all(tmp_path / "log.0")
    assert entry.data == data


def test_a_full_file_makes_room_for_the_next(tmp_path: Path) -> None:
    with _writer(tmp_path, LogLimits(file_bytes=100, files=3)) as writer:
        for number in range(20):
            writer.append(logs.STDOUT, b"%03d" % number * 20)
        assert logs.file_numbers(tmp_path) == [7, 8, 9]
        assert writer.position == logs.LogPosition(9, 146)
    data = [entry.data[:3] for number in (7, 8, 9) for entry in _read_all(tmp_path / f"log.{number}")[0]]
    assert data == [b"%03d" % number for number in range(14, 20)]


def test_a_single_file_is_begun_anew(tmp_path: Path) -> None:
    with _writer(tmp_path, LogLimits(file_bytes=1, files=1)) as writer:
        for data in (b"first", b"second"):
            writer.append(logs.STDOUT, data)
    assert logs.file_numbers(tmp_path) == [1]


def test_without_a_bound_there_is_one_file(tmp_path: Path) -> None:
    with _writer(tmp_path, LogLimits(file_bytes=None)) as writer:
        for _ in range(200):
            writer.append(logs.STDOUT, bytes(logs.DATA_AT_MOST))
    assert logs.file_numbers(tmp_path) == [0]


def test_a_write_that_fails_in_its_middle_leaves_no_broken_frame(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _writer(tmp_path) as writer:
        writer.append(logs.STDOUT, b"before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (writer.position.offset + 20, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                writer.append(logs.STDOUT, b"lost" * 10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.append(logs.STDOUT, b"after")
    assert [entry.data for entry in _read_all(tmp_path / "log.0")[0]] == [b"before", b"after"]


def test_there_is_no_file_before_something_is_written(tmp_path: Path) -> None:
    writer = logs.LogWriter(str(tmp_path), LogLimits())
    assert writer.position == logs.LogPosition(0, 0)
    assert logs.file_numbers(tmp_path) == []


def test_there_is_no_log_where_there_is_no_directory(tmp_path: Path) -> None:
    assert logs.file_numbers(tmp_path / "gone") == []
