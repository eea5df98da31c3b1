"""What Docker knows, the parser reads, and the builder does not carry out yet: to be removed as that is added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer.image.platform import Platform

if TYPE_CHECKING:
    from pytest_pycontainer.build.stages import Stage


def refuse_platform(stage: Stage) -> None:
    """Raises DockerfileError for a stage on another platform than this machine's."""
    if stage.start.platform and stage.platform != Platform.current():
        offset = stage.start.platform.offset
        raise stage.start.line.error(
            offset, f"this version of pytest-pycontainer cannot build for {stage.platform} yet"
        )
