"""Attaching: what is refused and why, and that what is refused is closed."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from boxwall_agent.nflog import LogGroup
from boxwall_agent.nft.layout import LOG_GROUP
from fakes.agent_process import Site, eventually, limited_to_its_unit, site
from fakes.server_process import environment
from lab.namespaces import Namespace, add_address, add_route, inside, join, know_neighbour
from lab.network import NODE, Box, Lab
from lab.servers import Echo, reaches

OUTSIDE = "1.1.1.1"


@pytest.fixture
def here(lab: Lab, echo: Echo, tmp_path: Path) -> Iterator[Site]:
    """A running site with an echo server outside."""
    with site(lab, tmp_path) as made:
        yield made


def refusal_of(here: Site, *arguments: str) -> str:
    """Attach; it must be refused. Returns what is said."""
    done = here.boxwall("attach", *arguments)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def state_of(here: Site, box_id: str) -> dict[str, object]:
    """What the agent says of a box."""
    boxes = here.must("attached")["boxes"]
    return next(box for box in boxes if box["box_id"] == box_id)


def test_an_interface_that_does_not_exist_is_refused(here: Site) -> None:
    here.must("box", "create", "--id", "b1")
    said = refusal_of(here, "b1", "--interface", "nope0")
    assert "there is no interface nope0" in said
    assert here.must("attached")["boxes"] == []


def test_an_interface_of_another_box_is_refused_and_both_stay_as_they_are(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    here.must("box", "create", "--id", "b2", "--mode", "deny-all")
    assert "belongs to box b1" in refusal_of(here, "b2", "--interface", box.interface_name)
    assert reaches(box, OUTSIDE)


def test_an_address_of_another_box_is_refused(here: Site) -> None:
    first = here.box("b1", "--mode", "allow-all")
    second = here.lab.box()
    here.must("box", "create", "--id", "b2", "--mode", "allow-all")
    address = first.addresses[0]
    said = refusal_of(here, "b2", "--interface", second.interface_name, "--address", address)
    assert f"{address} belongs to box b1" in said


def test_a_box_that_nobody_knows_is_refused_and_its_interface_is_closed(here: Site) -> None:
    box = here.lab.box()
    assert reaches(box, OUTSIDE)
    said = refusal_of(here, "ghost", "--netns", box.name)
    assert "ghost" in said
    assert not reaches(box, OUTSIDE)
    here.must("box", "create", "--id", "ghost", "--mode", "allow-all")
    here.must("attach", "ghost", "--netns", box.name)
    assert reaches(box, OUTSIDE)


def test_a_bridge_port_is_refused(here: Site) -> None:
    box = here.lab.box()
    with here.lab.node.netlink() as link:
        link.link("add", ifname="br0", kind="bridge")
        bridge = link.link_lookup(ifname="br0")[0]
        link.link("set", index=link.link_lookup(ifname=box.interface_name)[0], master=bridge)
    here.must("box", "create", "--id", "b1")
    assert "port of br0" in refusal_of(here, "b1", "--interface", box.interface_name)
    assert "bridge" in refusal_of(here, "b1", "--interface", "br0", "--address", "10.77.1.2")


@pytest.mark.parametrize("name", ["lo", "uplink"])
def test_the_nodes_own_interfaces_are_refused(here: Site, name: str) -> None:
    here.must("box", "create", "--id", "b1")
    refusal_of(here, "b1", "--interface", name, "--address", "10.77.1.2")
    assert here.must("attached")["boxes"] == []


def test_a_namespace_without_a_link_to_the_node_is_refused(here: Site) -> None:
    here.must("box", "create", "--id", "b1")
    assert "no network namespace" in refusal_of(here, "b1", "--netns", "nothing-like-this")


def test_the_addresses_are_read_from_the_routes_to_the_interface(here: Site) -> None:
    box = here.lab.box()
    here.must("box", "create", "--id", "b1", "--mode", "allow-all")
    attached = here.must("attach", "b1", "--interface", box.interface_name)
    assert set(box.addresses) <= set(attached["addresses"])
    assert not set(box.gateways) & set(attached["addresses"])
    assert reaches(box, OUTSIDE)


def test_an_address_with_a_peer_is_ones_own_and_not_the_peers(here: Site) -> None:
    """The node's and the box's: `ip address add X peer Y`."""
    here_and_there = ("46.0.0.1", "peer", "46.0.0.9/32", "dev", "uplink")
    add = ("ip", "-n", here.lab.node.name, "addr", "add", *here_and_there)
    subprocess.run(add, check=True, timeout=10)
    know_neighbour(here.lab.node, "uplink", "46.0.0.9", here.lab.internet.mac_of("node"))
    box = here.lab.box()
    replaced = ("addr", "replace", box.addresses[0], "peer", f"{box.gateways[0]}/32", "dev", "eth0")
    for change in (("addr", "flush", "dev", "eth0", "scope", "global"), replaced):
        subprocess.run(["ip", "-n", box.name, *change], check=True, timeout=10)
    add_route(box, "0.0.0.0/0", box.gateways[0])
    here.must("box", "create", "--id", "b1", "--mode", "allow-all")
    attached = here.must("attach", "b1", "--netns", box.name)
    assert attached["addresses"] == [box.addresses[0]]
    assert reaches(box, OUTSIDE)
    # The other end of the node's link is no address of the node.
    assert reaches(box, "46.0.0.9")
    refused = here.must("attached")["boxes"][0]["packets_refused"]
    assert not reaches(box, "46.0.0.1")
    assert here.must("attached")["boxes"][0]["packets_refused"] > refused
    live = here.boxwall("policy", "check", "--live", "b1", "46.0.0.1:80")
    assert "RESERVED_ADDRESS" in live.stdout


@pytest.mark.parametrize("claimed", ["9.9.9.9", "45.0.0.1", "45.0.0.2", "2600::9"])
def test_a_box_cannot_claim_an_address_that_the_node_sends_elsewhere(
    here: Site, claimed: str
) -> None:
    """Another host's, the node's own: a box that runs already has given itself what it likes."""
    box = here.lab.box()
    add_address(box, "eth0", f"{claimed}/{128 if ':' in claimed else 32}")
    here.must("box", "create", "--id", "b1", "--mode", "allow-all")
    said = refusal_of(here, "b1", "--netns", box.name)
    assert f"{claimed} was found at the other end of {box.interface_name}" in said
    assert here.must("attached")["boxes"] == []
    attached = here.must(*("attach", "b1", "--netns", box.name), *("--address", box.addresses[0]))
    assert attached["addresses"] == [box.addresses[0]]


@pytest.mark.parametrize("named", [NODE[0], "127.0.0.1", "0.0.0.0", "224.0.0.1", "ff02::1"])
def test_an_address_that_no_box_can_have_is_refused(here: Site, named: str) -> None:
    box = here.lab.box()
    here.must("box", "create", "--id", "b1", "--mode", "allow-all")
    said = refusal_of(here, "b1", "--interface", box.interface_name, "--address", named)
    assert f"{named} " in said
    assert here.must("attached")["boxes"] == []


def test_every_link_of_a_namespace_is_policed(here: Site) -> None:
    box = here.lab.box()
    join(here.lab.node, "second", box, "eth1")
    add_address(here.lab.node, "second", "10.88.0.1/30")
    add_address(box, "eth1", "10.88.0.2/30")
    here.must("box", "create", "--id", "b1", "--mode", "deny-all")
    attached = here.must("attach", "b1", "--netns", box.name)
    assert attached["interface"] == f"{box.interface_name}, second"
    assert "10.88.0.2" in attached["addresses"]


def test_links_that_stay_within_a_namespace_are_its_own_affair(here: Site) -> None:
    """As they are where a box runs containers of its own."""
    box = here.lab.box()
    for name in ("br0", "one"):
        more = ("bridge",) if name == "br0" else ("veth", "peer", "name", "other")
        made = ("ip", "-n", box.name, "link", "add", name, "type", *more)
        subprocess.run(made, check=True, timeout=10)
    here.must("box", "create", "--id", "b1", "--mode", "deny-all")
    attached = here.must("attach", "b1", "--netns", box.name)
    assert attached["interface"] == box.interface_name
    assert not reaches(box, OUTSIDE)


def test_the_other_end_of_a_link_is_looked_for_in_the_nodes_namespace_only(
    here: Site, request: pytest.FixtureRequest
) -> None:
    """Indexes repeat: here those of a link between two others are those of another box's link."""
    victim = here.lab.box()
    with victim.netlink() as link:
        (index,) = link.link_lookup(ifname="eth0")
    others = [Namespace(f"{victim.name}-{letter}") for letter in "xy"]
    for one in others:
        request.addfinalizer(one.close)
    taken = str(here.lab.node.index_of(victim.interface_name))
    peer = ("peer", "name", "up0", "netns", others[1].name, "index", taken)
    made = ("ip", "-n", others[0].name, "link", "add", "name", "eth0", "index", str(index))
    subprocess.run([*made, "type", "veth", *peer], check=True, timeout=10)
    add_address(others[0], "eth0", "10.99.0.2/30")
    here.must("box", "create", "--id", "b1", "--mode", "allow-all")
    said = refusal_of(here, "b1", "--netns", others[0].name)
    assert "does not end in the node's network namespace" in said
    assert here.must("attached")["boxes"] == []


def test_a_deleted_box_is_closed_until_it_is_detached(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    here.must("box", "delete", "b1", "--wait")
    assert not reaches(box, OUTSIDE)
    assert state_of(here, "b1")["state"] == "closed"
    here.must("detach", "b1")
    assert reaches(box, OUTSIDE)


def test_a_new_box_under_an_old_id_inherits_nothing(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    here.must("box", "delete", "b1", "--wait")
    here.must("box", "create", "--id", "b1", "--allow-cidr", "9.9.9.9")
    eventually(lambda: state_of(here, "b1")["state"], "enforced".__eq__)
    assert not reaches(box, OUTSIDE)
    assert reaches(box, "9.9.9.9")


def test_an_interface_made_anew_under_an_old_name_reaches_nothing(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    with here.lab.node.netlink() as link:
        link.link("del", index=link.link_lookup(ifname=box.interface_name)[0])
    eventually(lambda: state_of(here, "b1")["state"], "interface-gone".__eq__)
    again(here.lab, box)
    assert not reaches(box, OUTSIDE)
    here.must("attach", "b1", "--netns", box.name)
    assert reaches(box, OUTSIDE)


def test_a_box_that_is_attached_before_its_control_plane_answers_is_closed(
    here: Site,
) -> None:
    here.must("box", "create", "--id", "b1", "--mode", "allow-all")
    box = here.lab.box()
    here.server.kill()
    done = here.boxwall("--timeout", "1s", "attach", "b1", "--netns", box.name)
    assert done.returncode == 3, done
    assert "closed" in done.stderr
    assert not reaches(box, OUTSIDE)
    here.server.start()
    eventually(lambda: state_of(here, "b1")["state"], "enforced".__eq__, patience=30)
    assert reaches(box, OUTSIDE)


def test_a_fenced_node_denies_everything_until_it_is_let_in_again(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    here.must("node", "fence", "n1")
    eventually(lambda: state_of(here, "b1")["state"], "closed".__eq__)
    assert not reaches(box, OUTSIDE)
    here.must("node", "unfence", "n1")
    eventually(lambda: state_of(here, "b1")["state"], "enforced".__eq__, patience=30)
    assert reaches(box, OUTSIDE)


@pytest.mark.timeout(150)
def test_max_stale_denies_everything_when_the_control_plane_is_away_for_too_long(
    here: Site,
) -> None:
    """An agent that is restarted again and again does not begin to count anew."""
    box = here.box("b1", "--mode", "allow-all")
    here.agent.signal(signal.SIGTERM)
    here.agent.start("--max-stale", "30s")
    assert reaches(box, OUTSIDE)
    here.server.kill()
    away_since = time.monotonic()
    restarts = 0
    while reaches(box, OUTSIDE):
        assert time.monotonic() - away_since < 50
        here.agent.signal(signal.SIGKILL)
        here.agent.start("--max-stale", "30s")
        restarts += 1
    assert restarts > 3
    assert time.monotonic() - away_since > 15  # it remembers the contact four times in that time
    here.server.start()
    eventually(lambda: reaches(box, OUTSIDE), True.__eq__, patience=30)


@pytest.mark.parametrize("command", ["flush ruleset", "delete table inet boxwall"])
def test_rules_that_are_flushed_by_hand_stay_or_come_back(here: Site, command: str) -> None:
    box = here.box("b1", "--mode", "deny-all")
    nft = ("ip", "netns", "exec", here.lab.node.name, "nft", *command.split())
    subprocess.run(nft, capture_output=True, timeout=10)
    time.sleep(0.1)
    assert not reaches(box, OUTSIDE)


def test_a_second_agent_is_refused(here: Site, tmp_path: Path) -> None:
    other = (*here.agent.command(), "--state-dir", str(tmp_path / "other"))
    done = subprocess.run(other, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1, done
    assert "another agent" in done.stderr


def test_where_tables_have_no_owners_a_second_agent_takes_nothing(
    here: Site, tmp_path: Path
) -> None:
    """Only one program can listen to the kernel's records; here it is not an agent that does."""
    box = here.box("b1", "--mode", "allow-all")
    here.agent.signal(signal.SIGKILL)
    with inside(here.lab.node.name), closing(LogGroup(LOG_GROUP)):
        other = (*here.agent.command(), "--state-dir", str(tmp_path / "other"))
        done = subprocess.run(other, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1, done
    assert "another agent perhaps" in done.stderr
    assert reaches(box, OUTSIDE)


def test_a_table_that_somebody_else_made_is_refused(lab: Lab, tmp_path: Path) -> None:
    nft = ("ip", "netns", "exec", lab.node.name, "nft", "add", "table", "inet", "boxwall")
    subprocess.run(nft, check=True, timeout=10)
    with pytest.raises(AssertionError, match="did not make"), site(lab, tmp_path):
        pass


def test_an_agent_without_privileges_says_what_it_needs(here: Site) -> None:
    here.agent.signal(signal.SIGTERM)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin,-net_raw", *here.agent.command()[4:]],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(),
    )
    assert done.returncode == 1, done
    assert "needs root, or CAP_NET_ADMIN and CAP_NET_RAW" in done.stderr


def test_the_capabilities_of_the_documented_unit_are_enough(here: Site) -> None:
    here.agent.signal(signal.SIGTERM)
    here.agent.start(command=limited_to_its_unit(here.agent.command()))
    box = here.box("b1", "--allow-cidr", "1.0.0.0/8")
    assert reaches(box, OUTSIDE)
    assert not reaches(box, "2.2.2.2")


def test_who_started_the_agent_is_told_when_what_it_remembers_is_in_force(
    here: Site, tmp_path: Path
) -> None:
    """With Type=notify what is ordered after it starts then."""
    box = here.box("b1", "--mode", "deny-all")
    here.agent.signal(signal.SIGKILL)
    for family in ("inet", "bridge"):
        deleted = ("ip", "netns", "exec", here.lab.node.name, "nft", "delete", "table", family)
        subprocess.run([*deleted, "boxwall"], check=True, timeout=10)
    assert reaches(box, OUTSIDE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        enter, command = here.agent.command()[:4], here.agent.command()[4:]
        told = f"NOTIFY_SOCKET={tmp_path / 'notify'}"
        here.agent.start(command=[*enter, "env", told, *command])
        assert manager.recv(64) == b"READY=1"
    assert not reaches(box, OUTSIDE)


def test_the_capabilities_of_the_documented_container_are_enough(here: Site) -> None:
    """Dockerfile: all that the agent can do without a namespace's path."""
    without = len(here.agent.events("checksums_not_watched"))  # as root: what the kernel lacks
    here.agent.signal(signal.SIGTERM)
    text = (Path(__file__).parents[2] / "Dockerfile").read_text().partition("FROM ${BASE} AS agent")
    shown = text[0][text[0].rindex("docker run") :].partition("boxwall-agent agent")[0]
    names = re.findall(r"--cap-add ([A-Z_]+)", shown)
    wanted = ",".join(["-all", *(f"+{name.lower()}" for name in names)])
    limited = ["setpriv", f"--bounding-set={wanted}", "--no-new-privs"]
    enter, command = here.agent.command()[:4], here.agent.command()[4:]
    here.agent.start(command=[*enter, *limited, *command])
    assert len(here.agent.events("checksums_not_watched")) == 2 * without
    box = here.lab.box()
    here.must("box", "create", "--id", "b1", "--allow-cidr", "1.0.0.0/8")
    here.must("attach", "b1", "--interface", box.interface_name)
    assert reaches(box, OUTSIDE)
    assert not reaches(box, "2.2.2.2")


def again(lab: Lab, box: Box) -> None:
    """Make the link of a box anew, with the same names and addresses."""
    join(lab.node, box.interface_name, box, "eth0")
    for gateway, address, plen in zip(box.gateways, box.addresses, (30, 126), strict=True):
        add_address(lab.node, box.interface_name, f"{gateway}/{plen}")
        add_address(box, "eth0", f"{address}/{plen}")
    with box.netlink() as link:
        for everything, gateway in zip(("0.0.0.0/0", "::/0"), box.gateways, strict=True):
            link.route("add", dst=everything, gateway=gateway)
