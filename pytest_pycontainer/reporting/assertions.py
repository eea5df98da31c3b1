"""What a failing assert says of our values, where pytest's own words would not do."""

from __future__ import annotations

from pytest_pycontainer.engine.file_status import FileMode


def explain_comparison(operator: str, left: object, right: object) -> list[str] | None:
    """The lines for a comparison that failed; None leaves it to pytest."""
    # The other side is a plain number, which would be shown as a decimal one.
    if isinstance(left, FileMode) and isinstance(right, int):
        return [f"{left!r} {operator} {FileMode(right)!r}"]
    if isinstance(right, FileMode) and isinstance(left, int):
        return [f"{FileMode(left)!r} {operator} {right!r}"]
    return None
