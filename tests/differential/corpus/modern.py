"""What Debian's Docker does not know yet, against what its documentation says."""

from tests.differential.case import Case, Expected, archive

_TREE = {"a/one.txt": "1\n", "a/b/two.txt": "2\n", "a/b/skip.md": "m\n", "c/three.txt": "3\n"}
_OTHER = "0" * 64


def _case(name: str, dockerfile: str, expected: Expected, **context: str) -> Case:
    return Case(name, dockerfile, {**_TREE, **context}, builders=(), expected=expected)


MODERN = (
    _case("heredoc-run", "FROM BASE\nRUN <<EOF\necho a > /a\nx=y\necho $x > /b\nEOF\n", {"/a": "a\n", "/b": "y\n"}),
    _case(
        "heredoc-run-program",
        "FROM BASE\nRUN <<EOF\n#!/bin/busybox ash\necho $0 | cut -c1-5 > /a\nEOF\nRUN ls /dev/pipes > /b 2>&1; true\n",
        {"/a": "/dev/\n"},
    ),
    _case(
        "heredoc-run-input",
        "FROM BASE\nRUN cat <<ONE > /a; cat <<TWO > /b\n1 $PWD\nONE\n2\nTWO\n",
        {"/a": "1 /\n", "/b": "2\n"},
    ),
    _case("heredoc-run-quoted", "FROM BASE\nRUN cat <<'EOF' > /a\n$PWD\nEOF\n", {"/a": "$PWD\n"}),
    _case("heredoc-tabs", "FROM BASE\nRUN <<-EOF\n\tcat <<X > /a\n\tx\n\tX\nEOF\n", {"/a": "x\n"}),
    _case(
        "heredoc-copy",
        "FROM BASE\nENV v=1\nCOPY <<one <<'two' /x/\n$v ${v}\none\n$v\ntwo\n",
        {"/x/one": "1 1\n", "/x/two": "$v\n"},
    ),
    _case(
        "heredoc-continued", "FROM BASE\nCOPY <<EOF /x\na \\\nb\n# no comment\nEOF\n", {"/x": "a \nb\n# no comment\n"}
    ),
    _case(
        "copy-parents",
        "FROM BASE\nCOPY --parents a/b/two.txt c /p/\n",
        {"/p/a/b/two.txt": "2\n", "/p/c/three.txt": "3\n", "/p/a/one.txt": False},
    ),
    _case(
        "copy-parents-wildcard",
        "FROM BASE\nCOPY --parents **/*.txt /p/\n",
        {"/p/a/one.txt": "1\n", "/p/a/b/two.txt": "2\n", "/p/a/b/skip.md": False},
    ),
    _case(
        "copy-parents-pivot", "FROM BASE\nCOPY --parents a/./b/two.txt /p/\n", {"/p/b/two.txt": "2\n", "/p/a": False}
    ),
    _case(
        "copy-exclude",
        "FROM BASE\nCOPY --exclude=**/*.md --exclude=one* a /p\n",
        {"/p/b/two.txt": "2\n", "/p/b/skip.md": False, "/p/one.txt": False},
    ),
    _case("copy-link", "FROM BASE\nCOPY --link a /srv/link/\n", {"/srv/link": None, "/srv/link/one.txt": "1\n"}),
    _case(
        "copy-link-same",
        "FROM BASE\nCOPY --link --chown=7:8 a /p\nRUN stat -c %u:%g /p/one.txt > /o\n",
        {"/o": "7:8\n"},
    ),
    _case(
        "copy-chmod-symbolic",
        "FROM BASE\nCOPY --chmod=u=rwX,go=r a /p\nRUN stat -c %a /p/one.txt /p/b > /o\n",
        {"/o": "644\n744\n"},
    ),
    _case("run-network-none", "FROM BASE\nRUN --network=none ip -o link | grep -c . > /o\n", {"/o": "1\n"}),
    _case(
        "variable-patterns",
        "FROM BASE\nENV a=foobarbaz\n"
        "ENV b=${a#f*b} c=${a##f*b} d=${a%b*} e=${a%%b*} f=${a/ba/X} g=${a//ba/X}\nRUN echo $b $c $d $e $f $g > /o\n",
        {"/o": "arbaz az foobar foo fooXrbaz fooXrXz\n"},
    ),
    _case(
        "variable-unset-or-empty",
        "FROM BASE\nENV a=\nENV b=${a-x} c=${a:-x} d=${a+x} e=${a:+x}\nRUN echo -$b-$c-$d-$e- > /o\n",
        {"/o": "--x-x--\n"},
    ),
    Case(
        "add-unpack",
        "FROM BASE\nADD --unpack=true PAGES/archive.tar /x/\nADD --unpack=false a.tar /y/\n",
        {"a.tar": archive({"f": ""})},
        builders=(),
        expected={"/x/folder/file": "file\n", "/y/f": False},
    ),
    Case(
        "add-exclude",
        "FROM BASE\nADD --exclude=*.md d /x/\n",
        {"d/a.md": "", "d/b": "b"},
        builders=(),
        expected={"/x/b": "b", "/x/a.md": False},
    ),
    Case(
        "add-wrong-checksum",
        "FROM BASE\nADD --checksum=sha256:" + _OTHER + " PAGES/page.txt /x\n",
        builders=(),
        fails=True,
    ),
    Case(
        "ignore-beside-dockerfile",
        "FROM BASE\nCOPY . /c/\n",
        {**_TREE, "web.dockerignore": "a\n", ".dockerignore": "c\n"},
        file="web",
        builders=("buildkit",),
    ),
)
