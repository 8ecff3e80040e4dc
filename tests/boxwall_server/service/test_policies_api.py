"""Policies of boxes, their past, snapshots of them, and what they say about destinations."""

import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.policy import Mode
from boxwall.v1 import box_service_pb2, policy_pb2
from boxwall.wire.errors import ErrorReason
from fakes.service import ALLOW_ALL, DENY_ALL, Served, custom, fields_of, refusal, serving

UNKNOWN = b"\xd2\x09\x02hi"
"""Field 154, which no message has."""


def check(served: Served, *destinations: dict[str, Any], **subject: Any) -> Any:
    return served.boxes.CheckEgress(
        box_service_pb2.CheckEgressRequest(destinations=destinations, **subject)
    )


def revisions(served: Served, **fields: Any) -> Any:
    return served.boxes.ListPolicyRevisions(
        box_service_pb2.ListPolicyRevisionsRequest(box_id="b1", **fields)
    )


def snapshot(served: Served, snapshot_id: str = "s1", box_id: str = "b1", **fields: Any) -> Any:
    return served.boxes.CreateSnapshot(
        box_service_pb2.CreateSnapshotRequest(box_id=box_id, snapshot_id=snapshot_id, **fields)
    )


async def test_an_update_replaces_the_whole_policy(served: Served) -> None:
    await served.create(network_policy=custom("a.test", allowed_cidrs=["1.0.0.0/8"]))
    box = await served.update(policy=custom("b.test"))
    assert box.network_policy.custom.allowed_domains == ["b.test"]
    assert not box.network_policy.custom.allowed_cidrs
    assert box.policy_revision == 2


async def test_an_update_warns_of_what_is_probably_not_meant(served: Served) -> None:
    await served.create(network_policy=custom("a.test"))
    box = await served.update(
        policy=policy_pb2.NetworkPolicy(custom=policy_pb2.CustomPolicy(denied_cidrs=["1.0.0.0/8"]))
    )
    codes = {policy_pb2.PolicyWarning.Code.Name(warning.code) for warning in box.warnings}
    assert {"CODE_FORM_CHANGED", "CODE_DENY_LIST_ALLOWS_THE_REST"} <= codes
    assert not (await served.get()).warnings


def with_unknown(policy: policy_pb2.NetworkPolicy) -> policy_pb2.NetworkPolicy:
    found = policy_pb2.NetworkPolicy()
    found.CopyFrom(policy)
    found.MergeFromString(UNKNOWN)
    return found


BAD: dict[str, tuple[policy_pb2.NetworkPolicy, str]] = {
    "no mode": (policy_pb2.NetworkPolicy(), "network_policy.mode"),
    "an unknown field": (with_unknown(DENY_ALL), "network_policy.#154"),
    "an unknown mode": (policy_pb2.NetworkPolicy.FromString(UNKNOWN), "network_policy.#154"),
    "NUL in a name": (custom("a\0.test"), "network_policy.custom.allowed_domains[0]"),
    "a bidi mark in a name": (custom("a\u202e.test"), "network_policy.custom.allowed_domains[0]"),
    "too many": (
        custom(*[f"d{n}.test" for n in range(1_001)]),
        "network_policy.custom.allowed_domains",
    ),
}


@pytest.mark.parametrize(("policy", "field"), BAD.values(), ids=BAD)
async def test_a_bad_policy_is_refused_and_the_old_one_stays(
    served: Served, policy: policy_pb2.NetworkPolicy, field: str
) -> None:
    await served.create(network_policy=DENY_ALL)
    error = await refusal(served.update(policy=policy))
    assert (error.reason, fields_of(error)) == (ErrorReason.INVALID_POLICY, [field])
    assert (await served.get()).network_policy == DENY_ALL


async def test_validating_a_policy_changes_nothing(served: Served) -> None:
    before = await served.create()
    box = await served.update(policy=DENY_ALL, validate_only=True)
    assert box.network_policy == DENY_ALL
    assert await served.get() == before


async def test_a_repeated_update_gets_the_first_answer(served: Served) -> None:
    await served.create()
    request_id = str(uuid.uuid4())
    first = await served.update(policy=DENY_ALL, request_id=request_id)
    await served.update(policy=ALLOW_ALL)
    again = await served.update(policy=DENY_ALL, request_id=request_id)
    assert (again.policy_revision, again.network_policy) == (first.policy_revision, DENY_ALL)
    assert (await served.get()).network_policy == ALLOW_ALL
    assert (await refusal(served.update(request_id=request_id, policy=ALLOW_ALL))).reason is (
        ErrorReason.REQUEST_ID_REUSED
    )


async def test_a_request_that_is_too_large_is_refused_and_the_server_lives(served: Served) -> None:
    await served.create()
    large = custom(*["x" * 60 + ".test"] * 10_000)
    error = await refusal(served.update(policy=large))
    assert error.status is grpc.StatusCode.INVALID_ARGUMENT
    assert "262144" in error.message
    assert (await served.get()).network_policy == ALLOW_ALL


@pytest.mark.parametrize("method", ["CreateBox", "GetBox", "UpdateNetworkPolicy", "ListBoxes"])
@pytest.mark.parametrize("garbage", [b"\xff" * 1_000, b"\x0a\x05a", b"\x07" * 200_000])
async def test_garbage_is_refused_and_the_server_lives(
    served: Served, method: str, garbage: bytes
) -> None:
    raw: Any = served.channel.unary_unary(f"/boxwall.v1.BoxService/{method}")
    error = await refusal(raw(garbage))
    assert (error.status, error.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.INVALID_REQUEST,
    )
    await served.create()


async def test_a_method_that_does_not_exist_is_unimplemented(served: Served) -> None:
    raw: Any = served.channel.unary_unary("/boxwall.v1.BoxService/Reboot")
    assert (await refusal(raw(b""))).status is grpc.StatusCode.UNIMPLEMENTED


async def test_verdicts_come_one_for_each_destination_in_order(served: Served) -> None:
    await served.create(
        network_policy=custom("*.a.test", allowed_cidrs=["1.1.0.0/16"], denied_cidrs=["1.1.1.0/24"])
    )
    answer = await check(
        served,
        {"domain": "x.a.test"},
        {"address": "1.1.1.1"},
        {"address": "1.1.2.2"},
        {"domain": "a.test"},
        {"address": "10.0.0.1"},
        {"address": "9.9.9.9"},
        {"domain": "x.a.test"},
        box_id="b1",
    )
    reasons = [policy_pb2.Reason.Name(v.reason).removeprefix("REASON_") for v in answer.verdicts]
    assert reasons == [
        "ALLOWED_DOMAIN",
        "DENIED_CIDR",
        "ALLOWED_CIDR",
        "NO_RULE",
        "RESERVED_ADDRESS",
        "NEEDS_NAME",
        "ALLOWED_DOMAIN",
    ]
    assert answer.verdicts[0].allowed
    assert answer.verdicts[0].rule.text == "*.a.test"
    assert {verdict.policy_revision for verdict in answer.verdicts} == {1}


async def test_a_policy_that_is_not_stored_can_be_asked(served: Served) -> None:
    answer = await check(served, {"domain": "a.test"}, network_policy=custom("a.test"))
    assert (answer.verdicts[0].allowed, answer.verdicts[0].policy_revision) == (True, 0)
    assert served.history.head == 0


BAD_CHECKS: dict[str, tuple[list[dict[str, Any]], dict[str, Any], set[str]]] = {
    "no subject": ([{"domain": "a.test"}], {}, {"subject"}),
    "no destinations": ([], {"box_id": "b1"}, {"destinations"}),
    "too many": ([{"domain": "a.test"}] * 1_001, {"box_id": "b1"}, {"destinations"}),
    "all that is wrong": (
        [{"domain": "a.test"}, {}, {"domain": "a\0", "port": 70_000}],
        {"network_policy": custom("*")},
        {
            "destinations[1].domain",
            "destinations[2].domain",
            "destinations[2].port",
            "network_policy.custom.allowed_domains[0]",
        },
    ),
}


@pytest.mark.parametrize(("asked", "subject", "fields"), BAD_CHECKS.values(), ids=BAD_CHECKS)
async def test_a_bad_check_is_refused_with_everything_that_is_wrong(
    served: Served, asked: list[dict[str, Any]], subject: dict[str, Any], fields: set[str]
) -> None:
    error = await refusal(check(served, *asked, **subject))
    assert error.status is grpc.StatusCode.INVALID_ARGUMENT
    assert set(fields_of(error)) == fields


async def test_the_past_of_a_box_is_its_policies_newest_first(served: Served) -> None:
    request_id = str(uuid.uuid4())
    await served.create()
    await served.update(policy=DENY_ALL, request_id=request_id)
    await served.update(policy=custom("a.test"))
    first = await revisions(served, page_size=2)
    assert [(r.revision, r.request_id) for r in first.revisions] == [(3, ""), (2, request_id)]
    assert first.revisions[1].network_policy == DENY_ALL
    assert {r.author for r in first.revisions} == {"anonymous"}
    rest = await revisions(served, page_size=2, page_token=first.next_page_token)
    assert ([r.revision for r in rest.revisions], rest.next_page_token) == ([1], "")


async def test_the_past_of_an_older_box_with_the_same_id_is_not_shown(served: Served) -> None:
    await served.create()
    await served.delete()
    await served.create()
    assert [r.revision for r in (await revisions(served)).revisions] == [3]


async def test_a_page_token_of_another_list_is_refused(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    page = await served.boxes.ListBoxes(box_service_pb2.ListBoxesRequest(page_size=1))
    error = await refusal(revisions(served, page_token=page.next_page_token))
    assert error.reason is ErrorReason.INVALID_PAGE_TOKEN
    assert fields_of(await refusal(revisions(served, page_size=-1))) == ["page_size"]


async def test_a_box_made_from_a_snapshot_has_its_policy_unless_another_is_given(
    served: Served,
) -> None:
    await served.create(network_policy=DENY_ALL)
    made = await snapshot(served)
    assert (made.box_id, made.network_policy) == ("b1", DENY_ALL)
    await served.delete()
    assert (await served.create("b2", source_snapshot="s1")).network_policy == DENY_ALL
    other = await served.create("b3", source_snapshot="s1", network_policy=ALLOW_ALL)
    assert (other.network_policy, other.source_snapshot) == (ALLOW_ALL, "s1")


async def test_snapshots_are_listed_read_and_forgotten(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    for snapshot_id, box_id in (("s1", "b1"), ("s2", "b2"), ("s3", "b1")):
        await snapshot(served, snapshot_id, box_id)
    page = await served.boxes.ListSnapshots(box_service_pb2.ListSnapshotsRequest(page_size=2))
    assert [s.id for s in page.snapshots] == ["s1", "s2"]
    of_one = box_service_pb2.ListSnapshotsRequest(box_id="b1")
    found = await served.boxes.ListSnapshots(of_one)
    assert [s.id for s in found.snapshots] == ["s1", "s3"]
    of_one.page_token = page.next_page_token
    error = await refusal(served.boxes.ListSnapshots(of_one))
    assert error.reason is ErrorReason.INVALID_PAGE_TOKEN
    read = box_service_pb2.GetSnapshotRequest(snapshot_id="s1")
    assert await served.boxes.GetSnapshot(read) == page.snapshots[0]
    await served.boxes.DeleteSnapshot(box_service_pb2.DeleteSnapshotRequest(snapshot_id="s1"))
    error = await refusal(served.boxes.GetSnapshot(read))
    assert (error.reason, error.resource) == (
        ErrorReason.SNAPSHOT_NOT_FOUND,
        ("snapshot", "s1"),
    )


async def test_a_snapshot_that_cannot_be_is_refused(served: Served) -> None:
    await served.create()
    made = await snapshot(served, "", request_id=(request_id := str(uuid.uuid4())))
    assert made.id.startswith("snap-")
    assert await snapshot(served, "", request_id=request_id) == made
    await snapshot(served)
    assert (await refusal(snapshot(served))).reason is ErrorReason.SNAPSHOT_EXISTS
    error = await refusal(snapshot(served, "S", "B", request_id="x"))
    assert fields_of(error) == ["snapshot_id", "box_id", "request_id"]
    error = await refusal(served.create("b2", source_snapshot="s9"))
    assert error.reason is ErrorReason.SNAPSHOT_NOT_FOUND
    gone = box_service_pb2.DeleteSnapshotRequest(snapshot_id="s9")
    assert (await refusal(served.boxes.DeleteSnapshot(gone))).resource == ("snapshot", "s9")


async def test_an_operator_can_make_boxes_deny_by_default(tmp_path: Path) -> None:
    async with serving(tmp_path, default_mode=Mode.DENY_ALL) as served:
        assert (await served.create()).network_policy == DENY_ALL
