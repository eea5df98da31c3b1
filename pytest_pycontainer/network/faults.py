"""What goes wrong on a network on request: partitions, losses, delays, slow lines.

Partitions and losses are rules for what passes the bridge, in a table of the family bridge in the switch namespace.
As the nft command would print it::

    chain faults { type filter hook forward priority 0 }
        ether type != arp iifname A oifname B drop                        a partition, in either direction
        ether type != arp iifname A oifname != A drop                     one from everybody else
        ether type != arp iifname A numgen random mod 1000000 < 50000 drop    a loss of 5 %, in either direction

Hardware addresses are still told: without them a program would hear of a host that is unreachable, and after the end of
a partition nothing would get through for a second.

Delays and slow lines are queueing disciplines at both ends of a container's cable. The table goes with the socket that
made it, and everything with the namespaces.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from pytest_pycontainer.errors import FaultUnsupportedError
from pytest_pycontainer.kernel import nftables, traffic_control
from pytest_pycontainer.kernel.netlink import Message, NetlinkError, NetlinkSocket
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace

Addresses = set[ipaddress.IPv4Address]


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a container's cable, where its disciplines are: ``index`` and ``name`` in a namespace."""

    index: int
    name: str


OpenInterface = Callable[[ipaddress.IPv4Address], AbstractContextManager[tuple[NetworkNamespace, Interface] | None]]
"""Lends a container's namespace, and its interface with that address, for a block; None if the container is gone."""


@dataclass(slots=True, eq=False)
class Partition:
    """Nothing gets from ``one`` to the ``other`` side, or back; None is everybody else."""

    one: Addresses
    other: Addresses | None

    @property
    def sides(self) -> tuple[Addresses, ...]:
        """The addresses that it is about."""
        return (self.one,) if self.other is None else (self.one, self.other)


@dataclass(slots=True, eq=False)
class Loss:
    """Of the packets to and from each of ``addresses`` so many of a million are lost, at random."""

    addresses: Addresses
    per_million: int

    @property
    def sides(self) -> tuple[Addresses, ...]:
        """The addresses that it is about."""
        return (self.addresses,)


@dataclass(slots=True, eq=False)
class Delay:
    """What each of ``addresses`` sends, and what is sent to it, takes so much longer."""

    addresses: Addresses
    nanoseconds: int
    jitter_nanoseconds: int

    @property
    def sides(self) -> tuple[Addresses, ...]:
        """The addresses that it is about."""
        return (self.addresses,)


@dataclass(slots=True, eq=False)
class Bandwidth:
    """Each of ``addresses`` sends, and is sent, so much at most."""

    addresses: Addresses
    bytes_per_second: int

    @property
    def sides(self) -> tuple[Addresses, ...]:
        """The addresses that it is about."""
        return (self.addresses,)


Fault = Partition | Loss | Delay | Bandwidth

_TABLE = "pycontainer"
_CHAIN = "faults"
_MILLION: Final = 1_000_000
_UNSUPPORTED = (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)

_NEEDED: Final = {
    Partition: ("a partition", "CONFIG_NF_TABLES_BRIDGE"),
    Loss: ("losses", "CONFIG_NF_TABLES_BRIDGE and CONFIG_NFT_NUMGEN"),
    Delay: ("a delay", "CONFIG_NET_SCH_NETEM"),
    Bandwidth: ("a bandwidth", "CONFIG_NET_SCH_TBF"),
}
_DELAY, _RATE = 1, 2
_BURST_SECONDS = 0.01
_QUEUE_SECONDS = 0.1
_SMALLEST_BURST = 16 << 10
_HEADER = 18  # of a frame, with a tag
_SMALLEST_QUEUE = 256 << 10


class NetworkFaults:
    """The faults of one network. One thread at a time. What the kernel refuses is raised as NetlinkError.

    ``open_netfilter`` opens a socket of that protocol in the switch namespace, ``switch`` is a routing socket in it;
    ``port_of`` names the bridge's port that leads to an address.
    """

    def __init__(
        self,
        open_netfilter: Callable[[], NetlinkSocket],
        switch: NetlinkSocket,
        port_of: Callable[[ipaddress.IPv4Address], Interface],
        mtu: int,
    ) -> None:
        self._open_netfilter = open_netfilter
        self._switch = switch
        self._port_of = port_of
        self._smallest_burst = max(_SMALLEST_BURST, mtu + _HEADER)  # a packet that is larger than that is dropped
        self._netfilter: NetlinkSocket | None = None
        self._faults: tuple[Fault, ...] = ()

    def close(self) -> None:
        """Lets go of the table, which the kernel removes."""
        if self._netfilter is not None:
            self._netfilter.close()
            self._netfilter = None

    @property
    def present(self) -> tuple[Fault, ...]:
        """Those that have not been undone."""
        return self._faults

    def add(self, fault: Fault, open_interface: OpenInterface) -> None:
        """Brings it about. Raises FaultUnsupportedError; then everything is as it was."""
        before = self._faults
        self._faults = (*before, fault)
        try:
            with _unsupported(fault):
                self._apply(fault, open_interface)
        except BaseException:
            self._faults = before
            with suppress(NetlinkError):
                self._apply(fault, open_interface)
            raise

    def remove(self, fault: Fault, open_interface: OpenInterface) -> None:
        """Undoes it. Nothing happens for one that is undone."""
        if fault in self._faults:
            self._faults = tuple(other for other in self._faults if other is not fault)
            self._apply(fault, open_interface)

    def forget(self, address: ipaddress.IPv4Address) -> None:
        """The address is nobody's: who gets it next has no faults. Its interface, with its disciplines, is gone."""
        concerned = [fault for fault in self._faults if any(address in side for side in fault.sides)]
        for fault in concerned:
            for side in fault.sides:
                side.discard(address)
        if any(isinstance(fault, Partition | Loss) for fault in concerned):
            self._write_rules()

    def _apply(self, fault: Fault, open_interface: OpenInterface) -> None:
        if isinstance(fault, Partition | Loss):
            self._write_rules()
            return
        for address in fault.addresses:
            port = self._port_of(address)
            delay = [other for other in self._faults if isinstance(other, Delay) and address in other.addresses]
            rate = [other for other in self._faults if isinstance(other, Bandwidth) and address in other.addresses]
            self._shape(self._switch, port, delay, rate)
            with open_interface(address) as found:
                if found is not None:
                    namespace, interface = found
                    self._shape(NetlinkSocket(namespace.route_socket), interface, delay, rate)

    def _shape(
        self, endpoint: NetlinkSocket, interface: Interface, delays: list[Delay], rates: list[Bandwidth]
    ) -> None:
        """Gives an interface the disciplines of all these faults; without any, none."""
        index, name = interface.index, interface.name
        try:
            endpoint.request([traffic_control.at_once(index, name)])
        except NetlinkError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
                raise
        changes: list[Message] = []
        parent = traffic_control.ROOT
        if delays:
            nanoseconds = sum(fault.nanoseconds for fault in delays)
            jitter = sum(fault.jitter_nanoseconds for fault in delays)
            own = traffic_control.handle(_DELAY)
            changes.append(traffic_control.delay(index, name, nanoseconds, jitter, own=own, parent=parent))
            parent = traffic_control.first_class(_DELAY)
        if rates:
            rate = min(fault.bytes_per_second for fault in rates)
            burst = max(int(rate * _BURST_SECONDS), self._smallest_burst)
            queue = max(int(rate * _QUEUE_SECONDS), _SMALLEST_QUEUE)
            own = traffic_control.handle(_RATE)
            changes.append(
                traffic_control.limit_rate(index, name, rate, burst=burst, queue=queue, own=own, parent=parent)
            )
        if changes:
            endpoint.request(changes)

    def _write_rules(self) -> None:
        """Makes the chain say what the faults are now, all at once."""
        if self._netfilter is None:
            self._netfilter = self._create_table()
        rules = [rule for fault in self._faults for rule in self._rules(fault)]
        family = nftables.BRIDGE
        changes = [nftables.delete_rules(_TABLE, _CHAIN, family=family)]
        for rule in rules:
            changes.append(
                nftables.add_rule(_TABLE, _CHAIN, nftables.unless_arp(), *rule, nftables.drop(), family=family)
            )
        nftables.commit(self._netfilter, changes)

    def _create_table(self) -> NetlinkSocket:
        family = nftables.BRIDGE
        netfilter = self._open_netfilter()
        try:
            table = nftables.create_owned_table(_TABLE, family=family)
            chain = nftables.create_chain(_TABLE, _CHAIN, "filter", nftables.FORWARD, 0, family=family)
            nftables.commit(netfilter, [table, chain])
        except BaseException:
            netfilter.close()
            raise
        return netfilter

    def _rules(self, fault: Fault) -> Iterator[Sequence[bytes]]:
        """The conditions on which a packet is dropped."""
        into, out = nftables.if_input, nftables.if_output
        if isinstance(fault, Loss):
            chance = nftables.if_by_chance(fault.per_million, _MILLION)
            for port in self._ports(fault.addresses):
                yield into(port), chance
                yield out(port), chance
        elif isinstance(fault, Partition) and fault.other is not None:
            for port in self._ports(fault.one):
                for other in self._ports(fault.other):
                    yield into(port), out(other)
                    yield into(other), out(port)
        elif isinstance(fault, Partition):
            together = self._ports(fault.one)
            for port in together:
                yield into(port), *(out(other, equal=False) for other in together)
                yield out(port), *(into(other, equal=False) for other in together)

    def _ports(self, addresses: Iterable[ipaddress.IPv4Address]) -> list[str]:
        return [self._port_of(address).name for address in sorted(addresses)]


@contextmanager
def _unsupported(fault: Fault) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        raise FaultUnsupportedError(*_NEEDED[type(fault)], str(error)) from error
