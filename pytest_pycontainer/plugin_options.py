"""The plugin's options: on the command line, in the ini file, in the environment; and what the header says of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from pytest_pycontainer.settings import ReportSettings, Settings

SETTINGS = {
    "root": ("DIR", "the directory that holds images, layers and the build cache"),
    "state": ("DIR", "the directory that holds locks and records of running containers"),
    "insecure_registries": ("HOST[:PORT],...", "registries that may have any certificate, or none"),
    "registry_mirrors": ("[REGISTRY=]URL,...", "mirrors to pull from before the registry (default: docker.io) itself"),
    "registry_certificates": ("DIR", "certificates by registry, laid out as docker's certs.d"),
    "registry_authority": ("FILE", "authorities to trust for every registry, beside the system's (PEM)"),
    "proxy": ("URL", "the proxy to registries, in place of HTTPS_PROXY and HTTP_PROXY"),
    "layer_entries": ("N", "the most files and directories that a layer may have"),
    "layer_size": ("SIZE", "the most bytes that a layer may have, such as 20g"),
    "layer_ratio": ("N", "how many times as large as it is compressed a layer may be"),
    "pull": ("WHEN", "when registries are asked for images: always, missing (the default) or never"),
    "platform": ("OS/ARCH", "which images are wanted, such as linux/arm64, if not those for this machine"),
    "offline": ("", "ask no registry: images have to be here"),
}
"""What the engine is told: the form of the value, and what it means."""

REPORT_SETTINGS = {
    "keep": ("WHOSE", "containers that stay after the run: never (the default), failed (of failed tests), or always"),
    "log_lines": ("N", "how many lines of a container's log a failing test's report shows (default: 40)"),
    "durations": ("[=N]", "after the run, list the N (10) slowest pulls, builds, starts and waits; 0 for all"),
    "timeline": ("FILE.html", "write a page that draws when each container was there, and which tests used it"),
}
"""What a run says of its containers."""

_ALIASES = {"registry_mirrors": "mirror"}
_WITHOUT_VALUE = {"offline": "true", "durations": "10"}
_PATHS = ("DIR", "FILE", "FILE.html")
_SEVERAL = ",..."


def add_options(parser: pytest.Parser) -> None:
    """Makes the options known to pytest."""
    group = parser.getgroup("pycontainer", "throwaway containers")
    _add_actions(group)
    for name, (form, meaning) in (SETTINGS | REPORT_SETTINGS).items():
        described = f"{meaning} (ini: pycontainer_{name}, environment: PYCONTAINER_{name.upper()})"
        spellings = [f"--pycontainer-{name.replace('_', '-')}"]
        if name in _ALIASES:
            spellings.append(f"--pycontainer-{_ALIASES[name]}")
        arguments: dict[str, Any] = {"metavar": form, "dest": f"pycontainer_{name}"}
        if name in _WITHOUT_VALUE and form:
            arguments |= {"nargs": "?", "const": _WITHOUT_VALUE[name], "metavar": "N"}
        elif name in _WITHOUT_VALUE:
            arguments = {"dest": f"pycontainer_{name}", "action": "store_const", "const": _WITHOUT_VALUE[name]}
        group.addoption(*spellings, help=described, **arguments)
        remark = "; a relative path counts from the ini file's directory" if form in _PATHS else ""
        if form.endswith(_SEVERAL):
            parser.addini(f"pycontainer_{name}", meaning, type="linelist")
        else:
            parser.addini(f"pycontainer_{name}", meaning + remark)


def _add_actions(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--pycontainer-remove-reused",
        action="store_true",
        help="first remove the containers that earlier runs have kept (reuse=True), but those that another run uses",
    )


def read_settings(config: pytest.Config) -> Settings:
    """What the engine is told. Raises InvalidSpecError."""
    from pytest_pycontainer.settings import Settings

    return Settings.read(**_texts(config, SETTINGS))


def read_report_settings(config: pytest.Config) -> ReportSettings:
    """What the run says of its containers. Raises InvalidSpecError."""
    from pytest_pycontainer.settings import ReportSettings

    return ReportSettings.read(**_texts(config, REPORT_SETTINGS))


def _texts(config: pytest.Config, names: Iterable[str]) -> dict[str, Any]:
    ini = {name: config.getini(f"pycontainer_{name}") for name in names}
    return {
        "options": {name: config.getoption(f"pycontainer_{name}") or "" for name in names},
        "ini": {name: "\n".join(value) if isinstance(value, list) else value for name, value in ini.items()},
        "ini_directory": (config.inipath or config.rootpath / "none").parent,
    }


def header(settings: Settings) -> str:
    """The engine in a line, from what costs nothing to find out."""
    privileges = "root" if os.geteuid() == 0 else f"user {os.geteuid()}, without privileges"
    offline = ", offline" if settings.offline else ""
    return f"pycontainer: as {privileges}, cgroup {_cgroup_versions()}, store {settings.root}{offline}"


def _cgroup_versions() -> str:
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # noqa: PTH110  (nothing of pathlib's is needed)
        return "v2"
    return "v1 and v2" if os.path.exists("/sys/fs/cgroup/unified") else "v1"  # noqa: PTH110
