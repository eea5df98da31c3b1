"""How a container is isolated, as the kernel tells it of PID 1: for tests that assert it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.errors import ContainerNotRunningError
from pytest_pycontainer.kernel.credentials import CAPABILITIES
from pytest_pycontainer.runtime.spec import IdMap as IdMap

_SECCOMP_MODES = ("disabled", "strict", "filter")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A process's capabilities, by names such as ``NET_RAW`` (``man 7 capabilities``).

    What counts now is ``effective``; ``bounding`` is all that any file it executes could give it.
    """

    effective: frozenset[str]
    permitted: frozenset[str]
    bounding: frozenset[str]
    inheritable: frozenset[str]
    ambient: frozenset[str]


@dataclass(frozen=True, slots=True)
class ProcessUser:
    """As whom a process runs, in the container's own numbers: effective user and group, and supplementary groups."""

    uid: int
    gid: int
    groups: frozenset[int]


class ContainerIsolation(ContainerHandle):
    """The part of ``Container`` that tells how it is isolated.

    Each call reads what holds now for PID 1, which with ``init`` is a reaper with the rights of its command, and raises
    ContainerNotRunningError if there is none.
    """

    def namespaces(self) -> dict[str, str]:
        """Its namespaces by kind: ``cgroup``, ``ipc``, ``mnt``, ``net``, ``pid``, ``time``, ``user`` and ``uts``.

        Two processes of this machine share one if the texts are equal; this process's are
        ``os.readlink("/proc/self/ns/net")`` and so on (``man 7 namespaces``).
        """
        with self._first_process("read the namespaces of") as process:
            links = sorted((process / "ns").iterdir())
            return {link.name: str(link.readlink()) for link in links if not link.name.endswith("_for_children")}

    def environment(self) -> dict[str, str]:
        """The environment that it was executed with."""
        with self._first_process("read the environment of") as process:
            entries = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        return {name: value for name, found, value in (entry.partition("=") for entry in entries) if found}

    def capabilities(self) -> Capabilities:
        """What it may do of what is root's."""
        fields = self._status("read the capabilities of")
        effective, permitted, bounding, inheritable, ambient = (
            frozenset(name for number, name in enumerate(CAPABILITIES) if int(fields[field], 16) >> number & 1)
            for field in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")
        )
        return Capabilities(effective, permitted, bounding, inheritable, ambient)

    def seccomp(self) -> str:
        """How its system calls are restricted: ``filter``, ``strict`` or ``disabled``."""
        return _SECCOMP_MODES[int(self._status("read the seccomp mode of")["Seccomp"])]

    def no_new_privileges(self) -> bool:
        """Whether no file that it executes can give it more rights than it has."""
        return self._status("read the privileges of")["NoNewPrivs"] == "1"

    def user(self) -> ProcessUser:
        """As whom it runs. 65534 is somebody whom the container's user namespace does not know."""
        fields = self._status("read the user of")
        uid, gid = (int(fields[field].split()[1]) for field in ("Uid", "Gid"))
        groups = frozenset(map(int, fields["Groups"].split()))
        if (ids := self.id_map()) is not None:
            uid, gid = ids.of_container(uid, gid)
            groups = frozenset(ids.of_container(0, group)[1] for group in groups)
        return ProcessUser(uid, gid, groups)

    def id_map(self) -> IdMap | None:
        """What this machine calls the container's users and groups; None if it calls them the same."""
        return self._description.namespaces.ids

    def security_label(self) -> str:
        """What AppArmor or SELinux confines it by, such as ``docker-default (enforce)``; empty without either."""
        with self._first_process("read the security label of") as process:
            try:
                return (process / "attr/current").read_text().rstrip("\0\n")
            except OSError:  # the kernel has neither
                return ""

    def _status(self, doing: str) -> dict[str, str]:
        with self._first_process(doing) as process:
            lines = (process / "status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @contextmanager
    def _first_process(self, doing: str) -> Iterator[Path]:
        """The directory of PID 1 in /proc; what was read of it counts if the block is left without an error."""
        self._require_present()
        pid = self.pid
        try:
            if not pid:
                raise ProcessLookupError
            yield Path("/proc", str(pid))
            if self.pid != pid:  # the number may have become another process's
                raise ProcessLookupError
        except (FileNotFoundError, ProcessLookupError) as error:
            raise ContainerNotRunningError(self.name, doing, self.status) from error
