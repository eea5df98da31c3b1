"""Go's templates, as far as they are known here; what they give is what Go gives."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.cli.flags import UsageError
from pytest_pycontainer.cli.template import Template

VALUE = {
    "Name": "web",
    "State": {"Running": True, "ExitCode": 0},
    "Ports": ["80", "443"],
    "Networks": {"b": {"IP": "2"}, "a": {"IP": "1"}},
    "None": None,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.Name}}:{{ .State.ExitCode }}", "web:0"),
        ("{{.State.Running}} {{.None}}", "true <no value>"),
        ("{{.Ports}} {{.State}}", "[80 443] map[ExitCode:0 Running:true]"),
        ("{{json .State}} {{json .Ports}}", '{"Running":true,"ExitCode":0} ["80","443"]'),
        ("{{range .Ports}}<{{.}}>{{end}}", "<80><443>"),
        ("{{range $i, $p := .Ports}}{{$i}}={{$p}} {{end}}", "0=80 1=443 "),
        ("{{range $p := .Ports}}{{$p}},{{end}}", "80,443,"),
        ("{{range $name, $n := .Networks}}{{$name}}:{{$n.IP}};{{end}}", "a:1;b:2;"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ('{{if eq .Name "db"}}1{{else if eq .Name "web"}}2{{else}}3{{end}}', "2"),
        ("{{if not .State.Running}}down{{end}}", ""),
        ("{{with .Networks.a}}{{.IP}} of {{$.Name}}{{end}}", "1 of web"),
        ('{{join .Ports ", "}}', "80, 443"),
        ("{{.Name | upper}}", "WEB"),
        ('{{index .Networks "a"}}', "map[IP:1]"),
        ("{{(index .Ports 1)}}", "443"),
        ('{{len (split "a,b,c" ",")}}', "3"),
        ("a {{- .Name -}} b", "awebb"),
        ("{{/* nothing */}}x", "x"),
        ('{{`raw`}} {{"te\\txt"}} {{5}}', "raw te\txt 5"),
        ("{{println .Name 1}}", "web 1\n"),
        ("{{or .None .Name}} {{and .Name .Ports}}", "web [80 443]"),
    ],
)
def test_what_it_gives(template: str, text: str) -> None:
    assert Template(template).render(VALUE) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Nmae}}", "no field Nmae: it has Name, State"),
        ("{{.Name.First}}", "no field First"),
        ("{{.Name", "unclosed action"),
        ("{{}}", "missing value"),
        ("{{if .Name}}x", "without {{end}}"),
        ("x{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{nothing .}}", 'function "nothing" not defined'),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{.Name)}}", "unexpected )"),
        ("{{upper 5}}", "upper can't be applied"),
        ("{{json}}", "json can't be applied"),
        ("{{.Name .Name}}", "one value is wanted"),
        ("{{index .Ports 7}}", "index can't be applied"),
        ('{{"\\q"}}', "bad text"),
        ("{{range .Name}}{{.}}{{end}}", "range can't iterate over web"),
    ],
)
def test_what_it_refuses(template: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(template).render(VALUE)
    assert message in caught.value.what


@given(st.text(alphabet='{}.$Na |()"`ifendrgw-/*', max_size=30))
def test_any_text_is_rendered_or_refused(template: str) -> None:
    with suppress(UsageError):
        Template(template).render(VALUE)
