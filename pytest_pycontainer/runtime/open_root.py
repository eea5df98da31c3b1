"""Mounting a root that no process runs in, for somebody who is to read and write its files."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from pytest_pycontainer.kernel import mount, namespaces
from pytest_pycontainer.runtime import messages
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.mounts import attach_mounts
from pytest_pycontainer.runtime.process import close_all_but
from pytest_pycontainer.runtime.rootfs import MountPoints, mount_root

_FAILED = 125


def run_open_root(request: messages.OpenRoot, answer: socket.socket, points: MountPoints) -> NoReturn:
    """Mounts the root in a child made for it; ``Done`` with its descriptor, or ``Failed``, goes out on ``answer``.

    The mounts of this process's namespace go with it; what the descriptor stands for is detached from all.
    """
    code = _FAILED
    try:
        close_all_but([answer.fileno()])
        os.umask(0)
        with step("mount the root"):
            namespaces.unshare(namespaces.MOUNT)
            root = mount_root(request.rootfs, points, points.root)
        attach_mounts(root, request.mounts, points)
        with step("detach the root"):
            tree = mount.clone_tree(root)
        messages.send(answer, messages.Done(), [tree])
        code = 0
    except StepFailed as failure:
        messages.send(answer, failure.failed)
    finally:
        os._exit(code)
