"""What is said between a keeper and its clients, over its socket in a directory that only their user can enter.

A client sends a request and reads answers; ``BeingMade`` is followed by another answer, all others end the request.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_pycontainer.engine.arguments import Command
from pytest_pycontainer.errors import KeeperError, PycontainerError
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """Something to be kept, found by its ``key``.

    ``place`` is where it is declared, ``specification`` what it is, by the names of its parts. Who makes it has
    ``seconds`` for that.
    """

    key: str
    place: str
    specification: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Claim:
    """May I have it? Answered by ``Granted``, ``Kept`` or ``Refused``; ``client`` is who others are told makes it."""

    wanted: Wanted
    client: str


@dataclass(frozen=True, slots=True)
class RunContainer:
    """Have a container run under a key that was granted; answered by ``Kept`` or ``Refused``.

    It is the client's alone, and ends with its connection, until the client says that it is finished. One that is there
    already, and has exited, is started again.
    """

    key: str
    image_id: str
    image_name: str
    image_config: ImageConfig
    command: Command | None
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    """Have a network made under a key that was granted; answered by ``Kept`` or ``Refused``."""

    key: str
    name: str | None
    subnet: str | None
    internal: bool
    ipv6: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """What was granted is made, and others may have it. Answered by ``Done``."""

    key: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What was granted can't be made: whoever wants it gets the pickled ``error``. Answered by ``Done``."""

    key: str
    error: bytes


@dataclass(frozen=True, slots=True)
class Discard:
    """What was granted is not needed any more; answered, when it is gone, by ``Done`` or ``Refused``."""

    key: str


@dataclass(frozen=True, slots=True)
class RemoveUnused:
    """Have all removed that nobody else uses; answered by ``Removed`` or ``Refused``."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The client needs nothing any more. Answered by ``Done`` or ``Refused``, when what it alone has used is gone."""


@dataclass(frozen=True, slots=True)
class BeingMade:
    """Another client makes it now."""

    client: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The client is the one that makes it."""


@dataclass(frozen=True, slots=True)
class SharedNetwork:
    """A network that the workers of a run share; as ``network`` of a container it stands for itself.

    ``subnet``, ``ipv6_subnet`` (None without IPv6) and ``gateway`` are texts.
    """

    name: str
    subnet: str
    ipv6_subnet: str | None
    gateway: str
    internal: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What is there: a container, by its id, or a network."""

    value: str | SharedNetwork


@dataclass(frozen=True, slots=True)
class Refused:
    """It can't be had: a pickled error."""

    error: bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """The names of containers that were removed, and of those that others use."""

    names: tuple[str, ...] = ()
    in_use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more is to be said."""


Request: TypeAlias = Claim | RunContainer | MakeNetwork | Finished | Failed | Discard | RemoveUnused | Leave
Answer: TypeAlias = BeingMade | Granted | Kept | Refused | Removed | Done


class Channel:
    """One end of a connection between a keeper and a client. One thread at a time."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._incoming = connected.makefile("rb")

    def send(self, message: Request | Answer) -> bool:
        """Whether the other end was still there to be sent it. Raises what pickling raises, and TimeoutError."""
        pickled = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            self._socket.sendall(pickled)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self, seconds: float | None = None) -> Any:
        """The next message, within ``seconds``; None when the other end is gone. Raises TimeoutError."""
        self._socket.settimeout(seconds)
        try:
            # Both ends are processes of one user, who alone can reach the socket.
            return pickle.load(self._incoming)  # noqa: S301
        except (EOFError, ConnectionResetError, pickle.UnpicklingError):
            return None

    @property
    def closed(self) -> bool:
        """Whether this end has let go of it."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Lets go of it."""
        self._incoming.close()
        self._socket.close()


def pickled_error(error: Exception) -> bytes:
    """An error for other processes; one that can't be pickled is told in words."""
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # noqa: S301  (some can be pickled only)
    except Exception:  # noqa: BLE001  (whatever a class of the user's does)
        pickled = pickle.dumps(KeeperError("make what is shared", f"{type(error).__name__}: {error}"))
    return pickled


def unpickled_error(pickled: bytes) -> Exception:
    """The error that another process had."""
    try:
        error = pickle.loads(pickled)  # noqa: S301  (see Channel)
    except Exception as failed:  # noqa: BLE001  (its class is not to be had here)
        return KeeperError("make what is shared", f"another process had an error that is not known here: {failed}")
    return error if isinstance(error, Exception) else PycontainerError(error)


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """What a keeper is told at its start; pickled on its standard input.

    ``address`` is the socket's path, ``log`` that of the file which its last words go to; both go with it. ``lock`` is
    held by who starts a keeper, and by one that ends. One that ``stays`` keeps what it has when all clients are gone.
    """

    settings: Settings
    address: str
    log: str
    lock: str
    stays: bool
