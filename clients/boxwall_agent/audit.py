"""What a change did to open connections: which live on, and which are cut. Pure.

A connection carries the grant of the entry that let it in. It is kept if that grant is still in
force, or another entry lets it in on its next packet; else it is cut: the kernel has refused its
packets since the transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from boxwall.policy import Address, Destination, Policy, Surroundings, decide
from boxwall_agent.marks import grant_in
from boxwall_agent.packets import TCP, Ends
from boxwall_agent.ruleset import BoxRules

TCP_CLOSE: Final = 8
"""TCP_CONNTRACK_CLOSE: a reset was seen."""

_OPEN_STATES = frozenset((1, 2, 3, 4, 5))
"""TCP_CONNTRACK_SYN_SENT to TCP_CONNTRACK_CLOSE_WAIT; what is closing is not counted."""

_JUST_NOW = 1
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One tracked connection, as it was opened."""

    source: Address
    destination: Address
    protocol: int
    source_port: int
    destination_port: int
    mark: int
    tcp_state: int | None
    """TCP_CONNTRACK_*; None if it is not TCP."""
    closed_for: int | None = None
    """Seconds since a reset was seen; None if none was."""
    answers: Ends | None = None
    """Who answers to whom, behind the node's NAT; None: nobody with ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A box whose policy was changed."""

    box_id: str
    revision: int
    policy: Policy | None
    addresses: frozenset[Address]
    grants_before: frozenset[int]
    """Grants that were in force before the change."""
    grants_now: frozenset[int]


@dataclass(slots=True)
class Outcome:
    """What became of a box's connections."""

    changed: Changed
    kept: int = 0
    cut: list[Connection] = field(default_factory=list)


def grants_of(rules: Iterable[BoxRules]) -> frozenset[int]:
    """The grants in force."""
    return frozenset(grant for one in rules for grant in one.grants.values())


def merged(earlier: Changed, later: Changed) -> Changed:
    """Two changes of one box as one."""
    return Changed(
        box_id=later.box_id,
        revision=later.revision,
        policy=later.policy,
        addresses=earlier.addresses | later.addresses,
        grants_before=earlier.grants_before | later.grants_before,
        grants_now=later.grants_now,
    )


def outcomes(
    changes: Sequence[Changed], connections: Iterable[Connection], surroundings: Surroundings
) -> list[Outcome]:
    """Say what became of the connections of the boxes that changed."""
    found = [Outcome(changed) for changed in changes]
    of_address = {address: one for one in found for address in one.changed.addresses}
    for connection in connections:
        outcome = of_address.get(connection.source)
        if outcome is None or not _counts(connection, outcome.changed):
            continue
        if _is_kept(connection, outcome.changed, surroundings):
            outcome.kept += 1
        else:
            outcome.cut.append(connection)
    return found


def is_open(connection: Connection) -> bool:
    """Whether it can still carry something; what is not TCP can, while it is tracked."""
    return connection.protocol != TCP or connection.tcp_state in _OPEN_STATES


def _counts(connection: Connection, changed: Changed) -> bool:
    """Of TCP what is open, or was reset just now: by the kernel, when its far end sent first."""
    grant = grant_in(connection.mark)
    counts = is_open(connection)
    if grant not in changed.grants_now and connection.closed_for is not None:
        counts = connection.closed_for <= _JUST_NOW
    return counts and (grant in changed.grants_before or grant in changed.grants_now)


def _is_kept(connection: Connection, changed: Changed, surroundings: Surroundings) -> bool:
    if grant_in(connection.mark) in changed.grants_now:
        return True
    if changed.policy is None:
        return False
    destination = Destination(address=connection.destination)
    return decide(changed.policy, destination, surroundings=surroundings).allowed
