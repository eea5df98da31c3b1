"""How a program gets on with little: limits as docker has them, and what it has used."""

from __future__ import annotations

from pytest_pycontainer import Container, Engine, container

MEBIBYTE = 1024 * 1024
SORT = "import random; print(len(sorted(random.random() for _ in range(100_000))))"
HOARD = "hoard = []\nwhile True: hoard.append(bytes(1024 * 1024))"

worker = container("host", ["sleep", "infinity"], memory="64m", cpus=0.5, pids_limit=20, ulimits="nofile=64")


def test_sorting_needs_no_more_memory_than_this(worker: Container) -> None:
    assert worker.exec(["python3", "-c", SORT], timeout=30).stdout == "100000\n"

    memory = worker.stats().memory
    assert memory is not None
    assert memory.peak is None or memory.peak < 48 * MEBIBYTE


def test_a_program_that_hoards_memory_is_ended(pycontainer: Engine) -> None:
    with pycontainer.run("host", ["python3", "-c", HOARD], memory="32m", memory_swap="32m") as hoarder:
        assert hoarder.wait(timeout=30) == 137
        assert hoarder.out_of_memory


def test_files_that_are_never_closed_become_too_many(worker: Container) -> None:
    leak = "kept = [open('/dev/null') for _ in range(100)]"

    assert "Too many open files" in worker.exec(["python3", "-c", leak], timeout=30).stderr


def test_limits_can_be_raised_while_it_runs(worker: Container) -> None:
    worker.update(memory="128m", memory_swap="128m", cpus=1)

    limits = worker.limits()
    assert (limits.memory, limits.cpus) == (128 * MEBIBYTE, 1.0)
    assert limits.ulimit("nofile") == (64, 64)


def test_how_busy_it_was(worker: Container) -> None:
    before = worker.stats()
    worker.exec(["python3", "-c", SORT], timeout=30)
    after = worker.stats()

    assert after.cpu.total > before.cpu.total
    assert after.cpu_percent_since(before) > 0  # of one CPU, as docker shows it
