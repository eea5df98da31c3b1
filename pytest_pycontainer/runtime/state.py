"""How a container is: kept by its monitor, which tells whoever connects to the socket in the container's directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOCK_NAME: Final = "lock"
"""The file in a container's directory that engine and monitor hold locked; it goes last."""

SOCKET_NAME: Final = "monitor"
"""The socket in a container's directory that its monitor listens on."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """``status`` is created, running, restarting or exited; times are seconds since the epoch, 0 if it never was so.

    ``pid`` is init's on this machine while it runs, else 0. ``exit_code`` and ``out_of_memory`` are the last exit's;
    ``error`` says why it could not be started. ``name`` is one that it was given after it was made. ``runs`` counts how
    often its command has been executed, ``restarts`` how often by its restart policy since somebody started it.
    """

    status: str = "created"
    pid: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    out_of_memory: bool = False
    error: str = ""
    name: str = ""
    runs: int = 0
    restarts: int = 0
