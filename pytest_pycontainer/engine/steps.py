"""Carrying out a build's steps with the runtime (the ``StepExecutor`` that ``build`` is handed)."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple

from pytest_pycontainer.build import steps
from pytest_pycontainer.build.graph import BuildStopped
from pytest_pycontainer.build.steps import Base, CopyStep, Network, RunStep, SourceMissing, StepResult
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.launch import Plan, launch
from pytest_pycontainer.engine.network_modes import BRIDGE, HOST, NONE, NetworkModes
from pytest_pycontainer.engine.prepared import make_upper, new_id, read_only_root, writable_root
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.engine.step_mounts import open_mounts
from pytest_pycontainer.errors import ContainerNotRunningError, ContainerStartError, CopyFailedError
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.runtime.copying import SOURCE_STEP
from pytest_pycontainer.runtime.messages import Failed
from pytest_pycontainer.runtime.mount_points import remove_mount_points
from pytest_pycontainer.runtime.spec import CopySource, CopySpec, DigestSpec, ModeClause, Mount, Rootfs
from pytest_pycontainer.store.files import storing

_COPY_SECONDS = 3600.0
_HOST_NAME = "buildkitsandbox"  # a name that is always the same: what a command makes of it is to be the same too
_NETWORKS: Mapping[Network, NetworkModes] = {"default": BRIDGE, "none": NONE, "host": HOST}


class RuntimeSteps:
    """Runs each step in an intermediate container, whose upper directory is what the step wrote.

    For one build, of which several threads may be at a step each.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._lock = threading.Lock()
        self._running: set[Container] = set()
        self._interrupted = False

    def interrupt(self) -> None:
        """Kills what runs; what is started later is killed at once."""
        with self._lock:
            self._interrupted = True
            running = list(self._running)
        for container in running:
            _kill(container)

    @contextmanager
    def run(self, base: Base, step: RunStep, output: Callable[[str], None]) -> Iterator[StepResult]:
        """Runs a command to its end; ``output`` gets what it prints, as it comes."""
        with (
            open_mounts(self._resources, step.mounts, self._copy_into, self._check) as mounts,
            launch(self._resources, self._plan(base, step, mounts), _forget, Container) as container,
        ):
            try:
                container.start()
            except ContainerStartError as error:
                if error.step == SOURCE_STEP:
                    raise _missing(error.detail) from None
                output(f"{error}\n")
                code = error.exit_code
            else:
                self._resources.prepare_next()
                with self._interruptible(container):
                    _print(container, output)
                    code = container.wait()
            with storing("take the mount points from", container.upper):
                remove_mount_points(container.upper)
            yield StepResult(code, container.upper)

    def _plan(self, base: Base, step: RunStep, mounts: tuple[Mount, ...]) -> Plan:
        return Plan(
            image=Image("", "build", ImageConfig.scratch()),
            layers=base.layers,
            host=base.host,
            command=step.command,
            environment=step.environment,
            working_directory=step.working_directory,
            user=step.user,
            hostname=_HOST_NAME,
            network=self._network(step),
            mounts=mounts,
            is_build_step=True,
        )

    def _network(self, step: RunStep) -> NetworkModes:
        if step.network == "default" and self._resources.why_closed():
            return HOST  # a step that fetches what it installs is what most steps are
        return _NETWORKS[step.network]

    def _check(self) -> None:
        if self._interrupted:
            raise BuildStopped

    @contextmanager
    def _interruptible(self, container: Container) -> Iterator[None]:
        with self._lock:
            self._running.add(container)
            interrupted = self._interrupted
        try:
            if interrupted:
                _kill(container)
            yield
        finally:
            with self._lock:
                self._running.discard(container)

    @contextmanager
    def copy(self, base: Base, step: CopyStep) -> Iterator[StepResult]:
        """Copies files into the base's file system."""
        reservation = self._resources.records.reserve(new_id(), ())
        try:
            make_upper(reservation.directory)
            self._copy_into(writable_root(base.layers, base.host, reservation.directory), step)
            yield StepResult(0, reservation.directory / "upper")
        finally:
            self._resources.records.remove(reservation)

    def digest(self, root: Base, sources: tuple[steps.CopySource, ...]) -> str:
        """A digest of what could be copied."""
        spec = DigestSpec(read_only_root(root.layers, root.host), tuple(_source(source, 0) for source in sources))
        answer = self._resources.spawner.digest(spec, _COPY_SECONDS)
        if isinstance(answer, Failed):
            raise _copy_error(answer)
        return answer

    def _copy_into(self, root: Rootfs, step: CopyStep) -> None:
        failed = self._resources.spawner.copy(_copy_spec(root, step), _COPY_SECONDS)
        if failed is not None:
            raise _copy_error(failed)


def _missing(source: str) -> SourceMissing:
    return SourceMissing(source, f"/{source.strip('/')} is not in that stage or image")


def _copy_error(failed: Failed) -> SourceMissing | CopyFailedError:
    return _missing(failed.detail) if failed.step == SOURCE_STEP else CopyFailedError(failed.step, failed.detail)


def _source(source: steps.CopySource, root: int) -> CopySource:
    return CopySource(
        source.path,
        source.entries,
        source.pattern,
        source.name,
        root,
        source.parents,
        source.required,
        source.excludes,
        source.unpacked,
    )


def _copy_spec(root: Rootfs, step: CopyStep) -> CopySpec:
    own = read_only_root(step.root.layers, step.root.host) if isinstance(step.root, Base) else str(step.root)
    roots = (own, *dict.fromkeys(str(source.root) for source in step.sources if source.root))
    sources = tuple(_source(source, roots.index(str(source.root)) if source.root else 0) for source in step.sources)
    mode = None if step.mode is None else tuple(ModeClause(*astuple(clause)) for clause in step.mode)
    return CopySpec(root, roots, sources, step.destination, step.owner, mode)


def _kill(container: Container) -> None:
    with suppress(ContainerNotRunningError):
        container.kill()


def _forget(container: Container) -> None:
    """Nobody lists a build's containers."""


def _print(container: Container, output: Callable[[str], None]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for entries in container.follow_entries():
        if text := decoder.decode(b"".join(entry.data for entry in entries)):
            output(text)
