"""What becomes of a box whose interface is renamed, or made part of something else."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwall.policy import AllowAll, Custom, Network
from fakes.agent_process import Site, eventually, site
from lab.kernel import Kernel
from lab.namespaces import know_neighbour
from lab.network import Box, Lab
from lab.packets import udp
from lab.servers import Echo, connect, reaches

OUTSIDE = "1.1.1.1"


@pytest.fixture
def here(lab: Lab, echo: Echo, tmp_path: Path) -> Iterator[Site]:
    """A running site with an echo server outside."""
    with site(lab, tmp_path) as made:
        yield made


def ip(lab: Lab, *arguments: str) -> None:
    """Change the node's links, as an operator would."""
    done = subprocess.run(
        ["ip", "netns", "exec", lab.node.name, "ip", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done


def box_of(here: Site, box_id: str = "b1") -> dict[str, object]:
    """What the agent says of it."""
    boxes = here.must("attached")["boxes"]
    return next(box for box in boxes if box["box_id"] == box_id)


def test_without_an_agent_a_renamed_interface_is_policed_as_before(lab: Lab, echo: Echo) -> None:
    """The kernel alone: from the first packet on."""
    kernel, box, other = Kernel(lab), lab.box(), lab.box()
    for one in (box, other):
        kernel.attach(one)
    kernel.enforce(box, Custom(allowed_cidrs=(Network.parse("9.0.0.0/8"),)))
    kernel.enforce(other, AllowAll())
    lab.internet.witness.look()
    ip(lab, "link", "set", box.interface_name, "name", "renamed0")
    box.wire.send(udp(box.addresses[0], OUTSIDE, 9, b"first"))
    box.wire.send(udp(box.addresses[0], OUTSIDE, 53, b"a question"))
    assert not reaches(box, OUTSIDE)
    assert not reaches(other, box.addresses[0])
    assert not reaches(lab.internet, box.addresses[0])
    assert reaches(box, "9.9.9.9")
    seen = lab.internet.witness.wait_for(b"hello")
    assert {str(one.destination) for one in seen} & {OUTSIDE} == set()
    kernel.close()


def test_a_renamed_interface_is_closed_and_can_be_attached_again(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    living = connect(box, OUTSIDE)
    ip(here.lab, "link", "set", box.interface_name, "name", "renamed0")
    eventually(lambda: box_of(here)["state"], "closed".__eq__)
    assert "renamed0" in str(box_of(here)["message"])
    eventually(lambda: here.must("box", "get", "b1")["enforcement"]["state"], "FAILED".__eq__)
    assert not reaches(box, OUTSIDE)
    with pytest.raises(ConnectionResetError):
        living.recv(1)
    living.close()
    # What the control plane says meanwhile does not open it.
    here.must("policy", "set", "b1", "--allow-cidr", "1.0.0.0/8", "--no-wait")
    assert not reaches(box, OUTSIDE)
    here.must("attach", "b1", "--netns", box.name)
    assert box_of(here)["interface"] == "renamed0"
    assert reaches(box, OUTSIDE)
    assert not reaches(box, "2.2.2.2")


def test_a_renamed_interface_stays_closed_over_a_restart_of_the_agent(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    here.agent.close()
    ip(here.lab, "link", "set", box.interface_name, "name", "renamed0")
    assert reaches(box, OUTSIDE)  # its policy is in force
    here.agent.start()
    assert box_of(here)["state"] == "closed"
    assert not reaches(box, OUTSIDE)
    here.agent.close()
    here.agent.start()
    assert not reaches(box, OUTSIDE)


def test_a_bridge_that_takes_a_boxs_interface_passes_nothing_on(here: Site) -> None:
    box = here.box("b1", "--mode", "deny-all")
    bridged(here.lab, box)
    eventually(lambda: box_of(here)["state"], "closed".__eq__)
    assert "became a port of" in str(box_of(here)["message"])
    assert not reaches(box, OUTSIDE)
    # Whoever sets it up again while it is a port is answered in the same way.
    ip(here.lab, "link", "set", box.interface_name, "up")
    eventually(lambda: is_up(here.lab, box.interface_name), False.__eq__)
    assert not reaches(box, OUTSIDE)
    ip(here.lab, "link", "set", box.interface_name, "nomaster")
    ip(here.lab, "link", "set", box.interface_name, "up")
    assert not reaches(box, OUTSIDE)


def test_a_bridge_that_took_a_boxs_interface_while_no_agent_ran_passes_nothing_on(
    here: Site,
) -> None:
    box = here.box("b1", "--mode", "deny-all")
    here.agent.close()
    bridged(here.lab, box)
    # The kernel alone: nobody has heard of it yet.
    assert not reaches(box, OUTSIDE)
    here.agent.start()
    eventually(lambda: box_of(here)["state"], "closed".__eq__)
    eventually(lambda: is_up(here.lab, box.interface_name), False.__eq__)
    assert not reaches(box, OUTSIDE)


def test_what_is_laid_upon_a_boxs_interface_passes_nothing_on(here: Site) -> None:
    """A macvlan takes frames for its own hardware address; by its index they are nobody's."""
    box = here.box("b1", "--mode", "deny-all")
    laid_upon(here.lab, box)
    eventually(lambda: box_of(here)["state"], "closed".__eq__)
    assert "upper0 lies upon its interface" in str(box_of(here)["message"])
    eventually(lambda: is_up(here.lab, "upper0"), False.__eq__)
    assert not reaches(box, OUTSIDE)
    ip(here.lab, "link", "set", "upper0", "up")
    eventually(lambda: is_up(here.lab, "upper0"), False.__eq__)
    done = here.boxwall("attach", "b1", "--netns", box.name)
    assert done.returncode == 1
    assert "remove upper0" in done.stderr
    ip(here.lab, "link", "del", "upper0")
    for gateway, plen in zip(box.gateways, (30, 126), strict=True):
        ip(here.lab, "addr", "add", f"{gateway}/{plen}", "dev", box.interface_name)
    here.must("attach", "b1", "--netns", box.name)


def test_what_was_laid_upon_a_boxs_interface_while_no_agent_ran_passes_nothing_on(
    here: Site,
) -> None:
    box = here.box("b1", "--mode", "deny-all")
    here.agent.close()
    laid_upon(here.lab, box)
    assert reaches(box, OUTSIDE)  # what the agent is there to end
    here.agent.start()
    eventually(lambda: box_of(here)["state"], "closed".__eq__)
    eventually(lambda: is_up(here.lab, "upper0"), False.__eq__)
    assert not reaches(box, OUTSIDE)


def laid_upon(lab: Lab, box: Box) -> None:
    """The box's gateway is a macvlan upon its link now."""
    ip(lab, "link", "add", "upper0", "link", box.interface_name, "type", "macvlan")
    for gateway, plen in zip(box.gateways, (30, 126), strict=True):
        ip(lab, "addr", "del", f"{gateway}/{plen}", "dev", box.interface_name)
        ip(lab, "addr", "add", f"{gateway}/{plen}", "dev", "upper0")
        know_neighbour(box, "eth0", gateway, lab.node.mac_of("upper0"))
    ip(lab, "link", "set", "upper0", "up")
    ip(
        lab,
        "neigh",
        "add",
        box.addresses[0],
        "lladdr",
        box.mac_of("eth0").hex(":"),
        "dev",
        "upper0",
    )


def bridged(lab: Lab, box: Box) -> None:
    """The link of a box becomes a port of a bridge that has its gateway's addresses."""
    ip(lab, "link", "add", "br9", "type", "bridge")
    mac = lab.node.mac_of(box.interface_name).hex(":")
    ip(lab, "link", "set", "br9", "address", mac, "up")
    for gateway, plen in zip(box.gateways, (30, 126), strict=True):
        ip(lab, "addr", "del", f"{gateway}/{plen}", "dev", box.interface_name)
        ip(lab, "addr", "add", f"{gateway}/{plen}", "dev", "br9")
    ip(lab, "link", "set", box.interface_name, "master", "br9")


def is_up(lab: Lab, name: str) -> bool:
    """Whether this link of the node is."""
    with lab.node.netlink() as link:
        return bool(link.get_links(ifname=name)[0]["flags"] & 1)
