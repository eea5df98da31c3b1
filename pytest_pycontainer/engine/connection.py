"""The engine's end of one container: what it says to init and the monitor, and what it hears from them."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import NoReturn

from pytest_pycontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerStartError,
    SpawnerError,
)
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.process import EXECUTE_STEP, pid_on_this_machine
from pytest_pycontainer.runtime.spawner import Spawner
from pytest_pycontainer.runtime.spec import ContainerSpec

KILLED = 128 + signal.SIGKILL
_STEP_SECONDS = 60.0


def raise_failed(container: str, command: str, failed: messages.Failed) -> NoReturn:
    """Raises the error that a failed step of starting a process stands for."""
    if failed.step == EXECUTE_STEP:
        if failed.errno == errno.ENOENT:
            raise CommandNotFoundError(container, command)
        raise CommandNotExecutableError(container, command, failed.detail)
    raise ContainerStartError(container, failed.step, failed.detail)


class Connection:
    """Leads to one container's init (until the command runs) and monitor (until the end).

    It is opened before the container has any content: that is the long part, and can be done ahead. Safe to use from
    several threads: a lock guards what was heard, and nobody waits while holding it. Closing it ends the container: the
    monitor takes it for the end of its owner.
    """

    def __init__(self, spawner: Spawner, request: messages.Prepare, container_lock: int) -> None:
        self._name = "a container"
        self._command = ""
        self._lock = threading.Lock()
        self._exited: messages.Exited | None = None
        self.pidfd = -1
        self._channel, init_end = socket.socketpair()
        self._control, monitor_end = socket.socketpair()
        try:
            with init_end, monitor_end:
                spawner.prepare(request, init_end, monitor_end, container_lock)
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
        self.pidfd, network, route = descriptors
        return network, socket.socket(fileno=route)

    def launch(self, spec: ContainerSpec, name: str) -> None:
        """Tells init what it is to be; does not wait. What fails of that is found by ``start``."""
        self._name, self._command = name, spec.process.command[0]
        with suppress(BrokenPipeError, ConnectionResetError):
            messages.send(self._channel, messages.Launch(spec))

    def await_root(self) -> None:
        """Waits until a container that has not been started is in its root. Raises ContainerStartError."""
        with suppress(BrokenPipeError, ConnectionResetError):
            messages.send(self._channel, messages.Launched())
        doing = "entering its root"
        received = self._hear_from_init(doing)
        if received is None:
            raise ContainerStartError(self._name, doing, "init or its monitor died")
        answer, _ = received
        if isinstance(answer, messages.Failed):
            raise_failed(self._name, self._command, answer)

    def start(self) -> None:
        """Has init execute the command; returns when it runs. Raises ContainerStartError or one of its kinds."""
        with suppress(BrokenPipeError, ConnectionResetError):  # then init has ended, and why is still to be read
            messages.send(self._channel, messages.Start())
        received = self._hear_from_init("starting the command")
        self._channel.close()
        if received is not None:
            failed, _ = received
            assert isinstance(failed, messages.Failed)
            raise_failed(self._name, self._command, failed)

    def _hear_from_init(self, doing: str) -> tuple[messages.Message, list[int]] | None:
        self._channel.settimeout(_STEP_SECONDS)
        try:
            return messages.receive(self._channel)
        except TimeoutError as error:
            raise ContainerStartError(self._name, doing, f"no answer within {_STEP_SECONDS:g} s") from error

    def exited(self, timeout: float | None) -> messages.Exited | None:
        """How the container ended, waiting for that for ``timeout`` seconds (None: for ever); None if it runs on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._exited is None:
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poll.poll(remaining):
                return None
            with self._lock:
                if self._exited is None:
                    self._hear_exit()
        return self._exited

    def _hear_exit(self) -> None:
        received = messages.receive(self._control)
        if received is None:
            # The monitor was killed, and the kernel has ended the container with it.
            self._exited = messages.Exited(KILLED)
        else:
            answer, _ = received
            assert isinstance(answer, messages.Exited)
            self._exited = answer

    @property
    def exit_descriptor(self) -> int:
        """Becomes readable when the container has exited; for others to poll on along with what they wait for."""
        return self._control.fileno()

    def pid(self) -> int:
        """PID 1's number on this machine, 0 if it has ended."""
        return pid_on_this_machine(self.pidfd)

    def send_signal(self, number: int) -> bool:
        """Sends PID 1 a signal; False if it has ended."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def execute(self, request: messages.Execute, descriptors: list[int]) -> bool:
        """Asks the monitor for a process; False if it has ended."""
        with self._lock:
            try:
                messages.send(self._control, request, descriptors)
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True

    def abandon(self) -> None:
        """Ends a container that has not come to be, and waits until it is gone."""
        self._channel.close()  # an init that waits for its start takes that for the end
        if self.pidfd >= 0:
            self.send_signal(signal.SIGKILL)
        self.exited(_STEP_SECONDS)
        self.close()

    def close(self) -> None:
        """Lets go of the container."""
        self._channel.close()
        self._control.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
