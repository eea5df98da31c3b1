"""What a missed ``RUN true`` costs, as a ratio to running ``true`` in a container.

python tests/benchmarks/build_steps.py [rounds]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from pytest_pycontainer import Engine, Settings

_STEPS = 10


def run(engine: Engine) -> float:
    """Seconds from the call to the exit of ``true``, and its removal."""
    begun = time.perf_counter()
    with engine.run("host", ["true"]) as container:
        container.wait(timeout=60)
    return time.perf_counter() - begun


def build(engine: Engine, context: Path, command: str) -> float:
    """Seconds for one of many missed RUNs."""
    lines = [f"RUN {command} # {number}" for number in range(_STEPS)]
    (context / "Dockerfile").write_text("\n".join(["FROM host", *lines, ""]))
    begun = time.perf_counter()
    engine.build(context, no_cache=True)
    whole = time.perf_counter() - begun
    (context / "Dockerfile").write_text("FROM host\nLABEL a=b\n")
    begun = time.perf_counter()
    engine.build(context, no_cache=True)
    return (whole - (time.perf_counter() - begun)) / _STEPS


def _engine(directory: Path) -> Engine:
    return Engine(Settings(root=directory / "root", state=directory / "state"))


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory, _engine(Path(directory)) as engine:
        context = Path(directory) / "context"
        context.mkdir()
        run(engine)
        build(engine, context, "true")
        bare = median(run(engine) for _ in range(rounds * _STEPS))
        print(f"run true             {bare * 1000:6.2f} ms")
        for command in ("true", "touch /file"):
            step = median(build(engine, context, command) for _ in range(rounds))
            print(f"RUN {command:16} {step * 1000:6.2f} ms  {step / bare:4.1f} times as long")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
