"""The node's links and addresses: all of them, of one moment, or an error."""

import errno

import pytest

from boxwall.policy import Address
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.link_news import Link
from boxwall_agent.netlink import attribute, text
from boxwall_agent.rtnetlink import links, node_addresses
from fakes.netlink_socket import INTERRUPTED, Answer, FakeNetlink, done, put_in_place
from fakes.rtnetlink_messages import ADDRESS, NAME, NEWLINK, UP, address, link

ONE = link(NEWLINK, 1, text(NAME, "lo"), flags=UP)
TWO = link(NEWLINK, 2, text(NAME, "eth0"), flags=UP)


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> FakeNetlink:
    """A kernel that says this."""
    return put_in_place(monkeypatch, *answers)


def test_every_link_of_every_datagram_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = answering(monkeypatch, ONE, TWO + done(1))
    assert links() == {1: Link(index=1, name="lo"), 2: Link(index=2, name="eth0")}
    assert fake.is_closed


def test_every_address_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, address(attribute(ADDRESS, bytes((10, 0, 0, 1)))), done(1))
    assert node_addresses() == {Address.parse("10.0.0.1")}


def test_a_list_that_changed_while_it_was_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it lacks may be there: a box's interface would be taken for gone."""
    answering(monkeypatch, TWO, done(1, flags=2 | INTERRUPTED), ONE + TWO, done(1))
    assert links().keys() == {1, 2}


def test_a_list_that_never_holds_still_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, *[done(1, flags=2 | INTERRUPTED)] * 100)
    with pytest.raises(KernelUnsure, match="faster than they can be listed"):
        links()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (errno.ENOBUFS, KernelUnsure),
        (errno.EAGAIN, KernelUnsure),
        (done(1, number=errno.EPERM), KernelRejected),
    ],
    ids=["an overrun", "no answer", "refused"],
)
def test_half_a_list_is_no_list(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, error: type[Exception]
) -> None:
    answering(monkeypatch, ONE, answer)
    with pytest.raises(error):
        links()
