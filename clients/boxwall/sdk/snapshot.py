"""Snapshots: remembered policies that boxes can be made from."""

from collections.abc import Sequence
from typing import Self

from boxwall.sdk.client import Client
from boxwall.sdk.connection import Connection
from boxwall.sdk.decode import snapshot_from_proto
from boxwall.sdk.default_client import connection_of
from boxwall.sdk.pages import Pages
from boxwall.sdk.values import SnapshotState
from boxwall.sdk.views import SnapshotView
from boxwall.v1 import box_service_pb2 as pb


class Snapshot(SnapshotView):
    """A handle on a snapshot. Made by `box.snapshot()`, `Snapshot.get` and `Snapshot.list`."""

    def __init__(self, state: SnapshotState, connection: Connection) -> None:
        """For the SDK itself."""
        self._state = state
        self._connection = connection

    @property
    def state(self) -> SnapshotState:
        """What was last heard, as one immutable value."""
        return self._state

    @classmethod
    async def get(cls, snapshot_id: str, *, client: Client | None = None) -> Self:
        """Return one snapshot. Raises SnapshotNotFound."""
        connection = await connection_of(client)
        answer = await connection.call(
            connection.boxes.GetSnapshot,
            lambda _: pb.GetSnapshotRequest(snapshot_id=snapshot_id),
            repeatable=True,
        )
        return cls(snapshot_from_proto(answer), connection)

    @classmethod
    def list(cls, *, box_id: str = "", client: Client | None = None) -> Pages[Self]:
        """Return snapshots by id, of one box or of all; await it, or walk through it."""

        async def fetch(token: str) -> tuple[Sequence[Self], str]:
            connection = await connection_of(client)
            answer: pb.ListSnapshotsResponse = await connection.call(
                connection.boxes.ListSnapshots,
                lambda _: pb.ListSnapshotsRequest(page_token=token, box_id=box_id),
                repeatable=True,
            )
            found = [cls(snapshot_from_proto(one), connection) for one in answer.snapshots]
            return found, answer.next_page_token

        return Pages(fetch)

    async def delete(self) -> None:
        """Forget the snapshot. Boxes made from it are not touched. Raises SnapshotNotFound."""
        await self._connection.call(
            self._connection.boxes.DeleteSnapshot,
            lambda _: pb.DeleteSnapshotRequest(snapshot_id=self.id),
            repeatable=False,
        )
