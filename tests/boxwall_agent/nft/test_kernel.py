"""What the socket to nf_tables makes of the kernel's answers, and of those that are lost."""

import errno
from collections.abc import Iterable, Iterator

import pytest

from boxwall_agent.errors import KernelRejected, KernelUnsure, KernelUnusable
from boxwall_agent.netlink import attribute, be32, be64, nested, text
from boxwall_agent.nft.batch import OUR_MARK, Batch, TableFlags
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.kernel import Counted, FoundTable, Generation, Nftables, open_nftables
from boxwall_agent.nft.objects import Chain, Element
from fakes.netlink_socket import (
    INTERRUPTED,
    PORT,
    Answer,
    FakeNetlink,
    acknowledgement,
    done,
    listed,
    put_in_place,
)

NEWTABLE, NEWRULE, NEWSET, NEWSETELEM, NEWGEN = 0x0A00, 0x0A06, 0x0A09, 0x0A0C, 0x0A0F


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNetlink]:
    """The kernel's end."""
    fake = put_in_place(monkeypatch)
    yield fake
    fake.close()


def two_chains() -> Batch:
    """Begins with number 1: its steps are 2 and 3."""
    batch = Batch()
    for name in ("a", "b"):
        batch.add_chain(Chain(name=name))
    return batch


def test_a_transaction_is_over_when_its_last_message_is_acknowledged(fake: FakeNetlink) -> None:
    fake.answers = [acknowledgement(3)]
    Nftables().commit(two_chains())
    assert len(fake.sent) == 1


def test_numbers_go_on_from_one_transaction_to_the_next(fake: FakeNetlink) -> None:
    nft = Nftables()
    fake.answers = [acknowledgement(3)]
    nft.commit(two_chains())
    fake.answers = [acknowledgement(7)]
    nft.commit(two_chains())


def test_nothing_to_do_is_not_sent(fake: FakeNetlink) -> None:
    Nftables().commit(Batch())
    assert fake.sent == []


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([acknowledgement(2, errno.ENOENT), acknowledgement(3)], "chain a: No such file"),
        ([acknowledgement(2, errno.ENOENT) + acknowledgement(3)], "chain a: No such file"),
        ([acknowledgement(3, errno.EEXIST)], "chain b: File exists"),
        ([acknowledgement(2, errno.EINVAL), acknowledgement(3, errno.EEXIST)], "chain a: Invalid"),
        ([acknowledgement(1, errno.ENOMEM)], "transaction: Cannot allocate"),
        ([acknowledgement(1, errno.EBUSY)], "transaction: Device or resource busy"),
    ],
    ids=["first step", "in one datagram", "last step", "both", "no memory", "busy"],
)
def test_what_the_kernel_refuses_is_told_with_the_step(
    fake: FakeNetlink, answers: list[Answer], said: str
) -> None:
    fake.answers = answers
    with pytest.raises(KernelRejected, match=said):
        Nftables().commit(two_chains())


def test_another_generation_is_told_by_its_number(fake: FakeNetlink) -> None:
    fake.answers = [acknowledgement(1, errno.ERESTART)]
    with pytest.raises(KernelRejected) as refused:
        Nftables().commit(two_chains(), generation=42)
    assert refused.value.errno == errno.ERESTART


@pytest.mark.parametrize(
    "answers",
    [[errno.ENOBUFS], [acknowledgement(2, errno.ENOENT), errno.ENOBUFS], [], [b""]],
    ids=["lost", "lost after an error", "none", "an empty datagram, then none"],
)
def test_an_answer_that_is_lost_leaves_it_open(fake: FakeNetlink, answers: list[Answer]) -> None:
    fake.answers = answers
    with pytest.raises(KernelUnsure):
        Nftables().commit(two_chains())


def test_a_signal_while_waiting_changes_nothing(fake: FakeNetlink) -> None:
    fake.answers = [errno.EINTR, acknowledgement(3)]
    Nftables().commit(two_chains())


def test_what_was_left_of_a_lost_answer_is_not_taken_for_the_next(fake: FakeNetlink) -> None:
    """The repair that follows a lost answer must not fail for what went wrong before."""
    nft = Nftables()
    fake.answers = [errno.ENOBUFS, acknowledgement(2, errno.ENOENT), acknowledgement(3)]
    with pytest.raises(KernelUnsure):
        nft.commit(two_chains())
    assert fake.answers == [], "while the socket is full, the next answers are lost as well"
    fake.answers = [acknowledgement(2, errno.ENOENT), acknowledgement(3), acknowledgement(7)]
    nft.commit(two_chains())


def test_what_is_too_large_has_changed_nothing(fake: FakeNetlink) -> None:
    fake.send_fails = errno.EMSGSIZE
    with pytest.raises(KernelRejected, match="too large"):
        Nftables().commit(two_chains())


def test_what_could_not_be_sent_leaves_it_open(fake: FakeNetlink) -> None:
    fake.send_fails = errno.ENOBUFS
    with pytest.raises(KernelUnsure, match="sending to the kernel failed"):
        Nftables().commit(two_chains())


# Reading -----------------------------------------------------------------------------------------


def test_the_generation_is_read(fake: FakeNetlink) -> None:
    fake.answers = [listed(NEWGEN, 1, be32(1, 42) + be32(2, 99) + text(3, "nft"))]
    assert Nftables().generation() == Generation(42, 99)


def test_our_table_is_read_with_its_owner(fake: FakeNetlink) -> None:
    body = text(1, "boxwall") + be32(2, 6) + attribute(6, OUR_MARK) + be32(7, PORT)
    fake.answers = [listed(NEWTABLE, 1, body)]
    nft = Nftables()
    assert nft.table() == FoundTable(
        flags=TableFlags.OWNER | TableFlags.PERSIST, is_ours=True, owner=PORT
    )
    assert nft.port == PORT


def test_a_table_of_somebody_else_is_told_from_ours(fake: FakeNetlink) -> None:
    fake.answers = [listed(NEWTABLE, 1, text(1, "boxwall") + be32(2, 0))]
    assert Nftables().table() == FoundTable(flags=TableFlags.NONE, is_ours=False, owner=None)


def test_a_table_that_is_not_there_is_none_and_other_errors_are_errors(fake: FakeNetlink) -> None:
    nft = Nftables()
    fake.answers = [acknowledgement(1, errno.ENOENT)]
    assert nft.table() is None
    fake.answers = [acknowledgement(2, errno.EPERM)]
    with pytest.raises(KernelRejected, match="GETTABLE: Operation not permitted"):
        nft.table()


def names(sequence: int, *found: str, flags: int = 2, is_all: bool = True) -> Iterable[bytes]:
    """A list of sets. Not `is_all`: more will come."""
    yield b"".join(
        listed(NEWSET, sequence, text(1, "boxwall") + text(2, name), flags) for name in found
    )
    if is_all:
        yield done(sequence)


def test_a_list_may_come_in_several_datagrams(fake: FakeNetlink) -> None:
    fake.answers = [*names(1, "a", "b", is_all=False), *names(1, "c")]
    assert Nftables().set_names() == ["a", "b", "c"]


def test_an_empty_list_is_a_list(fake: FakeNetlink) -> None:
    fake.answers = [done(1)]
    assert Nftables().rule_count() == 0


def test_answers_to_something_else_are_passed_over(fake: FakeNetlink) -> None:
    fake.answers = [*names(9, "old"), acknowledgement(0, errno.ENOENT), *names(1, "a")]
    assert Nftables().set_names() == ["a"]


def test_a_list_that_changed_while_it_was_read_is_read_again(fake: FakeNetlink) -> None:
    fake.answers = [*names(1, "a", flags=2 | INTERRUPTED), *names(2, "a", "b")]
    assert Nftables().set_names() == ["a", "b"]
    fake.answers = [*names(1, "a", is_all=False), done(1, 2 | INTERRUPTED), *names(2, "b")]
    assert Nftables().set_names() == ["b"]
    fake.answers = [done(1, number=errno.EINTR), *names(2, "c")]
    assert Nftables().set_names() == ["c"]


def test_a_list_that_changes_all_the_time_is_not_trusted(fake: FakeNetlink) -> None:
    for sequence in range(1, 20):
        fake.answers += names(sequence, "a", flags=2 | INTERRUPTED)
    with pytest.raises(KernelUnsure, match="GETSET: the table changes faster"):
        Nftables().set_names()


def test_a_list_that_ends_in_an_error_is_none(fake: FakeNetlink) -> None:
    fake.answers = [*names(1, "a", is_all=False), done(1, number=errno.ENOMEM)]
    with pytest.raises(KernelRejected, match="Cannot allocate memory"):
        Nftables().set_names()


def test_a_list_that_is_lost_is_not_a_short_one(fake: FakeNetlink) -> None:
    fake.answers = [*names(1, "a", is_all=False), errno.ENOBUFS]
    with pytest.raises(KernelUnsure):
        Nftables().set_names()


def element(key: bytes, *more: bytes) -> bytes:
    """One of a list of elements."""
    return nested(1, nested(1, attribute(1, key)), *more)


def test_elements_are_read_with_their_values(fake: FakeNetlink) -> None:
    value = nested(2, attribute(1, host32(5)))
    some = nested(3, element(b"1234", value), element(b"5678"))
    fake.answers = [
        listed(NEWSETELEM, 1, text(1, "boxwall") + text(2, "s") + some),
        listed(NEWSETELEM, 1, text(1, "boxwall") + text(2, "s")) + done(1),
    ]
    assert list(Nftables().elements("s")) == [
        Element("s", b"1234", host32(5)),
        Element("s", b"5678"),
    ]


def test_counters_are_read_by_key(fake: FakeNetlink) -> None:
    counted = nested(7, text(1, "counter") + nested(2, be64(1, 1500), be64(2, 3)))
    some = nested(3, element(b"1234", counted), element(b"5678"))
    fake.answers = [listed(NEWSETELEM, 1, some) + done(1)]
    assert Nftables().counters("refused") == {b"1234": Counted(packets=3, octets=1500)}


# Opening -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EPERM, "root, or CAP_NET_ADMIN"),
        (errno.EINVAL, "load the module nf_tables"),
        (errno.EOPNOTSUPP, "load the module nf_tables"),
        (errno.ENOMEM, "does not answer: the kernel refused GETGEN: Cannot allocate"),
    ],
)
def test_a_kernel_that_cannot_enforce_is_told_with_what_to_do(
    fake: FakeNetlink, number: int, advice: str
) -> None:
    fake.answers = [acknowledgement(1, number)]
    with pytest.raises(KernelUnusable, match=advice):
        open_nftables()
    assert fake.is_closed


def test_a_kernel_that_says_nothing_cannot_enforce(fake: FakeNetlink) -> None:
    with pytest.raises(KernelUnusable, match="does not answer"):
        open_nftables()
    assert fake.is_closed


def test_a_socket_that_answers_is_open_until_it_is_closed(fake: FakeNetlink) -> None:
    fake.answers = [listed(NEWGEN, 1, be32(1, 42) + be32(2, 99))]
    fake.option_fails = errno.EPERM
    with open_nftables() as nft:
        assert nft.port == PORT
        assert not fake.is_closed
    assert fake.is_closed


def test_without_netlink_nothing_can_be_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> FakeNetlink:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr("socket.socket", fails)
    with pytest.raises(KernelUnusable, match=r"cannot be used \(Address family"):
        Nftables()
