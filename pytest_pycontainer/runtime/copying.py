"""Copying files into a root that no process runs in: Dockerfile's COPY and WORKDIR.

A child of the spawner mounts the root, makes it its own, and copies: a link in the image can lead nowhere else. The
source is used through a descriptor opened before, resolved inside the source's own root (CVE-2018-15664).
"""

from __future__ import annotations

import errno
import fnmatch
import os
import socket
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime import messages, users
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.process import close_all_but
from pytest_pycontainer.runtime.rootfs import MountPoints, mount_root
from pytest_pycontainer.runtime.spec import CopySource, CopySpec

_FAILED = 125
_COPY_CHUNK = 1 << 30

SOURCE_STEP = "find the source"
"""The name of the step whose failure means: a source is not there; its detail is the source."""


def run_copy(spec: CopySpec, answer: socket.socket, points: MountPoints) -> NoReturn:
    """Carries out ``spec`` in a child made for it; ``Done`` or ``Failed`` goes out on ``answer``."""
    code = _FAILED
    try:
        close_all_but([answer.fileno()])
        os.umask(0)
        with step("prepare the copy"):
            namespaces.unshare(namespaces.MOUNT)
            if isinstance(spec.source, str):
                source = os.open(spec.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            else:
                source = mount_root(spec.source, points, points.source)
            root = mount_root(spec.rootfs, points, points.root)
            sys.path.clear()
            mount.pivot_into(root)
        from_image = not isinstance(spec.source, str)
        copier = _Copier(
            source,
            *_owner(spec.owner),
            spec.mode,
            keep_owner=from_image and not spec.owner,
            keep_attributes=from_image,
        )
        _copy_all(spec, copier)
        messages.send(answer, messages.Done())
        code = 0
    except StepFailed as failure:
        messages.send(answer, failure.failed)
    finally:
        os._exit(code)


def _owner(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    user = users.look_up(text)
    # Docker: an owner without a group brings the group of the same number.
    return user.uid, user.gid if ":" in text or not text.isdecimal() else user.uid


def _copy_all(spec: CopySpec, copier: _Copier) -> None:
    if not spec.sources:
        with step(f"make {spec.destination}"):
            copier.make_directories(spec.destination)
    found = [(path, source) for source in spec.sources for path in copier.match(source)]
    into_directory = spec.destination.endswith("/") or len(found) > 1
    for path, source in found:
        with step(f"copy {path or '.'} to {spec.destination}"):
            copier.copy(path, source, spec.destination, into_directory=into_directory)


@dataclass(frozen=True, slots=True)
class _Copier:
    """Copies out of the root open as ``source`` into this process's own root.

    As BuildKit: what comes from another stage keeps its owner and extended attributes, what comes from this machine
    gets one owner.
    """

    source: int
    uid: int
    gid: int
    mode: int | None
    keep_owner: bool
    keep_attributes: bool

    def match(self, source: CopySource) -> Iterable[str]:
        """The paths that a source stands for. Raises StepFailed (SOURCE_STEP) if there are none."""
        if source.pattern:
            found = sorted(self._match("", source.path.strip("/").split("/")))
        else:
            found = [source.path] if self._exists(source.path) else []
        if not found:
            raise StepFailed(Failed(SOURCE_STEP, errno.ENOENT, source.path))
        return found

    def _exists(self, path: str) -> bool:
        try:
            os.close(self._open(path, os.O_PATH))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _match(self, directory: str, parts: list[str]) -> Iterator[str]:
        pattern = parts[0].replace("[^", "[!")
        descriptor = self._open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = os.listdir(descriptor)
        finally:
            os.close(descriptor)
        for name in fnmatch.filter(names, pattern):
            path = os.path.join(directory, name)
            if len(parts) == 1:
                yield path
            elif self._is_directory(path):
                yield from self._match(path, parts[1:])

    def _open(self, path: str, flags: int) -> int:
        return mount.open_in_root(self.source, path or ".", flags)

    def _is_directory(self, path: str) -> bool:
        descriptor = self._open(path, os.O_PATH)
        try:
            return stat.S_ISDIR(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    def copy(self, path: str, source: CopySource, destination: str, *, into_directory: bool) -> None:
        """Copies a file to ``destination`` or into it, or what is in a directory into ``destination``."""
        if self._is_directory(path):
            self.make_directories(destination)
            top = self._open(path, os.O_PATH | os.O_DIRECTORY)
            try:
                for entry in self._walk(top, "") if source.entries is None else source.entries:
                    self._copy_entry(top, entry, os.path.join(destination, entry))
            finally:
                os.close(top)
            return
        if into_directory or os.path.isdir(destination):
            destination = os.path.join(destination, source.name or os.path.basename(path))
        self.make_directories(os.path.dirname(destination))
        parent = self._open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
        try:
            self._copy_entry(parent, os.path.basename(path), destination)
        finally:
            os.close(parent)

    def make_directories(self, path: str) -> None:
        """Makes the directories of ``path`` that are missing, what links in it stand for, owned as the copy is."""
        real = os.path.realpath(path)
        missing = []
        while not os.path.isdir(real):
            missing.append(real)
            real = os.path.dirname(real)
        for directory in reversed(missing):
            os.mkdir(directory, 0o755)
            os.chown(directory, self.uid, self.gid)

    def _walk(self, top: int, directory: str) -> Iterator[str]:
        descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        try:
            with os.scandir(descriptor) as found:
                entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
        finally:
            os.close(descriptor)
        for name, is_directory in entries:
            path = os.path.join(directory, name)
            yield path
            if is_directory:
                yield from self._walk(top, path)

    def _copy_entry(self, top: int, entry: str, destination: str) -> None:
        """Copies one file, link, device, or the directory alone, from below ``top``, replacing what is there."""
        status = os.stat(entry, dir_fd=top, follow_symlinks=False)
        kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
        if kind == stat.S_IFDIR:
            if not os.path.isdir(destination):
                _remove(destination)
                os.mkdir(destination)
        else:
            _remove(destination)
            if kind == stat.S_IFREG:
                self._copy_content(top, entry, destination, status.st_size)
            elif kind == stat.S_IFLNK:
                os.symlink(os.readlink(entry, dir_fd=top), destination)
            else:
                os.mknod(destination, kind, status.st_rdev)
        owner = (status.st_uid, status.st_gid) if self.keep_owner else (self.uid, self.gid)
        os.chown(destination, *owner, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            # After the owner: changing that takes set-uid bits away.
            os.chmod(destination, mode if self.mode is None else self.mode)
        if self.keep_attributes and kind == stat.S_IFREG:
            _copy_attributes(top, entry, destination)
        os.utime(destination, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)

    def _copy_content(self, top: int, entry: str, destination: str, size: int) -> None:
        source = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target = os.open(destination, flags, 0o600)
            try:
                while size > 0 and (copied := _copy_some(source, target, min(size, _COPY_CHUNK))):
                    size -= copied
            finally:
                os.close(target)
        finally:
            os.close(source)


def _copy_some(source: int, target: int, size: int) -> int:
    """Copies from one descriptor's position to the other's, inside the kernel; returns how much, 0 at the end."""
    try:
        return os.copy_file_range(source, target, size)
    except OSError as error:
        # From one file system's kind to another's the kernel knows no short cut.
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return os.sendfile(target, source, None, size)


def _copy_attributes(top: int, entry: str, destination: str) -> None:
    source = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        for name in os.listxattr(source):
            os.setxattr(destination, name, os.getxattr(source, name), follow_symlinks=False)
    finally:
        os.close(source)


def _remove(path: str) -> None:
    """Makes room for a file; a directory in its place stays, and the copy fails, as Docker's does."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
