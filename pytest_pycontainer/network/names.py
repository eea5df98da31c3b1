"""The two files by which a container finds names: /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

MACHINE_RESOLV_CONF: Final = Path("/etc/resolv.conf")
RESOLVED_RESOLV_CONF: Final = Path("/run/systemd/resolve/resolv.conf")
"""Where systemd-resolved lists the servers that its own stub, 127.0.0.53, asks (``man 8 systemd-resolved.service``)."""

_RESOLVED_STUB = "127.0.0.53"

_LOCALHOST = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts_file(hostname: str, addresses: Iterable[str] = (), extra: Iterable[tuple[str, str]] = ()) -> str:
    """/etc/hosts as Docker writes it.

    ``addresses`` are the container's own, one for each network. ``extra`` holds pairs of a name and its address, the
    order of docker's ``--add-host``.
    """
    hosts = _LOCALHOST + "".join(f"{other}\t{name}\n" for name, other in extra)
    for address in addresses:
        hosts = with_host(hosts, hostname, address)
    return hosts


def with_host(hosts: str, hostname: str, address: ipaddress.IPv4Address | str) -> str:
    """``hosts``, the text of an /etc/hosts, with one more address of the container itself."""
    short, dot, _ = hostname.partition(".")
    end = "" if hosts.endswith("\n") or not hosts else "\n"
    return f"{hosts}{end}{address}\t{hostname}{f' {short}' if dot else ''}\n"


def without_host(hosts: str, address: ipaddress.IPv4Address | str) -> str:
    """``hosts``, the text of an /etc/hosts, without the lines of ``address``; all others stay as they are."""
    return "".join(line for line in hosts.splitlines(keepends=True) if line.split()[:1] != [str(address)])


def container_resolv_conf(
    text: str,
    servers: Sequence[str] = (),
    search: Sequence[str] | None = None,
    options: Sequence[str] | None = None,
    *,
    names_first: bool = True,
) -> str:
    """/etc/resolv.conf for a container, made from ``text``, that of the machine's or an earlier one of the container.

    ``servers``, ``search`` (``.`` for none) and ``options`` take the place of those in the text, where they are given.
    With ``names_first`` names without dots are asked for as they are before anything is appended, as docker has it.
    """
    words = [line.split() for line in text.splitlines()]
    chosen = servers or [line[1] for line in words if line[:1] == ["nameserver"] and len(line) > 1]
    if search is None:
        found = [line[1:] for line in words if line[:1] in (["search"], ["domain"])]
        search = found[-1] if found else ()
    if options is None:
        options = [option for line in words if line[:1] == ["options"] for option in line[1:]]
    if names_first and not any(option.startswith("ndots:") for option in options):
        options = [*options, "ndots:0"]
    lines = [f"nameserver {server}" for server in chosen]
    if search and list(search) != ["."]:
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def resolv_conf(machines: str) -> str:
    """/etc/resolv.conf for a container, made from the text of the machine's.

    Name servers on the machine's loopback, and those reached by IPv6, which our networks have not, are dropped. All
    other lines stay as they are, in order.
    """
    kept = [line for line in machines.splitlines() if (server := _name_server(line)) is None or _reachable(server)]
    return "".join(f"{line}\n" for line in kept)


def resolv_conf_to_read(machines: str) -> Path:
    """Which file of the machine to pass to ``resolv_conf``, given the text of its /etc/resolv.conf."""
    servers = [server for line in machines.splitlines() if (server := _name_server(line)) is not None]
    return RESOLVED_RESOLV_CONF if servers and set(servers) == {_RESOLVED_STUB} else MACHINE_RESOLV_CONF


def machine_resolv_conf() -> str:
    """/etc/resolv.conf for a container on this machine; empty if the machine has none. Raises OSError."""
    try:
        text = MACHINE_RESOLV_CONF.read_text()
        chosen = resolv_conf_to_read(text)
        return resolv_conf(text if chosen == MACHINE_RESOLV_CONF else chosen.read_text())
    except FileNotFoundError:
        return ""


def _name_server(line: str) -> str | None:
    words = line.split()
    return words[1] if len(words) >= 2 and words[0] == "nameserver" else None


def _reachable(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return True  # nothing we know; the resolver skips what it can't read
    return address.version == 4 and not address.is_loopback
