"""The programs that can lead out of an engine's router: pasta, or slirp4netns, where they are installed."""

from __future__ import annotations

import ipaddress
import shutil
import socket
from typing import Final

from pytest_pycontainer.network.upstream import ROUTER_MTU
from pytest_pycontainer.runtime.network_messages import NAMESPACE, READY

DEVICE: Final = "tap0"

# Of the addresses that are for measurements (RFC 2544), and so nobody's that a container would want to reach. What has
# which number in it is slirp4netns' choice.
_SUBNET: Final = ipaddress.IPv4Network("198.18.213.0/24")
_GATEWAY: Final = _SUBNET[2]
_OWN: Final = _SUBNET[100]
_SOMEWHERE: Final = ("198.51.100.1", 9)  # RFC 5737; nothing is sent there

INSTALL: Final = "install pasta (package passt) or slirp4netns"


def find_outlet() -> tuple[str, ...] | None:
    """The command that leads out of a namespace, see ``StartOutlet``; None if no such program is installed.

    It gives the router the interface ``DEVICE``, an address, and the default route. Nothing leads in, and the machine's
    loopback addresses are out of reach.
    """
    if pasta := shutil.which("pasta"):
        closed = "-t none -u none -T none -U none --no-map-gw"
        own = f"--ipv4-only --address {_OWN} --netmask {_SUBNET.prefixlen} --gateway {_GATEWAY} --mtu {ROUTER_MTU}"
        place = f"--config-net --ns-ifname {DEVICE} --netns-only --no-netns-quit --netns {NAMESPACE}"
        return pasta, *closed.split(), *own.split(), *place.split()
    if slirp := shutil.which("slirp4netns"):
        closed = "--disable-host-loopback --disable-dns"
        own = f"--configure --cidr {_SUBNET} --mtu {ROUTER_MTU} --ready-fd {READY}"
        return slirp, *closed.split(), *own.split(), "--netns-type", "path", NAMESPACE, DEVICE
    return None


def address_of_this_machine() -> ipaddress.IPv4Address | None:
    """The one that others know it by; None if it has no way out itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:
            return None
        return ipaddress.IPv4Address(probe.getsockname()[0])
