"""Runs a command as a user of this machine that nobody is otherwise: ``python ordinary_user.py [--ids] HOME COMMAND…``.

Root starts it. In a mount namespace of its own it gives the user a name, with ``--ids`` also users and groups in
/etc/subuid and /etc/subgid, and shows the user what Python needs, wherever that lies (root's home is closed to others).
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

UID = 54321
NAME = "pycontainer-tester"
FIRST_SUBORDINATE, SUBORDINATES = 1_879_048_192, 65536

_PROJECT = Path(__file__).parent.parent.parent


def main() -> None:
    sys.path.insert(0, str(_PROJECT))
    from pytest_pycontainer.kernel import mount, namespaces

    arguments = sys.argv[1:]
    with_ids = arguments[0] == "--ids"
    home, *command = arguments[with_ids:]
    namespaces.unshare(namespaces.MOUNT)
    mount.set_propagation("/", mount.PRIVATE)
    own = Path(home) / ".etc"
    own.mkdir(exist_ok=True)
    ids = f"{NAME}:{FIRST_SUBORDINATE}:{SUBORDINATES}\n" if with_ids else ""
    lines = {
        "passwd": Path("/etc/passwd").read_text() + f"{NAME}:x:{UID}:{UID}::{home}:/bin/sh\n",
        "group": Path("/etc/group").read_text() + f"{NAME}:x:{UID}:\n",
        "subuid": ids,
        "subgid": ids,
    }
    for name, text in lines.items():
        (own / name).write_text(text)
        if Path("/etc", name).exists():
            mount.bind(str(own / name), f"/etc/{name}")
    _open_ways_to([needed.resolve() for needed in (_PROJECT, Path(sys.prefix), Path(sys.base_prefix))])
    os.chown(home, UID, UID)
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    environment = {
        "HOME": home,
        "XDG_DATA_HOME": f"{home}/data",
        "XDG_RUNTIME_DIR": f"{home}/run",
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.chdir(home)
    os.execvpe(command[0], command, environment)


def _open_ways_to(needed: list[Path]) -> None:
    """Shows directories in some that anybody may pass, in place of the first on their way that they may not."""
    from pytest_pycontainer.kernel import mount

    closed: dict[Path, list[tuple[Path, int]]] = {}
    for path in needed:
        for above in reversed(path.parents):
            if not above.stat().st_mode & stat.S_IXOTH:
                tree = mount.clone_tree(os.open(path, os.O_PATH | os.O_DIRECTORY))
                closed.setdefault(above, []).append((path, tree))
                break
    for above, trees in closed.items():  # what it holds is not to be reached any more by who opens it
        mount.mount("needed", str(above), "tmpfs", 0, "mode=0755")
        for path, tree in trees:
            path.mkdir(parents=True, exist_ok=True)
            mount.attach(tree, os.open(path, os.O_PATH | os.O_DIRECTORY))


if __name__ == "__main__":
    main()
