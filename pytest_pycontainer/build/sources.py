"""What a build's steps read: base images, the build context, the files of stages and images."""

from __future__ import annotations

import threading
from concurrent.futures import Future
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
    from pathlib import Path

    from pytest_pycontainer.build.instructions import Word
    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.build.stages import Plan, Stage


class Sources:
    """Finds what steps read. Safe for several threads.

    ``dockerfile`` is the path beside which its own .dockerignore may lie; ``resolve`` finds images; ``stage`` waits for
    a stage, and gives the config of what it has built.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        context: Path,
        dockerfile: Path,
        platform: Platform | None,
        resolve: Callable[[str, Platform | None], StoredImage],
        stage: Callable[[int], ImageConfig],
    ) -> None:
        self._store = store
        self._plan = plan
        self._root = context
        self._dockerfile = dockerfile
        self._platform = platform
        self._resolve = resolve
        self._stage = stage
        self._images: dict[tuple[str, Platform | None], Future[StoredImage]] = {}
        self._context: BuildContext | None = None
        self._lock = threading.Lock()

    @property
    def context(self) -> BuildContext:
        """The build context, without what its .dockerignore excludes."""
        with self._lock:
            if self._context is None:
                own = self._dockerfile.with_name(f"{self._dockerfile.name}.dockerignore")
                path = own if own.exists() else self._root / ".dockerignore"
                ignored = IgnoreRules.parse(read_text(path), str(path)) if path.exists() else IgnoreRules()
                memory = memory_of(self._root.resolve(), self._store.cache)
                self._context = BuildContext(self._root, ignored, FileDigests(memory, self._store.temporary))
            return self._context

    def base_image(self, stage: Stage) -> StoredImage:
        """The image that a stage stands on. Raises DockerfileError for what is none, and what ``resolve`` raises."""
        assert isinstance(stage.base, str)
        line, word = stage.start.line, stage.start.image
        platform = stage.platform or self._platform
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

    def files(self, line: Line, word: Word, source: int | str) -> tuple[Base, tuple[str, ...]]:
        """The file system of the stage or image that ``word`` means, and what identifies it.

        Waits for the stage. Raises DockerfileError for what is neither.
        """
        config = self._source_config(line, word, source)
        return Base(self._store.layer_directories(config), config.host is not None), (
            config.host or "",
            *config.diff_ids,
        )

    def _image(self, reference: str, platform: Platform | None) -> StoredImage:
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

    def _source_config(self, line: Line, word: Word, source: int | str) -> ImageConfig:
        if isinstance(source, int):
            return self._stage(source)
        try:
            return self._image(source, self._platform).config
        except (InvalidReferenceError, ImageNotFoundError, RegistryError) as problem:
            names = [stage.start.name for stage in self._plan.stages if stage.start.name]
            stages = f"the stages are {', '.join(names)}" if names else "no stage has a name"
            text = f"{source} is neither a stage nor an image: {problem} ({stages})"
            raise line.error(word.offset, text) from None
