"""Containers that several processes use, or several runs: made once, by a keeper, and found by all the others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.connecting import connect_as
from pytest_pycontainer.engine.engine import Engine
from pytest_pycontainer.engine.keeper_messages import SharedNetwork, Wanted
from pytest_pycontainer.engine.networks import Network
from pytest_pycontainer.engine.readiness import READY_SECONDS, parse_wait
from pytest_pycontainer.engine.service import HandleT
from pytest_pycontainer.engine.volumes import Volume
from pytest_pycontainer.errors import InvalidSpecError, KeeperError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.image import Image
    from pytest_pycontainer.engine.keeper import Keeper
    from pytest_pycontainer.engine.options import ContainerOptions
    from pytest_pycontainer.engine.wait import Wait

REUSED_LABEL: Final = "io.pycontainer.reused"
"""The label of containers that are kept for later runs; its value is the place where each is declared."""

REUSED: Final = "reused"
"""The group of the keeper that stays."""

# A start takes milliseconds; who waits for another process's is to hear its error, not to be tired of waiting before.
_START_SECONDS = 60.0

_PLAIN = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, slots=True)
class SharedContainer:
    """A container as it is wanted: what any process that wants the same would ask for.

    ``place`` is where it is declared; ``options`` are plain values, in which nothing depends on this process.
    """

    place: str
    image: Image
    command: tuple[str, ...] | None
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls, place: str, image: Image, command: arguments.Command | None, options: Mapping[str, Any]
    ) -> SharedContainer:
        """Raises InvalidSpecError for what can't be another process's: a function, a network of this engine."""
        plain = {name: _plain(name, value) for name, value in options.items() if name != "pull"}
        for name, parse in (("env", arguments.parse_environment), ("labels", arguments.parse_labels)):
            if options.get(name) is not None:
                plain[name] = parse(options[name])
        for name in ("volumes", "mounts", "security_opt"):
            if name in plain:
                plain[name] = _with_absolute_paths(name, plain[name])
        return cls(place, image, arguments.parse_command(command), plain)

    def wanted(self, *, reused: bool, seconds: float) -> Wanted:
        """What a keeper is asked for: one that is reused is found by what it is, any other by its place."""
        specification = {"image": self.image.id, "command": repr(self.command)}
        specification |= {name: repr(_ordered(value)) for name, value in self.options.items()}
        key = self.place
        if reused:
            key = hashlib.sha256(repr(sorted(specification.items())).encode()).hexdigest()
        return Wanted(key, self.place, specification, seconds)


class SharingEngine(Engine):
    """The same engine, whose ``run`` and ``service`` find the container that is kept, or make it for all.

    ``place`` is where it is declared; each further ``run`` is another place. ``progress`` is told of whom this waits
    for. What is ``reused`` is found by what it is, all else by its place.
    """

    def __init__(
        self, engine: Engine, keeper: Keeper, place: str, *, reused: bool, progress: Callable[[str], None]
    ) -> None:
        self._share(engine)
        self._keeper = keeper
        self._place = place
        self._runs = 0
        self._reused = reused
        self._progress = progress
        self._until_closed = ExitStack()

    def _run(
        self,
        handle: type[HandleT],
        image: Image | str | os.PathLike[str],
        command: arguments.Command | None,
        wait: Wait | str | None,
        timeout: float,
        options: ContainerOptions,
    ) -> HandleT:
        """As Engine's, once for all; if another process is about to, this waits for it.

        Its errors are the same in all processes; KeeperError is one more.
        """
        ready, seconds = parse_wait(wait), arguments.parse_seconds(timeout)
        request = self._requested(image, command, options)
        found = self._image_to_run(request.image, request.options.get("pull"))
        self._runs += 1
        place = self._place if self._runs == 1 else f"{self._place}#{self._runs}"
        shared = SharedContainer.of(place, found, request.command, request.options)
        wanted = shared.wanted(reused=self._reused, seconds=seconds + _START_SECONDS)
        container_id = self._keeper.claim(wanted, self._progress)
        if container_id is None:
            return self._make(handle, shared, wanted, ready, seconds)
        assert isinstance(container_id, str)
        return self._found(handle, container_id)

    def _make(
        self, handle: type[HandleT], shared: SharedContainer, wanted: Wanted, ready: Wait | None, seconds: float
    ) -> HandleT:
        options = dict(shared.options)
        if self._reused:
            options["labels"] = {**options.get("labels", {}), REUSED_LABEL: shared.place}
        try:
            container = self._found(handle, self._keeper.run(wanted, shared.image, shared.command, options, seconds))
            for observer in self._resources.extensions.observers:
                observer.after_start(container)
            self._await_ready(container, ready, seconds)
        except Exception as error:
            with suppress(KeeperError):
                self._keeper.fail(wanted, error)
            raise
        except BaseException:  # Ctrl-C: another process makes it, if there is one
            self._keeper.abandon()
            raise
        self._finish(wanted)
        return container

    def _finish(self, wanted: Wanted) -> None:
        """From now on others may have it."""
        self._keeper.finish(wanted)

    def _found(self, handle: type[HandleT], container_id: str) -> HandleT:
        container = connect_as(handle, self._resources, container_id, self._forget)
        self._until_closed.callback(container.release)
        return container

    def close(self) -> None:
        """Lets go of its handles. The engine stays open, and what is kept is the keeper's."""
        if self._resources.are_ours():
            self._until_closed.close()


class LodgingEngine(SharingEngine):
    """The same engine, whose containers a keeper runs, in networks that are the keeper's.

    They are this process's alone, and gone when it is closed, or this process's connection.
    """

    def __init__(self, engine: Engine, keeper: Keeper) -> None:
        super().__init__(engine, keeper, f"of this process alone, {uuid4().hex}", reused=False, progress=lambda _: None)

    def _finish(self, wanted: Wanted) -> None:
        """Nobody else may have it; when this is closed, its address and its names are free again."""
        self._until_closed.callback(self._keeper.discard, wanted)


def shared_network(
    keeper: Keeper,
    place: str,
    name: str | None,
    progress: Callable[[str], None],
    *,
    subnet: str | None = None,
    internal: bool = False,
    ipv6: bool = False,
) -> SharedNetwork:
    """The keeper's network that is declared at ``place``, made for all who want it.

    Raises what ``Engine.network`` raises, the same in all processes, and KeeperError.
    """
    specification = {"name": str(name), "subnet": str(subnet), "internal": str(internal), "ipv6": str(ipv6)}
    wanted = Wanted(place, place, specification, READY_SECONDS)
    network = keeper.claim(wanted, progress)
    if network is None:
        try:
            network = keeper.make_network(wanted, name, subnet=subnet, internal=internal, ipv6=ipv6)
        except Exception as error:
            with suppress(KeeperError):
                keeper.fail(wanted, error)
            raise
        keeper.finish(wanted)
    assert isinstance(network, SharedNetwork)
    return network


def is_in_shared_network(options: Mapping[str, Any]) -> bool:
    """Whether a container with these options is in a network that a keeper has."""
    networks = options.get("networks")
    several = networks if isinstance(networks, Collection) else ()
    return any(isinstance(one, SharedNetwork) for one in (options.get("network"), *several))


def _plain(name: str, value: object) -> Any:
    """The value as any process would have it."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, os.PathLike):
        return str(Path(os.fsdecode(value)).absolute())
    if isinstance(value, Volume | SharedNetwork):
        return value.name
    if isinstance(value, Network):
        wanted = "one that is shared too, network(shared=True): this is this engine's, which ends earlier"
        raise InvalidSpecError(f"{name} of a container that is shared or reused", repr(value), wanted)
    if isinstance(value, Mapping):
        return {_plain(name, key): _plain(name, one) for key, one in value.items()}
    if isinstance(value, Iterable) and not callable(value):
        several = [_plain(name, one) for one in value]
        return sorted(several, key=repr) if isinstance(value, set | frozenset) else several
    wanted = "texts, numbers, paths, volumes, and collections of them: other processes are to ask for the same"
    raise InvalidSpecError(f"{name} of a container that is shared or reused", repr(value), wanted)


def _with_absolute_paths(name: str, value: Any) -> Any:
    """Docker's texts that begin with a path, or have one in them, for a process that is elsewhere."""
    if isinstance(value, Mapping):
        return {_absolute(source) if isinstance(source, str) else source: target for source, target in value.items()}
    texts = [value] if isinstance(value, str) else value
    if name == "volumes":
        return [_absolute(text) for text in texts]
    prefixes = {"mounts": ("source=", "src="), "security_opt": ("seccomp=",)}[name]
    return [",".join(_absolute_after(prefixes, part, name) for part in _parts(name, text)) for text in texts]


def _parts(name: str, text: str) -> list[str]:
    return text.split(",") if name == "mounts" else [text]


def _absolute_after(prefixes: tuple[str, ...], part: str, name: str) -> str:
    for prefix in prefixes:
        path = part.removeprefix(prefix)
        if path != part and (
            path.startswith(".")
            or (name == "security_opt" and not path.lstrip().startswith("{") and Path(path).is_file())
        ):
            return prefix + str(Path(path).absolute())
    return part


def _absolute(text: str) -> str:
    """A path of this machine begins so; all else is the name of a volume, or a place in the container."""
    path, colon, rest = text.partition(":")
    return f"{Path(path).absolute()}{colon}{rest}" if text.startswith(".") else text


def _ordered(value: Any) -> Any:
    """The value with the names in mappings in order, as what it says does not depend on that."""
    if isinstance(value, Mapping):
        return sorted(((key, _ordered(one)) for key, one in value.items()), key=repr)
    return [_ordered(one) for one in value] if isinstance(value, list) else value
