"""The spawner of an ordinary user: before anything else it becomes root, in a user namespace of its own.

Who makes a user namespace is in it at once, and may do no more outside it; so what maps it has to be started before:
``newuidmap`` and ``newgidmap`` (``man 1 newuidmap``), which alone may give it users beside the caller's own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pytest_pycontainer.kernel import credentials, mount, namespaces
from pytest_pycontainer.runtime.values import dataclass

Ranges = tuple[tuple[int, int], ...]
"""Users or groups of this machine: the first one and how many, of each range."""


@dataclass(frozen=True, slots=True)
class SubordinateIds:
    """What a user namespace has beside its 0, who is the user: from 1 on, these; made by these programs.

    With neither users nor groups no program is needed. With ``namespace``, a descriptor of the one that an earlier
    spawner has made, that is entered instead: what was made in it belongs to nobody in another one.
    """

    users: Ranges = ()
    groups: Ranges = ()
    newuidmap: str = ""
    newgidmap: str = ""
    namespace: int = -1

    def encode(self) -> list[str]:
        """As arguments of a program."""
        return [_as_text(self.users), _as_text(self.groups), self.newuidmap, self.newgidmap, str(self.namespace)]

    @classmethod
    def decode(cls, arguments: Sequence[str]) -> SubordinateIds:
        """The inverse of ``encode``."""
        users, groups, newuidmap, newgidmap, namespace = arguments
        return cls(_as_ranges(users), _as_ranges(groups), newuidmap, newgidmap, int(namespace))


def _as_text(ranges: Ranges) -> str:
    return ",".join(f"{first}:{count}" for first, count in ranges)


def _as_ranges(text: str) -> Ranges:
    parted = (part.partition(":") for part in text.split(",") if part)
    return tuple((int(first), int(count)) for first, _, count in parted)


def begin_as_root(ids: Sequence[str], interpreter: str, arguments: Sequence[str]) -> NoReturn:
    """Makes this process root in new user and mount namespaces, and executes ``interpreter`` there, read-only.

    ``ids`` are encoded ``SubordinateIds``. Raises OSError.
    """
    _become_root(SubordinateIds.decode(ids))
    # Whatever opens it by way of /proc/PID/exe meets a read-only file system (CVE-2019-5736).
    executable = mount.clone_read_only(interpreter)
    os.set_inheritable(executable, True)
    os.execve(f"/proc/self/fd/{executable}", [interpreter, *arguments], dict(os.environ))  # noqa: S606


def _become_root(ids: SubordinateIds) -> None:
    uid, gid = os.getuid(), os.getgid()
    kinds = namespaces.USER | namespaces.MOUNT
    if ids.namespace >= 0:
        namespaces.enter(ids.namespace, namespaces.USER)
        os.close(ids.namespace)
        namespaces.unshare(namespaces.MOUNT)
    elif ids.users:
        _unshare_mapped(kinds, ids, uid, gid)
    else:
        namespaces.unshare(kinds)
        # Else a group that is denied something could be got rid of (man 7 user_namespaces).
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    if ids.users:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _unshare_mapped(kinds: int, ids: SubordinateIds, uid: int, gid: int) -> None:
    ready, ready_end = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        code = 1
        try:
            credentials.die_with_parent(signal.SIGKILL)
            os.close(ready_end)
            if os.read(ready, 1):
                code = _map(os.getppid(), ids, uid, gid)
        finally:
            os._exit(code)
    os.close(ready)
    namespaces.unshare(kinds)
    os.write(ready_end, b"\0")
    os.close(ready_end)
    _, status = os.waitpid(mapper, 0)
    if status != 0:
        sys.exit("the users in /etc/subuid and /etc/subgid could not be mapped: have root mend this user's lines there")


def _map(process: int, ids: SubordinateIds, uid: int, gid: int) -> int:
    for program, own, ranges in ((ids.newuidmap, uid, ids.users), (ids.newgidmap, gid, ids.groups)):
        arguments = [program, str(process), "0", str(own), "1"]
        inside = 1
        for first, count in ranges:
            arguments += [str(inside), str(first), str(count)]
            inside += count
        if not _succeeds(program, arguments):  # it says why
            return 1
    return 0


def _succeeds(program: str, arguments: list[str]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            os.execv(program, arguments)  # noqa: S606
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return status == 0
