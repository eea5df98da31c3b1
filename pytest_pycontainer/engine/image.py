"""``Image``: the handle on one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_pycontainer.image.config import ImageConfig

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store.

    ``id`` is the digest of its config (``host`` for the host image, ``scratch`` for the empty one), ``name`` what it
    was asked for by, ``tags`` the tags that it was given when it was built.
    """

    id: str
    name: str
    config: ImageConfig
    tags: tuple[str, ...] = ()

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id."""
        return self.id.removeprefix("sha256:")[:_SHORT]

    def __str__(self) -> str:
        return self.name
