"""Fixtures that are declared by a call: what stands where pytest expects a fixture function.

A declaration's arguments may hold other fixtures, and functions of fixtures, wherever values stand in them. Those that
have a name are requested by it, as a fixture function's parameters are; the values take their places at set-up.
"""

from __future__ import annotations

import inspect
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, cast, get_args

import pytest

# What pytest.fixture returns; pytest has no public name for it.
from _pytest.fixtures import FixtureFunctionDefinition

from pytest_pycontainer.errors import InvalidSpecError

if TYPE_CHECKING:
    from pytest_pycontainer.engine.engine import Engine

Scope = Literal["session", "package", "module", "class", "function"]


class FixtureOptions(TypedDict, total=False):
    """What every factory takes for the fixture itself, as ``pytest.fixture`` does.

    ``params`` make a value each: of a factory whose first argument is left out they are that argument, and in a
    function among the arguments ``request.param`` is the one whose turn it is; fixtures may be among them. ``ids`` are
    how tests' names show them. ``fixture_name`` is what the fixture is requested by, if not by the name that it is
    assigned to.
    """

    scope: Scope | Callable[[str, pytest.Config], Scope]
    params: Iterable[object] | None
    ids: Sequence[object | None] | Callable[[Any], object | None] | None
    autouse: bool
    fixture_name: str | None


class _Parameter:
    """The place of ``request.param``."""

    def __repr__(self) -> str:
        return "one of its params"


PARAMETER: Final = _Parameter()
"""Stands among a declaration's arguments for the one of its ``params`` whose turn it is."""

KEEPERS_FIXTURE: Final = "_pycontainer_keepers"
"""The fixture that all request which is shared or reused: its end lets go of the keepers."""


@dataclass(frozen=True, slots=True)
class SetUp:
    """A fixture's set-up: the values of the fixtures that it requested, and what is to be undone at its end."""

    request: pytest.FixtureRequest
    engine: Engine
    fixtures: Mapping[str, Any]
    until_finished: ExitStack
    nameless: dict[int, object] = field(default_factory=dict)


class Declaration(ABC):
    """Stands where pytest expects a fixture function, for one that was declared by a call.

    pytest asks for the signature when it has imported the whole module, so a dependency can be looked up then by the
    name that it was given. A fixture of ours that has no name where the call stands is set up for this one alone, and
    ends with it.
    """

    def __init__(self, caller: FrameType, factory: str, given: Mapping[str, Any]) -> None:
        self.__name__ = factory
        self.__module__ = caller.f_globals.get("__name__", "")
        in_function = caller.f_code.co_flags & inspect.CO_OPTIMIZED
        self._namespaces = (caller.f_globals,) if in_function else (caller.f_locals, caller.f_globals)
        self.given: Mapping[str, Any] = dict(given)
        self.place = (caller.f_code.co_filename, caller.f_lineno)
        self.__wrapped__ = _function_at(*self.place, factory)

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        # A class may hold the declaration: it takes no self, so there is nothing to bind.
        return self

    def __call__(self, **fixtures: Any) -> Any:
        __tracebackhide__ = True
        return self.__wrapped__(self._set_up, fixtures)

    @property
    def __signature__(self) -> inspect.Signature:
        try:
            names = self.requested()
        except InvalidSpecError as error:
            file, line = self.place
            raise pytest.Collector.CollectError(f"{os.path.relpath(file)}:{line}: {error}") from error
        return inspect.Signature([inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names])

    def requested(self) -> tuple[str, ...]:
        """The names of the fixtures that this one requests."""
        names = ["request", "pycontainer"]
        for found in _leaves(self.given):
            if type(found) is FunctionType:
                names += _parameters(found)
            elif not isinstance(found, FixtureFunctionDefinition):
                continue
            elif (name := self.name_of(found)) is not None:
                names.append(name)
            else:
                names += _nameless(found).requested()
        return tuple(dict.fromkeys(names))

    def uses_params(self) -> bool:
        """Whether ``request.param`` has a place among the arguments, or in those of a fixture that may be its own."""
        for value in _leaves(self.given):
            if value is PARAMETER or (type(value) is FunctionType and "request" in _parameters(value)):
                return True
            inner = declaration_of(value) if isinstance(value, FixtureFunctionDefinition) else None
            if inner is not None and inner.uses_params():
                return True
        return False

    @abstractmethod
    def make(self, set_up: SetUp) -> object:
        """Makes the fixture's value."""

    def _set_up(self, **fixtures: Any) -> object:
        __tracebackhide__ = True
        request: pytest.FixtureRequest = fixtures["request"]
        until_finished = ExitStack()
        request.addfinalizer(until_finished.close)
        return self.make(SetUp(request, fixtures["pycontainer"], fixtures, until_finished))

    def values(self, set_up: SetUp) -> dict[str, Any]:
        """The arguments, with values in the places of fixtures."""
        __tracebackhide__ = True
        return dict(self.resolved(self.given, set_up))

    def resolved(self, value: Any, set_up: SetUp) -> Any:
        """``value`` without fixtures and functions of them."""
        __tracebackhide__ = True
        if value is PARAMETER:
            return self.resolved(set_up.request.param, set_up)
        if isinstance(value, FixtureFunctionDefinition):
            return self._value_of(value, set_up)
        if type(value) is FunctionType:
            return self.resolved(value(**{name: _fixture_value(name, set_up) for name in _parameters(value)}), set_up)
        if not is_lazy(value):
            return value
        resolve = partial(self.resolved, set_up=set_up)
        if isinstance(value, dict):
            return dict(zip(map(resolve, value), map(resolve, value.values()), strict=True))
        return type(value)(map(resolve, value))

    def _value_of(self, fixture: FixtureFunctionDefinition, set_up: SetUp) -> object:
        name = self.name_of(fixture)
        if name is not None:
            return _fixture_value(name, set_up)
        declared = _nameless(fixture)
        if id(declared) not in set_up.nameless:
            set_up.nameless[id(declared)] = declared.make(set_up)
        return set_up.nameless[id(declared)]

    def name_of(self, fixture: FixtureFunctionDefinition) -> str | None:
        """What a fixture is requested by where this one is declared; None for one of ours that has no name there."""
        function = fixture._get_wrapped_function()
        if fixture._fixture_function_marker.name:
            return fixture._fixture_function_marker.name
        for namespace in self._namespaces:
            for name, value in namespace.items():
                if isinstance(value, FixtureFunctionDefinition) and value._get_wrapped_function() is function:
                    return name
        return None if isinstance(function, Declaration) else fixture.name

    def describe(self, value: object) -> str:
        """An argument in the words of ``pytest --fixtures``."""
        if type(value) is FunctionType:
            return f"what a function of {', '.join(_parameters(value)) or 'nothing'} returns"
        if not isinstance(value, FixtureFunctionDefinition):
            return str(value)
        if (name := self.name_of(value)) is not None:
            return name
        meaning = (value.__doc__ or "").partition(",")[0].rstrip(".")
        return meaning[:1].lower() + meaning[1:]

    def _id_of(self, param: object) -> object | None:
        """What pytest makes an id of."""
        return self.name_of(param) if isinstance(param, FixtureFunctionDefinition) else param


def declare(declaration: Declaration, options: FixtureOptions, default_scope: Scope) -> FixtureFunctionDefinition:
    """Makes a declaration a fixture. Raises InvalidSpecError for a scope that is none, and params without a use."""
    scope, params = options.get("scope", default_scope), options.get("params")
    if not callable(scope) and scope not in get_args(Scope):
        raise InvalidSpecError("scope", str(scope), "one of " + ", ".join(map(repr, get_args(Scope))))
    if params is not None:
        params = tuple(params)
        if not declaration.uses_params():
            wanted = "none, or a use of them: leave out the first argument, or give a function that takes request"
            raise InvalidSpecError("params", repr(params), wanted)
    return pytest.fixture(
        scope=scope,
        params=params,
        ids=cast("Any", options.get("ids") or (None if params is None else declaration._id_of)),
        autouse=options.get("autouse", False),
        name=options.get("fixture_name"),
    )(cast("Callable[..., object]", declaration))


def is_lazy(value: object) -> bool:
    """Whether fixtures, or functions of them, stand in a value, which is thus not known yet."""
    return any(map(_stands_for_another, _leaves(value)))


def print_progress(line: str) -> None:
    """Says how far a fixture's set-up is."""
    # Standard error: pytest shows it at once with -s, and otherwise in the report of a test whose set-up failed.
    print(line, file=sys.stderr, flush=True)


def declaration_of(fixture: FixtureFunctionDefinition) -> Declaration | None:
    """What stands behind a fixture, if it is one of ours."""
    function = fixture._get_wrapped_function()
    return function if isinstance(function, Declaration) else None


def _nameless(fixture: FixtureFunctionDefinition) -> Declaration:
    declared = declaration_of(fixture)
    assert declared is not None, "a fixture function has a name"
    if fixture._fixture_function_marker.params is not None:
        raise InvalidSpecError("params", repr(fixture._fixture_function_marker.params), _NAME_WANTED)
    return declared


_NAME_WANTED: Final = "a fixture with a name: assign it to one where it is used, or give the params to what uses it"


def _leaves(value: object) -> Iterator[Any]:
    """What stands in a value, however deep in containers of Python's own."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is dict:
            waiting += (*one.values(), *one)
        elif type(one) in (list, tuple, set, frozenset):
            waiting += cast("Iterable[object]", one)
        else:
            yield one


def _stands_for_another(value: object) -> bool:
    return value is PARAMETER or isinstance(value, FixtureFunctionDefinition) or type(value) is FunctionType


def _parameters(function: FunctionType) -> list[str]:
    """What a function requests, as pytest has it: its parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    return [
        one.name
        for one in parameters
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and one.default is one.empty
    ]


def _fixture_value(name: str, set_up: SetUp) -> object:
    # What only a param needs is not requested ahead.
    return set_up.fixtures[name] if name in set_up.fixtures else set_up.request.getfixturevalue(name)


def _function_at(file: str, line: int, name: str) -> FunctionType:
    """A function that calls its first argument with its second, as if written at a line of a caller's file.

    That line is where pytest says that the fixture is, and what it shows of an error in setting it up.
    """
    # The call spans two lines: for one, a traceback would mark columns, which mean nothing in the caller's line.
    source = "\n" * (line - 1) + "lambda set_up, fixtures: set_up(\n**fixtures)"
    (code, *_) = compile(source, file, "eval").co_consts
    return FunctionType(code.replace(co_name=name), {})
