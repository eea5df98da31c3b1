"""What a container holds of a network: an address, and its published ports."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address

from pytest_pycontainer.engine.port_arguments import PortMapping
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace
from pytest_pycontainer.network.bridge import Network
from pytest_pycontainer.network.ports import PublishedPort


class Attachment:
    """One container's place in a network; ``close`` gives all of it back."""

    def __init__(self, network: Network, mappings: Sequence[PortMapping]) -> None:
        self._network = network
        self._mappings = mappings
        self._published: list[PublishedPort] = []
        self.address: IPv4Address = network.allocate()

    @property
    def published(self) -> tuple[PublishedPort, ...]:
        """The ports that lead into the container now."""
        return tuple(self._published)

    def attach(self, namespace: int, route_socket: socket.socket) -> None:
        """Gives the container its interface. Raises NetworkAttachError."""
        self._network.attach(self.address, NetworkNamespace(namespace, route_socket))

    def publish(self) -> None:
        """Publishes the ports. Raises PortInUseError and other NetworkErrors, with nothing left published."""
        try:
            for mapping in self._mappings:
                self._published.append(
                    self._network.publish(
                        self.address,
                        mapping.container_port,
                        host_address=mapping.host_address,
                        host_port=mapping.host_port,
                        protocol=mapping.protocol,
                    )
                )
        except BaseException:
            self.unpublish()
            raise

    def unpublish(self) -> None:
        """Takes the published ports back."""
        while self._published:
            self._network.unpublish(self._published.pop())

    def close(self) -> None:
        """Gives back ports and address; the kernel removes the interface with its namespace."""
        self.unpublish()
        self._network.release(self.address)
