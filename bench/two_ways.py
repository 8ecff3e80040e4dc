"""A box with two ways out: by a node that enforces names, and by one that only forwards. IPv4.

    box  eth0 10.77.0.2 ---- 10.77.0.1  guarded  45.0.0.1 ---- 45.0.0.2, .4  eth0  outside
         eth1 10.79.0.2 ---- 10.79.0.1  bare     45.8.0.1 ---- 45.8.0.2      eth1

The guarded node runs a real agent; the bare one tracks connections and masquerades as that does,
and is where other resolvers and the proxy run. Whatever is asked for exists on both ways at once,
so the two are measured in turn without anything being exchanged in between.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.harness import Bench, Server
from bench.node import FIRST_INDEX, AgentFiles, agent_files, all_enforced, remember, start_agent
from bench.paths import Place, bare_table
from bench.processes import Actor, Child
from bench.twenty import interface_of
from bench.upstream import Upstream
from bench.web import Web
from boxwall.policy import Address
from boxwall_agent.config import STATE_FILE
from boxwall_agent.nft.kernel import open_nftables
from boxwall_agent.ruleset import Interface

BOX, GUARD = "10.77.0.2", "10.77.0.1"
BOX_BARE, BARE_NODE = "10.79.0.2", "10.79.0.1"
BY_NAME, BY_NETWORK, BARE = "45.0.0.2", "45.0.0.4", "45.8.0.2"
"""What is outside: reached by its name, by an allowed network, and by the bare node."""

NOBODY = int(IPv4Address("45.1.0.0"))
LIFTED = ("--dns-queries", "1000000000", "--new-connections", "4000000")
"""The limits of one box, lifted."""


class Outside(Place):
    """The internet: a name server and a web server."""

    async def serve(self, folder: str) -> None:
        """Begin. Writes the certificate that clients must trust into `folder`."""
        self._names = [
            Upstream(address, int(IPv4Address(BY_NAME)), NOBODY) for address in (BY_NAME, BARE)
        ]
        self._web = Web((BY_NAME, BY_NETWORK, BARE), Path(folder))

    async def asked(self) -> int:
        """Return how many questions have come."""
        return sum(one.asked for one in self._names)


class Guarded(Place):
    """The node where an agent runs, with as many boxes as are wanted. Only one of them is there."""

    async def plug(self, box: int, outside: int, state_dir: str, boxes: int) -> None:
        """Make the links, and a state file of an agent that the boxes are attached to."""
        _forward()
        await asyncio.to_thread(_plug, "box0", box, "eth0", outside, FIRST_INDEX)
        sender = Interface(
            name="box0", index=FIRST_INDEX, addresses=(Address.parse(BOX),), masquerade=True
        )
        others = [interface_of(box, FIRST_INDEX + box) for box in range(1, boxes)]
        await asyncio.to_thread(_plug_others, others)
        remember(Path(state_dir, STATE_FILE), [sender, *others])

    async def holds(self) -> dict[str, int]:
        """Return how many elements, rules and connections the kernel has for this node."""
        with open_nftables() as nft:
            elements = sum(1 for name in nft.set_names() for _ in nft.elements(name))
            rules = nft.rule_count()
        tracked = Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text()
        return {"elements": elements, "rules": rules, "connections": int(tracked)}


class Bare(Place):
    """The node that forwards and masquerades."""

    async def plug(self, box: int, outside: int) -> None:
        """Make the links."""
        _forward()
        await asyncio.to_thread(_plug, "box0", box, "eth1", outside, 0)
        with open_nftables() as nft:
            nft.commit(bare_table())


@dataclass(slots=True)
class Ways:
    """All of it, with so many boxes attached."""

    boxes: int
    server: Server
    files: AgentFiles
    box: Actor
    guarded: Actor
    bare: Actor
    outside: Actor
    callers: Actor
    agent: Child
    folder: Path

    async def allow(self, domains: list[str]) -> None:
        """Put a policy for the box in force: these domains, and one network."""
        call = self.callers.call("allow", box=0, domains=domains, cidrs=[f"{BY_NETWORK}/32"])
        if not await self.agent.outlives(call):
            raise TimeoutError("the policy does not come into force")

    @property
    def authority(self) -> str:
        """The certificate that clients must trust."""
        return str(self.folder / "ca.pem")


@asynccontextmanager
async def two_ways(bench: Bench, boxes: int, box_actor: str) -> AsyncIterator[Ways]:
    """Make it, for a box that runs `box_actor`. Every box is enforced when the context begins."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        server = await enter(bench.boxwall())
        callers = await enter(bench.callers(server))
        await callers.call("create", boxes=boxes)
        box = await enter(bench.actor(box_actor))
        outside = await enter(bench.actor("bench.two_ways:Outside"))
        guarded = await enter(bench.actor("bench.two_ways:Guarded"))
        bare = await enter(bench.actor("bench.two_ways:Bare"))
        for actor in (box, outside):  # until each is in its own namespace
            await actor.call("ready")
        files, folder = agent_files(bench), bench.fresh("web")
        folder.mkdir()
        ends = {"box": box.child.pid, "outside": outside.child.pid}
        await guarded.call("plug", **ends, state_dir=str(files.state_dir), boxes=boxes)
        await bare.call("plug", **ends)
        await _address(box, outside, guarded, bare)
        await outside.call("serve", folder=str(folder))
        options = ("--dns-upstream", BY_NAME, *LIFTED)
        agent, _ = await start_agent(bench, guarded, files, server.path, *options)
        stack.push_async_callback(agent.stop)
        await agent.outlives(all_enforced(callers, boxes))
        yield Ways(boxes, server, files, box, guarded, bare, outside, callers, agent, folder)


async def _address(box: Actor, outside: Actor, guarded: Actor, bare: Actor) -> None:
    everywhere: tuple[tuple[Actor, str, str, list[list[str]]], ...] = (
        (box, "eth0", f"{BOX}/30", [["45.0.0.0/13", GUARD]]),
        (box, "eth1", f"{BOX_BARE}/30", [["45.8.0.0/13", BARE_NODE]]),
        (guarded, "box0", f"{GUARD}/30", []),
        (guarded, "uplink", "45.0.0.1/29", []),
        (bare, "box0", f"{BARE_NODE}/30", []),
        (bare, "uplink", "45.8.0.1/29", []),
        (outside, "eth0", f"{BY_NAME}/29", []),
        (outside, "eth0", f"{BY_NETWORK}/29", []),
        (outside, "eth1", f"{BARE}/29", []),
    )
    for place, interface, address, routes in everywhere:
        await place.call("configure", interface=interface, address=address, routes=routes)


def _forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # Addresses that the kernel makes up for each interface are no part of the question.
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")


def _plug(name: str, box: int, far: str, outside: int, index: int) -> None:
    """Make the links of a node to the processes of the box and of what is outside."""
    from pyroute2 import IPRoute  # not everywhere where this module is imported

    more = {"index": index} if index else {}
    with IPRoute() as link:
        link.link("add", ifname=name, kind="veth", peer={"ifname": far, "net_ns_pid": box}, **more)
        peer = {"ifname": far, "net_ns_pid": outside}
        link.link("add", ifname="uplink", kind="veth", peer=peer)


def _plug_others(interfaces: list[Interface]) -> None:
    from pyroute2 import IPRoute  # not everywhere where this module is imported

    with IPRoute() as link:
        for one in interfaces:
            far = {"ifname": one.name.replace("box", "far")}
            link.link("add", ifname=one.name, index=one.index, kind="veth", peer=far)
