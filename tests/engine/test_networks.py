"""Named networks, and containers that are in several, or in another's."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_pycontainer import Container, Engine, Network, wait
from pytest_pycontainer.errors import (
    AddressInUseError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    InvalidSpecError,
    NetworkAttachError,
    NetworkInUseError,
    NetworkNotFoundError,
    PortInUseError,
    PortNotPublishedError,
    SubnetInUseError,
)
from tests.processes import descendants

SLEEP = ["sleep", "1000"]
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5).recv(100).decode())"
SERVE = """
import socket
server = socket.create_server(("", 80))
print("ready", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""


def run_server(engine: Engine, **options: object) -> Container:
    return engine.run("host", ["python3", "-c", SERVE], wait=wait.log("ready"), **options)  # type: ignore[arg-type]


def ask(container: Container, host: str, port: int = 80) -> str:
    """The address that a server sees, or the exception."""
    result = container.exec(["python3", "-c", ASK, host, str(port)])
    return (result.stdout if result.exit_code == 0 else result.stderr).strip().splitlines()[-1]


def routes(container: Container) -> list[list[str]]:
    """Interface and hexadecimal gateway of each default route."""
    lines = [line.split() for line in container.exec(["cat", "/proc/net/route"]).stdout.splitlines()[1:]]
    return [[line[0], line[2]] for line in lines if line[1] == "00000000"]


def hexadecimal(address: str) -> str:
    return ipaddress.IPv4Address(address).packed[::-1].hex().upper()


def test_a_network_is_there_for_the_length_of_a_block(engine: Engine) -> None:
    with engine.network("front") as network:
        assert network == engine.network("front")
        assert network in engine.networks()
        assert network.name == "front"
        assert not network.internal
        assert ipaddress.IPv4Address(network.gateway) in ipaddress.IPv4Network(network.subnet)
        with engine.run("host", SLEEP, network=network) as c:
            assert network.containers == [c]
            assert c.networks == {"front": c.ip_address}
            with pytest.raises(NetworkInUseError, match=c.name):
                network.remove()
    assert network not in engine.networks()
    network.remove()
    with pytest.raises(NetworkNotFoundError, match="no network 'front'"):
        engine.create("host", SLEEP, network="front")
    with pytest.raises(NetworkNotFoundError, match=r"it has: bridge"):
        engine.create("host", SLEEP, network=network)


def test_a_network_without_a_name_is_a_new_one(engine: Engine) -> None:
    with engine.network() as one, engine.network() as other:
        assert one != other
        assert one.name != other.name
        assert one.subnet != other.subnet


def test_leaving_a_network_disconnects_who_is_in_it(engine: Engine) -> None:
    with engine.network() as network:
        c = engine.run("host", SLEEP, network=network)
    with c:
        assert c.status == "running"
        assert c.networks == {}
        assert c.ip_address == ""


def test_networks_are_apart(engine: Engine) -> None:
    with (
        engine.network() as front,
        engine.network() as back,
        run_server(engine, network=front) as server,
        engine.run("host", SLEEP, network=front) as near,
        engine.run("host", SLEEP, network=back) as far,
        engine.run("host", SLEEP) as elsewhere,
    ):
        assert ask(near, server.ip_address) == near.ip_address
        assert "timed out" in ask(far, server.ip_address)
        assert "timed out" in ask(elsewhere, server.ip_address)
        with socket.create_connection((server.ip_address, 80), 5) as connection:
            assert connection.recv(100).decode() == front.gateway


def test_a_subnet_and_addresses_of_ones_own(engine: Engine) -> None:
    with engine.network("own", subnet="10.77.5.0/26") as network:
        assert network.subnet == "10.77.5.0/26"
        assert network.gateway == "10.77.5.1"
        assert engine.network("own", subnet="10.77.5.0/26") == network
        for wrong in ({"subnet": "10.78.5.0/26"}, {"internal": True}):
            with pytest.raises(InvalidSpecError, match=r"subnet='10\.77\.5\.0/26', internal=False, ipv6=False"):
                engine.network("own", **wrong)
        with pytest.raises(SubnetInUseError, match=r"10\.77\.5\.0/24 overlaps 10\.77\.5\."):
            engine.network(subnet="10.77.5.0/24")
        with engine.create("host", SLEEP, network=network, ip="10.77.5.50") as c:
            assert c.ip_address == "10.77.5.50"
            for taken, owner in (("10.77.5.50", "another container"), ("10.77.5.1", "gateway")):
                with pytest.raises(AddressInUseError, match=owner):
                    engine.create("host", SLEEP, network=network, ip=taken)
            with pytest.raises(InvalidSpecError, match=r"in 10\.77\.5\.0/26"):
                engine.create("host", SLEEP, network=network, ip="10.77.6.1")
            assert network.containers == [c]


def test_an_internal_network_has_no_way_out(engine: Engine) -> None:
    with (
        engine.network(internal=True) as internal,
        run_server(engine, network=internal) as server,
        engine.run("host", SLEEP, network=internal) as c,
    ):
        assert routes(c) == []
        assert ask(c, server.ip_address) == c.ip_address
        assert "unreachable" in ask(c, "192.0.2.1")
        with socket.create_connection((server.ip_address, 80), 5) as connection:
            assert connection.recv(100).decode() == internal.gateway
        with pytest.raises(InvalidSpecError, match="a network that is not internal"):
            engine.create("host", SLEEP, network=internal, ports=[80])


def test_a_container_in_several_networks(engine: Engine) -> None:
    with (
        engine.network("inside", internal=True) as inside,
        engine.network("outside") as outside,
        run_server(engine, networks=["inside", outside], ports=[80], hostname="box") as c,
        engine.run("host", SLEEP, network=inside) as near,
        engine.run("host", SLEEP, network=outside) as beside,
    ):
        assert list(c.networks) == ["inside", "outside"]
        assert ask(near, c.networks["inside"]) == near.ip_address
        assert ask(beside, c.networks["outside"]) == beside.ip_address
        assert "unreachable" in ask(near, c.networks["outside"])
        assert routes(c) == [["eth1", hexadecimal(outside.gateway)]]
        with socket.create_connection(c.address(80), 5) as connection:
            assert connection.recv(100).decode() == outside.gateway
        hosts = c.exec(["cat", "/etc/hosts"]).stdout.splitlines()
        assert hosts[-2:] == [f"{address}\tbox" for address in c.networks.values()]
        assert engine.find(c.id).networks == c.networks
        with Engine(engine.settings) as other:
            assert other.find(c.id).networks == c.networks


def test_connecting_and_disconnecting_what_runs(engine: Engine) -> None:
    with (
        engine.network("one") as one,
        engine.network("two") as two,
        run_server(engine, network=one, ports=["127.0.176.1::80"], hostname="box") as c,  # where nobody takes its port
        engine.run("host", SLEEP, network=two) as client,
        Engine(engine.settings) as other,
    ):
        theirs = other.find(c.id)
        port = c.port(80)
        two.connect(c, ip=str(ipaddress.IPv4Network(two.subnet)[20]))
        assert list(c.networks) == ["one", "two"] == list(theirs.networks)
        assert ask(client, c.networks["two"]) == client.ip_address
        assert routes(c) == [["eth0", hexadecimal(one.gateway)]]
        with pytest.raises(NetworkAttachError, match="it is connected already"):
            two.connect(c)

        # Ports and the way out move to the network that is left.
        one.disconnect(c)
        assert list(c.networks) == ["two"] == list(theirs.networks)
        assert routes(c) == [["eth1", hexadecimal(two.gateway)]]
        assert c.port(80) == port == theirs.port(80)
        with socket.create_connection(c.address(80), 5) as connection:
            assert connection.recv(100).decode() == two.gateway
        with pytest.raises(NetworkAttachError, match="not connected"):
            one.disconnect(c)
        assert f"{c.ip_address}\tbox" in c.exec(["cat", "/etc/hosts"]).stdout

        c.restart(timeout=0)
        assert list(c.networks) == ["two"]
        assert c.exec(["ls", "/sys/class/net"]).stdout.split() == ["eth1", "lo"]

        port = c.port(80)
        two.disconnect(c)
        assert c.exec(["ls", "/sys/class/net"]).stdout.split() == ["lo"]
        assert "\tbox" not in c.exec(["cat", "/etc/hosts"]).stdout
        with pytest.raises(PortNotPublishedError):
            c.port(80)
        with socket.create_server(("127.0.176.1", port)), pytest.raises(PortInUseError):
            one.connect(c)
        assert c.networks == {}
        one.connect(c)
        assert routes(c) == [["eth0", hexadecimal(one.gateway)]]
        assert c.port(80) == theirs.port(80) == port
        with socket.create_connection(c.address(80), 60) as connection:
            assert connection.recv(100).decode() == one.gateway


def test_connecting_what_does_not_run_yet_or_any_more(engine: Engine) -> None:
    with engine.network() as network, engine.create("host", ["ls", "/sys/class/net"], network="none") as c:
        assert c.networks == {}
        network.connect(c)
        c.start()
        assert c.wait(timeout=30) == 0
        assert c.logs().split() == ["eth0", "lo"]
        network.disconnect(c)
        c.start()
        assert c.wait(timeout=30) == 0
        assert c.logs().split() == ["eth0", "lo", "lo"]
    with pytest.raises((ContainerNotFoundError, InvalidSpecError)):
        network.connect(c)


def test_a_removed_container_gives_its_address_back(engine: Engine) -> None:
    with engine.network() as network:
        first = engine.create("host", SLEEP, network=network)
        address = first.ip_address
        first.remove()
        assert network.containers == []
        with engine.create("host", SLEEP, network=network, ip=address) as c:
            assert c.ip_address == address


def test_what_fails_leaves_the_network_as_it_was(engine: Engine) -> None:
    with engine.network("good") as good:
        for networks in (["good", "unknown"], ["good", "good"]):
            with pytest.raises((NetworkNotFoundError, InvalidSpecError)):
                engine.create("host", SLEEP, networks=networks)
        with pytest.raises(AddressInUseError):
            engine.create("host", SLEEP, networks={"bridge": None, "good": {"ip": good.gateway}})
        assert good.containers == []
        with engine.run("host", SLEEP, network="none") as c, pytest.raises(AddressInUseError):
            good.connect(c, ip=good.gateway)
        assert good.containers == []
    with Engine(engine.settings) as other, engine.network() as network, engine.create("host", SLEEP) as c:
        with pytest.raises(InvalidSpecError, match="a container that this engine has made"):
            network.connect(other.find(c.id))
        with pytest.raises(NetworkNotFoundError):
            other.create("host", SLEEP, network=network)


def test_this_machines_network(engine: Engine) -> None:
    script = "hostname; readlink /proc/self/ns/net; cat /etc/hosts"
    with engine.run("host", ["sh", "-c", script], network="host") as c:
        assert c.wait(timeout=30) == 0
        name, namespace, *hosts = c.logs().splitlines()
        assert name == socket.gethostname()
        assert namespace == str(Path("/proc/self/ns/net").readlink())
        assert hosts == Path("/etc/hosts").read_text().splitlines()
        assert c.networks == {}
        with engine.network() as network, pytest.raises(NetworkAttachError, match="it has this machine's network"):
            network.connect(c)


def test_another_containers_network(engine: Engine) -> None:
    with run_server(engine, hostname="shared", name="owner") as owner:
        with engine.run("host", SLEEP, network="container:owner") as guest:
            assert ask(guest, "127.0.0.1") == "127.0.0.1"
            assert guest.exec(["hostname"]).stdout == "shared\n"
            assert guest.exec(["cat", "/etc/hosts"]).stdout == owner.exec(["cat", "/etc/hosts"]).stdout
            for file in ("hosts", "resolv.conf", "hostname"):
                assert guest.exec(["cat", f"/etc/{file}"]).exit_code == 0
            assert owner.exec(["readlink", "/proc/self/ns/net"]).stdout == (
                guest.exec(["readlink", "/proc/self/ns/net"]).stdout
            )
        owner.kill()
        owner.wait(timeout=30)
        with pytest.raises(ContainerNotRunningError, match="share the network namespace"):
            engine.create("host", SLEEP, network="container:owner")
    with pytest.raises(ContainerNotFoundError):
        engine.create("host", SLEEP, network="container:owner")


def test_threads_that_connect_at_once(engine: Engine) -> None:
    with engine.network() as network, ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: engine.create("host", SLEEP, network="none"), range(8)))
        list(threads.map(network.connect, made))
        assert len({c.networks[network.name] for c in made}) == 8
        list(threads.map(network.disconnect, made))
        assert network.containers == []
        for c in made:
            c.remove()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "container:"}, "container:NAME"),
        ({"network": "none", "networks": ["a"]}, "it has no others"),
        ({"network": "host", "ip": "10.0.0.1"}, "invalid ip '10.0.0.1': wanted none"),
        ({"network": "none", "network_aliases": ["one"]}, "invalid network_aliases \"['one']\": wanted none"),
        ({"network": "none", "ports": [80]}, "no network of its own"),
        ({"network": "host", "ports": [80]}, "no network of its own"),
        ({"network": "container:x", "hostname": "y"}, "shares the network"),
        ({"network": "host", "userns": "auto"}, "no rights"),
        ({"network": 5}, "a Network, or the name of one"),
        ({"networks": "bridge"}, "a sequence of networks"),
        ({"networks": ["none"]}, "beside others"),
        ({"networks": {"bridge": {"alias": "x"}}}, "a mapping with aliases, ip, ip6"),
        ({"network_aliases": "web"}, "a sequence of names"),
        ({"network_aliases": ["we b"]}, "a host name"),
        ({"network_aliases": ["a..b"]}, "a host name"),
        ({"ip": "fd00::1"}, "an IPv4 address"),
        ({"ip": "nonsense"}, "an IPv4 address"),
        ({"ip6": "10.0.0.1"}, "an IPv6 address"),
        ({"ip6": "fd00::5"}, "a network with IPv6"),
    ],
)
def test_options_that_make_no_sense(engine: Engine, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=re.escape(message)):
        engine.create("host", SLEEP, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "x", "none", "host", "a/b", "-a", "container", "bridge "])
def test_names_that_no_network_has(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidSpecError):
        engine.network(name)


def test_the_default_network_stays(engine: Engine) -> None:
    default = engine.network("bridge")
    assert default == engine.network("default")
    assert isinstance(default, Network)
    with pytest.raises(InvalidSpecError, match="the engine's own"):
        default.remove()
    with engine.create("host", SLEEP, network="default") as c:
        assert c in default.containers


def test_a_network_with_ipv6(engine: Engine) -> None:
    with (
        engine.network("six", ipv6=True) as six,
        engine.network("other", ipv6=True) as other,
        run_server(engine, network=six, name="server") as server,
        engine.run("host", SLEEP, network=six, hostname="box") as client,
        engine.run("host", SLEEP, network=other) as far,
        engine.run("host", SLEEP) as without,
        Engine(engine.settings) as another,
    ):
        assert six.ipv6_subnet is not None
        assert ipaddress.IPv6Address(server.ip6_address) in ipaddress.IPv6Network(six.ipv6_subnet)
        assert without.ip6_address == ""
        assert another.find("server").ip6_address == server.ip6_address
        for container in (client, far, without):
            addresses = container.exec(["cat", "/proc/net/if_inet6"]).stdout.split()
            assert ("eth0" in addresses) == (container is not without)
        assert f"{client.ip6_address}\tbox\n" in client.exec(["cat", "/etc/hosts"]).stdout
        assert client.exec(["getent", "ahostsv6", "server"]).stdout.split()[0] == server.ip6_address
        found = client.exec(["getent", "hosts", server.ip6_address]).stdout.split()
        assert found == [server.ip6_address, "server.six"]
        with run_ipv6_server(engine, network=six, ip6=str(ipaddress.IPv6Network(six.ipv6_subnet)[0x77])) as v6:
            assert v6.ip6_address.endswith("::77")
            assert ask(client, v6.ip6_address) == client.ip6_address
            assert "timed out" in ask(far, v6.ip6_address) or "unreachable" in ask(far, v6.ip6_address)
            with socket.create_connection((v6.ip6_address, 80), 5) as connection:
                assert connection.recv(100).decode().endswith("::1")
            with pytest.raises(AddressInUseError, match="another container"):
                engine.create("host", SLEEP, network=six, ip6=v6.ip6_address)
            v6.restart(timeout=0)
            wait.log("ready", times=2).until_ready(v6, 20)
            assert ask(client, v6.ip6_address) == client.ip6_address
        with pytest.raises(InvalidSpecError, match="a host's address in"):
            engine.create("host", SLEEP, network=six, ip6="fd00::5")


def test_an_ipv6_subnet_of_a_networks_own(engine: Engine) -> None:
    subnet = f"fd{secrets.token_hex(1)}:{secrets.token_hex(2)}:{secrets.token_hex(2)}:1::/64"
    own = str(ipaddress.IPv6Network(subnet))
    with engine.network("chosen", ipv6=subnet) as chosen:
        assert chosen.ipv6_subnet == own
        assert engine.network("chosen", ipv6=own) == engine.network("chosen", ipv6=True) == chosen
        with run_ipv6_server(engine, network=chosen) as server:
            assert ipaddress.IPv6Address(server.ip6_address) in ipaddress.IPv6Network(own)
            with socket.create_connection((server.ip6_address, 80), 20) as connection:
                assert connection.recv(100).decode() == str(ipaddress.IPv6Network(own)[1])
        with pytest.raises(SubnetInUseError, match=re.escape(own)):
            engine.network("another", ipv6=subnet)
        with pytest.raises(InvalidSpecError, match="network chosen"):
            engine.network("chosen", ipv6="fd00:5::/64")
    with pytest.raises(InvalidSpecError, match="invalid ipv6 'fd00::/48': wanted True, or an IPv6 network"):
        engine.network(ipv6="fd00::/48")


def run_ipv6_server(engine: Engine, **options: object) -> Container:
    script = SERVE.replace('create_server(("", 80))', 'create_server(("::", 80), family=socket.AF_INET6)')
    return engine.run("host", ["python3", "-c", script], wait=wait.log("ready"), **options)  # type: ignore[arg-type]


OWNER = """
import sys
from pathlib import Path
from pytest_pycontainer import Engine, Settings

engine = Engine(Settings(root=Path(sys.argv[1]), state=Path(sys.argv[2])))
networks = [engine.network(), engine.network(internal=True), engine.network(ipv6=True), engine.network("bridge")]
engine.run("host", ["sleep", "1000"], networks=networks, ports=[80])
engine.run("host", ["sleep", "1000"], network="none")
print(*(network._network.bridge.interface for network in networks), flush=True)
sys.stdin.read()
"""


def test_after_sigkill_of_all_there_is_no_network_left(engine: Engine, tmp_path: Path) -> None:
    settings = engine.settings
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "root"), str(settings.state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        interfaces = owner.stdout.readline().split()
        assert len(interfaces) == 4
        assert all(Path("/sys/class/net", interface).exists() for interface in interfaces)
        for process in (owner.pid, *descendants(owner.pid)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while left := [interface for interface in interfaces if Path("/sys/class/net", interface).exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    with Engine(replace(settings, root=tmp_path / "root")) as next_one, next_one.run("host", ["true"]) as c:
        assert c.wait(timeout=60) == 0
        assert next_one.containers(others=True) == [c]


def test_a_forked_child_takes_no_network_with_it(engine: Engine) -> None:
    with engine.network() as network, engine.create("host", SLEEP, network=network) as c:
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                network.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        assert network in engine.networks()
        assert Path("/sys/class/net", network._network.bridge.interface).exists()
        assert network.containers == [c]


def test_an_interface_is_gone_even_if_its_ports_can_not_follow(engine: Engine) -> None:
    with (
        engine.network("first-one") as first,
        engine.network("second-one") as second,
        engine.run("host", SLEEP, networks=[first, second], ports=[80], hostname="box") as c,
    ):
        address, port = c.ip_address, c.port(80)
        second._network.bridge.close()
        with pytest.raises(NetworkAttachError, match="the network is closed"):
            first.disconnect(c)
        assert list(c.networks) == ["second-one"]
        assert address not in c.exec(["cat", "/etc/hosts"]).stdout
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_what_was_killed_with_its_spawner_can_be_let_go(engine: Engine) -> None:
    with Engine(engine.settings) as own:
        network = own.network()
        c = own.run("host", SLEEP, network=network)
        spawner = own._resources.spawner.pid
        processes = [os.pidfd_open(process) for process in (spawner, *descendants(spawner))]
        os.kill(spawner, signal.SIGKILL)
        c.wait(timeout=30)
        c.remove()
        network.remove()
        assert not own._resources._spawner.is_alive()  # type: ignore[union-attr]  # nothing needed another one
        for process in processes:
            select.select([process], [], [], 30)
            os.close(process)
