from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings
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


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("${file#*/}", "lib/a.tar.gz"),
        ("${file##*/}", "a.tar.gz"),
        ("${file%.*}", "usr/lib/a.tar"),
        ("${file%%.*}", "usr/lib/a"),
        ("${file%.gz}", "usr/lib/a.tar"),
        ("${file#lib}", "usr/lib/a.tar.gz"),
        ("${file#}${unset#a}${unset%%*}${unset/a/b}", "usr/lib/a.tar.gz"),
        ("${file#???}", "/lib/a.tar.gz"),
        ("${file/r/R}", "usR/lib/a.tar.gz"),
        ("${file//r/R}", "usR/lib/a.taR.gz"),
        ("${file//\\//-}", "usr-lib-a.tar.gz"),
        ("${file/l*./}", "usr/gz"),
        ("${file//?/.}", "................"),
        ("${file//*/all}", "all"),
        ("${file/nothing/x}", "usr/lib/a.tar.gz"),
        ("${stars#\\*}", "?[a]*"),
        ("${stars#*\\?}", "[a]*"),
        ("${stars%[a]*}", "*?"),
        ("${file%${x:-.gz}}", "usr/lib/a.tar.gz"),
        ("${file%${unset:-.gz}}", "usr/lib/a.tar"),
        ("${file#'usr'\"/\"}", "lib/a.tar.gz"),
        ("${braces%\\}}", "{a"),
        ("${file/usr/$x}", "value/lib/a.tar.gz"),
        ('"${file##*/}"', "a.tar.gz"),
    ],
)
def test_parts_of_a_value(word: str, expanded: str) -> None:
    variables = VARIABLES | {"file": "usr/lib/a.tar.gz", "stars": "*?[a]*", "braces": "{a}"}
    assert expand(word, variables) == expanded


_pieces = st.sampled_from(["a", "b", "/", ".", "*", "?", "**", "\\*", "\\?"])


@given(
    st.text(alphabet="ab/.*?", max_size=12),
    st.lists(_pieces, max_size=6).map("".join),
    st.sampled_from(["#", "##", "%", "%%"]),
)
def test_parts_are_those_that_any_way_of_matching_finds(value: str, pattern: str, operator: str) -> None:
    regular = re.sub(r"\\[*?]|.", lambda m: {"*": ".*", "?": "."}.get(m[0], re.escape(m[0][-1])), pattern)
    cuts = range(len(value) + 1)
    if operator[0] == "#":
        parts = [(at, value[at:]) for at in cuts if re.fullmatch(regular, value[:at])]
    else:
        parts = [(len(value) - at, value[:at]) for at in cuts if re.fullmatch(regular, value[at:])]
    choose = max if len(operator) == 2 else min
    expected = choose(parts)[1] if parts else value
    assert expand(f"${{x{operator}{pattern}}}", {"x": value}) == expected


def test_a_pattern_of_many_wildcards_takes_no_long_time() -> None:
    value = "a" * 5000
    assert expand("${x##" + "*a" * 40 + "*b}", {"x": value}) == value


_shell_words = st.lists(
    st.sampled_from(
        ["a", "b c", "$x", "${x}", "${e}", "$u", "\\$", "\\\\", "'q $x'", '"d $x"', '"\\$e\\\\\\""', "$e$x"]
    )
    | st.tuples(
        st.sampled_from(["x", "e", "u"]),
        st.sampled_from(["-", ":-", "+", ":+"]),
        st.sampled_from(["", "w", "$x", "${x:-n}", "'s t'", '"$x y"', "${u-${e:-deep}}"]),
    ).map("${{{0[0]}{0[1]}{0[2]}}}".format)
    | st.tuples(
        st.sampled_from(["x", "e", "u"]),
        st.sampled_from(["#", "##", "%", "%%"]),
        st.sampled_from(["*", "?", "v*", "*a", "*l*", "a?b", "\\*", "e", "$x", "${x#?}"]),
    ).map("${{{0[0]}{0[1]}{0[2]}}}".format),
    max_size=5,
).map("".join)


@given(st.lists(_shell_words, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_the_shell_has_too_is_as_the_shell_has_it(words: list[str]) -> None:
    # An assignment: its value is expanded, and not split into words. x holds no wildcards: docker's see those in a
    # pattern's variable, a shell does too.
    variables = {"x": "value", "e": ""}
    script = "".join(f"v={_protect(word)}\nprintf '%s\\0' \"$v\"\n" for word in words)
    shell = subprocess.run(["/bin/sh", "-c", script], env=variables, capture_output=True, text=True, check=True)
    assert [expand(word, variables) for word in words] == shell.stdout.split("\0")[:-1]


def _protect(word: str) -> str:
    """For the shell: a space outside of quotes and braces would end the assignment."""
    return word.replace("b c", "b\\ c")


def test_a_here_document_keeps_its_quotes() -> None:
    assert expand("it's \"$x\" ${unset:-'d'} \\$x", VARIABLES, quotes=False) == "it's \"value\" 'd' $x"


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
        ("b${x:-a", 1, "has no }"),
        ("${x:-${y:-a}", 0, "has no }"),
        ("${x=a}", 3, "unknown modifier '='"),
        ("a${x%a", 1, "has no }"),
        ("${x%\\a}", 4, "backslash stands before"),
        ("${x/a}", 0, "has no /"),
        ("${x/a/b", 0, "has no }"),
        ("${x//\\a/b}", 5, "backslash stands before"),
        ("${x:=a}", 4, "unknown modifier '='"),
        ("a${unset:?it is needed}", 1, "unset: it is needed"),
        ("${empty:?}", 0, "empty: it must be set"),
    ],
)
def test_names_what_is_wrong_and_where(word: str, offset: int, problem: str) -> None:
    with pytest.raises(ExpansionProblem, match=problem) as caught:
        expand(word, VARIABLES)
    assert caught.value.offset == offset


@given(st.text(alphabet="ab$x{}:-+?#%/*'\"\\ ", max_size=20))
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
