"""The database fails over to a standby that follows it over a line, as streaming replication does:
what was acknowledged last is lost with the primary if the line was cut before.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2_grpc,
    policy_pb2,
    stream_pb2,
)
from boxwall.wire.errors import ErrorReason, error_from_rpc
from boxwall_server.changes.revision import cursor_from_token
from boxwall_server.clock import SystemClock
from boxwall_server.store.postgres_url import PostgresUrl
from fakes.line import Line, line_to
from fakes.postgres_server import PostgresServer, logged_revisions
from fakes.postgres_standby import PostgresStandby
from fakes.server_processes import ServerProcesses, channel_to
from guarantees.follower import Follower
from guarantees.truth import Truth
from guarantees.writer import TIMEOUT, Writer, check_all, paused

WITHIN = 30
"""Seconds within which everybody must be in sync again."""
BOXES = ["narrowed", "deleted", "kept", "late"]
ALLOW_ALL = policy_pb2.NetworkPolicy(allow_all=policy_pb2.AllowAll())
DENY_ALL = policy_pb2.NetworkPolicy(deny_all=policy_pb2.DenyAll())

State = box_pb2.Enforcement.State


class Site:
    """A primary, its standby, the line between them, and two servers that know both."""

    def __init__(
        self,
        primary: PostgresServer,
        standby: PostgresStandby,
        line: Line,
        servers: ServerProcesses,
    ) -> None:
        self.primary = primary
        self.standby = standby
        self.line = line
        self.servers = servers

    async def fail_over(self) -> None:
        """The primary's machine is gone: the standby takes its place."""
        await asyncio.to_thread(self.primary.kill)
        await self.standby.promote()


@pytest.fixture
async def site(tmp_path: Path, mortal: PostgresServer) -> AsyncIterator[Site]:
    """Everything runs."""
    async with line_to(mortal.port) as line, AsyncExitStack() as stack:
        database = (await mortal.database()).text
        standby = await asyncio.to_thread(PostgresStandby, mortal, line)
        stack.push_async_callback(asyncio.to_thread, standby.close)
        await asyncio.to_thread(standby.start)
        here = f"127.0.0.1:{mortal.port}"
        url = PostgresUrl.parse(database.replace(here, f"{here},127.0.0.1:{standby.port}"))
        servers = ServerProcesses(tmp_path, url, 2)
        stack.push_async_callback(asyncio.to_thread, servers.close)
        for server in servers.servers:
            await asyncio.to_thread(server.start)
        yield Site(mortal, standby, line, servers)


class Fleet:
    """A node at each server, both with every box; an observer; and a way to ask each server."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.nodes = {name: Follower(clock, name, BOXES) for name in ("n1", "n2")}
        self.observer = Follower(clock, "observer")
        self.boxes: list[Any] = []
        self.claims = 0

    @asynccontextmanager
    async def connected(self, servers: ServerProcesses) -> AsyncIterator[None]:
        """Follow for as long as this lasts."""
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = []
            followers = zip((*self.nodes.values(), self.observer), (0, 1, 0), strict=True)
            for follower, place in followers:
                target = f"ipv4:{servers.servers[place].target}"
                channel = await stack.enter_async_context(channel_to(target))
                stub = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
                running.append(tasks.create_task(follower.follow(stub)))
                if len(self.boxes) < 2:
                    self.boxes.append(box_service_pb2_grpc.BoxServiceStub(channel))
            yield
            for task in running:
                task.cancel()

    async def until_enforced(self, box_ids: Sequence[str]) -> None:
        """Wait until each server says, and rightly, that both nodes have these boxes in force."""
        async with asyncio.timeout(WITHIN):
            for stub in self.boxes:
                for box_id in box_ids:
                    while await self.claim(stub, box_id) != State.STATE_ENFORCED:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)

    async def claim(self, stub: Any, box_id: str) -> "box_pb2.Enforcement.State | None":
        """Ask for a box. Whatever is said to be enforced, is: at the question, or at the answer."""
        before = self._in_force(box_id)
        try:
            box = await stub.GetBox(box_service_pb2.GetBoxRequest(box_id=box_id), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as exc:
            if exc.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND):
                raise
            return None
        after = self._in_force(box_id)
        for node in box.enforcement.nodes:
            if node.state == State.STATE_ENFORCED:
                self.claims += 1
                said = (box.uid, box.policy_revision, box.network_policy)
                real = [_of(one[node.node_id]) for one in (before, after)]
                assert said in real, f"{node.node_id} does not enforce {box}, but {real}"
        state: box_pb2.Enforcement.State = box.enforcement.state
        return state

    async def claim_for_ever(self, stub: Any) -> None:
        """Ask one server after every box, again and again."""
        while True:
            for box_id in BOXES:
                await self.claim(stub, box_id)
            await asyncio.sleep(0.002)

    def _in_force(self, box_id: str) -> dict[str, stream_pb2.PolicyEntry]:
        nothing = stream_pb2.PolicyEntry()
        return {name: node.entries.get(box_id, nothing) for name, node in self.nodes.items()}


def was_reset(one: Follower) -> bool:
    """Whether it was given the whole state a second time."""
    return one.resets == 2


def _of(entry: stream_pb2.PolicyEntry) -> tuple[str, int, policy_pb2.NetworkPolicy]:
    return entry.uid, entry.policy_revision, entry.network_policy


async def create(stub: Any, box_id: str) -> box_pb2.Box:
    box = box_pb2.Box(network_policy=ALLOW_ALL)
    request = box_service_pb2.CreateBoxRequest(box_id=box_id, box=box)
    made: box_pb2.Box = await stub.CreateBox(request, timeout=TIMEOUT)
    return made


async def update(stub: Any, box_id: str, policy: policy_pb2.NetworkPolicy, etag: str = "") -> Any:
    request = box_service_pb2.UpdateNetworkPolicyRequest(
        box_id=box_id, network_policy=policy, etag=etag
    )
    request.wait_timeout.FromSeconds(WITHIN)
    return await stub.UpdateNetworkPolicy(request, timeout=WITHIN + TIMEOUT)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_an_end_that_is_lost_is_never_taken_for_what_it_was(site: Site) -> None:
    fleet = Fleet()
    async with fleet.connected(site.servers), asyncio.TaskGroup() as tasks:
        here = fleet.boxes[0]
        for box_id in BOXES[:3]:
            await create(here, box_id)
        await fleet.until_enforced(BOXES[:3])
        await site.standby.has_caught_up()

        site.line.cut()
        lost = await update(here, "narrowed", DENY_ALL)
        assert lost.enforcement.state == State.STATE_ENFORCED
        await here.DeleteBox(box_service_pb2.DeleteBoxRequest(box_id="deleted"), timeout=TIMEOUT)
        await create(here, "late")
        await fleet.until_enforced(["late"])
        epoch = cursor_from_token(fleet.observer.cursor, "default").epoch

        asking = [tasks.create_task(fleet.claim_for_ever(stub)) for stub in fleet.boxes]
        said_before = fleet.claims
        await site.fail_over()
        everybody = (*fleet.nodes.values(), fleet.observer)
        async with asyncio.timeout(WITHIN):
            for one in everybody:
                await one.until(partial(was_reset, one))
        await fleet.until_enforced(BOXES[:3])
        for task in asking:
            task.cancel()
        assert fleet.claims > said_before, "nobody said anything: nothing was tried"

        assert cursor_from_token(fleet.observer.cursor, "default").epoch != epoch
        for one in everybody:
            assert one.entries["narrowed"].HasField("network_policy")
            assert one.entries["narrowed"].network_policy == ALLOW_ALL, "lost is lost"
            assert one.entries["deleted"].network_policy == ALLOW_ALL
        assert all(one.entries["late"].HasField("tombstone") for one in fleet.nodes.values())
        assert site.servers.logs.count('"history_began_anew"') == 2, "each server says it, once"

        again = await update(fleet.boxes[1], "narrowed", DENY_ALL)
        assert again.policy_revision == lost.policy_revision, "the revision was given out again"
        assert again.enforcement.state == State.STATE_ENFORCED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await update(here, "narrowed", ALLOW_ALL, etag=lost.etag)
        assert error_from_rpc(refused.value).reason is ErrorReason.ETAG_MISMATCH, "of what was lost"


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_standby_that_has_everything_goes_on_as_if_nothing_had_happened(site: Site) -> None:
    truth, clock = Truth(), SystemClock()
    observer, node = Follower(clock, "observer"), Follower(clock, "n1", BOXES)
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(channel_to(f"ipv4:{site.servers.addresses}"))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        boxes = box_service_pb2_grpc.BoxServiceStub(channel)
        streams = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        running = [tasks.create_task(one.follow(streams)) for one in (observer, node)]
        writers = [Writer(boxes, box_id, truth, observer) for box_id in BOXES]
        running += [tasks.create_task(writer.write_for_ever()) for writer in writers]
        async with asyncio.timeout(60):
            await truth.grown_by(30)
        async with paused(writers):
            await site.standby.has_caught_up()
            await site.fail_over()
        async with asyncio.timeout(60):
            await truth.grown_by(30)
        async with paused(writers):
            await check_all(truth, (observer, node), writers, streams)
        for task in running:
            task.cancel()
    assert observer.resets == node.resets == 1, "a stream was reset though history goes on"
    logged = await logged_revisions(site.servers.url)
    assert logged == list(range(1, truth.history.head + 1))
    assert '"history_began_anew"' not in site.servers.logs
