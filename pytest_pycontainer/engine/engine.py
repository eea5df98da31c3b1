"""``Engine``: builds images, runs containers, and leaves nothing behind."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack, cast, overload

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.engine.connecting import connect
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.default_wait import DefaultWait
from pytest_pycontainer.engine.extensions import ContainerRequest, Extensions
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.image_operations import ImageOperations
from pytest_pycontainer.engine.image_sources import PullPolicy, as_source
from pytest_pycontainer.engine.launch import launch
from pytest_pycontainer.engine.networks import NetworkOperations
from pytest_pycontainer.engine.options import ContainerOptions
from pytest_pycontainer.engine.planning import plan_container
from pytest_pycontainer.engine.readiness import READY_SECONDS, Wait, parse_wait
from pytest_pycontainer.engine.requirements import require_open_files
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.engine.service import HandleT, Service
from pytest_pycontainer.engine.volumes import VolumeOperations
from pytest_pycontainer.errors import ContainerNotFoundError, ImageNotFoundError, InvalidSpecError
from pytest_pycontainer.settings import Settings

if TYPE_CHECKING:
    from pytest_pycontainer.engine.display import Display
    from pytest_pycontainer.engine.scope import EngineScope


class Engine(ImageOperations, VolumeOperations, NetworkOperations):
    """Builds images, runs containers, keeps volumes and networks.

    A context manager: leaving it removes every container that it made. Nothing is started before it is needed. Safe to
    use from several threads; any number of engines, in any number of processes, share one store.

    Its process is the owner of its containers: when that ends, however it ends, they end. A child that it forks has to
    open an engine of its own, but may use handles that are there, as any process may. ``display`` shows images that
    are pulled, pushed and built; without one that happens silently. ``extensions`` are told of its containers.
    """

    def __init__(
        self, settings: Settings | None = None, *, display: Display | None = None, extensions: Extensions | None = None
    ) -> None:
        super().__init__(Resources(settings or Settings.read(), extensions or Extensions()), display)
        self._lock = threading.Lock()
        self._containers: dict[str, Container] = {}
        self._others: dict[str, Container] = {}

    def _share(self, engine: Engine) -> None:
        """In the place of ``__init__``: this has another one's resources and handles, and opens none."""
        super().__init__(engine._resources, engine._display)
        self._lock = engine._lock
        self._containers = engine._containers
        self._others = engine._others

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """Where it keeps its files."""
        return self._resources.settings

    def create(
        self,
        image: Image | str | os.PathLike[str],
        command: arguments.Command | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Makes a container that waits for its ``start()``.

        An image that is not here is pulled; it may also be a path, of an archive or of a directory with a root file
        system. Raises InvalidSpecError for an argument that makes no sense, what ``pull`` and ``image`` raise,
        NameInUseError, UnsupportedLimitError, EngineUnavailableError, OpenFilesLimitError, and ContainerStartError (the
        step that failed).
        """
        return self._create(Container, image, command, options)

    def _create(
        self,
        handle: type[HandleT],
        image: Image | str | os.PathLike[str],
        command: arguments.Command | None,
        options: ContainerOptions,
    ) -> HandleT:
        self._resources.require_open()
        self._resources.require_machine()
        require_open_files("make a container")
        with self._resources.store.in_use():  # until the container's record tells everybody that its image is needed
            wanted = self._requested(image, command, options)
            image = self._image_to_run(wanted.image, wanted.options.get("pull"))
            layers = self._resources.store.layer_directories(image.config)
            plan = plan_container(layers, image, wanted.command, wanted.options)
            container = launch(self._resources, plan, self._forget, handle)
        self._resources.store.mark_used(plan.image.id)
        self._keep(container)
        return container

    def _keep(self, container: Container) -> None:
        """It was made, and is to be removed at this engine's end."""
        with self._lock:
            self._containers[container.id] = container

    def run(
        self,
        image: Image | str | os.PathLike[str],
        command: arguments.Command | None = None,
        *,
        wait: Wait | str | None = None,
        timeout: float = READY_SECONDS,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Makes a container and starts it; with ``wait``, returns when it is ready; a text is ``wait.named``.

        Without ``wait`` it returns when its command runs, as ``docker run -d`` does.

        Raises what ``create`` and ``Container.start`` raise; ContainerExitedError and ContainerNotReadyError (after
        ``timeout`` seconds) from ``wait``. The container is removed then.
        """
        return self._run(Container, image, command, wait, timeout, options)

    def _run(
        self,
        handle: type[HandleT],
        image: Image | str | os.PathLike[str],
        command: arguments.Command | None,
        wait: Wait | str | None,
        timeout: float,
        options: ContainerOptions,
    ) -> HandleT:
        wait, seconds = parse_wait(wait), arguments.parse_seconds(timeout)
        container = self._create(handle, image, command, options)
        with ExitStack() as undone:
            undone.enter_context(container)
            container.start()
            self._resources.prepare_next()
            self._await_ready(container, wait, seconds)
            undone.pop_all()
        return container

    def _requested(
        self, image: Image | str | os.PathLike[str], command: arguments.Command | None, options: ContainerOptions
    ) -> ContainerRequest:
        """The container that is to be made, after all have had their say."""
        arguments.check_names(options, ContainerOptions)
        wanted = ContainerRequest(image, command, options)
        for observer in self._resources.extensions.observers:
            observer.before_create(wanted)
        return wanted

    def _await_ready(self, container: Container, wait: Wait | None, seconds: float) -> None:
        if isinstance(wait, DefaultWait):
            wait = wait.chosen(container)
        if wait is not None:
            with self._display.waiting(container, wait):
                wait.until_ready(container, seconds)
        for observer in self._resources.extensions.observers:
            observer.ready(container)

    @overload
    def service(
        self,
        service: Service[HandleT],
        command: arguments.Command | None = None,
        *,
        wait: Wait | str | None = None,
        timeout: float = READY_SECONDS,
        **options: Unpack[ContainerOptions],
    ) -> HandleT: ...
    @overload
    def service(self, service: str, **options: Any) -> Any: ...
    def service(self, service: Service[HandleT] | str, command: Any = None, **options: Any) -> Any:
        """Runs a service, one of ``pytest_pycontainer.services``, and returns its handle when it is ready.

        ``command``, ``wait`` and ``timeout`` are as for ``run``, in place of the service's own (``wait=None`` waits for
        nothing); ``ports`` and ``env`` are added to its own, all other options are the container's. A text is the name
        of a service that the engine's extensions know; the options are that one's own.

        Raises InvalidSpecError for a name that they do not know, and what ``run`` raises.
        """
        if isinstance(service, Service):
            wait, seconds = options.pop("wait", service.wait), options.pop("timeout", READY_SECONDS)
            command = command or service.command
            given = service.with_defaults(cast("ContainerOptions", options))
            return self._run(service.handle, service.image, command, wait, seconds, given)
        services = self._resources.extensions.services
        if service not in services:
            known = ", ".join(sorted(services)) or "those that its extensions have: there are none"
            raise InvalidSpecError("service", str(service), f"a Service, or one of {known}")
        if command is not None:
            options["command"] = command
        return services[service](self, **options)

    def containers(self, *, others: bool = False) -> list[Container]:
        """The containers that this engine made and has not removed, oldest first.

        With ``others`` also those of all other engines on the same store, of any process. Raises StoreError.
        """
        if not others:
            return self._own_containers()
        found = []
        for record, _ in sorted(self._resources.records.live(), key=lambda entry: entry[0].created_at):
            with suppress(ContainerNotFoundError):  # it was removed in this moment
                found.append(self._handle(record.id))
        return found

    def _own_containers(self) -> list[Container]:
        with self._lock:
            return list(self._containers.values())

    def find(self, name: str) -> Container:
        """The container of that name, or whose id begins so, of any process on this machine that uses the same store.

        The handle does everything but to keep the container alive: that its owner does. Raises ContainerNotFoundError,
        AmbiguousContainerError, and StoreError.
        """
        record, _, _ = self._resources.records.find(name)
        return self._handle(record.id)

    def _handle(self, container_id: str) -> Container:
        """The one handle that this engine has on a container, its own or another's."""
        with self._lock:
            known = self._containers.get(container_id) or self._others.get(container_id)
        if known is None:
            known = connect(self._resources, container_id, self._forget)
            with self._lock:
                if container_id in self._others:  # another thread was faster
                    known.release()
                known = self._others.setdefault(container_id, known)
        return known

    def scope(self) -> EngineScope:
        """The same engine for a while: a context manager, whose end removes what was made through it.

        That is all its containers, networks that were not there before, and volumes without a name.
        """
        from pytest_pycontainer.engine.scope import EngineScope

        return EngineScope(self)

    def settle(self) -> None:
        """Lets go of the container that is made ahead for the next ``run``, and waits for what is still being removed.

        What is left is what the caller made. Raises WaitTimeoutError and StoreError for what can't be removed.
        """
        self._resources.discard_next()
        self._resources.removals.finish()

    def close(self) -> None:
        """Removes its containers and lets go of everything. Closing it again is no error.

        In a child that the owner has forked it does nothing: the engine is not the child's.
        """
        if not self._resources.are_ours():
            return
        with ExitStack() as closing:
            closing.callback(self._leave)
            with self._lock:
                own, others = list(self._containers.values()), list(self._others.values())
            for other in others:
                closing.callback(other.release)
            for container in own:
                closing.callback(container.end)

    def _leave(self) -> None:
        """Lets go of everything but containers that are to stay, and what these need."""
        kept = [container for container in self._own_containers() if container.is_kept]
        if kept:
            self._resources.stay([container._connection._control.fileno() for container in kept])
        else:
            self._resources.close()

    def _forget(self, container: Container) -> None:
        with self._lock:
            self._containers.pop(container.id, None)
            self._others.pop(container.id, None)

    def _image_to_run(self, image: Image | str | os.PathLike[str], policy: PullPolicy | None) -> Image:
        if isinstance(image, Image):
            if image.config.diff_ids and not self._resources.store.has_image(image.id):
                raise ImageNotFoundError(image.name)  # it was removed since the caller got it
            return image
        if not isinstance(image, str | os.PathLike):
            raise InvalidSpecError("image", repr(image), "an Image, the name of one, or a path")
        stored = self._sources.find(as_source(image), policy=policy)
        return Image(stored.id, os.fspath(image), stored.config, self._resources.store)
