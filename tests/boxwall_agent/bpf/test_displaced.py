"""The program, run by hand: which packets would be others when they leave the node?"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from boxwall_agent.bpf.displaced import Fields, displaced_checksum
from boxwall_agent.bpf.types import NoSuchType
from lab.packets import ip_packet, sctp_init, tcp, udp

FIELDS = Fields(summed=128, summed_shift=5, start=136, offset=138, network=180)
HEADROOM = 78
"""Octets before the IP header in the buffer that places are counted from."""

V4, V6 = ("10.77.0.2", "8.8.8.8"), ("2600::2", "2600::8")
UDP4, UDP6 = udp(*V4, 9, b"x" * 40), udp(*V6, 9, b"x" * 40)
TCP4, TCP6 = tcp(*V4, 80), tcp(*V6, 80)
WITH_OPTIONS = UDP4[:20].replace(b"\x45", b"\x46", 1) + bytes(4) + UDP4[20:]
_STACK = 1 << 32
_CALL, _EXIT = 0x85, 0x95
_SETS: dict[int, Callable[[int, int, int], int]] = {
    0xBF: lambda left, right, value: right,
    0xB7: lambda left, right, value: value,
    0x07: lambda left, right, value: left + value,
    0x0F: lambda left, right, value: left + right,
    0x1F: lambda left, right, value: left - right,
    0x57: lambda left, right, value: left & value,
    0x67: lambda left, right, value: left << value,
    0x77: lambda left, right, value: left >> value,
}
_BRANCHES: dict[int, Callable[[int, int, int], bool]] = {
    0x05: lambda left, right, value: True,
    0x15: lambda left, right, value: left == value,
    0x55: lambda left, right, value: left != value,
    0x5D: lambda left, right, value: left != right,
    0x7D: lambda left, right, value: left >= right,
}
_LOADS = {0x71: 1, 0x69: 2}
"""Octets."""


@dataclass
class Machine:
    """As much of BPF as the program uses, for a packet with its sk_buff."""

    packet: bytes
    sk_buff: bytes

    def run(self, program: bytes) -> int:
        """Return register 0. A thousand steps are too many."""
        register = [0] * 10 + [_STACK]
        stack: dict[int, int] = {}
        at = 0
        for _ in range(1000):
            code, registers, jump, value = struct.unpack_from("<BBhi", program, at * 8)
            to, source = registers & 15, registers >> 4
            at += 1
            left, right = register[to], register[source]
            if code == _EXIT:
                return register[0]
            if code in _SETS:
                register[to] = _SETS[code](left, right, value)
            elif code in _BRANCHES:
                at += jump if _BRANCHES[code](left, right, value) else 0
            elif code in _LOADS:
                found = [stack[right + jump + octet] for octet in range(_LOADS[code])]
                register[to] = int.from_bytes(found, "little")
            else:
                assert code == _CALL, f"instruction {code:#x}"
                register[0] = self._call(value, register, stack)
        raise AssertionError("it does not end")

    def _call(self, number: int, register: list[int], stack: dict[int, int]) -> int:
        if number == 113:
            target, size, where = register[1:4]
            found = self.sk_buff[where : where + size]
        else:
            assert number == 26
            where, target, size = register[2:5]
            found = self.packet[where : where + size]
        if len(found) < size:
            return -14
        stack.update(enumerate(found, target))
        return 0


def is_displaced(packet: bytes, start: int, offset: int, summed: int = 3) -> bool:
    """`start` is counted from the IP header."""
    sk_buff = bytearray(b"\xff" * 256)
    sk_buff[FIELDS.summed] = 0b10011111 | summed << FIELDS.summed_shift
    for where, value in (
        (FIELDS.start, HEADROOM + start),
        (FIELDS.offset, offset),
        (FIELDS.network, HEADROOM),
    ):
        sk_buff[where : where + 2] = struct.pack("<H", value)
    answer = Machine(packet, bytes(sk_buff)).run(displaced_checksum(FIELDS))
    assert answer in (0, 1)
    return answer == 1


@pytest.mark.parametrize(
    ("packet", "start", "offset"),
    [
        pytest.param(UDP4, 20, 6, id="UDP"),
        pytest.param(UDP6, 40, 6, id="UDP, IPv6"),
        pytest.param(TCP4, 20, 16, id="TCP"),
        pytest.param(TCP6, 40, 16, id="TCP, IPv6"),
        pytest.param(sctp_init(*V4, 9), 20, 8, id="SCTP"),
        pytest.param(WITH_OPTIONS, 24, 6, id="UDP behind options of IPv4"),
        pytest.param(UDP4, 20 + 8 + 8 + 20, 16, id="TCP in a tunnel over UDP"),
        pytest.param(ip_packet(*V6, 47, bytes(60)), 44 + 20, 6, id="UDP in GRE"),
    ],
)
def test_a_checksum_of_ones_own_is_left_to_the_card(packet: bytes, start: int, offset: int) -> None:
    assert not is_displaced(packet, start, offset)


@pytest.mark.parametrize(
    ("packet", "start", "offset"),
    [
        pytest.param(UDP6, 24, 14, id="the destination of IPv6"),
        pytest.param(UDP6, 8, 0, id="the source of IPv6"),
        pytest.param(UDP4, 16, 0, id="the destination of IPv4"),
        pytest.param(UDP4, 20, 2, id="a port of UDP"),
        pytest.param(UDP6, 40, 8, id="what follows the header of UDP"),
        pytest.param(UDP6, 40, 15, id="the last octet that is judged"),
        pytest.param(UDP4, 0, 26, id="its own checksum, over the IP header too"),
        pytest.param(TCP4, 20, 12, id="the flags of TCP"),
        pytest.param(TCP6, 40, 40, id="what follows the header of TCP"),
        pytest.param(TCP6, 60, 16, id="a name, where it is none of its own"),
        pytest.param(UDP4, -14, 6, id="before the packet"),
        pytest.param(sctp_init(*V4, 9), 20, 2, id="a port of SCTP"),
        pytest.param(ip_packet(*V6, 60, bytes(80)), 48, 60, id="behind an extension header"),
        pytest.param(ip_packet(*V6, 44, bytes(80)), 48, 60, id="in a fragment"),
        pytest.param(UDP4[:5], 20, 6, id="a packet that is cut short"),
    ],
)
def test_one_that_would_be_written_where_something_was_judged_is_found(
    packet: bytes, start: int, offset: int
) -> None:
    assert is_displaced(packet, start, offset)


@pytest.mark.parametrize("summed", [0, 1, 2], ids=["none", "unnecessary", "complete"])
def test_a_checksum_that_is_written_already_goes_nowhere(summed: int) -> None:
    assert not is_displaced(UDP6, 24, 14, summed)


def test_where_the_fields_are_is_read_off_the_kernels_description() -> None:
    class Described:
        def members(self, name: str) -> dict[str, int]:
            assert name == "sk_buff"
            return {
                "ip_summed": 1029,
                "csum_start": 1088,
                "csum_offset": 1104,
                "network_header": 1440,
            }

    assert Fields.of(Described()) == FIELDS  # type: ignore[arg-type]  # what it uses of Types


def test_a_kernel_whose_fields_are_too_far_apart_cannot_tell() -> None:
    class Described:
        def members(self, name: str) -> dict[str, int]:
            return {"ip_summed": 0, "csum_start": 64, "csum_offset": 80, "network_header": 2000}

    with pytest.raises(NoSuchType, match="far apart"):
        Fields.of(Described())  # type: ignore[arg-type]  # what it uses of Types
