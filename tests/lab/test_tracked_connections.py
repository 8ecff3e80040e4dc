"""Tracked connections are the same, whichever of the kernel's two lists they are read from."""

from operator import attrgetter
from pathlib import Path

import pytest

from boxwall.policy import Address, AllowAll
from boxwall_agent import conntrack
from boxwall_agent.audit import Connection
from fakes.agent_process import eventually
from lab.kernel import Kernel
from lab.namespaces import inside
from lab.network import Box, Lab
from lab.packets import udp
from lab.servers import Echo, connect

SERVERS = ("1.1.1.1", "2600::1")


def opened_by(lab: Lab, box: Box) -> list[Connection]:
    """What the node's kernel says that the box has opened, in order."""
    with inside(lab.node.name):
        found = conntrack.opened_by([Address.parse(one) for one in box.addresses])
    return sorted(found, key=attrgetter("source", "protocol"))


def opened_by_netlink(lab: Lab, box: Box) -> list[Connection]:
    """The same, where there is no list of text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conntrack, "_LIST", Path("/nowhere"))
        return opened_by(lab, box)


@pytest.mark.skipif(not conntrack._LIST.exists(), reason="this kernel has no such list as text")
def test_both_lists_say_the_same(lab: Lab, kernel: Kernel) -> None:
    echo = Echo(lab.internet)
    box, other = lab.box(), lab.box()
    open_ones = []
    for one in (box, other):
        kernel.attach(one)
        kernel.enforce(one, AllowAll())
        for address in SERVERS:
            open_ones.append(connect(one, address))
            one.wire.send(udp(one.source_for(address), address, 9, b"once"))
    text, netlink = eventually(
        lambda: (opened_by(lab, box), opened_by_netlink(lab, box)),
        lambda both: both[0] == both[1] and len(both[0]) == 2 * len(SERVERS),
    )
    assert [one.protocol for one in text] == [6, 17, 6, 17]
    assert all(one.answers is not None and one.mark for one in netlink)
    for wire in open_ones:
        wire.close()
    echo.close()
