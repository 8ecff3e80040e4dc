"""What can go wrong, by what the caller can do about it.

    BoxwallError
    ├── BadConfig             address, token or certificate cannot be used; fix the settings
    ├── InvalidRequest        the request can never succeed; `violations` say what to change
    │   └── InvalidPolicy     the same for a policy; found locally before anything was sent, or by
    │                         the server
    ├── NotFound              `resource` is the type and the id
    │   ├── BoxNotFound
    │   ├── SnapshotNotFound
    │   ├── NodeNotFound
    │   └── NotAttached       the box is not attached to this node
    ├── AlreadyExists         take another id, or read what is there
    ├── Conflict              something else was written, or is attached: read again and decide anew
    │   └── CannotAttach      this node cannot police the interface as asked; it is closed
    ├── NotEnforced           the write is durable, but not in force everywhere (yet)
    ├── Unauthenticated       no token, or a wrong one
    ├── PermissionDenied      the token does not allow it
    ├── QuotaExceeded         the tenant has as much as it may have; waiting does not help
    ├── Unavailable           nobody answered, or not now; try again after `retry_after`
    │   ├── NoAgent           no agent answers on this node
    │   ├── TimedOut          no answer in time; a write may or may not have happened
    │   └── Overloaded        the server refuses for now to protect itself
    ├── InternalError         a bug of the server; `error_id` is in its log
    └── UnexpectedAnswer      the answer cannot be understood; the server is newer, or none of ours

Messages are for people; programs read the type and the fields. Errors of gRPC never come through.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from boxwall.policy import Violation
from boxwall.policy import errors as policy_errors

if TYPE_CHECKING:
    from boxwall.sdk.values import BoxState, Enforcement


class BoxwallError(Exception):
    """Root of the tree in the module's docstring.

    `reason` is the server's word for it (`BOX_NOT_FOUND`), "" if the error is not the server's.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return self.message


class BadConfig(BoxwallError, ValueError):
    """A setting cannot be used. The text says why and what to do, and never shows a token."""


class InvalidRequest(BoxwallError, ValueError):
    """The request can never succeed as it is.

    `more_violations` counts those that the server did not send because there were too many.
    """

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        more_violations: int = 0,
        reason: str = "",
    ) -> None:
        super().__init__(message, reason=reason)
        self.violations = violations
        self.more_violations = more_violations

    def __str__(self) -> str:
        if not self.violations:
            return self.message
        more = f"; and {self.more_violations} more" if self.more_violations else ""
        return "; ".join(map(str, self.violations)) + more


class InvalidPolicy(InvalidRequest, policy_errors.InvalidPolicy):
    """A policy that cannot be accepted, with every violation.

    Also a `boxwall.policy.InvalidPolicy`, so one `except` catches both. Paths are as in the
    document (`allowed_cidrs[3]`) if it was refused locally, as on the wire
    (`network_policy.custom.allowed_cidrs[3]`) if by the server.
    """


class NotFound(BoxwallError, LookupError):
    """What was asked for does not exist (any more). `resource` is its type and id, if known."""

    def __init__(
        self, message: str, *, resource: tuple[str, str] | None = None, reason: str = ""
    ) -> None:
        super().__init__(message, reason=reason)
        self.resource = resource


class BoxNotFound(NotFound):
    """There is no such box."""


class SnapshotNotFound(NotFound):
    """There is no such snapshot."""


class NodeNotFound(NotFound):
    """There is no such node."""


class NotAttached(NotFound):
    """The box is not attached to this node."""


class AlreadyExists(BoxwallError):
    """The id is taken. `resource` is the type and the id, if known."""

    def __init__(
        self, message: str, *, resource: tuple[str, str] | None = None, reason: str = ""
    ) -> None:
        super().__init__(message, reason=reason)
        self.resource = resource


class Conflict(BoxwallError):
    """The state is not as required: an etag is stale, a box attached, a node connected."""


class CannotAttach(Conflict):
    """An interface cannot be policed, or the policy of its box cannot be put in force.

    If the interface was attached, nothing passes it.
    """


class NotEnforced(BoxwallError):
    """The write is durable, and not in force on every node that hosts the box.

    `box` is the box as written, `enforcement` what became of the policy, `lagging` the nodes that
    do not enforce it, each with its state and, for FAILED, the reason. Wait on with
    `box.wait_enforced()`; a node that FAILED denies everything for the box meanwhile.
    """

    def __init__(self, box: "BoxState", enforcement: "Enforcement") -> None:
        self.box = box
        self.enforcement = enforcement
        self.lagging = enforcement.lagging
        nodes = "; ".join(map(str, self.lagging)) or "no node has answered"
        super().__init__(
            f"policy revision {box.policy_revision} of box {box.id} is stored, "
            f"but not in force everywhere: {nodes}"
        )


class Unauthenticated(BoxwallError):
    """The server does not know the caller: no token, or one that it does not accept."""


class PermissionDenied(BoxwallError):
    """The server knows the caller, who may not do this."""


class QuotaExceeded(BoxwallError):
    """The tenant has as many boxes as it may have: delete one, or have the limit raised."""


class Unavailable(BoxwallError):
    """Nobody answered, or not now. `retry_after`: seconds, if the server said so.

    What is safe to repeat has been repeated already.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, reason: str = "") -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class NoAgent(Unavailable):
    """No agent answers on this node's socket."""


class TimedOut(Unavailable):
    """No answer in time. A write may or may not have happened: read before repeating it."""


class Overloaded(Unavailable):
    """The server refuses for now: too many requests, or its store is full. Nothing was written."""


class InternalError(BoxwallError):
    """A bug of the server. `error_id` is in its log; `facts` are what else it said."""

    def __init__(
        self,
        message: str,
        *,
        error_id: str = "",
        facts: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message, reason=reason)
        self.error_id = error_id
        self.facts = dict(facts or {})


class UnexpectedAnswer(BoxwallError):
    """The answer cannot be understood, so nothing is concluded from it."""
