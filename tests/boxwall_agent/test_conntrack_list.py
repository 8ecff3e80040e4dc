"""The kernel's list of tracked connections, line by line."""

import pytest

from boxwall.policy import Address
from boxwall_agent.audit import Connection
from boxwall_agent.conntrack_list import opened_by
from boxwall_agent.packets import Ends

BOX, BOX6 = Address.parse("10.77.1.2"), Address.parse("fd77:1::2")
SERVER, SERVER6 = Address.parse("8.8.4.4"), Address.parse("2600::1")
NODE = Address.parse("45.0.0.1")
CLOSE_TIMEOUT = 10

TCP_LINE = (
    b"ipv4     2 tcp      6 299 ESTABLISHED src=10.77.1.2 dst=8.8.4.4 sport=40000 dport=443 "
    b"src=8.8.4.4 dst=45.0.0.1 sport=443 dport=1024 [ASSURED] mark=7 zone=0 use=2\n"
)
TCP6_LINE = (
    b"ipv6     10 tcp      6 3 CLOSE src=fd77:0001:0000:0000:0000:0000:0000:0002 "
    b"dst=2600:0000:0000:0000:0000:0000:0000:0001 sport=40000 dport=443 "
    b"src=2600:0000:0000:0000:0000:0000:0000:0001 dst=fd77:0001:0000:0000:0000:0000:0000:0002 "
    b"sport=443 dport=40000 mark=2147483648 zone=0 use=2\n"
)
UDP_LINE = (
    b"ipv4     2 udp      17 27 src=10.77.1.2 dst=8.8.4.4 sport=5 dport=53 packets=1 bytes=29 "
    b"[UNREPLIED] src=8.8.4.4 dst=10.77.1.2 sport=53 dport=5 packets=0 bytes=0 mark=0 use=2\n"
)
PING_LINE = (
    b"ipv4     2 icmp     1 29 src=10.77.1.2 dst=8.8.4.4 type=8 code=0 id=12 "
    b"src=8.8.4.4 dst=10.77.1.2 type=0 code=0 id=12 mark=9 zone=0 use=2\n"
)
GRE_LINE = (
    b"ipv4     2 gre      47 29 timeout=30, stream_timeout=180 src=10.77.1.2 dst=8.8.4.4 "
    b"srckey=0x0 dstkey=0x0 [UNREPLIED] src=8.8.4.4 dst=10.77.1.2 srckey=0x0 dstkey=0x0 mark=9 "
    b"zone=0 use=2\n"
)
SCTP_LINE = (
    b"ipv4     2 sctp     132 3 COOKIE_WAIT src=10.77.1.2 dst=8.8.4.4 sport=5 dport=6 [UNREPLIED] "
    b"src=8.8.4.4 dst=10.77.1.2 sport=6 dport=5 mark=9 zone=0 use=2\n"
)
OTHERS_LINE = TCP_LINE.replace(b"src=10.77.1.2", b"src=10.77.1.20")
OFFLOADED_LINE = TCP_LINE.replace(b"299 ESTABLISHED ", b"").replace(b"ASSURED", b"OFFLOAD")


def read(listing: bytes) -> list[Connection]:
    """What the box has opened."""
    return list(opened_by([BOX, BOX6], listing, CLOSE_TIMEOUT))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            TCP_LINE,
            Connection(
                *(BOX, SERVER, 6, 40000, 443),
                *(7, 3, None, Ends(SERVER, 443, NODE, 1024)),
            ),
            id="TCP behind the node's address",
        ),
        pytest.param(
            TCP6_LINE,
            Connection(
                *(BOX6, SERVER6, 6, 40000, 443),
                *(1 << 31, 8, 7, Ends(SERVER6, 443, BOX6, 40000)),
            ),
            id="TCP over IPv6, reset seven seconds ago",
        ),
        pytest.param(
            UDP_LINE,
            Connection(BOX, SERVER, 17, 5, 53, 0, None, None, Ends(SERVER, 53, BOX, 5)),
            id="UDP, with its packets counted",
        ),
        pytest.param(
            SCTP_LINE,
            Connection(BOX, SERVER, 132, 5, 6, 9, None, None, Ends(SERVER, 6, BOX, 5)),
            id="SCTP: its states are not TCP's",
        ),
        pytest.param(PING_LINE, Connection(BOX, SERVER, 1, 0, 0, 9, None), id="a ping: no ports"),
        pytest.param(GRE_LINE, Connection(BOX, SERVER, 47, 0, 0, 9, None), id="GRE: its timeouts"),
    ],
)
def test_a_line_says_what_netlink_says(line: bytes, expected: Connection) -> None:
    assert read(line) == [expected]


def test_what_others_have_opened_is_passed_over() -> None:
    assert [one.protocol for one in read(OTHERS_LINE + UDP_LINE + OTHERS_LINE + PING_LINE)] == [
        17,
        1,
    ]
    assert read(b"") == []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(OFFLOADED_LINE, id="forwarded by hardware: no state"),
        pytest.param(TCP_LINE.replace(b"mark=7 ", b""), id="a kernel without marks"),
        pytest.param(TCP_LINE.replace(b"dst=8.8.4.4", b"dst=8.8.4.256"), id="no address"),
        pytest.param(TCP_LINE.replace(b"ESTABLISHED", b"OPEN"), id="a state that TCP has not"),
        pytest.param(TCP_LINE[: TCP_LINE.index(b"mark")], id="cut short"),
    ],
)
def test_a_line_that_is_not_understood_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"no connection|must be in range|not in tuple"):
        read(UDP_LINE + line)
