from __future__ import annotations

import pytest

from pytest_pycontainer.build.heredocs import find_markers


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("RUN cat <<EOF", ["<<EOF"]),
        ("run <<EOF cat", ["<<EOF"]),
        ("COPY <<a b <<'c' /d", ["<<a", "<<'c'"]),
        ("ADD <<-a /d", ["<<-a"]),
        ("onbuild RUN --mount=type=x <<a", ["<<a"]),
        ("RUN cat << EOF > /x", ["<< EOF"]),
        ("RUN 3<<EOF cat <&3", ["3<<EOF"]),
        ("RUN <<'a b' x", ["<<'a b'"]),
        ("RUN cat <<a # it isn't hidden", ["<<a"]),
        ("RUN echo $((1 << 2)) ((x << y)) && cat <<a", ["<<a"]),
        ("RUN echo $((1 << (2))) $(( (1) << 2 ))", []),
        ("RUN cat<<EOF", []),
        ("RUN cat <<<text", []),
        ("RUN cat <<a<b", []),
        ("RUN cat <<", []),
        ("RUN cat <<''", []),
        ("RUN cat <<'a", []),
        ("RUN echo '<<a' \" <<b \"", []),
        ("RUN echo \\' <<a \\'", ["<<a"]),
        ('RUN ["cat", "<<a"]', []),
        ('RUN --network=none ["cat", " <<a"]', []),
        ('RUN ["cat" <<a', []),
        ("CMD cat <<a", []),
        ("ENV a=1 <<b", []),
        ("RUNX <<a", []),
    ],
)
def test_where_they_begin(text: str, marked: list[str]) -> None:
    assert [text[marker.start : marker.end] for marker in find_markers(text)] == marked


@pytest.mark.parametrize(
    ("text", "name", "expands", "strips_tabs"),
    [
        ("<<EOF", "EOF", True, False),
        ("<<-EOF", "EOF", True, True),
        ("<<'EOF'", "EOF", False, False),
        ('<<-"E O\\"F"', 'E O"F', False, True),
        ("<<E'O'F", "EOF", False, False),
        ("<<\\$EOF", "$EOF", True, False),
        ("<<a.b;", "a.b;", True, False),
    ],
)
def test_how_they_are_called(text: str, name: str, expands: bool, strips_tabs: bool) -> None:
    (marker,) = find_markers(f"RUN {text}")
    assert (marker.name, marker.expands, marker.strips_tabs) == (name, expands, strips_tabs)
