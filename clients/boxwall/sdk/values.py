"""What the control plane says, as values. Pure: no connection, no clock, no protobuf.

Times are aware datetimes in UTC. Text that other machines sent (names, labels, messages of nodes)
is as it came: whoever shows it on a terminal neutralises it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from boxwall.policy import Mode, PolicyWarning, Reason, Rule
from boxwall.sdk.network_policy import NetworkPolicy


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


class EnforcementState(StrEnum):
    """How far a policy has come, over all nodes that host the box or on one of them."""

    UNKNOWN = "UNKNOWN"
    """Not said (boxes in watches), or a state that only newer versions know. Not in force."""
    NOT_ATTACHED = "NOT_ATTACHED"
    """No node hosts the box."""
    PENDING = "PENDING"
    """A node has not acknowledged it yet."""
    ENFORCED = "ENFORCED"
    """In force on every node that hosts the box."""
    FAILED = "FAILED"
    """A node could not apply it, and denies everything for the box instead."""
    STALE = "STALE"
    """A node that hosts the box is out of contact; it keeps what it had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnforcement:
    """How far a box's policy has come on one node."""

    node_id: str
    state: EnforcementState
    applied_revision: int = 0
    """What the node last acknowledged. 0: nothing is known."""
    apply_time: datetime | None = None
    message: str = ""
    """Why it failed, in the node's words."""
    connections_kept: int = 0
    connections_cut: int = 0

    def __str__(self) -> str:
        match self.state:
            case EnforcementState.FAILED:
                what = f"could not apply it and denies everything ({self.message})"
            case EnforcementState.STALE:
                what = "is out of contact and keeps what it had"
            case EnforcementState.PENDING:
                what = "has not acknowledged it yet"
            case EnforcementState.ENFORCED:
                what = "enforces it"
            case _:
                what = f"is {self.state.value}"
        return f"node {self.node_id} {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """How far a box's policy has come: the worst state over `nodes`."""

    state: EnforcementState = EnforcementState.UNKNOWN
    applied_revision: int = 0
    nodes: tuple[NodeEnforcement, ...] = ()

    @property
    def lagging(self) -> tuple[NodeEnforcement, ...]:
        """The nodes that host the box and do not enforce the policy."""
        return tuple(node for node in self.nodes if node.state is not EnforcementState.ENFORCED)

    @property
    def is_settled_well(self) -> bool:
        """Whether nothing is left to wait for: in force everywhere, or no node hosts the box."""
        return self.state in (EnforcementState.ENFORCED, EnforcementState.NOT_ATTACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxState:
    """A box as the control plane last described it."""

    id: str
    uid: str = ""
    name: str = ""
    node_id: str = ""
    labels: Mapping[str, str] = field(default_factory=_no_labels)
    runtime: str = ""
    network_policy: NetworkPolicy
    policy_revision: int = 0
    enforcement: Enforcement = field(default_factory=Enforcement)
    expire_time: datetime | None = None
    source_snapshot: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None
    etag: str = ""
    warnings: tuple[PolicyWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotState:
    """A remembered policy that boxes can be made from."""

    id: str
    box_id: str
    network_policy: NetworkPolicy
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRevision:
    """One entry of a box's policy history."""

    revision: int
    network_policy: NetworkPolicy
    create_time: datetime | None = None
    author: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Connections that a node refused, alike in everything here, counted together.

    `domain` and `address` are what the box tried, so the box chose them: not to be trusted.
    """

    box_id: str
    domain: str = ""
    address: str = ""
    port: int = 0
    protocol: str = ""
    """"tcp", "udp" ...; empty: not said."""
    reason: Reason | None = None
    """None: a reason that only newer versions know."""
    rule: Rule | None = None
    policy_revision: int = 0
    first_time: datetime | None = None
    last_time: datetime | None = None
    count: int = 1
    dropped_before: int = 0
    """How many more came just before this one and were dropped, because there were too many."""


class NodeState(StrEnum):
    """How a node stands with the control plane."""

    UNKNOWN = "UNKNOWN"
    """A state that only newer versions know."""
    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    """Its boxes are stale."""
    FENCED = "FENCED"
    """An operator shut it out; its acknowledgements do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host that runs boxes and one agent."""

    id: str
    state: NodeState
    connect_time: datetime | None = None
    last_contact_time: datetime | None = None
    agent_version: str = ""
    attached_boxes: int = 0
    applied_revision: int = 0
    lag: int = 0
    """How many revisions the store is ahead of the node."""
    rejections: int = 0
    """How many of its boxes could not apply their policy and deny everything instead."""
    fence_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFilter:
    """Which boxes are meant: those that match everything given. The default is all of them."""

    labels: Mapping[str, str] = field(default_factory=_no_labels)
    node_id: str = ""
    name_prefix: str = ""
    mode: Mode | None = None
