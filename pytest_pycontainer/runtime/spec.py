"""What to run, as plain frozen values that travel from the engine to the spawner."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rootfs:
    """A container's root: an overlay of read-only layers and one writable upper directory.

    ``layers`` are directories, topmost first. With ``host``, this machine's root file system lies below them. ``upper``
    and ``work`` are empty directories on one file system; without ``upper`` the root is read-only.
    """

    layers: tuple[str, ...]
    host: bool
    upper: str | None
    work: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container's things are: its directory in the store (record, log, upper) and its cgroup's directories."""

    directory: str
    cgroup: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SystemDirectories:
    """What of /proc, /sys and /dev a container gets: paths covered with nothing, paths made read-only (both absolute,
    below /proc or /sys), and the size of /dev/shm.
    """

    masked_paths: tuple[str, ...]
    read_only_paths: tuple[str, ...]
    shm_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process in a container: its command, and as whom it runs.

    ``environment`` holds ``NAME=value``; ``user`` reads as Dockerfile's USER (name or number, ``:group``), empty for
    root; ``capabilities`` is a bit set.
    """

    command: tuple[str, ...]
    environment: tuple[str, ...]
    working_directory: str
    user: str
    capabilities: int


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What init makes of a container.

    ``directories`` are made if the image lacks them (its volumes); ``files`` are (file on this machine, path in the
    container) shown by bind mounts; with ``reaper`` PID 1 is ours and
    runs the command as its child.
    """

    hostname: str
    rootfs: Rootfs
    process: ProcessSpec
    directories: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    reaper: bool


@dataclass(frozen=True, slots=True)
class CopySource:
    """One thing to copy: ``path`` below the source root; for a directory, ``entries`` may name what of it to take.

    With ``pattern``, ``path`` holds wildcards that are matched in the source root. ``name`` is what a file is called
    in a destination directory, if not as ``path`` ends.
    """

    path: str
    entries: tuple[str, ...] | None = None
    pattern: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class CopySpec:
    """Copies files into a root that no process runs in: Dockerfile's COPY and WORKDIR.

    ``source`` is a directory of this machine or another root. ``owner`` reads as ``--chown``, ``mode`` as ``--chmod``.
    """

    rootfs: Rootfs
    source: str | Rootfs
    sources: tuple[CopySource, ...]
    destination: str
    owner: str
    mode: int | None
