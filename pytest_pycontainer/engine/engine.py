"""``Engine``: builds images, runs containers, and leaves nothing behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from pytest_pycontainer.engine import arguments, defaults
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.launch import Plan, launch
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.runtime.cgroups import Limits
from pytest_pycontainer.settings import Settings

if TYPE_CHECKING:
    from pytest_pycontainer.engine.wait import Wait

_READY_SECONDS = 60.0


class ContainerOptions(TypedDict, total=False):
    """What ``create`` and ``run`` take beside image and command, with docker's names and meanings.

    ``ports`` are published on 127.0.0.1, on free host ports unless they are named; ``memory`` is in bytes, or text such
    as ``512m``; ``network`` is ``bridge``, the engine's own, or ``none``; with ``init`` PID 1 is a reaper.
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


class Engine:
    """Builds images and runs containers.

    A context manager: leaving it removes every container that it made. Nothing is started before it is needed. Safe to
    use from several threads; any number of engines, in any number of processes, share one store.

    Its process is the owner of its containers: when that ends, however it ends, they end.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._resources = Resources(settings or Settings.read())
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

    def build(
        self,
        context: str | os.PathLike[str],
        *,
        dockerfile: str | os.PathLike[str] = "Dockerfile",
        tag: str | Sequence[str] | None = None,
        build_args: Mapping[str, str] | None = None,
        target: str | None = None,
        no_cache: bool = False,
        labels: Mapping[str, str] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Image:
        """Builds the Dockerfile of a directory; unchanged steps come from the cache, which all processes share.

        ``dockerfile`` is relative to ``context``; ``progress`` gets docker's lines (``Step 1/4 : FROM host``) as they
        come. Raises DockerfileNotFoundError, DockerfileError, CopySourceNotFoundError, BuildStepFailedError,
        ImageNotFoundError for an unknown base, and EngineUnavailableError.
        """
        from pytest_pycontainer.build.execute import build_image
        from pytest_pycontainer.engine.steps import RuntimeSteps

        tags = (tag,) if isinstance(tag, str) else tuple(tag or ())
        for name, value in (labels or {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise InvalidSpecError("labels", f"{name}={value!r}", "texts")
        if not Path(context).is_dir():
            raise InvalidSpecError("build context", str(context), "a directory")
        self._resources.require_open()
        self._resources.require_machine()  # before anything is made
        self._resources.records  # noqa: B018  (the store is prepared and swept)
        stored = build_image(
            self._resources.store,
            Path(context),
            dockerfile=dockerfile,
            build_args=build_args or {},
            target=target,
            no_cache=no_cache,
            labels=labels or {},
            tags=tags,
            resolve=self._resources.store.runnable_image,
            executor=RuntimeSteps(self._resources),
            report=progress or _discard,
        )
        return Image(stored.id, tags[0] if tags else stored.id, stored.config, tags)

    def image(self, reference: str) -> Image:
        """The image of a tag or id; ``host`` and ``scratch`` are always there.

        Raises InvalidReferenceError, ImageNotFoundError, and ImageOutdatedError for one that was built on packages of
        this machine that have changed since.
        """
        stored = self._resources.store.runnable_image(reference)
        return Image(stored.id, reference, stored.config)

    def images(self) -> list[Image]:
        """The images that have names in the store, of all processes that use it, one for each name."""
        store = self._resources.store
        return [Image(image_id, name, store.config(image_id), (name,)) for name, image_id in store.tags().items()]

    def tag(self, image: Image | str, reference: str) -> Image:
        """Gives an image a further name. Raises InvalidReferenceError and ImageNotFoundError."""
        stored = self._resources.store.image(image if isinstance(image, str) else image.id)
        self._resources.store.tag(stored.id, reference)
        return Image(stored.id, reference, stored.config, (reference,))

    def pull(self, reference: str, *, platform: str | None = None) -> Image:
        """Pulls an image from its registry, for this machine's platform or ``os/architecture[/variant]``.

        What is here already is not downloaded again. Raises InvalidReferenceError, ImageNotInRegistryError,
        NoMatchingPlatformError, AccessDeniedError, RateLimitedError, RegistryUnavailableError, other ImageErrors.
        """
        from pytest_pycontainer.image.platform import Platform
        from pytest_pycontainer.registry.pull import pull

        wanted = None if platform is None else Platform.parse(platform)
        stored = pull(self._resources.store, self._resources.registries, reference, platform=wanted)
        return Image(stored.id, reference, stored.config, (reference,))

    def push(self, image: Image | str, reference: str | None = None) -> str:
        """Pushes an image to the registry that ``reference`` (or its own name) says; returns the manifest's digest.

        Raises ImageNotPortableError for an image on the host image, AccessDeniedError, RegistryUnavailableError, and
        others of ImageError.
        """
        from pytest_pycontainer.registry.push import push

        source = image if isinstance(image, str) else image.id
        destination = reference if reference is not None or isinstance(image, str) else image.name
        return push(self._resources.store, self._resources.registries, source, destination)

    def login(self, registry: str, username: str, password: str) -> None:
        """Keeps user and password for a registry where docker keeps them. Raises AccessDeniedError."""
        self._resources.registries.login(registry, username, password)

    def logout(self, registry: str) -> bool:
        """Forgets them; False if there were none."""
        return self._resources.registries.logout(registry)

    def save(self, images: Sequence[Image | str], file: str | os.PathLike[str]) -> None:
        """Writes images to an archive that docker, skopeo and ``load`` read.

        Raises ImageNotFoundError, and ImageNotPortableError for an image on the host image.
        """
        from pytest_pycontainer.store.archives import save

        names = [image if isinstance(image, str) else image.id for image in images]
        with Path(file).open("wb") as archive:
            save(self._resources.store, names, archive)

    def load(self, file: str | os.PathLike[str]) -> list[Image]:
        """Stores the images of an archive: docker's or an OCI layout, also compressed. Raises InvalidArchiveError."""
        from pytest_pycontainer.store.archives import load

        with Path(file).open("rb") as archive:
            loaded = load(self._resources.store, archive)
        store = self._resources.store
        return [Image(one.id, one.names[0] if one.names else one.id, store.config(one.id), one.names) for one in loaded]

    def create(
        self, image: Image | str, command: arguments.Command | None = None, **options: Unpack[ContainerOptions]
    ) -> Container:
        """Makes a container that waits for its ``start()``.

        Raises InvalidSpecError for an argument that makes no sense, what ``image()`` raises, NameInUseError,
        UnsupportedLimitError, EngineUnavailableError, and ContainerStartError (the step that failed).
        """
        self._resources.require_machine()
        plan = self._plan(image, command, options)
        container = launch(self._resources, plan, self._forget)
        with self._lock:
            self._containers[container.id] = container
        return container

    def run(
        self,
        image: Image | str,
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

    def _plan(self, image: Image | str, command: arguments.Command | None, options: ContainerOptions) -> Plan:
        check_options(options)
        if isinstance(image, str):
            image = self.image(image)
        if not isinstance(image, Image):
            raise InvalidSpecError("image", repr(image), "an Image, or the name of one")
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
            volumes=config.volumes,
            user=config.user if user is None else user,
            name=arguments.parse_name(options.get("name")),
            hostname=arguments.parse_host_name(options.get("hostname")),
            ports=ports,
            limits=Limits(
                arguments.parse_size("memory", options.get("memory")),
                arguments.parse_count("pids_limit", options.get("pids_limit")),
            ),
            network=network == "bridge",
            reaper=options.get("init", False),
            stop_signal=arguments.parse_signal(
                (config.stop_signal or defaults.STOP_SIGNAL) if stop_signal is None else stop_signal
            ),
        )


def check_options(options: Mapping[str, object]) -> None:
    """Raises TypeError for a name that ``create`` does not know, as for any call."""
    for name in options:
        if name not in ContainerOptions.__annotations__:
            known = ", ".join(sorted(ContainerOptions.__annotations__))
            raise TypeError(f"got an unexpected keyword argument {name!r}; known are {known}")


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


def _discard(text: str) -> None:
    """For progress that nobody asked for."""
