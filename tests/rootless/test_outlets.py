"""Programs that lead out of an ordinary user's networks: pasta and slirp4netns, as Debian has them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_pycontainer import Engine
from pytest_pycontainer.engine.outlets import address_of_this_machine
from tests.rootless.conftest import PATIENCE, wait_until_ended

PROGRAMS = """
FROM host
RUN apt-get update -q && cd /tmp && apt-get download -q passt slirp4netns libslirp0 \\
    && for package in *.deb; do dpkg -x $package /programs; done \\
    && cp -a /programs/usr/lib/*/libslirp.so* /programs/usr/bin \\
    && chmod -R go+rX /programs
"""

# As an ordinary user: what of these servers a container is told, and what is in the log when there is no way to them.
SCRIPT = """
import os, sys
from pytest_pycontainer import Engine

machine, port = sys.argv[1], sys.argv[2]
ask = '''
import socket, sys
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(60)
        client.connect((sys.argv[1], int(sys.argv[2])))
        client.send(b"who?")
        print(client.recv(100).decode())
'''

def asked(container, host):
    done = container.exec(["python3", "-c", ask, host, port])
    return done.stdout.split() or [done.stderr.splitlines()[-1]]

with Engine() as engine:
    container = engine.run("host", ["sleep", "1000"])
    print(*asked(container, machine), *asked(container, "host.docker.internal"), flush=True)
    refused = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)"
    print(container.exec(["python3", "-c", refused, machine, sys.argv[3]]).stderr.splitlines()[-1], flush=True)
    inside = engine.run("host", ["sleep", "1000"], network=engine.network("inside", internal=True))
    print(*asked(inside, machine), flush=True)
    input()
    engine.run("host", ["true"])
    again = engine.run("host", ["sleep", "1000"], network=engine.network("again", internal=False))
    print(*asked(container, machine), *asked(again, machine), flush=True)
    input()
"""

DEVICE = """
import os, sys
from pytest_pycontainer.kernel import mount, namespaces
namespaces.unshare(namespaces.MOUNT)
mount.set_propagation("/", mount.PRIVATE)
own = sys.argv[1]
mount.mount("own", own, "tmpfs", 0, "mode=0755")
os.mknod(own + "/tun", 0o020666, os.stat("/dev/net/tun").st_rdev)
os.chmod(own + "/tun", 0o666)
mount.bind(own + "/tun", "/dev/net/tun")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.fixture(scope="session")
def programs(engine: Engine, shared_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both programs, that everybody may use."""
    found = shared_directory / "outlets"
    with FileLock(shared_directory / "outlets.lock"):
        if not found.exists():
            context = tmp_path_factory.mktemp("outlets")
            (context / "Dockerfile").write_text(PROGRAMS)
            with engine.create(engine.build(context), ["true"]) as container:
                container.copy_from("/programs/usr/bin", found)
    return found


def sockets_of_one_port() -> tuple[socket.socket, socket.socket]:
    """A TCP socket that listens, and one for datagrams that has a port of the same number."""
    with ExitStack() as taken:
        while True:
            listener = taken.enter_context(socket.create_server(("", 0)))
            datagrams = taken.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with suppress(OSError):  # somebody has that one
                datagrams.bind(listener.getsockname())
                return listener.dup(), datagrams.dup()


@pytest.fixture
def server() -> Iterator[tuple[str, str, str]]:
    """This machine's address, a port where it says ``tcp`` and ``udp``, by these, and one that is closed."""
    listener, datagrams = sockets_of_one_port()
    with listener, datagrams, socket.socket() as closed:
        closed.bind(("", 0))
        port = listener.getsockname()[1]
        ended, end = os.pipe()

        def serve() -> None:
            while True:
                watched: list[socket.socket | int] = [listener, datagrams, ended]
                ready, _, _ = select.select(watched, [], [])
                if listener in ready:
                    with listener.accept()[0] as connection, suppress(OSError):
                        connection.recv(100)
                        connection.sendall(b"tcp")
                if datagrams in ready:
                    datagrams.sendto(b"udp", datagrams.recvfrom(100)[1])
                if ended in ready:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        machine = address_of_this_machine()
        yield str(machine), str(port), str(closed.getsockname()[1])
        os.close(end)
        thread.join()
        os.close(ended)


StartScript = Callable[[str], AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture
def start(programs: Path, server: tuple[str, str, str], home: Path) -> StartScript:
    """Starts the script as an ordinary user who has that program alone."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun here")

    @contextmanager
    def start_with(program: str) -> Iterator[subprocess.Popen[str]]:
        own, place, script = home / "bin", home / "device", home / "script.py"
        own.mkdir()
        place.mkdir()
        for name in (program, "libslirp.so.0"):
            shutil.copy(programs / name, own)
        script.write_text(SCRIPT)
        environment = [f"PATH={own}:/usr/bin:/bin", f"LD_LIBRARY_PATH={own}"]
        command = ["env", *environment, sys.executable, str(script), *server]
        user = Path(__file__).with_name("ordinary_user.py")
        with subprocess.Popen(
            [sys.executable, "-c", DEVICE, str(place), str(user), str(home), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            try:
                yield running
            finally:
                running.kill()

    return start_with


def outlet(home: Path) -> tuple[int, int]:
    """The process that leads out of the networks of that user, and its parent, a process of ours."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdecimal() and (process / "exe").readlink().is_relative_to(home / "bin"):
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                found.append((int(process.name), int(parent)))
    (both,) = found
    return both


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_containers_reach_what_the_machine_reaches(start: StartScript, home: Path, program: str) -> None:
    with start(program) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == "tcp udp tcp udp\n"
        assert "Connection refused" in running.stdout.readline()
        assert "Network is unreachable" in running.stdout.readline()
        first = outlet(home)
        os.kill(first[0], signal.SIGKILL)
        wait_until_ended(*first)
        print(file=running.stdin, flush=True)
        assert running.stdout.readline() == "tcp udp tcp udp\n"
        second = outlet(home)
        print(file=running.stdin, flush=True)
        assert running.wait(PATIENCE) == 0
        wait_until_ended(*second)


def test_an_owner_that_is_killed_leaves_no_program_behind(start: StartScript, home: Path) -> None:
    with start("pasta") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "tcp udp tcp udp\n"
        left = outlet(home)
        running.kill()
        wait_until_ended(*left)
