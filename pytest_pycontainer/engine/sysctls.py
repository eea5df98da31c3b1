"""Kernel parameters of a container's own namespaces: docker's ``--sysctl``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.privileges import parse_names
from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.limit_options import Sysctls

_OF_IPC = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_NAME = re.compile(r"[A-Za-z0-9_@:*-]+([./][A-Za-z0-9_@:*-]+)+")


def parse_sysctls(
    sysctls: Sysctls | None, *, own_network: bool = True, own_ipc: bool = True, own_uts: bool = True
) -> tuple[tuple[str, str], ...]:
    """Paths below /proc/sys and their values.

    Only parameters of namespaces that the container has of its own are taken: others are the whole machine's. Raises
    InvalidSpecError, telling why.
    """
    entries = sysctls.items() if isinstance(sysctls, Mapping) else map(_split, parse_names("sysctls", sysctls))
    found = {}
    for name, value in entries:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidSpecError("sysctls", repr(name), "a name such as net.core.somaxconn")
        if not isinstance(value, int | str) or isinstance(value, bool) or "\0" in str(value):
            raise InvalidSpecError("sysctls", f"{name}={value!r}", "a text or a number as its value")
        path = _path(name)
        reason = _refusal(path.replace("/", "."), own_network=own_network, own_ipc=own_ipc, own_uts=own_uts)
        if reason:
            raise InvalidSpecError("sysctls", name, reason)
        found[path] = str(value)
    return tuple(found.items())


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidSpecError("sysctls", text, "NAME=VALUE")
    return name.strip(), value


def _path(name: str) -> str:
    """As sysctl(8) reads names: what comes first separates, and the other one stands for itself in a part's name."""
    separator = re.search(r"[./]", name)
    if separator is None or separator[0] == "/":
        return name
    return name.translate(str.maketrans("./", "/."))


def _refusal(name: str, *, own_network: bool, own_ipc: bool, own_uts: bool) -> str:
    """Why the parameter can't be set, empty if it can."""
    if name.startswith("net."):
        return "" if own_network else "a network namespace of the container's own: it would be set for others too"
    if name in _OF_IPC or name.startswith("fs.mqueue."):
        return "" if own_ipc else "an IPC namespace of the container's own: it would be set for others too"
    if name == "kernel.domainname":
        return "" if own_uts else "a UTS namespace of the container's own: it would be set for others too"
    if name == "kernel.hostname":
        return "hostname= for that"
    return (
        "a parameter that each container has for itself (net.*, fs.mqueue.*, kernel.msg*, kernel.shm*, kernel.sem, "
        "kernel.domainname): this one is the whole machine's"
    )
