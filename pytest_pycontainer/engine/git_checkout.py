"""Files out of git repositories, by the library dulwich, which is only needed for them: the extra ``git``."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pytest_pycontainer.build.remote import COMMIT, SCP_FORM, RemoteProblem, without_password

if TYPE_CHECKING:
    from dulwich.client import GitClient
    from dulwich.repo import Repo

_SCHEMES = ("http", "https", "git", "ssh")
_PLACE = re.compile(r"(?P<host>\w+://[^/]*/?|[^/:]*:?)(?P<path>.*)", re.DOTALL)
_ASK_SECONDS = 60.0
_FETCH_SECONDS = 1800.0
_SUBMODULES_DEEP = 8
_GITLINK = 0o160000
_EXECUTABLE, _PLAIN, _DIRECTORY = 0o755, 0o644, 0o755

Result = TypeVar("Result")


def find_commit(repository: str, reference: str) -> str:
    """The commit that a branch, a tag, another name, or a commit's own name stands for now. Raises RemoteProblem."""
    if COMMIT.fullmatch(reference):
        return reference

    def ask() -> str | None:
        client, path = _client(repository)
        with closing(client):
            refs = {bytes(name): value for name, value in client.get_refs(path.encode()).refs.items()}
        names = [reference] if reference == "HEAD" else [f"refs/heads/{reference}", f"refs/tags/{reference}", reference]
        for name in names if reference else ["HEAD"]:
            # A tag with a message is an object of its own; what it is on comes with this sign.
            for spelled in (f"{name}^{{}}", name):
                found = refs.get(spelled.encode())
                if found is not None:
                    return bytes(found).decode()
        return None

    commit = _within(_ASK_SECONDS, f"ask {without_password(repository)} for its commits", ask)
    if commit is None:
        raise RemoteProblem(f"{without_password(repository)} has neither a branch nor a tag {reference or 'HEAD'}")
    return commit


def check_out(repository: str, commit: str, directory: Path, *, keep_git_directory: bool) -> None:
    """Fills the empty ``directory`` with a commit's files and its submodules', with the time of the commit.

    Raises RemoteProblem.
    """
    _require_library()

    def fetch() -> None:
        _check_out(repository, commit, directory, keep_git_directory, _SUBMODULES_DEEP)

    _within(_FETCH_SECONDS, f"fetch commit {commit} from {without_password(repository)}", fetch)


def _check_out(repository: str, commit: str, directory: Path, keeps: bool, deep: int) -> None:
    from dulwich.object_store import iter_tree_contents
    from dulwich.objects import Commit, ObjectID
    from dulwich.repo import Repo

    own = directory / ".git"
    with closing(Repo.init(str(directory))) as repo:
        _fetch(repository, commit, repo)
        found = repo[commit.encode()]
        if not isinstance(found, Commit):
            raise RemoteProblem(f"{commit} is no commit")
        time = found.commit_time
        entries = [
            (entry.path, entry.mode, entry.sha)
            for entry in iter_tree_contents(repo.object_store, ObjectID(found.tree))
            if entry.path is not None and entry.mode is not None and entry.sha is not None
        ]
        modules = []
        for name, mode, sha in entries:
            target = directory / _inside(name)
            _make_parents(target, directory)
            if mode == _GITLINK:
                target.mkdir(exist_ok=True)
                modules.append((os.fsdecode(name), sha.decode(), target))
            else:
                _write(target, mode, repo.object_store[sha].as_raw_string())
        urls = _module_urls(directory / ".gitmodules") if modules else {}
        for module, module_commit, target in modules:
            if not deep:
                raise RemoteProblem(f"{without_password(repository)} has submodules more than {_SUBMODULES_DEEP} deep")
            if module not in urls:
                raise RemoteProblem(
                    f".gitmodules of {without_password(repository)} does not say where {module} comes from"
                )
            url = _module_url(repository, urls[module])
            _check_out(url, module_commit, target, keeps, deep - 1)
        if keeps:
            _write_index(repo, directory, entries)
            (own / "HEAD").write_text(f"{commit}\n")  # detached, as after git's own checkout of a commit
    if not keeps:
        from pytest_pycontainer.kernel.removal import remove_tree

        remove_tree(own)
    for path in _below(directory):
        os.utime(path, (time, time), follow_symlinks=False)


def _fetch(repository: str, commit: str, repo: Repo) -> None:
    from dulwich.errors import GitProtocolError, HangupException
    from dulwich.objects import ObjectID

    wanted = ObjectID(commit.encode())

    def only_that(refs: object, depth: int | None = None) -> list[ObjectID]:  # noqa: ARG001  (dulwich names them)
        return [wanted]

    client, path = _client(repository)
    with closing(client):
        try:
            client.fetch(path, repo, determine_wants=only_that, depth=1)
        except (GitProtocolError, HangupException, KeyError):
            # A server may give away nothing but what a branch or a tag is on: then all of that is asked for.
            client.fetch(path, repo)
    if wanted not in repo.object_store:
        raise RemoteProblem(f"{without_password(repository)} has no commit {commit}")


def _client(repository: str) -> tuple[GitClient, str]:
    _require_library()
    from dulwich.client import get_transport_and_path

    return get_transport_and_path(repository)


def _require_library() -> None:
    try:
        import dulwich  # noqa: F401
    except ImportError:
        raise RemoteProblem(
            "git repositories need the library dulwich: pip install 'pytest-pycontainer[git]'"
        ) from None


def _within(seconds: float, doing: str, call: Callable[[], Result]) -> Result:
    """What ``call`` returns. Raises RemoteProblem for whatever goes wrong, also if it takes longer than ``seconds``.

    dulwich waits for some servers without a time limit. So it does in a thread, which is left to itself when that has
    passed: it keeps no process alive, and its directory is gone.
    """
    results: list[Result] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as problem:  # noqa: BLE001  (it is raised where it is waited for)
            problems.append(problem)

    thread = threading.Thread(target=run, name="git", daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    if not problems:
        raise RemoteProblem(f"cannot {doing}: no answer within {seconds:g} s")
    problem = problems[0]
    if isinstance(problem, RemoteProblem) or not isinstance(problem, Exception):
        raise problem
    raise RemoteProblem(f"cannot {doing}: {problem or type(problem).__name__}") from problem


def _inside(path: bytes) -> Path:
    parts = path.split(b"/")
    if any(part in (b"", b".", b"..") or part.lower() == b".git" for part in parts):
        raise RemoteProblem(f"a file in it is called {os.fsdecode(path)!r}")
    return Path(os.fsdecode(path))


def _make_parents(target: Path, top: Path) -> None:
    for parent in reversed(target.relative_to(top).parents[:-1]):
        try:
            (top / parent).mkdir()
        except FileExistsError:
            if not stat.S_ISDIR((top / parent).lstat().st_mode):
                raise RemoteProblem(f"{parent} is a file in it, and has files in it") from None
        else:
            (top / parent).chmod(_DIRECTORY)


def _write(target: Path, mode: int, content: bytes) -> None:
    if stat.S_ISLNK(mode):
        target.symlink_to(os.fsdecode(content))
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, _EXECUTABLE if mode & 0o111 else _PLAIN)


def _module_urls(file: Path) -> dict[str, str]:
    from dulwich.config import ConfigFile, parse_submodules

    if not file.is_file() or file.is_symlink():
        return {}
    return {os.fsdecode(path): os.fsdecode(url) for path, url, _ in parse_submodules(ConfigFile.from_path(str(file)))}


def _module_url(repository: str, url: str) -> str:
    if url.startswith(("./", "../")):
        # Not by urljoin, to which git:// and host:path are no addresses.
        place = _PLACE.fullmatch(repository)
        assert place is not None
        path = posixpath.normpath(f"{place['path']}/{url}")
        if path.startswith(".."):
            raise RemoteProblem(
                f"its submodule comes from {url!r}, which leads out of {without_password(repository)}'s server"
            )
        url = f"{place['host']}{path}"
    # This machine's own files are none of a repository's business (CVE-2022-39253).
    if urlsplit(url).scheme not in _SCHEMES and not SCP_FORM.fullmatch(url):
        raise RemoteProblem(f"its submodule comes from {url!r}; known are http, https, git and ssh")
    return url


def _write_index(repo: Repo, directory: Path, entries: list[tuple[bytes, int, Any]]) -> None:
    from dulwich.index import index_entry_from_stat

    index = repo.open_index()
    for path, mode, sha in entries:
        index[path] = index_entry_from_stat((directory / os.fsdecode(path)).lstat(), sha, mode)
    index.write()


def _below(directory: Path) -> Iterator[Path]:
    for path, directories, files in os.walk(directory, topdown=False):
        yield from (Path(path, name) for name in (*files, *directories))
