"""Watches through a real channel: what is seen when streams break off."""

import asyncio
from contextlib import aclosing

import pytest
from fake_service import (  # type: ignore[import-not-found]  # mypy has no path to it
    FakeBoxService,
    changes,
    go_away,
    refused,
    reset,
    unavailable,
    watched,
)

from boxwall import (
    Box,
    BoxChange,
    BoxChanged,
    BoxNotFound,
    Client,
    Unauthenticated,
    UnexpectedAnswer,
)
from boxwall.sdk import resume
from boxwall.v1 import box_service_pb2
from boxwall.wire.errors import ApiError, ErrorReason


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "FIRST_DELAY", 0.0)


async def seen(client: Client, count: int) -> list[str]:
    """The first changes of a watch: "b1@v2", "-b1"."""
    found: list[str] = []
    async with aclosing(Box.watch(client=client)) as watch:
        async for change in watch:
            found.append(shown(change))
            if len(found) == count:
                break
    return found


def shown(change: BoxChange) -> str:
    if isinstance(change, BoxChanged):
        return f"{change.box_id}@{change.box.etag}"
    return f"-{change.box_id}"


def cursors(fake: FakeBoxService) -> list[str]:
    return [request.cursor for request in fake.called("WatchBoxes")]


BROKEN = [
    pytest.param(unavailable(), id="unavailable"),
    pytest.param(ApiError(ErrorReason.SHUTTING_DOWN, "bye"), id="server stops"),
    pytest.param(ApiError(ErrorReason.STREAM_TOO_SLOW, "slow"), id="too slow"),
    pytest.param(ApiError(ErrorReason.INTERNAL, "bug"), id="bug of the server"),
    pytest.param(go_away("c2"), id="sent away"),
]


async def test_a_watch_begins_with_all_there_is(fake: FakeBoxService, client: Client) -> None:
    fake.watches.append(
        [
            reset("", watched("b1"), last=False),
            reset("c1", watched("b2")),
            changes("c2", watched("b1", 2), "b2"),
        ]
    )

    assert await seen(client, 4) == ["b1@v1", "b2@v1", "b1@v2", "-b2"]


@pytest.mark.parametrize("interruption", BROKEN)
async def test_a_watch_continues_after_an_interruption_where_it_was(
    interruption: object, fake: FakeBoxService, client: Client
) -> None:
    fake.watches.append([reset("c1", watched("b1")), changes("c2", watched("b1", 2)), interruption])
    fake.watches.append([changes("c3", watched("b1", 3))])

    assert await seen(client, 3) == ["b1@v1", "b1@v2", "b1@v3"]
    assert cursors(fake) == ["", "c2"]


async def test_a_reset_after_an_interruption_shows_only_what_is_different(
    fake: FakeBoxService, client: Client
) -> None:
    fake.watches.append([reset("c1", watched("a"), watched("b"), watched("c")), unavailable()])
    fake.watches.append([reset("c9", watched("b"), watched("c", 2), watched("d"))])

    assert await seen(client, 6) == ["a@v1", "b@v1", "c@v1", "-a", "c@v2", "d@v1"]


async def test_a_reset_that_breaks_off_begins_anew(fake: FakeBoxService, client: Client) -> None:
    fake.watches.append([reset("", watched("a"), last=False), unavailable()])
    fake.watches.append([reset("c1", watched("b"))])

    assert await seen(client, 1) == ["b@v1"]
    assert cursors(fake) == ["", ""]


async def test_a_cursor_that_the_server_cannot_read_is_answered_with_everything(
    fake: FakeBoxService, client: Client
) -> None:
    fake.watches.append([reset("c1", watched("a")), unavailable()])
    fake.watches.append([ApiError(ErrorReason.INVALID_CURSOR, "what is this?")])
    fake.watches.append([reset("d1", watched("a", 2))])

    assert await seen(client, 2) == ["a@v1", "a@v2"]
    assert cursors(fake) == ["", "c1", ""]


async def test_a_silent_stream_counts_as_dead(
    fake: FakeBoxService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SILENCE", 0.05)
    fake.watches.append([reset("c1", watched("a"))])
    fake.watches.append([changes("c2", watched("a", 2))])

    assert await seen(client, 2) == ["a@v1", "a@v2"]
    assert cursors(fake)[:2] == ["", "c1"]


async def test_time_that_the_caller_takes_is_not_silence(
    fake: FakeBoxService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SILENCE", 0.2)
    fake.watches.append([reset("c1", watched("a")), changes("c2", watched("a", 2))])

    async with aclosing(Box.watch(client=client)) as watch:
        await anext(watch)
        # The caller thinks, for longer than the server may be silent.
        await asyncio.sleep(0.3)
        assert shown(await anext(watch)) == "a@v2"

    assert len(cursors(fake)) == 1


async def test_what_will_not_pass_ends_a_watch(fake: FakeBoxService, client: Client) -> None:
    fake.watches.append([ApiError(ErrorReason.UNAUTHENTICATED, "who are you?")])

    with pytest.raises(Unauthenticated):
        await seen(client, 1)


async def test_a_change_of_a_newer_version_is_not_passed_over(
    fake: FakeBoxService, client: Client
) -> None:
    fake.watches.append([box_service_pb2.WatchBoxesResponse(cursor="c1")])

    with pytest.raises(UnexpectedAnswer, match="update the client"):
        await seen(client, 1)


async def test_a_filter_goes_with_every_connection(fake: FakeBoxService, client: Client) -> None:
    fake.watches.append([reset("c1", watched("a")), unavailable()])
    fake.watches.append([changes("c2", "a")])

    async with aclosing(Box.watch(label=("team", "x"), mode="custom", client=client)) as watch:
        await anext(watch)
        await anext(watch)

    assert [dict(r.filter.labels) for r in fake.called("WatchBoxes")] == [{"team": "x"}] * 2


async def test_a_box_from_a_watch_can_be_used(fake: FakeBoxService, client: Client) -> None:
    box = await Box.create(box_id="b1", client=client)
    fake.watches.append([reset("c1", fake.boxes["b1"])])

    async with aclosing(Box.watch(client=client)) as watch:
        change = await anext(watch)

    assert isinstance(change, BoxChanged)
    await change.box.update_network_policy({"mode": "deny-all"})
    assert (await box.refresh()).network_policy.mode == "deny-all"


# Refusals.


async def test_refusals_say_what_how_often_and_how_many_were_dropped(
    fake: FakeBoxService, client: Client
) -> None:
    box = await Box.create(box_id="b1", client=client)
    fake.refusals.append([refused("b1", "a.test", dropped=2), unavailable()])
    fake.refusals.append(
        [box_service_pb2.WatchRefusalsResponse(dropped=3), refused("b1", "b.test")]
    )

    async with aclosing(box.refusals(recent=7)) as refusals:
        first, second = await anext(refusals), await anext(refusals)

    assert (first.domain, first.port, first.protocol, first.count) == ("a.test", 443, "tcp", 2)
    assert (first.dropped_before, second.dropped_before) == (2, 3)
    assert str(first.rule) == "unlisted deny"
    assert [r.recent for r in fake.called("WatchRefusals")] == [7, 0], "or they would come twice"


async def test_refusals_of_boxes_with_a_label_can_be_watched(
    fake: FakeBoxService, client: Client
) -> None:
    fake.refusals.append([refused("b1", "a.test")])

    async with aclosing(Box.watch_refusals(label=("team", "x"), client=client)) as refusals:
        assert (await anext(refusals)).box_id == "b1"

    assert dict(fake.called("WatchRefusals")[0].labels) == {"team": "x"}


async def test_recent_refusals_are_one_answer(fake: FakeBoxService, client: Client) -> None:
    fake.refusals.append([refused("b1", "a.test")])

    [refusal] = await Box.recent_refusals(limit=5, client=client)

    assert (refusal.box_id, fake.called("WatchRefusals")[0].recent) == ("b1", 5)


async def test_refusals_of_a_box_that_is_not_there_raise(client: Client) -> None:
    with pytest.raises(BoxNotFound):
        await Box.recent_refusals(box_id="nope", client=client)
