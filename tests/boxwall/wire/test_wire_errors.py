"""Errors with details: what a server says is what a client learns."""

import string
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from boxwall.policy import Violation
from boxwall.wire.errors import (
    DEFAULT_RETRY_DELAY,
    MAX_VIOLATIONS,
    STATUS_OF_REASON,
    ApiError,
    ErrorReason,
    WireError,
    error_from_rpc,
    status_of,
    trailing_metadata_of,
)

METADATA_LIMIT = 8 * 1024
KEY = "grpc-status-details-bin"
RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def rpc_error(
    code: grpc.StatusCode, message: str | None, *trailing: tuple[str, str | bytes]
) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*trailing)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details=message)


def sent(error: ApiError) -> WireError:
    """What a client learns of an error."""
    return error_from_rpc(
        rpc_error(error.status, status_of(error).message, *trailing_metadata_of(error))
    )


def bad(*messages: str) -> ApiError:
    violations = tuple(Violation(field=f"f[{n}]", message=m) for n, m in enumerate(messages))
    return ApiError(ErrorReason.INVALID_REQUEST, "the request is not valid", violations=violations)


@pytest.mark.parametrize("reason", ErrorReason)
def test_every_reason_has_a_status_and_arrives(reason: ErrorReason) -> None:
    learnt = sent(ApiError(reason, "text for people", facts={"a": "b"}))
    assert (learnt.reason, learnt.status) == (reason, STATUS_OF_REASON[reason])
    assert learnt.message == "text for people"
    assert learnt.facts == {"a": "b"}
    waiting_helps = learnt.status in RETRYABLE and reason is not ErrorReason.QUOTA_EXCEEDED
    assert (learnt.retry_after is not None) == waiting_helps


def test_every_detail_arrives() -> None:
    learnt = sent(
        ApiError(
            ErrorReason.OVERLOADED,
            "later",
            violations=(Violation(field="a.b[3]", message="use 10.0.0.0/24"),),
            resource=("box", "b1"),
            retry_after=0.25,
            facts={"error_id": "42"},
        )
    )
    assert learnt.violations == (Violation(field="a.b[3]", message="use 10.0.0.0/24"),)
    assert (learnt.resource, learnt.retry_after, learnt.error_id) == (("box", "b1"), 0.25, "42")
    assert learnt.more_violations == 0


def test_what_can_be_retried_says_when_even_if_nobody_said_so() -> None:
    learnt = sent(ApiError(ErrorReason.STORE_UNAVAILABLE, "later"))
    assert learnt.retry_after == DEFAULT_RETRY_DELAY


def test_people_who_see_only_the_text_see_the_first_violation_and_how_many_more() -> None:
    assert sent(bad("one")).message == "the request is not valid: f[0]: one"
    assert sent(bad("one", "two", "three")).message.endswith("f[0]: one (and 2 more)")


def test_the_first_fifty_violations_are_sent_and_how_many_more_there_are() -> None:
    learnt = sent(bad(*["is wrong"] * 10_000))
    assert len(learnt.violations) == MAX_VIOLATIONS == 50
    assert learnt.more_violations == 9_950


@pytest.mark.parametrize("count", [1, 49, 50, 51])
def test_up_to_fifty_are_all(count: int) -> None:
    learnt = sent(bad(*["is wrong"] * count))
    assert len(learnt.violations) + learnt.more_violations == count
    assert len(learnt.violations) == min(count, 50)


def metadata_size(error: ApiError) -> int:
    """As HTTP/2 counts it: names, values as they travel, and 32 bytes for each."""
    ((key, details),) = trailing_metadata_of(error)
    message = quote(status_of(error).message, safe=string.printable)
    return len(key) + len(b64encode(details)) + len("grpc-message") + len(message) + 64


@given(st.lists(st.text(max_size=3_000), max_size=60))
@example(["x" * 60] * 60)
@example(["\N{GRINNING FACE}" * 1_000])
@example(["x" * 4_300])
def test_errors_stay_below_what_metadata_may_have(messages: list[str]) -> None:
    error = bad(*messages)
    assert metadata_size(error) < METADATA_LIMIT
    learnt = sent(error)
    assert len(learnt.violations) + learnt.more_violations == len(messages)


def test_one_enormous_violation_is_counted_and_not_sent() -> None:
    learnt = sent(bad("x" * 100_000))
    assert (learnt.violations, learnt.more_violations) == ((), 1)


def packed(message: Any) -> AnyMessage:
    found = AnyMessage()
    found.Pack(message)
    return found


def details(*messages: AnyMessage) -> bytes:
    return status_pb2.Status(code=3, message="m", details=messages).SerializeToString()


INFO = error_details_pb2.ErrorInfo
OURS = packed(INFO(reason="INTERNAL", domain="boxwall"))
TRUNCATED = AnyMessage(type_url=OURS.type_url, value=b"\x0a\xff")

FORGED: dict[str, tuple[tuple[str, str | bytes], ...]] = {
    "no metadata": (),
    "other metadata": (("x", "y"),),
    "garbage": ((KEY, b"\xff\xff\xff"),),
    "empty": ((KEY, b""),),
    "a status without details": ((KEY, details()),),
    "another domain": ((KEY, details(packed(INFO(reason="INTERNAL", domain="proxy")))),),
    "a reason of a newer server": ((KEY, details(packed(INFO(reason="NEW", domain="boxwall")))),),
    "a detail nobody knows": ((KEY, details(packed(Struct()))),),
    "a detail that is cut": ((KEY, details(TRUNCATED)),),
    "a count that is none": (
        (
            KEY,
            details(
                packed(INFO(reason="X", domain="boxwall", metadata={"more_violations": "-1²"}))
            ),
        ),
    ),
}


@pytest.mark.parametrize("trailing", FORGED.values(), ids=FORGED)
def test_an_error_that_is_not_ours_is_an_error_without_a_reason(
    trailing: tuple[tuple[str, str | bytes], ...],
) -> None:
    learnt = error_from_rpc(rpc_error(grpc.StatusCode.UNAVAILABLE, "from a proxy", *trailing))
    assert (learnt.status, learnt.reason) == (grpc.StatusCode.UNAVAILABLE, None)
    assert learnt.message == "from a proxy"
    assert learnt.more_violations == 0


@given(st.binary())
def test_any_bytes_for_details_are_survived(garbage: bytes) -> None:
    error_from_rpc(rpc_error(grpc.StatusCode.INTERNAL, None, (KEY, garbage)))


@given(st.binary(), st.sampled_from(["ErrorInfo", "BadRequest", "ResourceInfo", "RetryInfo"]))
def test_any_bytes_inside_a_known_detail_are_survived(garbage: bytes, name: str) -> None:
    forged = AnyMessage(type_url=f"type.googleapis.com/google.rpc.{name}", value=garbage)
    error_from_rpc(rpc_error(grpc.StatusCode.INTERNAL, "m", (KEY, details(forged))))


@pytest.mark.parametrize("seconds", [2**62, -(2**62), -1, 315_576_000_001])
def test_a_delay_that_no_clock_knows_is_survived(seconds: int) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = seconds
    learnt = error_from_rpc(
        rpc_error(grpc.StatusCode.UNAVAILABLE, "m", (KEY, details(packed(retry))))
    )
    assert (learnt.status, learnt.retry_after) == (grpc.StatusCode.UNAVAILABLE, None)
