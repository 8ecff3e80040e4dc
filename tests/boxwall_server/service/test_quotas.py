"""One tenant's limits are not another's, and reads and nodes are never held up."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import box_service_pb2
from boxwall.wire.errors import ErrorReason
from boxwall_server.changes.change import PolicyBytes
from boxwall_server.config import Security
from boxwall_server.store.mutations import DeleteBox
from fakes.identities import bearing, token_entry, write_tokens
from fakes.service import DENY_ALL, Served, refusal, serving
from fakes.store_cases import create

ANYTHING = PolicyBytes(DENY_ALL.SerializeToString())
ALL = ("boxes.read", "boxes.write")
ENTRIES = (token_entry("ann", *ALL, tenant="acme"), token_entry("bob", *ALL, tenant="beta"))


def make(served: Served, token: str, box_id: str = "", **more: Any) -> Any:
    request = box_service_pb2.CreateBoxRequest(box_id=box_id, **more)
    return bearing(served.boxes, token).CreateBox(request)


def two_tenants(folder: Path, **limits: Any) -> Any:
    tokens = write_tokens(folder / "tokens.toml", *ENTRIES)
    return serving(folder, security=Security(tokens=tokens), **limits)


async def test_a_tenant_has_so_many_boxes_and_no_more(tmp_path: Path) -> None:
    async with two_tenants(tmp_path, max_boxes=2) as served:
        await make(served, "ann", "b1")
        await make(served, "ann", "b2")
        error = await refusal(make(served, "ann", "b3"))
        assert (error.status, error.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            ErrorReason.QUOTA_EXCEEDED,
        )
        await make(served, "bob", "b1")
        delete = box_service_pb2.DeleteBoxRequest(box_id="b1")
        await bearing(served.boxes, "ann").DeleteBox(delete)
        await make(served, "ann", "b3")


async def test_boxes_that_are_made_at_the_same_time_count(tmp_path: Path) -> None:
    async with two_tenants(tmp_path, max_boxes=5) as served:
        made = await asyncio.gather(
            *(make(served, "ann") for _ in range(20)), return_exceptions=True
        )
        assert sum(not isinstance(one, BaseException) for one in made) == 5


async def test_boxes_from_before_the_server_began_to_count_count(tmp_path: Path) -> None:
    async with serving(tmp_path, max_boxes=2) as served:
        # Written past the service, as by another replica or by an earlier run.
        for number in range(2):
            await served.store.apply(create(f"b{number}", tenant="default", policy=ANYTHING))
        assert (await refusal(served.create("b9"))).reason is ErrorReason.QUOTA_EXCEEDED
        await served.store.apply(DeleteBox(tenant="default", id="b0", now=served.clock.now()))
        await served.create("b9")


async def test_a_box_that_cannot_be_made_takes_no_room(tmp_path: Path) -> None:
    async with two_tenants(tmp_path, max_boxes=2) as served:
        await make(served, "ann", "b1")
        for _ in range(5):
            assert (await refusal(make(served, "ann", "b1"))).reason is ErrorReason.BOX_EXISTS
            await make(served, "ann", "b2", validate_only=True)
        await make(served, "ann", "b2")


async def test_a_tenant_that_writes_too_fast_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with two_tenants(tmp_path, max_writes=2.0) as served:
        for number in range(4):
            await make(served, "ann", f"b{number}")
        error = await refusal(make(served, "ann", "b4"))
        assert (error.status, error.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            ErrorReason.OVERLOADED,
        )
        assert error.retry_after == pytest.approx(0.5)
        await make(served, "bob", "b4")
        read = box_service_pb2.ListBoxesRequest()
        assert len((await bearing(served.boxes, "ann").ListBoxes(read)).boxes) == 4
        served.clock.advance(0.5)
        await make(served, "ann", "b4")


async def test_nodes_are_not_held_up_by_writes(tmp_path: Path) -> None:
    async with serving(tmp_path, max_writes=0.5) as served:
        await served.create("b1")
        assert (await refusal(served.create("b2"))).reason is ErrorReason.OVERLOADED
        agent = await served.hosting("b1")
        assert await served.state("b1") == "ENFORCED"
        agent.call.cancel()
