"""``ps``: the containers of all processes of this machine that use the same store."""

from __future__ import annotations

import shlex
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError
from pytest_pycontainer.cli.format import FORMAT, lines_of
from pytest_pycontainer.cli.units import address, ago, duration, local_time, size
from pytest_pycontainer.errors import ContainerNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.container import Container

_SHOWN_COMMAND = 20
_HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "State": "STATE",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Networks": "NETWORKS",
    "Size": "SIZE",
}
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def _list(session: Session, given: Given) -> int:
    last = 1 if given.switch("latest") else given.number("last")
    filters = [_Filter.parse(text) for text in given.texts("filter")]
    every = given.switch("all") or last is not None or any(one.name in ("status", "exited") for one in filters)
    found = []
    for container in reversed(session.engine.containers(others=True)):
        try:
            status = container.status
            if (every or status in ("running", "paused", "restarting")) and all(one.has(container) for one in filters):
                found.append((container, status))
        except ContainerNotFoundError:
            continue  # it was removed in this moment
    found = found if last is None or last < 0 else found[:last]
    whole = given.switch("no-trunc")
    if given.switch("quiet"):
        for container, _ in found:
            session.print(container.id if whole else container.short_id)
        return 0
    form = given.text("format")
    sized = given.switch("size") or "Size" in (form or "")
    rows = [_row(container, status, whole=whole, sized=sized) for container, status in found]
    for line in lines_of(rows, form, (*_COLUMNS, "Size") if sized else _COLUMNS, _HEADINGS):
        session.print(line)
    return 0


def _row(container: Container, status: str, *, whole: bool, sized: bool) -> Mapping[str, str]:
    command = shlex.join(container.command)
    if not whole and len(command) > _SHOWN_COMMAND:
        command = f"{command[: _SHOWN_COMMAND - 1]}…"
    return {
        "ID": container.id if whole else container.short_id,
        "Image": container.image.short_id if container.image.name.startswith("sha256:") else container.image.name,
        "Command": f'"{command}"',
        "CreatedAt": local_time(container.created_at),
        "RunningFor": ago(container.created_at),
        "State": status,
        "Status": _described(container, status),
        "Ports": ", ".join(_ports(container)),
        "Names": container.name,
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(container.labels.items())),
        "Networks": ",".join(container.networks),
        "Size": size(container.written_bytes) if sized else "",
    }


def _described(container: Container, status: str) -> str:
    """A status as ``ps`` says it: ``Up 2 minutes (healthy)``."""
    if status == "created":
        return "Created"
    if status == "removed":
        return "Removed"
    if status == "exited" and container.finished_at is not None:
        return f"Exited ({container.exit_code}) {ago(container.finished_at)}"
    if status == "restarting" and container.finished_at is not None:
        return f"Restarting ({container.exit_code}) {ago(container.finished_at)}"
    up = f"Up {duration(time.time() - container.started_at.timestamp())}" if container.started_at else "Up"
    if status == "paused":
        return f"{up} (Paused)"
    if not container.has_health_check:
        return up
    health = container.health.status
    return f"{up} ({'health: starting' if health == 'starting' else health})"


def _ports(container: Container) -> list[str]:
    published = sorted(container.ports, key=lambda port: (port.container_port, port.protocol, port.host_address))
    return [
        f"{address(port.host_address, port.host_port)}->{port.container_port}/{port.protocol}" for port in published
    ]


class _Filter:
    """One ``--filter``: which containers it lets through."""

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value
        self._has: Mapping[str, Callable[[Container], bool]] = {
            "id": lambda container: container.id.startswith(value),
            "name": lambda container: value.lstrip("/") in container.name,
            "status": lambda container: container.status == value,
            "exited": lambda container: str(container.exit_code) == value,
            "ancestor": lambda container: container.image.name in (value, f"{value}:latest"),
            "label": self._has_label,
            "network": lambda container: value in container.networks,
            "health": lambda container: (container.health.status if container.has_health_check else "none") == value,
            "publish": lambda container: any(str(port.host_port) == value for port in container.ports),
        }
        if name not in self._has:
            raise UsageError(f"invalid filter '{name}': known are {', '.join(self._has)}", 1)

    @classmethod
    def parse(cls, text: str) -> _Filter:
        """Reads ``NAME=VALUE``. Raises UsageError."""
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"bad format of filter '{text}': NAME=VALUE is wanted", 125)
        return cls(name, value)

    def has(self, container: Container) -> bool:
        """Whether it lets a container through."""
        return self._has[self.name](container)

    def _has_label(self, container: Container) -> bool:
        name, equals, value = self._value.partition("=")
        return name in container.labels and (not equals or fnmatchcase(container.labels[name], value))


COMMANDS = {
    "ps": Command(
        "[OPTIONS]",
        _list,
        (
            Flag("all", "Show those that do not run, too", "a"),
            Flag(
                "filter",
                "Show those alone: id, name, status, exited, ancestor, label, network, health, publish, each =VALUE",
                "f",
                "filter",
                True,
            ),
            FORMAT,
            Flag("last", "Show the last so many that were made", "n", "int"),
            Flag("latest", "Show the last one that was made", "l"),
            Flag("no-trunc", "Don't shorten what is long"),
            Flag("quiet", "Print IDs alone", "q"),
            Flag("size", "Show what they have written", "s"),
        ),
    )
}
