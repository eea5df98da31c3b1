"""The users and groups of the user namespace that this process is in (``man 7 user_namespaces``)."""

from __future__ import annotations

import errno
from typing import NamedTuple

_ALL = 2**32 - 1


class OwnIds(NamedTuple):
    """``users`` and ``groups`` are how many it has, counted from 0 on; ``are_all`` where it is the machine's own.

    Where it is not, its root has no rights over devices, over the files of users that it does not have, nor over the
    attributes ``trusted.*``.
    """

    users: int
    groups: int

    @property
    def are_all(self) -> bool:
        return self.users == _ALL

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        """Whose a file that is meant for that user and group becomes: root's, where there is nobody else.

        Raises OSError for one that is not among those that there are.
        """
        if self.users == 1:
            return 0, 0
        if uid >= self.users or gid >= self.groups:
            raise OSError(
                errno.EINVAL,
                f"user {uid} and group {gid} are not among the {self.users} users and {self.groups} groups here: as "
                "root, give this user more of them in /etc/subuid and /etc/subgid",
            )
        return uid, gid

    @classmethod
    def read(cls) -> OwnIds:
        """Those of this process, as long as /proc is this machine's. Raises OSError."""
        return cls(_contiguous("/proc/self/uid_map"), _contiguous("/proc/self/gid_map"))


def _contiguous(path: str) -> int:
    with open(path) as file:
        ranges = sorted((int(first), int(count)) for first, _, count in map(str.split, file))
    end = 0
    for first, count in ranges:
        if first != end:
            break
        end += count
    return end
