"""Factories that declare fixtures: images, containers, networks, volumes.

Each returns what ``@pytest.fixture`` returns, so that the name it is assigned to, in a module, class or conftest, is a
fixture like any other: shown by ``--setup-plan``, overridable by name, ordered and cached by its scope. Wherever a
value stands among the arguments, also in a list or a dict, another fixture may stand for its value, and a function for
what it returns: its parameters are requested as a fixture function's are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, overload

from pytest_pycontainer.declarations.resources import (
    BuiltImage,
    LoadedImage,
    MadeNetwork,
    MadeSharedNetwork,
    MadeVolume,
    PulledImage,
    RunContainer,
    SharedContainer,
    SnapshotImage,
    declare_resource,
)

if TYPE_CHECKING:
    # What pytest.fixture returns; pytest has no public name for it.
    from _pytest.fixtures import FixtureFunctionDefinition

    from pytest_pycontainer.declarations.declaration import FixtureOptions
    from pytest_pycontainer.declarations.options import (
        BuildFixtureOptions,
        ContainerFixtureOptions,
        LoadOptions,
        NetworkFixtureOptions,
        PullOptions,
        SnapshotOptions,
    )
    from pytest_pycontainer.engine.arguments import Command
    from pytest_pycontainer.engine.builds import ContextSource
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.engine.networks import Network
    from pytest_pycontainer.engine.service import Service
    from pytest_pycontainer.engine.volumes import Volume

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
    return cast("ImageFixture", declare_resource(PulledImage, sys._getframe(1), {"reference": reference}, options))


def build(context: ContextSource = None, **options: Unpack[BuildFixtureOptions]) -> ImageFixture:
    """Declares a fixture that builds a Dockerfile and returns the Image.

    ``context`` is what the build reads: a directory or an archive, relative to the file with this call or, where there
    is none, to pytest's root directory; texts in memory, or nothing. The other arguments are those of ``Engine.build``;
    directories among ``contexts`` are found as ``context`` is. The scope is ``session`` unless said otherwise. The
    fixture raises InvalidSpecError for a path where nothing is, and what ``Engine.build`` raises.
    """
    return cast("ImageFixture", declare_resource(BuiltImage, sys._getframe(1), {"context": context}, options))


def load(
    archive: str | os.PathLike[str] | FixtureFunctionDefinition | None = None, **options: Unpack[LoadOptions]
) -> ImageFixture:
    """Declares a fixture that loads an image from an archive, docker's or an OCI layout, and returns it.

    The path is found as a build's context is. Of several images in it ``image`` names the one. The scope is ``session``
    unless said otherwise. The fixture raises InvalidSpecError for a path where nothing is, or an image that is not
    in it, and what ``Engine.load`` raises.
    """
    return cast("ImageFixture", declare_resource(LoadedImage, sys._getframe(1), {"archive": archive}, options))


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

    Without ``wait`` it is ready when its health check says so, if it has one; else when all its published TCP ports
    accept connections; else when one of those that its image exposes does. ``wait=None`` waits for nothing.

    One that is ``shared`` is one for all pytest-xdist workers of the run, started by the first that asks for it, and
    removed when the last has ended. With ``reuse`` it stays, and later runs that want the same find it as it is. Both
    have the scope ``session``, and arguments that are the same in all processes.
    """
    given: dict[str, object] = {"image": image, "command": command}
    shared = options.get("shared") or options.get("reuse")
    kind = SharedContainer if shared else RunContainer
    return cast("ContainerFixture", declare_resource(kind, sys._getframe(1), given, options))


def network(name: str | None = None, **options: Unpack[NetworkFixtureOptions]) -> NetworkFixture:
    """Declares a fixture that makes a network, returns it, and removes it at the end of its scope.

    The arguments are those of ``Engine.network``; one that is there already stays. The scope is ``function`` unless
    said otherwise. The fixture raises what ``Engine.network`` raises.

    One that is ``shared`` is one for all pytest-xdist workers, and has the scope ``session``: containers that any of
    them puts into it, shared or its own, reach each other. Its value has name, subnet and gateway, and is a ``network``
    of ``container(…)`` alone.
    """
    kind = MadeSharedNetwork if options.get("shared") else MadeNetwork
    return cast("NetworkFixture", declare_resource(kind, sys._getframe(1), {"name": name}, options))


def volume(name: str | None = None, **options: Unpack[FixtureOptions]) -> VolumeFixture:
    """Declares a fixture that makes a volume and returns it.

    One without a name is new, and removed at the end of its scope; one with a name stays for later runs, as
    ``Engine.volume`` has it. The scope is ``function`` unless said otherwise.
    """
    return cast("VolumeFixture", declare_resource(MadeVolume, sys._getframe(1), {"name": name}, options))


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
    return cast("ImageFixture", declare_resource(SnapshotImage, sys._getframe(1), {"container": container}, options))


@overload
def using(value: FixtureFunctionDefinition) -> Any: ...
@overload
def using(value: Callable[..., _Value]) -> _Value: ...
def using(value: FixtureFunctionDefinition | Callable[..., _Value]) -> Any:
    """The fixture, or function of fixtures, itself: for type checkers it is what it will return."""
    return value
