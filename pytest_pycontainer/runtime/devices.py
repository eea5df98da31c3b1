"""The container's /proc, /sys and /dev, equal to Docker's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime.failure import step
from pytest_pycontainer.runtime.rootfs import MountPoints, open_mount_target
from pytest_pycontainer.runtime.spec import (
    OWN_NAMESPACES,
    ContainerSpec,
    DeviceNode,
    IdMap,
    Namespaces,
    SystemDirectories,
)

_TOP = ("proc", "sys", "dev")
_PLAIN = mount.NOSUID | mount.NODEV | mount.NOEXEC
_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
# What the container has its own of, and what belongs to other containers on this machine.
_OWN_DIRECTORIES = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"}
_TTY = 5  # the number of that group
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def prepare_system_directories(
    points: MountPoints,
    system: SystemDirectories,
    hierarchies: Mapping[str, str],
    shared: Namespaces = OWN_NAMESPACES,
    shared_memory: int = -1,
) -> None:
    """Mounts /proc, /sys and /dev with all that belongs below them into ``points.system``.

    ``hierarchies`` are the cgroup's, with its place in each. What is mounted shows the namespaces that this process is
    in, of which some are ``shared``; ``shared_memory`` is a detached mount for /dev/shm, if that is another
    container's. Called ahead, when there is no root yet: no image has a say in what is mounted or masked here. Raises
    StepFailed.
    """
    staging = points.system
    with step("prepare the system directories"):
        # A mount of its own, which goes with the mount namespace.
        mount.mount("pycontainer", staging, "tmpfs", _PLAIN & ~mount.NODEV, "mode=0755,size=64k")
        for name in _TOP:
            os.mkdir(os.path.join(staging, name), 0o755)
    _mount(staging, "proc", "proc", _PLAIN)
    _mount(staging, "dev", "tmpfs", mount.NOSUID | mount.STRICTATIME, "mode=755,size=65536k")
    with step("fill /dev"):
        _fill_dev(os.path.join(staging, "dev"), own=points.ids.are_all)
    _mount_terminals(staging, shared.ids, points.ids.groups)
    _mount(staging, "dev/mqueue", "mqueue", _PLAIN)
    _mount_shared_memory(staging, system.shm_bytes, shared, shared_memory)
    read_only = 0 if system.privileged else mount.RDONLY
    if points.ids.are_all or not shared.machine & namespaces.NETWORK:
        _mount(staging, "sys", "sysfs", _PLAIN | read_only)
    else:
        with step("show this machine's /sys"):  # whose network is not our user namespace's
            _show("/sys", os.path.join(staging, "sys"), _PLAIN | mount.RDONLY)
    _mount_cgroups(staging, hierarchies, read_only, shows_all=bool(shared.machine & namespaces.CGROUP))
    if system.privileged and points.ids.are_all:
        with step("copy this machine's device nodes"):
            _copy_devices("/dev", os.path.join(staging, "dev"))
    _mask(staging, system.masked_paths, system.read_only_paths)


def complete_system_directories(staging: str, spec: ContainerSpec, ids: IdMap | None) -> None:
    """Adds to what was prepared in ``staging`` what few containers have: further devices, another size of /dev/shm.

    ``ids`` say what this machine calls the container's users. Raises StepFailed.
    """
    for device in spec.devices:
        with step(f"make {device.path}"):
            _make_device(staging, device, ids)
    if spec.shm_bytes is not None:
        with step("set the size of /dev/shm"):
            flags = mount.REMOUNT | _PLAIN
            mount.mount("none", os.path.join(staging, "dev/shm"), None, flags, f"size={spec.shm_bytes}")


def move_system_directories(staging: str, root: int) -> None:
    """Moves what was prepared into the root open as ``root``. Raises StepFailed."""
    for name in _TOP:
        with step(f"mount /{name}"):
            try:
                # Never through a link: an image could point /proc elsewhere (CVE-2023-27561).
                target = mount.open_in_root(root, name, os.O_PATH | os.O_DIRECTORY, follow=False)
            except FileNotFoundError:
                target = open_mount_target(root, name, directory=True)
            try:
                mount.move(os.path.join(staging, name), f"/proc/self/fd/{target}")
            finally:
                os.close(target)


def _mount(staging: str, path: str, filesystem: str, flags: int, options: str = "", source: str = "") -> None:
    with step(f"mount /{path}"):
        mount.mount(source or filesystem, os.path.join(staging, path), filesystem, flags, options)


def _show(source: str, place: str, flags: int) -> None:
    found, target = (os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (source, place))
    tree = mount.clone_tree(found, flags)
    mount.attach(tree, target)
    for descriptor in (found, target, tree):
        os.close(descriptor)


def _mount_terminals(staging: str, ids: IdMap | None, groups: int) -> None:
    owner, group = (0, _TTY) if ids is None else ids.of_machine(0, _TTY)
    terminals = "newinstance,ptmxmode=0666,mode=0620" + (f",gid={group}" if groups > _TTY else "")
    _mount(staging, "dev/pts", "devpts", mount.NOSUID | mount.NOEXEC, terminals)
    if ids is not None:  # the kernel makes them its mounter's
        for path in ("dev/pts", "dev/pts/ptmx"):
            os.chown(os.path.join(staging, path), owner, ids.gid)


def _mount_shared_memory(staging: str, size: int | None, shared: Namespaces, tree: int) -> None:
    if size is None:
        return
    place = os.path.join(staging, "dev/shm")
    with step("make /dev/shm"):
        os.mkdir(place, 0o755)
    if shared.machine & namespaces.IPC:
        with step("show this machine's /dev/shm"):
            mount.bind("/dev/shm", place)  # noqa: S108  (it is the directory itself that is wanted)
    elif tree >= 0:
        with step("show the other container's /dev/shm"):
            target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            mount.attach(tree, target)
            os.close(target)
    else:
        _mount(staging, "dev/shm", "tmpfs", _PLAIN, f"mode=1777,size={size}", source="shm")


def _mount_cgroups(staging: str, hierarchies: Mapping[str, str], read_only: int, *, shows_all: bool) -> None:
    # The cgroup namespace makes the container's own directory the top of what it sees. Without one Docker shows the
    # same, of version 1, and of version 2 everything.
    if tuple(hierarchies) == ("cgroup2",):
        _mount(staging, "sys/fs/cgroup", "cgroup2", _PLAIN | read_only)
    elif hierarchies:
        _mount(staging, "sys/fs/cgroup", "tmpfs", _PLAIN, "mode=755")
        for hierarchy, place in hierarchies.items():
            if hierarchy != "cgroup2":  # of a hybrid machine's hierarchies, Docker shows those of version 1
                _mount_version_1(staging, hierarchy, read_only, place if shows_all else "/")
        with step("make /sys/fs/cgroup as it is to stay"):
            flags = mount.REMOUNT | mount.BIND | read_only | _PLAIN
            mount.mount("none", os.path.join(staging, "sys/fs/cgroup"), None, flags)


def _mount_version_1(staging: str, hierarchy: str, read_only: int, below: str) -> None:
    name = hierarchy.removeprefix("name=")
    with step(f"make /sys/fs/cgroup/{name}"):
        os.mkdir(os.path.join(staging, "sys/fs/cgroup", name), 0o755)
        if "," in name:
            for controller in name.split(","):
                os.symlink(name, os.path.join(staging, "sys/fs/cgroup", controller))
    _mount(staging, f"sys/fs/cgroup/{name}", "cgroup", _PLAIN | read_only, hierarchy)
    if below != "/":
        with step(f"show {below} at /sys/fs/cgroup/{name}"):
            place = os.path.join(staging, "sys/fs/cgroup", name)
            own = os.open(place + below, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            tree = mount.clone_tree(own)
            mount.detach(place)
            target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            mount.attach(tree, target)
            for descriptor in (own, tree, target):
                os.close(descriptor)


def _fill_dev(dev: str, *, own: bool) -> None:
    for name, (major, minor) in _NODES.items():
        place = os.path.join(dev, name)
        if own:
            os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        else:  # in a user namespace nobody may make any
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            mount.bind(os.path.join("/dev", name), place)
    for name, to in _LINKS.items():
        os.symlink(to, os.path.join(dev, name))
    for name in ("pts", "mqueue"):
        os.mkdir(os.path.join(dev, name), 0o755)


def _copy_devices(source: str, target: str) -> None:
    """Makes all nodes below ``source`` that are not there yet."""
    for entry in os.scandir(source):
        status = entry.stat(follow_symlinks=False)
        place = os.path.join(target, entry.name)
        if stat.S_ISDIR(status.st_mode):
            if entry.name not in _OWN_DIRECTORIES:
                os.makedirs(place, 0o755, exist_ok=True)
                _copy_devices(entry.path, place)
        elif (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)) and entry.name != "console":
            with suppress(FileExistsError):
                os.mknod(place, status.st_mode, status.st_rdev)
                os.chown(place, status.st_uid, status.st_gid)


def _make_device(staging: str, device: DeviceNode, ids: IdMap | None) -> None:
    place = staging + device.path
    os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
    with suppress(FileNotFoundError):  # as a later option takes the place of an earlier one, it does of Docker's nodes
        os.unlink(place)
    os.mknod(place, device.mode, device.device)
    owner = (device.uid, device.gid)
    os.chown(place, *(owner if ids is None else ids.of_machine(*owner)))


def _mask(staging: str, masked: Iterable[str], read_only: Iterable[str]) -> None:
    """Covers a file with our own /dev/null (CVE-2025-31133) and a directory with an empty read-only tmpfs.

    What the machine does not have needs no mask. A ``*`` stands for the rest of a name.
    """
    null = os.path.join(staging, "dev/null")
    for path in read_only:
        place = staging + path
        with step(f"make {path} read-only"), suppress(FileNotFoundError):
            mount.bind(place, place, mount.REC | mount.RDONLY | _PLAIN)
    for path in (place for each in masked for place in masked_places(staging, each)):
        place = staging + path
        with step(f"mask {path}"), suppress(FileNotFoundError):
            # Asked first: after a mount that fails the kernel waits until no CPU can have seen it.
            if stat.S_ISDIR(os.stat(place).st_mode):
                mount.mount("tmpfs", place, "tmpfs", mount.RDONLY)
            else:
                mount.mount(null, place, None, mount.BIND)


def masked_places(root: str, path: str) -> list[str]:
    """The paths that a masked path with a ``*`` in it stands for, below the directory ``root``; any other is itself."""
    before, star, after = path.partition("*")
    if not star:
        return [path]
    directory, beginning = os.path.split(before)
    try:
        names = sorted(name for name in os.listdir(root + directory) if name.startswith(beginning))
    except OSError:
        return []
    found = [os.path.join(directory, name) + after for name in names]
    return [place for place in found if os.path.lexists(root + place)]
