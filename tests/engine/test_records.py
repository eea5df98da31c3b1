"""What becomes of containers' records on a disk that takes no more."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_pycontainer.engine.records import ContainerRecord, ContainerRecords
from pytest_pycontainer.errors import StoreError


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
