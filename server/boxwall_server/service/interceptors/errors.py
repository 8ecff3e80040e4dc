"""The one place where errors become statuses."""

import asyncio
import secrets
from typing import Any, Final

import structlog

from boxwall.policy import InvalidDestination, InvalidPolicy
from boxwall.wire.errors import ApiError, ErrorReason, status_of, trailing_metadata_of
from boxwall_server.service.call import Call
from boxwall_server.service.registry import Handler, Rpc
from boxwall_server.store import errors as store_errors

_log = structlog.get_logger()

# Reason, text with "{}" for the id, and the type of the resource where there is one.
_OF_STORE_ERROR: Final[dict[type[store_errors.StoreError], tuple[ErrorReason, str, str]]] = {
    store_errors.BoxNotFound: (ErrorReason.BOX_NOT_FOUND, "there is no box {}", "box"),
    store_errors.SnapshotNotFound: (
        ErrorReason.SNAPSHOT_NOT_FOUND,
        "there is no snapshot {}",
        "snapshot",
    ),
    store_errors.NodeNotFound: (ErrorReason.NODE_NOT_FOUND, "there is no node {}", "node"),
    store_errors.BoxExists: (ErrorReason.BOX_EXISTS, "there is a box {} already", "box"),
    store_errors.SnapshotExists: (
        ErrorReason.SNAPSHOT_EXISTS,
        "there is a snapshot {} already",
        "snapshot",
    ),
    store_errors.EtagMismatch: (
        ErrorReason.ETAG_MISMATCH,
        "box {} was written since you read it; read it again and decide anew",
        "",
    ),
    store_errors.RequestIdReused: (
        ErrorReason.REQUEST_ID_REUSED,
        "request id {} was used for another request within the hour; make a new one",
        "",
    ),
    store_errors.BoxAttached: (
        ErrorReason.BOX_ATTACHED,
        "box {} is attached to a node; detach it there before placing it elsewhere",
        "",
    ),
    store_errors.TooManyBoxes: (
        ErrorReason.QUOTA_EXCEEDED,
        "a tenant may have {} boxes, and has them; delete one first",
        "",
    ),
    store_errors.NodeFenced: (
        ErrorReason.NODE_FENCED,
        "node {} is fenced; an operator can let it in again (boxwall node unfence)",
        "",
    ),
    store_errors.SessionEnded: (
        ErrorReason.STREAM_REPLACED,
        "node {} has subscribed anew at another server, or this one was taken for dead",
        "",
    ),
    store_errors.NotYetRead: (
        ErrorReason.REVISION_NOT_REACHED,
        "this server has not reached the revision asked for",
        "",
    ),
    store_errors.DiskFull: (
        ErrorReason.STORE_FULL,
        "the store is full; nothing was written; the operator must make room",
        "",
    ),
    store_errors.StoreBroken: (
        ErrorReason.STORE_BROKEN,
        "the store is damaged or read-only; nothing was written; the operator must mend it, or "
        "restore a backup",
        "",
    ),
    store_errors.StoreUnavailable: (
        ErrorReason.STORE_UNAVAILABLE,
        "the store does not answer; try again",
        "",
    ),
    store_errors.OutcomeUnknown: (
        ErrorReason.STORE_UNAVAILABLE,
        "the store was lost while it wrote, and nobody knows whether the write happened; send it "
        "again with the same request_id to learn that",
        "",
    ),
}


def errors_layer(rpc: Rpc, handler: Handler) -> Handler:
    """Turn what a handler raises into a status with details; what nobody foresaw, into INTERNAL."""

    async def guarded(request: Any, call: Call) -> Any:
        try:
            return await handler(request, call)
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001  # the one place: it logs them and hides them
            error = api_error_of(exc)
            if error is None:
                error = _unforeseen(rpc, exc)
        await call.context.abort(
            error.status, status_of(error).message, trailing_metadata_of(error)
        )

    return guarded


def api_error_of(exc: Exception) -> ApiError | None:
    """Return the refusal that an error means to clients. None: it is none of the foreseen."""
    match exc:
        case ApiError():
            return exc
        case ExceptionGroup(exceptions=(Exception() as only,)):
            return api_error_of(only)  # from a task group in which one thing failed
        case InvalidPolicy():
            return ApiError(
                ErrorReason.INVALID_POLICY, "the policy is not valid", violations=exc.violations
            )
        case InvalidDestination():
            return ApiError(
                ErrorReason.INVALID_REQUEST, "a destination is not valid", violations=exc.violations
            )
        case store_errors.StoreError():
            return _of_store_error(exc)
        case _:
            return None


def _of_store_error(exc: store_errors.StoreError) -> ApiError | None:
    row = _OF_STORE_ERROR.get(type(exc))
    if row is None:
        return None
    reason, text, resource = row
    about = str(exc)
    return ApiError(reason, text.format(about), resource=(resource, about) if resource else None)


def _unforeseen(rpc: Rpc, exc: Exception) -> ApiError:
    """Log an error that is our own fault; the client gets an id to ask us about, nothing more."""
    error_id = secrets.token_hex(8)
    _log.error("internal_error", rpc=rpc.path, error_id=error_id, exc_info=exc)
    return ApiError(
        ErrorReason.INTERNAL,
        f"internal error {error_id}; the server's log says more",
        facts={"error_id": error_id},
    )
