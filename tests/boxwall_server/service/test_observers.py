"""Observers: StreamPolicies with all_boxes, and WatchBoxes. Every guarantee is checked."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxwall.v1 import box_pb2, box_service_pb2, node_service_pb2, policy_pb2
from boxwall.wire.errors import ErrorReason
from boxwall_server.changes.change import BoxRecord
from boxwall_server.changes.log import ChangeLog
from boxwall_server.changes.revision import Epoch, Revision, cursor_from_token, cursor_to_token
from fakes.agent import Watch
from fakes.service import ALLOW_ALL, DENY_ALL, Served, fields_of, refusal, serving, until

ALSO_ON_TWO_SERVERS = True


async def observing(served: Served, **fields: Any) -> Watch:
    return await served.subscribe(all_boxes=True, **fields)


def watching(served: Served, **fields: Any) -> Watch:
    return served.watch(**fields)


def update_name(box_id: str, name: str) -> box_service_pb2.UpdateBoxRequest:
    return box_service_pb2.UpdateBoxRequest(
        box=box_pb2.Box(id=box_id, name=name), update_mask={"paths": ["name"]}
    )


async def opened(served: Served, kind: str, cursor: str = "", **fields: Any) -> Watch:
    if kind == "StreamPolicies":
        return await observing(served, cursor=cursor, **fields)
    return watching(served, cursor=cursor, **fields)


BOTH = pytest.mark.parametrize("kind", ["StreamPolicies", "WatchBoxes"])


@BOTH
async def test_an_observer_sees_every_box_and_every_change(served: Served, kind: str) -> None:
    await served.create("b1")
    watch = await opened(served, kind)
    await watch.until("reset")
    await served.create("b2", network_policy=DENY_ALL)
    await served.update("b1", DENY_ALL)
    await served.delete("b2")
    await watch.reaches(4)


@BOTH
async def test_an_observer_of_nothing_gets_an_empty_reset(served: Served, kind: str) -> None:
    watch = await opened(served, kind)
    message = await watch.next()
    assert message.reset.last
    assert not message.reset.boxes


@BOTH
async def test_an_observer_resumes_where_it_was(served: Served, kind: str) -> None:
    await served.create("b1")
    await served.create("b2")
    first = await opened(served, kind)
    await first.until("reset")
    first.call.cancel()
    await served.update("b1", DENY_ALL)
    await served.delete("b2")
    again = await opened(served, kind, first.cursor)
    assert not (await again.next()).HasField("reset")
    again.checkers.settle(served.clock.steady())


@BOTH
async def test_an_observer_that_missed_nothing_hears_so_at_once(served: Served, kind: str) -> None:
    await served.create("b1")
    first = await opened(served, kind)
    await first.until("reset")
    again = await opened(served, kind, first.cursor)
    assert (await again.next()).HasField("bookmark")


@BOTH
async def test_a_cursor_of_another_history_gets_a_reset(served: Served, kind: str) -> None:
    await served.create("b1")
    first = await opened(served, kind)
    await first.until("reset")
    cursor = cursor_from_token(first.cursor, "default")
    for forged in (
        dataclasses.replace(cursor, epoch=Epoch(b"another epoch 16")),
        dataclasses.replace(cursor, revision=Revision(999)),
    ):
        again = await opened(served, kind, cursor_to_token(forged, "default"), trusted=False)
        assert (await again.next()).reset.last


@BOTH
async def test_something_comes_to_an_observer_at_least_every_10_s(
    served: Served, kind: str
) -> None:
    watch = await opened(served, kind)
    await watch.until("reset")
    for _ in range(5):
        await served.pass_time(8)
        await watch.until("bookmark")


@BOTH
async def test_an_observer_that_fell_off_the_log_is_served_by_the_store(
    served: Served, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.create("b1")
    watch = await opened(served, kind)
    await watch.until("reset")
    monkeypatch.setattr(ChangeLog, "since", lambda *args, **kwargs: None)
    await served.update("b1", DENY_ALL)
    await watch.reaches(2)


async def test_an_observer_owes_no_acknowledgement_and_fences_nothing(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    observer = await observing(served, node_id="n1")
    await observer.until("reset")
    for _ in range(10):
        await served.pass_time(8)
        await observer.until("bookmark")
        for stream in served.app.node_streams.all_connected():
            stream.feed.forget_acknowledgements()
    assert await served.state() == "ENFORCED"
    nodes = await served.nodes.ListNodes(node_service_pb2.ListNodesRequest())
    assert [node.id for node in nodes.nodes] == ["n1"]


async def test_an_observer_without_a_node_id_is_served(served: Served) -> None:
    observer = await observing(served, node_id="")
    assert (await observer.next()).HasField("reset")


async def test_an_observer_that_closed_its_side_keeps_receiving(served: Served) -> None:
    observer = await observing(served)
    await observer.call.done_writing()
    await observer.until("reset")
    await served.create()
    await observer.reaches(1)
    assert observer.messages[-1].changes.entries[0].HasField("network_policy")


async def test_an_observer_sees_no_change_that_nodes_do_not_enforce(served: Served) -> None:
    await served.create()
    observer, watch = await observing(served), watching(served)
    await observer.until("reset")
    await watch.until("reset")
    await served.boxes.UpdateBox(update_name("b1", "new"))
    assert (await watch.until("changes")).changes.changes[0].box.name == "new"
    await served.pass_time(8)
    await observer.until("bookmark")
    assert len(observer.messages) == 2


async def test_a_box_in_a_watch_is_as_it_stands_but_for_its_enforcement(served: Served) -> None:
    made = await served.create("b1", labels={"team": "search"}, name="one")
    watch = watching(served)
    (box,) = (await watch.until("reset")).reset.boxes
    made.ClearField("enforcement")
    assert box == made


def named(prefix: str) -> Callable[[BoxRecord], bool]:
    return lambda box: box.name.startswith(prefix)


FILTERS: dict[str, tuple[dict[str, Any], Callable[[BoxRecord], bool]]] = {
    "by name": ({"name_prefix": "a"}, named("a")),
    "by label": ({"labels": {"k": "v"}}, lambda box: ("k", "v") in box.labels),
    "by mode": ({"mode": policy_pb2.MODE_DENY_ALL}, lambda box: box.mode == "deny-all"),
    "by placement": ({"node_id": "n1"}, lambda box: box.node_id == "n1"),
    "by two": (
        {"name_prefix": "a", "node_id": "n1"},
        lambda b: named("a")(b) and b.node_id == "n1",
    ),
}


@pytest.mark.parametrize(("where", "shown"), FILTERS.values(), ids=FILTERS)
async def test_a_watch_shows_what_its_filter_matches_and_what_leaves_it_is_gone(
    served: Served, where: dict[str, Any], shown: Callable[[BoxRecord], bool]
) -> None:
    await served.create("b1", name="ada", labels={"k": "v"}, network_policy=DENY_ALL, node_id="n1")
    await served.create("b2", name="bob")
    watch = watching(served, shown=shown, **where)
    assert [box.id for box in (await watch.until("reset")).reset.boxes] == ["b1"]
    await served.update("b1", ALLOW_ALL)
    await served.boxes.UpdateBox(update_name("b1", "bea"))
    await served.boxes.UpdateBox(update_name("b2", "abe"))
    await served.update("b2", DENY_ALL)
    await served.delete("b1")
    await watch.reaches(7)


async def test_a_bad_watch_is_refused_with_everything_that_is_wrong(served: Served) -> None:
    watch = watching(served)
    watch.call.cancel()
    call = served.boxes.WatchBoxes(
        box_service_pb2.WatchBoxesRequest(
            cursor="garbage",
            filter=box_service_pb2.BoxFilter(
                labels={"-": "x"},
                node_id="-",
                name_prefix="\0",
                mode=99,  # type: ignore[arg-type]  # of a newer client
            ),
        )
    )
    error = await refusal(call.read())
    assert error.reason is ErrorReason.INVALID_REQUEST
    assert fields_of(error) == [
        "filter.mode",
        "filter.labels['-']",
        "filter.node_id",
        "filter.name_prefix",
        "cursor",
    ]


async def test_a_large_state_comes_in_pages_below_a_megabyte(served: Served) -> None:
    domains = [f"{'x' * 60}.{'y' * 60}.n{number}.test" for number in range(1_000)]
    policy = policy_pb2.NetworkPolicy(custom=policy_pb2.CustomPolicy(allowed_domains=domains))
    for number in range(12):
        await served.create(f"b{number:02}", network_policy=policy)
    observer, watch = await observing(served), watching(served)
    for stream in (observer, watch):
        while not (message := await stream.until("reset")).reset.last:
            assert not message.cursor
            assert len(message.SerializeToString()) < 1_048_576
        assert len(stream.messages) == 2
        stream.checkers.settle(served.clock.steady())


@BOTH
async def test_many_large_changes_come_in_pages_and_only_the_last_has_a_cursor(
    served: Served, kind: str
) -> None:
    await served.create("b0")
    first = await opened(served, kind)
    await first.until("reset")
    first.call.cancel()
    domains = [f"{'x' * 60}.{'y' * 60}.n{number}.test" for number in range(1_000)]
    policy = policy_pb2.NetworkPolicy(custom=policy_pb2.CustomPolicy(allowed_domains=domains))
    for number in range(12):
        await served.create(f"c{number:02}", network_policy=policy)
    again = await opened(served, kind, first.cursor)
    await again.reaches(13)
    assert [bool(message.cursor) for message in again.messages] == [False, True]


async def test_a_thousand_changes_are_shown_to_many_observers_each_exactly_once(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        await served.create("b0")
        observers = [await observing(served) for _ in range(10)]
        for observer in observers:
            await observer.until("reset")
        async with asyncio.TaskGroup() as tasks:
            for number in range(250):
                tasks.create_task(served.create(f"c{number}"))
            for observer in observers:
                tasks.create_task(observer.reaches(251))
    assert all(len(o.checkers.holding.states) == 251 for o in observers)


async def test_a_stream_that_ends_is_looked_after_no_more(served: Served) -> None:
    observer, watch = await observing(served), watching(served)
    await observer.until("reset")
    await watch.until("reset")
    await until(lambda: served.open_streams == 2)
    observer.call.cancel()
    watch.call.cancel()
    await until(lambda: served.open_streams == 0)
    assert served.metric("boxwall_streams", kind="observer") == 0
