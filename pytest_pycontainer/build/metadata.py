"""Instructions that change an image's config and nothing in its file system."""

from __future__ import annotations

import json
import posixpath
import re
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.healthcheck import healthcheck_of
from pytest_pycontainer.build.stages import expand_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_pycontainer.build.lines import Line
    from pytest_pycontainer.image.config import ImageConfig

DEFAULT_SHELL = ("/bin/sh", "-c")

# As for `docker run --publish`, an address and a host's port may come first; they mean nothing here.
_PORT = re.compile(r"(?:[^/]*:)?([0-9]+)(?:-([0-9]+))?(?:/(\w*))?")
_PORTS = range(1, 65536)
_PROTOCOLS = ("tcp", "udp", "sctp")
_SIGNALS = range(1, 65)
_REAL_TIME_SIGNAL = re.compile(r"(?:SIG)?RT(?:MIN(?:\+(?:[1-9]|1[0-5]))?|MAX(?:-(?:[1-9]|1[0-4]))?)")


@dataclass(frozen=True, slots=True)
class Change:
    """What an instruction makes of a config, and the instruction with its variables replaced, for the history.

    ``variables`` are the names that ENV sets: build arguments so called no longer count.
    """

    config: ImageConfig
    text: str
    variables: tuple[str, ...] = ()


def change_config(
    instruction: kinds.Instruction, config: ImageConfig, variables: Mapping[str, str], *, has_own_command: bool
) -> Change:
    """Applies ENV, LABEL, EXPOSE, USER, VOLUME, STOPSIGNAL, SHELL, CMD, ENTRYPOINT or MAINTAINER, HEALTHCHECK
    or ONBUILD.

    ``has_own_command`` says that this stage has a CMD: an ENTRYPOINT takes away one that comes from the base image.
    Raises DockerfileError for values that make no sense.
    """
    line = instruction.line

    def value(word: kinds.Word) -> str:
        return expand_word(line, word, variables)

    def pairs(words: Iterable[tuple[kinds.Word, kinds.Word]]) -> dict[str, str]:
        return {_not_empty(value(name), name, line): value(text) for name, text in words}

    match instruction:
        case kinds.Env(values=words):
            added = pairs(words)
            changed = replace(config, env=set_variables(config.env, added))
            return Change(changed, f"ENV {_pairs_text(added)}", tuple(added))
        case kinds.Label(values=words):
            added = pairs(words)
            return Change(replace(config, labels={**config.labels, **added}), f"LABEL {_pairs_text(added)}")
        case kinds.Expose(ports=words):
            ports = [port for word in words for text in value(word).split() for port in _ports(text, word, line)]
            exposed = tuple(sorted({*config.exposed_ports, *ports}))
            return Change(replace(config, exposed_ports=exposed), f"EXPOSE {' '.join(ports)}")
        case kinds.User(user=word):
            user = _not_empty(value(word), word, line)
            return Change(replace(config, user=user), f"USER {user}")
        case kinds.Volume(paths=words):
            paths = [_not_empty(value(word), word, line) for word in words]
            volumes = tuple(sorted({*config.volumes, *paths}))
            return Change(replace(config, volumes=volumes), f"VOLUME {json.dumps(paths)}")
        case kinds.StopSignal(signal=word):
            name = _signal(value(word), word, line)
            return Change(replace(config, stop_signal=name), f"STOPSIGNAL {name}")
        case kinds.Shell(command=shell):
            return Change(replace(config, shell=shell), f"SHELL {json.dumps(shell)}")
        case kinds.Cmd(command=command):
            arguments = in_shell(command, config)
            return Change(replace(config, cmd=arguments or None), f"CMD {json.dumps(arguments)}")
        case kinds.Entrypoint(command=command):
            arguments = in_shell(command, config)
            changed = replace(config, entrypoint=arguments or None, cmd=config.cmd if has_own_command else None)
            return Change(changed, f"ENTRYPOINT {json.dumps(arguments)}")
        case kinds.Maintainer(author=word):
            return Change(replace(config, author=word.text), f"MAINTAINER {word.text}")
        case kinds.Healthcheck():
            healthcheck = healthcheck_of(instruction)
            text = json.dumps(healthcheck.to_document())
            return Change(replace(config, healthcheck=healthcheck), f"HEALTHCHECK {text}")
        case kinds.OnBuild(trigger=word):
            return Change(replace(config, on_build=(*config.on_build, word.text)), f"ONBUILD {word.text}")
    raise AssertionError(f"{type(instruction).__name__} is no instruction of this kind")


def in_shell(command: kinds.Command, config: ImageConfig) -> tuple[str, ...]:
    """A command's arguments: shell form runs in the image's shell."""
    return (*(config.shell or DEFAULT_SHELL), command) if isinstance(command, str) else command


def set_variables(environment: Iterable[str], added: Mapping[str, str]) -> tuple[str, ...]:
    """An environment (``NAME=value``) with some set: a known name keeps its place, others go to the end."""
    values = dict(entry.partition("=")[::2] for entry in environment)
    return tuple(f"{name}={value}" for name, value in (values | dict(added)).items())


def absolute(working_directory: str, path: str) -> str:
    """A path in an image, without ``.`` and ``..``, as seen from its working directory; never ends with a slash."""
    return "/" + posixpath.normpath(posixpath.join("/", working_directory, path)).lstrip("/")


def _pairs_text(pairs: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in pairs.items())


def _not_empty(value: str, word: kinds.Word, line: Line) -> str:
    if not value:
        raise line.error(word.offset, f"{word.text} is empty once its variables are replaced")
    return value


def _ports(text: str, word: kinds.Word, line: Line) -> list[str]:
    match = _PORT.fullmatch(text)
    if match:
        first, last, protocol = int(match[1]), int(match[2] or match[1]), (match[3] or "tcp").lower()
        if first in _PORTS and last in _PORTS and first <= last and protocol in _PROTOCOLS:
            return [f"{port}/{protocol}" for port in range(first, last + 1)]
    wanted = f"wanted 1 to 65535, a range such as 8000-8010, and perhaps /{' or /'.join(_PROTOCOLS)}"
    raise line.error(word.offset, f"{text} is no port; {wanted}")


def _signal(text: str, word: kinds.Word, line: Line) -> str:
    name = text.upper()
    if text.isdecimal():
        known = int(text) in _SIGNALS
    else:
        known = bool(_REAL_TIME_SIGNAL.fullmatch(name))
        known |= (name if name.startswith("SIG") else f"SIG{name}") in signal.Signals.__members__
    if not known:
        raise line.error(word.offset, f"{text or word.text} is no signal; wanted a name such as SIGTERM, or 1 to 64")
    return text
