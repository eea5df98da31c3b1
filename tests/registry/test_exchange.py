"""Retries, redirects, and answers that no registry should give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer.errors import (
    AccessDeniedError,
    RateLimitedError,
    RegistryAnswerError,
    RegistryUnavailableError,
)
from pytest_pycontainer.registry.exchange import ATTEMPTS, Exchange, origin, redirected, retry_after
from pytest_pycontainer.registry.transport import HttpTransport, Request

if TYPE_CHECKING:
    from tests.registry.conftest import SmallServer

Serve = Callable[..., "SmallServer"]
SECRET = {"Authorization": "Basic c2VjcmV0"}


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def exchange(pauses: list[float]) -> Iterator[Exchange]:
    with HttpTransport() as transport:
        yield Exchange(transport, pauses.append)


def get(server: SmallServer, path: str = "/", **headers: str) -> Request:
    return Request("GET", f"http://{server.host}{path}", "try", headers)


def in_turn(*answers: tuple[int, dict[str, str], bytes]) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    waiting = list(answers)
    return lambda *_: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_an_answer_that_may_be_better_later_is_asked_for_again(
    serve: Serve, exchange: Exchange, pauses: list[float], status: int
) -> None:
    server = serve(in_turn((status, {}, b"later"), (status, {"Retry-After": "7"}, b""), (200, {}, b"now")))
    with exchange.send(get(server)) as response:
        assert response.read(10) == b"now"
    assert 0 < pauses[0] <= 0.25
    assert pauses[1] == 7


def test_it_is_given_up(serve: Serve, exchange: Exchange, pauses: list[float]) -> None:
    server = serve(in_turn((503, {}, b"")))
    with pytest.raises(RegistryUnavailableError, match="status 503"):
        exchange.send(get(server))
    assert len(server.seen) == ATTEMPTS == len(pauses) + 1
    with pytest.raises(RegistryUnavailableError):
        exchange.send(get(server), attempts=1)
    assert len(server.seen) == ATTEMPTS + 1


def test_a_long_pause_is_the_callers(serve: Serve, exchange: Exchange, pauses: list[float]) -> None:
    server = serve(in_turn((429, {"Retry-After": "3600"}, b"")))
    with pytest.raises(RateLimitedError, match="try again in 3600 s") as caught:
        exchange.send(get(server))
    assert (caught.value.retry_after, pauses) == (3600, [])


def test_retry_after_as_a_date() -> None:
    assert retry_after("12") == 12
    assert retry_after("") is None
    assert retry_after("soon") is None
    assert retry_after("9" * 400) is None
    in_a_minute = retry_after(formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None
    assert 50 < in_a_minute <= 60
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_stay_with_their_origin(serve: Serve, exchange: Exchange, status: int) -> None:
    elsewhere = serve(in_turn((200, {}, b"blob")))

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        return status, {"Location": "/here" if path == "/" else f"http://{elsewhere.host}/there"}, b""

    server = serve(answer)
    with exchange.send(get(server, **SECRET)) as response:
        assert response.read(10) == b"blob"
    assert [headers.get("authorization") for _, _, headers in server.seen] == [SECRET["Authorization"]] * 2
    (there,) = elsewhere.seen
    assert there[1] == "/there"
    assert "authorization" not in there[2]


def test_a_ring_of_redirects_ends(serve: Serve, exchange: Exchange) -> None:
    server = serve(in_turn((302, {"Location": "/"}, b"")))
    with pytest.raises(RegistryAnswerError, match="redirects"):
        exchange.send(get(server))


@pytest.mark.parametrize("location", ["http://[::1", "http://127.0.0.1:99999/", "http://:80/", "file:///etc/passwd"])
def test_a_redirect_to_nowhere_is_the_registrys_fault(serve: Serve, exchange: Exchange, location: str) -> None:
    server = serve(in_turn((307, {"Location": location}, b"")))
    with pytest.raises(RegistryAnswerError, match="no address of a server; check") as caught:
        exchange.send(get(server))
    assert (caught.value.registry, len(server.seen)) == (server.host, 1)
    assert location in str(caught.value)


def test_tls_is_not_given_up() -> None:
    with pytest.raises(RegistryAnswerError, match="without TLS"):
        redirected(Request("GET", "https://a.test/x", "try"), "http://a.test/x", 307)


def test_a_body_follows_only_where_the_status_says_so() -> None:
    request = Request("POST", "https://a.test/x", "try", SECRET, b"body")
    assert redirected(request, "https://a.test/y", 307) == Request("POST", "https://a.test/y", "try", SECRET, b"body")
    assert redirected(request, "https://a.test/y", 302) == Request("GET", "https://a.test/y", "try", SECRET)
    assert redirected(request, "https://b.test/y", 308).headers == {}


def test_origins() -> None:
    assert origin("https://A.test/x") == origin("https://a.test:443/y")
    assert origin("http://a.test") != origin("https://a.test")
    assert origin("http://a.test:1") != origin("http://a.test:2")


def test_netrc_has_no_say(
    serve: Serve, exchange: Exchange, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(in_turn((200, {}, b"")))
    exchange.send(get(server)).__exit__(None, None, None)
    exchange.send(get(server, **SECRET)).__exit__(None, None, None)
    assert [headers.get("authorization") for _, _, headers in server.seen] == [None, SECRET["Authorization"]]


def test_no_proxy_is_asked_for_what_is_on_loopback(
    serve: Serve, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(in_turn((200, {}, b"straight")))
    proxy = serve(in_turn((200, {}, b"through the proxy")))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
    with exchange.send(get(server)) as response:
        assert response.read(20) == b"straight"
    with exchange.send(Request("GET", "http://elsewhere.test/", "try")) as response:
        assert response.read(20) == b"through the proxy"


def test_a_body_arrives_as_it_was_sent(serve: Serve, exchange: Exchange) -> None:
    server = serve(in_turn((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b as it is")))
    with exchange.send(get(server)) as response:
        assert b"".join(response.stream()) == b"\x1f\x8b as it is"


def test_an_answer_has_a_size_limit(serve: Serve, exchange: Exchange) -> None:
    server = serve(in_turn((200, {}, b"12345")))
    with exchange.send(get(server)) as response, pytest.raises(RegistryAnswerError, match="longer than 4 bytes"):
        response.read(4)


def test_a_connection_is_used_again(serve: Serve, exchange: Exchange) -> None:
    """Also after answers whose body nobody read."""
    server = serve(lambda method, path, headers, body: (404, {}, b"no such thing"))
    for _ in range(3):
        with exchange.send(get(server)):
            pass
    assert len(server.connections) == 1


def test_closing_closes_connections_even_while_an_error_is_kept(serve: Serve) -> None:
    server = serve(in_turn((503, {}, b"")))
    with HttpTransport() as transport, pytest.raises(RegistryUnavailableError) as caught:
        Exchange(transport, lambda _: None).send(get(server))
    server.close()  # waits for connections to end
    assert caught.value.registry == server.host


def test_errors_survive_another_process() -> None:
    import pickle

    for error in (RateLimitedError("a", "b", 3.0), AccessDeniedError("a", "b", "c")):
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), vars(copy)) == (str(error), vars(error))
