"""What can be said of a container's options before there is an image, or an engine: when a fixture is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.planning import plan_container
from pytest_pycontainer.engine.readiness import parse_wait
from pytest_pycontainer.image.config import ImageConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_pycontainer.engine.options import ContainerOptions

# Those whose meaning neither the image, nor the machine, nor what is there when the container is made decides. Others
# need a path to be there, a device, so many processors, or each other.
_SURE: Final = {
    *("cap_add", "cap_drop", "env", "group_add", "hostname", "init", "labels", "log_opt", "memory", "name", "network"),
    *("pids_limit", "ports", "read_only", "restart", "shm_size", "stdin_open", "stdin_once", "stop_signal"),
    *("stop_timeout", "tmpfs", "tty", "ulimits", "user", "workdir"),
}


def check_options(command: arguments.Command | None, options: Mapping[str, Any]) -> None:
    """Raises InvalidSpecError for what makes no sense for any container; what is not sure yet is left to its making."""
    sure = cast("ContainerOptions", {name: value for name, value in options.items() if name in _SURE})
    image = Image("", "any", ImageConfig(architecture="", os="", cmd=("true",)))
    plan_container((), image, command, sure)
    if (timeout := options.get("timeout")) is not None:
        arguments.parse_seconds(timeout)
    parse_wait(options.get("wait"))
