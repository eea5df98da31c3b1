"""Looking into containers: ``inspect``, ``port``, ``top``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError
from pytest_pycontainer.cli.format import FORMAT, inspected_lines
from pytest_pycontainer.cli.table import lay_out
from pytest_pycontainer.cli.units import address
from pytest_pycontainer.errors import ContainerNotFoundError, ImageNotFoundError, InvalidReferenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.container import Container

_KINDS = ("", "container", "image")


def _inspect(session: Session, given: Given) -> int:
    kind = given.text("type") or ""
    if kind not in _KINDS:
        raise UsageError(f'"{kind}" is not a valid value for --type: container or image', 1)
    return inspect_each(session, given, lambda name: _find(session, name, kind))


def inspect_each(session: Session, given: Given, find: Callable[[str], Mapping[str, Any]]) -> int:
    """Prints what ``find`` finds of each that is named; the exit code. Raises UsageError for a wrong template."""
    found: list[Mapping[str, Any]] = []
    code = session.for_each(given.arguments, lambda name: found.append(find(name)))
    for line in inspected_lines(found, given.text("format")):
        session.print(line)
    return code


def _find(session: Session, name: str, kind: str) -> dict[str, Any]:
    """A container, or if there is none, an image."""
    if kind != "image":
        try:
            return session.engine.find(name).inspect()
        except ContainerNotFoundError:
            if kind:
                raise
    try:
        return session.engine.image(name).inspect()
    except (ImageNotFoundError, InvalidReferenceError) as error:
        if kind:
            raise
        raise ContainerNotFoundError(name) from error


def _port(session: Session, given: Given) -> int:
    name, *wanted = given.arguments
    container = session.engine.find(name)
    if wanted:
        number, _, protocol = wanted[0].partition("/")
        found = [
            port
            for port in container.ports
            if f"{port.container_port}/{port.protocol}" == f"{number}/{protocol or 'tcp'}"
        ]
        if not found:
            session.complain(f"Error: no public port '{number}/{protocol or 'tcp'}' published for {name}")
            return 1
        for port in found:
            session.print(address(port.host_address, port.host_port))
        return 0
    for port in container.ports:
        session.print(f"{port.container_port}/{port.protocol} -> {address(port.host_address, port.host_port)}")
    return 0


def _top(session: Session, given: Given) -> int:
    container = session.engine.find(given.arguments[0])
    for line in lay_out([("UID", "PID", "PPID", "CMD"), *_processes(container)]):
        session.print(line)
    return 0


def _processes(container: Container) -> list[tuple[str, str, str, str]]:
    processes = container.processes()
    on_machine = {process.pid_in_container: process.pid for process in processes}
    return [
        (process.user, str(process.pid), str(on_machine.get(process.parent, 0)), " ".join(process.command))
        for process in processes
    ]


COMMANDS = {
    "inspect": Command(
        "[OPTIONS] NAME|ID [NAME|ID...]",
        _inspect,
        (FORMAT._replace(short="f"), Flag("type", "Look among these alone: container, image", value="string")),
        least=1,
        most=None,
    ),
    "port": Command("CONTAINER [PRIVATE_PORT[/PROTOCOL]]", _port, least=1, most=2),
    "top": Command("CONTAINER", _top, least=1, most=1),
}
