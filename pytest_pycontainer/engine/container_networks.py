"""Which networks a container is in."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.errors import NetworkAttachError
from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace
from pytest_pycontainer.network.names import with_host, without_host
from pytest_pycontainer.runtime import messages

if TYPE_CHECKING:
    from pytest_pycontainer.engine.attachment import Attachment, Endpoint
    from pytest_pycontainer.engine.network_modes import WantedEndpoint
    from pytest_pycontainer.engine.network_registry import NamedNetwork


class ContainerNetworks(ContainerHandle):
    """The part of ``Container`` that knows its networks."""

    _attachment: Attachment | None = None

    @property
    def networks(self) -> Mapping[str, str]:
        """The names of the networks that it is in, with its address in each, in the order of its interfaces."""
        if self._attachment is not None and not self._removed:
            return dict(self._attachment.addresses)
        return dict(self._described_addresses())

    @property
    def ip_address(self) -> str:
        """The address in the first of its networks, reachable from this machine; empty without a network."""
        return next(iter(self.networks.values()), "")

    def _described_addresses(self) -> tuple[tuple[str, str], ...]:
        if self._removed:
            return self._description.addresses
        return self._connection.describe(self.name).addresses

    def _endpoints(self) -> tuple[Endpoint, ...]:
        """Its places in networks; none for a container of another engine."""
        return () if self._attachment is None else self._attachment.endpoints

    def _connect(self, wanted: WantedEndpoint) -> None:
        """Gives it an interface; see ``Network.connect``."""
        with self._lock:
            self._require_present()
            if self._attachment is None:
                detail = "it has this machine's network, or another container's"
                raise NetworkAttachError(f"connect {self.name} to {wanted.network}", detail)
            endpoint = self._attachment.connect(wanted, self._open_network_namespace)
            self._change_hosts_file(added=str(endpoint.address))

    def _disconnect(self, network: NamedNetwork) -> None:
        """Takes an interface away; see ``Network.disconnect``."""
        with self._lock:
            self._require_present()
            if self._attachment is None:
                raise NetworkAttachError(f"disconnect {self.name} from {network.name}", "it is not connected to it")
            endpoint = self._attachment.disconnect(network, self._open_network_namespace)
            self._change_hosts_file(removed=str(endpoint.address))

    def _change_hosts_file(self, *, added: str = "", removed: str = "") -> None:
        """Has /etc/hosts, the monitor, and whoever asks it know the addresses."""
        assert self._attachment is not None
        file = self._directory / "hosts"
        before = file.read_text()
        after = with_host(before, self._spec.hostname, added) if added else without_host(before, removed)
        file.write_text(after)  # in place: it is mounted
        ports = tuple(
            (port.host_address, port.host_port, port.container_port, port.protocol)
            for port in self._attachment.published
        )
        self._connection.send(messages.Connected(self._attachment.addresses, ports))

    @contextmanager
    def _open_network_namespace(self) -> Iterator[NetworkNamespace]:
        """Its network namespace, which its monitor keeps over all its runs."""
        namespace, route = self._connection.open_network(self.name)
        try:
            with socket.socket(fileno=route) as route_socket:
                yield NetworkNamespace(namespace, route_socket)
        finally:
            os.close(namespace)
