"""``Engine``: builds images, runs containers, and leaves nothing behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from pytest_pycontainer.engine import arguments, defaults
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.image_operations import ImageOperations
from pytest_pycontainer.engine.image_sources import PullPolicy, as_source
from pytest_pycontainer.engine.launch import Plan, launch
from pytest_pycontainer.engine.privileges import Names, parse_groups, parse_privileges
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.engine.volumes import VolumeOperations
from pytest_pycontainer.errors import ImageNotFoundError, InvalidSpecError
from pytest_pycontainer.runtime.cgroups import Limits
from pytest_pycontainer.settings import Settings

if TYPE_CHECKING:
    from pytest_pycontainer.engine.container_mounts import WantedMount
    from pytest_pycontainer.engine.display import Display
    from pytest_pycontainer.engine.mount_arguments import TmpfsArguments, VolumeArguments
    from pytest_pycontainer.engine.wait import Wait

_READY_SECONDS = 60.0


class ContainerOptions(TypedDict, total=False):
    """What ``create`` and ``run`` take beside image and command, with docker's names and meanings.

    ``ports`` are published on 127.0.0.1, on free host ports unless they are named; ``memory`` is in bytes, or text such
    as ``512m``; ``network`` is ``bridge``, the engine's own, or ``none``; with ``init`` PID 1 is a reaper.
    ``pull`` says when an image's registry is asked: when it is ``missing`` here, ``always``, or ``never``.

    ``volumes`` are directories or files of this machine, or volumes, by their places in the container
    (``{"./data": "/data", "name": "/var/lib/x:ro"}``), or docker's texts for ``-v``; a path of this machine begins with
    ``/`` or ``.`` and has to be there. ``tmpfs`` (``{"/tmp": "size=64m"}``) and ``mounts``
    (``"type=bind,source=/a,target=/b,readonly"``) are as docker's.

    ``cap_add`` and ``cap_drop`` name capabilities (``NET_ADMIN``, ``ALL``); ``security_opt`` takes
    ``seccomp=unconfined``, ``seccomp=`` and a profile's path or JSON, ``no-new-privileges`` and
    ``systempaths=unconfined``; ``privileged`` is all capabilities and devices, no filter and no masks. With
    ``read_only`` nothing but what is mounted can be written to; ``group_add`` names further groups.
    """

    name: str | None
    env: arguments.Environment | None
    ports: arguments.Ports | None
    user: str | int | None
    workdir: str | None
    entrypoint: arguments.Command | None
    hostname: str | None
    init: bool
    memory: int | str | None
    pids_limit: int | None
    network: Literal["bridge", "none"]
    stop_signal: str | None
    volumes: VolumeArguments | None
    tmpfs: TmpfsArguments | None
    mounts: Iterable[str] | None
    privileged: bool
    cap_add: Names | None
    cap_drop: Names | None
    security_opt: Names | None
    read_only: bool
    group_add: Iterable[str | int] | None
    pull: PullPolicy


class Engine(ImageOperations, VolumeOperations):
    """Builds images, runs containers, keeps volumes.

    A context manager: leaving it removes every container that it made. Nothing is started before it is needed. Safe to
    use from several threads; any number of engines, in any number of processes, share one store.

    Its process is the owner of its containers: when that ends, however it ends, they end. ``display`` shows images that
    are pulled, pushed and built; without one that happens silently.
    """

    def __init__(self, settings: Settings | None = None, *, display: Display | None = None) -> None:
        super().__init__(Resources(settings or Settings.read()), display)
        self._lock = threading.Lock()
        self._containers: dict[str, Container] = {}

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
        NameInUseError, UnsupportedLimitError, EngineUnavailableError, and ContainerStartError (the step that failed).
        """
        self._resources.require_machine()
        with self._resources.store.in_use():  # until the container's record tells everybody that its image is needed
            plan = self._plan(image, command, options)
            container = launch(self._resources, plan, self._forget)
        self._resources.store.mark_used(plan.image.id)
        with self._lock:
            self._containers[container.id] = container
        return container

    def run(
        self,
        image: Image | str | os.PathLike[str],
        command: arguments.Command | None = None,
        *,
        wait: Wait | None = None,
        timeout: float = _READY_SECONDS,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Makes a container and starts it; with ``wait``, returns when it is ready.

        Raises what ``create`` and ``Container.start`` raise; ContainerExitedError and ContainerNotReadyError (after
        ``timeout`` seconds) from ``wait``. The container is removed then.
        """
        if wait is not None and not hasattr(wait, "until_ready"):
            raise InvalidSpecError("wait", repr(wait), "something such as wait.port(80)")
        container = self.create(image, command, **options)
        with ExitStack() as undone:
            undone.enter_context(container)
            container.start()
            self._resources.prepare_next()
            if wait is not None:
                wait.until_ready(container, timeout)
            undone.pop_all()
        return container

    def containers(self) -> list[Container]:
        """The containers that this engine made and has not removed, oldest first."""
        with self._lock:
            return list(self._containers.values())

    def settle(self) -> None:
        """Lets go of the container that is made ahead for the next ``run``; what is left is what the caller made."""
        self._resources.discard_next()

    def close(self) -> None:
        """Removes its containers and lets go of everything. Closing it again is no error.

        In a child that the owner has forked it does nothing: the engine is not the child's.
        """
        if not self._resources.are_ours():
            return
        with ExitStack() as closing:
            closing.callback(self._resources.close)
            for container in self.containers():
                closing.callback(container.remove, force=True)

    def _forget(self, container: Container) -> None:
        with self._lock:
            self._containers.pop(container.id, None)

    def _plan(
        self, image: Image | str | os.PathLike[str], command: arguments.Command | None, options: ContainerOptions
    ) -> Plan:
        arguments.check_names(options, ContainerOptions)
        image = self._image_to_run(image, options.get("pull", "missing"))
        config = image.config
        network = options.get("network", "bridge")
        if network not in ("bridge", "none"):
            raise InvalidSpecError("network", str(network), "'bridge' or 'none'")
        ports = arguments.parse_ports(options.get("ports"))
        if ports and network == "none":
            raise InvalidSpecError("ports", str(options.get("ports")), "a network: with 'none' nothing can be reached")
        stop_signal = options.get("stop_signal")
        environment = dict(entry.partition("=")[::2] for entry in config.env)
        environment |= arguments.parse_environment(options.get("env"))
        user = arguments.parse_user(options.get("user"))
        return Plan(
            image=image,
            layers=self._resources.store.layer_directories(config),
            host=config.host is not None,
            command=_command(image, arguments.parse_command(command), options),
            environment=tuple(environment.items()),
            working_directory=arguments.parse_text("workdir", options.get("workdir"))
            or config.working_directory
            or "/",
            mounts=_mounts(config.volumes, options),
            user=config.user if user is None else user,
            name=arguments.parse_name(options.get("name")),
            hostname=arguments.parse_host_name(options.get("hostname")),
            ports=ports,
            limits=Limits(
                arguments.parse_size("memory", options.get("memory")),
                arguments.parse_count("pids_limit", options.get("pids_limit")),
            ),
            network=network,
            reaper=options.get("init", False),
            privileges=parse_privileges(
                arguments.parse_flag("privileged", options.get("privileged")),
                options.get("cap_add"),
                options.get("cap_drop"),
                options.get("security_opt"),
            ),
            groups=parse_groups(options.get("group_add")),
            read_only=arguments.parse_flag("read_only", options.get("read_only")),
            stop_signal=arguments.parse_signal(
                (config.stop_signal or defaults.STOP_SIGNAL) if stop_signal is None else stop_signal
            ),
        )

    def _image_to_run(self, image: Image | str | os.PathLike[str], policy: PullPolicy) -> Image:
        if isinstance(image, Image):
            if image.config.diff_ids and not self._resources.store.has_image(image.id):
                raise ImageNotFoundError(image.name)  # it was removed since the caller got it
            return image
        if not isinstance(image, str | os.PathLike):
            raise InvalidSpecError("image", repr(image), "an Image, the name of one, or a path")
        stored = self._sources.find(as_source(image), policy=policy)
        return Image(stored.id, os.fspath(image), stored.config, self._resources.store)


def _mounts(image_volumes: tuple[str, ...], options: ContainerOptions) -> tuple[WantedMount, ...]:
    wanted = options.get("volumes"), options.get("tmpfs"), options.get("mounts")
    if not (image_volumes or any(wanted)):
        return ()
    from pytest_pycontainer.engine.mount_arguments import parse_mounts  # most containers have none

    return parse_mounts(*wanted, image_volumes)


def _command(image: Image, command: tuple[str, ...] | None, options: ContainerOptions) -> tuple[str, ...]:
    """Entrypoint and command as docker joins them: a new entrypoint takes the image's command away."""
    entrypoint = arguments.parse_command(options.get("entrypoint"))
    if entrypoint is None:
        entrypoint = image.config.entrypoint or ()
        command = image.config.cmd if command is None else command
    whole = (*entrypoint, *(command or ()))
    if not whole:
        raise InvalidSpecError("command", "", f"a command: image {image.name!r} has none of its own")
    return whole
