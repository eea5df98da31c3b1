"""Networks of an ordinary user."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 300.0


@pytest.mark.parametrize("ids", [["--ids"], []])
def test_an_ordinary_users_networks(home: Path, ids: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [*ids, str(home), sys.executable, str(HERE / "user_networks.py"), port]
        done = subprocess.run(
            [sys.executable, str(HERE / "ordinary_user.py"), *command],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert done.returncode == 0, done.stderr
