"""The feed of a node, by script: every state and every input."""

import pytest

from boxwall_server.changes.feed import (
    FeedState,
    Frame,
    FrameKind,
    IllegalInput,
    Item,
    NodeFeed,
)
from boxwall_server.changes.revision import Cursor, Revision
from fakes.changes import cursor, item, refusal

RESET, CHANGES, BOOKMARK = FrameKind.RESET, FrameKind.CHANGES, FrameKind.BOOKMARK


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


def said(frame: Frame) -> tuple[FrameKind, list[tuple[str, int]], Cursor | None]:
    return frame.kind, [(i.box_id, i.revision) for i in frame.items], frame.cursor


def state_of(feed: NodeFeed) -> FeedState:
    return feed.state


def test_while_collecting_nothing_is_taken() -> None:
    feed = collecting("b1")
    feed.change(item("b1", 5))
    assert feed.state is FeedState.COLLECTING
    assert feed.take(cursor(5), 0.0) is None
    assert not feed.has_items
    assert feed.cursor is None


def test_a_reset_is_the_scope_at_its_cursor_and_the_first_frame() -> None:
    feed = collecting("b1", "b2")
    feed.load([item("b1", 3), item("b2", 7)], cursor(7), reset=True)
    assert state_of(feed) is FeedState.RESETTING
    frame = take(feed, 7)
    assert said(frame) == (RESET, [("b1", 3), ("b2", 7)], cursor(7, frame=1))
    assert frame.last
    assert state_of(feed) is FeedState.LIVE


def test_a_reset_of_an_empty_scope_is_sent_too() -> None:
    feed = collecting()
    feed.load([], cursor(7), reset=True)
    assert feed.has_items
    assert said(take(feed, 7)) == (RESET, [], cursor(7, frame=1))


def test_a_change_while_collecting_replaces_what_is_loaded() -> None:
    feed = collecting("b1")
    feed.change(item("b1", 8))
    feed.load([item("b1", 3)], cursor(7), reset=True)
    assert said(take(feed, 8)) == (RESET, [("b1", 8)], cursor(8, frame=1))


def test_a_reset_that_does_not_fit_comes_in_pages_and_only_the_last_has_a_cursor() -> None:
    feed = collecting("b1", "b2", "b3", max_frame_bytes=10)
    feed.load([item("b1", 1, 6), item("b2", 2, 4), item("b3", 3, 1)], cursor(3), reset=True)
    first = take(feed, 3)
    assert said(first) == (RESET, [("b1", 1), ("b2", 2)], None)
    assert not first.last
    assert feed.state is FeedState.RESETTING
    last = take(feed, 3)
    assert said(last) == (RESET, [("b3", 3)], cursor(3, frame=2))
    assert last.last


def test_a_change_between_two_pages_is_in_the_reset() -> None:
    feed = collecting("b1", "b2", max_frame_bytes=10)
    feed.load([item("b1", 1, 9), item("b2", 2, 9)], cursor(2), reset=True)
    take(feed, 2)
    feed.change(item("b1", 3, 1))
    assert said(take(feed, 3)) == (RESET, [("b2", 2), ("b1", 3)], cursor(3, frame=2))


def test_an_item_larger_than_a_frame_goes_alone() -> None:
    feed = live(item("b1", 1), item("b2", 1), max_frame_bytes=10)
    feed.change(item("b1", 11, 50))
    feed.change(item("b2", 12, 50))
    assert said(take(feed, 12)) == (CHANGES, [("b1", 11)], None)
    assert said(take(feed, 12))[1] == [("b2", 12)]


def test_a_feed_that_continues_is_live_at_once_and_says_what_is_missing() -> None:
    feed = collecting("b1", "b2")
    feed.held("b1", Revision(3))
    feed.load([item("b2", 7)], cursor(7), reset=False)
    assert feed.state is FeedState.LIVE
    assert said(take(feed, 7)) == (CHANGES, [("b2", 7)], cursor(7, frame=1))


def test_what_is_held_is_not_sent() -> None:
    feed = collecting("b1")
    feed.held("b1", Revision(5))
    feed.load([], cursor(5), reset=False)
    feed.change(item("b1", 5))
    assert not feed.has_items
    feed.change(item("b1", 6))
    assert said(take(feed, 6))[1] == [("b1", 6)]


def test_what_is_held_of_a_box_outside_the_scope_is_passed_over() -> None:
    feed = collecting("b1")
    feed.held("b2", Revision(5))
    assert feed.scope == {"b1"}


def test_a_feed_is_loaded_once() -> None:
    feed = live(item("b1", 1))
    with pytest.raises(IllegalInput):
        feed.load([item("b1", 2)], cursor(2), reset=True)
    assert feed.state is FeedState.LIVE
    assert not feed.has_items


def test_the_newest_version_of_a_box_is_sent_and_the_others_are_skipped() -> None:
    feed = live(item("b1", 1), item("b2", 1))
    for one in (item("b1", 11), item("b2", 12), item("b1", 13)):
        feed.change(one)
    assert sorted(said(take(feed, 13))[1]) == [("b1", 13), ("b2", 12)]
    assert not feed.has_items


def test_a_change_that_was_sent_is_not_sent_again() -> None:
    feed = live(item("b1", 1))
    feed.change(item("b1", 11))
    take(feed, 11)
    feed.change(item("b1", 11))
    feed.change(item("b1", 9))
    assert not feed.has_items


def test_an_older_change_does_not_replace_a_newer_that_waits() -> None:
    feed = live(item("b1", 1))
    feed.change(item("b1", 12))
    feed.change(item("b1", 11))
    assert said(take(feed, 12))[1] == [("b1", 12)]


def test_a_change_of_a_box_outside_the_scope_is_passed_over() -> None:
    feed = live(item("b1", 1))
    feed.change(item("b2", 11))
    assert not feed.has_items


def test_with_nothing_new_a_bookmark_brings_the_node_to_the_head() -> None:
    feed = live(item("b1", 1), at=10)
    assert said(take(feed, 14)) == (BOOKMARK, [], cursor(14, frame=2))
    assert feed.cursor == cursor(14)


def test_frames_are_numbered_because_two_can_bring_a_node_to_one_revision() -> None:
    feed = live(item("b1", 1), at=10)
    assert [take(feed, 10).cursor for _ in range(3)] == [cursor(10, frame=n) for n in (2, 3, 4)]


def test_a_box_attached_again_is_answered_though_it_was_sent_before() -> None:
    feed = live(item("b1", 1))
    feed.widen(["b1"])
    feed.answer([item("b1", 1)])
    assert said(take(feed, 10))[1] == [("b1", 1)]


def test_a_change_sent_after_an_attach_answers_it() -> None:
    """Between reading the entry and answering with it, a newer one may have been sent."""
    feed = live(item("b1", 1))
    feed.widen(["b2"])
    feed.change(item("b2", 12))
    assert said(take(feed, 12))[1] == [("b2", 12)]
    feed.answer([item("b2", 11)])
    assert not feed.has_items
    feed.answer([item("b2", 12)])
    assert not feed.has_items


def test_an_answer_about_a_box_detached_meanwhile_is_passed_over() -> None:
    feed = live(item("b1", 1))
    feed.narrow(["b1"])
    feed.answer([item("b1", 1)])
    assert not feed.has_items


def test_a_box_that_never_was_is_answered_with_a_tombstone_each_time() -> None:
    feed = live()
    feed.widen(["b9"])
    feed.answer([item("b9", 0)])
    assert said(take(feed, 10))[1] == [("b9", 0)]
    feed.widen(["b9"])
    feed.answer([item("b9", 0)])
    assert said(take(feed, 10))[1] == [("b9", 0)]
    feed.change(item("b9", 11))
    assert said(take(feed, 11))[1] == [("b9", 11)]


def test_a_refusal_is_sent_once_and_the_box_is_not_in_the_scope() -> None:
    feed = live(item("b1", 1))
    feed.refuse(refusal("b2"))
    assert said(take(feed, 10))[1] == [("b2", 0)]
    assert feed.scope == {"b1"}
    feed.change(item("b2", 11))
    assert not feed.has_items
    with pytest.raises(IllegalInput):
        feed.refuse(item("b1", 12))


def test_to_acknowledge_a_refusal_puts_nothing_in_force() -> None:
    feed = live(item("b1", 1), item("b2", 1))
    feed.acknowledge(cursor(10, frame=1))
    feed.change(item("b1", 11))
    feed.change(item("b2", 12))
    feed.refuse(refusal("b1", 13))
    assert said(take(feed, 13))[1] == [("b2", 12), ("b1", 13)]
    assert feed.acknowledge(cursor(13, frame=2)) == [("b2", 12)]
    assert feed.scope == {"b2"}


def test_a_box_that_is_attached_before_its_refusal_was_taken_is_answered_all_the_same() -> None:
    feed = live(item("b1", 1))
    feed.refuse(refusal("b1", 11))
    feed.widen(["b1"])
    assert said(take(feed, 11))[1] == [("b1", 11)]
    feed.answer([item("b1", 11)])
    assert said(take(feed, 12))[1] == [("b1", 11)]
    assert feed.acknowledge(cursor(12, frame=3)) == [("b1", 1), ("b1", 11)]


def test_a_detached_box_is_not_sent_not_even_what_waited() -> None:
    feed = live(item("b1", 1), item("b2", 1))
    feed.change(item("b1", 11))
    feed.narrow(["b1", "never there"])
    assert feed.scope == {"b2"}
    assert said(take(feed, 11)) == (BOOKMARK, [], cursor(11, frame=2))
