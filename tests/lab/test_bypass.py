"""What root inside a box may try at the level of packets. Who stands outside says what came."""

import itertools
import struct

import pytest

from boxwall.policy import AllowAll, Custom, DenyAll, Network, Policy, Unlisted
from boxwall_agent.nft.layout import PerBox
from lab.kernel import Kernel
from lab.network import NODE, Box, Lab
from lab.packets import ICMP, ICMPV6, SCTP, checksum, icmpv6, ip_packet, sctp_init, tcp, udp
from lab.servers import Echo, connect, reaches
from lab.witness import Seen

OUTSIDE4, OUTSIDE6 = "1.1.1.1", "2600::1"
GRE, HOP_BY_HOP, FRAGMENT = 47, 0, 44


@pytest.fixture
def box(lab: Lab, kernel: Kernel) -> Box:
    """A box that is attached, and denies everything until a test says otherwise."""
    box = lab.box()
    kernel.attach(box)
    return box


def leaked(lab: Lab, kernel: Kernel, box: Box, packets: list[bytes]) -> list[str]:
    """Send packets; return where those went that came out, and show that the way is open."""
    lab.internet.witness.look()
    for packet in packets:
        box.wire.send(packet)
    # The same way, open: what was sent before has come by now, if it comes at all.
    opener = lab.box()
    kernel.attach(opener)
    kernel.enforce(opener, AllowAll())
    opener.wire.send(udp(opener.addresses[0], "8.8.8.8", 9, b"the last"))
    came = lab.internet.witness.wait_for(b"the last")
    mine = [packet for packet in came if not packet.payload.endswith(b"the last")]
    return [f"{one.source} > {one.destination} {one.protocol}" for one in mine if is_of_box(one)]


def is_of_box(packet: Seen) -> bool:
    """Neighbour discovery of the node itself is none of the box's."""
    return not str(packet.source).startswith(("fe80", "45.", "2a00:45"))


def every_protocol(source: str, target: str) -> list[bytes]:
    """One packet of each kind to one address."""
    echo = struct.pack(">BBHHH", 8, 0, 0, 1, 1) + b"payload"
    echo = echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]
    made = [
        udp(source, target, 53, b"query"),
        udp(source, target, 443, b"quic"),
        tcp(source, target, 80),
        tcp(source, target, 80, data=b"data on SYN"),
        tcp(source, target, 80, flags=0x10, data=b"no SYN before"),
        tcp(source, target, 80, flags=0x04),
        tcp(source, target, 80, flags=0x01),
        tcp(source, target, 80, flags=0x00),
        tcp(source, target, 80, flags=0x12),
        ip_packet(source, target, GRE, struct.pack(">HH", 0, 0x0800) + b"tunnel"),
        sctp_init(source, target, 9),
        ip_packet(source, target, 253, b"an experiment"),
    ]
    if ":" in target:
        return [*made, icmpv6(source, target, 128, b"\0\1\0\1payload", hop_limit=64)]
    return [*made, ip_packet(source, target, ICMP, echo)]


@pytest.mark.parametrize(
    "policy",
    [DenyAll(), Custom(allowed_cidrs=(Network.parse("9.9.9.9"),))],
    ids=["deny-all", "custom"],
)
def test_no_protocol_leaves_a_box_that_may_not_send_there(
    lab: Lab, kernel: Kernel, box: Box, policy: Policy
) -> None:
    kernel.enforce(box, policy)
    packets = [
        packet
        for target in (OUTSIDE4, OUTSIDE6)
        for packet in every_protocol(box.source_for(target), target)
    ]
    assert leaked(lab, kernel, box, packets) == []


def test_with_allow_all_every_protocol_leaves(lab: Lab, kernel: Kernel, box: Box) -> None:
    """The test above could see them."""
    kernel.enforce(box, AllowAll())
    packets = every_protocol(box.addresses[0], OUTSIDE4)
    came = {line.split()[-1] for line in leaked(lab, kernel, box, packets)}
    assert {"1", "6", "17", str(GRE), str(SCTP), "253"} <= came


def test_a_spoofed_source_never_leaves(lab: Lab, kernel: Kernel, box: Box) -> None:
    other = lab.box()
    kernel.attach(other)
    for one in (box, other):
        kernel.enforce(one, AllowAll())
    sources4 = (other.addresses[0], "8.8.8.8", NODE[0], "10.77.1.1", "0.0.0.0", "127.0.0.1")
    sources6 = (other.addresses[1], "2001:4860::8", NODE[1], "::", "::1", "fe80::1")
    packets = [udp(source, OUTSIDE4, 9, b"spoofed") for source in sources4]
    packets += [udp(source, OUTSIDE6, 9, b"spoofed") for source in sources6]
    assert leaked(lab, kernel, box, packets) == []


def test_another_boxs_open_connection_cannot_be_joined(
    lab: Lab, kernel: Kernel, box: Box, echo: Echo
) -> None:
    victim = lab.box()
    kernel.attach(victim)
    kernel.enforce(victim, AllowAll())
    kernel.enforce(box, AllowAll())
    connection = connect(victim, OUTSIDE4)
    port = connection.getsockname()[1]
    forged = tcp(victim.addresses[0], OUTSIDE4, 7, flags=0x18, source_port=port, data=b"forged")
    assert leaked(lab, kernel, box, [forged]) == []
    connection.close()


def test_neighbour_discovery_carries_nothing_out(lab: Lab, kernel: Kernel, box: Box) -> None:
    """Link messages are let through to the node, and to nobody behind it."""
    source = box.addresses[1]
    packets = [
        icmpv6(source, target, kind, b"\0" * 4 + b"secret" * 4, hop_limit=hops)
        for target in (OUTSIDE6, "2600::ffff")
        for kind, hops in ((133, 255), (134, 255), (135, 255), (136, 255), (137, 255), (143, 1))
    ]
    # The same numbers in IPv4, where they mean nothing.
    packets += [
        ip_packet(box.addresses[0], OUTSIDE4, ICMPV6, bytes((kind,)) + b"\0" * 23, hop_limit=255)
        for kind in (133, 135, 136)
    ]
    assert leaked(lab, kernel, box, packets) == []


def test_fragments_are_judged_like_their_packet(lab: Lab, kernel: Kernel, box: Box) -> None:
    whole = udp(box.addresses[0], OUTSIDE4, 9, b"x" * 64)
    body = whole[20:]
    orders: list[list[tuple[int, bytes]]] = [
        [(0, body[:32]), (32, body[32:])],
        [(32, body[32:]), (0, body[:32])],
        [(0, body[:32]), (24, body[24:])],  # overlapping
        [(32, body[32:])],  # never complete
    ]
    packets = [
        fragment(box.addresses[0], OUTSIDE4, number, at, part, is_last=at + len(part) == len(body))
        for number, order in enumerate(orders, 1)
        for at, part in order
    ]
    assert leaked(lab, kernel, box, packets) == []


def test_extension_headers_hide_nothing(lab: Lab, kernel: Kernel, box: Box) -> None:
    kernel.enforce(box, Custom(denied_cidrs=(Network.parse("2600::/32"),), unlisted=Unlisted.ALLOW))
    inner = udp(box.addresses[1], OUTSIDE6, 9, b"hidden")[40:]
    options = bytes((17, 0, 1, 4, 0, 0, 0, 0))
    atomic = bytes((17, 0, 0, 0)) + b"\0\0\0\1"
    packets = [
        ip_packet(box.addresses[1], OUTSIDE6, HOP_BY_HOP, options + inner),
        ip_packet(box.addresses[1], OUTSIDE6, 60, options + inner),
        ip_packet(box.addresses[1], OUTSIDE6, FRAGMENT, atomic + inner),
        ip_packet(box.addresses[1], OUTSIDE6, 43, bytes((17, 0, 0, 0, 0, 0, 0, 0)) + inner),
    ]
    assert leaked(lab, kernel, box, packets) == []


def test_an_icmp_error_about_somebody_elses_connection_carries_nothing_out(
    lab: Lab, kernel: Kernel, box: Box
) -> None:
    quoted = tcp(OUTSIDE4, box.addresses[0], 40_000, source_port=80)[:28]
    error = struct.pack(">BBHI", 3, 3, 0, 0) + quoted + b"secret"
    error = error[:2] + struct.pack(">H", checksum(error)) + error[4:]
    packets = [ip_packet(box.addresses[0], OUTSIDE4, ICMP, error)]
    assert leaked(lab, kernel, box, packets) == []


def test_an_icmp_error_leaves_from_the_boxs_own_address_only(
    lab: Lab, kernel: Kernel, box: Box, echo: Echo
) -> None:
    """About a connection that is granted, and by whom else it likes."""
    kernel.enforce(box, Custom(allowed_cidrs=(Network.parse(OUTSIDE4),)))
    with connect(box, OUTSIDE4) as granted:
        port, (_, server_port) = granted.getsockname()[1], granted.getpeername()
        quoted = tcp(OUTSIDE4, box.addresses[0], port, source_port=server_port, flags=0x10)[:28]
        error = struct.pack(">BBHI", 3, 3, 0, 0) + quoted
        error = error[:2] + struct.pack(">H", checksum(error)) + error[4:]
        spoofed = [ip_packet(other, OUTSIDE4, ICMP, error) for other in ("66.6.6.6", "10.77.9.9")]
        assert leaked(lab, kernel, box, spoofed) == []
        own = ip_packet(box.addresses[0], OUTSIDE4, ICMP, error)
        assert leaked(lab, kernel, box, [own]) == [f"{box.addresses[0]} > {OUTSIDE4} {ICMP}"]


@pytest.mark.parametrize("kind", [134, 137], ids=["advertisement", "redirect"])
@pytest.mark.parametrize("hop_limit", [64, 255])
def test_a_box_is_no_router_whatever_it_may_reach(
    lab: Lab, kernel: Kernel, box: Box, kind: int, hop_limit: int
) -> None:
    kernel.enforce(box, AllowAll())
    sent = [icmpv6(box.addresses[1], OUTSIDE6, kind, bytes(36), hop_limit=hop_limit)]
    assert leaked(lab, kernel, box, sent) == []
    asked = [icmpv6(box.addresses[1], OUTSIDE6, 128, bytes(8), hop_limit=hop_limit)]
    assert leaked(lab, kernel, box, asked) != []


def test_a_box_of_deny_all_cannot_be_collected_from(lab: Lab, kernel: Kernel, box: Box) -> None:
    """An outside partner that opens the connection gets nothing: no answer, no byte."""
    inside = Echo(box)
    assert not reaches(lab.internet, box.addresses[0])
    assert not reaches(lab.internet, box.addresses[1])
    assert reaches(lab.node, box.addresses[0])
    inside.close()


def test_who_the_operator_named_may_open_towards_a_box_and_the_box_not_towards_it(
    lab: Lab,
) -> None:
    kernel = Kernel(lab, inbound_from=(Network.parse("77.7.7.0/24"), Network.parse("2077::/32")))
    box = lab.box()
    kernel.attach(box)
    inside = Echo(box)
    for source, address in zip(("77.7.7.7", "2077::7"), box.addresses, strict=True):
        assert reaches(lab.internet, address, source=source)
    for source, address in zip(("78.7.7.7", "2078::7"), box.addresses, strict=True):
        assert not reaches(lab.internet, address, source=source)
    # A connection is opened by its first packet: an answer that nobody asked for opens none.
    packets = [
        udp(box.addresses[0], "77.7.7.7", 9, b"unasked"),
        tcp(box.addresses[0], "77.7.7.7", 9, flags=0x12),
    ]
    assert leaked(lab, kernel, box, packets) == []
    kernel.close()
    inside.close()


def test_a_boxs_marks_are_its_own_affair(lab: Lab, kernel: Kernel, box: Box) -> None:
    """Root in the box sets packet marks and flushes every table it can see."""
    done = box.run(
        "python3",
        "-c",
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for mark in (1, 0x42570001, 0x80000000, 0x40000001):\n"
        "    s.setsockopt(socket.SOL_SOCKET, 36, mark)\n"
        f"    s.sendto(b'marked', ('{OUTSIDE4}', 9))\n",
    )
    assert done.returncode in (0, 1), done
    assert leaked(lab, kernel, box, []) == []


def test_who_opens_too_many_connections_is_held_back_and_others_are_not(lab: Lab) -> None:
    kernel = Kernel(lab, per_box=PerBox(new_connections=50, records=20))
    greedy, modest = lab.box(), lab.box()
    for one in (greedy, modest):
        kernel.attach(one)
        kernel.enforce(one, AllowAll())
    lab.internet.witness.look()
    for port in itertools.chain(range(1_000, 2_000)):
        greedy.wire.send(udp(greedy.addresses[0], OUTSIDE4, 9, b"greedy", source_port=port))
    modest.wire.send(udp(modest.addresses[0], OUTSIDE4, 9, b"modest"))
    came = lab.internet.witness.wait_for(b"modest")
    assert 40 <= len([one for one in came if one.payload.endswith(b"greedy")]) <= 200
    kernel.close()


def fragment(
    source: str, target: str, number: int, at: int, part: bytes, *, is_last: bool
) -> bytes:
    """An IPv4 fragment of a UDP datagram."""
    packet = ip_packet(source, target, 17, part)
    flags = at // 8 | (0 if is_last else 0x2000)
    header = packet[:4] + struct.pack(">HH", number, flags) + packet[8:10] + b"\0\0" + packet[12:20]
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + part
