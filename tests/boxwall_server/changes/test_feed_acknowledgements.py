"""The feed of a node, by script: acknowledgements."""

import pytest

from boxwall_server.changes.feed import (
    Frame,
    Item,
    NeverSent,
    NodeFeed,
)
from boxwall_server.changes.revision import CommitId, Cursor, Revision
from fakes.changes import EPOCH, OTHER_EPOCH, cursor, item


def collecting(*box_ids: str, max_frame_bytes: int = 1_000) -> NodeFeed:
    feed = NodeFeed(max_frame_bytes=max_frame_bytes)
    feed.widen(box_ids)
    return feed


def live(*boxes: Item, at: int = 10, max_frame_bytes: int = 1_000) -> NodeFeed:
    """A feed that has sent and had acknowledged its reset as frame 1."""
    feed = collecting(*(box.box_id for box in boxes), max_frame_bytes=max_frame_bytes)
    feed.load(boxes, cursor(at), reset=True)
    while feed.has_items:
        feed.take(cursor(at), 0.0)
    return feed


def take(feed: NodeFeed, at: int, now: float = 0.0) -> Frame:
    frame = feed.take(cursor(at), now)
    assert frame is not None
    return frame


def since(feed: NodeFeed) -> float | None:
    return feed.unacknowledged_since


def applied(feed: NodeFeed, at: Cursor) -> list[tuple[str, int]]:
    return [(box_id, revision) for box_id, revision in feed.acknowledge(at)]


def test_an_acknowledgement_puts_in_force_everything_up_to_its_frame() -> None:
    feed = live(item("b1", 1), item("b2", 2))
    feed.change(item("b1", 11))
    first = take(feed, 11)
    feed.change(item("b2", 12))
    take(feed, 12)
    assert first.cursor is not None
    assert applied(feed, first.cursor) == [("b1", 1), ("b2", 2), ("b1", 11)]
    assert applied(feed, cursor(12, frame=3)) == [("b2", 12)]


def test_pages_without_a_cursor_are_acknowledged_with_the_next_frame_that_has_one() -> None:
    feed = live(item("b1", 1), item("b2", 2), max_frame_bytes=1)
    assert feed.unacknowledged_since == 0.0
    assert applied(feed, cursor(10, frame=2)) == [("b1", 1), ("b2", 2)]


def test_acknowledging_twice_or_an_older_frame_gives_nothing() -> None:
    feed = live(item("b1", 1))
    take(feed, 10)
    assert applied(feed, cursor(10, frame=2)) == [("b1", 1)]
    assert applied(feed, cursor(10, frame=2)) == []
    assert applied(feed, cursor(10, frame=1)) == []


REWOUND = Cursor(epoch=EPOCH, revision=Revision(10), commit_id=CommitId(b"rewound!"), frame=2)


NEVER_SENT = {
    "a frame of the future": cursor(10, frame=3),
    "no frame": cursor(10),
    "another revision with the frame": cursor(11, frame=2),
    "another epoch": cursor(10, frame=2, epoch=OTHER_EPOCH),
    "another commit": REWOUND,
}


@pytest.mark.parametrize("at", NEVER_SENT.values(), ids=NEVER_SENT)
def test_acknowledging_what_was_never_sent_is_refused_and_changes_nothing(at: Cursor) -> None:
    feed = live(item("b1", 1))
    take(feed, 10)
    with pytest.raises(NeverSent):
        feed.acknowledge(at)
    assert applied(feed, cursor(10, frame=2)) == [("b1", 1)]


@pytest.mark.parametrize(
    "at",
    [cursor(10**9, frame=1), cursor(10, frame=1, epoch=OTHER_EPOCH)],
    ids=["a revision of the future", "another epoch"],
)
def test_an_acknowledged_frame_is_no_cover_for_a_cursor_that_was_never_sent(at: Cursor) -> None:
    feed = live(item("b1", 1))
    feed.acknowledge(cursor(10, frame=1))
    with pytest.raises(NeverSent):
        feed.acknowledge(at)


def test_a_page_that_is_not_the_last_cannot_be_acknowledged() -> None:
    feed = live(item("b1", 1), item("b2", 2), max_frame_bytes=1)
    with pytest.raises(NeverSent):
        feed.acknowledge(cursor(10, frame=1))
    assert applied(feed, cursor(10, frame=2)) == [("b1", 1), ("b2", 2)]


def test_the_oldest_frame_that_could_be_acknowledged_is_timed() -> None:
    feed = collecting("b1")
    assert since(feed) is None
    feed.load([item("b1", 1)], cursor(10), reset=True)
    take(feed, 10, now=5.0)
    take(feed, 10, now=13.0)
    assert since(feed) == 5.0
    feed.acknowledge(cursor(10, frame=1))
    assert since(feed) == 13.0
    feed.acknowledge(cursor(10, frame=2))
    assert since(feed) is None


def test_of_a_node_that_cannot_speak_no_acknowledgement_is_expected() -> None:
    feed = live(item("b1", 1))
    feed.forget_acknowledgements()
    assert since(feed) is None
