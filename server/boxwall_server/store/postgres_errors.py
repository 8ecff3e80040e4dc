"""What errors of PostgreSQL mean to the callers of a store."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from boxwall_server.store.errors import DiskFull, StoreBroken, StoreError, StoreUnavailable

FOREIGN: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""Everything that talking to a database may raise."""

_AGAIN: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@contextmanager
def translating() -> Iterator[None]:
    """Raise StoreError instead of what the driver raises."""
    try:
        yield
    except FOREIGN as exc:
        raise translated(exc) from exc


def translated(exc: Exception) -> Exception:
    """Return what an error while serving means; what is none of the driver's, as it is."""
    match exc:
        case StoreError():
            return exc
        case asyncpg.DiskFullError():
            return DiskFull(str(exc))
        case asyncpg.DataCorruptedError() | asyncpg.IndexCorruptedError():
            return StoreBroken(str(exc))
        case TimeoutError():
            return StoreUnavailable("the database does not answer in time")
        case _ if isinstance(exc, FOREIGN):
            return StoreUnavailable(str(exc))
        case _:
            return exc


def may_be_repeated(exc: Exception) -> bool:
    """Whether a transaction that was not committed yet may go through on another try, at once."""
    return isinstance(exc, _AGAIN) or is_lost_connection(exc)


def is_lost_connection(exc: Exception) -> bool:
    """Whether the connection is gone, whatever the database is doing."""
    return isinstance(
        exc,
        asyncpg.PostgresConnectionError
        | asyncpg.InterfaceError
        | asyncpg.InternalClientError
        | asyncpg.AdminShutdownError
        | asyncpg.CrashShutdownError
        | asyncpg.CannotConnectNowError
        | ConnectionError,
    )
