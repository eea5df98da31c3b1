"""Image references: Docker's grammar (distribution/reference) and its short names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_pycontainer.errors import InvalidReferenceError
from pytest_pycontainer.image import digest as digests

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_NAME_CHARACTERS_AT_MOST = 255
_OFFICIAL = "library/"
_OLD_DEFAULT_DOMAIN = "index.docker.io"

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an image: registry ``domain``, repository ``path``, and a tag, a digest, or both.

    ``str()`` gives the canonical form (``docker.io/library/redis:7``).
    """

    domain: str
    path: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads a reference, completing short names as Docker does: ``redis`` is ``docker.io/library/redis:latest``.

        Raises InvalidReferenceError.
        """
        if not text:
            raise InvalidReferenceError(text, "it is empty; name an image, such as redis or localhost:5000/redis:7")
        if _IMAGE_ID.fullmatch(text):
            raise InvalidReferenceError(text, "64 hexadecimal digits are an image ID, not a name")
        rest, at, digest = text.partition("@")
        if at and not digests.is_digest(digest):
            raise InvalidReferenceError(text, "after @ comes a digest: sha256: and 64 lower-case hexadecimal digits")
        rest, tag = _split_tag(rest)
        if tag is not None and not _TAG.fullmatch(tag):
            wanted = "a tag is up to 128 letters, digits, '_', '.' and '-', and starts with none of the last two"
            raise InvalidReferenceError(text, f"bad tag {tag!r}: {wanted}")
        domain, path = _split_domain(rest)
        _check_name(text, domain, path)
        if tag is None and not at:
            tag = DEFAULT_TAG
        return cls(domain, path, tag, digest if at else None)

    @property
    def name(self) -> str:
        """The repository with its registry: ``docker.io/library/redis``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The form that Docker shows, without what it completes: ``redis:7``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name + self._suffix
        path = self.path.removeprefix(_OFFICIAL)
        return (path if "/" not in path else self.path) + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix


def _split_tag(text: str) -> tuple[str, str | None]:
    # A colon before the last slash belongs to a registry's port.
    name, colon, tag = text.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (text, None)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, path = text.partition("/")
    if not slash or not (any(c in first for c in ".:") or first == "localhost" or first != first.lower()):
        domain, path = DEFAULT_DOMAIN, text
    else:
        domain = DEFAULT_DOMAIN if first == _OLD_DEFAULT_DOMAIN else first
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _check_name(text: str, domain: str, path: str) -> None:
    if not _DOMAIN.fullmatch(domain):
        raise InvalidReferenceError(text, f"bad registry {domain!r}: wanted a host name or address, and perhaps :port")
    for part in path.split("/"):
        if not _PATH_PART.fullmatch(part):
            raise InvalidReferenceError(text, _path_problem(part))
    if len(domain) + 1 + len(path) > _NAME_CHARACTERS_AT_MOST:
        raise InvalidReferenceError(text, f"the name is longer than {_NAME_CHARACTERS_AT_MOST} characters")


def _path_problem(part: str) -> str:
    if not part:
        return "a part of the name is empty"
    if part != part.lower() and _PATH_PART.fullmatch(part.lower()):
        return f"bad name {part!r}: names are lower-case"
    return f"bad name {part!r}: wanted lower-case letters and digits, with single '.', '_', '__' or '-' between them"
