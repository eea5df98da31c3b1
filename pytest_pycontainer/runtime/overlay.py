"""Overlays (Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

import os

from pytest_pycontainer.kernel import mount

_OPTIONS = "redirect_dir=off,metacopy=off,index=off"
_UNTRUSTED = "userxattr,index=off"  # which excludes the other two, and is refused beside them


def mount_overlay(
    layers: list[str], upper: str | None, work: str | None, target: str, *, empty: str = "", trusted: bool = True
) -> None:
    """Mounts ``layers``, topmost first, on ``target``, with ``upper`` for what is written. Raises OSError.

    ``empty`` is a layer with nothing in it. Not ``trusted`` is it in a user namespace, where nobody may write the
    attributes in which the kernel would keep its notes: it keeps them in attributes of users then (Linux 5.11). Layers
    are named to the kernel through descriptors: mount options hold one page, and their syntax has no quoting.
    """
    if upper is None and len(layers) == 1:
        layers = [*layers, empty]  # without an upper directory the kernel wants two layers
    opened: list[int] = []

    def through_descriptor(path: str) -> str:
        opened.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return f"/proc/self/fd/{opened[-1]}"

    try:
        options = _OPTIONS if trusted else _UNTRUSTED
        options += f",lowerdir={':'.join(map(through_descriptor, layers))}"
        if upper is not None and work is not None:
            # volatile: nothing is synced when the container goes; what is to be kept is synced when it is committed.
            options += f",upperdir={through_descriptor(upper)},workdir={through_descriptor(work)},volatile"
        mount.mount("overlay", target, "overlay", 0, options)
    finally:
        for descriptor in opened:
            os.close(descriptor)
