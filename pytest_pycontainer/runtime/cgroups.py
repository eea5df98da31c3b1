"""What is done with a container's cgroup: it is made, joined, frozen, asked, ended and removed (``man 7 cgroups``).

A cgroup is given as its directories, one in each hierarchy of this machine (``cgroup_hierarchies``). On a hybrid
machine version 2 freezes and kills, though it has no controllers there.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from contextlib import suppress
from typing import Final

from pytest_pycontainer.kernel.fork import fork_into_cgroup
from pytest_pycontainer.runtime.cgroup_devices import restrict_devices
from pytest_pycontainer.runtime.cgroup_files import write_file

FREEZE_SECONDS: Final = 2.0
"""How long ``freeze`` waits unless it is told otherwise."""

_REMOVAL_SECONDS = 1.0
_PAUSE_SECONDS = 0.001


def reach_through_descriptor(directories: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Opens what all the directories lie in; returns the descriptor, and their paths for as long as that is open.

    On the way through /sys a lock is taken each time that who makes a network interface needs too. Where many
    containers start at once, they would wait there for each other. Raises OSError.
    """
    top = os.path.commonpath([os.path.dirname(directory) for directory in directories]) if directories else "/"
    descriptor = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened = f"/proc/self/fd/{descriptor}"
    return descriptor, tuple(os.path.join(opened, os.path.relpath(directory, top)) for directory in directories)


def make(directories: tuple[str, ...], *, all_devices: bool = False) -> None:
    """Makes a container's directories, with Docker's device rules unless ``all_devices`` are open. Raises OSError."""
    for directory in directories:
        os.mkdir(directory)
    _inherit_cpus(directories)
    if not all_devices:
        restrict_devices(directories)


def _inherit_cpus(directories: tuple[str, ...]) -> None:
    """Version 1 starts a cpuset without any CPU or memory node, which no process can join."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = _find(directories, name)
        if path and not os.path.exists(f"{path}.effective"):
            directory = os.path.dirname(path)
            write_file(path, _read(os.path.join(os.path.dirname(directory), name)))


def fork_into(directories: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Forks this process, which has one thread, as ``os.fork`` does. Raises OSError.

    Where the kernel can, the child is in the version 2 cgroup from the start. Also returns which directories it still
    has to join.
    """
    for directory in reversed(directories):  # "unified" is mostly the last
        if _is_version_2(directory):
            descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                pid = fork_into_cgroup(descriptor)
            except OSError as error:
                if error.errno in (errno.ENOMEM, errno.EAGAIN):  # os.fork would fail too, and say it
                    raise
                break
            finally:
                os.close(descriptor)
            return pid, tuple(other for other in directories if other != directory)
    return os.fork(), directories


def join(directories: tuple[str, ...]) -> None:
    """Moves this process, which has one thread, into the container's cgroup. Raises OSError.

    In version 2 the kernel waits for a grace period (10 ms) when no process has been moved for a while; ``fork_into``
    avoids that.
    """
    for directory in directories:
        try:
            # For a thread that moves itself the kernel need not wait, and version 1 lets a thread do so.
            write_file(f"{directory}/tasks", "0")
        except FileNotFoundError:
            write_file(f"{directory}/cgroup.procs", "0")


def _is_version_2(directory: str) -> bool:
    return os.path.exists(os.path.join(directory, "cgroup.events"))


def joined(directories: tuple[str, ...], process: int | str = "self") -> dict[str, str]:
    """The hierarchies in which a process is in the container's cgroup, as mount(2) knows them, and where it is there.

    ``cpu,cpuacct`` or ``name=systemd`` in version 1, ``cgroup2`` for version 2. To be asked before who asks gets a
    cgroup namespace, which hides where it is. ``process`` is its number where /proc is from.
    """
    names = {os.path.basename(directory) for directory in directories}
    entries = [line.split(":", 2) for line in _read(f"/proc/{process}/cgroup").splitlines()]
    return {controllers or "cgroup2": path for _, controllers, path in entries if os.path.basename(path) in names}


def freeze(directories: tuple[str, ...], timeout: float = FREEZE_SECONDS) -> None:
    """Stops all processes of the cgroup; returns when they stand still.

    Raises TimeoutError after ``timeout`` seconds (they run again then), and OSError, of a machine that can't freeze
    too (ENOSYS). A version 1 cgroup has to be thawed before SIGKILL ends what is in it.
    """
    deadline = time.monotonic() + timeout
    if version_2 := _find(directories, "cgroup.freeze"):
        write_file(version_2, "1")
        still = _await_event(version_2, "frozen", "1", deadline)
    elif version_1 := _find(directories, "freezer.state"):
        still = _freeze_version_1(version_1, deadline)
    else:
        raise OSError(errno.ENOSYS, "this machine's cgroups can't be frozen: no version 2, and no freezer in version 1")
    if not still:
        thaw(directories)
        raise TimeoutError(f"the processes did not stand still within {timeout:g} s")


def _freeze_version_1(path: str, deadline: float) -> bool:
    # Version 1 tells nobody, and forgets those that were being forked: it has to be asked and told again.
    while True:
        write_file(path, "FROZEN")
        if _read(path).strip() == "FROZEN":
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)


def thaw(directories: tuple[str, ...]) -> None:
    """Lets the processes of the cgroup run on. One that is not frozen is no error. Raises OSError."""
    if version_2 := _find(directories, "cgroup.freeze"):
        write_file(version_2, "0")
    elif version_1 := _find(directories, "freezer.state"):
        write_file(version_1, "THAWED")


def is_frozen(directories: tuple[str, ...]) -> bool:
    """Whether all processes of the cgroup stand still. Raises OSError."""
    if version_2 := _find(directories, "cgroup.freeze"):
        return _events(version_2).get("frozen") == "1"
    version_1 = _find(directories, "freezer.state")
    return bool(version_1) and _read(version_1).strip() == "FROZEN"


def _events(sibling: str) -> dict[str, str]:
    """What cgroup.events, beside another file of version 2, says now."""
    return dict(line.split() for line in _read(_events_path(sibling)).splitlines())


def _events_path(sibling: str) -> str:
    return os.path.join(os.path.dirname(sibling), "cgroup.events")


def _await_event(sibling: str, name: str, value: str, deadline: float) -> bool:
    """Waits until cgroup.events says so; False if it has not by then."""
    descriptor = os.open(_events_path(sibling), os.O_RDONLY | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLPRI)
        while f"{name} {value}\n" not in os.pread(descriptor, 4096, 0).decode():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            poll.poll(remaining * 1000)
        return True
    finally:
        os.close(descriptor)


def out_of_memory_kills(directories: tuple[str, ...]) -> int:
    """How many processes of the cgroup the kernel has ended for want of memory, since it was made."""
    for name in ("memory.oom_control", "memory.events"):
        if path := _find(directories, name):
            counts = dict(line.split() for line in _read(path).splitlines())
            return int(counts.get("oom_kill", "0"))
    return 0


def end(directories: tuple[str, ...]) -> None:
    """Sends SIGKILL to all that runs in the cgroup, and to what is being forked there. Raises OSError."""
    _end_members(directories, directories[0], time.monotonic() + _REMOVAL_SECONDS)


def remove(directories: tuple[str, ...]) -> None:
    """Ends whatever still runs in these cgroup directories and removes them, with what was made below them.

    What was sent SIGKILL leaves its cgroup a moment later. Version 2 tells when; version 1 is asked again. Raises
    OSError when that fails, or takes longer than a second.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for path in directories:
        while not _remove_tree(path):
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "a process in it does not end", path)
            _end_members(directories, path, deadline)


def _remove_tree(path: str) -> bool:
    """Removes a directory and those below it; False if there are processes in one."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        with os.scandir(path) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        removed = [_remove_tree(directory) for directory in below]
        return bool(removed) and all(removed) and _remove_tree(path)
    return True


def _end_members(directories: tuple[str, ...], path: str, deadline: float) -> None:
    thaw(directories)
    if at_once := _find(directories, "cgroup.kill"):
        write_file(at_once, "1")  # those too that are being forked
    for directory, _, _ in os.walk(path):
        for pid in _read(os.path.join(directory, "cgroup.procs")).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    if at_once:
        _await_event(at_once, "populated", "0", deadline)
    time.sleep(_PAUSE_SECONDS)


def _find(directories: tuple[str, ...], name: str) -> str:
    """The path of the cgroup's file of that name, empty if no hierarchy has one."""
    for directory in directories:
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
    return ""


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
