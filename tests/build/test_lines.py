from __future__ import annotations

import pytest

from pytest_pycontainer.build.lines import read_lines
from pytest_pycontainer.errors import DockerfileError


def texts(text: str) -> list[str]:
    return [line.text for line in read_lines(text, "Dockerfile")]


def test_comments_empty_lines_and_indentation() -> None:
    assert texts("# a comment\n\nFROM host\n  # another\n  RUN true  \n") == ["FROM host", "RUN true"]


def test_continued_lines_are_one_and_comments_among_them_fall_out() -> None:
    assert texts("RUN a \\\n  # why\n\n  && b\\\t \n  c\nRUN d") == ["RUN a   && b  c", "RUN d"]


def test_a_doubled_backslash_does_not_continue() -> None:
    assert texts("RUN a\\\\\nRUN b") == ["RUN a\\\\", "RUN b"]


def test_a_continuation_at_the_end_of_the_file_ends() -> None:
    assert texts("RUN a \\") == ["RUN a"]


def test_a_hash_inside_a_line_is_no_comment() -> None:
    assert texts("RUN echo a # b") == ["RUN echo a # b"]


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    assert texts("\ufeffFROM host\r\nRUN a \\\r\n b\r\n") == ["FROM host", "RUN a  b"]


def test_the_escape_directive() -> None:
    lines = read_lines("# syntax=docker/dockerfile:1\n# escape=`\nRUN a `\n b\nCOPY c:\\ d\\\n", "Dockerfile")
    assert [line.text for line in lines] == ["RUN a  b", "COPY c:\\ d\\"]
    assert lines[0].escape == "`"


def test_a_directive_after_anything_else_is_a_comment() -> None:
    assert read_lines("# hello\n# escape=`\nRUN a\\\n b", "Dockerfile")[0].text == "RUN a b"
    assert read_lines("# unknown=1\n# escape=`\nRUN a\\\n b", "Dockerfile")[0].text == "RUN a b"


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("# escape=x\nFROM host", 1, 10, "is \\\\ or `"),
        ("# escape = x\nFROM host", 1, 12, "is \\\\ or `"),
        ("# escape=`\n# Escape=`\nFROM host", 2, 1, "given before"),
    ],
)
def test_directives_that_make_no_sense(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(DockerfileError, match=problem) as caught:
        read_lines(text, "Dockerfile")
    assert (caught.value.line, caught.value.column) == (line, column)


def test_an_error_points_into_the_physical_line() -> None:
    (line,) = read_lines("\n  RUN one \\\n    # no\n    two three\n", "path/Dockerfile")
    error = line.error(line.text.index("three"), "why")
    assert (error.file, error.line, error.column) == ("path/Dockerfile", 4, 9)
    assert error.text == "    two three"
    assert str(error).splitlines()[-1].index("^") == str(error).splitlines()[-2].index("three")
    first = line.error(0, "why")
    assert (first.line, first.column) == (2, 3)


def test_here_documents_are_the_lines_behind_in_order() -> None:
    first, second = read_lines("RUN a <<one \\\n  <<-'two'\n# x\n\none\n\t\ty\n \tz\\\n\t\ttwo\nRUN b", "Dockerfile")
    assert (first.text, second.text) == ("RUN a <<one   <<-'two'", "RUN b")
    one, two = first.heredocs
    assert (one.name, one.content, one.expands, one.offset) == ("one", "# x\n\n", True, 6)
    assert (two.name, two.content, two.expands) == ("two", "y\n \tz\\\n", False)
    assert second.pieces[0].number == 9


def test_a_here_document_may_be_empty_and_keeps_windows_line_ends() -> None:
    (line,) = read_lines("RUN <<E\r\nE\r\n", "Dockerfile")
    assert line.heredocs[0].content == ""
    (line,) = read_lines("RUN <<E\r\na\r\nE\r\n", "Dockerfile")
    assert line.heredocs[0].content == "a\r\n"


def test_an_error_in_a_here_document_points_into_it() -> None:
    (line,) = read_lines("COPY <<-E /a\n\tone\n\t\ttwo $x\n\tE\n", "Dockerfile")
    (document,) = line.heredocs
    error = document.body.error(document.content.index("$"), "why")
    assert (error.line, error.column, error.text) == (3, 7, "\t\ttwo $x")
    assert str(error).splitlines()[-1].expandtabs().index("^") == str(error).splitlines()[-2].expandtabs().index("$")
    assert document.body.error(len(document.content), "why").line == 4


def test_white_space_is_what_it_is_to_docker() -> None:
    assert texts("\u3000RUN a\u00a0b\u2003\n\x1cRUN") == ["RUN a\u00a0b", "\x1cRUN"]
