from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_pycontainer.build.context import BuildContext
from pytest_pycontainer.build.patterns import IgnoreRules
from pytest_pycontainer.build.steps import CopySource, SourceMissing
from pytest_pycontainer.kernel.credentials import set_capabilities

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A context, beside a secret that must never get into an image."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "context"
    for path in ("a.txt", "b.txt", "src/main.py", "src/main.pyc", "src/lib/x.py", "src/lib/x.pyc"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


def context(root: Path, ignore: str = "") -> BuildContext:
    return BuildContext(root, IgnoreRules.parse(ignore, ".dockerignore"))


def test_a_file_and_a_directory(root: Path) -> None:
    assert context(root).select("a.txt") == [CopySource("a.txt")]
    assert context(root).select("./src/../a.txt") == [CopySource("a.txt")]
    assert context(root).select("/src/") == [
        CopySource("src", ("lib", "lib/x.py", "lib/x.pyc", "main.py", "main.pyc")),
    ]
    (whole,) = context(root).select(".")
    assert whole.path == ""
    assert whole.entries is not None
    assert whole.entries[:3] == ("a.txt", "b.txt", "src")


def test_wildcards(root: Path) -> None:
    assert context(root).select("*.txt") == [CopySource("a.txt"), CopySource("b.txt")]
    assert context(root).select("s*/m[a-z]in.py?") == [CopySource("src/main.pyc")]
    assert [source.path for source in context(root).select("src/*")] == ["src/lib", "src/main.py", "src/main.pyc"]
    assert context(root).select("*.md") == []
    with pytest.raises(SourceMissing, match="has no ]"):
        context(root).select("[a")


def test_what_dockerignore_excludes_is_not_there(root: Path) -> None:
    ignoring = context(root, "**/*.pyc\nb.txt\nsrc/lib\n")
    assert ignoring.select("src") == [CopySource("src", ("main.py",))]
    assert ignoring.select("*.txt") == [CopySource("a.txt")]
    for source in ("b.txt", "src/lib", "src/lib/x.py"):
        with pytest.raises(SourceMissing, match=r"\.dockerignore excludes it"):
            ignoring.select(source)


def test_exceptions_bring_their_parents_along(root: Path) -> None:
    ignoring = context(root, "*\n!src/lib/x.py\n")
    (whole,) = ignoring.select(".")
    assert whole.entries == ("src", "src/lib", "src/lib/x.py")
    assert ignoring.select("src") == [CopySource("src", ("lib", "lib/x.py"))]


def test_links_inside_are_followed_only_where_a_source_names_them(root: Path) -> None:
    (root / "link").symlink_to("src/main.py")
    (root / "src" / "up").symlink_to("../a.txt")
    (root / "dir").symlink_to("src/lib")
    assert context(root).select("link") == [CopySource("src/main.py", name="link")]
    assert context(root).select("dir") == [CopySource("src/lib", ("x.py", "x.pyc"))]
    assert context(root).select("dir/x.py") == [CopySource("src/lib/x.py")]
    assert context(root).select("src/up") == [CopySource("a.txt", name="up")]
    (root / "src" / "down").symlink_to("lib")
    (source,) = context(root).select("src")
    assert source.entries == ("down", "lib", "lib/x.py", "lib/x.pyc", "main.py", "main.pyc", "up")


@pytest.mark.parametrize(
    "target", ["../secret", "/etc/passwd", "..", "src/../../secret", "loop", "/", "src/lib/../../../secret"]
)
def test_no_link_leads_outside(root: Path, target: str) -> None:
    (root / "loop").symlink_to("loop")
    (root / "evil").symlink_to(target)
    (root / "evil-parent").symlink_to("..")
    for source in ("evil", "evil/secret", "evil-parent/secret", "evil-parent/s*"):
        with pytest.raises(SourceMissing):
            context(root).select(source)


@pytest.mark.parametrize("source", ["../secret", "src/../../secret", "..", "src/../.."])
def test_no_source_leads_outside(root: Path, source: str) -> None:
    with pytest.raises(SourceMissing, match="outside the build context"):
        context(root).select(source)


def test_what_is_not_there(root: Path) -> None:
    for source in ("c.txt", "a.txt/b", "src/none/x", "a\0b"):
        with pytest.raises(SourceMissing):
            context(root).select(source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet="./sraclibtx*[]?_-\\", max_size=14))
def test_whatever_the_source_all_it_gives_is_inside(root: Path, source: str) -> None:
    if not (root / "_").is_symlink():
        (root / "_").symlink_to("..")
        (root / "-").symlink_to("/etc")
    try:
        found = context(root).select(source)
    except SourceMissing:
        return
    for item in found:
        real = (root / item.path).resolve()
        assert real == root / item.path
        assert real.is_relative_to(root)


@pytest.mark.parametrize("change", ["content", "mode", "name", "target", "kind", "new"])
def test_the_fingerprint_changes_with_what_is_copied(root: Path, change: str) -> None:
    link = root / "src" / "link"
    link.symlink_to("main.py")

    def fingerprint() -> str:
        return context(root).fingerprint(context(root).select("src"))

    before = fingerprint()
    match change:
        case "content":
            (root / "src/lib/x.py").write_text("other")
        case "mode":
            (root / "src/main.py").chmod(0o755)
        case "name":
            (root / "src/main.py").rename(root / "src/other.py")
        case "target":
            link.unlink()
            link.symlink_to("lib")
        case "kind":
            link.unlink()
            link.write_text("main.py")
        case "new":
            (root / "src/lib/new").mkdir()
    assert fingerprint() != before


def test_the_fingerprint_does_not_depend_on_times_and_on_what_is_ignored(root: Path) -> None:
    ignoring = context(root, "**/*.pyc")
    before = ignoring.fingerprint(ignoring.select("src"))
    os.utime(root / "src/main.py", (1, 1))
    (root / "src/main.pyc").write_text("other")
    (root / "a.txt").write_text("other")
    assert ignoring.fingerprint(ignoring.select("src")) == before


def test_a_files_name_is_part_of_its_fingerprint(root: Path) -> None:
    (root / "b.txt").write_text("a.txt")
    one = context(root)
    assert one.fingerprint(one.select("a.txt")) != one.fingerprint(one.select("b.txt"))


def test_parents_keep_the_path_from_the_pivot_on(root: Path) -> None:
    one = context(root)
    assert one.select_with_parents("src/lib/x.py") == [CopySource("", ("src", "src/lib", "src/lib/x.py"))]
    assert one.select_with_parents("src/./lib") == [CopySource("src", ("lib", "lib/x.py", "lib/x.pyc"))]
    assert one.select_with_parents("**/*.py") == [
        CopySource("", ("src", "src/lib", "src/lib/x.py", "src/main.py")),
    ]
    assert one.select_with_parents("none*") == []
    assert context(root, "src/lib\n").select_with_parents("**/x.py") == []
    with pytest.raises(SourceMissing, match="src/none does not exist"):
        one.select_with_parents("src/none")
    with pytest.raises(SourceMissing, match="outside the build context"):
        one.select_with_parents("../././x")


def test_excluded_paths_are_left_out(root: Path) -> None:
    excluded = IgnoreRules.excluding("**/*.pyc") + IgnoreRules.excluding("a.*")
    assert context(root).select("src", excluded) == [CopySource("src", ("lib", "lib/x.py", "main.py"))]
    assert context(root).select("*.txt", excluded) == [CopySource("b.txt")]
    assert context(root).select_with_parents("src/lib", excluded) == [
        CopySource("", ("src", "src/lib", "src/lib/x.py"))
    ]


def test_a_near_name_is_told_unless_it_is_ignored(root: Path) -> None:
    with pytest.raises(SourceMissing, match=r"src/mian\.py does not exist in the build context .*; src/main\.py does"):
        context(root).select("src/mian.py")
    with pytest.raises(SourceMissing, match=r"src/mian\.py does not exist in the build context [^;]*\Z"):
        context(root, "src/main*\n").select("src/mian.py")


def test_a_wildcard_enters_no_link(root: Path) -> None:
    (root / "link").symlink_to("src/lib")
    assert context(root).select("l*/x.py") == []
    assert context(root).select("link/x.*") == [CopySource("src/lib/x.py"), CopySource("src/lib/x.pyc")]


def test_what_cannot_be_read_is_named(root: Path) -> None:
    (root / "src/main.py").chmod(0)
    (root / "src/lib").chmod(0)
    problems = []

    def read_without_capabilities() -> None:
        set_capabilities(0)  # of this thread, which permissions keep out from now on
        for source in ("src/main.py", "src"):
            try:
                one = context(root)
                one.fingerprint(one.select(source))
            except SourceMissing as missing:
                problems.append(missing.problem)

    thread = threading.Thread(target=read_without_capabilities)
    thread.start()
    thread.join()
    assert problems == [
        f"cannot read {root}/src/main.py: Permission denied",
        f"cannot read {root}/src/lib: Permission denied",
    ]
