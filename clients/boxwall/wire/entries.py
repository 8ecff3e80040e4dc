"""What a control plane tells a node, and what the node answers, as values. Pure.

An entry is a closed union: take it apart with `match`. Whatever cannot be understood is
`Unreadable`, and denies: a newer server may mean something by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from boxwall.policy import Destination, Policy, Reason, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """The box has this policy. A `uid` that is new means that nothing of the old box is kept."""

    box_id: str
    uid: str
    revision: int
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """There is no such box (any more)."""

    box_id: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYours:
    """The box may not be hosted here; the text says why."""

    box_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The entry cannot be understood; the text says what of it."""

    box_id: str
    uid: str
    revision: int
    message: str


Entry: TypeAlias = PolicySet | Removed | NotYours | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A page of the whole state. It holds once the `last` page is there."""

    cursor: str
    entries: Sequence[Entry]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is new."""

    cursor: str
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """Nothing is new."""

    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """The server is about to stop; come back after so many seconds."""

    cursor: str
    reconnect_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """The node is shut out."""

    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotUnderstood:
    """A message of a newer server."""

    cursor: str


Incoming: TypeAlias = Reset | Changes | Bookmark | GoAway | Fenced | NotUnderstood


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A box that a node hosts, and what is in force for it. Revision 0: nothing, it is closed."""

    box_id: str
    uid: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a node has to say about one box with an acknowledgement."""

    box_id: str
    revision: int
    failure: str = ""
    """Why the policy could not be put in force; everything is denied instead."""
    note: str = ""
    """What is in force otherwise than one would expect; nothing is allowed that is not meant."""
    connections_kept: int = 0
    connections_cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What a node refused of one kind: where to, why, under which policy, and how often."""

    box_id: str
    destination: Destination
    reason: Reason
    rule: Rule | None
    revision: int
    first_time: float = 0.0
    """Unix time, as `last_time`."""
    last_time: float = 0.0
    count: int = 1
