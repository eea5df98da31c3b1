"""Go's templates, as far as ``--format`` has use for them.

Fields (``{{.Name}}``, ``{{.State.Running}}``), variables of ``range``, texts and numbers; ``if``, ``else``, ``range``,
``with``, ``end``; comments; and the functions ``json``, ``join``, ``split``, ``upper``, ``lower``, ``title``, ``len``,
``index``, ``print``, ``println``, ``eq``, ``ne``, ``not``, ``and``, ``or``, also in pipelines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_pycontainer.cli.flags import UsageError

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|([^\s|()"`]+)|([|()]))""")


def _join(values: Sequence[Any], between: str) -> str:
    return between.join(map(_shown, values))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else value[key]
    return value


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    "join": _join,
    "split": lambda text, between: text.split(between),
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "len": len,
    "index": _index,
    "print": lambda *values: "".join(map(_shown, values)),
    "println": lambda *values: " ".join(map(_shown, values)) + "\n",
    "eq": lambda value, *others: value in others,
    "ne": lambda value, other: value != other,
    "not": lambda value: not value,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
}


class _Branch(NamedTuple):
    kind: str
    expression: str
    body: list[_Node]
    otherwise: list[_Node]


_Node = str | tuple[str] | _Branch
"""A text, an expression, or what is shown under a condition or for each of several."""


class Template:
    """A template that is applied to values. Raises UsageError for text that is none."""

    def __init__(self, text: str) -> None:
        self._nodes, rest = _parse(_split(text))
        if rest:
            raise UsageError(f"template: unexpected {{{{{rest[0][1]}}}}}", 64)

    def render(self, value: Any) -> str:
        """The text for a value. Raises UsageError for a field that it does not have."""
        return _render(self._nodes, value, value)


def _split(text: str) -> list[tuple[bool, str]]:
    """Texts, and expressions, which are marked."""
    parts: list[tuple[bool, str]] = []
    end = 0
    trims = False
    for action in _ACTION.finditer(text):
        before = text[end : action.start()]
        before = before.lstrip() if trims else before
        parts.append((False, before.rstrip() if action[1] else before))
        parts.append((True, action[2]))
        end, trims = action.end(), bool(action[3])
    rest = text[end:].lstrip() if trims else text[end:]
    if "{{" in rest:
        raise UsageError("template: unclosed action", 64)
    return [*parts, (False, rest)]


def _parse(parts: list[tuple[bool, str]]) -> tuple[list[_Node], list[tuple[bool, str]]]:
    """The nodes up to an ``else`` or ``end`` that closes nothing here, and what begins with that."""
    nodes: list[_Node] = []
    while parts:
        is_action, text = parts[0]
        word, _, expression = text.partition(" ")
        if not is_action:
            nodes.append(text)
            parts = parts[1:]
        elif word in ("else", "end"):
            return nodes, parts
        elif word in ("if", "range", "with"):
            branch, parts = _parse_branch(word, expression, parts[1:])
            nodes.append(branch)
        else:
            if not text.startswith("/*"):
                nodes.append((text,))
            parts = parts[1:]
    return nodes, []


def _parse_branch(kind: str, expression: str, parts: list[tuple[bool, str]]) -> tuple[_Branch, list[tuple[bool, str]]]:
    body, rest = _parse(parts)
    otherwise: list[_Node] = []
    if rest and rest[0][1].startswith("else if "):
        chained, rest = _parse_branch("if", rest[0][1].removeprefix("else if "), rest[1:])
        return _Branch(kind, expression, body, [chained]), rest
    if rest and rest[0][1] == "else":
        otherwise, rest = _parse(rest[1:])
    if not rest or rest[0][1] != "end":
        raise UsageError(f"template: {{{{{kind}}}}} without {{{{end}}}}", 64)
    return _Branch(kind, expression, body, otherwise), rest[1:]


def _render(nodes: list[_Node], value: Any, whole: Any, variables: Mapping[str, Any] = {}) -> str:
    shown = []
    for node in nodes:
        if isinstance(node, str):
            shown.append(node)
        elif isinstance(node, _Branch):
            shown.append(_render_branch(node, value, whole, variables))
        else:
            shown.append(_shown(_evaluate(node[0], value, whole, variables)))
    return "".join(shown)


def _render_branch(branch: _Branch, value: Any, whole: Any, variables: Mapping[str, Any]) -> str:
    names, assigns, expression = branch.expression.rpartition(":=")
    given = _evaluate(expression if assigns else branch.expression, value, whole, variables)
    if not given:
        return _render(branch.otherwise, value, whole, variables)
    if branch.kind != "range":
        return _render(branch.body, given if branch.kind == "with" else value, whole, variables)
    declared = [name.strip() for name in names.split(",")] if assigns else []
    if not isinstance(given, Mapping | list | tuple):
        raise UsageError(f"template: range can't iterate over {_shown(given)}", 64)
    # As in Go, one variable is the element, of two the first is its key.
    pairs = sorted(given.items()) if isinstance(given, Mapping) else list(enumerate(given))
    return "".join(
        _render(branch.body, element, whole, {**variables, **dict(zip(declared[::-1], (element, key), strict=False))})
        for key, element in pairs
    )


def _evaluate(expression: str, value: Any, whole: Any, variables: Mapping[str, Any]) -> Any:
    tokens: _Tokens = [(match[1], match[2], match[3]) for match in _WORD.finditer(expression)]
    if not tokens:
        raise UsageError("template: missing value for command", 64)
    result, rest = _pipeline(tokens, value, whole, variables)
    if rest:
        raise UsageError(f"template: unexpected ) in {expression}", 64)
    return result


_Tokens = list[tuple[str | None, str | None, str | None]]


def _pipeline(tokens: _Tokens, value: Any, whole: Any, variables: Mapping[str, Any]) -> tuple[Any, _Tokens]:
    """The value up to a closing parenthesis, and the tokens from that on."""
    result: list[Any] = []
    while True:
        operands, function = list[Any](), None
        while tokens and tokens[0][2] not in ("|", ")"):
            (text, word, mark), tokens = tokens[0], tokens[1:]
            if mark == "(":
                inner, tokens = _pipeline(tokens, value, whole, variables)
                if not tokens:
                    raise UsageError("template: unclosed left paren", 64)
                operands.append(inner)
                tokens = tokens[1:]
            elif text is not None:
                operands.append(_text(text))
            elif word is not None and function is None and not operands and word in _FUNCTIONS:
                function = word
            elif word is not None:
                operands.append(_operand(word, value, whole, variables))
        result = [_call(function, [*operands, *result])]
        if not tokens or tokens[0][2] == ")":
            return result[0], tokens
        tokens = tokens[1:]


def _call(function: str | None, operands: list[Any]) -> Any:
    if function is None:
        if len(operands) != 1:
            raise UsageError("template: one value is wanted, or a function with values", 64)
        return operands[0]
    try:
        return _FUNCTIONS[function](*operands)
    except (TypeError, AttributeError, IndexError, KeyError, ValueError) as error:
        raise UsageError(f"template: {function} can't be applied: {error}", 64) from None


def _operand(word: str, value: Any, whole: Any, variables: Mapping[str, Any]) -> Any:
    if word.startswith("$"):
        name, _, path = word.partition(".")
        return _field(whole if name == "$" else variables.get(name), path)
    if word.startswith("."):
        return _field(value, word[1:])
    if word in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[word]
    if re.fullmatch(r"-?\d+", word):
        return int(word)
    raise UsageError(f'template: function "{word}" not defined; known are {", ".join(_FUNCTIONS)}', 64)


def _text(literal: str) -> str:
    if literal[0] == "`":
        return literal[1:-1]
    try:
        text: str = json.loads(literal)
    except ValueError:
        raise UsageError(f"template: bad text {literal}", 64) from None
    return text


def _field(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        if not isinstance(value, Mapping) or name not in value:
            known = f": it has {', '.join(map(str, value))}" if isinstance(value, Mapping) else ""
            raise UsageError(f"template: no field {name}{known}", 64)
        value = value[name]
    return value


def _shown(value: Any) -> str:
    """A value as Go prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "<no value>"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{_shown(key)}:{_shown(found)}' for key, found in sorted(value.items()))}]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(map(_shown, value))}]"
    return str(value)
