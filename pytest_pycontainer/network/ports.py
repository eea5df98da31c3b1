"""Published ports: their value, the reservation of the host's port, and who has it when it is taken."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from pytest_pycontainer.errors import InvalidSpecError, PortInUseError, PrivilegedPortError
from pytest_pycontainer.kernel import sockdiag
from pytest_pycontainer.kernel.netlink import NetlinkError

TRANSPORTS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_SOCKET_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_LARGEST_PORT = 65535
_FIRST_FOR_ALL = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A container's port that is reachable at ``host_address``:``host_port``; ``protocol`` is ``tcp`` or ``udp``."""

    container_port: int
    protocol: str
    host_address: str
    host_port: int


def check_port(field: str, port: int) -> None:
    """Raises InvalidSpecError for a number that is no port."""
    if not 1 <= port <= _LARGEST_PORT:
        raise InvalidSpecError(field, str(port), f"a port between 1 and {_LARGEST_PORT}")


def check_protocol(protocol: str) -> None:
    """Raises InvalidSpecError for a protocol that has no published ports."""
    if protocol not in TRANSPORTS:
        raise InvalidSpecError("protocol", protocol, " or ".join(TRANSPORTS))


def check_host_address(address: str) -> _Address:
    """Raises InvalidSpecError for what is no address."""
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        wanted = "an address of this machine: 127.0.0.1 or ::1, or for all 0.0.0.0 or ::"
        raise InvalidSpecError("host address", address, wanted) from None


def reserve(host_address: str, host_port: int | range | None, protocol: str) -> socket.socket:
    """Takes the port from every other process on this machine for as long as the returned socket is open.

    The socket is bound and does not listen: connections are the kernel's to translate, none may ever get here. Of a
    range the first free port is taken; without ``host_port`` the kernel picks a free one. Raises PortInUseError;
    PrivilegedPortError; InvalidSpecError for what is no port, and for an address that is not this machine's.
    """
    if isinstance(host_port, range):
        return _reserve_one_of(host_address, host_port, protocol)
    if host_port is not None:
        check_port("host port", host_port)
    try:
        return _bind(host_address, host_port or 0, protocol)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and host_port is not None:
            raise PortInUseError(host_address, host_port, owner(host_address, host_port, protocol)) from None
        _raise_unavailable(error, host_address, host_port or 0)


def _reserve_one_of(host_address: str, host_ports: range, protocol: str) -> socket.socket:
    for host_port in host_ports:
        check_port("host port", host_port)
        try:
            return _bind(host_address, host_port, protocol)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                _raise_unavailable(error, host_address, host_port)
    first = host_ports[0]
    raise PortInUseError(host_address, first, owner(host_address, first, protocol), host_ports[-1])


def _bind(host_address: str, host_port: int, protocol: str) -> socket.socket:
    ipv6 = check_host_address(host_address).version == 6
    reservation = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, _SOCKET_KINDS[protocol])
    try:
        if ipv6:  # ``::`` is as docker has it: the IPv4 addresses are those of ``0.0.0.0``
            reservation.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            reservation.bind((host_address, host_port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or protocol != "tcp" or host_port == 0:
                raise
            _bind_beside_ended_connections(reservation, host_address, host_port)
    except BaseException:
        reservation.close()
        raise
    return reservation


def _bind_beside_ended_connections(reservation: socket.socket, host_address: str, host_port: int) -> None:
    """A server's connections hold its port for a minute after their end, but not against who says so, as it did.

    Of several who say so only one may listen: that one has the port.
    """
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((host_address, host_port))
    reservation.listen()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    reservation.shutdown(socket.SHUT_RD)  # it listens no more, and stays bound


def _raise_unavailable(error: OSError, host_address: str, host_port: int) -> NoReturn:
    if error.errno == errno.EADDRNOTAVAIL:
        raise InvalidSpecError("host address", host_address, "an address of this machine") from None
    if error.errno == errno.EINVAL:
        wanted = "an address of this machine that is good without naming a link"
        raise InvalidSpecError("host address", host_address, wanted) from None
    if error.errno in (errno.EACCES, errno.EPERM):
        first = int(_FIRST_FOR_ALL.read_text())
        raise PrivilegedPortError(host_address, host_port, first) from None
    raise error


def owner(host_address: str, host_port: int, protocol: str) -> str:
    """Who holds the port, as ``name (pid N)``, or whose a process is that can't be seen; empty if nothing is known."""
    wanted = ipaddress.ip_address(host_address)
    try:
        sockets = sockdiag.bound_sockets(TRANSPORTS[protocol])
        in_the_way = [held for held in sockets if held.port == host_port and _overlap(wanted, held.address)]
    except NetlinkError:
        return ""
    for held in in_the_way:
        if found := _process_with_socket(held.inode):
            return found
    if in_the_way and all(held.state == sockdiag.TIME_WAIT for held in in_the_way):
        return "connections that ended less than a minute ago"
    for held in in_the_way:
        if held.inode:
            return f"a process of {_user_name(held.user)}"
    return ""


def _user_name(number: int) -> str:
    import pwd  # only when it has failed

    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user with number {number}"


def _overlap(wanted: _Address, held: _Address) -> bool:
    if wanted.version == 6 and held.version == 4:
        return False  # ours take IPv6 alone; another's may take both
    return wanted == held or wanted.is_unspecified or held.is_unspecified


def _process_with_socket(inode: int) -> str:
    target = f"socket:[{inode}]"
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and _holds(process, target):
            return f"{_name(process)} (pid {process.name})"
    return ""


def _holds(process: Path, target: str) -> bool:
    try:
        with os.scandir(process / "fd") as descriptors:
            return any(_link(descriptor.path) == target for descriptor in descriptors)
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return False  # another user's process, or one that has ended meanwhile


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except FileNotFoundError:
        return ""  # closed meanwhile


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "a process that has ended"
