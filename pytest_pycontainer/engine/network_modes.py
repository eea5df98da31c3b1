"""A container's networks: from a caller's options to what is to be connected."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from pytest_pycontainer.engine.network_options import EndpointOptions, NetworkName, NetworkOptions
from pytest_pycontainer.errors import InvalidSpecError

DEFAULT_NETWORK: Final = "bridge"
"""The name of the network that every engine has."""

HOST_GATEWAY: Final = "host-gateway"
"""Stands for this machine's address as the container sees it."""

_CONTAINER = "container:"
_MODES = ("none", "host")
_ALIAS = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?", re.ASCII)
_LONGEST_NAME = 253  # RFC 1035, 2.3.4, as text
_LONGEST_LABEL = 63
_NETWORK_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class WantedEndpoint:
    """A network by its name, and how a container is to be in it: without ``ip`` and ``ip6`` with any free address."""

    network: str
    aliases: tuple[str, ...] = ()
    ip: ipaddress.IPv4Address | None = None
    ip6: ipaddress.IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class NameLookup:
    """How a container finds names, where it is said: servers, search list (None: as this machine), options, hosts."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None
    hosts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkModes:
    """Docker's mode, checked: with ``bridge`` it is in all of ``endpoints``, with ``container`` where ``other`` is."""

    mode: Literal["bridge", "none", "host", "container"] = "bridge"
    endpoints: tuple[WantedEndpoint, ...] = ()
    other: str = ""
    lookup: NameLookup = NameLookup()


BRIDGE: Final = NetworkModes("bridge", (WantedEndpoint(DEFAULT_NETWORK),))
NONE: Final = NetworkModes("none")
HOST: Final = NetworkModes("host")


def parse_network_modes(options: NetworkOptions) -> NetworkModes:
    """The networks that are asked for. Raises InvalidSpecError for options that make no sense, or do not agree."""
    modes = _parse_places(options)
    if not options.keys() & {"dns", "dns_search", "dns_options", "extra_hosts"}:
        return modes
    from pytest_pycontainer.engine.name_options import parse_name_lookup  # most containers say nothing of that

    lookup = parse_name_lookup(options)
    if lookup != NameLookup() and modes.mode == "container":
        wanted = "none: with network='container:NAME' it finds names as that one does"
        raise InvalidSpecError("dns or extra_hosts", str(lookup), wanted)
    if modes.mode == "none" and any(address == HOST_GATEWAY for _, address in lookup.hosts):
        raise InvalidSpecError("extra_hosts", HOST_GATEWAY, "a network, in which this machine has an address")
    return replace(modes, lookup=lookup)


def _parse_places(options: NetworkOptions) -> NetworkModes:
    given = options.get("network")
    endpoints = _parse_networks(options.get("networks"))
    first: EndpointOptions = {
        "aliases": options.get("network_aliases"),
        "ip": options.get("ip"),
        "ip6": options.get("ip6"),
    }
    named = any(value for value in first.values())
    mode = _parse_mode(given) if isinstance(given, str) else None
    if mode is not None:
        if endpoints:
            raise InvalidSpecError("networks", _names(endpoints), f"none: with network={given!r} it has no others")
        if named:
            field, value = next((field, value) for field, value in first.items() if value)
            field = "network_aliases" if field == "aliases" else field
            raise InvalidSpecError(field, str(value), f"none: with network={given!r} it has none")
        return mode
    if given is not None or not endpoints:
        endpoints = (parse_endpoint(given or DEFAULT_NETWORK, first), *endpoints)
    elif named:
        endpoints = (_with(endpoints[0], first), *endpoints[1:])
    if len({endpoint.network for endpoint in endpoints}) < len(endpoints):
        raise InvalidSpecError("networks", _names(endpoints), "each network once")
    return NetworkModes("bridge", endpoints)


def parse_endpoint(network: NetworkName, options: EndpointOptions | None) -> WantedEndpoint:
    """One network, and how a container is to be in it. Raises InvalidSpecError."""
    name = network if isinstance(network, str) else getattr(network, "name", None)
    if not isinstance(name, str) or not name:
        raise InvalidSpecError("network", repr(network), "a Network, or the name of one")
    if name == "default":
        name = DEFAULT_NETWORK
    if name.partition(":")[0] in ("none", "host", "container"):
        raise InvalidSpecError("network", name, "a network that a container can be in beside others")
    return _with(WantedEndpoint(name), options or {})


def parse_network_name(name: str) -> str:
    """A name for a network. Raises InvalidSpecError for one that docker would not take."""
    if not isinstance(name, str) or _NETWORK_NAME.fullmatch(name) is None:
        raise InvalidSpecError("name", str(name), "letters, digits, then also '_', '.' and '-', two or more")
    if name in ("none", "host", "container", DEFAULT_NETWORK, "default"):
        raise InvalidSpecError("name", name, "another name: this one has a meaning of its own")
    return name


def _parse_mode(text: str) -> NetworkModes | None:
    if text in _MODES:
        return HOST if text == "host" else NONE
    if text.startswith(_CONTAINER):
        other = text.removeprefix(_CONTAINER)
        if not other:
            raise InvalidSpecError("network", text, "container:NAME")
        return NetworkModes("container", other=other)
    return None


def _parse_networks(networks: object) -> tuple[WantedEndpoint, ...]:
    if networks is None:
        return ()
    if isinstance(networks, Mapping):
        return tuple(parse_endpoint(network, options) for network, options in networks.items())
    if isinstance(networks, str) or not isinstance(networks, Iterable):
        raise InvalidSpecError("networks", repr(networks), "a sequence of networks, or a mapping with options of each")
    return tuple(parse_endpoint(network, None) for network in networks)


def _with(endpoint: WantedEndpoint, options: EndpointOptions) -> WantedEndpoint:
    if not isinstance(options, Mapping) or options.keys() - EndpointOptions.__annotations__.keys():
        known = ", ".join(EndpointOptions.__annotations__)
        raise InvalidSpecError(f"options of network {endpoint.network}", repr(options), f"a mapping with {known}")
    aliases, ip, ip6 = options.get("aliases"), options.get("ip"), options.get("ip6")
    if isinstance(aliases, str) or not isinstance(aliases, Iterable | None):
        raise InvalidSpecError("aliases", repr(aliases), "a sequence of names")
    return replace(
        endpoint,
        aliases=(*endpoint.aliases, *(_parse_alias(alias) for alias in aliases or ())),
        ip=endpoint.ip if ip is None else _parse_ip(ip),
        ip6=endpoint.ip6 if ip6 is None else _parse_ip6(ip6),
    )


def _parse_alias(alias: object) -> str:
    if (
        not isinstance(alias, str)
        or _ALIAS.fullmatch(alias) is None
        or len(alias) > _LONGEST_NAME
        or not all(0 < len(label) <= _LONGEST_LABEL for label in alias.split("."))
    ):
        raise InvalidSpecError("alias", str(alias), "a host name: letters, digits, '-', '_' and '.'")
    return alias


def _parse_ip(ip: object) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(str(ip))
    except ValueError as error:
        raise InvalidSpecError("ip", str(ip), f"an IPv4 address ({error})") from None


def _parse_ip6(ip: object) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(str(ip))
    except ValueError as error:
        raise InvalidSpecError("ip6", str(ip), f"an IPv6 address ({error})") from None


def _names(endpoints: tuple[WantedEndpoint, ...]) -> str:
    return ", ".join(endpoint.network for endpoint in endpoints)
