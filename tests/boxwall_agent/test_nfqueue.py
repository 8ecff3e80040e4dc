"""Packets from the queue, and the verdicts that go back, as octets."""

import errno
import struct

import pytest

from boxwall_agent.errors import KernelUnusable
from boxwall_agent.netlink import Flags, attribute, be32, message
from boxwall_agent.nfqueue import PacketQueue, Queued, read_dropped
from fakes.netlink_socket import FakeNetlink, acknowledgement, made_with

QUEUE = 0x4257
PACKET = 0x0300
CONFIGURED = [acknowledgement(1)] * 3


def opened(*answers: bytes | int) -> tuple[PacketQueue, FakeNetlink]:
    """A queue, and the kernel's end of it."""
    fake = FakeNetlink(CONFIGURED)
    queue = made_with(fake, lambda: PacketQueue(QUEUE))
    fake.answers += answers
    return queue, fake


def packet(number: int, *attributes: bytes) -> bytes:
    """What nfnetlink_queue sends: nfqnl_msg_packet_hdr, and more."""
    head = attribute(1, struct.pack(">IHB", number, 0x0800, 0))
    return message(PACKET, Flags(0), 0, b"".join((head, *attributes)), family=2, resource=QUEUE)


def test_it_binds_and_takes_whole_packets_one_by_one() -> None:
    """From linux/netfilter/nfnetlink_queue.h: NFQA_CFG_CMD 1 (BIND 1), NFQA_CFG_PARAMS 2 (range
    65535, NFQNL_COPY_PACKET 2), NFQA_CFG_QUEUE_MAXLEN 3, and no flags: not F_GSO.
    Each is acknowledged, is for family 0, and names the queue as its resource.
    """
    _, fake = opened()
    sent = []
    for one in fake.sent:
        assert one[4:8] == struct.pack("=HH", 0x0302, 0x5)
        assert one[16:20] == bytes((0, 0)) + struct.pack(">H", QUEUE)
        sent.append(one[20:].hex(" ", 4))
    assert sent == [
        "08000100 01000000",
        "09000200 0000ffff 02000000",
        "08000300 00001000",
    ]
    assert not fake.is_blocking


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EPERM, "another program listens, or root is needed"),
        (errno.EBUSY, "another program listens, or root is needed"),
        (errno.EOPNOTSUPP, "not supported"),
        (errno.ENOBUFS, "No buffer space"),
    ],
)
@pytest.mark.parametrize("at", range(3))
def test_a_queue_that_cannot_be_had_is_told_and_closed(number: int, said: str, at: int) -> None:
    fake = FakeNetlink([*CONFIGURED[:at], acknowledgement(1, number)])
    with pytest.raises(KernelUnusable, match=said):
        made_with(fake, lambda: PacketQueue(QUEUE))
    assert fake.is_closed


def test_packets_are_read_with_where_they_come_from_and_go_to() -> None:
    data = attribute(10, b"E...packet")
    queue, _ = opened(
        packet(1, be32(3, 7), be32(5, 3), be32(6, 4), data) + packet(2, be32(5, 3), data),
        packet(3),
    )
    assert list(queue.read()) == [
        Queued(1, 7, 3, 4, b"E...packet"),
        Queued(2, 0, 3, 0, b"E...packet"),
        Queued(3, 0, 0, 0, b""),
    ]


def test_what_is_no_packet_is_passed_over() -> None:
    """The kernel tells of verdicts on packets that it has given up."""
    queue, _ = opened(acknowledgement(0, errno.ENOENT), packet(1))
    assert [one.id for one in queue.read()] == [1]


def test_nothing_waits() -> None:
    queue, _ = opened()
    assert list(queue.read()) == []


def test_what_was_lost_is_dropped_by_the_kernel_and_the_rest_is_read() -> None:
    queue, _ = opened(errno.ENOBUFS, packet(2))
    assert [one.id for one in queue.read()] == [2]


def test_what_else_goes_wrong_is_not_hidden() -> None:
    queue, _ = opened(errno.EBADF)
    with pytest.raises(OSError, match="Bad file descriptor"):
        list(queue.read())


def test_verdicts_name_the_packet_and_the_mark() -> None:
    """NFQA_VERDICT_HDR 2: verdict and id, big-endian; NF_DROP 0, NF_ACCEPT 1, NF_REPEAT 4.
    NFQA_MARK 3. Not acknowledged.
    """
    queue, fake = opened()
    fake.sent.clear()
    queued = Queued(0x01020304, 0, 3, 0, b"")
    queue.accept(queued)
    queue.drop(queued)
    queue.repeat(queued, 0x20000007)
    assert {one[4:8] for one in fake.sent} == {struct.pack("=HH", 0x0301, 0x1)}
    assert [one[20:].hex(" ", 4) for one in fake.sent] == [
        "0c000200 00000001 01020304",
        "0c000200 00000000 01020304",
        "0c000200 00000004 01020304 08000300 20000007",
    ]


def test_it_closes() -> None:
    queue, fake = opened()
    queue.close()
    assert fake.is_closed


LISTING = """    7   4242     0 2 65535     5    11      900  1
16983  31337    12 2 65535    40     2     1000  1
"""


@pytest.mark.parametrize(
    ("number", "listing", "expected"),
    [
        (16983, LISTING, 42),
        (7, LISTING, 16),
        (698, LISTING, None),
        (16983, "", None),
        (16983, "16983 31337 12", None),
    ],
    ids=["ours", "another's", "none", "nobody listens", "cut"],
)
def test_what_did_not_fit_is_counted(number: int, listing: str, expected: int | None) -> None:
    """linux/net/netfilter/nfnetlink_queue.c, seq_show."""
    assert read_dropped(number, listing) == expected
