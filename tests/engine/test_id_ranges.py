"""Which users of this machine a container with a user namespace gets."""

from __future__ import annotations

import os
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.engine import id_ranges
from pytest_pycontainer.engine.id_ranges import COUNT, Subordinates, claim_id_range, free_ranges, read_subordinates
from pytest_pycontainer.errors import UserNamespaceError

_LINES = st.lists(
    st.builds(
        Subordinates,
        st.sampled_from(["containers", "dockremap", "root", "somebody"]),
        st.integers(0, 2**31),
        st.integers(0, 4 * COUNT),
    ),
    max_size=6,
)


@given(_LINES, _LINES, st.integers(0, 2**31))
def test_ranges_are_given_to_us_or_nobodys(uids: list[Subordinates], gids: list[Subordinates], highest: int) -> None:
    for ids in islice(free_ranges(tuple(uids), tuple(gids), highest), 5):
        assert ids.count == COUNT
        for first, lines in ((ids.uid, uids), (ids.gid, gids)):
            givers = [
                line
                for line in lines
                if line.owner != "somebody" and line.first <= first <= line.first + line.count - COUNT
            ]
            above = first > highest and all(first >= line.first + line.count for line in lines)
            assert givers or above


def test_what_is_given_to_containers_comes_first() -> None:
    lines = (Subordinates("root", 0, COUNT), Subordinates("containers", 500, 2 * COUNT + 5))

    assert [ids.uid for ids in free_ranges(lines, lines)] == [500, 500 + COUNT]


def test_users_and_groups_need_not_have_the_same_numbers() -> None:
    uids, gids = (Subordinates("dockremap", 100_000, COUNT),), (Subordinates("dockremap", 300_000, COUNT),)

    assert [(ids.uid, ids.gid) for ids in free_ranges(uids, gids)] == [(100_000, 300_000)]


@pytest.mark.parametrize("line", [Subordinates("containers", 5, COUNT - 1), Subordinates("somebody", 5, COUNT)])
def test_lines_that_give_us_too_little_are_as_others(line: Subordinates) -> None:
    ids = next(free_ranges((line,), (line,)))

    assert ids.uid == ids.gid >= line.first + line.count


def test_a_file_of_subordinates(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("a:1:2\n\n# no\nb:x:3\nc:5\nd:6:7:8\n1000:9:10\n")

    assert read_subordinates(file) == (Subordinates("a", 1, 2), Subordinates("1000", 9, 10))
    assert read_subordinates(tmp_path / "none") == ()


def test_a_range_is_taken_until_it_is_let_go(tmp_path: Path) -> None:
    with ExitStack() as claimed:
        ranges = []
        for _ in range(3):
            ids, lock = claim_id_range(tmp_path)
            claimed.callback(os.close, lock)
            ranges.append(ids)
        assert len({ids.uid for ids in ranges}) == len({ids.gid for ids in ranges}) == 3

    again, lock = claim_id_range(tmp_path)
    os.close(lock)
    assert again == ranges[0]


def test_when_all_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_UIDS", "_GIDS"):
        file = tmp_path / name
        file.write_text(f"containers:100000:{COUNT}\n")
        monkeypatch.setattr(id_ranges, name, file)
    ids, lock = claim_id_range(tmp_path)
    assert (ids.uid, ids.gid) == (100_000, 100_000)

    with pytest.raises(UserNamespaceError, match="give 'containers' more"):
        claim_id_range(tmp_path)
    os.close(lock)
