"""What a container may do: capabilities, system calls, and what it may not see or change, from docker's options."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pytest_pycontainer.engine import defaults
from pytest_pycontainer.engine.arguments import BOOLEANS
from pytest_pycontainer.engine.security_labels import ExecLabel, choose_label, this_machine
from pytest_pycontainer.engine.system_call_filter import compile_filter, default_filter
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.kernel.credentials import CAPABILITIES, capability_mask
from pytest_pycontainer.runtime.spec import SystemDirectories

Names: TypeAlias = str | Iterable[str]
"""One name, or several."""

DEFAULT_SYSTEM = SystemDirectories(defaults.MASKED_PATHS, defaults.READ_ONLY_PATHS, defaults.SHM_BYTES)
_UNMASKED_SYSTEM = SystemDirectories((), (), defaults.SHM_BYTES)
_PRIVILEGED_SYSTEM = SystemDirectories((), (), defaults.SHM_BYTES, privileged=True)

_ALL = "ALL"
_SECURITY_OPTIONS = (
    "seccomp=unconfined, seccomp=builtin, seccomp=PROFILE (a file or JSON), no-new-privileges, systempaths=unconfined, "
    "apparmor=PROFILE, label=disable, label=type:TYPE"
)


@dataclass(frozen=True, slots=True)
class Privileges:
    """What a container may do. ``capabilities`` are in the kernel's order; the filter is None for none.

    ``exec_label`` says what AppArmor or SELinux confine it by.
    """

    capabilities: int
    system_call_filter: bytes | None
    no_new_privileges: bool = False
    system: SystemDirectories = DEFAULT_SYSTEM
    exec_label: ExecLabel | None = None

    @classmethod
    def default(cls) -> Privileges:
        """Those of every container that was not given others."""
        label = choose_label(None, (), privileged=False, machine=this_machine())
        filter_ = default_filter(defaults.CAPABILITIES)
        return cls(capability_mask(defaults.CAPABILITIES), filter_, exec_label=label)


def parse_privileges(
    privileged: bool, cap_add: Names | None, cap_drop: Names | None, security_opt: Names | None
) -> Privileges:
    """The privileges that docker would give for these options. Raises InvalidSpecError."""
    if not (privileged or cap_add or cap_drop or security_opt):
        return Privileges.default()
    security = _SecurityOptions(parse_names("security_opt", security_opt))
    added, dropped = (
        {_capability(field, name) for name in parse_names(field, given)}
        for field, given in (("cap_add", cap_add), ("cap_drop", cap_drop))
    )
    capabilities = held_capabilities() if privileged else _capabilities(added, dropped)
    system = _UNMASKED_SYSTEM if security.system_paths_unconfined else DEFAULT_SYSTEM
    return Privileges(
        capability_mask(capabilities),
        _filter(security.seccomp or ("unconfined" if privileged else "builtin"), capabilities),
        security.no_new_privileges,
        _PRIVILEGED_SYSTEM if privileged else system,
        choose_label(security.apparmor, security.labels, privileged=privileged, machine=this_machine()),
    )


def parse_names(field: str, names: Names | None) -> tuple[str, ...]:
    """One text or several, as a tuple. Raises InvalidSpecError for anything else."""
    if isinstance(names, str):
        return (names,)
    found = tuple(names or ()) if isinstance(names, Iterable | None) else (names,)
    if not all(isinstance(name, str) for name in found):
        raise InvalidSpecError(field, repr(names), "a text, or a sequence of texts")
    return found


def parse_groups(groups: Iterable[str | int] | None) -> tuple[str, ...]:
    """Names or numbers of groups, all as texts. Raises InvalidSpecError."""
    found = () if groups is None else (groups,) if isinstance(groups, str | int) else groups
    if not isinstance(found, Iterable) or isinstance(found, bytes):
        raise InvalidSpecError("group_add", repr(groups), "names or numbers of groups")
    texts = tuple(str(group) if isinstance(group, int) else group for group in found)
    for text in texts:
        if not isinstance(text, str) or not text or "\0" in text:
            raise InvalidSpecError("group_add", repr(text), "the name or the number of a group")
    return texts


def _capability(field: str, name: str) -> str:
    plain = name.upper().removeprefix("CAP_")
    if plain != _ALL and plain not in CAPABILITIES:
        raise InvalidSpecError(field, name, f"a capability such as NET_ADMIN, or ALL{near_names(plain, CAPABILITIES)}")
    return plain


def near_names(name: str, known: Iterable[str]) -> str:
    """What a mistyped name may have been meant as, to be added to an error's text."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _capabilities(added: set[str], dropped: set[str]) -> tuple[str, ...]:
    if _ALL in added:
        wanted = set(held_capabilities()) - dropped
    elif _ALL in dropped:
        wanted = added
    else:
        wanted = set(defaults.CAPABILITIES) - dropped | added
    return tuple(name for name in CAPABILITIES if name in wanted)


def held_capabilities() -> tuple[str, ...]:
    """All capabilities that there are to give: this kernel may know fewer than the table, this process have fewer."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held = int(status["CapBnd"], 16)
    if os.geteuid() == 0:
        held &= int(status["CapPrm"], 16)
    # Else it is in the user namespace of containers that they are held, where all are to be had.
    return tuple(name for number, name in enumerate(CAPABILITIES) if held >> number & 1)


def all_capabilities() -> int:
    """What is privileged has these, as a bit set."""
    return capability_mask(held_capabilities())


class _SecurityOptions:
    """docker's ``--security-opt``: ``NAME``, ``NAME=VALUE`` or, as it was once written, ``NAME:VALUE``."""

    def __init__(self, options: Iterable[str]) -> None:
        self.seccomp: str | None = None
        self.no_new_privileges = False
        self.system_paths_unconfined = False
        self.apparmor: str | None = None
        self.labels: list[str] = []
        for option in options:
            if not self._take(option):
                name = option.replace(":", "=", 1).partition("=")[0]
                near = near_names(name, ("seccomp", "no-new-privileges", "systempaths", "apparmor", "label"))
                raise InvalidSpecError("security_opt", option, f"one of {_SECURITY_OPTIONS}{near}")

    def _take(self, option: str) -> bool:
        separator = "=" if "=" in option.partition(":")[0] or ":" not in option else ":"
        name, _, value = option.partition(separator)
        if name == "seccomp" and value:
            self.seccomp = value
        elif name == "no-new-privileges" and value.lower() in BOOLEANS:
            self.no_new_privileges = BOOLEANS[value.lower()]
        elif name == "systempaths" and value == "unconfined":
            self.system_paths_unconfined = True
        elif name == "apparmor" and value:
            self.apparmor = value
        elif name == "label" and value:
            self.labels.append(value)
        else:
            return False
        return True


def _filter(seccomp: str, capabilities: tuple[str, ...]) -> bytes | None:
    if seccomp == "unconfined":
        return None
    if seccomp == "builtin":
        return default_filter(capabilities)
    from pytest_pycontainer.engine.seccomp_profile import read_profile

    return compile_filter(read_profile(seccomp), capabilities)
