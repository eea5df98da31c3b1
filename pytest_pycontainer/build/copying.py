"""COPY worked out: which sources, to where, for whom."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from typing import TYPE_CHECKING

from pytest_pycontainer.build.context import BuildContext
from pytest_pycontainer.build.instructions import Word
from pytest_pycontainer.build.metadata import absolute
from pytest_pycontainer.build.patterns import has_wildcards
from pytest_pycontainer.build.steps import Base, CopySource, CopyStep, SourceMissing
from pytest_pycontainer.errors import CopySourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_pycontainer.build.instructions import Copy

_MODE = re.compile(r"[0-7]{1,4}")


def plan_copy(
    instruction: Copy, root: BuildContext | Base, expand: Callable[[Word], str], working_directory: str
) -> tuple[CopyStep, str]:
    """The step that a COPY comes to, and a digest of what it reads, as Docker shows it: ``file:…``, ``dir:…`` …

    For another stage the digest covers the names alone; what they hold there is that stage's business. Raises
    CopySourceNotFoundError and DockerfileError at the word that is wrong.
    """
    line = instruction.line
    sources: list[CopySource] = []
    for word in instruction.sources:
        if not isinstance(word, Word):
            raise line.error(word.offset, "this version of pytest-pycontainer does not know here-documents yet")
        source = expand(word)
        if isinstance(root, Base):
            path = absolute("/", source).lstrip("/")
            sources.append(CopySource(path, pattern=has_wildcards(path)))
            continue
        try:
            sources += root.select(source)
        except SourceMissing as missing:
            raise line.error(word.offset, missing.problem, CopySourceNotFoundError) from None
    destination = _destination(expand(instruction.destination), working_directory)
    if len(sources) > 1 and not destination.endswith("/"):
        raise line.error(instruction.destination.offset, "with more than one source, the destination must end with /")
    step = CopyStep(
        root=root if isinstance(root, Base) else root.root,
        sources=tuple(sources),
        destination=destination,
        owner=expand(instruction.owner) if instruction.owner else "",
        mode=_mode(instruction, expand),
    )
    return step, _digest(instruction, step, root)


def _destination(path: str, working_directory: str) -> str:
    is_directory = posixpath.basename(path) in ("", ".", "..")
    path = absolute(working_directory, path)
    return f"{path}/" if is_directory and path != "/" else path


def _mode(instruction: Copy, expand: Callable[[Word], str]) -> int | None:
    if instruction.mode is None:
        return None
    text = expand(instruction.mode)
    if not _MODE.fullmatch(text):
        raise instruction.line.error(instruction.mode.offset, f"{text} is no mode; wanted octal digits such as 755")
    return int(text, 8)


def _digest(instruction: Copy, step: CopyStep, root: BuildContext | Base) -> str:
    if isinstance(root, Base):
        names = json.dumps([source.path for source in step.sources])
        digest = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    else:
        try:
            digest = root.fingerprint(step.sources)
        except SourceMissing as missing:
            offset = instruction.sources[0].offset
            raise instruction.line.error(offset, missing.problem, CopySourceNotFoundError) from None
    if len(step.sources) > 1:
        return f"multi:{digest}"
    return f"{'file' if step.sources[0].entries is None else 'dir'}:{digest}"
