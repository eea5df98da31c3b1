"""Removing one image, or one of its names, by docker's rules."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.errors import (
    ImageHasSeveralNamesError,
    ImageInUseError,
    ImageNotFoundError,
    InvalidReferenceError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.store.removal import WAIT_SECONDS, removal
from pytest_pycontainer.store.store import HOST, SCRATCH

if TYPE_CHECKING:
    from pytest_pycontainer.store.catalog import ListedImage
    from pytest_pycontainer.store.removal import Users
    from pytest_pycontainer.store.store import Store


@dataclass(frozen=True, slots=True)
class RemovedImages:
    """The names that were taken away (``redis:7``), and the IDs of the images that are gone."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


def remove(
    store: Store, reference: str, *, users: Users, force: bool = False, timeout: float = WAIT_SECONDS
) -> RemovedImages:
    """Takes a name from an image, and with its last one the image, with the steps and layers that no other needs.

    An ID stands for the image with all its names. An image on which others stand loses its names and stays, as a step
    of theirs. With ``force``, also several names go, and the name of an image that a container uses; that image stays.

    Raises ImageNotFoundError, ImageInUseError, ImageHasSeveralNamesError, StoreError, and InvalidReferenceError for
    ``host`` and ``scratch``, which are always there.
    """
    if reference in (HOST, SCRATCH):
        raise InvalidReferenceError(reference, "it stands for an image that is always there; name another")
    with removal(store, users, timeout) as removing:
        catalog = removing.catalog
        image_id = store.image(reference).id
        if image_id not in catalog:
            raise ImageNotFoundError(reference)
        image = catalog[image_id]
        name = _name(store, reference)
        if name is not None:
            going = _going_with(name, image.names)
        elif force or _is_one_name(image.names):
            going = image.names
        else:
            raise ImageHasSeveralNamesError(reference, tuple(map(_familiar, image.names)))
        containers = removing.users.get(image.id, ())
        if len(going) == len(image.names):
            if containers and not (force and going):
                raise ImageInUseError(reference, containers)
            if not going and catalog.carries(image):
                raise ImageInUseError(reference, (), tuple(map(_shown, catalog.standing_on(image))))
        removing.untag(going)
        removing.delete_unneeded(image)
    return RemovedImages(tuple(removing.untagged), tuple(removing.deleted))


def _name(store: Store, reference: str) -> str | None:
    """The (canonical) name that ``reference`` is; None if it is an ID."""
    with suppress(InvalidReferenceError):
        if named := store.named(reference):
            return named[0]
    return None


def _going_with(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """``name``, and with a repository's last tag the digests that the image has there."""
    repository = Reference.parse(name).name
    others = [one for one in names if one != name and Reference.parse(one).name == repository]
    return (name,) if "@" in name or any("@" not in one for one in others) else (name, *others)


def _is_one_name(names: tuple[str, ...]) -> bool:
    """Whether there is one tag at most, and all digests are of one repository."""
    return len({Reference.parse(name).name for name in names}) <= 1 and sum("@" not in name for name in names) <= 1


def _familiar(name: str) -> str:
    return Reference.parse(name).familiar


def _shown(image: ListedImage) -> str:
    return _familiar(image.names[0]) if image.names else digests.short(image.id)
