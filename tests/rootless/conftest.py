from __future__ import annotations

import os
import select
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

PATIENCE = 120.0


@pytest.fixture
def home() -> Iterator[Path]:
    """An ordinary user's: the way to pytest's own directories is closed to others."""
    home = Path(mkdtemp(prefix="pycontainer-user-"))
    home.chmod(0o755)
    yield home
    while left := processes_of(home):  # monitors whose owner has gone tidy up there
        wait_until_ended(*left)
    shutil.rmtree(home)


def processes_of(home: Path) -> dict[int, bytes]:
    """The processes of engines that have their state there, by their numbers, with their commands."""
    found = {}
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdecimal() and os.fsencode(home) in (command := (process / "cmdline").read_bytes()):
                found[int(process.name)] = command
    return found


def wait_until_ended(*processes: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(process)
            try:
                assert select.select([pidfd], [], [], PATIENCE)[0], f"{process} has not ended"
            finally:
                os.close(pidfd)
