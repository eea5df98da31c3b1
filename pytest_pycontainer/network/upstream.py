"""What the uplinks of networks lead to: this machine's network, or a router of the engine's own.

Who may not change this machine's network has a router in the place of the machine: a network namespace that is the
engine's own, in which the same interfaces, addresses and rules are made. From there nothing gets to the machine or
beyond by itself: published ports are the forwarder's, and the way out is a program's (``pasta``, ``slirp4netns``) that
speaks for the router as a process of this machine.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_pycontainer.errors import NetworkAttachError, SubnetInUseError
from pytest_pycontainer.kernel import namespaces, nftables, rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkSocket
from pytest_pycontainer.network import rules
from pytest_pycontainer.network.addresses import ipv6_obstacle
from pytest_pycontainer.network.forwarding import Forwarding
from pytest_pycontainer.network.ipv6 import Ipv6Addresses, claim_way_out, open_uplink, require_ipv6, subnet_for

_DEFAULT_MTU: Final = 1500
_MACHINES_POOL: Final = "10.213.0.0/16"
_ROUTERS_POOL: Final = "10.214.0.0/16"  # not root's: no address of theirs is to lead to another engine's container
ROUTER_MTU: Final = 65520
"""Bytes: nothing on the way to a router, or out of it, is a cable; the programs that lead out know no larger one."""

Ipv6 = bool | ipaddress.IPv6Network
"""Whether a network has IPv6; a subnet is its own choice."""

NetworkSettings = Mapping[str, str]
"""Values of files, by their paths below /proc/sys/net."""


@dataclass(frozen=True, slots=True)
class NetworkAccess:
    """How a namespace is worked in that this process is not in; both raise OSError.

    ``open_netfilter`` opens a socket of the protocol NETLINK_NETFILTER in the namespace open as that descriptor.
    """

    open_netfilter: Callable[[int], NetlinkSocket]
    write_settings: Callable[[int, NetworkSettings], None]


@dataclass(frozen=True, slots=True)
class Router:
    """A namespace that networks end in, and two sockets in it that one of them may use alone.

    ``outlet`` is None if nothing leads out.
    """

    namespace: int
    route: NetlinkSocket
    netfilter: NetlinkSocket
    outlet: rules.Outlet | None
    access: NetworkAccess

    def close(self) -> None:
        """Closes the sockets. Again is harmless."""
        self.route.close()
        self.netfilter.close()


@dataclass(slots=True)
class Upstream:
    """What one network's uplink leads to: ``namespace``, and sockets in it. One thread at a time."""

    namespace: int
    route: NetlinkSocket
    netfilter: NetlinkSocket
    mtu: int
    taken: tuple[ipaddress.IPv4Network, ...]
    """What is routed there already."""
    internal: bool
    access: NetworkAccess
    pool: str = _MACHINES_POOL
    """What subnets are cut from if nothing is said."""
    is_machine: bool = True
    outlet: rules.Outlet | None = None
    """What leads out of a router."""
    forwarding: Forwarding | None = None
    forwarding6: Forwarding | None = None
    ipv6: Ipv6 = False
    gets_out6: bool = False

    @classmethod
    def this_machine(cls, state: Path, resources: ExitStack, *, internal: bool, ipv6: Ipv6) -> Upstream:
        """The machine's own network, as the calling thread has it; what is to be undone is left in ``resources``.

        Raises NetworkAttachError, and NetlinkError.
        """
        namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        resources.callback(os.close, namespace)
        route, netfilter = NetlinkSocket.open(rtnetlink.ROUTE), NetlinkSocket.open(nftables.NETFILTER)
        for one in (route, netfilter):
            resources.callback(one.close)
        known = rtnetlink.routes(route)
        device = rtnetlink.default_device(route, known)
        way_out = None if internal or device is None else device.name
        forwarding = Forwarding.claim(state, way_out)
        resources.callback(forwarding.release)
        upstream = cls(
            namespace,
            route,
            netfilter,
            device.mtu if device else _DEFAULT_MTU,
            _taken(route, known),
            internal,
            DIRECT_ACCESS,
            forwarding=forwarding,
            ipv6=ipv6,
        )
        if ipv6:
            require_ipv6()
            _check_free(ipv6, route)
            upstream.forwarding6, upstream.gets_out6 = claim_way_out(state, route, internal=internal)
            resources.callback(upstream.forwarding6.release)
        return upstream

    @classmethod
    def through(cls, router: Router, resources: ExitStack, *, internal: bool, ipv6: Ipv6) -> Upstream:
        """A router's network; its sockets are closed by ``resources``. Raises NetworkAttachError, and NetlinkError."""
        resources.callback(router.close)
        if ipv6:
            require_ipv6()
            _check_free(ipv6, router.route)
        machine = NetlinkSocket.open(rtnetlink.ROUTE)
        try:  # its networks are to be reached, too
            _check_free(ipv6, machine)
            taken = (*_taken(machine, rtnetlink.routes(machine)), *_taken(router.route, rtnetlink.routes(router.route)))
        finally:
            machine.close()
        return cls(
            router.namespace,
            router.route,
            router.netfilter,
            ROUTER_MTU,
            taken,
            internal,
            router.access,
            pool=_ROUTERS_POOL,
            is_machine=False,
            outlet=None if internal else router.outlet,
            ipv6=ipv6,
        )

    @property
    def _subnet6(self) -> ipaddress.IPv6Network | None:
        """The one that was asked for."""
        return None if isinstance(self.ipv6, bool) else self.ipv6

    def rules_for(self, subnet: ipaddress.IPv4Network, name: str) -> list[Message]:
        """The table of a network with that subnet."""
        rules6 = None
        if self.ipv6:
            guarded6 = self.forwarding6.device if self.forwarding6 is not None and self.forwarding6.ours else None
            rules6 = rules.Ipv6Rules(self._subnet6 or subnet_for(subnet), guarded6)
        guarded = self.forwarding.device if self.forwarding is not None and self.forwarding.ours else None
        return rules.create_table(name, subnet, guarded, internal=self.internal, ipv6=rules6, outlet=self.outlet)

    def open_way(self, subnet: ipaddress.IPv4Network, uplink: str) -> Ipv6Addresses | None:
        """Lets through what the rules are in force for; the network's IPv6 addresses, if it has any.

        Raises NetworkAttachError, and NetlinkError.
        """
        if self.forwarding is not None:
            self.forwarding.turn_on()
        if not self.ipv6:
            return None
        addresses = Ipv6Addresses(subnet, self._subnet6, gets_out=self.gets_out6)
        open_uplink(self.route, uplink, addresses)
        if self.forwarding6 is not None:
            self.forwarding6.turn_on()
        return addresses


def _check_free(ipv6: Ipv6, endpoint: NetlinkSocket) -> None:
    """Raises SubnetInUseError if a subnet that was asked for is routed there. Another process may still be faster."""
    if not isinstance(ipv6, bool) and (obstacle := ipv6_obstacle(rtnetlink.ipv6_routes(endpoint), ipv6)):
        raise SubnetInUseError(str(ipv6), str(obstacle))


def _taken(endpoint: NetlinkSocket, known: list[rtnetlink.Route]) -> tuple[ipaddress.IPv4Network, ...]:
    own = (address.network for address in rtnetlink.addresses(endpoint))
    return *(route.destination for route in known), *own


def _open_netfilter(namespace: int) -> NetlinkSocket:
    return namespaces.call_inside(namespace, namespaces.NETWORK, lambda: NetlinkSocket.open(nftables.NETFILTER))


def _write_settings(namespace: int, settings: NetworkSettings) -> None:
    def write() -> None:
        for name, value in settings.items():
            Path("/proc/sys/net", name).write_text(value)

    # The kernel shows these settings to those in that network alone.
    namespaces.call_inside(namespace, namespaces.NETWORK, write)


DIRECT_ACCESS: Final = NetworkAccess(_open_netfilter, _write_settings)
"""By a thread that enters the namespace, for which this process needs privilege."""


def switch_on_ipv6(access: NetworkAccess, namespace: int, interface: str) -> None:
    """Lets a container's interface have IPv6, but take no routes from others. Raises NetworkAttachError."""
    conf = f"ipv6/conf/{interface}"
    try:
        access.write_settings(namespace, {f"{conf}/accept_ra": "0", f"{conf}/disable_ipv6": "0"})
    except OSError as error:
        raise NetworkAttachError(f"switch on IPv6 for {interface}", error.strerror or str(error)) from error
