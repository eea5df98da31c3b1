"""What a container has changed: told, and made an image, as ``docker diff`` and ``docker commit`` do."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.importing import changed
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import DEFAULT_PATH, History, ImageConfig
from pytest_pycontainer.image.manifest import OCI_LAYER
from pytest_pycontainer.runtime.mount_points import unchanged_mount_points
from pytest_pycontainer.runtime.spec import ContainerSpec
from pytest_pycontainer.store.changes import Change, find_changes
from pytest_pycontainer.store.diff import write_layer
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.store import Store, parse_new_tag

# Kept by a build for its own chain of steps, which ends where a commit begins.
_CACHE_KEYS = "io.pycontainer.cache"


def changes_of(spec: ContainerSpec, upper: Path) -> list[Change]:
    """What the container has changed in its image. Raises StoreError."""
    layers = [Path(layer) for layer in spec.rootfs.layers]
    if spec.rootfs.host:
        layers.append(Path("/"))
    with storing("compare", upper):
        return find_changes(upper, layers, unchanged_mount_points(upper))


def commit(
    store: Store,
    base: ImageConfig,
    spec: ContainerSpec,
    upper: Path,
    *,
    tag: str | None,
    changes: Iterable[str],
    message: str,
    author: str,
) -> Image:
    """Stores an image of what is in ``upper``, which nobody writes to, on the layers of ``base``.

    Raises DockerfileError for a change that is none, InvalidReferenceError, and StoreError.
    """
    name = None if tag is None else parse_new_tag(tag)
    config = changed(_config(base, spec), changes)  # before anything is stored
    with store.in_use():
        with store.layer_writer(OCI_LAYER) as layer, storing("store the layer", upper):
            write_layer(upper, lambda piece: layer.write(bytes(piece)), unchanged_mount_points(upper))
            diff_id = layer.commit()
        is_empty = diff_id == digests.EMPTY_LAYER
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        history = History(now, shlex.join(spec.process.command), author or None, message or None, is_empty)
        config = replace(
            config,
            created=now,
            author=author or config.author,
            diff_ids=config.diff_ids if is_empty else (*config.diff_ids, diff_id),
            history=(*config.history, history),
            other={key: value for key, value in config.other.items() if key != _CACHE_KEYS},
        )
        image_id = store.put_image(config)
        if name is not None:
            store.tag(image_id, str(name))
    return Image(image_id, tag or image_id, config, store)


def _config(config: ImageConfig, spec: ContainerSpec) -> ImageConfig:
    """The image's config with what the container was run with."""
    process = spec.process
    entrypoint = config.entrypoint or ()
    if process.command[: len(entrypoint)] != entrypoint:
        entrypoint = ()
    return replace(
        config,
        entrypoint=entrypoint or None,
        cmd=process.command[len(entrypoint) :] or None,
        env=tuple(entry for entry in process.environment if entry in config.env or not _is_ours(entry)),
        user=process.user,
        working_directory=config.working_directory if process.working_directory == "/" else process.working_directory,
    )


def _is_ours(variable: str) -> bool:
    """Whether every container has it without being asked."""
    return variable.startswith("HOSTNAME=") or variable == f"PATH={DEFAULT_PATH}"
