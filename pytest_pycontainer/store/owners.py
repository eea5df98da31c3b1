"""Whose an archive's entries become: where not all users are to be had, as in an ordinary user's user namespace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_pycontainer.kernel.own_ids import OwnIds
from pytest_pycontainer.store.entries import invalid

if TYPE_CHECKING:
    from pytest_pycontainer.store import tar

_UNCHANGED = -1
_TRUSTED_OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"
_UNTRUSTED_OPAQUE_ATTRIBUTE = "user.overlay.opaque"


class Owners:
    """The users that this process can give files to."""

    def __init__(self) -> None:
        self._ids = OwnIds.read()
        self._is_root = os.geteuid() == 0

    def of(self, entry: tar.Entry) -> tuple[int, int]:
        """The user and group that the entry is to belong to: root where there is nobody else, -1 where it stays ours.

        Raises LayerInvalidError for one that is not among those that there are.
        """
        ids = self._ids
        if not self._is_root:
            return _UNCHANGED, _UNCHANGED
        try:
            return ids.owner(entry.uid, entry.gid)
        except OSError as error:
            raise invalid(entry.name, f"its {error.strerror}") from error

    @property
    def may_make_devices(self) -> bool:
        return self._is_root and self._ids.are_all

    @property
    def opaque_attribute(self) -> str:
        """What overlayfs takes for a directory's note that it hides the ones below."""
        return _TRUSTED_OPAQUE_ATTRIBUTE if self._ids.are_all else _UNTRUSTED_OPAQUE_ATTRIBUTE
