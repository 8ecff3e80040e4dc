"""Snapshots: remembered policies."""

from collections.abc import Mapping

from boxwall.v1 import box_pb2, box_service_pb2
from boxwall_server.clock import Clock
from boxwall_server.service.boxes import new_id
from boxwall_server.service.call import Call
from boxwall_server.service.decode import Problems
from boxwall_server.service.encode import snapshot_to_proto
from boxwall_server.service.pages import page_token, position_of
from boxwall_server.service.registry import Handler
from boxwall_server.store.base import Reader, Writer
from boxwall_server.store.mutations import CreateSnapshot, DeleteSnapshot, SnapshotWritten


class Snapshots:
    """The rpcs about snapshots."""

    def __init__(self, store: Reader, writer: Writer, clock: Clock) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {
            "create_snapshot": self.create_snapshot,
            "get_snapshot": self.get_snapshot,
            "list_snapshots": self.list_snapshots,
            "delete_snapshot": self.delete_snapshot,
        }

    async def create_snapshot(
        self, request: box_service_pb2.CreateSnapshotRequest, call: Call
    ) -> box_pb2.Snapshot:
        """Remember the policy that a box has now."""
        problems = Problems()
        mutation = CreateSnapshot(
            tenant=call.tenant,
            id=problems.optional_id(request.snapshot_id, "snapshot_id") or new_id("snap"),
            box_id=problems.required_id(request.box_id, "box_id"),
            now=self._clock.now(),
            request=problems.request_key(request),
        )
        problems.raise_if_any()
        outcome = await self._writer.apply(mutation)
        assert isinstance(outcome, SnapshotWritten), outcome
        return snapshot_to_proto(outcome.snapshot)

    async def get_snapshot(
        self, request: box_service_pb2.GetSnapshotRequest, call: Call
    ) -> box_pb2.Snapshot:
        """Read one snapshot."""
        problems = Problems()
        snapshot_id = problems.required_id(request.snapshot_id, "snapshot_id")
        problems.raise_if_any()
        return snapshot_to_proto(await self._store.snapshot(call.tenant, snapshot_id))

    async def list_snapshots(
        self, request: box_service_pb2.ListSnapshotsRequest, call: Call
    ) -> box_service_pb2.ListSnapshotsResponse:
        """Read a page of snapshots."""
        problems = Problems()
        size = problems.page_size(request.page_size)
        box_id = problems.optional_id(request.box_id, "box_id")
        problems.raise_if_any()
        query = ("snapshots", call.tenant, box_id)
        found = await self._store.snapshots(
            call.tenant,
            box_id=box_id,
            after=position_of(request.page_token, query),
            limit=size + 1,
        )
        page = found[:size]
        return box_service_pb2.ListSnapshotsResponse(
            snapshots=[snapshot_to_proto(snapshot) for snapshot in page],
            next_page_token=page_token(query, page[-1].id) if len(found) > size else "",
        )

    async def delete_snapshot(
        self, request: box_service_pb2.DeleteSnapshotRequest, call: Call
    ) -> box_service_pb2.DeleteSnapshotResponse:
        """Forget a snapshot."""
        problems = Problems()
        snapshot_id = problems.required_id(request.snapshot_id, "snapshot_id")
        problems.raise_if_any()
        await self._writer.apply(DeleteSnapshot(tenant=call.tenant, id=snapshot_id))
        return box_service_pb2.DeleteSnapshotResponse()
