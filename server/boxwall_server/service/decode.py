"""What a request may contain, besides policies. Every problem of a request is reported at once."""

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from boxwall.policy import InvalidPolicy, Limits, Parsed, Violation
from boxwall.v1 import box_service_pb2, policy_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall.wire.policies import mode_from_proto, policy_from_proto
from boxwall_server.store.mutations import RequestKey
from boxwall_server.store.records import BoxFilter

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1_000
MAX_WAIT: Final = 300.0
"""Seconds."""
MIN_TTL: Final = 1.0
MAX_TTL: Final = 3 * 24 * 3600.0
DEFAULT_MAX_LABELS: Final = 64
MAX_TEXT: Final = 200

_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)
_NODE_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?", re.ASCII)
_ID_FORM: Final = (
    'must be 1 to 63 of a-z, 0-9, "-", "_" and ".", beginning and ending with a letter or digit'
)
_LABEL_KEY_FORM: Final = (
    'must be 1 to 63 of letters, digits, "-", "_", "." and "/", '
    "beginning and ending with a letter or digit"
)


class Problems:
    """Reads the fields of one request and collects what is wrong with them.

    A method that finds a problem notes it and returns something harmless; nothing may be done with
    what was read before `raise_if_any`.
    """

    def __init__(self) -> None:
        self._found: list[Violation] = []
        self._in_policy = False

    def add(self, field: str, message: str) -> None:
        """Note a problem."""
        self._found.append(Violation(field=field, message=message))

    def raise_if_any(self) -> None:
        """Raise one ApiError with everything that was noted."""
        if not self._found:
            return
        reason = ErrorReason.INVALID_POLICY if self._in_policy else ErrorReason.INVALID_REQUEST
        text = "the policy is not valid" if self._in_policy else "the request is not valid"
        raise ApiError(reason, text, violations=tuple(self._found))

    def required_id(self, value: str, field: str) -> str:
        """Read the id of a box or snapshot."""
        if not value:
            self.add(field, "is required")
        elif _ID.fullmatch(value) is None:
            self.add(field, _ID_FORM)
        return value

    def optional_id(self, value: str, field: str) -> str:
        """Read the id of a box or snapshot that may be empty."""
        return self.required_id(value, field) if value else value

    def node_id(self, value: str, field: str, *, required: bool = True) -> str:
        """Read the id of a node."""
        if not value and required:
            self.add(field, "is required")
        elif value and _NODE_ID.fullmatch(value) is None:
            self.add(
                field,
                'must be 1 to 253 of letters, digits, "-", "_" and ".", '
                "beginning and ending with a letter or digit",
            )
        return value

    def text(self, value: str, field: str) -> str:
        """Read text for people."""
        if len(value) > MAX_TEXT:
            self.add(field, f"has {len(value)} characters; at most {MAX_TEXT} are allowed")
        elif value and not value.isprintable():
            self.add(field, "contains characters that cannot be printed; remove them")
        return value

    def labels(
        self, labels: Mapping[str, str], field: str, most: int = DEFAULT_MAX_LABELS
    ) -> tuple[tuple[str, str], ...]:
        """Read at most so many labels; the result is sorted by key."""
        if not labels:
            return ()
        if len(labels) > most:
            self.add(field, f"has {len(labels)} labels; at most {most} are allowed")
            return ()
        for key, value in labels.items():
            if _LABEL_KEY.fullmatch(key) is None:
                self.add(f"{field}[{key[:63]!a}]", _LABEL_KEY_FORM)
            self.text(value, f"{field}[{key[:63]!a}]")
        return tuple(sorted(labels.items()))

    def page_size(self, value: int) -> int:
        """Read how many a page may have."""
        if value < 0:
            self.add("page_size", "is negative; leave it 0 for the default")
        return min(value, MAX_PAGE_SIZE) if value > 0 else DEFAULT_PAGE_SIZE

    def wait(self, request: Message, field: str) -> float | None:
        """Read how long to wait, in seconds. None: do not."""
        if not request.HasField(field):
            return None
        seconds = _seconds(getattr(request, field))
        if not 0 <= seconds <= MAX_WAIT:
            self.add(field, f"must be from 0 to {MAX_WAIT:.0f} s")
        return seconds

    def ttl(self, duration: Duration, field: str) -> float:
        """Read a time to live, in seconds."""
        seconds = _seconds(duration)
        if not MIN_TTL <= seconds <= MAX_TTL:
            self.add(field, "must be from 1 s to 3 days (259200 s)")
        return seconds

    def policy(
        self, message: policy_pb2.NetworkPolicy, field: str, limits: Limits
    ) -> Parsed | None:
        """Read a policy as a whole. None: it is not valid."""
        try:
            return policy_from_proto(message, limits, prefix=field)
        except InvalidPolicy as exc:
            self._in_policy = True
            self._found.extend(exc.violations)
            return None

    def box_filter(self, message: box_service_pb2.BoxFilter, field: str) -> BoxFilter:
        """Read which boxes are meant."""
        try:
            mode = mode_from_proto(message.mode)
        except ValueError as exc:
            self.add(f"{field}.mode", str(exc))
            mode = None
        return BoxFilter(
            labels=self.labels(message.labels, f"{field}.labels"),
            node_id=self.node_id(message.node_id, f"{field}.node_id", required=False),
            name_prefix=self.text(message.name_prefix, f"{field}.name_prefix"),
            mode="" if mode is None else mode.value,
        )

    def request_key(self, request: Message) -> RequestKey | None:
        """Read `request_id`. Requests that differ only in how long to wait are the same."""
        request_id: str = request.request_id  # type: ignore[attr-defined]  # of every request given here
        if not request_id:
            return None
        try:
            canonical = str(uuid.UUID(request_id))
        except ValueError:
            self.add("request_id", "must be a UUID, such as 6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
            return None
        return RequestKey(request_id=canonical, fingerprint=_fingerprint(request))


def _fingerprint(request: Message) -> bytes:
    body = type(request)()
    body.CopyFrom(request)
    for passing in ("request_id", "wait_timeout"):
        if passing in body.DESCRIPTOR.fields_by_name:
            body.ClearField(passing)
    named = body.DESCRIPTOR.full_name.encode() + b"\0"
    return hashlib.blake2b(
        named + body.SerializeToString(deterministic=True), digest_size=16
    ).digest()


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
