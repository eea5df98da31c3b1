"""AppArmor's profiles and SELinux's labels: what confines a container's processes beside everything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pytest_pycontainer.errors import InvalidSpecError

_DEFAULT_PROFILE = "docker-default"
_UNCONFINED = "unconfined"
# Of the policies that container engines come with, and SELinux's names for a label's parts, in their order.
_DEFAULT_LABEL = {"user": "system_u", "role": "system_r", "type": "container_t", "level": "s0"}

ExecLabel = tuple[str, str]
"""A file below /proc/thread-self/attr, and what to write there before an exec."""


@dataclass(frozen=True, slots=True)
class SecurityModules:
    """Which of the two a machine has; ``profiles`` are AppArmor's that are loaded, None without AppArmor."""

    profiles: frozenset[str] | None = None
    selinux: bool = False

    @classmethod
    def read(cls, system: Path = Path("/sys")) -> SecurityModules:
        """What this machine says, its /sys at ``system``."""
        return cls(_profiles(system), (system / "fs/selinux/enforce").exists())


@cache
def this_machine() -> SecurityModules:
    """What this machine has, asked once."""
    return SecurityModules.read()


def _profiles(system: Path) -> frozenset[str] | None:
    try:
        if (system / "module/apparmor/parameters/enabled").read_text().strip() != "Y":
            return None
        lines = (system / "kernel/security/apparmor/profiles").read_text().splitlines()
    except FileNotFoundError:
        return None
    return frozenset(line.rpartition(" (")[0] for line in lines)


def choose_label(
    apparmor: str | None, labels: Iterable[str], *, privileged: bool, machine: SecurityModules
) -> ExecLabel | None:
    """What to write before an exec for docker's ``apparmor=`` and ``label=`` options; None for nothing.

    Without an option a container has Docker's profile if that is loaded, unless it is ``privileged``. Raises
    InvalidSpecError for a profile or a label that this machine can't give.
    """
    label = _selinux_label(list(labels), machine)
    profile = _apparmor_profile(apparmor, privileged, machine)
    return label or profile


def _apparmor_profile(wanted: str | None, privileged: bool, machine: SecurityModules) -> ExecLabel | None:
    loaded = machine.profiles
    if wanted is None:
        default = loaded is not None and _DEFAULT_PROFILE in loaded and not privileged
        return ("apparmor/exec", f"exec {_DEFAULT_PROFILE}") if default else None
    if wanted == _UNCONFINED:
        return None
    if loaded is None:
        raise InvalidSpecError(
            "security_opt", f"apparmor={wanted}", "apparmor=unconfined: this machine has no AppArmor"
        )
    if wanted not in loaded:
        detail = f"a profile that is loaded, or unconfined: load it with apparmor_parser, or use {_named(loaded)}"
        raise InvalidSpecError("security_opt", f"apparmor={wanted}", detail)
    return "apparmor/exec", f"exec {wanted}"


def _named(profiles: frozenset[str]) -> str:
    return ", ".join(sorted(profiles)[:5]) or "none"


def _selinux_label(options: list[str], machine: SecurityModules) -> ExecLabel | None:
    if "disable" in options or not options:
        return None
    parts = dict(_DEFAULT_LABEL)
    for option in options:
        name, separator, value = option.partition(":")
        if name not in parts or not separator or not value or any(sign in value for sign in "\0\n "):
            wanted = "label=disable, or label=user:, role:, type: or level: and a value"
            raise InvalidSpecError("security_opt", f"label={option}", wanted)
        parts[name] = value
    if not machine.selinux:
        raise InvalidSpecError("security_opt", f"label={options[0]}", "label=disable: this machine has no SELinux")
    return "exec", ":".join(parts.values())
