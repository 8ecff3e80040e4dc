"""How far has a policy come, as all servers that share the store know it?

What this server's own nodes have said is in the ledger. What nodes of other servers have said is
read from the store, and only if a box has such a host.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from boxwall_server.changes.change import BoxRecord
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import Enforcement, EnforcementLedger
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.records import HostedRecord, HostRecord


class HostsReader(Protocol):
    """The part of a store that is needed for that."""

    @property
    def is_shared(self) -> bool:
        """Whether several servers can use the store at once."""

    async def hosts(self, boxes: Collection[Key]) -> Mapping[Key, Sequence[HostRecord]]:
        """Return the nodes recorded as hosting boxes, and what they have said elsewhere."""


class Standings:
    """Judges policies."""

    def __init__(self, ledger: EnforcementLedger, reader: HostsReader) -> None:
        self._ledger = ledger
        self._reader = reader
        self._together = _Together(reader)

    @property
    def is_shared(self) -> bool:
        """Whether nodes can answer at other servers too."""
        return self._reader.is_shared

    def all_here(self, tenant: str, box_id: str, recorded: Collection[str]) -> bool:
        """Return whether every node that is recorded as hosting a box hosts it in a stream here."""
        return set(recorded) <= set(self._ledger.hosts(tenant, box_id))

    async def judge(
        self, box: BoxRecord, required: Revision, recorded: Sequence[str]
    ) -> Enforcement:
        """Return how far `required` has come. `recorded` are the hosts that the box was read with.

        Raises StoreError.
        """
        if not self.is_shared or self.all_here(box.tenant, box.id, recorded):
            return self.judge_here(box, required, recorded)
        return await self.judge_anew(box, required)

    def judge_here(
        self, box: BoxRecord, required: Revision, recorded: Sequence[str]
    ) -> Enforcement:
        """Return the same as far as this server knows: of nodes that are elsewhere, nothing."""
        return self._ledger.judge(box.tenant, box.id, required, recorded)

    async def judge_anew(self, box: BoxRecord, required: Revision) -> Enforcement:
        """Return how far `required` has come at the nodes that are recorded as hosts now.

        Raises StoreError.
        """
        key = Key(box.tenant, box.id)
        return self._judge(key, required, await self._together.hosts(key))

    async def judge_all(self, boxes: Sequence[HostedRecord]) -> list[Enforcement]:
        """Return how far the policy of each box has come, reading at most once."""
        away = [
            Key(hosted.box.tenant, hosted.box.id)
            for hosted in boxes
            if self.is_shared and not self.all_here(hosted.box.tenant, hosted.box.id, hosted.nodes)
        ]
        hosts = await self._reader.hosts(away) if away else {}
        return [
            self._judge(
                key := Key(hosted.box.tenant, hosted.box.id),
                hosted.box.policy_revision,
                hosts.get(key, [HostRecord(node_id=node_id) for node_id in hosted.nodes]),
            )
            for hosted in boxes
        ]

    def _judge(self, key: Key, required: Revision, hosts: Sequence[HostRecord]) -> Enforcement:
        elsewhere = {host.node_id: host.standing for host in hosts if host.standing is not None}
        recorded = [host.node_id for host in hosts]
        return self._ledger.judge(key.tenant, key.id, required, recorded, elsewhere)


class _Reading:
    """One read of the hosts of several boxes."""

    def __init__(self) -> None:
        self.keys: set[Key] = set()
        self.done = asyncio.Event()
        self.found: Mapping[Key, Sequence[HostRecord]] | None = None


class _Together:
    """Makes one read of those that are asked for at the same moment: many may wait for boxes, and a
    notice wakes them all.
    """

    def __init__(self, reader: HostsReader) -> None:
        self._reader = reader
        self._gathering: _Reading | None = None

    async def hosts(self, key: Key) -> Sequence[HostRecord]:
        """Return the hosts of a box. Raises StoreError."""
        while True:
            reading = self._gathering
            if reading is None:
                return (await self._read(key))[key]
            reading.keys.add(key)
            await reading.done.wait()
            if reading.found is not None:
                return reading.found[key]
            # Whoever read for all of us failed, or was cancelled: ask for ourselves.

    async def _read(self, key: Key) -> Mapping[Key, Sequence[HostRecord]]:
        reading = self._gathering = _Reading()
        reading.keys.add(key)
        try:
            await asyncio.sleep(0)
            self._gathering = None
            reading.found = await self._reader.hosts(reading.keys)
        finally:
            if self._gathering is reading:
                self._gathering = None
            reading.done.set()
        return reading.found
