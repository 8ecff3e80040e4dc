"""Snapshots, blocking."""

from typing import Self

from boxwall.sdk import snapshot as async_snapshot
from boxwall.sdk.values import SnapshotState
from boxwall.sdk.views import SnapshotView
from boxwall.sync.client import Client
from boxwall.sync.iterate import Pages
from boxwall.sync.loop_thread import LoopThread


class Snapshot(SnapshotView):
    """As `boxwall.Snapshot`, blocking."""

    def __init__(self, thread: LoopThread, snapshot: async_snapshot.Snapshot) -> None:
        """For the SDK itself."""
        self._thread = thread
        self._async = snapshot

    @property
    def state(self) -> SnapshotState:
        """What was last heard, as one immutable value."""
        return self._async.state

    @classmethod
    def get(cls, snapshot_id: str, *, client: Client | None = None) -> Self:
        """Return one snapshot. Raises SnapshotNotFound."""
        thread, given = Client.parts_of(client)
        found = thread.run(async_snapshot.Snapshot.get(snapshot_id, client=given))
        return cls(thread, found)

    @classmethod
    def list(
        cls, *, box_id: str = "", client: Client | None = None
    ) -> Pages[async_snapshot.Snapshot, Self]:
        """Return snapshots by id, of one box or of all."""
        thread, given = Client.parts_of(client)
        found = async_snapshot.Snapshot.list(box_id=box_id, client=given)
        return Pages(thread, found, lambda snapshot: cls(thread, snapshot))

    def delete(self) -> None:
        """Forget the snapshot. Boxes made from it are not touched. Raises SnapshotNotFound."""
        self._thread.run(self._async.delete())
