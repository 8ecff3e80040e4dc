"""Frames put together from ready bytes are the messages that the generated classes would make."""

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from boxwall.v1 import box_pb2, box_service_pb2, enforcement_service_pb2, policy_pb2, stream_pb2
from boxwall.wire import frames
from boxwall_server.service.observing import chunked

Policies = enforcement_service_pb2.StreamPoliciesResponse
Boxes = box_service_pb2.WatchBoxesResponse
CURSORS = st.text("abcXYZ019-_", max_size=60)
POLICY = policy_pb2.NetworkPolicy(custom=policy_pb2.CustomPolicy(allowed_domains=["a.test"]))


@st.composite
def entries(draw: st.DrawFn) -> tuple[stream_pb2.PolicyEntry, bytes]:
    """An entry the slow way, and its bytes the fast way."""
    box_id, uid = draw(st.text(max_size=200)), draw(st.text(max_size=40))
    revision = draw(st.integers(0, 2**64 - 1))
    entry = stream_pb2.PolicyEntry(box_id=box_id, uid=uid, policy_revision=revision)
    match draw(st.sampled_from(["policy", "refused", "tombstone"])):
        case "policy":
            entry.network_policy.CopyFrom(POLICY)
            fast = frames.entry_to_bytes(box_id, uid, revision, policy=POLICY.SerializeToString())
        case "refused":
            entry.refused.message = draw(st.text(max_size=300))
            refused = entry.refused.message
            fast = frames.entry_to_bytes(box_id, uid, revision, refused=refused)
        case _:
            entry.tombstone.SetInParent()
            fast = frames.entry_to_bytes(box_id, uid, revision)
    return entry, fast


@given(CURSORS, st.lists(entries(), max_size=5))
def test_changes_for_nodes(cursor: str, made: list[tuple[stream_pb2.PolicyEntry, bytes]]) -> None:
    slow = Policies(cursor=cursor, changes=stream_pb2.Changes(entries=[entry for entry, _ in made]))
    fast = frames.changes_frame(cursor, [element for _, element in made])
    assert Policies.FromString(fast) == slow


@given(CURSORS, st.lists(entries(), max_size=5), st.booleans())
def test_a_reset_for_nodes(
    cursor: str, made: list[tuple[stream_pb2.PolicyEntry, bytes]], last: bool
) -> None:
    reset = stream_pb2.Reset(boxes=[entry for entry, _ in made], last=last)
    fast = frames.reset_frame(cursor, [element for _, element in made], last=last)
    assert Policies.FromString(fast) == Policies(cursor=cursor, reset=reset)


BOX = box_pb2.Box(id="b1", uid="u1", labels={"k": "v"}, network_policy=POLICY)


@given(CURSORS, st.integers(0, 5), st.booleans())
def test_a_reset_for_watches(cursor: str, count: int, last: bool) -> None:
    slow = Boxes(cursor=cursor, reset=box_service_pb2.BoxReset(boxes=[BOX] * count, last=last))
    fast = frames.reset_frame(cursor, [frames.box_to_element(BOX)] * count, last=last)
    assert Boxes.FromString(fast) == slow


@given(CURSORS)
def test_changes_for_watches(cursor: str) -> None:
    changes = [
        box_service_pb2.BoxChange(box_id="b1", box=BOX),
        box_service_pb2.BoxChange(box_id="b2", gone=stream_pb2.Tombstone()),
    ]
    fast = frames.changes_frame(
        cursor, [frames.box_change_to_element("b1", BOX), frames.box_change_to_element("b2", None)]
    )
    slow = Boxes(cursor=cursor, changes=box_service_pb2.BoxChanges(changes=changes))
    assert Boxes.FromString(fast) == slow


@pytest.mark.parametrize("message", [Policies, Boxes])
@given(cursor=CURSORS)
def test_a_bookmark(message: type[Policies] | type[Boxes], cursor: str) -> None:
    slow = message(cursor=cursor, bookmark=stream_pb2.Bookmark())
    assert message.FromString(frames.bookmark_frame(cursor)) == slow


@pytest.mark.parametrize("message", [Policies, Boxes])
def test_a_go_away(message: type[Policies] | type[Boxes]) -> None:
    delay = Duration(seconds=1, nanos=234_000_000)
    slow = message(cursor="c", go_away=stream_pb2.GoAway(reconnect_after=delay))
    assert message.FromString(frames.go_away_frame("c", 1.234)) == slow


def test_a_fenced() -> None:
    fenced = Policies.FromString(frames.fenced_frame("c"))
    assert fenced == Policies(cursor="c", fenced=stream_pb2.Fenced())


SHARED = ("cursor", "reset", "changes", "bookmark", "go_away")


@pytest.mark.parametrize("name", SHARED)
def test_both_streams_number_what_they_share_alike(name: str) -> None:
    numbers = {m.DESCRIPTOR.fields_by_name[name].number for m in (Policies, Boxes)}
    assert len(numbers) == 1
    assert numbers < set(range(1, 16)), "one byte of tag"


PAGES = {
    "Reset": (stream_pb2.Reset, "boxes"),
    "Changes": (stream_pb2.Changes, "entries"),
    "BoxReset": (box_service_pb2.BoxReset, "boxes"),
    "BoxChanges": (box_service_pb2.BoxChanges, "changes"),
}


@pytest.mark.parametrize(("page", "name"), PAGES.values(), ids=PAGES)
def test_every_page_carries_its_elements_in_field_one(page: type, name: str) -> None:
    field = page.DESCRIPTOR.fields_by_name[name]  # type: ignore[attr-defined]  # generated
    assert (field.number, field.is_repeated) == (1, True)


@pytest.mark.parametrize("page", [stream_pb2.Reset, box_service_pb2.BoxReset])
def test_both_resets_number_last_alike(page: type) -> None:
    assert page.DESCRIPTOR.fields_by_name["last"].number == 2  # type: ignore[attr-defined]


@given(st.integers(0, 2**40))
def test_lengths_are_varints(number: int) -> None:
    slow = stream_pb2.PolicyEntry(policy_revision=number).SerializeToString()
    assert slow == (b"\x18" + frames._varint(number) if number else b"")


@given(st.lists(st.binary(max_size=400_000), max_size=8))
def test_elements_are_cut_into_frames_below_a_megabyte_in_order(elements: list[bytes]) -> None:
    chunks = list(chunked(elements))
    assert [element for chunk in chunks for element in chunk] == elements
    assert all(sum(map(len, chunk)) <= frames.MAX_FRAME_BYTES for chunk in chunks)
    assert all(chunks)


def test_an_element_larger_than_a_frame_goes_alone() -> None:
    large = b"x" * (frames.MAX_FRAME_BYTES + 1)
    assert list(chunked([b"a", large, b"b"])) == [[b"a"], [large], [b"b"]]
