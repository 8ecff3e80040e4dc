"""Connections for reads: a read is tried again when its connection turns out to be gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Concatenate, Final, ParamSpec, TypeVar

from boxwall_server.store.errors import StoreUnavailable
from boxwall_server.store.postgres_connect import COMMAND_TIMEOUT, MAX_SCANS, Connection, Pool
from boxwall_server.store.postgres_errors import FOREIGN, is_lost_connection, translating

READ_TRIES: Final = 3
CLOSE_PATIENCE: Final = 2.0
"""Seconds that a database which does not answer may hold up the end."""

_LET_IT_IDLE: Final = "SET LOCAL idle_in_transaction_session_timeout = '60s'"

T = TypeVar("T")
P = ParamSpec("P")


class ReadPool:
    """Runs functions that read, each on a connection of its own. Raises StoreError."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._scans = asyncio.Semaphore(MAX_SCANS)
        self._closed = False

    def refuse_more(self) -> None:
        """Run nothing more."""
        self._closed = True

    async def close(self) -> None:
        """Release every connection; those in use get a moment."""
        self.refuse_more()
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                await self._pool.close()
        except FOREIGN:
            self._pool.terminate()

    async def last(self, write: Callable[[Connection], Awaitable[object]]) -> None:
        """Run one more thing, if that is possible, after `refuse_more`."""
        with contextlib.suppress(*FOREIGN):
            async with asyncio.timeout(CLOSE_PATIENCE), self._pool.acquire() as connection:
                await write(connection)

    def check_open(self) -> None:
        """Raise StoreUnavailable if the store is closed."""
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def run(
        self,
        read: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a read of one statement, or one whose statements may see different moments."""
        self.check_open()
        with translating():
            for _ in range(READ_TRIES - 1):
                try:
                    return await self._run_once(read, *args, **kwargs)
                except FOREIGN as exc:
                    if not is_lost_connection(exc):
                        raise
            return await self._run_once(read, *args, **kwargs)

    async def run_at_once(
        self,
        read: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a read of several statements, all of it as of one moment."""

        async def at_one_moment(connection: Connection) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await read(connection, *args, **kwargs)

        return await self.run(at_one_moment)

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[Connection]:
        """Lend a connection that shows one moment for as long as the context lasts."""
        self.check_open()
        async with self._scans:
            with translating():
                async with (
                    self._pool.acquire(timeout=COMMAND_TIMEOUT) as connection,
                    connection.transaction(isolation="repeatable_read", readonly=True),
                ):
                    # Its pages go to a client, who may take as long as a stream's client may.
                    await connection.execute(_LET_IT_IDLE)
                    yield connection

    async def _run_once(
        self,
        read: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        async with self._pool.acquire(timeout=COMMAND_TIMEOUT) as connection:
            try:
                return await read(connection, *args, **kwargs)
            except FOREIGN as exc:
                if is_lost_connection(exc):
                    connection.terminate()  # the pool may not have noticed
                raise
