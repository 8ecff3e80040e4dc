"""One table from reasons to gRPC statuses, and errors with details, both ways.

A server raises `ApiError`; `status_of` turns it into the `google.rpc.Status` that travels in the
trailing metadata; `error_from_rpc` gives a client the same facts back as a `WireError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from boxwall.policy import Violation
from boxwall.wire.durations import seconds_of

DOMAIN: Final = "boxwall"
"""`google.rpc.ErrorInfo.domain` of every error of ours."""

MAX_VIOLATIONS: Final = 50
"""So many are sent; details ride in metadata, which must stay below 8 KiB."""

MAX_DETAIL_BYTES: Final = 4_500
"""Violations stop before their details grow past this, however few they are: in base64, beside the
text of the status, that stays below 8 KiB."""

_MAX_HEADLINE_BYTES: Final = 300
"""Of the first violation, in the text of a status; it travels twice."""

_LONGEST_DELAY: Final = 24 * 3600.0
"""Seconds; a server that asks for more has asked for nothing."""

_STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"


class ErrorReason(StrEnum):
    """`google.rpc.ErrorInfo.reason` of every error of ours."""

    INVALID_REQUEST = "INVALID_REQUEST"
    INVALID_POLICY = "INVALID_POLICY"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    INVALID_CURSOR = "INVALID_CURSOR"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    STREAM_MISUSED = "STREAM_MISUSED"
    BOX_NOT_FOUND = "BOX_NOT_FOUND"
    SNAPSHOT_NOT_FOUND = "SNAPSHOT_NOT_FOUND"
    NODE_NOT_FOUND = "NODE_NOT_FOUND"
    BOX_EXISTS = "BOX_EXISTS"
    SNAPSHOT_EXISTS = "SNAPSHOT_EXISTS"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    STREAM_REPLACED = "STREAM_REPLACED"
    BOX_ATTACHED = "BOX_ATTACHED"
    NODE_CONNECTED = "NODE_CONNECTED"
    NODE_FENCED = "NODE_FENCED"
    CANNOT_ATTACH = "CANNOT_ATTACH"
    NOT_ATTACHED = "NOT_ATTACHED"
    NOT_IN_FORCE = "NOT_IN_FORCE"
    OVERLOADED = "OVERLOADED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    STORE_FULL = "STORE_FULL"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_BROKEN = "STORE_BROKEN"
    REVISION_NOT_REACHED = "REVISION_NOT_REACHED"
    STREAM_TOO_SLOW = "STREAM_TOO_SLOW"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    NO_CONTACT = "NO_CONTACT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    INTERNAL = "INTERNAL"


STATUS_OF_REASON: Final[Mapping[ErrorReason, grpc.StatusCode]] = {
    ErrorReason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.INVALID_POLICY: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.INVALID_PAGE_TOKEN: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.INVALID_CURSOR: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.REQUEST_ID_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.STREAM_MISUSED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.BOX_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.SNAPSHOT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.NODE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.BOX_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorReason.SNAPSHOT_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorReason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    ErrorReason.STREAM_REPLACED: grpc.StatusCode.ABORTED,
    ErrorReason.BOX_ATTACHED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.NODE_CONNECTED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.NODE_FENCED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.CANNOT_ATTACH: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.NOT_ATTACHED: grpc.StatusCode.NOT_FOUND,
    ErrorReason.NOT_IN_FORCE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.QUOTA_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.STORE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.STORE_BROKEN: grpc.StatusCode.INTERNAL,
    ErrorReason.REVISION_NOT_REACHED: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.STREAM_TOO_SLOW: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.NO_CONTACT: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.INTERNAL: grpc.StatusCode.INTERNAL,
}

_RETRYABLE: Final = frozenset(
    reason
    for reason, status in STATUS_OF_REASON.items()
    if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    and reason is not ErrorReason.QUOTA_EXCEEDED
)
"""A tenant that has as much as it may have does not get more by waiting."""
DEFAULT_RETRY_DELAY: Final = 1.0
"""Seconds, for retryable errors that say nothing better."""


class ApiError(Exception):
    """A refusal on its way to a client.

    `resource` is (type, name), for NOT_FOUND and ALREADY_EXISTS. `retry_after` is in seconds;
    refusals that waiting can help with always carry one. `facts` are more key-value pairs for
    programs.
    """

    def __init__(
        self,
        reason: ErrorReason,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        resource: tuple[str, str] | None = None,
        retry_after: float | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations
        self.resource = resource
        self.retry_after = retry_after
        self.facts = dict(facts or {})

    @property
    def status(self) -> grpc.StatusCode:
        """The gRPC status of this refusal."""
        return STATUS_OF_REASON[self.reason]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """What a client learns from a failed call."""

    status: grpc.StatusCode
    reason: ErrorReason | None
    """None: not an error of ours (a proxy, the transport), or of a newer server."""
    message: str
    violations: tuple[Violation, ...] = ()
    more_violations: int = 0
    """How many more there were than were sent."""
    resource: tuple[str, str] | None = None
    retry_after: float | None = None
    """Seconds after which the server invites another try."""
    error_id: str = ""
    """For INTERNAL: what to look for in the server's log."""
    facts: Mapping[str, str] = field(default_factory=dict)


def status_of(error: ApiError) -> status_pb2.Status:
    """Return the status with its details, for the trailing metadata."""
    sent = _violations_that_fit(error.violations)
    facts = dict(error.facts)
    if len(sent) < len(error.violations):
        facts["more_violations"] = str(len(error.violations) - len(sent))
    details: list[AnyMessage] = [
        _packed(
            error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=facts)
        )
    ]
    if sent:
        details.append(_packed(error_details_pb2.BadRequest(field_violations=sent)))
    if error.resource is not None:
        kind, name = error.resource
        details.append(
            _packed(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name))
        )
    if error.reason in _RETRYABLE:
        delay = DEFAULT_RETRY_DELAY if error.retry_after is None else error.retry_after
        info = error_details_pb2.RetryInfo(retry_delay=Duration(nanos=0))
        info.retry_delay.FromMilliseconds(round(delay * 1000))
        details.append(_packed(info))
    number: int = error.status.value[0]
    return status_pb2.Status(code=number, message=_headline(error, sent), details=details)


def error_from_rpc(error: grpc.aio.AioRpcError) -> WireError:
    """Return what a failed call says, from its status, text and details. Never raises."""
    code = error.code()
    message = error.details() or ""
    status = _status_in(error)
    found = _Details()
    for detail in [] if status is None else status.details:
        found.take(detail)
    return found.as_error(code, message)


class _Details:
    """Collects the details we know from a status; others are passed over."""

    def __init__(self) -> None:
        self.info = error_details_pb2.ErrorInfo()
        self.bad = error_details_pb2.BadRequest()
        self.resource = error_details_pb2.ResourceInfo()
        self.retry = error_details_pb2.RetryInfo()

    def take(self, detail: AnyMessage) -> None:
        for target in (self.info, self.bad, self.resource, self.retry):
            if detail.Is(target.DESCRIPTOR):  # type: ignore[arg-type]  # the stub is too narrow
                try:
                    detail.Unpack(target)
                except DecodeError:
                    target.Clear()

    def as_error(self, code: grpc.StatusCode, message: str) -> WireError:
        ours = self.info.domain == DOMAIN
        known = ours and self.info.reason in ErrorReason.__members__
        facts = dict(self.info.metadata) if ours else {}
        more = facts.get("more_violations", "0")
        return WireError(
            status=code,
            reason=ErrorReason(self.info.reason) if known else None,
            message=message,
            violations=tuple(
                Violation(field=v.field, message=v.description) for v in self.bad.field_violations
            ),
            more_violations=int(more) if more.isdecimal() else 0,
            resource=(
                (self.resource.resource_type, self.resource.resource_name)
                if self.resource.resource_type
                else None
            ),
            retry_after=self._retry_after(),
            error_id=facts.get("error_id", ""),
            facts=facts,
        )

    def _retry_after(self) -> float | None:
        seconds = seconds_of(self.retry.retry_delay)
        sensible = self.retry.HasField("retry_delay") and 0 <= seconds <= _LONGEST_DELAY
        return seconds if sensible else None


def _status_in(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """Return the rich status of a call, or None. A broken or forged one counts as none."""
    trailing = error.trailing_metadata()
    for key, value in trailing or ():
        if key == _STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def trailing_metadata_of(error: ApiError) -> tuple[tuple[str, bytes], ...]:
    """Return the metadata that carries the details of `error`."""
    return ((_STATUS_DETAILS_KEY, status_of(error).SerializeToString()),)


def _violations_that_fit(
    violations: tuple[Violation, ...],
) -> list[error_details_pb2.BadRequest.FieldViolation]:
    sent: list[error_details_pb2.BadRequest.FieldViolation] = []
    room = MAX_DETAIL_BYTES
    for violation in violations[:MAX_VIOLATIONS]:
        one = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field, description=violation.message
        )
        room -= one.ByteSize() + 4
        if room < 0:
            break
        sent.append(one)
    return sent


def _headline(error: ApiError, sent: list[error_details_pb2.BadRequest.FieldViolation]) -> str:
    """Return the text of a status: for people who see nothing but it, the first violation too."""
    if not sent:
        return error.message
    rest = len(error.violations) - 1
    more = f" (and {rest} more)" if rest else ""
    return f"{error.message}: {_cut(f'{sent[0].field}: {sent[0].description}')}{more}"


def _cut(text: str) -> str:
    whole = text.encode()
    if len(whole) <= _MAX_HEADLINE_BYTES:
        return text
    return whole[:_MAX_HEADLINE_BYTES].decode(errors="ignore") + "…"


def _packed(
    message: (
        error_details_pb2.ErrorInfo
        | error_details_pb2.BadRequest
        | error_details_pb2.ResourceInfo
        | error_details_pb2.RetryInfo
    ),
) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
