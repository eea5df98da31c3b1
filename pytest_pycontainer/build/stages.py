"""A Dockerfile's instructions as stages: what each stands on and copies from, and which of them a build needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pycontainer.build.expand import ExpansionProblem, expand
from pytest_pycontainer.build.instructions import Arg, Copy, From, Instruction, Word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.image.platform import Platform


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its FROM, what that names (an earlier stage's index or an image), and the instructions after it.

    ``copies`` holds, for each COPY with ``--from``, the index of the stage or the image that it reads, in order.
    """

    index: int
    start: From
    base: int | str
    instructions: tuple[Instruction, ...]
    copies: tuple[int | str, ...]

    @property
    def needs(self) -> set[int]:
        """The stages that have to be built before."""
        return {source for source in (self.base, *self.copies) if isinstance(source, int)}


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages, and the build arguments declared before the first, which a stage takes in by ``ARG name``."""

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str]

    def needed(self, target: str | None) -> list[Stage]:
        """The stages that the one called ``target`` (a name or an index; the last by default) needs, and itself, last.

        Raises DockerfileError if there is none of that name.
        """
        wanted = self._find(target)
        needed: set[int] = set()
        waiting = [wanted]
        while waiting:
            index = waiting.pop()
            if index not in needed:
                needed.add(index)
                waiting += self.stages[index].needs
        return [self.stages[index] for index in sorted(needed)]

    def _find(self, target: str | None) -> int:
        if target is None:
            return len(self.stages) - 1
        names = {stage.start.name: stage.index for stage in self.stages if stage.start.name}
        if target.lower() in names:
            return names[target.lower()]
        if target.isdecimal() and int(target) < len(self.stages):
            return int(target)
        known = ", ".join(names) or "none has a name"
        raise self.stages[-1].start.line.error(0, f"no stage {target!r} to build (stages: {known})")


def expand_word(line: Line, word: Word, variables: Mapping[str, str]) -> str:
    """The word with variables replaced. Raises DockerfileError at the right column."""
    try:
        return expand(word.text, variables, line.escape)
    except ExpansionProblem as problem:
        raise line.error(word.offset + problem.offset, problem.problem) from None


def platform_arguments(platform: Platform) -> dict[str, str]:
    """The build arguments that are always there, as BuildKit names them; building is for the machine it is done on."""
    return {
        f"{side}{name}": value
        for side in ("TARGET", "BUILD")
        for name, value in (
            ("PLATFORM", str(platform)),
            ("OS", platform.os),
            ("ARCH", platform.architecture),
            ("VARIANT", platform.variant or ""),
        )
    }


def plan_stages(instructions: Sequence[Instruction], given: Mapping[str, str], platform: Platform) -> Plan:
    """Groups instructions into stages; ``given`` are the build arguments from outside.

    Raises DockerfileError for instructions before the first FROM, names used twice, and stages that are not above.
    """
    arguments = platform_arguments(platform)
    starts = [index for index, instruction in enumerate(instructions) if isinstance(instruction, From)]
    for instruction in instructions[: starts[0] if starts else None]:
        if not isinstance(instruction, Arg):
            raise instruction.line.error(0, "expected FROM: only ARG may stand before it")
        declare(instruction, given, inherited={}, arguments=arguments, environment={})
    if not starts:
        raise instructions[-1].line.error(0, "expected FROM after this: there is no stage to build")
    names = [instruction.name for instruction in instructions if isinstance(instruction, From)]
    stages: list[Stage] = []
    for index, (first, end) in enumerate(zip(starts, [*starts[1:], len(instructions)], strict=True)):
        start = instructions[first]
        assert isinstance(start, From)
        if start.name and start.name in names[:index]:
            raise start.line.error(start.line.text.rindex(" ") + 1, f"an earlier stage is called {start.name} too")
        base = expand_word(start.line, start.image, arguments)
        if not base:
            raise start.line.error(start.image.offset, "the image's name is empty; its build argument has no value")
        body = tuple(instructions[first + 1 : end])
        copies = tuple(
            _copy_source(copy, index, names) for copy in body if isinstance(copy, Copy) and copy.source_stage
        )
        known = base.lower() in names[:index]
        stages.append(Stage(index, start, names.index(base.lower()) if known else base, body, copies))
    return Plan(tuple(stages), arguments)


def declare(
    instruction: Arg,
    given: Mapping[str, str],
    *,
    inherited: Mapping[str, str],
    arguments: dict[str, str],
    environment: Mapping[str, str],
) -> None:
    """Carries out ARG: puts into ``arguments`` what was given, else the default, else what is ``inherited``.

    In defaults, ``environment`` (ENV) wins over the arguments declared before.
    """
    before = arguments | dict(environment)
    for name, default in instruction.defaults:
        if name.text in given:
            arguments[name.text] = given[name.text]
        elif default is not None:
            arguments[name.text] = expand_word(instruction.line, default, before)
        elif name.text in inherited:
            arguments[name.text] = inherited[name.text]


def _copy_source(copy: Copy, index: int, names: Sequence[str | None]) -> int | str:
    assert copy.source_stage is not None
    name, offset = copy.source_stage.text, copy.source_stage.offset
    number = names.index(name.lower()) if name.lower() in names else None
    if number is None and name.isdecimal():
        number = int(name)
        if number >= len(names):
            raise copy.line.error(offset, f"there is no stage {name}; stages count from 0 to {len(names) - 1}")
    if number is None:
        return name
    if number == index:
        raise copy.line.error(offset, f"stage {name} cannot copy from itself")
    if number > index:
        raise copy.line.error(offset, f"stage {name} comes later; a stage can only copy from those above it")
    return number
