"""The files by which a container finds names: /etc/hosts, /etc/hostname and /etc/resolv.conf."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_pycontainer.engine.attachment import Attachment, Endpoint
from pytest_pycontainer.engine.namespace_modes import HOST
from pytest_pycontainer.engine.network_modes import HOST_GATEWAY
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.network.names import container_resolv_conf, hosts_file, with_host, without_host
from pytest_pycontainer.runtime.spec import BindMount

if TYPE_CHECKING:
    from pytest_pycontainer.engine.launch import Plan

_FILES: Final = ("resolv.conf", "hostname", "hosts")
_MODE = 0o644
_SHORT = 12
_LOOPBACK = "127.0.0.1"


def network_files(
    resources: Resources, plan: Plan, directory: Path, container_id: str, attachment: Attachment | None
) -> tuple[str, tuple[BindMount, ...]]:
    """Writes the files to a container's directory; its host name, and the mounts that show them in the container.

    A build step's host name and hosts are the same in every one. Raises ContainerNotFoundError.
    """
    read_only = plan.is_build_step or plan.read_only
    if plan.network.mode == "container":
        # As Docker has it: the name and the files of whom it shares the network with.
        _, other, _ = resources.records.find(plan.network.other)
        return (other / "hostname").read_text().strip(), _mounts(other, read_only=read_only)
    of_machine = plan.network.mode == "host" or plan.namespaces.uts == HOST
    hostname = plan.hostname or (socket.gethostname() if of_machine else container_id[:_SHORT])
    contents = (_resolv_conf(resources, plan, attachment), f"{hostname}\n", _hosts(plan, hostname, attachment))
    for name, content in zip(_FILES, contents, strict=True):
        file = directory / name
        file.write_text(content, errors="surrogateescape")
        file.chmod(_MODE)
    return hostname, _mounts(directory, read_only=read_only)


def change_network_files(
    directory: Path, hostname: str, attachment: Attachment, *, added: Endpoint | None, removed: Endpoint | None
) -> None:
    """Tells a container of addresses that it has, or has no more. In place: the files are mounted."""
    hosts = directory / "hosts"
    text = hosts.read_text(errors="surrogateescape")
    for address in _addresses(added):
        text = with_host(text, hostname, address)
    for address in _addresses(removed):
        text = without_host(text, address)
    hosts.write_text(text, errors="surrogateescape")
    if attachment.resolver:
        resolv_conf = directory / "resolv.conf"
        text = container_resolv_conf(resolv_conf.read_text(errors="surrogateescape"), [attachment.resolver])
        resolv_conf.write_text(text, errors="surrogateescape")


def _mounts(directory: Path, *, read_only: bool) -> tuple[BindMount, ...]:
    return tuple(BindMount(str(directory / name), f"/etc/{name}", read_only) for name in _FILES)


def _resolv_conf(resources: Resources, plan: Plan, attachment: Attachment | None) -> str:
    lookup = plan.network.lookup
    if attachment is not None and attachment.resolver:
        return container_resolv_conf(
            resources.machine_resolv_conf, [attachment.resolver], lookup.search, lookup.options
        )
    text = resources.machine_resolv_conf if plan.network.mode == "host" else resources.resolv_conf
    if not lookup.servers and lookup.search is None and lookup.options is None:
        return text
    return container_resolv_conf(text, lookup.servers, lookup.search, lookup.options, names_first=False)


def _hosts(plan: Plan, hostname: str, attachment: Attachment | None) -> str:
    gateway = _LOOPBACK if attachment is None else attachment.gateway
    extra = [(name, gateway if address == HOST_GATEWAY else address) for name, address in plan.network.lookup.hosts]
    if plan.network.mode == "host" and not plan.is_build_step:
        return _read("/etc/hosts") + "".join(f"{address}\t{name}\n" for name, address in extra)
    endpoints = () if attachment is None else attachment.endpoints
    own = [_LOOPBACK] if plan.is_build_step else [address for one in endpoints for address in _addresses(one)]
    return hosts_file(hostname, own, extra)


def _addresses(endpoint: Endpoint | None) -> list[str]:
    if endpoint is None:
        return []
    return [str(address) for address in (endpoint.address, endpoint.address6) if address is not None]


def _read(path: str) -> str:
    """A file of this machine; empty if it has none."""
    try:
        return Path(path).read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""
