"""Packets are read from inside a box: nothing in them is trusted."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import Address
from boxwall_agent.packets import (
    SCTP,
    TCP,
    UDP,
    Ends,
    read_packet,
    stray_acknowledgement,
)
from lab.packets import checksum, icmpv6, ip_packet, sctp_init, tcp, udp

FOUR = ("10.77.1.2", "1.1.1.1")
SIX = ("fd77:1::2", "2600::1")


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_addresses_and_ports_are_read(source: str, target: str) -> None:
    for made, protocol in (
        (udp(source, target, 53, b"q"), UDP),
        (sctp_init(source, target, 53), SCTP),
    ):
        packet = read_packet(made)
        assert packet is not None
        assert (str(packet.source), str(packet.destination)) == (source, target)
        assert (packet.protocol, packet.source_port, packet.destination_port) == (
            protocol,
            40_000,
            53,
        )


def test_a_packet_without_ports_has_none() -> None:
    packet = read_packet(icmpv6(*SIX, 128, b"\0" * 4))
    assert packet is not None
    assert packet.destination_port == 0


def test_the_ports_behind_extension_headers_are_found() -> None:
    inner = udp(*SIX, 53, b"q")[40:]
    options = bytes((UDP, 0, 1, 4, 0, 0, 0, 0))
    packet = read_packet(ip_packet(*SIX, 0, options + inner))
    assert packet is not None
    assert (packet.protocol, packet.destination_port) == (UDP, 53)


def test_a_later_fragment_has_no_ports() -> None:
    whole = udp(*FOUR, 53, b"q" * 32)
    later = whole[:6] + struct.pack(">H", 4) + whole[8:]
    packet = read_packet(later)
    assert packet is not None
    assert packet.destination_port == 0


@given(st.binary(max_size=120))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    read_packet(data)


@given(st.integers(0, 120))
def test_a_packet_cut_short_is_none_or_less(size: int) -> None:
    read_packet(tcp(*SIX, 80, data=b"x" * 60)[:size])


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_checksums_are_right(source: str, target: str) -> None:
    ends = Ends(Address.parse(source), 80, Address.parse(target), 4000)
    made = stray_acknowledgement(ends, 7)
    size = 4 if "." in source else 16
    segment = made[-20:]
    addresses = made[-20 - 2 * size : -20]
    assert checksum(addresses + struct.pack(">II", len(segment), TCP) + segment) == 0
