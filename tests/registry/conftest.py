"""A real registry, Debian's docker-registry, in a container of ours; and images to send there and back."""

from __future__ import annotations

import http.client
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Image, wait
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.registry.credentials import CredentialStore
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.runtime.logs import STDOUT
from pytest_pycontainer.store.store import Store

PORT = 5000
USER, PASSWORD = "somebody", "open sesame"
SERVICE, ISSUER = "tests-registry", "tests-tokens"

_CONFIG = """\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: ":5000", secret: only-a-test%s}
%s
"""
_CONFIGS = {
    "plain": ("", ""),
    "htpasswd": ("", "auth: {htpasswd: {realm: test, path: /etc/htpasswd}}"),
    "token": ("", f"auth: {{token: {{service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: /etc/tests/ca.crt}}}}"),
    "tls": (
        ", tls: {certificate: /etc/tests/server.crt, key: /etc/tests/server.key, clientcas: [/etc/tests/ca.crt]}",
        "",
    ),
}
_DOCKERFILE = f"""\
FROM host
RUN apt-get update && apt-get install -y --no-install-recommends docker-registry apache2-utils
RUN htpasswd -Bbn {USER} '{PASSWORD}' > /etc/htpasswd
COPY tests /etc/tests
EXPOSE {PORT}
"""


@dataclass(frozen=True)
class Authority:
    """A private certificate authority, and a certificate that it gave to 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    directory = tmp_path_factory.mktemp("authority")
    made = Authority(directory / "ca.crt", directory / "server.crt", directory / "server.key")
    new_key = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl("req", "-x509", *new_key, "-subj", "/CN=Test authority", "-keyout", directory / "ca.key", "-out", made.ca)
    openssl(
        *("req", "-x509", *new_key, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-CA", made.ca, "-CAkey", directory / "ca.key"),
        *("-keyout", made.key, "-out", made.certificate),
    )
    return made


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def registry_image(engine: Engine, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Image:
    context = tmp_path_factory.mktemp("registry")
    (context / "Dockerfile").write_text(_DOCKERFILE)
    for name, parts in _CONFIGS.items():
        (context / "tests").mkdir(exist_ok=True)
        (context / "tests" / f"{name}.yml").write_text(_CONFIG % parts)
    for file in (authority.ca, authority.certificate, authority.key):
        (context / "tests" / file.name).write_bytes(file.read_bytes())
    return engine.build(context)


class Registry:
    """A registry that runs in a container; ``host`` is what references begin with."""

    user, password = USER, PASSWORD

    def __init__(self, container: Container) -> None:
        self.container = container
        address, port = container.address(PORT)
        self.host = f"{address}:{port}"

    def requests(self, name: str) -> list[str]:
        """The requests for the repository ``name`` (with the host) that it has answered, as ``GET manifests/1``."""
        self._await_log()
        prefix = f"/v2/{name.removeprefix(f'{self.host}/')}/"
        quoted = [line.split('"')[1] for line in self.container.logs().splitlines() if f" {prefix}" in line]
        return [request.rpartition(" ")[0].replace(prefix, "") for request in quoted if request[0] in "GHP"]

    def _await_log(self) -> None:
        """Returns when the log has all that was answered: a line is written before its answer is, and read after."""
        mark = f"mark-{time.monotonic_ns()}"
        with closing(http.client.HTTPConnection(self.host, timeout=20)) as connection:
            connection.request("GET", f"/v2/{mark}/tags/list")
            connection.getresponse().read()
        for entries in self.container.follow_entries(20):
            # On the stream that requests are told on: the other one, where errors go, is read for itself.
            if any(mark.encode() in entry.data and entry.stream == STDOUT for entry in entries):
                return
        raise AssertionError(f"the registry's log has no {mark}")


RunRegistry = Callable[..., Registry]


@pytest.fixture(scope="session")
def run_registry(engine: Engine, registry_image: Image) -> Iterator[RunRegistry]:
    """Runs a registry of one of the kinds in ``_CONFIGS`` for the session."""
    with ExitStack() as running:

        def run(kind: str, **env: str) -> Registry:
            container = engine.run(
                registry_image,
                ["docker-registry", "serve", f"/etc/tests/{kind}.yml"],
                ports=[PORT],
                wait=wait.port(PORT),
                env={"OTEL_TRACES_EXPORTER": "none", **env},
            )
            return Registry(running.enter_context(container))

        yield run


@pytest.fixture(scope="session")
def registry(run_registry: RunRegistry) -> Registry:
    """One that lets everybody do everything."""
    return run_registry("plain")


@pytest.fixture(scope="session")
def htpasswd_registry(run_registry: RunRegistry) -> Registry:
    """One for USER with PASSWORD."""
    return run_registry("htpasswd")


@pytest.fixture(scope="session")
def tls_registry(run_registry: RunRegistry) -> Registry:
    """One with TLS, for those who have a certificate of the authority's."""
    return run_registry("tls")


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[[], Store]:
    """Makes stores, each empty: what another machine has."""
    made: list[Store] = []

    def new() -> Store:
        made.append(Store(tmp_path / f"store-{len(made)}"))
        return made[-1]

    return new


@pytest.fixture
def credentials(tmp_path: Path) -> CredentialStore:
    return CredentialStore({"HOME": str(tmp_path / "home")})


@pytest.fixture
def registries(credentials: CredentialStore) -> Iterator[Registries]:
    with Registries(credentials=credentials) as registries:
        yield registries


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., str]:
    """Puts an image with one layer for each given dictionary of files into a store, and returns its ID."""
    count = 0

    def make(store: Store, *layers: dict[str, bytes], **config: object) -> str:
        nonlocal count
        diff_ids = []
        for files in layers:
            count += 1
            upper = tmp_path / f"upper-{count}"
            upper.mkdir(mode=0o755)
            for name, content in files.items():
                (upper / name).parent.mkdir(parents=True, exist_ok=True)
                (upper / name).write_bytes(content)
            diff_ids.append(store.commit_layer(upper))
        scratch = ImageConfig.scratch()
        return store.put_image(
            ImageConfig(scratch.architecture, scratch.os, scratch.variant, diff_ids=tuple(diff_ids), **config)  # type: ignore[arg-type]
        )

    return make


Answer = tuple[int, dict[str, str], bytes]


class SmallServer:
    """A server on 127.0.0.1 whose answers a test decides: for faults, and for what stands beside a registry."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> None:
        """``answer`` gets method, path, headers (names in lower case) and body of a request."""
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.connections: set[object] = set()
        small = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                headers = {key.lower(): value for key, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                small.connections.add(self.client_address)
                small.seen.append((self.command, self.path, headers))
                status, more, content = answer(self.command, self.path, headers, body)
                self.send_response(status)
                for key, value in ({"Content-Length": str(len(content))} | more).items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's word)
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., SmallServer]]:
    """Starts small servers for the test."""
    servers: list[SmallServer] = []

    def start(answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> SmallServer:
        servers.append(SmallServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def name(registry: Registry, request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses, in the registry."""
    return f"{registry.host}/{request.node.name.partition('[')[0].lower()}"


# Nothing of this machine is in it: a shell, and a volume that belongs to somebody.
_BUSYBOX = """
FROM host AS tools
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static
FROM scratch
COPY --from=tools /bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir /data && chown 7:8 /data && echo hello > /data/file && rm /bin/vi
CMD ["cat", "/data/file"]
"""


@pytest.fixture(scope="session")
def busybox(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Image:
    context = tmp_path_factory.mktemp("busybox")
    (context / "Dockerfile").write_text(_BUSYBOX)
    return engine.build(context, tag="busybox-of-the-suite")


@pytest.fixture
def here(engine: Engine) -> Iterator[Engine]:
    """The suite's store, by an engine whose connections to registries end with the test."""
    with Engine(engine.settings) as here:
        yield here
