"""Writing to a cgroup's files."""

from __future__ import annotations

import os


def write_file(path: str, value: str) -> None:
    """Writes ``value`` in one call, as the kernel wants it; never makes a file. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
