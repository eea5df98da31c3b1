"""What a container has changed: told, and made an image, as ``docker diff`` and ``docker commit`` do."""

from __future__ import annotations

import errno
import os
import posixpath
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.importing import changed
from pytest_pycontainer.image import digest as digests
from pytest_pycontainer.image.config import DEFAULT_PATH, History, ImageConfig
from pytest_pycontainer.image.manifest import OCI_LAYER
from pytest_pycontainer.kernel import mount
from pytest_pycontainer.runtime.mount_points import unchanged_mount_points
from pytest_pycontainer.runtime.spec import ContainerSpec, VolumeMount
from pytest_pycontainer.runtime.volumes import content_of
from pytest_pycontainer.store.calling import Write, write_through
from pytest_pycontainer.store.changes import Change, find_changes
from pytest_pycontainer.store.diff import write_directory_layer, write_layer
from pytest_pycontainer.store.files import storing
from pytest_pycontainer.store.store import Store, parse_new_tag

# Kept by a build for its own chain of steps, which ends where a commit begins.
_CACHE_KEYS = "io.pycontainer.cache"


def changes_of(store: Store, spec: ContainerSpec, upper: Path) -> list[Change]:
    """What the container has changed in its image. Raises StoreError."""
    with storing("compare", upper):
        return store.call(_find_changes, upper, _lower_directories(spec))


def _find_changes(upper: Path, layers: Sequence[Path]) -> list[Change]:
    return find_changes(upper, layers, unchanged_mount_points(upper))


def commit(
    store: Store,
    base: ImageConfig,
    spec: ContainerSpec,
    upper: Path,
    *,
    volumes: Iterable[VolumeMount] = (),
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
    volumes = sorted(volumes, key=lambda one: _normal(one.target).count("/"))
    with store.in_use():
        diff_ids = [_store_layer(store, upper, partial(_write_upper, upper))]
        roots = [("", directory) for directory in (upper, *_lower_directories(spec))]
        for one in volumes:
            content, target = Path(content_of(one.directory)), _normal(one.target).lstrip("/")
            diff_ids.append(_store_layer(store, content, partial(_write_volume, content, target, tuple(roots))))
            roots.insert(0, (target + "/", content))
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        command = shlex.join(spec.process.command)
        history = (
            History(now, command, author or None, message or None, diff_id == digests.EMPTY_LAYER)
            for diff_id in diff_ids
        )
        taken = {_normal(one.target) for one in volumes}
        config = replace(
            config,
            created=now,
            author=author or config.author,
            diff_ids=(*config.diff_ids, *(diff_id for diff_id in diff_ids if diff_id != digests.EMPTY_LAYER)),
            history=(*config.history, *history),
            volumes=tuple(path for path in config.volumes if _normal(path) not in taken),
            other={key: value for key, value in config.other.items() if key != _CACHE_KEYS},
        )
        image_id = store.put_image(config)
        if name is not None:
            store.tag(image_id, str(name))
    return Image(image_id, tag or image_id, config, store)


def _lower_directories(spec: ContainerSpec) -> list[Path]:
    """What its root is made of, topmost first."""
    layers = [Path(layer) for layer in spec.rootfs.layers]
    return [*layers, Path("/")] if spec.rootfs.host else layers


def _store_layer(store: Store, source: Path, archive: Callable[[Write], None]) -> str:
    with store.layer_writer(OCI_LAYER) as layer, storing("store the layer", source):
        write_through(store.call, archive, lambda piece: layer.write(bytes(piece)))
        return layer.commit()


def _write_upper(upper: Path, write: Write) -> None:
    write_layer(upper, write, unchanged_mount_points(upper))


def _write_volume(content: Path, target: str, roots: Sequence[tuple[str, Path]], write: Write) -> None:
    leading = ["/".join(target.split("/")[:count]) for count in range(1, target.count("/") + 1)]
    parents = {path: _directory_status(roots, path) for path in leading}
    write_directory_layer(content, target, write, parents)


def _directory_status(roots: Iterable[tuple[str, Path]], path: str) -> os.stat_result:
    """What is said of the directory ``path`` by the first of ``roots`` that has it; no link is followed.

    Each of these begins at a path.
    """
    for begin, root in roots:
        if not f"{path}/".startswith(begin):
            continue
        with ExitStack() as opened:
            top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, top)
            try:
                relative = path.removeprefix(begin.rstrip("/")).lstrip("/") or "."
                found = mount.open_in_root(top, relative, os.O_PATH | os.O_DIRECTORY, follow=False)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                continue
            opened.callback(os.close, found)
            return os.fstat(found)
    return root.stat()  # it was made for the mount alone, or a link leads there


def _normal(path: str) -> str:
    return posixpath.normpath(posixpath.join("/", path))


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
