"""Proxies: Debian's tinyproxy, in a container of ours, between us and real registries that only it can find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Container, Engine, Image, wait
from pytest_pycontainer.errors import (
    ProxyError,
    RegistryAnswerError,
    RegistryCertificateError,
    RegistryUnavailableError,
)
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.credentials import CredentialStore
from pytest_pycontainer.registry.proxies import proxy_for, without_user
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.push import push
from pytest_pycontainer.registry.registries import Registries, RegistryOptions
from pytest_pycontainer.store.store import Store

if TYPE_CHECKING:
    from tests.registry.conftest import Authority, Registry

PORT = 8888
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PLAIN, SECURE = "plain.test:5000", "secure.test:5000"
DOCKERFILE = f"""\
FROM host
RUN apt-get update && apt-get install -y --no-install-recommends tinyproxy-bin
RUN printf 'Port {PORT}\\nTimeout 60\\nMaxClients 50\\n' > /open.conf
RUN (cat /open.conf; echo BasicAuth me secret) > /closed.conf
"""
RunProxy = Callable[[str], Container]
Using = Callable[..., AbstractContextManager[Registries]]


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def proxy_image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Image:
    context = tmp_path_factory.mktemp("proxy")
    (context / "Dockerfile").write_text(DOCKERFILE)
    return engine.build(context)


@pytest.fixture
def run_proxy(engine: Engine, proxy_image: Image, registry: Registry, tls_registry: Registry) -> Iterator[RunProxy]:
    running: list[Container] = []

    def run(kind: str) -> Container:
        hosts = f"{registry.container.ip_address} plain.test\n{tls_registry.container.ip_address} secure.test\n"
        script = f"printf '{hosts}' >> /etc/hosts; exec tinyproxy -d -c /{kind}.conf"
        container = engine.run(proxy_image, ["sh", "-c", script], ports=[PORT], wait=wait.port(PORT))
        running.append(container)
        return container

    yield run
    for container in running:
        container.remove(force=True)


@pytest.fixture
def using(credentials: CredentialStore, authority: Authority, tmp_path: Path) -> Using:
    """Registries, reached through a proxy, with the certificate that the one with TLS wants."""
    directory = tmp_path / "certs.d"
    (directory / SECURE).mkdir(parents=True)
    for name, file in (("me.cert", authority.certificate), ("me.key", authority.key)):
        (directory / SECURE / name).write_bytes(file.read_bytes())

    @contextmanager
    def make(proxy: str | None = None) -> Iterator[Registries]:
        options = RegistryOptions(insecure=frozenset({PLAIN, SECURE}), proxy=proxy, certificates=directory)
        with Registries(options, credentials=credentials, sleep=lambda _: None) as registries:
            yield registries

    return make


def address(container: Container, user: str = "") -> str:
    host, port = container.address(PORT)
    return f"http://{user}{host}:{port}"


@pytest.mark.parametrize(("kind", "user"), [("open", ""), ("closed", "me:secret@")])
def test_push_and_pull_through_a_proxy(
    run_proxy: RunProxy,
    using: Using,
    new_store: Callable[[], Store],
    make_image: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    user: str,
) -> None:
    """With TLS (CONNECT) and without, by the setting and by the environment."""
    proxy = run_proxy(kind)
    store = new_store()
    image = make_image(store, {"a": b"1"})
    with using(address(proxy, user)) as registries:
        for host in (PLAIN, SECURE):
            push(store, registries, image, f"{host}/proxied-{kind}:1")
    for variable, host in (("HTTP_PROXY", PLAIN), ("https_proxy", SECURE)):
        # A host without TLS is asked first whether it has some, which is a matter of the other variable.
        monkeypatch.setenv("HTTPS_PROXY", address(proxy, user))
        monkeypatch.setenv(variable, address(proxy, user))
        with using() as registries:
            assert pull(new_store(), registries, f"{host}/proxied-{kind}:1").id == image
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
        with using(address(proxy, user)) as registries:
            assert pull(new_store(), registries, f"{host}/proxied-{kind}:1").id == image
    log = proxy.logs()
    assert f"CONNECT {SECURE}" in log
    assert f"http://{PLAIN}/v2/proxied-{kind}/manifests/1" in log


# Not a wrong one without TLS: tinyproxy answers 401 then, as if it were the registry.
@pytest.mark.parametrize(("scheme", "user"), [("http", ""), ("https", ""), ("https", "me:wrong@")])
def test_a_proxy_that_wants_another_password(run_proxy: RunProxy, using: Using, user: str, scheme: str) -> None:
    proxy = run_proxy("closed")
    with using(address(proxy, user)) as registries, pytest.raises(ProxyError, match=r"40[17]|password") as caught:
        send(registries, f"{scheme}://{PLAIN}/v2/")
    assert caught.value.proxy == address(proxy)
    assert "wrong" not in str(caught.value)


def send(registries: Registries, url: str) -> None:
    from pytest_pycontainer.registry.transport import Request

    registries._exchange.send(Request("GET", url, "try")).__exit__(None, None, None)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_named_without_its_password(using: Using, scheme: str) -> None:
    with using("http://me:secret@127.0.0.1:9") as registries, pytest.raises(ProxyError) as caught:
        send(registries, f"{scheme}://registry.test/v2/")
    message = str(caught.value)
    assert "the proxy http://127.0.0.1:9: " in message
    assert "refused" in message
    assert "secret" not in message
    assert "registry.test" not in message


def test_a_registry_that_is_down_behind_the_proxy(run_proxy: RunProxy, using: Using) -> None:
    proxy = run_proxy("open")
    with using(address(proxy)) as registries:
        for url in ("http://nowhere.test/v2/", "https://nowhere.test/v2/"):
            with pytest.raises((RegistryUnavailableError, RegistryAnswerError), match=r"nowhere\.test.*50"):
                send(registries, url)


def test_a_certificate_behind_the_proxy_is_checked(
    run_proxy: RunProxy, credentials: CredentialStore, new_store: Callable[[], Store]
) -> None:
    options = RegistryOptions(proxy=address(run_proxy("open")))
    with Registries(options, credentials=credentials) as registries, pytest.raises(RegistryCertificateError):
        registries.repository(Reference.parse(f"{SECURE}/a")).tags()


def test_loopback_needs_no_proxy(registry: Registry, credentials: CredentialStore) -> None:
    with Registries(RegistryOptions(proxy="http://127.0.0.1:9"), credentials=credentials) as registries:
        send(registries, f"http://{registry.host}/v2/")


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("https://a.test/", None) is None
    assert proxy_for("https://a.test/", "http://p.test") == "http://p.test"
    for name in ("https_proxy", "HTTPS_PROXY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "http://e.test")
            assert proxy_for("https://a.test/", None) == "http://e.test"
            assert proxy_for("http://a.test/", None) is None
            assert proxy_for("https://a.test/", "http://p.test") == "http://p.test"
    for name in ("no_proxy", "NO_PROXY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "b.test,.a.test")
            assert proxy_for("https://x.a.test:5000/", "http://p.test") is None
            assert proxy_for("https://c.test/", "http://p.test") == "http://p.test"
    for local in ("localhost:5000", "127.0.0.1", "[::1]:80"):
        assert proxy_for(f"http://{local}/", "http://p.test") is None


def test_an_address_without_its_user() -> None:
    assert without_user("http://me:sec@ret@p.test:1") == "http://p.test:1"
    assert without_user("me:secret@p.test:1") == "p.test:1"
    assert without_user("http://p.test:1") == "http://p.test:1"
