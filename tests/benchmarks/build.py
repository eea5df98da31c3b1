"""Builds beside ``docker build``: python -m tests.benchmarks.build [DIRECTORY]

DIRECTORY is where contexts and our store lie, by default /var/tmp; it should be on the file system that Docker keeps
its images on. All sides take turns, each in a process of its own unless it says otherwise: Docker's is its command,
ours a fresh interpreter that imports the package, makes an engine and builds. Prints medians, and the medians of the
ratios beside their goals. What is written waits on the disk for nobody: every side begins after a sync.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from pytest_pycontainer import Engine, Settings
from tests.differential.builders import docker_command

ROUNDS = 5
_OURS = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings
with Engine(Settings(root=Path(sys.argv[1], "root"), state=Path(sys.argv[1], "state"))) as engine:
    engine.build(sys.argv[2], no_cache=len(sys.argv) > 3)
"""
_DOCKERFILE = """FROM scratch
ENV NODE_ENV=production
WORKDIR /app
COPY package.json ./
COPY . .
EXPOSE 8080
CMD ["node", "index.js"]
"""


class Sides:
    """The three builders, as commands."""

    def __init__(self, docker: str, store: Path) -> None:
        self._docker = docker
        self._store = store

    def ours(self, context: Path, *, no_cache: bool = False) -> float:
        """Seconds."""
        return _timed(sys.executable, "-c", _OURS, self._store, context, *(["no-cache"] if no_cache else []))

    def legacy(self, context: Path, *, no_cache: bool = False) -> float:
        """Seconds."""
        return self._docker_build(context, "0", no_cache=no_cache)

    def buildkit(self, context: Path, *, no_cache: bool = False) -> float:
        """Seconds."""
        return self._docker_build(context, "1", no_cache=no_cache)

    def _docker_build(self, context: Path, buildkit: str, *, no_cache: bool) -> float:
        environment = {**os.environ, "DOCKER_BUILDKIT": buildkit}
        flags = ["--no-cache"] if no_cache else []
        return _timed(self._docker, "build", "-q", "-t", "pycontainer-benchmark", *flags, context, env=environment)


def _timed(*command: str | Path, env: dict[str, str] | None = None) -> float:
    os.sync()
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return seconds


def make_context(directory: Path, files: int) -> Path:
    """A project of that many files of a few kilobytes, a hundred to a folder."""
    for number in range(files):
        file = directory / f"source/{number // 100}/{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(16) * (number % 256 + 1))
    (directory / "package.json").write_text("{}\n")
    (directory / "Dockerfile").write_text(_DOCKERFILE)
    return directory


def compare(title: str, goal: float | None, own: Callable[[], float], **others: Callable[[], float]) -> None:
    """Lets the sides take turns and prints a table."""
    rounds = [(own(), *(other() for other in others.values())) for _ in range(ROUNDS)]
    own_seconds, *theirs = zip(*rounds, strict=True)
    wanted = f"; the goal is {goal} times at most" if goal else ""
    print(f"{title}: {median(own_seconds) * 1000:.1f} ms{wanted}")
    for name, seconds in zip(others, theirs, strict=True):
        ratios = [mine / other for mine, other in zip(own_seconds, seconds, strict=True)]
        spread = f"from {min(ratios):.2f} to {max(ratios):.2f}"
        print(f"    {name:10} {median(seconds) * 1000:8.1f} ms, ours {median(ratios):.2f} times that ({spread})")
    sys.stdout.flush()


def walk(directory: Path) -> float:
    """Seconds for what cannot be done without: every name, and one ``stat`` of each."""
    begun = time.perf_counter()
    for parent, _, names in os.walk(directory):
        for name in names:
            os.stat(os.path.join(parent, name), follow_symlinks=False)  # noqa: PTH116, PTH118  (pathlib is slower)
    return time.perf_counter() - begun


def _in_process(engine: Engine, context: Path) -> float:
    begun = time.perf_counter()
    engine.build(context)
    return time.perf_counter() - begun


def main() -> None:
    os.environ.setdefault("DOCKER_API_VERSION", "1.41")  # what Debian 12's daemon speaks, whatever the client
    docker = docker_command()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else "/var/tmp") as temporary:
        here = Path(temporary)
        sides = Sides(docker, here)
        few = make_context(here / "few", 20)
        many = make_context(here / "many", 1_000)
        for build in (sides.ours, sides.legacy, sides.buildkit):
            build(few)
            build(many)
        with Engine(Settings(root=here / "root", state=here / "state")) as engine:
            for context, title in ((few, "20 files"), (many, "1,000 files")):
                compare(
                    f"unchanged build in a process of its own, {title}",
                    0.25,
                    partial(sides.ours, context),
                    legacy=partial(sides.legacy, context),
                    buildkit=partial(sides.buildkit, context),
                )
                _in_process(engine, context)
                compare(
                    f"unchanged build in a running process, {title}",
                    0.25,
                    partial(_in_process, engine, context),
                    legacy=partial(sides.legacy, context),
                    buildkit=partial(sides.buildkit, context),
                )
            compare(
                "unchanged build in a running process, 1,000 files",
                3,
                partial(_in_process, engine, many),
                walk=partial(walk, many),
            )
        _copies(sides, here)
        subprocess.run([docker, "rmi", "-f", "pycontainer-benchmark"], capture_output=True, check=False)


def _copies(sides: Sides, here: Path) -> None:
    """COPY of 10,000 files that no side has seen before, and once more with one file changed."""

    numbers = count()

    def fresh(build: Callable[[Path], float]) -> float:
        # Removed at the very end: on ext4, new files take several times as long while others have just been deleted.
        return build(make_context(here / f"fresh-{next(numbers)}", 10_000))

    compare(
        "COPY of 10,000 new files",
        0.5,
        partial(fresh, sides.ours),
        legacy=partial(fresh, sides.legacy),
        buildkit=partial(fresh, sides.buildkit),
    )
    kept = make_context(here / "kept", 10_000)

    def changed(build: Callable[[Path], float]) -> float:
        (kept / "source/0/0.txt").write_bytes(os.urandom(16))
        return build(kept)

    for build in (sides.ours, sides.buildkit):
        build(kept)
    compare(
        "COPY of 10,000 files, one of them changed",
        None,
        partial(changed, sides.ours),
        buildkit=partial(changed, sides.buildkit),
    )


if __name__ == "__main__":
    main()
