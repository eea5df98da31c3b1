"""Which AppArmor profile or SELinux label a container gets, on machines that have them and on those that don't."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_pycontainer.engine.security_labels import SecurityModules, choose_label
from pytest_pycontainer.errors import InvalidSpecError

_NEITHER = SecurityModules()
_APPARMOR = SecurityModules(profiles=frozenset({"docker-default", "mine"}))
_BARE_APPARMOR = SecurityModules(profiles=frozenset({"firefox"}))
_SELINUX = SecurityModules(selinux=True)


def machine(directory: Path, *, enabled: str = "Y", profiles: str = "", selinux: bool = False) -> Path:
    """A /sys as such a machine has it."""
    for path, content in {
        "module/apparmor/parameters/enabled": f"{enabled}\n",
        "kernel/security/apparmor/profiles": profiles,
    }.items():
        (directory / path).parent.mkdir(parents=True)
        (directory / path).write_text(content)
    if selinux:
        (directory / "fs/selinux").mkdir(parents=True)
        (directory / "fs/selinux/enforce").write_text("1")
    return directory


def test_a_machine_with_both(tmp_path: Path) -> None:
    profiles = "docker-default (enforce)\n/usr/bin/man (enforce)\nlsb release (complain)\n"

    found = SecurityModules.read(machine(tmp_path, profiles=profiles, selinux=True))

    assert found == SecurityModules(frozenset({"docker-default", "/usr/bin/man", "lsb release"}), selinux=True)


def test_a_machine_without(tmp_path: Path) -> None:
    assert SecurityModules.read(tmp_path) == _NEITHER
    assert SecurityModules.read(machine(tmp_path, enabled="N")) == _NEITHER


@pytest.mark.parametrize(
    ("modules", "profile", "privileged", "label"),
    [
        (_NEITHER, None, False, None),
        (_NEITHER, "unconfined", False, None),
        (_APPARMOR, None, False, ("apparmor/exec", "exec docker-default")),
        (_APPARMOR, None, True, None),
        (_APPARMOR, "unconfined", False, None),
        (_APPARMOR, "mine", False, ("apparmor/exec", "exec mine")),
        (_APPARMOR, "mine", True, ("apparmor/exec", "exec mine")),
        (_BARE_APPARMOR, None, False, None),
    ],
)
def test_apparmor(
    modules: SecurityModules, profile: str | None, privileged: bool, label: tuple[str, str] | None
) -> None:
    assert choose_label(profile, (), privileged=privileged, machine=modules) == label


def test_a_profile_that_is_not_there() -> None:
    with pytest.raises(InvalidSpecError, match="this machine has no AppArmor"):
        choose_label("mine", (), privileged=False, machine=_NEITHER)
    with pytest.raises(InvalidSpecError, match=r"apparmor_parser, or use firefox"):
        choose_label("mine", (), privileged=False, machine=_BARE_APPARMOR)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ([], None),
        (["disable"], None),
        (["disable", "type:svirt_t"], None),
        (["type:svirt_t"], ("exec", "system_u:system_r:svirt_t:s0")),
        (["level:s0:c1,c2", "user:me"], ("exec", "me:system_r:container_t:s0:c1,c2")),
    ],
)
def test_selinux(options: list[str], label: tuple[str, str] | None) -> None:
    assert choose_label(None, options, privileged=False, machine=_SELINUX) == label


@pytest.mark.parametrize("option", ["type", "type:", "kind:x", "type:a b"])
def test_what_is_no_label(option: str) -> None:
    with pytest.raises(InvalidSpecError, match="label=user:"):
        choose_label(None, [option], privileged=False, machine=_SELINUX)


def test_a_label_without_selinux() -> None:
    assert choose_label(None, ["disable"], privileged=False, machine=_NEITHER) is None
    with pytest.raises(InvalidSpecError, match="this machine has no SELinux"):
        choose_label(None, ["type:svirt_t"], privileged=False, machine=_NEITHER)
