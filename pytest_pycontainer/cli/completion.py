"""Completion: the scripts of shells, and what they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import HELP, Command
from pytest_pycontainer.cli.commands import COMMANDS as ALL
from pytest_pycontainer.cli.commands import GROUPS, Entry
from pytest_pycontainer.cli.flags import Flag, Given, UsageError, parse
from pytest_pycontainer.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_BASH = """\
_pycontainer() {
    local IFS=$'\\n'
    COMPREPLY=($(compgen -W "$(pycontainer completion --of=bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" \\
        -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _pycontainer pycontainer
"""
_ZSH = """\
#compdef pycontainer
_pycontainer() {
    local -a found
    found=("${(@f)$(pycontainer completion --of=zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if (( ${#found[1]} )); then _describe pycontainer found; else _files; fi
}
compdef _pycontainer pycontainer
"""
_FISH = """\
function __pycontainer_complete
    set -l words (commandline -opc) (commandline -ct)
    pycontainer completion --of=fish -- $words[2..-1] 2>/dev/null
end
complete -c pycontainer -a '(__pycontainer_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
# Between a word and what it means, as each shell wants it; bash shows none.
_SEPARATORS = {"bash": None, "zsh": ":", "fish": "\t"}


def _completion(session: Session, given: Given) -> int:
    shell = given.text("of")
    if shell is not None:
        separator = _SEPARATORS.get(shell)
        for word, meaning in _candidates(session, given.arguments):
            escaped = word.replace(":", r"\:") if shell == "zsh" else word
            session.print(escaped if separator is None or not meaning else f"{escaped}{separator}{meaning}")
        return 0
    if given.arguments not in [[name] for name in _SCRIPTS]:
        raise UsageError(f"name the shell: {', '.join(_SCRIPTS)}", 1)
    session.print(_SCRIPTS[given.arguments[0]].rstrip())
    return 0


def _candidates(session: Session, words: list[str]) -> Iterable[tuple[str, str]]:
    """What may stand in place of the last word, each with its meaning, or none."""
    from pytest_pycontainer.cli.main import FLAGS, engine_options

    *before, last = words or [""]
    try:
        given = parse(FLAGS, before, options_first=True)
    except UsageError:
        return ()
    with Session(session.options | engine_options(given)) as there:
        return [found for found in _following(there, given.arguments, last) if found[0].startswith(last)]


def _following(session: Session, before: list[str], last: str) -> Iterable[tuple[str, str]]:
    if not before:
        return [*((name, group.summary) for name, group in GROUPS.items()), *_summaries(ALL)]
    name, *rest = before
    if name in GROUPS:
        if not rest:
            return _summaries(GROUPS[name].commands)
        name, *rest = rest
        entry = GROUPS[before[0]].commands.get(name)
    else:
        entry = ALL.get(name)
    if entry is None:
        return ()
    command = entry.load()
    if rest and _takes_value(command.flags, rest[-1]):
        return ()
    if last.startswith("-"):
        return [(f"--{flag.name}", flag.meaning) for flag in (*command.flags, HELP)]
    return ((name, "") for name in _names(session, command.usage, rest))


def _summaries(commands: Mapping[str, Entry]) -> list[tuple[str, str]]:
    return [(name, entry.summary) for name, entry in commands.items()]


def _takes_value(flags: Iterable[Flag], word: str) -> bool:
    return any(flag.value and word in (f"--{flag.name}", f"-{flag.short}") for flag in flags)


def _names(session: Session, usage: str, given: list[str]) -> Iterator[str]:
    """The names of what a command is about, but for those that it has been given."""
    if "CONTAINER" in usage:
        yield from (found.name for found in session.engine.containers(others=True) if found.name not in given)
    if "IMAGE" in usage or "REPOSITORY" in usage:
        yield from (image.name for image in session.engine.images() if image.name not in (image.id, *given))
    if "VOLUME" in usage:
        yield from (volume.name for volume in session.engine.volumes() if volume.name not in given)


COMMANDS = {
    "completion": Command(
        "bash|zsh|fish",
        _completion,
        (Flag("of", "Print what may follow these words, for a shell", value="string"),),
        most=None,
    )
}
