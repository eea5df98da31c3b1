"""A container's namespaces: from docker's modes to what the runtime takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.id_ranges import claim_id_range
from pytest_pycontainer.engine.namespace_options import NamespaceOptions
from pytest_pycontainer.engine.records import ContainerRecords
from pytest_pycontainer.errors import (
    ContainerNotFoundError,
    ContainerNotRunningError,
    InvalidSpecError,
    IpcNotShareableError,
)
from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.runtime.spec import Namespaces

PRIVATE = "private"
HOST = "host"
_CONTAINER = "container:"
_MODES = {
    "pid": (PRIVATE, HOST, _CONTAINER),
    "ipc": (PRIVATE, HOST, "shareable", "none", _CONTAINER),
    "uts": (PRIVATE, HOST),
    "cgroupns": (PRIVATE, HOST),
    "userns": (HOST, "auto"),
}
_KINDS = {
    "pid": namespaces.PID,
    "ipc": namespaces.IPC,
    "uts": namespaces.UTS,
    "cgroupns": namespaces.CGROUP,
    "network": namespaces.NETWORK,
}


@dataclass(frozen=True, slots=True)
class NamespaceModes:
    """Docker's modes, checked; ``container:NAME`` is not looked up yet. ``network`` may be such a one, too."""

    pid: str = PRIVATE
    ipc: str = PRIVATE
    uts: str = PRIVATE
    cgroupns: str = PRIVATE
    userns: str = HOST
    network: str = PRIVATE

    def _of_another(self) -> dict[str, str]:
        """The options by which a namespace is another container's, and its name."""
        given = {"pid": self.pid, "ipc": self.ipc, "network": self.network}
        return {field: mode.removeprefix(_CONTAINER) for field, mode in given.items() if mode.startswith(_CONTAINER)}


def parse_namespace_modes(options: NamespaceOptions, *, privileged: bool, hostname: str | None) -> NamespaceModes:
    """The modes that are asked for. Raises InvalidSpecError for one that there is not, and for two that don't agree."""
    modes = NamespaceModes(
        _mode("pid", options.get("pid")),
        _mode("ipc", options.get("ipc")),
        _mode("uts", options.get("uts")),
        _mode("cgroupns", options.get("cgroupns")),
        _mode("userns", options.get("userns")),
    )
    if modes.uts == HOST and hostname:
        raise InvalidSpecError("hostname", hostname, "none: with uts='host' the name is this machine's")
    if modes.userns != HOST:
        if privileged:
            raise InvalidSpecError("privileged", "True", "userns='host': who is privileged has this machine's rights")
        if modes.pid == HOST:
            raise InvalidSpecError("pid", HOST, "userns='host': this machine's processes are no user's of another one")
        for field, name in modes._of_another().items():
            wanted = "userns='host': a namespace belongs to the user namespace that it was made in"
            raise InvalidSpecError(field, f"{_CONTAINER}{name}", wanted)
    return modes


def _mode(field: str, given: str | None) -> str:
    modes = _MODES[field]
    if given is None or given == "":
        return modes[0]
    if given in modes and given != _CONTAINER:
        return given
    if isinstance(given, str) and _CONTAINER in modes and given.startswith(_CONTAINER) and given != _CONTAINER:
        return given
    names = [f"{mode}NAME" if mode == _CONTAINER else mode for mode in modes]
    raise InvalidSpecError(field, str(given), " or ".join((", ".join(map(repr, names[:-1])), repr(names[-1]))))


@contextmanager
def namespaces_of(
    modes: NamespaceModes, records: ContainerRecords, state: Path
) -> Iterator[tuple[Namespaces, tuple[int, ...]]]:
    """The namespaces as the runtime takes them, with the descriptors that the monitor is to hold for them.

    The descriptors are closed at the end of the block; ``state`` is where this machine's engines agree on ranges of
    users. Raises ContainerNotFoundError, ContainerNotRunningError and IpcNotShareableError for another container's
    namespace, and UserNamespaceError.
    """
    with ExitStack() as opened:
        joined: dict[int, int] = {}
        for field, name in modes._of_another().items():
            joined[_KINDS[field]] = _open_first_process(records, name, field)
            opened.callback(os.close, joined[_KINDS[field]])
        ids, held = None, tuple(joined.values())
        if modes.userns != HOST:
            ids, lock = claim_id_range(state)
            opened.callback(os.close, lock)
            held = (*held, lock)
        machine = sum(kind for field, kind in _KINDS.items() if getattr(modes, field) == HOST)
        yield Namespaces(machine, tuple(joined), modes.ipc == "shareable", ids), held


def _open_first_process(records: ContainerRecords, name: str, field: str) -> int:
    """A pidfd of a container's PID 1, as its monitor, which is its parent, hands it out."""
    record, directory, _ = records.find(name)
    try:
        connection = MonitorConnection.connect(directory)
    except OSError as error:  # its monitor has just ended
        raise ContainerNotFoundError(name) from error
    with closing(connection):
        # Asked first: who is asked looks whether the command runs by now.
        shareable = connection.describe(record.name).namespaces.shareable_ipc
        pidfd = connection.open_pidfd()
        if pidfd < 0:
            raise ContainerNotRunningError(record.name, f"share the {field} namespace of", connection.state.status)
        if field == "ipc" and not shareable:
            os.close(pidfd)
            raise IpcNotShareableError(record.name)
        return pidfd
