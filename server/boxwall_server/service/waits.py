"""Waiting until a policy is in force: completed by acknowledgements.

Those of this server's own nodes complete a wait without polling. Of those at other servers a notice
tells; a look now and then makes up for notices that are lost.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from boxwall_server.changes.change import BoxRecord
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import Enforcement
from boxwall_server.service.standings import Standings
from boxwall_server.store.errors import StoreError


class Waits:
    """Everybody who waits for a box. Whoever changes the ledger must call `notify` after."""

    def __init__(self, standings: Standings) -> None:
        self._standings = standings
        self._waiting: dict[tuple[str, str], list[asyncio.Event]] = {}

    def notify(self, tenant: str, box_ids: Iterable[str]) -> None:
        """Wake those who wait for these boxes."""
        if not self._waiting:
            return
        for box_id in box_ids:
            for event in self._waiting.get((tenant, box_id), ()):
                event.set()

    def notify_all(self) -> None:
        """Wake everybody: some box may have been answered for, nobody knows which."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def settled(
        self, box: BoxRecord, required: Revision, nodes: Sequence[str], timeout: float | None
    ) -> Enforcement:
        """Return how far `required` has come, once every hosting node has answered for it.

        `nodes` are those recorded as hosting the box. At the timeout (seconds; None: at once) it
        returns what there is. A node out of contact is waited for: it may come back or be detached.
        """
        if not timeout:
            return await self._judge(box, required, nodes)
        with self._registered(box.tenant, box.id) as changed:
            enforcement = await self._judge(box, required, nodes)
            try:
                async with asyncio.timeout(timeout):
                    while not enforcement.settled():
                        await changed.wait()
                        changed.clear()
                        enforcement = await self._judge_again(box, required, nodes)
            except TimeoutError:
                return await self._judge_again(box, required, nodes)
        return enforcement

    async def _judge(self, box: BoxRecord, required: Revision, nodes: Sequence[str]) -> Enforcement:
        """Judge. While the store does not answer, nodes elsewhere count as out of contact: the
        write that is waited for stands, so it must not seem to have failed.
        """
        try:
            return await self._standings.judge(box, required, nodes)
        except StoreError:
            return self._standings.judge_here(box, required, nodes)

    async def _judge_again(
        self, box: BoxRecord, required: Revision, nodes: Sequence[str]
    ) -> Enforcement:
        """Judge by the ledger if it knows of all `nodes`; else ask the store who is a host still.

        The ledger knows of every attachment of nodes in contact, but a node that was recorded and
        has detached is known to the store alone.
        """
        if self._standings.all_here(box.tenant, box.id, nodes):
            return self._standings.judge_here(box, required, nodes)
        try:
            return await self._standings.judge_anew(box, required)
        except StoreError:
            return self._standings.judge_here(box, required, nodes)

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
