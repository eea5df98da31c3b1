"""Factories that declare fixtures: images, containers, networks, volumes.

Each returns what ``@pytest.fixture`` returns, so that the name it is assigned to, in a module, class or conftest, is a
fixture like any other: shown by ``--setup-plan``, overridable by name, ordered and cached by its scope. Wherever a
value stands among the arguments, also in a list or a dict, another fixture may stand for its value, and a function for
what it returns: its parameters are requested as a fixture function's are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Unpack, cast, overload

# What pytest.fixture returns; pytest has no public name for it.
from _pytest.fixtures import FixtureFunctionDefinition

from pytest_pycontainer.declarations import PARAMETER, Declaration, FixtureOptions, SetUp, declare
from pytest_pycontainer.errors import ImageNotFoundError, InvalidSpecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from pytest_pycontainer.declarations import Scope
    from pytest_pycontainer.engine.arguments import Command
    from pytest_pycontainer.engine.builds import ContextSource
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.engine.networks import Network
    from pytest_pycontainer.engine.service import Service
    from pytest_pycontainer.engine.volumes import Volume
    from pytest_pycontainer.fixture_options import (
        BuildFixtureOptions,
        ContainerFixtureOptions,
        LoadOptions,
        NetworkFixtureOptions,
        PullOptions,
        SnapshotOptions,
    )

    # For type checkers a fixture of a network is a network, and one of a volume a volume, so that options take them.
    class ImageFixture(FixtureFunctionDefinition): ...

    class ContainerFixture(FixtureFunctionDefinition): ...

    class NetworkFixture(Network, FixtureFunctionDefinition): ...  # type: ignore[override]

    class VolumeFixture(Volume, FixtureFunctionDefinition): ...  # type: ignore[override]


_Value = TypeVar("_Value")


def pull(reference: str | FixtureFunctionDefinition | None = None, **options: Unpack[PullOptions]) -> ImageFixture:
    """Declares a fixture that pulls an image and returns it.

    Its registry is asked if it is not here, or as ``policy`` says: ``missing``, ``always`` or ``never``. ``platform``
    is ``os/architecture[/variant]``, if not this machine's. The scope is ``session`` unless said otherwise. The fixture
    raises what ``Engine.pull`` raises.
    """
    return cast("ImageFixture", _declare(_PulledImage, sys._getframe(1), {"reference": reference}, options))


def build(context: ContextSource = None, **options: Unpack[BuildFixtureOptions]) -> ImageFixture:
    """Declares a fixture that builds a Dockerfile and returns the Image.

    ``context`` is what the build reads: a directory or an archive, relative to the file with this call or, where there
    is none, to pytest's root directory; texts in memory, or nothing. The other arguments are those of ``Engine.build``;
    directories among ``contexts`` are found as ``context`` is. The scope is ``session`` unless said otherwise. The
    fixture raises InvalidSpecError for a path where nothing is, and what ``Engine.build`` raises.
    """
    return cast("ImageFixture", _declare(_BuiltImage, sys._getframe(1), {"context": context}, options))


def load(
    archive: str | os.PathLike[str] | FixtureFunctionDefinition | None = None, **options: Unpack[LoadOptions]
) -> ImageFixture:
    """Declares a fixture that loads an image from an archive, docker's or an OCI layout, and returns it.

    The path is found as a build's context is. Of several images in it ``image`` names the one. The scope is ``session``
    unless said otherwise. The fixture raises InvalidSpecError for a path where nothing is, or an image that is not
    in it, and what ``Engine.load`` raises.
    """
    return cast("ImageFixture", _declare(_LoadedImage, sys._getframe(1), {"archive": archive}, options))


def container(
    image: str | os.PathLike[str] | Image | Service[Any] | FixtureFunctionDefinition | None = None,
    command: Command | None = None,
    **options: Unpack[ContainerFixtureOptions],
) -> ContainerFixture:
    """Declares a fixture that runs a container, returns it once it is ready, and removes it at the end of its scope.

    ``image`` is a reference, an Image, or a service, one of ``pytest_pycontainer.services``, which has a handle of its
    own; or a fixture that returns one of them. A fixture that has a name where this call stands becomes a dependency by
    that name; a ``build(…)`` without one is built when it is needed. The other arguments are those of ``Engine.run``
    and ``Engine.service``; a container among the values of ``env`` is its name, by which others find it. The scope is
    ``function`` unless said otherwise. The fixture raises what ``Engine.run`` raises.

    One that is ``shared`` is one for all pytest-xdist workers of the run, started by the first that asks for it, and
    removed when the last has ended. With ``reuse`` it stays, and later runs that want the same find it as it is. Both
    have the scope ``session``, and arguments that are the same in all processes.
    """
    given: dict[str, object] = {"image": image, "command": command}
    shared = options.get("shared") or options.get("reuse")
    kind = _SharedContainer if shared else _RunContainer
    return cast("ContainerFixture", _declare(kind, sys._getframe(1), given, options))


def network(name: str | None = None, **options: Unpack[NetworkFixtureOptions]) -> NetworkFixture:
    """Declares a fixture that makes a network, returns it, and removes it at the end of its scope.

    The arguments are those of ``Engine.network``; one that is there already stays. The scope is ``function`` unless
    said otherwise. The fixture raises what ``Engine.network`` raises.
    """
    return cast("NetworkFixture", _declare(_MadeNetwork, sys._getframe(1), {"name": name}, options))


def volume(name: str | None = None, **options: Unpack[FixtureOptions]) -> VolumeFixture:
    """Declares a fixture that makes a volume and returns it.

    One without a name is new, and removed at the end of its scope; one with a name stays for later runs, as
    ``Engine.volume`` has it. The scope is ``function`` unless said otherwise.
    """
    return cast("VolumeFixture", _declare(_MadeVolume, sys._getframe(1), {"name": name}, options))


def snapshot(container: FixtureFunctionDefinition, **options: Unpack[SnapshotOptions]) -> ImageFixture:
    """Declares a fixture that makes an image of what a container has written, and returns it.

    Containers of that image begin where the container was: a database with its data, fresh for each. What is in the
    container's own volumes, an image's VOLUME among them, is in it too. ``container`` is a fixture, of ``container`` or
    any that returns a Container; it is paused meanwhile. One that has no name where this call stands is this
    fixture's alone: it is stopped before, as ``Container.stop`` does, and removed then. ``prepare`` is called with the
    container before. With ``tag`` the image stays after the run; without, it goes at the end of its scope, which is
    ``session`` unless said otherwise. The fixture raises what the container's raises, and ``prepare``, and
    ``Container.commit``.
    """
    return cast("ImageFixture", _declare(_SnapshotImage, sys._getframe(1), {"container": container}, options))


@overload
def using(value: FixtureFunctionDefinition) -> Any: ...
@overload
def using(value: Callable[..., _Value]) -> _Value: ...
def using(value: FixtureFunctionDefinition | Callable[..., _Value]) -> Any:
    """The fixture, or function of fixtures, itself: for type checkers it is what it will return."""
    return value


def _declare(
    kind: type[_Declaration], caller: FrameType, given: dict[str, object], options: Mapping[str, Any]
) -> FixtureFunctionDefinition:
    __tracebackhide__ = True
    from pytest_pycontainer.engine.arguments import check_known

    for_fixture = FixtureOptions.__annotations__
    check_known(options, {*for_fixture, *kind.known_options()}, f"{kind.factory}()")
    fixture_options = cast("FixtureOptions", {name: value for name, value in options.items() if name in for_fixture})
    given["options"] = {name: value for name, value in options.items() if name not in for_fixture}
    first = next(iter(given))
    if given[first] is None and fixture_options.get("params") is not None:
        given[first] = PARAMETER
    if given[first] is None and kind.needs_first:
        raise TypeError(f"{kind.factory}() misses its argument {first!r}, or params in its place")
    if kind is _SharedContainer and fixture_options.get("scope", "session") != "session":
        wanted = "session, or none: what is shared or reused lives as long as the run, or longer"
        raise InvalidSpecError("scope", str(fixture_options["scope"]), wanted)
    return declare(kind(caller, given), fixture_options, kind.scope)


class _Declaration(Declaration):
    """One of a factory: its words, and what the value's arguments are."""

    factory: ClassVar[str]
    meaning: ClassVar[str]
    scope: ClassVar[Scope] = "session"
    needs_first: ClassVar[bool] = True

    def __init__(self, caller: FrameType, given: dict[str, Any]) -> None:
        super().__init__(caller, self.factory, given)
        self._directory = Path(caller.f_code.co_filename).parent
        self.__doc__ = self.meaning.format(*(self.describe(value) for value in given.values()))

    @classmethod
    def known_options(cls) -> Iterable[str]:
        """What the factory takes beside what is for the fixture itself."""
        return ()

    def find(self, source: _Value, what: str, root: Path) -> _Value | Path:
        """Paths are those of what is there; all else stays as it is."""
        if not isinstance(source, str | os.PathLike):
            return source
        candidates = [base / source for base in (self._directory, root)]
        for candidate in candidates:
            if candidate.exists():
                return candidate
        tried = " nor ".join(dict.fromkeys(map(str, candidates)))
        raise InvalidSpecError(what, str(source), f"a directory or an archive; nothing is at {tried}")


class _PulledImage(_Declaration):
    factory = "pull"
    meaning = "The image {0}, pulled if it is not here."

    @classmethod
    def known_options(cls) -> Iterable[str]:
        return "platform", "policy"

    def make(self, set_up: SetUp) -> Image:
        __tracebackhide__ = True
        given = self.values(set_up)
        return set_up.engine.pull(given["reference"], **{"policy": set_up.engine.settings.pull} | given["options"])


class _BuiltImage(_Declaration):
    factory = "build"
    meaning = "The image built from {0}."
    needs_first = False

    @classmethod
    def known_options(cls) -> Iterable[str]:
        from pytest_pycontainer.engine.builds import BuildOptions

        return BuildOptions.__annotations__

    def describe(self, value: object) -> str:
        return "a Dockerfile" if value is None or isinstance(value, Mapping) else super().describe(value)

    def make(self, set_up: SetUp) -> Image:
        __tracebackhide__ = True
        from pytest_pycontainer.engine.builds import IMAGE_PREFIX

        given = self.values(set_up)
        root, options = set_up.request.config.rootpath, given["options"]
        if contexts := options.get("contexts"):
            found = {
                name: source if str(source).startswith(IMAGE_PREFIX) else self.find(source, "build context", root)
                for name, source in contexts.items()
            }
            options = options | {"contexts": found}
        context = self.find(given["context"], "build context", root)
        return set_up.engine.build(context, progress=_print_progress, **options)


def _print_progress(line: str) -> None:
    # Standard error: pytest shows it at once with -s, and otherwise in the report of a test whose set-up failed.
    print(line, file=sys.stderr, flush=True)


class _LoadedImage(_Declaration):
    factory = "load"
    meaning = "The image loaded from {0}."

    @classmethod
    def known_options(cls) -> Iterable[str]:
        return ("image",)

    def make(self, set_up: SetUp) -> Image:
        __tracebackhide__ = True
        given = self.values(set_up)
        archive = self.find(given["archive"], "archive", set_up.request.config.rootpath)
        wanted = given["options"].get("image")
        images = {one.id: one for one in set_up.engine.load(archive)}
        if wanted is None and len(images) == 1:
            return next(iter(images.values()))
        with suppress(ImageNotFoundError):
            if wanted is not None and (found := set_up.engine.image(wanted)).id in images:
                return found
        names = ", ".join(repr(one.name) for one in images.values())
        raise InvalidSpecError("image", str(wanted or ""), f"the name of one of those in {archive}: {names}")


class _RunContainer(_Declaration):
    factory = "container"
    meaning = "A running container of {0}, removed at the end of its scope."
    scope: ClassVar[Scope] = "function"

    @classmethod
    def known_options(cls) -> Iterable[str]:
        from pytest_pycontainer.engine.options import ContainerOptions

        return *ContainerOptions.__annotations__, "wait", "timeout", "shared", "reuse"

    def make(self, set_up: SetUp) -> Container:
        __tracebackhide__ = True
        return set_up.until_finished.enter_context(self.run(set_up.engine, set_up))

    def describe(self, value: object) -> str:
        from pytest_pycontainer.engine.service import Service

        return value.handle.__name__ if isinstance(value, Service) else super().describe(value)

    def run(self, engine: Engine, set_up: SetUp) -> Container:
        """Runs it on an engine."""
        __tracebackhide__ = True
        from pytest_pycontainer.engine.service import Service

        given = self.values(set_up)
        options = {name: value for name, value in given["options"].items() if name not in ("shared", "reuse")}
        if isinstance(environment := options.get("env"), Mapping):
            options = options | {"env": {name: _host_name(value) for name, value in environment.items()}}
        run = engine.service if isinstance(given["image"], Service) else engine.run
        container: Container = run(given["image"], given["command"], **options)
        return container


class _SharedContainer(_RunContainer):
    meaning = "A running container of {0}, the same for all workers."
    scope = "session"

    def requested(self) -> tuple[str, ...]:
        return (*super().requested(), "_pycontainer_keepers")

    def make(self, set_up: SetUp) -> Container:
        __tracebackhide__ = True
        from pytest_pycontainer.keepers import run_for_others

        reused = bool(self.given["options"].get("reuse"))
        return run_for_others(self, set_up, self.run, reused=reused) or super().make(set_up)


def _host_name(value: object) -> object:
    """What an environment says of a value: of a container the name by which others find it."""
    from pytest_pycontainer.engine.container import Container

    return value.name if isinstance(value, Container) else value


class _MadeNetwork(_Declaration):
    factory = "network"
    meaning = "A network, removed at the end of its scope."
    scope = "function"
    needs_first = False

    @classmethod
    def known_options(cls) -> Iterable[str]:
        return "subnet", "internal", "ipv6"

    def make(self, set_up: SetUp) -> Network:
        __tracebackhide__ = True
        given = self.values(set_up)
        scope = set_up.until_finished.enter_context(set_up.engine.scope())
        return scope.network(given["name"], **given["options"])


class _MadeVolume(_Declaration):
    factory = "volume"
    meaning = "A volume, removed at the end of its scope unless it has a name of its own."
    scope = "function"
    needs_first = False

    def make(self, set_up: SetUp) -> Volume:
        __tracebackhide__ = True
        given = self.values(set_up)
        scope = set_up.until_finished.enter_context(set_up.engine.scope())
        return scope.volume(given["name"])


class _SnapshotImage(_Declaration):
    factory = "snapshot"
    meaning = "The image of what a container has written: {0}."

    def __init__(self, caller: FrameType, given: dict[str, Any]) -> None:
        # A function that is called with the container is none of fixtures.
        self._prepare = given["options"].pop("prepare", None)
        super().__init__(caller, given)

    @classmethod
    def known_options(cls) -> Iterable[str]:
        return "prepare", "tag"

    def make(self, set_up: SetUp) -> Image:
        __tracebackhide__ = True
        source, tag = self.given["container"], self.given["options"].get("tag")
        with ExitStack() as until_taken:
            own = isinstance(source, FixtureFunctionDefinition) and self.name_of(source) is None
            container = self.resolved(source, replace(set_up, until_finished=until_taken) if own else set_up)
            if self._prepare is not None:
                self._prepare(container)
            if own:
                container.stop()
            image: Image = container.commit(tag, volumes=True)
        if tag is None:
            set_up.until_finished.callback(set_up.engine.remove, image)
        return image
