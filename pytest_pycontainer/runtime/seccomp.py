"""Seccomp profiles as values: which system calls a container may make, in Docker's terms.

What a profile says depends on a machine, a kernel and capabilities; ``rules_for`` leaves what applies to one container.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

Comparison = Literal["==", "!=", "<", "<=", ">", ">=", "masked"]

PERMITTED_ARGUMENTS: Final = 6
"""A system call has six arguments at most, counted from 0."""


class Action(IntEnum):
    """What happens at a system call: the kernel's numbers (linux/seccomp.h), to which ERRNO and TRACE add data."""

    KILL_THREAD = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000
    KILL_PROCESS = 0x80000000


@dataclass(frozen=True, slots=True)
class Outcome:
    """An action with its 16 bits of data: the errno for ERRNO, a message for the tracer for TRACE."""

    action: Action
    data: int = 0

    @property
    def value(self) -> int:
        """What a filter returns."""
        return self.action | self.data


@dataclass(frozen=True, slots=True)
class Condition:
    """Compares an argument, as 64 unsigned bits, with ``value``; "masked" compares the bits of ``mask`` alone."""

    argument: int
    comparison: Comparison
    value: int
    mask: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens at the system calls ``names`` if all ``conditions`` hold.

    It applies where the container has each capability of ``with_capabilities`` and none of ``without_capabilities``
    (names without ``CAP_``), on ``machines`` (Docker's names, empty for all) but not on ``not_machines``, from Linux
    ``kernel`` on.
    """

    names: tuple[str, ...]
    outcome: Outcome
    conditions: tuple[Condition, ...] = ()
    with_capabilities: frozenset[str] = frozenset()
    without_capabilities: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()
    not_machines: frozenset[str] = frozenset()
    kernel: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Profile:
    """Rules, and what happens at every other system call.

    ``interfaces`` are the binary interfaces (``Machine.interfaces``) whose calls may be made at all, None for all that
    the machine has.
    """

    default: Outcome
    rules: tuple[Rule, ...]
    interfaces: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's architecture: Docker's name for it, and its binary interfaces, its own first."""

    docker_name: str
    interfaces: tuple[str, ...]


MACHINES: Final = {
    "x86_64": Machine("amd64", ("x86_64", "x86", "x32")),
    "aarch64": Machine("arm64", ("aarch64", "arm")),
}
"""By the name that the kernel has for a machine (``uname -m``)."""


def rules_for(
    profile: Profile, machine: Machine, capabilities: Iterable[str], kernel: tuple[int, int]
) -> tuple[Rule, ...]:
    """The rules that apply to a container with these capabilities, in their order."""
    have = frozenset(capabilities)
    return tuple(
        rule
        for rule in profile.rules
        if rule.with_capabilities <= have
        and not rule.without_capabilities & have
        and (not rule.machines or machine.docker_name in rule.machines)
        and machine.docker_name not in rule.not_machines
        and kernel >= rule.kernel
    )
