"""Whom the server lets in, and what it tells those it does not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from boxwall.v1 import (
    box_service_pb2,
    enforcement_service_pb2,
    node_service_pb2,
    policy_pb2,
    stream_pb2,
)
from boxwall.wire.errors import ErrorReason
from boxwall_server.config import BadConfig, Security
from boxwall_server.files import LOOK_EVERY
from fakes.identities import Sending, bearing, token_entry, write_tokens
from fakes.service import Served, refusal, serving, until

ENTRIES = (
    token_entry("reader", "boxes.read"),
    token_entry("writer", "boxes.read", "boxes.write", name="the writer"),
    token_entry("nodes", "nodes.read"),
    token_entry("n1", "enforce", node="n1"),
    token_entry("n2", "enforce", node="n2"),
    token_entry("root", "admin"),
    token_entry("late", "admin", expires="2020-01-01T00:00:00Z"),
)
GET = box_service_pb2.GetBoxRequest(box_id="b1")
Request = enforcement_service_pb2.StreamPoliciesRequest


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Served]:
    """A server that knows callers by their tokens, with box b1 on node n1 and b2 on n2."""
    tokens = write_tokens(tmp_path / "tokens.toml", *ENTRIES)
    async with serving(tmp_path, security=Security(tokens=tokens)) as served:
        served.boxes = bearing(served.boxes, "writer")
        await served.create("b1", node_id="n1")
        await served.create("b2", node_id="n2")
        yield served


def boxes(served: Served, token: str, *more: tuple[str, str]) -> Any:
    """BoxService, as the one with the token."""
    return bearing(served.boxes._stub, token, *more)


async def test_who_is_known_is_served_as_far_as_its_scopes_go(guarded: Served) -> None:
    assert (await boxes(guarded, "reader").GetBox(GET)).id == "b1"
    error = await refusal(
        boxes(guarded, "reader").DeleteBox(box_service_pb2.DeleteBoxRequest(box_id="b1"))
    )
    assert (error.status, error.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.PERMISSION_DENIED,
    )
    assert "boxes.write" in error.message


async def test_the_author_of_a_write_is_the_identity(guarded: Served) -> None:
    await guarded.update("b1")
    page = await boxes(guarded, "reader").ListPolicyRevisions(
        box_service_pb2.ListPolicyRevisionsRequest(box_id="b1")
    )
    assert {revision.author for revision in page.revisions} == {"the writer"}


UNKNOWN: dict[str, list[tuple[str, str]]] = {
    "nothing": [],
    "a wrong token": [("authorization", "Bearer wrong")],
    "an expired token": [("authorization", "Bearer late")],
    "no scheme": [("authorization", "reader")],
    "two tokens": [("authorization", "Bearer reader"), ("authorization", "Bearer reader")],
    "a token of the wrong kind of header": [("x-token", "reader")],
    "a huge token": [("authorization", "Bearer " + "x" * 7_000)],
    "an empty token": [("authorization", "Bearer ")],
}


@pytest.mark.parametrize("metadata", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("box_id", ["b1", "there-is-none", "Not/An/Id"])
async def test_strangers_learn_nothing_about_what_there_is(
    guarded: Served, metadata: list[tuple[str, str]], box_id: str
) -> None:
    stub = Sending(guarded.boxes._stub, *metadata)
    error = await refusal(stub.GetBox(box_service_pb2.GetBoxRequest(box_id=box_id)))
    assert (error.status, error.reason) == (
        grpc.StatusCode.UNAUTHENTICATED,
        ErrorReason.UNAUTHENTICATED,
    )
    assert error.message.startswith("these credentials are not valid here")
    assert error.resource is None


async def test_who_lacks_the_scope_learns_nothing_about_what_there_is(guarded: Served) -> None:
    messages = set()
    for box_id in ("b1", "there-is-none", "Not/An/Id"):
        request = box_service_pb2.GetBoxRequest(box_id=box_id)
        error = await refusal(boxes(guarded, "nodes").GetBox(request))
        assert error.reason is ErrorReason.PERMISSION_DENIED
        messages.add(error.message)
    assert len(messages) == 1


async def test_a_token_too_large_for_a_header_is_refused(guarded: Served) -> None:
    error = await refusal(boxes(guarded, "x" * 1_000_000).GetBox(GET))
    assert error.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.reason is None, "gRPC refuses it before anything of ours reads it"
    assert not guarded.metric("boxwall_refused_callers_total", reason="wrong_token")
    assert (await boxes(guarded, "reader").GetBox(GET)).id == "b1"


async def test_tokens_are_not_logged(guarded: Served) -> None:
    for token in ("a-very-wrong-token", "late", "reader"):
        await refusal(boxes(guarded, token).GetBox(box_service_pb2.GetBoxRequest(box_id="none")))
        guarded.clock.advance(1.0)
    logged = repr([{k: v for k, v in log.items() if k != "caller"} for log in guarded.logs])
    assert "a-very-wrong-token" not in logged
    assert "Bearer" not in logged
    assert [log["flaw"] for log in guarded.logs if log["event"] == "caller_unknown"] == [
        "wrong_token",
        "wrong_token",
    ]
    assert guarded.metric("boxwall_refused_callers_total", reason="wrong_token") == 2


async def test_strangers_do_not_fill_the_log(guarded: Served) -> None:
    for _ in range(50):
        await refusal(boxes(guarded, "wrong").GetBox(GET))
    guarded.clock.advance(1.0)
    await refusal(boxes(guarded, "wrong").GetBox(GET))

    lines = [log for log in guarded.logs if log.get("event") in ("caller_unknown", "call_failed")]
    assert [line["not_logged"] for line in lines] == [0, 49]
    assert guarded.metric("boxwall_refused_callers_total", reason="wrong_token") == 51


async def test_operators_see_nodes_and_administrators_fence_them(guarded: Served) -> None:
    nodes = guarded.nodes
    fence = node_service_pb2.FenceNodeRequest(node_id="n1")
    await bearing(nodes, "nodes").ListNodes(node_service_pb2.ListNodesRequest())
    for token in ("nodes", "writer", "n1"):
        error = await refusal(bearing(nodes, token).FenceNode(fence))
        assert error.reason is ErrorReason.PERMISSION_DENIED
    assert (await bearing(nodes, "root").FenceNode(fence)).id == "n1"


async def first(served: Served, token: str, **subscribe: Any) -> Any:
    """The first message of a stream; raises what ends it."""
    call = bearing(served.enforcement, token).StreamPolicies()
    await call.write(Request(subscribe=stream_pb2.Subscribe(**subscribe)))
    message = await call.read()
    call.cancel()
    return message


def hosting(*box_ids: str) -> list[stream_pb2.HostedBox]:
    return [stream_pb2.HostedBox(box_id=box_id) for box_id in box_ids]


async def test_a_node_gets_the_boxes_that_are_placed_on_it_and_learns_of_no_other(
    guarded: Served,
) -> None:
    message = await first(guarded, "n1", node_id="n1", boxes=hosting("b1", "b2", "none"))
    entries = {entry.box_id: entry for entry in message.reset.boxes}
    assert entries["b1"].HasField("network_policy")
    assert entries["b2"].refused.message == "box b2 is not placed on this node"
    assert entries["none"].refused.message == "box none is not placed on this node"
    assert not entries["b2"].uid


NOT_ITSELF: dict[str, tuple[str, dict[str, Any]]] = {
    "a node as another": ("n1", {"node_id": "n2"}),
    "a node without a name": ("n1", {}),
    "a node as an observer of all": ("n1", {"node_id": "n1", "all_boxes": True}),
    "a reader as a node": ("reader", {"node_id": "n1"}),
    "an administrator as a node": ("root", {"node_id": "n1"}),
}


@pytest.mark.parametrize(("token", "subscribe"), NOT_ITSELF.values(), ids=NOT_ITSELF)
async def test_nobody_speaks_for_a_node_but_the_node(
    guarded: Served, token: str, subscribe: dict[str, Any]
) -> None:
    error = await refusal(first(guarded, token, **subscribe))
    assert error.reason is ErrorReason.PERMISSION_DENIED
    assert not guarded.app.node_streams.all_connected()


async def test_nobody_acknowledges_for_another_node(guarded: Served) -> None:
    """Neither with the cursor that the other got, nor by naming the other's box."""
    box = await guarded.get("b1")
    theirs = await guarded.subscribe("n1", ["b1"], stub=bearing(guarded.enforcement, "n1"))
    mine = await guarded.subscribe("n2", ["b2"], stub=bearing(guarded.enforcement, "n2"))
    await theirs.until("reset"), await mine.until("reset")
    about: dict[str, Any] = {"box_id": "b1", "policy_revision": box.policy_revision}
    for result in (
        stream_pb2.AckResult(**about),
        stream_pb2.AckResult(**about, failure="says who?"),
        stream_pb2.AckResult(**about, note="says who?"),
        stream_pb2.AckResult(**about, connections_cut=7),
    ):
        await mine.acknowledge(result, cursor=theirs.cursor)
    await guarded.enforced_on("n2", "b2")
    await mine.refuse(policy_pb2.Refusal(box="b1", count=1))
    await until(lambda: guarded.metric("boxwall_refusals_dropped_total"))
    before = (await guarded.get("b1")).enforcement
    assert [(node.node_id, node.message) for node in before.nodes] == [("n1", "")]
    assert await guarded.state("b1") == "PENDING"
    await theirs.acknowledge()
    await guarded.enforced_on("n1", "b1")
    assert await guarded.state("b1") == "ENFORCED"
    assert not (await guarded.get("b1")).enforcement.nodes[0].connections_cut


async def test_an_observer_needs_only_to_read(guarded: Served) -> None:
    message = await first(guarded, "reader", all_boxes=True)
    assert {entry.box_id for entry in message.reset.boxes} == {"b1", "b2"}


async def test_a_box_made_anew_elsewhere_is_kept_from_the_node_that_had_the_id(
    guarded: Served,
) -> None:
    agent = await guarded.subscribe("n1", ["b1"], stub=bearing(guarded.enforcement, "n1"))
    await agent.until("reset")
    await agent.acknowledge()
    await guarded.delete("b1")
    await agent.until("changes")
    again = await guarded.create("b1", node_id="n2")
    # The guarantees are about what a node may see, so this is read without their checkers.
    message = await agent.call.read()
    (entry,) = message.changes.entries
    assert entry.refused.message == "box b1 is not placed on this node"
    assert again.uid not in str(message)
    await agent.acknowledge(cursor=message.cursor)
    await until(lambda: not guarded.unacknowledged("n1"))
    assert await guarded.state("b1") == "NOT_ATTACHED"
    await guarded.delete("b1")
    await guarded.create("b1")  # placed nowhere: nobody may host it here
    assert await guarded.state("b1") == "NOT_ATTACHED"


async def test_health_is_open_and_reflection_is_not(guarded: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(guarded.channel)
    await stub.Check(health_pb2.HealthCheckRequest())
    for version in ("v1", "v1alpha"):
        path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        ask: Any = guarded.channel.stream_stream(
            path,
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        refused = ask()
        assert await refused.code() is grpc.StatusCode.UNAUTHENTICATED
        call = ask(metadata=(("authorization", "Bearer n1"),))
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await call.read()).list_services_response.service
        call.cancel()


async def test_reflection_answers_no_more_once_the_token_is_taken_out(
    guarded: Served, tmp_path: Path
) -> None:
    ask: Any = guarded.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = ask(metadata=(("authorization", "Bearer reader"),))
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    for _ in range(2):
        await call.write(question)
        assert (await call.read()).list_services_response.service
    write_tokens(tmp_path / "tokens.toml", ENTRIES[1])
    await look(guarded)
    await call.write(question)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def look(served: Served) -> None:
    """What a second of running does."""
    for _ in range(round(1 / LOOK_EVERY)):
        for kept, changed in served.app.guard._files:
            if kept.look():
                changed()
    served.app.guard.check_streams(served.hub)


async def test_a_token_that_is_taken_out_counts_no_more_and_its_streams_end(
    guarded: Served, tmp_path: Path
) -> None:
    watch = boxes(guarded, "reader").WatchBoxes(box_service_pb2.WatchBoxesRequest())
    kept = boxes(guarded, "writer").WatchBoxes(box_service_pb2.WatchBoxesRequest())
    agent = await guarded.subscribe("n1", ["b1"], stub=bearing(guarded.enforcement, "n1"))
    await watch.read(), await kept.read(), await agent.until("reset")
    write_tokens(tmp_path / "tokens.toml", ENTRIES[1], token_entry("new", "boxes.read"))
    await look(guarded)
    assert await watch.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await agent.ended()).code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await refusal(boxes(guarded, "reader").GetBox(GET))).reason == "UNAUTHENTICATED"
    assert (await boxes(guarded, "new").GetBox(GET)).id == "b1"
    await guarded.update("b1")
    assert (await kept.read()).HasField("changes")
    kept.cancel()


async def test_a_stream_ends_when_its_token_expires(tmp_path: Path) -> None:
    entry = token_entry("brief", "boxes.read", expires="2023-11-14T22:13:30Z")
    tokens = write_tokens(tmp_path / "tokens.toml", entry)
    async with serving(tmp_path, security=Security(tokens=tokens)) as served:
        watch = bearing(served.boxes, "brief").WatchBoxes(box_service_pb2.WatchBoxesRequest())
        await watch.read()
        served.clock.advance(9.0)
        served.app.guard.check_streams(served.hub)
        assert served.hub.open_streams
        served.clock.advance(1.0)
        served.app.guard.check_streams(served.hub)
        assert await watch.code() is grpc.StatusCode.UNAUTHENTICATED


BROKEN = {
    "no TOML": "[[tokens",
    "empty": "",
    "half": "\n".join(ENTRIES)[:-40],
    "no text": "\udcff",
    "an unknown scope": token_entry("reader", "everything"),
    "too deep to read": "tokens = " + "[" * 20_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
async def test_a_file_of_tokens_that_breaks_leaves_the_last_good_one_in_force(
    guarded: Served, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    await look(guarded)
    await look(guarded)
    assert (await boxes(guarded, "reader").GetBox(GET)).id == "b1"
    assert (await refusal(boxes(guarded, "other").GetBox(GET))).reason == "UNAUTHENTICATED"
    (said,) = [log for log in guarded.logs if log["event"] == "file_unusable"]
    assert (said["file"], said["kept"]) == ("tokens", "last good")
    assert guarded.metric("boxwall_stale_file", file="tokens") == 1
    write_tokens(path, token_entry("other", "boxes.read"))
    await look(guarded)
    assert guarded.metric("boxwall_stale_file", file="tokens") == 0
    assert (await boxes(guarded, "other").GetBox(GET)).id == "b1"


async def test_half_of_a_file_of_tokens_that_looks_like_a_whole_one_does_not_count(
    guarded: Served, tmp_path: Path
) -> None:
    """As somebody writes it in place, a few entries at a time."""
    path = tmp_path / "tokens.toml"
    whole = path.read_text()
    (kept, changed), *_ = guarded.app.guard._files
    for entries in range(1, len(ENTRIES)):
        path.write_text("\n".join(ENTRIES[:entries]))
        assert not kept.look()
        assert (await boxes(guarded, "root").GetBox(GET)).id == "b1"
    path.write_text(whole)
    for _ in range(3):
        assert not kept.look()  # nothing is other than before
    path.write_text("\n".join(ENTRIES[:2]))
    assert [kept.look(), kept.look(), kept.look()] == [False, True, False]
    changed()
    assert (await refusal(boxes(guarded, "root").GetBox(GET))).reason == "UNAUTHENTICATED"


async def test_a_token_that_is_prolonged_keeps_its_streams(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    write_tokens(path, token_entry("brief", "boxes.read", expires="2023-11-14T22:13:30Z"))
    async with serving(tmp_path, security=Security(tokens=path)) as served:
        watch = bearing(served.boxes, "brief").WatchBoxes(box_service_pb2.WatchBoxesRequest())
        await watch.read()
        write_tokens(path, token_entry("brief", "boxes.read", expires="2023-11-14T22:14:00Z"))
        await look(served)
        served.clock.advance(20.0)
        served.app.guard.check_streams(served.hub)
        served.hub.tick()
        assert (await watch.read()).HasField("bookmark")
        served.clock.advance(20.0)
        served.app.guard.check_streams(served.hub)
        assert await watch.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_file_of_tokens_that_vanishes_leaves_the_last_good_one_in_force(
    guarded: Served, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.toml"
    text = path.read_text()
    path.unlink()
    await look(guarded)
    assert (await boxes(guarded, "reader").GetBox(GET)).id == "b1"
    assert guarded.metric("boxwall_stale_file", file="tokens") == 1
    path.write_text(text)
    await look(guarded)
    assert guarded.metric("boxwall_stale_file", file="tokens") == 0


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
async def test_a_server_does_not_start_with_a_broken_file_of_tokens(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(BadConfig, match=r"tokens\.toml: "):
        async with serving(tmp_path, security=Security(tokens=path)):
            pass
    with pytest.raises(BadConfig, match="cannot be read: No such file"):
        async with serving(tmp_path, security=Security(tokens=tmp_path / "none")):
            pass


async def test_a_file_that_anyone_can_write_is_not_believed(
    guarded: Served, tmp_path: Path
) -> None:
    path = write_tokens(tmp_path / "tokens.toml", token_entry("mallory", "admin"))
    path.chmod(0o666)
    await look(guarded)
    assert (await refusal(boxes(guarded, "mallory").GetBox(GET))).reason == "UNAUTHENTICATED"
    assert (await boxes(guarded, "reader").GetBox(GET)).id == "b1"
    with pytest.raises(BadConfig, match="can be written by anyone"):
        async with serving(tmp_path, security=Security(tokens=path)):
            pass


async def test_while_it_runs_the_server_looks_by_itself(guarded: Served, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        upkeep = tasks.create_task(guarded.app.guard.keep_watch(guarded.hub))
        watch = boxes(guarded, "reader").WatchBoxes(box_service_pb2.WatchBoxesRequest())
        await watch.read()
        write_tokens(tmp_path / "tokens.toml", ENTRIES[1])
        async with asyncio.timeout(LOOK_EVERY * 10):
            assert await watch.code() is grpc.StatusCode.UNAUTHENTICATED
        upkeep.cancel()
    await until(lambda: not guarded.hub.open_streams)
