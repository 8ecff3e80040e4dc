"""The client that is used where none is given: one for each event loop, made from the environment.

It is made with the first call and closed when the loop ends (`asyncio.run` and test runners see to
that), so nobody has to think of it.
"""

import asyncio
from collections.abc import AsyncGenerator

from boxwall.sdk.client import Client
from boxwall.sdk.connection import Connection

# Loops and not threads, because a channel belongs to a loop. The one piece of global state.
_of_loop: dict[asyncio.AbstractEventLoop, tuple[Client, AsyncGenerator[None, None]]] = {}


async def connection_of(client: Client | None) -> Connection:
    """Return the connection of `client`, or that of the default client of the running loop."""
    return (await default_client() if client is None else client).connection


async def default_client() -> Client:
    """Return the client of the running loop, made if there is none. Raises BadConfig."""
    loop = asyncio.get_running_loop()
    if loop not in _of_loop:
        for ended in [known for known in tuple(_of_loop) if known.is_closed()]:
            del _of_loop[ended]
        client = Client()
        guard = _closing_with_loop(client, loop)
        _of_loop[loop] = client, guard
        await anext(guard)
    return _of_loop[loop][0]


async def close_default_client() -> None:
    """Close the default client of the running loop now; the next call makes a new one.

    For programs that change the environment, and loops that end without closing their generators.
    """
    found = _of_loop.get(asyncio.get_running_loop())
    if found is not None:
        await found[1].aclose()


async def _closing_with_loop(
    client: Client, loop: asyncio.AbstractEventLoop
) -> AsyncGenerator[None, None]:
    """Close `client` when the loop ends: `asyncio.run` closes every generator that was begun."""
    try:
        yield
    finally:
        _of_loop.pop(loop, None)
        await client.close()
