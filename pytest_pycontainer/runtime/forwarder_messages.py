"""What an engine tells its forwarder."""

from __future__ import annotations

from pytest_pycontainer.runtime.values import dataclass


@dataclass(frozen=True, slots=True)
class StartForwarder:
    """Engine → spawner, with the other end of a socket on which the engine will say what to forward. If that fails,
    ``Failed`` comes back on it. With a network namespace, too, it finds containers from there.
    """


@dataclass(frozen=True, slots=True)
class Forward:
    """Engine → forwarder, with a socket that clients connect to, or send datagrams to: lead them to that place,
    and say ``Done``.

    ``key`` is a number that no other forwarded port has. Without an ``address`` each connection is led to where its
    client wanted to go before it was redirected to the socket.
    """

    key: int
    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class StopForwarding:
    """Engine → forwarder: let go of that socket, and of all whom it has led, and say ``Done``."""

    key: int


@dataclass(frozen=True, slots=True)
class ChangeForwarding:
    """Engine → forwarder, with the socket of a ``Forward``."""

    change: Forward | StopForwarding
