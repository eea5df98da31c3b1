"""What becomes of containers' records on a disk that takes no more."""

from __future__ import annotations

import fcntl
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_pycontainer.engine.records import ContainerRecord, ContainerRecords
from pytest_pycontainer.errors import NameInUseError, StoreError


@contextmanager
def no_file_grows() -> Iterator[None]:
    """No file of this process takes a byte more: what a full disk does, for one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_cannot_be_recorded_leaves_nothing(tmp_path: Path) -> None:
    records = ContainerRecords(tmp_path)
    records.prepare()
    with no_file_grows(), pytest.raises(StoreError, match="File too large"):
        records.reserve("an-id", ())  # the check after each test looks for descriptors
    assert list((tmp_path / "containers").iterdir()) == []
    reservation = records.reserve("an-id", ())
    try:
        with no_file_grows(), pytest.raises(StoreError, match="File too large"):
            records.add(ContainerRecord("an-id", "a-name", "an-image", ("true",), 0.0))
        assert list((tmp_path / "names").iterdir()) == []
    finally:
        records.remove(reservation)
    assert list((tmp_path / "containers").iterdir()) == []


def test_a_name_that_nobody_has_is_taken(tmp_path: Path) -> None:
    """What a killed run left in ``names`` and in ``containers`` keeps nobody from anything."""
    records = ContainerRecords(tmp_path)
    records.prepare()
    for number, left in enumerate(("its lock", "its directory", "a name without a record")):
        reservation = records.reserve(f"id-{number}", ())
        records.add(ContainerRecord(f"id-{number}", "a-name", "an-image", ("true",), 0.0))
        other = records.reserve("other", ())
        with pytest.raises(NameInUseError):
            records.add(ContainerRecord("other", "a-name", "an-image", ("true",), 0.0))
        records.remove(other)
        if left == "its lock":
            os.close(reservation.lock)
        else:
            records.remove(reservation)
        if left == "a name without a record":
            (tmp_path / "names/a-name").write_text("")
    ContainerRecords(tmp_path).prepare()
    assert list((tmp_path / "names").iterdir()) == []
    assert list((tmp_path / "containers").iterdir()) == []


def test_a_record_is_what_it_was_until_its_next_line_is_whole(tmp_path: Path) -> None:
    records = ContainerRecords(tmp_path)
    records.prepare()
    reservation = records.reserve("an-id", ("/some/where",))
    try:
        assert records.live() == []
        record = ContainerRecord("an-id", "a-name", "an-image", ("true", "false"), 0.5, labels={"a": "b"})
        records.add(record)
        assert records.find("a-name") == (record, reservation.directory, ("/some/where",))
        with (reservation.directory / "record").open("a") as file:
            file.write('{"id": "an-')
        assert records.find("a-name")[0] == record
    finally:
        os.close(reservation.lock)
    assert records.live() == []


def test_who_has_the_lock_is_waited_for_and_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = ContainerRecords(tmp_path)
    records.prepare()
    with (tmp_path / "containers.lock").open("rb") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        with monkeypatch.context() as patch:
            patch.setattr("pytest_pycontainer.engine.records._LOCK_SECONDS", 0.01)
            with pytest.raises(StoreError, match="another process held it for"):
                records.live()
        letting_go = threading.Timer(0.05, fcntl.flock, (another, fcntl.LOCK_UN))
        letting_go.start()
        assert records.live() == []
        letting_go.join()


def test_a_child_that_was_forked_meanwhile_does_not_have_the_lock(tmp_path: Path) -> None:
    records = ContainerRecords(tmp_path)
    records.prepare()
    reader, writer = os.pipe()
    with records._locked():
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent has closed its end
            os._exit(0)
    os.close(reader)
    try:
        with (tmp_path / "containers.lock").open("rb") as another:
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(writer)
        os.waitpid(child, 0)
