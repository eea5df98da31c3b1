"""Hooks that a plugin, or a conftest.py, may implement to have a part in the containers of a run.

They are called in the process that has the engine, under pytest-xdist thus in each worker that uses containers. Those
of every conftest.py are called for all containers of the run, wherever the test lies. A hook may leave out arguments
that it does not need. An error that it raises is raised by the call that it was part of, a fixture's set-up or a test's
call, with a note that names the hook; a container whose start it was part of is removed then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from typing import Any

    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.display import Display
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.engine.extensions import ContainerRequest, Extensions
    from pytest_pycontainer.engine.wait import Wait
    from pytest_pycontainer.settings import Settings


def pytest_pycontainer_before_create(config: pytest.Config, container_request: ContainerRequest) -> None:
    """A container is about to be made: its ``image``, ``command`` and ``options`` may be changed.

    Called before the image is looked for, in the thread that asked for the container.
    """


def pytest_pycontainer_after_start(config: pytest.Config, container: Container) -> None:
    """A container was started, for the first time or again; nobody has waited for it yet.

    Called in the thread that started it. One that another process, or its restart policy, starts is not told.
    """


def pytest_pycontainer_ready(config: pytest.Config, container: Container) -> None:
    """A container is what its ``wait`` is for, and about to be handed to whoever asked for it.

    Called in the thread that asked for it, once for each container that ``run``, a fixture or a service has started.
    """


def pytest_pycontainer_before_remove(config: pytest.Config, container: Container) -> None:
    """A container is about to be removed, running or not; its files and its log are still there.

    Called in the thread that removes it. It is removed whatever the hook does. Not called when pytest is killed.
    """


def pytest_pycontainer_waits(config: pytest.Config) -> Mapping[str, Callable[..., Wait]] | None:
    """Waits by name, for ``wait.named(name, …)`` and ``wait="name"``: functions that make a Wait of its arguments.

    Called once, when the session's engine is opened. Of two with one name that of the plugin registered later counts, a
    conftest.py's thus before an installed plugin's.
    """


def pytest_pycontainer_services(config: pytest.Config) -> Mapping[str, Callable[..., Any]] | None:
    """Services by name, for ``pycontainer.service(name, …)``: functions of the engine and the service's options.

    Called once, when the session's engine is opened. Names count as those of waits do, and before ours.
    """


@pytest.hookspec(firstresult=True)
def pytest_pycontainer_engine(
    config: pytest.Config, settings: Settings, extensions: Extensions, display: Display
) -> AbstractContextManager[Engine] | None:
    """Another engine in place of ours, for the whole session; None leaves the choice to others.

    Called once, when the first fixture asks for it. What it returns is entered then, gives what ``pycontainer`` is, and
    is left when the session ends. ``display`` shows what takes long on the terminal, as for our engine.
    """
