"""The agent in the node, from the command line to the wire and back."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from fakes.agent_process import Site, eventually, site
from lab.namespaces import inside
from lab.network import NODE, Lab
from lab.servers import Echo, connect, reaches

OUTSIDE = ("1.1.1.1", "2600::1")


@pytest.fixture
def here(lab: Lab, echo: Echo, tmp_path: Path) -> Iterator[Site]:
    """A running site with an echo server outside."""
    with site(lab, tmp_path) as made:
        yield made


def test_allow_all_reaches_the_internet_and_neither_the_node_nor_private_addresses(
    here: Site,
) -> None:
    with_echo = Echo(here.lab.node)
    box, other = here.box("b1", "--mode", "allow-all"), here.box("b2", "--mode", "allow-all")
    echo_of_other = Echo(other)
    assert all(reaches(box, address) for address in OUTSIDE)
    own = (*NODE, *box.gateways, *other.addresses, "10.9.9.9", "169.254.169.254", "fd00::1")
    assert [address for address in own if reaches(box, address)] == []
    with_echo.close()
    echo_of_other.close()


def test_deny_all_reaches_nothing_and_the_node_still_reaches_the_box(here: Site) -> None:
    box = here.box("b1", "--mode", "deny-all")
    assert [address for address in OUTSIDE if reaches(box, address)] == []
    inside = Echo(box)
    assert all(reaches(here.lab.node, address) for address in box.addresses)
    inside.close()


def test_custom_networks_are_enforced_in_both_families(here: Site) -> None:
    lists = ("--allow-cidr", "1.0.0.0/8", "--allow-cidr", "2600::/13", "--deny-cidr", "1.1.1.1")
    box = here.box("b1", *lists)
    asked = ("1.1.1.1", "1.1.1.2", "2.1.1.1", "2600::1", "2610::1")
    assert [address for address in asked if reaches(box, address)] == ["1.1.1.2", "2600::1"]


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_connection_that_is_cut_is_reset_at_both_ends_though_both_are_idle(
    here: Site, address: str
) -> None:
    box = here.box("b1", "--mode", "allow-all")
    outside = listener(here.lab, 99)
    inside = connect(box, address, 99)
    accepted, _ = outside.accept()
    here.must("policy", "set", "b1", "--mode", "deny-all")
    cut_at = time.monotonic()
    for end in (inside, accepted):
        end.settimeout(5)
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    assert time.monotonic() - cut_at < 2
    for one in (inside, accepted, outside):
        one.close()


def test_connections_that_stay_allowed_go_on_and_both_are_counted(here: Site) -> None:
    box = here.box(
        "b1", "--mode", "custom", "--allow-cidr", "1.0.0.0/8", "--allow-cidr", "2.0.0.0/8"
    )
    kept, cut = connect(box, "1.1.1.1"), connect(box, "2.2.2.2")
    here.must("policy", "set", "b1", "--allow-cidr", "1.0.0.0/8")
    kept.sendall(b"still here")
    assert kept.recv(10) == b"still here"
    with pytest.raises(OSError, match="reset"):
        cut.recv(1)
    counts = eventually(
        lambda: here.must("box", "get", "b1")["enforcement"]["nodes"][0],
        lambda node: node["connections_cut"] == 1,
    )
    assert counts["connections_kept"] == 1
    kept.close()
    cut.close()


def test_refusals_are_told_with_reason_rule_and_revision(here: Site) -> None:
    box = here.box("b1", "--allow-cidr", "1.0.0.0/8", "--deny-cidr", "1.1.1.0/24")
    assert not reaches(box, "1.1.1.1")
    found = eventually(lambda: here.must("refusals", "b1")["refusals"], bool)[0]
    revision = here.must("box", "get", "b1")["policy_revision"]
    assert found["reason"] == "DENIED_CIDR"
    assert found["rule"]["text"] == "1.1.1.0/24"
    assert found["policy_revision"] == revision
    assert found["address"] == "1.1.1.1"


def test_metrics_tell_what_is_enforced_and_refused(here: Site) -> None:
    box = here.box("b1", "--mode", "deny-all")
    assert not reaches(box, OUTSIDE[0])
    found = metrics_of(here)
    assert 'boxwall_agent_boxes{standing="enforced"} 1.0' in found
    assert 'boxwall_agent_refused_packets_total{chain="refused"} 1.0' in found
    assert "boxwall_agent_in_contact 1.0" in found
    assert "boxwall_agent_unread_packets_total 0.0" in found
    # A box that is detached takes nothing of it away.
    here.must("detach", "b1")
    assert 'boxwall_agent_refused_packets_total{chain="refused"} 1.0' in metrics_of(here)


def metrics_of(here: Site) -> str:
    """What the agent's metrics say."""
    with inside(here.lab.node.name), urlopen("http://127.0.0.1:9465/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def listener(lab: Lab, port: int) -> socket.socket:
    """A server on every address outside."""
    with inside(lab.internet.name):
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
