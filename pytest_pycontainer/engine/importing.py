"""A plain root file system made an image, as ``docker import`` does."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.metadata import absolute, change_config
from pytest_pycontainer.image.config import History, ImageConfig
from pytest_pycontainer.store.import_layer import import_layer
from pytest_pycontainer.store.store import Store, StoredImage, parse_new_tag

if TYPE_CHECKING:
    from pytest_pycontainer.image.platform import Platform

_CHANGES: Final = "changes"
_ALLOWED: Final = (
    *(kinds.Cmd, kinds.Entrypoint, kinds.Env, kinds.Expose, kinds.Healthcheck, kinds.Label),
    *(kinds.OnBuild, kinds.StopSignal, kinds.User, kinds.Volume, kinds.Workdir),
)


def import_image(
    store: Store,
    source: str | os.PathLike[str] | BinaryIO,
    *,
    tag: str | None = None,
    changes: Iterable[str] = (),
    message: str = "",
    platform: Platform | None = None,
) -> StoredImage:
    """Stores the image of a root file system under ``tag``; ``changes`` are Dockerfile instructions for its config.

    Raises DockerfileError for a change that is none, InvalidReferenceError, and what ``import_layer`` raises.
    """
    name = None if tag is None else parse_new_tag(tag)
    config = changed(ImageConfig.scratch(platform), changes)  # before anything is stored
    with store.in_use():
        layer = import_layer(store, source)
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        where = os.fspath(source) if isinstance(source, str | os.PathLike) else "-"
        history = History(created=now, comment=message or f"Imported from {where}")
        config = replace(config, created=now, diff_ids=(layer,), history=(history,))
        image_id = store.put_image(config)
        if name is not None:
            store.tag(image_id, str(name))
    return StoredImage(image_id, config)


def changed(config: ImageConfig, changes: Iterable[str]) -> ImageConfig:
    """``config`` with Dockerfile instructions applied: those that docker import and docker commit take.

    As there, a WORKDIR makes no directory, and an ENTRYPOINT leaves the command as it is. Raises DockerfileError.
    """
    for number, text in enumerate(changes, start=1):
        for instruction in parse(text, f"{_CHANGES}[{number}]"):
            if not isinstance(instruction, _ALLOWED):
                known = ", ".join(kind.__name__.upper() for kind in _ALLOWED)
                raise instruction.line.error(0, f"this instruction changes no image's config; wanted one of {known}")
            if isinstance(instruction, kinds.Workdir):
                directory = absolute(config.working_directory, instruction.path.text)
                config = replace(config, working_directory=directory)
                continue
            variables = dict(entry.partition("=")[::2] for entry in config.env)
            config = change_config(instruction, config, variables, has_own_command=True).config
    return config
