"""A real server in a process of its own, with a real file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.server_process import ServerProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server; the test may kill and start it."""
    process = ServerProcess(tmp_path)
    process.start()
    try:
        yield process
    finally:
        process.close()
