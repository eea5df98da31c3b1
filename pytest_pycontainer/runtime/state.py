"""How a container is: kept by its monitor, which tells whoever connects to the socket in the container's directory."""

from __future__ import annotations

from typing import Final

from pytest_pycontainer.runtime.values import dataclass

SOCKET_NAME: Final = "monitor"
"""The socket in a container's directory that its monitor listens on."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one execution of a health check has come to; times are seconds since the epoch.

    ``exit_code`` is -1 if it could not be executed or took too long; ``output`` says so then. It is not text, so that a
    message with five of them is never larger than what a socket takes whole.
    """

    started_at: float
    ended_at: float
    exit_code: int
    output: bytes


@dataclass(frozen=True, slots=True)
class HealthState:
    """``status`` is starting, healthy or unhealthy; ``log`` holds the last probes, the oldest first."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[ProbeResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerState:
    """``status`` is created, running, restarting or exited; times are seconds since the epoch, 0 if it never was so.

    ``pid`` is init's on this machine while it runs, else 0. ``exit_code`` and ``out_of_memory`` are the last exit's;
    ``error`` says why it could not be started. ``name`` is one that it was given after it was made. ``runs`` counts how
    often its command has been executed, ``restarts`` how often by its restart policy since somebody started it.
    ``health`` is None for one that has no health check, or was never started.
    """

    status: str = "created"
    pid: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    out_of_memory: bool = False
    error: str = ""
    name: str = ""
    runs: int = 0
    restarts: int = 0
    health: HealthState | None = None
