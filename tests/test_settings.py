from __future__ import annotations

import contextlib
import io
import re
import tarfile
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer import Engine, plugin_options
from pytest_pycontainer.errors import InvalidSpecError, LayerLimitError
from pytest_pycontainer.settings import ReportSettings, Settings
from pytest_pycontainer.store.delegated_layers import DelegatedLayerWriter
from pytest_pycontainer.store.layers import LayerWriter


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


# Registries and layers


EVERYTHING = {
    "insecure_registries": "Lan.test:5000, 10.0.0.7\n[::1]:80,lan.test:5000",
    "registry_mirrors": "https://hub.test/prefix/\nquay.io=http://mirror.test:5000,index.docker.io=https://second.test",
    "proxy": " http://me:secret@proxy.test:3128/ ",
    "layer_entries": "1_000",
    "layer_size": "1.5g",
    "layer_ratio": "50",
}


def test_registries_and_layers_from_each_place(tmp_path: Path) -> None:
    directory, file = tmp_path / "certs.d", tmp_path / "ca.pem"
    directory.mkdir()
    file.touch()
    texts = EVERYTHING | {"registry_certificates": "certs.d", "registry_authority": "ca.pem"}
    from_ini = Settings.read(environment={}, ini=texts, ini_directory=tmp_path, user=0)
    assert from_ini == Settings(
        root=Path("/var/lib/pycontainer"),
        state=Path("/run/pycontainer"),
        insecure_registries=("lan.test:5000", "10.0.0.7", "[::1]:80"),
        registry_mirrors=(
            ("docker.io", "https://hub.test/prefix"),
            ("quay.io", "http://mirror.test:5000"),
            ("docker.io", "https://second.test"),
        ),
        registry_certificates=directory,
        registry_authority=file,
        proxy="http://me:secret@proxy.test:3128/",
        layer_entries=1000,
        layer_size=3 << 29,
        layer_ratio=50,
    )
    texts |= {"registry_certificates": str(directory), "registry_authority": str(file)}
    assert Settings.read(environment={}, options=texts, user=0) == from_ini
    environment = {f"PYCONTAINER_{name.upper()}": text for name, text in texts.items()}
    assert Settings.read(environment=environment, user=0) == from_ini
    assert Settings.read(environment=environment, options={"proxy": "http://other"}, user=0).proxy == "http://other"


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("insecure_registries", "https://lan.test", "host:port"),
        ("insecure_registries", "lan.test/path", "host:port"),
        ("insecure_registries", "10.0.0.0/8", "host:port"),
        ("insecure_registries", "lan.test:port", "host:port"),
        ("registry_mirrors", "mirror.test", "https://host:port"),
        ("registry_mirrors", "ftp://mirror.test", "https://host:port"),
        ("registry_mirrors", "https://", "https://host:port"),
        ("registry_mirrors", "https://mirror.test:99999", "https://host:port"),
        ("registry_mirrors", "https://mirror.test/?q=1", "host"),
        ("registry_mirrors", "https://mirror.test/Upper", "lower case"),
        ("registry_mirrors", "https://mirror.test/a/../b", "prefix"),
        ("registry_mirrors", "quay.io/a=https://mirror.test", "host:port"),
        ("registry_certificates", "/nowhere", "directory that is there"),
        ("registry_authority", "/nowhere/ca.pem", "file that is there"),
        ("registry_authority", "a\0b", "NUL"),
        ("proxy", "proxy.test:3128", "http://proxy.test:3128"),
        ("proxy", "socks5://proxy.test", "http://proxy.test:3128"),
        ("proxy", "http://proxy.test/path", "without a path"),
        ("layer_entries", "0", "from 1"),
        ("layer_entries", "-5", "from 1"),
        ("layer_entries", "many", "from 1"),
        ("layer_entries", "9" * 5000, "from 1"),
        ("layer_ratio", "1.5", "from 1"),
        ("layer_size", "20 apples", "unit"),
        ("layer_size", "0", "unit"),
        ("layer_size", "9" * 500 + "t", "unit"),
        ("pull", "sometimes", "one of missing, always, never"),
        ("platform", "arm64", "linux/arm64"),
        ("platform", "linux/arm64/v8/x", "linux/arm64"),
        ("offline", "maybe", "one of true, false"),
    ],
)
def test_nonsense_is_refused_with_the_place_that_had_it(name: str, text: str, wanted: str) -> None:
    with pytest.raises(InvalidSpecError, match=wanted) as caught:
        Settings.read(environment={}, options={name: text}, user=0)
    assert caught.value.field == f"--pycontainer-{name.replace('_', '-')}"
    with pytest.raises(InvalidSpecError, match=f"environment variable PYCONTAINER_{name.upper()}"):
        Settings.read(environment={f"PYCONTAINER_{name.upper()}": text}, user=0)


def test_when_registries_are_asked() -> None:
    assert Settings.read(environment={}, user=0).pull == "missing"
    texts = {"PYCONTAINER_PULL": " Always", "PYCONTAINER_PLATFORM": "linux/arm64/v8", "PYCONTAINER_OFFLINE": "1"}
    read = Settings.read(environment=texts, options={"offline": "no"}, user=0)
    assert (read.pull, read.platform, read.offline) == ("always", "linux/arm64/v8", False)
    assert Settings.read(environment=texts, user=0).offline


def test_what_a_run_says(tmp_path: Path) -> None:
    assert ReportSettings.read(environment={}) == ReportSettings("never", 40, None, None)
    texts = {"keep": "failed", "log_lines": "0", "durations": "25", "timeline": "out/run.html"}
    assert ReportSettings.read(environment={}, ini=texts, ini_directory=tmp_path) == ReportSettings(
        "failed", 0, 25, tmp_path / "out/run.html"
    )


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("keep", "some", "one of never, failed, always"),
        ("log_lines", "-1", "whole number from 0"),
        ("durations", "tests/", "whole number from 0, after an equals sign"),
        ("timeline", "/", "it is a directory"),
    ],
)
def test_nonsense_about_reports_is_refused_with_the_place_that_had_it(name: str, text: str, wanted: str) -> None:
    with pytest.raises(InvalidSpecError, match=wanted) as caught:
        ReportSettings.read(environment={f"PYCONTAINER_{name.upper()}": text})
    assert caught.value.field == f"environment variable PYCONTAINER_{name.upper()}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("registry_mirrors", "https://me:secret@mirror.test"),
        ("registry_mirrors", "quay.io=https://me:secret@mirror.test/UPPER"),
        ("proxy", "socks5://me:secret@proxy.test"),
        ("proxy", "http://me:secret@proxy.test/path"),
        ("insecure_registries", "me:secret@lan.test"),
    ],
)
def test_no_password_gets_into_an_error(name: str, text: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        Settings.read(environment={}, options={name: text}, user=0)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)


@given(st.sampled_from(sorted(EVERYTHING)), st.text())
def test_any_text_is_a_value_or_refused(name: str, text: str) -> None:
    with contextlib.suppress(InvalidSpecError):
        Settings.read(environment={}, options={name: text}, user=0)


def test_the_plugin_offers_every_setting() -> None:
    assert list(plugin_options.SETTINGS) == [field.name for field in fields(Settings)]
    assert list(plugin_options.REPORT_SETTINGS) == [field.name for field in fields(ReportSettings)]


def test_errors_name_options_that_there_are() -> None:
    named = {
        name
        for file in Path(plugin_options.__file__).parent.rglob("*.py")
        for name in re.findall(r"--pycontainer-([a-z-]+)\b", file.read_text())
    }
    assert named
    settings = plugin_options.SETTINGS | plugin_options.REPORT_SETTINGS
    assert named <= {name.replace("_", "-") for name in settings} | {"remove-reused"}


def test_the_plugin_reads_its_options_and_ini_values(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        pycontainer_insecure_registries = ["a.test:1", "b.test:2"]
        pycontainer_registry_mirrors = '''
            https://one.test
            https://two.test'''
        pycontainer_layer_ratio = 9
        pycontainer_registry_certificates = "."
        """
    )
    config = pytester.parseconfig("--pycontainer-layer-size", "7k", "--pycontainer-insecure-registries=c.test,d.test")
    read = plugin_options.read_settings(config)
    assert read.insecure_registries == ("c.test", "d.test")
    assert read.registry_mirrors == (("docker.io", "https://one.test"), ("docker.io", "https://two.test"))
    assert (read.layer_size, read.layer_ratio) == (7 << 10, 9)
    assert read.registry_certificates == pytester.path
    assert plugin_options.read_settings(pytester.parseconfig()).insecure_registries == ("a.test:1", "b.test:2")


def test_layer_limits_reach_the_store(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "store", tmp_path / "state", layer_size=2000)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 4096
        tar.addfile(member, io.BytesIO(bytes(4096)))
    with (
        Engine(settings) as engine,
        engine._resources.store.layer_writer("application/vnd.oci.image.layer.v1.tar") as layer,
        pytest.raises(LayerLimitError, match=r"larger than 2000 bytes.*PYCONTAINER_LAYER_SIZE"),
    ):
        give(layer, archive.getvalue())


def give(layer: LayerWriter | DelegatedLayerWriter, archive: bytes) -> None:
    layer.write(archive)
    layer.commit("sha256:" + "0" * 64)
