"""What surrounds the calls: health, reflection, errors nobody foresaw, the log, the end."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from boxwall.wire.errors import ErrorReason
from boxwall_server.config import BadConfig
from boxwall_server.service.registry import SERVICES, generic_handler, snake_case
from boxwall_server.store import errors as store_errors
from fakes.service import Served, refusal, serving, until

OURS = [
    "boxwall.v1.BoxService",
    "boxwall.v1.EnforcementService",
    "boxwall.v1.NodeService",
]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(served: Served, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


@pytest.mark.parametrize("service", ["", *OURS])
async def test_health_is_told_over_all_and_for_each_service(served: Served, service: str) -> None:
    assert await health(served, service) == SERVING


async def test_a_server_that_stops_says_first_that_it_does_not_serve(tmp_path: Path) -> None:
    async with serving(tmp_path, grace=5.0) as served:
        stub: Any = health_pb2_grpc.HealthStub(served.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        agent = await served.hosting()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(served.app.stop())
            assert (await watch.read()).status == NOT_SERVING
            assert not served.app.serving
            await agent.until("go_away")
            watch.cancel()


async def test_a_server_that_stops_takes_no_new_streams(served: Served) -> None:
    served.hub.go_away()

    async def first_message() -> Any:
        return await (await served.subscribe()).next()

    error = await refusal(first_message())
    assert (error.status, error.reason) == (
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.SHUTTING_DOWN,
    )
    assert error.retry_after is not None


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_our_services_and_describes_them(
    served: Served, version: str
) -> None:
    call: Any = served.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert listed > {*OURS, "grpc.health.v1.Health"}
    for name in OURS:
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
    await call.done_writing()


async def broken(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("a secret detail")


async def test_what_nobody_foresaw_is_internal_with_an_id_that_is_in_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.store, "box", broken)
    error = await refusal(served.get())
    assert (error.status, error.reason) == (grpc.StatusCode.INTERNAL, ErrorReason.INTERNAL)
    assert error.message == f"internal error {error.error_id}; the server's log says more"
    (log,) = [log for log in served.logs if log["event"] == "internal_error"]
    assert log["error_id"] == error.error_id
    assert log["rpc"] == "/boxwall.v1.BoxService/GetBox"
    assert isinstance(log["exc_info"], RuntimeError)
    assert error.facts == {"error_id": error.error_id}


async def test_what_nobody_foresaw_on_a_stream_is_internal_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await served.hosting()
    monkeypatch.setattr(served.store, "entries", broken)
    await agent.attach("b1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agent.next()
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)


STORE: dict[str, tuple[store_errors.StoreError, grpc.StatusCode, ErrorReason]] = {
    "full": (
        store_errors.DiskFull("no room"),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.STORE_FULL,
    ),
    "silent": (
        store_errors.StoreUnavailable("locked"),
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.STORE_UNAVAILABLE,
    ),
    "lost while it wrote": (
        store_errors.OutcomeUnknown("who knows"),
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.STORE_UNAVAILABLE,
    ),
}


@pytest.mark.parametrize(("raised", "status", "reason"), STORE.values(), ids=STORE)
async def test_a_store_that_cannot_write_is_told_with_a_time_to_try_again(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    raised: store_errors.StoreError,
    status: grpc.StatusCode,
    reason: ErrorReason,
) -> None:
    async def fails(*args: Any) -> Any:
        raise raised

    monkeypatch.setattr(served.store, "apply", fails)
    error = await refusal(served.create())
    assert (error.status, error.reason) == (status, reason)
    assert error.retry_after is not None
    monkeypatch.undo()
    await served.create()


async def test_calls_are_counted_and_the_failed_ones_logged(served: Served) -> None:
    await served.create()
    await refusal(served.get("b9"))
    labels = {"service": "boxwall.v1.BoxService", "method": "GetBox", "code": "NOT_FOUND"}
    await until(lambda: served.metric("boxwall_request_seconds_count", **labels) == 1)
    labels |= {"method": "CreateBox", "code": "OK"}
    assert served.metric("boxwall_request_seconds_count", **labels) == 1
    (log,) = [log for log in served.logs if log["event"] == "call_failed"]
    assert (log["code"], log["message"]) == ("NOT_FOUND", "there is no box b9")


async def test_acknowledgements_are_timed(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    assert served.metric("boxwall_acknowledge_seconds_count") == 1
    assert served.metric("boxwall_revision") == 1


async def test_how_far_a_node_is_behind_is_a_metric(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    await served.update()
    (record,) = served.app.node_records()
    assert (record.id, record.applied_revision) == ("n1", 1)
    assert served.metric("boxwall_node_lag_revisions", tenant="default", node="n1") == 1


async def test_a_socket_that_a_killed_server_left_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s.sock"))
    async with serving(tmp_path) as served:
        await served.create()


async def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "s.sock"
    precious.write_text("precious")
    with pytest.raises(BadConfig, match="not a socket; choose another path"):
        async with serving(tmp_path):
            pass
    assert precious.read_text() == "precious"


async def test_a_socket_is_for_its_owner_alone(served: Served, tmp_path: Path) -> None:
    assert (tmp_path / "s.sock").stat().st_mode & 0o777 == 0o600


async def test_nobody_else_can_connect_even_at_the_moment_when_the_socket_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    kind = type(grpc.aio.server())
    add = kind.add_insecure_port

    def watched(server: Any, address: str) -> int:
        port = add(server, address)
        modes.append((tmp_path / "s.sock").stat().st_mode & 0o777)
        return port

    monkeypatch.setattr(kind, "add_insecure_port", watched)
    before = os.umask(0)
    try:
        async with serving(tmp_path):
            assert modes == [0o600]
            (tmp_path / "other").touch()
        assert (tmp_path / "other").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_every_method_must_have_a_handler_and_every_handler_a_method() -> None:
    with pytest.raises(ValueError, match="forgotten"):
        generic_handler(
            SERVICES[1], {"stream_policies": broken, "forgotten": broken}, (), max_request_bytes=1
        )
    with pytest.raises(ValueError, match="stream_policies"):
        generic_handler(SERVICES[1], {}, (), max_request_bytes=1)
    assert snake_case("UpdateNetworkPolicy") == "update_network_policy"
    assert [service.full_name for service in SERVICES] == OURS
