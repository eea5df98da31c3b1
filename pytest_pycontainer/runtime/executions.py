"""The further processes of a running container that its monitor has been asked for, each a child of the monitor."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.runtime import cgroups, messages
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.execute import run_execute
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.process import kill_group, numbers_of
from pytest_pycontainer.runtime.reaper import exit_code
from pytest_pycontainer.runtime.spec import Namespaces, ProcessSpec, TerminalSize

_DISCARD_SIZE = 64 * 1024


class Executions:
    """Forks them, and tells who asked how they ended.

    A process outlives who asked for it: what it writes then is read and thrown away, so that it neither is ended by
    that nor waits for ever.
    """

    def __init__(self, loop: EventLoop, cgroup: tuple[str, ...], own_pids: int, shared: Namespaces) -> None:
        self._loop = loop
        self._shared = shared
        self._cgroup = cgroup
        self._own_pids = own_pids  # the monitor's PID namespace

    def start(self, request: messages.Execute, init: int, descriptors: list[int]) -> None:
        """Starts a process in the container of the pidfd ``init``; ``descriptors`` are those of the request.

        They stay the caller's.
        """
        answer, report, *streams = descriptors
        caller = _Caller(self._loop, socket.socket(fileno=os.dup(answer)))
        terminal_end: socket.socket | None = None
        try:
            with step("make room for a process"):
                if request.terminal is None:
                    caller.outputs = _reading_ends(streams[1:])
                else:
                    terminal, terminal_end = socket.socketpair()
                    caller.await_terminal(terminal)
            ended = partial(self._tell_exit, caller)
            pidfd = self.fork(request.process, init, report, streams, ended, request.terminal, terminal_end)
            numbers = _numbers_of(pidfd)
        except StepFailed as failure:
            messages.tell(caller.answer, failure.failed)
            caller.let_go()
        else:
            messages.tell(caller.answer, messages.Executing(*numbers), [pidfd])
        finally:
            if terminal_end is not None:
                terminal_end.close()

    def fork(
        self,
        process: ProcessSpec,
        init: int,
        report: int,
        streams: Sequence[int],
        ended: Callable[[int], None],
        terminal: TerminalSize | None = None,
        terminal_channel: socket.socket | None = None,
    ) -> int:
        """Forks it into the container of the pidfd ``init``; returns its pidfd, which is valid until it has ``ended``.

        That is then called with its exit code. ``report`` is a socket as ``Execute`` describes it; ``streams`` are its
        standard input, output and error, unless it is to have a ``terminal``: then that goes out on its channel.
        Raises StepFailed.
        """
        with step("start a process in the container"):
            # Only the child that is forked next comes to lie in the container's PID namespace.
            namespaces.enter(init, namespaces.PID)
            try:
                pid, cgroup = cgroups.fork_into(self._cgroup)
                if pid == 0:
                    run_execute(process, cgroup, init, report, streams, self._shared, terminal, terminal_channel)
            finally:
                namespaces.enter(self._own_pids, namespaces.PID)
            pidfd = _open_pidfd(pid)
        self._loop.watch(pidfd, lambda: self._end(pidfd, pid, ended))
        return pidfd

    def _end(self, pidfd: int, pid: int, ended: Callable[[int], None]) -> None:
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        ended(exit_code(status))

    @staticmethod
    def _tell_exit(caller: _Caller, code: int) -> None:
        if caller.answer.fileno() >= 0:
            messages.tell(caller.answer, messages.Exited(code))


class _Caller:
    """Who has asked for a process, until its end of ``answer`` is closed."""

    def __init__(self, loop: EventLoop, answer: socket.socket) -> None:
        self._loop = loop
        self.answer = answer
        self.outputs: list[int] = []
        loop.watch(answer.fileno(), self.let_go)  # nothing comes in on it but its end

    def await_terminal(self, channel: socket.socket) -> None:
        """Hands on the terminal that the process will send."""
        self._loop.watch(channel.fileno(), lambda: self._take_terminal(channel))

    def _take_terminal(self, channel: socket.socket) -> None:
        self._loop.unwatch(channel.fileno())
        try:
            with channel:
                received = messages.receive(channel)
        except OSError:  # no descriptor is left: the process, without a terminal, is told by the kernel
            return
        if received is None:
            return
        message, descriptors = received
        if self.answer.fileno() >= 0:
            messages.tell(self.answer, message, descriptors)
            self.outputs = descriptors  # its programs would get SIGHUP when the last one that holds it goes
        else:
            self._discard(descriptors)

    def let_go(self) -> None:
        """It has read what it wanted to, or is gone."""
        self._loop.unwatch(self.answer.fileno())
        self.answer.close()
        outputs, self.outputs = self.outputs, []
        self._discard(outputs)

    def _discard(self, outputs: list[int]) -> None:
        for output in outputs:
            os.set_blocking(output, False)
            self._loop.watch(output, partial(self._discard_some, output))

    def _discard_some(self, output: int) -> None:
        with suppress(BlockingIOError):
            try:
                data = os.read(output, _DISCARD_SIZE)
            except BlockingIOError:
                raise
            except OSError:  # a terminal that no program has open any more
                data = b""
            if not data:
                self._loop.unwatch(output)
                os.close(output)


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # no descriptor is left: nobody could tell when it has ended
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _numbers_of(pidfd: int) -> tuple[int, int]:
    try:
        return numbers_of(pidfd)
    except OSError:  # as above: who asked could not be told of it
        kill_group(pidfd)
        raise


def _reading_ends(streams: Sequence[int]) -> list[int]:
    """A reading end of our own for each pipe that is written to by one of these descriptors."""
    pipes: dict[int, int] = {}
    for stream in streams:
        status = os.fstat(stream)
        if stat.S_ISFIFO(status.st_mode) and status.st_ino not in pipes:
            pipes[status.st_ino] = os.open(f"/proc/self/fd/{stream}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return list(pipes.values())
