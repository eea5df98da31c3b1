"""What a container has made of its image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.engine.container_mounts import own_volumes
from pytest_pycontainer.engine.handle import ContainerHandle
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.runtime.spec import VolumeMount

if TYPE_CHECKING:
    from pytest_pycontainer.store.changes import Change


class ContainerChanges(ContainerHandle):
    """The part of ``Container`` that tells, archives and commits its file system."""

    def export(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes its whole root file system, as it is now, as one plain tar archive, as ``docker export`` does.

        Running, exited or not yet started; ``file`` is a path, or anything to write bytes to. What is mounted in it is
        left out: /proc, /sys and /dev are empty directories, /etc/hosts, /etc/hostname and /etc/resolv.conf empty
        files. A file that is written to meanwhile is as long as it was when its turn came. Raises ImageNotPortableError
        for the host image and what stands on it, and StoreError.
        """
        from pytest_pycontainer.engine.exporting import export_root

        with self._lock:  # its files must not be removed meanwhile
            self._require_present()
            export_root(self.image, self.upper, file, self._resources.call)

    @property
    def written_bytes(self) -> int:
        """The bytes on disk that what it wrote takes, volumes apart. Raises StoreError."""
        from pytest_pycontainer.store.sizes import size_on_disk

        self._require_present()
        return self._resources.call(size_on_disk, self.upper)

    def diff(self) -> list[Change]:
        """What it has added (``A``), changed (``C``) or deleted (``D``), sorted by path, as ``docker diff`` tells.

        What is mounted in it is left out, with the places that were made for it. Raises StoreError.
        """
        from pytest_pycontainer.engine.committing import changes_of

        with self._lock:
            self._require_present()
            return changes_of(self._resources.store, self._spec, self.upper)

    def commit(
        self,
        tag: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
        volumes: bool = False,
    ) -> Image:
        """Makes an image of what it has written, with its command, environment, user, directory and labels.

        ``changes`` are Dockerfile instructions for the config, as ``docker commit -c`` takes them. What is in volumes
        is no part of it; with ``volumes``, what is in the container's own is (an image's, and others without a name),
        and the image has it as files, and no volumes there. A running container is paused meanwhile, unless not to
        ``pause``: then half of what it is writing may be in the image. Raises DockerfileError, InvalidReferenceError,
        and StoreError.
        """
        from pytest_pycontainer.engine.committing import commit

        if isinstance(changes, str):
            raise InvalidSpecError("changes", changes, "a list of Dockerfile instructions")
        with self._lock:
            self._require_present()
            self._await_root_if_waiting()
            with self._frozen() if pause else nullcontext():
                return commit(
                    self._resources.store,
                    replace(self.image.config, labels=self.labels),
                    self._spec,
                    self.upper,
                    volumes=self._own_volumes() if volumes else (),
                    tag=tag,
                    changes=changes,
                    message=message,
                    author=author,
                )

    def _own_volumes(self) -> list[VolumeMount]:
        place = own_volumes(self._directory)
        mounts = (one for one in self._spec.mounts if isinstance(one, VolumeMount))
        return [one for one in mounts if Path(one.directory).parent == place]

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """What runs stands still for the length of a block; what is paused stays so."""
        if self.status != "running":
            yield
            return
        self._freeze()
        try:
            yield
        finally:
            self._thaw()
