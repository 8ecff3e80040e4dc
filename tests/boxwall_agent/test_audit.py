"""Which connections a change keeps and cuts."""

import pytest

from boxwall.policy import (
    NOTHING_SPECIAL,
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Network,
    Policy,
)
from boxwall_agent.audit import TCP_CLOSE, Changed, Connection, merged, outcomes
from boxwall_agent.marks import OPENED_INBOUND

BOX = Address.parse("10.77.1.2")
ESTABLISHED, TIME_WAIT = 3, 7


def connection(
    to: str = "1.1.1.1",
    mark: int = 1,
    state: int | None = ESTABLISHED,
    closed_for: int | None = None,
    source: Address = BOX,
) -> Connection:
    return Connection(source, Address.parse(to), 6, 4000, 443, mark, state, closed_for)


def changed(policy: Policy | None, before: set[int], now: set[int], revision: int = 2) -> Changed:
    return Changed(
        box_id="b1",
        revision=revision,
        policy=policy,
        addresses=frozenset({BOX}),
        grants_before=frozenset(before),
        grants_now=frozenset(now),
    )


@pytest.mark.parametrize(
    ("found", "change", "expected"),
    [
        (connection(), changed(AllowAll(), {1}, {1}), (1, 0)),
        (connection(), changed(DenyAll(), {1}, set()), (0, 1)),
        (connection(), changed(None, {1}, set()), (0, 1)),
        (
            connection(),
            changed(Custom(allowed_cidrs=(Network.parse("1.0.0.0/8"),)), {1}, {2}),
            (1, 0),
        ),
        (
            connection(),
            changed(Custom(allowed_cidrs=(Network.parse("2.0.0.0/8"),)), {1}, {2}),
            (0, 1),
        ),
        (connection(mark=0), changed(DenyAll(), {1}, set()), (0, 0)),
        (connection(mark=OPENED_INBOUND), changed(DenyAll(), {1}, set()), (0, 0)),
        (connection(mark=9), changed(DenyAll(), {1}, set()), (0, 0)),
        (connection(state=TIME_WAIT), changed(DenyAll(), {1}, set()), (0, 0)),
        (connection(state=TCP_CLOSE, closed_for=0), changed(DenyAll(), {1}, set()), (0, 1)),
        (connection(state=TCP_CLOSE, closed_for=5), changed(DenyAll(), {1}, set()), (0, 0)),
        (connection(state=TCP_CLOSE, closed_for=0), changed(AllowAll(), {1}, {1}), (0, 0)),
        (connection(source=Address.parse("10.77.2.2")), changed(None, {1}, set()), (0, 0)),
    ],
    ids=[
        "its grant stays",
        "deny-all",
        "closed",
        "another entry lets it in",
        "no entry lets it in",
        "never judged",
        "opened towards the box",
        "cut by an earlier change",
        "closing by itself",
        "reset by this change",
        "reset long ago",
        "reset by its peer, allowed",
        "another box's",
    ],
)
def test_a_connection_counts_once(
    found: Connection, change: Changed, expected: tuple[int, int]
) -> None:
    (outcome,) = outcomes([change], [found], NOTHING_SPECIAL)
    assert (outcome.kept, len(outcome.cut)) == expected


def test_changes_that_follow_each_other_count_from_the_first() -> None:
    both = merged(changed(AllowAll(), {1}, {2}, 2), changed(DenyAll(), {2}, set(), 3))
    assert both.grants_before == {1, 2}
    assert both.grants_now == frozenset()
    assert both.revision == 3
