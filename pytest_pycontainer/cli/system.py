"""The machine and its store: ``version``, ``info``, ``doctor``, ``system df``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Given
from pytest_pycontainer.cli.format import FORMAT, fact_line, lines_of
from pytest_pycontainer.cli.units import size

if TYPE_CHECKING:
    from pytest_pycontainer.cli.session import Session

_DF_HEADINGS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def _version(session: Session, given: Given) -> int:
    found = _facts()
    if form := given.text("format"):
        session.print(fact_line(found, form))
        return 0
    session.print(f"pycontainer {found['Version']}")
    for name in ("Python", "Os", "Arch", "KernelVersion"):
        session.print(f" {name + ':':18}{found[name]}")
    return 0


def _facts() -> dict[str, Any]:
    from importlib.metadata import version

    machine = os.uname()
    return {
        "Version": version("pytest-pycontainer"),
        "Python": sys.version.split()[0],
        "Os": sys.platform,
        "Arch": machine.machine,
        "KernelVersion": machine.release,
    }


def _info(session: Session, given: Given) -> int:
    engine = session.engine
    containers = engine.containers(others=True)
    states = [container.status for container in containers]
    facts = {
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": len(engine.images()),
        **_facts(),
        "NCPU": os.cpu_count(),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": os.uname().nodename,
        "Store": str(session.settings.root),
        "State": str(session.settings.state),
    }
    if form := given.text("format"):
        session.print(fact_line(facts, form))
        return 0
    for name, value in facts.items():
        session.print(f"{name}: {value}")
    return 0


def _doctor(session: Session, _: Given) -> int:
    from pytest_pycontainer.engine.requirements import missing_requirements

    missing = missing_requirements()
    for what, remedy in missing:
        session.print(f"missing: {what}: {remedy}")
    if not missing:
        session.print("containers can run here")
    return 1 if missing else 0


def _disk_usage(session: Session, given: Given) -> int:
    usage = session.engine.disk_usage()
    images, containers, volumes, cache = usage.images, usage.containers, usage.volumes, usage.build_cache
    cached = cache.bytes + cache.mount_bytes + cache.download_bytes
    rows = [
        _usage_row("Images", images.count, images.in_use, images.bytes, images.reclaimable_bytes),
        _usage_row("Containers", containers.count, containers.running, containers.bytes, 0),
        _usage_row("Local Volumes", volumes.count, volumes.in_use, volumes.bytes, volumes.reclaimable_bytes),
        _usage_row("Build Cache", cache.records, 0, cached, cached),
    ]
    for line in lines_of(rows, given.text("format"), tuple(_DF_HEADINGS), _DF_HEADINGS):
        session.print(line)
    return 0


def _usage_row(kind: str, count: int, active: int, total: int, reclaimable: int) -> dict[str, str]:
    share = f" ({100 * reclaimable // total}%)" if total and kind != "Build Cache" else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": size(total),
        "Reclaimable": f"{size(reclaimable)}{share}",
    }


COMMANDS = {
    "version": Command("[OPTIONS]", _version, (FORMAT._replace(short="f"),)),
    "info": Command("[OPTIONS]", _info, (FORMAT._replace(short="f"),)),
    "doctor": Command("", _doctor),
    "df": Command("[OPTIONS]", _disk_usage, (FORMAT,)),
}
