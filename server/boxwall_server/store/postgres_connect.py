"""Connections to PostgreSQL: how each is set up."""

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Final, TypeAlias

import asyncpg

from boxwall_server.store.postgres_url import PostgresUrl

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

CONNECT_TIMEOUT: Final = 5.0
COMMAND_TIMEOUT: Final = 15.0
"""Seconds after which a database that does not answer counts as gone."""

READERS: Final = 8
MAX_SCANS: Final = 8


class Channel(StrEnum):
    """What replicas notify each other of. A notice only wakes: what counts is read."""

    CHANGES = "boxwall_changes"
    NODES = "boxwall_nodes"
    """Nodes, attachments, sessions."""
    ANSWERS = "boxwall_answers"
    """What nodes have said."""
    NOTES = "boxwall_notes"
    """Whatever else servers tell each other."""


_SETTINGS: Final = {
    "application_name": "boxwall",
    "search_path": "boxwall",
    # A server that stops in the middle of a transaction must not hold up the others for longer.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
    # Every statement takes less than compiling it would: seen to cost 5 ms on one of 0.1 ms.
    "jit": "off",
}


async def connect(url: PostgresUrl) -> "asyncpg.Connection[asyncpg.Record]":
    """Return a connection. Raises what `postgres_errors.FOREIGN` names, or ValueError."""
    return await asyncpg.connect(url.text, **_arguments(url))


async def open_pool(
    url: PostgresUrl,
    check: "Callable[[asyncpg.Connection[asyncpg.Record]], Coroutine[Any, Any, None]]",
) -> Pool:
    """Return connections for reads, made as they are needed. One that `check` raises for is used
    for nothing; whoever wanted it gets what was raised.
    """
    return await asyncpg.create_pool(
        url.text,
        min_size=1,
        max_size=READERS + MAX_SCANS,
        init=check,
        reset=_no_reset,
        **_arguments(url),
    )


def _arguments(url: PostgresUrl) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": COMMAND_TIMEOUT,
        "server_settings": _SETTINGS,
    }
    if url.several_hosts and "target_session_attrs" not in url.text:
        arguments["target_session_attrs"] = "read-write"
    return arguments


async def _no_reset(_: object) -> None:
    """Leave a connection as it is when it goes back: reads set nothing."""
