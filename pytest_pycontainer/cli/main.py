"""The beginning and the end of a call of ``pycontainer``."""

from __future__ import annotations

import os
import sys

from pytest_pycontainer.cli.command import HELP, Command
from pytest_pycontainer.cli.commands import GROUPS, find
from pytest_pycontainer.cli.flags import Flag, Given, UsageError, parse
from pytest_pycontainer.errors import PycontainerError

FLAGS = (
    Flag("root", "The directory that holds images, layers and the build cache", value="DIR"),
    Flag("state", "The directory that holds locks and what containers run", value="DIR"),
    Flag("version", "Print the version and quit", "v"),
    HELP,
)
"""What may stand before a command's name."""

_INTERRUPTED = 130
_NO_READER = 141


def main(words: list[str] | None = None) -> int:
    """Does what the words of a command line, without the program's name, say; returns the exit code."""
    try:
        code = _main(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        # Python would complain once more when it flushes at its end what nobody reads, or no disk has room for.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return _NO_READER
        sys.stderr.write(f"Error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}\n")
        return 1
    return code


def _main(words: list[str]) -> int:
    try:
        given = parse(FLAGS, words, options_first=True)
    except UsageError as error:
        return _complain(error, "pycontainer")
    if given.switch("version"):
        words = ["version", "--format", "pycontainer version {{.Version}}"]
    elif given.switch("help") or not given.arguments:
        return _print_help(given.arguments)
    else:
        words = given.arguments
    if words[0] in GROUPS and words[1:] in ([], ["--help"]):
        return _print_help(words[:1])
    try:
        name, entry, rest = find(words)
    except UsageError as error:
        return _complain(error, "pycontainer")
    command = entry.load()
    try:
        wanted = command.read(name, rest)
        if wanted.switch("help"):
            return _print_help(name.split())
        return _run(command, given, wanted)
    except UsageError as error:
        code = _complain(error, f"pycontainer {name}")
        if error.shows_usage:
            from pytest_pycontainer.cli.help import one_command

            sys.stderr.write(f"\n{one_command(name, command._replace(flags=()), entry.summary)}")
        return code


def _run(command: Command, given: Given, wanted: Given) -> int:
    from pytest_pycontainer.cli.session import Session

    with Session(engine_options(given)) as session:
        try:
            return command.run(session, wanted)
        except PycontainerError as error:
            session.print_error(error)
            return 1


def engine_options(given: Given) -> dict[str, str]:
    """Those of the flags before a command's name that are settings of the engine, by their names."""
    return {name: text for name in ("root", "state") if (text := given.text(name)) is not None}


def _print_help(words: list[str]) -> int:
    from pytest_pycontainer.cli import help as texts

    if not words:
        sys.stdout.write(texts.all_commands(FLAGS))
    elif words[0] in GROUPS and len(words) == 1:
        sys.stdout.write(texts.group(words[0]))
    else:
        try:
            name, entry, _ = find(words)
        except UsageError as error:
            return _complain(error, "pycontainer")
        sys.stdout.write(texts.one_command(name, entry.load(), entry.summary))
    return 0


def _complain(error: UsageError, name: str) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"{name}: {error.what}\nSee '{name} --help'.\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
