"""What the store takes on disk: images, containers, volumes, build cache, as ``docker system df`` has it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.container_mounts import own_volumes
from pytest_pycontainer.store.cache import BuildCache
from pytest_pycontainer.store.cache_mounts import CacheMounts
from pytest_pycontainer.store.catalog import Catalog
from pytest_pycontainer.store.downloads import Downloads
from pytest_pycontainer.store.sizes import LayerSizes, size_on_disk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_pycontainer.engine.records import ContainerRecord
    from pytest_pycontainer.store.catalog import ListedImage
    from pytest_pycontainer.store.store import Store
    from pytest_pycontainer.store.volumes import StoredVolume


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """Images that have names or that containers use: how many, how many of them containers use, and their bytes.

    ``reclaimable_bytes`` are those of layers that none of the used ones needs.
    """

    count: int
    in_use: int
    bytes: int
    reclaimable_bytes: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """Containers of all processes: how many, how many of them run, and the bytes of what they wrote."""

    count: int
    running: int
    bytes: int


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    """Volumes of all processes, those that containers have of their own too: how many, how many of them containers use.

    ``reclaimable_bytes`` are those of the unused ones, which stay until somebody removes them.
    """

    count: int
    in_use: int
    bytes: int
    reclaimable_bytes: int


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """What builds and pulls have recorded, and the bytes of the layers that no image above needs.

    Beside these, ``mount_bytes`` are those of what RUN's cache mounts hold, ``download_bytes`` of what ADD downloaded.
    """

    records: int
    bytes: int
    mount_bytes: int = 0
    download_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The bytes on disk, each counted once: layers that images share are among the first that has them."""

    images: ImageUsage
    containers: ContainerUsage
    volumes: VolumeUsage
    build_cache: CacheUsage

    @property
    def total_bytes(self) -> int:
        """All together."""
        cache = self.build_cache
        caches = cache.bytes + cache.mount_bytes + cache.download_bytes
        return self.images.bytes + self.containers.bytes + self.volumes.bytes + caches


def disk_usage(
    store: Store, containers: Iterable[tuple[ContainerRecord, Path]], volumes: Iterable[StoredVolume]
) -> DiskUsage:
    """The usage now, for the ``containers`` that there are, with their directories. Raises StoreError."""
    listed = list(containers)
    used_ids = {record.image_id for record, _ in listed}
    sizes = LayerSizes(store)
    with store.in_use():
        catalog = Catalog.read(store)
        images = [image for image in catalog if image.names or image.id in used_ids]
        used = [image for image in images if image.id in used_ids]
        total = sizes.total(_layers(images))
        return DiskUsage(
            ImageUsage(len(images), len(used), total, total - sizes.total(_layers(used))),
            ContainerUsage(
                len(listed),
                sum(_is_running(directory) for _, directory in listed),
                sum(
                    store.call(size_on_disk, directory / "upper")
                    for _, directory in listed
                    if (directory / "upper").is_dir()
                ),
            ),
            _volume_usage(store, listed, volumes),
            CacheUsage(
                BuildCache(store).count(),
                sizes.total(_layers(catalog)) - total,
                sum(store.call(size_on_disk, cache.directory) for cache in CacheMounts(store).listed()),
                sum(download.bytes for download in Downloads(store).listed()),
            ),
        )


def _is_running(directory: Path) -> bool:
    try:
        with closing(MonitorConnection.connect(directory)) as monitor:
            return monitor.state.status == "running"
    except OSError:
        return False  # it has gone in this moment


def _volume_usage(
    store: Store, containers: list[tuple[ContainerRecord, Path]], volumes: Iterable[StoredVolume]
) -> VolumeUsage:
    used_names = {name for record, _ in containers for name in record.volumes}
    used: list[Path] = []
    unused: list[Path] = []
    for volume in volumes:
        (used if volume.name in used_names else unused).append(volume.directory)
    for _, directory in containers:
        used += own_volumes(directory).glob("*")
    reclaimable, rest = (sum(store.call(size_on_disk, directory) for directory in some) for some in (unused, used))
    return VolumeUsage(len(used) + len(unused), len(used), rest + reclaimable, reclaimable)


def _layers(images: Iterable[ListedImage]) -> dict[str, None]:
    return dict.fromkeys(diff_id for image in images for diff_id in image.config.diff_ids)
