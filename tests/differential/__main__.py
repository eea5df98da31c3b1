"""The same Dockerfiles, built by Docker and by this package, and what comes out compared.

    python -m tests.differential [-v] [part of a case's name ...]

Every case of ``corpus`` is built by Docker's legacy builder, by BuildKit and by us over one base image; compared are
every path's type, mode, owner, size, content, link target and extended attributes, whether its time is the context's,
and the config field by field. What Debian's Docker does not know is compared with what the case expects. Differences
that are meant say why, in the case's ``differs``; one that has gone is a failure as well.

Needs: root, a Docker daemon that answers (Debian's docker.io: 20.10), mmdebstrap. It uses loopback alone, but for
Debian's packages in the base. In Docker it leaves the base image, BuildKit's cache, and what the legacy builder
has made of builds that fail (`docker image prune`).
"""

from __future__ import annotations

import argparse
import http.server
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

from pytest_pycontainer import Engine, Settings
from tests.differential import saved
from tests.differential.builders import BASE, BuildRefusedError, CaseBuilder, Docker, Ours, docker_command, filled
from tests.differential.case import OLD, Case, write
from tests.differential.corpus import CASES, PAGES
from tests.differential.saved import SavedImage

_AT_ONCE = 2
_BASE_SCRIPT = """
for name in $(/bin/busybox --list); do test -e /bin/$name || /bin/busybox ln -s busybox /bin/$name; done
mkdir -p /dev /proc /sys /tmp /root /home/app /srv/data /etc /usr/local/bin
touch /etc/hosts /etc/hostname /etc/resolv.conf
printf 'root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1001::/home/app:/bin/sh\\n' >/etc/passwd
printf 'root:x:0:\\napp:x:1001:\\nstaff:x:50:app\\n' >/etc/group
mkdir -p /usr/lib && ln -s usr/lib /lib
chown 1000:1001 /home/app
chmod 1777 /tmp
ln -s data /srv/link
ln -s /srv/data /srv/absolute
echo old >/srv/data/old
chmod 4755 /bin/busybox
rm -rf /usr/share
"""


class _Pages(http.server.BaseHTTPRequestHandler):
    """What ADD downloads."""

    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self.send_response(404 if page is None else 200)
        if page is not None:
            self.send_header("Last-Modified", formatdate(OLD, usegmt=True))
            self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _pages() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _base(archive: Path) -> None:
    """A root of a few megabytes: busybox from Debian, users, links."""
    script = archive.with_suffix(".sh")
    script.write_text(
        f"#!/bin/sh\nset -e\nchroot \"$1\" /bin/busybox sh -c '{_BASE_SCRIPT.replace(chr(39), chr(34))}'\n"
    )
    script.chmod(0o755)
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=extract", "--include=busybox-static"),
            *(f"--extract-hook={script}", "bookworm", archive),
        ],
        check=True,
    )


class Comparison:
    """Builds cases with all builders; one directory per case."""

    def __init__(self, ours: Ours, peers: list[Docker], values: Mapping[str, str], directory: Path) -> None:
        self._ours = ours
        self._peers = peers
        self._values = values
        self._directory = directory

    def compare(self, case: Case) -> tuple[list[str], list[str]]:
        """What is wrong, and what is worth telling: the differences that are meant."""
        context = self._directory / case.name
        write({case.file: filled(case.dockerfile, self._values), **case.context}, context)
        ours = self._build(self._ours, case, context)
        wrong = [] if isinstance(ours, str) else _unexpected(case, ours)
        notes = [f"we: {ours}"] if isinstance(ours, str) else []
        if isinstance(ours, str) != case.fails:
            wrong += notes or ["we have built it"]
        for peer in self._peers:
            if peer.builder not in case.builders:
                continue
            found = _difference(ours, self._build(peer, case, context))
            reason = case.differs.get(peer.builder)
            if reason is None:
                wrong += [f"{peer.builder}: {difference}" for difference in found]
            elif found:
                notes += [f"{peer.builder}: {reason}", *(f"    {difference}" for difference in found)]
            else:
                wrong.append(f"{peer.builder}: no longer differs, and was to: {reason}")
        return wrong, notes

    def _build(self, builder: CaseBuilder, case: Case, context: Path) -> SavedImage | str:
        with tempfile.TemporaryDirectory(dir=self._directory) as directory:
            try:
                return builder.build(case, context, self._values, Path(directory, "image.tar"))
            except BuildRefusedError as refused:
                return str(refused)


def _difference(ours: SavedImage | str, theirs: SavedImage | str) -> list[str]:
    if isinstance(theirs, str):
        return [] if isinstance(ours, str) else [f"it says: {theirs}"]
    return ["it has built it"] if isinstance(ours, str) else saved.differences(ours, theirs)


def _unexpected(case: Case, image: SavedImage) -> list[str]:
    wrong = []
    for path, expected in case.expected.items():
        node = image.files.get(path)
        if expected is False:
            found = node is None
        elif expected is None:
            found = node is not None and node.kind == "directory"
        else:
            found = node is not None and image.contents[path].decode() == expected
        if not found:
            content = image.contents.get(path)
            wrong.append(f"{path} is {node} with {content!r}, and not {expected!r}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("-v", action="store_true", dest="verbose", help="tell the differences that are meant")
    parser.add_argument("parts", nargs="*", help="cases whose names have one of these in them")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.parts or any(part in case.name for part in arguments.parts)]
    command = docker_command()
    peers = [Docker(command, "legacy"), Docker(command, "buildkit")]
    failed = 0
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary, _pages() as pages:
        directory = Path(temporary)
        settings = Settings(root=directory / "root", state=directory / "state")
        with Engine(settings) as engine, ThreadPoolExecutor(_AT_ONCE) as threads:
            _base(directory / "base.tar")
            ours = Ours(engine)
            ours.import_base(directory / "base.tar")
            peers[0].import_base(directory / "base.tar")
            (directory / "cases").mkdir()
            comparison = Comparison(ours, peers, {"BASE": BASE, "PAGES": pages}, directory / "cases")
            for case, (wrong, notes) in zip(cases, threads.map(comparison.compare, cases), strict=True):
                failed += bool(wrong)
                meant = f", {len(case.differs)} meant to differ" if case.differs else ""
                print(f"{'DIFFERS' if wrong else 'same   '} {case.name}{meant}", flush=True)
                for line in [*wrong, *(notes if arguments.verbose else [])]:
                    print(f"        {line}")
    print(f"{len(cases)} cases, {failed} of them differ")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
