"""Boxes: make, read, change, end."""

import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from boxwall.v1 import box_pb2, box_service_pb2, policy_pb2
from boxwall.wire.errors import ErrorReason
from fakes.service import (
    ALLOW_ALL,
    DENY_ALL,
    Served,
    custom,
    fields_of,
    refusal,
    state_name,
    violation,
)

Box, Create = box_pb2.Box, box_service_pb2.CreateBoxRequest


def update_box(served: Served, mask: list[str], etag: str = "", **fields: Any) -> Any:
    return served.boxes.UpdateBox(
        box_service_pb2.UpdateBoxRequest(
            box=Box(id="b1", **fields), update_mask={"paths": mask}, etag=etag
        )
    )


async def test_a_box_without_a_policy_allows_all_and_gets_an_id(served: Served) -> None:
    box = await served.boxes.CreateBox(Create())
    assert box.network_policy == ALLOW_ALL
    assert box.id.startswith("box-")
    assert await served.get(box.id) == box
    assert (box.policy_revision, state_name(box.enforcement)) == (1, "NOT_ATTACHED")


async def test_a_box_is_as_it_was_asked_for(served: Served) -> None:
    box = await served.create(
        "b1",
        name="Ada",
        node_id="n1",
        labels={"team": "search"},
        runtime="node",
        ttl=Duration(seconds=60),
        network_policy=custom("API.Test.Example."),
    )
    assert (box.name, box.node_id, box.runtime) == ("Ada", "n1", "node")
    assert dict(box.labels) == {"team": "search"}
    assert box.network_policy.custom.allowed_domains == ["api.test.example"]
    assert box.network_policy.custom.unlisted == policy_pb2.UNLISTED_DENY
    assert box.expire_time.seconds == box.create_time.seconds + 60
    assert str(uuid.UUID(box.uid)) == box.uid


async def test_everything_wrong_with_a_box_is_reported_at_once(served: Served) -> None:
    box = Box(
        id="b1",
        uid="mine",
        name="a\u202eb",
        node_id="-",
        labels={"-": "v"},
        policy_revision=1,
        etag="e",
        ttl=Duration(),
        source_snapshot="S",
        enforcement=box_pb2.Enforcement(),
        create_time=Timestamp(),
        update_time=Timestamp(),
        warnings=[policy_pb2.PolicyWarning()],
        network_policy=custom("http://x.test/", allowed_cidrs=["10.0.0.7/24"]),
    )
    error = await refusal(
        served.boxes.CreateBox(Create(box=box, box_id="B", request_id="not-a-uuid"))
    )
    assert (error.status, error.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.INVALID_POLICY,
    )
    output_only = "id uid policy_revision enforcement create_time update_time etag warnings"
    assert set(fields_of(error)) == {f"box.{field}" for field in output_only.split()} | {
        "box.network_policy.custom.allowed_domains[0]",
        "box.network_policy.custom.allowed_cidrs[0]",
        "box_id",
        "box.name",
        "box.node_id",
        "box.labels['-']",
        "box.source_snapshot",
        "box.ttl",
        "request_id",
    }
    assert "give the id you want as box_id" in violation(error, "box.id").message
    fix = violation(error, "box.network_policy.custom.allowed_cidrs[0]").message
    assert "use 10.0.0.0/24" in fix
    assert served.history.head == 0


async def test_ten_thousand_bad_entries_are_counted_and_fifty_are_told(served: Served) -> None:
    bad = custom(*["*"] * 999, allowed_cidrs=["x"] * 999)
    error = await refusal(served.boxes.CreateBox(Create(box=Box(network_policy=bad))))
    assert error.violations
    assert len(error.violations) + error.more_violations == 2 * 999


async def test_an_id_that_is_taken_is_refused(served: Served) -> None:
    await served.create()
    error = await refusal(served.create())
    assert (error.status, error.reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        ErrorReason.BOX_EXISTS,
    )
    assert error.resource == ("box", "b1")


async def test_validating_answers_as_if_and_changes_nothing(served: Served) -> None:
    request = Create(box_id="b1", box=Box(network_policy=custom("*.test")), validate_only=True)
    box = await served.boxes.CreateBox(request)
    assert (box.id, box.network_policy.custom.allowed_domains) == ("b1", ["*.test"])
    assert box.warnings
    assert served.history.head == 0
    assert (await refusal(served.get())).reason is ErrorReason.BOX_NOT_FOUND


async def test_a_repeated_request_gets_the_first_answer_and_does_nothing(served: Served) -> None:
    request = Create(request_id=str(uuid.uuid4()), box=Box(name="once"))
    first = await served.boxes.CreateBox(request)
    assert await served.boxes.CreateBox(request) == first
    assert served.history.head == 1


async def test_a_request_id_of_another_request_is_refused(served: Served) -> None:
    request_id = str(uuid.uuid4())
    await served.boxes.CreateBox(Create(request_id=request_id))
    error = await refusal(served.boxes.CreateBox(Create(request_id=request_id, box_id="b2")))
    assert (error.status, error.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.REQUEST_ID_REUSED,
    )


UNKNOWN: dict[str, tuple[str, Any]] = {
    "GetBox": ("GetBox", box_service_pb2.GetBoxRequest(box_id="b9")),
    "DeleteBox": ("DeleteBox", box_service_pb2.DeleteBoxRequest(box_id="b9")),
    "UpdateBox": (
        "UpdateBox",
        box_service_pb2.UpdateBoxRequest(box=Box(id="b9"), update_mask={"paths": ["name"]}),
    ),
    "UpdateNetworkPolicy": (
        "UpdateNetworkPolicy",
        box_service_pb2.UpdateNetworkPolicyRequest(box_id="b9", network_policy=DENY_ALL),
    ),
    "WaitEnforced": ("WaitEnforced", box_service_pb2.WaitEnforcedRequest(box_id="b9")),
    "CheckEgress": (
        "CheckEgress",
        box_service_pb2.CheckEgressRequest(box_id="b9", destinations=[{"domain": "a.test"}]),
    ),
    "ListPolicyRevisions": (
        "ListPolicyRevisions",
        box_service_pb2.ListPolicyRevisionsRequest(box_id="b9"),
    ),
    "CreateSnapshot": ("CreateSnapshot", box_service_pb2.CreateSnapshotRequest(box_id="b9")),
}


@pytest.mark.parametrize(("method", "request_"), UNKNOWN.values(), ids=UNKNOWN)
async def test_an_unknown_box_is_not_found_by_any_call(
    served: Served, method: str, request_: Any
) -> None:
    error = await refusal(getattr(served.boxes, method)(request_))
    assert (error.status, error.reason) == (
        grpc.StatusCode.NOT_FOUND,
        ErrorReason.BOX_NOT_FOUND,
    )
    assert error.resource == ("box", "b9")


@pytest.mark.parametrize("method", [method for method, _ in UNKNOWN.values()])
async def test_a_call_without_an_id_says_so(served: Served, method: str) -> None:
    request = type(UNKNOWN[method][1])()
    error = await refusal(getattr(served.boxes, method)(request))
    assert error.status is grpc.StatusCode.INVALID_ARGUMENT
    assert {"box_id", "box.id", "subject"} & set(fields_of(error))


async def test_what_is_not_policy_can_be_changed_and_the_rest_stays(served: Served) -> None:
    before = await served.create(name="one", labels={"a": "1"}, runtime="node")
    after = await update_box(served, ["name", "labels"], name="two", runtime="ignored")
    assert (after.name, dict(after.labels), after.runtime) == ("two", {}, "node")
    assert after.policy_revision == before.policy_revision
    assert after.etag != before.etag


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        ([], "name at least one of"),
        (["network_policy"], "is changed with UpdateNetworkPolicy"),
        (["uid"], "cannot be changed"),
        (["*"], "cannot be changed"),
        (["labels.team"], "cannot be changed"),
        (["ttl", "expire_time"], "name one"),
    ],
    ids=["nothing", "the policy", "output only", "a star", "a path", "two ends"],
)
async def test_a_mask_that_cannot_be_is_refused(served: Served, mask: list[str], text: str) -> None:
    await served.create()
    error = await refusal(update_box(served, mask))
    assert text in violation(error, "update_mask").message


@pytest.mark.parametrize(
    ("mask", "given"),
    [("expire_time", {"ttl": {"seconds": 60}}), ("ttl", {"expire_time": {"seconds": 2**32}})],
    ids=["a ttl under the name of expire_time", "an expire_time under the name of ttl"],
)
async def test_an_end_under_the_name_of_the_other_is_refused(
    served: Served, mask: str, given: dict[str, Any]
) -> None:
    """Neither may be taken for the other, nor for "never"."""
    await served.create()
    error = await refusal(update_box(served, [mask], **given))
    assert f"names {mask}" in violation(error, "update_mask").message


async def test_a_time_to_live_can_be_extended_and_ended(served: Served) -> None:
    await served.create(ttl=Duration(seconds=10))
    box = await update_box(served, ["ttl"], ttl=Duration(seconds=100))
    assert box.expire_time.seconds == box.create_time.seconds + 100
    assert not (await update_box(served, ["expire_time"])).HasField("expire_time")


@pytest.mark.parametrize("seconds", [0, -5, 4 * 24 * 3600])
async def test_an_end_in_the_past_or_too_far_ahead_is_refused(served: Served, seconds: int) -> None:
    at = Timestamp(seconds=served.clock.now() // 1_000_000 + seconds)
    error = await refusal(served.create(expire_time=at))
    assert fields_of(error) == ["box.expire_time"]


async def test_placement_can_change_only_while_no_node_hosts_the_box(served: Served) -> None:
    await served.create()
    assert (await update_box(served, ["node_id"], node_id="n1")).node_id == "n1"
    await served.hosting("b1")
    error = await refusal(update_box(served, ["node_id"], node_id="n2"))
    assert (error.status, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.BOX_ATTACHED,
    )


async def test_a_stale_etag_aborts_every_write(served: Served) -> None:
    stale = (await served.create()).etag
    current = (await served.update(etag=stale)).etag
    for call in (
        served.update(policy=ALLOW_ALL, etag=stale),
        update_box(served, ["name"], etag=stale, name="x"),
        served.delete(etag=stale),
    ):
        error = await refusal(call)
        assert (error.status, error.reason) == (
            grpc.StatusCode.ABORTED,
            ErrorReason.ETAG_MISMATCH,
        )
    assert served.history.head == 2
    await served.delete(etag=current)


async def test_a_deleted_box_is_gone_and_its_id_can_be_used_again(served: Served) -> None:
    first = await served.create()
    answer = await served.delete()
    assert (answer.revision, state_name(answer.enforcement)) == (2, "NOT_ATTACHED")
    assert (await refusal(served.get())).reason is ErrorReason.BOX_NOT_FOUND
    assert (await served.create()).uid != first.uid
