from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.errors import DockerfileError


def one(text: str) -> kinds.Instruction:
    (instruction,) = parse(text, "Dockerfile")
    return instruction


def sources(copy: kinds.Copy | kinds.Add) -> list[str]:
    return [source.text if isinstance(source, kinds.Word) else source.content for source in copy.sources]


def words(values: tuple[tuple[kinds.Word, kinds.Word], ...]) -> list[tuple[str, str]]:
    return [(name.text, value.text) for name, value in values]


def test_instructions_in_any_case() -> None:
    found = parse("from host as Base\nrun true\nCopy a b\n", "Dockerfile")
    assert [type(instruction) for instruction in found] == [kinds.From, kinds.Run, kinds.Copy]
    assert isinstance(found[0], kinds.From)
    assert (found[0].image.text, found[0].name) == ("host", "base")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("RUN apt-get update && true", "apt-get update && true"),
        ('RUN ["/bin/echo", "a b"]', ("/bin/echo", "a b")),
        ('RUN [ "a" ,\\\n "b" ]', ("a", "b")),
        ('RUN [ "$x" = y ] && echo "z"', '[ "$x" = y ] && echo "z"'),
        ("RUN [ -f /x ]", "[ -f /x ]"),
        ("RUN \u00a0 a\u00a0b", "a\u00a0b"),
        ("RUN echo $((1 << x)) <<< y", "echo $((1 << x)) <<< y"),
        ('RUN ["\\u00fc"]', ("ü",)),
    ],
)
def test_run_in_shell_and_exec_form(text: str, command: kinds.Command) -> None:
    instruction = one(text)
    assert isinstance(instruction, kinds.Run)
    assert instruction.command == command


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("RUN <<EOF\na\nb\nEOF", "a\nb\n"),
        ("RUN --network=none <<-'EOF'\n\ta\n\tEOF", "a\n"),
        ("RUN <<EOF\n#!/bin/sh\nEOF", ("/dev/pipes/EOF",)),
        ("RUN <<-EOF\n\t#!/bin/sh\n\tEOF", ("/dev/pipes/EOF",)),
        ("RUN <<EOF cat\n#!/bin/sh\nEOF", "<<EOF cat\n#!/bin/sh\nEOF"),
        ("RUN cat <<a - <<'b' | x\n1\na\n2\nb\n", "cat <<a - <<'b' | x\n1\na\n2\nb"),
        ("RUN a \\\n  <<b\nb", "a   <<b\nb"),
    ],
)
def test_run_of_here_documents(text: str, command: kinds.Command) -> None:
    instruction = one(text)
    assert isinstance(instruction, kinds.Run)
    assert instruction.command == command
    is_script = isinstance(command, tuple)
    assert (instruction.script is instruction.heredocs[0]) if is_script else (instruction.script is None)


def test_copy_and_add_of_here_documents() -> None:
    copy, add = parse("COPY a <<b <<'c d' e/\nB\nb\nc d\nADD <<-x /y\n\tX\n\tx\n", "Dockerfile")
    assert isinstance(copy, kinds.Copy)
    assert sources(copy) == ["a", "B\n", ""]
    assert [source.expands for source in copy.sources if isinstance(source, kinds.Heredoc)] == [True, False]
    assert copy.destination.text == "e/"
    assert isinstance(add, kinds.Add)
    assert sources(add) == ["X\n"]


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("ONBUILD RUN a", "RUN a"),
        ("onbuild  copy --from=x a \\\n b", "copy --from=x a  b"),
        ("ONBUILD RUN cat <<-'E' <<f\n\ta\n\tE\nb\nf", "RUN cat <<-'E' <<f\na\nE\nb\nf"),
    ],
)
def test_triggers_are_kept_as_text_that_can_be_read_again(text: str, trigger: str) -> None:
    instruction = one(text)
    assert isinstance(instruction, kinds.OnBuild)
    assert instruction.trigger.text == trigger
    one(trigger)


def test_flags() -> None:
    run = one("RUN --mount=type=cache,target=/a --network=none --mount='type=bind,target=/b c' -- make --x")
    assert isinstance(run, kinds.Run)
    assert [word.text for word in run.mounts] == ["type=cache,target=/a", "type=bind,target=/b c"]
    assert run.line.text[run.mounts[0].offset :].startswith("type=cache")
    assert run.network is not None
    assert (run.network.text, run.security, run.command) == ("none", None, "make --x")
    copy = one("COPY --link --parents=TRUE --exclude=a --exclude=b --from= a b")
    assert isinstance(copy, kinds.Copy)
    assert (copy.link, copy.parents, copy.source_stage) == (True, True, None)
    assert [word.text for word in copy.excludes] == ["a", "b"]
    add = one("ADD --checksum=sha256:1 --keep-git-dir --unpack=false --link=false --chmod=u+x --chown=a:b a b")
    assert isinstance(add, kinds.Add)
    assert (add.keep_git_dir, add.unpack, add.link) == (True, False, False)
    assert add.checksum is not None
    assert add.mode is not None
    assert add.owner is not None
    assert (add.checksum.text, add.mode.text, add.owner.text) == ("sha256:1", "u+x", "a:b")
    add = one("ADD a b")
    assert isinstance(add, kinds.Add)
    assert add.unpack is None
    start = one("FROM --platform=$BUILDPLATFORM a AS b")
    assert isinstance(start, kinds.From)
    assert start.platform is not None
    assert start.platform.text == "$BUILDPLATFORM"


def test_json_is_gos() -> None:
    for text in ("[" * 100_000, "[1e999999]x", "[" + "1" * 5000, "[NaN]"):
        run = one(f"RUN {text}")
        assert isinstance(run, kinds.Run)
        assert run.command == text
    with pytest.raises(DockerfileError, match="something else than a string"):
        one(f"RUN [{'1' * 5000}]")
    run = one('RUN ["\\ud800", "\\ud83d\\ude80"]')
    assert isinstance(run, kinds.Run)
    assert run.command == ("\ufffd", "\U0001f680")


def test_cmd_and_entrypoint_may_be_empty_lists() -> None:
    cmd, entrypoint = parse("CMD []\nENTRYPOINT []", "Dockerfile")
    assert isinstance(cmd, kinds.Cmd)
    assert isinstance(entrypoint, kinds.Entrypoint)
    assert cmd.command == entrypoint.command == ()


def test_copy_with_flags_and_in_json_form() -> None:
    copy = one("COPY --from=build --chown=app:app --chmod=755 a [b]* /c/")
    assert isinstance(copy, kinds.Copy)
    assert sources(copy) == ["a", "[b]*"]
    assert copy.destination.text == "/c/"
    assert copy.source_stage is not None
    assert (copy.source_stage.text, copy.line.text[copy.source_stage.offset :][:5]) == ("build", "build")
    assert copy.owner is not None
    assert copy.owner.text == "app:app"
    assert copy.mode is not None
    assert copy.mode.text == "755"
    copy = one('COPY ["a b", "/c d"]')
    assert isinstance(copy, kinds.Copy)
    assert (sources(copy), copy.destination.text) == (["a b"], "/c d")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV a=1", [("a", "1")]),
        ('ENV a=1 b="x y" c=x\\ y d=', [("a", "1"), ("b", '"x y"'), ("c", "x\\ y"), ("d", "")]),
        ("ENV a b c=d", [("a", "b c=d")]),
        ("ENV a='x y' \\\n    b=2", [("a", "'x y'"), ("b", "2")]),
        ("ENV a=b=c", [("a", "b=c")]),
        ("ENV \u00a0a=b\u00a0c=d", [("a", "b"), ("c", "d")]),
        ("ENV a=b \\\v", [("a", "b")]),
        ("ENV a\u00a0b c", [("a\u00a0b", "c")]),
        ("ENV a='x\\' b=2", [("a", "'x\\'"), ("b", "2")]),
        ('ENV a="x\\" y" b=2', [("a", '"x\\" y"'), ("b", "2")]),
    ],
)
def test_env_in_both_forms(text: str, pairs: list[tuple[str, str]]) -> None:
    instruction = one(text)
    assert isinstance(instruction, kinds.Env)
    assert words(instruction.values) == pairs


def test_the_rest() -> None:
    text = (
        'LABEL a="b c"\nARG one two=2\nWORKDIR /a b\nUSER app:app\nEXPOSE 80 443/tcp\nVOLUME ["/a", "/b"]\n'
        'VOLUME /c /d\nSTOPSIGNAL SIGINT\nSHELL ["/bin/bash", "-c"]\nMAINTAINER A. Person\n'
    )
    label, arg, workdir, user, expose, volume, volumes, signal, shell, maintainer = parse(text, "Dockerfile")
    assert isinstance(label, kinds.Label)
    assert words(label.values) == [("a", '"b c"')]
    assert isinstance(arg, kinds.Arg)
    assert [(name.text, default and default.text) for name, default in arg.defaults] == [("one", None), ("two", "2")]
    assert isinstance(workdir, kinds.Workdir)
    assert workdir.path.text == "/a b"
    assert isinstance(user, kinds.User)
    assert user.user.text == "app:app"
    assert isinstance(expose, kinds.Expose)
    assert [word.text for word in expose.ports] == ["80", "443/tcp"]
    assert isinstance(volume, kinds.Volume)
    assert [word.text for word in volume.paths] == ["/a", "/b"]
    assert isinstance(volumes, kinds.Volume)
    assert [word.text for word in volumes.paths] == ["/c", "/d"]
    assert isinstance(signal, kinds.StopSignal)
    assert signal.signal.text == "SIGINT"
    assert isinstance(shell, kinds.Shell)
    assert shell.command == ("/bin/bash", "-c")
    assert isinstance(maintainer, kinds.Maintainer)
    assert maintainer.author.text == "A. Person"


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("", 1, 1, "no instructions"),
        ("# only this\n", 1, 1, "no instructions"),
        ("FROM host\nRUNN true", 2, 1, "unknown instruction RUNN; did you mean RUN?"),
        ("FROM host\n  copi a b", 2, 3, "unknown instruction copi; did you mean COPY?"),
        ("XYZZY", 1, 1, "known are ADD, ARG, CMD"),
        ("FROM", 1, 5, "expected something after FROM"),
        ("FROM a b", 1, 8, "expected AS"),
        ("FROM a AS", 1, 10, "expected a stage's name"),
        ("FROM a AS b c", 1, 13, "expected nothing after"),
        ("FROM a AS 1b", 1, 11, "cannot name a stage"),
        ("RUN", 1, 4, "expected something after RUN"),
        ("RUN []", 1, 5, "expected a command"),
        ("RUN --wrong=1 y", 1, 5, "RUN has no flag --wrong; it knows --device, --mount, --network"),
        ("CMD --wrong=1 y", 1, 5, "CMD has no flag --wrong; it knows none"),
        ("RUN --device=x y", 1, 14, "does not know RUN --device yet"),
        ("RUN ['a']", 1, 6, "JSON array of strings in double quotes"),
        ('RUN ["a" "b"]', 1, 10, "JSON array"),
        ('RUN ["a", 1]', 1, 5, "something else than a string"),
        ('CMD ["a", ]', 1, 11, "JSON array"),
        ("RUN a \\\n  && cat <<EOF\nhello\n EOF", 2, 10, "has no end: no line after it is EOF alone"),
        ('COPY <<-"EOF" /a', 1, 6, "has no end"),
        ("ONBUILD RUN cat <<EOF\nhello", 1, 17, "has no end"),
        ("COPY a <<EOF\nEOF", 1, 8, "cannot be the destination"),
        ("COPY <<EOF\nEOF", 1, 11, "at least one source and a destination after COPY"),
        ("ADD a", 1, 6, "at least one source and a destination after ADD"),
        ("HEALTHCHECK true", 1, 13, "expected CMD or NONE"),
        ("HEALTHCHECK CMD", 1, 16, "expected a command"),
        ("HEALTHCHECK CMD []", 1, 19, "expected a command"),
        ("HEALTHCHECK NONE a", 1, 18, "expected nothing after"),
        ("HEALTHCHECK --retries=1", 1, 24, "expected something after HEALTHCHECK"),
        ("ONBUILD", 1, 8, "expected something after ONBUILD"),
        ("ONBUILD ONBUILD RUN a", 1, 9, "ONBUILD cannot be an ONBUILD trigger"),
        ("ONBUILD from a", 1, 9, "FROM cannot be"),
        ("ONBUILD MAINTAINER a", 1, 9, "MAINTAINER cannot be"),
        ("ONBUILD RUNN a", 1, 9, "unknown instruction RUNN; did you mean RUN?"),
        ("ONBUILD COPY \\\n  a", 2, 4, "at least one source"),
        ("COPY a", 1, 7, "at least one source and a destination"),
        ('COPY ["a"]', 1, 11, "at least one source"),
        ("COPY --chown a b", 1, 6, "--chown needs a value"),
        ("COPY --from=a --from=b c d", 1, 15, "given before"),
        ("COPY --form=a b c", 1, 6, "no flag --form; it knows --chmod, --chown, --exclude, --from, --link, --parents"),
        ("COPY --link=maybe a b", 1, 6, "--link is true or false, not 'maybe'"),
        ("COPY --link= a b", 1, 6, "--link is true or false"),
        ("COPY --link --link=false a b", 1, 13, "given before"),
        ("ENV a", 1, 6, "expected = and a value"),
        ("ENV a=1 b", 1, 9, "b has no ="),
        ("ENV =1", 1, 5, "expected a name"),
        ("ENV a=1 \\\n  =2", 2, 3, "expected a name"),
        ("ARG =x", 1, 5, "cannot name a build argument"),
        ("USER a b", 1, 8, "one word"),
        ("SHELL /bin/sh", 1, 7, "SHELL has no other form"),
        ("SHELL []", 1, 7, "SHELL has no other form"),
        ("VOLUME []", 1, 8, "at least one path"),
    ],
)
def test_errors_point_at_what_is_wrong(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text, "Dockerfile")
    assert problem in caught.value.problem
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_error_shows_the_line_with_a_caret() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse("FROM host\nRUNN true\n", "app/Dockerfile")
    assert str(caught.value).splitlines() == [
        "app/Dockerfile:2:1: unknown instruction RUNN; did you mean RUN?",
        "    RUNN true",
        "    ^",
    ]


_lines = st.sampled_from(
    ["FROM", "RUN", "COPY", "ADD", "ENV", "CMD", "ARG", "LABEL", "VOLUME", "SHELL", "HEALTHCHECK", "ONBUILD RUN", "E"]
).flatmap(lambda name: st.text(alphabet="ab=\"'[],\\ $-{}<E\n#\t", max_size=25).map(lambda rest: f"{name} {rest}"))


@given(st.lists(_lines, max_size=3).map("\n".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused_at_a_place_in_it(text: str) -> None:
    try:
        parse(text, "Dockerfile")
    except DockerfileError as caught:
        problem = caught
    else:
        return
    lines = text.split("\n")
    assert 1 <= problem.line <= len(lines)
    assert 1 <= problem.column <= len(problem.text) + 1
    assert not problem.text or problem.text in lines[problem.line - 1].removeprefix("\ufeff")
