"""The options that say which networks a container is in, as callers write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, TypedDict

if TYPE_CHECKING:
    from pytest_pycontainer.engine.networks import Network


class EndpointOptions(TypedDict, total=False):
    """How a container is in one network: further names for it, and its addresses, if these are to be certain ones."""

    aliases: Iterable[str] | None
    ip: str | None
    ip6: str | None


NetworkName: TypeAlias = "Network | str"
"""A network of the engine, or its name."""

Networks: TypeAlias = "Iterable[NetworkName] | Mapping[NetworkName, EndpointOptions | None]"
"""Networks, or networks with how the container is in each."""


class NetworkOptions(TypedDict, total=False):
    """Which networks a container is in, with docker's names and meanings.

    ``network`` is one that ``Engine.network`` gave, its name, ``bridge`` (the engine's own, and the default), ``none``,
    ``host`` (this machine's, all of it), or ``container:NAME`` (another one's, while it runs). ``network_aliases`` are
    further names by which others in it find the container, ``ip`` and ``ip6`` its addresses there. ``networks`` are
    several, each perhaps with these options: ``{"front": {"aliases": ["web"]}, "back": None}``; those of both are
    interfaces eth0, eth1 and so on, in their order. Ports are published, and the outside is reached, through the
    first that is not internal.

    ``dns`` are the servers that are asked for what is no container's name, this machine's own unless they are named;
    ``dns_search`` (``"."`` for none) and ``dns_options`` take the place of this machine's. ``extra_hosts`` are further
    lines of /etc/hosts, addresses by name or docker's ``NAME:ADDRESS``; ``host-gateway`` is this machine's address.
    """

    network: NetworkName | None
    networks: Networks | None
    network_aliases: Iterable[str] | None
    ip: str | None
    ip6: str | None
    dns: Iterable[str] | None
    dns_search: Iterable[str] | None
    dns_options: Iterable[str] | None
    extra_hosts: Mapping[str, str] | Iterable[str] | None
