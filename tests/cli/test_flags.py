"""Flags as docker reads them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.cli.flags import Flag, UsageError, parse

FLAGS = (
    Flag("interactive", "", "i"),
    Flag("tty", "", "t"),
    Flag("rm", ""),
    Flag("publish", "", "p", "list", True),
    Flag("name", "", value="string"),
    Flag("tail", "", "n", "int"),
)


@pytest.mark.parametrize(
    ("words", "name", "values"),
    [
        (["--name", "x"], "name", ["x"]),
        (["--name=x=y"], "name", ["x=y"]),
        (["--name", "--rm"], "name", ["--rm"]),
        (["-p80:80", "-p", "81", "-p=82"], "publish", ["80:80", "81", "82"]),
        (["-itp80"], "publish", ["80"]),
        (["--tail", "-1"], "tail", ["-1"]),
        (["--name="], "name", [""]),
    ],
)
def test_values(words: list[str], name: str, values: list[str]) -> None:
    assert parse(FLAGS, words).texts(name) == values


def test_switches() -> None:
    given = parse(FLAGS, ["-it", "--rm=false"])
    assert (given.switch("interactive"), given.switch("tty"), given.switch("rm")) == (True, True, False)
    assert given.has("rm")
    assert not parse(FLAGS, []).switch("rm")
    assert parse(FLAGS, []).switch("rm", default=True)
    assert not parse(FLAGS, ["-t=false"]).switch("tty")


def test_arguments_stand_anywhere_unless_options_come_first() -> None:
    assert parse(FLAGS, ["a", "-t", "b", "-"]).arguments == ["a", "b", "-"]
    first = parse(FLAGS, ["-i", "image", "sh", "-t", "--", "x"], options_first=True)
    assert first.arguments == ["image", "sh", "-t", "--", "x"]
    assert not first.switch("tty")
    assert parse(FLAGS, ["a", "--", "-t", "--"]).arguments == ["a", "-t", "--"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nmae", "x"], r"unknown flag: --nmae \(did you mean --name\?\)"),
        (["--zzzzz"], r"unknown flag: --zzzzz$"),
        (["-tx"], "unknown shorthand flag: 'x' in -tx"),
        (["--name"], "flag needs an argument: --name"),
        (["-ip"], "flag needs an argument: 'p' in -ip"),
        (["--rm=maybe"], 'invalid argument "maybe" for "--rm" flag'),
        (["-n", "many"], 'invalid argument "many" for "-n, --tail" flag'),
    ],
)
def test_what_means_nothing(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(FLAGS, words)
    assert caught.value.exit_code == 125


@given(st.lists(st.text(max_size=8), max_size=8), st.booleans())
def test_any_words_are_read_or_refused(words: list[str], options_first: bool) -> None:
    with suppress(UsageError):
        parse(FLAGS, words, options_first=options_first)


@given(st.lists(st.text(max_size=8), max_size=8))
def test_after_two_dashes_all_are_arguments(words: list[str]) -> None:
    assert parse(FLAGS, ["-i", "--", *words]).arguments == words
