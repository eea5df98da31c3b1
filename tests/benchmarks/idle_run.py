"""What the plugin costs a run that uses no container: python tests/benchmarks/idle_run.py

Runs pytest over 1,000 tests with the plugin and without it, in turn, and prints the median of the ratios. The goal is
1.04 at most.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
FILES = 10
TESTS_IN_A_FILE = 100
# Other plugins would only add to both sides.
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:hypothesispytest")


def seconds(project: Path, *arguments: str) -> float:
    begin = time.perf_counter()
    command = [sys.executable, "-m", "pytest", *QUIET, *arguments]
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory)
        (project / "pytest.ini").write_text("[pytest]\n")
        tests = "".join(f"def test_{number}(): pass\n" for number in range(TESTS_IN_A_FILE))
        for number in range(FILES):
            (project / f"test_{number}.py").write_text(tests)
        pairs = [(seconds(project), seconds(project, "-p", "no:pycontainer")) for _ in range(ROUNDS)]
    ratios = [with_plugin / without for with_plugin, without in pairs]
    print(f"{statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f}, {ROUNDS} rounds)")


if __name__ == "__main__":
    main()
