"""``stats``: what containers use."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given
from pytest_pycontainer.cli.format import FORMAT, lines_of
from pytest_pycontainer.cli.units import binary_size, size
from pytest_pycontainer.errors import ContainerNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.stats import ContainerStats

_SECONDS = 1.0
_CLEAR = "\x1b[2J\x1b[H"
_HEADINGS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


def _stats(session: Session, given: Given) -> int:
    form = given.text("format")
    once, redraws = given.switch("no-stream"), sys.stdout.isatty()
    before = _measure(session, given)
    while True:
        time.sleep(_SECONDS)  # how busy somebody is can only be said of a time
        now = _measure(session, given)
        rows = [_row(container, used, before[container]) for container, used in now.items() if container in before]
        lines = lines_of(rows, form, _COLUMNS, _HEADINGS)
        session.print("\n".join(lines) if once or not redraws else _CLEAR + "\n".join(lines))
        sys.stdout.flush()
        if once:
            return 0
        before = now


def _measure(session: Session, given: Given) -> dict[Container, ContainerStats]:
    """What each of the wanted containers has used until now: those that are named, or all that run."""
    if given.arguments:
        wanted = [session.engine.find(name) for name in given.arguments]
    else:
        every = given.switch("all")
        listed = session.engine.containers(others=True)
        wanted = [container for container in listed if every or container.status in ("running", "paused")]
    used = {}
    for container in wanted:
        with suppress(ContainerNotFoundError):  # it was removed in this moment
            used[container] = container.stats()
    return used


def _row(container: Container, used: ContainerStats, before: ContainerStats) -> Mapping[str, str]:
    memory = used.memory
    limit = container.limits().memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    received = sum(network.received_bytes for network in used.networks)
    sent = sum(network.sent_bytes for network in used.networks)
    read = sum(device.read_bytes for device in used.block_devices)
    written = sum(device.write_bytes for device in used.block_devices)
    return {
        "Container": container.short_id,
        "ID": container.short_id,
        "Name": container.name,
        "CPUPerc": f"{used.cpu_percent_since(before):.2f}%",
        "MemUsage": f"{binary_size(memory.usage) if memory else '--'} / {binary_size(limit)}",
        "MemPerc": f"{100 * memory.usage / limit:.2f}%" if memory else "--",
        "NetIO": f"{size(received)} / {size(sent)}",
        "BlockIO": f"{size(read)} / {size(written)}",
        "PIDs": str(used.pids.current) if used.pids else "--",
    }


COMMANDS = {
    "stats": Command(
        "[OPTIONS] [CONTAINER...]",
        _stats,
        (
            Flag("all", "Show those that do not run, too", "a"),
            FORMAT,
            Flag("no-stream", "Show what is used once, and end"),
        ),
        most=None,
    )
}
