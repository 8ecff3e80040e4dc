"""Tracked connections, as the kernel lists them."""

import errno
import struct
from pathlib import Path

import pytest

from boxwall.policy import Address
from boxwall_agent import conntrack
from boxwall_agent.audit import TCP_CLOSE, Connection
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.netlink import Flags, attribute, be16, be32, message, nested, u8
from fakes.netlink_socket import Answer, FakeNetlink, acknowledgement, done, made_with

NEW = 0x0100
TCP, UDP, ICMP = 6, 17, 1


def tracked(
    source: str,
    destination: str,
    protocol: int,
    *,
    ports: tuple[int, int] | None = (40000, 443),
    state: int | None = None,
    mark: int | None = None,
    timeout: int | None = None,
) -> bytes:
    """One entry: CTA_TUPLE_ORIG 1 (CTA_TUPLE_IP 1, _PROTO 2), CTA_PROTOINFO 4, CTA_TIMEOUT 7,
    CTA_MARK 8.
    """
    ends = (Address.parse(source), Address.parse(destination))
    kinds, octets = ((1, 2), 4) if ends[0].version == 4 else ((3, 4), 16)
    addresses = nested(
        1,
        *(
            attribute(kind, end.value.to_bytes(octets, "big"))
            for kind, end in zip(kinds, ends, strict=True)
        ),
    )
    numbers = () if ports is None else (be16(2, ports[0]), be16(3, ports[1]))
    parts = [nested(1, addresses, nested(2, u8(1, protocol), *numbers))]
    if state is not None:
        parts.append(nested(4, nested(1, u8(1, state))))
    if timeout is not None:
        parts.append(be32(7, timeout))
    if mark is not None:
        parts.append(be32(8, mark))
    return message(NEW, Flags(2), 1, b"".join(parts), family=2 if octets == 4 else 10)


def listed(*answers: Answer) -> list[Connection]:
    """What is made of the kernel's answers."""
    fake = FakeNetlink(answers)
    try:
        return made_with(fake, lambda: list(conntrack.connections()))
    finally:
        assert fake.is_closed
        # IPCTNL_MSG_CT_GET 1 of subsystem 1; NLM_F_REQUEST and NLM_F_DUMP.
        assert fake.sent[0][4:8] == struct.pack("=HH", 0x0101, 0x301)


@pytest.fixture(autouse=True)
def _close_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timeout").write_text("20\n")
    monkeypatch.setattr(conntrack, "_CLOSE_TIMEOUT", tmp_path / "timeout")


def test_connections_are_read_in_both_families() -> None:
    found = listed(
        tracked("10.77.1.2", "8.8.4.4", TCP, state=3, mark=7, timeout=100)
        + tracked("fd77:1::2", "2600::1", UDP, ports=(5, 53)),
        tracked("10.77.1.2", "8.8.4.4", ICMP, ports=None, mark=0x80000000),
        done(1),
    )
    four = (Address.parse("10.77.1.2"), Address.parse("8.8.4.4"))
    six = (Address.parse("fd77:1::2"), Address.parse("2600::1"))
    assert found == [
        Connection(*four, TCP, 40000, 443, mark=7, tcp_state=3),
        Connection(*six, UDP, 5, 53, mark=0, tcp_state=None),
        Connection(*four, ICMP, 0, 0, mark=0x80000000, tcp_state=None),
    ]


@pytest.mark.parametrize(("left", "closed_for"), [(20, 0), (17, 3), (None, 20)])
def test_how_long_ago_a_reset_was_seen_is_what_is_gone_of_its_time(
    left: int | None, closed_for: int
) -> None:
    (found,) = listed(tracked("10.77.1.2", "8.8.4.4", TCP, state=TCP_CLOSE, timeout=left), done(1))
    assert found.closed_for == closed_for


def test_a_kernel_that_does_not_say_how_long_it_remembers_has_its_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for content in (None, "", "soon"):
        path = tmp_path / f"of {content}"
        if content is not None:
            path.write_text(content)
        monkeypatch.setattr(conntrack, "_CLOSE_TIMEOUT", path)
        (found,) = listed(tracked("10.77.1.2", "8.8.4.4", TCP, state=TCP_CLOSE, timeout=4), done(1))
        assert found.closed_for == 6


def test_what_is_no_connection_is_passed_over() -> None:
    assert listed(message(NEW, Flags(2), 1, be32(8, 7), family=2), done(1)) == []


def test_a_list_that_was_lost_is_not_a_short_one() -> None:
    with pytest.raises(KernelUnsure, match="No buffer space"):
        listed(tracked("10.77.1.2", "8.8.4.4", TCP), errno.ENOBUFS)


def test_a_list_that_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(KernelRejected, match="Operation not permitted"):
        listed(acknowledgement(1, errno.EPERM))


BOX, OTHER = Address.parse("10.77.1.2"), Address.parse("10.77.2.2")
LISTED = (
    b"ipv4     2 udp      17 27 src=10.77.1.2 dst=8.8.4.4 sport=5 dport=53 [UNREPLIED] "
    b"src=8.8.4.4 dst=10.77.1.2 sport=53 dport=5 mark=7 zone=0 use=2\n"
)


@pytest.fixture
def kernel_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list with one connection, as the kernel writes it; one is tracked."""
    (tmp_path / "list").write_bytes(LISTED)
    (tmp_path / "count").write_text("1\n")
    monkeypatch.setattr(conntrack, "_LIST", tmp_path / "list")
    monkeypatch.setattr(conntrack, "_COUNT", tmp_path / "count")
    return tmp_path


def opened_by_box(*answers: Answer) -> list[Connection]:
    """What the box has opened; `answers`: the kernel's, if it is asked by netlink."""
    fake = FakeNetlink(answers)
    found = made_with(fake, lambda: conntrack.opened_by([BOX]))
    assert bool(fake.sent) == bool(answers)
    return found


@pytest.mark.usefixtures("kernel_list")
def test_few_connections_are_read_from_the_kernels_list() -> None:
    (found,) = opened_by_box()
    assert (found.source, found.destination_port, found.mark) == (BOX, 53, 7)


@pytest.mark.parametrize("why", ["many", "no list", "no count", "a line of another kernel"])
def test_else_they_are_asked_for_by_netlink(why: str, kernel_list: Path) -> None:
    match why:
        case "many":
            (kernel_list / "count").write_text("1001\n")
        case "no list":
            (kernel_list / "list").unlink()
        case "no count":
            (kernel_list / "count").unlink()
        case _:
            (kernel_list / "list").write_bytes(LISTED.replace(b"mark=7", b""))
    (found,) = opened_by_box(
        tracked(str(OTHER), "8.8.4.4", TCP, state=3, mark=6)
        + tracked(str(BOX), "8.8.4.4", UDP, ports=(5, 53), mark=7),
        done(1),
    )
    assert (found.source, found.destination_port, found.mark) == (BOX, 53, 7)


def test_grants_that_connections_carry_are_gathered() -> None:
    marks = (7, 0x08000009, 0x4000000B, 0x10000000, 0x80000000, 7)
    fake = FakeNetlink(
        [*(tracked("10.77.1.2", "8.8.4.4", TCP, mark=mark) for mark in marks), done(1)]
    )
    assert made_with(fake, conntrack.grants) == {0, 7, 9, 11}


def test_when_no_file_is_left_it_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.socket", no_more)
    with pytest.raises(KernelUnsure, match="Too many open files"):
        conntrack.grants()
