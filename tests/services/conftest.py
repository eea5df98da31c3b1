"""Images that keep the contracts of the official ones, made of Debian's packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image

IMAGES = Path(__file__).parent / "images"
SECONDS = 120.0
"""What a server may take to its first answer on a loaded machine."""


@pytest.fixture(scope="session")
def debian_image(engine: Engine) -> Callable[[str], Image]:
    """Builds the image of that name in ``images``; one that is there already costs nothing."""
    return lambda name: engine.build(IMAGES / name)
