"""Every engine under one suite: what is not said of one engine is checked on all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boxwall_server.store.base import Store
from boxwall_server.store.memory import MemoryStore
from boxwall_server.store.postgres import open_postgres
from boxwall_server.store.sqlite import open_sqlite
from fakes.postgres_server import PostgresServer
from fakes.store_cases import Heard


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store of each kind."""
    made: Store
    match request.param:
        case "memory":
            made = MemoryStore()
        case "sqlite":
            made = await open_sqlite(tmp_path / "boxwall.db")
        case _:
            server: PostgresServer = request.getfixturevalue("postgres")
            made = await open_postgres(await server.database())
    yield made
    await made.close()


@pytest.fixture
def heard(store: Store) -> Heard:
    """What the listener of `store` was told."""
    listener = Heard()
    store.listen(listener)
    return listener
