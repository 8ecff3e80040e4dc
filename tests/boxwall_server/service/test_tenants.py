"""Two tenants use the same ids for everything, and neither learns of the other."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    enforcement_service_pb2,
    node_service_pb2,
    policy_pb2,
    stream_pb2,
)
from boxwall.wire.errors import ErrorReason
from boxwall_server.config import Security
from fakes.identities import bearing, token_entry, write_tokens
from fakes.service import DENY_ALL, Served, refusal, serving, until

ALL = ("boxes.read", "boxes.write", "nodes.read")
ENTRIES = (
    token_entry("ann", *ALL, tenant="acme"),
    token_entry("bob", *ALL, tenant="beta"),
    token_entry("acme-n1", "enforce", tenant="acme", node="n1"),
    token_entry("beta-n1", "enforce", tenant="beta", node="n1"),
    token_entry("root", "admin", tenant="ops"),
)
S = box_service_pb2
Request = enforcement_service_pb2.StreamPoliciesRequest


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[Served]:
    """A server for two tenants."""
    tokens = write_tokens(tmp_path / "tokens.toml", *ENTRIES)
    async with serving(tmp_path, security=Security(tokens=tokens)) as served:
        yield served


def of(served: Served, token: str, tenant: str = "") -> Any:
    """BoxService, as somebody."""
    more = [("boxwall-tenant", tenant)] if tenant else []
    return bearing(served.boxes, token, *more)


async def make(served: Served, token: str, box_id: str = "b1", **fields: Any) -> box_pb2.Box:
    box: box_pb2.Box = await of(served, token).CreateBox(
        S.CreateBoxRequest(box_id=box_id, box=box_pb2.Box(**fields))
    )
    return box


async def test_the_same_id_is_two_boxes(shared: Served) -> None:
    ours = await make(shared, "ann", name="ours")
    theirs = await make(shared, "bob", name="theirs")
    assert ours.uid != theirs.uid
    for token, name in (("ann", "ours"), ("bob", "theirs")):
        got = await of(shared, token).GetBox(S.GetBoxRequest(box_id="b1"))
        listed = await of(shared, token).ListBoxes(S.ListBoxesRequest())
        assert [got.name] == [box.name for box in listed.boxes] == [name]


def foreign(box: box_pb2.Box, box_id: str) -> dict[str, Any]:
    """Every call about one box, with what its owner knows of it."""
    policy = DENY_ALL
    return {
        "GetBox": S.GetBoxRequest(box_id=box_id),
        "UpdateBox": S.UpdateBoxRequest(
            box=box_pb2.Box(id=box_id, name="x"), update_mask={"paths": ["name"]}, etag=box.etag
        ),
        "DeleteBox": S.DeleteBoxRequest(box_id=box_id, etag=box.etag),
        "UpdateNetworkPolicy": S.UpdateNetworkPolicyRequest(
            box_id=box_id, network_policy=policy, etag=box.etag
        ),
        "WaitEnforced": S.WaitEnforcedRequest(box_id=box_id),
        "CheckEgress": S.CheckEgressRequest(
            box_id=box_id, destinations=[policy_pb2.Destination(address="1.1.1.1", port=1)]
        ),
        "ListPolicyRevisions": S.ListPolicyRevisionsRequest(box_id=box_id),
        "CreateSnapshot": S.CreateSnapshotRequest(box_id=box_id),
        "GetSnapshot": S.GetSnapshotRequest(snapshot_id=box_id),
        "DeleteSnapshot": S.DeleteSnapshotRequest(snapshot_id=box_id),
    }


@pytest.mark.parametrize("method", foreign(box_pb2.Box(), "b1"))
async def test_what_another_tenant_has_is_as_if_it_were_not(shared: Served, method: str) -> None:
    box = await make(shared, "ann", box_id="theirs")
    await of(shared, "ann").CreateSnapshot(
        S.CreateSnapshotRequest(box_id="theirs", snapshot_id="theirs")
    )
    errors = [
        await refusal(getattr(of(shared, "bob"), method)(foreign(box, box_id)[method]))
        for box_id in ("theirs", "nobodys")
    ]
    assert errors[0].reason == errors[1].reason
    assert errors[0].status is grpc.StatusCode.NOT_FOUND
    assert errors[0].message.replace("theirs", "nobodys") == errors[1].message


async def test_a_box_is_not_made_from_the_snapshot_of_another(shared: Served) -> None:
    await make(shared, "ann")
    await of(shared, "ann").CreateSnapshot(S.CreateSnapshotRequest(box_id="b1", snapshot_id="s1"))
    with pytest.raises(grpc.aio.AioRpcError, match="there is no snapshot s1"):
        await make(shared, "bob", source_snapshot="s1")
    listed = await of(shared, "bob").ListSnapshots(S.ListSnapshotsRequest())
    assert not listed.snapshots


async def test_a_request_id_of_one_says_nothing_about_that_of_another(shared: Served) -> None:
    request_id = str(uuid.uuid4())
    made = [
        await of(shared, token).CreateBox(
            S.CreateBoxRequest(box_id=f"of-{token}", request_id=request_id)
        )
        for token in ("ann", "bob")
    ]
    assert [box.id for box in made] == ["of-ann", "of-bob"]


async def test_a_page_token_of_one_is_none_for_another(shared: Served) -> None:
    for number in range(3):
        await make(shared, "ann", box_id=f"b{number}")
        await make(shared, "bob", box_id=f"b{number}")
    page = await of(shared, "ann").ListBoxes(S.ListBoxesRequest(page_size=1))
    request = S.ListBoxesRequest(page_size=1, page_token=page.next_page_token)
    assert (await of(shared, "ann").ListBoxes(request)).boxes[0].id == "b1"
    error = await refusal(of(shared, "bob").ListBoxes(request))
    assert error.reason is ErrorReason.INVALID_PAGE_TOKEN


async def test_a_cursor_of_one_is_none_for_another(shared: Served) -> None:
    await make(shared, "ann")
    watch = of(shared, "ann").WatchBoxes(S.WatchBoxesRequest())
    cursor = (await watch.read()).cursor
    watch.cancel()
    stolen = of(shared, "bob").WatchBoxes(S.WatchBoxesRequest(cursor=cursor))
    assert await stolen.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_watches_show_nothing_of_another(shared: Served) -> None:
    watch = of(shared, "bob").WatchBoxes(S.WatchBoxesRequest())
    observer = bearing(shared.enforcement, "bob").StreamPolicies()
    await observer.write(Request(subscribe=stream_pb2.Subscribe(all_boxes=True)))
    refusals = of(shared, "bob").WatchRefusals(S.WatchRefusalsRequest())
    assert not (await watch.read()).reset.boxes
    assert not (await observer.read()).reset.boxes
    await make(shared, "ann", name="secret plans", node_id="n1")
    node = bearing(shared.enforcement, "acme-n1").StreamPolicies()
    hosted = [stream_pb2.HostedBox(box_id="b1")]
    await node.write(Request(subscribe=stream_pb2.Subscribe(node_id="n1", boxes=hosted)))
    await node.read()
    refused = policy_pb2.Refusal(box="b1", count=1)
    await node.write(Request(refusals=stream_pb2.Refusals(refusals=[refused])))
    await make(shared, "bob", box_id="mine")
    messages = [await watch.read(), await observer.read()]
    while not any(str(messages[0].changes)):
        messages.insert(0, await watch.read())
    assert "secret plans" not in str(messages)
    assert '"b1"' not in str(messages)
    await until(lambda: shared.metric("boxwall_refusals_total", reason="UNSPECIFIED"))
    assert not (await refusals.read()).refusals
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(refusals.read(), 0.1)
    for call in (watch, observer, refusals, node):
        call.cancel()


async def test_nodes_of_the_same_name_are_two_nodes(shared: Served) -> None:
    await make(shared, "ann", node_id="n1")
    node = bearing(shared.enforcement, "beta-n1").StreamPolicies()
    hosted = [stream_pb2.HostedBox(box_id="b1")]
    await node.write(Request(subscribe=stream_pb2.Subscribe(node_id="n1", boxes=hosted)))
    (entry,) = (await node.read()).reset.boxes
    assert entry.HasField("refused")
    ours = await of(shared, "ann").GetBox(S.GetBoxRequest(box_id="b1"))
    assert ours.enforcement.state == box_pb2.Enforcement.STATE_NOT_ATTACHED
    ask = node_service_pb2.ListNodesRequest()
    assert not (await bearing(shared.nodes, "ann").ListNodes(ask)).nodes
    assert len((await bearing(shared.nodes, "bob").ListNodes(ask)).nodes) == 1
    node.cancel()


async def test_an_administrator_crosses_by_saying_so_and_nobody_else_does(shared: Served) -> None:
    await make(shared, "ann")
    get = S.GetBoxRequest(box_id="b1")
    assert (await of(shared, "root", "acme").GetBox(get)).id == "b1"
    assert (await refusal(of(shared, "root").GetBox(get))).reason is ErrorReason.BOX_NOT_FOUND
    for tenant in ("acme", "nobodys", "Not A Tenant"):
        error = await refusal(of(shared, "bob", tenant).GetBox(get))
        assert error.reason is ErrorReason.PERMISSION_DENIED
    policy = S.UpdateNetworkPolicyRequest(box_id="b1", network_policy=DENY_ALL)
    await of(shared, "root", "acme").UpdateNetworkPolicy(policy)
    history = await of(shared, "ann").ListPolicyRevisions(S.ListPolicyRevisionsRequest(box_id="b1"))
    assert [revision.author for revision in history.revisions] == ["root", "ann"]
