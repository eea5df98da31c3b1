"""Copying files into a root that no process runs in: Dockerfile's COPY, ADD and WORKDIR.

A child of the spawner mounts the root, makes it its own, and copies: a link in the image can lead nowhere else. The
sources are used through descriptors opened before, and resolved inside their own roots (CVE-2018-15664).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.runtime import users
from pytest_pycontainer.runtime.copy_sources import SOURCE_STEP, Entry, Filter, SourceRoot, walk
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.file_copy import copy_attributes, copy_content
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.rootfs import MountPoints, mount_root
from pytest_pycontainer.runtime.spec import CopySource, CopySpec, ModeClause
from pytest_pycontainer.runtime.values import dataclass, field

__all__ = ["SOURCE_STEP", "copy_tree", "run_copy"]

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def run_copy(spec: CopySpec, points: MountPoints) -> None:
    """Carries out ``spec`` in a process that is there for nothing else. Raises StepFailed."""
    with step("prepare the copy"):
        namespaces.unshare(namespaces.MOUNT)
        roots = [
            os.open(root, _PATH) if isinstance(root, str) else mount_root(root, points, points.source)
            for root in spec.roots
        ]
        target = mount_root(spec.rootfs, points, points.root)
        sys.path.clear()
        mount.pivot_into(target)
    _copy_all(spec, [SourceRoot(root) for root in roots], points.ids)


def _copy_all(spec: CopySpec, roots: list[SourceRoot], ids: OwnIds) -> None:
    with step(f"find the owner {spec.owner}"):
        owner = ids.owner(*_owner(spec.owner))
    if not spec.sources:
        with step(f"make {spec.destination}"):
            _make_directories(spec.destination, owner)
    with step("look for what to copy"):
        found = [(source, status) for each in spec.sources for source, status in roots[each.root].find(each)]
    into_directory = spec.destination.endswith("/") or len(found) > 1
    for source, status in found:
        with step(f"copy {source.path or '.'} to {spec.destination}"):
            # As BuildKit: what comes from another stage, or was in an archive, keeps its owner.
            keeps_owner = (source.unpacked or not isinstance(spec.roots[source.root], str)) and not spec.owner
            copier = _Copier(roots[source.root], owner, keeps_owner, None if source.unpacked else spec.mode)
            if stat.S_ISDIR(status.st_mode):
                copier.copy_directory(source, spec.destination)
            else:
                copier.copy_file(source, status, spec.destination, into_directory=into_directory)


def _owner(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    user = users.look_up(text)
    # Docker: an owner without a group brings the group of the same number.
    return user.uid, user.gid if ":" in text or not text.isdecimal() else user.uid


def _make_directories(path: str, owner: tuple[int, int]) -> str:
    """Makes the directories of ``path`` that are missing, behind links too, and returns where it really is."""
    real = os.path.realpath(path)
    missing = []
    at = real
    while not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            raise OSError(errno.ENOTDIR, f"{directory} is there and is no directory") from None
        os.chown(directory, *owner)
    return real


@dataclass(slots=True)
class _Copier:
    """Copies out of one root into this process's own. Links between the files of one source are kept."""

    root: SourceRoot
    owner: tuple[int, int]
    keeps_owner: bool
    mode: tuple[ModeClause, ...] | None
    _linked: dict[tuple[int, int], str] = field(default_factory=dict)

    def copy_file(self, source: CopySource, status: os.stat_result, destination: str, *, into_directory: bool) -> None:
        """Copies a file to ``destination``, or into it if that is a directory or is to be one."""
        if into_directory:
            _make_directories(destination, self.owner)
        real = os.path.realpath(destination)
        if os.path.isdir(real):
            real = os.path.join(real, source.name or os.path.basename(source.path))
        else:
            _make_directories(os.path.dirname(real), self.owner)
        directory, name = os.path.split(real)
        target = os.open(directory, _PATH)
        try:
            _make_room(name, target, real, replaces=source.unpacked)
            if stat.S_ISREG(status.st_mode):
                opened = self.root.open(source.path, os.O_RDONLY | os.O_NONBLOCK)
                self._copy_content(opened, name, target, status)
            else:
                self._make_special(name, target, status)
        finally:
            os.close(target)

    def copy_directory(self, source: CopySource, destination: str) -> None:
        """Copies what is in a directory into ``destination``; below that, no link is followed on either side."""
        real = _make_directories(destination, self.owner)
        top = self.root.open(source.path, _PATH)
        try:
            target = os.open(real, _PATH)
            try:
                entries: Iterable[str | Entry] = walk(top, Filter.of(source))
                if source.entries is not None:
                    entries = source.entries
                count = self._copy_entries(entries, top, target, real, replaces=source.unpacked)
            finally:
                os.close(target)
        finally:
            os.close(top)
        if source.required and not count:
            raise StepFailed(Failed(SOURCE_STEP, errno.ENOENT, source.name))

    def _copy_entries(
        self, entries: Iterable[str | Entry], top: int, target_top: int, destination: str, *, replaces: bool
    ) -> int:
        count = 0
        directories: list[tuple[str, os.stat_result]] = []
        here, source, target = "", top, target_top
        try:
            for count, entry in enumerate(entries, 1):  # noqa: B007
                path = entry if isinstance(entry, str) else entry.path
                above, _, name = path.rpartition("/")
                if above != here:
                    if here:
                        os.close(source)
                        os.close(target)
                    here, source, target = "", top, target_top
                    if above:
                        source, target = _open_both(top, target_top, above)
                        here = above
                status = os.stat(name, dir_fd=source, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    _make_directory(name, target, f"{destination}/{path}", replaces=replaces)
                    directories.append((path, status))
                else:
                    self._copy_entry(name, source, target, status, f"{destination}/{path}", replaces=replaces)
        finally:
            if here:
                os.close(source)
                os.close(target)
        # At the end, inner ones first: what is put into a directory changes its time.
        for path, status in reversed(directories):
            directory = mount.open_in_root(target_top, path, os.O_RDONLY | os.O_DIRECTORY, follow=False)
            try:
                self._finish(directory, status)
            finally:
                os.close(directory)
        return count

    def _copy_entry(
        self, name: str, source: int, target: int, status: os.stat_result, shown: str, *, replaces: bool
    ) -> None:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            return  # it is of use to nobody but the process that listens on it
        if kind == stat.S_IFREG:
            try:
                if not self._link(name, target, status):
                    self._copy_content(os.open(name, _READ, dir_fd=source), name, target, status)
            except FileExistsError:
                _make_room(name, target, shown, replaces=replaces)
                self._copy_entry(name, source, target, status, shown, replaces=replaces)
                return
            if status.st_nlink > 1:
                self._linked.setdefault((status.st_dev, status.st_ino), shown)
            return
        _make_room(name, target, shown, replaces=replaces)
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, *self._owner_of(status), dir_fd=target, follow_symlinks=False)
            os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)
        else:
            self._make_special(name, target, status)

    def _link(self, name: str, target: int, status: os.stat_result) -> bool:
        if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in self._linked:
            return False
        first = self._linked[status.st_dev, status.st_ino]
        os.link(first, name, dst_dir_fd=target, follow_symlinks=False)
        return True

    def _copy_content(self, source: int, name: str, target: int, status: os.stat_result) -> None:
        """Makes the file ``name`` of what is open as ``source``, which it closes."""
        try:
            copy = os.open(name, _NEW, 0o600, dir_fd=target)
            try:
                copy_content(source, copy, status.st_size)
                self._finish(copy, status, source)
            finally:
                os.close(copy)
        finally:
            os.close(source)

    def _make_special(self, name: str, target: int, status: os.stat_result) -> None:
        if stat.S_ISSOCK(status.st_mode):
            raise OSError(errno.EINVAL, "it is a socket, which can't be copied")
        os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=target)
        os.chown(name, *self._owner_of(status), dir_fd=target, follow_symlinks=False)
        os.chmod(name, self._mode_of(status), dir_fd=target)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)

    def _finish(self, copy: int, status: os.stat_result, source: int | None = None) -> None:
        """Owner, mode, attributes, times: in this order, as the first takes set-uid bits and capabilities away."""
        os.fchown(copy, *self._owner_of(status))
        os.fchmod(copy, self._mode_of(status))
        if source is not None:
            copy_attributes(source, copy)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _owner_of(self, status: os.stat_result) -> tuple[int, int]:
        return (status.st_uid, status.st_gid) if self.keeps_owner else self.owner

    def _mode_of(self, status: os.stat_result) -> int:
        mode = stat.S_IMODE(status.st_mode)
        return mode if self.mode is None else changed_mode(mode, self.mode, stat.S_ISDIR(status.st_mode))


def _open_both(source_top: int, target_top: int, path: str) -> tuple[int, int]:
    source = mount.open_in_root(source_top, path, _PATH, follow=False)
    try:
        return source, mount.open_in_root(target_top, path, _PATH, follow=False)
    except OSError:
        os.close(source)
        raise


def _make_directory(name: str, target: int, shown: str, *, replaces: bool) -> None:
    """Makes a directory unless one is there already."""
    try:
        os.mkdir(name, 0o755, dir_fd=target)
    except FileExistsError:
        if stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
            return
        if not replaces:
            raise OSError(errno.ENOTDIR, f"{shown} is there and is no directory") from None
        os.unlink(name, dir_fd=target)
        os.mkdir(name, 0o755, dir_fd=target)


def _make_room(name: str, target: int, shown: str, *, replaces: bool) -> None:
    """Removes a file that is in the way of another, and with ``replaces`` a directory too."""
    try:
        os.unlink(name, dir_fd=target)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        if not replaces:
            raise OSError(errno.EISDIR, f"{shown} is a directory, and stays one") from None
        remove_tree(shown)


def copy_tree(source: int, target: str) -> None:
    """Copies what is in the directory open as ``source`` into the new directory ``target``; sockets are left out.

    Owners, modes, attributes, times and links between files are kept; no link is followed. Raises OSError.
    """
    status = os.fstat(source)
    owner = status.st_uid, status.st_gid
    _Copier(SourceRoot(source), owner, keeps_owner=True, mode=None).copy_directory(CopySource("."), target)


def changed_mode(mode: int, clauses: Iterable[ModeClause], is_directory: bool) -> int:
    """What chmod makes of a mode (POSIX chmod, "Extended Description"; X looks at the mode as it was at first)."""
    executable = is_directory or bool(mode & 0o111)
    for clause in clauses:
        bits = clause.bits | (0o111 if clause.execute and executable else 0)
        for whose in clause.copied:
            bits |= (mode >> "ogu".index(whose) * 3 & 0o7) * 0o111
        bits &= clause.who
        if clause.operator == "-":
            mode &= ~bits
        elif clause.operator == "+":
            mode |= bits
        else:
            mode = mode & ~clause.who | bits
    return mode
