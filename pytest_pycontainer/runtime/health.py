"""Whether a container is well: its health check, run by its monitor for as long as the container runs.

The rules are Docker's. A probe comes one interval after the start, and after the end of the one before it; there is
one at a time. Failures within the start period do not count as long as none has succeeded.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pytest_pycontainer.runtime import cgroups, messages
from pytest_pycontainer.runtime.event_loop import EventLoop, Timer
from pytest_pycontainer.runtime.executions import Executions
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.process import EXECUTE_STEP, kill_group, pid_on_this_machine
from pytest_pycontainer.runtime.spec import HealthCheck, ProcessSpec
from pytest_pycontainer.runtime.state import HealthState, ProbeResult
from pytest_pycontainer.runtime.values import replace

_OUTPUT_AT_MOST = 4096
_READ_SIZE = 16 * 1024
_PROBES_KEPT = 5
_KILLED = 128 + signal.SIGKILL
_NOT_RUN = -1  # the exit code, for Docker, of a probe that could not be executed or did not end in time


class HealthChecks:
    """Probes one container; ``tell`` is called with how it is found after each probe."""

    def __init__(
        self,
        check: HealthCheck,
        process: ProcessSpec,
        loop: EventLoop,
        executions: Executions,
        cgroup: tuple[str, ...],
        tell: Callable[[HealthState], None],
    ) -> None:
        self._check = check
        self._process = replace(process, command=check.command)
        self._loop = loop
        self._executions = executions
        self._cgroup = cgroup
        self._tell = tell
        self._state = HealthState()
        self._init = -1
        self._started_at = 0.0
        self._timer: Timer | None = None
        self._probe: _Probe | None = None

    def begin(self, init: int) -> HealthState:
        """The container of the pidfd ``init`` runs: probes it until ``end``. Returns how it is now."""
        self._init = init
        self._started_at = time.monotonic()
        self._state = replace(self._state, status="starting", failing_streak=0)
        self._await_next()
        return self._state

    def end(self) -> HealthState:
        """The container has exited. Returns how it is now: not well."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        self._state = replace(self._state, status="unhealthy")
        return self._state

    def _await_next(self) -> None:
        starting = self._state.status == "starting" and self._is_in_start_period(time.monotonic())
        seconds = self._check.start_interval if starting else self._check.interval
        self._timer = self._loop.call_at(time.monotonic() + seconds, self._start_probe)

    def _is_in_start_period(self, moment: float) -> bool:
        return moment - self._started_at < self._check.start_period

    def _start_probe(self) -> None:
        self._timer = None
        if cgroups.is_frozen(self._cgroup):  # a probe would stand still too
            self._await_next()
            return
        probe = _Probe(self._loop, self._check.command[0])
        self._probe = probe
        try:
            probe.start(self._executions, self._process, self._init, partial(self._finish_probe, probe))
        except StepFailed as failure:
            probe.fail(failure.failed)
            self._finish_probe(probe, _NOT_RUN)
        else:
            self._limit(probe)

    def _limit(self, probe: _Probe) -> None:
        self._timer = self._loop.call_at(time.monotonic() + self._check.timeout, partial(self._expire, probe))

    def _expire(self, probe: _Probe) -> None:
        frozen = cgroups.is_frozen(self._cgroup)
        if frozen or probe.stood_still:
            probe.stood_still = frozen
            self._limit(probe)  # from when it goes on it has the whole time again
        else:
            probe.failure = f"the probe took longer than {self._check.timeout:g} s"
            probe.kill()

    def _finish_probe(self, probe: _Probe, code: int) -> None:
        if probe is not self._probe:
            return  # it belonged to a run that is over
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._probe = None
        result = probe.finish(code)
        if code == _KILLED and not probe.failure and _is_ending(self._init):
            return  # the kernel ends all others before PID 1
        self._state = judge(self._check, self._state, result, excused=self._is_in_start_period(probe.begun))
        self._await_next()
        self._tell(self._state)


def judge(check: HealthCheck, state: HealthState, result: ProbeResult, *, excused: bool) -> HealthState:
    """How a container is after a probe; while it is starting, one that is ``excused`` does not count as a failure."""
    state = replace(state, log=(*state.log, result)[-_PROBES_KEPT:])
    if result.exit_code == 0:
        return replace(state, status="healthy", failing_streak=0)
    if excused and state.status == "starting":
        return state
    streak = state.failing_streak + 1
    return replace(state, status="unhealthy" if streak >= check.retries else state.status, failing_streak=streak)


class _Probe:
    """One execution of the check, and the beginning of what it writes."""

    def __init__(self, loop: EventLoop, command: str) -> None:
        self._loop = loop
        self._command = command
        self.begun = time.monotonic()
        self._started_at = time.time()
        self.failure = ""
        self.stood_still = False
        self._pidfd = -1
        self._written = bytearray()
        self._report: socket.socket | None = None
        self._output = -1

    def start(self, executions: Executions, process: ProcessSpec, init: int, ended: Callable[[int], None]) -> None:
        """Starts it in the container of the pidfd ``init``. Raises StepFailed."""
        with step("make the pipes of a health check"):
            self._report, report_end = socket.socketpair()
            self._output, output_end = os.pipe()
            os.set_blocking(self._output, False)
            null = os.open(os.devnull, os.O_RDONLY)
        try:
            streams = (null, output_end, output_end)
            self._pidfd = executions.fork(process, init, report_end.fileno(), streams, ended)
        finally:
            report_end.close()
            os.close(output_end)
            os.close(null)
        self._loop.watch(self._output, self._read)

    def kill(self) -> None:
        """Ends it, with what it has started in its process group where the kernel can do that."""
        kill_group(self._pidfd)

    def fail(self, failed: messages.Failed) -> None:
        """It could not be executed."""
        step = f'exec "{self._command}"' if failed.step == EXECUTE_STEP else failed.step
        self.failure = f"{step}: {failed.detail}"

    def finish(self, code: int) -> ProbeResult:
        """What came of it, now that it has ended."""
        if self._output >= 0:
            self._read()
        if not self.failure and self._report is not None:
            received = messages.receive(self._report)  # the process, its other end, is gone
            if received is not None and isinstance(received[0], messages.Failed):
                self.fail(received[0])
        self.close()
        output = bytes(self._written[:_OUTPUT_AT_MOST])
        if len(self._written) > _OUTPUT_AT_MOST:
            output += b"..."
        if self.failure:
            code, output = _NOT_RUN, self.failure.encode() + (b": " + output if output else b"")
        return ProbeResult(self._started_at, time.time(), code, output)

    def close(self) -> None:
        """Lets go of it."""
        if self._output >= 0:
            self._loop.unwatch(self._output)
            os.close(self._output)
            self._output = -1
        if self._report is not None:
            self._report.close()

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while data := os.read(self._output, _READ_SIZE):
                self._written += data[: _OUTPUT_AT_MOST + 1 - len(self._written)]
            self._loop.unwatch(self._output)


def _is_ending(init: int) -> bool:
    """Whether a PID 1 has given up its memory, which it does before it waits for the end of all others."""
    try:
        with open(f"/proc/{pid_on_this_machine(init)}/statm") as file:
            return file.read().split()[0] == "0"
    except OSError:
        return True
