"""Containers beside Docker's, podman's and runc's: python tests/benchmarks/containers.py [--base ARCHIVE] [part ...]

The parts are ``run`` (from the wish to the exit of ``true``), ``exec`` (of ``true`` in a running container), ``fifty``
(fifty containers at once, each running ``true``, to the last one's exit) and ``memory`` (a monitor's own). All sides
take turns over the same root, a Debian; what has exited is removed between the turns. Prints medians, and how many
times Docker's, by its client, each is: the goals are 0.04 for run (and less than runc takes without any network), 0.1
for exec, 0.05 for fifty, and 4 MB of proportional set size for a monitor. Peers that are not here are left out.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pytest_pycontainer import Engine, Settings
from tests.benchmarks.peers import CommandLine, DockerSocket, Ours, Peer, PeerMissingError, Runc, podman

PARTS = ("run", "exec", "fifty", "memory")
ROUNDS = {"run": 15, "exec": 15, "fifty": 3}
FIFTY = 50
PAUSE = 0.05
MONITORS = 10


def peers(stack: ExitStack, engine: Engine, archive: Path, directory: Path) -> list[Peer]:
    """Ours first, then those that there are."""
    found: list[Peer] = [Ours(stack, engine, archive)]

    def docker() -> CommandLine:
        return CommandLine(stack, archive, "docker", "docker")

    makers: Sequence[Callable[[], Peer]] = (
        docker,
        lambda: DockerSocket(stack),
        lambda: podman(stack, archive, directory),
        lambda: Runc(stack, archive, directory),
    )
    for make in makers:
        try:
            found.append(make())
        except PeerMissingError as missing:
            print(f"left out: {missing}")
    return found


def seconds(action: Callable[[], None]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def at_once(action: Callable[[], None], times: int) -> None:
    with ThreadPoolExecutor(times) as threads:
        for done in [threads.submit(action) for _ in range(times)]:
            done.result()


def compare(part: str, found: Sequence[Peer], rounds: int) -> None:
    """Measures one part in turns, and prints it."""
    actions: dict[str, Callable[[], None]] = {}
    for peer in found:
        actions[peer.name] = {
            "run": peer.run_true,
            "exec": peer.exec_true,
            "fifty": lambda peer=peer: at_once(peer.run_true, FIFTY),  # type: ignore[misc]
        }[part]
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for peer in found:
            time.sleep(PAUSE)
            spent = seconds(actions[peer.name])
            peer.tidy()
            if turn:  # the first one warms up
                taken[peer.name].append(spent)
    beside = taken.get("docker")
    for name, times in taken.items():
        ratio = ""
        if beside is not None:
            ratios = [own / dockers for own, dockers in zip(times, beside, strict=True)]
            ratio = f"  {statistics.median(ratios):6.3f} times docker's"
        print(f"{part:6} {name:22} {statistics.median(times) * 1000:9.1f} ms{ratio}", flush=True)


def monitors_memory(engine: Engine) -> None:
    """Prints the proportional set size of monitors, of which each has a running container."""
    with ExitStack() as stack:
        containers = [stack.enter_context(engine.run("host", ["sleep", "1000"])) for _ in range(MONITORS)]
        sizes = [_proportional_size(_parent(container.pid)) for container in containers]
    print(f"memory monitor  {statistics.median(sizes) / 1024:.2f} MB, at most {max(sizes) / 1024:.2f} MB")


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _proportional_size(pid: int) -> int:
    """In kilobytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="the root's archive: made if it is not there, and kept")
    parser.add_argument("--rounds", type=int, help="turns that count")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; all of it by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary, ExitStack() as stack:
        directory = Path(temporary)
        engine = stack.enter_context(Engine(Settings(root=directory / "root", state=directory / "state")))
        parts = arguments.parts or PARTS
        if "memory" in parts:
            monitors_memory(engine)
        if set(parts) - {"memory"}:
            archive = arguments.base or directory / "base.tar"
            if not archive.exists():
                subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", archive], check=True)
            found = peers(stack, engine, archive, directory)
            for part in parts:
                if part != "memory":
                    compare(part, found, arguments.rounds or ROUNDS[part])


if __name__ == "__main__":
    main()
