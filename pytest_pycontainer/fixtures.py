"""Factories that declare fixtures: ``build`` for an image, ``container`` for a running container.

Each returns what ``@pytest.fixture`` returns, so that the name it is assigned to, in a module, class or conftest, is a
fixture like any other: shown by ``--setup-plan``, overridable by name, ordered and cached by its scope.
"""

from __future__ import annotations

import inspect
import os
import sys
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Literal, NewType, Self, TypeVar, Unpack, cast

import pytest

# What pytest.fixture returns; pytest has no public name for it.
from _pytest.fixtures import FixtureFunctionDefinition

from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_pycontainer.engine.builds import BuildOptions, ContextSource
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.engine.options import ContainerOptions
    from pytest_pycontainer.engine.wait import Wait

    ImageFixture = NewType("ImageFixture", FixtureFunctionDefinition)
    ContainerFixture = NewType("ContainerFixture", FixtureFunctionDefinition)

    class RunOptions(ContainerOptions, total=False):
        """What ``container`` hands to ``Engine.run``, which explains each."""

        wait: Wait | None
        timeout: float


_Source = TypeVar("_Source")

Scope = Literal["session", "package", "module", "class", "function"]


def build(context: ContextSource = None, *, scope: Scope = "session", **options: Unpack[BuildOptions]) -> ImageFixture:
    """Declares a fixture that builds a Dockerfile and returns the Image.

    ``context`` is what the build reads: a directory or an archive, relative to the file with this call or, where there
    is none, to pytest's root directory; texts in memory, or nothing. The other arguments are those of ``Engine.build``;
    directories among ``contexts`` are found as ``context`` is. The fixture raises InvalidSpecError for a path where
    nothing is, and what ``Engine.build`` raises.
    """
    declared = _BuildFixture(sys._getframe(1), context, options)
    return cast("ImageFixture", pytest.fixture(scope=scope)(declared))


def container(
    image: str | Image | FixtureFunctionDefinition,
    command: Sequence[str] | str | None = None,
    *,
    scope: Scope = "function",
    **options: Unpack[RunOptions],
) -> ContainerFixture:
    """Declares a fixture that runs a container, returns it once it is ready, and removes it at the end of its scope.

    ``image`` is a reference, an Image, or a fixture that returns one of them. A fixture that has a name where this call
    stands becomes a dependency by that name; a ``build(…)`` without one is built when it is needed. The other arguments
    are those of ``Engine.run``. The fixture raises what ``Engine.run`` raises.
    """
    declared = _ContainerFixture(sys._getframe(1), image, command, options)
    return cast("ContainerFixture", pytest.fixture(scope=scope)(declared))


class _DeclaredFixture(ABC):
    """Stands where pytest expects a fixture function, for one that was declared by a call.

    pytest asks for the signature when it has imported the whole module, so a dependency can be looked up then by the
    name that it was given.
    """

    def __init__(self, caller: FrameType, factory: str, doc: str) -> None:
        self.__doc__ = doc
        self.__name__ = factory
        self.__module__ = caller.f_globals.get("__name__", "")
        self._directory = Path(caller.f_code.co_filename).parent
        in_function = caller.f_code.co_flags & inspect.CO_OPTIMIZED
        self._namespaces = (caller.f_globals,) if in_function else (caller.f_locals, caller.f_globals)
        self.__wrapped__ = _function_at(caller.f_code.co_filename, caller.f_lineno, factory)

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        # A class may hold the declaration: it takes no self, so there is nothing to bind.
        return self

    def __call__(self, **fixtures: Any) -> Any:
        return self.__wrapped__(self.set_up, fixtures)

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature([inspect.Parameter(name, kind) for name in self.arguments()])

    def arguments(self) -> tuple[str, ...]:
        """The names of the fixtures that this one requests."""
        return ("request", "pycontainer")

    @abstractmethod
    def set_up(self, request: pytest.FixtureRequest, pycontainer: Engine) -> object:
        """Makes the fixture's value."""

    def name_of(self, fixture: object) -> str | None:
        """The name that a fixture has where this one is declared."""
        for namespace in self._namespaces:
            for name, value in namespace.items():
                if value is fixture:
                    return name
        return None


def _function_at(file: str, line: int, name: str) -> FunctionType:
    """A function that calls its first argument with its second, as if written at a line of a caller's file.

    That line is where pytest says that the fixture is, and what it shows of an error in setting it up.
    """
    # The call spans two lines: for one, a traceback would mark columns, which mean nothing in the caller's line.
    source = "\n" * (line - 1) + "lambda set_up, fixtures: set_up(\n**fixtures)"
    (code, *_) = compile(source, file, "eval").co_consts
    return FunctionType(code.replace(co_name=name), {})


class _BuildFixture(_DeclaredFixture):
    def __init__(self, caller: FrameType, context: ContextSource, options: BuildOptions) -> None:
        source = os.fspath(context) if isinstance(context, str | os.PathLike) else "a Dockerfile"
        super().__init__(caller, "build", f"The image built from {source}.")
        self._context = context
        self._options = options

    def set_up(self, request: pytest.FixtureRequest, pycontainer: Engine) -> Image:
        root = request.config.rootpath
        options = self._options.copy()
        if contexts := options.get("contexts"):
            options["contexts"] = {name: self._resolve(source, root) for name, source in contexts.items()}
        return pycontainer.build(self._resolve(self._context, root), progress=_print_progress, **options)

    def _resolve(self, source: _Source, root: Path) -> _Source | Path:
        """Paths are those of what is there; all else stays as it is."""
        from pytest_pycontainer.engine.builds import IMAGE_PREFIX

        if not isinstance(source, str | os.PathLike) or str(source).startswith(IMAGE_PREFIX):
            return source
        candidates = [base / source for base in (self._directory, root)]
        for candidate in candidates:
            if candidate.exists():
                return candidate
        tried = " nor ".join(dict.fromkeys(map(str, candidates)))
        raise InvalidSpecError("build context", str(source), f"a directory or an archive; nothing is at {tried}")


def _print_progress(line: str) -> None:
    # Standard error: pytest shows it at once with -s, and otherwise in the report of a test whose set-up failed.
    print(line, file=sys.stderr, flush=True)


class _ContainerFixture(_DeclaredFixture):
    def __init__(
        self,
        caller: FrameType,
        image: str | Image | FixtureFunctionDefinition,
        command: Sequence[str] | str | None,
        options: RunOptions,
    ) -> None:
        super().__init__(caller, "container", "A running container, removed at the end of its scope.")
        self._image = image
        self._command = command
        self._options = options

    def set_up(self, request: pytest.FixtureRequest, pycontainer: Engine, **dependency: Image | str) -> Container:
        if dependency:
            (image,) = dependency.values()
        elif isinstance(self._image, FixtureFunctionDefinition):
            image = cast("_BuildFixture", _declaration(self._image)).set_up(request, pycontainer)
        else:
            image = self._image
        until_finished = ExitStack()
        request.addfinalizer(until_finished.close)
        return until_finished.enter_context(pycontainer.run(image, self._command, **self._options))

    def arguments(self) -> tuple[str, ...]:
        dependency = self._dependency()
        return super().arguments() if dependency is None else (*super().arguments(), dependency)

    def _dependency(self) -> str | None:
        """The name of the fixture that the image comes from, if it comes from one."""
        if not isinstance(self._image, FixtureFunctionDefinition):
            return None
        name = self.name_of(self._image)
        if name is None and not isinstance(_declaration(self._image), _BuildFixture):
            return self._image.name
        return name


def _declaration(fixture: FixtureFunctionDefinition) -> object:
    return fixture._get_wrapped_function()
