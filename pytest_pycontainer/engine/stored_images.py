"""What an engine does with the images that are in the store."""

from __future__ import annotations

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.store.store import parse_new_tag


class StoredImages:
    """The part of ``Engine`` that lists, names and removes images. Safe to use from several threads."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def images(self) -> list[Image]:
        """The images that have names in the store, of all processes that use it, one for each name."""
        store = self._resources.store
        return [
            Image(image_id, Reference.parse(name).familiar, store.config(image_id), store)
            for name, image_id in store.tags().items()
        ]

    def tag(self, image: Image | str, reference: str) -> Image:
        """Gives an image a further name. Raises InvalidReferenceError and ImageNotFoundError."""
        name = parse_new_tag(reference)
        stored = self._resources.store.image(image if isinstance(image, str) else image.id)
        self._resources.store.tag(stored.id, str(name))
        return Image(stored.id, reference, stored.config, self._resources.store)
