"""Through a published port, against the container's own address: python tests/benchmarks/ports.py

Small requests by redis-benchmark, and a bulk transfer; all sides take turns with the same server. Where a Docker daemon
answers, its published port on 127.0.0.1 takes turns too, with the same programs, which it gets from this machine; and
so do two ports that our forwarder leads on: the same server's on ::1, and one of a server in a network as an ordinary
user's, which ends in a router. Prints the medians and the medians of the ratios; the goals are 0.9 of the own address,
and 2.5 times Docker's, and for the forwarder 1.2 times Docker's.
"""

from __future__ import annotations

import io
import os
import socket
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.engine.extensions import Extensions
from pytest_pycontainer.engine.resources import Resources

ROUNDS = 9
REQUESTS = 100_000
BULK = 1 << 30
REDIS, SENDER = 6379, 8000

# Redis, and who sends so many bytes to each that connects.
SERVERS = f"""
import contextlib, socket, subprocess
redis = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
subprocess.Popen(redis, stdout=subprocess.DEVNULL)
piece = memoryview(bytes(1 << 20))
with socket.create_server(("0.0.0.0", {SENDER}), backlog=100) as listener:
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            for _ in range({BULK} // len(piece)):
                connection.sendall(piece)
"""
DOCKER_ENVIRONMENT = os.environ | {"DOCKER_API_VERSION": "1.41"}
DOCKER = os.environ.get("DOCKER", "/usr/bin/docker")

Address = tuple[str, int]


def small_requests(address: Address) -> float:
    """Requests a second, of 50 clients."""
    command = ["redis-benchmark", "-h", address[0], "-p", str(address[1]), "-t", "get", "-n", str(REQUESTS), "--csv"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(output.splitlines()[-1].split(",")[1].strip('"'))


def bulk(address: Address) -> float:
    """Megabytes a second."""
    buffer = bytearray(1 << 20)
    with socket.create_connection(address) as connection:
        received = 0
        begin = time.perf_counter()
        while count := connection.recv_into(buffer):
            received += count
        seconds = time.perf_counter() - begin
    assert received == BULK
    return BULK / seconds / 1e6


def docker(*command: str, content: bytes = b"") -> str:
    done = subprocess.run([DOCKER, *command], input=content, capture_output=True, check=True, env=DOCKER_ENVIRONMENT)
    return done.stdout.decode().strip()


def docker_answers() -> bool:
    try:
        docker("info")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@contextmanager
def docker_container() -> Iterator[Callable[[int], Address]]:
    """The same servers under Docker: from an image of links and directories, with this machine's programs in it."""
    image = io.BytesIO()
    with tarfile.open(fileobj=image, mode="w") as archive:
        for name in ("bin", "sbin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(link)
    docker("import", "-", "pycontainer-benchmark", content=image.getvalue())
    ports = [f"-p=127.0.0.1::{port}" for port in (REDIS, SENDER)]
    command = ["/usr/bin/python3", "-c", SERVERS]
    name = docker("run", "-d", "-v=/usr:/usr:ro", *ports, "pycontainer-benchmark", *command)
    try:
        yield lambda port: ("127.0.0.1", int(docker("port", name, str(port)).splitlines()[0].rpartition(":")[2]))
    finally:
        docker("rm", "-f", name)
        docker("rmi", "-f", "pycontainer-benchmark")


def wait_until_ready(address: Address) -> None:
    while True:
        try:
            with socket.create_connection(address) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(1):
                    return
        except OSError:
            time.sleep(0.05)


def measure(name: str, unit: str, rate: Callable[[Address], float], places: dict[str, Address]) -> None:
    samples = []
    for _ in range(ROUNDS):
        samples.append({place: rate(address) for place, address in places.items()})
    print(f"{name}:")
    for place in places:
        median = statistics.median(sample[place] for sample in samples)
        ratios = (
            f"{side} is {statistics.median(sample[side] / sample[place] for sample in samples):.2f} times that"
            for side in ("published", "forwarded", "routed")
        )
        print(f"  {place:12} {median:12,.0f} {unit}; {', '.join(ratios)}")


def places(
    container: Container, routed: Container, port: int, docker_port: Callable[[int], Address] | None
) -> dict[str, Address]:
    found = {"published": container.address(port), "own address": (container.ip_address, port)}
    published = {(host, own): host_port for host, host_port, own, _ in container._published()}
    found["forwarded"] = "::1", published["::1", port]
    found["routed"] = routed.address(port)
    if docker_port is not None:
        wait_until_ready(docker_port(port))
        found["docker"] = docker_port(port)
    return found


def main() -> None:
    command = ["python3", "-c", SERVERS]
    ports: list[int | str] = [REDIS, SENDER, f"[::1]::{REDIS}", f"[::1]::{SENDER}"]
    beside = docker_container() if docker_answers() else nullcontext(None)
    with (
        Engine() as engine,
        engine.run("host", command, ports=ports, wait=wait.port(SENDER)) as container,
        Engine() as other,
        beside as docker_port,
    ):
        other._resources = Resources(other.settings, Extensions(), routed=True)
        routed = other.run("host", command, ports=[REDIS, SENDER], wait=wait.port(SENDER))
        for one in (container, routed):
            wait.port(REDIS).until_ready(one, 20)
        measure("small requests", "requests/s", small_requests, places(container, routed, REDIS, docker_port))
        measure("bulk", "MB/s", bulk, places(container, routed, SENDER, docker_port))
        if docker_port is None:
            print("no Docker daemon answers", file=sys.stderr)


if __name__ == "__main__":
    main()
