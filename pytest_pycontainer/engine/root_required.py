"""What containers of an ordinary user can't have: said before anything is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.namespace_modes import HOST, PRIVATE
from pytest_pycontainer.errors import RootRequiredError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.launch import Plan


def refuse_what_takes_root(plan: Plan) -> None:
    """Raises RootRequiredError for the first option of ``plan`` that the kernel gives to this machine's root alone."""
    for option, value, reason in _taking_root(plan):
        raise RootRequiredError(option, value, reason)


def _taking_root(plan: Plan) -> Iterator[tuple[str, str, str]]:
    modes = plan.namespaces
    if modes.userns != HOST:
        yield "userns", modes.userns, "they are in a user namespace already, and files can't be shown in another one"
    if modes.pid != PRIVATE:
        yield "pid", modes.pid, "who has entered another PID namespace could not come back"
    if modes.ipc == HOST:
        yield "ipc", modes.ipc, "message queues are shown to who has rights over their namespace"
    for node in plan.devices.nodes:
        yield "devices", node.path, "nobody in a user namespace may make a device node"
    for rule in plan.devices.rules:
        yield "device_cgroup_rules", str(rule), "the kernel takes no rules of theirs, nor do they have nodes"
