""".dockerignore: what a build does not see."""

from tests.differential.case import Case

_FILES = {
    "README.md": "1",
    "LICENSE.md": "2",
    "a.log": "3",
    "src/a.log": "4",
    "src/deep/b.log": "5",
    "src/main.c": "6",
    "src/deep/keep.log": "7",
    "node_modules/x/index.js": "8",
    "src/node_modules/y/index.js": "9",
    "temp/a": "10",
    "tempt": "11",
    ".hidden": "12",
    "build/out/a": "13",
    "build/keep": "14",
}


def _case(name: str, patterns: str, dockerfile: str = "FROM BASE\nCOPY . /c/\n", file: str = ".dockerignore") -> Case:
    return Case(f"ignore-{name}", dockerfile, {**_FILES, file: patterns})


IGNORING = (
    _case("names", "# comment\n\na.log\n/README.md\n  temp  \n"),
    _case("wildcards", "*.md\n*/*.log\ntemp?\n"),
    _case("all-levels", "**/*.log\n**/node_modules\n"),
    _case("exceptions", "*.md\n!README.md\n**/*.log\n!src/deep/keep.log\n"),
    _case("order", "!README.md\n*.md\n!LICENSE.md\n"),
    _case("everything-but", "*\n!src\n"),
    _case("everything-but-deep", "*\n!src/deep/keep.log\n"),
    _case("folder-but-a-file", "build\n!build/keep\n"),
    _case("folder-with-slash", "build/\nsrc/deep/\n"),
    _case("contents", "src/*\n"),
    _case("contents-all-levels", "src/**\n"),
    _case("dots", "./a.log\nsrc/../temp\n/src/./main.c\n"),
    _case("hidden", ".*\n"),
    _case("class", "[A-Z]*.md\nsrc/[^m]*\n"),
    _case("middle", "src/**/b.log\n**/deep/keep*\n"),
    _case("dockerfile-itself", "Dockerfile\n.dockerignore\n"),
    _case("byte-order-mark", "\ufeffa.log\r\n*.md\r\n"),
    _case("copied-folder", "src/deep\n", "FROM BASE\nCOPY src /c/\n"),
    _case("wildcard-source", "*.md\n", "FROM BASE\nCOPY *.md *.log /c/\n"),
)
