from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.build import file_digests
from pytest_pycontainer.build.file_digests import FileDigests, memory_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory.files"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("content")
    _let_settle(file)
    return file


def _let_settle(file: Path) -> None:
    """Waits until the clock that files get their times from has moved on."""
    after = file.lstat().st_ctime_ns + file_digests._TICK
    while time.clock_gettime_ns(file_digests._FILE_CLOCK) <= after:
        time.sleep(0.001)


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are read from now on."""
    read: list[str] = []
    original = file_digests.digest_of

    def digest_of(path: str) -> bytes:
        read.append(path)
        return original(path)

    monkeypatch.setattr(file_digests, "digest_of", digest_of)
    return read


def test_what_has_not_changed_is_not_read_again(
    memory: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FileDigests(memory, tmp_path)
    digest = first.of(str(file), file.lstat())
    first.remember()
    read = _reads(monkeypatch)
    assert FileDigests(memory, tmp_path).of(str(file), file.lstat()) == digest
    assert read == []


@pytest.mark.parametrize("change", ["content", "same size and time", "another file", "attribute"])
def test_whatever_changes_it_is_seen(memory: Path, file: Path, tmp_path: Path, change: str) -> None:
    digests = FileDigests(memory, tmp_path)
    before = digests.of(str(file), file.lstat())
    digests.remember()
    status = file.lstat()
    match change:
        case "content":
            file.write_text("content, and more")
        case "same size and time":
            file.write_text("CONTENT")
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        case "another file":
            other = tmp_path / "other"
            other.write_text("CONTENT")
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
            other.rename(file)
        case "attribute":
            os.setxattr(file, "user.pycontainer", b"x")
    assert FileDigests(memory, tmp_path).of(str(file), file.lstat()) != before


def test_a_file_that_has_just_been_written_is_not_trusted(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    # The clock stands still: whatever is written now gets the time that the file has.
    now = file.lstat().st_ctime_ns
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: now)
    digests = FileDigests(memory, tmp_path)
    digests.of(str(file), file.lstat())
    digests.remember()
    assert not memory.exists()
    read = _reads(monkeypatch)
    FileDigests(memory, tmp_path).of(str(file), file.lstat())
    assert read == [str(file)]


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", file_digests._MAGIC + b"x", b"pycontainer files 9\n" + bytes(72)]
)
def test_a_damaged_memory_is_no_memory(memory: Path, file: Path, tmp_path: Path, content: bytes) -> None:
    memory.write_bytes(content)
    digests = FileDigests(memory, tmp_path)
    assert digests.of(str(file), file.lstat()) == file_digests.digest_of(str(file))
    digests.remember()
    assert len(memory.read_bytes()) == len(file_digests._MAGIC) + file_digests._RECORD.size


def test_what_is_not_there_any_more_is_forgotten_once_it_is_too_much(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "_SPARE", 3)
    files = [tmp_path / str(number) for number in range(9)]
    for file in files:
        file.write_text(file.name)
    _let_settle(files[-1])
    all_of_them = FileDigests(memory, tmp_path)
    for file in files:
        all_of_them.of(str(file), file.lstat())
    all_of_them.remember()
    new = tmp_path / "new"
    new.write_text("new")
    _let_settle(new)
    few = FileDigests(memory, tmp_path)
    few.of(str(new), new.lstat())
    few.remember()
    assert len(memory.read_bytes()) == len(file_digests._MAGIC) + file_digests._RECORD.size


def test_a_disk_that_takes_no_memory_stops_nobody(file: Path, tmp_path: Path) -> None:
    digests = FileDigests(tmp_path / "memory", tmp_path / "no such directory")
    digests.of(str(file), file.lstat())
    digests.remember()


def test_a_pipe_or_a_link_in_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert file_digests.digest_of(str(tmp_path / "pipe"))
    with pytest.raises(OSError, match="symbolic links"):
        file_digests.digest_of(str(tmp_path / "link"))


def test_each_directory_has_a_memory_of_its_own(tmp_path: Path) -> None:
    assert memory_of(tmp_path / "a", tmp_path) != memory_of(tmp_path / "b", tmp_path)
