"""A hundred tests, each with a Redis of its own: python tests/benchmarks/hundred_redis.py [--base ARCHIVE] [part ...]

Each part is a run of pytest with the same hundred tests, whose fixture starts a server, hands over its address when it
answers, and ends it: ``bare`` as a process of this machine, ``ours`` in a container, ``testcontainers`` in one of
Docker's by testcontainers-python, without its side container. All use the same server, out of the same root, a Debian.
What counts is the wall time of the whole run, in turns. Prints medians, and how many times each other one ours is: the
goals are 1.5 for ``bare`` and 0.06 for ``testcontainers``. For that Docker has to be up, and ``--peer-python`` be one
that has testcontainers[redis] and pytest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_pycontainer import Engine, Settings
from tests.benchmarks.peers import PeerMissingError, run

ROUNDS = 3
IMAGE = "127.0.0.1:1/hundred-redis"
COMMAND = ["redis-server", "--save", "", "--protected-mode", "no"]

TESTS = """
import socket

import pytest


@pytest.mark.parametrize("number", range(100))
def test_has_a_redis_of_its_own(address, number):
    with socket.create_connection(address) as connection:
        for request, answer in ((b"DBSIZE\\r\\n", b":0\\r\\n"), (b"SET a 1\\r\\n", b"+OK\\r\\n")):
            connection.sendall(request)
            assert connection.recv(100) == answer
"""

FIXTURES = {
    "bare": """
import itertools, os, socket, subprocess, time

import pytest

PORTS = itertools.count(21000)


@pytest.fixture
def address():
    address = "127.0.0.1", next(PORTS)
    with subprocess.Popen({command} + ["--port", str(address[1])], stdout=subprocess.DEVNULL,
                          env=os.environ | {{"LD_LIBRARY_PATH": {libraries!r}}}) as process:
        while True:
            try:
                with socket.create_connection(address) as connection:
                    connection.sendall(b"PING\\r\\n")
                    if connection.recv(100) == b"+PONG\\r\\n":
                        break
            except ConnectionRefusedError:
                time.sleep(0.0005)
        yield address
        process.kill()
""",
    "ours": """
import pytest

from pytest_pycontainer import container, services

server = container(services.redis(image="benchmark"), {command})


@pytest.fixture
def address(server):
    return server.address()
""",
    "testcontainers": """
import pytest
from testcontainers.community.redis import RedisContainer


@pytest.fixture
def address():
    with RedisContainer({image!r}).with_command({command}) as server:
        yield server.get_container_host_ip(), int(server.get_exposed_port(6379))
""",
}


def write_projects(directory: Path, layer: Path) -> None:
    binary = [f"{layer}/usr/bin/redis-server", *COMMAND[1:]]
    libraries = f"{layer}/usr/lib/x86_64-linux-gnu:{layer}/lib/x86_64-linux-gnu"
    for name, fixture in FIXTURES.items():
        command = binary if name == "bare" else COMMAND
        (directory / name).mkdir()
        (directory / name / "conftest.py").write_text(fixture.format(command=command, libraries=libraries, image=IMAGE))
        (directory / name / "test_hundred.py").write_text(TESTS)
        (directory / name / "pytest.ini").write_text("[pytest]\n")


def measure(project: Path, python: Path, root: Path) -> float:
    """Seconds of a whole run."""
    environment = os.environ | {
        "PYCONTAINER_ROOT": str(root),
        "TESTCONTAINERS_RYUK_DISABLED": "true",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    plugin = ["-p", "pytest_pycontainer.plugin"] if project.name == "ours" else []
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise PeerMissingError(f"{project.name}: {(done.stdout + done.stderr).strip()[-1500:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="the root's archive: made if it is not there, and kept")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable))
    parser.add_argument("parts", nargs="*", choices=[*FIXTURES, []], help="what to measure; all of it by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        directory = Path(temporary)
        archive = arguments.base or directory / "base.tar"
        if not archive.exists():
            packages = "--include=redis-server"
            subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", packages, "bookworm", archive], check=True)
        root = directory / "root"
        with Engine(Settings(root=root, state=Settings.read().state)) as engine:
            image = engine.import_image(archive, tag="benchmark")
            layer = engine._resources.store.layer_directories(image.config)[0]
        write_projects(directory, layer)
        parts = list(arguments.parts or FIXTURES)
        if "testcontainers" in parts:
            try:
                run("docker", "import", archive, IMAGE)
            except PeerMissingError as missing:
                print(f"left out: {missing}")
                parts.remove("testcontainers")
        pythons = {"testcontainers": arguments.peer_python}
        taken: dict[str, list[float]] = {part: [] for part in parts}
        try:
            for _ in range(arguments.rounds):
                for part in parts:
                    taken[part].append(measure(directory / part, pythons.get(part, Path(sys.executable)), root))
        finally:
            if "testcontainers" in parts:
                run("docker", "rmi", "--force", IMAGE)
    for part, times in taken.items():
        ratio = ""
        if part != "ours" and "ours" in taken:
            ratios = [own / other for own, other in zip(taken["ours"], times, strict=True)]
            ratio = f"  ours is {statistics.median(ratios):.3f} times this"
        print(f"{part:15} {statistics.median(times):8.2f} s{ratio}")


if __name__ == "__main__":
    main()
