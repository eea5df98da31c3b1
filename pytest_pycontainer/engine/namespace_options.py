"""The options that say which namespaces a container has of its own, as callers write them."""

from __future__ import annotations

from typing import Literal, TypedDict


class NamespaceOptions(TypedDict, total=False):
    """Which namespaces a container shares, with docker's names: ``private`` is one of its own, and the default.

    ``pid`` may be this machine's (``host``) or another's (``container:NAME``), so may ``ipc``, which that container has
    to have as ``shareable``; with ``none`` it has no /dev/shm. ``uts``, the host name, and ``cgroupns`` may be
    ``host``. Another's is to be had while it runs.

    ``userns`` is ``host``, this machine's, or ``auto``: a user namespace of its own, whose users and groups 0 to 65535
    are a range that nobody else has, so that its root is nobody outside. Files keep their owners as the container sees
    them, in layers, volumes, copies and commits, since all of that is mounted mapped; of this machine's directories,
    as Docker has it, nothing is mapped. Ranges are those that /etc/subuid and /etc/subgid give to ``containers``,
    ``dockremap`` or ``root``, without these lines some above everybody's.
    """

    pid: str | None
    ipc: str | None
    uts: Literal["private", "host"] | None
    cgroupns: Literal["private", "host"] | None
    userns: Literal["host", "auto"] | None
