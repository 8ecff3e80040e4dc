"""What nodes refused at one server, shown at all that share its store.

Bounded everywhere, as on the board: what comes faster than it can be told is dropped, the oldest
first, and those who watch elsewhere are told how much that was.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from typing import Final

import structlog

from boxwall.v1 import policy_pb2, stream_pb2
from boxwall_server.service.peers import Peers
from boxwall_server.service.refusals import RefusalBoard
from boxwall_server.store.base import MAX_NOTE, Sessions
from boxwall_server.store.errors import StoreError

GATHERED_FOR: Final = 0.2
"""Seconds between two transactions of the store, over which refusals are gathered."""

MOST_NOTES: Final = 16
"""Notes that one transaction tells."""

WAITING: Final = 1_000
"""Refusals that may wait to be told, and reports that may wait to be shown."""

_ROOM: Final = MAX_NOTE - 16
"""For refusals, and what protobuf puts around them; a note also has its tenant and a count."""

_log = structlog.get_logger()


class RefusalExchange:
    """This server's side of it. Of a store that nobody shares it does nothing."""

    def __init__(self, store: Sessions, peers: Peers, board: RefusalBoard) -> None:
        self._store = store
        self._board = board
        self._untold: deque[tuple[str, policy_pb2.Refusal]] = deque()
        self._dropped: Counter[str] = Counter()
        self._unshown: deque[tuple[str, stream_pb2.Refusals]] = deque(maxlen=WAITING)
        self._something_to_tell = asyncio.Event()
        self._something_to_show = asyncio.Event()
        if store.is_shared:
            board.on_report = self._reported
            peers.on_note = self._told

    async def run(self) -> None:
        """Tell and show until cancelled."""
        if not self._store.is_shared:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_telling())
            tasks.create_task(self._keep_showing())

    def _reported(self, tenant: str, report: stream_pb2.Refusals) -> None:
        self._untold.extend((tenant, refusal) for refusal in report.refusals)
        self._dropped[tenant] += report.dropped
        while len(self._untold) > WAITING:
            self._drop(*self._untold.popleft())
        self._something_to_tell.set()

    def _drop(self, tenant: str, refusal: policy_pb2.Refusal) -> None:
        self._dropped[tenant] += refusal.count

    def _told(self, note: bytes) -> None:
        tenant, _, report = note.partition(b"\0")
        self._unshown.append((tenant.decode(), stream_pb2.Refusals.FromString(report)))
        self._something_to_show.set()

    async def _keep_telling(self) -> None:
        while True:
            await self._something_to_tell.wait()
            await asyncio.sleep(GATHERED_FOR)
            self._something_to_tell.clear()
            await self._tell()
            if self._untold or +self._dropped:
                self._something_to_tell.set()

    async def _tell(self) -> None:
        """Tell some. What the store does not take is dropped: once it does, there is newer."""
        reports = list(self._next_reports())
        try:
            await self._store.tell_peers(
                [tenant.encode() + b"\0" + r.SerializeToString() for tenant, r in reports]
            )
        except StoreError as exc:
            _log.warning("refusals_not_told", error=str(exc))
            for tenant, report in reports:
                self._dropped[tenant] += report.dropped + sum(r.count for r in report.refusals)

    def _next_reports(self) -> Iterator[tuple[str, stream_pb2.Refusals]]:
        """Take what fits into the notes of one transaction, by tenant."""
        for _ in range(MOST_NOTES):
            tenant = self._untold[0][0] if self._untold else next(iter(+self._dropped), None)
            if tenant is None:
                return
            report = stream_pb2.Refusals(dropped=self._dropped.pop(tenant, 0))
            room = _ROOM - len(tenant.encode())
            while self._untold and self._untold[0][0] == tenant:
                room -= self._untold[0][1].ByteSize() + 4
                if room < 0:
                    break
                report.refusals.append(self._untold.popleft()[1])
            yield tenant, report

    async def _keep_showing(self) -> None:
        while True:
            await self._something_to_show.wait()
            self._something_to_show.clear()
            while self._unshown:
                try:
                    await self._board.show(*self._unshown[0])
                except StoreError as exc:
                    _log.warning("refusals_not_shown", error=str(exc))
                self._unshown.popleft()
