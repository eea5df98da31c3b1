"""Sockets in a container's network, for whoever asks its monitor for them.

They are opened in a child: who has entered a container's network may lack the right to come back.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.failure import StepFailed, step

# man 7 netlink; the modules that know what to say on such sockets are not loaded here.
_NETLINK_ROUTE = 0
_NETLINK_SOCK_DIAG = 4


def fork_to_open(loop: EventLoop, answer: socket.socket, network: int, kind: int) -> None:
    """Has the sockets that ``messages.OpenNetwork`` tells of opened, and sent to ``answer``. Raises StepFailed."""
    with step("start to open sockets"):
        child = os.fork()
    if child == 0:
        try:
            _open(answer, network, kind)
        except StepFailed as failure:
            messages.tell(answer, failure.failed)
        finally:
            os._exit(0)
    pidfd = os.pidfd_open(child)

    def collect() -> None:
        loop.unwatch(pidfd)
        os.close(pidfd)
        os.waitpid(child, 0)

    loop.watch(pidfd, collect)


def _open(answer: socket.socket, network: int, kind: int) -> None:
    with step("open sockets in its network"):
        # The own one it may lack the right to enter.
        if os.fstat(network).st_ino != os.stat("/proc/self/ns/net").st_ino:
            namespaces.enter(network, namespaces.NETWORK)
        opened = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)]
        if kind:
            opened.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG))
            opened.append(socket.socket(socket.AF_INET, kind))
            with suppress(OSError):  # a machine without IPv6
                opened.append(socket.socket(socket.AF_INET6, kind))
    messages.tell(answer, messages.Done(), [network, *(one.fileno() for one in opened)])
