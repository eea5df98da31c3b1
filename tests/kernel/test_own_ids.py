from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_pycontainer.kernel.own_ids import OwnIds

ASK = "from pytest_pycontainer.kernel.own_ids import OwnIds; ids = OwnIds.read(); print(*ids, ids.are_all)"


def test_all_of_them() -> None:
    assert OwnIds.read().are_all


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        (["0 1000 1"], "1 1 False"),
        (["0 1000 1", "1 100000 65536"], "65537 65537 False"),
        (["1 100000 65536", "0 1000 1"], "65537 65537 False"),
        (["0 1000 10", "20 100000 5"], "10 10 False"),
        (["5 1000 10"], "0 0 False"),
    ],
)
def test_those_of_a_user_namespace(maps: list[str], told: str) -> None:
    """Counted from 0 on, in whatever order they are mapped; what comes after a gap is not."""
    script = f"""
import os, sys
from pytest_pycontainer.kernel import namespaces
ready, ready_end = os.pipe()
done, done_end = os.pipe()
child = os.fork()
if child == 0:
    namespaces.unshare(namespaces.USER)
    os.write(ready_end, b"x")
    os.read(done, 1)
    exec({ASK!r})
    sys.stdout.flush()
    os._exit(0)
os.read(ready, 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{{child}}/{{name}}", "w") as file:
        file.write({chr(10).join(maps)!r})
os.write(done_end, b"x")
os.waitpid(child, 0)
"""
    asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert asked.stdout.strip() == told
