"""From what a caller writes to what a container needs: commands, environments, sizes, signals, ports."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.runtime.spec import RestartPolicy, TerminalSize

Command: TypeAlias = str | Sequence[str]
"""A command line: a sequence of arguments, or one text that is split as a shell splits words (no shell runs it)."""

Environment: TypeAlias = Mapping[str, str] | Iterable[str]
"""Names and values, or ``NAME=value`` texts."""

BOOLEANS: Final = {"": True, "true": True, "1": True, "false": False, "0": False}
"""What a switch says in docker's texts; without a value it is on."""

LONGEST_SECONDS: Final = 2_000_000.0
"""Of a time limit: poll counts milliseconds in 31 bits."""

_HOST_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?")
_HOST_NAME_AT_MOST = 64  # man 2 sethostname
_MOST_BYTES = 2**63 - 1  # as the kernel counts
_MOST_CHARACTERS = 2**16 - 1  # of a terminal's line, man 2 ioctl_tty
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_NAME_AT_MOST = 255  # of a file's name
_OF_A_TEXT = "without NUL characters, as UTF-8 can hold it"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_REAL_TIME = re.compile(r"(?:SIG)?(RTMIN|RTMAX)([+-]\d+)?", re.ASCII)


def check_names(options: Mapping[str, object], known: type) -> None:
    """Raises TypeError, as any call does, for an option that the TypedDict ``known`` does not have."""
    check_known(options, known.__annotations__)


def check_known(names: Iterable[str], known: Collection[str], call: str = "") -> None:
    """Raises TypeError, as ``call`` does, for a name that is not known; it tells the nearest that is."""
    for name in names:
        if name not in known:
            from difflib import get_close_matches

            begin = f"{call} got an unexpected keyword argument {name!r}; ".lstrip()
            longer = sorted((one for one in known if name.startswith(one)), key=len)  # environment, of docker-py
            nearest = (get_close_matches(name, known, 1) or longer)[-1:]
            hint = "".join(f"did you mean {near!r}? " for near in nearest)
            raise TypeError(f"{begin}{hint}known are {', '.join(sorted(known))}")


def parse_command(command: Command | None) -> tuple[str, ...] | None:
    """The arguments of a command line. Raises InvalidSpecError for anything but texts without NUL characters."""
    if command is None:
        return None
    try:
        arguments = tuple(shlex.split(command)) if isinstance(command, str) else tuple(command)
    except (ValueError, TypeError) as error:
        raise InvalidSpecError("command", str(command), f"words as a shell splits them ({error})") from error
    for argument in arguments:
        if not is_text(argument):
            raise InvalidSpecError("command", repr(argument), f"texts {_OF_A_TEXT}")
    return arguments


def parse_environment(environment: Environment | None, field: str = "env") -> dict[str, str]:
    """Names and values. Raises InvalidSpecError for a name that no environment can hold."""
    entries = environment.items() if isinstance(environment, Mapping) else _split_entries(environment, field)
    result: dict[str, str] = {}
    for name, value in entries:
        if not (isinstance(name, str) and isinstance(value, str | int | float) and name) or "=" in name:
            raise InvalidSpecError(field, f"{name}={value}", "a name without '=', and a text or number")
        if not is_text(f"{name}{value}"):
            raise InvalidSpecError(field, f"{name}={value}", f"texts {_OF_A_TEXT}")
        result[name] = str(value)
    return result


def _split_entries(entries: Iterable[str] | None, field: str) -> Iterable[tuple[str, str]]:
    texts = () if entries is None else (entries,) if isinstance(entries, str) and entries else entries
    if not isinstance(texts, Iterable):
        raise InvalidSpecError(field, repr(entries), "names and values, or texts NAME=value")
    for entry in texts:
        name, equals, value = entry.partition("=") if isinstance(entry, str) else ("", "", "")
        if not equals:
            raise InvalidSpecError(field, str(entry), "NAME=value")
        yield name, value


def parse_labels(labels: Environment | None) -> dict[str, str]:
    """Names and values; as a text, a name alone has an empty value. Raises InvalidSpecError."""
    texts = (labels,) if isinstance(labels, str) else labels
    if isinstance(texts, Iterable) and not isinstance(texts, Mapping):
        texts = [f"{text}=" if isinstance(text, str) and "=" not in text else text for text in texts]
    return parse_environment(texts, "labels")


def parse_bytes(field: str, size: int | str | None) -> int | None:
    """Bytes, from a number or docker's text (``512m``, ``1.5g``). Raises InvalidSpecError."""
    wanted = "bytes, or a number with the unit b, k, m, g or t"
    if isinstance(size, str):
        match = _SIZE.fullmatch(size.strip())
        if match is None:
            raise InvalidSpecError(field, size, wanted)
        size = int(min(float(match[1]) * _UNITS[match[2].lower()], 2 * _MOST_BYTES))
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST_BYTES):
        raise InvalidSpecError(field, repr(size), wanted)
    return size


def parse_flag(field: str, flag: bool | None) -> bool:
    """Yes or no; None is no. Raises InvalidSpecError."""
    if flag is not None and not isinstance(flag, bool):
        raise InvalidSpecError(field, repr(flag), "True or False")
    return bool(flag)


def parse_text(field: str, text: str | None) -> str | None:
    """A text that a program can be given. Raises InvalidSpecError."""
    if text is not None and not is_text(text):
        raise InvalidSpecError(field, repr(text), f"a text {_OF_A_TEXT}")
    return text


def is_text(value: object) -> bool:
    """Whether a program or the kernel can be given it."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def parse_user(user: str | int | None) -> str | None:
    """A user as Dockerfile's USER takes it, or a uid. Raises InvalidSpecError."""
    if isinstance(user, bool):
        raise InvalidSpecError("user", repr(user), "a user's name or number")
    return parse_text("user", str(user) if isinstance(user, int) else user)


def parse_working_directory(path: str | None) -> str | None:
    """An absolute path, as docker wants it; None or "" for the image's. Raises InvalidSpecError."""
    if parse_text("workdir", path) and not (path or "").startswith("/"):
        raise InvalidSpecError("workdir", str(path), "an absolute path")
    return path or None


def parse_timeout(timeout: float | None) -> float | None:
    """Seconds; None for no limit, as are more than the kernel counts. Raises InvalidSpecError."""
    seconds = None if timeout is None else parse_seconds(timeout)
    return None if seconds == LONGEST_SECONDS else seconds


def parse_seconds(timeout: float, field: str = "timeout") -> float:
    """Seconds, LONGEST_SECONDS at most. Raises InvalidSpecError."""
    if not isinstance(timeout, int | float) or math.isnan(timeout):
        raise InvalidSpecError(field, repr(timeout), "a number of seconds")
    return min(timeout, LONGEST_SECONDS)


def parse_terminal_size(columns: int, lines: int) -> TerminalSize:
    """A terminal's size in characters. Raises InvalidSpecError."""
    for name, number in (("columns", columns), ("lines", lines)):
        if not isinstance(number, int) or not 0 <= number <= _MOST_CHARACTERS:
            raise InvalidSpecError(name, repr(number), f"a number up to {_MOST_CHARACTERS}")
    return TerminalSize(columns, lines)


def parse_host_name(name: str | None) -> str | None:
    """A host name, perhaps with a domain. Raises InvalidSpecError."""
    if parse_text("hostname", name) and (len(name or "") > _HOST_NAME_AT_MOST or not _HOST_NAME.fullmatch(name or "")):
        raise InvalidSpecError("hostname", str(name), f"{_HOST_NAME_AT_MOST} letters, digits, '-', '_', '.' at most")
    return name or None


def parse_signal(text: int | str) -> int:
    """A signal's number, from that or its name, with or without SIG, ``RTMIN+3`` too. Raises InvalidSpecError."""
    try:
        if isinstance(text, bool):
            raise ValueError(text)
        if isinstance(text, int) or text.isdecimal():
            return _known_signal(int(text))
        name = text.upper()
        if real_time := _REAL_TIME.fullmatch(name):
            return _known_signal(signal.Signals[f"SIG{real_time[1]}"] + int(real_time[2] or 0))
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (AttributeError, KeyError, ValueError) as error:
        raise InvalidSpecError("signal", str(text), "a signal's number, or its name such as SIGTERM or HUP") from error


def _known_signal(number: int) -> int:
    if number not in signal.valid_signals():
        raise ValueError(number)
    return number


def parse_restart(text: str | None) -> RestartPolicy:
    """Docker's ``no``, ``always``, ``unless-stopped`` and ``on-failure[:N]``. Raises InvalidSpecError."""
    name, colon, attempts = (parse_text("restart", text) or "no").partition(":")
    if name == "on-failure" and (attempts.isdecimal() or not colon):
        return RestartPolicy(True, True, int(attempts) or None if attempts else None)
    if name not in ("no", "always", "unless-stopped") or colon:
        raise InvalidSpecError("restart", str(text), "no, always, unless-stopped, on-failure or on-failure:N")
    return RestartPolicy(name != "no")


def parse_name(name: str | None) -> str | None:
    """A container's name. Raises InvalidSpecError for one that docker would not take."""
    if parse_text("name", name) is None or name is None:
        return None
    if _NAME.fullmatch(name) is None or len(name) > _NAME_AT_MOST:
        wanted = f"letters, digits, and then also '_', '.' and '-', two characters or more, {_NAME_AT_MOST} at most"
        raise InvalidSpecError("name", name, wanted)
    return name
