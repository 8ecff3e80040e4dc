"""One tenant's limits are not another's, and reads and nodes are never held up."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import box_service_pb2
from boxwall.wire.errors import ErrorReason
from boxwall_server.changes.change import PolicyBytes
from boxwall_server.config import Security
from boxwall_server.store.mutations import BoxWritten, DeleteBox, Mutation, Outcome
from fakes.identities import bearing, token_entry, write_tokens
from fakes.service import DENY_ALL, Served, refusal, serving, until
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
        assert error.retry_after is None  # waiting does not help
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


async def test_calls_that_are_given_up_do_not_make_more_boxes_than_there_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on its way to the disk is written, whether somebody still waits for it or not."""
    async with serving(tmp_path, max_boxes=3) as served:
        apply = served.store.apply
        under_way, waiting = list[Mutation](), list[Mutation]()

        async def slowly(mutation: Mutation) -> Outcome:
            under_way.append(mutation)
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        monkeypatch.setattr(served.store, "apply", slowly)
        for _ in range(10):
            call = served.boxes.CreateBox(box_service_pb2.CreateBoxRequest())
            await until(lambda: under_way)
            call.cancel()
            waiting.append(under_way.pop())
        made = await asyncio.gather(*map(apply, waiting), return_exceptions=True)
        assert sum(isinstance(one, BoxWritten) for one in made) == 3


async def test_a_repeated_request_gets_its_answer_and_costs_nothing(tmp_path: Path) -> None:
    request_id = str(uuid.uuid4())
    async with serving(tmp_path, max_boxes=1, max_writes=1.0) as served:
        request = box_service_pb2.CreateBoxRequest(request_id=request_id)
        made = [await served.boxes.CreateBox(request) for _ in range(5)]
        assert len({box.uid for box in made}) == 1
        await served.update(made[0].id)
        assert (await refusal(served.update(made[0].id))).reason is ErrorReason.OVERLOADED


async def test_a_dry_run_takes_no_room_and_no_time(tmp_path: Path) -> None:
    async with serving(tmp_path, max_boxes=1, max_writes=1.0) as served:
        await served.create("b1")
        dry = box_service_pb2.CreateBoxRequest(box_id="b2", validate_only=True)
        for _ in range(5):
            await served.boxes.CreateBox(dry)
            await served.update("b1", validate_only=True)
        await served.update("b1")


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
