"""What is kept of recent writes is what was committed, and bounded."""

from dataclasses import replace

from boxwall_server.changes.change import BoxRecord, PolicyBytes, Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.store.batch_rows import Attachment, Key, Rows, Writes
from boxwall_server.store.recent import LARGEST_POLICY, RecentBoxes

BOX = BoxRecord(
    tenant="t",
    id="a",
    uid="u",
    name="",
    node_id="",
    labels=(),
    runtime="",
    policy=PolicyBytes(b"p"),
    mode="custom",
    policy_revision=Revision(1),
    revision=Revision(1),
    expire_time=None,
    source_snapshot="",
    create_time=Timestamp(1),
    update_time=Timestamp(1),
)


def key(name: str) -> Key:
    return Key("t", name)


def written(*names: str, policy: bytes = b"p") -> Writes:
    boxes = {key(name): replace(BOX, id=name, policy=PolicyBytes(policy)) for name in names}
    return Writes(boxes=dict(boxes))


def known(recent: RecentBoxes, *names: str) -> Rows:
    rows = Rows()
    recent.give(rows, [key(name) for name in names])
    return rows


def test_a_box_that_was_written_is_known_with_its_nodes() -> None:
    recent = RecentBoxes()
    recent.keep(Rows(hosts={key("a"): {"n1"}}), written("a"))
    rows = Rows()
    assert recent.give(rows, [key("a"), key("b")]) == [key("b")]
    assert rows.boxes == {key("a"): BOX}
    assert rows.hosts == {key("a"): {"n1"}}


def test_what_is_given_may_be_changed_without_a_trace() -> None:
    recent = RecentBoxes()
    recent.keep(Rows(hosts={key("a"): {"n1"}}), written("a"))
    known(recent, "a").hosts[key("a")].add("n2")
    assert known(recent, "a").hosts == {key("a"): {"n1"}}


def test_a_box_that_was_deleted_is_not_known() -> None:
    recent = RecentBoxes()
    recent.keep(Rows(), written("a"))
    recent.keep(Rows(), Writes(boxes={key("a"): None}))
    assert known(recent, "a").boxes == {}


def test_a_box_whose_nodes_change_is_looked_up_again() -> None:
    recent = RecentBoxes()
    recent.keep(Rows(), written("a", "b"))
    recent.keep(Rows(), Writes(attachments={Attachment("t", "a", "n1"): True}))
    assert set(known(recent, "a", "b").boxes) == {key("b")}


def test_the_one_that_was_not_written_for_the_longest_is_forgotten_first() -> None:
    recent = RecentBoxes(most=2)
    for name in ("a", "b", "a", "c"):
        recent.keep(Rows(), written(name))
    assert set(known(recent, "a", "b", "c").boxes) == {key("a"), key("c")}
    assert len(recent) == 2


def test_a_large_policy_is_not_kept_and_not_an_older_one_either() -> None:
    recent = RecentBoxes()
    recent.keep(Rows(), written("a"))
    recent.keep(Rows(), written("a", policy=bytes(LARGEST_POLICY + 1)))
    assert known(recent, "a").boxes == {}


def test_after_a_commit_with_an_unknown_end_nothing_is_known() -> None:
    recent = RecentBoxes()
    recent.keep(Rows(), written("a"))
    recent.forget()
    assert len(recent) == 0
