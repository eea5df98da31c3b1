"""How containers find each other, this machine, and the rest of the world by name."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, wait
from pytest_pycontainer.errors import InvalidSpecError
from tests.runtime.dns_client import query, read

SLEEP = ["sleep", "1000"]

# A name server that knows one name, and tells by it how it was asked.
NAME_SERVER = """
import socket, struct, threading
answer = lambda q, address: q[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + q[12:q.index(b"\\0", 12) + 5] + (
    b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\0\\0\\4" + address)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 53))
streams = socket.create_server(("", 53))
def serve_streams():
    while True:
        client, _ = streams.accept()
        query = client.recv(1000)[2:]
        found = answer(query, bytes([192, 0, 2, 2]))
        client.sendall(struct.pack(">H", len(found)) + found)
        client.close()
threading.Thread(target=serve_streams, daemon=True).start()
print("ready", flush=True)
while True:
    query, peer = datagrams.recvfrom(1000)
    print("asked", flush=True)
    datagrams.sendto(answer(query, bytes([192, 0, 2, 1])), peer)
"""


def look_up(container: Container, name: str) -> list[str]:
    """Its addresses, sorted."""
    result = container.exec(["getent", "ahostsv4", name])
    return sorted({line.split()[0] for line in result.stdout.splitlines()})


def ask(network_gateway: str, packet: bytes, *, stream: bool = False) -> bytes:
    """Asks the resolver of a network from this machine."""
    place = (network_gateway.rpartition(".")[0] + ".254", 53)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(place)
        if not stream:
            client.send(packet)
            return client.recv(65535)
        client.sendall(len(packet).to_bytes(2, "big") + packet)
        received = b""
        while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
            received += client.recv(65535)
        return received[2:]


def test_containers_find_each_other_on_every_network(engine: Engine) -> None:
    with (
        engine.network("front") as front,
        engine.network("back") as back,
        engine.run("host", SLEEP, name="web", networks={front: {"aliases": ["www"]}, back: None}) as web,
        engine.run("host", SLEEP, network=back, network_aliases=["db", "Store"]) as database,
        engine.run("host", SLEEP, network=front) as client,
        engine.run("host", SLEEP, name="plain") as plain,
        engine.run("host", SLEEP) as other,
    ):
        for name in ("web", "WEB", "www", web.short_id, "web.front"):
            assert look_up(client, name) == [web.networks["front"]], name
        for name in ("db", "store", database.name, database.short_id, "db.back"):
            assert look_up(web, name) == [database.ip_address], name
            assert look_up(client, name) == [], name
        assert look_up(database, "www") == []
        assert look_up(other, "plain") == [plain.ip_address]
        assert look_up(other, "web") == []
        found = client.exec(["getent", "hosts", web.networks["front"]]).stdout.split()
        assert found == [web.networks["front"], "web.front"]
        assert client.exec(["cat", "/etc/resolv.conf"]).stdout.startswith("nameserver ")


def test_names_come_and_go_with_those_who_have_them(engine: Engine) -> None:
    with (
        engine.network("names") as network,
        engine.run("host", SLEEP, network=network, network_aliases=["all"]) as one,
        engine.run("host", SLEEP, network=network, network_aliases=["all"]) as two,
        engine.run("host", SLEEP, network="none") as client,
    ):
        assert look_up(client, "all") == []
        network.connect(client, aliases=["me"])
        assert look_up(client, "all") == sorted([one.ip_address, two.ip_address])
        one.kill()
        one.wait(timeout=30)
        assert look_up(client, "all") == [two.ip_address]
        one.start()
        assert look_up(client, "all") == sorted([one.ip_address, two.ip_address])
        two.rename("second")
        assert look_up(client, "second") == [two.ip_address]
        assert look_up(one, "me") == [client.ip_address]
        network.disconnect(two)
        assert look_up(client, "all") == [one.ip_address]
        address = one.ip_address
        one.remove(force=True)
        assert look_up(client, "all") == []
        with engine.run("host", SLEEP, network=network, network_aliases=["all"], ip=address):
            assert look_up(client, "all") == [address]


def test_the_machine_has_a_name(engine: Engine) -> None:
    with (
        engine.network(internal=True) as internal,
        engine.run("host", SLEEP, network=internal) as inside,
        engine.run("host", SLEEP, extra_hosts=["machine:host-gateway", "other=192.0.2.9", "six:[2001:db8::1]"]) as c,
    ):
        gateway = engine.network("bridge").gateway
        assert look_up(c, "host.docker.internal") == [gateway]
        assert look_up(c, "machine") == [gateway]
        assert look_up(c, "other") == ["192.0.2.9"]
        assert "2001:db8::1\tsix\n" in c.exec(["cat", "/etc/hosts"]).stdout
        assert look_up(inside, "host.docker.internal") == [internal.gateway]


def test_what_is_nobodys_is_asked_of_the_servers_that_were_named(engine: Engine) -> None:
    with (
        engine.run("host", ["python3", "-c", NAME_SERVER], name="ns", wait=wait.log("ready")) as server,
        engine.run("host", SLEEP, dns=[server.ip_address]) as c,
    ):
        assert look_up(c, "ns") == [server.ip_address]
        assert look_up(c, "some.where.example") == ["192.0.2.1"]
        assert look_up(c, "nodots") == ["192.0.2.1"]
        c.exec(["sh", "-c", "echo 'options use-vc' >> /etc/resolv.conf"])
        assert look_up(c, "some.where.example") == ["192.0.2.2"]
        assert look_up(c, "ns") == [server.ip_address]


def test_nothing_gets_out_of_an_internal_network_by_asking_for_names(engine: Engine) -> None:
    with (
        engine.network(internal=True) as internal,
        engine.run("host", ["python3", "-c", NAME_SERVER], wait=wait.log("ready"), name="outer") as outer,
        engine.run("host", ["python3", "-c", NAME_SERVER], wait=wait.log("ready"), network=internal) as inner,
        engine.run("host", SLEEP, network=internal, dns=[outer.ip_address]) as client,
        engine.run("host", SLEEP, network=internal, dns=[inner.ip_address]) as near,
    ):
        assert look_up(client, "secret.example") == []
        assert outer.logs() == "ready\n"
        assert look_up(client, inner.name) == [inner.ip_address]
        assert look_up(near, "some.example") == ["192.0.2.1"]
        engine.network("bridge").connect(client)
        assert look_up(client, "some.example") == ["192.0.2.1"]


def test_a_name_server_of_a_containers_own_is_not_in_the_way(engine: Engine) -> None:
    with engine.run("host", ["python3", "-c", NAME_SERVER], name="itself", wait=wait.log("ready")) as c:
        assert look_up(c, "itself") == [c.ip_address]


def test_the_search_list_and_options(engine: Engine) -> None:
    def resolv_conf(**options: object) -> str:
        with engine.run("host", ["cat", "/etc/resolv.conf"], **options) as c:  # type: ignore[arg-type]
            assert c.wait(timeout=30) == 0
            return c.logs()

    given = {"dns_search": ["a.example", "b.example"], "dns_options": ["timeout:3", "ndots:2"]}
    lines = resolv_conf(**given).splitlines()
    assert re.fullmatch(r"nameserver 10\.\d+\.\d+\.254", lines[0])
    assert lines[1:] == ["search a.example b.example", "options timeout:3 ndots:2"]
    assert "search" not in resolv_conf(dns_search=".")
    assert "ndots:0" in resolv_conf(dns_options="attempts:1")
    lines = resolv_conf(network="host", dns=["192.0.2.1", "2001:db8::1"], dns_search="x.example").splitlines()
    assert lines[:3] == ["nameserver 192.0.2.1", "nameserver 2001:db8::1", "search x.example"]
    assert resolv_conf(network="host") == Path("/etc/resolv.conf").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dns": ["nonsense"]}, "the addresses of name servers"),
        ({"dns": 5}, "a sequence of texts"),
        ({"dns_search": ["a b"]}, "without blanks"),
        ({"extra_hosts": ["name"]}, "NAME:ADDRESS"),
        ({"extra_hosts": {"name": "nowhere"}}, "with an IP address"),
        ({"extra_hosts": {"a b": "192.0.2.1"}}, "with an IP address"),
        ({"extra_hosts": ["x:host-gateway"], "network": "none"}, "a network, in which"),
        ({"dns": ["192.0.2.1"], "network": "container:x"}, "as that one does"),
    ],
)
def test_options_that_make_no_sense(engine: Engine, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        engine.create("host", SLEEP, **options)  # type: ignore[arg-type]


def test_hostile_packets_change_nothing_for_others(engine: Engine) -> None:
    with engine.network() as network, engine.run("host", SLEEP, network=network, name="still") as c:
        place = (network.gateway.rpartition(".")[0] + ".254", 53)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, ExitStack() as streams:
            for packet in (b"", b"x", os.urandom(40), os.urandom(1400), query("still")[:15], b"\xff" * 512):
                client.sendto(packet, place)
                stream = streams.enter_context(socket.create_connection(place, 20))
                stream.sendall(packet)
        assert read(ask(network.gateway, query("still"))).addresses == [c.ip_address]
        assert read(ask(network.gateway, query("still"), stream=True)).addresses == [c.ip_address]


def test_many_at_once_and_many_of_one_name(engine: Engine) -> None:
    with engine.network() as network, ExitStack() as containers:
        made = [
            containers.enter_context(engine.create("host", SLEEP, network=network, network_aliases=["all"]))
            for _ in range(40)
        ]
        addresses = sorted(c.ip_address for c in made)
        assert read(ask(network.gateway, query("all"))).truncated
        for found in (
            ask(network.gateway, query("all", size=4096)),
            ask(network.gateway, query("all"), stream=True),
        ):
            assert sorted(read(found).addresses) == addresses
        with ThreadPoolExecutor(16) as threads:
            names = [c.name for c in made] * 5
            found_by_name = threads.map(lambda name: read(ask(network.gateway, query(name))).addresses, names)
            assert list(found_by_name) == [[c.ip_address] for c in made] * 5


def test_another_resolver_takes_the_place_of_one_that_was_killed(engine: Engine) -> None:
    with Engine(engine.settings) as own, own.run("host", SLEEP, name="first") as first:
        own.settle()  # no monitor is in the making
        for service in _services(own):  # the resolver, and beside a firewall the forwarder
            process = os.pidfd_open(service)
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], 60)
            os.close(process)
        with own.run("host", SLEEP) as c:
            assert look_up(c, "first") == [first.ip_address]
            assert look_up(first, c.name) == [c.ip_address]


def _services(engine: Engine) -> list[int]:
    """The children of its spawner that are no monitors: PID namespaces are theirs alone."""
    spawner = engine._resources.spawner.pid
    children = Path(f"/proc/{spawner}/task/{spawner}/children").read_text().split()
    own = Path("/proc/self/ns/pid").readlink()
    return [int(child) for child in children if Path(f"/proc/{child}/ns/pid").readlink() == own]
