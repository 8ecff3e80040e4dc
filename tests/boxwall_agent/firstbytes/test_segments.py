"""Segments are read from packets of the kernel, and from nothing that is none."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import Address
from boxwall_agent.firstbytes.flow import Segment
from boxwall_agent.firstbytes.segments import read_segment
from boxwall_agent.packets import Ends
from lab.packets import ip_packet, tcp, udp

FOUR = ("10.77.1.2", "1.1.1.1")
SIX = ("fd77:1::2", "2600::1")


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_a_segment_is_read_with_who_sends_it(source: str, target: str) -> None:
    packet = tcp(source, target, 443, flags=0x18, sequence=7, acknowledged=9, data=b"hello")
    ends = Ends(Address.parse(source), 40000, Address.parse(target), 443)
    assert read_segment(packet) == (ends, Segment(7, 9, 0x18, b"hello"))
    assert ends.turned == Ends(Address.parse(target), 443, Address.parse(source), 40000)
    assert ends.turned.turned == ends


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_the_headers_options_are_no_payload(source: str, target: str) -> None:
    head = struct.pack(">HHIIBBHHH", 40000, 443, 1, 2, 0x80, 0x18, 100, 0, 0)
    found = read_segment(ip_packet(source, target, 6, head + b"\1" * 12 + b"data"))
    assert found is not None
    assert found[1].payload == b"data"


def test_options_of_ipv4_are_no_part_of_the_segment() -> None:
    packet = tcp(*FOUR, 443, data=b"data")
    longer = b"\x46" + packet[1:2] + struct.pack(">H", len(packet) + 4) + packet[4:20]
    found = read_segment(longer + b"\1\1\1\0" + packet[20:])
    assert found is not None
    assert found[1].payload == b"data"


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_what_pads_a_packet_is_no_payload(source: str, target: str) -> None:
    """A frame may be longer than the packet in it."""
    found = read_segment(tcp(source, target, 443, data=b"data") + b"\0" * 6)
    assert found is not None
    assert found[1].payload == b"data"


_PACKET = tcp("85.85.85.85", "85.85.85.85", 443, data=b"data")
"""Its addresses would pass for the length of a header of TCP."""


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x55" + _PACKET[1:], id="another version of IP"),
        pytest.param(udp(*FOUR, 443, b"data"), id="UDP"),
        pytest.param(ip_packet(*SIX, 0, b"\6\0" + bytes(30)), id="an extension header"),
        pytest.param(_PACKET[:-1], id="shorter than it says"),
        pytest.param(ip_packet(*FOUR, 6, bytes(19)), id="no room for a header"),
        pytest.param(b"\x40" + _PACKET[1:], id="no header of IPv4"),
        pytest.param(b"\x44" + _PACKET[1:], id="a header of IPv4 that is too short"),
        pytest.param(b"\x4f" + _PACKET[1:], id="a header of IPv4 longer than the packet"),
        pytest.param(_PACKET[:32] + b"\x40" + _PACKET[33:], id="a header of TCP too short"),
        pytest.param(_PACKET[:32] + b"\xf0" + _PACKET[33:], id="a header of TCP too long"),
    ],
)
def test_what_is_no_whole_segment_is_none(packet: bytes) -> None:
    assert read_segment(packet) is None


@pytest.mark.parametrize(("source", "target"), [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_a_packet_cut_anywhere_is_none(source: str, target: str) -> None:
    packet = tcp(source, target, 443, data=b"data")
    assert all(read_segment(packet[:size]) is None for size in range(len(packet)))


@given(st.binary(max_size=90) | st.binary(max_size=80).map(lambda data: b"\x45" + data))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    read_segment(data)
