"""The clock of the server's machine is set, forward or back, while it serves.

What lasts so long (silence, acknowledgements, waits) goes by a clock that only counts. What ends
at a time (boxes, tokens, request ids) goes by the clock that was set.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from boxwall.v1 import box_pb2, box_service_pb2
from boxwall.wire.errors import ErrorReason
from boxwall_server.config import Security
from boxwall_server.metrics import Metrics
from boxwall_server.upkeep import Sweeper
from fakes.identities import bearing, token_entry, write_tokens
from fakes.service import Served, refusal, serving

ALSO_ON_TWO_SERVERS = True

DAY = 24 * 3600.0
JUMPS = {"forward": DAY, "back": -DAY}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_streams_go_on_and_what_was_acknowledged_stays_so(
    served: Served, jump: float
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    served.clock.jump(jump)
    served.tick(1)
    assert await served.state() == "ENFORCED"
    await served.update()
    await agent.until("changes")
    assert await served.state() == "PENDING"
    await agent.acknowledge()
    await served.enforced_on("n1", "b1")
    assert await served.state() == "ENFORCED"
    await served.pass_time(8)
    await agent.until("bookmark")


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_a_node_that_says_nothing_is_given_up_after_as_long_as_ever(
    served: Served, jump: float
) -> None:
    await served.create()
    agent = await served.subscribe(boxes=["b1"])
    await agent.until("reset")
    served.clock.jump(jump)
    for _ in range(6):
        await served.pass_time(10)
        await agent.until("bookmark")
    assert await served.state() == "PENDING"
    await served.pass_time(1)
    await agent.ended()
    await served.gone()
    assert await served.state() == "STALE"


async def test_a_box_ends_when_the_clock_says_so_and_does_not_come_back(served: Served) -> None:
    await served.create("b1", ttl=Duration(seconds=60))
    await served.create("b2", ttl=Duration(seconds=600))
    agent = await served.hosting("b1", "b2")
    sweeper = Sweeper(served.store, served.clock, Metrics())
    served.clock.jump(-DAY)
    assert await sweeper.sweep() == 0
    assert {box.id for box in await listed(served)} == {"b1", "b2"}
    served.clock.jump(DAY + 60)
    assert await sweeper.sweep() == 1
    message = await agent.until("changes")
    assert message.changes.entries[0].HasField("tombstone")
    served.clock.jump(-DAY)
    assert {box.id for box in await listed(served)} == {"b2"}


@pytest.mark.parametrize(
    ("jump", "is_known"),
    [(-DAY, True), (3_599, True), (3_601, False)],
    ids=["back", "within the hour", "beyond the hour"],
)
async def test_a_request_id_counts_for_an_hour_of_the_clock(
    served: Served, jump: float, is_known: bool
) -> None:
    await served.create()
    request_id = str(uuid.uuid4())
    first = await served.update(request_id=request_id)
    served.clock.jump(jump)
    again = await served.update(request_id=request_id)
    assert (again.policy_revision == first.policy_revision) is is_known


async def test_a_token_that_has_expired_counts_no_more_until_the_clock_is_put_back(
    tmp_path: Path,
) -> None:
    entry = token_entry("brief", "boxes.read", expires="2023-11-14T23:00:00Z")
    tokens = write_tokens(tmp_path / "tokens.toml", entry)
    async with serving(tmp_path, security=Security(tokens=tokens)) as served:
        boxes = bearing(served.boxes, "brief")
        watch = boxes.WatchBoxes(box_service_pb2.WatchBoxesRequest())
        await watch.read()
        served.clock.jump(-DAY)
        served.app.guard.check_streams(served.hub)
        assert served.hub.open_streams == 1
        served.clock.jump(2 * DAY)
        served.app.guard.check_streams(served.hub)
        assert await watch.code() is grpc.StatusCode.UNAUTHENTICATED
        ask = box_service_pb2.ListBoxesRequest()
        assert (await refusal(boxes.ListBoxes(ask))).reason is ErrorReason.UNAUTHENTICATED
        served.clock.jump(-DAY)
        assert not (await boxes.ListBoxes(ask)).boxes


async def listed(served: Served) -> Sequence[box_pb2.Box]:
    """Return every box."""
    answer: box_service_pb2.ListBoxesResponse = await served.boxes.ListBoxes(
        box_service_pb2.ListBoxesRequest()
    )
    return answer.boxes
