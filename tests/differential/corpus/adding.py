"""ADD: archives, downloads, and what it has in common with COPY."""

from tests.differential.case import Case, Directory, File, HardLink, Link, Tree, archive

_ARCHIVE: Tree = {
    "folder": Directory(0o750, (3, 4)),
    "folder/file": File("file\n", 0o640, (1000, 1001)),
    "folder/link": Link("file"),
    "folder/again": HardLink("folder/file"),
    "implied/deep/x": "x\n",
    "tool": File("#!/bin/sh\n", 0o4755),
}
_ZIP = b"PK\x05\x06" + bytes(18)

PAGES = {
    "/page.txt": b"page\n",
    "/folder/page": b"deep\n",
    "/archive.tar": bytes(archive(_ARCHIVE).content),  # type: ignore[arg-type]
}
"""What is served on loopback, by path."""

_OWNERS = "newer ones give what was in the archive to the owner named, as we do"
_NEWER = "newer ones replace what is in the way, as we do"

ADDING = (
    Case("add-file", "FROM BASE\nADD a /srv/\nADD a /srv/b\n", {"a": "a\n"}),
    Case("add-folder", "FROM BASE\nADD d /srv/d\n", {"d/a": "a\n", "d/b/c": "c\n"}),
    Case("add-tar", "FROM BASE\nADD a.tar /x\n", {"a.tar": archive(_ARCHIVE)}),
    Case("add-tar-gz", "FROM BASE\nADD a.tgz /x/\n", {"a.tgz": archive(_ARCHIVE, "gz")}),
    Case("add-tar-bz2", "FROM BASE\nADD a.tar.bz2 /x/\n", {"a.tar.bz2": archive(_ARCHIVE, "bz2")}),
    Case("add-tar-xz", "FROM BASE\nADD a.tar.xz /x/\n", {"a.tar.xz": archive(_ARCHIVE, "xz")}),
    Case("add-tar-by-another-name", "FROM BASE\nADD a /x/\n", {"a": archive(_ARCHIVE)}),
    Case("add-tar-into-existing", "FROM BASE\nADD a.tar /srv/data\n", {"a.tar": archive({"old": "new\n", "b": "b\n"})}),
    Case("add-tar-through-link", "FROM BASE\nADD a.tar /srv/link\n", {"a.tar": archive({"b": "b\n"})}),
    Case(
        "add-tar-chown",
        "FROM BASE\nADD --chown=app:staff a.tar /x\n",
        {"a.tar": archive(_ARCHIVE)},
        differs={"legacy": _OWNERS, "buildkit": _OWNERS},
    ),
    Case(
        "add-tars-by-wildcard",
        "FROM BASE\nADD *.tar c /x/\n",
        {"a.tar": archive({"a": ""}), "b.tar": archive({"b": ""}), "c": ""},
    ),
    Case("add-tar-in-folder-is-not-unpacked", "FROM BASE\nADD d /x\n", {"d/a.tar": archive(_ARCHIVE)}),
    Case("add-zip-is-not-unpacked", "FROM BASE\nADD a.zip /x/\n", {"a.zip": File(_ZIP)}),
    Case("add-false-tar", "FROM BASE\nADD a.tar /x/\n", {"a.tar": "no archive\n"}),
    Case("add-empty-file-named-tar", "FROM BASE\nADD a.tar /x/\n", {"a.tar": ""}),
    Case("add-tar-over-file", "FROM BASE\nADD a.tar /\n", {"a.tar": archive({"srv/data/old": "new\n"})}),
    Case(
        "add-tar-replaces-types",
        "FROM BASE\nRUN mkdir -p /x/d && touch /x/f /x/d/g\nADD a.tar /x\n",
        {"a.tar": archive({"f/now-a-folder": "", "l": Link("f")})},
        differs={"legacy": _NEWER, "buildkit": _NEWER},
    ),
    Case("add-url", "FROM BASE\nADD PAGES/page.txt /srv/\nADD PAGES/folder/page /srv/named\n"),
    Case("add-url-chown", "FROM BASE\nADD --chown=app:staff PAGES/page.txt /new/\n"),
    Case("add-url-archive-is-not-unpacked", "FROM BASE\nADD PAGES/archive.tar /x/\n"),
    Case("add-url-and-file", "FROM BASE\nADD PAGES/page.txt a /x/\n", {"a": "a\n"}),
)
