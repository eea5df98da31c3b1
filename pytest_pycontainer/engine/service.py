"""``Service``: a program that is ready to be run, as ``pytest_pycontainer.services`` describes some."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from pytest_pycontainer.engine.arguments import parse_environment
from pytest_pycontainer.engine.port_arguments import Ports, parse_ports

if TYPE_CHECKING:
    from pytest_pycontainer.engine.arguments import Command
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.engine.options import ContainerOptions
    from pytest_pycontainer.engine.wait import Wait

HandleT = TypeVar("HandleT", bound="Container")


@dataclass(frozen=True, slots=True)
class Service(Generic[HandleT]):
    """What ``Engine.service`` runs, and ``container(…)`` takes in an image's place: all that a container needs.

    ``handle`` is the kind of Container that they return. Who runs it adds options and replaces others: ``env`` is added
    to name by name, ``port`` is published beside other ports, and ``command`` and ``wait`` stand unless one is given.
    """

    handle: type[HandleT]
    image: Image | str | os.PathLike[str]
    port: int
    wait: Wait
    command: Command | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def with_defaults(self, options: ContainerOptions) -> ContainerOptions:
        """A container's options, and this service's where they say nothing else."""
        completed = options.copy()
        completed["env"] = {**self.env, **parse_environment(options.get("env"))}
        # Of a network that is not the container's own nothing can be published.
        network = options.get("network")
        if network not in ("host", "none") and not (isinstance(network, str) and network.startswith("container:")):
            completed["ports"] = self._with_port(options.get("ports"))
        return completed

    def _with_port(self, ports: Ports | None) -> Ports:
        given = (
            ports if isinstance(ports, Mapping) else (ports,) if isinstance(ports, int | str) else tuple(ports or ())
        )
        if any((one.container_port, one.protocol) == (self.port, "tcp") for one in parse_ports(given)):
            return given
        if isinstance(given, Mapping):
            return {**given, self.port: None}
        return cast("Ports", (*given, self.port))
