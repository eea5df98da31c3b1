"""The engine's end of one container: what it says to init and the monitor, and what it hears from them."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from pytest_pycontainer.engine.news import News
from pytest_pycontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerRunningError,
    ContainerStartError,
    SpawnerError,
)
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.process import EXECUTE_STEP, pid_on_this_machine
from pytest_pycontainer.runtime.spawner import Spawner
from pytest_pycontainer.runtime.spec import ContainerDescription
from pytest_pycontainer.runtime.state import SOCKET_NAME, ContainerState

KILLED = 128 + signal.SIGKILL
_STEP_SECONDS = 60.0


def raise_failed(container: str, command: str, failed: messages.Failed) -> NoReturn:
    """Raises the error that a failed step of starting a process stands for."""
    if failed.step == EXECUTE_STEP:
        if failed.errno == errno.ENOENT:
            raise CommandNotFoundError(container, command)
        raise CommandNotExecutableError(container, command, failed.detail)
    raise ContainerStartError(container, failed.step, failed.detail)


class MonitorConnection:
    """Leads to one container's monitor: requests go out on it, and how the container is comes in.

    Safe to use from several threads. One lock guards what was heard; of the threads that wait for something to be
    heard, one listens and tells the others.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._listening = False
        self._state = ContainerState()
        self._pidfd = -1
        self._heard = False
        self._gone = False
        self._told: set[int] = set()  # event counters of those that wait for something else too

    @classmethod
    def connect(cls, directory: Path) -> MonitorConnection:
        """Connects to the monitor of the container in ``directory``. Raises OSError if there is none."""
        control = socket.socket(socket.AF_UNIX)
        try:
            control.settimeout(_STEP_SECONDS)
            parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                control.connect(f"/proc/self/fd/{parent}/{SOCKET_NAME}")
            finally:
                os.close(parent)
            control.settimeout(None)
        except BaseException:
            control.close()
            raise
        connection = cls(control)
        connection.await_state(lambda _: connection._heard, _STEP_SECONDS)
        return connection

    # What is heard

    @property
    def state(self) -> ContainerState:
        """How the container is now. A monitor that was killed has taken it with it."""
        with self._changed:
            self._catch_up()
            return self._state

    @property
    def gone(self) -> bool:
        """Whether there is no monitor any more."""
        with self._changed:
            self._catch_up()
            return self._gone

    def refresh(self) -> None:
        """Waits until all is told here that has happened to the container, to whoever it was told first."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                asked = self.send(messages.CatchUp(), [theirs.fileno()])
            _ = asked and messages.has_come(ours, _STEP_SECONDS)

    def exited(self, timeout: float | None) -> ContainerState | None:
        """How it ended, waiting for that for ``timeout`` seconds (None: for ever); None if it runs on.

        What is told is an exit too if somebody has started it again meanwhile: then its code, with the newer state.
        """
        before = _starts(self.state)
        return self.await_state(lambda state: state.status == "exited" or _starts(state) > before, timeout)

    def await_gone(self, timeout: float | None) -> bool:
        """Waits until the monitor has ended, for ``timeout`` seconds (None: for ever); whether it has."""
        return self.await_state(lambda _: False, timeout) is not None

    def await_state(self, reached: Callable[[ContainerState], bool], timeout: float | None) -> ContainerState | None:
        """The first state heard that is ``reached``, or the last one there was; None after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._catch_up()
            while not reached(self._state) and not self._gone:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return None
                self._listen(remaining)
            return self._state

    def _catch_up(self) -> None:
        """Hears what has come in until now; called with the lock."""
        while not self._gone and messages.has_come(self._control):
            if self._listening:
                self._changed.wait(_STEP_SECONDS)  # that thread is about to hear it: were it gone, it would sleep on
            else:
                self._hear()

    def _listen(self, seconds: float | None) -> None:
        """Waits until something is heard, by this thread or another; called and left with the lock."""
        if self._listening:
            self._changed.wait(seconds)
            return
        self._listening = True
        self._changed.release()
        try:
            ready = messages.has_come(self._control, seconds)
        finally:
            self._changed.acquire()
            self._listening = False
            self._changed.notify_all()  # another has to listen now, whether there was anything or not
        if ready:
            self._hear()

    def _hear(self) -> None:
        received = messages.receive(self._control)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if received is None:
            # The monitor has ended, and the kernel has ended the container with it.
            self._gone = True
            if self._state.status != "exited":
                self._state = replace(self._state, status="exited", pid=0, exit_code=KILLED)
            self._tell()
            return
        message, descriptors = received
        assert isinstance(message, messages.StateChanged)
        self._state = message.state
        self._heard = True
        if descriptors:
            (self._pidfd,) = descriptors
        self._tell()

    def _tell(self) -> None:
        for told in self._told:
            os.eventfd_write(told, 1)

    def open_pidfd(self) -> int:
        """A pidfd of PID 1, the caller's; -1 unless it runs."""
        with self._changed:
            self._catch_up()
            return os.dup(self._pidfd) if self._pidfd >= 0 else -1

    @contextmanager
    def news(self) -> Iterator[News]:
        """For who waits for something else too: tells when something is heard of the container, from now on."""
        told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        with self._changed:
            self._told.add(told)
        try:
            yield News(self._control, told)
        finally:
            with self._changed:
                self._told.discard(told)
            os.close(told)

    def pid(self) -> int:
        """PID 1's number on this machine, 0 unless it runs."""
        pidfd = self.open_pidfd()
        if pidfd < 0:
            return 0
        try:
            return pid_on_this_machine(pidfd)
        finally:
            os.close(pidfd)

    # What is said

    def send(self, request: messages.Message, descriptors: list[int] | None = None) -> bool:
        """Sends a request that is answered elsewhere, or not at all; False if the monitor has ended."""
        with self._sending:
            return self._control.fileno() >= 0 and messages.tell(self._control, request, descriptors or ())

    def ask(self, container: str, request: messages.Message, descriptors: Sequence[int] = ()) -> messages.Message:
        """Sends a request and returns the answer. Raises ContainerNotFoundError if the monitor has ended."""
        return self._ask(container, request, descriptors)[0]

    def _ask(
        self, container: str, request: messages.Message, descriptors: Sequence[int]
    ) -> tuple[messages.Message, list[int]]:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                sent = self.send(request, [theirs.fileno(), *descriptors])
            ours.settimeout(_STEP_SECONDS)
            try:
                received = messages.receive(ours) if sent else None
            except TimeoutError as error:
                detail = f"no answer within {_STEP_SECONDS:g} s"
                raise SpawnerError(f"ask the monitor of {container!r}", detail) from error
        if received is None:
            raise ContainerNotFoundError(container)
        return received

    def open_network(self, container: str, kind: int = 0) -> tuple[int, ...]:
        """The container's network namespace, and sockets inside it, see ``messages.OpenNetwork``; all are the caller's.

        Raises ContainerNotFoundError, and ContainerStartError (the step that failed).
        """
        answer, descriptors = self._ask(container, messages.OpenNetwork(kind), ())
        if isinstance(answer, messages.Failed):
            raise_failed(container, "", answer)
        return tuple(descriptors)

    def describe(self, container: str) -> ContainerDescription:
        """What the monitor knows of its container. Raises ContainerNotFoundError if it has ended."""
        answer = self.ask(container, messages.Describe())
        assert isinstance(answer, messages.Remember)
        return answer.description

    def start(self, container: str, command: str) -> None:
        """Has the monitor start the container, again or for the first time; returns when the command runs.

        Raises ContainerStartError or one of its kinds, ContainerRunningError, and ContainerNotFoundError.
        """
        answer = self.ask(container, messages.StartContainer())
        if isinstance(answer, messages.Failed):
            if not answer.step:
                raise ContainerRunningError(container, "start")
            raise_failed(container, command, answer)

    def tell_name(self, container: str, name: str) -> None:
        """Has the monitor tell everybody of a new name. Raises ContainerNotFoundError."""
        self.ask(container, messages.Rename(name))

    def signal(self, container: str, number: int, *, ends: bool) -> None:
        """Sends PID 1 a signal; with ``ends`` its restart policy does not count after it.

        Raises ContainerNotRunningError if there is none.
        """
        answer = self.ask(container, messages.Signal(number, ends))
        if isinstance(answer, messages.Failed):
            raise ContainerNotRunningError(container, "kill", self.state.status)

    def close(self) -> None:
        """Lets go of the container. If this is its owner's end, the monitor takes it for the end of the owner."""
        with self._sending:
            self._control.close()
        with self._changed:
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1
            self._gone = True
            self._tell()


class Connection(MonitorConnection):
    """The owner's: leads to init too, until the command runs for the first time.

    It is opened before the container has any content: that is the long part, and can be done ahead.
    """

    def __init__(self, spawner: Spawner, request: messages.Prepare, held: Sequence[int]) -> None:
        control, monitor_end = socket.socketpair()
        super().__init__(control)
        self._name = "a container"
        self._command = ""
        self._init = -1
        self._is_told_to_start = False
        self._channel, init_end = socket.socketpair()
        try:
            with init_end, monitor_end:
                spawner.prepare(request, init_end, monitor_end, held)
        except BaseException:
            self.close()
            raise

    def await_created(self) -> tuple[int, socket.socket]:
        """Waits until the container has its namespaces; returns its network namespace and a route socket inside it.

        Both are the caller's. Raises ContainerStartError if a step before that failed.
        """
        doing = "making its namespaces"
        received = self._hear_from_init(doing)
        if received is None:
            raise SpawnerError("start a container", f"init or its monitor died while {doing}")
        answer, descriptors = received
        if isinstance(answer, messages.Failed):
            raise_failed(self._name, self._command, answer)
        self._init, network, route = descriptors
        return network, socket.socket(fileno=route)

    def launch(self, description: ContainerDescription, name: str, network: int) -> None:
        """Tells init and the monitor what it is to be; does not wait. What fails of that is found by ``start``."""
        spec = description.spec
        self._name, self._command = name, spec.process.command[0]
        messages.tell(self._channel, messages.Launch(spec))
        self.send(messages.Remember(description), [network, self._channel.fileno()])

    def await_root(self) -> None:
        """Waits until a container that has not been started is in its root. Raises ContainerStartError."""
        messages.tell(self._channel, messages.Launched())
        doing = "entering its root"
        received = self._hear_from_init(doing)
        if received is None:
            raise ContainerStartError(self._name, doing, "init or its monitor died")
        answer, _ = received
        if isinstance(answer, messages.Failed):
            raise_failed(self._name, self._command, answer)

    def open_pidfd(self) -> int:
        """As the base's, and of a PID 1 that waits to be started, too."""
        pidfd = super().open_pidfd()
        return os.dup(self._init) if pidfd < 0 <= self._init and self._state.runs <= 1 else pidfd

    def is_waiting(self) -> bool:
        """Whether init still waits to be started for the first time."""
        if self._channel.fileno() >= 0:
            state = self.state
            if state.runs or state.error:  # somebody else has started it, or has tried to
                self._channel.close()
        return self._channel.fileno() >= 0

    def start_first(self) -> None:
        """Has init execute the command; returns when it runs. Raises ContainerStartError or one of its kinds."""
        messages.tell(self._channel, messages.Start())  # if init has ended, why is still to be read
        received = self._hear_from_init("starting the command")
        self._channel.close()
        self._is_told_to_start = True
        if received is not None:
            failed, _ = received
            assert isinstance(failed, messages.Failed)
            raise_failed(self._name, self._command, failed)

    def _catch_up(self) -> None:
        super()._catch_up()
        deadline = time.monotonic() + _STEP_SECONDS
        while self._is_told_to_start and not (self._state.runs or self._state.error or self._gone):
            if time.monotonic() >= deadline:
                raise SpawnerError(f"hear of {self._name!r}", f"its monitor has not told within {_STEP_SECONDS:g} s")
            self._listen(deadline - time.monotonic())  # it is about to tell

    def _hear_from_init(self, doing: str) -> tuple[messages.Message, list[int]] | None:
        self._channel.settimeout(_STEP_SECONDS)
        try:
            return messages.receive(self._channel)
        except TimeoutError as error:
            raise ContainerStartError(self._name, doing, f"no answer within {_STEP_SECONDS:g} s") from error

    def abandon(self) -> None:
        """Removes the container, running or not yet come to be, and waits until it is gone. Closes this."""
        self.send(messages.Remove())
        self.await_gone(_STEP_SECONDS)
        self.close()

    def close(self) -> None:
        """Lets go of the container, which ends it if it has not been ended."""
        self._channel.close()
        if self._init >= 0:
            os.close(self._init)
            self._init = -1
        super().close()


def _starts(state: ContainerState) -> int:
    """A number that grows when somebody starts the container, and not when its restart policy does."""
    return state.runs - state.restarts + (state.status == "restarting")
