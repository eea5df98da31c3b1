"""Where a container's processes listen, as values to assert."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_pycontainer.engine.port_arguments import Port, parse_port


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A socket that accepts TCP connections or takes UDP datagrams.

    ``address`` is ``0.0.0.0`` or ``::`` for any; ``protocol`` is ``tcp`` or ``udp``; ``process`` the name of one that
    holds it.
    """

    address: str
    port: int
    protocol: str
    process: str

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}/{self.protocol} ({self.process})"

    def serves(self, port: Port) -> bool:
        """Whether it is one for this port (``6379``, ``"53/udp"``). Raises InvalidSpecError."""
        wanted = parse_port("port", port)
        return (self.port, self.protocol) == (wanted.container_port, wanted.protocol)


@dataclass(frozen=True, slots=True, repr=False)
class Listening:
    """Sockets, of which one may be asked for by its port: ``6379 in listening``, ``"53/udp" in listening``."""

    sockets: tuple[ListeningSocket, ...] = ()

    def __contains__(self, wanted: Port | ListeningSocket) -> bool:
        """Raises InvalidSpecError for a text that is no port."""
        return wanted in self.sockets if isinstance(wanted, ListeningSocket) else any(self._at(wanted))

    def __iter__(self) -> Iterator[ListeningSocket]:
        return iter(self.sockets)

    def __len__(self) -> int:
        return len(self.sockets)

    def __getitem__(self, port: Port) -> ListeningSocket:
        """The socket for that port, the first of several. Raises KeyError."""
        for one in self._at(port):
            return one
        raise KeyError(port)

    def __repr__(self) -> str:
        return f"<Listening {', '.join(map(str, self.sockets)) or 'nowhere'}>"

    def _at(self, port: Port) -> Iterator[ListeningSocket]:
        return (one for one in self.sockets if one.serves(port))
