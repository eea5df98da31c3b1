"""The keys that leave a container's terminal while the container goes on."""

from __future__ import annotations

from pytest_pycontainer.cli.flags import Flag, UsageError

DEFAULT = "ctrl-p,ctrl-q"
DETACH_KEYS = Flag("detach-keys", "Keys that leave it, such as ctrl-p,ctrl-q", value="string", default=DEFAULT)


class DetachKeys:
    """Looks for a sequence of keys in what is typed, until that is ``complete``.

    Raises UsageError for text that names none.
    """

    def __init__(self, text: str = DEFAULT) -> None:
        self._sequence = bytes(_key(text, name) for name in text.split(",")) if text else b""
        self._matched = 0
        self.complete = False

    def filter(self, typed: bytes) -> bytes:
        """What of it is for the container; what might begin the sequence is held back."""
        if not self._sequence:
            return typed
        passed = bytearray()
        for key in typed:
            if key == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    self.complete = True
                    break
                continue
            passed += self._sequence[: self._matched]
            self._matched = int(key == self._sequence[0])
            if not self._matched:
                passed.append(key)
        return bytes(passed)


def _key(text: str, name: str) -> int:
    if len(name) == 1 and name.isascii():
        return ord(name)
    letter = name.removeprefix("ctrl-")
    if letter != name and len(letter) == 1 and letter in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
        return ord(letter.upper()) & 0x1F
    raise UsageError(f"invalid detach keys '{text}': wanted are characters or ctrl-LETTER, with commas between")
