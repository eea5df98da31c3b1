"""TLS: whom we trust, who we are, what the errors say; and registries that have none, at real ones."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.errors import CertificateFileError, RegistryCertificateError, RegistryUnavailableError
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.registry.certificates import Certificates, usual_directories
from pytest_pycontainer.registry.credentials import CredentialStore
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.push import push
from pytest_pycontainer.registry.registries import Registries, RegistryOptions
from pytest_pycontainer.registry.transport import HttpTransport, Request
from pytest_pycontainer.registry.x509 import read_certificate
from pytest_pycontainer.store.store import Store
from tests.registry.conftest import openssl

if TYPE_CHECKING:
    from tests.registry.conftest import Authority, Registry

MakeImage = Callable[..., str]
NewStore = Callable[[], Store]
Using = Callable[..., Registries]
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _machines_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in BUNDLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def using(credentials: CredentialStore) -> Iterator[Using]:
    made: list[Registries] = []

    def make(**options: object) -> Registries:
        made.append(
            Registries(RegistryOptions(**options), credentials=credentials, sleep=lambda _: None)  # type: ignore[arg-type]
        )
        return made[-1]

    yield make
    for registries in made:
        registries.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """For certificates, as certs.d."""
    return tmp_path / "certs.d"


def put(directory: Path, host: str, **files: Path) -> None:
    """Copies ``files`` (``ca_crt``) into the directory of ``host``."""
    (directory / host).mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        (directory / host / name.replace("_", ".")).write_bytes(file.read_bytes())


@contextmanager
def tls_server(certificate: Path, key: Path, answer: bytes = b"") -> Iterator[str]:
    """A server that shows ``certificate`` and says ``answer`` to whoever trusts it; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                try:
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(65536)
                        secure.sendall(answer)
                except OSError:
                    continue

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(20)


@pytest.fixture
def signed(authority: Authority, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Has the authority sign a certificate with openssl's further options."""

    def sign(*options: str) -> tuple[Path, Path]:
        certificate, key = tmp_path / "signed.crt", tmp_path / "signed.key"
        (tmp_path / "index").write_text("")
        (tmp_path / "serial").write_text("01\n")
        (tmp_path / "openssl.cnf").write_text(
            f"[ca]\ndefault_ca=a\n[a]\ndatabase={tmp_path}/index\nserial={tmp_path}/serial\nnew_certs_dir={tmp_path}\n"
            "default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n"
            "[x]\nsubjectAltName=IP:127.0.0.1,DNS:registry.test\n"
        )
        request = tmp_path / "signed.csr"
        openssl(*["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=signed", "-keyout"], key, "-out", request)
        openssl(
            *("ca", "-batch", "-notext", "-config", f"{tmp_path}/openssl.cnf", "-in", f"{request}"),
            *(
                "-out",
                f"{certificate}",
                "-cert",
                f"{authority.ca}",
                "-keyfile",
                f"{authority.ca.parent}/ca.key",
                *options,
            ),
        )
        return certificate, key

    return sign


def test_authority_and_client_certificate_in_the_hosts_directory(
    tls_registry: Registry,
    authority: Authority,
    directory: Path,
    using: Using,
    new_store: NewStore,
    make_image: MakeImage,
) -> None:
    host = tls_registry.host
    put(directory, host, ca_crt=authority.ca, me_cert=authority.certificate, me_key=authority.key)
    store = new_store()
    image = make_image(store, {"a": b"1"})
    registries = using(certificates=directory)
    push(store, registries, image, f"{host}/mine:1")
    assert pull(new_store(), registries, f"{host}/mine:1").id == image


def test_a_client_certificate_that_is_missing(
    tls_registry: Registry, authority: Authority, directory: Path, using: Using, new_store: NewStore
) -> None:
    host = tls_registry.host
    put(directory, host, ca_crt=authority.ca)
    with pytest.raises(RegistryCertificateError, match=rf"(bad certificate|certificate required).*certs\.d/{host}"):
        pull(new_store(), using(certificates=directory), f"{host}/mine:1")


def test_an_unknown_authority(
    tls_registry: Registry, authority: Authority, directory: Path, using: Using, new_store: NewStore
) -> None:
    host = tls_registry.host
    (directory / host).mkdir(parents=True)  # that of the loopback's hosts which speak TLS
    with pytest.raises(RegistryCertificateError) as caught:
        pull(new_store(), using(certificates=directory), f"{host}/mine:1")
    digest = sha256(ssl.PEM_cert_to_DER_cert(authority.certificate.read_text())).hexdigest()
    assert caught.value.fingerprint is not None
    assert caught.value.fingerprint.replace(":", "").lower() == digest
    message = str(caught.value)
    assert "unable to get local issuer" in message
    assert "CN=127.0.0.1 for 127.0.0.1, issued by CN=Test authority, valid from 20" in message
    assert f"~/.docker/certs.d/{host}/ca.crt" in message


def test_an_expired_certificate(signed: Callable[..., tuple[Path, Path]], authority: Authority, using: Using) -> None:
    with tls_server(*signed("-startdate", "20010101000000Z", "-enddate", "20010102000000Z")) as port:
        registries = using(authority=authority.ca)
        with pytest.raises(RegistryCertificateError, match=r"expired.*valid from 2001-01-01.*clock") as caught:
            request(registries, f"https://127.0.0.1:{port}/v2/")
        assert caught.value.registry == f"127.0.0.1:{port}"


def test_a_certificate_for_another_name(
    signed: Callable[..., tuple[Path, Path]], authority: Authority, using: Using
) -> None:
    with tls_server(*signed("-days", "2")) as port:
        registries = using(authority=authority.ca)
        with pytest.raises(RegistryCertificateError, match=r"not valid for 'localhost'.*127\.0\.0\.1, registry\.test"):
            request(registries, f"https://localhost:{port}/v2/")


def request(registries: Registries, url: str) -> int:
    """Asks for ``url`` with TLS, whatever its host."""
    with registries._exchange.send(Request("GET", url, "try")) as response:
        return response.status


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def test_an_authority_for_all_hosts_adds_to_the_others(
    signed: Callable[..., tuple[Path, Path]],
    authority: Authority,
    directory: Path,
    using: Using,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of the places where an authority can be named, alone and beside others that do not help."""
    other = directory / "other.crt"
    directory.mkdir()
    openssl(
        *["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Other", "-keyout"],
        directory / "other.key",
        "-out",
        other,
    )
    with tls_server(*signed("-days", "2"), OK) as port:
        url = f"https://127.0.0.1:{port}/v2/"
        with pytest.raises(RegistryCertificateError):
            request(using(), url)
        with pytest.raises(RegistryCertificateError):
            request(using(authority=other), url)
        assert request(using(authority=authority.ca), url) == 200
        put(directory, f"127.0.0.1:{port}", other_crt=other)
        with pytest.raises(RegistryCertificateError):
            request(using(certificates=directory), url)
        assert request(using(certificates=directory, authority=authority.ca), url) == 200
        put(directory, f"127.0.0.1:{port}", z_crt=authority.ca)
        assert request(using(certificates=directory, authority=other), url) == 200
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            with monkeypatch.context() as patch:
                patch.setenv(variable, str(authority.ca))
                assert request(using(authority=other), url) == 200, variable


def test_where_docker_and_podman_keep_certificates(tmp_path: Path) -> None:
    environment = {"HOME": "/home/ada"}
    assert [str(path) for path in usual_directories(environment)] == [
        "/home/ada/.docker/certs.d",
        "/home/ada/.config/docker/certs.d",
        "/home/ada/.config/containers/certs.d",
        "/etc/docker/certs.d",
        "/etc/containers/certs.d",
    ]
    environment |= {"DOCKER_CONFIG": str(tmp_path), "XDG_CONFIG_HOME": "/x"}
    assert [str(path) for path in usual_directories(environment)][:2] == [f"{tmp_path}/certs.d", "/x/docker/certs.d"]
    for name in ("b.test", "b.test:5000"):
        (tmp_path / "certs.d" / name).mkdir(parents=True)
        (tmp_path / "certs.d" / name / "ca.crt").touch()
    found = Certificates(environment=environment).find("b.test:5000")
    assert found is not None
    assert found.authorities == (tmp_path / "certs.d/b.test:5000/ca.crt",)
    (tmp_path / "first/b.test").mkdir(parents=True)
    first = Certificates(tmp_path / "first", environment=environment).find("b.test")
    assert first is not None
    assert first.authorities == ()
    for no_host in ("..", ".", "", "a/../b.test", "a\0"):
        assert Certificates(environment=environment).find(no_host) is None


@pytest.mark.parametrize(
    ("files", "named", "reason"),
    [
        ({"me.cert": "certificate"}, "me.cert", r"me\.key is missing beside it; an authority's name ends in \.crt"),
        ({"me.key": "key"}, "me.key", r"me\.cert is missing"),
        ({"ca.crt": "-----BEGIN CERTIFICATE-----\nnonsense\n"}, "ca.crt", "no certificate in PEM form"),
        ({"ca.crt": ""}, "ca.crt", "it is empty"),
        ({"ca.crt": None}, "ca.crt", "Is a directory"),
        ({"me.cert": "certificate", "me.key": "nonsense"}, "me.cert", r"it and me\.key are no certificate and its key"),
        ({"me.cert": "certificate", "me.key": "other"}, "me.cert", r"it and me\.key are no .*values mismatch"),
        ({"me.cert": "certificate", "me.key": "encrypted"}, "me.key", "it is encrypted"),
        ({"me.cert": "certificate", "me.key": None}, "me.key", "Is a directory"),
    ],
)
def test_files_that_can_not_be_used(
    authority: Authority, directory: Path, using: Using, files: dict[str, str | None], named: str, reason: str
) -> None:
    place = directory / "127.0.0.1:9"
    place.mkdir(parents=True)
    for name, content in files.items():
        if content is None:
            (place / name).mkdir()
        elif content == "encrypted":
            openssl("pkey", "-in", authority.key, "-aes256", "-passout", "pass:x", "-out", place / name)
        elif content in ("certificate", "key", "other"):
            kind = {"other": authority.ca.parent / "ca.key", "key": authority.key}.get(content, authority.certificate)
            (place / name).write_bytes(kind.read_bytes())
        else:
            (place / name).write_text(content)
    repository = using(certificates=directory).repository(Reference.parse("127.0.0.1:9/a"))
    with pytest.raises(CertificateFileError, match=reason) as caught:
        repository.tags()
    assert caught.value.file == str(place / named)


def test_an_authority_that_is_not_there(using: Using) -> None:
    with pytest.raises(CertificateFileError, match=r"/nowhere/ca\.crt: No such file"):
        request(using(authority=Path("/nowhere/ca.crt")), "https://127.0.0.1:9/")


def test_insecure_registries_need_no_certificate_and_no_tls(
    tls_registry: Registry,
    registry: Registry,
    authority: Authority,
    directory: Path,
    using: Using,
    new_store: NewStore,
    make_image: MakeImage,
    name: str,
) -> None:
    """Where it speaks TLS, any certificate will do; ours is shown all the same."""
    put(directory, tls_registry.host, me_cert=authority.certificate, me_key=authority.key)
    store = new_store()
    image = make_image(store, {"a": b"1"})
    secure = using(certificates=directory, insecure=frozenset({tls_registry.host}))
    push(store, secure, image, f"{tls_registry.host}/insecure:1")
    assert secure.address(tls_registry.host) == f"https://{tls_registry.host}"
    assert pull(new_store(), secure, f"{tls_registry.host}/insecure:1").id == image
    plain = using(insecure=frozenset({registry.host}))
    push(store, plain, image, name)
    assert plain.address(registry.host) == f"http://{registry.host}"
    assert pull(new_store(), plain, name).id == image


def test_an_insecure_registry_that_is_down_is_asked_again_whether_it_speaks_tls(
    signed: Callable[..., tuple[Path, Path]], using: Using
) -> None:
    certificate, key = signed("-days", "2")
    with tls_server(certificate, key, OK) as port:
        pass
    registries = using(insecure=frozenset({f"127.0.0.1:{port}"}))
    assert registries.address(f"127.0.0.1:{port}") == f"http://127.0.0.1:{port}"
    with pytest.raises(RegistryUnavailableError, match="refused"):
        registries.repository(Reference.parse(f"127.0.0.1:{port}/a")).tags()
    assert not registries._addresses


def test_tls_where_there_is_none(registry: Registry, directory: Path, using: Using, new_store: NewStore) -> None:
    (directory / registry.host).mkdir(parents=True)
    with pytest.raises(RegistryCertificateError, match=r"(wrong version number|record layer).*insecure-registries"):
        pull(new_store(), using(certificates=directory), f"{registry.host}/a:1")


def test_addresses(directory: Path, using: Using) -> None:
    (directory / "localhost:443").mkdir(parents=True)
    registries = using(certificates=directory)
    assert registries.address("docker.io") == "https://registry-1.docker.io"
    assert registries.address("ghcr.io") == "https://ghcr.io"
    assert registries.address("localhost:5000") == "http://localhost:5000"
    assert registries.address("localhost:443") == "https://localhost:443"
    assert registries.address("[::1]:5000") == "http://[::1]:5000"
    assert registries.address("127.0.0.9") == "http://127.0.0.9"


# What a certificate says of itself


def test_a_certificate_is_read(authority: Authority, signed: Callable[..., tuple[Path, Path]]) -> None:
    certificate, _ = signed("-startdate", "20490101000000Z", "-enddate", "20500102030405Z")
    read = read_certificate(ssl.PEM_cert_to_DER_cert(certificate.read_text()))
    assert (read.subject, read.issuer) == ("CN=signed", "CN=Test authority")
    assert read.names == ("127.0.0.1", "registry.test")
    assert read.begins == datetime(2049, 1, 1, tzinfo=UTC)
    assert read.ends == datetime(2050, 1, 2, 3, 4, 5, tzinfo=UTC)  # of the other type of time
    assert str(read).endswith(
        f"valid from 2049-01-01 00:00 to 2050-01-02 03:04 UTC, SHA-256 fingerprint {read.fingerprint}"
    )


def test_every_authority_of_this_machine_is_read() -> None:
    context = ssl.create_default_context(cafile=os.path.realpath("/etc/ssl/certs/ca-certificates.crt"))
    authorities = context.get_ca_certs(binary_form=True)
    known = context.get_ca_certs()
    assert len(authorities) > 50
    for der, reference in zip(authorities, known, strict=True):
        read = read_certificate(der)
        assert read.ends.timestamp() == ssl.cert_time_to_seconds(str(reference["notAfter"]))
        subject: Any = reference["subject"]
        assert all(f"CN={value}" in read.subject for ((key, value),) in subject if key == "commonName")


@given(st.binary())
def test_any_bytes_are_a_certificate_or_not(content: bytes) -> None:
    try_to_read(content)


@given(st.data())
def test_a_damaged_certificate(authority: Authority, data: st.DataObject) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(authority.certificate.read_text()))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try_to_read(bytes(der[: data.draw(st.integers(0, len(der)))]))


def try_to_read(content: bytes) -> None:
    try:
        read = read_certificate(content)
    except ValueError:
        return
    assert str(read).isprintable()


def test_transport_closes_what_it_opened(tls_registry: Registry) -> None:
    with HttpTransport(unverified=frozenset({tls_registry.host})) as transport, pytest.raises(RegistryCertificateError):
        transport.send(Request("GET", f"https://{tls_registry.host}/v2/", "try"))
