"""A container's mounts: volumes are made or found for it, and all are put in order."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.runtime.spec import BindMount, Mount, TmpfsMount, VolumeMount
from pytest_pycontainer.store.files import storing

_OWN_VOLUMES = "volumes"


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """A volume that a container is to have: the named one, or without ``name`` a new one of its own.

    With ``copies`` an empty one is filled with what the image has there; ``may_make`` says whether a named one is made
    if it is not there.
    """

    target: str
    name: str = ""
    read_only: bool = False
    copies: bool = True
    may_make: bool = True


WantedMount: TypeAlias = BindMount | TmpfsMount | VolumeUse


@contextmanager
def mounts_of(
    resources: Resources, wanted: Iterable[Mount | WantedMount], directory: Path
) -> Iterator[tuple[tuple[Mount, ...], tuple[str, ...]]]:
    """The mounts as the runtime takes them, and the names of the volumes among them.

    Nobody removes these before the end of the block, in which they are to be recorded as the container's. Its own
    volumes lie in its ``directory`` and go with that. Raises VolumeNotFoundError and StoreError.
    """
    uses = [one for one in wanted if isinstance(one, VolumeUse)]
    names = tuple(dict.fromkeys(use.name for use in uses if use.name))
    with resources.volumes.locked() if names else nullcontext():
        yield (
            tuple(
                _mount(resources, one, directory, number) if isinstance(one, VolumeUse) else one
                for number, one in enumerate(wanted)
            ),
            names,
        )


def own_volumes(directory: Path) -> Path:
    """Where the volumes are that go with the container in ``directory``; it may be missing."""
    return directory / _OWN_VOLUMES


def in_order(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Outer ones first, so that none hides another; of two in one place the later."""
    return tuple(sorted(mounts, key=lambda one: posixpath.normpath(one.target).count("/")))


def _mount(resources: Resources, use: VolumeUse, directory: Path, number: int) -> VolumeMount:
    if use.name:
        volume = resources.volumes.ensure(use.name, may_make=use.may_make).directory
    else:
        volume = own_volumes(directory) / str(number)
        with storing("make the volume", volume):
            (volume / "content").mkdir(parents=True)
            (volume / "content").chmod(0o755)
    return VolumeMount(str(volume), use.target, use.read_only, use.copies)
