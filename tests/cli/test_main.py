"""Calls of ``pycontainer`` as a whole: help, errors, pipes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from pytest_pycontainer import Engine
from pytest_pycontainer.cli.commands import COMMANDS, GROUPS
from pytest_pycontainer.cli.main import main
from tests.cli.conftest import Call

NAMES = sorted({*COMMANDS, *(f"{group} {verb}" for group, found in GROUPS.items() for verb in found.commands)})


def test_the_help_names_every_command(call: Call) -> None:
    helped = call("--help")
    assert (helped.code, helped.err) == (0, "")
    assert call() == helped
    for name in (*COMMANDS, *GROUPS):
        assert f"\n  {name} " in helped.out
    assert max(map(len, helped.out.splitlines())) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage:  pycontainer {name}")
    assert max(map(len, shown.splitlines())) <= 80
    assert len(shown.splitlines()) <= 40


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_the_help_of_a_noun(group: str, call: Call) -> None:
    shown = call(group)
    assert shown == call(group, "--help")
    assert all(f"\n  {verb} " in shown.out for verb in GROUPS[group].commands)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["imagse"], 1, "'imagse' is not a pycontainer command (did you mean 'image'?)."),
        (["zzz"], 1, "'zzz' is not a pycontainer command."),
        (
            ["volume", "list"],
            1,
            "'list' is not a command of volume (did you mean 'ls'?): it has create, inspect, ls, prune, rm.",
        ),
        (["--rooot", "x", "ps"], 125, "unknown flag: --rooot (did you mean --root?)"),
        (["ps", "--alll"], 125, "unknown flag: --alll (did you mean --all?)"),
        (["ps", "-y"], 125, "unknown shorthand flag: 'y' in -y"),
        (["stop", "-t"], 125, "flag needs an argument: 't' in -t"),
        (["images", "-f", "x=y"], 1, "invalid filter 'x': known are dangling, label, reference"),
        (["ps", "--format", "{{.Nmae}}"], 1, "template: no field Nmae: it has ID, Image"),
    ],
)
def test_what_means_nothing_is_said_in_one_line(call: Call, words: list[str], code: int, message: str) -> None:
    ended = call(*words)
    assert (ended.code, ended.out) == (code, "")
    line, see = ended.err.splitlines()
    assert message in line
    assert see.startswith("See 'pycontainer ")


def test_a_setting_is_called_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", "/dev/null", "ps"]) == 1
    assert capsys.readouterr().err.startswith("Error: invalid --root '/dev/null': ")


def test_a_login_needs_a_person_or_all_it_would_ask_for() -> None:
    command = [sys.executable, "-m", "pytest_pycontainer", "login", "--password", "secret", "registry.test"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "cannot perform an interactive login from a non TTY device" in ended.stderr


def test_a_missing_argument_shows_the_usage(call: Call) -> None:
    ended = call("rm")
    assert (ended.code, ended.out) == (1, "")
    assert '"pycontainer rm" requires at least 1 argument.' in ended.err
    assert "Usage:  pycontainer rm [OPTIONS] CONTAINER [CONTAINER...]" in ended.err
    assert "accepts no arguments" in call("ps", "x").err
    assert "requires exactly 2 arguments" in call("tag", "x").err
    assert "requires at most 1 argument" in call("images", "x", "y").err


def test_versions(call: Call) -> None:
    assert call("--version").out == f"pycontainer version {version('pytest-pycontainer')}\n"
    assert call("version", "--format", "{{.Python}}").out == f"{sys.version.split()[0]}\n"


def test_the_machine(call: Call, engine: Engine) -> None:
    assert call("doctor") == (0, "containers can run here\n", "")
    assert call("info", "-f", "{{.Store}}").out == f"{engine.settings.root}\n"
    rows = call("system", "df", "--format", "{{.Type}}").out.splitlines()
    assert rows == ["Images", "Containers", "Local Volumes", "Build Cache"]


def test_whoever_reads_may_go(engine: Engine) -> None:
    places = f"--root {engine.settings.root} --state {engine.settings.state}"
    script = f"{sys.executable} -m pytest_pycontainer {places} --help | true; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr == ""
    assert ended.stdout in ("141\n", "0\n")  # it may have been faster


def test_one_that_reads_nothing_at_all() -> None:
    command = [sys.executable, "-m", "pytest_pycontainer", "--help"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "No space left" in ended.stderr


def test_little_is_imported_for_the_help() -> None:
    code = (
        "import sys; from pytest_pycontainer.cli.main import main; code = main(['--help']); "
        "print({'pytest', 'requests', 'dataclasses', 'pytest_pycontainer.engine'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.splitlines()[-1] == "set()"
