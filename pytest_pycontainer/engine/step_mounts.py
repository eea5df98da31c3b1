"""A build step's mounts: what they show is made ready for the container, and let go of after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from pytest_pycontainer.build import steps
from pytest_pycontainer.engine.agent_socket import AgentSocket
from pytest_pycontainer.engine.prepared import make_upper, new_id, read_only_root, writable_root
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.errors import StoreError
from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.runtime import spec
from pytest_pycontainer.store.cache_mounts import CacheMounts

Copy = Callable[[spec.Rootfs, steps.CopyStep], None]
"""Carries out a copy into a root."""

_CONTENT = "/content"


@contextmanager
def open_mounts(
    resources: Resources, mounts: tuple[steps.Mount, ...], copy: Copy, check: Callable[[], None]
) -> Iterator[tuple[spec.Mount, ...]]:
    """The mounts as the runtime takes them, for a container that ends before the block does.

    Copies, lost writes and sockets lie in a directory of the records: it is swept if this process is killed. Caches are
    held by locks, those of one step in the order of their keys; who waits for one gives up when ``check`` raises.
    """
    if not mounts:
        yield ()
        return
    with ExitStack() as opened:
        reservation = resources.records.reserve(new_id(), ())
        opened.callback(resources.records.remove, reservation)
        opener = _Opener(resources, copy, check, opened)
        ready: dict[int, spec.Mount] = {}
        for number, mount in sorted(enumerate(mounts), key=_lock_order):
            directory = reservation.directory / str(number)
            directory.mkdir(0o700)
            ready[number] = opener.open(mount, directory)
        yield tuple(ready[number] for number in range(len(mounts)))


def _lock_order(numbered: tuple[int, steps.Mount]) -> tuple[str, int]:
    number, mount = numbered
    return (mount.key if isinstance(mount, steps.CacheMount) else "", number)


class _Opener:
    def __init__(self, resources: Resources, copy: Copy, check: Callable[[], None], opened: ExitStack) -> None:
        self._resources = resources
        self._copy = copy
        self._check = check
        self._opened = opened

    def open(self, mount: steps.Mount, directory: Path) -> spec.Mount:
        """``directory`` is empty, and the mount's."""
        match mount:
            case steps.TmpfsMount():
                return spec.TmpfsMount(mount.target, mount.size, read_only=mount.read_only)
            case steps.FileMount():
                return spec.FileMount(mount.target, mount.content, mount.mode, mount.uid, mount.gid)
            case steps.CacheMount():
                caches = CacheMounts(self._resources.store)
                fill = partial(self._fill, mount, directory)
                held = caches.hold(mount.key, fill, sharing=mount.sharing, check=self._check)
                content = self._opened.enter_context(held)
                return spec.BindMount(str(content), mount.target, mount.read_only)
            case steps.AgentMount():
                return self._open_agent(mount, directory)
            case steps.BindMount(root=steps.Base() as base):
                return self._open_stage(mount, base, directory)
            case steps.BindMount():
                return self._open_copy(mount, directory)

    def _open_agent(self, mount: steps.AgentMount, directory: Path) -> spec.Mount:
        try:
            agent = self._opened.enter_context(closing(AgentSocket(directory, mount.socket)))
            self._give(agent.path, mount)
        except OSError as error:
            raise StoreError("make a socket in", str(directory), str(error)) from error
        return spec.BindMount(str(agent.path), mount.target)

    def _open_stage(self, mount: steps.BindMount, base: steps.Base, directory: Path) -> spec.Mount:
        if mount.read_only:
            root = read_only_root(base.layers, base.host)
        else:
            make_upper(directory)
            root = writable_root(base.layers, base.host, directory)
        return spec.RootMount(root, mount.source.path or "/", mount.target, mount.read_only)

    def _open_copy(self, mount: steps.BindMount, directory: Path) -> spec.Mount:
        # A copy, as BuildKit's is: .dockerignore holds, everything is root's, and nobody can write to the original.
        make_upper(directory)
        step = steps.CopyStep(mount.root, (mount.source,), _CONTENT, owner="", mode=None)
        self._copy(writable_root((), False, directory), step)
        return spec.BindMount(f"{directory}/upper{_CONTENT}", mount.target, mount.read_only)

    def _fill(self, mount: steps.CacheMount, directory: Path, content: Path) -> None:
        if mount.root is None:
            content.mkdir()
            self._give(content, mount)
            return
        make_upper(directory)
        step = steps.CopyStep(mount.root, (steps.CopySource(mount.source.strip("/")),), "/", owner="", mode=None)
        self._copy(writable_root((), False, directory), step)
        (directory / "upper").rename(content)
        if not mount.source.strip("/"):
            self._give(content, mount)

    def _give(self, path: Path, mount: steps.CacheMount | steps.AgentMount) -> None:
        self._resources.call(_give, str(path), mount.uid, mount.gid, mount.mode)


def _give(path: str, uid: int, gid: int, mode: int) -> None:
    os.chown(path, *OwnIds.read().owner(uid, gid))
    os.chmod(path, mode)  # noqa: PTH101
