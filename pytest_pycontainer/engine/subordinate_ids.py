"""The users that an ordinary user may have in a user namespace, beside the own one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pytest_pycontainer.engine.id_ranges import read_subordinates
from pytest_pycontainer.runtime.rootless import Ranges, SubordinateIds

_UIDS, _GIDS = Path("/etc/subuid"), Path("/etc/subgid")


def subordinate_ids() -> SubordinateIds | None:
    """Those that /etc/subuid and /etc/subgid give to this process's user; None for root, who needs none.

    There are none either where the programs that map them are not installed.
    """
    if os.geteuid() == 0:
        return None
    newuidmap, newgidmap = shutil.which("newuidmap"), shutil.which("newgidmap")
    users, groups = _ranges(_UIDS), _ranges(_GIDS)
    if not (newuidmap and newgidmap and users and groups):
        return SubordinateIds()
    return SubordinateIds(users, groups, newuidmap, newgidmap)


def _ranges(path: Path) -> Ranges:
    import pwd  # an ordinary user's, not root's

    uid = os.getuid()
    owners = {str(uid)}
    try:
        owners.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return ()  # who has no name can't call newuidmap
    return tuple((line.first, line.count) for line in read_subordinates(path) if line.owner in owners and line.count)
