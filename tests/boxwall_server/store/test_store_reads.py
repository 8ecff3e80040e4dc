"""The contract of reads, cursors and upkeep, on every engine."""

from dataclasses import replace

import pytest

from boxwall_server.changes.change import ChangeKind, PolicyBytes, Timestamp
from boxwall_server.changes.revision import NO_COMMIT, CommitId, Epoch, Revision
from boxwall_server.store import errors
from boxwall_server.store.base import Store
from boxwall_server.store.mutations import AttachBoxes, CreateSnapshot, DeleteBox, UpdateBox
from boxwall_server.store.records import BoxFilter
from fakes.store_cases import SECOND, create, set_policy, written

LATER = Timestamp(1_002 * SECOND)
TOP = Revision(10**9)


async def fill(store: Store) -> None:
    """Boxes to be told apart by every filter."""
    await store.apply(create("b1", name="web-1", labels=(("env", "prod"), ("team", "a"))))
    await store.apply(create("b2", name="web-2", labels=(("team", "a"),), node_id="n1"))
    await store.apply(create("b3", name="WEB-3", labels=(("team", "b"),), mode="deny-all"))
    await store.apply(create("b4", name="we%-4"))
    await store.apply(create("b1", tenant="t2", name="web-9", labels=(("team", "a"),)))
    await store.apply(AttachBoxes(tenant="t1", node_id="n1", box_ids=("b3",)))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (BoxFilter(), ["b1", "b2", "b3", "b4"]),
        (BoxFilter(labels=(("team", "a"),)), ["b1", "b2"]),
        (BoxFilter(labels=(("env", "prod"), ("team", "a"))), ["b1"]),
        (BoxFilter(labels=(("team", "c"),)), []),
        (BoxFilter(node_id="n1"), ["b2", "b3"]),
        (BoxFilter(name_prefix="web-"), ["b1", "b2"]),
        (BoxFilter(name_prefix="we%"), ["b4"]),
        (BoxFilter(name_prefix="w_b"), []),
        (BoxFilter(mode="deny-all"), ["b3"]),
        (BoxFilter(mode="deny-all", labels=(("team", "a"),)), []),
    ],
    ids=str,
)
async def test_a_filter_finds_what_matches_all_of_it(
    store: Store, where: BoxFilter, expected: list[str]
) -> None:
    await fill(store)
    found = await store.boxes("t1", where, after="", limit=100)
    assert [hosted.box.id for hosted in found] == expected


async def test_pages_are_stable_while_boxes_come_and_go(store: Store) -> None:
    for number in range(0, 10, 2):
        await store.apply(create(f"b{number}"))
    first = await store.boxes("t1", BoxFilter(), after="", limit=2)
    await store.apply(create("b1"))
    await store.apply(DeleteBox(tenant="t1", id="b0", now=LATER))
    rest = await store.boxes("t1", BoxFilter(), after=first[-1].box.id, limit=10)
    assert [h.box.id for h in (*first, *rest)] == ["b0", "b2", "b4", "b6", "b8"]


async def test_relabelling_moves_a_box_between_filters(store: Store) -> None:
    await fill(store)
    await store.apply(UpdateBox(tenant="t1", id="b1", now=LATER, labels=(("team", "b"),)))
    found = await store.boxes("t1", BoxFilter(labels=(("team", "b"),)), after="", limit=10)
    assert [hosted.box.id for hosted in found] == ["b1", "b3"]


async def test_nothing_of_another_tenant_is_seen(store: Store) -> None:
    await fill(store)
    await store.apply(CreateSnapshot(tenant="t1", id="s1", box_id="b1", now=LATER))
    for read in (
        store.box("t3", "b1"),
        store.snapshot("t3", "s1"),
        store.node("t3", "n1"),
        store.history("t3", "b1", before=TOP, limit=1),
    ):
        with pytest.raises(errors.Rejected):
            await read
    assert await store.boxes("t3", BoxFilter(), after="", limit=9) == []
    assert await store.snapshots("t3", box_id="", after="", limit=9) == []
    assert await store.attached("t3", "n1") == []
    [entry] = (await store.entries("t3", ["b1"])).entries
    assert entry.policy is None


async def test_a_read_can_ask_for_a_revision(store: Store) -> None:
    await store.apply(create())
    assert (await store.box("t1", "b1", Revision(1))).box.id == "b1"
    with pytest.raises(errors.NotYetRead):
        await store.box("t1", "b1", Revision(2))
    with pytest.raises(errors.NotYetRead):
        await store.boxes("t1", BoxFilter(), after="", limit=1, at_least=Revision(2))


async def test_history_tells_who_set_which_policy_newest_first(store: Store) -> None:
    await store.apply(create())
    for number in range(3):
        await store.apply(set_policy(policy=f"p{number}".encode(), author=f"author-{number}"))
    await store.apply(UpdateBox(tenant="t1", id="b1", now=LATER, name="not policy"))
    found = await store.history("t1", "b1", before=TOP, limit=3)
    assert [(r.revision, r.policy, r.author) for r in found] == [
        (4, b"p2", "author-2"),
        (3, b"p1", "author-1"),
        (2, b"p0", "author-0"),
    ]
    [first] = await store.history("t1", "b1", before=Revision(2), limit=3)
    assert (first.revision, first.author) == (1, "ann")


async def test_entries_are_answered_in_order_with_tombstones_for_what_is_not(
    store: Store,
) -> None:
    await store.apply(create("b1"))
    gone = (await written(store, create("b2"))).box
    await store.apply(DeleteBox(tenant="t1", id="b2", now=LATER))
    at = await store.entries("t1", ["b3", "b2", "b1"])
    assert at.cursor == store.head
    assert [(e.box_id, e.uid, e.revision, e.policy) for e in at.entries] == [
        ("b3", "", 0, None),
        ("b2", gone.uid, 3, None),
        ("b1", at.entries[2].uid, 1, b"policy-0"),
    ]


async def test_only_true_cursors_verify(store: Store) -> None:
    empty = store.head
    assert await store.verify(empty)
    assert empty.commit_id == NO_COMMIT
    await store.apply(create())
    await store.apply(set_policy())
    head = store.head
    assert await store.verify(empty)
    assert await store.verify(head.at_frame(7))
    forged = {
        "another history": replace(head, epoch=Epoch(bytes(16))),
        "the future": replace(head, revision=Revision(3)),
        "another commit": replace(head, commit_id=CommitId(bytes(8))),
        "another revision": replace(head, revision=Revision(1)),
        "a start with a commit": replace(empty, commit_id=head.commit_id),
    }
    for name, cursor in forged.items():
        assert not await store.verify(cursor), name


async def test_since_gives_the_newest_change_of_each_box_in_order(store: Store) -> None:
    await store.apply(create("b1"))
    start = store.head
    await store.apply(create("b2"))
    await store.apply(set_policy("b1"))
    await store.apply(set_policy("b2", b"last"))
    await store.apply(UpdateBox(tenant="t1", id="b1", now=LATER, name="x"))
    await store.apply(create("b3", tenant="t2"))
    at = await store.since("t1", start, limit=10)
    assert at is not None
    assert at.cursor == store.head
    found = [(c.box.id, c.kind, c.revision) for c in at.changes]
    assert found == [("b2", ChangeKind.POLICY, 4), ("b1", ChangeKind.UPDATED, 5)]
    nodes = await store.since("t1", start, limit=10, for_nodes=True)
    assert nodes is not None
    found = [(c.box.id, c.kind, c.revision) for c in nodes.changes]
    assert found == [("b1", ChangeKind.POLICY, 3), ("b2", ChangeKind.POLICY, 4)]


async def test_since_tells_of_deletions_with_the_last_uid(store: Store) -> None:
    uid = (await written(store, create())).box.uid
    start = store.head
    await store.apply(DeleteBox(tenant="t1", id="b1", now=LATER))
    at = await store.since("t1", start, limit=10)
    assert at is not None
    [change] = at.changes
    assert (change.kind, change.box.id, change.box.uid) == (ChangeKind.DELETED, "b1", uid)


async def test_since_gives_up_beyond_its_limit_and_on_foreign_cursors(store: Store) -> None:
    start = store.head
    for number in range(3):
        await store.apply(create(f"b{number}"))
    assert await store.since("t1", start, limit=2) is None
    assert await store.since("t1", start, limit=3) is not None
    assert await store.since("t1", replace(start, epoch=Epoch(bytes(16))), limit=3) is None


async def test_a_scan_shows_one_moment_whatever_is_written_meanwhile(store: Store) -> None:
    for number in range(1_200):
        await store.apply(create(f"b{number:04d}"))
    async with store.scan("t1") as scan:
        seen = []
        async for page in scan.pages():
            seen += [(box.id, box.policy) for box in page]
            await store.apply(set_policy("b1199", b"meanwhile"))
            await store.apply(create(f"z{len(seen)}"))
        assert scan.cursor.revision == 1_200
    assert seen == [(f"b{number:04d}", b"policy-0") for number in range(1_200)]


async def test_a_scan_of_nothing_has_one_empty_page(store: Store) -> None:
    async with store.scan("t1") as scan:
        assert [list(page) async for page in scan.pages()] == [[]]


async def test_compaction_raises_the_floor_and_keeps_state_and_history(store: Store) -> None:
    cursors = []
    await store.apply(create())
    for number in range(9):
        cursors.append(store.head)
        await store.apply(set_policy(policy=f"p{number}".encode()))
    assert await store.compact(now=LATER, retain=3) == 8
    assert not await store.verify(cursors[0])
    assert await store.since("t1", cursors[0], limit=10) is None
    assert await store.verify(cursors[-1])
    assert await store.verify(store.head)
    assert (await store.box("t1", "b1")).box.policy == b"p8"
    assert len(await store.history("t1", "b1", before=TOP, limit=99)) == 10
    assert (await written(store, set_policy())).revision == 11


async def test_a_cursor_of_the_empty_store_falls_off_too(store: Store) -> None:
    empty = store.head
    await store.apply(create("b1"))
    await store.apply(create("b2"))
    await store.compact(now=LATER, retain=1)
    assert not await store.verify(empty)


async def test_expiry_is_found_in_order_over_all_tenants(store: Store) -> None:
    assert await store.next_expiry() is None
    await store.apply(create("b1", expire_time=Timestamp(30)))
    await store.apply(create("b2", tenant="t2", expire_time=Timestamp(10)))
    await store.apply(create("b3", expire_time=Timestamp(20)))
    await store.apply(create("b4"))
    assert await store.next_expiry() == 10
    due = await store.expired(Timestamp(20), limit=9)
    assert [(box.tenant, box.id) for box in due] == [("t2", "b2"), ("t1", "b3")]
    assert len(await store.expired(Timestamp(99), limit=2)) == 2


async def test_snapshots_are_listed_by_id_and_by_box(store: Store) -> None:
    for box_id, policy in (("b1", b"one"), ("b2", b"two")):
        await store.apply(create(box_id, policy=PolicyBytes(policy)))
    for snapshot_id, box_id in (("s3", "b1"), ("s1", "b1"), ("s2", "b2")):
        await store.apply(CreateSnapshot(tenant="t1", id=snapshot_id, box_id=box_id, now=LATER))
    everything = await store.snapshots("t1", box_id="", after="", limit=9)
    assert [(s.id, s.policy) for s in everything] == [
        ("s1", b"one"),
        ("s2", b"two"),
        ("s3", b"one"),
    ]
    later = await store.snapshots("t1", box_id="b1", after="s1", limit=9)
    assert [s.id for s in later] == ["s3"]
