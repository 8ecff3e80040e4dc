"""A fake control plane, and a client of it, on a unix socket."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

# Fakes of this directory are imported by name; there are no packages under tests/.
sys.path.insert(0, str(Path(__file__).parent))

from fake_service import FakeBoxService, serving  # type: ignore[import-not-found]  # mypy has no path to it

from boxwall import Client


@pytest.fixture
def fake() -> FakeBoxService:
    return FakeBoxService()


@pytest.fixture
async def server(fake: FakeBoxService, tmp_path: Path) -> AsyncIterator[str]:
    async with serving(fake, tmp_path / "s") as address:
        yield address


@pytest.fixture
async def client(server: str) -> AsyncIterator[Client]:
    async with Client(server, environ={}) as client:
        yield client
