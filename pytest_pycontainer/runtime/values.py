"""Classes of values for what the spawner loads: declared as those of ``dataclasses``, and cheaper to have.

``dataclasses`` writes the methods of each class as text and has that compiled, and loads much of Python's own
compiler for it: of the spawner's hundred classes, that was half of its start and a fifth of the memory of every
monitor. Here all classes share the same methods. Known are the options ``frozen``, ``slots`` (always so) and
``order``; ``field`` with ``default``, ``default_factory``, ``init`` and ``repr``; and ``__post_init__``. A class has
no fields but those that it declares itself. Values are pickled as their class and what it was called with. What
``dataclasses`` itself has to offer takes them for its own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

_Class = TypeVar("_Class", bound=type)
_Value = TypeVar("_Value")

_ABSENT: Any = object()
_set = object.__setattr__


class _Field:
    __slots__ = ("default", "default_factory", "init", "repr")

    def __init__(
        self,
        default: object,
        default_factory: Callable[[], object],
        init: bool,
        repr: bool,  # noqa: A002  (as dataclasses has it)
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr

    def options(self) -> dict[str, Any]:
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not _ABSENT}


def _field(
    *,
    default: object = _ABSENT,
    default_factory: Callable[[], object] = _ABSENT,
    init: bool = True,
    repr: bool = True,  # noqa: A002  (as dataclasses has it)
) -> Any:
    return _Field(default, default_factory, init, repr)


def _dataclass(*, frozen: bool = False, slots: bool = False, order: bool = False) -> Callable[[_Class], _Class]:
    assert slots, "classes without slots are not made here"

    def make(cls: _Class) -> _Class:
        content = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
        fields = {}
        for name in content.get("__annotations__", ()):
            default = content.pop(name, _ABSENT)
            fields[name] = default if isinstance(default, _Field) else _Field(default, _ABSENT, init=True, repr=True)
        made = _METHODS | (_FROZEN if frozen else {"__hash__": None}) | (_ORDER if order else {}) | content
        made["__qualname__"] = cls.__qualname__
        made["__slots__"] = tuple(fields)
        made["__match_args__"] = made["_arguments"] = tuple(name for name, field in fields.items() if field.init)
        made["_fields"] = fields
        return type(cls)(cls.__name__, cls.__bases__, made)

    return make


def _replace(value: _Value, /, **changes: object) -> _Value:
    return type(value)(**{name: getattr(value, name) for name in type(value)._arguments} | changes)  # type: ignore[attr-defined]


# What all classes have. It is for values of any class, so no type says which fields there are.


def _init(self: Any, /, *given: object, **named: object) -> None:
    names = self._arguments
    if len(given) > len(names):
        raise TypeError(f"{type(self).__name__}() takes {len(names)} arguments, but {len(given)} were given")
    for name, value in zip(names, given, strict=False):
        _set(self, name, value)
    for name in names[len(given) :]:
        _set(self, name, named.pop(name) if name in named else _default(self, name))
    if named:
        raise TypeError(f"{type(self).__name__}() got an unexpected argument, or one twice: {', '.join(named)}")
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def _default(value: Any, name: str) -> object:
    field = value._fields[name]
    if field.default is not _ABSENT:
        return field.default
    if field.default_factory is not _ABSENT:
        return field.default_factory()
    raise TypeError(f"{type(value).__name__}() is missing the argument {name!r}")


def _content(value: Any) -> tuple[object, ...]:
    return tuple(getattr(value, name) for name in value._fields)


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name, field in self._fields.items() if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _reduce(self: Any) -> tuple[type, tuple[object, ...]]:
    return type(self), tuple(getattr(self, name) for name in self._arguments)


def _hash(self: Any) -> int:
    return hash(_content(self))


def _comparing(compare: Callable[[Any, Any], bool]) -> Callable[[Any, object], bool]:
    def method(self: Any, other: object) -> bool:
        return compare(_content(self), _content(other)) if type(other) is type(self) else NotImplemented

    return method


def _refuse(self: Any, name: str, *_: object) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"field {name!r} of {type(self).__name__} can't be changed")


class _OfDataclasses:
    """What ``dataclasses`` would have given the class, made when somebody asks for it."""

    def __init__(self, name: str, find: Callable[[Any], object]) -> None:
        self._name = name
        self._find = find

    def __get__(self, instance: object, owner: Any) -> object:
        import dataclasses

        fields = [(name, owner.__annotations__[name], field.options()) for name, field in owner._fields.items()]
        described = [(name, kind, dataclasses.field(**options)) for name, kind, options in fields]
        found = self._find(dataclasses.make_dataclass(owner.__name__, described))
        setattr(owner, self._name, found)
        return found


def _signature(cls: type) -> object:
    from inspect import signature

    return signature(cls)


_METHODS: dict[str, object] = {
    "__init__": _init,
    "__repr__": _repr,
    "__reduce__": _reduce,
    "__replace__": _replace,
    "__eq__": _comparing(operator.eq),
    "__dataclass_fields__": _OfDataclasses("__dataclass_fields__", lambda cls: cls.__dataclass_fields__),
    "__signature__": _OfDataclasses("__signature__", _signature),
}
_FROZEN: dict[str, object] = {"__setattr__": _refuse, "__delattr__": _refuse, "__hash__": _hash}
_ORDER: dict[str, object] = {
    "__lt__": _comparing(operator.lt),
    "__le__": _comparing(operator.le),
    "__gt__": _comparing(operator.gt),
    "__ge__": _comparing(operator.ge),
}

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    dataclass = _dataclass
    field = _field
    replace = _replace
