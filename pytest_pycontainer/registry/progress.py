"""What a pull or push tells while it goes on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import Protocol


class Stage(Enum):
    """What becomes of a layer, and at last ``IMAGE``: all is there."""

    WAITING = "waiting"
    HERE = "here already"
    MOUNTED = "mounted from another repository"
    COMPRESSING = "compressing"
    DOWNLOADING = "downloading"
    UPLOADING = "uploading"
    DONE = "done"
    IMAGE = "image"


class Progress(Protocol):
    """Gets the news of each layer: its digest, its stage, and how many of its bytes are through.

    The last call is for the image: ``Stage.IMAGE``, the digest of what its name stands for (its manifest or an index),
    and that one's size where it was written. If it is the only call, nothing had to be done.

    Called from several threads, for each piece that comes: it must be quick, and what it raises ends the transfer.
    ``total`` is 0 where the size is not known.
    """

    def __call__(self, digest: str, stage: Stage, done: int, total: int) -> None: ...


def silent(digest: str, stage: Stage, done: int, total: int) -> None:
    """For progress that nobody asked for."""


class TransferDisplay(Protocol):
    """Shows images on their way: opened for each one, and what it gives gets the news of that image's layers."""

    def pulling(self, name: str, *, missing: bool) -> AbstractContextManager[Progress]:
        """An image that is pulled; ``missing`` if because it was wanted and not here."""

    def pushing(self, name: str) -> AbstractContextManager[Progress]:
        """An image that is pushed."""


class NoDisplay:
    """The display of whoever has not asked for one."""

    def pulling(self, name: str, *, missing: bool) -> AbstractContextManager[Progress]:  # noqa: ARG002
        return nullcontext(silent)

    def pushing(self, name: str) -> AbstractContextManager[Progress]:  # noqa: ARG002
        return nullcontext(silent)
