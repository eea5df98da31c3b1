"""What is said of one container when a test has failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.last_look import LastLook


def report_on(container: Container, log_lines: int, since: float, look: LastLook | None = None) -> str:
    """How it is, where it is reached, and the end of its log: ``log_lines`` of what it printed since that moment.

    With ``look``, of one that is gone, how it was.
    """
    how = look or container
    ports = container._published() if look is None else look.ports
    try:
        return "\n".join(_lines(container, how, ports, log_lines, since))
    except PycontainerError as error:  # another process has removed it, or its monitor has just ended
        return f"{container.name}, image {container.image.name}: {error}"


def _lines(
    container: Container,
    how: Container | LastLook,
    ports: Iterable[tuple[str, int, int, str]],
    log_lines: int,
    since: float,
) -> Iterator[str]:
    health = how.health if container.has_health_check else None
    state = _state(how) + (f", {health.status}" if health else "")
    image = container.image.tags[0] if container.image.tags else container.image.name
    yield f"{container.name}, image {image}, {state}"
    yield f"command: {' '.join(container.command)}"
    if reached := [f"{inside}/{protocol} at {host}:{port}" for host, port, inside, protocol in ports]:
        yield f"ports: {', '.join(reached)}"
    if networks := [f"{name} ({address})" for name, address in how.networks.items()]:
        yield f"networks: {', '.join(networks)}"
    if how.error:
        yield f"could not be started: {how.error}"
    yield from _log(how, log_lines, since, is_older=container.created_at.timestamp() < since)
    if health is not None and health.status != "healthy" and health.log_text:
        yield "(the last probes of its health:)"
        yield from health.log_text.splitlines()


def _state(how: Container | LastLook) -> str:
    code = how.exit_code
    if code is None:
        return how.status
    return f"exited with code {code}{', out of memory' if how.out_of_memory else ''}"


def _log(how: Container | LastLook, log_lines: int, since: float, *, is_older: bool) -> Iterator[str]:
    lines = how.log_tail(log_lines + 1, since=since).splitlines()
    earlier = how.log_tail(1, until=since).splitlines() if is_older else []
    if earlier:
        yield f"(its log before the test ended with: {earlier[-1]})"
    if len(lines) > log_lines:
        yield "(earlier lines left out)"
    yield from lines[max(0, len(lines) - log_lines) :]
    if not lines:
        yield "(it printed nothing since)" if earlier else "(it printed nothing)"
