"""Who is outside, and who could hear: servers on more ports, a partner, a hostile name server."""

import contextlib
import itertools
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from forms import ALLOWED_AT, DENIED, ELSEWHERE, ZONE

from lab.namespaces import Namespace, inside
from lab.network import NODE, Box
from lab.packets import ICMP, Wire, checksum, icmpv6, ip_packet, sctp_init, tcp, udp

PORTS: Final = (25, 110, 143, 587, 2222, 4190, 5432)
"""On which somebody listens outside, besides web servers and name servers."""

_RAW: Final = (
    (socket.AF_INET, socket.IPPROTO_ICMP),
    (socket.AF_INET6, socket.IPPROTO_ICMPV6),
)
_GROUPS: Final = ("224.0.0.251", "224.0.0.252", "ff02::fb", "ff02::1:3")
_NODE_PORTS: Final = (4242, 53, 5353, 5355, 137)


class Listeners:
    """TCP servers that take everything and say nothing: the witness sees what comes."""

    def __init__(self, place: Namespace, ports: tuple[int, ...]) -> None:
        self._stop, stopped = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(stopped, selectors.EVENT_READ, None)
        self._open: list[socket.socket] = [stopped]
        self.received: list[bytes] = []
        with inside(place.name):
            for port in ports:
                self._keep(
                    socket.create_server(
                        ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256
                    ),
                    self._accept,
                )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stop.close()
        self._thread.join()
        for one in self._open:
            one.close()
        self._selector.close()

    def _keep(self, one: socket.socket, act: Callable[[socket.socket], None]) -> None:
        one.setblocking(False)
        self._open.append(one)
        self._selector.register(one, selectors.EVENT_READ, act)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(BlockingIOError):
                    key.data(key.fileobj)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._keep(server.accept()[0], self._read)

    def _read(self, one: socket.socket) -> None:
        try:
            data = one.recv(65536)
        except ConnectionError:
            data = b""
        self.received.append(data)
        if not data:
            self._selector.unregister(one)
            one.close()


class NodeEars:
    """What the node's own stack delivers to programs on it: nothing of a box's should."""

    def __init__(self, node: Namespace, interfaces: list[str]) -> None:
        with inside(node.name):
            self._sockets = [_datagrams(port, interfaces) for port in _NODE_PORTS]
            self._sockets += [socket.socket(one[0], socket.SOCK_RAW, one[1]) for one in _RAW]
        for one in self._sockets:
            one.setblocking(False)
        self._listeners = Listeners(node, (4242,))

    def heard(self) -> list[bytes]:
        """What has come since this was asked last."""
        got, self._listeners.received = self._listeners.received, []
        for one in self._sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.append(one.recv(65536))
        return got

    def close(self) -> None:
        """Stop listening."""
        self._listeners.close()
        for one in self._sockets:
            one.close()


def _datagrams(port: int, interfaces: list[str]) -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind(("::", port))
    for interface in interfaces:
        index = socket.if_nametoindex(interface)
        for group in _GROUPS:
            if ":" in group:
                asked = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=I", index)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, asked)
            else:
                asked = socket.inet_aton(group) + struct.pack("=4sI", b"", index)
                made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, asked)
    return made


class Partner:
    """Somebody at ELSEWHERE who sends to a box what would open a connection from outside."""

    PERIOD: Final = 0.05

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._packets: list[bytes] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn_to(self, box: Box, pings: dict[int, str]) -> None:
        """Send to this box from now on. `pings`: what pings of IPv4 and IPv6 carry."""
        self._packets = [
            packet
            for source, target in zip(ELSEWHERE, box.addresses, strict=True)
            for packet in _openings(source, target, pings)
        ]

    def close(self) -> None:
        """Stop."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(self.PERIOD):
            for packet in self._packets:
                self._wire.send(packet)


def _openings(source: str, target: str, pings: dict[int, str]) -> list[bytes]:
    made = [
        udp(source, target, 4500, b"hello", source_port=4500),
        sctp_init(source, target, 4505),
    ]
    for port, flags, seq, acknowledged in (
        (4501, 0x02, 5000, 0),
        (4502, 0x02, 5000, 0),
        (4503, 0x12, 5000, 1001),
        (4504, 0x18, 5001, 1001),
    ):
        made.append(
            tcp(source, target, port, flags=flags, sequence=seq, acknowledged=acknowledged,
                source_port=port)
        )  # fmt: skip
    return [*made, _ping(source, target, b"hello"), *_marked_ping(source, target, pings)]


def _marked_ping(source: str, target: str, pings: dict[int, str]) -> list[bytes]:
    mark = pings.get(6 if ":" in target else 4)
    return [] if mark is None else [_ping(source, target, mark.encode())]


def _ping(source: str, target: str, data: bytes) -> bytes:
    if ":" in target:
        return icmpv6(source, target, 128, b"\0\7\0\1" + data, hop_limit=64)
    message = struct.pack(">BBHHH", 8, 0, 0, 7, 1) + data
    message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
    return ip_packet(source, target, ICMP, message)


def hostile_answers(
    neighbour: tuple[str, str],
) -> Callable[[dns.message.Message, dns.message.Message], bytes | None]:
    """What the attacker's name server says of names below ZONE: `NameServer.craft`."""
    private = (("10.1.2.3", "169.254.169.254"), ("fd12::1", "fd00:ec2::254"))

    def craft(query: dns.message.Message, honest: dns.message.Message) -> bytes | None:
        asked = query.question[0]
        text = asked.name.to_text(omit_final_dot=True).lower()
        if not text.endswith(f".{ZONE}") or asked.rdclass != dns.rdataclass.IN:
            return honest.to_wire(max_size=65535)
        which = asked.rdtype == dns.rdatatype.AAAA
        rebinding = (*private[which], NODE[which], neighbour[which])
        answer = dns.message.make_response(query)
        for section, records in _records(text, asked, which, rebinding).items():
            getattr(answer, section).extend(records)
        # In this order: the last of two thousand addresses is beyond what is leased of one answer.
        return answer.to_wire(max_size=65535, want_shuffle=False)

    return craft


def _records(
    name: str, asked: dns.rrset.RRset, which: bool, rebinding: tuple[str, ...]
) -> dict[str, list[dns.rrset.RRset]]:
    """By the first label of the name, what goes into which section."""
    kind = "AAAA" if which else "A"
    harmless = "2600:b::b" if which else "11.11.11.11"

    def to(owner: str, *values: str, ttl: int = 60, of: str = kind) -> dns.rrset.RRset:
        return dns.rrset.from_text(f"{owner}.", ttl, "IN", of, *values)

    match name.partition(".")[0]:
        case "rebinding":
            return {"answer": [to(name, *rebinding)]}
        case "foreign":
            return {"answer": [to(name, harmless), to("other.example", ELSEWHERE[which])]}
        case "instead":
            return {"answer": [to("other.example", ELSEWHERE[which])]}
        case "additional":
            return {"answer": [to(name, harmless)], "additional": [to(name, ELSEWHERE[which])]}
        case "alias":
            alias = to(name, "denied.example.", of="CNAME")
            return {"answer": [alias, to("denied.example", DENIED[which])]}
        case "denied":
            return {"answer": [to(name, DENIED[which])]}
        case "cname":
            alias = to(name, "evil.example.", of="CNAME")
            return {"answer": [alias, to("evil.example", ALLOWED_AT[which])]}
        case "chaos":
            made = dns.rrset.from_text(f"{name}.", 60, "IN", kind, ELSEWHERE[which])
            made.rdclass = dns.rdataclass.CH
            return {"answer": [made]}
        case "hint":
            hint = f"1 . ipv4hint={ELSEWHERE[0]} ipv6hint={ELSEWHERE[1]}"
            return {"answer": [to(name, hint, of="HTTPS")]}
        case "thousands":
            return {"answer": [to(name, *_two_thousand(which), ELSEWHERE[which])]}
        case "loop":
            there, back = f"back.{ZONE}", to(name, f"back.{ZONE}.", of="CNAME")
            loop = to(there, f"{name}.", of="CNAME")
            return {"answer": [back, loop, to("other.example", ELSEWHERE[which])]}
        case "brief":
            return {"answer": [to(name, "2600:b::1" if which else "11.12.13.14", ttl=0)]}
        case _:
            return {"answer": [to(name, ALLOWED_AT[which])]}


def _two_thousand(which: bool) -> list[str]:
    numbers = itertools.islice(itertools.count(1), 2000)
    if which:
        return [f"2600:a::{one:x}" for one in numbers]
    return [f"12.0.{one // 256}.{one % 256}" for one in numbers]
