from __future__ import annotations

import os

import pytest

from pytest_pycontainer.image.platform import Platform


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("i686", "linux/386"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_names_machines_as_go_does(machine: str, text: str) -> None:
    assert str(Platform.of_machine(machine)) == text


def test_this_machine() -> None:
    assert Platform.current() == Platform.of_machine(os.uname().machine)
