"""What can't work about declared fixtures, said when tests are collected."""

from __future__ import annotations

import dis
import inspect
import linecache
import os
from collections.abc import Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any, get_args

import pytest
from _pytest.fixtures import FixtureFunctionDefinition

from pytest_pycontainer.declarations.declaration import Declaration, Scope, declaration_of

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef

_WIDEST_FIRST = get_args(Scope)


def check_fixtures_of(metafunc: pytest.Metafunc) -> None:
    """Raises CollectError for a test that uses declared fixtures in a way that can't work.

    That is a fixture that would outlive one that it depends on; and one that the test, or a fixture function, uses
    without requesting it.
    """
    for dependent, dependency in _dependencies(metafunc._arg2fixturedefs):
        is_declared = isinstance(dependent.func, Declaration) or isinstance(dependency.func, Declaration)
        if is_declared and _WIDEST_FIRST.index(dependency.scope) > _WIDEST_FIRST.index(dependent.scope):
            raise pytest.Collector.CollectError(_scope_mismatch(dependent, dependency))
    fixtures = (chain[-1].func for chain in metafunc._arg2fixturedefs.values())
    for function in map(_plain, (metafunc.function, *fixtures)):
        if inspect.isfunction(function):
            for name, line in _declarations_used(function.__code__, function.__globals__):
                place = _place(function.__code__.co_filename, line)
                raise pytest.Collector.CollectError(
                    f"{function.__name__} uses the fixture {name!r} without requesting it:\n    {place}\n"
                    f"there it is a declaration, with no value; request it: def {function.__name__}({name}, ...)"
                )


def _plain(function: Any) -> Any:
    """The function that was written, without what decorators have put around it."""
    return None if isinstance(function, Declaration) else inspect.unwrap(getattr(function, "__func__", function))


def _dependencies(definitions: Any) -> Iterator[tuple[FixtureDef[Any], FixtureDef[Any]]]:
    """The fixtures of a test with what each depends on; one that requests its own name has the one it overrides."""
    for name, chain in definitions.items():
        for depth in reversed(range(len(chain))):
            for requested in chain[depth].argnames:
                found = chain[:depth] if requested == name else definitions.get(requested, ())
                if found:
                    yield chain[depth], found[-1]
            if name not in chain[depth].argnames:
                break


def _scope_mismatch(dependent: FixtureDef[Any], dependency: FixtureDef[Any]) -> str:
    first, second = dependent.argname, dependency.argname
    return (
        f"the fixture {first!r} lives for a {dependent.scope}, and depends on {second!r}, which lives for a "
        f"{dependency.scope} only:\n    {_place_of(dependent.func)}\n    {_place_of(dependency.func)}\n"
        f'give {first!r} scope="{dependency.scope}", or {second!r} scope="{dependent.scope}"'
    )


def _place_of(function: Any) -> str:
    if isinstance(function, Declaration):
        return _place(*function.place)
    code = _plain(function).__code__
    return _place(code.co_filename, code.co_firstlineno)


def _place(file: str, line: int) -> str:
    return f"{os.path.relpath(file)}:{line}: {linecache.getline(file, line).strip()}"


def _declarations_used(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The global declarations that a function looks up, itself or in what is defined inside it, with the lines of that.

    Attributes' names are among a code's names too, so its instructions tell, which take longer to look at.
    """
    if any(_is_declaration(names.get(name)) for name in code.co_names):
        for instruction in dis.get_instructions(code):
            if instruction.opname == "LOAD_GLOBAL" and _is_declaration(names.get(instruction.argval)):
                place = instruction.positions
                yield instruction.argval, (place and place.lineno) or code.co_firstlineno
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _declarations_used(constant, names)


def _is_declaration(value: object) -> bool:
    return isinstance(value, FixtureFunctionDefinition) and declaration_of(value) is not None
