"""The system call filters of containers, compiled once for all that have the same."""

from __future__ import annotations

import platform
import re
from functools import cache

from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.runtime.seccomp import MACHINES, Machine, Profile


@cache
def default_filter(capabilities: tuple[str, ...]) -> bytes:
    """The program of Docker's default profile for a container with these capabilities."""
    from pytest_pycontainer.runtime.seccomp_default import DEFAULT_PROFILE

    return compile_filter(DEFAULT_PROFILE, capabilities)


def compile_filter(profile: Profile, capabilities: tuple[str, ...]) -> bytes:
    """The program of a profile, for this machine and its kernel. Raises InvalidSpecError if it gets too long."""
    from pytest_pycontainer.runtime.seccomp_program import INSTRUCTIONS_AT_MOST, compile_profile

    program = compile_profile(profile, this_machine(), capabilities, _kernel())
    if program is None:
        problem = f"fewer conditions: the kernel takes programs of {INSTRUCTIONS_AT_MOST} instructions at most"
        raise InvalidSpecError("security_opt", "seccomp", problem)
    return program


def this_machine() -> Machine:
    """The machine, as profiles speak of it."""
    return MACHINES[platform.machine()]


def _kernel() -> tuple[int, int]:
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(version[1]), int(version[2])) if version is not None else (0, 0)
