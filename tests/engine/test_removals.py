"""What is there of a container when its block has ended, and what becomes of the rest of it."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Settings, wait
from pytest_pycontainer.engine.records import ContainerRecord, ContainerRecords
from pytest_pycontainer.errors import ContainerNotFoundError, StoreError

_SET_FLAGS = 0x40086602 if struct.calcsize("l") == 8 else 0x40046602
_IMMUTABLE = 0x10


@contextmanager
def unchangeable(file: Path) -> Iterator[None]:
    """Nobody removes that file."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        try:
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("i", _IMMUTABLE))
        except OSError as error:
            pytest.skip(f"this file system has no immutable files: {error}")
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("i", 0))
    finally:
        os.close(descriptor)


def processes_in(container: Container) -> list[Path]:
    """Their directories in /proc."""
    procs = Path(next(iter(container.cgroup().values())), "cgroup.procs")
    return [Path("/proc", pid) for pid in procs.read_text().split()]


def test_at_a_blocks_end_its_processes_have_ended_and_nobody_finds_it(engine: Engine) -> None:
    for _ in range(10):
        with engine.run("host", ["sh", "-c", "sleep inf & sleep inf & echo forked; wait"], name="leaves") as c:
            c.wait_for(wait.log("forked"))
            processes = processes_in(c)
            assert len(processes) == 3
        assert [process for process in processes if process.exists()] == []
        assert c.status == "removed"
        assert c not in engine.containers()
        assert c.id not in [other.id for other in engine.containers(others=True)]
        with pytest.raises(ContainerNotFoundError):
            engine.find(c.id)


def test_of_what_is_removed_explicitly_nothing_is_left(engine: Engine) -> None:
    for _ in range(10):
        container = engine.run("host", ["sleep", "inf"])
        cgroups = [Path(directory) for directory in container.cgroup().values()]
        container.remove(force=True)
        assert [path for path in (*cgroups, container.upper.parent) if path.exists()] == []


def test_of_whose_monitor_was_killed_nothing_is_left_at_its_blocks_end(engine: Engine) -> None:
    with engine.run("host", ["sleep", "inf"]) as c:
        cgroups = [Path(directory) for directory in c.cgroup().values()]
        status = Path(f"/proc/{c.pid}/status").read_text()
        os.kill(int(status.partition("PPid:")[2].split()[0]), signal.SIGKILL)
    assert [path for path in (*cgroups, c.upper.parent) if path.exists()] == []


def test_settling_and_closing_wait_for_what_is_still_there(tmp_path: Path, engine: Engine) -> None:
    containers = tmp_path / "store/containers"
    with Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as own:
        cgroups: list[Path] = []
        for ends in (own.settle, own.close):
            for _ in range(5):
                with own.run("host", ["sleep", "inf"]) as c:
                    cgroups += map(Path, c.cgroup().values())
                    (c.upper / "a/b/c").mkdir(parents=True)
            ends()
            assert list(containers.iterdir()) == []
            assert [path for path in cgroups if path.exists()] == []


def test_what_cannot_be_removed_is_told_at_the_next_settling(tmp_path: Path, engine: Engine) -> None:
    settings = Settings(root=tmp_path / "store", state=engine.settings.state)
    with Engine(settings) as own:
        with own.run("host", ["sleep", "inf"], name="stays") as stays:
            stuck = stays.upper / "stuck"
            stuck.touch()
            with unchangeable(stuck):
                stays.end()
                with own.run("host", ["sleep", "inf"], name="stays"):
                    pass
                with pytest.raises(StoreError, match=stays.id):
                    own.settle()
                assert [path.name for path in (settings.root / "containers").iterdir()] == [stays.id]
        own.settle()
    with Engine(settings) as following, following.run("host", ["true"]):
        assert not stays.upper.exists()


def test_nobody_finds_what_is_retired_and_it_is_swept_as_any_other(tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    records = ContainerRecords(tmp_path / "store")
    records.prepare()
    reservation = records.reserve("an-id", (str(cgroup),))
    try:
        records.add(ContainerRecord("an-id", "a-name", "image", ("true",), 0.0, "sha256:1", ("volume",)))
        assert [record.id for record, _ in records.live()] == ["an-id"]
        records.retire("a-name", "an-id")
        assert records.live() == []
        assert records.users_of_images() == {}
        assert records.users_of_volumes() == {}
        with pytest.raises(ContainerNotFoundError):
            records.find("an-id")
        assert list((tmp_path / "store/names").iterdir()) == []
        records.prepare()
        assert cgroup.exists()
    finally:
        os.close(reservation.lock)
    records.prepare()
    assert not reservation.directory.exists()
    assert not cgroup.exists()


def test_what_another_process_has_removed_is_not_made_anew_by_retiring(tmp_path: Path) -> None:
    records = ContainerRecords(tmp_path)
    records.prepare()
    reservation = records.reserve("an-id", ())
    try:
        (reservation.directory / "record").unlink()
        records.retire("a-name", "an-id")
        assert list(reservation.directory.iterdir()) == []
    finally:
        records.remove(reservation)
