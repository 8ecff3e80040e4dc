"""A control plane to test clients against: in memory, and scripted where it has to fail.

In process with `serving(fake)`, or a process of its own with `python fake_service.py SOCKET`. Not a
model of the real one: just enough of its answers. `script` holds, by rpc, what the next calls meet
before they are answered: an ApiError is raised, a coroutine function is awaited.
"""

import asyncio
import sys
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from boxwall.policy import AllowAll, InvalidPolicy, decide, lint
from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    node_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
    policy_pb2,
    stream_pb2,
)
from boxwall.wire.errors import ApiError, ErrorReason, status_of, trailing_metadata_of
from boxwall.wire.policies import (
    destination_from_proto,
    policy_from_proto,
    policy_to_proto,
    verdict_to_proto,
    warnings_to_proto,
)

EPOCH = Timestamp(seconds=1_760_000_000)
State = box_pb2.Enforcement.State
Step = ApiError | Callable[[], Awaitable[None]]


def unavailable(retry_after: float = 0.0) -> ApiError:
    """The store does not answer."""
    return ApiError(ErrorReason.STORE_UNAVAILABLE, "try again", retry_after=retry_after)


class FakeBoxService(
    box_service_pb2_grpc.BoxServiceServicer, node_service_pb2_grpc.NodeServiceServicer
):
    """See the module's docstring."""

    def __init__(self) -> None:
        self.boxes: dict[str, box_pb2.Box] = {}
        self.snapshots: dict[str, box_pb2.Snapshot] = {}
        self.history: dict[str, list[box_pb2.PolicyRevision]] = defaultdict(list)
        self.nodes: dict[str, node_pb2.Node] = {}
        self.hosting: dict[str, list[box_pb2.NodeEnforcement]] = {}
        self.requests: dict[str, box_pb2.Box] = {}
        self.revision = 0
        self.page_size = 100
        self.script: dict[str, deque[Step]] = defaultdict(deque)
        self.calls: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str]] = []
        self.watches: deque[list[Any]] = deque()
        self.refusals: deque[list[Any]] = deque()

    # Boxes.

    async def CreateBox(self, request: Any, context: Any) -> box_pb2.Box:
        await self._begin("CreateBox", request, context)
        if request.request_id in self.requests:
            return self.requests[request.request_id]
        box = box_pb2.Box()
        box.CopyFrom(request.box)
        box.id = request.box_id or f"box-{len(self.boxes) + 1}"
        if box.id in self.boxes:
            await _refuse(context, ErrorReason.BOX_EXISTS, f"there is a box {box.id} already")
        await self._inherit(box, context)
        warnings = await self._canonical(box, "box.network_policy", context)
        if box.HasField("ttl"):
            end = EPOCH.seconds + box.ttl.seconds
            box.ClearField("ttl")
            box.expire_time.seconds = end
        box.uid = str(uuid.uuid4())
        box.create_time.CopyFrom(EPOCH)
        answer = box
        if not request.validate_only:
            self._store(box)
            self._remember(box, request.request_id)
            answer = self._seen(box)
        answer = _with(answer, warnings)
        self.requests[request.request_id] = answer
        return answer

    async def GetBox(self, request: Any, context: Any) -> box_pb2.Box:
        await self._begin("GetBox", request, context)
        return self._seen(await self._box(request.box_id, context))

    async def ListBoxes(self, request: Any, context: Any) -> Any:
        await self._begin("ListBoxes", request, context)
        ids = sorted(i for i in self.boxes if _matches(self.boxes[i], request.filter))
        page, token = self._page(ids, request.page_token)
        return box_service_pb2.ListBoxesResponse(
            boxes=[self._seen(self.boxes[i]) for i in page], next_page_token=token
        )

    async def UpdateBox(self, request: Any, context: Any) -> box_pb2.Box:
        await self._begin("UpdateBox", request, context)
        box = await self._box(request.box.id, context, request.etag)
        for path in request.update_mask.paths:
            box.ClearField("expire_time" if path == "ttl" else path)
            if path == "labels":
                box.labels.update(request.box.labels)
            elif path == "ttl":
                box.expire_time.seconds = EPOCH.seconds + request.box.ttl.seconds
            elif path == "expire_time":
                if request.box.HasField("expire_time"):
                    box.expire_time.CopyFrom(request.box.expire_time)
            else:
                setattr(box, path, getattr(request.box, path))
        self.revision += 1
        box.etag = f"etag-{self.revision}"
        return self._seen(box)

    async def DeleteBox(self, request: Any, context: Any) -> Any:
        await self._begin("DeleteBox", request, context)
        box = self._seen(await self._box(request.box_id, context, request.etag))
        del self.boxes[request.box_id]
        self.revision += 1
        return box_service_pb2.DeleteBoxResponse(
            revision=self.revision, enforcement=box.enforcement
        )

    async def UpdateNetworkPolicy(self, request: Any, context: Any) -> box_pb2.Box:
        await self._begin("UpdateNetworkPolicy", request, context)
        box = await self._box(request.box_id, context, request.etag)
        if request.request_id and request.request_id in self.requests:
            return self._seen(box)
        new = box_pb2.Box()
        new.CopyFrom(box)
        new.network_policy.CopyFrom(request.network_policy)
        warnings = await self._canonical(new, "network_policy", context)
        if not request.validate_only:
            box.CopyFrom(new)
            self._store(box)
            self._remember(box, request.request_id)
            self.requests[request.request_id] = box
        return _with(self._seen(box), warnings)

    async def WaitEnforced(self, request: Any, context: Any) -> box_pb2.Box:
        await self._begin("WaitEnforced", request, context)
        return self._seen(await self._box(request.box_id, context))

    async def CheckEgress(self, request: Any, context: Any) -> Any:
        await self._begin("CheckEgress", request, context)
        box = await self._box(request.box_id, context)
        policy = policy_from_proto(box.network_policy).policy
        return box_service_pb2.CheckEgressResponse(
            verdicts=[
                verdict_to_proto(
                    decide(policy, destination_from_proto(d), revision=box.policy_revision)
                )
                for d in request.destinations
            ]
        )

    async def ListPolicyRevisions(self, request: Any, context: Any) -> Any:
        await self._begin("ListPolicyRevisions", request, context)
        await self._box(request.box_id, context)
        newest_first = self.history[request.box_id][::-1]
        page, token = self._page([*range(len(newest_first))], request.page_token)
        return box_service_pb2.ListPolicyRevisionsResponse(
            revisions=[newest_first[i] for i in page], next_page_token=token
        )

    # Streams: each connection plays the next list; what is no message is raised or awaited.

    async def WatchBoxes(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._begin("WatchBoxes", request, context)
        async for message in _played(self.watches, context):
            yield message

    async def WatchRefusals(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._begin("WatchRefusals", request, context)
        if request.box_id:
            await self._box(request.box_id, context)
        async for message in _played(self.refusals, context):
            yield message

    # Snapshots.

    async def CreateSnapshot(self, request: Any, context: Any) -> box_pb2.Snapshot:
        await self._begin("CreateSnapshot", request, context)
        box = await self._box(request.box_id, context)
        snapshot = box_pb2.Snapshot(
            id=request.snapshot_id or f"snap-{len(self.snapshots) + 1}",
            box_id=box.id,
            network_policy=box.network_policy,
            create_time=EPOCH,
        )
        if snapshot.id in self.snapshots:
            text = f"there is a snapshot {snapshot.id} already"
            await _refuse(context, ErrorReason.SNAPSHOT_EXISTS, text)
        self.snapshots[snapshot.id] = snapshot
        return snapshot

    async def GetSnapshot(self, request: Any, context: Any) -> box_pb2.Snapshot:
        await self._begin("GetSnapshot", request, context)
        return await self._snapshot(request.snapshot_id, context)

    async def ListSnapshots(self, request: Any, context: Any) -> Any:
        await self._begin("ListSnapshots", request, context)
        wanted = [i for i, s in sorted(self.snapshots.items()) if request.box_id in ("", s.box_id)]
        page, token = self._page(wanted, request.page_token)
        return box_service_pb2.ListSnapshotsResponse(
            snapshots=[self.snapshots[i] for i in page], next_page_token=token
        )

    async def DeleteSnapshot(self, request: Any, context: Any) -> Any:
        await self._begin("DeleteSnapshot", request, context)
        await self._snapshot(request.snapshot_id, context)
        del self.snapshots[request.snapshot_id]
        return box_service_pb2.DeleteSnapshotResponse()

    # Nodes.

    async def ListNodes(self, request: Any, context: Any) -> Any:
        await self._begin("ListNodes", request, context)
        page, token = self._page(sorted(self.nodes), request.page_token)
        return node_service_pb2.ListNodesResponse(
            nodes=[self.nodes[i] for i in page], next_page_token=token
        )

    async def GetNode(self, request: Any, context: Any) -> node_pb2.Node:
        await self._begin("GetNode", request, context)
        return await self._node(request.node_id, context)

    async def FenceNode(self, request: Any, context: Any) -> node_pb2.Node:
        await self._begin("FenceNode", request, context)
        node = self.nodes.setdefault(request.node_id, node_pb2.Node(id=request.node_id))
        node.state = node_pb2.Node.STATE_FENCED
        node.fence_reason = request.reason
        return node

    async def UnfenceNode(self, request: Any, context: Any) -> node_pb2.Node:
        await self._begin("UnfenceNode", request, context)
        node = await self._node(request.node_id, context)
        node.state = node_pb2.Node.STATE_DISCONNECTED
        node.fence_reason = ""
        return node

    async def ForgetNode(self, request: Any, context: Any) -> Any:
        await self._begin("ForgetNode", request, context)
        node = await self._node(request.node_id, context)
        if node.state == node_pb2.Node.STATE_CONNECTED:
            text = f"node {node.id} is connected; stop its agent first"
            await _refuse(context, ErrorReason.NODE_CONNECTED, text)
        del self.nodes[request.node_id]
        return node_service_pb2.ForgetNodeResponse(attachments=node.attached_boxes)

    # For tests.

    def host(self, box_id: str, node_id: str, state: Any, message: str = "") -> None:
        """Let a node host the box, with this state of its policy."""
        node = box_pb2.NodeEnforcement(node_id=node_id, state=state, message=message)
        self.hosting[box_id] = [*self.hosting.get(box_id, []), node]

    def called(self, rpc: str) -> list[Any]:
        """The requests of one rpc, in order."""
        return [request for name, request in self.calls if name == rpc]

    async def _begin(self, rpc: str, request: Any, context: Any) -> None:
        kept = type(request)()
        kept.CopyFrom(request)
        self.calls.append((rpc, kept))
        self.metadata.append(dict(context.invocation_metadata()))
        if self.script[rpc]:
            step = self.script[rpc].popleft()
            if isinstance(step, ApiError):
                await _abort(context, step)
            else:
                await step()

    async def _inherit(self, box: box_pb2.Box, context: Any) -> None:
        if box.source_snapshot and not box.HasField("network_policy"):
            snapshot = await self._snapshot(box.source_snapshot, context)
            box.network_policy.CopyFrom(snapshot.network_policy)
        elif not box.HasField("network_policy"):
            box.network_policy.CopyFrom(policy_to_proto(AllowAll()))

    async def _canonical(self, box: box_pb2.Box, prefix: str, context: Any) -> Any:
        try:
            parsed = policy_from_proto(box.network_policy, prefix=prefix)
        except InvalidPolicy as exc:
            error = ApiError(
                ErrorReason.INVALID_POLICY, "the policy is not valid", violations=exc.violations
            )
            await _abort(context, error)
            raise
        box.network_policy.CopyFrom(policy_to_proto(parsed.policy))
        return warnings_to_proto(lint(parsed))

    def _store(self, box: box_pb2.Box) -> None:
        self.revision += 1
        box.policy_revision = self.revision
        box.etag = f"etag-{self.revision}"
        box.update_time.CopyFrom(EPOCH)
        self.boxes[box.id] = box

    def _remember(self, box: box_pb2.Box, request_id: str) -> None:
        self.history[box.id].append(
            box_pb2.PolicyRevision(
                revision=box.policy_revision,
                network_policy=box.network_policy,
                create_time=EPOCH,
                author="anonymous",
                request_id=request_id,
            )
        )

    def _seen(self, box: box_pb2.Box) -> box_pb2.Box:
        nodes = self.hosting.get(box.id, [])
        worst: Any = State.STATE_NOT_ATTACHED
        for state in ("ENFORCED", "PENDING", "FAILED", "STALE"):
            number = State.Value(f"STATE_{state}")
            if any(node.state == number for node in nodes):
                worst = number
        seen = box_pb2.Box()
        seen.CopyFrom(box)
        seen.enforcement.CopyFrom(box_pb2.Enforcement(state=worst, nodes=nodes))
        return seen

    def _page(self, items: list[Any], token: str) -> tuple[list[Any], str]:
        start = int(token or 0)
        end = start + self.page_size
        return items[start:end], str(end) if end < len(items) else ""

    async def _box(self, box_id: str, context: Any, etag: str = "") -> box_pb2.Box:
        if box_id not in self.boxes:
            text = f"there is no box {box_id}"
            await _refuse(context, ErrorReason.BOX_NOT_FOUND, text, ("box", box_id))
        box = self.boxes[box_id]
        if etag and etag != box.etag:
            await _refuse(context, ErrorReason.ETAG_MISMATCH, f"box {box_id} was written")
        return box

    async def _snapshot(self, snapshot_id: str, context: Any) -> box_pb2.Snapshot:
        if snapshot_id not in self.snapshots:
            text = f"there is no snapshot {snapshot_id}"
            await _refuse(context, ErrorReason.SNAPSHOT_NOT_FOUND, text)
        return self.snapshots[snapshot_id]

    async def _node(self, node_id: str, context: Any) -> node_pb2.Node:
        if node_id not in self.nodes:
            await _refuse(context, ErrorReason.NODE_NOT_FOUND, f"there is no node {node_id}")
        return self.nodes[node_id]


# Messages of streams.


def watched(box_id: str, version: int = 1) -> box_pb2.Box:
    """A box as a watch shows it."""
    return box_pb2.Box(
        id=box_id,
        uid=f"uid-of-{box_id}",
        etag=f"v{version}",
        network_policy=policy_to_proto(AllowAll()),
    )


def reset(cursor: str, *boxes: box_pb2.Box, last: bool = True) -> Any:
    """A page of the whole state."""
    page = box_service_pb2.BoxReset(boxes=boxes, last=last)
    return box_service_pb2.WatchBoxesResponse(cursor=cursor, reset=page)


def changes(cursor: str, *changed: box_pb2.Box | str) -> Any:
    """What is new; a str is the id of a box that is gone."""
    return box_service_pb2.WatchBoxesResponse(
        cursor=cursor,
        changes=box_service_pb2.BoxChanges(
            changes=[
                box_service_pb2.BoxChange(box_id=c, gone=stream_pb2.Tombstone())
                if isinstance(c, str)
                else box_service_pb2.BoxChange(box_id=c.id, box=c)
                for c in changed
            ]
        ),
    )


def go_away(cursor: str) -> Any:
    """The server is about to stop."""
    return box_service_pb2.WatchBoxesResponse(cursor=cursor, go_away=stream_pb2.GoAway())


def refused(box_id: str, domain: str, *, dropped: int = 0) -> Any:
    """One refusal on its way to those who watch."""
    return box_service_pb2.WatchRefusalsResponse(
        dropped=dropped,
        refusals=[
            policy_pb2.Refusal(
                box=box_id,
                destination=policy_pb2.Destination(
                    domain=domain, port=443, protocol=policy_pb2.PROTOCOL_TCP
                ),
                reason=policy_pb2.REASON_NO_RULE,
                rule=policy_pb2.Rule(list=policy_pb2.Rule.LIST_UNLISTED, text="deny"),
                policy_revision=3,
                first_time=EPOCH,
                last_time=EPOCH,
                count=2,
            )
        ],
    )


@asynccontextmanager
async def serving(fake: FakeBoxService, path: Path) -> AsyncIterator[str]:
    """Serve on a unix socket; the value is its address."""
    server = grpc.aio.server()
    box_service_pb2_grpc.add_BoxServiceServicer_to_server(fake, server)
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(fake, server)
    server.add_generic_rpc_handlers((_Health(),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield f"unix:{path}"
    finally:
        await server.stop(None)


class _Health(grpc.GenericRpcHandler):
    def service(self, details: Any) -> Any:
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self._check)

    async def _check(self, request: bytes, context: Any) -> bytes:
        return b"\x08\x01"


async def _played(plays: deque[list[Any]], context: Any) -> AsyncIterator[Any]:
    """Play the next list, then stay silent until the client goes."""
    for step in plays.popleft() if plays else ():
        if isinstance(step, ApiError):
            await _abort(context, step)
        elif callable(step):
            await step()
        else:
            yield step
    await asyncio.Event().wait()


async def _refuse(
    context: Any, reason: ErrorReason, text: str, resource: tuple[str, str] | None = None
) -> None:
    await _abort(context, ApiError(reason, text, resource=resource))


async def _abort(context: Any, error: ApiError) -> None:
    await context.abort(error.status, status_of(error).message, trailing_metadata_of(error))


def _with(box: box_pb2.Box, warnings: Any) -> box_pb2.Box:
    answer = box_pb2.Box()
    answer.CopyFrom(box)
    answer.warnings.extend(warnings)
    return answer


def _matches(box: box_pb2.Box, where: Any) -> bool:
    mode = {"allow_all": 1, "deny_all": 2, "custom": 3}[box.network_policy.WhichOneof("mode")]
    return (
        all(box.labels.get(k) == v for k, v in where.labels.items())
        and box.name.startswith(where.name_prefix)
        and where.node_id in ("", box.node_id)
        and where.mode in (0, mode)
    )


async def _main(path: Path) -> None:
    """Serve a scene for tests of programs: box "hosted" is on node n1, "lagging" on a slow one."""
    fake = FakeBoxService()
    for box_id, node, state in (
        ("hosted", "n1", State.STATE_ENFORCED),
        ("lagging", "n2", State.STATE_PENDING),
        ("failing", "n3", State.STATE_FAILED),
    ):
        box = watched(box_id)
        fake._store(box)
        fake.host(box_id, node, state, "no memory" if box_id == "failing" else "")
    hostile = watched("hostile")
    hostile.name = "\x1b[31mred\x1b]0;title\x07\u202e"
    fake._store(hostile)
    fake.nodes["n1"] = node_pb2.Node(
        id="n1", state=node_pb2.Node.STATE_CONNECTED, agent_version="0.1", attached_boxes=1
    )
    fake.nodes["gone"] = node_pb2.Node(
        id="gone", state=node_pb2.Node.STATE_DISCONNECTED, attached_boxes=2
    )
    # As often as tests may ask.
    for _ in range(50):
        fake.watches.append([reset("c1", watched("b1")), changes("c2", watched("b1", 2), "b1")])
        fake.refusals.append([refused("hosted", "evil.\x1b[2Jtest", dropped=1)])
    async with serving(fake, path):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
