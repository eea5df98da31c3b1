"""What is waited for where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.port_arguments import Port, Ports, parse_ports
from pytest_pycontainer.engine.readiness import Wait
from pytest_pycontainer.errors import ContainerExitedError, ContainerNotReadyError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container


@dataclass(frozen=True, slots=True)
class DefaultWait:
    """Waits for the health check, if there is one; else for ``ports``; else for one of those that the image exposes.

    One, since images expose what they only listen on when they are told to. Without any of these for nothing.
    """

    ports: tuple[Port, ...] = ()
    timeout: float | None = None

    @classmethod
    def of(cls, ports: Ports | None) -> DefaultWait:
        """With the TCP ports of a container's options."""
        return cls(tuple(one.container_port for one in parse_ports(ports) if one.protocol == "tcp"))

    def chosen(self, container: Container) -> Wait | None:
        """What it comes to for this container."""
        if container.has_health_check:
            from pytest_pycontainer.engine.wait_state import HealthWait

            return HealthWait()
        exposed = parse_ports(container.image.config.exposed_ports) if not self.ports else ()
        ports = self.ports or tuple(one.container_port for one in exposed if one.protocol == "tcp")
        if not ports:
            return None
        from pytest_pycontainer.engine.wait_combination import AnyOf
        from pytest_pycontainer.engine.wait_port import PortWait

        if self.ports or len(ports) == 1:
            return PortWait(ports)
        return AnyOf(tuple(PortWait((port,)) for port in ports))

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait."""
        chosen = self.chosen(container)
        if chosen is None:
            return
        try:
            chosen.until_ready(container, timeout)
        except (ContainerExitedError, ContainerNotReadyError) as error:
            of = "health check" if container.has_health_check else "ports" if self.ports else "image's exposed ports"
            error.add_note(f"No wait was given, so its {of} said what to wait for; wait=None waits for nothing.")
            raise
