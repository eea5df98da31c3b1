"""A container's user namespace: its root is nobody on this machine."""

from __future__ import annotations

import os

from pytest_pycontainer.kernel import namespaces
from pytest_pycontainer.runtime.failure import StepFailed, step
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.process import pid_on_this_machine
from pytest_pycontainer.runtime.spec import IdMap

_FAILED = 125


def make_user_namespace(ids: IdMap) -> int:
    """A descriptor of a new user namespace with these users and groups. Raises StepFailed."""
    with step("make a user namespace"):
        ready, ready_end = os.pipe()
        go_on_end, go_on = os.pipe()
        try:
            # Who makes one is in it and without privileges outside: it takes a process of its own.
            child = os.fork()
            if child == 0:
                _stay_in_new_namespace(ready_end, go_on_end, (ready, go_on))
            os.close(ready_end)
            ready_end = -1
            try:
                if not os.read(ready, 1):
                    raise StepFailed(Failed("make a user namespace", 0, _why_refused()))
                process = _number_on_this_machine(child)
                for name, first in (("uid_map", ids.uid), ("gid_map", ids.gid)):
                    with open(f"/proc/{process}/{name}", "w") as file:
                        file.write(f"0 {first} {ids.count}")
                return namespaces.open_of(process, namespaces.USER)
            finally:
                os.write(go_on, b"\0")
                os.waitpid(child, 0)
        finally:
            for descriptor in (ready, ready_end, go_on_end, go_on):
                if descriptor >= 0:
                    os.close(descriptor)


def _stay_in_new_namespace(ready: int, go_on: int, unused: tuple[int, int]) -> None:
    try:
        for descriptor in unused:
            os.close(descriptor)
        namespaces.unshare(namespaces.USER)
        os.write(ready, b"\0")
        os.close(ready)
        os.read(go_on, 1)
    finally:
        os._exit(_FAILED)


def _number_on_this_machine(child: int) -> int:
    pidfd = os.pidfd_open(child)
    try:
        return pid_on_this_machine(pidfd)
    finally:
        os.close(pidfd)


def _why_refused() -> str:
    with open("/proc/sys/user/max_user_namespaces") as file:
        return f"the kernel makes none (user.max_user_namespaces is {file.read().strip()})"


def enter_user_namespace(descriptor: int) -> None:
    """Makes this process root of a user namespace: all-powerful there, and nobody outside. Raises OSError."""
    namespaces.enter(descriptor, namespaces.USER)
    become_root()


def become_root() -> None:
    """In a user namespace that was just entered: this machine's root is nobody in it. Raises OSError."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
