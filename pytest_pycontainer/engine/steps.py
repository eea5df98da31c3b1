"""Carrying out a build's steps with the runtime (the ``StepExecutor`` that ``build`` is handed)."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_pycontainer.build.steps import Base, CopyStep, RunStep, SourceMissing, StepResult
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.launch import Plan, launch
from pytest_pycontainer.engine.prepared import make_upper, new_id, writable_root
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import ContainerStartError, CopyFailedError
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.runtime.copying import SOURCE_STEP
from pytest_pycontainer.runtime.spec import CopySource, CopySpec, Rootfs

_COPY_SECONDS = 3600.0


class RuntimeSteps:
    """Runs each step in an intermediate container, whose upper directory is what the step wrote."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    @contextmanager
    def run(self, base: Base, step: RunStep, output: Callable[[str], None]) -> Iterator[StepResult]:
        """Runs a command to its end; ``output`` gets what it prints, as it comes."""
        plan = Plan(
            image=Image("", "build", ImageConfig.scratch()),
            layers=base.layers,
            host=base.host,
            command=step.command,
            environment=step.environment,
            working_directory=step.working_directory,
            user=step.user,
        )
        with launch(self._resources, plan, _forget) as container:
            try:
                container.start()
            except ContainerStartError as error:
                output(f"{error}\n")
                code = error.exit_code
            else:
                self._resources.prepare_next()
                _print(container, output)
                code = container.wait()
            yield StepResult(code, container.upper)

    @contextmanager
    def copy(self, base: Base, step: CopyStep) -> Iterator[StepResult]:
        """Copies files into the base's file system."""
        reservation = self._resources.records.reserve(new_id(), ())
        try:
            make_upper(reservation.directory)
            root = writable_root(base.layers, base.host, reservation.directory)
            failed = self._resources.spawner.copy(_copy_spec(root, step), _COPY_SECONDS)
            if failed is not None and failed.step == SOURCE_STEP:
                raise SourceMissing(failed.detail, f"/{failed.detail} is not in that stage or image")
            if failed is not None:
                raise CopyFailedError(failed.step, failed.detail)
            yield StepResult(0, reservation.directory / "upper")
        finally:
            self._resources.records.remove(reservation)


def _copy_spec(root: Rootfs, step: CopyStep) -> CopySpec:
    source: str | Rootfs
    if isinstance(step.root, Base):
        source = Rootfs(tuple(map(str, step.root.layers)), step.root.host, None, None)
    else:
        source = str(step.root)
    sources = tuple(CopySource(item.path, item.entries, item.pattern, item.name) for item in step.sources)
    return CopySpec(root, source, sources, step.destination, step.owner, step.mode)


def _forget(container: Container) -> None:
    """Nobody lists a build's containers."""


def _print(container: Container, output: Callable[[str], None]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for entries in container.follow():
        if text := decoder.decode(b"".join(entry.data for entry in entries)):
            output(text)
