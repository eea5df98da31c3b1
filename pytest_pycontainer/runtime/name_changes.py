"""What an engine tells its resolver."""

from __future__ import annotations

from pytest_pycontainer.runtime.values import dataclass


@dataclass(frozen=True, slots=True)
class ServeNetwork:
    """Engine → resolver, with the two sockets, UDP and TCP, on which the network's containers ask.

    ``key`` stands for the network; addresses are packed, ``prefix`` is the length of the subnet's. Nothing gets out of
    an ``internal`` one.
    """

    key: str
    name: str
    gateway: bytes
    prefix: int
    internal: bool = False


@dataclass(frozen=True, slots=True)
class LeaveNetwork:
    """Engine → resolver: that network is gone."""

    key: str


@dataclass(frozen=True, slots=True)
class NameContainer:
    """Engine → resolver: a container has ``addresses`` in a network, and is found there by ``names``, its own first.

    ``directory`` is the one that its monitor listens in. What it asks that nobody here knows is asked of ``servers``,
    this machine's own if there are none.
    """

    key: str
    container: str
    directory: str
    names: tuple[str, ...]
    addresses: tuple[bytes, ...]
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForgetContainer:
    """Engine → resolver: the container is in that network no more."""

    key: str
    container: str


NameChange = ServeNetwork | LeaveNetwork | NameContainer | ForgetContainer


@dataclass(frozen=True, slots=True)
class Resolve:
    """Engine → spawner, with the other end of a socket on which the engine will say which names there are: have a
    resolver made. If that fails, ``Failed`` comes back on it.
    """


@dataclass(frozen=True, slots=True)
class ChangeNames:
    """Engine → resolver, with the two sockets of a network that is to be served."""

    change: NameChange
