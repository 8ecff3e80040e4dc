"""What may a sandbox reach on the network? Ask and decide from Python.

    from boxwall import Box

    box = await Box.create(network_policy={"mode": "custom", "allowed_domains": ["api.github.com"]})
    await box.update_network_policy({"mode": "deny-all"})

`boxwall.sync` has the same names without `await`. Names are imported when they are first used, so
that `import boxwall` costs nothing and `boxwall.policy` works without gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boxwall.policy import (
        Destination,
        InvalidDestination,
        Mode,
        PolicyWarning,
        Reason,
        Rule,
        Unlisted,
        Verdict,
        Violation,
        WarningCode,
    )
    from boxwall.sdk.agent import (
        AgentClient,
        AgentStatus,
        AttachedBox,
        AttachedState,
        ExplainedBox,
    )
    from boxwall.sdk.box import Box, BoxChange, BoxChanged, BoxGone, EphemeralBox
    from boxwall.sdk.client import Client
    from boxwall.sdk.default_client import close_default_client
    from boxwall.sdk.errors import (
        AlreadyExists,
        BadConfig,
        BoxNotFound,
        BoxwallError,
        CannotAttach,
        Conflict,
        InternalError,
        InvalidPolicy,
        InvalidRequest,
        NoAgent,
        NodeNotFound,
        NotAttached,
        NotEnforced,
        NotFound,
        Overloaded,
        PermissionDenied,
        QuotaExceeded,
        SnapshotNotFound,
        TimedOut,
        Unauthenticated,
        Unavailable,
        UnexpectedAnswer,
    )
    from boxwall.sdk.explanation import (
        Carrier,
        EntryKind,
        Explanation,
        KernelEntry,
        LeasedName,
        Outcome,
    )
    from boxwall.sdk.network_policy import NetworkPolicy, PolicyDocument, PolicyLike
    from boxwall.sdk.snapshot import Snapshot
    from boxwall.sdk.values import (
        Enforcement,
        EnforcementState,
        Node,
        NodeEnforcement,
        NodeState,
        PolicyRevision,
        Refusal,
    )

__all__ = [
    "Box",
    "EphemeralBox",
    "Client",
    "AgentClient",
    "AgentStatus",
    "AttachedBox",
    "AttachedState",
    "ExplainedBox",
    "Explanation",
    "Outcome",
    "Carrier",
    "LeasedName",
    "KernelEntry",
    "EntryKind",
    "close_default_client",
    "Snapshot",
    "NetworkPolicy",
    "PolicyDocument",
    "PolicyLike",
    "Mode",
    "Unlisted",
    "Destination",
    "Verdict",
    "Reason",
    "Rule",
    "PolicyWarning",
    "WarningCode",
    "Violation",
    "Enforcement",
    "EnforcementState",
    "NodeEnforcement",
    "Node",
    "NodeState",
    "PolicyRevision",
    "Refusal",
    "BoxChange",
    "BoxChanged",
    "BoxGone",
    "BoxwallError",
    "BadConfig",
    "InvalidRequest",
    "InvalidPolicy",
    "InvalidDestination",
    "NotFound",
    "BoxNotFound",
    "SnapshotNotFound",
    "NodeNotFound",
    "NotAttached",
    "AlreadyExists",
    "Conflict",
    "CannotAttach",
    "NotEnforced",
    "Unauthenticated",
    "PermissionDenied",
    "QuotaExceeded",
    "Unavailable",
    "NoAgent",
    "TimedOut",
    "Overloaded",
    "InternalError",
    "UnexpectedAnswer",
]

_HOMES = {
    "boxwall.policy": (
        "Destination InvalidDestination Mode PolicyWarning Reason Rule Unlisted Verdict Violation "
        "WarningCode"
    ),
    "boxwall.sdk.agent": "AgentClient AgentStatus AttachedBox AttachedState ExplainedBox",
    "boxwall.sdk.box": "Box BoxChange BoxChanged BoxGone EphemeralBox",
    "boxwall.sdk.client": "Client",
    "boxwall.sdk.default_client": "close_default_client",
    "boxwall.sdk.errors": (
        "AlreadyExists BadConfig BoxNotFound BoxwallError CannotAttach Conflict InternalError "
        "InvalidPolicy InvalidRequest NoAgent NodeNotFound NotAttached NotEnforced NotFound "
        "Overloaded PermissionDenied QuotaExceeded SnapshotNotFound TimedOut Unauthenticated "
        "Unavailable UnexpectedAnswer"
    ),
    "boxwall.sdk.explanation": "Carrier EntryKind Explanation KernelEntry LeasedName Outcome",
    "boxwall.sdk.network_policy": "NetworkPolicy PolicyDocument PolicyLike",
    "boxwall.sdk.snapshot": "Snapshot",
    "boxwall.sdk.values": (
        "Enforcement EnforcementState Node NodeEnforcement NodeState PolicyRevision Refusal"
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'boxwall' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
