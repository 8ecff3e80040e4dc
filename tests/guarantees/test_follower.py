"""What was written down of a stream is checked like the stream itself, only later."""

import pytest

from boxwall.v1 import enforcement_service_pb2, stream_pb2
from guarantees.cases import cursor, token
from guarantees.follower import Transcript
from guarantees.history import GuaranteeBroken, History, Write
from guarantees.truth import Truth

Response = enforcement_service_pb2.StreamPoliciesResponse


def gone(box_id: str) -> stream_pb2.PolicyEntry:
    return stream_pb2.PolicyEntry(box_id=box_id, tombstone=stream_pb2.Tombstone())


def resumed_at_2() -> Transcript:
    """Of a node whose two boxes exist."""
    return Transcript(0.0, ["b1", "b2"], {"b1": b"one", "b2": b"two"}, token(2))


def told() -> Truth:
    """Both boxes are made and deleted; nobody tells of the deletions in order."""
    truth = Truth()
    for write in (Write(1, "b1", b"one"), Write(2, "b2", b"two"), Write(4, "b1"), Write(3, "b2")):
        truth.take(write)
    return truth


def test_a_stream_that_was_ahead_of_the_history_passes_when_it_is_complete() -> None:
    transcript, truth = resumed_at_2(), told()
    changes = stream_pb2.Changes(entries=[gone("b1"), gone("b2")])
    transcript.take(1.0, Response(cursor=token(4), changes=changes))
    truth.complete()
    transcript.check(truth.history).settle(2.0)
    assert truth.history.head == cursor(4).revision


def test_a_change_that_a_stream_missed_is_found_later() -> None:
    transcript, truth = resumed_at_2(), told()
    transcript.take(1.0, Response(cursor=token(3), changes=stream_pb2.Changes()))
    truth.complete()
    with pytest.raises(GuaranteeBroken, match="Resumable"):
        transcript.check(truth.history)


def test_a_message_is_checked_once() -> None:
    transcript = resumed_at_2()
    history = History([Write(1, "b1", b"one"), Write(2, "b2", b"two"), Write(3, "b1")])
    transcript.take(
        1.0, Response(cursor=token(3), changes=stream_pb2.Changes(entries=[gone("b1")]))
    )
    transcript.check(history)
    transcript.check(history).settle(2.0)


def test_a_write_that_nobody_told_of_is_a_gap() -> None:
    truth = Truth()
    truth.take(Write(1, "b1", b"one"))
    truth.take(Write(3, "b1"))
    with pytest.raises(AssertionError, match="gap"):
        truth.complete()
