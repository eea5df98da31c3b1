from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    """An ordinary user's: the way to pytest's own directories is closed to others."""
    home = Path(mkdtemp(prefix="pycontainer-user-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home)
