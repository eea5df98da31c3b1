"""``Repository``: one repository of one registry, and what can be asked of it (OCI distribution-spec, "Endpoints")."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from pytest_pycontainer.errors import (
    AccessDeniedError,
    DigestMismatchError,
    ImageNotInRegistryError,
    RegistryAnswerError,
    RegistryError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.manifest import INDEXES, MANIFEST_BYTES_AT_MOST, MANIFESTS
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.auth import Authorizer, authorized, parse_challenges
from pytest_pycontainer.registry.exchange import ATTEMPTS, Exchange, origin
from pytest_pycontainer.registry.transport import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ERROR_BYTES_AT_MOST: Final = 64 << 10
_NO_SUCH_METHOD: Final = 405
_TAGS_AT_MOST: Final = 1000
_SUGGESTIONS_AT_MOST: Final = 3
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]+)")
_PULL: Final = "repository:{}:pull"
_PUSH: Final = "repository:{}:pull,push"


class Repository:
    """A repository; ``base`` gives its registry's address (``https://registry.test:5000``) when it is first needed.

    A mirror is asked once for each thing, as its registry can be asked instead.
    Safe for several threads. Every method raises RegistryUnavailableError, RegistryCertificateError,
    AccessDeniedError, RateLimitedError, ProxyError, CertificateFileError, and RegistryAnswerError for an answer that
    the protocol does not have.
    """

    def __init__(
        self,
        exchange: Exchange,
        authorizer: Authorizer,
        reference: Reference,
        base: Callable[[], str],
        *,
        is_mirror: bool = False,
    ) -> None:
        self._exchange = exchange
        self._authorizer = authorizer
        self.registry = reference.domain
        self._path = reference.path
        self._base = base
        self.name = reference.name
        self._is_mirror = is_mirror

    @property
    def _root(self) -> str:
        return f"{self._base()}/v2/{self._path}/"

    # Manifests

    def manifest_digest(self, reference: Reference) -> str | None:
        """The digest that the tag stands for now, by one HEAD; None if the registry does not say, or knows no HEAD.

        Raises ImageNotInRegistryError.
        """
        doing = f"find {reference}"
        with self._send("HEAD", self._manifest_url(reference), doing, headers=_accept()) as response:
            if response.status == _NO_SUCH_METHOD:
                return None
            self._check_found(response, doing, reference)
            digest = response.headers.get("Docker-Content-Digest", "")
        return digest if digests.is_digest(digest) else None

    def manifest(self, reference: Reference) -> tuple[str, bytes]:
        """Media type and content of the manifest or index; with a digest in ``reference``, the one it belongs to.

        Raises ImageNotInRegistryError, DigestMismatchError.
        """
        doing = f"read the manifest of {reference}"
        with self._send("GET", self._manifest_url(reference), doing, headers=_accept()) as response:
            self._check_found(response, doing, reference)
            content = response.read(MANIFEST_BYTES_AT_MOST)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if reference.digest and (got := digests.of(content)) != reference.digest:
            raise DigestMismatchError(f"the manifest of {reference}", got, reference.digest)
        return media_type, content

    def put_manifest(self, reference: Reference, media_type: str, content: bytes) -> None:
        """Stores a manifest under the tag of ``reference``, or its digest. What it names has to be there."""
        doing = f"push the manifest of {reference}"
        headers = {"Content-Type": media_type}
        url = self._manifest_url(reference)
        with self._send("PUT", url, doing, headers=headers, body=content, scope=_PUSH) as response:
            self._expect(response, doing, 201)

    def tags(self) -> tuple[str, ...]:
        """Up to a thousand of its tags."""
        doing = f"list the tags of {self.name}"
        with self._send("GET", f"{self._root}tags/list?n={_TAGS_AT_MOST}", doing) as response:
            self._expect(response, doing, 200)
            content = response.read(MANIFEST_BYTES_AT_MOST)
        try:
            found = json.loads(content)["tags"] or []
        except (ValueError, KeyError, TypeError):
            raise self._answer(doing, "it sends something else than a list of tags") from None
        return tuple(tag for tag in found if isinstance(tag, str))

    # Blobs

    def blob(self, digest: str, offset: int = 0) -> Response:
        """A blob from byte ``offset`` on (status 206), or from its beginning if the registry can't (status 200)."""
        doing = f"download {digest} of {self.name}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._send("GET", f"{self._root}blobs/{digest}", doing, headers=headers)
        try:
            self._expect(response, doing, 206 if offset and response.status == 206 else 200)
            start = response.headers.get("Content-Range", "")
            if response.status == 206 and not start.startswith(f"bytes {offset}-"):
                raise self._answer(doing, f"asked for bytes from {offset}, it sends {start!r}")
        except BaseException:
            response.__exit__(None, None, None)
            raise
        return response

    def has_blob(self, digest: str) -> bool:
        """Whether it is there."""
        doing = f"look for {digest} in {self.name}"
        with self._send("HEAD", f"{self._root}blobs/{digest}", doing, scope=_PUSH) as response:
            if response.status != 404:
                self._expect(response, doing, 200)
            return response.status == 200

    def mount(self, digest: str, source: str) -> bool:
        """Takes over a blob of the repository ``source`` (a path) of the same registry; False if it did not work."""
        doing = f"mount {digest} of {source} in {self.name}"
        query = urlencode({"mount": digest, "from": source})
        scope = f"{_PUSH} {_PULL.format(source)}"
        try:
            with self._send("POST", f"{self._root}blobs/uploads/?{query}", doing, scope=scope) as response:
                self._expect(response, doing, 201, 202)
                if response.status == 201:
                    return True
                begun = self._location(response, doing)
            # It wants an upload instead; one will be begun when there is something to send.
            self._send("DELETE", begun, doing, scope=_PUSH).__exit__(None, None, None)
        except (AccessDeniedError, RegistryAnswerError):
            pass  # a mount only saves time: who may not read the other repository uploads
        return False

    # Uploads

    def begin_upload(self) -> str:
        """Begins to upload a blob, and returns where it goes on."""
        doing = f"begin an upload to {self.name}"
        with self._send("POST", f"{self._root}blobs/uploads/", doing, scope=_PUSH) as response:
            self._expect(response, doing, 202)
            return self._location(response, doing)

    def send_chunk(self, location: str, content: bytes, offset: int) -> tuple[str, int]:
        """Sends the next piece of a blob once, and returns where it goes on, and how many bytes are there."""
        doing = f"upload to {self.name}"
        end = offset + len(content)
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{offset}-{end - 1}"}
        # Once: a piece that did arrive, and whose answer got lost, would be appended again.
        with self._send("PATCH", location, doing, headers=headers, body=content, scope=_PUSH, attempts=1) as response:
            self._expect(response, doing, 202, 201)
            return self._location(response, doing), _received(response, end)

    def upload_state(self, location: str) -> tuple[str, int]:
        """As ``send_chunk``, for an upload that was interrupted."""
        doing = f"resume an upload to {self.name}"
        with self._send("GET", location, doing, scope=_PUSH) as response:
            self._expect(response, doing, 204, 202)
            return self._location(response, doing) if "Location" in response.headers else location, _received(
                response, 0
            )

    def end_upload(self, location: str, digest: str) -> None:
        """Ends an upload; the registry checks that it is ``digest``."""
        doing = f"end the upload of {digest} to {self.name}"
        separator = "&" if urlsplit(location).query else "?"
        url = f"{location}{separator}{urlencode({'digest': digest})}"
        with self._send("PUT", url, doing, scope=_PUSH, attempts=1) as response:
            self._expect(response, doing, 201)

    def pause(self, attempt: int) -> None:
        """Waits before what failed ``attempt`` times is tried again."""
        self._exchange.pause(attempt)

    # The way there

    def _manifest_url(self, reference: Reference) -> str:
        return f"{self._root}manifests/{quote(reference.digest or reference.tag or '', safe=':')}"

    def _send(
        self,
        method: str,
        url: str,
        doing: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        scope: str = _PULL,
        attempts: int | None = None,
    ) -> Response:
        attempts = attempts or (1 if self._is_mirror else ATTEMPTS)
        request = Request(method, url, doing, headers or {}, body)
        scope = scope.format(self._path)
        if self._is_ours(url):  # an upload may go on elsewhere: not with our name
            request = authorized(request, self._authorizer.header(scope))
        response = self._exchange.send(request, attempts=attempts)
        if response.status == 401 and self._is_ours(response.url):
            with response:
                challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
            header = self._authorizer.answer(request, challenges, scope)
            response = self._exchange.send(authorized(request, header), attempts=attempts)
        if response.status in (401, 403):
            with response:
                raise AccessDeniedError(self.registry, doing, _detail(response, method))
        return response

    def _is_ours(self, url: str) -> bool:
        """Whether credentials may go there: to the registry itself, and nowhere that it names."""
        return origin(url) == origin(self._base())

    def _check_found(self, response: Response, doing: str, reference: Reference) -> None:
        if response.status == 404:
            raise ImageNotInRegistryError(reference.familiar, self._near(reference))
        self._expect(response, doing, 200)

    def _near(self, reference: Reference) -> tuple[str, ...]:
        if self._is_mirror:
            return ()
        try:
            tags = self.tags()
        except RegistryError:
            return ()  # no such repository, or one whose tags are not to be seen
        near = get_close_matches(reference.tag or "", tags, _SUGGESTIONS_AT_MOST, cutoff=0.4)
        return tuple(Reference(reference.domain, reference.path, tag, None).familiar for tag in near)

    def _expect(self, response: Response, doing: str, *wanted: int) -> None:
        if response.status not in wanted:
            raise self._answer(doing, _detail(response, ""))

    def _location(self, response: Response, doing: str) -> str:
        location = response.headers.get("Location")
        if not location:
            raise self._answer(doing, "its answer has no Location")
        return urljoin(response.url, location)

    def _answer(self, doing: str, detail: str) -> RegistryAnswerError:
        return RegistryAnswerError(self.registry, doing, detail)


def _accept() -> dict[str, str]:
    return {"Accept": ", ".join((*INDEXES, *MANIFESTS))}


def _received(response: Response, otherwise: int) -> int:
    match = _RANGE.fullmatch(response.headers.get("Range", ""))
    if match is None:
        return otherwise
    # 0-0 is what distribution's registry says of an upload without a byte.
    return int(match[1]) + 1 if int(match[1]) else 0


def _detail(response: Response, method: str) -> str:
    """A status and what the answer says of it (distribution-spec, "Error Codes")."""
    said = f"status {response.status}"
    if method == "HEAD":
        return said
    try:
        found = json.loads(response.read(_ERROR_BYTES_AT_MOST))["errors"]
        texts = [f"{error.get('code', '')}: {error.get('message', '')}" for error in found]
    except (RegistryError, ValueError, KeyError, TypeError, AttributeError):
        return said  # whatever it is, it is not the protocol's form
    return ", ".join([said, *texts])
