"""What ``Engine.build`` takes, checked and handed to the builder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from pytest_pycontainer.engine.arguments import check_names
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.image_sources import ImageSources
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import ImageNotFoundError, InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.build.context_sources import ContextSource as ContextSource
    from pytest_pycontainer.build.context_sources import DockerfileSource
    from pytest_pycontainer.build.progress import Progress
    from pytest_pycontainer.build.request import BuildRequest, CacheImage
    from pytest_pycontainer.build.secrets import Secret
    from pytest_pycontainer.image.config import ImageConfig
    from pytest_pycontainer.image.platform import Platform
    from pytest_pycontainer.store.store import Store, StoredImage


IMAGE_PREFIX = "docker-image://"
"""What a named context begins with that is an image, as docker has it."""


class BuildOptions(TypedDict, total=False):
    """What ``Engine.build`` takes beside the context, with docker's names and meanings.

    ``dockerfile`` is a path relative to the context, the text itself (of more than one line), or a file open for
    reading. ``contexts`` are more directories, or images (``docker-image://name`` or an Image), by the names that FROM
    and ``--from`` use. ``tag`` names the image, or is a list of names; ``target`` is the stage to end with, by its name
    or number. A base that is not here is pulled; with ``pull`` every base is asked for anew. ``platform``
    (``os/architecture[/variant]``) is what the image is for, if not this machine. ``cache_from`` names images, here or
    in registries, to take steps from: all that this package has built know how they were made.

    ``secrets`` (a text, bytes, or a path to a file, each under its id) and ``ssh`` (paths of agents' sockets, or
    ``"default"`` for the one of SSH_AUTH_SOCK) are for RUN's ``--mount`` alone, and in no image. ``network`` is that of
    every RUN: the engine's own, ``none``, or this machine's, ``host``, which no RUN has otherwise.
    """

    dockerfile: DockerfileSource
    contexts: Mapping[str, str | os.PathLike[str] | Image] | None
    tag: str | Sequence[str] | None
    build_args: Mapping[str, str] | None
    target: str | None
    no_cache: bool
    pull: bool
    labels: Mapping[str, str] | None
    platform: str | None
    cache_from: str | Sequence[str] | None
    secrets: Mapping[str, Secret] | None
    ssh: Mapping[str, str | os.PathLike[str]] | str | None
    network: Literal["default", "none", "host"]


def parse_request(context: ContextSource, options: BuildOptions) -> BuildRequest:
    """The request that a caller's arguments come to. Raises InvalidSpecError, and TypeError for an unknown name."""
    from pytest_pycontainer.build.request import BuildRequest
    from pytest_pycontainer.build.secrets import BuildSecrets
    from pytest_pycontainer.image.platform import Platform

    check_names(options, BuildOptions)
    network = options.get("network", "default")
    if network not in ("default", "none", "host"):
        raise InvalidSpecError("network", str(network), "'default', 'none' or 'host'")
    platform = options.get("platform")
    return BuildRequest(
        context=context,
        contexts={name: _named_context(name, source) for name, source in (options.get("contexts") or {}).items()},
        dockerfile=options.get("dockerfile", "Dockerfile"),
        tags=_texts(options.get("tag")),
        build_args=_mapping("build_args", options.get("build_args")),
        labels=_mapping("labels", options.get("labels")),
        target=options.get("target"),
        platform=None if platform is None else Platform.parse(platform),
        no_cache=options.get("no_cache", False),
        cache_from=_texts(options.get("cache_from")),
        secrets=BuildSecrets.of(options.get("secrets"), options.get("ssh")),
        network=network,
    )


def build(
    resources: Resources, sources: ImageSources, request: BuildRequest, *, pull: bool, progress: Progress
) -> Image:
    """Builds with the engine's runtime. Raises what ``Engine.build`` does."""
    from pytest_pycontainer.build.execute import build_image
    from pytest_pycontainer.build.request import BuildTools
    from pytest_pycontainer.engine.remote_sources import NetworkSources
    from pytest_pycontainer.engine.steps import RuntimeSteps

    def resolve(reference: str | Path, platform: Platform | None) -> StoredImage:
        return sources.find(reference, policy="always" if pull else None, platform=platform)

    def cache_image(reference: str) -> CacheImage:
        store = resources.store
        try:
            return _LocalImage(store, store.image(reference).config)
        except ImageNotFoundError:
            return sources.remote(reference, request.platform)

    resources.records  # noqa: B018  (the store is prepared and swept)
    tools = BuildTools(
        resolve=resolve,
        cache_image=cache_image,
        executor=RuntimeSteps(resources),
        progress=progress,
        remote=NetworkSources(resources),
    )
    stored = build_image(resources.store, request, tools)
    return Image(stored.id, request.tags[0] if request.tags else stored.id, stored.config, resources.store)


class _LocalImage:
    """An image to take steps from that is here."""

    def __init__(self, store: Store, config: ImageConfig) -> None:
        self._store = store
        self.config = config

    def fetch(self, diff_id: str) -> None:
        """Raises StoreError if the layer is gone."""
        self._store.layer_directory(diff_id)


def listeners(lines: Callable[[str], None] | None, shown: Progress) -> Progress:
    """Progress for ``shown``, and for ``lines`` in docker's words."""
    from pytest_pycontainer.build.classic import ClassicLines
    from pytest_pycontainer.build.progress import to_all

    return shown if lines is None else to_all(ClassicLines(lines), shown)


def _named_context(name: object, source: str | os.PathLike[str] | Image) -> str | Path:
    if isinstance(source, Image):
        return source.id
    if isinstance(source, str) and source.startswith(IMAGE_PREFIX):
        return source.removeprefix(IMAGE_PREFIX)
    if not isinstance(name, str) or not isinstance(source, str | os.PathLike) or not Path(source).is_dir():
        raise InvalidSpecError("contexts", f"{name}={source!r}", f"a directory, {IMAGE_PREFIX}name, or an Image")
    return Path(source)


def _texts(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _mapping(what: str, value: Mapping[str, str] | None) -> Mapping[str, str]:
    for name, text in (value or {}).items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InvalidSpecError(what, f"{name}={text!r}", "texts")
    return dict(value or {})
