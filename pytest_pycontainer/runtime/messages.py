"""Typed messages between engine, spawner, monitor and init, over socket pairs, with descriptors in tow.

A message is four bytes of length, then a pickle. Both ends are processes of ours on a socket pair that nobody else can
reach, so that unpickling trusts nobody new.
"""

from __future__ import annotations

import errno
import os
import pickle
import select
import socket
import struct
from collections.abc import Sequence

from pytest_pycontainer.runtime.calls import CallMessage
from pytest_pycontainer.runtime.forwarder_messages import ChangeForwarding, StartForwarder
from pytest_pycontainer.runtime.logs import LogPosition
from pytest_pycontainer.runtime.name_changes import ChangeNames, Resolve
from pytest_pycontainer.runtime.network_messages import NetworkRequest
from pytest_pycontainer.runtime.spec import (
    OWN_NAMESPACES,
    ContainerDescription,
    ContainerSpec,
    CopySpec,
    DigestSpec,
    Mount,
    Namespaces,
    Place,
    ProcessSpec,
    RestartPolicy,
    Rootfs,
    SystemDirectories,
    TerminalSize,
)
from pytest_pycontainer.runtime.state import ContainerState
from pytest_pycontainer.runtime.values import dataclass

_LENGTH = struct.Struct("<I")
_DESCRIPTOR = struct.Struct("i")
_DESCRIPTORS_AT_MOST = 8


@dataclass(frozen=True, slots=True)
class Prepare:
    """Engine → spawner, with init's channel, the monitor's control socket, the container's lock, a pidfd for each of
    the joined namespaces, and what else the monitor is to hold: make a container without content.

    It costs the most and needs to know the least, so it is done ahead.
    """

    place: Place
    system: SystemDirectories
    namespaces: Namespaces = OWN_NAMESPACES


@dataclass(frozen=True, slots=True)
class Launch:
    """Engine → init: what the container is to be; ``again`` if its root has been in use before."""

    spec: ContainerSpec
    again: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """Engine → spawner, with a socket for the answer: ``Done`` or ``Failed``."""

    spec: CopySpec


@dataclass(frozen=True, slots=True)
class Digest:
    """Engine → spawner, with a socket for the answer: ``Digested`` or ``Failed``."""

    spec: DigestSpec


@dataclass(frozen=True, slots=True)
class Digested:
    """The digest that was asked for, in hexadecimal digits."""

    digest: str


@dataclass(frozen=True, slots=True)
class OpenRoot:
    """Engine → spawner, with a socket for the answer: ``Done`` with a descriptor of the root, mounted for it alone."""

    rootfs: Rootfs
    mounts: tuple[Mount, ...]


@dataclass(frozen=True, slots=True)
class Created:
    """Init → engine, once it has its namespaces, with its pidfd, its network namespace and a route socket in that."""


@dataclass(frozen=True, slots=True)
class Launched:
    """Engine → init: say ``Done`` when you are in your root, and wait on."""


@dataclass(frozen=True, slots=True)
class Start:
    """Engine → init: execute the command now. Init's channel closes when that has succeeded."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Engine → monitor: run a further process. With a socket for the monitor's answers, a socket that closes when the
    process executes its command or is gone (before that comes ``Failed``, if it did), and, unless it is to have a
    ``terminal``, its standard input, output and error.

    The answers: ``Executing``, with a ``terminal`` ``TerminalOpened``, and at its end ``Exited``.
    """

    process: ProcessSpec
    terminal: TerminalSize | None = None


@dataclass(frozen=True, slots=True)
class Executing:
    """Monitor → engine, with its pidfd: the process is there; its number on this machine and in the container."""

    pid: int
    pid_in_container: int


@dataclass(frozen=True, slots=True)
class TerminalOpened:
    """Process → monitor → engine, with the end of who sits before it: the process has a terminal."""


@dataclass(frozen=True, slots=True)
class Exited:
    """Monitor → engine: a process that was asked for is gone. ``code`` is 128 + n where signal n ended it."""

    code: int


@dataclass(frozen=True, slots=True)
class Remember:
    """Engine → monitor, when the container gets its content, with its network namespace and the engine's end of
    init's channel: what it takes to start it again, and what to tell others of it.
    """

    description: ContainerDescription


@dataclass(frozen=True, slots=True)
class Connected:
    """Engine → monitor: the container's addresses and the ports that lead into it from now on."""

    addresses: tuple[tuple[str, str], ...]
    ipv6_addresses: tuple[tuple[str, str], ...]
    ports: tuple[tuple[str, int, int, str], ...]


@dataclass(frozen=True, slots=True)
class OpenNetwork:
    """Anybody → monitor, with a socket for the answer: ``Done`` with the container's network namespace and a route
    socket inside it, or ``Failed``. With a ``kind`` of sockets, there are further ones: of the protocol
    NETLINK_SOCK_DIAG, and of that kind for IPv4 and, where there is such, IPv6.
    """

    kind: int = 0


@dataclass(frozen=True, slots=True)
class ChangeRestartPolicy:
    """Anybody → monitor, with a socket for the answer: the policy from the container's next exit on. ``Done``."""

    policy: RestartPolicy


@dataclass(frozen=True, slots=True)
class Describe:
    """Anybody → monitor, with a socket for the answer: ``Remember``, without descriptors."""


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Anybody → monitor, with a socket, which is closed when all changes until now have been told."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Monitor → engine, and whoever has connected to it: how it is now; with init's pidfd while that runs.

    Whoever connects is told at once, and then whenever it changes; of several changes perhaps the last one only.
    """

    state: ContainerState


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Anybody → monitor, with a socket for the answer: ``Done`` when the command runs, or ``Failed``."""


@dataclass(frozen=True, slots=True)
class StreamsOpened:
    """Init → monitor, before the command runs: its standard input's other end, or both ends of its terminal.

    It waits for ``Done``. ``reads`` says whether somebody may write to it.
    """

    reads: bool


@dataclass(frozen=True, slots=True)
class Attach:
    """Anybody → monitor, with a socket for the answer, ``Attached``, and a client's (``runtime.attachments``)."""

    writes: bool


@dataclass(frozen=True, slots=True)
class Attached:
    """Monitor → who has attached: where in the log comes what is written from now on, and whether it may write."""

    position: LogPosition
    writes: bool


@dataclass(frozen=True, slots=True)
class Resize:
    """Anybody → monitor, with a socket for the answer, ``Done`` or ``Failed``: how large its terminal is."""

    size: TerminalSize


@dataclass(frozen=True, slots=True)
class Signal:
    """Anybody → monitor, with a socket for the answer, ``Done`` or ``Failed``: send PID 1 a signal.

    With ``ends`` it is meant to end, and not to be started again by the restart policy.
    """

    number: int
    ends: bool


@dataclass(frozen=True, slots=True)
class Rename:
    """Anybody → monitor, with a socket for the answer, ``Done``: the container's name is another one now."""

    name: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Anybody → monitor: end the container, then remove its cgroup and its directory. The channel closes after that."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step that failed: its name, the errno (0 if there is none), and what to tell the person."""

    step: str
    errno: int
    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """A request was carried out."""


Message = (
    Prepare
    | Launch
    | Copy
    | Digest
    | Digested
    | CallMessage
    | NetworkRequest
    | Resolve
    | ChangeNames
    | StartForwarder
    | ChangeForwarding
    | OpenRoot
    | Created
    | Launched
    | Start
    | Execute
    | Executing
    | TerminalOpened
    | Exited
    | Remember
    | Connected
    | OpenNetwork
    | ChangeRestartPolicy
    | Describe
    | CatchUp
    | StateChanged
    | StartContainer
    | StreamsOpened
    | Attach
    | Attached
    | Resize
    | Signal
    | Rename
    | Remove
    | Failed
    | Done
)


def encode(message: Message) -> bytes:
    """A message as it is sent."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Sends a message and duplicates of ``descriptors``. Raises BrokenPipeError if the other end is gone."""
    data = memoryview(encode(message))
    if descriptors:
        data = data[socket.send_fds(channel, [data], list(descriptors)) :]
    if data:  # sending nothing fails too when the other end has read all and gone
        channel.sendall(data)


def tell(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> bool:
    """Sends a message; False if nobody is there to hear it any more."""
    try:
        send(channel, message, descriptors)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def not_possible(why: str) -> Failed:
    """The answer to a request that does not fit how the container is."""
    return Failed("", errno.EBUSY, why)


def has_come(channel: socket.socket, seconds: float | None = 0.0) -> bool:
    """Whether there is something to receive, or the other end is gone, within ``seconds`` (None: waits for ever).

    A channel that this end has closed has nothing.
    """
    if channel.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors (close-on-exec), or None when the other end is gone.

    Raises TimeoutError when the socket has a time limit that passes, and OSError (EMFILE), with the message read, when
    this process can't have all of its descriptors.
    """
    try:
        start, descriptors, all_there = _receive_descriptors(channel)
        header = start + _receive_exactly(channel, _LENGTH.size - len(start)) if start else b""
        if len(header) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(header)
        body = _receive_exactly(channel, length)
    except ConnectionResetError:
        return None
    if len(body) < length:
        return None
    if not all_there:
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(errno.EMFILE, "a message's descriptors are more than this process may have open")
    message: Message = pickle.loads(body)  # noqa: S301  (see the module's docstring)
    return message, descriptors


def _receive_descriptors(channel: socket.socket) -> tuple[bytes, list[int], bool]:
    # Not socket.recv_fds: it drops its flags before Python 3.12, and without close-on-exec the descriptors would be
    # there in every program that is executed.
    space = socket.CMSG_LEN(_DESCRIPTORS_AT_MOST * _DESCRIPTOR.size)
    start, ancillary, flags, _ = channel.recvmsg(_LENGTH.size, space, socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % _DESCRIPTOR.size
            descriptors += [number for (number,) in _DESCRIPTOR.iter_unpack(data[:whole])]
    return start, descriptors, not flags & socket.MSG_CTRUNC


def _receive_exactly(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(size - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)
