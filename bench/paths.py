"""The actors of a path that packets take: a box, its node, and what is outside. IPv4.

box 10.77.0.2 ---- 10.77.0.1  node  45.0.0.1 ---- 45.0.0.2  outside
                                         45.1.0.0/16 via 45.0.0.3, which nobody has

What goes to 45.1.0.0/16 leaves the node and is counted, and forgotten when it arrives outside.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.namespace import leave
from bench.twenty import interface_of, twenty
from boxwall.policy import Address, AllowAll, Policy
from boxwall_agent.bpf.load import ProgramRefused, load_displaced_checksum
from boxwall_agent.grants import GrantPool
from boxwall_agent.netlink import NLMSG_ERROR, Flags, message, read_messages
from boxwall_agent.nft.batch import Batch, TableFlags
from boxwall_agent.nft.expressions import Meta, lookup, masquerade, matches_program, meta
from boxwall_agent.nft.kernel import NETLINK_NETFILTER, Nftables, open_nftables
from boxwall_agent.nft.layout import PerBox, chains
from boxwall_agent.nft.objects import Chain, Element, Field, Hook, HookPoint, Rule, Set
from boxwall_agent.ruleset import BoxRules, Interface, closed, rules_of
from boxwall_agent.table import Shared, Table

BOX, GATEWAY, NODE, OUTSIDE, NOBODY = "10.77.0.2", "10.77.0.1", "45.0.0.1", "45.0.0.2", "45.0.0.3"
EVERYBODY = "45.0.0.0/12"
NOBODYS_MAC = "02:00:00:00:00:63"
TCP_PORT, UDP_PORT = 5001, 5002
SINK_BYTES = 1 << 20
BATCH = 500
"""Packets between two looks at the clock."""

FIRST_INDEX = 100_000
BARE = "bare"
CHAINS = "chains without rules"
GENEROUS = PerBox(new_connections=4_000_000, records=1_000)
_CTNETLINK, _DELETE = 1, 2
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE: without attributes, of every connection."""


class Place:
    """Runs in a process and a network namespace of its own."""

    def __init__(self) -> None:
        leave()

    async def ready(self) -> None:
        """Answer once the namespace is there."""

    async def configure(
        self, interface: str, address: str, routes: list[list[str]], alone: bool = False
    ) -> None:
        """Bring an interface up with an address; `routes` are (destination, gateway).

        `alone`: the first route's gateway is nobody.
        """
        await asyncio.to_thread(_configure, interface, address, routes)
        if alone:
            await asyncio.to_thread(_know_nobody, interface)

    async def received(self) -> int:
        """Return how many packets came over the one link."""
        return _received()


class Node(Place):
    """Forwards, with Boxwall's table or with masquerading alone."""

    def __init__(self) -> None:
        super().__init__()
        self._nft: Nftables = open_nftables()
        self._tables: dict[str, Batch] = {}
        self._now = ""

    async def plug(self, box: int, outside: int) -> None:
        """Make the links to the processes of the box and of what is outside."""
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        await asyncio.to_thread(_plug, box, outside)

    async def prepare(self, boxes: int) -> int:
        """Make ready what `use` puts in force; return how many flows may be tracked."""
        index = socket.if_nametoindex("box0")
        self._tables = {
            BARE: bare_table(),
            CHAINS: bare_table(*_filters()),
            "twenty": _our_table(boxes, index, twenty(0, 0, also=EVERYBODY)),
            "allow-all": _our_table(boxes, index, AllowAll()),
        }
        return int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())

    async def use(self, table: str) -> None:
        """Put one table in force, in place of the other; every connection is forgotten."""
        if self._now:
            old = Batch(BARE) if self._now in (BARE, CHAINS) else Batch()
            old.delete_table()
            self._nft.commit(old)
            self._now = ""
        if table:
            self._nft.commit(self._tables[table])
            self._now = table
        await self.forget()

    async def forget(self) -> None:
        """Forget every connection."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as asked:
            asked.bind((0, 0))
            asked.send(message(_CTNETLINK << 8 | _DELETE, Flags.ACK, 1, b""))
            for answer in read_messages(asked.recv(65_536)):
                if answer.kind == NLMSG_ERROR and answer.error:
                    raise OSError(answer.error, "connections are not forgotten")


class Outside(Place):
    """Takes what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self._udp: socket.socket | None = None

    async def listen(self) -> None:
        """Take every TCP connection, and read it to its end."""
        server = socket.create_server((OUTSIDE, TCP_PORT))
        threading.Thread(target=_take, args=(server,), daemon=True).start()

    async def answer_one(self) -> None:
        """Open a UDP socket that answers one datagram, and then reads no more."""
        if self._udp is not None:
            self._udp.close()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._udp.bind((OUTSIDE, UDP_PORT))
        threading.Thread(target=_answer, args=(self._udp,), daemon=True).start()


class Box(Place):
    """Sends."""

    async def reaches(self) -> bool:
        """Whether a TCP connection to the outside can be made."""
        try:
            socket.create_connection((OUTSIDE, TCP_PORT), timeout=2).close()
        except OSError:
            return False
        return True

    async def tcp(self, seconds: float) -> float:
        """Send over one TCP connection; return bytes a second."""
        block = memoryview(bytes(256 * 1024))
        with socket.create_connection((OUTSIDE, TCP_PORT), timeout=10) as wire:
            sent, begin = 0, time.perf_counter()
            while (spent := time.perf_counter() - begin) < seconds:
                sent += wire.send(block)
        return sent / spent

    async def udp(self, seconds: float) -> dict[str, float]:
        """Send small datagrams of one flow; return how many, and in how many seconds."""
        data, sent = bytes(18), 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.settimeout(5)
            wire.connect((OUTSIDE, UDP_PORT))
            wire.send(data)
            wire.recv(100)
            wire.setblocking(True)
            send, begin = wire.send, time.perf_counter()
            while (spent := time.perf_counter() - begin) < seconds:
                for _ in range(BATCH):
                    send(data)
                sent += BATCH
        return {"sent": sent, "seconds": spent}

    async def new_flows(self, count: int) -> dict[str, float]:
        """Send one small datagram each to so many ports and addresses."""
        targets = [(f"45.1.0.{flow >> 15}", 1024 + (flow & 0x7FFF)) for flow in range(count)]
        data = bytes(18)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.bind((BOX, 0))
            send, begin = wire.sendto, time.perf_counter()
            for target in targets:
                send(data, target)
            spent = time.perf_counter() - begin
        return {"sent": count, "seconds": spent}


def _links() -> Any:
    from pyroute2 import IPRoute  # not everywhere where this module is imported

    return IPRoute()


def _plug(box: int, outside: int) -> None:
    with _links() as link:
        link.link("add", ifname="box0", kind="veth", peer={"ifname": "eth0", "net_ns_pid": box})
        link.link(
            "add", ifname="uplink", kind="veth", peer={"ifname": "eth0", "net_ns_pid": outside}
        )


def _configure(interface: str, address: str, routes: list[list[str]]) -> None:
    with _links() as link:
        index = link.link_lookup(ifname=interface)[0]
        link.addr("add", index=index, address=address)
        link.link("set", index=index, state="up")
        for destination, gateway in routes:
            link.route("add", dst=destination, gateway=gateway)


def _know_nobody(interface: str) -> None:
    with _links() as link:
        index = link.link_lookup(ifname=interface)[0]
        link.neigh("replace", dst=NOBODY, lladdr=NOBODYS_MAC, ifindex=index, state="permanent")


def _received() -> int:
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
        name, colon, numbers = line.partition(":")
        if colon and name.strip() == "eth0":
            return int(numbers.split()[1])
    raise LookupError("there is no eth0")


def _take(server: socket.socket) -> None:
    buffer = bytearray(SINK_BYTES)
    while True:
        wire, _ = server.accept()
        with wire:
            try:
                while wire.recv_into(buffer):
                    pass
            except OSError:
                continue  # it was cut off, when tables were changed


def _answer(wire: socket.socket) -> None:
    data, sender = wire.recvfrom(100)
    wire.sendto(data, sender)


def _our_table(boxes: int, index: int, policy: Policy) -> Batch:
    """The box that sends, and others with policies of twenty entries."""
    nodes = _addresses(GATEWAY, NODE)
    table = Table(Shared(per_box=GENEROUS, node_addresses=nodes, displaced=_displaced()))
    grants = GrantPool()
    sender = Interface(name="box0", index=index, addresses=(Address.parse(BOX),), masquerade=True)
    rules: dict[str, BoxRules] = {"box0": rules_of(sender, policy, closed(sender), grants)}
    for box in range(1, boxes):
        other = interface_of(box, FIRST_INDEX + box)
        rules[other.name] = rules_of(other, twenty(box, 0), closed(other), grants)
    flags = TableFlags.OWNER | TableFlags.PERSIST
    return table.plan_install(replace=False, flags=flags, boxes=rules).batch


def _displaced() -> bytes | None:
    """As an agent has it; the descriptor is open until this process ends."""
    try:
        return matches_program(load_displaced_checksum())
    except ProgramRefused:
        return None


def _filters() -> Iterator[Chain]:
    """Our table's chains that see every packet."""
    return (one for one in chains() if one.hook is not None and one.hook.kind == "filter")


def bare_table(*more: Chain) -> Batch:
    """Return a transaction: masquerading as in our table, and nothing else but these chains."""
    batch = Batch(BARE)
    batch.add_table()
    batch.add_set(Set(name="masqueraded", key=(Field.INTERFACE_NAME,)))
    hook = Hook(point=HookPoint.POSTROUTING, priority=100, kind="nat")
    for chain in (Chain(name="postrouting", hook=hook), *more):
        batch.add_chain(chain)
    masked = (meta(Meta.IIFNAME), lookup("masqueraded"), masquerade())
    batch.add_rule(Rule("postrouting", masked))
    batch.add_elements([Element("masqueraded", b"box0".ljust(16, b"\0"))])
    return batch


def _addresses(*texts: str) -> frozenset[Address]:
    return frozenset(map(Address.parse, texts))


def rate(found: dict[str, Any], arrived: int) -> float:
    """Return packets that arrived, a second."""
    return arrived / float(found["seconds"])
