"""Every command, with what it does in a line, and the module that has it: nothing else is imported for the help."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_pycontainer.cli.flags import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_pycontainer.cli.command import Command


class Entry(NamedTuple):
    """A command as the help has it: the module of this room that has it in its COMMANDS, under ``name``."""

    summary: str
    module: str
    name: str

    def load(self) -> Command:
        """The command itself."""
        from importlib import import_module

        found: Command = import_module(f"pytest_pycontainer.cli.{self.module}").COMMANDS[self.name]
        return found


class Group(NamedTuple):
    """Commands about one noun."""

    summary: str
    commands: Mapping[str, Entry]


COMMANDS: Mapping[str, Entry] = {
    name: Entry(summary, module, name)
    for name, module, summary in (
        ("build", "building", "Build an image from a Dockerfile"),
        ("exec", "executing", "Run a command in a running container"),
        ("kill", "states", "Kill running containers"),
        ("logs", "logs", "Show what a container has written"),
        ("pause", "states", "Pause all processes of containers"),
        ("ps", "listing", "List containers"),
        ("rename", "states", "Rename a container"),
        ("restart", "states", "Restart containers"),
        ("rm", "states", "Remove containers"),
        ("start", "states", "Start containers that do not run"),
        ("stop", "states", "Stop running containers"),
        ("unpause", "states", "Let paused containers go on"),
        ("wait", "states", "Wait until containers have exited, then print their exit codes"),
        ("completion", "completion", "Print a shell's completion of this command"),
        ("attach", "attaching", "Attach to a running container's input and output"),
        ("commit", "files", "Make an image of what a container has written"),
        ("cp", "files", "Copy files between a container and this machine"),
        ("diff", "files", "Show what has changed in a container's file system"),
        ("export", "files", "Write a container's file system to a tar archive"),
        ("inspect", "inspecting", "Show all that is known of containers or images"),
        ("port", "inspecting", "Show the ports of a container"),
        ("stats", "stats", "Show what containers use"),
        ("top", "inspecting", "Show the processes of a container"),
        ("doctor", "system", "Say what this machine lacks for running containers"),
        ("history", "images", "Show the history of an image"),
        ("images", "images", "List images"),
        ("import", "archives", "Make an image of a root file system in a tar archive"),
        ("info", "system", "Show what this machine and its store have"),
        ("load", "archives", "Load images from an archive, or from standard input"),
        ("login", "registries", "Log in to a registry"),
        ("logout", "registries", "Log out from a registry"),
        ("pull", "registries", "Pull an image from its registry"),
        ("push", "registries", "Push an image to its registry"),
        ("rmi", "images", "Remove images"),
        ("save", "archives", "Save images to an archive, or to standard output"),
        ("tag", "images", "Give an image another name"),
        ("version", "system", "Show the version"),
    )
}

GROUPS: Mapping[str, Group] = {
    "image": Group(
        "Manage images",
        {
            "build": COMMANDS["build"],
            "history": COMMANDS["history"],
            "import": COMMANDS["import"],
            "inspect": Entry("Show all that is known of images", "images", "inspect"),
            "load": COMMANDS["load"],
            "ls": COMMANDS["images"],
            "prune": Entry("Remove unused images", "images", "prune"),
            "pull": COMMANDS["pull"],
            "push": COMMANDS["push"],
            "rm": COMMANDS["rmi"],
            "save": COMMANDS["save"],
            "tag": COMMANDS["tag"],
        },
    ),
    "container": Group(
        "Manage containers",
        {
            "ls" if name == "ps" else name: COMMANDS[name]
            for name in (
                *("attach", "commit", "cp", "diff", "exec", "export", "inspect", "kill", "logs", "ps", "pause", "port"),
                *("rename", "restart", "rm", "start", "stats", "stop", "top", "unpause", "wait"),
            )
        },
    ),
    "volume": Group(
        "Manage volumes",
        {
            verb: Entry(summary, "volumes", verb)
            for verb, summary in (
                ("create", "Create a volume"),
                ("inspect", "Show all that is known of volumes"),
                ("ls", "List volumes"),
                ("prune", "Remove volumes that no container uses"),
                ("rm", "Remove volumes"),
            )
        },
    ),
    "system": Group(
        "Manage this machine's store",
        {
            "df": Entry("Show what the store takes on disk", "system", "df"),
            "info": COMMANDS["info"],
        },
    ),
}


def find(words: list[str]) -> tuple[str, Entry, list[str]]:
    """The command that the words begin with: its whole name, its entry, and the words after it. Raises UsageError."""
    name, *rest = words
    if name in COMMANDS:
        return name, COMMANDS[name], rest
    if name not in GROUPS:
        raise UsageError(f"'{name}' is not a pycontainer command{_hint(name, (*COMMANDS, *GROUPS))}.", 1)
    commands = GROUPS[name].commands
    if not rest or rest[0] not in commands:
        wanted = ", ".join(commands)
        given = f"'{rest[0]}' is not a command of {name}" if rest else f"{name} needs a command"
        raise UsageError(f"{given}{_hint(rest[0], tuple(commands)) if rest else ''}: it has {wanted}.", 1)
    return f"{name} {rest[0]}", commands[rest[0]], rest[1:]


def _hint(name: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f" (did you mean '{near[0]}'?)" if near else ""
