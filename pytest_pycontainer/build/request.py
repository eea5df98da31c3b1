"""What is asked of a build, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pytest_pycontainer.build.secrets import BuildSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_pycontainer.build.context_sources import ContextSource, DockerfileSource
    from pytest_pycontainer.build.progress import Progress
    from pytest_pycontainer.build.remote import RemoteSources
    from pytest_pycontainer.build.steps import Network, StepExecutor
    from pytest_pycontainer.image.config import ImageConfig
    from pytest_pycontainer.image.platform import Platform
    from pytest_pycontainer.store.store import StoredImage


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A build's arguments, with docker's names and meanings.

    ``context`` and ``dockerfile`` are what ``context_sources`` takes; ``contexts`` are more of them, by the names that
    FROM and ``--from`` use: directories, or images by their names; ``target`` is the stage to end with, None for the
    last; ``platform`` is what the image is for, None for this machine's; ``cache_from`` names images to take steps
    from; ``network`` is that of every RUN which names none.
    """

    context: ContextSource
    dockerfile: DockerfileSource = "Dockerfile"
    contexts: Mapping[str, str | Path] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    platform: Platform | None = None
    no_cache: bool = False
    cache_from: tuple[str, ...] = ()
    secrets: BuildSecrets = field(default_factory=BuildSecrets)
    network: Network = "default"


class CacheImage(Protocol):
    """An image to take steps from, here or in a registry."""

    @property
    def config(self) -> ImageConfig:
        """Its config, which holds the keys of its steps."""

    def fetch(self, diff_id: str) -> None:
        """Brings one of its layers into the store, if it is not there. Raises ImageError, RegistryError, StoreError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTools:
    """What a build uses and does not have itself. All of it is called from several threads at once.

    ``resolve`` finds a base image, by its name or path, for a platform (None: this machine's), and pulls it if need be;
    ``cache_image`` opens an image of ``cache_from``; ``executor`` carries out what touches files, for this build alone;
    ``progress`` is told what happens; ``remote`` fetches what ADD reads over the network.
    """

    resolve: Callable[[str | Path, Platform | None], StoredImage]
    cache_image: Callable[[str], CacheImage]
    executor: StepExecutor
    progress: Progress
    remote: RemoteSources | None = None
