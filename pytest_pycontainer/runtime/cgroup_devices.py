"""Which devices the processes of a cgroup may use: files in version 1, a program for the kernel in version 2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from pytest_pycontainer.kernel.bpf import DeviceRule, allow_only

DEFAULT_RULES: Final = (
    DeviceRule("c", access="m"),
    DeviceRule("b", access="m"),
    *(DeviceRule("c", 1, minor) for minor in (3, 5, 7, 8, 9)),
    *(DeviceRule("c", 5, minor) for minor in (0, 1, 2)),
    DeviceRule("c", 136),
)
"""Docker's: any node may be made, but only null, zero, full, random, urandom, tty, console, ptmx and pts be used."""


def restrict_devices(directories: Sequence[str], rules: Sequence[DeviceRule] = ()) -> None:
    """Leaves a new cgroup the devices of ``DEFAULT_RULES`` and ``rules``, and no others. Raises OSError."""
    rules = (*DEFAULT_RULES, *rules)
    for directory in directories:
        if os.path.exists(denied := os.path.join(directory, "devices.deny")):
            _write(denied, "a")
            for rule in rules:
                _write(os.path.join(directory, "devices.allow"), _version_1_rule(rule))
            return
    for directory in directories:
        if os.path.exists(os.path.join(directory, "cgroup.controllers")):
            allow_only(directory, rules)


def _version_1_rule(rule: DeviceRule) -> str:
    major, minor = ("*" if number is None else number for number in (rule.major, rule.minor))
    return f"{rule.kind} {major}:{minor} {rule.access}"


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
