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
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.spec import ContainerDescription

if TYPE_CHECKING:
    from pytest_pycontainer.engine.attachment import Attachment, Endpoint
    from pytest_pycontainer.engine.network_faults import NetworkFault
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
        return dict(self._described().addresses)

    @property
    def ip_address(self) -> str:
        """The address in the first of its networks; empty without a network.

        This machine reaches it, but not an ordinary user's: for that a port has to be published, or ``connect`` asked.
        """
        return next(iter(self.networks.values()), "")

    @property
    def ip6_address(self) -> str:
        """The address in the first of its networks that has IPv6; empty without one."""
        if self._attachment is not None and not self._removed:
            addresses = self._attachment.ipv6_addresses
        else:
            addresses = self._described().ipv6_addresses
        return next((address for _, address in addresses), "")

    def disconnect(self) -> NetworkFault:
        """Pulls all its cables: nothing gets through between it and anybody, published ports included.

        Neither side is told: connections hang. Undone by the fault's ``heal()``, by leaving it as a context manager,
        and by removal. Raises NetworkAttachError for one without a network of its own, or of another engine, and
        FaultUnsupportedError where the kernel can't do it.
        """
        from pytest_pycontainer.engine.network_faults import cut_off

        with self._lock:
            self._require_present()
            if not self._endpoints():
                detail = "no network that this engine has made is connected to it"
                raise NetworkAttachError(f"disconnect {self.name}", detail)
            return cut_off(self.name, self._endpoints())

    def _is_forwarded(self, host_address: str) -> bool:
        """Whether our forwarder accepts who connects to a port published at that address, server or not."""
        if self._attachment is None:
            return ":" in host_address or os.geteuid() != 0
        return self._attachment.is_forwarded(host_address)

    def _described(self) -> ContainerDescription:
        return self._description if self._removed else self._connection.describe(self.name)

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
            self._tell_of_change(added=endpoint)

    def _disconnect(self, network: NamedNetwork) -> None:
        """Takes an interface away; see ``Network.disconnect``."""
        with self._lock:
            self._require_present()
            if self._attachment is None:
                raise NetworkAttachError(f"disconnect {self.name} from {network.name}", "it is not connected to it")
            endpoint = self._attachment.endpoint_in(network)
            try:
                self._attachment.disconnect(endpoint, self._open_network_namespace)
            finally:
                self._tell_of_change(removed=endpoint)

    def _tell_of_change(self, *, added: Endpoint | None = None, removed: Endpoint | None = None) -> None:
        """Has the container, its monitor, and whoever asks that know the addresses."""
        from pytest_pycontainer.engine.network_files import change_network_files

        assert self._attachment is not None
        change_network_files(self._directory, self._spec.hostname, self._attachment, added=added, removed=removed)
        self._tell_of_ports(self._attachment)

    def _tell_of_ports(self, attachment: Attachment) -> None:
        """Has the monitor know the ports that are published, and the addresses."""
        ports = tuple(
            (port.host_address, port.host_port, port.container_port, port.protocol) for port in attachment.published
        )
        self._connection.send(messages.Connected(attachment.addresses, attachment.ipv6_addresses, ports))

    @contextmanager
    def _open_network_namespace(self) -> Iterator[NetworkNamespace]:
        """Its network namespace, which its monitor keeps over all its runs."""
        namespace, route = self._connection.open_network(self.name)
        try:
            with socket.socket(fileno=route) as route_socket:
                yield NetworkNamespace(namespace, route_socket)
        finally:
            os.close(namespace)
