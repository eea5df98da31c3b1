"""What is said of one container when a test has failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container


def report_on(container: Container, log_lines: int, since: float) -> str:
    """How it is, where it is reached, and the end of its log: ``log_lines`` of what it printed since that moment."""
    try:
        return "\n".join(_lines(container, log_lines, since))
    except PycontainerError as error:  # another process has removed it, or its monitor has just ended
        return f"{container.name}, image {container.image.name}: {error}"


def _lines(container: Container, log_lines: int, since: float) -> Iterator[str]:
    health = container.health if container.has_health_check else None
    state = _state(container) + (f", {health.status}" if health else "")
    image = container.image.tags[0] if container.image.tags else container.image.name
    yield f"{container.name}, image {image}, {state}"
    yield f"command: {' '.join(container.command)}"
    if ports := [f"{inside}/{protocol} at {host}:{port}" for host, port, inside, protocol in container._published()]:
        yield f"ports: {', '.join(ports)}"
    if networks := [f"{name} ({address})" for name, address in container.networks.items()]:
        yield f"networks: {', '.join(networks)}"
    if container.error:
        yield f"could not be started: {container.error}"
    yield from _log(container, log_lines, since)
    if health is not None and health.status != "healthy" and health.log_text:
        yield "(the last probes of its health:)"
        yield from health.log_text.splitlines()


def _state(container: Container) -> str:
    code = container.exit_code
    if code is None:
        return container.status
    return f"exited with code {code}{', out of memory' if container.out_of_memory else ''}"


def _log(container: Container, log_lines: int, since: float) -> Iterator[str]:
    lines = container.log_tail(log_lines + 1, since=since).splitlines()
    earlier = container.log_tail(1, until=since).splitlines() if container.created_at.timestamp() < since else []
    if earlier:
        yield f"(its log before the test ended with: {earlier[-1]})"
    if len(lines) > log_lines:
        yield "(earlier lines left out)"
    yield from lines[max(0, len(lines) - log_lines) :]
    if not lines:
        yield "(it printed nothing since)" if earlier else "(it printed nothing)"
