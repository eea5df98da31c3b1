"""The spawner's own side: a small, single-threaded interpreter that forks a monitor for each container.

It lives in a mount namespace of its own, and ends when its owner does (a pidfd) or closes the socket. Its end closes
the lifeline that every monitor holds the other side of.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.kernel.fork import fork_into_pid_namespace
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.calls import Call, carry_out
from pytest_pycontainer.runtime.child import Answer, fork_to_answer
from pytest_pycontainer.runtime.content_digest import run_digest
from pytest_pycontainer.runtime.copying import run_copy
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.forwarder_messages import StartForwarder
from pytest_pycontainer.runtime.monitor import Lifelines, run_monitor
from pytest_pycontainer.runtime.name_changes import Resolve
from pytest_pycontainer.runtime.network_messages import OpenNetworkNamespace, OpenNetworkSockets, StartOutlet
from pytest_pycontainer.runtime.open_root import run_open_root
from pytest_pycontainer.runtime.process import close_all_but
from pytest_pycontainer.runtime.resolver import Resolver
from pytest_pycontainer.runtime.rootfs import MountPoints
from pytest_pycontainer.runtime.service import Service, run_service

# Frames between the bridge's ports are not to be sent through a firewall that is not there (br_netfilter's default is).
_BRIDGE_SETTINGS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables")

# man 7 netlink; the modules that know what to say on such sockets are not loaded here.
_NETLINK_ROUTE = 0
_NETLINK_NETFILTER = 12


def main(requests: int, owner: int, mounts: str, hidden: Sequence[str]) -> None:
    """Serves one engine: ``requests`` is the socket to it, ``owner`` a pidfd of its process. Returns at the end.

    It mounts on ``mounts``; ``hidden`` are paths that no container on the host image sees.
    """
    close_all_but([requests, owner])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects monitors: nobody waits for them
    with socket.socket(fileno=requests) as engine:
        try:
            spawner = _Spawner(engine, owner, MountPoints(mounts), hidden)
        except StepFailed as failure:
            messages.send(engine, failure.failed)
            return
        messages.send(engine, messages.Done())
        # Forks share this memory with us until somebody writes to it; the collector would.
        gc.collect()
        gc.freeze()
        gc.disable()
        spawner.serve()


class _Spawner:
    def __init__(self, engine: socket.socket, owner: int, points: MountPoints, hidden: Sequence[str]) -> None:
        self._engine = engine
        self._owner = owner
        self._points = points
        with step("make a mount namespace"):
            namespaces.unshare(namespaces.MOUNT)
            # What the machine unmounts goes here too; what is mounted here stays here.
            mount.set_propagation("/", mount.SLAVE)
            points.prepare(hidden)
            self._lifeline, self._lifeline_end = os.pipe()

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._owner, select.POLLIN)
        poll.register(self._engine, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            received = None if self._owner in ready else messages.receive(self._engine)
            if received is None:
                return
            request, descriptors = received
            try:
                self._serve(request, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _serve(self, request: messages.Message, descriptors: list[int]) -> None:
        with socket.socket(fileno=os.dup(descriptors[0])) as answer:
            try:
                if isinstance(request, messages.Prepare):
                    with step("start the monitor"):
                        self._fork_monitor(request, descriptors)
                elif isinstance(request, messages.Copy):
                    with step("start the copy"):
                        fork_to_answer(answer, partial(self._copy, request))
                elif isinstance(request, messages.Digest):
                    with step("start to read"):
                        fork_to_answer(answer, partial(self._digest, request))
                elif isinstance(request, messages.OpenRoot):
                    with step("start to mount"):
                        fork_to_answer(answer, partial(self._open_root, request))
                elif isinstance(request, Call):
                    with step("start to call a function"):
                        fork_to_answer(answer, partial(_call, request, descriptors[1:]), descriptors[1:])
                elif isinstance(request, OpenNetworkNamespace):
                    with step("start to make a network namespace"):
                        fork_to_answer(answer, _open_network_namespace)
                elif isinstance(request, OpenNetworkSockets):
                    with step("start to open sockets"):
                        work = partial(_open_network_sockets, descriptors[1], request.settings)
                        fork_to_answer(answer, work, [descriptors[1]])
                elif isinstance(request, StartOutlet):
                    with step("start what leads out of the networks"):
                        self._fork_outlet(request, *descriptors)
                elif isinstance(request, Resolve):
                    with step("start the resolver"):
                        self._fork_service(lambda: Resolver, descriptors[0])
                elif isinstance(request, StartForwarder):
                    with step("start the forwarder"):
                        self._fork_service(_load_forwarder, *descriptors)
            except StepFailed as failure:
                messages.send(answer, failure.failed)

    # In children

    def _copy(self, request: messages.Copy) -> Answer:
        run_copy(request.spec, self._points)
        return messages.Done(), []

    def _digest(self, request: messages.Digest) -> Answer:
        return messages.Digested(run_digest(request.spec, self._points)), []

    def _open_root(self, request: messages.OpenRoot) -> Answer:
        return messages.Done(), [run_open_root(request.rootfs, request.mounts, self._points)]

    def _fork_monitor(self, request: messages.Prepare, descriptors: list[int]) -> None:
        # Who shares a PID namespace can't have a monitor that is PID 1 of another one above it.
        shared = request.namespaces.machine | sum(request.namespaces.joined)
        child = os.fork() if shared & namespaces.PID else fork_into_pid_namespace()
        if child == 0:
            self._become_monitor(request, *descriptors)

    def _become_monitor(self, request: messages.Prepare, channel: int, control: int, lock: int, *held: int) -> NoReturn:
        try:
            lifelines = Lifelines(self._owner, self._lifeline, lock)
            sockets = (socket.socket(fileno=control), socket.socket(fileno=channel))
            run_monitor(request, *sockets, lifelines, self._points, held)
        except BaseException:  # noqa: BLE001  (its last words are kept, and shown when the spawner is asked in vain)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)  # whatever happens, there is one spawner

    def _fork_service(self, load: Callable[[], Callable[..., Service]], control: int, network: int = -1) -> None:
        if os.fork() == 0:
            try:
                if network >= 0:
                    namespaces.enter(network, namespaces.NETWORK)
                run_service(load(), socket.socket(fileno=control), self._owner, self._lifeline)
            finally:
                os._exit(1)

    def _fork_outlet(self, request: StartOutlet, control: int, network: int) -> None:
        from pytest_pycontainer.runtime.outlet import run_outlet  # most engines have none

        if fork_into_pid_namespace() == 0:
            try:
                end = socket.socket(fileno=control)
                run_outlet(request.command, end, network, self._points.source, self._owner, self._lifeline)
            finally:
                os._exit(1)


def _call(request: Call, descriptors: list[int]) -> Answer:
    return carry_out(request, descriptors), []


# In children: who has made or entered a network namespace may lack the right to come back.


def _open_network_namespace() -> Answer:
    with step("make a network namespace"):
        namespaces.unshare(namespaces.NETWORK)
        for name in _BRIDGE_SETTINGS:
            path = f"/proc/sys/net/bridge/{name}"
            if os.path.exists(path):
                with open(path, "w") as file:
                    file.write("0")
        sockets = (
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        )
        return messages.Done(), [namespaces.open_own(namespaces.NETWORK), *(one.detach() for one in sockets)]


def _open_network_sockets(network: int, settings: Sequence[tuple[str, str]]) -> Answer:
    with step("open sockets in a network"):
        namespaces.enter(network, namespaces.NETWORK)
        for name, value in settings:
            with open(f"/proc/sys/net/{name}", "w") as file:
                file.write(value)
        protocols = (_NETLINK_ROUTE, _NETLINK_NETFILTER)
        sockets = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) for protocol in protocols]
        return messages.Done(), [one.detach() for one in sockets]


def _load_forwarder() -> Callable[..., Service]:
    from pytest_pycontainer.runtime.forwarder import make_forwarder  # most engines have none

    return make_forwarder
