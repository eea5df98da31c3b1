"""What docs/migration.md shows is run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RunPytest = Callable[..., pytest.RunResult]

PAGE = Path(__file__).parents[2] / "docs/migration.md"
PYTHON = Path(sys.executable).resolve()
# What answers as Redis does when it is asked whether it is there, and greets on another port.
SERVER = """
import os, signal, socketserver, sys, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ANSWERS = {b"PING": b"+PONG\\r\\n", b"HELLO": b"%1\\r\\n+proto\\r\\n:3\\r\\n"}
class Redis(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            words = [self.rfile.readline() and self.rfile.readline().strip() for _ in range(int(line[1:]))]
            self.wfile.write(ANSWERS.get(words[0].upper(), b"+OK\\r\\n"))
class Greeting(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"hello\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
servers = [Server(("", 6379), Redis), Server(("", 8000), Greeting)]
threads = [threading.Thread(target=server.serve_forever) for server in servers]
for thread in threads:
    thread.start()
print("Ready to accept connections, serving, ready", flush=True)
"""


def test_all_code_of_ours_runs(project: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytest.importorskip("redis")
    blocks = re.findall(r"^```python\n(# pytest-pycontainer\n.*?)^```", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == PAGE.read_text().count("# pytest-pycontainer\n") > 8
    for number, block in enumerate(blocks):
        Path(f"test_{number}.py").write_text(block)
    context = project.mkdir("service")
    (context / "serve.py").write_text(SERVER)
    (context / "Dockerfile").write_text(
        "FROM host\nRUN mkdir -p /var/lib/postgresql/data\nVOLUME /var/lib/postgresql/data\n"
        f'COPY serve.py /\nCMD ["{PYTHON}", "/serve.py"]\n'
    )
    # The names of the page's images, for what is built here: nothing is pulled.
    project.makeconftest("""
        import pytest
        @pytest.fixture(scope="session", autouse=True)
        def _images(pycontainer):
            pycontainer.build("service", tag=["redis:6", "redis:7", "postgres:16", "python:3.12"])
    """)
    result = run_pytest("-n0")
    assert result.parseoutcomes().keys() == {"passed"}, result.stdout.str()
