"""What servers that share a store tell each other of nodes: whose stream is the newest, who is
fenced, and what nodes have answered.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

import structlog

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.enforcement import EnforcementLedger
from boxwall_server.service.subscriber import Subscriber
from boxwall_server.service.waits import Waits
from boxwall_server.store.base import Sessions
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.errors import StoreError
from boxwall_server.store.records import AnswerRecord, SessionId

POLL: Final = 0.2
"""Seconds after which a server looks what others have done though nobody notified it."""

BEAT: Final = 1.0
"""Seconds between signs of life."""

_AT_ONCE: Final = 2_000
"""Answers that are told in one go."""

_PAUSE: Final = 0.2
"""Seconds between two tries to tell what the store does not take."""

_SHORTEST_PAUSE: Final = 0.02
"""Seconds between two looks, however many notices come: when nodes come back, it is thousands."""

_log = structlog.get_logger()


class Peers:
    """This server's side of it. Of a store that nobody shares it does nothing."""

    def __init__(self, store: Sessions, ledger: EnforcementLedger, waits: Waits) -> None:
        self._store = store
        self._ledger = ledger
        self._waits = waits
        self._open: dict[SessionId, Subscriber] = {}
        self._untold: dict[Subscriber, set[str]] = {}
        self._telling = False
        self._something_to_tell = asyncio.Event()
        self._look = asyncio.Event()
        self.on_note: Callable[[bytes], None] = lambda _: None
        """Is told what other servers tell."""
        store.listen_to_peers(self)

    @property
    def sessions(self) -> int:
        """How many nodes have a session of this server."""
        return len(self._open)

    @property
    def is_telling(self) -> bool:
        """Whether something that nodes have answered is not known to other servers yet."""
        return self._telling or bool(self._untold)

    # What this server's streams do.

    async def opened(self, subscriber: Subscriber) -> None:
        """A node has subscribed here: its streams at other servers end."""
        if not self._store.is_shared:
            return
        self._open[subscriber.session] = subscriber
        await self._store.open_session(subscriber.node, subscriber.session, subscriber.connect_time)

    async def closed(self, subscriber: Subscriber) -> None:
        """The stream of a node has ended. Failing is not fatal: the session is closed later, or
        dies with this server, or with the next that the node opens.
        """
        self._untold.pop(subscriber, None)
        if subscriber.session in self._open:
            await self._close(subscriber.session)
            self._open.pop(subscriber.session, None)

    def answered(self, subscriber: Subscriber, box_ids: Iterable[str]) -> None:
        """A node has answered for boxes: the ledger knows, and the other servers shall."""
        if self._store.is_shared:
            self._untold.setdefault(subscriber, set()).update(box_ids)
            self._something_to_tell.set()

    # What other servers do; see `PeerListener`.

    def nodes_changed(self) -> None:
        """Look whether sessions have to end."""
        self._look.set()

    def answered_elsewhere(self, boxes: Collection[Key]) -> None:
        """Wake those who wait for these boxes; for all, if nobody knows which."""
        if not boxes:
            self._waits.notify_all()
        for tenant, box_id in boxes:
            self._waits.notify(tenant, (box_id,))

    def told(self, note: bytes) -> None:
        """Pass on what another server has told."""
        self.on_note(note)

    # Chores.

    async def run(self) -> None:
        """Tell and listen until cancelled."""
        if not self._store.is_shared:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_telling())
            tasks.create_task(self._keep_looking())
            tasks.create_task(self._keep_beating())

    async def _keep_telling(self) -> None:
        while True:
            await self._something_to_tell.wait()
            self._something_to_tell.clear()
            while self._untold:
                told = self._taken()
                self._telling = True
                try:
                    applied = {s.session: s.applied_revision for s in told}
                    await self._store.save_answers(self._answers(told), applied)
                except StoreError as exc:
                    _log.warning("answers_not_told", error=str(exc))
                    for subscriber, box_ids in told.items():
                        if subscriber.session in self._open:
                            self._untold.setdefault(subscriber, set()).update(box_ids)
                    await asyncio.sleep(_PAUSE)
                finally:
                    self._telling = False

    def _taken(self) -> dict[Subscriber, list[str]]:
        """Take what is to be told next."""
        taken: dict[Subscriber, list[str]] = {}
        room = _AT_ONCE
        while self._untold and room > 0:
            subscriber, box_ids = next(iter(self._untold.items()))
            some = [box_ids.pop() for _ in range(min(room, len(box_ids)))]
            taken[subscriber] = some
            room -= len(some)
            if not box_ids:
                del self._untold[subscriber]
        return taken

    def _answers(self, told: dict[Subscriber, list[str]]) -> list[AnswerRecord]:
        """Return what nodes have said by now, which may be more than when it was noted."""
        return [
            AnswerRecord(
                session=subscriber.session,
                node=subscriber.node,
                box_id=box_id,
                standing=standing,
            )
            for subscriber, box_ids in told.items()
            if subscriber.session in self._open
            for box_id in box_ids
            if (standing := self._ledger.standing(subscriber.node, box_id)) and standing.answered
        ]

    async def _keep_looking(self) -> None:
        while True:
            self._look.clear()
            try:
                for session, fenced in (await self._store.sessions_to_end()).items():
                    await self._end(session, fenced=fenced)
            except StoreError as exc:
                _log.warning("sessions_not_read", error=str(exc))
            self._waits.notify_all()
            await asyncio.sleep(_SHORTEST_PAUSE)
            try:
                async with asyncio.timeout(POLL):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _end(self, session: SessionId, *, fenced: bool) -> None:
        subscriber = self._open.get(session)
        if subscriber is None:
            await self._close(session)
        elif fenced:
            if not subscriber.fenced:
                subscriber.fence()
        else:
            subscriber.lose_contact()
            subscriber.end(
                ApiError(
                    ErrorReason.STREAM_REPLACED,
                    f"node {subscriber.node.id} has subscribed anew at another server",
                )
            )

    async def _keep_beating(self) -> None:
        while True:
            try:
                if not await self._store.beat():
                    self._end_all()
            except StoreError as exc:
                _log.warning("no_sign_of_life", error=str(exc))
            await asyncio.sleep(BEAT)

    def _end_all(self) -> None:
        """End every node's stream: others took this server for dead, and its sessions are gone."""
        _log.warning("taken_for_dead", streams=len(self._open))
        for subscriber in tuple(self._open.values()):
            subscriber.lose_contact()
            subscriber.end(
                ApiError(
                    ErrorReason.STORE_UNAVAILABLE,
                    "this server was out of contact with its store; connect again",
                )
            )

    async def _close(self, session: SessionId) -> None:
        try:
            await self._store.close_session(session)
        except StoreError as exc:
            _log.warning("session_not_closed", error=str(exc))
