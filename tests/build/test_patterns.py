from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.build.patterns import IgnoreRules, PatternProblem, compile_name
from pytest_pycontainer.errors import DockerfileError


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.py", ["a.py", ".py"], ["a.pyc", "a/b.py"]),
        ("?", ["a"], ["", "ab", "/"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[^a-c]x", ["dx"], ["ax", "/x"]),
        ("[!a]", ["!", "a"], ["b"]),
        ("[\\]]", ["]"], ["\\"]),
        ("\\*", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a**b", ["ab", "axyb"], ["a/b"]),
        ("*\n", ["a\n"], ["a"]),
    ],
)
def test_names_match_as_in_go(pattern: str, matching: list[str], other: list[str]) -> None:
    compiled = compile_name(pattern)
    assert [name for name in matching if not compiled.fullmatch(name)] == []
    assert [name for name in other if compiled.fullmatch(name)] == []


@pytest.mark.parametrize("pattern", ["[", "[]", "[]a]", "[a", "[a-", "[a-]", "[-x]", "[z-a]", "a\\", "[^]", "[a\\"])
def test_patterns_that_go_refuses(pattern: str) -> None:
    with pytest.raises(PatternProblem):
        compile_name(pattern)


@given(st.text(alphabet="ab[]^-\\*?!.", max_size=12), st.text(alphabet="ab]^-", max_size=4))
def test_any_pattern_compiles_or_is_refused(pattern: str, name: str) -> None:
    try:
        compile_name(pattern).fullmatch(name)
    except PatternProblem as problem:
        offset = problem.offset
    else:
        return
    assert 0 <= offset < len(pattern)


@given(st.text(max_size=10))
def test_an_escaped_name_matches_itself_alone(name: str) -> None:
    compiled = compile_name(re.sub(r"([*?\[\]\\-])", r"\\\1", name))
    assert compiled.fullmatch(name)
    assert not compiled.fullmatch(name + "x")


@pytest.mark.parametrize(
    ("text", "excluded", "kept"),
    [
        ("", [], ["a"]),
        ("# no\n\n  \n.\n/\n", [], ["a", "# no"]),
        ("a", ["a", "a/b", "a/b/c"], ["b/a", "ab"]),
        ("/a/", ["a", "a/b"], ["b/a"]),
        ("./a/../b", ["b"], ["a"]),
        ("*.pyc", ["a.pyc", "a.pyc/b"], ["d/a.pyc"]),
        ("*/temp*", ["a/temporary.txt", "b/temp"], ["temp", "a/b/temp"]),
        ("**/*.pyc", ["a.pyc", "d/a.pyc", "d/e/a.pyc"], ["a.py"]),
        ("**", ["a", "a/b"], []),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/z"], ["a", "a/x"]),
        ("*.md\n!README.md", ["a.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md"]),
        ("*\n!src\nsrc/tmp", ["a", "src/tmp", "src/tmp/x"], ["src", "src/a"]),
        ("! src\nsrc", ["src"], []),
        ("a?c", ["abc"], ["a/c"]),
    ],
)
def test_dockerignore(text: str, excluded: list[str], kept: list[str]) -> None:
    rules = IgnoreRules.parse(text, ".dockerignore")
    assert [path for path in excluded if not rules.excludes(path)] == []
    assert [path for path in kept if rules.excludes(path)] == []


@pytest.mark.parametrize(("text", "line", "column"), [("a\n!\n", 2, 2), ("a\n  [x\n", 2, 3), ("![z-a]", 1, 2)])
def test_a_bad_line_is_named(text: str, line: int, column: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        IgnoreRules.parse(text, ".dockerignore")
    assert (caught.value.file, caught.value.line, caught.value.column) == (".dockerignore", line, column)


@given(
    st.lists(st.text(alphabet="ab/*!?[]\\.#", max_size=8), max_size=4), st.text(alphabet="ab/", min_size=1, max_size=6)
)
def test_any_text_is_read_or_refused(lines: list[str], path: str) -> None:
    try:
        IgnoreRules.parse("\n".join(lines), ".dockerignore").excludes(path)
    except DockerfileError as caught:
        problem = caught
    else:
        return
    assert 1 <= problem.column <= len(problem.text) + 1
