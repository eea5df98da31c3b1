"""What plugins add to the session's engine, by the hooks in ``hookspecs``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_pycontainer import services
from pytest_pycontainer.engine.arguments import check_names
from pytest_pycontainer.engine.extensions import ContainerRequest, Extensions, Keeps, Observer
from pytest_pycontainer.engine.options import ContainerOptions
from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    import pytest

    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.engine import Engine

_OBSERVING = ("before_create", "after_start", "ready", "before_remove")


def extensions_of(config: pytest.Config, *observers: Observer, keeps: Keeps | None = None) -> Extensions:
    """What the registered plugins add, beside further ``observers`` and who ``keeps`` containers.

    Who adds nothing costs nothing.
    """
    observed = any(getattr(config.hook, f"pytest_pycontainer_{name}").get_hookimpls() for name in _OBSERVING)
    return Extensions(
        observers=(HookObserver(config), *observers) if observed else observers,
        waits=_by_name(config, "waits"),
        services=_ready_made() | _by_name(config, "services"),
        keeps=keeps,
    )


class HookObserver:
    """Tells plugins, by hooks, what becomes of an engine's containers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def before_create(self, container_request: ContainerRequest) -> None:
        """See Observer."""
        with _naming_the_hook("before_create", f"a container of {container_request.image}"):
            hook = self._config.hook.pytest_pycontainer_before_create
            hook(config=self._config, container_request=container_request)
            check_names(container_request.options, ContainerOptions)

    def after_start(self, container: Container) -> None:
        """See Observer."""
        with _naming_the_hook("after_start", repr(container)):
            self._config.hook.pytest_pycontainer_after_start(config=self._config, container=container)

    def ready(self, container: Container) -> None:
        """See Observer."""
        with _naming_the_hook("ready", repr(container)):
            self._config.hook.pytest_pycontainer_ready(config=self._config, container=container)

    def before_remove(self, container: Container) -> None:
        """See Observer."""
        with _naming_the_hook("before_remove", repr(container)):
            self._config.hook.pytest_pycontainer_before_remove(config=self._config, container=container)


@contextmanager
def _naming_the_hook(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by an implementation of the hook pytest_pycontainer_{name}, for {what}")
        raise


def _ready_made() -> dict[str, Callable[..., Any]]:
    return {name: partial(_run_ready_made, name) for name in services.NAMES}


def _run_ready_made(service: str, engine: Engine, /, **options: Any) -> Container:
    """Runs one of ours; those of the options that are its own describe it."""
    describe = getattr(services, service)
    own = {option: options.pop(option) for option in inspect.signature(describe).parameters if option in options}
    container: Container = engine.service(describe(**own), **options)
    return container


def _by_name(config: pytest.Config, what: str) -> dict[str, Callable[..., Any]]:
    """What plugins give by name. Raises InvalidSpecError for what is none of that."""
    known: dict[str, Callable[..., Any]] = {}
    hook = f"pytest_pycontainer_{what}"
    with _naming_the_hook(what, "this run"):
        results = getattr(config.hook, hook)(config=config)
    for result in reversed(results):  # pluggy asks those that were registered last first
        if not isinstance(result, Mapping) or not all(map(callable, result.values())):
            raise InvalidSpecError(f"result of the hook {hook}", repr(result), "a mapping of names to functions")
        known |= result
    return known
