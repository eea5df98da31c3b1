"""Times of files that are to be the same wherever and whenever they are made."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

from pytest_pycontainer.store.files import storing

_SECOND = 1_000_000_000


def set_times(top: Path, epoch: int, *, only_later: bool) -> None:
    """Gives ``epoch`` (Unix seconds) to everything below ``top`` that was changed later, or to all of it.

    Links are not followed. Nothing may write there meanwhile. Raises StoreError.
    """
    time = epoch * _SECOND
    with storing("set the times of", top):
        waiting = [os.fspath(top)]
        while waiting:
            directory = waiting.pop()
            with os.scandir(directory) as found:
                entries = list(found)
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if not only_later or status.st_mtime_ns > time:
                    os.utime(entry.path, ns=(time, time), follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
