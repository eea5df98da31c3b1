"""A Dockerfile's instructions as stages: what each stands on and copies from, and which of them a build needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_pycontainer.build.expand import ExpansionProblem, expand
from pytest_pycontainer.build.instructions import Arg, Copy, From, Heredoc, Instruction, Run, Word
from pytest_pycontainer.build.mount_options import stage_names
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.image.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pytest_pycontainer.build.lines import Line


_SYSTEMS = ("linux", "windows", "darwin", "freebsd")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its FROM, what that names (an earlier stage's index or an image), and the instructions after it.

    ``platform`` is that of FROM --platform; None leaves it to the build. ``copies`` holds, for each COPY with
    ``--from``, the index of the stage or the image that it reads, in order; ``mounted`` the same for each name after
    ``from=`` in a RUN's mounts.
    """

    index: int
    start: From
    base: int | str
    instructions: tuple[Instruction, ...]
    copies: tuple[int | str, ...]
    platform: Platform | None = None
    mounted: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def needs(self) -> set[int]:
        """The stages that have to be built before."""
        return {source for source in (self.base, *self.copies, *self.mounted.values()) if isinstance(source, int)}


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages, and the build arguments declared before the first, which a stage takes in by ``ARG name``.

    ``names`` are those by which stages can be meant, one for each stage, None for one that has none.
    """

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str]
    names: tuple[str | None, ...] = ()

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


def expand_heredoc(heredoc: Heredoc, variables: Mapping[str, str]) -> str:
    """What COPY and ADD write of a here-document. Raises DockerfileError at the right line and column."""
    if not heredoc.expands:
        return heredoc.content
    try:
        # As in Docker, whatever the file's escape character: the content is no Dockerfile.
        return expand(heredoc.content, variables, "\\", quotes=False)
    except ExpansionProblem as problem:
        raise heredoc.body.error(problem.offset, problem.problem) from None


def platform_arguments(target: Platform, build: Platform) -> dict[str, str]:
    """The build arguments that are always there, as BuildKit names them: built for ``target``, on ``build``."""
    return {
        f"{side}{name}": value
        for side, platform in (("TARGET", target), ("BUILD", build))
        for name, value in (
            ("PLATFORM", str(platform)),
            ("OS", platform.os),
            ("ARCH", platform.architecture),
            ("VARIANT", platform.variant or ""),
        )
    }


def plan_stages(
    instructions: Sequence[Instruction],
    given: Mapping[str, str],
    platform: Platform,
    target: str | None = None,
    *,
    build_platform: Platform | None = None,
    replaced: Collection[str] = (),
) -> Plan:
    """Groups instructions into stages; ``given`` are the build arguments from outside, ``target`` the stage wanted.

    ``platform`` is what the image is for, ``build_platform`` what it is built on, if that is another. Of stages with
    one name, the last above is meant; those whose names are ``replaced`` are not: something else goes by it. Raises
    DockerfileError for instructions before the first FROM, and for stages and platforms that there are not.
    """
    names = [instruction.name for instruction in instructions if isinstance(instruction, From)]
    arguments = platform_arguments(platform, build_platform or platform)
    arguments["TARGETSTAGE"] = target or (names[-1] if names else None) or "default"
    arguments |= {name: given[name] for name in arguments.keys() & given.keys()}
    names = [None if name in replaced else name for name in names]
    starts = [index for index, instruction in enumerate(instructions) if isinstance(instruction, From)]
    for instruction in instructions[: starts[0] if starts else None]:
        if not isinstance(instruction, Arg):
            raise instruction.line.error(0, "expected FROM: only ARG may stand before it")
        declare(instruction, given, inherited={}, arguments=arguments, environment={})
    if not starts:
        raise instructions[-1].line.error(0, "expected FROM after this: there is no stage to build")
    stages: list[Stage] = []
    for index, (first, end) in enumerate(zip(starts, [*starts[1:], len(instructions)], strict=True)):
        start = instructions[first]
        assert isinstance(start, From)
        base = expand_word(start.line, start.image, arguments)
        if not base:
            raise start.line.error(start.image.offset, "the image's name is empty; its build argument has no value")
        body = tuple(instructions[first + 1 : end])
        copies = tuple(
            find_source(copy.line, copy.source_stage, names, index)
            for copy in body
            if isinstance(copy, Copy) and copy.source_stage
        )
        mounted = {
            name.text: find_source(run.line, name, names, index)
            for run in body
            if isinstance(run, Run)
            for name in stage_names(run)
        }
        above = _last(names[:index], base)
        stages.append(
            Stage(index, start, base if above is None else above, body, copies, _platform(start, arguments), mounted)
        )
    return Plan(tuple(stages), arguments, tuple(names))


def declare(
    instruction: Arg,
    given: Mapping[str, str],
    *,
    inherited: Mapping[str, str],
    arguments: dict[str, str],
    environment: Mapping[str, str],
) -> None:
    """Carries out ARG: puts into ``arguments`` what was given, else the default, else what is ``inherited``.

    Defaults see ``environment`` (ENV) and, winning over it, what was declared before, in the same line too.
    """
    for name, default in instruction.defaults:
        if name.text in given:
            arguments[name.text] = given[name.text]
        elif default is not None:
            arguments[name.text] = expand_word(instruction.line, default, {**environment, **arguments})
        elif name.text in inherited:
            arguments[name.text] = inherited[name.text]


def _platform(start: From, arguments: Mapping[str, str]) -> Platform | None:
    if start.platform is None:
        return None
    text = expand_word(start.line, start.platform, arguments)
    if not text:
        raise start.line.error(start.platform.offset, "the platform is empty; its build argument has no value")
    system, slash, rest = text.lower().partition("/")
    if not slash:
        # The one or the other alone, as containerd reads them.
        system, rest = (system, Platform.current().architecture) if system in _SYSTEMS else ("linux", system)
    machine, *variant = rest.split("/")
    named = Platform.of_machine(machine)
    try:
        return Platform.parse("/".join([system, named.architecture, *variant]))
    except InvalidSpecError as problem:
        raise start.line.error(start.platform.offset, str(problem)) from None


def find_source(line: Line, word: Word, names: Sequence[str | None], index: int) -> int | str:
    """The stage that ``--from`` or ``from=`` in stage ``index`` means by a name or a number, or else the image.

    ``names`` are those of all stages. Raises DockerfileError for stages that are not above.
    """
    name, offset = word.text, word.offset
    if "$" in name:
        raise line.error(offset, f"no variables here; give it a name with FROM {name} AS …, and use that")
    number = _last(names[:index], name)
    if number is None and name.lower() in names:
        number = names.index(name.lower())
    if number is None and name.isdecimal():
        number = int(name)
        if number >= len(names):
            raise line.error(offset, f"there is no stage {name}; stages count from 0 to {len(names) - 1}")
    if number is None:
        return name
    if number == index:
        raise line.error(offset, f"stage {name} cannot copy from itself")
    if number > index:
        raise line.error(offset, f"stage {name} comes later; a stage can only copy from those above it")
    return number


def _last(names: Sequence[str | None], name: str) -> int | None:
    return max((index for index, other in enumerate(names) if other == name.lower()), default=None)
