"""What people do with plain grpcurl: no proto files, no client of ours."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import enforcement_service_pb2, enforcement_service_pb2_grpc, stream_pb2
from fakes.server_process import ServerProcess

GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")
pytestmark = pytest.mark.skipif(
    GRPCURL is None,
    reason="grpcurl is not on PATH, and its package has no binary for this platform",
)

BOXES = "boxwall.v1.BoxService"
SEMANTICS_EXAMPLE = {
    "custom": {
        "allowed_domains": ["api.github.com", "*.githubusercontent.com"],
        "allowed_cidrs": ["104.16.0.0/12"],
        "denied_cidrs": ["104.16.120.0/24"],
    }
}


@pytest.fixture
def tcp_server(tmp_path: Path) -> Iterator[str]:
    """A server on a loopback port; gives HOST:PORT."""
    process = ServerProcess(tmp_path, listen="127.0.0.1:0")
    process.start()
    try:
        yield process.target
    finally:
        process.close()


def grpcurl(target: str, *arguments: str, data: object = None) -> list[Any]:
    """Run grpcurl; return the JSON messages it printed. A refused call raises."""
    assert GRPCURL is not None
    given = ["-d", json.dumps(data)] if data is not None else []
    done = subprocess.run(
        [GRPCURL, "-plaintext", *given, target, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode:
        raise Refused(done.stderr)
    return messages(done.stdout)


class Refused(Exception):
    """grpcurl exited with an error; the text is what it said."""


def messages(text: str) -> list[Any]:
    """Read JSON values that stand one after the other."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def lines(target: str, *arguments: str) -> str:
    assert GRPCURL is not None
    return subprocess.run(
        [GRPCURL, "-plaintext", target, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout


def test_list_and_describe_work_without_proto_files(tcp_server: str) -> None:
    listed = lines(tcp_server, "list").split()
    assert {BOXES, "boxwall.v1.EnforcementService", "boxwall.v1.NodeService"} <= set(listed)
    assert {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(listed)
    assert "oneof mode" in lines(tcp_server, "describe", "boxwall.v1.NetworkPolicy")
    method = lines(tcp_server, "describe", f"{BOXES}.UpdateNetworkPolicy")
    assert "rpc UpdateNetworkPolicy" in method


@pytest.mark.parametrize(
    ("policy", "stored"),
    [
        (None, {"allow_all": {}}),
        ({"allow_all": {}}, {"allow_all": {}}),
        ({"deny_all": {}}, {"deny_all": {}}),
        (
            SEMANTICS_EXAMPLE,
            {
                "custom": {
                    "allowed_domains": ["api.github.com", "*.githubusercontent.com"],
                    "allowed_cidrs": ["104.16.0.0/12"],
                    "denied_cidrs": ["104.16.120.0/24"],
                    "unlisted": "UNLISTED_DENY",
                }
            },
        ),
        (
            {"custom": {"denied_cidrs": ["104.16.120.0/24"]}},
            {"custom": {"denied_cidrs": ["104.16.120.0/24"], "unlisted": "UNLISTED_ALLOW"}},
        ),
        ({"custom": {}}, {"custom": {"unlisted": "UNLISTED_DENY"}}),
    ],
    ids=["none", "allow-all", "deny-all", "allow list", "deny list", "three empty lists"],
)
def test_a_box_can_be_made_with_every_policy_and_read_back(
    tcp_server: str, policy: object, stored: object
) -> None:
    box: dict[str, Any] = {} if policy is None else {"network_policy": policy}
    [made] = grpcurl(tcp_server, f"{BOXES}/CreateBox", data={"box_id": "b1", "box": box})
    [read] = grpcurl(tcp_server, f"{BOXES}/GetBox", data={"box_id": "b1"})
    assert made["network_policy"] == read["network_policy"] == stored
    assert read["enforcement"] == {"state": "STATE_NOT_ATTACHED"}


def test_every_bad_entry_is_reported_with_its_fix(tcp_server: str) -> None:
    policy = {"custom": {"allowed_domains": ["*foo.com"], "allowed_cidrs": ["10.0.0.7/24"]}}
    with pytest.raises(Refused) as refused:
        grpcurl(tcp_server, f"{BOXES}/CreateBox", data={"box": {"network_policy": policy}})
    text = str(refused.value)
    assert "InvalidArgument" in text
    assert "10.0.0.7/24 has host bits set; use 10.0.0.0/24" in text
    assert "box.network_policy.custom.allowed_domains[0]" in text


async def test_the_documented_subscription_shows_a_change(tcp_server: str) -> None:
    assert GRPCURL is not None
    subscription = '{"subscribe":{"node_id":"n1","all_boxes":true}}'
    process = await asyncio.create_subprocess_exec(
        *(GRPCURL, "-plaintext", "-d", subscription, tcp_server),
        "boxwall.v1.EnforcementService/StreamPolicies",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        first = await next_message(process.stdout)
        assert first["reset"] == {"last": True}
        box: dict[str, Any] = {"network_policy": {"deny_all": {}}}
        data = {"box_id": "b1", "box": box}
        await asyncio.to_thread(grpcurl, tcp_server, f"{BOXES}/CreateBox", data=data)
        second = await next_message(process.stdout)
        [entry] = second["changes"]["entries"]
        assert (entry["box_id"], entry["network_policy"]) == ("b1", {"deny_all": {}})
    finally:
        process.kill()
        await process.wait()


async def next_message(stream: asyncio.StreamReader) -> Any:
    """Read one JSON message of grpcurl's indented output."""
    text = ""
    async with asyncio.timeout(20):
        while True:
            line = (await stream.readline()).decode()
            assert line, f"grpcurl ended after {text!r}"
            text += line
            if line.rstrip() == "}":
                return json.loads(text)


@asynccontextmanager
async def acknowledging_node(target: str, box_id: str) -> AsyncIterator[asyncio.Task[None]]:
    """A node that hosts a box and acknowledges everything at once."""
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as tasks:
        call = enforcement_service_pb2_grpc.EnforcementServiceStub(channel).StreamPolicies()
        request = enforcement_service_pb2.StreamPoliciesRequest
        hosted = stream_pb2.HostedBox(box_id=box_id)
        await call.write(request(subscribe=stream_pb2.Subscribe(node_id="n1", boxes=[hosted])))
        first = await call.read()
        await call.write(request(ack=stream_pb2.Ack(cursor=first.cursor)))

        async def acknowledge() -> None:
            while (message := await call.read()) is not grpc.aio.EOF:
                await call.write(request(ack=stream_pb2.Ack(cursor=message.cursor)))

        task = tasks.create_task(acknowledge())
        yield task
        task.cancel()


async def test_an_update_that_waits_returns_enforced(tcp_server: str) -> None:
    data: dict[str, Any] = {"box_id": "b1"}
    await asyncio.to_thread(grpcurl, tcp_server, f"{BOXES}/CreateBox", data=data)
    update = {**data, "network_policy": {"deny_all": {}}, "wait_timeout": "20s"}
    async with acknowledging_node(tcp_server, "b1"):
        [box] = await asyncio.to_thread(
            grpcurl, tcp_server, f"{BOXES}/UpdateNetworkPolicy", data=update
        )
    assert box["enforcement"]["state"] == "STATE_ENFORCED"
    [node] = box["enforcement"]["nodes"]
    assert node["node_id"] == "n1"
    assert node["applied_revision"] == box["policy_revision"]
