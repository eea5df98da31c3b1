"""Classes of values, beside those of ``dataclasses``."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.runtime import values


@values.dataclass(frozen=True, slots=True, order=True)
class Point:
    """A place."""

    x: int
    y: int = 7
    names: tuple[str, ...] = values.field(default=(), repr=False)

    @property
    def sum(self) -> int:
        return self.x + self.y


@values.dataclass(frozen=True, slots=True)
class Other:
    x: int
    y: int = 7
    names: tuple[str, ...] = ()


@values.dataclass(frozen=True, slots=True)
class Empty:
    """Nothing to say."""


@values.dataclass(slots=True)
class Changing:
    members: dict[str, int] = values.field(default_factory=dict)
    count: int = values.field(init=False)

    def __post_init__(self) -> None:
        self.count = len(self.members)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Real:
    x: int
    y: int = 7
    names: tuple[str, ...] = dataclasses.field(default=(), repr=False)


_arguments = st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([(), ("a",), ("b",)]))


@given(_arguments, _arguments)
def test_values_compare_as_those_of_dataclasses(
    one: tuple[int, int, tuple[str]], other: tuple[int, int, tuple[str]]
) -> None:
    ours, real = (Point(*one), Point(*other)), (Real(*one), Real(*other))
    for compare in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(ours[0], compare)(ours[1]) == getattr(real[0], compare)(real[1])
    assert (hash(ours[0]) == hash(ours[1])) == (one == other)
    assert repr(ours[0]) == repr(real[0]).replace("Real", "Point")


def test_defaults_names_and_methods() -> None:
    assert (Point(1), Point(y=2, x=1)) == (Point(1, 7), Point(1, 2))
    assert Point(1, 2).sum == 3
    assert Point.__doc__ == "A place."
    other: object = Other(1)
    assert Point(1) != other
    assert Empty() == Empty()
    assert not hasattr(Point(1), "__dict__")


def test_what_is_made_for_one_is_not_another_s() -> None:
    one, other = Changing(), Changing({"a": 1})
    one.members["b"] = 2
    assert Changing().members == {}
    assert (one.count, other.count) == (0, 1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize(
    ("given_", "named", "message"),
    [
        ((), {}, "missing the argument 'x'"),
        ((1, 2, (), 4), {}, "takes 3 arguments, but 4"),
        ((1,), {"x": 2}, "unexpected argument, or one twice: x"),
        ((1,), {"z": 2}, "unexpected argument, or one twice: z"),
    ],
)
def test_wrong_arguments(given_: tuple[int, ...], named: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*given_, **named)  # type: ignore[arg-type]


def test_a_frozen_one_is_not_changed() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="field 'x' of Point"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    assert point == Point(1)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_they_travel(protocol: int) -> None:
    for value in (Point(1, 2, ("a",)), Changing({"a": 1})):
        assert pickle.loads(pickle.dumps(value, protocol)) == value
    assert copy.deepcopy(Point(1)) == copy.copy(Point(1)) == Point(1)


def test_dataclasses_takes_them_for_its_own() -> None:
    point = Point(1, 2)
    assert values.replace(point, y=3) == dataclasses.replace(point, y=3) == Point(1, 3)
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "names": ()}
    assert [field.name for field in dataclasses.fields(Changing)] == ["members", "count"]
    assert values.replace(Changing({"a": 1}), members={}) == dataclasses.replace(Changing()) == Changing()
    assert str(inspect.signature(Point)) == "(x: 'int', y: 'int' = 7, names: 'tuple[str, ...]' = ()) -> None"
    match point:
        case Point(1, y):
            assert y == 2
        case _:
            pytest.fail("it matches nothing")


def test_the_spawner_does_without_what_takes_long_to_import() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pytest_pycontainer.runtime.spawner_process; "
        "print({'dataclasses', 'inspect', 'json', 'pathlib', 'subprocess', 'threading'} & set(sys.modules))"
    )
    root = Path(values.__file__).parents[2]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
