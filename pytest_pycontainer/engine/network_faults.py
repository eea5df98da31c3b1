"""Networks that fail on request: partitions, delays, losses, slow lines."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, Union

from pytest_pycontainer.engine import arguments
from pytest_pycontainer.errors import ContainerNotFoundError, InvalidSpecError
from pytest_pycontainer.network.faults import Bandwidth, Delay, Fault, Interface, Loss, Partition

if TYPE_CHECKING:
    from pytest_pycontainer.engine.attachment import Endpoint
    from pytest_pycontainer.engine.container import Container
    from pytest_pycontainer.engine.network_registry import NamedNetwork
    from pytest_pycontainer.kernel.rtnetlink import NetworkNamespace

Containers: TypeAlias = Union["Container", Iterable["Container"]]
"""One container or several."""

_MILLION = 1_000_000
_LONGEST_SECONDS = 3600.0


class NetworkFault:
    """One thing that goes wrong on a network, until it is healed.

    A context manager: leaving it heals it. It ends with the network at the latest, and for a container when that is
    disconnected or removed. Healing again is no error.
    """

    def __init__(self, description: str, undo: Callable[[], None]) -> None:
        self._description = description
        self._undo = undo

    def __repr__(self) -> str:
        return f"<NetworkFault {self._description}>"

    def __enter__(self) -> NetworkFault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()

    def heal(self) -> None:
        """Ends it; other faults of the same containers go on."""
        self._undo()


def cut_off(name: str, endpoints: Iterable[Endpoint]) -> NetworkFault:
    """Parts the container of that name from everybody in all its networks. Raises as ``Container.disconnect``."""
    with ExitStack() as undone:
        for endpoint in endpoints:
            bridge, fault = endpoint.network.bridge, Partition({endpoint.address}, None)
            bridge.add_fault(fault, _no_interface)
            undone.callback(bridge.remove_fault, fault, _no_interface)
        return NetworkFault(f"disconnection of {name}", undone.pop_all().close)


@contextmanager
def _no_interface(_: ipaddress.IPv4Address) -> Iterator[None]:
    """A partition is the bridge's alone."""
    yield None


class NetworkFaults:
    """The part of ``Network`` that makes it fail. Safe to use from several threads.

    Where several faults concern a container, delays add up, each loss has its chance, and of bandwidths the smallest
    counts. They concern what the containers send and get through this network, published ports included, and stay when
    one starts again. All raise InvalidSpecError, also for a container that is not in the network; NetworkAttachError;
    and FaultUnsupportedError where the kernel can't do it.
    """

    _network: NamedNetwork
    _list_containers: Callable[[], list[Container]]

    def partition(self, containers: Containers, others: Containers | None = None) -> NetworkFault:
        """Lets nothing through between the one side and the other, without telling either: connections hang.

        Each side is a container or several. Without ``others`` it is everybody else, this machine too.
        """
        one = self._addresses(containers)
        other = None if others is None else self._addresses(others)
        if one & (other or set()):
            raise InvalidSpecError("others", repr(others), "containers that are not on the one side as well")
        return self._bring_about("partition", Partition(one, other))

    def delay(self, containers: Containers, seconds: float, *, jitter: float = 0.0) -> NetworkFault:
        """Has each packet to and from these containers take ``seconds`` longer, give or take ``jitter``.

        A container's answer to another is thus later by twice the delay.
        """
        _check("seconds", seconds, _LONGEST_SECONDS)
        if jitter != 0:
            _check("jitter", jitter, seconds)
        fault = Delay(self._addresses(containers), round(seconds * 1e9), round(jitter * 1e9))
        return self._bring_about(f"delay of {seconds:g} s", fault)

    def loss(self, containers: Containers, probability: float) -> NetworkFault:
        """Loses packets to and from these containers at random, each with that probability (1: all of them)."""
        _check("probability", probability, 1)
        fault = Loss(self._addresses(containers), max(1, round(probability * _MILLION)))
        return self._bring_about(f"loss of {probability:g}", fault)

    def bandwidth(self, containers: Containers, bytes_per_second: int | str) -> NetworkFault:
        """Has each of these containers send, and get, so much at most (``"1m"`` is 1 MiB a second)."""
        rate = arguments.parse_bytes("bytes_per_second", bytes_per_second)
        if not rate:
            raise InvalidSpecError("bytes_per_second", repr(bytes_per_second), "more than 0")
        return self._bring_about(f"bandwidth of {rate} bytes/s", Bandwidth(self._addresses(containers), rate))

    def heal(self) -> None:
        """Ends all faults of this network."""
        with ExitStack() as healing:
            for fault in self._network.bridge.faults:
                healing.callback(self._undo, fault)

    def _bring_about(self, description: str, fault: Fault) -> NetworkFault:
        self._network.bridge.add_fault(fault, self._open_interface)
        return NetworkFault(f"{description} on {self._network.name}", lambda: self._undo(fault))

    def _undo(self, fault: Fault) -> None:
        self._network.bridge.remove_fault(fault, self._open_interface)

    def _addresses(self, containers: Containers) -> set[ipaddress.IPv4Address]:
        several = containers if isinstance(containers, Iterable) else (containers,)
        addresses = set()
        for container in several:
            endpoint = next((found for found in self._endpoints() if found[0] is container), None)
            if endpoint is None:
                raise InvalidSpecError("container", repr(container), f"one that is in {self._network.name}")
            addresses.add(endpoint[1])
        if not addresses:
            raise InvalidSpecError("containers", repr(containers), "one or more")
        return addresses

    def _endpoints(self) -> Iterator[tuple[Container, ipaddress.IPv4Address, int]]:
        """The containers that are in the network, their addresses in it, and the numbers of their interfaces."""
        for container in self._list_containers():
            for endpoint in container._endpoints():
                if endpoint.network is self._network:
                    yield container, endpoint.address, endpoint.number

    @contextmanager
    def _open_interface(self, address: ipaddress.IPv4Address) -> Iterator[tuple[NetworkNamespace, Interface] | None]:
        with ExitStack() as opened:
            found = None
            for container, candidate, number in self._endpoints():
                if candidate == address:
                    try:
                        namespace = opened.enter_context(container._open_network_namespace())
                    except ContainerNotFoundError:
                        continue
                    found = namespace, self._network.bridge.container_interface(address, number)
            yield found


def _check(field: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise InvalidSpecError(field, repr(value), f"a number, more than 0 and {most:g} at most")
