"""What Docker knows, the parser reads, and the builder does not carry out yet: to be removed as that is added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.image.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_pycontainer.build.stages import Stage


def refuse_later(instruction: kinds.Instruction) -> None:
    """Raises DockerfileError for an instruction or a flag that this version only reads."""
    for offset, name in _later(instruction):
        raise instruction.line.error(offset, f"this version of pytest-pycontainer does not know {name} yet")


def refuse_platform(stage: Stage) -> None:
    """Raises DockerfileError for a stage on another platform than this machine's."""
    if stage.start.platform and stage.platform != Platform.current():
        offset = stage.start.platform.offset
        raise stage.start.line.error(
            offset, f"this version of pytest-pycontainer cannot build for {stage.platform} yet"
        )


def _later(instruction: kinds.Instruction) -> Iterator[tuple[int, str]]:
    match instruction:
        case kinds.Add():
            yield 0, "ADD"
        case kinds.Copy():
            for word in instruction.excludes:
                yield word.offset, "COPY --exclude"
            if instruction.link:
                yield 0, "COPY --link"
            if instruction.parents:
                yield 0, "COPY --parents"
