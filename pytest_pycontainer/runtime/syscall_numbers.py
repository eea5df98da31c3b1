"""The numbers of system calls, on each binary interface of the machines that we run on."""

from __future__ import annotations

import os
from functools import cache

_FILE = os.path.join(os.path.dirname(__file__), "syscall_numbers.txt")


@cache
def syscall_numbers(interface: str) -> dict[str, int]:
    """Numbers by name, on ``x86_64``, ``x86``, ``x32`` (without its bit 30), ``aarch64`` or ``arm``."""
    with open(_FILE, encoding="ascii") as file:
        _, *columns = next(line for line in file if not line.startswith("#")).split()
        column = columns.index(interface)
        rows = (line.split() for line in file)
        return {name: int(numbers[column]) for name, *numbers in rows if numbers[column] != "-"}
