"""A running server over a memory store, with a clock that stands still; or two on one database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.postgres_server import PostgresServer
from fakes.replicas import serving_twice
from fakes.service import Served, serving

ONE = "one server"
TWO = "two servers"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let tests that hold of two servers as well say so for their module."""
    if "servers" in metafunc.fixturenames:
        also_two = getattr(metafunc.module, "ALSO_ON_TWO_SERVERS", False)
        metafunc.parametrize("servers", [ONE, TWO] if also_two else [ONE])


@pytest.fixture
async def served(
    request: pytest.FixtureRequest, servers: str, tmp_path: Path
) -> AsyncIterator[Served]:
    """A server with default settings; of two, nodes talk to one and everybody else to the other."""
    if servers == ONE:
        async with serving(tmp_path) as running:
            yield running
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    async with serving_twice(tmp_path, await postgres.database()) as running:
        yield running
