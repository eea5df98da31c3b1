"""Throwaway containers for pytest: the whole container runtime in Python.

The public names are imported when they are first used, so that ``import pytest_pycontainer`` costs next to nothing.
"""

import sys

# Type checkers take this name for true; typing itself would be an import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_pycontainer import errors as errors
    from pytest_pycontainer import services as services
    from pytest_pycontainer.engine import wait as wait
    from pytest_pycontainer.engine.attached import AttachedSession as AttachedSession
    from pytest_pycontainer.engine.container import Container as Container
    from pytest_pycontainer.engine.container_health import Health as Health
    from pytest_pycontainer.engine.container_process import ContainerProcess as ContainerProcess
    from pytest_pycontainer.engine.container_process import ExecResult as ExecResult
    from pytest_pycontainer.engine.disk_usage import DiskUsage as DiskUsage
    from pytest_pycontainer.engine.engine import Engine as Engine
    from pytest_pycontainer.engine.file_status import FileStatus as FileStatus
    from pytest_pycontainer.engine.image import Image as Image
    from pytest_pycontainer.engine.isolation import Capabilities as Capabilities
    from pytest_pycontainer.engine.isolation import IdMap as IdMap
    from pytest_pycontainer.engine.isolation import ProcessUser as ProcessUser
    from pytest_pycontainer.engine.keeper_messages import SharedNetwork as SharedNetwork
    from pytest_pycontainer.engine.limits_in_force import ContainerLimits as ContainerLimits
    from pytest_pycontainer.engine.listening import Listening as Listening
    from pytest_pycontainer.engine.listening import ListeningSocket as ListeningSocket
    from pytest_pycontainer.engine.networks import Network as Network
    from pytest_pycontainer.engine.process_table import ProcessInfo as ProcessInfo
    from pytest_pycontainer.engine.stats import ContainerStats as ContainerStats
    from pytest_pycontainer.engine.volumes import Volume as Volume
    from pytest_pycontainer.errors import PycontainerError as PycontainerError
    from pytest_pycontainer.fixtures import build as build
    from pytest_pycontainer.fixtures import container as container
    from pytest_pycontainer.fixtures import load as load
    from pytest_pycontainer.fixtures import network as network
    from pytest_pycontainer.fixtures import pull as pull
    from pytest_pycontainer.fixtures import snapshot as snapshot
    from pytest_pycontainer.fixtures import using as using
    from pytest_pycontainer.fixtures import volume as volume
    from pytest_pycontainer.settings import Settings as Settings
    from pytest_pycontainer.store.changes import Change as Change
    from pytest_pycontainer.store.prune import Pruned as Pruned
    from pytest_pycontainer.store.remove_image import RemovedImages as RemovedImages

__all__ = [
    "AttachedSession",
    "Capabilities",
    "Change",
    "Container",
    "ContainerLimits",
    "ContainerProcess",
    "ContainerStats",
    "DiskUsage",
    "Engine",
    "ExecResult",
    "FileStatus",
    "Health",
    "IdMap",
    "Image",
    "Listening",
    "ListeningSocket",
    "Network",
    "ProcessInfo",
    "ProcessUser",
    "Pruned",
    "PycontainerError",
    "RemovedImages",
    "Settings",
    "SharedNetwork",
    "Volume",
    "build",
    "container",
    "errors",
    "load",
    "network",
    "pull",
    "services",
    "snapshot",
    "using",
    "volume",
    "wait",
]

_MODULES = {
    "errors": "pytest_pycontainer.errors",
    "services": "pytest_pycontainer.services",
    "wait": "pytest_pycontainer.engine.wait",
}
_HOMES = {
    "AttachedSession": "pytest_pycontainer.engine.attached",
    "Capabilities": "pytest_pycontainer.engine.isolation",
    "Change": "pytest_pycontainer.store.changes",
    "Container": "pytest_pycontainer.engine.container",
    "ContainerLimits": "pytest_pycontainer.engine.limits_in_force",
    "ContainerProcess": "pytest_pycontainer.engine.container_process",
    "ContainerStats": "pytest_pycontainer.engine.stats",
    "DiskUsage": "pytest_pycontainer.engine.disk_usage",
    "Engine": "pytest_pycontainer.engine.engine",
    "ExecResult": "pytest_pycontainer.engine.container_process",
    "FileStatus": "pytest_pycontainer.engine.file_status",
    "Health": "pytest_pycontainer.engine.container_health",
    "IdMap": "pytest_pycontainer.engine.isolation",
    "Image": "pytest_pycontainer.engine.image",
    "Listening": "pytest_pycontainer.engine.listening",
    "ListeningSocket": "pytest_pycontainer.engine.listening",
    "Network": "pytest_pycontainer.engine.networks",
    "ProcessInfo": "pytest_pycontainer.engine.process_table",
    "ProcessUser": "pytest_pycontainer.engine.isolation",
    "Pruned": "pytest_pycontainer.store.prune",
    "PycontainerError": "pytest_pycontainer.errors",
    "RemovedImages": "pytest_pycontainer.store.remove_image",
    "Settings": "pytest_pycontainer.settings",
    "SharedNetwork": "pytest_pycontainer.engine.keeper_messages",
    "Volume": "pytest_pycontainer.engine.volumes",
    "build": "pytest_pycontainer.fixtures",
    "container": "pytest_pycontainer.fixtures",
    "load": "pytest_pycontainer.fixtures",
    "network": "pytest_pycontainer.fixtures",
    "pull": "pytest_pycontainer.fixtures",
    "snapshot": "pytest_pycontainer.fixtures",
    "using": "pytest_pycontainer.fixtures",
    "volume": "pytest_pycontainer.fixtures",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name in _MODULES:
        return import_module(_MODULES[name])
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(type(sys)):  # type: ignore[misc]
    """Keeps the names ``build`` and ``network`` for the factories.

    The import system sets a subpackage as an attribute of its parent, so importing anything from the room
    ``pytest_pycontainer.build`` would put that module in the factory's place.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("build", "network") or not isinstance(value, type(sys)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
