"""Waits for what its monitor tells of a container: its health, its end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.readiness import Condition, exited, not_ready
from pytest_pycontainer.errors import ContainerUnhealthyError, InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.container_health import Health


@dataclass(frozen=True, slots=True)
class HealthWait(Condition):
    """Waits until the container's health check finds it healthy."""

    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        return "its health check succeeds"

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition. Raises ContainerUnhealthyError, and InvalidSpecError if it has no check."""
        del seconds  # its monitor has told already
        _require_check(container)
        health = container.health
        return None if _is_healthy(container, health) else f"it is {health.status}"

    def within(self, container: Container, seconds: float) -> None:
        """See Condition. Raises ContainerUnhealthyError as soon as it is that, and InvalidSpecError."""
        _require_check(container)
        health = container.await_health(seconds)
        if health is None:
            probes = container.health.log_text or "none has ended: see health_interval and health_start_interval"
            raise not_ready(container, self.what, seconds, "", probes)
        if health.status != "healthy" and container.status == "exited":
            raise exited(container, self.what)
        _is_healthy(container, health)


@dataclass(frozen=True, slots=True)
class ExitWait(Condition):
    """Waits until the container has exited, with one of these codes; with any, if there are none."""

    codes: Collection[int] = ()
    timeout: float | None = None

    @property
    def what(self) -> str:
        """See Condition."""
        return "it exits" + (f" with code {' or '.join(map(str, self.codes))}" if self.codes else "")

    def look(self, container: Container, seconds: float) -> str | None:
        """See Condition."""
        del seconds  # its monitor has told already
        if container.status != "exited":
            return f"it is {container.status}"
        code = container.exit_code
        return None if not self.codes or code in self.codes else f"it has exited with code {code}"

    def within(self, container: Container, seconds: float) -> None:
        """See Condition. Raises ContainerExitedError for another code."""
        container._require_started("wait for the end of")
        if not container.exited_within(seconds):
            raise not_ready(container, self.what, seconds, f"it is {container.status}")
        if self.codes and container.exit_code not in self.codes:
            raise exited(container, self.what)


def _require_check(container: Container) -> None:
    if not container.has_health_check:
        wanted = f"a container with a health check: {container.image.name!r} has none; give one as health_cmd"
        raise InvalidSpecError("wait", "wait.healthy()", wanted)


def _is_healthy(container: Container, health: Health) -> bool:
    """Raises ContainerUnhealthyError if it is that."""
    if health.status == "unhealthy":
        raise ContainerUnhealthyError(container.name, health.failing_streak, health.log_text, container.log_tail())
    return health.status == "healthy"
