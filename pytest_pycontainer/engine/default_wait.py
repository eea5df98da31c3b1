"""What is waited for where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.port_arguments import Port, Ports, parse_ports
from pytest_pycontainer.engine.readiness import Condition
from pytest_pycontainer.errors import ContainerExitedError, ContainerNotReadyError, ContainerUnhealthyError

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

    def chosen(self, container: Container) -> ChosenWait | None:
        """What it comes to for this container; None for nothing."""
        if container.has_health_check:
            from pytest_pycontainer.engine.wait_state import HealthWait

            return ChosenWait(HealthWait(), "health check")
        exposed = parse_ports(container.image.config.exposed_ports) if not self.ports else ()
        ports = self.ports or tuple(one.container_port for one in exposed if one.protocol == "tcp")
        if not ports:
            return None
        from pytest_pycontainer.engine.wait_combination import AnyOf
        from pytest_pycontainer.engine.wait_port import PortWait

        if self.ports:
            return ChosenWait(PortWait(ports), "published ports")
        return ChosenWait(AnyOf(tuple(PortWait((port,)) for port in ports)), "image's exposed ports")

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait."""
        if (chosen := self.chosen(container)) is not None:
            chosen.until_ready(container, timeout)


@dataclass(frozen=True, slots=True)
class ChosenWait:
    """What a container's ``source`` says to wait for; the error says that nobody else has."""

    wait: Condition
    source: str

    @property
    def what(self) -> str:
        """What is waited for, as a person reads it."""
        return self.wait.what

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait."""
        try:
            self.wait.until_ready(container, timeout)
        except (ContainerExitedError, ContainerNotReadyError, ContainerUnhealthyError) as error:
            error.add_note(
                f"Its {self.source} said what to wait for, since no wait was given; wait=None waits for nothing."
            )
            raise
