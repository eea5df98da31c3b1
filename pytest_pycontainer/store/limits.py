"""What a layer may be at most. Apart from what enforces it, which most runs do not import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerLimits:
    """What a layer may be at most: else it is refused, as it could fill the disk, which may be its purpose.

    ``size`` is in bytes, uncompressed; ``ratio`` is that size for each compressed byte, looked at only beyond the first
    ``free`` bytes: a page of zeros compresses a thousandfold.
    """

    entries: int = 4_000_000
    size: int = 256 << 30
    ratio: int = 400
    free: int = 1 << 30
