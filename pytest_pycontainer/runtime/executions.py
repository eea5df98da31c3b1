"""The further processes of a running container that its monitor has been asked for, each a child of the monitor."""

from __future__ import annotations

import os
import socket

from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.runtime import cgroups, messages
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.execute import run_execute
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.reaper import exit_code
from pytest_pycontainer.runtime.spec import IdMap, ProcessSpec


class Executions:
    """Forks them, and tells who asked how they ended."""

    def __init__(self, loop: EventLoop, cgroup: tuple[str, ...], own_pids: int, ids: IdMap | None) -> None:
        self._loop = loop
        self._ids = ids
        self._cgroup = cgroup
        self._own_pids = own_pids  # the monitor's PID namespace

    def start(self, process: ProcessSpec, init: int, descriptors: list[int]) -> None:
        """Starts ``process`` in the container of the pidfd ``init``; ``descriptors`` are those of ``Execute``.

        They stay the caller's.
        """
        answer = socket.socket(fileno=os.dup(descriptors[0]))
        try:
            with step("start a process in the container"):
                # Only the child that is forked next comes to lie in the container's PID namespace.
                namespaces.enter(init, namespaces.PID)
                try:
                    pid, cgroup = cgroups.fork_into(self._cgroup)
                    if pid == 0:
                        run_execute(process, cgroup, init, answer, descriptors[1:], self._ids)
                finally:
                    namespaces.enter(self._own_pids, namespaces.PID)
                pidfd = os.pidfd_open(pid)
        except StepFailed as failure:
            messages.tell(answer, failure.failed)
            answer.close()
        else:
            self._loop.watch(pidfd, lambda: self._end(pidfd, pid, answer))
            messages.tell(answer, messages.Created(), [pidfd])

    def _end(self, pidfd: int, pid: int, answer: socket.socket) -> None:
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        with answer:
            messages.tell(answer, messages.Exited(exit_code(status)))
