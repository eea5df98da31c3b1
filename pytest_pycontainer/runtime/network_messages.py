"""What an engine asks its spawner for about networks."""

from __future__ import annotations

from typing import Final

from pytest_pycontainer.runtime.values import dataclass


@dataclass(frozen=True, slots=True)
class OpenNetworkNamespace:
    """Engine → spawner, with a socket for the answer: ``Done`` with the namespace and three sockets inside it, a route
    socket, and two for a name server, by UDP and TCP, not bound yet.
    """


@dataclass(frozen=True, slots=True)
class OpenNetworkSockets:
    """Engine → spawner, with a socket for the answer, and a network namespace: ``Done`` with two sockets inside it, of
    the protocols NETLINK_ROUTE and NETLINK_NETFILTER.

    Before that ``settings`` are made there: values of files, by their paths below /proc/sys/net.
    """

    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StartOutlet:
    """Engine → spawner, with the other end of a socket, and a router's namespace: have that program lead out of it.

    ``Done`` comes back when it does, or ``Failed``; when it ends, so does the socket. In the command ``NAMESPACE``
    stands for the path at which the program finds the namespace, and ``READY`` for a descriptor that it writes to when
    it is ready. Without that it is ready when it has gone to the background.
    """

    command: tuple[str, ...]


NAMESPACE: Final = "{namespace}"
READY: Final = "{ready}"

NetworkRequest = OpenNetworkNamespace | OpenNetworkSockets | StartOutlet
