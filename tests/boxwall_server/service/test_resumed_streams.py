"""A node that comes back with a cursor: it misses nothing, and nothing is sent twice."""

import dataclasses
from collections.abc import Callable

import pytest

from boxwall.v1 import stream_pb2
from boxwall_server.changes.revision import (
    CommitId,
    Cursor,
    Epoch,
    Revision,
    cursor_from_token,
    cursor_to_token,
)
from fakes.service import ALLOW_ALL, DENY_ALL, Served

ALSO_ON_TWO_SERVERS = True


async def test_a_resumed_stream_brings_what_was_missed_and_nothing_else(served: Served) -> None:
    for box_id in ("b1", "b2", "b3"):
        await served.create(box_id)
    agent = await served.hosting("b1", "b2", "b3")
    agent.call.cancel()
    await served.gone()
    await served.update("b1", DENY_ALL)
    await served.delete("b3")
    again = await served.subscribe(boxes=agent.held(), cursor=agent.cursor)
    message = await again.next()
    assert {e.box_id for e in message.changes.entries} == {"b1", "b3"}
    assert await served.state("b2") == "ENFORCED"
    assert await served.state("b1") == "PENDING"
    await again.reaches(5)


async def test_a_stream_resumed_with_nothing_missed_hears_so_at_once(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    agent.call.cancel()
    again = await served.subscribe(boxes=agent.held(), cursor=agent.cursor)
    assert (await again.next()).HasField("bookmark")
    assert await served.state() == "ENFORCED"


async def test_a_resumed_node_that_holds_nothing_of_a_box_is_sent_it(served: Served) -> None:
    """It was attached just before the connection broke: its entry is older than the cursor."""
    await served.create("b1")
    await served.create("b2")
    agent = await served.hosting("b1")
    boxes = [*agent.held(), stream_pb2.HostedBox(box_id="b2")]
    again = await served.subscribe(boxes=boxes, cursor=agent.cursor)
    message = await again.next()
    assert [e.box_id for e in message.changes.entries] == ["b2"]
    assert await served.state("b2") == "PENDING"


async def test_a_box_deleted_and_made_again_while_away_comes_with_its_new_uid(
    served: Served,
) -> None:
    await served.create("b1")
    agent = await served.hosting("b1")
    agent.call.cancel()
    await served.delete("b1")
    made = await served.create("b1", network_policy=DENY_ALL)
    again = await served.subscribe(boxes=agent.held(), cursor=agent.cursor)
    message = await again.next()
    assert message.changes.entries[0].uid == made.uid
    assert await served.state() == "PENDING"


def another_epoch(cursor: Cursor) -> Cursor:
    return dataclasses.replace(cursor, epoch=Epoch(b"another epoch 16"))


def the_future(cursor: Cursor) -> Cursor:
    return dataclasses.replace(cursor, revision=Revision(10**6))


def rolled_back(cursor: Cursor) -> Cursor:
    return dataclasses.replace(cursor, commit_id=CommitId(b"rewound!"))


@pytest.mark.parametrize("forge", [another_epoch, the_future, rolled_back])
async def test_a_cursor_that_is_not_of_this_history_gets_a_reset_on_the_same_stream(
    served: Served, forge: Callable[[Cursor], Cursor]
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    forged = forge(cursor_from_token(agent.cursor, "default"))
    token = cursor_to_token(forged, "default")
    again = await served.subscribe(boxes=agent.held(), cursor=token, trusted=False)
    assert (await again.next()).reset.last
    assert await served.state() == "PENDING", "what it said it held counts for nothing"


async def test_a_cursor_older_than_the_log_gets_a_reset(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    for policy in (DENY_ALL, ALLOW_ALL, DENY_ALL):
        await served.update("b1", policy)
    await served.store.compact(now=served.clock.now(), retain=1)
    again = await served.subscribe(boxes=agent.held(), cursor=agent.cursor, trusted=False)
    assert (await again.next()).reset.last
    await again.reaches(4)


async def test_a_box_recorded_as_attached_stays_stale_if_its_node_comes_back_without_it(
    served: Served,
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    agent.call.cancel()
    await served.hosting("b2")
    assert await served.state() == "STALE"
