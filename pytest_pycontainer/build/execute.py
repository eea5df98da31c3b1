"""A build from beginning to end: Dockerfile → stages → steps → image, named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.context_sources import open_context, read_dockerfile
from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.graph import StageGraph
from pytest_pycontainer.build.progress import BuildStarted, ImageBuilt, ImageTagged, Warned
from pytest_pycontainer.build.sources import Sources
from pytest_pycontainer.build.stage_builder import PROXIES, StageBuilder, StageState, StageTools
from pytest_pycontainer.build.stages import plan_stages
from pytest_pycontainer.build.step_cache import EPOCH, StepCache
from pytest_pycontainer.errors import ImageError, InvalidSpecError, StoreError
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.store.store import parse_new_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_pycontainer.build.request import BuildRequest, BuildTools, CacheImage
    from pytest_pycontainer.build.stages import Plan, Stage
    from pytest_pycontainer.store.store import Store, StoredImage


def build_image(store: Store, request: BuildRequest, tools: BuildTools) -> StoredImage:
    """Builds what ``request`` asks for, with ``tools``, and names the result.

    Stages that do not need each other are built at the same time. With SOURCE_DATE_EPOCH (build argument, or else
    environment variable; Unix seconds) the image is the same whenever and wherever it is built from the same: that is
    the time of the config and the history, of the files that COPY takes from the build context, and of what else was
    written later.

    Raises ContextInvalidError, DockerfileNotFoundError, DockerfileError, CopySourceNotFoundError,
    BuildStepFailedError, StoreError, InvalidReferenceError for a bad tag, InvalidSpecError for a time that is none,
    and what ``tools`` raise. Nothing runs any more then, and the store holds whole steps only.
    """
    names = [parse_new_tag(tag) for tag in request.tags]
    given = _given(request.build_args)
    with store.in_use(), open_context(request.context, store.temporary) as directory:
        dockerfile = read_dockerfile(request.dockerfile, directory)
        instructions = parse(dockerfile.text, dockerfile.name)
        here = Platform.current()
        plan = plan_stages(
            instructions,
            given,
            request.platform or here,
            request.target,
            build_platform=here,
            replaced=frozenset(map(str.lower, request.contexts)),
        )
        sources = Sources(store, plan, request, tools.resolve, directory, dockerfile.path)
        image = _build(store, request, tools, plan, sources, given)
        tools.progress(ImageBuilt(image.id))
        for name in names:
            store.tag(image.id, str(name))
            tools.progress(ImageTagged(name.familiar))
    return image


def _build(
    store: Store,
    request: BuildRequest,
    tools: BuildTools,
    plan: Plan,
    sources: Sources,
    given: Mapping[str, str],
) -> StoredImage:
    stages = plan.needed(request.target)
    last = stages[-1].index
    first_steps = _first_steps(stages)
    steps = sum(1 + len(stage.instructions) for stage in stages) + bool(request.labels)

    def build_stage(index: int) -> StageState:
        builder = StageBuilder(shared, plan.stages[index], first_steps.get(index, steps))
        return builder.build(request.labels if index == last else {})

    graph = StageGraph(build_stage, tools.executor.interrupt)
    shared = StageTools(
        request=request,
        tools=tools,
        plan=plan,
        given=given,
        store=store,
        cache=StepCache(
            store,
            no_cache=request.no_cache,
            epoch=_epoch(given),
            images=lambda: _cache_images(request, tools),
            check=graph.check,
        ),
        sources=sources,
        stage=graph.wait_for,
        check=graph.check,
        steps=steps,
    )
    indexes = tuple(stage.index for stage in stages)
    tools.progress(BuildStarted(indexes, tuple(stage.start.name or str(stage.index) for stage in stages)))
    image = graph.run(indexes).point.image
    _warn_of_unused(stages, given, plan, tools)
    return image


def _first_steps(stages: Sequence[Stage]) -> dict[int, int]:
    """The number of each stage's first step: they are counted in the Dockerfile's order, whatever comes first."""
    numbers = {}
    number = 1
    for stage in stages:
        numbers[stage.index] = number
        number += 1 + len(stage.instructions)
    return numbers


def _given(build_args: Mapping[str, str]) -> Mapping[str, str]:
    epoch = os.environ.get(EPOCH)
    return build_args if epoch is None or EPOCH in build_args else {EPOCH: epoch, **build_args}


def _epoch(given: Mapping[str, str]) -> int | None:
    text = given.get(EPOCH, "")
    if text and not (text.isascii() and text.isdecimal()):
        raise InvalidSpecError(EPOCH, text, "a time in whole seconds since 1970")
    return int(text) if text else None


def _cache_images(request: BuildRequest, tools: BuildTools) -> list[CacheImage]:
    images = []
    for reference in request.cache_from:
        try:
            images.append(tools.cache_image(reference))
        except (ImageError, StoreError) as problem:
            # As docker: a first build has nothing to take from, and should not fail for that.
            tools.progress(Warned(f"Nothing is taken from {reference}: {problem}"))
    return images


def _warn_of_unused(stages: Sequence[Stage], given: Mapping[str, str], plan: Plan, tools: BuildTools) -> None:
    declared = {
        name.text
        for stage in stages
        for instruction in stage.instructions
        if isinstance(instruction, kinds.Arg)
        for name, _ in instruction.defaults
    }
    unused = given.keys() - declared - plan.arguments.keys() - PROXIES - {EPOCH}
    if unused:
        tools.progress(Warned(f"One or more build-args [{' '.join(sorted(unused))}] were not consumed"))
