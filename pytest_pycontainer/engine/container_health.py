"""How well a container is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.runtime.state import ContainerState, HealthState, ProbeResult


@dataclass(frozen=True, slots=True)
class Probe:
    """One execution of a health check. ``exit_code`` is -1 if it could not be executed, or took longer than it may;
    ``output`` says so then, and else holds the beginning of what it wrote.
    """

    started_at: datetime
    ended_at: datetime
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    """What a container's health check has found.

    ``status`` is ``starting``, ``healthy`` or ``unhealthy``, and ``none`` for a container without a check; one that
    has exited is not healthy. ``failing_streak`` counts the failures since the last success; ``log`` holds the last
    five probes, the oldest first.
    """

    status: str
    failing_streak: int = 0
    log: tuple[Probe, ...] = ()

    @property
    def log_text(self) -> str:
        """The log as text, a line or more for each probe."""
        return "\n".join(
            f"{probe.started_at:%H:%M:%S}, exit code {probe.exit_code}: {probe.output.strip() or '(no output)'}"
            for probe in self.log
        )


class ContainerHealth(ContainerHandle):
    """The part of ``Container`` that tells how well it is."""

    @property
    def health(self) -> Health:
        """What its health check has found until now."""
        return self._health_of(self._state)

    @property
    def has_health_check(self) -> bool:
        """Whether somebody looks how well it is: its image has a HEALTHCHECK, or it was given one."""
        return self._description.health is not None

    def await_health(self, timeout: float | None = None) -> Health | None:
        """Waits until it is found ``healthy`` or ``unhealthy``, or has exited; None after ``timeout`` seconds."""
        self._require_started("wait for the health of")
        state = self._connection.await_state(_is_settled, timeout)
        return None if state is None else self._health_of(state)

    def _health_of(self, state: ContainerState) -> Health:
        if not self.has_health_check:
            return Health("none")
        health = state.health or HealthState()
        return Health(health.status, health.failing_streak, tuple(map(_probe, health.log)))


def _is_settled(state: ContainerState) -> bool:
    found = state.health is not None and state.health.status != "starting"
    return state.status == "exited" or (state.status == "running" and found)


def _probe(result: ProbeResult) -> Probe:
    begun, ended = (datetime.fromtimestamp(moment, UTC) for moment in (result.started_at, result.ended_at))
    return Probe(begun, ended, result.exit_code, result.output.decode(errors="replace"))
