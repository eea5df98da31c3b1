"""An engine's router: what its networks lead to where this machine's network is not the engine's to change."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack

from pytest_pycontainer.engine.outlets import DEVICE, INSTALL, address_of_this_machine, find_outlet
from pytest_pycontainer.errors import NetworkAttachError, SpawnerError
from pytest_pycontainer.kernel import rtnetlink
from pytest_pycontainer.kernel.netlink import Message, NetlinkError, NetlinkSocket
from pytest_pycontainer.network.rules import Outlet
from pytest_pycontainer.network.upstream import NetworkAccess, NetworkSettings, Router
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.spawner import Spawner

_OUTLET_SECONDS = 30.0
_LOOPBACK = (1, "lo")


class EngineRouter:
    """A network namespace for all networks of an engine to end in, and what leads out of it, if anything does.

    It is made when it is first asked for. One thread at a time; what is asked of it raises SpawnerError and
    NetworkAttachError.
    """

    def __init__(self, spawner: Callable[[], Spawner]) -> None:
        self._spawner = spawner
        self._namespace: int | None = None
        self._outlet: socket.socket | None = None
        self._machine: ipaddress.IPv4Address | None = None
        self._access = NetworkAccess(self._open_netfilter, self._write_settings)
        self._why_closed = ""

    @property
    def namespace(self) -> int:
        """Its descriptor."""
        if self._namespace is None:
            self._make()
        assert self._namespace is not None
        return self._namespace

    @property
    def why_closed(self) -> str:
        """Why nothing gets beyond this machine, and what to do about that; empty if the router has a way out."""
        _ = self.namespace
        return self._why_closed

    def open(self) -> Router:
        """The router for one network, with sockets that are that network's."""
        namespace = self.namespace
        self.revive()
        route, netfilter = map(NetlinkSocket, self._spawner().open_network_sockets(namespace))
        outlet = None if self._machine is None else Outlet(DEVICE, self._machine)
        return Router(namespace, route, netfilter, outlet, self._access)

    def revive(self) -> None:
        """Has another program lead out in the place of one that was killed, if one was."""
        if self._namespace is None or self._outlet is None or not messages.has_come(self._outlet):
            return
        self._end_outlet()
        route, netfilter = self._spawner().open_network_sockets(self._namespace)
        with route, netfilter:
            self._lead_out(self._namespace, NetlinkSocket(route))

    def close(self) -> None:
        """Ends what leads out, and lets go of the namespace. Closing it again is harmless."""
        self._end_outlet()
        if self._namespace is not None:
            os.close(self._namespace)
            self._namespace = None

    def _end_outlet(self) -> None:
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None

    def _make(self) -> None:
        namespace, route, *others = self._spawner().open_network_namespace()
        with ExitStack() as undone:
            undone.callback(os.close, namespace)
            undone.callback(self._end_outlet)
            with ExitStack() as sockets:
                for one in (route, *others):
                    sockets.callback(one.close)
                endpoint = NetlinkSocket(route)
                self._change(endpoint, rtnetlink.bring_up(*_LOOPBACK))
                self._lead_out(namespace, endpoint)
            undone.pop_all()
        self._namespace = namespace

    def _lead_out(self, namespace: int, route: NetlinkSocket) -> None:
        self._why_closed = self._try_to_lead_out(namespace, route)
        if self._why_closed:
            self._machine = None
            import logging  # pytest shows it with a test that fails, and nobody else has to see it

            hint = "this engine's containers reach nothing beyond this machine: %s"
            logging.getLogger("pytest_pycontainer").warning(hint, self._why_closed)

    def _try_to_lead_out(self, namespace: int, route: NetlinkSocket) -> str:
        """Why it does not, if so."""
        self._machine = address_of_this_machine()
        if self._machine is None:
            return "it has no way out itself"
        command = find_outlet()
        if command is None:
            return f"an ordinary user's containers need a program for that; {INSTALL}"
        refused = self._start(command, namespace)
        if refused:
            return f"{command[0]}: {refused}"
        try:
            device = rtnetlink.link(route, DEVICE)
        except NetlinkError:
            self._end_outlet()  # else it would be started again for every container
            return f"{command[0]}: it has ended at once"
        self._change(route, rtnetlink.configure_ipv4(device.index, DEVICE, {rtnetlink.FORWARDING: 1}))
        return ""

    @staticmethod
    def _change(route: NetlinkSocket, change: Message) -> None:
        try:
            route.request([change])
        except NetlinkError as error:
            raise NetworkAttachError(error.step, error.detail) from error

    def _start(self, command: tuple[str, ...], namespace: int) -> str:
        """Has the program lead out; why it does not, if so."""
        outlet, theirs = socket.socketpair()
        try:
            outlet.settimeout(_OUTLET_SECONDS)
            with theirs:
                self._spawner().lead_out(command, theirs, namespace)
            received = messages.receive(outlet)
        except TimeoutError:
            outlet.close()
            return f"it was not ready within {_OUTLET_SECONDS:g} s"
        except BaseException:
            outlet.close()
            raise
        answer = None if received is None else received[0]
        if isinstance(answer, messages.Done):
            self._outlet = outlet
            return ""
        outlet.close()
        return answer.detail if isinstance(answer, messages.Failed) else "it has ended at once"

    def _open_netfilter(self, namespace: int) -> NetlinkSocket:
        route, netfilter = self._spawner().open_network_sockets(namespace)
        route.close()
        return NetlinkSocket(netfilter)

    def _write_settings(self, namespace: int, settings: NetworkSettings) -> None:
        try:
            sockets = self._spawner().open_network_sockets(namespace, tuple(settings.items()))
        except SpawnerError as error:
            raise OSError(str(error)) from error
        for one in sockets:
            one.close()
