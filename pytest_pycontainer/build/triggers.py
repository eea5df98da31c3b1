"""ONBUILD: instructions that an image keeps for the builds which begin with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.instructions import Copy, From, Instruction, Maintainer, OnBuild, Run
from pytest_pycontainer.build.mount_options import stage_names
from pytest_pycontainer.build.stages import find_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def parse_trigger(text: str, image: str) -> Instruction:
    """The instruction that an ONBUILD of the base ``image`` holds. Raises DockerfileError for what can be none."""
    instruction, *others = parse(text, f"ONBUILD of {image}")
    if others:
        raise others[0].line.error(0, "expected one instruction")
    if isinstance(instruction, From | Maintainer | OnBuild):
        raise instruction.line.error(0, f"{type(instruction).__name__.upper()} can't be a trigger")
    return instruction


def find_sources(
    instruction: Instruction, names: Sequence[str | None], index: int
) -> tuple[int | str | None, Mapping[str, int | str]]:
    """The stage or image that a trigger copies from, and those that it mounts by name, in the stage ``index``."""
    reads = None
    mounted = {}
    if isinstance(instruction, Copy) and instruction.source_stage:
        reads = find_source(instruction.line, instruction.source_stage, names, index)
    if isinstance(instruction, Run):
        mounted = {name.text: find_source(instruction.line, name, names, index) for name in stage_names(instruction)}
    return reads, mounted
