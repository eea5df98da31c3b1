"""The names that an engine's resolver knows: containers, in the networks that they share with who asks."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Final

from pytest_pycontainer.runtime import dns, messages
from pytest_pycontainer.runtime.dns import Query
from pytest_pycontainer.runtime.name_changes import LeaveNetwork, NameChange, NameContainer, ServeNetwork
from pytest_pycontainer.runtime.state import SOCKET_NAME
from pytest_pycontainer.runtime.values import dataclass, field

MACHINE_NAMES: Final = ("host.docker.internal", "gateway.docker.internal")
"""What Docker calls the machine, as containers see it."""

# What is answered may be another thing as soon as somebody stops a container.
_VALID_SECONDS = 1
_MONITOR_SECONDS = 0.2


@dataclass(slots=True)
class _Network:
    served: ServeNetwork
    members: dict[str, NameContainer] = field(default_factory=dict)

    def has(self, address: bytes) -> bool:
        gateway, length = self.served.gateway, 8 * len(self.served.gateway)
        if len(address) != len(gateway):
            return False
        host = length - self.served.prefix
        return int.from_bytes(address, "big") >> host == int.from_bytes(gateway, "big") >> host


class NameTable:
    """The containers of an engine's networks. ``has_exited`` says of a container's directory whether it has."""

    def __init__(self, has_exited: Callable[[str], bool]) -> None:
        self._networks: dict[str, _Network] = {}
        self._has_exited = has_exited
        self._turn = 0

    def change(self, change: NameChange) -> None:
        """Takes in what the engine tells. What is said of networks that are not there is not heard."""
        if isinstance(change, ServeNetwork):
            self._networks[change.key] = _Network(change)
        elif isinstance(change, LeaveNetwork):
            self._networks.pop(change.key, None)
        elif (network := self._networks.get(change.key)) is not None:
            if isinstance(change, NameContainer):
                network.members[change.container] = change
            else:
                network.members.pop(change.container, None)

    def servers_for(self, key: str, asker: bytes) -> tuple[str, ...] | None:
        """The servers to ask for the container with address ``asker``, () for this machine's own; None for none at all.

        Who has no way out has none by the resolver either (CVE-2024-29018), but to servers that it reaches itself.
        """
        member = self._asker(key, asker)
        servers = () if member is None else member.servers
        networks = list(self._of(key, asker)) if key in self._networks else []
        if not all(network.served.internal for network in networks):
            return servers
        near = (server for server in servers if any(network.has(_packed(server)) for network in networks))
        return tuple(near) or None

    def answer(self, query: Query, key: str, asker: bytes) -> bytes | None:
        """The answer for the container with address ``asker`` in network ``key``; None for what is not ours to know.

        Names are those of all networks that the asker is in.
        """
        if not query.is_internet or key not in self._networks:
            return None
        if query.kind == dns.PTR:
            return self._answer_pointer(query, key, asker)
        if query.name in MACHINE_NAMES:
            return _addresses(query, [self._networks[key].served.gateway])
        known = [member for network in self._of(key, asker) for member in _named(network, query.name)]
        if not known:
            return None
        alive = [member for member in known if not self._has_exited(member.directory)]
        if not alive:
            return dns.answer(query, dns.NO_SUCH_NAME)
        addresses = list(dict.fromkeys(address for member in alive for address in member.addresses))
        first = self._turn % len(addresses)  # each is the first in its turn: most clients take that one
        self._turn += 1
        return _addresses(query, addresses[first:] + addresses[:first])

    def _answer_pointer(self, query: Query, key: str, asker: bytes) -> bytes | None:
        address = dns.address_of_pointer(query.name)
        if address is None:
            return None
        for network in self._of(key, asker):
            if address == network.served.gateway:
                return _pointer(query, MACHINE_NAMES[0])
            for member in network.members.values():
                if address in member.addresses:
                    return _pointer(query, f"{member.names[0]}.{network.served.name}")
            if network.has(address):
                return dns.answer(query, dns.NO_SUCH_NAME)  # nobody else knows better, and to find that out takes long
        return None

    def _asker(self, key: str, asker: bytes) -> NameContainer | None:
        network = self._networks.get(key)
        members = () if network is None else network.members.values()
        return next((member for member in members if asker in member.addresses), None)

    def _of(self, key: str, asker: bytes) -> Iterator[_Network]:
        """The networks of who asks, the one that it asks in first."""
        yield self._networks[key]
        member = self._asker(key, asker)
        if member is not None:
            for other, network in self._networks.items():
                if other != key and member.container in network.members:
                    yield network


def _packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address.partition("%")[0])


def _named(network: _Network, name: str) -> Iterator[NameContainer]:
    """The containers of that name, with the network's behind it or not."""
    short = name.removesuffix(f".{network.served.name.lower()}")
    for member in network.members.values():
        if any(own.lower() in (name, short) for own in member.names):
            yield member


def _addresses(query: Query, addresses: list[bytes]) -> bytes:
    """Those of the kind that is asked for: a name that has none of these is a name all the same."""
    length = {dns.A: 4, dns.AAAA: 16}.get(query.kind, 0)
    fitting = [address for address in addresses if len(address) == length]
    return dns.answer(query, dns.NO_ERROR, fitting, seconds=_VALID_SECONDS)


def _pointer(query: Query, name: str) -> bytes:
    try:
        return dns.answer(query, dns.NO_ERROR, [dns.encode_name(name)], seconds=_VALID_SECONDS)
    except ValueError:
        return dns.answer(query, dns.NO_SUCH_NAME)


def has_exited(directory: str) -> bool:
    """Whether the container whose monitor listens in ``directory`` has exited, or is gone.

    One whose monitor is too busy to say so has not.
    """
    try:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(_MONITOR_SECONDS)
            parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                monitor.connect(f"/proc/self/fd/{parent}/{SOCKET_NAME}")
            finally:
                os.close(parent)
            received = messages.receive(monitor)
    except TimeoutError:
        return False
    except OSError:
        return True
    if received is None:
        return True
    message, descriptors = received
    for descriptor in descriptors:
        os.close(descriptor)
    return isinstance(message, messages.StateChanged) and message.state.status == "exited"
