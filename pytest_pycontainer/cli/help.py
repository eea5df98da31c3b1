"""What ``--help`` prints: at most 80 columns, and a screen where that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer.cli.commands import COMMANDS, GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_pycontainer.cli.command import Command
    from pytest_pycontainer.cli.flags import Flag

_COLUMNS = 80


def all_commands(flags: Iterable[Flag]) -> str:
    """The help of ``pycontainer`` itself."""
    groups = "\n".join(f"  {name:10}  {group.summary}" for name, group in sorted(GROUPS.items()))
    commands = "\n".join(f"  {name:10}  {entry.summary}" for name, entry in sorted(COMMANDS.items()))
    return (
        "Usage:  pycontainer [OPTIONS] COMMAND\n\n"
        "Containers, images and builds, with docker's verbs and flags.\n\n"
        f"{_options(flags)}\n"
        f"Nouns:\n{groups}\n\nCommands:\n{commands}\n\n"
        "Run 'pycontainer COMMAND --help' for more information on a command.\n"
    )


def group(name: str) -> str:
    """The help of a noun."""
    commands = "\n".join(f"  {verb:10}  {entry.summary}" for verb, entry in GROUPS[name].commands.items())
    return (
        f"Usage:  pycontainer {name} COMMAND\n\n{GROUPS[name].summary}\n\nCommands:\n{commands}\n\n"
        f"Run 'pycontainer {name} COMMAND --help' for more information on a command.\n"
    )


def one_command(name: str, command: Command, summary: str) -> str:
    """The help of one command."""
    options = f"\n{_options(command.flags)}" if command.flags else ""
    return f"{usage(name, command)}\n\n{summary}\n{options}"


def usage(name: str, command: Command) -> str:
    """How a command is to be called."""
    return f"Usage:  pycontainer {name} {command.usage}".rstrip()


def _options(flags: Iterable[Flag]) -> str:
    from textwrap import wrap

    left = [
        (f"  -{flag.short}, --{flag.name} {flag.value}" if flag.short else f"      --{flag.name} {flag.value}").rstrip()
        for flag in flags
    ]
    width = max(map(len, left)) + 3
    lines = []
    for flag, beginning in zip(flags, left, strict=True):
        meaning = f"{flag.meaning} (default {flag.default})" if flag.default else flag.meaning
        first, *rest = wrap(meaning, _COLUMNS - width)
        lines.append(f"{beginning:{width}}{first}")
        lines += [" " * width + line for line in rest]
    return "Options:\n" + "\n".join(lines) + "\n"
