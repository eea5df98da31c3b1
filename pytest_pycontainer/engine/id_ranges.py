"""Ranges of this machine's users and groups for containers with a user namespace, no two of which share one.

A range is taken by a ``flock`` on a file that stands for it. The monitor holds that for as long as the container is
there, and the kernel lets go of it however the monitor ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_pycontainer.errors import UserNamespaceError
from pytest_pycontainer.kernel.flock import ALONE, try_lock
from pytest_pycontainer.runtime.spec import IdMap
from pytest_pycontainer.store.files import storing

COUNT = 65536
"""How many users and groups a container has: all that a 16-bit number can name, 65534 (nobody) among them."""

_UIDS, _GIDS, _USERS = Path("/etc/subuid"), Path("/etc/subgid"), Path("/etc/passwd")
# podman's, Docker's and shadow's own owner of subordinate users, in the order in which they are asked for.
_OWNERS = ("containers", "dockremap", "root")
# Above what systemd gives to users and containers, below what it keeps for foreign images, and below 2**31, from which
# on programs take numbers for negative (https://systemd.io/UIDS-GIDS).
_FREE = range(0x7000_0000, 0x7FFE_0000, COUNT)


@dataclass(frozen=True, slots=True)
class Subordinates:
    """A line of /etc/subuid or /etc/subgid: whose, the first number, and how many (``man 5 subuid``)."""

    owner: str
    first: int
    count: int


def claim_id_range(state: Path) -> tuple[IdMap, int]:
    """A range that nobody has, and a descriptor that keeps it for as long as it, or a copy of it, is open.

    The files that are locked lie in ``state``. Raises UserNamespaceError if all are taken, and StoreError.
    """
    directory = state / "ids"
    uids, gids = read_subordinates(_UIDS), read_subordinates(_GIDS)
    with storing("reserve users in", directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for ids in free_ranges(uids, gids, _highest_user()):
            lock = os.open(directory / f"{ids.uid}-{ids.gid}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if try_lock(lock, ALONE):
                return ids, lock
            os.close(lock)
    raise UserNamespaceError(
        f"every range of {COUNT} users is in use",
        f"give {_OWNERS[0]!r} more of them in {_UIDS} and {_GIDS}, or run fewer containers at a time",
    )


def free_ranges(uids: tuple[Subordinates, ...], gids: tuple[Subordinates, ...], highest: int = 0) -> Iterator[IdMap]:
    """The ranges to choose from; ``highest`` is the highest user of this machine."""
    for owner in _OWNERS:
        own_uids, own_gids = list(_blocks(uids, owner)), list(_blocks(gids, owner))
        if own_uids and own_gids:
            yield from (IdMap(uid, gid, COUNT) for uid, gid in zip(own_uids, own_gids, strict=False))
            return
    ends = [highest + 1, *(line.first + line.count for line in (*uids, *gids))]
    yield from (IdMap(first, first, COUNT) for first in _FREE if first >= max(ends))


def _blocks(lines: tuple[Subordinates, ...], owner: str) -> Iterator[int]:
    for line in lines:
        if line.owner == owner:
            yield from range(line.first, line.first + line.count - COUNT + 1, COUNT)


def read_subordinates(path: Path) -> tuple[Subordinates, ...]:
    """The lines of a file; none if it is not there. Lines that say nothing are passed over."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    fields = (line.split(":") for line in lines)
    return tuple(
        Subordinates(found[0], int(found[1]), int(found[2]))
        for found in fields
        if len(found) == 3 and all(number.isascii() and number.isdecimal() for number in found[1:])
    )


def _highest_user() -> int:
    fields = (line.split(":") for line in _USERS.read_text(errors="replace").splitlines())
    numbers = [int(found[2]) for found in fields if len(found) == 7 and found[2].isdecimal()]
    return max((number for number in numbers if number < _FREE.stop), default=0)
