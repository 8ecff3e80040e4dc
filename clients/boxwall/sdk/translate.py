"""One table from failed calls to the errors of the SDK. The only place that sees errors of gRPC."""

import re
from collections.abc import Callable, Mapping
from typing import Final

import grpc

from boxwall.sdk import errors
from boxwall.wire.errors import ErrorReason, WireError, error_from_rpc

_Make = Callable[[WireError], errors.BoxwallError]


def error_of(failure: grpc.aio.AioRpcError, server: str) -> errors.BoxwallError:
    """Return what a failed call to `server` means to the caller."""
    wire = error_from_rpc(failure)
    if wire.reason is None and wire.status is grpc.StatusCode.UNAVAILABLE:
        return errors.Unavailable(
            f"nobody answers at {server} ({_first_line(wire.message)})",
            retry_after=wire.retry_after,
        )
    make = _OF_REASON.get(wire.reason) if wire.reason else None
    return (make or _OF_STATUS.get(wire.status) or _unexpected)(wire)


def is_worth_repeating(error: errors.BoxwallError) -> bool:
    """Return whether the same call, if it is safe to repeat, may succeed soon."""
    match error:
        case errors.TimedOut():
            return False
        case errors.Overloaded():
            return error.reason == ErrorReason.OVERLOADED
        case _:
            return isinstance(error, errors.Unavailable)


def _plain(kind: type[errors.BoxwallError]) -> _Make:
    return lambda wire: kind(wire.message, reason=wire.reason or "")


def _invalid(kind: type[errors.InvalidRequest]) -> _Make:
    return lambda wire: kind(
        wire.message,
        violations=wire.violations,
        more_violations=wire.more_violations,
        reason=wire.reason or "",
    )


def _about(kind: type[errors.NotFound] | type[errors.AlreadyExists]) -> _Make:
    return lambda wire: kind(wire.message, resource=wire.resource, reason=wire.reason or "")


def _unavailable(kind: type[errors.Unavailable]) -> _Make:
    return lambda wire: kind(wire.message, retry_after=wire.retry_after, reason=wire.reason or "")


def _internal(wire: WireError) -> errors.BoxwallError:
    return errors.InternalError(
        wire.message, error_id=wire.error_id, facts=wire.facts, reason=wire.reason or ""
    )


def _timed_out(wire: WireError) -> errors.BoxwallError:
    return errors.TimedOut("no answer in time; give it longer with timeout=, or try again")


def _unimplemented(wire: WireError) -> errors.BoxwallError:
    return errors.UnexpectedAnswer(
        f"the server does not know this call ({_first_line(wire.message)}); "
        "it is older than this client, or no control plane of ours"
    )


def _unexpected(wire: WireError) -> errors.BoxwallError:
    return errors.UnexpectedAnswer(
        f"the call failed with {wire.status.name}: {_first_line(wire.message)}"
    )


# The reason says it better than the status; reasons that are not here go by their status.
_OF_REASON: Final[Mapping[ErrorReason, _Make]] = {
    ErrorReason.INVALID_POLICY: _invalid(errors.InvalidPolicy),
    ErrorReason.CANNOT_ATTACH: _plain(errors.CannotAttach),
    ErrorReason.QUOTA_EXCEEDED: _plain(errors.QuotaExceeded),
    ErrorReason.NOT_IN_FORCE: _plain(errors.CannotAttach),
    ErrorReason.NOT_ATTACHED: _about(errors.NotAttached),
    ErrorReason.BOX_NOT_FOUND: _about(errors.BoxNotFound),
    ErrorReason.SNAPSHOT_NOT_FOUND: _about(errors.SnapshotNotFound),
    ErrorReason.NODE_NOT_FOUND: _about(errors.NodeNotFound),
}

_OF_STATUS: Final[Mapping[grpc.StatusCode, _Make]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _invalid(errors.InvalidRequest),
    grpc.StatusCode.OUT_OF_RANGE: _invalid(errors.InvalidRequest),
    grpc.StatusCode.NOT_FOUND: _about(errors.NotFound),
    grpc.StatusCode.ALREADY_EXISTS: _about(errors.AlreadyExists),
    grpc.StatusCode.ABORTED: _plain(errors.Conflict),
    grpc.StatusCode.FAILED_PRECONDITION: _plain(errors.Conflict),
    grpc.StatusCode.UNAUTHENTICATED: _plain(errors.Unauthenticated),
    grpc.StatusCode.PERMISSION_DENIED: _plain(errors.PermissionDenied),
    grpc.StatusCode.UNAVAILABLE: _unavailable(errors.Unavailable),
    grpc.StatusCode.RESOURCE_EXHAUSTED: _unavailable(errors.Overloaded),
    grpc.StatusCode.DEADLINE_EXCEEDED: _timed_out,
    # Whoever is in between cancelled it; our own cancellation is never an error of a call.
    grpc.StatusCode.CANCELLED: _unavailable(errors.Unavailable),
    grpc.StatusCode.INTERNAL: _internal,
    grpc.StatusCode.UNKNOWN: _internal,
    grpc.StatusCode.UNIMPLEMENTED: _unimplemented,
}


def _first_line(text: str) -> str:
    """Return what gRPC says, without what it says about itself."""
    line = text.partition("\n")[0].rpartition("last error: ")[2]
    return re.sub(r"^[A-Z_]+: ", "", line)[:200] or "it does not say why"
