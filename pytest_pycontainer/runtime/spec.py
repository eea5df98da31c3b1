"""What to run, as plain frozen values that travel from the engine to the spawner."""

from __future__ import annotations

import errno
from typing import Final

from pytest_pycontainer.kernel.mount import NODEV, NOSUID
from pytest_pycontainer.runtime.values import dataclass, field

_NOBODY = 65534


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
class IdMap:
    """A user namespace's users and groups: its 0 to ``count`` - 1 are this machine's from ``uid`` and ``gid`` on."""

    uid: int
    gid: int
    count: int

    def of_machine(self, uid: int, gid: int) -> tuple[int, int]:
        """What this machine calls a user and a group of the container. Raises OSError (EINVAL) if it has no such."""
        for number in (uid, gid):
            if not 0 <= number < self.count:
                raise OSError(errno.EINVAL, f"its user namespace has no {number}, but 0 to {self.count - 1}")
        return self.uid + uid, self.gid + gid

    def of_container(self, uid: int, gid: int) -> tuple[int, int]:
        """What the container calls a user and a group of this machine: 65534 is one that it does not know."""
        known_user, known_group = 0 <= uid - self.uid < self.count, 0 <= gid - self.gid < self.count
        return uid - self.uid if known_user else _NOBODY, gid - self.gid if known_group else _NOBODY


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Which namespaces a container has not of its own, and how far it shares those that it has.

    ``machine`` is a set of kinds (``kernel.namespaces``) that are this machine's; ``joined`` are kinds that are another
    container's: a pidfd of each one's PID 1 comes along, in their order. With ``shareable_ipc`` others may join its IPC
    namespace. With ``ids`` it has a user namespace with these users and groups, else this machine's.
    """

    machine: int = 0
    joined: tuple[int, ...] = ()
    shareable_ipc: bool = False
    ids: IdMap | None = None


OWN_NAMESPACES: Final = Namespaces()
"""Those of a container that was not given others: all of its own but the user namespace."""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node to be made: ``path`` in the container, ``mode`` with its kind, ``device`` as makedev(3) has it."""

    path: str
    mode: int
    device: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class SystemDirectories:
    """What of /proc, /sys and /dev a container gets: paths covered with nothing, paths made read-only (both absolute,
    below /proc or /sys), and the size of /dev/shm, None for none. A ``privileged`` one gets all of this machine's
    devices, and may write to /sys.
    """

    masked_paths: tuple[str, ...]
    read_only_paths: tuple[str, ...]
    shm_bytes: int | None
    privileged: bool = False


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """A limit of each process (``man 2 setrlimit``), by docker's name and the kernel's number; -1 is no limit."""

    name: str
    number: int
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process in a container: its command, and as whom it runs.

    ``environment`` holds ``NAME=value``; ``user`` reads as Dockerfile's USER (name or number, ``:group``), empty for
    root; ``groups`` are further ones, by name or number; ``capabilities`` is a bit set. ``system_call_filter`` is a
    program for the kernel (``seccomp_program``), None for no filter. Without ``oom_score_adj`` it is as its maker's.
    ``exec_label`` is a file below /proc/PID/attr, and what AppArmor or SELinux is to read there.
    """

    command: tuple[str, ...]
    environment: tuple[str, ...]
    working_directory: str
    user: str
    capabilities: int
    groups: tuple[str, ...] = ()
    no_new_privileges: bool = False
    system_call_filter: bytes | None = field(default=None, repr=False)
    resource_limits: tuple[ResourceLimit, ...] = ()
    oom_score_adj: int | None = None
    exec_label: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """How large a terminal is, in characters."""

    columns: int = 80
    lines: int = 24


@dataclass(frozen=True, slots=True)
class BindMount:
    """A directory, file or socket of this machine (``source``, an absolute path) at ``target`` in the container.

    What is mounted below it comes along; with ``receives`` also what this machine mounts there later (``rslave``).
    """

    source: str
    target: str
    read_only: bool = False
    receives: bool = False


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """The volume in ``directory`` of this machine at ``target``.

    With ``copies`` an empty one is first filled with what the image has there.
    """

    directory: str
    target: str
    read_only: bool = False
    copies: bool = True


@dataclass(frozen=True, slots=True)
class RootMount:
    """A directory or file of another root, the path ``source`` in it, at ``target``.

    What is written there goes to that root's upper directory.
    """

    rootfs: Rootfs
    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """A new file system in memory at ``target``, of ``size`` bytes at most (None: the kernel's default, half of it).

    ``flags`` are mount(2)'s; ``options`` are further ones of the file system (``uid=1000``).
    """

    target: str
    size: int | None = None
    mode: int = 0o1777
    read_only: bool = False
    flags: int = NOSUID | NODEV
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileMount:
    """A read-only file in memory, which no disk gets to see, at ``target``."""

    target: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


Mount = BindMount | VolumeMount | RootMount | TmpfsMount | FileMount


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What init makes of a container.

    ``mounts`` are made in their order, and where their targets are missing these are made too; with ``reaper`` PID 1
    is ours and runs the command as its child. With
    ``host_network`` it leaves its own network namespace for the one that the spawner is in. With ``one_output``
    standard error is standard output, and both are logged in the order in which they are written. With ``read_only``
    its root can't be written to, unlike what is mounted in it. ``sysctls`` are paths below /proc/sys and values;
    ``devices``, below /dev, are made besides Docker's; ``shm_bytes`` is the size of its own /dev/shm, if another one.
    With ``init_layer`` it has what Docker adds to every image. With ``stdin_open`` its standard input is a pipe, or its
    ``terminal``, which then is output and error, too.
    """

    hostname: str
    rootfs: Rootfs
    process: ProcessSpec
    mounts: tuple[Mount, ...]
    reaper: bool
    host_network: bool = False
    one_output: bool = False
    read_only: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    shm_bytes: int | None = None
    init_layer: bool = False
    stdin_open: bool = False
    terminal: TerminalSize | None = None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Whether a container is started again when it has exited without being told to.

    With ``on_failure`` only after an exit code other than 0; ``attempts`` at most, None for any number.
    """

    restarts: bool = False
    on_failure: bool = False
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a container is found to be well: what is executed in it, and how often; docker's defaults.

    Times are in seconds: between two probes, for one, and how long after the start failures do not count and probes
    come at ``start_interval``. It is unhealthy after ``retries`` failures in a row.
    """

    command: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    start_period: float = 0.0
    start_interval: float = 5.0
    retries: int = 3


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much of a container's log is kept: the last ``files`` files, each begun when the one before it has
    ``file_bytes`` or more; None for one file without a bound.
    """

    file_bytes: int | None = 20 << 20
    files: int = 5


@dataclass(frozen=True, slots=True)
class ContainerDescription:
    """What the monitor keeps of a container: how to start it again, and what other processes need to use it.

    ``addresses`` are the names of its networks and its own address in each, ``ipv6_addresses`` those of that kind;
    ``ports`` are those published: host address, host port, container port, protocol. Without ``health`` nobody looks
    whether it is well. Who stops it waits ``stop_seconds`` before SIGKILL.
    """

    spec: ContainerSpec
    stop_signal: int
    addresses: tuple[tuple[str, str], ...] = ()
    ipv6_addresses: tuple[tuple[str, str], ...] = ()
    ports: tuple[tuple[str, int, int, str], ...] = ()
    restart: RestartPolicy = RestartPolicy()
    health: HealthCheck | None = None
    log: LogLimits = LogLimits()
    stdin_once: bool = False
    namespaces: Namespaces = OWN_NAMESPACES
    stop_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class CopySource:
    """One thing to copy: ``path`` below a source root; for a directory, ``entries`` may name what of it to take.

    ``root`` counts the spec's roots. ``name`` is what a file is called in a destination directory, if not as ``path``
    ends. ``pattern`` holds regular expressions, one for each name below ``path``, or with ``parents`` one for whole
    paths below the directory ``path``, which are copied with the directories that they lie in; if something has to
    match it is ``required``, and called ``name``. ``excludes`` are such expressions, each with whether it leaves out or
    takes back in. With ``unpacked`` owners and modes are kept, and what
    is in the way makes room.
    """

    path: str
    entries: tuple[str, ...] | None = None
    pattern: tuple[str, ...] = ()
    name: str = ""
    root: int = 0
    parents: bool = False
    required: bool = False
    excludes: tuple[tuple[bool, str], ...] = ()
    unpacked: bool = False


@dataclass(frozen=True, slots=True)
class ModeClause:
    """A part of a ``chmod`` expression: for the bits of ``who``, which to add, to take away, or to have alone.

    ``execute`` is an X: as x, for directories and what is executable. ``copied`` names whose rwx bits are to be taken
    besides.
    """

    who: int
    operator: str
    bits: int
    execute: bool
    copied: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CopySpec:
    """Copies files into a root that no process runs in: Dockerfile's COPY and WORKDIR.

    ``roots`` are directories of this machine or other roots. ``owner`` reads as ``--chown``, ``mode`` as ``--chmod``.
    """

    rootfs: Rootfs
    roots: tuple[str | Rootfs, ...]
    sources: tuple[CopySource, ...]
    destination: str
    owner: str
    mode: tuple[ModeClause, ...] | None


@dataclass(frozen=True, slots=True)
class DigestSpec:
    """Asks for a digest of what ``sources`` stand for in ``root``, so that it is known whether a copy is to be made."""

    root: Rootfs
    sources: tuple[CopySource, ...]
