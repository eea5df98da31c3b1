"""Forking what becomes a container's PID 1: into the namespaces that only a fork leads into.

A PID namespace is entered by children alone. A user namespace is entered by who gives up all rights outside it, and has
to come before the PID namespace, which then belongs to it; so a process in between makes both steps and forks PID 1 as
the monitor's child. What needs this machine's rights, mounting above all, a *mounter* does for such a container.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NoReturn, TypeAlias

from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.kernel.fork import fork_sibling
from pytest_pycontainer.runtime import cgroups
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.failure import StepFailed
from pytest_pycontainer.runtime.messages import Failed, Prepare
from pytest_pycontainer.runtime.mounter import run_mounter
from pytest_pycontainer.runtime.process import close_all_but, own_stream
from pytest_pycontainer.runtime.rootfs import MountPoints
from pytest_pycontainer.runtime.shared_namespaces import join_namespace
from pytest_pycontainer.runtime.spec import IdMap
from pytest_pycontainer.runtime.user_namespace import enter_user_namespace, make_user_namespace

_NUMBER = struct.Struct("i")

BecomeInit: TypeAlias = Callable[[tuple[str, ...], socket.socket | None], NoReturn]
"""What the new process does; it gets the cgroup directories that it still has to join, and the socket to its mounter,
if it has one."""


class InitForker:
    """Forks one container's inits, one for each run. Raises StepFailed.

    ``joined`` are the pidfds of those whose namespaces the container is to share, by kind. One user namespace serves
    all runs, since the network namespace that goes on from one to the next belongs to it.
    """

    def __init__(
        self, loop: EventLoop, request: Prepare, joined: Mapping[int, int], points: MountPoints, own_pids: int
    ) -> None:
        self._loop = loop
        self._request = request
        self._joined = joined
        self._points = points
        self._own_pids = own_pids  # the monitor's PID namespace
        self._ids = request.namespaces.ids
        self._user_namespace = -1 if self._ids is None else make_user_namespace(self._ids)

    @property
    def shares_processes(self) -> bool:
        """Whether the kernel does not end what init leaves, since init is no PID namespace's first process."""
        wanted = self._request.namespaces
        return bool((wanted.machine | sum(wanted.joined)) & namespaces.PID)

    def fork(self, become_init: BecomeInit, streams: Sequence[int]) -> int:
        """Forks; the number of the new process, a child of this one. ``streams`` are its output and error."""
        if self._ids is not None:
            return self._fork_with_mounter(self._ids, become_init, streams)
        self._lead_child()
        pid, cgroup = cgroups.fork_into(self._request.place.cgroup)
        if pid == 0:
            become_init(cgroup, None)
        self._lead_child_back()
        return pid

    def _lead_child(self) -> None:
        wanted = self._request.namespaces
        if namespaces.PID in self._joined:
            join_namespace(self._joined[namespaces.PID], namespaces.PID)
        elif not wanted.machine & namespaces.PID:
            namespaces.unshare(namespaces.PID)

    def _lead_child_back(self) -> None:
        # What this process forks next belongs into its own namespace again.
        namespaces.enter(self._own_pids, namespaces.PID)

    def _fork_with_mounter(self, ids: IdMap, become_init: BecomeInit, streams: Sequence[int]) -> int:
        init_end, mounter_end = socket.socketpair()
        with init_end, mounter_end:
            pid = self._fork_in_user_namespace(ids, partial(become_init, (), init_end), streams)
            init = os.pidfd_open(pid)
            try:
                namespaces.enter(init, namespaces.PID)
                mounter = os.fork()
                if mounter == 0:
                    close_all_but([mounter_end.fileno(), init, self._user_namespace])
                    run_mounter(mounter_end, init, self._user_namespace, self._request, self._points)
                self._lead_child_back()
            finally:
                os.close(init)
        pidfd = os.pidfd_open(mounter)

        def collect() -> None:
            self._loop.unwatch(pidfd)
            os.close(pidfd)
            os.waitpid(mounter, 0)

        self._loop.watch(pidfd, collect)
        return pid

    def _fork_in_user_namespace(self, ids: IdMap, become_init: Callable[[], NoReturn], streams: Sequence[int]) -> int:
        told, telling = os.pipe()
        between = os.fork()
        if between == 0:
            number = 0
            try:
                # Who is in the namespace may do neither: the cgroup and the pipes are this machine's.
                cgroups.join(self._request.place.cgroup)
                for stream in streams:
                    own_stream(stream, ids.uid, ids.gid)
                # The one place that it keeps when it gets a mount namespace, and may look into.
                os.chdir(self._points.root)
                enter_user_namespace(self._user_namespace)
                namespaces.unshare(namespaces.PID)
                pid = fork_sibling()
                if pid == 0:
                    os.close(told)
                    os.close(telling)
                    become_init()
                os.write(telling, _NUMBER.pack(pid))
            except OSError as error:
                number = error.errno or 1
            finally:
                os._exit(number)
        os.close(telling)
        try:
            answer = os.read(told, _NUMBER.size)
        finally:
            os.close(told)
        _, status = os.waitpid(between, 0)
        if not answer:
            number = os.waitstatus_to_exitcode(status)
            raise StepFailed(Failed("start init in its user namespace", number, os.strerror(number)))
        (pid,) = _NUMBER.unpack(answer)
        return int(pid)
