"""What an engine does with images: building, pulling, naming, archiving."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack

from pytest_pycontainer.engine.display import Display, SilentDisplay
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.image_sources import ImageSources, as_source, require_online
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.engine.stored_images import StoredImages
from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.build.context_sources import ContextSource
    from pytest_pycontainer.engine.builds import BuildOptions
    from pytest_pycontainer.engine.image_sources import PullPolicy


class ImageOperations(StoredImages):
    """The half of ``Engine`` that makes no containers of its own. Safe to use from several threads."""

    def __init__(self, resources: Resources, display: Display | None = None) -> None:
        super().__init__(resources)
        self._display = display or SilentDisplay()

    @property
    def _sources(self) -> ImageSources:
        return ImageSources(
            self._resources.settings, self._resources.store, lambda: self._resources.registries, self._display
        )

    def build(
        self,
        context: ContextSource = None,
        *,
        progress: Callable[[str], None] | None = None,
        **options: Unpack[BuildOptions],
    ) -> Image:
        """Builds a Dockerfile; unchanged steps come from the cache, which all processes share.

        ``context`` is what it reads: a directory, a tar archive (its path, or a stream of one), texts and bytes in
        memory under the names of files, or nothing. ``progress`` gets docker's lines (``Step 1/4 : FROM host``) as they
        come, those of each stage together. For the other arguments see ``BuildOptions``. Stages that do not need each
        other are built at the same time.

        With SOURCE_DATE_EPOCH (build argument or environment variable) the image is the same whenever and wherever it
        is built from the same: that is the time of its config, of the files that COPY takes from the context, and of
        whatever was written later.

        Raises InvalidSpecError, ContextInvalidError, DockerfileNotFoundError, DockerfileError, CopySourceNotFoundError,
        SecretNotGivenError, BuildStepFailedError, what ``Engine.pull`` raises for an unknown base, and
        EngineUnavailableError.
        """
        from pytest_pycontainer.engine.builds import build, listeners, parse_request

        if (platform := self._resources.settings.platform) is not None:
            options = {"platform": platform, **options}
        request = parse_request(context, options)
        self._resources.require_open()
        self._resources.require_machine()  # before anything is made
        name = os.fspath(context) if isinstance(context, str | os.PathLike) else "a Dockerfile"
        with self._display.building(request.tags[0] if request.tags else name) as shown:
            told = listeners(progress, shown)
            return build(self._resources, self._sources, request, pull=options.get("pull", False), progress=told)

    def image(self, reference: str | os.PathLike[str]) -> Image:
        """The image of a tag, an id, or a path (of an archive, or of a directory with a root file system).

        ``host`` and ``scratch`` are always there. Nothing is pulled. Raises InvalidReferenceError, ImageNotFoundError,
        InvalidArchiveError, and ImageOutdatedError for one that was built on packages of this machine that have changed
        since.
        """
        stored = self._sources.find(as_source(reference), policy="never")
        return Image(stored.id, os.fspath(reference), stored.config, self._resources.store)

    def pull(self, reference: str, *, platform: str | None = None, policy: PullPolicy = "always") -> Image:
        """Pulls an image from its registry, for this machine's platform or ``os/architecture[/variant]``.

        What is here already is not downloaded again; with the policy ``missing`` the registry is not even asked, and
        never with ``never``. Raises InvalidReferenceError, ImageNotInRegistryError, NoMatchingPlatformError,
        AccessDeniedError, RateLimitedError, RegistryUnavailableError, other ImageErrors.
        """
        from pytest_pycontainer.image.platform import Platform

        wanted = None if platform is None else Platform.parse(platform)
        if policy == "always":
            stored = self._sources.pull(reference, platform=wanted)
        else:
            stored = self._sources.find(reference, policy=policy, platform=wanted)
        return Image(stored.id, reference, stored.config, self._resources.store)

    def push(self, image: Image | str, reference: str | None = None) -> str:
        """Pushes an image to the registry that ``reference`` (or its own name) says; returns the manifest's digest.

        Raises ImageNotPortableError for an image on the host image, AccessDeniedError, RegistryUnavailableError, and
        others of ImageError.
        """
        from pytest_pycontainer.registry.push import push

        source, name = (image, image) if isinstance(image, str) else (image.id, image.name)
        destination = reference or name
        require_online(self._resources.settings, destination, "push")
        with self._display.pushing(destination) as progress:
            return push(self._resources.store, self._resources.registries, source, destination, progress=progress)

    def login(self, registry: str, username: str, password: str) -> None:
        """Keeps user and password for a registry, ``host`` or ``host:port``, where docker keeps them.

        Raises AccessDeniedError, InvalidSpecError for text that names no registry, CredentialsError, and
        RegistryUnavailableError.
        """
        self._resources.registries.login(registry, username, password)

    def logout(self, registry: str) -> bool:
        """Forgets them; False if there were none."""
        return self._resources.registries.logout(registry)

    def save(self, images: Image | str | Sequence[Image | str], file: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes an image, or several, to an archive that docker, skopeo and ``load`` read: a path, or a stream.

        If that fails, a file stays as it was. Raises ImageNotFoundError, ImageNotPortableError for an image on the
        host image, StoreError, and InvalidSpecError for no image at all.
        """
        from pytest_pycontainer.engine.exporting import written_file
        from pytest_pycontainer.store.save import save

        wanted = [images] if isinstance(images, Image | str) else images
        if not wanted:
            raise InvalidSpecError("images", str(images), "one at least")
        names = [image if isinstance(image, str) else image.id for image in wanted]
        with written_file(Path(file)) if isinstance(file, str | os.PathLike) else nullcontext(file) as archive:
            save(self._resources.store, names, archive)

    def load(self, file: str | os.PathLike[str] | BinaryIO) -> list[Image]:
        """Stores the images of an archive, docker's or an OCI layout, also compressed, or of an OCI layout's directory.

        ``file`` is a path, or a stream of an archive. Raises InvalidArchiveError, other ImageErrors, and StoreError.
        """
        from pytest_pycontainer.image.reference import Reference
        from pytest_pycontainer.store.load import load, load_path

        store = self._resources.store
        loaded = load_path(store, Path(file)) if isinstance(file, str | os.PathLike) else load(store, file)
        return [
            Image(one.id, Reference.parse(one.names[0]).familiar if one.names else one.id, store.config(one.id), store)
            for one in loaded
        ]

    def import_image(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        tag: str | None = None,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
    ) -> Image:
        """Makes an image of a plain root file system: a directory, or a tar archive's path or stream, also compressed.

        ``changes`` are Dockerfile instructions for its config, as ``docker import -c`` takes them (``'CMD ["sh"]'``);
        ``message`` goes into its history; ``platform`` is what it is for, if not this machine's. Raises
        InvalidArchiveError, DockerfileError for a change that is none, InvalidReferenceError, and StoreError.
        """
        from pytest_pycontainer.engine.importing import import_image
        from pytest_pycontainer.image.platform import Platform

        if isinstance(changes, str):
            raise InvalidSpecError("changes", changes, "a list of Dockerfile instructions")
        wanted = None if platform is None else Platform.parse(platform)
        store = self._resources.store
        stored = import_image(store, source, tag=tag, changes=changes, message=message, platform=wanted)
        return Image(stored.id, tag or stored.id, stored.config, store)
