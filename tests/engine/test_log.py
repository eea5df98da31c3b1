"""Reading a log's files, against what was written to them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.engine.log import Lines, LogReader, read_log
from pytest_pycontainer.engine.log_selection import LogSelection
from pytest_pycontainer.runtime.logs import STDERR, STDOUT, LogEntry, LogPosition, LogWriter
from pytest_pycontainer.runtime.spec import LogLimits

_data = st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\n\n", b"\xff"]), min_size=1, max_size=8).map(b"".join)
_writes = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), _data), max_size=40)
_file_bytes = st.sampled_from([1, 30, 100, 1 << 20])


@contextmanager
def _written(writes: list[tuple[int, bytes]], file_bytes: int, files: int = 1000) -> Iterator[tuple[Path, LogWriter]]:
    with tempfile.TemporaryDirectory() as directory:
        writer = LogWriter(directory, LogLimits(file_bytes, files))
        try:
            for stream, data in writes:
                writer.append(stream, data)
            yield Path(directory), writer
        finally:
            if writer._file >= 0:
                os.close(writer._file)


def _last_lines(whole: bytes, count: int) -> bytes:
    return b"".join(list(_lines(whole))[-count:]) if count else b""


def _lines(whole: bytes) -> Iterator[bytes]:
    while whole:
        end = whole.find(b"\n") + 1 or len(whole)
        yield whole[:end]
        whole = whole[end:]


@given(_writes, _file_bytes)
def test_all_files_are_read_in_order(writes: list[tuple[int, bytes]], file_bytes: int) -> None:
    with _written(writes, file_bytes) as (directory, _):
        assert [(entry.stream, entry.data) for entry in read_log(directory, LogSelection())] == writes


@given(_writes, _file_bytes, st.integers(0, 12), st.sampled_from([(STDOUT,), (STDERR,), (STDOUT, STDERR)]))
def test_the_last_lines(writes: list[tuple[int, bytes]], file_bytes: int, tail: int, streams: tuple[int, ...]) -> None:
    with _written(writes, file_bytes) as (directory, _):
        entries = list(read_log(directory, LogSelection(frozenset(streams), tail=tail)))
        found = b"".join(entry.data for entry in entries)
        whole = b"".join(data for stream, data in writes if stream in streams)
        assert found == _last_lines(whole, tail)


@given(_writes, _file_bytes, st.integers(1, 30))
def test_the_last_lines_without_their_beginning(writes: list[tuple[int, bytes]], file_bytes: int, at_most: int) -> None:
    with _written(writes, file_bytes) as (directory, _):
        found = b"".join(entry.data for entry in read_log(directory, LogSelection(tail=5, tail_bytes=at_most)))
        assert found == _last_lines(b"".join(data for _, data in writes), 5)[-at_most:]


@given(_writes, _writes, _file_bytes)
def test_a_reader_goes_on_where_it_was_and_ends_where_it_shall(
    before: list[tuple[int, bytes]], after: list[tuple[int, bytes]], file_bytes: int
) -> None:
    with _written(before, file_bytes) as (directory, writer):
        position = writer.position
        with closing(LogReader(directory)) as first:
            assert _read_all(first) == before
            for stream, data in after:
                writer.append(stream, data)
            assert _read_all(first) == after
        with closing(LogReader(directory, position)) as late:
            assert _read_all(late) == after
        with closing(LogReader(directory)) as early:
            early.end = position
            assert _read_all(early) == before


def _read_all(reader: LogReader) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while entries := reader.read():
        found += [(entry.stream, entry.data) for entry in entries]
    return found


def test_who_is_late_goes_on_with_the_oldest_that_is_there() -> None:
    with _written([(STDOUT, b"0")], 1, 3) as (directory, writer):
        with closing(LogReader(directory)) as reader:
            for number in range(1, 10):
                writer.append(STDOUT, b"%d" % number)
            # The file that it has open is read to its end, though its name is gone.
            assert [data for _, data in _read_all(reader)] == [b"0", b"7", b"8", b"9"]
        with closing(LogReader(directory, LogPosition(2, 5))) as late:
            assert [data for _, data in _read_all(late)] == [b"7", b"8", b"9"]
            late.end = LogPosition(1, 5)
            writer.append(STDOUT, b"beyond")
            assert _read_all(late) == []


def test_there_is_no_log_yet(tmp_path: Path) -> None:
    assert list(read_log(tmp_path / "gone", LogSelection())) == []
    assert list(read_log(tmp_path / "gone", LogSelection(tail=3))) == []
    with closing(LogReader(tmp_path)) as reader:
        assert reader.read() == []
        writer = LogWriter(str(tmp_path), LogLimits())
        writer.append(STDOUT, b"first")
        os.close(writer._file)
        assert _read_all(reader) == [(STDOUT, b"first")]


@given(_writes)
def test_lines_of_each_stream_are_whole(writes: list[tuple[int, bytes]]) -> None:
    lines = Lines(timestamps=False)
    entries = [LogEntry(number, stream, data) for number, (stream, data) in enumerate(writes)]
    found = [*lines.of(entries), *lines.rest()]
    assert sorted(found) == sorted(
        line
        for wanted in (STDOUT, STDERR)
        for line in _lines(b"".join(data for stream, data in writes if stream == wanted))
    )


def test_a_line_has_the_time_of_its_beginning() -> None:
    second = 1_000_000_000
    entries = [
        LogEntry(5, STDOUT, b"one\ntw"),
        LogEntry(second + 7, STDERR, b"other\n"),
        LogEntry(86_400 * second, STDOUT, b"o\nend"),
    ]
    lines = Lines(timestamps=True)
    assert [*lines.of(entries), *lines.rest()] == [
        b"1970-01-01T00:00:00.000000005Z one\n",
        b"1970-01-01T00:00:01.000000007Z other\n",
        b"1970-01-01T00:00:00.000000005Z two\n",
        b"1970-01-02T00:00:00.000000000Z end",
    ]


def test_a_line_without_end_does_not_pile_up() -> None:
    lines = Lines(timestamps=False)
    pieces = [LogEntry(0, STDOUT, bytes(256 << 10)) for _ in range(40)]
    found = [*lines.of(pieces), *lines.rest()]
    assert len(found) > 5
    assert sum(map(len, found)) == 10 << 20


@pytest.mark.parametrize("until", [14, 15])
def test_times_are_included(until: int) -> None:
    selection = LogSelection(since=10, until=until)
    taken = [moment for moment in range(20) if selection.has(moment, STDOUT)]
    assert taken == list(range(10, until + 1))
