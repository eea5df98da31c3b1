"""What each factory in ``fixtures`` declares: how its value is made of the arguments, and what of it is undone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

# What pytest.fixture returns; pytest has no public name for it.
from _pytest.fixtures import FixtureFunctionDefinition

from pytest_pycontainer.declarations.declaration import (
    KEEPERS_FIXTURE,
    PARAMETER,
    Declaration,
    FixtureOptions,
    SetUp,
    declare,
    is_lazy,
    print_progress,
)
from pytest_pycontainer.errors import ImageInUseError, ImageNotFoundError, InvalidSpecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from pytest_pycontainer.declarations.declaration import Scope
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.engine import Engine
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.engine.keeper_messages import SharedNetwork
    from pytest_pycontainer.engine.networks import Network
    from pytest_pycontainer.engine.volumes import Volume

_Value = TypeVar("_Value")


def declare_resource(
    kind: type[ResourceDeclaration], caller: FrameType, given: dict[str, object], options: Mapping[str, Any]
) -> FixtureFunctionDefinition:
    """Declares a fixture of a kind, at the caller's place.

    Raises TypeError for arguments that the factory does not have, and InvalidSpecError for scopes and params that it
    can't have.
    """
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
    if kind in (SharedContainer, MadeSharedNetwork) and fixture_options.get("scope", "session") != "session":
        wanted = "session, or none: what is shared or reused lives as long as the run, or longer"
        raise InvalidSpecError("scope", str(fixture_options["scope"]), wanted)
    return declare(kind(caller, given), fixture_options, kind.scope)


class ResourceDeclaration(Declaration):
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


class PulledImage(ResourceDeclaration):
    factory = "pull"
    meaning = "The image pulled as {0}."

    @classmethod
    def known_options(cls) -> Iterable[str]:
        return "platform", "policy"

    def make(self, set_up: SetUp) -> Image:
        __tracebackhide__ = True
        given = self.values(set_up)
        return set_up.engine.pull(given["reference"], **{"policy": set_up.engine.settings.pull} | given["options"])


class BuiltImage(ResourceDeclaration):
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
        return set_up.engine.build(context, progress=print_progress, **options)


class LoadedImage(ResourceDeclaration):
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


class RunContainer(ResourceDeclaration):
    factory = "container"
    meaning = "A running container of {0}, removed at the end of its scope."
    scope: ClassVar[Scope] = "function"

    def __init__(self, caller: FrameType, given: dict[str, Any]) -> None:
        __tracebackhide__ = True
        from pytest_pycontainer.engine.option_checks import check_options
        from pytest_pycontainer.engine.service import Service

        service = given["image"]
        if isinstance(service, Service):  # its image may be a fixture
            given |= {"image": service.image, "service": service}
        super().__init__(caller, given)
        if isinstance(service, Service):
            self.__doc__ = self.meaning.format(service.handle.__name__)
        known = {name: value for name, value in given["options"].items() if not is_lazy(value)}
        check_options(None if is_lazy(given["command"]) else given["command"], known)

    @classmethod
    def known_options(cls) -> Iterable[str]:
        from pytest_pycontainer.engine.options import ContainerOptions

        return *ContainerOptions.__annotations__, "wait", "timeout", "shared", "reuse"

    def make(self, set_up: SetUp) -> Container:
        __tracebackhide__ = True
        return set_up.until_finished.enter_context(self.run(set_up.engine, set_up))

    def run(self, engine: Engine, set_up: SetUp) -> Container:
        """Runs it on an engine. Where nothing is said, its health check or its ports say when it is ready."""
        __tracebackhide__ = True
        from pytest_pycontainer.engine.default_wait import DefaultWait
        from pytest_pycontainer.engine.service import Service

        given = self.values(set_up)
        options = {name: value for name, value in given["options"].items() if name not in ("shared", "reuse")}
        if isinstance(environment := options.get("env"), Mapping):
            options = options | {"env": {name: _host_name(value) for name, value in environment.items()}}
        if engine is set_up.engine and "pytest_pycontainer.declarations.keepers" in sys.modules:
            from pytest_pycontainer.declarations.keepers import engine_for

            engine = engine_for(set_up, options)
        image = given["image"]
        if "service" in given:
            image = replace(given["service"], image=image)
        if not isinstance(image, Service) and "wait" not in options:
            options = options | {"wait": DefaultWait.of(options.get("ports"))}
        run = engine.service if isinstance(image, Service) else engine.run
        container: Container = run(image, given["command"], **options)
        return container


class SharedContainer(RunContainer):
    meaning = "A running container of {0}, the same for all workers."
    scope = "session"

    def requested(self) -> tuple[str, ...]:
        return (*super().requested(), KEEPERS_FIXTURE)

    def make(self, set_up: SetUp) -> Container:
        __tracebackhide__ = True
        from pytest_pycontainer.declarations.keepers import run_for_others

        reused = bool(self.given["options"].get("reuse"))
        return run_for_others(self, set_up, self.run, reused=reused) or super().make(set_up)


def _host_name(value: object) -> object:
    """What an environment says of a value: of a container the name by which others find it."""
    from pytest_pycontainer.engine.container import Container

    return value.name if isinstance(value, Container) else value


class MadeNetwork(ResourceDeclaration):
    factory = "network"
    meaning = "A network, removed at the end of its scope."
    scope: ClassVar[Scope] = "function"
    needs_first = False

    @classmethod
    def known_options(cls) -> Iterable[str]:
        return "subnet", "internal", "ipv6", "shared"

    def make(self, set_up: SetUp) -> Network | SharedNetwork:
        __tracebackhide__ = True
        name, options = self.arguments(set_up)
        scope = set_up.until_finished.enter_context(set_up.engine.scope())
        return scope.network(name, **options)

    def arguments(self, set_up: SetUp) -> tuple[str | None, dict[str, Any]]:
        """The network's name and options."""
        given = self.values(set_up)
        return given["name"], {name: value for name, value in given["options"].items() if name != "shared"}


class MadeSharedNetwork(MadeNetwork):
    meaning = "A network, the same for all workers."
    scope = "session"

    def requested(self) -> tuple[str, ...]:
        return (*super().requested(), KEEPERS_FIXTURE)

    def make(self, set_up: SetUp) -> Network | SharedNetwork:
        __tracebackhide__ = True
        from pytest_pycontainer.declarations.keepers import network_for_others

        return network_for_others(self, set_up, *self.arguments(set_up)) or super().make(set_up)


class MadeVolume(ResourceDeclaration):
    factory = "volume"
    meaning = "A volume, removed at the end of its scope unless it has a name of its own."
    scope = "function"
    needs_first = False

    def make(self, set_up: SetUp) -> Volume:
        __tracebackhide__ = True
        given = self.values(set_up)
        scope = set_up.until_finished.enter_context(set_up.engine.scope())
        return scope.volume(given["name"])


class SnapshotImage(ResourceDeclaration):
    factory = "snapshot"
    meaning = "The image of what {0} has written."

    def __init__(self, caller: FrameType, given: dict[str, Any]) -> None:
        # A function that is called with the container is none of fixtures.
        self._prepare = given["options"].pop("prepare", None)
        super().__init__(caller, given)

    @classmethod
    def known_options(cls) -> Iterable[str]:
        return "prepare", "tag"

    def make(self, set_up: SetUp) -> Image:
        __tracebackhide__ = True
        source, tag = self.given["container"], self.resolved(self.given["options"].get("tag"), set_up)
        with ExitStack() as until_taken:
            own = isinstance(source, FixtureFunctionDefinition) and self.name_of(source) is None
            container = self.resolved(source, replace(set_up, until_finished=until_taken) if own else set_up)
            if self._prepare is not None:
                self._prepare(container)
            if own:
                container.stop()
            image: Image = container.commit(tag, volumes=True)
        if tag is None:
            set_up.until_finished.callback(_remove_image, set_up.engine, image)
        return image


def _remove_image(engine: Engine, image: Image) -> None:
    # It may have gone with one that stood on it, and stays while a container uses it that somebody keeps.
    with suppress(ImageNotFoundError, ImageInUseError):
        engine.remove(image)
