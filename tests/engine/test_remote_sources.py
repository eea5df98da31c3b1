"""ADD from the web and from git, at real servers on loopback."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_pycontainer.build.remote import ChecksumProblem, GitSource, RemoteProblem, is_url
from pytest_pycontainer.engine import git_checkout, remote_sources
from pytest_pycontainer.engine.remote_sources import NetworkSources
from pytest_pycontainer.errors import RemoteSourceError, RemoteSourceMismatchError
from pytest_pycontainer.store.downloads import Downloads

if TYPE_CHECKING:
    from dulwich.repo import Repo

    from pytest_pycontainer import Engine

EPOCH = 1_000_000_000


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Web:
    """A web server whose files the test sets; it notes what it is asked, and how it answered."""

    files: dict[str, bytes] = field(default_factory=dict)
    tag: str = ""
    changed_at: int | None = None
    redirects: dict[str, str] = field(default_factory=dict)
    breaks_off: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    address: str = ""

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        if path in self.redirects:
            self._respond(handler, 302, {"Location": self.redirects[path]})
            return
        if path not in self.files:
            self._respond(handler, 404, {})
            return
        headers = {"Content-Length": str(len(self.files[path]))}
        if self.tag:
            headers["ETag"] = self.tag
        if self.changed_at is not None:
            headers["Last-Modified"] = formatdate(self.changed_at, usegmt=True)
        same_tag = self.tag and handler.headers.get("If-None-Match") == self.tag
        same_time = self.changed_at and handler.headers.get("If-Modified-Since") == headers.get("Last-Modified")
        if same_tag or same_time:
            self._respond(handler, 304, {})
            return
        content = self.files[path]
        if self.breaks_off:
            self.breaks_off -= 1
            content = content[: len(content) // 2]
        self._respond(handler, 200, headers)
        handler.wfile.write(content)

    def _respond(self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        self.asked.append((handler.path, status))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()


@contextmanager
def serving(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.address = f"127.0.0.1:{server.server_port}"
    with serving(server):
        yield web


@pytest.fixture
def sources(engine: Engine) -> NetworkSources:
    return NetworkSources(engine._resources)


def test_a_file_comes_with_its_time_and_for_its_owner_alone(web: Web, sources: NetworkSources) -> None:
    web.files["/f"] = b"content"
    web.changed_at = EPOCH
    download = sources.download(web.url("/f"), None)
    status = download.path.stat()
    assert download.path.read_bytes() == b"content"
    assert (download.digest, stat.S_IMODE(status.st_mode), status.st_mtime) == (digest_of(b"content"), 0o600, EPOCH)


@pytest.mark.parametrize("knows", ["tag", "time", "nothing"])
def test_what_has_not_changed_is_not_fetched_again(web: Web, sources: NetworkSources, knows: str) -> None:
    web.files["/f"] = b"content"
    web.tag = '"1"' if knows == "tag" else ""
    web.changed_at = EPOCH if knows == "time" else None
    first = sources.download(web.url("/f"), None)
    assert sources.download(web.url("/f"), None) == first
    assert [status for _, status in web.asked] == [200, 200 if knows == "nothing" else 304]
    web.files["/f"], web.tag, web.changed_at = b"other", '"2"', EPOCH + 1
    second = sources.download(web.url("/f"), None)
    assert (first.path.read_bytes(), second.path.read_bytes()) == (b"content", b"other")


def test_what_has_a_checksum_is_not_even_asked_for(web: Web, sources: NetworkSources) -> None:
    web.files["/f"] = b"content"
    sources.download(web.url("/f"), digest_of(b"content"))
    sources.download(web.url("/f"), digest_of(b"content"))
    assert len(web.asked) == 1
    with pytest.raises(ChecksumProblem, match=f"has the digest {digest_of(b'content')}; wanted {digest_of(b'x')}"):
        sources.download(web.url("/f"), digest_of(b"x"))


def test_redirects_and_what_is_not_there(web: Web, sources: NetworkSources) -> None:
    web.files["/f"] = b"content"
    web.redirects = {"/a": "/b", "/b": web.url("/f"), "/loop": "/loop"}
    assert sources.download(web.url("/a"), None).path.read_bytes() == b"content"
    with pytest.raises(RemoteProblem, match="answers with status 404"):
        sources.download(web.url("/none"), None)
    with pytest.raises(RemoteProblem, match="redirects"):
        sources.download(web.url("/loop"), None)


def test_one_that_breaks_off_is_fetched_again(web: Web, sources: NetworkSources) -> None:
    web.files["/f"] = b"content" * 1000
    web.breaks_off = remote_sources._ATTEMPTS - 1
    assert sources.download(web.url("/f"), None).path.read_bytes() == web.files["/f"]
    web.breaks_off = remote_sources._ATTEMPTS
    with pytest.raises(RemoteProblem, match="cannot download"):
        sources.download(web.url("/f"), None)


def test_nobody_is_there_and_no_password_is_told(sources: NetworkSources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_sources, "_ATTEMPTS", 1)
    with pytest.raises(RemoteProblem, match=r"cannot download http://127\.0\.0\.1:1/f") as caught:
        sources.download("http://me:hidden@127.0.0.1:1/f", None)
    assert "hidden" not in str(caught.value)


def test_what_takes_too_long_is_given_up(web: Web, sources: NetworkSources, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/f"] = b"content"
    monkeypatch.setattr(remote_sources, "_SECONDS_AT_MOST", -1.0)
    with pytest.raises(RemoteProblem, match="took longer than"):
        sources.download(web.url("/f"), None)
    assert Downloads(sources._resources.store).known(web.url("/f")) is None


def test_a_damaged_note_is_fetched_anew(web: Web, sources: NetworkSources) -> None:
    web.files["/f"], web.tag = b"content", '"1"'
    sources.download(web.url("/f"), None)
    for download in Downloads(sources._resources.store).listed():
        download.files[0].write_bytes(b"nonsense")
    assert sources.download(web.url("/f"), None).path.read_bytes() == b"content"


def test_an_engine_builds_with_it(web: Web, engine: Engine, tmp_path: Path) -> None:
    web.files["/dir/name.txt"], web.tag = b"from the web", '"1"'
    url = web.url("/dir/name.txt")
    text = f"FROM scratch\nADD {url} /x/\nADD --chmod=644 --checksum={digest_of(b'from the web')} {url} /named\n"
    image = engine.build({"Dockerfile": text})
    top, below = (engine._resources.store.layers / layer.split(":")[1] for layer in image.config.diff_ids[::-1])
    assert (top / "named").read_bytes() == (below / "x/name.txt").read_bytes() == b"from the web"
    assert stat.S_IMODE((top / "named").stat().st_mode) == 0o644
    assert engine.build({"Dockerfile": text}) == image
    with pytest.raises(RemoteSourceMismatchError, match=r"Dockerfile:2:\d+: .* wanted sha256:00"):
        engine.build({"Dockerfile": f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url} /\n"})
    with pytest.raises(RemoteSourceError, match=r"Dockerfile:2:5: .*404"):
        engine.build({"Dockerfile": f"FROM scratch\nADD {web.url('/none')} /\n"})


# git


@dataclass
class Repository:
    """A repository behind a server; ``commit`` adds one with these files."""

    repo: Repo
    url: str

    def commit(self, files: dict[str, str | tuple[int, bytes]], branch: str = "refs/heads/main") -> str:
        from dulwich.objects import Blob, Commit, Tree

        tree = Tree()
        trees: dict[str, Tree] = {}
        for name, content in files.items():
            mode, data = content if isinstance(content, tuple) else (0o100644, content.encode())
            directory, _, base = name.rpartition("/")
            holder = trees.setdefault(directory, Tree()) if directory else tree
            if mode == 0o160000:
                holder.add(base.encode(), mode, data)  # type: ignore[arg-type]
                continue
            blob = Blob.from_string(data)
            self.repo.object_store.add_object(blob)
            holder.add(base.encode(), mode, blob.id)
        for directory, holder in trees.items():
            self.repo.object_store.add_object(holder)
            tree.add(directory.encode(), 0o40000, holder.id)
        commit = Commit()
        commit.tree = tree.id
        head = self.repo.get_refs().get(branch.encode())  # type: ignore[call-overload]
        commit.parents = [head] if head else []
        commit.author = commit.committer = b"A <a@example.test>"
        commit.commit_time = commit.author_time = EPOCH
        commit.commit_timezone = commit.author_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = b"a commit"
        self.repo.object_store.add_object(tree)
        self.repo.object_store.add_object(commit)
        self.repo.refs[branch.encode()] = commit.id  # type: ignore[index]
        self.repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")  # type: ignore[arg-type]
        return commit.id.decode()

    def tag(self, name: str, commit: str) -> None:
        from dulwich.objects import Commit, Tag

        tag = Tag()
        tag.name, tag.message, tag.tagger = name.encode(), b"a tag", b"A <a@example.test>"
        tag.tag_time, tag.tag_timezone = EPOCH, 0
        tag.object = (Commit, commit.encode())
        self.repo.object_store.add_object(tag)
        self.repo.refs[f"refs/tags/{name}".encode()] = tag.id  # type: ignore[index]


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[Callable[[str], Repository]]:
    """Makes repositories, which a server of their own shows."""
    from dulwich.repo import Repo
    from dulwich.server import DictBackend, TCPGitServer

    shown: dict[bytes, Repo] = {}
    server = TCPGitServer(DictBackend(shown), "127.0.0.1", 0)  # type: ignore[arg-type]

    def make(name: str) -> Repository:
        (tmp_path / name).mkdir()
        repo = Repo.init_bare(str(tmp_path / name))
        shown[f"/{name}".encode()] = repo
        return Repository(repo, f"git://127.0.0.1:{server.server_address[1]}/{name}")

    with serving(server):
        yield make
    for repo in shown.values():
        repo.close()


@pytest.fixture
def repository(repositories: Callable[[str], Repository]) -> Repository:
    return repositories("repository.git")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "checkout"
    directory.mkdir()
    return directory


# dulwich leaves the connection to a server that refuses to the collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_commit_by_any_name(repository: Repository, sources: NetworkSources) -> None:
    first = repository.commit({"f": "1"})
    repository.tag("v1", first)
    second = repository.commit({"f": "2"})
    other = repository.commit({"f": "3"}, "refs/heads/feature/x")
    for name, commit in {"": second, "HEAD": second, "main": second, "v1": first, "feature/x": other}.items():
        assert sources.find_commit(repository.url, name) == commit
    assert sources.find_commit(repository.url, "refs/heads/main") == second
    assert sources.find_commit("git://nobody.invalid/x", first) == first
    with pytest.raises(RemoteProblem, match="has neither a branch nor a tag none"):
        sources.find_commit(repository.url, "none")
    with pytest.raises(RemoteProblem, match="cannot ask"):
        sources.find_commit(f"{repository.url}-is-not-there", "")


@pytest.mark.parametrize("keeps", [False, True])
def test_a_commits_files(repository: Repository, sources: NetworkSources, directory: Path, keeps: bool) -> None:
    commit = repository.commit({"f": "1", "d/run": (0o100755, b"#!"), "d/link": (0o120000, b"../f")}, "refs/heads/side")
    repository.commit({"f": "2"})
    umask = os.umask(0o077)
    try:
        sources.check_out(repository.url, commit, directory, keep_git_directory=keeps)
    finally:
        os.umask(umask)
    assert (directory / "f").read_text() == "1"
    assert (directory / "d/link").readlink() == Path("../f")
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in ("f", "d", "d/run")}
    assert modes == {"f": 0o644, "d": 0o755, "d/run": 0o755}
    assert {(directory / name).lstat().st_mtime for name in ("f", "d", "d/run", "d/link")} == {EPOCH}
    assert (directory / ".git").exists() == keeps
    if keeps:
        from dulwich import porcelain
        from dulwich.repo import Repo

        with closing(Repo(str(directory))) as repo:
            assert repo.head().decode() == commit
            status = porcelain.status(repo)
            assert not any(status.staged.values())
            assert not status.unstaged


def test_submodules_come_along(
    repositories: Callable[[str], Repository], sources: NetworkSources, directory: Path
) -> None:
    inner, outer = repositories("inner.git"), repositories("outer.git")
    link = (0o160000, inner.commit({"in": "inner"}).encode())
    modules = '[submodule "x"]\n\tpath = d/sub\n\turl = ../inner.git\n'
    commit = outer.commit({".gitmodules": modules, "d/sub": link})
    sources.check_out(outer.url, commit, directory, keep_git_directory=False)
    assert (directory / "d/sub/in").read_text() == "inner"
    assert not list(directory.rglob(".git"))


@pytest.mark.parametrize(
    ("repository", "url", "wanted"),
    [
        ("https://host.test/a/b.git", "../c.git", "https://host.test/a/c.git"),
        ("https://me@host.test:8/b.git", "../c.git", "https://me@host.test:8/c.git"),
        ("git@host.test:a/b.git", "../c.git", "git@host.test:a/c.git"),
        ("git@host.test:b", "./c", "git@host.test:b/c"),
        ("https://host.test/a", "ssh://git@other.test/b", "ssh://git@other.test/b"),
    ],
)
def test_where_a_submodule_is(repository: str, url: str, wanted: str) -> None:
    assert git_checkout._module_url(repository, url) == wanted


@pytest.mark.parametrize("url", ["file:///etc", "/etc", "ext::sh -c id", "../../../etc"])
def test_a_submodule_of_this_machine_is_none(
    repository: Repository, sources: NetworkSources, directory: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = git_checkout._client

    def client(address: str) -> Any:
        asked.append(address)
        return original(address)

    monkeypatch.setattr(git_checkout, "_client", client)
    modules = f'[submodule "x"]\n\tpath = sub\n\turl = "{url}"\n'
    commit = repository.commit({".gitmodules": modules, "sub": (0o160000, b"1" * 40)})
    with pytest.raises(RemoteProblem):
        sources.check_out(repository.url, commit, directory, keep_git_directory=False)
    assert all(address.startswith("git://127.0.0.1:") for address in asked)


@pytest.mark.parametrize("name", [".git/hooks", "..", ".GIT"])
def test_no_file_leads_out_of_the_directory(
    repository: Repository, sources: NetworkSources, directory: Path, name: str
) -> None:
    commit = repository.commit({name if "/" in name else f"{name}/x": "x"})
    with pytest.raises(RemoteProblem, match="a file in it is called"):
        sources.check_out(repository.url, commit, directory, keep_git_directory=False)
    assert not (directory.parent / "x").exists()


def test_without_the_library_it_says_what_to_install(sources: NetworkSources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dulwich", None)
    with pytest.raises(RemoteProblem, match=r"pip install 'pytest-pycontainer\[git\]'"):
        sources.find_commit("git://127.0.0.1:1/x", "main")
    with pytest.raises(RemoteProblem, match=r"pip install 'pytest-pycontainer\[git\]'"):
        sources.check_out("git://127.0.0.1:1/x", "1" * 40, Path("/nowhere"), keep_git_directory=False)


def test_a_server_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    try:
        with pytest.raises(RemoteProblem, match=r"cannot ask: no answer within 0\.01 s"):
            git_checkout._within(0.01, "ask", released.wait)
    finally:
        released.set()


def test_an_engine_builds_with_a_repository(repository: Repository, engine: Engine) -> None:
    commit = repository.commit({"d/f": "1", "README": "text"})
    text = f"FROM scratch\nADD {repository.url}#main:d /x\nADD {repository.url}#{commit} /all/\n"
    image = engine.build({"Dockerfile": text})
    top, below = (engine._resources.store.layers / layer.split(":")[1] for layer in image.config.diff_ids[::-1])
    assert (below / "x/f").read_text() == "1"
    assert sorted(path.name for path in (top / "all").iterdir()) == ["README", "d"]
    assert engine.build({"Dockerfile": text}) == image
    repository.commit({"d/f": "2"})
    assert engine.build({"Dockerfile": text}) != image
    with pytest.raises(RemoteSourceMismatchError, match=f"wanted {'1' * 40}"):
        engine.build({"Dockerfile": f"FROM scratch\nADD --checksum={'1' * 40} {repository.url}#main /x\n"})
    with pytest.raises(RemoteSourceError, match="has no directory none"):
        engine.build({"Dockerfile": f"FROM scratch\nADD {repository.url}#main:none /x\n"})


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("https://host.test/a/b.git#main:d/e/", GitSource("https://host.test/a/b.git", "main", "d/e")),
        ("http://host.test/a.git", GitSource("http://host.test/a.git", "", "")),
        ("git://host.test/a", GitSource("git://host.test/a", "", "")),
        ("git@host.test:a/b#v1", GitSource("git@host.test:a/b", "v1", "")),
        ("ssh://git@host.test/a.git#:d", GitSource("ssh://git@host.test/a.git", "", "d")),
        ("https://host.test/a", None),
        ("https://host.test/a.git.tar", None),
        ("dir/file.git", None),
        ("user@host:/absolute", None),
    ],
)
def test_what_is_a_repository(source: str, wanted: GitSource | None) -> None:
    assert GitSource.parse(source) == wanted
    assert is_url(source) == (wanted is None and source.startswith("http"))
