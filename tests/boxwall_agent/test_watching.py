"""What happens on the node by itself is looked at; what is lost of it, too."""

import asyncio
import errno
import struct
from collections.abc import Callable, Iterator

import pytest

from boxwall.policy import Address
from boxwall_agent import watching
from boxwall_agent.errors import KernelUnsure
from boxwall_agent.link_news import Link
from boxwall_agent.netlink import Flags, attribute, message, text
from boxwall_agent.nft.kernel import Generation
from boxwall_agent.watching import NodeWatch, TableWatch
from fakes.netlink_socket import PORT, Answer, FakeNetlink, made_with
from fakes.rtnetlink_messages import DELLINK, NEWLINK, link

NEWRULE, NEWGEN = 0x0A06, 0x0A0F
STRANGER = 777


class FakeAgent:
    """Remembers what it was told; its socket too. `repairs`: what each raises, or how many
    transactions there are in it."""

    port = PORT

    def __init__(self, *repairs: int | Exception) -> None:
        self.repairs = list(repairs)
        self.asked = 0
        self.transactions = 10
        self.links: list[Link] = []
        self.on_attached: Callable[[], None] = lambda: None
        self.gone: list[int] = []
        self.addresses: list[frozenset[Address]] = []
        self.untold = 0
        """So often the kernel cannot be told the node's addresses."""
        self.indexes: frozenset[int] = frozenset()
        self.told = asyncio.Event()

    def repair(self) -> None:
        self.asked += 1
        self.told.set()
        answer = self.repairs.pop(0) if self.repairs else 1
        if isinstance(answer, Exception):
            raise answer
        self.transactions += answer

    def generation(self) -> Generation:
        return Generation(self.transactions, 1)

    def link_is(self, link: Link) -> None:
        self.links.append(link)
        self.told.set()

    def interface_gone(self, index: int) -> None:
        self.gone.append(index)
        self.told.set()

    def interface_indexes(self) -> frozenset[int]:
        return self.indexes

    def node_has(self, addresses: frozenset[Address]) -> bool:
        self.addresses.append(addresses)
        if self.untold:
            self.untold -= 1
            return False
        self.told.set()
        return True


def change(
    kind: int = NEWRULE, *, by: int = STRANGER, family: int = 1, table: str = "boxwall"
) -> bytes:
    """What nf_tables tells of a transaction."""
    told = message(kind, Flags(0), 0, text(1, table), family=family)
    return told[:12] + struct.pack("=I", by) + told[16:]


def table_watch(
    fake: FakeNetlink, agent: FakeAgent, observe: Callable[[], None] = lambda: None
) -> TableWatch:
    """A watch whose kernel is a test."""
    return made_with(fake, lambda: TableWatch(agent.repair, agent, observe))  # type: ignore[arg-type]  # what it uses of one


def node_watch(fake: FakeNetlink, agent: FakeAgent, *more: str) -> NodeWatch:
    """A watch whose kernel is a test."""
    addresses = frozenset(map(Address.parse, more))
    return made_with(fake, lambda: NodeWatch(agent, addresses))  # type: ignore[arg-type]  # what it uses of one


@pytest.fixture
def fake() -> Iterator[FakeNetlink]:
    """The kernel's end."""
    fake = FakeNetlink()
    yield fake
    fake.close()


async def watch_table(agent: FakeAgent, fake: FakeNetlink, answers: list[Answer]) -> int:
    """Until all answers are read; return how many repairs were counted."""
    repaired: list[None] = []
    fake.answers = [*answers, errno.EAGAIN]
    watch = table_watch(fake, agent, lambda: repaired.append(None))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run())
        async with asyncio.timeout(5):
            await agent.told.wait()
        running.cancel()
    return len(repaired)


@pytest.mark.parametrize(
    "told",
    [
        [change()],
        [change(by=PORT), change()],
        [change(by=PORT) + change()],
        [errno.ENOBUFS],
        [change(by=PORT), errno.ENOBUFS, change(by=PORT)],
    ],
    ids=["a change", "after ours", "in one datagram", "overrun", "overrun among ours"],
)
async def test_a_table_that_may_have_been_changed_is_repaired(
    fake: FakeNetlink, told: list[Answer]
) -> None:
    agent = FakeAgent()
    assert await watch_table(agent, fake, told) == 1
    assert agent.asked == 1


@pytest.mark.parametrize(
    ("transactions", "told_of_it", "repairs"),
    [
        (1, errno.ENOBUFS, 1),
        (1, change(), 1),
        (2, errno.ENOBUFS, 2),
        (2, change(), 2),
        (2, change(table="somebody's"), 1),
    ],
    ids=[
        "its own messages were too many",
        "another came just before it",
        "too many, and there was another",
        "another came after it",
        "another came after it, to another table",
    ],
)
async def test_a_repair_is_repeated_if_the_table_may_have_been_changed_after_it(
    fake: FakeNetlink,
    transactions: int,
    told_of_it: Answer,
    repairs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "_RETRY", 0)
    agent = FakeAgent(transactions)
    watch = table_watch(fake, agent)
    fake.answers = [change(), errno.EAGAIN, told_of_it, errno.EAGAIN]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run())
        async with asyncio.timeout(5):
            for _ in range(50):  # as often as it can have to do with so little
                await asyncio.sleep(0)
        running.cancel()
    assert agent.asked == repairs


async def test_a_repair_that_fails_is_tried_again(
    fake: FakeNetlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_RETRY", 0)
    agent = FakeAgent(KernelUnsure("ENOBUFS"))
    fake.answers = [change()]
    repaired = asyncio.Event()
    watch = table_watch(fake, agent, repaired.set)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run())
        async with asyncio.timeout(5):
            await repaired.wait()
        running.cancel()
    assert agent.asked == 2


@pytest.mark.parametrize(
    "told",
    [
        change(by=PORT),
        change(NEWGEN),
        change(table="somebody's"),
        change(family=2),
        change()[:30],
        b"",
        struct.pack("=IHHII", 20, 3, 0, 0, STRANGER) + bytes(4),
    ],
    ids=["ours", "a generation", "another table", "another family", "cut", "nothing", "no change"],
)
def test_what_is_no_foreign_change_is_passed_over(fake: FakeNetlink, told: bytes) -> None:
    watch = table_watch(fake, FakeAgent())
    fake.answers = [told]
    assert not watch._read_all()
    watch.close()
    assert fake.is_closed
    assert not fake.is_blocking


def test_what_else_goes_wrong_is_not_hidden(fake: FakeNetlink) -> None:
    watch = table_watch(fake, FakeAgent())
    fake.answers = [errno.EBADF]
    with pytest.raises(OSError, match="Bad file descriptor"):
        watch._read_all()


async def watch_node(
    agent: FakeAgent, fake: FakeNetlink, looks: list[tuple[set[str], dict[int, str]]]
) -> None:
    """Until there is nothing more to look at."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look() -> tuple[frozenset[Address], dict[int, Link]]:
        if not looks:
            loop.call_soon_threadsafe(ended.set)
            return frozenset(), {}
        addresses, names = looks.pop(0)
        links = {index: Link(index=index, name=name) for index, name in names.items()}
        return frozenset(map(Address.parse, addresses)), links

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "_look", look)
        patch.setattr(watching, "_SETTLE", 0)
        watch = node_watch(fake, agent, "192.0.2.1")
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watch.run())
            async with asyncio.timeout(5):
                await ended.wait()
            running.cancel()
        watch.close()


async def test_the_nodes_addresses_are_looked_at_after_each_change(fake: FakeNetlink) -> None:
    agent = FakeAgent()
    fake.answers = [link(NEWLINK, 3)]
    await watch_node(agent, fake, [({"10.0.0.1"}, {}), ({"10.0.0.1", "fd00::1"}, {})])
    assert [sorted(map(str, one)) for one in agent.addresses[:2]] == [
        ["10.0.0.1", "192.0.2.1"],
        ["10.0.0.1", "192.0.2.1", "fd00::1"],
    ]


async def test_an_interface_that_is_gone_is_told_at_once_and_found_by_a_look(
    fake: FakeNetlink,
) -> None:
    agent = FakeAgent()
    agent.indexes = frozenset((3, 4))
    fake.answers = [link(NEWLINK, 4) + link(DELLINK, 9)]
    await watch_node(agent, fake, [(set(), {3: "box3", 4: "box4"}), (set(), {4: "box4"})])
    assert agent.gone[:2] == [9, 3]


async def test_what_an_interface_is_now_is_told_at_once_and_found_by_a_look(
    fake: FakeNetlink,
) -> None:
    agent = FakeAgent()
    agent.indexes = frozenset((3, 4))
    port = attribute(3, b"box4\0"), attribute(10, struct.pack("=I", 8))
    fake.answers = [link(NEWLINK, 4, *port, flags=1)]
    await watch_node(agent, fake, [(set(), {3: "renamed"}), (set(), {})])
    assert agent.links[:2] == [
        Link(index=3, name="renamed"),
        Link(index=4, name="box4", master=8, is_up=True),
    ]


async def test_a_port_that_leaves_its_bridge_is_not_gone(fake: FakeNetlink) -> None:
    """A bridge tells of it by the message for a removed interface, in its own family."""
    agent = FakeAgent()
    fake.answers = [link(DELLINK, 9, family=7) + link(DELLINK, 8)]
    await watch_node(agent, fake, [(set(), {}), (set(), {})])
    assert agent.gone == [8]


async def test_notifications_that_were_lost_are_a_reason_to_look(fake: FakeNetlink) -> None:
    agent = FakeAgent()
    agent.indexes = frozenset((3,))
    fake.answers = [errno.ENOBUFS]
    await watch_node(agent, fake, [(set(), {3: "box3"}), (set(), {})])
    assert agent.gone[0] == 3


async def test_what_lies_upon_a_boxs_interface_is_found_by_a_look(fake: FakeNetlink) -> None:
    agent = FakeAgent()
    agent.indexes = frozenset((3,))
    upper = Link(index=5, name="box3.7", lower=3)
    others = {index: Link(index=index, name=f"box{index}") for index in (3, 4)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "_look", lambda: (frozenset(), {**others, 5: upper}))
        watch = node_watch(fake, agent)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watch.run())
            async with asyncio.timeout(5):
                await agent.told.wait()
            running.cancel()
    assert agent.links == [others[3], upper]


async def test_addresses_that_the_kernel_was_not_told_are_told_again(
    fake: FakeNetlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_RETRY", 0)
    monkeypatch.setattr(watching, "_look", lambda: (frozenset(), {}))
    agent = FakeAgent()
    agent.untold = 2
    watch = node_watch(fake, agent, "192.0.2.1")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run())
        async with asyncio.timeout(20):
            await agent.told.wait()
        running.cancel()
    assert agent.addresses == [frozenset((Address.parse("192.0.2.1"),))] * 3


async def test_a_look_that_fails_closes_no_box_and_is_repeated(
    fake: FakeNetlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_RETRY", 0)
    agent = FakeAgent()
    agent.indexes = frozenset((3,))
    looks: list[Exception | dict[int, Link]] = [KernelUnsure("?"), {3: Link(index=3, name="a")}]

    def look() -> tuple[frozenset[Address], dict[int, Link]]:
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return frozenset(), found

    monkeypatch.setattr(watching, "_look", look)
    watch = node_watch(fake, agent)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run())
        async with asyncio.timeout(5):
            await agent.told.wait()
        running.cancel()
    assert agent.links == [Link(index=3, name="a")]
    assert agent.gone == []


async def test_what_else_goes_wrong_with_the_node_is_not_hidden(fake: FakeNetlink) -> None:
    fake.answers = [errno.EBADF]
    with pytest.RaisesGroup(OSError):
        await watch_node(FakeAgent(), fake, [(set(), {})])


@pytest.mark.parametrize(
    "told",
    [b"", link(DELLINK, 9)[:20], struct.pack("=IHHII", 4, DELLINK, 0, 0, 0), b"\xff" * 7],
    ids=["nothing", "cut", "an impossible length", "half of a header"],
)
def test_what_cannot_be_read_of_links_removes_none(fake: FakeNetlink, told: bytes) -> None:
    agent = FakeAgent()
    node_watch(fake, agent)._act_on(told)
    assert agent.gone == []
