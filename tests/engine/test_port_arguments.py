from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pytest_pycontainer.engine.port_arguments import PortMapping, parse_port, parse_ports, with_exposed
from pytest_pycontainer.errors import InvalidSpecError

numbers = some.integers(1, 65535)
addresses = some.sampled_from(["127.0.0.1", "0.0.0.0", "192.0.2.7"])
protocols = some.sampled_from(["tcp", "udp"])


@given(numbers, protocols, addresses, some.none() | numbers)
def test_what_a_text_says(container: int, protocol: str, address: str, host: int | None) -> None:
    expected = PortMapping(container, protocol, address, host)
    assert parse_ports([f"{address}:{host or ''}:{container}/{protocol}"]) == (expected,)
    assert parse_ports({f"{container}/{protocol}": (address, host)}) == (expected,)


@given(numbers, numbers, some.integers(0, 20), protocols)
def test_ranges_go_in_step(container: int, host: int, more: int, protocol: str) -> None:
    text = f"{host}-{host + more}:{container}-{container + more}/{protocol}"
    if max(container, host) + more > 65535:
        with pytest.raises(InvalidSpecError):
            parse_ports([text])
    else:
        expected = [PortMapping(container + step, protocol, host_port=host + step) for step in range(more + 1)]
        assert list(parse_ports([text])) == expected


@given(some.text(alphabet="0123456789-:./[]tcpudp ", max_size=30))
def test_any_text_is_ports_or_refused(text: str) -> None:
    try:
        mappings = parse_ports([text])
    except InvalidSpecError:
        return
    assert mappings
    for mapping in mappings:
        assert 1 <= mapping.container_port <= 65535
        assert all(1 <= number <= 65535 for number in mapping.host_ports)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, ()),
        (80, (PortMapping(80),)),
        ("53/UDP", (PortMapping(53, "udp"),)),
        ([80, "80/tcp", 80], (PortMapping(80),)),
        ("127.0.0.1::80", (PortMapping(80),)),
        (":80", (PortMapping(80),)),
        ("3000-3002", (PortMapping(3000), PortMapping(3001), PortMapping(3002))),
        ("8000-8010:80", (PortMapping(80, host_port=range(8000, 8011)),)),
        ("192.0.2.7:8000-8001:80-81/udp", tuple(PortMapping(80 + n, "udp", "192.0.2.7", 8000 + n) for n in (0, 1))),
        ({80: "8000-8010"}, (PortMapping(80, host_port=range(8000, 8011)),)),
        ({"80-81": 8000}, None),
        ("[::1]:8080:80", (PortMapping(80, host_address="::1", host_port=8080),)),
        ("[0:0::1]:8080:80", (PortMapping(80, host_address="::1", host_port=8080),)),
        ("8000-8002:80-81", None),
        ("81-80", None),
        ("0", None),
        ("65536", None),
        ("65530-65536:80", None),
        ("80/sctp", None),
        ("8080-:80", None),
        ("²", None),
        ({"8080:80": 8081}, None),
        ({80: True}, None),
        ({80: ("127.0.0.1", "x")}, None),
        (["8080:80", "8080:81"], None),
        (["8080:80", "0.0.0.0:8080:81"], None),
        (["8080:80", "8079-8080:81-82"], None),
        (["8080:80", "127.0.0.2:8080:80", "8080:80/udp"], ...),
        (["[::1]:8080:80", "8080:80"], ...),
    ],
)
def test_what_is_taken(given_: object, expected: object) -> None:
    if expected is None:
        with pytest.raises(InvalidSpecError, match=r"^invalid ports "):
            parse_ports(given_)  # type: ignore[arg-type]
    else:
        mappings = parse_ports(given_)  # type: ignore[arg-type]
        assert expected in (mappings, ...)


def test_the_exposed_ports_come_besides() -> None:
    named = parse_ports(["8080:80", "53/udp"])
    assert with_exposed(named, ("53/tcp", "53/udp", "80/tcp", "7000-7001")) == (
        *named,
        PortMapping(53),
        PortMapping(7000),
        PortMapping(7001),
    )


def test_one_port_is_one() -> None:
    assert parse_port("port", "53/udp").protocol == "udp"
    with pytest.raises(InvalidSpecError, match="one port, not a range"):
        parse_port("port", "80-81")
