"""What is made of a container before it is one."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING

from pytest_pycontainer.engine.prepared import new_id

if TYPE_CHECKING:
    import pytest


def test_no_host_name_looks_like_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    made = itertools.chain(["0123456789" * 6 + "abcd", "00000000000a" + "0" * 52])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(made))
    assert new_id().startswith("00000000000a")
