from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_pycontainer.network import names
from pytest_pycontainer.network.names import hosts_file, machine_resolv_conf, resolv_conf, resolv_conf_to_read


def test_hosts_names_loopback_extras_and_the_container() -> None:
    lines = hosts_file("web", ["10.213.0.2"], [("database", "10.213.0.3")]).splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[1] == "::1\tlocalhost ip6-localhost ip6-loopback"
    assert lines[-2:] == ["10.213.0.3\tdatabase", "10.213.0.2\tweb"]


def test_hosts_of_a_container_without_network_has_no_line_of_its_own() -> None:
    assert "web" not in hosts_file("web")


def test_resolv_conf_drops_only_servers_that_a_container_cannot_reach() -> None:
    machines = (
        "# written by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver ::1\nnameserver 2001:db8::53\n"
        "search example.org\noptions ndots:2 edns0\n"
    )
    assert resolv_conf(machines) == (
        "# written by hand\nnameserver 192.0.2.53\nsearch example.org\noptions ndots:2 edns0\n"
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("nameserver 127.0.0.53\noptions edns0\n", names.RESOLVED_RESOLV_CONF),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.53\n", names.MACHINE_RESOLV_CONF),
        ("nameserver 192.0.2.53\n", names.MACHINE_RESOLV_CONF),
        ("", names.MACHINE_RESOLV_CONF),
    ],
)
def test_the_file_of_systemd_resolved_is_read_behind_its_stub(text: str, path: Path) -> None:
    assert resolv_conf_to_read(text) == path


def test_the_machines_own_servers_come_from_behind_the_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, resolved = tmp_path / "machine", tmp_path / "resolved"
    machine.write_text("nameserver 127.0.0.53\n")
    resolved.write_text("nameserver 192.0.2.53\n")
    monkeypatch.setattr(names, "MACHINE_RESOLV_CONF", machine)
    monkeypatch.setattr(names, "RESOLVED_RESOLV_CONF", resolved)
    assert machine_resolv_conf() == "nameserver 192.0.2.53\n"
    machine.unlink()
    assert machine_resolv_conf() == ""


_addresses = st.one_of(st.ip_addresses().map(str), st.text(st.characters(categories=["L", "N"]), min_size=1))
_lines = st.one_of(
    _addresses.map("nameserver {}".format),
    st.sampled_from(
        ["nameserver", "search a b", "options rotate", "", "  ", "; a comment", "\tnameserver\t127.0.0.1 "]
    ),
    st.text(st.characters(exclude_categories=["C", "Z"])),
)


@given(st.lists(_lines).map("\n".join))
def test_any_resolv_conf_can_be_read_and_reading_twice_changes_nothing(text: str) -> None:
    once = resolv_conf(text)
    assert resolv_conf(once) == once
    assert "127.0.0" not in "".join(line for line in once.splitlines() if line.strip().startswith("nameserver"))
    kept = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"]]
    assert [line for line in once.splitlines() if line.split()[:1] != ["nameserver"]] == kept
