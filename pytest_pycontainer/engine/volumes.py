"""``Volume``: the handle on one volume, and what an engine does with volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import VolumeInUseError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.resources import Resources
    from pytest_pycontainer.store.calling import Caller
    from pytest_pycontainer.store.volumes import StoredVolume


class Volume:
    """A directory that containers can share and that outlives them.

    A context manager: leaving it removes the volume. Safe to use from several threads. Two handles on one volume are
    equal.
    """

    def __init__(
        self, stored: StoredVolume, remove: Callable[[str], None], call: Caller, *, users_may_stay: bool
    ) -> None:
        self._stored = stored
        self._remove = remove
        self._call = call
        self._users_may_stay = users_may_stay

    def __repr__(self) -> str:
        return f"<Volume {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and self._stored.directory == other._stored.directory

    def __hash__(self) -> int:
        return hash(self._stored.directory)

    def __enter__(self) -> Volume:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Removes it; where containers may stay, it stays with them. Raises what ``remove`` raises."""
        try:
            self.remove()
        except VolumeInUseError:
            if not self._users_may_stay:
                raise

    @property
    def name(self) -> str:
        """The name, given or made up."""
        return self._stored.name

    @property
    def path(self) -> Path:
        """The directory on this machine that containers see; it may be read and written at any time."""
        return self._stored.content

    @property
    def size(self) -> int:
        """Bytes that it takes on disk. Raises StoreError."""
        from pytest_pycontainer.store.sizes import size_on_disk

        return self._call(size_on_disk, self._stored.directory)

    def remove(self) -> None:
        """Removes it with all in it. Removing it again is no error.

        Raises VolumeInUseError if a container has it, running or not, of any process; StoreError.
        """
        self._remove(self.name)


class VolumeOperations:
    """The part of ``Engine`` that makes and lists volumes. Safe to use from several threads."""

    _resources: Resources

    def volume(self, name: str | None = None) -> Volume:
        """The volume of that name, made if it is not there; it stays until it is removed, and is for all processes.

        Without a name, a new one, which goes with this engine, however that ends. Raises InvalidSpecError for a name
        that docker would not take, and StoreError.
        """
        volumes = self._resources.volumes
        self._resources.require_open()
        if name is None:
            stored = self._resources.make_volume()
        else:
            with volumes.locked():
                stored = volumes.ensure(name)
        return self._volume_of(stored)

    def volumes(self) -> list[Volume]:
        """The volumes of all processes that use the store, sorted by name, but those that a container has of its own.

        Raises StoreError.
        """
        return [self._volume_of(stored) for stored in self._resources.volumes.listed()]

    def _remove_volume(self, name: str) -> None:
        if self._resources.are_ours():
            self._resources.remove_volume(name)

    def _volume_of(self, stored: StoredVolume) -> Volume:
        may_stay = self._resources.extensions.keeps is not None
        return Volume(stored, self._remove_volume, self._resources.call, users_may_stay=may_stay)
