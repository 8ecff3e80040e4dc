"""What a request may contain: every refusal, with the way out."""

import string
from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration

from boxwall.policy import Limits
from boxwall.v1 import box_service_pb2, policy_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.service.decode import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Problems
from boxwall_server.store.mutations import RequestKey
from boxwall_server.store.records import BoxFilter

Update = box_service_pb2.UpdateNetworkPolicyRequest
Read = Callable[[Problems], object]


def problems_of(read: Read) -> list[tuple[str, str]]:
    """Read something; return what is noted: (field, message)."""
    problems = Problems()
    read(problems)
    try:
        problems.raise_if_any()
    except ApiError as error:
        return [(violation.field, violation.message) for violation in error.violations]
    return []


def box_id(value: str) -> Read:
    return lambda problems: problems.required_id(value, "f")


def node_id(value: str) -> Read:
    return lambda problems: problems.node_id(value, "f")


def text(value: str) -> Read:
    return lambda problems: problems.text(value, "f")


def labels(**values: str) -> Read:
    return lambda problems: problems.labels(values, "f")


def label(key: str, value: str = "v") -> Read:
    return lambda problems: problems.labels({key: value}, "f")


def wait(**duration: int) -> Read:
    request = Update(wait_timeout=Duration(**duration))
    return lambda problems: problems.wait(request, "wait_timeout")


def ttl(**duration: int) -> Read:
    return lambda problems: problems.ttl(Duration(**duration), "f")


def request_id(value: str) -> Read:
    return lambda problems: problems.request_key(Update(request_id=value))


GOOD: dict[str, Read] = {
    "a short id": box_id("b"),
    "a long id": box_id("b" * 63),
    "every character of an id": box_id("a" + string.ascii_lowercase + "0123456789-_.9"),
    "an optional id": lambda problems: problems.optional_id("", "f"),
    "a node id": node_id("Node-1.rack_2"),
    "a long node id": node_id("n" * 253),
    "an optional node id": lambda problems: problems.node_id("", "f", required=False),
    "text": text("für alle, 日本語 👍"),
    "long text": text("x" * 200),
    "no text": text(""),
    "no labels": labels(),
    "64 labels": labels(**{f"k{n}": "" for n in range(64)}),
    "a label like those of Kubernetes": label("app.example/part-of", "search"),
    "no wait": wait(),
    "the longest wait": wait(seconds=300),
    "the shortest ttl": ttl(seconds=1),
    "the longest ttl": ttl(seconds=3 * 24 * 3600),
    "a request id": request_id("6F9619FF-8b86-4d01-b42d-00cf4fc964ff"),
    "no request id": request_id(""),
}

BAD: dict[str, tuple[Read, str]] = {
    "no id": (box_id(""), "is required"),
    "an upper-case id": (box_id("B1"), "must be 1 to 63 of a-z"),
    "an id that begins with a dash": (box_id("-b"), "beginning and ending with a letter"),
    "an id that ends with a dot": (box_id("b."), "beginning and ending with a letter"),
    "an id of 64": (box_id("b" * 64), "must be 1 to 63"),
    "an id with a space": (box_id("b 1"), "must be 1 to 63"),
    "an id with a line break at its end": (box_id("b1\n"), "must be 1 to 63"),
    "an id with NUL": (box_id("b\0b"), "must be 1 to 63"),
    "an id with a slash": (box_id("a/b"), "must be 1 to 63"),
    "an id in full-width letters": (box_id("ｂ1"), "must be 1 to 63"),
    "an id with an Arabic digit": (box_id("b٣"), "must be 1 to 63"),
    "an id with a bidi mark": (box_id("a\u202eb"), "must be 1 to 63"),
    "a bad optional id": (lambda problems: problems.optional_id("B", "f"), "must be 1 to 63"),
    "no node id": (node_id(""), "is required"),
    "a node id of 254": (node_id("n" * 254), "must be 1 to 253"),
    "a node id with a colon": (node_id("n1:80"), "must be 1 to 253"),
    "a node id with a line break": (node_id("n1\n"), "must be 1 to 253"),
    "text of 201": (text("x" * 201), "has 201 characters; at most 200 are allowed"),
    "text with NUL": (text("a\0b"), "cannot be printed"),
    "text with a line break": (text("a\nb"), "cannot be printed"),
    "text with a bidi override": (text("a\u202eb"), "cannot be printed"),
    "text with a bidi isolate": (text("a\u2066b"), "cannot be printed"),
    "text with a zero-width space": (text("a\u200bb"), "cannot be printed"),
    "text with an escape": (text("\x1b[31m"), "cannot be printed"),
    "text with a delete": (text("a\x7f"), "cannot be printed"),
    "65 labels": (labels(**{f"k{n}": "" for n in range(65)}), "has 65 labels; at most 64"),
    "an empty label key": (label(""), "must be 1 to 63"),
    "a label key of 64": (label("k" * 64), "must be 1 to 63"),
    "a label key with NUL": (label("k\0"), "must be 1 to 63"),
    "a label key with a bidi mark": (label("k\u202ek"), "must be 1 to 63"),
    "a label value of 201": (label("k", "v" * 201), "at most 200"),
    "a label value with NUL": (label("k", "\0"), "cannot be printed"),
    "a label value with a bidi mark": (label("k", "a\u202eb"), "cannot be printed"),
    "a negative page": (lambda problems: problems.page_size(-1), "is negative"),
    "the most negative page": (lambda problems: problems.page_size(-(2**31)), "is negative"),
    "a negative wait": (wait(seconds=-1), "must be from 0 to 300 s"),
    "a wait of a hair less than nothing": (wait(nanos=-1), "must be from 0 to 300 s"),
    "a wait that is too long": (wait(seconds=300, nanos=1), "must be from 0 to 300 s"),
    "an endless wait": (wait(seconds=2**62), "must be from 0 to 300 s"),
    "no ttl at all": (ttl(), "must be from 1 s to 3 days"),
    "a negative ttl": (ttl(seconds=-5), "must be from 1 s to 3 days"),
    "a ttl below a second": (ttl(nanos=999_999_999), "must be from 1 s to 3 days"),
    "a ttl of a hair more than 3 days": (ttl(seconds=259_200, nanos=1), "3 days (259200 s)"),
    "a request id that is no UUID": (request_id("again"), "must be a UUID, such as"),
    "a request id that is too short": (request_id("6f9619ff-8b86"), "must be a UUID"),
    "a request id with NUL": (request_id("\0" * 32), "must be a UUID"),
}


@pytest.mark.parametrize("read", GOOD.values(), ids=GOOD)
def test_what_is_allowed_passes(read: Read) -> None:
    assert problems_of(read) == []


@pytest.mark.parametrize(("read", "message"), BAD.values(), ids=BAD)
def test_what_is_not_allowed_is_refused_with_the_way_out(read: Read, message: str) -> None:
    ((field, said),) = problems_of(read)
    assert field
    assert message in said


def test_a_field_name_made_from_a_label_key_can_be_printed_and_is_short() -> None:
    ((field, _),) = problems_of(label("\u202e\0" * 50))
    assert field.isascii()
    assert field.isprintable()
    assert len(field) < 600


@pytest.mark.parametrize(
    ("asked", "given"),
    [(0, DEFAULT_PAGE_SIZE), (1, 1), (1_000, MAX_PAGE_SIZE), (2**31 - 1, MAX_PAGE_SIZE)],
)
def test_a_page_has_as_many_as_asked_up_to_a_limit(asked: int, given: int) -> None:
    assert Problems().page_size(asked) == given


def test_no_wait_is_another_thing_than_a_wait_of_nothing() -> None:
    assert Problems().wait(Update(), "wait_timeout") is None
    assert Problems().wait(Update(wait_timeout=Duration()), "wait_timeout") == 0


def test_labels_are_sorted_so_that_equal_labels_are_equal() -> None:
    assert Problems().labels({"b": "1", "a": "2"}, "f") == (("a", "2"), ("b", "1"))


def test_everything_wrong_is_reported_at_once_and_a_bad_policy_gives_the_reason() -> None:
    problems = Problems()
    problems.required_id("", "box_id")
    problems.page_size(-1)
    problems.policy(policy_pb2.NetworkPolicy(), "network_policy", Limits())
    with pytest.raises(ApiError) as caught:
        problems.raise_if_any()
    assert caught.value.reason is ErrorReason.INVALID_POLICY
    assert [v.field for v in caught.value.violations] == [
        "box_id",
        "page_size",
        "network_policy.mode",
    ]


def test_a_filter_is_read_whole() -> None:
    message = box_service_pb2.BoxFilter(
        labels={"k": "v"}, node_id="n1", name_prefix="a", mode=policy_pb2.MODE_CUSTOM
    )
    assert Problems().box_filter(message, "filter") == BoxFilter(
        labels=(("k", "v"),), node_id="n1", name_prefix="a", mode="custom"
    )


UUID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


def key(**fields: object) -> RequestKey | None:
    return Problems().request_key(Update(request_id=UUID, **fields))  # type: ignore[arg-type]


def test_how_long_to_wait_and_how_the_id_is_spelled_do_not_make_another_request() -> None:
    first = key(box_id="b1")
    assert first == key(box_id="b1", wait_timeout=Duration(seconds=9))
    assert first == Problems().request_key(Update(request_id=UUID.upper(), box_id="b1"))


def test_another_body_or_another_method_is_another_request() -> None:
    first = key(box_id="b1")
    create = Problems().request_key(
        box_service_pb2.CreateSnapshotRequest(request_id=UUID, box_id="b1")
    )
    for other in (key(box_id="b2"), key(box_id="b1", validate_only=True), create):
        assert first is not None
        assert other is not None
        assert other.request_id == first.request_id
        assert other.fingerprint != first.fingerprint


def test_the_operator_says_how_many_labels_a_box_may_have() -> None:
    problems = Problems()
    problems.labels({"a": "", "b": ""}, "f", most=1)
    with pytest.raises(ApiError) as raised:
        problems.raise_if_any()
    assert "at most 1 are allowed" in raised.value.violations[0].message
