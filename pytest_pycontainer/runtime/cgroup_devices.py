"""Which devices the processes of a cgroup may use: files in version 1, a program for the kernel in version 2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from pytest_pycontainer.kernel.bpf import DeviceRule, allow_only
from pytest_pycontainer.runtime.cgroup_files import write_file

DEFAULT_RULES: Final = (
    DeviceRule("c", access="m"),
    DeviceRule("b", access="m"),
    *(DeviceRule("c", 1, minor) for minor in (3, 5, 7, 8, 9)),
    *(DeviceRule("c", 5, minor) for minor in (0, 1, 2)),
    DeviceRule("c", 136),
)
"""Docker's: any node may be made, but only null, zero, full, random, urandom, tty, console, ptmx and pts be used."""


def restrict_devices(directories: Sequence[str]) -> None:
    """Leaves a new cgroup the devices of ``DEFAULT_RULES``, and no others. Raises OSError."""
    if version_1 := _having(directories, "devices.deny"):
        write_file(f"{version_1}/devices.deny", "a")
        _allow_in_version_1(version_1, DEFAULT_RULES)
    elif version_2 := _having(directories, "cgroup.controllers"):
        allow_only(version_2, DEFAULT_RULES)


def allow_devices(directories: Sequence[str], rules: Sequence[DeviceRule]) -> None:
    """Allows a cgroup that has been restricted these devices too. Raises OSError."""
    if version_1 := _having(directories, "devices.deny"):
        _allow_in_version_1(version_1, rules)
    elif version_2 := _having(directories, "cgroup.controllers"):
        allow_only(version_2, (*DEFAULT_RULES, *rules))


def _having(directories: Sequence[str], name: str) -> str:
    """The directory that has a file of that name, empty if none has."""
    return next((directory for directory in directories if os.path.exists(os.path.join(directory, name))), "")


def _allow_in_version_1(directory: str, rules: Sequence[DeviceRule]) -> None:
    # Opened once: on the way to a cgroup's file each directory is locked, against all who make cgroups at that moment.
    file = os.open(f"{directory}/devices.allow", os.O_WRONLY | os.O_CLOEXEC)
    try:
        for rule in rules:
            major, minor = ("*" if number is None else number for number in (rule.major, rule.minor))
            os.write(file, f"{rule.kind} {major}:{minor} {rule.access}".encode())
    finally:
        os.close(file)
