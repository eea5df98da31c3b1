from __future__ import annotations

import pytest

from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.instructions import Arg, Copy, Heredoc
from pytest_pycontainer.build.stages import Plan, declare, expand_heredoc, plan_stages
from pytest_pycontainer.errors import DockerfileError
from pytest_pycontainer.image.platform import Platform


def plan(text: str, **given: str) -> Plan:
    return plan_stages(parse(text, "Dockerfile"), given, Platform("linux", "amd64"))


def test_stages_stand_on_images_and_on_each_other() -> None:
    stages = plan(
        "FROM host AS One\nRUN a\nFROM ONE AS two\nFROM redis:7\nCOPY --from=0 a b\nCOPY --from=nginx c d"
    ).stages
    assert [stage.base for stage in stages] == ["host", 0, "redis:7"]
    assert [len(stage.instructions) for stage in stages] == [1, 0, 2]
    assert stages[2].copies == (0, "nginx")
    assert [stage.needs for stage in stages] == [set(), {0}, {0}]


@pytest.mark.parametrize(
    ("target", "needed"),
    [(None, [0, 2, 3]), ("last", [0, 2, 3]), ("LAST", [0, 2, 3]), ("b", [1]), ("1", [1]), ("c", [0, 2])],
)
def test_only_what_the_target_needs_is_built(target: str | None, needed: list[int]) -> None:
    text = "FROM host AS a\nFROM host AS b\nFROM a AS c\nFROM host AS last\nCOPY --from=c x y"
    assert [stage.index for stage in plan(text).needed(target)] == needed


def test_an_unknown_target() -> None:
    with pytest.raises(DockerfileError, match=r"no stage 'x' to build \(stages: a\)"):
        plan("FROM host AS a\nFROM host").needed("x")


def test_arguments_before_the_first_stage() -> None:
    text = 'ARG base=host\nARG tag\nARG whole="${base}:${tag:-1}"\nFROM $whole'
    assert plan(text).stages[0].base == "host:1"
    assert plan(text, base="redis", tag="7").stages[0].base == "redis:7"
    assert plan("FROM a-$TARGETARCH").stages[0].base == "a-amd64"


def test_of_two_stages_with_one_name_the_nearer_above_is_meant() -> None:
    text = "FROM x AS a\nFROM a AS A\nFROM a\nCOPY --from=a b c\nFROM nginx AS nginx\nFROM y AS a"
    stages = plan(text).stages
    assert [stage.base for stage in stages] == ["x", 0, 1, "nginx", "y"]
    assert stages[2].copies == (1,)
    assert [stage.index for stage in plan(text).needed("a")] == [4]


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("FROM a", None),
        ("FROM --platform=$BUILDPLATFORM a", Platform("linux", "amd64")),
        ("FROM --platform=linux/arm64/v8 a", Platform("linux", "arm64", "v8")),
        ("FROM --platform=Linux/x86_64 a", Platform("linux", "amd64")),
        ("FROM --platform=s390x a", Platform("linux", "s390x")),
        ("FROM --platform=windows a", Platform("windows", Platform.current().architecture)),
        ("ARG where=linux/386\nFROM --platform=$where a", Platform("linux", "386")),
    ],
)
def test_platforms_of_stages(text: str, platform: Platform | None) -> None:
    assert plan(text).stages[0].platform == platform


def test_the_arguments_that_are_always_there() -> None:
    assert plan("FROM $TARGETOS-$BUILDARCH-${TARGETVARIANT:-none}").stages[0].base == "linux-amd64-none"
    assert plan("FROM $TARGETARCH", TARGETARCH="mine").stages[0].base == "mine"
    instructions = parse("FROM a AS one\nFROM b AS two", "Dockerfile")
    assert plan_stages(instructions, {}, Platform("linux", "amd64")).arguments["TARGETSTAGE"] == "two"
    assert plan_stages(instructions, {}, Platform("linux", "amd64"), "one").arguments["TARGETSTAGE"] == "one"
    assert plan("FROM a").arguments["TARGETSTAGE"] == "default"


def test_a_default_sees_what_its_line_declared_before() -> None:
    text = "ARG a=1 b=$a-2 c=${b}-3\nFROM $c"
    assert plan(text).stages[0].base == "1-2-3"
    assert plan(text, a="x").stages[0].base == "x-2-3"
    arguments = {"n": "argument"}
    (argument,) = parse("ARG m=$n-$o", "Dockerfile")
    assert isinstance(argument, Arg)
    declare(argument, {}, inherited={}, arguments=arguments, environment={"n": "environment", "o": "other"})
    assert arguments == {"n": "argument", "m": "argument-other"}


def test_a_default_that_is_not_used_may_be_wrong() -> None:
    assert plan("ARG a=${b:?missing}\nFROM $a", a="x").stages[0].base == "x"


def test_here_documents_are_expanded_unless_their_name_is_quoted() -> None:
    text = "# escape=`\nCOPY <<a <<'b' <<-c /d\n\"$x\" '$x' `$x \\$x\na\n$x\nb\n\tx\n\t\t${x:?\nc\n"
    (copy,) = parse(text, "Dockerfile")
    assert isinstance(copy, Copy)
    one, two, three = (source for source in copy.sources if isinstance(source, Heredoc))
    assert expand_heredoc(one, {"x": "value"}) == "\"value\" 'value' `value $x\n"
    assert expand_heredoc(two, {"x": "value"}) == "$x\n"
    with pytest.raises(DockerfileError, match="has no }") as caught:
        expand_heredoc(three, {"x": "value"})
    assert (caught.value.line, caught.value.column) == (8, 3)


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("RUN true\nFROM host", 1, 1, "only ARG may stand before"),
        ("ARG a", 1, 1, "there is no stage"),
        ("FROM host\nCOPY --from=$x a b", 2, 13, r"give it a name with FROM $x AS"),
        ("FROM --platform=$nothing host", 1, 17, "the platform is empty"),
        ("FROM --platform=linux/a/b/c host", 1, 17, "linux/a/b/c"),
        ("ARG x\nFROM $x", 2, 6, "empty"),
        ("FROM ${x", 1, 6, "has no }"),
        ("FROM host\nCOPY --from=0 a b", 2, 13, "cannot copy from itself"),
        ("FROM host AS a\nCOPY --from=a a b", 2, 13, "cannot copy from itself"),
        ("FROM host\nCOPY --from=b a b\nFROM host AS b", 2, 13, "comes later"),
        ("FROM host\nCOPY --from=7 a b", 2, 13, "no stage 7; stages count from 0 to 0"),
    ],
)
def test_errors_point_at_what_is_wrong(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        plan(text)
    assert problem in caught.value.problem
    assert (caught.value.line, caught.value.column) == (line, column)
