"""The mounter: mounts for an init that is in a user namespace, and so has no rights to this machine's files.

It is a process in the container's PID namespace with this machine's rights. In a mount namespace of its own it shows
itself the store's directories as the container's users are to see them, so that nothing on disk is ever changed; mounts
the whole root as init does for other containers; hands it to init as one detached tree; and is gone before the command
runs.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from typing import NoReturn

from pytest_pycontainer.kernel import credentials, mount, namespaces
from pytest_pycontainer.runtime import cgroups, messages
from pytest_pycontainer.runtime.devices import prepare_system_directories
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.process import adjust_oom_score, pid_on_this_machine, raise_hard_limits
from pytest_pycontainer.runtime.root import mount_whole_root
from pytest_pycontainer.runtime.rootfs import MountPoints
from pytest_pycontainer.runtime.spec import ContainerSpec, IdMap, Rootfs, VolumeMount

_FAILED = 125
_INIT = 1  # in the PID namespace of both
# What they show of init's. Its mount namespace is empty and not to be looked into.
_JOINED = namespaces.NETWORK | namespaces.IPC | namespaces.CGROUP


def run_mounter(
    channel: socket.socket, init: int, user_namespace: int, request: messages.Prepare, points: MountPoints
) -> NoReturn:
    """Serves the init of the pidfd ``init`` over ``channel``: ``Created`` and ``Launch`` come in.

    The latter is answered with ``Done`` and a descriptor of the root, or with ``Failed``.
    """
    ids = request.namespaces.ids
    assert ids is not None
    try:
        os.umask(0)
        with step("mount for the container's users"):
            hierarchies = cgroups.joined(request.place.cgroup, pid_on_this_machine(init))
        if messages.receive(channel) is None:
            os._exit(_FAILED)  # init has ended
        with step("mount for the container's users"):
            namespaces.enter(init, _JOINED)
            namespaces.unshare(namespaces.MOUNT)
            credentials.make_files_as(ids.uid, ids.gid)
        prepare_system_directories(points, request.system, hierarchies, request.namespaces)
        received = messages.receive(channel)
        if received is None:
            os._exit(_FAILED)
        launch, _ = received
        assert isinstance(launch, messages.Launch)
        adjust_oom_score(launch.spec.process, pid_on_this_machine(init))
        raise_hard_limits(launch.spec.process, _INIT)
        messages.send(channel, messages.Done(), [_mount(launch, ids, user_namespace, points)])
    except StepFailed as failure:
        _tell_failed(channel, failure.failed)
    except Exception as error:  # noqa: BLE001  (nobody else would tell of it)
        _tell_failed(channel, messages.Failed("mount for the container's users", 0, repr(error)))
    finally:
        os._exit(0)


def _tell_failed(channel: socket.socket, failed: messages.Failed) -> None:
    messages.tell(channel, failed)
    # What is said to an end that was closed without listening takes with it what that has said.
    while messages.receive(channel) is not None:
        pass


def _mount(launch: messages.Launch, ids: IdMap, user_namespace: int, points: MountPoints) -> int:
    spec = launch.spec
    with step("show the container's users its files"):
        try:
            _map_directories(spec, user_namespace)
            if spec.rootfs.host:
                points.map_host(user_namespace)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            detail = f"{error.strerror}: a user namespace needs idmapped mounts, of overlayfs's layers (Linux 5.19)"
            detail += " and of tmpfs (Linux 6.3)" if spec.rootfs.host else ""
            raise StepFailed(messages.Failed("show the container's users its files", error.errno, detail)) from error
    root = mount_whole_root(spec, points, ids=ids, again=launch.again)
    with step("hand over the root"):
        return mount.clone_tree(root, propagation=0)


def _map_directories(spec: ContainerSpec, user_namespace: int) -> None:
    """Puts over each directory of the store that is needed a mount of it that is mapped."""
    volumes = [one.directory for one in spec.mounts if isinstance(one, VolumeMount)]
    mapped: list[str] = []
    for path in sorted({*_parents(spec.rootfs), *volumes}):
        if any(path.startswith(f"{above}/") for above in mapped):
            continue  # the kernel maps no mount a second time
        mapped.append(path)
        mount.show_mapped(path, path, user_namespace)


def _parents(rootfs: Rootfs) -> Iterable[str]:
    # Of upper and work too: the kernel wants them on one mount.
    upper = () if rootfs.upper is None else (rootfs.upper,)
    return {os.path.dirname(path) for path in (*rootfs.layers, *upper)}
