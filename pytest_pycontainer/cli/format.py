"""Lists as ``--format`` wants them: a table of chosen columns, a template for each line, or JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_pycontainer.cli.flags import Flag, UsageError
from pytest_pycontainer.cli.table import lay_out
from pytest_pycontainer.cli.template import Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FORMAT = Flag("format", "Print each by a Go template, 'table TEMPLATE', or as 'json'", value="string")

_FIELD = re.compile(r"\.([A-Za-z]\w*)")


def lines_of(
    rows: Iterable[Mapping[str, Any]], form: str | None, columns: Sequence[str], headings: Mapping[str, str]
) -> list[str]:
    """The lines for rows of fields. Without ``form`` they are a table of these ``columns``.

    ``headings`` are those of all fields that a row has. Raises UsageError for a template that is none, or that names an
    unknown field, also if there are no rows.
    """
    if not form or form == "table":
        return lay_out([[headings[name] for name in columns], *([row[name] for name in columns] for row in rows)])
    if form == "json":
        form = "{{json .}}"
    is_table = form.startswith("table ")
    text = form.removeprefix("table ").strip().replace("\\t", "\t").replace("\\n", "\n")
    template = Template(text)
    for name in _FIELD.findall(" ".join(re.findall(r"\{\{(.*?)\}\}", text, re.DOTALL))):
        if name not in headings:
            raise UsageError(f"template: no field {name}: it has {', '.join(headings)}", 1)
    lines = [template.render(row) for row in rows]
    if not is_table:
        return lines
    return lay_out(line.split("\t") for line in (template.render(headings), *lines))


def inspected_lines(found: Sequence[Mapping[str, Any]], form: str | None) -> list[str]:
    """What ``inspect`` prints of objects: all of them as JSON, or each by a template. Raises UsageError."""
    if form and form != "json":
        template = Template(form)
        return [template.render(one) for one in found]
    import json

    return [json.dumps(list(found), indent=4, ensure_ascii=False)]


def fact_line(facts: Mapping[str, Any], form: str) -> str:
    """One object as ``--format`` wants it: JSON in a line, or a template. Raises UsageError."""
    return Template("{{json .}}" if form == "json" else form).render(facts)
