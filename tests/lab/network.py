"""A node, its boxes, and an internet in which every address answers, all in namespaces.

lab = Lab()
box = lab.box()
lab.internet.witness.look()

box  10.77.N.2 ---- 10.77.N.1  node  45.0.0.1 ---- 45.0.0.2  internet (everything else)
     fd77:N::2 ---- fd77:N::1        2a00:45::1 -- 2a00:45::2
"""

import contextlib
import itertools
import os
import socket
import subprocess
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from boxwall.policy import Address
from boxwall_agent.ruleset import Interface
from lab.namespaces import Namespace, add_address, add_route, join, know_neighbour
from lab.packets import Wire
from lab.witness import Witness

NODE: Final = ("45.0.0.1", "2a00:45::1")
"""The node's public addresses."""

OUTSIDE: Final = ("45.0.0.2", "2a00:45::2")
_numbers = itertools.count(1)


class Internet(Namespace):
    """Every address that nobody else has is here. `witness` records what arrives."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.set_kernel(ipv6__ip_nonlocal_bind="1")
        with self.netlink() as link:
            # In the table of local addresses, where the kernel looks whether it may send from one;
            # but asked last, after the routes back to the boxes.
            for family, everything in ((socket.AF_INET, "0.0.0.0/0"), (socket.AF_INET6, "::/0")):
                link.rule("add", priority=32768, table=255, family=family)
                link.rule("del", priority=0, table=255, family=family)
                link.route(
                    "add", dst=everything, type="local", scope=254, table=255, oif=1, family=family
                )

    def plug(self) -> None:
        """The link to the node is there: watch it."""
        self.witness = Witness(self, "node")

    def close(self) -> None:
        """Remove."""
        try:
            self.witness.close()
        finally:
            super().close()


@dataclass
class Box(Namespace):
    """A box: root inside its namespace, and one link to the node."""

    number: int
    name: str
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        Namespace.__init__(self, self.name)

    @property
    def addresses(self) -> tuple[str, str]:
        """IPv4 and IPv6."""
        return f"10.77.{self.number}.2", f"fd77:{self.number:x}::2"

    @property
    def gateways(self) -> tuple[str, str]:
        """The node's end of the link."""
        return f"10.77.{self.number}.1", f"fd77:{self.number:x}::1"

    @property
    def interface_name(self) -> str:
        """The node's end of the link."""
        return f"box{self.number}"

    def source_for(self, destination: str) -> str:
        """The box's address of the family of `destination`."""
        return self.addresses[":" in destination]

    def run(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        inside_of = ("ip", "netns", "exec", self.name)
        return subprocess.run(
            (*inside_of, *command), capture_output=True, text=True, timeout=timeout
        )


class Lab:
    """Everything. Close it, or use it in a `with`; what it made goes away."""

    def __init__(self) -> None:
        self._prefix = f"bw{os.getpid()}-{next(_numbers)}"
        self._made: list[Namespace] = []
        self._wires: list[Wire] = []
        self._count = itertools.count(1)
        self.node = Namespace(f"{self._prefix}-node")
        self._made.append(self.node)
        self.internet = Internet(f"{self._prefix}-net")
        self._plug_internet()
        self._made.append(self.internet)

    def box(self) -> Box:
        """One more box, with its link. Nothing polices it yet."""
        number = next(self._count)
        box = Box(number, f"{self._prefix}-b{number}")
        self._made.append(box)
        join(self.node, box.interface_name, box, "eth0")
        for gateway, address, plen in zip(box.gateways, box.addresses, (30, 126), strict=True):
            add_address(self.node, box.interface_name, f"{gateway}/{plen}")
            add_address(box, "eth0", f"{address}/{plen}")
            know_neighbour(box, "eth0", gateway, self.node.mac_of(box.interface_name))
            know_neighbour(self.node, box.interface_name, address, box.mac_of("eth0"))
        for everything, gateway in zip(("0.0.0.0/0", "::/0"), box.gateways, strict=True):
            add_route(box, everything, gateway)
        box.wire = Wire(box, "eth0", self.node.mac_of(box.interface_name))
        self._wires.append(box.wire)
        return box

    def interface_of(self, box: Box) -> Interface:
        """The node's end of a box's link, as the agent would find it."""
        return Interface(
            name=box.interface_name,
            index=self.node.index_of(box.interface_name),
            addresses=tuple(map(Address.parse, box.addresses)),
        )

    def close(self) -> None:
        """Remove everything, also when something in it says that it went wrong."""
        with contextlib.ExitStack() as stack:
            for place in self._made:
                stack.callback(place.close)
            for wire in self._wires:
                stack.callback(wire.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _plug_internet(self) -> None:
        node, internet = self.node, self.internet
        node.set_kernel(ipv4__ip_forward="1", ipv6__conf__all__forwarding="1")
        join(node, "uplink", internet, "node")
        for mine, theirs, plen in zip(NODE, OUTSIDE, (30, 126), strict=True):
            add_address(node, "uplink", f"{mine}/{plen}")
            add_address(internet, "node", f"{theirs}/{plen}")
            know_neighbour(node, "uplink", theirs, internet.mac_of("node"))
            know_neighbour(internet, "node", mine, node.mac_of("uplink"))
        for everything, gateway in zip(("0.0.0.0/0", "::/0"), OUTSIDE, strict=True):
            add_route(node, everything, gateway)
        for boxes, gateway in zip(("10.77.0.0/16", "fd77::/16"), NODE, strict=True):
            add_route(internet, boxes, gateway)
        internet.plug()
