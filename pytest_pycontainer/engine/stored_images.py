"""What an engine does with the images that are in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.store.store import parse_new_tag

if TYPE_CHECKING:
    from pytest_pycontainer.engine.disk_usage import DiskUsage
    from pytest_pycontainer.store.prune import Pruned
    from pytest_pycontainer.store.remove_image import RemovedImages


class StoredImages:
    """The part of ``Engine`` that lists, names and removes images. Safe to use from several threads."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def images(self, *, all: bool = False) -> list[Image]:  # noqa: A002  (docker's word)
        """The images of all processes that use the store, sorted by name; one with several tags is there for each.

        Those without a tag come last, by a digest if they have one, else by ID; the steps of builds only with ``all``.
        Raises StoreError.
        """
        from pytest_pycontainer.store.catalog import Catalog

        store = self._resources.store
        catalog = Catalog.read(store)
        tagged, others = {}, {}
        for image in catalog:
            for tag in image.tags:
                tagged[Reference.parse(tag).familiar] = image
            if not image.tags and (all or not catalog.is_intermediate(image)):
                others[Reference.parse(image.names[0]).familiar if image.names else image.id] = image
        listed = [*sorted(tagged.items(), key=lambda item: item[0]), *others.items()]
        return [Image(image.id, name, image.config, store) for name, image in listed]

    def tag(self, image: Image | str, reference: str) -> Image:
        """Gives an image a further name. Raises InvalidReferenceError and ImageNotFoundError."""
        name = parse_new_tag(reference)
        stored = self._resources.store.image(image if isinstance(image, str) else image.id)
        self._resources.store.tag(stored.id, str(name))
        return Image(stored.id, reference, stored.config, self._resources.store)

    def remove(self, image: Image | str, *, force: bool = False) -> RemovedImages:
        """Takes a name from an image, and with its last one the image, by docker's rules; an Image goes by its ID.

        What other images need of it stays: one on which others stand loses its names only. By ID an image goes with
        all its names; there must be one only, but for ``force``. With ``force``, also an image that a container uses
        loses its name; it stays.

        Waits a minute at most for pulls and builds that are under way. Raises ImageNotFoundError, ImageInUseError
        (containers of any process), ImageHasSeveralNamesError, InvalidReferenceError, and StoreError.
        """
        from pytest_pycontainer.store.remove_image import remove

        reference = image if isinstance(image, str) else image.id
        return remove(self._resources.store, reference, users=self._resources.records.users_of_images, force=force)

    def prune(
        self,
        *,
        all: bool = False,  # noqa: A002  (docker's word)
        older_than: float | None = None,
        unused_for: float | None = None,
        keep_bytes: int | str | None = None,
    ) -> Pruned:
        """Removes images without a tag on which no other stands; with ``all`` every image that no container uses,
        and, unless there is a ``keep_bytes``, what RUN's cache mounts hold.

        ``older_than`` and ``unused_for`` (seconds) spare what was stored, or last used, more recently. With
        ``keep_bytes`` (``"10g"``) the least recently used go first, until all layers take no more than that. Steps of
        builds go with the last image that has them. Cleared is also what killed processes have left in the store.

        Waits a minute at most for pulls and builds that are under way. Raises InvalidSpecError and StoreError.
        """
        from pytest_pycontainer.store.prune import prune

        for field, seconds in (("older_than", older_than), ("unused_for", unused_for)):
            if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):
                raise InvalidSpecError(field, str(seconds), "a number of seconds")
        return prune(
            self._resources.store,
            users=self._resources.records.users_of_images,
            tagged=all,
            older_than=older_than,
            unused_for=unused_for,
            keep_bytes=arguments.parse_bytes("keep_bytes", keep_bytes),
        )

    def disk_usage(self) -> DiskUsage:
        """What images, containers, volumes and the build cache take on disk. Raises StoreError."""
        from pytest_pycontainer.engine.disk_usage import disk_usage

        volumes = self._resources.volumes.listed()
        return disk_usage(self._resources.store, self._resources.records.live(), volumes)
