"""Each checker catches what it is there for, and lets what is right pass."""

from collections.abc import Callable

import pytest

from boxwall.v1 import box_pb2, box_service_pb2, enforcement_service_pb2, policy_pb2
from boxwall.wire.frames import changes_frame, entry_to_bytes
from boxwall_server.changes.revision import CommitId, Cursor, Revision
from guarantees.cases import (
    EPOCH,
    OTHER_EPOCH,
    bookmark,
    changes,
    cursor,
    message,
    observed,
    reset,
    token,
)
from guarantees.heard import Heard, Said, heard
from guarantees.history import GuaranteeBroken, box_state, policy_state

GOOD: dict[str, Callable[[], object]] = {
    "everything in order": lambda: observed(
        reset(2, b1=b"one", b2=b"two"),
        changes(3, b1=b"three"),
        bookmark(4),
        changes(6, b2=None, b1=b"six"),
        settle=1.0,
    ),
    "a version in between is skipped": lambda: observed(
        reset(2, b1=b"one", b2=b"two"), changes(6, b2=None, b1=b"six"), settle=1.0
    ),
    "many changes in two pages": lambda: observed(
        reset(2, b1=b"one", b2=b"two"), changes(None, b2=None), changes(6, b1=b"six"), settle=1.0
    ),
    "a reset in two pages": lambda: observed(
        reset(None, b1=b"one"), reset(2, b2=b"two"), changes(6, b1=b"six", b2=None), settle=1.0
    ),
    "a second reset brings everything again": lambda: observed(
        reset(2, b1=b"one", b2=b"two"),
        reset(4, b1=b"three", b2=b"two"),
        changes(6, b1=b"six", b2=None),
        settle=1.0,
    ),
    "resumed": lambda: observed(
        changes(6, b1=b"six", b2=None),
        settle=1.0,
        cursor=token(2),
        held={"b1": b"one", "b2": b"two"},
    ),
    "resumed, newer than the cursor": lambda: observed(
        changes(5, b2=None),
        changes(6, b1=b"six"),
        settle=1.0,
        cursor=token(2),
        held={"b1": b"three", "b2": b"two"},
    ),
    "another box is none of its business": lambda: observed(
        reset(3, b1=b"three"), bookmark(5), changes(6, b1=b"six"), settle=1.0, scope=["b1"]
    ),
    "a box that never was": lambda: observed(reset(6, b9=None), settle=1.0, scope=["b9"]),
}

BAD: dict[str, tuple[str, Callable[[], object]]] = {
    "a cursor goes back": (
        "Ordered",
        lambda: observed(reset(2, b1=b"one", b2=b"two"), bookmark(1)),
    ),
    "a cursor is of the future": ("Ordered", lambda: observed(bookmark(7), cursor=token(6))),
    "it goes back behind where it was resumed": (
        "Ordered",
        lambda: observed(bookmark(3), cursor=token(4)),
    ),
    "the epoch changes": (
        "Ordered",
        lambda: observed(
            reset(2, b1=b"one", b2=b"two"),
            Heard(time=0, kind="bookmark", cursor=cursor(2, epoch=OTHER_EPOCH)),
        ),
    ),
    "a frame number comes twice": (
        "Ordered",
        lambda: observed(
            Heard(time=0, kind="bookmark", cursor=cursor(4, 2)),
            Heard(time=0, kind="bookmark", cursor=cursor(4, 2)),
            cursor=token(4),
        ),
    ),
    "one revision is two commits": (
        "Ordered",
        lambda: observed(
            Heard(
                time=0,
                kind="bookmark",
                cursor=Cursor(epoch=EPOCH, revision=Revision(4), commit_id=CommitId(b"another!")),
            ),
            cursor=token(4),
        ),
    ),
    "a change comes twice": (
        "Unique",
        lambda: observed(
            reset(2, b1=b"one", b2=b"two"), changes(3, b1=b"three"), changes(3, b1=b"three")
        ),
    ),
    "an older version comes after a newer": (
        "Unique",
        lambda: observed(
            reset(2, b1=b"one", b2=b"two"), changes(None, b1=b"six"), changes(6, b1=b"three")
        ),
    ),
    "a tombstone comes twice": (
        "Unique",
        lambda: observed(
            reset(4, b1=b"three", b2=b"two"), changes(5, b2=None), changes(5, b2=None)
        ),
    ),
    "one message has a box twice": (
        "Unique",
        lambda: observed(
            Heard(
                time=0,
                kind="changes",
                cursor=cursor(6),
                said=(Said("b1", b"three"), Said("b1", b"six")),
            ),
            cursor=token(2),
            held={"b1": b"one", "b2": b"two"},
        ),
    ),
    "the last version is never sent": (
        "Convergent",
        lambda: observed(reset(4, b1=b"three", b2=b"two"), settle=1.0),
    ),
    "a deletion is never sent": (
        "Convergent",
        lambda: observed(reset(4, b2=b"two"), settle=1.0, scope=["b2"]),
    ),
    "something is sent that nobody wrote": (
        "Convergent",
        lambda: observed(changes(6, b1=b"invented"), cursor=token(2)),
    ),
    "a reset leaves a box out": ("Complete", lambda: observed(reset(2, b1=b"one"))),
    "a reset has a box that is gone": (
        "Complete",
        lambda: observed(reset(6, b1=b"six", b2=b"two")),
    ),
    "a reset has an old version": ("Complete", lambda: observed(reset(3, b1=b"one", b2=b"two"))),
    "a reset says nothing of a hosted box": ("Complete", lambda: observed(reset(6), scope=["b2"])),
    "a reset ends without a cursor": (
        "Complete",
        lambda: observed(message("reset", None, last=True)),
    ),
    "a resumed stream misses a change": (
        "Resumable",
        lambda: observed(changes(6, b1=b"six"), cursor=token(2), held={"b1": b"one", "b2": b"two"}),
    ),
    "a resumed stream says at once that all is well": (
        "Resumable",
        lambda: observed(bookmark(6), cursor=token(5), held={"b1": b"three"}),
    ),
    "a bookmark passes over a change": (
        "Bookmarked",
        lambda: observed(reset(2, b1=b"one", b2=b"two"), bookmark(3)),
    ),
    "a page has the cursor of the whole": (
        "Bookmarked",
        lambda: observed(
            reset(2, b1=b"one", b2=b"two"), changes(6, b1=b"six"), changes(6, b2=None)
        ),
    ),
    "silence between two messages": (
        "Live",
        lambda: observed(reset(6, b1=b"six"), bookmark(6, 9.9), bookmark(6, 20.0)),
    ),
    "silence at the end": ("Live", lambda: observed(reset(6, b1=b"six"), settle=10.1)),
    "silence from the beginning": ("Live", lambda: observed(bookmark(6, 11.0), cursor=token(6))),
}


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_a_stream_that_keeps_its_promises_passes(case: Callable[[], object]) -> None:
    case()


@pytest.mark.parametrize(("guarantee", "case"), BAD.values(), ids=BAD)
def test_a_broken_promise_is_caught_by_the_checker_of_its_name(
    guarantee: str, case: Callable[[], object]
) -> None:
    with pytest.raises(GuaranteeBroken) as caught:
        case()
    assert caught.value.guarantee == guarantee


def test_every_checker_has_a_planted_violation() -> None:
    assert {guarantee for guarantee, _ in BAD.values()} == {
        "Ordered",
        "Unique",
        "Convergent",
        "Complete",
        "Resumable",
        "Bookmarked",
        "Live",
    }


def test_messages_of_both_streams_are_read_alike() -> None:
    policy = policy_pb2.NetworkPolicy(deny_all=policy_pb2.DenyAll())
    entry = entry_to_bytes("b1", "u1", 3, policy=policy.SerializeToString())
    frame = enforcement_service_pb2.StreamPoliciesResponse.FromString(
        changes_frame(token(3), [entry])
    )
    assert heard(1.0, frame) == Heard(
        time=1.0,
        kind="changes",
        cursor=cursor(3),
        said=(Said("b1", policy_state("b1", "u1", 3, policy)),),
    )
    box = box_pb2.Box(id="b1", uid="u1")
    watched = box_service_pb2.WatchBoxesResponse(
        cursor=token(3), reset=box_service_pb2.BoxReset(boxes=[box], last=True)
    )
    assert heard(1.0, watched) == Heard(
        time=1.0, kind="reset", cursor=cursor(3), said=(Said("b1", box_state(box)),), last=True
    )
