"""Redis from start to its first answer, against a bare process: python tests/benchmarks/redis_ready.py

The image is examples/redis; the bare side runs the very same binary out of the image's layer, as a process of this
machine, on loopback. Both sides take turns. Prints the median of the ratios; the goal is 2 at most.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path

from pytest_pycontainer import Engine, Image, wait

ROUNDS = 40
PAUSE = 0.03
PORT = 6379
EXAMPLE = Path(__file__).parent.parent.parent / "examples/redis"


def ping(address: tuple[str, int]) -> None:
    while True:
        try:
            with socket.create_connection(address) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(100) == b"+PONG\r\n":
                    return
        except ConnectionRefusedError:
            time.sleep(0.0005)


def bare(layer: Path, port: int) -> float:
    libraries = f"{layer}/usr/lib/x86_64-linux-gnu:{layer}/lib/x86_64-linux-gnu"
    command = [f"{layer}/usr/bin/redis-server", "--port", str(port), "--save", "", "--daemonize", "no"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"LD_LIBRARY_PATH": libraries})
    ping(("127.0.0.1", port))
    answered = time.perf_counter() - begin
    process.send_signal(signal.SIGKILL)
    process.wait()
    return answered


def contained(engine: Engine, image: Image) -> tuple[float, float]:
    """Seconds to the first answer, and to the end of the removal."""
    begin = time.perf_counter()
    with engine.run(image, ports=[PORT], wait=wait.port(PORT)) as container:
        ping(container.address(PORT))
        answered = time.perf_counter()
    return answered - begin, time.perf_counter() - begin


def main() -> None:
    samples = []
    with Engine() as engine:
        image = engine.build(EXAMPLE, progress=print)
        layer = engine._resources.store.layer_directories(image.config)[0]
        contained(engine, image)
        for number in range(ROUNDS):
            time.sleep(PAUSE)
            alone = bare(layer, 20000 + number)
            time.sleep(PAUSE)
            samples.append((alone, *contained(engine, image)))
    alone, answered, removed = (statistics.median(column) * 1000 for column in zip(*samples, strict=True))
    ratio = statistics.median(answered / alone for alone, answered, _ in samples)
    print(f"bare {alone:.1f} ms, contained {answered:.1f} ms ({removed:.1f} ms with its removal): {ratio:.2f} times")


if __name__ == "__main__":
    main()
