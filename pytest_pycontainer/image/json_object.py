"""A JSON object being read, key by key, with errors that name the key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_pycontainer.errors import PycontainerError

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object; ``place`` names it in errors, which ``error`` makes of a problem's text.

    A key that is null counts as absent, as in Go.
    """

    values: Mapping[str, object]
    place: str
    error: Callable[[str], PycontainerError]

    @classmethod
    def parse(cls, content: bytes, error: Callable[[str], PycontainerError]) -> JsonObject:
        """The object that ``content`` is the text of."""
        try:
            whole = json.loads(content)
        except (ValueError, RecursionError) as problem:
            raise error(f"it is not JSON: {problem}") from None
        if not isinstance(whole, dict):
            raise error("it is not a JSON object")
        return cls(whole, "", error)

    def get(self, key: str, kind: type[_Value], wanted: str) -> _Value | None:
        value = self.values.get(key)
        if value is None or isinstance(value, kind):
            return value
        raise self.problem(key, wanted)

    def text(self, key: str) -> str | None:
        return self.get(key, str, "a string")

    def texts(self, key: str) -> tuple[str, ...] | None:
        found = self.get(key, list, "an array of strings")
        if found is None:
            return None
        if not all(isinstance(item, str) for item in found):
            raise self.problem(key, "an array of strings")
        return tuple(found)

    def text_values(self) -> dict[str, str]:
        return {key: self.text(key) or "" for key in self.values}

    def object(self, key: str) -> JsonObject:
        return JsonObject(self.get(key, dict, "an object") or {}, f"{self.place}{key}.", self.error)

    def objects(self, key: str) -> list[JsonObject]:
        found = self.get(key, list, "an array of objects") or []
        if not all(isinstance(item, dict) for item in found):
            raise self.problem(key, "an array of objects")
        return [JsonObject(item, f"{self.place}{key}[{index}].", self.error) for index, item in enumerate(found)]

    def problem(self, key: str, wanted: str) -> PycontainerError:
        """The error of a ``key`` that does not hold what is ``wanted``."""
        return self.error(f"{self.place}{key} is {self.values.get(key)!r:.80}; wanted {wanted}")
