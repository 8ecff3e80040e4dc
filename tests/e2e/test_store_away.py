"""A server whose database is away: what goes on, and what it says of itself."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2_grpc,
    policy_pb2,
)
from boxwall_server.clock import SystemClock
from fakes.postgres_server import PostgresServer
from fakes.server_process import ServerProcess
from guarantees.follower import Follower
from guarantees.writer import TIMEOUT

DENY_ALL = policy_pb2.NetworkPolicy(deny_all=policy_pb2.DenyAll())
State = box_pb2.Enforcement.State


def update(box_id: str, mode: policy_pb2.NetworkPolicy, seconds: int) -> Any:
    request = box_service_pb2.UpdateNetworkPolicyRequest(box_id=box_id, network_policy=mode)
    request.wait_timeout.FromSeconds(seconds)
    return request


async def asked(url: str) -> int:
    """The status that a monitor gets."""

    def ask() -> int:
        try:
            with urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except HTTPError as exc:
            return exc.code

    return await asyncio.to_thread(ask)


async def eventually_healthy(stub: Any, service: str, status: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        request = health_pb2.HealthCheckRequest(service=service)
        while (await stub.Check(request)).status != status:  # noqa: ASYNC110  # nothing says when
            await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
async def test_while_the_database_is_away_a_server_serves_what_it_has_and_is_not_ready(
    tmp_path: Path, mortal: PostgresServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monitor = f"127.0.0.1:{free.getsockname()[1]}"
    server = ServerProcess(tmp_path, store=(await mortal.database()).text)
    node = Follower(SystemClock(), "n1", ["b1"])
    health = health_pb2.HealthCheckResponse
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        await asyncio.to_thread(server.start, "--metrics-listen", monitor)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.target))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        boxes: Any = box_service_pb2_grpc.BoxServiceStub(channel)
        states: Any = health_pb2_grpc.HealthStub(channel)
        streams = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        following = tasks.create_task(node.follow(streams))
        await boxes.CreateBox(box_service_pb2.CreateBoxRequest(box_id="b1"))
        async with asyncio.timeout(TIMEOUT):
            await node.until(lambda: "b1" in node.entries)
        await asyncio.to_thread(mortal.kill)
        for service in ("BoxService", "NodeService", "EnforcementService"):
            await eventually_healthy(states, f"boxwall.v1.{service}", health.NOT_SERVING)
        await eventually_healthy(states, "", health.SERVING)
        assert await asked(f"http://{monitor}/readyz") == 503
        assert await asked(f"http://{monitor}/healthz") == 200
        with pytest.raises(grpc.aio.AioRpcError) as read:
            await boxes.GetBox(box_service_pb2.GetBoxRequest(box_id="b1"))
        assert read.value.code() is grpc.StatusCode.UNAVAILABLE
        checked = await boxes.CheckEgress(
            box_service_pb2.CheckEgressRequest(
                network_policy=DENY_ALL, destinations=[policy_pb2.Destination(domain="a.test")]
            )
        )
        assert not checked.verdicts[0].allowed, "this needs no store"
        await asyncio.to_thread(mortal.start)
        for service in ("BoxService", "NodeService", "EnforcementService"):
            await eventually_healthy(states, f"boxwall.v1.{service}", health.SERVING)
        assert await asked(f"http://{monitor}/readyz") == 200
        box = await boxes.UpdateNetworkPolicy(update("b1", DENY_ALL, TIMEOUT))
        assert box.enforcement.state == State.STATE_ENFORCED
        assert node.streams == 1, "its stream stayed open all the while"
        following.cancel()
