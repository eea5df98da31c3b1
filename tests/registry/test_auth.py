"""Who may do what: htpasswd, tokens and TLS, at real registries."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import stat
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import (
    AccessDeniedError,
    InvalidSpecError,
    RegistryAnswerError,
)
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.auth import Authorizer, Challenge, parse_challenges
from pytest_pycontainer.registry.credentials import Credentials, CredentialStore
from pytest_pycontainer.registry.exchange import Exchange
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.push import push
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.registry.transport import HttpTransport, Request
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from tests.registry.conftest import Authority, Registry, SmallServer

MakeImage = Callable[..., str]
NewStore = Callable[[], Store]


def test_challenges() -> None:
    header = 'Bearer realm="https://a.test/token",service="a, \\"b\\"",scope=x:y, Basic realm="z"'
    assert parse_challenges(header) == [
        Challenge("bearer", {"realm": "https://a.test/token", "service": 'a, "b"', "scope": "x:y"}),
        Challenge("basic", {"realm": "z"}),
    ]
    assert parse_challenges("Negotiate") == [Challenge("negotiate", {})]
    assert parse_challenges("") == []


@given(st.text())
def test_any_text_is_some_challenges(header: str) -> None:
    parse_challenges(header)


@pytest.mark.parametrize("address", ["", " ", "https://", "http://[::1", "a registry"])
def test_text_that_names_no_registry(registries: Registries, address: str) -> None:
    with pytest.raises(InvalidSpecError, match="a host name or address"):
        registries.login(address, "somebody", "secret")
    with pytest.raises(InvalidSpecError):
        registries.logout(address)


def test_a_registry_is_named_by_a_url_too(
    htpasswd_registry: Registry, registries: Registries, credentials: CredentialStore
) -> None:
    host = htpasswd_registry.host
    registries.login(f"https://{host}/v2/", htpasswd_registry.user, htpasswd_registry.password)
    assert credentials.find(host) is not None
    assert registries.logout(f"http://{host}")
    assert credentials.find(host) is None


def test_user_and_password(
    htpasswd_registry: Registry,
    registries: Registries,
    credentials: CredentialStore,
    new_store: NewStore,
    make_image: MakeImage,
    tmp_path: Path,
) -> None:
    host = htpasswd_registry.host
    store = new_store()
    image = make_image(store, {"a": b"1"})
    with pytest.raises(AccessDeniedError, match="there are none for it"):
        push(store, registries, image, f"{host}/mine:1")
    with pytest.raises(AccessDeniedError, match="refuses"):
        registries.login(host, htpasswd_registry.user, "wrong")
    assert credentials.find(host) is None
    registries.login(host, htpasswd_registry.user, htpasswd_registry.password)
    file = tmp_path / "home/.docker/config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    push(store, registries, image, f"{host}/mine:1")
    assert pull(new_store(), registries, f"{host}/mine:1").id == image
    assert registries.logout(host)
    assert not registries.logout(host)
    with pytest.raises(AccessDeniedError):
        pull(new_store(), registries, f"{host}/mine:1")


class TokenServer:
    """Gives signed tokens to everybody for reading, and to the registry's user for all that is asked for.

    The user is known by the password, or by ``identity_token``.
    """

    identity_token = "of the user"

    def __init__(self, authority: Authority, registry_class: type[Registry], issuer: str, service: str) -> None:
        self._authority = authority
        known = f"{registry_class.user}:{registry_class.password}"
        self._known = "Basic " + base64.b64encode(known.encode()).decode()
        self._issuer, self._service = issuer, service

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        given = headers.get("authorization")
        scopes = parse_qs(urlsplit(path).query).get("scope", [])
        if method == "POST":  # OAuth 2
            form = parse_qs(body.decode())
            if (form["grant_type"], form["refresh_token"]) != (["refresh_token"], [self.identity_token]):
                return 401, {}, b""
            given, scopes = self._known, form["scope"][0].split(" ")
        if given not in (None, self._known):
            return 401, {}, b""
        access: list[dict[str, object]] = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [action for action in actions.split(",") if given or action == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        key = "access_token" if method == "POST" else "token"
        return 200, {}, json.dumps({key: self._token(access), "expires_in": 300}).encode()

    def _token(self, access: list[dict[str, object]]) -> str:
        certificate = ssl.PEM_cert_to_DER_cert(self._authority.certificate.read_text())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(certificate).decode()]}
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "sub": "test",
            "aud": self._service,
            "jti": str(uuid.uuid4()),
            "nbf": now - 10,
            "iat": now,
            "exp": now + 300,
            "access": access,
        }
        signed = b".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._authority.key)]
        signature = subprocess.run(command, input=signed, capture_output=True, check=True, timeout=60).stdout
        return (signed + b"." + encoded(signature)).decode()


def encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@pytest.fixture
def tokens(registry: Registry, authority: Authority) -> TokenServer:
    return TokenServer(authority, type(registry), "tests-tokens", "tests-registry")


@pytest.fixture
def token_server(serve: Callable[..., SmallServer], tokens: TokenServer) -> SmallServer:
    return serve(tokens.answer)


@pytest.fixture
def guarded(run_registry: Callable[..., Registry], token_server: SmallServer) -> Iterator[Registry]:
    """A registry that wants the token server's tokens."""
    guarded = run_registry("token", REGISTRY_AUTH_TOKEN_REALM=f"http://{token_server.host}/token")
    yield guarded
    guarded.container.remove(force=True)


def test_tokens(
    guarded: Registry,
    token_server: SmallServer,
    registries: Registries,
    new_store: NewStore,
    make_image: MakeImage,
) -> None:
    store = new_store()
    image = make_image(store, {"a": b"1"}, {"b": b"2"}, {"c": b"3"})
    with pytest.raises(AccessDeniedError):
        push(store, registries, image, f"{guarded.host}/mine:1")
    with pytest.raises(AccessDeniedError):
        registries.login(guarded.host, guarded.user, "wrong")
    registries.login(guarded.host, guarded.user, guarded.password)
    token_server.seen.clear()
    push(store, registries, image, f"{guarded.host}/mine:1")
    assert len(token_server.seen) == 1  # for all requests of all threads
    push(store, registries, image, f"{guarded.host}/copy:1")
    registries.logout(guarded.host)
    token_server.seen.clear()
    assert pull(new_store(), registries, f"{guarded.host}/mine:1").id == image
    assert [headers.get("authorization") for _, _, headers in token_server.seen] == [None]
    assert any("POST /v2/copy/blobs/uploads/?mount=" in line for line in guarded.container.logs().splitlines())


def test_an_identity_token_instead_of_a_password(
    guarded: Registry,
    tokens: TokenServer,
    token_server: SmallServer,
    credentials: CredentialStore,
    registries: Registries,
    new_store: NewStore,
    make_image: MakeImage,
) -> None:
    """As ``docker login`` keeps one; also for a mount, which has the scopes of two repositories."""
    store = new_store()
    image = make_image(store, {"a": b"1"}, {"b": b"2"})
    credentials.save(guarded.host, Credentials("", "", "another's"))
    with pytest.raises(AccessDeniedError, match="gives no token"):
        push(store, registries, image, f"{guarded.host}/mine:1")
    credentials.save(guarded.host, Credentials("", "", tokens.identity_token))
    with Registries(credentials=credentials) as fresh:
        push(store, fresh, image, f"{guarded.host}/mine:1")
        push(store, fresh, image, f"{guarded.host}/copy:1")
        assert pull(new_store(), fresh, f"{guarded.host}/copy:1").id == image
    assert {method for method, _, _ in token_server.seen} == {"POST"}
    assert any("POST /v2/copy/blobs/uploads/?mount=" in line for line in guarded.container.logs().splitlines())


def test_tokens_that_run_out_in_the_middle_of_a_push_and_of_a_pull(
    guarded: Registry,
    serve: Callable[..., SmallServer],
    registries: Registries,
    credentials: CredentialStore,
    new_store: NewStore,
    make_image: MakeImage,
) -> None:
    """The first token of each is good for three requests: what stands before the registry spoils it then."""
    used: dict[str, int] = {}
    refused: list[str] = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        token = headers.get("authorization", "")
        if token and token not in used:
            used[token] = 0 if not refused else -1000
        used[token] = used.get(token, 0) + 1
        if token and used[token] > 3:
            headers = headers | {"authorization": token[:-4]}
            refused.append(method)
        with closing(http.client.HTTPConnection(guarded.host, timeout=20)) as connection:
            connection.request(method, path, body, headers)
            answered = connection.getresponse()
            content = answered.read()
            kept = {key: value for key, value in answered.headers.items() if key not in ("Content-Length", "Date")}
            if method == "HEAD":
                kept["Content-Length"] = answered.headers.get("Content-Length", "0")
            return answered.status, kept, content

    front = serve(answer)
    credentials.save(front.host, Credentials(guarded.user, guarded.password))
    store = new_store()
    image = make_image(store, {"a": b"1"})  # one layer, so that it is known which request is the fourth
    push(store, registries, image, f"{front.host}/long:1")
    assert refused == ["PUT"]
    refused.clear()
    assert pull(new_store(), registries, f"{front.host}/long:1").id == image
    assert refused == ["GET"]


def test_a_token_that_ran_out_is_renewed(serve: Callable[..., SmallServer], registries: Registries) -> None:
    """The registry is a small server here: a real one's tokens live for a minute at least."""
    given = 0

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        nonlocal given
        if path.startswith("/token"):
            given += 1
            return 200, {}, json.dumps({"token": f"t{given}"}).encode()
        if headers.get("authorization") == f"Bearer t{given}" and given == wanted:
            return 200, {}, b'{"tags": ["1"]}'
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{server.host}/token",service="s"'}, b""

    server = serve(answer)
    repository = registries.repository(Reference.parse(f"{server.host}/a"))
    wanted = 1
    assert repository.tags() == ("1",)
    assert repository.tags() == ("1",)
    assert given == 1
    wanted = 2
    assert repository.tags() == ("1",)
    assert given == 2
    wanted = 99
    with pytest.raises(AccessDeniedError):
        repository.tags()


def test_a_password_goes_to_no_token_server_without_tls() -> None:
    with HttpTransport() as transport:
        authorizer = Authorizer(Exchange(transport), "a.test", Credentials("u", "p"))
        challenge = Challenge("bearer", {"realm": "http://127.0.0.1:9/token"})
        with pytest.raises(RegistryAnswerError, match="without TLS"):
            authorizer.answer(Request("GET", "https://a.test/v2/", "try"), [challenge], "")


def test_nobody_else_gets_the_password(
    serve: Callable[..., SmallServer], registries: Registries, credentials: CredentialStore
) -> None:
    """Neither where a blob is redirected to, should it ask (CVE-2020-15157), nor where an upload is sent to."""

    def elsewhere_answers(*request: object) -> tuple[int, dict[str, str], bytes]:
        return 401, {"WWW-Authenticate": 'Basic realm="give it to me"'}, b""

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if "authorization" not in headers:
            return 401, {"WWW-Authenticate": 'Basic realm="here"'}, b""
        return (302 if method == "GET" else 202), {"Location": f"http://{elsewhere.host}/x"}, b""

    elsewhere, server = serve(elsewhere_answers), serve(answer)
    credentials.save(server.host, Credentials("u", "p"))
    repository = registries.repository(Reference.parse(f"{server.host}/a"))
    with pytest.raises(AccessDeniedError):
        repository.blob("sha256:" + "0" * 64)
    location = repository.begin_upload()
    with pytest.raises(AccessDeniedError):
        repository.send_chunk(location, b"content", 0)
    assert [method for method, _, _ in elsewhere.seen] == ["GET", "PATCH"]
    assert not any("authorization" in headers for _, _, headers in elsewhere.seen)
