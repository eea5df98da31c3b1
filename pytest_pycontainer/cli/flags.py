"""Flags of a command line, read as docker reads them: ``-it``, ``-p80:80``, ``--name=x``, ``--rm=false``, ``--``."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class Flag(NamedTuple):
    """One flag. Without ``value``, the word for it in the help, it is a switch. ``several`` may be given."""

    name: str
    meaning: str
    short: str = ""
    value: str = ""
    several: bool = False
    default: str = ""

    @property
    def is_number(self) -> bool:
        """Whether its value has to be a whole number."""
        return self.value == "int"


class UsageError(Exception):
    """A command line that means nothing: ``what`` is wrong with it; the command exits with ``exit_code``."""

    def __init__(self, what: str, exit_code: int = 125, *, shows_usage: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.exit_code = exit_code
        self.shows_usage = shows_usage


class Given:
    """What was given: flags by name, and the other words in their order."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self.arguments: list[str] = []

    def has(self, name: str) -> bool:
        """Whether the flag was given at all."""
        return name in self._values

    def switch(self, name: str, *, default: bool = False) -> bool:
        """Whether the switch is on."""
        given = self._values.get(name)
        return default if given is None else given[-1] in _TRUE

    def text(self, name: str) -> str | None:
        """The flag's value; the last, if it was given several times; None if it was not given."""
        given = self._values.get(name)
        return None if given is None else given[-1]

    def texts(self, name: str) -> list[str]:
        """All values of the flag, in their order."""
        return self._values.get(name, [])

    def number(self, name: str) -> int | None:
        """The flag's whole number; None if it was not given."""
        given = self.text(name)
        return None if given is None else int(given)

    def add(self, flag: Flag, value: str, shown: str) -> None:
        """Takes a flag's value, as ``shown``. Raises UsageError for one that it can't have."""
        if not flag.value and value not in _TRUE | _FALSE:
            raise UsageError(f'invalid argument "{value}" for "{shown}" flag: true or false is wanted')
        if flag.is_number:
            try:
                int(value)
            except ValueError:
                raise UsageError(f'invalid argument "{value}" for "{shown}" flag: a whole number is wanted') from None
        self._values.setdefault(flag.name, []).append(value)


def parse(flags: tuple[Flag, ...], words: list[str], *, options_first: bool = False) -> Given:
    """Reads a command's words. With ``options_first`` all from the first that is no flag on are arguments.

    Raises UsageError.
    """
    return _Parser(flags, words).parse(options_first=options_first)


class _Parser:
    def __init__(self, flags: tuple[Flag, ...], words: list[str]) -> None:
        self._long = {flag.name: flag for flag in flags}
        self._short = {flag.short: flag for flag in flags if flag.short}
        self._rest = list(reversed(words))
        self._given = Given()

    def parse(self, *, options_first: bool) -> Given:
        while self._rest:
            word = self._rest.pop()
            if word == "--":
                break
            if word.startswith("--"):
                self._take_long(word)
            elif word.startswith("-") and word != "-":
                self._take_short(word)
            else:
                self._given.arguments.append(word)
                if options_first:
                    break
        self._given.arguments += reversed(self._rest)
        return self._given

    def _take_long(self, word: str) -> None:
        name, equals, value = word.removeprefix("--").partition("=")
        flag = self._long.get(name)
        if flag is None:
            self._fail_unknown(name)
        shown = f"-{flag.short}, --{flag.name}" if flag.short else f"--{flag.name}"
        if not equals:
            value = self._value_of(flag, f"--{name}")
        self._given.add(flag, value, shown)

    def _take_short(self, word: str) -> None:
        letters = word[1:]
        while letters:
            flag = self._short.get(letters[0])
            if flag is None:
                raise UsageError(f"unknown shorthand flag: '{letters[0]}' in {word}")
            letters = letters[1:]
            shown = f"-{flag.short}, --{flag.name}"
            if letters.startswith("="):
                self._given.add(flag, letters[1:], shown)
                return
            if flag.value:
                value = letters or self._value_of(flag, f"'{flag.short}' in {word}")
                self._given.add(flag, value, shown)
                return
            self._given.add(flag, "true", shown)

    def _value_of(self, flag: Flag, shown: str) -> str:
        if not flag.value:
            return "true"
        if not self._rest:
            raise UsageError(f"flag needs an argument: {shown}")
        return self._rest.pop()

    def _fail_unknown(self, name: str) -> NoReturn:
        from difflib import get_close_matches

        near = get_close_matches(name, self._long, 1)
        hint = f" (did you mean --{near[0]}?)" if near else ""
        raise UsageError(f"unknown flag: --{name}{hint}")
