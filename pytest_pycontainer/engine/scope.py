"""``EngineScope``: an engine for a while, on another one."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.engine import Engine
from pytest_pycontainer.engine.network_modes import DEFAULT_NETWORK

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.networks import Network
    from pytest_pycontainer.engine.volumes import Volume


class EngineScope(Engine):
    """What ``Engine.scope`` gives: the same engine, which removes at its end what was made through it.

    Its ``containers``, ``networks`` and ``volumes`` are all of the engine's. Closing it leaves the engine open. Safe to
    use from several threads.
    """

    def __init__(self, engine: Engine) -> None:
        self._share(engine)
        self._until_closed = ExitStack()

    def _keep(self, container: Container) -> None:
        super()._keep(container)
        self._until_closed.callback(container.end)

    def network(
        self,
        name: str | None = None,
        *,
        subnet: str | None = None,
        internal: bool | None = None,
        ipv6: bool | str = False,
    ) -> Network:
        """As Engine's; one that was there before stays."""
        before = {network.name for network in self.networks()}
        network = super().network(name, subnet=subnet, internal=internal, ipv6=ipv6)
        if network.name not in before and network.name != DEFAULT_NETWORK:
            self._until_closed.callback(network.end)
        return network

    def volume(self, name: str | None = None) -> Volume:
        """As Engine's; one with a name stays."""
        volume = super().volume(name)
        if name is None:
            self._until_closed.callback(volume.end)
        return volume

    def close(self) -> None:
        """Removes what was made through it, last things first. Closing it again is no error."""
        if self._resources.are_ours():
            self._until_closed.close()
