"""How does a program without asyncio talk to the control plane? With the same names, blocking.

    from boxwall.sync import Box

    box = Box.create(network_policy={"mode": "deny-all"})
    for change in Box.watch(): ...

Each client runs one event loop on one background thread; a call hands its work to that thread and
waits. Safe from any number of threads. What is open is closed when the program ends.

After a fork the child must make new clients: those of the parent raise BadConfig there, and the
default client is made anew. gRPC itself wants a process to fork before its first call; prefer
`multiprocessing`'s "spawn".

Policies, values and errors are those of `boxwall`.
"""

from boxwall.policy import Destination, InvalidDestination, Mode, Reason, Unlisted, Verdict
from boxwall.sdk.box import BoxGone
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
from boxwall.sdk.network_policy import NetworkPolicy
from boxwall.sdk.values import (
    Enforcement,
    EnforcementState,
    Node,
    NodeEnforcement,
    NodeState,
    PolicyRevision,
    Refusal,
)
from boxwall.sync.box import Box, BoxChange, BoxChanged, EphemeralBox
from boxwall.sync.client import Client, Nodes
from boxwall.sync.iterate import Pages, Stream
from boxwall.sync.snapshot import Snapshot

__all__ = [
    "Box",
    "EphemeralBox",
    "Client",
    "Nodes",
    "Snapshot",
    "Pages",
    "Stream",
    "BoxChange",
    "BoxChanged",
    "BoxGone",
    "NetworkPolicy",
    "Mode",
    "Unlisted",
    "Destination",
    "Verdict",
    "Reason",
    "Enforcement",
    "EnforcementState",
    "NodeEnforcement",
    "Node",
    "NodeState",
    "PolicyRevision",
    "Refusal",
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
