"""The processes of a container, as this machine's /proc shows them: nothing is executed in the container for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.users import user_names


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process at one moment, much as ``ps`` has it.

    ``pid`` is its number on this machine, ``pid_in_container`` the container's own; ``parent`` is a number in the
    container, 0 for one outside. ``user`` is named as in the container, or is a number if it has no such name;
    ``command`` are its arguments, or only its name if it has none. ``state`` is the kernel's word (``sleeping``,
    ``zombie``), ``memory`` what it has in memory, shared parts too, in bytes.
    """

    pid: int
    pid_in_container: int
    parent: int
    user: str
    uid: int
    command: tuple[str, ...]
    state: str
    started_at: datetime
    memory: int


def read_processes(cgroup: tuple[str, ...], init: int) -> list[ProcessInfo]:
    """All processes of the container, oldest first; ``init`` is the number of PID 1 on this machine.

    Those of its cgroup or, if it has none, of its PID namespace. What comes and goes meanwhile may be missing. Raises
    FileNotFoundError if the container is gone.
    """
    names = _user_names(init)
    found: dict[int, _Reading] = {}
    for pid in _numbers(cgroup, init):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found[pid] = _Reading(pid)
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    ticks = os.sysconf("SC_CLK_TCK")
    return [
        ProcessInfo(
            pid=pid,
            pid_in_container=each.own_number,
            parent=found[each.parent].own_number if each.parent in found else 0,
            user=names.get(each.uid, str(each.uid)),
            uid=each.uid,
            command=each.command,
            state=each.state,
            started_at=datetime.fromtimestamp(booted + each.started_ticks / ticks, UTC),
            memory=each.memory,
        )
        for pid, each in sorted(found.items(), key=lambda item: (item[1].started_ticks, item[0]))
    ]


def socket_holders(cgroup: tuple[str, ...], init: int) -> dict[int, str]:
    """The names of the container's processes that hold sockets, by the sockets' inode numbers.

    Otherwise as ``read_processes``.
    """
    holders: dict[int, str] = {}
    for pid in _numbers(cgroup, init):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it has just ended
            links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
            if inodes := [int(link[8:-1]) for link in links if link.startswith("socket:[")]:
                name = _read(pid, "comm").rstrip("\n")
                for inode in inodes:
                    # Of those that share one, the one that was there first has opened it.
                    holders.setdefault(inode, name)
    return holders


class _Reading:
    """What /proc says of one process."""

    def __init__(self, pid: int) -> None:
        status = dict(line.split(":", 1) for line in _read(pid, "status").splitlines())
        # The name may hold anything, parentheses too.
        statistics = _read(pid, "stat").rpartition(")")[2].split()
        self.own_number = int(status["NSpid"].split()[-1])
        self.parent = int(status["PPid"])
        self.uid = _in_container(int(status["Uid"].split()[1]), _read(pid, "uid_map"))
        self.state = status["State"].partition("(")[2].rstrip(")\n ")
        self.started_ticks = int(statistics[19])
        self.memory = int(status.get("VmRSS", "0").split()[0]) * 1024
        # Who has put a title of its own there has left the rest of the space empty.
        arguments = _read(pid, "cmdline").rstrip("\0")
        self.command = tuple(arguments.split("\0")) if arguments else (status["Name"].strip(),)


def _in_container(uid: int, uid_map: str) -> int:
    for line in uid_map.splitlines():
        first, here, count = map(int, line.split())
        if here <= uid < here + count:
            return first + uid - here
    return uid


def _numbers(cgroup: tuple[str, ...], init: int) -> Iterator[int]:
    """Each process once, children of what is known too: a cgroup does not show zombies."""
    waiting = list(_members(cgroup[0]) if cgroup else _in_namespace(init))
    known: set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid not in known:
            known.add(pid)
            yield pid
            with suppress(FileNotFoundError, ProcessLookupError):
                waiting += _children(pid)


def _in_namespace(init: int) -> Iterator[int]:
    own = Path(f"/proc/{init}/ns/pid").readlink()
    if own == Path("/proc/self/ns/pid").readlink():
        yield init  # it shares this machine's; what it has started is found below it
        return
    for entry in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if entry.name.isdecimal() and (entry / "ns/pid").readlink() == own:
                yield int(entry.name)


def _members(directory: str) -> Iterator[int]:
    yield from map(int, Path(directory, "cgroup.procs").read_text().split())
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            with suppress(FileNotFoundError):
                yield from _members(entry.path)


def _children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            yield from map(int, (thread / "children").read_text().split())


def _user_names(init: int) -> dict[int, str]:
    """The names of the container's users; none if it does not tell."""
    with suppress(OSError):
        root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            file = mount.open_in_root(root, "etc/passwd", os.O_PATH)
        finally:
            os.close(root)
        try:
            return user_names(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
    return {}


def _read(pid: int, name: str) -> str:
    return Path("/proc", str(pid), name).read_text(errors="replace")
