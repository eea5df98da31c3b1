"""From ``run("host", ["true"])`` to its exit, against the kernel calls alone: python tests/benchmarks/start.py

The bare side, in this same process: fork, unshare into the same kinds of namespaces, fork, exec ``true``, wait. Both
sides take turns, with a pause between, as tests have one. Prints the median of the ratios; the goal is 3 at most.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from pytest_pycontainer import Engine, Settings
from pytest_pycontainer.kernel import namespaces

ROUNDS = 60
PAUSE = 0.03
KINDS = namespaces.MOUNT | namespaces.CGROUP | namespaces.UTS | namespaces.IPC | namespaces.PID | namespaces.NETWORK


def bare() -> float:
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        namespaces.unshare(KINDS)
        grandchild = os.fork()
        if grandchild == 0:
            os.execv("/bin/true", ["true"])
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitpid(child, 0)[1] == 0
    return time.perf_counter() - begin


def contained(engine: Engine) -> tuple[float, float]:
    """Seconds to the exit, and to the end of the removal."""
    begin = time.perf_counter()
    with engine.run("host", ["true"]) as container:
        assert container.wait() == 0
        exited = time.perf_counter()
    return exited - begin, time.perf_counter() - begin


def _engine(directory: Path) -> Engine:
    return Engine(Settings(root=directory / "root", state=directory / "state"))


def main() -> None:
    samples = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory, _engine(Path(directory)) as engine:
        contained(engine)
        for _ in range(ROUNDS):
            time.sleep(PAUSE)
            alone = bare()
            time.sleep(PAUSE)
            samples.append((alone, *contained(engine)))
    alone, exited, removed = (statistics.median(column) * 1000 for column in zip(*samples, strict=True))
    ratio = statistics.median(exited / alone for alone, exited, _ in samples)
    print(f"bare {alone:.1f} ms, contained {exited:.1f} ms ({removed:.1f} ms with its removal): {ratio:.2f} times")


if __name__ == "__main__":
    main()
