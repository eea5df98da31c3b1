"""Waits for answers by HTTP, in clear and by TLS."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.errors import ContainerNotReadyError, InvalidSpecError

PATIENCE = 60.0
SOON = 0.05

SERVER = """
import http.server, json, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    tries = 0

    def do_GET(self):
        Handler.tries += 1
        status = {"/starting": 503 if Handler.tries < 4 else 200, "/moved": 302, "/missing": 404}.get(self.path, 200)
        length = int(self.headers.get("Content-Length", 0))
        body = f"{self.command} {self.path} {self.headers['Host']} {self.headers.get('X-Mine')} "
        body = body.encode() + self.rfile.read(length)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_HEAD = do_GET
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def plain(engine: Engine) -> Iterator[Container]:
    """On the loopback alone, with nothing published."""
    with engine.run("host", ["python3", "-c", SERVER, "127.0.0.1", "8080"]) as c:
        c.wait_for(wait.port(8080), PATIENCE)
        yield c


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that vouches for itself, and its key beside it."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=app.test", "-addext", "subjectAltName=DNS:app.test"),
            *("-keyout", directory / "key.pem", "-out", directory / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return directory / "cert.pem"


@pytest.fixture(scope="module")
def encrypted(engine: Engine, authority: Path) -> Iterator[Container]:
    command = ["python3", "-c", SERVER, "0.0.0.0", "8443", "/tls/cert.pem", "/tls/key.pem"]
    with engine.run("host", command, ports=[8443], volumes={authority.parent: "/tls:ro"}) as c:
        c.wait_for(wait.port(8443), PATIENCE)
        yield c


def seen(container: Container, wanted: wait.Condition) -> str:
    found = wanted.look(container, PATIENCE)
    assert found is not None
    return found


def test_a_status_and_a_body(plain: Container) -> None:
    plain.wait_for(wait.http("/health", 8080), PATIENCE)
    plain.wait_for(wait.http("/moved", 8080), PATIENCE)
    plain.wait_for(wait.http("/missing", 8080, status=404), PATIENCE)
    plain.wait_for(wait.http("/missing", 8080, status=(401, 404)), PATIENCE)
    plain.wait_for(wait.http("/missing", 8080, status=lambda status: status > 400), PATIENCE)
    plain.wait_for(wait.http("/x", 8080, body="GET /x localhost None"), PATIENCE)
    plain.wait_for(wait.http("/x", 8080, body=re.compile(r"^GET \S+ l")), PATIENCE)
    plain.wait_for(wait.http("/x", 8080, body=lambda body: body.split()[1] == "/x"), PATIENCE)
    assert seen(plain, wait.http("/missing", 8080)) == "status 404, and the body 'GET /missing localhost None '"
    assert seen(plain, wait.http("/x", 8080, body="ready")) == "status 200, but the body 'GET /x localhost None '"
    assert seen(plain, wait.http("/" + 500 * "x", 8080, body="y")).endswith("more characters")


def test_a_request_as_it_is_wanted(plain: Container) -> None:
    request = wait.http(
        "/x",
        8080,
        method="post",
        headers={"X-Mine": "yes"},
        content="sent",
        host="a.test",
        body="POST /x a.test yes sent",
    )
    plain.wait_for(request, PATIENCE)
    plain.wait_for(wait.http("/x", 8080, method="HEAD"), PATIENCE)


def test_it_is_asked_until_it_is_ready(plain: Container) -> None:
    plain.wait_for(wait.http("/starting", 8080, status=200), PATIENCE)


def test_nobody_answers(plain: Container) -> None:
    with pytest.raises(ContainerNotReadyError) as raised:
        plain.wait_for(wait.http("/", 80), SOON)
    assert raised.value.waited_for == "GET http://localhost:80/ answers a status from 200 to 399"
    assert "connection refused" in raised.value.last_seen
    assert "127.0.0.1:8080/tcp (python3)" in raised.value.last_seen


def test_what_is_no_http(engine: Engine) -> None:
    script = (
        "import socket; s = socket.create_server(('', 80))\n"
        "while True:\n c, _ = s.accept(); c.recv(9999); c.sendall(b'hello\\r\\n'); c.close()"
    )
    with engine.run("host", ["python3", "-c", script], wait=wait.port(80), timeout=PATIENCE) as c:
        assert seen(c, wait.http("/", 80)) == r"no HTTP: 'hello\r\n'"
        assert seen(c, wait.http("/", 80, tls=True, verify=False)).startswith("no TLS there: ")


def test_a_server_that_says_nothing(engine: Engine) -> None:
    script = "import socket, time; s = socket.create_server(('', 80)); time.sleep(1000)"
    with engine.run("host", ["python3", "-c", script], wait=wait.port(80), timeout=PATIENCE) as c:
        assert seen(c, wait.http("/", 80, try_timeout=SOON)) == "no answer within 0.05 s"


def test_a_server_that_never_comes_to_an_end(engine: Engine) -> None:
    """Each piece comes in time."""
    script = (
        "import socket, sys, time\n"
        "s = socket.create_server(('', 80))\n"
        "while True:\n"
        " c, _ = s.accept()\n"
        " try:\n"
        "  begin = c.recv(9999)\n"
        "  c.sendall(b'HTTP/1.1 200 OK\\r\\n' + (b'\\r\\n' if b'/body' in begin else b'X-A: '))\n"
        "  while True: c.sendall(b'x'); time.sleep(0.01)\n"
        " except OSError: pass"
    )
    with engine.run("host", ["python3", "-c", script], wait=wait.port(80), timeout=PATIENCE) as c:
        c.wait_for(wait.http("/body", 80), PATIENCE)
        assert seen(c, wait.http("/body", 80, body="y", try_timeout=0.5)) == "no answer within 0.5 s"
        assert seen(c, wait.http("/headers", 80, try_timeout=0.5)) == "no answer within 0.5 s"


def test_a_function_that_does_not_understand_the_answer(plain: Container) -> None:
    found = seen(plain, wait.http("/x", 8080, body=lambda body: json.loads(body)["status"] == "ok"))
    assert found.startswith("status 200, but the body 'GET /x localhost None ' (JSONDecodeError: ")


def test_tls(encrypted: Container, authority: Path) -> None:
    encrypted.wait_for(wait.http("/x", 8443, tls=True, verify=False, body="GET /x"), PATIENCE)
    encrypted.wait_for(wait.http("/x", 8443, tls=True, verify=authority, host="app.test", body="app.test"), PATIENCE)
    untrusted = seen(encrypted, wait.http("/", 8443, tls=True, host="app.test"))
    assert untrusted.startswith("its certificate is not trusted: self")
    another = seen(encrypted, wait.http("/", 8443, tls=True, verify=authority))
    assert another.startswith("its certificate is not trusted: Hostname mismatch")


def test_a_port_that_speaks_tls_is_said_at_once(encrypted: Container) -> None:
    with pytest.raises(InvalidSpecError, match="tls=True: that port speaks TLS"):
        encrypted.wait_for(wait.http("/", 8443), PATIENCE)


def test_the_only_port_need_not_be_named(engine: Engine, encrypted: Container, plain: Container) -> None:
    encrypted.wait_for(wait.http(tls=True, verify=False), PATIENCE)
    with pytest.raises(InvalidSpecError, match="there is none"):
        plain.wait_for(wait.http("/health"), PATIENCE)
    image = engine.build({"Dockerfile": "FROM host\nEXPOSE 8081 53/udp\n"})
    with engine.run(image, ["python3", "-c", SERVER, "0.0.0.0", "8081"], wait=wait.http("/"), timeout=PATIENCE) as c:
        c.wait_for(wait.http("/", 8081), PATIENCE)
    with engine.run(image, "sleep 1000", ports=[80, 81]) as c, pytest.raises(InvalidSpecError, match="one of 80, 81"):
        c.wait_for(wait.http("/"), PATIENCE)
