"""What is too much is turned away, and what counts most is not held up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import box_service_pb2, enforcement_service_pb2, stream_pb2
from boxwall.wire.errors import ErrorReason, WireError
from boxwall_server.config import Bounds, Security
from boxwall_server.service import health, registry
from boxwall_server.store.base import Store
from boxwall_server.store.mutations import Mutation, Outcome
from fakes.identities import bearing, token_entry, write_tokens
from fakes.service import Served, refusal, serving, until

Request = enforcement_service_pb2.StreamPoliciesRequest
ENTRIES = (
    token_entry("ann", "boxes.read", "boxes.write", tenant="acme"),
    token_entry("bob", "boxes.read", "boxes.write", tenant="beta"),
    token_entry("n1", "enforce", node="n1", tenant="acme"),
)
FEW = Bounds(calls_of_caller=2, streams_of_caller=2, observers_rate=1.0, observers_burst=3)
GET = box_service_pb2.GetBoxRequest(box_id="b1")
WATCH = box_service_pb2.WatchBoxesRequest()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Served]:
    """A server that tells callers apart, and lets each have two of everything."""
    tokens = write_tokens(tmp_path / "tokens.toml", *ENTRIES)
    async with serving(tmp_path, security=Security(tokens=tokens), bounds=FEW) as served:
        await bearing(served.boxes, "ann").CreateBox(
            box_service_pb2.CreateBoxRequest(box_id="b1", box={"node_id": "n1"})
        )
        yield served


async def ended(stream: Any) -> WireError:
    """Read a stream that must be refused."""

    async def first() -> Any:
        return await stream.read()

    return await refusal(first())


class Held:
    """Holds up what is written, until it is let go."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let_go = asyncio.Event()
        self.came = 0
        self._apply = store.apply
        monkeypatch.setattr(store, "apply", self._wait)

    async def _wait(self, mutation: Mutation) -> Outcome:
        self.came += 1
        await self.let_go.wait()
        return await self._apply(mutation)


async def test_one_caller_has_so_many_calls_and_others_are_served(guarded: Served) -> None:
    wait = box_service_pb2.WaitEnforcedRequest(box_id="b1")
    wait.timeout.FromSeconds(60)
    node = bearing(guarded.enforcement, "n1").StreamPolicies()
    await node.write(
        Request(subscribe=stream_pb2.Subscribe(node_id="n1", boxes=[{"box_id": "b1"}]))
    )
    await node.read()  # and does not acknowledge
    waiting = [bearing(guarded.boxes, "ann").WaitEnforced(wait) for _ in range(2)]
    await until(lambda: len(guarded.app.load.calls) == 2)

    error = await refusal(bearing(guarded.boxes, "ann").GetBox(GET))

    assert (error.status, error.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.OVERLOADED,
    )
    assert error.retry_after
    assert guarded.metric("boxwall_shed_calls_total") == 1
    other = await refusal(bearing(guarded.boxes, "bob").GetBox(GET))
    assert other.reason is ErrorReason.BOX_NOT_FOUND
    for one in waiting:
        one.cancel()
    await until(lambda: len(guarded.app.load.calls) == 0)
    await bearing(guarded.boxes, "ann").GetBox(GET)


async def test_one_caller_has_so_many_streams_and_gets_them_back(guarded: Served) -> None:
    streams = [bearing(guarded.boxes, "ann").WatchBoxes(WATCH) for _ in range(2)]
    for stream in streams:
        await stream.read()
    error = await ended(bearing(guarded.boxes, "ann").WatchBoxes(WATCH))
    assert error.reason is ErrorReason.OVERLOADED
    for stream in streams:
        stream.cancel()
    await until(lambda: len(guarded.app.load.streams) == 0)
    guarded.clock.advance(10.0)
    await bearing(guarded.boxes, "ann").WatchBoxes(WATCH).read()


async def test_observers_begin_at_a_rate_and_do_not_keep_nodes_out(guarded: Served) -> None:
    refused = []
    for _ in range(20):
        stream = bearing(guarded.boxes, "bob").WatchBoxes(WATCH)
        try:
            await stream.read()
        except grpc.aio.AioRpcError as error:
            refused.append(error)
        stream.cancel()
        await until(lambda: len(guarded.app.load.streams) == 0)
    assert len(refused) == 17

    node = bearing(guarded.enforcement, "n1").StreamPolicies()
    await node.write(Request(subscribe=stream_pb2.Subscribe(node_id="n1")))
    assert (await node.read()).WhichOneof("message") == "reset"


async def test_streams_that_are_denied_take_nothing_from_the_nodes(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.toml", *ENTRIES)
    async with serving(
        tmp_path, security=Security(tokens=tokens), stream_rate=0.001, stream_burst=1
    ) as served:
        for _ in range(5):
            denied = bearing(served.enforcement, "bob").StreamPolicies()
            await denied.write(Request(subscribe=stream_pb2.Subscribe(node_id="n1")))
            assert (await ended(denied)).reason is ErrorReason.PERMISSION_DENIED
        node = bearing(served.enforcement, "n1").StreamPolicies()
        await node.write(Request(subscribe=stream_pb2.Subscribe(node_id="n1")))
        assert (await node.read()).WhichOneof("message") == "reset"


async def test_few_writes_are_worked_on_at_once_and_nodes_do_not_wait_for_them(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.create("b1")
    agent = await served.hosting("b1")
    held = Held(served.store, monkeypatch)
    writes = [asyncio.ensure_future(served.create(f"c{number}")) for number in range(300)]
    await until(lambda: served.app.load.slots.waiting == 300 - 128)
    assert held.came == 128

    await agent.acknowledge()  # is heard, and a read is answered, while all slots are taken
    assert (await served.get("b1")).id == "b1"

    held.let_go.set()
    await asyncio.gather(*writes)
    assert served.app.load.slots.waiting == 0


async def test_a_call_that_only_waits_for_enforcement_lets_others_write(served: Served) -> None:
    await served.create("b1")
    await served.hosting("b1")
    timeout = {"seconds": 60}
    waiting = [asyncio.ensure_future(served.update("b1", wait_timeout=timeout)) for _ in range(200)]
    async with asyncio.timeout(10):
        await until(lambda: len(served.app.load.calls) == 200)
        await served.create("b2")
    for one in waiting:
        one.cancel()


async def test_a_write_whose_deadline_has_passed_before_its_turn_is_not_made(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(served.store, monkeypatch)
    writes = [asyncio.ensure_future(served.create(f"c{number}")) for number in range(128)]
    await until(lambda: held.came == 128)
    request = box_service_pb2.CreateBoxRequest(box_id="late")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.boxes.CreateBox(request, timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: served.app.load.slots.waiting == 0)
    held.let_go.set()
    await asyncio.gather(*writes)
    assert (await refusal(served.boxes.GetBox(box_service_pb2.GetBoxRequest(box_id="late")))).reason


async def test_strangers_are_refused_before_their_request_is_read(guarded: Served) -> None:
    call: Any = guarded.channel.stream_unary("/boxwall.v1.BoxService/GetBox")()
    async with asyncio.timeout(5):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_request_that_does_not_come_is_not_waited_for_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "REQUEST_TIMEOUT", 0.05)
    call: Any = served.channel.stream_unary("/boxwall.v1.BoxService/GetBox")()
    async with asyncio.timeout(5):
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "no request came" in await call.details()


async def test_a_call_without_a_request_is_refused(served: Served) -> None:
    call: Any = served.channel.stream_unary("/boxwall.v1.BoxService/GetBox")()
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_thousands_of_calls_at_the_same_moment_are_all_answered(served: Served) -> None:
    await served.create("b1")
    calls = [served.boxes.GetBox(GET) for _ in range(2_500)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [one for one in answers if isinstance(one, BaseException)] == []


async def test_health_is_watched_by_so_many(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    monkeypatch.setattr(health, "MOST_WATCHES", 2)
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
    for watch in watches:
        await watch.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Watch(health_pb2.HealthCheckRequest()).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    watches[0].cancel()
    for _ in range(100):
        again = stub.Watch(health_pb2.HealthCheckRequest())
        try:
            await again.read()
            break
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.01)
    else:
        raise AssertionError("a place that was given back is not given again")
