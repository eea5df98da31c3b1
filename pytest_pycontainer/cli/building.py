"""``build``: an image of a Dockerfile."""

from __future__ import annotations

import os
import sys
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError
from pytest_pycontainer.errors import BuildStepFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.builds import BuildOptions

_PROGRESS = ("auto", "plain", "tty", "quiet")


def _build(session: Session, given: Given) -> int:
    quiet = given.switch("quiet")
    progress = "quiet" if quiet else given.text("progress") or "auto"
    if progress not in _PROGRESS:
        raise UsageError(f"invalid progress '{progress}': known are {', '.join(_PROGRESS)}", 1)
    live = progress == "tty" or (progress == "auto" and sys.stdout.isatty())
    session.shows_progress = live
    context, options = _context(given), _options(given)
    shown = None if live or progress == "quiet" else _print_line
    try:
        image = session.engine.build(context, progress=shown, **options)
    except BuildStepFailedError as error:
        session.print_error(error)
        return error.exit_code
    if (file := given.text("iidfile")) is not None:
        Path(file).write_text(image.id)
    if quiet:
        session.print(image.id)
    return 0


def _print_line(line: str) -> None:
    # At once: whoever reads a pipe sees how far it has come.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _context(given: Given) -> str | BinaryIO | Mapping[str, bytes]:
    (context,) = given.arguments
    if context != "-":
        return context
    if given.text("file") == "-":
        raise UsageError("invalid argument: can't use stdin for both build context and dockerfile", 1)
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal: pipe a Dockerfile or an archive into it", 1)
    stream = BufferedReader(FileIO(sys.stdin.fileno(), closefd=False))
    return stream if _is_archive(stream.peek()) else {"Dockerfile": stream.read()}


def _is_archive(beginning: bytes) -> bool:
    """Whether it is a tar archive, or one that is compressed: no Dockerfile begins with a NUL or such."""
    return b"\0" in beginning[:1024] or beginning.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _options(given: Given) -> BuildOptions:
    options: BuildOptions = {
        "tag": given.texts("tag"),
        "build_args": dict(_with_environment(text) for text in given.texts("build-arg")),
        "labels": dict(text.partition("=")[::2] for text in given.texts("label")),
        "target": given.text("target"),
        "no_cache": given.switch("no-cache"),
        "pull": given.switch("pull"),
        "platform": given.text("platform"),
        "cache_from": given.texts("cache-from"),
        "secrets": dict(_secret(text) for text in given.texts("secret")),
        "ssh": dict(_agent(text) for text in given.texts("ssh")),
        "contexts": dict(text.partition("=")[::2] for text in given.texts("build-context")),
    }
    if (network := given.text("network")) == "none":
        options["network"] = "none"
    elif network == "host":
        options["network"] = "host"
    elif network not in (None, "default"):
        raise UsageError(f"invalid network '{network}': a build has default, none, or host", 1)
    if (file := given.text("file")) is not None:
        options["dockerfile"] = sys.stdin.buffer if file == "-" else Path(file).absolute()
    return options


def _with_environment(text: str) -> tuple[str, str]:
    """A build argument; one without a value has that of this process's variable, as docker's has."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name, "")


def _secret(text: str) -> tuple[str, Path | bytes]:
    """``id=NAME,src=FILE`` or ``id=NAME,env=VARIABLE``."""
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    kind = fields.pop("type", None)
    name = fields.pop("id", "")
    path = fields.pop("src", fields.pop("source", None))
    variable = fields.pop("env", None)
    if fields or not name:
        raise UsageError(f"invalid secret '{text}': id=NAME,src=FILE or id=NAME,env=VARIABLE is wanted", 1)
    if kind == "env" or variable is not None or (path is None and name in os.environ):
        return name, os.environb.get((variable or path or name).encode(), b"")
    return name, Path(path or name)


def _agent(text: str) -> tuple[str, str]:
    """``default``, ``ID`` or ``ID=SOCKET``."""
    name, equals, path = text.partition("=")
    socket = path if equals else os.environ.get("SSH_AUTH_SOCK", "")
    if not socket:
        raise UsageError(f"invalid ssh '{text}': name the agent's socket, ID=SOCKET, or set SSH_AUTH_SOCK", 1)
    return name, socket


COMMANDS = {
    "build": Command(
        "[OPTIONS] PATH | ARCHIVE | -",
        _build,
        (
            Flag("build-arg", "Set a build argument", value="list", several=True),
            Flag("build-context", "Give a further context, NAME=DIRECTORY", value="list", several=True),
            Flag("cache-from", "Take steps from an image", value="list", several=True),
            Flag("file", "Name of the Dockerfile", "f", "string", default="PATH/Dockerfile"),
            Flag("iidfile", "Write the image's ID to a file", value="string"),
            Flag("label", "Give the image a label", value="list", several=True),
            Flag("network", "Network of RUN: default, none, host", value="string"),
            Flag("no-cache", "Carry every step out anew"),
            Flag("platform", "Build for another platform, os/architecture[/variant]", value="string"),
            Flag("progress", "Show progress as auto, plain, tty, quiet", value="string", default="auto"),
            Flag("pull", "Ask for every base anew"),
            Flag("quiet", "Print the image's ID alone", "q"),
            Flag("secret", "Give RUN a secret, id=NAME,src=FILE or id=NAME,env=NAME", value="list", several=True),
            Flag("ssh", "Give RUN an SSH agent, default or ID=SOCKET", value="list", several=True),
            Flag("tag", "Name the image, name:tag", "t", "list", True),
            Flag("target", "End with this stage", value="string"),
        ),
        least=1,
        most=1,
    )
}
