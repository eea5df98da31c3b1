"""The engine's side of the spawner: starting it, and asking it for containers."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

from pytest_pycontainer.errors import SpawnerError
from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.calls import Returned, encode_call
from pytest_pycontainer.runtime.forwarder_messages import StartForwarder
from pytest_pycontainer.runtime.name_changes import Resolve
from pytest_pycontainer.runtime.network_messages import OpenNetworkNamespace, OpenNetworkSockets, StartOutlet
from pytest_pycontainer.runtime.rootless import SubordinateIds
from pytest_pycontainer.runtime.spec import CopySpec, DigestSpec, Mount, Rootfs

_Result = TypeVar("_Result")

# The owner's package is found by path: the interpreter starts isolated (-I) and without site-packages (-S).
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pytest_pycontainer.runtime.spawner_process import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])"
)
# An ordinary user's is begun by another, which becomes root in a user namespace first.
_BOOT_AS_ROOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pytest_pycontainer.runtime.rootless import begin_as_root; "
    "begin_as_root(sys.argv[2:7], sys.argv[7], sys.argv[8:])"
)
_START_SECONDS = 30.0
_END_SECONDS = 10.0


class Spawner:
    """One spawner process, ended by ``close`` or by this process's end. Safe to use from several threads.

    ``mounts`` is an empty directory that it mounts on in its own mount namespace; others see it empty for ever.
    ``hidden`` are absolute paths that no container on the host image may see. For an ordinary user, ``ids`` are what
    its user namespace is to have; root needs none. Containers end with the process ``owner``, by default this one.
    Raises SpawnerError when it can't be started or is gone.
    """

    def __init__(
        self, mounts: str, hidden: Sequence[str], ids: SubordinateIds | None = None, *, owner: int | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        self._errors = os.memfd_create("spawner-errors", os.MFD_CLOEXEC)
        try:
            with theirs:
                self._process = _start(theirs, [mounts, *hidden], self._errors, ids, owner or os.getpid())
        except OSError as error:
            self._socket.close()
            os.close(self._errors)
            raise SpawnerError("start the spawner", str(error)) from error
        self._ready = False
        self._users = -1 if ids is None or ids.namespace < 0 else os.dup(ids.namespace)

    def __enter__(self) -> Spawner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The spawner's process id."""
        return self._process.pid

    @property
    def user_namespace(self) -> int:
        """A descriptor of an ordinary user's spawner's, open until ``close``; -1 if it has not come so far."""
        return self._users

    def is_alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def close(self) -> None:
        """Lets go of the spawner, which ends it and every container it started, and waits for it."""
        self._socket.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1
        if self._users >= 0:
            os.close(self._users)
            self._users = -1

    def prepare(
        self, request: messages.Prepare, channel: socket.socket, control: socket.socket, held: Sequence[int]
    ) -> None:
        """Has a monitor and an init made, which serve the other ends of ``control`` and ``channel``; does not wait.

        The monitor holds ``held`` for as long as it lives: the container's lock, the pidfds of those whose namespaces
        it joins, and what else is to be let go of with it.
        """
        self._request("start a container", request, [channel.fileno(), control.fileno(), *held])

    def copy(self, spec: CopySpec, timeout: float) -> messages.Failed | None:
        """Copies files into a root, within ``timeout`` seconds; returns what failed, if anything did."""
        answer, _ = self._ask("copy files", messages.Copy(spec), timeout)
        return answer if isinstance(answer, messages.Failed) else None

    def digest(self, spec: DigestSpec, timeout: float) -> str | messages.Failed:
        """A digest of what could be copied, within ``timeout`` seconds, or what failed."""
        answer, _ = self._ask("read files", messages.Digest(spec), timeout)
        if isinstance(answer, messages.Failed):
            return answer
        assert isinstance(answer, messages.Digested)
        return answer.digest

    def open_root(self, rootfs: Rootfs, mounts: tuple[Mount, ...]) -> int:
        """A descriptor of ``rootfs`` with ``mounts`` in it, mounted until that is closed, and seen by nobody else.

        No process may run in it. Raises SpawnerError.
        """
        answer, descriptors = self._ask("mount a root", messages.OpenRoot(rootfs, mounts), _START_SECONDS)
        if isinstance(answer, messages.Failed):
            raise SpawnerError(answer.step, answer.detail)
        (root,) = descriptors
        return root

    def call(self, function: Callable[..., _Result], /, *arguments: object, descriptors: Sequence[int] = ()) -> _Result:
        """Has a function of a module called by a process that has the spawner's rights, with these arguments.

        They, and what it returns, are pickled; the ``descriptors`` are its last arguments. Has no time limit of its
        own. Raises what the function raises, and SpawnerError.
        """
        doing = f"call {function.__name__}" if hasattr(function, "__name__") else "call a function"
        answer, _ = self._ask(doing, encode_call(function, arguments), None, descriptors)
        if isinstance(answer, messages.Failed):
            raise SpawnerError(answer.step, answer.detail)
        assert isinstance(answer, Returned)
        result = pickle.loads(answer.pickled)  # noqa: S301  (of a process of ours)
        if answer.raised:
            raise result
        returned: _Result = result
        return returned

    def open_network_namespace(self) -> tuple[int, socket.socket, socket.socket, socket.socket]:
        """A new network namespace: a descriptor of it, and sockets inside; a NETLINK_ROUTE one, UDP and TCP, not bound.

        All are the caller's.
        """
        doing = "make a network namespace"
        answer, descriptors = self._ask(doing, OpenNetworkNamespace(), _START_SECONDS)
        if isinstance(answer, messages.Failed):
            raise SpawnerError(answer.step, answer.detail)
        namespace, *sockets = descriptors
        route, datagrams, streams = (socket.socket(fileno=descriptor) for descriptor in sockets)
        return namespace, route, datagrams, streams

    def resolve(self, control: socket.socket) -> None:
        """Has a resolver made, which is told on the other end of ``control``; does not wait."""
        self._request("start the resolver", Resolve(), [control.fileno()])

    def open_network_sockets(
        self, network: int, settings: Sequence[tuple[str, str]] = ()
    ) -> tuple[socket.socket, socket.socket]:
        """Sockets in the namespace open as ``network``, of the protocols NETLINK_ROUTE and NETLINK_NETFILTER.

        Both are the caller's. Before that ``settings`` are made, see ``OpenNetworkSockets``. Raises SpawnerError.
        """
        answer, descriptors = self._ask(
            "open sockets in a network", OpenNetworkSockets(tuple(settings)), _START_SECONDS, [network]
        )
        if isinstance(answer, messages.Failed):
            raise SpawnerError(answer.step, answer.detail)
        route, netfilter = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        return route, netfilter

    def lead_out(self, command: Sequence[str], control: socket.socket, network: int) -> None:
        """Has a program lead out of a router's namespace; it is told on the other end of ``control``; does not wait.

        See ``StartOutlet``.
        """
        request = StartOutlet(tuple(command))
        self._request("start what leads out of the networks", request, [control.fileno(), network])

    def forward(self, control: socket.socket, network: int | None = None) -> None:
        """Has a forwarder made, which is told on the other end of ``control``; does not wait.

        It finds containers from the namespace open as ``network``; without, from this machine's network.
        """
        descriptors = [control.fileno(), *([] if network is None else [network])]
        self._request("start the forwarder", StartForwarder(), descriptors)

    def _ask(
        self, doing: str, request: messages.Message, timeout: float | None, descriptors: Sequence[int] = ()
    ) -> tuple[messages.Message, list[int]]:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._request(doing, request, [theirs.fileno(), *descriptors])
            ours.settimeout(timeout)
            try:
                received = messages.receive(ours)
            except TimeoutError as error:
                raise SpawnerError(doing, f"no answer within {timeout:g} s") from error
        if received is None:
            raise SpawnerError(doing, self._last_words())
        return received

    def _request(self, doing: str, request: messages.Message, descriptors: list[int]) -> None:
        with self._lock:
            try:
                if not self._ready:
                    self._await_ready()
                messages.send(self._socket, request, descriptors)
            except (TimeoutError, BrokenPipeError, ConnectionResetError) as error:
                raise SpawnerError(doing, self._last_words()) from error

    def _await_ready(self) -> None:
        self._socket.settimeout(_START_SECONDS)
        received = messages.receive(self._socket)
        self._socket.settimeout(None)
        if received is None:
            raise SpawnerError("start the spawner", self._last_words())
        answer, _ = received
        if isinstance(answer, messages.Failed):
            raise SpawnerError(answer.step, answer.detail)
        if self._users < 0 and os.geteuid() != 0:
            self._users = namespaces.open_of(self.pid, namespaces.USER)
        self._ready = True

    def _last_words(self) -> str:
        said = os.pread(self._errors, 64 * 1024, 0).decode(errors="replace").strip()
        code = self._process.poll()
        return f"the spawner (process {self.pid}) is gone, exit code {code}" + (f"; it said:\n{said}" if said else "")


def _start(
    requests: socket.socket, paths: Sequence[str], errors: int, ids: SubordinateIds | None, owner_pid: int
) -> subprocess.Popen[bytes]:
    package_parent = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    interpreter = os.path.realpath(sys.executable)
    isolated = ["-I", "-S", "-c"]
    with ExitStack() as opened:
        owner = os.pidfd_open(owner_pid)
        opened.callback(os.close, owner)
        arguments = [*isolated, _BOOT, package_parent, str(requests.fileno()), str(owner), *paths]
        inherited = [requests.fileno(), owner]
        executable = interpreter
        if ids is None:
            descriptor = mount.clone_read_only(interpreter)
            opened.callback(os.close, descriptor)
            inherited.append(descriptor)
            executable = f"/proc/self/fd/{descriptor}"
        else:
            if ids.namespace >= 0:
                inherited.append(ids.namespace)
            arguments = [*isolated, _BOOT_AS_ROOT, package_parent, *ids.encode(), interpreter, *arguments]
        return subprocess.Popen(
            [interpreter, *arguments],
            executable=executable,
            pass_fds=inherited,
            # Containers could see ours in an init that executes nothing.
            env={name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the tests: their teardown ends the containers
        )
