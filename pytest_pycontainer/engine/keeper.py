"""``Keeper``: a client's way to the process that keeps containers for several processes, or for later runs."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_pycontainer.engine import keeper_messages
from pytest_pycontainer.engine.arguments import Command
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.keeper_messages import (
    Answer,
    BeingMade,
    Channel,
    Claim,
    Discard,
    Failed,
    Finished,
    Granted,
    KeeperOptions,
    Kept,
    Leave,
    MakeNetwork,
    Refused,
    Removed,
    RemoveUnused,
    Request,
    RunContainer,
    SharedNetwork,
    Wanted,
    pickled_error,
    unpickled_error,
)
from pytest_pycontainer.errors import KeeperError, StoreError
from pytest_pycontainer.settings import Settings
from pytest_pycontainer.store.files import reason

# It is nobody's child: whoever started it may end before it, or not look after it.
_BOOT = (
    "import os, sys; os.fork() and os._exit(0); sys.path.append(sys.argv[1]); "
    "from pytest_pycontainer.engine.keeper_process import main; main(int(sys.argv[2]))"
)
_LOCK_SECONDS = 60.0
_ANSWER_SECONDS = 120.0
# What a tool that watches pytest's processes leaves to be found by its children.
_NOT_INHERITED = ("PYTEST_", "COV_CORE_", "COVERAGE_")


class Keeper:
    """A connection to a keeper: what is kept for this process alone ends with it, however it ends.

    Safe to use from several threads, one at a time. ``client`` is what others are told who waits for this one.
    """

    def __init__(self, channel: Channel, client: str, log: Path) -> None:
        self._channel = channel
        self._client = client
        self._log = log
        self._lock = threading.Lock()

    @classmethod
    def open(cls, settings: Settings, group: str, *, stays: bool, client: str) -> Keeper:
        """Connects to the keeper of a group, of this installation and the store; starts it if there is none.

        One that ``stays`` keeps what it has when all clients are gone. Raises KeeperError and StoreError.
        """
        address, log = _paths(settings, group)
        with _locked(settings):
            connected = _connect(address)
            if connected is None:
                _sweep(address.parent)
                _start(KeeperOptions(settings, str(address), str(log), str(_lock_file(settings)), stays))
                connected = _connect(address)
        if connected is None:
            raise KeeperError("start a keeper", f"nobody listens at {address}")
        return cls(Channel(connected), client, log)

    @classmethod
    def open_running(cls, settings: Settings, group: str, *, client: str) -> Keeper | None:
        """As ``open``, but None if there is none."""
        address, log = _paths(settings, group)
        if not address.exists():
            return None
        with _locked(settings):
            connected = _connect(address)
        return None if connected is None else cls(Channel(connected), client, log)

    def claim(self, wanted: Wanted, progress: Callable[[str], None]) -> str | SharedNetwork | None:
        """What is kept, a container by its id; None if this client is to make it, and to say ``finish`` or ``fail``.

        While another one makes it this waits, as long as that may take; ``progress`` is told of whom. Raises the error
        that the other one had, KeeperError, and InvalidSpecError if others want something else by the same key.
        """
        with self._exchange():
            answer = self._ask(Claim(wanted, self._client), f"share {wanted.place}", wanted.seconds)
            while isinstance(answer, BeingMade):
                progress(f"waiting for {wanted.place}, which {answer.client} is making")
                answer = self._hear(f"share {wanted.place}", wanted.seconds)
        if isinstance(answer, Granted):
            return None
        assert isinstance(answer, Kept)
        return answer.value

    def run(
        self, wanted: Wanted, image: Image, command: Command | None, options: Mapping[str, Any], seconds: float
    ) -> str:
        """Has the keeper run what was granted, or start it again; returns its id. Raises what ``Engine.run`` raises."""
        request = RunContainer(wanted.key, image.id, image.name, image.config, command, options)
        with self._exchange():
            answer = self._ask(request, f"run {wanted.place}", seconds)
        assert isinstance(answer, Kept)
        assert isinstance(answer.value, str)
        return answer.value

    def make_network(
        self, wanted: Wanted, name: str | None, *, subnet: str | None = None, internal: bool = False, ipv6: bool = False
    ) -> SharedNetwork:
        """Has the keeper make a network that was granted. Raises what ``Engine.network`` raises."""
        with self._exchange():
            answer = self._ask(MakeNetwork(wanted.key, name, subnet, internal, ipv6), f"make {wanted.place}")
        assert isinstance(answer, Kept)
        assert isinstance(answer.value, SharedNetwork)
        return answer.value

    def finish(self, wanted: Wanted) -> None:
        """What was granted is made: others may have it. Raises KeeperError."""
        with self._exchange():
            self._ask(Finished(wanted.key), f"share {wanted.place}")

    def fail(self, wanted: Wanted, error: Exception) -> None:
        """What was granted can't be made: it is removed, and all others have this error. Raises KeeperError."""
        with self._exchange():
            self._ask(Failed(wanted.key, pickled_error(error)), f"share {wanted.place}")

    def discard(self, wanted: Wanted) -> None:
        """Removes what was granted, and not finished. Raises what ``Container.remove`` raises, and KeeperError."""
        with self._exchange():
            if not self._channel.closed:
                self._ask(Discard(wanted.key), f"remove {wanted.place}")

    def remove_unused(self) -> Removed:
        """Removes all that nobody else uses now. Raises what ``Container.remove`` raises, and KeeperError."""
        with self._exchange():
            answer = self._ask(RemoveUnused(), "remove what was kept")
        assert isinstance(answer, Removed)
        return answer

    def leave(self) -> None:
        """Closes the connection when all that was kept for this client alone is gone.

        Leaving again is no error. Raises what ``Container.remove`` raises.
        """
        with self._exchange():
            if self._channel.closed:
                return
            try:
                self._ask(Leave(), "leave the keeper")
            finally:
                self._channel.close()

    def abandon(self) -> None:
        """Closes the connection, and does not wait."""
        self._channel.close()

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """One request and its answers; one that is broken off, by Ctrl-C, is the last."""
        with self._lock:
            try:
                yield
            except Exception:
                raise
            except BaseException:
                self._channel.close()  # an answer that comes later would be taken for another request's
                raise

    def _ask(self, request: Request, doing: str, seconds: float = 0.0) -> Answer:
        if self._channel.closed:
            raise KeeperError(doing, "this process has left the keeper")
        try:
            self._channel.send(request)  # one that has ended may have said why
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise KeeperError(doing, f"an argument can't be handed to another process: {error}") from error
        return self._hear(doing, seconds)

    def _hear(self, doing: str, seconds: float) -> Answer:
        limit = seconds + _ANSWER_SECONDS
        try:
            answer: Answer | None = self._channel.receive(limit)
        except TimeoutError as error:
            self._channel.close()
            raise KeeperError(doing, f"the keeper did not answer within {limit:g} s") from error
        if answer is None:
            self._channel.close()
            raise KeeperError(doing, f"the keeper is gone{_last_words(self._log)}")
        if isinstance(answer, Refused):
            raise unpickled_error(answer.error)
        return answer


def _directory(settings: Settings) -> Path:
    return settings.state / "keepers"


def _lock_file(settings: Settings) -> Path:
    return _directory(settings) / "lock"


def _paths(settings: Settings, group: str) -> tuple[Path, Path]:
    """The socket's, and that of what the keeper says last."""
    # Another installation, or version, would not understand this one's messages.
    spoken = Path(keeper_messages.__file__)
    of_all = "\0".join((group, str(settings.root), str(spoken), str(spoken.stat().st_mtime_ns)))
    name = hashlib.sha256(of_all.encode()).hexdigest()[:16]
    return _directory(settings) / f"{name}.socket", _directory(settings) / f"{name}.log"


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    directory, lock = _directory(settings), _lock_file(settings)
    try:
        for needed in (settings.state, directory):
            needed.mkdir(0o700, parents=True, exist_ok=True)
        with FileLock(lock, timeout=_LOCK_SECONDS, poll_interval=0.005):
            yield
    except Timeout as error:
        raise StoreError("lock", str(lock), f"another process held it for {_LOCK_SECONDS:g} s") from error
    except OSError as error:
        raise StoreError("keep containers by", str(directory), reason(error)) from error


def _connect(address: Path) -> socket.socket | None:
    connected = socket.socket(socket.AF_UNIX)
    try:
        with _short(address) as short:
            connected.connect(short)
    except (FileNotFoundError, ConnectionRefusedError):
        connected.close()
        return None
    except BaseException:
        connected.close()
        raise
    return connected


@contextmanager
def _short(address: Path) -> Iterator[str]:
    """The path of a socket as it can be bound and connected to, however deep its directory (man 7 unix)."""
    parent = os.open(address.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{parent}/{address.name}"
    finally:
        os.close(parent)


def _sweep(directory: Path) -> None:
    """Removes what killed keepers have left."""
    for address in directory.glob("*.socket"):
        if (connected := _connect(address)) is not None:
            connected.close()
            continue
        for left in (address, address.with_suffix(".log")):
            left.unlink(missing_ok=True)


def _start(options: KeeperOptions) -> None:
    """Starts a keeper, which may be connected to at once, and serves when it is ready."""
    package_parent = str(Path(__file__).parents[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    with socket.socket(socket.AF_UNIX) as listener, Path(options.log).open("wb") as log:
        with _short(Path(options.address)) as short:
            listener.bind(short)
        listener.listen(128)
        try:
            started = subprocess.run(
                [sys.executable, "-P", "-c", _BOOT, package_parent, str(listener.fileno())],
                input=pickle.dumps(options),
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                env=environment,
                cwd="/",
                start_new_session=True,
                timeout=_ANSWER_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KeeperError("start a keeper", str(error)) from error
    if started.returncode:
        raise KeeperError(
            "start a keeper", f"it has ended with code {started.returncode}{_last_words(Path(options.log))}"
        )


def _last_words(log: Path) -> str:
    with suppress(OSError):
        if said := log.read_text(errors="replace").strip():
            return f"; it said:\n{said}"
    return ""
