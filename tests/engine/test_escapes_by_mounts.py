"""What got out of containers of other engines by way of mounts: targets and masks that lead elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_pycontainer import Engine, Image
from pytest_pycontainer.errors import ContainerStartError

# Exchanges a directory of a volume for a link, and back, without a pause.
SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.mkdir("/shared/place")
os.symlink(sys.argv[1], "/shared/link")
print("ready", flush=True)
while True:
    libc.renameat2(-100, b"/shared/place", -100, b"/shared/link", 2)
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A root with nothing but what a test puts there."""
    (tmp_path / "root/etc").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def image_with(engine: Engine, context: Path) -> Callable[[dict[str, str]], Image]:
    """Makes an image on the host image that has links (names and targets) besides."""

    def make(links: dict[str, str]) -> Image:
        for name, target in links.items():
            path = context / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        return engine.build(context, dockerfile="FROM host\nCOPY tree /\n")

    return make


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["/tmp", "etc", "/proc/self/root", "../../../../tmp"])
def test_an_image_does_not_choose_where_the_systems_directories_are(
    engine: Engine, bare: Path, name: str, target: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: links at /proc and /sys, so that the masks were elsewhere."""
    (bare / name).symlink_to(target)
    with pytest.raises(ContainerStartError, match=f"mount /{name}"):
        engine.run(bare, ["/none"])


@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/far", "/far/sys", "/srv/../proc/sys", "/relative/1"])
def test_nothing_is_mounted_over_proc(
    engine: Engine, image_with: Callable[[dict[str, str]], Image], tmp_path: Path, target: str
) -> None:
    """CVE-2019-16884, CVE-2025-52881: what the engine wrote to /proc went to files of the container's."""
    image = image_with({"far": "/proc", "relative": "../../proc"})
    with pytest.raises(ContainerStartError, match="nothing may be mounted in /proc"):
        engine.run(image, ["true"], volumes={tmp_path: target})
    with pytest.raises(ContainerStartError, match="nothing may be mounted in /proc"):
        engine.run(image, ["true"], tmpfs=[target])


def test_what_an_image_has_in_dev_masks_nothing(engine: Engine, image_with: Callable[[dict[str, str]], Image]) -> None:
    """CVE-2025-31133, CVE-2025-52565: links at /dev/null, /dev/console and /dev/pts to what was to be masked."""
    core_pattern = "/proc/sys/kernel/core_pattern"
    links = {"dev/null": core_pattern, "dev/console": "/proc/sysrq-trigger", "dev/pts": "/proc/sys", "dev/shm": "/etc"}
    script = f"stat -c %F /dev/null /proc/keys; [ -s /proc/keys ] && echo seen; (: > {core_pattern}) && echo opened"
    with engine.run(image_with(links), ["sh", "-c", script]) as container:
        container.wait(30)
        assert container.logs(stderr=False).splitlines() == ["character special file"] * 2
        assert "ead-only file system" in container.logs()


@pytest.mark.parametrize("target", ["/", "/proc", "/proc/self/root/etc", "/../../../etc"])
def test_a_target_that_is_exchanged_for_a_link_stays_inside(engine: Engine, target: str) -> None:
    """CVE-2021-30465: two containers share a volume, in which one exchanges the place of the other's next mount."""
    with engine.run("host", ["python3", "-c", SWAP, target], volumes=["swapped:/shared"]) as attacker:
        next(attacker.follow(30))
        begun = 0
        for _ in range(25):
            options = {"volumes": ["swapped:/shared"], "tmpfs": ["/shared/place/inner"]}
            script = "mkdir /mark && cat /proc/self/mountinfo"
            try:
                with engine.run("host", ["sh", "-c", script], **options) as victim:  # type: ignore[arg-type]
                    assert victim.wait(30) == 0
                    begun += 1
                    points = {line.split()[4] for line in victim.logs().splitlines()}
                assert not Path("/mark").exists()
                assert any(point.endswith("/inner") for point in points), sorted(points)
                assert not [point for point in points if point.startswith("/proc/") and point.endswith("inner")]
            except ContainerStartError:
                continue
        assert begun or target.startswith("/proc")
    engine.volume("swapped").remove()
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/inner " in line]
    for place in ("/inner", "/etc/inner"):
        assert not Path(place).exists()


def test_a_volumes_place_that_is_a_link_is_the_containers(
    engine: Engine, image_with: Callable[[dict[str, str]], Image], tmp_path: Path
) -> None:
    """CVE-2018-15664 and its kin, of mounts: a link of the image's is followed inside the image."""
    victim = tmp_path / "victim"
    victim.mkdir()
    image = image_with({"data": str(victim), "up": "../../../../../../etc"})
    script = "touch /data/x /up/y && ls /etc/y && stat -f -c %T /data/."
    with engine.run(image, ["sh", "-c", script], tmpfs=["/data"]) as container:
        assert container.wait(30) == 0, container.logs()
        assert container.logs() == "/etc/y\ntmpfs\n"
    assert list(victim.iterdir()) == []


def test_what_is_mounted_inside_does_not_show_outside(engine: Engine, tmp_path: Path) -> None:
    """A mount that a privileged container makes below a directory of this machine is its own."""
    (tmp_path / "below").mkdir()
    script = "mount -t tmpfs none /data/below && touch /data/below/x && ls /data/below"
    with engine.run("host", ["sh", "-c", script], privileged=True, volumes={tmp_path: "/data"}) as container:
        assert container.wait(30) == 0, container.logs()
        assert list((tmp_path / "below").iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("kind", ["bind", "cache"])
@pytest.mark.parametrize("source", ["/way", "/way/../etc", "/up"])
def test_a_builds_mount_shows_nothing_of_this_machine(engine: Engine, kind: str, source: str) -> None:
    """CVE-2024-1753, CVE-2024-23651: a bind or a cache whose source is a link that led into the machine's root."""
    dockerfile = (
        "FROM host AS base\nRUN touch /etc/marked && ln -s /etc /way && ln -s ../../../../etc /up\n"
        f"FROM host\nRUN --mount=type={kind},from=base,source={source},target=/seen ls /seen > /list\n"
    )
    with engine.run(engine.build(dockerfile=dockerfile), ["cat", "/list"]) as container:
        container.wait(30)
        assert "marked" in container.logs().splitlines()


def test_a_place_for_a_builds_mount_that_became_a_link_is_not_removed_through_it(
    engine: Engine, context: Path, tmp_path: Path
) -> None:
    """CVE-2024-23652: what the builder had made for a mount, it removed, through what had taken its place."""
    victim = tmp_path / "victim/place"
    victim.mkdir(parents=True)
    run = f"RUN --mount=type=tmpfs,target=/made/place mv /made /moved; ln -s {victim.parent} /made"
    engine.build(context, dockerfile=f"FROM host\n{run}\n")
    assert victim.is_dir()
