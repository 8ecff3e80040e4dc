"""A running server over a memory store, with a clock that stands still."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.service import Served, serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A server with default settings."""
    async with serving(tmp_path) as running:
        yield running
