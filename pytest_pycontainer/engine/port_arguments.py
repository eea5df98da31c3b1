"""From docker's texts for ports to the ports to publish."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from pytest_pycontainer.errors import InvalidSpecError

Port: TypeAlias = int | str
"""A container port, or docker's text: ``[[HOST-ADDRESS:]HOST-PORT:]PORT[/tcp|/udp]``, with ranges such as 8000-8010."""

HostPort: TypeAlias = int | str | tuple[str, int | None] | None
"""A host port, a range of them (``"8000-8010"``), an address and one of these, or None for a free port."""

Ports: TypeAlias = Iterable[Port] | Mapping[Port, HostPort]
"""Ports to publish, or container ports with the host port of each."""

_PORT = re.compile(
    r"(?:(?:(?P<address>\[[0-9a-fA-F:.]+\]|[^:\[\]]*):)?(?P<host>\d*(?:-\d+)?):)?(?P<port>\d+(?:-\d+)?)"
    r"(?:/(?P<protocol>tcp|udp))?",
    re.ASCII | re.IGNORECASE,
)
_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
_HIGHEST_PORT = 65535
_LOOPBACK = "127.0.0.1"
_WANTED = "[[HOST-ADDRESS:]HOST-PORT:]PORT[/tcp|/udp], ports and ranges of them (FIRST-LAST) from 1 to 65535"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A container port to publish: on ``host_port``, on a free one of that range, or without it on any free one."""

    container_port: int
    protocol: str = "tcp"
    host_address: str = _LOOPBACK
    host_port: int | range | None = None

    @property
    def host_ports(self) -> range:
        """Those that it asks for."""
        if isinstance(self.host_port, int):
            return range(self.host_port, self.host_port + 1)
        return self.host_port or range(0)


def parse_port(field: str, port: Port) -> PortMapping:
    """One container port, where it is named to be found again. Raises InvalidSpecError."""
    mappings = parse_ports([port])
    if len(mappings) != 1:
        raise InvalidSpecError(field, str(port), "one port, not a range")
    return mappings[0]


def parse_ports(ports: Ports | None) -> tuple[PortMapping, ...]:
    """The ports to publish. Raises InvalidSpecError for text that is no port, and for a host port given twice."""
    if ports is None:
        return ()
    if isinstance(ports, int | str):
        ports = (ports,)
    if not isinstance(ports, Iterable) or isinstance(ports, bytes):
        raise InvalidSpecError("ports", repr(ports), "a sequence of ports, or host ports by container port")
    wanted = ports.items() if isinstance(ports, Mapping) else ((port, None) for port in ports)
    mappings = tuple(dict.fromkeys(mapping for port, host_port in wanted for mapping in _parse(port, host_port)))
    _check_each_once(mappings)
    return mappings


def with_exposed(mappings: Sequence[PortMapping], exposed: Sequence[str]) -> tuple[PortMapping, ...]:
    """As docker's ``--publish-all``: also those that an image exposes, on free host ports, if they are not named."""
    known = {(mapping.container_port, mapping.protocol) for mapping in mappings}
    further = (mapping for mapping in parse_ports(exposed) if (mapping.container_port, mapping.protocol) not in known)
    return (*mappings, *further)


def _parse(port: Port, host_port: HostPort) -> Iterator[PortMapping]:
    match = _PORT.fullmatch(str(port)) if isinstance(port, int | str) and not isinstance(port, bool) else None
    if match is None:
        raise InvalidSpecError("ports", str(port), _WANTED)
    address = (match["address"] or "").strip("[]")
    protocol = (match["protocol"] or "tcp").lower()
    container_ports = _range(match["port"], str(port))
    host_ports = _range(match["host"], str(port)) if match["host"] else None
    if host_port is not None:
        if address or host_ports:
            raise InvalidSpecError("ports", f"{port}: {host_port!r}", "the host's side once")
        address, host_ports = _host_side(port, host_port)
    address = _canonical(address or _LOOPBACK)
    if host_ports is None:
        yield from (PortMapping(number, protocol, address) for number in container_ports)
    elif len(container_ports) == len(host_ports):
        for number, host_number in zip(container_ports, host_ports, strict=True):
            yield PortMapping(number, protocol, address, host_number)
    elif len(container_ports) == 1:
        yield PortMapping(container_ports[0], protocol, address, host_ports)
    else:
        raise InvalidSpecError("ports", str(port), "as many host ports as container ports, or one container port")


def _host_side(port: Port, host_port: HostPort) -> tuple[str, range | None]:
    text = f"{port}: {host_port!r}"
    match host_port:
        case bool():
            pass
        case int() | str():
            return "", _range(str(host_port), text)
        case (str(address), int(number)):
            return address, _range(str(number), text)
        case (str(address), None):
            return address, None
    raise InvalidSpecError("ports", text, "a number or range for the host port, or an address and a number")


def _range(text: str, given: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InvalidSpecError("ports", given, _WANTED)
    first = int(match[1])
    last = int(match[2] or first)
    if not 0 < first <= last <= _HIGHEST_PORT:
        raise InvalidSpecError("ports", given, _WANTED)
    return range(first, last + 1)


def _canonical(address: str) -> str:
    """One spelling for an address; what is none is refused by who publishes, in its words."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _check_each_once(mappings: Sequence[PortMapping]) -> None:
    """A range makes room for those that are named; two names for one port have no way to be both."""
    seen: dict[tuple[str, int], list[str]] = {}
    for mapping in mappings:
        if not isinstance(mapping.host_port, int):
            continue
        others = seen.setdefault((mapping.protocol, mapping.host_port), [])
        if any(_overlap(mapping.host_address, other) for other in others):
            _raise_twice(mapping)
        others.append(mapping.host_address)


def _overlap(one: str, other: str) -> bool:
    if one == other:
        return True
    ipv6 = ":" in one, ":" in other
    return ipv6[0] == ipv6[1] and ("0.0.0.0" in (one, other) or "::" in (one, other))  # noqa: S104


def _raise_twice(mapping: PortMapping) -> NoReturn:
    raise InvalidSpecError("ports", f"{mapping.host_port}/{mapping.protocol}", "each host port once")
