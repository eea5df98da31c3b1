"""Where images come from: the store, a registry, an archive, a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from pytest_pycontainer.errors import (
    ImageNotFoundError,
    InvalidReferenceError,
    InvalidSpecError,
    OfflineError,
    RegistryError,
    StoreError,
)
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.reference import Reference
from pytest_pycontainer.settings import PullPolicy as PullPolicy
from pytest_pycontainer.store.store import HOST, SCRATCH, Store, StoredImage

if TYPE_CHECKING:
    from pytest_pycontainer.image.platform import Platform
    from pytest_pycontainer.registry.progress import TransferDisplay
    from pytest_pycontainer.registry.pull import RemoteImage
    from pytest_pycontainer.registry.registries import Registries
    from pytest_pycontainer.settings import Settings

_PATH_BEGINNINGS: Final = ("/", "./", "../")


class ImageSources:
    """Finds the image that a caller names, and fetches it if need be.

    ``settings`` say when a registry is asked, and for which platform, where a caller does not. ``registries`` is asked
    for when something is pulled, not before.
    """

    def __init__(
        self, settings: Settings, store: Store, registries: Callable[[], Registries], display: TransferDisplay
    ) -> None:
        self._settings = settings
        self._store = store
        self._registries = registries
        self._display = display

    def find(
        self, source: str | os.PathLike[str], *, policy: PullPolicy | None = None, platform: Platform | None = None
    ) -> StoredImage:
        """The image of a name, an ID, or a path: of an archive, or of a directory with a root file system.

        With a ``platform``, a name whose image here is for another one is pulled; and so is one that was pulled before,
        and whose files have been damaged or deleted since. Raises InvalidSpecError for an unknown policy,
        ImageNotFoundError for a name that is not here and not to be pulled, OfflineError, ImageOutdatedError,
        StoreError, and what ``pull`` and ``image_of_path`` raise.
        """
        policy = self._settings.pull if policy is None else policy
        if policy not in get_args(PullPolicy):
            raise InvalidSpecError("pull", str(policy), "one of " + ", ".join(map(repr, get_args(PullPolicy))))
        if not isinstance(source, str):
            from pytest_pycontainer.store.local_images import image_of_path

            return image_of_path(self._store, source)
        if policy == "never" or source in (HOST, SCRATCH) or digests.is_digest(source):
            return self._store.runnable_image(source)
        platform = platform or self._default_platform()
        if policy == "always":
            return self.pull(source, platform=platform)
        try:
            image = self._store.runnable_image(source)
            self._store.layer_directories(image.config)
        except ImageNotFoundError as not_here:
            return self._pull_missing(source, not_here, platform)
        except StoreError:
            if not self._was_pulled(source):
                raise  # an image that was built or loaded here: no registry has it
            return self.pull(source, platform=platform)
        if platform and (image.config.os, image.config.architecture) != (platform.os, platform.architecture):
            return self.pull(source, platform=platform)
        return image

    def remote(self, reference: str, platform: Platform | None) -> RemoteImage:
        """An image in its registry, of which nothing is stored yet. Raises what ``pull`` does."""
        from pytest_pycontainer.registry.pull import RemoteImage

        require_online(self._settings, reference, "ask for")
        return RemoteImage(self._store, self._registries(), reference, platform=platform)

    def pull(self, reference: str, *, platform: Platform | None = None, missing: bool = False) -> StoredImage:
        """Pulls an image and shows it on the display; without registries, one that is here is taken as it is.

        Raises as ``registry.pull.pull`` does, and OfflineError.
        """
        from pytest_pycontainer.registry.pull import pull

        if self._settings.offline:
            with suppress(ImageNotFoundError):
                return self._store.runnable_image(reference)
        require_online(self._settings, reference, "pull")
        platform = platform or self._default_platform()
        with self._display.pulling(reference, missing=missing) as progress:
            return pull(self._store, self._registries(), reference, platform=platform, progress=progress)

    def _default_platform(self) -> Platform | None:
        if self._settings.platform is None:
            return None
        from pytest_pycontainer.image.platform import Platform

        return Platform.parse(self._settings.platform)

    def _was_pulled(self, source: str) -> bool:
        """Whether the image here has ``source`` for a name that its registry gave it."""
        try:
            name, named = Reference.parse(source), self._store.named(source)
        except InvalidReferenceError:
            return False  # the beginning of an ID
        known = self._store.all_names().items()
        return named is not None and any(
            other.startswith(f"{name.name}@") and image_id == named[1] for other, image_id in known
        )

    def _pull_missing(self, reference: str, not_here: ImageNotFoundError, platform: Platform | None) -> StoredImage:
        try:
            return self.pull(reference, platform=platform, missing=True)
        except (ImageNotFoundError, RegistryError) as problem:
            problem.add_note(str(not_here))  # with near names: the name may be a slip
            raise


def require_online(settings: Settings, reference: str, doing: str) -> None:
    """Raises OfflineError if no registry is to be asked, and InvalidReferenceError for what is no name."""
    if settings.offline:
        raise OfflineError(Reference.parse(reference).domain, f"{doing} {reference}")


def as_source(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """``source``, a path if it is text that can only be one: no name of an image begins as a path does."""
    return Path(source) if isinstance(source, str) and source.startswith(_PATH_BEGINNINGS) else source
