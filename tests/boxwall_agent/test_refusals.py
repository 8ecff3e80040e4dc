"""What is refused is counted, limited for each box, and told to the control plane in time."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from boxwall.policy import Address, DenyAll, Destination, Name, Protocol, Reason, Surroundings
from boxwall.wire.node_stream import Request
from boxwall_agent import refusals
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.nflog import Logged
from boxwall_agent.recorder import Recorder
from boxwall_agent.refusals import Refusals
from lab.packets import udp

WHERE = Destination(
    domain=Name.parse("b.com"), address=Address.parse("8.8.4.4"), port=443, protocol=Protocol.TCP
)


def hosted(box_id: str) -> Hosted:
    return Hosted(
        box_id=box_id,
        interfaces=(),
        standing=Standing.ENFORCED,
        revision=3,
        policy=DenyAll(),
        message="",
    )


class Bench:
    """Refusals, and who is told of them."""

    def __init__(self, *, per_second: int = 2) -> None:
        self.observed: list[str] = []
        self.sent: list[Request] = []
        self.is_heard = True
        self.told = asyncio.Event()
        self.seen = asyncio.Event()
        self.refusals = Refusals(self._send, self._observe, per_second)

    def _observe(self, reason: str) -> None:
        self.observed.append(reason)
        self.seen.set()

    def _send(self, request: Request) -> bool:
        if self.is_heard:
            self.sent.append(request)
        self.told.set()
        return self.is_heard


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, in a list of one."""
    now = [100.0]
    monkeypatch.setattr("boxwall_agent.refusals.time.monotonic", lambda: now[0])
    return now


def test_one_box_cannot_fill_the_log_and_takes_nothing_from_another(at: list[float]) -> None:
    bench = Bench(per_second=2)
    for _ in range(5):
        bench.refusals.by_name(hosted("b1"), WHERE, Reason.NAME_MISMATCH, None)
    bench.refusals.by_name(hosted("b2"), WHERE, Reason.NAME_NOT_ALLOWED, None)
    assert bench.observed == ["NAME_MISMATCH", "NAME_MISMATCH", "NAME_NOT_ALLOWED"]
    at[0] += 1
    bench.refusals.by_name(hosted("b1"), WHERE, Reason.NAME_MISMATCH, None)
    assert len(bench.observed) == 4


def test_a_refusal_is_one_event_with_its_fields() -> None:
    with capture_logs() as logged:
        Bench().refusals.add(hosted("b1"), WHERE, Reason.NAME_MISMATCH, None)
    (event,) = logged
    assert event == {
        "event": "refused",
        "log_level": "info",
        "box": "b1",
        "name": "b.com",
        "address": "8.8.4.4",
        "port": 443,
        "protocol": "tcp",
        "reason": "NAME_MISMATCH",
        "rule": None,
        "revision": 3,
    }


async def report(bench: Bench, times: int) -> None:
    """Let it report so often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refusals, "_REPORT_INTERVAL", 0)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(bench.refusals.run())
            async with asyncio.timeout(5):
                for _ in range(times):
                    bench.told.clear()
                    await bench.told.wait()
            running.cancel()


async def test_what_was_gathered_is_told_once() -> None:
    bench = Bench()
    bench.refusals.add(hosted("b1"), WHERE, Reason.NAME_MISMATCH, None)
    bench.refusals.add(hosted("b1"), WHERE, Reason.NAME_MISMATCH, None)
    await report(bench, 1)
    (request,) = bench.sent
    assert "b1" in str(request)
    bench.sent.clear()
    bench.refusals.add(hosted("b2"), WHERE, Reason.NAME_MISMATCH, None)
    await report(bench, 1)
    (request,) = bench.sent
    assert "b2" in str(request)
    assert "b1" not in str(request)


async def test_what_nobody_can_be_told_now_waits() -> None:
    bench = Bench()
    bench.is_heard = False
    bench.refusals.add(hosted("b1"), WHERE, Reason.NAME_MISMATCH, None)
    await report(bench, 3)
    assert bench.sent == []
    bench.is_heard = True
    await report(bench, 1)
    assert len(bench.sent) == 1


class FakeGroup:
    """Records that a test puts in."""

    def __init__(self, *records: Logged) -> None:
        self.records = list(records)
        self.socket, self.wakes = socket.socketpair()

    def read(self) -> Iterator[Logged]:
        while self.records:
            yield self.records.pop(0)


class FakeEnforcer:
    """b1 on interface 3."""

    surroundings = Surroundings()

    def hosted_on(self, index: int) -> Hosted | None:
        return hosted("b1") if index == 3 else None


async def test_records_of_the_kernel_become_events_of_their_box() -> None:
    packet = udp("10.77.1.2", "8.8.4.4", 53, b"q")
    group = FakeGroup(
        Logged("policy", 99, 0, packet),
        Logged("policy", 3, 0, b"no packet"),
        Logged("policy", 3, 0, packet),
        Logged("quic", 3, 0, packet),
    )
    bench = Bench()
    recorder = Recorder(group, FakeEnforcer(), bench.refusals)  # type: ignore[arg-type]  # of the same shape
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recorder.run())
        group.wakes.send(b"!")
        async with asyncio.timeout(5):
            await bench.seen.wait()
        running.cancel()
    group.socket.close()
    group.wakes.close()
    assert bench.observed == ["DENY_ALL", "QUIC_BY_NAME"]
