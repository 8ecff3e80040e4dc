"""Group commit: what waits at the same time goes into one transaction.

One batch is written at a time; what comes in meanwhile gathers for the next. A commit costs hardly
more for many than for one, so a batch also waits for those who are likely to come: as many as were
about when the last one ended, and no longer than that one took. So nobody waits for twice as long
as it would take alone; and whoever is alone does not wait.

    the last batch     waited then    the next begins with
    1                  0              1, at once
    5, in 2 ms         4              9, or after 2 ms with those that are there
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import structlog

from boxwall_server.store.batch import Answer
from boxwall_server.store.errors import Rejected, StoreUnavailable
from boxwall_server.store.mutations import Mutation, Outcome

MAX_BATCH: Final = 256
MAX_PATIENCE: Final = 0.005
"""Seconds that a batch waits for more at the most, however long the last one took."""

_Waiting: TypeAlias = tuple[Mutation, "asyncio.Future[Outcome]"]
_log = structlog.get_logger()


class GroupCommit:
    """Gathers mutations and answers their callers.

    `write` makes a batch durable, tells the listener, and returns an answer for each mutation; what
    it raises, every caller of the batch gets, as `translated` says it.
    """

    def __init__(
        self,
        write: Callable[[list[Mutation]], Awaitable[Sequence[Answer]]],
        *,
        translated: Callable[[Exception], Exception],
        observe: Callable[[float], None],
        take_turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`observe` is told how long each batch that was written took, in seconds.

        `take_turn`: waits until nobody else writes, which `write` ends, also if it gets no
        mutations. What comes in while it waits is in the batch. Must not raise.
        """
        self._write = write
        self._take_turn = take_turn
        self._translated = translated
        self._observe = observe
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._expected = 1
        self._patience = 0.0
        self._all_came = asyncio.Event()
        self._closed = False

    async def apply(self, mutation: Mutation) -> Outcome:
        """Make a mutation durable, together with all that wait."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((mutation, answer))
        if len(self._waiting) >= self._expected:
            self._all_came.set()
        if self._writing is None:
            # Kept in self._writing, awaited by close(): it must outlive the caller, who may be
            # cancelled while others wait for the same commit.
            self._writing = loop.create_task(self._write_all())
        # A caller that is cancelled while its batch commits cannot know the outcome.
        return await answer

    def refuse_more(self) -> None:
        """Take nothing more in; what was taken in is still written."""
        self._closed = True
        self._all_came.set()

    async def close(self) -> None:
        """Take nothing more in; return when everything is answered."""
        self.refuse_more()
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._gathered()
                started = time.monotonic()
                if self._take_turn is not None:
                    await self._take_turn()
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                # Who was cancelled, or whose deadline passed, before its batch began: not written.
                batch = [(mutation, answer) for mutation, answer in batch if not answer.done()]
                if batch or self._take_turn is not None:
                    await self._write_batch(batch, started)
        finally:
            self._writing = None

    async def _gathered(self) -> None:
        """Let those join who are likely to come, and those who are already here."""
        if len(self._waiting) < self._expected and not self._closed:
            self._all_came.clear()
            timer = asyncio.get_running_loop().call_later(self._patience, self._all_came.set)
            await self._all_came.wait()
            timer.cancel()
        before = 0
        while before < len(self._waiting) < MAX_BATCH:
            before = len(self._waiting)
            await asyncio.sleep(0)

    async def _write_batch(self, batch: Sequence[_Waiting], started: float) -> None:
        try:
            answers = await self._write([mutation for mutation, _ in batch])
        except Exception as exc:  # noqa: BLE001  # whatever it is, every caller must hear of it
            error = self._translated(exc)
            _log.error("commit_failed", error=str(error), writes=len(batch))
            for _, future in batch:
                _fail(future, error)
            return
        took = time.monotonic() - started
        self._observe(took)
        self._patience = min(took, MAX_PATIENCE)
        self._expected = min(len(batch) + len(self._waiting), MAX_BATCH)
        for (_, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Rejected):
                _fail(future, answer)
            elif not future.done():
                future.set_result(answer)


def _fail(answer: "asyncio.Future[Outcome]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # retrieved: the caller may be gone
