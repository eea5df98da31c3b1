"""Readiness: what to wait for before a container is used.

    engine.run("redis", ports=[6379], wait=wait.port(6379))
    engine.run("postgres", wait=wait.log(r"ready to accept connections", timeout=60))
    engine.run("postgres", health_cmd="pg_isready", health_interval=0.5, wait=wait.healthy())

A container that exits while it is waited for fails at once, with its log.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import Protocol

from pytest_pycontainer.engine.arguments import parse_seconds
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.named_wait import named as named
from pytest_pycontainer.engine.port_arguments import Port, parse_port
from pytest_pycontainer.errors import (
    ContainerExitedError,
    ContainerNotReadyError,
    ContainerNotRunningError,
    ContainerUnhealthyError,
    InvalidSpecError,
    PortNotOpenError,
    PortNotPublishedError,
    WaitTimeoutError,
)
from pytest_pycontainer.runtime.logs import STDERR, STDOUT

# Nothing tells of a socket that begins to listen, so it is asked: quickly while a quick server would start, then each
# time after a further tenth of what has been waited already.
_SHORTEST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.05
_CONNECT_SECONDS = 1.0


class Wait(Protocol):
    """Something to wait for. ``timeout``, in seconds, is for the whole of it."""

    def until_ready(self, container: Container, timeout: float) -> None:
        """Returns when the container is ready.

        Raises ContainerExitedError if it exits before, and ContainerNotReadyError after ``timeout`` seconds.
        """
        ...


@dataclass(frozen=True, slots=True)
class PortWait:
    """Waits until a container port accepts a TCP connection: through its published port, else inside the container."""

    port: Port
    timeout: float | None = None

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait."""
        limit = timeout if self.timeout is None else self.timeout
        begin = time.monotonic()
        deadline = begin + limit
        address = self._published_address(container)
        what = f"port {self.port} accepts a connection"
        while not self._accepts(container, address, deadline):
            pause = min(max((time.monotonic() - begin) / 10, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            if container.exited_within(pause):
                raise _exited(container, what)
            if time.monotonic() > deadline:
                raise ContainerNotReadyError(container.name, what, limit, container.log_tail())

    def _published_address(self, container: Container) -> tuple[str, int] | None:
        try:
            address = container.address(self.port)
        except PortNotPublishedError:
            return None
        # One that our forwarder accepts says nothing of the server.
        return None if container._is_forwarded(address[0]) else address

    def _accepts(self, container: Container, address: tuple[str, int] | None, deadline: float) -> bool:
        limit = min(_CONNECT_SECONDS, max(0.001, deadline - time.monotonic()))
        try:
            if address is None:
                container.connect(self.port, timeout=limit).close()
            else:
                socket.create_connection(address, limit).close()
        except (OSError, PortNotOpenError, WaitTimeoutError, ContainerNotRunningError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class LogWait:
    """Waits until the log holds ``pattern`` (a regular expression, searched line by line) ``times`` times."""

    pattern: re.Pattern[str]
    times: int = 1
    timeout: float | None = None

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait."""
        limit = timeout if self.timeout is None else self.timeout
        what = f"its log has {self.pattern.pattern!r}" + (f" {self.times} times" if self.times > 1 else "")
        rest: dict[int, bytes] = {STDOUT: b"", STDERR: b""}
        found = 0
        for entries in container.follow_entries(limit):
            if not entries:
                raise ContainerNotReadyError(container.name, what, limit, container.log_tail())
            for entry in entries:
                *whole, rest[entry.stream] = (rest[entry.stream] + entry.data).split(b"\n")
                found += sum(map(self._matches, whole))
            # A last line may be a prompt that never ends: it counts too, but stays to be completed.
            if found + sum(map(self._matches, rest.values())) >= self.times:
                return
        raise _exited(container, what)

    def _matches(self, line: bytes) -> bool:
        return self.pattern.search(line.decode(errors="replace")) is not None


@dataclass(frozen=True, slots=True)
class HealthWait:
    """Waits until the container's health check finds it healthy."""

    timeout: float | None = None

    def until_ready(self, container: Container, timeout: float) -> None:
        """See Wait. Raises ContainerUnhealthyError as soon as it is that, and InvalidSpecError if it has no check."""
        if not container.has_health_check:
            wanted = f"a container with a health check: {container.image.name!r} has none; give one as health_cmd"
            raise InvalidSpecError("wait", "wait.healthy()", wanted)
        limit = timeout if self.timeout is None else self.timeout
        what = "its health check succeeds"
        health = container.await_health(limit)
        if health is None:
            probes = container.health.log_text or "none has ended: see health_interval and health_start_interval"
            raise ContainerNotReadyError(container.name, what, limit, container.log_tail(), probes)
        if health.status == "healthy":
            return
        if container.status == "exited":
            raise _exited(container, what)
        raise ContainerUnhealthyError(container.name, health.failing_streak, health.log_text, container.log_tail())


def _exited(container: Container, what: str) -> ContainerExitedError:
    code, tail = container.exit_code or 0, container.log_tail()
    return ContainerExitedError(container.name, what, code, tail, container.out_of_memory)


def port(port: Port, *, timeout: float | None = None) -> Wait:
    """Waits until ``port`` accepts a TCP connection, for ``timeout`` seconds (by default those of the call)."""
    mapping = parse_port("port to wait for", port)
    if mapping.protocol != "tcp":
        raise InvalidSpecError("port to wait for", str(port), "a TCP port: UDP has no connections to accept")
    return PortWait(port, _limit(timeout))


def log(pattern: str | re.Pattern[str], *, times: int = 1, timeout: float | None = None) -> Wait:
    """Waits until a line of the log matches ``pattern``, ``times`` times. Raises InvalidSpecError for a bad pattern."""
    if not isinstance(times, int) or times < 1:
        raise InvalidSpecError("times", repr(times), "a number from 1")
    try:
        compiled = re.compile(pattern)
        compiled.search("")
        return LogWait(compiled, times, _limit(timeout))
    except (re.error, TypeError) as error:
        raise InvalidSpecError("log pattern", str(pattern), f"a regular expression ({error})") from error


def healthy(*, timeout: float | None = None) -> Wait:
    """Waits until the health check of the image, or of the call, succeeds, for ``timeout`` seconds.

    A container that is found unhealthy fails at once.
    """
    return HealthWait(_limit(timeout))


def _limit(timeout: float | None) -> float | None:
    return None if timeout is None else parse_seconds(timeout)
