from __future__ import annotations

from pathlib import Path

import pytest

from pytest_pycontainer.errors import InvalidSpecError
from pytest_pycontainer.settings import Settings


def test_defaults_of_root() -> None:
    assert Settings.read(environment={}, user=0) == Settings(
        root=Path("/var/lib/pycontainer"), state=Path("/run/pycontainer")
    )


def test_defaults_of_an_ordinary_user_follow_the_base_directory_specification() -> None:
    environment = {"HOME": "/home/ada", "XDG_DATA_HOME": "/data/ada", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert Settings.read(environment=environment, user=1000) == Settings(
        root=Path("/data/ada/pycontainer"), state=Path("/run/user/1000/pycontainer")
    )


@pytest.mark.parametrize("unset", [{}, {"XDG_DATA_HOME": "", "XDG_RUNTIME_DIR": "relative"}])
def test_base_directories_that_are_empty_or_relative_count_as_unset(unset: dict[str, str]) -> None:
    assert Settings.read(environment={"HOME": "/home/ada", **unset}, user=1000) == Settings(
        root=Path("/home/ada/.local/share/pycontainer"), state=Path("/home/ada/.local/share/pycontainer/run")
    )


def test_an_option_beats_the_ini_file_which_beats_the_environment(tmp_path: Path) -> None:
    option, ini, variable = (str(tmp_path / name) for name in ("option", "ini", "variable"))
    environment = {"PYCONTAINER_ROOT": variable, "PYCONTAINER_STATE": variable}
    assert Settings.read(environment=environment, user=0).root == Path(variable)
    assert Settings.read(environment=environment, ini={"root": ini}, user=0).root == Path(ini)
    decided = Settings.read(environment=environment, ini={"root": ini, "state": ini}, options={"root": option}, user=0)
    assert decided == Settings(root=Path(option), state=Path(ini))


def test_an_empty_text_is_no_value() -> None:
    assert Settings.read(environment={"PYCONTAINER_ROOT": ""}, options={"root": ""}, user=0).root == Path(
        "/var/lib/pycontainer"
    )


def test_relative_paths_count_from_where_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(tmp_path)
    decided = Settings.read(
        environment={}, options={"root": "../store"}, ini={"state": "run"}, ini_directory=project, user=0
    )
    assert decided == Settings(root=tmp_path.parent / "store", state=project / "run")


def test_a_home_in_the_path_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert Settings.read(options={"root": "~/store"}, environment={}, user=0).root == Path("/home/ada/store")


@pytest.mark.parametrize("below", ["", "/further/down"])
def test_a_file_in_the_way_is_refused_with_the_place_that_named_it(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSpecError, match=r"environment variable PYCONTAINER_STATE .*wanted a directory"):
        Settings.read(environment={"PYCONTAINER_STATE": f"{tmp_path}/file{below}"}, user=0)
    with pytest.raises(InvalidSpecError, match="--pycontainer-root"):
        Settings.read(environment={}, options={"root": f"{tmp_path}/file{below}"}, user=0)
    with pytest.raises(InvalidSpecError, match="ini value pycontainer_root"):
        Settings.read(environment={}, ini={"root": "with\0nul"}, user=0)
