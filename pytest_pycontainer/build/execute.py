"""The builder: carries out a Dockerfile's stages step by step, or takes what a step made from the cache.

Every step, also one that changes only the config, makes an image; the cache holds that image under the step's key, a
digest of the parent image's ID, the instruction with its variables replaced, what it reads (files, other stages), and
the build arguments that reach it. A build that is all cached gives the same image as the one that filled the cache.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.context import BuildContext
from pytest_pycontainer.build.copying import plan_copy
from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.file_digests import FileDigests, memory_of
from pytest_pycontainer.build.later import refuse_platform
from pytest_pycontainer.build.metadata import absolute, change_config, in_shell
from pytest_pycontainer.build.mounts import plan_mounts, run_network
from pytest_pycontainer.build.output import StepOutput
from pytest_pycontainer.build.patterns import IgnoreRules
from pytest_pycontainer.build.secrets import BuildSecrets
from pytest_pycontainer.build.stages import Plan, Stage, declare, expand_heredoc, expand_word, plan_stages
from pytest_pycontainer.build.steps import Base, CopyStep, RunStep, SourceMissing, StepExecutor
from pytest_pycontainer.build.text_file import read_text
from pytest_pycontainer.errors import (
    BuildStepFailedError,
    DockerfileError,
    ImageNotFoundError,
    InvalidReferenceError,
    RegistryError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import DEFAULT_PATH, History, ImageConfig
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.store.cache import BuildCache, CacheRecord
from pytest_pycontainer.store.store import Store, StoredImage, parse_new_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.build.remote import RemoteSources
    from pytest_pycontainer.build.steps import Network

    # Makes a step's config, all but its time and history; gets the step's key.
    _Make = Callable[[str], ImageConfig]

# Docker passes these to RUN without an ARG, and keeps them out of cache keys and histories.
_PROXIES = frozenset(
    name.upper() if upper else name
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for upper in (True, False)
)
_EPOCH = "SOURCE_DATE_EPOCH"
_NOTHING_RUN = "/bin/sh -c #(nop) "


def build_image(
    store: Store,
    context: Path,
    *,
    dockerfile: str | os.PathLike[str] = "Dockerfile",
    build_args: Mapping[str, str],
    target: str | None,
    no_cache: bool,
    labels: Mapping[str, str],
    tags: Sequence[str],
    resolve: Callable[[str], StoredImage],
    executor: StepExecutor,
    report: Callable[[str], None],
    secrets: BuildSecrets | None = None,
    network: Network = "default",
    remote: RemoteSources | None = None,
) -> StoredImage:
    """Builds the Dockerfile ``dockerfile`` (relative to ``context``) up to the stage ``target`` and names the result.

    ``resolve`` finds a base image, ``executor`` carries out what touches files, ``report`` gets docker's progress, a
    line at a time. Images carry the time of SOURCE_DATE_EPOCH (build argument or environment) if that is set.

    Raises DockerfileNotFoundError, DockerfileError, CopySourceNotFoundError, BuildStepFailedError, StoreError,
    InvalidReferenceError for a bad tag, and what ``resolve`` and ``executor`` raise.
    """
    names = [parse_new_tag(tag) for tag in tags]
    path = context / dockerfile
    plan = plan_stages(parse(read_text(path), str(path)), build_args, Platform.current(), target)
    builder = _Builder(
        store=store,
        cache=BuildCache(store),
        context=context,
        dockerfile=path,
        given=build_args,
        plan=plan,
        no_cache=no_cache,
        resolve=resolve,
        executor=executor,
        report=report,
        secrets=secrets or BuildSecrets(),
        network=network,
        remote=remote,
    )
    with store.in_use():
        image = builder.build(plan.needed(target), labels)
        report(f"Successfully built {digests.short(image.id)}")
        for name in names:
            store.tag(image.id, str(name))
            report(f"Successfully tagged {name.familiar}")
    return image


@dataclass(slots=True)
class _State:
    """Where a stage stands: the image after its last step, and the build arguments declared so far."""

    image: StoredImage
    arguments: dict[str, str]
    has_own_command: bool = False

    @property
    def config(self) -> ImageConfig:
        return self.image.config

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.partition("=")[::2] for entry in self.config.env)

    @property
    def variables(self) -> dict[str, str]:
        """What ``$x`` stands for: ENV or ARG, whichever came later (ENV takes the argument away)."""
        return self.environment | self.arguments


@dataclass(kw_only=True)
class _Builder:
    store: Store
    cache: BuildCache
    context: Path
    dockerfile: Path
    given: Mapping[str, str]
    plan: Plan
    no_cache: bool
    resolve: Callable[[str], StoredImage]
    executor: StepExecutor
    report: Callable[[str], None]
    secrets: BuildSecrets
    network: Network
    remote: RemoteSources | None
    built: dict[int, _State] = field(default_factory=dict)
    step: int = 0
    steps: int = 0

    def build(self, stages: Sequence[Stage], labels: Mapping[str, str]) -> StoredImage:
        self.steps = sum(1 + len(stage.instructions) for stage in stages) + bool(labels)
        for stage in stages:
            self.built[stage.index] = self._build_stage(stage)
        state = self.built[stages[-1].index]
        if labels:
            text = f"LABEL {' '.join(f'{name}={value}' for name, value in sorted(labels.items()))}"
            self._announce(text)
            self._change(state, replace(state.config, labels={**state.config.labels, **labels}), text)
        self._warn_of_unused(stages)
        return state.image

    def _build_stage(self, stage: Stage) -> _State:
        self._announce(stage.start.line.text)
        refuse_platform(stage)
        state = self._begin(stage)
        self.report(f" ---> {digests.short(state.image.id)}")
        copies = iter(stage.copies)
        for instruction in stage.instructions:
            self._announce(instruction.line.text)
            match instruction:
                case kinds.Arg():
                    declare(
                        instruction,
                        self.given,
                        inherited=self.plan.arguments,
                        arguments=state.arguments,
                        environment=state.environment,
                    )
                    self._change(state, state.config, instruction.line.text)
                case kinds.Run():
                    self._run(state, instruction, stage)
                case kinds.Copy():
                    self._copy(state, instruction, next(copies) if instruction.source_stage else None)
                case kinds.Add():
                    self._copy(state, instruction, None)
                case kinds.Workdir():
                    self._workdir(state, instruction)
                case _:
                    state.has_own_command |= isinstance(instruction, kinds.Cmd)
                    change = change_config(
                        instruction, state.config, state.variables, has_own_command=state.has_own_command
                    )
                    self._change(state, change.config, change.text)
                    for name in change.variables:
                        state.arguments.pop(name, None)
        return state

    def _begin(self, stage: Stage) -> _State:
        if isinstance(stage.base, int):
            parent = self.built[stage.base]
            return _State(parent.image, dict(parent.arguments))
        line, word = stage.start.line, stage.start.image
        try:
            image = self.resolve(stage.base)
        except InvalidReferenceError as problem:
            raise line.error(word.offset, str(problem)) from None
        except (ImageNotFoundError, RegistryError):
            if any(later.start.name == stage.base.lower() for later in self.plan.stages[stage.index :]):
                wanted = f"stage {stage.base} is not above this; a stage can only stand on one above it"
                raise line.error(word.offset, wanted) from None
            raise
        self.store.mark_used(image.id)
        return _State(image, {})

    # Steps

    def _change(self, state: _State, config: ImageConfig, text: str) -> None:
        """A step that changes only the config: its key holds what becomes of that."""
        self._finish(
            state, (text.partition(" ")[0], config.to_json().decode()), f"{_NOTHING_RUN} {text}", lambda _key: config
        )

    def _run(self, state: _State, instruction: kinds.Run, stage: Stage) -> None:
        line = instruction.line
        command = in_shell(instruction.command, state.config)
        arguments = dict(sorted(state.arguments.items()))
        told = [f"{name}={value}" for name, value in arguments.items()]
        proxies = {name: self.given[name] for name in sorted(_PROXIES & self.given.keys())}
        environment = {"PATH": DEFAULT_PATH} | proxies | state.environment | arguments
        directory = state.config.working_directory or "/"
        variables = state.variables
        planned = plan_mounts(
            instruction,
            lambda word: expand_word(line, word, variables),
            directory,
            lambda: self._context,
            lambda name: self._files(line, name, stage.mounted[name.text]),
        )
        network = run_network(instruction, self.network)

        def run(key: str) -> ImageConfig:
            mounts, seen = planned.hand_in(self.secrets, environment)
            step = RunStep(command, tuple(seen.items()), directory, state.config.user, mounts, network)
            self.report(f" ---> Running in {digests.short(key)}")
            output = StepOutput(self.report)
            try:
                with self.executor.run(self._base(state.config), step, output.feed) as result:
                    output.finish()
                    if result.exit_code:
                        raise BuildStepFailedError(self.step, self.steps, line.text, result.exit_code, output.tail)
                    return self._with_layer(state.config, result.upper)
            except SourceMissing as missing:
                raise planned.missing(missing) from None

        history = " ".join([f"|{len(told)}", *told, *command] if told else command)
        reads = (*planned.key, *(() if network == "default" else (network,)))
        self._finish(state, ("RUN", *command, "", *told, *(("", *reads) if reads else ())), history, run)

    def _copy(self, state: _State, instruction: kinds.Copy | kinds.Add, source: int | str | None) -> None:
        line = instruction.line
        root: BuildContext | Base = self._context
        reads: tuple[str, ...] = ()
        if source is not None:
            assert isinstance(instruction, kinds.Copy)
            assert instruction.source_stage is not None
            root, reads = self._files(line, instruction.source_stage, source)
        variables = state.variables
        plan = plan_copy(
            instruction,
            root,
            lambda word: expand_word(line, word, variables),
            lambda heredoc: expand_heredoc(heredoc, variables),
            state.config.working_directory,
            temporary=self.store.temporary,
            remote=self.remote,
        )

        def copy(_key: str) -> ImageConfig:
            try:
                with plan.open() as step:
                    return self._write(state.config, step, Base((), host=False) if plan.link else None)
            except SourceMissing as missing:
                raise plan.missing(missing) from None

        name = type(instruction).__name__.upper()
        created_by = f"{_NOTHING_RUN}{name} {plan.digest} in {plan.destination} "
        self._finish(state, (*plan.key, *reads), created_by, copy)

    def _workdir(self, state: _State, instruction: kinds.Workdir) -> None:
        path = expand_word(instruction.line, instruction.path, state.variables)
        if not path:
            raise instruction.line.error(instruction.path.offset, "the path is empty once its variables are replaced")
        path = absolute(state.config.working_directory, path)
        step = CopyStep(root=self.context, sources=(), destination=path, owner=state.config.user, mode=None)

        def make(_key: str) -> ImageConfig:
            return replace(self._write(state.config, step), working_directory=path)

        self._finish(state, ("WORKDIR", path, step.owner), f"{_NOTHING_RUN}WORKDIR {path}", make)

    def _finish(self, state: _State, parts: Iterable[str], created_by: str, make: _Make) -> None:
        """Brings ``state`` behind a step: from the cache, or by ``make``, which no other build does meanwhile."""
        key = digests.of(json.dumps([state.image.id, *parts]).encode())
        image = self._cached(key)
        if image is None:
            with self.cache.lock(key):
                image = self._cached(key)
                if image is None:
                    image = self._store(state.config, make(key), created_by)
                    self.cache.put(key, CacheRecord(image.id))
        state.image = image
        self.report(f" ---> {digests.short(image.id)}")

    def _cached(self, key: str) -> StoredImage | None:
        record = None if self.no_cache else self.cache.get(key)
        if record is None:
            return None
        self.report(" ---> Using cache")
        self.store.mark_used(record.image)
        return StoredImage(record.image, self.store.config(record.image))

    def _store(self, before: ImageConfig, made: ImageConfig, created_by: str) -> StoredImage:
        created = self._now()
        entry = History(created, created_by, empty_layer=made.diff_ids == before.diff_ids)
        config = replace(made, created=created, history=(*before.history, entry))
        return StoredImage(self.store.put_image(config), config)

    def _write(self, config: ImageConfig, step: CopyStep, base: Base | None = None) -> ImageConfig:
        with self.executor.copy(base or self._base(config), step) as result:
            return self._with_layer(config, result.upper)

    def _with_layer(self, config: ImageConfig, upper: Path) -> ImageConfig:
        return replace(config, diff_ids=(*config.diff_ids, self.store.commit_layer(upper)))

    def _base(self, config: ImageConfig) -> Base:
        return Base(self.store.layer_directories(config), config.host is not None)

    # What steps read

    @cached_property
    def _context(self) -> BuildContext:
        own = self.dockerfile.with_name(f"{self.dockerfile.name}.dockerignore")
        path = own if own.exists() else self.context / ".dockerignore"
        ignored = IgnoreRules.parse(read_text(path), str(path)) if path.exists() else IgnoreRules()
        memory = memory_of(self.context.resolve(), self.store.cache)
        return BuildContext(self.context, ignored, FileDigests(memory, self.store.temporary))

    def _files(self, line: Line, word: kinds.Word, source: int | str) -> tuple[Base, tuple[str, ...]]:
        """The file system of the stage or image that ``word`` means, and what identifies it."""
        config = self._source_config(line, word, source)
        return self._base(config), (config.host or "", *config.diff_ids)

    def _source_config(self, line: Line, word: kinds.Word, source: int | str) -> ImageConfig:
        if isinstance(source, int):
            return self.built[source].config
        try:
            return self.resolve(source).config
        except (InvalidReferenceError, ImageNotFoundError, RegistryError) as problem:
            names = [stage.start.name for stage in self.plan.stages if stage.start.name]
            stages = f"the stages are {', '.join(names)}" if names else "no stage has a name"
            text = f"{source} is neither a stage nor an image: {problem} ({stages})"
            raise line.error(word.offset, text) from None

    def _now(self) -> str:
        epoch = self.given.get(_EPOCH) or os.environ.get(_EPOCH, "")
        nanoseconds = int(epoch) * 1_000_000_000 if epoch.isdecimal() else time.time_ns()
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        fraction = f".{rest:09}" if rest else ""
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{fraction}Z"

    # Progress

    def _announce(self, text: str) -> None:
        self.step += 1
        self.report(f"Step {self.step}/{self.steps} : {text}")

    def _warn_of_unused(self, stages: Sequence[Stage]) -> None:
        declared = {
            name.text
            for stage in stages
            for instruction in stage.instructions
            if isinstance(instruction, kinds.Arg)
            for name, _ in instruction.defaults
        }
        unused = self.given.keys() - declared - self.plan.arguments.keys() - _PROXIES - {_EPOCH}
        if unused:
            self.report(f"[Warning] One or more build-args [{' '.join(sorted(unused))}] were not consumed")
