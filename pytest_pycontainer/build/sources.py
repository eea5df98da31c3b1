"""What a build's steps read: base images, the build context and those with a name, the files of images."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.build.context import BuildContext
from pytest_pycontainer.build.file_digests import FileDigests, memory_of
from pytest_pycontainer.build.patterns import IgnoreRules
from pytest_pycontainer.build.steps import Base
from pytest_pycontainer.build.text_file import read_text
from pytest_pycontainer.errors import ImageNotFoundError, InvalidReferenceError, RegistryError
from pytest_pycontainer.image.config import ImageConfig
from pytest_pycontainer.image.platform import Platform
from pytest_pycontainer.store.store import HOST, SCRATCH, Store, StoredImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_pycontainer.build.instructions import Word
    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.build.mounts import StageFiles
    from pytest_pycontainer.build.request import BuildRequest
    from pytest_pycontainer.build.stages import Plan, Stage


class Sources:
    """Finds what steps read, but for other stages. Safe for several threads.

    ``directory`` is the build context; ``dockerfile`` the path beside which its own .dockerignore may lie; ``resolve``
    finds images.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        request: BuildRequest,
        resolve: Callable[[str | Path, Platform | None], StoredImage],
        directory: Path,
        dockerfile: Path | None,
    ) -> None:
        self._store = store
        self._plan = plan
        self._named = {name.lower(): source for name, source in request.contexts.items()}
        self._platform = request.platform
        self._resolve = resolve
        self.directory = directory
        self._dockerfile = dockerfile
        self._images: dict[tuple[str | Path, Platform | None], Future[StoredImage]] = {}
        self._contexts: dict[Path, BuildContext] = {}
        self._lock = threading.Lock()

    @property
    def context(self) -> BuildContext:
        """The build context, without what its .dockerignore excludes."""
        own = self._dockerfile and self._dockerfile.with_name(f"{self._dockerfile.name}.dockerignore")
        return self._open(self.directory, own if own and own.exists() else self.directory / ".dockerignore")

    def _open(self, directory: Path, ignore_file: Path) -> BuildContext:
        with self._lock:
            if directory not in self._contexts:
                is_there = ignore_file.exists()
                ignored = IgnoreRules.parse(read_text(ignore_file), str(ignore_file)) if is_there else IgnoreRules()
                root = directory.resolve()
                # One that was made for this build is never seen again.
                stays = not root.is_relative_to(self._store.temporary.resolve())
                memory = memory_of(root, self._store.cache) if stays else None
                digests = FileDigests(memory, self._store.temporary)
                self._contexts[directory] = BuildContext(directory, ignored, digests)
            return self._contexts[directory]

    def base_image(self, stage: Stage) -> StoredImage:
        """The image that a stage stands on. Raises DockerfileError for what is none, and what ``resolve`` raises."""
        assert isinstance(stage.base, str)
        line, word = stage.start.line, stage.start.image
        platform = stage.platform or self._platform
        named = self._named.get(stage.base.lower())
        if named is not None:
            return self._image(named, platform)
        if stage.base == SCRATCH:
            config = ImageConfig.scratch(platform)
            return StoredImage(self._store.put_image(config), config)
        if stage.base == HOST and platform not in (None, Platform.current()):
            raise line.error(word.offset, f"this machine is {Platform.current()}, so its image can't be {platform}")
        try:
            return self._image(stage.base, platform)
        except InvalidReferenceError as problem:
            raise line.error(word.offset, str(problem)) from None
        except (ImageNotFoundError, RegistryError):
            if any(later.start.name == stage.base.lower() for later in self._plan.stages[stage.index :]):
                wanted = f"stage {stage.base} is not above this; a stage can only stand on one above it"
                raise line.error(word.offset, wanted) from None
            raise

    def files(self, line: Line, word: Word, source: str) -> StageFiles | BuildContext:
        """The file system of the image or named context that ``word`` means, with what identifies it.

        Raises DockerfileError for what is neither.
        """
        named = self._named.get(source.lower(), source)
        if isinstance(named, Path):
            return self._open(named, named / ".dockerignore")
        return self.files_of(self._image_config(line, word, named))

    def files_of(self, config: ImageConfig) -> StageFiles:
        """The file system of an image, and what identifies it."""
        base = Base(self._store.layer_directories(config), config.host is not None)
        return base, (config.host or "", *config.diff_ids)

    def _image(self, reference: str | Path, platform: Platform | None) -> StoredImage:
        """Each image is looked for once in a build: it is the same for all stages, and pulled by one of them."""
        with self._lock:
            found = self._images.get((reference, platform))
            is_first = found is None
            if found is None:
                found = self._images[reference, platform] = Future()
        if is_first:
            try:
                found.set_result(self._resolve(reference, platform))
            except BaseException as problem:
                found.set_exception(problem)
                raise
        return found.result()

    def _image_config(self, line: Line, word: Word, source: str) -> ImageConfig:
        try:
            return self._image(source, self._platform).config
        except (InvalidReferenceError, ImageNotFoundError, RegistryError) as problem:
            names = [stage.start.name for stage in self._plan.stages if stage.start.name]
            stages = f"the stages are {', '.join(names)}" if names else "no stage has a name"
            text = f"{source} is neither a stage nor an image: {problem} ({stages})"
            raise line.error(word.offset, text) from None
