"""What no builder carries out."""

from tests.differential.case import Case, Link


def _case(name: str, dockerfile: str, *, buildkit: str = "", **context: str) -> Case:
    """``buildkit`` says why BuildKit carries it out."""
    return Case(f"refused-{name}", dockerfile, context, fails=True, differs={"buildkit": buildkit} if buildkit else {})


REFUSING = (
    _case("empty", "\n"),
    _case("unknown-instruction", "FROM BASE\nRUNN true\n"),
    _case("no-from", "RUN true\n"),
    _case("failing-run", "FROM BASE\nRUN exit 3\n"),
    _case("missing-source", "FROM BASE\nCOPY none /srv/\n"),
    _case(
        "source-above-the-context", "FROM BASE\nCOPY ../../a /srv/\n", a="", buildkit="it goes no higher than the root"
    ),
    Case("refused-dangling-link", "FROM BASE\nCOPY l /srv/\n", {"l": Link("nowhere")}, fails=True),
    Case("refused-absolute-link", "FROM BASE\nCOPY l /srv/\n", {"l": Link("/etc/passwd")}, fails=True),
    _case("missing-source-among-others", "FROM BASE\nCOPY a none /srv/\n", a=""),
    _case("several-to-a-file", "FROM BASE\nCOPY a b /srv/x\n", a="", b="", buildkit="its documentation forbids it"),
    _case("copy-one-argument", "FROM BASE\nCOPY a\n", a=""),
    _case("folder-through-file", "FROM BASE\nCOPY a /etc/passwd/x\n", a=""),
    _case("unknown-flag", "FROM BASE\nCOPY --nothing a /\n", a=""),
    _case("unknown-user-in-chown", "FROM BASE\nCOPY --chown=nobody-here a /\n", a="", buildkit="it took root instead"),
    _case("unknown-user-in-run", "FROM BASE\nUSER nobody-here\nRUN true\n"),
    _case("unknown-stage", "FROM BASE\nCOPY --from=7 /a /b\n"),
    _case("bad-environment", "FROM BASE\nENV a\n"),
    _case("bad-label", "FROM BASE\nLABEL a=b c\n"),
    _case("bad-expose", "FROM BASE\nEXPOSE abc\n"),
    _case("bad-health", "FROM BASE\nHEALTHCHECK --interval=x CMD y\n"),
    _case("bad-shell", "FROM BASE\nSHELL /bin/sh -c\n"),
    _case("bad-substitution", "FROM BASE\nENV a=${b\n"),
    _case("nested-on-build", "FROM BASE\nONBUILD ONBUILD RUN x\n"),
    _case("on-build-from", "FROM BASE\nONBUILD FROM x\n"),
    _case("required-variable", "FROM BASE\nENV a=${b:?needed}\n"),
    _case("bad-signal", "FROM BASE\nSTOPSIGNAL NOTHING\n"),
    _case("ignored-source", "FROM BASE\nCOPY a /srv/\n", **{"a": "", ".dockerignore": "a\n"}),
    Case("refused-link-out-of-the-context", "FROM BASE\nCOPY out/hostname /srv/\n", {"out": Link("/etc")}, fails=True),
)
