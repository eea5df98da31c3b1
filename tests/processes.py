"""Processes of this machine, as /proc shows them, and their ends."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0
"""Seconds that a process may take to end."""


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(process: int) -> list[int]:
    """Its children, and then theirs."""
    children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return children + [further for child in children for further in descendants(child)]


@contextmanager
def ending(*processes: int) -> Iterator[None]:
    """A block that leads to the end of processes, and waits for it."""
    descriptors = [os.pidfd_open(process) for process in processes]
    try:
        yield
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], PATIENCE)[0]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
