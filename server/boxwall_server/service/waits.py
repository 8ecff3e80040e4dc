"""Waiting until a policy is in force: completed by acknowledgements, without polling."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from boxwall_server.changes.change import BoxRecord
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import Enforcement, EnforcementLedger, State
from boxwall_server.store.base import NodeReader, Reader
from boxwall_server.store.errors import BoxNotFound
from boxwall_server.store.records import HostedRecord


class HostsReader(Reader, NodeReader, Protocol):
    """The part of a store that waits need."""


class Waits:
    """Everybody who waits for a box. Whoever changes the ledger must call `notify` after."""

    def __init__(self, ledger: EnforcementLedger, reader: HostsReader) -> None:
        self._ledger = ledger
        self._reader = reader
        self._waiting: dict[tuple[str, str], list[asyncio.Event]] = {}

    def notify(self, tenant: str, box_ids: Iterable[str]) -> None:
        """Wake those who wait for these boxes."""
        if not self._waiting:
            return
        for box_id in box_ids:
            for event in self._waiting.get((tenant, box_id), ()):
                event.set()

    async def settled(
        self, box: BoxRecord, required: Revision, nodes: tuple[str, ...], timeout: float | None
    ) -> Enforcement:
        """Return how far `required` has come, once every hosting node has answered for it.

        `nodes` are those recorded as hosting the box. At the timeout (seconds; None: at once) it
        returns what there is. A node out of contact is waited for: it may come back or be detached.
        """
        enforcement = self._ledger.judge(box.tenant, box.id, required, nodes)
        if enforcement.settled() or not timeout:
            return enforcement
        with self._registered(box.tenant, box.id) as changed:
            try:
                async with asyncio.timeout(timeout):
                    while not enforcement.settled():
                        await changed.wait()
                        changed.clear()
                        nodes = await self._still_hosting(box, enforcement, nodes)
                        enforcement = self._ledger.judge(box.tenant, box.id, required, nodes)
            except TimeoutError:
                return self._ledger.judge(box.tenant, box.id, required, nodes)
        return enforcement

    async def _still_hosting(
        self, box: BoxRecord, before: Enforcement, nodes: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return the recorded nodes, read again if one of them is not in contact.

        The ledger knows of every attachment of nodes in contact, but a node that was recorded and
        has detached is known to the store alone.
        """
        if all(node.state is not State.STALE for node in before.nodes):
            in_contact = self._ledger.hosts(box.tenant, box.id)
            if set(nodes) <= set(in_contact):
                return nodes
        try:
            hosted: HostedRecord = await self._reader.box(box.tenant, box.id)
        except BoxNotFound:
            return await self._still_recorded(box, nodes)
        return hosted.nodes

    async def _still_recorded(self, box: BoxRecord, nodes: tuple[str, ...]) -> tuple[str, ...]:
        """Return which of `nodes` host a box that is deleted: attachments outlive their box."""
        return tuple(
            [
                node_id
                for node_id in nodes
                if box.id in await self._reader.attached(box.tenant, node_id)
            ]
        )

    @contextmanager
    def _registered(self, tenant: str, box_id: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting.setdefault((tenant, box_id), []).append(event)
        try:
            yield event
        finally:
            waiting = self._waiting[tenant, box_id]
            waiting.remove(event)
            if not waiting:
                del self._waiting[tenant, box_id]
