from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.instructions import Run, Word
from pytest_pycontainer.build.mount_options import MountOptions, read_mount, stage_names
from pytest_pycontainer.errors import DockerfileError


def read(value: str, variables: dict[str, str] | None = None) -> MountOptions:
    (run,) = parse(f"RUN --mount={value} true\n", "Dockerfile")
    assert isinstance(run, Run)

    def expand(word: Word) -> str:
        text = word.text
        for name, replacement in (variables or {}).items():
            text = text.replace(f"${name}", replacement)
        return text

    return read_mount(run.line, run.mounts[0], expand)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("target=/x", {"type": "bind", "target": "/x", "read_only": True}),
        ("type=bind,dst=/x,src=a,rw", {"target": "/x", "source": "a", "read_only": False}),
        ("destination=/x,from=Build,ro=false", {"target": "/x", "stage": "Build", "read_only": False}),
        ("type=bind,target=/x,rw,readonly", {"read_only": True}),
        ("type=cache,target=/x", {"type": "cache", "read_only": False, "sharing": "shared"}),
        (
            "TYPE=Cache,target=/x,id=y,sharing=LOCKED,mode=0700,uid=1,gid=2,ro",
            {"id": "y", "sharing": "locked", "mode": 0o700, "uid": 1, "gid": 2, "read_only": True},
        ),
        ("type=tmpfs,target=/x,size=1.5m", {"type": "tmpfs", "size": 3 << 19, "read_only": False}),
        ("type=tmpfs,target=/x,size=2GiB", {"size": 2 << 30}),
        ("type=secret,id=a,required", {"type": "secret", "id": "a", "required": True}),
        ("type=secret,id=a,env=NAME,required=F", {"environment": "NAME", "required": False}),
        ("type=ssh", {"type": "ssh", "id": "", "required": False}),
        ("target=/$x,source=$x", {"target": "/value", "source": "value"}),
    ],
)
def test_options_are_read_as_buildkit_reads_them(value: str, wanted: dict[str, object]) -> None:
    options = asdict(read(value, {"x": "value"}))
    assert {name: options[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("value", "column", "problem"),
    [
        ("type=volume,target=/x", 18, "wanted bind, cache, tmpfs, secret, ssh"),
        ("type=bind,tagret=/x", 23, "did you mean target?"),
        ("type=bind,target", 23, "expected = and a value after target"),
        ("type=bind,target=/x,mode=700", 38, "a mount of type bind has no mode; it is for secret, ssh, cache"),
        ("type=cache,target=/x,size=1m", 39, "it is for tmpfs"),
        ("type=tmpfs,target=/x,size=big", 39, "size is a size such as 64m, not 'big'"),
        ("type=cache,target=/x,sharing=both", 42, "wanted shared, private, locked"),
        ("type=cache,target=/x,mode=rwx", 39, "permissions in octal"),
        ("type=cache,target=/x,uid=root", 38, "uid is a number"),
        ("type=secret,id=a,required=maybe", 39, "true or false"),
        ("type=bind,target=/x,ro=maybe", 36, "true or false"),
    ],
)
def test_what_makes_no_sense_is_pointed_at(value: str, column: int, problem: str) -> None:
    with pytest.raises(DockerfileError) as raised:
        read(value)
    assert problem in raised.value.problem
    assert (raised.value.line, raised.value.column) == (1, column)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r")))
def test_nothing_but_a_dockerfile_error_is_raised(text: str) -> None:
    (run,) = parse("RUN --mount=x true\n", "Dockerfile")
    with suppress(DockerfileError):
        read_mount(run.line, Word(text, 12), lambda word: word.text)


def test_stages_are_named_without_variables() -> None:
    (run,) = parse(
        "RUN --mount=from=a,target=/x --mount=type=tmpfs,from=b,target=/y --mount=type=cache,target=/z,FROM=c true\n",
        "Dockerfile",
    )
    assert isinstance(run, Run)
    assert [(word.text, run.line.text[word.offset]) for word in stage_names(run)] == [("a", "a"), ("c", "c")]
