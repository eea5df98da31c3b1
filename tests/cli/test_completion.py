"""What shells complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_pycontainer import Engine
from pytest_pycontainer.cli.main import main
from tests.cli.conftest import Call

if TYPE_CHECKING:
    import pytest


def candidates(call: Call, *words: str) -> list[str]:
    ended = call("completion", "--of=bash", "--", *words)
    assert (ended.code, ended.err) == (0, "")
    return ended.out.splitlines()


def test_commands_and_flags(call: Call) -> None:
    assert {"image", "images", "import"} <= set(candidates(call, "im"))
    assert "exec" not in candidates(call, "im")
    assert candidates(call, "--root", "/x", "volume", "p") == ["prune"]
    assert candidates(call, "volume", "ls", "--q") == ["--quiet"]
    assert set(candidates(call, "stop", "-")) == {"--time", "--help"}
    assert candidates(call, "nothing-here", "") == []
    assert candidates(call, "stop", "--time", "") == []


def test_names(call: Call, engine: Engine, tmp_path: Path) -> None:
    with engine.create("host", ["true"], name="to-be-completed") as container:
        assert candidates(call, "stop", "to-be") == [container.name]
        assert candidates(call, "stop", container.name, "to-be") == []
        assert candidates(call, "volume", "rm", "to-be") == []
        assert candidates(call, f"--root={tmp_path / 'store'}", "stop", "to-be") == []
    volume = engine.volume("to-be-a-volume")
    with volume:
        assert candidates(call, "volume", "rm", "to-be") == [volume.name]
    (tmp_path / "file").touch()
    engine.import_image(tmp_path, tag="to-be-an-image:1")
    try:
        assert candidates(call, "history", "to-be") == ["to-be-an-image:1"]
    finally:
        engine.remove("to-be-an-image:1")


def test_a_shell_completes() -> None:
    script = (
        f'pycontainer() {{ {sys.executable} -m pytest_pycontainer "$@"; }}\n'
        'eval "$(pycontainer completion bash)"\n'
        'COMP_WORDS=(pycontainer container re); COMP_CWORD=2; _pycontainer; echo "${COMPREPLY[@]}"'
    )
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout == "rename restart\n"


def test_other_shells(capsys: pytest.CaptureFixture[str]) -> None:
    for shell, text in (("zsh", "tag:Give an image"), ("fish", "tag\tGive an image")):
        assert main(["completion", shell]) == 0
        assert "pycontainer completion --of=" + shell in capsys.readouterr().out
        assert main(["completion", f"--of={shell}", "--", "ta"]) == 0
        assert capsys.readouterr().out.startswith(text)
    assert main(["completion", "tcsh"]) == 1
    assert "name the shell: bash, zsh, fish" in capsys.readouterr().err
