"""IPv4 forwarding on the machine's way out: turned on while any engine needs it, put back by the last one.

The kernel asks the interface that a packet comes in by whether it may be forwarded (``ip_route_input_slow``), so the
answers to containers need the flag on the device of the default route. It is the machine's state, the only one that the
kernel does not free with us. Two locks guard it, both ``flock``, which the kernel frees when their holder dies:

* ``users`` is held shared by every engine for as long as it needs forwarding. Whoever gets it exclusively knows that
  nobody else is alive, and may put back what is recorded.
* ``change`` is held exclusively for the moments in which ``users`` is taken, given back, or the record is changed.

The record, ``devices.json``, is written before a flag is changed, and maps each device that was changed to the flag of
the whole machine (net.ipv4.ip_forward) at that time. If that one was turned on meanwhile, somebody made the machine a
router and the device's flag is no longer ours to put back.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_pycontainer.errors import NetworkAttachError
from pytest_pycontainer.kernel.flock import ALONE, try_lock

_LOCK_TIMEOUT = 10.0
_LOCK_INTERVAL = 0.005


@dataclass(frozen=True, slots=True)
class Family:
    """Where a protocol has its flags: of one device (``flag``), and of the whole machine (``all/forwarding``)."""

    name: str
    conf: Path
    flag: str
    directory: str
    setting: str

    def flag_of(self, device: str) -> Path:
        """The file of a device's flag."""
        return self.conf / device / self.flag

    def machine_flag(self) -> str:
        """``1`` if the machine is a router."""
        return (self.conf / "all" / "forwarding").read_text().strip()


IPV4: Final = Family("IPv4", Path("/proc/sys/net/ipv4/conf"), "forwarding", "forwarding", "net.ipv4.ip_forward=1")
# The flag ``forwarding`` of a device says whether it is a router's; the kernel forwards if that of the machine is set,
# which would have it take no more routes from its own router.
IPV6: Final = Family(
    "IPv6",
    Path("/proc/sys/net/ipv6/conf"),
    "force_forwarding",
    "forwarding-ipv6",
    "net.ipv6.conf.all.forwarding=1",
)


class Forwarding:
    """One engine's share of the forwarding flag. One thread at a time."""

    def __init__(self, directory: Path, device: str | None, users: int, family: Family) -> None:
        self._family = family
        self._directory = directory
        self.device = device
        self._users = users
        self.ours = device is not None and device in _recorded(directory)
        """Whether the device forwards because of us. Then packets that are nobody's of ours have to be held back."""

    @classmethod
    def claim(cls, state: Path, device: str | None, family: Family = IPV4) -> Forwarding:
        """Takes a share for ``device``, an interface's name, or None for a machine without a way out.

        Changes nothing yet: call ``turn_on`` once packets that are not ours are held back. Puts back first what engines
        that were killed left on. Raises NetworkAttachError.
        """
        directory = state / family.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = os.open(directory / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _changing(directory):
                if try_lock(users, ALONE):
                    _put_back(directory, family)
                if device is not None:
                    _record(directory, device, family)
                fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return cls(directory, device, users, family)
        except BaseException:
            os.close(users)
            raise

    def turn_on(self) -> None:
        """Lets the device forward. Raises NetworkAttachError if this machine does not let us."""
        if not self.ours or self.device is None:
            return
        try:
            # One writer at a time: the kernel takes a new value back for a while when its own lock is held
            # (net/ipv4/devinet.c, devinet_sysctl_forward), and a second writer would believe what it sees meanwhile.
            with _changing(self._directory):
                self._family.flag_of(self.device).write_text("1")
        except OSError as error:
            detail = f"{error.strerror}; give this process a writable /proc/sys, or set {self._family.setting}"
            raise NetworkAttachError(f"turn on {self._family.name} forwarding on {self.device}", detail) from error

    def release(self) -> None:
        """Gives the share back; the last one puts everything back as it was. Again is harmless."""
        users, self._users = self._users, -1
        if users < 0:
            return
        try:
            with _changing(self._directory):
                if try_lock(users, ALONE):
                    _put_back(self._directory, self._family)
                fcntl.flock(users, fcntl.LOCK_UN)  # still within the change: the next must not find a holder leaving
        finally:
            os.close(users)


@contextmanager
def _changing(directory: Path) -> Iterator[None]:
    # No lock of the kernel both has a time limit and goes with its holder, hence the attempts; they are rare and short.
    descriptor = os.open(directory / "change", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while not try_lock(descriptor, ALONE):
            if time.monotonic() > deadline:
                detail = f"another process has held {directory / 'change'} for {_LOCK_TIMEOUT:g} s; end it"
                raise NetworkAttachError("change forwarding", detail)
            time.sleep(_LOCK_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def _recorded(directory: Path) -> dict[str, str]:
    path = directory / "devices.json"
    try:
        devices = json.loads(path.read_text())
        return {str(device): str(flag) for device, flag in devices.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise NetworkAttachError(f"read {path}", f"{error}; delete it") from error


def _record(directory: Path, device: str, family: Family) -> None:
    devices = _recorded(directory)
    if device in devices:
        return
    try:
        if family.flag_of(device).read_text().strip() != "0":
            return
    except FileNotFoundError:  # the device went after it was found; so did the way out
        return
    devices[device] = family.machine_flag()
    temporary = directory / "devices.json.new"  # only ever written under the lock, so one name is enough
    temporary.write_text(json.dumps(devices))
    temporary.replace(directory / "devices.json")


def _put_back(directory: Path, family: Family) -> None:
    for device, machine_flag in _recorded(directory).items():
        if machine_flag == "0" and family.machine_flag() == "1":
            continue
        with suppress(FileNotFoundError):  # the device is gone, and its flag with it
            family.flag_of(device).write_text("0")
    (directory / "devices.json").unlink(missing_ok=True)
