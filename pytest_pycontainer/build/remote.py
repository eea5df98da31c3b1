"""What ADD reads over the network, and who fetches it: a protocol, as the network is no business of this room."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""The name of a git commit: SHA-1's or SHA-256's digits."""

SCP_FORM = re.compile(r"[\w.-]+@[\w.-]+:[^/].*")
"""git's other form of an address: ``git@host:path``."""


@dataclass(frozen=True, slots=True)
class GitSource:
    """A directory in a git repository; ``reference`` is a branch, a tag or a commit, empty for the default branch."""

    repository: str
    reference: str
    directory: str

    @classmethod
    def parse(cls, source: str) -> GitSource | None:
        """``https://host/path.git#reference:directory``, ``git://…``, ``ssh://…``, ``git@host:path``; else None."""
        repository, _, fragment = source.partition("#")
        scheme = urlsplit(repository).scheme
        is_git = (
            scheme in ("git", "ssh")
            or (scheme in ("http", "https") and urlsplit(repository).path.endswith(".git"))
            or (not scheme and SCP_FORM.fullmatch(repository) is not None)
        )
        if not is_git:
            return None
        reference, _, directory = fragment.partition(":")
        return cls(repository, reference, directory.strip("/"))


def without_password(address: str) -> str:
    """The address of a file or a repository as it may be shown."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.scheme else address


def is_url(source: str) -> bool:
    """Whether it is a file on the web, and no git repository there."""
    return source.startswith(("http://", "https://")) and GitSource.parse(source) is None


@dataclass(frozen=True, slots=True)
class Download:
    """A file from the web: where its content is now, read-only, with its time; and the digest of that."""

    path: Path
    digest: str


class RemoteProblem(Exception):  # noqa: N818  (becomes an error where the Dockerfile's line is known)
    """Something could not be fetched: ``problem`` says what, and what to do."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class ChecksumProblem(RemoteProblem):
    """Something was fetched, and is something else than was expected."""


class RemoteSources(Protocol):
    """Fetches. Safe for several threads; every call has a time limit, and raises RemoteProblem."""

    def download(self, url: str, digest: str | None) -> Download:
        """Fetches a file, unless it is here and has not changed.

        With its ``digest`` known it need not be asked for at all. Raises ChecksumProblem for one with another digest.
        """

    def find_commit(self, repository: str, reference: str) -> str:
        """The commit (40 or 64 hexadecimal digits) that a branch, a tag or a commit's own name stands for now."""

    def check_out(self, repository: str, commit: str, directory: Path, *, keep_git_directory: bool) -> None:
        """Fills the empty ``directory`` with a commit's files, whose times are the commit's."""
