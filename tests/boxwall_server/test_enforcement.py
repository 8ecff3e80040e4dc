"""Who applied what: the ledger of acknowledgements."""

from collections.abc import Callable

import pytest

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import Enforcement, EnforcementLedger, NodeKey, State

N1, N2 = NodeKey("t1", "n1"), NodeKey("t1", "n2")
NOW = Timestamp(5)
NOT_ATTACHED, PENDING, ENFORCED, FAILED, STALE = State


def applied(ledger: EnforcementLedger, revision: int, node: NodeKey = N1) -> None:
    ledger.applied(node, "b1", Revision(revision), NOW)


def failed(ledger: EnforcementLedger, revision: int, node: NodeKey = N1) -> None:
    ledger.failed(node, "b1", Revision(revision), "no room")


def counted(ledger: EnforcementLedger, revision: int, kept: int, cut: int) -> None:
    ledger.counted(N1, "b1", Revision(revision), kept=kept, cut=cut)


def again(ledger: EnforcementLedger, revision: int) -> None:
    ledger.attach(N1, ["b1"])


def reconnects(ledger: EnforcementLedger, revision: int) -> None:
    ledger.connect(N1)
    ledger.attach(N1, ["b1"])


def hosting(*nodes: NodeKey) -> EnforcementLedger:
    ledger = EnforcementLedger()
    for node in nodes:
        ledger.connect(node)
        ledger.attach(node, ["b1"])
    return ledger


def judge(ledger: EnforcementLedger, required: int = 7, *recorded: str) -> Enforcement:
    return ledger.judge("t1", "b1", Revision(required), recorded)


Step = tuple[Callable[[EnforcementLedger, int], None], int]
ONE_NODE: dict[str, tuple[list[Step], State, int]] = {
    "nothing was said": ([], PENDING, 0),
    "an older revision": ([(applied, 6)], PENDING, 6),
    "this revision": ([(applied, 7)], ENFORCED, 7),
    "a newer revision": ([(applied, 8)], ENFORCED, 8),
    "a late acknowledgement of an older": ([(applied, 7), (applied, 6)], ENFORCED, 7),
    "it failed": ([(failed, 7)], FAILED, 0),
    "it failed, an older holds": ([(applied, 6), (failed, 7)], FAILED, 6),
    "it failed, then was applied": ([(failed, 7), (applied, 7)], ENFORCED, 7),
    "it failed, then a newer was applied": ([(failed, 7), (applied, 8)], ENFORCED, 8),
    "it was applied, then failed": ([(applied, 7), (failed, 7)], FAILED, 7),
    "an older failed": ([(failed, 6)], PENDING, 0),
    "a late failure of an older": ([(applied, 7), (failed, 6)], ENFORCED, 7),
    "a late acknowledgement after a newer failed": ([(failed, 8), (applied, 7)], FAILED, 0),
    "a newer failed": ([(applied, 7), (failed, 8)], FAILED, 7),
    "attached again": ([(applied, 7), (again, 0)], PENDING, 0),
    "connected again": ([(applied, 7), (reconnects, 0)], PENDING, 0),
    "failed, then attached again": ([(failed, 7), (again, 0)], PENDING, 0),
}


@pytest.mark.parametrize(("steps", "state", "revision"), ONE_NODE.values(), ids=ONE_NODE)
def test_what_a_node_says_last_is_how_far_a_policy_has_come(
    steps: list[Step], state: State, revision: int
) -> None:
    ledger = hosting(N1)
    for said, about in steps:
        said(ledger, about)
    found = judge(ledger)
    assert (found.state, found.applied_revision) == (state, revision)


TWO_NODES: dict[str, tuple[State, State, State]] = {
    "both enforce": (ENFORCED, ENFORCED, ENFORCED),
    "one is pending": (ENFORCED, PENDING, PENDING),
    "one has failed": (ENFORCED, FAILED, FAILED),
    "one has failed, one is pending": (PENDING, FAILED, FAILED),
    "one is stale": (ENFORCED, STALE, STALE),
    "one is stale, one has failed": (FAILED, STALE, STALE),
    "one is stale, one is pending": (PENDING, STALE, STALE),
}


def bring(ledger: EnforcementLedger, node: NodeKey, state: State) -> None:
    if state is ENFORCED:
        applied(ledger, 7, node)
    elif state is FAILED:
        failed(ledger, 7, node)
    elif state is STALE:
        ledger.disconnect(node)


@pytest.mark.parametrize(("first", "second", "state"), TWO_NODES.values(), ids=TWO_NODES)
def test_the_worst_node_is_the_state_of_the_box(first: State, second: State, state: State) -> None:
    for a, b in ((N1, N2), (N2, N1)):
        ledger = hosting(N1, N2)
        bring(ledger, a, first)
        bring(ledger, b, second)
        found = judge(ledger, 7, "n1", "n2")
        assert found.state is state
        assert [node.node_id for node in found.nodes] == ["n1", "n2"]
        assert found.settled() == (not {first, second} & {PENDING, STALE})


def test_a_box_that_nobody_hosts_is_not_attached_and_settled() -> None:
    found = judge(EnforcementLedger())
    assert (found.state, found.settled()) == (NOT_ATTACHED, True)


def test_a_node_that_is_recorded_and_not_in_contact_is_stale() -> None:
    found = judge(EnforcementLedger(), 7, "n1")
    assert (found.state, found.applied_revision) == (STALE, 0)


def test_a_node_in_contact_that_came_back_without_the_box_is_stale() -> None:
    ledger = EnforcementLedger()
    ledger.connect(N1)
    assert judge(ledger, 7, "n1").state is STALE


def test_the_lowest_revision_counts() -> None:
    ledger = hosting(N1, N2)
    applied(ledger, 9, N1)
    applied(ledger, 7, N2)
    assert judge(ledger).applied_revision == 7


def test_counts_come_with_the_last_answer_and_go_with_the_next() -> None:
    ledger = hosting(N1)
    applied(ledger, 7)
    counted(ledger, 7, 3, 1)
    assert _counts(ledger) == (3, 1)
    applied(ledger, 7)
    assert _counts(ledger) == (3, 1), "a repeated acknowledgement takes nothing away"
    applied(ledger, 8)
    assert _counts(ledger) == (0, 0)


@pytest.mark.parametrize("revision", [6, 8], ids=["older", "newer"])
def test_counts_for_another_revision_are_passed_over(revision: int) -> None:
    ledger = hosting(N1)
    applied(ledger, 7)
    counted(ledger, revision, 3, 1)
    assert _counts(ledger) == (0, 0)


def _counts(ledger: EnforcementLedger) -> tuple[int, int]:
    (node,) = judge(ledger).nodes
    return node.connections_kept, node.connections_cut


def test_a_failure_keeps_the_nodes_words_until_it_is_over() -> None:
    ledger = hosting(N1)
    failed(ledger, 7)
    assert judge(ledger).nodes[0].message == "no room"
    assert ledger.failures(N1) == 1
    applied(ledger, 7)
    assert judge(ledger).nodes[0].message == ""
    assert ledger.failures(N1) == 0


def test_a_failure_without_words_is_still_a_failure() -> None:
    ledger = hosting(N1)
    ledger.failed(N1, "b1", Revision(7), "")
    assert judge(ledger).nodes[0].message == "no reason given"


def test_when_a_policy_was_applied_is_known() -> None:
    ledger = hosting(N1)
    applied(ledger, 7)
    assert judge(ledger).nodes[0].apply_time == NOW


def test_of_a_node_that_is_not_in_contact_nothing_is_recorded() -> None:
    ledger = EnforcementLedger()
    ledger.attach(N1, ["b1"])
    applied(ledger, 7)
    failed(ledger, 7)
    counted(ledger, 7, 1, 1)
    assert judge(ledger).state is NOT_ATTACHED
    assert not ledger.in_contact(N1)
    assert ledger.boxes(N1) == 0


def test_of_a_box_that_a_node_does_not_host_nothing_is_recorded() -> None:
    ledger = hosting(N1)
    ledger.detach(N1, ["b1", "never-there"])
    applied(ledger, 7)
    assert judge(ledger).state is NOT_ATTACHED


def test_a_node_that_disconnects_tells_which_boxes_it_concerns() -> None:
    ledger = hosting(N1, N2)
    ledger.attach(N1, ["b2"])
    assert sorted(ledger.disconnect(N1)) == ["b1", "b2"]
    assert ledger.disconnect(N1) == []
    assert ledger.hosts("t1", "b1") == ["n2"]


def test_nodes_of_another_tenant_are_other_nodes() -> None:
    ledger = hosting(N1)
    applied(ledger, 7, NodeKey("t2", "n1"))
    assert judge(ledger).state is PENDING
    assert ledger.judge("t2", "b1", Revision(7), ()).state is NOT_ATTACHED


def test_a_note_is_told_until_the_next_revision() -> None:
    ledger = hosting(N1)
    applied(ledger, 7)
    ledger.noted(N1, "b1", Revision(7), "names are not enforced")
    (node,) = judge(ledger, 7).nodes
    assert (node.state, node.message) == (ENFORCED, "names are not enforced")
    applied(ledger, 8)
    (node,) = judge(ledger, 8).nodes
    assert node.message == ""


def test_a_note_about_another_revision_is_passed_over() -> None:
    ledger = hosting(N1)
    applied(ledger, 7)
    ledger.noted(N1, "b1", Revision(6), "late")
    (node,) = judge(ledger, 7).nodes
    assert node.message == ""
