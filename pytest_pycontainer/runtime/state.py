"""What the monitor leaves on disk for any process to read: that a container runs, and how it ended.

Two files, each written once and appearing whole. Never one that is replaced: ext4 answers a rename over an existing
file by writing the new one's data out at once (``auto_da_alloc``), which takes milliseconds.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Final

LOCK_NAME: Final = "lock"
"""The file in a container's directory that engine and monitor hold locked; it goes last."""

_FILE_NAMES: Final = {"exited": "exited.json", "running": "running.json"}


@dataclass(frozen=True, slots=True)
class ContainerState:
    """``status`` is created, running or exited; times are seconds since the epoch, 0 where it has not come to that.

    ``pid`` is init's on this machine while it runs, else 0; ``exit_code`` and ``out_of_memory`` count once exited.
    """

    status: str = "created"
    pid: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    out_of_memory: bool = False


def write_state(directory: str | os.PathLike[str], state: ContainerState) -> None:
    """Adds a state, *running* or *exited*, to a container's directory. Raises OSError."""
    path = os.path.join(directory, _FILE_NAMES[state.status])
    with open(f"{path}.new", "w") as file:
        json.dump(asdict(state), file)
    os.rename(f"{path}.new", path)


def read_state(directory: str | os.PathLike[str]) -> ContainerState:
    """The latest state in a container's directory; *created* while the monitor has not written one."""
    for name in _FILE_NAMES.values():
        try:
            with open(os.path.join(directory, name)) as file:
                return ContainerState(**json.load(file))
        except FileNotFoundError:
            continue
    return ContainerState()
