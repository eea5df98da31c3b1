"""The monitor: init's parent. Pumps the log, runs ``exec``, records the exit, cleans up.

One process a container, PID 1 of a PID namespace of its own that the container's is nested in: however the monitor
ends, the kernel ends the whole container with it. It goes on until init is gone, and ends init itself when its owner
goes: the owner's process ends, the spawner's does, or the engine closes its end of the control socket.

It is made ahead of the container, with an init that has namespaces and nothing else.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime import cgroups, logs, messages
from pytest_pycontainer.runtime.execute import run_execute
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.init import run_init
from pytest_pycontainer.runtime.process import close_all_but, pid_on_this_machine
from pytest_pycontainer.runtime.reaper import exit_code
from pytest_pycontainer.runtime.rootfs import MountPoints
from pytest_pycontainer.runtime.spec import ProcessSpec, SystemDirectories
from pytest_pycontainer.runtime.state import LOCK_NAME, ContainerState, write_state

_READ_SIZE = 256 * 1024
_FAILED = 125


@dataclass(frozen=True, slots=True)
class Lifelines:
    """What a monitor lives by: descriptors that become readable when the owner, or the spawner, is gone.

    ``container_lock`` is held for as long as engine or monitor live: who can lock it knows that both are gone.
    """

    owner: int
    spawner: int
    container_lock: int


def run_monitor(
    request: messages.Prepare,
    control: socket.socket,
    channel: socket.socket,
    lifelines: Lifelines,
    points: MountPoints,
) -> NoReturn:
    """Makes a container's cgroup and init, and stays with it to its end. Never returns."""
    code = _FAILED
    keep = (control.fileno(), channel.fileno(), lifelines.owner, lifelines.spawner, lifelines.container_lock)
    try:
        close_all_but(keep)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            monitor = _Monitor(request, control, lifelines, channel, points)
        except StepFailed as failure:
            _tell(channel, failure.failed)
        else:
            channel.close()
            monitor.watch()
            code = 0
    finally:
        os._exit(code)


class _Monitor:
    def __init__(
        self,
        request: messages.Prepare,
        control: socket.socket,
        lifelines: Lifelines,
        channel: socket.socket,
        points: MountPoints,
    ) -> None:
        self._place = request.place
        self._control = control
        self._orphaned = False
        self._answers: dict[int, tuple[int, socket.socket]] = {}  # an exec's pidfd → its pid and who waits for it
        self._state = ContainerState()
        self._spawner = lifelines.spawner
        self._owners = {lifelines.owner, lifelines.spawner}
        with step("make the cgroup"):
            cgroups.make(self._place.cgroup, all_devices=request.system.privileged)
        with step("open the log"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._log = os.open(os.path.join(self._place.directory, logs.FILE_NAME), flags, 0o600)
        self._streams, self._started = self._fork_init(request.system, channel, points)
        self._poll = select.poll()
        for descriptor in (control.fileno(), *self._owners, self._init, self._started, *self._streams):
            self._poll.register(descriptor, select.POLLIN)

    def _fork_init(
        self, system: SystemDirectories, channel: socket.socket, points: MountPoints
    ) -> tuple[dict[int, int], int]:
        with step("start init"):
            output, output_end = os.pipe()
            errors, errors_end = os.pipe()
            # Nothing is ever written here: it closes when init executes the command, or ends.
            started, started_end = os.pipe()
            own_namespace = namespaces.open_own(namespaces.PID)
            namespaces.unshare(namespaces.PID)
            self._init_pid = os.fork()
            if self._init_pid == 0:
                null = os.open(os.devnull, os.O_RDONLY)
                for number, descriptor in enumerate((null, output_end, errors_end)):
                    os.dup2(descriptor, number)
                close_all_but([channel.fileno(), started_end])
                run_init(self._place.cgroup, system, channel, points)
            for descriptor in (output_end, errors_end, started_end):
                os.close(descriptor)
            self._init = os.pidfd_open(self._init_pid)
            # What this process forks next (exec's supervision) belongs into its own namespace again.
            namespaces.enter(own_namespace, namespaces.PID)
        self._own_namespace = own_namespace
        return {output: logs.STDOUT, errors: logs.STDERR}, started

    def watch(self) -> None:
        """Serves the container until init is gone, then records how it went."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._streams:
                    self._pump(descriptor)
                elif descriptor == self._init:
                    _, status = os.waitpid(self._init_pid, 0)
                    self._finish(exit_code(status))
                    return
                elif descriptor == self._started:
                    self._poll.unregister(descriptor)
                    self._record_start()
                elif descriptor in self._answers:
                    self._answer(descriptor)
                elif descriptor in self._owners:
                    self._end(descriptor)
                elif descriptor == self._control.fileno():
                    self._serve()

    def _pump(self, descriptor: int) -> None:
        data = os.read(descriptor, _READ_SIZE)
        if data:
            self._write_log(descriptor, data)
        else:
            self._poll.unregister(descriptor)

    def _write_log(self, descriptor: int, data: bytes) -> None:
        with suppress(OSError):  # a full disk costs the log, not the container
            logs.append(self._log, self._streams[descriptor], data)

    def _record_start(self) -> None:
        self._state = ContainerState("running", pid_on_this_machine(self._init), time.time())
        with suppress(OSError):  # a full disk
            write_state(self._place.directory, self._state)

    def _end(self, descriptor: int) -> None:
        """The owner or the spawner is gone, and so must the container be.

        Without an owner nobody is left to remove the directory; without a spawner the owner still reads the log.
        """
        self._orphaned |= descriptor != self._spawner
        self._poll.unregister(descriptor)
        signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def _serve(self) -> None:
        received = messages.receive(self._control)
        if received is None:
            self._end(self._control.fileno())
            return
        request, descriptors = received
        assert isinstance(request, messages.Execute)
        self._execute(request.process, descriptors)

    def _execute(self, process: ProcessSpec, descriptors: list[int]) -> None:
        answer = socket.socket(fileno=descriptors[0])
        try:
            with step("start a process in the container"):
                # Only the child that is forked next comes to lie in the container's PID namespace.
                namespaces.enter(self._init, namespaces.PID)
                pid = os.fork()
                if pid == 0:
                    run_execute(process, self._place.cgroup, self._init, answer, descriptors[1:])
                namespaces.enter(self._own_namespace, namespaces.PID)
                pidfd = os.pidfd_open(pid)
        except StepFailed as failure:
            _tell(answer, failure.failed)
            answer.close()
        else:
            self._answers[pidfd] = (pid, answer)
            self._poll.register(pidfd, select.POLLIN)
            _tell(answer, messages.Created(), [pidfd])
        for descriptor in descriptors[1:]:
            os.close(descriptor)

    def _answer(self, pidfd: int) -> None:
        pid, answer = self._answers.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        with answer:
            _tell(answer, messages.Exited(exit_code(status)))

    def _finish(self, code: int) -> None:
        self._pump_rest()
        out_of_memory = cgroups.ran_out_of_memory(self._place.cgroup)
        with suppress(OSError):  # what is left is removed, or complained about, with the container's directory
            cgroups.remove(self._place.cgroup)
        if not self._orphaned:
            self._state = replace(
                self._state,
                status="exited",
                pid=0,
                finished_at=time.time(),
                exit_code=code,
                out_of_memory=out_of_memory,
            )
            with suppress(OSError):  # a full disk: the engine is told all the same
                write_state(self._place.directory, self._state)
            if _tell(self._control, messages.Exited(code, out_of_memory)):
                return
        remove_tree(self._place.directory, last=LOCK_NAME)

    def _pump_rest(self) -> None:
        """Nobody in the container is left to write: what is in the pipes is all there is."""
        for descriptor in self._streams:
            os.set_blocking(descriptor, False)
            try:
                while data := os.read(descriptor, _READ_SIZE):
                    self._write_log(descriptor, data)
            except BlockingIOError:
                continue  # the other end was handed out of the container; what comes now is not its output


def _tell(channel: socket.socket, message: messages.Message, descriptors: Sequence[int] = ()) -> bool:
    """Sends a message; False if nobody is there to hear it any more."""
    try:
        messages.send(channel, message, descriptors)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True
