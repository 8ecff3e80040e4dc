"""The actor that fills stores: through the store's own API, without a server."""

import asyncio
import time
import uuid
from pathlib import Path

from bench.messages import box_id, policy_bytes
from boxwall_server.changes.change import PolicyBytes, Timestamp
from boxwall_server.store.base import Store
from boxwall_server.store.mutations import CreateBox
from boxwall_server.store.sqlite import open_sqlite

TENANT = "default"
AT_ONCE = 500


class Filler:
    """Runs in a process of its own."""

    async def fill(self, path: str, first: int, until: int) -> float:
        """Add boxes `first` to `until - 1` to a store; returns the seconds it took."""
        begin = time.monotonic()
        store = await open_sqlite(Path(path))
        try:
            for start in range(first, until, AT_ONCE):
                await self._some(store, range(start, min(start + AT_ONCE, until)))
        finally:
            await store.close()
        return time.monotonic() - begin

    async def _some(self, store: Store, boxes: range) -> None:
        now = Timestamp(time.time_ns() // 1000)
        await asyncio.gather(*(store.apply(_create(box, now)) for box in boxes))


def _create(box: int, now: Timestamp) -> CreateBox:
    return CreateBox(
        tenant=TENANT,
        id=box_id(box),
        uid=str(uuid.uuid4()),
        now=now,
        author="bench",
        name="a box",
        labels=(("team", "search"),),
        policy=PolicyBytes(policy_bytes(box)),
        mode="custom",
    )
