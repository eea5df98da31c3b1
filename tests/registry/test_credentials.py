"""Credentials in files, and with helper programs."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from pytest_pycontainer.errors import CredentialsError
from pytest_pycontainer.registry.credentials import Credentials, CredentialStore

HELPER = """\
#!/bin/sh
# Keeps what it is given in files beside itself.
here=$(dirname "$0")/kept; mkdir -p "$here"; input=$(cat)
kept() { printf %s "$here/$(printf %s "$1" | tr / _)"; }
case "$1" in
store) printf %s "$input" > "$(kept "$(printf %s "$input" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/')")" ;;
get) cat "$(kept "$input")" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm "$(kept "$input")" ;;
esac
"""


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def store(tmp_path: Path) -> CredentialStore:
    return CredentialStore({"DOCKER_CONFIG": str(tmp_path)})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin/docker-credential-tests"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def test_nothing_there(store: CredentialStore) -> None:
    assert store.find("a.test") is None
    assert store.forget("a.test") is False


def test_what_is_saved_is_found_and_the_rest_is_kept(store: CredentialStore, config: Path) -> None:
    config.write_text(json.dumps({"auths": {"b.test": auth("b", "2")}, "HttpHeaders": {"x": "y"}}))
    store.save("a.test:5000", Credentials("user", "pass:word é"))
    assert store.find("a.test:5000") == Credentials("user", "pass:word é")
    assert store.find("a.test") is None
    assert store.find("b.test") == Credentials("b", "2")
    assert json.loads(config.read_text())["HttpHeaders"] == {"x": "y"}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert store.forget("a.test:5000")
    assert (store.find("a.test:5000"), store.find("b.test")) == (None, Credentials("b", "2"))
    assert [file.name for file in config.parent.iterdir()] == ["config.json"]


def test_a_link_to_the_file_stays_one(store: CredentialStore, config: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text("{}")
    config.symlink_to(elsewhere)
    store.save("a.test", Credentials("u", "p"))
    assert config.is_symlink()
    assert "a.test" in elsewhere.read_text()


def test_docker_hub_has_a_name_of_its_own(store: CredentialStore, config: Path) -> None:
    store.save("docker.io", Credentials("u", "p"))
    assert list(json.loads(config.read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert store.find("docker.io", "library/redis") == Credentials("u", "p")
    assert store.forget("docker.io")
    assert store.find("docker.io") is None


def test_addresses_as_keys_and_the_longest_path(store: CredentialStore, config: Path) -> None:
    entries = {
        "https://a.test/v1/": auth("old", "1"),
        "a.test/team": auth("team", "2"),
        "a.test/team/x": auth("x", "3"),
    }
    config.write_text(json.dumps({"auths": entries}))
    assert store.find("a.test", "other/app") == Credentials("old", "1")
    assert store.find("a.test", "team/app") == Credentials("team", "2")
    assert store.find("a.test", "team/x") == Credentials("x", "3")
    assert store.find("a.test", "teams/x") == Credentials("old", "1")


def test_the_auth_file_comes_first(tmp_path: Path, config: Path) -> None:
    authfile = tmp_path / "auth.json"
    authfile.write_text(json.dumps({"auths": {"a.test": auth("podman", "1")}}))
    config.write_text(json.dumps({"auths": {"a.test": auth("docker", "2"), "b.test": auth("docker", "3")}}))
    store = CredentialStore({"REGISTRY_AUTH_FILE": str(authfile), "DOCKER_CONFIG": str(tmp_path)})
    assert store.find("a.test") == Credentials("podman", "1")
    assert store.find("b.test") == Credentials("docker", "3")


def test_an_identity_token(store: CredentialStore, config: Path) -> None:
    config.write_text(json.dumps({"auths": {"a.test": {**auth("u", "\0"), "identitytoken": "t"}}}))
    assert store.find("a.test") == Credentials("u", "", "t")


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_helper_program(store: CredentialStore, config: Path, helper: Path, key: str) -> None:
    config.write_text(json.dumps({key: "tests" if key == "credsStore" else {"a.test": "tests"}}))
    assert store.find("a.test") is None
    store.save("a.test", Credentials("u", "p"))
    assert "auths" not in json.loads(config.read_text())
    assert store.find("a.test") == Credentials("u", "p")
    assert store.forget("a.test")
    assert not store.forget("a.test")
    store.save("a.test", Credentials("", "", "t"))
    assert store.find("a.test") == Credentials("", "", "t")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"auths": {"a.test": {"auth": "%"}}}', "not base64 of user:password"),
        ('{"credsStore": "../x"}', "no slash"),
        ('{"credsStore": "not-there"}', "no such program"),
        ('{"credsStore": "tests"}', "out of order"),
    ],
)
def test_what_cannot_be_used_is_named(
    store: CredentialStore, config: Path, helper: Path, content: str, problem: str
) -> None:
    helper.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    config.write_text(content)
    with pytest.raises(CredentialsError, match=problem):
        store.find("a.test")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials("u", "secret", "secret"))


def test_what_podman_keeps_is_found_after_what_docker_keeps(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    store = CredentialStore(environment)
    places = ("home/.config/containers/auth.json", "run/containers/auth.json", "home/.docker/config.json", "auth.json")
    for count, place in enumerate(places):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(json.dumps({"auths": {"a.test": auth("u", str(count))}}))
        if place == "auth.json":
            store = CredentialStore(environment | {"REGISTRY_AUTH_FILE": str(tmp_path / place)})
        assert store.find("a.test") == Credentials("u", str(count)), place
    assert CredentialStore(environment | {"XDG_CONFIG_HOME": str(tmp_path / "home/.config")}).forget("a.test")
    assert CredentialStore(environment).find("a.test") == Credentials("u", "1")
    assert not CredentialStore(environment).forget("a.test")
