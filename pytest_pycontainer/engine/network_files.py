"""The files by which a container finds names: /etc/hosts, /etc/hostname and /etc/resolv.conf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pytest_pycontainer.runtime.spec import BindMount

HOSTS: Final = "hosts"
HOSTNAME: Final = "hostname"
RESOLV_CONF: Final = "resolv.conf"
_MODE = 0o644


def write_network_files(
    directory: Path, *, hostname: str, hosts: str, resolv_conf: str, read_only: bool
) -> tuple[BindMount, ...]:
    """Writes them to a container's directory; the mounts that show them in the container."""
    contents = {RESOLV_CONF: resolv_conf, HOSTNAME: f"{hostname}\n", HOSTS: hosts}
    for name, content in contents.items():
        file = directory / name
        file.write_text(content)
        file.chmod(_MODE)
    return mount_network_files(directory, tuple(contents), read_only=read_only)


def mount_network_files(
    directory: Path, names: Sequence[str] = (RESOLV_CONF, HOSTNAME, HOSTS), *, read_only: bool
) -> tuple[BindMount, ...]:
    """The mounts of those of a container's files, also in another one that shares its network."""
    return tuple(BindMount(str(directory / name), f"/etc/{name}", read_only) for name in names)


def machine_hosts() -> str:
    """/etc/hosts of this machine; empty if it has none."""
    try:
        return Path("/etc/hosts").read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def machine_resolv_conf() -> str:
    """/etc/resolv.conf of this machine as it is, for who is in its network; empty if it has none."""
    try:
        return Path("/etc/resolv.conf").read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""
