"""What is shared is the same for any process that means the same, and is nothing of one process alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.keeper_messages import Wanted
from pytest_pycontainer.engine.sharing import SharedContainer
from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.image.config import ImageConfig

IMAGE = Image("sha256:1", "server:1", ImageConfig.scratch())


def wanted(command: Any = None, *, reused: bool = True, **options: object) -> Wanted:
    return SharedContainer.of("place", IMAGE, command, options).wanted(reused=reused, seconds=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"env": {"A": "1", "B": "2"}}, {"env": ["B=2", "A=1"]}),
        ({"env": {"A": 1}}, {"env": "A=1"}),
        ({"labels": {"a": ""}}, {"labels": ["a"]}),
        ({"command": "serve --fast"}, {"command": ["serve", "--fast"]}),
        ({"cap_add": {"NET_ADMIN", "SYS_TIME"}}, {"cap_add": frozenset({"SYS_TIME", "NET_ADMIN"})}),
        ({"volumes": {Path("data"): "/data"}}, {"volumes": {"./data": "/data"}}),
        ({"pull": "always"}, {"pull": "missing"}),
    ],
)
def test_what_means_the_same_is_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert wanted(**one).key == wanted(**other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"env": {"A": "1"}}, {"env": {"A": "2"}}),
        ({"command": "serve --fast"}, {"command": ["serve --fast"]}),
        ({"ports": [80]}, {"ports": ["80"]}),
        ({"volumes": {"data": "/data"}}, {"volumes": {"./data": "/data"}}),
        ({"init": True}, {}),
    ],
)
def test_what_is_another_thing_is_not(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert wanted(**one).key != wanted(**other).key
    assert wanted(reused=False, **one).key == wanted(reused=False, **other).key == "place"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"volumes": ["./a:/a", "name:/b", "/c"]}, "['{here}/a:/a', 'name:/b', '/c']"),
        ({"mounts": ["type=bind,source=./a,target=/a"]}, "['type=bind,source={here}/a,target=/a']"),
        ({"security_opt": ["seccomp=profile.json", "seccomp=unconfined"]},
         "['seccomp={here}/profile.json', 'seccomp=unconfined']"),
        ({"security_opt": 'seccomp={"a": "profile.json"}'}, "['seccomp={{\"a\": \"profile.json\"}}']"),
    ],
)  # fmt: skip
def test_paths_are_those_of_who_asked(
    options: Mapping[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profile.json").write_text("{}")
    ((name, _),) = options.items()
    assert wanted(**options).specification[name] == expected.format(here=tmp_path)


def test_a_function_is_of_one_process_alone() -> None:
    with pytest.raises(InvalidSpecError, match=r"hostname of a container that is shared or reused .*lambda"):
        wanted(hostname=lambda: "a")


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.text(), st.lists)))
def test_the_order_of_names_says_nothing(options: dict[str, Any]) -> None:
    options = {f"x{name}": value for name, value in options.items()}
    assert wanted(**options) == wanted(**dict(reversed(options.items())))
