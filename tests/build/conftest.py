from __future__ import annotations

import itertools
import os
import re
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_pycontainer.build.classic import ClassicLines
from pytest_pycontainer.build.execute import build_image
from pytest_pycontainer.build.request import BuildRequest, BuildTools
from pytest_pycontainer.build.steps import Base, CopySource, CopyStep, RunStep, SourceMissing, StepResult
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.store.store import Store, StoredImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_pycontainer.build.progress import Progress
    from pytest_pycontainer.build.request import CacheImage
    from pytest_pycontainer.image.config import ImageConfig


PATIENCE = 30.0


class DirectoryExecutor:
    """Carries out steps with plain directories: what a build does is seen without a container.

    RUN understands ``write PATH TEXT``, ``print TEXT…``, ``print-no-newline WORD``,
    ``fail CODE``, ``now PATH``, ``old PATH`` and ``nothing``, joined by ``;``;
    ``meet`` ends when two commands do it, ``hang`` meets another and
    ends when the build is interrupted.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.runs: list[tuple[Base, RunStep]] = []
        self.copies: list[tuple[Base, CopyStep]] = []
        self.interrupted = threading.Event()
        self.meeting = threading.Barrier(2)
        self.digests = 0
        self._numbers = itertools.count()

    @contextmanager
    def run(self, base: Base, step: RunStep, output: Callable[[str], None]) -> Iterator[StepResult]:
        self.runs.append((base, step))
        with self._upper() as upper:
            code = 0
            for command in step.command[-1].split(";"):
                match command.split():
                    case ["write", path, text]:
                        file = upper / path.lstrip("/")
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_text(text)
                    case ["print", *words]:
                        text = " ".join(words).replace("\\n", "\n")
                        middle = len(text) // 2
                        output(text[:middle])
                        output(text[middle:] + "\n")
                    case ["print-no-newline", word]:
                        output(word)
                    case ["fail", number]:
                        code = int(number)
                    case ["nothing"]:
                        pass
                    case ["now", path]:
                        (upper / path.lstrip("/")).write_text(str(time.time_ns()))
                    case ["old", path]:
                        (upper / path.lstrip("/")).touch()
                        os.utime(upper / path.lstrip("/"), (1000, 1000))
                    case ["meet"]:
                        self.meeting.wait(PATIENCE)
                    case ["hang"]:
                        self.meeting.wait(PATIENCE)
                        assert self.interrupted.wait(PATIENCE)
                        code = 137
                    case other:
                        raise AssertionError(other)
            yield StepResult(code, upper)

    @contextmanager
    def copy(self, base: Base, step: CopyStep) -> Iterator[StepResult]:
        self.copies.append((base, step))
        with self._upper() as upper:
            for source in step.sources:
                found = self._find(step.root, source)
                target = upper / step.destination.lstrip("/")
                if found.is_dir():
                    shutil.copytree(found, target, dirs_exist_ok=True, symlinks=True)
                else:
                    if step.destination.endswith("/"):
                        target /= source.name or found.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(found, target)
            if not step.sources:
                (upper / step.destination.lstrip("/")).mkdir(parents=True, exist_ok=True)
            yield StepResult(0, upper)

    def digest(self, root: Base, sources: tuple[CopySource, ...]) -> str:
        self.digests += 1
        found = [self._find(root, source) for source in sources]
        texts = [path.read_text() for top in found for path in (top, *sorted(top.rglob("*"))) if path.is_file()]
        return digests.of("".join(texts).encode())

    def interrupt(self) -> None:
        self.interrupted.set()

    @contextmanager
    def _upper(self) -> Iterator[Path]:
        upper = self._scratch / f"upper{next(self._numbers)}"
        upper.mkdir(mode=0o755)
        try:
            yield upper
        finally:
            shutil.rmtree(upper, ignore_errors=True)

    def _find(self, root: Path | Base, source: CopySource) -> Path:
        root = source.root or root
        for directory in root.layers if isinstance(root, Base) else (root,):
            top = directory / source.path
            found = [path for path in sorted(top.rglob("*")) if _matches(path.relative_to(top), source.pattern)]
            if source.pattern and found:
                return found[0]
            if not source.pattern and os.path.lexists(top):
                return top
        raise SourceMissing(source.path, f"{source.path} is not in that stage")


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return len(path.parts) == len(patterns) and all(map(re.fullmatch, patterns, path.parts))


@dataclass(frozen=True)
class LocalCacheImage:
    """An image to take steps from, whose layers are here."""

    config: ImageConfig

    def fetch(self, diff_id: str) -> None:
        pass


class Builder:
    """Builds Dockerfiles written in a test."""

    def __init__(self, directory: Path) -> None:
        self.context = directory / "context"
        self.context.mkdir()
        self.store = Store(directory / "store")
        scratch = directory / "scratch"
        scratch.mkdir()
        self.executor = DirectoryExecutor(scratch)
        self.lines: list[str] = []

    def build(
        self,
        dockerfile: str,
        *,
        args: Mapping[str, str] | None = None,
        target: str | None = None,
        no_cache: bool = False,
        labels: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
        **options: Any,
    ) -> StoredImage:
        (self.context / "Dockerfile").write_text(dockerfile)
        self.lines.clear()
        request = BuildRequest(
            context=self.context,
            tags=tuple(tags),
            build_args=args or {},
            labels=labels or {},
            target=target,
            no_cache=no_cache,
            **options,
        )
        return build_image(self.store, request, self.tools(ClassicLines(self.lines.append)))

    def tools(self, progress: Progress) -> BuildTools:
        return BuildTools(
            resolve=lambda reference, _platform: self.store.runnable_image(str(reference)),
            cache_image=self._cache_image,
            executor=self.executor,
            progress=progress,
        )

    def _cache_image(self, reference: str) -> CacheImage:
        return LocalCacheImage(self.store.image(reference).config)

    def files(self, image: StoredImage) -> dict[str, str]:
        """The files of an image's layers, by path."""
        found: dict[str, str] = {}
        for layer in reversed(self.store.layer_directories(image.config)):
            for path in sorted(layer.rglob("*")):
                if path.is_file():
                    found[str(path.relative_to(layer))] = path.read_text()
        return found

    @property
    def cached(self) -> list[bool]:
        """For each step but FROM, whether it came from the cache."""
        steps = "\n".join(self.lines).split("\nStep ")
        return ["Using cache" in step for step in steps if " : FROM" not in step.split("\n")[0]]


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)
