"""What the monitor leaves on disk for any process to read: a container's state, as JSON, written by rename."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Final

_FILE_NAME: Final = "state.json"


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
    """Replaces the state in a container's directory. Raises OSError."""
    path = os.path.join(directory, _FILE_NAME)
    with open(f"{path}.new", "w") as file:
        json.dump(asdict(state), file)
    os.replace(f"{path}.new", path)


def read_state(directory: str | os.PathLike[str]) -> ContainerState:
    """The state in a container's directory; *created* while the monitor has not written one."""
    try:
        with open(os.path.join(directory, _FILE_NAME)) as file:
            return ContainerState(**json.load(file))
    except FileNotFoundError:
        return ContainerState()
