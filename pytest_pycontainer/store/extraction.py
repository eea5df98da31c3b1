"""A layer's entries made into files, inside one directory and as overlayfs wants them.

An archive is hostile ground (CVE-2018-15664 and its kin). Every name is taken apart and checked; the directory that it
lies in is opened by the kernel inside the layer without following any link, and all that is done is done in that
directory, through its descriptor, to a single name.

Deletions become overlayfs's marks (OCI image-spec, "Whiteouts"; Documentation/filesystems/overlayfs): ``.wh.x`` a
character device 0:0 named x, ``.wh..wh..opq`` an attribute of its directory.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import LayerLimitError, StoreError
from pytest_pycontainer.kernel.mount import open_in_root
from pytest_pycontainer.kernel.removal import remove_tree
from pytest_pycontainer.store import tar
from pytest_pycontainer.store.entries import WHITEOUT, check_numbers, invalid, parts_of, shown
from pytest_pycontainer.store.files import reason
from pytest_pycontainer.store.owners import Owners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from pytest_pycontainer.errors import PycontainerError

_OPAQUE = b".wh..wh..opq"
_OWN_OF_AUFS = b".wh..wh."
# Overlayfs's own notes, and a label that belongs to this machine's security policy, are no part of a layer.
_LOCAL_ATTRIBUTES = ("trusted.overlay.", "user.overlay.", "security.selinux")

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {tar.CHARACTER_DEVICE: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
_PERMISSIONS = 0o7777
_DEFAULT_MODE = 0o755

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
# What the kernel says of a name that no file can have, rather than of the disk.
_ANSWERS_TO_BAD_ENTRIES = {
    errno.ELOOP: "a symbolic link stands where a directory should be",
    errno.ENOTDIR: "a file stands where a directory should be",
    errno.ENAMETOOLONG: "a name in it is too long",
    errno.EMLINK: "it has more links than a file can have",
    errno.EFBIG: "it is larger than a file can be",
    errno.E2BIG: "an extended attribute of it is too large",
    errno.ERANGE: "the name of an extended attribute of it is too long",
    errno.EINVAL: "the file system does not take it",
    errno.EILSEQ: "the file system does not take its name",
}


class Extraction:
    """Extracts a tar archive's entries into ``top``, an empty directory; a context manager and a tar.Receiver.

    ``deletions`` says whether it may have those of a layer. ``replacing``, if set, is called before something makes
    room for a later entry, with its path. Raises LayerInvalidError for an entry that has no place in a layer,
    StoreError where the disk refuses.
    """

    def __init__(self, top: Path, entries_at_most: int, *, deletions: bool = True) -> None:
        self.replacing: Callable[[bytes], None] | None = None
        self._path = top
        self._owners = Owners()
        self._deletions = deletions
        self._entries_left = self._entries_at_most = entries_at_most
        self._entry: tar.Entry | None = None
        self._file = -1
        self._segments: Iterator[tuple[int, int]] | None = None
        self._segment_left = 0
        self._directory = b""
        # Set when all is extracted: what is put into a directory changes its time, and may need its permissions.
        self._directories: dict[bytes, tuple[int, int]] = {}

    def __enter__(self) -> Extraction:
        self._top = os.open(self._path, _PATH)
        self._parent = self._top
        self._path.chmod(_DEFAULT_MODE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close_file()
        self._leave_directory()
        os.close(self._top)

    # tar.Receiver

    def begin(self, entry: tar.Entry) -> None:
        self._entry = entry
        self._entries_left -= 1
        if self._entries_left < 0:
            raise LayerLimitError(f"it has more than {self._entries_at_most} entries", "layer_entries")
        check_numbers(entry)
        parts = parts_of(entry.name, entry.name)
        try:
            self._extract(entry, parts)
        except OSError as problem:
            raise self._explained(problem) from problem

    def content(self, piece: memoryview) -> None:
        if self._file < 0:
            return  # a deletion's, which means nothing
        try:
            if self._segments is None:
                self._write(piece)
            else:
                self._write_segments(piece, self._segments)
        except OSError as problem:
            raise self._explained(problem) from problem

    def end(self) -> None:
        entry = self._entry
        if self._file < 0 or entry is None:
            return
        try:
            if entry.segments is not None:
                os.truncate(self._file, entry.real_size)
            # Before the mode and attributes, some of which it takes away.
            os.fchown(self._file, *self._owners.of(entry))
            os.fchmod(self._file, entry.mode & _PERMISSIONS)
            if entry.attributes:
                _set_attributes(entry, self._file)
            os.utime(self._file, ns=(entry.mtime, entry.mtime))
        except OSError as problem:
            raise self._explained(problem) from problem
        self._close_file()

    def finish(self) -> None:
        """Gives the directories their modes and times, inner ones first, when all entries have been extracted."""
        self._entry = None
        try:
            for path, (mode, mtime) in reversed(self._directories.items()):
                self._complete_directory(path, mode, mtime)
        except OSError as problem:
            raise self._explained(problem) from problem

    def _complete_directory(self, path: bytes, mode: int, mtime: int) -> None:
        try:
            directory = open_in_root(self._top, os.fsdecode(path) or ".", _READ_DIRECTORY, follow=False)
        except OSError as problem:
            if problem.errno in _GONE:
                return  # a later entry has taken its place, or that of one above it
            raise
        try:
            os.fchmod(directory, mode)
            os.utime(directory, ns=(mtime, mtime))
        finally:
            os.close(directory)

    def _extract(self, entry: tar.Entry, parts: list[bytes]) -> None:
        if not parts:
            self._extract_top(entry)
            return
        *above, name = parts
        self._enter(b"/".join(above))
        if name.startswith(WHITEOUT):
            if not self._deletions:
                raise invalid(entry.name, "its name is that of a deletion, which is for images' layers")
            self._mark_deletion(name)
            return
        match entry.kind:
            case tar.REGULAR:
                self._begin_file(entry, name)
            case tar.DIRECTORY:
                self._extract_directory(entry, b"/".join(parts))
            case tar.LINK:
                self._extract_link(entry, name)
            case _:
                self._extract_other(entry, name)

    # Directories

    def _enter(self, directory: bytes) -> None:
        """Makes ``directory``, made with its parents if it is not there, the one that names are in from now on."""
        if directory == self._directory:
            return
        self._leave_directory()
        if not directory:
            return
        try:
            self._parent = self._open(directory)
        except OSError as problem:
            if problem.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            self._make_directories(directory)
            self._parent = self._open(directory)
        self._directory = directory

    def _leave_directory(self) -> None:
        if self._parent != self._top:
            os.close(self._parent)
        self._parent, self._directory = self._top, b""

    def _open(self, directory: bytes) -> int:
        return open_in_root(self._top, os.fsdecode(directory), _PATH, follow=False)

    def _make_directories(self, directory: bytes) -> None:
        parts = directory.split(b"/")
        for depth in range(len(parts)):
            self._enter(b"/".join(parts[:depth]))
            if self._make_directory(parts[depth]):
                self._set_default_mode(parts[depth])
        self._leave_directory()

    def _make_directory(self, name: bytes) -> bool:
        """Makes a directory unless it is there, and says whether it did. One in place of a deletion is opaque."""
        try:
            os.mkdir(name, _DEFAULT_MODE, dir_fd=self._parent)
        except FileExistsError:
            if not self._is_whiteout(name):
                return False
            os.unlink(name, dir_fd=self._parent)
            os.mkdir(name, _DEFAULT_MODE, dir_fd=self._parent)
            os.setxattr(self._reach(name), self._owners.opaque_attribute, b"y", follow_symlinks=False)
        return True

    def _set_default_mode(self, name: bytes) -> None:
        # The umask, which has been taken off, is the whole process's: no thread can set it aside.
        os.chmod(self._reach(name), _DEFAULT_MODE)  # noqa: PTH101  (Path knows no bytes)

    def _extract_top(self, entry: tar.Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise invalid(entry.name, "it stands for the root, and is no directory")
        self._leave_directory()
        self._finish_directory(entry, b"/proc/self/fd/%d" % self._top, b"")

    def _extract_directory(self, entry: tar.Entry, path: bytes) -> None:
        name = path.rpartition(b"/")[2]
        if not self._make_directory(name) and not stat.S_ISDIR(self._status(name).st_mode):
            self._remove(name)
            self._make_directory(name)
        self._finish_directory(entry, self._reach(name), path)

    def _finish_directory(self, entry: tar.Entry, reached: bytes, path: bytes) -> None:
        # A magic link leads to the top itself; below, the name is looked at without following a link.
        os.chown(reached, *self._owners.of(entry), follow_symlinks=not path)
        _set_attributes(entry, reached, follow=not path)
        self._directories[path] = (entry.mode & _PERMISSIONS, entry.mtime)

    # Deletions

    def _mark_deletion(self, name: bytes) -> None:
        if name == _OPAQUE:
            os.setxattr(b"/proc/self/fd/%d" % self._parent, self._owners.opaque_attribute, b"y")
            return
        if name.startswith(_OWN_OF_AUFS):
            return  # notes of the file system that invented whiteouts
        deleted = name.removeprefix(WHITEOUT)
        if deleted in (b"", b".", b".."):
            raise invalid(name, "it deletes no file")
        try:
            os.mknod(deleted, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self._parent)
        except FileExistsError:
            # A deletion is of what lies below: what this layer has stays, and hides a file; a directory has to be told.
            if stat.S_ISDIR(self._status(deleted).st_mode):
                os.setxattr(self._reach(deleted), self._owners.opaque_attribute, b"y", follow_symlinks=False)

    # Everything else

    def _begin_file(self, entry: tar.Entry, name: bytes) -> None:
        try:
            self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=self._parent)
        except FileExistsError:
            self._remove(name)
            self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=self._parent)
        self._segments = None if entry.segments is None else iter(entry.segments)
        self._segment_left = 0

    def _extract_link(self, entry: tar.Entry, name: bytes) -> None:
        target = parts_of(entry.link, entry.name)
        if not target:
            raise invalid(entry.name, "it is a hard link to the root")
        directory = b"/".join(target[:-1])
        try:
            source = self._open(directory) if directory else os.dup(self._top)
            try:
                if not self._is_same(target[-1], source, name):
                    self._link(target[-1], source, name)
            finally:
                os.close(source)
        except FileNotFoundError:
            raise invalid(entry.name, f"it is a hard link to {shown(entry.link)}, which is not there") from None
        except PermissionError:
            raise invalid(entry.name, f"it is a hard link to {shown(entry.link)}, a directory") from None

    def _link(self, target: bytes, source: int, name: bytes) -> None:
        try:
            os.link(target, name, src_dir_fd=source, dst_dir_fd=self._parent, follow_symlinks=False)
        except FileExistsError:
            self._remove(name)
            os.link(target, name, src_dir_fd=source, dst_dir_fd=self._parent, follow_symlinks=False)

    def _is_same(self, target: bytes, source: int, name: bytes) -> bool:
        found = os.stat(target, dir_fd=source, follow_symlinks=False)
        try:
            return os.path.samestat(found, self._status(name))
        except FileNotFoundError:
            return False

    def _extract_other(self, entry: tar.Entry, name: bytes) -> None:
        if entry.kind in (tar.CHARACTER_DEVICE, tar.BLOCK_DEVICE) and not self._owners.may_make_devices:
            return  # nor could one in a container be used
        try:
            self._make_other(entry, name)
        except FileExistsError:
            self._remove(name)
            self._make_other(entry, name)
        os.chown(name, *self._owners.of(entry), dir_fd=self._parent, follow_symlinks=False)
        if entry.kind != tar.SYMBOLIC_LINK:
            os.chmod(self._reach(name), entry.mode & _PERMISSIONS)  # noqa: PTH101  (Path knows no bytes)
        _set_attributes(entry, self._reach(name), follow=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=self._parent, follow_symlinks=False)

    def _make_other(self, entry: tar.Entry, name: bytes) -> None:
        if entry.kind == tar.SYMBOLIC_LINK:
            if not entry.link:
                raise invalid(entry.name, "it is a symbolic link to nothing")
            os.symlink(entry.link, name, dir_fd=self._parent)
        else:
            os.mknod(name, _SPECIAL[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=self._parent)

    def _is_whiteout(self, name: bytes) -> bool:
        status = self._status(name)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    def _status(self, name: bytes) -> os.stat_result:
        return os.stat(name, dir_fd=self._parent, follow_symlinks=False)

    def _reach(self, name: bytes) -> bytes:
        """A path to what is called ``name`` in the present directory, for calls that know no descriptors."""
        return b"/proc/self/fd/%d/%b" % (self._parent, name)

    def _remove(self, name: bytes) -> None:
        """Makes room for an entry: a later one takes an earlier one's place."""
        if self.replacing is not None:
            self.replacing(self._directory + b"/" + name if self._directory else name)
        if stat.S_ISDIR(self._status(name).st_mode):
            remove_tree(os.fsdecode(self._reach(name)))
        else:
            os.unlink(name, dir_fd=self._parent)

    def _write_segments(self, piece: memoryview, segments: Iterator[tuple[int, int]]) -> None:
        while piece:
            if not self._segment_left:
                offset, self._segment_left = next(segments)  # they are as long as the content: the reader has checked
                os.lseek(self._file, offset, os.SEEK_SET)
            part = piece[: self._segment_left]
            self._write(part)
            self._segment_left -= len(part)
            piece = piece[len(part) :]

    def _write(self, piece: memoryview) -> None:
        while piece:
            piece = piece[os.write(self._file, piece) :]

    def _close_file(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _explained(self, problem: OSError) -> PycontainerError:
        """The error for what the kernel has answered: the entry's fault, or the disk's."""
        entry = self._entry.name if self._entry else b""
        if problem.errno in _ANSWERS_TO_BAD_ENTRIES:
            return invalid(entry, _ANSWERS_TO_BAD_ENTRIES[problem.errno])
        return StoreError(f"extract {os.fsdecode(entry)!r:.300} into", str(self._path), reason(problem))


def _set_attributes(entry: tar.Entry, target: int | bytes, *, follow: bool = True) -> None:
    for name, value in entry.attributes.items():
        if name.startswith(_LOCAL_ATTRIBUTES):
            continue
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=follow)
        except OSError as problem:
            # Where the store's file system has none of that kind, as tmpfs, an image is still of use without. And EPERM
            # says that only files and directories have those of users, or that we are in a user namespace.
            if problem.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
