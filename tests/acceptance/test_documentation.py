"""What the documentation shows is run."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RunPytest = Callable[..., pytest.RunResult]

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable).resolve()
# What answers as Redis does when it is asked whether it is there, and greets on another port.
SERVER = """
import os, signal, socketserver, sys, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ANSWERS = {b"PING": b"+PONG\\r\\n", b"HELLO": b"%1\\r\\n+proto\\r\\n:3\\r\\n"}
class Redis(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            words = [line.strip()]
            if line.startswith(b"*"):
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
print("Ready to accept connections, serving", *["ready to accept connections"] * 2, sep="\\n", flush=True)
"""


# As official images have it: options are the server's, anything else is another command.
ENTRYPOINT = f'case "$1" in ""|-*) exec {PYTHON} /serve.py "$@";; esac\nexec "$@"\n'
# The names of the pages' images, for what is built here: nothing is pulled.
CONFTEST = """
import pytest
@pytest.fixture(scope="session", autouse=True)
def _images(pycontainer):
    pycontainer.build("service", tag=["redis:6", "redis:7", "redis:8", "postgres:16", "python:3.12"])
"""


# Pages of which each piece of Python is a whole test file: all with Python but those that have a test of their own.
WITH_TESTS_OF_THEIR_OWN = {"hooks", "migration", "services"}
WHOLE_FILES = sorted({page.stem for page in (ROOT / "docs").glob("*.md")} - WITH_TESTS_OF_THEIR_OWN)


def code(page: str, beginning: str) -> list[str]:
    """The pieces of Python on a page that begin so."""
    return re.findall(rf"^```python\n({re.escape(beginning)}.*?)^```", (ROOT / page).read_text(), re.M | re.S)


@pytest.fixture
def documented(project: pytest.Pytester) -> pytest.Pytester:
    """A project that has the images which the pages name."""
    context = project.mkdir("service")
    (context / "serve.py").write_text(SERVER)
    (context / "entrypoint.sh").write_text(ENTRYPOINT)
    (context / "redis-cli").write_text("#!/bin/sh\necho PONG\n")
    (context / "Dockerfile").write_text(
        "FROM host\nRUN mkdir -p /var/lib/postgresql/data\nVOLUME /var/lib/postgresql/data\n"
        "COPY serve.py entrypoint.sh /\nCOPY --chmod=755 redis-cli /usr/local/bin/\n"
        'ENTRYPOINT ["sh", "/entrypoint.sh"]\n'
    )
    project.mkdir("web").joinpath("Dockerfile").write_text('FROM redis:7\nENTRYPOINT ["sh", "-c", "sleep 1000"]\n')
    project.makeconftest(CONFTEST)
    return project


def anchors(page: Path) -> set[str]:
    """What a link may name on a page: its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", sorted(str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
)
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", here.read_text()):
        there = here.parent / target if target else here
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def test_every_page_can_be_found_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in readme] == []


def test_the_page_on_migration(documented: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytest.importorskip("redis")
    pieces = code("docs/migration.md", "# pytest-pycontainer\n")
    assert len(pieces) > 8
    for number, piece in enumerate(pieces):
        Path(f"test_{number}.py").write_text(piece)
    result = run_pytest()
    assert result.parseoutcomes().keys() == {"passed"}, result.stdout.str()


def test_the_page_on_hooks(documented: pytest.Pytester, run_pytest: RunPytest) -> None:
    (piece,) = code("docs/hooks.md", "# conftest.py\n")
    documented.makeconftest(piece + CONFTEST)
    documented.makepyfile("""
        from pytest_pycontainer import container, wait
        server = container("host", ["sh", "-c", "echo it is ready; exec sleep 1000"], name="server",
                           wait=wait.named("announced", "ready"))
        def test_server(server, request):
            assert server.labels == {"project": request.config.rootpath.name}
            assert server.limits().memory == 512 << 20
        def test_its_log_is_kept(request):
            assert (request.config.rootpath / "container-logs/server.log").read_text() == "it is ready\\n"
        def test_service(pycontainer):
            with pycontainer.service("small-redis") as redis:
                assert redis.command[-2:] == ("--maxmemory", "10m")
    """)
    result = run_pytest("-p", "no:randomly")
    assert result.parseoutcomes().keys() == {"passed"}, result.stdout.str()


def test_pages_whose_pieces_are_whole_files(documented: pytest.Pytester, run_pytest: RunPytest) -> None:
    for page in WHOLE_FILES:  # all in one run: most of its time is its beginning
        for number, piece in enumerate(code(f"docs/{page}.md", "")):
            Path(f"test_{page}_{number}.py").write_text(piece)
    result = run_pytest()
    assert result.parseoutcomes().keys() == {"passed"}, result.stdout.str()


def test_the_readme(documented: pytest.Pytester, run_pytest: RunPytest) -> None:
    pytest.importorskip("redis")
    tests, program, tour = code("README.md", "")
    as_test = f"def test(capsys):\n    exec({program!r})\n    assert capsys.readouterr().out.split() == ['PONG']"
    examples = documented.mkdir("examples")
    shutil.copytree("service", examples / "redis")
    documented.makepyfile(test_tests=tests, test_program=as_test, test_tour=tour)
    run_pytest().assert_outcomes(passed=4)
