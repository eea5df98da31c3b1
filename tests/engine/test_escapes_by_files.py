"""What got out of containers of other engines by way of files: those that are copied, and those that are read by us."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine
from pytest_pycontainer.errors import ContainerFileError, ContainerStartError, PycontainerError

# Tells which files are opened below some directories, and by how many; it opens none of them itself.
WATCH = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
watcher = libc.inotify_init1(0)
places = {}
for top in sys.argv[1:]:
    for directory, _, _ in os.walk(top):
        places[libc.inotify_add_watch(watcher, directory.encode(), 0x20)] = directory  # IN_OPEN
print("ready", flush=True)
stopped = False
while not stopped:
    data = os.read(watcher, 1 << 16)
    while data:
        number, mask, _, size = struct.unpack_from("iIII", data)
        name, data = data[16:16 + size].rstrip(b"\\0").decode(), data[16 + size:]
        stopped |= name == "stop"
        if not mask & 0x40000000:  # not a directory
            print("opened", os.path.join(places[number], name), flush=True)
"""
LIBRARIES = ["/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/python3", "/usr/lib/python3.11", "/usr/lib/locale", "/etc"]
# A directory with a file, and a link to a directory outside, exchanged without a pause.
SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.makedirs("/work/place")
open("/work/place/file", "w").write("mine")
os.symlink(sys.argv[1], "/work/link")
print("ready", flush=True)
while True:
    libc.renameat2(-100, b"/work/place", -100, b"/work/link", 2)
"""


def opened_in(container: Container) -> set[str]:
    """What has been opened since the watch began."""
    container.write("/etc/stop", "")
    with suppress(ContainerFileError):
        container.read("/etc/stop")
    assert container.wait(30) == 0
    return {line.removeprefix("opened ") for line in container.logs().splitlines() if line.startswith("opened ")}


def test_nothing_of_the_container_is_loaded_when_files_are_copied(engine: Engine, tmp_path: Path) -> None:
    """CVE-2019-14271: docker cp loaded the container's name service libraries, with the machine's rights."""
    (tmp_path / "file").write_text("x")
    with engine.run("host", ["python3", "-c", WATCH, *LIBRARIES]) as container:
        next(container.follow(60))
        container.copy_to(tmp_path, "/srv")
        container.write("/srv/made", "x", owner=(1, 1))
        container.copy_from("/srv", tmp_path / "back")
        assert container.read("/srv/made") == b"x"
        assert opened_in(container) <= {"/etc/stop"}


def test_nothing_of_the_container_is_loaded_when_a_user_is_looked_up(engine: Engine) -> None:
    """CVE-2019-14271, of exec: names of users are read from text, by nobody's library."""
    with engine.run("host", ["python3", "-c", WATCH, *LIBRARIES]) as container:
        next(container.follow(60))
        for user in ("nobody", "nobody:audio", "root"):
            with pytest.raises(ContainerStartError):
                container.exec(["/no/such/command"], user=user)
        assert opened_in(container) <= {"/etc/stop", "/etc/passwd", "/etc/group"}


@pytest.mark.parametrize("bad", [
    "ln -sf /dev/zero FILE", "rm FILE; mkfifo FILE", "rm FILE; mkdir FILE", "rm FILE; truncate -s 8T FILE",
    "ln -sf /proc/kmsg FILE", "rm FILE; ln -s FILE FILE", "rm FILE; mknod FILE c 5 1", "rm FILE; mknod FILE b 254 0",
    "head -c 5000000 /dev/zero | tr '\\\\0' : > FILE", "ln -sf /proc/1/mem FILE",
])  # fmt: skip
@pytest.mark.parametrize("file", ["/etc/passwd", "/etc/group"])
def test_bad_lists_of_users_and_groups_do_no_harm(engine: Engine, bad: str, file: str) -> None:
    """CVE-2024-9676 and its kin: who enters a container reads files that are the container's to make."""
    with engine.run("host", ["sleep", "1000"]) as container:
        assert container.exec(["sh", "-c", bad.replace("FILE", file)]).exit_code == 0
        result = container.exec(["id", "-u"], user="123:456", timeout=30)
        assert result.stdout == "123\n"
        with pytest.raises(ContainerStartError):
            container.exec("true", user="nobody:no-such-group", timeout=30)


@pytest.mark.parametrize("direction", ["to", "from"])
def test_links_that_are_swapped_while_files_are_copied_lead_nowhere(
    engine: Engine, tmp_path: Path, direction: str
) -> None:
    """CVE-2018-15664, CVE-2019-10152: between looking at a path and using it, it became another one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("this machine's")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("theirs")
    with engine.run("host", ["python3", "-c", SWAP, str(outside)]) as container:
        next(container.follow(30))
        for number in range(150):
            with suppress(ContainerFileError):
                if direction == "to":
                    container.copy_to(tmp_path / "source/.", "/work/place")
                    container.write("/work/place/file", "theirs")
                else:
                    container.copy_from("/work/place/file", tmp_path / f"copy{number}")
                    assert b"machine" not in container.read("/work/place/file")
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "this machine's"
    assert not [copy for copy in tmp_path.glob("copy*") if "machine" in copy.read_text()]


def test_a_path_that_is_renamed_all_the_time_is_not_waited_for(engine: Engine) -> None:
    """The kernel asks to try again when something was renamed meanwhile, and a container can rename for ever."""
    with engine.run("host", ["python3", "-c", SWAP, "/etc"]) as container:
        next(container.follow(30))
        threads = [threading.Thread(target=container.read, args=("/work/../etc/../etc/passwd",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("path", ["/far/../file", "/far/over", "/far/over/.././../a/file"])
def test_an_absolute_link_before_a_parent_is_followed_inside(engine: Engine, path: str) -> None:
    dockerfile = "FROM host\nRUN mkdir -p /a/b/c; ln -s /a/b /far; ln -s ../file /a/b/over; echo inside > /a/file\n"
    with engine.create(engine.build(dockerfile=dockerfile), ["true"]) as container:
        if path.count(".") > 3:
            with pytest.raises(ContainerFileError, match="Not a directory"):
                container.read(path)
        else:
            assert container.read(path) == b"inside\n"


@pytest.mark.parametrize("secret", ["/proc/self/environ", "/proc/1/environ", "/proc/kcore", "/dev/mem", "/dev/sda"])
def test_a_build_copies_nothing_of_the_engines_own_proc(engine: Engine, secret: str) -> None:
    """Links in a stage to /proc and /dev, where the copying process has this machine's."""
    dockerfile = f"FROM host AS base\nRUN ln -s {secret} /way\nFROM scratch\nCOPY --from=base /way /taken\n"
    try:
        image = engine.build(dockerfile=dockerfile)
    except PycontainerError:
        return
    with engine.create(image, ["/none"]) as container:
        assert container.read("/taken") == b""
