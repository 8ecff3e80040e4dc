"""The contract of `apply`, on every engine."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest

from boxwall_server.changes.change import ChangeKind, PolicyBytes, Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.store import errors
from boxwall_server.store.base import Store
from boxwall_server.store.mutations import (
    AttachBoxes,
    Attached,
    CreateSnapshot,
    DeleteBox,
    DeleteSnapshot,
    DetachBoxes,
    Done,
    Expiry,
    FenceNode,
    ForgetNode,
    Mutation,
    RecordNodes,
    RequestKey,
    SnapshotWritten,
    UnfenceNode,
    UpdateBox,
)
from boxwall_server.store.records import NodeRecord
from fakes.store_cases import SECOND, Heard, create, set_policy, written

LATER = Timestamp(1_002 * SECOND)


def key(body: bytes = b"body", request_id: str | None = None) -> RequestKey:
    return RequestKey(request_id=request_id or str(uuid.uuid4()), fingerprint=body)


async def test_a_box_can_be_read_as_soon_as_it_is_written(store: Store) -> None:
    outcome = await written(store, create(labels=(("team", "a"),), name="one", runtime="node"))
    read = await store.box("t1", "b1")
    assert read.box == outcome.box
    assert (outcome.revision, outcome.previous_policy, outcome.nodes) == (1, None, ())
    assert (read.box.policy_revision, read.box.revision) == (1, 1)


async def test_revisions_have_no_gaps_whatever_is_rejected_between(
    store: Store, heard: Heard
) -> None:
    await store.apply(create("b1"))
    with pytest.raises(errors.BoxExists):
        await store.apply(create("b1"))
    with pytest.raises(errors.BoxNotFound):
        await store.apply(set_policy("nobody"))
    await store.apply(set_policy("b1"))
    await store.apply(create("b2", tenant="t2"))
    assert heard.revisions == [1, 2, 3]
    assert store.head.revision == 3


async def test_a_rejected_write_does_not_fail_those_it_waited_with(store: Store) -> None:
    await store.apply(create("b1"))
    mutations: list[Mutation] = [
        create("b1"),
        *(create(f"c{n}") for n in range(20)),
        set_policy("nobody"),
    ]
    outcomes = await asyncio.gather(*map(store.apply, mutations), return_exceptions=True)
    assert isinstance(outcomes[0], errors.BoxExists)
    assert isinstance(outcomes[-1], errors.BoxNotFound)
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1:-1])


async def test_writes_that_wait_together_keep_their_order(store: Store, heard: Heard) -> None:
    await store.apply(create("b1"))
    policies = [f"policy-{n}".encode() for n in range(600)]
    outcomes = await asyncio.gather(*(written(store, set_policy(policy=p)) for p in policies))
    assert [outcome.revision for outcome in outcomes] == list(range(2, 602))
    assert (await store.box("t1", "b1")).box.policy == policies[-1]
    assert [c.box.policy for commit in heard.commits for c in commit.changes][1:] == policies


async def test_the_listener_is_told_before_the_caller(store: Store, heard: Heard) -> None:
    outcome = await written(store, create())
    assert heard.revisions == [outcome.revision]


async def test_a_cancelled_caller_takes_nobody_along(store: Store, heard: Heard) -> None:
    async with asyncio.TaskGroup() as tasks:
        doomed = tasks.create_task(store.apply(create("b1")))
        others = [tasks.create_task(store.apply(create(f"c{n}"))) for n in range(5)]
        await asyncio.sleep(0)
        doomed.cancel()
    assert all(task.done() and not task.cancelled() for task in others)
    assert len(heard.revisions) in (5, 6)


async def test_an_old_etag_is_refused_and_changes_nothing(store: Store, heard: Heard) -> None:
    first = (await written(store, create())).box.etag
    second = (await written(store, set_policy(etag=first))).box.etag
    assert first != second
    for stale in (
        set_policy(etag=first),
        UpdateBox(tenant="t1", id="b1", now=LATER, etag=first, name="x"),
        DeleteBox(tenant="t1", id="b1", now=LATER, etag=first),
    ):
        with pytest.raises(errors.EtagMismatch):
            await store.apply(stale)
    assert heard.revisions == [1, 2]


async def test_validating_only_changes_nothing_and_answers_as_if(
    store: Store, heard: Heard
) -> None:
    made = await written(store, create(validate_only=True))
    assert (made.revision, made.box.policy_revision) == (0, 0)
    with pytest.raises(errors.BoxNotFound):
        await store.box("t1", "b1")
    await store.apply(create())
    changed = await written(store, set_policy(validate_only=True))
    assert changed.box.policy == b"policy-1"
    assert (await store.box("t1", "b1")).box.policy == b"policy-0"
    with pytest.raises(errors.BoxExists):
        await store.apply(create(validate_only=True))
    assert heard.revisions == [1]


@pytest.mark.parametrize("together", [False, True], ids=["one after another", "at once"])
async def test_a_repeated_request_id_gets_the_first_answer(
    store: Store, heard: Heard, together: bool
) -> None:
    mutations = [create(request=key(request_id="r1")), create(request=key(request_id="r1"))]
    if together:
        first, again = await asyncio.gather(*(written(store, m) for m in mutations))
    else:
        first, again = [await written(store, m) for m in mutations]
    assert not first.replayed
    assert again == replace(first, replayed=True)
    assert heard.revisions == [1]


async def test_a_repeated_request_is_answered_as_it_was_then(store: Store) -> None:
    await store.apply(create())
    request = key(request_id="r1")
    first = await written(store, set_policy(policy=b"mine", request=request))
    await store.apply(set_policy(policy=b"theirs"))
    again = await written(store, set_policy(policy=b"mine", request=request))
    assert (again.box, again.previous_policy) == (first.box, b"policy-0")


async def test_a_request_id_with_another_body_is_refused(store: Store) -> None:
    await store.apply(create(request=key(b"one", "r1")))
    with pytest.raises(errors.RequestIdReused):
        await store.apply(create("b2", request=key(b"two", "r1")))
    await store.apply(create("b2", tenant="t2", request=key(b"two", "r1")))


async def test_a_request_id_is_forgotten_after_an_hour(store: Store) -> None:
    await store.apply(create(request=key(request_id="r1")))
    hours = Timestamp(1_000 * SECOND + 3600 * SECOND + 1)
    with pytest.raises(errors.BoxExists):
        await store.apply(create(request=key(request_id="r1"), now=hours))


async def test_a_request_id_is_known_though_the_clock_was_put_back(store: Store) -> None:
    first = await written(store, create(request=key(request_id="r1")))
    yesterday = Timestamp(1_000 * SECOND - 24 * 3600 * SECOND)
    again = await written(store, create(request=key(request_id="r1"), now=yesterday))
    assert again == replace(first, replayed=True)
    await store.compact(now=yesterday, retain=1_000)
    assert (await written(store, create(request=key(request_id="r1")))).replayed


async def test_a_rejection_is_not_remembered(store: Store) -> None:
    request = key(request_id="r1")
    with pytest.raises(errors.BoxNotFound):
        await store.apply(set_policy(request=request))
    await store.apply(create())
    assert not (await written(store, set_policy(request=request))).replayed


async def test_a_deleted_box_leaves_its_id_and_nothing_else(store: Store, heard: Heard) -> None:
    old = (await written(store, create(labels=(("team", "a"),)))).box
    deleted = await store.apply(DeleteBox(tenant="t1", id="b1", now=LATER))
    assert getattr(deleted, "revision", None) == 2
    new = (await written(store, create())).box
    assert new.uid != old.uid
    assert new.labels == ()
    history = await store.history("t1", "b1", before=Revision(99), limit=10)
    assert [record.revision for record in history] == [3]
    kinds = [c.kind for commit in heard.commits for c in commit.changes]
    assert kinds == [ChangeKind.CREATED, ChangeKind.DELETED, ChangeKind.CREATED]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "new"}, {"name": "new"}),
        ({"name": ""}, {"name": ""}),
        ({"labels": (("a", "b"),)}, {"labels": (("a", "b"),)}),
        ({"labels": ()}, {"labels": ()}),
        ({"runtime": "deno"}, {"runtime": "deno"}),
        ({"node_id": "n2"}, {"node_id": "n2"}),
        ({"expiry": Expiry(at=LATER)}, {"expire_time": LATER}),
        ({"expiry": Expiry(at=None)}, {"expire_time": None}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_an_update_changes_what_it_names_and_never_the_policy(
    store: Store, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = create(name="old", labels=(("x", "y"),), runtime="node", expire_time=Timestamp(5))
    before = (await written(store, made)).box
    await store.apply(UpdateBox(tenant="t1", id="b1", now=LATER, **fields))
    after = (await store.box("t1", "b1")).box
    assert after == replace(
        before, **expected, revision=Revision(2), update_time=LATER, policy_revision=Revision(1)
    )


async def test_a_box_cannot_be_placed_elsewhere_while_a_node_hosts_it(store: Store) -> None:
    await store.apply(create())
    await store.apply(AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",)))
    move = UpdateBox(tenant="t1", id="b1", now=LATER, node_id="n2")
    with pytest.raises(errors.BoxAttached):
        await store.apply(move)
    await store.apply(DetachBoxes(tenant="t1", node_id="n1", box_ids=("b1",)))
    await store.apply(move)


async def test_only_the_placed_node_can_attach_a_box(store: Store) -> None:
    await store.apply(create("placed", node_id="n1"))
    await store.apply(create("free"))
    ask = AttachBoxes(tenant="t1", node_id="n2", box_ids=("placed", "free", "unknown", "free"))
    assert await store.apply(ask) == Attached(
        attached=("free", "unknown"), refused={"placed": "n1"}
    )
    strict = replace(ask, only_placed=True)
    refused = {"placed": "n1", "free": "", "unknown": ""}
    assert await store.apply(strict) == Attached(attached=(), refused=refused)


async def test_of_what_is_refused_no_attachment_is_left(store: Store) -> None:
    await store.apply(create("free"))
    attach = AttachBoxes(tenant="t1", node_id="n1", box_ids=("free", "unknown"))
    await store.apply(attach)
    await store.apply(replace(attach, only_placed=True))
    assert await store.attached("t1", "n1") == []
    assert (await store.box("t1", "free")).nodes == ()


PLACEMENTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "anywhere": ({}, ("n1", "n2")),
    "on one of them": ({"node_id": "n2"}, ("n2",)),
    "on another": ({"node_id": "n3"}, ()),
    "nowhere, where every box is placed": ({"only_placed": True}, ()),
    "on one of them, where every box is": ({"node_id": "n1", "only_placed": True}, ("n1",)),
    "on another, but not for real": ({"node_id": "n3", "validate_only": True}, ("n1", "n2")),
}


@pytest.mark.parametrize(("fields", "hosts"), PLACEMENTS.values(), ids=PLACEMENTS)
async def test_nodes_that_may_not_host_a_box_made_anew_do_not(
    store: Store, fields: dict[str, Any], hosts: tuple[str, ...]
) -> None:
    await store.apply(create())
    for node_id in ("n1", "n2"):
        await store.apply(AttachBoxes(tenant="t1", node_id=node_id, box_ids=("b1",)))
    await store.apply(DeleteBox(tenant="t1", id="b1", now=LATER))
    assert (await written(store, create(**fields))).nodes == hosts
    attached = [node for node in ("n1", "n2", "n3") if await store.attached("t1", node)]
    assert tuple(attached) == hosts


async def test_a_box_made_elsewhere_in_the_same_batch_as_its_attachment_is_not_attached(
    store: Store,
) -> None:
    await asyncio.gather(
        store.apply(AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",))),
        store.apply(create(node_id="n2")),
    )
    assert await store.attached("t1", "n1") == []


async def test_a_tenant_has_so_many_boxes_and_no_more(store: Store) -> None:
    await store.apply(create("b1"))
    await store.apply(create("b2", max_boxes=2))
    with pytest.raises(errors.TooManyBoxes):
        await store.apply(create("b3", max_boxes=2))
    await store.apply(create("b3", tenant="t2", max_boxes=2))
    await store.apply(create("b3", max_boxes=2, validate_only=True))
    await store.apply(DeleteBox(tenant="t1", id="b1", now=LATER))
    await store.apply(create("b3", max_boxes=2))
    with pytest.raises(errors.BoxExists):
        await store.apply(create("b3", max_boxes=2))
    with pytest.raises(errors.TooManyBoxes):
        await store.apply(create("b4", max_boxes=1))


async def test_boxes_that_are_made_in_one_batch_count(store: Store) -> None:
    many = [store.apply(create(f"b{number}", max_boxes=5)) for number in range(20)]
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert sum(isinstance(outcome, errors.TooManyBoxes) for outcome in outcomes) == 15
    end = [store.apply(DeleteBox(tenant="t1", id=f"b{number}", now=LATER)) for number in range(5)]
    await asyncio.gather(*end, store.apply(create("last", max_boxes=1)))


async def test_the_answer_to_a_request_id_needs_no_room(store: Store) -> None:
    request = key()
    first = await written(store, create("b1", max_boxes=1, request=request))
    again = await written(store, create("b1", max_boxes=1, request=request))
    assert (again.replayed, again.box) == (True, first.box)


async def test_a_write_tells_which_nodes_host_the_box(store: Store) -> None:
    await store.apply(create())
    for node_id in ("n2", "n1"):
        await store.apply(AttachBoxes(tenant="t1", node_id=node_id, box_ids=("b1",)))
    assert (await written(store, set_policy())).nodes == ("n1", "n2")


async def test_attachments_outlive_the_box_and_take_no_revision(store: Store, heard: Heard) -> None:
    await store.apply(create())
    await store.apply(AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",)))
    await store.apply(DeleteBox(tenant="t1", id="b1", now=LATER))
    assert await store.attached("t1", "n1") == ["b1"]
    assert (await written(store, create())).nodes == ("n1",)
    assert heard.revisions == [1, 2, 3]


async def test_a_fenced_node_attaches_nothing_until_it_is_let_in(store: Store) -> None:
    attach = AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",))
    await store.apply(FenceNode(tenant="t1", node_id="n1", reason="stolen"))
    with pytest.raises(errors.NodeFenced):
        await store.apply(attach)
    heard_of = NodeRecord(tenant="t1", id="n1", agent_version="2")
    await store.apply(RecordNodes(nodes=(heard_of,)))
    assert (await store.node("t1", "n1")).fence_reason == "stolen"
    await store.apply(UnfenceNode(tenant="t1", node_id="n1"))
    await store.apply(attach)


async def test_forgetting_a_node_ends_its_attachments(store: Store) -> None:
    await store.apply(RecordNodes(nodes=(NodeRecord(tenant="t1", id="n1"),)))
    await store.apply(AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1", "b2")))
    assert await store.apply(ForgetNode(tenant="t1", node_id="n1")) == Done(count=2)
    assert await store.attached("t1", "n1") == []
    for gone in (ForgetNode(tenant="t1", node_id="n1"), UnfenceNode(tenant="t1", node_id="n1")):
        with pytest.raises(errors.NodeNotFound):
            await store.apply(gone)


async def test_a_node_never_goes_back_in_what_it_applied(store: Store) -> None:
    for revision in (7, 3):
        record = NodeRecord(tenant="t1", id="n1", applied_revision=Revision(revision))
        await store.apply(RecordNodes(nodes=(record,)))
    assert (await store.node("t1", "n1")).applied_revision == 7


async def test_a_box_made_from_a_snapshot_has_its_policy_unless_given_another(
    store: Store,
) -> None:
    await store.apply(create(policy=PolicyBytes(b"then"), mode="deny-all"))
    await store.apply(CreateSnapshot(tenant="t1", id="s1", box_id="b1", now=LATER))
    await store.apply(set_policy(policy=b"now"))
    same = await written(store, create("b2", source_snapshot="s1", policy=None, mode=""))
    other = await written(store, create("b3", source_snapshot="s1"))
    assert (same.box.policy, same.box.mode) == (b"then", "deny-all")
    assert other.box.policy == b"policy-0"
    with pytest.raises(errors.SnapshotNotFound):
        await store.apply(create("b4", source_snapshot="s2"))
    with pytest.raises(errors.SnapshotNotFound):
        await store.apply(create("b4", tenant="t2", source_snapshot="s1", policy=None))


async def test_snapshots_are_made_once_and_deleted_once(store: Store) -> None:
    await store.apply(create())
    make = CreateSnapshot(tenant="t1", id="s1", box_id="b1", now=LATER, request=key(request_id="r"))
    first = await store.apply(make)
    assert isinstance(first, SnapshotWritten)
    assert await store.apply(make) == replace(first, replayed=True)
    with pytest.raises(errors.SnapshotExists):
        await store.apply(replace(make, request=None))
    with pytest.raises(errors.BoxNotFound):
        await store.apply(replace(make, request=None, id="s2", box_id="nobody"))
    assert await store.apply(DeleteSnapshot(tenant="t1", id="s1")) == Done(count=1)
    with pytest.raises(errors.SnapshotNotFound):
        await store.apply(DeleteSnapshot(tenant="t1", id="s1"))


async def test_a_box_expires_only_if_its_time_is_still_up(store: Store) -> None:
    await store.apply(create(expire_time=LATER))
    await store.apply(create("for ever"))
    early = Timestamp(LATER - 1)
    for box_id, at in (("b1", early), ("for ever", LATER)):
        with pytest.raises(errors.BoxNotFound):
            await store.apply(DeleteBox(tenant="t1", id=box_id, now=at, expired_at=at))
    await store.apply(DeleteBox(tenant="t1", id="b1", now=LATER, expired_at=LATER))
