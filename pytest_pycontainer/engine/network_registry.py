"""The networks of one engine, by name."""

from __future__ import annotations

import ipaddress
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from pytest_pycontainer.engine.network_modes import DEFAULT_NETWORK
from pytest_pycontainer.errors import NetworkInUseError, NetworkNotFoundError
from pytest_pycontainer.network.bridge import Network


class OpenNetwork(Protocol):
    """Makes a bridge, and what belongs to it. Raises NetworkError and SpawnerError."""

    def __call__(self, *, subnet: ipaddress.IPv4Network | None = None, internal: bool = False) -> Network: ...


@dataclass(frozen=True, slots=True, eq=False)
class NamedNetwork:
    """A network, and the containers that are in it: their names, by id."""

    name: str
    bridge: Network
    members: dict[str, str] = field(default_factory=dict)


class NetworkRegistry:
    """Opens networks when they are asked for, the default one too. Safe to use from several threads.

    ``lock`` guards it; it may be one that its owner needs while a network is opened.
    """

    def __init__(self, lock: AbstractContextManager[object], open_network: OpenNetwork) -> None:
        self._lock = lock
        self._open = open_network
        self._networks: dict[str, NamedNetwork] = {}

    def get(self, name: str) -> NamedNetwork:
        """The network of that name. Raises NetworkNotFoundError, and NetworkError if the default one can't be made."""
        with self._lock:
            if name == DEFAULT_NETWORK:
                return self.ensure(name)
            if name not in self._networks:
                raise NetworkNotFoundError(name, self.names())
            return self._networks[name]

    def ensure(self, name: str, *, subnet: ipaddress.IPv4Network | None = None, internal: bool = False) -> NamedNetwork:
        """The network of that name, made if it is not there. Raises NetworkError."""
        with self._lock:
            if name not in self._networks:
                self._networks[name] = NamedNetwork(name, self._open(subnet=subnet, internal=internal))
            return self._networks[name]

    def names(self) -> tuple[str, ...]:
        """The names of all, the default one first."""
        with self._lock:
            return tuple(dict.fromkeys((DEFAULT_NETWORK, *self._networks)))

    def listed(self) -> list[NamedNetwork]:
        """Those that are there, the oldest first."""
        with self._lock:
            return list(self._networks.values())

    def is_open(self, network: NamedNetwork) -> bool:
        """Whether it has not been removed."""
        return self._networks.get(network.name) is network

    def join(
        self, name: str, container_id: str, container: str, ip: ipaddress.IPv4Address | None
    ) -> tuple[NamedNetwork, ipaddress.IPv4Address]:
        """Makes a container a member of the network of that name, with the address ``ip`` or a free one.

        Raises what ``get`` raises, AddressInUseError, InvalidSpecError and NetworkAttachError.
        """
        with self._lock:
            network = self.get(name)
            address = network.bridge.allocate(ip)
            network.members[container_id] = container
            return network, address

    def leave(self, network: NamedNetwork, container_id: str, address: ipaddress.IPv4Address) -> None:
        """Undoes ``join``."""
        with self._lock:
            network.members.pop(container_id, None)
            network.bridge.release(address)

    def remove(self, network: NamedNetwork) -> None:
        """Closes a network. Removing it again is no error. Raises NetworkInUseError."""
        with self._lock:
            if not self.is_open(network):
                return
            if network.members:
                raise NetworkInUseError(network.name, tuple(network.members.values()))
            del self._networks[network.name]
            network.bridge.close()

    def close(self) -> None:
        """Closes all."""
        with self._lock, ExitStack() as closing:
            for network in self._networks.values():
                closing.callback(network.bridge.close)
            self._networks.clear()
