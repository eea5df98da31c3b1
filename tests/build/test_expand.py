from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.build.expand import ExpansionProblem, expand

VARIABLES = {"x": "value", "empty": "", "y1": "other", "path": "/a b"}


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$x", "value"),
        ("${x}", "value"),
        ("a$x/b", "avalue/b"),
        ("$xy", ""),
        ("${x}y", "valuey"),
        ("$y1-$x", "other-value"),
        ("$unset", ""),
        ("${unset}", ""),
        ("$", "$"),
        ("a$/", "a$/"),
        ("$1$@", ""),
        ("\\$x", "$x"),
        ("\\\\", "\\"),
        ("a\\", "a"),
        ("'$x'", "$x"),
        ('"$x"', "value"),
        ('"\\$x"', "$x"),
        ('"\\a"', "\\a"),
        ('"a\\"b"', 'a"b'),
        ("'a'\"b\"c", "abc"),
        ("'a\\'", "a\\"),
        ("${x:-d}", "value"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${unset-d}", "d"),
        ("${unset:-$x}", "value"),
        ("${unset:-${x}-${y1}}", "value-other"),
        ("${unset:-'a}b'}", "a}b"),
        ("${x:+d}", "d"),
        ("${empty:+d}", ""),
        ("${empty+d}", "d"),
        ("${unset:+d}", ""),
        ("${x:?no}", "value"),
        ("${empty?no}", ""),
        ("$path", "/a b"),
    ],
)
def test_expands_as_docker_does(word: str, expanded: str) -> None:
    assert expand(word, VARIABLES) == expanded


def test_another_escape_character() -> None:
    assert expand("`$x \\$x", VARIABLES, "`") == "$x \\value"


@pytest.mark.parametrize(
    ("word", "offset", "problem"),
    [
        ("a'b", 1, "single quote has no end"),
        ('a"b', 1, "double quote has no end"),
        ("${", 0, "variable's name"),
        ("a${}", 1, "variable's name"),
        ("${x", 0, "has no }"),
        ("${x:", 0, "has no }"),
        ("${x:-a", 6, "expected }"),
        ("${x%a}", 3, "unknown modifier '%'"),
        ("${x:=a}", 4, "unknown modifier '='"),
        ("a${unset:?it is needed}", 1, "unset: it is needed"),
        ("${empty:?}", 0, "empty: it must be set"),
    ],
)
def test_names_what_is_wrong_and_where(word: str, offset: int, problem: str) -> None:
    with pytest.raises(ExpansionProblem, match=problem) as caught:
        expand(word, VARIABLES)
    assert caught.value.offset == offset


@given(st.text(alphabet="ab$x{}:-+?'\"\\ ", max_size=20))
def test_any_word_expands_or_is_refused(word: str) -> None:
    try:
        expand(word, VARIABLES)
    except ExpansionProblem as problem:
        offset = problem.offset
    else:
        return
    assert 0 <= offset <= len(word)


@given(st.text(max_size=20))
def test_single_quotes_keep_everything(text: str) -> None:
    if "'" not in text:
        assert expand(f"'{text}'", VARIABLES) == text
