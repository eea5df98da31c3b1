"""Images on their way, for the person who waits: bars on a terminal, otherwise a line for each layer."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, Protocol, TextIO

from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.progress import Progress, Stage

ENDED: Final = frozenset({Stage.HERE, Stage.MOUNTED, Stage.DONE})
"""The stages after which nothing more happens to a layer."""

_WORDS: Final = {
    Stage.WAITING: "Waiting",
    Stage.MOUNTED: "Mounted from another repository",
    Stage.COMPRESSING: "Compressing",
    Stage.DOWNLOADING: "Downloading",
    Stage.UPLOADING: "Pushing",
}


class Transfer(Protocol):
    """What is said of one image: docker's words."""

    @property
    def opening(self) -> tuple[str, ...]:
        """The lines before those of the layers."""

    @property
    def words(self) -> Mapping[Stage, str]:
        """What each stage of a layer is called."""

    @property
    def unfinished(self) -> str:
        """What a layer is called whose transfer was broken off."""

    def closing(self, digest: str, size: int, *, moved: bool) -> tuple[str, ...]:
        """The last lines: ``digest`` and ``size`` are the manifest's; ``moved`` if there was anything to do."""


@dataclass(frozen=True, slots=True)
class Pull:
    """An image that is pulled; ``missing`` as in TransferDisplay."""

    reference: Reference
    missing: bool

    words: ClassVar = MappingProxyType(_WORDS | {Stage.HERE: "Already exists", Stage.DONE: "Pull complete"})
    unfinished: ClassVar = "Not pulled"

    @property
    def opening(self) -> tuple[str, ...]:
        version = self.reference.digest or self.reference.tag
        pulling = f"{version}: Pulling from {self.reference.path}"
        return (f"Unable to find image '{self.reference.familiar}' locally", pulling) if self.missing else (pulling,)

    def closing(self, digest: str, size: int, *, moved: bool) -> tuple[str, ...]:  # noqa: ARG002
        status = "Downloaded newer image" if moved else "Image is up to date"
        return (f"Digest: {digest}", f"Status: {status} for {self.reference.familiar}")


@dataclass(frozen=True, slots=True)
class Push:
    """An image that is pushed."""

    reference: Reference

    words: ClassVar = MappingProxyType(_WORDS | {Stage.HERE: "Layer already exists", Stage.DONE: "Pushed"})
    unfinished: ClassVar = "Not pushed"

    @property
    def opening(self) -> tuple[str, ...]:
        return (f"The push refers to repository [{self.reference.name}]",)

    def closing(self, digest: str, size: int, *, moved: bool) -> tuple[str, ...]:  # noqa: ARG002
        return (f"{self.reference.tag or self.reference.digest}: digest: {digest} size: {size}",)


class ShownTransfers(ABC):
    """A TransferDisplay, for whoever knows how a transfer is shown."""

    def pulling(self, name: str, *, missing: bool) -> AbstractContextManager[Progress]:
        """As TransferDisplay has it. Raises InvalidReferenceError for what is no name."""
        return self._showing(Pull(Reference.parse(name), missing))

    def pushing(self, name: str) -> AbstractContextManager[Progress]:
        """As TransferDisplay has it. Raises InvalidReferenceError for what is no name."""
        return self._showing(Push(Reference.parse(name)))

    @abstractmethod
    def _showing(self, transfer: Transfer) -> AbstractContextManager[Progress]:
        """Shows it until the end of the block."""


class TransferLines(ShownTransfers):
    """A line for each layer when its transfer has ended, for logs and pipes. Safe to use from several threads."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    @contextmanager
    def _showing(self, transfer: Transfer) -> Iterator[Progress]:
        moved = False

        def note(digest: str, stage: Stage, done: int, total: int) -> None:  # noqa: ARG001
            nonlocal moved
            if stage is Stage.IMAGE:
                self._write(*transfer.closing(digest, total, moved=moved))
                return
            moved = True
            if stage in ENDED:
                self._write(f"{digests.short(digest)}: {transfer.words[stage]}")

        self._write(*transfer.opening)
        yield note

    def _write(self, *lines: str) -> None:
        with self._lock:
            self._file.writelines(f"{line}\n" for line in lines)
            self._file.flush()
