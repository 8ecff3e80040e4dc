"""Reading all boxes of a tenant page by page, as of one commit."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from boxwall_server.changes.change import BoxRecord
from boxwall_server.store import sqlite_reads as reads
from boxwall_server.store.sqlite_errors import translating
from boxwall_server.store.sqlite_file import connect

PAGE: Final = 500


class SqliteScan:
    """A read transaction, open until `close`, on a connection of its own. Raises StoreError."""

    def __init__(self, path: Path, tenant: str) -> None:
        self._tenant = tenant
        with translating(), ExitStack() as undo:
            self._connection: sqlite3.Connection = connect(path, read_only=True)
            undo.enter_context(closing(self._connection))
            self._connection.execute("BEGIN")
            self.cursor = reads.head(self._connection)
            undo.pop_all()

    async def pages(self) -> AsyncIterator[Sequence[BoxRecord]]:
        """Yield the boxes."""
        after = ""
        while True:
            page = await asyncio.to_thread(self._page, after)
            yield page
            if len(page) < PAGE:
                return
            after = page[-1].id

    def _page(self, after: str) -> Sequence[BoxRecord]:
        with translating():
            return reads.page_of_boxes(self._connection, self._tenant, after, PAGE)

    def close(self) -> None:
        """End the transaction."""
        self._connection.close()
