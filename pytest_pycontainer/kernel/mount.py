"""Mounts, and paths resolved inside a root (``man 2 mount``, ``man 2 open_tree``, ``man 2 openat2``)."""

from __future__ import annotations

import ctypes
import errno
import os

from pytest_pycontainer.kernel import libc
from pytest_pycontainer.kernel.path_walk import walk_in_root

RDONLY = 0x1
NOSUID = 0x2
NODEV = 0x4
NOEXEC = 0x8
REMOUNT = 0x20
BIND = 0x1000
_MOVE = 0x2000
REC = 0x4000
PRIVATE = 0x40000
SLAVE = 0x80000
STRICTATIME = 0x1000000

_MNT_DETACH = 0x2
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 0x1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_IDMAP = 0x00100000
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_IN_ROOT = 0x10
_ATTEMPTS = 8
_PROC_SUPER_MAGIC = 0x9FA0
_STATFS_BYTES = 256  # more than struct statfs has


def mount(source: str, target: str, filesystem: str | None, flags: int = 0, options: str = "") -> None:
    """``mount(2)``. ``options`` is the file system's own comma-separated text, at most a page."""
    libc.call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(filesystem) if filesystem is not None else None,
        ctypes.c_ulong(flags),
        os.fsencode(options) if options else None,
    )


def set_propagation(target: str, flags: int) -> None:
    """Makes ``target`` and everything below it PRIVATE or SLAVE."""
    mount("none", target, None, flags | REC)


def bind(source: str, target: str, flags: int = 0) -> None:
    """Shows ``source`` at ``target``; ``flags`` other than REC need a second call, as the kernel ignores them here."""
    mount(source, target, None, BIND | (flags & REC))
    if flags & ~REC:
        mount("none", target, None, BIND | REMOUNT | (flags & ~REC))


def make_read_only(target: str) -> None:
    """Lets nothing be written through the mount on ``target``; what is mounted below it stays as it is."""
    mount("none", target, None, BIND | REMOUNT | RDONLY)


def move(source: str, target: str) -> None:
    """Moves the mount on ``source``, with all below it, to ``target``."""
    mount(source, target, None, _MOVE)


def detach(target: str) -> None:
    """Takes a mount out of the tree at once; the kernel frees it when nobody uses it any more."""
    libc.call("umount2", os.fsencode(target), _MNT_DETACH)


def pivot_into(root: int) -> None:
    """Makes the mount open as ``root`` the process's root and lets go of the old one.

    Both arguments of ``pivot_root`` are the new root, so that no directory is needed for the old one: it is left
    stacked on top and detached (``man 2 pivot_root``, NOTES).
    """
    os.fchdir(root)
    libc.syscall("pivot_root", b".", b".")
    detach(".")
    os.chdir("/")


def open_in_root(root: int, path: str, flags: int, *, follow: bool = True) -> int:
    """Opens ``path`` as a process whose root directory is ``root`` would, never leaving it.

    Absolute links and ``..`` stay inside; magic links are refused (``man 2 openat2``, RESOLVE_IN_ROOT, Linux 5.6). With
    ``follow=False`` any symbolic link on the way is refused with ELOOP. Returns a close-on-exec descriptor.
    """
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if follow else _RESOLVE_NO_SYMLINKS)
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_ATTEMPTS):
        try:
            return libc.syscall("openat2", root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        except OSError as error:
            # The kernel answers so when something was renamed or mounted anywhere while a ".." was resolved; and
            # always, when it has followed an absolute link in a mount that is in no namespace, before it.
            if error.errno != errno.EAGAIN:
                raise
    return walk_in_root(root, path, flags, follow=follow)


def clone_tree(descriptor: int, flags: int = 0, propagation: int = PRIVATE) -> int:
    """A detached mount of the directory, file or socket open as ``descriptor``, for ``attach`` (Linux 5.12).

    What is mounted below comes along. ``flags`` (RDONLY, NOSUID, NODEV, NOEXEC) hold for all of it. What is mounted on
    either side later does not show on the other, but with SLAVE as ``propagation`` what is mounted on the original
    shows here; with 0 each stays as it is. It goes when the descriptor that this returns is closed before.
    """
    how = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE | _AT_EMPTY_PATH
    tree = libc.syscall("open_tree", descriptor, b"", how)
    try:
        _set_attributes(tree, flags, propagation, _AT_RECURSIVE)
    except OSError:
        os.close(tree)
        raise
    return tree


def show_mapped(source: str, target: str, user_namespace: int) -> None:
    """Shows the directory ``source`` at ``target``, which may be itself, without what is mounted below.

    Files of user n there belong, seen there, to whom ``user_namespace`` calls n (``man 2 mount_setattr``,
    MOUNT_ATTR_IDMAP, Linux 5.12; more file systems can do it since). Raises OSError, EINVAL where it can't be done.
    """
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (source, target)]
    try:
        how = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_EMPTY_PATH
        opened.append(libc.syscall("open_tree", opened[0], b"", how))
        _set_attributes(opened[2], _MOUNT_ATTR_IDMAP, PRIVATE, user_namespace=user_namespace)
        attach(opened[2], opened[1])
    finally:
        for descriptor in opened:
            os.close(descriptor)


def attach(tree: int, target: int) -> None:
    """Mounts what ``clone_tree`` made on the directory or file open as ``target``."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    libc.syscall("move_mount", tree, b"", target, b"", flags)


def is_proc(descriptor: int) -> bool:
    """Whether what is open as ``descriptor`` lies on a proc file system (``man 2 fstatfs``)."""
    status = ctypes.create_string_buffer(_STATFS_BYTES)
    libc.call("fstatfs", descriptor, status)
    return ctypes.c_long.from_buffer(status).value == _PROC_SUPER_MAGIC


def clone_read_only(path: str) -> int:
    """A descriptor of ``path`` through a detached mount that can't be written through (Linux 5.12).

    Whatever opens that file by way of /proc/PID/exe meets a read-only file system (CVE-2019-5736).
    """
    tree = libc.syscall("open_tree", _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC)
    try:
        _set_attributes(tree, _MOUNT_ATTR_RDONLY)
    except OSError:
        os.close(tree)
        raise
    return tree


def _set_attributes(tree: int, flags: int, propagation: int = 0, how: int = 0, *, user_namespace: int = 0) -> None:
    # MOUNT_ATTR_* up to NOEXEC are the numbers of mount(2)'s flags.
    attributes = (ctypes.c_uint64 * 4)(flags, 0, propagation, user_namespace)
    libc.syscall("mount_setattr", tree, b"", _AT_EMPTY_PATH | how, ctypes.byref(attributes), ctypes.sizeof(attributes))
