"""Records of refused packets, as the kernel sends them."""

import errno
import struct

import pytest

from boxwall_agent.errors import KernelUnusable
from boxwall_agent.netlink import Flags, attribute, be32, message, text
from boxwall_agent.nflog import Logged, LogGroup
from fakes.netlink_socket import FakeNetlink, acknowledgement, made_with

PACKET = 0x0400
CONFIGURED = [acknowledgement(1)] * 4


def opened(*answers: bytes | int) -> tuple[LogGroup, FakeNetlink]:
    """A group, and the kernel's end of it."""
    fake = FakeNetlink(CONFIGURED)
    group = made_with(fake, lambda: LogGroup(7))
    fake.answers += answers
    return group, fake


def record(*attributes: bytes) -> bytes:
    """One record."""
    return message(PACKET, Flags(0), 0, b"".join(attributes), family=2, resource=7)


def test_it_binds_and_takes_the_beginnings_of_packets() -> None:
    """From linux/netfilter/nfnetlink_log.h: NFULA_CFG_CMD 1 (BIND 1), NFULA_CFG_MODE 2 (range 96,
    NFULNL_COPY_PACKET 2), NFULA_CFG_QTHRESH 5, NFULA_CFG_TIMEOUT 4 in hundredths of a second.
    """
    _, fake = opened()
    assert {one[4:8] for one in fake.sent} == {struct.pack("=HH", 0x0401, 0x5)}
    assert {one[16:20] for one in fake.sent} == {bytes((0, 0, 0, 7))}
    assert [one[20:].hex(" ", 4) for one in fake.sent] == [
        "05000100 01000000",
        "0a000200 00000060 02000000",
        "08000500 00000020",
        "08000400 00000005",
    ]
    assert not fake.is_blocking


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EBUSY, "another program listens"),
        (errno.EPERM, "another agent"),
        (errno.ENOMEM, "Cannot allocate"),
    ],
)
def test_a_group_that_cannot_be_had_is_told_and_closed(number: int, said: str) -> None:
    fake = FakeNetlink([acknowledgement(1), acknowledgement(1, number)])
    with pytest.raises(KernelUnusable, match=said):
        made_with(fake, lambda: LogGroup(7))
    assert fake.is_closed


def test_records_are_read() -> None:
    head = attribute(9, b"E...head")
    group, _ = opened(
        record(text(10, "policy"), be32(4, 3), be32(5, 4), head) + record(text(10, "cut")),
        record(be32(4, 3)),
    )
    assert list(group.read()) == [
        Logged("policy", 3, 4, b"E...head"),
        Logged("cut", 0, 0, b""),
        Logged("", 3, 0, b""),
    ]


def test_records_that_were_lost_are_lost_and_the_rest_is_read() -> None:
    group, _ = opened(errno.ENOBUFS, record(text(10, "a")), errno.ENOBUFS, record(text(10, "b")))
    assert [one.prefix for one in group.read()] == ["a", "b"]


def test_of_very_much_a_part_is_read_and_nothing_is_lost() -> None:
    """A thousand boxes that are refused must not keep the agent from closing one."""
    group, fake = opened(*(record(text(10, f"p{number}")) for number in range(100)))
    first = [one.prefix for one in group.read()]
    assert 0 < len(first) < 50
    while fake.answers:
        first += [one.prefix for one in group.read()]
    assert first == [f"p{number}" for number in range(100)]


def test_what_is_no_record_is_passed_over() -> None:
    group, _ = opened(acknowledgement(1), record(text(10, "a")))
    assert [one.prefix for one in group.read()] == ["a"]


def test_what_else_goes_wrong_is_not_hidden() -> None:
    group, _ = opened(errno.EBADF)
    with pytest.raises(OSError, match="Bad file descriptor"):
        list(group.read())


def test_it_closes() -> None:
    group, fake = opened()
    group.close()
    assert fake.is_closed
