"""Columns of text, as docker lays them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SMALLEST = 10
_GAP = 3


def lay_out(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with the cells of each column below each other: ten characters at least, three of them a gap."""
    cells = [[cell.replace("\n", " ") for cell in row] for row in rows]
    count = max(map(len, cells), default=0)
    # The last column is as wide as it comes: nothing stands to the right of it.
    widths = [max(_SMALLEST, *(len(row[i]) + _GAP for row in cells if len(row) > i + 1)) for i in range(count - 1)]
    return [
        "".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), *row[len(widths) :]])
        for row in cells
    ]
