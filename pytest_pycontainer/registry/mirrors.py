"""Mirrors: where an image is pulled from before its own registry is asked. Nothing is ever pushed to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from pytest_pycontainer.errors import CertificateFileError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_pycontainer.image.reference import Reference
    from pytest_pycontainer.registry.repository import Repository
    from pytest_pycontainer.registry.transport import Response

_Answer = TypeVar("_Answer")


class Source(Protocol):
    """What an image can be pulled from; see ``Repository``, which is one."""

    @property
    def registry(self) -> str: ...

    @property
    def name(self) -> str: ...

    def manifest_digest(self, reference: Reference) -> str | None: ...

    def manifest(self, reference: Reference) -> tuple[str, bytes]: ...

    def blob(self, digest: str, offset: int = 0) -> Response: ...

    def pause(self, attempt: int) -> None: ...


class MirroredSource:
    """The ``mirrors`` of the repository ``origin`` in their order, then itself, for one pull.

    A mirror that is down, lacks something, refuses, or sends another manifest than the digest's is passed over for the
    rest of this pull, and so are all when transfers break off repeatedly. What each said becomes a note of the error
    that ``origin`` then raises. The image's name is that in its own registry. Safe for several threads: two may find
    out at once that a mirror is down.
    """

    def __init__(self, mirrors: Sequence[Repository], origin: Repository) -> None:
        self._mirrors = mirrors
        self._origin = origin
        self._refusals: dict[Repository, str] = {}

    @property
    def registry(self) -> str:
        return self._origin.registry

    @property
    def name(self) -> str:
        return self._origin.name

    def manifest_digest(self, reference: Reference) -> str | None:
        return self._first(lambda repository: repository.manifest_digest(reference))

    def manifest(self, reference: Reference) -> tuple[str, bytes]:
        return self._first(lambda repository: repository.manifest(reference))

    def blob(self, digest: str, offset: int = 0) -> Response:
        return self._first(lambda repository: repository.blob(digest, offset))

    def pause(self, attempt: int) -> None:
        if attempt > 1:  # else the same mirror could break off again and again
            for mirror in self._mirrors:
                self._refusals.setdefault(mirror, "transfers broke off")
        self._origin.pause(attempt)

    def _first(self, ask: Callable[[Repository], _Answer]) -> _Answer:
        for mirror in self._mirrors:
            if mirror not in self._refusals:
                try:
                    return ask(mirror)
                except CertificateFileError:
                    raise  # something to mend here, not there
                except ImageError as problem:
                    self._refusals[mirror] = str(problem)
        try:
            return ask(self._origin)
        except ImageError as problem:
            for mirror, said in self._refusals.items():
                problem.add_note(f"the mirror {mirror.registry} before: {said}")
            raise
