"""Fetching what ADD reads over the network (the ``RemoteSources`` that ``build`` is handed)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.build.remote import ChecksumProblem, Download, RemoteProblem, without_password
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import CertificateFileError, RegistryError, RegistryUnavailableError
from pytest_pycontainer.store.downloads import Downloads, KnownDownload

if TYPE_CHECKING:
    from pytest_pycontainer.registry.transport import Response

_OK, _NOT_MODIFIED = 200, 304
_ATTEMPTS = 3
"""How often a file is fetched that breaks off in the middle; to reach its server there are more attempts."""

_SECONDS_AT_MOST = 3600.0


class NetworkSources:
    """Fetches with the engine's proxy and certificates. Safe for several threads."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._downloads = Downloads(resources.store)

    def download(self, url: str, digest: str | None) -> Download:
        """As ``RemoteSources`` has it. A server that tells neither time nor tag is asked for all of it every time."""
        known = self._downloads.known(url)
        if known is None or known.digest != digest:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    known = self._fetch(url, known)
                    break
                except CertificateFileError as problem:
                    raise RemoteProblem(str(problem)) from problem
                except RegistryError as problem:
                    if attempt == _ATTEMPTS or not _may_help(problem):
                        raise RemoteProblem(_explained(problem)) from problem
        assert known is not None
        if digest not in (None, known.digest):
            raise ChecksumProblem(f"{without_password(url)} has the digest {known.digest}; wanted {digest}")
        return Download(self._downloads.file(url, known), known.digest)

    def find_commit(self, repository: str, reference: str) -> str:
        from pytest_pycontainer.engine.git_checkout import find_commit

        return find_commit(repository, reference)

    def check_out(self, repository: str, commit: str, directory: Path, *, keep_git_directory: bool) -> None:
        from pytest_pycontainer.engine.git_checkout import check_out

        check_out(repository, commit, directory, keep_git_directory=keep_git_directory)

    def _fetch(self, url: str, known: KnownDownload | None) -> KnownDownload:
        from pytest_pycontainer.registry.transport import Request

        headers = {}
        if known is not None and known.tag:
            headers["If-None-Match"] = known.tag
        elif known is not None and known.changed_at is not None:
            when = datetime.fromtimestamp(known.changed_at, UTC)
            headers["If-Modified-Since"] = format_datetime(when, usegmt=True)
        request = Request("GET", url, f"download {without_password(url)}", headers)
        with self._resources.registries.exchange.send(request) as response:
            if response.status == _NOT_MODIFIED and known is not None:
                return known
            if response.status != _OK:
                raise RemoteProblem(
                    f"cannot download {without_password(url)}: its server answers with status {response.status}"
                )
            changed_at = _changed_at(response)
            return self._downloads.receive(url, _in_time(response, url), changed_at, response.headers.get("ETag", ""))


def _in_time(response: Response, url: str) -> Iterator[bytes]:
    deadline = time.monotonic() + _SECONDS_AT_MOST
    for piece in response.stream():
        yield piece
        if time.monotonic() > deadline:
            raise RemoteProblem(f"cannot download {without_password(url)}: it took longer than {_SECONDS_AT_MOST:g} s")


def _changed_at(response: Response) -> int | None:
    try:
        return int(parsedate_to_datetime(response.headers.get("Last-Modified", "")).timestamp())
    except (ValueError, OverflowError):
        return None


def _may_help(problem: RegistryError) -> bool:
    return type(problem) is RegistryUnavailableError


def _explained(problem: RegistryError) -> str:
    return f"cannot {problem.doing}: {problem.registry}: {problem.detail}"
