"""Carrying out one stage: its base's triggers, then instruction by instruction."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.copying import plan_copy
from pytest_pycontainer.build.graph import BuildStopped
from pytest_pycontainer.build.metadata import absolute, change_config, in_shell
from pytest_pycontainer.build.mount_options import stage_names
from pytest_pycontainer.build.mounts import plan_mounts, run_network
from pytest_pycontainer.build.output import StepOutput
from pytest_pycontainer.build.progress import StageEnded, StageNews, TriggersStarted
from pytest_pycontainer.build.stages import Plan, Stage, declare, expand_heredoc, expand_word
from pytest_pycontainer.build.step_cache import Point, Step, StepCache
from pytest_pycontainer.build.steps import Base, CopyStep, RunStep, SourceMissing
from pytest_pycontainer.build.triggers import find_sources, parse_trigger
from pytest_pycontainer.errors import BuildStepFailedError
from pytest_pycontainer.image.config import DEFAULT_PATH, ImageConfig
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.store.store import SCRATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pytest_pycontainer.build.context import BuildContext
    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.build.mounts import StageFiles
    from pytest_pycontainer.build.request import BuildRequest, BuildTools
    from pytest_pycontainer.build.sources import Sources
    from pytest_pycontainer.store.store import Store

# Docker passes these to RUN without an ARG, and keeps them out of cache keys and histories.
PROXIES = frozenset(
    name.upper() if upper else name
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for upper in (True, False)
)
_NOTHING_RUN = "/bin/sh -c #(nop) "


@dataclass(frozen=True, slots=True)
class StageState:
    """Where a stage stands: its point in the chain of steps, and the build arguments declared so far."""

    point: Point
    arguments: Mapping[str, str] = field(default_factory=dict)
    has_own_command: bool = False

    @property
    def config(self) -> ImageConfig:
        """The config of the image after the last step."""
        return self.point.config

    @property
    def environment(self) -> dict[str, str]:
        """What ENV has set."""
        return dict(entry.partition("=")[::2] for entry in self.config.env)

    @property
    def variables(self) -> dict[str, str]:
        """What ``$x`` stands for: ENV or ARG, whichever came later (ENV takes the argument away)."""
        return self.environment | dict(self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTools:
    """What all stages of a build share.

    ``stage`` waits for another stage; ``check`` raises BuildStopped if the build is given up; ``steps`` is how many
    steps there are.
    """

    request: BuildRequest
    tools: BuildTools
    plan: Plan
    given: Mapping[str, str]
    store: Store
    cache: StepCache
    sources: Sources
    stage: Callable[[int], StageState]
    check: Callable[[], None]
    steps: int


class StageBuilder:
    """Builds one stage, in the thread that calls it. ``number`` is that of FROM's step."""

    def __init__(self, tools: StageTools, stage: Stage, number: int) -> None:
        self._shared = tools
        self._stage = stage
        self._number = number
        self._news = StageNews(tools.tools.progress, stage.index)

    def build(self, labels: Mapping[str, str]) -> StageState:
        """Builds it, and adds ``labels``.

        Raises DockerfileError, BuildStepFailedError, StoreError, and what finding images and carrying out steps raises.
        """
        try:
            if isinstance(self._stage.base, int):
                self._shared.stage(self._stage.base)
            with self._step(self._stage.start.line.text):
                state = self._begin()
                self._news.done(state.point.image.id)
            copies = iter(self._stage.copies)
            for instruction in self._stage.instructions:
                reads = next(copies) if isinstance(instruction, kinds.Copy) and instruction.source_stage else None
                self._await(instruction, reads)
                with self._step(instruction.line.text):
                    state = self._carry_out(state, instruction, reads, self._stage.mounted)
                    self._news.done(state.point.image.id)
            if labels:
                text = f"LABEL {' '.join(f'{name}={value}' for name, value in sorted(labels.items()))}"
                with self._step(text):
                    config = replace(state.config, labels={**state.config.labels, **labels})
                    state = self._change(state, config, text)
                    self._news.done(state.point.image.id)
        finally:
            self._shared.tools.progress(StageEnded(self._stage.index))
        return state

    @contextmanager
    def _step(self, text: str) -> Iterator[None]:
        self._news.begun(self._number, self._shared.steps, text)
        try:
            yield
        except BuildStopped:
            raise
        except BaseException:
            self._news.failed()
            raise
        self._number += 1

    def _await(self, instruction: kinds.Instruction, reads: int | str | None) -> None:
        """Waits for the stages that an instruction reads, so that it is said to begin when it can."""
        names = stage_names(instruction) if isinstance(instruction, kinds.Run) else ()
        for source in (reads, *(self._stage.mounted[name.text] for name in names)):
            if isinstance(source, int):
                self._shared.stage(source)

    def _begin(self) -> StageState:
        if isinstance(self._stage.base, int):
            above = self._shared.stage(self._stage.base)
            state = StageState(above.point, above.arguments)
        else:
            image = self._shared.sources.base_image(self._stage)
            self._shared.store.mark_used(image.id)
            state = StageState(Point.at(replace(image, config=_as_base(image.config, self._stage.base))))
        return self._pull_triggers(state) if state.config.on_build else state

    def _pull_triggers(self, state: StageState) -> StageState:
        """Carries out the base's ONBUILD instructions, which end here: the image has none of them."""
        triggers = state.config.on_build
        self._shared.tools.progress(TriggersStarted(self._stage.index, len(triggers)))
        parsed = [parse_trigger(text, self._stage.start.image.text) for text in triggers]
        image = replace(state.point.image, config=replace(state.config, on_build=()))
        state = replace(state, point=replace(state.point, image=image))
        names = self._shared.plan.names
        news, self._news = self._news, replace(self._news, in_trigger=True)
        try:
            for instruction in parsed:
                reads, mounted = find_sources(instruction, names, self._stage.index)
                state = self._carry_out(state, instruction, reads, mounted)
                self._news.done(state.point.image.id)
        finally:
            self._news = news
        return state

    def _carry_out(
        self,
        state: StageState,
        instruction: kinds.Instruction,
        reads: int | str | None,
        mounted: Mapping[str, int | str],
    ) -> StageState:
        """``reads`` is what COPY --from names, ``mounted`` what ``from=`` in a RUN's mounts names."""
        match instruction:
            case kinds.Arg():
                arguments = dict(state.arguments)
                declare(
                    instruction,
                    self._shared.given,
                    inherited=self._shared.plan.arguments,
                    arguments=arguments,
                    environment=state.environment,
                )
                return self._change(replace(state, arguments=arguments), state.config, instruction.line.text)
            case kinds.Run():
                return self._run(state, instruction, mounted)
            case kinds.Copy() | kinds.Add():
                return self._copy(state, instruction, reads)
            case kinds.Workdir():
                return self._workdir(state, instruction)
        has_own_command = state.has_own_command or isinstance(instruction, kinds.Cmd)
        change = change_config(instruction, state.config, state.variables, has_own_command=has_own_command)
        arguments = {name: value for name, value in state.arguments.items() if name not in change.variables}
        state = replace(state, arguments=arguments, has_own_command=has_own_command)
        return self._change(state, change.config, change.text)

    def _change(self, state: StageState, config: ImageConfig, text: str) -> StageState:
        """A step that changes only the config: its key holds what becomes of that."""
        # The history has the times of earlier steps, which are other ones on another machine.
        document = replace(config, created=None, history=(), other={}).to_json().decode()
        parts = (text.partition(" ")[0], document)
        return self._after(state, Step(parts=parts, config=config, created_by=f"{_NOTHING_RUN} {text}"))

    def _after(self, state: StageState, step: Step) -> StageState:
        return replace(state, point=self._shared.cache.after(state.point, step, self._news))

    def _run(self, state: StageState, instruction: kinds.Run, mounted: Mapping[str, int | str]) -> StageState:
        line, config, shared = instruction.line, state.config, self._shared
        command = in_shell(instruction.command, config)
        arguments = dict(sorted(state.arguments.items()))
        told = [f"{name}={value}" for name, value in arguments.items()]
        environment = _proxies(shared.given) | state.environment | arguments
        directory = config.working_directory or "/"
        variables = state.variables
        planned = plan_mounts(
            instruction,
            lambda word: expand_word(line, word, variables),
            directory,
            lambda: shared.sources.context,
            lambda name: self._files(line, name, mounted[name.text]),
        )
        network = run_network(instruction, shared.request.network)

        @contextmanager
        def write(container: str, base: Base, news: StageNews) -> Iterator[Path]:
            mounts, seen = planned.hand_in(shared.request.secrets, environment)
            step = RunStep(command, tuple(seen.items()), directory, config.user, mounts, network)
            news.running(container)
            output = StepOutput(news.line)
            try:
                with shared.tools.executor.run(base, step, output.feed) as result:
                    output.finish()
                    if not result.exit_code:
                        yield result.upper
            except SourceMissing as missing:
                raise planned.missing(missing) from None
            if result.exit_code:
                shared.check()  # it was killed because another stage failed
                text = _with_hint(output.tail, config, result.exit_code)
                raise BuildStepFailedError(self._number, shared.steps, line.text, result.exit_code, text)
            news.removed(container)

        reads = (*planned.key, *(() if network == "default" else (network,)))
        return self._after(
            state,
            Step(
                parts=("RUN", *command, "", *told, *(("", *reads) if reads else ())),
                config=config,
                created_by=" ".join([f"|{len(told)}", *told, *command] if told else command),
                write=write,
            ),
        )

    def _copy(self, state: StageState, instruction: kinds.Copy | kinds.Add, source: int | str | None) -> StageState:
        line, shared = instruction.line, self._shared
        files: StageFiles | BuildContext = shared.sources.context
        if source is not None:
            assert isinstance(instruction, kinds.Copy)
            assert instruction.source_stage is not None
            files = self._files(line, instruction.source_stage, source)
        root, reads = files if isinstance(files, tuple) else (files, ())
        variables = state.variables
        plan = plan_copy(
            instruction,
            root,
            lambda word: expand_word(line, word, variables),
            lambda heredoc: expand_heredoc(heredoc, variables),
            state.config.working_directory,
            temporary=shared.store.temporary,
            call=shared.store.call,
            remote=shared.tools.remote,
        )

        @contextmanager
        def write(_key: str, base: Base, _news: StageNews) -> Iterator[Path]:
            try:
                with plan.open() as step, shared.tools.executor.copy(base, step) as result:
                    yield result.upper
            except SourceMissing as missing:
                raise plan.missing(missing) from None

        name = type(instruction).__name__.upper()
        return self._after(
            state,
            Step(
                parts=(*plan.key, *reads),
                by_content=(lambda: plan.key_by_content(shared.tools.executor.digest)) if reads else None,
                config=state.config,
                created_by=f"{_NOTHING_RUN}{name} {plan.digest} in {plan.destination} ",
                write=write,
                linked=plan.link,
                # An archive's and a download's times say when that was made, a checkout's files' only when it was done.
                times="all" if not isinstance(root, Base) and isinstance(instruction, kinds.Copy) else "later",
            ),
        )

    def _files(self, line: Line, word: kinds.Word, source: int | str) -> StageFiles | BuildContext:
        if isinstance(source, int):
            return self._shared.sources.files_of(self._shared.stage(source).config)
        return self._shared.sources.files(line, word, source)

    def _workdir(self, state: StageState, instruction: kinds.Workdir) -> StageState:
        path = expand_word(instruction.line, instruction.path, state.variables)
        if not path:
            raise instruction.line.error(instruction.path.offset, "the path is empty once its variables are replaced")
        path = absolute(state.config.working_directory, path)
        step = CopyStep(
            root=self._shared.sources.directory, sources=(), destination=path, owner=state.config.user, mode=None
        )

        @contextmanager
        def write(_key: str, base: Base, _news: StageNews) -> Iterator[Path]:
            with self._shared.tools.executor.copy(base, step) as result:
                yield result.upper

        return self._after(
            state,
            Step(
                parts=("WORKDIR", path, step.owner),
                config=replace(state.config, working_directory=path),
                created_by=f"{_NOTHING_RUN}WORKDIR {path}",
                write=write,
            ),
        )


def _as_base(config: ImageConfig, name: str) -> ImageConfig:
    """What BuildKit takes as given: a PATH, and on nothing at all the working directory."""
    if not any(entry.startswith("PATH=") for entry in config.env):
        config = replace(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
    return replace(config, working_directory="/") if name == SCRATCH else config


def _proxies(given: Mapping[str, str]) -> dict[str, str]:
    """The proxies among the build arguments, each by its name in capitals and in small letters, as docker has them."""
    names = sorted(PROXIES & given.keys())
    return {cased: given.get(cased, given[name]) for name in names for cased in (name, name.swapcase())}


_NOT_EXECUTABLE = 126


def _with_hint(output: str, config: ImageConfig, code: int) -> str:
    """What a command printed, and why it may have failed, if it is for another machine than this."""
    platform, here = Platform(config.os, config.architecture, config.variant), Platform.current()
    if code < _NOT_EXECUTABLE or (platform.os, platform.architecture) == (here.os, here.architecture):
        return output
    hint = f"the image is for {platform}, and this machine, {here}, may not be able to run its programs"
    return f"{output}\n{hint}" if output else hint
