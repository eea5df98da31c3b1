"""The monitor: init's parent, and the authority over one container until that is removed.

One process a container, PID 1 of a PID namespace of its own that the container's is nested in: however the monitor
ends, the kernel ends the whole container with it. It forks init for each run, keeps the network namespace over all of
them, pumps the log, runs ``exec``, and tells whoever asks how the container is. It ends the container when its owner
goes: the owner's process ends, or the engine closes its end of the control socket.

It is made ahead of the container, with an init that has namespaces and nothing else.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime import cgroups, messages
from pytest_pycontainer.runtime.clients import Clients, listen
from pytest_pycontainer.runtime.event_loop import EventLoop
from pytest_pycontainer.runtime.executions import Executions
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.health import HealthChecks
from pytest_pycontainer.runtime.init import run_init
from pytest_pycontainer.runtime.init_forking import InitForker
from pytest_pycontainer.runtime.network_sockets import fork_to_open
from pytest_pycontainer.runtime.process import close_all_but, failed_exit_code, pid_on_this_machine
from pytest_pycontainer.runtime.reaper import exit_code
from pytest_pycontainer.runtime.restarting import Restarts
from pytest_pycontainer.runtime.rootfs import MountPoints, renew_work_directory
from pytest_pycontainer.runtime.spec import ContainerDescription, Place
from pytest_pycontainer.runtime.state import ContainerState
from pytest_pycontainer.runtime.streams import Streams
from pytest_pycontainer.runtime.values import dataclass, replace


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
    held: Sequence[int],
) -> None:
    """Makes a container's cgroup and init, and stays with it to its end.

    ``held`` are the pidfds of those whose namespaces it is to share, and what else to keep open to the end.
    """
    keep = (control.fileno(), channel.fileno(), lifelines.owner, lifelines.spawner, lifelines.container_lock, *held)
    close_all_but(keep)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        monitor = _Monitor(request, control, lifelines, channel, points, held)
    except StepFailed as failure:
        messages.tell(channel, failure.failed)
    else:
        channel.close()
        monitor.run()


@dataclass(frozen=True, slots=True)
class _Init:
    pid: int
    pidfd: int
    report: socket.socket  # closes when init executes the command, or ends; before that comes what failed, if it did


class _Monitor:
    def __init__(
        self,
        request: messages.Prepare,
        control: socket.socket,
        lifelines: Lifelines,
        channel: socket.socket,
        points: MountPoints,
        held: Sequence[int],
    ) -> None:
        self._points = points
        self._loop = EventLoop()
        self._state = ContainerState()
        self._description: ContainerDescription | None = None
        self._network: int | None = None
        self._channel: socket.socket | None = None  # to an init that waits for its start
        self._failed: messages.Failed | None = None
        self._starters: list[socket.socket] = []
        self._restarts = Restarts(self._loop, self._start_again)
        self._health: HealthChecks | None = None
        self._out_of_memory_kills = 0  # before this run
        self._meant_to_end = False
        self._leaving = False
        self._own_pids = namespaces.open_own(namespaces.PID)
        with step("make the cgroup"):
            self._cgroups, cgroup = cgroups.reach_through_descriptor(request.place.cgroup)
            self._place = Place(request.place.directory, cgroup)
            self._request = request = replace(request, place=self._place)
            # In a user namespace nobody may make a node, nor set such rules.
            cgroups.make(self._place.cgroup, all_devices=request.system.privileged or not points.ids.are_all)
        with step("listen for requests"):
            listener = listen(self._place.directory)
        self._joined = dict(zip(request.namespaces.joined, held, strict=False))
        self._forker = InitForker(self._loop, request, self._joined, points, self._own_pids)
        # As soon as may be: it takes longer than what follows, and each page of memory that is written to before a fork
        # is copied once more after it.
        init, output, errors = self._fork_init(channel)
        self._streams = Streams(self._loop, self._place.directory)
        self._clients = Clients(self._loop, control, listener, self._serve, self._end_without_owner)
        self._executions = Executions(self._loop, self._place.cgroup, self._own_pids, request.namespaces)
        self._init: _Init | None = None
        self._begin_run(init, output, errors)
        self._loop.watch(lifelines.owner, lambda: self._end_without_owner(lifelines.owner))
        self._loop.watch(lifelines.spawner, lambda: self._end_without_spawner(lifelines.spawner))

    def run(self) -> None:
        """Serves the container until it is removed."""
        self._loop.run()
        self._clients.close()

    # A run, from its init to its exit

    def _fork_init(self, channel: socket.socket) -> tuple[_Init, int, int]:
        """Also returns where its output and its errors can be read."""
        with step("start init"):
            output, output_end = os.pipe()
            errors, errors_end = os.pipe()
            report, report_end = socket.socketpair()

            def become_init(cgroup: tuple[str, ...], mounter: socket.socket | None) -> NoReturn:
                null = os.open(os.devnull, os.O_RDONLY)
                for number, descriptor in enumerate((null, output_end, errors_end)):
                    os.dup2(descriptor, number)
                optional = [self._cgroups] if self._network is None else [self._cgroups, self._network]
                optional += [] if mounter is None else [mounter.fileno()]
                close_all_but([channel.fileno(), report_end.fileno(), *optional, *self._joined.values()])
                sockets = (channel, report_end)
                run_init(self._request, cgroup, *sockets, self._points, self._network, self._joined, mounter)

            pid = self._forker.fork(become_init, (output_end, errors_end))
            report_end.close()
            for descriptor in (output_end, errors_end):
                os.close(descriptor)
            return _Init(pid, os.pidfd_open(pid), report), output, errors

    def _begin_run(self, init: _Init, output: int, errors: int) -> None:
        self._init = init
        self._streams.begin_run(output, errors)
        self._loop.watch(init.report.fileno(), lambda: self._hear_reports(init))
        self._loop.watch(init.pidfd, lambda: self._finish_run(init))

    def _hear_reports(self, init: _Init) -> None:
        """What has come; the loop may call when that has been heard already."""
        while messages.has_come(init.report):
            self._hear_report(init)

    def _hear_report(self, init: _Init) -> None:
        received = messages.receive(init.report)
        message, descriptors = received or (None, [])
        if isinstance(message, messages.StreamsOpened):
            self._streams.open(message, descriptors)
            messages.tell(init.report, messages.Done())
            return
        if self._description is None:
            self._clients.hear_owner()  # it has told what runs here before it told init, by another way, to run it
        self._loop.unwatch(init.report.fileno())
        init.report.close()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if message is not None:
            assert isinstance(message, messages.Failed)
            self._failed = message
            return
        self._change(
            status="running",
            pid=pid_on_this_machine(init.pidfd),
            started_at=time.time(),
            error="",
            runs=self._state.runs + 1,
            restarts=self._restarts.count,
            health=None if self._health is None else self._health.begin(init.pidfd),
        )
        self._answer_starters(messages.Done())

    def _finish_run(self, init: _Init) -> None:
        self._loop.unwatch(init.pidfd)
        self._hear_reports(init)
        _, status = os.waitpid(init.pid, 0)
        os.close(init.pidfd)
        self._init = None
        if self._forker.shares_processes:
            with suppress(OSError):  # they are ended with the cgroup, at the latest
                cgroups.end(self._place.cgroup)
        self._streams.finish_run()
        failed, self._failed = self._failed, None
        if failed is not None:
            self._fail_run(failed)
        else:
            self._exit_run(exit_code(status))
        if self._leaving:
            self._leave()

    def _fail_run(self, failed: messages.Failed) -> None:
        self._change(
            status="exited" if self._state.runs else "created",
            pid=0,
            exit_code=failed_exit_code(failed),
            error=f"{failed.step}: {failed.detail}",
        )
        self._answer_starters(failed)

    def _exit_run(self, code: int) -> None:
        now = time.time()
        ran = now - self._state.started_at
        goes_on = not (self._meant_to_end or self._leaving) and self._restarts.schedule(code, ran)
        self._change(
            status="restarting" if goes_on else "exited",
            pid=0,
            finished_at=now,
            exit_code=code,
            out_of_memory=cgroups.out_of_memory_kills(self._place.cgroup) > self._out_of_memory_kills,
            restarts=self._restarts.count,
            health=None if self._health is None else self._health.end(),
        )

    def _start_again(self) -> None:
        """A further run in the same root, network and cgroup, with the log going on."""
        assert self._description is not None
        self._restarts.cancel()
        self._meant_to_end = False
        self._out_of_memory_kills = cgroups.out_of_memory_kills(self._place.cgroup)
        ours, theirs = socket.socketpair()
        try:
            with step("make the overlay's work directory"):
                renew_work_directory(self._description.spec.rootfs)
            with step("thaw the cgroup"):
                cgroups.thaw(self._place.cgroup)  # what ended may have been paused
            with theirs:
                self._begin_run(*self._fork_init(theirs))
        except StepFailed as failure:
            ours.close()
            self._fail_run(failure.failed)
            return
        self._channel = ours
        messages.tell(ours, messages.Launch(self._description.spec, again=True))
        messages.tell(ours, messages.Start())

    # What is asked of it

    def _serve(self, request: messages.Message, descriptors: list[int]) -> None:
        if self._init is not None and self._description is not None:
            self._hear_reports(self._init)  # who asks may know already that the command runs
        if isinstance(request, messages.Remember):
            self._remember(request.description)
            self._network = os.dup(descriptors[0])
            self._channel = socket.socket(fileno=os.dup(descriptors[1]))
        elif isinstance(request, messages.Connected) and self._description is not None:
            self._description = replace(
                self._description,
                addresses=request.addresses,
                ipv6_addresses=request.ipv6_addresses,
                ports=request.ports,
            )
        elif isinstance(request, messages.Remove):
            self._end()
        elif isinstance(request, messages.Execute):
            if self._init is not None and self._state.status == "running":
                self._executions.start(request, self._init.pidfd, descriptors)
        else:
            with socket.socket(fileno=os.dup(descriptors[0])) as answer:
                if isinstance(request, messages.Attach | messages.Resize):
                    messages.tell(answer, self._streams.serve(request, descriptors[1:]))
                else:
                    self._answer(request, answer)

    def _remember(self, description: ContainerDescription) -> None:
        self._description = description
        self._restarts.policy = description.restart
        self._streams.describe(description)
        if description.health is not None:
            self._health = HealthChecks(
                description.health,
                description.spec.process,
                self._loop,
                self._executions,
                self._place.cgroup,
                lambda health: self._change(health=health),
            )

    def _answer(self, request: messages.Message, answer: socket.socket) -> None:
        if isinstance(request, messages.Describe) and self._description is not None:
            messages.tell(answer, messages.Remember(self._description))
        elif isinstance(request, messages.OpenNetwork):
            self._open_network(answer, request.kind)
        elif isinstance(request, messages.ChangeRestartPolicy) and self._description is not None:
            self._description = replace(self._description, restart=request.policy)
            self._restarts.policy = request.policy
            messages.tell(answer, messages.Done())
        elif isinstance(request, messages.StartContainer):
            self._start(answer)
        elif isinstance(request, messages.Rename):
            self._change(name=request.name)
            messages.tell(answer, messages.Done())
        elif isinstance(request, messages.Signal):
            self._meant_to_end |= request.ends
            done = self._signal(request.number)
            if request.ends and self._restarts.cancel():
                self._change(status="exited")
                done = True
            messages.tell(answer, messages.Done() if done else messages.not_possible("is not running"))

    def _start(self, answer: socket.socket) -> None:
        if self._state.status == "running" or self._starters or self._description is None:
            messages.tell(answer, messages.not_possible("is running"))
            return
        self._starters.append(answer.dup())
        self._restarts.reset()
        if self._init is None:
            self._start_again()
        elif self._channel is not None:
            messages.tell(self._channel, messages.Start())

    def _open_network(self, answer: socket.socket, kind: int) -> None:
        if self._network is None:
            messages.tell(answer, messages.not_possible("has no network yet"))
            return
        try:
            fork_to_open(self._loop, answer, self._network, kind)
        except StepFailed as failure:
            messages.tell(answer, failure.failed)

    def _answer_starters(self, message: messages.Message) -> None:
        for answer in self._starters:
            with answer:
                messages.tell(answer, message)
        self._starters = []

    def _signal(self, number: int) -> bool:
        if self._init is None or self._state.status != "running":
            return False
        with suppress(ProcessLookupError):  # it has just ended
            signal.pidfd_send_signal(self._init.pidfd, number)
        return True

    def _change(self, **fields: object) -> None:
        self._state = replace(self._state, **fields)  # type: ignore[arg-type]
        running = self._init is not None and self._state.status == "running"
        pidfd = self._init.pidfd if running and self._init is not None else None
        self._clients.tell(messages.StateChanged(self._state), pidfd)

    # The end

    def _end_without_owner(self, descriptor: int | None = None) -> None:
        """The owner's process is gone, or has closed its end."""
        if descriptor is not None:
            self._loop.unwatch(descriptor)
        self._end()

    def _end_without_spawner(self, descriptor: int) -> None:
        """The container has to go; but its owner is there, reads the log, and removes it."""
        self._loop.unwatch(descriptor)
        self._meant_to_end = True
        self._restarts.cancel()
        self._kill()

    def _end(self) -> None:
        self._leaving = True
        self._restarts.cancel()
        if self._init is None:
            self._leave()
        else:
            self._kill()

    def _kill(self) -> None:
        if self._init is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init.pidfd, signal.SIGKILL)
            with suppress(OSError):
                cgroups.thaw(self._place.cgroup)  # version 1: what is frozen does not die

    def _leave(self) -> None:
        self._loop.stop()
        with suppress(OSError):  # what is left the owner finds, or the next engine sweeps
            cgroups.remove(self._place.cgroup)
            remove_tree(self._place.directory)
