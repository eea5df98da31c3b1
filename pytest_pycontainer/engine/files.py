"""The files of a container: read, written and copied from outside, whether it runs or not."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.file_transfer import Copier, opened, parent_of, read_all, replace_file, write_all
from pytest_pycontainer.errors import ContainerFileError, ContainerNotFoundError, SpawnerError, WaitTimeoutError
from pytest_pycontainer.kernel.credentials import files_made_as
from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime.spawner import Spawner
from pytest_pycontainer.runtime.spec import BindMount, ContainerSpec, IdMap, VolumeMount
from pytest_pycontainer.store.calling import Caller, read_through, write_through

if TYPE_CHECKING:
    from pytest_pycontainer.engine.file_status import FileStatus

_END_SECONDS = 30.0
_LEFT_LOCK = "left.lock"
_LOCK_POLL_SECONDS = 0.002
_READ = os.O_RDONLY | os.O_NONBLOCK


class ContainerFiles(ABC):
    """The part of ``Container`` that reads and writes files, by docker cp's rules.

    A container may be waiting for its start, running, or exited. Paths in it are absolute or from ``/``, its links
    never lead out of it, and what it has mounted is seen, tmpfs only while it runs. Not locked against what runs in it:
    a file that is being written may be read half. Sockets, devices and FIFOs are left out. What can't be done raises
    ContainerFileError.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name, given or made up."""

    @abstractmethod
    def _open_root(self) -> AbstractContextManager[tuple[int, IdMap | None]]:
        """A descriptor of the container's root, for a block in which the container is not removed.

        And its users' numbers, if its files have them there as this machine calls them.
        """

    @property
    @abstractmethod
    def _call(self) -> Caller:
        """Calls what takes rights over the files of the container's users."""

    def read(self, path: str) -> bytes:
        """The content of a file."""
        with self._at("read", path) as (root, _):
            return self._call(_read, _inside(path), descriptors=[root])

    def file(self, path: str) -> FileStatus:
        """What there is at ``path`` now: whether it exists, and its kind, mode, owner, size, text. Links are followed.

        That nothing is there is no error.
        """
        from pytest_pycontainer.engine.file_status import file_status, find_file

        with self._at("look at", path) as (root, ids):
            found = self._call(find_file, _inside(path), ids, descriptors=[root])
            return file_status(path, found, partial(self.read, path))

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        """Makes or replaces a file; its directory has to be there. ``owner`` is a user's and a group's number."""
        data = content.encode() if isinstance(content, str) else content
        with self._at("write", path, writes=True) as (root, ids):
            owner = owner if ids is None else ids.of_machine(*owner)
            self._call(_write, _inside(path), data, mode, owner, descriptors=[root])

    def copy_to(self, source: str | os.PathLike[str], path: str) -> None:
        """Copies a file or directory of this machine into the container, where it is root's.

        Into ``path`` if that is a directory, else as ``path``, whose directory has to be there; a ``source`` that ends
        with ``/.`` stands for what is in it. Files are replaced; directories that are there stay, with their owners and
        modes. A link is copied as a link.
        """
        with self._at("copy to", path, writes=True) as (root, ids):
            owner = (0, 0) if ids is None else ids.of_machine(0, 0)
            self._call(_copy_to, _absolute(source), _inside(path), owner, descriptors=[root])

    def copy_from(self, path: str, destination: str | os.PathLike[str]) -> None:
        """Copies a file or directory of the container to this machine, where it is the caller's.

        By the rules of ``copy_to``. Links are copied as they are, so what they say may lead elsewhere here; set-uid and
        set-gid bits are not kept.
        """
        with self._at("copy from", path) as (root, _):
            self._call(_copy_from, _inside(path), _absolute(destination), descriptors=[root])

    def get_archive(self, path: str, file: BinaryIO) -> None:
        """Writes a file or directory, under its own name, to ``file`` as a tar archive, with owners and modes."""
        from pytest_pycontainer.engine.file_archive import write_archive

        with self._at("archive", path) as (root, ids):
            write_through(self._call, partial(write_archive, _inside(path), ids), file.write, descriptors=[root])

    def put_archive(self, path: str, file: BinaryIO) -> None:
        """Extracts a tar archive, plain or compressed, into the directory ``path``, with the owners and modes in it."""
        import tarfile

        from pytest_pycontainer.engine.file_archive import extract_archive

        with self._at("extract into", path, writes=True) as (root, ids):
            try:
                read_through(self._call, partial(extract_archive, _inside(path), ids), file, descriptors=[root])
            except (ValueError, tarfile.TarError) as problem:
                raise ContainerFileError(self.name, "extract into", path, str(problem)) from problem

    @contextmanager
    def _at(self, doing: str, path: str, *, writes: bool = False) -> Iterator[tuple[int, IdMap | None]]:
        with self._open_root() as (root, ids):
            try:
                # Who is no user of the container can make nothing that is its user's.
                with nullcontext() if ids is None or not writes else files_made_as(ids.uid, ids.gid):
                    yield root, ids
            except OSError as problem:
                detail = problem.strerror or str(problem)
                if problem.filename not in (None, path):
                    detail = f"{detail} ({problem.filename})"
                raise ContainerFileError(self.name, doing, path, detail) from problem


def _read(path: str, root: int) -> bytes:
    with opened(open_in_root(root, path, os.O_PATH)) as found:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        with opened(os.open(f"/proc/self/fd/{found}", _READ | os.O_CLOEXEC)) as file:
            return b"".join(read_all(file))


def _write(path: str, data: bytes, mode: int, owner: tuple[int, int], root: int) -> None:
    with parent_of(root, path) as (parent, name), opened(replace_file(parent, name)) as file:
        write_all(file, data)
        os.fchown(file, *OwnIds.read().owner(*owner))
        os.fchmod(file, mode)


def _copy_to(source: str, path: str, owner: tuple[int, int], root: int) -> None:
    with opened(_this_machine()) as machine:
        Copier(machine, root, owner, keeps_set_ids=True).copy(source, path)


def _copy_from(path: str, destination: str, root: int) -> None:
    with opened(_this_machine()) as machine:
        # Where it is called the caller's number may be another one.
        owner = os.geteuid(), os.getegid()
        Copier(root, machine, owner, keeps_set_ids=False).copy(path, destination)


def open_running_root(connection: MonitorConnection) -> int | None:
    """A descriptor of the root of the container's PID 1; None if that has ended.

    Raises SpawnerError if it has not entered its root.
    """
    pid = connection.pid()
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if pid else -1
    except (FileNotFoundError, ProcessLookupError):
        return None
    if root >= 0 and connection.pid() != pid:  # the number may have become another process's
        os.close(root)
        return None
    if root < 0:
        return None
    if os.path.samestat(os.fstat(root), os.stat("/")):  # noqa: PTH116  (beside fstat)
        os.close(root)
        raise SpawnerError(
            "open a container's root", "it is in this machine's still, whose files are not to be touched"
        )
    return root


@contextmanager
def alone_with_what_is_left(directory: Path, name: str) -> Iterator[None]:
    """For a block in which no other handle, of any process, mounts what a container has left: two must not.

    Raises WaitTimeoutError, and ContainerNotFoundError if it is removed meanwhile.
    """
    from filelock import FileLock, Timeout  # few look into what is left, and it takes long to import

    lock = FileLock(directory / _LEFT_LOCK, timeout=_END_SECONDS, poll_interval=_LOCK_POLL_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise WaitTimeoutError(name, "waiting for the files of", _END_SECONDS) from error
    except FileNotFoundError as error:
        raise ContainerNotFoundError(name) from error
    try:
        yield
    finally:
        lock.release()


def open_left_root(
    connection: MonitorConnection, spawner: Spawner, spec: ContainerSpec, directory: Path, name: str, call: Caller
) -> int:
    """A descriptor of the root that a container has left, with its mounts; the caller is alone with it.

    Raises WaitTimeoutError if the container does not end, and SpawnerError.
    """
    ended = connection.await_state(lambda state: state.status == "exited" or bool(state.error), _END_SECONDS)
    if ended is None:
        raise WaitTimeoutError(name, "ending", _END_SECONDS)
    # The kernel takes no work directory of a volatile overlay a second time.
    work = directory / "work-after"
    if work.exists():
        call(remove_tree, work)
    work.mkdir(0o700)
    mounts = [
        replace(one, copies=False) if isinstance(one, VolumeMount) else one
        for one in spec.mounts
        if isinstance(one, BindMount | VolumeMount)
    ]
    return spawner.open_root(replace(spec.rootfs, work=str(work)), tuple(mounts))


def _this_machine() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _absolute(path: str | os.PathLike[str]) -> str:
    # Not normalized: a "/." at the end means something.
    return posixpath.join(Path.cwd(), _possible(path))


def _inside(path: str) -> str:
    return posixpath.join("/", _possible(path))


def _possible(path: str | os.PathLike[str]) -> str:
    """The path, if a file can have it. Raises OSError."""
    text = os.fspath(path)
    if text == "" or (isinstance(text, str) and not arguments.is_text(text)):
        raise OSError(errno.EINVAL, f"no file can have the name {text!r}")
    return text
