"""What of this machine a container does not see."""

from __future__ import annotations

from pathlib import Path

from pytest_pycontainer.runtime.devices import masked_places


def test_a_star_stands_for_the_rest_of_a_name(tmp_path: Path) -> None:
    for name in ("cpu0/throttle", "cpu11/throttle", "cpufreq/other", "gpu/throttle"):
        (tmp_path / "sys" / name).mkdir(parents=True)
    (tmp_path / "sys/cpu-list").touch()
    found = masked_places(str(tmp_path), "/sys/cpu*/throttle")
    assert found == ["/sys/cpu0/throttle", "/sys/cpu11/throttle"]
    assert masked_places(str(tmp_path), "/sys/none/cpu*/throttle") == []
    assert masked_places(str(tmp_path), "/proc/kcore") == ["/proc/kcore"]
