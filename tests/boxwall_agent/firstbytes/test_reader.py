"""Packets from the queue get their verdicts; what goes wrong denies, and only there."""

import asyncio
import socket
from collections.abc import Iterator, Sequence

import pytest

from boxwall.policy import Address, Destination, Name, Protocol, Reason
from boxwall_agent.firstbytes import reader
from boxwall_agent.firstbytes.reader import FORGOTTEN_AFTER, FirstBytes
from boxwall_agent.hosted import Hosted
from boxwall_agent.judging import Judgement, Refusal
from boxwall_agent.marks import REFUSED, VERDICT_ACKNOWLEDGED, VERDICT_READ
from boxwall_agent.nfqueue import Queued
from boxwall_agent.ruleset import Interface
from fakes.tcp_talk import only_a_com
from fakes.tls_messages import hello_for, server_hello
from lab.packets import tcp, udp

BOX, OTHER_BOX, SERVER = "10.77.1.2", "10.77.2.2", "8.8.4.4"
SYN, SYN_ACK, DATA = 0x02, 0x12, 0x18
OUTSIDE = 99
GOOD, EVIL = hello_for("a.com"), hello_for("b.com")


class FakeQueue:
    """Gives what a test puts in, and remembers the verdicts."""

    def __init__(self) -> None:
        self.waiting: list[Queued] = []
        self.verdicts: dict[int, str | int] = {}
        self.answered = asyncio.Event()
        self.socket, self.wakes = socket.socketpair()

    def read(self) -> Iterator[Queued]:
        while self.waiting:
            yield self.waiting.pop(0)

    def accept(self, queued: Queued) -> None:
        self._answer(queued, "accept")

    def drop(self, queued: Queued) -> None:
        self._answer(queued, "drop")

    def repeat(self, queued: Queued, mark: int) -> None:
        self._answer(queued, mark)

    def close(self) -> None:
        self.socket.close()
        self.wakes.close()

    def _answer(self, queued: Queued, verdict: str | int) -> None:
        assert queued.id not in self.verdicts, "answered twice"
        self.verdicts[queued.id] = verdict
        self.answered.set()


class FakeBoxes:
    """b1 on interface 1, b2 on interface 2."""

    def __init__(self) -> None:
        self.hosted = {
            number: Hosted(
                box_id=f"b{number}",
                interfaces=(
                    Interface(
                        name=f"box{number}",
                        index=number,
                        addresses=(Address.parse(f"10.77.{number}.2"),),
                    ),
                ),
            )
            for number in (1, 2)
        }
        self.judged: list[tuple[str, str, Name | None]] = []
        self.told: list[tuple[str, Destination, Refusal]] = []
        self.fails = False

    def hosted_on(self, index: int) -> Hosted | None:
        return self.hosted.get(index)

    def judge(self, box_id: str, address: Address, name: Name | None) -> Judgement:
        if self.fails:
            raise ValueError("a mistake in here")
        self.judged.append((box_id, str(address), name))
        return only_a_com(name)

    def refused(self, box_id: str, destination: Destination, refusal: Refusal) -> None:
        self.told.append((box_id, destination, refusal))


class Bench:
    """A reader between a fake queue and fake boxes."""

    def __init__(self) -> None:
        self.queue = FakeQueue()
        self.boxes = FakeBoxes()
        self.now = 100.0
        self.reader = FirstBytes(self.queue, self.boxes, lambda: self.now)  # type: ignore[arg-type]  # of the same shape
        self._next = 0

    def out(self, packet: bytes, *, index: int = 1, to: int = OUTSIDE) -> str | int:
        """A packet comes in by an interface; return its verdict."""
        return self.all([(packet, index, to)])[0]

    def all(self, packets: Sequence[tuple[bytes, int, int]]) -> list[str | int]:
        """Several wait at once."""
        first = self._next
        for packet, came_by, goes_by in packets:
            self.queue.waiting.append(Queued(self._next, 0, came_by, goes_by, packet))
            self._next += 1
        while self.queue.waiting:
            self.reader._read()
        return [self.queue.verdicts[number] for number in range(first, self._next)]

    def open(self, *, source: str = BOX, index: int = 1, port: int = 40000) -> None:
        """A connection to the server."""
        syn = tcp(source, SERVER, 443, flags=SYN, sequence=1000, source_port=port)
        assert self.out(syn, index=index) == "accept"
        assert self.back(flags=SYN_ACK, at=4999, got=0, to=source, index=index, port=port) == (
            "accept"
        )

    def says(
        self, data: bytes, *, source: str = BOX, index: int = 1, port: int = 40000
    ) -> str | int:
        """The box begins its stream."""
        return self.out(
            tcp(
                *(source, SERVER, 443),
                flags=DATA,
                sequence=1001,
                acknowledged=5000,
                data=data,
                source_port=port,
            ),
            index=index,
        )

    def back(
        self,
        data: bytes = b"",
        *,
        got: int,
        at: int = 5000,
        flags: int = 0x10,
        to: str = BOX,
        index: int = 1,
        port: int = 40000,
    ) -> str | int:
        """The server answers."""
        answer = tcp(
            *(SERVER, to, port),
            flags=flags,
            sequence=at,
            acknowledged=1001 + got,
            data=data,
            source_port=443,
        )
        return self.out(answer, index=OUTSIDE, to=index)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.queue.close()


def test_a_good_name_is_marked_as_read_then_as_acknowledged(bench: Bench) -> None:
    bench.open()
    assert bench.says(GOOD) == VERDICT_READ | 7
    assert bench.back(server_hello(), got=len(GOOD)) == VERDICT_ACKNOWLEDGED | 7
    assert bench.boxes.judged == [("b1", SERVER, Name.parse("a.com"))]
    assert bench.boxes.told == []


def test_a_wrong_name_is_refused_and_told_once(bench: Bench) -> None:
    bench.open()
    assert bench.says(EVIL) == REFUSED
    assert bench.says(EVIL) == REFUSED
    assert bench.back(got=len(EVIL)) == REFUSED
    where = Destination(
        domain=Name.parse("b.com"), address=Address.parse(SERVER), port=443, protocol=Protocol.TCP
    )
    assert bench.boxes.told == [("b1", where, Refusal(Reason.NAME_MISMATCH))]


def test_a_segment_that_cannot_be_read_yet_is_dropped(bench: Bench) -> None:
    bench.open()
    assert bench.out(tcp(BOX, SERVER, 443, flags=DATA, sequence=1050, data=b"x")) == "drop"


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x45", udp(BOX, SERVER, 443, b"x"), tcp(BOX, SERVER, 443)[:30]],
    ids=["nothing", "one octet", "UDP", "half of a header"],
)
def test_what_is_no_segment_is_dropped(bench: Bench, packet: bytes) -> None:
    assert bench.out(packet) == "drop"


def test_what_belongs_to_no_box_is_dropped(bench: Bench) -> None:
    assert bench.out(tcp(BOX, SERVER, 443), index=OUTSIDE, to=OUTSIDE) == "drop"
    assert bench.out(tcp(BOX, SERVER, 443), index=0, to=0) == "drop"


def test_an_answer_to_nothing_that_was_read_is_dropped(bench: Bench) -> None:
    assert bench.back(got=0) == "drop"


def test_an_answer_to_another_boxs_connection_is_dropped(bench: Bench) -> None:
    bench.open()
    bench.says(GOOD)
    assert bench.back(server_hello(), got=len(GOOD), index=2) == "drop"


def test_boxes_with_the_same_address_have_connections_of_their_own(bench: Bench) -> None:
    bench.open(index=1)
    bench.open(index=2)
    assert bench.says(GOOD, index=1) == VERDICT_READ | 7
    assert bench.says(EVIL, index=2) == REFUSED
    assert bench.back(server_hello(), got=len(GOOD), index=1) == VERDICT_ACKNOWLEDGED | 7
    assert [box_id for box_id, _, _ in bench.boxes.judged] == ["b1", "b2"]


def test_a_mistake_ends_the_connection_it_happens_on_and_no_other(bench: Bench) -> None:
    bench.open()
    bench.open(source=OTHER_BOX, index=2)
    bench.boxes.fails = True
    assert bench.says(GOOD) == REFUSED
    bench.boxes.fails = False
    assert bench.says(GOOD, source=OTHER_BOX, index=2) == VERDICT_READ | 7


def test_a_mistake_does_not_hold_up_what_waits_behind_it(bench: Bench) -> None:
    bench.open()
    bench.boxes.fails = True
    good = tcp(BOX, SERVER, 443, flags=DATA, sequence=1001, acknowledged=5000, data=GOOD)
    assert bench.all([(good, 1, OUTSIDE), (b"", 1, OUTSIDE)]) == [REFUSED, "drop"]


def test_more_than_is_answered_at_a_time_is_answered_all_the_same(bench: Bench) -> None:
    packets = [
        (tcp(BOX, SERVER, 443, source_port=port), 1, OUTSIDE) for port in range(1000, 1000 + 200)
    ]
    assert bench.all(packets) == ["accept"] * 200


def test_a_box_with_too_many_connections_loses_its_oldest_and_no_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "OF_A_BOX", 3)
    bench.open(source=OTHER_BOX, index=2)
    for port in (1, 2, 3, 4):
        bench.open(port=port)
    assert bench.says(GOOD, source=OTHER_BOX, index=2) == VERDICT_READ | 7
    assert [bench.says(GOOD, port=port) for port in (2, 3, 4)] == [VERDICT_READ | 7] * 3
    assert bench.says(GOOD, port=1) == REFUSED, "its opening is forgotten"


def test_what_says_nothing_for_long_is_forgotten_and_refused_later(bench: Bench) -> None:
    bench.open(port=1)
    bench.now += FORGOTTEN_AFTER / 2
    bench.open(port=2)
    bench.now += FORGOTTEN_AFTER / 2 + 1
    bench.reader._forget()
    assert bench.says(GOOD, port=2) == VERDICT_READ | 7
    assert bench.says(GOOD, port=1) == REFUSED


def test_what_was_read_for_a_box_that_is_gone_is_forgotten(bench: Bench) -> None:
    bench.open()
    bench.open(source=OTHER_BOX, index=2)
    bench.reader.forget_box("b1")
    bench.reader.forget_box("never heard of")
    assert bench.says(GOOD) == REFUSED
    assert bench.says(GOOD, source=OTHER_BOX, index=2) == VERDICT_READ | 7


async def test_it_reads_when_there_is_something_until_it_is_cancelled(bench: Bench) -> None:
    bench.queue.waiting.append(Queued(0, 0, 1, OUTSIDE, tcp(BOX, SERVER, 443)))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.reader.run())
        bench.queue.wakes.send(b"!")
        async with asyncio.timeout(5):
            await bench.queue.answered.wait()
        running.cancel()
    assert bench.queue.verdicts == {0: "accept"}
    assert not asyncio.get_running_loop().remove_reader(bench.queue.socket)
