"""A layer on its way in whose files belong to users of whom another process is root."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from pytest_pycontainer.store.calling import Caller, CallInThread
from pytest_pycontainer.store.layers import LayerWriter, check_media_type

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from pytest_pycontainer.store.limits import LayerLimits

_FRAME = struct.Struct("=c?I")  # kind, whether something is expected, length
_DATA, _COMMIT = b"D", b"C"


class DelegatedLayerWriter:
    """As LayerWriter, with one of those in another process, which is fed through a socket."""

    def __init__(
        self,
        call: Caller,
        layers: Path,
        recipes: Path,
        temporary: Path,
        media_type: str,
        limits: LayerLimits | None = None,
        *,
        threads: bool = True,
    ) -> None:
        check_media_type(media_type)
        self._call = call
        self._arguments = (layers, recipes, temporary, media_type, limits, threads)

    def __enter__(self) -> DelegatedLayerWriter:
        self._socket, theirs = socket.socketpair()
        self._writing = CallInThread(self._call, _write_from, *self._arguments, descriptors=[theirs.detach()])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        self._writing.wait()  # what it has raised, ``write`` and ``commit`` tell

    def write(self, data: bytes) -> None:
        """As LayerWriter's."""
        self._send(_DATA, data)

    def commit(self, expected_diff_id: str | None = None) -> str:
        """As LayerWriter's."""
        self._send(_COMMIT, (expected_diff_id or "").encode(), expects=expected_diff_id is not None)
        diff_id = self._writing.result()
        assert isinstance(diff_id, str)
        return diff_id

    def _send(self, kind: bytes, data: bytes, *, expects: bool = False) -> None:
        try:
            self._socket.sendall(_FRAME.pack(kind, expects, len(data)))
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._writing.result()  # raises why
            raise


def _write_from(
    layers: Path,
    recipes: Path,
    temporary: Path,
    media_type: str,
    limits: LayerLimits | None,
    threads: bool,
    descriptor: int,
) -> str | None:
    """The diff ID of the layer that comes in; None if its sender does not want it any more."""
    with (
        socket.socket(fileno=descriptor) as source,
        source.makefile("rb") as frames,
        LayerWriter(layers, recipes, temporary, media_type, limits, threads=threads) as layer,
    ):
        while len(header := frames.read(_FRAME.size)) == _FRAME.size:
            kind, expects, length = _FRAME.unpack(header)
            data = frames.read(length)
            if len(data) < length:
                break
            if kind == _COMMIT:
                return layer.commit(data.decode() if expects else None)
            layer.write(data)
    return None
